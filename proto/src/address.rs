//! Addresses and the XOR metric between them.
//!
//! Entry type is [`Address`]: the one name space that nodes, people and mailboxes share
//! (PROTOCOL §2.2). An address is only a label of a public key; contents are named by SHA-256
//! ([`crate::envelope::EnvelopeId`]), never by SHA-1.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use sha1::{Digest, Sha1};
use thiserror::Error;

use crate::key::PublicKey;

/// Domain separation of the address hash. With the algorithm byte and the key it fills 49 bytes:
/// one SHA-1 block, so that the published collision attacks, which need several blocks under the
/// attacker's control, do not apply (PROTOCOL §2.2).
const CONTEXT: &[u8; 16] = b"comm/address/v1\0";

/// The code of Ed25519 in the address hash.
const ALGORITHM_ED25519: u8 = 1;

/// 20 bytes: SHA-1 over the encoding of one Ed25519 public key (PROTOCOL §2.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address([u8; Self::LEN]);

/// The XOR of two addresses, compared as one big-endian number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Distance([u8; Address::LEN]);

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseAddressError {
    /// The text has another length than 40 characters.
    #[error("an address has 40 hexadecimal digits, this has {0} characters")]
    Length(usize),
    /// A character is not one of `0-9a-fA-F`.
    #[error("an address has only the digits 0-9 and a-f")]
    Digit,
}

impl Address {
    /// Length in bytes.
    pub const LEN: usize = 20;
    /// Length in bits, which is also the largest number of buckets.
    pub const BITS: usize = Self::LEN * 8;

    /// The address of a public key.
    pub fn of(key: &PublicKey) -> Self {
        let hash = Sha1::new()
            .chain_update(CONTEXT)
            .chain_update([ALGORITHM_ED25519])
            .chain_update(key.as_bytes());
        Self(hash.finalize().into())
    }

    /// An address from its bytes; every 20 bytes are one.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The 20 bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The most significant 64 bits, which no two of a billion addresses have in common unless somebody
    /// has looked long for them.
    pub fn top_bits(&self) -> u64 {
        Distance(self.0).top_bits()
    }

    /// How far `other` is from here.
    pub fn distance(&self, other: &Self) -> Distance {
        Distance(std::array::from_fn(|i| self.0[i] ^ other.0[i]))
    }

    /// The address at `distance` from here: XOR is its own inverse.
    pub fn at(&self, distance: &Distance) -> Self {
        Self(std::array::from_fn(|i| self.0[i] ^ distance.0[i]))
    }
}

impl Distance {
    /// From an address to itself.
    pub const ZERO: Self = Self([0; Address::LEN]);

    /// A distance from its big-endian bytes.
    pub const fn from_bytes(bytes: [u8; Address::LEN]) -> Self {
        Self(bytes)
    }

    /// How many leading bits two addresses have in common; 160 when they are the same.
    pub fn common_bits(&self) -> usize {
        let (high, low) = number(&self.0);
        let bits = high.leading_zeros() + if high == 0 { low.leading_zeros() } else { 0 };
        bits as usize
    }

    /// The most significant 64 bits: enough to reason about densities of up to 2^64 nodes.
    pub fn top_bits(&self) -> u64 {
        let mut top = [0; 8];
        top.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(top)
    }
}

/// The number that 20 bytes are, big-endian, in two parts: compared far faster than bytes are, and
/// nothing is compared more often.
const fn number(bytes: &[u8; Address::LEN]) -> (u128, u32) {
    let (high, low) = bytes.split_at(16);
    let (Some(high), Some(low)) = (high.first_chunk(), low.first_chunk()) else { return (0, 0) };
    (u128::from_be_bytes(*high), u32::from_be_bytes(*low))
}

impl Ord for Address {
    fn cmp(&self, other: &Self) -> Ordering {
        number(&self.0).cmp(&number(&other.0))
    }
}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Distance {
    fn cmp(&self, other: &Self) -> Ordering {
        number(&self.0).cmp(&number(&other.0))
    }
}

impl PartialOrd for Distance {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let length = text.chars().count();
        if length != Self::LEN * 2 {
            return Err(ParseAddressError::Length(length));
        }
        let mut bytes = [0; Self::LEN];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseAddressError::Digit)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

impl fmt::Debug for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Distance({})", hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published vectors of the SHA-1 function that addresses are made with.
    #[test]
    fn sha1_matches_the_published_vectors() {
        let hex = |text: &str| hex::encode(Sha1::digest(text));
        assert_eq!(hex("alep"), "44751799925b964a00bae3863cc4236f9bb8d519");
        assert_eq!(hex("some string"), "8b45e4bd1c6acb88bebf6407d16205f567e62a3e");
    }

    #[test]
    fn a_text_that_is_not_forty_digits_is_refused_not_padded() {
        let good = "44751799925b964a00bae3863cc4236f9bb8d519";
        assert_eq!(good.parse::<Address>().map(|a| a.to_string()), Ok(good.to_owned()));
        assert_eq!(good[1..].parse::<Address>(), Err(ParseAddressError::Length(39)));
        assert_eq!(format!("{good}0").parse::<Address>(), Err(ParseAddressError::Length(41)));
        assert_eq!(good.replace('4', "g").parse::<Address>(), Err(ParseAddressError::Digit));
        assert_eq!("ä".repeat(40).parse::<Address>(), Err(ParseAddressError::Digit));
    }

    #[test]
    fn the_hashed_encoding_fits_one_sha1_block() {
        // A block has 64 bytes, of which padding and length take nine.
        assert!(CONTEXT.len() + 1 + PublicKey::LEN <= 64 - 9);
    }

    #[test]
    fn addresses_and_distances_have_the_order_of_their_bytes() {
        for at in 0..Address::LEN {
            let (mut less, mut more) = ([7; Address::LEN], [7; Address::LEN]);
            (less[at], more[at]) = (1, 0x80);
            less[at + 1..].fill(0xff);
            assert!(less < more);
            assert!(Address::from_bytes(less) < Address::from_bytes(more), "byte {at}");
            assert!(Distance::from_bytes(less) < Distance::from_bytes(more), "byte {at}");
            let shared = Distance::from_bytes(std::array::from_fn(|i| u8::from(i == at)));
            assert_eq!(shared.common_bits(), at * 8 + 7);
        }
    }

    #[test]
    fn common_bits_counts_the_shared_prefix() {
        let zero = Address::from_bytes([0; 20]);
        let mut bytes = [0; 20];
        bytes[2] = 0b0001_0000;
        assert_eq!(zero.distance(&Address::from_bytes(bytes)).common_bits(), 19);
        assert_eq!(zero.distance(&zero).common_bits(), 160);
    }
}
