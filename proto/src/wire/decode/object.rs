//! The objects that nodes and clients exchange, from their messages.
//!
//! Entry functions are named after the objects of PROTOCOL §3: [`envelope`], [`acknowledgements`],
//! [`receipts`], [`grants`] and [`card`]; [`contact`] is PROTOCOL §5.1. Signatures are checked by
//! the objects themselves. What an object means for a store is not asked here.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

use super::list::at_most;
use crate::acknowledgement::{self, Acknowledgement};
use crate::address::Address;
use crate::card::{CARD_LEN_MAX, Card};
use crate::contact::{Contact, ENDPOINTS_MAX};
use crate::envelope::{Envelope, EnvelopeId, Header, Suite, VERSION};
use crate::grant::Grant;
use crate::key::{PublicKey, Signature};
use crate::message::{BODY_BYTES_MAX, ENVELOPES_MAX, SIGNED_MAX};
use crate::receipt::{self, Receipt};
use crate::rejection::Rejection;
use crate::time::Time;
use crate::verified::Verified;
use crate::wire::object;

/// Reads an envelope and hashes it for its id (PROTOCOL §3.2). The body stays a part of the frame
/// that it came in.
///
/// # Errors
/// [`Rejection::Version`] for any header but version 1, [`Rejection::Size`] for a body of none of
/// the four lengths, [`Rejection::Malformed`] for the rest.
pub fn envelope(message: object::Envelope) -> Result<Envelope, Rejection> {
    if message.version != u32::from(VERSION) {
        return Err(Rejection::Version);
    }
    let suite = u8::try_from(message.suite).map_err(|_| Rejection::Malformed("suite"))?;
    let header = Header {
        suite: Suite(suite),
        mailbox: address_of(&message.mailbox, "mailbox")?,
        expires_at: Time::from_millis(message.expires_at),
        stamp_nonce: message.stamp_nonce,
    };
    Ok(Envelope::new(header, message.body)?)
}

/// Reads the envelopes of one message: at most [`ENVELOPES_MAX`] with [`BODY_BYTES_MAX`] in sum.
pub(super) fn envelopes(messages: Vec<object::Envelope>) -> Result<Vec<Envelope>, Rejection> {
    at_most(&messages, ENVELOPES_MAX, "envelopes")?;
    if messages.iter().map(|message| message.body.len()).sum::<usize>() > BODY_BYTES_MAX {
        return Err(Rejection::TooLarge("bodies"));
    }
    messages.into_iter().map(envelope).collect()
}

/// Reads and verifies at most [`SIGNED_MAX`] acknowledgements (PROTOCOL §3.3).
///
/// # Errors
/// The first fault: one bad acknowledgement makes the message bad that carries it.
pub fn acknowledgements(
    messages: &[object::Acknowledgement],
    now: Time,
) -> Result<Vec<Verified<Acknowledgement>>, Rejection> {
    let read = |message: &object::Acknowledgement| {
        let ids = at_most(&message.ids, acknowledgement::IDS_MAX, "ids of an acknowledgement")?;
        let ids = ids.iter().map(|id| envelope_id(id)).collect::<Result<_, _>>()?;
        let key = key(&message.mailbox_key, "mailbox key")?;
        let expires_at = Time::from_millis(message.expires_at);
        let signature = signature(&message.signature)?;
        Ok(Acknowledgement::from_parts(ids, key, expires_at, signature).verify(now)?)
    };
    at_most(messages, SIGNED_MAX, "acknowledgements")?.iter().map(read).collect()
}

/// Reads and verifies at most [`SIGNED_MAX`] receipts (PROTOCOL §3.4).
///
/// # Errors
/// The first fault: one bad receipt makes the message bad that carries it.
pub fn receipts(
    messages: &[object::Receipt],
    now: Time,
) -> Result<Vec<Verified<Receipt>>, Rejection> {
    let read = |message: &object::Receipt| {
        let ids = at_most(&message.ids, receipt::IDS_MAX, "ids of a receipt")?;
        let ids = ids.iter().map(|id| envelope_id(id)).collect::<Result<_, _>>()?;
        let key = key(&message.holder_key, "holder key")?;
        let signature = signature(&message.signature)?;
        Ok(Receipt::from_parts(ids, key, Time::from_millis(message.at), signature).verify(now)?)
    };
    at_most(messages, SIGNED_MAX, "receipts")?.iter().map(read).collect()
}

/// Reads and verifies at most [`SIGNED_MAX`] grants (PROTOCOL §3.5).
///
/// # Errors
/// The first fault: one bad grant makes the message bad that carries it.
pub fn grants(messages: &[object::Grant], now: Time) -> Result<Vec<Verified<Grant>>, Rejection> {
    let read = |message: &object::Grant| {
        let key = key(&message.mailbox_key, "mailbox key")?;
        let collector = address_of(&message.collector, "collector")?;
        let not_after = Time::from_millis(message.not_after);
        let signature = signature(&message.signature)?;
        Ok(Grant::from_parts(key, collector, not_after, signature).verify(now)?)
    };
    at_most(messages, SIGNED_MAX, "grants")?.iter().map(read).collect()
}

/// Reads and verifies a card (PROTOCOL §3.6).
///
/// # Errors
/// [`Rejection::TooLarge`] beyond [`CARD_LEN_MAX`], else what is wrong with it.
pub fn card(message: &object::Card, now: Time) -> Result<Verified<Card>, Rejection> {
    let bytes = at_most(&message.card, CARD_LEN_MAX, "card")?;
    Ok(Card::from_bytes(bytes)?.verify(now)?)
}

/// Reads and verifies a card that has to be there.
pub(super) fn some_card(
    message: Option<object::Card>,
    now: Time,
) -> Result<Verified<Card>, Rejection> {
    card(&message.ok_or(Rejection::Malformed("card"))?, now)
}

/// Reads a contact (PROTOCOL §5.1).
///
/// # Errors
/// As for [`endpoints`], and [`Rejection::Malformed`] for a key of another length.
pub fn contact(message: &object::Contact) -> Result<Contact, Rejection> {
    let key = key(&message.key, "contact key")?;
    Ok(Contact::new(key, endpoints(&message.endpoints)?))
}

/// Reads the at most [`ENDPOINTS_MAX`] endpoints of a node. An IPv4 address in the clothes of IPv6
/// comes out as IPv4, lest a node count as two and leave its IP group.
///
/// # Errors
/// [`Rejection::TooLarge`] for too many, [`Rejection::Malformed`] when one has no port or no IP.
pub fn endpoints(messages: &[object::Endpoint]) -> Result<Vec<SocketAddr>, Rejection> {
    let messages = at_most(messages, ENDPOINTS_MAX, "endpoints")?;
    messages.iter().map(endpoint).collect()
}

/// Reads one endpoint; an IPv4 address that is mapped into IPv6 counts as IPv4.
///
/// # Errors
/// [`Rejection::Malformed`] when it has no port or no IP.
pub fn endpoint(message: &object::Endpoint) -> Result<SocketAddr, Rejection> {
    let ip = match message.ip.len() {
        4 => IpAddr::from(fixed::<4>(&message.ip, "ip")?),
        _ => Ipv6Addr::from(fixed::<16>(&message.ip, "ip")?).to_canonical(),
    };
    match u16::try_from(message.port) {
        Ok(port @ 1..) => Ok(SocketAddr::new(ip, port)),
        _ => Err(Rejection::Malformed("port")),
    }
}

/// Reads at most `max` ids.
pub(super) fn ids(messages: &[Bytes], max: usize) -> Result<Vec<EnvelopeId>, Rejection> {
    at_most(messages, max, "ids")?.iter().map(|id| envelope_id(id)).collect()
}

/// Reads the id of an envelope (PROTOCOL §3.2).
///
/// # Errors
/// [`Rejection::Malformed`] for another length.
pub fn envelope_id(bytes: &[u8]) -> Result<EnvelopeId, Rejection> {
    fixed(bytes, "envelope id").map(EnvelopeId::from_bytes)
}

/// Reads an address (PROTOCOL §2.2).
///
/// # Errors
/// [`Rejection::Malformed`] for another length.
pub fn address(bytes: &[u8]) -> Result<Address, Rejection> {
    address_of(bytes, "address")
}

/// Reads an address; `what` names the field to whoever sent it wrong.
pub(super) fn address_of(bytes: &[u8], what: &'static str) -> Result<Address, Rejection> {
    fixed(bytes, what).map(Address::from_bytes)
}

fn key(bytes: &[u8], what: &'static str) -> Result<PublicKey, Rejection> {
    fixed(bytes, what).map(PublicKey::from_bytes)
}

fn signature(bytes: &[u8]) -> Result<Signature, Rejection> {
    fixed(bytes, "signature").map(Signature::from_bytes)
}

fn fixed<const N: usize>(bytes: &[u8], what: &'static str) -> Result<[u8; N], Rejection> {
    bytes.try_into().map_err(|_| Rejection::Malformed(what))
}
