//! A report as one page that needs nothing else: figures, and plots of them.

use std::fmt::Write;

use super::charts;
use super::plot::{self, bars, escaped};
use super::summary::{CellSummary, StudySummary, Summary};
use super::table::{RULE_OF_THREE, interval, lost_of};
use super::{Report, Study};

const STYLE: &str = include_str!("style.css");
/// The whole report.
pub fn html(report: &Report, summary: &Summary) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>comm-sim</title><style>\n{STYLE}{}</style></head><body>\n",
        plot::STYLE
    );
    for (study, figures) in report.studies().zip(&summary.studies) {
        page += &section(study, figures);
    }
    page + "</body></html>\n"
}

fn section(study: &Study, figures: &StudySummary) -> String {
    let mut text =
        format!("<h1>{}</h1>\n<p>{}</p>\n", escaped(&figures.title), escaped(&figures.about));
    if figures.finished < figures.planned {
        let _ = writeln!(
            text,
            "<p class=\"missed\">{} of {} networks are finished; the others are missing here.</p>",
            figures.finished, figures.planned
        );
    }
    if let Some(why) = &figures.unchecked {
        let _ = writeln!(text, "<p class=\"missed\">{}</p>", escaped(why));
    }
    text += &charts::all(study, figures).iter().map(|(_, drawn)| drawn.html()).collect::<String>();
    for cell in &figures.cells {
        text += &table(cell);
        text += &kinds(cell);
    }
    text + &origin(study, figures)
}

fn table(cell: &CellSummary) -> String {
    let label = if cell.settings.is_empty() { "All networks".to_owned() } else { cell.label() };
    let mut text = format!(
        "<h2>{}</h2>\n<p>{} networks, {} envelopes in all</p>\n<table><tr><th>measure</th><th>mean</th>\
         <th>95 % over networks</th><th>least</th><th>greatest</th><th>expected</th><th></th></tr>\n",
        escaped(&label),
        cell.seeds.len(),
        cell.envelopes
    );
    for figure in &cell.figures {
        let outcomes = cell.expectations.iter().filter(|outcome| outcome.measure == figure.measure);
        let outcomes = outcomes.collect::<Vec<_>>();
        let bounds =
            outcomes.iter().map(|outcome| outcome.bounds.as_str()).collect::<Vec<_>>().join(", ");
        let verdict = match outcomes.iter().all(|outcome| outcome.met) {
            _ if outcomes.is_empty() => "",
            true if outcomes.iter().any(|outcome| !outcome.shown) => {
                "<span class=\"met\">pass, too few</span>"
            }
            true => "<span class=\"met\">pass</span>",
            false => "<span class=\"missed\">missed</span>",
        };
        let mean = figure.mean.map_or("never".to_owned(), |mean| figure.show(Some(mean)));
        let (least, greatest) = (figure.show(figure.least), figure.show(figure.greatest));
        let _ = writeln!(
            text,
            "<tr><td>{}</td><td>{mean}</td><td>{}</td><td>{least}</td><td>{greatest}</td><td>{}</td><td>{verdict}</td></tr>",
            escaped(&figure.measure),
            interval(figure),
            escaped(&bounds)
        );
    }
    text += "</table>\n";
    if cell.figures.iter().any(|figure| figure.is_of_three) {
        text += &format!("<p>{RULE_OF_THREE}.</p>\n");
    }
    if let Some(said) = lost_of(cell) {
        let commands = cell.lost.some.iter().map(|one| escaped(&one.replay)).collect::<Vec<_>>();
        let _ = writeln!(text, "<p>{said}</p>\n<pre>{}</pre>", commands.join("\n"));
    }
    text
}

fn kinds(cell: &CellSummary) -> String {
    let envelopes = (cell.envelopes.max(1) as f64) / (cell.seeds.len().max(1) as f64);
    let bar = |(kind, count): (&String, &f64)| {
        (kind.clone(), *count, format!("{count:.0} ({:.1} per envelope)", count / envelopes))
    };
    let found = cell.messages.iter().map(bar).collect::<Vec<_>>();
    if found.is_empty() {
        String::new()
    } else {
        bars("Messages of all relays per network, by kind", &found).html()
    }
}

fn origin(study: &Study, figures: &StudySummary) -> String {
    let identity = &study.manifest.identity;
    let seeds = &study.manifest.seeds;
    let first = seeds
        .first()
        .zip(seeds.last())
        .map_or(String::new(), |(first, last)| format!("{first} to {last}"));
    let overrides =
        if figures.overrides.is_empty() { "none".to_owned() } else { figures.overrides.join(", ") };
    format!(
        "<h2>Made from</h2>\n<p>comm-sim {} at commit {}; {} with SHA-256 {}; overrides: {}; seeds {first}.</p>\n\
         <details><summary>The scenario</summary><pre>{}</pre></details>\n",
        escaped(&identity.program.version),
        escaped(&identity.program.commit),
        escaped(&identity.scenario.file),
        escaped(&identity.scenario.sha256),
        escaped(&overrides),
        escaped(&identity.scenario.text)
    )
}
