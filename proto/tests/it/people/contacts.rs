//! Notes of contacts, and what follows when one is removed (PROTOCOL §4.8).

use super::*;

fn note(
    town: &mut Town,
    name: &'static str,
    of: &str,
    note: &str,
) -> Result<Outcome, CommandError> {
    let address = town.address(of);
    town.command(name, Command::NoteContact { address, note: note.to_owned() })
}

fn remove(town: &mut Town, name: &'static str, whom: &str) -> Result<Outcome, CommandError> {
    let address = town.address(whom);
    town.command(name, Command::RemoveContact(address))
}

/// Ann and Bob who have written to each other, so that both use their conversation's mailboxes.
fn acquainted() -> Town {
    let mut town = Town::with(&["ann", "bob"]);
    let (name, address) = ("bob".to_owned(), town.address("bob"));
    town.command("ann", Command::AddContact { name, address, key: None }).unwrap();
    town.send("ann", "bob", "hello");
    town.wait(Span::from_secs(1));
    town.send("bob", "ann", "hello yourself");
    town.wait(Span::from_secs(1));
    town
}

fn names(town: &Town, name: &str) -> Vec<String> {
    town.people[name].agent.contacts().into_iter().map(|contact| contact.name).collect()
}

/// A14: a note is kept, replaced and taken away.
#[test]
fn a_contact_has_a_note_that_survives_a_restart() {
    let mut town = acquainted();
    let notes = |town: &Town| town.people["ann"].agent.contacts()[0].note.clone();
    assert_eq!(notes(&town), "");
    note(&mut town, "ann", "bob", "met at the mill").unwrap();
    town.restart("ann");
    assert_eq!(notes(&town), "met at the mill");
    note(&mut town, "ann", "bob", "").unwrap();
    assert_eq!(notes(&town), "");
    for wrong in ["two\nlines", &"x".repeat(1_001)] {
        assert_eq!(note(&mut town, "ann", "bob", wrong), Err(CommandError::Note));
    }
    note(&mut town, "ann", "bob", &"ü".repeat(1_000)).unwrap();
    let stranger = Address::from_bytes([9; 20]);
    let command = Command::NoteContact { address: stranger, note: "x".to_owned() };
    assert_eq!(town.command("ann", command), Err(CommandError::NoContact(stranger)));
}

/// A14: nothing of them is left to see, and they come back like a stranger, without a false gap.
#[test]
fn who_was_removed_is_gone_with_all_that_was_said_and_comes_back_as_a_stranger() {
    let mut town = acquainted();
    note(&mut town, "ann", "bob", "met at the mill").unwrap();
    let Ok(Outcome::Removed { contact, on_their_way: 0 }) = remove(&mut town, "ann", "bob") else {
        panic!("it is removed");
    };
    assert_eq!((contact.name.as_str(), contact.note.as_str()), ("bob", "met at the mill"));
    town.restart("ann");
    assert_eq!(names(&town, "ann"), Vec::<String>::new());
    assert!(town.people["ann"].store.is_empty(Drawer::History));
    let again = remove(&mut town, "ann", "bob");
    assert_eq!(again, Err(CommandError::NoContact(town.address("bob"))));

    town.connect("ann");
    let number = town.send("bob", "ann", "are you still there?");
    town.wait(Span::from_secs(1));
    assert!(matches!(town.states("bob", number).last(), Some(MessageState::Delivered { .. })));
    let history = town.history("ann", "bob");
    assert_eq!(history.len(), 1);
    let in_turn = Author::Them { missing_before: 0, place: Place::InTurn };
    assert_eq!((&history[0].body[..], history[0].author), (&b"are you still there?"[..], in_turn));
    let known = town.people["ann"].agent.contact(&town.address("bob")).unwrap();
    assert_eq!((known.is_named, known.note.as_str()), (false, ""));
    assert_eq!(known.name, town.address("bob").to_string()[..8]);
}

/// What was written before the removal is read, however long it has waited.
#[test]
fn what_a_removed_contact_had_written_is_read_as_long_as_it_can_wait() {
    let mut town = acquainted();
    town.disconnect("ann");
    let number = town.send("bob", "ann", "written before");
    remove(&mut town, "ann", "bob").unwrap();
    town.wait(Span::from_days(13));
    town.restart("ann");
    town.connect("ann");
    town.wait(Span::from_secs(1));
    assert_eq!(town.texts("ann").last().unwrap(), "written before");
    assert!(matches!(town.states("bob", number).last(), Some(MessageState::Delivered { .. })));
}

/// Then nothing of them is on the disk. What they write to the old place expires, which they are
/// told, and what they write next is found by it.
#[test]
fn who_was_removed_long_ago_is_forgotten_and_heard_again_by_their_second_message() {
    let mut town = acquainted();
    remove(&mut town, "ann", "bob").unwrap();
    town.wait(Span::from_days(30));
    assert_eq!(town.people["ann"].store.len(Drawer::Contacts), 1);
    town.wait(Span::from_days(1));
    assert!(town.people["ann"].store.is_empty(Drawer::Contacts));
    // A node subscribes anew; what it had opened for Ann before is closed.
    town.disconnect("ann");
    town.connect("ann");
    let lost = town.send("bob", "ann", "to where nobody listens");
    town.wait(Span::from_days(15));
    assert_eq!(town.states("bob", lost).last(), Some(&MessageState::Expired));
    assert_eq!(town.texts("ann"), ["hello yourself"]);
    let heard = town.send("bob", "ann", "to where everybody writes");
    town.wait(Span::from_mins(20));
    assert_eq!(town.texts("ann").last().unwrap(), "to where everybody writes");
    assert!(matches!(town.states("bob", heard).last(), Some(MessageState::Delivered { .. })));
}

/// What is on its way to them goes on, and the person is told so.
#[test]
fn what_was_written_to_a_removed_contact_goes_on() {
    let mut town = acquainted();
    town.disconnect("bob");
    let number = town.send("ann", "bob", "on its way");
    town.wait(Span::from_secs(1));
    let outcome = remove(&mut town, "ann", "bob");
    assert!(matches!(outcome, Ok(Outcome::Removed { on_their_way: 1, .. })), "{outcome:?}");
    town.restart("ann");
    town.connect("ann");
    town.connect("bob");
    town.wait(Span::from_secs(1));
    assert_eq!(town.texts("bob").last().unwrap(), "on its way");
    assert!(matches!(town.states("ann", number).last(), Some(MessageState::Delivered { .. })));
}

/// Whoever is written to is a contact again.
#[test]
fn writing_to_somebody_who_was_removed_makes_them_a_contact_again() {
    let mut town = acquainted();
    remove(&mut town, "ann", "bob").unwrap();
    town.send("ann", "bob", "on second thoughts");
    town.wait(Span::from_secs(1));
    assert_eq!(names(&town, "ann"), [&town.address("bob").to_string()[..8]]);
    let last = town.received("bob").pop().unwrap();
    let in_turn = Author::Them { missing_before: 0, place: Place::InTurn };
    assert_eq!((&last.body[..], last.author), (&b"on second thoughts"[..], in_turn));
}

/// Ten thousand contacts are as many as fit, and removing one makes room for another at once.
#[test]
fn removing_a_contact_makes_room_for_another() {
    let mut town = Town::with(&["ann"]);
    let address = |n: u32| {
        let mut bytes = [7; 20];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        Address::from_bytes(bytes)
    };
    let add = |n: u32| Command::AddContact { name: n.to_string(), address: address(n), key: None };
    for n in 0..10_000 {
        town.command("ann", add(n)).unwrap();
    }
    let full = town.command("ann", add(10_000));
    assert_eq!(full, Err(CommandError::TooManyContacts(10_000)));
    town.command("ann", Command::RemoveContact(address(17))).unwrap();
    town.command("ann", add(10_000)).unwrap();
    assert_eq!(town.people["ann"].agent.contacts().len(), 10_000);
    town.restart("ann");
    assert_eq!(town.people["ann"].agent.contacts().len(), 10_000);
}
