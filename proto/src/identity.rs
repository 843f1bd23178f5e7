//! A person: the key that a secret stands for.
//!
//! Entry type is [`Identity`] (PROTOCOL §4.1). It is derived from the secret alone, so that whoever
//! remembers the secret has everything. How strong a secret is, is judged before it comes here; it
//! is taken byte for byte, without trimming, folding or normalising. Nodes are no identities: their
//! keys are random.

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use hkdf::Hkdf;
use sha2::{Digest, Sha256, Sha512};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::address::Address;
use crate::key::{KeyPair, PublicKey};

/// The longest secret in bytes.
pub const SECRET_LEN_MAX: usize = 1 << 16;

/// The salt of the derivation. It is the same for everybody because there is nowhere to look
/// another one up: one guess can be tried against all identities, so the memory must be the price.
const SALT: &[u8; 16] = b"comm/identity/v1";
/// The HKDF info of the key that seals local stores.
const STORAGE_INFO: &[u8] = b"comm/storage/v1";
/// Domain separation of the safety number.
const SAFETY_CONTEXT: &[u8] = b"comm/safety/v1\0";
/// Groups of five digits in a safety number, and the hash bytes that each is made of.
const SAFETY_GROUPS: usize = 12;
const SAFETY_GROUP_BYTES: usize = 5;

/// A person's Ed25519 key pair, wiped when dropped and never printed (PROTOCOL §4.1).
#[derive(Clone)]
pub struct Identity {
    pair: KeyPair,
    public: PublicKey,
    address: Address,
}

/// What one guess at a secret costs, as Argon2id counts it.
#[derive(Clone, Debug)]
pub struct KdfParams(Params);

/// Why no identity comes of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DeriveError {
    /// The secret has no bytes: everybody would own that identity.
    #[error("the secret is empty")]
    Empty,
    /// The secret is longer than [`SECRET_LEN_MAX`].
    #[error("a secret has at most {SECRET_LEN_MAX} bytes, this has {0}")]
    TooLong(usize),
    /// The machine does not give the memory that the derivation needs.
    #[error("the derivation needs {0} KiB of memory, which this machine does not give")]
    Memory(u32),
}

impl KdfParams {
    /// Memory of the standard derivation in KiB: 256 MiB.
    pub const STANDARD_MEMORY_KIB: u32 = 256 * 1024;
    /// Passes of the standard derivation over its memory.
    pub const STANDARD_PASSES: u32 = 3;
    /// Lanes of the standard derivation. One, so that a guesser with many cores gains nothing that
    /// the owner with few of them lacks.
    pub const STANDARD_LANES: u32 = 1;

    /// The parameters of every identity in the network (PROTOCOL §4.1). Others make other addresses
    /// of the same secret.
    pub const STANDARD: Self =
        match Self::new(Self::STANDARD_MEMORY_KIB, Self::STANDARD_PASSES, Self::STANDARD_LANES) {
            Some(params) => params,
            None => panic!("the standard parameters are within the bounds of Argon2"),
        };

    /// Parameters within the bounds of Argon2: at least 8 KiB per lane, one pass, one lane.
    pub const fn new(memory_kib: u32, passes: u32, lanes: u32) -> Option<Self> {
        match Params::new(memory_kib, passes, lanes, Some(KeyPair::SEED_LEN)) {
            Ok(params) => Some(Self(params)),
            Err(_) => None,
        }
    }

    /// Memory in KiB.
    pub(crate) fn memory_kib(&self) -> u32 {
        self.0.m_cost()
    }

    /// Passes over the memory.
    pub(crate) fn passes(&self) -> u32 {
        self.0.t_cost()
    }

    /// Lanes.
    pub(crate) fn lanes(&self) -> u32 {
        self.0.p_cost()
    }
}

impl Identity {
    /// The identity of `secret`, with [`KdfParams::STANDARD`]. Takes about a second and 256 MiB.
    ///
    /// # Errors
    /// When the secret is empty or too long, or the memory is not to be had.
    pub fn derive(secret: &[u8]) -> Result<Self, DeriveError> {
        Self::derive_with(secret, &KdfParams::STANDARD)
    }

    /// The identity of `secret` with other parameters, for simulations and tests.
    ///
    /// # Errors
    /// When the secret is empty or too long, or the memory is not to be had.
    pub fn derive_with(secret: &[u8], params: &KdfParams) -> Result<Self, DeriveError> {
        match secret.len() {
            0 => return Err(DeriveError::Empty),
            length if length > SECRET_LEN_MAX => return Err(DeriveError::TooLong(length)),
            _ => {}
        }
        let seed = stretch(secret, SALT, params)?;
        Ok(Self::from_seed(&seed))
    }

    /// The identity of a seed that has already been derived, or drawn at random.
    pub fn from_seed(seed: &[u8; KeyPair::SEED_LEN]) -> Self {
        let pair = KeyPair::from_seed(seed);
        let public = pair.public();
        Self { pair, public, address: public.address() }
    }

    /// What friends are told, and the first-contact mailbox.
    pub fn address(&self) -> Address {
        self.address
    }

    /// The public key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The key pair, which signs cards and acknowledges first contacts.
    pub fn key(&self) -> &KeyPair {
        &self.pair
    }

    /// The key that seals this person's local stores. It reveals nothing of the identity's key.
    pub fn storage_key(&self) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, &self.pair.expose_seed()[..])
            .expand(STORAGE_INFO, &mut *key)
            .expect("HKDF-SHA256 gives up to 8160 bytes");
        key
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.address)
    }
}

/// Sixty digits in groups of five that both sides of a conversation compute alike; comparing them
/// over another channel shows whether anybody stands between (PROTOCOL §4.1).
pub fn safety_number(ours: &PublicKey, theirs: &PublicKey) -> String {
    let hash = Sha512::new()
        .chain_update(SAFETY_CONTEXT)
        .chain_update(ours.min(theirs).as_bytes())
        .chain_update(ours.max(theirs).as_bytes())
        .finalize();
    let groups = hash.chunks_exact(SAFETY_GROUP_BYTES).take(SAFETY_GROUPS).map(five_digits);
    groups.collect::<Vec<_>>().join(" ")
}

/// Five bytes as a big-endian number, of which the last five digits stay.
fn five_digits(bytes: &[u8]) -> String {
    let number = bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    format!("{:05}", number % 100_000)
}

/// 32 bytes of Argon2id of a secret of at most 4 GiB and a salt of 8 bytes or more.
pub(crate) fn stretch(
    secret: &[u8],
    salt: &[u8],
    params: &KdfParams,
) -> Result<Zeroizing<[u8; KeyPair::SEED_LEN]>, DeriveError> {
    let mut memory = work_memory(&params.0)?;
    let mut stretched = Zeroizing::new([0; KeyPair::SEED_LEN]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.0.clone())
        .hash_password_into_with_memory(secret, salt, &mut *stretched, &mut memory[..])
        .expect("secret, salt, output and memory have lengths that Argon2 takes");
    Ok(stretched)
}

/// The blocks that Argon2 works in, wiped when dropped.
fn work_memory(params: &Params) -> Result<Zeroizing<Vec<Block>>, DeriveError> {
    let mut memory = Zeroizing::new(Vec::new());
    let blocks = params.block_count();
    memory.try_reserve_exact(blocks).map_err(|_| DeriveError::Memory(params.m_cost()))?;
    memory.resize(blocks, Block::new());
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cheap() -> KdfParams {
        KdfParams::new(8, 1, 1).unwrap()
    }

    /// Made by this implementation; a second one has to give the same.
    #[test]
    fn the_standard_derivation_keeps_its_vector() {
        let identity = Identity::derive(b"correct horse battery staple").unwrap();
        assert_eq!(
            hex::encode(identity.key().expose_seed().as_slice()),
            "7b5136c81a0b0e486202ab0b32cd124b1643ef9aa2f4d6972d222d32b5f9e3e7"
        );
        assert_eq!(
            identity.public().to_string(),
            "844cda704a3729c1a62b63f7090ada552a4d6b0dfc3c8d4b38c6d1933e4388a6"
        );
        assert_eq!(identity.address().to_string(), "cd2d8987ac71f7c805cd14786dea03b424304888");
        assert_eq!(
            hex::encode(identity.storage_key().as_slice()),
            "f242c22e986bb8b980ab254be309f2ec361f09dbedfdeb2cf74570cca320dc48"
        );
    }

    #[test]
    fn every_byte_and_every_parameter_of_a_derivation_counts() {
        let seed = |secret: &[u8], params: &KdfParams| {
            Identity::derive_with(secret, params).unwrap().address()
        };
        let dearer = KdfParams::new(16, 1, 1).unwrap();
        assert_eq!(seed(b"secret", &cheap()), seed(b"secret", &cheap()));
        for (secret, params) in [
            (&b"secret "[..], cheap()),
            (b"Secret", cheap()),
            (b"secret\0", cheap()),
            (b"secret", dearer),
        ] {
            assert_ne!(seed(secret, &params), seed(b"secret", &cheap()));
        }
    }

    #[test]
    fn a_secret_without_bytes_or_with_too_many_is_refused() {
        let derive = |secret: &[u8]| Identity::derive_with(secret, &cheap()).map(|_| ());
        assert_eq!(derive(b""), Err(DeriveError::Empty));
        assert_eq!(derive(&[1; SECRET_LEN_MAX]), Ok(()));
        let length = SECRET_LEN_MAX + 1;
        assert_eq!(derive(&vec![1; length]), Err(DeriveError::TooLong(length)));
    }

    #[test]
    fn parameters_below_the_bounds_of_argon2_are_refused() {
        assert!(KdfParams::new(7, 1, 1).is_none());
        assert!(KdfParams::new(8, 0, 1).is_none());
        assert!(KdfParams::new(8, 1, 2).is_none());
    }

    #[test]
    fn an_identity_prints_no_secret() {
        let identity = Identity::from_seed(&[7; 32]);
        let shown = format!("{identity:?}");
        assert_eq!(shown, format!("Identity({})", identity.address()));
        assert!(!shown.contains(&hex::encode([7; 32])));
        assert!(!shown.contains(&hex::encode(identity.storage_key().as_slice())));
    }

    #[test]
    fn the_storage_key_is_not_the_seed() {
        let identity = Identity::from_seed(&[7; 32]);
        assert_ne!(*identity.storage_key(), [7; 32]);
        assert_ne!(*identity.storage_key(), *Identity::from_seed(&[8; 32]).storage_key());
    }

    /// Made by this implementation; a second one has to give the same.
    #[test]
    fn the_safety_number_keeps_its_vector() {
        let key = |fill| *Identity::from_seed(&[fill; 32]).public();
        assert_eq!(
            safety_number(&key(1), &key(2)),
            "84541 78106 42791 08392 79391 38475 96946 37976 73971 78204 07161 67658"
        );
    }

    #[test]
    fn a_man_in_the_middle_changes_the_safety_number_of_both() {
        let key = |fill| *Identity::from_seed(&[fill; 32]).public();
        let (alice, bob, mallory) = (key(1), key(2), key(3));
        let honest = safety_number(&alice, &bob);
        let (at_alice, at_bob) = (safety_number(&alice, &mallory), safety_number(&bob, &mallory));
        assert!(honest != at_alice && honest != at_bob && at_alice != at_bob);
    }

    proptest! {
        #[test]
        fn both_sides_see_the_same_sixty_digits(ours: [u8; 32], theirs: [u8; 32]) {
            let (ours, theirs) = (PublicKey::from_bytes(ours), PublicKey::from_bytes(theirs));
            let number = safety_number(&ours, &theirs);
            prop_assert_eq!(&number, &safety_number(&theirs, &ours));
            let groups: Vec<_> = number.split(' ').collect();
            prop_assert_eq!(groups.len(), 12);
            prop_assert!(groups.iter().all(|group| group.len() == 5));
            prop_assert!(number.chars().all(|c| c == ' ' || c.is_ascii_digit()));
        }
    }
}
