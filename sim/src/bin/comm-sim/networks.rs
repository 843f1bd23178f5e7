//! Networks on all cores, one thread each, until all are done or somebody wants an end.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the program around the world has threads and a clock; a simulated network has neither"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use comm_sim::experiment;
use comm_sim::report::network::Network;
use comm_sim::scenario::grid::Cell;
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::Failure;

/// How often to look whether somebody wants an end.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// One network to be played.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) cell: Cell,
    pub(crate) seed: u64,
}

/// How it went.
#[derive(Default)]
pub(crate) struct Played {
    /// Whether it was ended before all were done.
    pub(crate) interrupted: bool,
    /// Seeds of networks that panicked.
    pub(crate) broken: Vec<u64>,
}

/// What a thread hands over: a network, or the seed of one that panicked.
type Finished = Result<Network, u64>;

/// Plays all, and hands each over as soon as it is done. After an interruption threads may still be
/// at work; they end with the program.
pub(crate) fn play(
    jobs: Vec<Job>,
    keep: &mut dyn FnMut(Network) -> Result<(), Failure>,
) -> Result<Played, Failure> {
    let stop = interruption()?;
    let bar = progress(jobs.len() as u64, "networks");
    let mut left = jobs.len();
    let finished = start(jobs);
    let (began, mut events, mut played) = (Instant::now(), 0, Played::default());
    while left > 0 {
        if stop.load(Ordering::Relaxed) {
            played.interrupted = true;
            break;
        }
        match finished.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Err("the threads ended early".to_owned()),
            Ok(Err(seed)) => played.broken.push(seed),
            Ok(Ok(network)) => {
                events += network.events;
                keep(network)?;
            }
        }
        left -= 1;
        bar.inc(1);
        let rate = events as f64 / began.elapsed().as_secs_f64().max(0.001);
        bar.set_message(format!("{rate:.0} events/s"));
    }
    bar.finish_and_clear();
    played.broken.sort_unstable();
    Ok(played)
}

/// Set by SIGINT and SIGTERM.
pub(crate) fn interruption() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let registered = signal_hook::flag::register(signal, Arc::clone(&stop));
        registered.map_err(|error| format!("signals cannot be caught: {error}"))?;
    }
    Ok(stop)
}

fn start(jobs: Vec<Job>) -> Receiver<Finished> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(jobs.len().max(1));
    let (send, receive) = sync_channel(threads);
    let (jobs, next) = (Arc::new(jobs), Arc::new(AtomicUsize::new(0)));
    for _ in 0..threads {
        let (jobs, next, send) = (Arc::clone(&jobs), Arc::clone(&next), send.clone());
        thread::spawn(move || work(&jobs, &next, &send));
    }
    receive
}

fn work(jobs: &[Job], next: &AtomicUsize, send: &SyncSender<Finished>) {
    while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
        let run = AssertUnwindSafe(|| experiment::run(&job.cell.plan, job.seed));
        let measured = catch_unwind(run).map_err(|_| job.seed);
        if send.send(measured.map(|measured| Network::new(&job.cell, &measured))).is_err() {
            return;
        }
    }
}

/// Hidden by itself where no terminal is.
pub(crate) fn progress(jobs: u64, what: &str) -> ProgressBar {
    let form =
        format!("{{bar:32}} {{pos}}/{{len}} {what}, {{elapsed}} so far, {{eta}} left, {{msg}}");
    let style =
        ProgressStyle::with_template(&form).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(jobs).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}
