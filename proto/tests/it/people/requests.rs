//! Who may write to whom: requests, refusing, blocking (PROTOCOL §4.12).

use comm_proto::agent::{Comparison, Request};
use comm_proto::store::Store as _;

use super::*;

/// Bob, who lets nobody in by himself, and others.
fn reserved(names: &[&'static str]) -> Town {
    let mut town = Town::with(names);
    town.accepts = false;
    town
}

fn accept(town: &mut Town, name: &'static str, whom: &str) -> Result<Outcome, CommandError> {
    let contact = town.address(whom);
    town.command(name, Command::Accept { contact, name: None })
}

fn requests(town: &Town, name: &str) -> Vec<Request> {
    let person = &town.people[name];
    person.agent.requests(&person.store).unwrap()
}

fn is_delivered(town: &Town, name: &str, number: MessageNumber) -> bool {
    matches!(town.states(name, number).last(), Some(MessageState::Delivered { .. }))
}

fn names(town: &Town, name: &str) -> Vec<Address> {
    town.people[name].agent.contacts().iter().map(|contact| contact.address).collect()
}

/// Nothing of it is shown, and it is as safe as any other.
#[test]
fn what_a_stranger_writes_is_held_and_told_once_until_they_are_let_in() {
    let mut town = reserved(&["ann", "bob"]);
    town.disconnect("bob");
    let first = town.send("ann", "bob", "hello");
    let second = town.send("ann", "bob", "it is me");
    town.connect("bob");
    town.wait(Span::from_mins(1));
    assert_eq!(town.texts("bob"), Vec::<String>::new());
    assert_eq!((names(&town, "bob"), town.history("bob", "ann")), (Vec::new(), Vec::new()));
    let told = |event: &&Event| matches!(event, Event::Requested { .. });
    assert_eq!(town.people["bob"].events.iter().filter(told).count(), 1);
    assert!(is_delivered(&town, "ann", first) && is_delivered(&town, "ann", second));
    town.restart("bob");
    town.connect("bob");
    let asks = requests(&town, "bob");
    assert_eq!((asks[0].address, asks[0].messages), (town.address("ann"), 2));

    let Ok(Outcome::Contact(contact)) = accept(&mut town, "bob", "ann") else { panic!() };
    assert_eq!((contact.address, contact.is_named), (town.address("ann"), false));
    assert_eq!(town.texts("bob"), ["hello", "it is me"]);
    assert!(requests(&town, "bob").is_empty());
    assert!(town.people["bob"].store.is_empty(Drawer::Requests));
    let in_turn = Author::Them { missing_before: 0, place: Place::InTurn };
    assert!(town.history("bob", "ann").iter().all(|entry| entry.author == in_turn));
    let again = accept(&mut town, "bob", "ann");
    assert_eq!(again, Err(CommandError::NoRequest(town.address("ann"))));
    town.send("ann", "bob", "thank you");
    town.wait(Span::from_secs(1));
    assert_eq!(town.texts("bob").last().unwrap(), "thank you");
}

/// What they write later waits in the network, and comes then.
#[test]
fn what_a_stranger_writes_once_they_know_that_they_were_heard_waits_until_they_are_let_in() {
    let mut town = reserved(&["ann", "bob"]);
    let first = town.send("ann", "bob", "hello");
    town.wait(Span::from_secs(1));
    assert!(is_delivered(&town, "ann", first));
    let second = town.send("ann", "bob", "are you there?");
    town.wait(Span::from_days(1));
    assert!(!is_delivered(&town, "ann", second));
    assert_eq!(requests(&town, "bob")[0].messages, 1);
    accept(&mut town, "bob", "ann").unwrap();
    town.wait(Span::from_secs(1));
    assert_eq!(town.texts("bob"), ["hello", "are you there?"]);
    assert!(is_delivered(&town, "ann", second));
}

/// To answer is to let in, and so is to give a name.
#[test]
fn whoever_is_written_to_or_named_is_let_in() {
    for turn_to in ["write", "name"] {
        let mut town = reserved(&["ann", "bob"]);
        town.send("ann", "bob", "hello");
        town.wait(Span::from_secs(1));
        if turn_to == "write" {
            town.send("bob", "ann", "who are you?");
        } else {
            let (name, address) = ("ann".to_owned(), town.address("ann"));
            town.command("bob", Command::AddContact { name, address, key: None }).unwrap();
        }
        assert_eq!(town.texts("bob"), ["hello"], "{turn_to}");
        assert!(requests(&town, "bob").is_empty());
    }
}

/// The answer to a first message is no request.
#[test]
fn whom_the_person_wrote_to_first_needs_not_ask() {
    let mut town = reserved(&["ann", "bob"]);
    town.send("bob", "ann", "hello ann");
    town.wait(Span::from_secs(1));
    town.send("ann", "bob", "hello bob");
    town.wait(Span::from_secs(1));
    assert_eq!(town.texts("bob"), ["hello bob"]);
}

/// Nothing that a stranger says is done before: no timer, no edit, no removal, no receipt.
#[test]
fn all_that_was_held_is_done_when_it_is_taken_and_nothing_before() {
    let mut town = reserved(&["ann", "bob"]);
    town.disconnect("bob");
    let address = town.address("bob");
    let first = town.send("ann", "bob", "frist");
    let gone = town.send("ann", "bob", "never mind");
    let (text, ttl) = ("first".to_owned(), TTL_DEFAULT);
    town.command("ann", Command::Edit { number: first, text, ttl }).unwrap();
    // Taken from the way by its author, it would not come at all: here both come.
    town.wait(Span::from_secs(1));
    let lifetime = Some(Span::HOUR);
    town.command("ann", Command::SetTimer { contact: address, lifetime, ttl }).unwrap();
    town.wait(Span::from_secs(1));
    town.connect("bob");
    town.wait(Span::from_secs(1));
    town.command("ann", Command::Delete { number: gone, ttl }).unwrap();
    let contact = town.address("ann");
    assert!(town.people["bob"].agent.contact(&contact).is_none());
    let rule = agent::ReceiptRule::Send;
    town.command("bob", Command::SetReceipts { of: None, rule }).unwrap();
    let marked = town.command("bob", Command::MarkRead { contact, numbers: Vec::new() });
    assert_eq!(marked, Err(CommandError::NoContact(contact)));
    assert_eq!(town.people["bob"].agent.outbox_len(), 0);
    accept(&mut town, "bob", "ann").unwrap();
    town.wait(Span::from_secs(1));
    let known = town.people["bob"].agent.contact(&contact).unwrap();
    assert_eq!(known.lifetime, Some(Span::HOUR));
    let said = town.history("bob", "ann");
    assert_eq!(said[0].body, b"first");
    assert!(said[1].marks.deleted_at.is_some(), "{said:?}");
}

/// A message that is to disappear does so while it is held.
#[test]
fn what_is_to_disappear_does_so_before_anybody_has_seen_it() {
    let mut town = reserved(&["ann", "bob"]);
    let (contact, lifetime) = (town.address("bob"), Some(Span::from_secs(60)));
    town.disconnect("bob");
    let timer = Command::SetTimer { contact, lifetime, ttl: TTL_DEFAULT };
    town.command("ann", timer).unwrap();
    town.send("ann", "bob", "for a minute");
    town.connect("bob");
    town.wait(Span::from_secs(1));
    assert_eq!(requests(&town, "bob")[0].messages, 2);
    town.wait(Span::from_secs(60));
    assert_eq!(requests(&town, "bob")[0].messages, 1);
    accept(&mut town, "bob", "ann").unwrap();
    assert_eq!(town.received("bob").len(), 1, "the timer alone");
}

/// It is forgotten, and what comes next is neither shown nor acknowledged; after a while they may ask again.
#[test]
fn who_is_refused_is_not_heard_for_thirty_days_and_may_ask_again_then() {
    let mut town = reserved(&["ann", "bob"]);
    town.send("ann", "bob", "hello");
    town.wait(Span::from_secs(1));
    let address = town.address("ann");
    let refused = town.command("bob", Command::Refuse(address)).unwrap();
    let until = town.now + Span::from_days(30) + Span::HOUR.times(3);
    assert_eq!(refused, Outcome::Refused { contact: address, messages: 1, until });
    assert!(town.people["bob"].store.is_empty(Drawer::Requests));
    let again = town.command("bob", Command::Refuse(address));
    assert_eq!(again, Err(CommandError::NoRequest(address)));
    town.restart("bob");
    town.connect("bob");
    let second = town.send("ann", "bob", "please");
    town.wait(Span::from_days(15));
    assert_eq!(town.states("ann", second).last(), Some(&MessageState::Expired));
    let third = town.send("ann", "bob", "pretty please");
    town.wait(Span::from_days(15));
    assert!(requests(&town, "bob").is_empty() && town.received("bob").is_empty());
    assert_eq!(town.states("ann", third).last(), Some(&MessageState::Expired));
    town.wait(Span::from_days(2));
    assert!(town.people["bob"].store.is_empty(Drawer::Contacts));
    town.send("ann", "bob", "a month later");
    town.wait(Span::from_mins(20));
    assert_eq!(requests(&town, "bob").len(), 1);
}

/// Whoever it is: nothing of theirs is stored or acknowledged, and nothing can be said to them by mistake.
#[test]
fn who_is_blocked_is_not_heard_and_learns_nothing() {
    let mut town = reserved(&["ann", "bob"]);
    town.send("bob", "ann", "hello");
    town.wait(Span::from_secs(1));
    town.send("ann", "bob", "hello yourself");
    town.wait(Span::from_secs(1));
    let address = town.address("ann");
    let Ok(Outcome::Blocked(blocked)) = town.command("bob", Command::Block(address)) else {
        panic!("it is blocked")
    };
    assert_eq!(blocked.address, address);
    let events = town.people["bob"].events.len();
    let number = town.send("ann", "bob", "what is the matter?");
    town.wait(Span::from_mins(1));
    town.restart("bob");
    town.connect("bob");
    town.wait(Span::from_days(15));
    assert_eq!(town.states("ann", number).last(), Some(&MessageState::Expired));
    // By their own mailbox then, which is collected.
    let number = town.send("ann", "bob", "please");
    town.wait(Span::from_days(1));
    assert!(matches!(
        town.states("ann", number).last(),
        Some(MessageState::Accepted | MessageState::Stored(_))
    ));
    assert_eq!(town.people["bob"].events.len(), events, "{:?}", town.people["bob"].events);
    assert!(names(&town, "bob").is_empty() && town.people["bob"].agent.blocked().len() == 1);
    let (content_type, body) = (ContentType::TEXT, b"x".to_vec());
    let send = Command::Send { to: address, content_type, body, ttl: TTL_DEFAULT };
    assert_eq!(town.command("bob", send), Err(CommandError::Blocked(address)));
    // What was said before stays, and what waits still comes with the first connection after that.
    assert_eq!(town.history("bob", "ann").len(), 2);
    let unblocked = town.command("bob", Command::Unblock(address)).unwrap();
    assert_eq!(unblocked, Outcome::Unblocked { contact: address, is_contact: true });
    town.disconnect("bob");
    town.connect("bob");
    town.wait(Span::from_secs(1));
    assert_eq!(town.texts("bob").last().unwrap(), "please");
    let again = town.command("bob", Command::Unblock(address));
    assert_eq!(again, Err(CommandError::NotBlocked(address)));
    let own = town.address("bob");
    assert_eq!(town.command("bob", Command::Block(own)), Err(CommandError::Own));
}

#[test]
fn a_stranger_who_was_blocked_is_a_stranger_when_unblocked() {
    let mut town = reserved(&["ann", "bob"]);
    town.send("ann", "bob", "hello");
    town.wait(Span::from_secs(1));
    let address = town.address("ann");
    town.command("bob", Command::Block(address)).unwrap();
    assert!(requests(&town, "bob").is_empty());
    assert!(town.people["bob"].store.is_empty(Drawer::Requests));
    let unblocked = town.command("bob", Command::Unblock(address)).unwrap();
    assert_eq!(unblocked, Outcome::Unblocked { contact: address, is_contact: false });
    assert!(town.people["bob"].store.is_empty(Drawer::Contacts));
}

/// What one stranger can have here: 32 messages and 256 KiB. The others wait, and come when they are let in.
#[test]
fn a_stranger_who_writes_much_fills_a_small_place_and_loses_nothing() {
    let mut town = reserved(&["ann", "bob"]);
    town.disconnect("bob");
    for n in 0..40 {
        town.send("ann", "bob", &n.to_string());
    }
    town.wait(Span::from_secs(1));
    town.connect("bob");
    town.wait(Span::from_secs(1));
    assert_eq!(requests(&town, "bob")[0].messages, 32);
    assert_eq!(town.people["bob"].store.len(Drawer::Requests), 32);
    accept(&mut town, "bob", "ann").unwrap();
    town.wait(Span::from_secs(1));
    let texts: Vec<_> = town.history("bob", "ann").into_iter().map(|entry| entry.body).collect();
    assert_eq!(texts, (0..40).map(|n| n.to_string().into_bytes()).collect::<Vec<_>>());

    let mut town = reserved(&["ann", "bob"]);
    town.disconnect("bob");
    for _ in 0..10 {
        town.send("ann", "bob", &"x".repeat(60_000));
    }
    town.wait(Span::from_secs(1));
    town.connect("bob");
    town.wait(Span::from_secs(1));
    assert_eq!(requests(&town, "bob")[0].messages, 4);
}

/// A flood of identities takes a hundred places of strangers and nothing else.
#[test]
fn a_flood_of_strangers_displaces_no_contact_and_takes_no_more_room_than_it_may() {
    let mut town = reserved(&["ann", "bob"]);
    town.send("bob", "ann", "hello");
    town.wait(Span::from_secs(1));
    let flood = flood(&town, 150);
    for envelope in flood {
        town.tell("bob", agent::Input::Push(ClientPush::Envelope { cursor: 0, envelope }));
    }
    assert_eq!(requests(&town, "bob").len(), 100);
    let store = &town.people["bob"].store;
    assert_eq!((store.len(Drawer::Requests), store.len(Drawer::Contacts)), (100, 101));
    let told = |event: &&Event| !matches!(event, Event::State { .. });
    assert_eq!(town.people["bob"].events.iter().filter(told).count(), 100);
    town.send("ann", "bob", "so many people");
    town.wait(Span::from_secs(1));
    assert_eq!(town.texts("bob"), ["so many people"]);
    town.restart("bob");
    let all = requests(&town, "bob");
    for request in all {
        town.command("bob", Command::Refuse(request.address)).unwrap();
    }
    assert!(requests(&town, "bob").is_empty());
    assert!(town.people["bob"].store.is_empty(Drawer::Requests));
}

/// One envelope each of so many strangers.
fn flood(town: &Town, strangers: u16) -> Vec<comm_proto::envelope::Envelope> {
    use comm_proto::envelope::{Header, SizeClass};
    use comm_proto::payload::Payload;
    use comm_proto::sealing::{SealTarget, seal};
    use rand_core::SeedableRng;

    let mut rng = rand_chacha::ChaCha12Rng::from_seed([3; 32]);
    let bob = *Identity::from_seed(&[2; 32]).public();
    assert_eq!(bob.address(), town.address("bob"));
    let expires_at = town.now + TTL_DEFAULT;
    (0..strangers)
        .map(|n| {
            let stranger = stranger(n);
            let payload = Payload {
                content_type: ContentType::TEXT,
                sequence: std::num::NonZeroU64::MIN,
                previous: None,
                sent_at: town.now,
                expires_at,
                recipient: bob.address(),
                body: b"buy this".to_vec(),
            };
            let target = SealTarget::Identity(&bob);
            let body = seal(&mut rng, &stranger, &target, &payload, SizeClass::K1).unwrap();
            let (suite, mailbox) = (target.suite(), bob.address());
            let header = Header { suite, mailbox, expires_at, stamp_nonce: 0 };
            comm_proto::envelope::Envelope::new(header, body.into()).unwrap()
        })
        .collect()
}

fn stranger(n: u16) -> Identity {
    let mut seed = [77; 32];
    seed[..2].copy_from_slice(&n.to_be_bytes());
    Identity::from_seed(&seed)
}

/// Who was removed and writes again asks like a stranger; what was said is gone.
#[test]
fn who_was_removed_and_writes_again_asks() {
    let mut town = reserved(&["ann", "bob"]);
    town.send("bob", "ann", "hello");
    town.wait(Span::from_secs(1));
    town.send("ann", "bob", "hello yourself");
    town.wait(Span::from_secs(1));
    let address = town.address("ann");
    town.command("bob", Command::RemoveContact(address)).unwrap();
    let number = town.send("ann", "bob", "still there?");
    town.wait(Span::from_secs(1));
    // It is read and acknowledged as before (PROTOCOL §4.8).
    assert!(is_delivered(&town, "ann", number));
    assert_eq!(requests(&town, "bob").len(), 1);
    accept(&mut town, "bob", "ann").unwrap();
    let history = town.history("bob", "ann");
    assert_eq!(history.len(), 1);
    let in_turn = Author::Them { missing_before: 0, place: Place::InTurn };
    assert_eq!(history[0].author, in_turn);
}

/// A13: a comparison is noted, shown, taken back, and gone with its contact.
#[test]
fn a_comparison_of_safety_numbers_is_noted() {
    let mut town = reserved(&["ann", "bob"]);
    let contact = town.address("bob");
    let compare =
        |town: &mut Town, comparison| town.command("ann", Command::Compare { contact, comparison });
    let unknown = compare(&mut town, Comparison::Same);
    assert_eq!(unknown, Err(CommandError::NoContact(contact)));
    town.disconnect("ann");
    town.send("ann", "bob", "hello");
    assert_eq!(compare(&mut town, Comparison::Same), Err(CommandError::NoKey(contact)));
    town.connect("ann");
    town.wait(Span::from_secs(1));
    compare(&mut town, Comparison::Same).unwrap();
    town.restart("ann");
    let compared = |town: &Town| town.people["ann"].agent.contact(&contact).unwrap().compared_at;
    assert_eq!(compared(&town), Some(town.now));
    compare(&mut town, Comparison::Open).unwrap();
    assert_eq!(compared(&town), None);
}

/// Ann has written to Carl, whose card nobody has, so that it waits here; then she removed him.
fn waiting_for_carl() -> Town {
    let mut town = reserved(&["ann", "bob"]);
    town.add("carl", [5; 32]);
    let (name, address) = ("carl".to_owned(), town.address("carl"));
    town.command("ann", Command::AddContact { name, address, key: None }).unwrap();
    town.send("ann", "carl", "for carl alone");
    town.wait(Span::from_mins(1));
    town.command("ann", Command::RemoveContact(address)).unwrap();
    town
}

/// Nobody is given the number of somebody to whom something is on its way.
#[test]
fn what_was_written_to_one_person_is_never_sealed_to_another() {
    let mut town = waiting_for_carl();
    let address = town.address("carl");
    town.command("ann", Command::Block(address)).unwrap();
    let unblocked = town.command("ann", Command::Unblock(address)).unwrap();
    assert_eq!(unblocked, Outcome::Unblocked { contact: address, is_contact: false });
    assert!(town.people["ann"].agent.contact(&address).is_none());
    town.send("bob", "ann", "hello");
    town.wait(Span::from_mins(20));
    assert_eq!(requests(&town, "ann").len(), 1);
    assert!(town.received("bob").is_empty(), "{:?}", town.texts("bob"));
    town.connect("carl");
    town.wait(Span::from_mins(20));
    accept(&mut town, "carl", "ann").unwrap();
    assert_eq!(town.texts("carl"), ["for carl alone"]);
    assert!(town.received("bob").is_empty());
}

/// Also not after a restart, and not on the disk of a program that did not write the next number down.
#[test]
fn the_number_of_somebody_forgotten_is_not_given_out_again() {
    use comm_proto::store::{Seq, Write};
    let number = |town: &Town| {
        let rows = town.people["bob"].store.scan(Drawer::Contacts, &[], &[0xff; 8], 9).unwrap();
        rows.last().unwrap().0.clone()
    };
    let mut town = reserved(&["ann", "bob"]);
    town.send("ann", "bob", "hello");
    town.wait(Span::from_secs(1));
    let (first, contact) = (number(&town), town.address("ann"));
    town.command("bob", Command::Block(contact)).unwrap();
    town.command("bob", Command::Unblock(contact)).unwrap();
    town.restart("bob");
    let (name, address) = ("carl".to_owned(), Address::from_bytes([9; 20]));
    town.command("bob", Command::AddContact { name, address, key: None }).unwrap();
    assert!(number(&town) > first);

    // What waits is of somebody whose contact an older program has forgotten.
    let mut town = waiting_for_carl();
    let ann = town.people.get_mut("ann").unwrap();
    let rows = ann.store.scan(Drawer::Contacts, &[], &[0xff; 8], 9).unwrap();
    let key = rows[0].0.clone();
    let forgotten = [(Drawer::Contacts, key), (Drawer::Meta, b"next-contact".to_vec())];
    let writes = forgotten.map(|(table, key)| Write::Delete { table, key }).to_vec();
    ann.store.apply(&Batch { seq: Seq(1 << 40), writes });
    town.restart("ann");
    town.connect("ann");
    town.send("bob", "ann", "hello");
    town.wait(Span::from_mins(20));
    assert_eq!(requests(&town, "ann").len(), 1);
    assert!(town.received("bob").is_empty(), "{:?}", town.texts("bob"));
}

/// Bob has removed Ann, whom he had written to.
fn removed() -> Town {
    let mut town = reserved(&["ann", "bob"]);
    town.send("bob", "ann", "hello");
    town.wait(Span::from_secs(1));
    town.send("ann", "bob", "hello yourself");
    town.wait(Span::from_secs(1));
    let address = town.address("ann");
    town.command("bob", Command::RemoveContact(address)).unwrap();
    town
}

/// What was acknowledged is not thrown away unseen (PROTOCOL §4.12).
#[test]
fn the_request_of_somebody_removed_ends_by_no_time() {
    let mut town = removed();
    town.wait(Span::from_days(29));
    let number = town.send("ann", "bob", "a month later");
    town.wait(Span::from_days(3));
    assert!(is_delivered(&town, "ann", number));
    assert_eq!(requests(&town, "bob").len(), 1);
    town.wait(Span::from_days(40));
    town.restart("bob");
    town.connect("bob");
    accept(&mut town, "bob", "ann").unwrap();
    let texts: Vec<_> = town.history("bob", "ann").into_iter().map(|entry| entry.body).collect();
    assert_eq!(texts, [b"a month later"]);
}

/// They count among nobody, so forgetting them would make room for nobody.
#[test]
fn who_is_accepted_when_all_places_are_taken_still_asks() {
    let mut town = removed();
    town.send("ann", "bob", "let me in");
    town.wait(Span::from_secs(1));
    for n in 0..10_000_u32 {
        let mut bytes = [7; 20];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        let (name, address) = (n.to_string(), Address::from_bytes(bytes));
        town.command("bob", Command::AddContact { name, address, key: None }).unwrap();
    }
    let full = accept(&mut town, "bob", "ann");
    assert_eq!(full, Err(CommandError::TooManyContacts(10_000)));
    assert_eq!(requests(&town, "bob").len(), 1);
}

/// What was said to them before is removed here, and nothing new goes there.
#[test]
fn nothing_new_is_said_to_who_is_blocked_by_changing_what_was_said() {
    let mut town = reserved(&["ann", "bob"]);
    let number = town.send("bob", "ann", "hello");
    town.wait(Span::from_secs(1));
    let address = town.address("ann");
    town.command("bob", Command::Block(address)).unwrap();
    let before = town.submitted;
    let (text, ttl) = ("and this".to_owned(), TTL_DEFAULT);
    let edited = town.command("bob", Command::Edit { number, text, ttl });
    assert_eq!(edited, Err(CommandError::Blocked(address)));
    let deleted = town.command("bob", Command::Delete { number, ttl });
    assert!(matches!(deleted, Ok(Outcome::Deleted { notice: None, .. })), "{deleted:?}");
    town.wait(Span::from_secs(1));
    assert_eq!((town.submitted, town.history("ann", "bob").len()), (before, 0));
}

/// The rotating entry is anybody's sooner or later (PROTOCOL §6.8): it is not shown who was merely let in.
#[test]
fn the_rotating_entry_does_not_learn_who_was_let_in() {
    let town = reserved(&["ann", "bob"]);
    let [node, rotating] = [3, 5].map(|byte| Address::from_bytes([byte; 20]));
    for (name, is_shown) in [(None, false), (Some("dora".to_owned()), true)] {
        let mut store = MemoryStore::new();
        let identity = Identity::from_seed(&[2; 32]);
        let mut agent = Agent::new(identity, [2; 32], &store, town.now).unwrap();
        let envelope = flood(&town, 1).pop().unwrap();
        let contact = stranger(0).address();
        let inputs = [
            agent::Input::Connected { node, entries: Vec::new(), rotating_entry: Some(rotating) },
            agent::Input::Push(ClientPush::Envelope { cursor: 0, envelope }),
            agent::Input::Command { id: CommandId(1), command: Command::Accept { contact, name } },
        ];
        let mut collectors = std::collections::BTreeSet::new();
        for input in inputs {
            agent.handle(input, &store, town.now).unwrap();
            while let Some(output) = agent.poll_output() {
                match output {
                    agent::Output::Write(batch) => store.apply(&batch),
                    agent::Output::Call {
                        request: ClientRequest::Subscribe { grants, .. },
                        ..
                    } => collectors.extend(grants.iter().map(|grant| grant.collector())),
                    agent::Output::Done { result, .. } => drop(result.unwrap()),
                    _ => {}
                }
            }
        }
        assert!(collectors.contains(&node));
        assert_eq!(collectors.contains(&rotating), is_shown);
    }
}

/// A link's name is what somebody else wants to be called; it must not look like a contact's.
#[test]
fn a_link_has_no_name_that_looks_like_another() {
    use comm_proto::link::{Link, LinkError};
    let key = *Identity::from_seed(&[1; 32]).public();
    let link = |name: &str| Link::new(key, Some(name.to_owned()), Vec::new());
    for name in [
        "ann\u{200b}",
        "a\u{200d}nn",
        "\u{feff}ann",
        "a\u{ad}nn",
        "\u{202e}nna",
        "ann\u{2066}",
        "ann\u{2060}",
        "ann\u{fe0f}",
        "ann\u{e0061}",
        "ann\u{3164}",
        "ann\u{180e}",
        "0123abcd",
        "0123ABCD",
    ] {
        assert_eq!(link(name).unwrap_err(), LinkError::Name, "{name:?}");
    }
    for name in ["ann", "Jörg", "日本", "0123abc", "0123abcde", "facadesx"] {
        assert!(link(name).is_ok(), "{name:?}");
    }
}
