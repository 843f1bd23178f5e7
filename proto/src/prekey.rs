//! Prekeys: keys that are shown on a card for a while and then destroyed.
//!
//! Entry types are [`Prekey`], the half that others see, and [`PrekeyRing`], which holds the secret
//! halves (PROTOCOL §3.6, §4.3). What was sealed to a prekey cannot be opened by anybody once its
//! secret is gone, not even with the identity's key. The ring neither publishes cards nor writes
//! itself anywhere: its host seals [`PrekeyRing::to_bytes`] into its local store.

use std::collections::VecDeque;
use std::fmt;

use rand_chacha::ChaCha12Rng;
use rand_core::RngCore;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::envelope::{CLOCK_TOLERANCE, Suite, TTL_MAX};
use crate::signed_bytes::{FieldError, FieldReader, SignedBytes};
use crate::time::{Span, Time};

/// How often a new prekey is made.
pub const ROTATION: Span = Span::from_days(7);
/// How long others may seal to a prekey after it was made: twice the rotation, so that a card
/// which is on its way while the owner rotates still shows a prekey that may be used.
pub const OFFERED_FOR: Span = ROTATION.times(2);
/// The most secrets in a ring. At one rotation a week seven are alive.
pub const RING_MAX: usize = 8;
/// The longest public half of any suite in bytes.
pub const PREKEY_LEN_MAX: usize = 2_048;

/// Length of an X25519 key, public or secret, in bytes.
const X25519_LEN: usize = 32;
/// Begins the stored form of a ring.
const RING_CONTEXT: &[u8] = b"comm/prekeys/v1\0";
/// Length of one stored secret: when it was made, then the key.
const STORED_LEN: usize = 8 + X25519_LEN;

/// The public half of a prekey, as a card shows it (PROTOCOL §3.6).
#[derive(Clone, PartialEq, Eq)]
pub struct Prekey {
    suite: Suite,
    public: Box<[u8]>,
    not_after: Time,
}

/// The secret half of a prekey of suite 1, wiped when dropped and never printed.
pub struct PrekeySecret {
    // Boxed, so that a ring which grows or shifts moves a pointer and leaves no copies behind.
    secret: Box<Zeroizing<[u8; X25519_LEN]>>,
    public: [u8; X25519_LEN],
    created_at: Time,
}

/// The secrets of all prekeys that somebody may still have sealed to, newest first.
#[derive(Debug, Default)]
pub struct PrekeyRing(VecDeque<PrekeySecret>);

/// Why bytes are no prekey, or no ring of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PrekeyError {
    /// The public half has a length that its suite does not have.
    #[error("a prekey of suite {} cannot have {length} bytes", suite.0)]
    Length {
        /// The suite it is said to be of.
        suite: Suite,
        /// Its length in bytes.
        length: usize,
    },
    /// A stored ring holds more secrets than [`RING_MAX`].
    #[error("a ring holds at most {RING_MAX} prekeys, this says {0}")]
    Count(u8),
    /// The bytes have another layout.
    #[error(transparent)]
    Layout(#[from] FieldError),
}

impl Prekey {
    /// A prekey of any suite.
    ///
    /// # Errors
    /// [`PrekeyError::Length`]: suite 1 has 32 bytes, suites that this program does not know have
    /// 1 to [`PREKEY_LEN_MAX`].
    pub fn new(suite: Suite, public: &[u8], not_after: Time) -> Result<Self, PrekeyError> {
        let fits = match suite {
            Suite::ONE => public.len() == X25519_LEN,
            _ => (1..=PREKEY_LEN_MAX).contains(&public.len()),
        };
        if !fits {
            return Err(PrekeyError::Length { suite, length: public.len() });
        }
        Ok(Self { suite, public: public.into(), not_after })
    }

    /// How bodies are sealed to it.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The public half.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// Until when others may seal to it.
    pub fn not_after(&self) -> Time {
        self.not_after
    }

    /// The X25519 key, if it is a prekey of suite 1.
    pub(crate) fn x25519(&self) -> Option<crypto_box::PublicKey> {
        let key = (self.suite == Suite::ONE).then_some(&self.public)?;
        crypto_box::PublicKey::from_slice(key).ok()
    }

    /// Appends it in the layout of a card: suite, public half, end.
    pub(crate) fn append_to(&self, bytes: SignedBytes) -> SignedBytes {
        bytes.u8(self.suite.0).bytes(&self.public).u64(self.not_after.as_millis())
    }

    /// Reads what [`Self::append_to`] wrote.
    pub(crate) fn read_from(fields: &mut FieldReader<'_>) -> Result<Self, PrekeyError> {
        let suite = Suite(fields.u8()?);
        let public = fields.bytes(PREKEY_LEN_MAX)?;
        Self::new(suite, public, Time::from_millis(fields.u64()?))
    }
}

impl PrekeySecret {
    fn generate(rng: &mut ChaCha12Rng, now: Time) -> Self {
        Self::new(now, |secret| rng.fill_bytes(secret))
    }

    /// A secret that `fill` writes where it stays.
    fn new(created_at: Time, fill: impl FnOnce(&mut [u8; X25519_LEN])) -> Self {
        let mut secret = Box::new(Zeroizing::new([0; X25519_LEN]));
        fill(&mut secret);
        let public = crypto_box::SecretKey::from_bytes(**secret).public_key().to_bytes();
        Self { secret, public, created_at }
    }

    /// The half that others see.
    pub fn prekey(&self) -> Prekey {
        Prekey { suite: Suite::ONE, public: self.public.into(), not_after: self.not_after() }
    }

    /// When it was made.
    pub fn created_at(&self) -> Time {
        self.created_at
    }

    /// Until when others may seal to it.
    pub fn not_after(&self) -> Time {
        self.created_at + OFFERED_FOR
    }

    /// From when on no envelope that was rightly sealed to it can be alive.
    pub fn destroy_after(&self) -> Time {
        self.not_after() + TTL_MAX + CLOCK_TOLERANCE
    }

    /// The X25519 secret, to be dropped after use.
    pub(crate) fn x25519(&self) -> crypto_box::SecretKey {
        crypto_box::SecretKey::from_bytes(**self.secret)
    }
}

impl PrekeyRing {
    /// A ring without prekeys; [`Self::rotate`] makes the first.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a new prekey if one is due and destroys those whose time is over. Returns whether the
    /// ring has changed, so that it must be written: what was destroyed is still in the store.
    ///
    /// A prekey is also due when the newest was made later than the clock can say: the clock has
    /// been set back.
    pub fn rotate(&mut self, rng: &mut ChaCha12Rng, now: Time) -> bool {
        let destroyed = self.destroy_due(now) > 0;
        let due = self.0.front().is_none_or(|newest| {
            now >= newest.created_at + ROTATION || newest.created_at > now + CLOCK_TOLERANCE
        });
        if due {
            self.0.push_front(PrekeySecret::generate(rng, now));
            self.0.truncate(RING_MAX);
        }
        due || destroyed
    }

    /// Destroys the secrets whose time is over and returns how many there were. A clock that jumps
    /// ahead destroys what is still needed, so the host hands in a time that it trusts.
    pub fn destroy_due(&mut self, now: Time) -> usize {
        let before = self.0.len();
        self.0.retain(|secret| now < secret.destroy_after());
        before - self.0.len()
    }

    /// When the time of the next secret is over; `None` while there is none.
    pub fn next_end(&self) -> Option<Time> {
        self.0.iter().map(PrekeySecret::destroy_after).min()
    }

    /// The prekey to show on a card now: the newest, unless it is too old to be sealed to.
    pub fn current(&self, now: Time) -> Option<Prekey> {
        self.0.front().filter(|newest| now < newest.not_after()).map(PrekeySecret::prekey)
    }

    /// All secrets, newest first; at most [`RING_MAX`].
    pub fn secrets(&self) -> impl ExactSizeIterator<Item = &PrekeySecret> {
        self.0.iter()
    }

    /// The ring in the layout of the local store, which must be sealed before it is written.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let length = RING_CONTEXT.len() + 1 + self.0.len() * STORED_LEN;
        // All room at once: a vector that grows leaves secrets behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(length));
        bytes.extend_from_slice(RING_CONTEXT);
        bytes.push(u8::try_from(self.0.len()).expect("a ring holds at most eight secrets"));
        for secret in &self.0 {
            bytes.extend_from_slice(&secret.created_at.as_millis().to_be_bytes());
            bytes.extend_from_slice(&secret.secret[..]);
        }
        bytes
    }

    /// Reads [`Self::to_bytes`] back.
    ///
    /// # Errors
    /// When the bytes have another layout or hold more than [`RING_MAX`] secrets.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PrekeyError> {
        let mut fields = FieldReader::new(bytes);
        fields.context(RING_CONTEXT)?;
        let count = fields.u8()?;
        if usize::from(count) > RING_MAX {
            return Err(PrekeyError::Count(count));
        }
        let secrets = (0..count).map(|_| read_secret(&mut fields)).collect::<Result<_, _>>()?;
        fields.finish()?;
        Ok(Self(secrets))
    }
}

fn read_secret(fields: &mut FieldReader<'_>) -> Result<PrekeySecret, FieldError> {
    let created_at = Time::from_millis(fields.u64()?);
    let bytes = Zeroizing::new(fields.array::<X25519_LEN>()?);
    Ok(PrekeySecret::new(created_at, |secret| secret.copy_from_slice(&bytes[..])))
}

impl fmt::Debug for Prekey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let public = hex::encode(self.public.get(..8).unwrap_or(&self.public));
        write!(f, "Prekey({}, {public}…, {})", self.suite.0, self.not_after)
    }
}

impl fmt::Debug for PrekeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrekeySecret({}…, {})", hex::encode(&self.public[..8]), self.created_at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_core::SeedableRng;

    use super::*;

    const NOW: Time = Time::from_millis(1_700_000_000_000);

    fn rng() -> ChaCha12Rng {
        ChaCha12Rng::from_seed([1; 32])
    }

    fn ages(ring: &PrekeyRing) -> Vec<Time> {
        ring.secrets().map(PrekeySecret::created_at).collect()
    }

    #[test]
    fn a_prekey_is_made_once_a_week() {
        let (mut ring, mut rng) = (PrekeyRing::new(), rng());
        assert!(ring.current(NOW).is_none());
        assert!(ring.rotate(&mut rng, NOW));
        assert!(!ring.rotate(&mut rng, NOW + ROTATION - Span::from_millis(1)));
        assert!(ring.rotate(&mut rng, NOW + ROTATION));
        assert_eq!(ages(&ring), [NOW + ROTATION, NOW]);
    }

    #[test]
    fn the_newest_prekey_is_shown_until_it_is_too_old() {
        let (mut ring, mut rng) = (PrekeyRing::new(), rng());
        ring.rotate(&mut rng, NOW);
        ring.rotate(&mut rng, NOW + ROTATION);
        let newest = ring.secrets().next().map(PrekeySecret::prekey);
        let end = NOW + ROTATION + OFFERED_FOR;
        assert_eq!(ring.current(end - Span::from_millis(1)), newest);
        assert_eq!(ring.current(end), None);
    }

    #[test]
    fn a_secret_outlives_every_envelope_sealed_to_it_and_no_longer() {
        let (mut ring, mut rng) = (PrekeyRing::new(), rng());
        ring.rotate(&mut rng, NOW);
        let last_expiry = NOW + OFFERED_FOR + TTL_MAX;
        assert_eq!(ring.destroy_due(last_expiry + CLOCK_TOLERANCE - Span::from_millis(1)), 0);
        assert_eq!(ring.destroy_due(last_expiry + CLOCK_TOLERANCE), 1);
        assert_eq!(ring.secrets().len(), 0);
    }

    #[test]
    fn a_ring_that_only_loses_a_secret_says_that_it_has_changed() {
        let (mut ring, mut rng) = (PrekeyRing::new(), rng());
        assert_eq!(ring.next_end(), None);
        (0..7).for_each(|week| assert!(ring.rotate(&mut rng, NOW + ROTATION.times(week))));
        let end = NOW + OFFERED_FOR + TTL_MAX + CLOCK_TOLERANCE;
        assert_eq!(ring.next_end(), Some(end));
        assert!(!ring.rotate(&mut rng, end - Span::from_millis(1)));
        assert!(ring.rotate(&mut rng, end));
        assert_eq!(ages(&ring).last(), Some(&(NOW + ROTATION)));
        assert_eq!(ring.next_end(), Some(end + ROTATION));
    }

    #[test]
    fn weekly_rotation_never_drops_a_secret_for_want_of_room() {
        let (mut ring, mut rng) = (PrekeyRing::new(), rng());
        for week in 0..30 {
            let now = NOW + ROTATION.times(week);
            ring.rotate(&mut rng, now);
            let alive = (0..=week).map(|made| NOW + ROTATION.times(made));
            let alive = alive.filter(|made| now < *made + OFFERED_FOR + TTL_MAX + CLOCK_TOLERANCE);
            assert_eq!(ring.secrets().len(), alive.count());
        }
        assert_eq!(ring.secrets().len(), RING_MAX - 1);
    }

    #[test]
    fn a_clock_set_back_gets_a_new_prekey_and_the_ring_stays_bounded() {
        let (mut ring, mut rng) = (PrekeyRing::new(), rng());
        ring.rotate(&mut rng, NOW);
        assert!(!ring.rotate(&mut rng, NOW - CLOCK_TOLERANCE));
        for days in 1..20 {
            assert!(ring.rotate(&mut rng, NOW - Span::from_days(days)));
            assert!(ring.secrets().len() <= RING_MAX);
        }
    }

    #[test]
    fn a_prekey_has_a_length_of_its_suite() {
        let new = |suite: u8, length| Prekey::new(Suite(suite), &vec![1; length], NOW).map(|_| ());
        let refused = |suite, length| Err(PrekeyError::Length { suite: Suite(suite), length });
        assert_eq!(new(1, 32), Ok(()));
        assert_eq!(new(1, 31), refused(1, 31));
        assert_eq!(new(1, 33), refused(1, 33));
        assert_eq!(new(2, 0), refused(2, 0));
        assert_eq!(new(2, PREKEY_LEN_MAX), Ok(()));
        assert_eq!(new(2, PREKEY_LEN_MAX + 1), refused(2, PREKEY_LEN_MAX + 1));
    }

    #[test]
    fn a_ring_prints_no_secret() {
        let (mut ring, mut rng) = (PrekeyRing::new(), rng());
        ring.rotate(&mut rng, NOW);
        let shown = format!("{ring:?}");
        let secret = hex::encode(&ring.0[0].secret[..8]);
        assert!(shown.contains("PrekeySecret") && !shown.contains(&secret));
    }

    /// Made by this implementation; a second one has to give the same.
    #[test]
    fn the_stored_ring_keeps_its_vector() {
        let ring = PrekeyRing(VecDeque::from([PrekeySecret::new(NOW, |secret| secret.fill(7))]));
        assert_eq!(
            hex::encode(&ring.to_bytes()[..]),
            "636f6d6d2f7072656b6579732f763100010000018bcfe56800070707070707070707070707070707\
             0707070707070707070707070707070707"
        );
        assert_eq!(
            hex::encode(ring.secrets().next().unwrap().prekey().public()),
            "13be4feaeaf204c7fd3358fc9c00721881d174278128227ec674f37f7fe97b6d"
        );
    }

    #[test]
    fn an_overfull_or_damaged_ring_is_refused() {
        let (mut ring, mut rng) = (PrekeyRing::new(), rng());
        ring.rotate(&mut rng, NOW);
        let good = ring.to_bytes();
        let read = |bytes: &[u8]| PrekeyRing::from_bytes(bytes).map(|_| ());
        assert_eq!(read(&good[..good.len() - 1]), Err(FieldError::Truncated.into()));
        assert_eq!(read(&[&good[..], &[0]].concat()), Err(FieldError::Trailing.into()));
        assert_eq!(read(&good[1..]), Err(FieldError::Context.into()));
        let overfull = [RING_CONTEXT, &[9]].concat();
        assert_eq!(read(&overfull), Err(PrekeyError::Count(9)));
    }

    proptest! {
        #[test]
        fn a_stored_ring_reads_back(steps in prop::collection::vec(0_u64..20, 0..12)) {
            let (mut ring, mut rng, mut now) = (PrekeyRing::new(), rng(), NOW);
            for days in steps {
                now = now + Span::from_days(days);
                ring.rotate(&mut rng, now);
            }
            let read = PrekeyRing::from_bytes(&ring.to_bytes()).unwrap();
            prop_assert_eq!(read.to_bytes(), ring.to_bytes());
            prop_assert_eq!(read.current(now), ring.current(now));
        }

        #[test]
        fn random_bytes_are_no_ring(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(PrekeyRing::from_bytes(&bytes).is_err());
        }
    }
}
