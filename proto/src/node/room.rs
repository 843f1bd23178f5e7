//! What this node's disk holds, by the node's own account, and whether there is room for more
//! (PROTOCOL §6.1). Entry type is [`Disk`], what the host says of it.
//!
//! Each kind of thing counts with what its rows take at the most, so that nothing that happens to it
//! later can exceed the budget. Mail, with all that remains of it, and cards have a share each. What
//! is kept of an envelope that ends always takes less than it did while it lived: whatever is full,
//! an acknowledgement is obeyed and kept. What has been deleted takes its place on the disk until the store has
//! given it back: while the files take nearly all of the budget, nothing is taken in. Mail is this node's own clients' or others'; whose mail among
//! others' gives way is the business of `shares`.

use crate::envelope::{Envelope, SizeClass};
use crate::store::StoreError;

use super::records::Role;
use super::shares::Group;
use super::stats::Stats;
use super::{Config, Node, Turn};

/// What the rows of a living envelope take beside its body, with as many holders as are remembered.
const ENVELOPE_ROWS: u64 = 1_792;
/// What a tombstone takes.
const TOMBSTONE_ROWS: u64 = 64;
/// What an ending or a card takes beside its own bytes, with its place in the order of expiry.
const SIGNED_ROWS: u64 = 128;
/// One part in so many of the budget is not for mail: half of it is for cards, and half for logs and for what has
/// been deleted.
const NOT_MAIL_SHARE: u64 = 8;
const CARDS_SHARE: u64 = 2 * NOT_MAIL_SHARE;
/// One part in so many of the budget that must be free on the disk for others' mail and for cards, and for
/// our own clients' mail: what is written may be there twice for a while, as a log and as a file.
const FREE_FOR_OTHERS: u64 = 32;
const FREE_FOR_OWN: u64 = 64;
/// Of the room for mail, in eighths: up to where our own clients' mail may come while they submit, and
/// while it is collected for them. So what others send to one of them leaves room to submit.
const SUBMITTED_EIGHTHS: u64 = 6;
const COLLECTED_EIGHTHS: u64 = 4;
/// Up to where others' mail may come, with all that remains of mail that has ended: tombstones do not
/// give way, so what our own clients may always have is kept free.
const OTHERS_EIGHTHS: u64 = 7;
/// What the smallest envelope takes.
pub(super) const SMALLEST: u64 = size_of(SizeClass::K1.body_len() as u32);

/// What an envelope with a body of so many bytes takes.
pub(super) const fn size_of(body: u32) -> u64 {
    body as u64 + ENVELOPE_ROWS
}

/// Bytes of envelopes and of what remains of them.
const fn mail_bytes(stats: &Stats) -> u64 {
    stats.envelope_bytes + stats.envelopes * ENVELOPE_ROWS + ended_bytes(stats)
}

/// Bytes of what remains of envelopes that have ended.
const fn ended_bytes(stats: &Stats) -> u64 {
    stats.tombstones * TOMBSTONE_ROWS
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

const fn mail_budget(config: &Config) -> u64 {
    config.store_bytes_max - config.store_bytes_max / NOT_MAIL_SHARE
}

/// What the files of the store take, as far as the host has said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Disk {
    told: Option<u64>,
    /// Bytes taken in since.
    since: u64,
}

impl Disk {
    /// The host says so.
    pub(super) fn is_taken(&mut self, bytes: u64) {
        *self = Self { told: Some(bytes), since: 0 };
    }

    /// So many bytes are written.
    pub(super) fn add(&mut self, bytes: u64) {
        self.since = self.since.saturating_add(bytes);
    }

    /// Whether so many more would leave less than one part in `free` of the budget.
    fn is_short(&self, bytes: u64, budget: u64, free: u64) -> bool {
        let taken = self.told.map(|told| told.saturating_add(self.since).saturating_add(bytes));
        taken.is_some_and(|taken| taken > budget - budget / free)
    }
}

impl Node {
    /// Whether the files of the store leave no room for `envelope`, whatever the account says. What is there
    /// beyond the account, since the budget was made smaller, goes then: else it might stay so for ever.
    pub(super) fn is_disk_short_for(
        &mut self,
        turn: Turn<'_>,
        envelope: &Envelope,
        role: Role,
    ) -> Result<bool, StoreError> {
        let bytes = size_of(envelope.body().len() as u32);
        let free = if role == Role::Own { FREE_FOR_OWN } else { FREE_FOR_OTHERS };
        if !self.disk.is_short(bytes, self.config.store_bytes_max, free) {
            return Ok(false);
        }
        match self.excess_of_others(0) {
            0 => {}
            excess => {
                self.give_way_to_own(turn, excess)?;
            }
        }
        Ok(true)
    }

    /// Whether the files of the store leave no room for so many bytes that others bring.
    pub(super) fn is_disk_short_for_others(&self, bytes: u64) -> bool {
        self.disk.is_short(bytes, self.config.store_bytes_max, FREE_FOR_OTHERS)
    }

    /// Makes room for another envelope of `group`, or of our own clients, by evicting others' mail if
    /// it must. False when there is none to be had: then nothing is evicted, unless far too much lies
    /// here.
    pub(super) fn make_room_for(
        &mut self,
        turn: Turn<'_>,
        envelope: &Envelope,
        role: Role,
        group: Option<Group>,
    ) -> Result<bool, StoreError> {
        let bytes = size_of(envelope.body().len() as u32);
        if let Some(group) = group {
            let excess = self.excess_of_others(bytes);
            return self.give_way_to(turn, (&envelope.id(), group, bytes), excess);
        }
        if !self.own_may_have(bytes, role) {
            return Ok(false);
        }
        let budget = mail_budget(&self.config);
        self.give_way_to_own(turn, (mail_bytes(&self.stats) + bytes).saturating_sub(budget))
    }

    /// Whether our own clients' mail may have so many bytes more.
    pub(super) fn own_may_have(&self, bytes: u64, role: Role) -> bool {
        let eighths = if role == Role::Own { SUBMITTED_EIGHTHS } else { COLLECTED_EIGHTHS };
        let alive = mail_bytes(&self.stats) - ended_bytes(&self.stats);
        let own = alive.saturating_sub(self.shares.total());
        own + bytes <= mail_budget(&self.config) / 8 * eighths
    }

    /// How many bytes must go before others' mail may have so many more.
    pub(super) fn excess_of_others(&self, bytes: u64) -> u64 {
        let (budget, mail) = (mail_budget(&self.config), mail_bytes(&self.stats));
        let others = self.shares.total() + ended_bytes(&self.stats);
        let beyond_theirs = (others + bytes).saturating_sub(budget / 8 * OTHERS_EIGHTHS);
        beyond_theirs.max((mail + bytes).saturating_sub(budget))
    }

    /// Whether a card of `bytes` can take the place of one of `replaced` bytes, if there is one.
    pub(super) fn has_room_for_card(&self, bytes: usize, replaced: Option<usize>) -> bool {
        let mut then = self.stats;
        then.card_bytes = then.card_bytes.saturating_sub(replaced.unwrap_or(0) as u64);
        then.card_bytes += bytes as u64;
        then.cards += u64::from(replaced.is_none());
        then.cards <= self.config.cards_max && card_bytes(&then) <= cards_budget(&self.config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acknowledgement::{Acknowledgement, IDS_MAX};
    use crate::address::Address;
    use crate::envelope::EnvelopeId;
    use crate::key::KeyPair;
    use crate::node::keys::{self, Expiring};
    use crate::node::records::{Cause, Custody, Ending, HOLDERS_MAX, Tombstone};
    use crate::time::Time;

    /// The key of a mailbox's entry, its value, and the key in the order of what is due.
    const OTHER_ROWS: u64 = 28 + 40 + 40;
    /// The value of what its group is charged for.
    const CHARGE: u64 = 32 + 4;

    const LATEST: Time = Time::from_millis(u64::MAX);

    fn fullest_custody() -> Custody {
        let address = |n| Address::from_bytes([n; 20]);
        let mut custody = Custody {
            mailbox: address(0),
            expires_at: LATEST,
            arrival: u64::MAX,
            role: Role::Relayed,
            source: Some(address(1)),
            group: Some(Group::Node(address(1))),
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
        let share = keys::share(&Group::Node(Address::from_bytes([1; 20])), &[0; 16]);
        let rows = envelope + custody + OTHER_ROWS + share.len() as u64 + CHARGE;
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
