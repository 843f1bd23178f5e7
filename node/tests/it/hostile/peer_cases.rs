//! What other nodes may try over links whose keys are real.

use std::sync::Arc;

use bytes::Bytes;
use comm_proto::address::Address;
use comm_proto::envelope::{EnvelopeId, SizeClass, TTL_DEFAULT};
use comm_proto::time::{Span, Time};
use comm_proto::wire::{FRAME_BYTES_MAX, object, peer};
use peer::request::Request;
use peer::response::Response;

use super::honest::Honest;
use super::link::Attacker;
use super::{Case, Target, forge, key, make_all};
use crate::node_process::now;

/// One call over a link, and what must come of it.
pub(super) enum Call {
    /// To be refused.
    Refused(Request),
    /// To be answered, though what it says counts for nothing.
    Idle(Request),
    /// A delivery, each envelope of which is to be refused.
    Each(Vec<object::Envelope>),
    /// Of another network or none.
    Foreign(Option<&'static str>, Request),
    /// Bytes that are no message.
    Nonsense(Bytes),
}

/// Tries everything, over and over, from several places with several keys.
pub(super) async fn attack(target: &Arc<Target>, honest: &Honest) {
    let mut attackers = Vec::new();
    for n in 0..4 {
        attackers.push(Attacker::connect(target, 30 + n, 130 + n).await);
    }
    let cases = acknowledgements(honest)
        .into_iter()
        .chain(deliveries())
        .chain(cards(honest))
        .chain(mailboxes(target, honest))
        .chain(receipts(honest))
        .chain(rest());
    make_all(cases.collect(), target, &attackers, call).await;
    for network in [None, Some("main"), Some("tes")] {
        let refused = attackers[0].of_network(network).listen().await;
        assert!(refused.unwrap_err().contains("another network"));
        target.ledger.note("other-network", 1, 1);
    }
    assert_eq!(attackers[0].listen().await, Ok(()));
}

/// More bytes than one source may send, more subscribers than a mailbox may have, and a storm of
/// questions that are none too many.
pub(super) async fn flood(target: &Arc<Target>, honest: &Honest) {
    let flooder = Attacker::connect(target, 60, 160).await;
    // 160 MiB at once are let in, then 16 in each second.
    let body = SizeClass::K64.body_len();
    let envelope = forge::envelope(Address::from_bytes([1; 20]), 0, Time::ZERO, body);
    let (mut expired, mut busy) = (0, 0);
    while busy < 50 {
        let envelopes = vec![envelope.clone(); 16];
        match flooder.ask(Request::Deliver(peer::Deliver { envelopes })).await {
            Ok(Response::Delivered(answer)) => expired += answer.refused.len() as u64,
            Err(reason) if reason == "busy" => busy += 1,
            other => panic!("{other:?}"),
        }
        assert!(expired < 16 * 4_000, "nobody stops the flood");
    }
    target.ledger.note("busy", busy, busy);
    target.ledger.note("expired", expired / 16, expired);

    let mailbox = &honest.mailbox;
    let mut taken = Vec::new();
    for n in 0..20 {
        let subscriber = Attacker::connect(target, 61, 170 + n).await;
        let grant = forge::grant(mailbox, key(170 + n).address(), forge::in_days(1));
        let subscribe = peer::Subscribe { grants: vec![grant], after: 0 };
        match subscriber.ask(Request::Subscribe(subscribe)).await {
            Ok(_) => taken.push(subscriber),
            Err(reason) => {
                assert_eq!(reason, "busy");
                target.ledger.note("busy", 1, 1);
            }
        }
    }
    assert_eq!(taken.len(), 16);
    // Whoever asks for nodes gets those that the node has talked to, which are none.
    for n in 0..1_000 {
        let target = Bytes::copy_from_slice(&forge::id(n)[..20]);
        let answer = taken[n as usize % 16].ask(Request::FindNode(peer::FindNode { target })).await;
        assert_eq!(answer, Ok(Response::Nodes(peer::Nodes { contacts: Vec::new() })));
    }
    target.ledger.note("busy", 1_000, 0);
}

fn acknowledgements(honest: &Honest) -> Vec<Case<Call>> {
    let request = |acknowledgements| Request::Acknowledge(peer::Acknowledge { acknowledgements });
    let (a, b, c, d) = (honest.clone(), honest.clone(), honest.clone(), honest.clone());
    vec![
        // Others in the same message may count, so the message itself is not refused.
        Case::new("strangers acknowledge", "not-the-mailbox", 200, move |_| {
            let until = forge::in_days(20);
            let strangers =
                (100..110).map(|seed| forge::acknowledgement(&key(seed), &a.ids[..8], until));
            Call::Idle(request(strangers.collect()))
        })
        .counted(80),
        Case::new("a changed signature", "signature", 500, move |n| {
            let mut forged = own(&b, n);
            forged.signature = forge::flipped(&forged.signature);
            Call::Refused(request(vec![own(&b, n + 1), forged]))
        }),
        Case::new("one acknowledgement for another envelope", "signature", 500, move |n| {
            let mut forged = own(&c, n);
            forged.ids = vec![Bytes::copy_from_slice(one(&c, n + 1).as_bytes())];
            Call::Refused(request(vec![forged]))
        }),
        Case::new("one that ends before its envelope", "expired", 100, move |n| {
            let early = forge::acknowledgement(&d.mailbox, &[one(&d, n)], forge::in_days(1));
            Call::Idle(request(vec![early]))
        }),
        Case::new("too many of them", "too-large", 20, move |_| {
            let one = forge::acknowledgement(&key(66), &[EnvelopeId::from_bytes([1; 32])], now());
            Call::Refused(request(vec![one; 65]))
        }),
    ]
}

fn deliveries() -> Vec<Case<Call>> {
    let mailbox = Address::from_bytes([1; 20]);
    let whole = move |n, len| forge::envelope(mailbox, n, now() + TTL_DEFAULT, len);
    let deliver = |envelopes| Call::Refused(Request::Deliver(peer::Deliver { envelopes }));
    vec![
        Case::new("expired ones", "expired", 50, move |n| {
            let old = |n| object::Envelope { expires_at: n, ..whole(n, 1 << 10) };
            Call::Each((n * 8..n * 8 + 8).map(old).collect())
        })
        .counted(8),
        Case::new("ones for ever", "ttl-too-long", 50, move |n| {
            let old = |n| object::Envelope { expires_at: u64::MAX - n, ..whole(n, 1 << 10) };
            Call::Each((n * 8..n * 8 + 8).map(old).collect())
        })
        .counted(8),
        Case::new("a body of another length", "size", 300, move |n| {
            deliver(vec![whole(n, 1 << 10), whole(n, [0, 1, 1_023, 65_281][n as usize % 4])])
        }),
        Case::new("an unknown version", "version", 200, move |n| {
            deliver(vec![object::Envelope { version: 2, ..whole(n, 1 << 10) }])
        }),
        Case::new("nothing", "malformed", 50, move |_| deliver(Vec::new())),
        Case::new("too many", "too-large", 20, move |_| deliver(vec![whole(0, 1 << 10); 65])),
        Case::new("too many bytes", "too-large", 10, move |_| {
            deliver(vec![whole(0, SizeClass::K64.body_len()); 17])
        }),
        Case::new("a frame that is too large", "too-large", 10, move |_| {
            deliver(vec![whole(0, FRAME_BYTES_MAX)])
        }),
    ]
}

fn cards(honest: &Honest) -> Vec<Case<Call>> {
    let put = |card| Call::Refused(Request::PutCard(peer::PutCard { card: Some(card) }));
    let (a, b) = (honest.clone(), honest.clone());
    vec![
        Case::new("a card with a changed signature", "signature", 200, move |_| {
            put(object::Card { card: forge::flipped(&a.card.card) })
        }),
        Case::new("an older card", "stale-card", 200, move |n| {
            put(forge::card(&key(2), Time::from_millis(b.issued_at.as_millis() - n)))
        }),
        Case::new("a card of tomorrow", "from-future", 100, move |_| {
            put(forge::card(&key(2), forge::in_days(1)))
        }),
        Case::new("a card that is over", "expired", 100, move |_| {
            put(forge::card(&key(2), forge::ago(Span::from_days(21))))
        }),
        Case::new("no card", "malformed", 50, move |_| put(object::Card { card: Bytes::new() })),
    ]
}

fn mailboxes(target: &Target, honest: &Honest) -> Vec<Case<Call>> {
    let subscribe =
        |grants| Call::Refused(Request::Subscribe(peer::Subscribe { grants, after: 0 }));
    let fetch = |ids| Call::Refused(Request::Fetch(peer::Fetch { ids }));
    let (node, a, b, c, d) =
        (target.address, honest.clone(), honest.clone(), honest.clone(), honest.clone());
    // A grant of the honest for a node that is none of the attackers.
    let others = forge::grant(&honest.mailbox, key(99).address(), forge::in_days(1));
    vec![
        Case::new("another node's grant", "not-granted", 500, move |_| {
            subscribe(vec![others.clone()])
        }),
        Case::new("a grant with a changed collector", "signature", 200, move |n| {
            let grant = forge::grant(&a.mailbox, key(99).address(), forge::in_days(1));
            // In the name of whoever asks: attackers take turns.
            let own = key(130 + (n % 4) as u8).address();
            let collector = Bytes::copy_from_slice(own.as_bytes());
            subscribe(vec![object::Grant { collector, ..grant }])
        }),
        Case::new("a grant that is over", "expired", 100, move |_| {
            subscribe(vec![forge::grant(&b.mailbox, node, forge::ago(Span::HOUR))])
        }),
        Case::new("too many grants", "too-large", 20, move |_| {
            subscribe(vec![forge::grant(&c.mailbox, node, forge::in_days(1)); 65])
        }),
        Case::new("bodies without a subscription", "not-granted", 500, move |n| {
            fetch(vec![Bytes::copy_from_slice(one(&d, n).as_bytes())])
        }),
        Case::new("too many bodies", "too-large", 50, move |_| fetch(forge::ids(65))),
        Case::new("no bodies", "malformed", 50, move |_| fetch(Vec::new())),
    ]
}

fn receipts(honest: &Honest) -> Vec<Case<Call>> {
    let request = |receipts| Request::Receipts(peer::Receipts { receipts });
    let (a, b) = (honest.clone(), honest.clone());
    vec![
        Case::new("a receipt with a changed signature", "signature", 200, move |n| {
            let mut forged = forge::receipt(&key(130), &[one(&a, n)], now());
            forged.signature = forge::flipped(&forged.signature);
            Call::Refused(request(vec![forged]))
        }),
        // It is a receipt indeed, but of nodes that were never given the envelope.
        Case::new("receipts of strangers", "not-granted", 200, move |n| {
            Call::Idle(request(vec![forge::receipt(&key(130), &[one(&b, n)], now())]))
        }),
        Case::new("a receipt of tomorrow", "from-future", 100, move |_| {
            let id = EnvelopeId::from_bytes([1; 32]);
            Call::Refused(request(vec![forge::receipt(&key(130), &[id], forge::in_days(1))]))
        }),
    ]
}

fn rest() -> Vec<Case<Call>> {
    let refused = |what, reason, calls, make: fn(u64) -> Request| {
        Case::new(what, reason, calls, move |n| Call::Refused(make(n)))
    };
    let foreign = |n: u64| {
        let network = [None, Some("main"), Some("tes"), Some("testing"), Some("TEST")];
        let ping = Request::Ping(peer::Ping { endpoints: Vec::new() });
        Call::Foreign(network[n as usize % network.len()], ping)
    };
    vec![
        Case::new("another network", "other-network", 500, foreign),
        Case::new("no message", "malformed", 200, |_| Call::Nonsense(vec![0xff; 32].into())),
        refused("too many ids", "too-large", 100, |_| {
            Request::Offer(peer::Offer { ids: forge::ids(257) })
        }),
        refused("no ids", "malformed", 50, |_| Request::Offer(peer::Offer { ids: Vec::new() })),
        refused("a short target", "malformed", 100, |_| {
            Request::FindNode(peer::FindNode { target: Bytes::from_static(&[1; 19]) })
        }),
        refused("a digest that is none", "malformed", 100, |_| {
            Request::Digest(peer::DigestRequest {
                digest: Bytes::from_static(&[0xff; 40]),
                from: Bytes::from_static(&[0; 20]),
                to: Bytes::from_static(&[255; 20]),
            })
        }),
        refused("a digest that is too large", "too-large", 20, |_| {
            Request::Digest(peer::DigestRequest {
                digest: vec![0; 1 << 20].into(),
                from: Bytes::from_static(&[0; 20]),
                to: Bytes::from_static(&[255; 20]),
            })
        }),
        refused("too many endpoints", "too-large", 50, |_| {
            let ip = Bytes::from_static(&[192, 0, 2, 1]);
            Request::Ping(peer::Ping { endpoints: vec![object::Endpoint { ip, port: 1 }; 5] })
        }),
        refused("a port that is none", "malformed", 50, |n| {
            let ip = Bytes::from_static(&[192, 0, 2, 1]);
            let port = [0, 65_536][n as usize % 2];
            Request::Ping(peer::Ping { endpoints: vec![object::Endpoint { ip, port }] })
        }),
    ]
}

fn one(honest: &Honest, n: u64) -> EnvelopeId {
    honest.ids[n as usize % honest.ids.len()]
}

/// An acknowledgement that would count.
fn own(honest: &Honest, n: u64) -> object::Acknowledgement {
    forge::acknowledgement(&honest.mailbox, &[one(honest, n)], honest.expires_at + Span::DAY)
}

async fn call(attacker: Attacker, call: Call, reason: &'static str) -> Result<(), String> {
    let is_refused = |answer: Result<Response, String>| match answer {
        Err(word) if word == reason => Ok(()),
        other => Err(format!("{other:?}")),
    };
    match call {
        Call::Refused(request) => is_refused(attacker.ask(request).await),
        Call::Foreign(network, request) => {
            is_refused(attacker.of_network(network).ask(request).await)
        }
        Call::Idle(request) => match attacker.ask(request).await {
            Ok(Response::Done(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        },
        Call::Each(envelopes) => {
            let count = envelopes.len();
            match attacker.ask(Request::Deliver(peer::Deliver { envelopes })).await {
                Ok(Response::Delivered(told))
                    if told.refused.len() == count && told.receipts.is_empty() =>
                {
                    Ok(())
                }
                other => Err(format!("{other:?}")),
            }
        }
        Call::Nonsense(bytes) => match attacker.ask_nonsense(bytes).await {
            Err(word) if word == reason => Ok(()),
            other => Err(format!("{other:?}")),
        },
    }
}
