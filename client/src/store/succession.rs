//! A person's store for another identity of theirs (PROTOCOL §4.21).
//!
//! Entry function is [`go_on`]. The new store appears whole or not at all; then the old one is told that it is the old
//! one, and stays as it is otherwise.

use std::fs::File;
use std::path::Path;

use comm_proto::agent::{Drawer, HandoverError, hand_over};
use comm_proto::identity::Identity;
use comm_proto::store::{Store, StoreError, Write};
use redb::{Database, WriteTransaction};
use thiserror::Error;

use crate::clock::Clock;

use super::backup::{new_file, refuse_existing};
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
}

/// Makes of the store in `from`, which is `old`'s and which no program has open, a store of `new` in `to`, where there is
/// none. Returns how many contacts will be told when `new` is online.
///
/// # Errors
/// When `old` has a successor already or no store, there is one in `to`, or a disk fails.
pub fn go_on(
    (from, old): (&Path, &Identity),
    (to, new): (&Path, &Identity),
) -> Result<usize, GoOnError> {
    if !from.join(FILE_NAME).is_file() {
        return Err(BackupError::Nothing(from.to_owned()).into());
    }
    let source = SealedStore::open(from, &old.storage_key())?;
    let handover = hand_over(&source, old, new, Clock::default().now())?;
    directory::make(to).map_err(BackupError::from)?;
    let path = to.join(FILE_NAME);
    refuse_existing(&path)?;
    let key = new.storage_key();
    new_file(&path)?.finish(&path, |file| {
        let copied = copy(&source, file, &Seal::new(&key), &handover.writes);
        copied.map_err(|error| BackupError::Store(error.to_string()))
    })?;
    source.write_now(&[handover.farewell])?;
    Ok(handover.to_tell)
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
    fn write_now(&self, writes: &[Write<Drawer>]) -> Result<(), StoreError> {
        let all = self.db.begin_write().map_err(|error| failed(&error.into()))?;
        writes.iter().try_for_each(|one| write(&all, &self.seal, one))?;
        all.commit().map_err(|error| failed(&error.into()))
    }
}
