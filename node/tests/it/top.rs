//! `comm-node top`, on a terminal and in a pipe, while the node that it watches comes and goes.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// How long anything may take on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(120);
const ENTERS: &str = "\u{1b}[?1049h";
const LEAVES: &str = "\u{1b}[?1049l";

fn private_dir() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}

/// A program that is killed, if it still runs, at the end of its test.
struct Program(Child);

impl Program {
    fn relay(dir: &Path) -> Self {
        let mut command = comm_node();
        command.args(["run", "--network=test", "--listen=127.0.0.1:0", "--data-dir"]).arg(dir);
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        let since = Instant::now();
        while !dir.join("api.sock").exists() {
            assert!(since.elapsed() < PATIENCE, "the relay does not start");
            thread::sleep(Duration::from_millis(5));
        }
        Self(child)
    }

    fn signal(&self, signal: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    fn stop(mut self) {
        self.signal("-TERM");
        assert_eq!(self.0.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already if its test went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn comm_node() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_comm-node"));
    command.env_clear().env("HOME", "/nowhere");
    command
}

fn top(dir: &Path, args: &[&str]) -> Command {
    let mut command = comm_node();
    command.args(["top", "--interval=100ms", "--data-dir"]).arg(dir).args(args);
    command
}

/// A program on a pseudo-terminal.
struct Terminal {
    keys: File,
    slave: File,
    screen: Receiver<Vec<u8>>,
    program: Program,
    seen: String,
}

impl Terminal {
    fn run(mut command: Command, columns: u16, lines: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        command.env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end());
        resize(&slave, columns, lines);
        let program = Program(command.spawn().unwrap());
        let keys = File::from(master);
        let mut output = keys.try_clone().unwrap();
        let (send, screen) = sync_channel(4_096);
        thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                if send.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { keys, slave, screen, program, seen: String::new() }
    }

    fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until `text` is shown after what was waited for before; returns all up to it.
    fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let patience = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(patience) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("{text:?} did not come after {:?}", self.seen),
            }
        }
    }

    /// Waits until it has ended, and sees that the terminal is as it was.
    fn ends_with(mut self, code: i32) {
        self.wait_for(LEAVES);
        assert_eq!(self.program.0.wait().unwrap().code(), Some(code));
        let modes = tcgetattr(&self.slave).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ECHO | LocalModes::ICANON), "the terminal is left raw");
    }
}

fn resize(terminal: &File, columns: u16, lines: u16) {
    let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).unwrap();
}

#[test]
fn top_shows_a_node_until_q_and_leaves_the_terminal_as_it_was() {
    let dir = private_dir();
    let relay = Program::relay(dir.path());
    let mut terminal = Terminal::run(top(dir.path(), &[]), 100, 40);
    terminal.wait_for(ENTERS);
    for part in ["comm-node ", "reachability", "agrees with others'", "0 known", "% of 1GiB"] {
        terminal.wait_for(part);
    }
    // Rates come with the second look.
    terminal.wait_for("0.0/s in, 0.0/s on");
    terminal.wait_for("q leaves");
    terminal.types("xq");
    terminal.ends_with(0);
    relay.stop();
}

#[test]
fn top_ends_by_ctrl_c_and_by_signals_and_the_terminal_is_as_it_was() {
    let dir = private_dir();
    let relay = Program::relay(dir.path());
    for ending in ["key", "-TERM", "-HUP", "-INT"] {
        let mut terminal = Terminal::run(top(dir.path(), &[]), 80, 24);
        terminal.wait_for("q leaves");
        match ending {
            "key" => terminal.types("\u{3}"),
            signal => terminal.program.signal(signal),
        }
        terminal.ends_with(0);
    }
    relay.stop();
}

#[test]
fn top_waits_for_a_node_that_is_restarted() {
    let dir = private_dir();
    let relay = Program::relay(dir.path());
    let mut terminal = Terminal::run(top(dir.path(), &[]), 160, 40);
    terminal.wait_for("0.0/s in");
    relay.stop();
    terminal.wait_for("no relay runs with the socket ");
    terminal.wait_for("trying again");
    terminal.wait_for("as it was at ");
    let relay = Program::relay(dir.path());
    terminal.wait_for("0.0/s in");
    terminal.wait_for("q leaves");
    let shown = terminal.wait_for("q leaves");
    assert!(!shown.contains("trying again"), "{shown:?}");
    terminal.types("q");
    terminal.ends_with(0);
    relay.stop();
}

#[test]
fn top_fits_into_terminals_of_any_size_also_while_they_change() {
    let dir = private_dir();
    let relay = Program::relay(dir.path());
    for (columns, lines) in [(1, 1), (7, 3), (20, 5), (500, 200)] {
        let mut terminal = Terminal::run(top(dir.path(), &[]), columns, lines);
        let drawn = ["\u{1b}[1;1H", "\u{1b}[1;1H"].map(|home| terminal.wait_for(home));
        // No row below the last, and nothing longer than a row.
        let below = format!("\u{1b}[{};1H", lines + 1);
        assert!(!drawn.iter().any(|text| text.contains(&below)), "{columns} x {lines}: {drawn:?}");
        resize(&terminal.slave, 60, 30);
        terminal.program.signal("-WINCH");
        terminal.wait_for("\u{1b}[30;1H");
        terminal.types("q");
        terminal.ends_with(0);
    }
    relay.stop();
}

#[test]
fn in_a_pipe_top_prints_a_line_for_each_look_and_ends_after_the_last() {
    let dir = private_dir();
    let relay = Program::relay(dir.path());
    let output = top(dir.path(), &["--count=3"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{text}");
    let lines: Vec<Vec<&str>> =
        text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines.iter().all(|cells| cells.len() == lines[0].len()), "{text}");
    let column = |name| lines[0].iter().position(|cell| *cell == name).unwrap();
    assert_eq!((lines[1][column("in")], lines[3][column("in")]), ("-", "0.0/s"), "{text}");
    assert_eq!((lines[3][column("peers")], lines[3][column("clock")]), ("0", "ok"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    relay.stop();
}

#[test]
fn in_a_pipe_top_tells_once_that_a_node_is_gone_and_fails_if_it_is_at_the_end() {
    let dir = private_dir();
    let output = top(dir.path(), &["--count=3"]).output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    let lines: Vec<&str> = complaint.lines().collect();
    assert_eq!(lines.len(), 2, "{complaint}");
    assert!(
        lines[0].ends_with("; trying again") && lines[1].contains("no relay runs"),
        "{complaint}"
    );

    let mut child =
        top(dir.path(), &[]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut watching = Program(child);
    assert!(lines.next().unwrap().unwrap().contains("peers"));
    let relay = Program::relay(dir.path());
    assert!(lines.next().unwrap().unwrap().contains("Z "));
    // Whoever reads no more has seen enough.
    drop(lines);
    assert_eq!(watching.0.wait().unwrap().code(), Some(0));
    relay.stop();
}

#[test]
fn a_pace_out_of_bounds_is_refused() {
    let dir = private_dir();
    for wrong in ["--interval=1ms", "--interval=2h", "--count=0", "--interval=often"] {
        let mut command = comm_node();
        let output = command.args(["top", wrong, "--data-dir"]).arg(dir.path()).output().unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        let flag = wrong.split('=').next().unwrap();
        assert!(complaint.contains(flag) && complaint.lines().count() == 1, "{complaint}");
    }
}
