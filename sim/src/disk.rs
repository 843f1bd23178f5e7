//! A host's disk: what reads see, and what is left after the power went.
//!
//! Entry type is [`Disk`]. It never lies; that reads and writes fail is the business of
//! [`crate::world`]. Nothing is held twice: what a crash undoes is remembered only until the disk has it.

use std::collections::VecDeque;

use comm_proto::node::Family;
use comm_proto::store::{Batch, Entry, MemoryStore, Seq, Store, StoreError, Write};

/// What reads see, and how to undo what is not durable yet.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    applied: MemoryStore<Family>,
    unsynced: VecDeque<Batch<Family>>,
    /// Whether its host is switched on only once.
    is_read_once: bool,
}

impl Disk {
    /// What reads see.
    pub(crate) fn applied(&self) -> &MemoryStore<Family> {
        &self.applied
    }

    /// Its host is never switched off: it need not keep what only a start reads, the nodes that were
    /// known and the node's own few values, which are all that the disks of an idle network hold.
    pub(crate) fn read_once(&mut self) {
        self.is_read_once = true;
    }

    /// Makes a batch visible.
    ///
    /// # Errors
    /// Never yet; a store in memory can be read.
    pub(crate) fn write(&mut self, mut batch: Batch<Family>) -> Result<(), StoreError> {
        if self.is_read_once {
            batch.writes.retain(|write| !is_for_a_start(table_of(write)));
            if batch.writes.is_empty() {
                return Ok(());
            }
        }
        let mut undo = Vec::new();
        for write in &batch.writes {
            undo.extend(self.undo(write)?);
        }
        // Undone in the reverse order: of two writes to one key, the first knows the old value.
        undo.reverse();
        self.unsynced.push_back(Batch { seq: batch.seq, writes: undo });
        self.applied.apply(&batch);
        Ok(())
    }

    /// The disk has everything up to `seq`.
    pub(crate) fn sync(&mut self, seq: Seq) {
        while self.unsynced.pop_front_if(|batch| batch.seq <= seq).is_some() {}
    }

    /// Power goes: of what was not synced the first `kept` batches are left, whole and in their order
    /// as a log leaves them, and nothing of the others.
    pub(crate) fn crash(&mut self, kept: usize) {
        self.unsynced.drain(..kept.min(self.unsynced.len()));
        while let Some(undo) = self.unsynced.pop_back() {
            self.applied.apply(&undo);
        }
    }

    /// Batches that a crash would undo.
    pub(crate) fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// The value that is left under `key` when power goes now and nothing is kept that was not synced.
    pub(crate) fn durable(&self, table: Family, key: &[u8]) -> Option<Vec<u8>> {
        // The first batch that wrote the key knows best; it is undone last.
        for undo in self.unsynced.iter().flat_map(|batch| batch.writes.iter().rev()) {
            match undo {
                Write::Put { table: of, key: under, value } if *of == table && under == key => {
                    return Some(value.clone());
                }
                Write::Delete { table: of, key: under } if *of == table && under == key => {
                    return None;
                }
                _ => {}
            }
        }
        self.applied.get(table, key).ok().flatten()
    }

    /// The writes that make a write undone, by what is there now.
    fn undo(&self, write: &Write<Family>) -> Result<Vec<Write<Family>>, StoreError> {
        let put = |table, (key, value): Entry| Write::Put { table, key, value };
        Ok(match write {
            Write::Put { table, key, .. } | Write::Delete { table, key } => {
                vec![match self.applied.get(*table, key)? {
                    Some(value) => put(*table, (key.clone(), value)),
                    None => Write::Delete { table: *table, key: key.clone() },
                }]
            }
            Write::DeleteRange { table, from, to } => {
                let gone = self.applied.scan(*table, from, to, usize::MAX)?;
                gone.into_iter().map(|entry| put(*table, entry)).collect()
            }
        })
    }
}

const fn is_for_a_start(table: Family) -> bool {
    matches!(table, Family::Contacts | Family::Meta)
}

const fn table_of(write: &Write<Family>) -> Family {
    match write {
        Write::Put { table, .. }
        | Write::Delete { table, .. }
        | Write::DeleteRange { table, .. } => *table,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Family = Family::Custody;

    fn put(key: u8, value: u8) -> Write<Family> {
        Write::Put { table: TABLE, key: vec![key], value: vec![value] }
    }

    fn batch(seq: u64, writes: Vec<Write<Family>>) -> Batch<Family> {
        Batch { seq: Seq(seq), writes }
    }

    #[test]
    fn a_disk_that_is_read_once_keeps_all_but_what_a_start_reads() {
        let known = Write::Put { table: Family::Contacts, key: vec![1], value: vec![1] };
        let value = Write::Put { table: Family::Meta, key: vec![1], value: vec![1] };
        let mut disk = Disk::default();
        disk.write(batch(1, vec![put(1, 1), known.clone(), value.clone()])).unwrap();
        disk.read_once();
        disk.write(batch(2, vec![put(2, 1), known.clone()])).unwrap();
        disk.write(batch(3, vec![known, value])).unwrap();
        assert_eq!(disk.applied().len(Family::Contacts), 1);
        assert_eq!(disk.applied().len(Family::Meta), 1);
        assert_eq!(disk.applied().len(TABLE), 2);
        disk.sync(Seq(2));
        disk.crash(0);
        assert_eq!(disk.applied().len(TABLE), 2);
    }

    #[test]
    fn a_crash_leaves_what_was_synced_and_nothing_else() {
        let mut disk = Disk::default();
        disk.write(batch(1, vec![put(1, 1), put(2, 1)])).unwrap();
        disk.write(batch(2, vec![put(2, 2), put(2, 3), put(3, 3)])).unwrap();
        disk.sync(Seq(2));
        let synced = disk.applied().clone();
        let range = Write::DeleteRange { table: TABLE, from: vec![1], to: vec![3] };
        disk.write(batch(3, vec![put(2, 4), range, put(1, 9), put(4, 4)])).unwrap();
        disk.write(batch(4, vec![Write::Delete { table: TABLE, key: vec![3] }])).unwrap();
        assert_ne!(*disk.applied(), synced);
        for key in 1..=4 {
            let left = synced.get(TABLE, &[key]).unwrap();
            assert_eq!(disk.durable(TABLE, &[key]), left, "{key}");
        }
        disk.crash(0);
        assert_eq!(disk.applied().scan(TABLE, &[], &[9], 9), synced.scan(TABLE, &[], &[9], 9));
    }

    #[test]
    fn a_torn_log_leaves_whole_batches_from_its_beginning() {
        for kept in 0..=5 {
            let (mut disk, mut left) = (Disk::default(), Disk::default());
            for seq in 1..=4 {
                let writes = vec![put(1, seq), put(seq + 1, 1)];
                disk.write(batch(seq.into(), writes.clone())).unwrap();
                if seq <= kept {
                    left.write(batch(seq.into(), writes)).unwrap();
                }
            }
            assert_eq!(disk.unsynced(), 4);
            disk.crash(kept.into());
            let all = |disk: &Disk| disk.applied().scan(TABLE, &[], &[9], 9);
            assert_eq!((all(&disk), disk.unsynced()), (all(&left), 0), "{kept}");
        }
    }
}
