//! What the program tells of who may write to us, and how we hand out who we are.
//!
//! Entry type is [`Acquaintance`], with its lines for people ([`Acquaintance::plain`]) and for programs
//! ([`Acquaintance::json`]).

use comm_proto::address::Address;
use comm_proto::agent::{Contact, Doubt, Request};
use comm_proto::link::Link;
use comm_proto::profile::Profile;
use comm_proto::time::Time;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use serde_json::{Value, json};

use crate::json;
use crate::moment::Moments;
use crate::plain::safe;

/// Digits of an address that are enough to name somebody who asks.
pub(crate) const DIGITS: usize = 8;

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Acquaintance {
    /// Somebody new wants to write to us.
    Requested(Address),
    /// A key that a contact had and has no more wants to write to us.
    FormerAsks { address: Address, name: String },
    /// Somebody has another key, which the one they had has signed.
    Moved { name: String, contact: Address, former: Address, made_at: Time },
    /// Somebody says who they are.
    Profiled { name: String, contact: Address, profile: Profile },
    /// What we say of ourselves.
    OwnProfile(Option<Profile>),
    /// Somebody's key is in doubt.
    Doubted { name: String, contact: Address, doubt: Doubt },
    /// Everybody who does.
    Requests(Vec<Request>),
    /// Somebody is not heard for a while.
    Refused { contact: Address, messages: usize, until: Time },
    /// Nobody who asked is.
    AllRefused { people: usize },
    /// Somebody is not heard any more.
    Blocked(Contact),
    /// All of these.
    AllBlocked(Vec<Contact>),
    /// Somebody is heard again.
    Unblocked { contact: Address, is_contact: bool },
    /// Our own link, as text or as a code for cameras.
    Link { link: Box<Link>, form: Form },
}

/// How a link is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Code,
}

impl Acquaintance {
    pub(crate) fn plain(&self, moments: &Moments) -> String {
        match self {
            Self::Requested(address) => requested(*address),
            Self::FormerAsks { address, name } => {
                let name = safe(name);
                format!(
                    "!!! the key that {name} had before wants to write to you; {name} has left it, so whoever has it \
                     now may be a thief\n{}",
                    requested(*address)
                )
            }
            Self::Moved { name, contact, former, made_at } => {
                let (name, at) = (safe(name), moments.show(*made_at));
                format!(
                    "!!! {name} HAS ANOTHER KEY since {at}, which the old one has signed\n    now {contact}\n    \
                     was {former}\n    compare anew: /verify {name}; if {name} knows nothing of it, /block {name}"
                )
            }
            Self::Profiled { name, profile, .. } => format!("{} {}", safe(name), says(profile)),
            Self::OwnProfile(None) => "you say nothing of yourself".to_owned(),
            Self::OwnProfile(Some(profile)) => format!("to your contacts: {}", says(profile)),
            Self::Doubted { name, contact, doubt } => doubted(&safe(name), *contact, *doubt),
            Self::Requests(all) if all.is_empty() => "nobody asks to write to you".to_owned(),
            Self::Requests(all) => {
                let line = |request: &Request| {
                    let Request { address, since, messages } = request;
                    let (short, since) = (digits(*address), moments.show(*since));
                    format!(
                        "{address} since {since}, messages: {messages} (/accept {short} [NAME] or /refuse {short})"
                    )
                };
                all.iter().map(line).collect::<Vec<_>>().join("\n")
            }
            Self::Refused { contact, messages, until } => format!(
                "{contact} is refused until {}; messages forgotten: {messages}",
                moments.show(*until)
            ),
            Self::AllRefused { people } => format!("people refused: {people}"),
            Self::Blocked(contact) => {
                let (name, address) = (safe(&contact.name), contact.address);
                format!(
                    "{name} ({address}) is blocked: nothing of theirs is taken, and they are not told"
                )
            }
            Self::AllBlocked(all) if all.is_empty() => "nobody is blocked".to_owned(),
            Self::AllBlocked(all) => {
                let line =
                    |contact: &Contact| format!("{} {}", contact.address, safe(&contact.name));
                all.iter().map(line).collect::<Vec<_>>().join("\n")
            }
            Self::Unblocked { contact, is_contact: true } => {
                format!(
                    "{contact} is a contact again; what still waits of theirs comes when you connect next"
                )
            }
            Self::Unblocked { contact, is_contact: false } => {
                format!("{contact} is a stranger again, who has to ask")
            }
            Self::Link { link, form: Form::Text } => link.to_string(),
            Self::Link { link, form: Form::Code } => match code(link) {
                Some(code) => format!("{code}\n{link}"),
                None => link.to_string(),
            },
        }
    }

    pub(crate) fn json(&self) -> Value {
        match self {
            Self::Requested(address) => {
                json!({ "type": "request", "address": address.to_string() })
            }
            Self::FormerAsks { address, name } => {
                json!({ "type": "request", "address": address.to_string(), "formerly": name })
            }
            Self::Moved { name, contact, former, made_at } => json!({
                "type": "moved", "name": name, "address": contact.to_string(),
                "former": former.to_string(), "made_at": made_at.as_millis()
            }),
            Self::Profiled { name, contact, profile } => json!({
                "type": "profile", "name": name, "address": contact.to_string(),
                "profile": json::profile(Some(profile))
            }),
            Self::OwnProfile(profile) => {
                json!({ "type": "own_profile", "profile": json::profile(profile.as_ref()) })
            }
            Self::Doubted { name, contact, doubt } => {
                let (doubt, claimed) = json::doubt(*doubt);
                json!({
                    "type": "doubted", "name": name, "address": contact.to_string(), "doubt": doubt,
                    "claimed": claimed
                })
            }
            Self::Requests(all) => {
                let object = |request: &Request| {
                    json!({
                        "address": request.address.to_string(),
                        "since": request.since.as_millis(),
                        "messages": request.messages,
                    })
                };
                json!({ "type": "requests", "requests": all.iter().map(object).collect::<Vec<_>>() })
            }
            Self::Refused { contact, messages, until } => json!({
                "type": "refused", "address": contact.to_string(), "messages": messages,
                "until": until.as_millis()
            }),
            Self::AllRefused { people } => json!({ "type": "all_refused", "people": people }),
            Self::Blocked(contact) => json::object_of_contact("blocked", contact),
            Self::AllBlocked(all) => {
                let all: Vec<_> =
                    all.iter().map(|one| json::object_of_contact("contact", one)).collect();
                json!({ "type": "all_blocked", "blocked": all })
            }
            Self::Unblocked { contact, is_contact } => json!({
                "type": "unblocked", "address": contact.to_string(), "contact": is_contact
            }),
            Self::Link { link, form } => {
                let code = code(link).filter(|_| *form == Form::Code);
                let rows = code.map(|code| code.lines().map(str::to_owned).collect::<Vec<_>>());
                json!({
                    "type": "link", "link": link.to_string(), "address": link.address().to_string(),
                    "name": link.name(), "entries": link.entries(), "code": rows
                })
            }
        }
    }
}

/// Nothing of what they wrote is shown before they are let in.
fn requested(address: Address) -> String {
    let short = digits(address);
    format!("{address} wants to write to you: /accept {short} [NAME] or /refuse {short}")
}

/// What somebody says of themselves, behind their name.
pub(crate) fn says(profile: &Profile) -> String {
    let status = safe(profile.status());
    match (profile.name().map(safe), status.as_str()) {
        (Some(name), "") => format!("calls themselves \"{name}\""),
        (Some(name), status) => format!("calls themselves \"{name}\": {status}"),
        (None, "") => "says nothing of themselves".to_owned(),
        (None, status) => format!("says: {status}"),
    }
}

fn doubted(name: &str, contact: Address, doubt: Doubt) -> String {
    let why = match doubt {
        Doubt::OtherSuccessor(claimed) => format!(
            "a key of theirs also says that they are {claimed} from now on; one of the two is not {name}'s word"
        ),
        Doubt::OtherKey => "another key was shown for the same address".to_owned(),
    };
    format!(
        "!!! THE KEY OF {name} IS IN DOUBT: {why}\n    nothing is sent to {name} until you decide: ask by another way, \
         compare (/verify {name}), then\n    /trust {name} goes on with {contact}, /block {name} ends it"
    )
}

fn digits(address: Address) -> String {
    address.to_string()[..DIGITS].to_owned()
}

/// A code with light modules drawn and dark ones left out, as it has to be where the background is dark.
fn code(link: &Link) -> Option<String> {
    // Capitals alone take the alphabet of the code in which a letter costs least.
    let text = link.to_string().to_ascii_uppercase();
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let mut renderer = code.render::<Dense1x2>();
    Some(renderer.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

#[cfg(test)]
mod tests {
    use comm_proto::identity::Identity;

    use super::*;

    const NOON: Time = Time::from_millis(1_700_049_600_000);

    #[test]
    fn a_request_is_one_line_with_what_can_be_done_about_it() {
        let address = Address::from_bytes([0xab; 20]);
        let line = Acquaintance::Requested(address).plain(&Moments::utc(NOON));
        assert_eq!(
            line,
            format!("{address} wants to write to you: /accept abababab [NAME] or /refuse abababab")
        );
    }

    /// Two rows of modules a line, and four modules of quiet around.
    #[test]
    fn a_link_fits_into_a_terminal_as_a_code() {
        let key = *Identity::from_seed(&[1; 32]).public();
        let entries = vec!["192.0.2.7:7001".to_owned()];
        let plain = Link::new(key, None, Vec::new()).unwrap();
        let full = Link::new(key, Some("ann".to_owned()), entries).unwrap();
        for (link, width) in [(plain, 37), (full, 41)] {
            let code = code(&link).unwrap();
            assert!(code.lines().all(|line| line.chars().count() == width), "{code}");
            assert_eq!(code.lines().count(), width.div_ceil(2));
            let shown = Acquaintance::Link { link: Box::new(link.clone()), form: Form::Code };
            assert!(shown.plain(&Moments::utc(NOON)).ends_with(&link.to_string()));
            assert_eq!(shown.json()["code"].as_array().unwrap().len(), width.div_ceil(2));
        }
    }
}
