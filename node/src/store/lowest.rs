//! A lower bound of the keys of every table, so that reading the head of a queue stays cheap.
//!
//! Entry type is [`LowestKeys`]. Tables such as the schedule are queues: read at the front, where
//! everything before was just deleted. RocksDB keeps a mark for each deletion until it compacts,
//! and would step over all of them at each read. A bound that is too low costs only time.

use std::sync::{Mutex, MutexGuard};

use comm_proto::node::Family;

/// For every table a key such that no smaller one is in it.
#[derive(Debug, Default)]
pub(super) struct LowestKeys([Mutex<Vec<u8>>; Family::ALL.len()]);

impl LowestKeys {
    /// The bound of `table`. Whoever raises it holds the lock from before the read that showed
    /// that there is nothing below, so that no [`Self::lower`] can come between and be lost.
    pub(super) fn lock(&self, table: Family) -> MutexGuard<'_, Vec<u8>> {
        self.0[table as usize].lock().expect("nothing panics while it holds this lock")
    }

    /// Takes account of a key that has just been written.
    pub(super) fn lower(&self, table: Family, key: &[u8]) {
        let mut lowest = self.lock(table);
        if key < lowest.as_slice() {
            lowest.clear();
            lowest.extend_from_slice(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_a_bound_of_its_own() {
        let places = Family::ALL.map(|family| family as usize);
        assert_eq!(places, std::array::from_fn(|i| i));
    }

    #[test]
    fn only_a_smaller_key_lowers_the_bound() {
        let keys = LowestKeys::default();
        *keys.lock(Family::Schedule) = vec![5];
        keys.lower(Family::Schedule, &[9]);
        assert_eq!(*keys.lock(Family::Schedule), [5]);
        keys.lower(Family::Schedule, &[3]);
        keys.lower(Family::Schedule, &[4]);
        assert_eq!(*keys.lock(Family::Schedule), [3]);
    }
}
