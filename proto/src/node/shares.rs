//! Who has brought what lies here for others, and who gives way when the disk is full (PROTOCOL §6.1).
//!
//! Entry types are [`Group`], who is charged for an envelope, and [`Shares`], what each of them uses. In
//! memory there is one number for each group; the envelopes of a group stand in [`Family::Shares`] in the
//! order in which they are lost. How much there is to divide is `room`'s business.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};

use crate::address::Address;
use crate::envelope::EnvelopeId;
use crate::store::StoreError;

use super::io::{Event, Family};
use super::keys;
use super::records::Custody;
use super::room;
use super::{Node, Turn};

/// Where the key of the lots is kept.
pub(super) const LOTS_KEY: &[u8] = b"lots";
const LOTS_KEY_LEN: usize = 32;
/// Rows of a group read at a time.
const ROWS_AT_ONCE: usize = 16;
/// Envelopes that give way to one newcomer. It takes less than 24 times the room of the smallest; more
/// are in the way only where the disk holds more than it may, since its budget was made smaller.
const VICTIMS_MAX: usize = 64;
/// Groups of equal use whose lowest lots are compared with that of a newcomer.
const EQUALS_MAX: usize = 4;
/// Before all other groups.
const LOWEST: Group = Group::Four([0; 2]);

/// Who is charged for an envelope: an owner of addresses, as far as that can be told from outside.
/// Keys cost nothing, addresses do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    /// The first 16 bits of an IPv4 address.
    Four([u8; 2]),
    /// The first 32 bits of an IPv6 address.
    Six([u8; 4]),
    /// A node whose address no stranger on the Internet has: a loopback, private, shared or link-local one.
    Node(Address),
}

/// The place of an envelope in the order in which its group loses what it has brought: the lowest goes
/// first. Nobody else can tell it, and no two nodes give the same.
pub(super) type Lot = [u8; 16];
/// Above every lot that is ever drawn.
const HIGHEST_LOT: Lot = [0xff; 16];

/// What each group uses, in bytes as they count for the budget.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// Makes lots from ids.
    lots: [u8; LOTS_KEY_LEN],
    /// Whether the disk has it: it is written with the first envelope that is charged.
    is_written: bool,
    used: BTreeMap<Group, u64>,
    /// Of those that use the same, in an order that this node alone knows.
    by_use: BTreeSet<(u64, u64, Group)>,
    total: u64,
    /// Up to where each group's envelopes have been evicted in this step, which reads do not see yet.
    evicted: BTreeMap<Group, Lot>,
}

/// What gives way to a newcomer: of what these groups have, the lowest lot, if it is lower than this.
#[derive(Debug, PartialEq, Eq)]
struct Losers {
    groups: Vec<Group>,
    below: Lot,
}

/// An envelope that is to give way.
#[derive(Debug)]
struct Victim {
    id: EnvelopeId,
    lot: Lot,
    group: Group,
    custody: Custody,
}

/// The envelopes of one group, those first that it loses first.
#[derive(Debug)]
struct Losing {
    rows: VecDeque<(Lot, EnvelopeId)>,
    /// The key from which on there may be more.
    from: Option<Vec<u8>>,
}

impl Group {
    /// The group of a node at the other end of a link, or at an endpoint that it is dialled at.
    pub(super) fn of(ip: IpAddr, node: &Address) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, ..] = ip.octets();
                if is_local(ip) { Self::Node(*node) } else { Self::Four([a, b]) }
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.octets();
                if is_local_v6(ip) { Self::Node(*node) } else { Self::Six([a, b, c, d]) }
            }
        }
    }

    /// A byte for the kind, and what names the group; no group's bytes begin with another's.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Four(prefix) => [&[1][..], &prefix].concat(),
            Self::Six(prefix) => [&[2][..], &prefix].concat(),
            Self::Node(address) => [&[3][..], address.as_bytes()].concat(),
        }
    }

    /// Reads [`Self::to_bytes`] back; the rest is what follows.
    pub(super) fn split_from(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (kind, rest) = bytes.split_first()?;
        match kind {
            1 => rest.split_first_chunk().map(|(prefix, rest)| (Self::Four(*prefix), rest)),
            2 => rest.split_first_chunk().map(|(prefix, rest)| (Self::Six(*prefix), rest)),
            3 => rest
                .split_first_chunk()
                .map(|(address, rest)| (Self::Node(Address::from_bytes(*address)), rest)),
            _ => None,
        }
    }
}

impl Shares {
    /// Nothing charged yet, with the key of the lots that the disk has, or else one made from the node's `seed`.
    pub(super) fn with(written: Option<[u8; LOTS_KEY_LEN]>, seed: [u8; 32]) -> Self {
        let mut lots = written.unwrap_or_default();
        if written.is_none() {
            // Apart from all that the node draws else.
            let mut rng = ChaCha12Rng::from_seed(seed);
            rng.set_stream(1);
            rng.fill_bytes(&mut lots);
        }
        Self { lots, is_written: written.is_some(), ..Self::default() }
    }

    /// Bytes of all groups together.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Groups that are charged for anything.
    pub(super) fn len(&self) -> usize {
        self.used.len()
    }

    /// `group` brought so many bytes more.
    pub(super) fn add(&mut self, group: Group, bytes: u64) {
        self.set(group, self.used(&group) + bytes);
    }

    fn remove(&mut self, group: Group, bytes: u64) {
        self.set(group, self.used(&group).saturating_sub(bytes));
    }

    /// Bytes that `group` is charged for.
    pub(super) fn used(&self, group: &Group) -> u64 {
        self.used.get(group).copied().unwrap_or_default()
    }

    fn set(&mut self, group: Group, bytes: u64) {
        let before = self.used.insert(group, bytes).unwrap_or_default();
        let place = self.place(&group.to_bytes());
        self.by_use.remove(&(before, place, group));
        if bytes == 0 {
            self.used.remove(&group);
        } else {
            self.by_use.insert((bytes, place, group));
        }
        self.total = self.total - before + bytes;
    }

    /// Who gives way when `group` brings so many bytes that have drawn `lot`: whoever uses most, if that
    /// is more than `group` would use; else `group` itself and those that use as much, by lot.
    fn losers(&self, group: Group, bytes: u64, lot: Lot) -> Losers {
        let most = self.by_use.last().filter(|(.., largest)| *largest != group);
        match most.filter(|(used, ..)| *used > self.used(&group) + bytes) {
            Some((.., largest)) => Losers { groups: vec![*largest], below: HIGHEST_LOT },
            None => {
                let equals = self.equals(group, bytes).into_iter();
                Losers { groups: std::iter::once(group).chain(equals).collect(), below: lot }
            }
        }
    }

    /// Some of those that use most, if `group` would use just as much with so many bytes more: always the
    /// same, which the lot gives it.
    fn equals(&self, group: Group, bytes: u64) -> Vec<Group> {
        let most = self.used(&group) + bytes;
        if self.by_use.last().is_none_or(|(used, ..)| *used != most) {
            return Vec::new();
        }
        // From a place that is not its own on, and around: else neighbours would look at each other.
        let place = self.place(&[&b"equals"[..], &group.to_bytes()].concat());
        let (first, middle) = ((most, 0, LOWEST), (most, place, LOWEST));
        let around = self.by_use.range(middle..).chain(self.by_use.range(first..middle));
        let equals = around.map(|(.., equal)| *equal).filter(|equal| *equal != group);
        equals.take(EQUALS_MAX).collect()
    }

    fn largest(&self) -> Losers {
        let groups = self.by_use.last().map(|(.., group)| *group).into_iter().collect();
        Losers { groups, below: HIGHEST_LOT }
    }

    fn lot(&self, id: &EnvelopeId) -> Lot {
        let hash = self.hash(id.as_bytes());
        std::array::from_fn(|at| hash[at])
    }

    fn place(&self, name: &[u8]) -> u64 {
        let hash = self.hash(name);
        u64::from_be_bytes(std::array::from_fn(|at| hash[at]))
    }

    fn hash(&self, name: &[u8]) -> [u8; 32] {
        Sha256::new().chain_update(self.lots).chain_update(name).finalize().into()
    }

    /// The envelopes that `group` loses next.
    fn losing(&self, group: &Group) -> Losing {
        let from = match self.evicted.get(group) {
            Some(lot) => keys::above(&keys::share(group, lot)),
            None => keys::share(group, &Lot::default()),
        };
        Losing { rows: VecDeque::new(), from: Some(from) }
    }

    /// The step ends: from now on reads see what was evicted in it.
    pub(super) fn end_step(&mut self) {
        self.evicted.clear();
    }
}

impl Losing {
    /// The next of them, if there is any.
    fn peek(
        &mut self,
        turn: Turn<'_>,
        group: &Group,
    ) -> Result<Option<(Lot, EnvelopeId)>, StoreError> {
        if self.rows.is_empty()
            && let Some(from) = self.from.take()
        {
            let to = keys::share(group, &HIGHEST_LOT);
            let page = turn.store.scan(Family::Shares, &from, &to, ROWS_AT_ONCE)?;
            let last = page.last().filter(|_| page.len() == ROWS_AT_ONCE);
            self.from = last.map(|(key, _)| keys::above(key));
            for (key, value) in page {
                let (_, lot) = keys::parse_share(&key).ok_or(DAMAGED)?;
                let (id, _) = parse_charge(&value)?;
                self.rows.push_back((lot, id));
            }
        }
        Ok(self.rows.front().copied())
    }
}

impl Node {
    /// Charges whoever has brought an envelope that is being taken in, unless it is our own clients'.
    pub(super) fn charge(&mut self, id: &EnvelopeId, custody: &Custody) {
        let Some(group) = custody.group else { return };
        if !self.shares.is_written {
            self.desk.put(Family::Meta, LOTS_KEY.to_vec(), self.shares.lots.to_vec());
            self.shares.is_written = true;
        }
        let key = keys::share(&group, &self.shares.lot(id));
        let charge = [&id.as_bytes()[..], &custody.bytes.to_be_bytes()].concat();
        self.desk.put(Family::Shares, key, charge);
        self.shares.add(group, room::size_of(custody.bytes));
    }

    /// Nobody is charged any more for an envelope that goes, or that is our own client's now.
    pub(super) fn discharge(&mut self, id: &EnvelopeId, custody: &Custody) {
        let Some(group) = custody.group else { return };
        let key = keys::share(&group, &self.shares.lot(id));
        self.desk.delete(Family::Shares, key);
        self.shares.remove(group, room::size_of(custody.bytes));
    }

    /// Evicts what gives way to so many bytes that `group` brings, until `excess` bytes are free. False
    /// when not enough gives way: then nothing is evicted, unless far too much lies here.
    pub(super) fn give_way_to(
        &mut self,
        turn: Turn<'_>,
        (id, group, bytes): (&EnvelopeId, Group, u64),
        excess: u64,
    ) -> Result<bool, StoreError> {
        let lot = self.shares.lot(id);
        self.evict(turn, excess, |shares| shares.losers(group, bytes, lot))
    }

    /// Evicts others' mail until `excess` bytes are free for our own clients'. False when there is too
    /// little of it.
    pub(super) fn give_way_to_own(
        &mut self,
        turn: Turn<'_>,
        excess: u64,
    ) -> Result<bool, StoreError> {
        self.evict(turn, excess, Shares::largest)
    }

    /// Which of the offered envelopes could be taken in if `group` brought them and they were as small as
    /// may be: all but those that would give way at once to what is here.
    pub(super) fn worth_asking_for(
        &mut self,
        turn: Turn<'_>,
        group: Group,
        ids: &mut Vec<EnvelopeId>,
    ) -> Result<(), StoreError> {
        let bytes = room::SMALLEST;
        if ids.is_empty() {
            return Ok(());
        }
        if self.is_disk_short_for_others(bytes) {
            ids.clear();
            self.note_refusal(crate::rejection::Rejection::Busy);
            return Ok(());
        }
        if self.excess_of_others(bytes) == 0 {
            return Ok(());
        }
        let Losers { groups, below } = self.shares.losers(group, bytes, Lot::default());
        if below == HIGHEST_LOT {
            return Ok(());
        }
        let lowest = self.lowest(turn, &groups, &mut BTreeMap::new())?;
        let before = ids.len();
        ids.retain(|id| lowest.is_some_and(|(lot, ..)| self.shares.lot(id) > lot));
        if ids.len() < before {
            self.note_refusal(crate::rejection::Rejection::StoreFull);
        }
        Ok(())
    }

    fn evict(
        &mut self,
        turn: Turn<'_>,
        excess: u64,
        losers: impl Fn(&Shares) -> Losers,
    ) -> Result<bool, StoreError> {
        let victims = self.choose_victims(turn, excess, losers)?;
        let freed: u64 = victims.iter().map(Victim::bytes).sum();
        // Until it is known that this is enough, all of it is still here.
        victims.iter().for_each(|victim| self.shares.add(victim.group, victim.bytes()));
        if freed < excess && victims.len() < VICTIMS_MAX {
            return Ok(false);
        }
        for victim in victims {
            self.remove_envelope(&victim.id, &victim.custody);
            self.shares.evicted.insert(victim.group, victim.lot);
            self.stats.evicted += 1;
            self.event(Event::Evicted { id: victim.id });
        }
        Ok(freed >= excess)
    }

    /// One victim after the other, each as if those before it were gone.
    fn choose_victims(
        &mut self,
        turn: Turn<'_>,
        excess: u64,
        losers: impl Fn(&Shares) -> Losers,
    ) -> Result<Vec<Victim>, StoreError> {
        let (mut victims, mut freed, mut losing) = (Vec::new(), 0, BTreeMap::new());
        while freed < excess && victims.len() < VICTIMS_MAX {
            let Losers { groups, below } = losers(&self.shares);
            let lowest = self.lowest(turn, &groups, &mut losing)?;
            let Some((lot, group, id)) = lowest.filter(|(lot, ..)| *lot < below) else { break };
            if let Some(losing) = losing.get_mut(&group) {
                losing.rows.pop_front();
            }
            // What ended in this very step, or became our client's own, stands there yet.
            let charged = self.custody(turn, &id)?.filter(|custody| custody.group == Some(group));
            let Some(custody) = charged else { continue };
            let victim = Victim { id, lot, group, custody };
            self.shares.remove(group, victim.bytes());
            freed += victim.bytes();
            victims.push(victim);
        }
        Ok(victims)
    }

    /// The lowest lot of all that these groups have.
    fn lowest(
        &self,
        turn: Turn<'_>,
        groups: &[Group],
        losing: &mut BTreeMap<Group, Losing>,
    ) -> Result<Option<(Lot, Group, EnvelopeId)>, StoreError> {
        let mut lowest = None;
        for group in groups {
            let rows = losing.entry(*group).or_insert_with(|| self.shares.losing(group));
            let next = rows.peek(turn, group)?.map(|(lot, id)| (lot, *group, id));
            lowest = lowest.into_iter().chain(next).min();
        }
        Ok(lowest)
    }
}

impl Victim {
    fn bytes(&self) -> u64 {
        room::size_of(self.custody.bytes)
    }
}

/// Loopback, private (RFC 1918), shared (RFC 6598) and link-local addresses.
fn is_local(ip: Ipv4Addr) -> bool {
    let is_shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
    ip.is_unspecified() || ip.is_loopback() || ip.is_private() || ip.is_link_local() || is_shared
}

/// Loopback, unique local (RFC 4193) and link-local addresses.
fn is_local_v6(ip: Ipv6Addr) -> bool {
    ip.is_unspecified() || ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
}

const DAMAGED: StoreError = StoreError::Damaged("shares");

/// The envelope that a group is charged for, and the bytes of its body.
pub(super) fn parse_charge(value: &[u8]) -> Result<(EnvelopeId, u32), StoreError> {
    let (id, bytes) = value.split_first_chunk::<32>().ok_or(DAMAGED)?;
    let bytes = bytes.try_into().map_err(|_| DAMAGED)?;
    Ok((EnvelopeId::from_bytes(*id), u32::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NODE: Address = Address::from_bytes([7; 20]);

    fn group_of(ip: &str) -> Group {
        Group::of(ip.parse().unwrap(), &NODE)
    }

    #[test]
    fn addresses_of_one_network_are_one_group_and_private_ones_are_each_nodes_own() {
        assert_eq!(group_of("9.8.7.6"), Group::Four([9, 8]));
        assert_eq!(group_of("::ffff:9.8.1.1"), Group::Four([9, 8]));
        assert_eq!(group_of("2001:db8:1::1"), Group::Six([0x20, 1, 0xd, 0xb8]));
        let private =
            ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.1.1", "100.64.1.1"];
        for ip in private.into_iter().chain(["::1", "fd00::1", "fe80::1", "::ffff:127.0.0.1"]) {
            assert_eq!(group_of(ip), Group::Node(NODE), "{ip}");
        }
    }

    #[test]
    fn groups_read_back_and_leave_what_follows() {
        for group in [Group::Four([1, 2]), Group::Six([1, 2, 3, 4]), Group::Node(NODE)] {
            let bytes = [&group.to_bytes()[..], &[9, 9]].concat();
            assert_eq!(Group::split_from(&bytes), Some((group, &[9, 9][..])));
            let bytes = group.to_bytes();
            assert_eq!(Group::split_from(&bytes[..bytes.len() - 1]), None);
        }
        assert_eq!((Group::split_from(&[]), Group::split_from(&[4; 30])), (None, None));
    }

    #[test]
    fn whoever_uses_most_gives_way_if_that_is_more_than_the_newcomer_would_use() {
        let [small, large, new] = [1, 2, 3].map(|n| Group::Four([n, 0]));
        let mut shares = Shares::default();
        let lot = [5; 16];
        let whole = |group| Losers { groups: vec![group], below: HIGHEST_LOT };
        let by_lot = |groups: &[Group]| Losers { groups: groups.to_vec(), below: lot };
        assert_eq!(shares.losers(new, 10, lot), by_lot(&[new]));
        shares.add(small, 10);
        shares.add(large, 30);
        assert_eq!(shares.losers(new, 29, lot), whole(large));
        assert_eq!(shares.losers(small, 19, lot), whole(large));
        // As much as the largest has: the lot decides between the two.
        assert_eq!(shares.losers(new, 30, lot), by_lot(&[new, large]));
        assert_eq!(shares.losers(small, 20, lot), by_lot(&[small, large]));
        assert_eq!(shares.losers(new, 31, lot), by_lot(&[new]));
        assert_eq!(shares.losers(large, 1, lot), by_lot(&[large]));
    }

    #[test]
    fn of_many_that_use_the_same_a_few_are_looked_at_and_for_others_others() {
        let mut shares = Shares::with(None, [3; 32]);
        // Neighbours, whose addresses begin with the same.
        let all = (0..200).map(|n| Group::Four([30, n]));
        all.for_each(|group| shares.add(group, 10));
        let of = |n| shares.equals(Group::Four([31, n]), 10);
        assert!((0..200).all(|n| of(n).len() == EQUALS_MAX));
        let seen: BTreeSet<_> = (0..200).flat_map(of).collect();
        assert!(seen.len() > 150, "{}", seen.len());
        assert_eq!(shares.equals(Group::Four([31, 1]), 9), []);
    }

    #[test]
    fn two_nodes_give_an_envelope_different_lots() {
        let id = EnvelopeId::from_bytes([1; 32]);
        let of = |key| Shares::with(None, key).lot(&id);
        assert_ne!(of([1; 32]), of([2; 32]));
        // And the same as before a restart, with another seed.
        let before = Shares::with(None, [1; 32]);
        assert_eq!(Shares::with(Some(before.lots), [9; 32]).lot(&id), before.lot(&id));
    }

    proptest! {
        #[test]
        fn the_order_by_use_is_that_of_what_each_group_uses(
            steps in proptest::collection::vec((0_u8..4, 0_u64..5, any::<bool>()), 0..200)
        ) {
            let (mut shares, mut used) = (Shares::default(), BTreeMap::new());
            for (group, bytes, adds) in steps {
                let before: u64 = used.get(&group).copied().unwrap_or_default();
                let group_of = Group::Four([group, 0]);
                if adds {
                    shares.add(group_of, bytes);
                } else {
                    shares.remove(group_of, bytes);
                }
                used.insert(group, if adds { before + bytes } else { before.saturating_sub(bytes) });
                prop_assert_eq!(shares.total(), used.values().sum::<u64>());
                prop_assert_eq!(shares.len(), used.values().filter(|bytes| **bytes > 0).count());
                prop_assert_eq!(shares.by_use.len(), shares.len());
                let most = shares.by_use.last().map(|(most, ..)| *most);
                prop_assert_eq!(most, used.values().copied().max().filter(|most| *most > 0));
            }
        }
    }
}
