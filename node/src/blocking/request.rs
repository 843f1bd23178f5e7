//! How `comm-node block` changes and shows who is blocked: the node that runs on the data does it; without one
//! this process does.
//!
//! Entry function is [`ask`]. The node is asked over its socket, which only its owner can open.

use std::io;
use std::path::{Path, PathBuf};

use comm_proto::wire::client::{BlockRequest, ListBlockedRequest, UnblockRequest};
use serde::Serialize;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::task::{JoinError, spawn_blocking};
use tonic::transport::Channel;

use crate::api;
use crate::config::NodeConfig;
use crate::data_dir::{DataDir, DataDirError};
use crate::links::blocks::{BlockFileError, Blocks, Entry};
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
pub enum AskError {
    /// There is no data that it could be written to.
    #[error("there is no node's data in {}", .0.display())]
    Nothing(PathBuf),
    /// The node that runs refuses.
    #[error("{0}")]
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
pub async fn ask(config: &NodeConfig, order: Order<'_>) -> Result<Blocked, AskError> {
    let socket = config.socket_path();
    match UnixStream::connect(&socket).await {
        Ok(_) => ask_running(socket, order).await,
        Err(error) if is_nobody_there(&error) => {
            let (config, order) = (config.clone(), Owned::of(order));
            spawn_blocking(move || change_here(&config, &order)).await?
        }
        Err(error) => Err(AskError::Unreachable { socket, reason: error.to_string() }),
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

fn is_nobody_there(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

async fn ask_running(socket: PathBuf, order: Order<'_>) -> Result<Blocked, AskError> {
    let channel: Channel = api::connect(socket.clone()).await.map_err(|error| {
        let reason = error.to_string();
        AskError::Unreachable { socket, reason }
    })?;
    let mut owner = OwnerClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    let refused = |status: tonic::Status| AskError::Refused(status.message().to_owned());
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
fn change_here(config: &NodeConfig, order: &Owned) -> Result<Blocked, AskError> {
    let path: &Path = &config.data_dir;
    if !path.exists() {
        return Err(AskError::Nothing(path.to_owned()));
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
