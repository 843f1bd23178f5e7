//! The clock of the machine as the protocol's [`Time`].
//!
//! Entry type is [`Clock`]. It never goes back while a connection to the node lasts: states and histories
//! are ordered by it. It is set back with a new connection, as the node's own is, whose answers hang
//! on what both call the time (PROTOCOL §10.7).

use std::time::{SystemTime, UNIX_EPOCH};

use comm_proto::time::{Span, Time};

/// A machine's clock that lies behind by more was set back (PROTOCOL §6.7).
const SET_BACK: Span = Span::from_mins(20);

/// A clock for one owner.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    latest: Time,
}

impl Clock {
    /// The time now, never earlier than any it told before.
    pub(crate) fn now(&mut self) -> Time {
        self.latest = self.latest.max(machine());
        self.latest
    }

    /// Whether the machine's clock was set back so far that this one is of no use any more.
    pub(crate) fn is_far_ahead(&self) -> bool {
        self.latest.since(machine()) > SET_BACK
    }

    /// Goes by the machine again, if that was set back far.
    pub(crate) fn put_right(&mut self) {
        if self.is_far_ahead() {
            self.latest = machine();
        }
    }
}

fn machine() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_put_right_only_where_the_machine_was_set_back_far() {
        for (minutes_ahead, far) in [(0, false), (18, false), (22, true)] {
            let ahead = machine() + Span::from_mins(minutes_ahead);
            let mut clock = Clock { latest: ahead };
            assert_eq!(clock.is_far_ahead(), far, "{minutes_ahead}");
            clock.put_right();
            assert_eq!(clock.now() < ahead, far, "{minutes_ahead}");
        }
    }
}
