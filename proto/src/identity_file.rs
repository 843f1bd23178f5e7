//! An identity under a pass-phrase: what a person carries to another machine (PROTOCOL §4.20).
//!
//! Entry functions are [`seal`] and [`open`]. The checksum is over what everybody can see, so that damage is told
//! apart from a wrong pass-phrase, and is found before anything is derived. How much a derivation costs stands in
//! the file within bounds: whoever made the file decides neither about gigabytes nor about minutes.

use crypto_secretbox::aead::{Aead, KeyInit};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::identity::{DeriveError, Identity, KdfParams, stretch};
use crate::key::KeyPair;
use crate::signed_bytes::{FieldReader, SignedBytes};

/// The length of a file in bytes.
pub const FILE_LEN: usize = HEADER_LEN + TAG_LEN + KeyPair::SEED_LEN + SUM_LEN;
/// The longest pass-phrase in bytes.
pub const PASSPHRASE_LEN_MAX: usize = 1_024;
/// The most memory that a file may ask for, in KiB: 512 MiB.
pub const MEMORY_KIB_MAX: u32 = 512 * 1_024;
/// The most passes over that memory.
pub const PASSES_MAX: u32 = 8;

/// What a file begins with.
const MAGIC: &[u8] = b"comm/identity\0";
const VERSION: u8 = 1;
/// Domain separation of the checksum, and of the key that seals.
const SUM_CONTEXT: &[u8] = b"comm/identity-file/v1\0";
const SALT_LEN: usize = 16;
const NONCE_LEN: usize = 24;
const TAG_LEN: usize = 16;
const SUM_LEN: usize = 32;
/// Magic, version, memory, passes, salt, nonce.
const HEADER_LEN: usize = MAGIC.len() + 1 + 4 + 4 + SALT_LEN + NONCE_LEN;

/// What makes every file another one, drawn at random for each.
#[derive(Clone, Copy, Debug)]
pub struct Fresh {
    /// Of the derivation.
    pub salt: [u8; SALT_LEN],
    /// Of the cipher.
    pub nonce: [u8; NONCE_LEN],
}

/// Why no file is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SealError {
    /// Everybody could open it.
    #[error("the pass-phrase is empty")]
    Empty,
    /// Longer than anybody types.
    #[error("a pass-phrase has at most {PASSPHRASE_LEN_MAX} bytes")]
    TooLong,
    /// Nobody could open it, since its derivation costs more than files may ask for.
    #[error("an identity file asks for at most {MEMORY_KIB_MAX} KiB and {PASSES_MAX} passes")]
    Costly,
    /// The derivation failed.
    #[error(transparent)]
    Derive(#[from] DeriveError),
}

/// Why a file gives no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IdentityFileError {
    /// It is something else.
    #[error("it is no identity file of comm")]
    Foreign,
    /// It is one, and is not as it was written.
    #[error("the identity file is damaged; take another copy of it")]
    Damaged,
    /// A newer program has written it.
    #[error("the identity file is of version {0}, this program knows version {VERSION}")]
    Version(u8),
    /// It asks for more memory or passes than any that this program writes.
    #[error(
        "the identity file asks for {memory_kib} KiB of memory and {passes} passes; at most {MEMORY_KIB_MAX} KiB \
         and {PASSES_MAX} passes are done"
    )]
    Costly {
        /// In KiB.
        memory_kib: u32,
        /// Over that memory.
        passes: u32,
    },
    /// It is whole, and the pass-phrase is another.
    #[error("the pass-phrase is wrong")]
    Passphrase,
    /// The machine lacks the memory.
    #[error(transparent)]
    Derive(#[from] DeriveError),
}

/// The file of `identity` under a pass-phrase of 1 to [`PASSPHRASE_LEN_MAX`] bytes.
///
/// # Errors
/// When the pass-phrase is impossible, the parameters are beyond the bounds of files, or memory lacks.
pub fn seal(
    identity: &Identity,
    passphrase: &[u8],
    params: &KdfParams,
    fresh: &Fresh,
) -> Result<Vec<u8>, SealError> {
    match passphrase.len() {
        0 => return Err(SealError::Empty),
        length if length > PASSPHRASE_LEN_MAX => return Err(SealError::TooLong),
        _ => {}
    }
    let (memory_kib, passes) = (params.memory_kib(), params.passes());
    if !is_affordable(memory_kib, passes) || params.lanes() != 1 {
        return Err(SealError::Costly);
    }
    let header = SignedBytes::new(MAGIC)
        .u8(VERSION)
        .u32(memory_kib)
        .u32(passes)
        .array(&fresh.salt)
        .array(&fresh.nonce)
        .finish();
    let cipher = cipher(passphrase, &header, &fresh.salt, params)?;
    let sealed = cipher.encrypt(Nonce::from_slice(&fresh.nonce), &identity.key().expose_seed()[..]);
    let mut file = header;
    file.extend_from_slice(&sealed.expect("a seed is far shorter than the cipher's limit"));
    let sum = checksum(&file[MAGIC.len()..]);
    file.extend_from_slice(&sum);
    Ok(file)
}

/// The identity in a file. Takes as long and as much memory as the file says, within the bounds.
///
/// # Errors
/// Damage is told before anything is derived, a wrong pass-phrase after.
pub fn open(file: &[u8], passphrase: &[u8]) -> Result<Identity, IdentityFileError> {
    let (body, sum) = file.split_last_chunk::<SUM_LEN>().ok_or(foreign_or_damaged(file))?;
    let behind = body.get(MAGIC.len()..).ok_or(foreign_or_damaged(file))?;
    if checksum(behind) != *sum {
        return Err(foreign_or_damaged(file));
    }
    // Whole but for its first bytes.
    let mut fields = FieldReader::new(body);
    fields.context(MAGIC).map_err(|_| IdentityFileError::Damaged)?;
    let damaged = |_| IdentityFileError::Damaged;
    let version = fields.u8().map_err(damaged)?;
    if version != VERSION {
        return Err(IdentityFileError::Version(version));
    }
    let (memory_kib, passes) = (fields.u32().map_err(damaged)?, fields.u32().map_err(damaged)?);
    if !is_affordable(memory_kib, passes) {
        return Err(IdentityFileError::Costly { memory_kib, passes });
    }
    let params = KdfParams::new(memory_kib, passes, 1).ok_or(IdentityFileError::Damaged)?;
    let salt: [u8; SALT_LEN] = fields.array().map_err(damaged)?;
    let nonce: [u8; NONCE_LEN] = fields.array().map_err(damaged)?;
    let cipher = cipher(passphrase, &body[..HEADER_LEN], &salt, &params)?;
    let seed = cipher.decrypt(Nonce::from_slice(&nonce), fields.rest());
    let seed = Zeroizing::new(seed.map_err(|_| IdentityFileError::Passphrase)?);
    let seed = seed.first_chunk().filter(|_| seed.len() == KeyPair::SEED_LEN);
    Ok(Identity::from_seed(seed.ok_or(IdentityFileError::Damaged)?))
}

const fn is_affordable(memory_kib: u32, passes: u32) -> bool {
    memory_kib <= MEMORY_KIB_MAX && passes <= PASSES_MAX
}

/// What a file is called that is not whole: ours if it begins so, or is as long as ours are.
fn foreign_or_damaged(file: &[u8]) -> IdentityFileError {
    if file.starts_with(MAGIC) || file.len() == FILE_LEN {
        IdentityFileError::Damaged
    } else {
        IdentityFileError::Foreign
    }
}

/// Over all behind the magic, which has one value only: a file that is whole but for its magic is damaged.
fn checksum(behind: &[u8]) -> [u8; SUM_LEN] {
    Sha256::new().chain_update(SUM_CONTEXT).chain_update(behind).finalize().into()
}

/// The cipher under the pass-phrase and everything that the header says.
fn cipher(
    passphrase: &[u8],
    header: &[u8],
    salt: &[u8],
    params: &KdfParams,
) -> Result<XSalsa20Poly1305, DeriveError> {
    let stretched = stretch(passphrase, salt, params)?;
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, &stretched[..])
        .expand(header, &mut *key)
        .expect("HKDF-SHA256 gives up to 8160 bytes");
    Ok(XSalsa20Poly1305::new((&*key).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Fresh = Fresh { salt: [3; SALT_LEN], nonce: [4; NONCE_LEN] };

    fn identity() -> Identity {
        Identity::from_seed(&[7; 32])
    }

    fn file(passphrase: &[u8]) -> Vec<u8> {
        seal(&identity(), passphrase, &KdfParams::new(8, 1, 1).unwrap(), &FRESH).unwrap()
    }

    fn address(
        file: &[u8],
        passphrase: &[u8],
    ) -> Result<crate::address::Address, IdentityFileError> {
        open(file, passphrase).map(|identity| identity.address())
    }

    /// The file with another header, as somebody makes it who wants it to be read.
    fn forged(change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut forged = file(b"open sesame");
        forged.truncate(FILE_LEN - SUM_LEN);
        change(&mut forged);
        let sum = checksum(&forged[MAGIC.len()..]);
        forged.extend_from_slice(&sum);
        forged
    }

    #[test]
    fn a_file_opens_with_its_pass_phrase_and_has_the_same_identity() {
        let file = file(b"open sesame");
        assert_eq!(file.len(), FILE_LEN);
        assert_eq!(address(&file, b"open sesame"), Ok(identity().address()));
        let seed = identity().key().expose_seed();
        assert!(!file.windows(32).any(|window| window == &seed[..]));
    }

    /// Every bit of every byte, and every length.
    #[test]
    fn a_damaged_file_is_told_apart_from_a_wrong_pass_phrase() {
        let whole = file(b"open sesame");
        for wrong in [&b"open sesam"[..], b"open sesame ", b"Open sesame", b""] {
            assert_eq!(address(&whole, wrong), Err(IdentityFileError::Passphrase));
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                let read = address(&flipped, b"open sesame");
                assert_eq!(read, Err(IdentityFileError::Damaged), "bit {bit} of byte {at}");
            }
            let cut = address(&whole[..at], b"open sesame");
            let expected = if at < MAGIC.len() {
                IdentityFileError::Foreign
            } else {
                IdentityFileError::Damaged
            };
            assert_eq!(cut, Err(expected), "cut at {at}");
        }
        assert_eq!(address(b"-----BEGIN PGP PRIVATE KEY", b"x"), Err(IdentityFileError::Foreign));
    }

    #[test]
    fn a_forged_file_makes_nobody_use_gigabytes_or_minutes() {
        let costly = |memory_kib: u32, passes: u32| {
            let file = forged(|file| {
                file[MAGIC.len() + 1..][..4].copy_from_slice(&memory_kib.to_be_bytes());
                file[MAGIC.len() + 5..][..4].copy_from_slice(&passes.to_be_bytes());
            });
            address(&file, b"open sesame")
        };
        for (memory_kib, passes) in
            [(MEMORY_KIB_MAX + 1, 1), (8, PASSES_MAX + 1), (u32::MAX, u32::MAX)]
        {
            let refused = Err(IdentityFileError::Costly { memory_kib, passes });
            assert_eq!(costly(memory_kib, passes), refused);
        }
        // Below what Argon2 can do.
        assert_eq!(costly(0, 1), Err(IdentityFileError::Damaged));
        // Cheaper for a guesser is another key.
        assert_eq!(costly(16, 1), Err(IdentityFileError::Passphrase));
        assert_eq!(
            address(&forged(|file| file[MAGIC.len()] = 2), b"open sesame"),
            Err(IdentityFileError::Version(2))
        );
        assert_eq!(
            address(&forged(|file| file.push(0)), b"open sesame"),
            Err(IdentityFileError::Passphrase)
        );
    }

    #[test]
    fn a_pass_phrase_without_bytes_or_with_too_many_is_refused() {
        let seal = |passphrase: &[u8], memory_kib| {
            let params = KdfParams::new(memory_kib, 1, 1).unwrap();
            seal(&identity(), passphrase, &params, &FRESH).map(|_| ())
        };
        assert_eq!(seal(b"", 8), Err(SealError::Empty));
        assert_eq!(seal(&[1; PASSPHRASE_LEN_MAX], 8), Ok(()));
        assert_eq!(seal(&[1; PASSPHRASE_LEN_MAX + 1], 8), Err(SealError::TooLong));
        assert_eq!(seal(b"x", MEMORY_KIB_MAX + 1), Err(SealError::Costly));
    }

    /// Made by this implementation; a second one has to give the same.
    #[test]
    fn a_file_keeps_its_vector() {
        let sum = Sha256::digest(file(b"open sesame"));
        assert_eq!(
            hex::encode(sum),
            "854608fbeb8e74ef17ea72b14cb2171d35acae35d983a9136568fb8b6071a288"
        );
    }
}
