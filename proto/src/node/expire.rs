//! Ending what has run out (PROTOCOL §6.7), a bounded number at a time.
//!
//! Entry type is [`HoldingClock`]: a jump of our own clock must not expire everything at once.

use crate::envelope::{CLOCK_TOLERANCE, EnvelopeId};
use crate::message::EnvelopeState;
use crate::store::StoreError;
use crate::time::{Span, Time};

use super::io::{Event, Family};
use super::keys::{self, Expiring};
use super::records::Role;
use super::{Node, Turn};

/// A step of the clock longer than this between two inputs is taken for a jump.
const JUMP: Span = Span::from_mins(20);
/// How often the clock is looked at while anything is kept: an ordinary silence is no jump.
const LOOK_EVERY: Span = Span::from_mins(15);
/// How long a tombstone outlives its envelope (PROTOCOL §6.6).
const TOMBSTONE_KEPT: Span = Span::DAY;

/// The clock by which things expire: ours, but behind it by every jump it made, until the new time
/// has been in force for as long as clocks may disagree.
#[derive(Debug)]
pub(super) struct HoldingClock {
    last: Time,
    behind: Span,
    jumped_at: Time,
}

impl HoldingClock {
    pub(super) fn new(now: Time) -> Self {
        Self { last: now, behind: Span::ZERO, jumped_at: now }
    }

    /// Notes the time of an input.
    pub(super) fn observe(&mut self, now: Time) {
        let step = now.since(self.last);
        if step > JUMP {
            self.behind = self.behind + step;
            self.jumped_at = now;
        } else if now.since(self.jumped_at) > CLOCK_TOLERANCE {
            self.behind = Span::ZERO;
        }
        self.last = now;
    }

    /// What has expired by now.
    fn time(&self) -> Time {
        self.last - self.behind
    }

    /// When, by the host's clock, what expires at `at` does so here.
    fn due(&self, at: Time) -> Time {
        if self.behind == Span::ZERO { at } else { (at + self.behind).min(self.recovery()).max(at) }
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
        self.expiry_at = self.expiry_at.min(self.clock.due(at));
    }

    /// Ends what has run out, at most so many as one step may.
    pub(super) fn expire_due(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        if self.expiry_at > turn.now {
            return Ok(());
        }
        let limit = self.config.expired_per_step + 1;
        let due = turn.store.scan(Family::Expiry, keys::LOWEST, keys::HIGHEST, limit)?;
        let time = self.clock.time();
        self.expiry_at = Time::MAX;
        for (count, (key, _)) in due.into_iter().enumerate() {
            let (at, what) = keys::parse_expiry(&key).ok_or(StoreError::Damaged("expiry"))?;
            if at > time || count == self.config.expired_per_step {
                // What entered the order meanwhile, such as a tombstone's own end, may be earlier.
                self.expiry_at = self.expiry_at.min(self.clock.due(at));
                break;
            }
            self.desk.delete(Family::Expiry, key);
            self.expire(turn, &what)?;
        }
        self.drop_old_days(time);
        Ok(())
    }

    fn expire(&mut self, turn: Turn<'_>, what: &Expiring) -> Result<(), StoreError> {
        match what {
            Expiring::Envelope(id) => self.expire_envelope(turn, id),
            Expiring::Acknowledgement(hash) => {
                self.desk.delete(Family::Acknowledgements, hash.to_vec());
                Ok(())
            }
            Expiring::Card(owner) => self.expire_card(turn, owner),
        }
    }

    /// The envelope, if it still lives; else its tombstone, which gets its time of grace first.
    fn expire_envelope(&mut self, turn: Turn<'_>, id: &EnvelopeId) -> Result<(), StoreError> {
        if let Some(custody) = self.custody(turn, id)? {
            self.remove_envelope(id, &custody);
            self.stats.expired += 1;
            self.event(Event::Expired { id: *id });
            if custody.role == Role::Own {
                self.tell_state(id, EnvelopeState::Expired);
            }
        } else if let Some(tombstone) = self.tombstone(turn, id)? {
            let until = tombstone.expires_at + TOMBSTONE_KEPT;
            if until > self.clock.time() {
                self.expire_at(until, &Expiring::Envelope(*id));
            } else {
                self.desk.delete(Family::Tombstones, id.as_bytes().to_vec());
                self.stats.tombstones = self.stats.tombstones.saturating_sub(1);
            }
        }
        Ok(())
    }

    /// Lets the store drop the files of days that are wholly over.
    fn drop_old_days(&mut self, time: Time) {
        let today = time.day();
        if self.dropped_day < today {
            self.dropped_day = today;
            let (from, to) = (keys::envelopes_of_day(0), keys::envelopes_of_day(today));
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
        let mut clock = HoldingClock::new(START);
        clock.observe(START + Span::from_days(2));
        assert_eq!(clock.time(), START);
        let mut now = START + Span::from_days(2);
        while now.since(START + Span::from_days(2)) <= CLOCK_TOLERANCE {
            now = now + Span::from_mins(10);
            clock.observe(now);
        }
        assert_eq!(clock.time(), now);
    }

    #[test]
    fn ordinary_steps_leave_no_trace() {
        let mut clock = HoldingClock::new(START);
        for minutes in 1..600 {
            clock.observe(START + Span::from_mins(minutes));
        }
        assert_eq!(clock.time(), START + Span::from_mins(599));
        assert_eq!(clock.due(START), START);
    }
}
