//! Scenario files: one experiment as text, and everything that may be wrong about it.
//!
//! [`Scenario::parse`] takes the text and the overrides of the command line, which go through the same
//! reading. Nothing here opens a file; `sim/README.md` documents the format.

pub mod expectation;
pub mod grid;
pub mod keys;
pub mod units;

use std::collections::{BTreeMap, BTreeSet};

use comm_proto::time::Span;
use thiserror::Error;
use toml::{Table, Value};

use crate::behaviour::{self, Kind};
use crate::cast::used_hosts;
use crate::ip_plan::{GROUPS_MAX, HOSTS_MAX};
use crate::plan::{Aim, Crypto, Mailboxes, Millionths, Place, Plan, Traffic};
use crate::regions::Regions;
use crate::sessions::Sessions;
use crate::weibull::LONGEST;
use expectation::Expectation;
use grid::{Cell, Grid};
use keys::KEYS;

/// The version of the format that this program reads.
const SCHEMA: i64 = 1;
/// Most envelopes for each honest relay: half of what the bound of client connections allows, so that
/// whoever is drawn finds a relay with room.
const LETTERS_EACH: usize = 256;
/// Most values that a message names.
const SHOWN_MAX: usize = 8;
/// So many times as many ids as other relays may be beside addresses.
const IDS_TIMES: usize = 10;
/// What is wrong with a list of the command line that is none, most of the time.
const UNQUOTED: &str = "is no list; a shell takes double quotes away unless all stands in single ones, \
    as in --set 'adversary.behaviours=[\"mute\"]'";
/// What may stand at the top of a file.
const TOP: [&str; 13] = [
    "schema",
    "id",
    "title",
    "about",
    "notes",
    "network",
    "protocol",
    "traffic",
    "adversary",
    "churn",
    "run",
    "expect",
    "grid",
];

/// One experiment.
pub struct Scenario {
    /// Which experiment it is, such as `E20`; empty if none.
    pub id: String,
    /// Its name for people.
    pub title: String,
    /// What it is about.
    pub about: String,
    /// Why it misses what it misses, and what was tried; for `docs/experiments.md`.
    pub notes: String,
    /// What is run when nothing is swept.
    pub plan: Plan,
    /// What is swept.
    pub grid: Grid,
    /// What it must show.
    pub expectations: Vec<Expectation>,
    /// Files of sessions that were read, by the names they have in it.
    sessions: BTreeMap<String, Sessions>,
    /// The same of files of latencies.
    regions: BTreeMap<String, Regions>,
    file: String,
}

/// What is wrong with a scenario: where, and what to write instead.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{origin}: {what}")]
pub struct ScenarioError {
    origin: String,
    what: String,
}

/// A scenario while it is read.
struct Reader<'a> {
    file: &'a str,
    /// Keys that came from the command line, and in which words.
    overridden: BTreeMap<String, &'a str>,
}

impl Scenario {
    /// Reads the text of a file (whose name is for messages alone), with overrides of the form
    /// `network.nodes=500`.
    ///
    /// # Errors
    /// The first thing that is wrong, with its file, key and value.
    pub fn parse(file: &str, text: &str, overrides: &[String]) -> Result<Self, ScenarioError> {
        let mut reader = Reader { file, overridden: BTreeMap::new() };
        let syntax = |error: toml::de::Error| {
            reader.error(format!("is no TOML: {}", error.to_string().trim()))
        };
        let mut table = text.parse::<Table>().map_err(syntax)?;
        for setting in overrides {
            reader.put(&mut table, setting)?;
        }
        reader.scenario(&table)
    }

    /// What is swept, every combination; one cell if nothing is.
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells = self.grid.cells(&self.plan);
        cells.iter_mut().for_each(|cell| self.fill(&mut cell.plan));
        cells
    }

    /// The plan alone, as a cell.
    pub fn single(&self) -> Cell {
        let mut plan = self.plan.clone();
        self.fill(&mut plan);
        Cell { settings: Vec::new(), plan }
    }

    /// Names of files with sessions or latencies, which [`Self::attach`] wants before anything is run.
    pub fn traces(&self) -> BTreeSet<String> {
        self.names(|plan| Some(plan.churn.trace?.name))
            .chain(self.names(|plan| Some(plan.network.regions?.name)))
            .collect()
    }

    fn names(&self, of: fn(Plan) -> Option<String>) -> impl Iterator<Item = String> {
        let cells = self.cells().into_iter().chain([self.single()]);
        cells.filter_map(move |cell| of(cell.plan))
    }

    /// Takes the texts of files with sessions or latencies, by the names they have in the scenario.
    ///
    /// # Errors
    /// A file that is missing or wrong.
    pub fn attach(mut self, files: &BTreeMap<String, String>) -> Result<Self, ScenarioError> {
        let error = |what| ScenarioError { origin: self.file.clone(), what };
        let text = |key: &str, name: &str| {
            files.get(name).ok_or_else(|| error(format!("{key}: {name} is missing")))
        };
        let (mut sessions, mut regions) = (BTreeMap::new(), BTreeMap::new());
        for name in self.names(|plan| Some(plan.churn.trace?.name)) {
            let read = Sessions::parse(&name, text("churn.trace", &name)?).map_err(&error)?;
            sessions.insert(name, read);
        }
        for name in self.names(|plan| Some(plan.network.regions?.name)) {
            let read = Regions::parse(&name, text("network.regions", &name)?).map_err(&error)?;
            regions.insert(name, read);
        }
        (self.sessions, self.regions) = (sessions, regions);
        Ok(self)
    }

    /// Puts what was read in the place of a name.
    fn fill(&self, plan: &mut Plan) {
        let trace = plan.churn.trace.as_ref();
        if let Some(sessions) = trace.and_then(|trace| self.sessions.get(&trace.name)) {
            plan.churn.trace = Some(sessions.clone());
        }
        let regions = plan.network.regions.as_ref();
        if let Some(regions) = regions.and_then(|regions| self.regions.get(&regions.name)) {
            plan.network.regions = Some(regions.clone());
        }
    }
}

impl<'a> Reader<'a> {
    fn error(&self, what: String) -> ScenarioError {
        ScenarioError { origin: self.file.to_owned(), what }
    }

    /// An error about a key, which may come from the command line.
    fn error_at(&self, key: &str, what: &str) -> ScenarioError {
        match self.overridden.get(key) {
            Some(setting) => {
                ScenarioError { origin: format!("--set {setting}"), what: format!("{key} {what}") }
            }
            None => self.error(format!("{key} {what}")),
        }
    }

    /// Puts an override into the table, as if it stood in the file. A swept key is no longer swept.
    fn put(&mut self, table: &mut Table, setting: &'a str) -> Result<(), ScenarioError> {
        let refused = |what: &str| ScenarioError {
            origin: format!("--set {setting}"),
            what: what.to_owned(),
        };
        let form = "write KEY=VALUE, such as network.nodes=500";
        let (name, text) = setting.split_once('=').ok_or_else(|| refused(form))?;
        let (name, text) = (name.trim(), text.trim());
        self.overridden.insert(name.to_owned(), setting);
        if TOP.contains(&name) || name.is_empty() {
            return Err(refused(form));
        }
        self.known(name.strip_prefix("grid.").unwrap_or(name), name)?;
        let (place, field) = name.split_once('.').ok_or_else(|| refused(form))?;
        let parsed = format!("value = {text}").parse::<Table>().ok();
        if parsed.is_none() && text.starts_with('[') {
            return Err(refused(UNQUOTED));
        }
        // What is no value of TOML is a text whose quotes were left out.
        let value = parsed.and_then(|mut table| table.remove("value"));
        let value = value.unwrap_or_else(|| Value::String(text.to_owned()));
        if let Some(Value::Table(grid)) = table.get_mut("grid") {
            remove(grid, name.strip_prefix("grid.").unwrap_or(name));
        }
        let place = table.entry(place).or_insert_with(|| Value::Table(Table::new()));
        let place = place.as_table_mut().ok_or_else(|| refused("is no table in the file"))?;
        place.insert(field.to_owned(), value);
        Ok(())
    }

    fn scenario(&self, table: &Table) -> Result<Scenario, ScenarioError> {
        if let Some(key) = table.keys().find(|key| !TOP.contains(&key.as_str())) {
            let nearest = keys::nearest(key, TOP).unwrap_or_default();
            let in_table =
                KEYS.iter().map(|known| known.name).find(|name| keys::field(name) == key);
            let meant = in_table.unwrap_or(nearest);
            return Err(self.error(format!("{key} is no key of a scenario; did you mean {meant}?")));
        }
        self.schema(table)?;
        let plan = self.plan(table)?;
        let grid = self.grid(table, &plan)?;
        let scenario = Scenario {
            id: self.line(table, "id")?,
            title: self.line(table, "title")?,
            about: self.line(table, "about")?,
            notes: self.line(table, "notes")?,
            expectations: self.expectations(table)?,
            sessions: BTreeMap::new(),
            regions: BTreeMap::new(),
            file: self.file.to_owned(),
            plan,
            grid,
        };
        self.check(&scenario.plan)?;
        scenario.cells().iter().try_for_each(|cell| self.check(&cell.plan))?;
        self.check_expectations(&scenario)?;
        Ok(scenario)
    }

    fn schema(&self, table: &Table) -> Result<(), ScenarioError> {
        match table.get("schema") {
            Some(Value::Integer(SCHEMA)) => Ok(()),
            Some(other) => {
                Err(self
                    .error(format!("schema = {other}: this program reads schema {SCHEMA} alone")))
            }
            None => Err(self.error(format!("schema is missing; write schema = {SCHEMA}"))),
        }
    }

    fn line(&self, table: &Table, key: &str) -> Result<String, ScenarioError> {
        match table.get(key) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.trim().to_owned()),
            Some(other) => Err(self.error(format!("{key} = {other}: write a text in quotes"))),
        }
    }

    fn plan(&self, table: &Table) -> Result<Plan, ScenarioError> {
        let mut plan = Plan::default();
        for place in ["network", "protocol", "traffic", "adversary", "churn", "run"] {
            let Some(fields) = table.get(place) else { continue };
            let Value::Table(fields) = fields else {
                return Err(self.error(format!("{place} = {fields}: write a table, [{place}]")));
            };
            for (field, value) in fields {
                let name = format!("{place}.{field}");
                self.read(&mut plan, &name, &name, value)?;
            }
        }
        Ok(plan)
    }

    /// Reads one value into the plan; `at` is where it stands.
    fn read(
        &self,
        plan: &mut Plan,
        name: &str,
        at: &str,
        value: &Value,
    ) -> Result<(), ScenarioError> {
        let key = self.known(name, at)?;
        let read = key.read(plan, value);
        read.map_err(|instead| self.error_at(at, &format!("= {value}: {instead}")))
    }

    fn known(&self, name: &str, at: &str) -> Result<&'static keys::Key, ScenarioError> {
        keys::key(name).ok_or_else(|| {
            let nearest = keys::nearest_key(name);
            self.error_at(at, &format!("is no key of a scenario; did you mean {nearest}?"))
        })
    }

    fn grid(&self, table: &Table, plan: &Plan) -> Result<Grid, ScenarioError> {
        let mut grid = Grid::default();
        let Some(axes) = table.get("grid") else { return Ok(grid) };
        let Value::Table(axes) = axes else {
            return Err(self.error(format!("grid = {axes}: write a table, [grid]")));
        };
        for (name, values) in grid::flat(axes) {
            let at = format!("grid.{name}");
            let key = self.known(&name, &at)?;
            if ["run.seed", "run.networks"].contains(&key.name) {
                return Err(self.error_at(&at, "cannot be swept; every cell is run with all seeds"));
            }
            let list = values.as_array().filter(|list| !list.is_empty());
            let list = list.ok_or_else(|| {
                self.error_at(
                    &at,
                    &format!("= {values}: write a list of values, such as [\"10%\", \"30%\"]"),
                )
            })?;
            list.iter().try_for_each(|value| self.read(&mut plan.clone(), &name, &at, value))?;
            grid.axes.push((key, list.clone()));
        }
        if grid.len() > grid::CELLS_MAX {
            return Err(self.error(format!(
                "grid has {} cells; {} are possible",
                grid.len(),
                grid::CELLS_MAX
            )));
        }
        Ok(grid)
    }

    fn expectations(&self, table: &Table) -> Result<Vec<Expectation>, ScenarioError> {
        let Some(entries) = table.get("expect") else { return Ok(Vec::new()) };
        let entries = entries
            .as_array()
            .map(|list| list.iter().map(Value::as_table).collect::<Option<Vec<_>>>());
        let Some(Some(entries)) = entries else {
            return Err(self.error("expect is no list of tables; write [[expect]]".to_owned()));
        };
        let numbered = entries.into_iter().zip(1..);
        let parse = |(entry, number): (&Table, usize)| {
            let parsed = Expectation::parse(entry);
            parsed.map_err(|(key, what)| self.error(format!("expect {number}: {key} {what}")))
        };
        numbered.map(parse).collect()
    }

    /// Whether every expectation is about some cell; whoever runs others than those of the file may want fewer.
    fn check_expectations(&self, scenario: &Scenario) -> Result<(), ScenarioError> {
        // More or other networks are no other cells.
        let is_extent = |key: &&String| ["run.networks", "run.seed"].contains(&key.as_str());
        if !self.overridden.keys().all(|key| is_extent(&key)) {
            return Ok(());
        }
        let cells = scenario.cells();
        let numbered = scenario.expectations.iter().zip(1..);
        let conditions = numbered
            .flat_map(|(wish, number)| wish.conditions.iter().map(move |one| (number, one)));
        // Cells are all combinations: what each condition alone finds, all together find.
        for (number, (name, wanted)) in conditions {
            let found: BTreeSet<_> =
                cells.iter().filter_map(|cell| shown(name, &cell.plan)).collect();
            if !found.contains(wanted) {
                let found = found.into_iter().take(SHOWN_MAX).collect::<Vec<_>>().join(" or ");
                let whole = if scenario.grid.is_empty() { "the plan" } else { "cells of the grid" };
                return Err(self.error(format!(
                    "expect {number}: where.{name} = {wanted} is true of no cell, so that nothing would be expected; \
                     in {whole} it is {found}"
                )));
            }
        }
        Ok(())
    }

    /// What no single key can know.
    fn check(&self, plan: &Plan) -> Result<(), ScenarioError> {
        if plan.traffic.away != Span::ZERO && plan.traffic.away >= plan.traffic.ttl {
            let what = "is not shorter than traffic.ttl: recipients would come back to nothing";
            return Err(self.error_at("traffic.away", what));
        }
        let spacing = u128::from(plan.traffic.spacing.as_millis());
        let sending = spacing * plan.traffic.envelopes as u128;
        let rest = [plan.run.settle, plan.traffic.away, plan.run.look].map(Span::as_millis);
        let all = sending + rest.map(u128::from).iter().sum::<u128>();
        if all > u128::from(LONGEST.as_millis()) {
            let what = "would send for years: with run.settle, traffic.away and run.look it is more than 3650d";
            return Err(self.error_at("traffic.spacing", what));
        }
        self.check_room(plan)?;
        if plan.run.seed.checked_add(plan.run.networks).is_none() {
            return Err(self
                .error_at("run.seed", "leaves no room for so many networks; write a smaller one"));
        }
        if plan.adversary.share > Millionths::default() && plan.adversary.behaviours.is_empty() {
            let what = "is given, but nothing that they do; write adversary.behaviours too";
            return Err(self.error_at("adversary.share", what));
        }
        self.check_hosts(plan)?;
        self.check_names("adversary.behaviours", &plan.adversary.behaviours)?;
        self.check_names("network.behaviours", &plan.network.behaviours)?;
        self.check_pace(plan)?;
        self.check_place(plan)?;
        self.check_crypto(plan)
    }

    /// Whether all people find room at honest relays.
    fn check_room(&self, plan: &Plan) -> Result<(), ScenarioError> {
        let theirs = match plan.adversary.place {
            Place::Random => plan.adversary.share.of(plan.network.nodes),
            Place::Entries | Place::SendersEntries => 0,
        };
        let honest = plan.network.nodes.saturating_sub(theirs).max(2);
        let used = used_hosts(plan, honest);
        if plan.traffic.envelopes > LETTERS_EACH * used {
            let whose = if used < honest { "that people use" } else { "honest relays" };
            let what = format!(
                "= {}: a relay serves 1,000 people, and each envelope has two of its own; write at most {} for {used} {whose}",
                plan.traffic.envelopes,
                LETTERS_EACH * used
            );
            return Err(self.error_at("traffic.envelopes", &what));
        }
        let Traffic { pairs, envelopes, .. } = plan.traffic;
        if pairs > envelopes {
            let what = format!(
                "= {pairs}: more than envelopes, so that some would never write; write at most {envelopes}"
            );
            return Err(self.error_at("traffic.pairs", &what));
        }
        Ok(())
    }

    /// Whether all relays and ids have addresses.
    fn check_hosts(&self, plan: &Plan) -> Result<(), ScenarioError> {
        let ids = plan.adversary.ids;
        if ids > 0 && (plan.traffic.pairs == 0 || plan.adversary.behaviours.is_empty()) {
            let what = "lie beside the addresses of pairs and do something there; write traffic.pairs and \
                adversary.behaviours too";
            return Err(self.error_at("adversary.ids", what));
        }
        if ids.saturating_mul(plan.traffic.pairs) > plan.network.nodes.saturating_mul(IDS_TIMES) {
            let what = format!(
                "would be {IDS_TIMES} times as many as all relays; write fewer, or fewer traffic.pairs"
            );
            return Err(self.error_at("adversary.ids", &what));
        }
        let of_both =
            plan.traffic.mailboxes == Mailboxes::Conversation && plan.adversary.aim != Aim::Seen;
        let addresses = plan.traffic.pairs.saturating_mul(1 + usize::from(of_both));
        let hosts = ids.saturating_mul(addresses).saturating_add(plan.network.nodes);
        if hosts > HOSTS_MAX {
            let what = format!(
                "makes {hosts} relays in all; write fewer, so that they are {HOSTS_MAX} at most"
            );
            return Err(self.error_at("adversary.ids", &what));
        }
        if hosts / plan.network.group >= GROUPS_MAX {
            let what = format!("makes more than {GROUPS_MAX} groups; write a larger one");
            return Err(self.error_at("network.group", &what));
        }
        Ok(())
    }

    /// Whether those who call of their own accord can make as many calls as they are to.
    fn check_pace(&self, plan: &Plan) -> Result<(), ScenarioError> {
        let adversary = &plan.adversary;
        let mut names = adversary.behaviours.iter().filter_map(|name| Kind::find(name));
        if adversary.effort == 0 || !names.any(Kind::calls_of_its_own) {
            return Ok(());
        }
        if plan.traffic.spacing == Span::ZERO {
            let what = "is 0s, and adversary.effort counts calls for each envelope; write a longer spacing, or adversary.effort = 0";
            return Err(self.error_at("traffic.spacing", what));
        }
        let beside = if plan.traffic.mailboxes == Mailboxes::Conversation { 2 } else { 1 };
        let ids = adversary.ids.saturating_mul(plan.traffic.pairs).saturating_mul(beside);
        let all = adversary.share.of(plan.network.nodes).saturating_add(ids) as u64;
        let most = plan.traffic.spacing.times(all).as_millis();
        if adversary.place == Place::Random && all > 0 && adversary.effort as u64 > most {
            let what = format!(
                "= {}: each adversary would call more than once a millisecond; write at most {most}",
                adversary.effort
            );
            return Err(self.error_at("adversary.effort", &what));
        }
        Ok(())
    }

    /// Whether all that adversaries do can be done by entries.
    fn check_place(&self, plan: &Plan) -> Result<(), ScenarioError> {
        let names = &plan.adversary.behaviours;
        let mut kinds = names.iter().filter_map(|name| Kind::find(name));
        let idle = kinds.find(|kind| !kind.serves_as_entry());
        let (Some(idle), false) = (idle, plan.adversary.place == Place::Random) else {
            return Ok(());
        };
        let able = behaviour::ALL.iter().filter(|kind| kind.serves_as_entry());
        let able: Vec<_> = able.map(|kind| kind.name).collect();
        let what = format!(
            "are the places of entries, where \"{}\" does nothing; write another place, or behaviours of these: {}",
            idle.name,
            able.join(", ")
        );
        Err(self.error_at("adversary.place", &what))
    }

    fn check_crypto(&self, plan: &Plan) -> Result<(), ScenarioError> {
        let names = plan.adversary.behaviours.iter().chain(&plan.network.behaviours);
        let verified = names.filter_map(|name| Kind::find(name)).find(|kind| kind.is_verified());
        match verified {
            Some(kind) if plan.run.crypto == Crypto::Model => {
                let what = format!(
                    "is \"model\", where no signature can be verified, and \"{}\" says what is to be; \
                     write run.crypto = \"real\"",
                    kind.name
                );
                Err(self.error_at("run.crypto", &what))
            }
            _ => Ok(()),
        }
    }

    fn check_names(&self, key: &str, names: &[String]) -> Result<(), ScenarioError> {
        keys::check_behaviours(names).map_err(|what| self.error_at(key, &what))
    }
}

/// The value of a key in a plan.
fn shown(name: &str, plan: &Plan) -> Option<String> {
    keys::key(name).map(|key| key.show(plan))
}

/// Removes a dotted key, however its dots were written.
fn remove(table: &mut Table, name: &str) {
    table.remove(name);
    if let Some((place, field)) = name.split_once('.')
        && let Some(Value::Table(inner)) = table.get_mut(place)
    {
        inner.remove(field);
    }
}

#[cfg(test)]
mod tests;
