//! Swarms of small worlds on all cores: what was broken, and the command that shows it again.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the program around the worlds has threads and a clock; a world has neither"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use comm_sim::swarm;
use comm_sim::swarm::verdict::{Totals, Verdict};

use crate::arguments::Workers;
use crate::networks::{LOOK, interruption, progress, threads};
use crate::{Failure, INTERRUPTED, MISSED, origin};

/// Seeds from one up to another, which is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seeds {
    from: u64,
    to: u64,
}

/// What a thread hands over: a world, or the seed of one that panicked.
type Finished = Result<Verdict, u64>;

impl Seeds {
    const fn count(self) -> u64 {
        self.to - self.from
    }
}

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (from, to) = text.split_once("..")?;
            let (from, to) = (from.parse().ok()?, to.parse().ok()?);
            (from < to).then_some(Self { from, to })
        };
        read()
            .ok_or_else(|| "write the first and the one after the last, such as 1..201".to_owned())
    }
}

/// Plays all seeds. With `hashes`, a line for each world, in their order.
pub(crate) fn play(seeds: Seeds, workers: Workers, hashes: bool) -> Result<u8, Failure> {
    let stop = interruption()?;
    let bar = progress(seeds.count(), "{pos}/{len} worlds");
    let finished = start(seeds, workers);
    let (began, mut all) = (Instant::now(), All::default());
    while all.finished < seeds.count() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match finished.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Err("the threads ended early".to_owned()),
            Ok(world) => bar.suspend(|| all.take(world, hashes)),
        }
        bar.inc(1);
        let rate = all.totals.events as f64 / began.elapsed().as_secs_f64().max(0.001);
        bar.set_message(format!("{rate:.0} events/s, {} failed", all.failed));
    }
    bar.finish_and_clear();
    all.traces.sort_unstable();
    for (seed, trace) in &all.traces {
        println!("seed {seed}  trace {trace}");
    }
    if !hashes {
        println!("{} worlds, {} failed", all.finished, all.failed);
        print!("{}", all.totals);
    }
    Ok(if all.finished < seeds.count() {
        eprintln!("Interrupted: that is about the worlds that were finished.");
        INTERRUPTED
    } else if all.failed > 0 {
        MISSED
    } else {
        0
    })
}

/// Plays one world and says all about it.
pub(crate) fn replay(seed: u64, about: Option<&str>) -> u8 {
    let (verdict, story) =
        about.map_or_else(|| (swarm::run(seed), Vec::new()), |about| swarm::run_about(seed, about));
    println!("seed {seed}  trace {}  events {}", verdict.trace, verdict.counts.events);
    println!("{}", verdict.options);
    for (after, fault) in &verdict.options.faults {
        println!("  after {} s: {fault:?}", after.as_millis() / 1_000);
    }
    for (letter, fate) in verdict.options.letters.iter().zip(&verdict.fates) {
        println!("  {letter:?}: {:?}", fate.times());
    }
    for told in story {
        println!("  {told}");
    }
    print!("{}", verdict.counts);
    for violation in &verdict.violations {
        println!("{violation}");
    }
    if verdict.violations.is_empty() { 0 } else { MISSED }
}

/// Worlds that are finished.
#[derive(Default)]
struct All {
    finished: u64,
    failed: u64,
    totals: Totals,
    traces: Vec<(u64, String)>,
}

impl All {
    fn take(&mut self, world: Finished, hashes: bool) {
        self.finished += 1;
        let (seed, what) = match world {
            Err(seed) => (seed, Some("a node panicked".to_owned())),
            Ok(verdict) => {
                self.totals.add(&verdict.counts);
                if hashes {
                    self.traces.push((verdict.seed, verdict.trace));
                }
                (verdict.seed, verdict.violations.first().map(ToString::to_string))
            }
        };
        let Some(what) = what else { return };
        self.failed += 1;
        let commit = origin::program().commit;
        eprintln!("seed {seed} failed at {commit}: {what}");
        eprintln!("  see it again: comm-sim replay {seed} --swarm");
    }
}

fn start(seeds: Seeds, workers: Workers) -> Receiver<Finished> {
    let threads = threads(workers, seeds.count());
    let (send, receive) = sync_channel(threads);
    let next = Arc::new(AtomicU64::new(seeds.from));
    for _ in 0..threads {
        let (next, send) = (Arc::clone(&next), send.clone());
        thread::spawn(move || work(seeds, &next, &send));
    }
    receive
}

fn work(seeds: Seeds, next: &AtomicU64, send: &SyncSender<Finished>) {
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= seeds.to {
            return;
        }
        let world = catch_unwind(AssertUnwindSafe(|| swarm::run(seed))).map_err(|_| seed);
        if send.send(world).is_err() {
            return;
        }
    }
}
