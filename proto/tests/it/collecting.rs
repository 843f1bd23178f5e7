//! Bringing envelopes to their readers: pushes, pages, cursors, credit, and grants.

use std::collections::BTreeSet;

use comm_proto::envelope::{Envelope, EnvelopeId, SizeClass, TTL_DEFAULT};
use comm_proto::key::KeyPair;
use comm_proto::message::{ClientPush, ClientRequest, Request, Response, Waiting};
use comm_proto::node::{Command, Input};
use comm_proto::rejection::Rejection;
use comm_proto::time::Span;

use crate::routing::{Large, large};
use crate::world::{At, Mailbox, START, Sent, World, fill};

fn letters(world: &World, mailbox: &Mailbox, count: u64) -> Vec<Envelope> {
    (0..count).map(|number| world.letter(mailbox, number)).collect()
}

fn submit_all(world: &mut World, host: At, envelopes: &[Envelope]) {
    for envelope in envelopes {
        world.submit(host, envelope).unwrap();
    }
}

fn ids(envelopes: &[Envelope]) -> BTreeSet<EnvelopeId> {
    envelopes.iter().map(Envelope::id).collect()
}

fn given_ids(world: &World, host: At, session: u64) -> Vec<EnvelopeId> {
    world.given(host, session).into_iter().map(|(_, id)| id).collect()
}

/// B25.
#[test]
fn a_subscriber_hears_of_a_new_envelope_within_a_second_without_asking() {
    let mut world = World::of(1, 5);
    let mailbox = Mailbox::new(1);
    world.subscribe(4, 1, &mailbox, 0);
    world.run_for(Span::from_mins(5));
    for number in 0..20 {
        let envelope = world.letter(&mailbox, number);
        world.submit(0, &envelope).unwrap();
        let heard = |world: &World| world.has_been_given(4, 1, &envelope);
        assert!(world.run_while(Span::from_secs(1), |world| !heard(world)), "{number}");
        world.run_for(Span::from_secs(7));
    }
}

/// D20.
#[test]
fn who_returns_gets_everything_that_waited_within_five_seconds() {
    let mut world = World::of(2, 6);
    let mailbox = Mailbox::new(1);
    world.crash(5);
    let waiting = letters(&world, &mailbox, 300);
    submit_all(&mut world, 0, &waiting);
    world.run_for(Span::DAY);
    world.start(5);
    world.subscribe(5, 1, &mailbox, 0);
    let all = |world: &World| world.given(5, 1).len() == waiting.len();
    assert!(world.run_while(Span::from_secs(5), |world| !all(world)), "not all came");
    assert_eq!(given_ids(&world, 5, 1).into_iter().collect::<BTreeSet<_>>(), ids(&waiting));
}

/// D20: bodies as large as they may be need many messages.
#[test]
fn large_envelopes_come_in_as_many_messages_as_they_need() {
    let mut world = World::of(3, 3);
    let mailbox = Mailbox::new(1);
    let expires_at = world.now() + TTL_DEFAULT;
    world.crash(2);
    let large: Vec<_> =
        (0..100).map(|number| mailbox.sized(SizeClass::K64, number, expires_at)).collect();
    submit_all(&mut world, 0, &large);
    world.run_for(Span::from_mins(1));
    assert_eq!(world.stats(1).envelopes, 100);
    world.start(2);
    world.subscribe(2, 1, &mailbox, 0);
    world.run_for(Span::from_secs(5));
    assert_eq!(world.given(2, 1).len(), 100);
}

/// F12.
#[test]
fn a_client_that_comes_back_with_its_cursor_gets_each_envelope_once() {
    let mut world = World::of(4, 3);
    let mailbox = Mailbox::new(1);
    let all = letters(&world, &mailbox, 300);
    let (mut cursor, mut kept) = (0, Vec::new());
    for (session, some) in all.chunks(60).enumerate() {
        let session = session as u64 + 10;
        submit_all(&mut world, 0, some);
        world.subscribe_without_credit(2, session, &mailbox, cursor);
        world.call(2, session, ClientRequest::Credit { envelopes: 45 }).unwrap();
        world.run_for(Span::from_secs(10));
        for (at, id) in world.given(2, session) {
            assert!(at > cursor, "{at} after {cursor}");
            cursor = at;
            kept.push(id);
        }
        if session == 12 {
            world.crash(2);
            world.start(2);
        } else {
            world.close_session(2, session);
        }
    }
    world.subscribe(2, 99, &mailbox, cursor);
    world.run_for(Span::from_secs(10));
    kept.extend(given_ids(&world, 2, 99));
    assert_eq!(kept.len(), 300);
    assert_eq!(kept.into_iter().collect::<BTreeSet<_>>(), ids(&all));
}

/// F12: several mailboxes in one session keep one order.
#[test]
fn a_session_with_many_full_mailboxes_gets_everything_once_and_in_order_of_arrival() {
    let mut world = World::new(5);
    let host = world.add(|_| {});
    let mailboxes: Vec<_> = (0..40).map(Mailbox::new).collect();
    let mut all = BTreeSet::new();
    for number in 0..2_000 {
        let mailbox = &mailboxes[(number % 7 * number) as usize % mailboxes.len()];
        let envelope = world.letter(mailbox, number);
        all.insert(envelope.id());
        world.submit(host, &envelope).unwrap();
    }
    let own = world.address(host);
    let until = world.now() + TTL_DEFAULT;
    let grants = mailboxes.iter().map(|mailbox| mailbox.grant(own, until)).collect();
    world.call(host, 1, ClientRequest::Subscribe { grants, after: 0 }).unwrap();
    for _ in 0..80 {
        world.call(host, 1, ClientRequest::Credit { envelopes: 30 }).unwrap();
    }
    let given = world.given(host, 1);
    assert!(given.windows(2).all(|pair| pair[0].0 < pair[1].0), "out of order");
    assert_eq!(given.len(), 2_000);
    assert_eq!(given.into_iter().map(|(_, id)| id).collect::<BTreeSet<_>>(), all);
    let caught_up = |(_, push): &&(_, ClientPush)| *push == ClientPush::CaughtUp;
    assert_eq!(world.pushes(host, 1).iter().filter(caught_up).count(), 1);
}

/// F15.
#[test]
fn a_session_without_credit_delays_nobody_and_gets_its_own_later() {
    let mut world = World::of(6, 3);
    let (slow, quick) = (Mailbox::new(1), Mailbox::new(2));
    world.subscribe_without_credit(2, 1, &slow, 0);
    world.subscribe(2, 2, &quick, 0);
    let flood = letters(&world, &slow, 1_500);
    submit_all(&mut world, 0, &flood);
    let urgent = world.letter(&quick, 1);
    world.submit(0, &urgent).unwrap();
    world.run_for(Span::from_secs(1));
    assert!(world.has_been_given(2, 2, &urgent));
    assert_eq!(world.given(2, 1), []);
    world.run_for(Span::from_mins(1));
    world.call(2, 1, ClientRequest::Credit { envelopes: 2 }).unwrap();
    assert_eq!(world.given(2, 1).len(), 2);
    world.call(2, 1, ClientRequest::Credit { envelopes: 4_096 }).unwrap();
    assert_eq!(world.given(2, 1).len(), 1_500);
}

/// F15: two sessions on one mailbox.
#[test]
fn two_sessions_on_one_mailbox_each_get_everything() {
    let mut world = World::of(7, 2);
    let mailbox = Mailbox::new(1);
    world.subscribe(1, 1, &mailbox, 0);
    world.subscribe_without_credit(1, 2, &mailbox, 0);
    let all = letters(&world, &mailbox, 10);
    submit_all(&mut world, 0, &all);
    world.run_for(Span::from_secs(2));
    world.close_session(1, 1);
    world.call(1, 2, ClientRequest::Credit { envelopes: 100 }).unwrap();
    assert_eq!(world.given(1, 1).len(), 10);
    assert_eq!(world.given(1, 2), world.given(1, 1));
}

/// G5: a session that is gone leaves nothing behind.
#[test]
fn closed_sessions_are_forgotten() {
    let mut world = World::of(8, 2);
    let mailbox = Mailbox::new(1);
    let envelope = world.letter(&mailbox, 1);
    world.submit(1, &envelope).unwrap();
    for session in 1..2_000 {
        world.subscribe(1, session, &mailbox, 0);
        let watch = ClientRequest::Watch { ids: vec![envelope.id()] };
        world.call(1, session, watch).unwrap();
        world.close_session(1, session);
    }
    assert_eq!(world.stats(1).sessions, 0);
    let later = world.letter(&mailbox, 2);
    world.submit(0, &later).unwrap();
    world.run_for(Span::from_secs(5));
    assert!(!world.has_been_given(1, 5, &later));
}

/// D1: what waits in a mailbox is told to whom its key has granted it, and to nobody else.
#[test]
fn nobody_learns_what_waits_without_a_grant_of_the_mailbox() {
    let mut world = World::of(9, 2);
    let (mailbox, other) = (Mailbox::new(1), Mailbox::new(2));
    let envelope = world.letter(&mailbox, 1);
    world.submit(0, &envelope).unwrap();
    let thief = KeyPair::from_seed(&fill(66));
    let until = world.now() + TTL_DEFAULT;
    let mut ask = |request| {
        let id = world.ask_as(thief.public(), 0, request);
        world.run_for(Span::from_secs(1));
        world.answer(id).cloned().unwrap()
    };
    // A grant for another node, and a grant for another mailbox.
    let foreign = mailbox.grant(Mailbox::new(5).address(), until);
    let subscribe = Request::Subscribe { grants: vec![foreign], after: 0 };
    assert_eq!(ask(subscribe), Err(Rejection::NotGranted));
    let own = other.grant(thief.address(), until);
    let empty = Response::Subscribed { waiting: Vec::new(), cursor: 0, more: false };
    assert_eq!(ask(Request::Subscribe { grants: vec![own], after: 0 }), Ok(empty));
    let fetch = Request::Fetch { ids: vec![envelope.id()] };
    assert_eq!(ask(fetch.clone()), Err(Rejection::NotGranted));
    // With the right one everything opens.
    let granted = mailbox.grant(thief.address(), until);
    let waiting = vec![Waiting { mailbox: mailbox.address(), id: envelope.id() }];
    let page = Response::Subscribed { waiting, cursor: 1, more: false };
    assert_eq!(ask(Request::Subscribe { grants: vec![granted], after: 0 }), Ok(page));
    assert_eq!(ask(fetch), Ok(Response::Fetched { envelopes: vec![envelope.clone()] }));
}

/// D20: a subscription that is not renewed runs out.
#[test]
fn a_subscription_that_is_not_renewed_opens_nothing_any_more() {
    let mut world = World::of(10, 2);
    let mailbox = Mailbox::new(1);
    let envelope = world.letter(&mailbox, 1);
    world.submit(0, &envelope).unwrap();
    let reader = KeyPair::from_seed(&fill(66));
    let grants = vec![mailbox.grant(reader.address(), world.now() + TTL_DEFAULT)];
    world.ask_as(reader.public(), 0, Request::Subscribe { grants, after: 0 });
    world.run_for(Span::from_mins(91));
    let id = world.ask_as(reader.public(), 0, Request::Fetch { ids: vec![envelope.id()] });
    assert_eq!(world.answer(id), Some(&Err(Rejection::NotGranted)));
}

/// How often `reader` subscribed at `source`.
fn subscriptions(world: &World, reader: At, source: At) -> usize {
    let source = world.address(source);
    let at_it = |sent: &&Sent| sent.from == reader && sent.to == source;
    let sent = world.sent.iter().filter(at_it);
    sent.filter(|sent| matches!(sent.request, Request::Subscribe { .. })).count()
}

#[test]
fn while_all_that_is_pushed_comes_a_subscription_is_renewed_once_an_hour() {
    let mut world = World::of(30, 6);
    let mailbox = Mailbox::new(1);
    world.subscribe(0, 1, &mailbox, 0);
    world.run_for(Span::from_mins(15));
    world.sent.clear();
    world.run_for(Span::HOUR.times(4));
    for source in 1..6 {
        assert!((3..=5).contains(&subscriptions(&world, 0, source)), "{source}");
    }
    let late = world.letter(&mailbox, 1);
    world.submit(3, &late).unwrap();
    let came = |world: &World| world.has_been_given(0, 1, &late);
    assert!(world.run_while(Span::from_secs(1), |world| !came(world)), "it is still pushed");
}

/// What one of many had to tell may be lost without any sign but that its stream has broken.
#[test]
fn where_a_push_may_have_been_lost_the_subscription_is_renewed_within_ten_minutes() {
    let mut world = World::of(31, 6);
    let mailbox = Mailbox::new(1);
    world.subscribe(0, 1, &mailbox, 0);
    world.run_for(Span::from_mins(25));
    world.sent.clear();
    let (torn, lossy) = (world.address(2), world.address(4));
    world.input(0, Input::ListenClosed { to: torn });
    world.input(0, Input::ListenOpened { to: lossy });
    world.run_for(Span::from_mins(11));
    let renewed: Vec<_> = (1..6).map(|source| subscriptions(&world, 0, source)).collect();
    assert_eq!(renewed, [0, 1, 0, 1, 0]);
    world.run_for(Span::from_mins(20));
    let renewed: Vec<_> = (1..6).map(|source| subscriptions(&world, 0, source)).collect();
    assert_eq!(renewed, [0, 3, 0, 1, 0], "the torn one tells nothing yet, the other does again");
}

#[test]
fn who_is_not_told_of_all_mailboxes_learns_that_there_is_more() {
    let mut world = World::with(32, 2, |config| config.subscriptions_max = 1);
    let reader = KeyPair::from_seed(&fill(66));
    let until = world.now() + TTL_DEFAULT;
    let grant = |number| Mailbox::new(number).grant(reader.address(), until);
    for (numbers, more) in [(vec![1], false), (vec![1, 2], true)] {
        let grants = numbers.into_iter().map(grant).collect();
        let id = world.ask_as(reader.public(), 0, Request::Subscribe { grants, after: 0 });
        let told = Response::Subscribed { waiting: Vec::new(), cursor: 0, more };
        assert_eq!(world.answer(id), Some(&Ok(told)));
    }
}

#[test]
fn a_relay_that_stays_after_all_asks_for_what_came_while_it_was_leaving() {
    let mut world = World::of(33, 6);
    let mailbox = Mailbox::new(1);
    world.subscribe(0, 1, &mailbox, 0);
    world.run_for(Span::from_mins(25));
    world.input(0, Input::Command(Command::Drain));
    world.run_for(Span::from_mins(1));
    world.sent.clear();
    world.input(0, Input::Command(Command::Stay));
    world.run_for(Span::from_secs(1));
    let asked: Vec<_> = (1..6).map(|source| subscriptions(&world, 0, source)).collect();
    assert_eq!(asked, [1; 5]);
}

/// B25: whoever announces first and then hands nothing over delays nobody for long.
#[test]
fn a_source_that_announces_and_stays_silent_does_not_keep_an_envelope_back() {
    for seed in 0..10 {
        let mut world = World::new(seed);
        let node = world.add(|_| {});
        let mailbox = Mailbox::new(1);
        let envelope = world.letter(&mailbox, 1);
        let sources: Vec<_> = [true, true, false]
            .into_iter()
            .zip(66..)
            .map(|(silent, number)| {
                let envelope = envelope.clone();
                let key = KeyPair::from_seed(&fill(number));
                world
                    .add_puppet(key, Box::new(move |_, request| source(request, &envelope, silent)))
            })
            .collect();
        world.bootstrap(node, &sources);
        world.run_for(Span::from_secs(10));
        world.subscribe(node, 1, &mailbox, 0);
        let came = |world: &World| world.has_been_given(node, 1, &envelope);
        assert!(world.run_while(Span::from_secs(20), |world| !came(world)), "seed {seed}");
    }
}

fn source(
    request: &Request,
    envelope: &Envelope,
    silent: bool,
) -> Option<Result<Response, Rejection>> {
    let waiting = vec![Waiting { mailbox: envelope.mailbox(), id: envelope.id() }];
    Some(Ok(match request {
        Request::Ping { .. } => Response::Pong { time: START, observed: None },
        Request::FindNode { .. } => Response::Nodes { contacts: Vec::new() },
        Request::Subscribe { .. } => Response::Subscribed { waiting, cursor: 1, more: false },
        Request::Fetch { .. } if !silent => Response::Fetched { envelopes: vec![envelope.clone()] },
        _ => return None,
    }))
}

/// Entries of one reader that lie in the region of its mailbox collect from each other, which is no reason for either
/// to go on. Of twelve readers five have such entries here.
#[test]
fn nobody_collects_mailboxes_whose_readers_have_gone() {
    let Large { mut world, .. } = large(43, 60);
    let readers = 0..12;
    for reader in readers.clone() {
        world.subscribe(reader, 1, &Mailbox::new(500 + reader as u64), 0);
    }
    world.run_for(Span::HOUR);
    readers.for_each(|reader| world.crash(reader));
    // Whoever delegates is remembered for half an hour, and asks every ten minutes.
    world.run_for(Span::from_mins(120));
    world.sent.clear();
    world.run_for(Span::HOUR);
    let is_subscription = |request: &Request| matches!(request, Request::Subscribe { .. });
    let subscribing = world.sent.iter().filter(|sent| is_subscription(&sent.request));
    assert_eq!(subscribing.map(|sent| sent.from).collect::<BTreeSet<_>>(), BTreeSet::new());
}
