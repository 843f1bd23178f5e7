//! What a node says of how it finds others and how they may reach it: its sources of relays to begin with, and what
//! a router forwards to it.
//!
//! Entry types are [`Beginning`] and [`Forwarding`], parts of a [`super::Report`].

use std::fmt;

use comm_proto::wire::client::{BootstrapSource, PortMapping};
use serde::Serialize;

use super::places;

/// A source of relays to begin with, and what has come of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Beginning {
    /// `configuration`, `dns`, `list` or `lan`.
    pub kind: String,
    /// Which one: a place, a name, a file, a service.
    pub name: String,
    /// Places that it named when it was asked last.
    pub named: u64,
    /// How many of them have answered.
    pub answered: u64,
    /// Why it is of no use now.
    pub trouble: Option<String>,
}

/// A port that a router forwards to it, or why not; nothing is known while the router is being asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Forwarding {
    /// How it was asked: `PCP`, `NAT-PMP` or `UPnP`.
    pub protocol: Option<String>,
    /// Where others reach the port.
    pub external: Option<String>,
    /// Why it is not forwarded.
    pub trouble: Option<String>,
}

impl From<&BootstrapSource> for Beginning {
    fn from(source: &BootstrapSource) -> Self {
        let BootstrapSource { kind, name, named, answered, trouble } = source.clone();
        Self { kind, name, named, answered, trouble }
    }
}

impl From<&PortMapping> for Forwarding {
    fn from(mapping: &PortMapping) -> Self {
        let external = mapping.external.clone().map(|external| places(&[external]).concat());
        let PortMapping { protocol, trouble, .. } = mapping.clone();
        Self { protocol, external: external.filter(|at| !at.is_empty()), trouble }
    }
}

/// For people, in one line.
impl fmt::Display for Beginning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, named, answered, trouble } = self;
        write!(f, "{kind} {name}: ")?;
        match (trouble, named) {
            (Some(trouble), _) => f.write_str(trouble),
            (None, 0) => f.write_str("being asked"),
            (None, named) => write!(f, "{answered} of {named} answered"),
        }
    }
}

/// For people, in one line.
impl fmt::Display for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.external, &self.protocol, &self.trouble) {
            (Some(external), Some(protocol), _) => write!(f, "{external}, by {protocol}"),
            (_, _, Some(trouble)) => write!(f, "NOT FORWARDED: {trouble}"),
            _ => f.write_str("the router is being asked"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_forwarded_ports_are_told_in_one_line_each() {
        let source = BootstrapSource {
            kind: "dns".to_owned(),
            name: "relays.example".to_owned(),
            ..BootstrapSource::default()
        };
        let told = |source: &BootstrapSource| Beginning::from(source).to_string();
        assert_eq!(told(&source), "dns relays.example: being asked");
        let asked = BootstrapSource { named: 3, answered: 2, ..source.clone() };
        assert_eq!(told(&asked), "dns relays.example: 2 of 3 answered");
        let silent = BootstrapSource { trouble: Some("no answer".to_owned()), ..asked };
        assert_eq!(told(&silent), "dns relays.example: no answer");
        let told = |mapping: PortMapping| Forwarding::from(&mapping).to_string();
        assert_eq!(told(PortMapping::default()), "the router is being asked");
        let external: std::net::SocketAddr = "198.51.100.7:7667".parse().unwrap();
        let mapping = PortMapping {
            protocol: Some("PCP".to_owned()),
            external: Some((&external).into()),
            trouble: None,
        };
        assert_eq!(told(mapping), "198.51.100.7:7667, by PCP");
        let refused = PortMapping { trouble: Some("no".to_owned()), ..PortMapping::default() };
        assert_eq!(told(refused), "NOT FORWARDED: no");
    }
}
