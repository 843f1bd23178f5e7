//! What a person types.
//!
//! Entry type is [`Line`]. The text of a message is taken as it is; everything around it must be
//! spelt exactly, and what cannot be understood is answered with how to write it.

use std::path::PathBuf;
use std::str::FromStr;

use comm_proto::address::{Address, ParseAddressError};
use comm_proto::agent::{Comparison, MessageNumber, ReceiptRule, Words};
use comm_proto::key::PublicKey;
use comm_proto::link::{Link, LinkError};
use comm_proto::time::Span;
use thiserror::Error;

use crate::acquaintance::Form;
use crate::file_line::{self, FileLine};
use crate::lifetime;
use crate::room_order::{self, RoomOrder, split};
use crate::shown::Bell;

/// Entries of a history when no number is given, and the most of one.
const HISTORY_DEFAULT: usize = 20;
const HISTORY_MAX: usize = 10_000;
/// From how many hexadecimal digits on a word is meant to be an address.
const LIKE_ADDRESS: usize = 24;

/// Commands that belong together, each with what it does.
pub(crate) type Group = (&'static str, &'static [(&'static str, &'static str)]);

/// Every command, in the order in which help shows them.
pub(crate) const HELP: &[Group] = &[
    (
        "messages",
        &[
            ("ADDRESS TEXT", "say TEXT to whoever has the address of 40 digits"),
            ("NAME: TEXT", "say TEXT to a contact"),
            ("/msg NAME TEXT", "the same"),
            ("/reply ID TEXT", "say TEXT as an answer to message #ID"),
            (
                "/forward ID NAME [named]",
                "say the text of #ID to NAME, and with named who wrote it",
            ),
            ("/edit ID TEXT", "give your message #ID the text TEXT"),
            ("/delete ID", "remove your message #ID, here and there"),
            ("/cancel ID", "take back your message #ID unless it was delivered"),
            ("/info ID", "all that is known of message #ID, and how far yours has come"),
            ("/status ID", "the same"),
            ("/ttl [TIME]", "how long what you write from now on waits, e.g. 90m, 12h or 14d"),
        ],
    ),
    (
        "conversations",
        &[
            (
                "/conversations",
                "what was said last with everybody, and how much you were not shown",
            ),
            ("/history [NAME] [N]", "the last N messages (20), with NAME or with everybody"),
            ("/search WORDS", "the newest messages that have all WORDS"),
            (
                "/export NAME FILE",
                "write all that was said to a new FILE; as JSON if it ends in .json",
            ),
            ("/mute NAME", "ring no bell when NAME writes"),
            ("/unmute NAME", "ring it again"),
            ("/bell [on|off]", "whether a message rings the bell of the terminal"),
            (
                "/timer NAME [TIME]",
                "after which time what you both say disappears, e.g. 30s, 12h, 7d or off",
            ),
            (
                "/receipts [NAME] [on|off]",
                "whether NAME, or everybody, is told which messages you were shown",
            ),
        ],
    ),
    (
        "contacts",
        &[
            ("/contacts", "everybody you know, and how well you are connected"),
            ("/add LINK [NAME]", "make a contact of whoever gave you LINK; an address will do"),
            (
                "/contact add NAME ADDRESS [NOTE]",
                "give an address or a link a name, or another name",
            ),
            ("/contact note NAME [NOTE]", "remember NOTE about NAME; without one, forget it"),
            ("/contact remove NAME", "remove NAME and all that you said to each other"),
            ("/verify NAME", "the number to compare with NAME by voice"),
            ("/verify NAME same", "note that NAME sees the same number; forget takes that back"),
            ("/trust NAME", "go on with the key of NAME that is in doubt"),
            ("/link [NAME] [entries]", "your link to give away, with NAME and where your node is"),
            ("/qr [NAME] [entries]", "the same as a code for cameras"),
        ],
    ),
    (
        "who may write to you",
        &[
            ("/requests", "who wants to write to you, and waits to be let in"),
            ("/accept WHO [NAME]", "let in who asks, by address or its first 8 digits, as NAME"),
            ("/refuse WHO", "forget what WHO wrote, and hear nothing of them for 30 days; or all"),
            ("/block NAME", "hear nothing of NAME any more, who is not told"),
            ("/unblock NAME", "hear NAME again"),
            ("/blocked", "whom you have blocked"),
        ],
    ),
    (
        "you and the network",
        &[
            ("/profile [set NAME [TEXT]]", "what you call yourself, and say to contacts"),
            ("/profile off", "say nothing of yourself any more"),
            ("/whoami", "your address, your node, what waits to be delivered"),
            ("/peers", "the nodes that your node knows"),
            ("/offline", "leave the network; what you say waits"),
            ("/online", "come back"),
            ("/backup FILE", "copy everything to a new FILE; use one of the two copies only"),
        ],
    ),
    crate::file_line::GROUP,
    crate::room_order::GROUP,
    ("the program", &[("/help", "this list"), ("/quit", "end the program")]),
];

/// A line that means something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// An empty line.
    Nothing,
    Send {
        to: Who,
        text: String,
    },
    Reply {
        to: MessageNumber,
        text: String,
    },
    Forward {
        number: MessageNumber,
        to: Who,
        origin: Origin,
    },
    Edit {
        number: MessageNumber,
        text: String,
    },
    Delete(MessageNumber),
    Conversations,
    Search(Words),
    Export {
        who: Who,
        file: PathBuf,
    },
    Mute {
        who: Who,
        muted: bool,
    },
    /// To be shown, if it is not set.
    Bell(Option<Bell>),
    /// To be shown; of everybody, if of nobody.
    Receipts(Option<Who>),
    SetReceipts {
        of: Option<Who>,
        rule: ReceiptRule,
    },
    /// To be shown.
    Timer(Who),
    SetTimer {
        who: Who,
        lifetime: Option<Span>,
    },
    AddContact {
        name: String,
        whose: Whose,
        note: Option<String>,
    },
    NoteContact {
        who: Who,
        note: String,
    },
    RemoveContact(Who),
    Contacts,
    History {
        who: Option<Who>,
        count: usize,
    },
    Info(MessageNumber),
    Cancel(MessageNumber),
    /// Who may write to us, and links.
    People(PeopleLine),
    Room(RoomOrder),
    File(FileLine),
    WhoAmI,
    Peers,
    Lifetime(Option<Span>),
    Backup(PathBuf),
    Offline,
    Online,
    Help,
    Quit,
}

/// A line about who may write to us, and about links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PeopleLine {
    Requests,
    Accept { who: Who, name: Option<String> },
    Refuse(Who),
    RefuseAll,
    Block(Who),
    Unblock(Who),
    Blocked,
    Verify(Who),
    Compare { who: Who, comparison: Comparison },
    Trust(Who),
    Profile,
    SetProfile { name: String, status: String },
    Link { name: Option<String>, entries: bool, form: Form },
    Add { whose: Whose, name: Option<String> },
}

/// Whom a word is about that may be a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Address(Address),
    Link(Box<Link>),
}

impl Whose {
    pub(crate) fn address(&self) -> Address {
        match self {
            Self::Address(address) => *address,
            Self::Link(link) => link.address(),
        }
    }

    /// Their key, which a link has.
    pub(crate) fn key(&self) -> Option<PublicKey> {
        match self {
            Self::Address(_) => None,
            Self::Link(link) => Some(*link.key()),
        }
    }

    /// What they want to go by, if their link says so.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Address(_) => None,
            Self::Link(link) => link.name(),
        }
    }
}

/// Whether a word is meant to be a link.
pub(crate) fn is_like_link(word: &str) -> bool {
    word.get(..5).is_some_and(|head| head.eq_ignore_ascii_case("comm:"))
}

/// Whether it is said whose text is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Named,
    Hidden,
}

/// Somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Address(Address),
    Name(String),
}

/// Why a line means nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum LineError {
    #[error("to whom? write ADDRESS TEXT or NAME: TEXT; /help lists everything")]
    NoRecipient,
    #[error("there is nothing to send")]
    NoText,
    #[error("\"{word}\" is no address: {reason}")]
    Address { word: String, reason: ParseAddressError },
    #[error("{0}")]
    Link(LinkError),
    /// About a room's name or an invitation.
    #[error("{0}")]
    Room(String),
    #[error("there is no command {0}; /help lists all")]
    Unknown(String),
    #[error("usage: {0}")]
    Usage(&'static str),
    #[error("/{0} takes nothing behind it")]
    Alone(String),
    #[error("{0}")]
    Lifetime(String),
    #[error("write /search with 1 to 16 words, at most 256 bytes")]
    Words,
}

impl FromStr for Line {
    type Err = LineError;

    fn from_str(line: &str) -> Result<Self, LineError> {
        if line.trim().is_empty() {
            return Ok(Self::Nothing);
        }
        match line.strip_prefix('/') {
            Some(command) => parse_command(command),
            None => parse_message(line),
        }
    }
}

fn parse_message(line: &str) -> Result<Line, LineError> {
    let (word, text) = line.split_once(' ').unwrap_or((line, ""));
    match word.parse::<Address>() {
        Ok(address) => return send(Who::Address(address), text),
        Err(reason) if is_like_address(word) => {
            return Err(LineError::Address { word: word.to_owned(), reason });
        }
        Err(_) => {}
    }
    let (name, text) = line.split_once(':').ok_or(LineError::NoRecipient)?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(LineError::NoRecipient);
    }
    send(who(name), text.strip_prefix(' ').unwrap_or(text))
}

fn is_like_address(word: &str) -> bool {
    word.len() >= LIKE_ADDRESS && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn send(to: Who, text: &str) -> Result<Line, LineError> {
    if text.is_empty() {
        return Err(LineError::NoText);
    }
    Ok(Line::Send { to, text: text.to_owned() })
}

pub(crate) fn who(word: &str) -> Who {
    word.parse().map_or_else(|_| Who::Name(word.to_owned()), Who::Address)
}

fn parse_command(line: &str) -> Result<Line, LineError> {
    let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
    let words: Vec<&str> = rest.split_whitespace().collect();
    match (command, &words[..]) {
        ("msg", _) => parse_msg(rest),
        ("contact", _) => parse_contact(rest),
        ("room", _) => room_order::parse(rest).map(Line::Room),
        ("send" | "take" | "stop", _) => file_line::parse(command, rest).map(Line::File),
        ("join", _) => room_order::parse_join(rest).map(Line::Room),
        ("ttl", []) => Ok(Line::Lifetime(None)),
        ("ttl", [time]) => lifetime::parse(time)
            .map(|time| Line::Lifetime(Some(time)))
            .map_err(LineError::Lifetime),
        ("ttl", _) => Err(LineError::Usage("/ttl [TIME]")),
        ("search" | "export" | "mute" | "unmute" | "bell", words) => {
            parse_conversation(command, rest, words)
        }
        ("forward", words) => parse_forward(words),
        ("receipts", words) => parse_receipts(words),
        ("timer", [name]) => Ok(Line::Timer(who(name))),
        ("timer", [name, time]) => lifetime::parse_stay(time)
            .map(|lifetime| Line::SetTimer { who: who(name), lifetime })
            .map_err(LineError::Lifetime),
        ("timer", _) => Err(LineError::Usage("/timer NAME [TIME]")),
        ("profile", _) => parse_profile(rest).map(Line::People),
        ("backup", []) => Err(LineError::Usage("/backup FILE")),
        // A name of a file may have spaces.
        ("backup", _) => Ok(Line::Backup(rest.trim().into())),
        ("history", words) => parse_history(words),
        ("reply" | "edit" | "delete" | "info" | "status" | "cancel", _) => {
            parse_about(command, rest)
        }
        (
            "verify" | "trust" | "accept" | "refuse" | "block" | "unblock" | "add" | "link" | "qr",
            words,
        ) => parse_people(command, words).map(Line::People),
        (command, []) => parse_word(command),
        (command, _) => match parse_word(command) {
            Ok(_) => Err(LineError::Alone(command.to_owned())),
            unknown => unknown,
        },
    }
}

fn parse_word(command: &str) -> Result<Line, LineError> {
    match command {
        "contacts" => Ok(Line::Contacts),
        "rooms" => Ok(Line::Room(RoomOrder::Rooms)),
        "files" => Ok(Line::File(FileLine::List)),
        "requests" => Ok(Line::People(PeopleLine::Requests)),
        "blocked" => Ok(Line::People(PeopleLine::Blocked)),
        "conversations" => Ok(Line::Conversations),
        "whoami" => Ok(Line::WhoAmI),
        "peers" => Ok(Line::Peers),
        "offline" => Ok(Line::Offline),
        "online" => Ok(Line::Online),
        "help" => Ok(Line::Help),
        "quit" => Ok(Line::Quit),
        other => Err(LineError::Unknown(format!("/{other}"))),
    }
}

fn parse_msg(rest: &str) -> Result<Line, LineError> {
    match rest.split_once(' ') {
        Some((name, text)) if !name.is_empty() => send(who(name), text),
        _ => Err(LineError::Usage("/msg NAME TEXT")),
    }
}

/// A name of a file may have spaces.
fn parse_conversation(command: &str, rest: &str, words: &[&str]) -> Result<Line, LineError> {
    match (command, words) {
        ("search", _) => Words::new(rest).map(Line::Search).ok_or(LineError::Words),
        ("export", [name, _, ..]) => {
            let file = split(rest).1.trim_end().into();
            Ok(Line::Export { who: who(name), file })
        }
        ("export", _) => Err(LineError::Usage("/export NAME FILE")),
        ("mute", [name]) => Ok(Line::Mute { who: who(name), muted: true }),
        ("mute", _) => Err(LineError::Usage("/mute NAME")),
        ("unmute", [name]) => Ok(Line::Mute { who: who(name), muted: false }),
        ("unmute", _) => Err(LineError::Usage("/unmute NAME")),
        (_, []) => Ok(Line::Bell(None)),
        (_, ["on"]) => Ok(Line::Bell(Some(Bell::On))),
        (_, ["off"]) => Ok(Line::Bell(Some(Bell::Off))),
        _ => Err(LineError::Usage("/bell [on|off]")),
    }
}

fn parse_forward(words: &[&str]) -> Result<Line, LineError> {
    let usage = LineError::Usage("/forward ID NAME [named]");
    let (id, name, origin) = match words {
        [id, name] => (id, name, Origin::Hidden),
        [id, name, "named"] => (id, name, Origin::Named),
        _ => return Err(usage),
    };
    let number = number(id).ok_or(usage)?;
    Ok(Line::Forward { number, to: who(name), origin })
}

/// A lone `on` or `off` is about everybody.
fn parse_receipts(words: &[&str]) -> Result<Line, LineError> {
    let usage = LineError::Usage("/receipts [NAME] [on|off|default]");
    let rule = |word: &str| match word {
        "on" => Some(ReceiptRule::Send),
        "off" => Some(ReceiptRule::Withhold),
        _ => None,
    };
    match words {
        [] => Ok(Line::Receipts(None)),
        [word] => Ok(match rule(word) {
            Some(rule) => Line::SetReceipts { of: None, rule },
            None => Line::Receipts(Some(who(word))),
        }),
        [name, "default"] => {
            Ok(Line::SetReceipts { of: Some(who(name)), rule: ReceiptRule::AsForAll })
        }
        [name, word] => {
            let rule = rule(word).ok_or(usage)?;
            Ok(Line::SetReceipts { of: Some(who(name)), rule })
        }
        _ => Err(usage),
    }
}

/// What is about one message. A text behind its number is taken as it is.
fn parse_about(command: &str, rest: &str) -> Result<Line, LineError> {
    let rest = rest.trim_start();
    let (id, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let has_text = !text.trim().is_empty();
    let (line, usage) = match (command, number(id)) {
        ("reply", to) => {
            let reply = |to| Line::Reply { to, text: text.to_owned() };
            (to.filter(|_| has_text).map(reply), "/reply ID TEXT")
        }
        ("edit", number) => {
            let edit = |number| Line::Edit { number, text: text.to_owned() };
            (number.filter(|_| has_text).map(edit), "/edit ID TEXT")
        }
        ("delete", id) => (id.filter(|_| !has_text).map(Line::Delete), "/delete ID"),
        ("cancel", id) => (id.filter(|_| !has_text).map(Line::Cancel), "/cancel ID"),
        ("status", id) => (id.filter(|_| !has_text).map(Line::Info), "/status ID"),
        (_, id) => (id.filter(|_| !has_text).map(Line::Info), "/info ID"),
    };
    line.ok_or(LineError::Usage(usage))
}

/// A note is the rest of its line.
fn parse_contact(rest: &str) -> Result<Line, LineError> {
    let (verb, rest) = split(rest);
    let (name, rest) = split(rest);
    match (verb, name, rest) {
        ("list", "", "") => Ok(Line::Contacts),
        ("add", name, rest) if !rest.is_empty() => {
            let (address, note) = split(rest);
            let whose = whose(address)?;
            let note = Some(note.to_owned()).filter(|note| !note.is_empty());
            Ok(Line::AddContact { name: name.to_owned(), whose, note })
        }
        ("note", name, note) if !name.is_empty() => {
            Ok(Line::NoteContact { who: who(name), note: note.to_owned() })
        }
        ("remove", name, "") if !name.is_empty() => Ok(Line::RemoveContact(who(name))),
        ("note", ..) => Err(LineError::Usage("/contact note NAME [NOTE]")),
        ("remove", ..) => Err(LineError::Usage("/contact remove NAME")),
        _ => Err(LineError::Usage("/contact add NAME ADDRESS [NOTE]")),
    }
}

fn whose(word: &str) -> Result<Whose, LineError> {
    if is_like_link(word) {
        return word.parse().map(|link| Whose::Link(Box::new(link))).map_err(LineError::Link);
    }
    let wrong = |reason| LineError::Address { word: word.to_owned(), reason };
    word.parse().map(Whose::Address).map_err(wrong)
}

fn parse_people(command: &str, words: &[&str]) -> Result<PeopleLine, LineError> {
    let name = |word: &str| Some(word.to_owned());
    let link = |name: Option<&str>, entries| {
        let form = if command == "qr" { Form::Code } else { Form::Text };
        Ok(PeopleLine::Link { name: name.map(str::to_owned), entries, form })
    };
    match (command, words) {
        ("verify", [of]) => Ok(PeopleLine::Verify(who(of))),
        ("verify", [of, "same"]) => {
            Ok(PeopleLine::Compare { who: who(of), comparison: Comparison::Same })
        }
        ("verify", [of, "forget"]) => {
            Ok(PeopleLine::Compare { who: who(of), comparison: Comparison::Open })
        }
        ("verify", _) => Err(LineError::Usage("/verify NAME [same|forget]")),
        ("trust", [of]) => Ok(PeopleLine::Trust(who(of))),
        ("trust", _) => Err(LineError::Usage("/trust NAME")),
        ("accept", [asks]) => Ok(PeopleLine::Accept { who: who(asks), name: None }),
        ("accept", [asks, as_name]) => {
            Ok(PeopleLine::Accept { who: who(asks), name: name(as_name) })
        }
        ("accept", _) => Err(LineError::Usage("/accept WHO [NAME]")),
        ("refuse", ["all"]) => Ok(PeopleLine::RefuseAll),
        ("refuse", [asks]) => Ok(PeopleLine::Refuse(who(asks))),
        ("refuse", _) => Err(LineError::Usage("/refuse WHO, or /refuse all")),
        ("block", [one]) => Ok(PeopleLine::Block(who(one))),
        ("block", _) => Err(LineError::Usage("/block NAME")),
        ("unblock", [one]) => Ok(PeopleLine::Unblock(who(one))),
        ("unblock", _) => Err(LineError::Usage("/unblock NAME")),
        ("add", [one]) => Ok(PeopleLine::Add { whose: whose(one)?, name: None }),
        ("add", [one, as_name]) => Ok(PeopleLine::Add { whose: whose(one)?, name: name(as_name) }),
        ("add", _) => Err(LineError::Usage("/add LINK [NAME]")),
        (_, []) => link(None, false),
        (_, ["entries"]) => link(None, true),
        (_, [as_name]) => link(Some(as_name), false),
        (_, [as_name, "entries"]) => link(Some(as_name), true),
        ("qr", _) => Err(LineError::Usage("/qr [NAME] [entries]")),
        _ => Err(LineError::Usage("/link [NAME] [entries]")),
    }
}

/// What is said of oneself is the rest of its line.
fn parse_profile(rest: &str) -> Result<PeopleLine, LineError> {
    let (verb, rest) = split(rest);
    let (name, status) = split(rest);
    match (verb, name) {
        ("", _) => Ok(PeopleLine::Profile),
        ("off", "") => Ok(PeopleLine::SetProfile { name: String::new(), status: String::new() }),
        ("set", name) if !name.is_empty() => {
            Ok(PeopleLine::SetProfile { name: name.to_owned(), status: status.to_owned() })
        }
        _ => Err(LineError::Usage("/profile [set NAME [TEXT]], or /profile off")),
    }
}

/// A lone number is a count; somebody whose name is a number needs the count too.
fn parse_history(words: &[&str]) -> Result<Line, LineError> {
    let usage = LineError::Usage("/history [NAME] [N]");
    let count = |word: &str| word.parse().ok().filter(|count| (1..=HISTORY_MAX).contains(count));
    match words {
        [] => Ok(Line::History { who: None, count: HISTORY_DEFAULT }),
        [word] => Ok(match count(word) {
            Some(count) => Line::History { who: None, count },
            None => Line::History { who: Some(who(word)), count: HISTORY_DEFAULT },
        }),
        [name, word] => {
            let count = count(word).ok_or(usage)?;
            Ok(Line::History { who: Some(who(name)), count })
        }
        _ => Err(usage),
    }
}

pub(crate) fn number(word: &str) -> Option<MessageNumber> {
    let digits = word.strip_prefix('#').unwrap_or(word);
    digits.parse().ok().filter(|number| *number > 0).map(MessageNumber)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "44751799925b964a00bae3863cc4236f9bb8d519";

    fn parse(line: &str) -> Result<Line, LineError> {
        line.parse()
    }

    fn link() -> String {
        let key = *comm_proto::identity::Identity::from_seed(&[1; 32]).public();
        Link::new(key, Some("bob".to_owned()), Vec::new()).unwrap().to_string()
    }

    #[test]
    fn a_link_stands_where_an_address_may_and_a_damaged_one_is_told_as_such() {
        let whose = Whose::Link(Box::new(link().parse().unwrap()));
        let add = PeopleLine::Add { whose: whose.clone(), name: Some("ann".to_owned()) };
        assert_eq!(parse(&format!("/add {} ann", link())), Ok(Line::People(add)));
        let add = Line::AddContact { name: "ann".to_owned(), whose, note: None };
        assert_eq!(parse(&format!("/contact add ann {}", link())), Ok(add));
        let damaged = &link()[..60];
        assert_eq!(parse(&format!("/add {damaged}")), Err(LineError::Link(LinkError::Checksum)));
        assert!(matches!(parse("/add nobody"), Err(LineError::Address { .. })));
        assert_eq!(parse("/accept"), Err(LineError::Usage("/accept WHO [NAME]")));
        let refuse = PeopleLine::Refuse(Who::Name("44751799".to_owned()));
        assert_eq!(parse("/refuse 44751799"), Ok(Line::People(refuse)));
        assert_eq!(parse("/refuse all"), Ok(Line::People(PeopleLine::RefuseAll)));
    }

    fn invitation() -> String {
        let key = *comm_proto::identity::Identity::from_seed(&[1; 32]).public();
        let room = comm_proto::room::RoomId::from_bytes([2; 32]);
        let until = comm_proto::time::Time::from_millis(1);
        let invitation = comm_proto::room::Invitation::new(room, key, Vec::new(), [3; 32], until);
        invitation.text().to_string()
    }

    fn text_to(to: Who, text: &str) -> Result<Line, LineError> {
        Ok(Line::Send { to, text: text.to_owned() })
    }

    #[test]
    fn a_text_is_taken_as_it_is() {
        let address = Who::Address(ADDRESS.parse().unwrap());
        let ann = || Who::Name("ann".to_owned());
        for text in ["hi", " two  spaces ", "a: b", "/help", "👩‍👩‍👧 ü", "\ttab"] {
            assert_eq!(parse(&format!("{ADDRESS} {text}")), text_to(address.clone(), text));
            assert_eq!(parse(&format!("ann: {text}")), text_to(ann(), text));
            assert_eq!(parse(&format!("/msg ann {text}")), text_to(ann(), text));
        }
        assert_eq!(parse("ann:hi"), text_to(ann(), "hi"));
        assert_eq!(parse(&format!("{ADDRESS}: hi")), text_to(address, "hi"));
    }

    #[test]
    fn every_command_in_the_help_is_understood() {
        let line = |usage: &str| {
            usage
                .replace("ADDRESS", ADDRESS)
                .replace("[set NAME [TEXT]]", "set ann hi")
                .replace("[NAME]", "ann")
                .replace("[named]", "named")
                .replace("[N]", "5")
                .replace("NAME", "ann")
                .replace("TEXT", "hi")
                .replace("ID", "#7")
                .replace("[TIME]", "90m")
                .replace("[on|off]", "on")
                .replace("[entries]", "entries")
                .replace("WHO", "44751799")
                .replace("admin|member", "admin")
                .replace("[admins]", "admins")
                .replace("INVITATION", &invitation())
                .replace("LINK", &link())
                .replace("WORDS", "hi")
                .replace("FILE", "a file")
        };
        for (usage, _) in HELP.iter().flat_map(|(_, commands)| commands.iter()) {
            assert!(parse(&line(usage)).is_ok(), "{usage}");
        }
    }

    #[test]
    fn a_history_may_have_a_name_a_count_both_or_neither() {
        let history = |who: Option<&str>, count| {
            Ok(Line::History { who: who.map(|name| Who::Name(name.to_owned())), count })
        };
        assert_eq!(parse("/history"), history(None, 20));
        assert_eq!(parse("/history 5"), history(None, 5));
        assert_eq!(parse("/history ann"), history(Some("ann"), 20));
        assert_eq!(parse("/history ann 5"), history(Some("ann"), 5));
        assert_eq!(parse("/history ann 0"), Err(LineError::Usage("/history [NAME] [N]")));
    }

    #[test]
    fn a_note_is_the_rest_of_its_line() {
        let add = |note: Option<&str>| {
            let (name, address) = ("ann".to_owned(), ADDRESS.parse().unwrap());
            let whose = Whose::Address(address);
            Ok(Line::AddContact { name, whose, note: note.map(str::to_owned) })
        };
        assert_eq!(parse(&format!("/contact add ann {ADDRESS}")), add(None));
        let line = format!("/contact add ann {ADDRESS}  met  at the mill ");
        assert_eq!(parse(&line), add(Some("met  at the mill")));
        let note = |note: &str| {
            Ok(Line::NoteContact { who: Who::Name("ann".to_owned()), note: note.to_owned() })
        };
        assert_eq!(parse("/contact note ann two words"), note("two words"));
        assert_eq!(parse("/contact note ann"), note(""));
        let remove = Line::RemoveContact(Who::Name("ann".to_owned()));
        assert_eq!(parse("/contact remove ann"), Ok(remove));
        assert_eq!(parse("/contact list"), Ok(Line::Contacts));
        for wrong in ["/contact", "/contact add ann", "/contact remove", "/contact remove a b"] {
            assert!(matches!(parse(wrong), Err(LineError::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn a_lifetime_has_bounds_and_a_file_may_have_spaces() {
        assert_eq!(parse("/ttl"), Ok(Line::Lifetime(None)));
        assert_eq!(parse("/ttl 3d"), Ok(Line::Lifetime(Some(Span::from_days(3)))));
        assert!(matches!(parse("/ttl 31d"), Err(LineError::Lifetime(_))));
        assert_eq!(parse("/backup my copy"), Ok(Line::Backup("my copy".into())));
        assert_eq!(parse("/backup"), Err(LineError::Usage("/backup FILE")));
    }

    #[test]
    fn conversations_are_searched_exported_and_muted() {
        let ann = || Who::Name("ann".to_owned());
        assert_eq!(parse("/search Old mill"), Ok(Line::Search(Words::new("old MILL").unwrap())));
        assert_eq!(parse("/search"), Err(LineError::Words));
        let file = "my notes.json".into();
        assert_eq!(parse("/export ann  my notes.json "), Ok(Line::Export { who: ann(), file }));
        assert_eq!(parse("/export ann"), Err(LineError::Usage("/export NAME FILE")));
        assert_eq!(parse("/mute ann"), Ok(Line::Mute { who: ann(), muted: true }));
        assert_eq!(parse("/unmute ann"), Ok(Line::Mute { who: ann(), muted: false }));
        assert_eq!(parse("/bell off"), Ok(Line::Bell(Some(Bell::Off))));
        assert_eq!(parse("/bell"), Ok(Line::Bell(None)));
        assert_eq!(parse("/bell loud"), Err(LineError::Usage("/bell [on|off]")));
        assert_eq!(parse("/conversations"), Ok(Line::Conversations));
    }

    #[test]
    fn what_is_passed_on_may_name_its_author() {
        let forward = |origin| {
            let (number, to) = (MessageNumber(7), Who::Name("ann".to_owned()));
            Ok(Line::Forward { number, to, origin })
        };
        assert_eq!(parse("/forward #7 ann"), forward(Origin::Hidden));
        assert_eq!(parse("/forward 7 ann named"), forward(Origin::Named));
        for wrong in ["/forward", "/forward 7", "/forward ann 7", "/forward 7 ann bob"] {
            assert_eq!(parse(wrong), Err(LineError::Usage("/forward ID NAME [named]")), "{wrong}");
        }
    }

    #[test]
    fn a_profile_is_shown_set_or_taken_away() {
        let set = |name: &str, status: &str| {
            let (name, status) = (name.to_owned(), status.to_owned());
            Ok(Line::People(PeopleLine::SetProfile { name, status }))
        };
        assert_eq!(parse("/profile"), Ok(Line::People(PeopleLine::Profile)));
        assert_eq!(parse("/profile set ann"), set("ann", ""));
        assert_eq!(parse("/profile set ann  on the  road "), set("ann", "on the  road"));
        assert_eq!(parse("/profile off"), set("", ""));
        for wrong in ["/profile set", "/profile off now", "/profile ann"] {
            assert!(matches!(parse(wrong), Err(LineError::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn receipts_are_about_somebody_or_everybody() {
        let ann = || Some(Who::Name("ann".to_owned()));
        let set = |of, rule| Ok(Line::SetReceipts { of, rule });
        assert_eq!(parse("/receipts"), Ok(Line::Receipts(None)));
        assert_eq!(parse("/receipts ann"), Ok(Line::Receipts(ann())));
        assert_eq!(parse("/receipts on"), set(None, ReceiptRule::Send));
        assert_eq!(parse("/receipts off"), set(None, ReceiptRule::Withhold));
        assert_eq!(parse("/receipts ann on"), set(ann(), ReceiptRule::Send));
        assert_eq!(parse("/receipts ann default"), set(ann(), ReceiptRule::AsForAll));
        assert!(matches!(parse("/receipts ann maybe"), Err(LineError::Usage(_))));
    }

    #[test]
    fn a_timer_is_shown_or_set_or_turned_off() {
        let ann = || Who::Name("ann".to_owned());
        assert_eq!(parse("/timer ann"), Ok(Line::Timer(ann())));
        let lifetime = Some(Span::from_secs(30));
        assert_eq!(parse("/timer ann 30s"), Ok(Line::SetTimer { who: ann(), lifetime }));
        assert_eq!(parse("/timer ann off"), Ok(Line::SetTimer { who: ann(), lifetime: None }));
        assert!(matches!(parse("/timer ann 1s"), Err(LineError::Lifetime(_))));
        assert_eq!(parse("/timer"), Err(LineError::Usage("/timer NAME [TIME]")));
    }

    #[test]
    fn a_number_may_have_its_mark() {
        assert_eq!(parse("/status 7"), Ok(Line::Info(MessageNumber(7))));
        assert_eq!(parse("/info  7 "), Ok(Line::Info(MessageNumber(7))));
        assert_eq!(parse("/delete #7"), Ok(Line::Delete(MessageNumber(7))));
        assert_eq!(parse("/cancel #7"), Ok(Line::Cancel(MessageNumber(7))));
        for wrong in ["/status", "/status 0", "/status x", "/status 1 2", "/status -1"] {
            assert_eq!(parse(wrong), Err(LineError::Usage("/status ID")), "{wrong}");
        }
    }

    #[test]
    fn an_answer_and_an_edit_have_a_number_and_a_text_that_is_taken_as_it_is() {
        let text = " two  spaces ".to_owned();
        let to = MessageNumber(7);
        assert_eq!(parse("/reply #7  two  spaces "), Ok(Line::Reply { to, text: text.clone() }));
        assert_eq!(parse("/edit 7  two  spaces "), Ok(Line::Edit { number: to, text }));
        for wrong in ["/reply", "/reply 7", "/reply 7  ", "/reply x hi"] {
            assert_eq!(parse(wrong), Err(LineError::Usage("/reply ID TEXT")), "{wrong}");
        }
        assert_eq!(parse("/edit 7"), Err(LineError::Usage("/edit ID TEXT")));
        assert_eq!(parse("/delete 7 please"), Err(LineError::Usage("/delete ID")));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(parse(""), Ok(Line::Nothing));
        assert_eq!(parse("  "), Ok(Line::Nothing));
        assert_eq!(parse("hello there"), Err(LineError::NoRecipient));
        assert_eq!(parse("hello there: you"), Err(LineError::NoRecipient));
        assert_eq!(parse(": you"), Err(LineError::NoRecipient));
        assert_eq!(parse("ann:"), Err(LineError::NoText));
        assert_eq!(parse(ADDRESS), Err(LineError::NoText));
        let reason = ParseAddressError::Length(39);
        let word = ADDRESS[1..].to_owned();
        assert_eq!(parse(&format!("{word} hi")), Err(LineError::Address { word, reason }));
        assert_eq!(parse("/nonsense"), Err(LineError::Unknown("/nonsense".to_owned())));
        assert_eq!(parse("/nonsense x"), Err(LineError::Unknown("/nonsense".to_owned())));
        assert_eq!(parse("/quit now"), Err(LineError::Alone("quit".to_owned())));
        assert_eq!(parse("/msg ann"), Err(LineError::Usage("/msg NAME TEXT")));
    }
}
