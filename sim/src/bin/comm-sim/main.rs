//! `comm-sim`: runs scenarios on all cores and reports what they showed.
//!
//! Everything that touches the real world is in here: arguments, files, threads, signals. What is
//! simulated and what is said about it is the library's.

mod arguments;
mod bench;
mod directory;
mod networks;
mod origin;
mod swarm;

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Parser;
use comm_sim::behaviour;
use comm_sim::experiment;
use comm_sim::report::Report;
use comm_sim::report::compare::compare;
use comm_sim::report::manifest::Manifest;
use comm_sim::report::network::Network;
use comm_sim::report::summary::Summary;
use comm_sim::report::table::table;
use comm_sim::scenario::Scenario;

use arguments::{Arguments, Chosen, Command, Shard, Shown};
use directory::Directory;
use networks::{Job, Played};

/// An expectation was missed, a network broke, or a report lacks some.
const MISSED: u8 = 1;
/// Wrong arguments, a wrong scenario, or files that cannot be read or written.
const MISUSE: u8 = 2;
/// Ended early by a signal.
const INTERRUPTED: u8 = 3;

/// What went wrong, to what, and what to do.
type Failure = String;

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run { chosen, shown } => play(&chosen, &shown, None),
        Command::Sweep { chosen, shown, shard } => {
            play(&chosen, &shown, Some(shard.unwrap_or(Shard::ALL)))
        }
        Command::Report { directories, shown } => merge(&directories, &shown),
        Command::Compare { left, right } => contrast(&left, &right),
        Command::Bench { nodes, json } => bench::run(nodes, json),
        Command::Replay { seed, scenario: Some(scenario), set, .. } => {
            replay(seed, &scenario, &set)
        }
        Command::Replay { seed, about, .. } => Ok(swarm::replay(seed, about.as_deref())),
        Command::Swarm { seeds, jobs, hashes } => swarm::play(seeds, jobs, hashes),
        Command::List => list(),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("comm-sim: {failure}");
            ExitCode::from(MISUSE)
        }
    }
}

/// Runs a scenario's plan, or with a shard its grid.
fn play(chosen: &Chosen, shown: &Shown, shard: Option<Shard>) -> Result<u8, Failure> {
    let (file, text) = directory::scenario(&chosen.scenario)?;
    let overrides = chosen.overrides();
    let scenario = read(&file, &text, &overrides)?;
    if shard.is_some_and(|shard| shard != Shard::ALL) && shown.out.is_none() {
        return Err("a shard alone says little; give its results a directory with --out".to_owned());
    }
    let cells = if shard.is_some() { scenario.cells() } else { vec![scenario.single()] };
    if shard.is_none() && !scenario.grid.is_empty() {
        eprintln!(
            "{file} has a grid of {} cells, which `comm-sim sweep` runs; this is its plan alone.",
            scenario.grid.len()
        );
    }
    let first = scenario.plan.run.seed;
    let seeds = (first..first + scenario.plan.run.networks).collect::<Vec<_>>();
    let program = origin::program();
    let manifest =
        Manifest::new(program, (&file, &text), &overrides, seeds.clone(), shard.is_some());
    let jobs = cells
        .iter()
        .flat_map(|cell| seeds.iter().map(|seed| Job { cell: cell.clone(), seed: *seed }));
    let mine = |(number, job): (usize, Job)| shard.unwrap_or(Shard::ALL).has(number).then_some(job);
    let jobs = jobs.enumerate().filter_map(mine).collect::<Vec<_>>();
    let (report, played) = match &shown.out {
        Some(out) => into_directory(&Directory::create(out, &manifest)?, jobs)?,
        None => in_memory(manifest, jobs)?,
    };
    let summary = show(&report, shown)?;
    Ok(verdict(&played, &summary, &file))
}

/// Plays what is not in the directory yet; what is finished is kept whatever comes after.
fn into_directory(directory: &Directory, jobs: Vec<Job>) -> Result<(Report, Played), Failure> {
    let all = jobs.len();
    let missing = jobs.into_iter().filter(|job| !directory.has(job)).collect::<Vec<_>>();
    if missing.len() < all {
        eprintln!("{} of {all} networks are there already.", all - missing.len());
    }
    let played = networks::play(missing, &mut |network| directory.keep(&network))?;
    let mut report = Report::default();
    directory.load(&mut report)?;
    Ok((report, played))
}

fn in_memory(manifest: Manifest, jobs: Vec<Job>) -> Result<(Report, Played), Failure> {
    let mut found = Vec::<Network>::new();
    let played = networks::play(jobs, &mut |network| {
        found.push(network);
        Ok(())
    })?;
    let mut report = Report::default();
    report.add(manifest, found).map_err(|error| error.to_string())?;
    Ok((report, played))
}

/// Prints a report and writes it where it is wanted.
fn show(report: &Report, shown: &Shown) -> Result<Summary, Failure> {
    let summary = Summary::new(report);
    print!("{}", if shown.json { summary.to_json() } else { table(&summary) });
    if !summary.is_checked() {
        eprintln!("Nothing was checked: no expectation of the scenario is about what was run.");
    }
    if let Some(out) = &shown.out {
        let page = directory::write_report(out, report, &summary)?;
        eprintln!("The whole report is {}.", page.display());
    }
    Ok(summary)
}

fn verdict(played: &Played, summary: &Summary, file: &str) -> u8 {
    for seed in &played.broken {
        eprintln!(
            "Network {seed} broke, which is a bug: see it again with `comm-sim replay {seed} {file}` and the same settings."
        );
    }
    if played.interrupted {
        eprintln!("Interrupted: the report is about the networks that were finished.");
        return INTERRUPTED;
    }
    if summary.is_met() && played.broken.is_empty() { 0 } else { MISSED }
}

fn merge(directories: &[std::path::PathBuf], shown: &Shown) -> Result<u8, Failure> {
    let mut report = Report::default();
    for path in directories {
        Directory::open(path)?.load(&mut report)?;
    }
    let summary = show(&report, shown)?;
    Ok(if summary.is_met() && summary.is_whole() { 0 } else { MISSED })
}

fn contrast(left: &std::path::Path, right: &std::path::Path) -> Result<u8, Failure> {
    let load = |path| -> Result<Report, Failure> {
        let mut report = Report::default();
        Directory::open(path)?.load(&mut report)?;
        Ok(report)
    };
    print!("{}", compare(&load(left)?, &load(right)?));
    Ok(0)
}

fn replay(seed: u64, scenario: &std::path::Path, overrides: &[String]) -> Result<u8, Failure> {
    let (file, text) = directory::scenario(scenario)?;
    let scenario = read(&file, &text, overrides)?;
    let measured = experiment::run(&scenario.plan, seed);
    println!("seed {seed}  trace {}  events {}", measured.trace, measured.events);
    Ok(0)
}

fn list() -> Result<u8, Failure> {
    println!("Scenarios:");
    for (file, text) in directory::scenarios()? {
        let title = read(&file, &text, &[]).map(|scenario| scenario.title);
        println!("  {file:<24} {}", title.unwrap_or_else(|failure| failure));
    }
    println!("\nBehaviours of adversaries:");
    let kinds =
        behaviour::ALL.iter().map(|kind| (kind.name, kind.about)).collect::<BTreeMap<_, _>>();
    for (name, about) in kinds {
        println!("  {name:<24} {about}");
    }
    Ok(0)
}

fn read(file: &str, text: &str, overrides: &[String]) -> Result<Scenario, Failure> {
    Scenario::parse(file, text, overrides).map_err(|error| error.to_string())
}
