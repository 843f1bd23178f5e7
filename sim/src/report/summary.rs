//! A report in figures: per cell the mean of every measure over networks, and which expectations are met.
//!
//! What is in here is what all forms of a report show; as JSON it is for programs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::lost::Lost;
use super::{Report, Study, unchecked};
use crate::measure::{Measure, Seen, USUAL, Unit};
use crate::scenario::expectation::Expectation;
use crate::scenario::grid;
use crate::statistics::{Estimate, Ratio, estimate, estimate_part, estimate_share};

/// A whole report in figures.
#[derive(Serialize)]
pub struct Summary {
    /// The version of this format.
    pub schema: u32,
    /// Experiments.
    pub studies: Vec<StudySummary>,
}

/// One experiment.
#[derive(Serialize)]
pub struct StudySummary {
    /// Of the scenario.
    pub id: String,
    /// Of the scenario.
    pub title: String,
    /// Of the scenario.
    pub about: String,
    /// Of the scenario.
    pub notes: String,
    /// The name of its file.
    pub file: String,
    /// Overrides of the command line.
    pub overrides: Vec<String>,
    /// The commit of the program that ran it.
    pub commit: String,
    /// Networks to be run.
    pub planned: usize,
    /// Networks that are there.
    pub finished: usize,
    /// Why none of its expectations was checked, if none was.
    pub unchecked: Option<String>,
    /// Cells of which at least one network is there.
    pub cells: Vec<CellSummary>,
}

/// One combination of swept values.
#[derive(Serialize)]
pub struct CellSummary {
    /// Swept keys and what they were; empty if nothing was swept.
    pub settings: Vec<(String, String)>,
    /// Of the networks that are there.
    pub seeds: Vec<u64>,
    /// Relays of one network, an adversary's ids included.
    pub nodes: usize,
    /// In all networks together.
    pub envelopes: usize,
    /// In all networks together.
    pub events: u64,
    /// Measures in the order in which they are shown.
    pub figures: Vec<Figure>,
    /// What was expected of this cell.
    pub expectations: Vec<Outcome>,
    /// Messages per network by kind, on average.
    pub messages: BTreeMap<String, f64>,
    /// Envelopes that were not delivered.
    pub lost: Lost,
}

/// A measure over networks. Times are in milliseconds, shares go from 0 to 1.
#[derive(Serialize)]
pub struct Figure {
    /// Its name.
    pub measure: String,
    /// `share`, `ms` or `count`.
    pub unit: &'static str,
    /// The mean over networks; none if it is *never* in one of them.
    pub mean: Option<f64>,
    /// The 95 % confidence interval of the mean over networks, from here
    pub low: Option<f64>,
    /// to here.
    pub high: Option<f64>,
    /// Whether the interval is that of the rule of three, for which all envelopes count as independent.
    pub is_of_three: bool,
    /// The least of all networks.
    pub least: Option<f64>,
    /// The greatest of all networks.
    pub greatest: Option<f64>,
}

/// An expectation and what became of it.
#[derive(Clone, Serialize)]
pub struct Outcome {
    /// Of which measure.
    pub measure: String,
    /// Its bounds for people.
    pub bounds: String,
    /// The least that is expected.
    pub at_least: Option<f64>,
    /// The greatest that is expected.
    pub at_most: Option<f64>,
    /// The best figure that others have published.
    pub published: Option<f64>,
    /// Whose that is.
    pub source: Option<String>,
    /// The mean over networks, which alone decides.
    pub mean: Option<f64>,
    /// Whether it is within the bounds.
    pub met: bool,
    /// Whether the 95 % confidence interval says so too: with too few networks or envelopes it does not.
    pub shown: bool,
}

impl Summary {
    /// Sums up a report.
    pub fn new(report: &Report) -> Self {
        Self { schema: 1, studies: report.studies().map(StudySummary::new).collect() }
    }

    /// Whether every expectation is met.
    pub fn is_met(&self) -> bool {
        let cells = self.studies.iter().flat_map(|study| &study.cells);
        cells.flat_map(|cell| &cell.expectations).all(|outcome| outcome.met)
    }

    /// Whether no network that was to be played is missing.
    pub fn is_whole(&self) -> bool {
        self.studies.iter().all(|study| study.finished == study.planned)
    }

    /// Whether of each experiment something was expected of what was run.
    pub fn is_checked(&self) -> bool {
        self.studies.iter().all(|study| study.unchecked.is_none())
    }

    /// As JSON.
    pub fn to_json(&self) -> String {
        json(self)
    }
}

impl StudySummary {
    fn new(study: &Study) -> Self {
        let cells = (0..study.cells.len()).filter_map(|cell| CellSummary::new(study, cell));
        let cells = cells.collect::<Vec<_>>();
        let identity = &study.manifest.identity;
        Self {
            id: study.scenario.id.clone(),
            title: study.scenario.title.clone(),
            about: study.scenario.about.clone(),
            notes: study.scenario.notes.clone(),
            file: identity.scenario.file.clone(),
            overrides: identity.overrides.clone(),
            commit: identity.program.commit.clone(),
            planned: study.planned(),
            finished: study.finished(),
            unchecked: unchecked::why(study, &cells),
            cells,
        }
    }
}

impl CellSummary {
    fn new(study: &Study, number: usize) -> Option<Self> {
        let (cell, networks) = (study.cells.get(number)?, study.networks(number));
        let count = networks.len();
        if count == 0 {
            return None;
        }
        let seen = networks.iter().map(|network| network.seen()).collect::<Vec<_>>();
        let expected = study.scenario.expectations.iter().filter(|wish| wish.is_about(&cell.plan));
        let expected = expected.collect::<Vec<_>>();
        let all = study.scenario.expectations.iter().collect::<Vec<_>>();
        let mut messages = BTreeMap::<String, u64>::new();
        for (kind, number) in networks.iter().flat_map(|network| &network.messages) {
            *messages.entry(kind.clone()).or_default() += number;
        }
        let per_network = |(kind, all): (String, u64)| (kind, all as f64 / count as f64);
        Some(Self {
            settings: cell.settings.clone(),
            seeds: networks.iter().map(|network| network.seed).collect(),
            nodes: networks.iter().map(|network| network.nodes).max().unwrap_or(0),
            envelopes: seen.iter().map(|seen| seen.fates.len()).sum(),
            events: networks.iter().map(|network| network.events).sum(),
            figures: measures(&all)
                .iter()
                .map(|measure| (measure, Figure::new(measure, &seen)))
                // Nothing to count before the first envelope is not *never*.
                .filter(|(measure, figure)| figure.mean.is_some() || !measure.is_of_network())
                .map(|(_, figure)| figure)
                .collect(),
            expectations: expected.iter().map(|wish| Outcome::new(wish, &seen)).collect(),
            messages: messages.into_iter().map(per_network).collect(),
            lost: Lost::new(study, &cell.settings, &networks),
        })
    }

    /// Its settings in one line.
    pub fn label(&self) -> String {
        grid::label(&self.settings)
    }

    /// The figure of this name.
    pub fn figure(&self, measure: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.measure == measure)
    }
}

impl Figure {
    fn new(measure: &Measure, networks: &[Seen]) -> Self {
        let found = over_networks(measure, networks);
        Self {
            measure: measure.name().to_owned(),
            unit: measure.unit().name(),
            mean: found.map(|found| found.mean.value()),
            low: found.and_then(|found| found.interval).map(|(low, _)| low),
            high: found.and_then(|found| found.interval).map(|(_, high)| high),
            is_of_three: found.is_some_and(|found| found.is_of_three),
            least: found.map(|found| found.least),
            greatest: found.map(|found| found.greatest),
        }
    }

    /// A value of this figure for people.
    pub fn show(&self, value: Option<f64>) -> String {
        value.map_or_else(|| "–".to_owned(), |value| self.unit().show(value))
    }

    /// Its unit.
    pub fn unit(&self) -> Unit {
        Measure::parse(&self.measure).map_or(Unit::Count, |measure| measure.unit())
    }
}

impl Outcome {
    /// In a word or three.
    pub fn verdict(&self) -> &'static str {
        match (self.met, self.shown) {
            (false, _) => "MISSED",
            (true, false) => "pass, too few",
            (true, true) => "pass",
        }
    }

    fn new(wish: &Expectation, networks: &[Seen]) -> Self {
        let found = over_networks(&wish.measure, networks);
        let mean = found.map(|found| found.mean);
        Self {
            measure: wish.measure.name().to_owned(),
            bounds: wish.bounds(),
            at_least: wish.at_least.map(Ratio::value),
            at_most: wish.at_most.map(Ratio::value),
            published: wish.published.map(Ratio::value),
            source: wish.source.clone(),
            mean: mean.map(Ratio::value),
            met: wish.is_met(mean),
            shown: wish.is_met(mean) && wish.is_shown(found.and_then(|found| found.interval)),
        }
    }
}

/// The usual measures and those of which something is expected in any cell.
fn measures(expected: &[&Expectation]) -> Vec<Measure> {
    let mut measures =
        USUAL.iter().filter_map(|name| Measure::parse(name).ok()).collect::<Vec<_>>();
    for wish in expected {
        if !measures.contains(&wish.measure) {
            measures.push(wish.measure.clone());
        }
    }
    measures
}

/// The figures of a measure, one for each network in which there is one.
pub(super) fn figures(measure: &Measure, networks: &[Seen]) -> Vec<Ratio> {
    networks.iter().filter_map(|seen| measure.of(seen)).collect()
}

/// None unless every network has the figure: a mean without those in which something never came would
/// be too good.
fn over_networks(measure: &Measure, networks: &[Seen]) -> Option<Estimate> {
    let found = figures(measure, networks);
    if found.len() < networks.len() {
        return None;
    }
    match measure.unit() {
        _ if measure.is_of_trials() => estimate_share(&found),
        Unit::Share => estimate_part(&found),
        Unit::Time | Unit::Count => estimate(&found),
    }
}

/// JSON with a line's end. What is written here has no keys that JSON lacks.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).map_or_else(|_| "{}\n".to_owned(), |text| text + "\n")
}
