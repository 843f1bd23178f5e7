//! One program by itself: how it is called, what it prints, how it ends.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use comm_proto::identity::Identity;
use serde_json::json;

use crate::person::{Home, Person, comm};

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

fn printed(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn secret_file(dir: &Path, secret: &str) -> std::path::PathBuf {
    let path = dir.join("secret");
    std::fs::write(&path, format!("{secret}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// What everybody on the machine can see of a program.
fn words_of(id: u32) -> String {
    let output = Command::new("ps").args(["-ww", "-o", "args=", "-p", &id.to_string()]).output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

#[test]
fn the_address_of_a_secret_stands_alone_on_one_line() {
    let home = Home::new(1);
    let output = run(comm().args(["address", &home.secret()]));
    assert!(output.status.success());
    assert_eq!(printed(&output), format!("{}\n", home.address()));
}

#[test]
fn the_same_secret_is_the_same_person_wherever_they_listen() {
    let secret = "password1";
    let address = Identity::derive(secret.as_bytes()).unwrap().address().to_string();
    for port in ["127.0.0.1:0", "[::1]:0"] {
        let home = Home::new(1);
        let mut command = home.comm();
        command.args([secret, port]);
        let mut person = Person::start(command);
        assert!(person.wait_for_text("your address").contains(&address));
        person.say("/quit");
        let (status, errors) = person.ended();
        assert!(status.success() && errors.contains("warning"), "{errors}");
    }
    let other = run(comm().args(["address", "another bad secret"]));
    assert_ne!(printed(&other).trim(), address);
}

#[test]
fn a_new_secret_is_never_the_same_and_a_raw_one_is_a_key() {
    let keygen = || printed(&run(comm().arg("keygen"))).trim().to_owned();
    let (one, other) = (keygen(), keygen());
    assert_ne!(one, other);
    assert!(one.len() >= 28, "{one}");
    let raw = printed(&run(comm().args(["keygen", "--raw"]))).trim().to_owned();
    let output = run(comm().args(["address", &raw]));
    assert_eq!(printed(&output).trim().len(), 40);
}

#[test]
fn a_wrong_call_ends_with_2_and_says_why() {
    for (words, why) in [
        (&[][..], "secret is missing"),
        (&["s"], "ADDR is missing"),
        (&["s", "nowhere"], "127.0.0.1:7001"),
        (&["s", "127.0.0.1:0", "nonsense"], "nonsense"),
        (&["--nonsense"], "--nonsense"),
        (&["seed:12", "127.0.0.1:0"], "64 hexadecimal digits"),
        (&["--node", "ftp://x", "s"], "ftp://x"),
    ] {
        let output = run(comm().args(words));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {errors}");
        assert!(errors.contains(why), "{words:?}: {errors}");
    }
    assert_eq!(run(comm().arg("--help")).status.code(), Some(0));
}

#[test]
fn a_port_that_is_taken_ends_with_1_and_says_so() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = taken.local_addr().unwrap().to_string();
    let home = Home::new(1);
    let output = run(home.comm().args([&home.secret(), &place]));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains(&place), "{errors}");
}

#[test]
fn the_secret_is_not_in_the_list_of_processes_unless_it_was_put_there() {
    let home = Home::new(1);
    let file = secret_file(home.path(), &home.secret());
    let mut by_file = home.comm();
    by_file.arg("--secret-file").arg(&file).arg("127.0.0.1:0");
    let mut by_env = home.comm();
    by_env.env("COMM_SECRET", home.secret()).arg("127.0.0.1:0");
    let mut by_input = home.comm();
    by_input.args(["-", "127.0.0.1:0"]);
    for (command, typed) in [(by_file, false), (by_env, false), (by_input, true)] {
        let mut person = Person::start(command);
        if typed {
            person.say(&home.secret());
        }
        assert!(person.wait_for_text("your address").contains(&home.address().to_string()));
        let words = words_of(person.id());
        assert!(words.contains("127.0.0.1:0") && !words.contains("seed:"), "{words}");
        person.quits();
    }
    // The test can fail: a secret that is a word of the call is seen.
    let mut person = home.start(None);
    person.started();
    assert!(words_of(person.id()).contains(&home.secret()));
    person.quits();
}

#[test]
fn the_end_of_the_input_ends_it_well_and_a_daemon_stays() {
    let home = Home::new(1);
    let mut person = home.start(None);
    person.started();
    person.end_input();
    let (status, errors) = person.ended();
    assert_eq!((status.code(), errors.as_str()), (Some(0), ""));

    let mut command = home.comm();
    command.args(["--json", "--daemon", &home.secret(), "127.0.0.1:0"]);
    let mut daemon = Person::start(command);
    // It not only stays, it works: somebody else can talk to it.
    let other = Home::new(2);
    daemon.say(&format!("/contact add friend {}", other.address()));
    daemon.end_input();
    let place = daemon.started();
    let mut friend = other.start(Some(&place));
    friend.started();
    friend.sends(home.address(), "are you there?");
    daemon.hears(other.address(), "are you there?");
    assert!(daemon.is_running());
    friend.quits();
    let killed = Command::new("kill").arg(daemon.id().to_string()).status().unwrap();
    assert!(killed.success());
    let (status, errors) = daemon.ended();
    assert_eq!((status.code(), errors.as_str()), (Some(0), ""));
}

#[test]
fn a_bad_line_is_answered_and_the_program_goes_on() {
    let home = Home::new(1);
    let mut command = home.comm();
    command.args([&home.secret(), "127.0.0.1:0"]);
    let mut person = Person::start(command);
    person.wait_for_text("your node");
    let cut = &home.address().to_string()[1..];
    for (line, answer) in [
        ("hello", "error: to whom?"),
        (&format!("{cut} hello"), "an address has 40 hexadecimal digits, this has 39"),
        ("nobody: hello", "nobody is called nobody"),
        ("/nonsense", "there is no command /nonsense"),
        ("/status 99", "there is no message #99"),
        ("/cancel 99", "no message #99 is on its way"),
        ("/contact add a b", "is no address"),
        (&format!("/contact add a:b {}", "1".repeat(40)), "contact's name"),
        (&format!("{} to myself", home.address()), "this is your own address"),
        ("/history nobody", "nobody is called nobody"),
    ] {
        person.say(line);
        let shown = person.wait_for_text(answer);
        assert!(shown.starts_with("error: "), "{shown}");
    }
    person.say("/help");
    person.wait_for_text("/quit");
    person.quits();
}

#[test]
fn bytes_that_are_no_text_are_refused_and_the_next_line_is_read() {
    let home = Home::new(1);
    let mut command = home.comm();
    command.args([&home.secret(), "127.0.0.1:0"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"\xff\xfe\n/whoami\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(text.contains("not UTF-8") && text.matches("your address").count() == 2, "{text}");
}

#[test]
fn a_second_program_on_the_same_data_is_refused() {
    let home = Home::new(1);
    let mut first = home.start(None);
    first.started();
    let second = run(home.comm().args([&home.secret(), "127.0.0.1:0"]));
    let errors = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1));
    assert!(errors.contains("another comm is running"), "{errors}");
    first.quits();
}

#[test]
fn another_persons_data_is_refused() {
    let (home, other) = (Home::new(1), Home::new(2));
    let mut person = home.start(None);
    person.started();
    person.quits();
    let wrong = run(home.comm().args([&other.secret(), "127.0.0.1:0"]));
    let errors = String::from_utf8_lossy(&wrong.stderr);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(errors.contains("belongs to another identity"), "{errors}");
}

#[test]
fn every_file_is_in_the_data_directory() {
    let home = Home::new(1);
    let elsewhere = tempfile::tempdir().unwrap();
    let mut command = home.comm();
    command.args(["--json", &home.secret(), "127.0.0.1:0"]).current_dir(elsewhere.path());
    for name in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "TMPDIR"] {
        command.env(name, elsewhere.path());
    }
    let mut person = Person::start(command);
    person.started();
    person.quits();
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    assert!(std::fs::read_dir(home.data()).unwrap().count() > 0);
}

#[test]
fn it_says_who_and_where_it_is() {
    let home = Home::new(1);
    let mut person = home.start(None);
    let place = person.started();
    person.say("/whoami");
    let me = person.wait_for_object("whoami", &json!({ "address": home.address().to_string() }));
    assert_eq!(me["pending"], 0);
    assert_eq!(me["node"]["endpoints"], json!([place]));
    assert_ne!(me["node"]["address"], me["address"], "the node has a key of its own");
    assert_eq!((&me["node"]["observed"], &me["node"]["peers"]), (&json!([]), &json!(0)));
    assert_eq!(me["node"]["reachability"], "unknown", "nobody is there who could say");
    assert_eq!((&me["node"]["envelopes"], &me["node"]["envelope_bytes"]), (&json!(0), &json!(0)));
    assert_eq!(me["node"]["version"], env!("CARGO_PKG_VERSION"));
    person.say("/peers");
    assert_eq!(person.wait_for_object("peers", &json!({}))["peers"], json!([]));
    person.quits();
}
