//! The node's disk: every table of [`Family`] as a column family of one RocksDB.
//!
//! Entry type is [`RocksStore`]. A write is visible at once, gathers with others before RocksDB has
//! it, and is durable only after [`RocksStore::sync`], which [`syncer::Syncer`] calls for many
//! batches together; [`upkeep::Upkeep`] gives the space of what was deleted back. Only the driver
//! applies. No transactions, no cache but RocksDB's own, no compression, since sealed bodies do not
//! compress.

mod copy;
mod ended;
mod gathered;
mod logs;
mod lowest;
mod options;
pub mod read_only;
mod schema;
pub mod syncer;
pub mod upkeep;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use comm_proto::node::Family;
use comm_proto::store::{Batch, Entry, Store, StoreError, Write};
use rocksdb::{ColumnFamily, DB, Direction, IteratorMode, ReadOptions, WriteBatch, WriteOptions};
use thiserror::Error;

use ended::EndedRanges;
use gathered::Gathered;
use lowest::LowestKeys;
use upkeep::Moves;

use options::Sizes;

pub(crate) use options::FILES_MAX;
pub use schema::SCHEMA;

/// What a store may take whose owner does not say: as much as a node does.
const BUDGET: u64 = 1 << 30;

/// Keys come in the order in which they are wanted.
const NOT_SORTED: bool = false;

/// A store on disk. Shared between threads by `Arc`; closed when the last of them drops it.
pub struct RocksStore {
    db: DB,
    path: PathBuf,
    /// What it may take of the disk, in bytes.
    budget: u64,
    gathered: Gathered,
    gathered_max: usize,
    /// Held by whoever writes to RocksDB, so that batches reach it in their order. After the first
    /// failure nothing is written or synced any more, whichever thread asks: rows are lost then
    /// that only the driver may answer for, by ending the node.
    writing: Mutex<Result<(), StoreError>>,
    lowest: LowestKeys,
    ended: EndedRanges,
    moves: Moves,
}

/// Why a store cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process, or another node in this one, has it open.
    #[error("the store {} is in use by another node", .0.display())]
    InUse(PathBuf),
    /// A newer program wrote it.
    #[error(
        "the store {} has {found}, but this program knows only layouts up to {SCHEMA}; \
         use the newer comm-node that wrote it",
        path.display()
    )]
    Newer {
        /// Where it is.
        path: PathBuf,
        /// What it has that this program does not know.
        found: String,
    },
    /// An older program wrote it, and it is not to be changed.
    #[error(
        "the store {} has {found}, an older layout than {SCHEMA}, which a node raises when it starts on it; \
         start one, and try again after",
        path.display()
    )]
    Older {
        /// Where it is.
        path: PathBuf,
        /// What it has.
        found: String,
    },
    /// The store is damaged or the disk fails.
    #[error("the store {} cannot be opened: {reason}", path.display())]
    Disk {
        /// Where it is.
        path: PathBuf,
        /// What RocksDB says.
        reason: String,
    },
}

impl RocksStore {
    /// As [`Self::open_within`] a gibibyte.
    ///
    /// # Errors
    /// As there.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_within(path, BUDGET)
    }

    /// Opens the store in the directory `path`, or makes one there; its parent must exist. It is to take
    /// about `budget` bytes of the disk at the most, by which it chooses the sizes of its files. Whoever
    /// writes keeps to it; [`Self::disk_use`] says what is taken.
    ///
    /// # Errors
    /// When it is open elsewhere, was written by a newer program, is damaged, or the disk fails.
    pub fn open_within(path: &Path, budget: u64) -> Result<Self, OpenError> {
        let sizes = Sizes::within(budget);
        let options = options::database(sizes);
        schema::refuse_unknown_families(&options, path)?;
        logs::defuse(path).map_err(|error| OpenError::Disk {
            path: path.to_owned(),
            reason: format!("its logs cannot be looked through: {error}"),
        })?;
        let cache = options::cache();
        let families = Family::ALL.map(|family| options::family(family, sizes, &cache));
        let db = DB::open_cf_descriptors(&options, path, families)
            .map_err(|error| open_error(path, &error))?;
        let store = Self {
            db,
            path: path.to_owned(),
            budget,
            gathered: Gathered::default(),
            gathered_max: sizes.gathered,
            writing: Mutex::new(Ok(())),
            lowest: LowestKeys::default(),
            ended: EndedRanges::default(),
            moves: Moves::default(),
        };
        schema::settle(&store)?;
        Ok(store)
    }

    /// Makes the writes of `batch` visible, all or none. They are durable after [`Self::sync`].
    ///
    /// # Errors
    /// When the disk cannot be written. The batch may be visible all the same: stop the node.
    pub fn apply(&self, batch: Batch<Family>) -> Result<(), StoreError> {
        if batch.writes.iter().any(|write| matches!(write, Write::DeleteRange { .. })) {
            return self.apply_at_once(&batch.writes);
        }
        if self.gathered.add(batch.writes) > self.gathered_max {
            self.write_out()?;
        }
        Ok(())
    }

    /// Returns when the disk has everything that was applied before the call.
    ///
    /// # Errors
    /// When the disk cannot be written. What was applied since the last success may be lost then,
    /// and trying again could only pretend otherwise: stop the node.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.write_out()?;
        self.db.flush_wal(true).map_err(|error| {
            let error = failed(error);
            *self.lock_writing() = Err(error.clone());
            error
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives RocksDB everything that has gathered, in one write.
    fn write_out(&self) -> Result<(), StoreError> {
        let mut writing = self.lock_writing();
        writing.clone()?;
        let Some(rows) = self.gathered.leave() else { return Ok(()) };
        let mut writes = WriteBatch::default();
        for (table, rows) in rows.tables() {
            let family = self.family(table);
            for (key, value) in rows {
                match value {
                    Some(value) => writes.put_cf(family, key, value),
                    None => writes.delete_cf(family, key),
                }
            }
        }
        self.write(&mut writing, writes)?;
        for (table, rows) in rows.tables() {
            if let Some((key, _)) = rows.iter().find(|(_, value)| value.is_some()) {
                self.lowest.lower(table, key);
            }
        }
        self.gathered.left();
        Ok(())
    }

    fn write(
        &self,
        writing: &mut Result<(), StoreError>,
        writes: WriteBatch,
    ) -> Result<(), StoreError> {
        *writing = self.db.write_opt(writes, &WriteOptions::default()).map_err(failed);
        writing.clone()
    }

    fn lock_writing(&self) -> MutexGuard<'_, Result<(), StoreError>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the rare batch with a range in it, whose writes must keep their order.
    fn apply_at_once(&self, batch: &[Write<Family>]) -> Result<(), StoreError> {
        self.write_out()?;
        let mut writing = self.lock_writing();
        writing.clone()?;
        let mut writes = WriteBatch::default();
        for write in batch {
            self.add(&mut writes, write);
        }
        self.write(&mut writing, writes)?;
        for write in batch {
            if let Write::Put { table, key, .. } = write {
                self.lowest.lower(*table, key);
            }
        }
        self.ended.note(batch);
        Ok(())
    }

    fn add(&self, writes: &mut WriteBatch, write: &Write<Family>) {
        match write {
            Write::Put { table, key, value } => writes.put_cf(self.family(*table), key, value),
            Write::Delete { table, key } => writes.delete_cf(self.family(*table), key),
            // RocksDB refuses a range whose end lies before its start; to us it is empty.
            Write::DeleteRange { table, from, to } if from < to => {
                writes.delete_range_cf(self.family(*table), from, to);
            }
            Write::DeleteRange { .. } => {}
        }
    }

    fn family(&self, family: Family) -> &ColumnFamily {
        self.db.cf_handle(family.name()).expect("every family is opened with the store")
    }

    /// As [`Self::stored`], without stepping over what was deleted at the front of the table.
    fn stored_beyond_lowest(
        &self,
        table: Family,
        from: &[u8],
        to: &[u8],
    ) -> impl Iterator<Item = Result<Entry, StoreError>> {
        let mut lowest = self.lowest.lock(table);
        let start = from.max(lowest.as_slice());
        let mut entries = (start < to).then(|| self.stored(table, start, to).peekable());
        if let Some(entries) = &mut entries
            && from <= lowest.as_slice()
            && let Some(first) =
                entries.peek().map_or(Some(to), |first| Some(&first.as_ref().ok()?.0))
        {
            lowest.clear();
            lowest.extend_from_slice(first);
        }
        entries.into_iter().flatten()
    }

    /// The entries that RocksDB has with `from <= key < to`, of which there is one at least.
    fn stored<'a>(
        &'a self,
        table: Family,
        from: &[u8],
        to: &[u8],
    ) -> impl Iterator<Item = Result<Entry, StoreError>> + use<'a> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(from);
        options.set_iterate_upper_bound(to);
        let start = IteratorMode::From(from, Direction::Forward);
        self.db
            .iterator_cf_opt(self.family(table), options, start)
            .map(|entry| entry.map(|(key, value)| (key.into_vec(), value.into_vec())))
            .map(|entry| entry.map_err(failed))
    }
}

/// What has gathered is written out, as far as the disk takes it: whoever closes a store in order
/// finds everything again. It was promised to nobody.
impl Drop for RocksStore {
    fn drop(&mut self) {
        if let Err(error) = self.write_out() {
            tracing::error!(%error, "the last rows of the store could not be written");
        }
    }
}

impl Store<Family> for RocksStore {
    fn get(&self, table: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(value) = self.gathered.get(table, key) {
            return Ok(value);
        }
        self.db.get_cf(self.family(table), key).map_err(failed)
    }

    fn get_many(
        &self,
        table: Family,
        keys: &[Vec<u8>],
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let gathered: Vec<_> = keys.iter().map(|key| self.gathered.get(table, key)).collect();
        let missing = keys.iter().zip(&gathered).filter(|(_, row)| row.is_none());
        let stored = self.db.batched_multi_get_cf(
            self.family(table),
            missing.map(|(key, _)| key.as_slice()),
            NOT_SORTED,
        );
        let mut stored = stored.into_iter();
        let value = |row: Option<Option<Vec<u8>>>| match row {
            Some(value) => Ok(value),
            None => match stored.next() {
                Some(value) => value.map(|value| value.map(|bytes| bytes.to_vec())).map_err(failed),
                None => Ok(None),
            },
        };
        gathered.into_iter().map(value).collect()
    }

    fn scan(
        &self,
        table: Family,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        self.gathered
            .lay_over((table, from, to), limit, || self.stored_beyond_lowest(table, from, to))
    }
}

impl std::fmt::Debug for RocksStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksStore").field("path", &self.path).finish_non_exhaustive()
    }
}

fn failed(error: rocksdb::Error) -> StoreError {
    StoreError::Disk(error.into_string())
}

/// RocksDB has no error of its own for a lock that somebody else holds, only these two texts: of
/// another process, and of this one.
fn open_error(path: &Path, error: &rocksdb::Error) -> OpenError {
    let (path, reason) = (path.to_owned(), error.to_string());
    if reason.contains("While lock file") || reason.contains("lock hold by current process") {
        OpenError::InUse(path)
    } else {
        OpenError::Disk { path, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use comm_proto::store::Seq;

    fn put(key: u8) -> Batch<Family> {
        let write = Write::Put { table: Family::Custody, key: vec![key], value: vec![key] };
        Batch { seq: Seq(key.into()), writes: vec![write] }
    }

    #[test]
    fn after_a_failed_write_no_thread_is_told_that_the_disk_has_anything() {
        let directory = tempfile::tempdir().unwrap();
        let store = RocksStore::open(directory.path()).unwrap();
        store.apply(put(1)).unwrap();
        store.sync().unwrap();
        store.apply(put(2)).unwrap();
        // Whoever made a copy meanwhile took the rows along and met the full disk.
        store.gathered.leave().unwrap();
        let full = Err(StoreError::Disk("no space left".to_owned()));
        store.lock_writing().clone_from(&full);
        assert_eq!(store.sync(), full);
        assert_eq!(store.apply(put(3)).and_then(|()| store.sync()), full);
        drop(store);
        let store = RocksStore::open(directory.path()).unwrap();
        assert_eq!(store.scan(Family::Custody, &[], &[9], 9), Ok(vec![(vec![1], vec![1])]));
    }
}
