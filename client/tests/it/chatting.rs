//! Two programs that talk to each other.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant, SystemTime};

use comm_proto::envelope::SizeClass;
use comm_proto::payload::capacity;
use serde_json::{Value, json};

use crate::person::{Home, PATIENCE, Person, assert_sealed, two};

#[test]
fn two_people_talk_both_ways_as_the_first_line_of_the_readme_says() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let (ann_is, bob_is) = (ann_home.address(), bob_home.address());
    let mut command = ann_home.comm();
    command.args([&ann_home.secret(), "127.0.0.1:0"]);
    let mut ann = Person::start(command);
    let place = ann.wait_for("where ann listens", |line| {
        line.split_once("listening on ").map(|(_, place)| place.to_owned())
    });
    let mut command = bob_home.comm();
    command.args([&bob_home.secret(), "127.0.0.1:0", &place]);
    let mut bob = Person::start(command);
    bob.wait_for_text("your node");

    bob.say(&format!("{ann_is} hello ann"));
    bob.wait_for_text("#1 to");
    let request = ann.wait_for_text("wants to write to you");
    assert!(request.starts_with(&bob_is.to_string()), "{request}");
    bob.wait_for_text("delivered at");
    let short = &bob_is.to_string()[..8];
    ann.say(&format!("/accept {short}"));
    let between = ann.wait_for_text("is new");
    assert!(between.contains(&bob_is.to_string()), "{between}");
    assert!(ann.wait_for_text("hello ann").starts_with('['));

    ann.say(&format!("/contact add bob {bob_is}"));
    ann.wait_for_text(&format!("{bob_is} bob"));
    ann.say("bob: hello yourself");
    assert!(ann.wait_for_text("#2").contains("to bob: queued"));
    bob.wait_for_text("hello yourself");
    assert!(ann.wait_for_text("delivered at").contains("#2 to bob"));
    ann.quits();
    bob.quits();
}

#[test]
fn people_in_a_network_with_a_key_talk_and_nobody_else_does() {
    let homes = [Home::new(1), Home::new(2), Home::new(3)];
    let start = |home: &Home, key: Option<&str>, bootstrap: Option<&str>| {
        let mut command = home.comm();
        if let Some(key) = key {
            let file = home.path().join("network.key");
            std::fs::write(&file, key.repeat(32)).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
            command.arg("--network-key-file").arg(file);
        }
        command.args(["--json", &home.secret(), "127.0.0.1:0"]).args(bootstrap);
        Person::start(command)
    };
    let mut ann = start(&homes[0], Some("ab"), None);
    let place = ann.started();
    let mut eve = start(&homes[2], None, Some(&place));
    eve.started();
    let mut bob = start(&homes[1], Some("ab"), Some(&place));
    let number = bob.sends(homes[0].address(), "among us");
    ann.hears(homes[1].address(), "among us");
    bob.sees(number, "delivered");
    for (person, count) in [(&mut ann, 1), (&mut eve, 0)] {
        person.say("/peers");
        let peers = person.wait_for_object("peers", &json!({}));
        assert_eq!(peers["peers"].as_array().map(Vec::len), Some(count), "{peers}");
    }
    [ann, bob, eve].into_iter().for_each(Person::quits);
}

/// B27, F22: two others are asked, and see the same.
#[test]
fn a_program_learns_from_where_its_calls_come_and_that_others_reach_it() {
    let homes = [Home::new(1), Home::new(2), Home::new(3)];
    let mut ann = homes[0].start(None);
    let place = ann.started();
    let mut others = [homes[1].start(Some(&place)), homes[2].start(Some(&place))];
    others.iter_mut().for_each(|other| drop(other.started()));
    let deadline = Instant::now() + PATIENCE;
    let node = loop {
        ann.say("/whoami");
        let node = ann.wait_for_object("whoami", &json!({}))["node"].clone();
        if node["observed"] != json!([]) && node["reachability"] == "reachable" {
            break node;
        }
        assert!(Instant::now() < deadline, "{node}");
        std::thread::sleep(Duration::from_millis(20));
    };
    let observed: SocketAddr = node["observed"][0].as_str().unwrap().parse().unwrap();
    assert_eq!(observed.ip(), std::net::Ipv4Addr::LOCALHOST);
    assert_eq!(node["endpoints"], json!([place]));
    ann.quits();
    others.into_iter().for_each(Person::quits);
}

#[test]
fn a_text_arrives_byte_for_byte() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let (mut ann, mut bob) = two(&ann_home, &bob_home);
    let longest = "ü".repeat(capacity(SizeClass::K64) / 2);
    for text in [
        "👩‍👩‍👧‍👦 🇩🇪 \u{1f44d}\u{1f3fd}",
        "  spaces  ",
        "עברית \u{202e}x",
        "a\tb\u{1b}[2J",
        "\"\\{}",
        &longest,
    ] {
        let number = ann.sends(bob_home.address(), text);
        let heard = bob.hears(ann_home.address(), text);
        assert_eq!(heard["missing_before"], 0);
        ann.sees(number, "delivered");
    }
    ann.say(&format!("{} {longest}xx", bob_home.address()));
    let refused = ann.wait_for_object("error", &json!({}));
    assert!(refused["text"].as_str().unwrap().contains("at most"), "{refused}");
    ann.quits();
    bob.quits();
}

#[test]
fn the_states_of_a_message_only_go_on() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let (mut ann, mut bob) = two(&ann_home, &bob_home);
    let number = ann.sends(bob_home.address(), "hi");
    let rank = |state: &Value| {
        ["queued", "accepted", "stored", "delivered"]
            .iter()
            .position(|known| state == known)
            .unwrap()
    };
    let mut last = 0;
    while last < 3 {
        let state = ann.wait_for_object("state", &json!({ "number": number }));
        let now = rank(&state["state"]);
        assert!(now > last || (now == 2 && last == 2), "{state} after {last}");
        last = now;
    }
    bob.hears(ann_home.address(), "hi");
    ann.say(&format!("/status {number}"));
    let message = ann.wait_for_object("message", &json!({ "number": number }));
    assert_eq!((&message["state"], &message["text"]), (&json!("delivered"), &json!("hi")));
    assert!(message["delivered_at"].as_u64() >= message["sent_at"].as_u64());
    ann.say("/whoami");
    assert_eq!(ann.wait_for_object("whoami", &json!({}))["pending"], 0);
    ann.quits();
    bob.quits();
}

#[test]
fn both_see_the_same_safety_number_and_each_other_as_peers() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let (mut ann, mut bob) = two(&ann_home, &bob_home);
    ann.say(&format!("/verify {}", bob_home.address()));
    ann.wait_for_object("error", &json!({}));
    let number = ann.sends(bob_home.address(), "hi");
    bob.hears(ann_home.address(), "hi");
    ann.sees(number, "delivered");
    ann.say(&format!("/verify {}", bob_home.address()));
    bob.say(&format!("/verify {}", ann_home.address()));
    let digits =
        |person: &mut Person| person.wait_for_object("verify", &json!({}))["digits"].clone();
    assert_eq!(digits(&mut ann), digits(&mut bob));
    // B26: who is in bob's table, where, how well it answers and since when.
    ann.say("/whoami");
    let node = ann.wait_for_object("whoami", &json!({}))["node"].clone();
    bob.say("/peers");
    let peers = bob.wait_for_object("peers", &json!({}));
    assert_eq!(peers["peers"].as_array().map(Vec::len), Some(1), "{peers}");
    let peer = &peers["peers"][0];
    assert_eq!((&peer["address"], &peer["endpoints"]), (&node["address"], &node["endpoints"]));
    assert_eq!(peer["status"], "good");
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    let seen = peer["last_seen"].as_u64().unwrap();
    assert!(seen <= since && seen > since - 600_000, "{seen} at {since}");
    ann.quits();
    bob.quits();
}

#[test]
fn nothing_that_was_said_stands_in_clear_on_any_disk() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let (mut ann, mut bob) = two(&ann_home, &bob_home);
    let text = "the eagle lands at midnight";
    ann.say(&format!("/contact add robert-the-quiet {}", bob_home.address()));
    ann.wait_for_object("contact", &json!({ "name": "robert-the-quiet" }));
    let number = ann.sends(bob_home.address(), text);
    bob.hears(ann_home.address(), text);
    ann.sees(number, "delivered");
    let waiting = ann.sends(Home::new(3).address(), "this one waits for somebody who never comes");
    ann.say(&format!("/status {waiting}"));
    ann.wait_for_object("message", &json!({ "number": waiting }));
    ann.quits();
    bob.quits();
    for home in [&ann_home, &bob_home] {
        for secret in [text, "robert-the-quiet", "somebody who never comes"] {
            assert_sealed(&home.data(), secret.as_bytes());
        }
        // Nor can it be seen there who knows whom.
        let store = std::fs::read(home.data().join("person.redb")).unwrap();
        for address in [ann_home.address(), bob_home.address()] {
            assert!(!store.windows(20).any(|window| window == address.as_bytes()));
        }
    }
}

/// F10: who is offline has no socket by which anything could leave or come, and takes up afterwards
/// what was said on both sides.
#[test]
fn offline_says_nothing_and_online_takes_it_up() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let mut ann = ann_home.start(None);
    let place = ann.started();
    let mut bob = bob_home.start(Some(&place));
    let bobs_place: SocketAddr = bob.started().parse().unwrap();
    let number = ann.sends(bob_home.address(), "before");
    bob.hears(ann_home.address(), "before");
    ann.sees(number, "delivered");
    assert!(bob.network_sockets() > 0 && TcpStream::connect(bobs_place).is_ok());

    bob.say("/offline");
    bob.wait_for_object("offline", &json!({ "reason": "offline" }));
    // What was open is closed by tasks of its own.
    let deadline = Instant::now() + PATIENCE;
    while bob.network_sockets() > 0 {
        assert!(Instant::now() < deadline, "its node still has sockets");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(TcpStream::connect(bobs_place).is_err(), "its node still listens");
    let from_bob = bob.sends(ann_home.address(), "while away");
    let from_ann = ann.sends(bob_home.address(), "while you were away");
    ann.sees(from_ann, "accepted");
    bob.say(&format!("/status {from_bob}"));
    let message = bob.wait_for_object("message", &json!({ "number": from_bob }));
    assert_eq!(message["state"], "queued");
    bob.say("/peers");
    bob.wait_for_object("error", &json!({}));
    assert_eq!(bob.network_sockets(), 0);

    bob.say("/online");
    bob.wait_for("that it is online, and nothing from ann before", |line| {
        assert!(!line.contains("\"received\""), "{line} came offline");
        line.contains("\"online\"").then_some(())
    });
    bob.hears(ann_home.address(), "while you were away");
    ann.hears(bob_home.address(), "while away");
    bob.sees(from_bob, "delivered");
    ann.sees(from_ann, "delivered");
    ann.quits();
    bob.quits();
}

#[test]
fn a_message_that_was_taken_back_does_not_arrive() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let mut ann = ann_home.start(None);
    let place = ann.started();
    let number = ann.sends(bob_home.address(), "I did not mean this");
    ann.say(&format!("/cancel {number}"));
    ann.wait_for_object("cancelled", &json!({ "number": number }));
    ann.say(&format!("/cancel {number}"));
    ann.wait_for_object("error", &json!({}));
    ann.sends(bob_home.address(), "but this");
    let mut bob = bob_home.start(Some(&place));
    bob.started();
    bob.wait_for_object("request", &json!({ "address": ann_home.address().to_string() }));
    bob.say(&format!("/accept {}", ann_home.address()));
    let first = bob.wait_for_object("received", &json!({}));
    assert_eq!((&first["text"], &first["missing_before"]), (&json!("but this"), &json!(1)));
    // It is told once that something is missing, and the history marks where.
    bob.wait_for_object("missing", &json!({ "messages": 1 }));
    bob.say("/history");
    let history = bob.wait_for_object("history", &json!({}));
    assert_eq!(history["entries"][0]["missing_before"], 1);
    ann.quits();
    bob.quits();
}
