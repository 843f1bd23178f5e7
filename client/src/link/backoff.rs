//! How long to wait before the next try.
//!
//! Entry type is [`Backoff`]: a quarter of a second, doubled each time up to half a minute, and
//! spread by a fifth so that many clients of one node do not come back at once.

use std::time::Duration;

use rand_core::{OsRng, RngCore};

const FIRST: Duration = Duration::from_millis(250);
const LAST: Duration = Duration::from_secs(30);
/// Thousandths by which a wait may be shorter or longer.
const JITTER: u32 = 200;

/// A sequence of waits.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) const fn new() -> Self {
        Self(FIRST)
    }

    /// The next wait.
    pub(super) fn next(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(LAST);
        let thousandths = 1_000 - JITTER + OsRng.next_u32() % (2 * JITTER + 1);
        wait * thousandths / 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_last_and_are_spread_by_a_fifth() {
        let mut backoff = Backoff::new();
        for wanted in [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            let wait = backoff.next().as_millis();
            assert!((wanted * 8 / 10..=wanted * 12 / 10).contains(&wait), "{wait} for {wanted}");
        }
    }
}
