//! The nodes that this node's own clients are hidden behind (PROTOCOL §6.8).
//!
//! Entry type is [`Entries`]. They are kept, over restarts too, until they are gone for good: each new
//! draw is another chance for whoever wants to be one of them. While some are away as many others
//! stand in for them, which are kept as well for the next time. How entries are used is the business of
//! `regions` and `targets`.

use crate::address::Address;
use crate::contact::Contact;
use crate::store::StoreError;
use crate::table::Status;
use crate::time::{Span, Time};

use super::io::Family;
use super::{Node, Turn};

/// Where they are kept.
pub(super) const ENTRIES_KEY: &[u8] = b"entries";
/// Failures without an answer in between after which an entry is gone.
const GONE_AFTER: u32 = 5;
/// Only so often does a failure count; as often is an entry called that does not answer.
const COUNTED_EVERY: Span = Span::from_mins(1);
/// One that is gone is called ever more seldom: the time in between is doubled so often at the most.
const DOUBLED_MAX: u32 = 6;

/// Nodes chosen once, and how they have answered since.
#[derive(Debug, Default)]
pub(super) struct Entries {
    kept: Vec<Entry>,
    /// Whether they come from the disk, and this node has yet to find its place again.
    restored: bool,
}

/// A node that this node's clients are hidden behind, and how it has answered since it was chosen.
#[derive(Debug)]
pub(super) struct Entry {
    contact: Contact,
    since: Time,
    failures: u32,
    counted_at: Time,
    tried_at: Time,
    /// How often it was called since it is gone.
    tries: u32,
    /// Whether another node has answered since the last failure that counted: as long as nobody
    /// does, it is not the entry that is gone.
    others_answer: bool,
}

impl Entries {
    /// Takes up those that were kept.
    pub(super) fn from_bytes(mut bytes: &[u8]) -> Result<Self, StoreError> {
        let mut kept = Vec::new();
        while !bytes.is_empty() {
            let (entry, rest) = Entry::read(bytes).ok_or(StoreError::Damaged("entries"))?;
            kept.push(entry);
            bytes = rest;
        }
        let restored = !kept.is_empty();
        Ok(Self { kept, restored })
    }

    fn to_bytes(&self) -> Vec<u8> {
        self.kept.iter().flat_map(Entry::to_bytes).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn contains(&self, node: &Address) -> bool {
        self.kept.iter().any(|entry| entry.contact.address() == *node)
    }

    /// The first `count` that are not away, and if these are fewer, the first of the others.
    pub(super) fn contacts(&self, count: usize) -> Vec<Contact> {
        let (mut use_first, away): (Vec<_>, Vec<_>) =
            self.kept.iter().partition(|entry| !entry.is_away());
        use_first.extend(away);
        use_first.into_iter().take(count).map(|entry| entry.contact.clone()).collect()
    }

    fn present(&self) -> usize {
        self.kept.iter().filter(|entry| !entry.is_away()).count()
    }

    /// Whether they were chosen before a restart, after which the network has not been found again.
    pub(super) fn are_restored(&self) -> bool {
        self.restored
    }

    /// The network has been found: what is known of it now counts. Whether that is news.
    pub(super) fn settle(&mut self) -> bool {
        std::mem::take(&mut self.restored)
    }

    /// A call to this node was answered.
    pub(super) fn answered(&mut self, node: &Contact) {
        self.kept.iter_mut().for_each(|entry| entry.answered(node));
    }

    /// A call to this node was not answered.
    pub(super) fn failed(&mut self, node: &Address, now: Time) {
        self.kept.iter_mut().for_each(|entry| entry.failed(node, now));
    }

    fn next_try(&self) -> Option<Time> {
        self.kept.iter().filter_map(Entry::next_try).min()
    }

    fn take_due(&mut self, now: Time) -> Vec<Contact> {
        self.kept.iter_mut().filter_map(|entry| entry.take_due(now)).collect()
    }
}

impl Entry {
    pub(super) fn new(contact: Contact, since: Time) -> Self {
        let (counted_at, tried_at) = (Time::ZERO, Time::ZERO);
        Self { contact, since, failures: 0, counted_at, tried_at, tries: 0, others_answer: false }
    }

    /// The first entry of these bytes, and the bytes after it.
    pub(super) fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (since, rest) = bytes.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (contact, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        let since = Time::from_millis(u64::from_be_bytes(*since));
        Some((Self::new(Contact::from_stored(contact)?, since), rest))
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let contact = self.contact.to_stored();
        let mut bytes = self.since.as_millis().to_be_bytes().to_vec();
        bytes.extend((contact.len() as u32).to_be_bytes());
        bytes.extend(contact);
        bytes
    }

    pub(super) fn contact(&self) -> &Contact {
        &self.contact
    }

    /// When it was chosen.
    pub(super) fn since(&self) -> Time {
        self.since
    }

    /// A call to this node was answered.
    pub(super) fn answered(&mut self, node: &Contact) {
        if self.contact.key() == node.key() {
            (self.failures, self.tries) = (0, 0);
            self.contact = node.clone();
        } else {
            self.others_answer = true;
        }
    }

    /// A call to this node was not answered.
    pub(super) fn failed(&mut self, node: &Address, now: Time) {
        if self.contact.address() != *node {
            return;
        }
        let lately = self.failures > 0 && now.since(self.counted_at) < COUNTED_EVERY;
        if self.failures == 0 || self.others_answer && !lately {
            self.failures += 1;
            self.counted_at = now;
            self.others_answer = false;
        }
    }

    /// Whether others answer, and it does not.
    fn is_away(&self) -> bool {
        self.failures > 0 && self.others_answer
    }

    /// Whether it has not answered for so long that it will not be waited for.
    pub(super) fn is_gone(&self) -> bool {
        self.failures >= GONE_AFTER
    }

    /// When to call it again, if it does not answer: ever more seldom once it is gone, until it is replaced.
    pub(super) fn next_try(&self) -> Option<Time> {
        let wait = COUNTED_EVERY.times(1 << self.tries.min(DOUBLED_MAX));
        (self.failures > 0).then(|| self.counted_at.max(self.tried_at) + wait)
    }

    /// Whom to call, if that is due.
    pub(super) fn take_due(&mut self, now: Time) -> Option<Contact> {
        self.next_try().filter(|at| *at <= now)?;
        self.tried_at = now;
        self.tries += u32::from(self.is_gone());
        Some(self.contact.clone())
    }
}

impl Node {
    /// The nodes this node's clients are hidden behind. Those that are gone are replaced; at most twice
    /// as many are kept, for those that are away.
    pub(super) fn entry_contacts(&mut self, now: Time) -> Vec<Contact> {
        let before = self.entries.kept.len();
        self.entries.kept.retain(|entry| !entry.is_gone());
        let mut changed = self.entries.kept.len() != before;
        let wanted = self.config.entries;
        while self.entries.present() < wanted && self.entries.kept.len() < 2 * wanted {
            let mut candidates = self.entry_candidates(now);
            let Some(contact) = self.draw(&mut candidates, 1).pop() else { break };
            self.entries.kept.push(Entry::new(contact, now));
            changed = true;
        }
        if changed {
            self.desk.put(Family::Meta, ENTRIES_KEY.to_vec(), self.entries.to_bytes());
        }
        self.entries.contacts(wanted)
    }

    /// Calls those entries again that do not answer.
    pub(super) fn entries_due(&mut self, turn: Turn<'_>) {
        let due = self.entries.take_due(turn.now);
        for contact in due.into_iter().chain(self.rotating.take_due(turn.now)) {
            self.ping(turn, contact);
        }
    }

    /// When an entry that does not answer is to be called again.
    pub(super) fn next_entry_try(&self) -> Option<Time> {
        self.entries.next_try().into_iter().chain(self.rotating.next_try()).min()
    }

    /// Nodes that may be chosen as one.
    pub(super) fn entry_candidates(&self, now: Time) -> Vec<Contact> {
        let entries = self.table.entries().map(|entry| entry.contact());
        let may_be = |contact: &&Contact| {
            let address = contact.address();
            let alive = self.table.status(&address, now).is_some_and(|s| s != Status::Bad);
            let is_rotating = self.rotating.contact().is_some_and(|one| one.key() == contact.key());
            alive && !is_rotating && !self.entries.contains(&address)
        };
        entries.filter(may_be).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyPair;

    fn contact(number: u8) -> Contact {
        let endpoint = ([127, 0, 0, number], 4_000).into();
        Contact::new(KeyPair::from_seed(&[number; 32]).public(), [endpoint])
    }

    fn of_two() -> Entries {
        let kept = [1, 2].map(|n| Entry::new(contact(n), Time::from_millis(n.into())));
        Entries { kept: kept.into(), restored: false }
    }

    fn failures(entries: &Entries) -> [u32; 2] {
        [0, 1].map(|at: usize| entries.kept[at].failures)
    }

    #[test]
    fn entries_read_back_as_they_were_written() {
        let entries = of_two();
        let read = Entries::from_bytes(&entries.to_bytes()).unwrap();
        assert_eq!(read.contacts(9), [contact(1), contact(2)]);
        assert_eq!(read.kept[1].since, Time::from_millis(2));
        assert!(read.are_restored() && !Entries::from_bytes(&[]).unwrap().are_restored());
        for len in 1..entries.to_bytes().len() / 2 {
            assert!(Entries::from_bytes(&entries.to_bytes()[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn a_failure_counts_once_a_minute_and_only_while_others_answer() {
        let mut entries = of_two();
        let at = |minutes: u64| Time::from_millis(1) + Span::from_mins(minutes);
        let failing = contact(1).address();
        for _ in 0..10 {
            entries.answered(&contact(2));
            entries.failed(&failing, at(0));
        }
        assert_eq!(failures(&entries), [1, 0]);
        entries.answered(&contact(3));
        (1..10).for_each(|minute| entries.failed(&failing, at(minute)));
        assert_eq!(failures(&entries), [2, 0]);
        assert_eq!(entries.next_try(), Some(at(2)));
        assert_eq!(entries.take_due(at(10)), [contact(1)]);
        assert_eq!(entries.next_try(), Some(at(11)));
        entries.answered(&contact(1));
        assert_eq!((failures(&entries), entries.next_try()), ([0, 0], None));
    }

    #[test]
    fn an_entry_that_is_gone_is_called_ever_more_seldom_until_it_answers() {
        let mut entries = of_two();
        let gone = contact(1).address();
        let at = |minutes: u64| Time::from_millis(1) + Span::from_mins(minutes);
        for minute in 0..5 {
            entries.answered(&contact(2));
            entries.failed(&gone, at(minute));
        }
        assert!(entries.kept[0].is_gone());
        let mut calls = Vec::new();
        while let Some(next) = entries.next_try().filter(|next| *next < at(24 * 60)) {
            assert_eq!(entries.take_due(next), [contact(1)]);
            calls.push(next.since(at(0)).as_millis() / 60_000);
        }
        assert_eq!(calls[..7], [5, 7, 11, 19, 35, 67, 131]);
        assert!(calls.len() < 30, "{} calls a day", calls.len());
        entries.answered(&contact(1));
        entries.failed(&gone, at(24 * 60));
        assert_eq!(entries.next_try(), Some(at(24 * 60 + 1)));
    }

    #[test]
    fn an_entry_is_away_once_others_answer_and_back_in_its_place_when_it_does() {
        let mut entries = of_two();
        entries.failed(&contact(1).address(), Time::from_millis(1));
        // Nobody may be answering: then it is not the entry that is away.
        assert_eq!((entries.present(), entries.contacts(1)), (2, vec![contact(1)]));
        entries.answered(&contact(3));
        assert_eq!((entries.present(), entries.contacts(1)), (1, vec![contact(2)]));
        assert_eq!(entries.contacts(9), [contact(2), contact(1)]);
        entries.answered(&contact(1));
        assert_eq!((entries.present(), entries.contacts(9)), (2, vec![contact(1), contact(2)]));
    }
}
