//! Messages that disappear (PROTOCOL §4.10).

use comm_proto::store::Store;

use super::*;

const HOUR: Span = Span::HOUR;

fn set_timer(town: &mut Town, name: &'static str, with: &str, lifetime: Option<Span>) {
    let contact = town.address(with);
    let command = Command::SetTimer { contact, lifetime, ttl: TTL_DEFAULT };
    assert!(matches!(town.command(name, command), Ok(Outcome::Queued(_))));
}

fn timer(town: &Town, name: &str, with: &str) -> Option<Span> {
    town.people[name].agent.contact(&town.address(with)).unwrap().lifetime
}

/// Ann and Bob, whose messages disappear after an hour from now on.
fn timed() -> Town {
    let mut town = Town::with(&["ann", "bob"]);
    town.send("ann", "bob", "this stays");
    town.wait(Span::from_secs(1));
    set_timer(&mut town, "bob", "ann", Some(HOUR));
    town.wait(Span::from_secs(1));
    town
}

/// The texts that a person sees, timers left out.
fn texts(town: &Town, name: &str, with: &str) -> Vec<String> {
    let entries = town.history(name, with).into_iter();
    let texts = entries.filter(|entry| entry.content_type == ContentType::TEXT);
    texts.map(|entry| String::from_utf8(entry.body).unwrap()).collect()
}

fn is_on_disk(town: &Town, name: &str, text: &str) -> bool {
    let has = |value: &[u8]| value.windows(text.len()).any(|some| some == text.as_bytes());
    let rows = |drawer| town.people[name].store.scan(drawer, &[], &[0xff; 60], 9_999).unwrap();
    Drawer::ALL.iter().any(|drawer| rows(*drawer).iter().any(|(_, value)| has(value)))
}

fn overdue(town: &Town, name: &str) -> usize {
    let events = town.people[name].events.iter();
    events.filter(|event| matches!(event, Event::Overdue { .. })).count()
}

/// E29: at its time a message is gone from both disks, and nothing else is.
#[test]
fn a_message_disappears_from_both_disks_at_its_time() {
    let mut town = timed();
    for (name, with) in [("ann", "bob"), ("bob", "ann")] {
        assert_eq!(timer(&town, name, with), Some(HOUR));
        let set = town.history(name, with).pop().unwrap();
        assert_eq!(set.content_type, ContentType::TIMER);
    }
    town.send("ann", "bob", "for an hour");
    town.wait(Span::from_mins(30));
    town.send("bob", "ann", "for an hour more");
    town.wait(HOUR - Span::from_mins(30) - Span::from_millis(1));
    let all = ["this stays", "for an hour", "for an hour more"];
    for (name, with) in [("ann", "bob"), ("bob", "ann")] {
        assert_eq!(texts(&town, name, with), all);
    }
    town.wait(Span::from_millis(1));
    for (name, with) in [("ann", "bob"), ("bob", "ann")] {
        assert_eq!(texts(&town, name, with), ["this stays", "for an hour more"]);
    }
    town.wait(HOUR);
    for (name, with) in [("ann", "bob"), ("bob", "ann")] {
        assert_eq!(texts(&town, name, with), ["this stays"]);
        assert!(!is_on_disk(&town, name, "for an hour"));
        assert!(town.people[name].store.is_empty(Drawer::Fading));
        let gone = town.people[name].events.iter();
        let gone = gone.filter(|event| matches!(event, Event::Disappeared { .. }));
        assert_eq!(gone.count(), 2);
    }
    // And no gap is left where they were.
    town.send("ann", "bob", "later");
    town.wait(Span::from_secs(1));
    let Author::Them { missing_before: 0, .. } = town.history("bob", "ann").pop().unwrap().author
    else {
        panic!("nothing is missing");
    };
}

/// E29: also when the program was not running when it was time.
#[test]
fn what_was_to_disappear_meanwhile_is_gone_at_the_start() {
    let mut town = timed();
    town.send("ann", "bob", "for an hour");
    town.wait(Span::from_secs(1));
    let (store, now) = (town.people["bob"].store.clone(), town.now + HOUR);
    let mut town = Town::new();
    town.now = now;
    town.add("bob", [2; 32]);
    town.people.get_mut("bob").unwrap().store = store;
    town.restart("bob");
    assert!(is_on_disk(&town, "bob", "for an hour"));
    town.tell("bob", agent::Input::Tick);
    assert!(!is_on_disk(&town, "bob", "for an hour"));
    assert!(is_on_disk(&town, "bob", "this stays"));
}

/// E29: who comes online when its time is over never sees it; its sender learns that it has come.
#[test]
fn whoever_comes_online_too_late_never_sees_it() {
    let mut town = timed();
    town.disconnect("bob");
    let number = town.send("ann", "bob", "for an hour");
    town.wait(Span::from_mins(59));
    // A copy that Bob gets in time and one that comes too late.
    town.connect("bob");
    town.wait(Span::from_secs(1));
    assert_eq!(texts(&town, "bob", "ann"), ["this stays", "for an hour"]);
    assert!(matches!(town.states("ann", number).last(), Some(MessageState::Delivered { .. })));
    town.held = Some(("bob", Vec::new()));
    town.send("ann", "bob", "for another hour");
    town.wait(HOUR);
    town.release(0);
    assert_eq!(texts(&town, "bob", "ann"), ["this stays"]);
    assert!(!is_on_disk(&town, "bob", "another"));
    assert_eq!(overdue(&town, "bob"), 1);
    assert!(town.received("bob").iter().all(|entry| entry.body != b"for another hour"));
    // It is acknowledged, and counts as come.
    town.wait(Span::from_secs(1));
    assert!(town.node_store.is_empty(Family::Envelopes));
    town.held = None;
    town.send("ann", "bob", "the next");
    town.wait(Span::from_secs(1));
    let missing = town.people["bob"].events.iter();
    assert!(!missing.clone().any(|event| matches!(event, Event::Missing { .. })));
}

/// What is still on its way when its time is over is taken back, and no copy of it stays here.
#[test]
fn what_is_on_its_way_when_its_time_is_over_is_taken_back() {
    let mut town = timed();
    town.disconnect("bob");
    let number = town.send("ann", "bob", "for an hour");
    let edit = Command::Edit { number, text: "for one hour".to_owned(), ttl: TTL_DEFAULT };
    town.command("ann", edit).unwrap();
    town.wait(Span::from_mins(1));
    assert!(is_on_disk(&town, "ann", "for one hour"));
    town.wait(HOUR);
    assert!(!is_on_disk(&town, "ann", "for an hour") && !is_on_disk(&town, "ann", "for one hour"));
    assert_eq!(town.people["ann"].agent.outbox_len(), 0);
    town.connect("bob");
    town.wait(Span::from_mins(1));
    assert_eq!(texts(&town, "bob", "ann"), ["this stays"]);
    assert_eq!(overdue(&town, "bob"), 0);
}

/// An edit changes the text and not the time, and does not bring back what is gone.
#[test]
fn an_edit_of_a_message_that_disappears_outlives_it_nowhere() {
    let mut town = timed();
    town.held = Some(("bob", Vec::new()));
    let number = town.send("ann", "bob", "first");
    town.wait(Span::from_secs(1));
    town.release(0);
    for text in ["second", "third"] {
        let edit = Command::Edit { number, text: text.to_owned(), ttl: TTL_DEFAULT };
        town.command("ann", edit).unwrap();
        town.wait(Span::from_secs(1));
    }
    town.release(1);
    assert_eq!(texts(&town, "bob", "ann"), ["this stays", "second"]);
    town.wait(HOUR);
    assert_eq!(texts(&town, "bob", "ann"), ["this stays"]);
    town.release(2);
    assert!(!is_on_disk(&town, "bob", "third") && !is_on_disk(&town, "ann", "third"));
    assert!(town.people["bob"].store.is_empty(Drawer::Waiting));
}

/// Either side sets it, also off; who sets it later counts, and a clock ahead freezes nothing.
#[test]
fn the_timer_that_was_set_last_counts_on_both_sides() {
    let mut town = timed();
    set_timer(&mut town, "ann", "bob", Some(Span::DAY));
    town.wait(Span::from_secs(1));
    for (name, with) in [("ann", "bob"), ("bob", "ann")] {
        assert_eq!(timer(&town, name, with), Some(Span::DAY));
    }
    // Both at the same moment, before either has heard of the other.
    town.disconnect("ann");
    town.disconnect("bob");
    set_timer(&mut town, "ann", "bob", Some(HOUR.times(2)));
    set_timer(&mut town, "bob", "ann", Some(HOUR.times(3)));
    town.connect("ann");
    town.connect("bob");
    town.wait(Span::from_mins(1));
    assert_eq!(timer(&town, "ann", "bob"), timer(&town, "bob", "ann"));
    // Ann's clock is ahead when she sets it; what Bob sets afterwards counts for both.
    let ahead = town.now + Span::from_mins(60);
    let now = std::mem::replace(&mut town.now, ahead);
    set_timer(&mut town, "ann", "bob", Some(HOUR.times(5)));
    town.now = now;
    town.wait(Span::from_secs(1));
    assert_eq!(timer(&town, "bob", "ann"), Some(HOUR.times(5)));
    town.wait(Span::from_secs(1));
    set_timer(&mut town, "bob", "ann", None);
    town.wait(Span::from_secs(1));
    for (name, with) in [("ann", "bob"), ("bob", "ann")] {
        assert_eq!(timer(&town, name, with), None);
        town.restart(name);
        assert_eq!(timer(&town, name, with), None);
        town.connect(name);
    }
    town.send("ann", "bob", "this stays too");
    town.wait(Span::from_days(30));
    assert_eq!(texts(&town, "bob", "ann"), ["this stays", "this stays too"]);
}

#[test]
fn times_out_of_bounds_are_refused() {
    let mut town = timed();
    let contact = town.address("bob");
    for millis in [0, 4_999, 366 * 86_400_000 + 1, u64::MAX] {
        let lifetime = Some(Span::from_millis(millis));
        let command = Command::SetTimer { contact, lifetime, ttl: TTL_DEFAULT };
        assert_eq!(town.command("ann", command), Err(CommandError::Lifetime));
    }
    assert_eq!(timer(&town, "ann", "bob"), Some(HOUR));
}

/// A machine whose clock was ahead and is put right keeps nothing for longer than its time from then on.
#[test]
fn a_clock_that_was_set_back_makes_nothing_stay() {
    let mut town = timed();
    let right = town.now;
    town.now = right + Span::from_days(400);
    // Ann alone, with a clock of her own.
    town.disconnect("ann");
    for n in 0..3 {
        town.send("ann", "bob", &format!("for an hour {n}"));
    }
    let store = town.people["ann"].store.clone();
    let mut town = Town::new();
    town.now = right;
    town.add("ann", [1; 32]);
    town.people.get_mut("ann").unwrap().store = store;
    town.restart("ann");
    town.wait(HOUR - Span::from_secs(1));
    assert!(is_on_disk(&town, "ann", "for an hour 2"));
    town.wait(Span::from_secs(1));
    assert!(!is_on_disk(&town, "ann", "for an hour"));
    assert!(town.people["ann"].store.is_empty(Drawer::Fading));
}

/// However many disappear at once, each step takes a bounded number, and all are gone.
#[test]
fn a_thousand_messages_disappear_at_once() {
    let mut town = timed();
    town.disconnect("ann");
    for n in 0..1_000 {
        town.send("ann", "bob", &format!("for an hour {n}"));
    }
    town.wait(HOUR);
    assert!(!is_on_disk(&town, "ann", "for an hour"));
    assert_eq!(texts(&town, "ann", "bob"), ["this stays"]);
}
