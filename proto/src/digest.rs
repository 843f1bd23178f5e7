//! A short summary of many envelopes, for two nodes that may both hold them.
//!
//! Entry type is [`Digest`] (PROTOCOL §6.4): a Bloom filter whose hash keys are drawn anew for every
//! exchange, so that a false positive hides an envelope for one round only. It is a hint and never
//! proof: nothing is deleted or promised because of a digest.

use std::fmt;
use std::hash::{Hash, Hasher};

use bloomfilter::Bloom;
use rand_core::RngCore;
use thiserror::Error;

use crate::envelope::EnvelopeId;

/// The most envelopes one digest summarises.
pub const ITEMS_MAX: usize = 65_536;
/// Bits per envelope: about one false positive in a hundred.
const BITS_PER_ITEM: usize = 10;
/// Hash functions, the best number for ten bits per item.
const HASHES: u32 = 7;
/// Version, length, number of hash functions and seed stand before the bits.
const HEADER_LEN: usize = 1 + 8 + 4 + 32;
/// The largest digest in bytes.
pub const BYTES_MAX: usize = HEADER_LEN + ITEMS_MAX * BITS_PER_ITEM / 8;

/// A keyed Bloom filter over envelope ids.
#[derive(Clone)]
pub struct Digest(Bloom<Item>);

/// Hashes the 32 bytes and nothing else, so that the filter is the same on every machine;
/// the standard `Hash` of arrays adds a length in the machine's own width.
#[derive(Clone)]
struct Item(EnvelopeId);

/// Why bytes are no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DigestError {
    /// Larger than any digest we send.
    #[error("a digest has at most {BYTES_MAX} bytes, this has {0}")]
    TooLarge(usize),
    /// Not a filter.
    #[error("the digest is malformed")]
    Malformed,
}

impl Digest {
    /// Summarises at most [`ITEMS_MAX`] ids under keys drawn from `rng`; further ids are left out,
    /// which makes them be offered once more than needed and nothing worse.
    pub fn new(ids: &[EnvelopeId], rng: &mut impl RngCore) -> Self {
        let ids = &ids[..ids.len().min(ITEMS_MAX)];
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let bytes = (ids.len().max(1) * BITS_PER_ITEM).div_ceil(8);
        let mut bloom = Bloom::new_with_seed(bytes, ids.len().max(1), &seed)
            .expect("sizes are positive and bounded");
        for id in ids {
            bloom.set(&Item(*id));
        }
        Self(bloom)
    }

    /// Whether `id` was probably summarised; never false for one that was.
    pub fn may_contain(&self, id: &EnvelopeId) -> bool {
        self.0.check(&Item(*id))
    }

    /// The wire layout (PROTOCOL §6.4).
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes()
    }

    /// Reads the wire layout.
    ///
    /// # Errors
    /// When the bytes are too many or no filter.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DigestError> {
        if bytes.len() > BYTES_MAX {
            return Err(DigestError::TooLarge(bytes.len()));
        }
        // A filter without bits would divide by zero at its first question.
        if bytes.len() <= HEADER_LEN {
            return Err(DigestError::Malformed);
        }
        let bloom = Bloom::from_slice(bytes).map_err(|_| DigestError::Malformed)?;
        if bloom.number_of_hash_functions() > HASHES * 2 {
            return Err(DigestError::Malformed);
        }
        Ok(Self(bloom))
    }
}

impl Hash for Item {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0.as_bytes());
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice() == other.0.as_slice()
    }
}

impl Eq for Digest {}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({} bytes)", self.0.as_slice().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha12Rng;
    use rand_core::SeedableRng;

    fn ids(range: std::ops::Range<u32>) -> Vec<EnvelopeId> {
        let id = |n: u32| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            EnvelopeId::from_bytes(bytes)
        };
        range.map(id).collect()
    }

    #[test]
    fn what_was_summarised_is_always_found_and_little_else() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let digest = Digest::new(&ids(0..5_000), &mut rng);
        let read = Digest::from_bytes(&digest.to_bytes()).unwrap();
        assert!(ids(0..5_000).iter().all(|id| read.may_contain(id)));
        let false_positives = ids(5_000..15_000).iter().filter(|id| read.may_contain(id)).count();
        assert!(false_positives < 200, "{false_positives} of 10000");
    }

    #[test]
    fn a_false_positive_of_one_round_is_none_of_the_next() {
        let mut rng = ChaCha12Rng::seed_from_u64(2);
        let (held, lacked) = (ids(0..5_000), ids(5_000..15_000));
        let hidden = |rng: &mut ChaCha12Rng| -> Vec<EnvelopeId> {
            let digest = Digest::new(&held, rng);
            lacked.iter().filter(|id| digest.may_contain(id)).copied().collect()
        };
        let (first, second) = (hidden(&mut rng), hidden(&mut rng));
        assert!(!first.is_empty());
        let twice = first.iter().filter(|id| second.contains(id)).count();
        assert!(twice * 10 < first.len(), "{twice} of {} stayed hidden", first.len());
    }

    #[test]
    fn hostile_bytes_are_refused_and_never_asked() {
        let good = Digest::new(&ids(0..10), &mut ChaCha12Rng::seed_from_u64(3)).to_bytes();
        for len in 0..=HEADER_LEN {
            assert_eq!(Digest::from_bytes(&good[..len]), Err(DigestError::Malformed));
        }
        let mut slow = good.clone();
        slow[9..13].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Digest::from_bytes(&slow), Err(DigestError::Malformed));
        let huge = vec![1; BYTES_MAX + 1];
        assert_eq!(Digest::from_bytes(&huge), Err(DigestError::TooLarge(BYTES_MAX + 1)));
    }
}
