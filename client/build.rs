//! Makes the stub of the client API; its messages come from the protocol crate.

#![allow(clippy::disallowed_methods, reason = "a build script reads and writes files")]

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../proto/comm");
    let descriptors = protox::compile(["comm/client/v1/client.proto"], ["../proto"])?;
    ["object", "client"]
        .into_iter()
        .fold(tonic_prost_build::configure(), |builder, package| {
            let messages = format!("::comm_proto::wire::{package}");
            builder.extern_path(format!(".comm.{package}.v1"), messages)
        })
        .build_server(false)
        .build_transport(false)
        .compile_fds(descriptors)?;
    Ok(())
}
