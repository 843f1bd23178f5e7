//! Whoever makes events side by side splits no room and fills none (PROTOCOL §4.15).

use comm_proto::room::{
    AUTHOR_EVENTS_MAX, Change, EVENTS_MAX, Event, EventId, Log, LogError, Taken, Verdict,
};
use comm_proto::verified::Verified;
use proptest::prelude::*;

use super::{NOW, forged, invite, is_forker, key, name, person, room_of, standing, tell};

fn rename(log: &Log, author: u8, previous: Option<EventId>, text: String) -> Verified<Event> {
    let heads: Vec<_> = log.heads().iter().copied().collect();
    forged(log, author, previous, &heads, Change::Rename(name(&text)))
}

/// Tells both of two logs everything of each other until neither learns anything more.
fn meet(one: &mut Log, other: &mut Log) {
    for _ in 0..4 {
        let mine = one.clone();
        tell(other, one);
        tell(&mine, other);
    }
}

/// The defect that this rule mends: each part kept other events of the same author, and refused the rest for good.
#[test]
fn a_member_who_makes_thousands_of_events_side_by_side_splits_no_room() {
    let log = room_of(4, &[1]);
    let (mut one, mut other) = (log.clone(), log.clone());
    for number in 0..2 * AUTHOR_EVENTS_MAX {
        let event = rename(&log, 1, None, format!("side {number}"));
        let _ = if number % 2 == 0 { one.take(event) } else { other.take(event) };
    }
    for log in [&one, &other] {
        assert!(is_forker(log, &key(1)) && log.len() < 600, "{}", log.len());
    }
    // Members of both parts go on, and build on what they have.
    invite(&mut one, 2, 70).unwrap();
    invite(&mut other, 3, 71).unwrap();
    meet(&mut one, &mut other);
    assert_eq!(standing(&one), standing(&other));
    assert_eq!(one.state(), other.state());
    assert_eq!(one.state().tokens().len(), 2 + log.state().tokens().len());
    one.write(&person(0), Change::Remove(key(1)), NOW).unwrap();
    invite(&mut one, 2, 72).unwrap();
    meet(&mut one, &mut other);
    assert_eq!(one.state(), other.state());
}

/// After a removal, too: what they make beside it is taken as far as it is one chain.
#[test]
fn a_removed_member_fills_no_room_and_splits_none() {
    let before = room_of(4, &[1]);
    let mut one = before.clone();
    one.write(&person(0), Change::Remove(key(1)), NOW).unwrap();
    let mut other = one.clone();
    for number in 0..3 * AUTHOR_EVENTS_MAX {
        let event = rename(&before, 1, None, format!("side {number}"));
        let _ = if number % 2 == 0 { one.take(event) } else { other.take(event) };
    }
    invite(&mut one, 2, 70).unwrap();
    invite(&mut other, 3, 71).unwrap();
    meet(&mut one, &mut other);
    assert_eq!(one.state(), other.state());
    assert!(one.len() < EVENTS_MAX / 4, "{}", one.len());
}

#[test]
fn of_two_side_by_side_one_stands_and_the_same_for_all() {
    let log = room_of(3, &[1]);
    let sides: Vec<_> = (0..3).map(|n| rename(&log, 1, None, format!("side {n}"))).collect();
    let lowest = sides.iter().map(|event| event.id()).min().unwrap();
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1]] {
        let mut log = log.clone();
        for at in order {
            let _ = log.take(sides[at].clone());
        }
        let stand: Vec<_> = sides.iter().filter(|e| standing(&log).contains(&e.id())).collect();
        assert_eq!(stand.iter().map(|event| event.id()).collect::<Vec<_>>(), [lowest]);
        let kept = sides.iter().find(|event| event.id() == lowest).unwrap();
        let Some(Change::Rename(name)) = kept.change() else { panic!() };
        assert_eq!(log.state().name(), name);
    }
}

/// What others have built on stands, whatever its author makes beside it later.
#[test]
fn what_others_have_built_on_is_not_undone_by_a_second_event_beside_it() {
    let mut log = room_of(4, &[1]);
    let beside: Vec<_> = (0..40).map(|n| rename(&log, 1, None, format!("side {n}"))).collect();
    let removal = log.write(&person(1), Change::Remove(key(3)), NOW).unwrap();
    invite(&mut log, 2, 70).unwrap();
    for event in beside {
        let _ = log.take(event);
    }
    assert!(is_forker(&log, &key(1)));
    assert_eq!(log.verdict(&removal.id()), Some(Verdict::Counts));
    assert!(!log.state().is_member(&key(3)));
}

/// Whoever restored an old backup goes on behind what the others have.
#[test]
fn whoever_has_forked_goes_on_with_one_chain() {
    let mut log = room_of(3, &[]);
    let mut restored = log.clone();
    log.write(&person(0), Change::Rename(name("forgotten")), NOW).unwrap();
    restored.write(&person(0), Change::Rename(name("made anew")), NOW).unwrap();
    meet(&mut log, &mut restored);
    assert_eq!(log.state(), restored.state());
    assert_eq!(log.forks().len(), 1);
    restored.write(&person(0), Change::Rename(name("at last")), NOW).unwrap();
    meet(&mut log, &mut restored);
    assert_eq!(log.state().name().as_str(), "at last");
    assert_eq!(log.forks().len(), 1);
}

/// Else two could fill a room together: one makes events side by side, and the other builds on each.
#[test]
fn nobody_builds_on_two_sides_of_a_fork() {
    let log = room_of(4, &[1, 2]);
    let sides = [0, 1].map(|n| rename(&log, 1, None, format!("side {n}")));
    let mut theirs = log.clone();
    theirs.take(sides[0].clone()).unwrap();
    let one = theirs.write(&person(2), Change::Rename(name("on one")), NOW).unwrap();
    let change = Change::Rename(name("on both"));
    let both = forged(&log, 2, Some(one.id()), &[one.id(), sides[1].id()], change);
    theirs.take(sides[1].clone()).unwrap();
    assert_eq!(theirs.take(both.clone()).map(|_| ()), Err(LogError::BothSides));
    // Nor is it judged another time.
    assert_eq!(theirs.take(both).map(|_| ()), Err(LogError::BothSides));
    // Whoever knew of the other side alone may.
    let mut others = log.clone();
    others.take(sides[1].clone()).unwrap();
    others.write(&person(3), Change::Leave, NOW).unwrap();
    meet(&mut theirs, &mut others);
    assert_eq!(theirs.state(), others.state());
    let stands = sides.iter().all(|side| theirs.verdict(&side.id()) != Some(Verdict::Beside));
    assert!(stands && theirs.len() == log.len() + 4);
}

#[test]
fn what_does_not_stand_waits_for_whoever_has_built_on_it() {
    let mut log = room_of(3, &[1]);
    let mut sides: Vec<_> = (0..3).map(|n| rename(&log, 1, None, format!("side {n}"))).collect();
    sides.sort_by_key(|event| event.id());
    let mut theirs = log.clone();
    log.take(sides[0].clone()).unwrap();
    log.take(sides[1].clone()).unwrap();
    assert_eq!(log.take(sides[2].clone()), Err(LogError::Beside));
    theirs.take(sides[2].clone()).unwrap();
    let built = theirs.write(&person(2), Change::Leave, NOW).unwrap();
    assert_eq!(log.take(built.clone()), Ok(Taken::Waits));
    assert!(log.missing().contains(&sides[2].id()));
    let both = vec![sides[2].id(), built.id()];
    assert_eq!(log.take(sides[2].clone()), Ok(Taken::New(both)));
    assert!(!log.state().is_member(&key(2)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Ids that fall from one to the next displace each other for ever, and take no room.
    #[test]
    fn events_whose_ids_fall_take_no_room(seed: u64) {
        let mut log = room_of(2, &[1]);
        let mut sides: Vec<_> =
            (0..1_000).map(|n| rename(&log, 1, None, format!("{seed} {n}"))).collect();
        sides.sort_by_key(|event| std::cmp::Reverse(event.id()));
        let length = log.len();
        for event in &sides {
            prop_assert!(log.take(event.clone()).is_ok());
        }
        prop_assert!(log.len() <= length + 300, "{}", log.len());
        let last = sides.last().unwrap().id();
        prop_assert_eq!(log.verdict(&last), Some(Verdict::Counts));
        prop_assert!(is_forker(&log, &key(1)));
    }
}
