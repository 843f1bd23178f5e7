//! People as far as nodes can see them: envelopes, mailboxes, and what is signed with their keys.
//!
//! Entry type is [`People`]. Every envelope has a sender, a recipient and a mailbox, its own or one that
//! it shares. What a client program does is done here: it submits again what was not accepted, watches what was,
//! opens its mailbox at its node and at that node's entries, and acknowledges what it has kept.
//! Bodies are not sealed: nodes could not tell.

mod absence;
mod forgeries;
mod mailbox;
mod outcome;
mod reach;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use comm_proto::acknowledgement::{Acknowledgement, KEPT_AFTER_EXPIRY};
use comm_proto::address::Address;
use comm_proto::envelope::{Envelope, EnvelopeId, Header, SizeClass, Suite};
use comm_proto::key::KeyPair;
use comm_proto::message::{
    ClientPush, ClientRequest, ClientResponse, EnvelopeState, Push, Request,
};
use comm_proto::node::{Family, RequestId, SessionId};
use comm_proto::rejection::Rejection;
use comm_proto::store::{Batch, Write};
use comm_proto::time::{Span, Time};

use crate::copies::{Caller, Change, Copies, FirstCast};
use crate::host::At;
use crate::measured::Fate;
use crate::plan::Mailboxes;

pub(crate) use outcome::Outcome;

/// How long a client waits before it submits again what its node has refused (PROTOCOL §8.4).
const SUBMIT_AGAIN: Span = Span::from_secs(15);
/// How often a client asks its node for its entries and opens its mailbox at new ones.
const LOOK_AFTER_ENTRIES: Span = Span::from_secs(30);
/// How often it opens its mailbox again where it is open: its node may have been restarted.
const GRANT_AGAIN: Span = Span::from_mins(5);
/// How often a client looks whether its node is there again.
const DIAL_AGAIN: Span = Span::from_secs(1);
/// An envelope that nobody sends.
const NOBODYS: EnvelopeId = EnvelopeId::from_bytes([0; 32]);
/// How long a client's own disk takes.
const OWN_DISK: Span = Span::from_millis(5);
/// Envelopes that a client lets its node push, and after how many it lets it push as many more.
const CREDIT: u32 = 64;
const CREDIT_AGAIN: u32 = 32;

/// An envelope by its number.
pub(crate) type Letter = usize;

/// Everybody who sends or receives.
#[derive(Default)]
pub(crate) struct People {
    letters: Vec<Sent>,
    by_id: BTreeMap<EnvelopeId, Letter>,
    /// The first letter to each mailbox, whose reader opens it for all.
    by_mailbox: BTreeMap<Address, Letter>,
    waiting: BTreeMap<RequestId, (Letter, Asking)>,
    /// Envelopes on honest disks.
    copies: u64,
    /// What mailboxes are. Those that are addresses of nodes are looked up by these too, and searches of regions
    /// are told from that; the rotating entry is granted those of conversations alone (PROTOCOL §6.8).
    pub(crate) mailboxes: Mailboxes,
    /// Whether lasting entries alone are granted any.
    pub(crate) lasting_only: bool,
}

/// One envelope and the two people it concerns.
struct Sent {
    writer: At,
    reader: At,
    mailbox: KeyPair,
    ttl: Span,
    envelope: Option<Envelope>,
    /// When it was first handed to the writer's node.
    at: Time,
    /// When its reader came, if they have.
    came: Option<Time>,
    copies: Copies,
    first_cast: FirstCast,
    /// The first letter to the same mailbox.
    first: Letter,
    /// Letters to the mailbox of a first one whose writers do not know yet that they were read.
    awaited: usize,
    /// Envelopes of any kind that its reader was pushed.
    pushed: u32,
    /// When the reader granted the mailbox last, and to whom.
    granted: Option<(Time, Vec<Address>)>,
    cancelled: bool,
    /// Whether the writer's node has said that its time is over.
    told_expired: bool,
    fate: Fate,
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    Submit,
    Entries,
    States,
    Anything,
}

/// What somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// The writer hands the envelope to their node.
    Submit,
    /// The reader opens the mailbox, and does so again and again.
    Open,
    /// The reader opens it once more, since their node was off.
    OpenAgain,
    /// The reader opens it, and will be away.
    OpenAhead,
    /// The reader has kept the envelope.
    Acknowledge,
    /// The writer wants to know how far it has come.
    Watch,
    /// The reader has room for more.
    Credit,
    /// The writer takes it back.
    Cancel,
}

/// A request of a client to its node.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) host: At,
    pub(crate) session: SessionId,
    pub(crate) request: ClientRequest,
}

/// What a client does later.
pub(crate) type Later = (Span, Letter, Deed);

impl People {
    /// A further envelope, not sent yet.
    pub(crate) fn write(&mut self, writer: At, reader: At, mailbox: KeyPair, ttl: Span) -> Letter {
        let letter = self.letters.len();
        let first = *self.by_mailbox.entry(mailbox.address()).or_insert(letter);
        self.letters.push(Sent {
            writer,
            reader,
            mailbox,
            ttl,
            envelope: None,
            at: Time::ZERO,
            came: None,
            copies: Copies::default(),
            first_cast: FirstCast::default(),
            first,
            awaited: 0,
            pushed: 0,
            granted: None,
            cancelled: false,
            told_expired: false,
            fate: Fate::default(),
        });
        self.letters[first].awaited += 1;
        letter
    }

    /// Whether no letter before this one goes to the same mailbox.
    pub(crate) fn opens(&self, letter: Letter) -> bool {
        self.letters[letter].first == letter
    }

    /// The first letter's mailbox.
    pub(crate) fn first_mailbox(&self) -> Option<Address> {
        self.letters.first().map(|letter| letter.mailbox.address())
    }

    /// Hosts that writers use, and those that readers do.
    pub(crate) fn hosts(&self) -> (BTreeSet<At>, BTreeSet<At>) {
        let writers = self.letters.iter().map(|letter| letter.writer);
        (writers.collect(), self.letters.iter().map(|letter| letter.reader).collect())
    }

    /// Whether somebody of them uses this host.
    pub(crate) fn use_host(&self, host: At) -> bool {
        self.letters.iter().any(|letter| letter.use_host(host))
    }

    /// Where this is done.
    pub(crate) fn host_of(&self, letter: Letter, deed: Deed) -> At {
        match deed {
            Deed::Submit | Deed::Watch | Deed::Cancel => self.letters[letter].writer,
            Deed::Open | Deed::OpenAgain | Deed::OpenAhead | Deed::Acknowledge | Deed::Credit => {
                self.letters[letter].reader
            }
        }
    }

    /// What the clients of a host do when its node is there again: submit what it has not taken, watch
    /// what it has, and open their mailboxes anew.
    pub(crate) fn reconnecting(&self, now: Time, host: At) -> Vec<(Letter, Deed)> {
        let mut deeds = Vec::new();
        for (letter, one) in self.letters.iter().enumerate() {
            let lives = one.envelope.as_ref().is_some_and(|sent| sent.expires_at() > now);
            if one.writer == host && lives && !one.cancelled {
                let taken = one.fate.accepted.is_some();
                deeds.push((letter, if taken { Deed::Watch } else { Deed::Submit }));
            }
            if one.reader == host && one.came.is_some() {
                deeds.push((letter, Deed::Open));
            }
        }
        deeds
    }

    /// What a deed asks of a node, and when the same person looks again.
    pub(crate) fn act(&mut self, now: Time, letter: Letter, deed: Deed) -> (Asked, Option<Later>) {
        let one = &mut self.letters[letter];
        let (host, request) = match deed {
            Deed::Submit => {
                if one.envelope.is_none() {
                    one.at = now;
                }
                let envelope =
                    one.envelope.get_or_insert_with(|| seal(&one.mailbox, letter, now + one.ttl));
                self.by_id.insert(envelope.id(), letter);
                (one.writer, ClientRequest::Submit { envelope: envelope.clone() })
            }
            Deed::Watch => {
                let ids = one.envelope.iter().map(Envelope::id).collect();
                (one.writer, ClientRequest::Watch { ids })
            }
            Deed::Open | Deed::OpenAgain => {
                one.came.get_or_insert(now);
                (one.reader, ClientRequest::Status)
            }
            Deed::OpenAhead => (one.reader, ClientRequest::Status),
            Deed::Credit => (one.reader, ClientRequest::Credit { envelopes: CREDIT_AGAIN }),
            Deed::Acknowledge => {
                one.copies.acknowledge(now);
                (one.reader, one.acknowledgement())
            }
            Deed::Cancel => {
                one.cancelled = true;
                let id = one.envelope.as_ref().map_or(NOBODYS, Envelope::id);
                (one.writer, ClientRequest::Cancel { id })
            }
        };
        // Nothing else will ever come to this mailbox.
        let looks_on = deed == Deed::Open && one.awaited > 0;
        let again = looks_on.then_some((LOOK_AFTER_ENTRIES, letter, Deed::Open));
        (Asked { host, session: session(letter, deed), request }, again)
    }

    /// The client waits for an answer.
    pub(crate) fn asked(&mut self, id: RequestId, letter: Letter, deed: Deed) {
        let asking = match deed {
            Deed::Submit => Asking::Submit,
            Deed::Open | Deed::OpenAgain | Deed::OpenAhead => Asking::Entries,
            Deed::Watch => Asking::States,
            Deed::Acknowledge | Deed::Credit | Deed::Cancel => Asking::Anything,
        };
        self.waiting.insert(id, (letter, asking));
    }

    /// A node answered its client: what that client asks and does next.
    pub(crate) fn answered(
        &mut self,
        now: Time,
        id: RequestId,
        result: Result<ClientResponse, Rejection>,
    ) -> (Vec<Asked>, Option<Later>) {
        let Some((letter, asking)) = self.waiting.remove(&id) else { return (Vec::new(), None) };
        let one = &mut self.letters[letter];
        match (asking, result) {
            (Asking::Submit, Ok(ClientResponse::Submitted { .. })) => {
                one.fate.accepted.get_or_insert(now.since(one.at));
                (Vec::new(), Some((Span::from_millis(0), letter, Deed::Watch)))
            }
            (Asking::Submit, Err(Rejection::Expired)) => (Vec::new(), None),
            (Asking::Submit, _) => (Vec::new(), Some((SUBMIT_AGAIN, letter, Deed::Submit))),
            (Asking::Entries, Ok(ClientResponse::Status(status))) => {
                let rotates = !self.lasting_only && self.mailboxes == Mailboxes::Conversation;
                (one.open(letter, &status, rotates, now), None)
            }
            (Asking::States, Ok(ClientResponse::States(states))) => {
                states.iter().for_each(|(id, state)| self.learn_state(now, id, state));
                (Vec::new(), None)
            }
            _ => (Vec::new(), None),
        }
    }

    /// A node tells its client something: what that client does next.
    pub(crate) fn told(&mut self, now: Time, session: SessionId, push: &ClientPush) -> Vec<Later> {
        match push {
            ClientPush::Envelope { envelope, .. } => {
                let credit = self.pushed(session).into_iter();
                credit.chain(self.delivered(now, &envelope.id())).collect()
            }
            ClientPush::State { id, state } => {
                self.learn_state(now, id, state);
                Vec::new()
            }
            ClientPush::CaughtUp => Vec::new(),
        }
    }

    /// A writer learns how far an envelope has come.
    fn learn_state(&mut self, now: Time, id: &EnvelopeId, state: &EnvelopeState) {
        let Some(letter) = self.by_id.get(id) else { return };
        let one = &mut self.letters[*letter];
        let (after, first) = (now.since(one.at), one.first);
        match state {
            EnvelopeState::Stored(_) => {
                one.fate.stored.get_or_insert(after);
            }
            EnvelopeState::Delivered { .. } if one.fate.acknowledged.is_none() => {
                one.fate.acknowledged = Some(after);
                self.letters[first].awaited -= 1;
            }
            EnvelopeState::Expired => one.told_expired = true,
            _ => {}
        }
    }

    /// A host is on again: what those who use it do when they have noticed. Nobody waits any more for what
    /// it was asked before, and their mailboxes are open nowhere.
    pub(crate) fn back(&mut self, now: Time, host: At) -> Vec<Later> {
        let letters = &mut self.letters;
        self.waiting.retain(|_, (letter, asking)| match asking {
            Asking::Submit | Asking::States => letters[*letter].writer != host,
            Asking::Entries | Asking::Anything => letters[*letter].reader != host,
        });
        letters.iter_mut().filter(|one| one.reader == host).for_each(|one| one.granted = None);
        let once = |deed| if deed == Deed::Open { Deed::OpenAgain } else { deed };
        // Each of them looks once a second, and not all at the same moment.
        let phase = |letter: Letter| letter as u64 * 617 % DIAL_AGAIN.as_millis();
        let deeds = self.reconnecting(now, host).into_iter();
        deeds.map(|(letter, deed)| (Span::from_millis(phase(letter)), letter, once(deed))).collect()
    }

    /// Whoever opened a mailbox was pushed an envelope, be it one of ours or somebody's rubbish.
    fn pushed(&mut self, session: SessionId) -> Option<Later> {
        let letter = letter_of(session);
        let one = self.letters.get_mut(letter)?;
        one.pushed += 1;
        let is_low = one.pushed.is_multiple_of(CREDIT_AGAIN);
        is_low.then_some((Span::from_millis(0), letter, Deed::Credit))
    }

    fn delivered(&mut self, now: Time, id: &EnvelopeId) -> Option<Later> {
        let letter = *self.by_id.get(id)?;
        let came = self.letters[self.letters[letter].first].came;
        let one = &mut self.letters[letter];
        let since = came.map_or(one.at, |came| one.at.max(came));
        one.fate.delivered.get_or_insert(now.since(since));
        Some((OWN_DISK, letter, Deed::Acknowledge))
    }

    /// Envelopes whose copies a batch lays down or takes away.
    pub(crate) fn copies_in(&self, batch: &Batch<Family>) -> Vec<(Letter, Change)> {
        let change = |write: &Write<Family>| {
            let (key, change) = match write {
                Write::Put { table: Family::Custody, key, .. } => (key, Change::Laid),
                Write::Delete { table: Family::Custody, key } => (key, Change::Dropped),
                _ => return None,
            };
            let id = EnvelopeId::from_bytes(key.as_slice().try_into().ok()?);
            Some((*self.by_id.get(&id)?, change))
        };
        batch.writes.iter().filter_map(change).collect()
    }

    /// An honest host has ended this one by an acknowledgement.
    pub(crate) fn ended(&mut self, id: &EnvelopeId) {
        if let Some(letter) = self.by_id.get(id) {
            let one = &mut self.letters[*letter];
            one.fate.wronged += u64::from(one.copies.acknowledged().is_none());
        }
    }

    /// An honest host has evicted this one.
    pub(crate) fn evicted(&mut self, id: &EnvelopeId) {
        if let Some(letter) = self.by_id.get(id) {
            self.letters[*letter].fate.evicted += 1;
        }
    }

    /// An honest host has this on its disk, which takes as long as told; of first copies the writer's own does not
    /// count.
    pub(crate) fn copied(
        &mut self,
        now: Time,
        host: At,
        disk: Span,
        changes: Vec<(Letter, Change)>,
    ) {
        for (letter, change) in changes {
            let one = &mut self.letters[letter];
            let before = one.copies.len();
            one.copies.change(host, change, now);
            self.copies = self.copies + one.copies.len() as u64 - before as u64;
            if change == Change::Laid {
                one.first_cast.laid(host, now, disk);
                if host != one.writer {
                    one.fate.copied.get_or_insert(now.since(one.at));
                }
            }
        }
    }

    /// A request reaches a host.
    pub(crate) fn handed(&mut self, now: Time, from: At, to: At, request: &Request) {
        let Request::Deliver { envelopes } = request else { return };
        for envelope in envelopes {
            if let Some(letter) = self.by_id.get(&envelope.id()) {
                self.letters[*letter].first_cast.handed(from, to, now);
            }
        }
    }

    /// The caller is honest and may be the one who casts these first. The writer's own node casts in small
    /// networks alone; else its calls go to its entries.
    fn cast_by(&mut self, now: Time, caller: Caller, request: &Request) {
        let Caller { from, to, is_small } = caller;
        let ids: Vec<_> = match request {
            Request::Offer { ids } => ids.clone(),
            Request::Deliver { envelopes } => envelopes.iter().map(Envelope::id).collect(),
            _ => return,
        };
        for id in ids {
            if let Some(letter) = self.by_id.get(&id) {
                let one = &mut self.letters[*letter];
                if one.writer == from {
                    one.first_cast.turn_to(to);
                }
                if is_small || one.writer != from {
                    one.first_cast.called(from, one.writer, now);
                }
            }
        }
    }

    /// Counts a call for every envelope that it concerns. `caller` is one who is honest; `place` that whose
    /// region a node asks about, which the request does not show.
    pub(crate) fn count_call(
        &mut self,
        now: Time,
        caller: Option<Caller>,
        place: Option<Address>,
        request: &Request,
    ) {
        if let Some(caller) = caller {
            self.cast_by(now, caller, request);
        }
        match request {
            Request::FindNode { target }
                if place.is_some() || self.mailboxes != Mailboxes::Node =>
            {
                if let Some(letter) = self.by_mailbox.get(place.as_ref().unwrap_or(target)) {
                    self.letters[*letter].fate.messages += 1;
                }
            }
            Request::Offer { ids } => self.count(ids, 0),
            Request::Fetch { ids } => self.count(ids, 1),
            Request::Deliver { envelopes } => self.count(envelopes.iter().map(Envelope::id), 1),
            Request::Acknowledge { acknowledgements } => {
                self.count(acknowledgements.iter().flat_map(|one| one.ids()), 0);
            }
            Request::Subscribe { grants, .. } => {
                let mailboxes = grants.iter().map(|grant| grant.mailbox()).collect::<BTreeSet<_>>();
                for letter in mailboxes.iter().filter_map(|mailbox| self.by_mailbox.get(mailbox)) {
                    let fate = &mut self.letters[*letter].fate;
                    fate.messages += 1;
                    fate.subscriptions += 1;
                }
            }
            Request::Receipts { receipts } => {
                self.count(receipts.iter().flat_map(|one| one.ids()), 0);
            }
            _ => {}
        }
    }

    /// Counts a push for every envelope that it concerns.
    pub(crate) fn count_push(&mut self, push: &Push) {
        match push {
            Push::Waiting(waiting) => self.count(waiting.iter().map(|one| one.id), 0),
            Push::Acknowledgements(all) => self.count(all.iter().flat_map(|one| one.ids()), 0),
            Push::Receipts(all) => self.count(all.iter().flat_map(|one| one.ids()), 0),
        }
    }

    fn count(
        &mut self,
        ids: impl IntoIterator<Item = impl std::borrow::Borrow<EnvelopeId>>,
        bodies: u64,
    ) {
        for id in ids {
            if let Some(letter) = self.by_id.get(id.borrow()) {
                let fate = &mut self.letters[*letter].fate;
                fate.messages += 1;
                fate.bodies += bodies;
            }
        }
    }

    /// Every envelope, with what is to be known about its end.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = Outcome> {
        self.letters.iter().enumerate().map(|(letter, one)| Outcome {
            letter,
            writer: one.writer,
            reader: one.reader,
            id: one.envelope.as_ref().map(Envelope::id),
            expires_at: one.envelope.as_ref().map(Envelope::expires_at),
            cancelled: one.cancelled,
            told_expired: one.told_expired,
            fate: one.fate.clone(),
        })
    }

    /// The key of an envelope's mailbox, and the envelope, for whoever forges with them.
    pub(crate) fn secrets(&self, letter: Letter) -> Option<(&KeyPair, &Envelope)> {
        let one = self.letters.get(letter)?;
        Some((&one.mailbox, one.envelope.as_ref()?))
    }

    /// How many there are, sent or not.
    pub(crate) fn count_letters(&self) -> usize {
        self.letters.len()
    }

    /// An envelope's name, if it was sent, and its fate.
    pub(crate) fn fate(&self, letter: Letter) -> (Option<EnvelopeId>, &Fate) {
        let one = &self.letters[letter];
        (one.envelope.as_ref().map(Envelope::id), &one.fate)
    }

    /// For how long its copies lay on honest disks, and for how long they should have.
    pub(crate) fn storage(&self, letter: Letter, now: Time) -> (Span, Span) {
        self.letters[letter].copies.storage(now)
    }

    pub(crate) fn mailbox(&self, letter: Letter) -> Address {
        self.letters[letter].mailbox.address()
    }

    /// Envelopes on honest disks, one that lies on three of them three times, and bytes of their bodies.
    pub(crate) fn copies(&self) -> (u64, u64) {
        (self.copies, self.copies * SizeClass::K1.body_len() as u64)
    }
}

impl Sent {
    fn use_host(&self, host: At) -> bool {
        self.writer == host || self.reader == host
    }

    fn acknowledgement(&self) -> ClientRequest {
        let read = self.envelope.iter().map(Envelope::id).collect();
        let expires_at = self.envelope.as_ref().map_or(Time::ZERO, Envelope::expires_at);
        let signed = Acknowledgement::sign(&self.mailbox, read, expires_at + KEPT_AFTER_EXPIRY);
        ClientRequest::Acknowledge { acknowledgements: signed.into_iter().collect() }
    }
}

/// Writers and readers have connections of their own to the nodes they use.
fn session(letter: Letter, deed: Deed) -> SessionId {
    let is_writer = matches!(deed, Deed::Submit | Deed::Watch | Deed::Cancel);
    SessionId(letter as u64 * 2 + u64::from(is_writer))
}

/// Whose connection that is.
fn letter_of(session: SessionId) -> Letter {
    (session.0 / 2) as Letter
}

/// An envelope of the smallest size that no other equals.
fn seal(mailbox: &KeyPair, letter: Letter, expires_at: Time) -> Envelope {
    let header =
        Header { suite: Suite::ONE, mailbox: mailbox.address(), expires_at, stamp_nonce: 0 };
    let mut body = vec![0x5a; SizeClass::K1.body_len()];
    body[..8].copy_from_slice(&(letter as u64).to_be_bytes());
    Envelope::new(header, Bytes::from(body)).expect("the body has the length of its class")
}

#[cfg(test)]
pub(crate) mod tests;
