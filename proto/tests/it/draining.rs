//! A node that leaves for good hands over what it holds before, and whatever comes in between nothing is lost.

use std::collections::BTreeSet;

use comm_proto::envelope::{Envelope, SizeClass};
use comm_proto::key::KeyPair;
use comm_proto::message::{EnvelopeState, Request, Response};
use comm_proto::node::{Command, Event, Handover, Input};
use comm_proto::rejection::Rejection;
use comm_proto::store::MemoryStore;
use comm_proto::time::Span;

use crate::world::{At, Mailbox, World};

/// Longer than handing over may take where there are a few hundred envelopes.
const PATIENCE: Span = Span::from_mins(5);

fn drain(world: &mut World, host: At) {
    world.input(host, Input::Command(Command::Drain));
}

/// What has become of the last handing over of this host, if it has ended.
fn drained(world: &World, host: At) -> Option<Handover> {
    world.events.iter().rev().find_map(|(_, at, event)| match event {
        Event::Drained { handover } if *at == host => Some(*handover),
        _ => None,
    })
}

fn drain_to_the_end(world: &mut World, host: At) -> Handover {
    drain(world, host);
    assert!(world.run_while(PATIENCE, |world| drained(world, host).is_none()), "host {host}");
    drained(world, host).unwrap()
}

fn everybody_but(world: &World, host: At) -> Vec<At> {
    world.hosts().filter(|at| *at != host).collect()
}

/// Keeps `host` from all others.
fn cut_off(world: &mut World, host: At) {
    let others = everybody_but(world, host);
    world.part(&[&[host], &others]);
}

fn submit_all(world: &mut World, host: At, letters: &[Envelope]) {
    for letter in letters {
        world.submit(host, letter).unwrap();
    }
}

/// Submits at the first host from `host` on that takes it, as clients do that know of several.
fn submit_somewhere(world: &mut World, host: At, letter: &Envelope) {
    let count = world.hosts().len();
    for at in (host..host + count).map(|at| at % count) {
        if !world.is_up(at) {
            continue;
        }
        match world.submit(at, letter) {
            Ok(_) => return,
            Err(Rejection::Leaving) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("nobody takes it");
}

/// Four of these hosts leave, one after the other, each with its disk, while letters are written.
fn leave_one_after_the_other(world: &mut World, count: usize) {
    let mailbox = Mailbox::new(1);
    let mut letters = Vec::new();
    let write = |world: &mut World, letters: &mut Vec<Envelope>| {
        let number = letters.len();
        letters.push(world.letter(&mailbox, number as u64));
        submit_somewhere(world, number * 7 % count, &letters[number]);
    };
    for _ in 0..100 {
        write(world, &mut letters);
    }
    for host in 1..5 {
        drain(world, host);
        while drained(world, host).is_none() {
            write(world, &mut letters);
            world.run_for(Span::from_millis(200));
            assert!(letters.len() < 5_000, "host {host} does not come to an end");
        }
        let handover = drained(world, host).unwrap();
        assert!(handover.is_complete(), "host {host}: {handover:?}");
        assert!(handover.handed_over > 0 && handover.receipts >= 3 * handover.handed_over);
        world.replace_disk(host, MemoryStore::new());
        world.crash(host);
        for letter in &letters {
            assert!(!world.holders(&letter.id()).is_empty(), "host {host}: a letter is lost");
        }
    }
    world.subscribe(0, 1, &mailbox, 0);
    world.run_for(Span::from_mins(10));
    let given: BTreeSet<_> = world.given(0, 1).into_iter().map(|(_, id)| id).collect();
    assert_eq!(given, letters.iter().map(Envelope::id).collect(), "of {}", letters.len());
}

#[test]
fn four_of_twenty_nodes_leave_one_after_the_other_under_load_and_nothing_is_lost() {
    let mut world = World::of(1, 20);
    leave_one_after_the_other(&mut world, 20);
}

/// Where regions are searched and clients hidden behind entries.
#[test]
fn four_of_fifty_nodes_leave_one_after_the_other_under_load_and_nothing_is_lost() {
    let mut world = World::of(2, 50);
    leave_one_after_the_other(&mut world, 50);
}

#[test]
fn what_only_the_leaving_node_has_is_with_others_when_it_ends() {
    let mut world = World::of(3, 20);
    let mailbox = Mailbox::new(1);
    cut_off(&mut world, 5);
    let letters: Vec<_> = (0..300).map(|number| world.letter(&mailbox, number)).collect();
    submit_all(&mut world, 5, &letters);
    assert!(letters.iter().all(|letter| world.holders(&letter.id()) == [5]));
    world.heal();
    let handover = drain_to_the_end(&mut world, 5);
    world.crash(5);
    assert_eq!((handover.envelopes, handover.handed_over, handover.few), (300, 300, 0));
    for letter in &letters {
        let others = world.holders(&letter.id()).into_iter().filter(|at| *at != 5).count();
        assert!(others >= 3, "{others}");
    }
}

/// Receipts from before say what lay on a disk then.
#[test]
fn receipts_of_long_ago_count_for_nothing() {
    let mut world = World::of(4, 4);
    let letter = world.letter(&Mailbox::new(1), 1);
    world.submit(0, &letter).unwrap();
    world.run_for(Span::from_mins(1));
    assert_eq!(world.state(0, &letter), Some(EnvelopeState::Stored(3)));
    for host in 1..4 {
        world.replace_disk(host, MemoryStore::new());
    }
    for host in 1..4 {
        world.bootstrap(host, &[0]);
    }
    world.run_for(Span::from_secs(5));
    drain_to_the_end(&mut world, 0);
    world.crash(0);
    assert_eq!(world.holders(&letter.id()).into_iter().filter(|at| *at != 0).count(), 3);
}

#[test]
fn nodes_that_leave_at_the_same_time_do_not_count_on_each_other() {
    let mut world = World::of(5, 3);
    let letter = world.letter(&Mailbox::new(1), 1);
    world.submit(0, &letter).unwrap();
    world.run_for(Span::from_mins(1));
    drain(&mut world, 0);
    let handover = drain_to_the_end(&mut world, 1);
    assert_eq!((handover.handed_over, handover.receipts, handover.few), (1, 1, 1));
    world.run_while(PATIENCE, |world| drained(world, 0).is_none());
    assert_eq!(drained(&world, 0).unwrap().receipts, 1);
    // The last two stay where they are if both want to go.
    let mut world = World::of(6, 2);
    world.submit(0, &letter).unwrap();
    world.run_for(Span::from_mins(1));
    drain(&mut world, 0);
    let handover = drain_to_the_end(&mut world, 1);
    assert_eq!((handover.handed_over, handover.refused), (0, 1), "{handover:?}");
    world.run_while(PATIENCE, |world| drained(world, 0).is_none());
    assert!(!drained(&world, 0).unwrap().is_complete());
    assert_eq!(world.holders(&letter.id()), [0, 1]);
}

#[test]
fn a_node_alone_says_so_keeps_everything_and_goes_on() {
    let mut world = World::new(7);
    let host = world.add(|_| {});
    let mailbox = Mailbox::new(1);
    let letter = world.letter(&mailbox, 1);
    world.submit(host, &letter).unwrap();
    let handover = drain_to_the_end(&mut world, host);
    assert_eq!((handover.envelopes, handover.unanswered), (1, 1));
    assert!(!handover.is_complete());
    assert_eq!(world.holders(&letter.id()), [host]);
    let another = world.letter(&mailbox, 2);
    assert_eq!(world.submit(host, &another), Ok(EnvelopeState::Accepted));
}

/// Whoever removes its data then would take with it that a message was read.
#[test]
fn a_node_alone_with_an_end_that_nobody_was_told_is_not_done() {
    let mut world = World::new(17);
    let host = world.add(|_| {});
    let mailbox = Mailbox::new(1);
    let letter = world.letter(&mailbox, 1);
    world.submit(host, &letter).unwrap();
    world.acknowledge(host, &mailbox, &[&letter]);
    world.run_for(Span::from_secs(1));
    let handover = drain_to_the_end(&mut world, host);
    assert_eq!((handover.envelopes, handover.endings, handover.endings_untold), (0, 1, 1));
    assert!(!handover.is_complete());
}

#[test]
fn a_node_whose_neighbours_do_not_answer_gives_up_and_keeps_everything() {
    let mut world = World::of(8, 4);
    let mailbox = Mailbox::new(1);
    cut_off(&mut world, 2);
    let letters: Vec<_> = (0..700).map(|number| world.letter(&mailbox, number)).collect();
    submit_all(&mut world, 2, &letters);
    let handover = drain_to_the_end(&mut world, 2);
    assert_eq!((handover.handed_over, handover.unanswered, handover.left()), (0, 700, 0));
    assert_eq!(world.stats(2).envelopes, 700);
}

#[test]
fn what_nobody_has_room_for_is_counted_and_kept() {
    let mut world = World::new(9);
    let host = world.add(|_| {});
    for _ in 0..3 {
        let full = world.add(|config| config.store_bytes_max = 1 << 14);
        world.bootstrap(full, &[host]);
    }
    world.run_for(Span::from_secs(20));
    let (mailbox, soon) = (Mailbox::new(1), world.now() + Span::DAY);
    let large = mailbox.sized(SizeClass::K64, 1, soon);
    let small = mailbox.sized(SizeClass::K1, 2, soon);
    world.submit(host, &large).unwrap();
    world.submit(host, &small).unwrap();
    world.run_for(Span::from_secs(10));
    let handover = drain_to_the_end(&mut world, host);
    assert_eq!((handover.handed_over, handover.no_room), (1, 1), "{handover:?}");
    assert_eq!(world.holders(&large.id()), [host]);
}

/// A reader has acknowledged where nobody heard of it, as during an outage.
#[test]
fn an_end_that_only_the_leaving_node_knows_is_handed_on() {
    let mut world = World::of(10, 20);
    let mailbox = Mailbox::new(1);
    let letter = world.letter(&mailbox, 1);
    world.submit(0, &letter).unwrap();
    world.run_for(Span::from_mins(1));
    assert_eq!(world.holders(&letter.id()).len(), 20);
    cut_off(&mut world, 9);
    world.acknowledge(9, &mailbox, &[&letter]);
    world.run_for(Span::from_mins(1));
    assert_eq!(world.holders(&letter.id()).len(), 19);
    world.heal();
    let handover = drain_to_the_end(&mut world, 9);
    assert_eq!((handover.endings_told, handover.endings_untold), (1, 0), "{handover:?}");
    world.crash(9);
    assert_eq!(world.holders(&letter.id()), [] as [At; 0]);
    let state = world.state(0, &letter);
    assert!(matches!(state, Some(EnvelopeState::Delivered { .. })), "{state:?}");
}

#[test]
fn a_leaving_node_takes_nothing_in_and_gives_no_receipts_until_it_stays() {
    let mut world = World::of(11, 4);
    let mailbox = Mailbox::new(1);
    let (held, new) = (world.letter(&mailbox, 1), world.letter(&mailbox, 2));
    world.submit(1, &held).unwrap();
    world.run_for(Span::from_mins(1));
    let all = everybody_but(&world, 1);
    cut_off(&mut world, 1);
    drain(&mut world, 1);
    assert_eq!(world.submit(1, &new), Err(Rejection::Leaving));
    // Its own client asks again for what it was promised.
    assert_eq!(world.submit(1, &held), Ok(EnvelopeState::Stored(all.len() as u32)));
    let stranger = KeyPair::from_seed(&[9; 32]).public();
    let offered = world.ask_as(stranger, 1, Request::Offer { ids: vec![held.id()] });
    let delivered = world.ask_as(stranger, 1, Request::Deliver { envelopes: vec![new.clone()] });
    let pinged = world.ask_as(stranger, 1, Request::Ping { endpoints: Vec::new() });
    world.run_for(Span::from_secs(1));
    assert_eq!(world.answer(offered), Some(&Err(Rejection::Leaving)));
    assert_eq!(world.answer(delivered), Some(&Err(Rejection::Leaving)));
    assert!(matches!(world.answer(pinged), Some(Ok(Response::Pong { .. }))));
    world.input(1, Input::Command(Command::Stay));
    assert_eq!(world.submit(1, &new), Ok(EnvelopeState::Accepted));
    let offered = world.ask_as(stranger, 1, Request::Offer { ids: vec![held.id()] });
    world.run_for(Span::from_secs(1));
    assert!(
        matches!(world.answer(offered), Some(Ok(Response::Offered { receipts, .. })) if receipts.len() == 1)
    );
    world.run_for(PATIENCE);
    assert_eq!(drained(&world, 1), None);
}

#[test]
fn a_second_order_to_leave_changes_nothing_and_a_restart_makes_an_ordinary_node() {
    let mut world = World::of(12, 4);
    let mailbox = Mailbox::new(1);
    let letter = world.letter(&mailbox, 1);
    world.submit(0, &letter).unwrap();
    drain(&mut world, 0);
    drain(&mut world, 0);
    world.run_for(PATIENCE);
    let ends = |world: &World| {
        let is_end = |event: &&Event| matches!(event, Event::Drained { .. });
        world.events.iter().map(|(_, _, event)| event).filter(is_end).count()
    };
    assert_eq!(ends(&world), 1);
    // It has ended and waits to be stopped.
    drain(&mut world, 0);
    world.run_for(PATIENCE);
    assert_eq!(ends(&world), 1);
    let another = world.letter(&mailbox, 2);
    assert_eq!(world.submit(0, &another), Err(Rejection::Leaving));
    world.crash(0);
    world.start(0);
    assert!(world.host(0).holds(&letter.id()));
    assert_eq!(world.submit(0, &another), Ok(EnvelopeState::Accepted));
}

/// Whatever is lost with the power, it is no envelope: what the last receipts say is on others' disks.
#[test]
fn a_crash_at_any_write_while_a_node_leaves_loses_nothing() {
    let mailbox = Mailbox::new(1);
    for boundary in 1..400 {
        let mut world = World::of(13, 5);
        world.disk = Span::from_millis(30);
        cut_off(&mut world, 2);
        let letters: Vec<_> = (0..8).map(|number| world.letter(&mailbox, number)).collect();
        submit_all(&mut world, 2, &letters);
        world.heal();
        // In turn the one that leaves and one that takes over.
        let victim = if boundary % 2 == 0 { 2 } else { 3 };
        world.plan_crash(victim, boundary / 2 + 1);
        drain(&mut world, 2);
        let going = |world: &World| drained(world, 2).is_none() && world.is_up(2);
        world.run_while(PATIENCE, going);
        let crashed = !world.is_up(victim);
        if crashed {
            world.start(victim);
        }
        world.spare(victim);
        if let Some(handover) = drained(&world, 2).filter(Handover::is_complete) {
            assert_eq!(handover.handed_over, 8);
            // The one that has left takes its disk along.
            world.replace_disk(2, MemoryStore::new());
            world.crash(2);
        }
        for letter in &letters {
            assert!(!world.holders(&letter.id()).is_empty(), "boundary {boundary}");
        }
        if !crashed && boundary % 2 == 0 {
            assert!(boundary > 10, "only {boundary} boundaries");
            return;
        }
    }
    panic!("it never ends");
}
