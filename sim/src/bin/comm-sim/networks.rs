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
use crate::arguments::Workers;

/// How often to look whether somebody wants an end.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// One network to be played.
#[derive(Clone)]
pub(crate) struct Job {
    /// Which experiment it belongs to, by a number of whoever plays several at once.
    pub(crate) study: usize,
    pub(crate) cell: Cell,
    pub(crate) seed: u64,
}

/// How it went.
#[derive(Default)]
pub(crate) struct Played {
    /// Whether it was ended before all were done.
    pub(crate) interrupted: bool,
    /// Experiments and seeds of networks that panicked.
    pub(crate) broken: Vec<(usize, u64)>,
}

/// What a thread hands over: the number of a job and its network, unless it panicked.
type Finished = (usize, Option<Network>);

/// Plays all, and hands each over as soon as it is done. After an interruption threads may still be
/// at work; they end with the program.
pub(crate) fn play(
    jobs: Vec<Job>,
    workers: Workers,
    keep: &mut dyn FnMut(usize, Network) -> Result<(), Failure>,
) -> Result<Played, Failure> {
    let stop = interruption()?;
    let jobs = Arc::new(jobs);
    let bar = progress(jobs.iter().map(Job::weight).sum(), "{percent} %");
    let mut left = jobs.len();
    let finished = start(&jobs, workers);
    let (began, mut events, mut played) = (Instant::now(), 0, Played::default());
    while left > 0 {
        if stop.load(Ordering::Relaxed) {
            played.interrupted = true;
            break;
        }
        match finished.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Err("the threads ended early".to_owned()),
            Ok((number, network)) => {
                let job = &jobs[number];
                bar.inc(job.weight());
                match network {
                    None => played.broken.push((job.study, job.seed)),
                    Some(network) => {
                        events += network.events;
                        keep(job.study, network)?;
                    }
                }
            }
        }
        left -= 1;
        let rate = events as f64 / began.elapsed().as_secs_f64().max(0.001);
        let done = jobs.len() - left;
        bar.set_message(format!("{done} of {} networks, {rate:.0} events/s", jobs.len()));
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

impl Job {
    /// About how much work it is, compared with others.
    fn weight(&self) -> u64 {
        let plan = &self.cell.plan;
        let envelopes = plan.traffic.envelopes as u64;
        let sending = plan.traffic.spacing.times(envelopes);
        let simulated = plan.run.settle + sending + plan.traffic.away + plan.run.look;
        let upkeep =
            (simulated.as_millis() / 60_000 + 60).saturating_mul(plan.network.nodes as u64);
        upkeep.saturating_add(envelopes.saturating_mul(30))
    }
}

/// Threads for so many pieces of work: as many as are wanted, but no more than there are cores, or pieces.
pub(crate) fn threads(workers: Workers, pieces: u64) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let most = usize::try_from(pieces).unwrap_or(cores).clamp(1, cores);
    workers.jobs.map_or(most, |jobs| jobs.get().min(most))
}

fn start(jobs: &Arc<Vec<Job>>, workers: Workers) -> Receiver<Finished> {
    let threads = threads(workers, jobs.len() as u64);
    let (send, receive) = sync_channel(threads);
    let next = Arc::new(AtomicUsize::new(0));
    for _ in 0..threads {
        let (jobs, next, send) = (Arc::clone(jobs), Arc::clone(&next), send.clone());
        thread::spawn(move || work(&jobs, &next, &send));
    }
    receive
}

fn work(jobs: &[Job], next: &AtomicUsize, send: &SyncSender<Finished>) {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(job) = jobs.get(number) else { return };
        let run = AssertUnwindSafe(|| experiment::run(&job.cell.plan, job.seed));
        let network = catch_unwind(run).ok().map(|measured| Network::new(&job.cell, &measured));
        if send.send((number, network)).is_err() {
            return;
        }
    }
}

/// `done` is how its template says how far it is. Hidden by itself where no terminal is.
pub(crate) fn progress(work: u64, done: &str) -> ProgressBar {
    let form = format!("{{bar:32}} {done}, {{elapsed}} so far, {{eta}} left, {{msg}}");
    let style =
        ProgressStyle::with_template(&form).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(work).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

#[cfg(test)]
mod tests {
    use comm_sim::scenario::Scenario;

    use super::*;

    fn at_a_time(jobs: usize) -> Workers {
        Workers { jobs: jobs.try_into().ok() }
    }

    #[test]
    fn there_are_no_more_threads_than_are_wanted_or_have_work() {
        let cores = threads(Workers::default(), u64::MAX);
        assert_eq!(threads(Workers::default(), 1), 1);
        assert_eq!(threads(at_a_time(1), 100), 1);
        assert_eq!(threads(at_a_time(1_000), 2_000), cores);
        assert_eq!(threads(at_a_time(1), 0), 1);
    }

    /// The first takes many times as long as the second, which would overtake it.
    #[test]
    fn networks_that_are_played_one_at_a_time_are_finished_in_their_order() {
        let text = "schema = 1\n[traffic]\nenvelopes = 1\n[run]\nsettle = \"1m\"\nlook = \"1m\"\n\
                    [grid]\nnetwork.nodes = [120, 3]";
        let cells = Scenario::parse("a.toml", text, &[]).unwrap().cells();
        let jobs = cells.into_iter().map(|cell| Job { study: 0, cell, seed: 1 }).collect();
        let mut sizes = Vec::new();
        let played = play(jobs, at_a_time(1), &mut |_, network| {
            sizes.push(network.nodes);
            Ok(())
        });
        assert!(played.unwrap().broken.is_empty());
        assert_eq!(sizes, [120, 3]);
    }
}
