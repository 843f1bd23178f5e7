//! Objects as honest people make them, and what forgers make of these.

use bytes::Bytes;
use comm_proto::acknowledgement::Acknowledgement;
use comm_proto::address::Address;
use comm_proto::card::{Card, InboxPolicy};
use comm_proto::envelope::{EnvelopeId, SizeClass, Suite, TTL_MAX};
use comm_proto::grant::Grant;
use comm_proto::key::KeyPair;
use comm_proto::prekey::Prekey;
use comm_proto::receipt::Receipt;
use comm_proto::time::{Span, Time};
use comm_proto::wire::object;

use crate::node_process::now;

/// At the head of every body; it must never be logged.
pub(super) const MARK: &[u8; 24] = b"nobody-may-read-this-but";

/// An envelope with everything right that is not said otherwise.
pub(super) fn envelope(mailbox: Address, n: u64, expires_at: Time, len: usize) -> object::Envelope {
    let mut body = [&MARK[..], &n.to_be_bytes()].concat();
    body.resize(len, 0);
    object::Envelope {
        version: 1,
        suite: 1,
        mailbox: Bytes::copy_from_slice(mailbox.as_bytes()),
        expires_at: expires_at.as_millis(),
        stamp_nonce: 0,
        body: body.into(),
    }
}

pub(super) fn acknowledgement(
    mailbox: &KeyPair,
    ids: &[EnvelopeId],
    expires_at: Time,
) -> object::Acknowledgement {
    (&*Acknowledgement::sign(mailbox, ids.to_vec(), expires_at).unwrap()).into()
}

pub(super) fn receipt(node: &KeyPair, ids: &[EnvelopeId], at: Time) -> object::Receipt {
    (&*Receipt::sign(node, ids.to_vec(), at).unwrap()).into()
}

pub(super) fn grant(mailbox: &KeyPair, collector: Address, not_after: Time) -> object::Grant {
    (&*Grant::sign(mailbox, collector, not_after)).into()
}

/// A card that was issued at a time, for 20 days.
pub(super) fn card(owner: &KeyPair, issued_at: Time) -> object::Card {
    let expires_at = issued_at + Span::from_days(20);
    let prekey = Prekey::new(Suite::ONE, &[7; 32], expires_at).unwrap();
    let policy = InboxPolicy { ttl_max: TTL_MAX, size_max: SizeClass::K64, stamp_min: 0 };
    (&*Card::sign(owner, vec![prekey], policy, issued_at, expires_at).unwrap()).into()
}

/// With one bit of its last byte changed.
pub(super) fn flipped(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    bytes.into()
}

pub(super) fn id(n: u64) -> Bytes {
    let mut id = [0xee; EnvelopeId::LEN];
    id[..8].copy_from_slice(&n.to_be_bytes());
    Bytes::copy_from_slice(&id)
}

pub(super) fn ids(count: u64) -> Vec<Bytes> {
    (0..count).map(id).collect()
}

pub(super) fn in_days(days: u64) -> Time {
    now() + Span::from_days(days)
}

pub(super) fn ago(span: Span) -> Time {
    Time::from_millis(now().as_millis() - span.as_millis())
}
