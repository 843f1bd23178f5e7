//! What bodies say that belong to a conversation: texts with more than text, edits, deletions, timers
//! and receipts (PROTOCOL §4.9).
//!
//! Entry type is [`Content`]. It reads every body, and whatever has not exactly the layout of its kind is
//! [`Content::Other`], which is kept and shown as unsupported. It knows neither conversations nor
//! who wrote: whether somebody may edit a message is decided where messages are kept.

use crate::payload::{ContentType, MessageId};
use crate::signed_bytes::{FieldError, FieldReader};
use crate::time::Span;

/// The most messages that one receipt names: as many as fit into the smallest envelope.
pub const RECEIPT_IDS_MAX: usize = 24;
/// The shortest time after which a message may disappear.
pub const LIFETIME_MIN: Span = Span::from_secs(5);
/// The longest.
pub const LIFETIME_MAX: Span = Span::from_days(366);

/// The most fields of one body.
const FIELDS_MAX: u8 = 16;
/// Tags from here on must be understood by whoever reads the body.
const CRITICAL: u8 = 0x80;
/// The message that this one answers.
const ANSWERS: u8 = 1;
/// After which time the message is to disappear.
const LIFETIME: u8 = 2;
/// The messages that this one is about.
const CONCERNS: u8 = 3;

/// What a body says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Text to be shown.
    Text(Text),
    /// Another text for an earlier message of the same author.
    Edit {
        /// Which.
        target: MessageId,
        /// The new text, 1 byte or more.
        text: String,
        /// After which time from the writing of the edit its message disappears.
        lifetime: Option<Span>,
    },
    /// An earlier message of the same author is to be removed.
    Delete {
        /// Which.
        target: MessageId,
    },
    /// After which time what is said from now on disappears; none, that it stays.
    Timer(Option<Span>),
    /// The author was shown these messages; 1 to [`RECEIPT_IDS_MAX`].
    Receipt(Vec<MessageId>),
    /// Something that this program does not know, or that is not laid out as its kind has to be.
    Other {
        /// Its kind.
        content_type: ContentType,
        /// As it came.
        body: Vec<u8>,
    },
}

/// A text and what was said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// UTF-8, but for a plain text from a careless author.
    pub text: Vec<u8>,
    /// The message that it answers.
    pub answers: Option<MessageId>,
    /// After which time from its writing it disappears.
    pub lifetime: Option<Span>,
}

/// The fields of a body and what stands behind them.
#[derive(Default)]
struct Fields<'a> {
    answers: Option<&'a [u8]>,
    lifetime: Option<&'a [u8]>,
    concerns: Option<&'a [u8]>,
    rest: &'a [u8],
}

impl Content {
    /// Reads a body, which anybody may have made up.
    pub fn read(content_type: ContentType, body: Vec<u8>) -> Self {
        if content_type == ContentType::TEXT {
            return Self::Text(Text { text: body, ..Text::default() });
        }
        let read = match content_type {
            ContentType::MARKED_TEXT => read_text(&body),
            ContentType::EDIT => read_edit(&body),
            ContentType::DELETE => read_delete(&body),
            ContentType::TIMER => read_timer(&body),
            ContentType::RECEIPT => read_receipt(&body),
            _ => None,
        };
        read.unwrap_or(Self::Other { content_type, body })
    }

    /// Kind and body that say this.
    pub fn write(self) -> (ContentType, Vec<u8>) {
        match self {
            Self::Text(text) => text.write(),
            Self::Edit { target, text, lifetime } => {
                let mut fields: Vec<_> = lifetime.map(lifetime_field).into_iter().collect();
                fields.push((CONCERNS, target.as_bytes().to_vec()));
                (ContentType::EDIT, write_fields(&fields, text.as_bytes()))
            }
            Self::Delete { target } => {
                let fields = [(CONCERNS, target.as_bytes().to_vec())];
                (ContentType::DELETE, write_fields(&fields, &[]))
            }
            Self::Timer(lifetime) => {
                let millis = lifetime.map_or(0, Span::as_millis);
                let fields = [(LIFETIME, millis.to_be_bytes().to_vec())];
                (ContentType::TIMER, write_fields(&fields, &[]))
            }
            Self::Receipt(ids) => {
                let ids = ids.iter().flat_map(|id| *id.as_bytes()).collect();
                (ContentType::RECEIPT, write_fields(&[(CONCERNS, ids)], &[]))
            }
            Self::Other { content_type, body } => (content_type, body),
        }
    }
}

impl Text {
    /// A plain text stays of the kind that every program knows.
    fn write(self) -> (ContentType, Vec<u8>) {
        let mut fields = Vec::new();
        fields.extend(self.answers.map(|id| (ANSWERS, id.as_bytes().to_vec())));
        fields.extend(self.lifetime.map(lifetime_field));
        if fields.is_empty() {
            return (ContentType::TEXT, self.text);
        }
        (ContentType::MARKED_TEXT, write_fields(&fields, &self.text))
    }
}

fn lifetime_field(lifetime: Span) -> (u8, Vec<u8>) {
    (LIFETIME, lifetime.as_millis().to_be_bytes().to_vec())
}

/// Number of fields, then each with its tag and its length, then what stands behind them.
fn write_fields(fields: &[(u8, Vec<u8>)], rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(fields.len()).expect("a body has a few fields")];
    for (tag, value) in fields {
        let length = u16::try_from(value.len()).expect("every field is short");
        bytes.push(*tag);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(value);
    }
    bytes.extend_from_slice(rest);
    bytes
}

fn read_fields(body: &[u8]) -> Option<Fields<'_>> {
    let mut reader = FieldReader::new(body);
    let count = reader.u8().ok().filter(|count| *count <= FIELDS_MAX)?;
    let (mut fields, mut last) = (Fields::default(), 0);
    for _ in 0..count {
        let (tag, value) = read_field(&mut reader).ok()?;
        if tag <= last {
            return None;
        }
        last = tag;
        match tag {
            ANSWERS => fields.answers = Some(value),
            LIFETIME => fields.lifetime = Some(value),
            CONCERNS => fields.concerns = Some(value),
            tag if tag >= CRITICAL => return None,
            // Said by a later program, and of no weight.
            _ => {}
        }
    }
    fields.rest = reader.rest();
    Some(fields)
}

fn read_field<'a>(reader: &mut FieldReader<'a>) -> Result<(u8, &'a [u8]), FieldError> {
    let (tag, length) = (reader.u8()?, usize::from(reader.u16()?));
    let rest = reader.rest();
    let (value, rest) = rest.split_at_checked(length).ok_or(FieldError::Truncated)?;
    *reader = FieldReader::new(rest);
    Ok((tag, value))
}

fn read_text(body: &[u8]) -> Option<Content> {
    let fields = read_fields(body)?;
    if fields.concerns.is_some() {
        return None;
    }
    let text = text(fields.rest)?.as_bytes().to_vec();
    let answers = fields.answers.map(|id| single(id).ok_or(())).transpose().ok()?;
    let lifetime = fields.lifetime.map(|millis| lifetime(millis).ok_or(())).transpose().ok()?;
    Some(Content::Text(Text { text, answers, lifetime }))
}

fn read_edit(body: &[u8]) -> Option<Content> {
    let fields = read_fields(body)?;
    let text = text(fields.rest)?.to_owned();
    let target = fields.concerns.filter(|_| fields.answers.is_none()).and_then(single)?;
    let lifetime = fields.lifetime.map(|millis| lifetime(millis).ok_or(())).transpose().ok()?;
    Some(Content::Edit { target, text, lifetime })
}

fn read_delete(body: &[u8]) -> Option<Content> {
    let fields = read_fields(body).filter(|fields| fields.rest.is_empty())?;
    let target = fields.only_concerns().and_then(single)?;
    Some(Content::Delete { target })
}

fn read_timer(body: &[u8]) -> Option<Content> {
    let fields = read_fields(body).filter(|fields| fields.rest.is_empty())?;
    let others = fields.answers.or(fields.concerns);
    match fields.lifetime.filter(|_| others.is_none())? {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some(Content::Timer(None)),
        millis => lifetime(millis).map(|lifetime| Content::Timer(Some(lifetime))),
    }
}

fn read_receipt(body: &[u8]) -> Option<Content> {
    let fields = read_fields(body).filter(|fields| fields.rest.is_empty())?;
    let (ids, rest) = fields.only_concerns()?.as_chunks::<{ MessageId::LEN }>();
    let is_sound = rest.is_empty() && (1..=RECEIPT_IDS_MAX).contains(&ids.len());
    is_sound.then(|| Content::Receipt(ids.iter().copied().map(MessageId::from_bytes).collect()))
}

impl<'a> Fields<'a> {
    /// What the body is about, where no other field that we know may stand beside it.
    fn only_concerns(&self) -> Option<&'a [u8]> {
        self.concerns.filter(|_| self.answers.is_none() && self.lifetime.is_none())
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty())
}

fn single(id: &[u8]) -> Option<MessageId> {
    id.try_into().ok().map(MessageId::from_bytes)
}

fn lifetime(millis: &[u8]) -> Option<Span> {
    let millis = millis.try_into().ok().map(u64::from_be_bytes)?;
    let lifetime = Span::from_millis(millis);
    (LIFETIME_MIN..=LIFETIME_MAX).contains(&lifetime).then_some(lifetime)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: MessageId = MessageId::from_bytes([7; 32]);

    fn read(content_type: ContentType, digits: &str) -> Content {
        Content::read(content_type, hex::decode(digits.replace(' ', "")).unwrap())
    }

    fn is_other(content: &Content) -> bool {
        matches!(content, Content::Other { .. })
    }

    fn any_id() -> impl Strategy<Value = MessageId> {
        any::<[u8; 32]>().prop_map(MessageId::from_bytes)
    }

    fn any_content() -> impl Strategy<Value = Content> {
        let lifetime = LIFETIME_MIN.as_millis()..=LIFETIME_MAX.as_millis();
        let lifetime = || prop::option::of(lifetime.clone().prop_map(Span::from_millis));
        let text = (".{1,40}", prop::option::of(any_id()), lifetime());
        prop_oneof![
            text.prop_map(|(text, answers, lifetime)| Content::Text(Text {
                text: text.into_bytes(),
                answers,
                lifetime,
            })),
            (any_id(), ".{1,40}", lifetime()).prop_map(|(target, text, lifetime)| Content::Edit {
                target,
                text,
                lifetime
            }),
            any_id().prop_map(|target| Content::Delete { target }),
            lifetime().prop_map(Content::Timer),
            prop::collection::vec(any_id(), 1..=RECEIPT_IDS_MAX).prop_map(Content::Receipt),
        ]
    }

    /// Made by this implementation; a second one has to give the same.
    #[test]
    fn every_kind_keeps_its_layout() {
        let id = "07".repeat(32);
        let bytes = |content: Content| {
            let (content_type, body) = content.write();
            (content_type.0, hex::encode(body))
        };
        let text =
            |answers, lifetime| Content::Text(Text { text: b"hi".to_vec(), answers, lifetime });
        assert_eq!(bytes(text(None, None)), (1, "6869".to_owned()));
        assert_eq!(bytes(text(Some(ID), None)), (6, format!("01010020{id}6869")));
        let minute = Some(Span::from_mins(1));
        let timed = format!("02010020{id}020008000000000000ea606869");
        assert_eq!(bytes(text(Some(ID), minute)), (6, timed));
        let edit = |lifetime| Content::Edit { target: ID, text: "hi".to_owned(), lifetime };
        assert_eq!(bytes(edit(None)), (7, format!("01030020{id}6869")));
        let timed = format!("02020008000000000000ea60030020{id}6869");
        assert_eq!(bytes(edit(minute)), (7, timed));
        assert_eq!(bytes(Content::Delete { target: ID }), (8, format!("01030020{id}")));
        assert_eq!(bytes(Content::Timer(minute)), (9, "01020008000000000000ea60".to_owned()));
        assert_eq!(bytes(Content::Timer(None)), (9, "010200080000000000000000".to_owned()));
        let receipt = Content::Receipt(vec![ID, ID]);
        assert_eq!(bytes(receipt), (4, format!("01030040{id}{id}")));
    }

    #[test]
    fn what_is_not_laid_out_as_its_kind_has_to_be_is_kept_as_it_came() {
        let id = "07".repeat(32);
        let texts = [
            String::new(),
            "00".to_owned(),
            format!("01010020{id}"),
            format!("01010020{id}ff"),
            format!("0101001f{}6869", "07".repeat(31)),
            format!("0101002007{}", "07".repeat(30)),
            // Twice the same tag, and tags that do not rise.
            format!("02010020{id}01002007{id}6869"),
            format!("02020008000000000000ea60010020{id}6869"),
            // Times out of bounds.
            "0102000800000000000000016869".to_owned(),
            "010200080000000000000000 6869".to_owned(),
            "01020008ffffffffffffffff6869".to_owned(),
            // Something that must be understood, and too many fields.
            "0180000068".to_owned(),
            "1168".to_owned(),
            format!("01030020{id}6869"),
        ];
        for digits in texts {
            assert!(is_other(&read(ContentType::MARKED_TEXT, &digits)), "{digits}");
        }
        for digits in
            [format!("01030020{id}"), format!("01030040{id}{id}6869"), "006869".to_owned()]
        {
            assert!(is_other(&read(ContentType::EDIT, &digits)), "{digits}");
        }
        for digits in [format!("01030020{id}00"), "00".to_owned(), "01030000".to_owned()] {
            assert!(is_other(&read(ContentType::DELETE, &digits)), "{digits}");
            assert!(is_other(&read(ContentType::RECEIPT, &digits)), "{digits}");
        }
        let many = id.repeat(RECEIPT_IDS_MAX + 1);
        let (content_type, body) = (ContentType::RECEIPT, format!("010303 20{many}"));
        assert!(is_other(&read(content_type, &body)));
        for digits in ["00", "01020008000000000000ea6000", "0102000100"] {
            assert!(is_other(&read(ContentType::TIMER, digits)), "{digits}");
        }
    }

    #[test]
    fn what_a_later_program_adds_without_weight_is_passed_over() {
        let content = read(ContentType::MARKED_TEXT, "01 7f 0002 abcd 6869");
        assert_eq!(content, Content::Text(Text { text: b"hi".to_vec(), ..Text::default() }));
    }

    #[test]
    fn the_fullest_receipt_fits_into_the_smallest_envelope() {
        let (_, body) = Content::Receipt(vec![ID; RECEIPT_IDS_MAX]).write();
        let smallest = crate::envelope::SizeClass::ALL[0];
        assert_eq!(crate::payload::class_for(body.len()), Some(smallest));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(content in any_content()) {
            let (content_type, body) = content.clone().write();
            prop_assert_eq!(Content::read(content_type, body), content);
        }

        /// And each has one layout only: what is read is written as it came, but for fields of no weight.
        #[test]
        fn reading_never_panics(kind in 0..12_u16, body in prop::collection::vec(any::<u8>(), 0..90)) {
            let content = Content::read(ContentType(kind), body.clone());
            if let Content::Other { content_type, body: kept } = &content {
                prop_assert_eq!((content_type.0, kept), (kind, &body));
            }
            let (content_type, again) = content.clone().write();
            prop_assert_eq!(Content::read(content_type, again), content);
        }
    }
}
