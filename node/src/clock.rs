//! The clock of the machine as the protocol's [`Time`].
//!
//! Entry type is [`Clock`]. It never goes back while the node runs; when the machine's clock is set
//! back it stands still until that has caught up. What a jump forward means for expiries is the
//! node's own business (PROTOCOL §6.7).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use comm_proto::time::Time;

/// A clock; share one by reference among all that must agree.
#[derive(Debug, Default)]
pub struct Clock {
    /// The latest time that was told, in milliseconds since the epoch.
    latest: AtomicU64,
}

impl Clock {
    /// A clock that has not been read yet.
    pub const fn new() -> Self {
        Self { latest: AtomicU64::new(0) }
    }

    /// The time now, never earlier than any it told before.
    pub fn now(&self) -> Time {
        self.at(SystemTime::now())
    }

    fn at(&self, machine: SystemTime) -> Time {
        // Before the epoch there is no time to tell; and 2^64 milliseconds are out of reach.
        let since = machine.duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Time::from_millis(self.latest.fetch_max(millis, Ordering::Relaxed).max(millis))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_stands_still_while_the_machine_lies_behind() {
        let clock = Clock::new();
        let at = |secs| clock.at(UNIX_EPOCH + Duration::from_secs(secs));
        assert_eq!(at(100), Time::from_millis(100_000));
        assert_eq!(at(40), Time::from_millis(100_000));
        assert_eq!(at(101), Time::from_millis(101_000));
        assert_eq!(clock.at(UNIX_EPOCH - Duration::from_secs(1)), Time::from_millis(101_000));
    }
}
