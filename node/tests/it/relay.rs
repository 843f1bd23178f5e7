//! Whole nodes inside this process: started, asked, connected, measured, stopped.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use comm_node::Relay;
use comm_node::config::NodeConfig;
use comm_node::config::bootstrap::BootstrapPeer;
use comm_node::rpc::client::client_client::ClientClient;
use comm_proto::wire::client::{GetStatusRequest, GetStatusResponse};

fn private_dir() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}

/// A node on a port of loopback that the system chooses.
fn config(dir: &tempfile::TempDir) -> NodeConfig {
    NodeConfig {
        data_dir: dir.path().to_owned(),
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        ..NodeConfig::default()
    }
}

async fn status(relay: &Relay) -> GetStatusResponse {
    let mut client = ClientClient::new(relay.embedded().channel());
    client.get_status(GetStatusRequest {}).await.unwrap().into_inner()
}

async fn within(limit: Duration, mut holds: impl AsyncFnMut() -> bool) -> bool {
    let started = Instant::now();
    while started.elapsed() < limit {
        if holds().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

#[tokio::test]
async fn a_node_inside_a_program_answers_and_stops() {
    let dir = private_dir();
    let relay = Relay::start(config(&dir)).await.unwrap();
    let key = relay.key();
    assert_eq!(status(&relay).await.node, key.address().as_bytes()[..]);
    assert!(relay.api_socket().exists());
    let started = Instant::now();
    relay.stop().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    // Everything is released: the same directory serves the next one at once.
    let relay = Relay::start(config(&dir)).await.unwrap();
    assert_eq!(relay.key(), key);
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_leaf_and_a_stranger_find_the_network_through_one_node() {
    let dirs = [private_dir(), private_dir(), private_dir()];
    let first = Relay::start(config(&dirs[0])).await.unwrap();
    let place = first.listening()[0];
    let known = |key| BootstrapPeer { key, host: place.ip().to_string(), port: place.port() };
    let second = NodeConfig { bootstrap: vec![known(None)], ..config(&dirs[1]) };
    let leaf =
        NodeConfig { leaf: true, bootstrap: vec![known(Some(first.key()))], ..config(&dirs[2]) };
    let second = Relay::start(second).await.unwrap();
    let leaf = Relay::start(leaf).await.unwrap();
    assert!(leaf.listening().is_empty());
    for (relay, peers) in [(&second, 1), (&leaf, 2), (&first, 1)] {
        let found = within(Duration::from_secs(20), async || status(relay).await.peers == peers);
        assert!(found.await, "{:?} knows {}", relay, status(relay).await.peers);
    }
    for relay in [leaf, second, first] {
        relay.stop().await.unwrap();
    }
}

/// A node in the network whose key has this digit, which finds it through `place`.
async fn private(dir: &tempfile::TempDir, digit: &str, place: Option<SocketAddr>) -> Relay {
    let file = dir.path().join("network.key");
    fs::write(&file, digit.repeat(64)).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let known = |place: SocketAddr| BootstrapPeer {
        key: None,
        host: place.ip().to_string(),
        port: place.port(),
    };
    let bootstrap = place.map(known).into_iter().collect();
    let config = NodeConfig { network_key_file: Some(file), bootstrap, ..config(dir) };
    Relay::start(config).await.unwrap()
}

#[tokio::test]
async fn nodes_with_the_same_file_are_one_network_and_others_are_not_in_it() {
    let dirs = [private_dir(), private_dir(), private_dir()];
    let first = private(&dirs[0], "a", None).await;
    let place = first.listening()[0];
    let stranger = private(&dirs[1], "b", Some(place)).await;
    let second = private(&dirs[2], "a", Some(place)).await;
    for relay in [&first, &second] {
        let found = within(Duration::from_secs(20), async || status(relay).await.peers == 1);
        assert!(found.await, "{relay:?}");
    }
    assert_eq!(status(&stranger).await.peers, 0);
    for relay in [second, stranger, first] {
        relay.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_name_nobody() {
    let dir = private_dir();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut config = config(&dir);
    config.metrics.listen = Some(free);
    let relay = Relay::start(config).await.unwrap();
    let page = || {
        let mut stream = TcpStream::connect(free).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    };
    let expected = ["comm_peers 0", "comm_envelopes 0", "comm_store_disk_bytes", "# HELP comm_"];
    let told = within(Duration::from_secs(10), async || {
        let page = tokio::task::block_in_place(page);
        expected.iter().all(|part| page.contains(part))
    });
    assert!(told.await, "{}", page());
    let page = page();
    let labels = page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(labels, _)| labels)
    });
    for label in labels.flat_map(|labels| labels.split(',')) {
        let (name, value) = label.split_once('=').unwrap();
        let names = "reason kind le quantile by direction result role state version revision";
        assert!(names.split(' ').any(|known| known == name), "{label}");
        assert!(value.len() < 30, "{label}");
    }
    relay.stop().await.unwrap();
}
