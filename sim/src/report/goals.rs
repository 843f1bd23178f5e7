//! Every goal of every experiment in one table: which, what, how much, measured, published, reached or not.
//!
//! Entry type is [`Goals`]. The same rows are shown to people, programs and in `docs/experiments.md`.

use serde::Serialize;

use super::summary::{CellSummary, Outcome, StudySummary, Summary};
use super::table::{RULE_OF_THREE, columns, interval};
use crate::scenario::grid;

/// The columns of the table. N is the number of relays, ids included.
const HEAD: [&str; 9] = [
    "id",
    "what",
    "goal",
    "measured",
    "95 % over networks",
    "N",
    "networks × envelopes",
    "published",
    "",
];

/// All goals, in the order of experiments, cells and scenario files.
#[derive(Serialize)]
pub struct Goals {
    /// The version of this format.
    schema: u32,
    /// Whether all are reached and no network is missing.
    pub met: bool,
    /// One row for each goal in each cell.
    pub goals: Vec<Goal>,
    /// The same for checks of the set-up, which say nothing of the node and are no goals.
    pub checks: Vec<Goal>,
    /// Experiments of which networks are missing, and how many are there.
    pub unfinished: Vec<String>,
}

/// One goal in one cell.
#[derive(Serialize)]
pub struct Goal {
    /// Of the experiment.
    pub id: String,
    /// Of its scenario.
    pub title: String,
    /// The scenario's file.
    pub file: String,
    /// Swept keys and what they were.
    pub settings: Vec<(String, String)>,
    /// Relays of one network, an adversary's ids included.
    pub nodes: usize,
    /// How many networks say so.
    pub networks: usize,
    /// How many envelopes were in them.
    pub envelopes: usize,
    /// How many independent trials these are.
    pub trials: u64,
    /// The goal and what came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The 95 % confidence interval of the mean over networks, for people.
    interval: String,
    /// The mean for people.
    measured: String,
    /// The published figure for people.
    best: String,
}

impl Goals {
    /// Those of a summary.
    pub fn new(summary: &Summary) -> Self {
        let studies = in_order(summary);
        let is_unfinished = |study: &&&StudySummary| study.finished < study.planned;
        let unfinished = studies
            .iter()
            .filter(is_unfinished)
            .map(|study| format!("{}: {} of {} networks", study.id, study.finished, study.planned));
        let cells = studies.iter().flat_map(|study| study.cells.iter().map(|cell| (*study, cell)));
        let all = cells.flat_map(|(study, cell)| {
            cell.expectations.iter().map(move |outcome| Goal::new(study, cell, outcome))
        });
        let (checks, goals) = all.partition(|goal| goal.outcome.check);
        Self {
            schema: 1,
            met: summary.is_met() && summary.is_whole(),
            unfinished: unfinished.collect(),
            goals,
            checks,
        }
    }

    /// As lines of text.
    pub fn table(&self) -> String {
        let head = HEAD;
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(self.goals.iter().map(|goal| goal.cells().to_vec()));
        let mut text = columns(&rows, 3);
        if self.goals.iter().any(|goal| goal.interval.ends_with('*')) {
            text += &format!("{RULE_OF_THREE}\n");
        }
        for check in self.checks.iter().filter(|check| !check.outcome.met) {
            text += &format!("CHECK FAILED {}\n", check.cells().join(" "));
        }
        for line in &self.unfinished {
            text += &format!("UNFINISHED {line}\n");
        }
        text + &self.verdict() + "\n"
    }

    /// As a table of Markdown.
    pub fn markdown(&self) -> String {
        Self::rows(&self.goals)
    }

    /// Checks of the set-up as a table of Markdown.
    pub fn markdown_of_checks(&self) -> String {
        Self::rows(&self.checks)
    }

    fn rows(goals: &[Goal]) -> String {
        let mut text = format!("| {} |\n|{}\n", HEAD.join(" | "), "---|".repeat(HEAD.len()));
        for goal in goals {
            let cells = goal.cells().map(|cell| cell.replace('|', "\\|").replace('*', "\\*"));
            text += &format!("| {} |\n", cells.join(" | "));
        }
        text
    }

    /// As JSON.
    pub fn to_json(&self) -> String {
        super::summary::json(self)
    }

    /// How many are missed, how many reached by too few, and whether the set-up was as it should be, in a line.
    pub fn verdict(&self) -> String {
        self.verdict_on_goals() + &self.verdict_on_checks()
    }

    fn verdict_on_checks(&self) -> String {
        let all = self.checks.len();
        let failed = self.checks.iter().filter(|check| !check.outcome.met).collect::<Vec<_>>();
        match failed.len() {
            0 if all == 0 => String::new(),
            0 => format!(" Checks of the set-up: {all}, all hold."),
            some => format!(" {some} of {all} checks of the set-up FAILED: {}.", ids(&failed)),
        }
    }

    fn verdict_on_goals(&self) -> String {
        let missed = self.goals.iter().filter(|goal| !goal.outcome.met).collect::<Vec<_>>();
        let all = self.goals.len();
        let few = self.goals.iter().filter(|goal| goal.outcome.met && !goal.outcome.shown).count();
        let few = match few {
            0 => String::new(),
            few => format!(
                " Reached with too few networks or envelopes to tell that from chance: {few}."
            ),
        };
        if missed.is_empty() && self.unfinished.is_empty() {
            return if few.is_empty() {
                format!("All {all} goals are reached.")
            } else {
                format!("None of {all} goals is missed.{few}")
            };
        }
        let ids = ids(&missed);
        let whose = if ids.is_empty() { String::new() } else { format!(": {ids}") };
        format!("{} of {all} goals are MISSED{whose}.{few}", missed.len())
    }
}

impl Goal {
    fn new(study: &StudySummary, cell: &CellSummary, outcome: &Outcome) -> Self {
        let figure = cell.figure(&outcome.measure);
        let show = |value: Option<f64>, none: &str| match (figure, value) {
            (Some(figure), Some(value)) => figure.show(Some(value)),
            _ => none.to_owned(),
        };
        Self {
            id: study.id.clone(),
            title: study.title.clone(),
            file: study.file.clone(),
            settings: cell.settings.clone(),
            nodes: cell.nodes,
            networks: cell.seeds.len(),
            envelopes: cell.envelopes,
            trials: cell.trials,
            interval: figure.map_or_else(String::new, interval),
            measured: show(outcome.mean, "never"),
            best: show(outcome.published, "–"),
            outcome: outcome.clone(),
        }
    }

    /// As cells of a table.
    fn cells(&self) -> [String; 9] {
        let label = grid::label(&self.settings);
        let what = format!("{} {label}", self.outcome.measure);
        let mut extent = format!("{} × {}", self.networks, self.envelopes / self.networks.max(1));
        if self.trials != self.envelopes as u64 {
            extent += &format!(", {} trials", self.trials);
        }
        [
            self.id.clone(),
            what.trim_end().to_owned(),
            self.outcome.bounds.clone(),
            self.measured.clone(),
            self.interval.clone(),
            self.nodes.to_string(),
            extent,
            self.best.clone(),
            self.outcome.verdict().to_owned(),
        ]
    }
}

/// Whose goals these are, each once.
fn ids(goals: &[&Goal]) -> String {
    let mut ids = goals.iter().map(|goal| goal.id.as_str()).collect::<Vec<_>>();
    ids.dedup();
    ids.join(", ")
}

/// Experiments in the order of their ids, numbers as numbers.
pub(super) fn in_order(summary: &Summary) -> Vec<&StudySummary> {
    let mut studies = summary.studies.iter().collect::<Vec<_>>();
    studies.sort_by_key(|study| order(&study.id, &study.file));
    studies
}

/// `E2` comes before `E15`, and `E4` before `E4c`.
pub fn order(id: &str, file: &str) -> (u64, String, String) {
    let digits = id.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let number = digits[..end].parse().unwrap_or(u64::MAX);
    (number, id.to_owned(), file.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experiments_stand_in_the_order_of_their_numbers() {
        let mut ids = ["E20", "E4c", "E-comm", "E2", "E15", "E4"];
        ids.sort_by_key(|id| order(id, ""));
        assert_eq!(ids, ["E2", "E4", "E4c", "E15", "E20", "E-comm"]);
    }
}
