//! Compiles the .proto files to messages. Service stubs are made by the crates that use them.

#![allow(clippy::disallowed_methods, reason = "a build script reads and writes files")]

use std::error::Error;
use std::path::Path;

use protox::prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=comm");
    let files = ["object", "peer", "client"].map(|name| format!("comm/{name}/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["."])?;
    let path = Path::new(&std::env::var("OUT_DIR")?).join("descriptors.bin");
    std::fs::write(path, descriptors.encode_to_vec())?;
    prost_build::Config::new().bytes(["."]).include_file("messages.rs").compile_fds(descriptors)?;
    Ok(())
}
