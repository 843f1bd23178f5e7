//! What outsiders may try at the port of a node whose network has a key: openings of every kind.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use comm_node::clock::Clock;
use comm_node::links::private::{NetworkKey, PrivateNetwork};
use comm_node::links::tls::Credentials;
use comm_proto::contact::Contact;
use comm_proto::envelope::TTL_DEFAULT;
use comm_proto::key::PublicKey;
use comm_proto::wire::client::SubmitRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::ledger::counted;
use super::link::dial;
use super::strangers::overheard;
use super::{GROWTH_MAX, forge, free_place, key};
use crate::crash::Dice;
use crate::node_process::{NodeProcess, contact, data_dir, now, status};

const PATIENCE: Duration = Duration::from_secs(60);
/// Whose openings are like any insider's, but for one thing each.
const OUTSIDERS: u64 = 300;
/// Sources that they come from, so that none has more links than one may.
const SOURCES: u64 = 30;
const ENVELOPES: u64 = 8;
/// Every byte of the network's key, and of another's.
const OURS: u8 = 0xa7;
const OTHERS: u8 = 0xb8;

/// What a node with the key of seed `node` shows in the network of this key.
fn credentials(node: u8, network: u8) -> Credentials {
    let pair = key(node);
    let network = NetworkKey::new(Zeroizing::new([network; NetworkKey::LEN]));
    let network = PrivateNetwork::new(network, pair.public(), Arc::new(Clock::new()));
    Credentials::new(&pair).unwrap().in_private(network)
}

/// What one with these credentials says first to the node of that key.
async fn opening(credentials: &Credentials, node: Option<PublicKey>) -> Vec<u8> {
    let (near, mut far) = duplex(1 << 16);
    let mut said = vec![0; 1 << 12];
    let read = async {
        let count = far.read(&mut said).await.unwrap();
        drop(far);
        count
    };
    let (_refused, count) = tokio::join!(credentials.connect(near, node), read);
    said.truncate(count);
    said
}

/// What the outsider of a number says, and whether it then goes on listening.
async fn words(n: u64, recorded: &[u8], node: PublicKey) -> (Vec<u8>, bool) {
    let mut dice = Dice(n);
    let at = dice.below(recorded.len().min(400) as u64) as usize;
    let said = match n % 6 {
        0 => (0..dice.below(2_000)).map(|_| dice.below(256) as u8).collect(),
        1 => [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 508]].concat(),
        2 => opening(&credentials(60, OTHERS), Some(node)).await,
        // Heard before, from its beginning on; changed at one place; cut off.
        3 => recorded.to_vec(),
        4 => [&recorded[..at], &[recorded[at] ^ 1], &recorded[at + 1..]].concat(),
        _ => recorded[..at].to_vec(),
    };
    (said, dice.below(2) == 0)
}

/// Says it; the node must not say a byte before it ends the connection.
async fn is_told_nothing(place: SocketAddr, source: u8, said: Vec<u8>, listens: bool) {
    let mut stream = dial(place, source).await.unwrap();
    stream.write_all(&said).await.unwrap();
    if !listens {
        stream.shutdown().await.unwrap();
    }
    let mut answer = Vec::new();
    // Closed or reset, as the system likes.
    let _reset = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it stays open");
    assert!(answer.is_empty(), "{said:?} was answered with {answer:?}");
}

async fn submit_some(node: &NodeProcess) {
    let mut client = node.client().await;
    for n in 0..ENVELOPES {
        let envelope = forge::envelope(key(1).address(), n, now() + TTL_DEFAULT, 1 << 10);
        client.submit(SubmitRequest { envelope: Some(envelope) }).await.unwrap();
    }
}

fn start(dir: &Path, metrics: SocketAddr) -> NodeProcess {
    let file = dir.join("network.key");
    std::fs::write(&file, hex::encode([OURS; NetworkKey::LEN])).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let flags = [
        format!("--network-key-file={}", file.display()),
        format!("--metrics-listen={metrics}"),
        "--limits-handshake-timeout=5s".to_owned(),
        "-vv".to_owned(),
    ];
    NodeProcess::spawn(dir, &flags)
}

async fn everybody_tries(contact: &Contact, recorded: &Arc<[u8]>) {
    let (place, node) = (contact.endpoints()[0], *contact.key());
    for wave in 0..OUTSIDERS / SOURCES {
        let mut tries = JoinSet::new();
        for source in 0..SOURCES {
            let (n, recorded) = (wave * SOURCES + source, Arc::clone(recorded));
            tries.spawn(async move {
                let (said, listens) = words(n, &recorded, node).await;
                is_told_nothing(place, 100 + source as u8, said, listens).await;
            });
        }
        tries.join_all().await;
    }
}

/// H14, C21: each is refused and counted, and the node is as it was for those with the key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_outsiders_are_told_nothing_by_a_node_of_a_network_with_a_key() {
    let (dir, metrics) = (data_dir(), free_place());
    let node = start(dir.path(), metrics);
    let begun = status(&mut node.client().await).await;
    let contact = contact(&begun, dir.path());
    let place = contact.endpoints()[0];
    submit_some(&node).await;
    let insider = credentials(50, OURS);
    let (sent, _) = overheard(place, &insider, contact.key()).await;
    let before = node.memory().0;

    everybody_tries(&contact, &sent.into()).await;

    let since = Instant::now();
    let handshakes = || counted(metrics).get("handshake").copied().unwrap_or_default();
    while tokio::task::block_in_place(handshakes) != OUTSIDERS {
        assert!(since.elapsed() < PATIENCE, "{:?}", counted(metrics));
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(counted(metrics).len(), 1, "nothing was refused for another reason");
    assert!(node.is_alive(), "{}", node.log());
    let stream = dial(place, 99).await.unwrap();
    insider.connect(stream, Some(*contact.key())).await.unwrap();
    assert_eq!(status(&mut node.client().await).await.envelopes, ENVELOPES);
    let after = node.memory().0;
    assert!(after.saturating_sub(before) < GROWTH_MAX, "{before} bytes became {after}");
    let log = node.log();
    assert!(log.contains("a handshake failed") && !log.contains("panicked"), "{log}");
    assert!(!log.contains(&hex::encode([OURS; NetworkKey::LEN])), "the network's key is logged");
}
