//! Signed lists of relays in files (PROTOCOL §5.6).
//!
//! Entry types are [`List`], a source of relays to begin with, and [`read`], which reads a file as
//! anybody wrote it. The file is read again each time, so that a newer one takes its place without more
//! ado, and never written.

mod shown;
mod text;

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use comm_proto::key::PublicKey;
use comm_proto::relay_list::{RelayList, RelayListError};
use comm_proto::time::Time;
use comm_proto::verified::Verified;
use rustix::fs::OFlags;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::config::bootstrap::BootstrapPeer;

pub use shown::{Shown, SignError};
pub use text::{TextError, written};

/// The largest file, in bytes.
pub const FILE_LEN_MAX: u64 = 128 << 10;
/// How long a running node waits for a disk, which may be one of the network.
const READ_MAX: Duration = Duration::from_secs(10);

/// A file with a signed list.
#[derive(Clone, Debug)]
pub struct List {
    path: PathBuf,
    believed: Arc<[PublicKey]>,
    network: String,
    /// Held by whoever reads it: on a disk that hangs there is one that does, and not ever more.
    reading: Arc<Semaphore>,
}

/// Why a file is of no use.
#[derive(Debug, Error)]
pub enum ListError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a directory, a pipe or a device.
    #[error("{} is no file", .0.display())]
    NoFile(PathBuf),
    /// It is larger than a list may be.
    #[error("{} is larger than {} KiB, which no list is", .0.display(), FILE_LEN_MAX >> 10)]
    TooLarge(PathBuf),
    /// It is not written as a list is.
    #[error("{} is no list of relays: {source}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TextError,
    },
    /// It does not hold.
    #[error("{} is not to be used: {source}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: RelayListError,
    },
    /// Somebody else has signed it.
    #[error("{} is signed by {signer}, which discovery.signers does not name", path.display())]
    Stranger {
        /// The file.
        path: PathBuf,
        /// Who.
        signer: PublicKey,
    },
    /// It is for others.
    #[error("{} is for the network \"{network}\"", path.display())]
    OtherNetwork {
        /// The file.
        path: PathBuf,
        /// Which one.
        network: String,
    },
}

impl List {
    /// The file at `path`, if one of `believed` has signed it for `network`.
    pub fn new(path: PathBuf, believed: Vec<PublicKey>, network: String) -> Self {
        Self { path, believed: believed.into(), network, reading: Arc::new(Semaphore::new(1)) }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it, without holding other tasks up, within ten seconds.
    ///
    /// # Errors
    /// When it cannot be read in time or believed, or does not hold at `now`.
    pub async fn look(&self, now: Time) -> Result<Vec<BootstrapPeer>, ListError> {
        let list = self.clone();
        let unreadable = |source| Err(ListError::Unreadable { path: self.path.clone(), source });
        let Ok(turn) = Arc::clone(&self.reading).try_acquire_owned() else {
            return unreadable(io::ErrorKind::TimedOut.into());
        };
        let reading = spawn_blocking(move || {
            let _turn = turn;
            list.relays(now)
        });
        match timeout(READ_MAX, reading).await {
            Ok(Ok(relays)) => relays,
            Ok(Err(failed)) => unreadable(io::Error::other(failed)),
            Err(late) => unreadable(late.into()),
        }
    }

    /// Its relays, if they are to be used at `now`.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub fn relays(&self, now: Time) -> Result<Vec<BootstrapPeer>, ListError> {
        let list = verified(&self.path, read(&self.path)?, now)?;
        if !self.believed.contains(list.signer()) {
            let (path, signer) = (self.path.clone(), *list.signer());
            return Err(ListError::Stranger { path, signer });
        }
        if list.terms().network != self.network {
            let (path, network) = (self.path.clone(), list.terms().network.clone());
            return Err(ListError::OtherNetwork { path, network });
        }
        Ok(list.terms().relays.iter().map(text::place).collect())
    }
}

/// What is written in the file at `path`, unchecked but for its form.
///
/// # Errors
/// When it cannot be read, is no file, is too large or is not written as lists are.
pub fn read(path: &Path) -> Result<RelayList, ListError> {
    let unreadable = |source| ListError::Unreadable { path: path.to_owned(), source };
    let file = opened(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(ListError::NoFile(path.to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(FILE_LEN_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_LEN_MAX {
        return Err(ListError::TooLarge(path.to_owned()));
    }
    let wrong = |source| ListError::Text { path: path.to_owned(), source };
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong(TextError::Kind))?;
    text::parsed(text).map_err(wrong)
}

/// Without waiting for whoever might write into it, if it is a pipe.
fn opened(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)
}

/// The list of the file at `path`, if it holds at `now` and is its signer's, whoever that is.
///
/// # Errors
/// When it is not.
pub fn verified(path: &Path, list: RelayList, now: Time) -> Result<Verified<RelayList>, ListError> {
    list.verify(now).map_err(|source| ListError::Refused { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
