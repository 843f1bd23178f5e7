//! Bad frames by the million: none makes a decoder panic, none takes more memory than it paid for.
//!
//! Each decoder gets [`FRAMES`] frames from one seeded generator, so that a failure comes again. An
//! eighth are random bytes. The others are good frames after one to three changes: some of their
//! fields, which are altered, left out or repeated and leave a readable message; or of their bytes,
//! where bits are turned over, ends cut off, parts repeated and two frames grown together. Checking
//! one signature costs as much as reading fifty frames, hence frames with signatures are drawn once
//! in sixteen times, and a decoder is done in a few seconds.

use bytes::Bytes;
use comm_proto::message::ClientRequest;
use comm_proto::rejection::Rejection;
use comm_proto::wire::{client, decode, object, peer};
use prost::Message;
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};

use super::frame::{Part, Schema, change, join};
use super::samples::{
    self, NOW, Said, card, envelope, id, mailbox, signed_acknowledgement, signed_grant,
};

/// How many frames each decoder gets.
pub(super) const FRAMES: u32 = 1_000_000;
/// The longest frame of random bytes.
const RANDOM_LEN_MAX: u32 = 200;
/// What refusals can add to a decoded answer: the texts that this version has for their codes.
const TEXTS_LEN_MAX: usize = 65 * 80;
/// What one part of a list takes in memory. It takes two bytes of the frame at least.
const PART_LEN_MAX: usize = 128;
/// Each of accepted, refused and unreadable frames makes up at least one in so many.
pub(super) const RAREST: u32 = 250;

/// What became of a frame.
enum Outcome {
    /// It is no message.
    Unreadable,
    Refused,
    /// The length of the frame that the decoded value makes.
    Accepted(usize),
}

/// Good frames to start from.
#[derive(Default)]
struct Corpus {
    plain: Vec<Vec<Part>>,
    signed: Vec<Vec<Part>>,
}

impl Corpus {
    fn draw(&self, rng: &mut ChaCha12Rng) -> Vec<u8> {
        if below(rng, 8) == 0 {
            return random(rng);
        }
        let mut parts = self.good(rng).to_vec();
        let of_bytes = below(rng, 2) == 0;
        let changes = 1 + below(rng, 3);
        if !of_bytes {
            (0..changes).for_each(|_| change(&mut parts, rng));
        }
        let mut frame = join(&parts);
        if of_bytes {
            let other = |rng: &mut ChaCha12Rng| join(self.good(rng));
            (0..changes).for_each(|_| change_bytes(&mut frame, other, rng));
        }
        frame
    }

    fn good(&self, rng: &mut ChaCha12Rng) -> &[Part] {
        let signed = !self.signed.is_empty() && below(rng, 16) == 0;
        let frames = if signed { &self.signed } else { &self.plain };
        &frames[below(rng, frames.len() as u32) as usize]
    }

    fn add(mut self, message: &str, frame: &impl Message) -> Self {
        self.plain.push(Schema::new().parts(message, &frame.encode_to_vec()));
        self
    }

    /// Adds a frame with a signature.
    fn add_signed(mut self, message: &str, frame: &impl Message) -> Self {
        self.signed.push(Schema::new().parts(message, &frame.encode_to_vec()));
        self
    }
}

pub(super) fn below(rng: &mut ChaCha12Rng, end: u32) -> u32 {
    ((u64::from(rng.next_u32()) * u64::from(end)) >> 32) as u32
}

/// From the beginning to the end; half of them in the first bytes, where lengths and kinds stand.
pub(super) fn position(rng: &mut ChaCha12Rng, len: usize) -> usize {
    let end = if below(rng, 2) == 0 { len.min(16) } else { len };
    below(rng, end as u32 + 1) as usize
}

/// Changes good bytes at one place; `other` makes further good ones, to grow together with these.
pub(super) fn change_bytes(
    bytes: &mut Vec<u8>,
    other: impl Fn(&mut ChaCha12Rng) -> Vec<u8>,
    rng: &mut ChaCha12Rng,
) {
    let at = position(rng, bytes.len());
    match below(rng, 8) {
        0..3 if at < bytes.len() => bytes[at] ^= 1 << below(rng, 8),
        3 => bytes.truncate(at),
        4 => {
            let other = other(rng);
            bytes.truncate(at);
            bytes.extend(&other[position(rng, other.len())..]);
        }
        5 => {
            let end = at + position(rng, bytes.len() - at);
            bytes.extend_from_within(at..end);
        }
        6 => drop(bytes.splice(at..at, [0xff; 9].into_iter().take(below(rng, 10) as usize))),
        _ => drop(bytes.splice(at..at, random(rng))),
    }
}

pub(super) fn random(rng: &mut ChaCha12Rng) -> Vec<u8> {
    let mut frame = vec![0; below(rng, RANDOM_LEN_MAX + 1) as usize];
    rng.fill_bytes(&mut frame);
    frame
}

/// Reads one frame: `convert` is the decoder, `length` that of the frame which its value makes.
fn read<W: Message + Default, T>(
    frame: &[u8],
    convert: impl Fn(W) -> Result<T, Rejection>,
    length: impl Fn(T) -> usize,
) -> Outcome {
    let Ok(message) = W::decode(frame) else { return Outcome::Unreadable };
    assert!(message.encoded_len() <= frame.len(), "{}", hex::encode(frame));
    convert(message).map_or(Outcome::Refused, |value| Outcome::Accepted(length(value)))
}

fn storm(corpus: &Corpus, read: impl Fn(&[u8]) -> Outcome) {
    let mut rng = ChaCha12Rng::seed_from_u64(FRAMES.into());
    let [mut unreadable, mut refused, mut accepted] = [0_u32; 3];
    for _ in 0..FRAMES {
        let frame = corpus.draw(&mut rng);
        match read(&frame) {
            Outcome::Unreadable => unreadable += 1,
            Outcome::Refused => refused += 1,
            Outcome::Accepted(length) => {
                assert!(length <= frame.len() + TEXTS_LEN_MAX, "{}", hex::encode(&frame));
                accepted += 1;
            }
        }
    }
    let rarest = unreadable.min(refused).min(accepted);
    assert!(rarest >= FRAMES / RAREST, "{unreadable}, {refused}, {accepted}");
}

/// The samples of one carrier.
fn said(carrier: &str) -> Corpus {
    let said = samples::all().into_iter().filter(|said| said.carrier() == carrier);
    let schema = Schema::new();
    let mut corpus = Corpus::default();
    for said in said {
        let parts = schema.parts(&said.message(), &said.to_frame());
        if is_signed(&said) { corpus.signed.push(parts) } else { corpus.plain.push(parts) }
    }
    corpus
}

fn is_signed(said: &Said) -> bool {
    use comm_proto::message::{Push, Request, Response};
    match said {
        Said::Request(request) => matches!(
            request,
            Request::Acknowledge { .. }
                | Request::Receipts { .. }
                | Request::PutCard { .. }
                | Request::PublishCard { .. }
                | Request::Subscribe { .. }
        ),
        Said::Response(answer) => matches!(
            answer,
            Ok(Response::Offered { .. }
                | Response::Digested { .. }
                | Response::Delivered { .. }
                | Response::Card { .. })
        ),
        Said::Push(push) => !matches!(push, Push::Waiting(_)),
    }
}

#[test]
fn requests_survive_a_million_bad_frames() {
    let convert = |message| decode::request(message, NOW);
    storm(&said("Request"), |frame| {
        read(frame, convert, |request| peer::Request::from(request).encoded_len())
    });
}

#[test]
fn responses_survive_a_million_bad_frames() {
    let convert = |message| decode::response(message, NOW);
    storm(&said("Response"), |frame| {
        read(frame, convert, |answer| peer::Response::from(answer).encoded_len())
    });
}

#[test]
fn pushes_survive_a_million_bad_frames() {
    let convert = |message| decode::push(message, NOW);
    storm(&said("Push"), |frame| read(frame, convert, |push| peer::Push::from(push).encoded_len()));
}

/// The length of what a client's question carries, without the messages around it.
fn carried(request: ClientRequest) -> usize {
    match request {
        ClientRequest::Submit { envelope } => object::Envelope::from(&envelope).encoded_len(),
        ClientRequest::Watch { ids } => ids.len() * 32,
        ClientRequest::Subscribe { grants, .. } => {
            grants.iter().map(|grant| object::Grant::from(&**grant).encoded_len()).sum()
        }
        ClientRequest::Acknowledge { acknowledgements } => {
            let ended = acknowledgements.iter();
            ended.map(|ended| object::Acknowledgement::from(&**ended).encoded_len()).sum()
        }
        ClientRequest::PublishCard { card } => card.to_bytes().len(),
        ClientRequest::Cancel { .. } => 32,
        ClientRequest::FindCard { .. } => 20,
        ClientRequest::Credit { .. } | ClientRequest::Peers | ClientRequest::Status => 0,
    }
}

#[test]
fn submissions_survive_a_million_bad_frames() {
    let message = client::SubmitRequest { envelope: Some((&envelope()).into()) };
    let corpus = Corpus::default().add("comm.client.v1.SubmitRequest", &message);
    storm(&corpus, |frame| read(frame, decode::client::submit, carried));
}

#[test]
fn cancellations_survive_a_million_bad_frames() {
    let message = client::CancelRequest { id: wire_id() };
    let corpus = Corpus::default().add("comm.client.v1.CancelRequest", &message);
    storm(&corpus, |frame| read(frame, |m| decode::client::cancel(&m), carried));
}

#[test]
fn watches_survive_a_million_bad_frames() {
    let message = client::WatchRequest { ids: vec![wire_id(); 3] };
    let corpus = Corpus::default().add("comm.client.v1.WatchRequest", &message);
    storm(&corpus, |frame| read(frame, |m| decode::client::watch(&m), carried));
}

#[test]
fn receiving_survives_a_million_bad_frames() {
    use client::receive_request::Request as Wire;
    let name = "comm.client.v1.ReceiveRequest";
    let message = |request| client::ReceiveRequest { request: Some(request) };
    let open = |grants| message(Wire::Open(client::Open { grants, after: 300, credit: 8 }));
    let acknowledgements = vec![(&*signed_acknowledgement()).into()];
    let corpus = Corpus::default()
        .add(name, &open(Vec::new()))
        .add(name, &message(Wire::Credit(client::Credit { envelopes: 9 })))
        .add_signed(name, &open(vec![(&*signed_grant()).into()]))
        .add_signed(name, &message(Wire::Acknowledge(client::Acknowledge { acknowledgements })));
    let length = |asked: Vec<ClientRequest>| asked.into_iter().map(carried).sum();
    storm(&corpus, |frame| read(frame, |m| decode::client::receive(m, NOW), length));
}

#[test]
fn acknowledging_survives_a_million_bad_frames() {
    let name = "comm.client.v1.AcknowledgeRequest";
    let signed = object::Acknowledgement::from(&*signed_acknowledgement());
    let expired = object::Acknowledgement { expires_at: 1, ..signed.clone() };
    let message = |one| client::AcknowledgeRequest { acknowledgements: vec![one] };
    let corpus = Corpus::default().add(name, &message(expired)).add_signed(name, &message(signed));
    storm(&corpus, |frame| read(frame, |m| decode::client::acknowledge(&m, NOW), carried));
}

#[test]
fn publishing_survives_a_million_bad_frames() {
    let name = "comm.client.v1.PublishCardRequest";
    let signed = object::Card::from(&*card());
    let cut = object::Card { card: signed.card.slice(..150) };
    let message = |card| client::PublishCardRequest { card: Some(card) };
    let corpus = Corpus::default().add(name, &message(cut)).add_signed(name, &message(signed));
    storm(&corpus, |frame| read(frame, |m| decode::client::publish_card(m, NOW), carried));
}

#[test]
fn looking_for_cards_survives_a_million_bad_frames() {
    let owner = Bytes::copy_from_slice(mailbox().address().as_bytes());
    let message = client::FindCardRequest { owner };
    let corpus = Corpus::default().add("comm.client.v1.FindCardRequest", &message);
    storm(&corpus, |frame| read(frame, |m| decode::client::find_card(&m), carried));
}

/// The most that a frame can take in memory before its counts are looked at: every two bytes of it
/// another empty part of a list.
#[test]
fn no_part_of_a_list_takes_much_more_memory_than_frame() {
    let sizes = [
        size_of::<Bytes>(),
        size_of::<object::Acknowledgement>(),
        size_of::<object::Contact>(),
        size_of::<object::Endpoint>(),
        size_of::<object::Envelope>(),
        size_of::<object::Grant>(),
        size_of::<object::Receipt>(),
        size_of::<peer::Refused>(),
        size_of::<peer::Waiting>(),
    ];
    assert!(sizes.iter().all(|size| *size <= PART_LEN_MAX), "{sizes:?}");
}

fn wire_id() -> Bytes {
    Bytes::copy_from_slice(id(1).as_bytes())
}
