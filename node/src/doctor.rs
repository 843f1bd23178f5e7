//! What is wrong with a relay, and what to do about it: what `comm-node doctor` shows.
//!
//! Entry types are [`Measured`], which [`measure`] fills, and [`diagnosed`], which says what follows. The
//! second is a function of the first and of nothing else, so that each finding has a test.

mod configuration;
mod finding;
mod machine;
mod measure;
mod outside;
mod reach;

use std::net::SocketAddr;

use crate::config::NodeConfig;
use crate::status::{Report, Volume};

pub use finding::{Diagnosis, Finding, Shown, State, Style};
pub use machine::{Guarded, OpenFiles, Syncs};
pub use measure::measure;
pub use reach::Told;

use finding::Finding as F;
use reach::{Case, Family};

/// All that was measured of a relay and its machine.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The configuration that was given.
    pub config: NodeConfig,
    /// The relay that runs by it; why none answers, if none does.
    pub relay: Result<Running, String>,
    /// The disk on which its data directory is; why it was not measured.
    pub disk: Result<Syncs, String>,
    /// Bytes that this disk has left.
    pub free_bytes: Option<u64>,
    /// Bytes that the store takes.
    pub store_bytes: u64,
    /// What of the data directory others must not open; nothing while it is not there.
    pub files: Vec<Guarded>,
    /// Bytes of memory that programs may still have.
    pub memory_available: Option<u64>,
}

/// A relay that answers.
#[derive(Clone, Debug)]
pub struct Running {
    /// How it says that it is.
    pub report: Report,
    /// What it has found out for this; why it has not.
    pub examined: Result<Examined, String>,
}

/// What a relay finds out when it is asked to.
#[derive(Clone, Debug)]
pub struct Examined {
    /// Where it listens for others.
    pub listening: Vec<SocketAddr>,
    /// Whom it has asked how they see it.
    pub asked: Vec<Told>,
    /// Files that it has open.
    pub files: OpenFiles,
    /// Bytes of memory that it has.
    pub memory_bytes: u64,
}

/// What follows from what was measured.
pub fn diagnosed(measured: &Measured) -> Diagnosis {
    let report = measured.relay.as_ref().ok().map(|running| &running.report);
    let examined = measured.relay.as_ref().ok().and_then(|running| running.examined.as_ref().ok());
    let asked = examined.map_or(&[][..], |examined| &examined.asked);
    let mut findings = vec![running(&measured.relay)];
    match report.and_then(|report| report.volume).filter(|volume| volume.hibernates_until.is_some())
    {
        Some(volume) => findings.push(hibernation(volume)),
        None => {
            findings.extend(report.map(|report| network(report, asked)));
            findings.extend(examined.zip(report).map(seen).unwrap_or_default());
            findings.extend(report.map(begins).unwrap_or_default());
        }
    }
    findings.push(machine::clock(asked, report.map(|report| report.clock_ahead_seconds)));
    let syncs = report.and_then(|report| report.syncs.as_ref());
    findings.push(machine::disk_speed(&measured.disk, syncs));
    findings.push(space(measured, report));
    findings.extend(examined.map(|examined| machine::open_files(&examined.files)));
    let memory = examined.map(|examined| examined.memory_bytes);
    findings.push(machine::memory(memory, measured.memory_available));
    findings.push(machine::data_dir(&measured.config.data_dir, &measured.files));
    let peers = report.map(|report| report.table.nodes);
    findings.extend(configuration::hints(&measured.config, asked, peers));
    Diagnosis::of(findings)
}

fn running(relay: &Result<Running, String>) -> Finding {
    const CHECK: &str = "relay";
    match relay {
        Err(reason) => F::problem(CHECK, reason.clone()).with(
            "start it, or name its data directory or configuration; its log says why it ended",
        ),
        Ok(Running { report, examined: Err(reason) }) => {
            let found = format!("{} runs and cannot be examined: {reason}", report.version);
            F::unknown(CHECK, found).with("if it is older than this program, restart it")
        }
        Ok(Running { report, .. }) => {
            F::good(CHECK, format!("{} runs as {}", report.version, report.address))
        }
    }
}

/// It calls nobody and is called by nobody, as its owner wants it.
fn hibernation(volume: Volume) -> Finding {
    F::notice("traffic", volume.to_string()).with(
        "it wakes by itself; to have it awake now, raise `traffic.volume_max` and reload it; what it tells of others is old",
    )
}

/// Whom it knows, and whom it reaches now: nodes of its table count as good for a while when they are gone.
fn network(report: &Report, asked: &[Told]) -> Finding {
    const CHECK: &str = "network";
    let table = report.table;
    let advice = "see whether this machine is online and lets connections out, and whether a relay of \
                  `bootstrap` lives";
    if table.good + table.questionable == 0 {
        let found = format!("it reaches no other relay ({} known)", table.nodes);
        return F::problem(CHECK, found).with(advice);
    }
    if !asked.is_empty() && asked.iter().all(|told| told.view.is_err()) {
        let found = format!("{} calls to other relays just now reached nobody", asked.len());
        return F::problem(CHECK, found).with(advice);
    }
    F::good(
        CHECK,
        format!("it knows {} other relays, {} of them answered lately", table.nodes, table.good),
    )
}

/// Where it learns of others, and what a router does for it.
fn begins(report: &Report) -> Vec<Finding> {
    let is_alone = report.table.good + report.table.questionable == 0;
    let forwarding = report.port_mapping.as_ref().map(outside::forwarding);
    forwarding.into_iter().chain(outside::sources(&report.sources, is_alone)).collect()
}

/// How it is seen over each family.
fn seen((examined, report): (&Examined, &Report)) -> Vec<Finding> {
    // As the relay says it, which may run by an older configuration.
    let told: Vec<SocketAddr> = report.endpoints.iter().filter_map(|at| at.parse().ok()).collect();
    let case = |family| Case {
        family,
        // Only a leaf may listen nowhere.
        is_leaf: examined.listening.is_empty(),
        listening: &examined.listening,
        told: &told,
        asked: &examined.asked,
        is_called: report.reachability == "reachable",
    };
    let found = |family| {
        let case = case(family);
        let reached = reach::reachable(&case);
        let is_reached = reached.state == State::Good && !case.is_leaf;
        [Some(reached), reach::translated(&case, is_reached)]
    };
    [Family::V4, Family::V6].into_iter().flat_map(found).flatten().collect()
}

fn space(measured: &Measured, report: Option<&Report>) -> Finding {
    let bytes_max =
        report.map_or(measured.config.store.bytes_max.0, |report| report.store.bytes_max);
    machine::disk_space(measured.free_bytes, measured.store_bytes, bytes_max)
}

#[cfg(test)]
mod tests;
