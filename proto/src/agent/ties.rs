//! What ties somebody whom we know to their keys: those that they had, and what is in doubt (PROTOCOL §4.21).
//!
//! Entry type is [`Tie`], which stands in the record of a contact and has a row of its own on disk; whoever never had
//! another key has none.

use crate::address::Address;
use crate::key::PublicKey;
use crate::profile::Profile;
use crate::signed_bytes::{FieldError, FieldReader, SignedBytes};
use crate::store::StoreError;
use crate::time::Time;

/// Keys of one person that are remembered; nobody is followed to more by themselves.
pub(super) const FORMER_MAX: usize = 16;

/// No profile is longer on disk.
const PROFILE_MAX: usize = 2_048;

const TIE: &[u8] = b"comm/agent/tie/v1\0";

/// The keys of a contact beside that which counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tie {
    /// Those that they had, the oldest first.
    former: Vec<PublicKey>,
    /// Why nothing is said to them.
    pub(super) doubt: Option<Doubt>,
    /// The person has decided that the key is right: what else is claimed is not told again.
    pub(super) is_settled: bool,
    /// They are to be told that we have another key.
    pub(super) is_owed: bool,
    /// What they say of themselves.
    pub(super) profile: Option<Profile>,
    /// The date of that profile of ours which they have.
    pub(super) told_profile: Option<Time>,
}

/// Why nothing is said to a contact until the person has decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// A key that they had, or have, also says that this is theirs from now on, which cannot be followed.
    OtherSuccessor(Address),
    /// Another key was shown that has the same address.
    OtherKey,
}

impl Tie {
    pub(super) fn former(&self) -> &[PublicKey] {
        &self.former
    }

    /// They have another key than this from now on.
    pub(super) fn leave(&mut self, key: PublicKey) {
        self.former.push(key);
        let surplus = self.former.len().saturating_sub(FORMER_MAX);
        self.former.drain(..surplus);
        self.is_settled = false;
    }

    /// Which key came after `key`, if they had that; `current` is what they have.
    pub(super) fn successor(
        &self,
        key: &PublicKey,
        current: Option<PublicKey>,
    ) -> Option<PublicKey> {
        let at = self.former.iter().position(|former| former == key)?;
        self.former.get(at + 1).copied().or(current)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let start = SignedBytes::new(TIE).u8(self.former.len() as u8);
        let keys = self.former.iter().fold(start, |bytes, key| bytes.array(key.as_bytes()));
        let (kind, claimed) = match self.doubt {
            None => (0, Address::from_bytes([0; Address::LEN])),
            Some(Doubt::OtherSuccessor(address)) => (1, address),
            Some(Doubt::OtherKey) => (2, Address::from_bytes([0; Address::LEN])),
        };
        let flags = u8::from(self.is_settled) | u8::from(self.is_owed) << 1;
        let profile = self.profile.as_ref().map(Profile::to_bytes).unwrap_or_default();
        keys.u8(kind)
            .array(claimed.as_bytes())
            .u8(flags)
            .bytes(&profile)
            .u64(self.told_profile.map_or(0, Time::as_millis))
            .finish()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::read(bytes).map_err(|_| StoreError::Damaged("ties"))
    }

    fn read(bytes: &[u8]) -> Result<Self, FieldError> {
        let mut fields = FieldReader::new(bytes);
        fields.context(TIE)?;
        let mut tie = Self::default();
        for _ in 0..fields.u8()? {
            tie.former.push(PublicKey::from_bytes(fields.array()?));
        }
        let (kind, claimed) = (fields.u8()?, Address::from_bytes(fields.array()?));
        tie.doubt = match kind {
            0 => None,
            1 => Some(Doubt::OtherSuccessor(claimed)),
            _ => Some(Doubt::OtherKey),
        };
        let flags = fields.u8()?;
        (tie.is_settled, tie.is_owed) = (flags & 1 != 0, flags & 2 != 0);
        tie.profile = Profile::from_bytes(fields.bytes(PROFILE_MAX)?);
        tie.told_profile = Some(Time::from_millis(fields.u64()?)).filter(|at| *at > Time::ZERO);
        Ok(tie)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tie_is_read_back_and_knows_which_key_came_after_which() {
        let key = |fill| PublicKey::from_bytes([fill; 32]);
        let mut tie = Tie { is_owed: true, ..Tie::default() };
        (1..=20).for_each(|fill| tie.leave(key(fill)));
        assert_eq!(tie.former().len(), FORMER_MAX);
        assert_eq!(tie.successor(&key(19), Some(key(21))), Some(key(20)));
        assert_eq!(tie.successor(&key(20), Some(key(21))), Some(key(21)));
        assert_eq!(tie.successor(&key(1), Some(key(21))), None);
        for doubt in [None, Some(Doubt::OtherKey), Some(Doubt::OtherSuccessor(key(3).address()))] {
            let now = Time::from_millis(7);
            let profile = doubt.map(|_| Profile::new("ann", "away", now).unwrap());
            let told_profile = profile.as_ref().map(Profile::made_at);
            let is_settled = doubt.is_none();
            let tie = Tie { doubt, is_settled, profile, told_profile, ..tie.clone() };
            assert_eq!(Tie::from_bytes(&tie.to_bytes()), Ok(tie));
        }
        assert_eq!(Tie::from_bytes(b"comm/agent/tie/v1\0\x02"), Err(StoreError::Damaged("ties")));
    }
}
