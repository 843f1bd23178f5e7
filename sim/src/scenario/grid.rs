//! Sweeps: keys with several values each, and the cells that are all their combinations.

use toml::{Table, Value};

use super::keys::Key;
use crate::plan::Plan;

/// Most cells of one sweep.
pub(super) const CELLS_MAX: usize = 10_000;

/// Swept keys with their values, in the order of the keys' names.
#[derive(Clone, Default)]
pub struct Grid {
    pub(super) axes: Vec<(&'static Key, Vec<Value>)>,
}

/// One combination.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Swept keys and what they are here; empty if nothing is swept.
    pub settings: Vec<(String, String)>,
    /// The plan that results.
    pub plan: Plan,
}

impl Grid {
    /// How many cells it has.
    pub fn len(&self) -> usize {
        self.axes.iter().fold(1, |cells, (_, values)| cells.saturating_mul(values.len()))
    }

    /// Whether nothing is swept.
    pub fn is_empty(&self) -> bool {
        self.axes.is_empty()
    }

    /// The swept keys.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.axes.iter().map(|(key, _)| key.name)
    }

    /// All combinations, the last key moving fastest. Values were read once already, so that none is
    /// refused here.
    pub(super) fn cells(&self, base: &Plan) -> Vec<Cell> {
        let start = vec![Cell { settings: Vec::new(), plan: base.clone() }];
        self.axes.iter().fold(start, |cells, (key, values)| {
            let with =
                |cell: &Cell| values.iter().map(|value| cell.with(key, value)).collect::<Vec<_>>();
            cells.iter().flat_map(with).collect()
        })
    }
}

impl Cell {
    fn with(&self, key: &Key, value: &Value) -> Self {
        let mut cell = self.clone();
        let read = key.read(&mut cell.plan, value);
        debug_assert!(read.is_ok(), "values of a grid were read before");
        cell.settings.push((key.name.to_owned(), key.show(&cell.plan)));
        cell
    }

    /// Its settings in one line.
    pub fn label(&self) -> String {
        label(&self.settings)
    }
}

/// Settings in one line.
pub fn label(settings: &[(String, String)]) -> String {
    settings.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

/// The leaves of a table of tables with their dotted names: `a.b = 1` and `"a.b" = 1` are the same.
pub(super) fn flat(table: &Table) -> Vec<(String, &Value)> {
    let mut leaves = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) => {
                let inner = flat(inner).into_iter();
                leaves.extend(inner.map(|(rest, value)| (format!("{name}.{rest}"), value)));
            }
            value => leaves.push((name.clone(), value)),
        }
    }
    leaves.sort_by(|a, b| a.0.cmp(&b.0));
    leaves
}
