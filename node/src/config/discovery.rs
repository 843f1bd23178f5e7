//! Where a node learns of relays to begin with, beside those that its configuration names.
//!
//! Entry type is [`DiscoveryConfig`]. It looks nothing up; that is [`crate::bootstrap`]'s work.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use comm_proto::key::PublicKey;
use domain::base::Name;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{InvalidValue, NodeConfig, require};

/// The most names, the most lists and the most signers.
pub const SOURCES_MAX: usize = 8;

/// Sources of relays to begin with; there are none when nothing is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiscoveryConfig {
    /// Names whose TXT records name relays; at most [`SOURCES_MAX`].
    pub dns: Vec<DnsName>,
    /// The name server to ask for these records; those of the system when not set.
    pub dns_server: Option<SocketAddr>,
    /// Files with signed lists of relays; at most [`SOURCES_MAX`].
    pub lists: Vec<PathBuf>,
    /// Whose lists are believed; at most [`SOURCES_MAX`].
    pub signers: Vec<Signer>,
    /// Find relays in the local network by mDNS, and be found there.
    pub lan: bool,
}

/// A name in DNS, absolute without a dot at its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DnsName(String);

/// The public key of somebody who signs lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Signer(pub PublicKey);

/// Why a text is no name or no key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseSourceError {
    /// It is no name.
    #[error("\"{0}\" is no name in DNS")]
    Name(String),
    /// It is no key.
    #[error("\"{0}\" is no key of 64 hexadecimal digits")]
    Key(String),
}

impl DiscoveryConfig {
    /// Whether any source is named.
    pub fn has_sources(&self) -> bool {
        !self.dns.is_empty() || !self.lists.is_empty() || self.lan
    }

    pub(super) fn refuse_bad_sources(&self, config: &NodeConfig) -> Result<(), InvalidValue> {
        for (key, count) in [
            ("discovery.dns", self.dns.len()),
            ("discovery.lists", self.lists.len()),
            ("discovery.signers", self.signers.len()),
        ] {
            require(key, count <= SOURCES_MAX, || format!("must be {SOURCES_MAX} at the most"))?;
        }
        require("discovery.dns_server", self.dns_server.is_none_or(|at| at.port() != 0), || {
            "nobody can be asked at port 0".into()
        })?;
        let is_named = self.lists.iter().all(|file| !file.as_os_str().is_empty());
        require("discovery.lists", is_named, || "the name of a file must not be empty".into())?;
        require("discovery.lan", !self.lan || config.network_key_file.is_none(), || {
            "would show everybody in the local network that a relay is here, which a network with a \
             key hides; take it out, or network_key_file"
                .into()
        })
    }
}

impl DnsName {
    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DnsName {
    type Err = ParseSourceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = text.parse::<Name<Vec<u8>>>().is_ok_and(|name| !name.is_root());
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        match fits && is_plain {
            true => Ok(Self(text.to_owned())),
            false => Err(ParseSourceError::Name(text.to_owned())),
        }
    }
}

impl FromStr for Signer {
    type Err = ParseSourceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; PublicKey::LEN];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| ParseSourceError::Key(text.to_owned()))?;
        Ok(Self(PublicKey::from_bytes(bytes)))
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for DnsName {
    type Error = ParseSourceError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<String> for Signer {
    type Error = ParseSourceError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<DnsName> for String {
    fn from(name: DnsName) -> Self {
        name.0
    }
}

impl From<Signer> for String {
    fn from(signer: Signer) -> Self {
        signer.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_dns_is_taken_as_it_is_written_and_nothing_else_is_one() {
        for text in ["relays.example.org", "relays.example.org.", "_comm.example"] {
            assert_eq!(text.parse::<DnsName>().unwrap().to_string(), text);
        }
        let long = format!("{}.example", "x".repeat(64));
        for text in ["", ".", "a..b", "a b", "ä.example", "a\\.b", &long, &"a.".repeat(200)] {
            assert_eq!(text.parse::<DnsName>(), Err(ParseSourceError::Name(text.to_owned())));
        }
    }

    #[test]
    fn a_signer_is_a_key_in_hexadecimal() {
        let text = "ab".repeat(32);
        assert_eq!(text.parse::<Signer>().unwrap().to_string(), text);
        assert_eq!("ab".parse::<Signer>(), Err(ParseSourceError::Key("ab".to_owned())));
    }

    #[test]
    fn sources_that_cannot_be_used_are_refused_by_their_key() {
        let refused = |change: &dyn Fn(&mut NodeConfig)| {
            let mut config = NodeConfig::default();
            change(&mut config);
            config.validated().err().map(|error| error.key)
        };
        let name = || "relays.example".parse::<DnsName>().unwrap();
        assert_eq!(refused(&|c| c.discovery.dns = vec![name(); 8]), None);
        assert_eq!(refused(&|c| c.discovery.dns = vec![name(); 9]), Some("discovery.dns"));
        let nowhere = "127.0.0.1:0".parse().ok();
        assert_eq!(refused(&|c| c.discovery.dns_server = nowhere), Some("discovery.dns_server"));
        let unnamed = |c: &mut NodeConfig| c.discovery.lists = vec![PathBuf::new()];
        assert_eq!(refused(&unnamed), Some("discovery.lists"));
        let signer = Signer(PublicKey::from_bytes([1; 32]));
        let signers = |c: &mut NodeConfig| c.discovery.signers = vec![signer; 9];
        assert_eq!(refused(&signers), Some("discovery.signers"));
        let hidden = |c: &mut NodeConfig| {
            c.network_key_file = Some("/etc/comm/network.key".into());
            c.discovery.lan = true;
        };
        assert_eq!(refused(&hidden), Some("discovery.lan"));
    }
}
