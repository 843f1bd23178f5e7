//! What comes over a machine: a full disk, one that can only be read, an upgrade and a step back, an end under
//! load. Each leaves a clear line, and none of them an envelope less than was promised.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use comm_node::rpc::client::client_client::ClientClient;
use comm_node::store::{RocksStore, SCHEMA};
use comm_proto::address::Address;
use comm_proto::envelope::{Envelope, Header, SizeClass, Suite, TTL_DEFAULT};
use comm_proto::node::Family;
use comm_proto::store::{Batch, Seq, Write as Row};
use comm_proto::wire::client::SubmitRequest;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonic::transport::Channel;

use crate::draining::lacking;
use crate::node_process::{NodeProcess, data_dir, now, said, status};
use crate::store::{lay_out, layout_1};

/// Envelopes that the node has answered for, by the bytes of their ids.
type Promised = Arc<Mutex<BTreeSet<Bytes>>>;

/// Told to stop, a node has ended after so long.
const STOPPED_WITHIN: Duration = Duration::from_secs(5);

fn envelope(writer: u8, class: SizeClass, n: u32) -> Envelope {
    let (mailbox, expires_at) = (Address::from_bytes([7; 20]), now() + TTL_DEFAULT);
    let header = Header { suite: Suite::ONE, mailbox, expires_at, stamp_nonce: 0 };
    let mut body = vec![writer; class.body_len()];
    body[..4].copy_from_slice(&n.to_be_bytes());
    Envelope::new(header, body.into()).unwrap()
}

/// Submits one after the other until the node refuses or is gone.
async fn write_on(
    mut client: ClientClient<Channel>,
    (writer, class): (u8, SizeClass),
    promised: Promised,
) {
    for n in 0.. {
        let envelope = Some((&envelope(writer, class, n)).into());
        let Ok(answer) = client.submit(SubmitRequest { envelope }).await else { return };
        promised.lock().unwrap().insert(answer.into_inner().id);
    }
}

async fn assert_kept(node: &NodeProcess, promised: &Promised) {
    let promised = promised.lock().unwrap().clone();
    let lost = lacking(&mut [node.client().await], &promised).await;
    assert!(lost.is_empty(), "{} of {} that were promised are lost", lost.len(), promised.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_told_to_stop_under_load_ends_within_five_seconds_and_loses_nothing() {
    let dir = data_dir();
    let (promised, mut writers) = (Promised::default(), JoinSet::new());
    for round in 0..3_u8 {
        let node = NodeProcess::spawn(dir.path(), &[]);
        for writer in 0..4 {
            let of_round = (round * 4 + writer, SizeClass::K1);
            writers.spawn(write_on(node.client().await, of_round, Arc::clone(&promised)));
        }
        let before = promised.lock().unwrap().len();
        while promised.lock().unwrap().len() < before + 200 {
            sleep(Duration::from_millis(2)).await;
        }
        node.signal("-TERM");
        let (code, took) = node.ended();
        assert_eq!(code, Some(0), "{}", node.log());
        assert!(took < STOPPED_WITHIN, "{took:?}");
        assert!(node.log().contains("stopping"), "{}", node.log());
        while writers.join_next().await.is_some() {}
    }
    assert_kept(&NodeProcess::spawn(dir.path(), &[]), &promised).await;
}

/// A small disk in memory, mounted where only its own namespace sees it, for as long as this lives.
struct SmallDisk {
    holder: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    place: TempDir,
}

impl SmallDisk {
    /// Of so many mebibytes; none where the system lets nobody mount anything, which is said.
    fn new(mebibytes: u32) -> Option<Self> {
        let place = data_dir();
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh"]);
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let disk = spawned.ok().and_then(|mut holder| {
            let orders = holder.stdin.take();
            let answers = BufReader::new(holder.stdout.take().unwrap());
            let mut disk = Self { holder, orders, answers, place };
            let mount = format!("mount -t tmpfs -o size={mebibytes}m,mode=0700 tmpfs");
            disk.done(&mount).then_some(disk)
        });
        if disk.is_none() {
            eprintln!("THIS TEST SHOWS NOTHING HERE: the system gives no mount namespace");
        }
        disk
    }

    /// Does something about where the disk is mounted; whether that could be done.
    fn done(&mut self, order: &str) -> bool {
        let place = self.place.path().display();
        let orders = self.orders.as_mut().unwrap();
        let mut answer = String::new();
        writeln!(orders, "{order} {place} && echo done || echo failed").is_ok()
            && self.answers.read_line(&mut answer).is_ok()
            && answer == "done\n"
    }

    /// The disk as others see it.
    fn path(&self) -> PathBuf {
        let place = self.place.path().strip_prefix("/").unwrap();
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(place)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The shell ends with its input.
        drop(self.orders.take());
        let _ = self.holder.wait();
    }
}

/// A node with its store on a small disk, and its socket and its log elsewhere.
fn on_disk(disk: &SmallDisk, around: &Path) -> NodeProcess {
    let data_dir = disk.path();
    let arguments = [
        "--listen=127.0.0.1:0".to_owned(),
        format!("--api-socket={}", around.join("api.sock").display()),
        format!("--data-dir={}", data_dir.display()),
    ];
    NodeProcess::spawn_around(around, &arguments)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_ends_a_node_with_a_clear_line_and_all_that_was_promised_is_there_when_there_is_room()
 {
    let Some(mut disk) = SmallDisk::new(24) else { return };
    let around = data_dir();
    let node = on_disk(&disk, around.path());
    let promised = Promised::default();
    let client = node.client().await;
    write_on(client, (1, SizeClass::K64), Arc::clone(&promised)).await;
    assert_eq!(node.ended().0, Some(1), "{}", node.log());
    let count = promised.lock().unwrap().len();
    assert!(count > 50, "only {count}");
    let log = node.log();
    assert!(log.contains("the store failed; the node stops"), "{log}");
    assert!(log.contains("No space left on device"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
    drop(node);
    assert!(disk.done("mount -o remount,size=400m"));
    let node = on_disk(&disk, around.path());
    assert_kept(&node, &promised).await;
    node.signal("-TERM");
    assert_eq!(node.ended().0, Some(0));
    let (code, text, complaint) = said(&["verify", disk.path().to_str().unwrap()]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_can_only_be_read_is_named_and_nothing_on_it_is_lost() {
    let Some(mut disk) = SmallDisk::new(200) else { return };
    let around = data_dir();
    let node = on_disk(&disk, around.path());
    let (promised, mut client) = (Promised::default(), node.client().await);
    for n in 0..20 {
        let envelope = Some((&envelope(1, SizeClass::K4, n)).into());
        let answer = client.submit(SubmitRequest { envelope }).await.unwrap();
        promised.lock().unwrap().insert(answer.into_inner().id);
    }
    node.signal("-TERM");
    assert_eq!(node.ended().0, Some(0));
    drop(node);
    assert!(disk.done("mount -o remount,ro"));
    let node = on_disk(&disk, around.path());
    assert_eq!(node.ended().0, Some(1));
    let log = node.log();
    assert!(log.contains("Read-only file system") && log.lines().count() == 1, "{log}");
    assert!(log.contains(disk.path().to_str().unwrap()), "{log}");
    drop(node);
    // It can be looked at all the same.
    let (code, text, complaint) = said(&["verify", disk.path().to_str().unwrap()]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""), "{text}");
    assert!(text.contains("20 envelopes"), "{text}");
    assert!(disk.done("mount -o remount,rw"));
    assert_kept(&on_disk(&disk, around.path()), &promised).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_raises_an_older_store_and_says_so_and_an_older_node_refuses_a_newer_one() {
    let dir = data_dir();
    lay_out(&layout_1(), &dir.path().join("store"));
    let node = NodeProcess::spawn(dir.path(), &[]);
    // It serves; what is in a store that was raised is compared elsewhere.
    status(&mut node.client().await).await;
    for step in 1..SCHEMA {
        let line = format!("upgrading the store from={step} to={}", step + 1);
        assert!(node.log().contains(&line), "{}", node.log());
    }
    node.signal("-TERM");
    assert_eq!(node.ended().0, Some(0));
    let store = RocksStore::open(&dir.path().join("store")).unwrap();
    let (key, value) = (b"schema".to_vec(), (SCHEMA + 1).to_be_bytes().to_vec());
    let writes = vec![Row::Put { table: Family::Meta, key, value }];
    store.apply(Batch { seq: Seq(1), writes }).unwrap();
    drop(store);
    let node = NodeProcess::spawn(dir.path(), &[]);
    assert_eq!(node.ended().0, Some(1));
    let log = node.log();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("use the newer comm-node that wrote it"), "{log}");
    assert!(log.contains(&format!("layout {}", SCHEMA + 1)), "{log}");
    let mode = fs::metadata(dir.path().join("store")).unwrap().permissions().mode();
    assert_eq!(mode & 0o022, 0);
}
