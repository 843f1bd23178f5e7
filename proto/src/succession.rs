//! That a person has another key from now on, signed by the old one and by the new one (PROTOCOL §4.21).
//!
//! Entry type is [`Succession`]; several that follow each other are a [`Lineage`]. Both keys sign: the old one says
//! where to go, the new one that it wants to be found there, so that nobody hands their contacts over to a stranger.
//! Whether anybody follows is decided where contacts are kept.

use crate::key::{KeyPair, PublicKey, Signature};
use crate::sealing;
use crate::signed_bytes::{FieldError, FieldReader, SignedBytes};
use crate::time::Time;

/// The most successions that are told in a row; of more, the oldest are left out.
pub const LINEAGE_MAX: usize = 8;

const CONTEXT: &[u8] = b"comm/succession/v1\0";

/// One key after another. Both signatures are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Succession {
    old: PublicKey,
    new: PublicKey,
    made_at: Time,
    by_old: Signature,
    by_new: Signature,
}

/// Successions of which each begins where the one before ends, the oldest first; never none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage(Vec<Succession>);

impl Succession {
    /// Length in bytes: two keys, a time, two signatures.
    pub const LEN: usize = 2 * PublicKey::LEN + 8 + 2 * Signature::LEN;

    /// That `new` comes after `old` from `made_at` on; nothing if nobody can write to the new key, or it is the old one.
    pub fn sign(old: &KeyPair, new: &KeyPair, made_at: Time) -> Option<Self> {
        let bytes = signed(&old.public(), &new.public(), made_at);
        let succession = Self {
            old: old.public(),
            new: new.public(),
            made_at,
            by_old: old.sign(&bytes),
            by_new: new.sign(&bytes),
        };
        succession.is_sound().then_some(succession)
    }

    /// The key that is not to be used any more.
    pub const fn old(&self) -> &PublicKey {
        &self.old
    }

    /// The key that is.
    pub const fn new_key(&self) -> &PublicKey {
        &self.new
    }

    /// Since when, by its author's clock.
    pub const fn made_at(&self) -> Time {
        self.made_at
    }

    fn is_sound(&self) -> bool {
        self.old != self.new && sealing::can_be_sealed_to(&self.new)
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.old.as_bytes());
        bytes.extend_from_slice(self.new.as_bytes());
        bytes.extend_from_slice(&self.made_at.as_millis().to_be_bytes());
        bytes.extend_from_slice(self.by_old.as_bytes());
        bytes.extend_from_slice(self.by_new.as_bytes());
    }

    fn read(reader: &mut FieldReader<'_>) -> Result<Option<Self>, FieldError> {
        let succession = Self {
            old: PublicKey::from_bytes(reader.array()?),
            new: PublicKey::from_bytes(reader.array()?),
            made_at: Time::from_millis(reader.u64()?),
            by_old: Signature::from_bytes(reader.array()?),
            by_new: Signature::from_bytes(reader.array()?),
        };
        let bytes = signed(&succession.old, &succession.new, succession.made_at);
        let is_signed = succession.is_sound()
            && succession.old.verify(&bytes, &succession.by_old)
            && succession.new.verify(&bytes, &succession.by_new);
        Ok(is_signed.then_some(succession))
    }
}

impl Lineage {
    /// `known`, if it leads to the old key, and `next`.
    pub fn continued(known: Option<Self>, next: Succession) -> Self {
        let mut all = known.map(|known| known.0).unwrap_or_default();
        if all.last().is_none_or(|last| last.new != next.old) {
            all.clear();
        }
        all.push(next);
        let surplus = all.len().saturating_sub(LINEAGE_MAX);
        Self(all.split_off(surplus))
    }

    /// All of them, the oldest first.
    pub fn successions(&self) -> &[Succession] {
        &self.0
    }

    /// The key that all this leads to.
    pub fn newest(&self) -> &PublicKey {
        &self.0.last().expect("a lineage is never empty").new
    }

    /// As it is told and kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * Succession::LEN);
        self.0.iter().for_each(|succession| succession.write(&mut bytes));
        bytes
    }

    /// Reads what anybody may have made up; nothing unless every signature is good and each follows on the one before.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let count = bytes.len() / Succession::LEN;
        if !(1..=LINEAGE_MAX).contains(&count) || !bytes.len().is_multiple_of(Succession::LEN) {
            return None;
        }
        let mut reader = FieldReader::new(bytes);
        let mut all: Vec<Succession> = Vec::with_capacity(count);
        for _ in 0..count {
            let next = Succession::read(&mut reader).ok().flatten()?;
            if all.last().is_some_and(|last| last.new != next.old) {
                return None;
            }
            all.push(next);
        }
        Some(Self(all))
    }
}

fn signed(old: &PublicKey, new: &PublicKey, made_at: Time) -> Vec<u8> {
    SignedBytes::new(CONTEXT)
        .array(old.as_bytes())
        .array(new.as_bytes())
        .u64(made_at.as_millis())
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_millis(1_760_000_000_000);

    fn pair(fill: u8) -> KeyPair {
        KeyPair::from_seed(&[fill; 32])
    }

    fn succession(old: u8, new: u8) -> Succession {
        Succession::sign(&pair(old), &pair(new), NOW).unwrap()
    }

    fn lineage(keys: &[u8]) -> Lineage {
        let next =
            |known, ends: &[u8]| Some(Lineage::continued(known, succession(ends[0], ends[1])));
        keys.windows(2).fold(None, next).unwrap()
    }

    #[test]
    fn a_lineage_is_read_back_and_leads_to_the_newest_key() {
        let all = lineage(&[1, 2, 3]);
        assert_eq!(Lineage::from_bytes(&all.to_bytes()), Some(all.clone()));
        assert_eq!(*all.newest(), pair(3).public());
        let long = lineage(&(1..=12).collect::<Vec<_>>());
        assert_eq!(long.successions().len(), LINEAGE_MAX);
        assert_eq!(*long.newest(), pair(12).public());
        assert_eq!(Lineage::from_bytes(&long.to_bytes()), Some(long));
    }

    /// Also one that only the old key has signed, and one whose keys are turned round.
    #[test]
    fn a_succession_that_is_changed_anywhere_is_none() {
        let bytes = lineage(&[1, 2]).to_bytes();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(Lineage::from_bytes(&changed), None, "byte {at}");
            assert_eq!(Lineage::from_bytes(&bytes[..at]), None, "length {at}");
        }
        let signed_by = |signs_for_old: u8, signs_for_new: u8| {
            let text = signed(&pair(1).public(), &pair(2).public(), NOW);
            let succession = Succession {
                by_old: pair(signs_for_old).sign(&text),
                by_new: pair(signs_for_new).sign(&text),
                ..succession(1, 2)
            };
            Lineage::from_bytes(&Lineage(vec![succession]).to_bytes())
        };
        assert!(signed_by(1, 2).is_some());
        for (old, new) in [(1, 1), (2, 2), (2, 1), (3, 2), (1, 3)] {
            assert_eq!(signed_by(old, new), None, "{old} {new}");
        }
    }

    #[test]
    fn successions_that_do_not_follow_each_other_are_no_lineage() {
        let apart = Lineage(vec![succession(1, 2), succession(3, 4)]);
        assert_eq!(Lineage::from_bytes(&apart.to_bytes()), None);
        let known = Some(lineage(&[1, 2]));
        assert_eq!(Lineage::continued(known, succession(3, 4)).successions().len(), 1);
        assert_eq!(Lineage::from_bytes(&[]), None);
        assert!(Succession::sign(&pair(1), &pair(1), NOW).is_none());
    }
}
