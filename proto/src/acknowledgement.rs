//! The recipient's signed word that envelopes may end.
//!
//! Entry type is [`Acknowledgement`] (PROTOCOL §3.3). It is a command to delete, so it counts only
//! when the key it carries hashes to the mailbox of the very envelope it names; that last check is
//! the relay's ([`Acknowledgement::ends`]), all others are [`Acknowledgement::verify`]'s.

use thiserror::Error;

use crate::address::Address;
use crate::envelope::{CLOCK_TOLERANCE, EnvelopeId, TTL_MAX};
use crate::key::{KeyPair, PublicKey, Signature};
use crate::signed_bytes::SignedBytes;
use crate::time::{Span, Time};
use crate::verified::Verified;

/// The most envelopes one acknowledgement may name: one signature then serves them all.
pub const IDS_MAX: usize = 64;

/// How long after an envelope's expiry its acknowledgement is still kept (PROTOCOL §6.6).
pub const KEPT_AFTER_EXPIRY: Span = Span::DAY;

const CONTEXT: &[u8] = b"comm/acknowledgement/v1\0";

/// A signed list of envelopes that have been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    ids: Vec<EnvelopeId>,
    mailbox_key: PublicKey,
    expires_at: Time,
    signature: Signature,
}

/// Why an acknowledgement counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AcknowledgementError {
    /// It names no envelope or more than [`IDS_MAX`].
    #[error("an acknowledgement names 1 to {IDS_MAX} envelopes, this names {0}")]
    Count(usize),
    /// Its key did not sign it.
    #[error("the acknowledgement's signature is not its key's")]
    Signature,
    /// Its time is over.
    #[error("the acknowledgement has expired")]
    Expired,
    /// It asks to be kept longer than any envelope can live.
    #[error("the acknowledgement expires later than any envelope can")]
    TooLong,
}

impl Acknowledgement {
    /// Signs that the envelopes `ids` have been read; `expires_at` is the latest of their expiries
    /// plus [`KEPT_AFTER_EXPIRY`].
    ///
    /// # Errors
    /// [`AcknowledgementError::Count`] for none or too many ids.
    pub fn sign(
        mailbox: &KeyPair,
        ids: Vec<EnvelopeId>,
        expires_at: Time,
    ) -> Result<Verified<Self>, AcknowledgementError> {
        check_count(ids.len())?;
        let mailbox_key = mailbox.public();
        let signature = mailbox.sign(&signed_bytes(&ids, &mailbox_key, expires_at));
        Ok(Verified::new(Self { ids, mailbox_key, expires_at, signature }))
    }

    /// Puts the parts together as they came, unchecked.
    pub fn from_parts(
        ids: Vec<EnvelopeId>,
        mailbox_key: PublicKey,
        expires_at: Time,
        signature: Signature,
    ) -> Self {
        Self { ids, mailbox_key, expires_at, signature }
    }

    /// Checks form, expiry and signature.
    ///
    /// # Errors
    /// What is wrong with it, cheapest check first.
    pub fn verify(self, now: Time) -> Result<Verified<Self>, AcknowledgementError> {
        check_count(self.ids.len())?;
        if self.expires_at <= now {
            return Err(AcknowledgementError::Expired);
        }
        if self.expires_at > now + TTL_MAX + CLOCK_TOLERANCE.times(2) + KEPT_AFTER_EXPIRY {
            return Err(AcknowledgementError::TooLong);
        }
        let signed = signed_bytes(&self.ids, &self.mailbox_key, self.expires_at);
        if self.mailbox_key.verify(&signed, &self.signature) {
            Ok(Verified::new(self))
        } else {
            Err(AcknowledgementError::Signature)
        }
    }

    /// The layout in which a relay keeps it.
    pub(crate) fn to_stored(&self) -> Vec<u8> {
        let mut bytes = self.mailbox_key.as_bytes().to_vec();
        bytes.extend(self.signature.as_bytes());
        bytes.extend(self.expires_at.as_millis().to_be_bytes());
        bytes.extend(self.ids.iter().flat_map(|id| *id.as_bytes()));
        bytes
    }

    /// Reads [`Self::to_stored`] back. What is stored was verified before.
    pub(crate) fn from_stored(bytes: &[u8]) -> Option<Verified<Self>> {
        let (key, rest) = bytes.split_first_chunk::<{ PublicKey::LEN }>()?;
        let (signature, rest) = rest.split_first_chunk::<{ Signature::LEN }>()?;
        let (expires_at, ids) = rest.split_first_chunk::<8>()?;
        let (ids, []) = ids.as_chunks::<{ EnvelopeId::LEN }>() else { return None };
        Some(Verified::new(Self {
            ids: ids.iter().copied().map(EnvelopeId::from_bytes).collect(),
            mailbox_key: PublicKey::from_bytes(*key),
            expires_at: Time::from_millis(u64::from_be_bytes(*expires_at)),
            signature: Signature::from_bytes(*signature),
        }))
    }

    /// Whether it ends an envelope that waits in `mailbox` (PROTOCOL §3.3).
    pub fn ends(&self, id: &EnvelopeId, mailbox: &Address) -> bool {
        self.mailbox() == *mailbox && self.ids.contains(id)
    }

    /// The envelopes it names.
    pub fn ids(&self) -> &[EnvelopeId] {
        &self.ids
    }

    /// The mailbox whose key signed it.
    pub fn mailbox(&self) -> Address {
        self.mailbox_key.address()
    }

    /// The key that signed it.
    pub fn mailbox_key(&self) -> &PublicKey {
        &self.mailbox_key
    }

    /// Until when relays keep it.
    pub fn expires_at(&self) -> Time {
        self.expires_at
    }

    /// The signature.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }
}

fn check_count(count: usize) -> Result<(), AcknowledgementError> {
    if (1..=IDS_MAX).contains(&count) { Ok(()) } else { Err(AcknowledgementError::Count(count)) }
}

fn signed_bytes(ids: &[EnvelopeId], key: &PublicKey, expires_at: Time) -> Vec<u8> {
    let start = SignedBytes::new(CONTEXT)
        .array(key.as_bytes())
        .u64(expires_at.as_millis())
        .u8(ids.len() as u8);
    ids.iter().fold(start, |bytes, id| bytes.array(id.as_bytes())).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_millis(1_000_000);

    fn id(fill: u8) -> EnvelopeId {
        EnvelopeId::from_bytes([fill; 32])
    }

    fn signed() -> Acknowledgement {
        let mailbox = KeyPair::from_seed(&[1; 32]);
        Acknowledgement::sign(&mailbox, vec![id(1), id(2)], NOW + Span::DAY).unwrap().into_inner()
    }

    #[test]
    fn an_honest_acknowledgement_verifies_and_ends_only_its_own() {
        let verified = signed().verify(NOW).unwrap();
        let mailbox = KeyPair::from_seed(&[1; 32]).address();
        assert!(verified.ends(&id(1), &mailbox));
        assert!(!verified.ends(&id(3), &mailbox));
        assert!(!verified.ends(&id(1), &KeyPair::from_seed(&[2; 32]).address()));
    }

    #[test]
    fn the_stored_layout_reads_back() {
        let acknowledgement = signed();
        let stored = acknowledgement.to_stored();
        let read = Acknowledgement::from_stored(&stored).map(Verified::into_inner);
        assert_eq!(read, Some(acknowledgement));
        assert_eq!(Acknowledgement::from_stored(&stored[..stored.len() - 1]), None);
    }

    #[test]
    fn a_change_of_any_part_breaks_the_signature() {
        let forgeries: [fn(&mut Acknowledgement); 4] = [
            |ack| ack.ids[0] = id(9),
            |ack| ack.ids.truncate(1),
            |ack| ack.expires_at = ack.expires_at + Span::from_millis(1),
            |ack| ack.mailbox_key = KeyPair::from_seed(&[2; 32]).public(),
        ];
        for forge in forgeries {
            let mut forged = signed();
            forge(&mut forged);
            assert_eq!(forged.verify(NOW), Err(AcknowledgementError::Signature));
        }
    }

    #[test]
    fn none_too_many_and_wrong_times_are_told_apart() {
        let mailbox = KeyPair::from_seed(&[1; 32]);
        let sign = |count, at| Acknowledgement::sign(&mailbox, vec![id(1); count], at);
        assert_eq!(sign(0, NOW), Err(AcknowledgementError::Count(0)));
        assert_eq!(sign(65, NOW), Err(AcknowledgementError::Count(65)));
        let verify = |at| sign(1, at).unwrap().into_inner().verify(NOW).err();
        assert_eq!(verify(NOW), Some(AcknowledgementError::Expired));
        assert_eq!(verify(NOW + Span::from_days(40)), Some(AcknowledgementError::TooLong));
    }
}
