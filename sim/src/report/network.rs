//! One network's result as it is kept on disk.

use std::collections::BTreeMap;

use comm_proto::time::Span;
use serde::{Deserialize, Serialize};

use crate::measure::Seen;
use crate::measured::{Fate, Measured, Minute, Standing};
use crate::scenario::grid::Cell;

/// What was seen in one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Swept keys and what they were.
    pub settings: Vec<(String, String)>,
    /// From which it was drawn.
    pub seed: u64,
    /// Relays.
    pub nodes: usize,
    /// Of those, the adversary's.
    pub adversaries: usize,
    /// Messages between nodes by kind.
    pub messages: BTreeMap<String, u64>,
    /// Messages lost on their way.
    pub lost: u64,
    /// How it stood before the first envelope.
    pub standing: Standing,
    /// The most bytes on an honest relay's disk, and its budget.
    pub fullest: (u64, u64),
    /// Minute after minute from the first envelope on.
    pub minutes: Vec<Minute>,
    /// Inputs handled.
    pub events: u64,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// The hash over everything that happened.
    pub trace: String,
    /// Fates of all envelopes.
    rows: Vec<Row>,
    /// The first digits of their ids.
    #[serde(default)]
    ids: Vec<String>,
}

/// Milliseconds until accepted, copied, stored, delivered, acknowledged and copied in the region; messages, bodies,
/// left; subscriptions, milliseconds of storage, of ideal storage, wronged, theirs, forged, milliseconds to come,
/// evicted;
/// whether the first attempt and the first submission succeeded.
type Row = ([Option<u64>; 6], u64, u64, u64, [u64; 8], [bool; 2]);

impl Network {
    /// From what was measured in a cell.
    pub fn new(cell: &Cell, measured: &Measured) -> Self {
        let kinds = measured.messages.iter();
        Self {
            settings: cell.settings.clone(),
            seed: measured.seed,
            nodes: measured.nodes,
            adversaries: measured.adversaries,
            messages: kinds.map(|(kind, count)| ((*kind).to_owned(), *count)).collect(),
            lost: measured.lost,
            standing: measured.standing.clone(),
            fullest: measured.fullest,
            minutes: measured.minutes.clone(),
            events: measured.events,
            simulated_ms: measured.simulated.as_millis(),
            trace: measured.trace.clone(),
            rows: measured.envelopes.iter().map(row).collect(),
            ids: measured.envelopes.iter().map(|fate| fate.id.clone()).collect(),
        }
    }

    /// As the text of a file.
    pub fn to_json(&self) -> String {
        // Compact: most of it are rows of numbers.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// From the text of a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// What figures are made from.
    pub fn seen(&self) -> Seen {
        Seen { fates: self.fates(), standing: self.standing.clone(), fullest: self.fullest }
    }

    /// Fates of all envelopes in the order in which they were sent.
    pub fn fates(&self) -> Vec<Fate> {
        let ids = self.ids.iter().cloned().chain(std::iter::repeat(String::new()));
        self.rows.iter().zip(ids).map(|(row, id)| Fate { id, ..fate(row) }).collect()
    }
}

fn row(fate: &Fate) -> Row {
    let times = fate.times().map(|time| time.map(Span::as_millis));
    let (storage, ideal) = (fate.storage.as_millis(), fate.ideal_storage.as_millis());
    let to_come = fate.to_come.as_millis();
    let Fate { subscriptions, wronged, theirs, forged, evicted, .. } = *fate;
    let more = [subscriptions, storage, ideal, wronged, theirs, forged, to_come, evicted];
    let first = [fate.first_attempt, fate.first_submission];
    (times, fate.messages, fate.bodies, fate.left, more, first)
}

fn fate(row: &Row) -> Fate {
    let (times, messages, bodies, left, more, [first_attempt, first_submission]) = *row;
    let [subscriptions, storage, ideal_storage, wronged, theirs, forged, to_come, evicted] = more;
    let [accepted, copied, stored, delivered, acknowledged, region_copied] =
        times.map(|time| time.map(Span::from_millis));
    Fate {
        id: String::new(),
        accepted,
        copied,
        region_copied,
        stored,
        delivered,
        acknowledged,
        messages,
        subscriptions,
        bodies,
        left,
        storage: Span::from_millis(storage),
        ideal_storage: Span::from_millis(ideal_storage),
        to_come: Span::from_millis(to_come),
        first_attempt,
        first_submission,
        forged,
        wronged,
        theirs,
        evicted,
    }
}
