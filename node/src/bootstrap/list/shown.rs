//! Making a list, and looking into one: what `comm-node list` does.
//!
//! Entry type is [`Shown`]. It reads the file that it is given and writes none.

use std::fmt;
use std::path::Path;

use comm_proto::key::KeyPair;
use comm_proto::relay_list::{ListTerms, ListedRelay, RelayListError};
use comm_proto::time::{Span, Time};
use serde::Serialize;
use thiserror::Error;

use super::text::{place, shown, whole_seconds, written};
use super::{List, ListError, read};
use crate::config::NodeConfig;
use crate::config::bootstrap::BootstrapPeer;

/// What a list says, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// The network that it is for.
    pub network: String,
    /// When it was made, in UTC.
    pub issued: String,
    /// From when on it is not to be used, in UTC.
    pub expires: String,
    /// The key that is said to have signed it.
    pub signer: String,
    /// Its relays, as KEY@HOST:PORT.
    pub relays: Vec<String>,
    /// Why it is not to be used; nothing if it is.
    pub trouble: Option<String>,
}

/// Why a list cannot be signed.
#[derive(Debug, Error)]
pub enum SignError {
    /// A relay has no key.
    #[error("{0} has no key: a list names relays as KEY@HOST:PORT")]
    NoKey(BootstrapPeer),
    /// What it would say is impossible.
    #[error("the list is not signed: {0}")]
    Terms(#[from] RelayListError),
}

impl Shown {
    /// The text of a list of these relays for `network` that holds for so long from `now` on.
    ///
    /// # Errors
    /// When a relay has no key, or there are too many, or it would hold for too long.
    pub fn sign(
        network: &str,
        relays: &[BootstrapPeer],
        (now, valid): (Time, Span),
        signer: &KeyPair,
    ) -> Result<String, SignError> {
        let listed = |relay: &BootstrapPeer| {
            let key = relay.key.ok_or_else(|| SignError::NoKey(relay.clone()))?;
            Ok(ListedRelay { key, host: relay.host.clone(), port: relay.port })
        };
        let relays = relays.iter().map(listed).collect::<Result<Vec<_>, SignError>>()?;
        let issued = whole_seconds(now);
        let expires = whole_seconds(issued + valid);
        let terms = ListTerms { network: network.to_owned(), issued, expires, relays };
        Ok(written(&terms.sign(signer)?))
    }

    /// What the file at `path` says. By `config` and at `now` it is told whether it is to be used; if that
    /// names no signer, whoever has signed it will do.
    ///
    /// # Errors
    /// When it cannot be read, or is no list.
    pub fn read(config: &NodeConfig, path: &Path, now: Time) -> Result<Self, ListError> {
        let list = read(path)?;
        let mut believed: Vec<_> = config.discovery.signers.iter().map(|signer| signer.0).collect();
        if believed.is_empty() {
            believed.push(*list.signer());
        }
        let terms = list.terms();
        let checked = List::new(path.to_owned(), believed, config.network.clone()).relays(now);
        Ok(Self {
            network: terms.network.clone(),
            issued: shown(terms.issued),
            expires: shown(terms.expires),
            signer: list.signer().to_string(),
            relays: terms.relays.iter().map(|relay| place(relay).to_string()).collect(),
            trouble: checked.err().map(|error| error.to_string()),
        })
    }

    /// Whether a node would use it.
    pub const fn is_usable(&self) -> bool {
        self.trouble.is_none()
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { network, issued, expires, signer, relays, trouble } = self;
        writeln!(
            f,
            "network   {network}\nissued    {issued}\nexpires   {expires}\nsigner    {signer}"
        )?;
        for relay in relays {
            writeln!(f, "relay     {relay}")?;
        }
        match trouble {
            Some(trouble) => writeln!(f, "REFUSED   {trouble}"),
            None => writeln!(f, "signature good"),
        }
    }
}
