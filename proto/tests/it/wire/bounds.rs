//! Every bound: what reaches it is read, one more is refused with its name; and every field of a
//! fixed length has that length and no other.

use bytes::Bytes;
use comm_proto::acknowledgement::{self, Acknowledgement};
use comm_proto::card::CARD_LEN_MAX;
use comm_proto::contact::ENDPOINTS_MAX;
use comm_proto::digest::{self, Digest};
use comm_proto::envelope::SizeClass;
use comm_proto::message::{
    BODY_BYTES_MAX, CONTACTS_MAX, ENVELOPES_MAX, IDS_MAX, Request, SIGNED_MAX,
};
use comm_proto::receipt::{self, Receipt};
use comm_proto::rejection::Rejection;
use comm_proto::time::{Span, Time};
use comm_proto::wire::{FRAME_BYTES_MAX, client, decode, object, peer};
use peer::push::Push as WirePush;
use peer::request::Request as WireRequest;
use peer::response::Response as WireResponse;
use prost::Message;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use super::samples::{
    NOW, card, digest as small_digest, envelope, envelope_of, id, mailbox, node,
    signed_acknowledgement, signed_grant, signed_receipt, waiting,
};

fn request(request: WireRequest) -> Option<Rejection> {
    decode::request(peer::Request { request: Some(request) }, NOW).err()
}

fn response(response: WireResponse) -> Option<Rejection> {
    decode::response(peer::Response { response: Some(response) }, NOW).err()
}

fn push(push: WirePush) -> Option<Rejection> {
    decode::push(peer::Push { push: Some(push) }, NOW).err()
}

fn assert_bound<W: Clone>(
    max: usize,
    what: &'static str,
    item: W,
    read: impl Fn(Vec<W>) -> Option<Rejection>,
) {
    assert_eq!(read(vec![item.clone(); max]), None, "{max} {what}");
    assert_eq!(read(vec![item; max + 1]), Some(Rejection::TooLarge(what)), "{max} {what} and one");
}

/// The field takes `right` and refuses whatever is shorter or longer.
fn assert_length(what: &'static str, right: Bytes, read: impl Fn(Bytes) -> Option<Rejection>) {
    let longer = [&right[..], &[0]].concat();
    for wrong in [Bytes::new(), right.slice(1..), longer.into()] {
        assert_eq!(read(wrong.clone()), Some(Rejection::Malformed(what)), "{} bytes", wrong.len());
    }
    assert_eq!(read(right), None, "{what}");
}

fn wire_id() -> Bytes {
    Bytes::copy_from_slice(id(1).as_bytes())
}

fn wire_address() -> Bytes {
    Bytes::copy_from_slice(mailbox().address().as_bytes())
}

fn wire_acknowledgement() -> object::Acknowledgement {
    (&*signed_acknowledgement()).into()
}

fn wire_receipt() -> object::Receipt {
    (&*signed_receipt()).into()
}

fn wire_endpoint() -> object::Endpoint {
    object::Endpoint { ip: Bytes::from_static(&[192, 0, 2, 1]), port: 7_400 }
}

fn wire_contact() -> object::Contact {
    let key = Bytes::copy_from_slice(node().public().as_bytes());
    object::Contact { key, endpoints: vec![wire_endpoint()] }
}

#[test]
fn ids_are_bounded() {
    assert_bound(IDS_MAX, "ids", wire_id(), |ids| request(WireRequest::Offer(peer::Offer { ids })));
    // Of those that are fetched none may come twice.
    assert_bound(ENVELOPES_MAX, "ids", wire_id(), |ids| {
        let ids = (0_u8..).zip(ids).map(|(n, _)| Bytes::from([n; 32].to_vec())).collect();
        request(WireRequest::Fetch(peer::Fetch { ids }))
    });
    assert_bound(IDS_MAX, "ids", wire_id(), |wanted| {
        response(WireResponse::Offered(peer::Offered { wanted, ..Default::default() }))
    });
    assert_bound(IDS_MAX, "ids", wire_id(), |ids| {
        decode::client::watch(&client::WatchRequest { ids }).err()
    });
}

#[test]
fn ids_of_signed_objects_are_bounded() {
    let expires_at = NOW + Span::DAY;
    assert_bound(acknowledgement::IDS_MAX, "ids of an acknowledgement", id(1), |mut ids| {
        let beyond = ids.split_off(ids.len().min(acknowledgement::IDS_MAX));
        let signed = Acknowledgement::sign(&mailbox(), ids, expires_at).unwrap();
        let mut message = object::Acknowledgement::from(&*signed);
        message.ids.extend(beyond.iter().map(|_| wire_id()));
        decode::acknowledgements(&[message], NOW).err()
    });
    assert_bound(receipt::IDS_MAX, "ids of a receipt", id(1), |mut ids| {
        let beyond = ids.split_off(ids.len().min(receipt::IDS_MAX));
        let mut message = object::Receipt::from(&*Receipt::sign(&node(), ids, NOW).unwrap());
        message.ids.extend(beyond.iter().map(|_| wire_id()));
        decode::receipts(&[message], NOW).err()
    });
}

#[test]
fn acknowledgements_are_bounded_wherever_they_are_carried() {
    let check = |read: &dyn Fn(Vec<object::Acknowledgement>) -> Option<Rejection>| {
        assert_bound(SIGNED_MAX, "acknowledgements", wire_acknowledgement(), read);
    };
    check(&|acknowledgements| {
        request(WireRequest::Acknowledge(peer::Acknowledge { acknowledgements }))
    });
    check(&|acknowledgements| {
        response(WireResponse::Offered(peer::Offered { acknowledgements, ..Default::default() }))
    });
    check(&|acknowledgements| {
        let digest = small_digest().to_bytes().into();
        response(WireResponse::Digested(peer::Digested { digest, acknowledgements }))
    });
    check(&|acknowledgements| {
        let delivered = peer::Delivered { acknowledgements, ..Default::default() };
        response(WireResponse::Delivered(delivered))
    });
    check(&|acknowledgements| {
        push(WirePush::Acknowledgements(peer::Acknowledge { acknowledgements }))
    });
    check(&|acknowledgements| {
        decode::client::acknowledge(&client::AcknowledgeRequest { acknowledgements }, NOW).err()
    });
}

#[test]
fn receipts_are_bounded_wherever_they_are_carried() {
    let check = |read: &dyn Fn(Vec<object::Receipt>) -> Option<Rejection>| {
        assert_bound(SIGNED_MAX, "receipts", wire_receipt(), read);
    };
    check(&|receipts| request(WireRequest::Receipts(peer::Receipts { receipts })));
    check(&|receipts| {
        response(WireResponse::Offered(peer::Offered { receipts, ..Default::default() }))
    });
    check(&|receipts| {
        response(WireResponse::Delivered(peer::Delivered { receipts, ..Default::default() }))
    });
    check(&|receipts| push(WirePush::Receipts(peer::Receipts { receipts })));
}

#[test]
fn grants_are_bounded_wherever_they_are_carried() {
    let grant = object::Grant::from(&*signed_grant());
    assert_bound(SIGNED_MAX, "grants", grant.clone(), |grants| {
        request(WireRequest::Subscribe(peer::Subscribe { grants, after: 0 }))
    });
    assert_bound(SIGNED_MAX, "grants", grant, |grants| {
        let open = client::Open { grants, after: 0, credit: 1 };
        let open = client::receive_request::Request::Open(open);
        decode::client::receive(client::ReceiveRequest { request: Some(open) }, NOW).err()
    });
}

#[test]
fn envelopes_and_their_bodies_are_bounded() {
    let deliver = |envelopes| request(WireRequest::Deliver(peer::Deliver { envelopes }));
    let fetched = |envelopes| response(WireResponse::Fetched(peer::Fetched { envelopes }));
    assert_bound(ENVELOPES_MAX, "envelopes", (&envelope()).into(), deliver);
    assert_bound(ENVELOPES_MAX, "envelopes", (&envelope()).into(), fetched);
    let (large, middle) = (envelope_of(SizeClass::K64), envelope_of(SizeClass::K4));
    let most = std::iter::repeat_n(&large, 16).chain([&middle]).map(object::Envelope::from);
    let most = most.collect::<Vec<_>>();
    assert_eq!(most.iter().map(|envelope| envelope.body.len()).sum::<usize>(), BODY_BYTES_MAX);
    let more = most.iter().cloned().chain([(&envelope()).into()]).collect::<Vec<_>>();
    assert_eq!((deliver(most.clone()), fetched(most)), (None, None));
    let refused = Some(Rejection::TooLarge("bodies"));
    assert_eq!((deliver(more.clone()), fetched(more)), (refused.clone(), refused));
}

#[test]
fn contacts_and_endpoints_are_bounded() {
    assert_bound(CONTACTS_MAX, "contacts", wire_contact(), |contacts| {
        response(WireResponse::Nodes(peer::Nodes { contacts }))
    });
    assert_bound(ENDPOINTS_MAX, "endpoints", wire_endpoint(), |endpoints| {
        request(WireRequest::Ping(peer::Ping { endpoints }))
    });
    assert_bound(ENDPOINTS_MAX, "endpoints", wire_endpoint(), |endpoints| {
        request(WireRequest::DialBack(peer::DialBack { endpoints }))
    });
    assert_bound(ENDPOINTS_MAX, "outcomes", 1, |outcomes| {
        response(WireResponse::DialledBack(peer::DialledBack { outcomes }))
    });
    assert_bound(ENDPOINTS_MAX, "endpoints", wire_endpoint(), |endpoints| {
        let contacts = vec![wire_contact(), object::Contact { endpoints, ..wire_contact() }];
        response(WireResponse::Nodes(peer::Nodes { contacts }))
    });
}

#[test]
fn what_waits_and_what_is_refused_is_bounded() {
    let one = peer::Waiting::from(&waiting());
    assert_bound(IDS_MAX, "waiting envelopes", one.clone(), |waiting| {
        response(WireResponse::Subscribed(peer::Subscribed { waiting, ..Default::default() }))
    });
    assert_bound(IDS_MAX, "waiting envelopes", one, |waiting| {
        push(WirePush::Waiting(peer::WaitingPush { waiting }))
    });
    let refused = peer::Refused::from(&(id(1), Rejection::Busy));
    assert_bound(ENVELOPES_MAX, "refusals", refused, |refused| {
        response(WireResponse::Delivered(peer::Delivered { refused, ..Default::default() }))
    });
}

#[test]
fn a_digest_is_bounded() {
    let ids = (0..digest::ITEMS_MAX).map(|_| id(1)).collect::<Vec<_>>();
    let largest = Digest::new(&ids, &mut ChaCha12Rng::seed_from_u64(1)).to_bytes();
    assert_eq!(largest.len(), digest::BYTES_MAX);
    let ask = |digest: Vec<u8>| {
        let (digest, from, to) = (digest.into(), wire_address(), wire_address());
        request(WireRequest::Digest(peer::DigestRequest { digest, from, to }))
    };
    let answer = |digest: Vec<u8>| {
        let digest = peer::Digested { digest: digest.into(), ..Default::default() };
        response(WireResponse::Digested(digest))
    };
    let larger = [&largest[..], &[0]].concat();
    assert_eq!((ask(largest.clone()), answer(largest)), (None, None));
    let refused = Some(Rejection::TooLarge("digest"));
    assert_eq!((ask(larger.clone()), answer(larger)), (refused.clone(), refused));
    let refused = Some(Rejection::Malformed("digest"));
    assert_eq!((ask(vec![1; 100]), answer(Vec::new())), (refused.clone(), refused));
}

#[test]
fn a_card_is_bounded() {
    let read = |len| decode::card(&object::Card { card: vec![0; len].into() }, NOW).unwrap_err();
    assert_eq!(read(CARD_LEN_MAX), Rejection::Malformed("card"));
    assert_eq!(read(CARD_LEN_MAX + 1), Rejection::TooLarge("card"));
}

#[test]
fn credit_is_bounded() {
    use client::receive_request::Request as Wire;
    let read = |request| {
        decode::client::receive(client::ReceiveRequest { request: Some(request) }, NOW).err()
    };
    let open = |credit| read(Wire::Open(client::Open { credit, ..Default::default() }));
    let more = |envelopes| read(Wire::Credit(client::Credit { envelopes }));
    let max = decode::client::CREDIT_MAX;
    for (credit, refused) in [
        (0, Some(Rejection::Malformed("credit"))),
        (1, None),
        (max, None),
        (max + 1, Some(Rejection::TooLarge("credit"))),
    ] {
        assert_eq!((open(credit), more(credit)), (refused.clone(), refused));
    }
}

#[test]
fn a_body_that_is_asked_for_twice_in_one_call_is_not_handed_over() {
    let other = Bytes::from([77; 32].to_vec());
    let fetch = |ids| request(WireRequest::Fetch(peer::Fetch { ids }));
    assert_eq!(fetch(vec![wire_id(), other.clone()]), None);
    let twice = fetch(vec![wire_id(), other, wire_id()]);
    assert_eq!(twice, Some(Rejection::Malformed("ids")));
}

#[test]
fn questions_about_nothing_are_malformed() {
    let ids = Some(Rejection::Malformed("ids"));
    assert_eq!(request(WireRequest::Offer(peer::Offer::default())), ids);
    assert_eq!(request(WireRequest::Fetch(peer::Fetch::default())), ids);
    let deliver = request(WireRequest::Deliver(peer::Deliver::default()));
    assert_eq!(deliver, Some(Rejection::Malformed("envelopes")));
    let dial_back = request(WireRequest::DialBack(peer::DialBack::default()));
    assert_eq!(dial_back, Some(Rejection::Malformed("endpoints")));
    let put = request(WireRequest::PutCard(peer::PutCard::default()));
    assert_eq!(put, Some(Rejection::Malformed("card")));
    let publish = request(WireRequest::PublishCard(peer::PublishCard::default()));
    assert_eq!(publish, Some(Rejection::Malformed("card")));
    let refused = vec![peer::Refused { id: wire_id(), rejection: None }];
    let delivered = peer::Delivered { refused, ..Default::default() };
    let delivered = response(WireResponse::Delivered(delivered));
    assert_eq!(delivered, Some(Rejection::Malformed("rejection")));
    let nothing = Some(Rejection::Malformed("acknowledgement without ids"));
    let empty = object::Acknowledgement { ids: Vec::new(), ..wire_acknowledgement() };
    assert_eq!(decode::acknowledgements(&[empty], NOW).err(), nothing);
    let nothing = Some(Rejection::Malformed("receipt without ids"));
    let empty = object::Receipt { ids: Vec::new(), ..wire_receipt() };
    assert_eq!(decode::receipts(&[empty], NOW).err(), nothing);
    let submit = decode::client::submit(client::SubmitRequest::default());
    assert_eq!(submit, Err(Rejection::Malformed("envelope")));
    let publish = decode::client::publish_card(client::PublishCardRequest::default(), NOW);
    assert_eq!(publish, Err(Rejection::Malformed("card")));
    let receive = decode::client::receive(client::ReceiveRequest::default(), NOW);
    assert_eq!(receive, Err(Rejection::Malformed("request")));
    let state = decode::state(client::State::default());
    assert_eq!(state, Err(Rejection::Malformed("state")));
}

#[test]
fn addresses_and_ids_have_one_length() {
    let (address, id) = (wire_address(), wire_id());
    assert_length("target", address.clone(), |target| {
        request(WireRequest::FindNode(peer::FindNode { target }))
    });
    assert_length("owner", address.clone(), |owner| {
        request(WireRequest::GetCard(peer::GetCard { owner }))
    });
    assert_length("owner", address.clone(), |owner| {
        request(WireRequest::FindCard(peer::FindCard { owner }))
    });
    assert_length("owner", address.clone(), |owner| {
        decode::client::find_card(&client::FindCardRequest { owner }).err()
    });
    assert_length("mailbox", address.clone(), |mailbox| {
        let waiting = vec![peer::Waiting { mailbox, id: wire_id() }];
        push(WirePush::Waiting(peer::WaitingPush { waiting }))
    });
    assert_length("mailbox", address.clone(), |mailbox| {
        decode::envelope(object::Envelope { mailbox, ..(&envelope()).into() }).err()
    });
    assert_length("address", address, |bytes| decode::address(&bytes).err());
    assert_length("envelope id", id.clone(), |id| decode::envelope_id(&id).err());
    assert_length("envelope id", id.clone(), |id| {
        decode::client::cancel(&client::CancelRequest { id }).err()
    });
    assert_length("envelope id", id, |id| {
        request(WireRequest::Offer(peer::Offer { ids: vec![wire_id(), id] }))
    });
}

#[test]
fn keys_and_signatures_have_one_length() {
    let (mut signed, read) =
        (wire_acknowledgement(), |signed| decode::acknowledgements(&[signed], NOW).err());
    let key = std::mem::take(&mut signed.mailbox_key);
    let with_key = |key| object::Acknowledgement { mailbox_key: key, ..signed.clone() };
    assert_length("mailbox key", key.clone(), |key| read(with_key(key)));
    let with_signature = |signature| object::Acknowledgement { signature, ..with_key(key.clone()) };
    assert_length("signature", signed.signature.clone(), |bytes| read(with_signature(bytes)));

    let (signed, read) = (wire_receipt(), |signed| decode::receipts(&[signed], NOW).err());
    let with_key = |holder_key| object::Receipt { holder_key, ..signed.clone() };
    assert_length("holder key", signed.holder_key.clone(), |key| read(with_key(key)));
    let with_signature = |signature| object::Receipt { signature, ..signed.clone() };
    assert_length("signature", signed.signature.clone(), |bytes| read(with_signature(bytes)));

    let signed = object::Grant::from(&*signed_grant());
    let read = |signed| decode::grants(&[signed], NOW).err();
    let with_key = |mailbox_key| object::Grant { mailbox_key, ..signed.clone() };
    assert_length("mailbox key", signed.mailbox_key.clone(), |key| read(with_key(key)));
    let with_collector = |collector| object::Grant { collector, ..signed.clone() };
    assert_length("collector", signed.collector.clone(), |bytes| read(with_collector(bytes)));

    let with_key = |key| object::Contact { key, ..wire_contact() };
    assert_length("contact key", wire_contact().key, |key| decode::contact(&with_key(key)).err());
}

#[test]
fn a_body_of_no_size_and_a_suite_of_no_byte_are_refused() {
    let good = object::Envelope::from(&envelope());
    let body = good.body.slice(1..);
    let short = object::Envelope { body, ..good.clone() };
    assert_eq!(decode::envelope(short), Err(Rejection::Size));
    let unknown = object::Envelope { suite: 255, ..good.clone() };
    assert_eq!(decode::envelope(unknown).map(|read| read.header().suite.0), Ok(255));
    let suite = object::Envelope { suite: 256, ..good };
    assert_eq!(decode::envelope(suite), Err(Rejection::Malformed("suite")));
}

#[test]
fn an_endpoint_has_an_ip_and_a_port() {
    let read = |ip: &[u8], port| {
        decode::endpoints(&[object::Endpoint { ip: Bytes::copy_from_slice(ip), port }])
    };
    for port in [0, 65_536, u32::MAX] {
        assert_eq!(read(&[1; 4], port), Err(Rejection::Malformed("port")));
    }
    for len in [0, 3, 5, 15, 17] {
        assert_eq!(read(&vec![1; len], 1), Err(Rejection::Malformed("ip")));
    }
    assert_eq!(read(&[1; 4], 65_535), Ok(vec!["1.1.1.1:65535".parse().unwrap()]));
    assert_eq!(read(&[0x20; 16], 1).map(|read| read[0].is_ipv6()), Ok(true));
}

#[test]
fn an_ipv4_endpoint_in_ipv6_clothes_is_ipv4_on_both_ways() {
    let mapped = "[::ffff:192.0.2.1]:7400".parse::<std::net::SocketAddr>().unwrap();
    let std::net::IpAddr::V6(ip) = mapped.ip() else { panic!("it is written as IPv6") };
    let message = object::Endpoint { ip: Bytes::copy_from_slice(&ip.octets()), port: 7_400 };
    assert_eq!(decode::endpoints(&[message]), Ok(vec!["192.0.2.1:7400".parse().unwrap()]));
    assert_eq!(object::Endpoint::from(&mapped), wire_endpoint());
}

#[test]
fn a_digest_covers_mailboxes_in_their_order() {
    let read = |from: u8, to: u8| {
        let digest = small_digest().to_bytes().into();
        let [from, to] = [from, to].map(|fill| Bytes::from(vec![fill; 20]));
        request(WireRequest::Digest(peer::DigestRequest { digest, from, to }))
    };
    assert_eq!((read(1, 2), read(2, 2)), (None, None));
    assert_eq!(read(2, 1), Some(Rejection::Malformed("from lies behind to")));
}

#[test]
fn the_largest_messages_fit_into_a_frame() {
    let ids = vec![id(255); acknowledgement::IDS_MAX];
    let late = Time::from_millis(u64::MAX);
    let acknowledgement = Acknowledgement::sign(&mailbox(), ids.clone(), late).unwrap();
    let receipt = Receipt::sign(&node(), ids, late).unwrap();
    let acknowledgements = vec![object::Acknowledgement::from(&*acknowledgement); SIGNED_MAX];
    let receipts = vec![object::Receipt::from(&*receipt); SIGNED_MAX];
    let wanted = vec![wire_id(); IDS_MAX];
    let offered = peer::Offered { wanted, receipts, acknowledgements };
    assert!(offered.encoded_len() < FRAME_BYTES_MAX / 2);
    let envelopes = vec![envelope_of(SizeClass::K16); ENVELOPES_MAX];
    let deliver = peer::Request::from(Request::Deliver { envelopes });
    assert!(deliver.encoded_len() > BODY_BYTES_MAX && deliver.encoded_len() < FRAME_BYTES_MAX);
    assert!(card().to_bytes().len() < FRAME_BYTES_MAX && digest::BYTES_MAX < FRAME_BYTES_MAX);
}
