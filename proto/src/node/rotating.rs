//! The entry that changes: a reader's way around lasting entries that all tell nothing (PROTOCOL §6.8).
//!
//! Entry type is [`Rotating`]. It collects beside the lasting entries and does nothing else. A node
//! has a new one ever more seldom, over restarts too, and only while clients look for it: without
//! their grants it could not collect.

use crate::address::Address;
use crate::contact::Contact;
use crate::store::StoreError;
use crate::time::{Span, Time};

use super::Node;
use super::entries::Entry;
use super::io::Family;

/// Where it is kept.
pub(super) const ROTATING_KEY: &[u8] = b"rotating-entry";
/// How long the first one stays; each stays four times as long as the one before it.
const FIRST_TURN: Span = Span::from_mins(5);
/// How long one stays at most.
const LONGEST_TURN: Span = Span::DAY;
/// One that is gone keeps its turn at least for so long, and for a quarter of it: else whoever keeps it
/// from answering would draw a new one every few minutes, until the turn is theirs.
const SHORTEST_TURN: Span = Span::from_mins(10);

/// The one that has its turn, and how many had one.
#[derive(Debug, Default)]
pub(super) struct Rotating {
    /// None before the first.
    entry: Option<Entry>,
    /// When the next is chosen.
    until: Time,
    turns: u32,
}

impl Rotating {
    /// Takes up the one that was kept.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        const DAMAGED: StoreError = StoreError::Damaged("rotating entry");
        let (turns, rest) = bytes.split_first_chunk().ok_or(DAMAGED)?;
        let (until, rest) = rest.split_first_chunk().ok_or(DAMAGED)?;
        let (entry, _) = Entry::read(rest).ok_or(DAMAGED)?;
        Ok(Self {
            entry: Some(entry),
            until: Time::from_millis(u64::from_be_bytes(*until)),
            turns: u32::from_be_bytes(*turns),
        })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let Some(entry) = &self.entry else { return Vec::new() };
        let mut bytes = Vec::new();
        bytes.extend(self.turns.to_be_bytes());
        bytes.extend(self.until.as_millis().to_be_bytes());
        bytes.extend(entry.to_bytes());
        bytes
    }

    /// How many nodes are remembered: one, or none before the first.
    pub(super) fn len(&self) -> usize {
        usize::from(self.entry.is_some())
    }

    /// The one that has its turn.
    pub(super) fn contact(&self) -> Option<&Contact> {
        self.entry.as_ref().map(Entry::contact)
    }

    /// A call to this node was answered.
    pub(super) fn answered(&mut self, node: &Contact) {
        self.entry.iter_mut().for_each(|entry| entry.answered(node));
    }

    /// A call to this node was not answered.
    pub(super) fn failed(&mut self, node: &Address, now: Time) {
        self.entry.iter_mut().for_each(|entry| entry.failed(node, now));
    }

    /// When to call it again, if it does not answer.
    pub(super) fn next_try(&self) -> Option<Time> {
        self.entry.as_ref().and_then(Entry::next_try)
    }

    /// Whom to call, if that is due.
    pub(super) fn take_due(&mut self, now: Time) -> Option<Contact> {
        self.entry.as_mut().and_then(|entry| entry.take_due(now))
    }

    /// Whether another is to be chosen. A clock that is set back makes a turn longer by so much, but by two
    /// days at the most.
    fn is_over(&self, now: Time) -> bool {
        let Some(entry) = &self.entry else { return true };
        let (turn, passed) = (self.until.since(entry.since()), now.since(entry.since()));
        now >= self.until
            || self.until.since(now) > LONGEST_TURN.times(2)
            || entry.is_gone() && passed >= SHORTEST_TURN && passed.times(4) >= turn
    }

    fn begin_turn(&mut self, contact: Contact, now: Time, lasts: Span) {
        self.entry = Some(Entry::new(contact, now));
        self.until = now + lasts;
        self.turns = self.turns.saturating_add(1);
    }
}

impl Node {
    /// The entry that changes, a new one if its turn is over: clients that ask for it make the grants
    /// it needs. None while this node turns to the region itself.
    pub(super) fn rotate_entry(&mut self, now: Time) -> Option<Address> {
        if !self.is_behind_entries() {
            return None;
        }
        if self.rotating.is_over(now) {
            let mut candidates = self.entry_candidates(now);
            if let Some(contact) = self.draw(&mut candidates, 1).pop() {
                let turn = FIRST_TURN.times(4_u64.pow(self.rotating.turns.min(8)));
                let lasts = self.jittered(turn.min(LONGEST_TURN));
                self.rotating.begin_turn(contact, now, lasts);
                self.desk.put(Family::Meta, ROTATING_KEY.to_vec(), self.rotating.to_bytes());
            }
        }
        self.rotating.contact().map(Contact::address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyPair;

    const NOW: Time = Time::from_millis(1_700_000_000_000);

    fn contact(number: u8) -> Contact {
        let endpoint = ([127, 0, 0, number], 4_000).into();
        Contact::new(KeyPair::from_seed(&[number; 32]).public(), [endpoint])
    }

    #[test]
    fn the_rotating_entry_reads_back_as_it_was_written() {
        let mut rotating = Rotating::default();
        rotating.begin_turn(contact(1), NOW, Span::HOUR);
        rotating.begin_turn(contact(2), NOW + Span::HOUR, Span::DAY);
        let bytes = rotating.to_bytes();
        let read = Rotating::from_bytes(&bytes).unwrap();
        assert_eq!((read.contact(), read.turns), (Some(&contact(2)), 2));
        assert_eq!(read.until, NOW + Span::HOUR + Span::DAY);
        assert_eq!(read.to_bytes(), bytes);
        for len in 0..bytes.len() {
            assert!(Rotating::from_bytes(&bytes[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn a_turn_ends_in_time_or_when_its_node_is_gone_while_others_answer() {
        let mut rotating = Rotating::default();
        assert!(rotating.is_over(NOW));
        rotating.begin_turn(contact(1), NOW, Span::HOUR);
        let at = |minutes| NOW + Span::from_mins(minutes);
        assert!(!rotating.is_over(at(59)) && rotating.is_over(at(60)));
        // Nobody may be answering: then it is not this node that is gone.
        (1..9).for_each(|minute| rotating.failed(&contact(1).address(), at(minute)));
        assert!(!rotating.is_over(at(30)));
        fail_while_others_answer(&mut rotating, at(10), 3);
        // One call that was not answered, or four, end no turn.
        assert!(!rotating.is_over(at(30)));
        fail_while_others_answer(&mut rotating, at(13), 1);
        assert!(!rotating.is_over(at(14)) && rotating.is_over(at(15)));
        rotating.answered(&contact(1));
        assert!(!rotating.is_over(at(15)));
    }

    /// Else an adversary who keeps honest ones from answering would have the turn within a day.
    #[test]
    fn a_node_that_is_gone_keeps_a_long_turn_for_a_quarter_of_it() {
        let mut rotating = Rotating::default();
        rotating.begin_turn(contact(1), NOW, Span::DAY);
        fail_while_others_answer(&mut rotating, NOW, 9);
        let at = |hours| NOW + Span::HOUR.times(hours);
        assert!(!rotating.is_over(at(5)) && rotating.is_over(at(6)));
    }

    fn fail_while_others_answer(rotating: &mut Rotating, from: Time, times: u64) {
        for minute in 0..times {
            rotating.answered(&contact(2));
            rotating.failed(&contact(1).address(), from + Span::from_mins(minute));
        }
    }

    /// Else a clock that was a year ahead once would give the same node a turn of a year.
    #[test]
    fn a_turn_that_a_wrong_clock_began_does_not_last_for_ever() {
        let mut rotating = Rotating::default();
        rotating.begin_turn(contact(1), NOW + Span::DAY.times(365), Span::DAY);
        assert!(rotating.is_over(NOW));
    }
}
