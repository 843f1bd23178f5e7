//! What relays and those who watch their links see of a message that waits.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use comm::{Client, Config, Endpoint, Message, Node};
use comm_node::store::RocksStore;
use comm_proto::agent::{Author, MessageState};
use comm_proto::node::Family;
use comm_proto::store::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener as Listener, TcpStream};

use crate::person::{Home, PATIENCE, assert_sealed};
use crate::running_node::program;

/// More rows than any table has here.
const ROWS_MAX: usize = 10_000;

/// Somebody on the way to a relay, who passes everything on and keeps it.
#[derive(Clone, Default)]
struct Watcher(Arc<Mutex<Vec<u8>>>);

impl Watcher {
    /// Stands before `to`; where others are to dial.
    async fn before(&self, to: SocketAddr) -> SocketAddr {
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let place = listener.local_addr().unwrap();
        let watcher = self.clone();
        tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                let Ok(callee) = TcpStream::connect(to).await else { continue };
                let ((from_caller, to_caller), (from_callee, to_callee)) =
                    (caller.into_split(), callee.into_split());
                tokio::spawn(watcher.clone().pass(from_caller, to_callee));
                tokio::spawn(watcher.clone().pass(from_callee, to_caller));
            }
        });
        place
    }

    async fn pass(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut bytes = vec![0; 1 << 14];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            self.0.lock().unwrap().extend_from_slice(&bytes[..count]);
            if to.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    }

    fn seen(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

/// A relay that others reach through a watcher alone. Killed when dropped.
struct Relay {
    home: PathBuf,
    place: SocketAddr,
    child: Child,
}

impl Relay {
    async fn start(home: PathBuf, watcher: &Watcher, bootstrap: Option<SocketAddr>) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let listen = free.local_addr().unwrap();
        drop(free);
        let place = watcher.before(listen).await;
        let mut command = Command::new(program());
        command.arg("--data-dir").arg(&home).arg(format!("--listen={listen}"));
        command.arg(format!("--advertise={place}"));
        command.args(bootstrap.map(|place| format!("--bootstrap={place}")));
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let relay = Self { home, place, child: quiet.spawn().unwrap() };
        let socket = relay.socket();
        let serves = async || std::os::unix::net::UnixStream::connect(&socket).is_ok();
        wait_for("a relay serves", serves).await;
        relay
    }

    fn socket(&self) -> PathBuf {
        self.home.join("api.sock")
    }

    async fn visit(&self, home: &Home) -> Client {
        let node = Node::Remote(Endpoint::Socket(self.socket()));
        let config = Config { data_dir: home.data(), node };
        Client::start(home.identity(), config).await.unwrap()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

async fn wait_for(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Every way in which somebody may stand in bytes.
fn traces(home: &Home) -> Vec<Vec<u8>> {
    let (address, key) = (home.address(), home.identity().public().to_owned());
    let digits = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    vec![
        address.as_bytes().to_vec(),
        key.as_bytes().to_vec(),
        address.to_string().into_bytes(),
        digits(key.as_bytes()).into_bytes(),
    ]
}

/// Every row of a table, key and value together.
fn rows(store: &RocksStore, table: Family) -> Vec<Vec<u8>> {
    let rows = store.scan(table, &[], &[0xff; 128], ROWS_MAX).unwrap();
    rows.into_iter().map(|(key, value)| [key, value].concat()).collect()
}

/// The envelope that lies there; its author is in these tables and no other.
fn envelope(store: &Path, author: &Home, known_in: &[Family]) -> Vec<u8> {
    let store = RocksStore::open(store).unwrap();
    for table in Family::ALL {
        let shows = |row: &Vec<u8>| traces(author).iter().any(|trace| has(row, trace));
        let is_shown = rows(&store, table).iter().any(shows);
        assert_eq!(is_shown, known_in.contains(&table), "{table:?}");
    }
    let mut envelopes = rows(&store, Family::Envelopes);
    assert_eq!(envelopes.len(), 1, "the message is not there");
    envelopes.remove(0)
}

/// D1: nothing of a message that waits shows its text or its author, neither on the disks of the relays
/// that keep it nor on the link between them.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_waits_shows_neither_its_text_nor_its_author() {
    let (dir, watcher) = (tempfile::tempdir().unwrap(), Watcher::default());
    let (ann_home, bob_home) = (Home::new(1), Home::new(2));
    let near = Relay::start(dir.path().join("near"), &watcher, None).await;
    let far = Relay::start(dir.path().join("far"), &watcher, Some(near.place)).await;
    let bob = far.visit(&bob_home).await;
    let ann = near.visit(&ann_home).await;
    let connected = async |client: &Client| client.status().await.is_ok_and(|it| it.connected);
    wait_for("the relays know each other", async || connected(&ann).await && connected(&bob).await)
        .await;
    // His card must be in the network before he goes.
    let introduced = ann.send(Message::text(bob_home.address(), "hello")).await.unwrap().number;
    let state = async |number| match ann.message(number).await.unwrap().unwrap().author {
        Author::Us { state, .. } => state,
        Author::Them { .. } => panic!("it is ours"),
    };
    let delivered = async || matches!(state(introduced).await, MessageState::Delivered { .. });
    wait_for("bob has a card", delivered).await;
    bob.close().await.unwrap();
    let text = "the eagle lands at midnight";
    let number = ann.send(Message::text(bob_home.address(), text)).await.unwrap().number;
    let stored = async || matches!(state(number).await, MessageState::Stored(1));
    wait_for("both relays have it", stored).await;
    ann.close().await.unwrap();
    // Everybody publishes a card, which is kept until it expires; and who reads mail at a relay has a
    // mailbox there.
    let cards = [Family::Cards, Family::Expiry];
    let and_mailboxes = [Family::Cards, Family::Expiry, Family::Meta];
    let homes = [(near.home.clone(), &and_mailboxes[..]), (far.home.clone(), &cards)];
    drop((near, far));

    let seen = watcher.seen();
    for (home, known_in) in homes {
        assert_sealed(&home, text.as_bytes());
        let envelope = envelope(&home.join("store"), &ann_home, known_in);
        assert!(seen.len() > envelope.len(), "it has not passed the watcher");
        assert!(!has(&seen, &envelope[envelope.len() / 2..][..32]), "links are not encrypted");
    }
    assert!(!has(&seen, text.as_bytes()));
    for person in [&ann_home, &bob_home] {
        assert!(!traces(person).iter().any(|trace| has(&seen, trace)), "a link shows a person");
    }
}
