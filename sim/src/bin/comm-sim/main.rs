//! `comm-sim`: runs scenarios on all cores and reports what they showed.
//!
//! Everything that touches the real world is in here: arguments, files, threads, signals. What is
//! simulated and what is said about it is the library's.
#![deny(
    clippy::print_stdout,
    reason = "`output` alone writes there, since print! panics where nobody reads on"
)]

mod arguments;
mod bench;
mod directory;
mod experiments;
mod networks;
mod origin;
mod output;
mod progress;
mod replay;
mod swarm;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use comm_sim::behaviour;
use comm_sim::report::Report;
use comm_sim::report::compare::compare;
use comm_sim::report::manifest::Manifest;
use comm_sim::report::network::Network;
use comm_sim::report::summary::Summary;
use comm_sim::report::table::table;
use comm_sim::scenario::Scenario;

use arguments::{Arguments, Chosen, Command, Shard, Shown, Workers};
use directory::Directory;
use networks::{Job, Played};

/// An expectation was missed, a network broke, or a report lacks some.
const MISSED: u8 = 1;
/// Wrong arguments, a wrong scenario, or files that cannot be read or written.
const MISUSE: u8 = 2;
/// Ended early by a signal.
const INTERRUPTED: u8 = 3;
/// Nothing was checked where something had to be.
const UNCHECKED: u8 = 4;

/// What went wrong, to what, and what to do.
type Failure = String;

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run { chosen, workers, shown } => play(&chosen, workers, &shown, None),
        Command::Sweep { chosen, workers, shown, shard } => {
            play(&chosen, workers, &shown, Some(shard.unwrap_or(Shard::ALL)))
        }
        Command::Experiments { wanted, changed, workers, shown, docs } => {
            experiments::run(&wanted, &changed.overrides(), workers, &shown, docs.as_deref())
        }
        Command::Report { directories, shown } => merge(&directories, &shown),
        Command::Compare { left, right } => contrast(&left, &right),
        Command::Bench { nodes, settle, idle, start, e4, json } => {
            bench::run(nodes, start, (settle, idle), e4, json)
        }
        Command::Replay { seed, scenario: Some(scenario), settings, looks, about, .. } => {
            replay::run(seed, &scenario, &settings.overrides(), &looks, about.as_deref())
        }
        Command::Replay { seed, about, .. } => swarm::replay(seed, about.as_deref()),
        Command::Swarm { seeds, workers, hashes } => swarm::play(seeds, workers, hashes),
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
fn play(
    chosen: &Chosen,
    workers: Workers,
    shown: &Shown,
    shard: Option<Shard>,
) -> Result<u8, Failure> {
    let stop = networks::interruption()?;
    let (file, text) = directory::scenario(&chosen.scenario)?;
    let overrides = chosen.changed.overrides();
    let scenario = read(&file, &text, &overrides)?;
    let files = directory::beside(&chosen.scenario, scenario.traces())?;
    let scenario = scenario.attach(&files).map_err(|error| error.to_string())?;
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
        Manifest::new(program, (&file, &text), &overrides, seeds.clone(), shard.is_some())
            .with_files(files);
    let jobs = cells.iter().flat_map(|cell| {
        seeds.iter().map(|seed| Job { study: 0, cell: cell.clone(), seed: *seed })
    });
    let mine = |(number, job): (usize, Job)| shard.unwrap_or(Shard::ALL).has(number).then_some(job);
    let jobs = jobs.enumerate().filter_map(mine).collect::<Vec<_>>();
    let (report, played) = match &shown.out {
        Some(out) => into_directory(&Directory::create(out, &manifest)?, jobs, workers, stop)?,
        None => in_memory(manifest, jobs, workers, stop)?,
    };
    let summary = show(&report, shown)?;
    Ok(verdict(&played, &summary, &file, shown))
}

/// Plays what is not in the directory yet; what is finished is kept whatever comes after.
fn into_directory(
    directory: &Directory,
    jobs: Vec<Job>,
    workers: Workers,
    stop: Arc<AtomicBool>,
) -> Result<(Report, Played), Failure> {
    let all = jobs.len();
    let missing = jobs.into_iter().filter(|job| !directory.has(job)).collect::<Vec<_>>();
    if missing.len() < all {
        eprintln!("{} of {all} networks are there already.", all - missing.len());
    }
    let played =
        networks::play(missing, workers, stop, &mut |_, network| directory.keep(&network))?;
    let mut report = Report::default();
    directory.load(&mut report)?;
    for (_, network) in &played.cut {
        directory.keep_cut(network)?;
    }
    report.add_interrupted(directory.manifest(), cut(&played));
    Ok((report, played))
}

fn in_memory(
    manifest: Manifest,
    jobs: Vec<Job>,
    workers: Workers,
    stop: Arc<AtomicBool>,
) -> Result<(Report, Played), Failure> {
    let mut found = Vec::<Network>::new();
    let played = networks::play(jobs, workers, stop, &mut |_, network| {
        found.push(network);
        Ok(())
    })?;
    let mut report = Report::default();
    report.add(manifest.clone(), found).map_err(|error| error.to_string())?;
    report.add_interrupted(&manifest, cut(&played));
    Ok((report, played))
}

/// Networks that were ended before their time.
fn cut(played: &Played) -> Vec<Network> {
    played.cut.iter().map(|(_, network)| network.clone()).collect()
}

/// Prints a report and writes it where it is wanted.
fn show(report: &Report, shown: &Shown) -> Result<Summary, Failure> {
    let summary = Summary::new(report);
    output::print(&if shown.json { summary.to_json() } else { table(&summary) })?;
    if let Some(out) = &shown.out {
        let page = directory::write_report(out, report, &summary)?;
        eprintln!("The whole report is {}.", page.display());
    }
    Ok(summary)
}

fn verdict(played: &Played, summary: &Summary, file: &str, shown: &Shown) -> u8 {
    for (_, seed) in &played.broken {
        eprintln!(
            "Network {seed} broke, which is a bug: see it again with `comm-sim replay {seed} {file}` and the same settings."
        );
    }
    if played.interrupted {
        let cut = match played.cut.len() {
            0 => "",
            _ => " Those that were being played are shown as they stood.",
        };
        eprintln!("Interrupted: the report is about the networks that were finished.{cut}");
        return INTERRUPTED;
    }
    ended(summary.is_met() && played.broken.is_empty(), summary, shown)
}

/// The exit code of what has come to its end.
fn ended(is_met: bool, summary: &Summary, shown: &Shown) -> u8 {
    if !is_met {
        MISSED
    } else if shown.must_check && !summary.is_checked() {
        eprintln!("Nothing was checked, and --must-check wants something to be.");
        UNCHECKED
    } else {
        0
    }
}

fn merge(directories: &[std::path::PathBuf], shown: &Shown) -> Result<u8, Failure> {
    let mut report = Report::default();
    for path in directories {
        Directory::open(path)?.load(&mut report)?;
    }
    let summary = show(&report, shown)?;
    Ok(ended(summary.is_met() && summary.is_whole(), &summary, shown))
}

fn contrast(left: &std::path::Path, right: &std::path::Path) -> Result<u8, Failure> {
    let load = |path| -> Result<Report, Failure> {
        let mut report = Report::default();
        Directory::open(path)?.load(&mut report)?;
        Ok(report)
    };
    let text = compare(&load(left)?, &load(right)?).map_err(|error| error.to_string())?;
    output::print(&text)?;
    Ok(0)
}

fn list() -> Result<u8, Failure> {
    let mut list = "Scenarios:\n".to_owned();
    for (file, text) in directory::scenarios()? {
        match read(&file, &text, &[]) {
            Ok(Scenario { id, title, .. }) => list += &format!("  {file:<24} {id:<7} {title}\n"),
            Err(failure) => list += &format!("  {file:<24} {failure}\n"),
        }
    }
    list += "\nBehaviours of adversaries:\n";
    let kinds =
        behaviour::ALL.iter().map(|kind| (kind.name, kind.about)).collect::<BTreeMap<_, _>>();
    for (name, about) in kinds {
        list += &format!("  {name:<24} {about}\n");
    }
    output::print(&list)?;
    Ok(0)
}

fn read(file: &str, text: &str, overrides: &[String]) -> Result<Scenario, Failure> {
    Scenario::parse(file, text, overrides).map_err(|error| error.to_string())
}
