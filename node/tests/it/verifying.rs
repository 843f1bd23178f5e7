//! `comm-node verify` and `comm-node restore`: what is sound, what is damaged, and what is no place for them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use comm_node::store::{RocksStore, SCHEMA};
use comm_proto::node::Family;
use comm_proto::store::{Batch, Entry, Seq, Store, Write};
use sha2::{Digest, Sha256};

use crate::crash::leave_data;
use crate::node_process::{NodeProcess, data_dir, said};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn verified(dir: &Path) -> (Option<i32>, String, String) {
    said(&["verify", text(dir)])
}

/// All files below, by what is in them.
fn files(dir: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for file in fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false if path.ends_with("api.sock") => {}
            false => {
                drop(found.insert(path.clone(), Sha256::digest(fs::read(&path).unwrap()).to_vec()))
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_of_a_node_that_was_killed_at_work_is_sound_and_verifying_changes_nothing_of_it() {
    let dir = data_dir();
    leave_data(dir.path()).await;
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    files(dir.path(), &mut before);
    let (code, said, complaint) = verified(dir.path());
    assert_eq!((code, complaint.as_str()), (Some(0), ""), "{said}");
    assert!(said.contains("All of it is as it was written"), "{said}");
    files(dir.path(), &mut after);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    assert!(before == after, "a file has changed");
}

/// The first row of a table.
fn first(store: &RocksStore, table: Family) -> Entry {
    store.scan(table, &[], &[0xff; 64], 1).unwrap().remove(0)
}

/// The rows of a table.
fn rows(store: &RocksStore, table: Family) -> Vec<Entry> {
    store.scan(table, &[], &[0xff; 64], usize::MAX).unwrap()
}

fn change(store: &RocksStore, write: Write<Family>) {
    store.apply(Batch { seq: Seq(1), writes: vec![write] }).unwrap();
    store.sync().unwrap();
}

fn without(store: &RocksStore, table: Family) {
    let (key, _) = first(store, table);
    change(store, Write::Delete { table, key });
}

/// One bit of the last byte of the first row is another.
fn flipped(store: &RocksStore, table: Family) {
    let (key, mut value) = first(store, table);
    *value.last_mut().unwrap() ^= 1;
    change(store, Write::Put { table, key, value });
}

type Damage = fn(&RocksStore);

/// What is done to a store, and what is said of it.
const DAMAGES: [(&str, Damage); 12] = [
    ("does not hash to its id", |store| flipped(store, Family::Envelopes)),
    ("is of an envelope that is not there", |store| without(store, Family::Envelopes)),
    ("has no record of custody", |store| without(store, Family::Custody)),
    ("no reader would find in its mailbox", |store| without(store, Family::Mailboxes)),
    ("would never be repeated", |store| without(store, Family::Schedule)),
    ("charges more or fewer envelopes", |store| without(store, Family::Shares)),
    ("has ended an envelope that nothing remembers", |store| without(store, Family::Tombstones)),
    ("leads to no acknowledgement", |store| without(store, Family::Acknowledgements)),
    ("is not signed by the key of its mailbox", |store| {
        let read = |(_, value): &&Entry| value[8..16] != [0; 8];
        let endings = rows(store, Family::Acknowledgements);
        let (key, mut value) = endings.iter().find(read).unwrap().clone();
        // The first byte of the signature, behind two numbers and the key.
        value[16 + 32] ^= 1;
        change(store, Write::Put { table: Family::Acknowledgements, key, value });
    }),
    ("totals that differ from its rows", |store| {
        let totals = store.get(Family::Meta, b"totals").unwrap().unwrap();
        let mut other = totals.clone();
        other[7] ^= 1;
        change(store, Write::Put { table: Family::Meta, key: b"totals".to_vec(), value: other });
    }),
    ("would number new envelopes as it has old ones", |store| {
        let value = 1_u64.to_be_bytes().to_vec();
        change(store, Write::Put { table: Family::Meta, key: b"arrivals".to_vec(), value });
    }),
    ("table contacts, row 0707: cannot be read", |store| {
        let write = Write::Put { table: Family::Contacts, key: vec![7; 2], value: vec![1] };
        change(store, write);
    }),
];

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let (path, name) = file.map(|file| (file.path(), file.file_name())).unwrap();
        match path.is_dir() {
            true => copy(&path, &to.join(name)),
            false if path.ends_with("api.sock") => {}
            false => drop(fs::copy(&path, to.join(name)).unwrap()),
        }
    }
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_damaged_is_said_in_words_and_is_not_restored() {
    let (dir, copies) = (data_dir(), data_dir());
    leave_data(dir.path()).await;
    for (number, (words, damage)) in DAMAGES.into_iter().enumerate() {
        let damaged = copies.path().join(number.to_string());
        copy(dir.path(), &damaged);
        damage(&RocksStore::open(&damaged.join("store")).unwrap());
        let (code, said_of, complaint) = verified(&damaged);
        assert_eq!(code, Some(1), "{words}: {said_of}{complaint}");
        assert!(said_of.contains(words) && said_of.contains("DAMAGED"), "{words}: {said_of}");
        let to = copies.path().join(format!("{number}-restored"));
        let (code, _, complaint) = said(&["restore", text(&damaged), text(&to)]);
        assert_eq!((code, complaint.lines().count()), (Some(1), 1), "{complaint}");
        assert!(complaint.contains("is damaged in") && !to.exists(), "{complaint}");
        fs::remove_dir_all(&damaged).unwrap();
    }
}

/// A byte of a table file: RocksDB's own checksums find it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_with_another_byte_in_it_is_damaged() {
    let (dir, copies) = (data_dir(), data_dir());
    leave_data(dir.path()).await;
    let to = copies.path().join("copy");
    let (code, _, complaint) = said(&["backup", "--data-dir", text(dir.path()), text(&to)]);
    assert_eq!(code, Some(0), "{complaint}");
    let is_table = |path: &PathBuf| path.extension().is_some_and(|it| it == "sst");
    let tables = fs::read_dir(to.join("store")).unwrap().map(|file| file.unwrap().path());
    let largest = tables.filter(is_table).max_by_key(|path| fs::metadata(path).unwrap().len());
    let largest = largest.expect("the copy has a table");
    let mut bytes = fs::read(&largest).unwrap();
    bytes[100] ^= 1;
    // The tables of a copy are links to those of the node.
    fs::remove_file(&largest).unwrap();
    fs::write(&largest, bytes).unwrap();
    let (code, said_of, complaint) = verified(&to);
    assert_eq!((code, complaint.lines().count()), (Some(1), 1), "{said_of}{complaint}");
    assert_eq!(verified(dir.path()).0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_node_runs_or_nothing_is_there_is_nothing_to_verify() {
    let dir = data_dir();
    let (code, _, complaint) = verified(dir.path());
    assert_eq!((code, complaint.lines().count()), (Some(2), 1), "{complaint}");
    assert!(complaint.contains("there is no node's data"), "{complaint}");
    let node = NodeProcess::spawn(dir.path(), &[]);
    node.connect().await;
    let (code, _, complaint) = said(&["verify", "--data-dir", text(dir.path())]);
    assert_eq!((code, complaint.lines().count()), (Some(2), 1), "{complaint}");
    assert!(complaint.contains("a relay runs on"), "{complaint}");
    node.signal("-TERM");
    assert_eq!(node.ended().0, Some(0));
    let (code, said_of, complaint) = said(&["verify", "--data-dir", text(dir.path())]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""), "{said_of}");
    assert!(said_of.contains("0 envelopes"), "{said_of}");
}

#[test]
fn a_store_of_another_layout_is_not_called_damaged() {
    let dir = data_dir();
    fs::write(dir.path().join("node.key"), "ab".repeat(32)).unwrap();
    fs::set_permissions(dir.path().join("node.key"), fs::Permissions::from_mode(0o600)).unwrap();
    for (layout, words) in
        [(SCHEMA + 1, "use the newer comm-node"), (SCHEMA - 2, "an older layout")]
    {
        let store = dir.path().join("store");
        let _none = fs::remove_dir_all(&store);
        let open = RocksStore::open(&store).unwrap();
        let value = layout.to_be_bytes().to_vec();
        change(&open, Write::Put { table: Family::Meta, key: b"schema".to_vec(), value });
        drop(open);
        let (code, _, complaint) = verified(dir.path());
        assert_eq!((code, complaint.lines().count()), (Some(1), 1), "{complaint}");
        assert!(complaint.contains(words), "{complaint}");
    }
    // The last step changed no row: copies of the layout before can still be looked at and restored.
    let store = dir.path().join("store");
    fs::remove_dir_all(&store).unwrap();
    let open = RocksStore::open(&store).unwrap();
    let value = (SCHEMA - 1).to_be_bytes().to_vec();
    change(&open, Write::Put { table: Family::Meta, key: b"schema".to_vec(), value });
    drop(open);
    let (code, _, complaint) = verified(dir.path());
    assert_eq!((code, complaint.as_str()), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_restored_is_its_owners_alone_and_takes_nobodys_place() {
    let (dir, copies) = (data_dir(), data_dir());
    leave_data(dir.path()).await;
    let (copy, to) = (copies.path().join("copy"), copies.path().join("to"));
    let (code, _, complaint) = said(&["backup", "--data-dir", text(dir.path()), text(&copy)]);
    assert_eq!(code, Some(0), "{complaint}");
    // As from a medium that knows no permissions but the key's.
    for file in fs::read_dir(copy.join("store")).unwrap() {
        fs::set_permissions(file.unwrap().path(), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let (code, said_of, complaint) = said(&["restore", text(&copy), text(&to)]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""));
    assert!(said_of.contains("Do not start it while the relay that was copied runs"), "{said_of}");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&to), mode(&to.join("store"))), (0o700, 0o700));
    assert_eq!(mode(&to.join("node.key")), 0o600);
    for file in fs::read_dir(to.join("store")).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
    let key = |dir: &Path| fs::read(dir.join("node.key")).unwrap();
    assert_eq!(key(&to), key(dir.path()));
    let (code, _, complaint) = said(&["restore", text(&copy), text(&to)]);
    assert_eq!((code, complaint.lines().count()), (Some(1), 1), "{complaint}");
    assert!(complaint.contains("is there already"), "{complaint}");
    let (code, _, complaint) =
        said(&["restore", text(&dir.path().join("none")), text(&copy.join("x"))]);
    assert_eq!((code, complaint.lines().count()), (Some(2), 1), "{complaint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_relay_could_begin_with_is_neither_sound_nor_restored() {
    let (dir, copies) = (data_dir(), data_dir());
    leave_data(dir.path()).await;
    let to = copies.path().join("to");
    let refused = |damaged: &Path, words: &str| {
        let (code, _, complaint) = said(&["restore", text(damaged), text(&to)]);
        assert_eq!((code, complaint.lines().count()), (Some(1), 1), "{complaint}");
        assert!(complaint.contains(words) && !to.exists(), "{complaint}");
    };
    for (name, content, words) in [
        ("blocks", "nobody\n".to_owned(), "this line blocks nobody"),
        ("blocks", "a".repeat(9 << 20), "blocks is too long"),
        ("traffic.account", "nothing".to_owned(), "traffic.account is damaged"),
    ] {
        let damaged = copies.path().join("damaged");
        copy(dir.path(), &damaged);
        fs::write(damaged.join(name), content).unwrap();
        let (code, _, complaint) = verified(&damaged);
        assert_eq!((code, complaint.lines().count()), (Some(1), 1), "{complaint}");
        assert!(complaint.contains(words), "{complaint}");
        refused(&damaged, words);
        fs::remove_dir_all(&damaged).unwrap();
    }
    // A link in the place of a file of the store.
    let linked = copies.path().join("linked");
    copy(dir.path(), &linked);
    let manifest = fs::read_dir(linked.join("store")).unwrap().map(|file| file.unwrap().path());
    let manifest = manifest.into_iter().find(|path| text(path).contains("MANIFEST")).unwrap();
    let elsewhere = copies.path().join("elsewhere");
    fs::rename(&manifest, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &manifest).unwrap();
    refused(&linked, "is no file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_account_of_traffic_goes_with_the_data() {
    let (dir, copies) = (data_dir(), data_dir());
    leave_data(dir.path()).await;
    let account = "period_from = 1\nperiod_to = 2\nused = 3\nawake_since = 1\n";
    fs::write(dir.path().join("traffic.account"), account).unwrap();
    let (copy, to) = (copies.path().join("copy"), copies.path().join("to"));
    let (code, _, complaint) = said(&["backup", "--data-dir", text(dir.path()), text(&copy)]);
    assert_eq!(code, Some(0), "{complaint}");
    let (code, _, complaint) = said(&["restore", text(&copy), text(&to)]);
    assert_eq!(code, Some(0), "{complaint}");
    assert_eq!(fs::read_to_string(to.join("traffic.account")).unwrap(), account);
}
