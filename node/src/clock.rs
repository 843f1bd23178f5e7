//! The clock of the machine as the protocol's [`Time`].
//!
//! Entry type is [`Clock`]. It never goes back. When the machine's clock is set back a little, this
//! one goes on at half its pace until the machine has caught up: to stand still would stop every
//! time-out of the node. When it is set back by more, the node has to begin again with another
//! ([`Clock::must_begin_again`]). What a jump forward means for expiries is the node's own business
//! (PROTOCOL §6.7).

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use comm_proto::time::{Span, Time};

/// A machine's clock that lies behind by more was set back, and one that gets ahead by more in one step of
/// ours was set ahead (PROTOCOL §6.7).
const STEP_MAX: Span = Span::from_mins(20);

/// A clock; share one by reference among all that must agree.
#[derive(Debug, Default)]
pub struct Clock(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    /// The latest time that was told, since the epoch, and when.
    latest: Option<(Duration, Instant)>,
    /// How far the machine's clock has got ahead of one that nobody sets, since that was asked for.
    leapt: Duration,
}

impl Clock {
    /// A clock that has not been read yet.
    pub const fn new() -> Self {
        Self(Mutex::new(Told { latest: None, leapt: Duration::ZERO }))
    }

    /// What the machine's clock shows: for comparing with the clocks of others, which a jump that was
    /// put right must not spoil.
    pub fn machine(&self) -> Time {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// The time now, never earlier than any it told before.
    pub fn now(&self) -> Time {
        self.at(SystemTime::now(), Instant::now())
    }

    /// Whether the machine's clock was set back so far that a node must not go by this one any more.
    pub fn must_begin_again(&self) -> bool {
        self.now().since(self.machine()) > STEP_MAX
    }

    /// By how much the machine's clock was set ahead since this was asked last; a machine that slept looks
    /// the same. `None` where that is less than 20 minutes, which nobody needs to be told of.
    pub fn take_leap(&self) -> Option<Span> {
        let leapt = mem::take(&mut self.lock().leapt);
        let leapt = Span::from_millis(u64::try_from(leapt.as_millis()).unwrap_or(u64::MAX));
        (leapt > STEP_MAX).then_some(leapt)
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time when the machine's clock shows this, and one that nobody sets shows `steady`.
    pub(crate) fn at(&self, machine: SystemTime, steady: Instant) -> Time {
        // Before the epoch there is no time to tell.
        let machine = machine.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut told = self.lock();
        let mut time = machine;
        if let Some((latest, when)) = told.latest {
            let passed = steady.saturating_duration_since(when);
            time = time.max(latest + passed / 2);
            let leapt = machine.saturating_sub(latest + passed);
            if leapt > Duration::from(STEP_MAX) {
                told.leapt += leapt;
            }
        }
        told.latest = Some((time, steady));
        // 2^64 milliseconds are out of reach.
        Time::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_the_machine_lies_far_behind_is_of_no_use_any_more() {
        for (minutes_ahead, useless) in [(0, false), (18, false), (22, true)] {
            let (clock, ahead) = (Clock::new(), Duration::from_secs(60 * minutes_ahead));
            clock.at(SystemTime::now() + ahead, Instant::now());
            assert_eq!(clock.must_begin_again(), useless, "{minutes_ahead}");
        }
    }

    #[test]
    fn that_it_was_set_ahead_is_told_once() {
        let (clock, start) = (Clock::new(), Instant::now());
        let at = |machine, steady| {
            clock
                .at(UNIX_EPOCH + Duration::from_secs(machine), start + Duration::from_secs(steady));
            clock.take_leap()
        };
        assert_eq!(at(1_000_000, 0), None, "nobody knows what was before");
        assert_eq!(at(1_086_400, 86_400), None);
        assert_eq!(at(1_087_600, 86_401), None, "twenty minutes");
        assert_eq!(at(1_174_001, 86_402), Some(Span::DAY));
        assert_eq!(at(1_174_002, 86_403), None);
    }

    #[test]
    fn it_goes_on_slowly_while_the_machine_lies_behind() {
        let (clock, start) = (Clock::new(), Instant::now());
        let at = |machine, steady| {
            clock.at(UNIX_EPOCH + Duration::from_secs(machine), start + Duration::from_secs(steady))
        };
        assert_eq!(at(100, 0), Time::from_millis(100_000));
        assert_eq!(at(40, 2), Time::from_millis(101_000));
        assert_eq!(at(42, 4), Time::from_millis(102_000));
        assert_eq!(at(103, 5), Time::from_millis(103_000));
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(clock.at(before, start + Duration::from_secs(5)), Time::from_millis(103_000));
    }
}
