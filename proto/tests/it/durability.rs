//! What was promised is kept, wherever power goes: at every write and at every completed write.

use std::collections::BTreeSet;

use comm_proto::envelope::Envelope;
use comm_proto::key::KeyPair;
use comm_proto::message::{
    ClientPush, ClientRequest, ClientResponse, EnvelopeState, Push, Request, Response,
};
use comm_proto::node::Family;
use comm_proto::time::Span;

use crate::world::{At, Mailbox, World};

/// Submits over and over what has not been accepted yet, as a client does.
fn submit_until_accepted(world: &mut World, host: At, envelope: &Envelope) {
    for _ in 0..100 {
        let submit = ClientRequest::Submit { envelope: envelope.clone() };
        let id = world.ask(host, 0, submit);
        world.run_for(Span::from_millis(200));
        if let Some(Ok(ClientResponse::Submitted { .. })) = world.reply(host, id) {
            return;
        }
        if !world.is_up(host) {
            world.start(host);
        }
    }
    panic!("never accepted");
}

/// D6: a node alone, at every one of its boundaries.
#[test]
fn what_was_accepted_survives_a_crash_at_any_write_and_any_completed_write() {
    let mailbox = Mailbox::new(1);
    for boundary in 1.. {
        let mut world = World::new(1);
        let host = world.add(|_| {});
        world.plan_crash(host, boundary);
        let letters: Vec<_> = (0..5).map(|number| world.letter(&mailbox, number)).collect();
        let mut accepted = Vec::new();
        let asked: Vec<_> = letters
            .iter()
            .map(|letter| world.ask(host, 0, ClientRequest::Submit { envelope: letter.clone() }))
            .collect();
        world.run_for(Span::from_secs(1));
        for (letter, id) in letters.iter().zip(asked) {
            if let Some(Ok(ClientResponse::Submitted { .. })) = world.reply(host, id) {
                accepted.push(letter.id());
            }
        }
        if world.is_up(host) {
            assert!(boundary > 10, "only {boundary} boundaries");
            return;
        }
        world.start(host);
        world.subscribe(host, 1, &mailbox, 0);
        let left: BTreeSet<_> = world.given(host, 1).into_iter().map(|(_, id)| id).collect();
        assert!(accepted.iter().all(|id| left.contains(id)), "boundary {boundary}");
        // What is left is whole, and is what the totals say.
        assert_eq!(world.stats(host).envelopes, left.len() as u64);
        for table in [Family::Custody, Family::Envelopes, Family::Mailboxes, Family::Schedule] {
            assert_eq!(world.kept(host, table), left.len(), "{}", table.name());
        }
    }
}

/// D6: a hundred seeds of a network in which nodes crash time and again.
#[test]
fn no_accepted_envelope_is_lost_by_crashes_of_any_node_at_any_write() {
    for seed in 0..100 {
        let mut world = World::of(seed, 4);
        world.links.lost_of_1000 = seed % 3 * 20;
        world.disk = Span::from_millis(1 + seed % 50);
        let mailbox = Mailbox::new(1);
        let letters: Vec<_> = (0..6).map(|number| world.letter(&mailbox, number)).collect();
        let mut crashes = 0;
        for (number, letter) in letters.iter().enumerate() {
            let victim = (seed as usize + number) % 4;
            world.plan_crash(victim, 1 + (seed as u32 * 7 + number as u32 * 3) % 17);
            submit_until_accepted(&mut world, number % 2, letter);
            world.run_for(Span::from_secs(3));
            for host in world.hosts() {
                if !world.is_up(host) {
                    crashes += 1;
                    world.start(host);
                }
            }
        }
        assert!(crashes > 0, "seed {seed} crashes nobody");
        for host in world.hosts() {
            world.spare(host);
            if !world.is_up(host) {
                world.start(host);
            }
        }
        world.run_for(Span::from_secs(5));
        world.subscribe(3, 1, &mailbox, 0);
        world.run_for(Span::from_mins(2));
        let given: BTreeSet<_> = world.given(3, 1).into_iter().map(|(_, id)| id).collect();
        assert_eq!(given, letters.iter().map(Envelope::id).collect(), "seed {seed}");
        world.acknowledge(3, &mailbox, &letters.iter().collect::<Vec<_>>());
        world.run_for(Span::from_mins(30));
        for host in world.hosts() {
            let left = letters.iter().filter(|letter| world.host(host).holds(&letter.id()));
            assert_eq!(left.count(), 0, "seed {seed}: host {host} has not stopped");
            assert_eq!(world.stats(host).envelopes, 0);
            assert_eq!(world.kept(host, Family::Envelopes), 0);
        }
    }
}

/// D6: an acknowledgement that was answered is not forgotten either.
#[test]
fn what_was_acknowledged_does_not_come_back_after_a_crash_at_any_write() {
    let mailbox = Mailbox::new(1);
    for boundary in 1..20 {
        let mut world = World::of(2, 2);
        let letter = world.letter(&mailbox, 1);
        world.submit(1, &letter).unwrap();
        world.run_for(Span::from_mins(1));
        world.plan_crash(1, boundary);
        let acknowledgements = vec![mailbox.acknowledge(&[&letter])];
        let id = world.ask(1, 0, ClientRequest::Acknowledge { acknowledgements });
        world.run_for(Span::from_secs(1));
        let done = world.reply(1, id).is_some();
        if !world.is_up(1) {
            world.start(1);
        }
        world.run_for(Span::from_mins(10));
        assert!(!done || world.holders(&letter.id()).is_empty(), "boundary {boundary}");
    }
}

/// D11: whatever a client was told of an envelope's state is still true after a crash.
#[test]
fn no_state_that_was_told_is_taken_back_by_a_crash() {
    let mailbox = Mailbox::new(1);
    for boundary in 1..60 {
        let mut world = World::of(3, 4);
        world.disk = Span::from_millis(300);
        world.subscribe(3, 1, &mailbox, 0);
        let letter = world.letter(&mailbox, 1);
        world.submit(0, &letter).unwrap();
        // Not waited for: meanwhile the node would pass boundaries at which it is to crash.
        world.ask(0, 7, ClientRequest::Watch { ids: vec![letter.id()] });
        world.plan_crash(0, boundary);
        let read = |world: &World| world.has_been_given(3, 1, &letter);
        // Each state is to be told before the next: what overtakes the receipts leaves none to tell.
        let stored = |world: &World| last_state(world, 0, 7) == Some(EnvelopeState::Stored(3));
        world.run_while(Span::from_secs(2), |world| !read(world) || !stored(world));
        if read(&world) {
            world.acknowledge(3, &mailbox, &[&letter]);
        }
        world.run_while(Span::from_secs(20), |world| world.is_up(0));
        let told = last_state(&world, 0, 7);
        if world.is_up(0) {
            assert!(boundary > 4, "{boundary}");
            assert!(matches!(told, Some(EnvelopeState::Delivered { .. })));
            return;
        }
        let told = world.last_words(0).or(told).unwrap_or(EnvelopeState::Accepted);
        world.part(&[&[1, 2, 3], &[0]]);
        world.start(0);
        let now = world.state(0, &letter).unwrap();
        assert!(now >= told, "boundary {boundary}: {told:?} was told, now it is {now:?}");
    }
}

fn last_state(world: &World, host: At, session: u64) -> Option<EnvelopeState> {
    world.pushes(host, session).iter().rev().find_map(|(_, push)| match push {
        ClientPush::State { state, .. } => Some(*state),
        _ => None,
    })
}

/// F12: a number is never given to two envelopes, even if the first was lost.
#[test]
fn a_cursor_that_a_client_keeps_hides_nothing_after_a_crash() {
    let mut world = World::new(4);
    let host = world.add(|_| {});
    let mailbox = Mailbox::new(1);
    world.disk = Span::from_secs(10);
    let lost = world.letter(&mailbox, 1);
    world.ask(host, 0, ClientRequest::Submit { envelope: lost });
    world.run_for(Span::from_millis(100));
    world.subscribe(host, 1, &mailbox, 0);
    let cursor = world.given(host, 1).last().map_or(0, |(cursor, _)| *cursor);
    world.crash(host);
    world.disk = Span::from_millis(5);
    world.start(host);
    let kept = world.letter(&mailbox, 2);
    world.submit(host, &kept).unwrap();
    world.subscribe(host, 1, &mailbox, cursor);
    assert!(world.has_been_given(host, 1, &kept), "hidden behind {cursor}");
}

/// D6: a slow disk delays promises and nothing else.
#[test]
fn nothing_is_receipted_before_a_slow_disk_has_it() {
    let mut world = World::of(5, 3);
    world.disk = Span::from_secs(2);
    let letter = world.letter(&Mailbox::new(1), 1);
    let began = world.now();
    world.submit(0, &letter).unwrap();
    assert_eq!(world.now().since(began), Span::from_secs(2));
    assert_eq!(world.state(0, &letter), Some(EnvelopeState::Accepted));
    world.run_for(Span::from_secs(30));
    assert_eq!(world.state(0, &letter), Some(EnvelopeState::Stored(2)));
}

/// A disk that is slower than a reader: the envelope is gone when its promises would be due.
#[test]
fn what_is_read_before_the_disk_has_it_is_neither_promised_nor_announced_any_more() {
    let mut world = World::of(1, 2);
    let mailbox = Mailbox::new(1);
    world.subscribe(1, 1, &mailbox, 0);
    world.run_for(Span::from_secs(5));
    let letter = world.letter(&mailbox, 1);
    let acknowledgement = mailbox.acknowledge(&[&letter]);
    let stranger = KeyPair::from_seed(&[9; 32]).public();
    world.pushed.clear();
    world.disk = Span::from_secs(1);
    let deliver = Request::Deliver { envelopes: vec![letter.clone()] };
    let delivered = world.ask_as(stranger, 0, deliver);
    let offered = world.ask_as(stranger, 0, Request::Offer { ids: vec![letter.id()] });
    let acknowledgements = vec![acknowledgement.clone()];
    world.ask_as(stranger, 0, Request::Acknowledge { acknowledgements });
    world.run_for(Span::from_secs(5));

    for answer in [world.answer(delivered), world.answer(offered)] {
        let (Some(Ok(Response::Delivered { receipts, acknowledgements, .. }))
        | Some(Ok(Response::Offered { receipts, acknowledgements, .. }))) = answer
        else {
            panic!("{answer:?}")
        };
        assert_eq!((receipts.len(), acknowledgements), (0, &vec![acknowledgement.clone()]));
    }
    assert!(
        !world.pushed.iter().any(|push| matches!(push, Push::Waiting(_))),
        "{:?}",
        world.pushed
    );
}
