//! Reading the configuration again while the node runs, as SIGHUP asks.
//!
//! Entry type is [`Reloads`]. What can change without a restart changes at once; the other keys keep
//! their values and are named. A configuration that cannot be used as a whole changes nothing.

use std::fmt;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use toml::{Table, Value};
use tracing::{error, info, warn};

use crate::cli::KEYS;
use crate::config::{InvalidValue, NodeConfig};
use crate::links::blocks::{BlockFileError, BlockList};
use crate::logging::LogLevel;
use crate::metrics;
use crate::telemetry::{self, NoTraces};

/// The keys whose values can change while the node runs. The file that `block.file` names is read
/// again each time, also when the key has the same value.
pub const LIVE: [&str; 12] = [
    "block.file",
    "limits.connections_per_ip",
    "limits.connections_per_ip_per_minute",
    "limits.connect_timeout",
    "limits.handshake_timeout",
    "limits.write_timeout",
    "limits.read_timeout",
    "traffic.rate_max",
    "traffic.rate_burst",
    "traffic.volume_max",
    "traffic.volume_period",
    "log.level",
];

/// How long the files may take to be read.
const READ_MAX: Duration = Duration::from_secs(10);

/// Where the configuration comes from, and when it is to be read again.
pub struct Reloads {
    hangups: Option<Signal>,
    read: Arc<Read>,
    log: Option<LogLevel>,
}

type Read = dyn Fn() -> Result<NodeConfig, String> + Send + Sync;

/// What reading again has come to.
#[derive(Debug)]
pub(crate) struct Change {
    /// What holds from now on: the old configuration, with new values where that is possible.
    pub(crate) config: NodeConfig,
    /// Whom to have nothing to do with from now on.
    pub(crate) blocks: BlockList,
    /// Keys that have another value now.
    changed: Vec<&'static str>,
    /// Keys that will have another value after a restart.
    waiting: Vec<&'static str>,
}

/// Why a configuration was not put in force.
#[derive(Debug, Error)]
pub(crate) enum ReloadError {
    /// It cannot be read, or has an impossible value.
    #[error("{0}")]
    Unusable(String),
    /// With the values that cannot change, the others are impossible.
    #[error("{0}; values that take a restart still hold as they were")]
    Together(#[from] InvalidValue),
    /// The list of the blocked is none.
    #[error(transparent)]
    Blocks(#[from] BlockFileError),
    /// After a restart the node would not start.
    #[error(transparent)]
    Traces(#[from] NoTraces),
    /// The files are somewhere that does not answer.
    #[error("it could not be read within {} seconds", READ_MAX.as_secs())]
    Slow,
}

impl Reloads {
    /// The configuration is never read again.
    pub fn never() -> Self {
        Self { hangups: None, read: Arc::new(|| Ok(NodeConfig::default())), log: None }
    }

    /// `read` is asked again at each SIGHUP, which from now on ends the process no more; `log` changes
    /// what is logged. To be called on a runtime.
    ///
    /// # Errors
    /// When the system does not let signals be waited for.
    pub fn at_hangup(
        read: impl Fn() -> Result<NodeConfig, String> + Send + Sync + 'static,
        log: LogLevel,
    ) -> io::Result<Self> {
        let hangups = signal(SignalKind::hangup())?;
        Ok(Self { hangups: Some(hangups), read: Arc::new(read), log: Some(log) })
    }

    /// Waits until the configuration is to be read again.
    pub(crate) async fn requested(&mut self) {
        let told = match &mut self.hangups {
            Some(hangups) => hangups.recv().await,
            None => None,
        };
        if told.is_none() {
            pending().await
        }
    }

    /// Reads it again, where `in_force` holds now. The new level of the log holds when this returns;
    /// the rest is for the caller to put in force. None when nothing changes, which the log explains.
    pub(crate) async fn read(&self, in_force: &NodeConfig) -> Option<Change> {
        let (read, in_force) = (Arc::clone(&self.read), in_force.clone());
        let reading = spawn_blocking(move || {
            Change::between(&in_force, read().map_err(ReloadError::Unusable)?)
        });
        let change = match timeout(READ_MAX, reading).await {
            Ok(Ok(change)) => change,
            Ok(Err(panicked)) => Err(ReloadError::Unusable(panicked.to_string())),
            Err(_) => Err(ReloadError::Slow),
        };
        metrics::configured(change.is_ok());
        match change {
            Ok(mut change) => {
                self.set_level(&mut change);
                change.tell();
                Some(change)
            }
            Err(error) => {
                error!(%error, "the configuration was not put in force; all is as it was before");
                None
            }
        }
    }

    fn set_level(&self, change: &mut Change) {
        let Some(log) = &self.log else { return };
        if LogLevel::is_by_environment() {
            change.leave_level_to_environment();
        } else if let Err(error) = log.set(&change.config.log.level) {
            error!(%error, "the level of the log was not changed");
        }
    }
}

impl fmt::Debug for Reloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloads").field("hangups", &self.hangups).finish_non_exhaustive()
    }
}

impl Change {
    fn between(in_force: &NodeConfig, read: NodeConfig) -> Result<Self, ReloadError> {
        let config = merged(in_force, &read).validated()?;
        let blocks = config.block_list()?;
        telemetry::check(&read.traces)?;
        let differing = differing(in_force, &read);
        let (changed, waiting) = differing.into_iter().partition(|key| LIVE.contains(key));
        Ok(Self { config, blocks, changed, waiting })
    }

    /// What is logged is not what this configuration says.
    fn leave_level_to_environment(&mut self) {
        let keys = self.changed.len();
        self.changed.retain(|key| *key != "log.level");
        if self.changed.len() < keys {
            warn!("log.level was not changed: RUST_LOG is set and comes before it");
        }
    }

    fn tell(&self) {
        let changed = self.changed.join(", ");
        info!(changed, blocked = self.blocks.len(), "the configuration was read again");
        if !self.waiting.is_empty() {
            let keys = self.waiting.join(", ");
            warn!(keys, "these keys have new values that a restart puts in force");
        }
    }
}

/// `in_force`, with the values of `read` that need no restart.
fn merged(in_force: &NodeConfig, read: &NodeConfig) -> NodeConfig {
    let mut config = in_force.clone();
    config.block.clone_from(&read.block);
    config.log.level.clone_from(&read.log.level);
    config.traffic.clone_from(&read.traffic);
    let (limits, read) = (&mut config.limits, &read.limits);
    limits.connections_per_ip = read.connections_per_ip;
    limits.connections_per_ip_per_minute = read.connections_per_ip_per_minute;
    limits.connect_timeout = read.connect_timeout;
    limits.handshake_timeout = read.handshake_timeout;
    limits.write_timeout = read.write_timeout;
    limits.read_timeout = read.read_timeout;
    config
}

/// The keys at which two configurations differ.
fn differing(one: &NodeConfig, other: &NodeConfig) -> Vec<&'static str> {
    let [one, other] = [one, other]
        .map(|config| Table::try_from(config).expect("a configuration is made of plain values"));
    KEYS.iter().copied().filter(|key| at(&one, key) != at(&other, key)).collect()
}

fn at<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        Some((section, rest)) => at(table.get(section)?.as_table()?, rest),
        None => table.get(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::units::{ByteSize, Interval};
    use comm_proto::time::Span;

    #[test]
    fn what_can_change_changes_and_the_rest_waits_for_a_restart() {
        let (before, mut read) = (NodeConfig::default(), NodeConfig::default());
        read.limits.connections_per_ip = 7;
        read.limits.handshake_timeout = Interval(Span::from_secs(3));
        read.log.level = "warn".to_owned();
        read.store.bytes_max = ByteSize(1 << 25);
        read.limits.calls_max = 9;
        let change = Change::between(&before, read).unwrap();
        let changed = ["limits.connections_per_ip", "limits.handshake_timeout", "log.level"];
        assert_eq!(change.changed, changed);
        assert_eq!(change.waiting, ["store.bytes_max", "limits.calls_max"]);
        assert_eq!(differing(&before, &change.config), changed);
        // Whoever reads the same again is reminded of what waits, and of nothing else.
        assert_eq!(change.config.limits.connections_per_ip, 7);
    }

    #[test]
    fn values_that_are_impossible_beside_those_that_wait_change_nothing() {
        let (before, mut read) = (NodeConfig::default(), NodeConfig::default());
        read.limits.ping_interval = Interval(Span::from_secs(1));
        read.limits.read_timeout = Interval(Span::from_secs(20));
        assert!(read.clone().validated().is_ok());
        let error = Change::between(&before, read).unwrap_err().to_string();
        assert!(error.starts_with("limits.read_timeout: "), "{error}");
    }

    #[test]
    fn every_key_that_can_change_is_a_key() {
        assert!(LIVE.iter().all(|key| KEYS.contains(key)));
    }

    /// The defaults, with another value for `key` alone.
    fn with_another(key: &'static str) -> NodeConfig {
        let before = NodeConfig::default();
        let text = |text: &str| Value::String(text.to_owned());
        let words = [
            "13s",
            "77MiB",
            "week 3",
            "warn",
            "json",
            "/elsewhere",
            "127.0.0.1:9",
            "other.example:9",
            "http://127.0.0.1:9",
            "0707070707070707070707070707070707070707070707070707070707070707",
        ];
        let lists = words.map(|word| Value::Array(vec![text(word)]));
        let plain = [Value::Integer(13), Value::Boolean(true), Value::Boolean(false)];
        let values = words.map(text).into_iter().chain(lists).chain(plain);
        let with = |value: Value| {
            let mut table = Table::try_from(&before).unwrap();
            match key.split_once('.') {
                Some((section, name)) => {
                    let section = table.entry(section).or_insert_with(|| Table::new().into());
                    section.as_table_mut().unwrap().insert(name.to_owned(), value)
                }
                None => table.insert(key.to_owned(), value),
            };
            table.try_into::<NodeConfig>().ok().filter(|read| differing(&before, read) == [key])
        };
        values.into_iter().find_map(with).unwrap_or_else(|| panic!("no other value for {key}"))
    }

    #[test]
    fn the_keys_that_are_said_to_change_are_those_that_do() {
        let before = NodeConfig::default();
        for key in KEYS {
            let changed = differing(&before, &merged(&before, &with_another(key)));
            let expected: Vec<_> = LIVE.into_iter().filter(|live| *live == *key).collect();
            assert_eq!(changed, expected, "{key}");
        }
    }
}
