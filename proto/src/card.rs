//! Cards: what a person publishes under their address.
//!
//! Entry type is [`Card`] (PROTOCOL §3.6). It carries the key to encrypt to and what the owner is
//! willing to receive, signed by the owner. It holds no name and no network endpoint: a card must
//! not tell where somebody is.

use std::cmp::Ordering;

use thiserror::Error;

use crate::address::Address;
use crate::envelope::{CLOCK_TOLERANCE, SizeClass, Suite, TTL_MAX, TTL_MIN};
use crate::key::{KeyPair, PublicKey, Signature};
use crate::prekey::{PREKEY_LEN_MAX, Prekey, PrekeyError};
use crate::signed_bytes::{FieldError, FieldReader, SignedBytes};
use crate::time::{Span, Time};
use crate::verified::Verified;

/// The most prekeys on a card; at least one is there.
pub const PREKEYS_MAX: usize = 4;
/// The longest time a card may be valid.
pub const LIFETIME_MAX: Span = Span::from_days(30);
/// The longest a card can be, in bytes.
pub const CARD_LEN_MAX: usize =
    FIXED_LEN + PREKEYS_MAX * (1 + 4 + PREKEY_LEN_MAX + 8) + Signature::LEN;

const CONTEXT: &[u8] = b"comm/card/v1\0";
/// Context, owner, issued, expires, longest TTL, largest body, least stamp, number of prekeys.
const FIXED_LEN: usize = CONTEXT.len() + PublicKey::LEN + 3 * 8 + 4 + 1 + 1;

/// What an identity publishes, as it came; [`Card::verify`] makes it worth reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    owner: PublicKey,
    issued_at: Time,
    expires_at: Time,
    policy: InboxPolicy,
    prekeys: Vec<Prekey>,
    signature: Signature,
}

/// What the owner of a card is willing to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxPolicy {
    /// The longest time to live that is worth sending with, from [`TTL_MIN`] to [`TTL_MAX`].
    pub ttl_max: Span,
    /// The largest body that is opened.
    pub size_max: SizeClass,
    /// The fewest leading zero bits of a stamp.
    pub stamp_min: u8,
}

/// Why a card is not to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CardError {
    /// The owner did not sign it.
    #[error("the card's signature is not its owner's")]
    Signature,
    /// It says that it was issued later than any clock can say.
    #[error("the card was issued in the future")]
    IssuedInFuture,
    /// Its time is over.
    #[error("the card has expired")]
    Expired,
    /// It expires before it was issued, or more than [`LIFETIME_MAX`] after.
    #[error("a card is valid for at most 30 days from its issue")]
    Lifetime,
    /// It has no prekey, or more than [`PREKEYS_MAX`].
    #[error("a card has 1 to {PREKEYS_MAX} prekeys, this has {0}")]
    PrekeyCount(usize),
    /// Its policy asks for a time to live or a size that nothing has.
    #[error("the card's inbox policy can be met by no envelope")]
    Policy,
    /// A prekey has a length that its suite does not have.
    #[error(transparent)]
    Prekey(PrekeyError),
    /// The bytes have another layout.
    #[error(transparent)]
    Layout(#[from] FieldError),
}

impl Card {
    /// A card of `owner`, signed.
    ///
    /// # Errors
    /// [`CardError::PrekeyCount`], [`CardError::Policy`] or [`CardError::Lifetime`].
    pub fn sign(
        owner: &KeyPair,
        prekeys: Vec<Prekey>,
        policy: InboxPolicy,
        issued_at: Time,
        expires_at: Time,
    ) -> Result<Verified<Self>, CardError> {
        let signature = Signature::from_bytes([0; Signature::LEN]);
        let owner_key = owner.public();
        let card = Self { owner: owner_key, issued_at, expires_at, policy, prekeys, signature };
        card.check_form()?;
        let signature = owner.sign(&card.signed_bytes());
        Ok(Verified::new(Self { signature, ..card }))
    }

    /// Checks numbers, dates and signature, cheapest first.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(self, now: Time) -> Result<Verified<Self>, CardError> {
        self.check_form()?;
        if self.issued_at > now + CLOCK_TOLERANCE {
            return Err(CardError::IssuedInFuture);
        }
        if self.expires_at <= now {
            return Err(CardError::Expired);
        }
        if self.owner.verify(&self.signed_bytes(), &self.signature) {
            Ok(Verified::new(self))
        } else {
            Err(CardError::Signature)
        }
    }

    /// The layout in which cards are stored and sent: the signed bytes, then the signature.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.signed_bytes();
        bytes.extend_from_slice(self.signature.as_bytes());
        bytes
    }

    /// Reads [`Self::to_bytes`] back from a store that holds only verified cards.
    pub(crate) fn from_stored(bytes: &[u8]) -> Option<Verified<Self>> {
        Self::from_bytes(bytes).ok().map(Verified::new)
    }

    /// Reads [`Self::to_bytes`] back, unverified. Takes at most [`CARD_LEN_MAX`] bytes.
    ///
    /// # Errors
    /// When the bytes have another layout; each card has exactly one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CardError> {
        let mut fields = FieldReader::new(bytes);
        fields.context(CONTEXT)?;
        let owner = PublicKey::from_bytes(fields.array()?);
        let issued_at = Time::from_millis(fields.u64()?);
        let expires_at = Time::from_millis(fields.u64()?);
        let policy = InboxPolicy::read_from(&mut fields)?;
        let prekeys = read_prekeys(&mut fields)?;
        let signature = Signature::from_bytes(fields.array()?);
        fields.finish()?;
        Ok(Self { owner, issued_at, expires_at, policy, prekeys, signature })
    }

    /// Whose card it is.
    pub fn owner(&self) -> &PublicKey {
        &self.owner
    }

    /// Where it is found: the address of its owner.
    pub fn address(&self) -> Address {
        self.owner.address()
    }

    /// When it was issued.
    pub fn issued_at(&self) -> Time {
        self.issued_at
    }

    /// When it ends.
    pub fn expires_at(&self) -> Time {
        self.expires_at
    }

    /// What the owner is willing to receive.
    pub fn policy(&self) -> &InboxPolicy {
        &self.policy
    }

    /// All prekeys, of known and unknown suites.
    pub fn prekeys(&self) -> &[Prekey] {
        &self.prekeys
    }

    /// The prekey to seal to at `now`: of a suite that this program knows, the one that lasts
    /// longest. None when the owner has been away for too long to show a fresh one.
    pub fn prekey_at(&self, now: Time) -> Option<&Prekey> {
        let usable = self.prekeys.iter().filter(|key| key.suite() == Suite::ONE);
        usable.filter(|key| now < key.not_after()).max_by_key(|key| key.not_after())
    }

    /// Whether this card takes the place of `other`: of the same owner and issued later. Two cards
    /// of one instant are ordered by their bytes, so that all nodes keep the same one.
    pub fn supersedes(&self, other: &Self) -> bool {
        let later = self.issued_at.cmp(&other.issued_at);
        let later = later.then_with(|| self.to_bytes().cmp(&other.to_bytes()));
        self.owner == other.owner && later == Ordering::Greater
    }

    /// What every card must be, whenever it is read.
    fn check_form(&self) -> Result<(), CardError> {
        if !(1..=PREKEYS_MAX).contains(&self.prekeys.len()) {
            return Err(CardError::PrekeyCount(self.prekeys.len()));
        }
        if !(TTL_MIN..=TTL_MAX).contains(&self.policy.ttl_max) {
            return Err(CardError::Policy);
        }
        if self.expires_at <= self.issued_at || self.expires_at > self.issued_at + LIFETIME_MAX {
            return Err(CardError::Lifetime);
        }
        Ok(())
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let count = u8::try_from(self.prekeys.len()).expect("the form of the card was checked");
        let fields = SignedBytes::new(CONTEXT)
            .array(self.owner.as_bytes())
            .u64(self.issued_at.as_millis())
            .u64(self.expires_at.as_millis());
        let fields = self.policy.append_to(fields).u8(count);
        self.prekeys.iter().fold(fields, |fields, prekey| prekey.append_to(fields)).finish()
    }
}

impl InboxPolicy {
    fn append_to(self, fields: SignedBytes) -> SignedBytes {
        let size_max = u32::try_from(self.size_max.body_len()).expect("bodies are within 64 KiB");
        fields.u64(self.ttl_max.as_millis()).u32(size_max).u8(self.stamp_min)
    }

    fn read_from(fields: &mut FieldReader<'_>) -> Result<Self, CardError> {
        let ttl_max = Span::from_millis(fields.u64()?);
        let size_max = usize::try_from(fields.u32()?).map_err(|_| CardError::Policy)?;
        let size_max = SizeClass::of_body(size_max).ok_or(CardError::Policy)?;
        Ok(Self { ttl_max, size_max, stamp_min: fields.u8()? })
    }
}

impl From<PrekeyError> for CardError {
    fn from(error: PrekeyError) -> Self {
        match error {
            PrekeyError::Layout(error) => Self::Layout(error),
            error => Self::Prekey(error),
        }
    }
}

fn read_prekeys(fields: &mut FieldReader<'_>) -> Result<Vec<Prekey>, CardError> {
    let count = usize::from(fields.u8()?);
    if !(1..=PREKEYS_MAX).contains(&count) {
        return Err(CardError::PrekeyCount(count));
    }
    (0..count).map(|_| Ok(Prekey::read_from(fields)?)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Time = Time::from_millis(1_700_000_000_000);
    const POLICY: InboxPolicy =
        InboxPolicy { ttl_max: TTL_MAX, size_max: SizeClass::K16, stamp_min: 9 };

    fn owner() -> KeyPair {
        KeyPair::from_seed(&[1; 32])
    }

    fn prekey(suite: u8, days: u64) -> Prekey {
        Prekey::new(Suite(suite), &[suite; 32], NOW + Span::from_days(days)).unwrap()
    }

    fn signed(prekeys: Vec<Prekey>, issued_at: Time, lifetime: Span) -> Result<Card, CardError> {
        let card = Card::sign(&owner(), prekeys, POLICY, issued_at, issued_at + lifetime);
        card.map(Verified::into_inner)
    }

    fn card() -> Card {
        signed(vec![prekey(1, 14), prekey(9, 30)], NOW, LIFETIME_MAX).unwrap()
    }

    /// Made by this implementation; a second one has to give the same.
    #[test]
    fn the_layout_keeps_its_vector() {
        let card = signed(vec![prekey(1, 14)], NOW, LIFETIME_MAX).unwrap();
        assert_eq!(
            hex::encode(card.to_bytes()),
            "636f6d6d2f636172642f7631008a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf37488\
             01b40f6f5c0000018bcfe568000000018c6a643000000000009a7ec8000000400009010100000020\
             01010101010101010101010101010101010101010101010101010101010101010000018c17fe7000\
             0b256e297e7163b6ec80243616b86ce37ed2d3ea1ab260784db2b6223876a838c18c41193bb6372e\
             011aa673d0629fc7f476ed9ec91591d465713c4596005c00"
        );
    }

    #[test]
    fn a_card_that_was_changed_anywhere_is_not_its_owners() {
        let good = card().to_bytes();
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            assert!(Card::from_bytes(&bytes).and_then(|card| card.verify(NOW)).is_err(), "{at}");
        }
        assert!(Card::from_bytes(&good).and_then(|card| card.verify(NOW)).is_ok());
    }

    #[test]
    fn a_card_with_a_foreign_owner_is_refused() {
        let mut stolen = card();
        stolen.owner = KeyPair::from_seed(&[2; 32]).public();
        assert_eq!(stolen.verify(NOW), Err(CardError::Signature));
    }

    #[test]
    fn a_card_is_valid_from_its_issue_to_its_expiry() {
        let at = |now| card().verify(now).map(|_| ());
        let ahead = NOW - CLOCK_TOLERANCE;
        assert_eq!(at(ahead), Ok(()));
        assert_eq!(at(ahead - Span::from_millis(1)), Err(CardError::IssuedInFuture));
        assert_eq!(at(NOW + LIFETIME_MAX - Span::from_millis(1)), Ok(()));
        assert_eq!(at(NOW + LIFETIME_MAX), Err(CardError::Expired));
    }

    #[test]
    fn a_card_lives_for_more_than_nothing_and_at_most_thirty_days() {
        let lives = |span| signed(vec![prekey(1, 1)], NOW, span).map(|_| ());
        assert_eq!(lives(Span::ZERO), Err(CardError::Lifetime));
        assert_eq!(lives(Span::from_millis(1)), Ok(()));
        assert_eq!(lives(LIFETIME_MAX + Span::from_millis(1)), Err(CardError::Lifetime));
    }

    #[test]
    fn a_card_has_one_to_four_prekeys_whoever_signed_it() {
        let with = |count| signed(vec![prekey(1, 1); count], NOW, Span::DAY).map(|_| ());
        assert_eq!(with(0), Err(CardError::PrekeyCount(0)));
        assert_eq!(with(4), Ok(()));
        assert_eq!(with(5), Err(CardError::PrekeyCount(5)));
        for count in [0, 5, 255] {
            let mut bytes = card().to_bytes();
            bytes[FIXED_LEN - 1] = count;
            let refused = Err(CardError::PrekeyCount(count.into()));
            assert_eq!(Card::from_bytes(&bytes), refused);
        }
    }

    #[test]
    fn a_policy_that_no_envelope_meets_is_refused() {
        let with = |policy| Card::sign(&owner(), vec![prekey(1, 1)], policy, NOW, NOW + Span::DAY);
        let (short, long) = (TTL_MIN.as_millis() - 1, TTL_MAX.as_millis() + 1);
        for ttl_max in [0, short, long].map(Span::from_millis) {
            let policy = InboxPolicy { ttl_max, ..POLICY };
            assert_eq!(with(policy).map(|_| ()), Err(CardError::Policy));
        }
        let mut bytes = card().to_bytes();
        bytes[FIXED_LEN - 3] ^= 1;
        assert_eq!(Card::from_bytes(&bytes), Err(CardError::Policy));
    }

    #[test]
    fn the_prekey_that_lasts_longest_is_sealed_to_while_it_lasts() {
        let keys = vec![prekey(1, 7), prekey(1, 14), prekey(9, 30)];
        let card = signed(keys, NOW, LIFETIME_MAX).unwrap();
        let at = |days| card.prekey_at(NOW + Span::from_days(days)).map(Prekey::not_after);
        assert_eq!(at(0), Some(NOW + Span::from_days(14)));
        assert_eq!(at(14), None);
    }

    #[test]
    fn a_later_card_supersedes_and_a_tie_has_one_winner() {
        let (old, new) =
            (card(), signed(vec![prekey(1, 14)], NOW + Span::HOUR, Span::DAY).unwrap());
        assert!(new.supersedes(&old) && !old.supersedes(&new) && !old.supersedes(&old));
        let twin = signed(vec![prekey(1, 13)], NOW, LIFETIME_MAX).unwrap();
        assert_ne!(twin.supersedes(&old), old.supersedes(&twin));
        let stranger = KeyPair::from_seed(&[2; 32]);
        let later = NOW + Span::DAY;
        let keys = vec![prekey(1, 14)];
        let foreign = Card::sign(&stranger, keys, POLICY, later, later + Span::DAY).unwrap();
        assert!(!foreign.supersedes(&old));
    }

    #[test]
    fn the_longest_card_has_the_named_length() {
        let key = Prekey::new(Suite(2), &[1; PREKEY_LEN_MAX], NOW).unwrap();
        let card = signed(vec![key; PREKEYS_MAX], NOW, Span::DAY).unwrap();
        assert_eq!(card.to_bytes().len(), CARD_LEN_MAX);
    }

    proptest! {
        #[test]
        fn bytes_read_back_to_the_same_card(
            count in 1..=PREKEYS_MAX,
            suite: u8,
            lifetime in 1..=LIFETIME_MAX.as_millis(),
        ) {
            let lifetime = Span::from_millis(lifetime);
            let card = signed(vec![prekey(suite, 14); count], NOW, lifetime).unwrap();
            prop_assert_eq!(Card::from_bytes(&card.to_bytes()), Ok(card));
        }

        #[test]
        fn damaged_bytes_never_panic(
            cut in 0_usize..400,
            at in 0_usize..400,
            byte: u8,
            random in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let mut bytes = card().to_bytes();
            let length = bytes.len();
            bytes[at % length] = byte;
            bytes.truncate(cut);
            if let Ok(card) = Card::from_bytes(&bytes) {
                prop_assert_eq!(card.to_bytes(), bytes);
            }
            prop_assert!(Card::from_bytes(&random).is_err());
        }
    }
}
