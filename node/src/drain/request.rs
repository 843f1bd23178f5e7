//! How `comm-node drain` asks the node that runs on the data, and waits for what becomes of it.
//!
//! Entry functions are [`ask`], [`look`] and [`cancel`]. The node is asked over its socket, which only its owner can
//! open.

use std::path::Path;
use std::time::Duration;

use comm_proto::wire::client::{CancelDrainRequest, DrainRequest, DrainState, GetDrainRequest};
use thiserror::Error;
use tokio::time::{sleep, timeout};
use tonic::Code;

use crate::config::NodeConfig;
use crate::owner::{self, AskError};
use crate::rpc::client::owner_client::OwnerClient;

use super::Report;

/// How long the process of a node may take to end once it has handed over everything.
const END_MAX: Duration = Duration::from_secs(30);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Why nothing is known of a node's handing over. Each is one line.
#[derive(Debug, Error)]
pub enum DrainError {
    /// No node can be asked, and no other process can hand over what it holds.
    #[error("{0}; a relay hands over what it holds while it runs")]
    Nobody(AskError),
    /// The node refuses.
    #[error(transparent)]
    Asked(AskError),
    /// The node is of an older program.
    #[error("the relay that runs is of an older version, which shows this only to who begins it")]
    Older,
    /// The node ended meanwhile.
    #[error(
        "the relay ended before it had handed over everything; what it holds is on its disk. Start it \
         and call this again"
    )]
    Ended,
    /// It was handed over and yet goes on.
    #[error("the relay has handed over everything and has not ended within {} seconds", END_MAX.as_secs())]
    GoesOn,
}

/// Has the node that is configured so hand over what it holds, and end if nothing stays behind. Each report
/// that comes on the way is `shown`; the last one is returned when the node has ended, or goes on as before. To
/// be called on a runtime. When the future is dropped the node goes on handing over.
///
/// # Errors
/// When no node runs there, it refuses, or it ends meanwhile.
pub async fn ask(
    config: &NodeConfig,
    mut shown: impl FnMut(&Report),
) -> Result<Report, DrainError> {
    let socket = config.socket_path();
    let mut owner = OwnerClient::new(owner::connect(config).await?);
    let mut reports = owner.drain(DrainRequest {}).await.map_err(refused)?.into_inner();
    loop {
        // What breaks off is a node that ends.
        let Ok(Some(response)) = reports.message().await else { return Err(DrainError::Ended) };
        let report = Report::of(&response);
        match response.state() {
            DrainState::UnderWay => shown(&report),
            DrainState::Complete => {
                drop((reports, owner));
                let ended = timeout(END_MAX, nobody_listens(&socket)).await;
                return ended.map(|()| report).map_err(|_| DrainError::GoesOn);
            }
            DrainState::Incomplete | DrainState::Cancelled | DrainState::Unspecified => {
                return Ok(report);
            }
        }
    }
}

/// Has the node that is configured so stay; whether it was about to leave. To be called on a runtime.
///
/// # Errors
/// When no node runs there, or it refuses.
pub async fn cancel(config: &NodeConfig) -> Result<bool, DrainError> {
    let mut owner = OwnerClient::new(owner::connect(config).await?);
    let answer = owner.cancel_drain(CancelDrainRequest {}).await.map_err(refused)?;
    Ok(answer.into_inner().was_under_way)
}

/// How far the node that is configured so is with it, or what has become of it last; nothing if nobody has told it to
/// hand over since it began. To be called on a runtime.
///
/// # Errors
/// When no node runs there, it refuses, or it does not know how to say it.
pub async fn look(config: &NodeConfig) -> Result<Option<Report>, DrainError> {
    let mut owner = OwnerClient::new(owner::connect(config).await?);
    let answer = owner.get_drain(GetDrainRequest {}).await.map_err(|status| {
        // One that is inside a program says so in other words.
        let is_unknown = status.code() == Code::Unimplemented && status.message().is_empty();
        if is_unknown { DrainError::Older } else { refused(status) }
    })?;
    let response = answer.into_inner();
    Ok((response.state() != DrainState::Unspecified).then(|| Report::of(&response)))
}

async fn nobody_listens(socket: &Path) {
    while owner::dial(socket).await.is_ok() {
        sleep(LOOK_EVERY).await;
    }
}

fn refused(status: tonic::Status) -> DrainError {
    DrainError::Asked(AskError::refused(&status))
}

impl From<AskError> for DrainError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Refused(_) => Self::Asked(error),
            AskError::Nobody { .. } | AskError::Unreachable { .. } => Self::Nobody(error),
        }
    }
}
