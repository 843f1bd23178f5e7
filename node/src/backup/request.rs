//! How `comm-node backup` comes to a copy: the node that runs on the data makes it; without one this
//! process does.
//!
//! Entry function is [`ask`]. The node is asked over its socket, which only its owner can open.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use comm_proto::wire::client::BackupRequest;
use thiserror::Error;
use tokio::task::{JoinError, spawn_blocking};
use tonic::transport::Channel;

use crate::config::NodeConfig;
use crate::data_dir::{self, DataDir, DataDirError};
use crate::owner::{self, AskError};
use crate::rpc::client::owner_client::OwnerClient;
use crate::store::{OpenError, RocksStore};

use super::{BackupError, Source};

/// Why `comm-node backup` made no copy.
#[derive(Debug, Error)]
pub enum CopyError {
    /// There is nothing to copy.
    #[error("there is no node's data in {}", .0.display())]
    Nothing(PathBuf),
    /// The node that runs made none.
    #[error("no copy was made: {0}")]
    Asked(#[from] AskError),
    /// The node that runs could not be told the place.
    #[error("the name {} is no text", .0.display())]
    NoText(PathBuf),
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
pub async fn ask(config: &NodeConfig, to: &Path) -> Result<(), CopyError> {
    let to = std::path::absolute(to)?;
    match owner::connect_if_running(config).await? {
        Some(channel) => ask_running(channel, &to).await,
        None => {
            let data_dir = config.data_dir.clone();
            spawn_blocking(move || copy_here(&data_dir, &to)).await?
        }
    }
}

async fn ask_running(channel: Channel, to: &Path) -> Result<(), CopyError> {
    let text = to.to_str().ok_or_else(|| CopyError::NoText(to.to_owned()))?;
    let request = BackupRequest { to: text.to_owned() };
    let answer = OwnerClient::new(channel).backup(request).await;
    answer.map(drop).map_err(|status| AskError::refused(&status).into())
}

/// Holds the directory meanwhile, so that no node starts on it.
fn copy_here(path: &Path, to: &Path) -> Result<(), CopyError> {
    let store = data_dir::store_path(path);
    if !store.exists() {
        return Err(CopyError::Nothing(path.to_owned()));
    }
    let _held = DataDir::open(path)?;
    let store = Arc::new(RocksStore::open(&store)?);
    Ok(Source::new(path, store).copy(to)?)
}
