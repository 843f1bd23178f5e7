//! Small networks that show what large ones are trusted to show.

use comm_proto::time::Span;
use comm_sim::experiment::run;
use comm_sim::measured::Measured;
use comm_sim::plan::{Millionths, Plan};

fn small(nodes: usize, envelopes: usize) -> Plan {
    let mut plan = Plan::default();
    plan.network.nodes = nodes;
    plan.traffic.envelopes = envelopes;
    plan
}

fn delivered(measured: &Measured) -> usize {
    measured.envelopes.iter().filter(|one| one.delivered.is_some()).count()
}

#[test]
fn where_nothing_goes_wrong_everything_arrives_is_known_to_and_nothing_is_left() {
    let measured = run(&small(60, 20), 1);
    assert_eq!(measured.envelopes.len(), 20);
    for fate in &measured.envelopes {
        assert!(fate.accepted < fate.stored && fate.delivered < fate.acknowledged, "{fate:?}");
        assert!(fate.delivered.is_some() && fate.bodies > 0 && fate.messages > fate.bodies);
        assert_eq!(fate.left, 0, "{fate:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_gives_another() {
    let plan = small(40, 5);
    let first = run(&plan, 7);
    assert_eq!(run(&plan, 7), first);
    assert_ne!(run(&plan, 8).trace, first.trace);
}

#[test]
fn a_behaviour_changes_what_happens_and_only_where_it_stands() {
    let mut plan = small(40, 10);
    plan.adversary.behaviours = vec!["mute".to_owned()];
    let none = run(&plan, 3);
    assert_eq!((none.adversaries, delivered(&none)), (0, 10));
    plan.adversary.share = Millionths::ALL;
    let all = run(&plan, 3);
    // Two are left, who need nobody.
    assert_eq!((all.adversaries, delivered(&all)), (38, 10));
    plan.adversary.share = Millionths::new(300_000);
    assert_ne!(run(&plan, 3).trace, none.trace);
}

#[test]
fn an_absent_recipient_gets_everything_on_their_return_though_relays_come_and_go() {
    let mut plan = small(60, 10);
    plan.traffic.away = Span::from_mins(120);
    plan.churn.session = Span::from_mins(60);
    let measured = run(&plan, 5);
    assert_eq!(delivered(&measured), 10);
    assert!(measured.envelopes.iter().all(|one| one.delivered < Some(Span::from_mins(1))));
}
