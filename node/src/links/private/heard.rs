//! Which openings were heard, so that none is answered twice (PROTOCOL §5.2.1).
//!
//! Entry type is [`Heard`]. Only callers with the network's key get into it; if these make more
//! openings than it has room for, the oldest are forgotten rather than anybody turned away.

use std::collections::BTreeSet;

use comm_proto::time::{Span, Time};

/// Openings of the recent past.
#[derive(Debug)]
pub(super) struct Heard {
    openings: BTreeSet<(Time, [u8; 32])>,
    tolerance: Span,
    max: usize,
}

impl Heard {
    /// Nothing yet; it remembers at most `max` openings, for as long as they might be repeated.
    pub(super) const fn new(tolerance: Span, max: usize) -> Self {
        Self { openings: BTreeSet::new(), tolerance, max }
    }

    /// Takes note of an opening made at `at`; false if it was heard before, or is dated further
    /// from `now` than clocks may differ.
    pub(super) fn is_new(&mut self, nonce: [u8; 32], at: Time, now: Time) -> bool {
        let oldest = now - self.tolerance;
        self.openings = self.openings.split_off(&(oldest, [0; 32]));
        if at < oldest || at > now + self.tolerance || !self.openings.insert((at, nonce)) {
            return false;
        }
        if self.openings.len() > self.max {
            self.openings.pop_first();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Span = Span::HOUR;

    fn at(hours: u64) -> Time {
        Time::ZERO + HOUR.times(hours)
    }

    #[test]
    fn an_opening_is_new_once_however_late_it_comes_again() {
        let mut heard = Heard::new(HOUR.times(3), 8);
        assert!(heard.is_new([1; 32], at(10), at(10)));
        for now in [10, 11, 13, 14, 100] {
            assert!(!heard.is_new([1; 32], at(10), at(now)), "at {now}");
        }
        assert!(heard.is_new([2; 32], at(100), at(100)));
        assert_eq!(heard.openings.len(), 1);
    }

    #[test]
    fn clocks_may_differ_by_the_tolerance() {
        let mut heard = Heard::new(HOUR.times(3), 8);
        assert!(heard.is_new([1; 32], at(13), at(10)));
        assert!(heard.is_new([1; 32], at(7), at(10)));
        assert!(!heard.is_new([2; 32], at(14), at(10)));
        assert!(!heard.is_new([2; 32], at(6), at(10)));
    }

    #[test]
    fn the_oldest_make_room() {
        let mut heard = Heard::new(HOUR.times(3), 2);
        for made in [10, 11, 12] {
            assert!(heard.is_new([1; 32], at(made), at(10)));
        }
        assert_eq!(heard.openings.len(), 2);
        assert!(!heard.is_new([1; 32], at(11), at(10)));
        assert!(!heard.is_new([1; 32], at(12), at(10)));
    }
}
