//! Envelopes that were not delivered by the end: how many, some of them by name, and the command that tells what
//! became of each.

use serde::Serialize;

use super::Study;
use super::network::Network;

/// Envelopes that are named.
const NAMED_MAX: usize = 3;

/// Of one cell.
#[derive(Serialize)]
pub struct Lost {
    /// How many, in all networks.
    pub count: usize,
    /// Some of them, the first of as many networks as possible.
    pub some: Vec<One>,
}

/// One envelope.
#[derive(Serialize)]
pub struct One {
    /// Of its network.
    pub seed: u64,
    /// Its number there, from 0 in the order of sending.
    pub envelope: usize,
    /// The first digits of its id.
    pub id: String,
    /// The command that tells what became of it.
    pub replay: String,
}

impl Lost {
    pub(super) fn new(study: &Study, settings: &[(String, String)], networks: &[&Network]) -> Self {
        let mut found = Vec::new();
        for network in networks {
            let fates = network.fates().into_iter().enumerate();
            let lost = fates.filter(|(_, fate)| fate.delivered.is_none());
            found.extend((1..).zip(lost).map(|(nth, (number, fate))| {
                let seed = network.seed;
                (nth, One { seed, envelope: number, id: fate.id, replay: String::new() })
            }));
        }
        let count = found.len();
        found.sort_by_key(|(nth, _)| *nth);
        let named = found.into_iter().map(|(_, one)| one).filter(|one| !one.id.is_empty());
        let some = named.take(NAMED_MAX).map(|one| {
            let replay = command(study, settings, &one);
            One { replay, ..one }
        });
        Self { count, some: some.collect() }
    }
}

fn command(study: &Study, settings: &[(String, String)], one: &One) -> String {
    let identity = &study.manifest.identity;
    let swept = settings.iter().map(|(key, value)| format!("{key}={value}"));
    let set = identity.overrides.iter().cloned().chain(swept);
    let set = set.map(|setting| format!(" --set '{setting}'")).collect::<String>();
    format!("comm-sim replay {} {}{set} --about {}", one.seed, identity.scenario.file, one.id)
}
