//! The directory of a person's data: for nobody but its user.
//!
//! Entry points are [`open_file`] and [`make`]. It repairs no permissions by itself, since whoever could read the
//! files may have done so; the person should know.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a directory cannot be used.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// Somebody else can get at it.
    #[error(
        "other users can open {} (mode {mode:04o}); run `chmod {wanted:o} {}` if that was a mistake",
        path.display(), path.display()
    )]
    Exposed {
        /// What they can open.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// The permissions it should have.
        wanted: u32,
    },
    /// The system refused.
    #[error("cannot open {}: {source}", path.display())]
    System {
        /// What was to be opened.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Opens the file `name` in `dir` for reading and writing; makes both first if there are none.
pub(super) fn open_file(dir: &Path, name: &str) -> Result<File, DirectoryError> {
    make(dir)?;
    let path = dir.join(name);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(system(&path))?;
    refuse_exposed(&path, 0o600)?;
    Ok(file)
}

/// Makes the directory if there is none; refuses one that others can open.
pub(super) fn make(dir: &Path) -> Result<(), DirectoryError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(dir).map_err(system(dir))?;
    refuse_exposed(dir, 0o700)
}

fn refuse_exposed(path: &Path, wanted: u32) -> Result<(), DirectoryError> {
    let mode = fs::metadata(path).map_err(system(path))?.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(DirectoryError::Exposed { path: path.to_owned(), mode, wanted })
}

fn system(path: &Path) -> impl FnOnce(io::Error) -> DirectoryError {
    let path = path.to_owned();
    move |source| DirectoryError::System { path, source }
}
