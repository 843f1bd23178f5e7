//! A network that was ended before its time, as it stood then. It is not among those that figures are made of, and
//! no goal is checked on it.

use serde::Serialize;

use super::Study;
use super::network::Network;
use super::table::columns;
use crate::experiment;
use crate::measure::{Measure, Unit};
use crate::scenario::grid;
use crate::statistics::Ratio;

/// One network.
#[derive(Serialize)]
pub struct Interrupted {
    /// Swept keys and what they were.
    pub settings: Vec<(String, String)>,
    /// From which it was drawn.
    pub seed: u64,
    /// Relays, an adversary's ids included.
    pub nodes: usize,
    /// Milliseconds of its own time that were over.
    pub played_ms: u64,
    /// Milliseconds that it was to be played for.
    pub planned_ms: u64,
    /// Envelopes that had been sent; figures are of these.
    pub sent: usize,
    /// Envelopes that were to be sent.
    pub planned: usize,
    /// Figures as they stood; nothing where no envelope had been sent.
    pub figures: Vec<SoFar>,
}

/// A measure of one network.
#[derive(Serialize)]
pub struct SoFar {
    /// Its name.
    pub measure: String,
    /// `share`, `ms` or `count`.
    pub unit: &'static str,
    /// What it was; none if it was *never* so far.
    pub value: Option<f64>,
}

impl Interrupted {
    pub(super) fn new(study: &Study, cell: usize, network: &Network, measures: &[Measure]) -> Self {
        let (plan, seen) = (&study.cells[cell].plan, network.seen());
        let so_far = |measure: &Measure| {
            let value = measure.of(&seen).map(Ratio::value);
            let (name, unit) = (measure.name().to_owned(), measure.unit().name());
            let is_something = value.is_some() || !measure.is_of_network();
            is_something.then_some(SoFar { measure: name, unit, value })
        };
        let figures = if network.sent() > 0 { measures } else { &[] };
        Self {
            settings: network.settings.clone(),
            seed: network.seed,
            nodes: network.nodes,
            played_ms: network.simulated_ms,
            planned_ms: experiment::length(plan).as_millis(),
            sent: network.sent(),
            planned: plan.traffic.envelopes,
            figures: figures.iter().filter_map(so_far).collect(),
        }
    }

    /// What happened, in a sentence.
    pub(super) fn said(&self) -> String {
        let Self { seed, sent, planned, .. } = self;
        let label = grid::label(&self.settings);
        let of = if label.is_empty() { String::new() } else { format!(" of {label}") };
        let [played, whole] =
            [self.played_ms, self.planned_ms].map(|ms| Unit::Time.show(ms as f64));
        let begin =
            format!("Network {seed}{of} was INTERRUPTED after {played} of {whole} of its own time");
        if self.figures.is_empty() {
            return format!("{begin}, before any envelope was sent.");
        }
        format!(
            "{begin}, when {sent} of {planned} envelopes had been sent. This is how these stood; what had not come might still have \
             come, so that no goal is checked on it."
        )
    }

    /// Its figures as rows.
    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        let show = |one: &SoFar| {
            let unit = Measure::parse(&one.measure).map_or(Unit::Count, |measure| measure.unit());
            one.value.map_or_else(|| "never".to_owned(), |value| unit.show(value))
        };
        self.figures.iter().map(|one| vec![one.measure.clone(), show(one)]).collect()
    }

    /// All of it as lines of text.
    pub(super) fn text(&self) -> String {
        format!("\n{}\n\n{}", self.said(), columns(&self.rows(), 1))
    }
}
