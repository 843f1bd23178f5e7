//! Networks on all cores, one thread each, until all are done or somebody wants an end. Then those that are being played
//! are measured as they stand.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the program around the world has threads and a clock; a simulated network has neither"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use comm_proto::time::Span;
use comm_sim::experiment::{self, Onlooker};
use comm_sim::report::network::Network;
use comm_sim::scenario::grid::Cell;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::arguments::Workers;
use crate::progress::Progress;
use crate::{Failure, INTERRUPTED};

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
    /// Networks that were being played when it was ended, as they stood, with their experiments.
    pub(crate) cut: Vec<(usize, Network)>,
}

/// What a thread hands over: the number of a job and what came of it.
type Finished = (usize, Ended);

/// How a network ended.
enum Ended {
    Whole(Network),
    Cut(Network),
    Panicked,
}

/// What threads tell while they play, and are told.
struct Told {
    /// Work that is done, in the unit of [`Job::weight`].
    done: AtomicU64,
    /// Inputs that were handled.
    inputs: AtomicU64,
    /// Whether somebody wants an end.
    stop: Arc<AtomicBool>,
}

/// Plays all until `stop` is set, and hands each over as soon as it is done.
pub(crate) fn play(
    jobs: Vec<Job>,
    workers: Workers,
    stop: Arc<AtomicBool>,
    keep: &mut dyn FnMut(usize, Network) -> Result<(), Failure>,
) -> Result<Played, Failure> {
    let told = Arc::new(Told { done: AtomicU64::new(0), inputs: AtomicU64::new(0), stop });
    let jobs = Arc::new(jobs);
    let bar = Progress::new(jobs.iter().map(Job::weight).sum(), "{percent} %");
    let (mut ended, mut played) = (0, Played::default());
    let finished = start(&jobs, workers, &told);
    loop {
        match finished.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) => {}
            // Each thread has gone when it has nothing more to do.
            Err(RecvTimeoutError::Disconnected) => break,
            Ok((number, Ended::Panicked)) => {
                ended += 1;
                played.broken.push((jobs[number].study, jobs[number].seed));
            }
            Ok((number, Ended::Whole(network))) => {
                ended += 1;
                keep(jobs[number].study, network)?;
            }
            Ok((number, Ended::Cut(network))) => played.cut.push((jobs[number].study, network)),
        }
        let (done, inputs) = (&told.done, &told.inputs);
        let more = format!("{ended} of {} networks", jobs.len());
        bar.show(done.load(Ordering::Relaxed), inputs.load(Ordering::Relaxed), &more);
    }
    bar.end();
    played.interrupted = told.stop.load(Ordering::Relaxed) && ended < jobs.len();
    if ended < jobs.len() && !played.interrupted {
        return Err("the threads ended early".to_owned());
    }
    played.broken.sort_unstable();
    played
        .cut
        .sort_unstable_by_key(|(study, network)| (*study, network.settings.clone(), network.seed));
    Ok(played)
}

/// Set by SIGINT and SIGTERM. A second one ends the program at once.
pub(crate) fn interruption() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let code = i32::from(INTERRUPTED);
        let registered = flag::register_conditional_shutdown(signal, code, Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)));
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

    /// How much of it is done when so much of the network's own time is over.
    fn done(&self, played: Span) -> u64 {
        let whole = u128::from(experiment::length(&self.cell.plan).as_millis().max(1));
        let part = u128::from(played.as_millis()).min(whole);
        u64::try_from(u128::from(self.weight()) * part / whole).unwrap_or(u64::MAX)
    }
}

/// Threads for so many pieces of work: as many as are wanted, but no more than there are cores, or pieces.
pub(crate) fn threads(workers: Workers, pieces: u64) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let most = usize::try_from(pieces).unwrap_or(cores).clamp(1, cores);
    workers.jobs.map_or(most, |jobs| jobs.get().min(most))
}

fn start(jobs: &Arc<Vec<Job>>, workers: Workers, told: &Arc<Told>) -> Receiver<Finished> {
    let threads = threads(workers, jobs.len() as u64);
    let (send, receive) = sync_channel(threads);
    let next = Arc::new(AtomicUsize::new(0));
    for _ in 0..threads {
        let (jobs, next, told, send) =
            (Arc::clone(jobs), Arc::clone(&next), Arc::clone(told), send.clone());
        thread::spawn(move || work(&jobs, &next, &told, &send));
    }
    receive
}

fn work(jobs: &[Job], next: &AtomicUsize, told: &Told, send: &SyncSender<Finished>) {
    while !told.stop.load(Ordering::Relaxed) {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(job) = jobs.get(number) else { return };
        let mut teller = Teller { job, told, done: 0, inputs: 0 };
        let (plan, seed) = (&job.cell.plan, job.seed);
        let run = AssertUnwindSafe(|| experiment::run_told(plan, seed, None, &mut teller).0);
        let ended = match catch_unwind(run) {
            Err(_) => Ended::Panicked,
            Ok(measured) if measured.is_cut => Ended::Cut(Network::new(&job.cell, &measured)),
            Ok(measured) => Ended::Whole(Network::new(&job.cell, &measured)),
        };
        teller.tell(job.weight(), teller.inputs);
        if send.send((number, ended)).is_err() {
            return;
        }
    }
}

/// Tells how far one network is.
struct Teller<'a> {
    job: &'a Job,
    told: &'a Told,
    /// What of it was told.
    done: u64,
    inputs: u64,
}

impl Teller<'_> {
    fn tell(&mut self, done: u64, inputs: u64) {
        let (more_done, more_inputs) =
            (done.saturating_sub(self.done), inputs.saturating_sub(self.inputs));
        self.told.done.fetch_add(more_done, Ordering::Relaxed);
        self.told.inputs.fetch_add(more_inputs, Ordering::Relaxed);
        (self.done, self.inputs) = (done, inputs);
    }
}

impl Onlooker for Teller<'_> {
    fn goes_on(&mut self, played: Span, inputs: u64) -> bool {
        self.tell(self.job.done(played), inputs);
        !self.told.stop.load(Ordering::Relaxed)
    }
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

    #[test]
    fn a_network_is_told_of_by_how_much_of_its_time_is_over() {
        let text = "schema = 1\n[run]\nsettle = \"8m\"\nlook = \"90m\"\n[traffic]\nenvelopes = 1";
        let cell = Scenario::parse("a.toml", text, &[]).unwrap().single();
        let job = Job { study: 0, cell, seed: 1 };
        // Two minutes in which all are switched on, 8 and 90.
        assert_eq!(
            (job.done(Span::from_mins(0)), job.done(Span::from_mins(100))),
            (0, job.weight())
        );
        assert_eq!(job.done(Span::from_mins(25)), job.weight() / 4);
        assert_eq!(job.done(Span::from_mins(200)), job.weight());
    }

    /// The first takes many times as long as the second, which would overtake it.
    #[test]
    fn networks_that_are_played_one_at_a_time_are_finished_in_their_order() {
        let text = "schema = 1\n[traffic]\nenvelopes = 1\n[run]\nsettle = \"1m\"\nlook = \"1m\"\n\
                    [grid]\nnetwork.nodes = [120, 3]";
        let cells = Scenario::parse("a.toml", text, &[]).unwrap().cells();
        let jobs = cells.into_iter().map(|cell| Job { study: 0, cell, seed: 1 }).collect();
        let mut sizes = Vec::new();
        let played = play(jobs, at_a_time(1), Arc::default(), &mut |_, network| {
            sizes.push(network.nodes);
            Ok(())
        });
        assert!(played.unwrap().broken.is_empty());
        assert_eq!(sizes, [120, 3]);
    }
}
