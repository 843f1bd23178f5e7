//! A step's writes and the promises that hang on them.
//!
//! Entry type is [`Journal`]. Here stands the rule that a promise leaves only after the disk has what
//! it promises (invariant 3 of ARCHITECTURE.md): what is staged here is given back by
//! [`Journal::take_durable`] and by nothing else.

use std::collections::BTreeMap;

use super::{Batch, Seq, Store, StoreError, Write};

/// The writes of the step under way, and promises `P` by the batch they wait for.
#[derive(Debug)]
pub(crate) struct Journal<T, P> {
    writes: Vec<Write<T>>,
    /// What this step has written, so that it reads its own writes.
    overlay: BTreeMap<(T, Vec<u8>), Option<Vec<u8>>>,
    staged: Vec<P>,
    waiting: BTreeMap<Seq, Vec<P>>,
    written: Seq,
    durable: Seq,
}

impl<T: Ord + Copy, P> Journal<T, P> {
    pub(crate) const fn new() -> Self {
        Self {
            writes: Vec::new(),
            overlay: BTreeMap::new(),
            staged: Vec::new(),
            waiting: BTreeMap::new(),
            written: Seq(0),
            durable: Seq(0),
        }
    }

    /// The value under `key`, this step's own writes included.
    pub(crate) fn get(
        &self,
        store: &dyn Store<T>,
        table: T,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.overlay.is_empty()
            && let Some(value) = self.overlay.get(&(table, key.to_vec()))
        {
            return Ok(value.clone());
        }
        store.get(table, key)
    }

    pub(crate) fn put(&mut self, table: T, key: Vec<u8>, value: Vec<u8>) {
        self.writes.push(Write::Put { table, key, value });
    }

    /// Writes what this step may read again.
    pub(crate) fn put_readable(&mut self, table: T, key: Vec<u8>, value: Vec<u8>) {
        self.overlay.insert((table, key.clone()), Some(value.clone()));
        self.put(table, key, value);
    }

    pub(crate) fn delete(&mut self, table: T, key: Vec<u8>) {
        self.writes.push(Write::Delete { table, key });
    }

    /// Deletes what this step may read again.
    pub(crate) fn delete_readable(&mut self, table: T, key: Vec<u8>) {
        self.overlay.insert((table, key.clone()), None);
        self.delete(table, key);
    }

    pub(crate) fn delete_range(&mut self, table: T, from: Vec<u8>, to: Vec<u8>) {
        self.writes.push(Write::DeleteRange { table, from, to });
    }

    /// Stages what may leave only once the disk has this step's writes and all before them.
    pub(crate) fn promise(&mut self, promise: P) {
        self.staged.push(promise);
    }

    /// Batches that wait for the disk.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Closes the step: its batch, if it wrote anything, and the promises that wait for nothing.
    pub(crate) fn close(&mut self) -> (Option<Batch<T>>, Vec<P>) {
        self.overlay.clear();
        let batch = (!self.writes.is_empty()).then(|| {
            self.written = Seq(self.written.0 + 1);
            Batch { seq: self.written, writes: std::mem::take(&mut self.writes) }
        });
        let staged = std::mem::take(&mut self.staged);
        if self.written == self.durable {
            return (batch, staged);
        }
        if !staged.is_empty() {
            self.waiting.entry(self.written).or_default().extend(staged);
        }
        (batch, Vec::new())
    }

    /// The disk has everything up to `seq`: the promises that waited for it.
    pub(crate) fn take_durable(&mut self, seq: Seq) -> Vec<P> {
        self.durable = self.durable.max(seq.min(self.written));
        let still = self.waiting.split_off(&Seq(self.durable.0 + 1));
        std::mem::replace(&mut self.waiting, still).into_values().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn a_promise_waits_for_its_own_batch_and_all_before_it() {
        let mut journal = Journal::new();
        journal.put(0_u8, vec![1], vec![]);
        journal.promise("first");
        assert_eq!(journal.close().1, Vec::<&str>::new());
        // Nothing written, but the batch before is not on disk yet.
        journal.promise("second");
        assert_eq!(journal.close().1, Vec::<&str>::new());
        journal.put(0, vec![2], vec![]);
        journal.promise("third");
        journal.close();
        assert_eq!(journal.take_durable(Seq(1)), ["first", "second"]);
        assert_eq!(journal.take_durable(Seq(2)), ["third"]);
        journal.promise("fourth");
        assert_eq!(journal.close().1, ["fourth"]);
    }

    #[test]
    fn a_host_cannot_declare_durable_what_was_never_written() {
        let mut journal = Journal::new();
        assert_eq!(journal.take_durable(Seq(9)), Vec::<&str>::new());
        journal.put(0_u8, vec![1], vec![]);
        journal.promise("kept back");
        journal.close();
        assert_eq!(journal.take_durable(Seq(0)), Vec::<&str>::new());
        assert_eq!(journal.waiting(), 1);
    }

    #[test]
    fn a_step_reads_its_own_writes() {
        let store = MemoryStore::new();
        let mut journal = Journal::<u8, ()>::new();
        journal.put_readable(0, vec![1], vec![7]);
        assert_eq!(journal.get(&store, 0, &[1]), Ok(Some(vec![7])));
        journal.delete_readable(0, vec![1]);
        assert_eq!(journal.get(&store, 0, &[1]), Ok(None));
    }
}
