//! Peers and clients that lie, flood and answer what was never asked: no panic, no belief, no growth.

use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::digest::Digest;
use comm_proto::envelope::{EnvelopeId, TTL_DEFAULT};
use comm_proto::grant::Grant;
use comm_proto::key::KeyPair;
use comm_proto::message::{
    ClientRequest, DialOutcome, ENVELOPES_MAX, EnvelopeState, IDS_MAX, Push, Request, Response,
    SIGNED_MAX, Waiting,
};
use comm_proto::node::{CallId, Config, Family, Input};
use comm_proto::receipt::Receipt;
use comm_proto::rejection::Rejection;
use comm_proto::store::Seq;
use comm_proto::time::Span;
use comm_proto::verified::Verified;
use proptest::prelude::*;
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};

use crate::world::{Mailbox, START, World, card, endpoint, fill};

fn id(number: u64) -> EnvelopeId {
    EnvelopeId::from_bytes(fill(number))
}

fn stranger(number: u64) -> KeyPair {
    KeyPair::from_seed(&fill(1_000_000 + number))
}

/// One answer of every kind, as large as the wire lets it be, about what nobody asked for.
fn answers(rng: &mut ChaCha12Rng) -> Vec<Response> {
    let liar = stranger(rng.next_u64() % 4);
    let mailbox = Mailbox::new(rng.next_u64() % 4);
    let expires_at = START + TTL_DEFAULT;
    let ids: Vec<_> = (0..IDS_MAX as u64).map(|n| id(n ^ (rng.next_u64() % 7))).collect();
    let envelopes: Vec<_> =
        (0..ENVELOPES_MAX as u64).map(|n| mailbox.envelope(n, expires_at)).collect();
    let receipts: Vec<_> =
        ids.chunks(64).filter_map(|ids| Receipt::sign(&liar, ids.to_vec(), START).ok()).collect();
    let acknowledgements = vec![mailbox.acknowledge(&envelopes.iter().collect::<Vec<_>>())];
    let contacts = (0..20).map(|n| Contact::new(stranger(n).public(), [endpoint(5_000)])).collect();
    let waiting = ids.iter().map(|id| Waiting { mailbox: mailbox.address(), id: *id }).collect();
    let refused = ids.iter().map(|id| (*id, Rejection::StoreFull)).collect();
    let digest = Digest::new(&ids, rng);
    vec![
        Response::Pong { time: START, observed: None },
        Response::Nodes { contacts },
        Response::Offered {
            wanted: ids,
            receipts: receipts.clone(),
            acknowledgements: acknowledgements.clone(),
        },
        Response::Digested { digest, acknowledgements: acknowledgements.clone() },
        Response::Delivered { receipts, refused, acknowledgements },
        Response::Done,
        Response::Card { card: Some(card(&liar, START, Span::from_days(7))) },
        Response::Subscribed { waiting, cursor: u64::MAX, more: true },
        Response::Fetched { envelopes },
        Response::DialledBack { outcomes: vec![DialOutcome::Reached; 4] },
    ]
}

/// H14, D28.
#[test]
fn answers_to_calls_that_were_never_made_have_no_effect() {
    let mut world = World::of(1, 3);
    let letter = world.letter(&Mailbox::new(1), 1);
    world.submit(0, &letter).unwrap();
    world.run_for(Span::from_mins(1));
    let before = (world.host(0).store().clone(), world.stats(0).peers);
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    for _ in 0..200 {
        for response in answers(&mut rng) {
            let id = CallId(rng.next_u64());
            world.input(0, Input::Response { id, result: Ok(response) });
        }
    }
    assert_eq!(world.stats(0).stray_responses, 2_000);
    assert!((world.host(0).store().clone(), world.stats(0).peers) == before);
}

/// H14: the same answer once more, and an answer after the time-out.
#[test]
fn a_second_or_late_answer_to_a_call_has_no_effect() {
    let mut world = World::of(2, 3);
    world.links.doubled_of_1000 = 1_000;
    world.links.latency.1 = Span::from_secs(6);
    let mailbox = Mailbox::new(1);
    world.subscribe(2, 1, &mailbox, 0);
    let letter = world.letter(&mailbox, 1);
    world.submit(0, &letter).unwrap();
    world.run_for(Span::from_mins(20));
    assert_eq!(world.given(2, 1).len(), 1);
    assert!(world.hosts().any(|host| world.stats(host).stray_responses > 0));
}

/// H14: a node whose peers answer each question with the answer to another.
#[test]
fn answers_of_the_wrong_kind_are_refused_and_believed_in_nothing() {
    for seed in 0..6 {
        let mut world = World::new(seed);
        let node = world.add(|_| {});
        let mailbox = Mailbox::new(1);
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let liars: Vec<_> = (0..3)
            .map(|n| {
                let mut rng = ChaCha12Rng::seed_from_u64(rng.next_u64());
                let liar = move |_: &Address, request: &Request| match request {
                    Request::Ping { .. } => {
                        Some(Ok(Response::Pong { time: START, observed: None }))
                    }
                    _ => {
                        let mut answers = answers(&mut rng);
                        let at = rng.next_u64() as usize % answers.len();
                        Some(Ok(answers.swap_remove(at)))
                    }
                };
                world.add_puppet(stranger(100 + n), Box::new(liar))
            })
            .collect();
        world.bootstrap(node, &liars);
        world.subscribe(node, 1, &mailbox, 0);
        let letters: Vec<_> = (500..510).map(|n| world.letter(&mailbox, n)).collect();
        letters.iter().for_each(|letter| assert!(world.submit(node, letter).is_ok()));
        world.run_for(Span::HOUR);
        assert!(letters.iter().all(|letter| world.host(node).holds(&letter.id())));
        // Nobody signed for holding these.
        for letter in &letters {
            assert_eq!(world.state(node, letter), Some(EnvelopeState::Accepted));
        }
        assert!(world.stats(node).peers <= 3);
        assert!(world.stats(node).refused > 0);
        assert!(world.stats(node).calls < 100, "{}", world.stats(node).calls);
    }
}

/// H14: bodies that were never asked for are not taken as an answer.
#[test]
fn an_answer_with_other_bodies_than_those_asked_for_is_neither_kept_nor_asked_for_again() {
    let mut world = World::new(3);
    let node = world.add(|_| {});
    let mailbox = Mailbox::new(1);
    let (wanted, other) = (world.letter(&mailbox, 1), world.letter(&mailbox, 2));
    let waiting = vec![Waiting { mailbox: mailbox.address(), id: wanted.id() }];
    let unasked = other.clone();
    let liar = move |_: &Address, request: &Request| {
        Some(Ok(match request {
            Request::Ping { .. } => Response::Pong { time: START, observed: None },
            Request::FindNode { .. } => Response::Nodes { contacts: Vec::new() },
            Request::Subscribe { .. } => {
                Response::Subscribed { waiting: waiting.clone(), cursor: 1, more: false }
            }
            Request::Fetch { .. } => Response::Fetched { envelopes: vec![unasked.clone()] },
            _ => return None,
        }))
    };
    let liar = world.add_puppet(stranger(1), Box::new(liar));
    world.bootstrap(node, &[liar]);
    world.subscribe(node, 1, &mailbox, 0);
    world.run_for(Span::from_mins(9));
    assert!(!world.host(node).holds(&other.id()));
    let fetches = |sent: &&crate::world::Sent| matches!(sent.request, Request::Fetch { .. });
    let fetches = world.sent.iter().filter(fetches).count();
    assert!((1..10).contains(&fetches), "{fetches}");
}

/// H14, D19: floods of every kind meet a bound.
#[test]
fn floods_of_subscriptions_meet_a_bound_and_pass() {
    let small = |config: &mut Config| {
        config.subscriptions_max = 100;
        config.sessions_max = 50;
        config.watches_max = 100;
    };
    let mut world = World::with(4, 2, small);
    let until = world.now() + TTL_DEFAULT;
    let (flooder, own) = (stranger(1), world.address(0));
    let mut refused = 0;
    for number in 0..500 {
        let grants = vec![
            Mailbox::new(number).grant(flooder.address(), until),
            Mailbox::new(number).grant(own, until),
        ];
        let id = world.ask_as(flooder.public(), 0, Request::Subscribe { grants, after: 0 });
        refused += usize::from(world.answer(id) == Some(&Err(Rejection::Busy)));
    }
    assert_eq!(refused, 400);
    let mailbox = Mailbox::new(10_000);
    let grants = vec![mailbox.grant(own, until)];
    let subscribe = ClientRequest::Subscribe { grants, after: 0 };
    assert_eq!(world.call(0, 1, subscribe), Err(Rejection::Busy));
    // It does not renew them, and then there is room for others.
    world.run_for(Span::HOUR);
    world.sent.clear();
    world.run_for(Span::from_mins(20));
    let of_flood = |sent: &&crate::world::Sent| matches!(sent.request, Request::Subscribe { .. });
    assert_eq!(world.sent.iter().filter(of_flood).count(), 0, "it collects for nobody");
    world.subscribe(0, 1, &mailbox, 0);
    let letter = world.letter(&mailbox, 1);
    world.submit(1, &letter).unwrap();
    world.run_for(Span::from_secs(2));
    assert!(world.has_been_given(0, 1, &letter));
}

/// D19: a node that collects for nobody forgets too.
#[test]
fn subscriptions_that_are_not_renewed_make_room_for_others() {
    let mut world = World::with(7, 2, |config| config.subscriptions_max = 100);
    let until = world.now() + TTL_DEFAULT;
    let flooder = stranger(1);
    let subscribe = |world: &mut World, number: u64| {
        let grants = vec![Mailbox::new(number).grant(flooder.address(), until)];
        let id = world.ask_as(flooder.public(), 0, Request::Subscribe { grants, after: 0 });
        world.answer(id).cloned().unwrap()
    };
    (0..100).for_each(|number| assert!(subscribe(&mut world, number).is_ok()));
    assert_eq!(subscribe(&mut world, 100), Err(Rejection::Busy));
    world.run_for(Span::from_mins(100));
    assert!(subscribe(&mut world, 100).is_ok());
}

/// D19: whoever is told that a mailbox is collected relies on it.
#[test]
fn a_node_that_has_no_room_to_collect_says_so_and_goes_on_with_what_has_its_place() {
    let mut world = World::with(8, 2, |config| config.subscriptions_max = 100);
    let (until, own) = (world.now() + TTL_DEFAULT, world.address(0));
    let asker = stranger(1);
    let ask = |world: &mut World, grants: Vec<Verified<Grant>>| {
        let id = world.ask_as(asker.public(), 0, Request::Subscribe { grants, after: 0 });
        world.answer(id).cloned().unwrap()
    };
    let to_collect = |number| Mailbox::new(number).grant(own, until);
    let to_watch = |number| Mailbox::new(number).grant(asker.address(), until);
    assert!(ask(&mut world, vec![to_watch(1)]).is_ok());
    world.run_for(Span::from_mins(20));
    (0..100).for_each(|number| assert!(ask(&mut world, vec![to_collect(number)]).is_ok()));
    assert!(ask(&mut world, vec![to_collect(7)]).is_ok(), "it is collected already");
    assert_eq!(ask(&mut world, vec![to_collect(100)]), Err(Rejection::Busy));
    let letter = world.letter(&Mailbox::new(1), 1);
    world.submit(0, &letter).unwrap();
    let told = ask(&mut world, vec![to_collect(100), to_watch(1)]).unwrap();
    let is_told = |waiting: &[Waiting]| waiting.iter().map(|one| one.id).eq([letter.id()]);
    assert!(matches!(&told, Response::Subscribed { waiting, .. } if is_told(waiting)), "{told:?}");
    world.run_for(Span::from_mins(20));
    let fetch = Request::Fetch { ids: vec![letter.id()] };
    let id = world.ask_as(asker.public(), 0, fetch);
    assert_eq!(world.answer(id), Some(&Ok(Response::Fetched { envelopes: vec![letter] })));
}

/// D19.
#[test]
fn floods_of_sessions_and_watches_meet_a_bound() {
    let small = |config: &mut Config| {
        config.sessions_max = 50;
        config.watches_max = 100;
    };
    let mut world = World::with(5, 1, small);
    let mailbox = Mailbox::new(1);
    let letters: Vec<_> = (0..200).map(|number| world.letter(&mailbox, number)).collect();
    letters.iter().for_each(|letter| assert!(world.submit(0, letter).is_ok()));
    let mut refused = 0;
    for session in 0..500 {
        let ids = vec![letters[session as usize % 100].id()];
        refused += usize::from(world.call(0, session, ClientRequest::Watch { ids }).is_err());
    }
    assert_eq!((refused, world.stats(0).sessions), (450, 50));
    let ids = letters.iter().map(|letter| letter.id()).collect();
    assert_eq!(world.call(0, 1, ClientRequest::Watch { ids }), Err(Rejection::Busy));
}

/// D19: calls under way and cards kept are bounded, and so is what a full node does.
#[test]
fn calls_and_cards_meet_a_bound() {
    let small = |config: &mut Config| {
        config.calls_max = 20;
        config.cards_max = 10;
    };
    let mut world = World::with(6, 2, small);
    for number in 0..100 {
        let card = card(&stranger(number), world.now(), Span::from_days(7));
        world.ask_as(stranger(number).public(), 0, Request::PutCard { card });
        world.run_for(Span::from_millis(10));
    }
    assert_eq!((world.stats(0).cards, world.kept(0, Family::Cards)), (10, 10));
    world.crash(1);
    for number in 0..100 {
        let find = ClientRequest::FindCard { owner: Mailbox::new(number).address() };
        world.ask(0, number, find);
        let endpoints = vec![endpoint(5_000)];
        world.ask_as(stranger(number).public(), 0, Request::Ping { endpoints });
        assert!(world.stats(0).calls <= 20);
    }
    world.run_for(Span::from_mins(5));
    assert!(world.stats(0).calls < 10, "{}", world.stats(0).calls);
}

/// Any question a stranger may ask, as large as they may be.
fn question(kind: u64, rng: &mut ChaCha12Rng, world: &World) -> Request {
    let ids: Vec<_> = (0..IDS_MAX as u64).map(|_| id(rng.next_u64() % 500)).collect();
    let mailbox = Mailbox::new(rng.next_u64() % 5);
    let until = world.now() + Span::DAY;
    let letters: Vec<_> =
        (0..ENVELOPES_MAX as u64).map(|_| mailbox.envelope(rng.next_u64() % 60, until)).collect();
    let own = world.address(0);
    match kind % 14 {
        0 => Request::Ping { endpoints: (0..4).map(|n| endpoint(6_000 + n)).collect() },
        1 => Request::FindNode { target: mailbox.address() },
        2 => Request::Offer { ids },
        3 => {
            let (low, high) = (Address::from_bytes([0; 20]), Address::from_bytes([0xff; 20]));
            let ends = if rng.next_u64().is_multiple_of(2) { (low, high) } else { (high, low) };
            Request::Digest { digest: Digest::new(&ids, rng), from: ends.0, to: ends.1 }
        }
        4 => Request::Deliver { envelopes: letters },
        5 => {
            let some: Vec<_> = letters.iter().take(8).collect();
            Request::Acknowledge { acknowledgements: vec![mailbox.acknowledge(&some)] }
        }
        6 => {
            let receipt = Receipt::sign(&stranger(rng.next_u64() % 9), ids[..64].to_vec(), START);
            Request::Receipts { receipts: vec![receipt.unwrap()] }
        }
        7 => Request::PutCard { card: card(&stranger(rng.next_u64() % 9), START, Span::DAY) },
        8 => Request::GetCard { owner: mailbox.address() },
        10 => Request::PublishCard { card: card(&stranger(rng.next_u64() % 9), START, Span::DAY) },
        12 => Request::DialBack { endpoints: (0..4).map(|n| endpoint(6_000 + n)).collect() },
        11 => Request::FindCard { owner: mailbox.address() },
        9 => {
            let whose = [own, stranger(0).address()];
            let grants = whose.map(|whose| mailbox.grant(whose, until)).to_vec();
            assert!(grants.len() <= SIGNED_MAX);
            Request::Subscribe { grants, after: rng.next_u64() }
        }
        _ => Request::Fetch { ids: ids[..ENVELOPES_MAX].to_vec() },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 200, ..ProptestConfig::default() })]

    /// H14: whatever strangers say, in whatever order, a node goes on, and its totals are true.
    #[test]
    fn no_order_of_hostile_inputs_stops_a_node_or_bends_its_totals(
        seed: u64,
        kinds in prop::collection::vec(0..18_u64, 1..120),
    ) {
        let mut world = World::of(seed, 2);
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        world.links.lost_of_1000 = 50;
        for kind in kinds {
            let from = stranger(rng.next_u64() % 3);
            match kind {
                13 => world.input(0, Input::ListenerOpened { peer: from.address() }),
                14 => world.input(0, Input::ListenerClosed { peer: from.address() }),
                15 => {
                    let ids = (0..IDS_MAX as u64).map(id);
                    let mailbox = Mailbox::new(1).address();
                    let waiting = ids.map(|id| Waiting { mailbox, id }).collect();
                    let push = Push::Waiting(waiting);
                    world.input(0, Input::Push { from: from.address(), push });
                }
                // What the disk said long ago.
                16 => world.input(0, Input::Durable(Seq(0))),
                17 => world.run_for(Span::from_millis(rng.next_u64() % 10_000)),
                _ => {
                    let request = question(kind, &mut rng, &world);
                    world.ask_as(from.public(), 0, request);
                }
            }
        }
        world.run_for(Span::from_mins(5));
        // Something may have been written just now, which the disk has soon.
        let waits = |world: &World| world.hosts().any(|host| world.stats(host).promises > 0);
        world.run_while(Span::from_secs(1), waits);
        for host in world.hosts() {
            let stats = world.stats(host);
            prop_assert_eq!(stats.envelopes, world.kept(host, Family::Custody) as u64);
            prop_assert_eq!(stats.envelopes, world.kept(host, Family::Envelopes) as u64);
            prop_assert_eq!(stats.envelopes, world.kept(host, Family::Mailboxes) as u64);
            prop_assert_eq!(stats.envelope_bytes, stats.envelopes * 1_024);
            prop_assert_eq!(stats.tombstones, world.kept(host, Family::Tombstones) as u64);
            prop_assert_eq!(stats.cards, world.kept(host, Family::Cards) as u64);
            let kept = world.kept(host, Family::Acknowledgements) as u64;
            prop_assert_eq!(stats.acknowledgements, kept);
            prop_assert_eq!(stats.promises, 0);
        }
        world.run_for(Span::from_days(3));
        for host in world.hosts() {
            prop_assert_eq!(world.stats(host).envelopes, 0);
            prop_assert_eq!(world.kept(host, Family::Expiry), 0);
            prop_assert_eq!(world.kept(host, Family::Schedule), 0);
        }
    }
}
