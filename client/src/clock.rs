//! The clock of the machine as the protocol's [`Time`].
//!
//! Entry type is [`Clock`]. It never goes back while the program runs: states and histories are
//! ordered by it.

use std::time::{SystemTime, UNIX_EPOCH};

use comm_proto::time::Time;

/// A clock for one owner.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    latest: Time,
}

impl Clock {
    /// The time now, never earlier than any it told before.
    pub(crate) fn now(&mut self) -> Time {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Time::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        self.latest = self.latest.max(now);
        self.latest
    }
}
