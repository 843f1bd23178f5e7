//! Looking through the data of a node that does not run, or through a copy of it: what `comm-node verify` does.
//!
//! Entry function is [`verify`]. It changes nothing, not even a lock file, so that a disk that can only be read
//! will do. What is wrong is said in words; what to do about it is the operator's to decide.

use std::fmt;
use std::path::{Path, PathBuf};

use comm_proto::address::Address;
use comm_proto::node::{Finding, Verification};
use comm_proto::store::StoreError;
use thiserror::Error;

use crate::blocking::{self, OwnBlocksError};
use crate::data_dir::{self, DataDirError};
use crate::store::OpenError;
use crate::store::read_only::ReadOnlyStore;
use crate::traffic::book::{Book, BookError};

/// So many findings are told one by one.
const TOLD_MAX: usize = 100;
/// Of a key of a row, so many bytes are shown.
const KEY_SHOWN: usize = 12;

/// What a node's data is found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Where it is.
    pub path: PathBuf,
    /// The address of the node whose key is there.
    pub address: Address,
    /// Envelopes in the store.
    pub envelopes: u64,
    /// Rows of all tables.
    pub rows: u64,
    /// The first things that are wrong.
    pub findings: Vec<Finding>,
    /// How many more are.
    pub more: u64,
}

/// Why nothing was verified. Each is one line.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// There is nothing to look at.
    #[error("there is no node's data in {}", .0.display())]
    Nothing(PathBuf),
    /// A node uses it.
    #[error("a relay runs on {}; stop it, or make a backup and verify that", .0.display())]
    Running(PathBuf),
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] DataDirError),
    /// What commands have blocked cannot be read.
    #[error(transparent)]
    Blocks(#[from] OwnBlocksError),
    /// What was carried in this period cannot be read.
    #[error(transparent)]
    Account(#[from] BookError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The disk failed, or RocksDB has found damage in its files.
    #[error("{} cannot be read: {source}", path.display())]
    Disk {
        /// The store.
        path: PathBuf,
        /// What it said.
        source: StoreError,
    },
}

impl VerifyError {
    /// Whether what was asked for makes no sense, and nothing is said about the data.
    pub const fn is_misuse(&self) -> bool {
        matches!(self, Self::Nothing(_) | Self::Running(_))
    }
}

impl Verdict {
    /// Whether all is as it was written.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    /// How many things are wrong.
    pub fn findings_count(&self) -> u64 {
        self.findings.len() as u64 + self.more
    }
}

/// Reads everything in the data directory `dir`, or in a copy of one, and holds it against each other. `shown` is
/// called now and then with how many rows have been read and how many there are, more or less.
///
/// # Errors
/// When nothing is there, a node runs on it, or it cannot be read at all.
pub fn verify(dir: &Path, mut shown: impl FnMut(u64, u64)) -> Result<Verdict, VerifyError> {
    let path = data_dir::store_path(dir);
    if !path.is_dir() {
        return Err(VerifyError::Nothing(dir.to_owned()));
    }
    // Held to the end: meanwhile no node starts on it.
    let _still = data_dir::keep_still(dir).map_err(|error| match error {
        DataDirError::InUse(path) => VerifyError::Running(path),
        error => error.into(),
    })?;
    let address = data_dir::key_in(dir)?.address();
    blocking::look_at(dir)?;
    Book::look_at(dir)?;
    let store = ReadOnlyStore::open(&path)?;
    let (about, mut verification) = (store.rows_about(), Verification::default());
    let (mut findings, mut more) = (Vec::new(), 0);
    let failed = |source| VerifyError::Disk { path: path.clone(), source };
    while let Some(found) = verification.next(&store).map_err(failed)? {
        for finding in found {
            if findings.len() < TOLD_MAX {
                findings.push(finding);
            } else {
                more += 1;
            }
        }
        shown(verification.rows(), about);
    }
    let (envelopes, rows) = (verification.envelopes(), verification.rows());
    Ok(Verdict { path: dir.to_owned(), address, envelopes, rows, findings, more })
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, address, envelopes, rows, findings, more } = self;
        for Finding { table, key, what } in findings {
            match &key[..] {
                [] => writeln!(f, "table {}: {what}", table.name())?,
                key => {
                    let shown = hex::encode(&key[..key.len().min(KEY_SHOWN)]);
                    let rest = if key.len() > KEY_SHOWN { "…" } else { "" };
                    writeln!(f, "table {}, row {shown}{rest}: {what}", table.name())?;
                }
            }
        }
        if *more > 0 {
            writeln!(f, "and {more} more")?;
        }
        let path = path.display();
        writeln!(f, "{path}: the data of relay {address}, {envelopes} envelopes, {rows} rows")?;
        match self.findings_count() {
            0 => writeln!(f, "All of it is as it was written."),
            1 => writeln!(f, "It is DAMAGED: 1 thing is wrong."),
            count => writeln!(f, "It is DAMAGED: {count} things are wrong."),
        }
    }
}
