//! What the program tells of rooms.
//!
//! Entry type is [`Rooming`], with its lines for people ([`Rooming::plain`]) and for programs ([`Rooming::json`]).

use comm_proto::address::Address;
use comm_proto::agent::{
    Author, Delivery, MessageNumber, MessageState, Room, RoomInvitation, RoomLine, RoomMember,
    RoomStanding,
};
use comm_proto::room::{Change, Invitation, Policy, Refusal, Role, RoomId};
use serde_json::{Map, Value, json};

use crate::json;
use crate::moment::{Moments, written_at};
use crate::plain::{body, count_of, safe, state_text};
use crate::shown::Said;

/// Digits of an id that are enough to name a room, and of a key to name an invitation.
pub(crate) const DIGITS: usize = 8;

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rooming {
    /// Every room.
    Rooms(Vec<Room>),
    /// A room as it is now.
    Room(Room),
    /// We were let in.
    Joined(Room),
    /// Somebody who was asked says why not.
    NotLetIn { room: RoomId, by: Named, reason: Refusal },
    /// The text for one person, and to whom it was sent.
    Invited { room: Room, invitation: Box<Invitation>, sent_to: Option<Named> },
    /// The invitations that can be used, with who made them.
    Invitations { room: Room, invitations: Vec<(RoomInvitation, Named)> },
    /// Who is in a room.
    Members { room: Room, members: Vec<RoomMember> },
    /// Somebody said something.
    Said(RoomSaid),
    /// What we said is on disk.
    Queued(RoomSaid),
    /// What was said.
    History(Vec<RoomSaid>),
    /// What has the words that were searched for.
    Found(Vec<RoomSaid>),
    /// One line, with all that is known of it.
    Line { said: RoomSaid, deliveries: Vec<(Named, MessageState)> },
    /// A line of ours has come further, to one member.
    Delivery { room: Room, line: MessageNumber, member: Named, state: MessageState },
    /// Somebody has changed a room.
    Changed { room: Room, by: Named, change: Changed },
    /// Somebody has made two changes side by side.
    Forked { room: Room, by: Named },
    /// A room is not here any more.
    Forgotten(RoomId),
}

/// Somebody, as they are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) address: Address,
}

/// What was changed, with whom it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) change: Box<Change>,
    pub(crate) about: Option<Named>,
}

/// A line with the names of its room and its author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoomSaid {
    pub(crate) room: Room,
    pub(crate) author: String,
    pub(crate) line: RoomLine,
    /// The line that it answers, if that is here.
    pub(crate) answered: Option<Box<RoomLine>>,
}

/// The word that a room goes by.
pub(crate) fn handle(room: &Room) -> String {
    match &room.name {
        Some(name) => name
            .as_str()
            .split(|c: char| c.is_whitespace() || c == ':')
            .collect::<Vec<_>>()
            .join("-"),
        None => digits(room.id),
    }
}

fn digits(room: RoomId) -> String {
    room.to_string()[..DIGITS].to_owned()
}

impl Rooming {
    pub(crate) fn plain(&self, moments: &Moments) -> String {
        let lines = |said: &[RoomSaid], none: &str| {
            let lines: Vec<_> = said.iter().map(|said| said.plain(moments)).collect();
            if lines.is_empty() { none.to_owned() } else { lines.join("\n") }
        };
        match self {
            Self::Rooms(rooms) if rooms.is_empty() => {
                "you are in no room; /room create NAME founds one".to_owned()
            }
            Self::Rooms(rooms) => rooms.iter().map(line_of).collect::<Vec<_>>().join("\n"),
            Self::Room(room) => line_of(room),
            Self::Joined(room) => format!(
                "you are in {} with {}; {}: TEXT says something there",
                called(room),
                count_of(room.members.saturating_sub(1) as u64, "other"),
                safe(&handle(room))
            ),
            Self::NotLetIn { room, by, reason } => {
                format!("{} does not let you into room {}: {reason}", by.plain(), digits(*room))
            }
            Self::Invited { room, invitation, sent_to } => {
                invited(room, invitation, sent_to.as_ref(), moments)
            }
            Self::Invitations { room, invitations } if invitations.is_empty() => {
                format!("no invitation into {} can be used", called(room))
            }
            Self::Invitations { invitations, .. } => {
                let line = |(invitation, by): &(RoomInvitation, Named)| {
                    let (token, until) =
                        (invitation.token.to_string(), moments.show(invitation.expires_at));
                    format!("{} of {}, until {until}", &token[..DIGITS], by.plain())
                };
                invitations.iter().map(line).collect::<Vec<_>>().join("\n")
            }
            Self::Members { members, .. } => {
                members.iter().map(member_line).collect::<Vec<_>>().join("\n")
            }
            Self::Said(said) => said.plain(moments),
            Self::Queued(said) => {
                format!("#{} to {}: queued", said.line.entry.number.0, safe(&handle(&said.room)))
            }
            Self::History(said) => lines(said, "nothing was said yet"),
            Self::Found(said) => lines(said, "nothing has these words"),
            Self::Line { said, deliveries } => facts(said, deliveries, moments),
            Self::Delivery { room, line, member, state } => format!(
                "#{} to {}: {} for {}",
                line.0,
                safe(&handle(room)),
                state_text(state, moments),
                member.plain()
            ),
            Self::Changed { room, by, change } => {
                format!("({}: {} {})", safe(&handle(room)), by.plain(), change.plain(moments))
            }
            Self::Forked { room, by } => format!(
                "({}: {} has made two changes side by side, as no program does but from an old backup; \
                 at most one of them counts unless others have built on both)",
                safe(&handle(room)),
                by.plain()
            ),
            Self::Forgotten(room) => {
                format!("room {} is removed, with all that was said", digits(*room))
            }
        }
    }

    pub(crate) fn json(&self) -> Value {
        let list = |kind: &str, said: &[RoomSaid]| {
            let lines = said.iter().map(|said| Value::Object(said.json("room_line")));
            json!({ "type": kind, "lines": lines.collect::<Vec<_>>() })
        };
        match self {
            Self::Rooms(rooms) => {
                json!({ "type": "rooms", "rooms": rooms.iter().map(room_object).collect::<Vec<_>>() })
            }
            Self::Room(room) => typed("room", room_object(room)),
            Self::Joined(room) => typed("room_joined", room_object(room)),
            Self::NotLetIn { room, by, reason } => json!({
                "type": "room_refused", "room": room.to_string(), "name": by.name,
                "address": by.address.to_string(), "reason": refusal(*reason)
            }),
            Self::Invited { room, invitation, sent_to } => json!({
                "type": "room_invitation", "room": room.id.to_string(),
                "invitation": invitation.text().as_str(), "token": invitation.token().to_string(),
                "until": invitation.expires_at().as_millis(),
                "sent_to": sent_to.as_ref().map(|to| to.address.to_string())
            }),
            Self::Invitations { room, invitations } => {
                let object = |(invitation, by): &(RoomInvitation, Named)| {
                    json!({
                        "token": invitation.token.to_string(), "name": by.name,
                        "address": by.address.to_string(), "until": invitation.expires_at.as_millis()
                    })
                };
                let all: Vec<_> = invitations.iter().map(object).collect();
                json!({ "type": "room_invitations", "room": room.id.to_string(), "invitations": all })
            }
            Self::Members { room, members } => {
                let all: Vec<_> = members.iter().map(member_object).collect();
                json!({ "type": "room_members", "room": room.id.to_string(), "members": all })
            }
            Self::Said(said) => Value::Object(said.json("room_said")),
            Self::Queued(said) => Value::Object(said.json("room_queued")),
            Self::History(said) => list("room_history", said),
            Self::Found(said) => list("room_found", said),
            Self::Line { said, .. } => Value::Object(said.json("room_line")),
            Self::Delivery { room, line, member, state } => {
                let mut object = object(json!({
                    "type": "room_state", "room": room.id.to_string(), "number": line.0,
                    "name": member.name, "address": member.address.to_string()
                }));
                json::state_into(&mut object, state);
                Value::Object(object)
            }
            Self::Changed { room, by, change } => {
                let mut object = object(room_object(room));
                object.insert("type".to_owned(), json!("room_changed"));
                object.insert("by".to_owned(), json!(by.address.to_string()));
                object.insert("change".to_owned(), json!(change.kind()));
                let about = change.about.as_ref().map(|about| about.address.to_string());
                object.insert("about".to_owned(), json!(about));
                Value::Object(object)
            }
            Self::Forked { room, by } => json!({
                "type": "room_forked", "room": room.id.to_string(), "name": by.name,
                "address": by.address.to_string()
            }),
            Self::Forgotten(room) => json!({ "type": "room_forgotten", "room": room.to_string() }),
        }
    }
}

impl Named {
    fn plain(&self) -> String {
        safe(&self.name)
    }
}

impl Changed {
    fn kind(&self) -> &'static str {
        match &*self.change {
            Change::Invite { .. } => "invited",
            Change::Revoke(_) => "revoked",
            Change::Admit(_) => "let_in",
            Change::Leave => "left",
            Change::Remove(_) => "removed",
            Change::Appoint { .. } => "appointed",
            Change::Rename(_) => "renamed",
            Change::Decide(_) => "decided",
        }
    }

    fn plain(&self, moments: &Moments) -> String {
        let about = self.about.as_ref().map_or_else(|| "somebody".to_owned(), Named::plain);
        match &*self.change {
            Change::Invite { expires_at, .. } => {
                format!("has made an invitation, good until {}", moments.show(*expires_at))
            }
            Change::Revoke(_) => "has taken an invitation back".to_owned(),
            Change::Admit(_) => format!("has let {about} in"),
            Change::Leave => "has left".to_owned(),
            Change::Remove(_) => format!("has put {about} out"),
            Change::Appoint { role, .. } => match Role::from(*role) {
                Role::Member => format!("has made {about} a member like others"),
                Role::Admin | Role::Owner => format!("has made {about} an admin"),
            },
            Change::Rename(name) => format!("has named the room {}", safe(name.as_str())),
            Change::Decide(policy) => format!("has decided: {}", lets_in(*policy)),
        }
    }
}

impl RoomSaid {
    fn plain(&self, moments: &Moments) -> String {
        let entry = &self.line.entry;
        let (number, room) = (entry.number.0, safe(&handle(&self.room)));
        let at = moments.show(written_at(entry));
        let answered = match (&self.answered, entry.answers) {
            (Some(line), _) => format!(", answering #{}", line.entry.number.0),
            (None, Some(_)) => ", answering a line that is not here".to_owned(),
            (None, None) => String::new(),
        };
        let forked = if self.line.is_forked {
            "\n    (others were told that something else came before this)"
        } else {
            ""
        };
        match entry.author {
            Author::Us { .. } => {
                let state = reached(&self.line.deliveries);
                format!("[{at}] #{number} to {room}{answered}: {} ({state})", body(entry))
            }
            Author::Them { missing_before, place } => {
                let gap = match missing_before {
                    0 => String::new(),
                    some => format!(
                        "    … {} of {} missing\n",
                        count_of(some, "line"),
                        safe(&self.author)
                    ),
                };
                let late = if place.is_late() { " (late)" } else { "" };
                let author = safe(&self.author);
                format!(
                    "{gap}[{at}] #{number} {author} in {room}{answered}: {}{late}{forked}",
                    body(entry)
                )
            }
        }
    }

    fn json(&self, kind: &str) -> Map<String, Value> {
        let entry = self.line.entry.clone();
        let answered = self.answered.as_ref().map(|line| Box::new(line.entry.clone()));
        let said = Said { name: self.author.clone(), entry, answered };
        let mut object = json::said_object(kind, &said);
        object.insert("room".to_owned(), json!(self.room.id.to_string()));
        object.insert("room_name".to_owned(), json!(self.room.name.as_ref().map(|n| n.as_str())));
        object.insert("forked".to_owned(), json!(self.line.is_forked));
        if let Author::Us { .. } = self.line.entry.author {
            let to = |delivery: &Delivery| {
                let mut to = self::object(json!({ "address": delivery.member.to_string() }));
                json::state_into(&mut to, &delivery.state);
                Value::Object(to)
            };
            let recipients: Vec<_> = self.line.deliveries.iter().map(to).collect();
            object.insert("recipients".to_owned(), json!(recipients));
        }
        object
    }
}

/// A room with its name and the digits that tell it from others of this name.
fn called(room: &Room) -> String {
    match &room.name {
        Some(name) => format!("{} ({})", safe(name.as_str()), digits(room.id)),
        None => format!("room {}", digits(room.id)),
    }
}

fn line_of(room: &Room) -> String {
    let standing = match room.standing {
        RoomStanding::Member(role) => format!("you are {}", article(role)),
        RoomStanding::Former => "you are no member any more".to_owned(),
        RoomStanding::Asking { .. } => "you have asked to be let in".to_owned(),
    };
    let members = count_of(room.members as u64, "member");
    let unread = match room.unread {
        0 => String::new(),
        unread => format!(", {unread} not shown yet"),
    };
    let lacking = if room.is_lacking { ", something is missing" } else { "" };
    let policy = lets_in(room.policy);
    format!("{}: {standing}, {members}; {policy}{unread}{lacking}", called(room))
}

fn lets_in(policy: Policy) -> &'static str {
    match policy {
        Policy::Everybody => "all members invite",
        Policy::Admins => "admins invite",
        Policy::Nobody => "locked",
    }
}

fn article(role: Role) -> &'static str {
    match role {
        Role::Member => "a member",
        Role::Admin => "an admin",
        Role::Owner => "its owner",
    }
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Member => "member",
        Role::Admin => "admin",
        Role::Owner => "owner",
    }
}

fn member_line(member: &RoomMember) -> String {
    let us = if member.is_us { " (you)" } else { "" };
    let missing = match member.missing {
        0 => String::new(),
        some => format!(", {} missing", count_of(some, "line")),
    };
    let forked = if member.has_forked { ", has made changes side by side" } else { "" };
    let (address, name, role) = (member.address, safe(&member.name), word(member.role));
    format!("{address} {name}{us}: {role}{missing}{forked}")
}

fn invited(
    room: &Room,
    invitation: &Invitation,
    sent_to: Option<&Named>,
    moments: &Moments,
) -> String {
    let (name, until) = (called(room), moments.show(invitation.expires_at()));
    let (text, token) = (invitation.text(), invitation.token().to_string());
    let token = &token[..DIGITS];
    let revoke = format!("/room revoke {} {token} takes it back", safe(&handle(room)));
    match sent_to {
        Some(to) => {
            let to = to.plain();
            format!("an invitation into {name} goes to {to}, good once and until {until}; {revoke}")
        }
        None => format!(
            "{}\nlets one person into {name}, once and until {until}; {revoke}",
            text.as_str()
        ),
    }
}

/// How many of those it was for have a line.
fn reached(deliveries: &[Delivery]) -> String {
    let has = |delivery: &&Delivery| matches!(delivery.state, MessageState::Delivered { .. });
    let have = deliveries.iter().filter(has).count();
    format!("delivered to {have} of {}", deliveries.len())
}

fn facts(said: &RoomSaid, deliveries: &[(Named, MessageState)], moments: &Moments) -> String {
    let entry = &said.line.entry;
    let mut text = match entry.author {
        Author::Us { .. } => format!("#{} to {}", entry.number.0, called(&said.room)),
        Author::Them { .. } => {
            format!("#{} of {} in {}", entry.number.0, safe(&said.author), called(&said.room))
        }
    };
    text.push_str(&format!("\n  written: {}", moments.show(written_at(entry))));
    for (member, state) in deliveries {
        let (name, address) = (member.plain(), member.address);
        text.push_str(&format!("\n  {name} ({address}): {}", state_text(state, moments)));
    }
    if let Some(id) = entry.id {
        text.push_str(&format!("\n  id: {id}"));
    }
    text.push_str(&format!("\n  text: {}", body(entry)));
    text
}

fn refusal(reason: Refusal) -> &'static str {
    match reason {
        Refusal::Unknown => "unknown",
        Refusal::Used => "used",
        Refusal::Revoked => "revoked",
        Refusal::Expired => "expired",
        Refusal::Locked => "locked",
        Refusal::Full => "full",
        Refusal::AlreadyMember => "already_member",
    }
}

fn room_object(room: &Room) -> Value {
    let (standing, role, until) = match room.standing {
        RoomStanding::Member(role) => ("member", Some(word(role)), None),
        RoomStanding::Former => ("former", None, None),
        RoomStanding::Asking { until } => ("asking", None, Some(until.as_millis())),
    };
    json!({
        "room": room.id.to_string(),
        "room_name": room.name.as_ref().map(|name| name.as_str()),
        "handle": handle(room),
        "standing": standing,
        "role": role,
        "until": until,
        "members": room.members,
        "invites": match room.policy {
            Policy::Everybody => "everybody",
            Policy::Admins => "admins",
            Policy::Nobody => "nobody",
        },
        "unread": room.unread,
        "lacking": room.is_lacking,
    })
}

fn member_object(member: &RoomMember) -> Value {
    json!({
        "address": member.address.to_string(),
        "key": member.key.to_string(),
        "name": member.name,
        "role": word(member.role),
        "us": member.is_us,
        "missing": member.missing,
        "forked": member.has_forked,
    })
}

fn typed(kind: &str, value: Value) -> Value {
    let mut object = object(value);
    object.insert("type".to_owned(), json!(kind));
    Value::Object(object)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
