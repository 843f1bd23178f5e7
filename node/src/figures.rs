//! What a node holds and has done, for whoever runs it: kept by the driver, shown by the API of the
//! owner and told to the service manager.
//!
//! Entry type is [`Figures`]. It names nobody, and nothing in the node depends on it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use comm_proto::node::{Standing, Stats};
use comm_proto::time::Time;
use comm_proto::wire::client::{
    BootstrapSource, GetFiguresResponse, PortMapping, TrafficVolume as VolumeMessage, Warning,
};

use crate::bootstrap::{Progress, Sources};
use crate::logging::warnings;
use crate::metrics::syncs;
use crate::metrics::traffic::{self, Traffic};
use crate::port_mapping::{Mapped, Mapping};
use crate::store::upkeep::{DiskUse, free_bytes};

/// The figures of one node. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Figures(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    began: SystemTime,
    bytes_max: u64,
    store: PathBuf,
    /// What the process had moved when this node began.
    before: Traffic,
    now: Mutex<Now>,
    sources: Sources,
    mapping: Mapping,
}

#[derive(Clone, Copy, Debug, Default)]
struct Now {
    stats: Stats,
    clock_ahead: i64,
    volume: Option<Volume>,
    /// Nodes of its table that have not failed to answer.
    answering: u64,
}

/// How far the volume of traffic of this period is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Bytes that may be moved in the period.
    pub max: u64,
    /// Bytes that were.
    pub used: u64,
    /// When the next period begins.
    pub ends: Time,
    /// Until when the node hibernates, if it does.
    pub rests_until: Option<Time>,
}

/// What a node does for others, and has done since it began.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Whether it serves others now, and does not hibernate.
    pub serves_others: bool,
    /// When it began.
    pub began: SystemTime,
    /// Envelopes on its disk.
    pub envelopes: u64,
    /// Bytes of their bodies.
    pub envelope_bytes: u64,
    /// Envelopes that other nodes took from it.
    pub relayed: u64,
    /// Others' envelopes that were read.
    pub acknowledged_for_others: u64,
    /// Bytes that came over links between nodes, encryption included.
    pub received_bytes: u64,
    /// Bytes that it sent over them.
    pub sent_bytes: u64,
    /// Open links that others have opened.
    pub accepted_links: u64,
    /// Open links that it has opened itself.
    pub dialled_links: u64,
}

impl Figures {
    /// Those of a node that begins now, with its store at `store` and a budget of `bytes_max` bytes.
    pub fn new(store: PathBuf, bytes_max: u64) -> Self {
        let now = Mutex::new(Now::default());
        let (began, before) = (SystemTime::now(), traffic::until_now());
        let (sources, mapping) = (Sources::default(), Mapping::default());
        Self(Arc::new(Shared { began, bytes_max, store, before, now, sources, mapping }))
    }

    /// What has come of each source of nodes to begin with.
    pub fn sources(&self) -> &Sources {
        &self.0.sources
    }

    /// What the router forwards to it.
    pub fn mapping(&self) -> &Mapping {
        &self.0.mapping
    }

    /// How its table stands.
    pub fn set_standing(&self, standing: &Standing) {
        self.lock().answering = standing.good + standing.questionable;
    }

    /// Whether no node of its table answers, as far as it knows.
    pub fn is_alone(&self) -> bool {
        self.lock().answering == 0
    }

    /// What the node counts now.
    pub fn set_stats(&self, stats: Stats) {
        self.lock().stats = stats;
    }

    /// By how many milliseconds its clock is ahead of most others'; negative when it is behind.
    pub fn set_clock_ahead(&self, millis: i64) {
        self.lock().clock_ahead = millis;
    }

    /// Those that anybody may see.
    pub fn work(&self) -> Work {
        let Now { stats, volume, .. } = *self.lock();
        let (traffic, before) = (traffic::until_now(), self.0.before);
        Work {
            serves_others: volume.is_none_or(|volume| volume.rests_until.is_none()),
            began: self.0.began,
            envelopes: stats.envelopes,
            envelope_bytes: stats.envelope_bytes,
            relayed: stats.relayed,
            acknowledged_for_others: stats.acknowledged_for_others,
            received_bytes: traffic.received_bytes.saturating_sub(before.received_bytes),
            sent_bytes: traffic.sent_bytes.saturating_sub(before.sent_bytes),
            accepted_links: traffic.accepted_links,
            dialled_links: traffic.dialled_links,
        }
    }

    /// How far its volume of traffic is used, if it has one.
    pub fn set_volume(&self, volume: Option<Volume>) {
        self.lock().volume = volume;
    }

    /// Until when the node hibernates, if it does.
    pub fn rests_until(&self) -> Option<Time> {
        self.lock().volume?.rests_until
    }

    /// All of them, as the owner is told (PROTOCOL §8.5). Looks at the disk.
    pub fn response(&self) -> GetFiguresResponse {
        let Now { stats, clock_ahead, volume, .. } = *self.lock();
        let work = self.work();
        let syncs = syncs::percentiles();
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        GetFiguresResponse {
            began: millis(self.0.began),
            counted_bytes: stats.disk_bytes,
            bytes_max: self.0.bytes_max,
            others_bytes: stats.others_bytes,
            card_bytes: stats.card_bytes,
            cards: stats.cards,
            acknowledgements: stats.acknowledgements,
            disk_bytes: DiskUse::of(&self.0.store).total(),
            free_bytes: free_bytes(&self.0.store),
            accepted: stats.accepted,
            relayed: stats.relayed,
            acknowledged_for_others: stats.acknowledged_for_others,
            clock_ahead,
            received_bytes: work.received_bytes,
            sent_bytes: work.sent_bytes,
            accepted_links: work.accepted_links,
            dialled_links: work.dialled_links,
            sync_median: syncs.map(|syncs| micros(syncs.median)),
            sync_p99: syncs.map(|syncs| micros(syncs.p99)),
            warnings: warnings::newest().into_iter().map(told).collect(),
            volume: volume.map(VolumeMessage::from),
            sources: self.0.sources.all().into_iter().map(BootstrapSource::from).collect(),
            port_mapping: self.0.mapping.now().map(PortMapping::from),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn told(warning: warnings::Warning) -> Warning {
    Warning { time: millis(warning.time), text: warning.text }
}

/// Milliseconds since 1970.
fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl From<Volume> for VolumeMessage {
    fn from(volume: Volume) -> Self {
        Self {
            bytes_max: volume.max,
            used: volume.used,
            ends: volume.ends.as_millis(),
            hibernates_until: volume.rests_until.map(Time::as_millis),
        }
    }
}

impl From<Progress> for BootstrapSource {
    fn from(source: Progress) -> Self {
        let Progress { kind, name, named, answered, trouble, .. } = source;
        Self { kind: kind.word().to_owned(), name, named, answered, trouble }
    }
}

impl From<Mapped> for PortMapping {
    fn from(mapped: Mapped) -> Self {
        match mapped {
            Mapped::Asking => Self::default(),
            Mapped::Forwarded { protocol, external, .. } => Self {
                protocol: Some(protocol.to_owned()),
                external: Some((&external).into()),
                trouble: None,
            },
            Mapped::Refused(trouble) => Self { trouble: Some(trouble), ..Self::default() },
        }
    }
}
