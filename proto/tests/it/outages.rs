//! Nobody answers for hours or days, and then everybody does again.

use std::cell::Cell;
use std::rc::Rc;

use comm_proto::envelope::Envelope;
use comm_proto::key::KeyPair;
use comm_proto::message::{Request, Response};
use comm_proto::rejection::Rejection;
use comm_proto::time::Span;

use crate::world::{At, Mailbox, START, Sent, World, fill};

/// How long a node may take to notice that others are there again.
const NOTICED_WITHIN: Span = Span::from_secs(92);

fn cut_off(world: &mut World, host: At) {
    let others: Vec<_> = world.hosts().filter(|at| *at != host).collect();
    world.part(&[&[host], &others]);
}

fn is_round(sent: &&Sent) -> bool {
    matches!(sent.request, Request::Offer { .. } | Request::Digest { .. })
}

/// Whether all other nodes hold all these.
fn are_everywhere(world: &World, letters: &[Envelope]) -> bool {
    letters.iter().all(|letter| world.holders(&letter.id()).len() == world.hosts().len())
}

/// D7, D21: whatever waits, and however long it has waited, leaves within a minute of the first answer.
#[test]
fn after_three_days_without_anybody_everything_that_waits_leaves_within_a_minute() {
    for seed in 0..3 {
        let mut world = World::of(seed, 6);
        let mailbox = Mailbox::new(1);
        cut_off(&mut world, 0);
        let mut letters = Vec::new();
        for (number, hours) in [0, 1, 11, 24, 30].into_iter().enumerate() {
            world.run_for(Span::HOUR.times(hours));
            letters.push(world.letter(&mailbox, number as u64));
            world.submit(0, letters.last().unwrap()).unwrap();
        }
        world.run_for(Span::HOUR.times(6));
        world.sent.clear();
        world.heal();
        let noticed = world.run_while(NOTICED_WITHIN, |w| !w.sent.iter().any(|s| is_round(&s)));
        assert!(noticed, "nobody was offered anything");
        let all = world.run_while(Span::from_mins(1), |w| !are_everywhere(w, &letters));
        assert!(all, "seed {seed}");
    }
}

/// D7: what was written when an outage of an hour began does not wait for the rounds it made in vain.
#[test]
fn after_an_outage_of_an_hour_nothing_waits_for_another() {
    let mut world = World::of(7, 6);
    cut_off(&mut world, 0);
    let letters = vec![world.letter(&Mailbox::new(1), 1)];
    world.submit(0, &letters[0]).unwrap();
    world.run_for(Span::from_mins(70));
    world.heal();
    let limit = NOTICED_WITHIN + Span::from_mins(1);
    assert!(world.run_while(limit, |world| !are_everywhere(world, &letters)));
}

/// D7: what has piled up goes out a step at a time.
#[test]
fn what_piled_up_in_an_outage_leaves_in_steps_and_not_in_one_burst() {
    const COUNT: u64 = 3_000;
    let mut world = World::of(8, 3);
    let mailbox = Mailbox::new(1);
    cut_off(&mut world, 0);
    world.run_for(Span::HOUR);
    let letters: Vec<_> = (0..COUNT).map(|number| world.letter(&mailbox, number)).collect();
    for some in letters.chunks(64) {
        let request = Request::Deliver { envelopes: some.to_vec() };
        world.ask_as(KeyPair::from_seed(&fill(9)).public(), 0, request);
    }
    world.run_for(Span::HOUR);
    world.sent.clear();
    world.heal();
    world.run_for(NOTICED_WITHIN + Span::from_mins(1));
    let everywhere = letters.iter().filter(|letter| world.holders(&letter.id()).len() == 3).count();
    // A digest hides about one in a hundred for a round.
    assert!(everywhere >= letters.len() * 98 / 100, "{everywhere}");
    for other in [1, 2] {
        let to = world.address(other);
        // More than 256 at a time are a step of what has piled up; rounds of later are smaller.
        let steps = world.sent.iter().filter(|sent| sent.from == 0 && sent.to == to);
        let steps = steps.filter(|sent| matches!(sent.request, Request::Digest { .. }));
        let steps: Vec<_> = steps.map(|sent| sent.at).collect();
        assert!(steps.len() >= COUNT as usize / 1_024, "{}", steps.len());
        for pair in steps.windows(2) {
            let pause = pair[1].since(pair[0]);
            assert!(pause >= Span::from_millis(250), "a pause of {} ms", pause.as_millis());
        }
    }
}

/// B10: a node that knows one other, which refuses some calls with a reason and others without one, is
/// cut off and reached again with each of them.
#[test]
fn a_node_that_refuses_everything_makes_nobody_look_for_the_network_more_than_once_a_second() {
    let mut world = World::new(9);
    let node = world.add(|_| {});
    let refuses = Rc::new(Cell::new(false));
    let does = Rc::clone(&refuses);
    let puppet = move |_: &_, request: &Request| {
        Some(match request {
            Request::Ping { .. } if does.get() => Err(Rejection::Busy),
            Request::Ping { .. } => Ok(Response::Pong { time: START, observed: None }),
            Request::FindNode { .. } if !does.get() => Ok(Response::Nodes { contacts: Vec::new() }),
            _ => Err(Rejection::OtherNetwork),
        })
    };
    let other = world.add_puppet(KeyPair::from_seed(&fill(66)), Box::new(puppet));
    world.bootstrap(node, &[other]);
    world.run_for(Span::from_mins(1));
    assert_eq!(world.stats(node).peers, 1);
    refuses.set(true);
    // Until it has failed so often that nobody is known any more.
    world.run_for(Span::HOUR.times(2));
    world.sent.clear();
    world.run_for(Span::from_mins(1));
    let looks = world.sent.iter().filter(|s| matches!(s.request, Request::FindNode { .. })).count();
    assert!((1..=61).contains(&looks), "{looks} times in a minute");
}
