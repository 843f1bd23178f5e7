//! What a node counts of what it does, which its metrics show (H6): each figure has been seen above zero.

use std::net::SocketAddr;

use comm_proto::envelope::{Envelope, TTL_DEFAULT};
use comm_proto::key::KeyPair;
use comm_proto::message::Request;
use comm_proto::node::{Event, Held};
use comm_proto::time::Span;

use crate::world::{Mailbox, World, fill};

/// Two nodes, of which the first has taken three letters from its client.
fn with_three_letters() -> World {
    let mut world = World::of(3, 2);
    let mailbox = Mailbox::new(1);
    for number in 0..3 {
        let letter = world.letter(&mailbox, number);
        world.submit(0, &letter).unwrap();
    }
    world.run_for(Span::from_mins(1));
    world
}

#[test]
fn what_is_relayed_is_counted_once_each() {
    let world = with_three_letters();
    let [writer, other] = [0, 1].map(|host| world.stats(host));
    assert_eq!((writer.accepted, writer.relayed), (3, 3));
    assert_eq!((other.accepted, other.relayed), (3, 0), "it has them from the first");
}

#[test]
fn what_is_held_is_counted_by_role_also_after_a_restart() {
    let mut world = with_three_letters();
    let (own, relayed) =
        (Held { own: 3, ..Held::default() }, Held { relayed: 3, ..Held::default() });
    assert_eq!([0, 1].map(|host| world.stats(host).held), [own, relayed]);
    let taken = [0, 1].map(|host| world.stats(host).taken);
    assert_eq!(
        (taken[0].own, taken[1].region),
        (3, 3),
        "in a small network everybody is of the region"
    );
    for host in [0, 1] {
        world.crash(host);
        world.start(host);
    }
    assert_eq!([0, 1].map(|host| world.stats(host).held), [own, relayed]);
    world.run_for(TTL_DEFAULT + Span::DAY);
    assert_eq!([0, 1].map(|host| world.stats(host).held), [Held::default(); 2]);
}

#[test]
fn what_a_client_submits_that_others_had_brought_is_its_own_from_then_on() {
    let mut world = World::of(3, 1);
    let mailbox = Mailbox::new(1);
    let letter = world.letter(&mailbox, 1);
    let key = KeyPair::from_seed(&fill(9)).public();
    world.ask_as(key, 0, Request::Deliver { envelopes: vec![letter.clone()] });
    world.run_for(Span::from_millis(10));
    assert_eq!(world.stats(0).held, Held { relayed: 1, ..Held::default() });
    world.submit(0, &letter).unwrap();
    assert_eq!(world.stats(0).held, Held { own: 1, ..Held::default() });
    let stats = world.stats(0);
    assert_eq!((stats.taken.region, stats.taken.own, stats.accepted), (1, 0, 1));
}

#[test]
fn receipts_are_counted_by_who_gives_them_and_by_who_gets_them() {
    let world = with_three_letters();
    let [writer, other] = [0, 1].map(|host| world.stats(host));
    // Each repeats the letters to the other, which signs for them each time; nothing is lost on the way.
    assert!(writer.receipts_received >= 3 && other.receipts_received >= 3, "{writer:?}");
    assert_eq!(writer.receipts_received, other.receipts_given);
    assert_eq!(other.receipts_received, writer.receipts_given);
}

#[test]
fn what_expires_is_counted_once_each() {
    let mut world = with_three_letters();
    world.run_for(TTL_DEFAULT + Span::DAY);
    for host in [0, 1] {
        let stats = world.stats(host);
        assert_eq!((stats.envelopes, stats.expired, stats.acknowledged), (0, 3, 0));
    }
}

#[test]
fn what_is_evicted_is_counted_once_each() {
    let mut world = World::with(1, 1, |config| config.store_bytes_max = 256 << 10);
    let mailbox = Mailbox::new(1);
    for (network, count) in [(1_u8, 192), (2, 32)] {
        let source: SocketAddr = ([30, network, 0, 1], 50_000).into();
        let key = KeyPair::from_seed(&fill(network.into())).public();
        let letters: Vec<Envelope> =
            (0..count).map(|n| world.letter(&mailbox, u64::from(network) << 32 | n)).collect();
        for some in letters.chunks(32) {
            let envelopes = some.to_vec();
            world.ask_from(source, key, 0, Request::Deliver { envelopes });
            world.run_for(Span::from_millis(10));
        }
    }
    let evicted =
        world.events.iter().filter(|(_, _, event)| matches!(event, Event::Evicted { .. }));
    let (evicted, stats) = (evicted.count() as u64, world.stats(0));
    assert!(evicted > 0, "nothing gave way");
    assert_eq!((stats.evicted, stats.accepted), (evicted, stats.envelopes + evicted));
}
