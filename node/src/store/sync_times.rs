//! How long the syncs of a store take, in steps of which each is twice as long as the one before.
//!
//! Entry type is [`SyncTimes`]. It is for people who ask how their disk is; what they see is exact to the
//! step and never too good.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The longest of the last step but one is over half an hour.
const STEPS: usize = 32;

/// How many syncs took no longer than 1 µs, 2 µs, 4 µs and so on.
#[derive(Debug, Default)]
pub struct SyncTimes([AtomicU64; STEPS]);

impl SyncTimes {
    /// A sync took so long.
    pub fn note(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let step = (u64::BITS - (micros - 1).leading_zeros()) as usize;
        self.0[step.min(STEPS - 1)].fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|step| step.load(Ordering::Relaxed)).sum()
    }

    /// So many of a hundred took no longer than this; nothing while there was none.
    pub fn within(&self, of_hundred: u64) -> Option<Duration> {
        let counts = self.0.each_ref().map(|step| step.load(Ordering::Relaxed));
        let wanted = counts.iter().sum::<u64>().saturating_mul(of_hundred).div_ceil(100).max(1);
        let mut so_far = 0_u64;
        let step = counts.iter().position(|count| {
            so_far = so_far.saturating_add(*count);
            so_far >= wanted
        })?;
        Some(Duration::from_micros(1 << step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_syncs_took_no_longer_than_is_said() {
        let times = SyncTimes::default();
        assert_eq!((times.count(), times.within(50)), (0, None));
        for micros in (1..=98).map(|_| 900).chain([5_000, 200_000]) {
            times.note(Duration::from_micros(micros));
        }
        assert_eq!(times.count(), 100);
        assert_eq!(times.within(50), Some(Duration::from_micros(1_024)));
        assert_eq!(times.within(99), Some(Duration::from_micros(8_192)));
        assert_eq!(times.within(100), Some(Duration::from_micros(262_144)));
    }

    #[test]
    fn the_shortest_and_the_longest_are_counted() {
        let times = SyncTimes::default();
        times.note(Duration::ZERO);
        assert_eq!(times.within(100), Some(Duration::from_micros(1)));
        times.note(Duration::MAX);
        assert_eq!(times.count(), 2);
    }
}
