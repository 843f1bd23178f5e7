//! How fast one network runs on one core of this machine, and how much memory it takes, beside what is
//! wanted of the simulator.
//!
//! Nothing is written during the measurement: nodes find each other for 20 minutes of their time and
//! are idle for an hour.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the program around the world measures what it takes of the real one"
)]

use std::fs;
use std::time::Instant;

use comm_proto::time::Span;
use comm_sim::experiment;
use comm_sim::plan::Plan;
use comm_sim::world::World;
use serde::Serialize;

use super::{Failure, MISUSE};

/// How long the network is looked at when it has found itself.
const IDLE: Span = Span::HOUR;
/// What is wanted.
const GOAL_BYTES: u64 = 2_048;
const GOAL_EVENTS: u64 = 1_000_000;

/// What one network took.
#[derive(Serialize)]
struct Taken {
    nodes: usize,
    /// Memory of the whole process for each node, when all have found each other and when they have been
    /// idle for an hour.
    bytes_per_node_settled: Option<u64>,
    bytes_per_node_idle: Option<u64>,
    goal_bytes_per_node: u64,
    /// Inputs that nodes handled in a second: while they found each other, and while they were idle.
    events_per_second_settling: u64,
    events_per_second_idle: u64,
    goal_events_per_second: u64,
    /// Calls and pushes of an idle node in an hour.
    messages_per_node_and_hour: u64,
    peers_per_node: u64,
    wall_seconds: u64,
}

/// Measures a network of so many nodes.
pub(crate) fn run(nodes: usize, json: bool) -> Result<u8, Failure> {
    if nodes < 2 {
        eprintln!("comm-sim: a network has at least 2 nodes.");
        return Ok(MISUSE);
    }
    let taken = measure(nodes);
    if json {
        println!("{}", serde_json::to_string(&taken).map_err(|error| error.to_string())?);
    } else {
        print!("{}", table(&taken));
    }
    Ok(0)
}

fn measure(nodes: usize) -> Taken {
    let mut plan = Plan::default();
    plan.network.nodes = nodes;
    let before = memory();
    let per_node = || Some(memory()?.saturating_sub(before?) / nodes as u64);
    let began = Instant::now();
    let mut world = experiment::idle(&plan, plan.run.seed);
    let (settling, settled) = (began.elapsed().as_secs_f64(), per_node());
    let events = world.inputs();
    let idle = Instant::now();
    world.run_until(world.now() + IDLE);
    let (idling, rested) = (idle.elapsed().as_secs_f64(), per_node());
    Taken {
        nodes,
        bytes_per_node_settled: settled,
        bytes_per_node_idle: rested,
        goal_bytes_per_node: GOAL_BYTES,
        events_per_second_settling: rate(events, settling),
        events_per_second_idle: rate(world.inputs() - events, idling),
        goal_events_per_second: GOAL_EVENTS,
        messages_per_node_and_hour: sent(&world) / nodes as u64,
        peers_per_node: world.mean_peers() as u64,
        wall_seconds: began.elapsed().as_secs(),
    }
}

fn sent(world: &World) -> u64 {
    world.messages().values().sum()
}

fn rate(events: u64, seconds: f64) -> u64 {
    (events as f64 / seconds.max(0.001)) as u64
}

/// Bytes of this process that are in memory, where the system tells.
fn memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1_024)
}

fn table(taken: &Taken) -> String {
    let known = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
    let lines = [
        ("nodes", taken.nodes.to_string(), "1000000".to_owned()),
        ("bytes a node, settled", known(taken.bytes_per_node_settled), String::new()),
        ("bytes a node, idle", known(taken.bytes_per_node_idle), GOAL_BYTES.to_string()),
        ("events a second, settling", taken.events_per_second_settling.to_string(), String::new()),
        (
            "events a second, idle",
            taken.events_per_second_idle.to_string(),
            GOAL_EVENTS.to_string(),
        ),
        ("messages a node and hour", taken.messages_per_node_and_hour.to_string(), String::new()),
        ("peers a node", taken.peers_per_node.to_string(), String::new()),
        ("seconds in all", taken.wall_seconds.to_string(), String::new()),
    ];
    let mut text = format!("{:<28}{:>12}{:>12}\n", "", "measured", "goal");
    for (name, value, goal) in lines {
        text.push_str(&format!("{name:<28}{value:>12}{goal:>12}\n"));
    }
    text
}
