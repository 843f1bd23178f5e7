//! Ending what has run out (PROTOCOL §6.7), a bounded number at a time.
//!
//! By which time is `holding`'s business: neither a jump of our own clock nor a clock that is ahead of
//! everybody else's must expire everything at once.

use crate::envelope::EnvelopeId;
use crate::message::EnvelopeState;
use crate::store::StoreError;
use crate::time::{Span, Time};

use super::io::{Event, Family};
use super::keys::{self, Expiring};
use super::records::{Custody, Role};
use super::{Node, Turn};

/// Where the time is written down.
pub(super) const CLOCK_KEY: &[u8] = b"clock";

impl Node {
    /// When to look at the clock for what expires; never while nothing does.
    pub(super) fn next_expiry(&self) -> Option<Time> {
        Some(self.expiry_at).filter(|at| *at < Time::MAX).map(|at| at.min(self.clock.look_at()))
    }

    /// Enters something into the order of expiry.
    pub(super) fn expire_at(&mut self, at: Time, what: &Expiring) {
        self.desk.put(Family::Expiry, keys::expiry(at, what), Vec::new());
        self.look_for_expiry(at);
    }

    fn write_clock(&mut self) {
        if let Some(value) = self.clock.write_down() {
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

    /// Lets the store clear away days that are wholly over and of which nothing is left.
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
