//! What is on the screen: rows of text, made of what was seen last and before.
//!
//! Entry type is [`View`]. It knows no terminal: how a text stands out is a [`Tone`], and whoever
//! shows it cuts what does not fit. What matters most is at the top.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use crate::status::{Report, StatusError, size, time};

use super::clock;
use super::rates::{Look, Rates, rate};

/// Rates that are remembered for the curve; wider screens are rare.
const TRAIL_MAX: usize = 256;
/// Columns of what a row is about.
const LABEL: usize = 14;
/// The longest bar, in columns.
const BAR_MAX: usize = 40;
/// From nothing to the most.
const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A part of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) tone: Tone,
}

/// How a text stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Strong,
    Faint,
    Good,
    Bad,
}

type Row = Vec<Piece>;

/// What has been seen of a node.
#[derive(Debug, Default)]
pub(super) struct View {
    last: Option<Look>,
    rates: Option<Rates>,
    /// Envelopes that came and went in a second, oldest first.
    trail: VecDeque<f64>,
    trouble: Option<StatusError>,
    now: Option<SystemTime>,
}

impl Piece {
    fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }

    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self::new(text, Tone::Plain)
    }
}

impl View {
    /// Takes over what was seen at `now`.
    pub(super) fn take(&mut self, look: Result<Report, StatusError>, now: SystemTime) {
        self.now = Some(now);
        match look {
            Ok(report) => {
                let look = Look { at: now, report };
                self.rates = self.last.as_ref().and_then(|last| Rates::between(last, &look));
                self.trouble = None;
                self.remember(self.rates.unwrap_or_default());
                self.last = Some(look);
            }
            Err(error) => {
                self.rates = None;
                self.trouble = Some(error);
                self.remember(Rates::default());
            }
        }
    }

    /// Why there was no answer at the last look, if there was none.
    pub(super) fn into_trouble(self) -> Option<StatusError> {
        self.trouble
    }

    /// The rows for a screen of this size, at most as many as it has lines.
    pub(super) fn rows(&self, columns: usize, lines: usize) -> Vec<Row> {
        let mut rows = self.head(columns);
        match &self.last {
            Some(Look { report, .. }) => rows.extend(self.body(report, columns)),
            None => rows.push(Vec::new()),
        }
        // The last line is for what can be done, if there is room for it.
        if rows.len() < lines {
            rows.resize(lines - 1, Vec::new());
            rows.push(vec![Piece::new("q leaves", Tone::Faint)]);
        }
        rows.truncate(lines);
        rows
    }

    fn remember(&mut self, rates: Rates) {
        if self.trail.len() >= TRAIL_MAX {
            self.trail.pop_front();
        }
        self.trail.push_back(rates.accepted + rates.relayed);
    }

    fn head(&self, columns: usize) -> Vec<Row> {
        let title = match &self.last {
            Some(Look { report, .. }) => format!("comm-node {}", report.version),
            None => "comm-node".to_owned(),
        };
        let now = self.now.map(|now| clock(now) + " UTC").unwrap_or_default();
        let gap = columns.saturating_sub(title.len() + now.len()).max(2);
        let mut rows = vec![vec![
            Piece::new(title, Tone::Strong),
            Piece::new(" ".repeat(gap) + &now, Tone::Faint),
        ]];
        match (&self.trouble, &self.last) {
            (Some(trouble), last) => {
                rows.push(vec![Piece::new(format!("{trouble}; trying again"), Tone::Bad)]);
                let seen =
                    last.as_ref().map(|last| format!("as it was at {} UTC:", clock(last.at)));
                rows.push(vec![Piece::new(seen.unwrap_or_default(), Tone::Faint)]);
            }
            (None, Some(Look { report, .. })) => {
                rows.push(vec![Piece::new(report.address.clone(), Tone::Faint)]);
                rows.push(Vec::new());
            }
            (None, None) => rows.push(Vec::new()),
        }
        rows
    }

    fn body(&self, report: &Report, columns: usize) -> Vec<Row> {
        let Report { table, envelopes, store, links, .. } = report;
        let reached = if report.reachability == "unreachable" { Tone::Bad } else { Tone::Good };
        let right = if report.clock_ahead_seconds == 0 { Tone::Good } else { Tone::Bad };
        let known = if table.good > 0 { Tone::Good } else { Tone::Bad };
        let states = format!(", {} questionable, {} bad", table.questionable, table.bad);
        let free = store.free_bytes.map_or("?".to_owned(), size);
        let syncs = report.syncs.map_or("none yet".to_owned(), |syncs| syncs.to_string());
        let mut rows = vec![
            row("up for", [Piece::plain(time(report.uptime_seconds))]),
            row("reachability", [Piece::new(report.reachability, reached)]),
            row("clock", [Piece::new(report.clock(), right)]),
            row(
                "peers",
                [
                    Piece::plain(format!("{} known: ", table.nodes)),
                    Piece::new(format!("{} good", table.good), known),
                    Piece::plain(format!("{states}; about {} in all", report.network_size)),
                ],
            ),
            row(
                "links",
                [Piece::plain(format!(
                    "{} from others, {} to others",
                    links.accepted, links.dialled
                ))],
            ),
            row("traffic", [Piece::plain(self.traffic()), volume(report)]),
            row("envelopes", [Piece::plain(self.envelopes())]),
            row("", [Piece::new(self.curve(columns.saturating_sub(LABEL)), Tone::Good)]),
            row(
                "since it began",
                [Piece::plain(format!(
                    "{} in, {} on, {} of others read",
                    envelopes.accepted, envelopes.relayed, envelopes.acknowledged_for_others
                ))],
            ),
            row(
                "waiting",
                [Piece::plain(format!(
                    "{} ({} of bodies)",
                    envelopes.stored,
                    size(envelopes.bytes)
                ))],
            ),
            row("budget", budget(store.counted_bytes, store.bytes_max, columns)),
            row("disk", [Piece::plain(format!("{} taken, {free} free", size(store.disk_bytes)))]),
            row("syncs", [Piece::plain(syncs)]),
            Vec::new(),
        ];
        rows.extend(warnings(report));
        rows
    }

    fn traffic(&self) -> String {
        match self.rates {
            Some(rates) => {
                let [received, sent] = [rates.received, rates.sent].map(|rate| size(rate as u64));
                format!("{received}/s received, {sent}/s sent")
            }
            None => "-".to_owned(),
        }
    }

    fn envelopes(&self) -> String {
        match self.rates {
            Some(Rates { accepted, relayed, read, .. }) => {
                format!(
                    "{} in, {} on, {} of others read",
                    rate(accepted),
                    rate(relayed),
                    rate(read)
                )
            }
            None => "-".to_owned(),
        }
    }

    /// The rates that fit, each as high as it is beside the highest of them.
    fn curve(&self, columns: usize) -> String {
        let shown = self.trail.iter().skip(self.trail.len().saturating_sub(columns));
        let most = shown.clone().copied().fold(0.0, f64::max);
        let step = |rate: &f64| match most {
            0.0 => STEPS[0],
            most => STEPS[((rate / most * 7.0).round() as usize).min(7)],
        };
        shown.map(step).collect()
    }
}

fn row(label: &str, pieces: impl IntoIterator<Item = Piece>) -> Row {
    let label = Piece::new(format!("{label:<LABEL$} "), Tone::Faint);
    std::iter::once(label).chain(pieces).collect()
}

/// What is used of the volume of traffic, if there is one.
fn volume(report: &Report) -> Piece {
    let tone = match report.volume {
        Some(volume) if volume.hibernates_until.is_some() => Tone::Bad,
        _ => Tone::Plain,
    };
    Piece::new(report.volume.map_or(String::new(), |volume| format!("; {volume}")), tone)
}

/// A bar of what is taken of the budget, and the same as a number.
fn budget(counted: u64, most: u64, columns: usize) -> [Piece; 3] {
    let share = (counted as f64 / most.max(1) as f64).min(1.0);
    let width = columns.saturating_sub(LABEL + 24).min(BAR_MAX);
    let full = (share * width as f64).round() as usize;
    let tone = if share > 0.9 { Tone::Bad } else { Tone::Good };
    [
        Piece::new("█".repeat(full), tone),
        Piece::new("░".repeat(width - full), Tone::Faint),
        Piece::plain(format!(" {:.0} % of {}", share * 100.0, size(most))),
    ]
}

/// The newest first, for they matter most where there is little room.
fn warnings(report: &Report) -> Vec<Row> {
    let mut rows = Vec::new();
    for warning in report.warnings.iter().rev() {
        let at = clock(SystemTime::UNIX_EPOCH + Duration::from_secs(warning.time));
        rows.push(row(&format!("{at} UTC"), [Piece::plain(warning.text.clone())]));
    }
    if !rows.is_empty() {
        rows.insert(0, vec![Piece::new("warnings of its log, the newest first", Tone::Strong)]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::rates::tests::look;
    use super::*;
    use crate::owner::AskError;
    use crate::status::Warning;

    fn text(rows: &[Row]) -> String {
        let line = |row: &Row| row.iter().map(|piece| piece.text.as_str()).collect::<String>();
        rows.iter().map(|row| line(row) + "\n").collect()
    }

    fn seen(looks: &[Look]) -> View {
        let mut view = View::default();
        for Look { at, report } in looks {
            view.take(Ok(report.clone()), *at);
        }
        view
    }

    #[test]
    fn a_screen_of_any_size_is_filled_and_no_more() {
        let view = seen(&[look(10, 1, 100), look(11, 1, 105)]);
        for (columns, lines) in [(80, 24), (20, 5), (1, 1), (0, 0), (500, 200)] {
            let rows = view.rows(columns, lines);
            assert_eq!(rows.len(), lines, "{columns} x {lines}");
        }
        assert!(text(&view.rows(80, 24)).contains("5.0/s in, 0.0/s on"));
        assert!(text(&view.rows(80, 24)).contains("q leaves"));
    }

    #[test]
    fn before_the_first_answer_there_is_a_screen_too() {
        assert_eq!(View::default().rows(80, 24).len(), 24);
    }

    #[test]
    fn a_node_that_is_gone_is_said_to_be_and_shown_as_it_was() {
        let mut view = seen(&[look(10, 1, 100), look(11, 1, 105)]);
        let gone = AskError::Nobody { socket: PathBuf::from("/s"), reason: "gone".to_owned() };
        view.take(Err(gone.into()), SystemTime::UNIX_EPOCH + Duration::from_secs(12));
        let shown = text(&view.rows(80, 24));
        assert!(shown.contains("no relay runs with the socket /s: gone; trying again"), "{shown}");
        assert!(
            shown.contains("as it was at 00:00:11 UTC:") && shown.contains("105 in"),
            "{shown}"
        );
        // It has begun anew: what it counts is less, and no rate is made of that.
        view.take(Ok(look(20, 2, 1).report), SystemTime::UNIX_EPOCH + Duration::from_secs(20));
        let shown = text(&view.rows(80, 24));
        assert!(!shown.contains("trying again") && shown.contains("envelopes      -"), "{shown}");
    }

    #[test]
    fn the_curve_is_highest_where_most_came_and_keeps_a_bounded_past() {
        let mut looks: Vec<Look> = (0..1_000).map(|second| look(second, 1, second)).collect();
        looks.push(look(1_000, 1, 1_006));
        let view = seen(&looks);
        assert_eq!(view.trail.len(), TRAIL_MAX);
        assert_eq!(view.curve(4), "▂▂▂█");
        assert_eq!(seen(&looks[..1]).curve(4), "▁");
    }

    #[test]
    fn the_bar_shows_how_much_of_the_budget_is_taken() {
        let bar = |counted, columns| budget(counted, 1 << 30, columns).map(|piece| piece.text);
        let [full, empty, number] = bar(1 << 28, 120);
        assert_eq!((full.chars().count(), empty.chars().count()), (10, 30));
        assert_eq!(number, " 25 % of 1GiB");
        assert_eq!(bar(1 << 40, 120)[1], "");
        assert_eq!(bar(0, 0)[0], "");
    }

    #[test]
    fn warnings_are_shown_with_their_time_the_newest_first() {
        let mut last = look(10, 1, 0);
        let warning = |time, text: &str| Warning { time, text: text.to_owned() };
        last.report.warnings = vec![warning(61, "the first"), warning(122, "the second")];
        let shown = text(&seen(&[last]).rows(80, 40));
        let (first, second) =
            (shown.find("00:01:01 UTC").unwrap(), shown.find("00:02:02 UTC").unwrap());
        assert!(second < first, "{shown}");
    }
}
