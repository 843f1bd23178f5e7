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
        let times = [fate.accepted, fate.delivered, fate.acknowledged];
        assert!(times.is_sorted() && times[0].is_some(), "{fate:?}");
        assert!(fate.bodies > 0 && fate.messages > fate.bodies, "{fate:?}");
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
    // The two who are left know nobody else, and one cannot be found by the other.
    assert_eq!((all.adversaries, delivered(&all)), (38, 0));
    plan.adversary.share = Millionths::new(300_000);
    assert_ne!(run(&plan, 3).trace, none.trace);
}

/// Colluders give receipts for what they throw away: what the sender is told is no copy.
#[test]
fn a_receipt_of_an_adversary_is_no_copy() {
    let mut plan = small(40, 10);
    plan.adversary.behaviours = vec!["collude".to_owned()];
    plan.adversary.share = Millionths::ALL;
    let measured = run(&plan, 3);
    assert!(measured.envelopes.iter().any(|one| one.stored.is_some()));
    assert!(measured.envelopes.iter().all(|one| one.copied.is_none() && one.left == 1));
}

#[test]
fn acknowledgements_that_half_of_all_drop_come_back_along_every_copy_all_the_same() {
    let mut plan = small(60, 20);
    plan.adversary.behaviours = vec!["drop-acknowledgements".to_owned()];
    plan.adversary.share = Millionths::new(500_000);
    let measured = run(&plan, 4);
    assert_eq!((measured.adversaries, delivered(&measured)), (30, 20));
    assert!(measured.envelopes.iter().all(|one| one.left == 0 && one.acknowledged.is_some()));
}

#[test]
fn where_messages_are_lost_more_of_them_are_sent_and_everything_arrives() {
    let mut plan = small(60, 20);
    let messages = |measured: &Measured| measured.messages.values().sum::<u64>();
    let none = messages(&run(&plan, 6));
    plan.network.loss = Millionths::new(100_000);
    let measured = run(&plan, 6);
    assert_eq!(delivered(&measured), 20);
    assert!(messages(&measured) > none, "{} instead of {none}", messages(&measured));
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
