//! The end of an envelope that has been read: states, acknowledgements, tombstones and forgeries.

use std::collections::BTreeSet;

use comm_proto::acknowledgement::Acknowledgement;
use comm_proto::address::Address;
use comm_proto::envelope::{Envelope, EnvelopeId, TTL_DEFAULT, TTL_MIN};
use comm_proto::key::KeyPair;
use comm_proto::message::{ClientPush, ClientRequest, EnvelopeState, Push, Request, Response};
use comm_proto::node::{Event, Family, Input};
use comm_proto::rejection::Rejection;
use comm_proto::time::Span;
use comm_proto::verified::Verified;

use crate::routing::{Large, entries, large};
use crate::world::{At, Mailbox, START, Sent, World, fill};

fn names(request: &Request, id: &EnvelopeId) -> bool {
    match request {
        Request::Offer { ids } => ids.contains(id),
        Request::Deliver { envelopes } => envelopes.iter().any(|envelope| envelope.id() == *id),
        _ => false,
    }
}

/// A network in which an envelope from host 0 has reached the client of the last host and everybody.
fn delivered(seed: u64, count: usize) -> (World, Mailbox, Envelope) {
    let mut world = World::of(seed, count);
    let mailbox = Mailbox::new(1);
    world.subscribe(count - 1, 1, &mailbox, 0);
    let envelope = world.letter(&mailbox, 1);
    world.submit(0, &envelope).unwrap();
    world.run_for(Span::from_secs(10));
    assert!(world.has_been_given(count - 1, 1, &envelope));
    assert_eq!(world.holders(&envelope.id()).len(), count);
    (world, mailbox, envelope)
}

/// D11, D12.
#[test]
fn a_sender_sees_accepted_then_stored_by_ever_more_then_delivered_and_nothing_after() {
    let mut world = World::of(1, 6);
    let mailbox = Mailbox::new(1);
    world.subscribe(5, 1, &mailbox, 0);
    let envelope = world.letter(&mailbox, 1);
    world.submit(0, &envelope).unwrap();
    let watch = ClientRequest::Watch { ids: vec![envelope.id()] };
    world.call(0, 7, watch).unwrap();
    world.run_for(Span::from_secs(10));
    assert_eq!(world.state(0, &envelope), Some(EnvelopeState::Stored(5)));
    world.acknowledge(5, &mailbox, &[&envelope]);
    world.run_for(Span::HOUR);
    let state = |push: &ClientPush| match push {
        ClientPush::State { state, .. } => Some(*state),
        _ => None,
    };
    let states: Vec<_> = world.pushes(0, 7).iter().filter_map(|(_, push)| state(push)).collect();
    assert!(states.windows(2).all(|pair| pair[0] < pair[1]), "{states:?}");
    let (last, before) = states.split_last().unwrap();
    let stored: Vec<_> = (1..=5).map(EnvelopeState::Stored).collect();
    assert_eq!(before, stored);
    assert!(matches!(last, EnvelopeState::Delivered { .. }));
    assert_eq!(world.state(0, &envelope), Some(*last));
}

/// D12.
#[test]
fn an_acknowledgement_reaches_the_sender_and_every_holder_at_once() {
    for seed in 0..10 {
        let (mut world, mailbox, envelope) = delivered(seed, 12);
        world.acknowledge(11, &mailbox, &[&envelope]);
        world.run_for(Span::from_secs(1));
        assert_eq!(world.holders(&envelope.id()), []);
        assert!(matches!(world.state(0, &envelope), Some(EnvelopeState::Delivered { .. })));
    }
}

/// D14.
#[test]
fn nobody_relays_what_has_been_acknowledged() {
    let (mut world, mailbox, envelope) = delivered(2, 8);
    world.acknowledge(7, &mailbox, &[&envelope]);
    world.run_for(Span::from_secs(2));
    world.sent.clear();
    world.run_for(Span::from_days(2));
    assert!(!world.sent.iter().any(|sent| names(&sent.request, &envelope.id())));
}

/// D14.
#[test]
fn who_was_away_when_it_was_acknowledged_stops_at_the_next_meeting() {
    let (mut world, mailbox, envelope) = delivered(3, 8);
    world.part(&[&[0, 1, 2, 3, 4, 7], &[5, 6]]);
    world.acknowledge(7, &mailbox, &[&envelope]);
    world.run_for(Span::from_mins(2));
    assert_eq!(world.holders(&envelope.id()), [5, 6]);
    world.heal();
    world.sent.clear();
    world.run_for(Span::from_days(1));
    assert_eq!(world.holders(&envelope.id()), []);
    let bodies = |request: &Request| matches!(request, Request::Deliver { .. });
    assert!(!world.sent.iter().any(|sent| bodies(&sent.request)), "a body was sent again");
    let stops = world.sent.iter().filter(|sent| names(&sent.request, &envelope.id())).count();
    assert!(stops <= 6, "{stops} offers");
}

/// D15.
#[test]
fn a_late_copy_is_answered_with_the_acknowledgement_and_goes_nowhere() {
    let (mut world, mailbox, envelope) = delivered(4, 4);
    world.acknowledge(3, &mailbox, &[&envelope]);
    world.run_for(Span::from_secs(5));
    world.sent.clear();
    let late = KeyPair::from_seed(&fill(66)).public();
    let acknowledgements = vec![mailbox.acknowledge(&[&envelope])];
    for host in world.hosts() {
        let deliver = Request::Deliver { envelopes: vec![envelope.clone()] };
        let id = world.ask_as(late, host, deliver);
        world.run_for(Span::from_secs(1));
        let (receipts, refused) = (Vec::new(), Vec::new());
        let acknowledgements = acknowledgements.clone();
        let ended = Response::Delivered { receipts, refused, acknowledgements };
        assert_eq!(world.answer(id), Some(&Ok(ended)));
        let id = world.ask_as(late, host, Request::Offer { ids: vec![envelope.id()] });
        let (wanted, receipts) = (Vec::new(), Vec::new());
        let acknowledgements = mailbox.acknowledge(&[&envelope]);
        let acknowledgements = vec![acknowledgements];
        let ended = Response::Offered { wanted, receipts, acknowledgements };
        world.run_for(Span::from_secs(1));
        assert_eq!(world.answer(id), Some(&Ok(ended)));
    }
    world.run_for(Span::HOUR);
    assert_eq!(world.holders(&envelope.id()), []);
    assert!(!world.sent.iter().any(|sent| names(&sent.request, &envelope.id())));
}

/// Answers like a node that is there and wants what it is offered, but has no room for it.
fn full(_: &Address, request: &Request) -> Option<Result<Response, Rejection>> {
    let (receipts, acknowledgements) = (Vec::new(), Vec::new());
    Some(Ok(match request {
        Request::Ping { .. } => Response::Pong { time: START, observed: None },
        Request::FindNode { .. } => Response::Nodes { contacts: Vec::new() },
        Request::Offer { ids } => {
            Response::Offered { wanted: ids.clone(), receipts, acknowledgements }
        }
        Request::Deliver { envelopes } => {
            let refuse = |envelope: &Envelope| (envelope.id(), Rejection::StoreFull);
            let refused = envelopes.iter().map(refuse).collect();
            Response::Delivered { receipts, refused, acknowledgements }
        }
        _ => Response::Done,
    }))
}

/// Everybody has the envelope but those that have no room for it. `away` do not hear that it was read, and whoever
/// read it is gone when they are back. Each must end its copy within ten rounds.
fn assert_ended_by_whom_they_meet(
    world: &mut World,
    (mailbox, letter, reader): (&Mailbox, &Envelope, At),
    away: &[At],
) {
    assert!(world.has_been_given(reader, 1, letter));
    let others: Vec<_> = world.hosts().filter(|host| !away.contains(host)).collect();
    world.part(&[away, &others]);
    world.acknowledge(reader, mailbox, &[letter]);
    world.run_for(Span::from_mins(2));
    assert_eq!(world.holders(&letter.id()), away);
    world.crash(reader);
    world.heal();
    world.sent.clear();
    let holders = |world: &World| world.holders(&letter.id());
    let ended = world.run_while(Span::from_days(3), |world| !holders(world).is_empty());
    assert!(ended, "{:?} met only those who do not know", holders(world));
    for host in away {
        let of_it = |sent: &&Sent| sent.from == *host && names(&sent.request, &letter.id());
        let rounds: BTreeSet<_> = world.sent.iter().filter(of_it).map(|sent| sent.at).collect();
        assert!(rounds.len() <= 10, "{host}: {} rounds", rounds.len());
    }
}

/// D14: a node that never takes an envelope keeps nobody from meeting those who know of its end.
#[test]
fn a_full_node_keeps_no_sender_and_no_holder_from_hearing_of_an_end() {
    for (seed, away) in [(12, 0), (13, 2), (14, 3)] {
        let mut world = World::of(seed, 6);
        world.turn(1, Box::new(full));
        let mailbox = Mailbox::new(1);
        world.subscribe(5, 1, &mailbox, 0);
        let letter = world.letter(&mailbox, 1);
        world.submit(0, &letter).unwrap();
        world.run_for(Span::from_secs(10));
        assert_ended_by_whom_they_meet(&mut world, (&mailbox, &letter, 5), &[away]);
    }
}

/// D14: the same where a sender has entries, one of which never takes it.
#[test]
fn a_full_entry_keeps_no_sender_from_hearing_of_an_end() {
    let Large { mut world, mailbox, writer, reader, .. } = large(40, 60);
    world.subscribe(reader, 1, &mailbox, 0);
    let entry = entries(&mut world, writer)[3];
    world.turn(entry, Box::new(full));
    let letter = world.letter(&mailbox, 1);
    world.submit(writer, &letter).unwrap();
    world.run_for(Span::from_secs(20));
    assert_ended_by_whom_they_meet(&mut world, (&mailbox, &letter, reader), &[writer]);
}

/// D14: entries are cut off while the end is told, and cast the envelope afterwards, at a region that never had it.
/// The sender's node alone knows, and nobody collects the mailbox any more.
#[test]
fn what_entries_cast_after_its_end_is_ended_by_where_it_came_from() {
    let Large { mut world, mailbox, writer, .. } = large(41, 60);
    let entries = entries(&mut world, writer);
    let is_far = |host: &At| *host != writer && !entries.contains(host);
    let far: Vec<_> = world.hosts().filter(is_far).collect();
    let near: Vec<_> = world.hosts().filter(|host| !is_far(host)).collect();
    world.part(&[&near, &far]);
    let letter = world.letter(&mailbox, 1);
    world.submit(writer, &letter).unwrap();
    world.run_for(Span::from_secs(5));
    world.part(&[&[writer], &entries, &far]);
    world.acknowledge(writer, &mailbox, &[&letter]);
    world.run_for(Span::from_mins(2));
    let have_it = world.holders(&letter.id());
    assert!(
        !have_it.is_empty() && have_it.iter().all(|host| entries.contains(host)),
        "{have_it:?}"
    );
    world.heal();
    let holders = |world: &World| world.holders(&letter.id());
    let is_cast = world.run_while(Span::HOUR, |world| holders(world).len() < 10);
    assert!(is_cast, "{:?} have it", holders(&world));
    let ended = world.run_while(Span::from_days(3), |world| !holders(world).is_empty());
    assert!(ended, "{:?} met only those who do not know", holders(&world));
}

/// D14: an entry that has collected an envelope is cut off while its reader reads it, and the reader never comes back.
#[test]
fn what_an_entry_has_collected_ends_though_its_reader_is_gone() {
    let Large { mut world, mailbox, writer, reader, .. } = large(42, 60);
    world.subscribe(reader, 1, &mailbox, 0);
    let entries = entries(&mut world, reader);
    for entry in &entries {
        let grants = vec![mailbox.grant(world.address(*entry), world.now() + Span::DAY)];
        world.call(reader, 1, ClientRequest::Subscribe { grants, after: 0 }).unwrap();
    }
    world.run_for(Span::from_mins(1));
    let letter = world.letter(&mailbox, 1);
    world.submit(writer, &letter).unwrap();
    world.run_for(Span::from_mins(1));
    assert!(world.has_been_given(reader, 1, &letter));
    let have_it = world.holders(&letter.id());
    let entry = *entries.iter().find(|entry| have_it.contains(entry)).unwrap();
    let others: Vec<_> = world.hosts().filter(|host| *host != entry).collect();
    world.part(&[&[entry], &others]);
    world.acknowledge(reader, &mailbox, &[&letter]);
    world.run_for(Span::from_mins(20));
    assert_eq!(world.holders(&letter.id()), [entry]);
    world.crash(reader);
    world.heal();
    let holds = |world: &World| !world.holders(&letter.id()).is_empty();
    assert!(world.run_while(Span::from_days(2), holds), "{entry} has it still");
}

/// D16.
#[test]
fn an_acknowledgement_is_kept_until_its_end_and_then_gone() {
    let mut world = World::of(5, 3);
    let mailbox = Mailbox::new(1);
    world.subscribe(2, 1, &mailbox, 0);
    let envelope = mailbox.envelope(1, world.now() + TTL_MIN);
    world.submit(0, &envelope).unwrap();
    world.run_for(Span::from_secs(5));
    world.acknowledge(2, &mailbox, &[&envelope]);
    world.run_for(Span::DAY + Span::from_mins(9));
    assert!(world.hosts().all(|host| world.kept(host, Family::Acknowledgements) == 1));
    world.run_for(Span::from_mins(2));
    assert!(world.hosts().all(|host| world.kept(host, Family::Acknowledgements) == 0));
    assert!(world.hosts().all(|host| world.kept(host, Family::Tombstones) == 0));
}

/// D16: copies of nodes whose clocks are behind come for longer than an acknowledgement may last.
#[test]
fn a_tombstone_stays_for_a_day_after_the_expiry_though_its_acknowledgement_is_over() {
    let mut world = World::of(13, 1);
    let mailbox = Mailbox::new(1);
    let envelope = mailbox.envelope(1, world.now() + TTL_MIN);
    world.submit(0, &envelope).unwrap();
    let acknowledgement =
        Acknowledgement::sign(mailbox.key(), vec![envelope.id()], envelope.expires_at()).unwrap();
    let acknowledgements = vec![acknowledgement];
    world.call(0, 1, ClientRequest::Acknowledge { acknowledgements }).unwrap();
    world.run_for(TTL_MIN + Span::DAY - Span::from_mins(1));
    assert_eq!(world.kept(0, Family::Tombstones), 1);
    world.run_for(Span::from_mins(2));
    assert_eq!(world.kept(0, Family::Tombstones), 0);
}

/// D16: what an acknowledgement names and did not end here is not forgotten with it.
#[test]
fn the_end_of_an_acknowledgement_takes_the_tombstones_of_what_it_has_ended_and_no_others() {
    let mut world = World::of(12, 1);
    let mailbox = Mailbox::new(1);
    let until = world.now() + TTL_MIN;
    let [first, second] = [TTL_DEFAULT, TTL_MIN].map(|ttl| mailbox.envelope(1, world.now() + ttl));
    for envelope in [&first, &second] {
        world.submit(0, envelope).unwrap();
    }
    let mut acknowledge = |ids: Vec<EnvelopeId>, until| {
        let acknowledgement = Acknowledgement::sign(mailbox.key(), ids, until).unwrap();
        let acknowledgements = vec![acknowledgement];
        world.call(0, 1, ClientRequest::Acknowledge { acknowledgements }).unwrap();
    };
    acknowledge(vec![first.id()], until + TTL_DEFAULT);
    acknowledge(vec![first.id(), second.id()], until);
    world.run_for(TTL_MIN + Span::DAY + Span::HOUR);
    let tombstones = crate::world::entries(world.host(0), Family::Tombstones);
    let left: Vec<_> = tombstones.iter().map(|(key, _)| &key[..]).collect();
    assert_eq!(left, [&first.id().as_bytes()[..16]], "keys are halves of ids");
    assert_eq!(world.stats(0).tombstones, 1);
}

/// D16: one envelope's acknowledgement is small.
#[test]
fn an_acknowledgement_of_one_envelope_takes_no_more_than_256_bytes() {
    let (mut world, mailbox, envelope) = delivered(6, 2);
    world.acknowledge(1, &mailbox, &[&envelope]);
    world.run_for(Span::from_secs(1));
    let kept = crate::world::entries(world.host(0), Family::Acknowledgements);
    assert!(kept[0].1.len() <= 256, "{}", kept[0].1.len());
}

/// D18: every first acknowledgement is lost, yet nothing is shown twice and all ends.
#[test]
fn an_acknowledgement_that_was_lost_is_given_again_by_whoever_remembers_it() {
    let (mut world, mailbox, envelope) = delivered(7, 5);
    world.part(&[&[0, 1, 2, 3], &[4]]);
    world.acknowledge(4, &mailbox, &[&envelope]);
    world.run_for(Span::from_mins(2));
    assert_eq!(world.holders(&envelope.id()), [0, 1, 2, 3]);
    world.heal();
    world.run_for(Span::HOUR);
    assert_eq!(world.holders(&envelope.id()), []);
    assert!(matches!(world.state(0, &envelope), Some(EnvelopeState::Delivered { .. })));
    assert_eq!(world.given(4, 1).len(), 1);
}

/// D13.
#[test]
fn ten_thousand_forged_acknowledgements_stop_nothing() {
    let (mut world, mailbox, envelope) = delivered(8, 3);
    let (other, stranger) = (Mailbox::new(2), KeyPair::from_seed(&fill(66)).public());
    let read = world.letter(&mailbox, 2);
    let until = envelope.expires_at() + Span::DAY;
    for number in 0..10_000_u64 {
        let forged = match number % 4 {
            // Another key signs for this envelope.
            0 => Mailbox::new(number + 10).acknowledge(&[&envelope]),
            1 => other.acknowledge(&[&envelope]),
            // The right key signed, but for another envelope.
            2 => mailbox.acknowledge(&[&read]),
            // The right key for the right envelope, but it would be forgotten before the envelope.
            _ => short_lived(&mailbox, &envelope, number),
        };
        let acknowledgements = vec![forged];
        let (host, push) = ((number % 3) as At, Push::Acknowledgements(acknowledgements.clone()));
        if number % 2 == 0 {
            world.ask_as(stranger, host, Request::Acknowledge { acknowledgements });
        } else {
            world.input(host, Input::Push { from: stranger.address(), push });
        }
    }
    world.run_for(Span::HOUR);
    assert_eq!(world.holders(&envelope.id()).len(), 3);
    for host in world.hosts() {
        assert_eq!(world.kept(host, Family::Acknowledgements), 0);
        assert_eq!(world.kept(host, Family::Tombstones), 0);
        assert!(world.stats(host).refused >= 1_666, "{}", world.stats(host).refused);
    }
    let reason = Event::Refused { reason: Rejection::NotTheMailbox };
    assert!(world.events.iter().any(|(_, _, event)| *event == reason));
    let genuine = Acknowledgement::sign(mailbox.key(), vec![envelope.id()], until).unwrap();
    world.ask_as(stranger, 1, Request::Acknowledge { acknowledgements: vec![genuine] });
    world.run_for(Span::from_secs(5));
    assert_eq!(world.holders(&envelope.id()), []);
}

fn short_lived(mailbox: &Mailbox, envelope: &Envelope, n: u64) -> Verified<Acknowledgement> {
    let until = envelope.expires_at() - Span::from_millis(n);
    Acknowledgement::sign(mailbox.key(), vec![envelope.id()], until).unwrap()
}

/// D13: a client is told why its acknowledgement ended nothing.
#[test]
fn a_client_with_the_wrong_key_is_refused_with_the_reason() {
    let (mut world, _, envelope) = delivered(9, 2);
    let acknowledgements = vec![Mailbox::new(2).acknowledge(&[&envelope])];
    let answer = world.call(1, 1, ClientRequest::Acknowledge { acknowledgements });
    assert_eq!(answer, Err(Rejection::NotTheMailbox));
    assert_eq!(world.holders(&envelope.id()), [0, 1]);
}

/// D13: one acknowledgement may name others' envelopes beside its own.
#[test]
fn an_acknowledgement_ends_only_those_of_its_envelopes_that_are_its_mailboxs() {
    let mut world = World::of(10, 3);
    let (ours, theirs) = (Mailbox::new(1), Mailbox::new(2));
    let (own, foreign) = (world.letter(&ours, 1), world.letter(&theirs, 2));
    world.submit(0, &own).unwrap();
    world.submit(0, &foreign).unwrap();
    world.run_for(Span::from_secs(10));
    let until = world.now() + TTL_DEFAULT + Span::DAY;
    let both = Acknowledgement::sign(ours.key(), vec![own.id(), foreign.id()], until).unwrap();
    let stranger = KeyPair::from_seed(&fill(66)).public();
    world.ask_as(stranger, 0, Request::Acknowledge { acknowledgements: vec![both] });
    world.run_for(Span::from_secs(10));
    assert_eq!(world.holders(&own.id()), []);
    assert_eq!(world.holders(&foreign.id()), [0, 1, 2]);
}

/// D12: many at a time, in as few messages as they fit.
#[test]
fn hundreds_of_envelopes_end_together() {
    let mut world = World::of(11, 4);
    let mailbox = Mailbox::new(1);
    world.subscribe(3, 1, &mailbox, 0);
    let letters: Vec<_> = (0..500).map(|number| world.letter(&mailbox, number)).collect();
    for letter in &letters {
        world.submit(0, letter).unwrap();
    }
    world.run_for(Span::from_mins(1));
    assert_eq!(world.given(3, 1).len(), 500);
    let read: Vec<_> = letters.iter().collect();
    let acknowledgements = read.chunks(64).map(|some| mailbox.acknowledge(some)).collect();
    world.call(3, 1, ClientRequest::Acknowledge { acknowledgements }).unwrap();
    world.run_for(Span::from_secs(5));
    for host in world.hosts() {
        let stats = world.stats(host);
        assert_eq!((stats.envelopes, stats.envelope_bytes, stats.tombstones), (0, 0, 500));
        assert_eq!(world.kept(host, Family::Schedule), 0);
        assert_eq!(world.kept(host, Family::Mailboxes), 0);
    }
}
