//! Gives disk space back: compacts what is mostly deleted, and moves large bodies together that lie in
//! files with dead ones. And says how much of the disk is taken.
//!
//! Entry type is [`Upkeep`], a thread of its own that looks every second. RocksDB compacts by
//! itself when much is written; a node whose envelopes were all acknowledged writes little, so
//! without this their space would be kept for days. It deletes no envelope: that is the node's, which
//! takes nothing in while the disk has no room for it.
//!
//! Whatever is given back costs writing, and the more the less of it is dead. So a store that has room waits
//! until a good part is dead, and one that is near its budget does not.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use comm_proto::node::Family;
use comm_proto::store::StoreError;
use rocksdb::properties::{
    NUM_DELETES_ACTIVE_MEM_TABLE, NUM_DELETES_IMM_MEM_TABLES, NUM_ENTRIES_ACTIVE_MEM_TABLE,
    NUM_ENTRIES_IMM_MEM_TABLES,
};
use rocksdb::{BottommostLevelCompaction, CStrLike, CompactOptions, FlushOptions};
use rustix::fs::statvfs;

use super::ended::Range;
use super::{RocksStore, failed};
use crate::metrics;

/// RocksDB's names for bytes of bodies that lie in files of their own, and of those that are dead.
const BODY_BYTES: &CStr = c"rocksdb.live-blob-file-size";
const DEAD_BODY_BYTES: &CStr = c"rocksdb.live-blob-file-garbage-size";

/// How often the thread looks.
const PACE: Duration = Duration::from_secs(1);

/// After a piece of work the thread rests for so many times as long as that took, ...
const REST_FACTOR: u32 = 10;

/// ... but not for longer than this: on a slow or busy disk one piece takes seconds, and space must
/// come back within a minute all the same.
const REST_MAX: Duration = Duration::from_secs(5);

/// After a failure the thread tries again; whether the node can go on at all shows at its next
/// sync.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(60);

/// Logs are written out to tables when they hold more than this, ...
const LOGS_BYTES_MIN: u64 = 1 << 20;

/// ... and more than one part in so many of what the tables hold, or nothing is written any more.
const LOGS_PART: u64 = 10;

/// A table is compacted when more than one entry has been deleted for so many that live, ...
const LIVE_PER_DELETED: u64 = 5;

/// ... or for so many, when the store is near its budget, ...
const LIVE_PER_DELETED_NEAR: u64 = 50;

/// ... and at least so many have been deleted: for less there is nothing to gain.
const DELETED_MIN: u64 = 64;

/// Bodies are moved together when more than one byte of so many is dead, ...
const BODIES_PER_DEAD: u64 = 5;

/// ... or of so many, when the store is near its budget, ...
const BODIES_PER_DEAD_NEAR: u64 = 50;

/// ... and at least so many are.
const DEAD_MIN: u64 = 1 << 20;

/// Each time those of the oldest files are moved, and no more often than this at a look.
const MOVES_MAX: usize = 8;

/// A store is near its budget when it takes more than so many hundredths of it.
const NEAR: u64 = 95;

/// A thread that looks after the disk. Dropping it breaks off what it is doing; after that the
/// store can only be closed.
#[derive(Debug)]
pub struct Upkeep {
    store: Arc<RocksStore>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the files of a store take from the disk, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUse {
    /// Logs of what is not in tables yet.
    pub logs: u64,
    /// Everything else.
    pub tables: u64,
}

#[derive(Debug, Default)]
struct Shared {
    stopping: Mutex<bool>,
    changed: Condvar,
    disk_bytes: AtomicU64,
}

/// Bytes of bodies that lie in files of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bodies {
    all: u64,
    dead: u64,
}

/// What a compaction looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    /// What has deletions above it.
    Deleted,
    /// Every row, whose body is moved if it lies in one of the oldest files.
    All,
}

/// How much room a store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Plenty,
    Near,
}

/// What a table consists of: a deletion is an entry, and so is what it deletes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Entries {
    all: u64,
    deletions: u64,
}

impl Upkeep {
    /// Starts the thread. `report` is told how many bytes of the disk are taken, at once and before and after whatever it does;
    /// it must not block.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        store: Arc<RocksStore>,
        report: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let (work, its_store) = (Arc::clone(&shared), Arc::clone(&store));
        let thread = thread::Builder::new()
            .name("store-upkeep".to_owned())
            .spawn(move || look_until_stopped(&work, &its_store, report))?;
        Ok(Self { store, shared, thread: Some(thread) })
    }

    /// Bytes of disk that the store took when the thread last looked; 0 before it has.
    pub fn disk_bytes(&self) -> u64 {
        self.shared.disk_bytes.load(Ordering::Relaxed)
    }

    /// Breaks off what the thread is doing and ends it. The store can only be closed after that.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        *self.shared.lock() = true;
        self.shared.changed.notify_one();
        self.store.db.cancel_all_background_work(true);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed by its own hook; there is nothing to add.
            let _ = thread.join();
        }
    }
}

impl DiskUse {
    /// What the files of the store at `path` take now.
    pub fn of(path: &Path) -> Self {
        let mut usage = Self::default();
        // A file that goes while it is measured takes nothing.
        for file in fs::read_dir(path).into_iter().flatten().flatten() {
            let bytes = file.metadata().map_or(0, |metadata| metadata.blocks() * 512);
            let is_log = Path::new(&file.file_name()).extension().is_some_and(|end| end == "log");
            *(if is_log { &mut usage.logs } else { &mut usage.tables }) += bytes;
        }
        usage
    }

    /// Logs and tables together.
    pub const fn total(self) -> u64 {
        self.logs + self.tables
    }

    /// `before` is what was used at the last look.
    const fn has_large_logs(self, before: Self) -> bool {
        let rests = self.logs == before.logs;
        self.logs > LOGS_BYTES_MIN && (rests || self.logs > self.tables / LOGS_PART)
    }
}

impl Entries {
    fn add(&mut self, all: u64, deletions: u64) {
        self.all += all;
        self.deletions += deletions;
    }

    const fn are_worth_compacting(self, room: Room) -> bool {
        let live = self.all.saturating_sub(2 * self.deletions);
        let per_deleted = match room {
            Room::Plenty => LIVE_PER_DELETED,
            Room::Near => LIVE_PER_DELETED_NEAR,
        };
        self.deletions >= DELETED_MIN && self.deletions * per_deleted > live
    }
}

impl Bodies {
    const fn are_worth_moving(self, room: Room) -> bool {
        let per_dead = match room {
            Room::Plenty => BODIES_PER_DEAD,
            Room::Near => BODIES_PER_DEAD_NEAR,
        };
        self.dead >= DEAD_MIN && self.dead * per_dead > self.all
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.stopping.lock().expect("nothing panics while it holds this lock")
    }

    /// Waits for as long as asked; false when it is time to stop.
    fn rest(&self, length: Duration) -> bool {
        let (stopping, _) = self
            .changed
            .wait_timeout_while(self.lock(), length, |stopping| !*stopping)
            .expect("nothing panics while it holds this lock");
        !*stopping
    }
}

/// Bytes that the file system at `path` has left for this process, if it says so.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let of = statvfs(path).ok()?;
    Some(of.f_bavail.saturating_mul(of.f_frsize))
}

fn look_until_stopped(shared: &Shared, store: &RocksStore, report: impl Fn(u64)) {
    let (mut rest, mut before) = (Duration::ZERO, DiskUse::default());
    report(store.disk_use().total());
    while shared.rest(rest.max(PACE)) {
        let usage = store.disk_use();
        report(usage.total());
        shared.disk_bytes.store(usage.total(), Ordering::Relaxed);
        metrics::disk_used(usage.total(), free_bytes(store.path()));
        let started = Instant::now();
        rest = match store.tidy(usage, before) {
            // Others wait for room.
            Ok(()) if store.room() == Room::Near => PACE,
            Ok(()) => (started.elapsed() * REST_FACTOR).min(REST_MAX),
            Err(error) => {
                tracing::warn!(%error, "the disk space of deleted envelopes was not given back");
                REST_AFTER_FAILURE
            }
        };
        // Whoever waits for room need not wait for the next look.
        report(store.disk_use().total());
        before = usage;
    }
}

impl RocksStore {
    /// What its files take from the disk now.
    pub fn disk_use(&self) -> DiskUse {
        DiskUse::of(self.path())
    }

    /// What the thread does when it looks, at once and to its end. Returns what was used before, for
    /// the next time.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn look_after(&self, before: DiskUse) -> Result<DiskUse, StoreError> {
        let usage = self.disk_use();
        self.tidy(usage, before)?;
        Ok(usage)
    }

    fn tidy(&self, usage: DiskUse, before: DiskUse) -> Result<(), StoreError> {
        for range in self.ended.take() {
            self.compact(Family::Envelopes, Some(&range), Depth::Deleted);
        }
        let room = self.room();
        for (family, entries) in self.entries()? {
            if entries.are_worth_compacting(room) {
                tracing::debug!(table = family.name(), ?entries, "compacting");
                self.compact(family, None, Depth::Deleted);
            }
        }
        self.move_bodies()?;
        if usage.has_large_logs(before) {
            self.flush()?;
        }
        Ok(())
    }

    /// How much of its budget is left.
    fn room(&self) -> Room {
        match self.disk_use().total() > self.budget / 100 * NEAR {
            true => Room::Near,
            false => Room::Plenty,
        }
    }

    /// Moves what lives out of the oldest files of bodies, which go then, a few of them at a time: until
    /// that has happened it is there twice.
    fn move_bodies(&self) -> Result<(), StoreError> {
        for _ in 0..MOVES_MAX {
            let bodies = self.bodies()?;
            if !bodies.are_worth_moving(self.room()) {
                break;
            }
            tracing::debug!(?bodies, "moving");
            self.compact(Family::Envelopes, None, Depth::All);
        }
        Ok(())
    }

    fn bodies(&self) -> Result<Bodies, StoreError> {
        Ok(Bodies {
            all: self.property(Family::Envelopes, BODY_BYTES)?,
            dead: self.property(Family::Envelopes, DEAD_BODY_BYTES)?,
        })
    }

    /// Compacts a table, or a range of it, beside RocksDB's own compactions and all reading and
    /// writing.
    fn compact(&self, family: Family, range: Option<&Range>, depth: Depth) {
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        if depth == Depth::All {
            options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        }
        let (from, to) = (range.map(|range| &range.from), range.map(|range| &range.to));
        self.db.compact_range_cf_opt(self.family(family), from, to, &options);
    }

    /// Writes all that is only in logs to tables, so that the logs go.
    fn flush(&self) -> Result<(), StoreError> {
        let families = Family::ALL.map(|family| self.family(family));
        self.db.flush_cfs_opt(&families, &FlushOptions::default()).map_err(failed)
    }

    fn entries(&self) -> Result<BTreeMap<Family, Entries>, StoreError> {
        let mut tables = BTreeMap::new();
        for family in Family::ALL {
            let mut entries = Entries::default();
            for (all, deletions) in [
                (NUM_ENTRIES_ACTIVE_MEM_TABLE, NUM_DELETES_ACTIVE_MEM_TABLE),
                (NUM_ENTRIES_IMM_MEM_TABLES, NUM_DELETES_IMM_MEM_TABLES),
            ] {
                entries.add(self.property(family, all)?, self.property(family, deletions)?);
            }
            tables.insert(family, entries);
        }
        for file in self.db.live_files().map_err(failed)? {
            let family = Family::ALL.iter().find(|f| f.name() == file.column_family_name);
            if let Some(entries) = family.and_then(|family| tables.get_mut(family)) {
                entries.add(file.num_entries, file.num_deletions);
            }
        }
        Ok(tables)
    }

    fn property(&self, family: Family, name: impl CStrLike) -> Result<u64, StoreError> {
        let value = self.db.property_int_value_cf(self.family(family), name).map_err(failed)?;
        Ok(value.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_compacted_when_a_fifth_of_what_lives_is_deleted_or_a_fiftieth_without_room() {
        let entries = |live, deletions| Entries { all: live + 2 * deletions, deletions };
        for (live, deletions, has_room, has_none) in [
            (1_000, 201, true, true),
            (1_000, 200, false, true),
            (10_000, 201, false, true),
            (10_000, 200, false, false),
            (0, 64, true, true),
            (0, 63, false, false),
        ] {
            let worth = |room| entries(live, deletions).are_worth_compacting(room);
            assert_eq!([worth(Room::Plenty), worth(Room::Near)], [has_room, has_none], "{live}");
        }
        // What was deleted before it reached a table leaves a deletion without what it deletes.
        assert!(Entries { all: 64, deletions: 64 }.are_worth_compacting(Room::Plenty));
    }

    #[test]
    fn bodies_are_moved_when_a_fifth_is_dead_or_a_fiftieth_without_room() {
        for (all, dead, has_room, has_none) in [
            (500, 101, true, true),
            (500, 100, false, true),
            (500, 10, false, false),
            (1, 1, true, true),
            (0, 0, false, false),
        ] {
            let bodies = Bodies { all: all << 20, dead: dead << 20 };
            let worth = |room| bodies.are_worth_moving(room);
            assert_eq!([worth(Room::Plenty), worth(Room::Near)], [has_room, has_none], "{dead}");
        }
        assert!(!Bodies { all: 900_000, dead: 900_000 }.are_worth_moving(Room::Near));
    }

    #[test]
    fn logs_are_large_beside_the_tables_or_when_nothing_is_written() {
        let usage = |logs: u64, tables: u64| DiskUse { logs: logs << 20, tables: tables << 20 };
        let before = usage(0, 0);
        assert!(usage(2, 0).has_large_logs(before));
        assert!(!usage(1, 0).has_large_logs(before));
        assert!(!usage(5, 50).has_large_logs(before));
        assert!(usage(6, 50).has_large_logs(before));
        assert!(usage(5, 50).has_large_logs(usage(5, 49)));
        assert!(!usage(1, 0).has_large_logs(usage(1, 0)));
    }
}
