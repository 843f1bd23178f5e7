//! Entries that keep back what they are to bring are found out and replaced (PROTOCOL §6.10).

use std::collections::BTreeSet;

use comm_proto::address::Address;
use comm_proto::message::{ClientRequest, ClientResponse, Request, Response};
use comm_proto::node::Event;
use comm_proto::rejection::Rejection;
use comm_proto::time::{Span, Time};

use crate::routing::{Large, large};
use crate::world::{At, Mailbox, World};

/// Answers everything as an entry would, and brings nothing.
fn deaf(now: Time, request: &Request) -> Result<Response, Rejection> {
    Ok(match request {
        Request::Ping { .. } => Response::Pong { time: now, observed: None },
        Request::FindNode { .. } => Response::Nodes { contacts: Vec::new() },
        Request::Offer { ids } => Response::Offered {
            wanted: ids.clone(),
            receipts: Vec::new(),
            acknowledgements: Vec::new(),
        },
        Request::Subscribe { after, .. } => {
            Response::Subscribed { waiting: Vec::new(), cursor: *after, more: false }
        }
        _ => Response::Done,
    })
}

fn entries(world: &mut World, host: At) -> BTreeSet<At> {
    let Ok(ClientResponse::Status(status)) = world.call(host, 0, ClientRequest::Status) else {
        panic!("no status")
    };
    status.entries.iter().map(|entry| world.at(entry).unwrap()).collect()
}

fn replaced(world: &World, host: At) -> Vec<Address> {
    let of_host = world.events.iter().filter(|(_, at, _)| *at == host);
    let replaced = of_host.filter_map(|(_, _, event)| match event {
        Event::EntryReplaced { entry } => Some(*entry),
        _ => None,
    });
    replaced.collect()
}

/// A client looks after its node's entries.
fn run_with_client(world: &mut World, reader: At, mailbox: &Mailbox, minutes: u64) {
    for _ in 0..minutes / 5 {
        world.subscribe(reader, 1, mailbox, 0);
        world.run_for(Span::from_mins(5));
    }
}

fn turn_deaf(world: &mut World, host: At) {
    // Its clock stands, and so little differs from others' that nobody minds.
    let now = world.now();
    world.turn(host, Box::new(move |_, request| Some(deaf(now, request))));
}

#[test]
fn an_entry_that_keeps_back_what_arrives_is_replaced_and_the_others_stay() {
    let Large { mut world, mailbox, reader, .. } = large(31, 60);
    let before = entries(&mut world, reader);
    let liar = *before.first().unwrap();
    turn_deaf(&mut world, liar);
    run_with_client(&mut world, reader, &mailbox, 180);
    assert_eq!(replaced(&world, reader), [world.address(liar)]);
    let after = entries(&mut world, reader);
    assert_eq!((after.len(), after.intersection(&before).count()), (4, 3), "{before:?} {after:?}");
}

#[test]
fn a_reader_all_of_whose_entries_lie_hears_again() {
    let Large { mut world, mailbox, writer, reader, .. } = large(32, 60);
    for liar in entries(&mut world, reader) {
        turn_deaf(&mut world, liar);
    }
    let letter = world.letter(&mailbox, 1);
    world.submit(writer, &letter).unwrap();
    run_with_client(&mut world, reader, &mailbox, 60);
    assert!(!world.has_been_given(reader, 1, &letter), "it was not deaf");
    run_with_client(&mut world, reader, &mailbox, 420);
    assert!(world.has_been_given(reader, 1, &letter), "{:?}", replaced(&world, reader));
}

#[test]
fn honest_entries_are_kept_although_messages_are_lost() {
    let Large { mut world, mailbox, reader, .. } = large(33, 40);
    world.links.lost_of_1000 = 50;
    run_with_client(&mut world, reader, &mailbox, 24 * 60);
    assert_eq!(replaced(&world, reader), []);
}

#[test]
fn a_node_without_readers_tests_nobody_and_one_with_readers_leaves_nothing_behind() {
    let Large { mut world, mailbox, writer, reader, .. } = large(34, 40);
    run_with_client(&mut world, reader, &mailbox, 120);
    let offers = |world: &World, host: At| {
        let own = world.sent.iter().filter(|sent| sent.from == host);
        own.filter(|sent| matches!(sent.request, Request::Offer { .. })).count()
    };
    assert_eq!(offers(&world, writer), 0);
    assert!(offers(&world, reader) > 3, "{}", offers(&world, reader));
    world.close_session(reader, 1);
    world.run_for(Span::from_mins(30));
    for host in world.hosts() {
        assert_eq!(world.stats(host).envelopes, 0, "at {host}");
    }
}
