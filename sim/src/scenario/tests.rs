//! Every mistake in a scenario, and what is said about it; overrides; grids.

use comm_proto::time::Span;
use proptest::prelude::*;

use super::keys::KEYS;
use super::*;
use crate::plan::{Aim, Cut, Mailboxes, Millionths, Place, Protocol, Start, Way};

fn parse(text: &str) -> Scenario {
    Scenario::parse("a.toml", &format!("schema = 1\n{text}"), &[])
        .unwrap_or_else(|error| panic!("{error}"))
}

fn error(text: &str) -> String {
    refusal(&format!("schema = 1\n{text}"), &[])
}

fn refusal(text: &str, overrides: &[&str]) -> String {
    let overrides = overrides.iter().map(|setting| (*setting).to_owned()).collect::<Vec<_>>();
    match Scenario::parse("a.toml", text, &overrides) {
        Ok(_) => panic!("{text} {overrides:?} is taken"),
        Err(error) => error.to_string(),
    }
}

fn with(text: &str, overrides: &[&str]) -> Scenario {
    let overrides = overrides.iter().map(|setting| (*setting).to_owned()).collect::<Vec<_>>();
    Scenario::parse("a.toml", &format!("schema = 1\n{text}"), &overrides)
        .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn an_empty_scenario_is_the_default_plan() {
    assert_eq!(parse("").plan, Plan::default());
}

#[test]
fn every_key_is_read_into_its_field() {
    let plan = parse(
        r#"
        [network]
        nodes = 500
        latency = "20ms..1s"
        loss = "1%"
        disk = "7ms"
        stream = "3h"
        regions = "y.csv"
        bursts = "2%"
        burst = "1m"
        leaves = "40%"
        dial = 2
        cut = "20%"
        cut_after = "1m"
        cut_for = "1h"
        cut_way = "out"
        skewed = "10%"
        skew = "2h"
        group = 4
        store = "64MiB"
        behaviours = ["ancestor"]
        [protocol]
        region = 10
        paths = 2
        entries = 3
        rotating = 0
        bucket = 8
        replacements = 2
        [traffic]
        envelopes = 10
        spacing = "2s"
        ttl = "1d"
        away = "1h"
        leave = "15m"
        pairs = 4
        mailboxes = "conversation"
        [adversary]
        share = "30%"
        place = "entries"
        ids = 45
        groups = 2
        effort = 20
        aim = "victim"
        behaviours = ["collude", "mute"]
        [churn]
        session = "10h"
        shape = 0.45
        pause = "1m"
        who = "all"
        trace = "x.csv"
        [run]
        networks = 3
        seed = 7
        settle = "5m"
        look = "30s"
        start = "settled"
        "#,
    )
    .plan;
    assert_eq!(plan.network.nodes, 500);
    assert_eq!(plan.network.regions.unwrap().name, "y.csv");
    let bursts = (plan.network.bursts, plan.network.burst, plan.network.leaves);
    let shares = [20_000, 400_000].map(Millionths::new);
    assert_eq!(bursts, (shares[0], Span::from_mins(1), shares[1]));
    let (share, after) = (Millionths::new(200_000), Span::from_mins(1));
    assert_eq!(plan.network.cut, Cut { share, after, span: Span::HOUR, way: Way::Out });
    let skewed = (plan.network.skewed, plan.network.skew);
    assert_eq!(skewed, (Millionths::new(100_000), Span::HOUR.times(2)));
    let protocol =
        Protocol { region: 10, paths: 2, entries: 3, rotating: 0, bucket: 8, replacements: 2 };
    assert_eq!(plan.protocol, protocol);
    assert_eq!(plan.network.latency, (Span::from_millis(20), Span::from_secs(1)));
    assert_eq!(plan.network.loss, Millionths::new(10_000));
    assert_eq!(plan.network.disk, Span::from_millis(7));
    assert_eq!((plan.network.stream, plan.network.dial), (Span::HOUR.times(3), 2));
    assert_eq!((plan.traffic.envelopes, plan.traffic.spacing), (10, Span::from_secs(2)));
    assert_eq!((plan.traffic.ttl, plan.traffic.away), (Span::DAY, Span::HOUR));
    assert_eq!(plan.traffic.leave, Span::from_mins(15));
    assert_eq!(
        (plan.network.store, &plan.network.behaviours[..]),
        (64 << 20, &["ancestor".into()][..])
    );
    assert_eq!((plan.traffic.pairs, plan.traffic.mailboxes), (4, Mailboxes::Conversation));
    assert_eq!(plan.adversary.share, Millionths::new(300_000));
    assert_eq!((plan.adversary.place, plan.adversary.aim), (Place::Entries, Aim::Victim));
    assert_eq!((plan.network.group, plan.adversary.groups), (4, 2));
    assert_eq!((plan.adversary.ids, plan.adversary.effort), (45, 20));
    assert_eq!(plan.adversary.behaviours, ["collude", "mute"]);
    assert_eq!((plan.churn.session, plan.churn.pause), (Span::HOUR.times(10), Span::from_mins(1)));
    assert_eq!((plan.churn.shape, plan.churn.who), (450, crate::plan::Who::All));
    assert_eq!(plan.churn.trace.unwrap().name, "x.csv");
    assert_eq!((plan.run.networks, plan.run.seed), (3, 7));
    assert_eq!((plan.run.settle, plan.run.look), (Span::from_mins(5), Span::from_secs(30)));
    assert_eq!(plan.run.start, Start::Settled);
}

#[test]
fn each_mistake_is_named_with_file_key_value_and_what_to_write() {
    for (text, message) in [
        (
            "[network]\nnodes = 1",
            "a.toml: network.nodes = 1: write a whole number without quotes, at least 2, such as 100",
        ),
        (
            "[network]\nnodes = \"many\"",
            "a.toml: network.nodes = \"many\": write a whole number without quotes, at least 2, such as 100",
        ),
        (
            "[network]\nlatency = \"50ms\"",
            "a.toml: network.latency = \"50ms\": write the least and the greatest, such as \"50ms..150ms\"",
        ),
        (
            "[network]\nloss = 0.01",
            "a.toml: network.loss = 0.01: a share needs its unit; write it in percent, such as \"30%\" or \"0.5%\"",
        ),
        (
            "[run]\nsettle = 20",
            "a.toml: run.settle = 20: a time needs its unit; write \"20ms\", \"20s\", \"20m\", \"20h\" or \"20d\"",
        ),
        (
            "[protocol]\npaths = 0",
            "a.toml: protocol.paths = 0: write a number without quotes, from 1 to 20",
        ),
        (
            "[protocol]\npath = 0",
            "a.toml: protocol.path is no key of a scenario; did you mean protocol.paths?",
        ),
        (
            "[network]\ndial = 11",
            "a.toml: network.dial = 11: write a number without quotes, from 0 to 10",
        ),
        ("[network]\nnodes = 1048577", "a.toml: network.nodes = 1048577: write at most 1048576"),
        (
            "[network]\nlatency = \"1s..2h\"",
            "a.toml: network.latency = \"1s..2h\": write at most \"1h\"",
        ),
        (
            "[run]\nsettle = \"200000000d\"",
            "a.toml: run.settle = \"200000000d\": write at most \"3650d\"",
        ),
        (
            "[traffic]\nspacing = \"3650d\"",
            "a.toml: traffic.spacing would send for years: with run.settle, traffic.away and run.look it is more than 3650d",
        ),
        (
            "[network]\nnodes = 4\n[traffic]\nenvelopes = 1025",
            "a.toml: traffic.envelopes = 1025: a relay serves 1,000 people, and each envelope has two of its own; write at most 1024 for 4 honest relays",
        ),
        (
            "[network]\nnodes = 40\n[traffic]\nenvelopes = 1025\n[churn]\nsession = \"1h\"",
            "a.toml: traffic.envelopes = 1025: a relay serves 1,000 people, and each envelope has two of its own; write at most 1024 for 4 that people use",
        ),
        ("[churn]\nshape = 0.05", "a.toml: churn.shape = 0.05: write a number from 0.1 to 10"),
        ("[churn]\nwho = true", "a.toml: churn.who = true: write \"relays\" or \"all\""),
        ("[churn]\nwho = \"some\"", "a.toml: churn.who = \"some\": write \"relays\" or \"all\""),
        ("[run]\nlook = true", "a.toml: run.look = true: write a text in quotes"),
        ("[traffic]\nttl = \"31d\"", "a.toml: traffic.ttl = \"31d\": write \"10m\" to \"30d\""),
        (
            "[traffic]\nttl = \"1h\"\naway = \"1h\"",
            "a.toml: traffic.away is not shorter than traffic.ttl: recipients would come back to nothing",
        ),
        (
            "[adversary]\nbehaviours = 5",
            "a.toml: adversary.behaviours = 5: write a list of names, such as [\"mute\"]",
        ),
        (
            "[adversary]\nshare = \"30%\"",
            "a.toml: adversary.share is given, but nothing that they do; write adversary.behaviours too",
        ),
        (
            "[adversary]\nbehaviours = [\"colude\"]",
            "a.toml: adversary.behaviours has no behaviour \"colude\"; did you mean \"collude\"?",
        ),
        (
            "[adversary]\nbehaviours = [\"mute\", \"replay\"]",
            "a.toml: run.crypto is \"model\", where no signature can be verified, and \"replay\" says what is to be; write run.crypto = \"real\"",
        ),
        (
            "[network]\nbehaviours = [\"ancestors\"]",
            "a.toml: network.behaviours has no behaviour \"ancestors\"; did you mean \"ancestor\"?",
        ),
        ("[network]\ngroup = 60001", "a.toml: network.group = 60001: write a number up to 60000"),
        (
            "[network]\ngroup = 1\nnodes = 60000",
            "a.toml: network.group makes more than 22784 groups; write a larger one",
        ),
        (
            "[network]\nstore = 64",
            "a.toml: network.store = 64: write a size with its unit, such as \"64KiB\", \"1.5MiB\" or \"1GiB\"",
        ),
        (
            "[adversary]\nplace = \"everywhere\"",
            "a.toml: adversary.place = \"everywhere\": write \"random\" or \"entries\" or \"senders-entries\"",
        ),
        (
            "[adversary]\nids = 3\nbehaviours = [\"mute\"]",
            "a.toml: adversary.ids lie beside the addresses of pairs and do something there; write traffic.pairs \
             and adversary.behaviours too",
        ),
        (
            "[traffic]\npairs = 4\n[adversary]\nids = 3000\nbehaviours = [\"mute\"]",
            "a.toml: adversary.ids would be 10 times as many as all relays; write fewer, or fewer traffic.pairs",
        ),
        (
            "[network]\nnodes = 1048000\n[traffic]\npairs = 3\nmailboxes = \"conversation\"\n[adversary]\nids = 100\n\
             behaviours = [\"mute\"]",
            "a.toml: adversary.ids makes 1048600 relays in all; write fewer, so that they are 1048576 at most",
        ),
        (
            "[traffic]\nspacing = \"0s\"\n[adversary]\nshare = \"10%\"\nbehaviours = [\"flood\"]",
            "a.toml: traffic.spacing is 0s, and adversary.effort counts calls for each envelope; write a longer \
             spacing, or adversary.effort = 0",
        ),
        (
            "[adversary]\nshare = \"10%\"\neffort = 100001\nbehaviours = [\"flood\"]",
            "a.toml: adversary.effort = 100001: each adversary would call more than once a millisecond; write at \
             most 100000",
        ),
        (
            "[traffic]\npairs = 101",
            "a.toml: traffic.pairs = 101: more than envelopes, so that some would never write; write at most 100",
        ),
        (
            "[network]\nnode = 5",
            "a.toml: network.node is no key of a scenario; did you mean network.nodes?",
        ),
        ("[netwrok]\nnodes = 5", "a.toml: netwrok is no key of a scenario; did you mean network?"),
        ("nodes = 5", "a.toml: nodes is no key of a scenario; did you mean network.nodes?"),
        (
            "[network]\nshare = \"5%\"",
            "a.toml: network.share is no key of a scenario; did you mean adversary.share?",
        ),
        ("network = 5", "a.toml: network = 5: write a table, [network]"),
        ("title = 5", "a.toml: title = 5: write a text in quotes"),
        (
            "[run]\nseed = 9223372036854775807\nnetworks = 0",
            "a.toml: run.networks = 0: write a whole number without quotes, at least 1, such as 100",
        ),
        ("expect = 5", "a.toml: expect is no list of tables; write [[expect]]"),
        (
            "[grid]\nnetwork.nodes = 5",
            "a.toml: grid.network.nodes = 5: write a list of values, such as [\"10%\", \"30%\"]",
        ),
        (
            "[grid]\nnetwork.nodes = []",
            "a.toml: grid.network.nodes = []: write a list of values, such as [\"10%\", \"30%\"]",
        ),
        (
            "[grid]\nnetwork.nodse = [5]",
            "a.toml: grid.network.nodse is no key of a scenario; did you mean network.nodes?",
        ),
        (
            "[grid]\nrun.seed = [5]",
            "a.toml: grid.run.seed cannot be swept; every cell is run with all seeds",
        ),
        (
            "[grid]\nadversary.share = [\"10%\", \"300%\"]",
            "a.toml: grid.adversary.share = \"300%\": write a share from \"0%\" to \"100%\" with at most four decimals",
        ),
    ] {
        assert_eq!(error(text), message);
    }
}

#[test]
fn each_mistake_in_an_expectation_is_named() {
    for (text, message) in [
        (
            "measure = \"delivered\"",
            "a.toml: expect 1: at_least is missing, as is at_most; write one of them",
        ),
        (
            "measure = \"delivered\"\nat_least = \"99%\"\nat_most = \"90%\"",
            "a.toml: expect 1: at_least is more than at_most, so that nothing could be within both",
        ),
        (
            "measure = \"delivered\"\nat_last = \"1%\"",
            "a.toml: expect 1: at_last is no key of an expectation; did you mean at_least?",
        ),
        (
            "measure = \"delivered\"\nat_least = 0.9",
            "a.toml: expect 1: at_least = 0.9: a share needs its unit; write it in percent, such as \"30%\" or \"0.5%\"",
        ),
        (
            "measure = \"first_copy_p99\"\nat_most = 8",
            "a.toml: expect 1: at_most = 8: a time needs its unit; write \"8ms\", \"8s\", \"8m\", \"8h\" or \"8d\"",
        ),
        (
            "measure = \"messages_mean\"\nat_most = \"many\"",
            "a.toml: expect 1: at_most = \"many\": write a number with at most three decimals, such as 100 or 0.5",
        ),
        (
            "measure = \"delivered\"\nat_least = \"1%\"\nwhere = 5",
            "a.toml: expect 1: where is no table; write { adversary.share = \"30%\" }",
        ),
        (
            "measure = \"delivered\"\nat_least = \"1%\"\nwhere = { network.node = 5 }",
            "a.toml: expect 1: where.network.node is no key of a plan; did you mean network.nodes?",
        ),
        (
            "measure = \"delivered\"\nat_least = \"1%\"\nwhere = { share = \"5%\" }",
            "a.toml: expect 1: where.share is no key of a plan; did you mean adversary.share?",
        ),
        (
            "measure = \"delivered\"\nat_least = \"1%\"\nwhere = { adversary.behaviours = [\"drpo\"] }",
            "a.toml: expect 1: where.adversary.behaviours has no behaviour \"drpo\"; did you mean \"drop\"?",
        ),
        (
            "measure = \"delivered\"\nat_least = \"1%\"\nwhere = { network.loss = 5 }",
            "a.toml: expect 1: where.network.loss = 5: a share needs its unit; write it in percent, such as \"30%\" or \"0.5%\"",
        ),
    ] {
        assert_eq!(error(&format!("[[expect]]\n{text}")), message);
    }
    let unknown = error("[[expect]]\nmeasure = \"deliverd\"\nat_least = \"1%\"");
    assert!(
        unknown.starts_with("a.toml: expect 1: measure = \"deliverd\": did you mean delivered? Write one of accepted, "),
        "{unknown}"
    );
    assert!(
        error("[[expect]]\nat_least = \"1%\"").starts_with("a.toml: expect 1: measure is missing")
    );
}

#[test]
fn a_scenario_says_its_schema() {
    assert_eq!(refusal("", &[]), "a.toml: schema is missing; write schema = 1");
    assert_eq!(refusal("schema = 2", &[]), "a.toml: schema = 2: this program reads schema 1 alone");
    assert!(refusal("schema = ", &[]).starts_with("a.toml: is no TOML: "));
}

#[test]
fn overrides_are_read_as_if_they_stood_in_the_file() {
    let text = "[network]\nnodes = 5\n[adversary]\nbehaviours = [\"mute\"]\n[grid]\nadversary.share = [\"10%\"]\n\"network.loss\" = [\"1%\"]";
    let set = [
        "network.nodes=500",
        "network.latency=20ms..80ms",
        "adversary.share=30%",
        "adversary.behaviours=[\"mute\"]",
    ];
    let scenario = with(text, &set);
    assert_eq!(scenario.plan.network.nodes, 500);
    assert_eq!(scenario.plan.network.latency, (Span::from_millis(20), Span::from_millis(80)));
    assert_eq!(scenario.plan.adversary.behaviours, ["mute"]);
    assert_eq!(
        scenario.grid.keys().collect::<Vec<_>>(),
        ["network.loss"],
        "what is set is not swept"
    );
    let scenario = with(text, &["grid.adversary.share=[\"30%\", \"50%\"]"]);
    assert_eq!(scenario.cells().len(), 2);
}

#[test]
fn a_mistake_in_an_override_is_named_with_its_words() {
    for (set, message) in [
        ("network.nodes", "--set network.nodes: write KEY=VALUE, such as network.nodes=500"),
        ("=5", "--set =5: write KEY=VALUE, such as network.nodes=500"),
        ("title=a", "--set title=a: write KEY=VALUE, such as network.nodes=500"),
        ("look=14d", "--set look=14d: look is no key of a scenario; did you mean run.look?"),
        (
            "grid.adversary.share=[10%, 30%]",
            "--set grid.adversary.share=[10%, 30%]: is no list; a shell takes double quotes away unless all stands \
             in single ones, as in --set 'adversary.behaviours=[\"mute\"]'",
        ),
        (
            "network.node=5",
            "--set network.node=5: network.node is no key of a scenario; did you mean network.nodes?",
        ),
        (
            "run.settle=20",
            "--set run.settle=20: run.settle = 20: a time needs its unit; write \"20ms\", \"20s\", \"20m\", \"20h\" or \"20d\"",
        ),
        (
            "adversary.behaviours=[\"mtue\"]",
            "--set adversary.behaviours=[\"mtue\"]: adversary.behaviours has no behaviour \"mtue\"; did you mean \"mute\"?",
        ),
        (
            "grid.run.seed=[1]",
            "--set grid.run.seed=[1]: grid.run.seed cannot be swept; every cell is run with all seeds",
        ),
    ] {
        assert_eq!(refusal("schema = 1", &[set]), message);
    }
}

#[test]
fn a_file_of_sessions_is_wanted_read_and_put_into_every_cell() {
    let scenario = parse("[churn]\ntrace = \"x.csv\"\n[grid]\nnetwork.nodes = [10, 20]");
    assert_eq!(scenario.traces(), ["x.csv".to_owned()].into());
    let file = |text: &str| [("x.csv".to_owned(), text.to_owned())].into();
    let scenario = scenario.attach(&file("host,up,down\na,0,1\n")).unwrap();
    for plan in [scenario.cells()[1].plan.clone(), scenario.single().plan] {
        assert_eq!(plan.churn.trace.unwrap().of(0), [(Span::ZERO, Span::from_secs(1))]);
    }
    let missing = parse("[churn]\ntrace = \"x.csv\"").attach(&[].into());
    assert_eq!(missing.err().unwrap().to_string(), "a.toml: churn.trace: x.csv is missing");
    let regions = parse("[network]\nregions = \"x.csv\"");
    let regions = regions.attach(&file("from,to,least,greatest\na,b,4,5\n")).unwrap();
    let latency = regions.single().plan.network.regions.unwrap().latency(1, 2);
    assert_eq!(latency, Some((Span::from_millis(4), Span::from_millis(5))));
    let missing = parse("[network]\nregions = \"x.csv\"").attach(&[].into());
    assert_eq!(missing.err().unwrap().to_string(), "a.toml: network.regions: x.csv is missing");
    let wrong = parse("[churn]\ntrace = \"x.csv\"").attach(&file("a"));
    assert_eq!(wrong.err().unwrap().to_string(), "a.toml: x.csv, line 1: write host,up,down");
}

#[test]
fn the_cells_of_a_grid_are_all_combinations() {
    let scenario = parse(
        "[adversary]\nbehaviours = [\"mute\"]\n[grid]\nnetwork.nodes = [10, 20]\nadversary.share = [\"0%\", \"10%\", \"20%\"]",
    );
    let labels = scenario.cells().iter().map(Cell::label).collect::<Vec<_>>();
    assert_eq!(labels.len(), 6);
    assert_eq!(labels[0], "adversary.share=0% network.nodes=10");
    assert_eq!(labels[1], "adversary.share=0% network.nodes=20");
    assert_eq!(labels[5], "adversary.share=20% network.nodes=20");
    assert_eq!(scenario.cells()[5].plan.network.nodes, 20);
    assert_eq!(scenario.cells()[5].plan.adversary.share, Millionths::new(200_000));
}

#[test]
fn a_grid_has_an_end() {
    let many = (2..2_000).map(|nodes| nodes.to_string()).collect::<Vec<_>>().join(",");
    let text = format!("[grid]\nnetwork.nodes = [{many}]\ntraffic.envelopes = [{many}]");
    assert_eq!(error(&text), "a.toml: grid has 3992004 cells; 10000 are possible");
}

#[test]
fn an_expectation_is_about_the_cells_it_names() {
    let text = "[adversary]\nbehaviours = [\"mute\"]\n[grid]\nadversary.share = [\"0%\", \"30%\"]\n[[expect]]\nmeasure = \"delivered\"\nat_least = \"99%\"\nwhere = { \"adversary.share\" = \"30.0%\" }";
    let scenario = parse(text);
    let about = scenario
        .cells()
        .iter()
        .map(|cell| scenario.expectations[0].is_about(&cell.plan))
        .collect::<Vec<_>>();
    assert_eq!(about, [false, true]);
}

#[test]
fn an_expectation_about_no_cell_is_a_mistake_unless_the_command_line_asks_for_others() {
    let text = "schema = 1\n[adversary]\nbehaviours = [\"mute\"]\n[grid]\nadversary.share = [\"0%\", \"30%\"]\n[[expect]]\nmeasure = \"delivered\"\nat_least = \"99%\"\nwhere = { adversary.share = \"20%\" }";
    assert_eq!(
        refusal(text, &[]),
        "a.toml: expect 1: where.adversary.share = 20% is true of no cell, so that nothing would be expected; \
         in cells of the grid it is 0% or 30%"
    );
    assert!(Scenario::parse("a.toml", text, &["adversary.share=30%".to_owned()]).is_ok());
    let alone = text.replace("[grid]\nadversary.share = [\"0%\", \"30%\"]", "");
    assert!(refusal(&alone, &[]).ends_with("nothing would be expected; in the plan it is 0%"));
}

#[test]
fn every_value_is_shown_as_it_can_be_read() {
    let plan = Plan::default();
    for key in &KEYS {
        let shown = key.show(&plan);
        let scenario = with("", &[&format!("{}={shown}", key.name)]);
        assert_eq!(scenario.plan, plan, "{} {shown}", key.name);
    }
    let swept = parse("[grid]\nadversary.behaviours = [\"drop\", [\"size-up\", \"collude\"]]");
    for cell in swept.cells() {
        assert_eq!(with("", &[&cell.label()]).plan, cell.plan, "{}", cell.label());
    }
}

#[test]
fn every_key_and_its_default_stand_in_the_documentation() {
    let readme = include_str!("../../README.md");
    for key in &KEYS {
        let row = format!("| `{}` | {} |", key.name, key.show(&Plan::default()));
        assert!(readme.contains(&row), "sim/README.md lacks {row}");
    }
}

#[test]
fn every_behaviour_stands_in_the_documentation() {
    let readme = include_str!("../../README.md");
    for kind in behaviour::ALL {
        let row = format!("| `{}` | ", kind.name);
        assert!(readme.contains(&row), "sim/README.md lacks {row}");
    }
}

#[test]
fn behaviours_that_do_nothing_as_entries_are_refused_in_their_places() {
    let scenario = |name: &str| {
        let text = format!(
            "schema = 1\n[adversary]\nshare = \"30%\"\nplace = \"entries\"\nbehaviours = [\"{name}\"]"
        );
        Scenario::parse("bad.toml", &text, &[]).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(scenario("collude"), Ok(()));
    let error = scenario("eclipse").unwrap_err();
    assert!(
        error.contains("\"eclipse\" does nothing") && error.contains("collude, drop"),
        "{error}"
    );
}

#[test]
fn the_scenarios_of_the_repository_are_right() {
    for text in [
        include_str!("../../scenarios/e20-null.toml"),
        include_str!("../../scenarios/e17-latency.toml"),
        include_str!("../../scenarios/e15-cost.toml"),
        include_str!("../../scenarios/e2-colluders.toml"),
        include_str!("../../scenarios/e12-away.toml"),
        include_str!("../../scenarios/e18-scale.toml"),
        include_str!("../../scenarios/e1-ingress.toml"),
        include_str!("../../scenarios/e3-ground-ids.toml"),
        include_str!("../../scenarios/e4-both.toml"),
        include_str!("../../scenarios/e4c-no-aim.toml"),
        include_str!("../../scenarios/e8-forgery.toml"),
        include_str!("../../scenarios/e9-acknowledgements.toml"),
        include_str!("../../scenarios/e10-flood.toml"),
        include_str!("../../scenarios/e10-victim.toml"),
        include_str!("../../scenarios/e-comm-ancestor.toml"),
        include_str!("../../scenarios/e-comm-ids.toml"),
    ] {
        let scenario =
            Scenario::parse("a.toml", text, &[]).unwrap_or_else(|error| panic!("{error}"));
        let is_used =
            |wish: &Expectation| scenario.cells().iter().any(|cell| wish.is_about(&cell.plan));
        assert!(!scenario.expectations.is_empty() && scenario.expectations.iter().all(is_used));
    }
}

proptest! {
    #[test]
    fn no_text_and_no_override_makes_the_reader_panic(text in ".*", set in "[a-z.]*=.*") {
        let _ = Scenario::parse("a.toml", &text, std::slice::from_ref(&set));
        let _ = Scenario::parse("a.toml", "schema = 1", &[set]);
    }
}
