//! How long the last syncs of the disk took, of the whole process.
//!
//! Entry points are [`note`] and [`percentiles`]. The histogram that Prometheus reads has every sync
//! since the start; whoever looks at a node now wants to know how its disk is now.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How many are remembered.
const SYNCS_MAX: usize = 1_024;

static LAST: Mutex<VecDeque<u32>> = Mutex::new(VecDeque::new());

/// Times that so many of the last syncs did not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Percentiles {
    /// Half of them.
    pub(crate) median: Duration,
    /// 99 of a hundred.
    pub(crate) p99: Duration,
}

/// Remembers one.
pub(super) fn note(took: Duration) {
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    add(&mut last, took);
}

/// Of those that are remembered; none before the first.
pub(crate) fn percentiles() -> Option<Percentiles> {
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).clone();
    of(last.into())
}

fn add(last: &mut VecDeque<u32>, took: Duration) {
    last.truncate(SYNCS_MAX - 1);
    last.push_front(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
}

fn of(mut micros: Vec<u32>) -> Option<Percentiles> {
    micros.sort_unstable();
    let at = |hundredths: usize| {
        let place = (micros.len() * hundredths).div_ceil(100).max(1) - 1;
        micros.get(place).map(|micros| Duration::from_micros(u64::from(*micros)))
    };
    Some(Percentiles { median: at(50)?, p99: at(99)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_last_syncs() {
        assert_eq!(of(Vec::new()), None);
        let micros = Duration::from_micros;
        assert_eq!(of(vec![7]), Some(Percentiles { median: micros(7), p99: micros(7) }));
        let mut last = VecDeque::new();
        for _ in 0..5_000 {
            add(&mut last, micros(9_999));
        }
        for time in 1..=1_024 {
            add(&mut last, micros(time));
        }
        assert_eq!(last.len(), SYNCS_MAX);
        let found = of(last.into()).unwrap();
        assert_eq!(found, Percentiles { median: micros(512), p99: micros(1_014) });
    }

    #[test]
    fn a_sync_that_takes_hours_counts_as_the_longest() {
        let mut last = VecDeque::new();
        add(&mut last, Duration::from_secs(100_000));
        assert_eq!(last, [u32::MAX]);
    }
}
