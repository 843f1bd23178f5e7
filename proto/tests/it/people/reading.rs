//! What a person was shown, and who is told so (PROTOCOL §4.11).

use comm_proto::agent::ReceiptRule;
use comm_proto::store::Store;

use super::*;

fn mark_read(town: &mut Town, name: &'static str, of: &str, numbers: &[MessageNumber]) -> u64 {
    let (contact, numbers) = (town.address(of), numbers.to_vec());
    match town.command(name, Command::MarkRead { contact, numbers }).unwrap() {
        Outcome::Read { unread } => unread,
        other => panic!("{other:?}"),
    }
}

fn set_receipts(town: &mut Town, name: &'static str, of: Option<&str>, rule: ReceiptRule) {
    let of = of.map(|of| town.address(of));
    let outcome = town.command(name, Command::SetReceipts { of, rule });
    assert_eq!(outcome, Ok(Outcome::Receipts(rule)));
}

fn unread(town: &Town, name: &str, of: &str) -> u64 {
    town.people[name].agent.contact(&town.address(of)).unwrap().unread
}

/// The numbers of what others say that they were shown.
fn read(town: &Town, name: &str) -> Vec<MessageNumber> {
    let events = town.people[name].events.iter();
    events
        .filter_map(|event| match event {
            Event::Read { number, .. } => Some(*number),
            _ => None,
        })
        .collect()
}

/// Everybody's messages are shown to them as they come.
fn shown(town: &mut Town, name: &'static str, of: &str) -> u64 {
    let numbers: Vec<_> = town.received(name).iter().map(|entry| entry.number).collect();
    mark_read(town, name, of, &numbers)
}

/// Ann and Bob, who have written to each other.
fn acquainted() -> Town {
    let mut town = Town::with(&["ann", "bob"]);
    town.send("ann", "bob", "hello");
    town.wait(Span::from_secs(1));
    town.send("bob", "ann", "hello yourself");
    town.wait(Span::from_secs(1));
    shown(&mut town, "ann", "bob");
    shown(&mut town, "bob", "ann");
    town
}

/// F9: what was not shown is counted, over a restart.
#[test]
fn what_was_not_shown_is_counted_until_it_is() {
    let mut town = acquainted();
    assert_eq!(unread(&town, "bob", "ann"), 0);
    for text in ["one", "two", "three"] {
        town.send("ann", "bob", text);
    }
    town.wait(Span::from_secs(1));
    assert_eq!(unread(&town, "bob", "ann"), 3);
    town.restart("bob");
    assert_eq!(unread(&town, "bob", "ann"), 3);
    let numbers: Vec<_> = town.history("bob", "ann").iter().map(|entry| entry.number).collect();
    assert_eq!(mark_read(&mut town, "bob", "ann", &numbers[3..4]), 2);
    assert_eq!(mark_read(&mut town, "bob", "ann", &numbers[3..4]), 2, "it counts once");
    assert_eq!(mark_read(&mut town, "bob", "ann", &numbers), 0);
    assert!(town.people["bob"].store.is_empty(Drawer::Unread));
    let many = vec![MessageNumber(1); 1_001];
    let (contact, numbers) = (town.address("ann"), many);
    let refused = town.command("bob", Command::MarkRead { contact, numbers });
    assert_eq!(refused, Err(CommandError::TooManyMessages(1_000)));
}

/// What is removed or disappears before it is shown is not unread any more.
#[test]
fn what_is_gone_is_not_unread() {
    let mut town = acquainted();
    let number = town.send("ann", "bob", "never mind");
    town.wait(Span::from_secs(1));
    assert_eq!(unread(&town, "bob", "ann"), 1);
    town.command("ann", Command::Delete { number, ttl: TTL_DEFAULT }).unwrap();
    town.wait(Span::from_secs(1));
    assert_eq!(unread(&town, "bob", "ann"), 0);
    let contact = town.address("bob");
    let lifetime = Some(Span::HOUR);
    town.command("ann", Command::SetTimer { contact, lifetime, ttl: TTL_DEFAULT }).unwrap();
    town.send("ann", "bob", "for an hour");
    town.wait(Span::from_secs(1));
    assert_eq!(unread(&town, "bob", "ann"), 1, "a timer is nothing to read");
    town.wait(Span::HOUR);
    assert_eq!(unread(&town, "bob", "ann"), 0);
    assert!(town.people["bob"].store.is_empty(Drawer::Unread));
}

/// E21: nobody is told anything unless the person wants it, and only of what was shown.
#[test]
fn receipts_are_off_until_they_are_wanted_and_name_what_was_shown() {
    let mut town = acquainted();
    town.send("ann", "bob", "before");
    town.wait(Span::from_secs(1));
    shown(&mut town, "bob", "ann");
    town.wait(Span::from_mins(5));
    assert_eq!(read(&town, "ann"), []);

    set_receipts(&mut town, "bob", None, ReceiptRule::Send);
    let first = town.send("ann", "bob", "first");
    let second = town.send("ann", "bob", "second");
    town.wait(Span::from_mins(5));
    assert_eq!(read(&town, "ann"), [], "nothing was shown");
    let numbers: Vec<_> = town.received("bob").iter().map(|entry| entry.number).collect();
    mark_read(&mut town, "bob", "ann", &numbers[2..3]);
    town.wait(Span::from_secs(10));
    assert_eq!(read(&town, "ann"), [first]);
    town.restart("bob");
    town.connect("bob");
    shown(&mut town, "bob", "ann");
    town.wait(Span::from_secs(10));
    assert_eq!(read(&town, "ann"), [first, second]);
    // It is kept, and is no message.
    town.restart("ann");
    let entries = town.history("ann", "bob");
    let read_at = |number| entries.iter().find(|e| e.number == number).unwrap().steps.read_at;
    assert!(read_at(first).is_some() && read_at(second).is_some());
    assert_eq!(town.received("ann").len(), 1);
    assert_eq!(unread(&town, "ann", "bob"), 0);
}

/// E21: a rule for one person counts more than the one for all.
#[test]
fn one_person_may_have_a_rule_of_their_own() {
    let mut town = acquainted();
    set_receipts(&mut town, "bob", None, ReceiptRule::Send);
    set_receipts(&mut town, "bob", Some("ann"), ReceiptRule::Withhold);
    town.send("ann", "bob", "one");
    town.wait(Span::from_secs(1));
    shown(&mut town, "bob", "ann");
    town.wait(Span::from_mins(1));
    assert_eq!(read(&town, "ann"), []);
    set_receipts(&mut town, "bob", None, ReceiptRule::Withhold);
    set_receipts(&mut town, "bob", Some("ann"), ReceiptRule::Send);
    town.restart("bob");
    town.connect("bob");
    let number = town.send("ann", "bob", "two");
    town.wait(Span::from_secs(1));
    shown(&mut town, "bob", "ann");
    town.wait(Span::from_mins(1));
    assert_eq!(read(&town, "ann"), [number]);
}

/// E21: what is read in a row costs one envelope, and a receipt has no receipt.
#[test]
fn one_receipt_names_many_messages_and_has_none_itself() {
    let mut town = acquainted();
    for name in ["ann", "bob"] {
        set_receipts(&mut town, name, None, ReceiptRule::Send);
    }
    let mut numbers = Vec::new();
    for n in 0..30 {
        numbers.push(town.send("ann", "bob", &n.to_string()));
    }
    town.wait(Span::from_secs(1));
    let before = town.submitted;
    shown(&mut town, "bob", "ann");
    town.wait(Span::from_mins(10));
    assert_eq!(read(&town, "ann"), numbers);
    assert_eq!(town.submitted - before, 2, "24 and 6");
    assert_eq!(town.people["bob"].agent.outbox_len(), 0);
    for name in ["ann", "bob"] {
        assert!(town.people[name].store.is_empty(Drawer::Receipts));
    }
    // Nobody sees anything of them but that.
    let states = town.people["bob"].events.iter();
    let moved = states.filter(|event| matches!(event, Event::State { .. })).count();
    town.wait(Span::from_mins(10));
    let states = town.people["bob"].events.iter();
    assert_eq!(states.filter(|event| matches!(event, Event::State { .. })).count(), moved);
}

/// E21: a program that ends before a receipt has left sends it when it is back.
#[test]
fn a_receipt_survives_a_restart() {
    let mut town = acquainted();
    set_receipts(&mut town, "bob", Some("ann"), ReceiptRule::Send);
    let number = town.send("ann", "bob", "one");
    town.wait(Span::from_secs(1));
    shown(&mut town, "bob", "ann");
    town.restart("bob");
    town.connect("bob");
    town.wait(Span::from_secs(1));
    assert_eq!(read(&town, "ann"), [number]);
}

/// E21: a stranger does not learn that somebody reads what they write.
#[test]
fn a_stranger_is_told_nothing() {
    let mut town = Town::with(&["eve", "bob"]);
    town.accepts = false;
    set_receipts(&mut town, "bob", None, ReceiptRule::Send);
    town.send("eve", "bob", "are you there?");
    town.wait(Span::from_secs(1));
    let contact = town.address("eve");
    for number in 0..9 {
        let numbers = vec![MessageNumber(number)];
        let marked = town.command("bob", Command::MarkRead { contact, numbers });
        assert_eq!(marked, Err(CommandError::NoContact(contact)));
    }
    town.wait(Span::from_mins(5));
    assert_eq!(read(&town, "eve"), []);
    assert!(town.people["bob"].store.is_empty(Drawer::Receipts));
}

/// Whoever says that they were shown it has got it, whatever became of their acknowledgement. Of others'
/// messages nothing follows.
#[test]
fn a_receipt_proves_delivery_and_counts_for_ones_own_messages_only() {
    let mut town = acquainted();
    set_receipts(&mut town, "bob", None, ReceiptRule::Send);
    town.drops_acknowledgements = true;
    let number = town.send("ann", "bob", "one");
    town.wait(Span::from_secs(1));
    assert!(!matches!(town.states("ann", number).last(), Some(MessageState::Delivered { .. })));
    shown(&mut town, "bob", "ann");
    town.wait(Span::from_secs(10));
    assert_eq!(read(&town, "ann"), [number]);
    assert!(matches!(town.states("ann", number).last(), Some(MessageState::Delivered { .. })));
    let rows = town.people["ann"].store.scan(Drawer::Outbox, &[], &[0xff; 60], 9).unwrap();
    assert!(rows.is_empty());
}
