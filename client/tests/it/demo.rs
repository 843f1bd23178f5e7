//! The demo, `deploy/demo`: it comes out as it tells, and leaves nothing behind however it ends.

use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::running_node::program;

/// What the demo is given here, in seconds: more than the minute for somebody who watches, as other tests run beside.
const LIMIT: &str = "180";
/// Longer than that.
const PATIENCE: Duration = Duration::from_secs(200);

/// A running demo, whose directory for temporary files is its own.
struct Demo {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    place: TempDir,
}

impl Demo {
    fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let node = program();
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/demo"));
        command.arg(node.parent().unwrap()).env("TMPDIR", place.path()).stdin(Stdio::null());
        command.env("COMM_DEMO_LIMIT", LIMIT);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, place }
    }

    /// Reads on to a line that contains `text`.
    fn tells(&mut self, text: &str) -> String {
        let found = self.lines.by_ref().map(Result::unwrap).find(|line| line.contains(text));
        found.unwrap_or_else(|| panic!("it ended before {text:?}"))
    }

    /// Each process that it has started, by number and words.
    fn children(&self) -> Vec<(String, String)> {
        let listed = Command::new("ps").args(["-ww", "-A", "-o", "pid=,args="]).output().unwrap();
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let place = self.place.path().to_str().unwrap();
        let ours = listed.lines().filter(|line| line.contains(place));
        let parts = ours.filter_map(|line| line.trim().split_once(' '));
        parts.map(|(id, words)| (id.to_owned(), words.to_owned())).collect()
    }

    fn interrupt(&self) {
        signal("-INT", &self.child.id().to_string());
    }

    fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end; its exit code and what it complained about.
    fn ended(&mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.has_ended() {
                break status;
            }
            assert!(Instant::now() < deadline, "the demo does not end");
            std::thread::sleep(Duration::from_millis(20));
        };
        let errors = std::io::read_to_string(self.child.stderr.take().unwrap()).unwrap();
        (status.code(), errors)
    }

    fn has_left_nothing(&self) {
        assert_eq!(self.children(), []);
        let left: Vec<_> = files(self.place.path());
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Told, not killed: so it ends its own children even if this test has failed.
        if self.has_ended().is_none() {
            self.interrupt();
        }
        let _gone = self.child.wait();
    }
}

fn signal(which: &str, id: &str) {
    assert!(Command::new("kill").args([which, id]).status().unwrap().success());
}

fn files(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

/// A4, E2.
#[test]
fn the_demo_comes_out_as_it_should_and_leaves_nothing() {
    let mut demo = Demo::start();
    demo.tells("5 relays have found each other");
    assert!(demo.children().len() >= 5);
    demo.tells("is killed with -9");
    demo.tells("Bob returns, lets Ann in and reads");
    let ended = demo.tells("has ended every copy");
    assert!(!ended.contains(": 0 ended") && ended.contains("0 left on 4 relays"), "{ended}");
    demo.tells("Everything came out as it should");
    assert_eq!(demo.ended(), (Some(0), String::new()));
    demo.has_left_nothing();
}

/// At its very beginning, in the midst of a start, and late; once and then again and again, so that
/// the later ones come while it cleans up.
#[test]
fn a_demo_that_is_interrupted_again_and_again_leaves_nothing() {
    for moment in [None, Some("5 relays have found each other"), Some("is killed with -9")] {
        let mut demo = Demo::start();
        match moment {
            Some(moment) => drop(demo.tells(moment)),
            None => while files(demo.place.path()).is_empty() && demo.has_ended().is_none() {},
        }
        demo.interrupt();
        while demo.has_ended().is_none() {
            demo.interrupt();
        }
        assert_eq!(demo.ended(), (Some(130), String::new()), "{moment:?}");
        demo.has_left_nothing();
    }
}

#[test]
fn a_demo_whose_relay_dies_says_so_and_leaves_nothing() {
    let mut demo = Demo::start();
    demo.tells("5 relays have found each other");
    let children = demo.children();
    let (id, _) = children.iter().find(|(_, words)| words.contains("relay-5")).unwrap();
    signal("-KILL", id);
    let (code, errors) = demo.ended();
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("relay-5 has ended by itself"), "{errors}");
    demo.has_left_nothing();
}
