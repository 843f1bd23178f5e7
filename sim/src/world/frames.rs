//! What a message is between its nodes: the bytes of the protocol, written by one and read by the other with
//! all that is verified there.
//!
//! Entry type is [`Frames`]. Only in worlds whose cryptography is real; in the others values go over as they are.

use std::collections::BTreeSet;

use bytes::Bytes;
use comm_proto::message::{Push, Request, Response};
use comm_proto::rejection::Rejection;
use comm_proto::time::Time;
use comm_proto::wire::{decode, peer};
use prost::Message;

use super::door;

/// Subscriptions remembered; beyond that they are read anew.
const SUBSCRIPTIONS_MAX: usize = 4_096;

/// What has been read before. Everybody renews the same subscriptions time and again, and their signatures were most
/// of what a world's time went to: the same bytes need not be verified twice, but for their time.
#[derive(Debug, Default)]
pub(super) struct Frames {
    subscriptions: BTreeSet<Vec<u8>>,
}

impl Frames {
    /// A request as it comes out at the other end.
    pub(super) fn request(&mut self, request: Request, now: Time) -> Result<Request, Rejection> {
        match request {
            Request::Subscribe { .. } => self.subscription(request, now),
            other => decode::request(carried(&peer::Request::from(other)), now),
        }
    }

    fn subscription(&mut self, request: Request, now: Time) -> Result<Request, Rejection> {
        let bytes = peer::Request::from(request.clone()).encode_to_vec();
        if self.subscriptions.contains(&bytes) {
            return door::request(&request, now).map(|()| request);
        }
        let read = decode::request(decoded(Bytes::from(bytes.clone())), now)?;
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            self.subscriptions.clear();
        }
        self.subscriptions.insert(bytes);
        Ok(read)
    }
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
    decoded(Bytes::from(message.encode_to_vec()))
}

fn decoded<M: Message + Default>(bytes: Bytes) -> M {
    M::decode(bytes).expect("a frame just written can be read")
}
