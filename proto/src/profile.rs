//! What somebody calls themselves and says of themselves, signed (PROTOCOL §4.22).
//!
//! Entry type is [`Profile`]. Nobody but its owner vouches for it, and it renames nobody: whoever was given a name keeps
//! that. What stands in it can be seen, fits on a line and turns no other text around.

use thiserror::Error;

use crate::key::{KeyPair, PublicKey, Signature};
use crate::link::{is_fit_to_go_by, is_unseen};
use crate::signed_bytes::{FieldReader, SignedBytes};
use crate::time::Time;

/// The longest line about oneself in characters.
pub const STATUS_MAX: usize = 128;

const CONTEXT: &[u8] = b"comm/profile/v1\0";
/// No field is longer: 128 characters of four bytes.
const FIELD_MAX: usize = 4 * STATUS_MAX;

/// A name and a line; either may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    name: String,
    status: String,
    made_at: Time,
}

/// Why there is no such profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProfileError {
    /// The name cannot be typed or told apart.
    #[error(
        "the name of a profile has 1 to 64 characters that can be seen, no spaces, no colon, and is neither an address \
         nor eight digits of one"
    )]
    Name,
    /// The line is too long, or is none.
    #[error(
        "what a profile says has at most {STATUS_MAX} characters that can be seen, all on one line"
    )]
    Status,
}

impl Profile {
    /// A profile made at `made_at` by its owner's clock.
    ///
    /// # Errors
    /// When name or status cannot be shown to others.
    pub fn new(name: &str, status: &str, made_at: Time) -> Result<Self, ProfileError> {
        if !name.is_empty() && !is_fit_to_go_by(name) {
            return Err(ProfileError::Name);
        }
        let is_shown = |c: char| !c.is_control() && !is_unseen(c) && !is_line_end(c);
        if status.chars().count() > STATUS_MAX || !status.chars().all(is_shown) {
            return Err(ProfileError::Status);
        }
        Ok(Self { name: name.to_owned(), status: status.to_owned(), made_at })
    }

    /// What they call themselves, if anything.
    pub fn name(&self) -> Option<&str> {
        Some(self.name.as_str()).filter(|name| !name.is_empty())
    }

    /// What they say of themselves; may be empty.
    pub fn status(&self) -> &str {
        &self.status
    }

    /// When it was made, by their clock. Of two the later counts.
    pub const fn made_at(&self) -> Time {
        self.made_at
    }

    /// The body of a message that says so, signed by its owner.
    pub fn sign(&self, owner: &KeyPair) -> Vec<u8> {
        let signature = owner.sign(&self.signed(&owner.public()));
        let mut body = self.to_bytes();
        body.extend_from_slice(signature.as_bytes());
        body
    }

    /// Reads a body that `owner` has signed; nothing if anything about it is not as it must be.
    pub fn verify(body: &[u8], owner: &PublicKey) -> Option<Self> {
        let (bytes, signature) = body.split_last_chunk::<{ Signature::LEN }>()?;
        let profile = Self::from_bytes(bytes)?;
        let signature = Signature::from_bytes(*signature);
        owner.verify(&profile.signed(owner), &signature).then_some(profile)
    }

    /// As it is kept.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.made_at.as_millis().to_be_bytes().to_vec();
        for field in [&self.name, &self.status] {
            let length = u32::try_from(field.len()).expect("every field is short");
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(field.as_bytes());
        }
        bytes
    }

    /// Reads [`Self::to_bytes`] back.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut reader = FieldReader::new(bytes);
        let made_at = Time::from_millis(reader.u64().ok()?);
        let name = std::str::from_utf8(reader.bytes(FIELD_MAX).ok()?).ok()?;
        let status = std::str::from_utf8(reader.bytes(FIELD_MAX).ok()?).ok()?;
        reader.finish().ok()?;
        Self::new(name, status, made_at).ok()
    }

    fn signed(&self, owner: &PublicKey) -> Vec<u8> {
        SignedBytes::new(CONTEXT).array(owner.as_bytes()).array(&self.to_bytes()).finish()
    }
}

/// Ends of lines and paragraphs that are no control characters.
const fn is_line_end(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_millis(1_760_000_000_000);

    fn pair() -> KeyPair {
        KeyPair::from_seed(&[1; 32])
    }

    #[test]
    fn a_profile_is_read_back_if_its_owner_signed_it_as_it_is() {
        for (name, status) in
            [("ann", "on the road, back on Monday"), ("Jörg", ""), ("", "🚢"), ("", "")]
        {
            let profile = Profile::new(name, status, NOW).unwrap();
            let body = profile.sign(&pair());
            assert_eq!(Profile::verify(&body, &pair().public()), Some(profile));
            assert_eq!(Profile::verify(&body, &KeyPair::from_seed(&[2; 32]).public()), None);
            for at in 0..body.len() {
                let mut changed = body.clone();
                changed[at] ^= 1;
                assert_eq!(Profile::verify(&changed, &pair().public()), None, "byte {at}");
                assert_eq!(Profile::verify(&body[..at], &pair().public()), None, "length {at}");
            }
        }
    }

    #[test]
    fn what_cannot_be_seen_or_turns_text_around_is_in_no_profile() {
        let long = "x".repeat(STATUS_MAX + 1);
        for bad in
            ["a\u{202e}b", "a\u{200b}b", "a\nb", "\u{1b}[2J", "a\u{2028}b", "\u{2800}", &long]
        {
            assert_eq!(Profile::new("ann", bad, NOW), Err(ProfileError::Status), "{bad:?}");
        }
        for bad in ["a b", "a:b", "a\u{200b}", "44751799", "/quit", &"x".repeat(65)] {
            assert_eq!(Profile::new(bad, "", NOW), Err(ProfileError::Name), "{bad:?}");
        }
    }
}
