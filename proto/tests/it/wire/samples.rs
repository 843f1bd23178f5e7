//! One value of every message between nodes, the same on every machine and in every run.

use std::net::SocketAddr;

use bytes::Bytes;
use comm_proto::acknowledgement::Acknowledgement;
use comm_proto::address::Address;
use comm_proto::card::{Card, InboxPolicy};
use comm_proto::contact::Contact;
use comm_proto::digest::Digest;
use comm_proto::envelope::{Envelope, EnvelopeId, Header, SizeClass, Suite, TTL_DEFAULT, TTL_MAX};
use comm_proto::grant::Grant;
use comm_proto::key::KeyPair;
use comm_proto::message::{DialOutcome, Push, Request, Response, Waiting};
use comm_proto::prekey::Prekey;
use comm_proto::receipt::Receipt;
use comm_proto::rejection::Rejection;
use comm_proto::time::{Span, Time};
use comm_proto::verified::Verified;
use comm_proto::wire::{decode, peer};
use prost::Message;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

/// When all samples are read.
pub(super) const NOW: Time = Time::from_millis(1_700_000_000_000);

/// What one node can say to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Request(Request),
    Response(Result<Response, Rejection>),
    Push(Push),
}

impl Said {
    /// The message type that carries it.
    pub(super) fn carrier(&self) -> &'static str {
        match self {
            Self::Request(_) => "Request",
            Self::Response(_) => "Response",
            Self::Push(_) => "Push",
        }
    }

    /// Its full name.
    pub(super) fn message(&self) -> String {
        message_name(self.carrier())
    }

    pub(super) fn to_frame(&self) -> Vec<u8> {
        match self.clone() {
            Self::Request(request) => peer::Request::from(request).encode_to_vec(),
            Self::Response(answer) => peer::Response::from(answer).encode_to_vec(),
            Self::Push(push) => peer::Push::from(push).encode_to_vec(),
        }
    }

    /// Reads a frame of the same carrier.
    pub(super) fn read_like(&self, frame: &[u8]) -> Result<Self, Rejection> {
        match self {
            Self::Request(_) => {
                let message = peer::Request::decode(frame).unwrap();
                decode::request(message, NOW).map(Self::Request)
            }
            Self::Response(_) => {
                let message = peer::Response::decode(frame).unwrap();
                decode::response(message, NOW).map(Self::Response)
            }
            Self::Push(_) => {
                let message = peer::Push::decode(frame).unwrap();
                decode::push(message, NOW).map(Self::Push)
            }
        }
    }
}

/// The full name of a message between nodes.
pub(super) fn message_name(carrier: &str) -> String {
    format!("comm.peer.v1.{carrier}")
}

/// One of each.
pub(super) fn all() -> Vec<Said> {
    let requests = requests().into_iter().map(Said::Request);
    let responses = responses().into_iter().map(Ok).chain([Err(Rejection::StoreFull)]);
    let pushes = pushes().into_iter().map(Said::Push);
    requests.chain(responses.map(Said::Response)).chain(pushes).collect()
}

fn requests() -> Vec<Request> {
    vec![
        Request::Ping { endpoints: endpoints() },
        Request::FindNode { target: mailbox().address() },
        Request::Offer { ids: ids() },
        Request::Digest {
            digest: digest(),
            from: Address::from_bytes([0x10; 20]),
            to: Address::from_bytes([0x20; 20]),
        },
        Request::Deliver { envelopes: vec![envelope()] },
        Request::Acknowledge { acknowledgements: vec![signed_acknowledgement()] },
        Request::Receipts { receipts: vec![signed_receipt()] },
        Request::PutCard { card: Box::new(card()) },
        Request::GetCard { owner: mailbox().address() },
        Request::PublishCard { card: Box::new(card()) },
        Request::FindCard { owner: mailbox().address() },
        Request::Subscribe { grants: vec![signed_grant()], after: 7 },
        Request::Fetch { ids: ids() },
        Request::DialBack { endpoints: endpoints() },
    ]
}

fn responses() -> Vec<Response> {
    vec![
        Response::Pong { time: NOW, observed: endpoints().first().copied() },
        Response::Nodes { contacts: vec![Contact::new(node().public(), endpoints())] },
        Response::Offered {
            wanted: ids(),
            receipts: vec![signed_receipt()],
            acknowledgements: vec![signed_acknowledgement()],
        },
        Response::Digested { digest: digest(), acknowledgements: vec![signed_acknowledgement()] },
        Response::Delivered {
            receipts: vec![signed_receipt()],
            refused: vec![(id(3), Rejection::Expired)],
            acknowledgements: vec![signed_acknowledgement()],
        },
        Response::Done,
        Response::Card { card: Some(Box::new(card())) },
        Response::Subscribed { waiting: vec![waiting()], cursor: 300, more: true },
        Response::Fetched { envelopes: vec![envelope()] },
        Response::DialledBack { outcomes: vec![DialOutcome::Reached, DialOutcome::TimedOut] },
    ]
}

fn pushes() -> Vec<Push> {
    vec![
        Push::Waiting(vec![waiting()]),
        Push::Acknowledgements(vec![signed_acknowledgement()]),
        Push::Receipts(vec![signed_receipt()]),
    ]
}

/// The owner of the mailbox and of the card.
pub(super) fn mailbox() -> KeyPair {
    KeyPair::from_seed(&[1; 32])
}

/// The node that holds envelopes and collects them.
pub(super) fn node() -> KeyPair {
    KeyPair::from_seed(&[2; 32])
}

pub(super) fn id(fill: u8) -> EnvelopeId {
    EnvelopeId::from_bytes([fill; 32])
}

fn ids() -> Vec<EnvelopeId> {
    vec![id(1), id(2)]
}

pub(super) fn envelope() -> Envelope {
    envelope_of(SizeClass::K1)
}

pub(super) fn envelope_of(class: SizeClass) -> Envelope {
    let header = Header {
        suite: Suite::ONE,
        mailbox: mailbox().address(),
        expires_at: NOW + TTL_DEFAULT,
        stamp_nonce: 5,
    };
    let body = (0..class.body_len()).map(|at| at as u8).collect::<Bytes>();
    Envelope::new(header, body).unwrap()
}

pub(super) fn signed_acknowledgement() -> Verified<Acknowledgement> {
    Acknowledgement::sign(&mailbox(), ids(), NOW + Span::from_days(15)).unwrap()
}

pub(super) fn signed_receipt() -> Verified<Receipt> {
    Receipt::sign(&node(), ids(), NOW).unwrap()
}

pub(super) fn signed_grant() -> Verified<Grant> {
    Grant::sign(&mailbox(), node().address(), NOW + TTL_MAX)
}

pub(super) fn card() -> Verified<Card> {
    let prekey = Prekey::new(Suite::ONE, &[9; 32], NOW + Span::from_days(14)).unwrap();
    let policy = InboxPolicy { ttl_max: TTL_MAX, size_max: SizeClass::K64, stamp_min: 0 };
    Card::sign(&mailbox(), vec![prekey], policy, NOW, NOW + Span::from_days(14)).unwrap()
}

pub(super) fn digest() -> Digest {
    Digest::new(&ids(), &mut ChaCha12Rng::seed_from_u64(1))
}

pub(super) fn waiting() -> Waiting {
    Waiting { mailbox: mailbox().address(), id: id(1) }
}

fn endpoints() -> Vec<SocketAddr> {
    vec!["192.0.2.1:7400".parse().unwrap(), "[2001:db8::1]:7400".parse().unwrap()]
}
