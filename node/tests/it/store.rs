//! The store on disk against the store in memory, and what it refuses to open.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use comm_node::store::syncer::Syncer;
use comm_node::store::{OpenError, RocksStore, SCHEMA};
use comm_proto::node::{Family, Upgrade};
use comm_proto::store::{Batch, MemoryStore, Seq, Store, Write};
use proptest::prelude::*;

/// A few tables and short keys of few letters, so that writes meet each other often.
fn tables() -> impl Strategy<Value = Family> {
    prop::sample::select(vec![Family::Envelopes, Family::Schedule, Family::Custody])
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0, 1, 2, 0xff]), 0..4)
}

fn writes() -> impl Strategy<Value = Write<Family>> {
    prop_oneof![
        4 => (tables(), keys(), prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(table, key, value)| Write::Put { table, key, value }),
        3 => (tables(), keys()).prop_map(|(table, key)| Write::Delete { table, key }),
        1 => (tables(), keys(), keys())
            .prop_map(|(table, from, to)| Write::DeleteRange { table, from, to }),
    ]
}

/// What happens between two looks at the stores.
#[derive(Clone, Debug)]
enum Step {
    Apply(Vec<Write<Family>>),
    Scan(Family, Vec<u8>, Vec<u8>, usize),
    Get(Family, Vec<u8>),
    Sync,
    Reopen,
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(writes(), 0..8).prop_map(Step::Apply),
        6 => (tables(), keys(), keys(), 0_usize..5)
            .prop_map(|(table, from, to, limit)| Step::Scan(table, from, to, limit)),
        3 => (tables(), keys()).prop_map(|(table, key)| Step::Get(table, key)),
        2 => Just(Step::Sync),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_disk_tells_what_memory_tells(steps in prop::collection::vec(steps(), 1..120)) {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = RocksStore::open(dir.path()).unwrap();
        let mut memory = MemoryStore::new();
        for (step, seq) in steps.into_iter().zip(1..) {
            match step {
                Step::Apply(writes) => {
                    let batch = Batch { seq: Seq(seq), writes };
                    disk.apply(batch.clone()).unwrap();
                    memory.apply(&batch);
                }
                Step::Scan(table, from, to, limit) => prop_assert_eq!(
                    disk.scan(table, &from, &to, limit),
                    memory.scan(table, &from, &to, limit)
                ),
                Step::Get(table, key) => {
                    prop_assert_eq!(disk.get(table, &key), memory.get(table, &key));
                    let many = [key, vec![1], vec![], vec![2, 1], vec![1]];
                    prop_assert_eq!(disk.get_many(table, &many), memory.get_many(table, &many));
                }
                Step::Sync => disk.sync().unwrap(),
                Step::Reopen => {
                    drop(disk);
                    disk = RocksStore::open(dir.path()).unwrap();
                }
            }
        }
        for table in [Family::Envelopes, Family::Schedule, Family::Custody] {
            prop_assert_eq!(
                disk.scan(table, &[], &[0xff; 8], usize::MAX),
                memory.scan(table, &[], &[0xff; 8], usize::MAX)
            );
        }
    }
}

fn put(seq: u64, table: Family, key: &[u8], value: &[u8]) -> Batch<Family> {
    let write = Write::Put { table, key: key.to_vec(), value: value.to_vec() };
    Batch { seq: Seq(seq), writes: vec![write] }
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = RocksStore::open(dir.path()).unwrap();
    for table in Family::ALL {
        store.apply(put(1, table, b"key", table.name().as_bytes())).unwrap();
    }
    store.sync().unwrap();
    drop(store);
    let store = RocksStore::open(dir.path()).unwrap();
    for table in Family::ALL {
        let value = store.get(table, b"key").unwrap();
        assert_eq!(value.as_deref(), Some(table.name().as_bytes()));
    }
}

#[test]
fn a_second_opening_is_refused_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let store = RocksStore::open(dir.path()).unwrap();
    let error = RocksStore::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::InUse(_)), "{error:?}");
    assert!(error.to_string().contains(&dir.path().display().to_string()));
    drop(store);
    RocksStore::open(dir.path()).unwrap();
}

#[test]
fn a_newer_layout_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = RocksStore::open(dir.path()).unwrap();
    let newer = SCHEMA + 1;
    store.apply(put(1, Family::Meta, b"schema", &newer.to_be_bytes())).unwrap();
    drop(store);
    for _ in 0..2 {
        let error = RocksStore::open(dir.path()).unwrap_err();
        assert!(matches!(error, OpenError::Newer { .. }), "{error:?}");
        assert!(error.to_string().contains(&format!("layout {newer}")), "{error}");
    }
}

/// What a program with layout 1 wrote; see the test `upgrading` of the protocol.
pub(crate) fn layout_1() -> MemoryStore<Family> {
    let text = include_str!("../../../proto/testdata/store/layout-1.txt");
    let rows = text.lines().filter_map(|line| line.strip_prefix("row "));
    let put = |row: &str| {
        let [table, key, value] = row.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let table = Family::ALL.into_iter().find(|known| known.name() == table).unwrap();
        Write::Put { table, key: hex::decode(key).unwrap(), value: hex::decode(value).unwrap() }
    };
    let version = put(&format!("meta {} 00000001", hex::encode("schema")));
    let mut store = MemoryStore::new();
    store.apply(&Batch { seq: Seq(1), writes: rows.map(put).chain([version]).collect() });
    store
}

/// Puts everything of a store in memory where [`RocksStore`] will look for it.
pub(crate) fn lay_out(memory: &MemoryStore<Family>, dir: &std::path::Path) {
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    let names = Family::ALL.map(Family::name);
    let db = rocksdb::DB::open_cf(&options, dir, names).unwrap();
    for table in Family::ALL {
        for (key, value) in memory.scan(table, &[], &[0xff; 64], usize::MAX).unwrap() {
            db.put_cf(db.cf_handle(table.name()).unwrap(), key, value).unwrap();
        }
    }
}

#[test]
fn a_store_of_the_first_layout_is_upgraded_wherever_that_was_broken_off_before() {
    let mut memory = layout_1();
    let mut upgrade = Upgrade::new(&memory).unwrap();
    let mut stages = vec![memory.clone()];
    while let Some(writes) = upgrade.next(&memory).unwrap() {
        memory.apply(&Batch { seq: Seq(1), writes });
        stages.push(memory.clone());
    }
    memory.apply(&put(1, Family::Meta, b"schema", &SCHEMA.to_be_bytes()));
    assert!(stages.len() > 6, "{} stages", stages.len());
    for (number, stage) in stages.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        lay_out(stage, dir.path());
        for opening in ["first", "second"] {
            let disk = RocksStore::open(dir.path()).unwrap();
            for table in Family::ALL {
                let all = |store: &dyn Store<Family>| store.scan(table, &[], &[0xff; 64], 10_000);
                let same = all(&disk) == all(&memory);
                assert!(same, "{table:?} at the {opening} opening after batch {number}");
            }
        }
    }
}

/// The layout before wrote every body beside its key; a program that knows no more than it has to refuse what this one
/// writes.
#[test]
fn a_store_of_the_layout_before_is_raised_with_all_that_is_in_it_and_only_its_version_changes() {
    let dir = tempfile::tempdir().unwrap();
    let body = vec![7; 100_000];
    let mut before = MemoryStore::new();
    before.apply(&put(1, Family::Meta, b"schema", &(SCHEMA - 1).to_be_bytes()));
    before.apply(&put(2, Family::Envelopes, b"key", &body));
    lay_out(&before, dir.path());
    let is_blob = |file: std::fs::DirEntry| file.path().extension().is_some_and(|of| of == "blob");
    let has_blobs = || std::fs::read_dir(dir.path()).unwrap().any(|file| is_blob(file.unwrap()));
    assert!(!has_blobs());
    for _ in 0..2 {
        let store = RocksStore::open(dir.path()).unwrap();
        let version = store.get(Family::Meta, b"schema").unwrap();
        assert_eq!(version, Some(SCHEMA.to_be_bytes().to_vec()));
        assert_eq!(store.get(Family::Envelopes, b"key").unwrap().as_deref(), Some(&body[..]));
    }
}

#[test]
fn a_table_nobody_knows_is_taken_for_a_newer_layout() {
    let dir = tempfile::tempdir().unwrap();
    drop(RocksStore::open(dir.path()).unwrap());
    let families = rocksdb::DB::list_cf(&rocksdb::Options::default(), dir.path()).unwrap();
    let mut db = rocksdb::DB::open_cf(&rocksdb::Options::default(), dir.path(), families).unwrap();
    db.create_cf("groups", &rocksdb::Options::default()).unwrap();
    drop(db);
    let error = RocksStore::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Newer { .. }), "{error:?}");
    assert!(error.to_string().contains("groups"), "{error}");
}

#[test]
fn a_store_that_lost_its_version_is_called_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let store = RocksStore::open(dir.path()).unwrap();
    let writes = vec![Write::Delete { table: Family::Meta, key: b"schema".to_vec() }];
    store.apply(Batch { seq: Seq(1), writes }).unwrap();
    store.apply(put(2, Family::Cards, b"key", b"card")).unwrap();
    drop(store);
    let error = RocksStore::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Disk { .. }), "{error:?}");
}

#[test]
fn the_head_of_a_queue_is_read_without_stepping_over_what_was_taken() {
    let dir = tempfile::tempdir().unwrap();
    let store = RocksStore::open(dir.path()).unwrap();
    let count = 100_000_u32;
    let name = |i: u32| i.to_be_bytes().to_vec();
    let all = |write: fn(Vec<u8>) -> Write<Family>| {
        for chunk in (0..count).collect::<Vec<_>>().chunks(1_000) {
            let writes = chunk.iter().map(|i| write(name(*i))).collect();
            store.apply(Batch { seq: Seq(1), writes }).unwrap();
        }
    };
    all(|key| Write::Put { table: Family::Schedule, key, value: vec![] });
    all(|key| Write::Delete { table: Family::Schedule, key });
    store.apply(put(2, Family::Schedule, &name(count), b"")).unwrap();
    store.sync().unwrap();
    let timed = || {
        let started = Instant::now();
        let head = store.scan(Family::Schedule, &[], &[0xff; 8], 1).unwrap();
        assert_eq!(head, [(name(count), vec![])]);
        started.elapsed()
    };
    let first = timed();
    let later = (0..10).map(|_| timed()).min().unwrap();
    assert!(later * 4 < first, "{later:?} after {first:?}");
}

#[test]
fn one_sync_serves_all_batches_that_gathered_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(RocksStore::open(dir.path()).unwrap());
    let reports = Arc::new(Mutex::new(Vec::new()));
    let reported = Arc::clone(&reports);
    let syncer = Syncer::start(Arc::clone(&store), move |result| {
        reported.lock().unwrap().push(result.unwrap());
        // A disk slow enough that batches gather, on any machine.
        std::thread::sleep(Duration::from_millis(5));
    })
    .unwrap();
    for seq in 1..=5_000 {
        store.apply(put(seq, Family::Custody, &seq.to_be_bytes(), &[7; 100])).unwrap();
        syncer.written(Seq(seq));
    }
    syncer.stop().unwrap();
    let reports = reports.lock().unwrap();
    assert!(reports.is_sorted(), "durability never goes back");
    assert_eq!(reports.last(), Some(&Seq(5_000)), "stopping syncs the rest");
    assert!(reports.len() <= 500, "{} syncs for 5000 batches", reports.len());
}

#[test]
fn durable_is_not_said_of_what_was_not_noted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(RocksStore::open(dir.path()).unwrap());
    let newest = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&newest);
    let syncer = Syncer::start(Arc::clone(&store), move |result| {
        seen.fetch_max(result.unwrap().0, Ordering::SeqCst);
    })
    .unwrap();
    store.apply(put(1, Family::Custody, b"a", b"")).unwrap();
    store.apply(put(2, Family::Custody, b"b", b"")).unwrap();
    syncer.written(Seq(1));
    syncer.stop().unwrap();
    assert_eq!(newest.load(Ordering::SeqCst), 1);
}

/// Rows are on their way to RocksDB most of the time here, and the front of the queue moves on.
#[test]
fn a_queue_that_is_synced_all_the_time_shows_what_memory_shows() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(RocksStore::open(dir.path()).unwrap());
    let mut memory = MemoryStore::new();
    let over = Arc::new(AtomicBool::new(false));
    let rounds = Arc::new(AtomicU64::new(0));
    let syncing = std::thread::spawn({
        let (disk, over) = (Arc::clone(&disk), Arc::clone(&over));
        let rounds = Arc::clone(&rounds);
        move || {
            while !over.load(Ordering::Relaxed) {
                disk.sync().unwrap();
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let name = |number: u64| (number % 1_009 * 7).to_be_bytes().to_vec();
    let many_synced = || rounds.load(Ordering::Relaxed) > 50;
    for number in (0_u64..).take_while(|number| *number < 6_000 || !many_synced()) {
        let mut writes =
            vec![Write::Put { table: Family::Schedule, key: name(number), value: vec![1] }];
        let head = memory.scan(Family::Schedule, &[], &[0xff; 8], 3).unwrap();
        // It grows for a while, so that there is much that only RocksDB has, and is emptied again.
        let taken = if number % 1_000 < 600 { number % 2 } else { 3 };
        let taken = head.into_iter().take(taken as usize).map(|(key, _)| key);
        writes.extend(taken.map(|key| Write::Delete { table: Family::Schedule, key }));
        let batch = Batch { seq: Seq(number), writes };
        disk.apply(batch.clone()).unwrap();
        memory.apply(&batch);
        let from = if number % 5 == 0 { name(number / 2) } else { vec![] };
        for limit in [1, 4] {
            let shown = |store: &dyn Store<Family>| {
                store.scan(Family::Schedule, &from, &[0xff; 8], limit).unwrap()
            };
            assert_eq!(shown(&*disk), shown(&memory), "{number}, {limit} from {from:?}");
        }
    }
    over.store(true, Ordering::Relaxed);
    syncing.join().unwrap();
}
