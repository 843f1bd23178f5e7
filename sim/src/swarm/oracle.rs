//! Watches every honest node from outside and says what must not be.
//!
//! Entry type is [`Oracle`]. It sees every input before a node has it and every output before it is
//! done, and looks at disks; it knows which envelopes were sent and which of them their readers have
//! acknowledged, and nothing of what nodes think. One file for each kind of rule. What should have
//! happened in the end is the business of [`crate::swarm::verdict`].

mod bounds;
mod endings;
mod evictions;
mod image;
mod meetings;
mod promises;
mod serving;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use comm_proto::envelope::{Envelope, EnvelopeId};
use comm_proto::message::{ClientRequest, ClientResponse, EnvelopeState};
use comm_proto::node::{CallId, Event, Family, Input, Output, RequestId, SessionId};
use comm_proto::store::Store;
use comm_proto::time::{Span, Time};

use crate::host::{At, Host};

pub(crate) use meetings::{IN_VAIN_MAX, LONG_AGO};
pub(crate) use serving::Skews;

/// Violations kept; whatever is wrong once is wrong often.
const VIOLATIONS_MAX: usize = 16;

/// An honest host at one moment.
pub(crate) struct Seen<'a> {
    /// The true time.
    pub(crate) now: Time,
    /// The time by its clock.
    pub(crate) clock: Time,
    pub(crate) at: At,
    pub(crate) host: &'a Host,
}

/// What must always hold. The text says what was seen instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A node that gives a receipt, tells a client that an envelope is accepted or shows it to a reader has it on disk; one
    /// that confirms an acknowledgement has the end on disk.
    PromiseBeforeDisk,
    /// What was promised is on disk until it ends.
    PromiseBroken,
    /// An envelope is removed only by its reader, its sender, its time, or, where the disk is full, in favour of
    /// those who use less of it.
    WronglyRemoved,
    /// Who has an envelope and gets its acknowledgement has it no longer.
    AcknowledgementIgnored,
    /// What has ended at a node is not offered, handed over or announced by it.
    EndedServed,
    /// What is over is not served.
    ExpiredServed,
    /// An envelope is what its sender made.
    Altered,
    /// A reader is handed an envelope once for each time they open their mailbox.
    HandedTwice,
    /// States told to clients do not go back, and are true.
    StateUntrue,
    /// The tables of a store fit together.
    ImageTorn,
    /// Everything that a node keeps is within its bounds.
    BoundExceeded,
    /// What was accepted and is not over reaches its reader.
    NotDelivered,
    /// A node that knows of an end tells it to every other that asks about the envelope.
    EndNotTold,
    /// A node that asks others about what was acknowledged long ago is told sooner or later.
    StillSpokenOf,
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// When, from the beginning of the world.
    pub after: Span,
    /// Whose node.
    pub host: At,
    /// What was seen.
    pub what: String,
}

/// What the world is told and what it did, as far as the rules need it.
#[derive(Default)]
pub(crate) struct Oracle {
    sent: BTreeMap<EnvelopeId, Sent>,
    /// What honest nodes have promised to have.
    promised: BTreeMap<(At, EnvelopeId), &'static str>,
    /// What clients took back at their nodes.
    cancelled: BTreeSet<(At, EnvelopeId)>,
    told: BTreeMap<(At, EnvelopeId), EnvelopeState>,
    receipts: BTreeMap<EnvelopeId, BTreeSet<At>>,
    adversaries: usize,
    cursors: BTreeMap<(At, SessionId), u64>,
    submissions: BTreeMap<RequestId, EnvelopeId>,
    /// What acknowledgements of clients end at their node.
    acknowledging: BTreeMap<RequestId, Vec<EnvelopeId>>,
    calls: BTreeMap<(At, CallId), endings::Asked>,
    /// What others ask honest nodes about.
    questions: BTreeMap<RequestId, meetings::Question>,
    /// What the node that has its input now must not have any more after it.
    to_end: Vec<EnvelopeId>,
    /// What it has just been answered about.
    met: Vec<EnvelopeId>,
    /// What it has just removed before its time, and has not said why.
    unexplained: BTreeMap<EnvelopeId, evictions::Removed>,
    /// What it removes in this step that has expired by its own clock alone, and when it expires; and what
    /// has expired by others' clocks too.
    removed_early: BTreeMap<EnvelopeId, Time>,
    removed_in_time: BTreeSet<EnvelopeId>,
    /// What it has just evicted.
    evicted: Vec<evictions::Removed>,
    /// How often a node has asked about what was acknowledged long ago, and still has it.
    in_vain: BTreeMap<(At, EnvelopeId), u32>,
    skews: Skews,
    /// By how much clocks were set ahead, and when; what was put right is left out.
    set_ahead: BTreeMap<At, Vec<(Time, Span)>>,
    /// When all that goes wrong has ended.
    healed: Option<Time>,
    checks: BTreeMap<&'static str, u64>,
    violations: Vec<Violation>,
    start: Time,
}

/// An envelope that somebody sent, or an adversary made.
struct Sent {
    envelope: Envelope,
    /// When its reader did so first.
    acknowledged: Option<Time>,
    /// When a node confirmed that first, with the end on its disk.
    confirmed: Option<Time>,
    /// Until when all acknowledgements of it last.
    told_until: Option<Time>,
}

impl Sent {
    const fn new(envelope: Envelope) -> Self {
        Self { envelope, acknowledged: None, confirmed: None, told_until: None }
    }
}

impl Oracle {
    /// Looks on from `start`; so many hosts are nobody's friends, and clocks are as wrong as this.
    pub(crate) fn new(start: Time, adversaries: usize, skews: Skews) -> Self {
        Self { start, adversaries, skews, ..Self::default() }
    }

    /// What was wrong so far.
    pub(crate) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// How often each thing was looked at.
    pub(crate) fn checks(&self) -> &BTreeMap<&'static str, u64> {
        &self.checks
    }

    /// An adversary hands this envelope out, which it has made or knows from somewhere.
    pub(crate) fn made_up(&mut self, envelope: Envelope) {
        self.sent.entry(envelope.id()).or_insert(Sent::new(envelope));
    }

    /// A node's clock jumps ahead now.
    pub(crate) fn clock_set_ahead(&mut self, host: At, now: Time, by: Span) {
        self.set_ahead.entry(host).or_default().push((now, by));
    }

    /// A node's clock jumps back now: that makes up for its latest jumps ahead.
    pub(crate) fn clock_set_back(&mut self, host: At, mut by: Span) {
        let jumps = self.set_ahead.entry(host).or_default();
        while let Some((_, ahead)) = jumps.last_mut().filter(|_| by > Span::ZERO) {
            let made_up = by.min(*ahead);
            (*ahead, by) = (*ahead - made_up, by - made_up);
            jumps.pop_if(|(_, ahead)| *ahead == Span::ZERO);
        }
    }

    /// All that goes wrong ends now.
    pub(crate) fn healed(&mut self, now: Time) {
        self.healed = Some(now);
    }

    /// An honest node is about to get this.
    pub(crate) fn before(&mut self, seen: &Seen<'_>, input: &Input) {
        self.to_end.clear();
        self.met.clear();
        match input {
            Input::ClientRequest { id, session, request } => {
                self.client_asks(seen, *id, *session, request);
            }
            Input::Request { id, request, .. } => self.asked_by_another(seen, *id, request),
            _ => {}
        }
        self.meet(seen, input);
    }

    /// An honest node wants this done. A batch is not written yet.
    pub(crate) fn output(&mut self, seen: &Seen<'_>, output: &Output) {
        match output {
            Output::Write(batch) => self.removals(seen, &batch.writes),
            Output::Reply { result: Err(refusal), .. }
            | Output::ClientReply { result: Err(refusal), .. } => self.check(refusal.name()),
            Output::Reply { id, result: Ok(answer) } => {
                self.ends_told(seen, *id, answer);
                self.receipts_given(seen, answer);
                self.answered(seen, answer);
            }
            Output::Call { id, request, .. } => {
                self.note_call(seen, *id, request);
                self.asked(seen, request);
            }
            Output::Push { push, .. } => self.pushed(seen, push),
            Output::ClientReply { id, result: Ok(answer) } => {
                self.client_answered(seen, *id, answer)
            }
            Output::ClientPush { session, push } => self.client_told(seen, *session, push),
            Output::Event(Event::Evicted { id }) => self.evicted(seen, *id),
            _ => {}
        }
    }

    /// It has done all.
    pub(crate) fn after(&mut self, seen: &Seen<'_>) {
        self.has_evicted(seen);
        self.has_met(seen);
        self.bounds(seen);
    }

    /// Its power went.
    pub(crate) fn crashed(&mut self, seen: &Seen<'_>) {
        // It may have had no time to say why.
        self.unexplained.clear();
        self.removed_early.clear();
        self.removed_in_time.clear();
        self.evicted.clear();
        self.to_end.clear();
        self.met.clear();
        self.questions.retain(|_, question| question.at != seen.at);
        let calls = (seen.at, CallId(0))..=(seen.at, CallId(u64::MAX));
        for call in self.calls.range(calls).map(|(call, _)| *call).collect::<Vec<_>>() {
            self.calls.remove(&call);
        }
        let sessions = (seen.at, SessionId(0))..=(seen.at, SessionId(u64::MAX));
        for session in self.cursors.range(sessions).map(|(session, _)| *session).collect::<Vec<_>>()
        {
            self.cursors.remove(&session);
        }
        self.promises_kept(seen);
        self.image(seen);
    }

    fn client_asks(
        &mut self,
        seen: &Seen<'_>,
        request: RequestId,
        session: SessionId,
        asked: &ClientRequest,
    ) {
        match asked {
            ClientRequest::Submit { envelope } => {
                let id = envelope.id();
                self.sent.entry(id).or_insert_with(|| Sent::new(envelope.clone()));
                self.submissions.insert(request, id);
            }
            ClientRequest::Cancel { id } => drop(self.cancelled.insert((seen.at, *id))),
            ClientRequest::Acknowledge { acknowledgements } => {
                self.client_acknowledges(seen, request, acknowledgements);
            }
            // Each opening begins anew.
            ClientRequest::Subscribe { .. } => drop(self.cursors.remove(&(seen.at, session))),
            _ => {}
        }
    }

    fn client_answered(&mut self, seen: &Seen<'_>, request: RequestId, answer: &ClientResponse) {
        match answer {
            ClientResponse::Submitted { state } => {
                if let Some(id) = self.submissions.remove(&request) {
                    self.accepted(seen, id, *state);
                }
            }
            ClientResponse::Done => self.confirmed(seen, request),
            ClientResponse::States(states) => {
                for (id, state) in states {
                    self.state_told(seen, *id, *state);
                }
            }
            _ => {}
        }
    }

    fn known(&self, id: &EnvelopeId) -> Option<&Envelope> {
        self.sent.get(id).map(|sent| &sent.envelope)
    }

    fn is_acknowledged(&self, id: &EnvelopeId) -> bool {
        self.sent.get(id).is_some_and(|sent| sent.acknowledged.is_some())
    }

    fn check(&mut self, what: &'static str) {
        *self.checks.entry(what).or_default() += 1;
    }

    pub(crate) fn violated(&mut self, seen: &Seen<'_>, rule: Rule, what: impl Into<String>) {
        if self.violations.len() < VIOLATIONS_MAX {
            let (after, what) = (seen.now.since(self.start), what.into());
            self.violations.push(Violation { rule, after, host: seen.at, what });
        }
    }
}

impl Seen<'_> {
    /// Whether the host has the envelope, by what it reads now.
    fn has(&self, id: &EnvelopeId) -> bool {
        self.host.holds(id)
    }

    /// Whether the host has the envelope, and none of its clients has submitted it: the lower two bits
    /// of the record are its role, of which 1 is own.
    fn has_for_others(&self, id: &EnvelopeId) -> bool {
        let record = self.host.disk().applied().get(Family::Custody, id.as_bytes());
        record.is_ok_and(|row| row.is_some_and(|row| row.first().is_some_and(|role| role & 3 != 1)))
    }

    /// Whether the envelope has ended here.
    fn has_ended(&self, id: &EnvelopeId) -> bool {
        let key = tombstone(id);
        self.host.disk().applied().get(Family::Tombstones, key).is_ok_and(|row| row.is_some())
    }

    /// Whether the host has the envelope when power goes now.
    fn has_durably(&self, envelope: &Envelope) -> bool {
        let (disk, id) = (self.host.disk(), envelope.id());
        let body = body_key(envelope);
        disk.durable(Family::Custody, id.as_bytes()).is_some()
            && disk.durable(Family::Envelopes, &body).is_some()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.after.as_millis() / 1_000;
        write!(f, "{:?} at host {} after {seconds} s: {}", self.rule, self.host, self.what)
    }
}

/// Where the tombstone of an envelope lies.
fn tombstone(id: &EnvelopeId) -> &[u8] {
    &id.as_bytes()[..EnvelopeId::LEN / 2]
}

/// Where the envelope itself lies.
fn body_key(envelope: &Envelope) -> Vec<u8> {
    let expires_at = envelope.expires_at().as_millis().to_be_bytes();
    [&expires_at[..], envelope.id().as_bytes()].concat()
}

/// An envelope in messages, short and still one of its kind.
fn short(id: &EnvelopeId) -> String {
    hex::encode(&id.as_bytes()[..4])
}
