//! How long to wait after failures: doubling, jittered, bounded.
//!
//! Entry type is [`Backoff`]. Jitter keeps nodes that lost the same peer from coming back together.

use std::time::Duration;

use rand_core::{OsRng, RngCore};

/// Counts failures in a row.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Nothing has failed yet. The first wait is about `first`, none is longer than `max`.
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, failures: 0 }
    }

    /// Something worked.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Something failed: how long to wait, 80 to 120 % of the doubled wait.
    pub fn next_wait(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        (doubled.min(self.max) / 100 * (80 + OsRng.next_u32() % 41)).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_with_jitter_up_to_their_bound() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));
        for failures in 0..40 {
            let plain = Duration::from_secs(1 << failures.min(9)).min(Duration::from_secs(300));
            let wait = backoff.next_wait();
            assert!(wait >= plain * 79 / 100 && wait <= plain * 12 / 10, "{wait:?} for {plain:?}");
            assert!(wait <= Duration::from_secs(300));
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(1_200));
    }
}
