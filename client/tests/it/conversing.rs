//! What two people do in a conversation, besides saying something.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::person::{Home, Person, assert_sealed, two};

/// Ann and Bob, whose names are known to each other.
fn acquainted(ann_home: &Home, bob_home: &Home) -> (Person, Person) {
    let (mut ann, mut bob) = two(ann_home, bob_home);
    for (person, name, home) in [(&mut ann, "bob", bob_home), (&mut bob, "ann", ann_home)] {
        person.say(&format!("/contact add {name} {}", home.address()));
        person.wait_for_object("contact", &json!({ "name": name }));
    }
    (ann, bob)
}

fn history(person: &mut Person, name: &str) -> Vec<Value> {
    person.say(&format!("/history {name}"));
    person.wait_for_object("history", &json!({}))["entries"].as_array().unwrap().clone()
}

fn refusal(person: &mut Person, line: &str) -> String {
    person.say(line);
    person.wait_for_object("error", &json!({}))["text"].as_str().unwrap().to_owned()
}

/// E20, E28, E30: by commands, in both directions, over a restart.
#[test]
fn messages_are_answered_edited_and_deleted_in_the_chat() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let (mut ann, mut bob) = acquainted(&ann_home, &bob_home);
    let asked = ann.sends(bob_home.address(), "tea or cofee?");
    let heard = bob.hears(ann_home.address(), "tea or cofee?");
    ann.sees(asked, "delivered");
    bob.say(&format!("/reply {} tea", heard["number"]));
    bob.wait_for_object("queued", &json!({ "text": "tea", "answers_number": heard["number"] }));
    let answer = ann.hears(bob_home.address(), "tea");
    assert_eq!((&answer["answers_number"], &answer["answers"]), (&json!(asked), &heard["id"]));

    ann.say(&format!("/edit #{asked} tea or coffee?"));
    let edited = ann.wait_for_object("edited", &json!({ "number": asked }));
    ann.sees(edited["notice"].as_u64().unwrap(), "delivered");
    let revised = bob.wait_for_object("revised", &json!({ "number": heard["number"] }));
    assert_eq!(revised["text"], "tea or coffee?");
    assert!(revised["edited_at"].is_u64() && revised["deleted_at"].is_null(), "{revised}");

    ann.say(&format!("/info {asked}"));
    let info = ann.wait_for_object("message", &json!({ "number": asked, "state": "delivered" }));
    assert_eq!(info["recipients"], json!([bob_home.address().to_string()]));
    assert!(info["accepted_at"].is_u64() && info["ended_at"].is_u64(), "{info}");

    ann.say(&format!("/delete {asked}"));
    let deleted = ann.wait_for_object("deleted", &json!({ "number": asked, "may_be_kept": true }));
    ann.sees(deleted["notice"].as_u64().unwrap(), "delivered");
    let revised = bob.wait_for_object("revised", &json!({ "text": null }));
    assert!(revised["deleted_at"].is_u64(), "{revised}");
    for wrong in [format!("/edit {asked} x"), format!("/delete {asked}")] {
        assert!(refusal(&mut ann, &wrong).contains("was removed"));
    }
    let theirs = format!("/delete {}", answer["number"]);
    assert!(refusal(&mut ann, &theirs).contains("is not yours"));
    assert!(refusal(&mut ann, "/reply 99 x").contains("no message #99"));
    ann.quits();
    bob.quits();
    for home in [&ann_home, &bob_home] {
        assert_sealed(&home.data(), b"coffee");
    }
    let mut bob = bob_home.start(None);
    bob.started();
    let texts: Vec<_> = history(&mut bob, "ann").iter().map(|e| e["text"].clone()).collect();
    assert_eq!(texts, [json!(null), json!("tea")]);
    bob.quits();
}

/// E28, E30: the same as people read it.
#[test]
fn answers_edits_and_removals_are_told_in_words() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let mut ann = ann_home.start(None);
    let place = ann.started();
    let mut command = bob_home.comm();
    command.args([&bob_home.secret(), "127.0.0.1:0", &place]);
    let mut bob = Person::start(command);
    bob.wait_for_text("your node");
    bob.say(&format!("/contact add ann {}", ann_home.address()));
    let asked = ann.sends(bob_home.address(), "tea?");
    let line = bob.wait_for_text("tea?");
    let number = line.split_once('#').unwrap().1.split_once(' ').unwrap().0;
    bob.say(&format!("/reply {number} yes"));
    let queued = bob.wait_for_text("to ann: queued");
    let own = queued.split_once(' ').unwrap().0.to_owned();
    let answer = ann.hears(bob_home.address(), "yes");
    bob.wait_for_text(&format!("{own} to ann: delivered at"));
    ann.say(&format!("/reply {} green?", answer["number"]));
    assert!(bob.wait_for_text("green?").contains("ann, answering #"));
    ann.say(&format!("/edit {asked} coffee?"));
    assert!(bob.wait_for_text("has edited").contains(&format!("#{number}")));
    ann.say(&format!("/delete {asked}"));
    bob.wait_for_text(&format!("ann has deleted #{number}"));
    bob.say(&format!("/info {own}"));
    bob.wait_for_text("recipients: ann");
    bob.say(&format!("/delete {own}"));
    bob.wait_for_text("but may have kept it");
    bob.say("/help");
    bob.wait_for_text("messages:");
    ann.quits();
    bob.quits();
}

/// E29: on both disks, in the chat, and when the program was not running at the time.
#[test]
fn messages_disappear_on_both_sides_also_while_the_program_is_off() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let (mut ann, mut bob) = acquainted(&ann_home, &bob_home);
    ann.sends(bob_home.address(), "this stays");
    bob.hears(ann_home.address(), "this stays");
    ann.say("/timer bob 6s");
    ann.wait_for_object("queued", &json!({ "disappears_after": 6_000 }));
    bob.wait_for_object("received", &json!({ "disappears_after": 6_000 }));
    bob.say("/timer ann");
    bob.wait_for_object("timer", &json!({ "disappears_after": 6_000 }));
    let number = ann.sends(bob_home.address(), "for six seconds");
    let heard = bob.hears(ann_home.address(), "for six seconds");
    assert!(heard["disappears_at"].is_u64(), "{heard}");
    ann.sees(number, "delivered");
    bob.quits();
    ann.wait_for_object("disappeared", &json!({ "number": number }));
    ann.say("/timer bob off");
    ann.wait_for_object("queued", &json!({ "disappears_after": null }));
    ann.quits();
    let mut bob = bob_home.start(None);
    bob.started();
    for (mut person, name) in [(bob, "ann"), (ann_home.start(None), "bob")] {
        let texts: Vec<_> = history(&mut person, name).iter().map(|e| e["text"].clone()).collect();
        assert!(texts.contains(&json!("this stays")), "{texts:?}");
        assert!(!texts.contains(&json!("for six seconds")), "{texts:?}");
        person.quits();
    }
    for home in [&ann_home, &bob_home] {
        assert_sealed(&home.data(), b"for six seconds");
    }
}

/// E21, F9: off at first; wanted, what is printed is told, and what goes to a log is not read.
#[test]
fn receipts_are_sent_if_wanted_for_what_was_shown() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let (mut ann, mut bob) = acquainted(&ann_home, &bob_home);
    ann.sends(bob_home.address(), "unnoticed");
    bob.hears(ann_home.address(), "unnoticed");
    bob.say("/receipts");
    bob.wait_for_object("receipts", &json!({ "name": null, "rule": "off" }));
    bob.say("/receipts ann on");
    bob.wait_for_object("receipts", &json!({ "name": "ann", "rule": "on" }));
    let number = ann.sends(bob_home.address(), "noticed");
    bob.hears(ann_home.address(), "noticed");
    let read = ann.wait_for_object("read", &json!({ "name": "bob" }));
    assert_eq!(read["number"], number, "the first was not told");
    ann.say(&format!("/info {number}"));
    assert!(ann.wait_for_object("message", &json!({}))["read_at"].is_u64());
    ann.say("/receipts bob");
    ann.wait_for_object("receipts", &json!({ "name": "bob", "rule": "default" }));
    assert!(refusal(&mut ann, "/receipts bob maybe").contains("usage"));
    bob.quits();

    // A program that prints to a log shows nobody anything until it is asked.
    let place = {
        ann.say("/whoami");
        let us = ann.wait_for_object("whoami", &json!({}));
        us["node"]["endpoints"][0].as_str().unwrap().to_owned()
    };
    let mut command = bob_home.comm();
    command.args(["--json", "--daemon", &bob_home.secret(), "127.0.0.1:0", &place]);
    let mut bob = Person::start(command);
    bob.started();
    let number = ann.sends(bob_home.address(), "for the log");
    bob.hears(ann_home.address(), "for the log");
    let unread = |bob: &mut Person| {
        bob.say("/contacts");
        bob.wait_for_object("contacts", &json!({}))["contacts"][0]["unread"].clone()
    };
    assert_eq!(unread(&mut bob), 1);
    assert_eq!(history(&mut bob, "ann").len(), 3);
    let read = ann.wait_for_object("read", &json!({}));
    assert_eq!(read["number"], number);
    assert_eq!(unread(&mut bob), 0);
    ann.quits();
    bob.quits();
}

/// F9: in one run after another, since the end may come before or after the mark by itself.
#[test]
fn what_was_printed_last_before_the_end_counts_as_shown() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let (mut ann, mut bob) = acquainted(&ann_home, &bob_home);
    ann.say("/whoami");
    let place = ann.wait_for_object("whoami", &json!({}))["node"]["endpoints"][0].clone();
    for run in 0..3 {
        let text = format!("the last of run {run}");
        ann.sends(bob_home.address(), &text);
        bob.hears(ann_home.address(), &text);
        bob.quits();
        bob = bob_home.start(place.as_str());
        bob.started();
        bob.say("/contacts");
        let contacts = bob.wait_for_object("contacts", &json!({}));
        assert_eq!(contacts["contacts"][0]["unread"], 0, "run {run}");
    }
    ann.quits();
    bob.quits();
}

/// E27, F9, F11: by commands; a file is written once, for its owner alone.
#[test]
fn conversations_are_listed_searched_muted_and_exported_in_the_chat() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let (mut ann, mut bob) = acquainted(&ann_home, &bob_home);
    ann.sends(bob_home.address(), "meet me at the Old Mill");
    bob.hears(ann_home.address(), "meet me at the Old Mill");
    bob.sends(ann_home.address(), "the new mill?");
    ann.hears(bob_home.address(), "the new mill?");
    ann.say("/search mill old");
    let found = ann.wait_for_object("found", &json!({}));
    assert_eq!(found["entries"].as_array().unwrap().len(), 1);
    assert_eq!(found["entries"][0]["text"], "meet me at the Old Mill");
    ann.say("/mute bob");
    ann.wait_for_object("contact", &json!({ "name": "bob", "muted": true }));
    bob.sends(ann_home.address(), "never mind");
    assert_eq!(ann.hears(bob_home.address(), "never mind")["muted"], true);
    ann.say("/conversations");
    let list = ann.wait_for_object("conversations", &json!({}))["conversations"].clone();
    assert_eq!((&list[0]["name"], &list[0]["last"]["text"]), (&json!("bob"), &json!("never mind")));
    ann.say("/timer bob 1h");
    ann.wait_for_object("queued", &json!({ "disappears_after": 3_600_000 }));
    ann.sends(bob_home.address(), "for an hour");

    let file = |name: &str| ann_home.path().join(name);
    for (name, messages) in [("bob.json", 4), ("bob.txt", 4)] {
        let path = file(name);
        ann.say(&format!("/export bob {}", path.display()));
        let exported = ann.wait_for_object("exported", &json!({ "left_out": 1 }));
        assert_eq!(exported["messages"], messages);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let before = fs::read_to_string(&path).unwrap();
        assert!(
            refusal(&mut ann, &format!("/export bob {}", path.display())).contains("there already")
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
        assert!(before.contains("never mind") && !before.contains("for an hour"), "{before}");
    }
    let document: Value = serde_json::from_slice(&fs::read(file("bob.json")).unwrap()).unwrap();
    assert_eq!(document["format"], "comm/conversation/v1");
    assert_eq!(document["with"]["address"], bob_home.address().to_string());
    let texts: Vec<_> =
        document["messages"].as_array().unwrap().iter().map(|m| m["text"].clone()).collect();
    let said = ["meet me at the Old Mill", "the new mill?", "never mind"];
    assert_eq!(texts[..3], said.map(Value::from));
    assert_eq!(document["messages"][1]["author"], "them");
    let lines = fs::read_to_string(file("bob.txt")).unwrap();
    assert_eq!(lines.lines().count(), 5, "{lines}");
    assert!(refusal(&mut ann, "/export bob /nowhere/at/all").contains("cannot make"));
    assert!(refusal(&mut ann, "/export eve x").contains("nobody is called eve"));
    ann.quits();
    bob.quits();
}

/// E31: what is passed on says nothing of whom it comes from, unless that is wanted.
#[test]
fn a_text_that_is_passed_on_names_its_author_only_if_asked_to() {
    let homes = [Home::new(1), Home::new(2), Home::new(3)];
    let (mut ann, mut bob) = acquainted(&homes[0], &homes[1]);
    let number = ann.sends(homes[1].address(), "the mill is closed");
    let heard = bob.hears(homes[0].address(), "the mill is closed");
    ann.sees(number, "delivered");
    ann.say("/whoami");
    let us = ann.wait_for_object("whoami", &json!({}));
    let mut carol = homes[2].start(us["node"]["endpoints"][0].as_str());
    carol.started();
    let carol_is = homes[2].address();
    bob.say(&format!("/forward {} {carol_is}", heard["number"]));
    let plain = carol.hears(homes[1].address(), "the mill is closed");
    assert_eq!((&plain["answers"], &plain["content_type"]), (&json!(null), &json!(1)));
    bob.say(&format!("/forward {} {carol_is} named", heard["number"]));
    let named = format!("{} wrote:\nthe mill is closed", homes[0].address());
    carol.hears(homes[1].address(), &named);
    assert!(refusal(&mut bob, &format!("/forward 99 {carol_is}")).contains("no message #99"));
    bob.say("/timer ann 1h");
    let timer = bob.wait_for_object("queued", &json!({ "disappears_after": 3_600_000 }));
    let no_text = format!("/forward {} {carol_is}", timer["number"]);
    assert!(refusal(&mut bob, &no_text).contains("is no text"));
    let number = bob.sends(homes[0].address(), "for an hour");
    assert!(refusal(&mut bob, &format!("/forward {number} {carol_is}")).contains("to disappear"));
    [ann, bob, carol].into_iter().for_each(Person::quits);
}
