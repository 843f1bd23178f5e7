//! Links between nodes (PROTOCOL §5.2): TCP, inside it TLS bound to both node keys, inside it gRPC;
//! in a network with a key all of it sealed once more.
//!
//! [`dial::Peers`] opens links, [`accept::Door`] accepts them, [`tls::Credentials`] proves keys at
//! both ends. Which nodes to talk to, and about what, is the state machine's to say.

pub mod accept;
mod allowed;
pub mod backoff;
pub mod blocks;
pub mod dial;
pub mod encrypted;
pub mod gate;
pub mod link;
mod listen;
pub mod metered;
pub mod private;
pub mod probe;
pub mod sealed;
mod slots;
pub mod standstill;
#[cfg(test)]
mod storm;
pub mod tls;
pub mod wire;

use std::time::Duration;

use tonic::metadata::errors::InvalidMetadataValue;
use tonic::metadata::{Ascii, MetadataValue};

/// Bytes that one call may have on the way before the reader has taken any.
pub(crate) const CALL_WINDOW: u32 = 2 << 20;
/// Bytes that all calls of one link may have on the way.
pub(crate) const LINK_WINDOW: u32 = 8 << 20;
/// Bytes of headers that a call may carry; ours carry about two hundred.
pub(crate) const HEADERS_MAX: u32 = 4 << 10;

/// The metadata that names the network a node belongs to; checked at each call, inside the link.
pub(crate) const NETWORK_KEY: &str = "comm-network";

/// How a silent link is kept open, and a dead one found out (PROTOCOL §5.2). Either side pings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// How often a link on which nothing comes in is asked whether it lives.
    pub every: Duration,
    /// How long the answer to that may take.
    pub patience: Duration,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self { every: Duration::from_secs(20), patience: Duration::from_secs(10) }
    }
}

/// The name of a network, which keeps test networks apart (PROTOCOL §5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network(MetadataValue<Ascii>);

impl Network {
    /// A network's name: visible ASCII characters.
    ///
    /// # Errors
    /// When it has others.
    pub fn new(name: &str) -> Result<Self, InvalidMetadataValue> {
        name.parse().map(Self)
    }

    /// Names it in a call.
    pub(crate) fn name_in<T>(&self, request: &mut tonic::Request<T>) {
        request.metadata_mut().insert(NETWORK_KEY, self.0.clone());
    }

    /// Whether a call names it.
    pub(crate) fn is_named_in<T>(&self, request: &tonic::Request<T>) -> bool {
        request.metadata().get(NETWORK_KEY) == Some(&self.0)
    }
}
