//! A relay as whoever runs it meets it: its service manager, its exporter, its limits, its signals.
//!
//! Each test starts the program itself, and looks at it from outside.

mod hibernation;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use comm_node::rpc::client::client_client::ClientClient;
use comm_proto::address::Address;
use comm_proto::key::KeyPair;
use comm_proto::wire::client::SubmitRequest;
use tonic::transport::Endpoint;

use crate::api::envelope;

/// How long anything may take on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(120);

fn private_dir() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}

/// A program that is killed, if it still runs, at the end of its test.
struct Program(Child);

impl Program {
    /// A relay with its data in `dir`, on a port that the system chooses.
    fn command(dir: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_comm-node"));
        command.env_clear().env("HOME", "/nowhere").stderr(Stdio::null());
        command.args(["run", "--network=test", "--data-dir"]).arg(dir);
        command.env("COMM_NODE_LISTEN", "127.0.0.1:0");
        // Whoever is silent is asked soon, so that tests need not wait for minutes.
        command.env("COMM_NODE_PROTOCOL_QUESTIONABLE_AFTER", "3s");
        command.env("COMM_NODE_PROTOCOL_REFRESH_AFTER", "3s");
        command
    }

    fn signal(&self, signal: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    fn ended(&mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already if its test went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Puts a pipe in the place of the relay's key: as long as nothing is written to it, the relay is
/// opening its data.
fn hold_up(dir: &Path) {
    let key = dir.join("node.key");
    assert!(Command::new("mkfifo").args(["-m", "600"]).arg(key).status().unwrap().success());
}

/// Lets a relay that was held up go on.
fn let_go(dir: &Path) {
    let mut key = OpenOptions::new().write(true).open(dir.join("node.key")).unwrap();
    key.write_all("ab".repeat(32).as_bytes()).unwrap();
}

/// What a service manager is.
struct Manager {
    socket: UnixDatagram,
    dir: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let dir = private_dir();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, dir }
    }

    /// The relay `dir` as it starts one that it wants to hear of every `watchdog`.
    fn command(&self, dir: &Path, watchdog: Duration) -> Command {
        let mut command = Program::command(dir);
        command.env("NOTIFY_SOCKET", self.dir.path().join("notify"));
        command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        command
    }

    fn next(&self) -> String {
        let mut buffer = [0; 512];
        let length = self.socket.recv(&mut buffer).expect("the relay says something");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    /// What is said up to a message that begins so.
    fn until(&self, beginning: &str) -> Vec<String> {
        let mut heard = Vec::new();
        while !heard.last().is_some_and(|message: &String| message.starts_with(beginning)) {
            heard.push(self.next());
        }
        heard
    }

    /// What has been said and not been heard.
    fn rest(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 512];
        let mut heard = Vec::new();
        while let Ok(length) = self.socket.recv(&mut buffer) {
            heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        self.socket.set_nonblocking(false).unwrap();
        heard
    }
}

#[test]
fn a_service_manager_hears_of_the_start_the_life_and_the_end_in_this_order() {
    let (manager, dir) = (Manager::new(), private_dir());
    hold_up(dir.path());
    let child = manager.command(dir.path(), Duration::from_secs(1)).spawn().unwrap();
    let mut relay = Program(child);
    // It takes longer, and is not ready before all is there.
    for _ in 0..3 {
        assert_eq!(manager.next(), "EXTEND_TIMEOUT_USEC=60000000");
    }
    let_go(dir.path());
    let starting = manager.until("READY=1");
    let before = &starting[..starting.len() - 1];
    let is_of_a_start = |said: &String| said.starts_with("EXTEND") || said.starts_with("STATUS=");
    assert!(before.iter().all(is_of_a_start), "{starting:?}");
    assert!(dir.path().join("api.sock").exists());
    let living = [manager.until("WATCHDOG=1"), manager.until("WATCHDOG=1")].concat();
    let status = "STATUS=0 relays known, 0 envelopes stored".to_owned();
    assert!(starting.contains(&status) || living.contains(&status), "{starting:?} {living:?}");
    relay.signal("-TERM");
    assert_eq!(relay.ended(), Some(0));
    let ending = manager.rest();
    assert!(ending.contains(&"STOPPING=1".to_owned()), "{ending:?}");
    let all = [living, ending].concat();
    assert!(!all.iter().any(|said| said.starts_with("EXTEND") || said == "READY=1"), "{all:?}");
}

/// How much of `pipe` is taken; `writer` fills it until it takes no more, and waits then.
fn fill(mut pipe: impl Write + Send + 'static) -> Arc<AtomicUsize> {
    let written = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&written);
    thread::spawn(move || {
        while pipe.write_all(b" ").is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    written
}

/// A pipe for its log that nobody reads stops it at its next line.
#[test]
fn a_driver_that_does_not_turn_is_not_said_to_be_alive() {
    let (manager, dir) = (Manager::new(), private_dir());
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut command = manager.command(dir.path(), Duration::from_millis(400));
    command.arg("--log-level=off,comm_node::driver=debug").stderr(writer.try_clone().unwrap());
    let relay = Program(command.spawn().unwrap());
    drop(command);
    manager.until("READY=1");
    manager.until("WATCHDOG=1");
    let written = fill(writer);
    // How much it takes depends on the pipes that the user has.
    let mut grown = (0, Instant::now());
    eventually("the pipe is full", || {
        let count = written.load(Ordering::Relaxed);
        if count != grown.0 {
            grown = (count, Instant::now());
        }
        (count > 0 && grown.1.elapsed() > Duration::from_secs(1)).then_some(())
    });
    let socket = dir.path().join("api.sock");
    thread::spawn(move || submit(&socket));
    let mut silent_since = Instant::now();
    eventually("the driver has stopped", || {
        if manager.rest().iter().any(|said| said == "WATCHDOG=1") {
            silent_since = Instant::now();
        }
        (silent_since.elapsed() > Duration::from_secs(5)).then_some(())
    });
    // It had not ended: it goes on when its line is taken.
    thread::spawn(move || {
        let mut nobody = [0; 4_096];
        while let Ok(1..) = reader.read(&mut nobody) {}
    });
    manager.until("WATCHDOG=1");
    drop(relay);
}

/// Hands an envelope over, of which the driver writes a line.
fn submit(socket: &Path) {
    submit_number(socket, 1);
}

fn submit_number(socket: &Path, number: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = Endpoint::try_from(format!("unix://{}", socket.display())).unwrap();
        let mut client = ClientClient::new(endpoint.connect().await.unwrap());
        let envelope = Some((&envelope(Address::from_bytes([7; 20]), number)).into());
        // The answer waits for the driver, which the test holds up.
        let _answer = client.submit(SubmitRequest { envelope }).await;
    });
}

pub(crate) fn free_place() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The exporter's answer, as it comes over the wire.
pub(crate) fn get(place: &str, path: &str) -> Option<String> {
    answer(place, "GET", path)
}

/// All that the exporter answers, headers and body.
fn answer(place: &str, method: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(place).ok()?;
    stream.write_all(format!("{method} {path} HTTP/1.0\r\n\r\n").as_bytes()).ok()?;
    std::io::read_to_string(stream).ok()
}

#[test]
fn a_relay_is_called_well_only_while_it_serves() {
    let (dir, place) = (private_dir(), free_place());
    hold_up(dir.path());
    let mut command = Program::command(dir.path());
    let mut relay = Program(command.args(["--metrics-listen", &place]).spawn().unwrap());
    let opening = eventually("the exporter answers", || get(&place, "/health"));
    assert!(opening.starts_with("HTTP/1.0 503 "), "{opening}");
    let figures = get(&place, "/metrics").unwrap();
    assert!(figures.contains("\ncomm_refused_total{reason=\"busy\"} 0\n"), "{figures}");
    assert!(figures.contains("\nprocess_max_fds "), "{figures}");
    assert!(get(&place, "/elsewhere").unwrap().starts_with("HTTP/1.0 404 "));
    assert!(get(&place, "/").unwrap().contains("It does not serve at the moment."));
    let_go(dir.path());
    eventually("it serves", || {
        get(&place, "/health").filter(|page| page.starts_with("HTTP/1.0 200 "))
    });
    assert!(dir.path().join("api.sock").exists());
    relay.signal("-TERM");
    assert_eq!(relay.ended(), Some(0));
}

/// The soft and the hard limit of open files of a relay that was started under these limits, and its
/// log.
fn limits_under(soft: &str, hard: &str) -> (String, String, String) {
    let dir = private_dir();
    let log = dir.path().join("log");
    let relay = Program::command(dir.path());
    let mut shell = Command::new("sh");
    let script = format!("set -e; ulimit -S -n {soft}; ulimit -H -n {hard}; exec \"$0\" \"$@\"");
    shell.env_clear().envs(relay.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.env("NO_COLOR", "1").env("PATH", "/usr/bin:/bin");
    shell.args(["-c", &script]).arg(relay.get_program()).args(relay.get_args());
    let relay = Program(shell.stderr(File::create(&log).unwrap()).spawn().unwrap());
    eventually("it serves", || dir.path().join("api.sock").exists().then_some(()));
    let limits = fs::read_to_string(format!("/proc/{}/limits", relay.0.id())).unwrap();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut files = files.split_whitespace().map(str::to_owned);
    (files.next().unwrap(), files.next().unwrap(), fs::read_to_string(log).unwrap())
}

#[test]
fn the_limit_of_open_files_is_raised_as_far_as_it_may_be_and_one_that_is_too_low_is_named() {
    let (soft, hard, log) = limits_under("200", "4096");
    assert_eq!((soft, hard), ("4096".to_owned(), "4096".to_owned()));
    assert!(!log.contains("WARN comm_node::open_files"), "{log}");
    let (soft, _, log) = limits_under("200", "300");
    assert_eq!(soft, "300");
    let complaint = log.lines().find(|line| line.contains("WARN comm_node::open_files")).unwrap();
    assert!(complaint.contains("limit=300") && complaint.contains("LimitNOFILE"), "{complaint}");
}

/// A relay with a configuration file, its service manager and its log.
struct Configured {
    manager: Manager,
    dir: tempfile::TempDir,
    metrics: String,
    relay: Program,
}

impl Configured {
    fn start(text: &str) -> Self {
        Self::start_at("127.0.0.1:0", text)
    }

    fn start_at(listen: &str, text: &str) -> Self {
        Self::start_with(&[], listen, text)
    }

    fn start_with(environment: &[(&str, &str)], listen: &str, text: &str) -> Self {
        Self::start_in(private_dir(), environment, listen, text)
    }

    fn start_in(
        dir: tempfile::TempDir,
        environment: &[(&str, &str)],
        listen: &str,
        text: &str,
    ) -> Self {
        let (manager, metrics) = (Manager::new(), free_place());
        fs::write(dir.path().join("node.toml"), text).unwrap();
        let mut command = manager.command(dir.path(), Duration::from_secs(3_600));
        command.arg("--config").arg(dir.path().join("node.toml"));
        command.args(["--metrics-listen", &metrics, "--listen", listen]).env("NO_COLOR", "1");
        command.envs(environment.iter().copied());
        command.stderr(File::create(dir.path().join("log")).unwrap());
        let relay = Program(command.spawn().unwrap());
        manager.until("READY=1");
        Self { manager, dir, metrics, relay }
    }

    /// Changes the file, has it read again, and returns what the log says of that.
    fn reload(&self, text: &str) -> String {
        fs::write(self.dir.path().join("node.toml"), text).unwrap();
        let before = self.log().len();
        self.relay.signal("-HUP");
        let said = self.manager.until("RELOADING=1");
        let (_, micros) = said.last().unwrap().split_once("\nMONOTONIC_USEC=").unwrap();
        assert!(micros.parse::<u64>().unwrap() > 0);
        self.manager.until("READY=1");
        self.log().split_off(before)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// The value of the line that begins so, as soon as there is one: some come with the driver's
    /// first turn.
    fn figure(&self, name: &str) -> f64 {
        let value = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
        eventually(name, || get(&self.metrics, "/metrics")?.lines().find_map(value))
    }
}

const SUCCESSFUL: &str = "comm_config_last_reload_successful ";
const SUCCESS_AT: &str = "comm_config_last_reload_success_timestamp_seconds ";

#[test]
fn what_can_change_changes_at_a_hangup_and_what_takes_a_restart_is_named() {
    let mut relay = Configured::start("[log]\nlevel = \"error\"\n");
    let before = relay.figure(SUCCESS_AT);
    assert_eq!(relay.figure(SUCCESSFUL), 1.0);
    let log = relay.reload(
        "[log]\nlevel = \"info\"\n[limits]\nconnections_per_ip = 7\ncalls_max = 9\n\
         [store]\nbytes_max = \"64MiB\"\n",
    );
    // That it is said at all shows that the level has changed.
    assert!(log.contains("the configuration was read again"), "{log}");
    assert!(log.contains("changed=\"limits.connections_per_ip, log.level\""), "{log}");
    assert!(log.contains("keys=\"store.bytes_max, limits.calls_max\""), "{log}");
    assert_eq!(relay.figure(SUCCESSFUL), 1.0);
    assert!(relay.figure(SUCCESS_AT) > before);
    relay.relay.signal("-TERM");
    assert_eq!(relay.relay.ended(), Some(0));
}

#[test]
fn connections_that_are_too_many_by_the_new_limit_are_refused_after_a_hangup() {
    let place = free_place();
    let relay = Configured::start_at(&place, "");
    let refused = || relay.figure("comm_refused_total{reason=\"too-many-links\"} ");
    let log = relay.reload("[limits]\nconnections_per_ip = 7\n");
    assert!(log.contains("changed=\"limits.connections_per_ip\""), "{log}");
    assert_eq!(refused(), 0.0);
    let mut held = Vec::new();
    eventually("one connection is too many", || {
        // By the limit from before, all that are opened in this test would be let in.
        if held.len() < 16 {
            held.push(TcpStream::connect(&place).unwrap());
        }
        (refused() > 0.0).then_some(())
    });
    assert!(held.len() >= 8, "{}", held.len());
}

#[test]
fn a_level_of_the_log_that_the_environment_decides_is_not_said_to_have_changed() {
    let environment = [("RUST_LOG", "info")];
    let relay = Configured::start_with(&environment, "127.0.0.1:0", "[log]\nlevel = \"info\"\n");
    let log = relay.reload("[log]\nlevel = \"error\"\n");
    assert!(log.contains("log.level was not changed: RUST_LOG is set"), "{log}");
    assert!(log.contains("changed=\"\""), "{log}");
}

#[test]
fn a_configuration_that_is_wrong_is_named_and_changes_nothing() {
    let relay = Configured::start("[log]\nlevel = \"info\"\n");
    let since = relay.figure(SUCCESS_AT);
    for (wrong, named) in [
        ("[log]\nlevel = \"error\"\nfromat = \"json\"\n", "there is no key \"log.fromat\""),
        ("[log]\nlevel = \"error\"\n[block]\nfile = \"/nowhere/blocks\"\n", "/nowhere/blocks"),
        ("[log\n", "node.toml:1"),
    ] {
        let log = relay.reload(wrong);
        let line = log.lines().find(|line| line.contains(" ERROR ")).unwrap_or_default();
        assert!(line.contains("all is as it was before") && line.contains(named), "{log}");
        assert_eq!(relay.figure(SUCCESSFUL), 0.0);
        assert_eq!(relay.figure(SUCCESS_AT), since);
    }
    // The level of the log was not taken over from the wrong files.
    let log = relay.reload("[log]\nlevel = \"info\"\n");
    assert!(log.contains("the configuration was read again"), "{log}");
    assert_eq!(relay.figure(SUCCESSFUL), 1.0);
}

#[test]
fn whoever_is_put_on_the_block_list_is_cut_off_at_the_next_hangup_and_comes_back_when_taken_off() {
    let place = free_place();
    let (lists, other_dir) = (private_dir(), private_dir());
    let blocks = lists.path().join("blocks");
    fs::write(&blocks, "# nobody\n").unwrap();
    let config = format!("[block]\nfile = \"{}\"\n", blocks.display());
    let mut command = Program::command(other_dir.path());
    command.args(["--bootstrap", &place]);
    let _other = Program(command.spawn().unwrap());
    eventually("the other has a key", || other_dir.path().join("api.sock").exists().then_some(()));
    let address = own_address(other_dir.path());
    let relay = Configured::start_at(&place, &config);
    eventually("they know each other", || (relay.figure("comm_peers ") == 1.0).then_some(()));
    assert_eq!(relay.figure("comm_blocked_total{by=\"node\"} "), 0.0);
    for moved in ["received", "sent"] {
        assert!(relay.figure(&format!("comm_link_bytes_total{{direction=\"{moved}\"}} ")) > 0.0);
    }
    eventually("a link is counted", || {
        (relay.figure("comm_links{direction=\"accepted\"} ") > 0.0).then_some(())
    });
    fs::write(&blocks, format!("{address} # for a reason\n")).unwrap();
    let log = relay.reload(&config);
    assert!(log.contains("blocked=1"), "{log}");
    eventually("it is cut off", || {
        (relay.figure("comm_blocked_total{by=\"node\"} ") > 0.0).then_some(())
    });
    fs::write(&blocks, "").unwrap();
    let log = relay.reload(&config);
    assert!(log.contains("blocked=0"), "{log}");
    let blocked = relay.figure("comm_blocked_total{by=\"node\"} ");
    let requests = || relay.figure("comm_requests_total{kind=\"ping\"} ");
    let before = requests();
    eventually("it is heard again", || (requests() > before).then_some(()));
    assert_eq!(relay.figure("comm_blocked_total{by=\"node\"} "), blocked);
}

#[test]
fn the_status_page_shows_what_the_relay_does_and_its_operator_as_text() {
    let hostile = "<script>alert(1)</script>\u{202e}";
    let relay = Configured::start(&format!(
        "[operator]\nname = \"{hostile}\"\ncontact = \"relay@library.example\"\n"
    ));
    let page = get(&relay.metrics, "/").unwrap();
    let (headers, body) = page.split_once("\r\n\r\n").unwrap();
    assert!(headers.starts_with("HTTP/1.0 200 "), "{headers}");
    for header in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; ",
        "x-content-type-options: nosniff",
    ] {
        assert!(headers.contains(header), "{header} is not in {headers}");
    }
    assert!(!body.contains("<script"), "{body}");
    for part in ["&lt;script&gt;alert(1)", "relay@library.example", "It serves.", "0 envelopes, 0B"]
    {
        assert!(body.contains(part), "{part} is not in {body}");
    }
    let own = own_address(relay.dir.path());
    assert!(!body.contains(&own) && !body.contains("127.0.0.1"), "{body}");
    assert!(page.len() < 8_192, "{}", page.len());
    submit(&relay.dir.path().join("api.sock"));
    eventually("the page counts what waits", || {
        get(&relay.metrics, "/").filter(|page| page.contains("<dd>1 envelope, "))
    });
}

#[test]
fn the_exporter_shows_and_takes_nothing() {
    let relay = Configured::start("");
    for path in ["/", "/metrics", "/health"] {
        let whole = get(&relay.metrics, path).unwrap();
        let head = answer(&relay.metrics, "HEAD", path).unwrap();
        assert!(head.starts_with("HTTP/1.0 200 ") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(head.len() < whole.len(), "{head}");
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
            let refused = answer(&relay.metrics, method, path).unwrap();
            assert!(refused.starts_with("HTTP/1.0 405 "), "{refused}");
            assert!(refused.contains("allow: GET, HEAD"), "{refused}");
        }
    }
}

#[test]
fn an_operator_of_more_than_a_line_is_refused() {
    for (key, value) in [("name", "x".repeat(65)), ("contact", "a\\nb".to_owned())] {
        let dir = private_dir();
        let file = dir.path().join("node.toml");
        fs::write(&file, format!("[operator]\n{key} = \"{value}\"\n")).unwrap();
        let (code, _, complaint) = said(&["check", "--config", file.to_str().unwrap()]);
        assert_eq!(code, Some(2), "{complaint}");
        assert!(complaint.contains(&format!("operator.{key}: must be one line")), "{complaint}");
    }
}

/// What `comm-node` says when it is called so: its exit code, its output and its complaint.
fn said(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_comm-node"));
    let output = command.env_clear().env("HOME", "/nowhere").args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn status_says_how_the_node_is_and_fails_when_none_answers() {
    let mut relay = Configured::start("");
    let data_dir = relay.dir.path().to_str().unwrap();
    let (code, text, complaint) = said(&["status", "--data-dir", data_dir]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""), "{text}");
    let (code, json, _) = said(&["status", "--json", "--data-dir", data_dir]);
    assert_eq!(code, Some(0));
    let found: serde_json::Value = serde_json::from_str(&json).unwrap();
    let address = found["address"].as_str().unwrap();
    assert_eq!(address, own_address(relay.dir.path()));
    for part in [address, "unknown", "0 known", "0 % of 1GiB", "agrees with others'"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert_eq!(found["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(found["table"]["nodes"], 0);
    assert_eq!(found["envelopes"]["stored"], 0);
    assert_eq!(found["store"]["bytes_max"], 1 << 30);
    assert!(found["store"]["free_bytes"].as_u64().unwrap() > 0);
    assert!(found["store"]["disk_bytes"].as_u64().unwrap() > 0);
    assert!(found["uptime_seconds"].as_u64().unwrap() < 3_600);
    // What it counts comes from its driver, which has one envelope more a moment later.
    submit(&relay.dir.path().join("api.sock"));
    eventually("it counts what it has taken in", || {
        let (_, json, _) = said(&["status", "--json", "--data-dir", data_dir]);
        let found: serde_json::Value = serde_json::from_str(&json).unwrap();
        let counts = [&found["envelopes"]["stored"], &found["envelopes"]["accepted"]];
        (counts == [1, 1] && found["store"]["counted_bytes"].as_u64() > Some(0)).then_some(())
    });
    // What the file says now is no matter: who asks by the data directory hears of what runs.
    fs::write(relay.dir.path().join("node.toml"), "[log\n").unwrap();
    let (code, _, complaint) = said(&["status", "--data-dir", data_dir]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""));
    relay.relay.signal("-KILL");
    assert_eq!(relay.relay.ended(), None);
    let (code, text, complaint) = eventually("it has ended", || {
        Some(said(&["status", "--data-dir", data_dir])).filter(|(code, ..)| *code != Some(0))
    });
    assert_eq!((code, text.as_str()), (Some(1), ""));
    assert!(complaint.contains("no relay runs") && complaint.lines().count() == 1, "{complaint}");
}

fn own_address(dir: &Path) -> String {
    let key = fs::read_to_string(dir.join("node.key")).unwrap();
    let seed: [u8; 32] = hex::decode(key.trim()).unwrap().try_into().unwrap();
    KeyPair::from_seed(&seed).address().to_string()
}

#[test]
fn check_says_what_is_wrong_with_a_configuration_and_starts_nothing() {
    let dir = private_dir();
    let (file, blocks) = (dir.path().join("node.toml"), dir.path().join("blocks"));
    let data_dir = dir.path().join("data");
    let checked = |text: &str| {
        let all = format!("data_dir = \"{}\"\n{text}", data_dir.display());
        fs::write(&file, all).unwrap();
        said(&["check", "--config", file.to_str().unwrap()])
    };
    let (code, text, _) = checked("[store]\nbytes_max = \"1GiB\"\n");
    assert_eq!((code, text.lines().count()), (Some(0), 1), "{text}");
    fs::write(&blocks, "192.0.2.0/24\n192.0.2\n").unwrap();
    let with_blocks = format!("[block]\nfile = \"{}\"\n", blocks.display());
    for (text, named) in [
        ("[store]\nbytes_max = \"1GB\"\n", "1GB"),
        ("leafs = true\n", "the nearest is \"leaf\""),
        (&with_blocks, "blocks:2: this line is neither"),
        ("network_key_file = \"/nowhere/key\"\n", "/nowhere/key"),
    ] {
        let (code, text, complaint) = checked(text);
        assert_eq!((code, text.as_str()), (Some(2), ""), "{complaint}");
        assert!(complaint.contains(named) && complaint.lines().count() == 1, "{complaint}");
    }
    assert!(!data_dir.exists());
}
