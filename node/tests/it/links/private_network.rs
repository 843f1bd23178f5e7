//! What outsiders learn of a network with a key (C21, C22): by watching, dialling, answering, and
//! standing in between. Each case holds against what passes on the wire, byte for byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use comm_node::clock::Clock;
use comm_node::links::accept::AcceptLimits;
use comm_node::links::dial::DialLimits;
use comm_node::links::private::{NetworkKey, PrivateNetwork};
use comm_node::links::tls::Credentials;
use comm_proto::contact::Contact;
use comm_proto::key::KeyPair;
use comm_proto::rejection::Rejection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{DEADLINE, Options, PONG, Stub, eventually, is_closed};

/// A caller's nonce, and a record of a time, a key, and at most 255 bytes that say nothing.
const OPENING: std::ops::RangeInclusive<usize> = 106..=361;
const SOON: Duration = Duration::from_millis(300);

/// What a node shows whose network has this key, or none.
pub(super) fn credentials(key: &KeyPair, network: Option<u8>, clock: &Arc<Clock>) -> Credentials {
    let credentials = Credentials::new(key).unwrap();
    let Some(byte) = network else { return credentials };
    let network = NetworkKey::new(Zeroizing::new([byte; 32]));
    credentials.in_private(PrivateNetwork::new(network, key.public(), Arc::clone(clock)))
}

/// A node that gives handshakes little time, either way.
async fn stub(seed: u8, network_key: Option<u8>) -> Stub {
    let accept = AcceptLimits { handshake: SOON, ..AcceptLimits::default() };
    let dial = DialLimits { handshake: SOON * 2, ..Options::default().dial };
    Stub::start_with(seed, Options { accept, dial, network_key, ..Options::default() }).await
}

/// A node that gives handshakes as much time as nodes do.
async fn calm(seed: u8, network_key: Option<u8>) -> Stub {
    Stub::start_with(seed, Options { network_key, ..Options::default() }).await
}

/// Writes down what passes of one connection.
#[derive(Clone, Default)]
struct Recorder {
    by_caller: Arc<Mutex<Vec<u8>>>,
    by_callee: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    async fn before(to: SocketAddr) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        let recorder = Self::default();
        let here = recorder.clone();
        tokio::spawn(async move {
            let (caller, _) = listener.accept().await.unwrap();
            let (from_caller, to_caller) = caller.into_split();
            let (from_callee, to_callee) = TcpStream::connect(to).await.unwrap().into_split();
            tokio::join!(
                record(from_caller, to_callee, here.by_caller),
                record(from_callee, to_caller, here.by_callee),
            );
        });
        (recorder, place)
    }

    fn by_caller(&self) -> Vec<u8> {
        self.by_caller.lock().unwrap().clone()
    }

    fn by_callee(&self) -> Vec<u8> {
        self.by_callee.lock().unwrap().clone()
    }
}

async fn record(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, kept: Arc<Mutex<Vec<u8>>>) {
    let mut bytes = vec![0; 1 << 14];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        kept.lock().unwrap().extend_from_slice(&bytes[..count]);
        if to.write_all(&bytes[..count]).await.is_err() {
            break;
        }
    }
    let _gone = to.shutdown().await;
}

/// Calls `bob` through a recorder. The answer, and what was recorded.
async fn recorded(alice: &Stub, bob: &Stub) -> (Result<super::Response, Rejection>, Recorder) {
    let (recorder, place) = Recorder::before(bob.endpoints[0]).await;
    let contact = Contact::new(bob.key.public(), [place]);
    (alice.ping(&contact).await, recorder)
}

/// What TLS says before anything is encrypted: a record of a handshake, and what is to be spoken.
fn shows_tls(bytes: &[u8]) -> bool {
    bytes.windows(3).any(|part| part == [0x16, 3, 1] || part == [0x16, 3, 3])
        || bytes.windows(3).any(|part| part == b"\x02h2")
}

#[tokio::test]
async fn nodes_with_the_key_talk_and_a_watcher_sees_noise() {
    let (alice, bob) = (calm(1, Some(7)).await, calm(2, Some(7)).await);
    let (answer, seen) = recorded(&alice, &bob).await;
    assert_eq!(answer, Ok(PONG));
    assert_eq!(bob.asked_by(), [alice.key.public()]);
    for bytes in [seen.by_caller(), seen.by_callee()] {
        assert!(bytes.len() > 1_000, "a whole handshake has passed");
        assert!(!shows_tls(&bytes[..1_000]));
        for stub in [&alice, &bob] {
            let key = stub.key.public();
            assert!(!bytes.windows(32).any(|part| part == key.as_bytes()));
            assert!(!bytes.windows(20).any(|part| part == key.address().as_bytes()));
        }
    }
    // In an open network the same watcher sees what is spoken.
    let (alice, bob) = (calm(1, None).await, calm(2, None).await);
    let (answer, seen) = recorded(&alice, &bob).await;
    assert_eq!(answer, Ok(PONG));
    assert!(shows_tls(&seen.by_caller()));
}

/// The callee's side: not one byte to whoever lacks the key, also not that something was wrong.
#[tokio::test]
async fn a_caller_without_the_key_learns_nothing_of_whom_it_calls() {
    let bob = stub(2, Some(7)).await;
    for network_key in [None, Some(8)] {
        let alice = calm(1, network_key).await;
        let (answer, seen) = recorded(&alice, &bob).await;
        assert_eq!(answer, Err(Rejection::Unreachable));
        assert!(!seen.by_caller().is_empty());
        assert_eq!(seen.by_callee(), b"", "with {network_key:?}");
    }
    assert!(bob.asked_by().is_empty());
}

/// The caller's side: its opening, which is noise, and nothing more to whoever lacks the key.
#[tokio::test]
async fn a_callee_without_the_key_learns_nothing_of_who_calls() {
    for network_key in [None, Some(8)] {
        let (alice, bob) = (stub(1, Some(7)).await, calm(2, network_key).await);
        let (answer, seen) = recorded(&alice, &bob).await;
        assert_eq!(answer, Err(Rejection::Unreachable));
        let said = seen.by_caller();
        assert!(OPENING.contains(&said.len()), "{} bytes", said.len());
        assert!(bob.asked_by().is_empty());
    }
}

#[tokio::test]
async fn a_place_whose_key_is_not_known_is_asked_by_the_networks_key() {
    let (alice, bob) = (calm(1, Some(7)).await, calm(2, Some(7)).await);
    let contact = alice.peers.identify(bob.endpoints[0]).await.unwrap();
    assert_eq!(contact.key(), &bob.key.public());
    let carol = stub(3, Some(8)).await;
    assert!(carol.peers.identify(bob.endpoints[0]).await.is_err());
}

/// Whatever is sent and however much of it: nothing comes back, and the end comes when the time for
/// a handshake is over.
#[tokio::test]
async fn a_stranger_finds_a_port_that_is_silent_whatever_it_says() {
    let bob = stub(2, Some(7)).await;
    for said in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", &[0x16, 3, 1, 2, 0], &[7; 100_000]] {
        let mut stream = TcpStream::connect(bob.endpoints[0]).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut answer = Vec::new();
        let end = timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
        assert!(end.is_ok(), "it stays open");
        assert!(answer.is_empty());
    }
}

/// Somebody on the way who has recorded a link says the same again.
#[tokio::test]
async fn a_recorded_link_said_again_is_not_answered() {
    let (alice, bob, carol) =
        (calm(1, Some(7)).await, stub(2, Some(7)).await, stub(3, Some(7)).await);
    let (answer, seen) = recorded(&alice, &bob).await;
    assert_eq!(answer, Ok(PONG));
    for place in [bob.endpoints[0], carol.endpoints[0]] {
        let mut stream = TcpStream::connect(place).await.unwrap();
        stream.write_all(&seen.by_caller()).await.unwrap();
        let mut answer = Vec::new();
        let _reset = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.is_empty());
    }
    assert_eq!(bob.asked_by().len(), 1);
}

/// Changes one byte of what the caller says after its opening.
async fn changing(to: SocketAddr, at: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (caller, _) = listener.accept().await.unwrap();
        drop(listener);
        let (mut from_caller, to_caller) = caller.into_split();
        let (from_callee, mut to_callee) = TcpStream::connect(to).await.unwrap().into_split();
        let back = record(from_callee, to_caller, Arc::default());
        let forth = async {
            let (mut bytes, mut passed) = (vec![0; 1 << 14], 0);
            while let Ok(count @ 1..) = from_caller.read(&mut bytes).await {
                if (passed..passed + count).contains(&at) {
                    bytes[at - passed] ^= 1;
                }
                passed += count;
                if to_callee.write_all(&bytes[..count]).await.is_err() {
                    break;
                }
            }
            let _gone = to_callee.shutdown().await;
        };
        tokio::join!(back, forth);
    });
    place
}

#[tokio::test]
async fn whoever_changes_a_byte_ends_the_link_before_anybody_is_known() {
    let (alice, bob) = (stub(1, Some(7)).await, stub(2, Some(7)).await);
    for at in [0, 31, 32, 60, *OPENING.end() + 40, *OPENING.end() + 400] {
        let place = changing(bob.endpoints[0], at).await;
        let contact = Contact::new(bob.key.public(), [place]);
        assert_eq!(alice.ping(&contact).await, Err(Rejection::Unreachable), "byte {at}");
    }
    assert!(bob.asked_by().is_empty());
    eventually(async || alice.ping(&bob.contact()).await.ok()).await;
}

#[tokio::test]
async fn a_stranger_who_stalls_holds_a_place_for_the_time_of_a_handshake() {
    let bob = stub(2, Some(7)).await;
    let mut stream = TcpStream::connect(bob.endpoints[0]).await.unwrap();
    stream.write_all(&[1; 40]).await.unwrap();
    assert!(is_closed(&mut stream).await);
}
