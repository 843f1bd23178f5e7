//! A person with a running `comm`, as a test sees them.
//!
//! Entry type is [`Person`]. Whatever the program prints is read line by line; a test names the line
//! it waits for, and fails with everything that was printed if it does not come.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use comm_proto::address::Address;
use comm_proto::identity::Identity;
use serde_json::Value;
use tempfile::TempDir;

/// Nothing takes this long unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Lines that a program may be ahead of its test.
const LINES_MAX: usize = 65_536;

/// A running program. Killed when dropped.
pub(crate) struct Person {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: thread::JoinHandle<String>,
    printed: Vec<String>,
}

/// A directory for one person's data, and a secret.
pub(crate) struct Home {
    dir: TempDir,
    seed: [u8; 32],
}

impl Home {
    pub(crate) fn new(seed: u8) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), seed: [seed; 32] }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity::from_seed(&self.seed)
    }

    pub(crate) fn address(&self) -> Address {
        self.identity().address()
    }

    pub(crate) fn secret(&self) -> String {
        let digits: String = self.seed.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("seed:{digits}")
    }

    /// `comm` with this person's data, to be given its other words.
    pub(crate) fn comm(&self) -> Command {
        let mut command = comm();
        command.arg("--data-dir").arg(self.data());
        command
    }

    /// The whole program on a port that the system chooses, printing JSON.
    pub(crate) fn start(&self, bootstrap: Option<&str>) -> Person {
        let mut command = self.comm();
        command.args(["--json", &self.secret(), "127.0.0.1:0"]).args(bootstrap);
        Person::start(command)
    }
}

/// The program, without anything that this machine's environment says to it.
pub(crate) fn comm() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_comm"));
    for name in
        ["COMM_SECRET", "COMM_DATA_DIR", "COMM_DOWNLOAD_DIR", "COMM_NETWORK_KEY_FILE", "RUST_LOG"]
    {
        command.env_remove(name);
    }
    command
}

impl Person {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let (send, lines) = sync_channel(LINES_MAX);
        thread::spawn(move || {
            for line in output.lines() {
                if line.is_ok_and(|line| send.send(line).is_ok()) {
                    continue;
                }
                return;
            }
        });
        let errors = thread::spawn(move || {
            let mut text = String::new();
            let _cut = stderr.read_to_string(&mut text);
            text
        });
        Self { child, input, lines, errors, printed: Vec::new() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Types a line.
    pub(crate) fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("the input has not ended");
        input.write_all(format!("{line}\n").as_bytes()).unwrap();
        input.flush().unwrap();
    }

    /// Waits for a line of which `wanted` makes something. Lines before it are passed over.
    pub(crate) fn wait_for<T>(&mut self, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let found = wanted(&line);
                    self.printed.push(line);
                    if let Some(found) = found {
                        return found;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.fail(&format!("{what} did not come")),
                Err(RecvTimeoutError::Disconnected) => {
                    self.fail(&format!("the program ended before {what}"))
                }
            }
        }
    }

    /// Waits for a line that contains `text`.
    pub(crate) fn wait_for_text(&mut self, text: &str) -> String {
        self.wait_for(text, |line| line.contains(text).then(|| line.to_owned()))
    }

    /// Waits for a JSON object of this type that has these fields.
    pub(crate) fn wait_for_object(&mut self, kind: &str, fields: &Value) -> Value {
        self.wait_for(&format!("{kind} with {fields}"), |line| {
            let object: Value = serde_json::from_str(line).ok()?;
            let has = |(name, value): (&String, &Value)| object.get(name) == Some(value);
            let fits = object["type"] == kind && fields.as_object().unwrap().iter().all(has);
            fits.then_some(object)
        })
    }

    /// Waits until the program is ready; where its node listens.
    pub(crate) fn started(&mut self) -> String {
        let started = self.wait_for_object("started", &serde_json::json!({}));
        started["node"]["endpoints"][0].as_str().unwrap_or_default().to_owned()
    }

    /// Waits for a text from somebody, who is let in if they ask.
    pub(crate) fn hears(&mut self, from: Address, text: &str) -> Value {
        let address = from.to_string();
        loop {
            let heard = self.wait_for(&format!("{text:?} of {address}"), |line| {
                let object: Value = serde_json::from_str(line).ok()?;
                let is_request = object["type"] == "request";
                let is_text = object["type"] == "received" && object["text"] == text;
                (object["address"] == address && (is_request || is_text)).then_some(object)
            });
            if heard["type"] == "received" {
                return heard;
            }
            self.say(&format!("/accept {address}"));
        }
    }

    /// Sends, and waits for the message to be on disk; its number.
    pub(crate) fn sends(&mut self, to: Address, text: &str) -> u64 {
        self.say(&format!("{to} {text}"));
        let fields = serde_json::json!({ "address": to.to_string(), "text": text });
        self.wait_for_object("queued", &fields)["number"].as_u64().unwrap()
    }

    /// Waits for one of our messages to come to a state.
    pub(crate) fn sees(&mut self, number: u64, state: &str) -> Value {
        self.wait_for_object("state", &serde_json::json!({ "number": number, "state": state }))
    }

    /// Ends the input.
    pub(crate) fn end_input(&mut self) {
        self.input = None;
    }

    /// Sockets of the network that the program has open. Its unix sockets are none.
    pub(crate) fn network_sockets(&self) -> usize {
        let process = PathBuf::from(format!("/proc/{}", self.id()));
        let open = std::fs::read_dir(process.join("fd")).unwrap();
        let open = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        let open: Vec<_> = open.map(|link| link.to_string_lossy().into_owned()).collect();
        let tables = ["tcp", "tcp6", "udp", "udp6"].map(|table| {
            std::fs::read_to_string(process.join("net").join(table)).unwrap_or_default()
        });
        let lines = tables.iter().flat_map(|table| table.lines().skip(1));
        let inodes = lines.filter_map(|line| line.split_whitespace().nth(9));
        inodes.filter(|inode| open.contains(&format!("socket:[{inode}]"))).count()
    }

    /// Waits until the program has ended; how, and what it said on standard error.
    pub(crate) fn ended(self) -> (ExitStatus, String) {
        let (status, _, errors) = self.ended_with_all();
        (status, errors)
    }

    /// The same, with all that it has printed in between.
    pub(crate) fn ended_with_all(mut self) -> (ExitStatus, String, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the program does not end: {:#?}", self.printed);
            thread::sleep(Duration::from_millis(5));
        };
        let unread = thread::spawn(String::new);
        let errors = std::mem::replace(&mut self.errors, unread).join().unwrap();
        // The reader of its output ends with it.
        let mut printed = std::mem::take(&mut self.printed);
        printed.extend(self.lines.iter());
        (status, printed.join("\n"), errors)
    }

    /// Ends the program by its own command, which must succeed.
    pub(crate) fn quits(mut self) {
        self.say("/quit");
        let (status, errors) = self.ended();
        assert!(status.success(), "{status}: {errors}");
    }

    /// Whether the program runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ends the program without a warning, as a loss of power would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn fail(&mut self, why: &str) -> ! {
        let _gone = self.child.kill();
        let unread = thread::spawn(String::new);
        let errors = std::mem::replace(&mut self.errors, unread).join().unwrap_or_default();
        panic!("{why}; it printed {:#?} and on standard error {errors}", self.printed)
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Two people who are ready to talk; the second came in through the first.
pub(crate) fn two(ann: &Home, bob: &Home) -> (Person, Person) {
    let mut ann = ann.start(None);
    let place = ann.started();
    let mut bob = bob.start(Some(&place));
    bob.started();
    (ann, bob)
}

/// Every file under a directory with what is in it.
pub(crate) fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    found
}

/// Fails if `secret` stands in clear in any file under `dir`.
pub(crate) fn assert_sealed(dir: &Path, secret: &[u8]) {
    let files = files(dir);
    assert!(!files.is_empty(), "there is nothing in {}", dir.display());
    for (path, bytes) in files {
        let found = bytes.windows(secret.len()).any(|window| window == secret);
        assert!(!found, "{} has it in clear", path.display());
    }
}
