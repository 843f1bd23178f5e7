//! What a thief of a key that was replaced can bring about, and what they cannot (PROTOCOL §4.21).

use comm_proto::agent::Doubt;
use comm_proto::store::Store;

use super::succeeding::{
    doubts, friends, go_on_as, go_on_as_at, identity, lineage, moved, on_its_way, only_contact,
    tell_ann, tell_ann_numbered, tell_ann_of,
};
use super::*;

/// Ann has a letter by the last of `keys` about them.
fn tell_step(town: &mut Town, keys: &[u8]) {
    let body = lineage(town, keys);
    tell_ann(town, keys[keys.len() - 1], body);
}

fn text_to(to: Address) -> Command {
    let (content_type, body) = (ContentType::TEXT, b"x".to_vec());
    Command::Send { to, content_type, body, ttl: TTL_DEFAULT }
}

/// How many letters Ann counts as come.
fn seen(town: &Town) -> usize {
    town.people["ann"].store.scan(Drawer::Seen, &[], &[0xff; 64], 1_000).unwrap().len()
}

#[test]
fn a_letter_of_the_key_that_was_left_hides_no_conflict() {
    for shuts_out in [None, Some(true), Some(false)] {
        let mut town = friends();
        town.accepts = false;
        let bob = town.address("bob");
        tell_step(&mut town, &[2, 30]);
        tell_ann_of(&mut town, 2, ContentType::TEXT, b"hello".to_vec());
        match shuts_out {
            Some(true) => drop(town.command("ann", Command::Block(bob)).unwrap()),
            Some(false) => drop(town.command("ann", Command::Refuse(bob)).unwrap()),
            None => {}
        }
        tell_step(&mut town, &[2, 20]);
        let owner = Doubt::OtherSuccessor(identity(20).address());
        assert_eq!(doubts(&town, "ann"), [owner], "{shuts_out:?}");
    }
}

#[test]
fn whoever_shuts_out_the_key_that_was_left_follows_all_the_same() {
    for blocks in [true, false] {
        let mut town = friends();
        town.accepts = false;
        let bob = town.address("bob");
        tell_step(&mut town, &[2, 20]);
        tell_ann_of(&mut town, 2, ContentType::TEXT, b"hello".to_vec());
        let shut = if blocks { Command::Block(bob) } else { Command::Refuse(bob) };
        town.command("ann", shut).unwrap();
        tell_step(&mut town, &[2, 20, 21]);
        assert_eq!(only_contact(&town, "ann").address, identity(21).address(), "{blocks}");
        assert_eq!(doubts(&town, "ann"), []);
    }
}

#[test]
fn a_replacement_that_is_dated_ahead_is_followed_when_its_day_has_come() {
    let mut town = friends();
    town.accepts = false;
    go_on_as_at(&mut town, "bob", "rob", 20, Span::from_days(1));
    town.connect("rob");
    town.wait(Span::from_mins(1));
    assert_eq!(moved(&town, "ann"), []);
    town.wait(Span::from_days(2));
    town.restart("ann");
    town.connect("ann");
    town.wait(Span::from_mins(1));
    assert_eq!(moved(&town, "ann"), [(town.address("rob"), town.address("bob"))]);
}

#[test]
fn a_stranger_who_asks_and_has_another_key_is_one_person_once_they_are_let_in() {
    let mut town = Town::with(&["ann", "bob"]);
    town.accepts = false;
    town.send("bob", "ann", "it is me");
    town.wait(Span::from_mins(1));
    go_on_as(&mut town, "bob", "rob", 20);
    town.connect("rob");
    town.wait(Span::from_mins(1));
    let contact = town.address("bob");
    town.command("ann", Command::Accept { contact, name: None }).unwrap();
    town.wait(Span::from_mins(1));
    assert_eq!(only_contact(&town, "ann").address, town.address("rob"));
}

#[test]
fn a_profile_that_is_dated_ahead_is_taken_when_its_day_has_come() {
    let mut town = friends();
    let before = seen(&town);
    let ahead = town.now + Span::from_days(1);
    let profile = comm_proto::profile::Profile::new("bob", "away", ahead).unwrap();
    tell_ann_of(&mut town, 2, ContentType::PROFILE, profile.sign(identity(2).key()));
    assert_eq!(seen(&town), before, "it comes again");
    town.wait(Span::HOUR.times(22));
    tell_ann_of(&mut town, 2, ContentType::PROFILE, profile.sign(identity(2).key()));
    assert_eq!(only_contact(&town, "ann").profile, Some(profile));
}

/// Neither by a name that is not up to date, nor by an old link.
#[test]
fn nothing_is_said_to_a_key_that_a_contact_left_unless_the_person_lets_it_in() {
    let mut town = friends();
    town.accepts = false;
    let (former, now) = (town.address("bob"), identity(20).address());
    tell_step(&mut town, &[2, 20]);
    let has_moved = || Err(CommandError::Moved { former, now });
    let add = || Command::AddContact { name: "robert".to_owned(), address: former, key: None };
    assert_eq!(town.command("ann", text_to(former)), has_moved());
    assert_eq!(town.command("ann", add()), has_moved());
    tell_ann_of(&mut town, 2, ContentType::TEXT, b"hello".to_vec());
    assert_eq!(town.command("ann", text_to(former)), has_moved());
    assert_eq!(town.command("ann", add()), has_moved());
    assert_eq!(town.people["ann"].agent.contacts().len(), 1);
    town.command("ann", Command::Accept { contact: former, name: None }).unwrap();
    assert!(matches!(town.command("ann", text_to(former)), Ok(Outcome::Queued(_))));
}

#[test]
fn a_key_that_a_contact_left_can_be_blocked_before_it_writes() {
    let mut town = friends();
    town.accepts = false;
    let former = town.address("bob");
    tell_step(&mut town, &[2, 20]);
    town.command("ann", Command::Block(former)).unwrap();
    tell_ann_of(&mut town, 2, ContentType::TEXT, b"hello".to_vec());
    let person = &town.people["ann"];
    assert!(person.agent.requests(&person.store).unwrap().is_empty());
}

#[test]
fn what_is_claimed_while_a_key_is_in_doubt_waits() {
    let mut town = friends();
    town.accepts = false;
    tell_step(&mut town, &[2, 30]);
    tell_step(&mut town, &[2, 31]);
    let before = seen(&town);
    tell_step(&mut town, &[2, 20]);
    assert_eq!(seen(&town), before, "nobody has been told");
}

#[test]
fn what_goes_to_the_old_key_by_itself_goes_to_the_new_one() {
    let mut town = friends();
    town.disconnect("bob");
    let (name, status) = ("Ann".to_owned(), "here".to_owned());
    town.command("ann", Command::SetProfile { name, status }).unwrap();
    town.wait(Span::from_secs(1));
    go_on_as(&mut town, "bob", "rob", 20);
    town.connect("bob");
    town.wait(Span::from_secs(1));
    town.connect("rob");
    town.wait(Span::from_mins(1));
    assert!(only_contact(&town, "rob").profile.is_some());
}

#[test]
fn what_was_told_to_an_old_key_that_reads_it_late_is_told_to_the_new_one() {
    let mut town = friends();
    town.disconnect("bob");
    let (name, status) = ("Ann".to_owned(), "here".to_owned());
    town.command("ann", Command::SetProfile { name, status }).unwrap();
    town.wait(Span::from_secs(1));
    go_on_as(&mut town, "bob", "rob", 20);
    town.connect("rob");
    town.wait(Span::from_secs(1));
    town.connect("bob");
    town.wait(Span::from_mins(1));
    assert!(only_contact(&town, "rob").profile.is_some());
}

#[test]
fn to_let_somebody_in_says_nothing_to_them() {
    let mut town = Town::with(&["ann", "bob"]);
    let (name, status) = ("Ann".to_owned(), "here".to_owned());
    town.command("ann", Command::SetProfile { name, status }).unwrap();
    town.send("bob", "ann", "may I?");
    town.wait(Span::from_mins(1));
    assert_eq!(town.texts("ann"), ["may I?"]);
    assert_eq!(only_contact(&town, "bob").profile, None);
    town.send("ann", "bob", "you may");
    town.wait(Span::from_mins(1));
    town.restart("ann");
    town.connect("ann");
    town.wait(Span::from_mins(1));
    assert!(only_contact(&town, "bob").profile.is_some());
}

#[test]
fn what_was_said_can_be_deleted_while_the_key_is_in_doubt() {
    let mut town = friends();
    let number = town.send("ann", "bob", "not for everybody");
    tell_step(&mut town, &[2, 30]);
    tell_step(&mut town, &[2, 31]);
    let deleted = town.command("ann", Command::Delete { number, ttl: TTL_DEFAULT });
    assert!(matches!(deleted, Ok(Outcome::Deleted { notice: None, .. })), "{deleted:?}");
}

#[test]
fn what_was_said_can_be_deleted_under_a_key_that_is_replaced() {
    let mut town = friends();
    let number = town.send("bob", "ann", "not for everybody");
    go_on_as(&mut town, "bob", "rob", 20);
    let deleted = town.command("bob", Command::Delete { number, ttl: TTL_DEFAULT });
    assert!(matches!(deleted, Ok(Outcome::Deleted { notice: None, .. })), "{deleted:?}");
}

#[test]
fn a_number_that_a_thief_has_used_up_ends_with_the_old_key() {
    let mut town = friends();
    town.accepts = false;
    tell_ann_numbered(&mut town, 2, u64::MAX, ContentType::TEXT, b"thief".to_vec());
    let body = lineage(&town, &[2, 20]);
    tell_ann_numbered(&mut town, 20, 7, ContentType::SUCCESSION, body);
    tell_ann_numbered(&mut town, 20, 8, ContentType::TEXT, b"owner".to_vec());
    let last = town.received("ann").pop().unwrap();
    assert_eq!(last.body, b"owner");
    assert_eq!(last.author, Author::Them { missing_before: 0, place: Place::InTurn });
}

#[test]
fn the_line_about_a_new_key_is_unread_and_cannot_be_removed_by_its_author() {
    let mut town = friends();
    let body = lineage(&town, &[2, 20]);
    let before = only_contact(&town, "ann").unread;
    tell_ann(&mut town, 20, body);
    assert_eq!(only_contact(&town, "ann").unread, before + 1);
    let person = &town.people["ann"];
    let address = identity(20).address();
    let said = person.agent.history(&person.store, &address, None, 100).unwrap();
    let line = said.iter().find(|entry| entry.content_type == ContentType::SUCCESSION).unwrap();
    let target = line.id.unwrap();
    tell_ann_of(&mut town, 20, ContentType::DELETE, target.as_bytes().to_vec());
    let person = &town.people["ann"];
    let said = person.agent.history(&person.store, &address, None, 100).unwrap();
    let line = said.iter().find(|entry| entry.content_type == ContentType::SUCCESSION).unwrap();
    assert_eq!(line.marks.deleted_at, None);
}

/// They know the old key only, also when they are let in again later.
#[test]
fn whoever_was_blocked_when_a_key_was_replaced_is_told_once_they_are_not() {
    let mut town = friends();
    let ann = town.address("ann");
    town.command("bob", Command::Block(ann)).unwrap();
    assert_eq!(go_on_as(&mut town, "bob", "rob", 20), 0);
    town.connect("rob");
    town.wait(Span::from_mins(1));
    assert_eq!(moved(&town, "ann"), []);
    town.command("rob", Command::Unblock(ann)).unwrap();
    town.restart("rob");
    town.connect("rob");
    town.wait(Span::from_mins(1));
    assert_eq!(moved(&town, "ann").len(), 1);
}

#[test]
fn a_new_identity_that_was_a_contact_of_the_old_one_is_none_of_its_own() {
    let mut town = friends();
    let (name, address) = ("me".to_owned(), identity(20).address());
    town.command("bob", Command::AddContact { name, address, key: None }).unwrap();
    assert_eq!(go_on_as(&mut town, "bob", "rob", 20), 1);
    assert_eq!(only_contact(&town, "rob").address, town.address("ann"));
    town.connect("rob");
    town.wait(Span::from_mins(1));
    assert_eq!(on_its_way(&town, "rob"), 0);
}

/// Else its author would write again what has been read.
#[test]
fn what_had_left_under_the_old_key_is_not_said_to_be_cancelled() {
    let mut town = friends();
    town.disconnect("ann");
    let left = town.send("bob", "ann", "on its way");
    town.wait(Span::from_secs(1));
    town.disconnect("bob");
    let stayed = town.send("bob", "ann", "not even sent");
    go_on_as(&mut town, "bob", "rob", 20);
    let is_cancelled = |number: MessageNumber| {
        let said = town.history("rob", "ann");
        let entry = said.iter().find(|entry| entry.number == number).unwrap();
        matches!(entry.author, Author::Us { state: MessageState::Cancelled, .. })
    };
    assert!(!is_cancelled(left) && is_cancelled(stayed));
    // Nor does it leave later, when the old program is looked into.
    town.connect("bob");
    town.connect("ann");
    town.wait(Span::HOUR);
    assert_eq!(town.texts("ann"), ["from bob", "on its way"]);
}

/// The owner tells who they are once more, also if the thief has dated what they say ahead.
#[test]
fn a_profile_that_a_thief_has_said_ends_with_the_old_key() {
    let mut town = friends();
    let (name, status) = ("Robert".to_owned(), "well".to_owned());
    town.command("bob", Command::SetProfile { name, status }).unwrap();
    town.wait(Span::from_mins(1));
    let ahead = town.now + Span::HOUR.times(2);
    let thiefs = comm_proto::profile::Profile::new("bob", "send money", ahead).unwrap();
    tell_ann_of(&mut town, 2, ContentType::PROFILE, thiefs.sign(identity(2).key()));
    assert_eq!(only_contact(&town, "ann").profile, Some(thiefs));
    go_on_as(&mut town, "bob", "rob", 20);
    town.connect("rob");
    town.wait(Span::from_mins(1));
    assert_eq!(only_contact(&town, "ann").profile.unwrap().status(), "well");
    assert!(!town.people["ann"].events.iter().any(|e| matches!(e, Event::Requested { .. })));
}

/// Else the key that was stolen is the first to be forgotten, and its owner's word with it.
#[test]
fn a_thief_with_many_keys_is_not_followed_until_the_owners_word_means_nothing() {
    let mut town = friends();
    town.accepts = false;
    let steps = [vec![2, 30], (30..=38).collect(), (38..=46).collect::<Vec<u8>>()];
    for keys in &steps {
        tell_step(&mut town, keys);
    }
    assert_eq!(moved(&town, "ann").len(), 2);
    assert_eq!(only_contact(&town, "ann").address, identity(38).address());
    assert_eq!(doubts(&town, "ann"), [Doubt::OtherSuccessor(identity(46).address())]);
}

/// Nobody should be said anything under a key that was left, also not what is late.
#[test]
fn what_was_sealed_for_an_old_key_and_has_not_left_is_taken_back() {
    let mut town = friends();
    town.accepts = false;
    town.disconnect("ann");
    let number = town.send("ann", "bob", "for Bob alone");
    tell_step(&mut town, &[2, 20]);
    assert_eq!(town.states("ann", number), [MessageState::Cancelled]);
    town.connect("ann");
    town.wait(Span::from_mins(1));
    assert_eq!(town.texts("bob"), ["from ann"]);
}
