//! Files on this machine: read for those who take them, written as they come (PROTOCOL §4.23).
//!
//! Entry type is `Desk`, which does what an agent wants done with files, in two threads, so that who reads waits for
//! nobody who writes. Nothing is overwritten, nothing of a file that is not whole has its name, and nothing leaves the
//! directory that the person has named: names were made safe before they come here.

mod reading;
mod writing;

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::thread;

use comm_proto::agent::{FileOrder, FileReport};
use comm_proto::file::{Offer, SIZE_MAX};
use thiserror::Error;
use tokio::sync::mpsc;

use reading::Sources;
use writing::Parts;

/// Orders that may wait for a thread, and reports that may wait to be heard: more than an agent gives at a time.
const ORDERS_MAX: usize = 1_024;

/// Where orders go and reports come from.
#[derive(Debug)]
pub(crate) struct Desk {
    reads: mpsc::Sender<FileOrder>,
    writes: mpsc::Sender<FileOrder>,
    pub(crate) reports: mpsc::Receiver<FileReport>,
}

/// Why a file cannot be offered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FileProblem {
    /// The system refused.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// It is a directory, a device or the like.
    #[error("{} is no file", .0.display())]
    NoFile(PathBuf),
    /// There is nothing in it.
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
    /// There is too much in it.
    #[error("{} has {size} bytes; a file that is sent has at most {SIZE_MAX}", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// Somebody writes it.
    #[error("{} changes while it is read; send it when it does not", .0.display())]
    Changing(PathBuf),
}

impl Desk {
    pub(crate) fn open() -> Self {
        let (reads, to_read) = mpsc::channel(ORDERS_MAX);
        let (writes, to_write) = mpsc::channel(ORDERS_MAX);
        let (report, reports) = mpsc::channel(ORDERS_MAX);
        let reported = report.clone();
        // They end when nobody gives orders any more.
        let _reader = thread::spawn(move || Sources::default().serve(to_read, &reported));
        let _writer = thread::spawn(move || Parts::default().serve(to_write, &report));
        Self { reads, writes, reports }
    }

    /// Has something done. Waits only if more is under way than any agent orders.
    pub(crate) async fn obey(&self, order: FileOrder) {
        let thread = match order {
            FileOrder::Read { .. } => &self.reads,
            _ => &self.writes,
        };
        // The threads end after the desk.
        let _ended = thread.send(order).await;
    }
}

/// What a file is, to be offered, and where it is found again. Reads all of it.
///
/// # Errors
/// When it is no file that can be offered.
pub(crate) fn describe(path: &Path) -> Result<(Offer, Vec<u8>), FileProblem> {
    reading::describe(path)
}

/// What is written of a file before it is whole: beside where it will be, hidden, and nobody else's.
pub(crate) fn part(dir: &Path, owner: &str, number: u64) -> PathBuf {
    dir.join(format!(".comm-{owner}-{number}.part"))
}

/// A path as an agent keeps it.
pub(crate) fn place_of(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

/// A path that an agent has kept.
pub fn path_of(place: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(place.to_vec()))
}
