//! Whether the simulator tells the truth: real relays and simulated ones do what one scenario says.
//!
//! Twenty `comm-node` processes on loopback, killed and started again as `town.csv` says, and programs
//! that do what the simulator's people do. Between the relays lie lines that take as long as the
//! scenario says; what calls take beyond these and how long a sync of the disk takes is measured on the
//! relays, and the simulator is given it. Compared are what became of the envelopes, and how many
//! requests and pushes of each kind went between the relays, from the first envelope on. Run it with
//! `make reality`; it takes six minutes, most of them waiting. Ends with 1 where they differ by more
//! than a tenth.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a comparison stops at what it does not expect"
)]

mod letters;
mod lines;
mod relays;
mod report;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::thread;

use comm_proto::time::Span;
use comm_sim::experiment;
use comm_sim::measured::Measured;
use comm_sim::plan::Plan;
use comm_sim::scenario::Scenario;

use relays::Tally;
use report::Outcome;

#[tokio::main]
async fn main() -> ExitCode {
    // `cargo test` runs benchmarks too, to see whether they start; this one has nothing to test.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let mut plan = plan();
    eprintln!("twenty relays for six minutes of real time …");
    let (tally, real) = real(&plan).await;
    describe_machine(&mut plan, &tally);
    let simulated: Vec<_> = simulate(&plan).iter().map(Outcome::of).collect();
    if report::print(&real, &simulated) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn plan() -> Plan {
    let files = BTreeMap::from([("town.csv".to_owned(), include_str!("town.csv").to_owned())]);
    let scenario = Scenario::parse("town.toml", include_str!("town.toml"), &[]).unwrap();
    scenario.attach(&files).unwrap().single().plan
}

async fn real(plan: &Plan) -> (Tally, Outcome) {
    let town = relays::Town::new(plan.network.nodes);
    let _lines = town.lay_lines(plan).await;
    let (tally, fates) = tokio::join!(town.play(plan), letters::play(plan, &town));
    let outcome = Outcome::new(tally.requests.clone(), &fates);
    (tally, outcome)
}

/// The machine's own part, as it was: what a call takes beyond its two ways, half of it on either, and
/// how long a disk takes.
fn describe_machine(plan: &mut Plan, tally: &Tally) {
    let (least, greatest) = plan.network.latency;
    let ways = (least + greatest).as_millis() as f64;
    let own = Span::from_millis(((tally.calls.mean_millis() - ways) / 2.0).round().max(0.0) as u64);
    plan.network.latency = (least + own, greatest + own);
    plan.network.disk = Span::from_millis((tally.syncs.mean_millis().round() as u64).max(1));
    println!(
        "A call took {:.1} ms, {ways} ms of them on the lines, and a sync of the disk {:.2} ms: simulated with ways of {} to {} ms and syncs of {} ms.\n",
        tally.calls.mean_millis(),
        tally.syncs.mean_millis(),
        plan.network.latency.0.as_millis(),
        plan.network.latency.1.as_millis(),
        plan.network.disk.as_millis(),
    );
}

/// The same on simulated networks, one on each core at a time.
fn simulate(plan: &Plan) -> Vec<Measured> {
    let seeds: Vec<_> = (plan.run.seed..plan.run.seed + plan.run.networks).collect();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let part = seeds.len().div_ceil(cores);
    thread::scope(|scope| {
        let run = |seeds: &[u64]| -> Vec<_> {
            seeds.iter().map(|seed| experiment::run(plan, *seed)).collect()
        };
        let parts: Vec<_> =
            seeds.chunks(part).map(|seeds| scope.spawn(move || run(seeds))).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
}
