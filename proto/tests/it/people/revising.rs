//! Answers, edits and removals (PROTOCOL §4.9).

use comm_proto::agent::Marks;
use comm_proto::payload::MessageId;
use comm_proto::store::{Seq, Store, Write};

use super::*;

fn reply(town: &mut Town, name: &'static str, to: MessageNumber, text: &str) -> Entry {
    let command = Command::Reply { to, text: text.to_owned(), ttl: TTL_DEFAULT };
    match town.command(name, command).unwrap() {
        Outcome::Queued(entry) => entry,
        other => panic!("{other:?}"),
    }
}

fn edit(
    town: &mut Town,
    name: &'static str,
    number: MessageNumber,
    text: &str,
) -> Result<Outcome, CommandError> {
    town.command(name, Command::Edit { number, text: text.to_owned(), ttl: TTL_DEFAULT })
}

fn delete(
    town: &mut Town,
    name: &'static str,
    number: MessageNumber,
) -> Result<Outcome, CommandError> {
    town.command(name, Command::Delete { number, ttl: TTL_DEFAULT })
}

/// The texts of a history; none for what was deleted.
fn history(town: &Town, name: &str, with: &str) -> Vec<Option<String>> {
    let text = |entry: Entry| {
        let text = String::from_utf8(entry.body).unwrap();
        entry.marks.deleted_at.is_none().then_some(text)
    };
    town.history(name, with).into_iter().map(text).collect()
}

fn said(texts: &[&str]) -> Vec<Option<String>> {
    texts.iter().map(|text| Some((*text).to_owned())).collect()
}

/// How often what a message changes to was told.
fn revised(town: &Town, name: &str) -> Vec<Entry> {
    let events = town.people[name].events.iter();
    events
        .filter_map(|event| match event {
            Event::Revised(entry) => Some(entry.clone()),
            _ => None,
        })
        .collect()
}

/// Everything that a person's disk has in a drawer.
fn rows(town: &Town, name: &str, drawer: Drawer) -> Vec<(Vec<u8>, Vec<u8>)> {
    town.people[name].store.scan(drawer, &[], &[0xff; 60], 10_000).unwrap()
}

fn is_on_disk(town: &Town, name: &str, text: &str) -> bool {
    let has = |value: &[u8]| value.windows(text.len()).any(|some| some == text.as_bytes());
    Drawer::ALL.iter().any(|drawer| rows(town, name, *drawer).iter().any(|(_, value)| has(value)))
}

/// What Ann says reaches Bob as the test hands it over.
fn held() -> Town {
    let mut town = Town::with(&["ann", "bob"]);
    town.send("ann", "bob", "hello");
    town.wait(Span::from_secs(1));
    town.held = Some(("bob", Vec::new()));
    town
}

/// E30: an answer leads to what it answers, whoever of the two wrote that.
#[test]
fn an_answer_names_the_message_that_it_answers() {
    let mut town = Town::with(&["ann", "bob"]);
    let asked = town.send("ann", "bob", "tea or coffee?");
    town.wait(Span::from_secs(1));
    let number = town.received("bob")[0].number;
    let answer = reply(&mut town, "bob", number, "tea");
    town.wait(Span::from_secs(1));
    let heard = town.received("ann").pop().unwrap();
    assert_eq!((heard.content_type, &heard.body[..]), (ContentType::TEXT, &b"tea"[..]));
    assert_eq!((heard.answers, heard.id), (answer.answers, answer.id));
    let ann = &town.people["ann"];
    let bob = town.address("bob");
    let id = heard.answers.unwrap();
    let answered = ann.agent.message_by_id(&ann.store, &bob, &id).unwrap().unwrap();
    assert_eq!((answered.number, answered.id), (asked, Some(id)));
    // And an answer to the answer, over a restart.
    town.restart("ann");
    town.connect("ann");
    reply(&mut town, "ann", heard.number, "green or black?");
    town.wait(Span::from_secs(1));
    assert_eq!(town.received("bob").pop().unwrap().answers, heard.id);
    let none = town.command(
        "bob",
        Command::Reply { to: MessageNumber(99), text: "x".to_owned(), ttl: TTL_DEFAULT },
    );
    assert_eq!(none, Err(CommandError::NoMessage(MessageNumber(99))));
}

/// E30: it is shown also where the message that it answers has not come, and leads to it when it has.
#[test]
fn an_answer_works_where_the_original_is_missing() {
    let mut town = held();
    let asked = town.send("ann", "bob", "tea or coffee?");
    town.wait(Span::from_secs(1));
    reply(&mut town, "ann", asked, "or water?");
    town.wait(Span::from_secs(1));
    town.release(1);
    let heard = town.received("bob").pop().unwrap();
    assert_eq!(heard.body, b"or water?");
    let lookup = |town: &Town| {
        let bob = &town.people["bob"];
        let id = heard.answers.unwrap();
        bob.agent.message_by_id(&bob.store, &town.address("ann"), &id).unwrap()
    };
    assert_eq!(lookup(&town), None);
    town.release(0);
    assert_eq!(lookup(&town).unwrap().body, b"tea or coffee?");
}

/// An edit changes the message where it stands on both sides, and is no message of its own.
#[test]
fn an_edit_changes_its_message_here_and_there() {
    let mut town = Town::with(&["ann", "bob"]);
    let number = town.send("ann", "bob", "at noo");
    town.send("ann", "bob", "by the mill");
    town.wait(Span::from_secs(1));
    let Ok(Outcome::Edited { entry, notice }) = edit(&mut town, "ann", number, "at noon") else {
        panic!("it is edited");
    };
    assert_eq!((&entry.body[..], entry.marks.edited.is_some()), (&b"at noon"[..], true));
    town.wait(Span::from_secs(1));
    assert!(matches!(town.states("ann", notice).last(), Some(MessageState::Delivered { .. })));
    for (name, with) in [("ann", "bob"), ("bob", "ann")] {
        assert_eq!(history(&town, name, with), said(&["at noon", "by the mill"]));
        assert!(town.history(name, with)[0].marks.edited.is_some());
    }
    assert_eq!(town.received("bob").len(), 2);
    let told = revised(&town, "bob");
    assert_eq!((told.len(), &told[0].body[..]), (1, &b"at noon"[..]));
    // It still says how far the message itself has come, also after a restart.
    town.restart("ann");
    let Author::Us { state, .. } = town.history("ann", "bob")[0].author else { panic!("ours") };
    assert!(matches!(state, MessageState::Delivered { .. }), "{state:?}");
}

/// The latest edit by its author's own order counts, however they come.
#[test]
fn of_several_edits_the_last_in_its_authors_order_counts() {
    for order in [[0, 1, 2, 3], [0, 3, 2, 1], [3, 1, 2, 0], [2, 3, 0, 1], [1, 2, 3, 0]] {
        let mut town = held();
        let number = town.send("ann", "bob", "one");
        town.wait(Span::from_secs(1));
        for text in ["two", "three", "four"] {
            edit(&mut town, "ann", number, text).unwrap();
            town.wait(Span::from_secs(1));
        }
        for at in order {
            town.release(at);
            town.release(at);
        }
        assert_eq!(history(&town, "bob", "ann"), said(&["hello", "four"]), "{order:?}");
        assert_eq!(history(&town, "ann", "bob"), said(&["hello", "four"]));
        assert!(rows(&town, "bob", Drawer::Waiting).is_empty());
    }
}

/// Whoever did not write a message cannot change it, whatever their program says.
#[test]
fn nobody_can_edit_or_delete_what_another_wrote() {
    let mut town = Town::with(&["ann", "bob", "eve"]);
    let number = town.send("ann", "bob", "mine");
    town.wait(Span::from_secs(1));
    let theirs = town.received("bob")[0].number;
    assert_eq!(edit(&mut town, "bob", theirs, "x"), Err(CommandError::NotOurs(theirs)));
    assert_eq!(delete(&mut town, "bob", theirs), Err(CommandError::NotOurs(theirs)));
    let id = town.history("ann", "bob")[0].id.unwrap();
    for (name, to) in [("bob", "ann"), ("eve", "ann"), ("eve", "bob")] {
        forge(&mut town, name, to, &id);
    }
    for (name, with) in [("ann", "bob"), ("bob", "ann")] {
        let first = &town.history(name, with)[0];
        assert_eq!((&first.body[..], first.marks), (&b"mine"[..], Marks::default()));
    }
    assert!(revised(&town, "ann").is_empty() && revised(&town, "bob").is_empty());
    assert!(matches!(town.states("ann", number).last(), Some(MessageState::Delivered { .. })));
}

/// An edit and a removal of the message `id`, by a program that does not care whose it is. It has a message
/// of its own with another id, whose name is replaced where it is kept.
fn forge(town: &mut Town, name: &'static str, to: &str, id: &MessageId) {
    let number = town.send(name, to, "a message of one's own");
    town.wait(Span::from_secs(1));
    let person = town.people.get_mut(name).unwrap();
    let own = person.agent.message(&person.store, number).unwrap().unwrap().id.unwrap();
    let swapped = |value: &[u8]| -> Option<Vec<u8>> {
        let at = value.windows(32).position(|some| some == own.as_bytes())?;
        Some([&value[..at], id.as_bytes(), &value[at + 32..]].concat())
    };
    let all = person.store.scan(Drawer::History, &[], &[0xff; 60], 1_000).unwrap();
    let writes = all.into_iter().filter_map(|(key, value)| {
        let value = swapped(&value)?;
        Some(Write::Put { table: Drawer::History, key, value })
    });
    let batch = Batch { seq: Seq(0), writes: writes.collect() };
    person.store.apply(&batch);
    edit(town, name, number, "forged").unwrap();
    delete(town, name, number).unwrap();
    town.wait(Span::from_secs(1));
}

/// E28: the text is gone from both disks, a mark stays.
#[test]
fn a_deleted_message_leaves_a_mark_and_no_text_on_either_disk() {
    let mut town = Town::with(&["ann", "bob"]);
    let number = town.send("ann", "bob", "burn after reading");
    town.send("ann", "bob", "keep this");
    town.wait(Span::from_secs(1));
    edit(&mut town, "ann", number, "burn after reading, please").unwrap();
    town.wait(Span::from_secs(1));
    let Ok(Outcome::Deleted { entry, notice: Some(notice) }) = delete(&mut town, "ann", number)
    else {
        panic!("it is deleted");
    };
    assert!(entry.body.is_empty() && entry.marks.deleted_at.is_some());
    town.wait(Span::from_secs(1));
    assert!(matches!(town.states("ann", notice).last(), Some(MessageState::Delivered { .. })));
    for (name, with) in [("ann", "bob"), ("bob", "ann")] {
        assert_eq!(history(&town, name, with), [None, Some("keep this".to_owned())]);
        assert!(!is_on_disk(&town, name, "burn after"));
        assert!(is_on_disk(&town, name, "keep this"));
    }
    let told = revised(&town, "bob").pop().unwrap();
    assert!(told.marks.deleted_at.is_some() && told.body.is_empty());
    // It is for good.
    assert_eq!(edit(&mut town, "ann", number, "x"), Err(CommandError::Removed(number)));
    assert_eq!(delete(&mut town, "ann", number), Err(CommandError::Removed(number)));
}

/// A removal that comes before its message waits for it: the text is never shown.
#[test]
fn what_is_deleted_before_it_comes_is_never_shown() {
    let mut town = held();
    let number = town.send("ann", "bob", "burn before reading");
    town.wait(Span::from_secs(1));
    edit(&mut town, "ann", number, "burn it all the same").unwrap();
    town.wait(Span::from_secs(1));
    delete(&mut town, "ann", number).unwrap();
    town.wait(Span::from_secs(1));
    // The removal, the edit, then the message.
    for at in [2, 1, 0] {
        town.release(at);
    }
    assert_eq!(history(&town, "bob", "ann"), [Some("hello".to_owned()), None]);
    assert!(!is_on_disk(&town, "bob", "burn"));
    let heard = town.received("bob").pop().unwrap();
    assert!(heard.body.is_empty() && heard.marks.deleted_at.is_some());
}

/// What has not left this machine never does, and nobody is told of it.
#[test]
fn what_never_left_is_deleted_without_a_word() {
    let mut town = Town::with(&["ann"]);
    town.add("bob", [5; 32]);
    let number = town.send("ann", "bob", "never mind");
    let outcome = delete(&mut town, "ann", number);
    assert!(matches!(outcome, Ok(Outcome::Deleted { notice: None, .. })), "{outcome:?}");
    assert!(!is_on_disk(&town, "ann", "never mind"));
    assert_eq!(town.people["ann"].agent.outbox_len(), 0);
    town.connect("bob");
    town.wait(Span::from_mins(20));
    assert!(town.received("bob").is_empty());
}

/// What waits at a relay is taken back from there, and the removal is sent all the same.
#[test]
fn what_is_on_its_way_is_taken_back_when_it_is_deleted() {
    let mut town = Town::with(&["ann", "bob"]);
    town.send("ann", "bob", "hello");
    town.wait(Span::from_secs(1));
    town.disconnect("bob");
    let number = town.send("ann", "bob", "never mind");
    town.wait(Span::from_secs(1));
    let outcome = delete(&mut town, "ann", number);
    assert!(matches!(outcome, Ok(Outcome::Deleted { notice: Some(_), .. })), "{outcome:?}");
    assert!(!is_on_disk(&town, "ann", "never mind"));
    town.connect("bob");
    town.wait(Span::from_secs(1));
    assert_eq!(town.texts("bob"), ["hello"]);
    assert_eq!(history(&town, "bob", "ann"), said(&["hello"]));
}

/// Changes that wait for messages which never come take bounded room, and the newest of them count.
#[test]
fn changes_of_messages_that_never_come_take_bounded_room() {
    const MANY: usize = 70;
    let mut town = held();
    let mut numbers = Vec::new();
    for n in 0..MANY {
        numbers.push(town.send("ann", "bob", &n.to_string()));
        town.wait(Span::from_secs(1));
    }
    for number in &numbers {
        edit(&mut town, "ann", *number, "edited").unwrap();
        town.wait(Span::from_secs(1));
    }
    for at in MANY..2 * MANY {
        town.wait(Span::from_secs(1));
        town.release(at);
        assert!(rows(&town, "bob", Drawer::Waiting).len() <= 64);
    }
    for at in 0..MANY {
        town.release(at);
    }
    let texts = history(&town, "bob", "ann");
    let edited = texts.iter().filter(|text| text.as_deref() == Some("edited")).count();
    assert_eq!((texts.len(), edited), (MANY + 1, 64));
    assert_eq!(texts[1].as_deref(), Some("0"), "the first that came gave way");
    assert!(rows(&town, "bob", Drawer::Waiting).is_empty());
}

/// A gap before an edit is marked before the next message that is shown.
#[test]
fn what_is_missing_before_an_edit_is_missing_before_the_next_message() {
    let mut town = held();
    let number = town.send("ann", "bob", "one");
    town.wait(Span::from_secs(1));
    town.send("ann", "bob", "lost");
    town.wait(Span::from_secs(1));
    edit(&mut town, "ann", number, "uno").unwrap();
    town.wait(Span::from_secs(1));
    town.send("ann", "bob", "two");
    town.wait(Span::from_secs(1));
    for at in [0, 2, 3] {
        town.release(at);
    }
    let missing = |entry: &Entry| match entry.author {
        Author::Them { missing_before, .. } => missing_before,
        Author::Us { .. } => 0,
    };
    let all = town.history("bob", "ann");
    assert_eq!(all.iter().map(missing).collect::<Vec<_>>(), [0, 0, 1]);
    assert_eq!(history(&town, "bob", "ann"), said(&["hello", "uno", "two"]));
}

/// E20: when a message came how far is kept.
#[test]
fn when_a_message_came_how_far_is_kept() {
    let mut town = Town::with(&["ann", "bob"]);
    town.send("ann", "bob", "hello");
    town.wait(Span::from_secs(1));
    town.disconnect("bob");
    let number = town.send("ann", "bob", "are you there?");
    town.wait(Span::HOUR);
    town.connect("bob");
    town.wait(Span::from_secs(1));
    town.restart("ann");
    let ann = &town.people["ann"];
    let entry = ann.agent.message(&ann.store, number).unwrap().unwrap();
    let (accepted, ended) = (entry.steps.accepted_at.unwrap(), entry.steps.ended_at.unwrap());
    assert!(accepted.since(entry.sent_at) < Span::from_secs(1), "{entry:?}");
    assert!(ended.since(accepted) >= Span::HOUR, "{entry:?}");
}

/// Kinds that mean something to a conversation go by commands alone.
#[test]
fn kinds_of_the_conversation_are_not_sent_as_they_are() {
    let mut town = Town::with(&["ann", "bob"]);
    for content_type in [4, 6, 7, 8, 9].map(ContentType) {
        let (to, body) = (town.address("bob"), vec![0]);
        let command = Command::Send { to, content_type, body, ttl: TTL_DEFAULT };
        assert_eq!(town.command("ann", command), Err(CommandError::Kind(content_type)));
    }
    let number = town.send("ann", "bob", "x");
    let max = 65_077 - 36;
    let length = max + 1;
    let text = "x".repeat(length);
    let refused = Err(CommandError::TooLong { length, max });
    assert_eq!(edit(&mut town, "ann", number, &text), refused);
    assert_eq!(edit(&mut town, "ann", number, ""), Err(CommandError::Empty));
    assert!(edit(&mut town, "ann", number, &text[1..]).is_ok());
}
