//! The node's figures for its operator, in the form of Prometheus.
//!
//! Entry points are [`record`] for events, [`observe`] for counters and [`export`], which serves
//! them over HTTP. Labels are few and fixed: never the address of a person, a mailbox or an
//! envelope. Without an exporter nothing is kept.

use std::net::SocketAddr;
use std::time::Duration;

use comm_proto::node::{Event, Stats};
use comm_proto::time::Span;
use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder};
use thiserror::Error;
use tokio::task::JoinHandle;

const ACCEPTED: &str = "comm_envelopes_accepted_total";
const RELAYED: &str = "comm_envelopes_relayed_total";
const ACKNOWLEDGED: &str = "comm_envelopes_acknowledged_total";
const EXPIRED: &str = "comm_envelopes_expired_total";
const EVICTED: &str = "comm_envelopes_evicted_total";
const REFUSED: &str = "comm_refused_total";
const REQUESTS: &str = "comm_requests_total";
const PUSHES: &str = "comm_pushes_total";
const CALLS: &str = "comm_calls_total";
const UNANSWERED: &str = "comm_calls_unanswered_total";
const STRAY: &str = "comm_stray_responses_total";
const PEERS: &str = "comm_peers";
const NETWORK_SIZE: &str = "comm_network_size";
const ENVELOPES: &str = "comm_envelopes";
const ENVELOPE_BYTES: &str = "comm_envelope_bytes";
const TOMBSTONES: &str = "comm_tombstones";
const ACKNOWLEDGEMENTS: &str = "comm_acknowledgements";
const CARDS: &str = "comm_cards";
const COUNTED_BYTES: &str = "comm_store_counted_bytes";
const OTHERS_BYTES: &str = "comm_store_others_bytes";
const SESSIONS: &str = "comm_sessions";
const CALLS_UNDER_WAY: &str = "comm_calls_under_way";
const IN_MEMORY: &str = "comm_entries_in_memory";
const PROMISES: &str = "comm_promises";
const DISK_BYTES: &str = "comm_store_disk_bytes";
const FSYNC: &str = "comm_fsync_seconds";
const LOOKUP: &str = "comm_lookup_seconds";
const LOOKUP_QUERIES: &str = "comm_lookup_queries";

/// Upper ends of the buckets of times, in seconds.
const SECONDS: [f64; 12] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// Upper ends of the buckets of queries of one lookup.
const QUERIES: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// Why metrics cannot be exported.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The address is taken or not this machine's.
    #[error("cannot serve metrics on {place}: {source}")]
    Listen {
        /// The address.
        place: SocketAddr,
        /// What the exporter says.
        source: BuildError,
    },
    /// Another exporter serves this process already.
    #[error("this process exports metrics already; only one of its nodes can")]
    Taken,
}

/// An exporter that runs until it is dropped.
#[derive(Debug)]
pub struct Exporter(JoinHandle<()>);

impl Drop for Exporter {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Counts an event.
pub fn record(event: &Event) {
    match event {
        Event::Refused { reason } => refused(reason.name()),
        Event::LookedUp { queries, took, .. } => {
            histogram!(LOOKUP).record(seconds(*took));
            histogram!(LOOKUP_QUERIES).record(*queries);
        }
        // The others are counted by the node itself, see `observe`.
        _ => {}
    }
}

/// Takes over the node's own counters.
pub fn observe(stats: &Stats) {
    for (name, count) in [
        (ACCEPTED, stats.accepted),
        (RELAYED, stats.relayed),
        (ACKNOWLEDGED, stats.acknowledged),
        (EXPIRED, stats.expired),
        (EVICTED, stats.evicted),
        (CALLS, stats.calls_made),
        (UNANSWERED, stats.calls_unanswered),
        (STRAY, stats.stray_responses),
    ] {
        counter!(name).absolute(count);
    }
    for (name, count) in [
        (PEERS, stats.peers),
        (NETWORK_SIZE, stats.network_size),
        (ENVELOPES, stats.envelopes),
        (ENVELOPE_BYTES, stats.envelope_bytes),
        (TOMBSTONES, stats.tombstones),
        (ACKNOWLEDGEMENTS, stats.acknowledgements),
        (CARDS, stats.cards),
        (COUNTED_BYTES, stats.disk_bytes),
        (OTHERS_BYTES, stats.others_bytes),
        (SESSIONS, stats.sessions),
        (CALLS_UNDER_WAY, stats.calls),
        (IN_MEMORY, stats.in_memory),
        (PROMISES, stats.promises),
    ] {
        gauge!(name).set(count as f64);
    }
}

/// Counts a refusal by its reason, one of a few fixed words.
pub fn refused(reason: &'static str) {
    counter!(REFUSED, "reason" => reason).increment(1);
}

/// Counts a request of another node or of a client by its kind, one of a few fixed names.
pub fn requested(kind: &'static str) {
    counter!(REQUESTS, "kind" => kind).increment(1);
}

/// Counts a push to another node by its kind, one of a few fixed names.
pub fn pushed(kind: &'static str) {
    counter!(PUSHES, "kind" => kind).increment(1);
}

/// Counts a sync of the store.
pub fn synced(took: Duration) {
    histogram!(FSYNC).record(took);
}

/// Notes what the store takes from the disk.
pub fn disk_used(bytes: u64) {
    gauge!(DISK_BYTES).set(bytes as f64);
}

/// Serves the metrics of this process over HTTP on `place`. To be called within a runtime.
///
/// # Errors
/// When the address cannot be had, or the process has an exporter already.
pub fn export(place: SocketAddr) -> Result<Exporter, ExportError> {
    let failed = |source| ExportError::Listen { place, source };
    let (recorder, serve) = builder(place).and_then(PrometheusBuilder::build).map_err(failed)?;
    metrics::set_global_recorder(recorder).map_err(|_| ExportError::Taken)?;
    describe();
    Ok(Exporter(tokio::spawn(async move {
        if serve.await.is_err() {
            tracing::error!(%place, "the exporter of metrics has ended");
        }
    })))
}

fn builder(place: SocketAddr) -> Result<PrometheusBuilder, BuildError> {
    let full = |name: &str| Matcher::Full(name.to_owned());
    PrometheusBuilder::new()
        .with_http_listener(place)
        .set_buckets_for_metric(full(FSYNC), &SECONDS)?
        .set_buckets_for_metric(full(LOOKUP), &SECONDS)?
        .set_buckets_for_metric(full(LOOKUP_QUERIES), &QUERIES)
}

fn describe() {
    describe_counter!(ACCEPTED, "Envelopes taken into the store since the start.");
    describe_counter!(RELAYED, "Envelopes that other nodes took from this one since the start.");
    describe_counter!(ACKNOWLEDGED, "Envelopes ended by an acknowledgement since the start.");
    describe_counter!(EXPIRED, "Envelopes ended by their time since the start.");
    describe_counter!(EVICTED, "Envelopes of others that gave way to others since the start.");
    describe_counter!(REFUSED, "What was refused since the start, by reason.");
    describe_counter!(REQUESTS, "Requests of other nodes and clients since the start, by kind.");
    describe_counter!(PUSHES, "Pushes sent to other nodes since the start, by kind.");
    describe_counter!(CALLS, "Calls made to other nodes since the start.");
    describe_counter!(UNANSWERED, "Calls to which no answer came, since the start.");
    describe_counter!(STRAY, "Answers that came too late or to no call since the start.");
    describe_gauge!(PEERS, "Nodes in the routing table.");
    describe_gauge!(NETWORK_SIZE, "Estimated nodes of the network, this one included.");
    describe_gauge!(ENVELOPES, "Envelopes in the store.");
    describe_gauge!(ENVELOPE_BYTES, Unit::Bytes, "Bytes of the bodies of envelopes in the store.");
    describe_gauge!(TOMBSTONES, "Tombstones of acknowledged envelopes in the store.");
    describe_gauge!(ACKNOWLEDGEMENTS, "Acknowledgements in the store.");
    describe_gauge!(CARDS, "Cards in the store.");
    describe_gauge!(COUNTED_BYTES, Unit::Bytes, "Bytes that count for the store's budget.");
    describe_gauge!(OTHERS_BYTES, Unit::Bytes, "Of these, bytes of others' envelopes.");
    describe_gauge!(SESSIONS, "Sessions of clients.");
    describe_gauge!(CALLS_UNDER_WAY, "Calls to other nodes under way.");
    describe_gauge!(IN_MEMORY, "Entries of everything that the node keeps in memory.");
    describe_gauge!(PROMISES, "Batches that wait for the disk.");
    describe_gauge!(DISK_BYTES, Unit::Bytes, "Bytes of disk that the store takes.");
    describe_histogram!(FSYNC, Unit::Seconds, "Time of a sync of the store's log.");
    describe_histogram!(LOOKUP, Unit::Seconds, "Time of a lookup.");
    describe_histogram!(LOOKUP_QUERIES, "Queries that a lookup took.");
}

fn seconds(span: Span) -> f64 {
    Duration::from(span).as_secs_f64()
}
