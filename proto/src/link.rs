//! Links: how a person hands out who they are (PROTOCOL §4.13).
//!
//! Entry type is [`Link`]. Its text is `comm:` and letters and digits that a code for cameras takes as they
//! are. It holds the key, so that a first message can be sealed to somebody whose card nobody has, and
//! cannot name another's address. A checksum finds what was mistyped; it proves nothing else.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::address::Address;
use crate::agent::check_name;
use crate::key::PublicKey;
use crate::sealing;
use crate::signed_bytes::{FieldError, FieldReader};

/// The longest text of a link in characters.
pub const LINK_LEN_MAX: usize = 1_280;
/// The most nodes of one link, and the longest of them in bytes.
pub const ENTRIES_MAX: usize = 4;
/// The longest place of a node in bytes.
pub const ENTRY_LEN_MAX: usize = 100;

const SCHEME: &str = "comm:";
const VERSION: u8 = 1;
/// Domain separation of the checksum.
const CONTEXT: &[u8] = b"comm/link/v1\0";
const CHECKSUM_LEN: usize = 4;
const FIELDS_MAX: u8 = 16;
/// Tags from here on must be understood by whoever reads the link.
const CRITICAL: u8 = 0x80;
const NAME: u8 = 1;
const ENTRIES: u8 = 2;

/// A person's key, and what helps to reach them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    key: PublicKey,
    name: Option<String>,
    entries: Vec<String>,
}

/// Why a text is no link, or a link cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LinkError {
    /// It does not begin as links do.
    #[error("a link begins with comm:")]
    Scheme,
    /// It is longer than any link.
    #[error("a link has at most {LINK_LEN_MAX} characters, this has {0}")]
    TooLong(usize),
    /// It has a character that links do not have, capitals beside small letters, or is cut.
    #[error(
        "behind comm: a link has the letters a to z and the digits 2 to 7, all letters small or all capitals; \
         copy it whole"
    )]
    Character,
    /// What is there is not what was written.
    #[error("the link is damaged: a character is wrong, missing or too many; copy it whole")]
    Checksum,
    /// It is of a version that this program does not know.
    #[error("the link is of version {0}, this program knows version {VERSION}")]
    Version(u8),
    /// It says something that this program does not know and must not pass over.
    #[error("the link says something that this program does not know; it is of a newer program")]
    Unknown,
    /// It has not the layout of links.
    #[error("the link is not laid out as links are")]
    Layout,
    /// Its key is none.
    #[error("the key of the link is no key")]
    Key,
    /// The name cannot be typed or told apart.
    #[error(
        "the name of a link has 1 to 64 characters that can be seen, no spaces, no colon, and is neither an \
         address nor eight digits of one"
    )]
    Name,
    /// The nodes are too many, or no places of nodes.
    #[error(
        "a link names at most {ENTRIES_MAX} nodes as HOST:PORT, of at most {ENTRY_LEN_MAX} characters"
    )]
    Entries,
}

impl Link {
    /// A link to whoever has this key, under a name that they want to go by, with nodes by which their
    /// network is found (`HOST:PORT`, or the node's key, `@` and that).
    ///
    /// # Errors
    /// When the name or a node is impossible, or nodes are too many.
    pub fn new(
        key: PublicKey,
        name: Option<String>,
        entries: Vec<String>,
    ) -> Result<Self, LinkError> {
        if name.as_ref().is_some_and(|name| !is_fit_to_go_by(name)) {
            return Err(LinkError::Name);
        }
        if entries.len() > ENTRIES_MAX || !entries.iter().all(|entry| is_place(entry)) {
            return Err(LinkError::Entries);
        }
        if !sealing::can_be_sealed_to(&key) {
            return Err(LinkError::Key);
        }
        Ok(Self { key, name, entries })
    }

    /// Whose it is.
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Their address, which follows from the key.
    pub fn address(&self) -> Address {
        self.key.address()
    }

    /// What they want to go by. Nobody vouches for it.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Nodes by which their network is found.
    pub fn entries(&self) -> &[String] {
        &self.entries
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut fields = Vec::new();
        if let Some(name) = &self.name {
            fields.push((NAME, name.as_bytes().to_vec()));
        }
        if !self.entries.is_empty() {
            let counted = self.entries.iter().flat_map(|entry| {
                let length = u8::try_from(entry.len()).expect("a place is short");
                [&[length], entry.as_bytes()].concat()
            });
            fields.push((ENTRIES, counted.collect()));
        }
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(self.key.as_bytes());
        bytes.push(u8::try_from(fields.len()).expect("a link has two fields"));
        for (tag, value) in fields {
            let length = u16::try_from(value.len()).expect("every field is short");
            bytes.push(tag);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&value);
        }
        bytes.extend_from_slice(&checksum(&bytes));
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Self, LinkError> {
        let mut reader = FieldReader::new(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(LinkError::Version(version));
        }
        let key = PublicKey::from_bytes(reader.array()?);
        let count = reader.u8()?;
        if count > FIELDS_MAX {
            return Err(LinkError::Layout);
        }
        let (mut name, mut entries, mut last) = (None, Vec::new(), 0);
        for _ in 0..count {
            let (tag, length) = (reader.u8()?, usize::from(reader.u16()?));
            let split = reader.rest().split_at_checked(length);
            let (value, rest) = split.ok_or(LinkError::Layout)?;
            reader = FieldReader::new(rest);
            if tag <= last {
                return Err(LinkError::Layout);
            }
            last = tag;
            match tag {
                NAME => name = Some(text(value)?),
                ENTRIES => entries = read_entries(value)?,
                tag if tag >= CRITICAL => return Err(LinkError::Unknown),
                // Said by a later program, and of no weight.
                _ => {}
            }
        }
        reader.finish()?;
        Self::new(key, name, entries)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = BASE32_NOPAD.encode(&self.to_bytes());
        write!(f, "{SCHEME}{}", digits.to_ascii_lowercase())
    }
}

impl FromStr for Link {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let head = text.get(..SCHEME.len()).ok_or(LinkError::Scheme)?;
        if !head.eq_ignore_ascii_case(SCHEME) {
            return Err(LinkError::Scheme);
        }
        if text.len() > LINK_LEN_MAX {
            return Err(LinkError::TooLong(text.chars().count()));
        }
        let digits = &text[SCHEME.len()..];
        let has = |is: fn(&u8) -> bool| digits.bytes().any(|byte| is(&byte));
        if has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase) {
            return Err(LinkError::Character);
        }
        let bytes = BASE32_NOPAD.decode(digits.to_ascii_uppercase().as_bytes());
        let bytes = bytes.map_err(|_| LinkError::Character)?;
        let split = bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or(LinkError::Checksum)?;
        let (bytes, sum) = split;
        if checksum(bytes) != *sum {
            return Err(LinkError::Checksum);
        }
        Self::read(bytes)
    }
}

impl From<FieldError> for LinkError {
    fn from(_: FieldError) -> Self {
        Self::Layout
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    let hash = Sha256::new().chain_update(CONTEXT).chain_update(bytes).finalize();
    let mut sum = [0; CHECKSUM_LEN];
    sum.copy_from_slice(&hash[..CHECKSUM_LEN]);
    sum
}

fn text(value: &[u8]) -> Result<String, LinkError> {
    String::from_utf8(value.to_vec()).map_err(|_| LinkError::Layout)
}

/// Each behind its length, one at least.
fn read_entries(mut value: &[u8]) -> Result<Vec<String>, LinkError> {
    let mut entries = Vec::new();
    while let Some((length, rest)) = value.split_first() {
        let split = rest.split_at_checked(usize::from(*length));
        let (entry, rest) = split.ok_or(LinkError::Layout)?;
        entries.push(text(entry)?);
        value = rest;
    }
    if entries.is_empty() { Err(LinkError::Layout) } else { Ok(entries) }
}

/// Whether somebody may go by a name that they gave themselves.
pub(crate) fn is_fit_to_go_by(name: &str) -> bool {
    check_name(name).is_ok() && !is_imitation(name)
}

/// Whether a name could pass for somebody else's: by a character that is not seen or turns the others around, or
/// as the digits that people without a name go by. What somebody types themselves needs no such care.
fn is_imitation(name: &str) -> bool {
    let is_digits = name.len() == 8 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digits || name.chars().any(is_unseen)
}

/// Characters that Unicode says are shown as nothing (`Default_Ignorable_Code_Point`), or that only say how
/// others are shown (`Cf`).
pub(crate) const fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
        | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Whether it looks like one; who dials there reads it exactly.
fn is_place(entry: &str) -> bool {
    let port = entry
        .rsplit_once(':')
        .and_then(|(host, port)| port.parse::<u16>().ok().filter(|_| !host.is_empty()));
    port.is_some_and(|port| port > 0)
        && entry.len() <= ENTRY_LEN_MAX
        && entry.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::Identity;

    fn key() -> PublicKey {
        *Identity::from_seed(&[1; 32]).public()
    }

    fn full() -> Link {
        let entries = vec!["192.0.2.7:7001".to_owned(), "[2001:db8::1]:7001".to_owned()];
        Link::new(key(), Some("ann".to_owned()), entries).unwrap()
    }

    /// A link of a text whose bytes are made up, with a checksum that is right.
    fn read(bytes: &[u8]) -> Result<Link, LinkError> {
        let whole = [bytes, &checksum(bytes)].concat();
        format!("comm:{}", BASE32_NOPAD.encode(&whole)).parse()
    }

    /// Made by this implementation; a second one has to give the same.
    #[test]
    fn a_link_keeps_its_vector_and_is_read_back() {
        let plain = Link::new(key(), None, Vec::new()).unwrap();
        for link in [plain.clone(), full()] {
            let text = link.to_string();
            assert_eq!(text.parse::<Link>(), Ok(link.clone()));
            assert_eq!(text.to_ascii_uppercase().parse::<Link>(), Ok(link.clone()));
            assert_eq!(link.address(), key().address());
        }
        assert_eq!(plain.to_string().len(), 5 + 61);
        assert!(full().to_string().len() <= LINK_LEN_MAX);
    }

    /// Each character against every other that may stand there.
    #[test]
    fn a_wrong_character_anywhere_is_found() {
        let text = full().to_string();
        for at in SCHEME.len()..text.len() {
            for other in "abcdefghijklmnopqrstuvwxyz234567".chars() {
                let mut wrong: Vec<char> = text.chars().collect();
                if std::mem::replace(&mut wrong[at], other) == other {
                    continue;
                }
                let wrong: String = wrong.into_iter().collect();
                let refused = wrong.parse::<Link>().unwrap_err();
                let is_named = matches!(refused, LinkError::Checksum | LinkError::Character);
                assert!(is_named, "{wrong}: {refused}");
            }
        }
        for at in SCHEME.len()..text.len() {
            let mut cut = text.clone();
            cut.remove(at);
            assert!(cut.parse::<Link>().is_err(), "{cut}");
            assert!(text[..at].parse::<Link>().is_err());
        }
    }

    #[test]
    fn what_is_no_link_is_refused_with_its_reason() {
        let text = full().to_string();
        let mut mixed = text.clone();
        mixed.replace_range(5..6, &text[5..6].to_ascii_uppercase());
        let long = format!("comm:{}", "a".repeat(LINK_LEN_MAX));
        for (text, reason) in [
            ("", LinkError::Scheme),
            ("http://x", LinkError::Scheme),
            ("ää", LinkError::Scheme),
            ("comm:", LinkError::Checksum),
            ("comm:a b", LinkError::Character),
            ("comm:ab1", LinkError::Character),
            ("comm:ä", LinkError::Character),
            (&mixed, LinkError::Character),
            (&long, LinkError::TooLong(LINK_LEN_MAX + 5)),
        ] {
            assert_eq!(text.parse::<Link>(), Err(reason), "{text}");
        }
    }

    #[test]
    fn a_link_that_somebody_made_up_is_refused_with_its_reason() {
        let key = *key().as_bytes();
        let with = |fields: &[u8]| read(&[&[1], &key[..], fields].concat());
        assert!(with(&[0]).is_ok());
        assert_eq!(read(&[&[2], &key[..], &[0]].concat()), Err(LinkError::Version(2)));
        assert_eq!(read(&[&[1], &[0; 32][..], &[0]].concat()), Err(LinkError::Key));
        // Tags that are not known: below 128 they are passed over, from there on refused.
        assert!(with(&[1, 3, 0, 1, 9]).is_ok());
        assert_eq!(with(&[1, 128, 0, 0]), Err(LinkError::Unknown));
        for (fields, reason) in [
            (&[][..], LinkError::Layout),
            (&[17], LinkError::Layout),
            (&[0, 0], LinkError::Layout),
            (&[1, 1, 0, 9, b'a'], LinkError::Layout),
            (&[2, 1, 0, 1, b'a', 1, 0, 1, b'b'], LinkError::Layout),
            (&[1, 1, 0, 0], LinkError::Name),
            (&[1, 1, 0, 3, b'a', b' ', b'b'], LinkError::Name),
            (&[1, 1, 0, 2, 0x1b, b'['], LinkError::Name),
            (&[1, 1, 0, 1, 0xff], LinkError::Layout),
            (&[1, 2, 0, 0], LinkError::Layout),
            (&[1, 2, 0, 2, 9, b'a'], LinkError::Layout),
            (&[1, 2, 0, 4, 3, b'a', b':', b'0'], LinkError::Entries),
            (&[1, 2, 0, 5, 4, b'\x1b', b'a', b':', b'1'], LinkError::Entries),
        ] {
            assert_eq!(with(fields), Err(reason), "{fields:?}");
        }
        let many = vec!["h:1".to_owned(); ENTRIES_MAX + 1];
        assert_eq!(Link::new(super::tests::key(), None, many), Err(LinkError::Entries));
        let longest = format!("{}:7001", "h".repeat(ENTRY_LEN_MAX - 5));
        let fullest =
            Link::new(super::tests::key(), Some("👩".repeat(64)), vec![longest; ENTRIES_MAX]);
        let text = fullest.unwrap().to_string();
        assert!(text.len() <= LINK_LEN_MAX && text.parse::<Link>().is_ok(), "{}", text.len());
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_fail_otherwise(text: String, bytes: Vec<u8>) {
            let _ = text.parse::<Link>();
            let _ = format!("comm:{text}").parse::<Link>();
            if let Ok(link) = read(&bytes) {
                prop_assert_eq!(link.to_string().parse::<Link>(), Ok(link));
            }
        }
    }
}
