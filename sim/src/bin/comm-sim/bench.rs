//! How fast one network runs on one core of this machine, and how much memory it takes, beside what is
//! wanted of the simulator.
//!
//! Nothing is written during the measurement: nodes find each other for a while of their time and are idle
//! for another.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the program around the world measures what it takes of the real one"
)]

use std::fs;
use std::path::Path;
use std::time::Instant;

use comm_proto::time::Span;
use comm_sim::experiment;
use comm_sim::plan::{Plan, Start};
use serde::Serialize;

use super::{Failure, MISUSE, directory, output};

/// What is wanted.
const GOAL_BYTES: u64 = 2_048;
const GOAL_EVENTS: u64 = 1_000_000;
/// Seconds for 10,000 envelopes of E4 among 10,000 relays.
const GOAL_E4: u64 = 60;
/// How it is measured: one pair writes all envelopes, and a relay has room for the connections of a thousand.
const E4: [&str; 3] = ["network.nodes=10000", "traffic.envelopes=1000", "run.networks=1"];

/// What one network took.
#[derive(Serialize)]
struct Taken {
    nodes: usize,
    /// Memory of the whole process for each node, when all have found each other and when they have been
    /// idle for a while.
    bytes_per_node_settled: Option<u64>,
    bytes_per_node_idle: Option<u64>,
    /// The most that it was at any time.
    bytes_per_node_at_most: Option<u64>,
    goal_bytes_per_node: u64,
    /// Inputs that nodes handled in a second: while they found each other, and while they were idle.
    events_per_second_settling: u64,
    events_per_second_idle: u64,
    /// How many it took until they had found each other.
    events_per_node_settling: u64,
    goal_events_per_second: u64,
    /// Calls and pushes of an idle node in an hour.
    messages_per_node_and_hour: u64,
    peers_per_node: u64,
    wall_seconds: u64,
    /// Seconds that a tenth of the envelopes of the goal took, if that was asked for.
    e4_seconds_for_1000: Option<u64>,
    goal_e4_seconds_for_10000: u64,
}

/// Measures a network of so many nodes that begins, settles for a time, and is idle for another.
pub(crate) fn run(
    nodes: usize,
    start: Start,
    times: (Span, Span),
    e4: bool,
    json: bool,
) -> Result<u8, Failure> {
    if nodes < 2 {
        eprintln!("comm-sim: a network has at least 2 nodes.");
        return Ok(MISUSE);
    }
    let mut taken = measure(nodes, start, times);
    if e4 {
        taken.e4_seconds_for_1000 = Some(measure_e4()?);
    }
    let text = if json {
        serde_json::to_string(&taken).map_err(|error| error.to_string())? + "\n"
    } else {
        table(&taken)
    };
    output::print(&text)?;
    Ok(0)
}

fn measure(nodes: usize, start: Start, (settle, idle): (Span, Span)) -> Taken {
    let mut plan = Plan::default();
    plan.network.nodes = nodes;
    plan.run.settle = settle;
    plan.run.start = start;
    let before = memory("VmRSS:");
    let per_node = |which| Some(memory(which)?.saturating_sub(before?) / nodes as u64);
    let began = Instant::now();
    let mut world = experiment::idle(&plan, plan.run.seed);
    let (settling, settled) = (began.elapsed().as_secs_f64(), per_node("VmRSS:"));
    let events = world.inputs();
    let rest = Instant::now();
    world.run_until(world.now() + idle);
    let (idling, rested) = (rest.elapsed().as_secs_f64(), per_node("VmRSS:"));
    let sent: u64 = world.messages().values().sum();
    let hours = |of: u64| of * Span::HOUR.as_millis() / idle.as_millis().max(1);
    Taken {
        nodes,
        bytes_per_node_settled: settled,
        bytes_per_node_idle: rested,
        bytes_per_node_at_most: per_node("VmHWM:"),
        goal_bytes_per_node: GOAL_BYTES,
        events_per_second_settling: rate(events, settling),
        events_per_second_idle: rate(world.inputs() - events, idling),
        events_per_node_settling: events / nodes as u64,
        goal_events_per_second: GOAL_EVENTS,
        messages_per_node_and_hour: hours(sent) / nodes as u64,
        peers_per_node: world.mean_peers() as u64,
        wall_seconds: began.elapsed().as_secs(),
        e4_seconds_for_1000: None,
        goal_e4_seconds_for_10000: GOAL_E4,
    }
}

/// Seconds for one network of E4.
fn measure_e4() -> Result<u64, Failure> {
    let (file, text) = directory::scenario(Path::new("e4-both"))?;
    let plan = crate::read(&file, &text, &E4.map(str::to_owned))?.single().plan;
    let began = Instant::now();
    experiment::run(&plan, plan.run.seed);
    Ok(began.elapsed().as_secs())
}

fn rate(events: u64, seconds: f64) -> u64 {
    (events as f64 / seconds.max(0.001)) as u64
}

/// Bytes of this process that are in memory, or the most that have been, where the system tells.
fn memory(which: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(which))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1_024)
}

fn table(taken: &Taken) -> String {
    let known = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
    let seconds = taken.e4_seconds_for_1000;
    let e4 = seconds.map_or_else(|| "not asked".to_owned(), |seconds| seconds.to_string());
    let lines = [
        ("nodes", taken.nodes.to_string(), "1000000".to_owned()),
        ("bytes a node, settled", known(taken.bytes_per_node_settled), String::new()),
        ("bytes a node, idle", known(taken.bytes_per_node_idle), GOAL_BYTES.to_string()),
        ("bytes a node, at most", known(taken.bytes_per_node_at_most), String::new()),
        ("events a node, settling", taken.events_per_node_settling.to_string(), String::new()),
        ("events a second, settling", taken.events_per_second_settling.to_string(), String::new()),
        (
            "events a second, idle",
            taken.events_per_second_idle.to_string(),
            GOAL_EVENTS.to_string(),
        ),
        ("messages a node and hour", taken.messages_per_node_and_hour.to_string(), String::new()),
        ("peers a node", taken.peers_per_node.to_string(), String::new()),
        ("seconds in all", taken.wall_seconds.to_string(), String::new()),
        (
            "seconds of E4, a tenth of it",
            e4,
            format!("{} for all", taken.goal_e4_seconds_for_10000),
        ),
    ];
    let mut text = format!("{:<28}{:>12}{:>12}\n", "", "measured", "goal");
    for (name, value, goal) in lines {
        text.push_str(&format!("{name:<28}{value:>12}{goal:>12}\n"));
    }
    text
}
