//! Testing whether the entries still bring what arrives (PROTOCOL §6.10).
//!
//! Entry type is [`Canaries`]. Now and then a node with readers sends itself an envelope through a node
//! that is no entry, and sees which entries tell of it. It looks like any other envelope in a mailbox of
//! its own, so that whoever drops what it is to bring cannot make an exception. Whom the entry is replaced
//! with is the business of `entries`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rand_core::RngCore;

use crate::acknowledgement::{Acknowledgement, KEPT_AFTER_EXPIRY};
use crate::address::Address;
use crate::contact::Contact;
use crate::envelope::{Envelope, EnvelopeId, Header, SizeClass, Suite, TTL_DEFAULT};
use crate::grant::Grant;
use crate::key::KeyPair;
use crate::message::{Push, Request, Response};
use crate::store::StoreError;
use crate::time::{Span, Time};

use super::calls::Purpose;
use super::io::Event;
use super::{Node, Turn};

/// Canaries that follow each other quickly, since new entries have not been tested yet.
const EARLY_ROUNDS: u32 = 12;
/// The mean time between them.
const EARLY_INTERVAL: Span = Span::from_mins(15);
/// How long an entry has to tell: until after its subscriptions have been renewed once, so that one
/// lost message is no reason to doubt it.
const JUDGED_AFTER: Span = Span::from_mins(12);
/// So many canaries lost in a row that another entry told of, and an entry is replaced.
const STRIKES: u8 = 3;
/// So many canaries in a row of which no entry told, each sent through another node, count as one
/// lost by every entry.
const SILENT_ROUNDS: u8 = 3;
/// The grants last as long as those of clients.
const GRANT_LASTS: Span = Span::from_days(2);

/// What came of the canaries so far, and the one that is under way.
#[derive(Debug, Default)]
pub(super) struct Canaries {
    /// When the next one is sent; zero before the first was planned.
    next: Time,
    rounds: u32,
    silent: u8,
    strikes: BTreeMap<Address, u8>,
    under_way: Option<Canary>,
}

/// An envelope from us to us.
#[derive(Debug)]
struct Canary {
    mailbox: KeyPair,
    envelope: Envelope,
    carrier: Contact,
    /// Who was to collect it, and who of them told of it.
    tested: BTreeSet<Address>,
    heard: BTreeSet<Address>,
    judged_at: Time,
}

impl Canaries {
    /// An entry tells that something waits.
    pub(super) fn heard(&mut self, id: &EnvelopeId, entry: &Address) {
        if let Some(canary) = &mut self.under_way
            && canary.envelope.id() == *id
            && canary.tested.contains(entry)
        {
            canary.heard.insert(*entry);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.strikes.len() + usize::from(self.under_way.is_some())
    }

    /// Counts what came of one canary: those who have now lost too many.
    fn judge(&mut self, tested: &BTreeSet<Address>, heard: &BTreeSet<Address>) -> Vec<Address> {
        self.strikes.retain(|entry, _| tested.contains(entry) && !heard.contains(entry));
        self.silent = if heard.is_empty() { self.silent + 1 } else { 0 };
        // Of what nobody told, its carrier may have dropped it.
        if self.silent > 0 && self.silent < SILENT_ROUNDS {
            return Vec::new();
        }
        self.silent = 0;
        let lost: Vec<_> = tested.difference(heard).copied().collect();
        lost.into_iter().filter(|entry| self.strike(*entry)).collect()
    }

    fn strike(&mut self, entry: Address) -> bool {
        let strikes = self.strikes.entry(entry).or_default();
        *strikes += 1;
        let is_out = *strikes >= STRIKES;
        if is_out {
            self.strikes.remove(&entry);
        }
        is_out
    }
}

impl Node {
    /// When a canary is to be sent or judged next. Only a node with readers has anything to lose.
    pub(super) fn next_canary(&self) -> Option<Time> {
        if let Some(canary) = &self.canaries.under_way {
            return Some(canary.judged_at);
        }
        let has_readers = self.sessions.values().any(|session| !session.mailboxes.is_empty());
        let wanted =
            self.config.canary_interval > Span::from_millis(0) && !self.outage.is_cut_off();
        (wanted && has_readers && self.is_behind_entries()).then_some(self.canaries.next)
    }

    /// Sends or judges what is due.
    pub(super) fn canaries_due(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        if self.next_canary().is_none_or(|at| at > turn.now) {
            return Ok(());
        }
        if let Some(canary) = self.canaries.under_way.take() {
            return self.judge_canary(turn, &canary);
        }
        let is_first = self.canaries.next == Time::ZERO;
        self.canaries.next = turn.now + self.wait_for_canary();
        if !is_first {
            self.canaries.rounds = self.canaries.rounds.saturating_add(1);
            self.send_canary(turn);
        }
        Ok(())
    }

    /// The carrier of a canary answered: it is handed what it lacks, as anybody would be.
    pub(super) fn on_canary_answer(&mut self, turn: Turn<'_>, from: &Contact, response: &Response) {
        let Some(canary) = &self.canaries.under_way else { return };
        let id = canary.envelope.id();
        if let Response::Offered { wanted, .. } = response
            && wanted.contains(&id)
            && canary.carrier == *from
        {
            let request = Request::Deliver { envelopes: vec![canary.envelope.clone()] };
            self.call(turn, from.clone(), request, Purpose::Canary);
        }
    }

    fn send_canary(&mut self, turn: Turn<'_>) {
        let mut seed = [0; KeyPair::SEED_LEN];
        self.rng.fill_bytes(&mut seed);
        let mailbox = KeyPair::from_seed(&seed);
        let mut carriers = self.carriers(turn.now, &mailbox.address());
        let Some(carrier) = self.draw(&mut carriers, 1).pop() else { return };
        let Some(envelope) = self.seal_canary(turn.now, &mailbox) else { return };
        let entries = self.entry_contacts(turn.now);
        let tested: BTreeSet<_> = entries.iter().map(Contact::address).collect();
        for collector in tested.iter().chain([&self.address.clone()]) {
            let grant = Grant::sign(&mailbox, *collector, turn.now + GRANT_LASTS);
            self.collect_for_client(turn, grant);
        }
        let request = Request::Offer { ids: vec![envelope.id()] };
        self.call(turn, carrier.clone(), request, Purpose::Canary);
        let (heard, judged_at) = (BTreeSet::new(), turn.now + JUDGED_AFTER);
        let canary = Canary { mailbox, envelope, carrier, tested, heard, judged_at };
        self.canaries.under_way = Some(canary);
    }

    /// Noise of the commonest size and lifetime: whoever cannot open an envelope sees no difference.
    fn seal_canary(&mut self, now: Time, mailbox: &KeyPair) -> Option<Envelope> {
        let mut body = vec![0; SizeClass::K1.body_len()];
        self.rng.fill_bytes(&mut body);
        let expires_at = now + TTL_DEFAULT;
        let header =
            Header { suite: Suite::ONE, mailbox: mailbox.address(), expires_at, stamp_nonce: 0 };
        Envelope::new(header, Bytes::from(body)).ok()
    }

    fn judge_canary(&mut self, turn: Turn<'_>, canary: &Canary) -> Result<(), StoreError> {
        let id = canary.envelope.id();
        let until = canary.envelope.expires_at() + KEPT_AFTER_EXPIRY;
        if let Ok(read) = Acknowledgement::sign(&canary.mailbox, vec![id], until) {
            self.on_acknowledgements(turn, std::slice::from_ref(&read), None)?;
            self.tell(turn, &canary.carrier.address(), Push::Acknowledgements(vec![read]));
        }
        self.end_collection(&canary.mailbox.address());
        let present = |entry: &&Address| self.entries.is_present(entry);
        let tested = canary.tested.iter().filter(present).copied().collect();
        for entry in self.canaries.judge(&tested, &canary.heard) {
            self.entries.replace(&entry);
            self.event(Event::EntryReplaced { entry });
        }
        self.entry_contacts(turn.now);
        Ok(())
    }

    /// Who may carry a canary: no entry, or it would know who collects it, and nobody of the region
    /// where it is to be found.
    fn carriers(&self, now: Time, mailbox: &Address) -> Vec<Contact> {
        let mut carriers = self.entry_candidates(now);
        carriers.retain(|contact| !self.is_in_region(&contact.address(), mailbox));
        carriers
    }

    /// Half to one and a half of the interval, so that nobody knows when to behave.
    fn wait_for_canary(&mut self) -> Span {
        let is_early = self.canaries.rounds < EARLY_ROUNDS;
        let interval = self.config.canary_interval;
        let mean = if is_early { interval.min(EARLY_INTERVAL) } else { interval }.as_millis();
        Span::from_millis(mean / 2 + self.rng.next_u64() % mean.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(numbers: impl IntoIterator<Item = u8>) -> BTreeSet<Address> {
        numbers.into_iter().map(|number| Address::from_bytes([number; 20])).collect()
    }

    #[test]
    fn who_loses_three_in_a_row_that_others_told_of_is_out() {
        let (mut canaries, all) = (Canaries::default(), entries(0..4));
        for heard in [vec![0, 1, 2], vec![0, 1, 2], vec![0, 1, 2, 3], vec![0, 1, 2], vec![0, 2]] {
            assert_eq!(canaries.judge(&all, &entries(heard)), []);
        }
        assert_eq!(canaries.judge(&all, &entries([0, 2])), [Address::from_bytes([3; 20])]);
        assert_eq!(canaries.judge(&all, &entries([0, 2])), [Address::from_bytes([1; 20])]);
    }

    #[test]
    fn where_nobody_tells_the_carriers_may_be_to_blame_but_not_for_ever() {
        let (mut canaries, all) = (Canaries::default(), entries(0..4));
        for _ in 0..8 {
            assert_eq!(canaries.judge(&all, &BTreeSet::new()), []);
        }
        assert_eq!(canaries.judge(&all, &BTreeSet::new()).len(), 4);
        // One that comes in between clears whoever told of it, and the others stay suspect.
        for _ in 0..6 {
            assert_eq!(canaries.judge(&all, &BTreeSet::new()), []);
        }
        assert_eq!(canaries.judge(&all, &entries([0, 1, 2])), [Address::from_bytes([3; 20])]);
        assert_eq!(canaries.len(), 0);
    }

    #[test]
    fn nothing_is_remembered_of_those_who_are_no_entries_any_more() {
        let mut canaries = Canaries::default();
        canaries.judge(&entries(0..4), &entries([0]));
        assert_eq!(canaries.len(), 3);
        canaries.judge(&entries([0, 9]), &entries([0, 9]));
        assert_eq!(canaries.len(), 0);
    }
}
