//! How fast the links of a node may go together, in one direction.
//!
//! Entry type is [`Pace`], a token bucket that is paid afterwards: a link moves a small piece, and then
//! pauses until what all of them have moved is paid for. Nobody queues: whoever has been silent, as one
//! that has only a ping to send, moves its piece at once, and nobody pauses for longer than it takes to
//! pay one piece for each link.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The largest piece that one link moves before it may have to pause, in bytes: about a record of TLS.
const PIECE_MAX: u64 = 16 << 10;
/// The smallest: more than a ping takes.
const PIECE_MIN: u64 = 256;

/// What a direction may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bytes a second.
    pub per_second: u64,
    /// Bytes that may come at once after a silence.
    pub burst: u64,
}

/// What all links of a node carry in one direction.
#[derive(Debug, Default)]
pub(super) struct Pace {
    bucket: Mutex<Option<Bucket>>,
    /// So that links without a rate need not wait for each other to learn that there is none.
    has_rate: AtomicBool,
}

/// Instead of what is in the bucket it has the moment at which that would be full.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: Rate,
    full_at: Instant,
}

impl Pace {
    /// From now on this holds; without a rate, links go as fast as they can. What has not been paid for
    /// stays to be paid.
    pub(super) fn set(&self, rate: Option<Rate>, now: Instant) {
        let mut bucket = self.lock();
        let full_at = bucket.map_or(now, |bucket| bucket.full_at);
        *bucket = rate.map(|rate| Bucket { rate, full_at });
        self.has_rate.store(bucket.is_some(), Ordering::Relaxed);
    }

    /// How much one of `links` links may move at once, in bytes.
    pub(super) fn piece(&self, links: u64) -> Option<u64> {
        if !self.has_rate.load(Ordering::Relaxed) {
            return None;
        }
        let rate = self.lock().as_ref()?.rate;
        Some((rate.per_second / links.max(1)).clamp(PIECE_MIN, PIECE_MAX))
    }

    /// A link has moved so many bytes. It pauses until the moment that is returned, if any is.
    pub(super) fn moved(&self, bytes: u64, now: Instant) -> Option<Instant> {
        if !self.has_rate.load(Ordering::Relaxed) {
            return None;
        }
        let mut bucket = self.lock();
        let bucket = bucket.as_mut()?;
        bucket.full_at = bucket.full_at.max(now) + bucket.rate.time_of(bytes);
        let paid_at = bucket.full_at.checked_sub(bucket.rate.time_of(bucket.rate.burst))?;
        Some(paid_at).filter(|at| *at > now)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Bucket>> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rate {
    /// How long so many bytes take; rounded up, or many small pieces would go beyond it.
    fn time_of(self, bytes: u64) -> Duration {
        let nanos =
            (u128::from(bytes) * 1_000_000_000).div_ceil(u128::from(self.per_second.max(1)));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate { per_second: 100_000, burst: 500_000 };

    fn pace(rate: Rate, now: Instant) -> Pace {
        let pace = Pace::default();
        pace.set(Some(rate), now);
        pace
    }

    #[test]
    fn after_a_burst_links_go_at_the_rate() {
        let now = Instant::now();
        let pace = pace(RATE, now);
        assert_eq!(pace.moved(500_000, now), None);
        let paid_at = pace.moved(16_000, now).unwrap();
        assert_eq!(paid_at, now + Duration::from_millis(160));
        // Whoever comes now pays behind that; after a silence there is a burst again.
        assert_eq!(pace.moved(4_000, now), Some(now + Duration::from_millis(200)));
        assert_eq!(pace.moved(499_000, now + Duration::from_secs(10)), None);
    }

    #[test]
    fn a_rate_that_is_lifted_or_changed_holds_at_once() {
        let now = Instant::now();
        let pace = pace(RATE, now);
        pace.moved(600_000, now);
        pace.set(Some(Rate { per_second: 1_000_000, burst: 500_000 }), now);
        assert_eq!(pace.moved(10_000, now + Duration::from_secs(6)), None);
        pace.set(None, now);
        assert_eq!((pace.moved(u64::MAX, now), pace.piece(1)), (None, None));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Links that each move a piece as soon as they may: no more than burst and rate allow and a
        /// piece for each of them, and nobody pauses long.
        #[test]
        fn many_links_keep_to_the_rate_and_none_of_them_starves(
            per_second in 131_072..10_000_000_u64,
            links in 1..1_536_usize,
        ) {
            let (start, rate) = (Instant::now(), Rate { per_second, burst: 2 << 20 });
            let pace = pace(rate, start);
            let piece = pace.piece(links as u64).unwrap();
            let mut due: BinaryHeap<_> = (0..links).map(|link| Reverse((start, link))).collect();
            let (mut moved, mut longest) = (0, Duration::ZERO);
            let end = start + Duration::from_secs(20);
            while let Some(Reverse((now, link))) = due.pop().filter(|next| next.0.0 < end) {
                moved += piece;
                let until = pace.moved(piece, now).unwrap_or(now);
                longest = longest.max(until - now);
                due.push(Reverse((until, link)));
            }
            let most = rate.burst + per_second * 20 + piece * links as u64;
            prop_assert!(moved <= most, "{} of {}", moved, most);
            prop_assert!(moved >= per_second * 19, "{}", moved);
            prop_assert!(longest <= Duration::from_secs(4), "{:?}", longest);
        }
    }
}
