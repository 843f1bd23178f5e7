//! How many traces there are of each kind: all of them while they are few.
//!
//! Entry type is [`Paces`]. A share drawn by lot would leave a quiet relay without any, and a busy one with
//! too many; so a flood of one kind takes no place of another. The share of all that was traced is
//! not told: what counts how many there were are the metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most traces of one kind in a second.
pub(super) const EACH_SECOND: u32 = 8;

/// What is counted by itself: what the node did, and of what kind.
pub(super) type Kind = (&'static str, &'static str);

/// How many of each kind there were lately; kinds are words of this program, a few dozen.
#[derive(Debug, Default)]
pub(super) struct Paces(Mutex<BTreeMap<Kind, Second>>);

/// The second that is under way.
#[derive(Clone, Copy, Debug)]
struct Second {
    begun: Instant,
    taken: u32,
}

impl Paces {
    /// Whether there may be one more of this kind.
    pub(super) fn takes(&self, kind: Kind, now: Instant) -> bool {
        let mut paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let second = paces.entry(kind).or_insert(Second { begun: now, taken: 0 });
        if now.saturating_duration_since(second.begun) >= Duration::from_secs(1) {
            *second = Second { begun: now, taken: 0 };
        }
        let takes = second.taken < EACH_SECOND;
        second.taken += u32::from(takes);
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_few_in_a_second_and_a_flood_takes_no_place_of_another() {
        let (paces, now) = (Paces::default(), Instant::now());
        let taken = |kind, now| (0..1_000).filter(|_| paces.takes(kind, now)).count();
        assert_eq!(taken(("serve", "ping"), now), EACH_SECOND as usize);
        assert_eq!(taken(("call", "ping"), now), EACH_SECOND as usize);
        assert!(paces.takes(("serve", "submit"), now));
        let later = now + Duration::from_millis(999);
        assert!(!paces.takes(("serve", "ping"), later));
        let next = now + Duration::from_secs(1);
        assert_eq!(taken(("serve", "ping"), next), EACH_SECOND as usize);
    }
}
