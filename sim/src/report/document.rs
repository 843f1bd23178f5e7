//! `docs/experiments.md`: what all experiments showed, written from their results alone.
//!
//! Entry type is [`Document`]. Text by hand stands in the scenario files (`about`, `notes`), so that writing
//! it anew keeps it.

use std::collections::{BTreeMap, BTreeSet};

use super::goals::{Goals, order};
use super::summary::{CellSummary, StudySummary, Summary};
use super::table::RULE_OF_THREE;
use super::{Report, Study, charts};
use crate::measure::Measure;

/// The folder of the plots, beside the document.
pub const PLOTS: &str = "experiments";

/// What stands in the last column of the table, and in those of extent.
const VERDICTS: &str = "`pass`: the mean is within the goal, and so is the end of its interval that is nearer to the bound. \
    `pass, too few`: the mean is, the end of the interval is not; more networks or envelopes would tell. `MISSED`: the mean is not. \
    A goal of 100 %, or of none at all, is missed by a single envelope, and passes with 3,000 trials, which mean 99.9 %. Where envelopes \
    go between the same people, or people use the same relays, they are not independent, and a number of *trials* stands behind that of \
    envelopes. N counts all relays of a network, an adversary's ids included; the goals were set for 10,000.";

/// What the design asks of every figure: so many networks, envelopes in each, and these where it is documented.
const ASKED: (usize, usize, usize) = (10, 100, 1_000);

/// Before the table of checks.
const CHECKS: &str = "Checks of the set-up are no goals: they say whether what was to befall the networks did, and a run in which one fails is \
    no experiment.";

/// What is the same in all plots.
const PICTURES: &str = "In the plots a dot is a mean over networks and the band around a line its 95 % interval; a short line with \
    a bound is a goal where it holds, a line with a name a published figure of others, across the plot where it is about all of it, and a cross at the upper edge \
    means *never*: in at least one network it did not come so far.";

/// A document and the plots beside it.
pub struct Document {
    /// Markdown.
    pub text: String,
    /// SVG by the name of its file in the folder [`PLOTS`].
    pub plots: BTreeMap<String, String>,
}

/// Where it ran. Nothing but the document knows of it.
pub struct Machine {
    /// The name of the processor.
    pub processor: String,
    /// How many cores the program was given.
    pub cores: usize,
    /// Memory in MiB, if it is known.
    pub memory_mib: Option<u64>,
}

impl Document {
    /// About everything in a report. `command` is what to type to get it again.
    pub fn new(report: &Report, summary: &Summary, machine: &Machine, command: &str) -> Self {
        let goals = Goals::new(summary);
        let mut plots = BTreeMap::new();
        let mut text = head(report, machine, command);
        text += &asked(summary);
        text += &format!("## All goals\n\n{}\n\n{}", goals.verdict(), goals.markdown());
        text += &format!("\n\\{RULE_OF_THREE}.\n\n{VERDICTS}\n");
        for line in &goals.unfinished {
            text += &format!("\nUnfinished: {line}.\n");
        }
        if !goals.checks.is_empty() {
            text += &format!("\n{CHECKS}\n\n{}", goals.markdown_of_checks());
        }
        let mut studies = report.studies().zip(&summary.studies).collect::<Vec<_>>();
        studies.sort_by_key(|(_, figures)| order(&figures.id, &figures.file));
        text += &format!("\n{PICTURES}\n");
        let is_of = |id: &str| summary.studies.iter().filter(|study| study.id == id).count();
        for (study, figures) in studies {
            // Two scenarios of one experiment have plots of the same kind.
            let name = if is_of(&figures.id) > 1 { stem(figures) } else { &figures.id };
            text += &section(study, figures, &name.to_lowercase(), &mut plots);
        }
        text += &explained(summary);
        Self { text, plots }
    }
}

fn head(report: &Report, machine: &Machine, command: &str) -> String {
    let program = report.studies().next().map(|study| &study.manifest.identity.program);
    let (version, commit) = program.map_or(("", ""), |found| (&found.version, &found.commit));
    let memory =
        machine.memory_mib.map(|mib| format!(", {:.1} GiB of memory", mib as f64 / 1024.0));
    format!(
        "# Experiments\n\n\
         <!-- Written by `comm-sim experiments`; what is changed by hand is lost. Free text stands in the scenario files. -->\n\n\
         What the production state machine does in simulated networks, and whether it reaches what was set before. \
         Goals stand in the scenario files (`sim/scenarios/`); [sim/README.md](../sim/README.md) says what each measure counts.\n\n\
         Made by comm-sim {version} at commit `{commit}` on {} ({} cores{}). The same program and seeds give the same figures on every machine:\n\n\
         ```\n{command}\n```\n\n\
         Each figure is the mean over networks; the interval is that of 95 % confidence of that mean.\n\n",
        machine.processor,
        machine.cores,
        memory.unwrap_or_default(),
    )
}

/// How much the design asks for, and how much this is.
fn asked(summary: &Summary) -> String {
    let cells = summary.studies.iter().flat_map(|study| &study.cells);
    let extents = cells.map(|cell| (cell.seeds.len(), cell.envelopes / cell.seeds.len().max(1)));
    let extents = extents.collect::<Vec<_>>();
    let span = |of: fn(&(usize, usize)) -> usize| {
        let (least, most) = (extents.iter().map(of).min(), extents.iter().map(of).max());
        let (least, most) = (least.unwrap_or(0), most.unwrap_or(0));
        let text = if least == most { format!("{most}") } else { format!("{least} to {most}") };
        (least, text)
    };
    let ((networks, of_networks), (envelopes, of_envelopes)) =
        (span(|one| one.0), span(|one| one.1));
    let (asked_networks, asked, documented) = ASKED;
    let is_enough = networks >= asked_networks && envelopes >= documented;
    let but = if is_enough { "" } else { " That is less than it asks for." };
    format!(
        "The design asks for at least {asked_networks} networks of at least {asked} envelopes for every figure, and of {documented} for \
         one in a document. This run had {of_networks} networks of {of_envelopes} envelopes for each combination of settings.{but}\n\n"
    )
}

/// The name of the scenario's file without its ending.
fn stem(figures: &StudySummary) -> &str {
    figures.file.trim_end_matches(".toml")
}

/// What the measures are of which something is expected, or which are drawn.
fn explained(summary: &Summary) -> String {
    let cells = summary.studies.iter().flat_map(|study| &study.cells);
    let expected = cells.flat_map(|cell| &cell.expectations);
    let names = expected.map(|outcome| outcome.measure.as_str()).chain(charts::DRAWN);
    let mut text = "\n## What is measured\n\n".to_owned();
    for name in names.collect::<BTreeSet<_>>() {
        if let Ok(measure) = Measure::parse(name) {
            text += &format!("- `{name}`: {}.\n", measure.about());
        }
    }
    text
}

fn section(
    study: &Study,
    figures: &StudySummary,
    name: &str,
    plots: &mut BTreeMap<String, String>,
) -> String {
    let mut text = format!("\n## {}: {}\n\n{}\n\n", figures.id, figures.title, figures.about);
    text += &extent(study, figures);
    for outcome in sources(&figures.cells) {
        text += &format!("- {outcome}\n");
    }
    if !figures.notes.is_empty() {
        text += &format!("\n{}\n", figures.notes);
    }
    for (what, drawing) in charts::all(study, figures) {
        let file = format!("{name}-{what}.svg");
        text += &format!("\n![{}]({PLOTS}/{file})\n", drawing.title());
        plots.insert(file, drawing.svg());
    }
    text
}

/// How much was run, and what runs it alone.
fn extent(study: &Study, figures: &StudySummary) -> String {
    let plans = study.cells.iter().map(|cell| &cell.plan);
    let mut nodes = plans.map(|plan| plan.network.nodes).collect::<Vec<_>>();
    nodes.sort_unstable();
    nodes.dedup();
    let nodes = nodes.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let envelopes =
        figures.cells.first().map_or(0, |cell| cell.envelopes / cell.seeds.len().max(1));
    let networks = study.manifest.seeds.len();
    let mut text = format!(
        "{nodes} relays, {envelopes} envelopes in each of {networks} networks{}: `comm-sim sweep {}{}`\n\n",
        if study.cells.len() > 1 {
            format!(" for each of {} settings", study.cells.len())
        } else {
            String::new()
        },
        stem(figures),
        figures.overrides.iter().map(|one| format!(" --set '{one}'")).collect::<String>(),
    );
    let kinds = figures.cells.iter().filter(|cell| cell.envelopes > 0);
    let kinds = kinds.map(|cell| {
        let all = cell.messages.values().sum::<f64>() * cell.seeds.len() as f64;
        (cell.label(), all / cell.envelopes as f64)
    });
    for (label, each) in kinds {
        let label = if label.is_empty() { label } else { format!("{label}: ") };
        text += &format!(
            "- {label}{each:.0} messages of all relays for each envelope from the first envelope on, upkeep of the network included\n"
        );
    }
    text
}

/// Where published figures come from, each once.
fn sources(cells: &[CellSummary]) -> Vec<String> {
    let mut found = Vec::new();
    for cell in cells {
        for outcome in &cell.expectations {
            let (Some(published), Some(source)) = (outcome.published, &outcome.source) else {
                continue;
            };
            let shown = cell.figure(&outcome.measure).map(|figure| figure.show(Some(published)));
            let line = format!(
                "{}: best published {}, {source}",
                outcome.measure,
                shown.unwrap_or_default()
            );
            if !found.contains(&line) {
                found.push(line);
            }
        }
    }
    found
}
