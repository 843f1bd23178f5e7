//! Swarm testing: small worlds in which much goes wrong, each drawn from its seed, and an oracle that
//! looks on.
//!
//! Entry point is [`run`]. First there is trouble, during which everything that is said must be safe;
//! then the trouble ends, adversaries are gone, all honest hosts are there, clocks are right, and
//! whatever was accepted must arrive within a stated time. `docs/swarm.md` says what is drawn and checked.

mod forgeries;
pub mod options;
pub(crate) mod oracle;
pub mod verdict;

use comm_proto::time::Span;

use crate::behaviour::{Behaviour, Kind};
use crate::people::Deed;
use crate::plan::Crypto;
use crate::world::{START, World};

use forgeries::Forger;
use options::{Fault, Options};
use oracle::Oracle;
use verdict::Verdict;

pub use oracle::{Rule, Violation};

/// Hosts are switched on over this time.
const STARTING: Span = Span::from_mins(1);
/// Hosts that others are told of to begin with, and again whenever they are switched on.
const KNOWN: usize = 3;
/// How long a host whose disk was full, or whose clock was wrong, is off to be put right.
const REPAIR: Span = Span::from_secs(20);

/// Plays the world of `seed` to its end.
///
/// # Panics
/// When a node does: that is a defect, too.
pub fn run(seed: u64) -> Verdict {
    play(seed, None).0
}

/// The same, with every message that names the envelope whose id begins so.
///
/// # Panics
/// As [`run`].
pub fn run_about(seed: u64, about: &str) -> (Verdict, Vec<String>) {
    play(seed, Some(about))
}

fn play(seed: u64, about: Option<&str>) -> (Verdict, Vec<String>) {
    let options = Options::draw(seed);
    let mut world = prepare(&options, seed, about);
    let mut forger = Forger::new(seed);
    trouble(&mut world, &options, &mut forger);
    heal(&mut world, &options);
    let end = START + STARTING + options.trouble + options.healing;
    world.run_until(end);
    let verdict = Verdict::of(&mut world, seed, options);
    (verdict, world.take_story())
}

fn prepare(options: &Options, seed: u64, about: Option<&str>) -> World {
    let mut world = World::with_crypto(&options.network, seed, Crypto::Real);
    let oracle = Oracle::new(START, options.adversaries.len(), options.skews());
    about.into_iter().for_each(|about| world.tell_about(about, START));
    world.oracle = Some(Box::new(oracle));
    world.faults.known = (0..options.network.nodes)
        .filter(|host| !options.adversaries.contains(host))
        .take(KNOWN)
        .collect();
    for host in 0..options.network.nodes {
        let mut config = options.config.clone();
        config.store_bytes_max = options.full.get(&host).copied().unwrap_or(config.store_bytes_max);
        world.faults.configs.insert(host, config);
    }
    world.faults.doubled = options.doubled;
    world.faults.slow.clone_from(&options.slow);
    world.faults.syncs = Some(options.syncs);
    for (host, ahead) in &options.clocks {
        world.faults.clocks.set(*host, *ahead);
    }
    let kinds: Vec<_> = options.behaviours.iter().filter_map(|name| Kind::find(name)).collect();
    let behave = || kinds.iter().map(|kind| kind.make()).collect::<Vec<Box<dyn Behaviour>>>();
    world.corrupt(&options.adversaries, behave);
    start_all(&mut world, options.network.nodes);
    write_letters(&mut world, options);
    world
}

fn start_all(world: &mut World, hosts: usize) {
    for host in 0..hosts {
        world.restart(host);
        let until = STARTING.as_millis() * (host as u64 + 1) / hosts as u64;
        world.run_until(START + Span::from_millis(until));
    }
}

fn write_letters(world: &mut World, options: &Options) {
    for letter in &options.letters {
        let mailbox = world.draw_key();
        let number = world.people.write(letter.writer, letter.reader, mailbox, letter.ttl);
        world.plan_deed(letter.sent, number, Deed::Submit);
        world.plan_deed(letter.read, number, Deed::Open);
        if let Some(at) = letter.cancelled {
            world.plan_deed(at, number, Deed::Cancel);
        }
    }
}

fn trouble(world: &mut World, options: &Options, forger: &mut Forger) {
    let begin = START + STARTING;
    for (after, fault) in &options.faults {
        world.run_until(begin + *after);
        let left = Span::from_millis(options.trouble.as_millis() - after.as_millis());
        befall(world, fault, left, forger);
    }
    world.run_until(begin + options.trouble);
}

/// Nothing goes on for longer than there is trouble `left`.
fn befall(world: &mut World, fault: &Fault, left: Span, forger: &mut Forger) {
    match fault {
        Fault::Crash { host, kept, off } => world.crash(*host, *kept, *off),
        Fault::CrashWriting { host, writes, kept, off } => world.doom(*host, *writes, *kept, *off),
        Fault::FailReads { host, after, off } => world.fail_reads(*host, *after, *off),
        Fault::FailWrites { host, off } => world.fail_writes(*host, *off),
        Fault::Stall { host, span } => world.stall(*host, left.min(*span)),
        Fault::Pause { host, span } => world.pause(*host, left.min(*span)),
        Fault::Cut { from, to, span } => world.cut(from, to, *span),
        Fault::SetClock { host, ahead } => world.set_clock(*host, *ahead),
        Fault::Forge { to } => forger.forge(world, *to),
    }
}

/// The trouble ends. Adversaries are gone for good: what is left is a core that must manage alone.
fn heal(world: &mut World, options: &Options) {
    world.heal();
    let now = world.now();
    world.oracle.iter_mut().for_each(|oracle| oracle.healed(now));
    for host in &options.adversaries {
        world.end(*host);
    }
    let skews = options.skews();
    for host in world.honest_hosts().collect::<Vec<_>>() {
        let wrong = skews.ahead.contains_key(&host);
        if wrong {
            world.set_clock(host, 0);
        }
        if wrong || options.full.contains_key(&host) {
            world.crash(host, crate::plan::Millionths::ALL, REPAIR);
        }
        world.restart_soon(host);
    }
}
