//! A node through which another one finds the network.
//!
//! Entry type is [`BootstrapPeer`]. It looks no host name up; that is the dialler's work.

use std::fmt;
use std::str::FromStr;

use comm_proto::key::PublicKey;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where a node listens, and which node it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BootstrapPeer {
    /// The key it must prove. Without one, whoever answers there is believed.
    pub key: Option<PublicKey>,
    /// A host name or an IP address; IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why a text names no node.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParsePeerError {
    /// The part before the `@` is no key.
    #[error("{0:?} does not start with a key of 64 hexadecimal digits before the @")]
    Key(String),
    /// There is no host with a port.
    #[error("{0:?} is neither HOST:PORT nor KEY@HOST:PORT")]
    Place(String),
}

impl FromStr for BootstrapPeer {
    type Err = ParsePeerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, place) = match text.split_once('@') {
            Some((key, place)) => (Some(parse_key(text, key)?), place),
            None => (None, text),
        };
        let (host, port) = parse_place(place).ok_or_else(|| ParsePeerError::Place(text.into()))?;
        Ok(Self { key, host, port })
    }
}

impl fmt::Display for BootstrapPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = &self.key {
            write!(f, "{key}@")?;
        }
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl TryFrom<String> for BootstrapPeer {
    type Error = ParsePeerError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<BootstrapPeer> for String {
    fn from(peer: BootstrapPeer) -> Self {
        peer.to_string()
    }
}

fn parse_key(text: &str, key: &str) -> Result<PublicKey, ParsePeerError> {
    let mut bytes = [0; PublicKey::LEN];
    hex::decode_to_slice(key, &mut bytes).map_err(|_| ParsePeerError::Key(text.to_owned()))?;
    Ok(PublicKey::from_bytes(bytes))
}

fn parse_place(place: &str) -> Option<(String, u16)> {
    let (host, port) = place.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|ip| ip.contains(':'))?,
        None => Some(host).filter(|host| !host.contains([':', '/']))?,
    };
    // Hosts come from others, too, and are shown on terminals.
    if !host.chars().all(|letter| letter.is_ascii_graphic()) {
        return None;
    }
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_shown_as_it_was_written() {
        let key = "ab".repeat(32);
        for place in ["node.example:7667", "192.0.2.1:7667", "[2001:db8::1]:7667"] {
            for text in [place.to_owned(), format!("{key}@{place}")] {
                assert_eq!(text.parse::<BootstrapPeer>().unwrap().to_string(), text);
            }
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "host", ":1", "host:0", "host:65536", "2001:db8::1:7667", "[host]:1"] {
            let refused = Err(ParsePeerError::Place(text.to_owned()));
            assert_eq!(text.parse::<BootstrapPeer>(), refused);
        }
        for text in ["a b:1", "\u{1b}]0;x\u{7}:1", "a\n:1", "\u{202e}a:1"] {
            let refused = text.parse::<BootstrapPeer>().unwrap_err().to_string();
            assert!(refused.chars().all(|letter| !letter.is_control()), "{refused:?}");
        }
        assert!(matches!("ab@host:1".parse::<BootstrapPeer>(), Err(ParsePeerError::Key(_))));
    }
}
