//! Power fails: whatever the disk may hold then opens, with all up to the last sync and no gap after it.
//!
//! The files of a store are what a disk is sure to have after a loss of power, but for the tails of
//! logs that no sync covers and the names given and taken since. [`Disk`] makes images that differ
//! in these. That a log is synced when it is closed and one of its tables is written out is RocksDB's
//! part, and taken from it; so is that it syncs tables and manifest before it counts on them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use comm_node::store::RocksStore;
use comm_node::store::upkeep::Upkeep;
use comm_proto::envelope::SizeClass;
use comm_proto::key::KeyPair;
use comm_proto::message::EnvelopeState;
use comm_proto::node::Family;
use comm_proto::store::{Batch, MemoryStore, Seq, Store, Write};
use tempfile::TempDir;

use crate::crash::Dice;
use crate::hosted::Hosted;

/// Printed when a test fails; each run draws from its own.
const SEED: u64 = 0x9047_e400;
const RUNS: u64 = 24;
const IMAGES: usize = 12;
/// The tables that the batches are about, beside [`COUNTER`].
const TABLES: [Family; 4] =
    [Family::Envelopes, Family::Custody, Family::Schedule, Family::Tombstones];
/// Where each batch writes its own number.
const COUNTER: (Family, &[u8]) = (Family::Meta, b"batches");

/// A directory, and what was known of it at the last sync.
pub(crate) struct Disk {
    dir: TempDir,
    /// Names and lengths.
    synced: BTreeMap<String, u64>,
    /// Links to all files that were there at a sync: their removal need not be on the disk yet.
    links: TempDir,
}

impl Disk {
    pub(crate) fn new() -> Self {
        let new = || tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Self { dir: new(), synced: BTreeMap::new(), links: new() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// To be called right after a sync, before anything is written.
    pub(crate) fn note_sync(&mut self) {
        self.synced = files(self.path());
        for name in self.synced.keys() {
            // Linked before, or gone meanwhile.
            let _known = fs::hard_link(self.path().join(name), self.links.path().join(name));
        }
    }

    /// What the disk may hold if the power fails now. Nothing may write meanwhile.
    pub(crate) fn image(&self, dice: &mut Dice) -> TempDir {
        let image = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let now = files(self.path());
        let tables: BTreeSet<u64> = now.keys().filter_map(|name| number(name, "sst")).collect();
        let logs: BTreeSet<u64> = now.keys().filter_map(|name| number(name, "log")).collect();
        let mut is_cut_off = false;
        for (name, len) in &now {
            let (from, to) = (self.path().join(name), image.path().join(name));
            let Some(log) = number(name, "log") else {
                keep(name, &from, &to);
                continue;
            };
            let written_out = |log: &u64| tables.range(*log..).next().is_some();
            let is_synced = logs.range(log + 1..).next().is_some_and(written_out);
            let is_named = self.synced.contains_key(name) || written_out(&log);
            // Names reach the disk in the order in which they were given.
            is_cut_off |= !is_named && dice.below(3) == 0;
            if is_cut_off {
                continue;
            }
            let sure = if is_synced { *len } else { self.synced.get(name).copied().unwrap_or(0) };
            fs::write(&to, tail(fs::read(&from).unwrap(), sure as usize, dice)).unwrap();
        }
        for name in self.synced.keys().filter(|name| !now.contains_key(*name)) {
            if dice.below(2) == 0 {
                fs::copy(self.links.path().join(name), image.path().join(name)).unwrap();
            }
        }
        image
    }
}

/// A log whose bytes from `sure` on may have reached the disk or not.
fn tail(mut log: Vec<u8>, sure: usize, dice: &mut Dice) -> Vec<u8> {
    const PAGE: usize = 4_096;
    let cut = sure + dice.below((log.len() - sure) as u64 + 1) as usize;
    match dice.below(5) {
        // All of it.
        0 => {}
        // Less: the length was not written.
        1 => log.truncate(cut),
        // The length was, and not the bytes.
        2 => log[cut..].fill(0),
        // Something else stands there.
        3 => log[cut..].fill_with(|| dice.below(256) as u8),
        // Some pages were written and some were not.
        _ => {
            let first = sure.div_ceil(PAGE) * PAGE;
            for start in (first..log.len()).step_by(PAGE) {
                let end = log.len().min(start + PAGE);
                if dice.below(4) == 0 {
                    log[start..end].fill(0);
                }
            }
        }
    }
    log
}

fn files(dir: &Path) -> BTreeMap<String, u64> {
    let named = fs::read_dir(dir).unwrap().map(|file| {
        let file = file.unwrap();
        (file.file_name().into_string().unwrap(), file.metadata().unwrap().len())
    });
    named.collect()
}

fn number(name: &str, kind: &str) -> Option<u64> {
    let (number, found) = name.split_once('.')?;
    (found == kind).then(|| number.parse().ok())?
}

/// Tables never change once they are written; the rest is small.
fn keep(name: &str, from: &Path, to: &Path) {
    match number(name, "sst") {
        Some(_) => fs::hard_link(from, to).unwrap(),
        None => drop(fs::copy(from, to).unwrap()),
    }
}

/// Lets RocksDB do nothing any more; the store can only be closed then.
pub(crate) fn hold_still(store: &Arc<RocksStore>) {
    Upkeep::start(Arc::clone(store), |_| {}).unwrap().stop();
}

/// One in `large` values is of the largest kind; they fill write buffers, so that tables are written.
fn batch(number: u64, dice: &mut Dice, large: u64) -> Batch<Family> {
    let mut writes = vec![Write::Put {
        table: COUNTER.0,
        key: COUNTER.1.to_vec(),
        value: number.to_be_bytes().to_vec(),
    }];
    let key = |dice: &mut Dice| (dice.below(400) as u16).to_be_bytes().to_vec();
    for _ in 0..dice.below(8) {
        let table = TABLES[dice.below(4) as usize];
        writes.push(match dice.below(20) {
            0..12 => {
                let len = if dice.below(large) == 0 { 64 << 10 } else { dice.below(2_000) };
                let value = vec![dice.below(256) as u8; len as usize];
                Write::Put { table, key: key(dice), value }
            }
            12..19 => Write::Delete { table, key: key(dice) },
            _ => {
                let from = dice.below(400) as u16;
                let to = from + dice.below(40) as u16;
                let (from, to) = (from.to_be_bytes().to_vec(), to.to_be_bytes().to_vec());
                Write::DeleteRange { table, from, to }
            }
        });
    }
    Batch { seq: Seq(number), writes }
}

/// Opens the image and compares it with the state after as many batches as it says it has.
fn check(image: &Path, batches: &[Batch<Family>], synced: u64) -> Result<u64, String> {
    let disk = RocksStore::open(image).map_err(|error| error.to_string())?;
    let counter = disk.get(COUNTER.0, COUNTER.1).unwrap();
    let count = counter.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap()));
    if count < synced || count > batches.len() as u64 {
        return Err(format!("{count} batches are left of {}, {synced} synced", batches.len()));
    }
    let mut memory = MemoryStore::new();
    batches[..count as usize].iter().for_each(|batch| memory.apply(batch));
    for table in TABLES {
        let all = |store: &dyn Store<Family>| store.scan(table, &[], &[0xff; 9], usize::MAX);
        if all(&disk) != all(&memory) {
            return Err(format!("{table:?} is not what it was after {count} batches"));
        }
    }
    Ok(count)
}

#[test]
fn a_loss_of_power_leaves_a_state_between_the_last_sync_and_the_last_write() {
    let (mut lost, mut kept_unsynced, mut written_out) = (0, 0, 0);
    for run in 0..RUNS {
        let mut dice = Dice(SEED + run);
        let (mut disk, mut batches, mut synced) = (Disk::new(), Vec::new(), 0);
        let store = Arc::new(RocksStore::open(disk.path()).unwrap());
        disk.note_sync();
        let large = if run % 4 == 0 { 3 } else { 200 };
        // Some runs last long enough for the upkeep to drop files and to compact.
        let upkeep = (run % 8 == 0).then(|| Upkeep::start(Arc::clone(&store), |_| {}).unwrap());
        for number in 1..=100 + dice.below(400) {
            let batch = batch(number, &mut dice, large);
            store.apply(batch.clone()).unwrap();
            batches.push(batch);
            if dice.below(30) == 0 {
                store.sync().unwrap();
                disk.note_sync();
                synced = number;
            }
            if upkeep.is_some() && number % 100 == 0 {
                std::thread::sleep(std::time::Duration::from_millis(600));
            }
        }
        drop(upkeep);
        hold_still(&store);
        written_out += files(disk.path()).keys().filter(|n| number(n, "sst").is_some()).count();
        for image_number in 0..IMAGES {
            let image = disk.image(&mut dice);
            let count = check(image.path(), &batches, synced).unwrap_or_else(|error| {
                panic!("{error}; image {image_number} of run {run} of seed {SEED:#x}")
            });
            lost += batches.len() as u64 - count;
            kept_unsynced += count - synced;
        }
    }
    // Images that are all alike would show little.
    println!("{lost} batches lost, {kept_unsynced} kept unsynced, {written_out} tables");
    assert!(lost > 1_000 && kept_unsynced > 1_000 && written_out >= 6);
}

#[test]
fn what_a_node_answered_for_is_there_after_a_loss_of_power() {
    let (mut checked, mut unanswered) = (0, 0);
    for run in 0..6 {
        let (mut dice, key) = (Dice(SEED + 1_000 + run), KeyPair::from_seed(&[9; 32]));
        let mut disk = Disk::new();
        let mut hosted = Hosted::start(disk.path());
        let mut living = Vec::new();
        for number in 0..200 + dice.below(400) {
            if dice.below(4) == 0 && !living.is_empty() {
                let id = living.swap_remove(dice.below(living.len() as u64) as usize);
                hosted.acknowledge(number, &key, &[id]);
            } else {
                living.push(hosted.submit(number, &key, SizeClass::K16));
            }
            if dice.below(40) == 0 {
                hosted.sync();
                disk.note_sync();
            }
        }
        let (accepted, ended) = (hosted.accepted.clone(), hosted.ended.clone());
        unanswered += hosted.unanswered();
        hold_still(&hosted.store);
        for _ in 0..IMAGES {
            let image = disk.image(&mut dice);
            let mut after = Hosted::start(image.path());
            for id in &accepted {
                let state = after.state(id);
                let is_read = matches!(state, Some(EnvelopeState::Delivered { .. }));
                let is_here = state == Some(EnvelopeState::Accepted) && !ended.contains(id);
                assert!(is_read || is_here, "{state:?} of {id} in run {run} of seed {SEED:#x}");
                checked += 1;
            }
            let stats = after.stats();
            let count =
                |table| after.store.scan(table, &[], &[0xff; 48], usize::MAX).unwrap().len();
            assert_eq!(stats.envelopes, count(Family::Envelopes) as u64);
            assert_eq!(stats.tombstones, count(Family::Tombstones) as u64);
        }
    }
    assert!(checked > 5_000 && unanswered > 50, "{checked}, {unanswered}");
}
