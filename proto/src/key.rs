//! Signing keys: what every address is the hash of.
//!
//! Entry types are [`PublicKey`] and [`KeyPair`]. A key pair wipes itself when dropped and prints
//! only its public half. What is signed is always the explicit bytes of PROTOCOL §3, built by the
//! type that owns them, each under its own context; a signature for one purpose is none for another.

use std::fmt;
use std::sync::Arc;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha512};

use crate::address::Address;

/// An Ed25519 public key, 32 bytes. Bytes that are no point on the curve verify nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; Self::LEN]);

/// An Ed25519 signature, 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; Self::LEN]);

/// An Ed25519 key pair; the secret half is never printed, and wiped when the last clone, all of which
/// share it, is dropped.
#[derive(Clone)]
pub struct KeyPair(Arc<Secret>);

enum Secret {
    Real(Box<SigningKey>),
    /// A seed, and the public key that belongs to it.
    Modelled(zeroize::Zeroizing<[u8; KeyPair::SEED_LEN]>, PublicKey),
}

impl PublicKey {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// A key from its bytes.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The address that this key owns.
    pub fn address(&self) -> Address {
        Address::of(self)
    }

    /// Whether `signature` is this key's over `message`. Strict: keys of small order and signatures
    /// that could be read in two ways are refused (PROTOCOL §3.1).
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
    }

    /// The X25519 key that belongs to this key, if it is a point of large order.
    pub(crate) fn to_x25519(self) -> Option<crypto_box::PublicKey> {
        let key = VerifyingKey::from_bytes(&self.0).ok().filter(|key| !key.is_weak())?;
        Some(crypto_box::PublicKey::from_bytes(key.to_montgomery().to_bytes()))
    }
}

impl Signature {
    /// Length in bytes.
    pub const LEN: usize = 64;

    /// A signature from its bytes.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl KeyPair {
    /// Length of the seed in bytes.
    pub const SEED_LEN: usize = 32;

    /// The key pair of a secret seed (RFC 8032).
    pub fn from_seed(seed: &[u8; Self::SEED_LEN]) -> Self {
        Self(Arc::new(Secret::Real(Box::new(SigningKey::from_bytes(seed)))))
    }

    /// The same key pair for a simulation in which nobody looks at signatures: its public key and address
    /// are those of the seed, and its signatures a keyed hash that costs little and verifies
    /// *nowhere*. What it signs is [`Verified`](crate::verified::Verified) only in the process that
    /// signed it; a program that spoke with it to others would be believed by none of them.
    pub fn modelled(seed: &[u8; Self::SEED_LEN]) -> Self {
        let public = Self::from_seed(seed).public();
        Self(Arc::new(Secret::Modelled(zeroize::Zeroizing::new(*seed), public)))
    }

    /// The half that may be shown.
    pub fn public(&self) -> PublicKey {
        match &*self.0 {
            Secret::Real(key) => PublicKey(key.verifying_key().to_bytes()),
            Secret::Modelled(_, public) => *public,
        }
    }

    /// The address of this key.
    pub fn address(&self) -> Address {
        self.public().address()
    }

    /// Signs `message`, which must start with a context of PROTOCOL §3.
    pub fn sign(&self, message: &[u8]) -> Signature {
        match &*self.0 {
            Secret::Real(key) => Signature(key.sign(message).to_bytes()),
            Secret::Modelled(seed, _) => {
                let hash = Sha512::new().chain_update(seed.as_slice()).chain_update(message);
                Signature(hash.finalize().into())
            }
        }
    }

    /// The X25519 secret that belongs to this key.
    pub(crate) fn to_x25519(&self) -> crypto_box::SecretKey {
        let scalar = match &*self.0 {
            Secret::Real(key) => key.to_scalar_bytes(),
            Secret::Modelled(seed, _) => SigningKey::from_bytes(seed).to_scalar_bytes(),
        };
        crypto_box::SecretKey::from_bytes(scalar)
    }

    /// The secret seed, for a host that must hand the key to its TLS library or write it to a
    /// file that nobody else can read.
    pub fn expose_seed(&self) -> zeroize::Zeroizing<[u8; Self::SEED_LEN]> {
        match &*self.0 {
            Secret::Real(key) => zeroize::Zeroizing::new(key.to_bytes()),
            Secret::Modelled(seed, _) => seed.clone(),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", hex::encode(self.0))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({}…)", hex::encode(&self.0[..8]))
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.public())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modelled_key_has_the_address_of_the_real_one_and_its_signatures_verify_nowhere() {
        let (real, modelled) = (KeyPair::from_seed(&[1; 32]), KeyPair::modelled(&[1; 32]));
        assert_eq!(modelled.public(), real.public());
        assert_eq!(modelled.expose_seed(), real.expose_seed());
        let signature = modelled.sign(b"message");
        assert_eq!(signature, modelled.clone().sign(b"message"));
        assert_ne!(signature, modelled.sign(b"massage"));
        assert_ne!(signature, KeyPair::modelled(&[2; 32]).sign(b"message"));
        assert!(real.public().verify(b"message", &real.sign(b"message")));
        assert!(!modelled.public().verify(b"message", &signature));
    }

    #[test]
    fn a_key_pair_prints_no_secret() {
        let seed = [7; 32];
        let shown = format!("{:?}", KeyPair::from_seed(&seed));
        assert!(!shown.contains(&hex::encode(seed)));
    }

    #[test]
    fn a_signature_verifies_under_its_own_key_and_message_only() {
        let (ours, theirs) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]));
        let signature = ours.sign(b"message");
        assert!(ours.public().verify(b"message", &signature));
        assert!(!ours.public().verify(b"massage", &signature));
        assert!(!theirs.public().verify(b"message", &signature));
        assert!(!PublicKey::from_bytes([0; 32]).verify(b"message", &signature));
    }

    #[test]
    fn both_halves_convert_to_the_same_x25519_key() {
        let pair = KeyPair::from_seed(&[3; 32]);
        assert_eq!(Some(pair.to_x25519().public_key()), pair.public().to_x25519());
    }
}
