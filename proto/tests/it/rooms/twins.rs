//! An event is what it says: whoever signs it twice has made one.

use comm_proto::key::KeyPair;
use comm_proto::room::{Change, Event, Taken};
use comm_proto::verified::Verified;
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use ed25519_dalek::{SigningKey, VerifyingKey};
use sha2::Sha512;

use super::{NOW, bring_in, key, name, person, room_of, tell};

/// The same event with another signature of its author, which is as good.
pub(super) fn signed_again(event: &Event, author: &KeyPair) -> Verified<Event> {
    let secret = SigningKey::from_bytes(&author.expose_seed());
    let mut expanded = ExpandedSecretKey::from(&secret.to_bytes());
    // From this the signature's nonce follows; its author may take any.
    expanded.hash_prefix = [0x5a; 32];
    let mut bytes = event.to_bytes();
    let signed = bytes.len() - 64;
    let signature =
        raw_sign::<Sha512>(&expanded, &bytes[..signed], &VerifyingKey::from(&secret)).to_bytes();
    bytes[signed..].copy_from_slice(&signature);
    let twin = Event::from_bytes(&bytes).unwrap().verify().unwrap();
    assert!(twin.id() == event.id() && *twin != *event);
    twin
}

#[test]
fn an_event_that_waits_with_two_signatures_is_one_event() {
    let mut source = room_of(4, &[1]);
    let mut log = source.clone();
    let before = source.write(&person(0), Change::Rename(name("before")), NOW).unwrap();
    let removal = source.write(&person(1), Change::Remove(key(3)), NOW).unwrap();
    assert_eq!(log.take(removal.clone()), Ok(Taken::Waits));
    assert_eq!(log.take(signed_again(&removal, &person(1))), Ok(Taken::Known));
    assert_eq!(log.take(before.clone()), Ok(Taken::New(vec![before.id(), removal.id()])));
    assert_eq!(log.len(), source.len());
    // A second one would be in nobody's past, and make void what they do after they have come back.
    bring_in(&mut source, 0, 3, 90).unwrap();
    bring_in(&mut source, 3, 5, 91).unwrap();
    tell(&source, &mut log);
    assert_eq!(log.state(), source.state());
    assert!(log.state().is_member(&key(5)));
}

#[test]
fn an_event_that_is_there_is_not_taken_with_another_signature() {
    let mut log = room_of(3, &[]);
    let event = log.write(&person(0), Change::Rename(name("once")), NOW).unwrap();
    let length = log.len();
    assert_eq!(log.take(signed_again(&event, &person(0))), Ok(Taken::Known));
    assert_eq!(log.len(), length);
}
