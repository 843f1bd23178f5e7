//! The command line. What its values mean to a scenario is the scenario's business.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand};
use comm_proto::time::Span;
use comm_sim::plan::Start;
use comm_sim::scenario::units;

use crate::swarm::Seeds;

const AFTER: &str = "\
SCENARIO is a file, or the name of one that `comm-sim list` shows.

Exit codes: 0 all expectations are met, or there was none to check; 1 an expectation is missed, a network broke, or is \
missing in `report`; 2 wrong arguments, a wrong scenario, or files that cannot be read or written; \
3 interrupted (figures are of what was finished; what was being played is shown as it stood); 4 nothing was checked, with --must-check.";

/// Runs whole simulated networks of comm and reports what became of their envelopes.
#[derive(Parser)]
#[command(name = "comm-sim", version, after_help = AFTER)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run a scenario's plan on its networks, all cores at work.
    Run {
        #[command(flatten)]
        chosen: Chosen,
        #[command(flatten)]
        workers: Workers,
        #[command(flatten)]
        shown: Shown,
    },
    /// Run every cell of a scenario's grid; what is in --out already is not run again.
    Sweep {
        #[command(flatten)]
        chosen: Chosen,
        #[command(flatten)]
        workers: Workers,
        #[command(flatten)]
        shown: Shown,
        /// Run the i-th of n parts, so that n machines share the work; `report` joins them.
        #[arg(long, value_name = "i/n")]
        shard: Option<Shard>,
    },
    /// Run every scenario that is an experiment, grids included, and say which goals are reached.
    Experiments {
        /// Which alone, by id or file, such as E2; all if none is named.
        #[arg(value_name = "ID")]
        wanted: Vec<String>,
        #[command(flatten)]
        changed: Changed,
        #[command(flatten)]
        workers: Workers,
        #[command(flatten)]
        shown: Shown,
        /// Write this document, and its plots into the folder `experiments` beside it.
        #[arg(long, value_name = "FILE")]
        docs: Option<PathBuf>,
    },
    /// Join the results of runs, sweeps and shards to one report.
    Report {
        /// Directories that were given to --out.
        #[arg(required = true, value_name = "DIR")]
        directories: Vec<PathBuf>,
        #[command(flatten)]
        shown: Shown,
    },
    /// Show what differs between two results by more than chance.
    Compare {
        /// What was there before.
        #[arg(value_name = "DIR")]
        left: PathBuf,
        /// What is there now.
        #[arg(value_name = "DIR")]
        right: PathBuf,
    },
    /// Run one network and print the hash of everything that happened in it.
    Replay {
        /// Seed of the network.
        #[arg(value_parser = seed)]
        seed: u64,
        /// What to run.
        #[arg(required_unless_present = "swarm")]
        scenario: Option<PathBuf>,
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        looks: Looks,
        /// A world of `swarm` rather than a scenario: show what was drawn and what was broken.
        #[arg(long, conflicts_with_all = ["scenario", "nodes", "envelopes", "set", "topology", "per_node"])]
        swarm: bool,
        /// Tell what became of the envelope whose id begins so: every message that names it, and where its copies lay.
        #[arg(long, value_name = "ID")]
        about: Option<String>,
    },
    /// Run small worlds in which much goes wrong, and look whether anything is broken.
    Swarm {
        /// The first seed and the one after the last.
        #[arg(long, value_name = "A..B")]
        seeds: Seeds,
        #[command(flatten)]
        workers: Workers,
        /// Print the hash of everything that happened in each world, and nothing else.
        #[arg(long)]
        hashes: bool,
    },
    /// Measure on this machine how fast one network runs on one core, and how much memory it takes.
    Bench {
        /// Relays of the network.
        #[arg(long, value_name = "N", default_value_t = 1_000)]
        nodes: usize,
        /// Their time in which they find each other.
        #[arg(long, value_name = "TIME", default_value = "20m", value_parser = time)]
        settle: Span,
        /// Their time that they are idle after that, at least a minute.
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = a_minute)]
        idle: Span,
        /// How they begin, as `run.start` says: joining, settled or established.
        #[arg(long, value_name = "START", default_value = "joining", value_parser = start)]
        start: Start,
        /// Measure how long e4-both takes among 10,000 relays as well. That takes many minutes and is not asked by default.
        #[arg(long)]
        e4: bool,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// List scenarios and behaviours, a line each.
    List,
}

/// What to run.
#[derive(Args)]
pub(crate) struct Chosen {
    /// What to run.
    pub(crate) scenario: PathBuf,
    #[command(flatten)]
    pub(crate) changed: Changed,
}

/// What is other than in the scenario.
#[derive(Args)]
pub(crate) struct Changed {
    #[command(flatten)]
    settings: Settings,
    /// Networks; the same as --set run.networks=N.
    #[arg(long, value_name = "N", value_parser = number())]
    networks: Option<u64>,
    /// Seed of the first network; the same as --set run.seed=N.
    #[arg(long, value_name = "N", value_parser = number())]
    seed: Option<u64>,
}

/// What is other in each network.
#[derive(Args)]
pub(crate) struct Settings {
    /// Relays of each network; the same as --set network.nodes=N.
    #[arg(long, value_name = "N", value_parser = number())]
    nodes: Option<u64>,
    /// Envelopes of each network; the same as --set traffic.envelopes=N.
    #[arg(long, value_name = "N", value_parser = number())]
    envelopes: Option<u64>,
    /// Change a value of the scenario, as in network.latency=20ms..80ms; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// How much to do at a time.
#[derive(Args, Clone, Copy, Default)]
pub(crate) struct Workers {
    /// Networks or worlds at a time; never more than there are cores, and as many as these if not given.
    #[arg(long, value_name = "N", value_parser = at_a_time)]
    pub(crate) jobs: Option<NonZeroUsize>,
}

/// What to write about one network.
#[derive(Args)]
pub(crate) struct Looks {
    /// Write who has whom in their table when it has settled, as a graph for Graphviz.
    #[arg(long, value_name = "FILE")]
    pub(crate) topology: Option<PathBuf>,
    /// Write a line of CSV for every relay and minute; large.
    #[arg(long, value_name = "FILE")]
    pub(crate) per_node: Option<PathBuf>,
}

/// How to show results.
#[derive(Args)]
pub(crate) struct Shown {
    /// Write results and the report (HTML, JSON, CSV, text) into this directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// End with 4 if no expectation is about what was run: for scripts that test.
    #[arg(long)]
    pub(crate) must_check: bool,
}

/// A part of the work, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    part: usize,
    parts: usize,
}

fn at_a_time(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "write how many at a time, at least 1".to_owned())
}

/// A whole number that a scenario can hold.
fn number() -> RangedU64ValueParser {
    clap::value_parser!(u64).range(..=i64::MAX.unsigned_abs())
}

fn time(text: &str) -> Result<Span, String> {
    units::span(text)
}

fn a_minute(text: &str) -> Result<Span, String> {
    let time = units::span(text)?;
    if time >= Span::from_mins(1) { Ok(time) } else { Err("write at least 1m".to_owned()) }
}

fn start(text: &str) -> Result<Start, String> {
    let known = Start::ALL.into_iter().find(|(name, _)| *name == text);
    let names = || Start::ALL.map(|(name, _)| name).join(", ");
    known.map(|(_, start)| start).ok_or_else(|| format!("write one of {}", names()))
}

/// The seed of a network, which stands before its scenario.
fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| {
        "the seed comes first, a whole number, as in `comm-sim replay 1 mute.toml`".to_owned()
    })
}

impl Changed {
    /// All overrides in the form of --set.
    pub(crate) fn overrides(&self) -> Vec<String> {
        let extent = [("run.networks", self.networks), ("run.seed", self.seed)];
        self.settings.overrides().into_iter().chain(short(extent)).collect()
    }
}

impl Settings {
    /// All overrides in the form of --set.
    pub(crate) fn overrides(&self) -> Vec<String> {
        let sizes = [("network.nodes", self.nodes), ("traffic.envelopes", self.envelopes)];
        self.set.iter().cloned().chain(short(sizes)).collect()
    }
}

/// Those that are given in the form of --set.
fn short(keys: [(&str, Option<u64>); 2]) -> impl Iterator<Item = String> {
    keys.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?)))
}

impl Shard {
    /// All of the work.
    pub(crate) const ALL: Self = Self { part: 0, parts: 1 };

    /// Whether it does the piece of work of this number.
    pub(crate) fn has(self, number: usize) -> bool {
        number % self.parts == self.part
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (part, parts) = text.split_once('/')?;
            let (part, parts) = (part.parse::<usize>().ok()?, parts.parse::<usize>().ok()?);
            (1..=parts).contains(&part).then(|| Self { part: part - 1, parts })
        };
        read().ok_or_else(|| "write the part and how many there are, such as 1/4 to 4/4".to_owned())
    }
}
