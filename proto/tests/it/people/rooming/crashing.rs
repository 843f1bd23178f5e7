//! A program that ends at any write of its disk: nothing that it acknowledged is lost, and nothing is shown twice.

use super::*;

/// What Bob wants to say when the power may go; whether he was told that it is said.
fn bob_says(town: &mut Town, room: RoomId, text: &str) -> bool {
    town.next_id += 1;
    let id = CommandId(town.next_id);
    let text = text.to_owned();
    let command = Command::Room(RoomCommand::Say { room, text, answers: None, ttl: TTL_DEFAULT });
    town.tell("bob", agent::Input::Command { id, command });
    town.people["bob"].done.iter().any(|(done, result)| *done == id && result.is_ok())
}

/// Bob hears and speaks in a room of Ann's and Cid's while the power goes at the write of this number; what he was told
/// that he has said, and whether it went.
fn bob_loses_power_at(write: usize) -> (Town, RoomId, Vec<String>, bool) {
    let (mut town, room) = three_in_a_room();
    let (bob, mut said) = (town.address("bob"), Vec::new());
    town.people.get_mut("bob").unwrap().loses_write = Some(write);
    for number in 0..4 {
        town.say("ann", room, &format!("line {number}"));
        town.say("cid", room, &format!("answer {number}"));
        let text = format!("word {number}");
        if bob_says(&mut town, room, &text) {
            said.push(text);
        }
        town.wait(Span::from_secs(10));
    }
    let appoint = RoomChange::Appoint { member: bob, role: Office::Admin };
    town.change("ann", room, appoint).unwrap();
    town.wait(Span::from_mins(1));
    town.change("ann", room, RoomChange::Rename(name("reading"))).unwrap();
    town.say("cid", room, "the last");
    town.wait(Span::from_mins(5));
    let is_over = town.people.get_mut("bob").unwrap().loses_write.take().is_none();
    // Nothing waits anywhere that Bob has not got.
    (town, room, said, is_over)
}

#[test]
fn a_program_that_ends_at_any_write_loses_no_line_and_no_change_of_a_room() {
    let (mut writes, mut lost) = (0, true);
    while lost {
        let (town, room, said, is_over) = bob_loses_power_at(writes);
        let of_bob = |who: &str| -> Vec<String> {
            let lines = town.lines(who, room).into_iter();
            lines.filter(|(author, _)| author == "bob").map(|(_, text)| text).collect()
        };
        let own = of_bob("bob");
        assert!(said.iter().all(|text| own.contains(text)), "write {writes}: {said:?}, {own:?}");
        for who in ["ann", "cid"] {
            assert_eq!(of_bob(who), own, "write {writes}");
        }
        let mut lines = town.lines("bob", room);
        lines.retain(|(author, _)| author != "bob");
        assert_eq!(lines.len(), 9, "write {writes}");
        lines.sort();
        lines.dedup();
        assert_eq!(lines.len(), 9, "write {writes}");
        let known = town.room("bob", room);
        assert_eq!(known.name, Some(name("reading")), "write {writes}");
        assert_eq!(known.standing, RoomStanding::Member(Role::Admin), "write {writes}");
        assert_eq!(known.unread, 9, "write {writes}");
        for who in ["ann", "bob", "cid"] {
            assert_eq!(town.people[who].agent.outbox_len(), 0, "write {writes}: all is delivered");
        }
        (writes, lost) = (writes + 1, is_over);
    }
    assert!(writes > 11, "{writes}");
}
