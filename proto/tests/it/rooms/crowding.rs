//! What waits: strangers have a small place for it, and each member their share.

use comm_proto::key::PublicKey;
use comm_proto::payload::ContentType;
use comm_proto::room::{
    Change, EventId, HEADS_MAX, HELD_MAX, Heads, Heard, Log, Note, Office, Refusal, Said, Seat,
    Step, Taken, Talk, WAITING_MAX,
};

use super::{NOW, bring_in, forged, invite, key, name, person, room_of, tell};

fn nowhere(number: u8) -> EventId {
    EventId::from_bytes([number; 32])
}

fn naming(log: &Log, sequence: u64, heads: &[EventId]) -> Said {
    let heads = Heads::of(&heads.iter().copied().collect()).unwrap();
    let body = format!("line {sequence}").into_bytes();
    Said {
        room: log.room(),
        sequence,
        previous: None,
        heads,
        content_type: ContentType::TEXT,
        body,
    }
}

fn sent_to(steps: &[Step], whom: &PublicKey) -> usize {
    steps.iter().filter(|step| matches!(step, Step::Send { to, .. } if to == whom)).count()
}

#[test]
fn a_stranger_who_names_events_that_are_nowhere_is_answered_nothing_and_makes_nobody_ask() {
    let log = room_of(3, &[]);
    let mut seat = Seat::take(person(0), log.clone());
    for sequence in 1..=300 {
        let said = naming(&log, sequence, &[nowhere(7)]);
        let steps = seat.hear(key(9), Note::Said { first: 1, said }, NOW);
        assert_eq!(steps, []);
    }
    assert_eq!(seat.next(), None);
    assert!(seat.talk().is_complete());
}

#[test]
fn while_something_is_missing_strangers_are_not_asked_for_it() {
    let log = room_of(3, &[]);
    let mut seat = Seat::take(person(0), log.clone());
    let said = naming(&log, 1, &[nowhere(7)]);
    let steps = seat.hear(key(1), Note::Said { first: 1, said }, NOW);
    assert_eq!(sent_to(&steps, &key(1)), 1);
    let later = seat.next().unwrap();
    let note = Note::Refuse { room: log.room(), fresh: [0; 32], reason: Refusal::Unknown };
    assert_eq!(seat.hear(key(9), note, later), []);
    assert_eq!(seat.next(), Some(later));
}

#[test]
fn what_a_new_member_says_before_their_admission_is_here_is_shown_when_it_comes() {
    let old = room_of(3, &[]);
    let mut log = old.clone();
    bring_in(&mut log, 1, 8, 80).unwrap();
    let mut talk = Talk::default();
    let heads: Vec<_> = log.heads().iter().copied().collect();
    assert_eq!(talk.hear(&old, key(8), 1, naming(&log, 1, &heads)), Heard::Held);
    // Others whom nobody let in say much.
    for stranger in 100..120 {
        for sequence in 1..20 {
            let said = naming(&log, sequence, &[nowhere(9)]);
            talk.hear(&old, key(stranger), 1, said);
        }
    }
    let heard = talk.look_again(&log);
    assert!(matches!(&heard[..], [Heard::Shown { author, .. }] if *author == key(8)), "{heard:?}");
}

#[test]
fn a_member_who_says_much_that_waits_displaces_nothing_of_others() {
    let old = room_of(4, &[]);
    let mut log = old.clone();
    bring_in(&mut log, 0, 8, 80).unwrap();
    let heads: Vec<_> = log.heads().iter().copied().collect();
    let mut talk = Talk::default();
    assert_eq!(talk.hear(&old, key(2), 1, naming(&log, 1, &heads)), Heard::Held);
    for sequence in 1..=2 * HELD_MAX as u64 {
        talk.hear(&old, key(1), 1, naming(&log, sequence, &[nowhere(7)]));
    }
    let heard = talk.look_again(&log);
    assert!(matches!(&heard[..], [Heard::Shown { author, .. }] if *author == key(2)), "{heard:?}");
}

#[test]
fn what_a_removed_member_says_displaces_nothing_of_other_removed_ones() {
    // An admin removes somebody whom the owner, at once, has the admin removed beside.
    let old = room_of(6, &[3, 4]);
    let mut log = old.clone();
    log.write(&person(3), Change::Remove(key(2)), NOW).unwrap();
    log.write(&person(4), Change::Remove(key(1)), NOW).unwrap();
    let heads: Vec<_> = old.heads().iter().copied().collect();
    let mut talk = Talk::default();
    assert_eq!(talk.hear(&log, key(2), 1, naming(&log, 1, &heads)), Heard::NotAMember);
    for sequence in 1..200 {
        talk.hear(&log, key(1), 1, naming(&log, sequence, &heads));
    }
    let mut owners = old;
    owners.write(&person(0), Change::Remove(key(3)), NOW).unwrap();
    tell(&owners, &mut log);
    assert!(log.state().is_member(&key(2)));
    let heard = talk.look_again(&log);
    assert!(matches!(&heard[..], [Heard::Shown { author, .. }] if *author == key(2)), "{heard:?}");
}

#[test]
fn events_of_a_member_that_wait_displace_none_of_others_and_invented_people_have_one_share() {
    let mut source = room_of(4, &[]);
    let mut log = source.clone();
    let before = source.write(&person(0), Change::Rename(name("before")), NOW).unwrap();
    invite(&mut source, 2, 80).unwrap();
    let honest = source.events().last().unwrap().clone();
    assert_eq!(log.take(honest.clone()), Ok(Taken::Waits));
    for number in 0..WAITING_MAX as u32 {
        let change = |text: String| Change::Rename(name(&text));
        let of_member = forged(&log, 1, None, &[nowhere(7)], change(format!("member {number}")));
        let author = 100 + (number % 100) as u8;
        let invented =
            forged(&log, author, None, &[nowhere(8)], change(format!("invented {number}")));
        log.take(of_member).unwrap();
        log.take(invented).unwrap();
    }
    assert_eq!(log.take(before.clone()), Ok(Taken::New(vec![before.id(), honest.id()])));
}

/// Events side by side of many members, with ids that come first.
fn branch_out(log: &mut Log, authors: std::ops::Range<u8>) {
    for author in authors {
        let since = [log.state().members()[&key(author)].since];
        for text in 0_u32.. {
            let token = person(200).public();
            let expires_at = NOW + comm_proto::time::Span::from_secs(1 + u64::from(text));
            let event = forged(log, author, None, &since, Change::Invite { token, expires_at });
            if event.id().as_bytes()[0] < 16 {
                log.take(event).unwrap();
                break;
            }
        }
    }
}

#[test]
fn whoever_was_let_in_after_members_who_branch_out_is_heard_and_acts_all_the_same() {
    const MANY: u8 = HEADS_MAX as u8 + 4;
    const LATER: u8 = 5 + 2 * MANY;
    let mut log = room_of(LATER + 1, &[]);
    branch_out(&mut log, 5..5 + MANY);
    assert!(log.heads().len() > HEADS_MAX);
    let mut reader = Seat::take(person(0), log.clone());
    let mut later = Seat::take(person(LATER), log.clone());
    let (_, steps) = later.say(ContentType::TEXT, b"here".to_vec()).unwrap();
    let note = steps.into_iter().find_map(|step| match step {
        Step::Send { to, note } if to == key(0) => Some(note),
        _ => None,
    });
    let heard = reader.hear(key(LATER), note.unwrap(), NOW);
    assert!(matches!(&heard[..], [Step::Heard(Heard::Shown { .. })]), "{heard:?}");
    let mut theirs = log.clone();
    invite(&mut theirs, LATER, 90).unwrap();
    super::appoint(&mut log, 3, Office::Admin);
    branch_out(&mut log, 5 + MANY..5 + 2 * MANY);
    assert!(log.heads().len() > HEADS_MAX);
    log.write(&person(3), Change::Rename(name("as an admin")), NOW).unwrap();
    assert_eq!(log.state().name().as_str(), "as an admin");
}
