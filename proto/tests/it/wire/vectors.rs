//! Recorded frames in testdata/wire, one of every message between nodes (PROTOCOL §11).
//!
//! With COMM_WRITE_VECTORS=1 in the environment they are written anew instead of compared. A frame
//! that changes means that older nodes may read something else than newer ones write.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::sync::Once;

use comm_proto::rejection::Rejection;
use comm_proto::wire::{decode, object, peer};
use prost::Message;

use super::frame::{Schema, annotate, join, with_unknown_fields};
use super::samples::{self, NOW, Said};

/// A sample and the frame that was recorded of it.
struct Recorded {
    said: Said,
    frame: Vec<u8>,
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/wire")
}

/// The name of the file of a sample: its carrier and the field of it that is set.
fn file_name(schema: &Schema, said: &Said) -> String {
    let parts = schema.parts(&said.message(), &said.to_frame());
    file_name_of(said.carrier(), parts[0].name())
}

fn file_name_of(carrier: &str, field: &str) -> String {
    format!("{}-{}.txt", carrier.to_lowercase(), field.replace('_', "-"))
}

fn written(schema: &Schema, said: &Said) -> String {
    let parts = schema.parts(&said.message(), &said.to_frame());
    let (carrier, field) = (said.carrier(), parts[0].name());
    let mut text = format!(
        "# A frame of comm.peer.v1.{carrier} that carries `{field}` (PROTOCOL §11).\n\
         # A line that begins with `#` says what the bytes of the next lines are. Those lines,\n\
         # without white space, are the frame in hexadecimal digits. Fields stand in the order\n\
         # of their numbers; those with the default value are left out.\n\
         # The seed of the mailbox key is 32 bytes 01, that of the node key 32 bytes 02. The\n\
         # frame is read at {now} ms. Written by:\n\
         # COMM_WRITE_VECTORS=1 cargo test -p comm-proto --test it vectors\n",
        now = NOW.as_millis(),
    );
    annotate(&parts, 0, &mut text);
    text
}

fn read(text: &str) -> Vec<u8> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let digits = lines.flat_map(str::split_whitespace).collect::<String>();
    hex::decode(digits).unwrap()
}

fn write_if_asked(schema: &Schema) {
    static WRITTEN: Once = Once::new();
    WRITTEN.call_once(|| {
        if env::var_os("COMM_WRITE_VECTORS").is_some_and(|asked| asked == "1") {
            fs::create_dir_all(directory()).unwrap();
            for said in samples::all() {
                let path = directory().join(file_name(schema, &said));
                fs::write(path, written(schema, &said)).unwrap();
            }
        }
    });
}

fn recorded() -> Vec<Recorded> {
    let schema = Schema::new();
    write_if_asked(&schema);
    let recorded = |said: Said| {
        let name = file_name(&schema, &said);
        let text = fs::read_to_string(directory().join(&name));
        Recorded { said, frame: read(&text.unwrap_or_else(|error| panic!("{name}: {error}"))) }
    };
    samples::all().into_iter().map(recorded).collect()
}

#[test]
fn every_message_between_nodes_is_recorded_and_nothing_else() {
    let schema = Schema::new();
    write_if_asked(&schema);
    let messages = ["Request", "Response", "Push"];
    let names = messages.into_iter().flat_map(|carrier| {
        let message = samples::message_name(carrier);
        schema.fields(&message).map(|field| file_name_of(carrier, field)).collect::<Vec<_>>()
    });
    let files = fs::read_dir(directory()).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert_eq!(files.collect::<BTreeSet<_>>(), names.collect());
    assert_eq!(samples::all().len(), 14 + 11 + 3);
}

#[test]
fn values_are_encoded_to_the_recorded_frames() {
    for Recorded { said, frame } in recorded() {
        assert_eq!(hex::encode(said.to_frame()), hex::encode(frame), "{said:?}");
    }
}

#[test]
fn recorded_frames_are_decoded_to_the_values() {
    for Recorded { said, frame } in recorded() {
        assert_eq!(said.read_like(&frame), Ok(said));
    }
}

#[test]
fn the_comments_in_the_files_fit_the_frames() {
    let schema = Schema::new();
    for Recorded { said, .. } in recorded() {
        let text = fs::read_to_string(directory().join(file_name(&schema, &said))).unwrap();
        assert_eq!(text, written(&schema, &said));
    }
}

#[test]
fn a_frame_of_a_newer_node_with_more_fields_is_understood() {
    let schema = Schema::new();
    for Recorded { said, frame } in recorded() {
        let parts = schema.parts(&said.message(), &frame);
        assert_eq!(hex::encode(join(&parts)), hex::encode(&frame));
        let newer = join(&with_unknown_fields(&parts));
        assert!(newer.len() > frame.len() + 40);
        assert_eq!(said.read_like(&newer), Ok(said));
    }
}

/// The message of a kind that only newer nodes know: field 900 of the carrier.
#[test]
fn a_kind_of_message_that_is_unknown_is_refused_with_a_code() {
    let frame = [0xa2, 0x38, 0x00];
    let request = decode::request(peer::Request::decode(&frame[..]).unwrap(), NOW);
    assert_eq!(request, Err(Rejection::Malformed("request")));
    assert_eq!(request.unwrap_err().code(), 1);
    let response = decode::response(peer::Response::decode(&frame[..]).unwrap(), NOW);
    assert_eq!(response, Err(Rejection::Malformed("response")));
    let push = decode::push(peer::Push::decode(&frame[..]).unwrap(), NOW);
    assert_eq!(push, Err(Rejection::Malformed("push")));
}

#[test]
fn an_envelope_of_another_version_is_refused_with_a_code() {
    let good = object::Envelope::from(&samples::envelope());
    for version in [0, 2, 257, u32::MAX] {
        let newer = object::Envelope { version, ..good.clone() };
        let refused = decode::envelope(newer.clone()).unwrap_err();
        assert_eq!((refused.code(), &refused), (3, &Rejection::Version));
        let deliver = peer::Deliver { envelopes: vec![good.clone(), newer] };
        let request = peer::Request { request: Some(peer::request::Request::Deliver(deliver)) };
        assert_eq!(decode::request(request, NOW), Err(Rejection::Version));
    }
}

#[test]
fn a_refusal_of_a_newer_node_counts_as_one_that_is_not_repeated() {
    let newer = peer::Rejection { code: 99, text: "a reason of later".to_owned() };
    let answer = peer::Response { response: Some(peer::response::Response::Rejection(newer)) };
    let refused = decode::response(answer, NOW).unwrap().unwrap_err();
    assert_eq!((refused.code(), refused.retry()), (1, comm_proto::rejection::Retry::Never));
}
