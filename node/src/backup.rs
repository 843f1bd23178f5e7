//! A copy of a node's data while the node runs: its store at one moment, its key, whom commands have
//! blocked, and what it has carried in this period.
//!
//! Entry types are [`Source`], which makes copies, and [`ask`], which has the running node make one;
//! [`restore`] makes a data directory of one.
//! A copy is a data directory: a node starts from it. It stands under its name only when it is whole
//! and on the disk, and never takes the place of anything. The API token is not in it, so a node
//! that starts from it draws a new one. Tables are linked where the file system allows, so a copy on
//! the same disk costs little and must be taken elsewhere to be of use.

mod request;
mod restore;

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use comm_proto::store::StoreError;
use thiserror::Error;

use crate::data_dir::{self, DataDirError};
use crate::store::RocksStore;

pub use request::{CopyError, ask};
pub use restore::{RestoreError, restore};

/// What is copied. Clones share it: one copy is made at a time.
#[derive(Clone, Debug)]
pub struct Source {
    data_dir: PathBuf,
    /// Nothing once the node has ended. Locked while a copy is made.
    store: Arc<Mutex<Option<Arc<RocksStore>>>>,
}

/// Why there is no copy. Whatever had been written of it is gone again.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The place is taken.
    #[error("{} is there already, and a copy never takes the place of anything", .0.display())]
    Exists(PathBuf),
    /// Another copy to the same place is being made, or was broken off.
    #[error(
        "{} is there: a copy to the same place is being made, or was broken off; in that case \
         remove it",
        .0.display()
    )]
    Unfinished(PathBuf),
    /// The node is ending.
    #[error("the node is ending; once it has ended, call this again to copy what it left")]
    Ending,
    /// The disk is full.
    #[error("the disk that {} is on is full; nothing is left of the copy", .0.display())]
    Full(PathBuf),
    /// The system refused.
    #[error("cannot copy to {}: {reason}", path.display())]
    System {
        /// The copy.
        path: PathBuf,
        /// What the system or RocksDB said.
        reason: String,
    },
}

/// What stops the making of a copy.
#[derive(Debug, Error)]
enum Stopped {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Key(#[from] DataDirError),
}

impl Source {
    /// The data in the directory `data_dir`, with the store that is open there.
    pub fn new(data_dir: &Path, store: Arc<RocksStore>) -> Self {
        Self { data_dir: data_dir.to_owned(), store: Arc::new(Mutex::new(Some(store))) }
    }

    /// Waits for a copy that is being made and lets go of the store; no other is made after it.
    pub fn close(&self) {
        self.lock().take();
    }

    /// Copies to `to`, which must not exist; its parent must. Takes seconds, and others may write
    /// meanwhile. When it returns, the disk has the copy, and in it everything that was written
    /// before the call.
    ///
    /// # Errors
    /// When the place is taken, the node is ending, the disk is full, or the system refuses.
    pub fn copy(&self, to: &Path) -> Result<(), BackupError> {
        let held = self.lock();
        let store = held.as_ref().ok_or(BackupError::Ending)?;
        let unfinished = to.with_added_extension("unfinished");
        if fs::symlink_metadata(to).is_ok() {
            return Err(BackupError::Exists(to.to_owned()));
        }
        match DirBuilder::new().mode(0o700).create(&unfinished) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(BackupError::Unfinished(unfinished));
            }
            Err(error) => return Err(failure(to, &error.into())),
        }
        self.fill(store, &unfinished).and_then(|()| Ok(move_to(&unfinished, to)?)).map_err(
            |stopped| {
                // What cannot be removed is told of by the next attempt.
                let _left = fs::remove_dir_all(&unfinished);
                failure(to, &stopped)
            },
        )
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<RocksStore>>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fill(&self, open: &RocksStore, copy: &Path) -> Result<(), Stopped> {
        let store = data_dir::store_path(copy);
        open.copy_to(&store)?;
        data_dir::copy_key(&self.data_dir, copy)?;
        data_dir::copy_besides(&self.data_dir, copy)?;
        settle_files(&store)?;
        Ok(File::open(copy)?.sync_all()?)
    }
}

/// Nobody but their owner may open the files of this store, and the disk has them.
fn settle_files(store: &Path) -> io::Result<()> {
    for file in fs::read_dir(store)? {
        let path = file?.path();
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        File::open(&path)?.sync_all()?;
    }
    fs::set_permissions(store, Permissions::from_mode(0o700))?;
    File::open(store)?.sync_all()
}

/// Only an empty directory could be lost by that, which somebody made in this very moment.
fn move_to(unfinished: &Path, to: &Path) -> io::Result<()> {
    fs::rename(unfinished, to)?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// RocksDB has no kind of its own for a full disk, only the system's words.
fn failure(to: &Path, stopped: &Stopped) -> BackupError {
    let is_full = match stopped {
        Stopped::Io(error) | Stopped::Key(DataDirError::System { source: error, .. }) => {
            error.kind() == io::ErrorKind::StorageFull
        }
        Stopped::Store(error) => error.to_string().contains("No space left on device"),
        Stopped::Key(_) => false,
    };
    let path = to.to_owned();
    if is_full {
        return BackupError::Full(path);
    }
    BackupError::System { path, reason: stopped.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_in_words() {
        let words = "IO error: No space left on device: While appending to file: /x/000012.sst";
        for full in [
            Stopped::Store(StoreError::Disk(words.to_owned())),
            Stopped::Io(io::ErrorKind::StorageFull.into()),
        ] {
            let text = failure(Path::new("/b"), &full).to_string();
            assert_eq!(text, "the disk that /b is on is full; nothing is left of the copy");
        }
    }
}
