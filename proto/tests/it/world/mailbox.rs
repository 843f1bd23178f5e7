//! People as far as nodes can see them: mailboxes, and what is signed with their keys.

use bytes::Bytes;
use comm_proto::acknowledgement::{Acknowledgement, KEPT_AFTER_EXPIRY};
use comm_proto::address::Address;
use comm_proto::card::{Card, InboxPolicy};
use comm_proto::envelope::{Envelope, EnvelopeId, Header, SizeClass, Suite, TTL_DEFAULT, TTL_MAX};
use comm_proto::grant::Grant;
use comm_proto::key::KeyPair;
use comm_proto::message::{ClientPush, ClientRequest, ClientResponse, EnvelopeState};
use comm_proto::prekey::Prekey;
use comm_proto::rejection::Rejection;
use comm_proto::time::{Span, Time};
use comm_proto::verified::Verified;

use super::{At, World};

/// A mailbox and its key.
pub(crate) struct Mailbox(KeyPair);

/// 32 bytes that say a number.
pub(crate) fn fill(number: u64) -> [u8; 32] {
    let mut bytes = [0x5a; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// A card of `owner` that says nothing but when it was issued.
pub(crate) fn card(owner: &KeyPair, issued_at: Time, lifetime: Span) -> Box<Verified<Card>> {
    let policy = InboxPolicy { ttl_max: TTL_MAX, size_max: SizeClass::K64, stamp_min: 0 };
    let prekey = Prekey::new(Suite::ONE, &[1; 32], issued_at + Span::from_days(14)).unwrap();
    Box::new(Card::sign(owner, vec![prekey], policy, issued_at, issued_at + lifetime).unwrap())
}

impl Mailbox {
    pub(crate) fn new(number: u64) -> Self {
        Self(KeyPair::from_seed(&fill(number)))
    }

    pub(crate) fn key(&self) -> &KeyPair {
        &self.0
    }

    pub(crate) fn address(&self) -> Address {
        self.0.address()
    }

    /// The `number`th envelope for this mailbox, of the smallest size.
    pub(crate) fn envelope(&self, number: u64, expires_at: Time) -> Envelope {
        self.sized(SizeClass::K1, number, expires_at)
    }

    pub(crate) fn sized(&self, class: SizeClass, number: u64, expires_at: Time) -> Envelope {
        let header =
            Header { suite: Suite::ONE, mailbox: self.address(), expires_at, stamp_nonce: 0 };
        let body = fill(number).repeat(class.body_len() / 32);
        Envelope::new(header, Bytes::from(body)).unwrap()
    }

    pub(crate) fn grant(&self, collector: Address, not_after: Time) -> Verified<Grant> {
        Grant::sign(&self.0, collector, not_after)
    }

    /// What an honest recipient signs: it outlives the envelopes by a day.
    pub(crate) fn acknowledge(&self, envelopes: &[&Envelope]) -> Verified<Acknowledgement> {
        let ids: Vec<EnvelopeId> = envelopes.iter().map(|envelope| envelope.id()).collect();
        let last = envelopes.iter().map(|envelope| envelope.expires_at()).max().unwrap();
        Acknowledgement::sign(&self.0, ids, last + KEPT_AFTER_EXPIRY).unwrap()
    }
}

/// A person at a node.
impl World {
    /// An envelope with the default lifetime from now.
    pub(crate) fn letter(&self, mailbox: &Mailbox, number: u64) -> Envelope {
        mailbox.envelope(number, self.now() + TTL_DEFAULT)
    }

    pub(crate) fn submit(
        &mut self,
        host: At,
        envelope: &Envelope,
    ) -> Result<EnvelopeState, Rejection> {
        let request = ClientRequest::Submit { envelope: envelope.clone() };
        match self.call(host, 0, request)? {
            ClientResponse::Submitted { state } => Ok(state),
            other => panic!("{other:?}"),
        }
    }

    /// Opens a mailbox at a host and, where there are any, at its entries, with ample credit.
    pub(crate) fn subscribe(&mut self, host: At, session: u64, mailbox: &Mailbox, after: u64) {
        self.subscribe_without_credit(host, session, mailbox, after);
        let credit = ClientRequest::Credit { envelopes: 4_096 };
        self.call(host, session, credit).unwrap();
    }

    pub(crate) fn subscribe_without_credit(
        &mut self,
        host: At,
        session: u64,
        mailbox: &Mailbox,
        after: u64,
    ) {
        let Ok(ClientResponse::Status(status)) = self.call(host, session, ClientRequest::Status)
        else {
            panic!("no status")
        };
        let until = self.now() + TTL_MAX;
        let collectors =
            status.entries.into_iter().chain(status.rotating_entry).chain([self.address(host)]);
        let grants = collectors.map(|collector| mailbox.grant(collector, until)).collect();
        self.call(host, session, ClientRequest::Subscribe { grants, after }).unwrap();
    }

    /// The recipient has read these.
    pub(crate) fn acknowledge(&mut self, host: At, mailbox: &Mailbox, read: &[&Envelope]) {
        let acknowledgements = vec![mailbox.acknowledge(read)];
        self.call(host, 1, ClientRequest::Acknowledge { acknowledgements }).unwrap();
    }

    /// The state of an envelope as its sender's node tells it.
    pub(crate) fn state(&mut self, host: At, envelope: &Envelope) -> Option<EnvelopeState> {
        let request = ClientRequest::Watch { ids: vec![envelope.id()] };
        match self.call(host, 99, request).unwrap() {
            ClientResponse::States(states) => states.first().map(|(_, state)| *state),
            other => panic!("{other:?}"),
        }
    }

    /// The envelopes a session was given, in order, each with its cursor.
    pub(crate) fn given(&self, host: At, session: u64) -> Vec<(u64, EnvelopeId)> {
        let envelope = |push: &ClientPush| match push {
            ClientPush::Envelope { cursor, envelope } => Some((*cursor, envelope.id())),
            _ => None,
        };
        self.pushes(host, session).iter().filter_map(|(_, push)| envelope(push)).collect()
    }

    pub(crate) fn has_been_given(&self, host: At, session: u64, envelope: &Envelope) -> bool {
        self.given(host, session).iter().any(|(_, id)| *id == envelope.id())
    }
}
