//! What people say of themselves (PROTOCOL §4.22).

use comm_proto::profile::{Profile, ProfileError};

use super::succeeding::{friends, only_contact, tell_ann_of};
use super::*;

fn set(town: &mut Town, name: &str, status: &str) -> Result<Outcome, CommandError> {
    let (name, status) = (name.to_owned(), status.to_owned());
    town.command("bob", Command::SetProfile { name, status })
}

/// What Ann is shown of Bob.
fn shown(town: &Town) -> Option<(Option<String>, String)> {
    let profile = only_contact(town, "ann").profile?;
    Some((profile.name().map(str::to_owned), profile.status().to_owned()))
}

fn is(name: &str, status: &str) -> Option<(Option<String>, String)> {
    Some((Some(name.to_owned()), status.to_owned()))
}

/// A15: also after the first letter has expired, and the last counts.
#[test]
fn a_profile_reaches_whoever_was_away_and_renames_nobody() {
    let mut town = friends();
    town.disconnect("ann");
    set(&mut town, "Robert", "on the road").unwrap();
    town.wait(Span::from_days(40));
    set(&mut town, "Bobby", "home again").unwrap();
    town.connect("ann");
    town.wait(Span::HOUR);
    assert_eq!(shown(&town), is("Bobby", "home again"));
    assert_eq!(only_contact(&town, "ann").name, "bob", "a name that was given stays");
    assert_eq!(town.people["bob"].agent.outbox_len(), 0);
    let events = |town: &Town| {
        let is_one = |event: &&Event| matches!(event, Event::Profiled { .. });
        town.people["ann"].events.iter().filter(is_one).count()
    };
    let (told, said) = (events(&town), town.history("ann", "bob").len());
    town.restart("ann");
    town.restart("bob");
    for name in ["ann", "bob"] {
        town.connect(name);
    }
    town.wait(Span::from_days(2));
    assert_eq!(shown(&town), is("Bobby", "home again"));
    assert_eq!((events(&town), town.history("ann", "bob").len()), (told, said), "told once");
    set(&mut town, "", "").unwrap();
    town.wait(Span::from_mins(1));
    assert_eq!(shown(&town), Some((None, String::new())));
    for (name, status, reason) in
        [("a b", "", ProfileError::Name), ("bob", "a\nb", ProfileError::Status)]
    {
        assert_eq!(set(&mut town, name, status), Err(CommandError::Profile(reason)));
    }
}

/// A15: else its owner could say nothing more for 75 years.
#[test]
fn a_profile_dated_2100_is_not_taken_and_freezes_nothing() {
    let mut town = friends();
    let bob = Identity::from_seed(&[2; 32]);
    let in_2100 = Time::from_millis(4_102_444_800_000);
    for (made_at, is_taken) in
        [(in_2100, false), (town.now + Span::HOUR.times(4), false), (town.now + Span::HOUR, true)]
    {
        let body = Profile::new("later", "", made_at).unwrap().sign(bob.key());
        tell_ann_of(&mut town, 2, ContentType::PROFILE, body);
        assert_eq!(shown(&town).is_some(), is_taken, "{made_at:?}");
    }
    town.wait(Span::HOUR.times(2));
    set(&mut town, "bob", "here").unwrap();
    town.wait(Span::from_mins(1));
    assert_eq!(shown(&town), is("bob", "here"));
    // An older one again, and one that somebody else has signed.
    let older = Profile::new("older", "", town.now - Span::HOUR).unwrap();
    tell_ann_of(&mut town, 2, ContentType::PROFILE, older.sign(bob.key()));
    let mallory = Identity::from_seed(&[66; 32]);
    let foreign = Profile::new("foreign", "", town.now + Span::HOUR).unwrap();
    tell_ann_of(&mut town, 2, ContentType::PROFILE, foreign.sign(mallory.key()));
    assert_eq!(shown(&town), is("bob", "here"));
}

/// A15: what Bob's clock dated ahead is dated anew once the clock is right.
#[test]
fn a_profile_that_a_wrong_clock_dated_ahead_is_told_when_the_clock_is_right() {
    let mut town = friends();
    town.disconnect("bob");
    let now = town.now;
    town.now = now + Span::from_days(300);
    set(&mut town, "Robert", "").unwrap();
    town.now = now + Span::HOUR;
    town.connect("bob");
    town.wait(Span::HOUR);
    assert_eq!(shown(&town), is("Robert", ""));
}

/// A15: a stranger who asks shows nothing, and is told nothing.
#[test]
fn strangers_neither_show_a_profile_nor_are_told_one() {
    let mut town = Town::with(&["ann", "bob"]);
    town.accepts = false;
    set(&mut town, "Robert", "").unwrap();
    town.send("bob", "ann", "let me in");
    town.wait(Span::from_mins(1));
    assert!(town.people["ann"].agent.contacts().is_empty());
    let requests = town.people["ann"].agent.requests(&town.people["ann"].store).unwrap();
    assert_eq!(requests[0].messages, 1);
    let contact = town.address("bob");
    town.command("ann", Command::Accept { contact, name: None }).unwrap();
    town.wait(Span::HOUR.times(2));
    assert_eq!(shown(&town), None, "that she has let him in is nothing he knows");
    town.send("ann", "bob", "welcome");
    town.wait(Span::from_mins(1));
    assert_eq!(shown(&town), is("Robert", ""));
}
