//! Finding what was said, all of it from the beginning, and the list of conversations.

use comm_proto::agent::{SearchPlace, Words};

use super::*;

fn text(entry: &Entry) -> String {
    String::from_utf8(entry.body.clone()).unwrap()
}

/// What a search finds with somebody, the newest first, and in how many steps.
fn search(town: &Town, name: &str, with: &str, words: &str) -> (Vec<String>, usize) {
    let person = &town.people[name];
    let (words, contact) = (Words::new(words).unwrap(), town.address(with));
    let (mut found, mut steps) = (Vec::new(), 0);
    let mut from: Option<SearchPlace> = None;
    loop {
        let step = person.agent.search(&person.store, &contact, &words, from).unwrap();
        found.extend(step.entries.iter().map(text));
        steps += 1;
        let Some(next) = step.next else { return (found, steps) };
        from = Some(next);
    }
}

/// E27: by all of its words, newest first, also late and edited ones, and not what is gone.
#[test]
fn what_was_said_is_found_by_its_words() {
    let mut town = Town::with(&["ann", "bob"]);
    town.held = Some(("bob", Vec::new()));
    let numbers = ["The OLD mill", "the new mill", "an old hat", "Old wine"]
        .map(|text| (town.send("ann", "bob", text), town.wait(Span::from_secs(1))).0);
    for at in [0, 3, 1, 2] {
        town.release(at);
    }
    town.held = None;
    assert_eq!(search(&town, "bob", "ann", "old").0, ["Old wine", "an old hat", "The OLD mill"]);
    assert_eq!(search(&town, "bob", "ann", "mill old").0, ["The OLD mill"]);
    assert_eq!(search(&town, "bob", "ann", "nothing").0, Vec::<String>::new());
    let ttl = TTL_DEFAULT;
    let edit = Command::Edit { number: numbers[0], text: "the older mill".to_owned(), ttl };
    town.command("ann", edit).unwrap();
    town.command("ann", Command::Delete { number: numbers[3], ttl }).unwrap();
    town.wait(Span::from_secs(1));
    for (name, with) in [("ann", "bob"), ("bob", "ann")] {
        assert_eq!(search(&town, name, with, "old").0, ["an old hat", "the older mill"]);
    }
}

/// E27: step by step, each of bounded size, over everything.
#[test]
fn a_long_history_is_searched_step_by_step_to_its_end() {
    let mut town = Town::with(&["ann", "bob"]);
    town.disconnect("ann");
    for n in 0..1_000 {
        town.send("ann", "bob", &format!("message number {n}"));
    }
    let (found, steps) = search(&town, "ann", "bob", "number 99");
    assert_eq!(found.len(), 11 + 8, "990 to 999, 99, and x99");
    assert_eq!(found.last().unwrap(), "message number 99");
    assert_eq!(steps, 8);
}

/// The other way round, page by page, each once.
#[test]
fn a_history_is_read_from_its_beginning_page_by_page() {
    let mut town = Town::with(&["ann", "bob"]);
    town.held = Some(("bob", Vec::new()));
    for text in ["one", "two", "three", "four", "five"] {
        town.send("ann", "bob", text);
        town.wait(Span::from_secs(1));
    }
    for at in [0, 3, 2, 4, 1] {
        town.release(at);
    }
    let bob = &town.people["bob"];
    let (mut after, mut read) = (None, Vec::new());
    loop {
        let page = bob.agent.history_after(&bob.store, &town.address("ann"), after, 2).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.number);
        read.extend(page.iter().map(text));
    }
    assert_eq!(read, ["one", "two", "three", "four", "five"]);
}

/// F9, F11: each conversation with its last message, the newest first; who is muted says so in events.
#[test]
fn conversations_are_listed_with_what_was_said_last() {
    let mut town = Town::with(&["ann", "bob", "carol"]);
    for (from, text) in [("bob", "one"), ("carol", "two"), ("bob", "three")] {
        town.send(from, "ann", text);
        town.wait(Span::from_secs(1));
    }
    let (contact, muted) = (town.address("carol"), true);
    assert!(town.command("ann", Command::Mute { contact, muted }).is_ok());
    town.restart("ann");
    town.connect("ann");
    let list = |town: &Town| -> Vec<(Address, u64, bool, String)> {
        let ann = &town.people["ann"];
        let all = ann.agent.summaries(&ann.store).unwrap().into_iter();
        let line = |summary: agent::Summary| {
            let (contact, last) = (summary.contact, text(&summary.last.unwrap()));
            (contact.address, contact.unread, contact.muted, last)
        };
        all.map(line).collect()
    };
    let (bob, carol) = (town.address("bob"), town.address("carol"));
    let expected = [(bob, 2, false, "three".to_owned()), (carol, 1, true, "two".to_owned())];
    assert_eq!(list(&town), expected);
    town.send("carol", "ann", "four");
    town.send("bob", "ann", "five");
    town.wait(Span::from_secs(1));
    assert_eq!(list(&town).iter().map(|line| line.1).sum::<u64>(), 5);
    let events = town.people["ann"].events.iter();
    let muted: Vec<_> = events
        .filter_map(|event| match event {
            Event::Received { entry, is_muted } => Some((text(entry), *is_muted)),
            _ => None,
        })
        .collect();
    let told = |text: &str| muted.iter().find(|(told, _)| told == text).unwrap().1;
    assert!(told("four") && !told("five") && !told("two"));
}
