//! How `comm-node backup` comes to a copy: the node that runs on the data makes it; without one this
//! process does.
//!
//! Entry function is [`ask`]. The node is asked over its socket, which only its owner can open.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use comm_proto::wire::client::BackupRequest;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::task::{JoinError, spawn_blocking};

use crate::api;
use crate::config::NodeConfig;
use crate::data_dir::{self, DataDir, DataDirError};
use crate::rpc::client::owner_client::OwnerClient;
use crate::store::{OpenError, RocksStore};

use super::{BackupError, Source};

/// Why `comm-node backup` made no copy.
#[derive(Debug, Error)]
pub enum AskError {
    /// There is nothing to copy.
    #[error("there is no node's data in {}", .0.display())]
    Nothing(PathBuf),
    /// The node that runs made none.
    #[error("the node made no copy: {0}")]
    Refused(String),
    /// The node that runs cannot be asked.
    #[error("cannot ask the node at {}: {reason}", socket.display())]
    Unreachable {
        /// Its socket.
        socket: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The data cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// This process made none.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The system refused.
    #[error(transparent)]
    System(#[from] io::Error),
    /// A part of the program panicked, which its own message has told.
    #[error("the copy ended unexpectedly: {0}")]
    Panicked(#[from] JoinError),
}

/// Copies the data of the node that is configured so to `to`, which must not exist. To be called
/// on a runtime.
///
/// # Errors
/// When the place is taken, the disk is full, or the node or the system refuses.
pub async fn ask(config: &NodeConfig, to: &Path) -> Result<(), AskError> {
    let (socket, to) = (config.socket_path(), std::path::absolute(to)?);
    match UnixStream::connect(&socket).await {
        Ok(_) => ask_running(socket, &to).await,
        Err(error) if is_nobody_there(&error) => {
            let data_dir = config.data_dir.clone();
            spawn_blocking(move || copy_here(&data_dir, &to)).await?
        }
        Err(error) => Err(AskError::Unreachable { socket, reason: error.to_string() }),
    }
}

fn is_nobody_there(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

async fn ask_running(socket: PathBuf, to: &Path) -> Result<(), AskError> {
    let text = to.to_str().ok_or_else(|| AskError::Refused("its name is no text".to_owned()))?;
    let request = BackupRequest { to: text.to_owned() };
    let channel = api::connect(socket.clone()).await.map_err(|error| {
        let reason = error.to_string();
        AskError::Unreachable { socket, reason }
    })?;
    let answer = OwnerClient::new(channel).backup(request).await;
    answer.map(drop).map_err(|status| AskError::Refused(status.message().to_owned()))
}

/// Holds the directory meanwhile, so that no node starts on it.
fn copy_here(path: &Path, to: &Path) -> Result<(), AskError> {
    let store = data_dir::store_path(path);
    if !store.exists() {
        return Err(AskError::Nothing(path.to_owned()));
    }
    let _held = DataDir::open(path)?;
    let store = Arc::new(RocksStore::open(&store)?);
    Ok(Source::new(path, store).copy(to)?)
}
