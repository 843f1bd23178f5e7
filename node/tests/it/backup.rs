//! Copies of a node's data: complete, private, never in the place of anything, and only for its owner.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use comm_node::Relay;
use comm_node::config::NodeConfig;
use comm_node::rpc::client::client_client::ClientClient;
use comm_node::rpc::client::owner_client::OwnerClient;
use comm_proto::address::Address;
use comm_proto::envelope::{Envelope, Header, Suite, TTL_DEFAULT};
use comm_proto::wire::client::{BackupRequest, SubmitRequest, WatchRequest};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

use crate::node_process::{NodeProcess, data_dir, now, status};

/// Envelopes that the node has answered for, by the bytes of their ids.
type Stored = Arc<Mutex<BTreeSet<Bytes>>>;

fn backup(dir: &Path, to: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_comm-node"));
    command.env_clear().env("HOME", "/nowhere").arg("backup").arg("--data-dir").arg(dir);
    command.arg(to).output().unwrap()
}

fn refused(dir: &Path, to: &Path) -> String {
    let output = backup(dir, to);
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{line}");
    line
}

fn envelope(writer: u8, n: u32) -> Envelope {
    let (mailbox, expires_at) = (Address::from_bytes([7; 20]), now() + TTL_DEFAULT);
    let header = Header { suite: Suite::ONE, mailbox, expires_at, stamp_nonce: 0 };
    let mut body = vec![writer; 1 << 10];
    body[..4].copy_from_slice(&n.to_be_bytes());
    Envelope::new(header, body.into()).unwrap()
}

/// Submits one after the other until the node is gone.
async fn write_on(mut client: ClientClient<Channel>, writer: u8, stored: Stored) {
    for n in 0.. {
        let envelope = Some((&envelope(writer, n)).into());
        let Ok(answer) = client.submit(SubmitRequest { envelope }).await else { return };
        stored.lock().unwrap().insert(answer.into_inner().id);
    }
}

/// How many of these the node knows.
async fn known(client: &mut ClientClient<Channel>, ids: &BTreeSet<Bytes>) -> usize {
    let (mut count, all) = (0, ids.iter().cloned().collect::<Vec<_>>());
    for ids in all.chunks(256) {
        let mut states =
            client.watch(WatchRequest { ids: ids.to_vec() }).await.unwrap().into_inner();
        for _ in ids {
            let state = tokio::time::timeout(Duration::from_secs(10), states.message()).await;
            count += usize::from(matches!(state, Ok(Ok(Some(_)))));
        }
    }
    count
}

/// Everything below, with permissions.
fn modes(path: &Path, found: &mut Vec<(PathBuf, u32)>) {
    let metadata = fs::metadata(path).unwrap();
    found.push((path.to_owned(), metadata.permissions().mode() & 0o777));
    if metadata.is_dir() {
        fs::read_dir(path).unwrap().for_each(|file| modes(&file.unwrap().path(), found));
    }
}

fn assert_private(copy: &Path) {
    let mut found = Vec::new();
    modes(copy, &mut found);
    for (path, mode) in found {
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_made_under_load_starts_and_has_all_that_was_stored_before() {
    let (dir, copies) = (data_dir(), data_dir());
    let node = NodeProcess::spawn(dir.path(), &[]);
    let client = node.client().await;
    let stored = Stored::default();
    for writer in 1..=8 {
        tokio::spawn(write_on(client.clone(), writer, Arc::clone(&stored)));
    }
    let mut before = BTreeSet::new();
    for n in 1..=3 {
        while stored.lock().unwrap().len() < before.len() + 300 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        before.clone_from(&stored.lock().unwrap());
        let copy = copies.path().join(n.to_string());
        let (data, to) = (dir.path().to_owned(), copy.clone());
        let output = tokio::task::spawn_blocking(move || backup(&data, &to)).await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_private(&copy);
    }
    let address = status(&mut client.clone()).await.node;
    node.kill();
    let restored = NodeProcess::spawn(&copies.path().join("3"), &[]);
    let mut client = restored.client().await;
    let there = status(&mut client).await;
    assert_eq!(there.node, address, "another key");
    assert!(there.envelopes >= before.len() as u64, "{} of {}", there.envelopes, before.len());
    assert_eq!(known(&mut client, &before).await, before.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_run_is_copied_too() {
    let (dir, copies) = (data_dir(), data_dir());
    let to = copies.path().join("copy");
    let nothing = refused(&dir.path().join("elsewhere"), &to);
    assert!(nothing.contains("there is no node's data in"), "{nothing}");
    assert!(!dir.path().join("elsewhere").exists());
    let node = NodeProcess::spawn(dir.path(), &[]);
    let mut client = node.client().await;
    let submission = SubmitRequest { envelope: Some((&envelope(1, 1)).into()) };
    let id = client.submit(submission).await.unwrap().into_inner().id;
    node.kill();
    assert!(backup(dir.path(), &to).status.success());
    assert_private(&to);
    let restored = NodeProcess::spawn(&to, &[]);
    assert_eq!(known(&mut restored.client().await, &[id].into()).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_never_takes_the_place_of_anything() {
    let (dir, copies) = (data_dir(), data_dir());
    let node = NodeProcess::spawn(dir.path(), &[]);
    node.connect().await;
    let (file, empty) = (copies.path().join("file"), copies.path().join("empty"));
    fs::write(&file, "precious").unwrap();
    fs::create_dir(&empty).unwrap();
    for taken in [&file, &empty] {
        let line = refused(dir.path(), taken);
        assert!(line.contains("is there already"), "{line}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    fs::create_dir(copies.path().join("a.unfinished")).unwrap();
    let line = refused(dir.path(), &copies.path().join("a"));
    assert!(line.contains("was broken off"), "{line}");
    let line = refused(dir.path(), &copies.path().join("no/such/place"));
    assert!(line.contains("cannot copy to"), "{line}");
    let left: BTreeSet<_> =
        fs::read_dir(copies.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["a.unfinished", "empty", "file"].map(Into::into).into());
}

#[tokio::test]
async fn only_over_the_socket_may_a_copy_be_asked_for() {
    let private = Permissions::from_mode(0o700);
    let dir: TempDir = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    let mut config = NodeConfig { data_dir: dir.path().to_owned(), ..NodeConfig::default() };
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.api.tcp = Some("127.0.0.1:0".parse().unwrap());
    let relay = Relay::start(config).await.unwrap();
    let to = dir.path().join("copy");
    let request = || {
        let mut request = Request::new(BackupRequest { to: to.to_str().unwrap().to_owned() });
        let token = fs::read_to_string(dir.path().join("api.token")).unwrap();
        let value = format!("Bearer {}", token.trim()).parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        request
    };
    let place = format!("http://{}", relay.api_tcp().unwrap());
    let tcp = Endpoint::from_shared(place).unwrap().connect().await.unwrap();
    for channel in [tcp, relay.embedded().channel()] {
        let refused = OwnerClient::new(channel).backup(request()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
    }
    assert!(!to.exists());
    relay.stop().await.unwrap();
}
