//! Who somebody is: on another machine, beside others on one machine, over either family of
//! addresses, and in nobody's log.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::person::{Home, Person, two};

/// Copies as an owner would: for nobody else to open.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    std::fs::set_permissions(to, Permissions::from_mode(0o700)).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target);
        } else {
            std::fs::copy(&source, &target).unwrap();
        }
    }
}

fn texts(person: &mut Person) -> Vec<String> {
    person.say("/history 100");
    let history = person.wait_for_object("history", &json!({}));
    let entries = history["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["text"].as_str().unwrap().to_owned()).collect()
}

/// A7, G9: secret and data go to another machine, and what waited is opened there.
#[test]
fn mail_that_waits_is_read_on_another_machine_that_has_a_copy_of_the_data() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let mut ann = ann_home.start(None);
    let place = ann.started();
    let mut bob = bob_home.start(Some(&place));
    bob.started();
    let number = ann.sends(bob_home.address(), "one");
    bob.hears(ann_home.address(), "one");
    ann.sees(number, "delivered");
    bob.quits();
    // Ann has Bob's card by now, so this is sealed to a key that only his data holds.
    let number = ann.sends(bob_home.address(), "two");
    ann.sees(number, "accepted");

    let other_machine = Home::new(2);
    copy(&bob_home.data(), &other_machine.data());
    let mut bob = other_machine.start(Some(&place));
    bob.started();
    bob.hears(ann_home.address(), "two");
    ann.sees(number, "delivered");
    assert_eq!(texts(&mut bob), ["one", "two"]);
    ann.quits();
    bob.quits();
}

/// A10, A14: each message comes to whom it was for and to nobody else, by name after a restart too.
#[test]
fn people_on_one_machine_get_what_is_for_them_and_nothing_else() {
    let (ann_home, bob_home, eve_home) = (Home::new(1), Home::new(2), Home::new(3));
    let (mut ann, mut bob) = two(&ann_home, &bob_home);
    bob.say("/whoami");
    let place = bob.wait_for_object("whoami", &json!({}))["node"]["endpoints"][0].clone();
    let mut eve = eve_home.start(place.as_str());
    eve.started();
    for (name, home) in [("bob", &bob_home), ("eve", &eve_home)] {
        ann.say(&format!("/contact add {name} {}", home.address()));
        ann.wait_for_object("contact", &json!({ "name": name }));
        ann.say(&format!("/msg {name} only for {name}"));
    }
    bob.hears(ann_home.address(), "only for bob");
    eve.hears(ann_home.address(), "only for eve");
    ann.quits();

    let mut ann = ann_home.start(place.as_str());
    ann.started();
    ann.say("bob: again only for bob");
    bob.hears(ann_home.address(), "again only for bob");
    assert_eq!(texts(&mut bob), ["only for bob", "again only for bob"]);
    assert_eq!(texts(&mut eve), ["only for eve"]);
    [ann, bob, eve].into_iter().for_each(Person::quits);
}

/// C3: one on each family, and both on the newer one.
#[test]
fn people_talk_over_ipv6_and_from_one_family_to_the_other() {
    for (here, there) in [("[::1]:0", "[::1]:0"), ("127.0.0.1:0", "[::1]:0")] {
        let (ann_home, bob_home) = (Home::new(1), Home::new(2));
        let start = |home: &Home, listen: &str, bootstrap: Option<&str>| {
            let mut command = home.comm();
            command.args(["--json", &home.secret(), listen]).args(bootstrap);
            Person::start(command)
        };
        let mut ann = start(&ann_home, here, None);
        let place = ann.started();
        let mut bob = start(&bob_home, there, Some(&place));
        assert!(bob.started().starts_with("[::1]"));
        let number = ann.sends(bob_home.address(), "there");
        bob.hears(ann_home.address(), "there");
        ann.sees(number, "delivered");
        bob.sends(ann_home.address(), "and back");
        ann.hears(bob_home.address(), "and back");
        ann.quits();
        bob.quits();
    }
}

/// E38: only what a person types is a command, not what somebody writes to them.
#[test]
fn a_text_that_reads_like_a_command_is_a_text() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let (mut ann, mut bob) = two(&ann_home, &bob_home);
    for text in ["QUIT", "/quit", "/offline", "{\"type\":\"quit\"}"] {
        ann.sends(bob_home.address(), text);
        bob.hears(ann_home.address(), text);
    }
    assert!(bob.is_running());
    ann.quits();
    bob.quits();
}

/// A20, F25: everything is logged, and nothing of it is a secret, a text or a name; and of what the
/// program prints, which has texts and names, nothing is a secret.
#[test]
fn the_fullest_log_holds_no_secret_no_text_and_no_name() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let start = |home: &Home, bootstrap: Option<&str>| {
        let mut command = home.comm();
        command.env("RUST_LOG", "trace").args(["--json", &home.secret(), "127.0.0.1:0"]);
        command.args(bootstrap);
        Person::start(command)
    };
    let mut ann = start(&ann_home, None);
    let place = ann.started();
    let mut bob = start(&bob_home, Some(&place));
    bob.started();
    let text = "the heron sleeps standing";
    ann.say(&format!("/contact add robert-the-quiet {}", bob_home.address()));
    ann.wait_for_object("contact", &json!({ "name": "robert-the-quiet" }));
    let number = ann.sends(bob_home.address(), text);
    bob.hears(ann_home.address(), text);
    ann.sees(number, "delivered");
    // Whatever a person can ask for.
    let copy = ann_home.path().join("copy");
    for command in [
        "/contacts",
        "/contact note robert-the-quiet seen at the weir",
        "/history",
        "/history robert-the-quiet 5",
        &format!("/status {number}"),
        &format!("/cancel {number}"),
        "/whoami",
        "/peers",
        "/ttl",
        "/help",
        "/verify robert-the-quiet",
        &format!("/backup {}", copy.display()),
        "/offline",
        "/online",
        "/nonsense",
        "/contact remove robert-the-quiet",
    ] {
        ann.say(command);
    }
    ann.say("/quit");
    bob.say("/quit");
    for (person, home) in [(ann, &ann_home), (bob, &bob_home)] {
        let (status, printed, log) = person.ended_with_all();
        assert!(status.success(), "{status}: {printed}\n{log}");
        assert!(log.contains("TRACE"), "nothing is logged: {log}");
        assert!(printed.contains(text), "nothing is printed: {printed}");
        for secret in secrets(home) {
            for (what, said) in [("logged", &log), ("printed", &printed)] {
                let line = said.lines().find(|line| line.to_lowercase().contains(&secret));
                assert_eq!(line, None, "{secret} is {what}");
            }
        }
        for private in [text, "robert-the-quiet", "seen at the weir"] {
            let line = log.lines().find(|line| line.contains(private));
            assert_eq!(line, None, "{private} is logged");
        }
    }
}

/// What nobody but its owner may know, as digits: the secret and the keys that come of it, the key of the
/// node, the token of its API.
fn secrets(home: &Home) -> Vec<String> {
    let hexadecimal =
        |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let identity = home.identity();
    let file = |name: &str| std::fs::read_to_string(home.data().join("node").join(name)).unwrap();
    let mut secrets = vec![
        home.secret(),
        home.secret()["seed:".len()..].to_owned(),
        hexadecimal(identity.storage_key().as_slice()),
        hexadecimal(&identity.key().expose_seed()[..]),
    ];
    secrets.extend(["node.key", "api.token"].map(|name| file(name).trim().to_lowercase()));
    assert!(secrets.iter().all(|secret| secret.len() >= 32), "one of them is no secret");
    secrets
}
