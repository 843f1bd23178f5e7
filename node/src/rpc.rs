//! The service stubs made from the .proto files: [`peer`] between nodes, [`client`] for programs.
//!
//! Messages are those of [`comm_proto::wire`]; nothing here is written by hand.

/// `comm.peer.v1.Peer` (PROTOCOL §7).
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "made from the .proto files, which carry the documentation"
)]
pub mod peer {
    tonic::include_proto!("comm.peer.v1");
}

/// `comm.client.v1.Client` (PROTOCOL §8).
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "made from the .proto files, which carry the documentation"
)]
pub mod client {
    tonic::include_proto!("comm.client.v1");
}
