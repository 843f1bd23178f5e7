//! An envelope on its way: from one client to another, past sleepers, losses and the end of its time.

use std::collections::{BTreeMap, BTreeSet};

use comm_proto::address::Address;
use comm_proto::envelope::{Envelope, EnvelopeId, TTL_MIN};
use comm_proto::key::KeyPair;
use comm_proto::message::{ClientRequest, ClientResponse, EnvelopeState, Request, Response};
use comm_proto::node::{Event, Family};
use comm_proto::rejection::Rejection;
use comm_proto::time::{Span, Time};
use proptest::prelude::*;

use crate::world::{At, Mailbox, START, World, fill};

/// What lies in wait for nobody must be gone so long after its expiry.
const GRACE: Span = Span::DAY;

fn delivers(world: &World, id: &EnvelopeId) -> Vec<(Time, At, At)> {
    let of_it = |request: &Request| match request {
        Request::Deliver { envelopes } => envelopes.iter().any(|envelope| envelope.id() == *id),
        _ => false,
    };
    let deliveries = world.sent.iter().filter(|sent| of_it(&sent.request));
    deliveries.map(|sent| (sent.at, sent.from, world.at(&sent.to).unwrap())).collect()
}

fn offers(world: &World, from: At, id: &EnvelopeId) -> Vec<Time> {
    let of_it = |request: &Request| match request {
        Request::Offer { ids } => ids.contains(id),
        _ => false,
    };
    let offers = world.sent.iter().filter(|sent| sent.from == from && of_it(&sent.request));
    offers.map(|sent| sent.at).collect()
}

fn assert_given(world: &mut World, host: At, envelope: &Envelope, within: Span) {
    let given = world.run_while(within, |world| !world.has_been_given(host, 1, envelope));
    assert!(given, "not within {} ms", within.as_millis());
}

/// F1.
#[test]
fn an_envelope_submitted_at_one_of_two_nodes_reaches_a_client_of_the_other() {
    let mut world = World::of(1, 2);
    let mailbox = Mailbox::new(1);
    world.subscribe(1, 1, &mailbox, 0);
    let envelope = world.letter(&mailbox, 1);
    assert_eq!(world.submit(0, &envelope), Ok(EnvelopeState::Accepted));
    assert_given(&mut world, 1, &envelope, Span::from_secs(1));
}

/// B11.
#[test]
fn a_node_without_bootstrap_is_one_itself() {
    let mut world = World::new(2);
    let (first, second) = (world.add(|_| {}), world.add(|_| {}));
    world.run_for(Span::HOUR);
    world.bootstrap(second, &[first]);
    world.run_for(Span::from_secs(5));
    assert_eq!((world.stats(first).peers, world.stats(second).peers), (1, 1));
}

/// D4, D10.
#[test]
fn in_a_small_network_everybody_holds_one_copy_and_none_returns() {
    let mut world = World::of(3, 5);
    let mailbox = Mailbox::new(1);
    world.subscribe(4, 1, &mailbox, 0);
    let envelope = world.letter(&mailbox, 1);
    world.submit(0, &envelope).unwrap();
    assert_given(&mut world, 4, &envelope, Span::from_secs(1));
    world.run_for(Span::DAY);
    assert_eq!(world.holders(&envelope.id()), [0, 1, 2, 3, 4]);
    let delivers = delivers(&world, &envelope.id());
    assert!(delivers.len() <= 8, "{delivers:?}");
    let ways: BTreeSet<_> = delivers.iter().map(|(_, from, to)| (*from, *to)).collect();
    assert!(ways.iter().all(|(from, to)| !ways.contains(&(*to, *from))), "{ways:?}");
    assert!(ways.iter().all(|(_, to)| *to != 0), "{ways:?}");
}

/// D5: the sender is off when the recipient returns.
#[test]
fn who_was_away_for_a_day_gets_everything_soon_after_returning() {
    for seed in 0..10 {
        let mut world = World::of(seed, 6);
        let mailbox = Mailbox::new(1);
        world.crash(5);
        let envelope = world.letter(&mailbox, 1);
        world.submit(0, &envelope).unwrap();
        world.run_for(Span::from_mins(1));
        world.crash(0);
        world.run_for(Span::DAY);
        world.start(5);
        world.subscribe(5, 1, &mailbox, 0);
        assert_given(&mut world, 5, &envelope, Span::from_secs(60));
    }
}

/// D21.
#[test]
fn what_was_written_while_alone_leaves_as_soon_as_somebody_appears() {
    for restarts in [false, true] {
        let mut world = World::new(4);
        let (writer, reader) = (world.add(|_| {}), world.add(|_| {}));
        let mailbox = Mailbox::new(1);
        let envelope = world.letter(&mailbox, 1);
        assert_eq!(world.submit(writer, &envelope), Ok(EnvelopeState::Accepted));
        world.run_for(Span::DAY);
        if restarts {
            world.crash(writer);
            world.start(writer);
        }
        world.subscribe(reader, 1, &mailbox, 0);
        world.bootstrap(writer, &[reader]);
        assert_given(&mut world, reader, &envelope, Span::from_secs(5));
    }
}

/// D22.
#[test]
fn what_is_cancelled_before_it_left_leaves_no_copy() {
    let mut world = World::new(5);
    let (writer, other) = (world.add(|_| {}), world.add(|_| {}));
    let envelope = world.letter(&Mailbox::new(1), 1);
    world.submit(writer, &envelope).unwrap();
    let cancel = ClientRequest::Cancel { id: envelope.id() };
    let answer = world.call(writer, 0, cancel.clone());
    assert_eq!(answer, Ok(ClientResponse::Cancelled { copies_may_exist: false }));
    world.bootstrap(writer, &[other]);
    world.run_for(Span::HOUR);
    assert_eq!(world.holders(&envelope.id()), []);
    assert_eq!(world.state(writer, &envelope), Some(EnvelopeState::Cancelled));
    assert_eq!(world.call(writer, 0, cancel), Err(Rejection::Unknown));
    assert_eq!(world.submit(writer, &envelope), Ok(EnvelopeState::Cancelled));
}

/// D22.
#[test]
fn what_is_cancelled_after_it_left_may_still_arrive_and_its_sender_is_told_so() {
    let mut world = World::of(6, 3);
    let envelope = world.letter(&Mailbox::new(1), 1);
    world.submit(0, &envelope).unwrap();
    world.run_for(Span::from_secs(1));
    let answer = world.call(0, 0, ClientRequest::Cancel { id: envelope.id() });
    assert_eq!(answer, Ok(ClientResponse::Cancelled { copies_may_exist: true }));
    world.run_for(Span::HOUR);
    assert_eq!(world.holders(&envelope.id()), [1, 2]);
}

/// D22: a relay that knows no other, and two of its clients; also when it was restarted meanwhile.
#[test]
fn who_takes_back_what_a_reader_was_handed_is_told_that_a_copy_may_exist() {
    for restarts in [false, true] {
        let mut world = World::new(5);
        let node = world.add(|_| {});
        let mailbox = Mailbox::new(1);
        world.subscribe(node, 1, &mailbox, 0);
        let envelope = world.letter(&mailbox, 1);
        world.submit(node, &envelope).unwrap();
        assert_given(&mut world, node, &envelope, Span::from_secs(1));
        if restarts {
            // Long enough for its disk.
            world.run_for(Span::from_secs(1));
            world.crash(node);
            world.start(node);
        }
        let answer = world.call(node, 0, ClientRequest::Cancel { id: envelope.id() });
        assert_eq!(answer, Ok(ClientResponse::Cancelled { copies_may_exist: true }));
    }
}

/// D22: the same where another node has fetched it.
#[test]
fn who_takes_back_what_another_node_has_fetched_is_told_that_a_copy_may_exist() {
    let mut world = World::new(5);
    let node = world.add(|_| {});
    let [opened, closed] = [1, 2].map(Mailbox::new);
    let [fetched, kept] = [&opened, &closed].map(|mailbox| world.letter(mailbox, 1));
    for envelope in [&fetched, &kept] {
        world.submit(node, envelope).unwrap();
    }
    let reader = KeyPair::from_seed(&fill(66));
    let grants = vec![opened.grant(reader.address(), world.now() + Span::HOUR)];
    for request in
        [Request::Subscribe { grants, after: 0 }, Request::Fetch { ids: vec![fetched.id()] }]
    {
        let id = world.ask_as(reader.public(), node, request);
        world.run_for(Span::from_secs(1));
        assert!(matches!(world.answer(id), Some(Ok(_))));
    }
    for (envelope, copies_may_exist) in [(fetched, true), (kept, false)] {
        let answer = world.call(node, 0, ClientRequest::Cancel { id: envelope.id() });
        assert_eq!(answer, Ok(ClientResponse::Cancelled { copies_may_exist }));
    }
}

/// D25.
#[test]
fn losing_three_of_eight_holders_loses_nothing() {
    let mut world = World::of(7, 10);
    let mailbox = Mailbox::new(1);
    world.crash(9);
    let envelope = world.letter(&mailbox, 1);
    world.submit(0, &envelope).unwrap();
    world.run_for(Span::from_mins(1));
    assert_eq!(world.holders(&envelope.id()).len(), 9);
    world.crash(0);
    (1..4).for_each(|host| world.crash(host));
    world.start(9);
    world.subscribe(9, 1, &mailbox, 0);
    assert_given(&mut world, 9, &envelope, Span::from_secs(60));
}

/// D7.
#[test]
fn the_waits_between_two_rounds_double_to_a_cap_with_jitter() {
    let mut ratios = BTreeSet::new();
    for seed in 0..4 {
        let mut world = World::new(seed);
        let host = world.add(|_| {});
        // It is there and wants nothing, so that every round is seen and none succeeds.
        let other = world.add_puppet(KeyPair::from_seed(&fill(seed)), Box::new(uninterested));
        world.bootstrap(host, &[other]);
        world.run_for(Span::from_mins(1));
        let envelope = world.letter(&Mailbox::new(1), 1);
        world.submit(host, &envelope).unwrap();
        world.run_for(Span::from_days(13));
        let rounds = offers(&world, host, &envelope.id());
        for (round, pair) in rounds.windows(2).enumerate() {
            let wait = pair[1].since(pair[0]).as_millis();
            let planned = (2_000 << round.min(30)).min(24 * 3_600_000);
            let ratio = wait * 100 / planned;
            ratios.insert(ratio);
            assert!((80..121).contains(&ratio), "round {round}: {wait} ms, not about {planned}");
        }
        assert!(rounds.len() > 24, "{}", rounds.len());
    }
    assert!(ratios.len() > 10, "no jitter: {ratios:?}");
}

fn uninterested(_: &Address, request: &Request) -> Option<Result<Response, Rejection>> {
    let (receipts, acknowledgements) = (Vec::new(), Vec::new());
    Some(Ok(match request {
        Request::Ping { .. } => Response::Pong { time: START, observed: None },
        Request::FindNode { .. } => Response::Nodes { contacts: Vec::new() },
        Request::Offer { .. } => {
            Response::Offered { wanted: Vec::new(), receipts, acknowledgements }
        }
        _ => Response::Done,
    }))
}

/// D7: others' rounds may stand for ours, but not for all of ours.
#[test]
fn whoever_offers_an_envelope_time_and_again_keeps_nobody_from_repeating_it() {
    let mut world = World::new(16);
    let host = world.add(|_| {});
    let other = world.add_puppet(KeyPair::from_seed(&fill(1)), Box::new(uninterested));
    let silencer = KeyPair::from_seed(&fill(2)).public();
    world.bootstrap(host, &[other]);
    world.run_for(Span::from_mins(1));
    let envelope = world.letter(&Mailbox::new(1), 1);
    world.submit(host, &envelope).unwrap();
    for _ in 0..3_600 {
        world.ask_as(silencer, host, Request::Offer { ids: vec![envelope.id()] });
        world.run_for(Span::from_secs(1));
    }
    // Undisturbed there would be eleven or twelve.
    let rounds = offers(&world, host, &envelope.id()).len();
    assert!((6..9).contains(&rounds), "{rounds}");
}

/// D7.
#[test]
fn no_round_comes_before_it_is_due_and_a_restart_forgets_no_due_time() {
    let mut world = World::of(9, 2);
    let envelope = world.letter(&Mailbox::new(1), 1);
    world.crash(1);
    world.submit(0, &envelope).unwrap();
    world.run_for(Span::HOUR);
    let due = |world: &World| -> Vec<Vec<u8>> {
        let schedule = crate::world::entries(world.host(0), Family::Schedule);
        schedule.into_iter().map(|(key, _)| key).collect()
    };
    let before = due(&world);
    assert_eq!(before.len(), 1);
    world.crash(0);
    world.run_for(Span::from_mins(1));
    world.start(0);
    assert_eq!(due(&world), before);
    let at = u64::from_be_bytes(before[0][..8].try_into().unwrap());
    world.sent.clear();
    world.run_for(Span::HOUR);
    // The other node never answers again, so nobody enters the table and hastens a round.
    let rounds = offers(&world, 0, &envelope.id());
    assert!(rounds.iter().all(|round| round.as_millis() >= at), "{rounds:?} before {at}");
}

/// D8.
#[test]
fn when_its_time_is_over_nobody_holds_or_sends_anything_of_it() {
    let mut world = World::of(10, 6);
    let (unread, read) = (Mailbox::new(1), Mailbox::new(2));
    world.subscribe(5, 1, &read, 0);
    let expires_at = world.now() + TTL_MIN.times(6);
    let (lost, found) = (unread.envelope(1, expires_at), read.envelope(2, expires_at));
    world.submit(0, &lost).unwrap();
    world.submit(0, &found).unwrap();
    assert_given(&mut world, 5, &found, Span::from_secs(2));
    world.acknowledge(5, &read, &[&found]);
    world.run_for(Span::from_mins(1));
    assert_eq!(world.holders(&lost.id()).len(), 6);
    assert_eq!(world.holders(&found.id()), []);
    assert_eq!(world.kept(3, Family::Tombstones), 1);

    let left = expires_at.since(world.now()) + Span::from_secs(1);
    world.run_for(left);
    assert_eq!(world.holders(&lost.id()), []);
    assert_eq!(world.state(0, &lost), None);
    let told = Event::State { id: lost.id(), state: EnvelopeState::Expired };
    assert!(world.events.iter().any(|(_, at, event)| *at == 0 && *event == told));
    world.sent.clear();
    world.run_for(GRACE + Span::from_mins(1));
    assert_eq!(delivers(&world, &lost.id()), []);
    assert!(world.hosts().all(|host| offers(&world, host, &lost.id()).is_empty()));
    for host in world.hosts() {
        assert_eq!(leftovers(&world, host), BTreeMap::new(), "of host {host}");
        let stats = world.stats(host);
        assert_eq!((stats.envelopes, stats.envelope_bytes, stats.tombstones), (0, 0, 0));
    }
}

/// D8: nothing wakes the node but what expires.
#[test]
fn a_node_that_is_alone_forgets_in_time_too() {
    let mut world = World::new(11);
    let host = world.add(|_| {});
    let mailbox = Mailbox::new(1);
    let envelope = mailbox.envelope(1, world.now() + TTL_MIN);
    world.submit(host, &envelope).unwrap();
    world.acknowledge(host, &mailbox, &[&envelope]);
    world.run_for(Span::DAY + Span::from_mins(11));
    // A step of the clock that long may be a jump, which delays the end by the tolerance.
    world.run_for(Span::from_secs(3 * 3_600 + 1));
    assert_eq!(leftovers(&world, host), BTreeMap::new());
}

fn leftovers(world: &World, host: At) -> BTreeMap<&'static str, usize> {
    let about_envelopes = [
        Family::Envelopes,
        Family::Custody,
        Family::Mailboxes,
        Family::Schedule,
        Family::Expiry,
        Family::Tombstones,
        Family::Acknowledgements,
    ];
    let kept = about_envelopes.iter().map(|table| (table.name(), world.kept(host, *table)));
    kept.filter(|(_, count)| *count > 0).collect()
}

/// D9.
#[test]
fn what_has_expired_or_asks_for_too_long_a_life_is_refused_with_its_reason() {
    let mut world = World::of(12, 2);
    let mailbox = Mailbox::new(1);
    let expired = mailbox.envelope(1, world.now());
    assert_eq!(world.submit(0, &expired), Err(Rejection::Expired));
    let immortal = mailbox.envelope(1, world.now() + Span::from_days(31));
    assert_eq!(world.submit(0, &immortal), Err(Rejection::TtlTooLong));
    assert_eq!(world.kept(0, Family::Custody), 0);
}

/// G5.
#[test]
fn a_full_store_refuses_with_a_reason_and_keeps_what_it_has() {
    // Room for four with all their rows, and for not quite a fifth.
    let full = |config: &mut comm_proto::node::Config| config.store_bytes_max = 13 * 1_024;
    let mut world = World::new(13);
    let (roomy, small) = (world.add(|_| {}), world.add(full));
    let mailbox = Mailbox::new(1);
    let own: Vec<_> = (0..3).map(|number| world.letter(&mailbox, number)).collect();
    own.iter().for_each(|envelope| assert!(world.submit(small, envelope).is_ok()));
    let flood: Vec<_> = (100..150).map(|number| world.letter(&mailbox, number)).collect();
    flood.iter().for_each(|envelope| assert!(world.submit(roomy, envelope).is_ok()));
    world.bootstrap(small, &[roomy]);
    world.run_for(Span::HOUR);
    assert!(own.iter().all(|envelope| world.host(small).holds(&envelope.id())));
    assert_eq!(world.stats(small).envelope_bytes, 4 * 1_024);
    assert_eq!(world.submit(small, &world.letter(&mailbox, 200)), Err(Rejection::StoreFull));
    let reason = Event::Refused { reason: Rejection::StoreFull };
    assert!(world.events.iter().any(|(_, at, event)| *at == roomy && *event == reason));
    // What it could not take has lost nothing.
    assert!(flood.iter().all(|envelope| world.host(roomy).holds(&envelope.id())));
}

/// D11, D12: with a third of all messages lost.
#[test]
fn losses_delay_an_envelope_and_its_acknowledgement_and_end_neither() {
    let mut world = World::of(14, 6);
    world.links.lost_of_1000 = 300;
    world.links.doubled_of_1000 = 300;
    let mailbox = Mailbox::new(1);
    world.subscribe(5, 1, &mailbox, 0);
    let envelope = world.letter(&mailbox, 1);
    world.submit(0, &envelope).unwrap();
    assert_given(&mut world, 5, &envelope, Span::from_mins(10));
    world.acknowledge(5, &mailbox, &[&envelope]);
    world.run_for(Span::DAY);
    assert_eq!(world.holders(&envelope.id()), []);
    assert!(matches!(world.state(0, &envelope), Some(EnvelopeState::Delivered { .. })));
}

/// C6.
#[test]
fn what_was_sent_in_one_half_arrives_in_the_other_when_they_meet() {
    let mut world = World::of(15, 8);
    let mailbox = Mailbox::new(1);
    world.subscribe(7, 1, &mailbox, 0);
    world.part(&[&[0, 1, 2, 3], &[4, 5, 6, 7]]);
    world.run_for(Span::from_mins(30));
    let envelope = world.letter(&mailbox, 1);
    world.submit(0, &envelope).unwrap();
    world.run_for(Span::HOUR);
    assert_eq!(world.holders(&envelope.id()), [0, 1, 2, 3]);
    world.heal();
    assert_given(&mut world, 7, &envelope, Span::from_mins(30));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// D5: whatever the links do short of losing everything.
    #[test]
    fn whatever_the_links_do_everything_arrives_once(
        seed: u64,
        lost in 0..100_u64,
        slowest in 20..1_500_u64,
        letters in 1..20_u64,
    ) {
        let mut world = World::of(seed, 4);
        world.links.lost_of_1000 = lost;
        world.links.latency.1 = Span::from_millis(slowest);
        let mailbox = Mailbox::new(1);
        world.subscribe(3, 1, &mailbox, 0);
        let letters: Vec<_> = (0..letters).map(|n| world.letter(&mailbox, n)).collect();
        letters.iter().for_each(|letter| assert!(world.submit(0, letter).is_ok()));
        world.run_for(Span::HOUR);
        let mut given: Vec<_> = world.given(3, 1).into_iter().map(|(_, id)| id).collect();
        let mut sent: Vec<_> = letters.iter().map(Envelope::id).collect();
        given.sort_unstable();
        sent.sort_unstable();
        prop_assert_eq!(given, sent);
    }
}
