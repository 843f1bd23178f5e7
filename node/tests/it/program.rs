//! The program itself: what it prints, how it ends, and what it says when it cannot start.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::config::{VALUES, alone};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_comm-node"));
    command.env_clear().env("HOME", "/nowhere");
    command
}

fn private_dir() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}

fn refused(mut command: Command, code: i32) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let line = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(code), "{line}");
    assert!(stdout.is_empty());
    assert!(line.starts_with("comm-node: "), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

fn printed(mut command: Command) -> String {
    let output = command.arg("--print-config").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A node on a port that the system chooses, that can be killed but not forgotten.
struct Node(Child);

impl Node {
    fn start(dir: &Path) -> Self {
        let mut command = program();
        command.arg("run").arg("--listen=127.0.0.1:0").arg("--data-dir").arg(dir);
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        let node = Self(child);
        let started = Instant::now();
        while UnixStream::connect(dir.join("api.sock")).is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "it does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        node
    }

    /// One in a network of this name, that finds it through `bootstrap` and counts for `metrics`.
    fn of_network(dir: &Path, name: &str, bootstrap: Option<&str>, metrics: &str) -> Self {
        let mut command = program();
        command.args(["--listen=127.0.0.1:0", "--network", name, "--metrics-listen", metrics]);
        command.args(bootstrap.map(|place| format!("--bootstrap={place}")));
        command.arg("--data-dir").arg(dir).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn stop(&mut self, signal: &str) -> (Option<i32>, Duration) {
        let started = Instant::now();
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        (self.0.wait().unwrap().code(), started.elapsed())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It has ended already if its test went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn every_key_can_be_set_by_the_environment() {
    let mut by_environment = program();
    let mut by_flags = program();
    for (key, value) in VALUES {
        let name = key.replace('.', "_").to_uppercase();
        by_environment.env(format!("COMM_NODE_{name}"), value);
        by_flags.arg(format!("--{}={value}", key.replace(['.', '_'], "-")));
    }
    assert_eq!(printed(by_environment), printed(by_flags));
}

/// F21: one by one, so that a name that is not read cannot hide behind the others.
#[test]
fn every_name_in_the_environment_changes_the_configuration_at_its_key() {
    let read = |command| -> toml::Value { toml::from_str(&printed(command)).unwrap() };
    let at = |config: &toml::Value, key: &str| {
        key.split('.').try_fold(config.clone(), |value, part| value.get(part).cloned())
    };
    let defaults = read(program());
    for (key, value) in VALUES.map(|(key, value)| (key, alone(key, value))) {
        let mut command = program();
        command.env(format!("COMM_NODE_{}", key.replace('.', "_").to_uppercase()), value);
        let config = read(command);
        assert!(at(&config, key).is_some(), "{key}");
        assert_ne!(at(&config, key), at(&defaults, key), "{key}");
    }
}

/// H12: what the program itself prints.
#[test]
fn what_print_config_prints_is_read_back_the_same() {
    let dir = private_dir();
    let file = dir.path().join("node.toml");
    let all: Vec<_> = VALUES
        .iter()
        .map(|(key, value)| format!("--{}={value}", key.replace(['.', '_'], "-")))
        .collect();
    for flags in [&all[..], &[], &["--leaf=true".to_owned()]] {
        let mut by_flags = program();
        by_flags.args(flags);
        let said = printed(by_flags);
        std::fs::write(&file, &said).unwrap();
        let mut by_file = program();
        by_file.arg("--config").arg(&file);
        assert_eq!(printed(by_file), said);
    }
}

#[test]
fn flags_go_before_the_environment_and_the_environment_before_the_file() {
    let dir = private_dir();
    let file = dir.path().join("node.toml");
    std::fs::write(&file, "network = \"file\"\n[log]\nlevel = \"error\"\n").unwrap();
    let with = |environment: Option<&str>, flags: &[&str]| {
        let mut command = program();
        command.env("COMM_NODE_CONFIG", &file).envs(environment.map(|v| ("COMM_NODE_NETWORK", v)));
        command.args(flags);
        printed(command)
    };
    assert!(with(None, &[]).contains("network = \"file\""));
    assert!(with(Some("environment"), &[]).contains("network = \"environment\""));
    let all = with(Some("environment"), &["run", "--network=flag"]);
    assert!(all.contains("network = \"flag\"") && all.contains("level = \"error\""), "{all}");
}

#[test]
fn a_wrong_call_or_value_is_one_line_and_code_2() {
    for (args, part) in [
        (&["--lisen=1"][..], "--listen"),
        (&["--listen=1"], "--listen"),
        (&["--network="], "network"),
        (&["--config=/nowhere.toml"], "/nowhere.toml"),
        (&["walk"], "walk"),
        (&["backup"], "not provided: <TO>"),
        (&["--api-tcp=192.0.2.1:1"], "loopback"),
    ] {
        let mut command = program();
        command.args(args);
        assert!(refused(command, 2).contains(part));
    }
    let mut command = program();
    command.env("COMM_NODE_STORE_BYTES_MAX", "lots");
    assert!(refused(command, 2).contains("GiB"));
}

#[test]
fn what_the_machine_refuses_is_one_line_and_code_1() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let mut command = program();
    command.arg("--data-dir").arg(dir.path());
    assert!(refused(command, 1).contains("chmod 700"));
}

#[test]
fn it_stops_within_five_seconds_when_told_to_and_starts_again() {
    let dir = private_dir();
    let key = || std::fs::read(dir.path().join("node.key")).unwrap();
    let mut keys = Vec::new();
    for signal in ["-TERM", "-INT", "-TERM"] {
        let mut node = Node::start(dir.path());
        keys.push(key());
        // A client that keeps its connection open holds nobody up.
        let _client = UnixStream::connect(dir.path().join("api.sock")).unwrap();
        let (code, took) = node.stop(signal);
        assert_eq!(code, Some(0));
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert!(!dir.path().join("api.sock").exists());
    }
    assert!(keys.iter().all(|key| *key == keys[0]));
}

#[test]
fn a_second_node_on_one_directory_is_refused_and_the_first_goes_on() {
    let dir = private_dir();
    let mut node = Node::start(dir.path());
    let mut second = program();
    second.arg("--listen=127.0.0.1:0").arg("--data-dir").arg(dir.path());
    let line = refused(second, 1);
    assert!(line.contains(&dir.path().display().to_string()), "{line}");
    assert!(UnixStream::connect(dir.path().join("api.sock")).is_ok());
    assert_eq!(node.stop("-TERM").0, Some(0));
}

/// B30: those who have met are in nobody's table, and those of the same network are.
#[test]
fn relays_of_differently_named_networks_never_enter_each_others_tables() {
    let dirs = [private_dir(), private_dir(), private_dir()];
    let metrics = [free_place(), free_place(), free_place()];
    let listen = free_place();
    let mut command = program();
    command.arg(format!("--listen={listen}")).args(["--network=north", "--metrics-listen"]);
    command.arg(&metrics[0]).arg("--data-dir").arg(dirs[0].path()).stderr(Stdio::null());
    let _north = Node(command.spawn().unwrap());
    let peers = |place: &str| counted(place, "comm_peers ");
    eventually("the first one counts", || peers(&metrics[0]) == Some(0));
    let _south = Node::of_network(dirs[1].path(), "south", Some(&listen), &metrics[1]);
    let refused = || counted(&metrics[0], "comm_refused_total{reason=\"other-network\"} ");
    eventually("the other has come and was refused", || refused() >= Some(1));
    let _third = Node::of_network(dirs[2].path(), "north", Some(&listen), &metrics[2]);
    eventually("the third is let in", || {
        (peers(&metrics[0]), peers(&metrics[2])) == (Some(1), Some(1))
    });
    // It has not given up, and was refused again.
    let before = refused();
    eventually("the other has come again", || refused() > before);
    assert_eq!(peers(&metrics[1]), Some(0));
    assert_eq!((peers(&metrics[0]), peers(&metrics[2])), (Some(1), Some(1)));
}

fn free_place() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The value of a counter in the line that begins so; none while there is no such line.
fn counted(metrics: &str, line: &str) -> Option<u64> {
    let mut stream = TcpStream::connect(metrics).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let page = std::io::read_to_string(stream).ok()?;
    page.lines().find_map(|found| found.strip_prefix(line)?.parse().ok())
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(180), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn it_starts_again_after_it_was_killed() {
    let dir = private_dir();
    Node::start(dir.path()).stop("-KILL");
    let mut node = Node::start(dir.path());
    assert_eq!(node.stop("-TERM").0, Some(0));
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = taken.local_addr().unwrap().to_string();
    let dir = private_dir();
    let mut command = program();
    command.arg(format!("--listen={place}")).arg("--data-dir").arg(dir.path());
    command.env("COMM_NODE_LOG_LEVEL", "error");
    assert!(refused(command, 1).contains(&place));
}

#[test]
fn log_lines_are_json_when_asked_for_and_hold_no_secret() {
    let dir = private_dir();
    let mut command = program();
    command.args(["--listen=127.0.0.1:0", "--log-format=json", "-vv"]).arg("--data-dir");
    let child = command.arg(dir.path()).stderr(Stdio::piped()).spawn().unwrap();
    let mut node = Node(child);
    let mut lines = BufReader::new(node.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut logged = Vec::new();
    while !logged.last().is_some_and(|line: &String| line.contains("\"starting\"")) {
        logged.push(lines.next().expect("it says that it starts"));
    }
    node.stop("-TERM");
    logged.extend(lines);
    assert!(logged.iter().any(|line| line.contains("\"stopping\"")), "{logged:?}");
    let secrets = ["node.key", "api.token"]
        .map(|name| std::fs::read_to_string(dir.path().join(name)).unwrap());
    for line in logged {
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
        assert!(secrets.iter().all(|secret| !line.contains(secret.trim())), "{line}");
    }
}
