//! Copies of a person's store, sealed as it is.
//!
//! Entry points are [`Snapshot::save`] for a store that is open, [`back_up`] for one that is not,
//! [`restore`] for the way back, and [`Hold`] for whoever wants it closed. No key is needed and no
//! value is opened. A copy appears whole under its name or not at all, and replaces nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use comm_proto::agent::Drawer;
use redb::{Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, TableError};
use thiserror::Error;

use super::{
    ABOUT, DirectoryError, FILE_NAME, OpenError, definition, directory, known_layout, scrub,
};

/// Everything that was on disk at one moment, while the store goes on.
pub struct Snapshot(ReadTransaction);

/// A store that nobody else can open as long as this lives.
#[derive(Debug)]
pub struct Hold {
    _db: Option<Database>,
}

/// Why there is no copy.
#[derive(Debug, Error)]
pub enum BackupError {
    /// There is something under the name, or under that of the unfinished copy.
    #[error("{} is there already, and is left as it is", .0.display())]
    Exists(PathBuf),
    /// There is no store in the directory.
    #[error("there is no data of comm in {}", .0.display())]
    Nothing(PathBuf),
    /// The file is something else, or damaged.
    #[error("{} is no backup that this comm can read: {reason}", path.display())]
    NoBackup {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store failed.
    #[error("the backup cannot be written: {0}")]
    Store(String),
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Snapshot {
    pub(super) fn new(read: ReadTransaction) -> Self {
        Self(read)
    }

    /// Writes it to the new file `path`, for nobody but its owner. Returns the file's length in
    /// bytes. Blocks until the disk has it.
    ///
    /// # Errors
    /// When there is such a file, or the disk fails.
    pub fn save(&self, path: &Path) -> Result<u64, BackupError> {
        refuse_existing(path)?;
        let part = new_file(path)?;
        part.finish(path, |file| self.copy_into(file))
    }

    fn copy_into(&self, file: File) -> Result<(), BackupError> {
        self.copy(file).map_err(|error| BackupError::Store(error.to_string()))
    }

    fn copy(&self, file: File) -> Result<(), redb::Error> {
        copy_rows(&self.0, &Database::builder().create_file(file)?)
    }
}

/// Copies everything that is there into a store that is new. What was deleted is not there.
pub(super) fn copy_rows(read: &ReadTransaction, copy: &Database) -> Result<(), redb::Error> {
    let write = copy.begin_write()?;
    {
        let mut about = write.open_table(ABOUT)?;
        for row in read.open_table(ABOUT)?.iter()? {
            let (name, value) = row?;
            if name.value() != scrub::DUE {
                about.insert(name.value(), value.value())?;
            }
        }
        for drawer in Drawer::ALL {
            let mut rows = write.open_table(definition(drawer))?;
            let known = match read.open_table(definition(drawer)) {
                // An older program, whose store had no such table.
                Err(TableError::TableDoesNotExist(_)) => continue,
                known => known?,
            };
            for row in known.iter()? {
                let (key, sealed) = row?;
                rows.insert(key.value(), sealed.value())?;
            }
        }
    }
    write.commit()?;
    Ok(())
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Snapshot")
    }
}

impl Hold {
    /// Holds the store in `dir`, if there is one. A damaged one is held as far as it can be.
    ///
    /// # Errors
    /// When another program has it open.
    pub fn take(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join(FILE_NAME);
        if !path.is_file() {
            return Ok(Self { _db: None });
        }
        match Database::open(path) {
            Err(DatabaseError::DatabaseAlreadyOpen) => Err(OpenError::InUse(dir.to_owned())),
            opened => Ok(Self { _db: opened.ok() }),
        }
    }
}

/// Copies the store in the directory `dir`, which no program has open, to the new file `path`.
/// Returns the file's length in bytes.
///
/// # Errors
/// When there is no store, another program has it open, there is such a file, or the disk fails.
pub fn back_up(dir: &Path, path: &Path) -> Result<u64, BackupError> {
    let store = dir.join(FILE_NAME);
    if !store.is_file() {
        return Err(BackupError::Nothing(dir.to_owned()));
    }
    let db = Database::open(&store).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(dir.to_owned()),
        other => OpenError::Disk { path: dir.to_owned(), reason: other.to_string() },
    })?;
    check_about(&db, &store)?;
    let read = db.begin_read().map_err(|error| BackupError::Store(error.to_string()))?;
    Snapshot(read).save(path)
}

/// Makes the backup `path` the store of the directory `dir`, which must have none; makes the
/// directory first if there is none.
///
/// # Errors
/// When the file is no backup, the directory has a store or can be opened by others, or the disk
/// fails.
pub fn restore(path: &Path, dir: &Path) -> Result<(), BackupError> {
    let mut backup = File::open(path).map_err(system("open", path))?;
    directory::make(dir)?;
    let store = dir.join(FILE_NAME);
    refuse_existing(&store)?;
    let part = new_file(&store)?;
    let copied = part.path.clone();
    part.finish(&store, |mut file| {
        io::copy(&mut backup, &mut file).map_err(system("copy", path))?;
        file.sync_all().map_err(system("write", &copied))?;
        let no_backup = |reason| BackupError::NoBackup { path: path.to_owned(), reason };
        let db = Database::open(&copied).map_err(|error| no_backup(error.to_string()))?;
        check_about(&db, path)
    })?;
    Ok(())
}

/// Whether this is a person's store of a layout that we know.
fn check_about(db: &Database, path: &Path) -> Result<(), BackupError> {
    let no_backup = |reason| BackupError::NoBackup { path: path.to_owned(), reason };
    let about = super::read_about(db).map_err(|error| no_backup(error.to_string()))?;
    let (schema, _) = about.ok_or_else(|| no_backup("it is another program's".to_owned()))?;
    known_layout(path, &schema)?;
    Ok(())
}

/// A copy that is not whole yet. Its file goes with it unless it is finished.
pub(super) struct Part {
    path: PathBuf,
    file: Option<File>,
}

pub(super) fn new_file(path: &Path) -> Result<Part, BackupError> {
    let part = path.with_added_extension("part");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    match options.open(&part) {
        Ok(file) => Ok(Part { path: part, file: Some(file) }),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(BackupError::Exists(part)),
        Err(error) => Err(system("make", &part)(error)),
    }
}

impl Part {
    /// Fills it, makes it durable and gives it its name.
    pub(super) fn finish(
        mut self,
        path: &Path,
        fill: impl FnOnce(File) -> Result<(), BackupError>,
    ) -> Result<u64, BackupError> {
        if let Some(file) = self.file.take() {
            fill(file)?;
        }
        let file = File::open(&self.path).map_err(system("open", &self.path))?;
        file.sync_all().map_err(system("write", &self.path))?;
        let length = file.metadata().map_err(system("look at", &self.path))?.len();
        name(&self.path, path)?;
        sync_parent(path)?;
        Ok(length)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Once it has its name there is nothing left to remove.
        let _gone = fs::remove_file(&self.path);
    }
}

/// A second name rather than another one, since that is never taken from another file. Where files
/// have one name only, the new one is taken first.
fn name(part: &Path, path: &Path) -> Result<(), BackupError> {
    let taken = |error: io::Error| match error.kind() {
        ErrorKind::AlreadyExists => BackupError::Exists(path.to_owned()),
        _ => system("make", path)(error),
    };
    match fs::hard_link(part, path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(taken(error)),
        Err(_) => {
            OpenOptions::new().write(true).create_new(true).open(path).map_err(taken)?;
            fs::rename(part, path).map_err(system("name", path))
        }
    }
}

pub(super) fn sync_parent(path: &Path) -> Result<(), BackupError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let synced = File::open(parent).and_then(|parent| parent.sync_all());
    synced.map_err(system("write", parent))
}

pub(super) fn refuse_existing(path: &Path) -> Result<(), BackupError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(BackupError::Exists(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(system("look at", path)(error)),
    }
}

fn system(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::System { action, path, source }
}

impl From<DirectoryError> for BackupError {
    fn from(error: DirectoryError) -> Self {
        Self::Open(error.into())
    }
}
