//! A node's signed word that it has envelopes on disk.
//!
//! Entry type is [`Receipt`] (PROTOCOL §3.4). One signature serves up to [`IDS_MAX`] envelopes. The
//! node that signs one has been told by its disk first; that rule lives in [`crate::node`].

use thiserror::Error;

use crate::address::Address;
use crate::envelope::{CLOCK_TOLERANCE, EnvelopeId};
use crate::key::{KeyPair, PublicKey, Signature};
use crate::signed_bytes::SignedBytes;
use crate::time::Time;
use crate::verified::Verified;

/// The most envelopes one receipt may name.
pub const IDS_MAX: usize = 64;

const CONTEXT: &[u8] = b"comm/receipt/v1\0";

/// A signed list of envelopes that one node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    ids: Vec<EnvelopeId>,
    holder: PublicKey,
    at: Time,
    signature: Signature,
}

/// Why a receipt counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReceiptError {
    /// It names no envelope or more than [`IDS_MAX`].
    #[error("a receipt names 1 to {IDS_MAX} envelopes, this names {0}")]
    Count(usize),
    /// Its key did not sign it.
    #[error("the receipt's signature is not its holder's")]
    Signature,
    /// It was signed further in the future than clocks may disagree.
    #[error("the receipt is dated in the future")]
    Future,
}

impl Receipt {
    /// Signs that `node` has the envelopes `ids` on disk at the time `at`.
    ///
    /// # Errors
    /// [`ReceiptError::Count`] for none or too many ids.
    pub fn sign(
        node: &KeyPair,
        ids: Vec<EnvelopeId>,
        at: Time,
    ) -> Result<Verified<Self>, ReceiptError> {
        check_count(ids.len())?;
        let holder = node.public();
        let signature = node.sign(&signed_bytes(&ids, &holder, at));
        Ok(Verified::new(Self { ids, holder, at, signature }))
    }

    /// Puts the parts together as they came, unchecked.
    pub fn from_parts(
        ids: Vec<EnvelopeId>,
        holder: PublicKey,
        at: Time,
        signature: Signature,
    ) -> Self {
        Self { ids, holder, at, signature }
    }

    /// Checks form, date and signature.
    ///
    /// # Errors
    /// What is wrong with it, cheapest check first.
    pub fn verify(self, now: Time) -> Result<Verified<Self>, ReceiptError> {
        check_count(self.ids.len())?;
        if self.at > now + CLOCK_TOLERANCE {
            return Err(ReceiptError::Future);
        }
        let signed = signed_bytes(&self.ids, &self.holder, self.at);
        if self.holder.verify(&signed, &self.signature) {
            Ok(Verified::new(self))
        } else {
            Err(ReceiptError::Signature)
        }
    }

    /// The envelopes it names.
    pub fn ids(&self) -> &[EnvelopeId] {
        &self.ids
    }

    /// The key of the node that holds them.
    pub fn holder_key(&self) -> &PublicKey {
        &self.holder
    }

    /// The address of the node that holds them.
    pub fn holder(&self) -> Address {
        self.holder.address()
    }

    /// When it was signed, by the holder's clock.
    pub fn at(&self) -> Time {
        self.at
    }

    /// The signature.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }
}

fn check_count(count: usize) -> Result<(), ReceiptError> {
    if (1..=IDS_MAX).contains(&count) { Ok(()) } else { Err(ReceiptError::Count(count)) }
}

fn signed_bytes(ids: &[EnvelopeId], holder: &PublicKey, at: Time) -> Vec<u8> {
    let start =
        SignedBytes::new(CONTEXT).array(holder.as_bytes()).u64(at.as_millis()).u8(ids.len() as u8);
    ids.iter().fold(start, |bytes, id| bytes.array(id.as_bytes())).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    const NOW: Time = Time::from_millis(1_000_000);

    #[test]
    fn a_receipt_verifies_until_a_part_of_it_changes() {
        let node = KeyPair::from_seed(&[1; 32]);
        let ids = vec![EnvelopeId::from_bytes([1; 32])];
        let receipt = Receipt::sign(&node, ids, NOW).unwrap().into_inner();
        assert!(receipt.clone().verify(NOW).is_ok());
        let mut forged = receipt.clone();
        forged.ids[0] = EnvelopeId::from_bytes([2; 32]);
        assert_eq!(forged.verify(NOW), Err(ReceiptError::Signature));
        let mut stolen = receipt;
        stolen.holder = KeyPair::from_seed(&[2; 32]).public();
        assert_eq!(stolen.verify(NOW), Err(ReceiptError::Signature));
    }

    #[test]
    fn a_receipt_from_the_far_future_is_refused() {
        let node = KeyPair::from_seed(&[1; 32]);
        let ids = vec![EnvelopeId::from_bytes([1; 32])];
        let late = NOW + CLOCK_TOLERANCE + Span::from_millis(1);
        let receipt = Receipt::sign(&node, ids, late).unwrap().into_inner();
        assert_eq!(receipt.verify(NOW), Err(ReceiptError::Future));
    }
}
