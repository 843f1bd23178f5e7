//! In which order messages are shown that came in another, twice, or not at all.

use std::cell::Cell;

use comm_proto::store::{Entry as Row, ScanBack, Store, StoreError};

use super::*;

/// A text with how many are missing before it.
fn lines(entries: &[Entry]) -> Vec<(u64, String)> {
    let missing = |entry: &Entry| match entry.author {
        Author::Them { missing_before, .. } => missing_before,
        Author::Us { .. } => 0,
    };
    let text = |entry: &Entry| String::from_utf8(entry.body.clone()).unwrap();
    entries.iter().map(|entry| (missing(entry), text(entry))).collect()
}

fn shown(town: &Town) -> Vec<(u64, String)> {
    lines(&town.history("bob", "ann"))
}

fn expected(lines: &[(u64, &str)]) -> Vec<(u64, String)> {
    lines.iter().map(|(missing, text)| (*missing, (*text).to_owned())).collect()
}

/// What Bob was told was missing, in order.
fn missing(town: &Town) -> Vec<u64> {
    let events = town.people["bob"].events.iter();
    events
        .filter_map(|event| match event {
            Event::Missing { messages, .. } => Some(*messages),
            _ => None,
        })
        .collect()
}

/// Ann has written five messages, and Bob has got none of them yet.
fn five_on_the_way() -> Town {
    let mut town = Town::with(&["ann", "bob"]);
    town.held = Some(("bob", Vec::new()));
    for text in ["one", "two", "three", "four", "five"] {
        town.send("ann", "bob", text);
        town.wait(Span::from_secs(1));
    }
    assert_eq!(town.held.as_ref().unwrap().1.len(), 5);
    town
}

/// E23: a gap is marked until it is filled, and told once when it opens and whenever it shrinks.
#[test]
fn messages_out_of_order_are_shown_in_their_authors_order_and_gaps_close() {
    let mut town = five_on_the_way();
    town.release(0);
    town.release(3);
    assert_eq!(shown(&town), expected(&[(0, "one"), (2, "four")]));
    assert_eq!(missing(&town), [2]);
    town.send("bob", "ann", "reply");
    town.release(4);
    assert_eq!(missing(&town), [2], "a gap is told once");
    town.release(2);
    let with_gap = [(0, "one"), (1, "three"), (0, "four"), (0, "reply"), (0, "five")];
    assert_eq!(shown(&town), expected(&with_gap));
    town.restart("bob");
    assert_eq!(shown(&town), expected(&with_gap));
    town.connect("bob");
    town.release(1);
    let whole = [(0, "one"), (0, "two"), (0, "three"), (0, "four"), (0, "reply"), (0, "five")];
    assert_eq!(shown(&town), expected(&whole));
    assert_eq!(missing(&town), [2, 1, 0]);
}

/// E23: a message that comes twice is there once and opens no gap.
#[test]
fn messages_that_come_twice_are_shown_once_in_order() {
    let mut town = five_on_the_way();
    for at in [1, 1, 0, 1, 2, 0, 4, 4, 3, 4] {
        town.release(at);
    }
    let all = ["one", "two", "three", "four", "five"].map(|text| (0, text));
    assert_eq!(shown(&town), expected(&all));
    assert_eq!(missing(&town), [1, 0, 1, 0]);
}

/// E23: who shows a late message at once can say where it belongs.
#[test]
fn a_late_message_names_the_one_that_it_belongs_before() {
    let mut town = five_on_the_way();
    for at in [0, 3, 1, 2] {
        town.release(at);
    }
    let received = town.received("bob");
    let places: Vec<_> = received
        .iter()
        .map(|entry| match entry.author {
            Author::Them { place, .. } => place,
            Author::Us { .. } => panic!("it is theirs"),
        })
        .collect();
    let four = received[1].number;
    assert_eq!(received[1].body, b"four");
    let before = Place::Before(four);
    assert_eq!(places, [Place::InTurn, Place::InTurn, before, before]);
    // It is found by its number too, and says the same.
    let bob = &town.people["bob"];
    let late = bob.agent.message(&bob.store, received[2].number).unwrap().unwrap();
    assert_eq!((&late.body[..], late.author), (&b"two"[..], received[2].author));
}

/// E23, E25: pages meet without a seam where late messages stand.
#[test]
fn pages_of_a_history_with_late_messages_hold_each_once() {
    let mut town = five_on_the_way();
    for at in [0, 3, 2, 4, 1] {
        town.release(at);
    }
    let bob = &town.people["bob"];
    let (mut before, mut read) = (None, Vec::new());
    loop {
        let page = bob.agent.history(&bob.store, &town.address("ann"), before, 2).unwrap();
        let Some(first) = page.first() else { break };
        before = Some(first.number);
        read = [lines(&page), read].concat();
    }
    let all = ["one", "two", "three", "four", "five"].map(|text| (0, text));
    assert_eq!(read, expected(&all));
}

/// Counts the rows that are read of it.
struct Counting<'a> {
    store: &'a MemoryStore<Drawer>,
    rows: Cell<usize>,
}

impl Counting<'_> {
    fn note<T>(&self, rows: usize, result: T) -> T {
        self.rows.set(self.rows.get() + rows);
        result
    }
}

impl Store<Drawer> for Counting<'_> {
    fn get(&self, table: Drawer, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.note(1, self.store.get(table, key))
    }

    fn scan(
        &self,
        table: Drawer,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let rows = self.store.scan(table, from, to, limit)?;
        self.note(rows.len(), Ok(rows))
    }
}

impl ScanBack<Drawer> for Counting<'_> {
    fn scan_back(
        &self,
        table: Drawer,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let rows = self.store.scan_back(table, from, to, limit)?;
        self.note(rows.len(), Ok(rows))
    }
}

/// E25: what a page costs does not depend on how much was said.
#[test]
fn a_page_reads_its_own_rows_however_many_are_stored() {
    let mut town = Town::with(&["ann", "bob"]);
    town.disconnect("ann");
    let mut costs = Vec::new();
    let mut said = 0;
    for stored in [50, 3_000] {
        while said < stored {
            town.send("ann", "bob", &said.to_string());
            said += 1;
        }
        let ann = &town.people["ann"];
        let store = Counting { store: &ann.store, rows: Cell::new(0) };
        let last = ann.agent.history(&store, &town.address("bob"), None, 20).unwrap();
        let before = Some(last[0].number);
        let page = ann.agent.history(&store, &town.address("bob"), before, 20).unwrap();
        assert_eq!((last.len(), page.len()), (20, 20));
        assert_eq!(page[19].sequence + 1, last[0].sequence);
        costs.push(store.rows.get());
    }
    // Two pages, and the place of the message before which the second ends.
    assert_eq!(costs, [41, 41]);
}
