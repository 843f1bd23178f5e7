//! What one envelope costs a large network: every message that names it, by kind.

use std::collections::BTreeMap;

use comm_proto::envelope::EnvelopeId;
use comm_proto::message::{EnvelopeState, Push, Request};
use comm_proto::time::Span;

use crate::routing::{Large, large};
use crate::world::World;

/// What one envelope cost.
#[derive(Debug, Default)]
struct Cost {
    /// Messages that name it, by kind; answers are not counted apart from their questions.
    messages: BTreeMap<&'static str, usize>,
    /// Messages that carry its body.
    bodies: usize,
}

impl Cost {
    fn of(world: &World, id: &EnvelopeId) -> Self {
        let asked = world.sent.iter().filter_map(|sent| asked(&sent.request, id));
        let pushed = world.pushed.iter().filter_map(|push| pushed(push, id));
        let mut cost = Self::default();
        for (kind, has_body) in asked.chain(pushed) {
            *cost.messages.entry(kind).or_default() += 1;
            cost.bodies += usize::from(has_body);
        }
        cost
    }

    fn total(&self) -> usize {
        self.messages.values().sum()
    }

    fn calls(&self) -> usize {
        let pushes = ["waiting", "acknowledgement push", "receipts push"];
        let calls = self.messages.iter().filter(|(kind, _)| !pushes.contains(kind));
        calls.map(|(_, count)| count).sum()
    }
}

fn asked(request: &Request, id: &EnvelopeId) -> Option<(&'static str, bool)> {
    let (kind, has_body, names) = match request {
        Request::Offer { ids } => ("offer", false, ids.contains(id)),
        Request::Deliver { envelopes } => {
            ("deliver", true, envelopes.iter().any(|envelope| envelope.id() == *id))
        }
        Request::Fetch { ids } => ("fetch", true, ids.contains(id)),
        Request::Acknowledge { acknowledgements } => {
            ("acknowledge", false, acknowledgements.iter().any(|a| a.ids().contains(id)))
        }
        Request::Receipts { receipts } => {
            ("receipts", false, receipts.iter().any(|receipt| receipt.ids().contains(id)))
        }
        _ => return None,
    };
    names.then_some((kind, has_body))
}

fn pushed(push: &Push, id: &EnvelopeId) -> Option<(&'static str, bool)> {
    let (kind, names) = match push {
        Push::Waiting(waiting) => ("waiting", waiting.iter().any(|waiting| waiting.id == *id)),
        Push::Acknowledgements(acknowledgements) => {
            ("acknowledgement push", acknowledgements.iter().any(|a| a.ids().contains(id)))
        }
        Push::Receipts(receipts) => {
            ("receipts push", receipts.iter().any(|receipt| receipt.ids().contains(id)))
        }
    };
    names.then_some((kind, false))
}

/// The life of one envelope at 200 nodes, whose recipient reads it `after` its arrival. Whoever held
/// it has dropped it and its sender knows ten seconds later.
fn life(seed: u64, after: Span) -> Cost {
    let Large { mut world, mailbox, writer, reader, .. } = large(seed, 200);
    world.subscribe(reader, 1, &mailbox, 0);
    world.run_for(Span::from_mins(1));
    world.sent.clear();
    world.pushed.clear();
    let letter = world.letter(&mailbox, 1);
    world.submit(writer, &letter).unwrap();
    let came = |world: &World| world.has_been_given(reader, 1, &letter);
    assert!(world.run_while(Span::from_secs(10), |world| !came(world)), "it did not come");
    world.run_for(after);
    let holders = world.holders(&letter.id()).len();
    world.acknowledge(reader, &mailbox, &[&letter]);
    world.run_for(Span::from_secs(10));
    let left = world.holders(&letter.id()).len();
    assert!(left * 20 <= holders, "{left} of {holders} have it still");
    let state = world.state(writer, &letter);
    assert!(matches!(state, Some(EnvelopeState::Delivered { .. })), "{state:?}");
    world.run_for(Span::from_mins(10));
    assert_eq!(world.holders(&letter.id()), []);
    Cost::of(&world, &letter.id())
}

/// Measured with twelve seeds: 36 to 133 messages, and 301 and 334 where the entry had cast the envelope
/// before it learned of its end. The aim is 100 and 30; most of the rest are the region's nodes telling
/// each of four entries, and these each node.
#[test]
fn an_envelope_that_is_read_at_once_costs_a_bounded_number_of_messages() {
    let mut all = 0;
    for seed in 20..24 {
        let cost = life(seed, Span::from_millis(200));
        assert!(cost.total() <= 360 && cost.calls() <= 260, "{} in all: {cost:?}", cost.total());
        assert!(cost.bodies <= 30, "{cost:?}");
        all += cost.total();
    }
    assert!(all <= 4 * 260, "{all} in four lives");
}

/// Measured with twelve seeds: 513 to 781 messages, 30 to 39 of them with the body.
#[test]
fn an_envelope_that_is_read_a_minute_later_costs_a_bounded_number_of_messages() {
    for seed in 20..24 {
        let cost = life(seed, Span::from_mins(1));
        assert!(cost.total() <= 800 && cost.bodies <= 45, "{} in all: {cost:?}", cost.total());
    }
}

/// What keeping one envelope for three days costs 60 nodes, whose reader is away.
fn wait(seed: u64) -> (Cost, usize) {
    let Large { mut world, mailbox, writer, reader, .. } = large(seed, 60);
    world.sent.clear();
    world.pushed.clear();
    let letter = world.letter(&mailbox, 1);
    world.submit(writer, &letter).unwrap();
    world.run_for(Span::from_mins(3 * 24 * 60));
    let place = mailbox.address();
    let searches = world.sent.iter().filter(|sent| sent.place == Some(place)).count();
    let cost = Cost::of(&world, &letter.id());
    world.subscribe(reader, 1, &mailbox, 0);
    let lacks = |world: &World| !world.has_been_given(reader, 1, &letter);
    assert!(world.run_while(Span::from_secs(30), lacks), "it did not come");
    (cost, searches)
}

/// Measured with four seeds: 777 to 1,492 calls that search the region and 828 to 1,413 messages that name the
/// envelope; 504 to 1,063 and 694 to 1,140 when a further node was tried in few rounds (PROTOCOL §6.2). When each holder
/// searched before each round they were 17,194 and 1,235 with the first seed.
#[test]
fn an_envelope_that_waits_for_days_is_repeated_ever_more_seldom_and_seldom_searched_for() {
    for seed in 20..22 {
        let (cost, searches) = wait(seed);
        assert!(searches <= 1_600, "{searches} calls that search its region");
        assert!(cost.total() <= 1_500, "{} in all: {cost:?}", cost.total());
    }
}

/// What comes from a mailbox's region is asked for every ten minutes; who that is, ever more seldom.
#[test]
fn the_region_of_a_mailbox_that_looks_the_same_is_searched_ever_more_seldom() {
    let Large { mut world, mailbox, reader, .. } = large(20, 60);
    world.subscribe(reader, 1, &mailbox, 0);
    let place = mailbox.address();
    let mut searches = Vec::new();
    for _ in 0..4 {
        world.sent.clear();
        world.run_for(Span::from_mins(90));
        searches.push(world.sent.iter().filter(|sent| sent.place == Some(place)).count());
    }
    assert!(searches[0] > 100, "it is not searched for at all: {searches:?}");
    assert!(searches[1..].iter().all(|later| later * 2 <= searches[0]), "{searches:?}");
}
