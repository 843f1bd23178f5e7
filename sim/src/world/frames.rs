//! What a message is between its nodes: the bytes of the protocol, written by one and read by the other with
//! all that is verified there.
//!
//! Only in worlds whose cryptography is real; in the others values go over as they are.

use bytes::Bytes;
use comm_proto::message::{Push, Request, Response};
use comm_proto::rejection::Rejection;
use comm_proto::time::Time;
use comm_proto::wire::{decode, peer};
use prost::Message;

/// A request as it comes out at the other end.
pub(super) fn request(request: Request, now: Time) -> Result<Request, Rejection> {
    decode::request(carried(&peer::Request::from(request)), now)
}

/// An answer as it comes out at the other end.
pub(super) fn response(
    result: Result<Response, Rejection>,
    now: Time,
) -> Result<Response, Rejection> {
    decode::response(carried(&peer::Response::from(result)), now)?
}

/// A push as it comes out at the other end.
pub(super) fn push(push: Push, now: Time) -> Result<Push, Rejection> {
    decode::push(carried(&peer::Push::from(push)), now)
}

fn carried<M: Message + Default>(message: &M) -> M {
    M::decode(Bytes::from(message.encode_to_vec())).expect("a frame just written can be read")
}
