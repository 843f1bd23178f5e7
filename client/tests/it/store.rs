//! The sealed store by itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use comm::store::{OpenError, SealedStore};
use comm_proto::agent::Drawer;
use comm_proto::store::{Batch, MemoryStore, ScanBack, Seq, Store, StoreError, Write};
use proptest::prelude::*;
use redb::ReadableTable;
use tempfile::TempDir;

use crate::person::assert_sealed;

const KEY: [u8; 32] = [7; 32];
const HIGHEST: &[u8] = &[0xff; 48];

fn put(key: &[u8], value: &[u8]) -> Write<Drawer> {
    Write::Put { table: Drawer::History, key: key.to_vec(), value: value.to_vec() }
}

fn private_dir() -> TempDir {
    let private = fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().permissions(private).tempdir().unwrap()
}

async fn durable(store: &mut SealedStore, wanted: u64) {
    let mut durability = store.durability();
    loop {
        let seq = durability.next().await.unwrap();
        store.settle(seq);
        if seq >= Seq(wanted) {
            return;
        }
    }
}

#[tokio::test]
async fn what_is_durable_is_there_after_opening_again_and_sealed_on_disk() {
    let dir = private_dir();
    let text = b"meet me at the old mill";
    let mut store = SealedStore::open(dir.path(), &KEY).unwrap();
    store.apply(Batch { seq: Seq(1), writes: vec![put(b"k", text)] }).await.unwrap();
    assert_eq!(store.get(Drawer::History, b"k"), Ok(Some(text.to_vec())));
    durable(&mut store, 1).await;
    assert_eq!(store.get(Drawer::History, b"k"), Ok(Some(text.to_vec())));
    store.close().await.unwrap();
    assert_sealed(dir.path(), text);
    let store = SealedStore::open(dir.path(), &KEY).unwrap();
    assert_eq!(store.get(Drawer::History, b"k"), Ok(Some(text.to_vec())));
}

#[tokio::test]
async fn closing_makes_everything_durable() {
    let dir = private_dir();
    let mut store = SealedStore::open(dir.path(), &KEY).unwrap();
    for n in 1..=500_u64 {
        let writes = vec![put(&n.to_be_bytes(), b"x")];
        store.apply(Batch { seq: Seq(n), writes }).await.unwrap();
    }
    store.close().await.unwrap();
    let store = SealedStore::open(dir.path(), &KEY).unwrap();
    assert_eq!(store.scan(Drawer::History, &[], HIGHEST, 1_000).unwrap().len(), 500);
}

/// The store's own checks, which are on in tests, notice a page that is reused under a reader.
#[tokio::test]
async fn reading_goes_on_while_the_writer_writes() {
    let dir = private_dir();
    let mut store = SealedStore::open(dir.path(), &KEY).unwrap();
    store.apply(Batch { seq: Seq(1), writes: vec![put(b"k", b"v")] }).await.unwrap();
    durable(&mut store, 1).await;
    for n in 2..=300_u64 {
        let writes = vec![put(&n.to_be_bytes(), &[7; 512])];
        store.apply(Batch { seq: Seq(n), writes }).await.unwrap();
        for _ in 0..20 {
            assert_eq!(store.get(Drawer::History, b"k"), Ok(Some(b"v".to_vec())));
            assert_eq!(store.scan(Drawer::History, b"k", b"l", 9).unwrap().len(), 1);
        }
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn another_key_is_refused_and_changes_nothing() {
    let dir = private_dir();
    let mut store = SealedStore::open(dir.path(), &KEY).unwrap();
    store.apply(Batch { seq: Seq(1), writes: vec![put(b"k", b"v")] }).await.unwrap();
    store.close().await.unwrap();
    let error = SealedStore::open(dir.path(), &[8; 32]).unwrap_err();
    assert!(matches!(error, OpenError::OtherIdentity(_)), "{error}");
    assert!(error.to_string().contains("belongs to another identity"), "{error}");
    let store = SealedStore::open(dir.path(), &KEY).unwrap();
    assert_eq!(store.get(Drawer::History, b"k"), Ok(Some(b"v".to_vec())));
}

#[tokio::test]
async fn a_second_one_is_refused_while_the_first_is_open() {
    let dir = private_dir();
    let store = SealedStore::open(dir.path(), &KEY).unwrap();
    let error = SealedStore::open(dir.path(), &KEY).unwrap_err();
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
    store.close().await.unwrap();
    SealedStore::open(dir.path(), &KEY).unwrap();
}

#[tokio::test]
async fn nobody_else_can_open_what_it_makes_and_it_opens_nothing_that_others_can() {
    let dir = private_dir();
    let path = dir.path().join("person");
    SealedStore::open(&path, &KEY).unwrap().close().await.unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for file in fs::read_dir(&path).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let error = SealedStore::open(&path, &KEY).unwrap_err();
    assert!(error.to_string().contains("chmod 700"), "{error}");
}

#[tokio::test]
async fn a_value_that_was_moved_to_another_key_is_damaged() {
    let dir = private_dir();
    let mut store = SealedStore::open(dir.path(), &KEY).unwrap();
    store
        .apply(Batch { seq: Seq(1), writes: vec![put(b"a", b"A"), put(b"b", b"B")] })
        .await
        .unwrap();
    store.close().await.unwrap();
    swap(&dir.path().join("person.redb"));
    let store = SealedStore::open(dir.path(), &KEY).unwrap();
    assert_eq!(store.get(Drawer::History, b"a"), Err(StoreError::Damaged("history")));
}

/// Does what somebody with the file and without the key could do.
fn swap(path: &std::path::Path) {
    let table = redb::TableDefinition::<&[u8], &[u8]>::new("history");
    let db = redb::Database::open(path).unwrap();
    let write = db.begin_write().unwrap();
    {
        let mut rows = write.open_table(table).unwrap();
        let a = rows.get(&b"a"[..]).unwrap().unwrap().value().to_vec();
        let b = rows.get(&b"b"[..]).unwrap().unwrap().value().to_vec();
        rows.insert(&b"a"[..], &b[..]).unwrap();
        rows.insert(&b"b"[..], &a[..]).unwrap();
    }
    write.commit().unwrap();
}

/// A snapshot is of one moment: all that was applied before, nothing that comes after.
#[tokio::test]
async fn a_snapshot_has_all_that_was_applied_before_it_and_nothing_after() {
    let (dir, other) = (private_dir(), private_dir());
    let mut store = SealedStore::open(dir.path(), &KEY).unwrap();
    let write = |n: u64| Batch { seq: Seq(n), writes: vec![put(&n.to_be_bytes(), b"x")] };
    for n in 1..=50 {
        store.apply(write(n)).await.unwrap();
    }
    let (reply, snapshot) = tokio::sync::oneshot::channel();
    store.snapshot(reply).await.unwrap();
    for n in 51..=60 {
        store.apply(write(n)).await.unwrap();
    }
    let snapshot = snapshot.await.unwrap();
    durable(&mut store, 60).await;
    let copy = other.path().join("person.redb");
    let bytes = snapshot.save(&copy).unwrap();
    assert_eq!(fs::metadata(&copy).unwrap().len(), bytes);
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1, "nothing is left beside it");
    let copied = SealedStore::open(other.path(), &KEY).unwrap();
    let rows = copied.scan(Drawer::History, &[], HIGHEST, 1_000).unwrap();
    assert!(
        rows.into_iter().map(|(key, _)| key).eq((1..=50_u64).map(|n| n.to_be_bytes().to_vec()))
    );
    // What is there is never replaced.
    assert!(snapshot.save(&copy).unwrap_err().to_string().contains("there already"));
    drop(snapshot);
    store.close().await.unwrap();
}

/// Layouts before this one are read as they are, and from then on refused by older programs.
#[tokio::test]
async fn a_store_of_an_older_layout_is_opened_and_becomes_one_of_this() {
    let dir = private_dir();
    SealedStore::open(dir.path(), &KEY).unwrap().close().await.unwrap();
    let path = dir.path().join("person.redb");
    let set = |schema: u32| {
        let about = redb::TableDefinition::<&str, &[u8]>::new("about");
        let db = redb::Database::open(&path).unwrap();
        let write = db.begin_write().unwrap();
        let before = {
            let mut rows = write.open_table(about).unwrap();
            let before = rows.insert("schema", &schema.to_be_bytes()[..]).unwrap();
            before.map(|value| value.value().to_vec())
        };
        write.commit().unwrap();
        before
    };
    for older in [1, 2, 3, 4, 5] {
        set(older);
        // Tables that the older program did not have.
        let db = redb::Database::open(&path).unwrap();
        let write = db.begin_write().unwrap();
        let tables = ["ids", "waiting", "requests", "ties", "rooms", "room-events", "deliveries"];
        for name in tables.into_iter().chain(["files", "file-pieces", "file-wants"]) {
            let table = redb::TableDefinition::<&[u8], &[u8]>::new(name);
            assert!(write.delete_table(table).unwrap());
        }
        write.commit().unwrap();
        drop(db);
        let copy = dir.path().join(format!("copy-{older}"));
        comm::store::back_up(dir.path(), &copy).unwrap();
        let mut store = SealedStore::open(dir.path(), &KEY).unwrap();
        let write = Write::Put { table: Drawer::Ids, key: b"k".to_vec(), value: b"v".to_vec() };
        store.apply(Batch { seq: Seq(1), writes: vec![write] }).await.unwrap();
        store.close().await.unwrap();
        let store = SealedStore::open(dir.path(), &KEY).unwrap();
        assert_eq!(store.get(Drawer::Ids, b"k"), Ok(Some(b"v".to_vec())));
        store.close().await.unwrap();
        assert_eq!(set(6), Some(vec![0, 0, 0, 6]));
    }
    set(7);
    let error = SealedStore::open(dir.path(), &KEY).unwrap_err();
    assert!(matches!(error, OpenError::Newer { schema: 7, .. }), "{error}");
}

/// The sealed bytes of a row, as they stand in the file.
fn sealed_row(path: &std::path::Path, key: &[u8]) -> Vec<u8> {
    let db = redb::Database::open(path).unwrap();
    let read = redb::ReadableDatabase::begin_read(&db).unwrap();
    let rows = read.open_table(redb::TableDefinition::<&[u8], &[u8]>::new("history")).unwrap();
    rows.get(key).unwrap().unwrap().value().to_vec()
}

/// E28: the database gives freed room to later writes and wipes nothing; the file is written anew.
#[tokio::test]
async fn what_was_deleted_leaves_no_sealed_copy_once_the_store_is_closed_or_opened() {
    let dir = private_dir();
    let path = dir.path().join("person.redb");
    let mut store = SealedStore::open(dir.path(), &KEY).unwrap();
    let texts = [b"a".to_vec(), b"b".to_vec(), b"c".to_vec()];
    let writes = texts.iter().map(|key| put(key, &[7; 2_000])).collect();
    store.apply(Batch { seq: Seq(1), writes }).await.unwrap();
    store.close().await.unwrap();
    let sealed = [b"a", b"b", b"c"].map(|key| sealed_row(&path, key));
    let has = |row: &[u8]| {
        let file = fs::read(&path).unwrap();
        file.windows(row.len()).any(|window| window == row)
    };
    assert!(sealed.iter().all(|row| has(row)));
    let delete = |key: &[u8]| Write::Delete { table: Drawer::History, key: key.to_vec() };

    let mut store = SealedStore::open(dir.path(), &KEY).unwrap();
    store.apply(Batch { seq: Seq(1), writes: vec![delete(b"a")] }).await.unwrap();
    durable(&mut store, 1).await;
    assert!(has(&sealed[0]), "the test would show nothing");
    store.close().await.unwrap();
    assert!(!has(&sealed[0]) && has(&sealed[1]) && has(&sealed[2]));

    // A program that is killed leaves it to the next.
    let mut store = SealedStore::open(dir.path(), &KEY).unwrap();
    let to = b"c".to_vec();
    let writes = vec![Write::DeleteRange { table: Drawer::History, from: b"b".to_vec(), to }];
    store.apply(Batch { seq: Seq(1), writes }).await.unwrap();
    durable(&mut store, 1).await;
    let killed = fs::read(&path).unwrap();
    store.close().await.unwrap();
    fs::write(&path, killed).unwrap();
    // One that was killed while it wrote the file anew has left a part of it.
    fs::write(dir.path().join("person.redb.new"), b"a part").unwrap();
    let store = SealedStore::open(dir.path(), &KEY).unwrap();
    assert!(!has(&sealed[1]) && has(&sealed[2]));
    assert_eq!(store.get(Drawer::History, b"c"), Ok(Some(vec![7; 2_000])));
    let error = SealedStore::open(dir.path(), &KEY).unwrap_err();
    assert!(matches!(error, OpenError::InUse(_)), "the new file is locked: {error}");
    store.close().await.unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

fn any_write() -> impl Strategy<Value = Write<Drawer>> {
    let table = prop_oneof![Just(Drawer::History), Just(Drawer::Seen)];
    let key = prop::collection::vec(0..4_u8, 0..3);
    let value = prop::collection::vec(any::<u8>(), 0..4);
    prop_oneof![
        4 => (table.clone(), key.clone(), value)
            .prop_map(|(table, key, value)| Write::Put { table, key, value }),
        2 => (table.clone(), key.clone()).prop_map(|(table, key)| Write::Delete { table, key }),
        1 => (table, key.clone(), key)
            .prop_map(|(table, from, to)| Write::DeleteRange { table, from, to }),
    ]
}

fn assert_same(store: &SealedStore, model: &MemoryStore<Drawer>) {
    for drawer in [Drawer::History, Drawer::Seen] {
        for limit in [0, 1, 2, 100] {
            for (from, to) in [(&[][..], HIGHEST), (&[1], &[3]), (&[3], &[1])] {
                let ours = store.scan(drawer, from, to, limit);
                assert_eq!(ours, model.scan(drawer, from, to, limit));
                let back = store.scan_back(drawer, from, to, limit);
                assert_eq!(back, model.scan_back(drawer, from, to, limit));
            }
        }
        for (key, value) in model.scan(drawer, &[], HIGHEST, 100).unwrap() {
            assert_eq!(store.get(drawer, &key), Ok(Some(value)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whether its values are on disk already or not, it reads like a map.
    #[test]
    fn it_reads_like_a_map(
        batches in prop::collection::vec(
            (prop::collection::vec(any_write(), 0..5), any::<bool>()), 1..8
        )
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let dir = private_dir();
            let mut model = MemoryStore::new();
            let mut store = SealedStore::open(dir.path(), &KEY).unwrap();
            for (at, (writes, waits)) in batches.into_iter().enumerate() {
                let batch = Batch { seq: Seq(at as u64 + 1), writes };
                model.apply(&batch);
                store.apply(batch).await.unwrap();
                if waits {
                    durable(&mut store, at as u64 + 1).await;
                }
                assert_same(&store, &model);
            }
            store.close().await.unwrap();
            assert_same(&SealedStore::open(dir.path(), &KEY).unwrap(), &model);
        });
    }
}
