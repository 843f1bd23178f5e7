//! Makes the service stubs of the .proto files; their messages come from the protocol crate.

#![allow(clippy::disallowed_methods, reason = "a build script reads and writes files")]

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../proto/comm");
    let files = ["peer", "client"].map(|name| format!("comm/{name}/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["../proto"])?;
    ["object", "peer", "client"]
        .into_iter()
        .fold(tonic_prost_build::configure(), |builder, package| {
            let messages = format!("::comm_proto::wire::{package}");
            builder.extern_path(format!(".comm.{package}.v1"), messages)
        })
        .build_transport(false)
        .compile_fds(descriptors)?;
    Ok(())
}
