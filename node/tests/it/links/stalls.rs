//! Peers that stall, at each point at which one can (C24): each is given up in the time that was
//! set, and nothing else would end the test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use comm_node::links::KeepAlive;
use comm_node::links::accept::AcceptLimits;
use comm_node::links::dial::DialLimits;
use comm_node::links::standstill::Standstill;
use comm_node::links::tls::Credentials;
use comm_proto::contact::{Contact, ENDPOINTS_MAX};
use comm_proto::key::KeyPair;
use comm_proto::message::Request;
use comm_proto::rejection::Rejection;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::{DEADLINE, Options, PONG, Stub, envelopes, eventually};

const SOON: Duration = Duration::from_millis(300);
/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3_600);
const NO_PINGS: KeepAlive = KeepAlive { every: NEVER, patience: NEVER };

/// Gives up nobody.
fn patient() -> DialLimits {
    DialLimits {
        connect: NEVER,
        handshake: NEVER,
        standstill: Standstill { read: NEVER, write: NEVER },
        keep_alive: NO_PINGS,
        ..DialLimits::default()
    }
}

async fn dialler(dial: DialLimits) -> Stub {
    Stub::start_with(1, Options { dial, keep_alive: NO_PINGS, ..Options::default() }).await
}

async fn callee(standstill: Standstill) -> Stub {
    let accept = AcceptLimits { handshake: NEVER, standstill, ..AcceptLimits::default() };
    Stub::start_with(2, Options { accept, keep_alive: NO_PINGS, ..Options::default() }).await
}

/// Listens, and takes connections only into a queue that is full.
async fn full_listener() -> (TcpListener, SocketAddr, Vec<tokio::task::JoinHandle<()>>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let place = listener.local_addr().unwrap();
    let made = Arc::new(AtomicUsize::new(0));
    let queued = (0..8).map(|_| {
        let made = Arc::clone(&made);
        tokio::spawn(async move {
            let _held = TcpStream::connect(place).await;
            made.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<()>().await;
        })
    });
    let queued = queued.collect();
    eventually(async || (made.load(Ordering::Relaxed) >= 2).then_some(())).await;
    (listener, place, queued)
}

#[tokio::test]
async fn an_endpoint_that_takes_no_connection_is_given_up() {
    let alice = dialler(DialLimits { connect: SOON, ..patient() }).await;
    let (_listener, place, queued) = full_listener().await;
    let answer = timeout(DEADLINE, alice.peers.identify(place)).await.expect("it is not given up");
    assert_eq!(answer.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    queued.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_node_that_shakes_no_hands_is_given_up() {
    let alice = dialler(DialLimits { handshake: SOON, ..patient() }).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = silent.local_addr().unwrap();
    let answer = timeout(DEADLINE, alice.peers.identify(place)).await.expect("it is not given up");
    assert_eq!(answer.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
}

/// Takes connections, which it counts, and says so little at a time that no handshake comes to an end.
async fn dripping(taken: &Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    let taken = Arc::clone(taken);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            taken.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                // The head of the longest record of a handshake, and then a byte of it now and then.
                let mut said = stream.write_all(b"\x16\x03\x03\x40\x00").await;
                while said.is_ok() {
                    sleep(SOON / 30).await;
                    said = stream.write_all(&[0]).await;
                }
            });
        }
    });
    place
}

/// However many endpoints it names, and although each of them says something all the time.
#[tokio::test]
async fn a_node_is_dialled_no_longer_than_one_endpoint_may_take_and_gives_its_place_back() {
    let limits = DialLimits { connect: SOON / 3, handshake: SOON, dials: 1, ..patient() };
    let (alice, bob) = (dialler(limits).await, Stub::start(2).await);
    let taken = Arc::<AtomicUsize>::default();
    let mut endpoints = Vec::new();
    for _ in 0..ENDPOINTS_MAX {
        endpoints.push(dripping(&taken).await);
    }
    let contact = Contact::new(KeyPair::from_seed(&[3; 32]).public(), endpoints);
    let ping = alice.peers.call(&contact, Request::Ping { endpoints: Vec::new() }, NEVER);
    let answer = timeout(DEADLINE, ping).await.expect("it is not given up");
    assert_eq!(answer, Err(Rejection::Unreachable));
    // The first has used up three quarters of the time by the time the second is dialled.
    assert!((1..=2).contains(&taken.load(Ordering::Relaxed)), "{taken:?} endpoints were dialled");
    assert_eq!(alice.ping(&bob.contact()).await, Ok(PONG));
}

/// What one dial has no time for comes first in a later one.
#[tokio::test]
async fn a_node_is_reached_however_many_of_its_endpoints_stall_before_the_right_one() {
    let backoff_first = SOON / 10;
    let limits = DialLimits { connect: SOON / 3, handshake: SOON, backoff_first, ..patient() };
    let (alice, bob) = (dialler(limits).await, Stub::start(2).await);
    let mut endpoints = Vec::new();
    for _ in 1..ENDPOINTS_MAX {
        endpoints.push(dripping(&Arc::default()).await);
    }
    endpoints.push(bob.endpoints[0]);
    let contact = Contact::new(bob.key.public(), endpoints);
    eventually(async || alice.ping(&contact).await.ok()).await;
}

/// A node with this key that proves it, says `first`, and then neither reads nor writes.
async fn frozen(key: &KeyPair, first: &'static [u8]) -> Contact {
    let credentials = Credentials::new(key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let contact = Contact::new(key.public(), [listener.local_addr().unwrap()]);
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (mut stream, _) = credentials.accept(stream).await.unwrap();
            stream.write_all(first).await.unwrap();
            stream.flush().await.unwrap();
            held.push(stream);
        }
    });
    contact
}

#[tokio::test]
async fn a_dialled_link_that_says_nothing_is_closed() {
    let standstill = Standstill { read: SOON, write: NEVER };
    let alice = dialler(DialLimits { standstill, ..patient() }).await;
    let contact = frozen(&KeyPair::from_seed(&[2; 32]), &[]).await;
    let ping = alice.peers.call(&contact, Request::Ping { endpoints: Vec::new() }, NEVER);
    let answer = timeout(DEADLINE, ping).await.expect("the link stays open");
    assert_eq!(answer, Err(Rejection::Unreachable));
}

/// Leave to send as much as there is, for the link and for each call.
const ANY_AMOUNT: &[u8] = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x7f\xff\xff\xff\
                            \x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xff\x00\x00";

#[tokio::test]
async fn a_dialled_link_that_takes_nothing_is_closed() {
    let standstill = Standstill { read: NEVER, write: SOON };
    let alice = dialler(DialLimits { standstill, ..patient() }).await;
    let contact = frozen(&KeyPair::from_seed(&[2; 32]), ANY_AMOUNT).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let (peers, contact) = (alice.peers.clone(), contact.clone());
        let request = Request::Deliver { envelopes: envelopes(16) };
        calls.spawn(async move { peers.call(&contact, request, NEVER).await });
    }
    while let Some(answer) = timeout(DEADLINE, calls.join_next()).await.expect("a call hangs") {
        assert_eq!(answer.unwrap(), Err(Rejection::Unreachable));
    }
}

/// What a link begins with, and a frame that is to be answered.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
const PING: &[u8] = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00comm/../";

#[tokio::test]
async fn an_accepted_link_that_takes_nothing_is_closed() {
    let bob = callee(Standstill { read: NEVER, write: SOON }).await;
    let credentials = Credentials::new(&KeyPair::from_seed(&[1; 32])).unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let stream = socket.connect(bob.endpoints[0]).await.unwrap();
    let (mut stream, _) = credentials.connect(stream, None).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    let pings = PING.repeat(1_024);
    // It never reads an answer, and asks on until the link is gone.
    let asking = async { while stream.write_all(&pings).await.is_ok() {} };
    timeout(DEADLINE, asking).await.expect("the link stays open");
}
