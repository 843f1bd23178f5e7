//! Rooms of running programs.

use serde_json::{Value, json};

use crate::person::{Home, Person, assert_sealed};

/// Three people in one network, of whom Ann and Cid came in through Bob.
fn three(homes: &[Home; 3]) -> (Person, Person, Person) {
    let mut bob = homes[1].start(None);
    let place = bob.started();
    let [mut ann, mut cid] = [0, 2].map(|at: usize| homes[at].start(Some(&place)));
    ann.started();
    cid.started();
    (ann, bob, cid)
}

fn invitation(person: &mut Person, room: &str) -> String {
    person.say(&format!("/room invite {room}"));
    let made = person.wait_for_object("room_invitation", &json!({}));
    made["invitation"].as_str().unwrap().to_owned()
}

fn lines(person: &mut Person, room: &str) -> Vec<(String, String)> {
    person.say(&format!("/room history {room}"));
    let history = person.wait_for_object("room_history", &json!({}));
    let line = |line: &Value| {
        let text = |field: &str| line[field].as_str().unwrap().to_owned();
        (text("address"), text("text"))
    };
    history["lines"].as_array().unwrap().iter().map(line).collect()
}

/// E4, E5, E15: Cid joins by Ann's invitation while Ann is away, let in by Bob; every line comes once with its author;
/// whoever was put out gets nothing newer.
#[test]
fn three_people_meet_in_a_room_while_whoever_invited_is_away() {
    let homes = [1, 2, 3].map(Home::new);
    let [ann_is, bob_is, cid_is] = [0, 1, 2].map(|at: usize| homes[at].address().to_string());
    let (mut ann, mut bob, mut cid) = three(&homes);
    ann.say("/room create book club");
    let room = ann.wait_for_object("room", &json!({ "handle": "book-club", "role": "owner" }));
    bob.say(&format!("/join {}", invitation(&mut ann, "book-club")));
    bob.wait_for_object("room_joined", &json!({ "room": room["room"] }));
    ann.wait_for_object("room_changed", &json!({ "change": "let_in", "about": bob_is }));
    let for_cid = invitation(&mut ann, "book-club");
    bob.wait_for_object("room_changed", &json!({ "change": "invited", "by": ann_is }));

    // Ann leaves the network, and her node with her.
    ann.say("/offline");
    ann.wait_for_object("offline", &json!({}));
    cid.say(&format!("/join {for_cid}"));
    cid.wait_for_object("room", &json!({ "standing": "asking" }));
    cid.wait_for_object("room_joined", &json!({ "members": 3 }));
    cid.say("book-club: here I am");
    bob.wait_for_object("room_said", &json!({ "text": "here I am", "address": cid_is }));
    bob.say("/msg book-club welcome");
    let sent = bob.wait_for_object("room_queued", &json!({ "text": "welcome" }));
    cid.wait_for_object("room_said", &json!({ "text": "welcome", "address": bob_is }));
    let number = &sent["number"];
    bob.wait_for_object(
        "room_state",
        &json!({ "number": number, "address": cid_is, "state": "delivered" }),
    );
    ann.say("/online");
    ann.wait_for_object("room_said", &json!({ "text": "here I am" }));
    bob.wait_for_object(
        "room_state",
        &json!({ "number": number, "address": ann_is, "state": "delivered" }),
    );
    let mut all = lines(&mut ann, "book-club");
    all.sort();
    let mut expected =
        vec![(cid_is.clone(), "here I am".to_owned()), (bob_is.clone(), "welcome".to_owned())];
    expected.sort();
    assert_eq!(all, expected);

    ann.say(&format!("/room remove book-club {cid_is}"));
    ann.wait_for_object("room", &json!({ "members": 2 }));
    bob.wait_for_object("room_changed", &json!({ "change": "removed", "about": cid_is }));
    cid.wait_for_object("room_changed", &json!({ "change": "removed", "standing": "former" }));
    ann.say("book-club: without Cid");
    bob.wait_for_object("room_said", &json!({ "text": "without Cid" }));
    ann.say("/msg book-club and this");
    bob.wait_for_object("room_said", &json!({ "text": "and this" }));
    assert_eq!(lines(&mut cid, "book-club").len(), 2);
    cid.say("book-club: am I here?");
    let error = cid.wait_for_object("error", &json!({}));
    assert!(error["text"].as_str().unwrap().contains("no member"), "{error}");

    // It is all there after a restart.
    ann.quits();
    let mut ann = homes[0].start(None);
    ann.started();
    assert_eq!(lines(&mut ann, "book-club").len(), 4);
    ann.say("/room members book-club");
    let members = ann.wait_for_object("room_members", &json!({}));
    assert_eq!(members["members"].as_array().unwrap().len(), 2);
    for person in [ann, bob, cid] {
        person.quits();
    }
    for home in &homes {
        assert_sealed(&home.data(), b"without Cid");
        assert_sealed(&home.data(), b"book club");
    }
}

/// E11, E12: an invitation waits for somebody who is off, brings them in once they want it, and its maker sees so.
#[test]
fn an_invitation_waits_for_somebody_who_is_off() {
    let homes = [1, 2].map(Home::new);
    let mut ann = homes[0].start(None);
    let place = ann.started();
    let bob_is = homes[1].address();
    let mut bob = homes[1].start(Some(&place));
    bob.started();
    ann.sends(bob_is, "hello");
    bob.hears(homes[0].address(), "hello");
    bob.quits();
    ann.say("/room create club");
    ann.wait_for_object("room", &json!({}));
    ann.say(&format!("/room invite club {bob_is} 12h"));
    ann.wait_for_object("room_invitation", &json!({ "sent_to": bob_is.to_string() }));
    let mut bob = homes[1].start(Some(&place));
    let text = bob.wait_for("the invitation", |line| {
        let object: Value = serde_json::from_str(line).ok()?;
        let text = object["text"].as_str()?;
        text.starts_with("comm:room/").then(|| text.to_owned())
    });
    // Nothing joins by itself.
    ann.say("/room members club");
    let members = ann.wait_for_object("room_members", &json!({}));
    assert_eq!(members["members"].as_array().unwrap().len(), 1);
    bob.say(&format!("/join {text}"));
    bob.wait_for_object("room_joined", &json!({ "members": 2 }));
    ann.wait_for_object(
        "room_changed",
        &json!({ "change": "let_in", "about": bob_is.to_string() }),
    );
    ann.quits();
    bob.quits();
}
