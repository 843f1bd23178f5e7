//! Nodes that find the network by one source alone, and by the only one of many that is alive.
//!
//! The local network is tried by `deploy/netns-test`, which makes one.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use comm_node::Relay;
use comm_node::bootstrap::list::Shown;
use comm_node::config::NodeConfig;
use comm_node::config::discovery::Signer;
use comm_node::status::{Beginning, Report};
use comm_proto::key::KeyPair;
use comm_proto::time::{Span, Time};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::time::{sleep, timeout};

use crate::node_process::{now, said};

const PATIENCE: Duration = Duration::from_secs(60);

fn private_dir() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}

/// A node on a port of loopback that the system chooses, with nobody to begin with.
fn config(dir: &TempDir) -> NodeConfig {
    NodeConfig {
        data_dir: dir.path().to_owned(),
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        ..NodeConfig::default()
    }
}

async fn report(config: &NodeConfig) -> Report {
    Report::ask(config).await.unwrap()
}

/// Waits until a node says this of itself.
async fn until(config: &NodeConfig, holds: impl Fn(&Report) -> bool) -> Report {
    let looking = async {
        loop {
            let report = report(config).await;
            if holds(&report) {
                return report;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    match timeout(PATIENCE, looking).await {
        Ok(report) => report,
        Err(_) => panic!("{}", report(config).await),
    }
}

/// Starts a node with a source that should lead it to `first`, and waits until it knows it.
async fn joins(first: &Relay, config: NodeConfig) -> Report {
    let relay = Relay::start(config.clone()).await.unwrap();
    let report = until(&config, |report| report.table.good == 1).await;
    assert_eq!(first.listening().len(), 1);
    relay.stop().await.unwrap();
    report
}

fn place(relay: &Relay) -> String {
    format!("{}@{}", relay.key(), relay.listening()[0])
}

/// A name server that answers by the first label of the name, as `answer` says: with these TXT records, with an
/// error (RCODE 3), or not at all.
struct NameServer(SocketAddr);

enum Says {
    Records(Vec<String>),
    NoSuchName,
    Nothing,
    Garbage,
}

impl NameServer {
    /// Over UDP, and over TCP what is too long for that.
    fn start(answer: impl Fn(&str) -> Says + Send + Sync + 'static) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let (place, answer) = (tcp.local_addr().unwrap(), Arc::new(answer));
        let same = Arc::clone(&answer);
        std::thread::spawn(move || {
            let mut query = [0; 1_500];
            while let Ok((length, from)) = udp.recv_from(&mut query) {
                let Some(mut answer) = answered(&query[..length], &*same) else { continue };
                if answer.len() > 1_200 {
                    // Truncated: nothing but the question.
                    answer =
                        answered(&query[..length], &|_: &str| Says::Records(Vec::new())).unwrap();
                    answer[2] |= 2;
                }
                udp.send_to(&answer, from).unwrap();
            }
        });
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.unwrap();
                let mut length = [0; 2];
                // Whoever asked may have given up.
                if stream.read_exact(&mut length).is_err() {
                    continue;
                }
                let mut query = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut query).unwrap();
                if let Some(answer) = answered(&query, &*answer) {
                    let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                    stream.write_all(&[&length[..], &answer].concat()).unwrap();
                }
            }
        });
        Self(place)
    }
}

/// An answer as RFC 1035 has it: the question once more, then the records, whose name is the question's.
fn answered(query: &[u8], answer: &impl Fn(&str) -> Says) -> Option<Vec<u8>> {
    let label = std::str::from_utf8(&query[13..13 + usize::from(query[12])]).unwrap();
    let question_end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let head = |rcode: u8, records: u16| {
        let mut bytes = query[..2].to_vec();
        bytes.extend([0x81, 0x80 | rcode, 0, 1]);
        bytes.extend(records.to_be_bytes());
        bytes.extend([0, 0, 0, 0]);
        bytes.extend(&query[12..question_end]);
        bytes
    };
    match answer(label) {
        Says::Nothing => None,
        Says::NoSuchName => Some(head(3, 0)),
        Says::Garbage => {
            Some([&head(0, 9)[..], &[0xc0, 0x0c, 0, 16, 0, 1, 0, 0, 0, 9, 0xff, 0xff]].concat())
        }
        Says::Records(texts) => {
            let mut bytes = head(0, u16::try_from(texts.len()).unwrap());
            for text in &texts {
                // A pointer to the question's name, TXT, IN, a minute; its text in strings of at most 100 bytes.
                bytes.extend([0xc0, 0x0c, 0, 16, 0, 1, 0, 0, 0, 60]);
                let strings: Vec<u8> = text
                    .as_bytes()
                    .chunks(100)
                    .flat_map(|part| [&[u8::try_from(part.len()).unwrap()][..], part].concat())
                    .collect();
                bytes.extend(u16::try_from(strings.len()).unwrap().to_be_bytes());
                bytes.extend(strings);
            }
            Some(bytes)
        }
    }
}

fn with_dns(config: NodeConfig, server: &NameServer, names: &[&str]) -> NodeConfig {
    let mut config = config;
    config.discovery.dns = names.iter().map(|name| name.parse().unwrap()).collect();
    config.discovery.dns_server = Some(server.0);
    config
}

fn signer() -> KeyPair {
    KeyPair::from_seed(&[9; 32])
}

/// A list of `relay`, which holds for 90 days from `issued` on.
fn list(dir: &TempDir, name: &str, relay: &str, (issued, by): (Time, &KeyPair)) -> PathBuf {
    let relays = [relay.parse().unwrap()];
    let text = Shown::sign("comm", &relays, (issued, Span::from_days(90)), by).unwrap();
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

fn with_lists(config: NodeConfig, lists: Vec<PathBuf>) -> NodeConfig {
    let mut config = config;
    config.discovery.lists = lists;
    config.discovery.signers = vec![Signer(signer().public())];
    config
}

#[tokio::test]
async fn a_node_that_has_only_a_name_in_dns_joins() {
    let dirs = [private_dir(), private_dir(), private_dir()];
    let first = Relay::start(config(&dirs[0])).await.unwrap();
    let (keyed, plain) = (place(&first), first.listening()[0].to_string());
    let server = NameServer::start(move |label| {
        let text = if label == "keyed" { &keyed } else { &plain };
        Says::Records(vec!["v=spf1 -all".to_owned(), format!("comm-relay={text}")])
    });
    for (dir, name) in [(&dirs[1], "keyed.example"), (&dirs[2], "plain.example")] {
        let report = joins(&first, with_dns(config(dir), &server, &[name])).await;
        let expected = Beginning {
            kind: "dns".to_owned(),
            name: name.to_owned(),
            named: 1,
            answered: 1,
            trouble: None,
        };
        assert_eq!(report.sources, [expected]);
    }
    first.stop().await.unwrap();
}

#[tokio::test]
async fn a_node_that_has_only_a_signed_list_joins() {
    let dirs = [private_dir(), private_dir()];
    let first = Relay::start(config(&dirs[0])).await.unwrap();
    let list = list(&dirs[1], "relays.list", &place(&first), (now(), &signer()));
    let before = fs::read(&list).unwrap();
    let report = joins(&first, with_lists(config(&dirs[1]), vec![list.clone()])).await;
    assert_eq!((report.sources[0].kind.as_str(), report.sources[0].answered), ("list", 1));
    assert_eq!(fs::read(&list).unwrap(), before, "a node writes no list");
    first.stop().await.unwrap();
}

/// A newer file takes the place of one that has expired while the node runs.
#[tokio::test]
async fn a_list_that_is_replaced_is_read_without_a_restart() {
    let dirs = [private_dir(), private_dir()];
    let first = Relay::start(config(&dirs[0])).await.unwrap();
    let long_ago = Time::from_millis(now().as_millis() - 100 * 86_400_000);
    let old = list(&dirs[1], "relays.list", &place(&first), (long_ago, &signer()));
    let config = with_lists(config(&dirs[1]), vec![old]);
    let second = Relay::start(config.clone()).await.unwrap();
    let has_expired =
        |one: &Beginning| one.trouble.as_ref().is_some_and(|it| it.contains("has expired"));
    until(&config, |report| report.sources.iter().all(has_expired)).await;
    list(&dirs[1], "relays.list", &place(&first), (now(), &signer()));
    until(&config, |report| report.table.good == 1).await;
    second.stop().await.unwrap();
    first.stop().await.unwrap();
}

/// Else the key would do nothing, and switch off the warning that others are not told where the node is.
#[tokio::test]
async fn a_node_that_is_called_nowhere_over_ipv4_says_that_no_router_can_forward_to_it() {
    let dir = private_dir();
    let config = NodeConfig { port_mapping: true, ..config(&dir) };
    let relay = Relay::start(config.clone()).await.unwrap();
    let is_told = |report: &Report| {
        let forwarding = report.port_mapping.as_ref().unwrap();
        forwarding.trouble.as_ref().is_some_and(|trouble| trouble.contains("`listen`"))
    };
    until(&config, is_told).await;
    relay.stop().await.unwrap();
}

/// Nobody listens there, and nobody else will while it is kept: other tests run at the same time.
fn dead() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket
}

/// A node with sources of every kind that are dead, hang or lie, none of which leads anywhere. What it returns
/// besides is to be kept.
fn misled(dir: &TempDir, lied_of: &str) -> (NodeConfig, (TcpListener, TcpSocket)) {
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = dead();
    let (gone, hangs) = (dead.local_addr().unwrap(), hanging.local_addr().unwrap());
    let of = lied_of.rsplit_once('@').unwrap().1.to_owned();
    let server = NameServer::start(move |label| match label {
        "silent" => Says::Nothing,
        "garbage" => Says::Garbage,
        // Keys that nobody has, at places where somebody else, or nobody, answers.
        "lies" => Says::Records(
            (0..60_u8)
                .map(|n| {
                    format!(
                        "comm-relay={}@{}",
                        hex::encode([n; 32]),
                        if n % 2 == 0 { &of } else { "127.0.0.1:1" }
                    )
                })
                .collect(),
        ),
        _ => Says::NoSuchName,
    });
    let names = ["silent.example", "garbage.example", "lies.example", "missing.example"];
    let mut config = with_dns(config(dir), &server, &names);
    config.bootstrap =
        [format!("{gone}"), format!("{hangs}"), format!("{}@{hangs}", "07".repeat(32))]
            .map(|place| place.parse().unwrap())
            .to_vec();
    let long_ago = Time::from_millis(now().as_millis() - 100 * 86_400_000);
    let (stranger, good) = (KeyPair::from_seed(&[8; 32]), signer());
    let mut lists = vec![
        list(dir, "old.list", lied_of, (long_ago, &good)),
        list(dir, "stranger.list", lied_of, (now(), &stranger)),
        list(dir, "changed.list", lied_of, (now(), &good)),
    ];
    let text = fs::read_to_string(&lists[2]).unwrap();
    fs::write(&lists[2], text.replace("network comm", "network home")).unwrap();
    lists.push(dir.path().join("missing.list"));
    (with_lists(config, lists), (hanging, dead))
}

fn troubles(report: &Report) -> Vec<&str> {
    report.sources.iter().filter_map(|one| one.trouble.as_deref()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_source_that_is_alive_is_enough_whatever_the_others_do() {
    let dirs = [private_dir(), private_dir(), private_dir(), private_dir()];
    let first = Relay::start(config(&dirs[0])).await.unwrap();
    // The living one is a list, a name, and a place of the configuration in turn.
    let (mut by_list, _kept) = misled(&dirs[1], &place(&first));
    let alive = list(&dirs[1], "alive.list", &place(&first), (now(), &signer()));
    by_list.discovery.lists.push(alive);
    let report = joins(&first, by_list).await;
    let alive = report.sources.iter().find(|one| one.name.ends_with("alive.list")).unwrap();
    assert_eq!((alive.answered, &alive.trouble), (1, &None));
    let (mut by_dns, _kept) = misled(&dirs[2], &place(&first));
    let text = place(&first);
    let server = NameServer::start(move |label| match label {
        "alive" => Says::Records(vec![format!("comm-relay={text}")]),
        "silent" => Says::Nothing,
        _ => Says::NoSuchName,
    });
    by_dns = with_dns(by_dns, &server, &["silent.example", "alive.example", "missing.example"]);
    joins(&first, by_dns).await;
    let (mut by_configuration, _kept) = misled(&dirs[3], &place(&first));
    by_configuration.bootstrap.push(place(&first).parse().unwrap());
    joins(&first, by_configuration).await;
    first.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_source_that_is_of_no_use_says_why() {
    let dirs = [private_dir(), private_dir()];
    let first = Relay::start(config(&dirs[0])).await.unwrap();
    let (config, _kept) = misled(&dirs[1], &place(&first));
    let second = Relay::start(config.clone()).await.unwrap();
    let count = config.bootstrap.len() + config.discovery.dns.len() + config.discovery.lists.len();
    let report = until(&config, |report| troubles(report).len() == count).await;
    assert_eq!(report.table.nodes, 0, "nobody who was only named is in the table");
    let of = |name: &str| {
        let one = report.sources.iter().find(|one| one.name.ends_with(name)).unwrap();
        one.trouble.clone().unwrap()
    };
    assert!(of(&config.bootstrap[0].to_string()).contains("refused"), "{report}");
    assert!(of("silent.example").contains("no name server has answered"));
    assert!(of("garbage.example").contains("cannot be read"));
    assert!(of("missing.example").contains("NXDOMAIN"));
    assert!(of("lies.example").contains("by that key does not"));
    assert!(of("old.list").contains("has expired"));
    assert!(of("stranger.list").contains("discovery.signers does not name"));
    assert!(of("changed.list").contains("its signature is not its signer's"));
    assert!(of("missing.list").contains("cannot read"));
    let lies = report.sources.iter().find(|one| one.name == "lies.example").unwrap();
    assert_eq!(lies.named, 32, "of many places some are called");
    // In a few words for people, with what to do, as a problem as long as it knows nobody.
    let arguments = ["doctor", "--json", &format!("--data-dir={}", dirs[1].path().display())];
    let (code, diagnosis, _) = tokio::task::block_in_place(|| said(&arguments));
    let diagnosis: Value = serde_json::from_str(&diagnosis).unwrap();
    let findings = diagnosis["findings"].as_array().unwrap();
    let dead: Vec<_> = findings.iter().filter(|one| one["check"] == "sources").collect();
    assert_eq!((code, dead.len()), (Some(1), count));
    assert!(dead.iter().all(|one| one["state"] == "problem" && one["advice"].is_string()));
    second.stop().await.unwrap();
    first.stop().await.unwrap();
}

fn write_key(dir: &Path, mode: u32) -> String {
    let path = dir.join("signer.key");
    fs::write(&path, hex::encode([9; 32])).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path.display().to_string()
}

#[test]
fn a_list_is_signed_and_shown_by_commands() {
    let dir = private_dir();
    let key = write_key(dir.path(), 0o600);
    let relay = format!("{}@relay.example:7667", "07".repeat(32));
    let (code, text, _) = said(&["list", "sign", "--key", &key, "--network", "test", &relay]);
    assert_eq!(code, Some(0));
    let file = dir.path().join("relays.list");
    fs::write(&file, &text).unwrap();
    let file = file.to_str().unwrap();
    let signer = signer().public().to_string();
    let (code, shown, _) = said(&["list", "show", "--network", "test", file]);
    assert_eq!(code, Some(0), "{shown}");
    for part in [&relay, &signer, "signature good"] {
        assert!(shown.contains(part), "{shown}");
    }
    let (code, shown, _) = said(&["list", "show", "--json", file]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, &shown["signer"]), (Some(1), &signer.as_str().into()));
    assert!(shown["trouble"].as_str().unwrap().contains("for the network \"test\""));
    let signers = format!("--discovery-signers={}", "07".repeat(32));
    let (code, shown, _) = said(&["list", "show", "--network=test", &signers, file]);
    assert!(code == Some(1) && shown.contains("REFUSED"), "{shown}");
    fs::write(file, text.replace("relay.example", "liars.example")).unwrap();
    let (code, shown, _) = said(&["list", "show", "--network=test", file]);
    assert!(code == Some(1) && shown.contains("its signature is not its signer's"), "{shown}");
    let lists = format!("--discovery-lists={file}");
    let signers = format!("--discovery-signers={signer}");
    let (code, _, complaint) = said(&["check", "--network=test", &lists, &signers]);
    assert!(code == Some(2) && complaint.contains("its signature is not its signer's"));
    fs::write(file, &text).unwrap();
    assert_eq!(said(&["check", "--network=test", &lists, &signers]).0, Some(0));
}

#[test]
fn a_list_that_cannot_be_signed_is_one_line_and_code_2() {
    let dir = private_dir();
    let relay = format!("{}@relay.example:7667", "07".repeat(32));
    let refused = |arguments: &[&str]| {
        let (code, text, complaint) = said(&[&["list", "sign"], arguments].concat());
        assert!(
            code == Some(2) && text.is_empty() && complaint.lines().count() == 1,
            "{complaint}"
        );
        complaint
    };
    let key = write_key(dir.path(), 0o644);
    assert!(refused(&["--key", &key, &relay]).contains("other users can open"));
    let key = write_key(dir.path(), 0o600);
    assert!(refused(&["--key", &key, "relay.example:7667"]).contains("has no key"));
    assert!(refused(&["--key", &key, "--valid=367d", &relay]).contains("at most 366 days"));
    assert!(refused(&["--key", &key, "relay"]).contains("KEY@HOST:PORT"));
    fs::write(dir.path().join("signer.key"), "secret").unwrap();
    let complaint = refused(&["--key", &key, &relay]);
    assert!(complaint.contains("64 hexadecimal digits") && !complaint.contains("secret "));
}
