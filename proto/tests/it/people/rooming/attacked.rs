//! What people try with invitations and with programs of their own, against whole programs.

use comm_proto::room::{InvitationError, Refusal};

use super::*;

impl Town {
    fn refusals(&self, who: &str) -> Vec<Refusal> {
        let events = self.room_events(who).into_iter();
        let refusals = events.filter_map(|event| match event {
            RoomEvent::NotLetIn { reason, .. } => Some(reason),
            _ => None,
        });
        refusals.collect()
    }
}

/// E10: once, not after its time, not after it was taken back, and not with a changed character.
#[test]
fn an_invitation_is_good_for_one_person_until_it_ends_or_is_revoked() {
    let mut town = Town::with(&["ann", "bob", "cid"]);
    let room = town.found("ann", "book club");
    let text = town.invite("ann", room);
    town.join("bob", &text).unwrap();
    town.wait(Span::from_mins(2));
    assert_eq!(town.members("ann", room), ["ann", "bob"]);
    // Used.
    town.join("cid", &text).unwrap();
    town.wait(Span::from_mins(5));
    assert_eq!(town.refusals("cid"), [Refusal::Used]);
    // Revoked.
    let text = town.invite("ann", room);
    let token = Invitation::parse(&text).unwrap().token();
    town.change("ann", room, RoomChange::Revoke(token)).unwrap();
    town.join("cid", &text).unwrap();
    town.wait(Span::from_mins(5));
    assert_eq!(town.refusals("cid").last(), Some(&Refusal::Revoked));
    // Expired, by the clock of whoever is asked.
    let text = town.invite("ann", room);
    town.wait(Span::from_days(7));
    town.join("cid", &text).unwrap();
    town.wait(Span::from_mins(5));
    assert_eq!(town.refusals("cid").last(), Some(&Refusal::Expired));
    town.wait(Span::from_days(1));
    let late = town.join("cid", &text);
    assert_eq!(late, Err(RoomError::Invitation(InvitationError::Expired)));
    // Changed.
    let text = town.invite("ann", room);
    let changed = text.replacen(&text[40..41], if &text[40..41] == "0" { "1" } else { "0" }, 1);
    assert!(changed != text && Invitation::parse(&changed).is_err());
    assert_eq!(town.members("ann", room), ["ann", "bob"]);
    assert!(matches!(town.room("cid", room).standing, RoomStanding::Asking { .. }));
}

/// E8: the request of somebody who was let in and removed, said again by whoever recorded it, lets nobody in.
#[test]
fn a_recorded_join_lets_nobody_in() {
    let mut town = Town::with(&["ann", "bob"]);
    let room = town.found("ann", "book club");
    let text = town.invite("ann", room);
    town.held = Some(("ann", Vec::new()));
    town.join("bob", &text).unwrap();
    town.wait(Span::from_mins(1));
    assert_eq!(town.held.as_ref().unwrap().1.len(), 1);
    town.release(0);
    town.wait(Span::from_mins(1));
    assert_eq!(town.members("ann", room), ["ann", "bob"]);
    let bob = town.address("bob");
    town.change("ann", room, RoomChange::Remove(bob)).unwrap();
    for _ in 0..3 {
        town.release(0);
        town.wait(Span::from_mins(2));
    }
    assert_eq!(town.members("ann", room), ["ann"]);
    // Nor do the same words in a new envelope.
    town.held = None;
    town.join("bob", &text).unwrap();
    town.wait(Span::from_mins(2));
    assert_eq!(town.members("ann", room), ["ann"]);
}

/// E8: an answer about another room than the one that was asked for brings nobody anywhere.
#[test]
fn an_answer_for_another_room_brings_nobody_in() {
    let mut town = Town::with(&["ann", "bob"]);
    let (one, other) = (town.found("ann", "one"), town.found("ann", "other"));
    let text = town.invite("ann", one);
    town.disconnect("ann");
    town.join("bob", &text).unwrap();
    town.connect("ann");
    town.invite("ann", other);
    town.wait(Span::from_mins(2));
    assert_eq!(town.members("bob", one), ["ann", "bob"]);
    assert_eq!(town.people["bob"].agent.rooms().len(), 1);
    assert_eq!(town.members("ann", other), ["ann"]);
    // What is said in the room where Bob is not comes to nobody but Ann herself.
    let line = town.say("ann", other, "alone");
    town.wait(Span::from_mins(1));
    assert!(town.delivered("ann", line).is_empty() && town.heard("bob").is_empty());
}

/// Whoever knows a room's id and nothing else is told nothing, and leaves no trace with anybody.
#[test]
fn a_stranger_learns_nothing_and_asks_nothing_of_a_room() {
    let (mut town, room) = three_in_a_room();
    town.add("eve", [66; 32]);
    town.connect("eve");
    let ann = town.people["ann"].agent.room_members(&room)[0].key;
    let expires_at = town.now + Span::DAY;
    let made_up = Invitation::new(room, ann, vec![town.address("bob")], [7; 32], expires_at);
    town.join("eve", &made_up.text()).unwrap();
    town.wait(Span::from_mins(10));
    assert_eq!(town.refusals("eve"), []);
    for who in ["ann", "bob"] {
        let asked = |event: &Event| matches!(event, Event::Requested { .. });
        assert!(!town.people[who].events.iter().any(asked), "{who}");
        assert_eq!(town.members(who, room), ["ann", "bob", "cid"]);
    }
}

/// A second program with an old copy of an admin's data goes on beside the first: all are shown that they have.
#[test]
fn a_log_that_an_admin_forks_is_shown_to_everybody() {
    let (mut town, room) = three_in_a_room();
    let bob = town.address("bob");
    town.change("ann", room, RoomChange::Appoint { member: bob, role: Office::Admin }).unwrap();
    town.wait(Span::from_mins(1));
    let copy = town.people["bob"].store.clone();
    town.disconnect("cid");
    town.change("bob", room, RoomChange::Rename(name("for you"))).unwrap();
    town.wait(Span::from_mins(1));
    town.disconnect("bob");
    town.people.get_mut("bob").unwrap().store = copy;
    town.restart("bob");
    town.change("bob", room, RoomChange::Rename(name("for others"))).unwrap();
    town.connect("bob");
    town.connect("cid");
    town.wait(Span::from_mins(10));
    for who in ["ann", "cid"] {
        let forks = town
            .room_events(who)
            .into_iter()
            .filter(|event| matches!(event, RoomEvent::Forked { by, .. } if *by == bob));
        assert_eq!(forks.count(), 1, "{who}");
        let members = town.people[who].agent.room_members(&room);
        assert!(members.iter().all(|member| member.has_forked == (member.address == bob)));
    }
    assert_eq!(town.room("ann", room).name, town.room("cid", room).name);
}
