//! Which mailboxes are those of this node's own clients (PROTOCOL §6.8).
//!
//! Entry type is [`OwnMailboxes`]. Entries are shown grants that name this node, and may hand them on. A
//! mailbox that is in here is collected through entries, whoever asks for it, even while its client is
//! away and after a restart. It decides nothing about who is served.

use std::collections::BTreeMap;

use crate::address::Address;
use crate::store::StoreError;
use crate::time::{Span, Time};

use super::io::Family;
use super::{Node, Turn};

/// Before each key.
const PREFIX: &[u8] = b"own-mailbox/";
/// Above each key: the prefix and a greater last byte.
const END: &[u8] = b"own-mailbox0";
/// A mailbox is remembered for so much longer than a grant needs, so that not every renewal is written down.
const SLACK: Span = Span::DAY;

/// Mailboxes for which a client of this node has shown a grant that names this node.
#[derive(Debug, Default)]
pub(super) struct OwnMailboxes {
    /// Until when each is remembered: longer than any of these grants holds.
    until: BTreeMap<Address, Time>,
}

/// What is to be written down of one: until when it is remembered, if it still is.
type Change = (Address, Option<Time>);

impl OwnMailboxes {
    /// Up to `max` that were written down.
    pub(super) fn read(turn: Turn<'_>, max: usize) -> Result<Self, StoreError> {
        let rows = turn.store.scan(Family::Meta, PREFIX, END, max)?;
        let until: Option<_> = rows.iter().map(|(key, value)| parse_row(key, value)).collect();
        Ok(Self { until: until.ok_or(StoreError::Damaged("own mailboxes"))? })
    }

    pub(super) fn len(&self) -> usize {
        self.until.len()
    }

    pub(super) fn contains(&self, mailbox: &Address) -> bool {
        self.until.contains_key(mailbox)
    }

    /// Remembers one for as long as a grant for it holds. If that makes more than `max`, the first to end
    /// is forgotten.
    fn note(&mut self, mailbox: &Address, not_after: Time, max: usize) -> Vec<Change> {
        if self.until.get(mailbox).is_some_and(|until| *until >= not_after) {
            return Vec::new();
        }
        let mut changes = Vec::new();
        if self.len() >= max && !self.contains(mailbox) {
            let first = self.until.iter().min_by_key(|(_, until)| **until);
            changes.extend(first.map(|(first, _)| (*first, None)));
        }
        changes.push((*mailbox, Some(not_after + SLACK)));
        self.apply(&changes);
        changes
    }

    /// Forgets those for which no grant can hold any more.
    fn forget_ended(&mut self, now: Time) -> Vec<Change> {
        let ended = self.until.iter().filter(|(_, until)| **until <= now);
        let changes: Vec<_> = ended.map(|(mailbox, _)| (*mailbox, None)).collect();
        self.apply(&changes);
        changes
    }

    fn apply(&mut self, changes: &[Change]) {
        for (mailbox, until) in changes {
            match until {
                Some(until) => self.until.insert(*mailbox, *until),
                None => self.until.remove(mailbox),
            };
        }
    }
}

/// A mailbox and until when it counts as a client's own, if this is a row that says so.
pub(super) fn parse_row(key: &[u8], value: &[u8]) -> Option<(Address, Time)> {
    let mailbox = key.strip_prefix(PREFIX)?.try_into().ok()?;
    let until = u64::from_be_bytes(value.try_into().ok()?);
    Some((Address::from_bytes(mailbox), Time::from_millis(until)))
}

impl Node {
    /// A client of ours has shown a grant for this mailbox that names this node.
    pub(super) fn note_own_mailbox(&mut self, mailbox: &Address, not_after: Time) {
        let max = self.config.subscriptions_max;
        let changes = self.own_mailboxes.note(mailbox, not_after, max);
        self.write_own_mailboxes(changes);
    }

    /// Forgets mailboxes that no client has shown a grant for lately.
    pub(super) fn forget_own_mailboxes(&mut self, now: Time) {
        let changes = self.own_mailboxes.forget_ended(now);
        self.write_own_mailboxes(changes);
    }

    fn write_own_mailboxes(&mut self, changes: Vec<Change>) {
        for (mailbox, until) in changes {
            let key = key(&mailbox);
            match until {
                Some(until) => {
                    self.desk.put(Family::Meta, key, until.as_millis().to_be_bytes().to_vec());
                }
                None => self.desk.delete(Family::Meta, key),
            }
        }
    }
}

fn key(mailbox: &Address) -> Vec<u8> {
    [PREFIX, mailbox.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Batch, MemoryStore, Seq, Write};

    const NOW: Time = Time::from_millis(1_700_000_000_000);

    fn mailbox(number: u8) -> Address {
        Address::from_bytes([number; 20])
    }

    #[test]
    fn the_first_to_end_makes_room_and_what_has_ended_goes() {
        let mut own = OwnMailboxes::default();
        let at = |days| NOW + Span::from_days(days);
        for (number, days) in [(1, 3), (2, 2), (3, 4)] {
            assert_eq!(own.note(&mailbox(number), at(days), 3).len(), 1);
        }
        // A renewal is written down once it holds longer than what is written.
        assert_eq!(own.note(&mailbox(2), at(3), 3), []);
        assert_eq!(
            own.note(&mailbox(4), at(5), 3),
            [(mailbox(2), None), (mailbox(4), Some(at(6)))]
        );
        assert!(!own.contains(&mailbox(2)) && own.contains(&mailbox(4)));
        assert_eq!(own.note(&mailbox(1), at(6), 3), [(mailbox(1), Some(at(7)))]);
        assert_eq!(own.forget_ended(at(5)), [(mailbox(3), None)]);
        assert_eq!(own.len(), 2);
    }

    #[test]
    fn mailboxes_read_back_as_they_were_written() {
        let mut store = MemoryStore::new();
        let put = |key, value| Write::Put { table: Family::Meta, key, value };
        let highest = Address::from_bytes([0xff; 20]);
        let until = NOW.as_millis().to_be_bytes().to_vec();
        let writes = vec![put(key(&highest), until), put(b"totals".to_vec(), vec![1])];
        store.apply(&Batch { seq: Seq(1), writes });
        let turn = Turn { store: &store, now: NOW };
        let own = OwnMailboxes::read(turn, 9).unwrap();
        assert_eq!(own.until, [(highest, NOW)].into());
        let writes = vec![put(key(&mailbox(1)), vec![1])];
        store.apply(&Batch { seq: Seq(2), writes });
        assert!(OwnMailboxes::read(Turn { store: &store, now: NOW }, 9).is_err());
    }
}
