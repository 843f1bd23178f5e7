//! Files between whole programs.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::person::{Home, Person, two};

/// Bytes in which no two pieces are alike.
fn bytes(length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

fn file(home: &Home, name: &str, bytes: &[u8]) -> PathBuf {
    let path = home.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// Offers a file; the numbers that the offer has on either side. Whoever is asked lets the other in.
fn offer(ann: &mut Person, bob: &mut Person, homes: (&Home, &Home), path: &Path) -> (u64, u64) {
    let (from, to) = (homes.0.address().to_string(), homes.1.address().to_string());
    ann.say(&format!("/send {to} {}", path.display()));
    let queued = ann.wait_for_object("queued", &json!({ "address": to, "content_type": 3 }));
    let offered = loop {
        let heard = bob.wait_for("an offer", |line| {
            let object: Value = serde_json::from_str(line).ok()?;
            let is_one = object["type"] == "received" && object["content_type"] == 3;
            (object["address"] == from && (object["type"] == "request" || is_one)).then_some(object)
        });
        if heard["type"] == "received" {
            break heard;
        }
        bob.say(&format!("/accept {from}"));
    };
    assert_eq!(offered["blake3"], queued["blake3"]);
    (queued["number"].as_u64().unwrap(), offered["number"].as_u64().unwrap())
}

/// Waits for the file of an offer to be here; where.
fn comes(person: &mut Person, number: u64) -> PathBuf {
    let done = person.wait_for_object("file_done", &json!({ "number": number }));
    PathBuf::from(done["path"].as_str().unwrap())
}

/// Waits until some more of it has come; how much in all.
fn progresses(person: &mut Person, number: u64) -> u64 {
    let progress = person.wait_for_object("file_progress", &json!({ "number": number }));
    progress["done"].as_u64().unwrap()
}

/// E33: whatever was there when a program was killed is not fetched again, and the whole is what was offered.
#[test]
fn a_file_of_some_megabytes_comes_whole_though_both_programs_are_killed_in_between() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let mut ann = ann_home.start(None);
    let place = ann.started();
    let mut bob = bob_home.start(Some(&place));
    let bobs_place = bob.started();
    let all = bytes(24 << 20);
    let path = file(&ann_home, "holiday.tar", &all);
    let homes = (&ann_home, &bob_home);
    let (ours, theirs) = offer(&mut ann, &mut bob, homes, &path);
    assert!(!bob_home.data().join("downloads").exists(), "nothing is written before it is taken");

    bob.say(&format!("/take {theirs}"));
    let done = progresses(&mut bob, theirs);
    assert!(done < all.len() as u64);
    ann.kill();
    let mut ann = ann_home.start(Some(&bobs_place));
    let place = ann.started();
    let later = progresses(&mut bob, theirs);
    assert!(done < later && later < all.len() as u64, "{done}, {later}");
    bob.kill();
    assert!(!bob_home.data().join("downloads/holiday.tar").exists());
    let mut bob = bob_home.start(Some(&place));
    bob.started();
    let latest = progresses(&mut bob, theirs);
    assert!(later <= latest, "what was there is not fetched again: {later}, {latest}");
    let path = comes(&mut bob, theirs);
    assert!(fs::read(path).unwrap() == all, "it is not what was offered");
    ann.wait_for_object("file_done", &json!({ "number": ours, "state": "given" }));
    ann.quits();
    bob.quits();
}

/// E35: a name leads nowhere else, and nothing is overwritten.
#[test]
fn a_file_stays_in_its_directory_and_overwrites_nothing() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let (mut ann, mut bob) = two(&ann_home, &bob_home);
    let homes = (&ann_home, &bob_home);
    let downloads = bob_home.data().join("downloads");
    fs::create_dir(&downloads).unwrap();
    fs::write(downloads.join("cat.jpg"), b"precious").unwrap();
    let path = file(&ann_home, "cat.jpg", b"another cat");
    for (line, name) in [("", "cat (2).jpg"), ("../../evil.jpg", "evil.jpg"), ("con", "_con")] {
        let (_, number) = offer(&mut ann, &mut bob, homes, &path);
        bob.say(&format!("/take {number} {line}"));
        assert_eq!(comes(&mut bob, number), downloads.join(name));
    }
    assert_eq!(fs::read(downloads.join("cat.jpg")).unwrap(), b"precious");
    assert_eq!(fs::read_dir(&downloads).unwrap().count(), 4, "no part is left");

    let (ours, theirs) = offer(&mut ann, &mut bob, homes, &path);
    bob.say(&format!("/stop {theirs}"));
    bob.wait_for_object("file", &json!({ "number": theirs, "reason": "refused" }));
    ann.wait_for_object("file_ended", &json!({ "number": ours, "reason": "refused" }));
    bob.say(&format!("/take {theirs}"));
    bob.wait_for_object(
        "error",
        &json!({ "text": format!("the transfer of #{theirs} has ended") }),
    );
    ann.say("/files");
    let files = ann.wait_for_object("files", &json!({}));
    let states: Vec<_> =
        files["files"].as_array().unwrap().iter().map(|file| file["state"].clone()).collect();
    assert_eq!(states, ["ended", "given", "given", "given"]);
    ann.quits();
    bob.quits();
}

#[test]
fn what_cannot_be_sent_is_named() {
    let home = Home::new(1);
    let mut ann = home.start(None);
    ann.started();
    let to = Home::new(2).address();
    let empty = file(&home, "empty", b"");
    for (path, why) in [
        (home.path().join("nowhere"), "cannot read"),
        (home.path().to_owned(), "is no file"),
        (empty, "is empty"),
    ] {
        ann.say(&format!("/send {to} {}", path.display()));
        let error = ann.wait_for_object("error", &json!({}));
        assert!(error["text"].as_str().unwrap().contains(why), "{error}");
    }
    ann.quits();
}
