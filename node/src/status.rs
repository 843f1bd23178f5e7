//! How a node is that runs on this machine: what `comm-node status` shows, as a table or as JSON.
//!
//! Entry type is [`Report`]. The node is asked over its socket, which only its owner can open, and by
//! a question that its driver answers: whoever gets a report knows that it works. It starts nothing
//! and changes nothing.

mod outside;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use comm_proto::time::{Span, Time};
use comm_proto::wire::client::{
    self, GetFiguresRequest, GetFiguresResponse, GetStatusRequest, GetStatusResponse,
    ListPeersRequest, PeerInfo, PeerStatus, Reachability, TrafficVolume,
};
use comm_proto::wire::decode;
use comm_proto::wire::object::Endpoint;
use serde::Serialize;
use thiserror::Error;
use tokio::time::timeout;

use crate::config::NodeConfig;
use crate::config::units::ByteSize;
use crate::owner::{self, AskError};
use crate::rpc::client::client_client::ClientClient;
use crate::rpc::client::owner_client::OwnerClient;
use crate::traffic::schedule::shown;

pub use outside::{Beginning, Forwarding};

/// How long a node may take to answer all that is asked.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a node is. What it says of bytes is in bytes, of times in seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Of its program.
    pub version: String,
    /// Its address, 40 hexadecimal digits.
    pub address: String,
    /// When it began, in milliseconds since 1970: another number is another beginning.
    #[serde(skip)]
    pub began: u64,
    /// Since it began.
    pub uptime_seconds: u64,
    /// Whether another node has answered it.
    pub connected: bool,
    /// Whether others reach it: `reachable`, `unreachable` or `unknown`.
    pub reachability: &'static str,
    /// Where it says that it can be reached.
    pub endpoints: Vec<String>,
    /// From where others see its calls come.
    pub observed: Vec<String>,
    /// Its table.
    pub table: Table,
    /// Its estimate of the network's size, itself included.
    pub network_size: u64,
    /// What it keeps and has kept for people.
    pub envelopes: Envelopes,
    /// What that takes.
    pub store: Store,
    /// Links to other nodes.
    pub links: Links,
    /// How long the last syncs of its disk took; none before the first.
    pub syncs: Option<Syncs>,
    /// Its traffic in this period; none where no volume is set.
    pub volume: Option<Volume>,
    /// Where it learns of relays to begin with.
    pub sources: Vec<Beginning>,
    /// What a router forwards to it; none where none is to be asked.
    pub port_mapping: Option<Forwarding>,
    /// By how much its clock is ahead of most others', beyond what clocks may differ; negative when it
    /// is behind.
    pub clock_ahead_seconds: i64,
    /// The newest lines of its log that warn, oldest first; at most 8.
    pub warnings: Vec<Warning>,
}

/// Nodes that it knows, by how they have answered lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Table {
    /// All.
    pub nodes: u64,
    /// Answered.
    pub good: u64,
    /// Silent for a while.
    pub questionable: u64,
    /// Did not answer.
    pub bad: u64,
}

/// Envelopes now and since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Envelopes {
    /// On its disk.
    pub stored: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Remains of those that have ended.
    pub tombstones: u64,
    /// Acknowledgements on its disk.
    pub acknowledgements: u64,
    /// People's cards on its disk.
    pub cards: u64,
    /// Taken in since it began.
    pub accepted: u64,
    /// Taken over by others since it began.
    pub relayed: u64,
    /// Others' that were read since it began: its useful work.
    pub acknowledged_for_others: u64,
}

/// Bytes on its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Store {
    /// Of the budget.
    pub bytes_max: u64,
    /// That count for it.
    pub counted_bytes: u64,
    /// Of these, of others' envelopes.
    pub others_bytes: u64,
    /// Of these, of cards.
    pub card_bytes: u64,
    /// That its files take.
    pub disk_bytes: u64,
    /// That the disk has left, if it says so.
    pub free_bytes: Option<u64>,
}

/// Links that are open, and what went over links since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Links {
    /// Opened by others.
    pub accepted: u64,
    /// Opened by itself.
    pub dialled: u64,
    /// Bytes that came.
    pub received_bytes: u64,
    /// Bytes that it sent.
    pub sent_bytes: u64,
}

/// Times that the last 1,024 syncs of the disk took, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Syncs {
    /// Not exceeded by half of them.
    pub median_micros: u64,
    /// Not exceeded by 99 of a hundred.
    pub p99_micros: u64,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// When it was written, in seconds since 1970.
    pub time: u64,
    /// What it says.
    pub text: String,
}

/// What it carries between it and other nodes in a period, both directions together. Times are seconds
/// since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// Bytes that it may carry.
    pub bytes_max: u64,
    /// Bytes that it has carried.
    pub used_bytes: u64,
    /// When the next period begins.
    pub ends: u64,
    /// Until when it hibernates: it serves nobody but its own clients.
    pub hibernates_until: Option<u64>,
}

/// Why there is no report. Each is one line.
#[derive(Debug, Error)]
pub enum StatusError {
    /// The node cannot be asked, or refuses.
    #[error(transparent)]
    Asked(#[from] AskError),
    /// The node takes connections and gives no answer.
    #[error(
        "the node at {} has not answered within {} seconds; its log may say why",
        .0.display(),
        PATIENCE.as_secs()
    )]
    Silent(PathBuf),
}

/// What a node says.
struct Answers(GetStatusResponse, Vec<PeerInfo>, GetFiguresResponse);

impl Report {
    /// Asks the node that is configured so. To be called on a runtime.
    ///
    /// # Errors
    /// When no node runs there, it does not answer in time, or it refuses.
    pub async fn ask(config: &NodeConfig) -> Result<Self, StatusError> {
        let socket = config.socket_path();
        let answers = timeout(PATIENCE, ask(config)).await;
        answers.map_err(|_| StatusError::Silent(socket))?.map(|answers| Self::of(&answers))
    }

    fn of(Answers(status, peers, figures): &Answers) -> Self {
        let since = Duration::from_millis(figures.began);
        let uptime = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().saturating_sub(since);
        Self {
            version: status.version.clone(),
            address: hex::encode(&status.node),
            began: figures.began,
            uptime_seconds: uptime.as_secs(),
            connected: status.connected,
            reachability: reachability(status),
            endpoints: places(&status.endpoints),
            observed: places(&status.observed),
            table: Table::of(peers),
            network_size: status.network_size,
            envelopes: Envelopes::of(status, figures),
            store: Store::of(figures),
            links: Links::of(figures),
            syncs: Syncs::of(figures),
            volume: figures.volume.map(Volume::from),
            sources: figures.sources.iter().map(Beginning::from).collect(),
            port_mapping: figures.port_mapping.as_ref().map(Forwarding::from),
            clock_ahead_seconds: figures.clock_ahead / 1_000,
            warnings: figures.warnings.iter().map(Warning::of).collect(),
        }
    }

    /// What is to be said of its clock.
    pub(crate) fn clock(&self) -> String {
        match self.clock_ahead_seconds {
            0 => "agrees with others'".to_owned(),
            ahead if ahead > 0 => format!("{} AHEAD of most others': set it", time(ahead as u64)),
            behind => format!("{} BEHIND most others': set it", time(behind.unsigned_abs())),
        }
    }
}

async fn ask(config: &NodeConfig) -> Result<Answers, StatusError> {
    let channel = owner::connect(config).await?;
    let refused = |status: tonic::Status| AskError::refused(&status);
    let mut client = ClientClient::new(channel.clone());
    let status = client.get_status(GetStatusRequest {}).await.map_err(refused)?.into_inner();
    let peers = client.list_peers(ListPeersRequest {}).await.map_err(refused)?.into_inner().peers;
    let figures = OwnerClient::new(channel).get_figures(GetFiguresRequest {}).await;
    Ok(Answers(status, peers, figures.map_err(refused)?.into_inner()))
}

fn reachability(status: &GetStatusResponse) -> &'static str {
    match status.reachability() {
        Reachability::Reachable => "reachable",
        Reachability::Unreachable => "unreachable",
        Reachability::Unknown | Reachability::Unspecified => "unknown",
    }
}

fn places(endpoints: &[Endpoint]) -> Vec<String> {
    let places = decode::endpoints(endpoints).unwrap_or_default();
    places.iter().map(ToString::to_string).collect()
}

impl Table {
    fn of(peers: &[PeerInfo]) -> Self {
        let count = |wanted| peers.iter().filter(|peer| peer.status() == wanted).count() as u64;
        Self {
            nodes: peers.len() as u64,
            good: count(PeerStatus::Good),
            questionable: count(PeerStatus::Questionable),
            bad: count(PeerStatus::Bad),
        }
    }
}

impl From<TrafficVolume> for Volume {
    fn from(volume: TrafficVolume) -> Self {
        Self {
            bytes_max: volume.bytes_max,
            used_bytes: volume.used,
            ends: volume.ends / 1_000,
            hibernates_until: volume.hibernates_until.map(|at| at / 1_000),
        }
    }
}

/// For people, in one line.
impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |seconds| shown(Time::ZERO + Span::from_secs(seconds));
        if let Some(until) = self.hibernates_until {
            write!(f, "HIBERNATING until {}: ", at(until))?;
        }
        let percent = self.used_bytes.saturating_mul(100) / self.bytes_max.max(1);
        write!(f, "{percent} % of {} until {}", size(self.bytes_max), at(self.ends))
    }
}

impl Envelopes {
    fn of(status: &GetStatusResponse, figures: &GetFiguresResponse) -> Self {
        Self {
            stored: status.envelopes,
            bytes: status.envelope_bytes,
            tombstones: status.tombstones,
            acknowledgements: figures.acknowledgements,
            cards: figures.cards,
            accepted: figures.accepted,
            relayed: figures.relayed,
            acknowledged_for_others: figures.acknowledged_for_others,
        }
    }
}

impl Store {
    fn of(figures: &GetFiguresResponse) -> Self {
        Self {
            bytes_max: figures.bytes_max,
            counted_bytes: figures.counted_bytes,
            others_bytes: figures.others_bytes,
            card_bytes: figures.card_bytes,
            disk_bytes: figures.disk_bytes,
            free_bytes: figures.free_bytes,
        }
    }
}

impl Links {
    fn of(figures: &GetFiguresResponse) -> Self {
        Self {
            accepted: figures.accepted_links,
            dialled: figures.dialled_links,
            received_bytes: figures.received_bytes,
            sent_bytes: figures.sent_bytes,
        }
    }
}

impl Syncs {
    fn of(figures: &GetFiguresResponse) -> Option<Self> {
        Some(Self { median_micros: figures.sync_median?, p99_micros: figures.sync_p99? })
    }
}

impl fmt::Display for Syncs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (median, p99) = (brief(self.median_micros), brief(self.p99_micros));
        write!(f, "half within {median}, 99 % within {p99}")
    }
}

impl Warning {
    fn of(warning: &client::Warning) -> Self {
        Self { time: warning.time / 1_000, text: warning.text.clone() }
    }
}

/// A table for people: what on the left, how it is on the right.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, envelopes, store, .. } = self;
        let places = |places: &[String]| match places {
            [] => "nowhere".to_owned(),
            places => places.join(", "),
        };
        let free = store.free_bytes.map_or("?".to_owned(), size);
        let mut line = |what: &str, how: String| writeln!(f, "{what:<16}{how}");
        line("version", self.version.clone())?;
        line("address", self.address.clone())?;
        line("up for", time(self.uptime_seconds))?;
        line("reachability", self.reachability.to_owned())?;
        line("advertised", places(&self.endpoints))?;
        line("seen from", places(&self.observed))?;
        let Table { nodes, good, questionable, bad } = table;
        let states = format!("{good} good, {questionable} questionable, {bad} bad");
        line("peers", format!("{nodes} known ({states}), about {} in all", self.network_size))?;
        let Envelopes { stored, bytes, tombstones, acknowledgements, cards, .. } = envelopes;
        line(
            "envelopes",
            format!("{stored} stored ({} of bodies), {tombstones} ended", size(*bytes)),
        )?;
        line("besides", format!("{acknowledgements} acknowledgements, {cards} cards"))?;
        let Envelopes { accepted, relayed, acknowledged_for_others: read, .. } = envelopes;
        let work = format!("{accepted} taken in, {relayed} handed on, {read} read of others'");
        line("since it began", work)?;
        let Store { bytes_max, counted_bytes, others_bytes, card_bytes, disk_bytes, .. } = *store;
        let percent = counted_bytes.saturating_mul(100) / bytes_max.max(1);
        let parts = format!("others' mail {}, cards {}", size(others_bytes), size(card_bytes));
        line("budget", format!("{percent} % of {} ({parts})", size(bytes_max)))?;
        line("disk", format!("{} taken, {free} free", size(disk_bytes)))?;
        line("syncs", self.syncs.map_or("none yet".to_owned(), |syncs| syncs.to_string()))?;
        let Links { accepted, dialled, received_bytes, sent_bytes } = self.links;
        let moved = format!("{} received, {} sent", size(received_bytes), size(sent_bytes));
        line("links", format!("{accepted} from others, {dialled} to others ({moved})"))?;
        if let Some(volume) = self.volume {
            line("traffic", volume.to_string())?;
        }
        if let Some(forwarding) = &self.port_mapping {
            line("forwarded", forwarding.to_string())?;
        }
        for source in &self.sources {
            line("begins with", source.to_string())?;
        }
        line("clock", self.clock())
    }
}

/// In the largest unit of which there are some; less exact than what a configuration takes.
pub(crate) fn size(bytes: u64) -> String {
    let unit = [40, 30, 20, 10].into_iter().find(|bits| bytes >> bits >= 8).unwrap_or(0);
    ByteSize(bytes >> unit << unit).to_string()
}

/// A short time, of so many microseconds.
pub(crate) fn brief(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

/// The two largest units.
pub(crate) fn time(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_as_long_as_people_read_them() {
        assert_eq!(size(0), "0B");
        assert_eq!(size(8_191), "8191B");
        assert_eq!(size(8_192 + 5), "8KiB");
        assert_eq!(size(1 << 30), "1GiB");
        assert_eq!(size((9 << 30) + 1), "9GiB");
        assert_eq!([850, 3_140, 2_500_000].map(brief), ["850 µs", "3.1 ms", "2.5 s"]);
        assert_eq!(time(59), "59 s");
        assert_eq!(time(61), "1 min 1 s");
        assert_eq!(time(3_700), "1 h 1 min");
        assert_eq!(time(90_000), "1 d 1 h");
    }

    #[test]
    fn a_clock_that_is_wrong_says_in_which_direction() {
        let status = GetStatusResponse { node: vec![7; 20].into(), ..<_>::default() };
        let report = |clock_ahead| {
            let figures = GetFiguresResponse { clock_ahead, bytes_max: 100, ..<_>::default() };
            Report::of(&Answers(status.clone(), Vec::new(), figures)).to_string()
        };
        assert!(report(0).contains("agrees with others'"));
        assert!(report(7_260_000).contains("2 h 1 min AHEAD"));
        assert!(report(-90_000_000).contains("1 d 1 h BEHIND"));
    }
}
