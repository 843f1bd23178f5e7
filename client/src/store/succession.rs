//! A person's store for another identity of theirs (PROTOCOL §4.21).
//!
//! Entry function is [`go_on`]. The old store is told that it is the old one, and of whom, before the new one has its
//! name: if there is a new one, the old one knows. Whatever ends it on the way, the same two keys go on with it, and no
//! others. The new store appears whole or not at all, and the old one stays as it is otherwise.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use comm_proto::agent::{Drawer, Handover, HandoverError, hand_over};
use comm_proto::identity::Identity;
use comm_proto::store::{Store, StoreError, Write};
use redb::{Database, WriteTransaction};
use thiserror::Error;

use crate::clock::Clock;

use super::backup::{new_file, refuse_existing, sync_parent};
use super::seal::Seal;
use super::{
    BackupError, FILE_NAME, OpenError, SealedStore, definition, directory, failed, initialise,
};

/// Rows that are read at a time.
const PAGE: usize = 1_024;
/// Above every key of every drawer.
const HIGHEST: &[u8] = &[0xff; 64];

/// Why a person does not go on under another identity.
#[derive(Debug, Error)]
pub enum GoOnError {
    /// The old identity cannot be replaced.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// The old store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The new store cannot be made.
    #[error(transparent)]
    Make(#[from] BackupError),
    /// The old store cannot be read, or not be told.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A replacement was broken off, and the new identity has begun data of its own meanwhile.
    #[error(
        "{} is no data of the old identity; move it away and run the same command again, which finishes what was \
         broken off",
        .0.display()
    )]
    Begun(PathBuf),
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoneOn {
    /// How many contacts will be told when the new identity is online.
    pub to_tell: usize,
    /// Of how many rooms the old identity is the owner, and stays it.
    pub owned_rooms: usize,
}

/// Makes of the store in `from`, which is `old`'s and which no program has open, a store of `new` in `to`, where there is
/// none; or finishes what was begun with the same two and broken off.
///
/// # Errors
/// When `old` has a successor already or no store, there is one in `to`, or a disk fails.
pub fn go_on(
    (from, old): (&Path, &Identity),
    (to, new): (&Path, &Identity),
) -> Result<GoneOn, GoOnError> {
    if !from.join(FILE_NAME).is_file() {
        return Err(BackupError::Nothing(from.to_owned()).into());
    }
    let source = SealedStore::open(from, &old.storage_key())?;
    let handover = hand_over(&source, old, new, Clock::default().now())?;
    let was_there = to.is_dir();
    directory::make(to).map_err(BackupError::from)?;
    if !was_there {
        sync_parent(to)?;
    }
    if !(handover.is_resumed && is_there((to, new), &handover)?) {
        make(&source, (to, new), &handover)?;
    }
    source.write_now(&handover.done)?;
    let Handover { to_tell, owned_rooms, .. } = handover;
    Ok(GoneOn { to_tell, owned_rooms })
}

/// Whether what was broken off had made the new store.
fn is_there((to, new): (&Path, &Identity), handover: &Handover) -> Result<bool, GoOnError> {
    let path = to.join(FILE_NAME);
    match fs::metadata(&path) {
        Err(_) => return Ok(false),
        // Where files have one name only it is taken before the store has it.
        Ok(file) if file.len() == 0 => {
            fs::remove_file(&path).map_err(|error| StoreError::Disk(error.to_string()))?;
            return Ok(false);
        }
        Ok(_) => {}
    }
    let store = SealedStore::open(to, &new.storage_key())?;
    if !handover.has_made(&store)? {
        return Err(GoOnError::Begun(path));
    }
    // Whoever was broken off may not have come so far, and `from` says from now on that everything is here.
    sync_parent(&path)?;
    Ok(true)
}

fn make(
    source: &SealedStore,
    (to, new): (&Path, &Identity),
    handover: &Handover,
) -> Result<(), GoOnError> {
    let (path, key) = (to.join(FILE_NAME), new.storage_key());
    refuse_existing(&path)?;
    // What is there is ours, of a run that was broken off: as long as `source` is open there is no other.
    let _gone = fs::remove_file(path.with_added_extension("part"));
    new_file(&path)?.finish(&path, |file| {
        let copied = copy(source, file, &Seal::new(&key), &handover.writes);
        // From here on the old key has this successor, whatever ends this.
        let told = copied.and_then(|()| source.write_now(&handover.farewell));
        told.map_err(|error| BackupError::Store(error.to_string()))
    })?;
    Ok(())
}

/// Everything that `source` has, and `writes` after that.
fn copy(
    source: &SealedStore,
    file: File,
    seal: &Seal,
    writes: &[Write<Drawer>],
) -> Result<(), StoreError> {
    let db = Database::builder().create_file(file).map_err(|error| failed(&error.into()))?;
    initialise(&db, seal).map_err(|error| failed(&error))?;
    let all = db.begin_write().map_err(|error| failed(&error.into()))?;
    for drawer in Drawer::ALL {
        let mut from = Vec::new();
        loop {
            let page = source.scan(drawer, &from, HIGHEST, PAGE)?;
            let Some((last, _)) = page.last() else { break };
            // The least key above the last.
            from = [&last[..], &[0]].concat();
            for (key, value) in page {
                write(&all, seal, &Write::Put { table: drawer, key, value })?;
            }
        }
    }
    writes.iter().try_for_each(|one| write(&all, seal, one))?;
    all.commit().map_err(|error| failed(&error.into()))
}

fn write(all: &WriteTransaction, seal: &Seal, write: &Write<Drawer>) -> Result<(), StoreError> {
    let open = |drawer| all.open_table(definition(drawer)).map_err(|error| failed(&error.into()));
    match write {
        Write::Put { table, key, value } => {
            let sealed = seal.seal(table.name(), key, value);
            let put = open(*table)?.insert(&key[..], &sealed[..]).map(drop);
            put.map_err(|error| failed(&error.into()))
        }
        Write::Delete { table, key } => {
            open(*table)?.remove(&key[..]).map(drop).map_err(|error| failed(&error.into()))
        }
        Write::DeleteRange { table, from, to } => {
            let removed = open(*table)?.retain_in(&from[..]..&to[..], |_, _| false);
            removed.map_err(|error| failed(&error.into()))
        }
    }
}

impl SealedStore {
    /// Writes before anything else is written, and waits for the disk.
    fn write_now(&self, one: &Write<Drawer>) -> Result<(), StoreError> {
        let all = self.db.begin_write().map_err(|error| failed(&error.into()))?;
        write(&all, &self.seal, one)?;
        all.commit().map_err(|error| failed(&error.into()))
    }
}
