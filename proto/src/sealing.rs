//! Sealing a payload so that only its recipient can open it, and only they learn who wrote it.
//!
//! Entry points are [`seal`] and [`open`], suite 1 (PROTOCOL §4.2, §4.3). The outer layer is a
//! sealed box from a fresh key; in it stand the sender's identity key and a box from that key. Both
//! are to the same key of the recipient: a prekey from their card, or their identity key as long as
//! no card is known. The recipient is sure of the sender but can prove it to nobody, since they
//! could have made the inner box themselves; and so could a thief of the key it is sealed to.
//! Envelopes, mailboxes and expiry are not this module's.

use crypto_box::SalsaBox;
use crypto_box::aead::Aead;
use ed25519_dalek::VerifyingKey;
use rand_chacha::ChaCha12Rng;
use rand_core::RngCore;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::address::Address;
use crate::envelope::{SizeClass, Suite};
use crate::identity::Identity;
use crate::key::PublicKey;
use crate::payload::{MessageId, Payload, PayloadError, TooLongError};
use crate::prekey::{Prekey, PrekeyRing};
use crate::time::Time;

/// What suite 1 adds to a padded payload, in bytes: ephemeral key and tag outside, sender key,
/// nonce and tag inside.
pub const OVERHEAD: usize = crypto_box::SEALBYTES + PublicKey::LEN + NONCE_LEN + TAG_LEN;

const NONCE_LEN: usize = 24;
const TAG_LEN: usize = 16;

/// Whom to seal for, and to which of their keys.
#[derive(Clone, Copy, Debug)]
pub enum SealTarget<'a> {
    /// To a prekey of their card. Nobody can open it once that prekey is destroyed.
    Prekey {
        /// Whose card it is.
        owner: &'a PublicKey,
        /// The prekey on it.
        prekey: &'a Prekey,
    },
    /// To their identity key, when only that is known. Whoever steals it later can open it.
    Identity(&'a PublicKey),
}

/// A body that opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Who wrote it.
    pub sender: PublicKey,
    /// What they wrote.
    pub payload: Payload,
    /// The id that others refer to it by.
    pub message_id: MessageId,
    /// Which of our keys it was sealed to.
    pub used: UsedKey,
}

/// Which key of the recipient a body was sealed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsedKey {
    /// The prekey made at that time.
    Prekey {
        /// When it was made.
        created_at: Time,
    },
    /// The identity key.
    Identity,
}

/// Why a payload cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SealError {
    /// The prekey is of a suite that this program does not know.
    #[error("sealing with suite {} is not supported", .0.0)]
    UnknownSuite(Suite),
    /// The recipient's key is none that only they have the secret of.
    #[error("the recipient's key cannot be sealed to")]
    WeakKey,
    /// The payload names another recipient than the target's owner.
    #[error("the payload is for {0}")]
    WrongRecipient(Address),
    /// The body does not fit.
    #[error(transparent)]
    TooLong(#[from] TooLongError),
}

/// Why a body does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The envelope is of a suite that this program does not know.
    #[error("opening suite {} is not supported", .0.0)]
    UnknownSuite(Suite),
    /// No body has that length.
    #[error("no body has {0} bytes")]
    Size(usize),
    /// None of our keys opens it: it is for somebody else, damaged, or older than our keys.
    #[error("the body is not sealed to any key we have")]
    NotForUs,
    /// It opened, but the sender it names did not write it.
    #[error("the body was not written by the sender it names")]
    ForgedSender,
    /// It is the sender's, but no payload.
    #[error(transparent)]
    BadPayload(#[from] PayloadError),
    /// It is the sender's, but was written to somebody else.
    #[error("the message is for {0}")]
    WrongRecipient(Address),
}

impl<'a> SealTarget<'a> {
    /// For whom it is.
    pub fn owner(&self) -> &'a PublicKey {
        match *self {
            Self::Prekey { owner, .. } | Self::Identity(owner) => owner,
        }
    }

    /// The suite that sealing to this target takes; it goes into the envelope's header.
    pub fn suite(&self) -> Suite {
        match self {
            Self::Prekey { prekey, .. } => prekey.suite(),
            Self::Identity(_) => Suite::ONE,
        }
    }

    fn key(&self) -> Result<crypto_box::PublicKey, SealError> {
        let key = match self {
            Self::Prekey { prekey, .. } => {
                Some(prekey.x25519().ok_or(SealError::UnknownSuite(prekey.suite()))?)
            }
            Self::Identity(owner) => owner.to_x25519(),
        };
        key.filter(has_prime_order).ok_or(SealError::WeakKey)
    }
}

/// Seals `payload` from `sender` to `target`; the body has the length of `class`.
///
/// # Errors
/// When the payload is too long or for somebody else, or the target's key cannot be used.
pub fn seal(
    rng: &mut ChaCha12Rng,
    sender: &Identity,
    target: &SealTarget<'_>,
    payload: &Payload,
    class: SizeClass,
) -> Result<Vec<u8>, SealError> {
    if payload.recipient != target.owner().address() {
        return Err(SealError::WrongRecipient(payload.recipient));
    }
    let key = target.key()?;
    let padded = payload.encode(class)?;
    let inner = seal_inner(rng, sender, &key, &padded);
    Ok(seal_outer(rng, &key, &inner))
}

/// Opens a body of an envelope of `suite` with any secret of `ring`, newest first, or with the
/// identity's key. The caller still has to compare expiries ([`Payload::check_expiry`]).
///
/// # Errors
/// What is wrong with it; every error ends this body, none is worth a second try.
pub fn open(
    recipient: &Identity,
    ring: &PrekeyRing,
    suite: Suite,
    body: &[u8],
) -> Result<Opened, OpenError> {
    if suite != Suite::ONE {
        return Err(OpenError::UnknownSuite(suite));
    }
    SizeClass::of_body(body.len()).ok_or(OpenError::Size(body.len()))?;
    let (used, key, inner) = unseal_outer(recipient, ring, body).ok_or(OpenError::NotForUs)?;
    let (sender, padded) = open_inner(&key, &inner).ok_or(OpenError::ForgedSender)?;
    let payload = Payload::decode(&padded)?;
    if payload.recipient != recipient.address() {
        return Err(OpenError::WrongRecipient(payload.recipient));
    }
    Ok(Opened { sender, message_id: payload.id(&sender), payload, used })
}

/// Sender key, nonce, box from the sender to `key`.
fn seal_inner(
    rng: &mut ChaCha12Rng,
    sender: &Identity,
    key: &crypto_box::PublicKey,
    padded: &[u8],
) -> Vec<u8> {
    let mut nonce = [0; NONCE_LEN];
    rng.fill_bytes(&mut nonce);
    let boxed = SalsaBox::new(key, &sender.key().to_x25519())
        .encrypt(&nonce.into(), padded)
        .expect("a box without associated data can always be made");
    [&sender.public().as_bytes()[..], &nonce, &boxed].concat()
}

/// An ephemeral key, then a box from it to `key`.
fn seal_outer(rng: &mut ChaCha12Rng, key: &crypto_box::PublicKey, inner: &[u8]) -> Vec<u8> {
    key.seal(rng, inner).expect("a box without associated data can always be made")
}

/// The first key that opens the outer layer, and what is in it.
fn unseal_outer(
    recipient: &Identity,
    ring: &PrekeyRing,
    body: &[u8],
) -> Option<(UsedKey, crypto_box::SecretKey, Vec<u8>)> {
    let prekeys = ring
        .secrets()
        .map(|secret| (UsedKey::Prekey { created_at: secret.created_at() }, secret.x25519()));
    // Lazily, so that the identity's secret is copied only when no prekey fits.
    let identity = std::iter::once_with(|| (UsedKey::Identity, recipient.key().to_x25519()));
    prekeys.chain(identity).find_map(|(used, key)| {
        let inner = key.unseal(body).ok()?;
        Some((used, key, inner))
    })
}

/// The sender that the inner layer names, and what they put into their box.
fn open_inner(
    key: &crypto_box::SecretKey,
    inner: &[u8],
) -> Option<(PublicKey, Zeroizing<Vec<u8>>)> {
    let (sender, rest) = inner.split_first_chunk()?;
    let (nonce, boxed) = rest.split_first_chunk::<NONCE_LEN>()?;
    let sender = PublicKey::from_bytes(*sender);
    let converted = sender.to_x25519().filter(has_prime_order)?;
    let padded = SalsaBox::new(&converted, key).decrypt(nonce.into(), boxed).ok()?;
    Some((sender, Zeroizing::new(padded)))
}

/// Whether anything can be sealed to the owner of this key.
pub(crate) fn can_be_sealed_to(owner: &PublicKey) -> bool {
    owner.to_x25519().is_some_and(|key| has_prime_order(&key))
}

/// Whether `key` is a point of the large prime order, as every honestly made key is. With others a
/// box would be open to all, or whether it opens would tell bits of our secret.
fn has_prime_order(key: &crypto_box::PublicKey) -> bool {
    // Any point will do: only its type is needed, to give it the bytes of `key`.
    let mut point = VerifyingKey::default().to_montgomery();
    point.0 = key.to_bytes();
    // The neutral point, the only one of order 1, has no coordinate here: it cannot slip through.
    point.to_edwards(0).is_some_and(|point| point.is_torsion_free())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use proptest::prelude::*;
    use rand_core::{RngCore as _, SeedableRng};

    use super::*;
    use crate::payload::{self, ContentType};
    use crate::prekey::PrekeySecret;
    use crate::time::Span;

    const NOW: Time = Time::from_millis(1_700_000_000_000);

    /// Alice writes to Bob; Mallory would like to.
    struct World {
        rng: ChaCha12Rng,
        alice: Identity,
        bob: Identity,
        mallory: Identity,
        ring: PrekeyRing,
        prekey: Prekey,
    }

    impl World {
        fn new() -> Self {
            let mut rng = ChaCha12Rng::from_seed([5; 32]);
            let [alice, bob, mallory] = [1, 2, 3].map(|fill| Identity::from_seed(&[fill; 32]));
            let mut ring = PrekeyRing::new();
            ring.rotate(&mut rng, NOW);
            let prekey = ring.current(NOW).unwrap();
            Self { rng, alice, bob, mallory, ring, prekey }
        }

        fn seal_to_prekey(&mut self) -> Vec<u8> {
            let target = SealTarget::Prekey { owner: self.bob.public(), prekey: &self.prekey };
            let payload = payload_to(&self.bob);
            seal(&mut self.rng, &self.alice, &target, &payload, SizeClass::K1).unwrap()
        }

        fn seal_to_identity(&mut self) -> Vec<u8> {
            let target = SealTarget::Identity(self.bob.public());
            let payload = payload_to(&self.bob);
            seal(&mut self.rng, &self.alice, &target, &payload, SizeClass::K1).unwrap()
        }

        fn open(&self, body: &[u8]) -> Result<Opened, OpenError> {
            open(&self.bob, &self.ring, Suite::ONE, body)
        }
    }

    fn payload_to(recipient: &Identity) -> Payload {
        Payload {
            content_type: ContentType::TEXT,
            sequence: NonZeroU64::MIN,
            previous: None,
            sent_at: NOW,
            expires_at: NOW + Span::from_days(14),
            recipient: recipient.address(),
            body: b"hello".to_vec(),
        }
    }

    #[test]
    fn bob_reads_what_alice_wrote_and_knows_that_it_was_alice() {
        let mut world = World::new();
        let used = UsedKey::Prekey { created_at: NOW };
        for (body, used) in
            [(world.seal_to_prekey(), used), (world.seal_to_identity(), UsedKey::Identity)]
        {
            let opened = world.open(&body).unwrap();
            assert_eq!(opened.sender, *world.alice.public());
            assert_eq!(opened.payload, payload_to(&world.bob));
            assert_eq!(opened.message_id, opened.payload.id(world.alice.public()));
            assert_eq!(opened.used, used);
        }
    }

    /// Made by this implementation; a second one has to open it.
    #[test]
    fn a_sealed_body_keeps_its_vector() {
        let mut world = World::new();
        let body = world.seal_to_identity();
        let opened = world.open(&body).unwrap();
        assert_eq!(
            hex::encode(&body[..96]),
            "be1539f6131557dac63e5ac344244796c5135a790d2ff36984b55dc1f3b0cb2666c68ad607d0a868\
             22a31e967f1cc4ff8363ada8917182aae4094d6a1a80b4f6eaa461fdd864dc55af3ea45c128a648d\
             98621facda635beca34cfe164b50eb5f"
        );
        assert_eq!(
            hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&body)),
            "1b675ac994c09fa111527b8ee901150480b175c9e28179c031def4e7661bbe85"
        );
        assert_eq!(
            opened.message_id.to_string(),
            "6dc69bc89ec3b6503818be6788b81ee346a41c833d7fcce2eefb216de7dd26a9"
        );
    }

    #[test]
    fn every_class_has_its_length_whatever_it_holds() {
        let mut world = World::new();
        for class in SizeClass::ALL {
            for length in [0, 1, payload::capacity(class)] {
                let target = SealTarget::Identity(world.bob.public());
                let payload = Payload { body: vec![1; length], ..payload_to(&world.bob) };
                let body = seal(&mut world.rng, &world.alice, &target, &payload, class).unwrap();
                assert_eq!(body.len(), class.body_len());
                assert_eq!(world.open(&body).map(|opened| opened.payload), Ok(payload));
            }
        }
        assert_eq!(OVERHEAD, 120);
    }

    #[test]
    fn one_flipped_bit_anywhere_closes_a_body() {
        let mut world = World::new();
        let bodies = [world.seal_to_prekey(), world.seal_to_identity()];
        for body in bodies {
            for at in 0..body.len() {
                let mut damaged = body.clone();
                damaged[at] ^= if at % 2 == 0 { 0x80 } else { 1 };
                assert_eq!(world.open(&damaged), Err(OpenError::NotForUs), "byte {at}");
            }
        }
        let mut body = world.seal_to_prekey();
        body[31] ^= 0x80;
        assert_eq!(world.open(&body), Err(OpenError::NotForUs), "the bit X25519 does not read");
    }

    #[test]
    fn one_flipped_bit_in_the_inner_layer_is_a_forgery() {
        let mut world = World::new();
        let key = world.bob.public().to_x25519().unwrap();
        let padded = payload_to(&world.bob).encode(SizeClass::K1).unwrap();
        let inner = seal_inner(&mut world.rng, &world.alice, &key, &padded);
        // The last bit of the sender's key is the sign of a point, which X25519 does not know. The
        // mirrored key is theirs too, since one secret gives both: it deceives nobody.
        for at in (0..inner.len()).filter(|at| *at != 31) {
            let mut damaged = inner.clone();
            damaged[at] ^= 0x80;
            let body = seal_outer(&mut world.rng, &key, &damaged);
            assert_eq!(world.open(&body), Err(OpenError::ForgedSender), "byte {at}");
        }
    }

    #[test]
    fn a_forged_sender_is_found_out() {
        let mut world = World::new();
        let key = world.prekey.x25519().unwrap();
        let padded = payload_to(&world.bob).encode(SizeClass::K1).unwrap();
        let mut inner = seal_inner(&mut world.rng, &world.mallory, &key, &padded);
        inner[..32].copy_from_slice(world.alice.public().as_bytes());
        let body = seal_outer(&mut world.rng, &key, &inner);
        assert_eq!(world.open(&body), Err(OpenError::ForgedSender));
    }

    #[test]
    fn a_sender_key_that_everybody_has_the_secret_of_is_a_forgery() {
        let mut world = World::new();
        let key = world.prekey.x25519().unwrap();
        let padded = payload_to(&world.bob).encode(SizeClass::K1).unwrap();
        let nonce = [0; NONCE_LEN];
        let neutral = crypto_box::PublicKey::from_bytes([0; 32]);
        let open_to_all = SalsaBox::new(&neutral, &world.mallory.key().to_x25519());
        let boxed = open_to_all.encrypt(&nonce.into(), &padded[..]).unwrap();
        let mut identity_point = [0; 32];
        identity_point[0] = 1;
        for weak in [identity_point, [0; 32]] {
            let inner = [&weak[..], &nonce, &boxed].concat();
            let body = seal_outer(&mut world.rng, &key, &inner);
            assert_eq!(world.open(&body), Err(OpenError::ForgedSender));
        }
    }

    #[test]
    fn nobody_but_bob_opens_it() {
        let mut world = World::new();
        let (body, ring) = (world.seal_to_identity(), PrekeyRing::new());
        for other in [&world.alice, &world.mallory] {
            let result = open(other, &ring, Suite::ONE, &body);
            assert_eq!(result, Err(OpenError::NotForUs));
        }
    }

    #[test]
    fn a_box_handed_on_to_a_third_is_a_forgery_there() {
        let mut world = World::new();
        let body = world.seal_to_identity();
        let inner = world.bob.key().to_x25519().unseal(&body).unwrap();
        let to_mallory = world.mallory.public().to_x25519().unwrap();
        let passed_on = seal_outer(&mut world.rng, &to_mallory, &inner);
        let result = open(&world.mallory, &PrekeyRing::new(), Suite::ONE, &passed_on);
        assert_eq!(result, Err(OpenError::ForgedSender));
    }

    #[test]
    fn a_box_sent_back_to_its_writer_is_not_for_them() {
        // Boxes between two keys have the same secret in both directions.
        let mut world = World::new();
        let body = world.seal_to_identity();
        let mut inner = world.bob.key().to_x25519().unseal(&body).unwrap();
        inner[..32].copy_from_slice(world.bob.public().as_bytes());
        let to_alice = world.alice.public().to_x25519().unwrap();
        let reflected = seal_outer(&mut world.rng, &to_alice, &inner);
        let result = open(&world.alice, &PrekeyRing::new(), Suite::ONE, &reflected);
        assert_eq!(result, Err(OpenError::WrongRecipient(world.bob.address())));
    }

    #[test]
    fn a_payload_for_somebody_else_is_neither_sealed_nor_opened() {
        let mut world = World::new();
        let (target, payload) =
            (SealTarget::Identity(world.bob.public()), payload_to(&world.mallory));
        let refused = seal(&mut world.rng, &world.alice, &target, &payload, SizeClass::K1);
        assert_eq!(refused, Err(SealError::WrongRecipient(world.mallory.address())));
        let key = world.bob.public().to_x25519().unwrap();
        let padded = payload.encode(SizeClass::K1).unwrap();
        let inner = seal_inner(&mut world.rng, &world.alice, &key, &padded);
        let body = seal_outer(&mut world.rng, &key, &inner);
        assert_eq!(world.open(&body), Err(OpenError::WrongRecipient(world.mallory.address())));
    }

    #[test]
    fn a_sender_who_writes_nonsense_is_named_by_the_error() {
        let mut world = World::new();
        let key = world.bob.public().to_x25519().unwrap();
        let mut padded = payload_to(&world.bob).encode(SizeClass::K1).unwrap();
        padded[0] = 9;
        let inner = seal_inner(&mut world.rng, &world.alice, &key, &padded);
        let body = seal_outer(&mut world.rng, &key, &inner);
        assert_eq!(world.open(&body), Err(PayloadError::Version(9).into()));
    }

    #[test]
    fn a_destroyed_prekey_leaves_nothing_that_opens_old_mail() {
        let mut world = World::new();
        let body = world.seal_to_prekey();
        let destroyed = world.ring.secrets().next().map(PrekeySecret::destroy_after).unwrap();
        let mut rng = world.rng.clone();
        world.ring.rotate(&mut rng, destroyed - Span::from_millis(1));
        assert!(world.open(&body).is_ok());
        world.ring.rotate(&mut rng, destroyed);
        // Everything that Bob still has is what a thief can take.
        assert_eq!(world.open(&body), Err(OpenError::NotForUs));
        let stored = PrekeyRing::from_bytes(&world.ring.to_bytes()).unwrap();
        assert_eq!(open(&world.bob, &stored, Suite::ONE, &body), Err(OpenError::NotForUs));
    }

    #[test]
    fn the_identity_key_alone_does_not_open_what_was_sealed_to_a_prekey() {
        let mut world = World::new();
        let body = world.seal_to_prekey();
        let stolen = Identity::from_seed(&world.bob.key().expose_seed());
        let result = open(&stolen, &PrekeyRing::new(), Suite::ONE, &body);
        assert_eq!(result, Err(OpenError::NotForUs));
    }

    #[test]
    fn an_unknown_suite_has_its_own_error() {
        let mut world = World::new();
        let body = world.seal_to_prekey();
        for suite in [0, 2, 255].map(Suite) {
            let result = open(&world.bob, &world.ring, suite, &body);
            assert_eq!(result, Err(OpenError::UnknownSuite(suite)));
            let prekey = Prekey::new(suite, &[9; 1_216], NOW).unwrap();
            let target = SealTarget::Prekey { owner: world.bob.public(), prekey: &prekey };
            let payload = payload_to(&world.bob);
            let refused = seal(&mut world.rng, &world.alice, &target, &payload, SizeClass::K1);
            assert_eq!(refused, Err(SealError::UnknownSuite(suite)));
        }
    }

    #[test]
    fn a_key_that_would_open_the_box_to_all_is_not_sealed_to() {
        let mut world = World::new();
        let payload = payload_to(&world.bob);
        let one: [u8; 32] = std::array::from_fn(|i| u8::from(i == 0));
        // 2 is the coordinate of a point on the twist, the others of points of small order.
        let twist: [u8; 32] = std::array::from_fn(|i| if i == 0 { 2 } else { 0 });
        for weak in [[0; 32], one, twist] {
            let prekey = Prekey::new(Suite::ONE, &weak, NOW + Span::DAY).unwrap();
            let target = SealTarget::Prekey { owner: world.bob.public(), prekey: &prekey };
            let refused = seal(&mut world.rng, &world.alice, &target, &payload, SizeClass::K1);
            assert_eq!(refused, Err(SealError::WeakKey));
        }
        let weak = PublicKey::from_bytes(one);
        let payload = Payload { recipient: weak.address(), ..payload };
        let target = SealTarget::Identity(&weak);
        let refused = seal(&mut world.rng, &world.alice, &target, &payload, SizeClass::K1);
        assert_eq!(refused, Err(SealError::WeakKey));
    }

    #[test]
    fn a_key_with_a_part_of_small_order_neither_receives_nor_sends() {
        let mut world = World::new();
        let point = |key: &[u8; 32]| VerifyingKey::from_bytes(key).unwrap().to_edwards();
        // The point with y = 0 has order four.
        let mixed = |key: &PublicKey| point(key.as_bytes()) + point(&[0; 32]);
        let mixed = |key: &PublicKey| PublicKey::from_bytes(mixed(key).compress().to_bytes());
        let owner = mixed(world.bob.public());
        let payload = Payload { recipient: owner.address(), ..payload_to(&world.bob) };
        let target = SealTarget::Identity(&owner);
        let refused = seal(&mut world.rng, &world.alice, &target, &payload, SizeClass::K1);
        assert_eq!(refused, Err(SealError::WeakKey));

        let (key, secret) = (world.prekey.x25519().unwrap(), world.alice.key().to_x25519());
        let padded = payload_to(&world.bob).encode(SizeClass::K1).unwrap();
        let nonce = [0; NONCE_LEN];
        let sender = mixed(world.alice.public());
        // What Bob would compute, had he not looked at the key first.
        let bobs = world.ring.secrets().next().unwrap().x25519();
        let shared = SalsaBox::new(&sender.to_x25519().unwrap(), &bobs);
        let boxed = shared.encrypt(&nonce.into(), &padded[..]).unwrap();
        let inner = [&sender.as_bytes()[..], &nonce, &boxed].concat();
        let body = seal_outer(&mut world.rng, &key, &inner);
        assert_eq!(world.open(&body), Err(OpenError::ForgedSender));
        let honest = SalsaBox::new(&key, &secret).encrypt(&nonce.into(), &padded[..]).unwrap();
        let inner = [&world.alice.public().as_bytes()[..], &nonce, &honest].concat();
        let body = seal_outer(&mut world.rng, &key, &inner);
        assert!(world.open(&body).is_ok());
    }

    #[test]
    fn a_body_too_long_for_its_class_is_refused() {
        let mut world = World::new();
        let target = SealTarget::Identity(world.bob.public());
        let payload = Payload { body: vec![1; 822], ..payload_to(&world.bob) };
        let refused = seal(&mut world.rng, &world.alice, &target, &payload, SizeClass::K1);
        let error = TooLongError { length: 822, capacity: 821 };
        assert_eq!(refused, Err(SealError::TooLong(error)));
    }

    #[test]
    fn the_same_message_sealed_twice_looks_different_and_has_one_id() {
        let mut world = World::new();
        let (first, second) = (world.seal_to_prekey(), world.seal_to_prekey());
        let same = first.iter().zip(&second).filter(|(a, b)| a == b).count();
        assert!(same < 32, "{same} of 1024 bytes are the same");
        let id = |body: &[u8]| world.open(body).map(|opened| opened.message_id);
        assert_eq!(id(&first), id(&second));
    }

    #[test]
    fn what_opened_prints_neither_text_nor_secret() {
        let mut world = World::new();
        let body = world.seal_to_prekey();
        let shown = format!("{:?} {:?}", world.open(&body), world.ring);
        assert!(!shown.contains("hello") && !shown.contains("104, 101, 108, 108, 111"));
    }

    /// Inputs of each storm.
    const INPUTS: u32 = 1_000_000;
    /// One in so many gets as far as a key exchange, which takes longer than a thousand looks at lengths.
    const COSTLY: u32 = 64;

    fn below(rng: &mut ChaCha12Rng, end: usize) -> usize {
        rng.next_u32() as usize % end
    }

    /// Turns over up to three bits, or writes what is taken for a key: a point of small order, one off
    /// the curve, zeros.
    fn damage(rng: &mut ChaCha12Rng, bytes: &mut [u8]) {
        match below(rng, 4) {
            0 => bytes[..32].fill(0),
            1 => {
                bytes[..32].fill(0);
                bytes[0] = below(rng, 4) as u8;
            }
            2 => rng.fill_bytes(&mut bytes[..32]),
            _ => (0..=below(rng, 3)).for_each(|_| {
                let at = below(rng, bytes.len());
                bytes[at] ^= 1 << below(rng, 8);
            }),
        }
    }

    /// H14: everybody can leave such a body in a mailbox. A few damaged bits come out even.
    #[test]
    fn sealed_bodies_survive_a_million_bad_inputs() {
        let mut world = World::new();
        let good = [world.seal_to_prekey(), world.seal_to_identity()];
        let (noise, mut rng) = (vec![0x5a; 70_000], world.rng.clone());
        let mut costly = 0;
        for input in 0..INPUTS {
            if input % COSTLY == 0 {
                let mut body = good[below(&mut rng, 2)].clone();
                damage(&mut rng, &mut body);
                let result = world.open(&body);
                let is_whole = good.contains(&body) && result.is_ok();
                assert!(is_whole || result == Err(OpenError::NotForUs), "{}", hex::encode(&body));
                costly += 1;
                continue;
            }
            let (suite, len) = (Suite(below(&mut rng, 256) as u8), below(&mut rng, noise.len()));
            let len = if SizeClass::of_body(len).is_some() { len + 1 } else { len };
            let refused = match suite {
                Suite::ONE => OpenError::Size(len),
                other => OpenError::UnknownSuite(other),
            };
            assert_eq!(open(&world.bob, &world.ring, suite, &noise[..len]), Err(refused));
        }
        assert_eq!(costly, INPUTS / COSTLY);
    }

    /// H14: behind the outer layer, which anybody can seal, stands whatever they like.
    #[test]
    fn inner_layers_survive_a_million_bad_inputs() {
        let mut world = World::new();
        let secret = world.ring.secrets().next().unwrap().x25519();
        let key = world.prekey.x25519().unwrap();
        let padded = payload_to(&world.bob).encode(SizeClass::K1).unwrap();
        let good = seal_inner(&mut world.rng, &world.alice, &key, &padded);
        let mut rng = world.rng.clone();
        let mut noise = vec![0; 1_200];
        let off_the_curve: [u8; 32] = std::array::from_fn(|at| if at == 0 { 2 } else { 0 });
        assert!(PublicKey::from_bytes(off_the_curve).to_x25519().is_none());
        for input in 0..INPUTS {
            let inner = match input % COSTLY {
                0 => {
                    let mut inner = good.clone();
                    damage(&mut rng, &mut inner);
                    inner
                }
                // It is refused before anything is computed with it.
                1..16 => {
                    noise[..32].copy_from_slice(&off_the_curve);
                    noise[..32 + below(&mut rng, noise.len() - 32)].to_vec()
                }
                _ => {
                    rng.fill_bytes(&mut noise[..PublicKey::LEN + NONCE_LEN]);
                    noise[..below(&mut rng, PublicKey::LEN + NONCE_LEN)].to_vec()
                }
            };
            // The sign of the sender's point tells nothing: both have one secret.
            let mut plain = inner.clone();
            plain.iter_mut().skip(31).take(1).for_each(|byte| *byte ^= (*byte ^ good[31]) & 0x80);
            let is_same = plain == good;
            let opened = open_inner(&secret, &inner);
            assert_eq!(opened.is_some(), is_same, "{}", hex::encode(&inner));
        }
    }

    /// H14: whoever seals as they should chooses every byte of the payload; what is opened is what the
    /// decoder says of it.
    #[test]
    fn ten_thousand_bad_payloads_in_sound_layers_are_read_or_refused() {
        let world = World::new();
        let key = world.prekey.x25519().unwrap();
        let good = payload_to(&world.bob).encode(SizeClass::K1).unwrap();
        let mut rng = world.rng.clone();
        let [mut read, mut refused] = [0; 2];
        for _ in 0..10_000 {
            let mut padded = good.clone();
            for _ in 0..=below(&mut rng, 3) {
                // Half of them in the header, where the length of the body stands too.
                let end = if below(&mut rng, 2) == 0 { 84 } else { padded.len() };
                let at = below(&mut rng, end);
                padded[at] ^= 1 << below(&mut rng, 8);
            }
            let inner = seal_inner(&mut rng, &world.alice, &key, &padded);
            let opened = world.open(&seal_outer(&mut rng, &key, &inner));
            match Payload::decode(&padded) {
                Ok(payload) if payload.recipient == world.bob.address() => {
                    assert_eq!(opened.map(|opened| opened.payload), Ok(payload));
                    read += 1;
                }
                Ok(other) => assert_eq!(opened, Err(OpenError::WrongRecipient(other.recipient))),
                Err(reason) => {
                    assert_eq!(opened, Err(reason.into()));
                    refused += 1;
                }
            }
        }
        assert!(read > 1_000 && refused > 1_000, "{read}, {refused}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn random_bodies_of_any_length_are_refused(
            short in prop::collection::vec(any::<u8>(), 0..1_100),
            class in prop::sample::select(&SizeClass::ALL[..]),
            seed: [u8; 32],
            suite: u8,
        ) {
            let world = World::new();
            prop_assert!(open(&world.bob, &world.ring, Suite(suite), &short).is_err());
            let mut body = vec![0; class.body_len()];
            ChaCha12Rng::from_seed(seed).fill_bytes(&mut body);
            prop_assert_eq!(world.open(&body), Err(OpenError::NotForUs));
        }

        #[test]
        fn a_random_inner_layer_is_a_forgery(
            inner in prop::collection::vec(any::<u8>(), 976..=976),
        ) {
            let mut world = World::new();
            let key = world.prekey.x25519().unwrap();
            let body = seal_outer(&mut world.rng, &key, &inner);
            prop_assert_eq!(world.open(&body), Err(OpenError::ForgedSender));
        }
    }
}
