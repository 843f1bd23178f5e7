//! Mail is played through two relays, and a collector is told what they do: of which kind, how much, how long,
//! with which result, and nothing of whose mail it was.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use comm_proto::acknowledgement::Acknowledgement;
use comm_proto::envelope::{Envelope, Header, Suite, TTL_DEFAULT};
use comm_proto::grant::Grant;
use comm_proto::key::KeyPair;
use comm_proto::rejection::Rejection;
use comm_proto::time::Span as Time;
use comm_proto::wire::client::{self as wire, receive_request, receive_response};
use data_encoding::{BASE32_NOPAD, BASE64_NOPAD};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::collector::{Attribute, Collector, Span};
use crate::node_process::{self, NodeProcess, contact, data_dir, now, status};

/// How long anything may take on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(120);
/// Told to stop, a node has ended after so long.
const STOPPED_WITHIN: Duration = Duration::from_secs(5);
/// Kinds of requests that a trace may name.
const KINDS: [&str; 21] = [
    "ping",
    "find-node",
    "offer",
    "digest",
    "deliver",
    "peer-acknowledge",
    "receipts",
    "put-card",
    "get-card",
    "peer-publish-card",
    "peer-find-card",
    "dial-back",
    "subscribe",
    "fetch",
    "submit",
    "cancel",
    "acknowledge",
    "publish-card",
    "find-card",
    "get-status",
    "list-peers",
];
/// What must have been told of, by name and kind: each way in and out, and what lies between.
const WANTED: [(&str, Option<&str>); 8] = [
    ("serve", Some("submit")),
    ("serve", Some("acknowledge")),
    ("serve", Some("find-card")),
    ("serve", Some("find-node")),
    ("call", Some("find-node")),
    ("call", Some("offer")),
    ("sync", None),
    ("lookup", None),
];
/// How much of a secret is enough to find it by, in bytes or in letters.
const TELLING: usize = 8;

fn traced(collector: &Collector) -> String {
    format!("--traces-collector=http://{}", collector.place)
}

/// A relay that its operator tells apart from others, and that shows its collector a token.
fn named_relay(dir: &Path, collector: &Collector) -> NodeProcess {
    let args = [
        format!("--data-dir={}", dir.display()),
        "--listen=127.0.0.1:0".to_owned(),
        traced(collector),
    ];
    let environment = [
        ("OTEL_RESOURCE_ATTRIBUTES", Path::new("service.instance.id=the-first")),
        ("OTEL_EXPORTER_OTLP_HEADERS", Path::new("x-token=word")),
    ];
    NodeProcess::spawn_with(dir, &args, &environment)
}

fn envelope_for(mailbox: &KeyPair) -> Envelope {
    let (mailbox, expires_at) = (mailbox.address(), now() + TTL_DEFAULT);
    let header = Header { suite: Suite::ONE, mailbox, expires_at, stamp_nonce: 0 };
    let body = KeyPair::from_seed(&[9; 32]).public().as_bytes().repeat(32);
    Envelope::new(header, body.into()).unwrap()
}

async fn eventually(what: &str, nodes: [&NodeProcess; 2], mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        let logs = nodes.map(NodeProcess::log);
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}\n{}\n{}", logs[0], logs[1]);
        sleep(Duration::from_millis(20)).await;
    }
}

/// The reader of the mailbox comes to this node, and has the envelope as soon as the node does.
async fn read_at(node: &NodeProcess, mailbox: &KeyPair, envelope: &Envelope) {
    let mut client = node.client().await;
    let there = node_process::address(&status(&mut client).await);
    let (ask, asked) = mpsc::channel(1);
    let grant = Grant::sign(mailbox, there, now() + Time::DAY);
    let open = wire::Open { grants: vec![(&*grant).into()], after: 0, credit: 8 };
    let request = Some(receive_request::Request::Open(open));
    ask.send(wire::ReceiveRequest { request }).await.unwrap();
    let mut answers = client.receive(ReceiverStream::new(asked)).await.unwrap().into_inner();
    loop {
        let answer = timeout(PATIENCE, answers.message()).await.expect("nothing comes");
        match answer.unwrap().unwrap().response.unwrap() {
            receive_response::Response::Envelope(one) => {
                assert_eq!(one.envelope.unwrap().body, *envelope.body());
                break;
            }
            receive_response::Response::CaughtUp(_) => {}
            other => panic!("{other:?}"),
        }
    }
    let until = envelope.expires_at() + Time::DAY;
    let read = Acknowledgement::sign(mailbox, vec![envelope.id()], until).unwrap();
    let acknowledgements = vec![(&*read).into()];
    client.acknowledge(wire::AcknowledgeRequest { acknowledgements }).await.unwrap();
}

/// The beginnings and ends of a secret, in every form in which one is written.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let hexadecimal = hex::encode(secret);
    let base32 = BASE32_NOPAD.encode(secret);
    let numbers = secret[..4].iter().map(ToString::to_string).collect::<Vec<_>>();
    let texts = [
        hexadecimal.to_uppercase(),
        hexadecimal,
        base32.to_lowercase(),
        base32,
        BASE64_NOPAD.encode(secret),
    ];
    let whole = texts.into_iter().map(String::into_bytes).chain([secret.to_vec()]);
    let ends =
        |whole: Vec<u8>| [whole[..TELLING].to_vec(), whole[whole.len() - TELLING..].to_vec()];
    whole.flat_map(ends).chain([numbers.join(", ").into_bytes()]).collect()
}

fn found<'a>(bytes: &[u8], forms: &'a [Vec<u8>]) -> Option<&'a [u8]> {
    let is_in = |form: &&Vec<u8>| bytes.windows(form.len()).any(|part| part == **form);
    forms.iter().find(is_in).map(Vec::as_slice)
}

fn is_plain(span: &Span) -> bool {
    let results = (1..=17).map(|code| Rejection::from_code(code).name());
    let results: Vec<_> = results.chain(["leaving", "answered", "done", "failed"]).collect();
    let is_plain = |attribute: &Attribute| match attribute.key.as_str() {
        "kind" => attribute.word().is_some_and(|word| KINDS.contains(&word)),
        "result" => attribute.word().is_some_and(|word| results.contains(&word)),
        "bytes" | "batches" | "queries" | "answered" => attribute.is_count(),
        _ => false,
    };
    ["serve", "call", "sync", "lookup"].contains(&span.name.as_str())
        && span.attributes.iter().all(is_plain)
        && span.parent.is_empty()
        && span.events.is_empty()
        && span.links.is_empty()
        && span.start <= span.end
}

/// Every name that a node gives to somebody, of all who have to do with it.
fn names(nodes: [(&NodeProcess, &Path); 2], places: &[String]) -> Vec<Vec<u8>> {
    let mut names: Vec<_> = places.iter().map(|place| place.clone().into_bytes()).collect();
    names.extend([b"127.0.0.1".to_vec(), b"localhost".to_vec()]);
    for (node, dir) in nodes {
        let seed = std::fs::read_to_string(dir.join("node.key")).unwrap();
        let seed: [u8; 32] = hex::decode(seed.trim()).unwrap().try_into().unwrap();
        let key = KeyPair::from_seed(&seed);
        assert!(node.log().contains(&key.address().to_string()), "it is the node's key");
        names.extend(forms(&seed));
        names.extend(forms(key.public().as_bytes()));
        names.extend(forms(key.address().as_bytes()));
    }
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_is_told_what_relays_do_and_never_for_whom() {
    let (collector, dirs) = (Collector::start().await, [data_dir(), data_dir()]);
    let first = named_relay(dirs[0].path(), &collector);
    let there = contact(&status(&mut first.client().await).await, dirs[0].path());
    let place = there.endpoints()[0].to_string();
    let args = [traced(&collector), format!("--bootstrap={place}")];
    let second = NodeProcess::spawn(dirs[1].path(), &args);
    let both = [&first, &second];
    eventually("the relays know each other", both, async || {
        let first = status(&mut first.client().await).await.peers;
        first == 1 && status(&mut second.client().await).await.peers == 1
    })
    .await;

    let mailbox = KeyPair::from_seed(&[5; 32]);
    let envelope = envelope_for(&mailbox);
    let mut client = first.client().await;
    let submitted = wire::SubmitRequest { envelope: Some((&envelope).into()) };
    client.submit(submitted).await.unwrap();
    let contact = KeyPair::from_seed(&[6; 32]).address();
    let owner = contact.as_bytes().to_vec().into();
    client.find_card(wire::FindCardRequest { owner }).await.unwrap();
    read_at(&second, &mailbox, &envelope).await;
    eventually("both know that it was read", both, async || {
        let first = status(&mut first.client().await).await.envelopes;
        first == 0 && status(&mut second.client().await).await.envelopes == 0
    })
    .await;
    let told = |(name, kind): &(&str, Option<&str>)| {
        collector.spans().iter().any(|span| span.name == *name && span.word("kind") == *kind)
    };
    eventually("the collector was told", both, async || WANTED.iter().all(told)).await;
    let names = names([(&first, dirs[0].path()), (&second, dirs[1].path())], &[place]);
    for node in both {
        node.signal("-TERM");
        let (code, took) = node.ended();
        assert_eq!(code, Some(0), "{}", node.log());
        assert!(took < STOPPED_WITHIN, "{took:?}");
        assert!(!node.log().contains("traces do not reach"), "{}", node.log());
    }

    let spans = collector.spans();
    println!("{} spans in {} messages", spans.len(), collector.bytes().len());
    assert!(spans.iter().all(is_plain), "{spans:?}");
    let submit = spans.iter().find(|span| span.word("kind") == Some("submit")).unwrap();
    assert_eq!(submit.word("result"), Some("answered"));
    assert!(submit.count("bytes").unwrap() > 1 << 10, "{submit:?}");
    let tellers: BTreeSet<_> = collector.tellers().into_iter().map(|one| one.key).collect();
    let known = ["service.instance.id", "service.name", "service.version"];
    assert_eq!(tellers.into_iter().collect::<Vec<_>>(), known);

    let (address, key, id) = (mailbox.address(), mailbox.public(), envelope.id());
    let secrets = [
        &address.as_bytes()[..],
        key.as_bytes(),
        id.as_bytes(),
        &envelope.body()[..32],
        contact.as_bytes(),
    ];
    let forms = [secrets.into_iter().flat_map(forms).collect(), names].concat();
    for bytes in collector.bytes() {
        assert_eq!(found(&bytes, &forms).map(String::from_utf8_lossy), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_tells_relays_apart_and_shows_the_collector_a_token_by_the_usual_variables() {
    let (collector, dir) = (Collector::start().await, data_dir());
    let relay = named_relay(dir.path(), &collector);
    eventually("the collector was told", [&relay; 2], async || {
        status(&mut relay.client().await).await;
        !collector.spans().is_empty()
    })
    .await;
    assert_eq!(collector.header("x-token").as_deref(), Some("word"));
    let tellers = collector.tellers();
    let word = |key| tellers.iter().find(|one| one.key == key).and_then(Attribute::word);
    assert_eq!(word("service.instance.id"), Some("the-first"));
    assert_eq!(word("service.name"), Some("comm-node"));
    assert_eq!(word("service.version"), Some(env!("CARGO_PKG_VERSION")));
}

/// Else the search above would find nothing in anything.
#[test]
fn a_secret_is_found_in_every_form_and_also_if_a_part_of_it_stands_there() {
    let secret = KeyPair::from_seed(&[7; 32]).address();
    let forms = forms(secret.as_bytes());
    let text = secret.to_string();
    for told in [
        secret.as_bytes().to_vec(),
        format!("to={text} ").into_bytes(),
        format!("to={}… ", &text[..8]).into_bytes(),
        format!("…{}", &text[text.len() - 8..]).into_bytes(),
        format!("{:?}", secret.as_bytes()).into_bytes(),
        BASE32_NOPAD.encode(secret.as_bytes()).into_bytes(),
        BASE64_NOPAD.encode(secret.as_bytes()).into_bytes(),
    ] {
        assert!(found(&told, &forms).is_some(), "{}", String::from_utf8_lossy(&told));
    }
    assert_eq!(found(b"to=somebody, who is nobody in particular", &forms), None);
}
