//! What a person types about rooms.
//!
//! Entry type is [`RoomOrder`]. A room goes by one word: its name with dashes for spaces, or the first digits of its id.

use comm_proto::agent::Words;
use comm_proto::room::{Invitation, InvitationError, NameError, Office, Policy, RoomName};
use comm_proto::time::Span;

use crate::lifetime;
use crate::line::{Group, LineError};

/// Lines of a room's history when no number is given, and the most of one.
const HISTORY_DEFAULT: usize = 20;
const HISTORY_MAX: usize = 10_000;
/// How long an invitation is good if nothing is said.
const INVITED_FOR: Span = Span::from_days(7);

/// Every command about rooms.
pub(crate) const GROUP: Group = (
    "rooms",
    &[
        ("/rooms", "the rooms you are in, and how much of each you were not shown"),
        ("ROOM: TEXT", "say TEXT to all in ROOM; /msg, /reply, /info do as they do elsewhere"),
        ("/room create NAME", "found a room, which you own"),
        (
            "/room invite ROOM [WHO] [TIME]",
            "an invitation for one person, good for 7 days; with WHO it is sent to them",
        ),
        ("/join INVITATION", "ask to be let into a room"),
        ("/room members ROOM", "who is in it, and what they may do"),
        ("/room history ROOM [N]", "the last N lines (20)"),
        ("/room search ROOM WORDS", "the newest lines that have all WORDS"),
        ("/room rename ROOM NAME", "call it differently (admins)"),
        ("/room role ROOM WHO admin|member", "make somebody an admin, or none (the owner)"),
        ("/room remove ROOM WHO", "put somebody out (admins)"),
        ("/room lock ROOM [admins]", "let nobody in any more, or only by admins (admins)"),
        ("/room unlock ROOM", "let everybody in it invite (admins)"),
        ("/room invitations ROOM", "the invitations that can be used"),
        ("/room revoke ROOM TOKEN", "take an invitation back, by its first digits"),
        ("/room leave ROOM", "be in it no more"),
        ("/room forget ROOM", "remove a room that you have left, and all that was said there"),
    ],
);

/// A line about a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RoomOrder {
    Rooms,
    Create(RoomName),
    Join(Box<Invitation>),
    Invite { room: String, who: Option<String>, lifetime: Span },
    Members(String),
    History { room: String, count: usize },
    Search { room: String, words: Words },
    Rename { room: String, name: RoomName },
    Role { room: String, who: String, role: Office },
    Remove { room: String, who: String },
    Decide { room: String, policy: Policy },
    Invitations(String),
    Revoke { room: String, token: String },
    Leave(String),
    Forget(String),
}

/// Reads what stands behind `/room`.
pub(crate) fn parse(rest: &str) -> Result<RoomOrder, LineError> {
    let (verb, rest) = split(rest);
    let (room, tail) = split(rest);
    let words: Vec<&str> = rest.split_whitespace().collect();
    let owned = |word: &str| word.to_owned();
    match (verb, &words[..]) {
        ("create", [_, ..]) => Ok(RoomOrder::Create(name(rest)?)),
        ("create", _) => Err(LineError::Usage("/room create NAME")),
        ("invite", [room, more @ ..]) => invite(room, more),
        ("members", [room]) => Ok(RoomOrder::Members(owned(room))),
        ("history", [room, more @ ..]) => history(room, more),
        ("search", [_, _, ..]) => Words::new(tail)
            .map(|words| RoomOrder::Search { room: owned(room), words })
            .ok_or(LineError::Words),
        ("rename", [_, _, ..]) => Ok(RoomOrder::Rename { room: owned(room), name: name(tail)? }),
        ("role", [room, who, role]) => {
            let role = match *role {
                "admin" => Office::Admin,
                "member" => Office::Member,
                _ => return Err(usage("role")),
            };
            Ok(RoomOrder::Role { room: owned(room), who: owned(who), role })
        }
        ("remove", [room, who]) => Ok(RoomOrder::Remove { room: owned(room), who: owned(who) }),
        ("lock", [room]) => Ok(RoomOrder::Decide { room: owned(room), policy: Policy::Nobody }),
        ("lock", [room, "admins"]) => {
            Ok(RoomOrder::Decide { room: owned(room), policy: Policy::Admins })
        }
        ("unlock", [room]) => {
            Ok(RoomOrder::Decide { room: owned(room), policy: Policy::Everybody })
        }
        ("invitations", [room]) => Ok(RoomOrder::Invitations(owned(room))),
        ("revoke", [room, token]) => {
            Ok(RoomOrder::Revoke { room: owned(room), token: token.to_ascii_lowercase() })
        }
        ("leave", [room]) => Ok(RoomOrder::Leave(owned(room))),
        ("forget", [room]) => Ok(RoomOrder::Forget(owned(room))),
        (verb, _) => Err(usage(verb)),
    }
}

/// Reads what stands behind `/join`.
pub(crate) fn parse_join(rest: &str) -> Result<RoomOrder, LineError> {
    if rest.trim().is_empty() {
        return Err(LineError::Usage("/join INVITATION"));
    }
    let invitation = Invitation::parse(rest);
    invitation
        .map(|invitation| RoomOrder::Join(Box::new(invitation)))
        .map_err(|error: InvitationError| LineError::Room(error.to_string()))
}

/// A lone time is a time; somebody whose name looks like one needs the time too.
fn invite(room: &str, more: &[&str]) -> Result<RoomOrder, LineError> {
    let (who, time) = match more {
        [] => (None, None),
        [word] => match lifetime::parse(word) {
            Ok(lifetime) => (None, Some(lifetime)),
            Err(_) => (Some((*word).to_owned()), None),
        },
        [who, time] => {
            let lifetime = lifetime::parse(time).map_err(LineError::Lifetime)?;
            (Some((*who).to_owned()), Some(lifetime))
        }
        _ => return Err(usage("invite")),
    };
    let lifetime = time.unwrap_or(INVITED_FOR);
    Ok(RoomOrder::Invite { room: room.to_owned(), who, lifetime })
}

fn history(room: &str, more: &[&str]) -> Result<RoomOrder, LineError> {
    let count = match more {
        [] => Some(HISTORY_DEFAULT),
        [word] => word.parse().ok().filter(|count| (1..=HISTORY_MAX).contains(count)),
        _ => None,
    };
    let count = count.ok_or(usage("history"))?;
    Ok(RoomOrder::History { room: room.to_owned(), count })
}

fn name(text: &str) -> Result<RoomName, LineError> {
    RoomName::new(text.trim().to_owned())
        .map_err(|error: NameError| LineError::Room(error.to_string()))
}

/// How a command of this word is written.
fn usage(verb: &str) -> LineError {
    let begins =
        |usage: &&str| usage.strip_prefix("/room ").and_then(|u| u.split(' ').next()) == Some(verb);
    match GROUP.1.iter().map(|(usage, _)| *usage).find(begins) {
        Some(usage) => LineError::Usage(usage),
        None => LineError::Usage("/room create, invite, members, … ; /help lists all"),
    }
}

/// The first word, and what stands behind it.
pub(crate) fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<crate::line::Line, LineError> {
        line.parse()
    }

    fn order(line: &str) -> RoomOrder {
        match parsed(line) {
            Ok(crate::line::Line::Room(order)) => order,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn every_command_of_the_help_is_understood() {
        for (usage, _) in GROUP.1.iter().filter(|(usage, _)| usage.starts_with("/room ")) {
            let line = usage.replace("admin|member", "admin");
            let line = line.replace("[N]", "5").replace("[TIME]", "1d").replace(['[', ']'], "");
            order(&line);
        }
        assert_eq!(order("/rooms"), RoomOrder::Rooms);
    }

    #[test]
    fn a_name_may_have_spaces_and_a_time_may_stand_alone() {
        let name = RoomName::new("book club".to_owned()).unwrap();
        assert_eq!(order("/room create  book club "), RoomOrder::Create(name.clone()));
        let room = "old".to_owned();
        assert_eq!(order("/room rename old book club"), RoomOrder::Rename { room, name });
        let invite = |who: Option<&str>, lifetime| RoomOrder::Invite {
            room: "r".to_owned(),
            who: who.map(str::to_owned),
            lifetime,
        };
        assert_eq!(order("/room invite r"), invite(None, INVITED_FOR));
        assert_eq!(order("/room invite r bob"), invite(Some("bob"), INVITED_FOR));
        assert_eq!(order("/room invite r 12h"), invite(None, Span::from_mins(12 * 60)));
        assert_eq!(order("/room invite r bob 1d"), invite(Some("bob"), Span::DAY));
    }

    #[test]
    fn what_is_written_wrongly_is_answered_with_how_to_write_it() {
        let wrong = |line: &str| parsed(line).unwrap_err().to_string();
        assert_eq!(wrong("/room role club bob king"), "usage: /room role ROOM WHO admin|member");
        assert_eq!(wrong("/room members"), "usage: /room members ROOM");
        assert_eq!(wrong("/join"), "usage: /join INVITATION");
        assert!(wrong("/join comm:xyz").contains("no invitation"));
        assert!(wrong("/room dance").contains("/help"));
        assert!(wrong(&format!("/room create {}", "x".repeat(65))).contains("name"));
    }
}
