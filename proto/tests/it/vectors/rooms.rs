//! Vectors of rooms: events of each kind, a join and its invitation, something said.

use std::collections::BTreeSet;

use comm_proto::room::{
    Body, Change, Event, EventId, Heads, Invitation, Join, Note, Office, Policy, RoomName, Said,
    TEXT_PREFIX,
};

use super::*;

const TOKEN: [u8; 32] = [8; 32];

fn name() -> RoomName {
    RoomName::new("book club".to_owned()).unwrap()
}

fn first() -> Event {
    Event::found(&KeyPair::from_seed(&ALICE), name(), [5; 32], NOW).into_inner()
}

fn heads() -> Heads {
    Heads::of(&BTreeSet::from([first().id(), EventId::from_bytes([0xfe; 32])])).unwrap()
}

fn head_list() -> Json {
    list(heads().as_slice().iter().map(|id| hexed(id.as_bytes())))
}

fn invitation() -> Invitation {
    let inviter = KeyPair::from_seed(&ALICE).public();
    Invitation::new(first().room(), inviter, vec![address_of(&NODE)], TOKEN, NOW + Span::DAY)
}

fn join() -> Join {
    Join::sign(&invitation(), &KeyPair::from_seed(&BOB), [6; 32]).into_inner()
}

fn event(kind: u64, change: Change, fields: Vec<(&'static str, Json)>) -> Json {
    let (room, previous) = (first().room(), Some(first().id()));
    let body = Body::Change { room, previous, parents: heads(), change };
    let event = Event::sign(&KeyPair::from_seed(&ALICE), body, NOW);
    let start = [
        ("kind", kind.into()),
        ("author_seed", hexed(ALICE)),
        ("made_at", millis(NOW)),
        ("room", hexed(first().room().as_bytes())),
        ("previous", hexed(first().id().as_bytes())),
        ("heads", head_list()),
    ];
    let end = [("event", hexed(event.to_bytes())), ("id", hexed(event.id().as_bytes()))];
    Json::Object(start.into_iter().chain(fields).chain(end).collect())
}

fn founding() -> Json {
    object([
        ("kind", 0_u64.into()),
        ("author_seed", hexed(ALICE)),
        ("made_at", millis(NOW)),
        ("nonce", hexed([5; 32])),
        ("name", hexed(name().as_str())),
        ("event", hexed(first().to_bytes())),
        ("id", hexed(first().id().as_bytes())),
    ])
}

fn joining() -> Json {
    let text = invitation().text();
    object([
        ("room", hexed(first().room().as_bytes())),
        ("inviter_seed", hexed(ALICE)),
        ("expires_at", millis(NOW + Span::DAY)),
        ("token_seed", hexed(TOKEN)),
        ("others", list([hexed(address_of(&NODE).as_bytes())])),
        ("invitation", hexed(hex::decode(text.strip_prefix(TEXT_PREFIX).unwrap()).unwrap())),
        ("joiner_seed", hexed(BOB)),
        ("fresh", hexed([6; 32])),
        (
            "join",
            hexed(&Note::Ask { room: first().room(), join: Box::new(join()) }.to_bytes()[33..]),
        ),
    ])
}

fn saying() -> Json {
    let said = Said {
        room: first().room(),
        sequence: 7,
        previous: Some(MessageId::from_bytes([9; 32])),
        heads: heads(),
        content_type: ContentType::TEXT,
        body: b"hello".to_vec(),
    };
    let author = KeyPair::from_seed(&ALICE).public();
    object([
        ("author_key", hexed(author.as_bytes())),
        ("room", hexed(said.room.as_bytes())),
        ("sequence", said.sequence.into()),
        ("previous", hexed([9; 32])),
        ("heads", head_list()),
        ("content_type", 1_u64.into()),
        ("body", hexed(&said.body)),
        ("message_id", hexed(said.id(&author).as_bytes())),
        ("first", 3_u64.into()),
        ("note", hexed(Note::Said { first: 3, said }.to_bytes())),
    ])
}

#[test]
fn rooms() {
    let member = KeyPair::from_seed(&BOB).public();
    let token = KeyPair::from_seed(&TOKEN).public();
    let of_member = || ("member", hexed(member.as_bytes()));
    let of_token = || ("token", hexed(token.as_bytes()));
    let (expires_at, role) = (NOW + Span::DAY, Office::Admin);
    let joined = Note::Ask { room: first().room(), join: Box::new(join()) }.to_bytes();
    let cases = vec![
        founding(),
        event(
            1,
            Change::Invite { token, expires_at },
            vec![of_token(), ("expires_at", millis(expires_at))],
        ),
        event(2, Change::Revoke(token), vec![of_token()]),
        event(3, Change::Admit(Box::new(join())), vec![("join", hexed(&joined[33..]))]),
        event(4, Change::Leave, vec![]),
        event(5, Change::Remove(member), vec![of_member()]),
        event(6, Change::Appoint { member, role }, vec![of_member(), ("role", 1_u64.into())]),
        event(7, Change::Rename(name()), vec![("name", hexed(name().as_str()))]),
        event(8, Change::Decide(Policy::Nobody), vec![("policy", 2_u64.into())]),
        joining(),
        saying(),
    ];
    let about =
        "Events of each kind (4.14), an invitation and a join (4.16), something said (4.18).";
    assert_recorded("room", about, cases);
}
