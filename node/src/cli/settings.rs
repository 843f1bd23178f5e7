//! The list of all keys, each with its flag and its name in the environment.
//!
//! Entry types are [`Settings`] and [`KEYS`]. Only values are listed here that were given; defaults
//! and bounds are in [`crate::config`].

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::config::LogFormat;
use crate::config::bootstrap::BootstrapPeer;
use crate::config::discovery::{DnsName, Signer};
use crate::config::traces::Collector;
use crate::config::units::{ByteSize, Interval};
use crate::traffic::schedule::Schedule;

/// One line a key keeps its three names beside each other and [`KEYS`] complete.
macro_rules! settings {
    ($($(#[$meta:meta])* $field:ident: $kind:ty, $key:literal, $flag:literal, $env:literal;)*) => {
        /// What flags and the environment set. Serialised, it is a table from key to value.
        #[derive(Debug, Default, Args, Serialize)]
        pub struct Settings {
            $(
                $(#[$meta])*
                #[arg(id = $key, long = $flag, env = $env, value_name = "VALUE")]
                #[serde(rename = $key)]
                $field: Option<$kind>,
            )*
        }

        /// Every key that can be set.
        pub const KEYS: &[&str] = &[$($key),*];
    };
}

settings! {
    /// The directory for key, store and socket.
    data_dir: PathBuf, "data_dir", "data-dir", "COMM_NODE_DATA_DIR";
    /// The name of the network; only nodes of the same network talk to each other.
    network: String, "network", "network", "COMM_NODE_NETWORK";
    /// The file with the key of a private network: 64 hexadecimal digits that all its nodes share.
    network_key_file: PathBuf,
        "network_key_file", "network-key-file", "COMM_NODE_NETWORK_KEY_FILE";
    /// Where to listen for other nodes; several with commas between them.
    #[arg(value_delimiter = ',')]
    listen: Vec<SocketAddr>, "listen", "listen", "COMM_NODE_LISTEN";
    /// Where other nodes reach this one, if not where it listens.
    #[arg(value_delimiter = ',')]
    advertise: Vec<SocketAddr>, "advertise", "advertise", "COMM_NODE_ADVERTISE";
    /// Dial out only: accept no connections from other nodes.
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    leaf: bool, "leaf", "leaf", "COMM_NODE_LEAF";
    /// Nodes to find the network through: HOST:PORT or KEY@HOST:PORT, with commas between them.
    #[arg(value_delimiter = ',')]
    bootstrap: Vec<BootstrapPeer>, "bootstrap", "bootstrap", "COMM_NODE_BOOTSTRAP";
    /// Have the router forward a port to this node, by PCP, NAT-PMP or UPnP.
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    port_mapping: bool, "port_mapping", "port-mapping", "COMM_NODE_PORT_MAPPING";
    /// Names in DNS whose TXT records name nodes to find the network through; with commas between them.
    #[arg(value_delimiter = ',')]
    discovery_dns: Vec<DnsName>, "discovery.dns", "discovery-dns", "COMM_NODE_DISCOVERY_DNS";
    /// The name server to ask for them, if not the system's.
    discovery_dns_server: SocketAddr,
        "discovery.dns_server", "discovery-dns-server", "COMM_NODE_DISCOVERY_DNS_SERVER";
    /// Files with signed lists of such nodes; with commas between them.
    #[arg(value_delimiter = ',')]
    discovery_lists: Vec<PathBuf>,
        "discovery.lists", "discovery-lists", "COMM_NODE_DISCOVERY_LISTS";
    /// The public keys of those whose lists are believed; with commas between them.
    #[arg(value_delimiter = ',')]
    discovery_signers: Vec<Signer>,
        "discovery.signers", "discovery-signers", "COMM_NODE_DISCOVERY_SIGNERS";
    /// Find nodes in the local network by mDNS, and be found there.
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    discovery_lan: bool, "discovery.lan", "discovery-lan", "COMM_NODE_DISCOVERY_LAN";
    /// The unix socket for clients.
    api_socket: PathBuf, "api.socket", "api-socket", "COMM_NODE_API_SOCKET";
    /// A loopback address for clients, which must show the token.
    api_tcp: SocketAddr, "api.tcp", "api-tcp", "COMM_NODE_API_TCP";
    /// Where Prometheus finds metrics over HTTP, and people a status page.
    metrics_listen: SocketAddr, "metrics.listen", "metrics-listen", "COMM_NODE_METRICS_LISTEN";
    /// Where traces of what it does are sent, http://HOST:PORT or https://HOST:PORT.
    traces_collector: Collector,
        "traces.collector", "traces-collector", "COMM_NODE_TRACES_COLLECTOR";
    /// Who runs the node, for its status page: a name.
    operator_name: String, "operator.name", "operator-name", "COMM_NODE_OPERATOR_NAME";
    /// The same: how to reach them.
    operator_contact: String,
        "operator.contact", "operator-contact", "COMM_NODE_OPERATOR_CONTACT";
    /// Disk budget for mail and cards, e.g. 512MiB.
    store_bytes_max: ByteSize, "store.bytes_max", "store-bytes-max", "COMM_NODE_STORE_BYTES_MAX";
    /// A file with nodes and IP networks to have nothing to do with.
    block_file: PathBuf, "block.file", "block-file", "COMM_NODE_BLOCK_FILE";
    /// Calls under way to other nodes.
    limits_calls_max: usize,
        "limits.calls_max", "limits-calls-max", "COMM_NODE_LIMITS_CALLS_MAX";
    /// Sessions of clients.
    limits_sessions_max: usize,
        "limits.sessions_max", "limits-sessions-max", "COMM_NODE_LIMITS_SESSIONS_MAX";
    /// Connections of one IP address at a time.
    limits_connections_per_ip: u32,
        "limits.connections_per_ip", "limits-connections-per-ip",
        "COMM_NODE_LIMITS_CONNECTIONS_PER_IP";
    /// New connections of one IP address in a minute.
    limits_connections_per_ip_per_minute: u64,
        "limits.connections_per_ip_per_minute", "limits-connections-per-ip-per-minute",
        "COMM_NODE_LIMITS_CONNECTIONS_PER_IP_PER_MINUTE";
    /// How long a connection may take to be made.
    limits_connect_timeout: Interval,
        "limits.connect_timeout", "limits-connect-timeout", "COMM_NODE_LIMITS_CONNECT_TIMEOUT";
    /// How long the two sides of a connection may take to prove their keys.
    limits_handshake_timeout: Interval,
        "limits.handshake_timeout", "limits-handshake-timeout",
        "COMM_NODE_LIMITS_HANDSHAKE_TIMEOUT";
    /// How long a write may wait for its receiver.
    limits_write_timeout: Interval,
        "limits.write_timeout", "limits-write-timeout", "COMM_NODE_LIMITS_WRITE_TIMEOUT";
    /// How long a connection may be silent.
    limits_read_timeout: Interval,
        "limits.read_timeout", "limits-read-timeout", "COMM_NODE_LIMITS_READ_TIMEOUT";
    /// How often a silent connection is pinged.
    limits_ping_interval: Interval,
        "limits.ping_interval", "limits-ping-interval", "COMM_NODE_LIMITS_PING_INTERVAL";
    /// How long the answer to such a ping may take.
    limits_ping_timeout: Interval,
        "limits.ping_timeout", "limits-ping-timeout", "COMM_NODE_LIMITS_PING_TIMEOUT";
    /// Bytes a second between it and other nodes, in each direction, e.g. 1MiB.
    traffic_rate_max: ByteSize,
        "traffic.rate_max", "traffic-rate-max", "COMM_NODE_TRAFFIC_RATE_MAX";
    /// Bytes that may go at once after a silence, beyond that rate.
    traffic_rate_burst: ByteSize,
        "traffic.rate_burst", "traffic-rate-burst", "COMM_NODE_TRAFFIC_RATE_BURST";
    /// Bytes of a period, both directions together, e.g. 200GiB; then it hibernates.
    traffic_volume_max: ByteSize,
        "traffic.volume_max", "traffic-volume-max", "COMM_NODE_TRAFFIC_VOLUME_MAX";
    /// When periods begin, in UTC: day, week 1, month 15, with 06:00 behind it if not at midnight.
    traffic_volume_period: Schedule,
        "traffic.volume_period", "traffic-volume-period", "COMM_NODE_TRAFFIC_VOLUME_PERIOD";
    /// What is logged: error, warn, info, debug or trace, or levels for single parts.
    log_level: String, "log.level", "log-level", "COMM_NODE_LOG_LEVEL";
    /// How it is logged.
    log_format: LogFormat, "log.format", "log-format", "COMM_NODE_LOG_FORMAT";
    /// Wait before the first repetition of an envelope, e.g. 2s.
    protocol_backoff_first: Interval,
        "protocol.backoff_first", "protocol-backoff-first", "COMM_NODE_PROTOCOL_BACKOFF_FIRST";
    /// Longest wait between two repetitions, e.g. 24h.
    protocol_backoff_max: Interval,
        "protocol.backoff_max", "protocol-backoff-max", "COMM_NODE_PROTOCOL_BACKOFF_MAX";
    /// How long a region that was found is used without looking again.
    protocol_region_kept: Interval,
        "protocol.region_kept", "protocol-region-kept", "COMM_NODE_PROTOCOL_REGION_KEPT";
    /// How often subscriptions at other nodes are renewed.
    protocol_subscription_renewal: Interval,
        "protocol.subscription_renewal", "protocol-subscription-renewal",
        "COMM_NODE_PROTOCOL_SUBSCRIPTION_RENEWAL";
    /// How long a subscription is left as it is while its stream brings pushes.
    protocol_subscription_rest: Interval,
        "protocol.subscription_rest", "protocol-subscription-rest",
        "COMM_NODE_PROTOCOL_SUBSCRIPTION_REST";
    /// Silence, beyond that rest, after which another node's subscription is forgotten.
    protocol_subscription_kept: Interval,
        "protocol.subscription_kept", "protocol-subscription-kept",
        "COMM_NODE_PROTOCOL_SUBSCRIPTION_KEPT";
    /// How long the answer to a call may take.
    protocol_call_timeout: Interval,
        "protocol.call_timeout", "protocol-call-timeout", "COMM_NODE_PROTOCOL_CALL_TIMEOUT";
    /// How long a client's search for a card may take.
    protocol_card_lookup_timeout: Interval,
        "protocol.card_lookup_timeout", "protocol-card-lookup-timeout",
        "COMM_NODE_PROTOCOL_CARD_LOOKUP_TIMEOUT";
    /// Silence that makes a node of the table questionable.
    protocol_questionable_after: Interval,
        "protocol.questionable_after", "protocol-questionable-after",
        "COMM_NODE_PROTOCOL_QUESTIONABLE_AFTER";
    /// How long after a search in its range a bucket of the table is stale.
    protocol_refresh_after: Interval,
        "protocol.refresh_after", "protocol-refresh-after", "COMM_NODE_PROTOCOL_REFRESH_AFTER";
    /// How many nodes a region should hold.
    protocol_region_nodes: u64,
        "protocol.region_nodes", "protocol-region-nodes", "COMM_NODE_PROTOCOL_REGION_NODES";
    /// How many nodes hide this one's clients.
    protocol_entries: usize,
        "protocol.entries", "protocol-entries", "COMM_NODE_PROTOCOL_ENTRIES";
    /// Receipts of one envelope that are reported to the node it came from.
    protocol_stored_receipts: usize,
        "protocol.stored_receipts", "protocol-stored-receipts",
        "COMM_NODE_PROTOCOL_STORED_RECEIPTS";
}
