//! A mailbox owner's leave for one node to collect that mailbox.
//!
//! Entry type is [`Grant`] (PROTOCOL §3.5). It names the collector, whose key the link has already
//! proved, so a grant that somebody else has seen is worth nothing in their hands. It lets read
//! sealed bytes, never open or acknowledge them.

use thiserror::Error;

use crate::address::Address;
use crate::envelope::{CLOCK_TOLERANCE, TTL_MAX};
use crate::key::{KeyPair, PublicKey, Signature};
use crate::signed_bytes::SignedBytes;
use crate::time::Time;
use crate::verified::Verified;

const CONTEXT: &[u8] = b"comm/grant/v1\0";

/// Signed leave to collect one mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    mailbox_key: PublicKey,
    collector: Address,
    not_after: Time,
    signature: Signature,
}

/// Why a grant opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GrantError {
    /// The mailbox key did not sign it.
    #[error("the grant's signature is not its mailbox key's")]
    Signature,
    /// Its time is over.
    #[error("the grant has expired")]
    Expired,
    /// It is valid for longer than a grant may be.
    #[error("the grant is valid for longer than 30 days")]
    TooLong,
}

impl Grant {
    /// Lets the node at `collector` collect the mailbox of `mailbox` until `not_after`.
    pub fn sign(mailbox: &KeyPair, collector: Address, not_after: Time) -> Verified<Self> {
        let mailbox_key = mailbox.public();
        let signature = mailbox.sign(&signed_bytes(&mailbox_key, &collector, not_after));
        Verified::new(Self { mailbox_key, collector, not_after, signature })
    }

    /// Puts the parts together as they came, unchecked.
    pub fn from_parts(
        mailbox_key: PublicKey,
        collector: Address,
        not_after: Time,
        signature: Signature,
    ) -> Self {
        Self { mailbox_key, collector, not_after, signature }
    }

    /// Checks dates and signature.
    ///
    /// # Errors
    /// What is wrong with it, cheapest check first.
    pub fn verify(self, now: Time) -> Result<Verified<Self>, GrantError> {
        if self.not_after <= now {
            return Err(GrantError::Expired);
        }
        if self.not_after > now + TTL_MAX + CLOCK_TOLERANCE {
            return Err(GrantError::TooLong);
        }
        let signed = signed_bytes(&self.mailbox_key, &self.collector, self.not_after);
        if self.mailbox_key.verify(&signed, &self.signature) {
            Ok(Verified::new(self))
        } else {
            Err(GrantError::Signature)
        }
    }

    /// The mailbox it opens.
    pub fn mailbox(&self) -> Address {
        self.mailbox_key.address()
    }

    /// The key of the mailbox it opens.
    pub fn mailbox_key(&self) -> &PublicKey {
        &self.mailbox_key
    }

    /// The only node it opens it for.
    pub fn collector(&self) -> Address {
        self.collector
    }

    /// Until when it holds.
    pub fn not_after(&self) -> Time {
        self.not_after
    }

    /// The signature.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }
}

fn signed_bytes(mailbox_key: &PublicKey, collector: &Address, not_after: Time) -> Vec<u8> {
    SignedBytes::new(CONTEXT)
        .array(mailbox_key.as_bytes())
        .array(collector.as_bytes())
        .u64(not_after.as_millis())
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    const NOW: Time = Time::from_millis(1_000_000);

    #[test]
    fn a_grant_names_its_collector_and_cannot_be_renamed() {
        let mailbox = KeyPair::from_seed(&[1; 32]);
        let collector = Address::from_bytes([2; 20]);
        let grant = Grant::sign(&mailbox, collector, NOW + Span::DAY).into_inner();
        assert!(grant.clone().verify(NOW).is_ok());
        let mut renamed = grant;
        renamed.collector = Address::from_bytes([3; 20]);
        assert_eq!(renamed.verify(NOW), Err(GrantError::Signature));
    }

    #[test]
    fn a_grant_ends_and_cannot_be_endless() {
        let mailbox = KeyPair::from_seed(&[1; 32]);
        let until = |at| Grant::sign(&mailbox, Address::from_bytes([2; 20]), at).into_inner();
        assert_eq!(until(NOW).verify(NOW), Err(GrantError::Expired));
        assert_eq!(until(NOW + Span::from_days(31)).verify(NOW), Err(GrantError::TooLong));
    }
}
