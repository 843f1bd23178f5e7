//! What a node remembers of an envelope while it lives and after it ended.
//!
//! Entry types are [`Custody`], [`Tombstone`] and [`Ending`], with the layout in which the store keeps
//! them. The envelope's bytes are kept apart, so that a relay round never reads a body it does not
//! send. What is kept longest is shortest: of an ended envelope half its id, and one ending for all
//! that one acknowledgement ended.

use crate::acknowledgement::Acknowledgement;
use crate::address::Address;
use crate::envelope::EnvelopeId;
use crate::store::StoreError;
use crate::time::Time;
use crate::verified::Verified;

use super::shares::Group;

/// The most holders remembered of one envelope.
pub(super) const HOLDERS_MAX: usize = 64;

/// Of these, the most that are known by somebody's word only.
pub(super) const CLAIMS_MAX: usize = 32;

/// Bits of a custody record's first byte: the role in the lower two, then whether another node
/// brought it, whether one was heard repeating it, and whether a source group is charged for it.
const ROLE: u8 = 0b0011;
const HAS_SOURCE: u8 = 0b0100;
const HEARD: u8 = 0b1000;
const IS_CHARGED: u8 = 0b1_0000;

/// How a node came to an envelope, which decides what it does with it (PROTOCOL §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Submitted by a client of this node: cast at once, watched, reported.
    Own,
    /// Handed over by another node: repeated until it ends.
    Relayed,
    /// Fetched for a subscriber: kept for them. It is not repeated; where that is another node, others are asked
    /// seldom whether it has ended.
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
    /// Who is charged for it; nobody for what belongs to this node's own clients, which is never evicted.
    pub(super) group: Option<Group>,
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
    /// Which of the holders gave their receipt when this node offered it to them, likewise.
    pub(super) asked: u64,
    /// Nodes known to have it: its source, those whose receipts this node has checked, and, unless
    /// the role is [`Role::Own`], those that offered it.
    pub(super) holders: Vec<Address>,
}

/// What is left of an envelope that ended: where to read how. It lies under half of the envelope's
/// id; nobody finds a second envelope for half an id that is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tombstone {
    /// The number of its ending; this node alone knows it.
    pub(super) ending: u64,
}

/// How envelopes ended together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    /// When they ended here.
    pub(super) at: Time,
    pub(super) cause: Cause,
}

/// Why envelopes ended before their time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Their recipient has read them.
    Read {
        acknowledgement: Verified<Acknowledgement>,
        /// Which of the envelopes that it names it ended here: one bit each, in their order.
        ended: u64,
    },
    /// Its sender took it back.
    Cancelled(EnvelopeId),
}

impl Role {
    const fn from_flags(flags: u8) -> Option<Self> {
        match flags & ROLE {
            1 => Some(Self::Own),
            2 => Some(Self::Relayed),
            3 => Some(Self::Collected),
            _ => None,
        }
    }
}

impl Custody {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64 + self.holders.len() * Address::LEN);
        let role = match self.role {
            Role::Own => 1,
            Role::Relayed => 2,
            Role::Collected => 3,
        };
        let source = if self.source.is_some() { HAS_SOURCE } else { 0 };
        let charged = if self.group.is_some() { IS_CHARGED } else { 0 };
        bytes.push(role | source | charged | if self.heard { HEARD } else { 0 });
        bytes.extend(self.mailbox.as_bytes());
        for number in [
            self.expires_at.as_millis(),
            self.arrival,
            u64::from(self.rounds),
            self.due.as_millis(),
            u64::from(self.bytes),
            u64::from(self.reported),
            self.given,
            self.asked,
        ] {
            push_number(&mut bytes, number);
        }
        bytes.extend(self.group.into_iter().flat_map(Group::to_bytes));
        let others = self.source.iter().chain(&self.holders);
        bytes.extend(others.flat_map(|other| *other.as_bytes()));
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::read(bytes).ok_or(StoreError::Damaged("custody"))
    }

    /// The role alone, of a record that is not read any further.
    pub(super) fn role_in(bytes: &[u8]) -> Result<Role, StoreError> {
        let role = bytes.first().and_then(|flags| Role::from_flags(*flags));
        role.ok_or(StoreError::Damaged("custody"))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (flags, rest) = bytes.split_first()?;
        let (mailbox, mut rest) = rest.split_first_chunk::<{ Address::LEN }>()?;
        let mut numbers = [0; 8];
        for number in &mut numbers {
            (*number, rest) = split_number(rest)?;
        }
        let [expires_at, arrival, rounds, due, body, reported, given, asked] = numbers;
        let (group, rest) = if flags & IS_CHARGED == 0 {
            (None, rest)
        } else {
            Group::split_from(rest).map(|(group, rest)| (Some(group), rest))?
        };
        let (others, []) = rest.as_chunks::<{ Address::LEN }>() else { return None };
        let mut others = others.iter().copied().map(Address::from_bytes);
        let source = if flags & HAS_SOURCE == 0 { None } else { Some(others.next()?) };
        Some(Self {
            mailbox: Address::from_bytes(*mailbox),
            expires_at: Time::from_millis(expires_at),
            arrival,
            role: Role::from_flags(*flags)?,
            source,
            group,
            rounds: rounds.try_into().ok()?,
            due: Time::from_millis(due),
            heard: flags & HEARD != 0,
            bytes: body.try_into().ok()?,
            reported: reported.try_into().ok()?,
            given,
            asked,
            holders: others.collect(),
        })
    }

    /// Whether it has a place in the schedule: all but what this node's own clients read here. What is collected
    /// for others is charged to somebody.
    pub(super) fn is_scheduled(&self) -> bool {
        self.role != Role::Collected || self.group.is_some()
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

    /// The holders that gave their receipt when this node offered it to them.
    pub(super) fn asked(&self) -> impl Iterator<Item = &Address> {
        let numbered = self.holders.iter().enumerate();
        numbered.filter(|(at, _)| self.asked >> at & 1 == 1).map(|(_, holder)| holder)
    }

    /// Notes a holder of whom this node knows by somebody's word only; false when it was known or
    /// there are too many of them.
    pub(super) fn add_claim(&mut self, holder: Address) -> bool {
        let claims = (0..self.holders.len()).filter(|at| self.is_claim(*at)).count();
        let room = claims < CLAIMS_MAX && self.holders.len() < HOLDERS_MAX;
        let new = room && !self.holders.contains(&holder);
        if new {
            self.holders.push(holder);
        }
        new
    }

    /// Notes a holder that gave its receipt when this node offered or handed it the envelope. It takes
    /// the place of a claim if there is no other; false when it was known or there is no room.
    pub(super) fn add_asked(&mut self, holder: Address) -> bool {
        let known = self.holders.iter().position(|known| *known == holder);
        let claim = || (0..self.holders.len()).rev().find(|at| self.is_claim(*at));
        let free = (self.holders.len() < HOLDERS_MAX).then_some(self.holders.len());
        let Some(at) = known.or(free).or_else(claim) else { return false };
        match self.holders.get_mut(at) {
            Some(place) => *place = holder,
            None => self.holders.push(holder),
        }
        self.asked |= 1 << at;
        known.is_none()
    }

    fn is_claim(&self, at: usize) -> bool {
        (self.given | self.asked) >> at & 1 == 0 && Some(self.holders[at]) != self.source
    }
}

impl Tombstone {
    /// The number without the zeros that it begins with.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let zeros = self.ending.leading_zeros() as usize / 8;
        self.ending.to_be_bytes()[zeros..].to_vec()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut number = [0; 8];
        let zeros =
            number.len().checked_sub(bytes.len()).ok_or(StoreError::Damaged("tombstones"))?;
        number[zeros..].copy_from_slice(bytes);
        Ok(Self { ending: u64::from_be_bytes(number) })
    }
}

impl Ending {
    /// When, which of the acknowledgement's envelopes, and the acknowledgement; none of them stands
    /// for a cancellation, whose envelope follows.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let (ended, rest) = match &self.cause {
            Cause::Read { acknowledgement, ended } => (*ended, acknowledgement.to_stored()),
            Cause::Cancelled(id) => (0, id.as_bytes().to_vec()),
        };
        [&self.at.as_millis().to_be_bytes()[..], &ended.to_be_bytes(), &rest].concat()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::read(bytes).ok_or(StoreError::Damaged("acknowledgements"))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (at, rest) = bytes.split_first_chunk::<8>()?;
        let (ended, rest) = rest.split_first_chunk::<8>()?;
        let cause = match u64::from_be_bytes(*ended) {
            0 => Cause::Cancelled(EnvelopeId::from_bytes(rest.try_into().ok()?)),
            ended => Cause::Read { acknowledgement: Acknowledgement::from_stored(rest)?, ended },
        };
        Some(Self { at: Time::from_millis(u64::from_be_bytes(*at)), cause })
    }

    /// The envelopes that ended by it here.
    pub(super) fn ids(&self) -> Vec<EnvelopeId> {
        match &self.cause {
            Cause::Read { acknowledgement, ended } => {
                let numbered = acknowledgement.ids().iter().enumerate();
                numbered.filter(|(at, _)| ended >> at & 1 == 1).map(|(_, id)| *id).collect()
            }
            Cause::Cancelled(id) => vec![*id],
        }
    }
}

/// Seven bits a byte, the lowest first; all but the last have the eighth set.
fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Reads [`push_number`] back; the rest is what follows.
fn split_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let len = 1 + bytes.iter().take(10).position(|byte| *byte < 0x80)?;
    let (number, rest) = bytes.split_at(len);
    let joined = number
        .iter()
        .rev()
        .try_fold(0_u64, |joined, byte| Some(joined.checked_mul(0x80)? | u64::from(byte & 0x7f)))?;
    Some((joined, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyPair;

    fn id(fill: u8) -> EnvelopeId {
        EnvelopeId::from_bytes([fill; 32])
    }

    #[test]
    fn records_read_back_as_they_were_written() {
        let mut custody = Custody {
            mailbox: Address::from_bytes([1; 20]),
            expires_at: Time::from_millis(2),
            arrival: 3,
            role: Role::Relayed,
            source: Some(Address::from_bytes([4; 20])),
            group: Some(Group::Node(Address::from_bytes([5; 20]))),
            rounds: 5,
            due: Time::from_millis(6),
            heard: true,
            bytes: 1_024,
            reported: 3,
            given: 2,
            asked: 1,
            holders: vec![Address::from_bytes([7; 20]), Address::from_bytes([8; 20])],
        };
        assert_eq!(Custody::from_bytes(&custody.to_bytes()), Ok(custody.clone()));
        custody.source = None;
        custody.group = Some(Group::Four([6, 7]));
        assert_eq!(Custody::from_bytes(&custody.to_bytes()), Ok(custody.clone()));
        assert_eq!(custody.given_to().collect::<Vec<_>>(), [&Address::from_bytes([8; 20])]);
        assert_eq!(custody.asked().collect::<Vec<_>>(), [&Address::from_bytes([7; 20])]);
        custody.heard = false;
        custody.role = Role::Own;
        custody.group = None;
        assert_eq!(Custody::from_bytes(&custody.to_bytes()), Ok(custody));
        for ending in [0, 1, 255, 256, u64::MAX] {
            let tombstone = Tombstone { ending };
            assert_eq!(Tombstone::from_bytes(&tombstone.to_bytes()), Ok(tombstone));
        }
        let (mailbox, ids) = (KeyPair::from_seed(&[1; 32]), [1, 2, 3].map(id));
        let acknowledgement = Acknowledgement::sign(&mailbox, ids.to_vec(), Time::MAX).unwrap();
        let read = Cause::Read { acknowledgement, ended: 0b101 };
        for (cause, ended) in [(read, vec![id(1), id(3)]), (Cause::Cancelled(id(4)), vec![id(4)])] {
            let ending = Ending { at: Time::from_millis(1), cause };
            assert_eq!(ending.ids(), ended);
            assert_eq!(Ending::from_bytes(&ending.to_bytes()), Ok(ending));
        }
    }

    #[test]
    fn numbers_of_every_length_read_back() {
        for number in (0..64).map(|bits| 1 << bits).chain([0, 0x7f, 0x80, u64::MAX]) {
            let mut bytes = Vec::new();
            push_number(&mut bytes, number);
            bytes.push(9);
            assert_eq!(split_number(&bytes), Some((number, &[9][..])));
        }
        assert_eq!(split_number(&[0x80]), None);
        assert_eq!(split_number(&[0xff; 10]), None);
        // One bit more than a number has.
        assert_eq!(split_number(&[&[0xff; 9][..], &[2]].concat()), None);
    }

    #[test]
    fn damaged_records_are_named() {
        let custody = Err(StoreError::Damaged("custody"));
        assert_eq!(Custody::from_bytes(&[]), custody);
        assert_eq!(Custody::from_bytes(&[0; 29]), custody);
        assert_eq!(Custody::from_bytes(&[1; 30]), custody);
        assert_eq!(Tombstone::from_bytes(&[0; 9]), Err(StoreError::Damaged("tombstones")));
        assert_eq!(Ending::from_bytes(&[0; 47]), Err(StoreError::Damaged("acknowledgements")));
        assert_eq!(Ending::from_bytes(&[1; 48]), Err(StoreError::Damaged("acknowledgements")));
    }

    fn without_holders() -> Custody {
        Custody::from_bytes(&[&[1][..], &[0; 28]].concat()).unwrap()
    }

    #[test]
    fn holders_are_bounded_and_counted_once() {
        let mut custody = without_holders();
        assert!(custody.add_asked(Address::from_bytes([0; 20])));
        assert!(!custody.add_asked(Address::from_bytes([0; 20])));
        for n in 1..=255 {
            custody.add_asked(Address::from_bytes([n; 20]));
        }
        assert_eq!(custody.holders.len(), HOLDERS_MAX);
    }

    #[test]
    fn claims_leave_room_for_those_who_were_asked_and_give_way_to_them() {
        let address = |n: usize| Address::from_bytes([n as u8; 20]);
        let mut custody = without_holders();
        custody.source = Some(address(0));
        custody.holders.push(address(0));
        let added = (1..=100).filter(|n| custody.add_claim(address(*n))).count();
        assert_eq!(added, CLAIMS_MAX);
        assert_eq!(custody.holders.len(), 1 + CLAIMS_MAX);
        // One of those who claimed it is found to have it.
        assert!(!custody.add_asked(address(1)));
        (101..101 + HOLDERS_MAX - 2).for_each(|n| assert!(custody.add_asked(address(n)), "{n}"));
        assert_eq!(custody.asked().count(), HOLDERS_MAX - 1);
        assert!(custody.holders.starts_with(&[address(0), address(1)]));
        assert!(!custody.add_claim(address(2)) && !custody.add_asked(address(200)));
    }
}
