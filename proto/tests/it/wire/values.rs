//! Any valid value, for properties; whatever is signed is signed with a real key.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use comm_proto::acknowledgement::Acknowledgement;
use comm_proto::address::Address;
use comm_proto::card::{Card, InboxPolicy, PREKEYS_MAX};
use comm_proto::contact::{Contact, ENDPOINTS_MAX};
use comm_proto::digest::Digest;
use comm_proto::envelope::{
    CLOCK_TOLERANCE, Envelope, EnvelopeId, Header, SizeClass, Suite, TTL_MAX, TTL_MIN,
};
use comm_proto::grant::Grant;
use comm_proto::key::KeyPair;
use comm_proto::message::{DialOutcome, EnvelopeState, Push, Request, Response, Waiting};
use comm_proto::prekey::Prekey;
use comm_proto::receipt::Receipt;
use comm_proto::rejection::Rejection;
use comm_proto::time::{Span, Time};
use comm_proto::verified::Verified;
use proptest::collection::vec;
use proptest::prelude::*;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use super::samples::NOW;

/// All that can come of dialling a node back.
const OUTCOMES: [DialOutcome; 8] = [
    DialOutcome::Failed,
    DialOutcome::Reached,
    DialOutcome::Refused,
    DialOutcome::TimedOut,
    DialOutcome::OtherKey,
    DialOutcome::NoNode,
    DialOutcome::NoRoute,
    DialOutcome::NotTried,
];
/// Lists are short here; their bounds have tests of their own.
const ITEMS_MAX: usize = 4;

pub(super) fn any_request() -> impl Strategy<Value = Request> {
    prop_oneof![
        vec(any_endpoint(), 0..=ENDPOINTS_MAX).prop_map(|endpoints| Request::Ping { endpoints }),
        any_address().prop_map(|target| Request::FindNode { target }),
        any_ids(1).prop_map(|ids| Request::Offer { ids }),
        (any_digest(), any_address(), any_address()).prop_map(|(digest, one, other)| {
            Request::Digest { digest, from: one.min(other), to: one.max(other) }
        }),
        vec(any_envelope(), 1..=ITEMS_MAX).prop_map(|envelopes| Request::Deliver { envelopes }),
        any_acknowledgements()
            .prop_map(|acknowledgements| Request::Acknowledge { acknowledgements }),
        any_receipts().prop_map(|receipts| Request::Receipts { receipts }),
        any_card().prop_map(|card| Request::PutCard { card: Box::new(card) }),
        any_address().prop_map(|owner| Request::GetCard { owner }),
        any_card().prop_map(|card| Request::PublishCard { card: Box::new(card) }),
        any_address().prop_map(|owner| Request::FindCard { owner }),
        (any_grants(), any::<u64>())
            .prop_map(|(grants, after)| Request::Subscribe { grants, after }),
        any_ids(1).prop_map(|ids| Request::Fetch { ids }),
        vec(any_endpoint(), 1..=ENDPOINTS_MAX)
            .prop_map(|endpoints| Request::DialBack { endpoints }),
    ]
}

pub(super) fn any_response() -> impl Strategy<Value = Response> {
    let refused = vec((any_id(), any_rejection()), 0..=ITEMS_MAX);
    prop_oneof![
        (any_time(), prop::option::of(any_endpoint()))
            .prop_map(|(time, observed)| Response::Pong { time, observed }),
        vec(any_contact(), 0..=ITEMS_MAX).prop_map(|contacts| Response::Nodes { contacts }),
        (any_ids(0), any_receipts(), any_acknowledgements()).prop_map(
            |(wanted, receipts, acknowledgements)| Response::Offered {
                wanted,
                receipts,
                acknowledgements
            }
        ),
        (any_digest(), any_acknowledgements()).prop_map(|(digest, acknowledgements)| {
            Response::Digested { digest, acknowledgements }
        }),
        (any_receipts(), refused, any_acknowledgements()).prop_map(
            |(receipts, refused, acknowledgements)| Response::Delivered {
                receipts,
                refused,
                acknowledgements
            }
        ),
        Just(Response::Done),
        prop::option::of(any_card().prop_map(Box::new)).prop_map(|card| Response::Card { card }),
        (vec(any_waiting(), 0..=ITEMS_MAX), any::<(u64, bool)>())
            .prop_map(|(waiting, (cursor, more))| Response::Subscribed { waiting, cursor, more }),
        vec(any_envelope(), 0..=ITEMS_MAX).prop_map(|envelopes| Response::Fetched { envelopes }),
        vec(prop::sample::select(&OUTCOMES), 0..=ENDPOINTS_MAX)
            .prop_map(|outcomes| Response::DialledBack { outcomes }),
    ]
}

pub(super) fn any_push() -> impl Strategy<Value = Push> {
    prop_oneof![
        vec(any_waiting(), 0..=ITEMS_MAX).prop_map(Push::Waiting),
        any_acknowledgements().prop_map(Push::Acknowledgements),
        any_receipts().prop_map(Push::Receipts),
    ]
}

pub(super) fn any_state() -> impl Strategy<Value = EnvelopeState> {
    prop_oneof![
        Just(EnvelopeState::Accepted),
        any::<u32>().prop_map(EnvelopeState::Stored),
        any_time().prop_map(|at| EnvelopeState::Delivered { at }),
        Just(EnvelopeState::Expired),
        Just(EnvelopeState::Cancelled),
    ]
}

/// Only those without a text of their own: texts are for people and do not come back.
pub(super) fn any_rejection() -> impl Strategy<Value = Rejection> {
    (0_u32..20).prop_map(Rejection::from_code)
}

pub(super) fn any_envelope() -> impl Strategy<Value = Envelope> {
    let class = prop_oneof![9 => Just(SizeClass::K1), 1 => prop::sample::select(&SizeClass::ALL)];
    (any::<(u8, u64, u8)>(), any_address(), any_time(), class).prop_map(
        |((suite, stamp_nonce, fill), mailbox, expires_at, class)| {
            let header = Header { suite: Suite(suite), mailbox, expires_at, stamp_nonce };
            Envelope::new(header, vec![fill; class.body_len()].into()).unwrap()
        },
    )
}

pub(super) fn any_acknowledgements() -> impl Strategy<Value = Vec<Verified<Acknowledgement>>> {
    let one = (any_key(), any_ids(1), 1..=TTL_MAX.as_millis()).prop_map(|(key, ids, kept)| {
        Acknowledgement::sign(&key, ids, NOW + Span::from_millis(kept)).unwrap()
    });
    vec(one, 0..=ITEMS_MAX)
}

fn any_receipts() -> impl Strategy<Value = Vec<Verified<Receipt>>> {
    let latest = (NOW + CLOCK_TOLERANCE).as_millis();
    let one = (any_key(), any_ids(1), 0..=latest)
        .prop_map(|(key, ids, at)| Receipt::sign(&key, ids, Time::from_millis(at)).unwrap());
    vec(one, 0..=ITEMS_MAX)
}

pub(super) fn any_grants() -> impl Strategy<Value = Vec<Verified<Grant>>> {
    let one =
        (any_key(), any_address(), 1..=TTL_MAX.as_millis()).prop_map(|(key, collector, lasts)| {
            Grant::sign(&key, collector, NOW + Span::from_millis(lasts))
        });
    vec(one, 0..=ITEMS_MAX)
}

pub(super) fn any_card() -> impl Strategy<Value = Verified<Card>> {
    let policy = (
        TTL_MIN.as_millis()..=TTL_MAX.as_millis(),
        prop::sample::select(&SizeClass::ALL),
        any::<u8>(),
    );
    let policy = policy.prop_map(|(ttl_max, size_max, stamp_min)| InboxPolicy {
        ttl_max: Span::from_millis(ttl_max),
        size_max,
        stamp_min,
    });
    let prekeys = vec(any_prekey(), 1..=PREKEYS_MAX);
    let (age, left) = (0..Span::from_days(29).as_millis(), 1..=Span::DAY.as_millis());
    (any_key(), prekeys, policy, age, left).prop_map(|(owner, prekeys, policy, age, left)| {
        let (issued_at, expires_at) = (NOW - Span::from_millis(age), NOW + Span::from_millis(left));
        Card::sign(&owner, prekeys, policy, issued_at, expires_at).unwrap()
    })
}

fn any_prekey() -> impl Strategy<Value = Prekey> {
    let public = prop_oneof![
        (Just(Suite::ONE), vec(any::<u8>(), 32)),
        (2..=u8::MAX, vec(any::<u8>(), 1..100)).prop_map(|(suite, key)| (Suite(suite), key)),
    ];
    (public, any_time())
        .prop_map(|((suite, key), not_after)| Prekey::new(suite, &key, not_after).unwrap())
}

fn any_digest() -> impl Strategy<Value = Digest> {
    (vec(any_id(), 0..40), any::<u64>())
        .prop_map(|(ids, seed)| Digest::new(&ids, &mut ChaCha12Rng::seed_from_u64(seed)))
}

fn any_waiting() -> impl Strategy<Value = Waiting> {
    (any_address(), any_id()).prop_map(|(mailbox, id)| Waiting { mailbox, id })
}

fn any_contact() -> impl Strategy<Value = Contact> {
    (any_key(), vec(any_endpoint(), 0..=ENDPOINTS_MAX))
        .prop_map(|(key, endpoints)| Contact::new(key.public(), endpoints))
}

fn any_endpoint() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::from(Ipv4Addr::from(bits))),
        any::<u128>().prop_map(|bits| Ipv6Addr::from(bits).to_canonical()),
    ];
    (ip, 1..=u16::MAX).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

pub(super) fn any_ids(least: usize) -> impl Strategy<Value = Vec<EnvelopeId>> {
    vec(any_id(), least..=ITEMS_MAX)
}

pub(super) fn any_id() -> impl Strategy<Value = EnvelopeId> {
    any::<[u8; 32]>().prop_map(EnvelopeId::from_bytes)
}

pub(super) fn any_address() -> impl Strategy<Value = Address> {
    any::<[u8; 20]>().prop_map(Address::from_bytes)
}

fn any_time() -> impl Strategy<Value = Time> {
    any::<u64>().prop_map(Time::from_millis)
}

fn any_key() -> impl Strategy<Value = KeyPair> {
    any::<u8>().prop_map(|seed| KeyPair::from_seed(&[seed; 32]))
}
