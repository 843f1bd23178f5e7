//! A signed list of relays to begin with.
//!
//! Entry types are [`ListTerms`], what is signed, and [`RelayList`], which proves who signed it (PROTOCOL
//! §5.6). Only bytes and their signature are here; the text in which people pass such lists on is a
//! host's business. A list says where to knock and who must answer, never whom to believe.

use thiserror::Error;

use crate::envelope::CLOCK_TOLERANCE;
use crate::key::{KeyPair, PublicKey, Signature};
use crate::signed_bytes::SignedBytes;
use crate::time::{Span, Time};
use crate::verified::Verified;

const CONTEXT: &[u8] = b"comm/relay-list/v1\0";

/// The most relays of a list.
pub const RELAYS_MAX: usize = 256;
/// The longest host name, in bytes.
pub const HOST_LEN_MAX: usize = 253;
/// The longest time from issue to expiry.
pub const VALID_MAX: Span = Span::from_days(366);

/// One relay: the key it must prove, and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRelay {
    /// The key.
    pub key: PublicKey,
    /// A host name or an IP address, IPv6 without brackets; at most [`HOST_LEN_MAX`] bytes.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// What a signer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListTerms {
    /// The network that the relays are of.
    pub network: String,
    /// When the list was made.
    pub issued: Time,
    /// From when on nobody is to use it.
    pub expires: Time,
    /// 1 to [`RELAYS_MAX`] relays.
    pub relays: Vec<ListedRelay>,
}

/// A list as it came, with the key that is said to have signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayList {
    terms: ListTerms,
    signer: PublicKey,
    signature: Signature,
}

/// Why a list is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RelayListError {
    /// It has no relays, or more than a list may have.
    #[error("it must name 1 to {RELAYS_MAX} relays")]
    Count,
    /// A host is empty or too long.
    #[error("a host must have 1 to {HOST_LEN_MAX} bytes")]
    Host,
    /// It ends before it begins, or holds for too long.
    #[error("it must expire after it was issued, at most 366 days later")]
    Validity,
    /// It is of the future.
    #[error("it was issued in the future; see whether this machine's clock is right")]
    NotYet,
    /// Its time is over.
    #[error("it has expired; get a newer one from its signer")]
    Expired,
    /// It was changed, or its signer did not sign it.
    #[error("its signature is not its signer's: it was changed, or is not theirs")]
    Signature,
}

impl ListTerms {
    /// Signs them.
    ///
    /// # Errors
    /// When there are too many relays or none, or the dates or a host are impossible.
    pub fn sign(self, signer: &KeyPair) -> Result<RelayList, RelayListError> {
        self.refuse_impossible()?;
        let signature = signer.sign(&self.signed_bytes());
        Ok(RelayList { terms: self, signer: signer.public(), signature })
    }

    fn refuse_impossible(&self) -> Result<(), RelayListError> {
        if self.relays.is_empty() || self.relays.len() > RELAYS_MAX {
            return Err(RelayListError::Count);
        }
        if self.relays.iter().any(|one| one.host.is_empty() || one.host.len() > HOST_LEN_MAX) {
            return Err(RelayListError::Host);
        }
        if self.expires <= self.issued || self.expires > self.issued + VALID_MAX {
            return Err(RelayListError::Validity);
        }
        Ok(())
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let count = u32::try_from(self.relays.len()).expect("a list has few relays");
        let begun = SignedBytes::new(CONTEXT)
            .bytes(self.network.as_bytes())
            .u64(self.issued.as_millis())
            .u64(self.expires.as_millis())
            .u32(count);
        let with = |bytes: SignedBytes, one: &ListedRelay| {
            bytes.array(one.key.as_bytes()).bytes(one.host.as_bytes()).u16(one.port)
        };
        self.relays.iter().fold(begun, with).finish()
    }
}

impl RelayList {
    /// Puts the parts together as they came, unchecked.
    pub fn from_parts(terms: ListTerms, signer: PublicKey, signature: Signature) -> Self {
        Self { terms, signer, signature }
    }

    /// Checks counts, dates and signature. Whether the signer is believed is for the caller to say.
    ///
    /// # Errors
    /// What is wrong with it, cheapest check first.
    pub fn verify(self, now: Time) -> Result<Verified<Self>, RelayListError> {
        self.terms.refuse_impossible()?;
        if self.terms.issued > now + CLOCK_TOLERANCE {
            return Err(RelayListError::NotYet);
        }
        if self.terms.expires <= now {
            return Err(RelayListError::Expired);
        }
        if !self.signer.verify(&self.terms.signed_bytes(), &self.signature) {
            return Err(RelayListError::Signature);
        }
        Ok(Verified::new(self))
    }

    /// What it says.
    pub fn terms(&self) -> &ListTerms {
        &self.terms
    }

    /// The key that is said to have signed it.
    pub fn signer(&self) -> &PublicKey {
        &self.signer
    }

    /// The signature.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_millis(1_800_000_000_000);

    fn signer() -> KeyPair {
        KeyPair::from_seed(&[9; 32])
    }

    fn terms() -> ListTerms {
        let relay = |n: u8, host: &str| ListedRelay {
            key: PublicKey::from_bytes([n; 32]),
            host: host.to_owned(),
            port: 7_667,
        };
        ListTerms {
            network: "comm".to_owned(),
            issued: NOW,
            expires: NOW + Span::from_days(90),
            relays: vec![relay(1, "relay.example"), relay(2, "2001:db8::1")],
        }
    }

    fn altered(change: impl FnOnce(&mut ListTerms)) -> Result<Verified<RelayList>, RelayListError> {
        let mut list = terms().sign(&signer()).unwrap();
        change(&mut list.terms);
        list.verify(NOW)
    }

    #[test]
    fn a_relay_list_holds_from_its_issue_to_its_expiry_by_a_clock_that_may_be_a_little_off() {
        let list = terms().sign(&signer()).unwrap();
        let at = |now| list.clone().verify(now).map(|_| ());
        assert_eq!(at(NOW), Ok(()));
        assert_eq!(at(Time::from_millis(NOW.as_millis() - 3 * 3_600_000)), Ok(()));
        let early = Time::from_millis(NOW.as_millis() - 3 * 3_600_000 - 1);
        assert_eq!(at(early), Err(RelayListError::NotYet));
        assert_eq!(at(NOW + Span::from_days(90)), Err(RelayListError::Expired));
    }

    #[test]
    fn a_relay_list_of_which_anything_was_changed_is_refused() {
        assert!(altered(|_| {}).is_ok());
        let wrong =
            |result: Result<_, _>| assert_eq!(result.err(), Some(RelayListError::Signature));
        wrong(altered(|terms| terms.network = "test".to_owned()));
        wrong(altered(|terms| terms.issued = terms.issued + Span::from_secs(1)));
        wrong(altered(|terms| terms.expires = terms.expires + Span::from_secs(1)));
        wrong(altered(|terms| terms.relays.swap(0, 1)));
        wrong(altered(|terms| terms.relays[0].port = 1));
        wrong(altered(|terms| terms.relays[1].host = "2001:db8::2".to_owned()));
        wrong(altered(|terms| terms.relays[1].key = PublicKey::from_bytes([3; 32])));
        wrong(altered(|terms| terms.relays.truncate(1)));
        let list = terms().sign(&signer()).unwrap();
        let another = KeyPair::from_seed(&[8; 32]).public();
        wrong(RelayList::from_parts(terms(), another, *list.signature()).verify(NOW));
    }

    #[test]
    fn a_relay_list_with_impossible_terms_is_neither_signed_nor_read() {
        let refused = |change: &dyn Fn(&mut ListTerms)| {
            let mut terms = terms();
            change(&mut terms);
            let signed = terms.sign(&signer()).err();
            assert_eq!(signed, altered(change).err());
            signed.unwrap()
        };
        let many = |count| {
            move |terms: &mut ListTerms| {
                terms.relays = vec![terms.relays[0].clone(); count];
            }
        };
        assert_eq!(refused(&many(0)), RelayListError::Count);
        assert_eq!(refused(&many(RELAYS_MAX + 1)), RelayListError::Count);
        assert_eq!(refused(&|terms| terms.relays[0].host.clear()), RelayListError::Host);
        let long = "x".repeat(HOST_LEN_MAX + 1);
        assert_eq!(refused(&|terms| terms.relays[0].host = long.clone()), RelayListError::Host);
        assert_eq!(refused(&|terms| terms.expires = terms.issued), RelayListError::Validity);
        let late = NOW + VALID_MAX + Span::from_millis(1);
        assert_eq!(refused(&|terms| terms.expires = late), RelayListError::Validity);
    }

    /// Laid out by hand as PROTOCOL §5.6 says.
    #[test]
    fn a_relay_list_is_signed_over_the_bytes_of_the_protocol() {
        let mut bytes = b"comm/relay-list/v1\0\0\0\0\x04comm".to_vec();
        bytes.extend(NOW.as_millis().to_be_bytes());
        bytes.extend((NOW.as_millis() + 90 * 86_400_000).to_be_bytes());
        bytes.extend([0, 0, 0, 2]);
        for (key, host) in [(1, "relay.example"), (2, "2001:db8::1")] {
            bytes.extend([key; 32]);
            bytes.extend(u32::try_from(host.len()).unwrap().to_be_bytes());
            bytes.extend(host.as_bytes());
            bytes.extend(7_667_u16.to_be_bytes());
        }
        let list = terms().sign(&signer()).unwrap();
        assert!(list.signer().verify(&bytes, list.signature()));
    }
}
