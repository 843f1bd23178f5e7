//! A person's store that an older program wrote: `testdata/person/layout-2.txt` was written by one.
//!
//! A `row` of the file is a drawer, a key and a value in hexadecimal digits, `-` for nothing; `now` says when.

use comm_proto::store::{Seq, Write};

use super::*;

fn older() -> (MemoryStore<Drawer>, Time) {
    let text = include_str!("../../../testdata/person/layout-2.txt");
    let bytes = |digits: &str| hex::decode(digits.trim_start_matches('-')).unwrap();
    let (mut writes, mut now) = (Vec::new(), Time::ZERO);
    for line in text.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["now", millis] => now = Time::from_millis(millis.parse().unwrap()),
            ["row", drawer, key, value] => writes.push(Write::Put {
                table: Drawer::ALL.into_iter().find(|table| table.name() == drawer).unwrap(),
                key: bytes(key),
                value: bytes(value),
            }),
            _ => panic!("{line}"),
        }
    }
    let mut store = MemoryStore::new();
    store.apply(&Batch { seq: Seq(1), writes });
    (store, now)
}

/// Ann's program of today on her disk of then, with Bob, whose data is new, at her relay.
fn upgraded() -> Town {
    let (store, now) = older();
    let mut town = Town::new();
    town.now = now;
    for (name, identity) in [("ann", [1; 32]), ("bob", [2; 32])] {
        town.add(name, identity);
    }
    town.people.get_mut("ann").unwrap().store = store;
    town.restart("ann");
    town
}

#[test]
fn a_store_of_an_older_program_is_read_with_all_that_was_said() {
    let town = upgraded();
    let known = &town.people["ann"].agent.contacts()[0];
    let bob = town.address("bob");
    let named = town.people["ann"].agent.contact(&bob).unwrap();
    assert_eq!((named.name.as_str(), named.note.as_str()), ("bob", "met at the mill"), "{known:?}");
    let entries = town.history("ann", "bob");
    let line = |entry: &Entry| match entry.author {
        Author::Us { state, .. } => (format!("{state:?}"), 0),
        Author::Them { missing_before, place } => (format!("{place:?}"), missing_before),
    };
    let body = |entry: &Entry| String::from_utf8_lossy(&entry.body).into_owned();
    let lines: Vec<_> = entries.iter().map(|entry| (body(entry), line(entry))).collect();
    let texts: Vec<_> = lines.iter().map(|(text, _)| text.as_str()).collect();
    let expected = [
        "hello",
        "one",
        "two",
        "four",
        "\0\u{fffd}",
        "an answer",
        "never mind",
        "waits at the relay",
        "waits here",
    ];
    assert_eq!(texts, expected);
    assert_eq!(lines[3].1.1, 1, "three is missing before four");
    assert!(lines[2].1.0.starts_with("Before"), "{lines:?}");
    assert!(lines[0].1.0.starts_with("Delivered") && lines[6].1.0 == "Cancelled", "{lines:?}");
    assert!(entries.iter().all(|entry| entry.id.is_none()));
    // What it could not show then is shown now.
    assert_eq!(entries[4].content_type, ContentType(0x4242));
    assert_eq!(entries[5].content_type, ContentType::TEXT);
    assert_eq!(entries[5].answers.map(|id| *id.as_bytes()), Some([7; 32]));
    assert_eq!(town.people["ann"].agent.outbox_len(), 3);
}

/// What waited goes on, and how far it comes is noted where the older program had kept the message.
#[test]
fn what_an_older_program_had_on_its_way_goes_on() {
    let mut town = upgraded();
    let waits = town.history("ann", "bob").pop().unwrap();
    assert_eq!(&waits.body[..], b"waits here");
    let number = waits.number;
    // Nothing but its id is missing to change it.
    let command = Command::Edit { number, text: "x".to_owned(), ttl: TTL_DEFAULT };
    assert_eq!(town.command("ann", command), Err(CommandError::Nameless(number)));
    town.connect("ann");
    town.wait(Span::from_secs(1));
    let waits = town.history("ann", "bob").pop().unwrap();
    let Author::Us { state, envelope: Some(_) } = waits.author else { panic!("{waits:?}") };
    assert!(state >= MessageState::Accepted && waits.steps.accepted_at.is_some(), "{waits:?}");
}
