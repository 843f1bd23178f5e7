//! Links between nodes over real sockets, with a driver that only answers pings behind them.

mod blocked;
mod handed_on;
mod keep_alive;
mod key_changes;
mod private_network;
mod records;
mod stalls;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use comm_node::clock::Clock;
use comm_node::driver::inbox::{Admission, Budget, Inbox, InboxLimits, Turn};
use comm_node::driver::work::{Own, PeerWork};
use comm_node::links::accept::{AcceptLimits, Door};
use comm_node::links::blocks::Blocks;
use comm_node::links::dial::{DialLimits, Peers};
use comm_node::links::gate::SourceLimits;
use comm_node::links::standstill::Standstill;
use comm_node::links::tls::Credentials;
use comm_node::links::{KeepAlive, Network};
use comm_node::service::PeerService;
use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::envelope::{Envelope, EnvelopeId, Header, SizeClass, Suite};
use comm_proto::key::{KeyPair, PublicKey};
use comm_proto::message::{Push, Request, Response, Waiting};
use comm_proto::rejection::Rejection;
use comm_proto::time::Time;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

const DEADLINE: Duration = Duration::from_secs(10);
const PONG: Response = Response::Pong { time: Time::ZERO, observed: None };

/// What a stub's driver has seen.
#[derive(Debug, Default)]
struct Seen {
    asked_by: Vec<PublicKey>,
    pushed: Vec<(Address, Push)>,
    listeners: Vec<(Address, mpsc::Sender<Push>)>,
    /// Questions that are to be left without an answer.
    silent: bool,
    unanswered: Vec<oneshot::Sender<Result<Response, Rejection>>>,
}

/// A node whose driver answers every request with a pong.
struct Stub {
    key: KeyPair,
    inbox: Inbox,
    peers: Peers,
    seen: Arc<Mutex<Seen>>,
    endpoints: Vec<SocketAddr>,
    shutdown: Option<oneshot::Sender<()>>,
    server: Option<tokio::task::JoinHandle<()>>,
    driver: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Options {
    network: &'static str,
    listen: Vec<SocketAddr>,
    accept: AcceptLimits,
    dial: DialLimits,
    keep_alive: KeepAlive,
    /// Every byte of the network's key; an open network has none.
    network_key: Option<u8>,
    /// Whom it has nothing to do with.
    blocks: Blocks,
}

impl Default for Options {
    fn default() -> Self {
        let listen = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
        let dial = DialLimits {
            backoff_first: Duration::from_millis(50),
            connect: Duration::from_secs(2),
            handshake: Duration::from_secs(2),
            ..DialLimits::default()
        };
        let (accept, keep_alive) = (AcceptLimits::default(), KeepAlive::default());
        let blocks = Blocks::default();
        Self { network: "test", listen, accept, dial, keep_alive, network_key: None, blocks }
    }
}

impl Stub {
    async fn start(seed: u8) -> Self {
        Self::start_with(seed, Options::default()).await
    }

    async fn start_with(seed: u8, options: Options) -> Self {
        let key = KeyPair::from_seed(&[seed; 32]);
        let (clock, inbox) = (Arc::new(Clock::new()), Inbox::new(InboxLimits::default()));
        let credentials = private_network::credentials(&key, options.network_key, &clock);
        let credentials = Arc::new(credentials.without(options.blocks));
        let network = Network::new(options.network).unwrap();
        let dial = options.dial;
        let (for_peers, for_clock) = (Arc::clone(&credentials), Arc::clone(&clock));
        let peers = Peers::new(for_peers, network.clone(), for_clock, inbox.clone(), dial);
        let (mut listeners, mut endpoints) = (Vec::new(), Vec::new());
        for place in &options.listen {
            let listener = TcpListener::bind(place).await.unwrap();
            endpoints.push(listener.local_addr().unwrap());
            listeners.push(listener);
        }
        let links = Door::new(credentials, options.accept).open(listeners);
        let (shutdown, ended) = oneshot::channel();
        let service = PeerService::new(inbox.clone(), network, clock);
        let service = service.with_keep_alive(options.keep_alive);
        let server = tokio::spawn(async move {
            service.serve(links, async { drop(ended.await) }).await.unwrap();
        });
        let seen = Arc::<Mutex<Seen>>::default();
        let driver = Some(drive(inbox.clone(), Arc::clone(&seen)));
        let (shutdown, server) = (Some(shutdown), Some(server));
        Self { key, inbox, peers, seen, endpoints, shutdown, server, driver }
    }

    fn contact(&self) -> Contact {
        Contact::new(self.key.public(), self.endpoints.clone())
    }

    async fn ping(&self, other: &Contact) -> Result<Response, Rejection> {
        self.peers.call(other, Request::Ping { endpoints: Vec::new() }, DEADLINE).await
    }

    fn asked_by(&self) -> Vec<PublicKey> {
        self.seen.lock().unwrap().asked_by.clone()
    }

    /// Ends it and everything that is open, so that its endpoints are free again.
    async fn stop(mut self) {
        self.inbox.stop();
        self.seen.lock().unwrap().listeners.clear();
        self.peers.close();
        self.shutdown.take().unwrap().send(()).unwrap();
        if let Some(driver) = self.driver.take() {
            tokio::task::spawn_blocking(|| driver.join().unwrap()).await.unwrap();
        }
        self.server.take().unwrap().await.unwrap();
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.inbox.stop();
    }
}

fn drive(inbox: Inbox, seen: Arc<Mutex<Seen>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut turn = Turn::default();
        while turn.admission == Admission::Open {
            let until = Instant::now() + Duration::from_secs(60);
            inbox.take(&mut turn, Budget { clients: 8, peers: 8 }, Some(until));
            let mut seen = seen.lock().unwrap();
            for own in turn.own.drain(..) {
                if let Own::ListenerOpened { peer, pushes, .. } = own {
                    seen.listeners.push((peer, pushes));
                }
            }
            for work in turn.peers.drain(..) {
                seen.take(work);
            }
        }
        inbox.close();
    })
}

impl Seen {
    fn take(&mut self, work: PeerWork) {
        match work {
            PeerWork::Request { from, reply, .. } => {
                self.asked_by.push(from);
                if self.silent {
                    self.unanswered.push(reply);
                } else {
                    let _gone = reply.send(Ok(PONG));
                }
            }
            PeerWork::Push { from, push } => self.pushed.push((from, push)),
        }
    }
}

/// Waits for something that another task or thread brings about.
async fn eventually<T, F: Future<Output = Option<T>>>(mut look: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "it did not come about in time");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Whether the other side closes the connection without saying anything a node would act on.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut bytes = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.is_ok()
}

fn waiting(n: u8) -> Push {
    let id = EnvelopeId::from_bytes([n; 32]);
    Push::Waiting(vec![Waiting { mailbox: Address::from_bytes([n; 20]), id }])
}

#[tokio::test]
async fn both_ends_prove_their_keys_over_both_families() {
    let (alice, bob) = (Stub::start(1).await, Stub::start(2).await);
    for endpoint in bob.endpoints.clone() {
        let peers = Stub::start(1).await;
        let contact = Contact::new(bob.key.public(), [endpoint]);
        assert_eq!(peers.ping(&contact).await, Ok(PONG));
    }
    assert_eq!(bob.asked_by(), [alice.key.public(), alice.key.public()]);
}

#[tokio::test]
async fn a_node_with_another_key_than_expected_is_not_talked_to() {
    let (alice, bob) = (Stub::start(1).await, Stub::start(2).await);
    let impostor = Contact::new(KeyPair::from_seed(&[3; 32]).public(), bob.endpoints.clone());
    assert_eq!(alice.ping(&impostor).await, Err(Rejection::Unreachable));
    assert!(bob.asked_by().is_empty());
}

#[tokio::test]
async fn a_second_endpoint_is_tried_when_the_first_fails() {
    let (alice, bob) = (Stub::start(1).await, Stub::start(2).await);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let contact = Contact::new(bob.key.public(), [closed, bob.endpoints[0]]);
    assert_eq!(alice.ping(&contact).await, Ok(PONG));
}

#[tokio::test]
async fn the_key_of_whoever_listens_is_learnt() {
    let (alice, bob) = (Stub::start(1).await, Stub::start(2).await);
    let contact = alice.peers.identify(bob.endpoints[0]).await.unwrap();
    assert_eq!(contact.key(), &bob.key.public());
    assert_eq!(alice.ping(&contact).await, Ok(PONG));
}

#[tokio::test]
async fn a_caller_without_a_certificate_is_turned_away() {
    let bob = Stub::start(2).await;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    let stream = TcpStream::connect(bob.endpoints[0]).await.unwrap();
    let name = ServerName::try_from("node.invalid").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    // In TLS 1.3 the caller has finished before it is told.
    let mut stream = connector.connect(name, stream).await.unwrap();
    let _closed = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let mut answer = Vec::new();
    assert!(stream.read_to_end(&mut answer).await.is_err());
    assert!(answer.is_empty());
}

#[tokio::test]
async fn garbage_is_refused_and_disturbs_nobody() {
    let (alice, bob) = (Stub::start(1).await, Stub::start(2).await);
    assert_eq!(alice.ping(&bob.contact()).await, Ok(PONG));
    let mut stream = TcpStream::connect(bob.endpoints[0]).await.unwrap();
    stream.write_all(&b"GET / HTTP/1.1\r\nHost: node\r\n\r\n".repeat(64)).await.unwrap();
    assert!(is_closed(&mut stream).await);
    assert_eq!(alice.ping(&bob.contact()).await, Ok(PONG));
    assert_eq!(bob.asked_by().len(), 2);
}

#[tokio::test]
async fn a_handshake_that_stalls_is_given_up() {
    let accept = AcceptLimits { handshake: Duration::from_millis(200), ..AcceptLimits::default() };
    let bob = Stub::start_with(2, Options { accept, ..Options::default() }).await;
    let mut stream = TcpStream::connect(bob.endpoints[0]).await.unwrap();
    // The beginning of a ClientHello, and nothing more.
    stream.write_all(&[0x16, 0x03, 0x01, 0x02]).await.unwrap();
    assert!(is_closed(&mut stream).await);
}

#[tokio::test]
async fn a_link_that_says_nothing_is_closed() {
    let standstill =
        Standstill { read: Duration::from_millis(200), write: Duration::from_secs(10) };
    let accept = AcceptLimits { standstill, ..AcceptLimits::default() };
    let bob = Stub::start_with(2, Options { accept, ..Options::default() }).await;
    let credentials = Credentials::new(&KeyPair::from_seed(&[1; 32])).unwrap();
    let stream = TcpStream::connect(bob.endpoints[0]).await.unwrap();
    let (mut stream, _) = credentials.connect(stream, None).await.unwrap();
    let mut bytes = Vec::new();
    let end = timeout(DEADLINE, stream.read_to_end(&mut bytes)).await;
    assert!(end.is_ok(), "a silent link stays open");
}

#[tokio::test]
async fn one_source_has_thirty_two_connections_and_no_more() {
    let source = SourceLimits { new_per_minute: 10_000, ..SourceLimits::default() };
    let accept = AcceptLimits { source, ..AcceptLimits::default() };
    let (alice, bob) =
        (Stub::start(1).await, Stub::start_with(2, Options { accept, ..<_>::default() }).await);
    let place = bob.endpoints[0];
    let mut held = Vec::new();
    for _ in 0..32 {
        held.push(TcpStream::connect(place).await.unwrap());
    }
    let mut one_more = TcpStream::connect(place).await.unwrap();
    assert!(is_closed(&mut one_more).await);
    let contact = Contact::new(bob.key.public(), [place]);
    assert_eq!(alice.ping(&contact).await, Err(Rejection::Unreachable));
    held.pop();
    eventually(async || alice.ping(&contact).await.ok()).await;
}

#[tokio::test]
async fn a_node_of_another_network_is_told_so() {
    let other = Options { network: "other", ..Options::default() };
    let (alice, bob) = (Stub::start(1).await, Stub::start_with(2, other).await);
    assert_eq!(alice.ping(&bob.contact()).await, Err(Rejection::OtherNetwork));
    assert!(bob.asked_by().is_empty());
}

#[tokio::test]
async fn a_source_that_asks_too_much_is_told_to_wait() {
    let source = SourceLimits { calls_per_second: 1, ..SourceLimits::default() };
    let accept = AcceptLimits { source, ..AcceptLimits::default() };
    let (alice, bob) =
        (Stub::start(1).await, Stub::start_with(2, Options { accept, ..<_>::default() }).await);
    let mut answers = Vec::new();
    for _ in 0..16 {
        answers.push(alice.ping(&bob.contact()).await);
    }
    assert_eq!(answers[0], Ok(PONG));
    assert_eq!(answers[15], Err(Rejection::Busy));
}

fn envelopes(count: usize) -> Vec<Envelope> {
    let header = Header {
        suite: Suite::ONE,
        mailbox: Address::from_bytes([1; 20]),
        expires_at: Time::MAX,
        stamp_nonce: 0,
    };
    let body = Bytes::from(vec![0; SizeClass::K64.body_len()]);
    (0..count).map(|_| Envelope::new(header, body.clone()).unwrap()).collect()
}

#[tokio::test]
async fn too_many_bytes_are_refused_by_name_and_a_flood_by_closing() {
    let (alice, bob) = (Stub::start(1).await, Stub::start(2).await);
    let deliver = async |count| {
        let request = Request::Deliver { envelopes: envelopes(count) };
        alice.peers.call(&bob.contact(), request, DEADLINE).await
    };
    assert_eq!(deliver(16).await, Ok(PONG));
    assert!(matches!(deliver(17).await, Err(Rejection::TooLarge(_))));
    assert_eq!(deliver(40).await, Err(Rejection::Unreachable));
    assert_eq!(deliver(16).await, Ok(PONG));
    assert_eq!(bob.asked_by().len(), 2);
}

#[tokio::test]
async fn a_call_ends_at_its_deadline_and_others_go_on() {
    let (alice, bob) = (Stub::start(1).await, Stub::start(2).await);
    bob.seen.lock().unwrap().silent = true;
    let ping = Request::Ping { endpoints: Vec::new() };
    let patience = Duration::from_millis(300);
    let answer = alice.peers.call(&bob.contact(), ping, patience).await;
    assert_eq!(answer, Err(Rejection::Unreachable));
    bob.seen.lock().unwrap().silent = false;
    assert_eq!(alice.ping(&bob.contact()).await, Ok(PONG));
}

#[tokio::test]
async fn a_dead_endpoint_is_left_alone_for_a_while() {
    let alice = Stub::start(1).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    // Takes connections and drops them, and counts.
    let dials = tokio::spawn(async move {
        let mut dials = 0;
        while let Ok(Ok(_)) = timeout(Duration::from_secs(2), listener.accept()).await {
            dials += 1;
        }
        dials
    });
    let contact = Contact::new(KeyPair::from_seed(&[3; 32]).public(), [place]);
    let until = Instant::now() + Duration::from_secs(1);
    let mut calls = 0;
    while Instant::now() < until {
        assert_eq!(alice.ping(&contact).await, Err(Rejection::Unreachable));
        calls += 1;
        tokio::task::yield_now().await;
    }
    // 50 ms doubling, jittered: at most 1 + 5 dials fit into a second.
    let dials = dials.await.unwrap();
    assert!((2..=6).contains(&dials), "{dials} dials for {calls} calls");
    assert!(calls > 20);
}

#[tokio::test]
async fn a_node_that_came_back_is_reached_with_the_next_call() {
    let (alice, bob) = (Stub::start(1).await, Stub::start(2).await);
    let contact = bob.contact();
    assert_eq!(alice.ping(&contact).await, Ok(PONG));
    let listen = bob.endpoints.clone();
    bob.stop().await;
    let bob = Stub::start_with(2, Options { listen, ..Options::default() }).await;
    assert_eq!(alice.ping(&contact).await, Ok(PONG));
    assert_eq!(bob.asked_by().len(), 1);
}

#[tokio::test]
async fn pushes_come_over_a_stream_that_is_kept_open_until_it_is_not_wanted() {
    let (alice, bob) = (Stub::start(1).await, Stub::start(2).await);
    let listener = async |from: usize| {
        eventually(async || bob.seen.lock().unwrap().listeners.get(from).cloned()).await
    };
    alice.peers.listen(&bob.contact(), true);
    let (peer, pushes) = listener(0).await;
    assert_eq!(peer, alice.key.address());
    pushes.send(waiting(1)).await.unwrap();
    let told = || alice.seen.lock().unwrap().pushed.len();
    eventually(async || (told() == 1).then_some(())).await;
    assert_eq!(alice.seen.lock().unwrap().pushed[0], (bob.key.address(), waiting(1)));

    // The other side ends it: it is opened again.
    drop(pushes);
    bob.seen.lock().unwrap().listeners[0].1 = mpsc::channel(1).0;
    let (_, pushes) = listener(1).await;
    pushes.send(waiting(2)).await.unwrap();
    eventually(async || (told() == 2).then_some(())).await;

    alice.peers.listen(&bob.contact(), false);
    eventually(async || pushes.is_closed().then_some(())).await;
}

/// Believes every certificate, as an attacker would.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
