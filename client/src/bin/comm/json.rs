//! Lines for programs: one JSON object each.
//!
//! Entry function is [`render`]. Every object has `type`; times are milliseconds since 1970, addresses
//! and ids are hexadecimal. A body that is no text is in `body_hex` instead of `text`.

use comm::{NodeStatus, PeerLine, Reach};
use comm_proto::address::Address;
use comm_proto::agent::{Author, Contact, Doubt, Entry, MessageState, Place, ReceiptRule, Steps};
use comm_proto::message::{PeerStatus, Reachability};
use comm_proto::payload::ContentType;
use comm_proto::profile::Profile;
use comm_proto::time::{Span, Time};
use serde_json::{Map, Value, json};

use crate::filing::{offer, offer_into};
use crate::line::{Group, HELP};
use crate::moment::written_at;
use crate::shown::{Bell, Said, Shown, Talk, new_key, timer};

/// One line without its end.
pub(crate) fn render(shown: &Shown) -> String {
    object(shown).to_string()
}

fn object(shown: &Shown) -> Value {
    match shown {
        Shown::Talk(talk) => told(talk),
        Shown::Started { address, node } => {
            with_node("started", json!({ "address": address.to_string() }), node)
        }
        Shown::WhoAmI { address, node, pending } => {
            let plain = json!({ "address": address.to_string(), "pending": pending });
            with_node("whoami", plain, node)
        }
        Shown::Online { node } => json!({ "type": "online", "node": node.to_string() }),
        Shown::Offline { reason } => json!({ "type": "offline", "reason": reason }),
        Shown::Lagged { missed } => json!({ "type": "lagged", "missed": missed }),
        Shown::Left { waiting } => json!({ "type": "left", "waiting": waiting }),
        Shown::Error(text) => json!({ "type": "error", "text": text }),
        Shown::Contact(one) => with("type", json!("contact"), contact(one)),
        Shown::Removed { contact: one, on_their_way } => {
            let object = object_of("removed", Value::Object(contact(one)));
            with("on_their_way", json!(on_their_way), object)
        }
        Shown::Bell(bell) => json!({ "type": "bell", "on": *bell == Bell::On }),
        Shown::Lifetime(span) => json!({ "type": "ttl", "milliseconds": span.as_millis() }),
        Shown::Backup { file, bytes } => json!({
            "type": "backup", "file": file.display().to_string(), "bytes": bytes
        }),
        Shown::Verify { name, contact, digits, compared_at } => json!({
            "type": "verify", "name": name, "address": contact.to_string(), "digits": digits,
            "compared_at": compared_at.map(Time::as_millis)
        }),
        Shown::Acquaintance(told) => told.json(),
        Shown::Rooming(told) => told.json(),
        Shown::Filing(told) => told.json(),
        Shown::Peers(peers) => list("peers", peers, peer),
        Shown::Contacts(contacts) => list("contacts", contacts, conversation),
        Shown::Help => help(),
    }
}

fn told(talk: &Talk) -> Value {
    match talk {
        Talk::Received { said, is_stranger, is_muted, .. } => {
            let mut object = said_object("received", said);
            object.insert("muted".to_owned(), json!(is_muted));
            with("stranger", json!(is_stranger), object)
        }
        Talk::Queued(said) => Value::Object(said_object("queued", said)),
        Talk::Revised(said) => Value::Object(said_object("revised", said)),
        Talk::Edited { said, notice } => {
            with("notice", json!(notice.0), said_object("edited", said))
        }
        Talk::Deleted { said, notice } => {
            let mut object = said_object("deleted", said);
            object.insert("may_be_kept".to_owned(), json!(notice.is_some()));
            with("notice", json!(notice.map(|notice| notice.0)), object)
        }
        Talk::Timer { name, contact, lifetime } => json!({
            "type": "timer", "name": name, "address": contact.to_string(),
            "disappears_after": lifetime.map(Span::as_millis)
        }),
        Talk::Found(found) => entries("found", found),
        Talk::Conversations(all) => list("conversations", all, summary),
        Talk::Exported { name, contact, file, messages, left_out } => json!({
            "type": "exported", "name": name, "address": contact.to_string(),
            "file": file.display().to_string(), "messages": messages, "left_out": left_out
        }),
        Talk::Read { number, name, contact, at } => json!({
            "type": "read", "number": number.0, "name": name, "address": contact.to_string(),
            "read_at": at.as_millis()
        }),
        Talk::Receipts { of, rule } => json!({
            "type": "receipts",
            "name": of.as_ref().map(|(name, _)| name),
            "address": of.as_ref().map(|(_, address)| address.to_string()),
            "rule": receipt_rule(*rule),
        }),
        Talk::Overdue { name, contact } => json!({
            "type": "overdue", "name": name, "address": contact.to_string()
        }),
        Talk::Disappeared { number, name, contact } => json!({
            "type": "disappeared", "number": number.0, "name": name,
            "address": contact.to_string()
        }),
        Talk::Missing { name, contact, messages } => json!({
            "type": "missing", "name": name, "address": contact.to_string(), "messages": messages
        }),
        Talk::State { number, name, contact, state } => {
            let plain = json!({ "number": number.0, "name": name, "address": contact.to_string() });
            let mut object = object_of("state", plain);
            state_into(&mut object, state);
            Value::Object(object)
        }
        Talk::Unreadable { envelope, reason } => json!({
            "type": "unreadable", "envelope": envelope.to_string(), "reason": reason
        }),
        Talk::Message { said, waits_until } => {
            let until = json!(waits_until.map(Time::as_millis));
            with("waits_until", until, said_object("message", said))
        }
        Talk::Cancelled { number, copies_may_exist } => json!({
            "type": "cancelled", "number": number.0, "copies_may_exist": copies_may_exist
        }),
        Talk::History(said) => entries("history", said),
    }
}

fn receipt_rule(rule: ReceiptRule) -> &'static str {
    match rule {
        ReceiptRule::AsForAll => "default",
        ReceiptRule::Send => "on",
        ReceiptRule::Withhold => "off",
    }
}

fn help() -> Value {
    let group = |(group, commands): &Group| -> Vec<Value> {
        let line = |(usage, meaning): &(&str, &str)| json!({ "usage": usage, "does": meaning, "group": group });
        commands.iter().map(line).collect()
    };
    json!({ "type": "help", "commands": HELP.iter().flat_map(group).collect::<Vec<_>>() })
}

/// What an exported conversation begins with; messages follow, and [`EXPORT_END`].
pub(crate) fn export_head(name: &str, contact: Address) -> String {
    let with = json!({ "name": name, "address": contact.to_string() });
    format!("{{\"format\":\"comm/conversation/v1\",\"with\":{with},\"messages\":[\n")
}

/// What an exported conversation ends with.
pub(crate) const EXPORT_END: &str = "\n]}\n";

/// One message of an exported conversation.
pub(crate) fn exported(said: &Said) -> String {
    Value::Object(said_object("message", said)).to_string()
}

fn entries(kind: &str, entries: &[Said]) -> Value {
    let said = |said| Value::Object(said_object("entry", said));
    json!({ "type": kind, "entries": entries.iter().map(said).collect::<Vec<_>>() })
}

fn summary((one, last): &(Contact, Option<Said>)) -> Map<String, Value> {
    let mut object = contact(one);
    let last = last.as_ref().map(|said| Value::Object(said_object("entry", said)));
    object.insert("last".to_owned(), json!(last));
    object
}

/// An object whose only list is named as its kind is.
fn list<T, V: Into<Value>>(kind: &str, items: &[T], value: impl Fn(&T) -> V) -> Value {
    let items: Vec<Value> = items.iter().map(|item| value(item).into()).collect();
    json!({ "type": kind, kind: items })
}

fn with(name: &str, value: Value, mut object: Map<String, Value>) -> Value {
    object.insert(name.to_owned(), value);
    Value::Object(object)
}

fn with_node(kind: &str, fields: Value, node: &Result<NodeStatus, String>) -> Value {
    let mut object = object_of(kind, fields);
    node_into(&mut object, node);
    Value::Object(object)
}

fn object_of(kind: &str, fields: Value) -> Map<String, Value> {
    let mut object = match fields {
        Value::Object(object) => object,
        _ => Map::new(),
    };
    object.insert("type".to_owned(), json!(kind));
    object
}

pub(crate) fn said_object(kind: &str, said: &Said) -> Map<String, Value> {
    let Said { name, entry, answered } = said;
    let mut object = object_of(
        kind,
        json!({
            "number": entry.number.0,
            "name": name,
            "address": entry.contact.to_string(),
            "content_type": entry.content_type.0,
            "sequence": entry.sequence,
            "sent_at": entry.sent_at.as_millis(),
            "stored_at": entry.stored_at.as_millis(),
            "written_at": written_at(entry).as_millis(),
            "id": entry.id.map(|id| id.to_string()),
            "answers": entry.answers.map(|id| id.to_string()),
            "answers_number": answered.as_ref().map(|entry| entry.number.0),
            "edited_at": entry.marks.edited.map(|edited| edited.at.as_millis()),
            "deleted_at": entry.marks.deleted_at.map(Time::as_millis),
            "disappears_at": entry.marks.disappears_at.map(Time::as_millis),
        }),
    );
    body_into(&mut object, entry);
    match &entry.author {
        Author::Us { state, envelope } => {
            object.insert("author".to_owned(), json!("us"));
            object.insert("envelope".to_owned(), json!(envelope.map(|id| id.to_string())));
            object.insert("recipients".to_owned(), json!([entry.contact.to_string()]));
            steps_into(&mut object, &entry.steps);
            state_into(&mut object, state);
        }
        Author::Them { missing_before, place } => {
            let belongs_before = match place {
                Place::Before(number) => json!(number.0),
                Place::InTurn | Place::Unknown => Value::Null,
            };
            object.insert("author".to_owned(), json!("them"));
            object.insert("missing_before".to_owned(), json!(missing_before));
            object.insert("late".to_owned(), json!(place.is_late()));
            object.insert("belongs_before".to_owned(), belongs_before);
        }
    }
    object
}

fn steps_into(object: &mut Map<String, Value>, steps: &Steps) {
    let at = |at: Option<Time>| json!(at.map(Time::as_millis));
    object.insert("accepted_at".to_owned(), at(steps.accepted_at));
    object.insert("first_stored_at".to_owned(), at(steps.stored_at));
    object.insert("copies".to_owned(), json!(steps.copies));
    object.insert("ended_at".to_owned(), at(steps.ended_at));
    object.insert("read_at".to_owned(), at(steps.read_at));
}

fn body_into(object: &mut Map<String, Value>, entry: &Entry) {
    let is_text = entry.content_type == ContentType::TEXT;
    if entry.marks.deleted_at.is_some() {
        object.insert("text".to_owned(), Value::Null);
        object.insert("supported".to_owned(), json!(true));
        return;
    }
    if let Some(lifetime) = timer(entry) {
        object.insert("disappears_after".to_owned(), json!(lifetime.map(Span::as_millis)));
        object.insert("supported".to_owned(), json!(true));
        return;
    }
    if let Some(offer) = offer(entry) {
        offer_into(object, &offer);
        object.insert("supported".to_owned(), json!(true));
        return;
    }
    if let Some(lineage) = new_key(entry) {
        object.insert("new_address".to_owned(), json!(lineage.to_string()));
        object.insert("supported".to_owned(), json!(true));
        return;
    }
    match std::str::from_utf8(&entry.body) {
        Ok(text) if is_text => object.insert("text".to_owned(), json!(text)),
        _ => object.insert("body_hex".to_owned(), json!(hex::encode(&entry.body))),
    };
    object.insert("supported".to_owned(), json!(is_text));
}

pub(crate) fn state_into(object: &mut Map<String, Value>, state: &MessageState) {
    let word = match state {
        MessageState::Queued => "queued",
        MessageState::Accepted => "accepted",
        MessageState::Stored(_) => "stored",
        MessageState::Delivered { .. } => "delivered",
        MessageState::Expired => "expired",
        MessageState::Cancelled => "cancelled",
    };
    object.insert("state".to_owned(), json!(word));
    if let MessageState::Stored(relays) = state {
        object.insert("relays".to_owned(), json!(relays));
    }
    if let MessageState::Delivered { at } = state {
        object.insert("delivered_at".to_owned(), json!(at.as_millis()));
    }
}

fn node_into(object: &mut Map<String, Value>, node: &Result<NodeStatus, String>) {
    let node = match node {
        Ok(status) => json!({
            "address": status.node.to_string(),
            "endpoints": status.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "observed": status.observed.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "reachability": match status.reachability {
                Reachability::Unknown => "unknown",
                Reachability::Reachable => "reachable",
                Reachability::Unreachable => "unreachable",
            },
            "peers": status.peers,
            "network_size": status.network_size,
            "envelopes": status.envelopes,
            "envelope_bytes": status.envelope_bytes,
            "connected": status.connected,
            "version": status.version,
        }),
        Err(reason) => {
            object.insert("reason".to_owned(), json!(reason));
            Value::Null
        }
    };
    object.insert("node".to_owned(), node);
}

fn peer(peer: &PeerLine) -> Value {
    let status = peer.status.map(|status| match status {
        PeerStatus::Good => "good",
        PeerStatus::Questionable => "questionable",
        PeerStatus::Bad => "bad",
    });
    json!({
        "address": peer.address.to_string(),
        "endpoints": peer.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "status": status,
        "last_seen": peer.last_seen.as_millis(),
    })
}

fn contact(contact: &Contact) -> Map<String, Value> {
    let fields = json!({
        "name": contact.name,
        "address": contact.address.to_string(),
        "key": contact.key.map(|key| key.to_string()),
        "named": contact.is_named,
        "note": contact.note,
        "disappears_after": contact.lifetime.map(Span::as_millis),
        "unread": contact.unread,
        "receipts": receipt_rule(contact.receipts),
        "muted": contact.muted,
        "compared_at": contact.compared_at.map(Time::as_millis),
        "profile": profile(contact.profile.as_ref()),
        "former": contact.former.iter().map(Address::to_string).collect::<Vec<_>>(),
        "doubt": contact.doubt.map(|known| doubt(known).0),
    });
    match fields {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// What somebody says of themselves, if they do.
pub(crate) fn profile(profile: Option<&Profile>) -> Value {
    json!(profile.map(|profile| json!({
        "name": profile.name(), "status": profile.status(), "made_at": profile.made_at().as_millis()
    })))
}

/// What is in doubt, and which address is claimed beside the one that counts, if one is.
pub(crate) fn doubt(doubt: Doubt) -> (&'static str, Option<String>) {
    match doubt {
        Doubt::OtherSuccessor(claimed) => ("other_successor", Some(claimed.to_string())),
        Doubt::OtherKey => ("other_key", None),
    }
}

/// A contact in an object of this type.
pub(crate) fn object_of_contact(kind: &str, one: &Contact) -> Value {
    with("type", json!(kind), contact(one))
}

fn conversation((who, reach): &(Contact, Reach)) -> Map<String, Value> {
    let mut object = contact(who);
    object.insert("reach".to_owned(), json!(reach.level.to_string()));
    object.insert("reach_reason".to_owned(), json!(reach.reason.to_string()));
    object
}

#[cfg(test)]
mod tests {
    use comm_proto::agent::{Marks, MessageNumber};

    use super::*;

    fn received(content_type: ContentType, body: &[u8]) -> Value {
        let entry = Entry {
            number: MessageNumber(7),
            contact: Address::from_bytes([1; 20]),
            author: Author::Them { missing_before: 2, place: Place::Before(MessageNumber(5)) },
            content_type,
            body: body.to_vec(),
            sequence: 3,
            sent_at: Time::from_millis(1_000),
            stored_at: Time::from_millis(2_000),
            id: None,
            answers: None,
            marks: Marks::default(),
            steps: Steps::default(),
        };
        let said = Said { name: "ann".to_owned(), entry, answered: None };
        let line = told(&Talk::Received {
            said,
            is_stranger: false,
            is_muted: false,
            belongs_before: None,
        });
        let line = line.to_string();
        assert_eq!(line.lines().count(), 1, "{line}");
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn a_text_comes_through_byte_for_byte_on_one_line() {
        let text = "a\n\n👩‍👩‍👧\u{1b}[2J\"\\ \u{2028}";
        let object = received(ContentType::TEXT, text.as_bytes());
        assert_eq!(object["text"], text);
        assert_eq!(object["type"], "received");
        assert_eq!(object["missing_before"], 2);
        assert_eq!((&object["late"], &object["belongs_before"]), (&json!(true), &json!(5)));
        assert_eq!(object["address"], "01".repeat(20));
    }

    #[test]
    fn what_is_no_text_is_given_as_digits() {
        let object = received(ContentType::FILE, b"\x00\xff");
        assert_eq!((&object["body_hex"], &object["supported"]), (&json!("00ff"), &json!(false)));
        let object = received(ContentType::TEXT, b"\xff");
        assert_eq!((&object["body_hex"], &object["text"]), (&json!("ff"), &Value::Null));
    }

    #[test]
    fn states_have_their_figures() {
        let state = |state| {
            let (number, name) = (MessageNumber(7), "ann".to_owned());
            let contact = Address::from_bytes([1; 20]);
            let line = told(&Talk::State { number, name, contact, state }).to_string();
            serde_json::from_str::<Value>(&line).unwrap()
        };
        assert_eq!(state(MessageState::Stored(3))["relays"], 3);
        let at = Time::from_millis(5);
        assert_eq!(state(MessageState::Delivered { at })["delivered_at"], 5);
    }

    /// B26.
    #[test]
    fn every_node_of_the_table_is_an_object_with_all_that_is_known_of_it() {
        let peer = |digit, places: &[&str], status| PeerLine {
            address: Address::from_bytes([digit; 20]),
            endpoints: places.iter().map(|place| place.parse().unwrap()).collect(),
            status,
            last_seen: Time::from_millis(1_000),
        };
        let object = |peer| -> Value {
            let line = render(&Shown::Peers(vec![peer]));
            serde_json::from_str::<Value>(&line).unwrap()["peers"][0].take()
        };
        let places = ["192.0.2.1:7001", "[2001:db8::1]:7001"];
        assert_eq!(
            object(peer(0x11, &places, Some(PeerStatus::Good))),
            json!({
                "address": "11".repeat(20),
                "endpoints": places,
                "status": "good",
                "last_seen": 1_000,
            })
        );
        let status = |status| object(peer(1, &[], status))["status"].take();
        assert_eq!(status(Some(PeerStatus::Questionable)), "questionable");
        assert_eq!(status(Some(PeerStatus::Bad)), "bad");
        assert_eq!(status(None), Value::Null);
    }

    #[test]
    fn help_is_a_list_of_all_commands() {
        let help: Value = serde_json::from_str(&render(&Shown::Help)).unwrap();
        let all = HELP.iter().map(|(_, commands)| commands.len()).sum();
        assert_eq!(help["commands"].as_array().map(Vec::len), Some(all));
        assert_eq!(help["commands"][0]["group"], "messages");
    }
}
