//! What is said in a room is shown once, in its author's order, if its author belonged there.

use comm_proto::payload::{ContentType, MessageId};
use comm_proto::room::{
    Change, HELD_MAX, Heads, Heard, Join, Log, Note, NoteError, Said, Talk, admit,
};
use proptest::prelude::*;

use super::{NOW, bring_in, invite, key, person, room_of};

fn said(log: &Log, sequence: u64, previous: Option<MessageId>) -> Said {
    Said {
        room: log.room(),
        sequence,
        previous,
        heads: Heads::of(log.heads()).unwrap(),
        content_type: ContentType::TEXT,
        body: format!("line {sequence}").into_bytes(),
    }
}

/// The number shown, and how many are missing before it.
fn shown(heard: Heard) -> Option<(u64, u64)> {
    match heard {
        Heard::Shown { said, missing_before, .. } => Some((said.sequence, missing_before)),
        _ => None,
    }
}

#[test]
fn gaps_are_shown_truly_and_close_when_what_was_missing_comes() {
    let log = room_of(3, &[]);
    let mut talk = Talk::default();
    let mut hear = |sequence| talk.hear(&log, key(1), 1, said(&log, sequence, None));
    assert_eq!(shown(hear(1)), Some((1, 0)));
    assert_eq!(shown(hear(4)), Some((4, 2)));
    assert_eq!(hear(4), Heard::Again);
    assert_eq!(shown(hear(3)), Some((3, 1)));
    assert_eq!(shown(hear(2)), Some((2, 0)));
    assert_eq!(hear(2), Heard::Again);
    assert_eq!(talk.missing_of(&key(1)), 0);
}

#[test]
fn whoever_joins_late_misses_nothing_of_before_and_everything_after() {
    let log = room_of(3, &[]);
    let mut talk = Talk::default();
    // The author had said 40 things before; the 41st is lost.
    assert_eq!(shown(talk.hear(&log, key(1), 41, said(&log, 43, None))), Some((43, 2)));
    assert_eq!(talk.missing_of(&key(1)), 2);
    assert_eq!(shown(talk.hear(&log, key(1), 41, said(&log, 41, None))), Some((41, 0)));
}

#[test]
fn what_names_events_that_are_not_here_waits_for_them_and_is_shown_then() {
    let old = room_of(3, &[]);
    let mut log = old.clone();
    bring_in(&mut log, 1, 8, 80).unwrap();
    let mut talk = Talk::default();
    let line = said(&log, 1, None);
    assert_eq!(talk.hear(&old, key(8), 1, line), Heard::Held);
    let missing = talk.missing(&old);
    let expected: Vec<_> = log.heads().iter().map(|id| (*id, key(8))).collect();
    assert_eq!(missing.into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(talk.look_again(&old), []);
    let heard: Vec<_> = talk.look_again(&log).into_iter().map(shown).collect();
    assert_eq!(heard, [Some((1, 0))]);
    assert_eq!(talk.look_again(&log), []);
}

#[test]
fn nobody_says_anything_in_a_room_that_they_do_not_belong_to_or_belong_to_no_more() {
    let mut log = room_of(3, &[]);
    let mut talk = Talk::default();
    assert_eq!(talk.hear(&log, key(9), 1, said(&log, 1, None)), Heard::NotAMember);
    let before = said(&log, 1, None);
    log.write(&person(0), Change::Remove(key(2)), NOW).unwrap();
    // As if they had not heard of it.
    assert_eq!(talk.hear(&log, key(2), 1, before), Heard::NotAMember);
    // Not before they were a member either.
    let before = said(&log, 1, None);
    bring_in(&mut log, 0, 7, 70).unwrap();
    assert_eq!(talk.hear(&log, key(7), 1, before), Heard::NotAMember);
}

/// They begin anew with 1: what they drew when they joined says that it is not what was said before.
#[test]
fn whoever_comes_back_and_counts_anew_is_heard_from_the_first() {
    let mut log = room_of(3, &[]);
    let mut talk = Talk::default();
    let before = said(&log, 1, None);
    for sequence in 1..=5 {
        assert!(shown(talk.hear(&log, key(2), 1, said(&log, sequence, None))).is_some());
    }
    log.write(&person(0), Change::Remove(key(2)), NOW).unwrap();
    let invitation = invite(&mut log, 0, 90).unwrap();
    admit(&mut log, &person(0), &Join::sign(&invitation, &person(2), [91; 32]), NOW).unwrap();
    for sequence in 1..=2 {
        let heard = talk.hear(&log, key(2), 1, said(&log, sequence, None));
        assert_eq!(shown(heard), Some((sequence, 0)));
    }
    assert_eq!(talk.hear(&log, key(2), 1, said(&log, 2, None)), Heard::Again);
    // What they said when they were there before stays what it was.
    assert_eq!(talk.hear(&log, key(2), 1, before), Heard::NotAMember);
}

#[test]
fn who_tells_different_people_different_things_is_shown_by_what_they_say_next() {
    let log = room_of(3, &[]);
    let mut talk = Talk::default();
    let (to_us, to_others) =
        (said(&log, 1, None), Said { body: b"other".to_vec(), ..said(&log, 1, None) });
    let next = said(&log, 2, Some(to_others.id(&key(1))));
    assert!(shown(talk.hear(&log, key(1), 1, to_us.clone())).is_some());
    let heard = talk.hear(&log, key(1), 1, next);
    assert!(matches!(heard, Heard::Shown { is_forked: true, .. }));
    let honest = said(&log, 3, Some(said(&log, 2, Some(to_others.id(&key(1)))).id(&key(1))));
    let heard = talk.hear(&log, key(1), 1, honest);
    assert!(matches!(heard, Heard::Shown { is_forked: false, .. }));
}

#[test]
fn what_waits_has_a_bound() {
    let old = room_of(3, &[]);
    let mut log = old.clone();
    bring_in(&mut log, 0, 8, 80).unwrap();
    let mut talk = Talk::default();
    for sequence in 1..=HELD_MAX as u64 + 5 {
        assert_eq!(talk.hear(&old, key(1), 1, said(&log, sequence, None)), Heard::Held);
    }
    let heard: Vec<_> = talk.look_again(&log).into_iter().filter_map(shown).collect();
    assert_eq!(heard.len(), HELD_MAX);
    assert_eq!(heard[0], (6, 5));
}

#[test]
fn every_member_calls_what_is_said_the_same_and_each_author_differently() {
    let log = room_of(3, &[]);
    let line = said(&log, 1, None);
    let bytes = |first| Note::Said { first, said: line.clone() }.to_bytes();
    let read = |bytes: Vec<u8>| match Note::from_bytes(&bytes) {
        Ok(Note::Said { said, .. }) => said.id(&key(1)),
        other => panic!("{other:?}"),
    };
    assert_eq!(read(bytes(1)), line.id(&key(1)));
    assert_ne!(line.id(&key(1)), line.id(&key(2)));
    assert_eq!(Note::from_bytes(&bytes(2)), Err(NoteError::Value("the first number")));
    assert_eq!(Note::from_bytes(&[9]), Err(NoteError::Kind(9)));
}

proptest! {
    #[test]
    fn no_bytes_make_reading_a_note_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0_u8..7) {
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        if let Ok(note) = Note::from_bytes(&bytes) {
            prop_assert_eq!(note.to_bytes(), bytes);
        }
    }

    /// However things come, each is shown once.
    #[test]
    fn whatever_the_order_everything_is_shown_once(mut numbers in prop::collection::vec(1_u64..40, 0..120)) {
        let log = room_of(2, &[]);
        let mut talk = Talk::default();
        let mut shown_numbers = Vec::new();
        for sequence in &numbers {
            let heard = talk.hear(&log, key(1), 1, said(&log, *sequence, None));
            shown_numbers.extend(shown(heard).map(|(number, _)| number));
        }
        shown_numbers.sort_unstable();
        numbers.sort_unstable();
        numbers.dedup();
        prop_assert_eq!(&shown_numbers, &numbers);
        let missing = numbers.last().map_or(0, |last| last - numbers.len() as u64);
        prop_assert_eq!(talk.missing_of(&key(1)), missing);
    }
}
