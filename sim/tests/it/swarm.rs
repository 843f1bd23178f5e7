//! Two hundred small worlds in which much goes wrong, and that a world is the same wherever it is played.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "these tests start programs; what fails in them is a failed test"
)]

use std::path::Path;
use std::process::Command;

use comm_sim::swarm::verdict::Totals;
use comm_sim::swarm::{run, run_about};

/// Worlds of one test.
const WORLDS: u64 = 25;

/// Plays the worlds from this seed on; they must break no rule, and must have had something to break.
fn play(first: u64) {
    let mut totals = Totals::default();
    for seed in first..first + WORLDS {
        let verdict = run(seed);
        let options = &verdict.options;
        assert_eq!(
            verdict.violations,
            [],
            "`comm-sim replay {seed} --swarm` shows it again: {options}"
        );
        totals.add(&verdict.counts);
    }
    for (what, least) in [("accepted", 300), ("delivered", 300), ("acknowledged", 300)] {
        assert!(totals.envelopes.get(what).is_some_and(|count| *count >= least), "{totals}");
    }
    let faults =
        ["crash, torn", "disk unreadable", "partition", "pause", "message lost", "clock set"];
    for fault in faults {
        assert!(totals.faults.contains_key(fault), "no {fault}: {totals}");
    }
    let checks = ["receipt", "promise after a crash", "removal", "acknowledgement met", "offered"];
    for check in checks {
        assert!(totals.checks.get(check).is_some_and(|count| *count > 10), "no {check}: {totals}");
    }
}

macro_rules! worlds {
    ($($name:ident: $first:expr),*) => {
        $(#[test] fn $name() { play($first); })*
    };
}

worlds! {
    worlds_1_to_25_break_no_rule: 1,
    worlds_26_to_50_break_no_rule: 26,
    worlds_51_to_75_break_no_rule: 51,
    worlds_76_to_100_break_no_rule: 76,
    worlds_101_to_125_break_no_rule: 101,
    worlds_126_to_150_break_no_rule: 126,
    worlds_151_to_175_break_no_rule: 151,
    worlds_176_to_200_break_no_rule: 176
}

/// The hashes of fifty worlds, as a program says them.
fn hashes(program: &Path) -> Vec<String> {
    let run =
        Command::new(program).args(["swarm", "--seeds", "1..51", "--hashes"]).output().unwrap();
    let told = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    told.lines().map(str::to_owned).collect()
}

#[test]
fn fifty_worlds_are_the_same_in_two_processes_one_with_and_one_without_optimisation() {
    let tested = Path::new(env!("CARGO_BIN_EXE_comm-sim"));
    let target = tested.ancestors().nth(2).unwrap();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet", "-p", "comm-sim", "--bin", "comm-sim"])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .arg("--target-dir")
        .arg(target)
        .status();
    assert!(built.unwrap().success());
    let all = hashes(tested);
    assert_eq!(all.len(), 50);
    assert_eq!(hashes(&target.join("release").join(tested.file_name().unwrap())), all);
}

#[test]
fn a_world_whose_story_is_told_is_the_same_world() {
    // Every id begins with nothing.
    let (verdict, story) = run_about(1, "");
    assert_eq!(verdict.trace, run(1).trace);
    for told in ["is asked by its client: Submit", "calls host", "has it on its disk"] {
        assert!(story.iter().any(|line| line.contains(told)), "{told}");
    }
}

#[test]
fn seeds_that_are_none_are_refused_with_what_to_write() {
    for seeds in ["5..5", "9..2", "7", "1...3"] {
        let program = env!("CARGO_BIN_EXE_comm-sim");
        let run = Command::new(program).args(["swarm", "--seeds", seeds]).output().unwrap();
        let said = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(2), "{seeds}");
        assert!(said.contains("such as 1..201"), "{said}");
    }
}
