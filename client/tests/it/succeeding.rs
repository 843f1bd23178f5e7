//! A store that becomes another identity's, and what ends that on the way.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use comm::store::{GoOnError, OpenError, SealedStore, go_on};
use comm_proto::agent::{Drawer, HandoverError};
use comm_proto::identity::Identity;
use comm_proto::store::{Batch, Seq, Store, Write};
use tempfile::TempDir;

/// Where Bob's data is, and where that of who he goes on as is to be.
struct Places(TempDir);

impl Places {
    async fn new() -> Self {
        let places = Self(tempfile::tempdir().unwrap());
        change(&places.from(), &bob(), put(Drawer::History, b"said", b"hello")).await;
        places
    }

    fn from(&self) -> PathBuf {
        self.0.path().join("bob")
    }

    fn to(&self) -> PathBuf {
        self.0.path().join("rob")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.to().join(name)
    }

    fn go_on_as(&self, new: &Identity) -> Result<(), GoOnError> {
        when_free(|| go_on((&self.from(), &bob()), (&self.to(), new)).map(drop))
    }

    /// The whole store has another name, and what says that it has its own is not written.
    async fn forget_that_it_is_done(&self) {
        let done = Write::Delete { table: Drawer::Meta, key: b"replaced".to_vec() };
        change(&self.from(), &bob(), done).await;
    }
}

fn bob() -> Identity {
    Identity::from_seed(&[2; 32])
}

fn rob() -> Identity {
    Identity::from_seed(&[20; 32])
}

fn put(table: Drawer, key: &[u8], value: &[u8]) -> Write<Drawer> {
    Write::Put { table, key: key.to_vec(), value: value.to_vec() }
}

async fn change(dir: &Path, owner: &Identity, write: Write<Drawer>) {
    let mut store = open(dir, owner);
    store.apply(Batch { seq: Seq(1), writes: vec![write] }).await.unwrap();
    store.close().await.unwrap();
}

fn read(dir: &Path, owner: &Identity, table: Drawer, key: &[u8]) -> Option<Vec<u8>> {
    open(dir, owner).get(table, key).unwrap()
}

fn open(dir: &Path, owner: &Identity) -> SealedStore {
    when_free(|| Ok(SealedStore::open(dir, &owner.storage_key())?)).unwrap()
}

/// A store that was let go of is free once the thread that writes it has ended.
fn when_free<T>(open: impl Fn() -> Result<T, GoOnError>) -> Result<T, GoOnError> {
    loop {
        match open() {
            Err(GoOnError::Open(OpenError::InUse(_))) => thread::yield_now(),
            done => return done,
        }
    }
}

fn is_replaced(result: Result<(), GoOnError>, by: &Identity) -> bool {
    let replaced = HandoverError::Replaced(by.address());
    matches!(result, Err(GoOnError::Handover(error)) if error == replaced)
}

/// The new store has what the old one had, and knows of no successor of its own.
fn assert_whole(places: &Places) {
    let of_rob = |table, key: &[u8]| read(&places.to(), &rob(), table, key);
    assert_eq!(of_rob(Drawer::History, b"said"), Some(b"hello".to_vec()));
    assert!(of_rob(Drawer::Meta, b"lineage").is_some());
    for key in [&b"replaced"[..], b"replacing"] {
        assert_eq!(of_rob(Drawer::Meta, key), None);
    }
}

#[tokio::test]
async fn a_replacement_that_ended_while_it_copied_begins_anew() {
    let places = Places::new().await;
    fs::create_dir(places.to()).unwrap();
    fs::set_permissions(places.to(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    fs::write(places.file("person.redb.part"), b"half of it").unwrap();
    places.go_on_as(&rob()).unwrap();
    assert_whole(&places);
    assert!(!places.file("person.redb.part").exists());
    assert!(is_replaced(places.go_on_as(&rob()), &rob()), "once");
}

/// The old store knows first, so that nothing comes between.
#[tokio::test]
async fn a_replacement_that_ended_before_the_new_store_had_its_name_goes_on_to_the_same_key_alone()
{
    let places = Places::new().await;
    places.go_on_as(&rob()).unwrap();
    let lineage = read(&places.to(), &rob(), Drawer::Meta, b"lineage");
    fs::rename(places.file("person.redb"), places.file("person.redb.part")).unwrap();
    places.forget_that_it_is_done().await;
    // What has come since is not lost.
    change(&places.from(), &bob(), put(Drawer::History, b"later", b"meanwhile")).await;
    assert!(is_replaced(places.go_on_as(&Identity::from_seed(&[21; 32])), &rob()));
    places.go_on_as(&rob()).unwrap();
    assert_whole(&places);
    assert_eq!(read(&places.to(), &rob(), Drawer::Meta, b"lineage"), lineage);
    let later = read(&places.to(), &rob(), Drawer::History, b"later");
    assert_eq!(later, Some(b"meanwhile".to_vec()));
}

#[tokio::test]
async fn a_replacement_that_ended_when_the_new_store_had_its_name_is_finished_and_changes_nothing()
{
    let places = Places::new().await;
    places.go_on_as(&rob()).unwrap();
    places.forget_that_it_is_done().await;
    change(&places.to(), &rob(), put(Drawer::History, b"new", b"of Rob")).await;
    places.go_on_as(&rob()).unwrap();
    assert_whole(&places);
    let new = read(&places.to(), &rob(), Drawer::History, b"new");
    assert_eq!(new, Some(b"of Rob".to_vec()));
    assert!(is_replaced(places.go_on_as(&rob()), &rob()), "no second store is made");
}

/// Whoever starts the new identity too early has an empty store, which is not taken for the one that was to be made.
#[tokio::test]
async fn data_that_the_new_identity_has_made_meanwhile_is_left_and_named() {
    let places = Places::new().await;
    places.go_on_as(&rob()).unwrap();
    fs::remove_file(places.file("person.redb")).unwrap();
    places.forget_that_it_is_done().await;
    change(&places.to(), &rob(), put(Drawer::History, b"new", b"of Rob")).await;
    let refused = places.go_on_as(&rob()).unwrap_err().to_string();
    assert!(refused.contains("move it away"), "{refused}");
    fs::rename(places.file("person.redb"), places.file("aside")).unwrap();
    // As `name` leaves it where files have one name only.
    fs::write(places.file("person.redb"), b"").unwrap();
    places.go_on_as(&rob()).unwrap();
    assert_whole(&places);
}
