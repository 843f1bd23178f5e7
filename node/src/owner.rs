//! How commands of a node's owner reach the node that runs: over its socket, which only its owner can open
//! (PROTOCOL §8.5).
//!
//! Entry functions are `connect`, for what only a node can answer, and `connect_if_running`, for what this process
//! does itself where no node runs on the data.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio::net::UnixStream;
use tonic::Status;
use tonic::transport::Channel;

use crate::api;
use crate::config::NodeConfig;

/// Why the node that runs has not done what its owner wants. Each is one line.
#[derive(Debug, Error)]
pub enum AskError {
    /// Nobody listens at the socket.
    #[error("no relay runs with the socket {}: {reason}", socket.display())]
    Nobody {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// There is a socket that cannot be used.
    #[error("cannot ask the relay at {}: {reason}", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// It refuses.
    #[error("the relay refuses: {0}")]
    Refused(String),
}

impl AskError {
    /// What a node has answered in the place of what was wanted.
    pub(crate) fn refused(status: &Status) -> Self {
        Self::Refused(status.message().to_owned())
    }
}

/// A way to the node that is configured so. To be called on a runtime.
///
/// # Errors
/// When none runs, or it cannot be reached.
pub(crate) async fn connect(config: &NodeConfig) -> Result<Channel, AskError> {
    let socket = config.socket_path();
    dial(&socket).await.map_err(|error| {
        let reason = error.to_string();
        match is_nobody_there(&error) {
            true => AskError::Nobody { socket: socket.clone(), reason },
            false => AskError::Unreachable { socket: socket.clone(), reason },
        }
    })?;
    let channel = api::connect(socket.clone()).await;
    channel.map_err(|error| AskError::Unreachable { socket, reason: innermost(&error) })
}

/// The same; nothing where no node runs.
///
/// # Errors
/// When one may run and cannot be reached.
pub(crate) async fn connect_if_running(config: &NodeConfig) -> Result<Option<Channel>, AskError> {
    match connect(config).await {
        Ok(channel) => Ok(Some(channel)),
        Err(AskError::Nobody { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether anybody listens there, in the system's own words, which a channel would wrap.
pub(crate) async fn dial(socket: &Path) -> io::Result<()> {
    UnixStream::connect(socket).await.map(drop)
}

fn is_nobody_there(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// What the system said, without what it was wrapped into on the way.
fn innermost(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => innermost(source),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn where_nobody_listens_the_system_says_why_in_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let config = NodeConfig { data_dir: dir.path().to_owned(), ..NodeConfig::default() };
        let error = connect(&config).await.unwrap_err();
        assert!(matches!(error, AskError::Nobody { .. }), "{error:?}");
        assert!(error.to_string().contains("No such file or directory"), "{error}");
        assert!(connect_if_running(&config).await.unwrap().is_none());
        // One that has ended and left its socket.
        drop(UnixListener::bind(config.socket_path()).unwrap());
        assert!(connect_if_running(&config).await.unwrap().is_none());
        // A socket that cannot be looked for is no sign that none is there.
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let config = NodeConfig { data_dir: file, ..NodeConfig::default() };
        let error = connect_if_running(&config).await.unwrap_err();
        assert!(matches!(error, AskError::Unreachable { .. }), "{error:?}");
    }
}
