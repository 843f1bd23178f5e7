//! What anybody may send to whoever reads the first bytes of a link, by the million.
//!
//! Entry type is [`Storm`]: bytes without sense, and good ones after a few changes, the same each time.
//! What a reader must not make of them is said where it is tested.

use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};

/// How many inputs each reader gets.
pub(super) const INPUTS: u32 = 1_000_000;
/// Each outcome is that of one in so many at least; else the storm is not one of all kinds of inputs.
pub(super) const RAREST: u32 = 1_000;
/// The longest noise that is put into something good.
const NOISE_MAX: u32 = 40;

/// Makes inputs.
pub(super) struct Storm(ChaCha12Rng);

impl Storm {
    pub(super) fn new(seed: u64) -> Self {
        Self(ChaCha12Rng::seed_from_u64(seed))
    }

    pub(super) fn below(&mut self, end: u32) -> u32 {
        ((u64::from(self.0.next_u32()) * u64::from(end)) >> 32) as u32
    }

    /// Up to `most` bytes without sense.
    pub(super) fn noise(&mut self, most: u32) -> Vec<u8> {
        let mut bytes = vec![0; self.below(most + 1) as usize];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    pub(super) fn array<const LEN: usize>(&mut self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// Something good after one to three changes.
    pub(super) fn changed(&mut self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        for _ in 0..=self.below(3) {
            self.change(&mut bytes, good);
        }
        bytes
    }

    /// Turns a bit over, cuts the end off, repeats a part, puts noise in, or goes on with another part.
    fn change(&mut self, bytes: &mut Vec<u8>, good: &[u8]) {
        let at = self.position(bytes.len());
        match self.below(6) {
            0..2 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            2 => bytes.truncate(at),
            3 => {
                let end = at + self.below((bytes.len() - at) as u32 + 1) as usize;
                bytes.extend_from_within(at..end);
            }
            4 => drop(bytes.splice(at..at, self.noise(NOISE_MAX))),
            _ => {
                let from = self.position(good.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&good[from..]);
            }
        }
    }

    /// From the beginning to the end; half of them in the first bytes, where lengths and kinds stand.
    fn position(&mut self, len: usize) -> usize {
        let end = if self.below(2) == 0 { len.min(24) } else { len };
        self.below(end as u32 + 1) as usize
    }
}
