//! What a node remembers of an envelope while it lives and after it was read.
//!
//! Entry types are [`Custody`] and [`Tombstone`], with the layout in which the store keeps them.
//! The envelope's bytes are kept apart, so that a relay round never reads a body it does not send.

use crate::address::Address;
use crate::store::StoreError;
use crate::time::Time;

/// The most holders remembered of one envelope.
pub(super) const HOLDERS_MAX: usize = 64;

/// Length of a custody record without its holders.
const CUSTODY_LEN: usize = Address::LEN + 8 + 8 + 1 + 1 + Address::LEN + 4 + 8 + 1 + 4 + 1 + 8;
/// Length of a tombstone.
const TOMBSTONE_LEN: usize = 32 + 8 + 8 + 1;

/// How a node came to an envelope, which decides what it does with it (PROTOCOL §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Submitted by a client of this node: cast at once, watched, reported.
    Own,
    /// Handed over by another node: repeated until it ends.
    Relayed,
    /// Fetched for a subscriber: kept for them, not repeated.
    Collected,
}

/// A living envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Custody {
    pub(super) mailbox: Address,
    pub(super) expires_at: Time,
    /// Place in the order of arrival at this node.
    pub(super) arrival: u64,
    pub(super) role: Role,
    /// The node that handed it over.
    pub(super) source: Option<Address>,
    /// Relay rounds made.
    pub(super) rounds: u32,
    /// When the next one is due.
    pub(super) due: Time,
    /// Whether another node offered it since the last round: then this round is left out, since
    /// somebody else is repeating it (RFC 6206's idea; PROTOCOL §6.3).
    pub(super) heard: bool,
    /// Bytes of its body.
    pub(super) bytes: u32,
    /// Receipts of other nodes that its source was told of.
    pub(super) reported: u8,
    /// Which of the holders this node has handed it to: one bit each, in their order.
    pub(super) given: u64,
    /// Nodes known to have it: its source, those whose receipts this node has checked, and, unless
    /// the role is [`Role::Own`], those that offered it.
    pub(super) holders: Vec<Address>,
}

/// An envelope that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tombstone {
    /// Hash of the acknowledgement that ended it, under which that one is kept; none when its
    /// sender took the envelope back before it left.
    pub(super) acknowledgement: Option<[u8; 32]>,
    /// When the envelope would have expired.
    pub(super) expires_at: Time,
    /// When it ended here.
    pub(super) ended_at: Time,
}

impl Custody {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(CUSTODY_LEN + self.holders.len() * Address::LEN);
        bytes.extend(self.mailbox.as_bytes());
        bytes.extend(self.expires_at.as_millis().to_be_bytes());
        bytes.extend(self.arrival.to_be_bytes());
        bytes.push(match self.role {
            Role::Own => 1,
            Role::Relayed => 2,
            Role::Collected => 3,
        });
        bytes.push(u8::from(self.source.is_some()));
        bytes.extend(self.source.map_or([0; Address::LEN], |source| *source.as_bytes()));
        bytes.extend(self.rounds.to_be_bytes());
        bytes.extend(self.due.as_millis().to_be_bytes());
        bytes.push(u8::from(self.heard));
        bytes.extend(self.bytes.to_be_bytes());
        bytes.push(self.reported);
        bytes.extend(self.given.to_be_bytes());
        bytes.extend(self.holders.iter().flat_map(|holder| *holder.as_bytes()));
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        const DAMAGED: StoreError = StoreError::Damaged("custody");
        let (fields, holders) = bytes.split_at_checked(CUSTODY_LEN).ok_or(DAMAGED)?;
        let address = |at: usize| Address::from_bytes(std::array::from_fn(|i| fields[at + i]));
        let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| fields[at + i]));
        let short = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| fields[at + i]));
        Ok(Self {
            mailbox: address(0),
            expires_at: Time::from_millis(number(20)),
            arrival: number(28),
            role: match fields[36] {
                1 => Role::Own,
                2 => Role::Relayed,
                3 => Role::Collected,
                _ => return Err(DAMAGED),
            },
            source: (fields[37] == 1).then(|| address(38)),
            rounds: short(58),
            due: Time::from_millis(number(62)),
            heard: fields[70] == 1,
            bytes: short(71),
            reported: fields[75],
            given: number(76),
            holders: holders
                .chunks_exact(Address::LEN)
                .map(|chunk| Address::from_bytes(std::array::from_fn(|i| chunk[i])))
                .collect(),
        })
    }

    /// Notes that this node has handed it to `holder`, if there was room to note the holder.
    pub(super) fn note_given(&mut self, holder: &Address) {
        if let Some(at) = self.holders.iter().position(|known| known == holder) {
            self.given |= 1 << at;
        }
    }

    /// The holders to whom this node has handed it.
    pub(super) fn given_to(&self) -> impl Iterator<Item = &Address> {
        let numbered = self.holders.iter().enumerate();
        numbered.filter(|(at, _)| self.given >> at & 1 == 1).map(|(_, holder)| holder)
    }

    /// Whether this node has handed it to `holder`.
    pub(super) fn is_given_to(&self, holder: &Address) -> bool {
        self.given_to().any(|given| given == holder)
    }

    /// Notes a holder; false when it was known or there is no room.
    pub(super) fn add_holder(&mut self, holder: Address) -> bool {
        let new = self.holders.len() < HOLDERS_MAX && !self.holders.contains(&holder);
        if new {
            self.holders.push(holder);
        }
        new
    }
}

impl Tombstone {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(TOMBSTONE_LEN);
        bytes.extend(self.acknowledgement.unwrap_or_default());
        bytes.extend(self.expires_at.as_millis().to_be_bytes());
        bytes.extend(self.ended_at.as_millis().to_be_bytes());
        bytes.push(u8::from(self.acknowledgement.is_some()));
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        if bytes.len() != TOMBSTONE_LEN {
            return Err(StoreError::Damaged("tombstones"));
        }
        let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
        Ok(Self {
            acknowledgement: (bytes[48] == 1).then(|| std::array::from_fn(|i| bytes[i])),
            expires_at: Time::from_millis(number(32)),
            ended_at: Time::from_millis(number(40)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_as_they_were_written() {
        let mut custody = Custody {
            mailbox: Address::from_bytes([1; 20]),
            expires_at: Time::from_millis(2),
            arrival: 3,
            role: Role::Relayed,
            source: Some(Address::from_bytes([4; 20])),
            rounds: 5,
            due: Time::from_millis(6),
            heard: true,
            bytes: 1_024,
            reported: 3,
            given: 2,
            holders: vec![Address::from_bytes([7; 20]), Address::from_bytes([8; 20])],
        };
        assert_eq!(Custody::from_bytes(&custody.to_bytes()), Ok(custody.clone()));
        custody.source = None;
        assert_eq!(Custody::from_bytes(&custody.to_bytes()), Ok(custody.clone()));
        assert_eq!(custody.given_to().collect::<Vec<_>>(), [&Address::from_bytes([8; 20])]);
        for acknowledgement in [None, Some([9; 32])] {
            let tombstone = Tombstone {
                acknowledgement,
                expires_at: Time::from_millis(2),
                ended_at: Time::from_millis(1),
            };
            assert_eq!(Tombstone::from_bytes(&tombstone.to_bytes()), Ok(tombstone));
        }
    }

    #[test]
    fn damaged_records_are_named() {
        assert_eq!(Custody::from_bytes(&[0; 9]), Err(StoreError::Damaged("custody")));
        assert_eq!(Custody::from_bytes(&[0; CUSTODY_LEN]), Err(StoreError::Damaged("custody")));
        assert_eq!(Tombstone::from_bytes(&[0; 9]), Err(StoreError::Damaged("tombstones")));
    }

    #[test]
    fn holders_are_bounded_and_counted_once() {
        let mut custody = Custody::from_bytes(&{
            let mut bytes = vec![0; CUSTODY_LEN];
            bytes[36] = 1;
            bytes
        })
        .unwrap();
        assert!(custody.add_holder(Address::from_bytes([0; 20])));
        assert!(!custody.add_holder(Address::from_bytes([0; 20])));
        for n in 1..=255 {
            custody.add_holder(Address::from_bytes([n; 20]));
        }
        assert_eq!(custody.holders.len(), HOLDERS_MAX);
    }
}
