//! A program that ends at any write of its disk: nothing that it acknowledged is lost, and nothing is shown twice.

use super::*;

/// Bob hears a room of Ann's and Cid's while the power goes at the write of this number; whether it went.
fn bob_loses_power_at(write: usize) -> (Town, RoomId, bool) {
    let (mut town, room) = three_in_a_room();
    let bob = town.address("bob");
    town.people.get_mut("bob").unwrap().loses_write = Some(write);
    for number in 0..4 {
        town.say("ann", room, &format!("line {number}"));
        town.say("cid", room, &format!("answer {number}"));
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
    (town, room, is_over)
}

#[test]
fn a_program_that_ends_at_any_write_loses_no_line_and_no_change_of_a_room() {
    let (mut writes, mut lost) = (0, true);
    while lost {
        let (town, room, is_over) = bob_loses_power_at(writes);
        let mut lines = town.lines("bob", room);
        assert_eq!(lines.len(), 9, "write {writes}");
        lines.sort();
        lines.dedup();
        assert_eq!(lines.len(), 9, "write {writes}");
        let known = town.room("bob", room);
        assert_eq!(known.name, Some(name("reading")), "write {writes}");
        assert_eq!(known.standing, RoomStanding::Member(Role::Admin), "write {writes}");
        assert_eq!(known.unread, 9);
        for who in ["ann", "cid"] {
            assert_eq!(town.people[who].agent.outbox_len(), 0, "write {writes}: all is delivered");
        }
        (writes, lost) = (writes + 1, is_over);
    }
    assert!(writes > 11, "{writes}");
}
