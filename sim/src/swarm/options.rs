//! What one seed stands for: a small network, its traffic, and all that goes wrong, and when.
//!
//! Entry type is [`Options`]. All of it is drawn beforehand, so that it can be shown; what is drawn
//! message by message is the world's own affair.

use std::collections::BTreeMap;
use std::fmt;

use comm_proto::node::Config;
use comm_proto::table::TableConfig;
use comm_proto::time::Span;
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};

use crate::host::At;
use crate::plan::{Millionths, Network, Off, Plan};
use crate::swarm::oracle::{IN_VAIN_MAX, LONG_AGO, Skews};

/// Fewest and most hosts.
const HOSTS: (u64, u64) = (6, 24);
/// Where the trouble lasts long.
const FEW_HOSTS: (u64, u64) = (6, 12);
/// And in one world of eight.
const MANY_HOSTS: (u64, u64) = (25, 40);
/// Fewest and most envelopes.
const LETTERS: (u64, u64) = (8, 32);
/// What adversaries do, of [`crate::behaviour::ALL`], alone or together.
const BEHAVIOURS: [&[&str]; 4] =
    [&["collude"], &["mute"], &["drop-acknowledgements"], &["drop-acknowledgements", "mute"]];
/// The most that clocks of most hosts are apart, in milliseconds.
const SMALL_SKEW: u64 = 60 * 60_000;
const HOUR: i64 = 3_600_000;
/// Where the longest wait is no longer than this, there is time for [`ROUNDS`] of them.
const SHORT_WAIT: Span = Span::from_mins(5);
/// More than a node may ask in vain.
const ROUNDS: u64 = IN_VAIN_MAX as u64 + 4;

/// Everything that is drawn for one world.
#[derive(Clone, Debug)]
pub struct Options {
    /// Hosts, latency, loss.
    pub network: Network,
    /// The bounds of every host's node, where they are not the usual ones.
    pub config: Config,
    /// Hosts whose disks hold little.
    pub full: BTreeMap<At, u64>,
    /// The chance of every message to come twice.
    pub doubled: Millionths,
    /// Hosts from and to which everything comes later.
    pub slow: BTreeMap<At, Span>,
    /// How long a sync takes.
    pub syncs: (Span, Span),
    /// The adversary's hosts.
    pub adversaries: Vec<At>,
    /// And what they do.
    pub behaviours: &'static [&'static str],
    /// By how many milliseconds clocks are ahead, from the beginning.
    pub clocks: BTreeMap<At, i64>,
    /// Envelopes.
    pub letters: Vec<Letter>,
    /// What goes wrong, and when, in the order of time.
    pub faults: Vec<(Span, Fault)>,
    /// How long anything goes wrong.
    pub trouble: Span,
    /// How long the world has to settle afterwards.
    pub healing: Span,
}

/// One envelope.
#[derive(Clone, Copy, Debug)]
pub struct Letter {
    /// Whose node sends it.
    pub writer: At,
    /// Whose node reads it.
    pub reader: At,
    /// When.
    pub sent: Span,
    /// How long it may wait.
    pub ttl: Span,
    /// When its reader comes; later than the trouble when they come after it.
    pub read: Span,
    /// When its sender takes it back, if they do.
    pub cancelled: Option<Span>,
}

/// One thing that goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Power goes; a part of what was not synced is left.
    Crash {
        /// Whose.
        host: At,
        /// Which part.
        kept: Millionths,
        /// How long the host is off.
        off: Span,
    },
    /// The same, when so many batches more have been written and the last is not synced.
    CrashWriting {
        /// Whose.
        host: At,
        /// How many.
        writes: u32,
        /// Which part.
        kept: Millionths,
        /// How long the host is off.
        off: Span,
    },
    /// The disk cannot be read any more after some reads.
    FailReads {
        /// Whose.
        host: At,
        /// After how many.
        after: u32,
        /// How long the host is off.
        off: Span,
    },
    /// The next write fails.
    FailWrites {
        /// Whose.
        host: At,
        /// How long the host is off.
        off: Span,
    },
    /// Syncs take until then.
    Stall {
        /// Whose.
        host: At,
        /// How long.
        span: Span,
    },
    /// The host handles nothing.
    Pause {
        /// Whose.
        host: At,
        /// How long.
        span: Span,
    },
    /// What some send to others does not arrive.
    Cut {
        /// Who.
        from: Vec<At>,
        /// To whom.
        to: Vec<At>,
        /// How long.
        span: Span,
    },
    /// A machine's clock is set.
    SetClock {
        /// Whose.
        host: At,
        /// Milliseconds ahead of the true time.
        ahead: i64,
    },
    /// Somebody sends what no honest node would.
    Forge {
        /// To whom.
        to: At,
    },
}

/// Draws numbers.
pub(super) struct Draw(ChaCha12Rng);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(ChaCha12Rng::seed_from_u64(seed))
    }

    /// A number below `count`, which is at least 1.
    pub(super) fn below(&mut self, count: u64) -> u64 {
        self.0.next_u64() % count
    }

    fn between(&mut self, least: u64, greatest: u64) -> u64 {
        least + self.below(greatest.saturating_sub(least) + 1)
    }

    /// True once in `of` times.
    pub(super) fn once_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    pub(super) fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }

    fn span(&mut self, least: Span, greatest: Span) -> Span {
        Span::from_millis(self.between(least.as_millis(), greatest.as_millis()))
    }

    fn share(&mut self, most: u32) -> Millionths {
        Millionths::new(self.below(u64::from(most) + 1) as u32)
    }

    fn some_hosts(&mut self, hosts: usize, count: usize) -> Vec<At> {
        let mut all: Vec<_> = (0..hosts).collect();
        for place in 0..count.min(hosts) {
            let other = place + self.below((hosts - place) as u64) as usize;
            all.swap(place, other);
        }
        all.truncate(count);
        all
    }
}

impl Options {
    /// What `seed` stands for.
    pub fn draw(seed: u64) -> Self {
        let mut draw = Draw::new(!seed);
        let long = draw.once_in(16);
        let network = Network { group: group(seed), off: off(seed), ..network(&mut draw, long) };
        let hosts = network.nodes;
        let trouble = if long {
            draw.span(Span::from_mins(200), Span::from_mins(400))
        } else {
            draw.span(Span::from_mins(10), Span::from_mins(40))
        };
        let config = config(&mut draw);
        let share = *draw.one_of(&[0, 0, 10, 20, 33]);
        let adversaries = draw.some_hosts(hosts, (hosts * share / 100).min(hosts - 4));
        let behaviours = *draw.one_of(&BEHAVIOURS);
        let honest: Vec<_> = (0..hosts).filter(|at| !adversaries.contains(at)).collect();
        let clocks = clocks(&mut draw, hosts);
        let mut faults = Vec::new();
        draw_faults(&mut draw, &mut faults, &honest, hosts, trouble);
        faults.sort_by_key(|(at, _)| *at);
        let healing = healing(trouble, &config, &skews(&clocks, &faults));
        let letters = letters(&mut draw, &honest, trouble, healing);
        let full = full(&mut draw, &honest);
        let slow = slow(&mut draw, hosts);
        let doubled = if draw.once_in(2) { draw.share(150_000) } else { Millionths::default() };
        let slowest = *draw.one_of(&[5, 50, 500, 3_000, 12_000]);
        let syncs = (Span::from_millis(1), Span::from_millis(slowest));
        Self {
            network,
            config,
            full,
            doubled,
            slow,
            syncs,
            adversaries,
            behaviours,
            clocks,
            letters,
            faults,
            trouble,
            healing,
        }
    }

    /// How wrong clocks ever are.
    pub(super) fn skews(&self) -> Skews {
        skews(&self.clocks, &self.faults)
    }
}

fn skews(clocks: &BTreeMap<At, i64>, faults: &[(Span, Fault)]) -> Skews {
    let mut skews = Skews::default();
    let set = faults.iter().filter_map(|(_, fault)| match fault {
        Fault::SetClock { host, ahead } => Some((*host, *ahead)),
        _ => None,
    });
    for (host, ahead) in clocks.iter().map(|(host, ahead)| (*host, *ahead)).chain(set) {
        skews.least = skews.least.min(ahead);
        let most = skews.ahead.entry(host).or_default();
        *most = (*most).max(ahead);
    }
    skews
}

fn network(draw: &mut Draw, long: bool) -> Network {
    let hosts = match (long, draw.once_in(8)) {
        (true, _) => FEW_HOSTS,
        (false, true) => MANY_HOSTS,
        (false, false) => HOSTS,
    };
    let least = *draw.one_of(&[1, 20, 100]);
    let spread = *draw.one_of(&[1, 100, 400, 2_500]);
    Network {
        nodes: draw.between(hosts.0, hosts.1) as usize,
        latency: (Span::from_millis(least), Span::from_millis(least + spread)),
        loss: if draw.once_in(3) { Millionths::default() } else { draw.share(300_000) },
        ..Plan::default().network
    }
}

/// Hosts that share a part of a full disk. Drawn apart, so that all else of a seed is what it would be without.
fn group(seed: u64) -> usize {
    *Draw::new(seed.rotate_left(32)).one_of(&[1, 3, 256])
}

/// What callers notice of a host that is off; drawn apart, too.
fn off(seed: u64) -> Off {
    *Draw::new(seed.rotate_left(16)).one_of(&[Off::Silent, Off::Refuses])
}

/// Small regions, so that a small network is larger than one, and few places, so that they fill.
fn config(draw: &mut Draw) -> Config {
    let usual = Config::default();
    let backoff = if draw.once_in(16) { 360 } else { *draw.one_of(&[2, 5, 15, 60]) };
    Config {
        table: TableConfig { bucket_size: *draw.one_of(&[4, 8, 20]), ..TableConfig::default() },
        region_nodes: *draw.one_of(&[5, 8, 12, 20]),
        entries: *draw.one_of(&[2, 4]),
        backoff_max: Span::from_mins(backoff),
        calls_max: *draw.one_of(&[24, 128, 1_024]),
        lookups_max: *draw.one_of(&[8, 64]),
        regions_max: *draw.one_of(&[4, 4_096]),
        address_book_max: *draw.one_of(&[16, 8_192]),
        listeners_max: *draw.one_of(&[6, 4_096]),
        promises_max: *draw.one_of(&[4, 16_384]),
        expired_per_step: *draw.one_of(&[2, 256]),
        due_per_step: *draw.one_of(&[3, 1_024]),
        ..usual
    }
}

/// Rounds that were made in vain have moved the next one out by as long as the trouble took, or the
/// longest wait; one may be left out; an entry that is gone is noticed by then. A clock that was ahead
/// has moved it out by as much, but by no more than the longest wait. Where waits are short, a holder that is never told
/// of an end has time to ask in vain more often than the oracle allows.
fn healing(trouble: Span, config: &Config, skews: &Skews) -> Span {
    let longest = config.backoff_max.as_millis() * 6 / 5;
    let ahead = skews.ahead.values().map(|ahead| ahead.unsigned_abs()).max().unwrap_or(0);
    let wait = trouble.as_millis().min(longest);
    let settled = Span::from_millis(wait * 3 + ahead.min(longest)) + Span::from_mins(40);
    if config.backoff_max > SHORT_WAIT {
        return settled;
    }
    settled.max(LONG_AGO + Span::from_millis(longest * ROUNDS))
}

impl Options {
    /// How long ago an end must be so that every holder has had time to ask about it more often than may be in vain; none
    /// where waits are too long for that.
    pub(crate) fn time_for_ends(&self) -> Option<Span> {
        let longest = self.config.backoff_max.as_millis() * 6 / 5;
        (self.config.backoff_max <= SHORT_WAIT)
            .then(|| LONG_AGO + Span::from_millis(longest * ROUNDS))
    }
}

fn letters(draw: &mut Draw, honest: &[At], trouble: Span, healing: Span) -> Vec<Letter> {
    let count = draw.between(LETTERS.0, LETTERS.1);
    let all = trouble + healing;
    (0..count)
        .map(|_| {
            let writer = draw.below(honest.len() as u64) as usize;
            let reader = (writer + 1 + draw.below(honest.len() as u64 - 1) as usize) % honest.len();
            let sent = draw.span(Span::ZERO, trouble);
            let short = draw.once_in(4);
            let ttl = if short {
                draw.span(Span::from_mins(10), Span::from_mins(40))
            } else {
                all + draw.span(Span::from_mins(10), Span::from_days(14))
            };
            let late = trouble + Span::from_mins(1);
            let read = if draw.once_in(3) { late } else { draw.span(Span::ZERO, trouble) };
            let cancelled =
                draw.once_in(12).then(|| sent + draw.span(Span::ZERO, Span::from_mins(5)));
            Letter {
                writer: honest[writer],
                reader: honest[reader],
                sent,
                ttl,
                read,
                cancelled: cancelled.filter(|at| *at < trouble),
            }
        })
        .collect()
}

/// Mostly small; of a few hosts, fewer than a quarter, by more than clocks may disagree.
fn clocks(draw: &mut Draw, hosts: usize) -> BTreeMap<At, i64> {
    if draw.once_in(2) {
        return BTreeMap::new();
    }
    let mut clocks: BTreeMap<_, _> = (0..hosts)
        .map(|host| (host, draw.below(SMALL_SKEW) as i64 - SMALL_SKEW as i64 / 2))
        .collect();
    if draw.once_in(2) {
        let wrong = draw.below(hosts as u64 / 4) as usize;
        for host in draw.some_hosts(hosts, wrong) {
            clocks.insert(host, wrong_by(draw));
        }
    }
    clocks
}

fn wrong_by(draw: &mut Draw) -> i64 {
    *draw.one_of(&[-72, -5, -2, 1, 2, 5, 30, 120, 240]) * HOUR
}

fn full(draw: &mut Draw, honest: &[At]) -> BTreeMap<At, u64> {
    if !draw.once_in(3) {
        return BTreeMap::new();
    }
    let count = draw.below(honest.len() as u64) as usize / 2;
    let hosts = draw.some_hosts(honest.len(), count);
    hosts.into_iter().map(|host| (honest[host], draw.between(3_300, 40_000))).collect()
}

fn slow(draw: &mut Draw, hosts: usize) -> BTreeMap<At, Span> {
    if !draw.once_in(3) {
        return BTreeMap::new();
    }
    let count = draw.below(hosts as u64 / 3) as usize;
    let some = draw.some_hosts(hosts, count);
    some.into_iter()
        .map(|host| (host, draw.span(Span::from_millis(100), Span::from_secs(8))))
        .collect()
}

/// Kinds of faults are chosen first, and how many of each: a swarm in which everything goes wrong
/// everywhere always tests less.
fn draw_faults(
    draw: &mut Draw,
    faults: &mut Vec<(Span, Fault)>,
    honest: &[At],
    hosts: usize,
    trouble: Span,
) {
    for kind in 0..8_u8 {
        if draw.once_in(2) {
            continue;
        }
        let most = if kind == 7 { 60 } else { 12 };
        for _ in 0..draw.between(1, most) {
            let at = draw.span(Span::from_mins(1), trouble);
            let host = *draw.one_of(honest);
            faults.push((at, fault(draw, kind, host, (honest, hosts))));
        }
    }
}

fn fault(draw: &mut Draw, kind: u8, host: At, (honest, hosts): (&[At], usize)) -> Fault {
    let off = draw.span(Span::from_secs(1), Span::from_mins(30));
    match kind {
        0 => {
            let kept = draw.share(1_000_000);
            let kept = if draw.once_in(3) { Millionths::default() } else { kept };
            let writes = draw.between(1, 8) as u32;
            if draw.once_in(3) {
                Fault::Crash { host, kept, off }
            } else {
                Fault::CrashWriting { host, writes, kept, off }
            }
        }
        1 => Fault::FailReads { host, after: draw.below(40) as u32, off },
        2 => Fault::FailWrites { host, off },
        3 => Fault::Stall { host, span: draw.span(Span::from_secs(1), Span::from_mins(10)) },
        4 => Fault::Pause { host, span: draw.span(Span::from_secs(1), Span::from_mins(40)) },
        5 => {
            let size = draw.between(1, hosts as u64 - 1) as usize;
            let from = draw.some_hosts(hosts, size);
            let rest = || (0..hosts).filter(|at| !from.contains(at));
            let to: Vec<_> =
                if draw.once_in(2) { rest().collect() } else { rest().step_by(2).collect() };
            Fault::Cut { from, to, span: draw.span(Span::from_secs(10), Span::from_mins(30)) }
        }
        6 => {
            // Always of the same few, so that most clocks are right.
            let host = honest[draw.below((honest.len() as u64 / 4).max(1)) as usize];
            let ahead = if draw.once_in(3) { 0 } else { wrong_by(draw) };
            Fault::SetClock { host, ahead }
        }
        _ => Fault::Forge { to: host },
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = |span: Span| span.as_millis() / 60_000;
        write!(
            f,
            "{} hosts, {} of them {}; {} envelopes; loss {} %, doubled {} %, latency {}..{} ms, syncs up to {} ms; \
             {} clocks wrong, {} hosts slow, {} disks small; {} faults in {} min, then {} min",
            self.network.nodes,
            self.adversaries.len(),
            self.behaviours.join("+"),
            self.letters.len(),
            self.network.loss.get() / 10_000,
            self.doubled.get() / 10_000,
            self.network.latency.0.as_millis(),
            self.network.latency.1.as_millis(),
            self.syncs.1.as_millis(),
            self.clocks.len(),
            self.slow.len(),
            self.full.len(),
            self.faults.len(),
            minutes(self.trouble),
            minutes(self.healing),
        )
    }
}
