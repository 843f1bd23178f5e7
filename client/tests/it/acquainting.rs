//! Who may write to whom, and links, as people and programs use them.

use serde_json::{Value, json};

use crate::person::{Home, Person, assert_sealed, two};

fn refusal(person: &mut Person, line: &str) -> String {
    person.say(line);
    person.wait_for_object("error", &json!({}))["text"].as_str().unwrap().to_owned()
}

fn requests(person: &mut Person) -> Vec<Value> {
    person.say("/requests");
    person.wait_for_object("requests", &json!({}))["requests"].as_array().unwrap().clone()
}

/// Told once, over a restart, held sealed; then all of it is there.
#[test]
fn a_stranger_asks_and_is_let_in_or_refused_by_commands() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let (mut ann, mut bob) = two(&ann_home, &bob_home);
    let address = bob_home.address().to_string();
    let number = bob.sends(ann_home.address(), "the heron is at the weir");
    ann.wait_for_object("request", &json!({ "address": address }));
    bob.sees(number, "delivered");
    ann.say("/history");
    assert_eq!(ann.wait_for_object("history", &json!({}))["entries"], json!([]));
    ann.say("/contacts");
    assert_eq!(ann.wait_for_object("contacts", &json!({}))["contacts"], json!([]));
    let short = &address[..8];
    assert!(refusal(&mut ann, &format!("/accept {}", &address[..7])).contains("whole address"));
    assert!(refusal(&mut ann, "/accept nobody99").contains("nobody who asks"));
    assert!(refusal(&mut ann, &format!("/accept {short} two:words")).contains("contact's name"));
    ann.quits();
    assert_sealed(&ann_home.data(), b"the heron");

    let mut ann = ann_home.start(None);
    let place = ann.started();
    let asked = ann.wait_for_object("requests", &json!({}));
    assert_eq!((&asked["requests"][0]["messages"], requests(&mut ann).len()), (&json!(1), 1));
    ann.say(&format!("/accept {short} bob"));
    ann.wait_for_object("contact", &json!({ "name": "bob", "named": true }));
    let heard = ann.hears(bob_home.address(), "the heron is at the weir");
    assert_eq!((&heard["stranger"], &heard["missing_before"]), (&json!(false), &json!(0)));
    assert!(requests(&mut ann).is_empty());

    let mut eve_home = Home::new(3);
    let mut eve = eve_home.start(Some(&place));
    eve.started();
    for all in [false, true] {
        eve.sends(ann_home.address(), "buy this");
        let eve_is = eve_home.address().to_string();
        ann.wait_for_object("request", &json!({ "address": eve_is }));
        if all {
            ann.say("/refuse all");
            ann.wait_for_object("all_refused", &json!({ "people": 1 }));
        } else {
            ann.say(&format!("/refuse {eve_is}"));
            ann.wait_for_object("refused", &json!({ "address": eve_is, "messages": 1 }));
            assert!(refusal(&mut ann, &format!("/accept {eve_is}")).contains("does not ask"));
            eve.quits();
            eve_home = Home::new(4);
            eve = eve_home.start(Some(&place));
            eve.started();
        }
    }
    [ann, bob, eve].into_iter().for_each(Person::quits);
}

/// Of whom is blocked nothing comes, and what waits comes when they are no more.
#[test]
fn somebody_is_blocked_and_unblocked_by_commands() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let (mut ann, mut bob) = two(&ann_home, &bob_home);
    ann.say(&format!("/contact add bob {}", bob_home.address()));
    ann.wait_for_object("contact", &json!({ "name": "bob" }));
    ann.sends(bob_home.address(), "hello");
    bob.hears(ann_home.address(), "hello");
    ann.say("/block bob");
    ann.wait_for_object("blocked", &json!({ "name": "bob" }));
    ann.say("/blocked");
    let blocked = ann.wait_for_object("all_blocked", &json!({}));
    assert_eq!(blocked["blocked"][0]["name"], "bob");
    let number = bob.sends(ann_home.address(), "are you cross?");
    bob.sees(number, "stored");
    assert!(refusal(&mut ann, &format!("{} x", bob_home.address())).contains("is blocked"));
    assert!(refusal(&mut ann, "/unblock eve").contains("nobody who is blocked"));
    ann.say("/unblock bob");
    ann.wait_for("that bob is a contact again, and nothing of his before", |line| {
        assert!(!line.contains("are you cross?"), "{line}");
        line.contains("\"unblocked\"").then_some(())
    });
    ann.say("/offline");
    ann.wait_for_object("offline", &json!({ "reason": "offline" }));
    ann.say("/online");
    ann.hears(bob_home.address(), "are you cross?");
    bob.sees(number, "delivered");
    ann.quits();
    bob.quits();
}

/// A link leads into the network, to the person, and to their key before anybody has their card.
#[test]
fn a_link_is_all_that_a_friend_needs() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let mut ann = ann_home.start(None);
    ann.started();
    ann.say("/link ann entries");
    let link = ann.wait_for_object("link", &json!({ "name": "ann", "code": null }));
    assert_eq!(link["address"], ann_home.address().to_string());
    let text = link["link"].as_str().unwrap().to_owned();
    ann.say("/qr");
    let code = ann.wait_for_object("link", &json!({ "name": null, "entries": [] }));
    assert!(code["code"].as_array().unwrap().len() > 15, "{code}");

    let mut command = bob_home.comm();
    command.args(["--json", &bob_home.secret(), "127.0.0.1:0", &text]);
    let mut bob = Person::start(command);
    let known = bob.wait_for_object("contact", &json!({ "name": "ann", "named": true }));
    assert!(known["key"].is_string(), "{known}");
    bob.say("ann: by your link");
    ann.hears(bob_home.address(), "by your link");
    // Who has a name keeps it.
    bob.say(&format!("/contact add annie {}", ann_home.address()));
    bob.wait_for_object("contact", &json!({ "name": "annie" }));
    bob.say(&format!("/add {text}"));
    bob.wait_for_object("contact", &json!({ "name": "annie" }));
    let mut wrong = text.clone();
    let last = if wrong.pop() == Some('a') { 'b' } else { 'a' };
    wrong.push(last);
    assert!(refusal(&mut bob, &format!("/add {wrong}")).contains("link"));
    assert!(refusal(&mut ann, &format!("/add {text}")).contains("your own address"));
    ann.quits();
    bob.quits();
}

/// A13.
#[test]
fn a_comparison_is_noted_and_shown_afterwards() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let (mut ann, bob) = two(&ann_home, &bob_home);
    ann.say(&format!("/contact add bob {}", bob_home.address()));
    ann.wait_for_object("contact", &json!({ "compared_at": null }));
    ann.say("bob: hello");
    ann.sees(1, "delivered");
    ann.say("/verify bob");
    ann.wait_for_object("verify", &json!({ "compared_at": null }));
    ann.say("/verify bob same");
    assert!(ann.wait_for_object("contact", &json!({}))["compared_at"].is_u64());
    ann.say("/verify bob");
    assert!(ann.wait_for_object("verify", &json!({}))["compared_at"].is_u64());
    ann.say("/verify bob forget");
    ann.wait_for_object("contact", &json!({ "compared_at": null }));
    ann.quits();
    bob.quits();
}
