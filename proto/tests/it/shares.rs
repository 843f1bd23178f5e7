//! A full disk: who gives way to whom, and what nobody can take away (PROTOCOL §6.1).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use comm_proto::envelope::{Envelope, EnvelopeId, SizeClass, TTL_MAX};
use comm_proto::key::KeyPair;
use comm_proto::message::{ClientRequest, EnvelopeState, Request, Response};
use comm_proto::node::{Config, Event, Family};
use comm_proto::rejection::Rejection;
use comm_proto::store::{Batch, Seq, Store, Write};
use comm_proto::time::Span;
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};

use crate::world::{At, Mailbox, World, entries, fill};

const BUDGET: u64 = 512 << 10;
/// What an envelope takes beside its body (PROTOCOL §6.1).
const ROWS: u64 = 1_792;
const HOST: At = 0;

fn small(config: &mut Config) {
    config.store_bytes_max = BUDGET;
}

fn size(envelope: &Envelope) -> u64 {
    envelope.body().len() as u64 + ROWS
}

/// A node that calls from one of the networks 30.`group`.0.0/16.
fn caller(group: u8, number: u64) -> (SocketAddr, KeyPair) {
    let place = [30, group, number as u8, 1];
    ((place, 50_000).into(), KeyPair::from_seed(&fill(u64::from(group) << 32 | number)))
}

/// Hands envelopes over as a node of this network does; which of them are refused.
fn hand_over(
    world: &mut World,
    host: At,
    (source, key): &(SocketAddr, KeyPair),
    envelopes: Vec<Envelope>,
) -> Vec<EnvelopeId> {
    let id = world.ask_from(*source, key.public(), host, Request::Deliver { envelopes });
    world.run_for(Span::from_millis(10));
    match world.answer(id) {
        Some(Ok(Response::Delivered { refused, .. })) => {
            assert!(refused.iter().all(|(_, reason)| *reason == Rejection::StoreFull));
            refused.iter().map(|(id, _)| *id).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// Which of these the host wants when a node of this network offers them.
fn wanted(
    world: &mut World,
    host: At,
    (source, key): &(SocketAddr, KeyPair),
    envelopes: &[Envelope],
) -> Vec<EnvelopeId> {
    let ids = envelopes.iter().map(Envelope::id).collect();
    let id = world.ask_from(*source, key.public(), host, Request::Offer { ids });
    world.run_for(Span::from_millis(10));
    match world.answer(id) {
        Some(Ok(Response::Offered { wanted, .. })) => wanted.clone(),
        other => panic!("{other:?}"),
    }
}

/// Fills a host's disk from one network, with what lives as long as anything may.
fn flood(world: &mut World, host: At, group: u8) -> Vec<Envelope> {
    let mailbox = Mailbox::new(7_000 + u64::from(group));
    let until = world.now() + TTL_MAX;
    let all: Vec<_> = (0..4 * BUDGET / 2_816).map(|n| mailbox.envelope(n, until)).collect();
    let mut refused = 0;
    for (number, some) in all.chunks(32).enumerate() {
        // Each time another key.
        refused += hand_over(world, host, &caller(group, number as u64), some.to_vec()).len();
    }
    assert!(refused > 100, "the disk is not full");
    all.into_iter().filter(|one| world.host(host).holds(&one.id())).collect()
}

fn evicted(world: &World) -> Vec<EnvelopeId> {
    let id = |event: &Event| match event {
        Event::Evicted { id } => Some(*id),
        _ => None,
    };
    world.events.iter().filter_map(|(_, _, event)| id(event)).collect()
}

/// G5: what a flood has filled takes what others bring, and keeps it however the flood goes on.
#[test]
fn a_relay_that_a_flood_has_filled_takes_what_others_bring_and_keeps_it() {
    let mut world = World::with(1, 1, small);
    flood(&mut world, HOST, 1);
    let mailbox = Mailbox::new(1);
    let letters: Vec<_> = (0..40).map(|number| world.letter(&mailbox, number)).collect();
    for letter in &letters {
        assert_eq!(hand_over(&mut world, HOST, &caller(2, 1), vec![letter.clone()]), []);
    }
    // The flood goes on from the same network, and from another one.
    flood(&mut world, HOST, 1);
    flood(&mut world, HOST, 3);
    assert!(letters.iter().all(|letter| world.host(HOST).holds(&letter.id())));
    assert!(world.stats(HOST).disk_bytes <= BUDGET);
    // For 48 hours and more.
    world.run_for(Span::from_days(13));
    assert!(letters.iter().all(|letter| world.host(HOST).holds(&letter.id())));
}

/// G5: keys cost nothing, so as many of them as one likes have one part together.
#[test]
fn many_keys_of_one_network_have_one_part() {
    let mut world = World::with(2, 1, small);
    flood(&mut world, HOST, 1);
    flood(&mut world, HOST, 2);
    let held = entries(world.host(HOST), Family::Shares);
    let of = |group: u8| held.iter().filter(|(key, _)| key.starts_with(&[1, 30, group])).count();
    assert!(of(1).abs_diff(of(2)) <= 1 && of(1) > 50, "{} and {}", of(1), of(2));
}

/// G5: a relay whose disk a flood has filled still submits for its own clients, and what they have
/// submitted stays.
#[test]
fn a_relay_that_a_flood_has_filled_submits_for_its_own_clients() {
    let mut world = World::with(3, 1, small);
    flood(&mut world, HOST, 1);
    let mailbox = Mailbox::new(1);
    let letters: Vec<_> = (0..200).map(|number| world.letter(&mailbox, number)).collect();
    let accepted: Vec<_> = letters.iter().filter(|one| world.submit(HOST, one).is_ok()).collect();
    let bytes: u64 = accepted.iter().map(|letter| size(letter)).sum();
    let mail = BUDGET / 8 * 7;
    assert!(bytes <= mail / 4 * 3 && bytes > mail / 4 * 3 - 4_096, "{bytes} of {mail}");
    flood(&mut world, HOST, 2);
    for letter in accepted {
        assert_eq!(world.state(HOST, letter), Some(EnvelopeState::Accepted));
    }
    assert!(world.stats(HOST).disk_bytes <= BUDGET);
}

/// G5: whoever reads at a relay that a flood has filled reads all the same.
#[test]
fn a_recipient_whose_own_relay_is_full_still_collects_and_reads() {
    let mut world = World::new(4);
    world.add(|_| {});
    world.add(|_| {});
    let full = world.add(small);
    (1..3).for_each(|host| world.bootstrap(host, &[0]));
    world.run_for(Span::from_secs(20));
    flood(&mut world, full, 1);
    let mailbox = Mailbox::new(1);
    let letter = world.letter(&mailbox, 1);
    world.submit(0, &letter).unwrap();
    world.subscribe(full, 1, &mailbox, 0);
    world.run_for(Span::from_mins(1));
    assert!(world.has_been_given(full, 1, &letter));
    world.acknowledge(full, &mailbox, &[&letter]);
    world.run_for(Span::from_secs(10));
    assert!(matches!(world.state(0, &letter), Some(EnvelopeState::Delivered { .. })));
}

/// G5: what is collected for a client leaves room for what clients submit, however much of it there is.
#[test]
fn a_flood_to_ones_own_client_leaves_room_to_submit() {
    let mut world = World::new(5);
    world.add(|_| {});
    let reader = world.add(small);
    world.bootstrap(reader, &[0]);
    world.run_for(Span::from_secs(20));
    let mailbox = Mailbox::new(1);
    world.subscribe_without_credit(reader, 1, &mailbox, 0);
    for number in 0..600 {
        let letter = world.letter(&mailbox, number);
        world.submit(0, &letter).unwrap();
    }
    world.run_for(Span::from_mins(30));
    let elsewhere = Mailbox::new(2);
    let letters: Vec<_> = (0..40).map(|number| world.letter(&elsewhere, number)).collect();
    assert!(letters.iter().all(|letter| world.submit(reader, letter).is_ok()));
    assert!(world.stats(reader).disk_bytes <= BUDGET);
}

/// G5: what is evicted is as if it had never been here: nothing is left, and it may come again.
#[test]
fn what_is_evicted_leaves_nothing_and_is_unknown_again() {
    let mut world = World::with(6, 1, small);
    let spam = flood(&mut world, HOST, 1);
    world.events.clear();
    let letter = world.letter(&Mailbox::new(1), 1);
    assert_eq!(hand_over(&mut world, HOST, &caller(2, 1), vec![letter]), []);
    let gone = evicted(&world);
    assert_eq!(gone.len(), 1);
    assert!(spam.iter().any(|one| one.id() == gone[0]));
    let stats = world.stats(HOST);
    let tables = [Family::Custody, Family::Envelopes, Family::Mailboxes, Family::Shares];
    for table in tables {
        assert_eq!(world.kept(HOST, table) as u64, stats.envelopes, "{table:?}");
        let rows = entries(world.host(HOST), table);
        let name = gone[0].as_bytes();
        let names_it = |bytes: &[u8]| bytes.windows(32).any(|some| some == name);
        assert!(!rows.iter().any(|(key, value)| names_it(key) || names_it(value)));
    }
    assert_eq!((stats.tombstones, stats.acknowledgements), (0, 0));
    let again = spam.into_iter().find(|one| one.id() == gone[0]).unwrap();
    assert_eq!(hand_over(&mut world, HOST, &caller(3, 1), vec![again.clone()]), []);
    assert!(world.host(HOST).holds(&again.id()));
}

/// G5: what would give way at once to what is here is not asked for; its body is not sent in vain.
#[test]
fn whoever_has_used_up_its_share_is_not_asked_for_what_would_be_refused() {
    let mut world = World::with(7, 1, small);
    flood(&mut world, HOST, 1);
    let mailbox = Mailbox::new(1);
    let more: Vec<_> = (0..64).map(|number| world.letter(&mailbox, number)).collect();
    let asked_for = wanted(&mut world, HOST, &caller(1, 1), &more);
    assert!(asked_for.len() < 48, "{}", asked_for.len());
    // Those that are asked for are taken, at the price of what has drawn a lower lot; the others are not.
    for letter in &more {
        let refused = hand_over(&mut world, HOST, &caller(1, 1), vec![letter.clone()]);
        if !asked_for.contains(&letter.id()) {
            assert_eq!(refused, [letter.id()]);
        }
    }
    // From elsewhere all of it is.
    let others: Vec<_> = (100..164).map(|number| world.letter(&mailbox, number)).collect();
    assert_eq!(wanted(&mut world, HOST, &caller(2, 1), &others).len(), 64);
}

/// G5: what one has to give up is not offered back and forth: the same envelope is refused again.
#[test]
fn what_gave_way_within_its_group_is_refused_when_the_group_brings_it_again() {
    let mut world = World::with(8, 1, small);
    flood(&mut world, HOST, 1);
    world.events.clear();
    let mailbox = Mailbox::new(1);
    let more: Vec<_> = (0..64).map(|number| world.letter(&mailbox, number)).collect();
    for letter in &more {
        hand_over(&mut world, HOST, &caller(1, 1), vec![letter.clone()]);
    }
    let gone: BTreeSet<_> = evicted(&world).into_iter().collect();
    assert!(!gone.is_empty());
    let known = more.iter().filter(|letter| gone.contains(&letter.id()));
    for letter in known.cloned().collect::<Vec<_>>() {
        assert_eq!(hand_over(&mut world, HOST, &caller(1, 1), vec![letter.clone()]), [letter.id()]);
    }
}

/// G5: nothing is evicted for what is refused in the end.
#[test]
fn nothing_gives_way_to_what_is_too_large_to_be_taken() {
    let mut world = World::with(9, 1, small);
    for group in 1..21 {
        let mailbox = Mailbox::new(7_000 + u64::from(group));
        for number in 0..16 {
            let letter = world.letter(&mailbox, number);
            hand_over(&mut world, HOST, &caller(group, 1), vec![letter]);
        }
    }
    let before = (world.stats(HOST).envelopes, evicted(&world).len());
    let large = Mailbox::new(1).sized(SizeClass::K64, 1, world.now() + Span::DAY);
    let refused = hand_over(&mut world, HOST, &caller(30, 1), vec![large.clone()]);
    assert_eq!(refused, [large.id()]);
    assert_eq!((world.stats(HOST).envelopes, evicted(&world).len()), before);
}

/// G5: with a smaller budget than before, what is too much goes some at a time, and then there is room.
#[test]
fn a_disk_that_holds_more_than_it_may_is_emptied_step_by_step() {
    let mut world = World::new(14);
    let roomy = world.add(|_| {});
    let mailbox = Mailbox::new(1);
    let all: Vec<_> = (0..600).map(|number| world.letter(&mailbox, number)).collect();
    for some in all.chunks(60) {
        assert_eq!(hand_over(&mut world, roomy, &caller(1, 1), some.to_vec()), []);
    }
    let small = world.add(small);
    let disk = world.host(roomy).store().clone();
    world.replace_disk(small, disk);
    let letter = world.letter(&Mailbox::new(2), 1);
    let mut attempts = 0;
    loop {
        let before = world.stats(small).envelopes;
        let submitted = world.submit(small, &letter);
        attempts += 1;
        if submitted.is_ok() {
            break;
        }
        assert_eq!(before - world.stats(small).envelopes, 64);
    }
    assert_eq!(attempts, 7);
    assert!(world.stats(small).disk_bytes <= BUDGET);
}

/// G5: a full disk in one message of many envelopes: the promise is for those that are there.
#[test]
fn receipts_of_one_message_name_what_is_on_the_disk_then() {
    let mut world = World::with(10, 1, small);
    flood(&mut world, HOST, 1);
    let mailbox = Mailbox::new(1);
    for round in 0..40_u64 {
        let (source, key) = caller(1 + (round % 3) as u8, 1);
        let envelopes: Vec<_> =
            (0..16).map(|number| world.letter(&mailbox, round << 8 | number)).collect();
        let id = world.ask_from(source, key.public(), HOST, Request::Deliver { envelopes });
        // The disk takes 5 ms: meanwhile another group's mail comes.
        let (source, key) = caller(5 + (round % 9) as u8, 1);
        let envelopes = (0..16).map(|n| world.letter(&mailbox, round << 8 | 64 | n)).collect();
        world.ask_from(source, key.public(), HOST, Request::Deliver { envelopes });
        world.run_for(Span::from_millis(10));
        // That receipts name only what the disk has is looked at by the world at each answer.
        assert!(matches!(world.answer(id), Some(Ok(Response::Delivered { .. }))));
        assert!(world.stats(HOST).disk_bytes <= BUDGET);
    }
}

/// G5: where each network could have less than one envelope, none has a place because it came first.
#[test]
fn where_there_are_more_networks_than_places_the_lot_decides() {
    let mut world = World::with(15, 1, small);
    let mailbox = Mailbox::new(1);
    let (mut early, mut late) = (Vec::new(), Vec::new());
    for group in 0..240 {
        let letter = world.letter(&mailbox, u64::from(group));
        hand_over(&mut world, HOST, &caller(group, 1), vec![letter.clone()]);
        if group < 120 { &mut early } else { &mut late }.push(letter);
    }
    let held = |letters: &[Envelope]| {
        letters.iter().filter(|letter| world.host(HOST).holds(&letter.id())).count()
    };
    let (early, late) = (held(&early), held(&late));
    assert_eq!(early + late, 142);
    assert!(early > 45 && late > 45, "{early} and {late}");
}

/// G5: what was brought for others and is then submitted here belongs to our own client from then on.
#[test]
fn what_a_client_submits_is_not_evicted_though_others_had_brought_it() {
    let mut world = World::with(11, 1, small);
    let letter = world.letter(&Mailbox::new(1), 1);
    hand_over(&mut world, HOST, &caller(1, 1), vec![letter.clone()]);
    assert_eq!((world.stats(HOST).others_bytes, world.kept(HOST, Family::Shares)), (2_816, 1));
    world.submit(HOST, &letter).unwrap();
    assert_eq!((world.stats(HOST).others_bytes, world.kept(HOST, Family::Shares)), (0, 0));
    (1..20).for_each(|group| drop(flood(&mut world, HOST, group)));
    assert!(world.host(HOST).holds(&letter.id()));
}

/// G5: whoever has a mailbox collected by an entry is charged for it there, not whoever hands it over.
#[test]
fn whoever_lets_an_entry_collect_is_charged_for_what_comes() {
    let mut world = World::of(12, 2);
    let (mailbox, letter) = (Mailbox::new(1), world.letter(&Mailbox::new(1), 1));
    let (source, reader) = caller(9, 1);
    world.submit(1, &letter).unwrap();
    world.part(&[&[0], &[1]]);
    world.run_for(Span::from_secs(1));
    assert!(!world.host(0).holds(&letter.id()));
    world.heal();
    let until = world.now() + Span::from_days(2);
    let grants = [world.address(0), reader.address()].map(|who| mailbox.grant(who, until));
    let request = Request::Subscribe { grants: grants.to_vec(), after: 0 };
    world.ask_from(source, reader.public(), 0, request);
    world.run_for(Span::from_mins(20));
    assert!(world.host(0).holds(&letter.id()));
    let (key, _) = entries(world.host(0), Family::Shares).remove(0);
    assert!(key.starts_with(&[1, 30, 9]), "{key:?}");
}

/// D6, G5: a store that knows of no groups is taken over as it is: nobody is charged for what lies there.
#[test]
fn mail_of_a_store_without_charges_is_kept_until_it_ends() {
    let mut world = World::with(13, 1, small);
    let letter = world.letter(&Mailbox::new(1), 1);
    world.submit(HOST, &letter).unwrap();
    world.crash(HOST);
    // As an older program writes what another node has handed over: the same, but for the role.
    let key = letter.id().as_bytes().to_vec();
    let mut value = world.host(HOST).store().get(Family::Custody, &key).unwrap().unwrap();
    value[0] = value[0] & !3 | 2;
    let writes = vec![Write::Put { table: Family::Custody, key, value }];
    world.write_to_disk(HOST, Batch { seq: Seq(1), writes });
    world.start(HOST);
    (1..4).for_each(|group| drop(flood(&mut world, HOST, group)));
    assert!(world.host(HOST).holds(&letter.id()));
    world.run_for(Span::from_days(31));
    assert_eq!((world.stats(HOST).envelopes, world.stats(HOST).disk_bytes), (0, 0));
}

/// What a test knows of the mail at a host.
#[derive(Default)]
struct Known {
    /// By id: the group that is charged, or nobody, and the envelope.
    mail: BTreeMap<EnvelopeId, (Option<u8>, Envelope)>,
}

impl Known {
    fn used(&self) -> BTreeMap<u8, u64> {
        let mut used = BTreeMap::new();
        for (group, envelope) in self.mail.values() {
            if let Some(group) = group {
                *used.entry(*group).or_default() += size(envelope);
            }
        }
        used
    }

    /// Drops what is not there any more and returns it.
    fn drop_lost(&mut self, world: &World) -> Vec<(Option<u8>, Envelope)> {
        let lost = |(_, (_, one)): &(EnvelopeId, (Option<u8>, Envelope))| {
            !world.host(HOST).holds(&one.id())
        };
        let all = std::mem::take(&mut self.mail);
        let (gone, held): (Vec<_>, Vec<_>) = all.into_iter().partition(lost);
        self.mail = held.into_iter().collect();
        gone.into_iter().map(|(_, one)| one).collect()
    }
}

fn assert_account_is_true(world: &World, known: &Known) {
    let stats = world.stats(HOST);
    assert!(stats.disk_bytes <= BUDGET, "{}", stats.disk_bytes);
    let others = known.mail.values().filter(|(group, _)| group.is_some());
    let bytes: u64 = others.clone().map(|(_, envelope)| size(envelope)).sum();
    assert_eq!(stats.others_bytes, bytes);
    assert_eq!(world.kept(HOST, Family::Shares), others.count());
    assert_eq!(stats.envelopes, known.mail.len() as u64);
}

/// Of those that lost something, each had at least as much as anybody, and more than the newcomer.
fn assert_fair(before: &BTreeMap<u8, u64>, lost: &[(Option<u8>, Envelope)], to: (Option<u8>, u64)) {
    let mut left = before.clone();
    for (group, envelope) in lost {
        let group = group.expect("own mail is never evicted");
        *left.get_mut(&group).unwrap() -= size(envelope);
    }
    let (by, bytes) = to;
    // It may have given up something itself for what it brings.
    let newcomer = by.map_or(0, |by| left.get(&by).copied().unwrap_or(0) + bytes);
    for (group, envelope) in lost {
        let group = group.unwrap();
        // Before the last of what it lost, and with the newcomer if that is its own, as far as can be told from outside.
        let had = left[&group] + 2 * (SizeClass::K64.body_len() as u64 + ROWS);
        assert!(left.values().all(|used| *used < had), "{group} had less than others");
        let not_less = before[&group] >= newcomer;
        assert!(by.is_none() || by == Some(group) || not_less, "{group} lost to one with more");
        assert!(before[&group] >= size(envelope));
    }
}

/// G5, D19: whatever comes in whatever order, the budget holds, own mail stays, whoever uses less than
/// others loses nothing, and the account says what lies on the disk, after a restart too.
#[test]
fn whatever_comes_the_disk_is_divided_fairly_and_the_account_is_true() {
    for seed in 0..6 {
        let (mut world, mut known) = (World::with(100 + seed, 1, small), Known::default());
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let mut draw = |below: u64| rng.next_u64() % below;
        let mailboxes: Vec<_> = (0..5).map(Mailbox::new).collect();
        let (mut evictions, mut refusals) = (0, 0);
        for number in 0..1_200_u64 {
            let mailbox = &mailboxes[draw(5) as usize];
            let class = match draw(40) {
                0 => SizeClass::K64,
                1 | 2 => SizeClass::K16,
                3..7 => SizeClass::K4,
                _ => SizeClass::K1,
            };
            let lifetime = Span::from_mins(60 + draw(20_000));
            let letter = mailbox.sized(class, seed << 32 | number, world.now() + lifetime);
            let before = known.used();
            match draw(100) {
                0 => {
                    world.crash(HOST);
                    world.start(HOST);
                }
                1 => {
                    world.run_for(Span::from_mins(draw(600)));
                    known.drop_lost(&world);
                }
                2..8 => {
                    let read = known.mail.values().map(|(_, one)| one);
                    let read = read.filter(|one| one.mailbox() == mailbox.address()).take(3);
                    let read: Vec<_> = read.cloned().collect();
                    if let [_, ..] = &read[..] {
                        let acknowledgements =
                            vec![mailbox.acknowledge(&read.iter().collect::<Vec<_>>())];
                        world
                            .call(HOST, 1, ClientRequest::Acknowledge { acknowledgements })
                            .unwrap();
                        known.drop_lost(&world);
                    }
                }
                8..12 => {
                    if world.submit(HOST, &letter).is_ok() {
                        known.mail.insert(letter.id(), (None, letter.clone()));
                    }
                    let lost = known.drop_lost(&world);
                    evictions += lost.len();
                    assert_fair(&before, &lost, (None, size(&letter)));
                }
                choice => {
                    // The lower the number, the more it brings.
                    let group = [1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5][(choice % 12) as usize];
                    let refused =
                        hand_over(&mut world, HOST, &caller(group, draw(4)), vec![letter.clone()]);
                    refusals += refused.len();
                    if refused.is_empty() {
                        known.mail.insert(letter.id(), (Some(group), letter.clone()));
                    } else {
                        // It would have had more than its part of what there was to divide.
                        let used = before.get(&group).copied().unwrap_or(0) + size(&letter);
                        let groups = before.len() as u64 + u64::from(!before.contains_key(&group));
                        let divided: u64 = before.values().sum();
                        assert!(groups * used + size(&letter) > divided, "{group}: {before:?}");
                    }
                    let lost = known.drop_lost(&world);
                    evictions += lost.len();
                    assert_fair(&before, &lost, (Some(group), size(&letter)));
                }
            }
            assert_account_is_true(&world, &known);
        }
        assert!(evictions > 100 && refusals > 100, "{evictions}, {refusals}");
    }
}
