//! Who gets in, who does not, and what comes before that is known.

use comm_proto::room::Refusal;

use super::*;

/// An answer, or a change of somebody whose admission is still on its way.
#[test]
fn what_a_contact_changes_in_a_room_before_their_admission_is_known_comes_again() {
    let mut town = Town::with(&["ann", "bob", "cid"]);
    for (one, other) in [("bob", "cid"), ("cid", "bob")] {
        let (name, address) = (other.to_owned(), town.address(other));
        town.command(one, Command::AddContact { name, address, key: None }).unwrap();
        town.send(one, other, "hello");
        town.wait(Span::from_mins(1));
    }
    let room = town.found("ann", "book club");
    let text = town.invite("ann", room);
    town.join("bob", &text).unwrap();
    town.wait(Span::from_mins(2));
    let text = town.invite("ann", room);
    town.wait(Span::from_mins(1));
    town.held = Some(("bob", Vec::new()));
    town.join("cid", &text).unwrap();
    town.wait(Span::from_mins(2));
    assert_eq!(town.held.as_ref().unwrap().1.len(), 2, "Cid asks Bob, too, and Ann lets Cid in");
    town.invite("cid", room);
    town.wait(Span::from_secs(10));
    assert_eq!(town.held.as_ref().unwrap().1.len(), 3);
    town.release(2);
    town.release(1);
    town.held = None;
    // What was left comes again with the next connection.
    town.disconnect("bob");
    town.connect("bob");
    town.wait(Span::from_mins(2));
    let invitations = town.people["bob"].agent.room_invitations(&room, town.now);
    let by: Vec<_> = invitations.iter().map(|invitation| invitation.by).collect();
    assert_eq!(by, [town.address("cid")]);
    assert!(!town.room("bob", room).is_lacking);
}

/// Whoever forgets that they have asked, and asks again.
#[test]
fn to_forget_a_room_and_to_ask_again_is_to_ask_once() {
    let mut town = Town::with(&["ann", "bob"]);
    town.accepts = false;
    let room = town.found("ann", "book club");
    let text = town.invite("ann", room);
    town.disconnect("ann");
    town.join("bob", &text).unwrap();
    town.wait(Span::from_mins(1));
    town.about_room("bob", RoomCommand::Forget(room)).unwrap();
    town.join("bob", &text).unwrap();
    town.wait(Span::from_mins(1));
    town.connect("ann");
    town.wait(Span::from_mins(5));
    assert_eq!(town.members("ann", room), ["ann", "bob"]);
    assert_eq!(town.room("bob", room).standing, RoomStanding::Member(Role::Member));
}

/// Whichever of them is answered, also after a restart.
#[test]
fn whoever_asks_with_two_invitations_is_let_in_by_either() {
    for restarts in [false, true] {
        let mut town = Town::with(&["ann", "bob"]);
        town.accepts = false;
        let room = town.found("ann", "book club");
        let (one, other) = (town.invite("ann", room), town.invite("ann", room));
        town.disconnect("ann");
        for text in [&one, &other] {
            town.join("bob", text).unwrap();
            town.wait(Span::from_mins(1));
        }
        if restarts {
            town.restart("bob");
            town.connect("bob");
        }
        town.connect("ann");
        town.wait(Span::from_mins(5));
        assert_eq!(town.members("ann", room), ["ann", "bob"]);
        assert_eq!(town.room("bob", room).standing, RoomStanding::Member(Role::Member));
        town.say("ann", room, "welcome");
        town.wait(Span::from_mins(1));
        assert_eq!(town.heard("bob"), of(&[("ann", "welcome")]));
    }
}

/// What they are told says what is the matter.
#[test]
fn a_member_who_has_lost_their_data_is_told_that_they_are_one_and_comes_back_once_removed() {
    let mut town = Town::with(&["ann", "bob"]);
    town.accepts = false;
    let room = town.found("ann", "book club");
    let text = town.invite("ann", room);
    town.join("bob", &text).unwrap();
    town.wait(Span::from_mins(2));
    town.disconnect("bob");
    town.people.get_mut("bob").unwrap().store = comm_proto::store::MemoryStore::new();
    town.restart("bob");
    town.connect("bob");
    // Until then others seal to prekeys that are lost.
    town.wait(Span::from_days(15));
    let again = town.invite("ann", room);
    town.join("bob", &again).unwrap();
    town.wait(Span::from_mins(5));
    let is_refusal = |event: &RoomEvent| {
        matches!(event, RoomEvent::NotLetIn { reason: Refusal::AlreadyMember, .. })
    };
    assert!(town.room_events("bob").iter().any(is_refusal));
    let bob = town.address("bob");
    town.change("ann", room, RoomChange::Remove(bob)).unwrap();
    let text = town.invite("ann", room);
    town.join("bob", &text).unwrap();
    town.wait(Span::from_mins(5));
    assert_eq!(town.room("bob", room).standing, RoomStanding::Member(Role::Member));
}

/// What they say then has numbers that they have not used before, whatever they have said.
#[test]
fn a_member_who_has_lost_their_data_is_heard_once_the_invitation_that_let_them_in_does_again() {
    let mut town = Town::with(&["ann", "bob"]);
    town.accepts = false;
    let room = town.found("ann", "book club");
    let text = town.invite_for("ann", room, Span::from_days(30));
    town.join("bob", &text).unwrap();
    town.wait(Span::from_mins(2));
    for line in ["one", "two", "three"] {
        town.say("bob", room, line);
    }
    town.wait(Span::from_mins(1));
    town.disconnect("bob");
    town.people.get_mut("bob").unwrap().store = comm_proto::store::MemoryStore::new();
    town.restart("bob");
    town.connect("bob");
    // Until then others seal to prekeys that are lost.
    town.wait(Span::from_days(15));
    town.join("bob", &text).unwrap();
    town.wait(Span::from_mins(5));
    assert_eq!(town.room("bob", room).standing, RoomStanding::Member(Role::Member));
    town.say("bob", room, "four");
    town.wait(Span::from_mins(1));
    let all = [("bob", "one"), ("bob", "two"), ("bob", "three"), ("bob", "four")];
    assert_eq!(town.heard("ann"), of(&all));
}

/// What others have said to whoever has left is no loss to anybody.
#[test]
fn lines_that_cross_somebodys_leaving_are_not_missing_between_the_two() {
    let mut town = Town::with(&["ann", "bob"]);
    let room = town.found("ann", "book club");
    let text = town.invite("ann", room);
    town.join("bob", &text).unwrap();
    town.wait(Span::from_mins(2));
    town.send("ann", "bob", "hello");
    town.send("bob", "ann", "hello");
    town.wait(Span::from_mins(1));
    town.disconnect("ann");
    for line in ["one", "two", "three"] {
        town.say("ann", room, line);
    }
    town.change("bob", room, RoomChange::Leave).unwrap();
    town.wait(Span::from_mins(1));
    town.connect("ann");
    town.wait(Span::from_mins(1));
    town.send("ann", "bob", "where are you?");
    town.wait(Span::from_mins(1));
    assert_eq!(town.texts("bob"), ["hello", "where are you?"]);
    let is_missing = |event: &Event| matches!(event, Event::Missing { .. });
    assert!(!town.people["bob"].events.iter().any(is_missing));
}

/// Else they sit in a room of their own for good.
#[test]
fn whoever_was_let_in_by_somebody_who_had_no_right_to_it_any_more_learns_that_they_are_not_in() {
    let mut town = Town::with(&["ann", "bob", "dan"]);
    town.accepts = false;
    let room = town.found("ann", "book club");
    let text = town.invite("ann", room);
    town.join("bob", &text).unwrap();
    town.wait(Span::from_mins(2));
    let text = town.invite("bob", room);
    town.wait(Span::from_mins(1));
    town.disconnect("ann");
    let bob = town.address("bob");
    town.change("ann", room, RoomChange::Remove(bob)).unwrap();
    town.join("dan", &text).unwrap();
    town.wait(Span::from_mins(2));
    assert_eq!(town.members("dan", room), ["ann", "bob", "dan"]);
    town.disconnect("bob");
    town.connect("ann");
    town.connect("bob");
    town.wait(Span::from_mins(5));
    assert_eq!(town.members("ann", room), ["ann"]);
    assert_eq!(town.room("dan", room).standing, RoomStanding::Former);
    // That makes nobody known.
    let dan = Identity::from_seed(&[3; 32]).address();
    assert!(town.people["ann"].agent.contact(&dan).is_none());
    assert_eq!(town.on_their_way("ann"), 0);
}
