//! Tests of the world: time, loss, streams, and what is whose.

use comm_proto::node::Command;

use super::*;
use crate::behaviour::{Behaviour, Call, Scene};
use crate::plan::{Off, Plan};

/// Wants to act at once, always.
struct Restless;

impl Behaviour for Restless {
    fn next_act(&self) -> Option<Time> {
        Some(Time::ZERO)
    }

    fn act(&mut self, _: &mut Scene<'_>) -> Vec<Call> {
        Vec::new()
    }
}

#[test]
#[should_panic(expected = "time stands still")]
fn a_world_in_which_time_stands_still_ends() {
    let network = Network { nodes: 2, ..Plan::default().network };
    let mut world = World::new(&network, 1);
    world.corrupt(&[0], || vec![Box::new(Restless)]);
    world.start(0, &[]);
    world.run_until(START + Span::from_secs(1));
}

/// Two hosts, of which the second knows the first, up for ten minutes.
fn two(loss: u32) -> World {
    let loss = crate::plan::Millionths::new(loss);
    let network = Network { nodes: 2, loss, ..Plan::default().network };
    let mut world = World::new(&network, 1);
    world.start(0, &[]);
    world.start(1, &[0]);
    world.run_until(START + Span::from_mins(10));
    world
}

fn calls(world: &World) -> u64 {
    world.messages().values().sum()
}

/// In a network of a million, millions of callers wait at a time.
#[test]
fn what_is_on_its_way_takes_little_room() {
    assert!(size_of::<Happening>() <= 80, "{} bytes", size_of::<Happening>());
}

#[test]
fn where_everything_is_lost_every_call_is_and_nobody_knows_anybody() {
    let world = two(1_000_000);
    assert!(
        calls(&world) > 5 && world.lost() == calls(&world),
        "{} {}",
        world.lost(),
        calls(&world)
    );
    assert_eq!(world.mean_peers(), 0.0);
}

#[test]
fn where_nothing_is_lost_nothing_is() {
    let world = two(0);
    assert_eq!((world.lost(), world.mean_peers()), (0, 1.0));
}

#[test]
fn a_stream_that_breaks_loses_what_is_on_its_way_and_is_opened_again() {
    let mut world = two(0);
    let contact = |world: &World, at: At| world.hosts[at].contact().clone();
    let to = contact(&world, 1);
    world.listen(0, &to, true);
    world.run_until(world.now() + Span::from_secs(1));
    let serial = world.streams.serial(0, 1).expect("it is open");
    let subscriber = world.hosts[0].key().address();
    world.send_push(1, &subscriber, Push::Waiting(Vec::new()));
    world.lose_stream(0, 1, serial);
    world.send_push(1, &subscriber, Push::Waiting(Vec::new()));
    assert_eq!(world.messages()["push waiting"], 1, "nothing is sent into what is broken");
    world.run_until(world.now() + Span::from_secs(2));
    assert_eq!(world.lost(), 1);
    assert!(world.streams.serial(0, 1).is_some_and(|other| other != serial));
    world.lose_stream(0, 1, serial);
    assert!(world.streams.serial(0, 1).is_some(), "it is another one now");
}

#[test]
fn a_stream_to_a_host_that_was_off_is_opened_again_by_whoever_dials_and_not_before() {
    let mut world = two(0);
    let to = world.hosts[1].contact().clone();
    world.listen(0, &to, true);
    let went = world.now() + Span::from_secs(1);
    world.run_until(went);
    world.go_down(1, 0);
    world.run_until(went + Span::from_secs(40));
    world.start(1, &[0]);
    // Dials are 1, 2, 4, 8, 16 and 32 seconds apart, a fifth more or less: the last before it came
    // back was at most 37.2 s after it went, the next is at least 50.4 s after it.
    world.run_until(went + Span::from_secs(50));
    assert_eq!(world.streams.serial(0, 1), None);
    world.run_until(went + Span::from_secs(76));
    assert!(world.streams.serial(0, 1).is_some());
}

#[test]
fn whoever_refuses_because_it_is_off_is_told_nothing() {
    let sent = |off| {
        let network = Network { nodes: 2, off, ..Plan::default().network };
        let mut world = World::new(&network, 1);
        world.start(0, &[1]);
        world.run_until(START + Span::from_mins(1));
        calls(&world)
    };
    assert!(sent(Off::Silent) > 0);
    assert_eq!(sent(Off::Refuses), 0);
}

#[test]
fn a_host_that_was_off_itself_dials_at_once() {
    let network = Network { nodes: 2, off: Off::Refuses, ..Plan::default().network };
    let mut world = World::new(&network, 1);
    world.start(0, &[1]);
    world.run_until(START + Span::from_secs(1));
    let waits = |world: &World| world.dials.wait(0, 1, world.now());
    assert!(waits(&world));
    world.go_down(0, 0);
    assert!(!waits(&world));
    world.start(1, &[]);
    world.start(0, &[1]);
    world.run_until(START + Span::from_secs(2));
    assert!(calls(&world) > 0);
}

#[test]
fn an_identity_that_an_adversary_has_made_up_is_the_adversarys_place_in_a_table() {
    let network = Network { nodes: 2, ..Plan::default().network };
    let mut world = World::new(&network, 1);
    world.corrupt(&[1], Vec::new);
    world.make_identities(&[1], 1);
    let identity = world.plot.identities.nearest(&world.address(0), 1);
    world.start(1, &[]);
    world.start(0, &[]);
    world.input(0, Input::Command(Command::Bootstrap(identity.clone())));
    world.run_until(START + Span::from_mins(10));
    let table: Vec<_> = world.hosts[0].node().unwrap().table_nodes().cloned().collect();
    assert!(table.iter().any(|known| known.key() == identity[0].key()), "{table:?}");
    let all = table.len() as u64;
    assert_eq!(world.standing().table, (all, all));
}

/// TCP and TLS 1.3 take a round trip each, 100 ms one way; the call of somebody else meanwhile waits as long.
#[test]
fn a_first_call_waits_for_a_dial_and_so_does_one_after_two_minutes_of_disuse() {
    let hundred = Span::from_millis(100);
    let network =
        Network { nodes: 2, latency: (hundred, hundred), dial: 2, ..Plan::default().network };
    let mut world = World::new(&network, 1);
    world.start(0, &[]);
    world.start(1, &[]);
    let mut dial_after = |seconds| {
        world.run_until(world.now() + Span::from_secs(seconds));
        world.dial(1, 0).as_millis()
    };
    assert_eq!([0, 0, 1, 119, 119, 120, 1].map(&mut dial_after), [400, 400, 0, 0, 0, 400, 0]);
    assert_eq!(world.dial(0, 1).as_millis(), 400, "links are those of whoever dials");
    world.run_until(world.now() + Span::from_secs(1));
    world.go_down(0, 0);
    world.start(0, &[]);
    assert_eq!([world.dial(1, 0), world.dial(0, 1)].map(Span::as_millis), [400, 400]);
    let to = world.hosts[0].contact().clone();
    world.listen(1, &to, true);
    world.run_until(world.now() + Span::from_mins(10));
    assert_eq!(world.dial(1, 0).as_millis(), 0, "a stream keeps its link open");
}

#[test]
fn an_answer_comes_after_the_dial() {
    let known_after = |dial| {
        let hundred = Span::from_millis(100);
        let network =
            Network { nodes: 2, latency: (hundred, hundred), dial, ..Plan::default().network };
        let mut world = World::new(&network, 1);
        world.start(0, &[]);
        world.start(1, &[0]);
        let knows = |world: &World| world.hosts[1].node().unwrap().stats().peers > 0;
        (0..100).find(|step| {
            world.run_until(START + Span::from_millis(100 * step));
            knows(&world)
        })
    };
    assert_eq!([0, 2, 3].map(known_after), [2, 6, 8].map(Some));
}
