//! What rooms cost in bytes: the figures of PROTOCOL §4.19.

use comm_proto::envelope::SizeClass;
use comm_proto::payload::{self, ContentType};
use comm_proto::room::{Change, Event, Heads, Note, Office, Policy, Said};

use super::{NOW, key, name, person, room_of};

/// Lengths of one event of each kind that names one head.
#[test]
fn events_have_the_sizes_that_the_protocol_says() {
    let mut log = room_of(3, &[]);
    let mut length = |change: Change| log.write(&person(0), change, NOW).unwrap().to_bytes().len();
    let token = key(77);
    let expires_at = NOW + comm_proto::time::Span::DAY;
    assert_eq!(length(Change::Invite { token, expires_at }), 261);
    assert_eq!(length(Change::Revoke(token)), 253);
    assert_eq!(length(Change::Appoint { member: key(1), role: Office::Admin }), 254);
    assert_eq!(length(Change::Remove(key(1))), 253);
    assert_eq!(length(Change::Rename(name("nine byte"))), 234);
    assert_eq!(length(Change::Decide(Policy::Admins)), 222);
    let events: Vec<_> = log.events().collect();
    let founding = events[0].to_bytes().len();
    let admission = events.iter().find(|e| matches!(e.change(), Some(Change::Admit(_)))).unwrap();
    assert_eq!((founding, admission.to_bytes().len()), (169, 445));
    assert_eq!(Event::LEN_MAX, 925);
}

/// 200 members let in one after the other, and 50 changes.
#[test]
fn the_log_of_a_full_room_is_told_in_three_of_the_largest_envelopes() {
    let mut log = room_of(200, &[]);
    for round in 0..50 {
        let text = format!("name {round}");
        log.write(&person(0), Change::Rename(name(&text)), NOW).unwrap();
    }
    let bytes: usize = log.events().map(|event| event.to_bytes().len()).sum();
    let events: Vec<&Event> = log.events().map(|event| &**event).collect();
    let pages = |class| Note::pages(events.iter().copied(), class).len();
    let counted = (log.len(), bytes, pages(SizeClass::K64), pages(SizeClass::K16));
    assert_eq!(counted, (1 + 2 * 199 + 50, 152_253, 3, 10));
    for page in Note::pages(events.iter().copied(), SizeClass::K16) {
        let body = page.to_bytes();
        assert!(body.len() <= payload::capacity(SizeClass::K16));
        assert_eq!(Note::from_bytes(&body), Ok(page));
    }
}

/// What is said in a room costs each member one envelope, and 115 bytes of its text more than between two.
#[test]
fn what_is_said_in_a_room_fits_the_classes_that_the_protocol_says() {
    let log = room_of(3, &[]);
    let heads = Heads::of(log.heads()).unwrap();
    let note = |length: usize| Note::Said {
        first: 1,
        said: Said {
            room: log.room(),
            sequence: 1,
            previous: None,
            heads: heads.clone(),
            content_type: ContentType::TEXT,
            body: vec![b'x'; length],
        },
    };
    let longest = SizeClass::ALL.map(|class| {
        let overhead = note(0).to_bytes().len();
        payload::capacity(class) - overhead
    });
    assert_eq!(longest, [705, 3_777, 16_065, 64_961]);
    assert_eq!(Said::body_max(1), longest[3]);
    let body = note(705).to_bytes();
    assert_eq!(payload::class_for(body.len()), Some(SizeClass::K1));
    assert_eq!(Note::from_bytes(&body), Ok(note(705)));
}
