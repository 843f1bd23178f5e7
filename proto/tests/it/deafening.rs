//! Nodes of a region that keep a reader from what waits there: they tell first and hand nothing over,
//! tell of what does not exist, crowd in beside a mailbox, or say they hold what they do not.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::envelope::{Envelope, EnvelopeId, SizeClass};
use comm_proto::key::KeyPair;
use comm_proto::message::{
    BODY_BYTES_MAX, ClientRequest, IDS_MAX, Push, Request, Response, Waiting,
};
use comm_proto::receipt::Receipt;
use comm_proto::rejection::Rejection;
use comm_proto::time::{Span, Time};

use crate::routing::{Large, entries, large, rotating_entry};
use crate::world::{At, Mailbox, START, Sent, World, endpoint, fill};

/// What a source does with those who ask it for what it has told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// It hands it over.
    Honest,
    /// It answers nothing.
    Silent,
    /// It answers that it has nothing.
    Empty,
    /// It hands one over at a time.
    Dripping,
}

/// What all sources of a test tell of.
type Shelf = Rc<RefCell<Vec<Envelope>>>;

fn waiting(envelope: &Envelope) -> Waiting {
    Waiting { mailbox: envelope.mailbox(), id: envelope.id() }
}

/// `count` ids that nothing has, for this mailbox.
fn invented(mailbox: &Mailbox, first: u64, count: usize) -> Vec<Waiting> {
    let id = |number| EnvelopeId::from_bytes(fill(u64::MAX - number));
    let ids = (first..).take(count).map(id);
    ids.map(|id| Waiting { mailbox: mailbox.address(), id }).collect()
}

/// A source with everything on the shelf, which invents `invented` pages beside it.
fn source(
    shelf: &Shelf,
    mailbox: &Mailbox,
    manner: Manner,
    invented_pages: u64,
) -> impl FnMut(&Address, &Request) -> Option<Result<Response, Rejection>> + 'static {
    let (shelf, mailbox) = (Rc::clone(shelf), mailbox.address());
    let invent = move |page: u64| -> Vec<Waiting> {
        let id = |n: u64| EnvelopeId::from_bytes(fill(u64::MAX - page * 1_000 - n));
        (0..IDS_MAX as u64).map(|n| Waiting { mailbox, id: id(n) }).collect()
    };
    move |_, request| {
        let shelf = shelf.borrow();
        Some(Ok(match request {
            Request::Ping { .. } => Response::Pong { time: START, observed: None },
            Request::FindNode { .. } => Response::Nodes { contacts: Vec::new() },
            // Pages of what was invented come first, then those of the shelf.
            Request::Subscribe { after, .. } if *after < invented_pages => {
                Response::Subscribed { waiting: invent(*after), cursor: after + 1, more: true }
            }
            Request::Subscribe { after, .. } => {
                let read = (after - invented_pages.min(*after)) as usize;
                let page: Vec<_> = shelf.iter().skip(read).take(IDS_MAX).map(waiting).collect();
                let more = read + page.len() < shelf.len();
                Response::Subscribed { cursor: after + page.len() as u64, waiting: page, more }
            }
            Request::Fetch { ids } => {
                let most = match manner {
                    Manner::Silent => return None,
                    Manner::Empty => 0,
                    Manner::Dripping => 1,
                    Manner::Honest => usize::MAX,
                };
                let has = shelf.iter().filter(|envelope| ids.contains(&envelope.id()));
                let mut bytes = 0;
                let fits = |envelope: &&Envelope| {
                    bytes += envelope.body().len();
                    bytes <= BODY_BYTES_MAX
                };
                Response::Fetched { envelopes: has.take(most).take_while(fits).cloned().collect() }
            }
            _ => return None,
        }))
    }
}

/// A reader and its sources, of whom the first is honest.
struct Scene {
    world: World,
    mailbox: Mailbox,
    shelf: Shelf,
    reader: At,
    sources: Vec<At>,
}

fn scene(seed: u64, liars: u64, manner: Manner, invented_pages: u64) -> Scene {
    let (mut world, mailbox, shelf) = (World::new(seed), Mailbox::new(1), Shelf::default());
    let reader = world.add(|_| {});
    let sources: Vec<_> = (0..=liars)
        .map(|number| {
            let (manner, pages) =
                if number == 0 { (Manner::Honest, 0) } else { (manner, invented_pages) };
            let puppet = source(&shelf, &mailbox, manner, pages);
            world.add_puppet(KeyPair::from_seed(&fill(66 + number)), Box::new(puppet))
        })
        .collect();
    world.bootstrap(reader, &sources);
    world.run_for(Span::from_secs(10));
    Scene { world, mailbox, shelf, reader, sources }
}

/// How long each envelope took that liars told of first, in milliseconds.
fn delays(scene: &mut Scene, letters: u64) -> Vec<u64> {
    let Scene { world, mailbox, shelf, reader, sources } = scene;
    let mut delays = Vec::new();
    for number in 0..letters {
        let letter = world.letter(mailbox, number);
        let began = world.now();
        for (liar, first) in sources[1..].iter().zip((number * 100_000..).step_by(100)) {
            let mut told = vec![waiting(&letter)];
            told.extend(invented(mailbox, first, 50));
            world.push_as(*liar, &Push::Waiting(told));
        }
        world.run_for(Span::from_millis(50));
        shelf.borrow_mut().push(letter.clone());
        world.push_as(sources[0], &Push::Waiting(vec![waiting(&letter)]));
        let came = |world: &World| world.has_been_given(*reader, 1, &letter);
        assert!(world.run_while(Span::from_mins(1), |world| !came(world)), "{number} never came");
        delays.push(world.now().since(began).as_millis());
    }
    delays
}

/// B25: fifteen of sixteen nodes that keep a mailbox tell of each envelope before the honest one does,
/// and of fifty that do not exist.
#[test]
fn liars_who_tell_of_everything_first_and_hand_over_nothing_delay_the_first_envelopes_only() {
    for manner in [Manner::Silent, Manner::Empty] {
        for seed in 0..5 {
            let mut scene = scene(seed, 15, manner, 0);
            let (reader, mailbox) = (scene.reader, Mailbox::new(1));
            scene.world.subscribe(reader, 1, &mailbox, 0);
            scene.world.run_for(Span::from_secs(2));
            let delays = delays(&mut scene, 30);
            assert!(delays.iter().all(|delay| *delay <= 6_000), "{manner:?} {seed}: {delays:?}");
            // Whoever has let it down is asked last from then on.
            assert!(delays[10..].iter().all(|d| *d <= 500), "{manner:?} {seed}: {delays:?}");
        }
    }
}

/// B25, D20: of what an honest node tells nothing is lost among the sixty thousand ids that each liar invents.
#[test]
fn ids_that_do_not_exist_take_no_place_from_those_that_do() {
    for manner in [Manner::Silent, Manner::Empty, Manner::Dripping] {
        let mut scene = scene(3, 15, manner, 250);
        let Scene { world, mailbox, shelf, reader, sources } = &mut scene;
        world.subscribe(*reader, 1, mailbox, 0);
        world.run_for(Span::from_secs(3));
        let letters: Vec<_> = (0..200).map(|n| world.letter(mailbox, n)).collect();
        let told = letters.iter().map(waiting).collect();
        shelf.borrow_mut().extend(letters);
        world.push_as(sources[0], &Push::Waiting(told));
        let all = |world: &World| world.given(*reader, 1).len() == 200;
        let given = world.run_while(Span::from_secs(10), |world| !all(world));
        assert!(given, "{manner:?}: {} of 200", world.given(*reader, 1).len());
        assert!(world.stats(*reader).calls <= 200, "{}", world.stats(*reader).calls);
    }
}

/// B25: a source that hands over one envelope a call holds the others back no longer than it would saying nothing.
#[test]
fn a_source_that_hands_over_a_little_at_a_time_holds_nothing_back() {
    let mut scene = scene(4, 15, Manner::Dripping, 0);
    let letters: Vec<_> = (0..300).map(|n| scene.world.letter(&scene.mailbox, n)).collect();
    scene.shelf.borrow_mut().extend(letters);
    scene.world.subscribe(scene.reader, 1, &scene.mailbox, 0);
    let reader = scene.reader;
    let all = |world: &World| world.given(reader, 1).len() == 300;
    assert!(scene.world.run_while(Span::from_secs(6), |world| !all(world)), "not all came");
}

/// D20: a source whose messages are full is asked again, and blamed for nothing.
#[test]
fn an_honest_source_with_more_than_a_message_takes_is_read_to_its_end() {
    let mut scene = scene(5, 0, Manner::Honest, 0);
    let until = scene.world.now() + Span::DAY;
    let large = (0..100).map(|n| scene.mailbox.sized(SizeClass::K64, n, until));
    let small = (100..2_500).map(|n| scene.mailbox.envelope(n, until));
    scene.shelf.borrow_mut().extend(large.chain(small));
    scene.world.subscribe(scene.reader, 1, &scene.mailbox, 0);
    let reader = scene.reader;
    let all = |world: &World| world.stats(reader).envelopes == 2_500;
    assert!(scene.world.run_while(Span::from_secs(20), |world| !all(world)), "not all came");
}

/// B25, D24: half of the nodes near a mailbox tell first, in a network in which entries collect.
#[test]
fn in_a_large_network_liars_near_a_mailbox_keep_nothing_from_an_online_reader() {
    let Large { mut world, mailbox, writer, reader, nearest } = large(23, 60);
    let shelf = Shelf::default();
    let liars: Vec<_> = nearest.iter().copied().step_by(2).collect();
    for liar in &liars {
        world.turn(*liar, Box::new(source(&shelf, &mailbox, Manner::Silent, 0)));
    }
    world.run_for(Span::from_secs(10));
    world.subscribe(reader, 1, &mailbox, 0);
    world.run_for(Span::from_mins(1));
    for number in 0..20 {
        let letter = world.letter(&mailbox, number);
        shelf.borrow_mut().push(letter.clone());
        for liar in &liars {
            world.push_as(*liar, &Push::Waiting(vec![waiting(&letter)]));
        }
        world.submit(writer, &letter).unwrap();
        let came = |world: &World| world.has_been_given(reader, 1, &letter);
        assert!(
            world.run_while(Span::from_secs(10), |world| !came(world)),
            "{number} did not come"
        );
    }
}

/// A node that says it has whatever it is offered, keeps nothing, and names only those of `crowd`, each
/// time others.
fn claimant(
    key: KeyPair,
    crowd: Rc<Vec<Contact>>,
) -> impl FnMut(&Address, &Request) -> Option<Result<Response, Rejection>> + 'static {
    let receipts = move |ids: &[EnvelopeId]| -> Vec<_> {
        ids.chunks(64).map(|ids| Receipt::sign(&key, ids.to_vec(), START).unwrap()).collect()
    };
    let mut named = 0;
    move |_, request| {
        let acknowledgements = Vec::new();
        Some(Ok(match request {
            Request::Ping { .. } => Response::Pong { time: START, observed: None },
            Request::FindNode { .. } => {
                named += 20;
                Response::Nodes {
                    contacts: crowd
                        .iter()
                        .cycle()
                        .skip(named)
                        .take(20.min(crowd.len()))
                        .cloned()
                        .collect(),
                }
            }
            Request::Offer { ids } => {
                let wanted = Vec::new();
                Response::Offered { wanted, receipts: receipts(ids), acknowledgements }
            }
            Request::Deliver { envelopes } => {
                let ids: Vec<_> = envelopes.iter().map(Envelope::id).collect();
                let refused = Vec::new();
                Response::Delivered { receipts: receipts(&ids), refused, acknowledgements }
            }
            Request::Subscribe { .. } => {
                Response::Subscribed { waiting: Vec::new(), cursor: 0, more: false }
            }
            _ => Response::Done,
        }))
    }
}

/// D4, D24: eighteen of the twenty nodes nearest to a mailbox give receipts for whatever they are offered and offer it around
/// themselves, and hold nothing.
#[test]
fn liars_who_claim_to_hold_everything_keep_it_from_no_honest_node_beyond_the_third_round() {
    for seed in 40..44 {
        let Large { mut world, mailbox, writer, nearest, .. } = large(seed, 60);
        let (honest, liars): (Vec<_>, Vec<_>) =
            nearest.iter().copied().enumerate().partition(|(at, _)| at % 9 == 4);
        for (_, liar) in &liars {
            let key = world.host(*liar).key().clone();
            world.turn(*liar, Box::new(claimant(key, Rc::default())));
        }
        world.run_for(Span::from_secs(10));
        let letter = world.letter(&mailbox, 1);
        world.submit(writer, &letter).unwrap();
        // 10 s: one round of the writer's, should its first entry be a liar, and three of an entry's.
        for step in 0..100 {
            for (_, liar) in liars.iter().filter(|_| step < 50) {
                let key = world.host(*liar).key().public();
                for host in world.holders(&letter.id()) {
                    world.ask_as(key, host, Request::Offer { ids: vec![letter.id()] });
                }
            }
            world.run_for(Span::from_millis(100));
        }
        let holders = world.holders(&letter.id());
        assert!(honest.iter().all(|(_, host)| holders.contains(host)), "{seed}: {holders:?}");
    }
}

/// D12, D19: who was handed an envelope is told of its end, however many say that they have it too.
#[test]
fn a_crowd_of_claims_leaves_room_for_those_who_were_handed_an_envelope() {
    let mut world = World::of(6, 2);
    let mailbox = Mailbox::new(1);
    let letter = world.letter(&mailbox, 1);
    world.submit(0, &letter).unwrap();
    world.run_for(Span::from_secs(10));
    world.crash(0);
    for number in 0..200 {
        let claimant = KeyPair::from_seed(&fill(5_000 + number)).public();
        world.ask_as(claimant, 1, Request::Offer { ids: vec![letter.id()] });
    }
    let newcomer = world.add(|_| {});
    world.bootstrap(newcomer, &[1]);
    let holds = |world: &World| world.host(newcomer).holds(&letter.id());
    assert!(world.run_while(Span::from_secs(5), |world| !holds(world)), "it was not handed over");
    world.run_for(Span::from_millis(200));
    world.acknowledge(1, &mailbox, &[&letter]);
    world.run_for(Span::from_millis(300));
    assert!(!holds(&world), "it was not told of the end");
}

/// A network of sixty with `count` more who lie beside a mailbox, all of them nearer than any other.
fn crowded(seed: u64, count: usize) -> Large {
    let mut scene = large(seed, 60);
    // Both had their entries before the crowd came.
    for person in [scene.writer, scene.reader] {
        scene.world.call(person, 0, ClientRequest::Status).unwrap();
    }
    let place = scene.mailbox.address();
    let mut keys: Vec<_> =
        (0..3_000).map(|n| KeyPair::from_seed(&fill(seed << 32 | 1 << 20 | n))).collect();
    keys.sort_by_key(|key| place.distance(&key.address()));
    keys.truncate(count);
    let world = &mut scene.world;
    let first = world.hosts().end;
    let contact = |(at, key): (At, &KeyPair)| Contact::new(key.public(), [endpoint(first + at)]);
    let crowd: Rc<Vec<_>> = Rc::new(keys.iter().enumerate().map(contact).collect());
    for key in keys {
        let puppet = claimant(key.clone(), Rc::clone(&crowd));
        world.add_puppet(key, Box::new(puppet));
    }
    // Each of them tells everybody where it listens.
    for contact in crowd.iter() {
        for host in 0..first {
            let endpoints = contact.endpoints().to_vec();
            world.ask_as(*contact.key(), host, Request::Ping { endpoints });
        }
        world.run_for(Span::from_secs(1));
    }
    world.run_for(Span::from_mins(40));
    scene
}

/// D4, D24, B25: a hundred nodes nearer to a mailbox than any honest one.
#[test]
fn a_crowd_beside_a_mailbox_keeps_nothing_from_its_reader() {
    for seed in 50..53 {
        let Large { mut world, mailbox, writer, reader, .. } = crowded(seed, 100);
        world.subscribe(reader, 1, &mailbox, 0);
        world.run_for(Span::from_mins(1));
        for number in 0..5 {
            let letter = world.letter(&mailbox, number);
            world.submit(writer, &letter).unwrap();
            let came = |world: &World| world.has_been_given(reader, 1, &letter);
            let soon = world.run_while(Span::from_mins(1), |world| !came(world));
            assert!(
                soon,
                "{seed}: {number} did not come; it is at {:?}",
                world.holders(&letter.id())
            );
        }
    }
}

/// B25: a mailbox is collected from at most 64 nodes at a time, and from all in turn.
#[test]
fn everybody_in_a_crowded_region_is_collected_from_in_turn() {
    let Large { mut world, mailbox, reader, nearest, .. } = crowded(53, 100);
    let (key, until) = (KeyPair::from_seed(&fill(77)), world.now() + Span::DAY);
    let collectors = [key.address(), world.address(reader)];
    let grants = collectors.map(|collector| mailbox.grant(collector, until)).to_vec();
    world.sent.clear();
    for _ in 0..12 {
        let subscribe = Request::Subscribe { grants: grants.clone(), after: 0 };
        world.ask_as(key.public(), reader, subscribe);
        world.run_for(Span::from_mins(10));
    }
    let is_renewal =
        |sent: &&Sent| sent.from == reader && matches!(sent.request, Request::Subscribe { .. });
    let mut renewals: BTreeMap<Time, BTreeSet<At>> = BTreeMap::new();
    for sent in world.sent.iter().filter(is_renewal) {
        renewals.entry(sent.at).or_default().insert(world.at(&sent.to).unwrap());
    }
    assert!(renewals.len() >= 11 && renewals.values().all(|sources| sources.len() <= 64));
    let sources: BTreeSet<_> = renewals.into_values().flatten().collect();
    assert!(nearest[..4].iter().all(|host| sources.contains(host)), "{sources:?}");
}

/// A node that turns into one that has nothing for whoever collects there, and obeys otherwise.
fn keeps_silent_about_mailboxes(request: &Request) -> Option<Result<Response, Rejection>> {
    Some(Ok(match request {
        Request::Ping { .. } => Response::Pong { time: START, observed: None },
        Request::FindNode { .. } => Response::Nodes { contacts: Vec::new() },
        Request::Subscribe { after, .. } => {
            Response::Subscribed { waiting: Vec::new(), cursor: *after, more: false }
        }
        _ => return None,
    }))
}

/// B25: a client looks after its node's entries now and then, and grants the one that changes what it
/// needs; sooner or later that one is honest.
#[test]
fn a_reader_whose_lasting_entries_all_tell_nothing_is_not_deaf() {
    let Large { mut world, mailbox, writer, reader, .. } = large(35, 60);
    let lasting = entries(&mut world, reader);
    assert_eq!(lasting.len(), 4);
    for entry in lasting {
        world.turn(entry, Box::new(|_, request| keeps_silent_about_mailboxes(request)));
    }
    let first = rotating_entry(&mut world, reader).unwrap();
    world.turn(first, Box::new(|_, request| keeps_silent_about_mailboxes(request)));
    world.subscribe(reader, 1, &mailbox, 0);
    world.run_for(Span::from_secs(20));
    let letter = world.letter(&mailbox, 1);
    world.submit(writer, &letter).unwrap();
    world.run_for(Span::from_mins(3));
    assert!(!world.has_been_given(reader, 1, &letter));
    // The first turn lasts five minutes, more or less.
    world.run_for(Span::from_mins(4));
    assert_ne!(rotating_entry(&mut world, reader), Some(first));
    world.subscribe(reader, 1, &mailbox, 0);
    world.run_for(Span::from_secs(20));
    assert!(world.has_been_given(reader, 1, &letter));
}

/// Whoever collects for us has, or had, grants that name this node, and can hand them to others: nobody
/// must bring it to show itself to the region of its own client's mailbox.
#[test]
fn nobody_makes_a_reader_collect_its_own_clients_mailbox_from_the_region() {
    let Large { mut world, mailbox, reader, .. } = large(37, 60);
    let mut collectors: BTreeSet<_> = collectors(&mut world, reader).into_iter().collect();
    let entry = *collectors.first().unwrap();
    let entry_key = world.host(entry).key().public();
    let accomplice = KeyPair::from_seed(&fill(79)).public();
    let until = world.now() + Span::DAY;
    let [for_entry, for_reader] =
        [entry, reader].map(|host| mailbox.grant(world.address(host), until));
    world.sent.clear();
    world.subscribe(reader, 1, &mailbox, 0);
    collectors.extend(rotating_entry(&mut world, reader));
    world.run_for(Span::from_mins(1));
    let ask = |world: &mut World| {
        let both = vec![for_entry.clone(), for_reader.clone()];
        let asks = [(entry_key, both), (accomplice, vec![for_reader.clone()])];
        for _ in 0..3 {
            let asks = asks.clone().map(|(key, grants)| {
                world.ask_as(key, reader, Request::Subscribe { grants, after: 0 })
            });
            world.run_for(Span::from_mins(10));
            // They are served what they may have.
            let is_served = |id| matches!(world.answer(id), Some(Ok(Response::Subscribed { .. })));
            assert!(asks.into_iter().all(is_served));
        }
    };
    ask(&mut world);
    world.close_session(reader, 1);
    ask(&mut world);
    // Nor does a restart make it forget whose mailbox it is.
    world.crash(reader);
    world.start(reader);
    world.run_for(Span::from_mins(1));
    ask(&mut world);
    let is_own = |request: &Request| matches!(request, Request::Subscribe { .. });
    let asked = world.sent.iter().filter(|sent| sent.from == reader && is_own(&sent.request));
    let asked: BTreeSet<_> = asked.map(|sent| world.at(&sent.to).unwrap()).collect();
    assert!(asked.is_subset(&collectors), "{asked:?}, {collectors:?}");
    assert!(!asked.is_empty());
}

/// Both are honest, and neither chose that the other should choose it.
#[test]
fn two_nodes_that_are_each_others_entries_collect_for_each_other() {
    let Large { mut world, mailbox, writer, nearest, .. } = large(39, 60);
    let hosts: Vec<_> = world.hosts().collect();
    let chosen: Vec<_> = hosts.iter().map(|host| entries(&mut world, *host)).collect();
    let reads = |host: &At| *host != writer && !nearest.contains(host);
    let mutual = |reader: &At| {
        let mut theirs = chosen[*reader].iter().copied();
        theirs.find(|entry| *entry != writer && chosen[*entry].contains(reader))
    };
    let mut readers = hosts.iter().filter(|host| reads(host));
    let (reader, entry) = readers.find_map(|host| Some((*host, mutual(host)?))).unwrap();
    for other in collectors(&mut world, reader) {
        if other != entry && other != writer {
            world.turn(other, Box::new(|_, request| keeps_silent_about_mailboxes(request)));
        }
    }
    world.subscribe(reader, 1, &mailbox, 0);
    world.run_for(Span::from_mins(1));
    let letter = world.letter(&mailbox, 1);
    world.submit(writer, &letter).unwrap();
    let came = |world: &World| world.has_been_given(reader, 1, &letter);
    assert!(world.run_while(Span::from_mins(4), |world| !came(world)), "it did not come");
}

/// Grants are signed anew every few hours: whoever was shown one keeps it until it is about to end.
#[test]
fn an_older_grant_that_somebody_shows_ends_no_collection() {
    let Large { mut world, mailbox, writer, reader, .. } = large(38, 60);
    world.subscribe(reader, 1, &mailbox, 0);
    world.run_for(Span::from_mins(1));
    let older = mailbox.grant(world.address(reader), world.now() + Span::from_mins(5));
    let stranger = KeyPair::from_seed(&fill(78)).public();
    world.ask_as(stranger, reader, Request::Subscribe { grants: vec![older], after: 0 });
    world.run_for(Span::HOUR);
    let letter = world.letter(&mailbox, 1);
    world.submit(writer, &letter).unwrap();
    world.run_for(Span::from_mins(1));
    assert!(world.has_been_given(reader, 1, &letter));
}

/// The entries of a host, those that last first.
fn collectors(world: &mut World, host: At) -> Vec<At> {
    let lasting = entries(world, host);
    lasting.into_iter().chain(rotating_entry(world, host)).collect()
}

#[test]
fn the_rotating_entry_changes_ever_more_seldom_and_not_by_a_restart() {
    let Large { mut world, reader, .. } = large(36, 60);
    let (mut turns, mut last) = (Vec::new(), rotating_entry(&mut world, reader));
    let mut began = world.now();
    for minute in 0..72 * 60 {
        world.run_for(Span::from_mins(1));
        if minute % 97 == 0 {
            world.crash(reader);
            world.start(reader);
            world.run_for(Span::from_secs(10));
        }
        let now = rotating_entry(&mut world, reader);
        if now != last {
            turns.push(world.now().since(began).as_millis() / 60_000);
            (began, last) = (world.now(), now);
        }
    }
    let expected: [u64; 6] = [5, 20, 80, 320, 1_280, 1_440];
    assert!(turns.len() >= expected.len(), "{turns:?}");
    for (turn, expected) in turns.iter().zip(expected) {
        assert!((expected * 4 / 5..=expected * 6 / 5 + 2).contains(turn), "{turns:?}");
    }
    assert!(!entries(&mut world, reader).contains(&last.unwrap()));
}
