//! What anybody may try who reaches the node's port: no node at all, or one that only listens in.

use std::net::SocketAddr;
use std::time::Duration;

use comm_node::links::tls::Credentials;
use comm_proto::key::PublicKey;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::link::dial;
use super::{Target, key};

const PATIENCE: Duration = Duration::from_secs(20);
/// The node's bound on connections of one source.
const CONNECTIONS_MAX: usize = 32;

pub(super) async fn attack(target: &Target) {
    garbage(target).await;
    replayed_frames(target).await;
    half_open_handshakes(target).await;
    many_connections(target).await;
}

/// Other protocols, noise, and the beginning of a handshake that goes wrong.
async fn garbage(target: &Target) {
    let hello: &[u8] = &[0x16, 3, 1, 0, 4, 1, 0, 0, 0];
    let noise = [0xa5; 4_096];
    let texts: [&[u8]; 4] = [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n", hello, &noise];
    for n in 0..80 {
        let mut stream = dial(target.place(), 80).await.unwrap();
        stream.write_all(texts[n % texts.len()]).await.unwrap();
        assert!(is_closed(&mut stream).await);
    }
    target.ledger.note("handshake", 80, 80);
}

/// The bytes of a whole honest link, overheard and sent again.
async fn replayed_frames(target: &Target) {
    let credentials = Credentials::new(&key(90)).unwrap();
    let (sent, received) = overheard(target.place(), &credentials, target.contact.key()).await;
    let (mine, theirs) = (key(90).public(), target.contact.key().to_owned());
    for key in [&mine, &theirs] {
        for part in [&key.as_bytes()[..], &key.address().as_bytes()[..]] {
            let shows = |bytes: &[u8]| bytes.windows(part.len()).any(|window| window == part);
            assert!(!shows(&sent) && !shows(&received), "the link shows whose it is");
        }
    }
    for _ in 0..20 {
        let mut stream = dial(target.place(), 81).await.unwrap();
        stream.write_all(&sent).await.unwrap();
        assert!(is_closed(&mut stream).await);
    }
    target.ledger.note("handshake", 20, 20);
}

/// What passes between the node and one that shows `credentials` and says hello, in both directions.
pub(super) async fn overheard(
    place: SocketAddr,
    credentials: &Credentials,
    node: &PublicKey,
) -> (Vec<u8>, Vec<u8>) {
    let (ours, wire) = duplex(1 << 20);
    let stream = dial(place, 82).await.unwrap();
    let listening = tokio::spawn(pass_on(wire, stream));
    let (mut link, found) = credentials.connect(ours, None).await.unwrap();
    assert_eq!(found, *node);
    link.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    link.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    let mut settings = [0; 9];
    link.read_exact(&mut settings).await.unwrap();
    drop(link);
    listening.await.unwrap()
}

/// Passes bytes on until one side ends, and keeps them.
async fn pass_on(client: DuplexStream, node: TcpStream) -> (Vec<u8>, Vec<u8>) {
    let (from_client, to_client) = tokio::io::split(client);
    let (from_node, to_node) = node.into_split();
    let back = tokio::spawn(copy(from_node, to_client));
    let sent = copy(from_client, to_node).await;
    back.abort();
    (sent, back.await.unwrap_or_default())
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        all.extend_from_slice(&buffer[..count]);
        if to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    all
}

/// One source that begins more handshakes than it may and ends none.
async fn half_open_handshakes(target: &Target) {
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS_MAX + 16 {
        let mut stream = dial(target.place(), 83).await.unwrap();
        // A node that turned it away may have closed already.
        let _ = stream.write_all(&[0x16, 3, 1, 2]).await;
        streams.push(stream);
    }
    for stream in &mut streams {
        assert!(is_closed(stream).await, "a handshake without an end is kept");
    }
    target.ledger.note("handshake", CONNECTIONS_MAX as u64, CONNECTIONS_MAX as u64);
    target.ledger.note("too-many-links", 16, 16);
}

/// One source that comes again and again.
async fn many_connections(target: &Target) {
    let before = super::ledger::counted(target.metrics);
    for _ in 0..300 {
        let mut stream = dial(target.place(), 84).await.unwrap();
        let _ = stream.write_all(b"no handshake").await;
        assert!(is_closed(&mut stream).await);
    }
    let after = super::ledger::counted(target.metrics);
    let turned_away = after["too-many-links"] - before["too-many-links"];
    // 128 in a minute, and a few more that have become free since the first.
    assert!((100..=172).contains(&turned_away), "{turned_away} of 300 are turned away");
    target.ledger.note("too-many-links", turned_away, turned_away);
    target.ledger.note("handshake", 300 - turned_away, 300 - turned_away);
}

/// Whether the node ends a connection soon, and says no more than that a handshake failed.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut answer = Vec::new();
    // Closed or reset, as the system likes.
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.is_ok() && answer.len() < 16 << 10
}
