//! The Python example against the real program: a client that shares no code with this project
//! seals, submits, collects, opens and acknowledges. Needs the Python of `deploy/prepare test`.

use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SCRIPT: &str = "client/examples/python/chat_api.py";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A running node with both ways to its API. Killed when dropped.
struct Node {
    child: Child,
    dir: tempfile::TempDir,
    tcp: String,
    metrics: String,
}

impl Node {
    fn start() -> Self {
        let dir = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir();
        let dir = dir.unwrap();
        let (tcp, metrics) = (free(), free());
        let mut command = Command::new(env!("CARGO_BIN_EXE_comm-node"));
        command.env_clear().arg("--data-dir").arg(dir.path());
        command.args(["--listen", "127.0.0.1:0", "--api-tcp", &tcp]);
        command.args(["--metrics-listen", &metrics]);
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        let node = Self { child, dir, tcp, metrics };
        let started = Instant::now();
        while UnixStream::connect(node.file("api.sock")).is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "the node does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        node
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What Prometheus is told.
    fn counters(&self) -> String {
        let mut stream = TcpStream::connect(&self.metrics).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// A place whose port is free again when the node takes it; nobody else is likely to in between.
fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The example with these arguments: whether it went well, what it printed and complained of.
fn example(arguments: &[&str]) -> (bool, String, String) {
    let python = root().join("target/python/bin/python");
    assert!(python.exists(), "there is no target/python yet: run `deploy/prepare test` first");
    let mut command = Command::new(python);
    // Proxies are for other machines than this one.
    command.env("no_proxy", "*").current_dir(root()).arg(SCRIPT).args(arguments);
    let output = command.output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), said(&output.stdout), said(&output.stderr))
}

fn assert_delivered((went_well, out, err): (bool, String, String), text: &str) {
    assert!(went_well, "{SCRIPT} failed:\n{out}{err}");
    let read = format!(": {text}");
    let end = |end: &str| out.lines().any(|line| line.ends_with(end));
    assert!(end(&read) && end("state: delivered"), "{out}");
    let has = |start: &str, part: &str| {
        out.lines().any(|line| line.starts_with(start) && line.contains(part))
    };
    assert!(has("services: ", "comm.client.v1.Client"), "{out}");
    assert!(has("calls of the client API: ", "PublishCard, FindCard"), "{out}");
    assert!(has("health: ", "SERVING"), "{out}");
}

/// F19: bindings that are generated from the .proto files; F18: sealed and signed from PROTOCOL.md.
#[test]
fn a_client_in_python_sends_reads_and_sees_it_delivered_over_the_socket() {
    let node = Node::start();
    let socket = node.file("api.sock");
    let text = "voilà 🦊";
    assert_delivered(example(&[socket.to_str().unwrap(), "--text", text]), text);
}

/// F16, F26: the same over TCP with the token, and a word for programs without it.
#[test]
fn a_client_in_python_needs_the_token_over_tcp() {
    let node = Node::start();
    let token = node.file("api.token");
    let by_token = |token: &Path| example(&[&node.tcp, "--token-file", token.to_str().unwrap()]);
    assert_delivered(by_token(&token), "Are you there? 🦊");

    let wrong = node.file("wrong.token");
    std::fs::write(&wrong, "0".repeat(64)).unwrap();
    let (went_well, out, err) = by_token(&wrong);
    assert!(!went_well, "{out}");
    assert!(err.contains("comm-code: unauthenticated, comm-retry: never"), "{err}");
}

/// H6: the counters of what the example did, refusals by their reason.
#[test]
fn what_happened_is_counted() {
    let node = Node::start();
    let socket = node.file("api.sock");
    assert!(example(&[socket.to_str().unwrap()]).0);
    let counted = [
        "comm_envelopes_accepted_total 1",
        "comm_envelopes_acknowledged_total 1",
        "comm_envelopes_relayed_total 0",
        "comm_envelopes_expired_total 0",
        "comm_envelopes_evicted_total 0",
        "comm_store_others_bytes 0",
        "comm_envelopes 0",
        "comm_tombstones 1",
    ];
    let started = Instant::now();
    loop {
        let page = node.counters();
        if counted.iter().all(|line| page.lines().any(|found| found == *line)) {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{page}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
