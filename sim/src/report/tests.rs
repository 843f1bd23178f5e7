//! Reports do not depend on the order of what they are made of, and say what is missing.

use proptest::prelude::*;

use super::compare::compare;
use super::goals::Goals;
use super::manifest::{Program, from_json};
use super::summary::Summary;
use super::*;
use crate::measured::{Fate, Measured, Minute, Standing};
use comm_proto::time::Span;

const TEXT: &str = r#"
schema = 1
title = "A <test>"
[adversary]
behaviours = ["mute"]
[grid]
adversary.share = ["0%", "30%"]
[[expect]]
measure = "delivered"
at_least = "99%"
published = "90%"
source = "somebody"
where = { adversary.share = "0%" }
[[expect]]
measure = "first_copy_p99"
at_most = "1s"
"#;

fn manifest(seeds: Vec<u64>) -> Manifest {
    let program = Program { version: "1".into(), commit: "c".into(), sha256: "s".into() };
    Manifest::new(
        program,
        ("a.toml", TEXT),
        &["run.networks=3".into(), "network.nodes=50".into()],
        seeds,
        true,
    )
}

/// A network whose envelopes took longer the higher the seed; `lost` of ten never came.
fn network(cell: &Cell, seed: u64, lost: usize) -> Network {
    let fate = |number: usize| Fate {
        accepted: Some(Span::from_millis(5)),
        copied: Some(Span::from_millis(100 * seed + number as u64)),
        delivered: (number >= lost).then(|| Span::from_millis(300)),
        messages: 40 + seed,
        ..Fate::default()
    };
    let measured = Measured {
        seed,
        envelopes: (0..10).map(fate).collect(),
        messages: [("find", 70), ("store", 30)].into(),
        lost: 0,
        fullest: (1, 4),
        standing: Standing::default(),
        minutes: vec![Minute { up: 50, copies: seed, ..Minute::default() }; 3],
        nodes: 50,
        adversaries: 0,
        events: 1_000,
        simulated: Span::HOUR,
        trace: format!("{seed:x}"),
    };
    Network::new(cell, &measured)
}

fn networks() -> Vec<Network> {
    let scenario = Scenario::parse("a.toml", TEXT, &[]).unwrap();
    let cells = scenario.cells();
    let of = |(number, cell): (usize, &Cell)| {
        (1..=3).map(|seed| network(cell, seed, number)).collect::<Vec<_>>()
    };
    cells.iter().enumerate().flat_map(of).collect()
}

fn report(parts: Vec<Vec<Network>>) -> Report {
    let mut report = Report::default();
    for part in parts {
        report.add(manifest(vec![1, 2, 3]), part).unwrap();
    }
    report
}

/// Everything that is written.
fn written(report: &Report) -> [String; 6] {
    let summary = Summary::new(report);
    let page = html::html(report, &summary);
    [
        report.manifest_json(),
        summary.to_json(),
        table::table(&summary),
        csv::envelopes(report),
        csv::minutes(report),
        page,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn shards_in_any_order_give_the_bytes_of_the_whole(
        order in Just((0..6_usize).collect::<Vec<_>>()).prop_shuffle(),
        cut in 0..=6_usize,
        again in 0..6_usize,
    ) {
        let all = networks();
        let take = |numbers: &[usize]| numbers.iter().map(|number| all[*number].clone()).collect::<Vec<_>>();
        let (left, right) = order.split_at(cut);
        let merged = report(vec![take(left), take(right), take(&[again])]);
        prop_assert_eq!(written(&merged), written(&report(vec![all.clone()])));
    }
}

#[test]
fn a_network_and_a_manifest_survive_the_disk() {
    for network in networks() {
        assert_eq!(Network::from_json(&network.to_json()), Ok(network));
    }
    let manifest = manifest(vec![1, 2]);
    assert_eq!(manifest.identity.overrides, ["network.nodes=50"], "extent is no identity");
    assert_eq!(from_json(&manifest::to_json([&manifest].into_iter())), Ok(vec![manifest]));
    assert!(from_json("{\"schema\": 2, \"studies\": []}").unwrap_err().contains("reads schema 1"));
}

#[test]
fn a_summary_has_every_cell_with_its_own_expectations() {
    let summary = Summary::new(&report(vec![networks()]));
    let [first, second] = &summary.studies[0].cells[..] else { panic!("two cells") };
    assert_eq!(first.label(), "adversary.share=0%");
    assert_eq!(first.figure("delivered").unwrap().mean, Some(1.0));
    assert_eq!(second.figure("delivered").unwrap().mean, Some(0.9));
    assert_eq!(first.figure("first_copy_p99").unwrap().mean, Some(209.0));
    assert_eq!(first.figure("messages_mean").unwrap().mean, Some(42.0));
    assert_eq!(first.messages["find"], 70.0);
    assert_eq!((first.expectations.len(), second.expectations.len()), (2, 1));
    assert!(summary.is_met());
}

#[test]
fn one_network_in_which_something_never_came_makes_the_mean_never() {
    let mut all = networks();
    all[1] = network(
        &report(vec![]).studies().next().map_or_else(|| cell(0), |study| study.cells[0].clone()),
        2,
        10,
    );
    let summary = Summary::new(&report(vec![all]));
    let first = &summary.studies[0].cells[0];
    assert_eq!(first.figure("delivery_p50").unwrap().mean, None);
    assert!(!first.expectations[0].met && !summary.is_met());
    assert!(table::table(&summary).contains("never"));
    assert!(table::table(&summary).contains("MISSED"));
}

#[test]
fn a_goal_that_chance_may_have_reached_is_told_from_one_that_is_shown() {
    let goals = Goals::new(&Summary::new(&report(vec![networks()])));
    let of = |goal: &goals::Goal| (goal.outcome.measure.clone(), goal.outcome.verdict());
    let verdicts = goals.goals.iter().map(of).collect::<Vec<_>>();
    // Thirty of thirty may be 90 %; first copies came after 109, 209 and 309 ms.
    let (share, time) = ("delivered".to_owned(), "first_copy_p99".to_owned());
    assert_eq!(verdicts, [(share, "pass, too few"), (time.clone(), "pass"), (time, "pass")]);
    let said = "None of 3 goals is missed. Reached with too few networks or envelopes to tell that from chance: 1.";
    assert_eq!(goals.verdict(), said);
    let table = goals.markdown();
    assert!(table.contains(" | 50 | 3 × 10 | 90 % | pass, too few |"), "{table}");
    let exact = TEXT.replace("at_least = \"99%\"", "at_least = \"100%\"");
    let scenario = Scenario::parse("a.toml", &exact, &[]).unwrap();
    assert!(scenario.expectations[0].is_shown(None), "all that were sent are all that there are");
    assert!(!scenario.expectations[1].is_shown(None), "one network shows no mean");
}

fn cell(number: usize) -> Cell {
    Scenario::parse("a.toml", TEXT, &[]).unwrap().cells()[number].clone()
}

#[test]
fn a_plot_shows_what_never_came_at_its_edge() {
    let mut all = networks();
    all[5] = network(&cell(1), 3, 10);
    let text = TEXT.replace("first_copy_p99", "delivery_p50");
    let mut changed = manifest(vec![1, 2, 3]);
    changed.identity.scenario = scenario_of(text);
    let mut kept = Report::default();
    kept.add(changed, all).unwrap();
    let summary = Summary::new(&kept);
    let drawn = charts::all(kept.studies().next().unwrap(), &summary.studies[0]);
    let (_, plot) = drawn.iter().find(|(name, _)| name == "delivery_p50-adversary_share").unwrap();
    assert!(plot.svg().contains(">never</text>"), "{}", plot.svg());
    assert_eq!(plot.svg().matches("class=\"dot").count(), 1, "the other cell has its figure");
    assert!(!plot.svg().contains("NaN") && !plot.svg().contains("inf"));
}

fn scenario_of(text: String) -> manifest::Text {
    let sha256 = manifest::sha256(&text);
    manifest::Text { file: "a.toml".into(), sha256, text, files: [].into() }
}

/// Networks of the first cell that have nothing in common, so that intervals are as wide as they get.
fn unlike_networks() -> Vec<Network> {
    let unlike = |seed: u64| {
        let mut network = network(&cell(0), if seed == 1 { 1 } else { 5_000 }, 0);
        network.seed = seed;
        network.standing = Standing { table: (seed, 2), entries: (seed, 2), ..Standing::default() };
        network.fullest = (seed, 2);
        network
    };
    vec![unlike(1), unlike(2)]
}

#[test]
fn no_form_of_a_report_shows_what_cannot_be() {
    let text = TEXT.replace(
        "at_most = \"1s\"",
        "at_most = \"1s\"\n[[expect]]\nmeasure = \"disk_share\"\nat_most = \"90%\"",
    );
    let mut changed = manifest(vec![1, 2]);
    changed.identity.scenario = scenario_of(text);
    let mut kept = Report::default();
    kept.add(changed, unlike_networks()).unwrap();
    let summary = Summary::new(&kept);
    let figures = &summary.studies[0].cells[0].figures;
    let names = ["first_copy_p99", "messages_mean", "table_share", "disk_share"];
    for name in names {
        let figure = figures.iter().find(|figure| figure.measure == name).unwrap();
        assert_eq!(figure.low, Some(0.0), "{name}");
    }
    let shares = figures.iter().filter(|figure| figure.unit == "share");
    assert!(shares.clone().count() > 4);
    for figure in shares {
        assert!(
            figure.high.is_none_or(|high| high <= 1.0),
            "{}: {:?}",
            figure.measure,
            figure.high
        );
    }
    let is_negative = |word: &str| {
        word.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let goals = Goals::new(&summary);
    for form in written(&kept).into_iter().chain([goals.table(), goals.markdown(), goals.to_json()])
    {
        let found = form.split([' ', '>', '"', '|', ',', '\n']).find(|word| is_negative(word));
        assert_eq!(found, None, "{form}");
    }
}

#[test]
fn what_is_missing_is_said() {
    let summary = Summary::new(&report(vec![networks()[..4].to_vec()]));
    assert_eq!((summary.studies[0].finished, summary.studies[0].planned), (4, 6));
    assert!(table::table(&summary).contains("4 of 6 networks are finished"));
}

#[test]
fn results_that_do_not_belong_together_are_refused() {
    let mut kept = report(vec![networks()]);
    let other = network(&cell(0), 1, 5);
    let settings = "adversary.share=0%".to_owned();
    let refused = kept.add(manifest(vec![1, 2, 3]), vec![other]);
    assert_eq!(refused, Err(MergeError::Differs { settings: settings.clone(), seed: 1 }));
    let refused = kept.add(manifest(vec![1]), vec![network(&cell(0), 9, 0)]);
    assert_eq!(refused, Err(MergeError::Stranger { file: "a.toml".into(), settings, seed: 9 }));
    let mut changed = manifest(vec![1]);
    changed.identity.scenario.text.push('\n');
    assert_eq!(kept.add(changed, vec![]), Err(MergeError::Changed("a.toml".into())));
}

#[test]
fn results_of_two_programs_stay_apart() {
    let mut both = report(vec![networks()]);
    let mut other = manifest(vec![1, 2, 3]);
    other.identity.program.commit = "d".into();
    both.add(other, networks()).unwrap();
    assert_eq!(both.studies().count(), 2);
}

#[test]
fn the_page_needs_nothing_else_and_draws_bands_goals_and_published_figures() {
    let [_, _, _, _, _, page] = written(&report(vec![networks()]));
    for foreign in ["<script", "http:", "https:", "@import", "url(", "<img", "<link"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    for part in [
        "A &lt;test&gt;",
        "class=\"band c0\"",
        "class=\"goal\"",
        "class=\"published\"",
        "first copy",
        "store",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    // Copies go from 0 to 2 on their axis.
    assert!(page.contains(">0.5</text>") && !page.contains(">0.50</text>"), "{page}");
}

#[test]
fn every_envelope_and_every_minute_is_a_line_of_its_csv() {
    let text = csv::envelopes(&report(vec![networks()]));
    assert_eq!(text.lines().count(), 61);
    assert_eq!(
        text.lines().nth(1),
        Some("a.toml,adversary.share=0%,1,0,5,100,,300,,,41,0,0,0,0,0,0,0,0,0,0,0,0,")
    );
    let text = csv::minutes(&report(vec![networks()]));
    assert_eq!(text.lines().count(), 1 + 6 * 3);
    assert!(text.lines().nth(4).unwrap().starts_with("a.toml,adversary.share=0%,2,1,50,2,0,0,"));
}

#[test]
fn a_comparison_finds_what_differs_and_nothing_else() {
    let slow = networks()
        .iter()
        .map(|network| {
            self::network(&cell(usize::from(network.settings[0].1 == "30%")), network.seed, 5)
        })
        .collect();
    let text = compare(&report(vec![networks()]), &report(vec![slow])).unwrap();
    let row = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(row("delivered ").ends_with("differs"), "{text}");
    assert!(!row("messages_mean").ends_with("differs"), "{text}");
    assert!(text.ends_with("about one is marked all the same.\n"), "{text}");
    let none = compare(&report(vec![]), &report(vec![])).unwrap_err().to_string();
    assert!(none.starts_with("nothing in common"), "{none}");
}
