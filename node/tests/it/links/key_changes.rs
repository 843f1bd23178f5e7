//! Links that live long change their keys (C19). A watcher counts the messages that say so: they
//! are the only records of their length that these tests send.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use comm_node::links::encrypted::{Encrypted, KeyLife};
use comm_node::links::tls::Credentials;
use comm_node::links::wire::Wire;
use comm_proto::key::KeyPair;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::records::record;

/// Five bytes of a record's head, five of the message, one of its kind, sixteen of its tag.
const KEY_UPDATE_LEN: usize = 27;

#[derive(Clone, Default)]
struct Watcher {
    /// Changes of keys by the caller, and by the callee.
    changes: [Arc<AtomicU32>; 2],
}

impl Watcher {
    async fn before(to: SocketAddr) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        let watcher = Self::default();
        let [forth, back] = watcher.changes.clone();
        tokio::spawn(async move {
            let (caller, _) = listener.accept().await.unwrap();
            let (from_caller, to_caller) = caller.into_split();
            let (from_callee, to_callee) = TcpStream::connect(to).await.unwrap().into_split();
            tokio::join!(watch(from_caller, to_callee, forth), watch(from_callee, to_caller, back));
        });
        (watcher, place)
    }

    fn changes(&self) -> [u32; 2] {
        self.changes.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

async fn watch(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, changes: Arc<AtomicU32>) {
    while let Some(record) = record(&mut from).await {
        if record.len() == KEY_UPDATE_LEN {
            changes.fetch_add(1, Ordering::Relaxed);
        }
        if to.write_all(&record).await.is_err() {
            break;
        }
    }
    let _gone = to.shutdown().await;
}

fn credentials(seed: u8, life: KeyLife) -> Credentials {
    Credentials::new(&KeyPair::from_seed(&[seed; 32])).unwrap().with_key_life(life)
}

/// A caller and a callee with a watcher between them.
async fn linked(
    life: KeyLife,
) -> (Encrypted<Wire<TcpStream>>, Encrypted<Wire<TcpStream>>, Watcher) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (watcher, place) = Watcher::before(listener.local_addr().unwrap()).await;
    let (ours, theirs) = (credentials(1, life), credentials(2, life));
    let call = async {
        let stream = TcpStream::connect(place).await.unwrap();
        ours.connect(stream, None).await.unwrap().0
    };
    let answer = async {
        let (stream, _) = listener.accept().await.unwrap();
        theirs.accept(stream).await.unwrap().0
    };
    let (caller, callee) = tokio::join!(call, answer);
    (caller, callee, watcher)
}

/// A chunk of a stream in which none is like another.
fn chunk(number: u64) -> Vec<u8> {
    let first = number * 8_192;
    (first..first + 8_192).flat_map(|word| (word ^ (word << 29)).to_be_bytes()).collect()
}

async fn write(stream: &mut Encrypted<Wire<TcpStream>>, chunks: u64) {
    for number in 0..chunks {
        stream.write_all(&chunk(number)).await.unwrap();
    }
    stream.flush().await.unwrap();
}

async fn read(stream: &mut Encrypted<Wire<TcpStream>>, chunks: u64) {
    let mut bytes = vec![0; 1 << 16];
    for number in 0..chunks {
        stream.read_exact(&mut bytes).await.unwrap();
        assert!(bytes == chunk(number), "chunk {number}");
    }
}

/// The callee answers nothing, not even a change of keys, until everything has come.
#[tokio::test]
async fn three_hundred_mebibytes_change_the_keys_twice_and_lose_nothing() {
    let (mut caller, mut callee, watcher) = linked(KeyLife::default()).await;
    let chunks = 300 << 4;
    tokio::join!(write(&mut caller, chunks), read(&mut callee, chunks));
    assert_eq!(watcher.changes(), [2, 0]);
    tokio::join!(write(&mut callee, 1), read(&mut caller, 1));
    assert_eq!(watcher.changes(), [2, 1], "the answer to both changes");
    tokio::join!(write(&mut caller, 1), read(&mut callee, 1));
}

#[tokio::test]
async fn whoever_was_called_changes_keys_too() {
    let life = KeyLife { bytes: 1 << 20, ..KeyLife::default() };
    let (mut caller, mut callee, watcher) = linked(life).await;
    tokio::join!(write(&mut callee, 64), read(&mut caller, 64));
    assert_eq!(watcher.changes(), [0, 3], "after each of the first three MiB");
}

#[tokio::test]
async fn keys_that_are_old_are_changed_before_the_next_write() {
    let life = KeyLife { time: Duration::ZERO, ..KeyLife::default() };
    let (mut caller, mut callee, watcher) = linked(life).await;
    tokio::join!(write(&mut caller, 4), read(&mut callee, 4));
    assert!(watcher.changes()[0] >= 3, "{:?}", watcher.changes());
    let (mut caller, mut callee, watcher) = linked(KeyLife::default()).await;
    tokio::join!(write(&mut caller, 4), read(&mut callee, 4));
    assert_eq!(watcher.changes(), [0, 0]);
}
