//! Rooms: the log of who belongs together, invitations, and what is said (PROTOCOL §4.14 to §4.18).

mod attacks;
mod crowding;
mod forking;
mod leaving;
mod merging;
mod sizes;
mod talking;
mod twins;
mod village;

use std::collections::BTreeSet;

use comm_proto::address::Address;
use comm_proto::key::{KeyPair, PublicKey};
use comm_proto::room::{
    Body, Change, Event, EventId, Heads, Invitation, Join, Log, LogError, Office, RoomName, Taken,
    Verdict, admit,
};
use comm_proto::time::{Span, Time};
use comm_proto::verified::Verified;

pub(crate) const NOW: Time = Time::from_millis(1_700_000_000_000);

/// Somebody, by number. Number 0 founds the rooms.
pub(crate) fn person(number: u8) -> KeyPair {
    KeyPair::from_seed(&[number.wrapping_add(1); 32])
}

pub(crate) fn key(number: u8) -> PublicKey {
    person(number).public()
}

pub(crate) fn name(text: &str) -> RoomName {
    RoomName::new(text.to_owned()).unwrap()
}

pub(crate) fn founded() -> Log {
    Log::new(Event::found(&person(0), name("book club"), [7; 32], NOW)).unwrap()
}

/// Invites, as member `by`, with a token that has the seed `seed`.
pub(crate) fn invite(log: &mut Log, by: u8, seed: u16) -> Result<Invitation, LogError> {
    let mut bytes = [0xc3; 32];
    bytes[..2].copy_from_slice(&seed.to_be_bytes());
    let expires_at = NOW + Span::DAY;
    let invitation = Invitation::new(log.room(), key(by), Vec::new(), bytes, expires_at);
    let change = Change::Invite { token: invitation.token(), expires_at };
    log.write(&person(by), change, NOW)?;
    Ok(invitation)
}

/// Has member `by` bring in `joiner`.
pub(crate) fn bring_in(log: &mut Log, by: u8, joiner: u8, seed: u16) -> Result<EventId, LogError> {
    let invitation = invite(log, by, seed)?;
    // Drawn anew for each join.
    let mut fresh = [joiner; 32];
    fresh[..2].copy_from_slice(&seed.to_be_bytes());
    let join = Join::sign(&invitation, &person(joiner), fresh);
    admit(log, &person(by), &join, NOW)
}

/// A room of which the people 0 to `members` - 1 are members, 0 its owner, and `admins` admins.
pub(crate) fn room_of(members: u8, admins: &[u8]) -> Log {
    let mut log = founded();
    for joiner in 1..members {
        bring_in(&mut log, 0, joiner, joiner.into()).unwrap();
    }
    for admin in admins {
        appoint(&mut log, *admin, Office::Admin);
    }
    log
}

pub(crate) fn appoint(log: &mut Log, member: u8, role: Office) {
    let change = Change::Appoint { member: key(member), role };
    log.write(&person(0), change, NOW).unwrap();
}

/// An event made by hand, behind whatever its author claims to have known.
pub(crate) fn forged(
    log: &Log,
    author: u8,
    previous: Option<EventId>,
    parents: &[EventId],
    change: Change,
) -> Verified<Event> {
    let parents = Heads::of(&parents.iter().copied().collect::<BTreeSet<_>>()).unwrap();
    let body = Body::Change { room: log.room(), previous, parents, change };
    Event::sign(&person(author), body, NOW)
}

/// Everything that one log has comes into another, but for what stands beside other events of its author and nobody has built on.
pub(crate) fn tell(from: &Log, to: &mut Log) {
    for event in from.events() {
        match to.take(event.clone()) {
            // What is built on such an event waits for it.
            Ok(taken) => {
                let is_forked = !(from.forks().is_empty() && to.forks().is_empty());
                assert!(taken != Taken::Waits || is_forked);
            }
            Err(why) => {
                assert_eq!(why, LogError::Beside);
                assert!(is_forker(from, event.author()) || is_forker(to, event.author()));
            }
        }
    }
}

pub(crate) fn is_forker(log: &Log, author: &PublicKey) -> bool {
    log.forks().iter().any(|fork| fork.author == *author)
}

/// What stands in a log.
pub(crate) fn standing(log: &Log) -> BTreeSet<EventId> {
    let stands = |id: &EventId| log.verdict(id) != Some(Verdict::Beside);
    log.events().map(|event| event.id()).filter(stands).collect()
}

pub(crate) fn address(number: u8) -> Address {
    key(number).address()
}
