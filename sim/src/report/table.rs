//! A report as lines of text, the same in a terminal and in a pipe.

use super::summary::{CellSummary, Figure, Outcome, StudySummary, Summary};

/// What the mark beside an interval means.
pub(super) const RULE_OF_THREE: &str = "* all went the same way: 3 in as many envelopes may go the other, if envelopes were independent; those of one network are not";

/// The whole report.
pub fn table(summary: &Summary) -> String {
    summary.studies.iter().map(study).collect::<Vec<_>>().join("\n")
}

fn study(study: &StudySummary) -> String {
    let mut text = format!("{}: {}\n", study.file, study.title);
    if !study.overrides.is_empty() {
        text += &format!("with {}\n", study.overrides.join(", "));
    }
    if study.finished < study.planned {
        text += &format!(
            "{} of {} networks are finished; the others are missing here.\n",
            study.finished, study.planned
        );
    }
    text += &study.cells.iter().map(cell).collect::<String>();
    text + &study.unchecked.iter().map(|why| format!("\n{why}\n")).collect::<String>()
}

fn cell(cell: &CellSummary) -> String {
    let mut text = String::new();
    if !cell.settings.is_empty() {
        text += &format!("\n{}", cell.label());
    }
    text += &format!("\n{} networks, {} envelopes in all\n\n", cell.seeds.len(), cell.envelopes);
    let head = ["measure", "mean", "95 % over networks", "least", "greatest", "expected", ""];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(cell.figures.iter().map(|figure| row(figure, &cell.expectations)));
    text += &columns(&rows, 1);
    if cell.figures.iter().any(|figure| figure.is_of_three) {
        text += &format!("{RULE_OF_THREE}\n");
    }
    for outcome in cell.expectations.iter().filter(|outcome| outcome.source.is_some()) {
        let unit = cell.figure(&outcome.measure);
        let published = outcome.published.and_then(|value| Some(unit?.show(Some(value)) + ", "));
        let source = outcome.source.as_deref().unwrap_or_default();
        text += &format!(
            "{}: best published {}{source}\n",
            outcome.measure,
            published.unwrap_or_default()
        );
    }
    text + &lost(cell)
}

/// How many envelopes were lost, and how to see why some of them were.
fn lost(cell: &CellSummary) -> String {
    let lines = cell.lost.some.iter().map(|one| format!("  {}\n", one.replay)).collect::<String>();
    lost_of(cell).map_or_else(String::new, |said| format!("\n{said}\n{lines}"))
}

/// How many envelopes were lost, in a sentence; none if none was.
pub(super) fn lost_of(cell: &CellSummary) -> Option<String> {
    let (count, all) = (cell.lost.count, cell.envelopes);
    let hint = if cell.lost.some.is_empty() { "" } else { " What became of some of them:" };
    (count > 0).then(|| format!("{count} of {all} envelopes were not delivered by the end.{hint}"))
}

fn row(figure: &Figure, outcomes: &[Outcome]) -> Vec<String> {
    let outcomes = outcomes.iter().filter(|outcome| outcome.measure == figure.measure);
    let outcomes = outcomes.collect::<Vec<_>>();
    let met = outcomes.iter().all(|outcome| outcome.met);
    let shown = outcomes.iter().all(|outcome| outcome.shown);
    let bounds = outcomes.iter().map(|outcome| outcome.bounds.clone()).collect::<Vec<_>>();
    vec![
        figure.measure.clone(),
        figure.mean.map_or("never".to_owned(), |mean| figure.show(Some(mean))),
        interval(figure),
        figure.show(figure.least),
        figure.show(figure.greatest),
        bounds.join(", "),
        if bounds.is_empty() {
            ""
        } else if met && shown {
            "pass"
        } else if met {
            "pass, too few"
        } else {
            "MISSED"
        }
        .to_owned(),
    ]
}

/// The confidence interval for people.
pub(super) fn interval(figure: &Figure) -> String {
    match (figure.low, figure.high) {
        (Some(low), Some(high)) => {
            let mark = if figure.is_of_three { " *" } else { "" };
            format!("{} .. {}{mark}", figure.show(Some(low)), figure.show(Some(high)))
        }
        _ => "–".to_owned(),
    }
}

/// Columns as wide as they must be, the first `words` to the left and numbers to the right.
pub(super) fn columns(rows: &[Vec<String>], words: usize) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths = (0..count).map(width).collect::<Vec<_>>();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        let padded = cells.map(|(column, (cell, width))| {
            if column < words || column + 2 >= count {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
