//! Bodies on their way to nodes that read slowly, refuse or fall silent: little at a time, nothing lost.

use comm_proto::address::Address;
use comm_proto::digest::Digest;
use comm_proto::envelope::{Envelope, SizeClass, TTL_DEFAULT};
use comm_proto::key::KeyPair;
use comm_proto::message::{Request, Response};
use comm_proto::rejection::Rejection;
use comm_proto::time::{Span, Time};
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use crate::world::{At, Mailbox, START, World, fill};

/// How many envelopes the tests have waiting, of the largest size: 16 MiB.
const WAITING: u64 = 256;
/// How much of it may be on its way to one node.
const UNDER_WAY_MAX: usize = 2 << 20;

/// A node with much to hand over and nobody to hand it to yet.
fn laden(world: &mut World, count: u64) -> (At, Vec<Envelope>) {
    let host = world.add(|_| {});
    let mailbox = Mailbox::new(1);
    let expires_at = world.now() + TTL_DEFAULT;
    let letters: Vec<_> =
        (0..count).map(|n| mailbox.sized(SizeClass::K64, n, expires_at)).collect();
    letters.iter().for_each(|letter| assert!(world.submit(host, letter).is_ok()));
    (host, letters)
}

/// When and how many bytes of bodies were handed to whom.
fn bodies(world: &World) -> Vec<(Time, Address, usize)> {
    let deliveries = world.sent.iter().filter_map(|sent| match &sent.request {
        Request::Deliver { envelopes } => {
            let bytes = envelopes.iter().map(|envelope| envelope.body().len()).sum();
            Some((sent.at, sent.to, bytes))
        }
        _ => None,
    });
    deliveries.collect()
}

/// The most bytes of bodies that were under way at a time, if none was answered within `span`.
fn most_within(bodies: &[(Time, Address, usize)], span: Span) -> usize {
    let ends = bodies.iter().map(|(at, _, _)| *at);
    let under_way = ends.map(|end| {
        let recent = bodies.iter().filter(|(at, _, _)| *at <= end && end.since(*at) < span);
        recent.map(|(_, _, bytes)| bytes).sum()
    });
    under_way.max().unwrap_or(0)
}

/// Wants whatever it is offered and answers no delivery.
fn greedy(request: &Request) -> Option<Result<Response, Rejection>> {
    let (receipts, acknowledgements) = (Vec::new(), Vec::new());
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    Some(Ok(match request {
        Request::Ping { .. } => Response::Pong { time: START, observed: None },
        Request::FindNode { .. } => Response::Nodes { contacts: Vec::new() },
        Request::Offer { ids } => {
            Response::Offered { wanted: ids.clone(), receipts, acknowledgements }
        }
        Request::Digest { .. } => {
            Response::Digested { digest: Digest::new(&[], &mut rng), acknowledgements }
        }
        _ => return None,
    }))
}

/// D19: whoever wants everything and takes nothing costs two messages of memory.
#[test]
fn who_wants_everything_and_reads_nothing_is_handed_little_at_a_time() {
    let mut world = World::new(1);
    let (host, _) = laden(&mut world, WAITING);
    let puppets: Vec<_> = (0..3)
        .map(|n| {
            let puppet = Box::new(|_: &Address, request: &Request| greedy(request));
            world.add_puppet(KeyPair::from_seed(&fill(n)), puppet)
        })
        .collect();
    world.bootstrap(host, &puppets);
    world.run_for(Span::from_mins(10));
    let bodies = bodies(&world);
    for puppet in puppets {
        let address = world.address(puppet);
        let to_it: Vec<_> = bodies.iter().filter(|(_, to, _)| *to == address).copied().collect();
        assert!(!to_it.is_empty());
        let most = most_within(&to_it, Span::from_secs(5));
        assert!(most <= UNDER_WAY_MAX, "{most} bytes at a time");
    }
}

/// D19: what a slow reader lacks comes to it nevertheless, and not in the next round only.
#[test]
fn a_slow_reader_gets_everything_one_message_after_another() {
    let mut world = World::new(2);
    let (host, letters) = laden(&mut world, WAITING);
    let reader = world.add(|_| {});
    world.links.latency = (Span::from_millis(950), Span::from_millis(950));
    world.bootstrap(host, &[reader]);
    let holds_all = |world: &World| letters.iter().all(|l| world.host(reader).holds(&l.id()));
    assert!(world.run_while(Span::from_secs(40), |world| !holds_all(world)));
    let bodies = bodies(&world);
    let bytes: usize = bodies.iter().map(|(_, _, bytes)| bytes).sum();
    let all = letters.len() * SizeClass::K64.body_len();
    assert!(bytes < all + UNDER_WAY_MAX, "{bytes} bytes for {all}");
    assert!(most_within(&bodies, Span::from_millis(1_900)) <= UNDER_WAY_MAX);
}

/// D19: a node that has more than one page to settle with a new neighbour leaves nothing out.
#[test]
fn a_new_neighbour_gets_all_that_takes_several_pages_without_waiting_for_rounds() {
    let mut world = World::new(3);
    let host = world.add(|_| {});
    let mailbox = Mailbox::new(1);
    let letters: Vec<_> = (0..4_300).map(|number| world.letter(&mailbox, number)).collect();
    for some in letters.chunks(64) {
        let request = Request::Deliver { envelopes: some.to_vec() };
        world.ask_as(KeyPair::from_seed(&fill(9)).public(), host, request);
    }
    // Their rounds are long over, so that only the new neighbour brings them up again.
    let first = world.add(|_| {});
    world.bootstrap(host, &[first]);
    world.run_for(Span::from_mins(3));
    let second = world.add(|_| {});
    world.crash(first);
    world.sent.clear();
    world.bootstrap(second, &[host]);
    world.run_for(Span::from_secs(30));
    let held = letters.iter().filter(|letter| world.host(second).holds(&letter.id())).count();
    // A digest hides about one in a hundred for a round.
    assert!(held >= letters.len() * 97 / 100, "{held}");
}

/// D19: whoever has no room is not handed the rest in vain.
#[test]
fn the_rest_is_not_handed_to_a_node_whose_store_is_full() {
    let mut world = World::new(4);
    let (host, letters) = laden(&mut world, WAITING);
    // With room for one of the smallest, which is why it asks for them, and for none of these.
    let full = world.add(|config| config.store_bytes_max = 4_096);
    world.bootstrap(host, &[full]);
    world.run_for(Span::from_secs(1));
    let handed: usize = bodies(&world).iter().map(|(_, _, bytes)| bytes).sum();
    assert!((1..=UNDER_WAY_MAX).contains(&handed), "{handed}");
    assert!(letters.iter().all(|letter| world.host(host).holds(&letter.id())));
}

/// D19: what is settled page by page goes on although a page ends before its turn comes.
#[test]
fn a_new_neighbour_gets_the_next_page_when_all_of_the_one_before_has_ended() {
    const PAGE: usize = 4_096;
    let mut world = World::new(5);
    let host = world.add(|_| {});
    let mailbox = Mailbox::new(1);
    let letters: Vec<_> = (0..4_300).map(|number| world.letter(&mailbox, number)).collect();
    for some in letters.chunks(64) {
        let request = Request::Deliver { envelopes: some.to_vec() };
        world.ask_as(KeyPair::from_seed(&fill(9)).public(), host, request);
    }
    // Their rounds are long over, so that only a new neighbour brings them up again.
    let first = world.add(|_| {});
    world.bootstrap(host, &[first]);
    world.run_for(Span::from_mins(3));
    world.crash(first);
    // As many as may be handed something at a time take it, and do not answer.
    let puppets: Vec<_> = (0..32)
        .map(|n| {
            let puppet = Box::new(|_: &Address, request: &Request| greedy(request));
            world.add_puppet(KeyPair::from_seed(&fill(100 + n)), puppet)
        })
        .collect();
    world.bootstrap(host, &puppets);
    world.run_for(Span::from_secs(2));
    let second = world.add(|_| {});
    world.sent.clear();
    world.bootstrap(second, &[host]);
    let address = world.address(second);
    let digests = |world: &World| {
        let to_second = world.sent.iter().filter(|sent| sent.from == host && sent.to == address);
        to_second.filter(|sent| matches!(sent.request, Request::Digest { .. })).count()
    };
    assert!(world.run_while(Span::from_secs(2), |world| digests(world) == 0), "not settled with");
    world.run_for(Span::from_millis(200));
    assert!(bodies(&world).iter().all(|(_, to, _)| *to != address), "it is its turn already");
    for read in letters[..PAGE].chunks(64) {
        world.acknowledge(host, &mailbox, &read.iter().collect::<Vec<_>>());
    }
    world.run_for(Span::from_secs(30));
    let rest = &letters[PAGE..];
    let held = rest.iter().filter(|letter| world.host(second).holds(&letter.id())).count();
    // A digest hides about one in a hundred for a round.
    assert!(held >= rest.len() * 97 / 100, "{held} of {}", rest.len());
}
