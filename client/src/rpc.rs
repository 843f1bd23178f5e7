//! The stub of `comm.client.v1.Client` (PROTOCOL §8), made from the .proto files.
//!
//! Entry type is [`client_client::ClientClient`]. Its messages are those of [`comm_proto::wire`];
//! nothing here is written by hand.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "made from the .proto files, which carry the documentation"
)]

tonic::include_proto!("comm.client.v1");
