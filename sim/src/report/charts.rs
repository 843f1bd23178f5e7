//! Which plots an experiment has.

use super::Study;
use super::plot::{Axis, Drawing, Level, Series, plot, round_ticks};
use super::summary::{Figure, StudySummary};
use crate::measure::{Measure, Unit};

/// Points of a distribution that are drawn at most; a page stays small however many envelopes there are.
const POINTS: usize = 400;
/// What is drawn against a swept key though nothing is expected of it.
pub(super) const DRAWN: [&str; 4] = ["delivered", "first_copy_p99", "messages_mean", "bodies_mean"];
/// Marks of a logarithmic axis of time, in milliseconds.
const TIMES: [(f64, &str); 12] = [
    (10.0, "10 ms"),
    (30.0, "30 ms"),
    (100.0, "100 ms"),
    (300.0, "300 ms"),
    (1e3, "1 s"),
    (3e3, "3 s"),
    (1e4, "10 s"),
    (3e4, "30 s"),
    (6e4, "1 min"),
    (6e5, "10 min"),
    (3.6e6, "1 h"),
    (8.64e7, "1 d"),
];

/// All plots of an experiment, each with a name of letters, digits, `-` and `_`.
pub fn all(study: &Study, figures: &StudySummary) -> Vec<(String, Drawing)> {
    let mut drawn = sweeps(figures);
    drawn.extend(storage(study).map(|drawing| ("storage".to_owned(), drawing)));
    drawn.extend(latencies(study).map(|drawing| ("first_copy".to_owned(), drawing)));
    drawn
}

/// How many first copies were there after which time, all networks of a cell together.
fn latencies(study: &Study) -> Option<Drawing> {
    let mut series = Vec::new();
    for (number, cell) in study.cells.iter().enumerate() {
        let networks = study.networks(number);
        let fates = networks.iter().flat_map(|network| network.fates()).collect::<Vec<_>>();
        let mut times = fates
            .iter()
            .filter_map(|fate| fate.copied)
            .map(|time| time.as_millis() as f64)
            .collect::<Vec<_>>();
        times.sort_by(f64::total_cmp);
        if !times.is_empty() {
            let points = distribution(&times, fates.len());
            series.push(Series { name: cell.label(), points, band: Vec::new(), never: Vec::new() });
        }
    }
    let ends =
        series.iter().flat_map(|series| [series.points.first(), series.points.last()]).flatten();
    let ends = ends.map(|(time, _)| time.max(1.0)).collect::<Vec<_>>();
    if ends.is_empty() {
        return None;
    }
    let least = ends.iter().copied().fold(f64::INFINITY, f64::min) * 0.8;
    let greatest = ends.iter().copied().fold(0.0, f64::max) * 1.25;
    let ticks = TIMES.iter().filter(|(at, _)| (least..=greatest).contains(at));
    let ticks = ticks.map(|(at, text)| (*at, (*text).to_owned())).collect();
    let x = Axis {
        label: "time until the first copy".to_owned(),
        range: (least, greatest),
        logarithmic: true,
        ticks,
    };
    let y = share_axis("envelopes with a copy".to_owned(), (0.0, 1.0));
    Some(plot("Time until the first copy on another relay", &x, &y, &series, &[]))
}

/// Copies on honest disks over time, the mean over networks.
fn storage(study: &Study) -> Option<Drawing> {
    let mut all = Vec::new();
    for (number, cell) in study.cells.iter().enumerate() {
        let networks = study.networks(number);
        let minutes = networks.iter().map(|network| network.minutes.len()).min().unwrap_or(0);
        if minutes < 2 {
            continue;
        }
        let step = minutes.div_ceil(POINTS);
        let mean = |minute: usize| {
            let copies = networks.iter().map(|network| network.minutes[minute].copies).sum::<u64>();
            ((minute + 1) as f64 / 60.0, copies as f64 / networks.len() as f64)
        };
        let mut series = Series::new(cell.label());
        series.points = (0..minutes).step_by(step).map(mean).collect();
        all.push(series);
    }
    let points = all.iter().flat_map(|series| &series.points);
    let hours = points.clone().map(|(hours, _)| *hours).fold(0.0, f64::max);
    let most = points.map(|(_, copies)| *copies).fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let axis = |label: &str, end: f64| {
        let ticks = round_ticks((0.0, end)).into_iter().map(|at| (at, tick(Unit::Count, at)));
        Axis {
            label: label.to_owned(),
            range: (0.0, end),
            logarithmic: false,
            ticks: ticks.collect(),
        }
    };
    let x = axis("hours after the first envelope", hours);
    let y = axis("copies", most * 1.1);
    Some(plot("Copies of all envelopes on honest disks", &x, &y, &all, &[]))
}

/// Steps of a distribution, thinned out evenly.
fn distribution(times: &[f64], all: usize) -> Vec<(f64, f64)> {
    let step = times.len().div_ceil(POINTS).max(1);
    let last = times.len() - 1;
    let kept = (0..times.len()).filter(|number| number % step == 0 || *number == last);
    kept.map(|number| (times[number], (number + 1) as f64 / all as f64)).collect()
}

fn share_axis(label: String, range: (f64, f64)) -> Axis {
    let ticks = round_ticks(range).into_iter().map(|at| (at, Unit::Share.show(at))).collect();
    Axis { label, range, logarithmic: false, ticks }
}

/// Every measure of interest against every swept key whose values are numbers.
fn sweeps(study: &StudySummary) -> Vec<(String, Drawing)> {
    let keys = study.cells.first().map(|cell| &cell.settings);
    let keys = keys.into_iter().flatten().map(|(key, _)| key.clone());
    let mut names = DRAWN.map(str::to_owned).to_vec();
    let expected = study.cells.iter().flat_map(|cell| &cell.expectations);
    for outcome in expected {
        if !names.contains(&outcome.measure) {
            names.push(outcome.measure.clone());
        }
    }
    let drawn = keys.flat_map(|key| {
        let named = |name: &String| {
            let drawing = sweep(study, &key, name)?;
            Some((format!("{name}-{}", key.replace('.', "_")), drawing))
        };
        names.iter().filter_map(named).collect::<Vec<_>>()
    });
    drawn.collect()
}

fn sweep(study: &StudySummary, key: &str, name: &str) -> Option<Drawing> {
    let measure = Measure::parse(name).ok()?;
    let mut series = Vec::<Series>::new();
    let mut positions = Vec::<(f64, String)>::new();
    for cell in &study.cells {
        let (_, text) = cell.settings.iter().find(|(swept, _)| swept == key)?;
        let at = number(text)?;
        let rest =
            cell.settings.iter().filter(|(swept, _)| swept != key).cloned().collect::<Vec<_>>();
        let rest = crate::scenario::grid::label(&rest);
        let Some(figure) = cell.figure(name) else { continue };
        let found = series.iter().position(|series| series.name == rest);
        let found = found.unwrap_or_else(|| {
            series.push(Series::new(rest));
            series.len() - 1
        });
        series[found].add(at, figure);
        if !positions.iter().any(|(known, _)| *known == at) {
            positions.push((at, text.clone()));
        }
    }
    if positions.len() < 2 {
        return None;
    }
    for series in &mut series {
        series.points.sort_by(|a, b| a.0.total_cmp(&b.0));
        series.band.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    let levels = levels(study, key, &measure);
    let range = extent(positions.iter().map(|(at, _)| *at));
    // What grows by factors, as networks do, is drawn by factors.
    let logarithmic = range.0 > 0.0 && range.1 >= 20.0 * range.0;
    let x = Axis { label: key.to_owned(), range, logarithmic, ticks: positions };
    let values =
        series.iter().flat_map(|series| &series.band).flat_map(|(_, low, high)| [*low, *high]);
    let y = height(&measure, values.chain(levels.iter().map(|level| level.at)));
    Some(plot(&format!("{name} against {key}"), &x, &y, &series, &levels))
}

impl Series {
    fn new(name: String) -> Self {
        Self { name, points: Vec::new(), band: Vec::new(), never: Vec::new() }
    }

    /// A further point with its band, or none if the figure is *never*.
    fn add(&mut self, at: f64, figure: &Figure) {
        let Some(mean) = figure.mean else { return self.never.push(at) };
        self.points.push((at, mean));
        self.band.push((at, figure.low.unwrap_or(mean), figure.high.unwrap_or(mean)));
    }
}

/// Goals where they hold, and what others have published.
fn levels(study: &StudySummary, key: &str, measure: &Measure) -> Vec<Level> {
    let mut levels = Vec::<Level>::new();
    for cell in &study.cells {
        let at =
            cell.settings.iter().find(|(swept, _)| swept == key).and_then(|(_, text)| number(text));
        for outcome in cell.expectations.iter().filter(|outcome| outcome.measure == measure.name())
        {
            let goals = [outcome.at_least, outcome.at_most].into_iter().flatten();
            let goals = goals.map(|goal| Level {
                name: outcome.bounds.clone(),
                at: goal,
                only: at,
                goal: true,
            });
            let source = outcome.source.clone().unwrap_or_else(|| "published".to_owned());
            let published = outcome.published.map(|published| Level {
                name: source,
                at: published,
                only: None,
                goal: false,
            });
            for level in goals.chain(published) {
                let known = |other: &Level| {
                    other.name == level.name && other.at == level.at && other.only == level.only
                };
                if !levels.iter().any(known) {
                    levels.push(level);
                }
            }
        }
    }
    levels
}

fn height(measure: &Measure, values: impl Iterator<Item = f64>) -> Axis {
    let (least, greatest) = extent(values);
    // Nothing but *never* has no height of its own.
    let (least, greatest) = if least.is_finite() { (least, greatest) } else { (0.0, 1.0) };
    let range = match measure.unit() {
        // A share near the whole is looked at from near by.
        Unit::Share => ((least - (1.0 - least) * 0.2).max(0.0), 1.0),
        Unit::Time | Unit::Count => (0.0, greatest * 1.1),
    };
    let range = if range.1 > range.0 { range } else { (range.0 - 0.01, range.1) };
    let ticks = round_ticks(range).into_iter().map(|at| (at, tick(measure.unit(), at))).collect();
    Axis { label: measure.name().to_owned(), range, logarithmic: false, ticks }
}

/// What is written beside an axis: counts with no more decimals than they have.
fn tick(unit: Unit, at: f64) -> String {
    let text = unit.show(at);
    match unit {
        Unit::Count if text.contains('.') => {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => text,
    }
}

fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    })
}

/// A swept value as a number: a count, a share in percent, or a time in seconds.
fn number(text: &str) -> Option<f64> {
    let share = text.strip_suffix('%').and_then(|number| number.parse().ok());
    let time =
        || crate::scenario::units::span(text).ok().map(|time| time.as_millis() as f64 / 1_000.0);
    share.or_else(|| text.parse().ok()).or_else(time)
}
