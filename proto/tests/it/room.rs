//! What a node's disk may hold: a budget for everything, kept whatever strangers send and end.

use comm_proto::acknowledgement::{Acknowledgement, KEPT_AFTER_EXPIRY};
use comm_proto::envelope::{Envelope, EnvelopeId};
use comm_proto::key::KeyPair;
use comm_proto::message::{ClientRequest, EnvelopeState, Request, Response};
use comm_proto::node::{Config, Family, Input};
use comm_proto::rejection::Rejection;
use comm_proto::store::{Batch, Seq, Write};
use comm_proto::time::Span;
use comm_proto::verified::Verified;

use crate::world::{At, Mailbox, World, card, entries, fill};

const BUDGET: u64 = 256 << 10;

fn small(config: &mut Config) {
    config.store_bytes_max = BUDGET;
}

fn stranger(number: u64) -> KeyPair {
    KeyPair::from_seed(&fill(1_000_000 + number))
}

/// Bytes of keys and values of everything that counts for the budget.
fn stored(world: &World, host: At) -> u64 {
    let counted = Family::ALL.iter().filter(|t| !matches!(t, Family::Meta | Family::Contacts));
    let rows = counted.flat_map(|table| entries(world.host(host), *table));
    rows.map(|(key, value)| (key.len() + value.len()) as u64).sum()
}

fn assert_within_budget(world: &World, host: At) {
    let (counted, stored) = (world.stats(host).disk_bytes, stored(world, host));
    assert!(stored <= counted && counted <= BUDGET, "{stored} stored, {counted} counted");
}

/// Hands one envelope over as another node does; whether it was taken.
fn hand_over(world: &mut World, host: At, letter: &Envelope) -> bool {
    let envelopes = vec![letter.clone()];
    let id = world.ask_as(stranger(1).public(), host, Request::Deliver { envelopes });
    world.run_for(Span::from_millis(10));
    match world.answer(id) {
        Some(Ok(Response::Delivered { refused, .. })) => {
            assert!(refused.iter().all(|(_, reason)| *reason == Rejection::StoreFull));
            refused.is_empty()
        }
        other => panic!("{other:?}"),
    }
}

fn end(world: &mut World, host: At, acknowledgement: Verified<Acknowledgement>) {
    let request = Request::Acknowledge { acknowledgements: vec![acknowledgement] };
    world.ask_as(stranger(1).public(), host, request);
    world.run_for(Span::from_millis(10));
}

/// Names one envelope and as many others that never existed as one acknowledgement may.
fn longest(mailbox: &Mailbox, letter: &Envelope) -> Verified<Acknowledgement> {
    let others = (0..63).map(|n| EnvelopeId::from_bytes(fill(9_000 + n)));
    let ids = std::iter::once(letter.id()).chain(others).collect();
    let until = letter.expires_at() + KEPT_AFTER_EXPIRY;
    Acknowledgement::sign(mailbox.key(), ids, until).unwrap()
}

/// D16, D19, G5: whoever ends their own envelopes for ever leaves no more than the budget holds.
#[test]
fn whoever_hands_over_and_ends_envelopes_for_ever_fills_the_budget_and_no_more() {
    for padded in [false, true] {
        let mut world = World::with(1, 1, small);
        let mailbox = Mailbox::new(1);
        let mut refused = 0;
        for number in 0..1_500 {
            let letter = world.letter(&mailbox, number);
            if !hand_over(&mut world, 0, &letter) {
                refused += 1;
                continue;
            }
            let short = mailbox.acknowledge(&[&letter]);
            end(&mut world, 0, if padded { longest(&mailbox, &letter) } else { short });
            assert!(!world.host(0).holds(&letter.id()), "it is not obeyed");
            assert_within_budget(&world, 0);
        }
        assert!(refused > 500, "{refused}");
        // When their time is over there is room again.
        world.run_for(Span::from_days(16));
        assert_eq!((stored(&world, 0), world.stats(0).disk_bytes), (0, 0));
        let letter = world.letter(&mailbox, 10_000);
        assert!(hand_over(&mut world, 0, &letter));
    }
}

/// D13, G5: a full node refuses what is new and obeys whoever has read what is there.
#[test]
fn a_full_node_obeys_every_acknowledgement_and_then_has_room_again() {
    let mut world = World::with(2, 1, small);
    let mailbox = Mailbox::new(1);
    let letters: Vec<_> = (0..200).map(|number| world.letter(&mailbox, number)).collect();
    let refused = letters.iter().filter(|letter| !hand_over(&mut world, 0, letter)).count();
    assert!(refused > 20, "{refused}");
    // Some of those that were taken have given way to others since.
    let taken: Vec<_> = letters.iter().filter(|one| world.host(0).holds(&one.id())).collect();
    assert!((50..150).contains(&taken.len()), "{}", taken.len());
    assert_within_budget(&world, 0);
    for letter in &taken {
        end(&mut world, 0, longest(&mailbox, letter));
        assert!(!world.host(0).holds(&letter.id()));
        assert_within_budget(&world, 0);
    }
    assert_eq!(world.stats(0).envelopes, 0);
    let another = world.letter(&mailbox, 1_000);
    assert!(hand_over(&mut world, 0, &another));
    // What has ended stays ended, even where its acknowledgement had no room.
    assert!(taken.iter().all(|letter| hand_over(&mut world, 0, letter)));
    assert_eq!(world.stats(0).envelopes, 1);
}

/// D19: cards have a share of their own, and one that is published again and again leaves nothing.
#[test]
fn cards_fill_their_share_of_the_budget_and_a_newer_one_takes_the_older_ones_place() {
    let mut world = World::with(3, 1, small);
    let put = |world: &mut World, number: u64, day: u64| {
        let issued_at = world.now() + Span::from_secs(day);
        let card = card(&stranger(number), issued_at, Span::from_days(7));
        let id = world.ask_as(stranger(number).public(), 0, Request::PutCard { card });
        world.run_for(Span::from_millis(10));
        world.answer(id).cloned().unwrap()
    };
    for again in 0..200 {
        assert_eq!(put(&mut world, 1, again), Ok(Response::Done));
        assert_within_budget(&world, 0);
    }
    assert_eq!((world.stats(0).cards, world.kept(0, Family::Expiry)), (1, 1));
    let refused = (2..500).filter(|n| put(&mut world, *n, 0) == Err(Rejection::StoreFull)).count();
    assert!(refused > 300, "{refused}");
    assert!(world.stats(0).disk_bytes <= BUDGET / 8);
    // Mail has room though cards have none.
    let letter = world.letter(&Mailbox::new(1), 1);
    assert!(hand_over(&mut world, 0, &letter));
    world.run_for(Span::from_days(8));
    assert_eq!((world.stats(0).cards, world.stats(0).card_bytes), (0, 0));
}

/// D6, D19: the account is as true after a crash as before, be it at any write.
#[test]
fn the_account_of_the_disk_is_true_after_a_crash_at_any_write() {
    let mailbox = Mailbox::new(1);
    for boundary in 1..40 {
        let mut world = World::with(4, 1, small);
        world.plan_crash(0, boundary);
        for number in 0..6 {
            let letter = world.letter(&mailbox, number);
            world.ask(0, 0, ClientRequest::Submit { envelope: letter.clone() });
            let acknowledgements = vec![mailbox.acknowledge(&[&letter])];
            if number % 2 == 0 {
                world.ask(0, 0, ClientRequest::Acknowledge { acknowledgements });
            }
            let card = card(&stranger(number), world.now(), Span::from_days(7));
            world.ask(0, 0, ClientRequest::PublishCard { card });
            world.run_for(Span::from_millis(20));
        }
        if world.is_up(0) {
            world.crash(0);
        }
        world.start(0);
        let stats = world.stats(0);
        let values = |table| -> u64 {
            let rows = entries(world.host(0), table);
            rows.iter().map(|(_, value)| value.len() as u64).sum()
        };
        assert_eq!(stats.envelopes, world.kept(0, Family::Custody) as u64);
        assert_eq!(stats.tombstones, world.kept(0, Family::Tombstones) as u64);
        assert_eq!(stats.acknowledgements, world.kept(0, Family::Acknowledgements) as u64);
        assert_eq!(stats.acknowledgement_bytes, values(Family::Acknowledgements));
        assert_eq!(stats.cards, world.kept(0, Family::Cards) as u64);
        assert_eq!(stats.card_bytes, values(Family::Cards));
        assert_within_budget(&world, 0);
    }
}

/// D6: an older program counted less; the rest is counted once, at the first start.
#[test]
fn an_account_that_lacks_cards_and_acknowledgements_is_completed_from_the_disk() {
    let mut world = World::with(5, 1, small);
    let mailbox = Mailbox::new(1);
    for number in 0..5 {
        let letter = world.letter(&mailbox, number);
        assert!(hand_over(&mut world, 0, &letter));
        end(&mut world, 0, mailbox.acknowledge(&[&letter]));
        let card = card(&stranger(number), world.now(), Span::from_days(7));
        world.ask_as(stranger(number).public(), 0, Request::PutCard { card });
    }
    world.run_for(Span::from_secs(1));
    let before = world.stats(0);
    assert!(before.card_bytes > 0 && before.acknowledgement_bytes > 0);
    world.crash(0);
    let meta = entries(world.host(0), Family::Meta);
    let (key, mut value) = meta.into_iter().find(|(key, _)| key == b"totals").unwrap();
    value.truncate(4 * 8);
    let writes = vec![Write::Put { table: Family::Meta, key, value }];
    world.write_to_disk(0, Batch { seq: Seq(1), writes });
    world.start(0);
    let after = world.stats(0);
    assert_eq!(after.disk_bytes, before.disk_bytes);
    assert_eq!((after.acknowledgements, after.cards), (5, 5));
}

/// The answer to a delivery of one envelope by a stranger: `None` if it was taken.
fn refusal(world: &mut World, letter: &Envelope) -> Option<Rejection> {
    let envelopes = vec![letter.clone()];
    let id = world.ask_as(stranger(1).public(), 0, Request::Deliver { envelopes });
    world.run_for(Span::from_millis(10));
    match world.answer(id) {
        Some(Ok(Response::Delivered { refused, .. })) => {
            refused.first().map(|(_, reason)| reason.clone())
        }
        other => panic!("{other:?}"),
    }
}

fn disk_taken(world: &mut World, bytes: u64) {
    world.input(0, Input::DiskTaken { bytes });
}

/// G5: what was deleted takes its place until the store has given it back.
#[test]
fn a_node_whose_disk_is_taken_by_what_was_deleted_takes_nothing_in_until_that_is_given_back() {
    let mut world = World::with(6, 1, small);
    let mailbox = Mailbox::new(1);
    disk_taken(&mut world, BUDGET - BUDGET / 32);
    let letter = world.letter(&mailbox, 1);
    assert_eq!(refusal(&mut world, &letter), Some(Rejection::Busy));
    let card = card(&stranger(1), world.now(), Span::from_days(7));
    let id = world.ask_as(stranger(1).public(), 0, Request::PutCard { card: card.clone() });
    world.run_for(Span::from_millis(10));
    assert_eq!(world.answer(id), Some(&Err(Rejection::Busy)));
    // Nor does it ask for anything that would be refused.
    let ids = vec![letter.id()];
    let id = world.ask_as(stranger(1).public(), 0, Request::Offer { ids });
    world.run_for(Span::from_millis(10));
    match world.answer(id) {
        Some(Ok(Response::Offered { wanted, .. })) => assert_eq!(wanted, &[]),
        other => panic!("{other:?}"),
    }
    // Its own clients still have a little.
    let own = world.letter(&mailbox, 2);
    assert_eq!(world.submit(0, &own), Ok(EnvelopeState::Accepted));
    assert!(world.host(0).holds(&own.id()));
    disk_taken(&mut world, BUDGET / 2);
    assert_eq!(refusal(&mut world, &letter), None);
    let id = world.ask_as(stranger(1).public(), 0, Request::PutCard { card });
    world.run_for(Span::from_millis(10));
    assert_eq!(world.answer(id), Some(&Ok(Response::Done)));
}

/// G5: what comes between two looks at the disk counts too.
#[test]
fn between_two_reports_of_its_disk_a_node_takes_in_what_there_was_room_for() {
    let mut world = World::with(7, 1, small);
    let mailbox = Mailbox::new(1);
    let taken_of = |world: &mut World, first: u64| {
        let letters: Vec<_> = (first..first + 20).map(|n| world.letter(&mailbox, n)).collect();
        letters.iter().filter(|letter| refusal(world, letter).is_none()).count()
    };
    let each = 1_024 + 1_792;
    disk_taken(&mut world, BUDGET - BUDGET / 32 - 4 * each);
    assert_eq!(taken_of(&mut world, 0), 4);
    disk_taken(&mut world, BUDGET - BUDGET / 32 - 2 * each);
    assert_eq!(taken_of(&mut world, 100), 2);
    assert_eq!(world.stats(0).evicted, 0, "nothing gives way to what is refused");
}

/// G5: what is there beyond a budget that was made smaller goes, though the disk has no room.
#[test]
fn a_node_with_a_smaller_budget_than_before_evicts_though_its_disk_is_full() {
    let mut world = World::with(8, 1, |config| config.store_bytes_max = 4 * BUDGET);
    let mailbox = Mailbox::new(1);
    for number in 0..250 {
        let letter = world.letter(&mailbox, number);
        assert!(hand_over(&mut world, 0, &letter));
    }
    let disk = world.host(0).store().clone();
    let smaller = world.add(small);
    assert_eq!(smaller, 1);
    world.replace_disk(smaller, disk);
    world.input(smaller, Input::DiskTaken { bytes: 4 * BUDGET });
    let before = world.stats(smaller).disk_bytes;
    for number in 1_000..1_010 {
        let envelopes = vec![world.letter(&mailbox, number)];
        world.ask_as(stranger(1).public(), smaller, Request::Deliver { envelopes });
        world.run_for(Span::from_millis(10));
    }
    let stats = world.stats(smaller);
    assert!(before > 2 * BUDGET && stats.disk_bytes <= BUDGET, "{before}, {stats:?}");
}

/// What is collected while the disk is short is carried in vain neither again and again nor for its reader's next ten
/// minutes.
#[test]
fn what_was_fetched_while_the_disk_was_short_comes_soon_after_it_is_not() {
    for left in [0, 100] {
        let mut world = World::with(9, 5, small);
        let mailbox = Mailbox::new(1);
        world.subscribe(4, 1, &mailbox, 0);
        world.run_for(Span::from_mins(5));
        world.input(4, Input::DiskTaken { bytes: BUDGET - BUDGET / 32 - left + 1 });
        let letter = world.letter(&mailbox, 1);
        world.submit(0, &letter).unwrap();
        // Between two repetitions of its sender's node.
        world.run_for(Span::from_secs(35));
        assert!(!world.has_been_given(4, 1, &letter), "{left}");
        world.input(4, Input::DiskTaken { bytes: BUDGET / 2 });
        let lacks = |world: &World| !world.has_been_given(4, 1, &letter);
        assert!(world.run_while(Span::from_secs(8), lacks), "{left}");
    }
}
