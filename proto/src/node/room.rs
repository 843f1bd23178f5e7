//! What this node's disk holds, by the node's own account, and whether there is room for more
//! (PROTOCOL §6.1).
//!
//! Each kind of thing counts with what its rows take at the most, so that nothing that happens to it
//! later can exceed the budget. Mail, with all that remains of it, and cards have a share each. What
//! is kept of an envelope that ends always takes less than it did while it lived: whatever is full,
//! an acknowledgement is obeyed and kept.

use crate::envelope::Envelope;

use super::stats::Stats;
use super::{Config, Node};

/// What the rows of a living envelope take beside its body, with as many holders as are remembered.
const ENVELOPE_ROWS: u64 = 1_792;
/// What a tombstone takes.
const TOMBSTONE_ROWS: u64 = 64;
/// What an ending or a card takes beside its own bytes, with its place in the order of expiry.
const SIGNED_ROWS: u64 = 128;
/// One part in so many of the budget is for cards, the rest for mail.
const CARDS_SHARE: u64 = 8;

/// Bytes of envelopes and of what remains of them.
const fn mail_bytes(stats: &Stats) -> u64 {
    stats.envelope_bytes
        + stats.envelopes * ENVELOPE_ROWS
        + stats.tombstones * TOMBSTONE_ROWS
        + stats.acknowledgement_bytes
        + stats.acknowledgements * SIGNED_ROWS
}

/// Bytes of cards.
const fn card_bytes(stats: &Stats) -> u64 {
    stats.card_bytes + stats.cards * SIGNED_ROWS
}

/// Bytes of everything that counts for the budget.
pub(super) const fn disk_bytes(stats: &Stats) -> u64 {
    mail_bytes(stats) + card_bytes(stats)
}

const fn cards_budget(config: &Config) -> u64 {
    config.store_bytes_max / CARDS_SHARE
}

impl Node {
    /// Whether there is room for another envelope.
    pub(super) fn has_room_for(&self, envelope: &Envelope) -> bool {
        self.has_room_for_mail(envelope.body().len() as u64 + ENVELOPE_ROWS)
    }

    /// Whether a card of `bytes` can take the place of one of `replaced` bytes, if there is one.
    pub(super) fn has_room_for_card(&self, bytes: usize, replaced: Option<usize>) -> bool {
        let mut then = self.stats;
        then.card_bytes = then.card_bytes.saturating_sub(replaced.unwrap_or(0) as u64);
        then.card_bytes += bytes as u64;
        then.cards += u64::from(replaced.is_none());
        then.cards <= self.config.cards_max && card_bytes(&then) <= cards_budget(&self.config)
    }

    fn has_room_for_mail(&self, bytes: u64) -> bool {
        let budget = self.config.store_bytes_max - cards_budget(&self.config);
        mail_bytes(&self.stats) + bytes <= budget
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acknowledgement::{Acknowledgement, IDS_MAX};
    use crate::address::Address;
    use crate::envelope::{EnvelopeId, SizeClass};
    use crate::key::KeyPair;
    use crate::node::keys::{self, Expiring};
    use crate::node::records::{Cause, Custody, Ending, HOLDERS_MAX, Role, Tombstone};
    use crate::time::Time;

    /// The key of a mailbox's entry, its value, and the key in the order of what is due.
    const OTHER_ROWS: u64 = 28 + 40 + 40;

    const LATEST: Time = Time::from_millis(u64::MAX);

    fn fullest_custody() -> Custody {
        let address = |n| Address::from_bytes([n; 20]);
        let mut custody = Custody {
            mailbox: address(0),
            expires_at: LATEST,
            arrival: u64::MAX,
            role: Role::Relayed,
            source: Some(address(1)),
            rounds: u32::MAX,
            due: LATEST,
            heard: true,
            bytes: u32::MAX,
            reported: u8::MAX,
            given: u64::MAX,
            asked: u64::MAX,
            holders: Vec::new(),
        };
        custody.holders = (0..HOLDERS_MAX as u8).map(address).collect();
        custody
    }

    #[test]
    fn everything_counts_with_no_less_than_its_rows_take() {
        let id = EnvelopeId::from_bytes([1; 32]);
        let expiry = keys::expiry(LATEST, &Expiring::Ending(u64::MAX)).len() as u64;
        // Key and header of the envelope, key and value of its custody.
        let custody = 32 + fullest_custody().to_bytes().len() as u64;
        let envelope = keys::envelope(LATEST, &id).len() as u64 + 64;
        let rows = envelope + custody + OTHER_ROWS;
        assert!(rows <= ENVELOPE_ROWS, "{rows}");
        let tombstone = Tombstone { ending: u64::MAX }.to_bytes().len() as u64;
        assert!(keys::tombstone(&id).len() as u64 + tombstone <= TOMBSTONE_ROWS);
        assert!(keys::ending(u64::MAX).len() as u64 + expiry <= SIGNED_ROWS);
        assert!(32 + expiry <= SIGNED_ROWS);
    }

    #[test]
    fn whatever_ends_makes_room() {
        let ids = (0..IDS_MAX as u8).map(|n| EnvelopeId::from_bytes([n; 32])).collect();
        let key = KeyPair::from_seed(&[1; 32]);
        let acknowledgement = Acknowledgement::sign(&key, ids, LATEST).unwrap();
        let ending = Ending { at: LATEST, cause: Cause::Read { acknowledgement, ended: 1 } };
        // The longest acknowledgement that ends no more than one of the smallest envelopes.
        let after = TOMBSTONE_ROWS + ending.to_bytes().len() as u64 + SIGNED_ROWS;
        let before = SizeClass::K1.body_len() as u64 + ENVELOPE_ROWS;
        assert!(after < before, "{after} for {before}");
    }
}
