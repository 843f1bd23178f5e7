//! Two reports beside each other: what differs by more than chance.

use thiserror::Error;

use super::summary::figures;
use super::table::columns;
use super::{Report, Study};
use crate::measure::{Measure, USUAL};
use crate::statistics::{Ratio, difference};

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

fn row(measure: &Measure, a: (&Study, usize), b: (&Study, usize)) -> Option<Vec<String>> {
    let values = |(study, cell): (&Study, usize)| {
        let seen = study.networks(cell).iter().map(|network| network.seen()).collect::<Vec<_>>();
        let found = figures(measure, &seen);
        let complete = found.len() == seen.len();
        complete.then(|| found.into_iter().map(Ratio::value).collect::<Vec<_>>())
    };
    let (a, b) = (values(a), values(b));
    let unit = measure.unit();
    let mean = |values: &Option<Vec<f64>>| {
        let mean = values.as_ref().map(|values| values.iter().sum::<f64>() / values.len() as f64);
        mean.map_or("never".to_owned(), |mean| unit.show(mean))
    };
    let signed = |value: f64| {
        let sign = if value < 0.0 { "-" } else { "+" };
        format!("{sign}{}", unit.show(value.abs()))
    };
    let found = a.as_ref().zip(b.as_ref()).and_then(|(a, b)| difference(a, b));
    let (delta, interval, verdict) = found.map_or(Default::default(), |(delta, low, high)| {
        let verdict = if low > 0.0 || high < 0.0 { "differs" } else { "" };
        (signed(delta), format!("{} .. {}", signed(low), signed(high)), verdict)
    });
    Some(vec![measure.name().to_owned(), mean(&a), mean(&b), delta, interval, verdict.to_owned()])
}
