//! What an operator can set, and what holds when nothing is set.
//!
//! Entry type is [`NodeConfig`]. Where the values come from (a TOML file, the environment, flags)
//! is [`crate::cli`]'s business; this file knows their meaning, their bounds and their defaults.

pub mod bootstrap;
pub mod discovery;
pub mod traces;
pub mod units;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use comm_proto::node;
use comm_proto::time::Time;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::bootstrap::list::{List, ListError};
use crate::data_dir;
use crate::links::blocks::{BlockFileError, BlockList};
use crate::traffic::Rate;
use crate::traffic::account::Plan;
use crate::traffic::schedule::Schedule;

use bootstrap::BootstrapPeer;
use discovery::DiscoveryConfig;
use traces::TracesConfig;
use units::{ByteSize, Interval};

/// The port on which nodes listen for each other unless told otherwise.
pub const PORT: u16 = 7_667;

/// The longest name of a network, in bytes.
const NETWORK_LEN_MAX: usize = 64;
/// The longest path of a socket, in bytes: the system's own limit of 107, less the ending under
/// which it is made.
const SOCKET_PATH_LEN_MAX: usize = 103;
/// Below this the store would be full before its own files are written.
const STORE_BYTES_MIN: u64 = 16 << 20;
/// A rate below this is no line over which messages of a mebibyte come in time.
const RATE_MIN: u64 = 128 << 10;
/// Two of the largest messages.
const BURST_MIN: u64 = 2 << 20;
/// Below this a day would be spent with links alone.
const VOLUME_MIN: u64 = 64 << 20;

/// The configuration of one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// The directory for key, store and socket.
    pub data_dir: PathBuf,
    /// Nodes of other networks are refused; test networks have names of their own.
    pub network: String,
    /// The file with the key of a private network, in which outsiders learn nothing; an open network
    /// has none.
    pub network_key_file: Option<PathBuf>,
    /// Where to listen for other nodes.
    pub listen: Vec<SocketAddr>,
    /// Where other nodes reach this one; when empty, what it listens on.
    pub advertise: Vec<SocketAddr>,
    /// Dial out only: listen nowhere and be in nobody's table (PROTOCOL §5.1).
    pub leaf: bool,
    /// Nodes through which the network is found.
    pub bootstrap: Vec<BootstrapPeer>,
    /// Have the router forward a port to this node, by PCP, NAT-PMP or UPnP.
    pub port_mapping: bool,
    /// Where it learns of further such nodes.
    pub discovery: DiscoveryConfig,
    /// The side of the clients.
    pub api: ApiConfig,
    /// The exporter of metrics.
    pub metrics: MetricsConfig,
    /// Who is told what it does.
    pub traces: TracesConfig,
    /// Who runs the node.
    pub operator: OperatorConfig,
    /// The store.
    pub store: StoreConfig,
    /// Whom to have nothing to do with.
    pub block: BlockConfig,
    /// Bounds.
    pub limits: LimitsConfig,
    /// What it may carry between it and other nodes.
    pub traffic: TrafficConfig,
    /// Log lines.
    pub log: LogConfig,
    /// Times and counts of the protocol.
    pub protocol: ProtocolConfig,
}

/// Where clients come in (PROTOCOL §8).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// The unix socket; `api.sock` in the data directory when not set.
    pub socket: Option<PathBuf>,
    /// A loopback address for clients with the token; none when not set.
    pub tcp: Option<SocketAddr>,
}

/// The exporter of metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Where Prometheus finds them over HTTP; nowhere when not set.
    pub listen: Option<SocketAddr>,
}

/// Who runs the node, for people who look at its status page; nobody is named when nothing is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OperatorConfig {
    /// A name, at most [`Self::NAME_CHARS_MAX`] characters.
    pub name: Option<String>,
    /// How to reach them, at most [`Self::CONTACT_CHARS_MAX`] characters.
    pub contact: Option<String>,
}

impl OperatorConfig {
    /// The longest name, in characters.
    pub const NAME_CHARS_MAX: usize = 64;
    /// The longest contact, in characters.
    pub const CONTACT_CHARS_MAX: usize = 256;
}

/// The store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// Bytes of envelopes, of what remains of them, and of cards. When they are used up, envelopes that
    /// others have brought give way to those of sources with less, and all else is refused
    /// (PROTOCOL §6.1).
    pub bytes_max: ByteSize,
}

/// Bounds on what others can make this node do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Calls under way to other nodes.
    pub calls_max: usize,
    /// Sessions of clients.
    pub sessions_max: usize,
    /// Connections of one IP address at a time.
    pub connections_per_ip: u32,
    /// New connections of one IP address in a minute.
    pub connections_per_ip_per_minute: u64,
    /// How long a connection may take to be made.
    pub connect_timeout: Interval,
    /// How long the two sides may take to prove their keys.
    pub handshake_timeout: Interval,
    /// How long a write may wait for its receiver.
    pub write_timeout: Interval,
    /// How long a connection may be silent; living ones answer pings.
    pub read_timeout: Interval,
    /// How often a silent connection is pinged, so that nobody on the way forgets it.
    pub ping_interval: Interval,
    /// How long the answer to such a ping may take.
    pub ping_timeout: Interval,
}

/// Whom to have nothing to do with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlockConfig {
    /// A file with addresses of nodes and IP networks, one a line; nobody is blocked when not set.
    pub file: Option<PathBuf>,
}

/// What the node may carry between it and other nodes; nothing is limited when nothing is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrafficConfig {
    /// Bytes a second, in each direction.
    pub rate_max: Option<ByteSize>,
    /// Bytes that may go at once in a direction after a silence, beyond the rate.
    pub rate_burst: ByteSize,
    /// Bytes of a period, both directions together. When they are used up the node hibernates.
    pub volume_max: Option<ByteSize>,
    /// When periods begin.
    pub volume_period: Schedule,
}

/// Log lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// What is logged: a level, or levels for single parts as in `info,comm_node=debug`.
    pub level: String,
    /// How.
    pub format: LogFormat,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Times and counts of the protocol; for tests and for networks with figures of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProtocolConfig {
    /// Wait before the first repetition of an envelope (PROTOCOL §6.3).
    pub backoff_first: Interval,
    /// Longest wait between two repetitions (PROTOCOL §6.3).
    pub backoff_max: Interval,
    /// How long a region that was found is used without looking again.
    pub region_kept: Interval,
    /// How often subscriptions at other nodes are renewed (PROTOCOL §6.5).
    pub subscription_renewal: Interval,
    /// How long a subscription is left as it is while its stream brings pushes (PROTOCOL §6.5).
    pub subscription_rest: Interval,
    /// Silence, beyond that rest, after which another node's subscription is forgotten (PROTOCOL §6.5).
    pub subscription_kept: Interval,
    /// How long the answer to a call may take.
    pub call_timeout: Interval,
    /// How long a client's search for a card may take.
    pub card_lookup_timeout: Interval,
    /// Silence that makes a node of the table questionable (PROTOCOL §5.3).
    pub questionable_after: Interval,
    /// How long after a search in its range a bucket is stale (PROTOCOL §5.3).
    pub refresh_after: Interval,
    /// How many nodes a region should hold (PROTOCOL §5.5).
    pub region_nodes: u64,
    /// How many nodes hide this one's clients (PROTOCOL §6.8).
    pub entries: usize,
    /// Receipts of one envelope that an entry reports (PROTOCOL §6.8).
    pub stored_receipts: usize,
}

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{key}: {reason}")]
pub struct InvalidValue {
    /// The key, with its section.
    pub key: &'static str,
    /// Why its value cannot be used.
    pub reason: String,
}

impl NodeConfig {
    /// Checks every value, and empties `listen` of a leaf.
    ///
    /// # Errors
    /// On the first value that cannot be used.
    pub fn validated(mut self) -> Result<Self, InvalidValue> {
        self.refuse_bad_names()?;
        self.refuse_bad_operator()?;
        self.refuse_bad_addresses()?;
        self.discovery.refuse_bad_sources(&self)?;
        self.refuse_bad_bounds()?;
        if self.leaf {
            self.listen.clear();
        }
        Ok(self)
    }

    /// Where the socket for clients is.
    pub fn socket_path(&self) -> PathBuf {
        self.api.socket.clone().unwrap_or_else(|| data_dir::socket_path(&self.data_dir))
    }

    /// Where other nodes are told to reach this one, when it listens on `bound`. Empty for a leaf,
    /// and for a node that listens on every interface and was not told its address.
    pub fn endpoints(&self, bound: &[SocketAddr]) -> Vec<SocketAddr> {
        let told = if self.advertise.is_empty() { bound } else { &self.advertise };
        let reachable = |place: &&SocketAddr| !self.leaf && !place.ip().is_unspecified();
        told.iter().filter(reachable).copied().collect()
    }

    /// Whom to have nothing to do with, as the file says that is named for it.
    ///
    /// # Errors
    /// When the file cannot be read or is no such list.
    pub fn block_list(&self) -> Result<BlockList, BlockFileError> {
        self.block.file.as_deref().map_or_else(|| Ok(BlockList::default()), BlockList::read)
    }

    /// Looks whether every signed list that is named can be used at `now`.
    ///
    /// # Errors
    /// Why the first one cannot.
    pub fn relay_lists(&self, now: Time) -> Result<(), ListError> {
        let signers: Vec<_> = self.discovery.signers.iter().map(|signer| signer.0).collect();
        let look = |path: &PathBuf| {
            let list = List::new(path.clone(), signers.clone(), self.network.clone());
            list.relays(now).map(|_| ())
        };
        self.discovery.lists.iter().try_for_each(look)
    }

    /// The state machine's part of it, for a node that is reached at `endpoints`.
    pub fn node(&self, endpoints: Vec<SocketAddr>) -> node::Config {
        let mut config = node::Config {
            endpoints,
            region_nodes: self.protocol.region_nodes,
            entries: self.protocol.entries,
            stored_receipts: self.protocol.stored_receipts,
            backoff_first: self.protocol.backoff_first.0,
            backoff_max: self.protocol.backoff_max.0,
            region_kept: self.protocol.region_kept.0,
            subscription_renewal: self.protocol.subscription_renewal.0,
            subscription_rest: self.protocol.subscription_rest.0,
            subscription_kept: self.protocol.subscription_kept.0,
            call_timeout: self.protocol.call_timeout.0,
            card_lookup_timeout: self.protocol.card_lookup_timeout.0,
            store_bytes_max: self.store.bytes_max.0,
            calls_max: self.limits.calls_max,
            sessions_max: self.limits.sessions_max,
            ..node::Config::default()
        };
        config.table.questionable_after = self.protocol.questionable_after.0;
        config.table.refresh_after = self.protocol.refresh_after.0;
        config
    }

    fn refuse_bad_names(&self) -> Result<(), InvalidValue> {
        let network = self.network.as_bytes();
        require(
            "network",
            (1..=NETWORK_LEN_MAX).contains(&network.len())
                && network.iter().all(u8::is_ascii_graphic),
            || format!("must be 1 to {NETWORK_LEN_MAX} printable ASCII characters without spaces"),
        )?;
        let no_key = self.network_key_file.as_ref().is_some_and(|file| file.as_os_str().is_empty());
        require("network_key_file", !no_key, || "must not be empty".into())?;
        let no_blocks = self.block.file.as_ref().is_some_and(|file| file.as_os_str().is_empty());
        require("block.file", !no_blocks, || "must not be empty".into())?;
        require("data_dir", !self.data_dir.as_os_str().is_empty(), || "must not be empty".into())?;
        let socket = self.socket_path();
        require("api.socket", path_len(&socket) <= SOCKET_PATH_LEN_MAX, || {
            let longest = SOCKET_PATH_LEN_MAX;
            format!("{} is longer than the {longest} bytes a socket may have", socket.display())
        })?;
        let level = self.log.level.parse::<tracing_subscriber::EnvFilter>();
        require("log.level", level.is_ok(), || {
            format!("\"{}\" is none of error, warn, info, debug, trace", self.log.level)
        })
    }

    fn refuse_bad_operator(&self) -> Result<(), InvalidValue> {
        let OperatorConfig { name, contact } = &self.operator;
        for (key, text, most) in [
            ("operator.name", name, OperatorConfig::NAME_CHARS_MAX),
            ("operator.contact", contact, OperatorConfig::CONTACT_CHARS_MAX),
        ] {
            let Some(text) = text else { continue };
            let fits = !text.trim().is_empty() && text.chars().count() <= most;
            require(key, fits && !text.chars().any(char::is_control), || {
                format!("must be one line of 1 to {most} characters")
            })?;
        }
        Ok(())
    }

    fn refuse_bad_addresses(&self) -> Result<(), InvalidValue> {
        require("listen", self.leaf || !self.listen.is_empty(), || {
            "is empty; set leaf = true for a node that only dials out".into()
        })?;
        require("advertise", !self.leaf || self.advertise.is_empty(), || {
            "a leaf cannot be reached; remove it or set leaf = false".into()
        })?;
        require("port_mapping", !self.leaf || !self.port_mapping, || {
            "a leaf listens nowhere; remove it or set leaf = false".into()
        })?;
        for place in &self.advertise {
            require("advertise", place.port() != 0 && !place.ip().is_unspecified(), || {
                format!("nobody can reach {place}")
            })?;
        }
        match self.api.tcp {
            Some(place) => require("api.tcp", place.ip().is_loopback(), || {
                format!("{place} is not on loopback; the token would cross the network in clear")
            }),
            None => Ok(()),
        }
    }

    fn refuse_bad_bounds(&self) -> Result<(), InvalidValue> {
        let (limits, protocol) = (&self.limits, &self.protocol);
        require("store.bytes_max", self.store.bytes_max.0 >= STORE_BYTES_MIN, || {
            format!("must be at least {}", ByteSize(STORE_BYTES_MIN))
        })?;
        self.traffic.refuse_bad_bounds()?;
        for (key, is_zero) in [
            ("limits.calls_max", limits.calls_max == 0),
            ("limits.sessions_max", limits.sessions_max == 0),
            ("limits.connections_per_ip", limits.connections_per_ip == 0),
            ("limits.connections_per_ip_per_minute", limits.connections_per_ip_per_minute == 0),
            ("protocol.region_nodes", protocol.region_nodes == 0),
            ("protocol.stored_receipts", protocol.stored_receipts == 0),
        ] {
            require(key, !is_zero, || "must be at least 1".into())?;
        }
        for (key, interval) in self.intervals() {
            require(key, interval.0.as_millis() > 0, || "must be longer than nothing".into())?;
        }
        let (ping, answer) = (limits.ping_interval.duration(), limits.ping_timeout.duration());
        require("limits.read_timeout", limits.read_timeout.duration() > ping + answer, || {
            "must be longer than limits.ping_interval and limits.ping_timeout together".into()
        })?;
        require("protocol.backoff_max", protocol.backoff_max >= protocol.backoff_first, || {
            format!("is shorter than protocol.backoff_first, {}", protocol.backoff_first)
        })
    }

    const fn intervals(&self) -> [(&'static str, Interval); 16] {
        let (limits, protocol) = (&self.limits, &self.protocol);
        [
            ("limits.connect_timeout", limits.connect_timeout),
            ("limits.handshake_timeout", limits.handshake_timeout),
            ("limits.write_timeout", limits.write_timeout),
            ("limits.read_timeout", limits.read_timeout),
            ("limits.ping_interval", limits.ping_interval),
            ("limits.ping_timeout", limits.ping_timeout),
            ("protocol.backoff_first", protocol.backoff_first),
            ("protocol.backoff_max", protocol.backoff_max),
            ("protocol.region_kept", protocol.region_kept),
            ("protocol.subscription_renewal", protocol.subscription_renewal),
            ("protocol.subscription_rest", protocol.subscription_rest),
            ("protocol.subscription_kept", protocol.subscription_kept),
            ("protocol.call_timeout", protocol.call_timeout),
            ("protocol.card_lookup_timeout", protocol.card_lookup_timeout),
            ("protocol.questionable_after", protocol.questionable_after),
            ("protocol.refresh_after", protocol.refresh_after),
        ]
    }
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            data_dir: default_data_dir(),
            network: "comm".to_owned(),
            network_key_file: None,
            listen: vec![SocketAddr::from(([0, 0, 0, 0], PORT))],
            advertise: Vec::new(),
            leaf: false,
            bootstrap: Vec::new(),
            port_mapping: false,
            discovery: DiscoveryConfig::default(),
            api: ApiConfig::default(),
            metrics: MetricsConfig::default(),
            traces: TracesConfig::default(),
            operator: OperatorConfig::default(),
            store: StoreConfig::default(),
            block: BlockConfig::default(),
            limits: LimitsConfig::default(),
            traffic: TrafficConfig::default(),
            log: LogConfig::default(),
            protocol: ProtocolConfig::default(),
        }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { bytes_max: ByteSize(node::Config::default().store_bytes_max) }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let node = node::Config::default();
        Self {
            calls_max: node.calls_max,
            sessions_max: node.sessions_max,
            connections_per_ip: 32,
            connections_per_ip_per_minute: 128,
            connect_timeout: seconds(10),
            handshake_timeout: seconds(10),
            write_timeout: seconds(30),
            read_timeout: seconds(120),
            ping_interval: seconds(20),
            ping_timeout: seconds(10),
        }
    }
}

impl TrafficConfig {
    /// What a direction may carry, if there is a bound.
    pub fn rate(&self) -> Option<Rate> {
        let burst = self.rate_burst.0;
        self.rate_max.map(|rate| Rate { per_second: rate.0, burst })
    }

    /// What a period may carry, if there is a bound.
    pub fn plan(&self) -> Option<Plan> {
        let schedule = self.volume_period;
        self.volume_max.map(|volume| Plan { volume_max: volume.0, schedule })
    }

    fn refuse_bad_bounds(&self) -> Result<(), InvalidValue> {
        for (key, size, least) in [
            ("traffic.rate_max", self.rate_max, RATE_MIN),
            ("traffic.rate_burst", Some(self.rate_burst), BURST_MIN),
            ("traffic.volume_max", self.volume_max, VOLUME_MIN),
        ] {
            require(key, size.is_none_or(|size| size.0 >= least), || {
                format!("must be at least {}", ByteSize(least))
            })?;
        }
        Ok(())
    }
}

impl Default for TrafficConfig {
    fn default() -> Self {
        Self {
            rate_max: None,
            rate_burst: ByteSize(8 << 20),
            volume_max: None,
            volume_period: Schedule::MONTHLY,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

impl Default for ProtocolConfig {
    fn default() -> Self {
        let node = node::Config::default();
        Self {
            backoff_first: Interval(node.backoff_first),
            backoff_max: Interval(node.backoff_max),
            region_kept: Interval(node.region_kept),
            subscription_renewal: Interval(node.subscription_renewal),
            subscription_rest: Interval(node.subscription_rest),
            subscription_kept: Interval(node.subscription_kept),
            call_timeout: Interval(node.call_timeout),
            card_lookup_timeout: Interval(node.card_lookup_timeout),
            questionable_after: Interval(node.table.questionable_after),
            refresh_after: Interval(node.table.refresh_after),
            region_nodes: node.region_nodes,
            entries: node.entries,
            stored_receipts: node.stored_receipts,
        }
    }
}

fn require(
    key: &'static str,
    holds: bool,
    reason: impl FnOnce() -> String,
) -> Result<(), InvalidValue> {
    if holds { Ok(()) } else { Err(InvalidValue { key, reason: reason() }) }
}

const fn seconds(secs: u64) -> Interval {
    Interval(comm_proto::time::Span::from_secs(secs))
}

fn path_len(path: &Path) -> usize {
    path.as_os_str().len()
}

/// Where programs of a user keep their data by the XDG rules; beside the program's working
/// directory for a user without a home.
fn default_data_dir() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = set("XDG_DATA_HOME").filter(|path| path.is_absolute());
    let home = || set("HOME").map(|home| home.join(".local/share"));
    data.or_else(home).unwrap_or_default().join("comm-node")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut NodeConfig)) -> Option<&'static str> {
        let mut config = NodeConfig::default();
        change(&mut config);
        config.validated().err().map(|error| error.key)
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(refused(|_| {}), None);
    }

    #[test]
    fn every_impossible_value_is_refused_by_its_key() {
        let place = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(refused(|c| c.network = "my net".into()), Some("network"));
        assert_eq!(refused(|c| c.network.clear()), Some("network"));
        assert_eq!(refused(|c| c.data_dir = "/x".repeat(60).into()), Some("api.socket"));
        assert_eq!(refused(|c| c.log.level = "a=b=c".into()), Some("log.level"));
        assert_eq!(refused(|c| c.listen.clear()), Some("listen"));
        assert_eq!(refused(|c| c.advertise.push(place("0.0.0.0:1"))), Some("advertise"));
        assert_eq!(refused(|c| c.advertise.push(place("192.0.2.1:0"))), Some("advertise"));
        assert_eq!(refused(|c| c.api.tcp = Some(place("192.0.2.1:1"))), Some("api.tcp"));
        assert_eq!(refused(|c| c.operator.name = Some("x".repeat(65))), Some("operator.name"));
        assert_eq!(refused(|c| c.operator.name = Some(" ".into())), Some("operator.name"));
        assert_eq!(refused(|c| c.operator.contact = Some("a\nb".into())), Some("operator.contact"));
        assert_eq!(refused(|c| c.operator.contact = Some("é".repeat(256))), None);
        assert_eq!(refused(|c| c.store.bytes_max = ByteSize(1)), Some("store.bytes_max"));
        assert_eq!(refused(|c| c.limits.calls_max = 0), Some("limits.calls_max"));
        let size = |bytes| Some(ByteSize(bytes));
        assert_eq!(refused(|c| c.traffic.rate_max = size(1_000)), Some("traffic.rate_max"));
        assert_eq!(refused(|c| c.traffic.rate_burst = ByteSize(0)), Some("traffic.rate_burst"));
        assert_eq!(refused(|c| c.traffic.volume_max = size(1 << 20)), Some("traffic.volume_max"));
        assert_eq!(
            refused(|c| c.limits.ping_interval = c.limits.read_timeout),
            Some("limits.read_timeout")
        );
        assert_eq!(
            refused(|c| c.protocol.backoff_max = Interval(comm_proto::time::Span::ZERO)),
            Some("protocol.backoff_max")
        );
    }

    #[test]
    fn a_leaf_listens_nowhere_and_is_reached_nowhere() {
        let leaf = NodeConfig { leaf: true, ..NodeConfig::default() }.validated().unwrap();
        assert!(leaf.listen.is_empty());
        assert!(leaf.endpoints(&[SocketAddr::from(([192, 0, 2, 1], 1))]).is_empty());
    }

    #[test]
    fn a_node_is_told_to_others_by_where_it_listens_unless_it_knows_better() {
        let mut config = NodeConfig::default();
        let bound = ["0.0.0.0:7667", "192.0.2.1:7667"].map(|text| text.parse().unwrap());
        assert_eq!(config.endpoints(&bound), [bound[1]]);
        config.advertise.push("198.51.100.1:443".parse().unwrap());
        assert_eq!(config.endpoints(&bound), config.advertise);
    }
}
