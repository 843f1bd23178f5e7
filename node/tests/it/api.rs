//! The client API of a running node: over TCP, over its unix socket and inside the process.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use comm_node::Relay;
use comm_node::config::NodeConfig;
use comm_node::rpc::client::client_client::ClientClient;
use comm_proto::acknowledgement::Acknowledgement;
use comm_proto::address::Address;
use comm_proto::envelope::{Envelope, Header, Suite, TTL_DEFAULT};
use comm_proto::grant::Grant;
use comm_proto::key::KeyPair;
use comm_proto::time::{Span, Time};
use comm_proto::wire::client::{self as wire, receive_request, receive_response};
use comm_proto::wire::{client::state::State as WireState, object};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tower::service_fn;

const DEADLINE: Duration = Duration::from_secs(10);
const SERVICE: &str = "comm.client.v1.Client";

/// A node alone on its machine, and the directory that holds its data.
struct Node {
    relay: Relay,
    directory: TempDir,
}

impl Node {
    async fn start() -> Self {
        let directory = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir()
            .unwrap();
        Self::start_in(directory).await
    }

    async fn start_in(directory: TempDir) -> Self {
        let mut config = NodeConfig {
            data_dir: directory.path().to_owned(),
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            ..NodeConfig::default()
        };
        config.api.tcp = Some("127.0.0.1:0".parse().unwrap());
        Self { relay: Relay::start(config).await.unwrap(), directory }
    }

    fn client(&self) -> ClientClient<Channel> {
        ClientClient::new(self.relay.embedded().channel())
    }

    fn address(&self) -> Address {
        self.relay.key().address()
    }

    async fn tcp(&self) -> Channel {
        let place = self.relay.api_tcp().unwrap();
        Endpoint::from_shared(format!("http://{place}")).unwrap().connect().await.unwrap()
    }

    async fn unix(&self) -> Channel {
        let path = self.relay.api_socket().clone();
        let connect = service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://node.invalid").connect_with_connector(connect).await.unwrap()
    }

    fn token(&self) -> String {
        let text = std::fs::read_to_string(self.directory.path().join("api.token")).unwrap();
        text.trim().to_owned()
    }
}

fn now() -> Time {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Time::from_millis(u64::try_from(since.as_millis()).unwrap())
}

pub(crate) fn envelope(mailbox: Address, n: u32) -> Envelope {
    let expires_at = now() + TTL_DEFAULT;
    let header = Header { suite: Suite::ONE, mailbox, expires_at, stamp_nonce: 0 };
    let mut body = vec![0; 1 << 10];
    body[..4].copy_from_slice(&n.to_be_bytes());
    Envelope::new(header, body.into()).unwrap()
}

fn submission(mailbox: Address, n: u32) -> wire::SubmitRequest {
    wire::SubmitRequest { envelope: Some((&envelope(mailbox, n)).into()) }
}

fn word<'a>(status: &'a Status, key: &str) -> &'a str {
    status.metadata().get(key).expect("every error has its words").to_str().unwrap()
}

fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = MetadataValue::try_from(format!("Bearer {token}")).unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

fn status_request() -> wire::GetStatusRequest {
    wire::GetStatusRequest {}
}

#[tokio::test]
async fn tcp_asks_for_the_token_and_refuses_web_pages() {
    let node = Node::start().await;
    let mut client = ClientClient::new(node.tcp().await);
    let refused = client.get_status(status_request()).await.unwrap_err();
    assert_eq!(
        (refused.code(), word(&refused, "comm-code")),
        (Code::Unauthenticated, "unauthenticated")
    );
    let wrong = with_token(status_request(), &"0".repeat(node.token().len()));
    assert_eq!(client.get_status(wrong).await.unwrap_err().code(), Code::Unauthenticated);

    let right = with_token(status_request(), &node.token());
    let status = client.get_status(right).await.unwrap().into_inner();
    assert_eq!(status.node, node.address().as_bytes()[..]);
    assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
    assert!(now().since(Time::from_millis(status.time)) < Span::from_secs(60));

    let mut page = with_token(status_request(), &node.token());
    page.metadata_mut().insert("origin", "http://localhost:3000".parse().unwrap());
    let refused = client.get_status(page).await.unwrap_err();
    assert_eq!(
        (refused.code(), word(&refused, "comm-code")),
        (Code::PermissionDenied, "foreign-origin")
    );
}

#[tokio::test]
async fn the_token_guards_health_and_reflection_too() {
    let node = Node::start().await;
    let mut health = HealthClient::new(node.tcp().await);
    let refused = health.check(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn the_socket_is_its_owners_and_serves_without_token() {
    let node = Node::start().await;
    let mode = std::fs::metadata(node.relay.api_socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut client = ClientClient::new(node.unix().await);
    assert!(client.get_status(status_request()).await.is_ok());
    let mut page = Request::new(status_request());
    page.metadata_mut().insert("origin", "null".parse().unwrap());
    assert_eq!(client.get_status(page).await.unwrap_err().code(), Code::PermissionDenied);
}

/// Asks for the services and for the file of ours in one version of reflection.
macro_rules! reflects {
    ($channel:expr, $version:ident) => {{
        use reflection::server_reflection_request::MessageRequest;
        use reflection::server_reflection_response::MessageResponse;
        use tonic_reflection::pb::$version as reflection;
        let ask = |message| reflection::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message),
        };
        let asked = vec![
            ask(MessageRequest::ListServices(String::new())),
            ask(MessageRequest::FileContainingSymbol(SERVICE.to_owned())),
        ];
        use reflection::server_reflection_client::ServerReflectionClient;
        let mut client = ServerReflectionClient::new($channel);
        let answers = client.server_reflection_info(tokio_stream::iter(asked)).await.unwrap();
        let mut answers = answers.into_inner();
        let listed = answers.message().await.unwrap().unwrap().message_response.unwrap();
        let MessageResponse::ListServicesResponse(services) = listed else { panic!("{listed:?}") };
        assert!(services.service.iter().any(|service| service.name == SERVICE));
        let file = answers.message().await.unwrap().unwrap().message_response.unwrap();
        assert!(matches!(file, MessageResponse::FileDescriptorResponse(_)), "{file:?}");
    }};
}

#[tokio::test]
async fn health_is_serving_and_reflection_knows_the_service() {
    let node = Node::start().await;
    let channel = node.unix().await;
    let mut health = HealthClient::new(channel.clone());
    let check = HealthCheckRequest { service: SERVICE.to_owned() };
    let answer = health.check(check).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);

    reflects!(channel.clone(), v1);
    reflects!(channel, v1alpha);
}

#[tokio::test]
async fn an_envelope_is_accepted_once_and_counted_once() {
    let node = Node::start().await;
    let mut client = node.client();
    let expected = envelope(Address::from_bytes([1; 20]), 1);
    let submission = wire::SubmitRequest { envelope: Some((&expected).into()) };
    for _ in 0..2 {
        let answer = client.submit(submission.clone()).await.unwrap().into_inner();
        assert_eq!(answer.id, expected.id().as_bytes()[..]);
        assert!(matches!(answer.state.unwrap().state, Some(WireState::Accepted(_))));
    }
    let status = client.get_status(status_request()).await.unwrap().into_inner();
    assert_eq!((status.envelopes, status.envelope_bytes), (1, 1 << 10));
}

#[tokio::test]
async fn refusals_have_a_code_for_grpc_and_words_for_programs() {
    let node = Node::start().await;
    let mut client = node.client();
    let empty = client.submit(wire::SubmitRequest::default()).await.unwrap_err();
    assert_eq!(empty.code(), Code::InvalidArgument);
    assert_eq!((word(&empty, "comm-code"), word(&empty, "comm-retry")), ("malformed", "never"));

    let id = Bytes::from_static(&[7; 32]);
    let unknown = client.cancel(wire::CancelRequest { id }).await.unwrap_err();
    assert_eq!((unknown.code(), word(&unknown, "comm-code")), (Code::NotFound, "unknown"));

    let body = Bytes::from(vec![0; 4 << 20]);
    let flood = object::Envelope { version: 1, suite: 1, body, ..object::Envelope::default() };
    let flood = client.submit(wire::SubmitRequest { envelope: Some(flood) }).await.unwrap_err();
    assert_eq!((flood.code(), word(&flood, "comm-code")), (Code::OutOfRange, "too-large"));
}

#[tokio::test]
async fn a_stream_of_submissions_is_answered_one_by_one_and_then_ends() {
    let node = Node::start().await;
    let mut client = node.client();
    const COUNT: u32 = 3_000;
    let mailbox = Address::from_bytes([1; 20]);
    let submissions = (0..COUNT).map(move |n| match n {
        1_000 => wire::SubmitRequest::default(),
        n => submission(mailbox, n),
    });
    let answers = client.submit_stream(tokio_stream::iter(submissions)).await.unwrap();
    let mut answers = answers.into_inner();
    let (mut ids, mut errors) = (std::collections::BTreeSet::new(), Vec::new());
    use wire::submit_stream_response::Result as Answer;
    while let Some(answer) = timeout(DEADLINE, answers.message()).await.unwrap().unwrap() {
        match answer.result.unwrap() {
            Answer::State(_) => assert!(ids.insert(answer.id)),
            Answer::Error(error) => errors.push((answer.id, error.code)),
        }
    }
    assert_eq!(ids.len(), COUNT as usize - 1);
    assert_eq!(errors, [(Bytes::new(), "malformed".to_owned())]);
}

#[tokio::test]
async fn a_node_that_is_dropped_has_let_go_of_its_store() {
    let mut directory = Node::start().await.directory;
    for round in 1..=3 {
        let Node { relay, directory: same } = Node::start_in(directory).await;
        directory = same;
        let mut client = ClientClient::new(relay.embedded().channel());
        let mailbox = Address::from_bytes([round; 20]);
        let submissions = (0..1_000).map(move |n| submission(mailbox, n));
        let answers = client.submit_stream(tokio_stream::iter(submissions)).await.unwrap();
        answers.into_inner().message().await.unwrap().unwrap();
        // With hundreds of submissions under way.
        drop(relay);
    }
    Node::start_in(directory).await;
}

#[tokio::test]
async fn a_watcher_sees_the_state_and_its_change() {
    let node = Node::start().await;
    let mut client = node.client();
    let submitted = client.submit(submission(Address::from_bytes([1; 20]), 1)).await.unwrap();
    let id = submitted.into_inner().id;
    let watch = wire::WatchRequest { ids: vec![id.clone(), Bytes::from_static(&[9; 32])] };
    let mut states = client.watch(watch).await.unwrap().into_inner();
    let mut next = async || timeout(DEADLINE, states.message()).await.unwrap().unwrap().unwrap();
    let first = next().await;
    assert_eq!(first.id, id);
    assert!(matches!(first.state.unwrap().state, Some(WireState::Accepted(_))));
    client.cancel(wire::CancelRequest { id: id.clone() }).await.unwrap();
    let second = next().await;
    assert_eq!(second.id, id);
    assert!(matches!(second.state.unwrap().state, Some(WireState::Cancelled(_))));
}

/// A stream that receives one mailbox.
struct Receiver {
    ask: mpsc::Sender<wire::ReceiveRequest>,
    answers: Streaming<wire::ReceiveResponse>,
}

impl Receiver {
    async fn open(node: &Node, mailbox: &KeyPair, after: u64, credit: u32) -> Self {
        let (ask, asked) = mpsc::channel(64);
        let mut client = node.client();
        let answers = client.receive(ReceiverStream::new(asked)).await.unwrap().into_inner();
        let receiver = Self { ask, answers };
        let grant = Grant::sign(mailbox, node.address(), now() + Span::DAY);
        let grants = vec![(&*grant).into()];
        receiver.ask(receive_request::Request::Open(wire::Open { grants, after, credit })).await;
        receiver
    }

    async fn ask(&self, request: receive_request::Request) {
        self.ask.send(wire::ReceiveRequest { request: Some(request) }).await.unwrap();
    }

    async fn next(&mut self) -> receive_response::Response {
        let answer = timeout(DEADLINE, self.answers.message()).await.expect("nothing comes");
        answer.unwrap().unwrap().response.unwrap()
    }

    async fn next_envelope(&mut self) -> (u64, Bytes) {
        loop {
            match self.next().await {
                receive_response::Response::Envelope(received) => {
                    return (received.cursor, received.envelope.unwrap().body);
                }
                receive_response::Response::CaughtUp(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn what_waits_comes_in_order_within_the_credit_then_what_arrives() {
    let node = Node::start().await;
    let mailbox = KeyPair::from_seed(&[5; 32]);
    let mut client = node.client();
    for n in 0..1_000 {
        client.submit(submission(mailbox.address(), n)).await.unwrap();
    }
    let mut receiver = Receiver::open(&node, &mailbox, 0, 600).await;
    let mut cursor = 0;
    for n in 0..600_u32 {
        let (next, body) = receiver.next_envelope().await;
        assert!(next > cursor);
        assert_eq!(body[..4], n.to_be_bytes());
        cursor = next;
    }
    let more = timeout(Duration::from_millis(200), receiver.answers.message()).await;
    assert!(more.is_err(), "more came than the credit allows");
    receiver.ask(receive_request::Request::Credit(wire::Credit { envelopes: 500 })).await;
    for n in 600..1_000_u32 {
        assert_eq!(receiver.next_envelope().await.1[..4], n.to_be_bytes());
    }
    assert!(matches!(receiver.next().await, receive_response::Response::CaughtUp(_)));
    client.submit(submission(mailbox.address(), 1_000)).await.unwrap();
    assert_eq!(receiver.next_envelope().await.1[..4], 1_000_u32.to_be_bytes());

    let mut returned = Receiver::open(&node, &mailbox, cursor, 1).await;
    assert_eq!(returned.next_envelope().await.1[..4], 600_u32.to_be_bytes());
}

#[tokio::test]
async fn acknowledged_envelopes_are_gone() {
    let node = Node::start().await;
    let mailbox = KeyPair::from_seed(&[5; 32]);
    let mut client = node.client();
    let kept = envelope(mailbox.address(), 1);
    let submission = wire::SubmitRequest { envelope: Some((&kept).into()) };
    let id = client.submit(submission).await.unwrap().into_inner().id;
    let watch = wire::WatchRequest { ids: vec![id] };
    let mut states = client.watch(watch).await.unwrap().into_inner();
    states.message().await.unwrap().unwrap();
    let mut receiver = Receiver::open(&node, &mailbox, 0, 8).await;
    receiver.next_envelope().await;

    let until = kept.expires_at() + Span::DAY;
    let read = Acknowledgement::sign(&mailbox, vec![kept.id()], until).unwrap();
    let acknowledgements = vec![(&*read).into()];
    let acknowledge = wire::Acknowledge { acknowledgements };
    receiver.ask(receive_request::Request::Acknowledge(acknowledge)).await;
    while !matches!(receiver.next().await, receive_response::Response::Acknowledged(_)) {}
    let status = client.get_status(status_request()).await.unwrap().into_inner();
    assert_eq!((status.envelopes, status.tombstones), (0, 1));
    let state = timeout(DEADLINE, states.message()).await.unwrap().unwrap().unwrap();
    assert!(matches!(state.state.unwrap().state, Some(WireState::Delivered(_))));
}

#[tokio::test]
async fn a_stream_that_does_not_begin_by_opening_is_refused() {
    let node = Node::start().await;
    let (ask, asked) = mpsc::channel(1);
    let mut client = node.client();
    let mut answers = client.receive(ReceiverStream::new(asked)).await.unwrap().into_inner();
    let credit = receive_request::Request::Credit(wire::Credit { envelopes: 1 });
    ask.send(wire::ReceiveRequest { request: Some(credit) }).await.unwrap();
    let refused = timeout(DEADLINE, answers.message()).await.unwrap().unwrap_err();
    assert_eq!((refused.code(), word(&refused, "comm-code")), (Code::InvalidArgument, "malformed"));
}

/// F15: messages to a mailbox that somebody has stopped reading take turns with messages to one that
/// nobody has. What another reader waits for them differs by no more than 100 ms, whatever else the
/// machine does: that delays both alike.
#[tokio::test]
async fn a_reader_that_stops_reading_delays_nobody() {
    const WAITING: u32 = 2_000;
    const MORE: u32 = 51;
    let node = Node::start().await;
    let [held_up, free] = [5, 6].map(|seed| KeyPair::from_seed(&[seed; 32]));
    let mut client = node.client();
    for n in 0..WAITING {
        client.submit(submission(held_up.address(), n)).await.unwrap();
    }
    let mut stalled = Receiver::open(&node, &held_up, 0, 4_096).await;
    let mut awake = Receiver::open(&node, &held_up, 0, 4_096).await;
    let mut alone = Receiver::open(&node, &free, 0, 4_096).await;
    for _ in 0..WAITING {
        awake.next_envelope().await;
    }
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for n in WAITING..WAITING + MORE {
        for (mailbox, reader, waits) in
            [(&held_up, &mut awake, &mut with), (&free, &mut alone, &mut without)]
        {
            let begun = Instant::now();
            client.submit(submission(mailbox.address(), n)).await.unwrap();
            reader.next_envelope().await;
            waits.push(begun.elapsed());
        }
    }
    let [with, without] = [with, without].map(|mut waits| {
        waits.sort_unstable();
        waits[waits.len() / 2]
    });
    println!("with a stalled reader {with:?}, without {without:?}");
    assert!(with <= without + Duration::from_millis(100), "{with:?} and {without:?}");
    // And it finds everything when it goes on.
    for n in 0..WAITING + MORE {
        assert_eq!(stalled.next_envelope().await.1[..4], n.to_be_bytes());
    }
}

#[tokio::test]
async fn a_node_that_stops_says_so_and_loses_nothing() {
    let node = Node::start().await;
    let mailbox = KeyPair::from_seed(&[5; 32]);
    let (mut client, mut other) = (node.client(), node.client());
    client.submit(submission(mailbox.address(), 1)).await.unwrap();
    let mut receiver = Receiver::open(&node, &mailbox, 0, 8).await;
    receiver.next_envelope().await;
    let (socket, begun) = (node.relay.api_socket().clone(), Instant::now());
    let Node { relay, directory } = node;
    relay.stop().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(!socket.exists());
    loop {
        match timeout(DEADLINE, receiver.answers.message()).await.unwrap() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ends without a word"),
            Err(ended) => {
                assert_eq!(word(&ended, "comm-code"), "shutting-down");
                break;
            }
        }
    }
    let refused = other.submit(submission(mailbox.address(), 2)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);

    let node = Node::start_in(directory).await;
    let mut receiver = Receiver::open(&node, &mailbox, 0, 8).await;
    assert_eq!(receiver.next_envelope().await.1[..4], 1_u32.to_be_bytes());
}
