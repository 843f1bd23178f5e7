//! Finding the network, staying in it, finding cards, and reaching regions through entries.

use std::collections::BTreeSet;

use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::envelope::{Envelope, EnvelopeId};
use comm_proto::key::KeyPair;
use comm_proto::message::{
    ClientRequest, ClientResponse, EnvelopeState, PeerStatus, Request, Response, Status, Waiting,
};
use comm_proto::node::{Config, Event, Family, RequestId};
use comm_proto::rejection::Rejection;
use comm_proto::store::{Batch, Seq, Write};
use comm_proto::time::Span;

use crate::world::{At, Mailbox, START, Sent, World, card, endpoint, fill};

fn peers(world: &mut World, host: At) -> Vec<comm_proto::message::Peer> {
    match world.call(host, 0, ClientRequest::Peers) {
        Ok(ClientResponse::Peers(peers)) => peers,
        other => panic!("{other:?}"),
    }
}

fn status(world: &mut World, host: At) -> Status {
    match world.call(host, 0, ClientRequest::Status) {
        Ok(ClientResponse::Status(status)) => status,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn entries(world: &mut World, host: At) -> Vec<At> {
    let entries = status(world, host).entries;
    entries.iter().map(|entry| world.at(entry).unwrap()).collect()
}

pub(crate) fn rotating_entry(world: &mut World, host: At) -> Option<At> {
    status(world, host).rotating_entry.map(|entry| world.at(&entry).unwrap())
}

/// B9.
#[test]
fn fifty_nodes_find_at_least_k_others_within_five_seconds_of_one_address() {
    let mut world = World::new(1);
    for _ in 0..50 {
        world.add(|_| {});
    }
    (1..50).for_each(|host| world.bootstrap(host, &[0]));
    world.run_for(Span::from_secs(5));
    for host in world.hosts() {
        assert!(world.stats(host).peers >= 20, "{host}: {}", world.stats(host).peers);
        assert!((25..100).contains(&world.stats(host).network_size), "{:?}", world.stats(host));
    }
}

#[test]
fn as_many_nodes_as_a_region_count_each_other_and_have_no_entries() {
    for seed in 0..20 {
        let mut world = World::of(seed, 20);
        world.run_for(Span::from_mins(120));
        for host in world.hosts() {
            let stats = world.stats(host);
            assert_eq!((stats.peers, stats.network_size), (19, 20), "seed {seed}, node {host}");
            assert!(entries(&mut world, host).is_empty(), "seed {seed}, node {host}");
        }
    }
}

/// B10.
#[test]
fn a_node_is_connected_at_the_first_answer_and_tries_on_until_then() {
    let mut world = World::new(2);
    let (late, node) = (world.add(|_| {}), world.add(|_| {}));
    world.crash(late);
    world.bootstrap(node, &[late]);
    world.run_for(Span::HOUR);
    let connected = (node, Event::Connected);
    let has_told = |world: &World| {
        world
            .events
            .iter()
            .filter(|(_, at, event)| (*at, event) == (connected.0, &connected.1))
            .count()
    };
    assert_eq!(has_told(&world), 0);
    assert!(!world.stats(node).connected);
    let tries = world.sent.iter().filter(|sent| sent.from == node).count();
    assert!((40..200).contains(&tries), "{tries} in an hour");
    world.start(late);
    world.run_for(Span::from_secs(92));
    assert_eq!(has_told(&world), 1);
    world.run_for(Span::HOUR);
    assert_eq!(has_told(&world), 1);
    // Once found, nobody looks for the network any more.
    world.sent.clear();
    world.run_for(Span::from_mins(10));
    assert!(world.sent.len() < 20, "{}", world.sent.len());
}

/// B12, H15.
#[test]
fn a_restarted_node_rejoins_by_its_saved_table_when_the_bootstrap_is_gone() {
    let mut world = World::of(3, 12);
    world.crash(0);
    world.crash(7);
    world.run_for(Span::HOUR);
    world.start(7);
    world.run_for(Span::from_secs(10));
    let alive = peers(&mut world, 7);
    assert!(alive.len() >= 10, "{}", alive.len());
    let mailbox = Mailbox::new(1);
    world.subscribe(7, 1, &mailbox, 0);
    let letter = world.letter(&mailbox, 1);
    world.submit(3, &letter).unwrap();
    world.run_for(Span::from_secs(2));
    assert!(world.has_been_given(7, 1, &letter));
}

/// A host that is told where several nodes listen finds out who they are one after the other.
#[test]
fn whom_a_restarted_node_pings_already_is_not_pinged_again_for_each_node_that_is_named() {
    let mut world = World::of(3, 20);
    world.crash(9);
    world.start(9);
    world.sent.clear();
    (0..3).for_each(|known| world.bootstrap(9, &[known]));
    let mut asked = BTreeSet::new();
    for sent in world.sent.iter().filter(|sent| sent.from == 9) {
        if matches!(sent.request, Request::Ping { .. }) {
            assert!(asked.insert(sent.to), "{:?} is pinged twice", sent.to);
        }
    }
    assert!(asked.len() >= 8, "{}", asked.len());
}

/// B7. The last four hours hold one refresh of each bucket, and the first two the many pings of a
/// network that has just come together.
#[test]
fn a_hundred_idle_nodes_ping_less_than_once_a_minute_each() {
    let mut world = World::of(4, 100);
    world.run_for(Span::from_mins(30));
    let (pings, all) = calls_an_hour(&mut world, 2);
    assert!(pings < 2 * 60, "{pings} pings an hour and node at first");
    assert!(all < 8 * 60, "{all} calls of any kind an hour and node at first");
    world.run_for(Span::from_mins(5 * 60 + 30));
    let (pings, all) = calls_an_hour(&mut world, 4);
    assert!(pings < 60, "{pings} pings an hour and node");
    assert!(all < 4 * 60, "{all} calls of any kind an hour and node");
}

/// How many pings and calls of any kind a host makes an hour, over the next `hours`.
fn calls_an_hour(world: &mut World, hours: u64) -> (usize, usize) {
    world.sent.clear();
    world.run_for(Span::HOUR.times(hours));
    let is_ping = |sent: &&Sent| matches!(sent.request, Request::Ping { .. });
    let pings = world.sent.iter().filter(is_ping).count();
    let host_hours = world.hosts().len() * hours as usize;
    (pings / host_hours, world.sent.len() / host_hours)
}

/// B3.
#[test]
fn who_never_answers_any_more_is_bad_and_good_again_after_one_answer() {
    let mut world = World::of(5, 4);
    world.crash(3);
    world.run_for(Span::HOUR.times(12));
    let gone = world.address(3);
    let status = |world: &mut World| {
        let all = peers(world, 1);
        all.iter().find(|peer| peer.contact.address() == gone).map(|peer| peer.status)
    };
    assert_eq!(status(&mut world), Some(PeerStatus::Bad));
    world.start(3);
    world.run_for(Span::from_mins(1));
    assert_eq!(status(&mut world), Some(PeerStatus::Good));
}

/// B19.
#[test]
fn contacts_named_by_others_enter_no_table_before_they_have_answered() {
    let mut world = World::of(6, 5);
    let ghosts: Vec<_> = (0..20)
        .map(|n| Contact::new(KeyPair::from_seed(&fill(900 + n)).public(), [endpoint(4_000)]))
        .collect();
    // Behind this endpoint somebody else listens.
    let stolen = Contact::new(KeyPair::from_seed(&fill(990)).public(), [endpoint(2)]);
    let named: Vec<_> = ghosts.iter().take(19).cloned().chain([stolen]).collect();
    let told = named.clone();
    let liar = move |_: &_, request: &Request| {
        Some(Ok(match request {
            Request::Ping { .. } => Response::Pong { time: START, observed: None },
            Request::FindNode { .. } => Response::Nodes { contacts: told.clone() },
            _ => return None,
        }))
    };
    let liar = world.add_puppet(KeyPair::from_seed(&fill(66)), Box::new(liar));
    (0..5).for_each(|host| world.bootstrap(host, &[liar]));
    for ghost in &named {
        let endpoints = ghost.endpoints().to_vec();
        world.ask_as(*ghost.key(), 1, Request::Ping { endpoints });
    }
    world.run_for(Span::HOUR.times(3));
    let names: BTreeSet<_> = named.iter().map(Contact::address).collect();
    for host in 0..5 {
        let entered = peers(&mut world, host);
        assert_eq!(entered.len(), 5, "four honest nodes and the liar itself");
        assert!(entered.iter().all(|peer| !names.contains(&peer.contact.address())));
        let saved = crate::world::entries(world.host(host), Family::Contacts);
        assert!(
            saved.iter().all(|(key, _)| names.iter().all(|name| name.as_bytes()[..] != key[..]))
        );
    }
}

/// B19: where it can be dialled is what a caller says and we have tried.
#[test]
fn a_caller_enters_the_table_once_it_has_been_dialled_back() {
    let mut world = World::new(7);
    let (first, second) = (world.add(|_| {}), world.add(|_| {}));
    world.bootstrap(second, &[first]);
    world.run_for(Span::from_secs(2));
    assert_eq!(peers(&mut world, first).len(), 1);
    let leaf = world.add(|config: &mut Config| config.endpoints.clear());
    world.bootstrap(leaf, &[first]);
    world.run_for(Span::HOUR);
    assert_eq!(peers(&mut world, first).len(), 1, "a leaf is in nobody's table");
    assert_eq!(peers(&mut world, leaf).len(), 2);
}

/// B24, B23.
#[test]
fn a_card_published_at_one_node_is_found_from_every_other_and_the_newest_wins() {
    for count in [5, 60] {
        let mut world = World::of(8, count);
        let owner = KeyPair::from_seed(&fill(1));
        let find = ClientRequest::FindCard { owner: owner.address() };
        assert_eq!(world.call(3, 0, find.clone()), Ok(ClientResponse::Card { card: None }));
        let old = card(&owner, world.now(), Span::from_days(7));
        let newer = card(&owner, world.now() + Span::from_secs(1), Span::from_days(7));
        for card in [&old, &newer] {
            let publish = ClientRequest::PublishCard { card: card.clone() };
            assert_eq!(world.call(0, 0, publish), Ok(ClientResponse::Done));
            world.run_for(Span::from_secs(5));
            for host in (1..count).step_by(count / 5) {
                let found = Ok(ClientResponse::Card { card: Some(card.clone()) });
                assert_eq!(world.call(host, 0, find.clone()), found, "from {host} of {count}");
            }
        }
        let publish = ClientRequest::PublishCard { card: old.clone() };
        assert_eq!(world.call(0, 0, publish), Err(Rejection::StaleCard));
        let stranger = KeyPair::from_seed(&fill(66)).public();
        let holder = world.hosts().find(|host| world.kept(*host, Family::Cards) == 1).unwrap();
        let id = world.ask_as(stranger, holder, Request::PutCard { card: old });
        world.run_for(Span::from_secs(1));
        assert_eq!(world.answer(id), Some(&Err(Rejection::StaleCard)));
    }
}

/// B23, B24: the nodes that keep a card see neither who publishes it nor who looks it up.
#[test]
fn in_a_large_network_cards_are_published_and_found_through_entries() {
    let Large { mut world, mailbox, writer, reader, nearest } = large(28, 200);
    // As somebody's entry one of the two would rightly talk to the region.
    let (of_writer, of_reader) = (entries(&mut world, writer), entries(&mut world, reader));
    assert!(!of_writer.contains(&reader) && !of_reader.contains(&writer));
    let published = card(mailbox.key(), world.now(), Span::from_days(7));
    world.sent.clear();
    let publish = ClientRequest::PublishCard { card: published.clone() };
    assert_eq!(world.call(writer, 0, publish), Ok(ClientResponse::Done));
    world.run_for(Span::from_secs(10));
    let kept = nearest.iter().filter(|host| world.kept(**host, Family::Cards) == 1).count();
    assert!(kept >= 15, "{kept} of the twenty nearest");
    let find = ClientRequest::FindCard { owner: mailbox.address() };
    let began = world.now();
    let found = Ok(ClientResponse::Card { card: Some(published) });
    assert_eq!(world.call(reader, 0, find.clone()), found);
    assert!(world.now().since(began) < Span::from_secs(3));
    // One that nobody has is looked for in vain no longer than its entries may take.
    let nobody = ClientRequest::FindCard { owner: Mailbox::new(99).address() };
    let began = world.now();
    assert_eq!(world.call(reader, 0, nobody), Ok(ClientResponse::Card { card: None }));
    assert!(world.now().since(began) < Span::from_secs(5));
    for person in [writer, reader] {
        let entries: BTreeSet<_> = entries(&mut world, person).into_iter().collect();
        let told = told_by(&world, person);
        assert!(!told.is_empty());
        assert!(told.is_subset(&entries), "{person} told {told:?}, its entries are {entries:?}");
        let looked_for = |sent: &Sent| {
            let target = Request::FindNode { target: mailbox.address() };
            sent.from == person && sent.request == target
        };
        assert!(!world.sent.iter().any(looked_for), "{person} looked the owner up by itself");
    }
}

/// B24: published while nobody was known, the card goes through entries later.
#[test]
fn a_card_published_before_the_network_was_found_reaches_its_region_through_entries() {
    let Large { mut world, mailbox, nearest, .. } = large(26, 60);
    let newcomer = world.add(|_| {});
    let published = card(mailbox.key(), world.now(), Span::from_days(7));
    let publish = ClientRequest::PublishCard { card: published };
    assert_eq!(world.call(newcomer, 0, publish), Ok(ClientResponse::Done));
    world.bootstrap(newcomer, &[0]);
    world.run_for(Span::from_mins(1));
    let kept = nearest.iter().filter(|host| world.kept(**host, Family::Cards) == 1).count();
    assert!(kept >= 15, "{kept} of the twenty nearest");
}

/// D19: whoever looks for many cards at one node leaves room for others.
#[test]
fn searches_for_one_peer_meet_a_bound_and_others_still_find() {
    let Large { mut world, writer, reader, .. } = large(27, 60);
    let peer = |number| KeyPair::from_seed(&fill(number)).public();
    let find = |number| Request::FindCard { owner: Mailbox::new(number).address() };
    let asked: Vec<_> =
        (100..200).map(|number| world.ask_as(peer(1), writer, find(number))).collect();
    let other = world.ask_as(peer(2), writer, find(300));
    let own = ClientRequest::FindCard { owner: world.address(reader) };
    assert_eq!(world.call(writer, 0, own), Ok(ClientResponse::Card { card: None }));
    world.run_for(Span::from_secs(5));
    let refused = |id: &&RequestId| world.answer(**id) == Some(&Err(Rejection::Busy));
    assert_eq!(asked.iter().filter(refused).count(), 100 - 32);
    assert!(asked.iter().all(|id| world.answer(*id).is_some()));
    assert_eq!(world.answer(other), Some(&Ok(Response::Card { card: None })));
}

/// D19: twenty nodes ask a node for as much as it does for others, second after second.
#[test]
fn a_flood_of_searches_for_others_does_not_delay_a_nodes_own_envelope() {
    let mut world = World::with(28, 60, |config| config.entries = 0);
    world.run_for(Span::from_mins(20));
    let flood = |world: &mut World, second: u64| {
        for peer in 0..20 {
            let key = KeyPair::from_seed(&fill(5_000 + peer));
            for number in 0..16 {
                let owner = Mailbox::new(second << 32 | peer << 16 | number).address();
                world.ask_as(key.public(), 0, Request::FindCard { owner });
            }
            let card = card(&key, world.now(), Span::DAY);
            world.ask_as(key.public(), 0, Request::PublishCard { card });
        }
    };
    for second in 0..5 {
        flood(&mut world, second);
        world.run_for(Span::from_secs(1));
    }
    for number in 0..5 {
        let letter = world.letter(&Mailbox::new(100 + number), number);
        flood(&mut world, 5 + number);
        world.submit(0, &letter).unwrap();
        world.run_for(Span::from_secs(3));
        let holders = world.holders(&letter.id()).len();
        assert!(holders >= 10, "{holders} have it after three seconds");
        assert!(world.stats(0).calls <= 1_024);
    }
}

/// D19: what one node asks for, within its bound, is found although lookups wait for one another.
#[test]
fn thirty_cards_that_one_node_asks_for_at_once_are_all_found() {
    let Large { mut world, writer, .. } = large(29, 60);
    let owners: Vec<_> = (0..30).map(|n| KeyPair::from_seed(&fill(7_000 + n))).collect();
    for owner in &owners {
        let card = card(owner, world.now(), Span::DAY);
        world.call(0, 0, ClientRequest::PublishCard { card }).unwrap();
    }
    world.run_for(Span::from_mins(1));
    let asker = KeyPair::from_seed(&fill(1)).public();
    let asked: Vec<_> = owners
        .iter()
        .map(|o| world.ask_as(asker, writer, Request::FindCard { owner: o.address() }))
        .collect();
    world.run_for(Span::from_secs(5));
    let found =
        |id: &&RequestId| matches!(world.answer(**id), Some(Ok(Response::Card { card: Some(_) })));
    assert_eq!(asked.iter().filter(found).count(), owners.len());
}

/// A node of a large network that makes so few lookups at a time for others' cards, of `lookups_max`
/// a quarter.
fn busy_entry(lookups_max: usize) -> (World, At) {
    let Large { mut world, .. } = large(35, 60);
    let busy = world.add(|config| config.lookups_max = lookups_max);
    world.bootstrap(busy, &[0]);
    world.run_for(Span::from_mins(20));
    (world, busy)
}

/// B24: whoever has a card published is answered long before its region has been found.
#[test]
fn a_card_that_is_to_be_published_waits_for_its_region() {
    let (mut world, busy) = busy_entry(4);
    world.links.latency = (Span::from_millis(200), Span::from_millis(200));
    let owners: Vec<_> = (0..12).map(|n| KeyPair::from_seed(&fill(7_000 + n))).collect();
    let asker = KeyPair::from_seed(&fill(1)).public();
    for owner in &owners {
        let card = card(owner, world.now(), Span::DAY);
        let id = world.ask_as(asker, busy, Request::PublishCard { card });
        world.run_for(Span::from_millis(10));
        assert_eq!(world.answer(id), Some(&Ok(Response::Done)));
    }
    world.run_for(Span::from_mins(2));
    for owner in &owners {
        let key = owner.address().as_bytes().to_vec();
        let keeps = |host: &At| {
            let cards = crate::world::entries(world.host(*host), Family::Cards);
            cards.iter().any(|(owner, _)| *owner == key)
        };
        let kept = world.hosts().filter(keeps).count();
        assert!(kept >= 10, "{kept} keep the card of {owner:?}");
    }
}

/// B24, D19: a region that is never found keeps the place of another card for two minutes.
#[test]
fn a_card_that_is_to_be_published_waits_no_longer_than_two_minutes() {
    // A quarter of three lookups is none.
    let (mut world, busy) = busy_entry(3);
    let asker = KeyPair::from_seed(&fill(1)).public();
    let publish = |world: &mut World, number: u64| {
        let card = card(&KeyPair::from_seed(&fill(7_000 + number)), world.now(), Span::DAY);
        let id = world.ask_as(asker, busy, Request::PublishCard { card });
        world.run_for(Span::from_millis(10));
        world.answer(id).cloned().unwrap()
    };
    let began = world.now();
    for number in 0..32 {
        assert_eq!(publish(&mut world, number), Ok(Response::Done));
    }
    let later = began + Span::from_secs(119);
    world.run_for(later.since(world.now()));
    assert_eq!(publish(&mut world, 32), Err(Rejection::Busy));
    world.run_for(Span::from_secs(2));
    assert_eq!(publish(&mut world, 33), Ok(Response::Done));
}

/// B24.
#[test]
fn a_card_that_has_expired_is_gone_and_one_that_is_published_again_stays() {
    let mut world = World::of(9, 5);
    let owner = KeyPair::from_seed(&fill(1));
    let find = ClientRequest::FindCard { owner: owner.address() };
    let first = card(&owner, world.now(), Span::DAY);
    world.call(0, 0, ClientRequest::PublishCard { card: first }).unwrap();
    world.run_for(Span::HOUR.times(20));
    let again = card(&owner, world.now(), Span::DAY);
    world.call(0, 0, ClientRequest::PublishCard { card: again.clone() }).unwrap();
    world.run_for(Span::HOUR.times(20));
    assert_eq!(world.call(4, 0, find.clone()), Ok(ClientResponse::Card { card: Some(again) }));
    world.run_for(Span::HOUR.times(5));
    assert_eq!(world.call(4, 0, find), Ok(ClientResponse::Card { card: None }));
    assert!(world.hosts().all(|host| world.kept(host, Family::Cards) == 0));
    assert!(world.hosts().all(|host| world.stats(host).cards == 0));
}

/// B23: within the time-out, however many are silent.
#[test]
fn a_card_nobody_has_is_not_found_in_time_although_some_are_silent() {
    let mut world = World::of(10, 8);
    (1..4).for_each(|host| world.crash(host));
    let find = ClientRequest::FindCard { owner: Mailbox::new(1).address() };
    let began = world.now();
    assert_eq!(world.call(7, 0, find), Ok(ClientResponse::Card { card: None }));
    assert!(world.now().since(began) <= Span::from_secs(10));
}

/// A network large enough for regions and entries.
pub(crate) struct Large {
    pub(crate) world: World,
    pub(crate) mailbox: Mailbox,
    pub(crate) writer: At,
    pub(crate) reader: At,
    /// The twenty nodes nearest to the mailbox.
    pub(crate) nearest: Vec<At>,
}

pub(crate) fn large(seed: u64, count: usize) -> Large {
    let mut world = World::of(seed, count);
    world.run_for(Span::from_mins(20));
    let mailbox = Mailbox::new(seed + 1);
    let mut nearest: Vec<_> = world.hosts().collect();
    nearest.sort_by_key(|host| mailbox.address().distance(&world.address(*host)));
    // Neither of the two is in the region, or it would have every reason to talk to its nodes.
    let (writer, reader) = (nearest[count - 1], nearest[count - 2]);
    nearest.truncate(20);
    Large { world, mailbox, writer, reader, nearest }
}

/// What a person's node says about envelopes, and to whom.
fn told_by(world: &World, host: At) -> BTreeSet<At> {
    let is_routing =
        |request: &Request| matches!(request, Request::Ping { .. } | Request::FindNode { .. });
    let told = world.sent.iter().filter(|sent| sent.from == host && !is_routing(&sent.request));
    told.map(|sent| world.at(&sent.to).unwrap()).collect()
}

fn assert_within(world: &mut World, span: Span, what: &str, done: impl Fn(&World) -> bool) -> u64 {
    let began = world.now();
    assert!(world.run_while(span, |world| !done(world)), "{what}");
    world.now().since(began).as_millis()
}

/// D4, D12: through entries on both sides, which alone talk to the region.
#[test]
fn in_a_large_network_everything_goes_through_entries_and_arrives() {
    let Large { mut world, mailbox, writer, reader, nearest } = large(20, 200);
    let reply_to = Mailbox::new(7);
    world.subscribe(writer, 1, &reply_to, 0);
    world.subscribe(reader, 1, &mailbox, 0);
    let rotating = [writer, reader].map(|person| rotating_entry(&mut world, person).unwrap());
    world.run_for(Span::from_mins(1));
    world.sent.clear();
    let letter = world.letter(&mailbox, 1);
    world.submit(writer, &letter).unwrap();
    assert_within(&mut world, Span::from_secs(10), "no copy came", |world| {
        world.has_been_given(reader, 1, &letter)
    });
    world.run_for(Span::from_secs(30));
    assert!(matches!(world.state(writer, &letter), Some(EnvelopeState::Stored(n)) if n >= 3));
    let holders = world.holders(&letter.id());
    let inside = nearest.iter().filter(|host| holders.contains(host)).count();
    assert!(inside >= 18, "{inside} of the twenty nearest");
    assert!(holders.len() < 64, "{} copies", holders.len());
    world.acknowledge(reader, &mailbox, &[&letter]);
    world.run_for(Span::from_mins(10));
    assert_eq!(world.holders(&letter.id()), []);
    assert!(matches!(world.state(writer, &letter), Some(EnvelopeState::Delivered { .. })));
    for person in [writer, reader] {
        let mut entries: BTreeSet<_> = entries(&mut world, person).into_iter().collect();
        assert_eq!(entries.len(), 4);
        entries.extend(rotating);
        let told = told_by(&world, person);
        // It has tried fresh nodes in its second and fourth round, since the answer took its time.
        let others: BTreeSet<_> = told.difference(&entries).collect();
        assert!(others.len() <= 2, "{person} told {told:?}, its entries are {entries:?}");
        assert!(others.iter().all(|other| !nearest.contains(other)), "{others:?} in the region");
    }
}

/// D5, D20: the same with the recipient away.
#[test]
fn in_a_large_network_who_was_away_gets_everything_soon_after_returning() {
    let Large { mut world, mailbox, writer, reader, .. } = large(21, 60);
    world.crash(reader);
    let letters: Vec<_> = (0..50).map(|number| world.letter(&mailbox, number)).collect();
    letters.iter().for_each(|letter| assert!(world.submit(writer, letter).is_ok()));
    world.run_for(Span::from_mins(5));
    world.crash(writer);
    world.run_for(Span::HOUR.times(3));
    world.start(reader);
    world.run_for(Span::from_secs(5));
    world.subscribe(reader, 1, &mailbox, 0);
    let all = |world: &World| world.given(reader, 1).len() == letters.len();
    assert_within(&mut world, Span::from_secs(10), "not all came", all);
}

/// D10: people's nodes go through few others, whoever turns up in their tables.
#[test]
fn a_persons_node_offers_its_envelopes_to_no_new_neighbour() {
    let Large { mut world, mailbox, writer, .. } = large(22, 30);
    let letter = world.letter(&mailbox, 1);
    let entries: BTreeSet<_> = entries(&mut world, writer).into_iter().collect();
    world.submit(writer, &letter).unwrap();
    world.run_for(Span::from_mins(1));
    world.sent.clear();
    for _ in 0..20 {
        let newcomer = world.add(|_| {});
        world.bootstrap(newcomer, &[writer]);
        world.run_for(Span::from_mins(1));
    }
    // From its third round on it tries a further node each time: these minutes have ten rounds at most.
    let told = told_by(&world, writer);
    let others = told.difference(&entries).count();
    assert!(others <= 8, "it told {told:?}, its entries are {entries:?}");
}

/// B25: a node of the region that announces and hands nothing over keeps nothing back.
#[test]
fn silent_nodes_in_a_region_do_not_keep_an_envelope_from_its_reader() {
    let Large { mut world, mailbox, writer, reader, nearest } = large(23, 60);
    let letter = world.letter(&mailbox, 1);
    world.submit(writer, &letter).unwrap();
    world.run_for(Span::from_mins(1));
    assert!(world.holders(&letter.id()).len() > 10);
    let waiting = vec![Waiting { mailbox: mailbox.address(), id: letter.id() }];
    // Every third node of the region turns into one that announces and stays silent.
    for host in nearest.iter().step_by(3) {
        let waiting = waiting.clone();
        world.turn(*host, Box::new(move |_, request| silent_source(request, &waiting)));
    }
    world.subscribe(reader, 1, &mailbox, 0);
    let came = |world: &World| world.has_been_given(reader, 1, &letter);
    assert_within(&mut world, Span::from_secs(30), "it was kept back", came);
}

fn silent_source(request: &Request, waiting: &[Waiting]) -> Option<Result<Response, Rejection>> {
    Some(Ok(match request {
        Request::Ping { .. } => Response::Pong { time: START, observed: None },
        Request::FindNode { .. } => Response::Nodes { contacts: Vec::new() },
        Request::Subscribe { .. } => {
            Response::Subscribed { waiting: waiting.to_vec(), cursor: 1, more: false }
        }
        _ => return None,
    }))
}

/// D24.
#[test]
fn a_large_network_delivers_although_a_fifth_of_it_discards_everything() {
    let Large { mut world, mailbox, writer, reader, .. } = large(24, 60);
    let people = [writer, reader];
    let hosts: Vec<_> = world.hosts().filter(|host| !people.contains(host)).step_by(5).collect();
    for host in hosts {
        world.turn(host, Box::new(|_, request| discard(request)));
    }
    world.subscribe(reader, 1, &mailbox, 0);
    world.run_for(Span::from_secs(20));
    let letters: Vec<Envelope> = (0..100).map(|number| world.letter(&mailbox, number)).collect();
    letters.iter().for_each(|letter| assert!(world.submit(writer, letter).is_ok()));
    world.run_for(Span::from_mins(30));
    let given: BTreeSet<EnvelopeId> =
        world.given(reader, 1).into_iter().map(|(_, id)| id).collect();
    assert_eq!(given.len(), 100);
}

fn discard(request: &Request) -> Option<Result<Response, Rejection>> {
    let (receipts, refused, acknowledgements) = (Vec::new(), Vec::new(), Vec::new());
    Some(Ok(match request {
        Request::Ping { .. } => Response::Pong { time: START, observed: None },
        Request::FindNode { .. } => Response::Nodes { contacts: Vec::new() },
        Request::Offer { ids } => {
            Response::Offered { wanted: ids.clone(), receipts, acknowledgements }
        }
        Request::Deliver { .. } => Response::Delivered { receipts, refused, acknowledgements },
        Request::Subscribe { .. } => {
            Response::Subscribed { waiting: Vec::new(), cursor: 0, more: false }
        }
        _ => Response::Done,
    }))
}

/// B8: what nobody asks about is searched for all the same, and so the network's size is measured.
#[test]
fn an_idle_node_goes_on_searching_every_part_of_the_network() {
    let mut world = World::of(30, 60);
    world.run_for(Span::from_mins(30));
    world.sent.clear();
    world.run_for(Span::HOUR);
    for host in world.hosts() {
        let own = world.address(host);
        let is_elsewhere =
            |request: &Request| matches!(request, Request::FindNode { target } if *target != own);
        let asked =
            world.sent.iter().filter(|sent| sent.from == host && is_elsewhere(&sent.request));
        assert!(asked.count() > 20, "host {host}");
    }
}

/// Targets other than its own place that a host has searched for.
fn searched(world: &World, host: At) -> BTreeSet<Address> {
    let own = world.address(host);
    let targets = world.sent.iter().filter_map(|sent| match sent.request {
        Request::FindNode { target } if sent.from == host => Some(target),
        _ => None,
    });
    targets.filter(|target| *target != own).collect()
}

/// B8.
#[test]
fn a_node_in_a_network_that_stays_the_same_searches_each_part_of_it_every_four_hours() {
    let mut world = World::of(32, 60);
    world.run_for(Span::HOUR.times(9));
    world.sent.clear();
    world.run_for(Span::HOUR.times(4));
    for host in world.hosts() {
        // One target in each bucket: where it branches off from the host's own address.
        let own = world.address(host);
        let branch = |target: &Address| own.distance(target).common_bits();
        let searched = searched(&world, host);
        let buckets: BTreeSet<_> = searched.iter().map(branch).collect();
        let peers = peers(&mut world, host);
        let farthest = peers.iter().map(|peer| branch(&peer.contact.address())).min().unwrap();
        assert!(buckets.contains(&farthest), "host {host}: {buckets:?}");
        assert_eq!(buckets.len(), searched.len(), "host {host}: {searched:?}");
        assert!((2..=4).contains(&buckets.len()), "host {host}: {buckets:?}");
    }
}

/// B8. Where all know each other there is no replacement for a node that is gone: it stays in every table.
#[test]
fn a_node_that_is_gone_for_good_makes_nobody_in_a_small_network_search_more_often() {
    let mut world = World::of(34, 10);
    world.run_for(Span::HOUR);
    world.crash(9);
    world.run_for(Span::HOUR.times(9));
    world.sent.clear();
    world.run_for(Span::HOUR.times(4));
    for host in 0..9 {
        let own = world.address(host);
        let searched = searched(&world, host);
        let buckets: BTreeSet<_> =
            searched.iter().map(|target| own.distance(target).common_bits()).collect();
        assert_eq!(buckets.len(), searched.len(), "host {host}: {searched:?}");
    }
}

/// B8.
#[test]
fn a_node_searches_every_part_of_the_network_at_once_when_it_is_back() {
    let mut world = World::of(33, 60);
    world.run_for(Span::HOUR.times(9));
    let others: Vec<_> = world.hosts().filter(|at| *at != 0).collect();
    world.part(&[&[0], &others]);
    world.run_for(Span::from_mins(100));
    world.heal();
    world.sent.clear();
    world.run_for(Span::from_secs(100));
    assert!(searched(&world, 0).len() >= 2, "{:?}", searched(&world, 0));
}

/// The disk of a node whose neighbours stay has peace.
#[test]
fn a_table_is_written_down_again_only_when_it_has_changed() {
    let mut world = World::of(35, 10);
    world.run_for(Span::HOUR);
    assert_eq!(world.kept(0, Family::Contacts), 9);
    let table = Family::Contacts;
    let all = Write::DeleteRange { table, from: vec![0], to: vec![0xff; Address::LEN + 1] };
    world.write_to_disk(0, Batch { seq: Seq(0), writes: vec![all] });
    world.run_for(Span::HOUR);
    assert_eq!(world.kept(0, Family::Contacts), 0);
    let newcomer = world.add(|_| {});
    world.bootstrap(newcomer, &[0]);
    world.run_for(Span::from_mins(6));
    assert_eq!(world.kept(0, Family::Contacts), 10);
}

/// B12: they are met again, and nobody else learns what clients send while the network is found again.
#[test]
fn a_restarted_node_has_the_same_entries_and_turns_to_nobody_else_meanwhile() {
    let Large { mut world, mailbox, writer, nearest, .. } = large(31, 60);
    let before = entries(&mut world, writer);
    assert_eq!(before.len(), 4);
    for number in 0..5 {
        world.run_for(Span::from_mins(10));
        world.crash(writer);
        world.run_for(Span::from_mins(10));
        world.start(writer);
        world.sent.clear();
        let letter = world.letter(&mailbox, number);
        world.submit(writer, &letter).unwrap();
        world.run_for(Span::from_secs(30));
        assert_eq!(entries(&mut world, writer), before, "restart {number}");
        assert!(world.holders(&letter.id()).len() > 10, "restart {number}");
        let told = told_by(&world, writer);
        let inside = told.iter().filter(|host| nearest.contains(host) && !before.contains(host));
        assert_eq!(inside.count(), 0, "restart {number}: {told:?}");
    }
}

/// B12.
#[test]
fn an_entry_that_is_gone_for_good_is_replaced_and_one_that_was_away_for_a_while_is_not() {
    let Large { mut world, writer, .. } = large(32, 60);
    let before = entries(&mut world, writer);
    world.crash(before[1]);
    world.run_for(Span::from_mins(2));
    world.start(before[1]);
    world.run_for(Span::from_mins(5));
    assert_eq!(entries(&mut world, writer), before);
    world.crash(before[2]);
    world.run_for(Span::HOUR);
    let after = entries(&mut world, writer);
    assert_eq!(after.len(), 4);
    assert!(!after.contains(&before[2]));
    assert_eq!(after[..3], [before[0], before[1], before[3]]);
}

/// B12: nobody who can cut a node off makes it draw anew.
#[test]
fn an_outage_of_its_own_costs_a_node_no_entry() {
    let Large { mut world, mailbox, writer, .. } = large(33, 60);
    let before = entries(&mut world, writer);
    let others: Vec<_> = world.hosts().filter(|host| *host != writer).collect();
    world.part(&[&others]);
    for number in 0..12 {
        let letter = world.letter(&mailbox, number);
        world.submit(writer, &letter).unwrap();
        world.run_for(Span::HOUR);
        assert_eq!(entries(&mut world, writer), before, "after {number} hours");
    }
    world.heal();
    for _ in 0..30 {
        world.run_for(Span::from_mins(1));
        assert_eq!(entries(&mut world, writer), before);
    }
}

/// B12: who returns after all its entries have gone has others in seconds.
#[test]
fn a_node_whose_entries_are_all_gone_is_served_by_others_at_once() {
    let Large { mut world, mailbox, writer, reader, .. } = large(34, 60);
    let before = entries(&mut world, writer);
    world.crash(writer);
    before.iter().filter(|host| **host != reader).for_each(|host| world.crash(*host));
    world.run_for(Span::HOUR);
    world.subscribe(reader, 1, &mailbox, 0);
    world.run_for(Span::from_secs(20));
    world.start(writer);
    let letter = world.letter(&mailbox, 1);
    world.submit(writer, &letter).unwrap();
    let came = |world: &World| world.has_been_given(reader, 1, &letter);
    assert_within(&mut world, Span::from_secs(30), "it did not come", came);
    let after = entries(&mut world, writer);
    assert!(after.len() == 4 && after.iter().all(|host| *host == reader || !before.contains(host)));
}
