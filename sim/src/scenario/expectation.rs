//! What an experiment must show, so that it is a test: `[[expect]]` in a scenario file.

use toml::{Table, Value};

use super::keys;
use crate::measure::{Measure, Unit};
use crate::plan::Plan;
use crate::statistics::{Estimate, Ratio};

/// A bound on the mean of a measure over networks.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// Of which figure.
    pub measure: Measure,
    /// The least it may be.
    pub at_least: Option<Ratio>,
    /// The greatest it may be.
    pub at_most: Option<Ratio>,
    /// The best figure that others have published, for comparison.
    pub published: Option<Ratio>,
    /// Whose figure that is, and where it stands.
    pub source: Option<String>,
    /// Keys and their values in a plan for which alone it is expected.
    pub conditions: Vec<(String, String)>,
}

/// So many trials without a failure mean 99.9 % (the rule of three): what a bound of 100 %, or of none at all, needs
/// to be shown.
const WHOLE_TRIALS: u64 = 3_000;

/// Keys of an `[[expect]]` entry.
const KEYS: [&str; 6] = ["measure", "at_least", "at_most", "published", "source", "where"];

impl Expectation {
    /// From a table of a scenario.
    ///
    /// # Errors
    /// The key and what is wrong about it.
    pub(super) fn parse(table: &Table) -> Result<Self, (String, String)> {
        if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
            let nearest = keys::nearest(key, KEYS).unwrap_or_default();
            return Err((
                key.clone(),
                format!("is no key of an expectation; did you mean {nearest}?"),
            ));
        }
        let measure = keys::text(table.get("measure").unwrap_or(&Value::Boolean(false)));
        let measure =
            measure.and_then(|name| Measure::parse(&name)).map_err(wrong("measure", table))?;
        let bound = |key: &str| {
            let value = table.get(key);
            let read = |value| keys::text(value).and_then(|text| measure.unit().read(&text));
            value.map(read).transpose().map_err(wrong(key, table))
        };
        let (at_least, at_most, published) =
            (bound("at_least")?, bound("at_most")?, bound("published")?);
        if at_least.is_none() && at_most.is_none() {
            return Err((
                "at_least".to_owned(),
                "is missing, as is at_most; write one of them".to_owned(),
            ));
        }
        if at_most.is_some_and(|most| at_least > Some(most)) {
            let what = "is more than at_most, so that nothing could be within both".to_owned();
            return Err(("at_least".to_owned(), what));
        }
        let source =
            table.get("source").map(keys::text).transpose().map_err(wrong("source", table))?;
        let conditions = conditions(table)?;
        Ok(Self { measure, at_least, at_most, published, source, conditions })
    }

    /// Whether it says something about this plan.
    pub fn is_about(&self, plan: &Plan) -> bool {
        let holds = |(name, value): &(String, String)| {
            keys::key(name).is_some_and(|key| key.show(plan) == *value)
        };
        self.conditions.iter().all(holds)
    }

    /// Whether what was found satisfies it; what never came satisfies nothing. The mean decides, but what may be
    /// no more than the whole may be more in no network.
    pub fn is_met(&self, found: Option<&Estimate>) -> bool {
        found.is_some_and(|found| {
            let is_within = |bound| !self.is_whole(bound) || found.greatest <= bound.value();
            self.at_least.is_none_or(|bound| found.mean >= bound)
                && self.at_most.is_none_or(|bound| found.mean <= bound && is_within(bound))
        })
    }

    /// Whether the interval says so too: its near end is within the bounds. No interval is ever narrow enough for a
    /// bound at the end of what is possible, 100 % or none at all: that is shown by so many independent trials that
    /// nothing but one in a thousand can have been overlooked.
    pub fn is_shown(&self, interval: Option<(f64, f64)>, trials: u64) -> bool {
        let is_end = |bound: Ratio| bound.value() <= 0.0 || self.is_whole(bound);
        let holds = |bound: Ratio, is_low: bool| match interval {
            _ if is_end(bound) => trials >= WHOLE_TRIALS,
            Some((low, _)) if is_low => low >= bound.value(),
            Some((_, high)) => high <= bound.value(),
            None => false,
        };
        self.at_least.is_none_or(|bound| holds(bound, true))
            && self.at_most.is_none_or(|bound| holds(bound, false))
    }

    fn is_whole(&self, bound: Ratio) -> bool {
        self.measure.unit() == Unit::Share && bound.value() >= 1.0
    }

    /// Its bounds for people, as in `≥ 99.9 %`.
    pub fn bounds(&self) -> String {
        let show = |sign: &str, bound: Option<Ratio>| {
            bound.map(|bound| format!("{sign} {}", self.measure.unit().show(bound.value())))
        };
        let bounds = [show("≥", self.at_least), show("≤", self.at_most)];
        bounds.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

fn wrong(key: &str, table: &Table) -> impl FnOnce(String) -> (String, String) {
    let shown = table.get(key).map_or("is missing".to_owned(), |value| format!("= {value}"));
    let key = key.to_owned();
    move |instead| (key, format!("{shown}: {instead}"))
}

fn conditions(table: &Table) -> Result<Vec<(String, String)>, (String, String)> {
    let Some(table) = table.get("where") else { return Ok(Vec::new()) };
    let Value::Table(table) = table else {
        return Err((
            "where".to_owned(),
            "is no table; write { adversary.share = \"30%\" }".to_owned(),
        ));
    };
    let mut conditions = Vec::new();
    for (name, value) in super::grid::flat(table) {
        let Some(key) = keys::key(&name) else {
            let nearest = keys::nearest_key(&name);
            return Err((
                format!("where.{name}"),
                format!("is no key of a plan; did you mean {nearest}?"),
            ));
        };
        let mut plan = Plan::default();
        key.read(&mut plan, value)
            .map_err(|instead| (format!("where.{name}"), format!("= {value}: {instead}")))?;
        for names in [&plan.adversary.behaviours, &plan.network.behaviours] {
            keys::check_behaviours(names).map_err(|what| (format!("where.{name}"), what))?;
        }
        conditions.push((name, key.show(&plan)));
    }
    Ok(conditions)
}
