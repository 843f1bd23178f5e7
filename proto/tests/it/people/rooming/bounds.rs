//! What people of rooms cannot make each other's programs keep and send.

use std::collections::BTreeSet;

use comm_proto::envelope::{Envelope, Header, SizeClass};
use comm_proto::payload::Payload;
use comm_proto::room::{EventId, Heads, Join, Note};
use comm_proto::sealing::{SealTarget, seal};
use comm_proto::store::Store;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use super::*;

impl Town {
    /// Of how many people a program keeps something.
    fn known(&self, who: &str) -> usize {
        self.people[who].store.scan(Drawer::Contacts, &[], &[0xff; 8], 1_000).unwrap().len()
    }

    pub(super) fn on_their_way(&self, who: &str) -> usize {
        self.people[who].store.scan(Drawer::Outbox, &[], &[0xff; 9], 20_000).unwrap().len()
    }

    /// What a program of somebody's own makes Ann's read.
    fn slip_note(&mut self, author: &Identity, note: &Note) {
        self.next_id += 1;
        let mut rng = ChaCha12Rng::seed_from_u64(self.next_id);
        let ann = *Identity::from_seed(&[1; 32]).public();
        let expires_at = self.now + Span::DAY;
        let payload = Payload {
            content_type: ContentType::ROOM,
            sequence: std::num::NonZeroU64::new(self.next_id).unwrap(),
            previous: None,
            sent_at: self.now,
            expires_at,
            recipient: ann.address(),
            body: note.to_bytes(),
        };
        let target = SealTarget::Identity(&ann);
        let sealed = seal(&mut rng, author, &target, &payload, SizeClass::K4).unwrap();
        let (suite, mailbox) = (target.suite(), ann.address());
        let header = Header { suite, mailbox, expires_at, stamp_nonce: 0 };
        let envelope = Envelope::new(header, sealed.into()).unwrap();
        let push = ClientPush::Envelope { envelope, cursor: self.next_id };
        self.tell("ann", agent::Input::Push(push));
    }
}

/// Whoever has held an invitation asks under as many keys as they like.
#[test]
fn throw_away_keys_with_a_spent_invitation_leave_at_most_16_refusals_and_nobody_behind() {
    let mut town = Town::with(&["ann", "bob"]);
    town.accepts = false;
    let room = town.found("ann", "book club");
    let text = town.invite("ann", room);
    town.join("bob", &text).unwrap();
    town.wait(Span::from_mins(2));
    let (known, mut thrown) = (town.known("ann"), Vec::new());
    for number in 0..24u8 {
        let who: &'static str = Box::leak(format!("key {number}").into_boxed_str());
        town.add(who, [100 + number; 32]);
        town.connect(who);
        town.wait(Span::from_secs(1));
        // The answer waits for them, and is not fetched.
        town.held = Some((who, Vec::new()));
        town.join(who, &text).unwrap();
        town.wait(Span::from_mins(2));
        town.held = None;
        town.disconnect(who);
        thrown.push(who);
        assert!(town.on_their_way("ann") <= 16, "{number}");
        assert!(town.known("ann") <= known + 16, "{number}");
    }
    assert_eq!(town.on_their_way("ann"), 16);
    for who in thrown {
        town.connect(who);
        town.wait(Span::from_mins(2));
    }
    assert_eq!((town.on_their_way("ann"), town.known("ann")), (0, known));
    assert_eq!(town.members("ann", room), ["ann", "bob"]);
}

/// A second key with the same spent invitation is not answered at once.
#[test]
fn one_spent_invitation_is_refused_once_a_minute_whoever_shows_it() {
    let mut town = Town::with(&["ann", "bob", "cid", "dan"]);
    town.accepts = false;
    let room = town.found("ann", "book club");
    let text = town.invite("ann", room);
    town.join("bob", &text).unwrap();
    town.wait(Span::from_mins(2));
    for who in ["cid", "dan"] {
        town.join(who, &text).unwrap();
    }
    town.wait(Span::from_secs(30));
    let refused = |who: &str| {
        let is_refusal = |event: &RoomEvent| matches!(event, RoomEvent::NotLetIn { .. });
        town.room_events(who).iter().filter(|event| is_refusal(event)).count()
    };
    assert_eq!(refused("cid") + refused("dan"), 1);
}

/// Whoever is away for long costs no more places than that, and catches up all the same.
#[test]
fn at_most_32_notes_that_are_not_said_wait_for_one_member() {
    let (mut town, room) = three_in_a_room();
    town.disconnect("cid");
    for number in 0..40 {
        town.change("ann", room, RoomChange::Rename(name(&format!("name {number}")))).unwrap();
        town.wait(Span::from_secs(10));
    }
    assert_eq!(town.on_their_way("ann"), 32);
    let line = town.say("ann", room, "lines come all the same");
    town.wait(Span::from_secs(10));
    assert!(town.delivered("ann", line).contains_key("cid"));
    assert_eq!(town.on_their_way("ann"), 33);
    town.connect("cid");
    town.wait(Span::from_mins(10));
    assert_eq!(town.room("cid", room).name, Some(name("name 39")));
    assert_eq!(town.heard("cid"), of(&[("ann", "lines come all the same")]));
    assert_eq!(town.on_their_way("ann"), 0);
}

/// What there was no room for comes even if nobody says anything after it.
#[test]
fn whoever_was_away_for_more_than_32_changes_learns_of_the_last() {
    let (mut town, room) = three_in_a_room();
    town.disconnect("cid");
    for number in 0..40 {
        town.change("ann", room, RoomChange::Rename(name(&format!("name {number}")))).unwrap();
        town.wait(Span::from_secs(10));
    }
    // Who waits for days is not the only one who ends their program meanwhile.
    town.restart("ann");
    town.connect("ann");
    town.connect("cid");
    town.wait(Span::from_mins(10));
    assert_eq!(town.room("cid", room).name, Some(name("name 39")));
    assert!(!town.room("cid", room).is_lacking);
    assert_eq!(town.on_their_way("ann"), 0);
}

/// Whoever wants the log again and again, and fetches nothing, is answered once.
#[test]
fn nobody_is_answered_again_while_an_answer_waits_for_them() {
    let (mut town, room) = three_in_a_room();
    for number in 0..100 {
        town.change("ann", room, RoomChange::Rename(name(&format!("name {number}")))).unwrap();
        town.wait(Span::from_secs(1));
    }
    town.disconnect("cid");
    let cid = Identity::from_seed(&[3; 32]);
    assert_eq!(town.address("cid"), cid.address());
    let known = Heads::of(&BTreeSet::from([room.first()])).unwrap();
    let want = Note::Want { room, known, wanted: Vec::<EventId>::new() };
    let mut most = 0;
    for _ in 0..10 {
        town.slip_note(&cid, &want);
        town.wait(Span::from_mins(2));
        most = most.max(town.on_their_way("ann"));
    }
    assert!(most > 1, "they are answered at all");
    assert!(most <= 6, "{most}");
}

/// Rooms leave half of the outbox to what is said to one person, and half of their own to what the person changes
/// in them; there is no room for a line before there is none for that.
#[test]
fn whoever_can_say_no_more_in_rooms_can_still_change_and_leave_them() {
    let (mut town, room) = three_in_a_room();
    let other = town.found("bob", "elsewhere");
    let leaked = town.invite("bob", other);
    let token = Invitation::parse(&leaked).unwrap().token();
    let cid = town.address("cid");
    let text = town.invite("bob", other);
    town.join("cid", &text).unwrap();
    town.wait(Span::from_mins(2));
    for who in ["ann", "bob", "cid"] {
        town.disconnect(who);
    }
    for number in 0..1_250 {
        town.say("bob", room, &format!("line {number}"));
    }
    assert_eq!(town.on_their_way("bob"), 2_500);
    let command = |text: &str| RoomCommand::Say {
        room,
        text: text.to_owned(),
        answers: None,
        ttl: TTL_DEFAULT,
    };
    assert_eq!(town.about_room("bob", command("one too many")), Err(RoomError::OutboxFull));
    let bob = &town.people["bob"];
    assert_eq!(bob.agent.room_history(&bob.store, &room, None, 5_000).unwrap().len(), 1_250);
    assert_eq!(town.on_their_way("bob"), 2_500);
    town.change("bob", other, RoomChange::Revoke(token)).unwrap();
    town.change("bob", other, RoomChange::Decide(Policy::Nobody)).unwrap();
    town.change("bob", other, RoomChange::Remove(cid)).unwrap();
    town.change("bob", room, RoomChange::Leave).unwrap();
    assert_eq!(town.on_their_way("bob"), 2_505);
    town.send("bob", "ann", "there is room for this");
    assert_eq!(town.members("bob", other), ["bob"]);
    assert_eq!(town.room("bob", room).standing, RoomStanding::Former);
}

/// What is to change in a room comes to its bound as well, and leaves room for what is said to people; to leave is never
/// too much.
#[test]
fn changes_of_rooms_take_no_more_than_half_of_what_may_be_on_its_way() {
    let (mut town, room) = three_in_a_room();
    let bob = town.address("bob");
    town.change("ann", room, RoomChange::Appoint { member: bob, role: Office::Admin }).unwrap();
    town.wait(Span::from_mins(1));
    for who in ["ann", "bob", "cid"] {
        town.disconnect(who);
    }
    for number in 0..40 {
        town.change("bob", room, RoomChange::Rename(name(&format!("name {number}")))).unwrap();
    }
    assert_eq!(town.on_their_way("bob"), 64, "32 to each");
    town.change("bob", room, RoomChange::Leave).unwrap();
    for who in ["ann", "bob", "cid"] {
        town.connect(who);
    }
    town.wait(Span::from_mins(10));
    // They are told the last even by somebody who is not there any more.
    assert_eq!(town.members("ann", room), ["ann", "cid"]);
    assert_eq!(town.members("cid", room), ["ann", "cid"]);
}

/// A question is left where it is while there is no room for the answer.
#[test]
fn what_many_keys_want_of_a_room_leaves_its_members_room_to_speak() {
    let mut town = Town::with(&["ann"]);
    let room = town.found("ann", "book club");
    let keys: Vec<_> = (100..145).map(|seed| Identity::from_seed(&[seed; 32])).collect();
    for key in &keys {
        let text = town.invite("ann", room);
        let invitation = Invitation::parse(&text).unwrap();
        let join = Join::sign(&invitation, key.key(), [7; 32]).into_inner();
        town.slip_note(key, &Note::Ask { room, join: Box::new(join) });
    }
    assert_eq!(town.room("ann", room).members, 46);
    for _ in 0..2 {
        town.wait(Span::from_days(15));
    }
    assert_eq!(town.on_their_way("ann"), 0);
    for number in 0..900 {
        let name = name(&format!("{number:0>4}{}", "\u{1f600}".repeat(60)));
        town.change("ann", room, RoomChange::Rename(name)).unwrap();
    }
    for _ in 0..2 {
        town.wait(Span::from_days(15));
    }
    assert_eq!(town.on_their_way("ann"), 0);
    let known = Heads::of(&BTreeSet::from([room.first()])).unwrap();
    let want = Note::Want { room, known, wanted: Vec::<EventId>::new() };
    for key in &keys {
        town.slip_note(key, &want);
    }
    let answers = town.on_their_way("ann");
    assert!((500..=1_250).contains(&answers), "{answers}");
    for number in 0..20 {
        town.say("ann", room, &format!("line {number}"));
    }
    let member = keys[0].address();
    town.change("ann", room, RoomChange::Remove(member)).unwrap();
}

/// A log of many pages comes in any order, also the founding event last of all.
#[test]
fn whoever_joins_a_room_of_many_events_gets_in_whatever_comes_first() {
    let mut town = Town::with(&["ann", "bob"]);
    town.accepts = false;
    let room = town.found("ann", "book club");
    for number in 0..400 {
        town.change("ann", room, RoomChange::Rename(name(&format!("name {number}")))).unwrap();
    }
    let text = town.invite("ann", room);
    town.held = Some(("bob", Vec::new()));
    town.join("bob", &text).unwrap();
    town.wait(Span::from_secs(30));
    let pages = town.held.as_ref().unwrap().1.len();
    assert!(pages > 6, "{pages}");
    // The first of them is the admission alone.
    for at in (1..pages).rev() {
        assert!(matches!(town.room("bob", room).standing, RoomStanding::Asking { .. }));
        town.release(at);
    }
    assert_eq!(town.members("bob", room), ["ann", "bob"]);
    assert_eq!(town.room("bob", room).name, Some(name("name 399")));
}

/// Whoever asks twice with one invitation, as people do who are not sure, is let in by the first.
#[test]
fn joining_twice_with_one_invitation_is_joining_once() {
    let mut town = Town::with(&["ann", "bob"]);
    town.accepts = false;
    let room = town.found("ann", "book club");
    let text = town.invite("ann", room);
    town.disconnect("ann");
    town.join("bob", &text).unwrap();
    town.wait(Span::from_mins(1));
    town.join("bob", &text).unwrap();
    town.restart("bob");
    town.connect("bob");
    town.join("bob", &text).unwrap();
    town.connect("ann");
    town.wait(Span::from_mins(5));
    assert_eq!(town.members("ann", room), ["ann", "bob"]);
    assert!(matches!(town.room("bob", room).standing, RoomStanding::Member(Role::Member)));
}

/// An answer that never comes is asked for again, less and less often.
#[test]
fn whoever_is_not_answered_asks_again() {
    let mut town = Town::with(&["ann", "bob", "cid", "dan"]);
    town.accepts = false;
    let room = town.found("ann", "book club");
    let text = town.invite("ann", room);
    town.join("bob", &text).unwrap();
    town.wait(Span::from_mins(2));
    // Of two who show one spent token in one minute one is told nothing.
    for who in ["cid", "dan"] {
        town.join(who, &text).unwrap();
    }
    town.wait(Span::from_mins(10));
    for who in ["cid", "dan"] {
        let is_refusal = |event: &RoomEvent| matches!(event, RoomEvent::NotLetIn { .. });
        assert_eq!(town.room_events(who).iter().filter(|event| is_refusal(event)).count(), 1);
    }
}
