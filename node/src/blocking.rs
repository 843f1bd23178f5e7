//! Whom the owner of a node has blocked by commands: kept in the file `blocks` of the data directory, beside
//! the list that `block.file` names and by which nothing of this is changed.
//!
//! Entry types are [`OwnBlocks`], which the running node changes, and [`ask`], which is what `comm-node block`
//! does. A change is on the disk before it is in force, and in force before it is answered.

mod request;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use crate::data_dir::{self, BLOCKS_BYTES_MAX, DataDirError};
use crate::links::blocks::{BlockList, Blocks, ENTRIES_MAX, Entry};

pub use request::{BlockError, Blocked, Order, ask};

/// What commands have blocked, and the list in force. Cloning shares it.
#[derive(Clone, Debug)]
pub struct OwnBlocks(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    entries: Mutex<BTreeSet<Entry>>,
    blocks: Blocks,
}

/// Why what commands have blocked cannot be read or changed. Each is one line.
#[derive(Debug, Error)]
pub enum OwnBlocksError {
    /// The file cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line of the file names nobody.
    #[error(
        "{}:{line}: this line blocks nobody; commands write this file: mend the line, or remove it",
        path.display()
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The file is longer than any that was written.
    #[error("{} is too long; commands write this file: mend it, or remove it", .0.display())]
    TooLong(PathBuf),
    /// There is no room for another entry.
    #[error("at most {ENTRIES_MAX} entries are blocked by commands")]
    Full,
    /// No command has blocked it.
    #[error("{entry} is not blocked by a command{}", where_it_stands(*elsewhere))]
    NotThere {
        /// What.
        entry: Entry,
        /// Where it stands instead.
        elsewhere: Elsewhere,
    },
    /// The directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
}

/// Where an entry stands that no command has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// On no list.
    Nowhere,
    /// On the list that `block.file` names.
    InFile,
}

const fn where_it_stands(elsewhere: Elsewhere) -> &'static str {
    match elsewhere {
        Elsewhere::Nowhere => "; `comm-node block list` shows what is, in the same spelling",
        Elsewhere::InFile => ", but by the file of block.file: remove the line there and reload",
    }
}

impl OwnBlocks {
    /// What is blocked by commands of the node with its data in `data_dir`, put in force in `blocks`. The caller
    /// holds the directory.
    ///
    /// # Errors
    /// When there is a file that cannot be read or is not as it was written.
    pub fn open(data_dir: &Path, blocks: Blocks) -> Result<Self, OwnBlocksError> {
        let path = data_dir::blocks_path(data_dir);
        let entries = read(&path)?;
        blocks.set_own(BlockList::of(entries.iter().copied()));
        Ok(Self(Arc::new(Shared { path, entries: Mutex::new(entries), blocks })))
    }

    /// Blocks these too; how many of them were not blocked by a command before.
    ///
    /// # Errors
    /// When there would be too many, or the disk cannot be written; nothing has changed then.
    pub fn add(&self, entries: &[Entry]) -> Result<usize, OwnBlocksError> {
        let mut held = self.lock();
        let mut changed = held.clone();
        changed.extend(entries);
        if changed.len() > ENTRIES_MAX {
            return Err(OwnBlocksError::Full);
        }
        let added = changed.len() - held.len();
        self.put_in_force(&mut held, changed)?;
        Ok(added)
    }

    /// Blocks these no more, as far as it is by commands that they are.
    ///
    /// # Errors
    /// When one of them is not blocked by a command, or the disk cannot be written; nothing has changed then.
    pub fn remove(&self, entries: &[Entry]) -> Result<(), OwnBlocksError> {
        let mut held = self.lock();
        let mut changed = held.clone();
        // Who is named twice is meant once.
        for entry in entries.iter().collect::<BTreeSet<_>>() {
            if !changed.remove(entry) {
                let in_file = self.0.blocks.is_listed(entry);
                let elsewhere = if in_file { Elsewhere::InFile } else { Elsewhere::Nowhere };
                return Err(OwnBlocksError::NotThere { entry: *entry, elsewhere });
            }
        }
        self.put_in_force(&mut held, changed)
    }

    /// What is blocked by commands, in order.
    pub fn by_command(&self) -> Vec<Entry> {
        self.lock().iter().copied().collect()
    }

    /// What is blocked by the file that `block.file` names, in order.
    pub fn by_file(&self) -> Vec<Entry> {
        self.0.blocks.listed()
    }

    fn put_in_force(
        &self,
        held: &mut BTreeSet<Entry>,
        changed: BTreeSet<Entry>,
    ) -> Result<(), OwnBlocksError> {
        let path = &self.0.path;
        let lines: String = changed.iter().map(|entry| format!("{entry}\n")).collect();
        let written = data_dir::replace_file(path, lines.as_bytes());
        let failed =
            |source| OwnBlocksError::System { action: "write", path: path.clone(), source };
        written.map_err(failed)?;
        self.0.blocks.set_own(BlockList::of(changed.iter().copied()));
        tracing::info!(blocked = changed.len(), "a command has changed who is blocked");
        *held = changed;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Entry>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a node could begin with what commands have blocked in the data directory, or copy of one, `dir`.
///
/// # Errors
/// As [`OwnBlocks::open`].
pub(crate) fn look_at(dir: &Path) -> Result<(), OwnBlocksError> {
    read(&data_dir::blocks_path(dir)).map(drop)
}

fn read(path: &Path) -> Result<BTreeSet<Entry>, OwnBlocksError> {
    let failed = |source| OwnBlocksError::System { action: "read", path: path.to_owned(), source };
    let Some(text) = data_dir::read_if_there(path, BLOCKS_BYTES_MAX + 1).map_err(failed)? else {
        return Ok(BTreeSet::new());
    };
    if text.len() as u64 > BLOCKS_BYTES_MAX {
        return Err(OwnBlocksError::TooLong(path.to_owned()));
    }
    let parse = |(number, line): (usize, &str)| {
        let line_error = OwnBlocksError::Line { path: path.to_owned(), line: number + 1 };
        line.trim().parse::<Entry>().map_err(|_| line_error)
    };
    let entries: BTreeSet<_> = text.lines().enumerate().map(parse).collect::<Result<_, _>>()?;
    if entries.len() > ENTRIES_MAX {
        return Err(OwnBlocksError::TooLong(path.to_owned()));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn entry(text: &str) -> Entry {
        text.parse().unwrap()
    }

    #[test]
    fn what_was_blocked_is_blocked_after_a_restart_and_what_was_not_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (node, network) = (entry(&"ab".repeat(20)), entry("192.0.2.0/24"));
        let own = OwnBlocks::open(dir.path(), Blocks::default()).unwrap();
        assert!(!dir.path().join("blocks").exists(), "nothing is written for nothing");
        assert_eq!(own.add(&[node, network, node]).unwrap(), 2);
        assert_eq!(own.add(&[network]).unwrap(), 0);
        let mode = fs::metadata(dir.path().join("blocks")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let blocks = Blocks::default();
        let own = OwnBlocks::open(dir.path(), blocks.clone()).unwrap();
        assert_eq!(own.by_command(), [node, network]);
        assert!(blocks.block_ip("192.0.2.9".parse().unwrap()));
        own.remove(&[network]).unwrap();
        assert!(!blocks.block_ip("192.0.2.9".parse().unwrap()));
        let own = OwnBlocks::open(dir.path(), Blocks::default()).unwrap();
        assert_eq!(own.by_command(), [node]);
    }

    #[test]
    fn both_lists_hold_and_neither_changes_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let blocks = Blocks::default();
        let (by_file, by_command) = (entry("192.0.2.0/24"), entry("198.51.100.7"));
        blocks.set(BlockList::of([by_file]));
        let own = OwnBlocks::open(dir.path(), blocks.clone()).unwrap();
        own.add(&[by_command]).unwrap();
        for ip in ["192.0.2.1", "198.51.100.7"] {
            assert!(blocks.block_ip(ip.parse().unwrap()), "{ip}");
        }
        let error = own.remove(&[by_command, by_file]).unwrap_err().to_string();
        assert!(error.contains("by the file of block.file"), "{error}");
        assert_eq!(own.by_command(), [by_command], "half of it was done");
        assert_eq!(own.by_file(), [by_file]);
        blocks.set(BlockList::default());
        assert!(blocks.block_ip("198.51.100.7".parse().unwrap()));
        let error = own.remove(&[by_file]).unwrap_err().to_string();
        assert!(error.contains("block list"), "{error}");
    }

    #[test]
    fn a_file_that_no_command_has_written_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("blocks"), "192.0.2.0/24\nnobody\n").unwrap();
        let error = OwnBlocks::open(dir.path(), Blocks::default()).unwrap_err().to_string();
        assert!(error.contains("blocks:2: this line blocks nobody"), "{error}");
    }

    #[test]
    fn a_full_list_takes_nothing_more_and_keeps_what_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let own = OwnBlocks::open(dir.path(), Blocks::default()).unwrap();
        let many: Vec<_> = (0..65_536_u32).map(|n| entry(&format!("{n:040x}"))).collect();
        assert_eq!(own.add(&many).unwrap(), 65_536);
        assert!(matches!(own.add(&[entry("192.0.2.1")]), Err(OwnBlocksError::Full)));
        let own = OwnBlocks::open(dir.path(), Blocks::default()).unwrap();
        assert_eq!(own.by_command().len(), 65_536);
    }
}
