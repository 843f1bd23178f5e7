//! Test vectors of everything that is hashed, signed or sealed (PROTOCOL §11), in testdata/vectors.
//!
//! Each file holds inputs and what becomes of them, all values fixed. With COMM_WRITE_VECTORS=1 in
//! the environment the files are written anew instead of compared. A second implementation, which
//! shares no code with this one, computes them again from PROTOCOL.md alone. Frames of messages
//! between nodes are vectors of [`crate::wire`].

mod json;
mod rooms;

use std::env;
use std::fs;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;

use comm_proto::acknowledgement::Acknowledgement;
use comm_proto::address::{Address, Distance};
use comm_proto::card::{Card, InboxPolicy};
use comm_proto::conversation::{Conversation, Direction, EPOCH};
use comm_proto::digest::Digest;
use comm_proto::envelope::{Envelope, EnvelopeId, Header, SizeClass, Suite, TTL_DEFAULT, TTL_MAX};
use comm_proto::grant::Grant;
use comm_proto::identity::{Identity, safety_number};
use comm_proto::key::{KeyPair, PublicKey, Signature};
use comm_proto::network_size::NetworkSize;
use comm_proto::payload::{ContentType, MessageId, Payload};
use comm_proto::prekey::{Prekey, PrekeyRing, PrekeySecret};
use comm_proto::receipt::Receipt;
use comm_proto::sealing::{self, SealTarget, UsedKey};
use comm_proto::signed_bytes::SignedBytes;
use comm_proto::time::{Span, Time};
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use json::{Json, hexed, list, object};

/// The present of all vectors.
const NOW: Time = Time::from_millis(1_700_000_000_000);
const ALICE: [u8; 32] = [1; 32];
const BOB: [u8; 32] = [2; 32];
const NODE: [u8; 32] = [3; 32];
const PREKEY_SECRET: [u8; 32] = [7; 32];
const SCRIPT: &str = "client/examples/python/check_vectors.py";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn path(name: &str) -> PathBuf {
    root().join("proto/testdata/vectors").join(name).with_extension("json")
}

/// Compares a file with what this implementation makes of its inputs, or writes it if asked to.
fn assert_recorded(name: &str, about: &str, cases: Vec<Json>) {
    let text = object([("about", about.into()), ("cases", Json::List(cases))]).to_text();
    let path = path(name);
    if env::var_os("COMM_WRITE_VECTORS").is_some_and(|asked| asked == "1") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Written beside and moved, so that nobody reads half a file.
        let beside = path.with_extension("json.new");
        fs::write(&beside, text).unwrap();
        fs::rename(&beside, &path).unwrap();
        return;
    }
    let recorded = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    // Lines, because a whole file is more than anybody wants to read.
    let differing = text.lines().zip(recorded.lines()).find(|(ours, theirs)| ours != theirs);
    assert_eq!(differing, None, "{name}: computed on the left, recorded on the right");
    assert_eq!(text, recorded, "{name}");
}

fn id(fill: u8) -> EnvelopeId {
    EnvelopeId::from_bytes([fill; 32])
}

fn ids(fills: RangeInclusive<u8>) -> Vec<EnvelopeId> {
    fills.map(id).collect()
}

fn id_list(ids: &[EnvelopeId]) -> Json {
    list(ids.iter().map(|id| hexed(id.as_bytes())))
}

fn millis(time: Time) -> Json {
    time.as_millis().into()
}

fn address_of(seed: &[u8; 32]) -> Address {
    KeyPair::from_seed(seed).address()
}

/// Signed bytes of PROTOCOL §3 laid out a second time: a signature over others does not verify.
fn checked(key: &PublicKey, bytes: SignedBytes, signature: &Signature) -> Json {
    let bytes = bytes.finish();
    assert!(key.verify(&bytes, signature));
    hexed(bytes)
}

#[test]
fn addresses() {
    let case = |seed: [u8; 32]| {
        let key = KeyPair::from_seed(&seed).public();
        let address = hexed(key.address().as_bytes());
        object([("seed", hexed(seed)), ("public_key", hexed(key.as_bytes())), ("address", address)])
    };
    let counting = std::array::from_fn(|at| at as u8);
    let cases = [ALICE, BOB, NODE, [0; 32], counting].map(case).into();
    assert_recorded("address", "Ed25519 seeds, their public keys and addresses (2.2).", cases);
}

#[test]
fn identities() {
    let case = |secret: &[u8]| {
        let identity = Identity::derive(secret).unwrap();
        object([
            ("secret", hexed(secret)),
            ("seed", hexed(*identity.key().expose_seed())),
            ("public_key", hexed(identity.public().as_bytes())),
            ("address", hexed(identity.address().as_bytes())),
            ("storage_key", hexed(*identity.storage_key())),
        ])
    };
    let cases = vec![case(b"correct horse battery staple"), case("Überraschung ".as_bytes())];
    assert_recorded("identity", "Secrets, byte for byte, and their identities (4.1).", cases);
}

#[test]
fn safety_numbers() {
    let case = |ours: [u8; 32], theirs: [u8; 32]| {
        let (ours, theirs) =
            (KeyPair::from_seed(&ours).public(), KeyPair::from_seed(&theirs).public());
        object([
            ("ours", hexed(ours.as_bytes())),
            ("theirs", hexed(theirs.as_bytes())),
            ("safety_number", safety_number(&ours, &theirs).into()),
        ])
    };
    let cases = vec![case(ALICE, BOB), case(BOB, ALICE), case(ALICE, NODE)];
    assert_recorded(
        "safety-number",
        "Public keys of two people and their safety number (4.1).",
        cases,
    );
}

#[test]
fn envelope_ids() {
    let case = |class: SizeClass, suite: u8, stamp_nonce: u64| {
        let header = Header {
            suite: Suite(suite),
            mailbox: address_of(&BOB),
            expires_at: NOW + TTL_DEFAULT,
            stamp_nonce,
        };
        let body: Vec<u8> = (0..class.body_len()).map(|at| at as u8).collect();
        let envelope = Envelope::new(header, body.into()).unwrap();
        object([
            ("version", 1.into()),
            ("suite", u64::from(suite).into()),
            ("mailbox", hexed(header.mailbox.as_bytes())),
            ("expires_at", millis(header.expires_at)),
            ("stamp_nonce", stamp_nonce.into()),
            ("body_length", (class.body_len() as u64).into()),
            ("id", hexed(envelope.id().as_bytes())),
        ])
    };
    let mut cases: Vec<_> = SizeClass::ALL.map(|class| case(class, 1, 0)).into();
    cases.extend([case(SizeClass::K1, 1, 5), case(SizeClass::K1, 255, 0)]);
    let about = "Headers and ids of envelopes (3.2). Byte i of a body is i mod 256.";
    assert_recorded("envelope", about, cases);
}

#[test]
fn acknowledgements() {
    let case = |ids: Vec<EnvelopeId>| {
        let (mailbox, expires_at) = (KeyPair::from_seed(&BOB), NOW + Span::from_days(15));
        let signed = Acknowledgement::sign(&mailbox, ids.clone(), expires_at).unwrap();
        let key = mailbox.public();
        let start = SignedBytes::new(b"comm/acknowledgement/v1\0")
            .array(key.as_bytes())
            .u64(expires_at.as_millis())
            .u8(ids.len() as u8);
        let bytes = ids.iter().fold(start, |bytes, id| bytes.array(id.as_bytes()));
        object([
            ("mailbox_seed", hexed(BOB)),
            ("mailbox_key", hexed(key.as_bytes())),
            ("mailbox", hexed(signed.mailbox().as_bytes())),
            ("ids", id_list(&ids)),
            ("expires_at", millis(expires_at)),
            ("signed_bytes", checked(&key, bytes, signed.signature())),
            ("signature", hexed(signed.signature().as_bytes())),
        ])
    };
    let cases = vec![case(ids(1..=1)), case(ids(1..=3)), case(ids(1..=64))];
    assert_recorded("acknowledgement", "Acknowledgements of 1, 3 and 64 envelopes (3.3).", cases);
}

#[test]
fn receipts() {
    let case = |ids: Vec<EnvelopeId>| {
        let node = KeyPair::from_seed(&NODE);
        let signed = Receipt::sign(&node, ids.clone(), NOW).unwrap();
        let key = node.public();
        let start = SignedBytes::new(b"comm/receipt/v1\0")
            .array(key.as_bytes())
            .u64(NOW.as_millis())
            .u8(ids.len() as u8);
        let bytes = ids.iter().fold(start, |bytes, id| bytes.array(id.as_bytes()));
        object([
            ("holder_seed", hexed(NODE)),
            ("holder_key", hexed(key.as_bytes())),
            ("ids", id_list(&ids)),
            ("at", millis(NOW)),
            ("signed_bytes", checked(&key, bytes, signed.signature())),
            ("signature", hexed(signed.signature().as_bytes())),
        ])
    };
    let cases = vec![case(ids(1..=1)), case(ids(1..=64))];
    assert_recorded("receipt", "Receipts for 1 and 64 envelopes (3.4).", cases);
}

#[test]
fn grants() {
    let (mailbox, collector) = (KeyPair::from_seed(&BOB), address_of(&NODE));
    let not_after = NOW + Span::from_days(2);
    let signed = Grant::sign(&mailbox, collector, not_after);
    let key = mailbox.public();
    let bytes = SignedBytes::new(b"comm/grant/v1\0")
        .array(key.as_bytes())
        .array(collector.as_bytes())
        .u64(not_after.as_millis());
    let case = object([
        ("mailbox_seed", hexed(BOB)),
        ("mailbox_key", hexed(key.as_bytes())),
        ("collector", hexed(collector.as_bytes())),
        ("not_after", millis(not_after)),
        ("signed_bytes", checked(&key, bytes, signed.signature())),
        ("signature", hexed(signed.signature().as_bytes())),
    ]);
    assert_recorded("grant", "A grant (3.5).", vec![case]);
}

#[test]
fn cards() {
    let policy = |ttl_max, size_max, stamp_min| InboxPolicy { ttl_max, size_max, stamp_min };
    let own = ring().current(NOW).unwrap();
    let foreign = Prekey::new(Suite(9), &[0xab; 100], NOW + Span::from_days(30)).unwrap();
    let cases = vec![
        card(vec![own.clone()], policy(TTL_MAX, SizeClass::K64, 0), Span::from_days(14)),
        card(
            vec![own, foreign],
            policy(Span::from_days(7), SizeClass::K16, 9),
            Span::from_days(30),
        ),
    ];
    assert_recorded("card", "Cards with prekeys of known and unknown suites (3.6).", cases);
}

fn card(prekeys: Vec<Prekey>, policy: InboxPolicy, lifetime: Span) -> Json {
    let expires_at = NOW + lifetime;
    let card = Card::sign(&KeyPair::from_seed(&BOB), prekeys, policy, NOW, expires_at).unwrap();
    let bytes = card.to_bytes();
    assert!(Card::from_bytes(&bytes).and_then(|card| card.verify(NOW)).is_ok());
    let prekey = |prekey: &Prekey| {
        object([
            ("suite", u64::from(prekey.suite().0).into()),
            ("public", hexed(prekey.public())),
            ("not_after", millis(prekey.not_after())),
        ])
    };
    object([
        ("owner_seed", hexed(BOB)),
        ("issued_at", millis(NOW)),
        ("expires_at", millis(expires_at)),
        ("ttl_max", policy.ttl_max.as_millis().into()),
        ("size_max", (policy.size_max.body_len() as u64).into()),
        ("stamp_min", u64::from(policy.stamp_min).into()),
        ("prekeys", list(card.prekeys().iter().map(prekey))),
        ("card", hexed(bytes)),
    ])
}

/// A ring with the one prekey of [`PREKEY_SECRET`], made now.
fn ring() -> PrekeyRing {
    let stored = SignedBytes::new(b"comm/prekeys/v1\0").u8(1).u64(NOW.as_millis());
    PrekeyRing::from_bytes(&stored.array(&PREKEY_SECRET).finish()).unwrap()
}

fn payload(sequence: u64, previous: Option<MessageId>, body: &[u8]) -> Payload {
    Payload {
        content_type: ContentType::TEXT,
        sequence: NonZeroU64::new(sequence).unwrap(),
        previous,
        sent_at: NOW,
        expires_at: NOW + TTL_DEFAULT,
        recipient: address_of(&BOB),
        body: body.to_vec(),
    }
}

fn payload_fields(payload: &Payload) -> Vec<(&'static str, Json)> {
    let previous = payload.previous.map_or([0; 32], |id| *id.as_bytes());
    vec![
        ("content_type", u64::from(payload.content_type.0).into()),
        ("sequence", payload.sequence.get().into()),
        ("previous", hexed(previous)),
        ("sent_at", millis(payload.sent_at)),
        ("expires_at", millis(payload.expires_at)),
        ("recipient", hexed(payload.recipient.as_bytes())),
        ("text", hexed(&payload.body)),
    ]
}

#[test]
fn payloads() {
    let sender = KeyPair::from_seed(&ALICE).public();
    let case = |payload: &Payload, class: SizeClass| {
        let padded = payload.encode(class).unwrap();
        let unpadded = 83 + payload.body.len();
        assert!(padded[unpadded..].iter().all(|byte| *byte == 0));
        let mut fields = payload_fields(payload);
        fields.extend([
            ("sender", hexed(sender.as_bytes())),
            ("payload", hexed(&padded[..unpadded])),
            ("body_length", (class.body_len() as u64).into()),
            ("padded_length", (padded.len() as u64).into()),
            ("message_id", hexed(payload.id(&sender).as_bytes())),
        ]);
        Json::Object(fields)
    };
    let first = payload(1, None, b"hello");
    let second = payload(2, Some(first.id(&sender)), "Grüße".as_bytes());
    let cases = vec![case(&first, SizeClass::K1), case(&second, SizeClass::K64)];
    let about = "Payloads before their padding of zeros, and message ids (4.4).";
    assert_recorded("payload", about, cases);
}

#[test]
fn sealed_envelopes() {
    let (bob, ring) = (Identity::from_seed(&BOB), ring());
    let prekey = ring.current(NOW).unwrap();
    let to_prekey = SealTarget::Prekey { owner: bob.public(), prekey: &prekey };
    let to_identity = SealTarget::Identity(bob.public());
    let cases = vec![
        sealed(&bob, &ring, &to_prekey, SizeClass::K1),
        sealed(&bob, &ring, &to_identity, SizeClass::K1),
        sealed(&bob, &ring, &to_prekey, SizeClass::K4),
    ];
    let about = "Envelopes sealed with suite 1, and what opens them (4.3).";
    assert_recorded("sealed", about, cases);
}

/// A message of Alice to Bob, sealed with randomness that is always the same.
fn sealed(bob: &Identity, ring: &PrekeyRing, target: &SealTarget<'_>, class: SizeClass) -> Json {
    let (alice, payload) = (Identity::from_seed(&ALICE), payload(1, None, b"hello"));
    let mut rng = ChaCha12Rng::from_seed([5; 32]);
    let body = sealing::seal(&mut rng, &alice, target, &payload, class).unwrap();
    let opened = sealing::open(bob, ring, Suite::ONE, &body).unwrap();
    assert_eq!((opened.sender, &opened.payload), (*alice.public(), &payload));
    let secret = match opened.used {
        UsedKey::Prekey { .. } => hexed(PREKEY_SECRET),
        UsedKey::Identity => hexed([]),
    };
    let header = Header {
        suite: target.suite(),
        mailbox: bob.address(),
        expires_at: payload.expires_at,
        stamp_nonce: 0,
    };
    let envelope = Envelope::new(header, body.clone().into()).unwrap();
    let mut fields = vec![
        ("recipient_seed", hexed(BOB)),
        ("prekey_secret", secret),
        ("suite", u64::from(header.suite.0).into()),
        ("mailbox", hexed(header.mailbox.as_bytes())),
        ("envelope_expires_at", millis(header.expires_at)),
        ("body", hexed(&body)),
        ("id", hexed(envelope.id().as_bytes())),
        ("sender", hexed(opened.sender.as_bytes())),
        ("message_id", hexed(opened.message_id.as_bytes())),
    ];
    fields.extend(payload_fields(&opened.payload));
    Json::Object(fields)
}

#[test]
fn prekeys() {
    let ring = ring();
    let secret: &PrekeySecret = ring.secrets().next().unwrap();
    let case = object([
        ("secret", hexed(PREKEY_SECRET)),
        ("created_at", millis(secret.created_at())),
        ("public", hexed(secret.prekey().public())),
        ("not_after", millis(secret.not_after())),
        ("destroy_after", millis(secret.destroy_after())),
    ]);
    assert_recorded("prekey", "A prekey, and until when it is offered and kept (3.6).", vec![case]);
}

#[test]
fn conversations() {
    let case = |ours: [u8; 32], theirs: [u8; 32], epoch: u64| {
        let (ours_at, theirs_at) = (address_of(&ours), address_of(&theirs));
        let identity = Identity::from_seed(&ours);
        let other = KeyPair::from_seed(&theirs).public();
        let conversation = Conversation::new(&identity, &other).unwrap();
        let mailbox = conversation.mailbox(Direction::Outgoing, epoch);
        let incoming = conversation.incoming_epochs(NOW);
        object([
            ("from_seed", hexed(ours)),
            ("to_key", hexed(other.as_bytes())),
            ("from", hexed(ours_at.as_bytes())),
            ("to", hexed(theirs_at.as_bytes())),
            ("phase_ms", phase(&conversation).into()),
            ("now", millis(NOW)),
            ("epoch_now", conversation.epoch_at(NOW).into()),
            ("epochs_listened", list([*incoming.start(), *incoming.end()].map(Json::from))),
            ("epoch", epoch.into()),
            ("mailbox_seed", hexed(*mailbox.expose_seed())),
            ("mailbox_key", hexed(mailbox.public().as_bytes())),
            ("mailbox", hexed(mailbox.address().as_bytes())),
        ])
    };
    let cases = vec![case(ALICE, BOB, 0), case(BOB, ALICE, 0), case(ALICE, BOB, 2_811)];
    let about = "Mailboxes of conversations, from one person to another (4.6).";
    assert_recorded("conversation", about, cases);
}

/// The phase shows in when the first epoch ends.
fn phase(conversation: &Conversation) -> u64 {
    let (mut low, mut high) = (0, EPOCH.as_millis());
    while low < high {
        let middle = low.midpoint(high);
        if conversation.epoch_at(Time::from_millis(middle)) == 0 {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    EPOCH.as_millis() - low
}

#[test]
fn digests() {
    let case = |count: u8| {
        let summarised = ids(1..=count);
        let digest = Digest::new(&summarised, &mut ChaCha12Rng::from_seed([count; 32]));
        let bytes = digest.to_bytes();
        let contained = ids(0..=255).into_iter().filter(|id| digest.may_contain(id));
        let others: Vec<_> = contained.filter(|id| !summarised.contains(id)).collect();
        object([
            ("ids", id_list(&summarised)),
            ("seed", hexed(&bytes[13..45])),
            ("digest", hexed(&bytes)),
            ("false_positives", id_list(&others)),
        ])
    };
    // An empty range of ids is the digest of nothing.
    let cases = [0, 1, 2, 3, 10, 100].map(case).into();
    let about =
        "Digests (6.4). The false positives are all there are among 32 times the bytes 00 to ff.";
    assert_recorded("digest", about, cases);
}

#[test]
fn network_sizes() {
    let far = |top: u64| {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&top.to_be_bytes());
        Distance::from_bytes(bytes)
    };
    let case = |samples: &[&[u64]]| {
        let mut size = NetworkSize::new();
        for sample in samples {
            size.sample_from(&sample.iter().copied().map(far).collect::<Vec<_>>());
        }
        let texts = |sample: &&[u64]| list(sample.iter().map(|top| format!("{top:016x}").into()));
        object([
            ("samples", list(samples.iter().map(texts))),
            ("estimate", size.estimate().into()),
            ("region_nodes", 20.into()),
            ("radius", format!("{:016x}", size.region_radius(20)).into()),
        ])
    };
    let (dense, thin) = (&[1 << 50, 1 << 52, 1 << 53][..], &[1 << 60, 3 << 60, 5 << 60][..]);
    let cases = vec![case(&[]), case(&[dense]), case(&[dense, thin]), case(&[thin, dense, dense])];
    let about = "Top 64 bits of the distances found around random targets, and what follows (5.5).";
    assert_recorded("network-size", about, cases);
}

#[test]
fn a_second_implementation_computes_the_same_vectors() {
    let python = root().join("target/python/bin/python");
    assert!(python.exists(), "there is no target/python yet: run `deploy/prepare test` first");
    let output = Command::new(python).current_dir(root()).arg(SCRIPT).output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success(), "{SCRIPT} does not agree:\n{out}{err}");
    let files = fs::read_dir(path("address").parent().unwrap()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    for name in names.filter(|name| name.ends_with(".json")) {
        assert!(out.contains(&name), "{SCRIPT} does not look at {name}:\n{out}");
    }
}
