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

/// What each group uses, in bytes as they count for the budget.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// Makes lots from ids.
    lots: [u8; LOTS_KEY_LEN],
    /// Whether the disk has it: it is written with the first envelope that is charged.
    is_written: bool,
    used: BTreeMap<Group, u64>,
    by_use: BTreeSet<(u64, Group)>,
    total: u64,
    /// Up to where each group's envelopes have been evicted in this step, which reads do not see yet.
    evicted: BTreeMap<Group, Lot>,
}

/// Who gives way to a newcomer.
#[derive(Clone, Copy, Debug)]
enum Loser {
    /// This group, whatever it has.
    Any(Group),
    /// This group, but only what has drawn a lower lot than the newcomer.
    Below(Group, Lot),
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
        self.by_use.remove(&(before, group));
        if bytes == 0 {
            self.used.remove(&group);
        } else {
            self.by_use.insert((bytes, group));
        }
        self.total = self.total - before + bytes;
    }

    /// Who gives way when `group` brings so many bytes that have drawn `lot`: whoever uses most, if that
    /// is more than `group` would use; else what `group` itself has brought, by lot.
    fn loser(&self, group: Group, bytes: u64, lot: Lot) -> Option<Loser> {
        let (most, largest) = self.by_use.last().copied()?;
        let is_fair = largest == group || most <= self.used(&group) + bytes;
        Some(if is_fair { Loser::Below(group, lot) } else { Loser::Any(largest) })
    }

    fn largest(&self) -> Option<Loser> {
        self.by_use.last().map(|(_, group)| Loser::Any(*group))
    }

    fn lot(&self, id: &EnvelopeId) -> Lot {
        let hash = Sha256::new().chain_update(self.lots).chain_update(id.as_bytes()).finalize();
        std::array::from_fn(|at| hash[at])
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
    /// The next of them, if there is any and it stands before `end`.
    fn next(
        &mut self,
        turn: Turn<'_>,
        group: &Group,
        end: &Lot,
    ) -> Result<Option<(Lot, EnvelopeId)>, StoreError> {
        if self.rows.is_empty()
            && let Some(from) = self.from.take()
        {
            let to = keys::share(group, &[0xff; 16]);
            let page = turn.store.scan(Family::Shares, &from, &to, ROWS_AT_ONCE)?;
            let last = page.last().filter(|_| page.len() == ROWS_AT_ONCE);
            self.from = last.map(|(key, _)| keys::above(key));
            for (key, value) in page {
                let (_, lot) = keys::parse_share(&key).ok_or(DAMAGED)?;
                let (id, _) = parse_charge(&value)?;
                self.rows.push_back((lot, id));
            }
        }
        let is_before = self.rows.front().is_some_and(|(lot, _)| lot < end);
        Ok(if is_before { self.rows.pop_front() } else { None })
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
        self.evict(turn, excess, |shares| shares.loser(group, bytes, lot))
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
        if ids.is_empty() || self.excess_of_others(bytes) == 0 {
            return Ok(());
        }
        let first = match self.shares.loser(group, bytes, Lot::default()) {
            Some(Loser::Any(_)) => return Ok(()),
            Some(Loser::Below(..)) => self.shares.losing(&group).next(turn, &group, &[0xff; 16])?,
            None => None,
        };
        let before = ids.len();
        ids.retain(|id| first.is_some_and(|(lot, _)| self.shares.lot(id) > lot));
        if ids.len() < before {
            self.note_refusal(crate::rejection::Rejection::StoreFull);
        }
        Ok(())
    }

    fn evict(
        &mut self,
        turn: Turn<'_>,
        excess: u64,
        loser: impl Fn(&Shares) -> Option<Loser>,
    ) -> Result<bool, StoreError> {
        let victims = self.choose_victims(turn, excess, loser)?;
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
        loser: impl Fn(&Shares) -> Option<Loser>,
    ) -> Result<Vec<Victim>, StoreError> {
        let (mut victims, mut freed, mut losing) = (Vec::new(), 0, BTreeMap::new());
        while freed < excess && victims.len() < VICTIMS_MAX {
            let (group, end) = match loser(&self.shares) {
                Some(Loser::Any(group)) => (group, [0xff; 16]),
                Some(Loser::Below(group, lot)) => (group, lot),
                None => break,
            };
            let rows = losing.entry(group).or_insert_with(|| self.shares.losing(&group));
            let Some((lot, id)) = rows.next(turn, &group, &end)? else { break };
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
        assert!(shares.loser(new, 10, lot).is_none());
        shares.add(small, 10);
        shares.add(large, 30);
        assert!(matches!(shares.loser(new, 29, lot), Some(Loser::Any(loser)) if loser == large));
        assert!(matches!(shares.loser(small, 19, lot), Some(Loser::Any(loser)) if loser == large));
        for (group, bytes) in [(new, 30), (small, 20), (large, 1)] {
            let loser = shares.loser(group, bytes, lot);
            assert!(
                matches!(loser, Some(Loser::Below(own, below)) if own == group && below == lot)
            );
        }
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
                let most = shares.by_use.last().map(|(most, _)| *most);
                prop_assert_eq!(most, used.values().copied().max().filter(|most| *most > 0));
            }
        }
    }
}
