//! Bad layouts by the million: the decoders of what is signed or sealed, apart from the frames around it.
//!
//! An eighth of the inputs are random bytes; the others are good ones after one to three changes, of
//! which a quarter are a length that is a lie. What is accepted must be the only form of its value.

use std::num::NonZeroU64;

use comm_proto::card::{Card, InboxPolicy};
use comm_proto::digest::Digest;
use comm_proto::envelope::{SizeClass, Suite, TTL_MAX};
use comm_proto::payload::{ContentType, MessageId, Payload, capacity, class_for};
use comm_proto::prekey::Prekey;
use comm_proto::time::Span;
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};

use super::fuzz::{FRAMES, RAREST, below, change_bytes, random};
use super::samples::{NOW, card, digest, id, mailbox};

/// Good bytes to start from, and where lengths and counts stand in them.
struct Layout {
    good: Vec<Vec<u8>>,
    lengths: &'static [usize],
}

impl Layout {
    fn draw(&self, rng: &mut ChaCha12Rng) -> Vec<u8> {
        if below(rng, 8) == 0 {
            return random(rng);
        }
        let mut bytes = self.one(rng);
        for _ in 0..=below(rng, 3) {
            if below(rng, 4) == 0 {
                self.lie(&mut bytes, rng);
            } else {
                change_bytes(&mut bytes, |rng| self.one(rng), rng);
            }
        }
        bytes
    }

    fn one(&self, rng: &mut ChaCha12Rng) -> Vec<u8> {
        self.good[below(rng, self.good.len() as u32) as usize].clone()
    }

    /// Makes a length another one: none, all there is, the largest, one more or less, or any.
    fn lie(&self, bytes: &mut [u8], rng: &mut ChaCha12Rng) {
        let at = self.lengths[below(rng, self.lengths.len() as u32) as usize];
        let len = bytes.len() as u32;
        let Some(field) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) else {
            return;
        };
        let length = u32::from_be_bytes(*field);
        *field = match below(rng, 6) {
            0 => 0,
            1 => len,
            2 => u32::MAX,
            3 => length.wrapping_add(1),
            4 => length.wrapping_sub(1),
            _ => rng.next_u32() >> below(rng, 32),
        }
        .to_be_bytes();
    }

    /// Hands bad inputs to a decoder, which says whether it has taken one.
    fn storm(&self, is_taken: impl Fn(&[u8]) -> bool) {
        let mut rng = ChaCha12Rng::seed_from_u64(FRAMES.into());
        let taken = (0..FRAMES).filter(|_| is_taken(&self.draw(&mut rng))).count() as u32;
        let rarest = taken.min(FRAMES - taken);
        assert!(rarest >= FRAMES / RAREST, "{taken} were taken");
    }
}

fn payload(previous: Option<MessageId>, body_len: usize) -> Vec<u8> {
    let payload = Payload {
        content_type: ContentType::TEXT,
        sequence: NonZeroU64::MIN,
        previous,
        sent_at: NOW,
        expires_at: NOW + Span::DAY,
        recipient: mailbox().address(),
        body: vec![b'x'; body_len],
    };
    payload.encode(SizeClass::K1).unwrap().to_vec()
}

/// Whoever can send to somebody chooses every byte of what is opened there.
#[test]
fn payloads_survive_a_million_bad_inputs() {
    let previous = Some(MessageId::from_bytes([9; 32]));
    let full = payload(None, capacity(SizeClass::K1));
    let good = vec![payload(None, 5), payload(previous, 0), payload(previous, 300), full];
    Layout { good, lengths: &[1 + 2 + 8 + 32 + 8 + 8 + 20] }.storm(|bytes| {
        let Ok(payload) = Payload::decode(bytes) else { return false };
        let class = class_for(payload.body.len()).expect("what was read fits a class");
        let again = payload.encode(class).unwrap();
        let shared = bytes.len().min(again.len());
        assert_eq!(bytes[..shared], again[..shared]);
        assert!(bytes[shared..].iter().chain(&again[shared..]).all(|byte| *byte == 0));
        true
    });
}

#[test]
fn cards_survive_a_million_bad_inputs() {
    let end = NOW + Span::from_days(14);
    let prekeys = [(1, 32), (2, 1), (7, 100)];
    let prekeys =
        prekeys.map(|(suite, len)| Prekey::new(Suite(suite), &vec![9; len], end).unwrap());
    let policy = InboxPolicy { ttl_max: TTL_MAX, size_max: SizeClass::K64, stamp_min: 0 };
    let several = Card::sign(&mailbox(), prekeys.to_vec(), policy, NOW, end).unwrap();
    let good = vec![card().to_bytes(), several.to_bytes()];
    // The largest body, the number of prekeys with what follows, and the lengths of the first two.
    Layout { good, lengths: &[69, 74, 76, 121] }.storm(|bytes| {
        let Ok(card) = Card::from_bytes(bytes) else { return false };
        assert_eq!(card.to_bytes(), bytes);
        true
    });
}

#[test]
fn digests_survive_a_million_bad_inputs() {
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let ids: Vec<_> = (0..100).map(id).collect();
    let good = vec![digest().to_bytes(), Digest::new(&ids, &mut rng).to_bytes()];
    // The number of bits in eight bytes, and the number of hash functions.
    Layout { good, lengths: &[1, 5, 9] }.storm(|bytes| {
        let Ok(digest) = Digest::from_bytes(bytes) else { return false };
        digest.may_contain(&ids[0]);
        assert_eq!(digest.to_bytes(), bytes);
        true
    });
}
