//! Two reports beside each other: what differs by more than chance.

use thiserror::Error;

use super::summary::figures;
use super::table::columns;
use super::{Report, Study, trials};
use crate::measure::{Measure, USUAL};
use crate::statistics::{Ratio, difference, difference_of_shares, mean};

/// What a row marked by chance alone is to be told from.
const CHANCE: &str = "differs: 0 is outside the interval. Of twenty rows without any difference about one is marked all the same.\n";

/// Why two reports cannot be compared.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "nothing in common: no scenario of the same file whose cells have the same settings. \
     A run has one cell without settings; compare it with another run"
)]
pub struct NothingInCommon;

/// A table of all cells that both have. Experiments are matched by the names of their scenarios' files.
///
/// # Errors
/// There is no such cell.
pub fn compare(left: &Report, right: &Report) -> Result<String, NothingInCommon> {
    let head = ["measure", "left", "right", "difference", "95 % of the difference", ""];
    let mut text = String::new();
    for a in left.studies() {
        let file = &a.manifest.identity.scenario.file;
        for b in right.studies().filter(|b| b.manifest.identity.scenario.file == *file) {
            for (label, x, y) in pairs(a, b) {
                let mut rows = vec![head.map(str::to_owned).to_vec()];
                rows.extend(
                    USUAL
                        .iter()
                        .filter_map(|name| row(&Measure::parse(name).ok()?, (a, x), (b, y))),
                );
                let title = format!("{file} {label}");
                text += &format!("{}\n{}{}\n", title.trim_end(), sides(a, b), columns(&rows, 1));
            }
        }
    }
    if text.is_empty() { Err(NothingInCommon) } else { Ok(text + CHANCE) }
}

/// What two experiments were run with, if that is not the same.
fn sides(a: &Study, b: &Study) -> String {
    let [left, right] = [a, b].map(|study| &study.manifest.identity.overrides);
    let side = |name: &str, set: &[String]| {
        let set = if set.is_empty() { "nothing set".to_owned() } else { set.join(" ") };
        format!("{name}: {set}\n")
    };
    if left == right { String::new() } else { side("left", left) + &side("right", right) }
}

/// Numbers of cells with the same settings.
fn pairs(a: &Study, b: &Study) -> Vec<(String, usize, usize)> {
    let cells = a.cells.iter().enumerate();
    let same = |(x, cell): (usize, &crate::scenario::grid::Cell)| {
        let y = b.cells.iter().position(|other| other.settings == cell.settings)?;
        let both = !a.networks(x).is_empty() && !b.networks(y).is_empty();
        both.then(|| (cell.label(), x, y))
    };
    cells.filter_map(same).collect()
}

/// A measure on one side.
struct Side {
    /// Of each network; none if it is *never* in one of them, or there is nothing to count.
    values: Option<Vec<f64>>,
    /// How many independent trials all envelopes are.
    trials: u64,
    /// Whether there is nothing to count in any network.
    is_nothing: bool,
}

impl Side {
    fn new(measure: &Measure, (study, cell): (&Study, usize)) -> Self {
        let networks = study.networks(cell);
        let seen = networks.iter().map(|network| network.seen()).collect::<Vec<_>>();
        let found = figures(measure, &seen);
        let is_nothing = found.is_empty() && measure.is_of_network();
        let complete = found.len() == seen.len();
        Self {
            values: complete.then(|| found.into_iter().map(Ratio::value).collect()),
            trials: trials::independent(&study.cells[cell].plan, &networks),
            is_nothing,
        }
    }

    fn mean(&self) -> Option<f64> {
        self.values.as_deref().and_then(mean)
    }

    fn show(&self, measure: &Measure) -> String {
        let none = if self.is_nothing { "–" } else { "never" };
        self.mean().map_or_else(|| none.to_owned(), |mean| measure.unit().show(mean))
    }
}

/// A measure on both sides; none if neither has anything to count.
fn row(measure: &Measure, a: (&Study, usize), b: (&Study, usize)) -> Option<Vec<String>> {
    let (a, b) = (Side::new(measure, a), Side::new(measure, b));
    if a.is_nothing && b.is_nothing {
        return None;
    }
    let signed = |value: f64| {
        let sign = if value < 0.0 { "-" } else { "+" };
        format!("{sign}{}", measure.unit().show(value.abs()))
    };
    let delta = a.mean().zip(b.mean()).map_or_else(String::new, |(a, b)| signed(b - a));
    let interval = a.values.as_deref().zip(b.values.as_deref()).and_then(|(x, y)| {
        if measure.is_of_trials() {
            difference_of_shares((x, a.trials), (y, b.trials))
        } else {
            difference(x, y)
        }
    });
    let (interval, verdict) = interval.map_or(("–".to_owned(), ""), |(low, high)| {
        let verdict = if low > 0.0 || high < 0.0 { "differs" } else { "" };
        (format!("{} .. {}", signed(low), signed(high)), verdict)
    });
    let [left, right] = [&a, &b].map(|side| side.show(measure));
    Some(vec![measure.name().to_owned(), left, right, delta, interval, verdict.to_owned()])
}
