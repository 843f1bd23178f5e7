//! What a person keeps: contacts with notes, copies of everything, and nothing once it is to be gone.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::person::{Home, PATIENCE, Person, assert_sealed, comm, two};

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn contacts(person: &mut Person) -> Vec<Value> {
    person.say("/contacts");
    person.wait_for_object("contacts", &json!({}))["contacts"].as_array().unwrap().clone()
}

fn texts(person: &mut Person) -> BTreeSet<String> {
    person.say("/history 10000");
    let history = person.wait_for_object("history", &json!({}));
    let entries = history["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["text"].as_str().unwrap().to_owned()).collect()
}

/// Every path below a directory, itself not counted.
fn paths(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(paths(&entry.path()));
        }
        found.insert(entry.path());
    }
    found
}

/// A14: by name and with a note, over a restart, in clear on no disk; then gone, and a stranger.
#[test]
fn a_contact_has_a_name_and_a_note_until_it_is_removed() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let (mut ann, mut bob) = two(&ann_home, &bob_home);
    ann.say(&format!("/contact add bob {} met at the mill", bob_home.address()));
    ann.wait_for_object("contact", &json!({ "name": "bob", "note": "met at the mill" }));
    ann.say("bob: hello");
    bob.hears(ann_home.address(), "hello");
    let number = 1;
    ann.sees(number, "delivered");
    ann.say("/contact note bob knows the way");
    ann.wait_for_object("contact", &json!({ "name": "bob", "note": "knows the way" }));
    ann.quits();
    assert_sealed(&ann_home.data(), b"knows the way");

    let mut ann = ann_home.start(None);
    let place = ann.started();
    let known = contacts(&mut ann);
    assert_eq!((&known[0]["name"], &known[0]["note"]), (&json!("bob"), &json!("knows the way")));
    ann.say("/contact remove bob");
    let removed = ann.wait_for_object("removed", &json!({ "name": "bob", "on_their_way": 0 }));
    assert_eq!(removed["address"], bob_home.address().to_string());
    assert_eq!(contacts(&mut ann), Vec::<Value>::new());
    assert_eq!(texts(&mut ann), BTreeSet::new());
    ann.say("bob: are you there?");
    let error = ann.wait_for_object("error", &json!({}));
    assert!(error["text"].as_str().unwrap().contains("nobody is called bob"), "{error}");

    bob.quits();
    let mut bob = bob_home.start(Some(&place));
    bob.started();
    let number = bob.sends(ann_home.address(), "it is me");
    let heard = ann.hears(bob_home.address(), "it is me");
    assert_eq!((&heard["stranger"], &heard["missing_before"]), (&json!(true), &json!(0)));
    bob.sees(number, "delivered");
    ann.quits();
    bob.quits();
}

/// G9: the copy is made in the middle of a conversation, and is whole.
#[test]
fn a_copy_of_a_running_program_has_all_up_to_then_and_reads_what_waits() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let mut ann = ann_home.start(None);
    let place = ann.started();
    let mut bob = bob_home.start(Some(&place));
    bob.started();
    let copy = bob_home.path().join("bob.backup");
    let mut shown = BTreeSet::new();
    for n in 0..40 {
        let text = format!("message {n}");
        ann.say(&format!("{} {text}", bob_home.address()));
        if n == 20 {
            bob.hears(ann_home.address(), "message 0");
            bob.say(&format!("/backup {}", copy.display()));
        }
        shown.insert(text);
    }
    bob.wait_for_object("backup", &json!({ "file": copy.to_str().unwrap() }));
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    let deadline = Instant::now() + PATIENCE;
    while texts(&mut bob) != shown {
        assert!(Instant::now() < deadline, "not everything comes");
        std::thread::sleep(Duration::from_millis(50));
    }
    // A second copy under the name of the first is refused, and the first stays as it was.
    let before = fs::read(&copy).unwrap();
    bob.say(&format!("/backup {}", copy.display()));
    let refused = bob.wait_for_object("error", &json!({}));
    assert!(refused["text"].as_str().unwrap().contains("there already"), "{refused}");
    assert_eq!(fs::read(&copy).unwrap(), before);
    let last = bob_home.path().join("last.backup");
    bob.say(&format!("/backup {}", last.display()));
    bob.wait_for_object("backup", &json!({ "file": last.to_str().unwrap() }));
    bob.quits();
    // Sealed to a prekey, whose secret the copy has.
    let number = ann.sends(bob_home.address(), "for the other machine");
    ann.sees(number, "accepted");

    for (file, whole) in [(&last, true), (&copy, false)] {
        let machine = Home::new(2);
        let restored = run(comm().arg("restore").arg(file).arg("--data-dir").arg(machine.data()));
        assert!(restored.status.success(), "{}", errors(&restored));
        let mut bob = machine.start(Some(&place));
        bob.started();
        let known = texts(&mut bob);
        assert!(known.contains("message 0") && known.is_subset(&shown), "{known:?}");
        if whole {
            assert_eq!(known, shown);
            bob.hears(ann_home.address(), "for the other machine");
            ann.sees(number, "delivered");
        }
        bob.kill();
        assert_sealed(&machine.data(), b"message 0");
    }
    ann.quits();
}

/// G9: without a running program the same by a command, and one that runs is left alone.
#[test]
fn a_copy_is_made_by_a_command_unless_the_program_runs_or_the_file_is_there() {
    let home = Home::new(1);
    let copy = home.path().join("copy");
    let back_up = || {
        let mut command = comm();
        run(command.arg("backup").arg(&copy).arg("--data-dir").arg(home.data()))
    };
    let nothing = back_up();
    assert!(errors(&nothing).contains("no data of comm"), "{}", errors(&nothing));
    let mut person = home.start(None);
    person.started();
    person.sends(Home::new(2).address(), "remember this");
    let running = back_up();
    assert!(errors(&running).contains("another comm is running"), "{}", errors(&running));
    assert!(!copy.exists());
    person.quits();
    let made = back_up();
    assert!(made.status.success(), "{}", errors(&made));
    let again = back_up();
    assert_eq!(again.status.code(), Some(1));
    assert!(errors(&again).contains("there already"), "{}", errors(&again));
    assert_sealed(home.path(), b"remember this");

    let machine = Home::new(1);
    let restore =
        |file: &Path| run(comm().arg("restore").arg(file).arg("--data-dir").arg(machine.data()));
    let (empty, other) = (home.path().join("empty"), home.path().join("other"));
    fs::write(&empty, b"").unwrap();
    fs::write(&other, b"a shopping list, which is no backup").unwrap();
    for file in [&empty, &other] {
        let refused = restore(file);
        assert_eq!(refused.status.code(), Some(1));
        assert!(errors(&refused).contains("is no backup"), "{}", errors(&refused));
        assert_eq!(paths(&machine.data()), BTreeSet::new(), "nothing is left behind");
    }
    assert!(restore(&copy).status.success());
    let over = restore(&copy);
    assert!(errors(&over).contains("there already"), "{}", errors(&over));
    let mut person = machine.start(None);
    person.started();
    assert_eq!(texts(&mut person), BTreeSet::from(["remember this".to_owned()]));
    person.quits();
}

/// F24: what is named goes, all of it and nothing else; what is not ours is told and stays.
#[test]
fn every_file_that_is_named_is_removed_and_no_other() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let (mut ann, mut bob) = two(&ann_home, &bob_home);
    let number = ann.sends(bob_home.address(), "hello");
    bob.hears(ann_home.address(), "hello");
    ann.sees(number, "delivered");
    ann.quits();
    bob.quits();
    let data = ann_home.data();
    let elsewhere = ann_home.path().join("elsewhere");
    fs::write(&elsewhere, b"mine").unwrap();
    let foreign = [
        data.join("notes.txt"),
        data.join("node/store/photo.jpg"),
        data.join("node/api.token.bak"),
        data.join("link"),
        data.join("more"),
    ];
    foreign[..3].iter().for_each(|path| fs::write(path, b"mine").unwrap());
    std::os::unix::fs::symlink(&elsewhere, &foreign[3]).unwrap();
    fs::create_dir(&foreign[4]).unwrap();
    fs::write(foreign[4].join("person.redb"), b"mine").unwrap();
    let before = paths(&data);
    let forget = |words: &[&str]| {
        let mut command = comm();
        run(command.arg("forget").args(words).arg("--data-dir").arg(&data))
    };
    // Nobody can be asked in a pipe.
    let unsure = forget(&[]);
    assert_eq!(unsure.status.code(), Some(2));
    assert!(errors(&unsure).contains("--yes"), "{}", errors(&unsure));
    assert_eq!(paths(&data), before);

    let sure = forget(&["--yes"]);
    assert!(sure.status.success(), "{}", errors(&sure));
    let told = String::from_utf8(sure.stdout).unwrap();
    let (ours, others) = told.split_once("left as it is:").unwrap();
    let named = |text: &str| -> BTreeSet<PathBuf> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("  "));
        lines.filter(|line| !line.ends_with(')')).map(PathBuf::from).collect()
    };
    assert_eq!(named(others), foreign.iter().cloned().collect());
    assert!(named(ours).contains(&data.join("person.redb")), "{told}");
    assert!(named(ours).contains(&data.join("node/node.key")), "{told}");
    let after = paths(&data);
    assert_eq!(before.difference(&after).cloned().collect::<BTreeSet<_>>(), named(ours));
    for path in foreign[..3].iter().chain([&elsewhere]) {
        assert_eq!(fs::read(path).unwrap(), b"mine");
    }
    // Bob's directory has nothing of others, and goes with what was in it.
    let gone = run(comm().args(["forget", "--yes", "--data-dir"]).arg(bob_home.data()));
    assert!(gone.status.success(), "{}", errors(&gone));
    assert!(!bob_home.data().exists());
    let again = run(comm().args(["forget", "--yes", "--data-dir"]).arg(bob_home.data()));
    assert_eq!(again.status.code(), Some(1), "{}", errors(&again));
}

/// F24: a running program keeps what it has.
#[test]
fn nothing_is_removed_while_a_program_has_the_data_open() {
    let home = Home::new(1);
    let mut person = home.start(None);
    person.started();
    let refused = run(comm().args(["forget", "--yes", "--data-dir"]).arg(home.data()));
    assert_eq!(refused.status.code(), Some(1));
    assert!(errors(&refused).contains("another comm is running"), "{}", errors(&refused));
    assert!(home.data().join("person.redb").exists() && home.data().join("node/node.key").exists());
    person.quits();
}

/// D9: how long a message waits is the sender's choice, within the bounds.
#[test]
fn the_time_to_live_is_chosen_for_the_program_and_in_the_chat() {
    const DAY: u64 = 86_400_000;
    let home = Home::new(1);
    for wrong in ["9m", "31d", "soon"] {
        let output = run(home.comm().args(["--ttl", wrong, &home.secret(), "127.0.0.1:0"]));
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        let text = errors(&output);
        assert!(text.contains("10m to 30d") || text.contains("90m, 12h or 14d"), "{text}");
    }
    let mut command = home.comm();
    command.args(["--json", "--ttl", "30d", &home.secret(), "127.0.0.1:0"]);
    let mut person = Person::start(command);
    person.started();
    person.say("/ttl");
    person.wait_for_object("ttl", &json!({ "milliseconds": 30 * DAY }));
    let friend = Home::new(2).address();
    let lifetime = |person: &mut Person, text: &str| -> u64 {
        let number = person.sends(friend, text);
        person.say(&format!("/status {number}"));
        let message = person.wait_for_object("message", &json!({ "number": number }));
        message["waits_until"].as_u64().unwrap() - message["sent_at"].as_u64().unwrap()
    };
    assert_eq!(lifetime(&mut person, "waits long"), 30 * DAY);
    person.say("/ttl 10m");
    person.wait_for_object("ttl", &json!({ "milliseconds": 600_000 }));
    assert_eq!(lifetime(&mut person, "waits shortly"), 600_000);
    person.say("/ttl 31d");
    let refused = person.wait_for_object("error", &json!({}));
    assert!(refused["text"].as_str().unwrap().contains("10m to 30d"), "{refused}");
    person.quits();
}
