//! Mailboxes that only two people can compute.
//!
//! Entry type is [`Conversation`] (PROTOCOL §4.6). Each direction and each epoch of seven days has
//! a mailbox of its own, whose key both sides derive from their shared secret. To relays it is an
//! address like any other, and who knows both people still cannot tell where it is. Which mailbox a
//! message goes to, and who listens when, is the agent's affair.

use std::fmt;
use std::ops::RangeInclusive;

use ed25519_dalek::VerifyingKey;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::address::Address;
use crate::envelope::{CLOCK_TOLERANCE, TTL_MAX};
use crate::identity::Identity;
use crate::key::{KeyPair, PublicKey};
use crate::time::{Span, Time};

/// How long one mailbox is written to.
pub const EPOCH: Span = Span::from_days(7);
/// The most epochs of one direction that can hold a live envelope at one time.
pub const LIVE_EPOCHS_MAX: usize = 6;

/// The HKDF info of a mailbox, before both addresses and the epoch.
const MAILBOX_INFO: &[u8] = b"comm/conversation/v1";
/// The HKDF info of the phase, before both addresses in order.
const PHASE_INFO: &[u8] = b"comm/epoch-phase/v1";

/// What two people share: the mailboxes in which they leave each other envelopes.
#[derive(Clone)]
pub struct Conversation {
    // Boxed, so that a conversation that is moved leaves no copy of the secret behind.
    shared: Box<Zeroizing<[u8; 32]>>,
    ours: Address,
    theirs: Address,
    phase: Span,
}

/// Which of the two writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// We write, they collect.
    Outgoing,
    /// They write, we collect.
    Incoming,
}

impl Conversation {
    /// The conversation of `ours` with the owner of `theirs`; none if that is no key that a secret
    /// can be shared with.
    pub fn new(ours: &Identity, theirs: &PublicKey) -> Option<Self> {
        let shared = shared_secret(ours, theirs)?;
        let (ours, theirs) = (ours.address(), theirs.address());
        let (low, high) = (ours.min(theirs), ours.max(theirs));
        let phase: [u8; 8] = *expand(&shared, &[PHASE_INFO, low.as_bytes(), high.as_bytes()]);
        let phase = Span::from_millis(u64::from_be_bytes(phase) % EPOCH.as_millis());
        Some(Self { shared, ours, theirs, phase })
    }

    /// The key of the mailbox of one direction and epoch. Both sides have it: the writer to know
    /// the address, the reader to collect and to acknowledge.
    pub fn mailbox(&self, direction: Direction, epoch: u64) -> KeyPair {
        let (from, to) = match direction {
            Direction::Outgoing => (&self.ours, &self.theirs),
            Direction::Incoming => (&self.theirs, &self.ours),
        };
        let epoch = epoch.to_be_bytes();
        let info = [MAILBOX_INFO, from.as_bytes(), to.as_bytes(), &epoch];
        KeyPair::from_seed(&expand(&self.shared, &info))
    }

    /// The epoch that is written to at `now`. Epochs of different pairs turn at different times, so
    /// that the turn does not show who belongs together.
    pub fn epoch_at(&self, now: Time) -> u64 {
        (now + self.phase).as_millis() / EPOCH.as_millis()
    }

    /// All epochs whose mailbox may hold a live envelope at `now`: at most [`LIVE_EPOCHS_MAX`].
    pub fn incoming_epochs(&self, now: Time) -> RangeInclusive<u64> {
        let oldest = now - (TTL_MAX + CLOCK_TOLERANCE);
        self.epoch_at(oldest)..=self.epoch_at(now + CLOCK_TOLERANCE)
    }

    /// Their address.
    pub fn theirs(&self) -> Address {
        self.theirs
    }
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conversation({}, {})", self.ours, self.theirs)
    }
}

/// X25519 of both converted identity keys; none if theirs is a point of small order, with which
/// everybody would share it.
fn shared_secret(ours: &Identity, theirs: &PublicKey) -> Option<Box<Zeroizing<[u8; 32]>>> {
    let theirs = VerifyingKey::from_bytes(theirs.as_bytes()).ok().filter(|key| !key.is_weak())?;
    let secret = Zeroizing::new(ours.key().to_x25519().to_bytes());
    let point = Zeroizing::new(theirs.to_montgomery().mul_clamped(*secret));
    Some(Box::new(Zeroizing::new(point.to_bytes())))
}

/// HKDF-SHA256 of the shared secret without salt.
fn expand<const N: usize>(shared: &[u8; 32], info: &[&[u8]]) -> Zeroizing<[u8; N]> {
    let mut out = Zeroizing::new([0; N]);
    Hkdf::<Sha256>::new(None, shared)
        .expand_multi_info(info, &mut *out)
        .expect("HKDF-SHA256 gives up to 8160 bytes");
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Direction::{Incoming, Outgoing};
    use super::*;

    fn identity(fill: u8) -> Identity {
        Identity::from_seed(&[fill; 32])
    }

    fn between(ours: u8, theirs: u8) -> Conversation {
        Conversation::new(&identity(ours), identity(theirs).public()).unwrap()
    }

    /// Made by this implementation; a second one has to give the same.
    #[test]
    fn mailboxes_and_phase_keep_their_vectors() {
        let conversation = between(1, 2);
        let mailbox =
            |direction, epoch| conversation.mailbox(direction, epoch).public().to_string();
        assert_eq!(conversation.phase.as_millis(), 190_120_003);
        assert_eq!(
            hex::encode(&conversation.shared[..]),
            "4181d7302557342bdb6d061c4b1eebea828ecb625c3368b7111680793307220b"
        );
        assert_eq!(
            mailbox(Outgoing, 0),
            "a62a21ee1321423dc9445cff58e2c1f51b19edb2c793b032de08ac191190de95"
        );
        assert_eq!(
            mailbox(Incoming, 2_800),
            "9249da609639de9d9f54244f4ff0efc3c5ce4bdb2b6c76afb533b58e48e47733"
        );
    }

    #[test]
    fn directions_and_epochs_have_different_mailboxes() {
        let conversation = between(1, 2);
        let mut keys: Vec<_> = (0..4)
            .flat_map(|epoch| [Outgoing, Incoming].map(|way| conversation.mailbox(way, epoch)))
            .map(|pair| pair.public())
            .collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 8);
    }

    #[test]
    fn a_third_party_computes_other_mailboxes() {
        let theirs = between(1, 2).mailbox(Outgoing, 5).public();
        for (a, b) in [(1, 3), (3, 1), (2, 3), (3, 2)] {
            for way in [Outgoing, Incoming] {
                assert_ne!(between(a, b).mailbox(way, 5).public(), theirs);
            }
        }
    }

    #[test]
    fn pairs_turn_at_different_times() {
        let phases: Vec<_> = (2..8).map(|theirs| between(1, theirs).phase).collect();
        assert!(phases.iter().all(|phase| *phase < EPOCH));
        assert!(phases.windows(2).all(|two| two[0] != two[1]));
    }

    #[test]
    fn a_key_that_everybody_shares_a_secret_with_makes_no_conversation() {
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let no_point = std::array::from_fn(|i| if i == 0 { 2 } else { 0 });
        for key in [[0; 32], neutral, no_point] {
            assert!(Conversation::new(&identity(1), &PublicKey::from_bytes(key)).is_none());
        }
    }

    #[test]
    fn a_conversation_prints_no_secret() {
        let conversation = between(1, 2);
        assert!(!format!("{conversation:?}").contains(&hex::encode(&conversation.shared[..8])));
    }

    #[test]
    fn the_reader_begins_early_and_ends_late_by_the_clock_tolerance() {
        let conversation = between(1, 2);
        let turn = Time::ZERO + EPOCH.times(2_800) - conversation.phase;
        let (before, after) = (conversation.epoch_at(turn) - 1, conversation.epoch_at(turn));
        assert_eq!(conversation.epoch_at(turn - Span::from_millis(1)), before);

        let first = turn - CLOCK_TOLERANCE;
        assert_eq!(*conversation.incoming_epochs(first).end(), after);
        assert_eq!(*conversation.incoming_epochs(first - Span::from_millis(1)).end(), before);

        let last = turn + TTL_MAX + CLOCK_TOLERANCE;
        assert_eq!(*conversation.incoming_epochs(last).start(), after);
        assert_eq!(*conversation.incoming_epochs(last - Span::from_millis(1)).start(), before);
    }

    #[test]
    fn time_at_its_ends_does_not_panic() {
        let conversation = between(1, 2);
        assert_eq!(
            *conversation.incoming_epochs(Time::ZERO).start(),
            conversation.epoch_at(Time::ZERO)
        );
        assert!(!conversation.incoming_epochs(Time::MAX).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn both_sides_compute_the_same(
            seeds: [[u8; 32]; 2],
            epoch: u64,
            now in 0_u64..1 << 50,
        ) {
            let [a, b] = seeds.map(|seed| Identity::from_seed(&seed));
            let at_a = Conversation::new(&a, b.public()).unwrap();
            let at_b = Conversation::new(&b, a.public()).unwrap();
            for (ours, theirs) in [(Outgoing, Incoming), (Incoming, Outgoing)] {
                let (ours, theirs) = (at_a.mailbox(ours, epoch), at_b.mailbox(theirs, epoch));
                prop_assert_eq!(ours.public(), theirs.public());
            }
            let now = Time::from_millis(now);
            prop_assert_eq!(at_a.epoch_at(now), at_b.epoch_at(now));
            prop_assert_eq!(at_a.incoming_epochs(now), at_b.incoming_epochs(now));
        }

        #[test]
        fn the_reader_listens_wherever_a_live_envelope_can_be(
            sealed_at in 1_u64 << 40..1 << 45,
            ttl in 0..=TTL_MAX.as_millis(),
            skew in 0..=CLOCK_TOLERANCE.as_millis(),
        ) {
            let conversation = between(1, 2);
            let sealed_at = Time::from_millis(sealed_at);
            let epoch = conversation.epoch_at(sealed_at);
            let skew = Span::from_millis(skew);
            for now in [sealed_at - skew, sealed_at + Span::from_millis(ttl) + skew] {
                let listened = conversation.incoming_epochs(now);
                prop_assert!(listened.contains(&epoch));
                prop_assert!(listened.count() <= LIVE_EPOCHS_MAX);
            }
        }
    }
}
