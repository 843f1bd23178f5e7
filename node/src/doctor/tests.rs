use std::time::Duration;

use super::*;
use crate::config::MetricsConfig;
use crate::links::probe::View;
use comm_proto::message::DialOutcome;

fn place(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn report() -> Report {
    use crate::status::{Envelopes, Links, Store, Table};
    Report {
        version: "0.1.0".to_owned(),
        address: "ab".repeat(20),
        began: 1_790_000_000,
        uptime_seconds: 60,
        connected: true,
        reachability: "reachable",
        endpoints: vec!["192.0.2.1:7667".to_owned()],
        observed: vec!["192.0.2.1:5".to_owned()],
        table: Table { nodes: 3, good: 3, questionable: 0, bad: 0 },
        network_size: 4,
        envelopes: Envelopes::default(),
        store: Store { bytes_max: 1 << 30, ..Store::default() },
        links: Links::default(),
        syncs: None,
        clock_ahead_seconds: 0,
        warnings: Vec::new(),
        volume: None,
        sources: Vec::new(),
        port_mapping: None,
    }
}

fn seen(outcome: DialOutcome) -> Told {
    let view = View {
        local: place("192.0.2.1:5"),
        observed: Some(place("192.0.2.1:5")),
        round_trip: Duration::from_millis(2),
        ahead_millis: 1,
        dialled: vec![(place("192.0.2.1:7667"), outcome)],
    };
    Told { asked: place("203.0.113.1:7667"), view: Ok(view) }
}

/// A relay that is well, and one whose endpoint has come to this.
fn measured(outcome: DialOutcome) -> Measured {
    let millis = Duration::from_millis;
    let syncs = Syncs { count: 100, half: millis(1), most: millis(5) };
    let examined = Examined {
        listening: vec![place("0.0.0.0:7667")],
        asked: vec![seen(outcome)],
        files: OpenFiles { now: 40, most: Some(8_192), needed: 3_000 },
        memory_bytes: 50 << 20,
    };
    let config = NodeConfig {
        advertise: vec![place("192.0.2.1:7667")],
        bootstrap: vec!["203.0.113.1:7667".parse().unwrap()],
        ..NodeConfig::default()
    };
    let files = vec![Guarded { path: "/data".into(), mode: Ok(0o700), wanted: 0o700 }];
    Measured {
        config,
        relay: Ok(Running { report: report(), examined: Ok(examined) }),
        disk: Ok(syncs),
        free_bytes: Some(8 << 30),
        store_bytes: 0,
        files,
        memory_available: Some(1 << 30),
    }
}

fn states(diagnosis: &Diagnosis) -> Vec<(&'static str, State)> {
    diagnosis.findings.iter().map(|one| (one.check, one.state)).collect()
}

#[test]
fn a_relay_that_is_well_has_no_problem_and_each_thing_is_named() {
    let diagnosis = diagnosed(&measured(DialOutcome::Reached));
    use State::{Good, Notice};
    let expected = [
        ("relay", Good),
        ("network", Good),
        ("reached-ipv4", Good),
        ("nat-ipv4", Good),
        // It does not listen there, which is worth knowing.
        ("reached-ipv6", Notice),
        ("clock", Good),
        ("disk-speed", Good),
        ("disk-space", Good),
        ("open-files", Good),
        ("memory", Good),
        ("data-directory", Good),
        ("configuration", Good),
    ];
    assert_eq!(states(&diagnosis), expected, "{}", diagnosis.shown(Style::Plain));
    assert_eq!(diagnosis.state, Notice);
}

#[test]
fn one_problem_is_enough() {
    let diagnosis = diagnosed(&measured(DialOutcome::Refused));
    assert_eq!(diagnosis.state, State::Problem);
    assert!(states(&diagnosis).contains(&("reached-ipv4", State::Problem)));
}

#[test]
fn without_a_relay_the_machine_and_the_configuration_are_looked_at() {
    let mut measured = measured(DialOutcome::Reached);
    measured.relay = Err("no node runs with the socket /data/api.sock: no such file".to_owned());
    measured.config.metrics = MetricsConfig { listen: Some(place("0.0.0.0:7669")) };
    let diagnosis = diagnosed(&measured);
    let states = states(&diagnosis);
    assert_eq!(states[0], ("relay", State::Problem));
    assert!(states.iter().all(|(check, _)| !check.starts_with("reached")), "{states:?}");
    for there in
        [("clock", State::Unknown), ("disk-speed", State::Good), ("configuration", State::Notice)]
    {
        assert!(states.contains(&there), "{states:?}");
    }
}

#[test]
fn a_relay_that_is_older_than_this_program_says_so() {
    let mut measured = measured(DialOutcome::Reached);
    let examined = Err("unknown method".to_owned());
    measured.relay = Ok(Running { report: report(), examined });
    let diagnosis = diagnosed(&measured);
    assert_eq!(diagnosis.findings[0].state, State::Unknown);
    assert!(diagnosis.findings[0].found.contains("unknown method"));
}

#[test]
fn a_relay_that_reaches_nobody_is_a_problem_even_if_it_knows_some() {
    let mut measured = measured(DialOutcome::Reached);
    if let Ok(running) = &mut measured.relay {
        running.report.table = crate::status::Table { nodes: 3, good: 0, questionable: 0, bad: 3 };
    }
    assert!(states(&diagnosed(&measured)).contains(&("network", State::Problem)));
}

/// The table says so only after a while.
#[test]
fn a_relay_that_reaches_none_of_those_it_calls_is_cut_off() {
    let mut measured = measured(DialOutcome::Reached);
    if let Ok(Running { examined: Ok(examined), .. }) = &mut measured.relay {
        examined.asked[0].view = Err(DialOutcome::TimedOut);
    }
    let diagnosis = diagnosed(&measured);
    assert!(states(&diagnosis).contains(&("network", State::Problem)));
    assert!(states(&diagnosis).contains(&("reached-ipv4", State::Unknown)));
}
