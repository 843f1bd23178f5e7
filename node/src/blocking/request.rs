//! How `comm-node block` changes and shows who is blocked: the node that runs on the data does it; without one
//! this process does.
//!
//! Entry function is [`ask`]. The node is asked over its socket, which only its owner can open.

use std::path::{Path, PathBuf};

use comm_proto::wire::client::{BlockRequest, ListBlockedRequest, UnblockRequest};
use serde::Serialize;
use thiserror::Error;
use tokio::task::{JoinError, spawn_blocking};
use tonic::transport::Channel;

use crate::config::NodeConfig;
use crate::data_dir::{DataDir, DataDirError};
use crate::links::blocks::{BlockFileError, Blocks, Entry};
use crate::owner::{self, AskError};
use crate::rpc::client::owner_client::OwnerClient;

use super::{OwnBlocks, OwnBlocksError};

/// The longest list that is read: two full ones.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// What is to be done about who is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order<'a> {
    /// Block these too.
    Add(&'a [Entry]),
    /// Block these no more.
    Remove(&'a [Entry]),
    /// Only show who is.
    Show,
}

/// Who is blocked, by what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Blocked {
    /// By commands.
    pub by_command: Vec<String>,
    /// By the file that `block.file` names.
    pub by_file: Vec<String>,
}

/// Why nothing was changed or shown. Each is one line.
#[derive(Debug, Error)]
pub enum BlockError {
    /// There is no data that it could be written to.
    #[error("there is no node's data in {}", .0.display())]
    Nothing(PathBuf),
    /// The node that runs refuses, or cannot be asked.
    #[error(transparent)]
    Asked(#[from] AskError),
    /// The data cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The list cannot be read or changed.
    #[error(transparent)]
    Own(#[from] OwnBlocksError),
    /// The file that `block.file` names cannot be read.
    #[error(transparent)]
    File(#[from] BlockFileError),
    /// A part of the program panicked, which its own message has told.
    #[error("it ended unexpectedly: {0}")]
    Panicked(#[from] JoinError),
}

/// Changes who is blocked by the node that is configured so, and says who is then. To be called on a runtime.
///
/// # Errors
/// When something is to be removed that no command has blocked, there would be too many, or the node or the
/// system refuses; nothing has changed then.
pub async fn ask(config: &NodeConfig, order: Order<'_>) -> Result<Blocked, BlockError> {
    match owner::connect_if_running(config).await? {
        Some(channel) => Ok(ask_running(channel, order).await?),
        None => {
            let (config, order) = (config.clone(), Owned::of(order));
            spawn_blocking(move || change_here(&config, &order)).await?
        }
    }
}

/// An order that can be taken to another thread.
enum Owned {
    Add(Vec<Entry>),
    Remove(Vec<Entry>),
    Show,
}

impl Owned {
    fn of(order: Order<'_>) -> Self {
        match order {
            Order::Add(entries) => Self::Add(entries.to_vec()),
            Order::Remove(entries) => Self::Remove(entries.to_vec()),
            Order::Show => Self::Show,
        }
    }
}

async fn ask_running(channel: Channel, order: Order<'_>) -> Result<Blocked, AskError> {
    let mut owner = OwnerClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    let refused = |status: tonic::Status| AskError::refused(&status);
    let texts = |entries: &[Entry]| entries.iter().map(ToString::to_string).collect();
    match order {
        Order::Add(entries) => {
            let request = BlockRequest { entries: texts(entries) };
            owner.block(request).await.map(drop).map_err(refused)?;
        }
        Order::Remove(entries) => {
            let request = UnblockRequest { entries: texts(entries) };
            owner.unblock(request).await.map(drop).map_err(refused)?;
        }
        Order::Show => {}
    }
    let list = owner.list_blocked(ListBlockedRequest {}).await.map_err(refused)?.into_inner();
    Ok(Blocked { by_command: list.by_command, by_file: list.by_file })
}

/// Holds the directory meanwhile, so that no node starts on it.
fn change_here(config: &NodeConfig, order: &Owned) -> Result<Blocked, BlockError> {
    let path: &Path = &config.data_dir;
    if !path.exists() {
        return Err(BlockError::Nothing(path.to_owned()));
    }
    let held = DataDir::open(path)?;
    let blocks = Blocks::default();
    blocks.set(config.block_list()?);
    let own = OwnBlocks::open(held.path(), blocks)?;
    match order {
        Owned::Add(entries) => drop(own.add(entries)?),
        Owned::Remove(entries) => own.remove(entries)?,
        Owned::Show => {}
    }
    let texts = |entries: Vec<Entry>| entries.iter().map(ToString::to_string).collect();
    Ok(Blocked { by_command: texts(own.by_command()), by_file: texts(own.by_file()) })
}
