//! What programs on the same machine may try over the client API.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use comm_node::rpc::client::client_client::ClientClient;
use comm_proto::address::Address;
use comm_proto::envelope::EnvelopeId;
use comm_proto::time::Span;
use comm_proto::wire::client::{self as wire, receive_request, submit_stream_response};
use comm_proto::wire::{FRAME_BYTES_MAX, object};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::honest::Honest;
use super::{Case, Target, forge, key, make_all};

const PATIENCE: Duration = Duration::from_secs(20);
/// The node's bound on streams of clients.
const SESSIONS_MAX: usize = 64;

/// Who calls.
#[derive(Clone)]
struct Program {
    channel: Channel,
    target: Arc<Target>,
}

/// One call of the client API.
#[derive(Clone)]
pub(super) enum Call {
    Submit(object::Envelope),
    Stream(Vec<object::Envelope>),
    Cancel(Bytes),
    Watch(Vec<Bytes>),
    Receive(Vec<receive_request::Request>),
    Acknowledge(Vec<object::Acknowledgement>),
    PublishCard(object::Card),
    FindCard(Bytes),
    /// Bytes that are no message.
    Nonsense(&'static str, Bytes),
}

/// Tries everything, over and over.
pub(super) async fn attack(target: &Arc<Target>, honest: &Honest) {
    let program = Program { channel: target.node.connect().await, target: Arc::clone(target) };
    let cases = acknowledgements(honest)
        .into_iter()
        .chain(envelopes())
        .chain(cards(honest))
        .chain(mailboxes(target, honest))
        .chain(rest(honest));
    make_all(cases.collect(), target, &[program], refused).await;
}

/// More streams than the node has places for: those that have one keep it, others are refused.
pub(super) async fn flood_sessions(target: &Arc<Target>) {
    let mut client = target.node.client().await;
    let watch = || wire::WatchRequest { ids: forge::ids(1) };
    let (mut held, mut busy) = (Vec::new(), 0);
    while busy < 200 {
        match client.watch(watch()).await {
            Ok(stream) => held.push(stream),
            Err(status) => {
                assert_eq!(word(&status), "busy");
                busy += 1;
            }
        }
    }
    assert!(held.len() <= SESSIONS_MAX, "{} streams are open", held.len());
    target.ledger.note("busy", busy + held.len() as u64, busy);
    drop(held);
    // There is room again as soon as the node has noticed.
    let again = async { while client.watch(watch()).await.is_err() {} };
    let before = super::ledger::counted(target.metrics)["busy"];
    timeout(PATIENCE, again).await.expect("the places are never free again");
    let after = super::ledger::counted(target.metrics)["busy"];
    target.ledger.note("busy", after - before, after - before);
}

fn acknowledgements(honest: &Honest) -> Vec<Case<Call>> {
    let case = |what, reason, calls, forge: fn(&Honest, u64) -> Vec<object::Acknowledgement>| {
        let honest = honest.clone();
        Case::new(what, reason, calls, move |n| Call::Acknowledge(forge(&honest, n)))
    };
    vec![
        case("a stranger acknowledges", "not-the-mailbox", 1_000, |honest, n| {
            vec![forge::acknowledgement(&key(66), &[one(honest, n)], forge::in_days(20))]
        }),
        case("a stranger acknowledges many at once", "not-the-mailbox", 100, |honest, n| {
            let from = n as usize % (honest.ids.len() - 64);
            let ids = &honest.ids[from..from + 64];
            vec![forge::acknowledgement(&key(67), ids, forge::in_days(20))]
        })
        .counted(64),
        case("a changed signature", "signature", 500, |honest, n| {
            let mut forged = own(honest, n);
            forged.signature = forge::flipped(&forged.signature);
            vec![forged]
        }),
        case("the owner's word about other envelopes", "signature", 500, |honest, n| {
            let mut forged =
                forge::acknowledgement(&honest.mailbox, &[unknown(n)], forge::in_days(20));
            forged.ids = vec![Bytes::copy_from_slice(one(honest, n).as_bytes())];
            vec![forged]
        }),
        case("the owner's key and a stranger's signature", "signature", 500, |honest, n| {
            let mut forged =
                forge::acknowledgement(&key(66), &[one(honest, n)], forge::in_days(20));
            forged.mailbox_key = Bytes::copy_from_slice(honest.mailbox.public().as_bytes());
            vec![forged]
        }),
        case("an old one", "expired", 200, |honest, n| {
            let at = forge::ago(Span::from_secs(1));
            vec![forge::acknowledgement(&honest.mailbox, &[one(honest, n)], at)]
        }),
        case("one that ends before its envelope", "expired", 200, |honest, n| {
            vec![forge::acknowledgement(&honest.mailbox, &[one(honest, n)], forge::in_days(1))]
        }),
        case("one for ever", "ttl-too-long", 100, |honest, n| {
            vec![forge::acknowledgement(&honest.mailbox, &[one(honest, n)], forge::in_days(40))]
        }),
        case("one of nothing", "malformed", 50, |honest, n| {
            vec![object::Acknowledgement { ids: Vec::new(), ..own(honest, n) }]
        }),
        case("one with too many ids", "too-large", 50, |honest, n| {
            vec![object::Acknowledgement { ids: forge::ids(65), ..own(honest, n) }]
        }),
        case("too many of them", "too-large", 50, |honest, n| {
            let stranger = [one(honest, n)];
            vec![forge::acknowledgement(&key(66), &stranger, forge::in_days(20)); 65]
        }),
        case("a short key", "malformed", 50, |honest, n| {
            vec![object::Acknowledgement { mailbox_key: vec![1; 31].into(), ..own(honest, n) }]
        }),
        case("a long id", "malformed", 50, |honest, n| {
            vec![object::Acknowledgement { ids: vec![vec![1; 33].into()], ..own(honest, n) }]
        }),
    ]
}

fn envelopes() -> Vec<Case<Call>> {
    let case = |what, reason, calls, forge: fn(u64) -> object::Envelope| {
        Case::new(what, reason, calls, move |n| Call::Submit(forge(n)))
    };
    let mut cases = vec![
        case("no envelope", "version", 100, |_| object::Envelope::default()),
        case("an unknown version", "version", 200, |n| object::Envelope {
            version: [0, 2, 255, u32::MAX][n as usize % 4],
            ..whole(n)
        }),
        case("a suite that is no byte", "malformed", 50, |n| object::Envelope {
            suite: 256,
            ..whole(n)
        }),
        case("a short mailbox", "malformed", 100, |n| object::Envelope {
            mailbox: vec![1; 19].into(),
            ..whole(n)
        }),
        case("an envelope that has expired", "expired", 300, |n| object::Envelope {
            expires_at: forge::ago(Span::from_millis(n * 1_000)).as_millis(),
            ..whole(n)
        }),
        case("an envelope of the beginning of time", "expired", 50, |n| object::Envelope {
            expires_at: 0,
            ..whole(n)
        }),
        case("an envelope for too long", "ttl-too-long", 300, |n| object::Envelope {
            expires_at: forge::in_days(31 + n).as_millis(),
            ..whole(n)
        }),
        case("an envelope for ever", "ttl-too-long", 50, |n| object::Envelope {
            expires_at: u64::MAX,
            ..whole(n)
        }),
        case("a frame that is too large", "too-large", 30, |_| {
            forge::envelope(Address::from_bytes([1; 20]), 0, forge::in_days(1), FRAME_BYTES_MAX)
        }),
    ];
    cases.push(case("a body of another length", "size", 500, |n| object::Envelope {
        body: vec![1; [0, 1, 1_023, 1_025, 65_279, 65_281, 70_000][n as usize % 7]].into(),
        ..whole(n)
    }));
    let stream = |n| {
        let lengths = [1_023, 1_025, 0, 4_097, 16_383, 65_281, 3, 4, 5, 6];
        let body = |len: &usize| object::Envelope { body: vec![1; *len].into(), ..whole(n) };
        Call::Stream(lengths.iter().map(body).collect())
    };
    cases.push(Case::new("a stream of wrong bodies", "size", 50, stream).counted(10));
    cases
}

fn cards(honest: &Honest) -> Vec<Case<Call>> {
    let case = |what, reason, calls, forge: fn(&Honest, u64) -> object::Card| {
        let honest = honest.clone();
        Case::new(what, reason, calls, move |n| Call::PublishCard(forge(&honest, n)))
    };
    vec![
        case("a card with a changed signature", "signature", 200, |honest, _| object::Card {
            card: forge::flipped(&honest.card.card),
        }),
        case("a card with a changed prekey", "signature", 200, |honest, n| {
            let mut card = honest.card.card.to_vec();
            // Within the 32 bytes of its only prekey, which its date and the signature follow.
            let at = card.len() - 64 - 8 - 1 - n as usize % 32;
            card[at] ^= 1;
            object::Card { card: card.into() }
        }),
        case("an older card", "stale-card", 200, |honest, n| {
            let at = honest.issued_at.as_millis() - 1 - n;
            forge::card(&key(2), comm_proto::time::Time::from_millis(at))
        }),
        case("a card of tomorrow", "from-future", 100, |_, _| {
            forge::card(&key(2), forge::in_days(1))
        }),
        case("a card that is over", "expired", 100, |_, _| {
            forge::card(&key(2), forge::ago(Span::from_days(21)))
        }),
        case("a card that is too large", "too-large", 50, |_, _| object::Card {
            card: vec![1; 17 << 10].into(),
        }),
        case("no card at all", "malformed", 100, |honest, n| object::Card {
            card: honest.card.card.slice(..n as usize),
        }),
    ]
}

fn mailboxes(target: &Target, honest: &Honest) -> Vec<Case<Call>> {
    let node = target.address;
    let case = |what, reason, calls, forge: fn(&Honest, Address) -> Vec<object::Grant>| {
        let honest = honest.clone();
        Case::new(what, reason, calls, move |_| {
            let grants = forge(&honest, node);
            let open = wire::Open { grants, after: 0, credit: 1 };
            Call::Receive(vec![receive_request::Request::Open(open)])
        })
    };
    let then = |what, reason, calls, honest: &Honest, next: fn(&Honest, u64) -> _| {
        let honest = honest.clone();
        Case::new(what, reason, calls, move |n| {
            // A mailbox of the client's own, so that nobody else's envelopes are asked for.
            let grants = vec![forge::grant(&key(66), node, forge::in_days(1))];
            let open = wire::Open { grants, after: 0, credit: 1 };
            Call::Receive(vec![receive_request::Request::Open(open), next(&honest, n)])
        })
    };
    vec![
        case("a grant with a changed signature", "signature", 100, |honest, node| {
            let grant = forge::grant(&honest.mailbox, node, forge::in_days(1));
            vec![object::Grant { signature: forge::flipped(&grant.signature), ..grant }]
        }),
        case("a stranger's grant for another's mailbox", "signature", 100, |honest, node| {
            let grant = forge::grant(&key(66), node, forge::in_days(1));
            let mailbox_key = Bytes::copy_from_slice(honest.mailbox.public().as_bytes());
            vec![object::Grant { mailbox_key, ..grant }]
        }),
        case("a grant that is over", "expired", 50, |honest, node| {
            vec![forge::grant(&honest.mailbox, node, forge::ago(Span::HOUR))]
        }),
        case("a grant for too long", "ttl-too-long", 50, |honest, node| {
            vec![forge::grant(&honest.mailbox, node, forge::in_days(40))]
        }),
        case("too many grants", "too-large", 20, |honest, node| {
            vec![forge::grant(&honest.mailbox, node, forge::in_days(1)); 65]
        }),
        then("no credit", "malformed", 50, honest, |_, _| {
            receive_request::Request::Credit(wire::Credit { envelopes: 0 })
        }),
        then("too much credit", "too-large", 50, honest, |_, _| {
            receive_request::Request::Credit(wire::Credit { envelopes: u32::MAX })
        }),
        then("a forged acknowledgement in a stream", "signature", 100, honest, |honest, n| {
            let mut forged = own(honest, n);
            forged.signature = forge::flipped(&forged.signature);
            acknowledge(forged)
        }),
        then("a stranger acknowledges in a stream", "not-the-mailbox", 100, honest, |honest, n| {
            acknowledge(forge::acknowledgement(&key(66), &[one(honest, n)], forge::in_days(20)))
        }),
        Case::new("a stream that opens nothing", "malformed", 50, |_| {
            Call::Receive(vec![receive_request::Request::Credit(wire::Credit { envelopes: 1 })])
        }),
    ]
}

fn rest(honest: &Honest) -> Vec<Case<Call>> {
    // Those that came from another node are not this one's to cancel.
    let delivered = Bytes::copy_from_slice(honest.ids.last().unwrap().as_bytes());
    let cancelled = move |n: u64| match n % 2 {
        0 => Call::Cancel(delivered.clone()),
        _ => Call::Cancel(forge::id(n)),
    };
    vec![
        Case::new("cancelling what is not the client's", "unknown", 400, cancelled),
        Case::new("cancelling nothing", "malformed", 50, |_| Call::Cancel(Bytes::new())),
        Case::new("watching too many", "too-large", 50, |_| Call::Watch(forge::ids(257))),
        Case::new("watching no ids", "malformed", 50, |_| {
            Call::Watch(vec![Bytes::from_static(&[1; 31])])
        }),
        Case::new("a short owner", "malformed", 50, |_| Call::FindCard(Bytes::from_static(&[1]))),
        Case::new("a frame that is no message", "malformed", 200, |_| {
            Call::Nonsense("/comm.client.v1.Client/Submit", vec![0xff; 32].into())
        }),
        Case::new("a call that does not exist", "unimplemented", 100, |_| {
            Call::Nonsense("/comm.client.v1.Client/DeleteEverything", Bytes::new())
        }),
    ]
}

/// One envelope of the honest.
fn one(honest: &Honest, n: u64) -> EnvelopeId {
    honest.ids[n as usize % honest.ids.len()]
}

fn unknown(n: u64) -> EnvelopeId {
    EnvelopeId::from_bytes(forge::id(n)[..].try_into().unwrap())
}

/// An acknowledgement that would count.
fn own(honest: &Honest, n: u64) -> object::Acknowledgement {
    forge::acknowledgement(&honest.mailbox, &[one(honest, n)], honest.expires_at + Span::DAY)
}

fn acknowledge(one: object::Acknowledgement) -> receive_request::Request {
    receive_request::Request::Acknowledge(wire::Acknowledge { acknowledgements: vec![one] })
}

/// An envelope that would be taken.
fn whole(n: u64) -> object::Envelope {
    forge::envelope(Address::from_bytes([1; 20]), n, forge::in_days(1), 1 << 10)
}

/// Makes a call that must be refused for this reason. The places of streams that have ended are free
/// again only when the node has noticed; until then it is busy, and says and counts that.
async fn refused(program: Program, call: Call, reason: &'static str) -> Result<(), String> {
    loop {
        let made = timeout(PATIENCE, make(program.channel.clone(), call.clone())).await;
        match made.map_err(|_| "there is no answer".to_owned())? {
            Err(status) if word(&status) == reason => return Ok(()),
            Err(status) if word(&status) == "busy" => program.target.ledger.note("busy", 1, 1),
            Err(status) => return Err(format!("{status:?}")),
            Ok(()) => return Err("it is done".to_owned()),
        }
    }
}

async fn make(channel: Channel, call: Call) -> Result<(), Status> {
    let mut client = ClientClient::new(channel.clone());
    match call {
        Call::Submit(envelope) => {
            client.submit(wire::SubmitRequest { envelope: Some(envelope) }).await.map(|_| ())
        }
        Call::Stream(envelopes) => stream(client, envelopes).await,
        Call::Cancel(id) => client.cancel(wire::CancelRequest { id }).await.map(|_| ()),
        Call::Watch(ids) => client.watch(wire::WatchRequest { ids }).await.map(|_| ()),
        Call::Receive(requests) => receive(client, requests).await,
        Call::Acknowledge(acknowledgements) => {
            client.acknowledge(wire::AcknowledgeRequest { acknowledgements }).await.map(|_| ())
        }
        Call::PublishCard(card) => {
            let request = wire::PublishCardRequest { card: Some(card) };
            client.publish_card(request).await.map(|_| ())
        }
        Call::FindCard(owner) => {
            client.find_card(wire::FindCardRequest { owner }).await.map(|_| ())
        }
        Call::Nonsense(path, id) => {
            let mut grpc = tonic::client::Grpc::new(channel);
            grpc.ready().await.unwrap();
            let codec = ProstCodec::<wire::CancelRequest, wire::CancelResponse>::default();
            let nonsense = Request::new(wire::CancelRequest { id });
            grpc.unary(nonsense, PathAndQuery::from_static(path), codec).await.map(|_| ())
        }
    }
}

/// Every answer must be a refusal; the stream's is the first.
async fn stream(
    mut client: ClientClient<Channel>,
    envelopes: Vec<object::Envelope>,
) -> Result<(), Status> {
    let count = envelopes.len();
    let requests = envelopes.into_iter().map(|one| wire::SubmitRequest { envelope: Some(one) });
    let requests: Vec<_> = requests.collect();
    let answers = client.submit_stream(tokio_stream::iter(requests)).await?;
    let (mut answers, mut words) = (answers.into_inner(), Vec::new());
    while let Some(answer) = answers.message().await? {
        match answer.result {
            Some(submit_stream_response::Result::Error(error)) => words.push(error.code),
            _ => return Ok(()),
        }
    }
    if words.len() != count || words.iter().any(|word| *word != words[0]) {
        return Err(Status::internal(format!("{words:?}")));
    }
    let mut status = Status::invalid_argument("every one is refused");
    status.metadata_mut().insert("comm-code", words[0].parse().unwrap());
    Err(status)
}

async fn receive(
    mut client: ClientClient<Channel>,
    requests: Vec<receive_request::Request>,
) -> Result<(), Status> {
    let (ask, asked) = mpsc::channel(requests.len());
    for request in requests {
        ask.try_send(wire::ReceiveRequest { request: Some(request) }).unwrap();
    }
    let mut answers = client.receive(ReceiverStream::new(asked)).await?.into_inner();
    // Kept until the answer is there: whoever closes asks no more.
    while answers.message().await?.is_some() {}
    drop(ask);
    Ok(())
}

fn word(status: &Status) -> &str {
    status.metadata().get("comm-code").map_or("", |word| word.to_str().unwrap())
}
