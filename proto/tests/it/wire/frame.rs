//! Frames as trees of named fields, to show them and to change them.
//!
//! Entry types are [`Schema`], which knows the names from the descriptors that are handed to server
//! reflection, and [`Part`]. It takes apart frames of our own making and stops at any other.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::rc::Rc;

use comm_proto::wire::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost::encoding::{decode_varint, encode_varint, encoded_len_varint};
use rand_chacha::ChaCha12Rng;

use super::fuzz::{below, position};

/// Bytes of a line of hexadecimal digits.
const LINE_BYTES: usize = 32;
/// About how many bytes a change adds that repeats a part.
const REPEATED_BYTES_MAX: usize = 1_024;
/// Wire types of protobuf.
const VARINT: u64 = 0;
const LENGTH: u64 = 2;
/// The number of the type `string` in a descriptor.
const STRING: i32 = 9;

/// All messages by their full names.
pub(super) struct Schema(BTreeMap<String, Vec<Field>>);

/// A field of a frame.
#[derive(Clone)]
pub(super) struct Part {
    name: Rc<str>,
    number: u64,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Number(u64),
    Text(Vec<u8>),
    Bytes(Vec<u8>),
    Message(Vec<Part>),
}

/// As much of google/protobuf/descriptor.proto as is needed.
#[derive(Clone, PartialEq, Message)]
struct Descriptors {
    #[prost(message, repeated, tag = "1")]
    files: Vec<File>,
}

#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "4")]
    messages: Vec<Type>,
}

#[derive(Clone, PartialEq, Message)]
struct Type {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    fields: Vec<Field>,
}

#[derive(Clone, PartialEq, Message)]
struct Field {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "3")]
    number: i32,
    #[prost(int32, tag = "5")]
    kind: i32,
    #[prost(string, tag = "6")]
    type_name: String,
}

impl Schema {
    pub(super) fn new() -> Self {
        let files = Descriptors::decode(FILE_DESCRIPTOR_SET).unwrap().files;
        let types = files.into_iter().flat_map(|file| {
            let package = file.package;
            file.messages.into_iter().map(move |kind| (format!("{package}.{}", kind.name), kind))
        });
        Self(types.map(|(name, kind)| (name, kind.fields)).collect())
    }

    /// The names of the fields of a message.
    pub(super) fn fields(&self, message: &str) -> impl Iterator<Item = &str> {
        self.0[message].iter().map(|field| field.name.as_str())
    }

    /// Takes the frame of a message apart.
    pub(super) fn parts(&self, message: &str, mut rest: &[u8]) -> Vec<Part> {
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let key = decode_varint(&mut rest).unwrap();
            let (number, wire_type) = (key >> 3, key & 7);
            let field = self.0[message].iter().find(|field| field.number as u64 == number);
            let field = field.expect("our frames have known fields only");
            let value = decode_varint(&mut rest).unwrap();
            let content = match wire_type {
                VARINT => Content::Number(value),
                LENGTH => {
                    let (bytes, after) = rest.split_at(value as usize);
                    rest = after;
                    self.content_of(field, bytes)
                }
                other => panic!("our messages have no fields of the wire type {other}"),
            };
            parts.push(Part { name: field.name.as_str().into(), number, content });
        }
        parts
    }

    fn content_of(&self, field: &Field, bytes: &[u8]) -> Content {
        match (field.kind, field.type_name.as_str()) {
            (STRING, _) => Content::Text(bytes.to_vec()),
            (_, "") => Content::Bytes(bytes.to_vec()),
            (_, message) => Content::Message(self.parts(&message[1..], bytes)),
        }
    }
}

impl Part {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A field that no version so far has.
    fn unknown(number: u64, content: Content) -> Self {
        Self { name: "unknown".into(), number, content }
    }

    /// Changes its value and leaves the frame readable.
    fn change(&mut self, rng: &mut ChaCha12Rng) {
        match &mut self.content {
            Content::Message(inner) => change(inner, rng),
            Content::Number(number) => {
                let numbers = [0, 1, *number + 1, 0xffff, u32::MAX.into(), u64::MAX >> 1];
                *number = numbers[below(rng, numbers.len() as u32) as usize];
            }
            Content::Text(bytes) => bytes.push(b'a'),
            Content::Bytes(bytes) => match (below(rng, 4), position(rng, bytes.len())) {
                (0, at) => bytes.truncate(at),
                (1, _) => bytes.push(0),
                (_, at) => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1),
            },
        }
    }

    /// Appends the key, and for anything but a number the length.
    fn write_head(&self, frame: &mut Vec<u8>) -> usize {
        let (wire_type, value) = match &self.content {
            Content::Number(number) => (VARINT, *number),
            _ => (LENGTH, self.body_len() as u64),
        };
        encode_varint((self.number << 3) | wire_type, frame);
        let key_end = frame.len();
        encode_varint(value, frame);
        key_end
    }

    fn write(&self, frame: &mut Vec<u8>) {
        self.write_head(frame);
        match &self.content {
            Content::Number(_) => {}
            Content::Text(bytes) | Content::Bytes(bytes) => frame.extend(bytes),
            Content::Message(parts) => parts.iter().for_each(|part| part.write(frame)),
        }
    }

    fn body_len(&self) -> usize {
        match &self.content {
            Content::Number(_) => 0,
            Content::Text(bytes) | Content::Bytes(bytes) => bytes.len(),
            Content::Message(parts) => parts.iter().map(Self::len).sum(),
        }
    }

    fn len(&self) -> usize {
        let value = match &self.content {
            Content::Number(number) => *number,
            _ => self.body_len() as u64,
        };
        encoded_len_varint(self.number << 3) + encoded_len_varint(value) + self.body_len()
    }
}

/// Puts the parts of a frame together again.
pub(super) fn join(parts: &[Part]) -> Vec<u8> {
    let mut frame = Vec::new();
    parts.iter().for_each(|part| part.write(&mut frame));
    frame
}

/// Changes the parts of a frame that stays readable: one of them, or how often it is there.
pub(super) fn change(parts: &mut Vec<Part>, rng: &mut ChaCha12Rng) {
    let at = below(rng, parts.len().max(1) as u32) as usize;
    let Some(part) = parts.get_mut(at) else { return };
    match below(rng, 8) {
        0 => drop(parts.remove(at)),
        1 => {
            let fitting = REPEATED_BYTES_MAX / (part.body_len() + 2) + 1;
            let times = [1, 4, 20, 64, 256][below(rng, 5) as usize].min(fitting);
            let copies = vec![part.clone(); times];
            parts.splice(at..at, copies);
        }
        _ => part.change(rng),
    }
}

/// The same frame from a node of a later version, which knows further fields of every message.
pub(super) fn with_unknown_fields(parts: &[Part]) -> Vec<Part> {
    let deeper = |part: &Part| match &part.content {
        Content::Message(inner) => {
            Part { content: Content::Message(with_unknown_fields(inner)), ..part.clone() }
        }
        _ => part.clone(),
    };
    let number = Part::unknown(1_000, Content::Number(u64::MAX));
    let bytes = Part::unknown(50_000, Content::Bytes(vec![0xff; 40]));
    [number].into_iter().chain(parts.iter().map(deeper)).chain([bytes]).collect()
}

/// Writes every field as a comment with its name, then its bytes in hexadecimal digits.
pub(super) fn annotate(parts: &[Part], depth: usize, text: &mut String) {
    for part in parts {
        let mut head = Vec::new();
        let key_end = part.write_head(&mut head);
        let (key, value) = head.split_at(key_end);
        let what = match &part.content {
            Content::Number(number) => format!("{} = {number}", part.name),
            Content::Text(bytes) => format!("{} = {:?}", part.name, String::from_utf8_lossy(bytes)),
            _ => format!("{}, {} bytes", part.name, part.body_len()),
        };
        writeln!(text, "# {}{what}", "  ".repeat(depth)).unwrap();
        writeln!(text, "{} {}", hex::encode(key), hex::encode(value)).unwrap();
        match &part.content {
            Content::Number(_) => {}
            Content::Message(inner) => annotate(inner, depth + 1, text),
            Content::Text(bytes) | Content::Bytes(bytes) => {
                for line in bytes.chunks(LINE_BYTES) {
                    writeln!(text, "{}", hex::encode(line)).unwrap();
                }
            }
        }
    }
}
