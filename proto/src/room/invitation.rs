//! How somebody is invited, and how they ask to be let in (PROTOCOL §4.16).
//!
//! Entry types are [`Invitation`], the text that one person hands to another, and [`Join`], the answer
//! that proves two keys at once: the token's, so that it is the invited who asks, and the joiner's own. The
//! token's key is drawn for one invitation, which makes it the inviter's fresh value.

use std::fmt;

use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

use super::id::RoomId;
use crate::address::Address;
use crate::key::{KeyPair, PublicKey, Signature};
use crate::signed_bytes::{FieldError, FieldReader, SignedBytes};
use crate::time::{Span, Time};
use crate::verified::Verified;

/// How long an invitation may be good.
pub const INVITATION_LIFETIME_MAX: Span = Span::from_days(30);
/// The most members whom an invitation names beside the inviter as able to let somebody in.
pub const OTHERS_MAX: usize = 3;
/// What the text of an invitation begins with.
pub const TEXT_PREFIX: &str = "comm:room/";

const CONTEXT: &[u8] = b"comm/room-invitation/v1\0";
const JOIN_CONTEXT: &[u8] = b"comm/room-join/v1\0";
/// What is signed with this is told to nobody.
const FRESH_CONTEXT: &[u8] = b"comm/room-fresh/v1\0";
const CHECKSUM_LEN: usize = 4;
/// Room, inviter, expiry, seed of the token, number of others, the others.
const BYTES_MAX: usize = 32 + 32 + 8 + 32 + 1 + OTHERS_MAX * Address::LEN;

/// What lets one person ask to be let in, once. Whoever has its text can use it: it goes to the invited alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    room: RoomId,
    inviter: PublicKey,
    others: Vec<Address>,
    seed: Zeroizing<[u8; KeyPair::SEED_LEN]>,
    expires_at: Time,
}

/// Somebody asks to be let in, and has signed so with the token's key and with their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    token: PublicKey,
    joiner: PublicKey,
    fresh: [u8; 32],
    by_token: Signature,
    by_joiner: Signature,
}

/// Why a text or a join is worth nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvitationError {
    /// Another text.
    #[error("this is no invitation to a room; one begins with {TEXT_PREFIX}")]
    Prefix,
    /// A mistake of the hand, or a piece that is missing.
    #[error("the invitation was changed or cut on its way; ask for its whole text again")]
    Damaged,
    /// Its time is over.
    #[error("the invitation has expired; ask for another")]
    Expired,
    /// The token's signature.
    #[error("the join was not signed with the invitation for this room")]
    Token,
    /// The joiner's signature.
    #[error("the join was not signed by whoever wants to join")]
    Joiner,
}

impl Invitation {
    /// An invitation whose token has the secret `seed`, which must be drawn for it alone. Of `others` who may let
    /// in as well the first [`OTHERS_MAX`] are named.
    pub fn new(
        room: RoomId,
        inviter: PublicKey,
        mut others: Vec<Address>,
        seed: [u8; 32],
        expires_at: Time,
    ) -> Self {
        others.truncate(OTHERS_MAX);
        Self { room, inviter, others, seed: Zeroizing::new(seed), expires_at }
    }

    /// The text to hand over.
    pub fn text(&self) -> Zeroizing<String> {
        let start = SignedBytes::new(CONTEXT)
            .array(self.room.as_bytes())
            .array(self.inviter.as_bytes())
            .u64(self.expires_at.as_millis())
            .array(&*self.seed)
            .u8(self.others.len() as u8);
        let others = self.others.iter();
        let bytes =
            Zeroizing::new(others.fold(start, |b, other| b.array(other.as_bytes())).finish());
        let hash = Sha256::digest(&*bytes);
        let digits = Zeroizing::new(hex::encode(&bytes[CONTEXT.len()..]));
        Zeroizing::new([TEXT_PREFIX, &*digits, &hex::encode(&hash[..CHECKSUM_LEN])].concat())
    }

    /// Reads a text that somebody was handed.
    ///
    /// # Errors
    /// When it is none, or is not as it was written.
    pub fn parse(text: &str) -> Result<Self, InvitationError> {
        let digits = text.trim().strip_prefix(TEXT_PREFIX).ok_or(InvitationError::Prefix)?;
        if digits.len() > 2 * (BYTES_MAX + CHECKSUM_LEN) {
            return Err(InvitationError::Damaged);
        }
        let bytes = hex::decode(digits).map_err(|_| InvitationError::Damaged)?;
        let bytes = Zeroizing::new(bytes);
        let (bytes, checksum) =
            bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or(InvitationError::Damaged)?;
        let hash = Sha256::new().chain_update(CONTEXT).chain_update(bytes).finalize();
        if hash[..CHECKSUM_LEN] != checksum[..] {
            return Err(InvitationError::Damaged);
        }
        Self::read(bytes).map_err(|_| InvitationError::Damaged)
    }

    /// Which room.
    pub const fn room(&self) -> RoomId {
        self.room
    }

    /// Who invites.
    pub const fn inviter(&self) -> &PublicKey {
        &self.inviter
    }

    /// Who can be asked, the inviter first. One is enough; who is away answers later.
    pub fn admitters(&self) -> impl Iterator<Item = Address> + '_ {
        [self.inviter.address()].into_iter().chain(self.others.iter().copied())
    }

    /// Until when it is good, by the clock of whoever lets in.
    pub const fn expires_at(&self) -> Time {
        self.expires_at
    }

    /// The token's key, by which the room knows the invitation.
    pub fn token(&self) -> PublicKey {
        self.pair().public()
    }

    fn pair(&self) -> KeyPair {
        KeyPair::from_seed(&self.seed)
    }

    fn read(bytes: &[u8]) -> Result<Self, FieldError> {
        let mut fields = FieldReader::new(bytes);
        let room = RoomId::from_bytes(fields.array()?);
        let inviter = PublicKey::from_bytes(fields.array()?);
        let expires_at = Time::from_millis(fields.u64()?);
        let seed = Zeroizing::new(fields.array()?);
        let count = usize::from(fields.u8()?);
        if count > OTHERS_MAX {
            return Err(FieldError::TooLong);
        }
        let mut others = Vec::with_capacity(count);
        for _ in 0..count {
            others.push(Address::from_bytes(fields.array()?));
        }
        fields.finish()?;
        Ok(Self { room, inviter, others, seed, expires_at })
    }
}

impl Join {
    /// Length in bytes.
    pub const LEN: usize = 3 * 32 + 2 * Signature::LEN;

    /// What `joiner` draws for a token: always the same, so that whoever asks again, or has lost what they had, says the join
    /// that is answered; and nobody else can tell it before. A token lets somebody in once, so it is one membership's.
    pub fn draw(room: &RoomId, token: &PublicKey, joiner: &KeyPair) -> [u8; 32] {
        let of = SignedBytes::new(FRESH_CONTEXT).array(room.as_bytes()).array(token.as_bytes());
        Sha256::digest(joiner.sign(&of.finish()).as_bytes()).into()
    }

    /// Asks to be let in. `fresh` must be of this invitation and key alone, and nobody else may be able to tell it:
    /// [`Join::draw`].
    pub fn sign(invitation: &Invitation, joiner: &KeyPair, fresh: [u8; 32]) -> Verified<Self> {
        let (pair, key) = (invitation.pair(), joiner.public());
        let signed = join_bytes(invitation.room, &pair.public(), &key, &fresh);
        Verified::new(Self {
            token: pair.public(),
            joiner: key,
            fresh,
            by_token: pair.sign(&signed),
            by_joiner: joiner.sign(&signed),
        })
    }

    /// Checks that both keys have signed for this room.
    ///
    /// # Errors
    /// When one has not.
    pub fn verify(self, room: RoomId) -> Result<Verified<Self>, InvitationError> {
        self.check(room)?;
        Ok(Verified::new(self))
    }

    /// The token's key.
    pub const fn token(&self) -> &PublicKey {
        &self.token
    }

    /// Who wants to be let in.
    pub const fn joiner(&self) -> &PublicKey {
        &self.joiner
    }

    /// What the joiner drew for this join.
    pub const fn fresh(&self) -> &[u8; 32] {
        &self.fresh
    }

    pub(super) fn check(&self, room: RoomId) -> Result<(), InvitationError> {
        let signed = join_bytes(room, &self.token, &self.joiner, &self.fresh);
        if !self.token.verify(&signed, &self.by_token) {
            return Err(InvitationError::Token);
        }
        if !self.joiner.verify(&signed, &self.by_joiner) {
            return Err(InvitationError::Joiner);
        }
        Ok(())
    }

    pub(super) fn write(&self, bytes: SignedBytes) -> SignedBytes {
        bytes
            .array(self.token.as_bytes())
            .array(self.joiner.as_bytes())
            .array(&self.fresh)
            .array(self.by_token.as_bytes())
            .array(self.by_joiner.as_bytes())
    }

    pub(super) fn read(fields: &mut FieldReader<'_>) -> Result<Self, FieldError> {
        Ok(Self {
            token: PublicKey::from_bytes(fields.array()?),
            joiner: PublicKey::from_bytes(fields.array()?),
            fresh: fields.array()?,
            by_token: Signature::from_bytes(fields.array()?),
            by_joiner: Signature::from_bytes(fields.array()?),
        })
    }
}

fn join_bytes(room: RoomId, token: &PublicKey, joiner: &PublicKey, fresh: &[u8; 32]) -> Vec<u8> {
    SignedBytes::new(JOIN_CONTEXT)
        .array(room.as_bytes())
        .array(token.as_bytes())
        .array(joiner.as_bytes())
        .array(fresh)
        .finish()
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation")
            .field("room", &self.room)
            .field("inviter", &self.inviter)
            .field("others", &self.others)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(seed: u8) -> KeyPair {
        KeyPair::from_seed(&[seed; 32])
    }

    fn invitation(others: usize) -> Invitation {
        let others = vec![Address::from_bytes([6; 20]); others];
        let room = RoomId::from_bytes([9; 32]);
        Invitation::new(room, pair(1).public(), others, [0xa5; 32], Time::from_millis(77))
    }

    #[test]
    fn an_invitation_is_read_as_it_was_written() {
        for others in 0..=OTHERS_MAX {
            let written = invitation(others);
            assert_eq!(Invitation::parse(&written.text()), Ok(written.clone()));
            assert_eq!(written.admitters().count(), 1 + others);
        }
        assert_eq!(invitation(9).admitters().count(), 1 + OTHERS_MAX);
        assert_eq!(invitation(OTHERS_MAX).text().len(), 10 + 2 * (BYTES_MAX + CHECKSUM_LEN));
    }

    #[test]
    fn an_invitation_with_a_changed_byte_is_refused() {
        let text = invitation(2).text().to_string();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(bytes).unwrap();
            let error = Invitation::parse(&changed).unwrap_err();
            let expected = if at < TEXT_PREFIX.len() {
                InvitationError::Prefix
            } else {
                InvitationError::Damaged
            };
            assert_eq!(error, expected, "character {at}");
        }
        for cut in 0..text.len() {
            assert!(Invitation::parse(&text[..cut]).is_err());
        }
        assert!(Invitation::parse(&[&text, "00"].concat()).is_err());
    }

    #[test]
    fn a_join_proves_both_keys_for_one_room() {
        let invitation = invitation(0);
        let join = Join::sign(&invitation, &pair(2), [4; 32]).into_inner();
        assert!(join.clone().verify(invitation.room()).is_ok());
        let elsewhere = join.clone().verify(RoomId::from_bytes([8; 32]));
        assert_eq!(elsewhere.map(|_| ()), Err(InvitationError::Token));
        // Somebody else puts their key into what they saw.
        let stolen = Join { joiner: pair(3).public(), ..join.clone() };
        assert_eq!(stolen.check(invitation.room()), Err(InvitationError::Token));
        let unsigned = Join { by_joiner: join.by_token, ..join.clone() };
        assert_eq!(unsigned.check(invitation.room()), Err(InvitationError::Joiner));
        let replayed = Join { fresh: [5; 32], ..join };
        assert_eq!(replayed.check(invitation.room()), Err(InvitationError::Token));
    }

    #[test]
    fn an_invitation_prints_no_secret() {
        let shown = format!("{:?}", invitation(1));
        assert!(shown.contains("expires_at") && !shown.contains("seed"));
        assert!(!shown.contains("a5a5") && !shown.contains("165, 165"));
    }
}
