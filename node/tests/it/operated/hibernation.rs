//! Relays that may carry only so much, as their operators and other relays meet them.

use comm_node::traffic::schedule::Schedule;
use comm_proto::time::{Span, Time};

use super::*;

const MIB: u64 = 1 << 20;
/// Of which four are the reserve.
const VOLUME: &str = "[traffic]\nvolume_max = \"64MiB\"\n[limits]\nping_interval = \"1s\"\n";

fn now() -> Time {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Time::from_millis(u64::try_from(since.as_millis()).unwrap())
}

/// A data directory whose relay has carried so much in this month, and rests until then.
fn with_account(used: u64, rests_until: Option<Time>) -> tempfile::TempDir {
    let (dir, period) = (private_dir(), Schedule::MONTHLY.period_at(now()));
    let [from, to] = [period.from, period.to].map(Time::as_millis);
    let rests = rests_until.map(|at| format!("rests_until = {}\n", at.as_millis()));
    let text = format!(
        "period_from = {from}\nperiod_to = {to}\nused = {used}\nawake_since = {from}\n{}",
        rests.unwrap_or_default()
    );
    fs::write(dir.path().join("traffic.account"), text).unwrap();
    dir
}

fn used_by_account(dir: &Path) -> u64 {
    let text = fs::read_to_string(dir.join("traffic.account")).unwrap();
    let used = text.lines().find_map(|line| line.strip_prefix("used = ")).unwrap();
    used.parse().unwrap()
}

/// Another relay, which finds the network through the one at `place` and pings often.
fn other_relay(dir: &Path, place: &str, metrics: &str) -> Program {
    let mut command = Program::command(dir);
    command.args(["--bootstrap", place, "--metrics-listen", metrics]);
    command.args(["--limits-ping-interval", "1s"]);
    Program(command.spawn().unwrap())
}

fn figure_at(metrics: &str, name: &str) -> f64 {
    let value = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
    eventually(name, || get(metrics, "/metrics")?.lines().find_map(value))
}

fn status_of(dir: &Path) -> (String, serde_json::Value) {
    let dir = dir.to_str().unwrap();
    let (code, text, complaint) = said(&["status", "--data-dir", dir]);
    assert_eq!(code, Some(0), "{complaint}");
    let (_, json, _) = said(&["status", "--json", "--data-dir", dir]);
    (text, serde_json::from_str(&json).unwrap())
}

#[test]
fn a_relay_whose_volume_is_used_rests_for_others_and_works_for_its_own_until_there_is_more() {
    let (place, metrics) = (free_place(), free_place());
    let dir = with_account(60 * MIB - 200_000, None);
    let mut relay = Configured::start_in(dir, &[], &place, VOLUME);
    let hibernating = |relay: &Configured| relay.figure("comm_hibernating ");
    assert_eq!(hibernating(&relay), 0.0);
    let socket = relay.dir.path().join("api.sock");
    let other_dir = private_dir();
    let _other = other_relay(other_dir.path(), &place, &metrics);
    eventually("they know each other", || (relay.figure("comm_peers ") == 1.0).then_some(()));
    let mut submitted = 0_u32;
    eventually("the other has brought enough", || {
        submitted += 1;
        submit_number(&other_dir.path().join("api.sock"), submitted);
        (hibernating(&relay) == 1.0).then_some(())
    });
    let is_turned_away = || relay.figure("comm_refused_total{reason=\"hibernating\"} ") > 0.0;
    eventually("the other is turned away", || is_turned_away().then_some(()));
    eventually("its links have ended", || {
        (relay.figure("comm_links{direction=\"accepted\"} ") == 0.0).then_some(())
    });
    assert!(relay.figure("comm_traffic_volume_used_bytes ") >= (60 * MIB) as f64);
    // Its own clients are served, also beyond this machine.
    submit_number(&socket, 0);
    eventually("the other has it", || {
        (figure_at(&metrics, "comm_envelopes ") == f64::from(submitted) + 1.0).then_some(())
    });
    let (text, found) = status_of(relay.dir.path());
    assert!(text.contains("HIBERNATING until 2"), "{text}");
    assert_eq!(found["volume"]["bytes_max"], 64 * MIB);
    let until = found["volume"]["hibernates_until"].as_u64().unwrap();
    assert!(until >= found["volume"]["ends"].as_u64().unwrap());
    let stored = &found["envelopes"]["stored"];
    assert!(stored.as_u64() > Some(1), "{found}");
    // Not even a crash makes it forget.
    let used = used_by_account(relay.dir.path());
    assert!(used as f64 >= relay.figure("comm_traffic_volume_used_bytes "));
    relay.relay.signal("-KILL");
    assert_eq!(relay.relay.ended(), None);
    let mut relay = Configured::start_in(relay.dir, &[], &place, VOLUME);
    assert_eq!(hibernating(&relay), 1.0);
    assert!(relay.figure("comm_traffic_volume_used_bytes ") >= used as f64);
    assert_eq!(status_of(relay.dir.path()).1["envelopes"]["stored"], *stored);
    // More to carry: it is awake at once, and the other finds it again.
    let log = relay.reload(&VOLUME.replace("64MiB", "256MiB"));
    assert!(log.contains("changed=\"traffic.volume_max\""), "{log}");
    eventually("it is awake", || (hibernating(&relay) == 0.0).then_some(()));
    eventually("the other is served", || {
        (relay.figure("comm_links{direction=\"accepted\"} ") > 0.0).then_some(())
    });
    // What ends in order counts exactly.
    let most = relay.figure("comm_traffic_volume_used_bytes ") + MIB as f64;
    relay.relay.signal("-TERM");
    assert_eq!(relay.relay.ended(), Some(0));
    assert!((used_by_account(relay.dir.path()) as f64) < most);
}

#[test]
fn a_relay_that_rests_wakes_by_itself_at_its_moment_and_not_before() {
    let until = now() + Span::from_secs(20);
    let relay = Configured::start_in(with_account(0, Some(until)), &[], "127.0.0.1:0", VOLUME);
    assert!(relay.log().contains("hibernating: others are not served any more"), "{}", relay.log());
    eventually("it is awake", || (relay.figure("comm_hibernating ") == 0.0).then_some(()));
    assert!(now() >= until);
    assert!(relay.log().contains("it is awake again"));
}

#[test]
fn a_relay_whose_account_is_damaged_says_what_to_do_and_does_not_start() {
    let dir = private_dir();
    fs::write(dir.path().join("traffic.account"), "used = -1\n").unwrap();
    let data_dir = dir.path().to_str().unwrap();
    let args = ["run", "--listen=127.0.0.1:0", "--traffic-volume-max=1GiB", "--data-dir", data_dir];
    let (code, _, complaint) = said(&args);
    assert_eq!(code, Some(1));
    let last = complaint.lines().last().unwrap_or_default();
    assert!(last.contains("traffic.account is damaged; remove it"), "{complaint}");
}
