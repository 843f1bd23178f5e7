//! The chat with a node that runs by itself.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::person::{Home, PATIENCE, Person};

/// A running `comm-node`. Killed when dropped.
struct Relay {
    child: Child,
    dir: tempfile::TempDir,
    tcp: String,
}

impl Relay {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The port is free again when the node takes it; nobody else is likely to in between.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = free.local_addr().unwrap().to_string();
        drop(free);
        let child = Command::new(program())
            .arg("--data-dir")
            .arg(dir.path().join("node"))
            .args(["--listen", "127.0.0.1:0", "--api-tcp", &tcp])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let relay = Self { child, dir, tcp };
        wait_until(|| std::net::TcpStream::connect(&relay.tcp).is_ok());
        relay
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("node/api.sock")
    }

    fn token_file(&self) -> PathBuf {
        self.dir.path().join("node/api.token")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn wait_until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "the node does not come up");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The node's program is another package's: it lies beside ours, or is built there first.
pub(crate) fn program() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_comm")).with_file_name("comm-node");
    if !beside.exists() {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "comm-node", "--bin", "comm-node"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .status();
        assert!(built.unwrap().success());
    }
    beside
}

fn by_socket(home: &Home, relay: &Relay) -> Person {
    let mut command = home.comm();
    command.arg("--json").arg("--node").arg(relay.socket()).arg(home.secret());
    Person::start(command)
}

fn by_tcp(home: &Home, relay: &Relay, token_file: &Path) -> Person {
    let mut command = home.comm();
    command.args(["--json", "--node", &format!("http://{}", relay.tcp)]);
    command.arg("--token-file").arg(token_file).arg(home.secret());
    Person::start(command)
}

#[test]
fn two_people_talk_through_one_node_by_socket_and_by_port() {
    let relay = Relay::start();
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let mut ann = by_socket(&ann_home, &relay);
    let mut bob = by_tcp(&bob_home, &relay, &relay.token_file());
    ann.started();
    bob.started();
    let number = ann.sends(bob_home.address(), "hello");
    bob.hears(ann_home.address(), "hello");
    ann.sees(number, "delivered");
    bob.sends(ann_home.address(), "hello yourself");
    ann.hears(bob_home.address(), "hello yourself");
    // Neither runs a node of its own.
    assert!(!ann_home.data().join("node").exists());
    ann.quits();
    bob.quits();
}

#[test]
fn a_wrong_token_is_told_and_a_message_waits_at_the_node() {
    let relay = Relay::start();
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let wrong = bob_home.path().join("token");
    std::fs::write(&wrong, "0".repeat(64)).unwrap();
    let mut bob = by_tcp(&bob_home, &relay, &wrong);
    let offline = bob.wait_for_object("started", &json!({}));
    assert!(offline["reason"].as_str().unwrap().contains("token"), "{offline}");
    bob.quits();

    let mut ann = by_socket(&ann_home, &relay);
    ann.started();
    let number = ann.sends(bob_home.address(), "for when you are back");
    ann.say("/quit");
    let (status, _) = ann.ended();
    assert!(status.success());
    // Ann's own node would be gone now. Whether hers had left depends on Bob's card.
    let mut bob = by_socket(&bob_home, &relay);
    bob.started();
    let mut ann = by_socket(&ann_home, &relay);
    ann.started();
    bob.hears(ann_home.address(), "for when you are back");
    ann.sees(number, "delivered");
    ann.quits();
    bob.quits();
}

#[test]
fn a_node_that_comes_back_is_found_again() {
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let socket_dir = tempfile::tempdir().unwrap();
    let node = || {
        let child = Command::new(program())
            .arg("--data-dir")
            .arg(socket_dir.path().join("node"))
            .args(["--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        child.unwrap()
    };
    let socket = socket_dir.path().join("node/api.sock");
    let start = |home: &Home| {
        let mut command = home.comm();
        command.arg("--json").arg("--node").arg(&socket).arg(home.secret());
        Person::start(command)
    };
    let mut first = node();
    wait_until(|| std::os::unix::net::UnixStream::connect(&socket).is_ok());
    let (mut ann, mut bob) = (start(&ann_home), start(&bob_home));
    ann.started();
    bob.started();
    let number = ann.sends(bob_home.address(), "one");
    ann.sees(number, "delivered");
    first.kill().unwrap();
    first.wait().unwrap();
    ann.wait_for_object("offline", &json!({}));
    let number = ann.sends(bob_home.address(), "two");
    let mut second = node();
    bob.hears(ann_home.address(), "two");
    ann.sees(number, "delivered");
    ann.quits();
    bob.quits();
    second.kill().unwrap();
    second.wait().unwrap();
}
