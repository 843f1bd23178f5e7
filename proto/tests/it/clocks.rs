//! Clocks that are wrong from the start, that jump, and peers that lie about the time.

use comm_proto::address::Address;
use comm_proto::envelope::{CLOCK_TOLERANCE, Envelope};
use comm_proto::key::KeyPair;
use comm_proto::message::{EnvelopeState, Request, Response};
use comm_proto::node::{Event, Family};
use comm_proto::rejection::Rejection;
use comm_proto::time::{Span, Time};

use crate::world::{At, Mailbox, START, World, entries, fill};

const DAY: i64 = 86_400_000;
/// How much later than its expiry, and no more, what a relay holds is gone for sure: the tolerance
/// between clocks, and how often the clock is looked at.
const MARGIN: Span = Span::from_mins(3 * 60 + 16);

/// A network in which one node's clock is wrong from its first start.
fn skewed(seed: u64, count: usize, skew: i64) -> (World, At) {
    let mut world = World::new(seed);
    for _ in 0..count {
        world.add(|_| {});
    }
    let wrong = count - 1;
    world.crash(wrong);
    world.set_clock(wrong, skew);
    world.start(wrong);
    (1..count).for_each(|host| world.bootstrap(host, &[0]));
    world.run_for(Span::from_secs(20));
    (world, wrong)
}

fn letter(world: &World, ttl: Span) -> Envelope {
    Mailbox::new(1).envelope(1, world.now() + ttl)
}

/// A clock that was ahead moves the rounds along with it: they must not wait until it is that late.
#[test]
fn what_is_due_by_a_clock_that_was_ahead_is_offered_soon_after_it_is_put_right() {
    let mut world = World::with(1, 12, |config| config.region_nodes = 4);
    world.part(&[&[0]]);
    world.set_clock(0, 5 * DAY);
    let letter = letter(&world, Span::from_days(14));
    world.submit(0, &letter).unwrap();
    world.run_for(Span::from_mins(30));
    assert_eq!(world.holders(&letter.id()), [0]);
    world.crash(0);
    world.set_clock(0, 0);
    world.heal();
    world.start(0);
    world.run_for(Span::from_mins(10));
    assert!(world.holders(&letter.id()).len() > 1);
}

/// A clock that shows local time for the world's is put right a moment after the start: what came in
/// meanwhile must not lie still for as long as the clock was ahead.
#[test]
fn what_is_due_by_a_clock_that_was_hours_ahead_does_not_lie_still_for_hours() {
    for minutes in [25, 2 * 60, 7 * 60] {
        let mut world = World::with(1, 12, |config| config.region_nodes = 4);
        world.run_for(Span::from_mins(1));
        // From now on the clock is written down.
        world.submit(0, &Mailbox::new(2).envelope(1, world.now() + Span::DAY)).unwrap();
        world.run_for(Span::from_mins(1));
        world.part(&[&[0]]);
        world.set_clock(0, minutes * 60_000);
        let letter = letter(&world, Span::from_days(14));
        world.submit(0, &letter).unwrap();
        world.run_for(Span::from_mins(1));
        assert_eq!(world.holders(&letter.id()), [0]);
        world.crash(0);
        world.set_clock(0, 0);
        world.heal();
        world.start(0);
        world.run_for(Span::from_mins(5));
        assert!(world.holders(&letter.id()).len() > 1, "{minutes} minutes ahead");
    }
}

fn run_until(world: &mut World, end: Time) {
    let left = end.since(world.now());
    world.run_for(left);
}

/// D9: it takes in what by its own clock is over, keeps it, serves it, and removes it in time.
#[test]
fn a_relay_whose_clock_is_a_day_ahead_keeps_and_serves_until_the_others_do() {
    let (mut world, wrong) = skewed(1, 6, DAY);
    let by =
        |event: &Event| matches!(event, Event::ClockAhead { by } if *by > Span::from_mins(1_439));
    assert!(world.events.iter().any(|(_, at, event)| *at == wrong && by(event)));
    let letter = letter(&world, Span::from_mins(20 * 60));
    world.submit(0, &letter).unwrap();
    world.run_for(Span::from_mins(1));
    assert_eq!(world.state(0, &letter), Some(EnvelopeState::Stored(5)), "its receipt is refused");
    run_until(&mut world, letter.expires_at() - Span::from_mins(1));
    assert!(world.host(wrong).holds(&letter.id()));
    world.subscribe(wrong, 1, &Mailbox::new(1), 0);
    assert!(world.has_been_given(wrong, 1, &letter));
    run_until(&mut world, letter.expires_at() + MARGIN);
    assert_eq!(world.holders(&letter.id()), []);
}

/// D9: it keeps what the others do not call over, and its word of what was read ends theirs.
#[test]
fn a_relay_whose_clock_is_ahead_tells_whoever_still_offers_what_was_read() {
    let (mut world, wrong) = skewed(4, 6, DAY - DAY / 24);
    let letter = letter(&world, Span::HOUR);
    world.submit(0, &letter).unwrap();
    world.run_for(Span::from_mins(1));
    world.acknowledge(wrong, &Mailbox::new(1), &[&letter]);
    let stranger = KeyPair::from_seed(&fill(9)).public();
    let id = world.ask_as(stranger, wrong, Request::Offer { ids: vec![letter.id()] });
    world.run_for(Span::from_secs(1));
    let Some(Ok(Response::Offered { acknowledgements, .. })) = world.answer(id) else {
        panic!("{:?}", world.answer(id))
    };
    assert_eq!(acknowledgements.len(), 1);
}

/// D9: it keeps for as much longer as it is behind, and nobody takes anything of it any more.
#[test]
fn a_relay_whose_clock_is_a_day_behind_keeps_a_day_longer_and_brings_nothing_back() {
    let (mut world, wrong) = skewed(2, 6, -DAY);
    let is_behind = |event: &Event| matches!(event, Event::ClockBehind { .. });
    assert!(world.events.iter().any(|(_, at, event)| *at == wrong && is_behind(event)));
    let letter = letter(&world, Span::from_days(2));
    world.submit(0, &letter).unwrap();
    run_until(&mut world, letter.expires_at() - Span::from_mins(1));
    assert_eq!(world.holders(&letter.id()).len(), 6);
    run_until(&mut world, letter.expires_at() + MARGIN);
    assert_eq!(world.holders(&letter.id()), [wrong]);
    run_until(&mut world, letter.expires_at() + Span::DAY - Span::from_mins(10));
    assert_eq!(world.holders(&letter.id()), [wrong]);
    run_until(&mut world, letter.expires_at() + Span::DAY + MARGIN);
    assert_eq!(world.holders(&letter.id()), []);
}

/// D9: a clock that is wrong after a restart finds what it has on disk and removes none of it.
#[test]
fn a_relay_that_comes_back_with_a_clock_that_is_ahead_removes_nothing() {
    for peers in [4, 0] {
        let mut world = World::of(3, 5);
        let letter = letter(&world, Span::from_mins(20 * 60));
        world.submit(0, &letter).unwrap();
        world.run_for(Span::HOUR);
        world.crash(4);
        world.set_clock(4, DAY);
        if peers == 0 {
            world.part(&[&[0, 1, 2, 3], &[4]]);
        }
        world.start(4);
        // Alone it goes by its own clock once that has been in force as long as clocks may disagree.
        run_until(&mut world, letter.expires_at() - Span::from_mins(17 * 60));
        assert!(world.host(4).holds(&letter.id()), "with {peers} peers");
        run_until(&mut world, letter.expires_at() - Span::from_mins(1));
        assert_eq!(world.host(4).holds(&letter.id()), peers > 0);
    }
}

/// D9: the time is on the disk as soon as anything is that expires.
#[test]
fn a_relay_that_comes_back_soon_after_its_first_start_removes_nothing_either() {
    let mut world = World::of(3, 5);
    let letter = letter(&world, Span::from_mins(20 * 60));
    world.submit(0, &letter).unwrap();
    world.run_for(Span::from_secs(30));
    world.crash(4);
    world.set_clock(4, DAY);
    world.part(&[&[0, 1, 2, 3], &[4]]);
    world.start(4);
    world.run_for(Span::HOUR);
    assert!(world.host(4).holds(&letter.id()));
}

/// D9: a jump that has not lasted yet is not forgotten by a restart.
#[test]
fn a_relay_whose_clock_jumps_and_that_is_restarted_soon_after_removes_nothing_either() {
    let mut world = World::of(3, 5);
    let letter = letter(&world, Span::from_mins(20 * 60));
    world.submit(0, &letter).unwrap();
    world.run_for(Span::HOUR);
    world.part(&[&[0, 1, 2, 3], &[4]]);
    world.set_clock(4, DAY);
    world.run_for(Span::HOUR);
    world.crash(4);
    world.start(4);
    world.run_for(Span::HOUR);
    assert!(world.host(4).holds(&letter.id()));
}

/// D9: the clock of a running relay jumps, and stays wrong.
#[test]
fn a_relay_whose_clock_jumps_a_day_ahead_and_stays_there_removes_nothing() {
    let mut world = World::of(4, 6);
    let letter = letter(&world, Span::from_mins(20 * 60));
    world.submit(0, &letter).unwrap();
    world.run_for(Span::HOUR);
    world.set_clock(5, DAY);
    run_until(&mut world, letter.expires_at() - Span::from_mins(1));
    assert_eq!(world.holders(&letter.id()).len(), 6);
    // And when it is put right it goes on as if nothing had been.
    world.set_clock(5, 0);
    run_until(&mut world, letter.expires_at() + MARGIN);
    assert_eq!(world.holders(&letter.id()), []);
}

/// D9: what others said about its clock is on its disk, so that a restart does not forget it.
#[test]
fn a_relay_whose_clock_is_ahead_and_that_is_restarted_removes_nothing() {
    for alone in [Span::ZERO, Span::from_mins(10), Span::from_mins(5 * 60)] {
        let (mut world, wrong) = skewed(7, 6, 7 * DAY);
        let letter = letter(&world, Span::from_mins(20 * 60));
        world.submit(0, &letter).unwrap();
        world.run_for(Span::from_mins(4 * 60));
        assert!(world.host(wrong).holds(&letter.id()));
        world.crash(wrong);
        world.part(&[&[0, 1, 2, 3, 4]]);
        world.start(wrong);
        world.run_for(alone);
        assert!(world.host(wrong).holds(&letter.id()), "after {alone:?} alone");
        world.heal();
        run_until(&mut world, letter.expires_at() - Span::from_mins(1));
        assert!(world.host(wrong).holds(&letter.id()), "after {alone:?} alone, then among others");
        run_until(&mut world, letter.expires_at() + MARGIN);
        assert_eq!(world.holders(&letter.id()), []);
    }
}

/// D9: what it takes in because others say that it is not over is not removed by a restart either.
#[test]
fn a_relay_whose_clock_is_ahead_and_that_is_restarted_at_once_keeps_what_it_has_just_taken_in() {
    let (mut world, wrong) = skewed(8, 6, 7 * DAY);
    let letter = letter(&world, Span::from_mins(20 * 60));
    world.submit(0, &letter).unwrap();
    world.run_for(Span::from_secs(5));
    assert!(world.host(wrong).holds(&letter.id()));
    world.crash(wrong);
    world.part(&[&[0, 1, 2, 3, 4]]);
    world.start(wrong);
    world.run_for(Span::HOUR);
    assert!(world.host(wrong).holds(&letter.id()));
}

/// D9: a clock that is put right leaves nothing of what others said about it.
#[test]
fn a_relay_whose_clock_was_ahead_and_is_put_right_removes_in_time() {
    for restarts in [true, false] {
        let (mut world, wrong) = skewed(9, 6, 7 * DAY);
        let letter = letter(&world, Span::from_mins(20 * 60));
        world.submit(0, &letter).unwrap();
        world.run_for(Span::from_mins(4 * 60));
        if restarts {
            world.crash(wrong);
            world.part(&[&[0, 1, 2, 3, 4]]);
            world.set_clock(wrong, 0);
            world.start(wrong);
        } else {
            world.set_clock(wrong, 0);
        }
        run_until(&mut world, letter.expires_at() - Span::from_mins(1));
        assert!(world.host(wrong).holds(&letter.id()), "{restarts}");
        run_until(&mut world, letter.expires_at() + MARGIN);
        assert!(!world.host(wrong).holds(&letter.id()), "{restarts}");
    }
}

/// Runs a host for `on` and leaves it off for `off` until the end, for one more time at least.
fn run_in_pieces(world: &mut World, host: At, (on, off): (Span, Span), end: Time) {
    while world.now() < end {
        world.run_for(on);
        world.crash(host);
        world.run_for(off);
        world.start(host);
    }
    world.run_for(on);
}

/// D9: time that it runs adds up over pauses, or what it keeps would be kept for ever.
#[test]
fn a_node_that_never_runs_for_three_hours_without_a_pause_removes_what_has_expired() {
    for (pieces, days) in [
        ((Span::from_mins(2 * 60), Span::from_mins(22 * 60)), 4),
        ((Span::from_mins(10), Span::from_mins(110)), 4),
        ((Span::from_mins(1), Span::from_mins(29)), 10),
    ] {
        let mut world = World::of(10, 3);
        let letter = letter(&world, Span::DAY);
        world.submit(2, &letter).unwrap();
        world.run_for(Span::from_mins(1));
        let begun = world.now();
        run_in_pieces(&mut world, 2, pieces, begun + Span::from_days(days) - Span::HOUR);
        assert!(!world.host(2).holds(&letter.id()), "{pieces:?}");
        let left = [Family::Custody, Family::Envelopes, Family::Schedule];
        assert_eq!(left.map(|table| world.kept(2, table)), [0; 3]);
    }
}

/// A node of the table that says another time and else takes part in nothing.
fn liar(world: &mut World, number: u64, time: Time) -> At {
    let answer = move |_: &Address, request: &Request| {
        Some(Ok::<_, Rejection>(match request {
            Request::Ping { .. } => Response::Pong { time, observed: None },
            Request::FindNode { .. } => Response::Nodes { contacts: Vec::new() },
            Request::Offer { .. } => Response::Offered {
                wanted: Vec::new(),
                receipts: Vec::new(),
                acknowledgements: Vec::new(),
            },
            _ => Response::Done,
        }))
    };
    world.add_puppet(KeyPair::from_seed(&fill(500 + number)), Box::new(answer))
}

/// Of how many envelopes a host, whose clock shows this, has made the round lately: their next is far off.
fn rounds_made(world: &World, host: At, clock: Time) -> usize {
    let soon = (clock + Span::from_mins(20)).as_millis().to_be_bytes();
    let due = entries(world.host(host), Family::Schedule);
    due.iter().filter(|(key, _)| key[..8] > soon[..]).count()
}

/// A machine without a clock of its own begins decades ago until it is told the time.
#[test]
fn a_relay_that_starts_with_a_clock_that_is_behind_does_not_offer_all_that_it_holds_at_once() {
    let mut world = World::new(11);
    let host = world.add(|config| config.due_per_step = 16);
    let others: Vec<_> = (0..4).map(|n| liar(&mut world, n, START)).collect();
    world.bootstrap(host, &others);
    world.run_for(Span::from_secs(20));
    let expires_at = world.now() + Span::from_days(14);
    let letters = 200;
    for n in 1..=letters {
        world.submit(host, &Mailbox::new(1).envelope(n, expires_at)).unwrap();
    }
    // By now the next rounds are up to hours away.
    world.run_for(Span::from_mins(3 * 60));
    world.crash(host);
    world.set_clock(host, -19_000 * DAY);
    world.start(host);
    world.run_for(Span::from_mins(1));
    let behind = |world: &World| world.now() - Span::DAY.times(19_000);
    let made = rounds_made(&world, host, behind(&world));
    assert!(made < 50, "{made} in a minute");
    world.run_for(Span::from_mins(19));
    // None waits for the clock to catch up.
    assert_eq!(rounds_made(&world, host, behind(&world)), 200);
    // It is told the time, and all is late.
    world.set_clock(host, 0);
    world.run_for(Span::from_secs(2));
    let made = rounds_made(&world, host, world.now());
    assert!(made < 150, "{made} in 2 s");
    world.run_for(Span::from_mins(1));
    assert_eq!(rounds_made(&world, host, world.now()), 200);
}

/// D9: however many lie, nothing is removed early; and fewer than half delay nothing either.
#[test]
fn peers_that_lie_about_the_time_cause_no_removal_and_few_of_them_delay_none() {
    for (honest, liars, time, delayed) in [
        (2, 5, Time::MAX, false),
        (2, 5, Time::ZERO, true),
        (4, 3, Time::ZERO, false),
        (4, 3, Time::MAX, false),
    ] {
        let mut world = World::of(5, honest + 1);
        let liars: Vec<_> = (0..liars).map(|n| liar(&mut world, n, time)).collect();
        world.bootstrap(0, &liars);
        world.run_for(Span::from_mins(1));
        assert_eq!(world.stats(0).peers as usize, honest + liars.len());
        let letter = letter(&world, Span::HOUR);
        world.submit(0, &letter).unwrap();
        run_until(&mut world, letter.expires_at() - Span::from_mins(1));
        assert!(world.host(0).holds(&letter.id()), "removed early");
        run_until(&mut world, letter.expires_at() + Span::from_mins(1));
        assert_eq!(world.host(0).holds(&letter.id()), delayed);
        // Nor can they let in what lives too long.
        let immortal = Mailbox::new(1).envelope(2, world.now() + Span::from_days(31));
        assert_eq!(world.submit(0, &immortal), Err(Rejection::TtlTooLong));
        // Once they are half at the most, it removes what it kept for them.
        for _ in 0..3 {
            let newcomer = world.add(|_| {});
            world.bootstrap(newcomer, &[0]);
        }
        world.run_for(Span::from_mins(1));
        let left = [Family::Custody, Family::Envelopes, Family::Schedule];
        assert_eq!(left.map(|table| world.kept(0, table)), [0; 3]);
    }
}

/// D9, D19: an hour either way is within what clocks may disagree by, and changes nothing.
#[test]
fn clocks_that_are_an_hour_apart_agree() {
    let (mut world, wrong) = skewed(6, 5, 3_600_000);
    let letter = letter(&world, Span::from_mins(5 * 60));
    world.submit(0, &letter).unwrap();
    run_until(&mut world, letter.expires_at() - CLOCK_TOLERANCE);
    assert_eq!(world.holders(&letter.id()).len(), 5);
    run_until(&mut world, letter.expires_at() + Span::from_mins(1));
    assert_eq!(world.holders(&letter.id()), []);
    let judged =
        |event: &Event| matches!(event, Event::ClockAhead { .. } | Event::ClockBehind { .. });
    assert!(!world.events.iter().any(|(_, at, event)| *at == wrong && judged(event)));
}
