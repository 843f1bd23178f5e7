//! The keys of a node's store: how each table is ordered, and why.
//!
//! One function for each kind of key. Numbers are big-endian, so that byte order is their order.

use crate::address::Address;
use crate::envelope::EnvelopeId;
use crate::time::Time;

use super::shares::{Group, Lot};

/// The lowest key of every table.
pub(super) const LOWEST: &[u8] = &[];
/// Above every key of every table; keys are at most 40 bytes and never all ones.
pub(super) const HIGHEST: &[u8] = &[0xff; 48];

/// How much of an envelope's id its tombstone lies under.
pub(super) const TOMBSTONE_LEN: usize = EnvelopeId::LEN / 2;

/// What an entry of the expiry table is about. Envelopes have none: their own keys are in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiring {
    /// An ending by its number, and the tombstones that point to it.
    Ending(u64),
    /// A card under its owner.
    Card(Address),
}

/// By time of expiry first: what is over stands at the head, and a day that is over is one range.
pub(super) fn envelope(expires_at: Time, id: &EnvelopeId) -> Vec<u8> {
    [&expires_at.as_millis().to_be_bytes()[..], id.as_bytes()].concat()
}

/// Reads [`envelope`] back.
pub(super) fn parse_envelope(key: &[u8]) -> Option<(Time, EnvelopeId)> {
    let (expires_at, id) = parse_time(key)?;
    Some((expires_at, EnvelopeId::from_bytes(id.try_into().ok()?)))
}

/// Where the envelopes that expire before `time` end.
pub(super) fn envelopes_before(time: Time) -> Vec<u8> {
    time.as_millis().to_be_bytes().to_vec()
}

/// Half of the id.
pub(super) fn tombstone(id: &EnvelopeId) -> Vec<u8> {
    id.as_bytes()[..TOMBSTONE_LEN].to_vec()
}

/// In the order in which envelopes ended.
pub(super) fn ending(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// Arrival order within a mailbox.
pub(super) fn mailbox(mailbox: &Address, arrival: u64) -> Vec<u8> {
    [&mailbox.as_bytes()[..], &arrival.to_be_bytes()].concat()
}

/// The envelopes of a source group, in the order in which it loses them.
pub(super) fn share(group: &Group, lot: &Lot) -> Vec<u8> {
    [&group.to_bytes()[..], lot].concat()
}

/// Reads [`share`] back.
pub(super) fn parse_share(key: &[u8]) -> Option<(Group, Lot)> {
    let (group, lot) = Group::split_from(key)?;
    Some((group, lot.try_into().ok()?))
}

/// The least key above this one.
pub(super) fn above(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// Reads [`mailbox`] back.
pub(super) fn parse_mailbox(key: &[u8]) -> Option<(Address, u64)> {
    let (mailbox, arrival) = key.split_at_checked(Address::LEN)?;
    Some((
        Address::from_bytes(mailbox.try_into().ok()?),
        u64::from_be_bytes(arrival.try_into().ok()?),
    ))
}

/// Due order.
pub(super) fn schedule(due: Time, id: &EnvelopeId) -> Vec<u8> {
    [&due.as_millis().to_be_bytes()[..], id.as_bytes()].concat()
}

/// Where what is due from `time` on begins.
pub(super) fn due_from(time: Time) -> Vec<u8> {
    time.as_millis().to_be_bytes().to_vec()
}

/// Reads [`schedule`] back.
pub(super) fn parse_schedule(key: &[u8]) -> Option<(Time, EnvelopeId)> {
    let (due, id) = parse_time(key)?;
    Some((due, EnvelopeId::from_bytes(id.try_into().ok()?)))
}

/// Order of expiry.
pub(super) fn expiry(at: Time, what: &Expiring) -> Vec<u8> {
    let (kind, name): (u8, &[u8]) = match what {
        Expiring::Ending(number) => (2, &number.to_be_bytes()),
        Expiring::Card(owner) => (3, owner.as_bytes()),
    };
    [&at.as_millis().to_be_bytes()[..], &[kind], name].concat()
}

/// Reads [`expiry`] back.
pub(super) fn parse_expiry(key: &[u8]) -> Option<(Time, Expiring)> {
    let (at, rest) = parse_time(key)?;
    let (kind, name) = rest.split_first()?;
    let what = match kind {
        2 => Expiring::Ending(u64::from_be_bytes(name.try_into().ok()?)),
        3 => Expiring::Card(Address::from_bytes(name.try_into().ok()?)),
        _ => return None,
    };
    Some((at, what))
}

fn parse_time(key: &[u8]) -> Option<(Time, &[u8])> {
    let (time, rest) = key.split_at_checked(8)?;
    Some((Time::from_millis(u64::from_be_bytes(time.try_into().ok()?)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    #[test]
    fn every_key_reads_back_and_lies_between_the_ends() {
        let id = EnvelopeId::from_bytes([0xfe; 32]);
        let at = Time::from_millis(u64::MAX - 1);
        for what in [Expiring::Ending(u64::MAX), Expiring::Card(Address::from_bytes([0xff; 20]))] {
            let key = expiry(at, &what);
            assert_eq!(parse_expiry(&key), Some((at, what)));
            assert!(LOWEST < &key[..] && &key[..] < HIGHEST);
        }
        assert_eq!(parse_schedule(&schedule(at, &id)), Some((at, id)));
        assert_eq!(parse_envelope(&envelope(at, &id)), Some((at, id)));
        assert!(envelopes_before(at) < envelope(at, &id));
        assert!(envelope(at, &id) < envelopes_before(at + Span::from_millis(1)));
        let place = Address::from_bytes([0xff; 20]);
        assert_eq!(parse_mailbox(&mailbox(&place, 7)), Some((place, 7)));
        assert!(&mailbox(&place, u64::MAX)[..] < HIGHEST);
        let lot = [0xff; 16];
        for group in [Group::Four([9, 8]), Group::Six([9, 8, 7, 6]), Group::Node(place)] {
            let key = share(&group, &lot);
            assert_eq!(parse_share(&key), Some((group, lot)));
            assert!(key < above(&key) && above(&key)[..] < *HIGHEST);
        }
    }
}
