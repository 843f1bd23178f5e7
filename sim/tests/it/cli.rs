//! The program `comm-sim` as its users meet it: what it prints, writes, and ends with.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "these tests start a program and read the files it writes; what fails in them is a failed test"
)]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Small enough to be over soon: 2 networks of 20 relays with 3 envelopes.
const SMALL: &str = r#"
schema = 1
title = "small"
[network]
nodes = 20
[traffic]
envelopes = 3
[run]
networks = 2
settle = "2m"
look = "1m"
[grid]
network.nodes = [20, 25]
[[expect]]
measure = "delivered"
at_least = "100%"
"#;
/// Nothing is delivered before the sender has it.
const MISSED: &str = r#"
[[expect]]
measure = "delivery_p50"
at_most = "0s"
"#;
/// How long a busy machine may take for one small network.
const PATIENCE: Duration = Duration::from_secs(120);

struct Place {
    directory: TempDir,
}

impl Place {
    fn with(text: &str) -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap() };
        fs::write(place.path("small.toml"), text).unwrap();
        place
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// Runs `comm-sim` in this directory.
    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_comm-sim"));
        command.args(arguments).current_dir(self.directory.path());
        command
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn networks(&self, out: &str) -> usize {
        let entries = fs::read_dir(Path::new(&self.path(out)).join("networks"));
        let names = entries.into_iter().flatten().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".json")).count()
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("ended by a signal: {}", errors(output)))
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_run_whose_expectations_are_met_ends_with_0_and_writes_every_form_of_the_report() {
    let place = Place::with(SMALL);
    let output = place.run(&["run", "small.toml", "--out", "out"]);
    assert_eq!(code(&output), 0, "{}", errors(&output));
    assert!(text(&output).contains("2 networks, 6 envelopes in all"), "{}", text(&output));
    assert!(text(&output).contains("pass"));
    assert!(!errors(&output).contains('\r'), "no progress bar in a pipe");
    assert_eq!(place.read("out/summary.txt"), text(&output));
    assert_eq!(place.read("out/envelopes.csv").lines().count(), 7);
    assert!(place.read("out/report.html").starts_with("<!doctype html>"));
    assert!(place.read("out/manifest.json").contains("\"sha256\""));
    let json = place.run(&["run", "small.toml", "--json"]);
    assert_eq!(text(&json), place.read("out/summary.json"), "the same with and without --out");
}

#[test]
fn a_missed_expectation_ends_with_1() {
    let place = Place::with(&format!("{SMALL}{MISSED}"));
    let output = place.run(&["run", "small.toml", "--networks", "1"]);
    assert_eq!(code(&output), 1, "{}", errors(&output));
    assert!(text(&output).contains("MISSED"));
}

#[test]
fn misuse_ends_with_2_and_says_what_to_do() {
    let place = Place::with(SMALL);
    for (arguments, message) in [
        (
            &["run", "nowhere.toml"][..],
            "nowhere.toml is no file and no known scenario; see `comm-sim list`",
        ),
        (&["run", "small.toml", "--set", "network.node=5"], "did you mean network.nodes?"),
        (
            &["run", "small.toml", "--nodes", "1"],
            "--set network.nodes=1: network.nodes = 1: write a whole number",
        ),
        (&["run", "e20-nul"], "e20-nul is no file and no known scenario; did you mean e20-null?"),
        (
            &["run", "small.toml", "--seed", "18446744073709551615"],
            "is not in 0..=9223372036854775807",
        ),
        (&["bench", "--settle", "5"], "a time needs its unit"),
        (&["bench", "--idle", "5s"], "write at least 1m"),
        (&["bench", "--start", "old"], "write one of joining, settled, established"),
        (&["replay", "1", "--swarm", "--nodes", "5"], "cannot be used with"),
        (&["replay", "small.toml"], "the seed comes first"),
        (&["sweep", "small.toml", "--shard", "3/2"], "1/4 to 4/4"),
        (&["sweep", "small.toml", "--shard", "1/2"], "--out"),
        (&["report", "nowhere"], "give a directory that was given to --out"),
        (&["run"], "SCENARIO"),
    ] {
        let output = place.run(arguments);
        assert_eq!(code(&output), 2, "{arguments:?}");
        assert!(errors(&output).contains(message), "{arguments:?}: {}", errors(&output));
    }
}

#[test]
fn networks_one_at_a_time_are_the_same_networks() {
    let place = Place::with(SMALL);
    let all = place.run(&["run", "small.toml"]);
    let one = place.run(&["run", "small.toml", "--jobs", "1"]);
    assert_eq!((code(&one), text(&one)), (0, text(&all)), "{}", errors(&one));
    let sweep = place.run(&["sweep", "small.toml", "--networks", "1", "--jobs", "1"]);
    assert_eq!(code(&sweep), 0, "{}", errors(&sweep));
    for command in [
        &["run", "small.toml"][..],
        &["sweep", "small.toml"],
        &["experiments"],
        &["swarm", "--seeds", "1..2"],
    ] {
        let none = place.run(&[command, &["--jobs", "0"]].concat());
        assert_eq!(code(&none), 2, "{command:?}");
        assert!(errors(&none).contains("how many at a time, at least 1"), "{}", errors(&none));
    }
}

#[test]
fn a_run_that_checks_nothing_says_so_and_fails_only_where_something_must_be_checked() {
    let (expect, _) = SMALL.split_at(SMALL.find("[[expect]]").unwrap());
    let place = Place::with(expect);
    let elsewhere = SMALL.replace("at_least", "where = { network.nodes = 25 }\nat_least");
    fs::write(place.path("elsewhere.toml"), elsewhere).unwrap();
    let none = "Nothing was checked: small.toml has no [[expect]]";
    let other =
        "Nothing was checked: expect 1 (delivered) is for network.nodes=25, which is 20 here";
    for (file, said) in [("small.toml", none), ("elsewhere.toml", other)] {
        let explored =
            place.run(&["run", file, "--networks", "1", "--out", file.trim_end_matches(".toml")]);
        assert_eq!(code(&explored), 0, "{}", errors(&explored));
        assert!(text(&explored).contains(said), "{}", text(&explored));
        let page = place.read(&format!("{}/report.html", file.trim_end_matches(".toml")));
        assert!(page.contains("Nothing was checked"), "{page}");
        let json = place.run(&["run", file, "--networks", "1", "--json"]);
        assert!(text(&json).contains("\"unchecked\": \"Nothing was checked"), "{}", text(&json));
        let tested = place.run(&["run", file, "--networks", "1", "--must-check"]);
        assert_eq!(code(&tested), 4, "{}", errors(&tested));
        assert!(errors(&tested).contains("--must-check"), "{}", errors(&tested));
    }
    let checked = place.run(&["sweep", "elsewhere.toml", "--networks", "1", "--must-check"]);
    assert_eq!(code(&checked), 0, "{}", errors(&checked));
    assert!(!text(&checked).contains("Nothing was checked"), "{}", text(&checked));
}

/// Adversaries who take every envelope, so that none arrives.
const DROPPED: [&str; 4] =
    ["--set", "adversary.behaviours=[\"collude\"]", "--set", "adversary.share=100%"];

#[test]
fn a_report_names_envelopes_that_were_lost_and_a_replay_tells_what_became_of_one() {
    let place = Place::with(SMALL);
    let run =
        [&["run", "small.toml", "--networks", "1", "--seed", "3", "--out", "out"][..], &DROPPED]
            .concat();
    let output = place.run(&run);
    assert_eq!(code(&output), 1, "{}", errors(&output));
    let shown = text(&output);
    assert!(shown.contains("3 of 3 envelopes were not delivered"), "{shown}");
    let command = shown.lines().find(|line| line.contains("comm-sim replay 3 small.toml")).unwrap();
    assert!(
        command.contains("--set 'adversary.behaviours=[\"collude\"]' --set 'adversary.share=100%'"),
        "{command}"
    );
    let id = command.split_whitespace().last().unwrap();
    assert!(id.len() == 12 && id.chars().all(|digit| digit.is_ascii_hexdigit()), "{command}");
    let row = place.read("out/envelopes.csv");
    assert!(row.lines().any(|line| line.ends_with(&format!(",{id}"))), "{row}");
    let page = place.read("out/report.html");
    assert!(page.contains(&format!("--about {id}")), "{page}");

    let plain = place.run(&[&["replay", "3", "small.toml"][..], &DROPPED].concat());
    assert!(text(&plain).contains(id), "{}", text(&plain));
    let told = place.run(&[&["replay", "3", "small.toml", "--about", id][..], &DROPPED].concat());
    assert_eq!(code(&told), 0, "{}", errors(&told));
    let story = text(&told);
    assert_eq!(story.lines().next(), text(&plain).lines().next(), "to be told changes nothing");
    assert!(story.contains("is asked by its client: Submit"), "{story}");
    assert!(story.contains("(adversary): Deliver"), "{story}");
    assert_eq!(story.matches("has it on its disk").count(), 1, "nobody else keeps it: {story}");
    assert!(story.contains("accepted") && story.contains("not delivered"), "{story}");
    let nobody = place.run(&["replay", "3", "small.toml", "--about", "zz"]);
    assert_eq!(code(&nobody), 2);
    assert!(errors(&nobody).contains("no envelope's id begins with zz"), "{}", errors(&nobody));
}

#[test]
fn shards_joined_in_any_order_are_the_sweep_byte_for_byte() {
    let place = Place::with(SMALL);
    assert_eq!(code(&place.run(&["sweep", "small.toml", "--out", "whole"])), 0);
    for shard in ["1/3", "2/3", "3/3"] {
        let out = format!("part{}", &shard[..1]);
        let output = place.run(&["sweep", "small.toml", "--shard", shard, "--out", &out]);
        assert_eq!(code(&output), 0, "{}", errors(&output));
        assert!(text(&output).contains("of 4 networks are finished"), "{}", text(&output));
    }
    assert_eq!(place.networks("part1") + place.networks("part2") + place.networks("part3"), 4);
    // What is missing is no success, whatever the rest looks like.
    assert_eq!(code(&place.run(&["report", "part1", "part2"])), 1);
    for (out, order) in [("ab", ["part1", "part2", "part3"]), ("ba", ["part3", "part1", "part2"])] {
        let output = place.run(&[&["report"], &order[..], &["--out", out]].concat());
        assert_eq!(code(&output), 0, "{}", errors(&output));
        for file in [
            "manifest.json",
            "summary.json",
            "summary.txt",
            "envelopes.csv",
            "nodes.csv",
            "report.html",
        ] {
            assert!(
                place.read(&format!("{out}/{file}")) == place.read(&format!("whole/{file}")),
                "{file}"
            );
        }
    }
}

#[test]
fn what_is_there_is_not_run_again() {
    let place = Place::with(SMALL);
    assert_eq!(code(&place.run(&["sweep", "small.toml", "--out", "out"])), 0);
    let before = place.read("out/summary.json");
    let networks = fs::read_dir(place.path("out/networks")).unwrap();
    let mut files = networks.map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    files.sort();
    fs::remove_file(&files[0]).unwrap();
    let kept = fs::metadata(&files[1]).unwrap().modified().unwrap();
    let output = place.run(&["sweep", "small.toml", "--out", "out"]);
    assert!(errors(&output).contains("3 of 4 networks are there already"), "{}", errors(&output));
    assert_eq!(fs::metadata(&files[1]).unwrap().modified().unwrap(), kept);
    assert_eq!(place.read("out/summary.json"), before);
}

#[test]
fn a_directory_with_other_results_is_left_alone() {
    let place = Place::with(SMALL);
    assert_eq!(code(&place.run(&["run", "small.toml", "--networks", "1", "--out", "out"])), 0);
    let output =
        place.run(&["run", "small.toml", "--networks", "1", "--nodes", "22", "--out", "out"]);
    assert_eq!(code(&output), 2);
    let refused = "other settings, without any --set; give another directory with --out";
    assert!(errors(&output).contains(refused), "{}", errors(&output));
    let more = place.run(&["run", "small.toml", "--networks", "3", "--out", "out"]);
    assert!(errors(&more).contains("1 of 3 networks are there already"), "{}", errors(&more));
}

#[test]
fn a_replay_repeats_what_a_run_has_seen() {
    let place = Place::with(SMALL);
    assert_eq!(
        code(&place.run(&["run", "small.toml", "--seed", "7", "--networks", "1", "--out", "out"])),
        0
    );
    let network = fs::read_dir(place.path("out/networks")).unwrap().next().unwrap().unwrap().path();
    let network = fs::read_to_string(network).unwrap();
    let output = place.run(&["replay", "7", "small.toml"]);
    let shown = text(&output);
    let trace = shown.split_whitespace().nth(3).unwrap();
    assert!(trace.len() >= 16 && network.contains(trace), "{shown}");
    let fewer = ["replay", "7", "small.toml", "--nodes", "25", "--envelopes", "2"];
    let swept =
        ["replay", "7", "small.toml", "--set", "network.nodes=25", "--set", "traffic.envelopes=2"];
    let (fewer, swept) = (place.run(&fewer), place.run(&swept));
    assert_eq!((code(&fewer), text(&fewer)), (0, text(&swept)), "{}", errors(&fewer));
    assert_ne!(text(&fewer), shown);
    let looks = ["--topology", "graph.dot", "--per-node", "nodes.csv"];
    let watched = place.run(&[&["replay", "7", "small.toml"][..], &looks].concat());
    assert_eq!(text(&watched), shown, "to look changes nothing");
    let graph = place.read("graph.dot");
    assert!(graph.starts_with("digraph network {") && graph.contains(" -> "), "{graph}");
    // Minute 0 and at least the minute of looking, 20 relays each.
    let nodes = place.read("nodes.csv");
    assert!(nodes.starts_with("minute,node,honest,up,") && nodes.lines().count() >= 41, "{nodes}");
}

#[test]
fn a_file_of_sessions_lies_beside_its_scenario_and_goes_into_the_results() {
    let place = Place::with("");
    fs::create_dir(place.path("there")).unwrap();
    let text = SMALL.replace("[grid]", "[churn]\ntrace = \"x.csv\"\nwho = \"all\"\n[grid]");
    fs::write(place.path("there/s.toml"), text).unwrap();
    let run = ["run", "there/s.toml", "--networks", "1", "--out", "out"];
    let output = place.run(&run);
    assert_eq!(code(&output), 2);
    assert!(errors(&output).contains("there/x.csv cannot be read"), "{}", errors(&output));
    fs::write(place.path("there/x.csv"), "host,up,down\na,0,9000\n").unwrap();
    assert_eq!(code(&place.run(&run)), 0);
    fs::remove_file(place.path("there/x.csv")).unwrap();
    assert_eq!(code(&place.run(&["report", "out"])), 0, "the results have it with them");
}

#[test]
fn two_results_are_compared() {
    let place = Place::with(SMALL);
    assert_eq!(code(&place.run(&["run", "small.toml", "--out", "a"])), 0);
    assert_eq!(
        code(&place.run(&[
            "run",
            "small.toml",
            "--set",
            "network.latency=500ms..900ms",
            "--out",
            "b"
        ])),
        0
    );
    let output = place.run(&["compare", "a", "b"]);
    assert_eq!(code(&output), 0);
    let shown = text(&output);
    let row = shown.lines().find(|line| line.starts_with("delivery_p50")).unwrap();
    assert!(row.contains('+'), "{row}");
    let sides = "left: nothing set\nright: network.latency=500ms..900ms\n";
    assert!(shown.contains(sides), "{shown}");
    assert_eq!(code(&place.run(&["sweep", "small.toml", "--networks", "1", "--out", "c"])), 0);
    let none = place.run(&["compare", "a", "c"]);
    assert_eq!(code(&none), 2);
    assert!(errors(&none).contains("nothing in common"), "{}", errors(&none));
}

#[test]
fn scenarios_and_behaviours_are_listed() {
    let output = Place::with(SMALL).run(&["list"]);
    assert_eq!(code(&output), 0);
    for name in
        ["e20-null.toml", "e17-latency.toml", "e15-cost.toml", "e2-colluders.toml", "collude"]
    {
        assert!(text(&output).contains(name), "{name}");
    }
}

/// As of `comm-sim list | head -1`, with a reader who is gone before anything is written.
#[test]
fn whoever_stops_reading_is_no_failure_and_costs_no_file() {
    let place = Place::with(SMALL);
    for arguments in [
        &["list"][..],
        &["run", "small.toml", "--networks", "1", "--out", "out"],
        &["replay", "1", "small.toml"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = place.command(arguments).stdout(writer).output().unwrap();
        assert_eq!(
            (code(&output), errors(&output).contains("panicked")),
            (0, false),
            "{}",
            errors(&output)
        );
    }
    assert!(place.read("out/summary.txt").contains("1 networks, 3 envelopes in all"));
}

#[test]
fn all_experiments_are_one_table_and_one_document() {
    let place = Place::with("");
    fs::create_dir_all(place.path("sim/scenarios")).unwrap();
    fs::create_dir_all(place.path("docs/experiments")).unwrap();
    fs::write(place.path("docs/experiments/old.svg"), "<svg/>").unwrap();
    let with_id =
        |text: &str, id: &str| text.replace("schema = 1", &format!("schema = 1\nid = \"{id}\""));
    let noted = "title = \"small\"\nnotes = \"Nothing was tried.\"";
    let missed = with_id(SMALL, "E9").replace("title = \"small\"", noted) + MISSED;
    fs::write(place.path("sim/scenarios/a.toml"), missed).unwrap();
    fs::write(place.path("sim/scenarios/b.toml"), with_id(SMALL, "E7")).unwrap();
    let all = ["experiments", "--networks", "1", "--out", "out", "--docs", "docs/experiments.md"];
    let output = place.run(&all);
    assert_eq!(code(&output), 1, "{}", errors(&output));
    let shown = text(&output);
    assert!(shown.lines().nth(1).unwrap().starts_with("E7  delivered network.nodes=20"), "{shown}");
    let verdict = "2 of 6 goals are MISSED: E9. Reached with too few networks or envelopes to tell that from chance: 4.\n";
    assert!(shown.ends_with(verdict), "{shown}");
    assert!(!errors(&output).contains('\r'), "no progress bar in a pipe");
    let document = place.read("docs/experiments.md");
    assert!(document.contains("| E9 | delivery_p50 network.nodes=25 | ≤ 0 ms |"), "{document}");
    assert!(document.contains("Nothing was tried."));
    let extent = "This run had 1 networks of 3 envelopes for each combination of settings. That is less than it asks for.";
    assert!(document.contains(extent), "{document}");
    let plot = "docs/experiments/e7-delivered-network_nodes.svg";
    assert!(document.contains("(experiments/e7-delivered-network_nodes.svg)"), "{document}");
    assert!(place.read(plot).starts_with("<svg xmlns="));
    assert!(
        !Path::new(&place.path("docs/experiments/old.svg")).exists(),
        "it shows nothing any more"
    );
    let again = place.run(&all);
    assert!(errors(&again).contains("4 of 4 networks are there already"), "{}", errors(&again));
    assert_eq!((text(&again), place.read("docs/experiments.md")), (shown, document));
    for name in ["e7", "b", "b.toml"] {
        let one = place.run(&["experiments", name, "--networks", "1", "--json"]);
        assert_eq!(code(&one), 0, "{}", errors(&one));
        assert!(text(&one).contains("\"met\": true") && !text(&one).contains("E9"));
    }
    let listed = place.run(&["list"]);
    assert!(text(&listed).contains("a.toml                   E9      small"), "{}", text(&listed));
    let none = place.run(&["experiments", "E8"]);
    assert_eq!(code(&none), 2);
    assert!(errors(&none).contains("no experiment is called E8"), "{}", errors(&none));
    fs::write(place.path("sim/scenarios/c.toml"), SMALL).unwrap();
    let nameless = place.run(&["experiments"]);
    assert_eq!(code(&nameless), 2);
    assert!(errors(&nameless).contains("c.toml has no id"), "{}", errors(&nameless));
}

/// Stops the program should the test fail before it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_interrupted_run_reports_what_is_finished_and_ends_with_3() {
    let place = Place::with(SMALL);
    let mut command = place.command(&["run", "small.toml", "--networks", "100000", "--out", "out"]);
    let mut running =
        Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let began = Instant::now();
    while place.networks("out") == 0 {
        assert!(began.elapsed() < PATIENCE, "no network is finished");
        assert!(running.0.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(20));
    }
    let interrupted = Command::new("kill").args(["-INT", &running.0.id().to_string()]).status();
    assert!(interrupted.unwrap().success());
    let status = running.0.wait().unwrap();
    assert_eq!(status.code(), Some(3));
    assert!(place.read("out/summary.txt").contains("of 100000 networks are finished"));
}

/// One that takes hours, as of a million relays: what it had come to is not lost.
#[test]
fn one_long_network_that_is_interrupted_is_shown_as_it_stood() {
    let place = Place::with(&SMALL.replace("look = \"1m\"", "look = \"3000d\""));
    let run = ["run", "small.toml", "--networks", "1", "--out", "out"];
    let mut command = place.command(&run);
    let mut running =
        Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let began = Instant::now();
    while !fs::exists(place.path("out/manifest.json")).unwrap() {
        assert!(began.elapsed() < PATIENCE, "it does not begin");
        assert!(running.0.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(20));
    }
    let interrupted = Command::new("kill").args(["-INT", &running.0.id().to_string()]).status();
    assert!(interrupted.unwrap().success());
    assert_eq!(running.0.wait().unwrap().code(), Some(3));
    let summary = place.read("out/summary.txt");
    assert!(summary.contains("0 of 1 networks are finished"), "{summary}");
    assert!(summary.contains("Network 1 was INTERRUPTED after "), "{summary}");
    assert!(!summary.contains("MISSED") && !summary.contains("pass"), "{summary}");
    assert_eq!(place.networks("out"), 0, "what was not finished is played again");
    assert_eq!(fs::read_dir(place.path("out/interrupted")).unwrap().count(), 1);
}
