//! Whoever has left is out, whatever they make beside their leaving.

use comm_proto::room::{Change, EventId, LogError, Office, Refused, Taken};

use super::{NOW, bring_in, forged, key, name, person, room_of, tell};

#[test]
fn an_admin_who_has_left_stops_nobody_and_brings_nobody_in() {
    let mut log = room_of(4, &[1]);
    let before = log.clone();
    log.write(&person(1), Change::Leave, NOW).unwrap();
    bring_in(&mut log, 3, 5, 90).unwrap();
    // As if they had not left.
    let mut theirs = before;
    bring_in(&mut theirs, 1, 7, 70).unwrap();
    theirs.write(&person(1), Change::Rename(name("mine")), NOW).unwrap();
    theirs.write(&person(1), Change::Remove(key(3)), NOW).unwrap();
    let state = log.state().clone();
    tell(&theirs, &mut log);
    assert_eq!(log.state().members(), state.members());
    assert_eq!(log.state().name(), state.name());
    tell(&log, &mut theirs);
    assert_eq!(theirs.state(), log.state());
}

#[test]
fn a_member_who_has_left_twice_at_once_has_left() {
    let mut log = room_of(3, &[]);
    let mut other = log.clone();
    log.write(&person(1), Change::Leave, NOW).unwrap();
    other.write(&person(0), Change::Rename(name("meanwhile")), NOW).unwrap();
    other.write(&person(1), Change::Leave, NOW).unwrap();
    tell(&other, &mut log);
    assert!(!log.state().is_member(&key(1)));
    tell(&log, &mut other);
    assert_eq!(other.state(), log.state());
}

/// Who leaves as the member whom they once were goes on as the admin whom they were made: a removal ends it.
#[test]
fn whoever_has_left_can_still_be_removed_and_what_they_made_since_counts_for_nothing() {
    let mut log = room_of(4, &[]);
    let old: Vec<EventId> = log.heads().iter().copied().collect();
    super::appoint(&mut log, 1, Office::Admin);
    let before = log.clone();
    let leave = forged(&log, 1, None, &old, Change::Leave);
    assert!(matches!(log.take(leave), Ok(Taken::New(_))));
    assert!(!log.state().is_member(&key(1)));
    bring_in(&mut log, 3, 5, 90).unwrap();
    let mut theirs = before;
    theirs.write(&person(1), Change::Remove(key(3)), NOW).unwrap();
    log.write(&person(0), Change::Remove(key(1)), NOW).unwrap();
    tell(&theirs, &mut log);
    assert!(log.state().is_member(&key(3)) && log.state().is_member(&key(5)));
}

#[test]
fn who_never_was_a_member_is_not_removed() {
    let mut log = room_of(3, &[2]);
    for by in [0, 2] {
        let removed = log.write(&person(by), Change::Remove(key(9)), NOW).map(|_| ());
        assert_eq!(removed, Err(LogError::NotEntitled(Refused::NoSuchMember)));
    }
    log.write(&person(1), Change::Leave, NOW).unwrap();
    bring_in(&mut log, 0, 5, 90).unwrap();
    let by_member = log.write(&person(5), Change::Remove(key(1)), NOW).map(|_| ());
    assert_eq!(by_member, Err(LogError::NotEntitled(Refused::NotEntitled)));
    log.write(&person(2), Change::Remove(key(1)), NOW).unwrap();
}
