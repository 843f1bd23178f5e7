//! A store in memory: the reference implementation, and what the simulator runs on.
//!
//! Entry type is [`MemoryStore`]. It forgets everything with the process.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

use super::{Batch, Entry, ScanBack, Store, StoreError, Write};

/// An ordered map for every table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryStore<T> {
    tables: BTreeMap<T, BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl<T: Ord + Copy> MemoryStore<T> {
    /// An empty store.
    pub const fn new() -> Self {
        Self { tables: BTreeMap::new() }
    }

    /// Applies the writes of `batch` in order.
    pub fn apply(&mut self, batch: &Batch<T>) {
        for write in &batch.writes {
            self.apply_one(write);
        }
    }

    /// How many keys `table` holds.
    pub fn len(&self, table: T) -> usize {
        self.tables.get(&table).map_or(0, BTreeMap::len)
    }

    /// Whether `table` holds no key.
    pub fn is_empty(&self, table: T) -> bool {
        self.len(table) == 0
    }

    fn apply_one(&mut self, write: &Write<T>) {
        match write {
            Write::Put { table, key, value } => {
                self.tables.entry(*table).or_default().insert(key.clone(), value.clone());
            }
            Write::Delete { table, key } => {
                self.tables.entry(*table).or_default().remove(key);
            }
            Write::DeleteRange { table, from, to } => {
                self.tables.entry(*table).or_default().retain(|key, _| key < from || key >= to);
            }
        }
    }
}

impl<T: Ord + Copy> Default for MemoryStore<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Ord + Copy> Store<T> for MemoryStore<T> {
    fn get(&self, table: T, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.tables.get(&table).and_then(|map| map.get(key)).cloned())
    }

    fn scan(
        &self,
        table: T,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        // An empty or reversed range would make the map's own range panic.
        if from >= to {
            return Ok(Vec::new());
        }
        let Some(map) = self.tables.get(&table) else { return Ok(Vec::new()) };
        let range = map.range::<[u8], _>((Included(from), Excluded(to)));
        Ok(range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

impl<T: Ord + Copy> ScanBack<T> for MemoryStore<T> {
    fn scan_back(
        &self,
        table: T,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let Some(map) = self.tables.get(&table) else { return Ok(Vec::new()) };
        let range = map.range::<[u8], _>((Included(from), Excluded(to)));
        Ok(range.rev().take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Seq;

    fn put(key: &[u8]) -> Write<u8> {
        Write::Put { table: 0, key: key.to_vec(), value: key.to_vec() }
    }

    #[test]
    fn a_scan_is_ordered_bounded_and_leaves_out_its_end() {
        let mut store = MemoryStore::new();
        store.apply(&Batch { seq: Seq(1), writes: vec![put(b"c"), put(b"a"), put(b"b")] });
        let keys = |from: &[u8], to: &[u8], limit| -> Vec<Vec<u8>> {
            store.scan(0, from, to, limit).unwrap().into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(keys(b"a", b"c", 9), vec![b"a".to_vec(), b"b".to_vec()]);
        assert_eq!(keys(b"a", b"z", 1), vec![b"a".to_vec()]);
        assert!(keys(b"z", b"a", 9).is_empty());
    }

    #[test]
    fn a_scan_from_the_end_gives_the_last_first() {
        let mut store = MemoryStore::new();
        store.apply(&Batch { seq: Seq(1), writes: vec![put(b"c"), put(b"a"), put(b"b")] });
        let keys = |from: &[u8], to: &[u8], limit| -> Vec<Vec<u8>> {
            let entries = store.scan_back(0, from, to, limit).unwrap();
            entries.into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(keys(b"a", b"c", 9), vec![b"b".to_vec(), b"a".to_vec()]);
        assert_eq!(keys(b"a", b"z", 1), vec![b"c".to_vec()]);
        assert!(keys(b"z", b"a", 9).is_empty());
    }

    #[test]
    fn a_range_deletion_keeps_its_end() {
        let mut store = MemoryStore::new();
        let range = Write::DeleteRange { table: 0, from: b"a".to_vec(), to: b"c".to_vec() };
        store.apply(&Batch { seq: Seq(1), writes: vec![put(b"a"), put(b"b"), put(b"c"), range] });
        assert_eq!(store.len(0), 1);
    }
}
