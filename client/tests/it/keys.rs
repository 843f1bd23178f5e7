//! Identities in files under a pass-phrase, and several of them on one machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::json;

use crate::person::{Home, Person, comm, two};

/// A machine with a home directory of its own, and files for whoever asks nobody.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn comm(&self) -> Command {
        let mut command = comm();
        command.env("XDG_DATA_HOME", self.0.path());
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file with this line, for its owner alone.
    fn file(&self, name: &str, line: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, format!("{line}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn identity(&self, words: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
        let mut command = self.comm();
        command.arg("identity").args(words.iter().map(AsRef::as_ref));
        command.output().unwrap()
    }
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn exported(machine: &Machine, home: &Home, file: &Path, passphrase: &Path) {
    let secret = machine.file("secret", &home.secret());
    let done = machine.identity(&[
        &"export",
        &file,
        &"--secret-file",
        &secret,
        &"--passphrase-file",
        &passphrase,
    ]);
    let (code, out, err) = said(&done);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains(&home.address().to_string()) && out.contains("not"), "{out}");
}

/// A8, A9, A10: each step with its message, and two people who cannot open each other's data.
#[test]
fn identities_are_exported_imported_and_used_side_by_side() {
    let machine = Machine::new();
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let good = machine.file("good", "violet kettle marching north");
    let bad = machine.file("bad", "violet kettle marching south");
    let carried = machine.path("ann.id");
    exported(&machine, &ann_home, &carried, &good);
    let mode = fs::metadata(&carried).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);

    let import = |file: &Path, name: &str, passphrase: &Path| {
        said(&machine.identity(&[&"import", &file, &name, &"--passphrase-file", &passphrase]))
    };
    let (code, out, err) = import(&carried, "ann", &bad);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.ends_with("the pass-phrase is wrong\n"), "{err}");
    let damaged = machine.path("damaged.id");
    let mut bytes = fs::read(&carried).unwrap();
    bytes[60] ^= 4;
    fs::write(&damaged, bytes).unwrap();
    let (code, _, err) = import(&damaged, "ann", &good);
    assert_eq!(code, Some(1));
    assert!(err.contains("is damaged; take another copy"), "{err}");
    let (code, out, _) = import(&carried, "ann", &good);
    assert_eq!(code, Some(0));
    assert!(out.contains("kept as ann: comm --identity ann ADDR"), "{out}");
    assert!(import(&carried, "ann", &good).2.contains("is there already"));
    assert_eq!(import(&carried, "../ann", &good).0, Some(2));

    let other = machine.path("bob.id");
    exported(&machine, &bob_home, &other, &good);
    assert_eq!(import(&other, "bob", &good).0, Some(0));
    assert_eq!(said(&machine.identity(&[&"list"])).1, "ann\nbob\n");

    let passwd = |old: &Path, new: &Path| {
        let words: [&dyn AsRef<std::ffi::OsStr>; 6] =
            [&"passwd", &"ann", &"--passphrase-file", &old, &"--new-passphrase-file", &new];
        said(&machine.identity(&words))
    };
    assert_eq!(passwd(&good, &bad).0, Some(0));
    assert!(passwd(&good, &bad).2.contains("the pass-phrase is wrong"));

    let start = |name: &str, passphrase: &Path| {
        let mut command = machine.comm();
        command.args(["--json", "--identity", name, "--passphrase-file"]).arg(passphrase);
        command.arg("127.0.0.1:0");
        Person::start(command)
    };
    for (name, home, passphrase) in [("ann", &ann_home, &bad), ("bob", &bob_home, &good)] {
        let mut person = start(name, passphrase);
        let address = home.address().to_string();
        person.wait_for_object("started", &json!({ "address": address }));
        person.quits();
        assert!(machine.path("comm").join(address).join("person.redb").is_file());
    }
    let anns = machine.path("comm").join(ann_home.address().to_string());
    let mut command = machine.comm();
    command.args(["--identity", "bob", "--passphrase-file"]).arg(&good).arg("--data-dir").arg(anns);
    let (code, _, err) = said(&command.arg("127.0.0.1:0").output().unwrap());
    assert_eq!(code, Some(1));
    assert!(err.contains("belongs to another identity"), "{err}");
}

/// A pass-phrase is asked for on a terminal alone, and given by no argument and by no environment.
#[test]
fn whoever_cannot_be_asked_names_a_file_with_the_pass_phrase() {
    let machine = Machine::new();
    let secret = machine.file("secret", &Home::new(1).secret());
    let file = machine.path("ann.id");
    let done = machine.identity(&[&"export", &file, &"--secret-file", &secret]);
    let (code, _, err) = said(&done);
    assert_eq!(code, Some(2));
    assert!(err.contains("--passphrase-file is needed"), "{err}");
    let empty = machine.file("empty", "");
    let words: [&dyn AsRef<std::ffi::OsStr>; 6] =
        [&"export", &file, &"--secret-file", &secret, &"--passphrase-file", &empty];
    let (code, _, err) = said(&machine.identity(&words));
    assert_eq!(code, Some(1));
    assert!(err.contains("the pass-phrase is empty"), "{err}");
    assert!(!file.exists());
}

/// One identity goes on as another, with its data.
fn replace(
    machine: &Machine,
    old: (&Home, &Path),
    new: (&Home, &str),
) -> (Option<i32>, String, String) {
    let (good, file) = (machine.path("good"), machine.path(new.1));
    if !file.exists() {
        exported(machine, new.0, &file, &good);
    }
    let secret = machine.file("secret", &old.0.secret());
    let to = new.0.data();
    let words: [&dyn AsRef<std::ffi::OsStr>; 10] = [
        &"replace",
        &file,
        &"--secret-file",
        &secret,
        &"--new-passphrase-file",
        &good,
        &"--data-dir",
        &old.1,
        &"--new-data-dir",
        &to,
    ];
    said(&machine.identity(&words))
}

/// A5, A6, A12: Ann follows Bob, loudly; whoever stole his old key and data comes too late, and stops her until she
/// has decided.
#[test]
fn a_person_goes_on_under_a_new_identity_and_friends_are_told_aloud() {
    let machine = Machine::new();
    machine.file("good", "violet kettle marching north");
    let [ann_home, bob_home, rob_home, thief_home] = [1, 2, 3, 4].map(Home::new);
    let (mut ann, mut bob) = two(&ann_home, &bob_home);
    ann.say("/whoami");
    let place = ann.wait_for_object("whoami", &json!({}))["node"]["endpoints"][0].clone();
    ann.say(&format!("/contact add bob {}", bob_home.address()));
    ann.sends(bob_home.address(), "hello");
    bob.hears(ann_home.address(), "hello");
    bob.sends(ann_home.address(), "hello yourself");
    ann.hears(bob_home.address(), "hello yourself");
    ann.say("/verify bob same");
    bob.quits();
    let stolen = machine.path("stolen");
    let copied = Command::new("cp").arg("-rp").arg(bob_home.data()).arg(&stolen).status().unwrap();
    assert!(copied.success());

    let (code, out, err) = replace(&machine, (&bob_home, &bob_home.data()), (&rob_home, "rob.id"));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("contacts to be told once it is online: 1"), "{out}");
    let (code, _, err) =
        replace(&machine, (&bob_home, &bob_home.data()), (&thief_home, "thief.id"));
    assert_eq!(code, Some(1));
    assert!(err.contains(&format!("is replaced by {} already", rob_home.address())), "{err}");

    let (old, new) = (bob_home.address().to_string(), rob_home.address().to_string());
    let mut rob = rob_home.start(place.as_str());
    rob.started();
    let moved = json!({ "name": "bob", "address": new, "former": old });
    ann.wait_for_object("moved", &moved);
    ann.say("/contacts");
    let contacts = ann.wait_for_object("contacts", &json!({}));
    let contact = &contacts["contacts"][0];
    assert_eq!((&contact["address"], &contact["compared_at"]), (&json!(new), &json!(null)));
    assert_eq!((&contact["former"], &contact["doubt"]), (&json!([old]), &json!(null)));
    ann.say("bob: is it you?");
    rob.hears(ann_home.address(), "is it you?");
    rob.say("/history 10");
    let history = rob.wait_for_object("history", &json!({}));
    let texts: Vec<_> =
        history["entries"].as_array().unwrap().iter().map(|said| &said["text"]).collect();
    assert_eq!(texts, ["hello", "hello yourself", "is it you?"]);
    ann.say("/history 10");
    let history = ann.wait_for_object("history", &json!({}));
    assert_eq!(history["entries"][2]["new_address"], new, "{history}");
    rob.quits();

    assert_eq!(replace(&machine, (&bob_home, &stolen), (&thief_home, "thief.id")).0, Some(0));
    let mut thief = thief_home.start(place.as_str());
    thief.started();
    let claimed = thief_home.address().to_string();
    ann.wait_for_object("doubted", &json!({ "name": "bob", "address": new, "claimed": claimed }));
    ann.say("bob: still you?");
    let error = ann.wait_for_object("error", &json!({}));
    assert!(error["text"].as_str().unwrap().contains("is in doubt"), "{error}");
    assert!(ann.is_running());
    ann.say("/trust bob");
    ann.wait_for_object("contact", &json!({ "address": new, "doubt": null }));
    ann.sends(rob_home.address(), "still you!");
    ann.quits();
    thief.quits();
}
