//! The node's figures for its operator, in the form of Prometheus.
//!
//! Entry points are [`record`] for events, [`Observer`] for a node's own counters and [`export`],
//! which serves them over HTTP. Labels are few and fixed: never the address of a person, a mailbox or
//! an envelope. Without an exporter nothing is kept.

mod exporter;
mod labels;
mod page;
mod process;
pub(crate) mod syncs;
pub(crate) mod traffic;

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use comm_proto::message::Reachability;
use comm_proto::node::{Event, Held, Standing, Stats, Taken};
use comm_proto::time::{Span, Time};
use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder};
use thiserror::Error;

use crate::config::OperatorConfig;
use crate::figures::Volume;

pub use exporter::Exporter;
pub use labels::kind_of;

const ACCEPTED: &str = "comm_envelopes_accepted_total";
const RELAYED: &str = "comm_envelopes_relayed_total";
const ACKNOWLEDGED: &str = "comm_envelopes_acknowledged_total";
const CUSTODY: &str = "comm_custody_acknowledged_total";
const EXPIRED: &str = "comm_envelopes_expired_total";
const EVICTED: &str = "comm_envelopes_evicted_total";
const REFUSED: &str = "comm_refused_total";
const REQUESTS: &str = "comm_requests_total";
const PUSHES: &str = "comm_pushes_total";
const CALLS: &str = "comm_calls_total";
const UNANSWERED: &str = "comm_calls_unanswered_total";
const STRAY: &str = "comm_stray_responses_total";
const BLOCKED: &str = "comm_blocked_total";
const RELOADED: &str = "comm_config_last_reload_successful";
const RELOADED_AT: &str = "comm_config_last_reload_success_timestamp_seconds";
const FORWARDED: &str = "comm_port_forwarded";
const BUILD: &str = "comm_build_info";
const LINK_BYTES: &str = "comm_link_bytes_total";
const HIBERNATING: &str = "comm_hibernating";
const VOLUME: &str = "comm_traffic_volume_bytes";
const VOLUME_USED: &str = "comm_traffic_volume_used_bytes";
const VOLUME_LEFT: &str = "comm_traffic_volume_left_bytes";
const PERIOD_ENDS: &str = "comm_traffic_period_end_timestamp_seconds";
const LINKS: &str = "comm_links";
const DIALS: &str = "comm_dials_total";
const TABLE: &str = "comm_table_nodes";
const REACHABILITY: &str = "comm_reachability";
const CLOCK: &str = "comm_clock_offset_seconds";
const PEERS: &str = "comm_peers";
const NETWORK_SIZE: &str = "comm_network_size";
const ENVELOPES: &str = "comm_envelopes";
const ENVELOPE_BYTES: &str = "comm_envelope_bytes";
const HELD: &str = "comm_envelopes_held";
const TAKEN: &str = "comm_envelopes_taken_total";
const RECEIPTS: &str = "comm_receipts_total";
const TOMBSTONES: &str = "comm_tombstones";
const ACKNOWLEDGEMENTS: &str = "comm_acknowledgements";
const CARDS: &str = "comm_cards";
const COUNTED_BYTES: &str = "comm_store_counted_bytes";
const OTHERS_BYTES: &str = "comm_store_others_bytes";
const CARD_BYTES: &str = "comm_store_card_bytes";
const BUDGET: &str = "comm_store_budget_bytes";
const FREE_BYTES: &str = "comm_store_free_bytes";
const SESSIONS: &str = "comm_sessions";
const CALLS_UNDER_WAY: &str = "comm_calls_under_way";
const IN_MEMORY: &str = "comm_entries_in_memory";
const PROMISES: &str = "comm_promises";
const DISK_BYTES: &str = "comm_store_disk_bytes";
const FSYNC: &str = "comm_fsync_seconds";
const CALL: &str = "comm_call_seconds";
const LOOKUP: &str = "comm_lookup_seconds";
const LOOKUP_QUERIES: &str = "comm_lookup_queries";

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that the program was built from, if whoever built it has said so.
const REVISION: &str = match option_env!("COMM_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

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
        /// What the system said.
        source: io::Error,
    },
    /// Another exporter serves this process already.
    #[error("this process exports metrics already; only one of its nodes can")]
    Taken,
}

/// Counts what a node does by the node's own counters: each time, what was added since the last.
/// A node that begins again in the same process counts from 0 and gets a new observer; what is
/// exported goes on.
#[derive(Debug, Default)]
pub struct Observer {
    before: Stats,
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

impl Observer {
    /// Takes over the node's counters as they are now.
    pub fn observe(&mut self, stats: &Stats) {
        for ((name, before), (_, now)) in counts(&self.before).into_iter().zip(counts(stats)) {
            counter!(name).increment(now.saturating_sub(before));
        }
        for ((role, before), (_, now)) in taken(&self.before).into_iter().zip(taken(stats)) {
            counter!(TAKEN, "role" => role).increment(now.saturating_sub(before));
        }
        for ((to, before), (_, now)) in receipts(&self.before).into_iter().zip(receipts(stats)) {
            counter!(RECEIPTS, "direction" => to).increment(now.saturating_sub(before));
        }
        self.before = *stats;
        set_gauges(stats);
        traffic::publish();
    }
}

/// Takes over how the node stands among others.
pub fn stands(standing: &Standing) {
    for (state, count) in
        labels::NODE_STATES.into_iter().zip([standing.good, standing.questionable, standing.bad])
    {
        gauge!(TABLE, "state" => state).set(count as f64);
    }
    let now = match standing.reachability {
        Reachability::Reachable => "reachable",
        Reachability::Unreachable => "unreachable",
        Reachability::Unknown => "unknown",
    };
    for state in labels::REACHABILITIES {
        gauge!(REACHABILITY, "state" => state).set(if state == now { 1.0 } else { 0.0 });
    }
}

/// Notes by how many milliseconds the node's clock is ahead of most others'.
pub fn clock_ahead(millis: i64) {
    gauge!(CLOCK).set(millis as f64 / 1_000.0);
}

/// Counts an attempt to reach another node.
pub fn dialled(linked: bool) {
    let result = labels::DIALS[usize::from(!linked)];
    counter!(DIALS, "result" => result).increment(1);
}

/// Notes how many bytes the store may take.
pub fn budget(bytes: u64) {
    gauge!(BUDGET).set(bytes as f64);
}

/// Notes whether a router forwards a port to the node.
pub(crate) fn forwarded(is_forwarded: bool) {
    gauge!(FORWARDED).set(f64::from(u8::from(is_forwarded)));
}

/// Notes how far the volume of this period's traffic is used; a volume of 0 is none.
pub(crate) fn volume(volume: &Volume) {
    gauge!(VOLUME).set(volume.max as f64);
    gauge!(VOLUME_USED).set(volume.used as f64);
    gauge!(VOLUME_LEFT).set(volume.max.saturating_sub(volume.used) as f64);
    gauge!(PERIOD_ENDS).set((volume.ends.as_millis() / 1_000) as f64);
    gauge!(HIBERNATING).set(if volume.rests_until.is_some() { 1.0 } else { 0.0 });
}

/// What only ever grows.
fn counts(stats: &Stats) -> [(&'static str, u64); 9] {
    [
        (ACCEPTED, stats.accepted),
        (RELAYED, stats.relayed),
        (ACKNOWLEDGED, stats.acknowledged),
        (CUSTODY, stats.acknowledged_for_others),
        (EXPIRED, stats.expired),
        (EVICTED, stats.evicted),
        (CALLS, stats.calls_made),
        (UNANSWERED, stats.calls_unanswered),
        (STRAY, stats.stray_responses),
    ]
}

/// Envelopes taken in, by what the node was to them.
fn taken(stats: &Stats) -> [(&'static str, u64); 4] {
    let Taken { own, region, entry, collected } = stats.taken;
    [("own", own), ("region", region), ("entry", entry), ("collected", collected)]
}

/// Envelopes that receipts were given for, by whom.
fn receipts(stats: &Stats) -> [(&'static str, u64); 2] {
    [("given", stats.receipts_given), ("received", stats.receipts_received)]
}

fn set_gauges(stats: &Stats) {
    let Held { own, relayed, collected } = stats.held;
    for (role, count) in [("own", own), ("relayed", relayed), ("collected", collected)] {
        gauge!(HELD, "role" => role).set(count as f64);
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
        (CARD_BYTES, stats.card_bytes),
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
    debug_assert!(labels::REASONS.contains(&reason), "{reason} is not listed");
    counter!(REFUSED, "reason" => reason).increment(1);
}

/// Counts a request of another node or of a client by its kind, one of a few fixed names.
pub fn requested(kind: &'static str) {
    debug_assert!(labels::requests().any(|listed| listed == kind), "{kind} is not listed");
    counter!(REQUESTS, "kind" => kind).increment(1);
}

/// Counts what another node has answered to a request of this kind over an open link, `took` after it was sent.
pub fn answered(kind: &'static str, took: Duration) {
    debug_assert!(labels::PEER_REQUESTS.contains(&kind), "{kind} is not listed");
    histogram!(CALL, "kind" => kind).record(took);
}

/// Counts a push to another node by its kind, one of a few fixed names.
pub fn pushed(kind: &'static str) {
    debug_assert!(labels::PUSHES.contains(&kind), "{kind} is not listed");
    counter!(PUSHES, "kind" => kind).increment(1);
}

/// Counts a link that a block list has prevented or ended, by what was blocked: one of a few words.
pub fn blocked(by: &'static str) {
    debug_assert!(labels::BLOCKED.contains(&by), "{by} is not listed");
    counter!(BLOCKED, "by" => by).increment(1);
}

/// Notes whether the configuration that was read last could be used, and if so, when that was.
pub fn configured(usable: bool) {
    gauge!(RELOADED).set(f64::from(u8::from(usable)));
    if usable {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        gauge!(RELOADED_AT).set(since.as_secs_f64());
    }
}

/// Counts a sync of the store.
pub fn synced(took: Duration) {
    histogram!(FSYNC).record(took);
    syncs::note(took);
}

/// Notes what the store takes from the disk, and what the disk has left, if it says so.
pub fn disk_used(bytes: u64, free: Option<u64>) {
    gauge!(DISK_BYTES).set(bytes as f64);
    if let Some(free) = free {
        gauge!(FREE_BYTES).set(free as f64);
    }
}

/// Serves the metrics of this process over HTTP on `place`, and a page on which `operator` is named.
/// To be called on a runtime.
///
/// # Errors
/// When the address cannot be had, or the process has an exporter already.
pub fn export(place: SocketAddr, operator: OperatorConfig) -> Result<Exporter, ExportError> {
    let recorder = builder().expect("every histogram has buckets").build_recorder();
    let figures = recorder.handle();
    let listener = exporter::bind(place);
    let listener = listener.map_err(|source| ExportError::Listen { place, source })?;
    metrics::set_global_recorder(recorder).map_err(|_| ExportError::Taken)?;
    process::note_start();
    describe();
    begin_at_zero();
    // Nobody is answered before all is there.
    Ok(Exporter::start(listener, operator, figures))
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    let full = |name: &str| Matcher::Full(name.to_owned());
    PrometheusBuilder::new()
        .set_buckets_for_metric(full(FSYNC), &SECONDS)?
        .set_buckets_for_metric(full(CALL), &SECONDS)?
        .set_buckets_for_metric(full(LOOKUP), &SECONDS)?
        .set_buckets_for_metric(full(LOOKUP_QUERIES), &QUERIES)
}

/// So that the first event of each kind is seen as one more, and not as the beginning of a series.
fn begin_at_zero() {
    for (name, _) in counts(&Stats::default()) {
        counter!(name).increment(0);
    }
    for (role, _) in taken(&Stats::default()) {
        counter!(TAKEN, "role" => role).increment(0);
    }
    for (direction, _) in receipts(&Stats::default()) {
        counter!(RECEIPTS, "direction" => direction).increment(0);
    }
    for reason in labels::REASONS {
        counter!(REFUSED, "reason" => reason).increment(0);
    }
    for kind in labels::requests() {
        counter!(REQUESTS, "kind" => kind).increment(0);
    }
    for kind in labels::PEER_REQUESTS {
        let _there_from_now_on = histogram!(CALL, "kind" => kind);
    }
    for kind in labels::PUSHES {
        counter!(PUSHES, "kind" => kind).increment(0);
    }
    for result in labels::DIALS {
        counter!(DIALS, "result" => result).increment(0);
    }
    gauge!(BUILD, "version" => VERSION, "revision" => REVISION).set(1.0);
    gauge!(CLOCK).set(0.0);
    forwarded(false);
    volume(&Volume { max: 0, used: 0, ends: Time::ZERO, rests_until: None });
    traffic::publish();
    for by in labels::BLOCKED {
        counter!(BLOCKED, "by" => by).increment(0);
    }
    for name in [FSYNC, LOOKUP, LOOKUP_QUERIES] {
        let _there_from_now_on = histogram!(name);
    }
}

fn describe() {
    describe_counter!(ACCEPTED, "Envelopes taken into the store since the start.");
    describe_counter!(RELAYED, "Envelopes that other nodes took from this one since the start.");
    describe_counter!(ACKNOWLEDGED, "Envelopes ended by an acknowledgement since the start.");
    describe_counter!(CUSTODY, "Others' envelopes ended by an acknowledgement since the start.");
    describe_counter!(EXPIRED, "Envelopes ended by their time since the start.");
    describe_counter!(EVICTED, "Envelopes of others that gave way to others since the start.");
    describe_counter!(REFUSED, "What was refused since the start, by reason.");
    describe_counter!(REQUESTS, "Requests of other nodes and clients since the start, by kind.");
    describe_counter!(PUSHES, "Pushes sent to other nodes since the start, by kind.");
    describe_counter!(CALLS, "Calls made to other nodes since the start.");
    describe_counter!(UNANSWERED, "Calls to which no answer came, since the start.");
    describe_counter!(STRAY, "Answers that came too late or to no call since the start.");
    describe_counter!(BLOCKED, "Links that a block list has prevented or ended since the start.");
    describe_gauge!(RELOADED, "Whether the configuration that was read last could be used.");
    describe_gauge!(RELOADED_AT, Unit::Seconds, "When a configuration was last put in force.");
    describe_gauge!(BUILD, "Always 1; what the program is, by its labels.");
    describe_counter!(LINK_BYTES, Unit::Bytes, "Bytes of links since the start, by direction.");
    describe_gauge!(HIBERNATING, "1 while others are not served, as the volume is used up.");
    describe_gauge!(VOLUME, Unit::Bytes, "Bytes that a period may carry; 0 without a bound.");
    describe_gauge!(VOLUME_USED, Unit::Bytes, "Bytes that were carried in this period.");
    describe_gauge!(VOLUME_LEFT, Unit::Bytes, "Bytes that are left of it.");
    describe_gauge!(PERIOD_ENDS, Unit::Seconds, "When the next period begins.");
    describe_gauge!(LINKS, "Links that are open, by who opened them.");
    describe_counter!(DIALS, "Attempts to reach other nodes since the start, by result.");
    describe_gauge!(TABLE, "Nodes in the routing table, by how they have answered lately.");
    describe_gauge!(REACHABILITY, "1 for what is known of whether others reach the node.");
    describe_gauge!(CLOCK, Unit::Seconds, "By how much the clock is ahead of most others'.");
    describe_gauge!(FORWARDED, "1 while a router forwards a port to the node.");
    describe_gauge!(PEERS, "Nodes in the routing table.");
    describe_gauge!(NETWORK_SIZE, "Estimated nodes of the network, this one included.");
    describe_gauge!(ENVELOPES, "Envelopes in the store.");
    describe_gauge!(ENVELOPE_BYTES, Unit::Bytes, "Bytes of the bodies of envelopes in the store.");
    describe_gauge!(HELD, "Envelopes in the store, by how the node came to them.");
    describe_counter!(TAKEN, "Envelopes taken in since the start, by what the node was to them.");
    describe_counter!(RECEIPTS, "Envelopes that receipts were given for since the start, by whom.");
    describe_gauge!(TOMBSTONES, "Tombstones of acknowledged envelopes in the store.");
    describe_gauge!(ACKNOWLEDGEMENTS, "Acknowledgements in the store.");
    describe_gauge!(CARDS, "Cards in the store.");
    describe_gauge!(COUNTED_BYTES, Unit::Bytes, "Bytes that count for the store's budget.");
    describe_gauge!(OTHERS_BYTES, Unit::Bytes, "Of these, bytes of others' envelopes.");
    describe_gauge!(CARD_BYTES, Unit::Bytes, "Of these, bytes of cards.");
    describe_gauge!(BUDGET, Unit::Bytes, "Bytes that may count for the store.");
    describe_gauge!(FREE_BYTES, Unit::Bytes, "Bytes that the disk has left for the store.");
    describe_gauge!(SESSIONS, "Sessions of clients.");
    describe_gauge!(CALLS_UNDER_WAY, "Calls to other nodes under way.");
    describe_gauge!(IN_MEMORY, "Entries of everything that the node keeps in memory.");
    describe_gauge!(PROMISES, "Batches that wait for the disk.");
    describe_gauge!(DISK_BYTES, Unit::Bytes, "Bytes of disk that the store takes.");
    describe_histogram!(FSYNC, Unit::Seconds, "Time of a sync of the store's log.");
    describe_histogram!(CALL, Unit::Seconds, "Time until another node answers, by kind.");
    describe_histogram!(LOOKUP, Unit::Seconds, "Time of a lookup.");
    describe_histogram!(LOOKUP_QUERIES, "Queries that a lookup took.");
}

fn seconds(span: Span) -> f64 {
    Duration::from(span).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use comm_proto::rejection::Rejection;
    use metrics_exporter_prometheus::PrometheusRecorder;

    use super::*;

    fn recorder() -> PrometheusRecorder {
        builder().unwrap().build_recorder()
    }

    fn has_line(recorder: &PrometheusRecorder, line: &str) -> bool {
        recorder.handle().render().lines().any(|found| found == line)
    }

    /// Else they would stand still, for days, until the new node has overtaken the old one.
    #[test]
    fn counters_go_on_when_the_node_begins_again_in_the_same_process() {
        let recorder = recorder();
        let after = |accepted| Stats { accepted, ..Stats::default() };
        metrics::with_local_recorder(&recorder, || {
            let mut first = Observer::default();
            first.observe(&after(3));
            first.observe(&after(5));
            let mut second = Observer::default();
            second.observe(&after(0));
            second.observe(&after(2));
        });
        assert!(has_line(&recorder, "comm_envelopes_accepted_total 7"));
    }

    #[test]
    fn whatever_can_be_counted_is_there_at_0_before_it_happens() {
        let recorder = recorder();
        metrics::with_local_recorder(&recorder, begin_at_zero);
        for line in [
            "comm_envelopes_accepted_total 0",
            "comm_refused_total{reason=\"store-full\"} 0",
            "comm_requests_total{kind=\"offer\"} 0",
            "comm_pushes_total{kind=\"waiting\"} 0",
            "comm_dials_total{result=\"failed\"} 0",
            "comm_blocked_total{by=\"node\"} 0",
            "comm_custody_acknowledged_total 0",
            "comm_envelopes_taken_total{role=\"region\"} 0",
            "comm_receipts_total{direction=\"given\"} 0",
            "comm_hibernating 0",
            "comm_port_forwarded 0",
            "comm_traffic_volume_used_bytes 0",
            "comm_fsync_seconds_count 0",
            "comm_call_seconds_count{kind=\"find-node\"} 0",
            "comm_lookup_seconds_bucket{le=\"+Inf\"} 0",
            "comm_lookup_queries_sum 0",
        ] {
            assert!(has_line(&recorder, line), "{line}");
        }
    }

    #[test]
    fn envelopes_are_shown_by_role_and_receipts_by_direction() {
        let recorder = recorder();
        let mut stats = Stats { receipts_given: 5, receipts_received: 2, ..Stats::default() };
        stats.taken = Taken { own: 1, region: 7, entry: 3, collected: 4 };
        metrics::with_local_recorder(&recorder, || {
            let mut observer = Observer::default();
            observer.observe(&stats);
            stats.taken.region = 9;
            stats.receipts_given = 6;
            stats.held = Held { own: 1, relayed: 8, collected: 2 };
            observer.observe(&stats);
        });
        for line in [
            "comm_envelopes_taken_total{role=\"own\"} 1",
            "comm_envelopes_taken_total{role=\"region\"} 9",
            "comm_envelopes_taken_total{role=\"entry\"} 3",
            "comm_envelopes_taken_total{role=\"collected\"} 4",
            "comm_receipts_total{direction=\"given\"} 6",
            "comm_receipts_total{direction=\"received\"} 2",
            "comm_envelopes_held{role=\"own\"} 1",
            "comm_envelopes_held{role=\"relayed\"} 8",
            "comm_envelopes_held{role=\"collected\"} 2",
        ] {
            assert!(has_line(&recorder, line), "{line}");
        }
    }

    #[test]
    fn a_node_is_shown_as_reached_or_not_and_its_table_by_state() {
        let recorder = recorder();
        let mut standing =
            Standing { good: 3, questionable: 2, bad: 1, reachability: Reachability::Unknown };
        metrics::with_local_recorder(&recorder, || {
            stands(&standing);
            standing.reachability = Reachability::Reachable;
            stands(&standing);
        });
        for line in [
            "comm_table_nodes{state=\"good\"} 3",
            "comm_table_nodes{state=\"questionable\"} 2",
            "comm_table_nodes{state=\"bad\"} 1",
            "comm_reachability{state=\"reachable\"} 1",
            "comm_reachability{state=\"unreachable\"} 0",
            "comm_reachability{state=\"unknown\"} 0",
        ] {
            assert!(has_line(&recorder, line), "{line}");
        }
    }

    #[test]
    fn every_reason_that_a_node_can_give_is_listed() {
        for code in 1..=17 {
            let reason = Rejection::from_code(code);
            assert_eq!(reason.code(), code);
            assert!(labels::REASONS.contains(&reason.name()), "{}", reason.name());
        }
        assert_eq!(Rejection::from_code(19).code(), 1, "a newer reason is to be listed");
    }
}
