//! The wire: what is encoded is decoded to the same value, and nothing else is accepted.
//!
//! Round trips and forgeries stand here, bounds in [`bounds`], the recorded frames in [`vectors`],
//! and bad input by the million in [`fuzz`], for frames, and [`layouts`], for what frames carry.

mod bounds;
mod frame;
mod fuzz;
mod layouts;
mod samples;
mod values;
mod vectors;

use bytes::Bytes;
use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::message::{
    ClientRequest, Peer, PeerStatus, Reachability, Request, Response, Status,
};
use comm_proto::rejection::Rejection;
use comm_proto::time::Span;
use comm_proto::wire::{client, decode, object, peer};
use proptest::prelude::*;
use prost::Message;

use samples::{NOW, card, mailbox, signed_acknowledgement, signed_grant, signed_receipt};
use values::{
    any_acknowledgements, any_address, any_card, any_envelope, any_grants, any_id, any_ids,
    any_push, any_rejection, any_request, any_response, any_state,
};

/// Over the wire and back into a message, as another node would have it.
fn carried<W: Message + Default>(message: &W) -> W {
    W::decode(Bytes::from(message.encode_to_vec())).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_request_comes_back_as_it_was(request in any_request()) {
        let message = carried(&peer::Request::from(request.clone()));
        prop_assert_eq!(decode::request(message, NOW), Ok(request));
    }

    #[test]
    fn a_response_comes_back_as_it_was(response in any_response()) {
        let message = carried(&peer::Response::from(response.clone()));
        prop_assert_eq!(decode::response(message, NOW), Ok(Ok(response)));
    }

    #[test]
    fn a_push_comes_back_as_it_was(push in any_push()) {
        let message = carried(&peer::Push::from(push.clone()));
        prop_assert_eq!(decode::push(message, NOW), Ok(push));
    }
}

proptest! {
    #[test]
    fn a_refusal_comes_back_as_it_was(refusal in any_rejection()) {
        let message = carried(&peer::Response::from(Err(refusal.clone())));
        prop_assert_eq!(decode::response(message, NOW), Ok(Err(refusal)));
    }

    #[test]
    fn a_state_comes_back_as_it_was(state in any_state()) {
        let message = carried(&client::State::from(state));
        prop_assert_eq!(decode::state(message), Ok(state));
    }

    #[test]
    fn what_a_client_names_comes_back_as_it_was(
        id in any_id(),
        ids in any_ids(0),
        owner in any_address(),
        credit in 1..=decode::client::CREDIT_MAX,
    ) {
        let name = Bytes::copy_from_slice(id.as_bytes());
        let cancel = carried(&client::CancelRequest { id: name });
        prop_assert_eq!(decode::client::cancel(&cancel), Ok(ClientRequest::Cancel { id }));
        let names = ids.iter().map(|id| Bytes::copy_from_slice(id.as_bytes())).collect();
        let watch = carried(&client::WatchRequest { ids: names });
        prop_assert_eq!(decode::client::watch(&watch), Ok(ClientRequest::Watch { ids }));
        let name = Bytes::copy_from_slice(owner.as_bytes());
        let find = carried(&client::FindCardRequest { owner: name });
        prop_assert_eq!(decode::client::find_card(&find), Ok(ClientRequest::FindCard { owner }));
        let more = client::receive_request::Request::Credit(client::Credit { envelopes: credit });
        let receive = carried(&client::ReceiveRequest { request: Some(more) });
        let asked = Ok(vec![ClientRequest::Credit { envelopes: credit }]);
        prop_assert_eq!(decode::client::receive(receive, NOW), asked);
    }

    #[test]
    fn what_a_client_hands_over_comes_back_as_it_was(
        envelope in any_envelope(),
        card in any_card(),
    ) {
        let submit = carried(&client::SubmitRequest { envelope: Some((&envelope).into()) });
        let asked = Ok(ClientRequest::Submit { envelope });
        prop_assert_eq!(decode::client::submit(submit), asked);
        let publish = carried(&client::PublishCardRequest { card: Some((&*card).into()) });
        let asked = Ok(ClientRequest::PublishCard { card: Box::new(card) });
        prop_assert_eq!(decode::client::publish_card(publish, NOW), asked);
    }

    #[test]
    fn a_client_opens_mailboxes_and_acknowledges(
        grants in any_grants(),
        (after, credit) in (any::<u64>(), 1..=decode::client::CREDIT_MAX),
        acknowledgements in any_acknowledgements(),
    ) {
        use client::receive_request::Request as Wire;
        let receive = |request| {
            let message = carried(&client::ReceiveRequest { request: Some(request) });
            decode::client::receive(message, NOW)
        };
        let opened = grants.iter().map(|grant| (&**grant).into()).collect();
        let opened = Wire::Open(client::Open { grants: opened, after, credit });
        let credit = ClientRequest::Credit { envelopes: credit };
        let asked = Ok(vec![ClientRequest::Subscribe { grants, after }, credit]);
        prop_assert_eq!(receive(opened), asked);
        let ended = acknowledgements.iter().map(|ended| (&**ended).into()).collect::<Vec<_>>();
        let request = client::AcknowledgeRequest { acknowledgements: ended.clone() };
        let asked = ClientRequest::Acknowledge { acknowledgements };
        prop_assert_eq!(decode::client::acknowledge(&request, NOW), Ok(asked.clone()));
        let ended = Wire::Acknowledge(client::Acknowledge { acknowledgements: ended });
        prop_assert_eq!(receive(ended), Ok(vec![asked]));
    }
}

/// Clients only show these, so nothing here reads them back.
#[test]
fn clients_are_shown_every_figure_under_its_own_name() {
    let node = Address::from_bytes([7; 20]);
    let endpoints = vec!["192.0.2.1:7400".parse().unwrap()];
    let shown = client::GetStatusResponse::from(Status {
        node,
        endpoints: endpoints.clone(),
        observed: vec!["198.51.100.1:7".parse().unwrap()],
        reachability: Reachability::Unreachable,
        peers: 1,
        network_size: 2,
        envelopes: 3,
        envelope_bytes: 4,
        tombstones: 5,
        connected: true,
        entries: vec![node, mailbox().address()],
        rotating_entry: Some(samples::node().address()),
    });
    assert_eq!(decode::address(&shown.node), Ok(node));
    assert_eq!(decode::endpoints(&shown.endpoints), Ok(endpoints.clone()));
    let observed = vec!["198.51.100.1:7".parse().unwrap()];
    assert_eq!(decode::endpoints(&shown.observed), Ok(observed));
    assert_eq!(shown.reachability(), client::Reachability::Unreachable);
    let figures = [shown.peers, shown.network_size, shown.envelopes, shown.envelope_bytes];
    let entries = shown.entries.iter().map(|entry| decode::address(entry));
    assert_eq!(entries.collect::<Vec<_>>(), [Ok(node), Ok(mailbox().address())]);
    let rotating = shown.rotating_entry.as_deref().map(decode::address);
    assert_eq!(rotating, Some(Ok(samples::node().address())));
    assert_eq!((figures, shown.tombstones, shown.connected), ([1, 2, 3, 4], 5, true));

    let contact = Contact::new(samples::node().public(), endpoints.clone());
    for (status, wire) in [
        (PeerStatus::Good, client::PeerStatus::Good),
        (PeerStatus::Questionable, client::PeerStatus::Questionable),
        (PeerStatus::Bad, client::PeerStatus::Bad),
    ] {
        let peer = Peer { contact: contact.clone(), status, last_seen: NOW };
        let shown = client::PeerInfo::from(peer);
        assert_eq!(decode::address(&shown.address), Ok(contact.address()));
        assert_eq!(decode::endpoints(&shown.endpoints), Ok(endpoints.clone()));
        assert_eq!((shown.status(), shown.last_seen), (wire, NOW.as_millis()));
    }

    for (refusal, retry_later) in [(Rejection::Busy, true), (Rejection::Expired, false)] {
        let error = client::Error::from(&refusal);
        assert_eq!((error.code.as_str(), error.retry_later), (refusal.name(), retry_later));
        assert_eq!(error.text, refusal.to_string());
    }
}

/// What becomes of a message for each bit that can be turned over in one of its fields.
fn turned_over<W: Clone>(
    message: &W,
    field: impl Fn(&mut W) -> &mut Bytes,
    read: impl Fn(W) -> Option<Rejection>,
) -> Vec<Option<Rejection>> {
    let bits = field(&mut message.clone()).len() * 8;
    let turned = (0..bits).map(|bit| {
        let mut forged = message.clone();
        let bytes = field(&mut forged);
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        *bytes = changed.into();
        read(forged)
    });
    turned.collect()
}

fn assert_forged(outcomes: Vec<Option<Rejection>>) {
    assert!(outcomes.len() >= 20 * 8);
    assert!(outcomes.iter().all(|outcome| *outcome == Some(Rejection::Signature)));
}

#[test]
fn an_acknowledgement_with_one_bit_changed_is_refused() {
    let read = |message| decode::acknowledgements(&[message], NOW).err();
    let signed = object::Acknowledgement::from(&*signed_acknowledgement());
    assert_eq!(read(signed.clone()), None);
    assert_forged(turned_over(&signed, |message| &mut message.ids[0], read));
    assert_forged(turned_over(&signed, |message| &mut message.mailbox_key, read));
    assert_forged(turned_over(&signed, |message| &mut message.signature, read));
    let longer = object::Acknowledgement { expires_at: signed.expires_at + 1, ..signed };
    assert_eq!(read(longer), Some(Rejection::Signature));
}

#[test]
fn a_receipt_with_one_bit_changed_is_refused() {
    let read = |message| decode::receipts(&[message], NOW).err();
    let signed = object::Receipt::from(&*signed_receipt());
    assert_eq!(read(signed.clone()), None);
    assert_forged(turned_over(&signed, |message| &mut message.ids[0], read));
    assert_forged(turned_over(&signed, |message| &mut message.holder_key, read));
    assert_forged(turned_over(&signed, |message| &mut message.signature, read));
    assert_eq!(read(object::Receipt { at: signed.at - 1, ..signed }), Some(Rejection::Signature));
}

#[test]
fn a_grant_with_one_bit_changed_is_refused() {
    let read = |message| decode::grants(&[message], NOW).err();
    let signed = object::Grant::from(&*signed_grant());
    assert_eq!(read(signed.clone()), None);
    assert_forged(turned_over(&signed, |message| &mut message.mailbox_key, read));
    assert_forged(turned_over(&signed, |message| &mut message.collector, read));
    assert_forged(turned_over(&signed, |message| &mut message.signature, read));
    let longer = object::Grant { not_after: signed.not_after + 1, ..signed };
    assert_eq!(read(longer), Some(Rejection::Signature));
}

/// The layout of a card stands in its bytes, so a change may also break that.
#[test]
fn a_card_with_one_bit_changed_is_refused() {
    let read = |message| decode::card(&message, NOW).err();
    let signed = object::Card::from(&*card());
    assert_eq!(read(signed.clone()), None);
    let outcomes = turned_over(&signed, |message| &mut message.card, read);
    assert!(outcomes.iter().all(Option::is_some));
    let (context, owner, signature) = (b"comm/card/v1\0".len() * 8, 32 * 8, 64 * 8);
    assert_forged(outcomes[context..][..owner].to_vec());
    assert_forged(outcomes[outcomes.len() - signature..].to_vec());
}

#[test]
fn one_forged_part_makes_a_whole_answer_malformed() {
    use peer::response::Response as Wire;
    let forged = Bytes::from_static(&[1; 64]);
    let read = |answer| {
        decode::response(peer::Response { response: Some(answer) }, NOW).map(|_| ()).unwrap_err()
    };
    let mut acknowledgement = object::Acknowledgement::from(&*signed_acknowledgement());
    let acknowledgements = vec![acknowledgement.clone(), {
        acknowledgement.signature = forged.clone();
        acknowledgement
    }];
    let receipt = object::Receipt::from(&*signed_receipt());
    let receipts = vec![receipt.clone(), object::Receipt { signature: forged, ..receipt }];
    let offered = peer::Offered { receipts: receipts.clone(), ..Default::default() };
    assert_eq!(read(Wire::Offered(offered)), Rejection::Signature);
    let offered =
        peer::Offered { acknowledgements: acknowledgements.clone(), ..Default::default() };
    assert_eq!(read(Wire::Offered(offered)), Rejection::Signature);
    let delivered = peer::Delivered { receipts, ..Default::default() };
    assert_eq!(read(Wire::Delivered(delivered)), Rejection::Signature);
    let delivered = peer::Delivered { acknowledgements, ..Default::default() };
    assert_eq!(read(Wire::Delivered(delivered)), Rejection::Signature);
    let mut stolen = object::Card::from(&*card()).card.to_vec();
    *stolen.last_mut().unwrap() ^= 1;
    let found = peer::CardFound { card: Some(object::Card { card: stolen.into() }) };
    assert_eq!(read(Wire::Card(found)), Rejection::Signature);
}

/// The clock that is handed in decides, not the one of the signer.
#[test]
fn what_is_valid_now_is_refused_when_its_time_is_over() {
    let later = NOW + Span::from_days(60);
    let grants = vec![signed_grant()];
    let subscribe = peer::Request::from(Request::Subscribe { grants, after: 0 });
    assert!(decode::request(subscribe.clone(), NOW).is_ok());
    assert_eq!(decode::request(subscribe, later), Err(Rejection::Expired));
    let found = peer::Response::from(Response::Card { card: Some(Box::new(card())) });
    assert!(decode::response(found.clone(), NOW).is_ok());
    assert_eq!(decode::response(found, later), Err(Rejection::Expired));
}
