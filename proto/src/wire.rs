//! The protobuf messages that carry the protocol, and the way between them and valid values.
//!
//! Entry points are [`decode`], which turns messages into values of [`crate::message`] or refuses
//! them, and the `From` conversions into [`object`], [`peer`] and [`client`], which cannot fail.
//! What is hashed or signed is never protobuf ([`crate::signed_bytes`]). No services here: their
//! stubs are made where they are used, so that this crate knows no network.

pub mod decode;
mod encode;

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    reason = "made from the .proto files, which carry the documentation"
)]
#[deny(clippy::disallowed_methods, clippy::disallowed_types)]
mod messages {
    include!(concat!(env!("OUT_DIR"), "/messages.rs"));
}

pub use messages::comm::client::v1 as client;
pub use messages::comm::object::v1 as object;
pub use messages::comm::peer::v1 as peer;

/// All .proto files in the form that server reflection hands out.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// No valid message between nodes has a frame of more bytes, and neither has one of a client
/// (PROTOCOL §9). A host sets it as the limit of its links: it bounds what the parts of a message
/// take in memory before [`decode`] sees them, and what an envelope keeps alive, as the body is a
/// part of the frame and not a copy.
pub const FRAME_BYTES_MAX: usize = crate::message::BODY_BYTES_MAX + (64 << 10);
