//! Sealing of single values.
//!
//! Entry type is [`Seal`]: XSalsa20-Poly1305 with a random nonce. What is sealed begins with its
//! table and key, so that a value that was moved to another place does not open there.

use comm_proto::store::StoreError;
use crypto_secretbox::aead::Aead;
use crypto_secretbox::{KeyInit, Nonce, XSalsa20Poly1305};
use rand_core::{OsRng, RngCore};
use zeroize::Zeroizing;

const NONCE_LEN: usize = 24;

/// Seals and opens values under one key, which is wiped when this is dropped.
pub(super) struct Seal(XSalsa20Poly1305);

impl Seal {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(XSalsa20Poly1305::new(key.into()))
    }

    /// Nonce, tag and ciphertext of `value` in its place.
    pub(super) fn seal(&self, table: &'static str, key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        OsRng.fill_bytes(&mut nonce);
        let mut plain = place(table, key);
        plain.extend_from_slice(value);
        let sealed = self.0.encrypt(Nonce::from_slice(&nonce), &plain[..]);
        let sealed = sealed.expect("a value is far shorter than the cipher's limit");
        [&nonce[..], &sealed].concat()
    }

    /// The value, if it was sealed under this key for this place.
    pub(super) fn open(
        &self,
        table: &'static str,
        key: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        let damaged = || StoreError::Damaged(table);
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or_else(damaged)?;
        let plain = self.0.decrypt(Nonce::from_slice(nonce), sealed).map_err(|_| damaged())?;
        let plain = Zeroizing::new(plain);
        let value = plain.strip_prefix(&place(table, key)[..]).ok_or_else(damaged)?;
        Ok(value.to_vec())
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

/// Table and key, each behind its length, so that no two places look alike.
fn place(table: &str, key: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut place = Zeroizing::new(Vec::new());
    for part in [table.as_bytes(), key] {
        let length = u32::try_from(part.len()).expect("names and keys are short");
        place.extend_from_slice(&length.to_be_bytes());
        place.extend_from_slice(part);
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_in_its_own_place_under_its_own_key_only() {
        let (seal, other) = (Seal::new(&[1; 32]), Seal::new(&[2; 32]));
        let sealed = seal.seal("history", b"k1", b"text");
        assert_eq!(seal.open("history", b"k1", &sealed), Ok(b"text".to_vec()));
        assert_eq!(seal.open("history", b"k2", &sealed), Err(StoreError::Damaged("history")));
        assert_eq!(seal.open("outbox", b"k1", &sealed), Err(StoreError::Damaged("outbox")));
        assert_eq!(other.open("history", b"k1", &sealed), Err(StoreError::Damaged("history")));
    }

    #[test]
    fn a_changed_or_shortened_value_does_not_open() {
        let seal = Seal::new(&[1; 32]);
        let sealed = seal.seal("history", b"k", b"text");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(seal.open("history", b"k", &changed).is_err(), "byte {at}");
            assert!(seal.open("history", b"k", &sealed[..at]).is_err(), "length {at}");
        }
    }

    #[test]
    fn the_same_value_is_never_sealed_alike() {
        let seal = Seal::new(&[1; 32]);
        assert_ne!(seal.seal("history", b"k", b"text"), seal.seal("history", b"k", b"text"));
    }

    #[test]
    fn no_two_places_look_alike() {
        assert_ne!(place("a", b"bc"), place("ab", b"c"));
    }
}
