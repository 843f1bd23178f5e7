//! `comm-node block`: at once, over restarts, beside the file of block.file, and without a running relay.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use comm_proto::address::Address;
use comm_proto::wire::decode;
use tokio::time::sleep;

use crate::node_process::{NodeProcess, address, data_dir, said, status};
use crate::operated::{free_place, get};

const PATIENCE: Duration = Duration::from_secs(120);

/// Asks soon whoever is silent, so that the test need not wait for minutes.
fn impatient(mut args: Vec<String>) -> Vec<String> {
    args.extend(
        ["--protocol-questionable-after=3s", "--protocol-refresh-after=3s"].map(str::to_owned),
    );
    args
}

/// What a command says that is to go well.
fn told(command: &[&str], dir: &Path) -> String {
    let all = [command, &["--data-dir", dir.to_str().unwrap()]].concat();
    let (code, text, complaint) = said(&all);
    assert_eq!((code, complaint.as_str()), (Some(0), ""), "{command:?}");
    text
}

/// What a command complains of in one line.
fn refused(command: &[&str], dir: &Path, expected: i32) -> String {
    let all = [command, &["--data-dir", dir.to_str().unwrap()]].concat();
    let (code, _, complaint) = said(&all);
    assert_eq!((code, complaint.lines().count()), (Some(expected), 1), "{complaint}");
    complaint
}

/// How many relays it knows that answer it.
async fn good_peers(node: &NodeProcess) -> usize {
    let request = comm_proto::wire::client::ListPeersRequest {};
    let peers = node.client().await.list_peers(request).await.unwrap().into_inner().peers;
    let good = |peer: &&comm_proto::wire::client::PeerInfo| {
        peer.status() == comm_proto::wire::client::PeerStatus::Good
    };
    peers.iter().filter(good).count()
}

/// Whether the list has prevented a link.
fn has_blocked(metrics: &str) -> bool {
    let page = get(metrics, "/metrics").unwrap_or_default();
    let blocked =
        page.lines().find_map(|line| line.strip_prefix("comm_blocked_total{by=\"node\"} "));
    blocked.is_some_and(|count| count != "0")
}

async fn until_good(node: &NodeProcess, count: usize) {
    let since = Instant::now();
    while good_peers(node).await != count {
        assert!(since.elapsed() < PATIENCE, "in vain: {}", node.log());
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_a_command_blocks_is_cut_off_at_once_and_after_a_restart_and_comes_back_when_taken_off()
 {
    let (dir, other_dir) = (data_dir(), data_dir());
    let relay = NodeProcess::spawn(dir.path(), &impatient(Vec::new()));
    let there = status(&mut relay.client().await).await;
    let place = decode::endpoints(&there.endpoints).unwrap()[0];
    let bootstrap = format!("--bootstrap={place}");
    let other = NodeProcess::spawn(other_dir.path(), &impatient(vec![bootstrap.clone()]));
    let blocked: Address = address(&status(&mut other.client().await).await);
    until_good(&relay, 1).await;
    let blocked = blocked.to_string();
    told(&["block", "add", &blocked], dir.path());
    assert_eq!(told(&["block", "list"], dir.path()), format!("{blocked}\n"));
    until_good(&relay, 0).await;
    relay.signal("-TERM");
    assert_eq!(relay.ended().0, Some(0));
    // The same port, so that the other finds it again.
    let metrics = free_place();
    let again = impatient(vec![format!("--listen={place}"), format!("--metrics-listen={metrics}")]);
    let relay = NodeProcess::spawn_listening(dir.path(), &again);
    relay.connect().await;
    assert_eq!(told(&["block", "list"], dir.path()), format!("{blocked}\n"));
    // The other calls, or this one would, and is kept from it.
    let since = Instant::now();
    while !has_blocked(&metrics) {
        assert!(since.elapsed() < PATIENCE, "nobody was kept off: {}", relay.log());
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(good_peers(&relay).await, 0);
    told(&["block", "remove", &blocked], dir.path());
    assert_eq!(told(&["block", "list"], dir.path()), "");
    // The other may pause for minutes after failed calls; begun anew it calls at once.
    drop(other);
    let _other = NodeProcess::spawn(other_dir.path(), &impatient(vec![bootstrap]));
    until_good(&relay, 1).await;
    assert!(relay.log().contains("a command has changed who is blocked"), "{}", relay.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_a_file_and_one_of_commands_stand_beside_each_other() {
    let dir = data_dir();
    let file = dir.path().join("list");
    fs::write(&file, "192.0.2.0/24\n").unwrap();
    let block_file = format!("--block-file={}", file.display());
    let list = |command: &[&str]| told(&[command, &[&block_file]].concat(), dir.path());
    // Before a relay has ever run, and without one.
    assert!(list(&["block", "list"]).starts_with("192.0.2.0/24  # "));
    list(&["block", "add", "198.51.100.7", "2001:db8:0:7::1"]);
    let both = list(&["block", "list", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&both).unwrap();
    let by_command = serde_json::json!(["198.51.100.7", "2001:db8:0:7::/64"]);
    assert_eq!(found["by_command"], by_command);
    assert_eq!(found["by_file"], serde_json::json!(["192.0.2.0/24"]));
    let relay = NodeProcess::spawn(dir.path(), std::slice::from_ref(&block_file));
    relay.connect().await;
    // The running relay says the same.
    assert_eq!(list(&["block", "list", "--json"]), both);
    let line = refused(&["block", "remove", "192.0.2.0/24"], dir.path(), 1);
    assert!(line.contains("by the file of block.file"), "{line}");
    let line = refused(&["block", "remove", "203.0.113.1"], dir.path(), 1);
    assert!(line.contains("is not blocked by a command"), "{line}");
    list(&["block", "remove", "2001:db8:0:7::/64"]);
    let text = fs::read_to_string(dir.path().join("blocks")).unwrap();
    assert_eq!(text, "198.51.100.7\n");
    let copy = dir.path().join("copy");
    told(&["backup", copy.to_str().unwrap()], dir.path());
    assert_eq!(fs::read_to_string(copy.join("blocks")).unwrap(), text);
}

#[test]
fn what_is_nobody_is_a_misuse_and_nothing_changes() {
    let dir = data_dir();
    for wrong in ["nobody", "192.0.2.0/33", "192.0.2"] {
        let line = refused(&["block", "add", "192.0.2.1", wrong], dir.path(), 2);
        assert!(line.contains("neither a relay's address"), "{line}");
    }
    assert!(refused(&["block", "add"], dir.path(), 2).contains("required"));
    assert!(!dir.path().join("blocks").exists());
    let nowhere = dir.path().join("nowhere");
    let line = refused(&["block", "add", "192.0.2.1"], &nowhere, 1);
    assert!(line.contains("there is no node's data"), "{line}");
    fs::write(dir.path().join("blocks"), "someone\n").unwrap();
    let line = refused(&["run", "--listen=127.0.0.1:0"], dir.path(), 1);
    assert!(line.contains("blocks:1: this line blocks nobody"), "{line}");
}
