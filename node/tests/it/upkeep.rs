//! Whether the disk gets its space back, and at what price for those who write meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use comm_node::store::RocksStore;
use comm_node::store::upkeep::Upkeep;
use comm_proto::node::Family;
use comm_proto::store::{Batch, Entry, Seq, Store, Write};

const BODY: usize = 1_024;

/// 32 bytes that look drawn at random.
fn id(i: u64) -> [u8; 32] {
    let mut id = [0; 32];
    for (word, place) in id.chunks_exact_mut(8).zip(1..) {
        let mixed = (i + place).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ place;
        word.copy_from_slice(&mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9).to_be_bytes());
    }
    id
}

/// Noon of the day.
fn key(day: u32, i: u64) -> Vec<u8> {
    let noon = u64::from(day) * 86_400_000 + 43_200_000;
    [&noon.to_be_bytes()[..], &id(i)].concat()
}

fn midnight(day: u32) -> Vec<u8> {
    (u64::from(day) * 86_400_000).to_be_bytes().to_vec()
}

/// About what the node writes when it takes an envelope.
fn accept(store: &RocksStore, day: u32, i: u64) {
    let put = |table, key: Vec<u8>, size: usize| {
        let value = id(i).into_iter().cycle().take(size).collect();
        Write::Put { table, key, value }
    };
    let writes = vec![
        put(Family::Envelopes, key(day, i), BODY),
        put(Family::Custody, id(i).to_vec(), 64),
        put(Family::Mailboxes, [&[1; 20][..], &i.to_be_bytes()].concat(), 32),
        put(Family::Schedule, [&i.to_be_bytes()[..], &id(i)].concat(), 0),
    ];
    store.apply(Batch { seq: Seq(i), writes }).unwrap();
}

/// About what the node writes when an envelope ends.
fn end(store: &RocksStore, day: u32, i: u64) {
    let delete = |table, key| Write::Delete { table, key };
    let writes = vec![
        delete(Family::Envelopes, key(day, i)),
        delete(Family::Custody, id(i).to_vec()),
        delete(Family::Mailboxes, [&[1; 20][..], &i.to_be_bytes()].concat()),
        delete(Family::Schedule, [&i.to_be_bytes()[..], &id(i)].concat()),
    ];
    store.apply(Batch { seq: Seq(i), writes }).unwrap();
}

fn open(dir: &Path) -> Arc<RocksStore> {
    Arc::new(RocksStore::open(dir).unwrap())
}

/// Waits until `holds` or for as long as the promise allows.
fn within(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while started.elapsed() < limit {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    false
}

fn envelopes(store: &RocksStore) -> Vec<Entry> {
    store.scan(Family::Envelopes, &[], &[0xff; 40], usize::MAX).unwrap()
}

#[test]
fn the_space_of_acknowledged_envelopes_comes_back_within_a_minute() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let upkeep = Upkeep::start(Arc::clone(&store), |_| {}).unwrap();
    let count = 30_000;
    for i in 0..count {
        accept(&store, 20_000, i);
    }
    store.sync().unwrap();
    let full = store.disk_use().total();
    assert!(full >= count * BODY as u64, "{full} bytes");
    for i in 0..count {
        end(&store, 20_000, i);
    }
    store.sync().unwrap();
    let small = || store.disk_use().total() * 10 <= full;
    assert!(within(Duration::from_secs(60), small), "{:?} of {full}", store.disk_use());
    assert!(upkeep.disk_bytes() > 0);
}

#[test]
fn what_a_store_at_rest_has_in_logs_is_written_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let upkeep = Upkeep::start(Arc::clone(&store), |_| {}).unwrap();
    (0..30_000).for_each(|i| accept(&store, 20_000, i));
    store.sync().unwrap();
    let rests = || store.disk_use().logs < 1 << 20;
    assert!(within(Duration::from_secs(60), rests), "{:?}", store.disk_use());
    // Little beside what is in tables.
    (30_000..31_500).for_each(|i| accept(&store, 20_000, i));
    store.sync().unwrap();
    assert!(store.disk_use().logs > 1 << 20, "{:?}", store.disk_use());
    assert!(within(Duration::from_secs(60), rests), "{:?}", store.disk_use());
    drop(upkeep);
    assert_eq!(envelopes(&store).len(), 31_500);
}

#[test]
fn half_of_the_envelopes_take_half_of_the_space() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let upkeep = Upkeep::start(Arc::clone(&store), |_| {}).unwrap();
    let count = 30_000;
    for i in 0..count {
        accept(&store, 20_000, i);
    }
    for i in (0..count).step_by(2) {
        end(&store, 20_000, i);
    }
    store.sync().unwrap();
    // What lives: bodies, their keys, and what the other tables hold of them.
    let live = count / 2 * (BODY as u64 + 36 + 96 + 60 + 40);
    let small = || store.disk_use().total() * 10 <= live * 12;
    assert!(within(Duration::from_secs(60), small), "{:?} of {live}", store.disk_use());
    assert_eq!(envelopes(&store).len() as u64, count / 2);
    drop(upkeep);
}

/// Of few files the oldest part is none; and where nothing is left to be had, nothing is written.
#[test]
fn bodies_in_a_few_files_give_their_space_back_and_then_the_disk_rests() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let letter = |i: u64, size| {
        let value = id(i).into_iter().cycle().take(size).collect();
        Write::Put { table: Family::Envelopes, key: key(20_000, i), value }
    };
    let mut used = store.disk_use();
    for file in 0..8 {
        let writes = (0..64).map(|i| letter(file * 64 + i, 16 << 10)).collect();
        store.apply(Batch { seq: Seq(file + 1), writes }).unwrap();
        // Logs that rest are written out.
        store.sync().unwrap();
        used = store.look_after(used).unwrap();
        used = store.look_after(used).unwrap();
    }
    let ended = (0..512).filter(|i| i % 3 != 0);
    let delete = |i| Write::Delete { table: Family::Envelopes, key: key(20_000, i) };
    store.apply(Batch { seq: Seq(9), writes: ended.map(delete).collect() }).unwrap();
    store.sync().unwrap();
    let full = used.total();
    let mut rests = false;
    for _ in 0..200 {
        let before = files(dir.path());
        used = store.look_after(used).unwrap();
        rests = used == store.disk_use() && before == files(dir.path());
        if rests {
            break;
        }
    }
    assert!(rests, "it writes on and on");
    assert!(used.total() * 100 < full * 60, "{used:?} of {full}");
    assert_eq!(envelopes(&store).len(), 171);
}

/// Names of the files that RocksDB has.
fn files(dir: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn a_day_that_is_over_goes_and_the_next_day_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let upkeep = Upkeep::start(Arc::clone(&store), |_| {}).unwrap();
    let count = 20_000;
    for i in 0..count {
        accept(&store, if i % 4 == 0 { 20_001 } else { 20_000 }, i);
    }
    store.sync().unwrap();
    let range = Write::DeleteRange { table: Family::Envelopes, from: vec![], to: midnight(20_001) };
    let before = store.disk_use().total();
    store.apply(Batch { seq: Seq(count), writes: vec![range] }).unwrap();
    assert_eq!(envelopes(&store).len() as u64, count / 4);
    let gone = count * 3 / 4 * BODY as u64;
    let small = || store.disk_use().total() + gone * 9 / 10 <= before;
    assert!(within(Duration::from_secs(60), small), "{:?} of {before}", store.disk_use());
    drop(upkeep);
    drop(store);
    let left = envelopes(&open(dir.path()));
    assert_eq!(left.len() as u64, count / 4);
    assert!(left.iter().all(|(key, _)| *key >= midnight(20_001)));
}

#[test]
fn what_is_written_into_a_range_that_ended_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for i in 0..2_000 {
        accept(&store, 20_000, i);
    }
    let to = midnight(20_001);
    let range = Write::DeleteRange { table: Family::Envelopes, from: vec![], to };
    store.apply(Batch { seq: Seq(1), writes: vec![range] }).unwrap();
    accept(&store, 20_000, 7);
    store.sync().unwrap();
    let before = store.disk_use();
    assert!(before.logs > 1 << 20, "{before:?}");
    let upkeep = Upkeep::start(Arc::clone(&store), |_| {}).unwrap();
    // What ended is gone from logs and tables alike.
    let has_tidied = || store.disk_use().total() * 2 < before.total();
    assert!(within(Duration::from_secs(60), has_tidied), "{:?}", store.disk_use());
    assert_eq!(envelopes(&store).len(), 1);
    drop(upkeep);
}

#[test]
fn stopping_does_not_wait_for_a_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for i in 0..20_000 {
        accept(&store, 20_000, i);
    }
    for i in 0..10_000 {
        end(&store, 20_000, i);
    }
    store.sync().unwrap();
    let upkeep = Upkeep::start(Arc::clone(&store), |_| {}).unwrap();
    std::thread::sleep(Duration::from_millis(1_050));
    let started = Instant::now();
    upkeep.stop();
    drop(store);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(envelopes(&open(dir.path())).len(), 10_000);
}
