//! What somebody on the way between two nodes sees of a link, and what they can do to it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use comm_proto::contact::Contact;
use comm_proto::message::{Request, Response};
use comm_proto::rejection::Rejection;
use rustls::AlertDescription;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{DEADLINE, PONG, Stub, eventually};

/// What is done to the next record of the caller.
#[derive(Clone, Copy, Debug)]
enum Attack {
    /// It is sent twice.
    Replay,
    /// It is sent to its own writer instead.
    Reflect,
    /// It is kept back, and sent after the next.
    Reorder,
    /// Its last byte is changed.
    Change,
    /// Its last byte is cut off.
    Cut,
    /// It is left out.
    Drop,
}

/// Somebody on the way, who lets one connection through and keeps what passes.
#[derive(Clone, Default)]
struct Middle {
    next: Arc<Mutex<Option<Attack>>>,
    seen: Arc<Mutex<Vec<u8>>>,
    /// How many of the two directions have ended.
    ended: Arc<Mutex<u32>>,
}

impl Middle {
    /// Stands before `to`; where the caller is to dial.
    async fn before(to: SocketAddr) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        let middle = Self::default();
        let here = middle.clone();
        tokio::spawn(async move {
            let (caller, _) = listener.accept().await.unwrap();
            drop(listener);
            let (from_caller, to_caller) = caller.into_split();
            let (from_callee, to_callee) = TcpStream::connect(to).await.unwrap().into_split();
            let to_caller = Arc::new(tokio::sync::Mutex::new(to_caller));
            tokio::join!(
                here.back(from_callee, Arc::clone(&to_caller)),
                here.forth(from_caller, to_callee, to_caller),
            );
        });
        (middle, place)
    }

    /// From the callee to the caller nothing is changed.
    async fn back(&self, mut from: OwnedReadHalf, to: Arc<tokio::sync::Mutex<OwnedWriteHalf>>) {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            self.seen.lock().unwrap().extend_from_slice(&bytes[..count]);
            if to.lock().await.write_all(&bytes[..count]).await.is_err() {
                break;
            }
        }
        *self.ended.lock().unwrap() += 1;
        let _gone = to.lock().await.shutdown().await;
    }

    async fn forth(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        caller: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    ) {
        let mut held = Vec::new();
        while let Some(record) = record(&mut from).await {
            self.seen.lock().unwrap().extend_from_slice(&record);
            let attack = self.next.lock().unwrap().take();
            let written = match attack {
                Some(Attack::Reflect) => caller.lock().await.write_all(&record).await,
                Some(Attack::Reorder) => {
                    held = record;
                    Ok(())
                }
                attack => {
                    let mut bytes = attacked(record, attack);
                    bytes.append(&mut held);
                    to.write_all(&bytes).await
                }
            };
            if written.is_err() {
                break;
            }
        }
        *self.ended.lock().unwrap() += 1;
        let _gone = to.shutdown().await;
    }

    fn has_seen(&self, bytes: &[u8]) -> bool {
        self.seen.lock().unwrap().windows(bytes.len()).any(|window| window == bytes)
    }
}

/// One record of TLS: five bytes, of which the last two are the length of what follows.
pub(super) async fn record(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut record = vec![0; 5];
    from.read_exact(&mut record).await.ok()?;
    let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
    record.resize(5 + length, 0);
    from.read_exact(&mut record[5..]).await.ok()?;
    Some(record)
}

fn attacked(mut record: Vec<u8>, attack: Option<Attack>) -> Vec<u8> {
    match attack {
        Some(Attack::Replay) => record.extend_from_within(..),
        Some(Attack::Change) => *record.last_mut().unwrap() ^= 1,
        Some(Attack::Cut) => {
            record.pop();
            let length = u16::try_from(record.len() - 5).unwrap();
            record[3..5].copy_from_slice(&length.to_be_bytes());
        }
        Some(Attack::Drop) => record.clear(),
        _ => {}
    }
    record
}

async fn ping(from: &Stub, to: &Contact) -> Result<Response, Rejection> {
    let ping = Request::Ping { endpoints: Vec::new() };
    from.peers.call(to, ping, Duration::from_secs(1)).await
}

/// C20, D27.
#[tokio::test]
async fn whoever_tampers_with_a_link_can_end_it_and_nothing_else() {
    use Attack::{Change, Cut, Drop, Reflect, Reorder, Replay};
    for attack in [Replay, Reflect, Reorder, Change, Cut, Drop] {
        let (alice, bob) = (Stub::start(1).await, Stub::start(2).await);
        let (middle, place) = Middle::before(bob.endpoints[0]).await;
        let contact = Contact::new(bob.key.public(), [place]);
        assert_eq!(ping(&alice, &contact).await, Ok(PONG));
        assert_eq!(ping(&alice, &contact).await, Ok(PONG));
        *middle.next.lock().unwrap() = Some(attack);
        let answer = ping(&alice, &contact).await;
        // What is sent twice has come once before it comes again.
        let came = usize::from(matches!(attack, Replay));
        assert!(came == 1 || answer.is_err(), "{attack:?}: {answer:?}");
        eventually(async || (*middle.ended.lock().unwrap() == 2).then_some(())).await;
        assert!(bob.asked_by().len() <= 2 + came, "{attack:?}");
        assert_eq!(ping(&alice, &contact).await, Err(Rejection::Unreachable), "{attack:?}");
    }
}

/// C21, as far as it goes: who only watches learns neither key; who dials a node learns its key.
#[tokio::test]
async fn a_watcher_learns_no_key_and_no_name_of_the_network() {
    let (alice, bob) = (Stub::start(1).await, Stub::start(2).await);
    let (middle, place) = Middle::before(bob.endpoints[0]).await;
    let contact = Contact::new(bob.key.public(), [place]);
    assert_eq!(ping(&alice, &contact).await, Ok(PONG));
    assert!(middle.has_seen(b"h2"), "what stands in the clear is seen");
    for stub in [&alice, &bob] {
        let key = stub.key.public();
        assert!(!middle.has_seen(key.as_bytes()));
        assert!(!middle.has_seen(key.address().as_bytes()));
    }
    assert!(!middle.has_seen(b"comm-network"));
}

/// The first message of somebody who speaks TLS 1.2 and no later version, in its record (RFC 5246).
fn hello_of_tls_1_2() -> Vec<u8> {
    let ciphers = b"\x00\x04\xc0\x2b\xc0\x2f";
    // Groups (x25519) and signatures (Ed25519, ECDSA with P-256).
    let extensions = b"\x00\x0a\x00\x04\x00\x02\x00\x1d\x00\x0d\x00\x06\x00\x04\x08\x07\x04\x03";
    let length = [0, extensions.len() as u8];
    let fixed = [&b"\x03\x03"[..], &[7; 32], b"\0", ciphers, b"\x01\0"].concat();
    let body = [&fixed[..], &length, extensions].concat();
    let message = [&[1, 0, 0, body.len() as u8][..], &body].concat();
    [&[0x16, 3, 1, 0, message.len() as u8][..], &message].concat()
}

/// C18: only the version of TLS whose every handshake has keys of its own.
#[tokio::test]
async fn an_older_version_of_tls_is_refused() {
    let bob = Stub::start(2).await;
    let mut stream = TcpStream::connect(bob.endpoints[0]).await.unwrap();
    stream.write_all(&hello_of_tls_1_2()).await.unwrap();
    let mut answer = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    // A fatal alert and nothing else: protocol_version, not that the hello could not be read.
    let alert = [2, u8::from(AlertDescription::ProtocolVersion)];
    assert_eq!((answer.len(), answer[0], &answer[5..]), (7, 0x15, &alert[..]), "{answer:?}");
}

/// C24: a node that is dialled and says nothing.
#[tokio::test]
async fn a_dialled_node_that_stalls_is_given_up() {
    let alice = Stub::start(1).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let contact = Contact::new(alice.key.public(), [silent.local_addr().unwrap()]);
    let call = alice.peers.call(&contact, Request::Ping { endpoints: Vec::new() }, DEADLINE);
    let begun = std::time::Instant::now();
    assert_eq!(call.await, Err(Rejection::Unreachable));
    // A stub gives a connection two seconds.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
