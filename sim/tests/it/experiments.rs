//! Small networks that show what large ones are trusted to show.

use std::collections::BTreeSet;

use comm_proto::time::Span;
use comm_sim::experiment::{run, run_watched};
use comm_sim::measured::Measured;
use comm_sim::plan::{Aim, Crypto, Cut, Mailboxes, Millionths, Place, Plan, Protocol, Way};

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

/// In 40 such networks 0.3 honest copies of an envelope were left after an hour, 1.8 in the worst and none in most: where all of
/// a region that are honest have missed the end, they meet others who know only later.
#[test]
fn acknowledgements_that_half_of_all_drop_come_back_to_every_sender_and_end_nearly_every_copy() {
    let mut plan = small(60, 20);
    plan.adversary.behaviours = vec!["drop-acknowledgements".to_owned()];
    plan.adversary.share = Millionths::new(500_000);
    let mut left = 0;
    for seed in 4..8 {
        let measured = run(&plan, seed);
        assert_eq!((measured.adversaries, delivered(&measured)), (30, 20));
        assert!(measured.envelopes.iter().all(|one| one.acknowledged.is_some()));
        left += measured.envelopes.iter().map(|one| one.left).sum::<u64>();
    }
    assert!(left <= 80, "{left} copies of 80 envelopes are left");
}

#[test]
fn where_messages_are_lost_as_many_are_as_the_chance_says_and_everything_arrives() {
    let mut plan = small(60, 20);
    assert_eq!(run(&plan, 6).lost, 0);
    plan.network.loss = Millionths::new(100_000);
    let measured = run(&plan, 6);
    assert_eq!(delivered(&measured), 20);
    let calls = measured.messages.iter().filter(|(kind, _)| !kind.starts_with("push"));
    let calls = calls.map(|(_, count)| *count).sum::<u64>();
    // A call of ten is lost, and of the others' answers one of ten: 19 of 100 calls lose one message.
    let expected = calls * 19 / 100;
    assert!(measured.lost.abs_diff(expected) < expected / 5, "{} of {calls}", measured.lost);
}

/// Two relays, one envelope; everybody belongs to every region.
#[test]
fn the_messages_of_two_relays_are_those_that_a_hand_counts() {
    let measured = run(&small(2, 1), 1);
    let fate = &measured.envelopes[0];
    assert!(fate.delivered.is_some() && fate.acknowledged.is_some() && fate.first_attempt);
    let count = |kind: &str| measured.messages.get(kind).copied().unwrap_or(0);
    // What PROTOCOL says of two that know each other and therefore belong to every region (§5.5): the writer's
    // node, which has no entries, offers it to the other at once (§6.2). That one subscribes there, and is told
    // of it as soon as it is on the disk (§6.5, 4); it has nothing yet when it answers the offer, nor when it
    // is told. So it is brought what it wanted of the offer (§6.2), and fetches what it was told of (§6.5, 5):
    // two bodies. What was read is acknowledged to whoever it came from (§6.6, 3), by a call, since a
    // subscriber listens and not its source. Receipts are answers. The subscription was made before the
    // envelope was sent, which `messages` of the network do not count, and is renewed after 10 minutes
    // (§6.5). Nothing is looked up but each other.
    let about = ["offer", "push waiting", "deliver", "fetch", "acknowledge", "subscribe"];
    assert_eq!(about.map(count), [1; 6], "{:?}", measured.messages);
    let upkeep = count("find node") + count("ping");
    assert_eq!(upkeep + 6, measured.messages.values().sum::<u64>(), "upkeep is the rest");
    assert_eq!((fate.bodies, fate.subscriptions, fate.messages), (2, 2, 5 + 2));
}

/// A region is searched by questions about random points of it, which name no mailbox (PROTOCOL §5.4).
#[test]
fn who_searches_the_region_of_a_mailbox_sends_messages_for_its_envelope() {
    for mailboxes in [Mailboxes::Public, Mailboxes::Node] {
        let mut plan = small(60, 1);
        plan.traffic.mailboxes = mailboxes;
        let measured = run(&plan, 1);
        let fate = &measured.envelopes[0];
        let count = |kind: &str| measured.messages.get(kind).copied().unwrap_or(0);
        let all = measured.messages.values().sum::<u64>();
        let about_it = all - count("ping") - count("find node") - count("subscribe");
        let searching = fate.messages - about_it - fate.subscriptions;
        // One search alone asks the 20 nearest, and the relay that casts it searches, if no other does.
        assert!(searching >= 20, "{mailboxes:?}: {searching} of {}", fate.messages);
    }
}

#[test]
fn storage_ends_with_the_acknowledgement_unless_it_is_dropped() {
    let mut plan = small(60, 20);
    let storage = |measured: &Measured| {
        let sum = |of: fn(&comm_sim::measured::Fate) -> Span| {
            measured.envelopes.iter().map(|one| of(one).as_millis()).sum::<u64>()
        };
        (sum(|one| one.storage), sum(|one| one.ideal_storage))
    };
    let (all, ideal) = storage(&run(&plan, 4));
    assert!(ideal > 0 && all > ideal, "{all} {ideal}");
    plan.adversary.behaviours = vec!["drop-acknowledgements".to_owned()];
    plan.adversary.share = Millionths::new(500_000);
    // Half as many disks count, so that longer means longer than it had to be.
    let (longer, shortest) = storage(&run(&plan, 4));
    assert!(longer * ideal > all * shortest, "{longer} of {shortest}, {all} of {ideal}");
}

#[test]
fn the_first_attempt_fails_where_adversaries_take_everything() {
    let mut plan = small(60, 20);
    let cast =
        |measured: &Measured| measured.envelopes.iter().filter(|one| one.first_attempt).count();
    assert_eq!(cast(&run(&plan, 3)), 20);
    plan.adversary.behaviours = vec!["collude".to_owned()];
    plan.adversary.share = Millionths::ALL;
    let measured = run(&plan, 3);
    assert_eq!(cast(&measured), 0);
    // The two who are left have nobody but colluders, if anybody.
    let (theirs, all) = measured.standing.table;
    assert!(all > 0 && theirs + 2 >= all, "{theirs} of {all}");
}

#[test]
fn relays_that_people_use_come_and_go_and_everything_arrives_all_the_same() {
    let mut plan = small(40, 10);
    plan.churn.session = Span::from_mins(30);
    plan.churn.pause = Span::from_mins(2);
    plan.churn.who = comm_sim::plan::Who::All;
    plan.run.look = Span::HOUR.times(2);
    let measured = run(&plan, 5);
    assert!(measured.minutes.iter().any(|minute| minute.up < 40));
    assert_eq!(delivered(&measured), 10);
}

#[test]
fn nearly_all_relays_come_and_go_however_many_people_there_are() {
    let mut plan = small(40, 60);
    plan.churn.session = Span::from_mins(10);
    plan.churn.pause = Span::from_mins(10);
    plan.run.look = Span::HOUR;
    let mut gone = BTreeSet::new();
    let measured = run_watched(&plan, 1, &mut |minute, world| {
        for line in world.every_node(minute).lines() {
            let cells = line.split(',').collect::<Vec<_>>();
            if cells[3] == "0" {
                gone.insert(cells[1].to_owned());
            }
        }
    });
    assert!(gone.len() >= 32, "{} of 40", gone.len());
    assert_eq!(measured.envelopes.iter().filter(|one| one.accepted.is_none()).count(), 0);
}

#[test]
fn relays_live_as_a_file_says() {
    let mut plan = small(20, 1);
    // The first comes late, all others stay.
    let text = "host,up,down\nlate,3000,100000\n".to_owned()
        + &(1..20).map(|host| format!("{host},0,100000\n")).collect::<String>();
    plan.churn.trace = Some(comm_sim::sessions::Sessions::parse("x.csv", &text).unwrap());
    plan.run.look = Span::HOUR;
    plan.churn.who = comm_sim::plan::Who::All;
    let measured = run(&plan, 5);
    let up = measured.minutes.iter().map(|minute| minute.up).collect::<Vec<_>>();
    // Churn begins 20 minutes before the first envelope; 3,000 seconds are 50 minutes.
    assert_eq!((up[28], up[30]), (19, 20), "{up:?}");
}

#[test]
fn an_absent_recipient_gets_everything_on_their_return_though_relays_come_and_go() {
    let mut plan = small(60, 10);
    plan.traffic.away = Span::from_mins(120);
    plan.churn.session = Span::from_mins(42);
    let measured = run(&plan, 5);
    assert_eq!(delivered(&measured), 10);
    assert!(measured.envelopes.iter().all(|one| one.delivered < Some(Span::from_mins(1))));
}

/// Eight of ten relays throw away what they take; ten are so few that the sender's node brings everything to everybody.
#[test]
fn an_absent_recipient_gets_nothing_that_only_the_senders_node_has_once_that_has_gone() {
    let mut plan = with_adversary(small(10, 5), 1_000_000, &["drop"]);
    plan.traffic.away = Span::HOUR;
    let stays = run(&plan, 5);
    assert_eq!((stays.adversaries, delivered(&stays)), (8, 5));
    plan.traffic.leave = Span::from_mins(10);
    let leaves = run(&plan, 5);
    assert_eq!((leaves.adversaries, delivered(&leaves)), (8, 0));
    assert!(leaves.envelopes.iter().all(|one| one.accepted.is_some() && one.stored.is_some()));
}

#[test]
fn an_absent_recipient_gets_from_others_what_a_sender_wrote_who_has_gone() {
    let mut plan = small(60, 10);
    plan.traffic.away = Span::HOUR.times(2);
    plan.traffic.leave = Span::from_mins(10);
    let measured = run(&plan, 5);
    assert_eq!(delivered(&measured), 10);
    // Senders go after ten minutes, and never learn of it; recipients are off until they return.
    assert!(measured.envelopes.iter().all(|one| one.acknowledged.is_none()));
    let up = [5, 30, 125].map(|minute| measured.minutes[minute].up);
    assert!(up[0] < 60 && up[1] < up[0] && up[2] > up[1] && up[2] < 60, "{up:?}");
    assert!(measured.envelopes.iter().all(|one| one.delivered < Some(Span::from_mins(1))));
}

fn with_adversary(mut plan: Plan, share: u32, behaviours: &[&str]) -> Plan {
    plan.adversary.share = Millionths::new(share);
    plan.adversary.behaviours = behaviours.iter().map(|name| (*name).to_owned()).collect();
    plan
}

fn count(measured: &Measured, kind: &str) -> u64 {
    measured.messages.get(kind).copied().unwrap_or_default()
}

#[test]
fn no_forgery_and_no_repetition_ends_or_brings_back_anything() {
    let mut plan = with_adversary(small(40, 10), 100_000, &["forge", "replay"]);
    plan.run.crypto = Crypto::Real;
    plan.adversary.effort = 20;
    plan.run.look = Span::from_mins(3);
    let measured = run(&plan, 2);
    assert_eq!((measured.adversaries, delivered(&measured)), (4, 10));
    let (said, refused) =
        (count(&measured, "unchecked"), count(&measured, "unchecked, refused unread"));
    assert!(said > 1_000 && refused > said / 10 && refused < said, "{refused} of {said}");
    assert!(measured.envelopes.iter().all(|one| one.wronged == 0 && one.acknowledged.is_some()));
}

#[test]
fn ids_beside_a_mailbox_are_the_nearest_to_it_and_take_nothing_away() {
    let mut plan = with_adversary(small(60, 10), 0, &["collude"]);
    plan.traffic.pairs = 1;
    plan.adversary.ids = 6;
    let measured = run(&plan, 1);
    assert_eq!((measured.nodes, measured.adversaries, delivered(&measured)), (66, 6, 10));
    assert!(measured.envelopes.iter().all(|one| one.theirs == 6));
    plan.traffic.mailboxes = Mailboxes::Conversation;
    let measured = run(&plan, 1);
    assert_eq!((measured.nodes, measured.adversaries, delivered(&measured)), (72, 12, 10));
    // All of one mailbox, beside which the ids lie no more than beside any: of 72 relays they are 12, so that chance
    // gives them 3.3 of the 20 nearest, and 13 in four networks.
    assert!(measured.envelopes.iter().all(|one| one.theirs == measured.envelopes[0].theirs));
    let theirs = (1..5).map(|seed| run(&plan, seed).envelopes[0].theirs).sum::<u64>();
    assert!(theirs < 4 * 6, "{theirs}");
    // An adversary that has seen the mailbox before has made its ids for that one.
    plan.adversary.aim = Aim::Seen;
    let measured = run(&plan, 1);
    assert_eq!((measured.nodes, measured.adversaries, delivered(&measured)), (66, 6, 10));
    assert!(measured.envelopes.iter().all(|one| one.theirs == 6));
}

#[test]
fn bad_entries_take_what_their_own_people_send_and_nothing_else() {
    let mut plan = with_adversary(small(60, 10), 1_000_000, &["drop"]);
    plan.adversary.place = Place::Entries;
    let measured = run(&plan, 1);
    assert_eq!((measured.adversaries, delivered(&measured)), (0, 0));
    assert!(measured.envelopes.iter().all(|one| one.copied.is_none() && one.stored.is_some()));
    plan.adversary.share = Millionths::default();
    assert_eq!(delivered(&run(&plan, 1)), 10);
}

#[test]
fn a_flood_costs_messages_and_no_honest_envelope() {
    let plan = with_adversary(small(60, 10), 50_000, &["flood"]);
    let quiet = run(&with_adversary(small(60, 10), 50_000, &["drop-acknowledgements"]), 1);
    let measured = run(&plan, 1);
    assert_eq!(delivered(&measured), 10);
    assert!(count(&measured, "deliver") > 5 * count(&quiet, "deliver"));
}

#[test]
fn the_ancestor_floods_looks_nothing_up_and_is_honest() {
    let mut plan = small(60, 10);
    plan.network.behaviours = vec!["ancestor".to_owned()];
    plan.traffic.mailboxes = Mailboxes::Node;
    let measured = run(&plan, 1);
    assert_eq!((measured.adversaries, delivered(&measured)), (0, 10));
    assert_eq!((count(&measured, "offer"), count(&measured, "subscribe")), (0, 0));
    assert!(measured.envelopes.iter().all(|one| one.acknowledged.is_some() && one.bodies >= 8));
}

#[test]
fn every_defence_can_be_played_with_less_of_it() {
    let mut plan = small(60, 5);
    plan.traffic.mailboxes = Mailboxes::Conversation;
    let usual = run(&plan, 1);
    let less = |change: fn(&mut Protocol)| {
        let mut plan = plan.clone();
        change(&mut plan.protocol);
        let measured = run(&plan, 1);
        assert_eq!(delivered(&measured), 5);
        measured
    };
    let subscriptions =
        |measured: &Measured| measured.envelopes.iter().map(|one| one.subscriptions).sum::<u64>();
    let few = less(|protocol| protocol.entries = 1);
    assert!(few.standing.entries.1 * 2 < usual.standing.entries.1);
    let small_buckets = less(|protocol| protocol.bucket = 4);
    assert!(small_buckets.standing.table.1 < usual.standing.table.1);
    less(|protocol| protocol.replacements = 0);
    let none_changes = less(|protocol| protocol.rotating = 0);
    assert!(subscriptions(&none_changes) < subscriptions(&usual));
    let small_regions = less(|protocol| protocol.region = 10);
    assert!(subscriptions(&small_regions) < subscriptions(&usual));
    let (all, of_one) = (count(&usual, "find node"), less(|protocol| protocol.paths = 1));
    assert!(count(&of_one, "find node") < all);
}

/// Half of all relays are cut off while everything is sent, or cannot be heard, or do not hear.
#[test]
fn what_is_sent_into_a_partition_arrives_when_it_is_over() {
    for way in [Way::Both, Way::Out, Way::In] {
        let mut plan = small(40, 10);
        plan.network.cut =
            Cut { share: Millionths::new(500_000), after: Span::ZERO, span: Span::HOUR, way };
        plan.run.look = Span::HOUR.times(3);
        let measured = run(&plan, 4);
        assert_eq!(delivered(&measured), 10, "{way:?}");
        let late =
            measured.envelopes.iter().filter(|one| one.delivered > Some(Span::from_mins(50)));
        assert!(late.count() > 0, "{way:?}");
    }
}

/// A relay whose clock is wrong by more than three hours takes nothing for what it is; one that is less wrong
/// serves (PROTOCOL §6.7).
#[test]
fn clocks_that_are_wrong_by_less_than_the_tolerance_cost_nothing_and_others_cost_envelopes() {
    let with_skew = |skew| {
        let mut plan = small(40, 10);
        plan.network.skewed = Millionths::ALL;
        plan.network.skew = skew;
        plan.traffic.ttl = Span::HOUR.times(12);
        delivered(&run(&plan, 4))
    };
    assert_eq!(with_skew(Span::HOUR), 10);
    assert!(with_skew(Span::DAY) < 10);
}

#[test]
fn nobody_needs_to_be_dialled_to_write_and_to_read_and_leaves_are_in_no_table() {
    let mut plan = small(60, 20);
    plan.network.leaves = Millionths::new(500_000);
    let measured = run(&plan, 1);
    assert_eq!(delivered(&measured), 20);
    // Thirty others, or twenty-nine; with none hidden nearly all of sixty.
    let places = measured.standing.table.1;
    assert!(places > 60 * 25 && places <= 60 * 30, "{places}");
}

#[test]
fn lines_that_lose_everything_for_a_while_lose_messages_and_no_envelope() {
    let mut plan = small(60, 20);
    plan.network.bursts = Millionths::new(100_000);
    plan.network.burst = Span::from_secs(20);
    let measured = run(&plan, 6);
    assert_eq!(delivered(&measured), 20);
    let calls = measured.messages.iter().filter(|(kind, _)| !kind.starts_with("push"));
    let calls = calls.map(|(_, count)| *count).sum::<u64>();
    // A fifth of all calls met a bad end if whoever hears nothing had as much to say as the others.
    assert!(
        measured.lost > calls / 20 && measured.lost < calls / 5,
        "{} of {calls}",
        measured.lost
    );
}

#[test]
fn latencies_are_those_between_the_parts_of_the_world() {
    let first_copy = |latency: &str| {
        let mut plan = small(40, 5);
        let text = format!("from,to,least,greatest\na,a,{latency}\n");
        plan.network.regions = Some(comm_sim::regions::Regions::parse("x.csv", &text).unwrap());
        let measured = run(&plan, 1);
        measured.envelopes.iter().filter_map(|one| one.copied).min().unwrap().as_millis()
    };
    // An offer, its answer and a delivery, each 500 ms; at least the delivery.
    assert!(first_copy("500,500") >= 500, "{}", first_copy("500,500"));
    assert!(first_copy("1,1") < 50, "{}", first_copy("1,1"));
}
