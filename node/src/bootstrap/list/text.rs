//! The one text that a signed list has (PROTOCOL §5.6): a line for each thing, in a fixed order.
//!
//! Entry functions are [`written`] and [`parsed`]. A text that would be written differently is refused,
//! so that whoever changes a byte of a file has changed the list.

use std::fmt::Write;

use comm_proto::key::{PublicKey, Signature};
use comm_proto::relay_list::{ListTerms, ListedRelay, RELAYS_MAX, RelayList};
use comm_proto::time::Time;
use jiff::Timestamp;
use thiserror::Error;

use crate::config::bootstrap::BootstrapPeer;

const HEADING: &str = "comm relay list 1";

/// Why a text is no list.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TextError {
    /// It does not begin as one.
    #[error("its first line is not \"{HEADING}\"")]
    Kind,
    /// A line is missing, or something else stands there.
    #[error("line {line} should be \"{wanted}\"")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What it looks like.
        wanted: &'static str,
    },
    /// It could also be written otherwise.
    #[error("it is not written as lists are, or was changed")]
    OtherForm,
}

/// A relay of a list as the dialler takes it.
pub(super) fn place(relay: &ListedRelay) -> BootstrapPeer {
    BootstrapPeer { key: Some(relay.key), host: relay.host.clone(), port: relay.port }
}

/// The time without its fraction of a second, which a list does not show.
pub(super) fn whole_seconds(time: Time) -> Time {
    Time::from_millis(time.as_millis() / 1_000 * 1_000)
}

/// The text of a list, with a line break at its end.
pub fn written(list: &RelayList) -> String {
    let terms = list.terms();
    let mut text = format!("{HEADING}\nnetwork {}\n", terms.network);
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "{name} {value}").expect("a text grows as long as there is memory");
    };
    line("issued", &shown(terms.issued));
    line("expires", &shown(terms.expires));
    line("signer", list.signer());
    for relay in &terms.relays {
        line("relay", &place(relay));
    }
    line("signature", &hex::encode(list.signature().as_bytes()));
    text
}

/// Reads a text.
pub(super) fn parsed(text: &str) -> Result<RelayList, TextError> {
    let mut lines = Lines { rest: text, line: 0 };
    if lines.next() != Some(HEADING) {
        return Err(TextError::Kind);
    }
    let network = lines.value("network NAME", |value| Some(value.to_owned()))?;
    let issued = lines.value("issued 2026-12-31T00:00:00Z", time)?;
    let expires = lines.value("expires 2026-12-31T00:00:00Z", time)?;
    let signer = lines.value("signer KEY", |value| bytes(value).map(PublicKey::from_bytes))?;
    let mut relays = Vec::new();
    while lines.rest.starts_with("relay ") && relays.len() <= RELAYS_MAX {
        relays.push(lines.value("relay KEY@HOST:PORT", relay)?);
    }
    let signature = |value: &str| bytes(value).map(Signature::from_bytes);
    let signature = lines.value("signature SIGNATURE", signature)?;
    let terms = ListTerms { network, issued, expires, relays };
    let list = RelayList::from_parts(terms, signer, signature);
    if written(&list) == text { Ok(list) } else { Err(TextError::OtherForm) }
}

struct Lines<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let (line, rest) = self.rest.split_once('\n')?;
        self.rest = rest;
        self.line += 1;
        Some(line)
    }

    /// What stands in the next line behind the first word of `wanted`.
    fn value<T>(
        &mut self,
        wanted: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, TextError> {
        let name = wanted.split(' ').next().unwrap_or_default();
        let line = self.line + 1;
        let value = self.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(read).ok_or(TextError::Line { line, wanted })
    }
}

pub(super) fn shown(time: Time) -> String {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    // What no calendar has is shown as what no list has.
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX).to_string()
}

fn time(text: &str) -> Option<Time> {
    let millis = text.parse::<Timestamp>().ok()?.as_millisecond();
    u64::try_from(millis).ok().map(Time::from_millis)
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

fn relay(text: &str) -> Option<ListedRelay> {
    let BootstrapPeer { key, host, port } = text.parse().ok()?;
    Some(ListedRelay { key: key?, host, port })
}
