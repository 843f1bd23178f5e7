//! A person's history, contacts and outbox on disk, readable with their secret only.
//!
//! Entry type is [`SealedStore`]: one redb file in a directory that nobody else can open, with every
//! value sealed under a key of the identity. Keys stay in clear, since they are numbers and hashes.
//! What it does not hide: how many values there are and how long they are. What it does not notice:
//! somebody putting back an older copy of the whole file, as a restored backup does.

mod backup;
mod directory;
mod scrub;
mod seal;
mod succession;
mod writer;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use comm_proto::agent::Drawer;
use comm_proto::store::{Batch, Entry, ScanBack, Seq, Store, StoreError, Write};
use redb::{
    AccessGuard, Database, DatabaseError, ReadOnlyTable, ReadableDatabase, StorageError,
    TableDefinition,
};
use thiserror::Error;
use tokio::sync::oneshot;

use scrub::scrub;
use seal::Seal;
use writer::{Work, Writer};

pub use backup::{BackupError, Hold, Snapshot, back_up, restore};
pub use directory::DirectoryError;
pub use succession::{GoOnError, GoneOn, go_on};
pub use writer::Durability;

/// Pages that redb keeps in memory. A conversation is read a page at a time.
const CACHE_BYTES: usize = 16 << 20;
/// The file in the data directory.
const FILE_NAME: &str = "person.redb";
/// The layout of this file; one that is newer is refused.
///
/// 2: contacts have notes, histories the order of their authors. 3: messages are found by their ids. 4: what
/// strangers write is held until they are let in. 5: contacts may have had other keys, and there are rooms. 6: there are
/// files. What 1 to 5 wrote is read as it is.
const SCHEMA: u32 = 6;
/// What the store says about itself.
const ABOUT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("about");
/// A sealed row by which the right key is told from a wrong one.
const CHECK: (&str, &[u8]) = ("identity", b"comm/store/check/v1");

/// A person's store. Reads see every batch that was applied, on disk or not.
#[derive(Debug)]
pub struct SealedStore {
    db: Arc<Database>,
    seal: Arc<Seal>,
    fresh: Fresh,
    writer: Writer,
    path: PathBuf,
}

/// What was applied and is not on disk yet; a deleted key is there with no value.
type Fresh = BTreeMap<(Drawer, Vec<u8>), (Seq, Option<Vec<u8>>)>;

/// Why a store cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The directory or the file is not for us, or not for us alone.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Another process has it open.
    #[error("another comm is running on the data directory {}", .0.display())]
    InUse(PathBuf),
    /// The key does not open what is in it.
    #[error(
        "the data directory {} belongs to another identity; give its secret, or another \
         --data-dir",
        .0.display()
    )]
    OtherIdentity(PathBuf),
    /// A newer program has written it.
    #[error("the data directory {} is of a newer version of comm (layout {schema})", path.display())]
    Newer {
        /// The data directory.
        path: PathBuf,
        /// Its layout.
        schema: u32,
    },
    /// The disk failed, or the file is damaged.
    #[error("cannot open the store in {}: {reason}", path.display())]
    Disk {
        /// The data directory.
        path: PathBuf,
        /// What the store said.
        reason: String,
    },
}

impl SealedStore {
    /// Opens the store in the directory `dir`, and makes both first if there are none. `key` seals
    /// the values; it is [`comm_proto::identity::Identity::storage_key`].
    ///
    /// # Errors
    /// When others can open the directory, another process uses it, it belongs to another key, or
    /// the disk fails.
    pub fn open(dir: &Path, key: &[u8; 32]) -> Result<Self, OpenError> {
        let file = directory::open_file(dir, FILE_NAME)?;
        let mut builder = Database::builder();
        let opened = builder.set_cache_size(CACHE_BYTES).create_file(file);
        let db = opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(dir.to_owned()),
            other => disk(dir)(other.into()),
        })?;
        let seal = Seal::new(key);
        check(dir, &db, &seal)?;
        let path = dir.join(FILE_NAME);
        let db = if scrub::is_due(&db).map_err(disk(dir))? { scrub(db, &path) } else { db };
        let (db, seal) = (Arc::new(db), Arc::new(seal));
        let writer = Writer::start(Arc::clone(&db), Arc::clone(&seal));
        Ok(Self { db, seal, fresh: Fresh::new(), writer, path })
    }

    /// Makes a batch visible to reads, and durable soon. Waits while too many are under way.
    ///
    /// # Errors
    /// When the disk has failed.
    pub async fn apply(&mut self, batch: Batch<Drawer>) -> Result<(), StoreError> {
        for write in &batch.writes {
            self.show(batch.seq, write)?;
        }
        self.writer.send(Work::Batch(batch)).await
    }

    /// Has `reply` told of everything that was applied so far, as it is then on disk.
    ///
    /// # Errors
    /// When the disk has failed.
    pub async fn snapshot(&self, reply: oneshot::Sender<Snapshot>) -> Result<(), StoreError> {
        self.writer.send(Work::Snapshot(reply)).await
    }

    /// Tells when batches are durable.
    pub fn durability(&self) -> Durability {
        self.writer.durability()
    }

    /// Forgets what reads no longer need to be told, because the disk has it up to `seq`.
    pub fn settle(&mut self, seq: Seq) {
        self.fresh.retain(|_, (written, _)| *written > seq);
    }

    /// Waits until everything applied is on disk, and closes the file. If something that was said has been
    /// deleted, the file is written anew first, without it.
    ///
    /// # Errors
    /// When the disk has failed.
    pub async fn close(self) -> Result<(), StoreError> {
        let Self { db, writer, path, .. } = self;
        writer.finish().await?;
        // A snapshot that is being saved still reads it.
        let Some(db) = Arc::into_inner(db) else { return Ok(()) };
        if !scrub::is_due(&db).map_err(|error| failed(&error))? {
            return Ok(());
        }
        let scrubbed = tokio::task::spawn_blocking(move || drop(scrub(db, &path))).await;
        scrubbed.map_err(|_| StoreError::Disk("the store was not written anew".to_owned()))
    }

    fn show(&mut self, seq: Seq, write: &Write<Drawer>) -> Result<(), StoreError> {
        match write {
            Write::Put { table, key, value } => {
                self.fresh.insert((*table, key.clone()), (seq, Some(value.clone())));
            }
            Write::Delete { table, key } => {
                self.fresh.insert((*table, key.clone()), (seq, None));
            }
            Write::DeleteRange { table, from, to } => {
                for key in self.keys(*table, from, to)? {
                    self.fresh.insert((*table, key), (seq, None));
                }
            }
        }
        Ok(())
    }

    /// Every key of a range, whether it has a value still or not.
    fn keys(&self, drawer: Drawer, from: &[u8], to: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let mut keys: Vec<_> =
            self.fresh_in(drawer, from, to).map(|(key, _)| key.clone()).collect();
        let rows = self.table(drawer)?;
        for row in rows.range(from..to).map_err(|error| failed(&error.into()))? {
            keys.push(row.map_err(|error| failed(&error.into()))?.0.value().to_vec());
        }
        Ok(keys)
    }

    fn fresh_in(
        &self,
        drawer: Drawer,
        from: &[u8],
        to: &[u8],
    ) -> impl Iterator<Item = (&Vec<u8>, Option<&Vec<u8>>)> {
        let from = Bound::Included((drawer, from.to_vec()));
        let to = Bound::Excluded((drawer, to.to_vec()));
        self.fresh.range((from, to)).map(|((_, key), (_, value))| (key, value.as_ref()))
    }

    /// The first `limit` of `rows` that are not overruled by what is fresh.
    fn settled<'a>(
        &self,
        drawer: Drawer,
        rows: impl Iterator<Item = Result<Row<'a>, StorageError>>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut settled = Vec::new();
        for row in rows {
            if settled.len() == limit {
                break;
            }
            let (key, sealed) = row.map_err(|error| failed(&error.into()))?;
            if !self.fresh.contains_key(&(drawer, key.value().to_vec())) {
                let value = self.seal.open(drawer.name(), key.value(), sealed.value())?;
                settled.push((key.value().to_vec(), value));
            }
        }
        Ok(settled)
    }

    fn table(&self, drawer: Drawer) -> Result<Rows, StoreError> {
        let read = self.db.begin_read().map_err(|error| failed(&error.into()))?;
        read.open_table(definition(drawer)).map_err(|error| failed(&error.into()))
    }
}

type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;
type Row<'a> = (AccessGuard<'a, &'static [u8]>, AccessGuard<'a, &'static [u8]>);

impl Store<Drawer> for SealedStore {
    fn get(&self, drawer: Drawer, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some((_, value)) = self.fresh.get(&(drawer, key.to_vec())) {
            return Ok(value.clone());
        }
        // What `get` gives does not keep the transaction open by itself: the rows have to outlive it, or
        // the writer may reuse the page under it.
        let rows = self.table(drawer)?;
        let sealed = rows.get(key).map_err(|error| failed(&error.into()))?;
        sealed.map(|sealed| self.seal.open(drawer.name(), key, sealed.value())).transpose()
    }

    fn scan(
        &self,
        drawer: Drawer,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let rows = self.table(drawer)?;
        let range = rows.range(from..to).map_err(|error| failed(&error.into()))?;
        let mut found = self.settled(drawer, range, limit)?;
        let fresh = self.fresh_in(drawer, from, to);
        found.extend(fresh.filter_map(|(key, value)| Some((key.clone(), value?.clone()))));
        found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        found.truncate(limit);
        Ok(found)
    }
}

impl ScanBack<Drawer> for SealedStore {
    fn scan_back(
        &self,
        drawer: Drawer,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let rows = self.table(drawer)?;
        let range = rows.range(from..to).map_err(|error| failed(&error.into()))?;
        let mut found = self.settled(drawer, range.rev(), limit)?;
        let fresh = self.fresh_in(drawer, from, to);
        found.extend(fresh.filter_map(|(key, value)| Some((key.clone(), value?.clone()))));
        found.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
        found.truncate(limit);
        Ok(found)
    }
}

fn definition(drawer: Drawer) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(drawer.name())
}

fn failed(error: &redb::Error) -> StoreError {
    StoreError::Disk(error.to_string())
}

fn disk(dir: &Path) -> impl Fn(redb::Error) -> OpenError {
    move |error| OpenError::Disk { path: dir.to_owned(), reason: error.to_string() }
}

/// Makes sure that the store is of a layout we know and of this key; writes both down first if it
/// is new. Nothing is changed in a store that is refused.
fn check(dir: &Path, db: &Database, seal: &Seal) -> Result<(), OpenError> {
    let about = read_about(db).map_err(disk(dir))?;
    let Some((schema, sealed)) = about else {
        return initialise(db, seal).map_err(disk(dir));
    };
    let schema = known_layout(dir, &schema)?;
    match seal.open("about", CHECK.0.as_bytes(), &sealed) {
        Ok(value) if value == CHECK.1 => {}
        _ => return Err(OpenError::OtherIdentity(dir.to_owned())),
    }
    if schema < SCHEMA {
        // From now on a program that knows only the older one refuses it.
        note_layout(db).map_err(disk(dir))?;
    }
    Ok(())
}

/// The layout of the store at `path`, unless it is a newer one than this program knows.
fn known_layout(path: &Path, schema: &[u8]) -> Result<u32, OpenError> {
    let schema = schema.try_into().map_or(u32::MAX, u32::from_be_bytes);
    if schema > SCHEMA {
        return Err(OpenError::Newer { path: path.to_owned(), schema });
    }
    Ok(schema)
}

fn note_layout(db: &Database) -> Result<(), redb::Error> {
    let write = db.begin_write()?;
    write.open_table(ABOUT)?.insert("schema", &SCHEMA.to_be_bytes()[..])?;
    for drawer in Drawer::ALL {
        write.open_table(definition(drawer))?;
    }
    write.commit()?;
    Ok(())
}

/// Layout and check row, as they are stored.
fn read_about(db: &Database) -> Result<Option<Entry>, redb::Error> {
    let read = db.begin_read()?;
    let table = match read.open_table(ABOUT) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        table => table?,
    };
    let row = |name| table.get(name).map(|row| row.map_or(Vec::new(), |row| row.value().to_vec()));
    Ok(Some((row("schema")?, row(CHECK.0)?)))
}

fn initialise(db: &Database, seal: &Seal) -> Result<(), redb::Error> {
    let write = db.begin_write()?;
    {
        let mut about = write.open_table(ABOUT)?;
        about.insert("schema", &SCHEMA.to_be_bytes()[..])?;
        about.insert(CHECK.0, &seal.seal("about", CHECK.0.as_bytes(), CHECK.1)[..])?;
        for drawer in Drawer::ALL {
            write.open_table(definition(drawer))?;
        }
    }
    write.commit()?;
    Ok(())
}
