//! Ending what has run out (PROTOCOL §6.7), a bounded number at a time.
//!
//! Entry type is [`HoldingClock`]: neither a jump of our own clock nor a clock that is ahead of
//! everybody else's must expire everything at once.

use crate::envelope::{CLOCK_TOLERANCE, EnvelopeId};
use crate::message::EnvelopeState;
use crate::store::StoreError;
use crate::time::{Span, Time};

use super::io::{Event, Family};
use super::keys::{self, Expiring};
use super::records::{Custody, Role};
use super::{Node, Turn};

/// A step of the clock longer than this between two inputs is taken for a jump.
const JUMP: Span = Span::from_mins(20);
/// How often the clock is looked at while anything is kept: an ordinary silence is no jump.
const LOOK_EVERY: Span = Span::from_mins(15);
/// Where the time is written down.
pub(super) const CLOCK_KEY: &[u8] = b"clock";

/// The clock by which things expire: ours, but behind it by every jump it made, until the new time
/// has been in force for as long as clocks may disagree, and behind it by as much as other nodes say
/// that it is ahead.
#[derive(Debug)]
pub(super) struct HoldingClock {
    last: Time,
    behind: Span,
    jumped_at: Time,
    /// By how much ours is ahead of other nodes' clocks.
    doubt: Span,
    /// What stands on the disk.
    written: Time,
}

impl HoldingClock {
    /// Goes on from the time at which the clock was last written down, if it ever was: what has passed
    /// since then is a step like any other.
    pub(super) fn new(written: Option<Time>, now: Time) -> Self {
        let last = written.unwrap_or(now).min(now);
        let mut clock = Self {
            last,
            behind: Span::ZERO,
            jumped_at: last,
            doubt: Span::ZERO,
            written: written.map_or(Time::ZERO, |_| last),
        };
        clock.observe(now);
        clock
    }

    /// Notes the time of an input; whether the clock has jumped since the one before.
    pub(super) fn observe(&mut self, now: Time) -> bool {
        let (step, back) = (now.since(self.last), self.last.since(now));
        if back > JUMP {
            // What jumped ahead was put right, as far as that goes.
            let behind = self.behind.as_millis().saturating_sub(back.as_millis());
            self.behind = Span::from_millis(behind);
            self.jumped_at = self.jumped_at.min(now);
        }
        let jumped = step > JUMP || back > JUMP;
        if step > JUMP {
            // After a jump others are asked anew: what they said before must not be forgotten with it.
            self.behind = self.behind.max(self.doubt) + step;
            self.jumped_at = now;
        } else if now.since(self.jumped_at) > CLOCK_TOLERANCE {
            self.behind = Span::ZERO;
        }
        self.last = now;
        jumped
    }

    /// Other nodes say that our clock is ahead by so much; whether it was more before.
    pub(super) fn doubt(&mut self, by: Span) -> bool {
        std::mem::replace(&mut self.doubt, by) > by
    }

    /// The time by which things are over: ours, or other nodes' if ours is ahead of it.
    pub(super) fn agreed(&self) -> Time {
        self.last - self.doubt
    }

    /// What is removed by now.
    fn time(&self) -> Time {
        self.last - self.behind.max(self.doubt)
    }

    /// When, by the host's clock, what expires at `at` does so here.
    fn due(&self, at: Time) -> Time {
        let after_jump = (at + self.behind).min(self.recovery());
        let due = if self.behind == Span::ZERO { at } else { after_jump.max(at) };
        due.max(at + self.doubt)
    }

    /// The time to write down, if that was not done for long.
    fn due_for_writing(&mut self) -> Option<Time> {
        // Behind a jump: else a restart would forget that the new time has not lasted yet.
        let time = self.last - self.behind;
        let due = time.since(self.written) >= LOOK_EVERY || self.written > time;
        due.then(|| {
            self.written = time;
            time
        })
    }

    fn recovery(&self) -> Time {
        self.jumped_at + CLOCK_TOLERANCE + Span::from_millis(1)
    }
}

impl Node {
    /// When to look at the clock for what expires; never while nothing does.
    pub(super) fn next_expiry(&self) -> Option<Time> {
        let look = self.clock.last + LOOK_EVERY;
        Some(self.expiry_at).filter(|at| *at < Time::MAX).map(|at| at.min(look))
    }

    /// Enters something into the order of expiry.
    pub(super) fn expire_at(&mut self, at: Time, what: &Expiring) {
        self.desk.put(Family::Expiry, keys::expiry(at, what), Vec::new());
        self.look_for_expiry(at);
    }

    fn write_clock(&mut self) {
        if let Some(time) = self.clock.due_for_writing() {
            let value = time.as_millis().to_be_bytes().to_vec();
            self.desk.put(Family::Meta, CLOCK_KEY.to_vec(), value);
        }
    }

    /// Something expires at `at`.
    pub(super) fn look_for_expiry(&mut self, at: Time) {
        // With the first thing that is kept, or a restart soon after would know of no time before it.
        self.write_clock();
        self.expiry_at = self.expiry_at.min(self.clock.due(at));
    }

    /// Ends what has run out, at most so many as one step may.
    pub(super) fn expire_due(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        self.write_clock();
        if self.expiry_at > turn.now {
            return Ok(());
        }
        self.expiry_at = Time::MAX;
        let left = self.expire_envelopes(turn, self.config.expired_per_step)?;
        self.expire_others(turn, left)
    }

    /// Ends at most `count` envelopes, which lie in the order of their expiry; returns how many
    /// further things this step may end.
    fn expire_envelopes(&mut self, turn: Turn<'_>, count: usize) -> Result<usize, StoreError> {
        let time = self.clock.time();
        let end = keys::envelopes_before(time + Span::from_millis(1));
        let due = turn.store.scan(Family::Envelopes, keys::LOWEST, &end, count)?;
        let is_full = due.len() == count;
        let left = count - due.len();
        for (key, _) in due {
            let (_, id) = keys::parse_envelope(&key).ok_or(StoreError::Damaged("envelopes"))?;
            match self.custody(turn, &id)? {
                Some(custody) => self.expire_envelope(&id, &custody),
                None => self.desk.delete(Family::Envelopes, key),
            }
        }
        if is_full {
            self.look_for_expiry(time);
            return Ok(0);
        }
        let next = turn.store.scan(Family::Envelopes, &end, keys::HIGHEST, 1)?;
        if let Some((at, _)) = next.first().and_then(|(key, _)| keys::parse_envelope(key)) {
            self.look_for_expiry(at);
        }
        self.drop_old_days(time);
        Ok(left)
    }

    /// Ends what else has run out; tombstones count. At least one thing goes, if any may.
    fn expire_others(&mut self, turn: Turn<'_>, mut left: usize) -> Result<(), StoreError> {
        let time = self.clock.time();
        let due = turn.store.scan(Family::Expiry, keys::LOWEST, keys::HIGHEST, left + 1)?;
        for (key, _) in due {
            let (at, what) = keys::parse_expiry(&key).ok_or(StoreError::Damaged("expiry"))?;
            if at > time || left == 0 {
                self.look_for_expiry(at);
                break;
            }
            self.desk.delete(Family::Expiry, key);
            left = left.saturating_sub(match what {
                Expiring::Ending(number) => self.forget_ending(turn, number)?,
                Expiring::Card(owner) => self.expire_card(turn, &owner).map(|()| 1)?,
            });
        }
        Ok(())
    }

    fn expire_envelope(&mut self, id: &EnvelopeId, custody: &Custody) {
        self.remove_envelope(id, custody);
        self.stats.expired += 1;
        self.event(Event::Expired { id: *id });
        if custody.role == Role::Own {
            self.tell_state(id, EnvelopeState::Expired);
        }
    }

    /// Lets the store drop the files of days that are wholly over and of which nothing is left.
    fn drop_old_days(&mut self, time: Time) {
        let today = time.day();
        if self.dropped_day < today {
            self.dropped_day = today;
            let midnight = Time::ZERO + Span::DAY.times(today.into());
            let (from, to) = (keys::LOWEST.to_vec(), keys::envelopes_before(midnight));
            self.desk.delete_range(Family::Envelopes, from, to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_millis(1_000_000_000_000);

    #[test]
    fn a_jump_expires_nothing_until_the_new_time_has_lasted() {
        let mut clock = HoldingClock::new(Some(START), START);
        assert!(clock.observe(START + Span::from_days(2)));
        assert_eq!(clock.time(), START);
        let mut now = START + Span::from_days(2);
        while now.since(START + Span::from_days(2)) <= CLOCK_TOLERANCE {
            now = now + Span::from_mins(10);
            clock.observe(now);
        }
        assert_eq!(clock.time(), now);
    }

    #[test]
    fn a_jump_that_is_put_right_expires_nothing() {
        let mut clock = HoldingClock::new(Some(START), START);
        assert!(clock.observe(START + Span::from_days(2)));
        assert!(clock.observe(START + Span::from_mins(1)));
        // How much of the jump was true cannot be told.
        assert_eq!(clock.time(), START);
        assert!(!clock.observe(START + Span::from_mins(2)));
        assert_eq!(clock.time(), START + Span::from_mins(1));
    }

    #[test]
    fn what_passed_while_the_node_was_off_is_a_jump_too() {
        let mut clock = HoldingClock::new(Some(START), START + Span::from_days(2));
        assert_eq!(clock.time(), START);
        assert!(!clock.observe(START + Span::from_days(2) + Span::from_mins(1)));
        assert_eq!(clock.time(), START + Span::from_mins(1));
        // A clock that lies before what was written down is taken as it is.
        assert_eq!(HoldingClock::new(Some(START + Span::DAY), START).time(), START);
    }

    #[test]
    fn a_doubt_delays_what_expires_and_moves_nothing_forward() {
        let mut clock = HoldingClock::new(Some(START), START);
        assert!(!clock.doubt(Span::DAY));
        assert_eq!((clock.time(), clock.agreed()), (START - Span::DAY, START - Span::DAY));
        assert_eq!(clock.due(START), START + Span::DAY);
        assert!(clock.doubt(Span::ZERO));
        assert_eq!((clock.time(), clock.due(START)), (START, START));
    }

    #[test]
    fn ordinary_steps_leave_no_trace() {
        let mut clock = HoldingClock::new(Some(START), START);
        for minutes in 1..600 {
            clock.observe(START + Span::from_mins(minutes));
        }
        assert_eq!(clock.time(), START + Span::from_mins(599));
        assert_eq!(clock.due(START), START);
    }

    /// Others' clocks are asked for anew after a jump; until they are known, what they said counts.
    #[test]
    fn a_clock_that_others_call_wrong_and_that_jumps_stays_behind_both() {
        let mut clock = HoldingClock::new(Some(START), START);
        clock.doubt(Span::from_days(3));
        let before = clock.time();
        clock.observe(START + Span::from_days(7));
        clock.doubt(Span::ZERO);
        assert_eq!(clock.time(), before);
    }
}
