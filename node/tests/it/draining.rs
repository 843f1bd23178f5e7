//! `comm-node drain`: relays leave one after the other under load, and nothing that was promised is lost.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use comm_node::rpc::client::client_client::ClientClient;
use comm_node::rpc::client::owner_client::OwnerClient;
use comm_proto::address::Address;
use comm_proto::wire::client::{
    CancelDrainRequest, DrainRequest, DrainState, SubmitRequest, WatchRequest,
};
use comm_proto::wire::decode;
use tempfile::TempDir;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::api::envelope;
use crate::node_process::{NodeProcess, data_dir, said, status};

/// Relays of the network, and how many of them leave.
const RELAYS: usize = 20;
const LEAVING: usize = 4;
const PATIENCE: Duration = Duration::from_secs(120);

/// Envelopes that some relay has answered for, by the bytes of their ids.
type Promised = Arc<Mutex<BTreeSet<Bytes>>>;

fn mailbox() -> Address {
    Address::from_bytes([7; 20])
}

async fn network() -> Vec<(TempDir, NodeProcess)> {
    let mut relays: Vec<(TempDir, NodeProcess)> = Vec::new();
    let mut bootstrap = Vec::new();
    for _ in 0..RELAYS {
        let dir = data_dir();
        let node = NodeProcess::spawn(dir.path(), &bootstrap);
        let there = status(&mut node.client().await).await;
        if bootstrap.is_empty() {
            let place = decode::endpoints(&there.endpoints).unwrap()[0];
            bootstrap = vec![format!("--bootstrap={place}")];
        }
        relays.push((dir, node));
    }
    let since = Instant::now();
    for (_, node) in &relays {
        let mut client = node.client().await;
        while status(&mut client).await.peers < RELAYS as u64 - 1 {
            assert!(since.elapsed() < PATIENCE, "they do not find each other: {}", node.log());
            sleep(Duration::from_millis(50)).await;
        }
    }
    relays
}

fn word(status: &Status) -> &str {
    status.metadata().get("comm-code").and_then(|word| word.to_str().ok()).unwrap_or_default()
}

/// Submits one after the other, at the next relay when one refuses or is gone, until it is ended.
async fn write_on(mut clients: Vec<ClientClient<Channel>>, writer: u32, promised: Promised) {
    for n in 0.. {
        let envelope = Some((&envelope(mailbox(), writer << 24 | n)).into());
        match clients[0].submit(SubmitRequest { envelope }).await {
            Ok(answer) => drop(promised.lock().unwrap().insert(answer.into_inner().id)),
            Err(_) => clients.rotate_left(1),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Which of these none of the relays says that it has, each asked again until they have all been found or time is over.
pub(crate) async fn lacking(
    clients: &mut [ClientClient<Channel>],
    ids: &BTreeSet<Bytes>,
) -> BTreeSet<Bytes> {
    let (mut lacking, since) = (ids.clone(), Instant::now());
    while !lacking.is_empty() && since.elapsed() < PATIENCE {
        for client in &mut *clients {
            let all: Vec<_> = lacking.iter().cloned().collect();
            for ids in all.chunks(256) {
                let known = known(client, ids).await;
                lacking.retain(|id| !known.contains(id));
            }
        }
    }
    lacking
}

/// Those of these that it has come at once; of the others it says nothing.
async fn known(client: &mut ClientClient<Channel>, ids: &[Bytes]) -> BTreeSet<Bytes> {
    let mut known = BTreeSet::new();
    let mut states = client.watch(WatchRequest { ids: ids.to_vec() }).await.unwrap().into_inner();
    while known.len() < ids.len() {
        match timeout(Duration::from_millis(300), states.message()).await {
            Ok(Ok(Some(state))) => drop(known.insert(state.id)),
            _ => break,
        }
    }
    known
}

fn drained(dir: &Path) -> (Option<i32>, String, String) {
    said(&["drain", "--data-dir", dir.to_str().unwrap()])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_of_twenty_relays_leave_one_after_the_other_under_load_and_nothing_is_lost() {
    let mut relays = network().await;
    let (promised, mut writers) = (Promised::default(), JoinSet::new());
    for writer in 0..4 {
        let mut clients = Vec::new();
        for (_, node) in &relays {
            clients.push(node.client().await);
        }
        // Each begins with one that leaves.
        clients.rotate_left(writer);
        writers.spawn(write_on(clients, writer as u32, Arc::clone(&promised)));
    }
    for _ in 0..LEAVING {
        let before = promised.lock().unwrap().len();
        while promised.lock().unwrap().len() < before + 50 {
            sleep(Duration::from_millis(10)).await;
        }
        let (dir, node) = relays.remove(0);
        let path = dir.path().to_owned();
        let (code, text, complaint) = spawn_blocking(move || drained(&path)).await.unwrap();
        assert_eq!(code, Some(0), "{text}{complaint}{}", node.log());
        assert!(text.contains("The relay has ended"), "{text}");
        assert!(!text.contains("NOT"), "{text}");
        assert_eq!(node.ended().0, Some(0), "{}", node.log());
        assert!(node.log().contains("everything is handed over"), "{}", node.log());
    }
    writers.shutdown().await;
    let promised = promised.lock().unwrap().clone();
    assert!(promised.len() >= LEAVING * 50);
    let mut clients = Vec::new();
    for (_, node) in &relays {
        clients.push(node.client().await);
    }
    let missing = lacking(&mut clients, &promised).await;
    assert!(missing.is_empty(), "{} of {} are lost", missing.len(), promised.len());
}

/// A drain that lasts for a while, since nobody is there to hand over to.
fn begin(dir: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_comm-node"));
    command.env_clear().env("HOME", "/nowhere").args(["drain", "--data-dir"]).arg(dir);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

async fn submitted(client: &mut ClientClient<Channel>, n: u32) -> Result<(), Status> {
    let envelope = Some((&envelope(mailbox(), n)).into());
    client.submit(SubmitRequest { envelope }).await.map(drop)
}

/// Waits until the relay refuses what clients bring; how much it has taken in until then.
async fn begun(client: &mut ClientClient<Channel>) -> u64 {
    let mut taken = 0;
    loop {
        match submitted(client, 1_000 + taken as u32).await {
            Err(status) => {
                assert_eq!(word(&status), "leaving");
                return taken;
            }
            Ok(()) => taken += 1,
        }
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_with_nobody_to_hand_over_to_says_so_keeps_everything_and_goes_on() {
    let dir = data_dir();
    let node = NodeProcess::spawn(dir.path(), &[]);
    let mut client = node.client().await;
    submitted(&mut client, 1).await.unwrap();
    let path = dir.path().to_owned();
    let (code, text, _) = spawn_blocking(move || drained(&path)).await.unwrap();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.starts_with("0 of 1 envelopes handed over"), "{text}");
    assert!(text.contains("1 NOT handed over: no relay that they belong to answered"), "{text}");
    assert!(text.contains("goes on as before and keeps everything"), "{text}");
    assert!(node.is_alive());
    assert_eq!(status(&mut client).await.envelopes, 1);
    submitted(&mut client, 2).await.unwrap();
    assert!(node.log().contains("not everything could be handed over"), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_goes_on_without_its_command_and_ends_by_another() {
    let dir = data_dir();
    let node = NodeProcess::spawn(dir.path(), &[]);
    let mut client = node.client().await;
    submitted(&mut client, 1).await.unwrap();
    let data_dir = dir.path().to_str().unwrap();
    let looked = || said(&["drain", "--status", "--data-dir", data_dir]);
    for order in ["--cancel", "--status"] {
        let (code, _, complaint) = said(&["drain", order, "--data-dir", data_dir]);
        assert_eq!((code, complaint.lines().count()), (Some(1), 1), "{complaint}");
    }
    submitted(&mut client, 3).await.expect("looking begins nothing");
    let first = begin(dir.path());
    let taken = 1 + begun(&mut client).await;
    let interrupted = Command::new("kill").args(["-INT", &first.id().to_string()]).status();
    assert!(interrupted.unwrap().success());
    let output = first.wait_with_output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("goes on handing over"), "{complaint}");
    assert_eq!(word(&submitted(&mut client, 2).await.unwrap_err()), "leaving");
    let (code, text, complaint) = looked();
    assert_eq!((code, complaint.as_str()), (Some(0), ""));
    assert_eq!(text, format!("{} envelopes left, 0 handed over, 0 receipts\n", 1 + taken));
    // Another one is told of the same, and of its end.
    let mut owner = OwnerClient::new(node.connect().await);
    let mut reports = owner.drain(DrainRequest {}).await.unwrap().into_inner();
    let first = reports.message().await.unwrap().unwrap();
    assert_eq!((first.state(), first.handed_over), (DrainState::UnderWay, 0));
    let (code, text, _) = said(&["drain", "--cancel", "--data-dir", data_dir]);
    assert_eq!((code, text.as_str()), (Some(0), "the relay stays\n"));
    let mut last = first;
    while let Some(report) = reports.message().await.unwrap() {
        last = report;
    }
    assert_eq!((last.state(), last.envelopes), (DrainState::Cancelled, 1 + taken));
    let (code, text, _) = looked();
    assert!(code == Some(0) && text.contains("It was cancelled"), "{text}");
    let (_, text, _) = said(&["drain", "--status", "--json", "--data-dir", data_dir]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["state"], "cancelled");
    submitted(&mut client, 2).await.unwrap();
    assert_eq!(status(&mut client).await.envelopes, 2 + taken);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_started_again_while_it_leaves_is_an_ordinary_one() {
    let dir = data_dir();
    let node = NodeProcess::spawn(dir.path(), &[]);
    let mut client = node.client().await;
    submitted(&mut client, 1).await.unwrap();
    let command = begin(dir.path());
    let taken = begun(&mut client).await;
    node.signal("-TERM");
    assert_eq!(node.ended().0, Some(0));
    let output = command.wait_with_output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("ended before it had handed over everything"), "{complaint}");
    let node = NodeProcess::spawn(dir.path(), &[]);
    let mut client = node.client().await;
    assert_eq!(status(&mut client).await.envelopes, 1 + taken);
    submitted(&mut client, 2).await.unwrap();
    let data_dir = dir.path().join("nowhere");
    let (code, _, complaint) = said(&["drain", "--data-dir", data_dir.to_str().unwrap()]);
    assert_eq!((code, complaint.lines().count()), (Some(1), 1), "{complaint}");
    assert!(complaint.contains("no relay runs"), "{complaint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_inside_a_program_does_not_take_orders_to_leave() {
    use std::os::unix::fs::PermissionsExt;
    let mut private = tempfile::Builder::new();
    let dir = private.permissions(std::fs::Permissions::from_mode(0o700)).tempdir().unwrap();
    let mut config =
        comm_node::config::NodeConfig { data_dir: dir.path().to_owned(), ..<_>::default() };
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let relay = comm_node::Relay::start(config).await.unwrap();
    let mut owner = OwnerClient::new(relay.embedded().channel());
    let refused = owner.drain(DrainRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    let refused = owner.cancel_drain(CancelDrainRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    // Nor over its socket.
    let data_dir = dir.path().to_str().unwrap();
    for order in [
        &["drain", "--data-dir", data_dir][..],
        &["drain", "--cancel", "--data-dir", data_dir],
        &["drain", "--status", "--data-dir", data_dir],
    ] {
        let (code, _, complaint) = said(order);
        assert_eq!((code, complaint.lines().count()), (Some(1), 1), "{complaint}");
        assert!(complaint.contains("is part of a program"), "{complaint}");
    }
    relay.stop().await.unwrap();
}
