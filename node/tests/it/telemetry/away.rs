//! A collector that is away, comes back, hangs, or is not who it says: the relay goes on, and says so once.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use comm_proto::address::Address;
use comm_proto::wire::client::{GetStatusRequest, SubmitRequest};
use data_encoding::BASE64;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use super::collector::Collector;
use crate::api::envelope;
use crate::node_process::{NodeProcess, data_dir};
use crate::operated::free_place;

/// How long anything may take on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(120);
/// Told to stop, a node has ended after so long.
const STOPPED_WITHIN: Duration = Duration::from_secs(5);
/// What the memory of a node may grow by that has nothing to keep.
const GROWTH_MAX: u64 = 16 << 20;
/// Calls before the memory is looked at for the first time, and after.
const CALLS: [u32; 2] = [4_000, 40_000];

const AWAY: &str = "traces do not reach the collector";
const BACK: &str = "the collector takes traces again";

fn traced(place: impl std::fmt::Display) -> [String; 1] {
    [format!("--traces-collector=http://{place}")]
}

/// Hands envelopes over, each of which the relay must take at once, until this holds.
async fn busy_until(node: &NodeProcess, what: &str, mut holds: impl FnMut() -> bool) {
    let (mut client, begun) = (node.client().await, Instant::now());
    let mut number = 0;
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}\n{}", node.log());
        let envelope = Some((&envelope(Address::from_bytes([7; 20]), number)).into());
        client.submit(SubmitRequest { envelope }).await.unwrap();
        number += 1;
        sleep(Duration::from_millis(20)).await;
    }
}

fn lines(node: &NodeProcess, part: &str) -> usize {
    node.log().lines().filter(|line| line.contains(part)).count()
}

fn assert_ends_in_time(node: &NodeProcess) {
    node.signal("-TERM");
    let (code, took) = node.ended();
    assert_eq!(code, Some(0), "{}", node.log());
    assert!(took < STOPPED_WITHIN, "{took:?}");
}

/// Whoever listens here hangs up on everybody, and counts them.
async fn hang_up(place: &str) -> (JoinHandle<()>, Arc<AtomicUsize>) {
    let (listener, count) =
        (TcpListener::bind(place).await.unwrap(), Arc::<AtomicUsize>::default());
    let callers = Arc::clone(&count);
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
            callers.fetch_add(1, Ordering::Relaxed);
        }
    });
    (task, count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_is_told_of_once_and_gets_traces_again_when_it_is_back() {
    let (dir, place) = (data_dir(), free_place());
    let node = NodeProcess::spawn(dir.path(), &traced(&place));
    busy_until(&node, "the log tells of it", || lines(&node, AWAY) > 0).await;
    let (nobody, callers) = hang_up(&place).await;
    busy_until(&node, "it calls again", || callers.load(Ordering::Relaxed) >= 3).await;
    assert_eq!((lines(&node, AWAY), lines(&node, BACK)), (1, 0), "{}", node.log());
    nobody.abort();
    let _ended = nobody.await;
    let collector = Collector::start_at(place.parse().unwrap()).await;
    busy_until(&node, "the collector was told", || lines(&node, BACK) > 0).await;
    assert!(!collector.spans().is_empty());
    assert_eq!((lines(&node, AWAY), lines(&node, BACK)), (1, 1), "{}", node.log());
    assert!(node.log().contains(&format!("collector=http://{place}")), "{}", node.log());
    assert_ends_in_time(&node);
}

async fn ask_often(node: &NodeProcess, calls: u32) {
    let mut asking = JoinSet::new();
    for _ in 0..4 {
        let mut client = node.client().await;
        asking.spawn(async move {
            for _ in 0..calls / 4 {
                client.get_status(GetStatusRequest {}).await.unwrap();
            }
        });
    }
    asking.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_hangs_costs_no_memory_and_holds_up_neither_mail_nor_the_end() {
    let (dir, listener) = (data_dir(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let place = listener.local_addr().unwrap();
    // Connections are taken, and nothing is ever read of them.
    let hanging = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let node = NodeProcess::spawn(dir.path(), &traced(place));
    busy_until(&node, "the log tells of it", || lines(&node, AWAY) > 0).await;
    assert!(node.log().contains("within 5 seconds"), "{}", node.log());
    ask_often(&node, CALLS[0]).await;
    let before = node.memory().0;
    ask_often(&node, CALLS[1]).await;
    let after = node.memory().0;
    println!("memory: {} KiB before, {} after", before >> 10, after >> 10);
    assert!(after.saturating_sub(before) < GROWTH_MAX, "{before} bytes became {after}");
    assert_eq!((lines(&node, AWAY), lines(&node, BACK)), (1, 0), "{}", node.log());
    assert_ends_in_time(&node);
    hanging.abort();
}

/// An authority that vouches for itself alone, as a file that a machine believes; it shows what it proves in
/// front of `collector`.
async fn behind_tls(collector: SocketAddr) -> (SocketAddr, String) {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let certificate = own.cert.der().clone();
    let file = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        BASE64.encode(&certificate)
    );
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()).into();
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Whoever does not believe it hangs up.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut inner = TcpStream::connect(collector).await.unwrap();
                let _hung_up = copy_bidirectional(&mut stream, &mut inner).await;
            });
        }
    });
    (place, file)
}

/// A relay on a machine that believes the authorities of this file.
fn believing(dir: &Path, place: SocketAddr, authorities: &Path) -> NodeProcess {
    let args = [
        format!("--data-dir={}", dir.display()),
        "--listen=127.0.0.1:0".to_owned(),
        format!("--traces-collector=https://{place}"),
    ];
    NodeProcess::spawn_with(dir, &args, &[("SSL_CERT_FILE", authorities)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_behind_tls_is_told_only_if_an_authority_of_the_machine_vouches_for_it() {
    let (collector, dir) = (Collector::start().await, data_dir());
    let (place, believed) = behind_tls(collector.place).await;
    let (_, other) = behind_tls(collector.place).await;
    let file = dir.path().join("authorities.pem");
    std::fs::write(&file, other).unwrap();
    let node = believing(dir.path(), place, &file);
    busy_until(&node, "the log tells of it", || lines(&node, AWAY) > 0).await;
    assert!(collector.spans().is_empty());
    assert_ends_in_time(&node);
    std::fs::write(&file, believed).unwrap();
    let node = believing(dir.path(), place, &file);
    busy_until(&node, "the collector was told", || !collector.spans().is_empty()).await;
    assert_eq!(lines(&node, AWAY), 0, "{}", node.log());
    assert_ends_in_time(&node);
}

#[test]
fn a_machine_without_authorities_is_told_so_before_the_relay_begins() {
    let dir = data_dir();
    let place = "127.0.0.1:4317".parse().unwrap();
    let node = believing(dir.path(), place, &dir.path().join("nothing.pem"));
    assert_eq!(node.ended().0, Some(1), "{}", node.log());
    let log = node.log();
    assert!(log.contains("install ca-certificates") && log.lines().count() == 1, "{log}");
}
