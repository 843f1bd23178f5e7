//! Who is told what the node does, if anybody.
//!
//! Entry type is [`TracesConfig`]. Nothing is sent here; that is [`crate::telemetry`]'s work.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tonic::transport::Uri;

/// Who is told what the node does; nobody when nothing is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TracesConfig {
    /// Who takes traces by OTLP over gRPC. Only a program that was built for it can send any.
    pub collector: Option<Collector>,
}

/// Where a collector takes traces: `http://HOST:PORT`, or `https://HOST:PORT` for one that TLS proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Collector(Uri);

/// Why a text names no collector.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseCollectorError {
    /// There is somebody's name or password in it. The text is not told: logs are no place for it either.
    #[error("must not have a name or a password in it, as everybody sees who sees the settings")]
    Secret,
    /// It is something else.
    #[error("{0:?} is neither http://HOST:PORT nor https://HOST:PORT")]
    Place(String),
}

impl Collector {
    /// A host name or an IP address; IPv6 without brackets.
    pub fn host(&self) -> &str {
        let host = self.0.host().unwrap_or_default();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or_default()
    }

    /// The whole, as it was written.
    pub const fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether it has to prove by TLS who it is, and nobody on the way can read along.
    pub fn is_proved(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }
}

impl FromStr for Collector {
    type Err = ParseCollectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('@') {
            return Err(ParseCollectorError::Secret);
        }
        let fits = |uri: &Uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
                && uri.port_u16().is_some_and(|port| port != 0)
                && uri.path_and_query().is_none_or(|rest| rest == "/")
        };
        let uri = text.parse().ok().filter(fits);
        uri.map(Self).ok_or_else(|| ParseCollectorError::Place(up_to_path(text).to_owned()))
    }
}

/// What stands behind a place may be a secret as well.
fn up_to_path(text: &str) -> &str {
    let place = text.find("://").map_or(0, |at| at + 3);
    let length = text[place..].find(['/', '?', '#']);
    length.map_or(text, |length| &text[..place + length])
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the `/` that every URI has for a path.
        f.write_str(self.0.to_string().trim_end_matches('/'))
    }
}

impl TryFrom<String> for Collector {
    type Error = ParseCollectorError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Collector> for String {
    fn from(collector: Collector) -> Self {
        collector.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_taken_as_it_is_written() {
        for (text, host, port, is_proved) in [
            ("http://127.0.0.1:4317", "127.0.0.1", 4317, false),
            ("https://collector.example:443", "collector.example", 443, true),
            ("http://[::1]:4317", "::1", 4317, false),
        ] {
            let collector: Collector = text.parse().unwrap();
            assert_eq!(collector.to_string(), text);
            assert_eq!((collector.host(), collector.port()), (host, port));
            assert_eq!(collector.is_proved(), is_proved);
            assert_eq!(format!("{text}/").parse(), Ok(collector));
        }
    }

    #[test]
    fn nothing_else_is_a_collector() {
        for text in [
            "",
            "collector.example:4317",
            "http://collector.example",
            "http://:4317",
            "http://collector.example:0",
            "http://collector.example:70000",
            "ftp://collector.example:4317",
            "http://collector.example:4317/v1/traces",
            "http://collector.example:4317?key=1",
            "http://a b:4317",
        ] {
            let expected = ParseCollectorError::Place(up_to_path(text).to_owned());
            assert_eq!(text.parse::<Collector>(), Err(expected));
        }
        assert_eq!(
            up_to_path("http://collector.example:4317?key=1"),
            "http://collector.example:4317"
        );
        assert_eq!(up_to_path("collector.example:4317"), "collector.example:4317");
    }

    #[test]
    fn a_password_in_a_collector_is_refused_and_not_told() {
        let refused = "https://ann:geheim@collector.example:4317".parse::<Collector>();
        assert_eq!(refused, Err(ParseCollectorError::Secret));
        assert!(!ParseCollectorError::Secret.to_string().contains("geheim"));
    }
}
