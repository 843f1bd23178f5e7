//! All experiments at once, and one table of what they were to show.

use std::collections::BTreeMap;
use std::path::Path;

use comm_sim::report::Report;
use comm_sim::report::document::Document;
use comm_sim::report::goals::Goals;
use comm_sim::report::manifest::{Manifest, Program, sha256};
use comm_sim::report::network::Network;
use comm_sim::report::summary::Summary;
use comm_sim::scenario::Scenario;

use crate::arguments::{Shown, Workers};
use crate::directory::{self, Directory};
use crate::networks::{self, Job, Played};
use crate::{Failure, INTERRUPTED, MISSED, origin};

/// What makes the whole document again.
const COMMAND: &str = "make experiments";

/// One experiment to be played.
struct Experiment {
    id: String,
    file: String,
    manifest: Manifest,
    jobs: Vec<Job>,
}

/// Plays those that are wanted, all if none is named, and shows which goals are reached.
pub(crate) fn run(
    wanted: &[String],
    overrides: &[String],
    workers: Workers,
    shown: &Shown,
    docs: Option<&Path>,
) -> Result<u8, Failure> {
    let experiments = chosen(wanted, overrides)?;
    let (report, played) = play(&experiments, workers, shown.out.as_deref())?;
    let summary = Summary::new(&report);
    let goals = Goals::new(&summary);
    print!("{}", if shown.json { goals.to_json() } else { goals.table() });
    if let Some(out) = &shown.out {
        let page = directory::write_report(out, &report, &summary)?;
        eprintln!("The whole report is {}.", page.display());
    }
    if let Some(file) = docs {
        let command = command(wanted, overrides);
        let document = Document::new(&report, &summary, &origin::machine(), &command);
        directory::write_document(file, &document)?;
        eprintln!("{} is written anew.", file.display());
    }
    let code = verdict(&experiments, &played);
    Ok(code.unwrap_or_else(|| crate::ended(goals.met, &summary, shown)))
}

/// Experiments in the order of their ids.
fn chosen(wanted: &[String], overrides: &[String]) -> Result<Vec<Experiment>, Failure> {
    let program = origin::program();
    let mut experiments = Vec::new();
    for (file, text) in directory::scenarios()? {
        let scenario = crate::read(&file, &text, overrides)?;
        let files = directory::beside(Path::new(&file), scenario.traces())?;
        let scenario = scenario.attach(&files).map_err(|error| error.to_string())?;
        if scenario.id.is_empty() {
            return Err(format!("{file} has no id; write one, such as id = \"E20\""));
        }
        let stem = file.trim_end_matches(".toml");
        let is_it = |name: &String| {
            name.eq_ignore_ascii_case(&scenario.id) || name == stem || *name == file
        };
        if wanted.is_empty() || wanted.iter().any(is_it) {
            let number = experiments.len();
            experiments.push(Experiment::new(
                &program,
                number,
                (&file, &text, files),
                &scenario,
                overrides,
            ));
        }
    }
    if experiments.is_empty() {
        let names = wanted.join(", ");
        return Err(format!("no experiment is called {names}; see `comm-sim list`"));
    }
    Ok(experiments)
}

impl Experiment {
    fn new(
        program: &Program,
        study: usize,
        (file, text, files): (&str, &str, BTreeMap<String, String>),
        scenario: &Scenario,
        overrides: &[String],
    ) -> Self {
        let first = scenario.plan.run.seed;
        let seeds = (first..first + scenario.plan.run.networks).collect::<Vec<_>>();
        let of = |cell: comm_sim::scenario::grid::Cell| {
            let jobs = seeds.iter().map(|seed| Job { study, cell: cell.clone(), seed: *seed });
            jobs.collect::<Vec<_>>()
        };
        let jobs = scenario.cells().into_iter().flat_map(of).collect();
        let manifest = Manifest::new(program.clone(), (file, text), overrides, seeds.clone(), true)
            .with_files(files);
        Self { id: scenario.id.clone(), file: file.to_owned(), manifest, jobs }
    }

    /// Its own directory; another program or other settings get another.
    fn directory(&self, out: &Path) -> Result<Directory, Failure> {
        let mut which = sha256(format!("{:?}", self.manifest.identity));
        which.truncate(8);
        let stem = self.file.trim_end_matches(".toml");
        Directory::create(&out.join(format!("{stem}-{which}")), &self.manifest)
    }
}

/// All of them as one piece of work; with a directory, only what is not there yet.
fn play(
    experiments: &[Experiment],
    workers: Workers,
    out: Option<&Path>,
) -> Result<(Report, Played), Failure> {
    let directories = out
        .map(|out| experiments.iter().map(|one| one.directory(out)).collect::<Result<Vec<_>, _>>());
    let directories = directories.transpose()?;
    let all = experiments.iter().flat_map(|one| &one.jobs);
    let count = all.clone().count();
    let is_there = |job: &&Job| {
        directories.as_ref().is_some_and(|directories| directories[job.study].has(job))
    };
    let missing = all.filter(|job| !is_there(job)).cloned().collect::<Vec<_>>();
    if missing.len() < count {
        eprintln!("{} of {count} networks are there already.", count - missing.len());
    }
    let mut found = experiments.iter().map(|_| Vec::<Network>::new()).collect::<Vec<_>>();
    let played = networks::play(missing, workers, &mut |study, network| match &directories {
        Some(directories) => directories[study].keep(&network),
        None => {
            found[study].push(network);
            Ok(())
        }
    })?;
    let mut report = Report::default();
    for (one, networks) in experiments.iter().zip(found) {
        let added = report.add(one.manifest.clone(), networks);
        added.map_err(|error| error.to_string())?;
    }
    for directory in directories.iter().flatten() {
        directory.load(&mut report)?;
    }
    Ok((report, played))
}

/// What to type to get the document again.
fn command(wanted: &[String], overrides: &[String]) -> String {
    if wanted.is_empty() && overrides.is_empty() {
        return COMMAND.to_owned();
    }
    let set = overrides.iter().map(|setting| format!(" --set '{setting}'")).collect::<String>();
    let names = wanted.iter().map(|name| format!(" {name}")).collect::<String>();
    format!("comm-sim experiments{names}{set} --docs docs/experiments.md")
}

/// The exit code, if something went wrong.
fn verdict(experiments: &[Experiment], played: &Played) -> Option<u8> {
    for (study, seed) in &played.broken {
        let Experiment { id, file, .. } = &experiments[*study];
        eprintln!(
            "{id}: network {seed} broke, which is a bug: see it again with `comm-sim replay {seed} {file}` and the same settings."
        );
    }
    if played.interrupted {
        eprintln!("Interrupted: the table is about the networks that were finished.");
        return Some(INTERRUPTED);
    }
    (!played.broken.is_empty()).then_some(MISSED)
}
