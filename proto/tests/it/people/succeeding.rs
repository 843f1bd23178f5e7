//! Another key for the same person: who follows whom, and when nothing is said any more (PROTOCOL §4.21).

use comm_proto::agent::{Doubt, Handover, HandoverError, hand_over};
use comm_proto::envelope::{Envelope, Header};
use comm_proto::payload::{Payload, class_for};
use comm_proto::sealing::{SealTarget, seal};
use comm_proto::store::{Store, Write};
use comm_proto::succession::{Lineage, Succession};
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use super::*;

/// Ann and Bob, who have names for each other, have compared, and use their conversation's mailboxes.
pub(super) fn friends() -> Town {
    let mut town = Town::with(&["ann", "bob"]);
    for (one, other) in [("ann", "bob"), ("bob", "ann")] {
        let (name, address) = (other.to_owned(), town.address(other));
        town.command(one, Command::AddContact { name, address, key: None }).unwrap();
        town.send(one, other, &format!("from {one}"));
        town.wait(Span::from_secs(1));
    }
    for (one, other) in [("ann", "bob"), ("bob", "ann")] {
        let contact = town.address(other);
        let comparison = agent::Comparison::Same;
        town.command(one, Command::Compare { contact, comparison }).unwrap();
    }
    town
}

pub(super) fn identity(seed: u8) -> Identity {
    Identity::from_seed(&[seed; 32])
}

/// Bob's program with another identity, made of the store of his first.
pub(super) fn go_on_as(town: &mut Town, old: &'static str, new: &'static str, seed: u8) -> usize {
    go_on_as_at(town, old, new, seed, Span::ZERO)
}

/// By a clock that is ahead.
pub(super) fn go_on_as_at(
    town: &mut Town,
    old: &'static str,
    new: &'static str,
    seed: u8,
    ahead: Span,
) -> usize {
    town.disconnect(old);
    let (mut store, was) = (town.people[old].store.clone(), town.people[old].identity);
    let (was, is) = (Identity::from_seed(&was), identity(seed));
    let handover = hand_over(&store, &was, &is, town.now + ahead).unwrap();
    let told = vec![handover.farewell, handover.done];
    let farewell = Batch { seq: comm_proto::store::Seq(0), writes: told };
    town.people.get_mut(old).unwrap().store.apply(&farewell);
    store.apply(&Batch { seq: comm_proto::store::Seq(0), writes: handover.writes });
    town.add(new, [seed; 32]);
    let person = town.people.get_mut(new).unwrap();
    person.agent = Agent::new(is, [seed; 32], &store, town.now).unwrap();
    person.store = store;
    town.restart(old);
    handover.to_tell
}

pub(super) fn moved(town: &Town, name: &str) -> Vec<(Address, Address)> {
    let events = town.people[name].events.iter();
    events
        .filter_map(|event| match event {
            Event::Moved { contact, former, .. } => Some((*contact, *former)),
            _ => None,
        })
        .collect()
}

pub(super) fn doubts(town: &Town, name: &str) -> Vec<Doubt> {
    let events = town.people[name].events.iter();
    events
        .filter_map(|event| match event {
            Event::Doubted { doubt, .. } => Some(*doubt),
            _ => None,
        })
        .collect()
}

/// Whatever is on its way, also what goes by itself.
pub(super) fn on_its_way(town: &Town, name: &str) -> usize {
    town.people[name].store.scan(Drawer::Outbox, &[], &[0xff; 9], 1_000).unwrap().len()
}

pub(super) fn only_contact(town: &Town, name: &str) -> agent::Contact {
    let contacts = town.people[name].agent.contacts();
    assert_eq!(contacts.len(), 1, "{contacts:?}");
    contacts[0].clone()
}

/// Hands a letter about keys to Ann that `author` has sealed to her.
pub(super) fn tell_ann(town: &mut Town, author: u8, body: Vec<u8>) {
    tell_ann_of(town, author, ContentType::SUCCESSION, body);
}

/// Hands a letter of any kind to Ann that `author` has sealed to her.
pub(super) fn tell_ann_of(town: &mut Town, author: u8, content_type: ContentType, body: Vec<u8>) {
    let sequence = town.next_id + 1;
    tell_ann_numbered(town, author, sequence, content_type, body);
}

/// Hands a letter to Ann that has any number.
pub(super) fn tell_ann_numbered(
    town: &mut Town,
    author: u8,
    sequence: u64,
    content_type: ContentType,
    body: Vec<u8>,
) {
    let ann = *Identity::from_seed(&town.people["ann"].identity).public();
    town.next_id += 1;
    let mut rng = ChaCha12Rng::seed_from_u64(town.next_id);
    let expires_at = town.now + Span::DAY;
    let payload = Payload {
        content_type,
        sequence: std::num::NonZeroU64::new(sequence).unwrap(),
        previous: None,
        sent_at: town.now,
        expires_at,
        recipient: ann.address(),
        body,
    };
    let target = SealTarget::Identity(&ann);
    let class = class_for(payload.body.len()).unwrap();
    let sealed = seal(&mut rng, &identity(author), &target, &payload, class).unwrap();
    let (suite, mailbox) = (target.suite(), ann.address());
    let header = Header { suite, mailbox, expires_at, stamp_nonce: 0 };
    let envelope = Envelope::new(header, sealed.into()).unwrap();
    let push = ClientPush::Envelope { envelope, cursor: town.next_id };
    town.tell("ann", agent::Input::Push(push));
}

pub(super) fn lineage(town: &Town, keys: &[u8]) -> Vec<u8> {
    let next = |known, ends: &[u8]| {
        let (old, new) = (identity(ends[0]), identity(ends[1]));
        let next = Succession::sign(old.key(), new.key(), town.now).unwrap();
        Some(Lineage::continued(known, next))
    };
    keys.windows(2).fold(None, next).unwrap().to_bytes()
}

/// A5, A6: one conversation before and after, with a new key, and nothing that is taken for granted.
#[test]
fn a_contact_follows_to_a_key_that_the_old_one_names_and_is_to_be_compared_again() {
    let mut town = friends();
    let old = town.address("bob");
    assert!(only_contact(&town, "ann").compared_at.is_some());
    assert_eq!(go_on_as(&mut town, "bob", "rob", 20), 1);
    town.connect("rob");
    town.wait(Span::from_mins(1));
    let new = town.address("rob");
    assert_eq!(moved(&town, "ann"), [(new, old)]);
    let contact = only_contact(&town, "ann");
    assert_eq!((contact.name.as_str(), contact.address), ("bob", new));
    assert_eq!((contact.compared_at, contact.former, contact.doubt), (None, vec![old], None));
    assert_eq!(
        only_contact(&town, "rob").compared_at,
        None,
        "the number is another one for him, too"
    );

    town.send("ann", "rob", "who are you?");
    town.send("rob", "ann", "still me");
    town.wait(Span::from_mins(1));
    assert_eq!(town.texts("rob"), ["who are you?"]);
    assert_eq!(town.texts("ann"), ["from bob", "still me"]);
    let said = town.history("ann", "rob");
    assert_eq!(said.len(), 5, "two before, one about the key, two after");
    assert!(said.iter().all(|entry| entry.contact == new), "{said:?}");
    assert!(
        said.iter().all(|entry| !matches!(entry.author, Author::Them { missing_before: 1.., .. }))
    );
    town.restart("ann");
    assert_eq!(only_contact(&town, "ann").former, vec![old]);
    assert_eq!(on_its_way(&town, "rob"), 0);
    // Nothing is said in the old name any more, and it cannot be given away twice.
    let command = Command::Send {
        to: town.address("ann"),
        content_type: ContentType::TEXT,
        body: b"x".to_vec(),
        ttl: TTL_DEFAULT,
    };
    assert_eq!(town.command("bob", command), Err(CommandError::Replaced(new)));
    let again = hand_over(&town.people["bob"].store, &identity(2), &identity(21), town.now);
    assert!(matches!(again, Err(HandoverError::Replaced(by)) if by == new));
}

/// A5: the letter is written again as often as it takes, and two steps are one.
#[test]
fn whoever_is_away_for_months_learns_of_the_new_key_later() {
    let mut town = friends();
    town.disconnect("ann");
    go_on_as(&mut town, "bob", "rob", 20);
    town.connect("rob");
    town.wait(Span::from_days(40));
    go_on_as(&mut town, "rob", "robert", 21);
    town.connect("robert");
    town.wait(Span::from_days(40));
    town.connect("ann");
    town.wait(Span::HOUR);
    assert_eq!(moved(&town, "ann").len(), 1);
    let contact = only_contact(&town, "ann");
    assert_eq!(contact.address, town.address("robert"));
    assert_eq!(contact.former, [town.address("bob"), town.address("rob")]);
    town.send("ann", "robert", "I was away");
    town.wait(Span::from_mins(1));
    assert_eq!(town.texts("robert"), ["I was away"]);
}

/// A6: nobody but the two keys can say it, and nobody in the future.
#[test]
fn a_replacement_that_is_forged_handed_on_or_dated_ahead_is_followed_by_nobody() {
    let mut town = friends();
    let bob = town.address("bob");
    town.accepts = false;
    let good = lineage(&town, &[2, 20]);
    // By a third, of whom it says nothing.
    tell_ann(&mut town, 30, good.clone());
    let mut forged = good.clone();
    forged[199] ^= 1;
    tell_ann(&mut town, 20, forged);
    let ahead = Town { now: town.now + Span::from_days(1), ..friends() };
    tell_ann(&mut town, 20, lineage(&ahead, &[2, 20]));
    assert_eq!((moved(&town, "ann"), doubts(&town, "ann")), (vec![], vec![]));
    assert_eq!(only_contact(&town, "ann").address, bob);
    tell_ann(&mut town, 20, good.clone());
    let new = identity(20).address();
    assert_eq!(moved(&town, "ann"), [(new, bob)]);
    // Said again, by whichever of the two.
    tell_ann(&mut town, 20, good.clone());
    tell_ann(&mut town, 2, good);
    assert_eq!((moved(&town, "ann").len(), doubts(&town, "ann")), (1, vec![]));
}

/// A6, A12: the old key is stolen: whoever comes second is not followed, and nothing is said until Ann decides, once.
#[test]
fn of_two_replacements_by_one_key_the_second_is_a_conflict() {
    let mut town = friends();
    let (first, second) = (identity(20).address(), identity(30).address());
    for (author, keys) in [(20, [2, 20]), (30, [2, 30])] {
        let body = lineage(&town, &keys);
        tell_ann(&mut town, author, body);
    }
    assert_eq!(moved(&town, "ann").len(), 1);
    assert_eq!(doubts(&town, "ann"), [Doubt::OtherSuccessor(second)]);
    let contact = only_contact(&town, "ann");
    assert_eq!((contact.address, contact.doubt), (first, Some(Doubt::OtherSuccessor(second))));
    let send = || Command::Send {
        to: first,
        content_type: ContentType::TEXT,
        body: b"x".to_vec(),
        ttl: TTL_DEFAULT,
    };
    assert_eq!(town.command("ann", send()), Err(CommandError::Doubted(first)));
    // A further step of either waits for the decision.
    let body = lineage(&town, &[20, 40]);
    tell_ann(&mut town, 40, body);
    assert_eq!(only_contact(&town, "ann").address, first);
    town.restart("ann");
    assert_eq!(town.command("ann", send()), Err(CommandError::Doubted(first)));
    town.command("ann", Command::Trust(first)).unwrap();
    assert!(matches!(town.command("ann", send()), Ok(Outcome::Queued(_))));
    assert_eq!(town.command("ann", Command::Trust(first)), Err(CommandError::NoDoubt(first)));
    let body = lineage(&town, &[2, 31]);
    tell_ann(&mut town, 31, body);
    assert_eq!(only_contact(&town, "ann").doubt, None, "it was decided");
}

/// A6: neither back to the key that was left, nor by a letter of that key.
#[test]
fn the_old_key_takes_nobody_back() {
    let mut town = friends();
    town.accepts = false;
    let body = lineage(&town, &[2, 20]);
    tell_ann(&mut town, 20, body);
    let body = lineage(&town, &[20, 2]);
    tell_ann(&mut town, 2, body);
    assert_eq!(doubts(&town, "ann"), [Doubt::OtherSuccessor(town.address("bob"))]);
    assert_eq!(only_contact(&town, "ann").address, identity(20).address());
    // What the old key says is a stranger's.
    tell_ann_of(&mut town, 2, ContentType::TEXT, b"do not listen to that other one".to_vec());
    assert_eq!(town.texts("ann"), ["from bob"]);
    let requests = town.people["ann"].agent.requests(&town.people["ann"].store).unwrap();
    assert_eq!(requests[0].address, town.address("bob"));
}

/// A6, E38: not even that they are asked for.
#[test]
fn nobody_follows_whom_they_have_blocked() {
    let mut town = friends();
    let bob = town.address("bob");
    town.command("ann", Command::Block(bob)).unwrap();
    town.accepts = false;
    let body = lineage(&town, &[2, 20]);
    tell_ann(&mut town, 20, body.clone());
    assert_eq!((moved(&town, "ann"), doubts(&town, "ann")), (vec![], vec![]));
    let person = &town.people["ann"];
    assert!(person.agent.requests(&person.store).unwrap().is_empty());
    town.command("ann", Command::Unblock(bob)).unwrap();
    tell_ann(&mut town, 20, body);
    assert_eq!(moved(&town, "ann").len(), 1);
}

#[test]
fn two_contacts_do_not_become_one() {
    let mut town = friends();
    let (name, address) = ("eve".to_owned(), identity(30).address());
    town.command("ann", Command::AddContact { name, address, key: None }).unwrap();
    let body = lineage(&town, &[2, 30]);
    tell_ann(&mut town, 30, body);
    assert_eq!(town.people["ann"].agent.contacts().len(), 2);
    assert_eq!(doubts(&town, "ann"), [Doubt::OtherSuccessor(address)]);
}

/// What was asked under the new key before anybody knew whose it is becomes part of the conversation.
#[test]
fn what_a_new_key_had_asked_is_read_once_it_is_followed() {
    let mut town = friends();
    town.accepts = false;
    town.add("rob", [20; 32]);
    town.connect("rob");
    town.send("rob", "ann", "it is me, under another key");
    town.wait(Span::from_secs(1));
    assert_eq!(town.texts("ann"), ["from bob"]);
    let body = lineage(&town, &[2, 20]);
    tell_ann(&mut town, 20, body);
    assert_eq!(town.texts("ann"), ["from bob", "it is me, under another key"]);
    assert_eq!(town.received("ann")[1].contact, town.address("rob"));
}

/// What has begun is finished by the same two keys, and by no others.
#[test]
fn a_replacement_that_was_broken_off_goes_on_with_the_same_word_and_to_nobody_else() {
    let mut town = friends();
    let (was, is) = (identity(2), identity(20));
    town.disconnect("bob");
    let first = hand_over(&town.people["bob"].store, &was, &is, town.now).unwrap();
    let farewell = Batch { seq: comm_proto::store::Seq(0), writes: vec![first.farewell] };
    town.people.get_mut("bob").unwrap().store.apply(&farewell);
    // Nothing is said, what comes is taken.
    town.restart("bob");
    town.connect("bob");
    town.send("ann", "bob", "meanwhile");
    town.wait(Span::from_mins(1));
    let command = Command::Send {
        to: town.address("ann"),
        content_type: ContentType::TEXT,
        body: b"x".to_vec(),
        ttl: TTL_DEFAULT,
    };
    assert_eq!(town.command("bob", command), Err(CommandError::Replaced(is.address())));
    let other = hand_over(&town.people["bob"].store, &was, &identity(21), town.now);
    assert!(matches!(other, Err(HandoverError::Replaced(by)) if by == is.address()));

    let lineage = |handover: &Handover| {
        let of_lineage = |write: &Write<Drawer>| match write {
            Write::Put { key, value, .. } if key == b"lineage" => Some(value.clone()),
            _ => None,
        };
        handover.writes.iter().find_map(of_lineage).unwrap()
    };
    let before = Handover { farewell: farewell.writes[0].clone(), ..first };
    town.now = town.now + Span::from_days(1);
    let again = hand_over(&town.people["bob"].store, &was, &is, town.now).unwrap();
    assert_eq!(lineage(&again), lineage(&before), "it is not signed again");
    go_on_as(&mut town, "bob", "rob", 20);
    town.connect("rob");
    town.wait(Span::from_mins(1));
    assert_eq!(moved(&town, "ann").len(), 1);
    town.send("rob", "ann", "here I am");
    town.wait(Span::from_mins(1));
    assert_eq!(town.texts("ann").last().unwrap(), "here I am");
    let said = town.history("rob", "ann");
    assert!(said.iter().any(|entry| entry.body == b"meanwhile"), "{said:?}");
    let done = hand_over(&town.people["bob"].store, &was, &is, town.now);
    assert!(matches!(done, Err(HandoverError::Replaced(by)) if by == is.address()));
}
