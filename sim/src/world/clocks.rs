//! The clocks of machines, each as wrong as it is, and what a node is told of them.
//!
//! Entry type is [`Clocks`]. Machines that are not named have the true time. As in `comm-node`, a node is
//! never told an earlier time than before: when its machine's clock is set back, it is told half of what
//! passes until that has caught up. A restart ends that, which a machine that is set back by much has at once.

use std::collections::BTreeMap;

use comm_proto::time::{Span, Time};

use crate::host::At;

/// The clocks that are, or were, not right.
#[derive(Debug, Default)]
pub(crate) struct Clocks(BTreeMap<At, Clock>);

#[derive(Debug, Default)]
struct Clock {
    /// Milliseconds by which the machine is ahead of the true time.
    ahead: i64,
    /// Twice what the node was told last, and the true time then: halves of what passes must add up.
    told: Option<(u64, Time)>,
}

impl Clocks {
    /// Sets the clock of a machine.
    pub(crate) fn set(&mut self, host: At, ahead: i64) {
        self.0.entry(host).or_default().ahead = ahead;
    }

    /// Nobody remembers what the node was told.
    pub(super) fn reboot(&mut self, host: At) {
        if let Some(clock) = self.0.get_mut(&host) {
            clock.told = None;
        }
    }

    /// What a host's node is told now.
    pub(super) fn read(&mut self, host: At, now: Time) -> Time {
        self.0.get_mut(&host).map_or(now, |clock| clock.read(now))
    }

    /// By how much what its node is told is ahead of its machine.
    pub(super) fn is_ahead_of_machine_by(&mut self, host: At, now: Time) -> Span {
        let told = self.read(host, now);
        let ahead = self.0.get(&host).map_or(0, |clock| clock.ahead);
        told.since(Time::from_millis(now.as_millis().saturating_add_signed(ahead)))
    }
}

impl Clock {
    fn read(&mut self, now: Time) -> Time {
        let machine = now.as_millis().saturating_add_signed(self.ahead).saturating_mul(2);
        let slow = self.told.map(|(told, when)| told.saturating_add(now.since(when).as_millis()));
        let twice = slow.map_or(machine, |slow| slow.max(machine));
        self.told = Some((twice, now));
        Time::from_millis(twice / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_goes_on_at_half_its_pace_until_it_is_right_or_the_machine_restarts()
    {
        let mut clocks = Clocks::default();
        let at = Time::from_millis;
        assert_eq!(clocks.read(1, at(5_000)), at(5_000));
        clocks.set(1, 1_000);
        assert_eq!(clocks.read(1, at(5_000)), at(6_000));
        clocks.set(1, 0);
        assert_eq!(clocks.is_ahead_of_machine_by(1, at(5_000)), Span::from_secs(1));
        for (now, told) in [(5_001, 6_000), (5_002, 6_001), (6_000, 6_500), (7_000, 7_000)] {
            assert_eq!(clocks.read(1, at(now)), at(told), "{now}");
        }
        clocks.set(1, -500);
        clocks.reboot(1);
        assert_eq!(clocks.read(1, at(7_001)), at(6_501));
    }
}
