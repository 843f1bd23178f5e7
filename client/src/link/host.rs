//! Which node is used, and the one that runs in this process.
//!
//! Entry type is [`Node`]. A node in this process is started when it is wanted and stopped when the
//! person goes offline, so that offline means silence.

use std::io;

#[cfg(feature = "embedded")]
use comm_node::{Relay, config::NodeConfig};
use thiserror::Error;

use super::endpoint::{Endpoint, Rpc};

/// The node that relays for a person.
#[derive(Clone, Debug)]
pub enum Node {
    /// One that runs by itself.
    Remote(Endpoint),
    /// One in this process.
    #[cfg(feature = "embedded")]
    Embedded(Box<NodeConfig>),
}

/// Why the node in this process cannot start.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct NodeError(String);

/// A [`Node`] with what runs of it.
#[derive(Debug)]
pub(super) enum Host {
    Remote(Endpoint),
    #[cfg(feature = "embedded")]
    Embedded {
        config: Box<NodeConfig>,
        relay: Option<Box<Relay>>,
    },
}

impl Host {
    /// Starts the node if it is to run here. One that runs elsewhere may come later.
    pub(super) async fn start(node: Node) -> Result<Self, NodeError> {
        match node {
            Node::Remote(endpoint) => Ok(Self::Remote(endpoint)),
            #[cfg(feature = "embedded")]
            Node::Embedded(config) => {
                let relay = Some(start(&config).await?);
                Ok(Self::Embedded { config, relay })
            }
        }
    }

    /// Connects; starts the node first if it runs here and was stopped or has failed.
    pub(super) async fn connect(&mut self) -> io::Result<Rpc> {
        match self {
            Self::Remote(endpoint) => endpoint.connect().await,
            #[cfg(feature = "embedded")]
            Self::Embedded { config, relay } => {
                forget_failed(relay).await;
                let running = match relay.take() {
                    Some(running) => running,
                    None => start(config).await.map_err(io::Error::other)?,
                };
                Ok(super::endpoint::stub(relay.insert(running).embedded().channel(), None))
            }
        }
    }

    /// Stops the node if it runs here.
    pub(super) async fn stop(&mut self) {
        match self {
            Self::Remote(_) => {}
            #[cfg(feature = "embedded")]
            Self::Embedded { relay, .. } => {
                if let Some(running) = relay.take()
                    && let Err(error) = running.stop().await
                {
                    tracing::error!(%error, "the node did not stop well");
                }
            }
        }
    }
}

#[cfg(feature = "embedded")]
async fn start(config: &NodeConfig) -> Result<Box<Relay>, NodeError> {
    let started = Relay::start(config.clone()).await;
    started.map(Box::new).map_err(|error| NodeError(error.to_string()))
}

/// A node that ended by itself makes room for a new one.
#[cfg(feature = "embedded")]
async fn forget_failed(relay: &mut Option<Box<Relay>>) {
    let Some(running) = relay else { return };
    let ended = tokio::time::timeout(std::time::Duration::ZERO, running.ended()).await;
    if let Ok(ended) = ended {
        let reason = ended.err().map(|error| error.to_string());
        tracing::error!(reason, "the node ended by itself");
        *relay = None;
    }
}
