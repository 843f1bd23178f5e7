//! A data directory from a copy: what `comm-node restore` does.
//!
//! Entry function is [`restore`]. A copy that is damaged is not restored, and nothing is put in the place of
//! anything. What was written is looked through once more before it gets its name: a medium may give other
//! bytes the second time.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::data_dir;
use crate::verify::{Verdict, VerifyError, verify};

use super::{BackupError, Stopped, failure, move_to, settle_files};

/// A file of RocksDB that says nothing.
const LOCK: &str = "LOCK";

/// Why there is no data directory. Whatever had been written of it is gone again. Each is one line.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The copy cannot be looked through.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The copy is damaged.
    #[error(
        "{} is damaged in {} places and was not restored; `comm-node verify` lists them. A relay may begin \
         anew: the network has other copies of the mail",
        .0.path.display(),
        .0.findings_count()
    )]
    Damaged(Box<Verdict>),
    /// What was written is not what was read before.
    #[error(
        "{} was sound, but what was written of it is not: one of the two disks is failing; nothing was restored",
        .0.display()
    )]
    Miscopied(PathBuf),
    /// What was written cannot be looked through.
    #[error("what was written of {} cannot be looked through, and was not kept: {source}", backup.display())]
    Unseen {
        /// The copy.
        backup: PathBuf,
        /// Why not.
        source: VerifyError,
    },
    /// The place is taken, the disk is full, or the system refuses.
    #[error(transparent)]
    Copy(#[from] BackupError),
}

/// Makes the data directory `to`, which must not exist and whose parent must, from the copy `backup`, as its
/// owner's alone. `shown` is called while the copy is looked through, as in [`verify`].
///
/// # Errors
/// When the place is taken, the copy is none or damaged, the disk is full, or the system refuses.
pub fn restore(
    backup: &Path,
    to: &Path,
    shown: impl FnMut(u64, u64),
) -> Result<Verdict, RestoreError> {
    if fs::symlink_metadata(to).is_ok() {
        return Err(BackupError::Exists(to.to_owned()).into());
    }
    let verdict = verify(backup, shown)?;
    if !verdict.is_sound() {
        return Err(RestoreError::Damaged(Box::new(verdict)));
    }
    let unfinished: PathBuf = to.with_added_extension("unfinished");
    match DirBuilder::new().mode(0o700).create(&unfinished) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(BackupError::Unfinished(unfinished).into());
        }
        Err(error) => return Err(failure(to, &error.into()).into()),
    }
    let restored = fill(backup, &unfinished)
        .map_err(|stopped| RestoreError::from(failure(to, &stopped)))
        .and_then(|()| look_at(&unfinished, backup, &verdict))
        .and_then(|()| move_to(&unfinished, to).map_err(|error| failure(to, &error.into()).into()));
    if restored.is_err() {
        // What cannot be removed is told of by the next attempt.
        let _left = fs::remove_dir_all(&unfinished);
    }
    restored.map(|()| verdict)
}

/// Whether what was `written` is what was looked through before.
fn look_at(written: &Path, backup: &Path, verdict: &Verdict) -> Result<(), RestoreError> {
    let found = verify(written, |_, _| {})
        .map_err(|source| RestoreError::Unseen { backup: backup.to_owned(), source })?;
    let same = found.is_sound() && found.rows == verdict.rows;
    if same { Ok(()) } else { Err(RestoreError::Miscopied(backup.to_owned())) }
}

fn fill(backup: &Path, to: &Path) -> Result<(), Stopped> {
    let (from, store) = (data_dir::store_path(backup), data_dir::store_path(to));
    DirBuilder::new().mode(0o700).create(&store)?;
    for file in fs::read_dir(&from)? {
        let file = file?;
        if file.file_name() == LOCK {
            continue;
        }
        if !file.file_type()?.is_file() {
            let path = file.path();
            return Err(io::Error::other(format!(
                "{} is no file; a copy has only files",
                path.display()
            ))
            .into());
        }
        let place = store.join(file.file_name());
        fs::copy(file.path(), &place)?;
        fs::set_permissions(&place, Permissions::from_mode(0o600))?;
    }
    data_dir::copy_key(backup, to)?;
    data_dir::copy_besides(backup, to)?;
    settle_files(&store)?;
    Ok(File::open(to)?.sync_all()?)
}
