//! Results and scenarios on disk. Every file appears whole or not at all.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the program around the world reads and writes files"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process;

use comm_sim::report::document::{self, Document};
use comm_sim::report::manifest::{self, Manifest};
use comm_sim::report::network::Network;
use comm_sim::report::summary::Summary;
use comm_sim::report::table::table;
use comm_sim::report::{Report, csv, html};
use comm_sim::scenario::grid;

use crate::Failure;
use crate::networks::Job;

/// Where scenarios lie in the repository.
const SCENARIOS: &str = "sim/scenarios";
const MANIFEST: &str = "manifest.json";
const NETWORKS: &str = "networks";

/// The results of one experiment: a manifest, and a file for each network.
pub(crate) struct Directory {
    path: PathBuf,
    manifest: Manifest,
}

impl Directory {
    /// A new one, or one with results of the same scenario, settings and program.
    pub(crate) fn create(path: &Path, manifest: &Manifest) -> Result<Self, Failure> {
        let networks = path.join(NETWORKS);
        fs::create_dir_all(&networks).map_err(failed("cannot be made", &networks))?;
        let mut manifest = manifest.clone();
        if fs::exists(path.join(MANIFEST)).is_ok_and(|there| there) {
            let before = Self::open(path)?.manifest;
            if before.identity != manifest.identity {
                let (path, what) = (path.display(), before.identity.other_than(&manifest.identity));
                return Err(format!(
                    "{path} has results of {what}; give another directory with --out"
                ));
            }
            manifest.unite(&before);
        }
        write(&path.join(MANIFEST), &manifest::to_json([&manifest].into_iter()))?;
        Ok(Self { path: path.to_owned(), manifest })
    }

    /// One that is there.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let file = path.join(MANIFEST);
        let text = fs::read_to_string(&file)
            .map_err(failed("cannot be read; give a directory that was given to --out", &file))?;
        let manifests = manifest::from_json(&text);
        let manifests =
            manifests.map_err(|error| format!("{} is damaged: {error}", file.display()))?;
        match <[Manifest; 1]>::try_from(manifests) {
            Ok([manifest]) => Ok(Self { path: path.to_owned(), manifest }),
            Err(_) => Err(format!(
                "{} belongs to a joined report; give the directories it was made of",
                file.display()
            )),
        }
    }

    /// Whether a network is there already.
    pub(crate) fn has(&self, job: &Job) -> bool {
        fs::exists(self.file(&job.cell.settings, job.seed)).is_ok_and(|there| there)
    }

    /// Keeps a network.
    pub(crate) fn keep(&self, network: &Network) -> Result<(), Failure> {
        write(&self.file(&network.settings, network.seed), &network.to_json())
    }

    /// Adds everything to a report.
    pub(crate) fn load(&self, report: &mut Report) -> Result<(), Failure> {
        let networks = self.path.join(NETWORKS);
        let mut found = Vec::new();
        for file in files(&networks, "json")? {
            let text = fs::read_to_string(&file).map_err(failed("cannot be read", &file))?;
            let network = Network::from_json(&text);
            found.push(
                network.map_err(|error| {
                    format!("{} is damaged, remove it: {error}", file.display())
                })?,
            );
        }
        if found.is_empty() {
            eprintln!("{} has no networks yet.", networks.display());
        }
        let added = report.add(self.manifest.clone(), found);
        added.map_err(|error| format!("{}: {error}", self.path.display()))
    }

    /// Settings may hold what no file name may, so that their hash stands for them.
    fn file(&self, settings: &[(String, String)], seed: u64) -> PathBuf {
        let mut cell = manifest::sha256(grid::label(settings));
        cell.truncate(16);
        self.path.join(NETWORKS).join(format!("{cell}-{seed}.json"))
    }
}

/// Writes all forms of a report; returns the page for people.
pub(crate) fn write_report(
    out: &Path,
    report: &Report,
    summary: &Summary,
) -> Result<PathBuf, Failure> {
    fs::create_dir_all(out).map_err(failed("cannot be made", out))?;
    let page = out.join("report.html");
    write(&out.join(MANIFEST), &report.manifest_json())?;
    write(&out.join("summary.json"), &summary.to_json())?;
    write(&out.join("summary.txt"), &table(summary))?;
    write(&out.join("envelopes.csv"), &csv::envelopes(report))?;
    write(&out.join("nodes.csv"), &csv::minutes(report))?;
    write(&page, &html::html(report, summary))?;
    Ok(page)
}

/// Writes a document and the plots beside it, and removes plots that it no longer has.
pub(crate) fn write_document(file: &Path, document: &Document) -> Result<(), Failure> {
    let plots = file.parent().unwrap_or(Path::new("")).join(document::PLOTS);
    fs::create_dir_all(&plots).map_err(failed("cannot be made", &plots))?;
    for old in files(&plots, "svg")? {
        if !document.plots.contains_key(&name(&old)) {
            fs::remove_file(&old).map_err(failed("cannot be removed", &old))?;
        }
    }
    document.plots.iter().try_for_each(|(name, svg)| write(&plots.join(name), svg))?;
    write(file, &document.text)
}

/// Name and text of a scenario, which is given by its file or by the name of a known one.
pub(crate) fn scenario(given: &Path) -> Result<(String, String), Failure> {
    let file = place(given)?;
    let text = fs::read_to_string(&file).map_err(failed("cannot be read", &file))?;
    Ok((name(&file), text))
}

/// Where a scenario is.
fn place(given: &Path) -> Result<PathBuf, Failure> {
    let known = scenarios_path().map(|place| place.join(given).with_extension("toml"));
    let places = [Some(given.to_owned()), known];
    places.into_iter().flatten().find(|place| place.is_file()).ok_or_else(|| {
        let file = given.with_extension("toml");
        let hint = if file.is_file() {
            format!("did you mean {}?", file.display())
        } else {
            "see `comm-sim list`".to_owned()
        };
        format!("{} is no file and no known scenario; {hint}", given.display())
    })
}

/// Texts of files that lie beside a scenario, by their names.
pub(crate) fn beside(
    given: &Path,
    names: impl IntoIterator<Item = String>,
) -> Result<BTreeMap<String, String>, Failure> {
    let read = |name: String| {
        let file = place(given)?.parent().unwrap_or(Path::new("")).join(&name);
        Ok((name, fs::read_to_string(&file).map_err(failed("cannot be read", &file))?))
    };
    names.into_iter().map(read).collect()
}

/// Names and texts of all known scenarios.
pub(crate) fn scenarios() -> Result<Vec<(String, String)>, Failure> {
    let Some(place) = scenarios_path() else { return Ok(Vec::new()) };
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).map_err(failed("cannot be read", &file))?;
        Ok((name(&file), text))
    };
    files(&place, "toml")?.into_iter().map(read).collect()
}

/// Beside the working directory, or where the program was built.
fn scenarios_path() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    [PathBuf::from(SCENARIOS), built].into_iter().find(|place| place.is_dir())
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Files with this extension, in order.
fn files(place: &Path, extension: &str) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(place).map_err(failed("cannot be read", place))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths =
        paths.collect::<Result<Vec<_>, _>>().map_err(failed("cannot be read", place))?;
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    Ok(paths)
}

/// Writes a file beside its place and moves it there, so that nobody ever reads half of it.
pub(crate) fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let half = file.with_extension(format!("{}.partial", process::id()));
    let written = fs::File::create(&half).and_then(|mut open| {
        open.write_all(text.as_bytes())?;
        open.sync_all()
    });
    written.and_then(|()| fs::rename(&half, file)).map_err(failed("cannot be written", file))
}

fn failed(what: &str, path: &Path) -> impl Fn(std::io::Error) -> Failure {
    let text = format!("{} {what}", path.display());
    move |error| format!("{text}: {error}")
}
