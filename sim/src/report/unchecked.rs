//! Why nothing was checked where expectations were to check something, in words. It decides no exit code.

use super::Study;
use super::summary::CellSummary;
use crate::scenario::expectation::Expectation;
use crate::scenario::grid::Cell;
use crate::scenario::keys;

/// Expectations that are named; the others fail for the same kind of reason.
const NAMED_MAX: usize = 3;

/// In a sentence, why none of a study's expectations was checked in the cells of which there is something; none if
/// one was.
pub(super) fn why(study: &Study, cells: &[CellSummary]) -> Option<String> {
    if cells.iter().any(|cell| !cell.expectations.is_empty()) {
        return None;
    }
    let file = &study.manifest.identity.scenario.file;
    let wishes = &study.scenario.expectations;
    if wishes.is_empty() {
        return Some(format!("Nothing was checked: {file} has no [[expect]]."));
    }
    if cells.is_empty() {
        return Some(format!("Nothing was checked: no network of {file} is finished."));
    }
    let reasons = (1..).zip(wishes).take(NAMED_MAX).map(|(number, wish)| {
        format!("expect {number} ({}) is for {}", wish.measure, elsewhere(wish, &study.cells))
    });
    let mut reasons = reasons.collect::<Vec<_>>();
    if wishes.len() > NAMED_MAX {
        reasons.push(format!("and so are {} more", wishes.len() - NAMED_MAX));
    }
    Some(format!("Nothing was checked: {}.", reasons.join("; ")))
}

/// For what it is, and what there was instead.
fn elsewhere(wish: &Expectation, cells: &[Cell]) -> String {
    if let [cell] = cells {
        for (name, wanted) in &wish.conditions {
            let here = keys::key(name).map(|key| key.show(&cell.plan));
            if let Some(here) = here.filter(|here| here != wanted) {
                return format!("{name}={wanted}, which is {here} here");
            }
        }
    }
    let wanted = wish.conditions.iter().map(|(name, wanted)| format!("{name}={wanted}"));
    format!("{}, which was not run", wanted.collect::<Vec<_>>().join(" "))
}
