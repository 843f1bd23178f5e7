//! Rooms of whole programs: what people do and see, who is away, what a disk or a relay loses.

mod attacked;
mod bounds;
mod crashing;
mod doors;
mod keys;

use std::collections::BTreeMap;

use comm_proto::agent::{
    Room, RoomChange, RoomCommand, RoomError, RoomEvent, RoomLine, RoomOutcome, RoomStanding, Words,
};
use comm_proto::room::{Invitation, Office, Policy, Role, RoomId, RoomName};

use super::*;

pub(super) fn name(text: &str) -> RoomName {
    RoomName::new(text.to_owned()).unwrap()
}

impl Town {
    pub(super) fn about_room(
        &mut self,
        who: &'static str,
        command: RoomCommand,
    ) -> Result<RoomOutcome, RoomError> {
        match self.command(who, Command::Room(command)) {
            Ok(Outcome::Room(outcome)) => Ok(outcome),
            Err(CommandError::Room(error)) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn found(&mut self, who: &'static str, called: &str) -> RoomId {
        match self.about_room(who, RoomCommand::Create(name(called))).unwrap() {
            RoomOutcome::Room(room) => room.id,
            other => panic!("{other:?}"),
        }
    }

    /// The text that is handed to one person.
    pub(super) fn invite(&mut self, who: &'static str, room: RoomId) -> String {
        self.invite_for(who, room, Span::from_days(7))
    }

    pub(super) fn invite_for(&mut self, who: &'static str, room: RoomId, lifetime: Span) -> String {
        let command = RoomCommand::Invite { room, lifetime };
        match self.about_room(who, command).unwrap() {
            RoomOutcome::Invited(invitation) => invitation.text().to_string(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn join(&mut self, who: &'static str, text: &str) -> Result<RoomOutcome, RoomError> {
        let invitation = Box::new(Invitation::parse(text).unwrap());
        self.about_room(who, RoomCommand::Join(invitation))
    }

    pub(super) fn change(
        &mut self,
        who: &'static str,
        room: RoomId,
        change: RoomChange,
    ) -> Result<RoomOutcome, RoomError> {
        self.about_room(who, RoomCommand::Change { room, change })
    }

    pub(super) fn say(&mut self, who: &'static str, room: RoomId, text: &str) -> MessageNumber {
        let text = text.to_owned();
        let command = RoomCommand::Say { room, text, answers: None, ttl: TTL_DEFAULT };
        match self.about_room(who, command).unwrap() {
            RoomOutcome::Said(line) => line.entry.number,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn room_events(&self, who: &str) -> Vec<RoomEvent> {
        let events = self.people[who].events.iter();
        let of_rooms = events.filter_map(|event| match event {
            Event::Room(event) => Some(event.clone()),
            _ => None,
        });
        of_rooms.collect()
    }

    /// What somebody was shown in rooms: who said it, and what.
    pub(super) fn heard(&self, who: &str) -> Vec<(String, String)> {
        let said = |event| match event {
            RoomEvent::Said(line) => Some(self.author_and_text(&line)),
            _ => None,
        };
        self.room_events(who).into_iter().filter_map(said).collect()
    }

    fn author_and_text(&self, line: &RoomLine) -> (String, String) {
        let author = self.people.iter().find(|(_, p)| p.agent.address() == line.entry.contact);
        (author.unwrap().0.to_string(), String::from_utf8(line.entry.body.clone()).unwrap())
    }

    pub(super) fn lines(&self, who: &str, room: RoomId) -> Vec<(String, String)> {
        let person = &self.people[who];
        let lines = person.agent.room_history(&person.store, &room, None, 1_000).unwrap();
        lines.iter().map(|line| self.author_and_text(line)).collect()
    }

    pub(super) fn room(&self, who: &str, room: RoomId) -> Room {
        self.people[who].agent.room(&room).unwrap()
    }

    pub(super) fn members(&self, who: &str, room: RoomId) -> Vec<&'static str> {
        let members = self.people[who].agent.room_members(&room);
        let mut names: Vec<_> = members
            .iter()
            .map(|member| {
                let found = self.people.iter().find(|(_, p)| p.agent.address() == member.address);
                *found.unwrap().0
            })
            .collect();
        names.sort();
        names
    }

    /// How far a line has come to each member, by their names.
    fn delivered(&self, who: &str, line: MessageNumber) -> BTreeMap<&'static str, MessageState> {
        let person = &self.people[who];
        let line = person.agent.room_line(&person.store, line).unwrap().unwrap();
        let named = |delivery: comm_proto::agent::Delivery| {
            let found = self.people.iter().find(|(_, p)| p.agent.address() == delivery.member);
            (*found.unwrap().0, delivery.state)
        };
        line.deliveries.into_iter().map(named).collect()
    }
}

pub(super) fn of(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(author, text)| ((*author).to_owned(), (*text).to_owned())).collect()
}

/// A room of Ann's with Bob and Cid in it; nobody is anybody's contact.
pub(super) fn three_in_a_room() -> (Town, RoomId) {
    let mut town = Town::with(&["ann", "bob", "cid"]);
    town.accepts = false;
    let room = town.found("ann", "book club");
    for who in ["bob", "cid"] {
        let text = town.invite("ann", room);
        town.join(who, &text).unwrap();
        town.wait(Span::from_mins(2));
        assert!(matches!(town.room(who, room).standing, RoomStanding::Member(Role::Member)));
    }
    (town, room)
}

/// E4, E8: whoever invited is away all the while; another member lets in, and everybody has everything once.
#[test]
fn somebody_joins_while_whoever_invited_is_away_and_every_line_comes_once_with_its_author() {
    let mut town = Town::with(&["ann", "bob", "cid"]);
    town.accepts = false;
    let room = town.found("ann", "book club");
    let for_bob = town.invite("ann", room);
    town.join("bob", &for_bob).unwrap();
    town.wait(Span::from_mins(2));
    town.say("ann", room, "before Cid");
    let for_cid = town.invite("ann", room);
    town.wait(Span::from_mins(1));
    town.disconnect("ann");
    town.join("cid", &for_cid).unwrap();
    town.wait(Span::from_mins(2));
    assert_eq!(town.members("cid", room), ["ann", "bob", "cid"]);
    town.say("cid", room, "here I am");
    town.say("bob", room, "welcome");
    town.wait(Span::from_mins(2));
    assert_eq!(town.heard("cid"), of(&[("bob", "welcome")]), "nothing from before");
    town.disconnect("cid");
    town.connect("ann");
    town.wait(Span::from_mins(5));
    assert_eq!(town.members("ann", room), ["ann", "bob", "cid"]);
    let mut heard = town.heard("ann");
    heard.sort();
    assert_eq!(heard, of(&[("bob", "welcome"), ("cid", "here I am")]));
    assert_eq!(town.lines("bob", room).len(), 3);
    for who in ["ann", "bob", "cid"] {
        // Rooms ask nobody to be let in, and make nobody a contact.
        assert!(town.people[who].agent.contacts().is_empty(), "{who}");
        let asked =
            |event: &Event| matches!(event, Event::Requested { .. } | Event::Missing { .. });
        assert!(!town.people[who].events.iter().any(asked), "{who}");
    }
}

/// E5, E15: what is said after a removal is sealed for those who are left, and for nobody else.
#[test]
fn a_removed_member_gets_nothing_newer_and_knows() {
    let (mut town, room) = three_in_a_room();
    town.say("ann", room, "for all");
    town.wait(Span::from_mins(1));
    let cid = town.address("cid");
    town.change("ann", room, RoomChange::Remove(cid)).unwrap();
    let line = town.say("ann", room, "for Bob");
    town.wait(Span::from_mins(5));
    assert_eq!(town.delivered("ann", line).keys().copied().collect::<Vec<_>>(), ["bob"]);
    assert_eq!(town.heard("cid"), of(&[("ann", "for all")]));
    assert_eq!(town.heard("bob"), of(&[("ann", "for all"), ("ann", "for Bob")]));
    assert_eq!(town.room("cid", room).standing, RoomStanding::Former);
    let text = "still here?".to_owned();
    let command = RoomCommand::Say { room, text, answers: None, ttl: TTL_DEFAULT };
    assert_eq!(town.about_room("cid", command), Err(RoomError::NoMember));
    // By a new invitation they are back, and hear what is said from then on.
    let text = town.invite("bob", room);
    town.join("cid", &text).unwrap();
    town.wait(Span::from_mins(2));
    town.say("ann", room, "again");
    town.wait(Span::from_mins(2));
    assert_eq!(town.heard("cid"), of(&[("ann", "for all"), ("ann", "again")]));
    assert_eq!(town.lines("cid", room).len(), 2);
}

/// How far a line has come is known of each member.
#[test]
fn a_line_has_a_state_for_each_member() {
    let (mut town, room) = three_in_a_room();
    town.disconnect("cid");
    let line = town.say("ann", room, "hello");
    town.wait(Span::from_mins(1));
    let states = town.delivered("ann", line);
    assert!(matches!(states["bob"], MessageState::Delivered { .. }), "{states:?}");
    assert_eq!(states["cid"], MessageState::Accepted);
    let told = town.room_events("ann").into_iter().any(|event| {
        matches!(event, RoomEvent::Delivery { line: number, state: MessageState::Delivered { .. }, .. }
            if number == line)
    });
    assert!(told);
    town.restart("ann");
    town.connect("ann");
    town.connect("cid");
    town.wait(Span::from_mins(1));
    let states = town.delivered("ann", line);
    assert!(states.values().all(|state| matches!(state, MessageState::Delivered { .. })));
    assert_eq!(town.people["ann"].agent.outbox_len(), 0);
}

/// Whatever is done, a restart of everybody after it changes nothing.
#[test]
fn a_room_is_there_again_after_a_restart_at_any_time() {
    let mut town = Town::with(&["ann", "bob"]);
    let again = |town: &mut Town| {
        for who in ["ann", "bob"] {
            town.restart(who);
            town.connect(who);
        }
        town.wait(Span::from_mins(2));
    };
    let room = town.found("ann", "book club");
    again(&mut town);
    let text = town.invite("ann", room);
    again(&mut town);
    town.disconnect("ann");
    town.join("bob", &text).unwrap();
    town.restart("bob");
    assert!(matches!(town.room("bob", room).standing, RoomStanding::Asking { .. }));
    again(&mut town);
    assert_eq!(town.members("bob", room), ["ann", "bob"]);
    for round in 0..3 {
        town.say("bob", room, &format!("line {round}"));
        again(&mut town);
    }
    town.change("ann", room, RoomChange::Rename(name("reading"))).unwrap();
    again(&mut town);
    assert_eq!(town.room("bob", room).name, Some(name("reading")));
    assert_eq!(
        town.lines("ann", room),
        of(&[("bob", "line 0"), ("bob", "line 1"), ("bob", "line 2")])
    );
    assert_eq!(town.room("ann", room).unread, 3);
    town.about_room("ann", RoomCommand::MarkRead(room)).unwrap();
    again(&mut town);
    assert_eq!(town.room("ann", room).unread, 0);
    assert_eq!(town.heard("ann").len(), 3, "each is told once");
}

/// E5, E14: roles, lock, name, leaving: what each may do, and what the others see of it.
#[test]
fn members_change_the_room_as_far_as_their_role_allows_and_all_see_it() {
    let (mut town, room) = three_in_a_room();
    let (bob, cid) = (town.address("bob"), town.address("cid"));
    let refused =
        |result: Result<RoomOutcome, RoomError>| matches!(result, Err(RoomError::Refused(_)));
    assert!(refused(town.change("bob", room, RoomChange::Rename(name("mine")))));
    assert!(refused(town.change("bob", room, RoomChange::Remove(cid))));
    let appoint = RoomChange::Appoint { member: bob, role: Office::Admin };
    assert!(refused(town.change("bob", room, appoint.clone())));
    town.change("ann", room, appoint).unwrap();
    town.wait(Span::from_mins(1));
    town.change("bob", room, RoomChange::Rename(name("reading"))).unwrap();
    town.change("bob", room, RoomChange::Decide(Policy::Nobody)).unwrap();
    town.wait(Span::from_mins(1));
    let lifetime = Span::DAY;
    assert!(refused(town.about_room("cid", RoomCommand::Invite { room, lifetime })));
    assert!(refused(town.change("ann", room, RoomChange::Leave)), "the owner stays");
    town.change("cid", room, RoomChange::Leave).unwrap();
    town.wait(Span::from_mins(1));
    for who in ["ann", "bob"] {
        let known = town.room(who, room);
        assert_eq!((known.members, known.policy), (2, Policy::Nobody));
        assert_eq!(known.name, Some(name("reading")));
        assert_eq!(town.members(who, room), ["ann", "bob"]);
    }
    let changes = town
        .room_events("ann")
        .into_iter()
        .filter(|event| matches!(event, RoomEvent::Changed { by, .. } if *by == bob || *by == cid));
    assert_eq!(changes.count(), 3);
    assert_eq!(town.about_room("ann", RoomCommand::Forget(room)), Err(RoomError::StillMember));
    town.about_room("cid", RoomCommand::Forget(room)).unwrap();
    assert!(town.people["cid"].agent.rooms().is_empty());
    town.restart("cid");
    assert!(town.people["cid"].agent.rooms().is_empty());
}

/// E17: what a member writes to another alone asks first, as a stranger's does; after that it is a conversation.
#[test]
fn a_member_who_writes_to_another_alone_asks_first() {
    let (mut town, room) = three_in_a_room();
    town.send("bob", "cid", "a word in private");
    town.wait(Span::from_mins(1));
    assert_eq!(town.texts("cid"), Vec::<String>::new());
    let requests = town.people["cid"].agent.requests(&town.people["cid"].store).unwrap();
    assert_eq!(requests.len(), 1);
    // What they say in the room is heard meanwhile, and after a refusal.
    town.say("bob", room, "one");
    town.wait(Span::from_mins(1));
    let bob = town.address("bob");
    town.command("cid", Command::Refuse(bob)).unwrap();
    town.say("bob", room, "two");
    town.wait(Span::from_mins(1));
    assert_eq!(town.heard("cid"), of(&[("bob", "one"), ("bob", "two")]));
    // Whoever is blocked is not heard anywhere.
    town.command("cid", Command::Block(bob)).unwrap();
    town.say("bob", room, "three");
    town.wait(Span::from_mins(1));
    assert_eq!(town.heard("cid").len(), 2);
    town.command("cid", Command::Unblock(bob)).unwrap();
    town.disconnect("cid");
    town.connect("cid");
    town.wait(Span::from_mins(1));
    assert_eq!(town.heard("cid").len(), 3);
    assert!(town.people["cid"].agent.contacts().is_empty());
}

/// E17, E38: that they are in a room together changes nothing of that.
#[test]
fn what_was_said_with_a_member_alone_is_there_after_they_were_blocked_and_unblocked() {
    let (mut town, _) = three_in_a_room();
    town.accepts = true;
    town.send("bob", "cid", "a word in private");
    town.wait(Span::from_mins(1));
    let cid = town.address("cid");
    town.command("bob", Command::Block(cid)).unwrap();
    let unblocked = town.command("bob", Command::Unblock(cid)).unwrap();
    assert_eq!(unblocked, Outcome::Unblocked { contact: cid, is_contact: true });
    assert_eq!(town.history("bob", "cid").len(), 1);
    // Whom one has removed is no contact by that.
    town.command("bob", Command::RemoveContact(cid)).unwrap();
    town.wait(Span::from_days(32));
    town.command("bob", Command::Block(cid)).unwrap();
    let unblocked = town.command("bob", Command::Unblock(cid)).unwrap();
    assert_eq!(unblocked, Outcome::Unblocked { contact: cid, is_contact: false });
    assert!(town.people["bob"].agent.contacts().is_empty());
}

/// E4: each author's lines in their order, with what is missing.
#[test]
fn a_line_that_comes_late_stands_before_the_next_of_its_author() {
    let (mut town, room) = three_in_a_room();
    town.say("ann", room, "zero");
    town.wait(Span::from_mins(1));
    town.held = Some(("bob", Vec::new()));
    for text in ["one", "two", "three"] {
        town.say("ann", room, text);
        town.wait(Span::from_secs(1));
    }
    town.release(0);
    town.release(2);
    town.release(2);
    let person = &town.people["bob"];
    let lines = person.agent.room_history(&person.store, &room, None, 10).unwrap();
    let Author::Them { missing_before, .. } = lines.last().unwrap().entry.author else { panic!() };
    assert_eq!(missing_before, 1);
    let members = person.agent.room_members(&room);
    let missing =
        |who: &str| members.iter().find(|m| m.address == town.address(who)).unwrap().missing;
    assert_eq!((missing("ann"), missing("cid")), (1, 0));
    town.release(1);
    let expected = [("ann", "zero"), ("ann", "one"), ("ann", "two"), ("ann", "three")];
    assert_eq!(town.lines("bob", room), of(&expected));
    assert_eq!(town.heard("bob").len(), 4);
    let page = |before| {
        let person = &town.people["bob"];
        let page = person.agent.room_history(&person.store, &room, before, 2).unwrap();
        page.into_iter().map(|line| line.entry.number).collect::<Vec<_>>()
    };
    let last = page(None);
    assert_eq!((last.len(), page(Some(last[0])).len()), (2, 2));
    let person = &town.people["bob"];
    let words = Words::new("THREE").unwrap();
    let found = person.agent.search_room(&person.store, &room, &words, None).unwrap();
    assert_eq!((found.lines.len(), found.next), (1, None));
}

/// An answer in a room names what it answers, for everybody.
#[test]
fn an_answer_in_a_room_names_its_line_for_all() {
    let (mut town, room) = three_in_a_room();
    town.say("ann", room, "tea or coffee?");
    town.wait(Span::from_mins(1));
    let asked = town.room_events("bob").into_iter().find_map(|event| match event {
        RoomEvent::Said(line) => Some(line.entry.number),
        _ => None,
    });
    let answer = |answers| RoomCommand::Say {
        room,
        text: "tea".to_owned(),
        answers: Some(answers),
        ttl: TTL_DEFAULT,
    };
    let wrong = answer(MessageNumber(999));
    assert_eq!(town.about_room("bob", wrong), Err(RoomError::NoLine(MessageNumber(999))));
    town.about_room("bob", answer(asked.unwrap())).unwrap();
    town.wait(Span::from_mins(1));
    for who in ["ann", "cid"] {
        let person = &town.people[who];
        let lines = person.agent.room_history(&person.store, &room, None, 10).unwrap();
        let answers = lines[1].entry.answers.unwrap();
        assert_eq!(lines[0].entry.id, Some(answers), "{who}");
        let found = person.agent.room_line_by_id(&person.store, &room, &answers).unwrap();
        assert_eq!(found.unwrap().entry.body, b"tea or coffee?");
    }
}

/// E16: the room is the same for those who were offline, whatever they missed.
#[test]
fn whoever_was_away_while_the_room_changed_finds_it_as_it_is() {
    let (mut town, room) = three_in_a_room();
    town.disconnect("cid");
    for number in 0..20 {
        town.change("ann", room, RoomChange::Rename(name(&format!("name {number}")))).unwrap();
        town.say("bob", room, &format!("line {number}"));
        town.wait(Span::from_mins(10));
    }
    town.connect("cid");
    town.wait(Span::from_mins(10));
    assert_eq!(town.room("cid", room).name, Some(name("name 19")));
    let expected: Vec<_> = (0..20).map(|n| ("bob".to_owned(), format!("line {n}"))).collect();
    assert_eq!(town.lines("cid", room), expected);
    assert!(!town.room("cid", room).is_lacking);
}

/// E3: two of five are away, each for another while; all hold the same in the end.
#[test]
fn five_people_of_whom_two_are_away_hold_the_same_lines_in_the_end() {
    let all = ["ann", "bob", "cid", "dan", "eve"];
    let mut town = Town::with(&all);
    town.accepts = false;
    let room = town.found("ann", "club");
    for who in &all[1..] {
        let text = town.invite("ann", room);
        town.join(who, &text).unwrap();
        town.wait(Span::from_mins(2));
    }
    for (round, who) in all.into_iter().cycle().take(20).enumerate() {
        for (at, person) in ["dan", "eve"].into_iter().enumerate() {
            match (round + 5 * at) % 10 {
                2 => town.disconnect(person),
                8 => town.connect(person),
                _ => {}
            }
        }
        town.say(who, room, &format!("line {round}"));
        town.wait(Span::from_mins(1));
    }
    for who in ["dan", "eve"] {
        if !town.people[who].online {
            town.connect(who);
        }
    }
    town.wait(Span::from_mins(10));
    let sorted = |who: &str| {
        let mut lines = town.lines(who, room);
        lines.sort();
        lines
    };
    let first = sorted("ann");
    assert_eq!(first.len(), 20);
    for who in all {
        assert_eq!(sorted(who), first, "{who}");
        assert_eq!(town.members(who, room), all, "{who}");
    }
}

/// E6: a room is its id, whatever it is called.
#[test]
fn two_rooms_of_one_name_do_not_mix() {
    let (mut town, room) = three_in_a_room();
    let other = town.found("bob", "book club");
    let text = town.invite("bob", other);
    town.join("ann", &text).unwrap();
    town.wait(Span::from_mins(2));
    assert_eq!(town.room("ann", room).name, town.room("ann", other).name);
    town.say("ann", room, "in the first");
    town.say("ann", other, "in the other");
    town.wait(Span::from_mins(2));
    assert_eq!(town.lines("bob", room), of(&[("ann", "in the first")]));
    assert_eq!(town.lines("bob", other), of(&[("ann", "in the other")]));
    assert_eq!(town.lines("cid", room).len(), 1);
    assert_eq!(town.people["cid"].agent.rooms().len(), 1);
}

/// E9: and whose invitation was made before they were put out brings nobody in either.
#[test]
fn every_member_invites_and_whoever_was_put_out_does_not() {
    let (mut town, room) = three_in_a_room();
    town.add("dan", [44; 32]);
    town.connect("dan");
    let (text, late) = (town.invite("cid", room), town.invite("cid", room));
    town.wait(Span::from_mins(1));
    town.join("dan", &text).unwrap();
    town.wait(Span::from_mins(2));
    assert_eq!(town.members("ann", room), ["ann", "bob", "cid", "dan"]);
    let (cid, dan) = (town.address("cid"), town.address("dan"));
    for member in [cid, dan] {
        town.change("ann", room, RoomChange::Remove(member)).unwrap();
    }
    town.wait(Span::from_mins(1));
    town.join("dan", &late).unwrap();
    town.wait(Span::from_mins(5));
    assert_eq!(town.members("ann", room), ["ann", "bob"]);
    let command = RoomCommand::Invite { room, lifetime: Span::DAY };
    assert_eq!(town.about_room("cid", command), Err(RoomError::NoMember));
}
