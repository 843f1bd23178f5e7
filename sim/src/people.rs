//! People as far as nodes can see them: envelopes, mailboxes, and what is signed with their keys.
//!
//! Entry type is [`People`]. Every envelope has a sender, a recipient and a mailbox, its own or one that
//! it shares. What a client program does is done here: it submits again what was not accepted, watches what was,
//! opens its mailbox at its node and at that node's entries, and acknowledges what it has kept.
//! Bodies are not sealed: nodes could not tell.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use comm_proto::acknowledgement::{Acknowledgement, KEPT_AFTER_EXPIRY};
use comm_proto::address::Address;
use comm_proto::envelope::{Envelope, EnvelopeId, Header, SizeClass, Suite, TTL_MAX};
use comm_proto::grant::Grant;
use comm_proto::key::KeyPair;
use comm_proto::message::{
    ClientPush, ClientRequest, ClientResponse, EnvelopeState, Push, Request, Status,
};
use comm_proto::node::{Family, RequestId, SessionId};
use comm_proto::rejection::Rejection;
use comm_proto::store::{Batch, Write};
use comm_proto::time::{Span, Time};

use crate::host::At;
use crate::measured::Fate;

/// How long a client waits before it submits again what its node has refused.
const SUBMIT_AGAIN: Span = Span::from_secs(5);
/// How often a client asks its node for its entries and opens its mailbox at new ones.
const LOOK_AFTER_ENTRIES: Span = Span::from_mins(5);
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
    /// Whether mailboxes are the addresses of nodes, which look themselves up.
    pub(crate) are_nodes: bool,
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
    /// Envelopes of any kind that its reader was pushed.
    pushed: u32,
    /// Whether its reader has acknowledged it.
    is_acknowledged: bool,
    fate: Fate,
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    Submit,
    Entries,
    Anything,
}

/// What somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// The writer hands the envelope to their node.
    Submit,
    /// The reader opens the mailbox.
    Open,
    /// The reader has kept the envelope.
    Acknowledge,
    /// The writer wants to know how far it has come.
    Watch,
    /// The reader has room for more.
    Credit,
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
        self.by_mailbox.entry(mailbox.address()).or_insert(letter);
        self.letters.push(Sent {
            writer,
            reader,
            mailbox,
            ttl,
            envelope: None,
            at: Time::ZERO,
            came: None,
            pushed: 0,
            is_acknowledged: false,
            fate: Fate::default(),
        });
        letter
    }

    /// Whether no letter before this one goes to the same mailbox.
    pub(crate) fn opens(&self, letter: Letter) -> bool {
        self.by_mailbox.get(&self.letters[letter].mailbox.address()) == Some(&letter)
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
        self.letters.iter().any(|letter| letter.writer == host || letter.reader == host)
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
            Deed::Open => {
                one.came.get_or_insert(now);
                (one.reader, ClientRequest::Status)
            }
            Deed::Credit => (one.reader, ClientRequest::Credit { envelopes: CREDIT_AGAIN }),
            Deed::Acknowledge => {
                one.is_acknowledged = true;
                (one.reader, one.acknowledgement())
            }
        };
        let again = (deed == Deed::Open).then_some((LOOK_AFTER_ENTRIES, letter, Deed::Open));
        (Asked { host, session: session(letter, deed), request }, again)
    }

    /// The client waits for an answer.
    pub(crate) fn asked(&mut self, id: RequestId, letter: Letter, deed: Deed) {
        let asking = match deed {
            Deed::Submit => Asking::Submit,
            Deed::Open => Asking::Entries,
            Deed::Watch | Deed::Acknowledge | Deed::Credit => Asking::Anything,
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
            (Asking::Submit, _) => (Vec::new(), Some((SUBMIT_AGAIN, letter, Deed::Submit))),
            (Asking::Entries, Ok(ClientResponse::Status(status))) => {
                (one.open(letter, &status, now), None)
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
                let Some(letter) = self.by_id.get(id) else { return Vec::new() };
                let one = &mut self.letters[*letter];
                let after = now.since(one.at);
                let told = match state {
                    EnvelopeState::Stored(_) => &mut one.fate.stored,
                    EnvelopeState::Delivered { .. } => &mut one.fate.acknowledged,
                    _ => return Vec::new(),
                };
                told.get_or_insert(after);
                Vec::new()
            }
            ClientPush::CaughtUp => Vec::new(),
        }
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
        let opened = self.by_mailbox.get(&self.letters[letter].mailbox.address());
        let came = opened.and_then(|first| self.letters[*first].came);
        let one = &mut self.letters[letter];
        let since = came.map_or(one.at, |came| one.at.max(came));
        one.fate.delivered.get_or_insert(now.since(since));
        Some((OWN_DISK, letter, Deed::Acknowledge))
    }

    /// Envelopes of which a batch lays down a copy.
    pub(crate) fn copies_in(&self, batch: &Batch<Family>) -> Vec<Letter> {
        let name = |write: &Write<Family>| match write {
            Write::Put { table: Family::Custody, key, .. } => key.as_slice().try_into().ok(),
            _ => None,
        };
        let ids = batch.writes.iter().filter_map(name).map(EnvelopeId::from_bytes);
        ids.filter_map(|id| self.by_id.get(&id).copied()).collect()
    }

    /// An honest host has ended this one by an acknowledgement.
    pub(crate) fn ended(&mut self, id: &EnvelopeId) {
        if let Some(letter) = self.by_id.get(id) {
            let one = &mut self.letters[*letter];
            one.fate.wronged += u64::from(!one.is_acknowledged);
        }
    }

    /// An honest host has these on its disk; the writer's own does not count.
    pub(crate) fn copied(&mut self, now: Time, host: At, letters: Vec<Letter>) {
        for letter in letters {
            let one = &mut self.letters[letter];
            if host != one.writer {
                one.fate.copied.get_or_insert(now.since(one.at));
            }
        }
    }

    /// Counts a call for every envelope that it concerns.
    pub(crate) fn count_call(&mut self, request: &Request) {
        match request {
            Request::FindNode { target } if !self.are_nodes => {
                if let Some(letter) = self.by_mailbox.get(target) {
                    self.letters[*letter].fate.messages += 1;
                }
            }
            Request::Offer { ids } => self.count(ids, 0),
            Request::Fetch { ids } => self.count(ids, 1),
            Request::Deliver { envelopes } => self.count(envelopes.iter().map(Envelope::id), 1),
            Request::Acknowledge { acknowledgements } => {
                self.count(acknowledgements.iter().flat_map(|one| one.ids()), 0);
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

    /// Every envelope that was sent, with its mailbox and its fate.
    pub(crate) fn fates(&self) -> impl Iterator<Item = (Option<EnvelopeId>, Address, &Fate)> {
        self.letters
            .iter()
            .map(|one| (one.envelope.as_ref().map(Envelope::id), one.mailbox.address(), &one.fate))
    }
}

impl Sent {
    /// Opens the mailbox at the reader's node and at that node's entries.
    fn open(&self, letter: Letter, status: &Status, now: Time) -> Vec<Asked> {
        let collectors = status.entries.iter().chain([&status.node]);
        let grants = collectors
            .map(|collector| Grant::sign(&self.mailbox, *collector, now + TTL_MAX))
            .collect();
        let requests = [
            ClientRequest::Subscribe { grants, after: 0 },
            ClientRequest::Credit { envelopes: CREDIT },
        ];
        let session = session(letter, Deed::Open);
        requests.map(|request| Asked { host: self.reader, session, request }).into()
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
    let is_writer = matches!(deed, Deed::Submit | Deed::Watch);
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
pub(crate) mod tests {
    use super::*;

    /// The `number`-th envelope to this mailbox, which lasts for an hour after the epoch.
    pub(crate) fn envelope(mailbox: Address, number: u64) -> Envelope {
        let expires_at = Time::ZERO + Span::HOUR;
        let header = Header { suite: Suite::ONE, mailbox, expires_at, stamp_nonce: 0 };
        let mut body = vec![0; SizeClass::K1.body_len()];
        body[..8].copy_from_slice(&number.to_be_bytes());
        Envelope::new(header, Bytes::from(body)).unwrap()
    }

    #[test]
    fn an_end_before_the_reader_has_acknowledged_is_a_wrong() {
        let mut people = People::default();
        let key = |n: u8| KeyPair::from_seed(&[n; 32]);
        let letter = people.write(0, 1, key(1), Span::HOUR);
        people.act(Time::ZERO, letter, Deed::Submit);
        let id = people.letters[letter].envelope.as_ref().unwrap().id();
        people.ended(&id);
        people.ended(&EnvelopeId::from_bytes([9; 32]));
        assert_eq!(people.letters[letter].fate.wronged, 1);
        people.act(Time::ZERO, letter, Deed::Acknowledge);
        people.ended(&id);
        assert_eq!(people.letters[letter].fate.wronged, 1);
    }
}
