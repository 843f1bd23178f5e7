//! Repeating envelopes until they end: the schedule and its rounds (PROTOCOL §6.1–6.3).
//!
//! A round takes up what is due, finds where it belongs, and gathers for each node what is to be
//! offered to it. What is said to that node is `exchange`'s business.

use std::collections::BTreeMap;

use rand_core::RngCore;

use crate::address::Address;
use crate::contact::Contact;
use crate::envelope::EnvelopeId;
use crate::message::{EnvelopeState, Push, Request};
use crate::receipt::Receipt;
use crate::store::StoreError;
use crate::time::{Span, Time};
use crate::verified::Verified;

use super::io::{Event, Family};
use super::keys;
use super::records::{Custody, Role};
use super::regions::{Found, LOOKUP_PATIENCE};
use super::targets::PROBE_WAIT;
use super::{Node, Turn};

/// How long what seems over, but is still held, is put off, and what a wrong clock has put off at the most.
const JUMP_PATIENCE: Span = Span::from_mins(15);

/// What is collected for others counts as having made so many rounds: by then they have renewed their
/// subscriptions and told of its end themselves.
pub(super) const COLLECTED_ROUNDS: u32 = 9;
/// The most receipts a source is told of.
const REPORTS_MAX: usize = u8::MAX as usize;

/// How a receipt came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// The holder gave it when this node offered or handed it the envelope.
    Asked,
    /// Somebody else passed it on: it takes none of the places of those who were asked.
    Told,
}

/// What one step will offer, by node.
#[derive(Debug, Default)]
pub(super) struct Rounds(BTreeMap<Address, (Contact, Vec<EnvelopeId>)>);

impl Rounds {
    pub(super) fn add(&mut self, contact: &Contact, id: EnvelopeId) {
        let entry = self.0.entry(contact.address());
        entry.or_insert_with(|| (contact.clone(), Vec::new())).1.push(id);
    }
}

impl Node {
    /// When the next envelope is due; never while there is nobody to relay to.
    pub(super) fn next_relay(&self) -> Option<Time> {
        if self.table.is_empty() || self.outage.is_cut_off() {
            return None;
        }
        let due = if self.unsettled.is_empty() { self.relay_at } else { Time::ZERO };
        Some(due).filter(|at| *at < Time::MAX).map(|at| at.max(self.outage.resume_at()))
    }

    /// Takes up what is due, a bounded number at a time.
    pub(super) fn relay_due(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        let waits = self.outage.is_cut_off() || self.outage.resume_at() > turn.now;
        if self.table.is_empty() || waits {
            return Ok(());
        }
        self.settle_next(turn)?;
        if self.relay_at > turn.now {
            return Ok(());
        }
        // One more than is taken up tells when to come back.
        let limit = self.config.due_per_step + 1;
        let mut due = turn.store.scan(Family::Schedule, keys::LOWEST, keys::HIGHEST, limit)?;
        let next = due.split_off(due.len().min(self.config.due_per_step));
        self.relay_at = next.first().map_or(Ok(Time::MAX), |(key, _)| due_time(key))?;
        let mut rounds = Rounds::default();
        for (key, _) in due {
            self.take_up(turn, key, &mut rounds)?;
        }
        self.take_in_strays(turn)?;
        self.pause_rounds(turn, self.relay_at <= turn.now);
        self.offer_all(turn, rounds)
    }

    /// Whether rounds may be due by a clock that was ahead of what it shows now, from when this node was
    /// off or before its clock jumped; or all at once, if it was behind. After it was set back a round may be
    /// hours late and yet earlier than the longest wait.
    pub(super) fn look_for_strays(&mut self, turn: Turn<'_>) {
        let set_back = self.clock.was_set_back();
        let most = if set_back { JUMP_PATIENCE } else { self.longest_wait() };
        self.take_strays_from(turn, turn.now + most);
    }

    fn take_strays_from(&mut self, turn: Turn<'_>, from: Time) {
        self.strays_from = Some(from);
        self.relay_at = turn.now;
        self.outage.expect_much();
    }

    /// What is due later than any wait could make it is due soon, a bounded number at a time. Not all at
    /// once: it may be everything that is held, if the clock is behind now.
    fn take_in_strays(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        let Some(from) = self.strays_from.take() else { return Ok(()) };
        let (from_key, limit) = (keys::due_from(from), self.config.due_per_step);
        let strays = turn.store.scan(Family::Schedule, &from_key, keys::HIGHEST, limit)?;
        if strays.len() == limit {
            self.take_strays_from(turn, from.max(turn.now + JUMP_PATIENCE));
        }
        for (key, _) in strays {
            let (due, id) = keys::parse_schedule(&key).ok_or(StoreError::Damaged("schedule"))?;
            match self.custody(turn, &id)? {
                Some(custody) if custody.due == due => {
                    let most = self.wait_before(custody.rounds).min(JUMP_PATIENCE);
                    let soon = turn.now + self.draw_span(most);
                    self.reschedule(&id, custody, soon);
                }
                _ => self.desk.delete(Family::Schedule, key),
            }
        }
        Ok(())
    }

    /// No round is due later than this after the one before.
    fn longest_wait(&self) -> Span {
        let longest = self.config.backoff_max.max(self.config.backoff_first);
        Span::from_millis(longest.as_millis().saturating_mul(6) / 5).max(JUMP_PATIENCE)
    }

    /// Makes the rounds of envelopes whose region has just been found.
    pub(super) fn relay_found(
        &mut self,
        turn: Turn<'_>,
        ids: &[EnvelopeId],
    ) -> Result<(), StoreError> {
        // Who was looked for in vain while nobody answers comes round again.
        let ids = if self.outage.is_cut_off() { &[][..] } else { ids };
        let mut rounds = Rounds::default();
        for id in ids {
            if let Some(custody) = self.custody(turn, id)? {
                self.make_round(turn, id, custody, &mut rounds)?;
            }
        }
        self.offer_all(turn, rounds)
    }

    /// When a new envelope is first offered: at once by its sender's node and by an entry, after
    /// the first wait by a node of its own region, which others have been given it beside. What is collected
    /// is asked about later.
    pub(super) fn first_due(&mut self, turn: Turn<'_>, mailbox: &Address, role: Role) -> Time {
        if role == Role::Collected {
            return turn.now + self.wait_before(COLLECTED_ROUNDS);
        }
        if role == Role::Own || !self.is_in_region(&self.address, mailbox) {
            return turn.now;
        }
        turn.now + self.wait_before(1)
    }

    /// Enters `id` into the schedule.
    pub(super) fn schedule(&mut self, due: Time, id: &EnvelopeId) {
        self.desk.put(Family::Schedule, keys::schedule(due, id), Vec::new());
        self.relay_at = self.relay_at.min(due);
    }

    /// Writes a changed record and moves its place in the schedule.
    fn reschedule(&mut self, id: &EnvelopeId, mut custody: Custody, due: Time) {
        self.desk.delete(Family::Schedule, keys::schedule(custody.due, id));
        custody.due = due;
        self.desk.put(Family::Custody, id.as_bytes().to_vec(), custody.to_bytes());
        self.schedule(due, id);
    }

    /// Notes that a node has the envelope on disk, and tells whom it concerns.
    pub(super) fn add_holder(
        &mut self,
        turn: Turn<'_>,
        id: &EnvelopeId,
        receipt: &Verified<Receipt>,
        word: Word,
    ) -> Result<(), StoreError> {
        let Some(mut custody) = self.custody(turn, id)? else { return Ok(()) };
        let (holder, before) = (receipt.holder(), custody.asked);
        let new = holder != self.address
            && match word {
                Word::Asked => custody.add_asked(holder),
                Word::Told => custody.add_claim(holder),
            };
        if !new {
            if custody.asked != before {
                self.desk.put(Family::Custody, id.as_bytes().to_vec(), custody.to_bytes());
            }
            return Ok(());
        }
        // The sender's node learns through its entry how many have it; one report per holder up to
        // the number that makes an envelope count as stored.
        let told = custody.source.filter(|source| self.reports_to(&custody, source));
        custody.reported += u8::from(told.is_some());
        self.desk.put(Family::Custody, id.as_bytes().to_vec(), custody.to_bytes());
        match (custody.role, told) {
            (Role::Own, _) => self.tell_state(id, state_of(&custody)),
            (_, Some(source)) => {
                self.tell(turn, &source, Push::Receipts(vec![receipt.clone()]));
            }
            _ => {}
        }
        Ok(())
    }

    /// Another node repeats this envelope: our next round may be left out. It need not be offered
    /// the envelope any more; but what a client is told of an own one rests on receipts alone.
    pub(super) fn heard_of(
        &mut self,
        turn: Turn<'_>,
        id: &EnvelopeId,
        from: &Address,
    ) -> Result<(), StoreError> {
        let Some(mut custody) = self.custody(turn, id)? else { return Ok(()) };
        let belongs = custody.role != Role::Own && self.is_in_region(from, &custody.mailbox);
        let new = belongs && custody.add_claim(*from);
        let heard = !custody.heard && custody.rounds > 0;
        if new || heard {
            custody.heard |= heard;
            self.desk.put(Family::Custody, id.as_bytes().to_vec(), custody.to_bytes());
        }
        Ok(())
    }

    /// Notes that `holder` has the envelope from us: it will be told of its end.
    pub(super) fn note_given(
        &mut self,
        turn: Turn<'_>,
        id: &EnvelopeId,
        holder: &Address,
    ) -> Result<(), StoreError> {
        if let Some(mut custody) = self.custody(turn, id)? {
            custody.note_given(holder);
            self.desk.put(Family::Custody, id.as_bytes().to_vec(), custody.to_bytes());
        }
        Ok(())
    }

    /// Tells watchers and whoever listens to events.
    pub(super) fn tell_state(&mut self, id: &EnvelopeId, state: EnvelopeState) {
        self.event(Event::State { id: *id, state });
        self.tell_watchers(id, state);
    }

    /// Asks or tells a node by whatever way leads to it: its stream for pushes, or a call.
    pub(super) fn tell(&mut self, turn: Turn<'_>, to: &Address, push: Push) {
        if self.listeners.contains(to) {
            self.desk.push(super::Output::Push { to: *to, push });
            return;
        }
        let Some(contact) = self.contact(to) else { return };
        let request = match push {
            Push::Acknowledgements(acknowledgements) => Request::Acknowledge { acknowledgements },
            Push::Receipts(receipts) => Request::Receipts { receipts },
            // Subscribers without a stream ask again by themselves.
            Push::Waiting(_) => return,
        };
        self.call(turn, contact, request, super::calls::Purpose::Tell);
    }

    fn take_up(
        &mut self,
        turn: Turn<'_>,
        key: Vec<u8>,
        rounds: &mut Rounds,
    ) -> Result<(), StoreError> {
        let (due, id) = keys::parse_schedule(&key).ok_or(StoreError::Damaged("schedule"))?;
        if due > turn.now {
            self.relay_at = self.relay_at.min(due);
            return Ok(());
        }
        match self.custody(turn, &id)? {
            Some(custody) if custody.due == due && custody.expires_at > self.clock.agreed() => {
                self.make_round(turn, &id, custody, rounds)
            }
            // Over by a clock that has jumped, which may be set back: it keeps its place.
            Some(custody) if custody.due == due => {
                self.reschedule(&id, custody, turn.now + JUMP_PATIENCE);
                Ok(())
            }
            _ => {
                self.desk.delete(Family::Schedule, key);
                Ok(())
            }
        }
    }

    fn make_round(
        &mut self,
        turn: Turn<'_>,
        id: &EnvelopeId,
        mut custody: Custody,
        rounds: &mut Rounds,
    ) -> Result<(), StoreError> {
        match self.region_of_round(turn, &custody) {
            Found::Searching => {
                self.regions.await_by(&custody.mailbox, *id);
                self.reschedule(id, custody, turn.now + LOOKUP_PATIENCE);
            }
            Found::Nodes(nodes) => {
                // Never two rounds in a row: whoever offers it time and again must not keep
                // everybody else from repeating it.
                let others_repeat = custody.heard && custody.role != Role::Collected;
                if !(others_repeat && custody.rounds > 1 && custody.rounds % 2 == 1) {
                    let chosen = self.choose(turn, &custody, nodes);
                    chosen.iter().for_each(|to| rounds.add(to, *id));
                }
                let probes = custody.rounds == 0 && self.is_entry_for(&custody);
                custody.rounds = custody.rounds.saturating_add(1);
                custody.heard = false;
                let wait = if probes { PROBE_WAIT } else { self.wait_before(custody.rounds) };
                self.reschedule(id, custody, turn.now + wait);
            }
        }
        Ok(())
    }

    /// The wait before round `round`: doubling, capped, with ±20 % jitter (PROTOCOL §6.3).
    fn wait_before(&mut self, round: u32) -> Span {
        let first = self.config.backoff_first.as_millis();
        let doubled = first.saturating_mul(1 << round.saturating_sub(1).min(30));
        self.jittered(Span::from_millis(doubled.min(self.config.backoff_max.as_millis())))
    }

    /// A span within a fifth of this one, at random.
    pub(super) fn jittered(&mut self, span: Span) -> Span {
        let whole = span.as_millis();
        let jitter = self.rng.next_u64() % (whole * 2 / 5).max(1);
        Span::from_millis(whole * 4 / 5 + jitter)
    }

    fn reports_to(&self, custody: &Custody, source: &Address) -> bool {
        custody.role == Role::Relayed
            && usize::from(custody.reported) < self.config.stored_receipts.min(REPORTS_MAX)
            && !self.is_in_region(source, &custody.mailbox)
    }
}

/// How far an envelope has come, by its record.
pub(super) fn state_of(custody: &Custody) -> EnvelopeState {
    let others = custody.holders.iter().filter(|holder| Some(**holder) != custody.source).count();
    if others == 0 { EnvelopeState::Accepted } else { EnvelopeState::Stored(others as u32) }
}

fn due_time(key: &[u8]) -> Result<Time, StoreError> {
    keys::parse_schedule(key).map(|(due, _)| due).ok_or(StoreError::Damaged("schedule"))
}

impl IntoIterator for Rounds {
    type Item = (Address, (Contact, Vec<EnvelopeId>));
    type IntoIter = std::collections::btree_map::IntoIter<Address, (Contact, Vec<EnvelopeId>)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
