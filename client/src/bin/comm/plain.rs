//! Lines for people.
//!
//! Entry function is [`render`]. What others wrote is shown so that it can neither command the
//! terminal nor pass for a line of ours: control characters are spelt out, and further lines of a text
//! begin with a bar.

use std::fmt::Write;
use std::net::SocketAddr;

use comm::{NodeStatus, PeerLine, Reach};
use comm_proto::address::Address;
use comm_proto::agent::{Author, Contact, Entry, MessageNumber, MessageState, Place, ReceiptRule};
use comm_proto::message::{PeerStatus, Reachability};
use comm_proto::payload::ContentType;
use comm_proto::time::Time;

use crate::acquaintance::says;
use crate::filing::{offer, offer_text};
use crate::lifetime;
use crate::line::{Group, HELP};
use crate::moment::{Moments, written_at};
use crate::shown::{Bell, Said, Shown, Talk, new_key, timer};

/// What stands before the second and further lines of a text.
const CONTINUED: &str = "\n    | ";
/// Characters of a message that are shown with its answer.
const BEGINNING_MAX: usize = 30;

/// Lines without an end of line after the last.
pub(crate) fn render(shown: &Shown, moments: &Moments) -> String {
    match shown {
        Shown::Talk(talk) => told(talk, moments),
        Shown::Started { address, node } => {
            format!("your address: {address}\n{}\n/help lists what you can write", node_line(node))
        }
        Shown::Online { node } => format!("online through node {node}"),
        Shown::Offline { reason } => format!("not connected: {}", safe(reason)),
        Shown::Lagged { missed } => {
            format!("({missed} events were too fast to be shown; see /history)")
        }
        Shown::Help => help(),
        Shown::WhoAmI { address, node, pending } => {
            let waiting = count(*pending, "message");
            let standing = node.as_ref().map_or(String::new(), standing);
            format!(
                "your address: {address}\n{}\n{standing}{waiting} not delivered yet",
                node_line(node)
            )
        }
        Shown::Peers(peers) => peers_text(peers, moments),
        Shown::Contact(one) => contact(one),
        Shown::Removed { contact, on_their_way } => removed(contact, *on_their_way),
        Shown::Contacts(contacts) => {
            or_none(contacts.iter().map(|(who, reach)| conversation(who, reach)), "no contacts yet")
        }
        Shown::Bell(Bell::On) => "a message rings the bell of the terminal".to_owned(),
        Shown::Bell(Bell::Off) => "no message rings the bell".to_owned(),
        Shown::Lifetime(span) => {
            format!("what you write from now on waits for {}", lifetime::show(*span))
        }
        Shown::Backup { file, bytes } => format!(
            "copied to {} ({bytes} bytes); do not run both copies at once",
            safe(&file.display().to_string())
        ),
        Shown::Verify { name, contact, digits, compared_at } => {
            verify(&safe(name), *contact, digits, compared_at.map(|at| moments.show(at)))
        }
        Shown::Acquaintance(told) => told.plain(moments),
        Shown::Rooming(told) => told.plain(moments),
        Shown::Filing(told) => told.plain(),
        Shown::Left { waiting } => format!(
            "{} still here; what is not delivered goes on at the next start",
            count(*waiting, "message")
        ),
        Shown::Error(text) => format!("error: {}", safe(text)),
    }
}

fn verify(name: &str, contact: Address, digits: &str, compared_at: Option<String>) -> String {
    let number =
        format!("{digits}\n{name} ({contact}) must see the same number when verifying you");
    match compared_at {
        Some(at) => format!("{number}\nyou noted at {at} that they do"),
        None => format!("{number}\n/verify {name} same notes that they do"),
    }
}

fn told(talk: &Talk, moments: &Moments) -> String {
    match talk {
        Talk::Received { said, is_stranger, belongs_before, .. } => {
            received(said, *is_stranger, *belongs_before, moments)
        }
        Talk::Timer { name, lifetime, .. } => {
            let name = safe(name);
            match lifetime {
                Some(time) => {
                    format!("what you and {name} say disappears after {}", lifetime::show(*time))
                }
                None => format!("what you and {name} say stays"),
            }
        }
        Talk::Found(found) => {
            or_none(found.iter().map(|said| history_line(said, moments)), "nothing has these words")
        }
        Talk::Conversations(all) => {
            let line = |(contact, last): &(Contact, Option<Said>)| {
                conversation_line(contact, last.as_ref(), moments)
            };
            or_none(all.iter().map(line), "no conversations yet")
        }
        Talk::Exported { name, file, messages, left_out, .. } => {
            exported(&safe(name), &file.display().to_string(), *messages, *left_out)
        }
        Talk::Read { number, name, at, .. } => {
            format!("#{} to {}: read by {}", number.0, safe(name), moments.show(*at))
        }
        Talk::Receipts { of, rule } => receipts(of.as_ref().map(|(name, _)| safe(name)), *rule),
        Talk::Overdue { name, .. } => {
            let name = safe(name);
            format!("(a message of {name} came when its time was over; it is not shown)")
        }
        Talk::Disappeared { number, .. } => format!("(#{} has disappeared)", number.0),
        Talk::Missing { name, messages, .. } => missing(&safe(name), *messages),
        Talk::Revised(said) => revised(said, moments),
        Talk::Edited { said, notice } => {
            let (number, name, notice) = (said.entry.number.0, safe(&said.name), notice.0);
            format!("#{number} to {name}: edited; the edit goes as #{notice}")
        }
        Talk::Deleted { said, notice } => deleted(said, *notice),
        Talk::Queued(said) => {
            format!("#{} to {}: queued", said.entry.number.0, safe(&said.name))
        }
        Talk::State { number, name, state, .. } => {
            format!("#{} to {}: {}", number.0, safe(name), state_text(state, moments))
        }
        Talk::Unreadable { envelope, reason } => {
            format!("something came that cannot be read: {} ({envelope})", safe(reason))
        }
        Talk::History(entries) => {
            or_none(entries.iter().map(|said| history_line(said, moments)), "nothing was said yet")
        }
        Talk::Message { said, waits_until } => message(said, *waits_until, moments),
        Talk::Cancelled { number, copies_may_exist } => cancelled(number.0, *copies_may_exist),
    }
}

/// Text that does nothing to a terminal and stays on its line, but for ends of lines.
pub(crate) fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => safe.push_str(CONTINUED),
            '\t' => safe.push_str("    "),
            c if c.is_control() || turns_text(c) => {
                let _infallible = write!(safe, "{}", c.escape_unicode());
            }
            c => safe.push(c),
        }
    }
    safe
}

/// Characters that change the order in which others are shown, or end a line in disguise.
fn turns_text(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

fn received(
    said: &Said,
    is_stranger: bool,
    belongs_before: Option<Time>,
    moments: &Moments,
) -> String {
    let Said { name, entry, .. } = said;
    let mut text = String::new();
    if is_stranger {
        let (name, address) = (safe(name), entry.contact);
        let _ = writeln!(text, "({name} is new: /contact add NAME {address} gives them a name)");
    }
    text.push_str(&line_of(&author(said), said, moments));
    if offer(entry).is_some() {
        let number = entry.number.0;
        let _ = write!(text, " /take {number} takes it, /stop {number} refuses it");
    }
    match (entry.author, belongs_before) {
        (Author::Them { place: Place::Before(number), .. }, Some(at)) => {
            let (number, at) = (number.0, moments.show(at));
            let _ = write!(text, " (late: it belongs before #{number} of {at})");
        }
        (Author::Them { place, .. }, _) if place.is_late() => text.push_str(" (late)"),
        _ => {}
    }
    text
}

fn missing(name: &str, messages: u64) -> String {
    match messages {
        0 => format!("(no message of {name} is missing any more)"),
        1 => format!("(1 message of {name} is missing; /history shows where)"),
        more => format!("({more} messages of {name} are missing; /history shows where)"),
    }
}

/// Number and name of a message, as lines about it begin.
fn author(said: &Said) -> String {
    let (number, name) = (said.entry.number.0, &said.name);
    match said.entry.author {
        Author::Us { .. } => format!("#{number} to {name}"),
        Author::Them { .. } => format!("#{number} {name}"),
    }
}

fn line_of(author: &str, said: &Said, moments: &Moments) -> String {
    let at = moments.show(written_at(&said.entry));
    let edited = said.entry.marks.edited.map_or("", |_| " (edited)");
    format!("[{at}] {}{}: {}{edited}", safe(author), answered(said), body(&said.entry))
}

/// What stands behind the name of whoever answers something.
fn answered(said: &Said) -> String {
    match (&said.answered, said.entry.answers) {
        (Some(entry), _) => {
            let (number, text) = (entry.number.0, beginning(&body(entry)));
            let edited = entry.marks.edited.map_or("", |_| " (edited)");
            format!(", answering #{number} \"{text}\"{edited}")
        }
        (None, Some(_)) => ", answering a message that is not here".to_owned(),
        (None, None) => String::new(),
    }
}

/// The first words of a text, on one line.
fn beginning(text: &str) -> String {
    let line = text.split(CONTINUED).next().unwrap_or_default();
    let cut = line.char_indices().nth(BEGINNING_MAX).map(|(at, _)| at);
    match cut {
        Some(at) => format!("{}…", &line[..at]),
        None if line.len() < text.len() => format!("{line} …"),
        None => line.to_owned(),
    }
}

/// What an entry says, as far as this program can show it.
pub(crate) fn body(entry: &Entry) -> String {
    if entry.marks.deleted_at.is_some() {
        return "(deleted)".to_owned();
    }
    if let Some(lifetime) = timer(entry) {
        return match lifetime {
            Some(time) => {
                format!("(what you both say from now on disappears after {})", lifetime::show(time))
            }
            None => "(what you both say from now on stays)".to_owned(),
        };
    }
    if let Some(offer) = offer(entry) {
        return offer_text(&offer);
    }
    if let Some(address) = new_key(entry) {
        return format!("(has another key from here on: {address})");
    }
    if entry.content_type != ContentType::TEXT {
        let (kind, length) = (entry.content_type.0, entry.body.len());
        return format!("(unsupported: content of type {kind}, {length} bytes)");
    }
    safe(&String::from_utf8_lossy(&entry.body))
}

fn revised(said: &Said, moments: &Moments) -> String {
    let (number, name) = (said.entry.number.0, safe(&said.name));
    let at = moments.show(written_at(&said.entry));
    match said.entry.marks.deleted_at {
        Some(_) => format!("{name} has deleted #{number} of {at}"),
        None => format!("{name} has edited #{number} of {at}: {}", body(&said.entry)),
    }
}

fn conversation_line(contact: &Contact, last: Option<&Said>, moments: &Moments) -> String {
    let unread = match contact.unread {
        0 => String::new(),
        unread => format!(", {unread} not shown yet"),
    };
    let muted = if contact.muted { ", muted" } else { "" };
    let last = last.map(|said| {
        let at = moments.show(written_at(&said.entry));
        format!("\n    [{at}] {}: {}", safe(&author(said)), beginning(&body(&said.entry)))
    });
    let name = safe(&contact.name);
    format!(
        "{name}{unread}{muted}{}",
        last.unwrap_or_else(|| "\n    nothing was said yet".to_owned())
    )
}

fn exported(name: &str, file: &str, messages: u64, left_out: u64) -> String {
    let written = format!("{} with {name} in {}", count_of(messages, "message"), safe(file));
    match left_out {
        0 => written,
        some => format!("{written}; {some} left out, which are to disappear"),
    }
}

fn receipts(of: Option<String>, rule: ReceiptRule) -> String {
    let who = of.as_deref().unwrap_or("who has no rule of their own");
    match rule {
        ReceiptRule::Send => format!("{who} is told which messages you were shown"),
        ReceiptRule::Withhold => format!("{who} is not told which messages you were shown"),
        ReceiptRule::AsForAll => format!("{who} has no rule of their own; see /receipts"),
    }
}

fn deleted(said: &Said, notice: Option<MessageNumber>) -> String {
    let (number, name) = (said.entry.number.0, safe(&said.name));
    match notice {
        Some(notice) => format!(
            "#{number} to {name}: deleted here; {name} is asked to as #{}, but may have kept it",
            notice.0
        ),
        None if said.entry.steps.accepted_at.is_some() => {
            format!("#{number} to {name}: deleted here alone; nothing is said to who is blocked")
        }
        None => format!("#{number} to {name}: deleted; it had never left this machine"),
    }
}

pub(crate) fn history_line(said: &Said, moments: &Moments) -> String {
    let line = line_of(&author(said), said, moments);
    match &said.entry.author {
        Author::Us { state, .. } => format!("{line} ({})", state_text(state, moments)),
        Author::Them { missing_before: 0, .. } => line,
        Author::Them { missing_before, .. } => {
            format!("    … {} missing\n{line}", count_of(*missing_before, "message"))
        }
    }
}

/// All that is known of a message, one thing a line.
fn message(said: &Said, waits_until: Option<Time>, moments: &Moments) -> String {
    let (entry, name) = (&said.entry, safe(&said.name));
    let (number, contact) = (entry.number.0, entry.contact);
    let at = |at: Option<Time>| at.map(|at| moments.show(at));
    let mut facts: Vec<(&str, Option<String>)> = Vec::new();
    let head = match &entry.author {
        Author::Us { state, envelope } => {
            let copies = u64::from(entry.steps.copies);
            let copies = (copies > 0).then(|| format!("{copies} {}", plural(copies, "relay")));
            let not_sealed = || "not sealed yet".to_owned();
            facts.extend([
                ("recipients", Some(format!("{name} ({contact})"))),
                ("state", Some(state_text(state, moments))),
                ("waits until", at(waits_until)),
                ("written", at(Some(written_at(entry)))),
                ("accepted", at(entry.steps.accepted_at)),
                ("first stored", at(entry.steps.stored_at)),
                ("most copies", copies),
                ("ended", at(entry.steps.ended_at)),
                ("read", at(entry.steps.read_at)),
                ("envelope", Some(envelope.map_or_else(not_sealed, |id| id.to_string()))),
            ]);
            format!("#{number} to {name} ({contact})")
        }
        Author::Them { .. } => {
            let written = at(Some(written_at(entry)));
            facts.extend([("written", written), ("came", at(Some(entry.stored_at)))]);
            format!("#{number} from {name} ({contact})")
        }
    };
    facts.extend([
        ("id", entry.id.map(|id| id.to_string())),
        ("answers", entry.answers.map(|id| answers(said.answered.as_deref(), &id.to_string()))),
        ("edited", at(entry.marks.edited.map(|edited| edited.at))),
        ("deleted", at(entry.marks.deleted_at)),
        ("disappears", at(entry.marks.disappears_at)),
        ("text", Some(body(entry))),
    ]);
    let facts = facts.iter().filter_map(|(what, fact)| Some((what, fact.as_ref()?)));
    let lines = facts.map(|(what, fact)| format!("\n  {what}: {fact}"));
    lines.fold(head, |text, line| text + &line)
}

fn answers(answered: Option<&Entry>, id: &str) -> String {
    match answered {
        Some(entry) => format!("#{} ({id})", entry.number.0),
        None => format!("a message that is not here ({id})"),
    }
}

pub(crate) fn state_text(state: &MessageState, moments: &Moments) -> String {
    match state {
        MessageState::Queued => "queued".to_owned(),
        MessageState::Accepted => "accepted".to_owned(),
        MessageState::Stored(relays) => {
            format!("stored on {relays} {}", plural(u64::from(*relays), "relay"))
        }
        MessageState::Delivered { at } => format!("delivered at {}", moments.show(*at)),
        MessageState::Expired => "expired".to_owned(),
        MessageState::Cancelled => "cancelled".to_owned(),
    }
}

fn node_line(node: &Result<NodeStatus, String>) -> String {
    match node {
        Ok(status) if status.endpoints.is_empty() => {
            format!("your node: {}, which others cannot reach", status.node)
        }
        Ok(status) => {
            format!("your node: {}, listening on {}", status.node, list(&status.endpoints))
        }
        Err(reason) => format!("your node: not connected: {}", safe(reason)),
    }
}

/// What a node has found out about itself, and what it holds.
fn standing(status: &NodeStatus) -> String {
    let reached = match status.reachability {
        Reachability::Reachable => "other nodes reach it",
        Reachability::Unreachable => "other nodes do not reach it",
        Reachability::Unknown => "whether other nodes reach it is not known",
    };
    let observed = match &status.observed[..] {
        [] => String::new(),
        places => format!(", its calls seem to come from {}", list(places)),
    };
    let NodeStatus { peers, envelopes, envelope_bytes, version, .. } = status;
    let count = |number: &u64, thing| format!("{number} {}", plural(*number, thing));
    let (peers, envelopes) = (count(peers, "other node"), count(envelopes, "envelope"));
    let holds =
        format!("it knows {peers} and holds {envelopes} with {}", count(envelope_bytes, "byte"));
    format!("{reached}{observed}\n{holds}; version {}\n", safe(version))
}

fn peers_text(peers: &[PeerLine], moments: &Moments) -> String {
    let line = |peer: &PeerLine| {
        let status = match peer.status {
            Some(PeerStatus::Good) => "good",
            Some(PeerStatus::Questionable) => "questionable",
            Some(PeerStatus::Bad) => "bad",
            None => "unknown",
        };
        let (address, places) = (peer.address, list(&peer.endpoints));
        format!("{address} {places} {status}, last seen {}", moments.show(peer.last_seen))
    };
    or_none(peers.iter().map(line), "your node knows no other node yet")
}

fn contact(contact: &Contact) -> String {
    let muted = if contact.muted { " (muted)" } else { "" };
    let keys = keys(contact);
    with_note(format!("{} {}{keys}{muted}", contact.address, safe(&contact.name)), contact)
}

fn conversation(contact: &Contact, reach: &Reach) -> String {
    let (address, name) = (contact.address, safe(&contact.name));
    let Reach { level, reason } = reach;
    let keys = keys(contact);
    with_note(format!("{address} {name}{keys} (connected: {level}; {reason})"), contact)
}

/// What is to be known of a contact's key.
fn keys(contact: &Contact) -> &'static str {
    match (contact.doubt, contact.compared_at, &contact.former[..]) {
        (Some(_), ..) => " (KEY IN DOUBT: nothing is sent before /trust)",
        (None, Some(_), _) => " (compared)",
        (None, None, []) => "",
        (None, None, _) => " (another key than before, not compared)",
    }
}

fn with_note(line: String, contact: &Contact) -> String {
    let line = match &contact.profile {
        Some(profile) => format!("{line}\n    {}", says(profile)),
        None => line,
    };
    match contact.note.as_str() {
        "" => line,
        note => format!("{line}\n    {}", safe(note)),
    }
}

fn removed(contact: &Contact, on_their_way: usize) -> String {
    let name = safe(&contact.name);
    let gone = format!("{name} ({}) is removed, with all that was said", contact.address);
    match on_their_way {
        0 => gone,
        some => {
            format!("{gone}; {} to {name} on the way still, see /cancel", count(some, "message"))
        }
    }
}

fn cancelled(number: u64, copies_may_exist: bool) -> String {
    match copies_may_exist {
        true => format!("#{number} is taken back; copies that had left may still arrive"),
        false => format!("#{number} is taken back; nobody has it"),
    }
}

fn help() -> String {
    let all = || HELP.iter().flat_map(|(_, commands)| commands.iter());
    let width = all().map(|(usage, _)| usage.len()).max().unwrap_or_default();
    let group = |(name, commands): &Group| {
        let lines = commands.iter().map(|(usage, meaning)| format!("  {usage:width$}  {meaning}"));
        [vec![format!("{name}:")], lines.collect()].concat().join("\n")
    };
    HELP.iter().map(group).collect::<Vec<_>>().join("\n")
}

fn list(places: &[SocketAddr]) -> String {
    let places: Vec<_> = places.iter().map(SocketAddr::to_string).collect();
    if places.is_empty() { "unreachable".to_owned() } else { places.join(", ") }
}

fn or_none(lines: impl Iterator<Item = String>, none: &str) -> String {
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() { none.to_owned() } else { lines.join("\n") }
}

fn count(number: usize, thing: &str) -> String {
    count_of(number as u64, thing)
}

pub(crate) fn count_of(number: u64, thing: &str) -> String {
    format!("{number} {}", plural(number, thing))
}

fn plural(number: u64, thing: &str) -> String {
    if number == 1 { thing.to_owned() } else { format!("{thing}s") }
}

#[cfg(test)]
mod tests {
    use comm_proto::agent::{Edited, Marks, Steps};
    use comm_proto::content::Content;
    use comm_proto::payload::MessageId;
    use comm_proto::time::Span;

    use super::*;

    const NOON: Time = Time::from_millis(1_700_049_600_000);

    fn entry(author: Author, text: &str) -> Entry {
        Entry {
            number: MessageNumber(7),
            contact: Address::from_bytes([1; 20]),
            author,
            content_type: ContentType::TEXT,
            body: text.as_bytes().to_vec(),
            sequence: 1,
            sent_at: NOON,
            stored_at: NOON,
            id: None,
            answers: None,
            marks: Marks::default(),
            steps: Steps::default(),
        }
    }

    fn from(missing_before: u64, place: Place, text: &str) -> Said {
        let entry = entry(Author::Them { missing_before, place }, text);
        said(entry)
    }

    fn said(entry: Entry) -> Said {
        Said { name: "ann".to_owned(), entry, answered: None }
    }

    fn in_turn(text: &str) -> Said {
        from(0, Place::InTurn, text)
    }

    fn show(said: Said) -> String {
        let shown = Talk::Received {
            said,
            is_stranger: false,
            is_muted: false,
            belongs_before: Some(NOON),
        };
        told(&shown, &Moments::utc(NOON))
    }

    #[test]
    fn a_message_is_shown_with_its_time_and_its_author() {
        assert_eq!(show(in_turn("hi")), "[12:00:00] #7 ann: hi");
    }

    #[test]
    fn gaps_and_late_messages_are_told() {
        assert_eq!(show(from(1, Place::InTurn, "x")), "[12:00:00] #7 ann: x");
        assert_eq!(
            show(from(1, Place::Before(MessageNumber(3)), "x")),
            "[12:00:00] #7 ann: x (late: it belongs before #3 of 12:00:00)"
        );
        assert_eq!(show(from(0, Place::Unknown, "x")), "[12:00:00] #7 ann: x (late)");
        let told = |messages| {
            let (name, contact) = ("ann".to_owned(), Address::from_bytes([1; 20]));
            told(&Talk::Missing { name, contact, messages }, &Moments::utc(NOON))
        };
        assert_eq!(told(1), "(1 message of ann is missing; /history shows where)");
        assert_eq!(told(2), "(2 messages of ann are missing; /history shows where)");
        assert_eq!(told(0), "(no message of ann is missing any more)");
    }

    #[test]
    fn a_history_marks_its_gaps() {
        let ours = entry(Author::Us { state: MessageState::Expired, envelope: None }, "b");
        let ours = said(ours);
        let late = Place::Before(MessageNumber(3));
        let history = Talk::History(vec![in_turn("a"), ours, from(2, late, "c"), in_turn("d")]);
        assert_eq!(
            told(&history, &Moments::utc(NOON)),
            "[12:00:00] #7 ann: a\n[12:00:00] #7 to ann: b (expired)\n    … 2 messages missing\n\
             [12:00:00] #7 ann: c\n[12:00:00] #7 ann: d"
        );
    }

    #[test]
    fn an_answer_shows_what_it_answers_whether_that_is_here_or_not() {
        let mut answer = in_turn("yes");
        answer.entry.answers = Some(MessageId::from_bytes([1; 32]));
        assert_eq!(
            show(answer.clone()),
            "[12:00:00] #7 ann, answering a message that is not here: yes"
        );
        let mut asked = in_turn("are you coming to the mill on Sunday?\nAnd if not").entry;
        asked.number = MessageNumber(3);
        answer.answered = Some(Box::new(asked.clone()));
        assert_eq!(
            show(answer.clone()),
            "[12:00:00] #7 ann, answering #3 \"are you coming to the mill on …\": yes"
        );
        asked.marks.edited = Some(Edited { sequence: 4, at: NOON });
        answer.answered = Some(Box::new(asked));
        assert_eq!(
            show(answer),
            "[12:00:00] #7 ann, answering #3 \"are you coming to the mill on …\" (edited): yes"
        );
        assert_eq!([beginning("short"), beginning("one\n    | two")], ["short", "one …"]);
    }

    #[test]
    fn what_was_edited_or_deleted_is_shown_as_such() {
        let moments = Moments::utc(NOON);
        let mut one = in_turn("new\u{7}");
        one.entry.marks.edited = Some(Edited { sequence: 4, at: NOON });
        assert_eq!(show(one.clone()), "[12:00:00] #7 ann: new\\u{7} (edited)");
        let revised = |said| told(&Talk::Revised(said), &moments);
        assert_eq!(revised(one.clone()), "ann has edited #7 of 12:00:00: new\\u{7}");
        one.entry.body = Vec::new();
        one.entry.marks = Marks { deleted_at: Some(NOON), ..Marks::default() };
        assert_eq!(show(one.clone()), "[12:00:00] #7 ann: (deleted)");
        assert_eq!(revised(one.clone()), "ann has deleted #7 of 12:00:00");
        let deleted = |notice| told(&Talk::Deleted { said: one.clone(), notice }, &moments);
        assert!(deleted(Some(MessageNumber(8))).contains("may have kept it"));
        assert!(deleted(None).contains("never left"));
    }

    #[test]
    fn a_timer_is_told_in_words() {
        let content = |lifetime| {
            let (content_type, body) = Content::Timer(lifetime).write();
            let mut said = in_turn("");
            (said.entry.content_type, said.entry.body) = (content_type, body);
            show(said)
        };
        let on = "[12:00:00] #7 ann: (what you both say from now on disappears after 30s)";
        assert_eq!(content(Some(Span::from_secs(30))), on);
        assert_eq!(content(None), "[12:00:00] #7 ann: (what you both say from now on stays)");
    }

    #[test]
    fn all_that_is_known_of_a_message_has_its_line() {
        let state = MessageState::Delivered { at: NOON + Span::from_secs(3) };
        let mut ours = said(entry(Author::Us { state, envelope: None }, "hi"));
        ours.entry.steps = Steps {
            accepted_at: Some(NOON + Span::from_secs(1)),
            stored_at: Some(NOON + Span::from_secs(2)),
            copies: 5,
            ended_at: Some(NOON + Span::from_secs(3)),
            read_at: Some(NOON + Span::from_secs(4)),
        };
        let shown = Talk::Message { said: ours, waits_until: None };
        let address = "01".repeat(20);
        assert_eq!(
            told(&shown, &Moments::utc(NOON)),
            format!(
                "#7 to ann ({address})\n  recipients: ann ({address})\n  state: delivered at \
                 12:00:03\n  written: 12:00:00\n  accepted: 12:00:01\n  first stored: 12:00:02\n  \
                 most copies: 5 relays\n  ended: 12:00:03\n  read: 12:00:04\n  envelope: not sealed yet\n  text: hi"
            )
        );
    }

    #[test]
    fn a_stranger_is_shown_with_their_address() {
        let said = in_turn("hi");
        let shown =
            Talk::Received { said, is_stranger: true, is_muted: true, belongs_before: None };
        let text = told(&shown, &Moments::utc(NOON));
        assert!(text.contains(&Address::from_bytes([1; 20]).to_string()), "{text}");
        assert!(text.ends_with("\n[12:00:00] #7 ann: hi"), "{text}");
    }

    #[test]
    fn nobody_can_command_the_terminal_or_pretend_to_be_another_line() {
        let text = show(in_turn("\x1b[2Jx\r[12:00:01] bob: y\u{7}\u{202e}\u{9b}"));
        assert!(!text.contains(|c: char| c.is_control() || turns_text(c)), "{text:?}");
        let text = show(in_turn("one\n[12:00:01] bob: two"));
        assert_eq!(text, "[12:00:00] #7 ann: one\n    | [12:00:01] bob: two");
    }

    #[test]
    fn emoji_and_other_scripts_stay_as_they_are() {
        for text in ["👩‍👩‍👧‍👦 🇩🇪", "ü ñ 日本語 עברית", "e\u{301}"]
        {
            assert_eq!(safe(text), text);
        }
    }

    #[test]
    fn content_of_other_types_is_shown_as_unsupported() {
        let mut said = in_turn("\x1b[2J");
        said.entry.content_type = ContentType::FILE;
        assert_eq!(show(said), "[12:00:00] #7 ann: (unsupported: content of type 3, 4 bytes)");
    }

    #[test]
    fn every_state_of_an_own_message_has_its_line() {
        let line = |state| {
            let (number, name) = (MessageNumber(7), "ann".to_owned());
            let contact = Address::from_bytes([1; 20]);
            told(&Talk::State { number, name, contact, state }, &Moments::utc(NOON))
        };
        assert_eq!(line(MessageState::Queued), "#7 to ann: queued");
        assert_eq!(line(MessageState::Accepted), "#7 to ann: accepted");
        assert_eq!(line(MessageState::Stored(1)), "#7 to ann: stored on 1 relay");
        assert_eq!(line(MessageState::Stored(3)), "#7 to ann: stored on 3 relays");
        let delivered = MessageState::Delivered { at: NOON + Span::from_secs(5) };
        assert_eq!(line(delivered), "#7 to ann: delivered at 12:00:05");
        assert_eq!(line(MessageState::Expired), "#7 to ann: expired");
        assert_eq!(line(MessageState::Cancelled), "#7 to ann: cancelled");
    }

    /// B26.
    #[test]
    fn every_node_of_the_table_has_a_line_with_its_places_its_status_and_when_it_was_seen() {
        let peer = |digit, endpoints: &[&str], status| PeerLine {
            address: Address::from_bytes([digit; 20]),
            endpoints: endpoints.iter().map(|place| place.parse().unwrap()).collect(),
            status,
            last_seen: NOON,
        };
        let peers = vec![
            peer(0x11, &["192.0.2.1:7001", "[2001:db8::1]:7001"], Some(PeerStatus::Good)),
            peer(0x22, &["192.0.2.2:7001"], Some(PeerStatus::Questionable)),
            peer(0x33, &[], Some(PeerStatus::Bad)),
            peer(0x44, &["192.0.2.4:1"], None),
        ];
        let text = |peers| render(&Shown::Peers(peers), &Moments::utc(NOON));
        assert_eq!(
            text(peers),
            format!(
                "{} 192.0.2.1:7001, [2001:db8::1]:7001 good, last seen 12:00:00\n\
                 {} 192.0.2.2:7001 questionable, last seen 12:00:00\n\
                 {} unreachable bad, last seen 12:00:00\n\
                 {} 192.0.2.4:1 unknown, last seen 12:00:00",
                "11".repeat(20),
                "22".repeat(20),
                "33".repeat(20),
                "44".repeat(20)
            )
        );
        assert_eq!(text(Vec::new()), "your node knows no other node yet");
    }

    #[test]
    fn help_lists_every_command() {
        let text = render(&Shown::Help, &Moments::utc(NOON));
        let all: Vec<_> = HELP.iter().flat_map(|(_, commands)| commands.iter()).collect();
        assert_eq!(text.lines().count(), HELP.len() + all.len());
        assert!(all.iter().all(|(usage, _)| text.contains(usage)));
    }
}
