//! Where rooms and another key of the same person meet.

use comm_proto::store::Store;

use super::super::succeeding::{friends, go_on_as, lineage, moved, tell_ann_numbered};
use super::*;

/// Ann and Bob, who are contacts, in a room of Ann's; Dan was let in when Bob was away.
fn friends_in_a_room() -> (Town, RoomId) {
    let mut town = friends();
    let room = town.found("ann", "book club");
    let text = town.invite("ann", room);
    town.join("bob", &text).unwrap();
    town.wait(Span::from_mins(2));
    town.add("dan", [44; 32]);
    town.connect("dan");
    town.wait(Span::from_secs(1));
    town.disconnect("bob");
    let text = town.invite("ann", room);
    town.join("dan", &text).unwrap();
    town.say("ann", room, "for Bob");
    town.wait(Span::from_mins(2));
    (town, room)
}

/// What was on its way to the old key answers nothing that the new one asks.
#[test]
fn a_contact_who_goes_on_under_another_key_is_let_into_rooms_again() {
    let (mut town, room) = friends_in_a_room();
    go_on_as(&mut town, "bob", "rob", 20);
    town.connect("rob");
    town.wait(Span::from_mins(1));
    assert_eq!(moved(&town, "ann").len(), 1);
    // Nobody else answers.
    town.disconnect("dan");
    let text = town.invite("ann", room);
    town.join("rob", &text).unwrap();
    town.wait(Span::from_mins(5));
    assert_eq!(town.room("rob", room).standing, RoomStanding::Member(Role::Member));
    assert_eq!(town.members("rob", room), ["ann", "bob", "dan", "rob"]);
    town.say("ann", room, "welcome");
    town.wait(Span::from_mins(1));
    assert_eq!(town.heard("rob"), of(&[("ann", "welcome")]));
}

/// What was said for a member is said to no other key, and is not said to have come to it.
#[test]
fn a_line_for_a_member_who_goes_on_under_another_key_comes_to_nobody_else() {
    let mut town = friends();
    let room = town.found("ann", "book club");
    let text = town.invite("ann", room);
    town.join("bob", &text).unwrap();
    town.wait(Span::from_mins(2));
    town.disconnect("bob");
    let line = town.say("ann", room, "for Bob");
    go_on_as(&mut town, "bob", "rob", 20);
    town.connect("rob");
    town.wait(Span::from_mins(1));
    town.connect("bob");
    town.wait(Span::from_mins(1));
    let states = town.delivered("ann", line);
    assert_eq!(states, [("rob", MessageState::Cancelled)].into());
    assert!(town.heard("bob").is_empty() && town.heard("rob").is_empty());
}

/// Rooms know the old key, and nothing is said in its name.
#[test]
fn in_a_store_whose_key_is_replaced_rooms_say_so_and_let_nobody_in() {
    let mut town = friends();
    let room = town.found("bob", "book club");
    let text = town.invite("bob", room);
    assert_eq!(go_on_as(&mut town, "bob", "rob", 20), 1);
    let rob = town.address("rob");
    let say = RoomCommand::Say {
        room,
        text: "is anybody there?".to_owned(),
        answers: None,
        ttl: TTL_DEFAULT,
    };
    let change = RoomCommand::Change { room, change: RoomChange::Rename(name("other")) };
    for command in [say, change, RoomCommand::Create(name("new"))] {
        let refused = town.command("bob", Command::Room(command));
        assert_eq!(refused, Err(CommandError::Replaced(rob)));
    }
    assert!(town.lines("bob", room).is_empty());
    town.about_room("bob", RoomCommand::MarkRead(room)).unwrap();
    town.add("dan", [44; 32]);
    town.connect("dan");
    town.connect("bob");
    let seen = |town: &Town| {
        town.people["bob"].store.scan(Drawer::Seen, &[], &[0xff; 64], 1_000).unwrap().len()
    };
    let before = seen(&town);
    town.join("dan", &text).unwrap();
    town.wait(Span::from_mins(5));
    assert_eq!(town.members("bob", room), ["bob"]);
    assert_eq!(seen(&town), before, "it stays where it is");
}

/// Their notes and what they say alone have numbers of one conversation.
#[test]
fn a_key_that_was_known_from_a_room_goes_on_counting_when_a_contact_goes_on_under_it() {
    let mut town = friends();
    town.accepts = false;
    let room = town.found("ann", "book club");
    town.add("rob", [20; 32]);
    town.connect("rob");
    let text = town.invite("ann", room);
    town.join("rob", &text).unwrap();
    town.wait(Span::from_mins(2));
    for number in 0..3 {
        town.say("rob", room, &format!("line {number}"));
        town.wait(Span::from_mins(1));
    }
    let body = lineage(&town, &[2, 20]);
    tell_ann_numbered(&mut town, 20, 1, ContentType::SUCCESSION, body);
    assert_eq!(moved(&town, "ann").len(), 1);
    town.say("rob", room, "line 3");
    town.wait(Span::from_mins(1));
    assert_eq!(town.heard("ann").len(), 4);
    assert!(!town.people["ann"].events.iter().any(|e| matches!(e, Event::Missing { .. })));
}
