//! What a program still knows after it was ended and started again.

use serde_json::{Value, json};

use crate::person::{Home, Person, two};

fn texts(person: &mut Person, line: &str) -> Vec<String> {
    person.say(line);
    let history = person.wait_for_object("history", &json!({}));
    let entries = history["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn history_and_contacts_are_there_again() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let (mut ann, mut bob) = two(&ann_home, &bob_home);
    ann.say(&format!("/contact add bob {}", bob_home.address()));
    ann.wait_for_object("contact", &json!({ "name": "bob" }));
    let number = ann.sends(bob_home.address(), "one");
    bob.hears(ann_home.address(), "one");
    ann.sees(number, "delivered");
    bob.sends(ann_home.address(), "two");
    ann.hears(bob_home.address(), "two");
    ann.quits();
    bob.quits();

    let mut ann = ann_home.start(None);
    ann.started();
    assert_eq!(texts(&mut ann, "/history bob"), ["one", "two"]);
    assert_eq!(texts(&mut ann, "/history 1"), ["two"]);
    ann.say("/contacts");
    let contacts = ann.wait_for_object("contacts", &json!({}));
    let known: Vec<&Value> =
        contacts["contacts"].as_array().unwrap().iter().map(|contact| &contact["name"]).collect();
    assert_eq!(known, ["bob"]);
    ann.say(&format!("/status {number}"));
    assert_eq!(ann.wait_for_object("message", &json!({}))["state"], "delivered");
    ann.quits();
}

#[test]
fn what_was_written_without_a_network_is_sent_after_a_restart() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let mut ann = ann_home.start(None);
    ann.started();
    let number = ann.sends(bob_home.address(), "are you there yet?");
    ann.say("/quit");
    ann.wait_for_object("left", &json!({ "waiting": 1 }));
    let (status, errors) = ann.ended();
    assert!(status.success(), "{errors}");

    let mut ann = ann_home.start(None);
    let place = ann.started();
    let mut bob = bob_home.start(Some(&place));
    bob.started();
    let heard = bob.hears(ann_home.address(), "are you there yet?");
    assert_eq!((&heard["sequence"], &heard["missing_before"]), (&json!(1), &json!(0)));
    ann.sees(number, "delivered");
    ann.quits();
    bob.quits();
}

#[test]
fn what_was_shown_is_kept_however_the_program_ended() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let (mut ann, mut bob) = two(&ann_home, &bob_home);
    let mut said = Vec::new();
    for n in 0..10 {
        let text = format!("message {n}");
        ann.sends(bob_home.address(), &text);
        bob.hears(ann_home.address(), &text);
        said.push(text);
    }
    ann.kill();
    bob.kill();
    for (home, other) in [(&ann_home, &bob_home), (&bob_home, &ann_home)] {
        let mut person = home.start(None);
        person.started();
        assert_eq!(texts(&mut person, &format!("/history {}", other.address())), said);
        person.quits();
    }
}

#[test]
fn a_message_waits_at_a_friend_while_its_reader_is_away() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let (mut ann, mut bob) = two(&ann_home, &bob_home);
    let number = ann.sends(bob_home.address(), "one");
    bob.hears(ann_home.address(), "one");
    ann.sees(number, "delivered");
    bob.quits();
    let number = ann.sends(bob_home.address(), "two");
    ann.sees(number, "accepted");
    let place = {
        ann.say("/whoami");
        let me = ann.wait_for_object("whoami", &json!({}));
        me["node"]["endpoints"][0].as_str().unwrap().to_owned()
    };
    let mut bob = bob_home.start(Some(&place));
    bob.started();
    bob.hears(ann_home.address(), "two");
    ann.sees(number, "delivered");
    ann.quits();
    bob.quits();
}
