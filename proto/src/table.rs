//! The routing table: which nodes we know to be alive, arranged by XOR distance from us.
//!
//! Entry type is [`Table`] (PROTOCOL §5.3). A Kademlia table whose buckets split only around our
//! own address. It sends nothing and reads no clock: it says whom to ping and what to search for,
//! and is told what came of it. Hearsay never enters: the only way in is [`Table::confirm`].

mod bucket;

use std::cmp::Ordering;

use rand_chacha::ChaCha12Rng;
use rand_core::RngCore;

use crate::address::{Address, Distance};
use crate::contact::Contact;
use crate::time::{Span, Time};

use bucket::Bucket;
pub use bucket::Entry;

/// The sizes and times of a table (PROTOCOL §5.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableConfig {
    /// The most entries in one bucket, k.
    pub bucket_size: usize,
    /// The silence that makes a node questionable.
    pub questionable_after: Span,
    /// How many unanswered calls in a row make a node bad; from 1 to 255.
    pub bad_after_failures: u32,
    /// The most replacements kept for one bucket.
    pub replacements_max: usize,
    /// How long after a search in its range a bucket is stale; doubled up to 16 times while it does
    /// not change.
    pub refresh_after: Span,
}

/// The nodes that have answered us, by distance from our own address. Never holds that address,
/// a leaf, more than [`Address::BITS`] buckets, or more than `bucket_size` entries in one.
#[derive(Clone, Debug)]
pub struct Table {
    own: Address,
    config: TableConfig,
    /// Bucket i holds the nodes that share exactly i leading bits with us; the last one holds
    /// those that share as many or more. Never empty.
    buckets: Vec<Bucket>,
    departures: u64,
    /// Departures, arrivals and moves.
    changes: u64,
    /// How many entries have a clock that agrees with ours.
    agreeing: usize,
}

/// What became of a node that answered us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// It is a new entry.
    Added,
    /// It was an entry already; its endpoints and times are up to date now.
    Refreshed,
    /// Its bucket is full of nodes that are not bad. It waits for one of them to fail.
    Cached {
        /// A questionable entry to ping now: [`Table::failed`] gives its place to the newest
        /// replacement, [`Table::confirm`] keeps it.
        probe: Option<Contact>,
    },
    /// It has no place in a table: it is a leaf, or ourselves.
    Ignored,
}

/// The health of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Seen not long ago.
    Good,
    /// Silent for so long that it may be gone.
    Questionable,
    /// It left too many calls in a row unanswered.
    Bad,
}

/// A bucket of one table; buckets are never joined, so it stays valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketIndex(usize);

impl Default for TableConfig {
    fn default() -> Self {
        Self {
            bucket_size: 20,
            questionable_after: Span::from_mins(15),
            bad_after_failures: 5,
            replacements_max: 8,
            refresh_after: Span::from_mins(15),
        }
    }
}

/// Learning.
impl Table {
    /// An empty table around `own`.
    pub fn new(own: Address, config: TableConfig) -> Self {
        let buckets = vec![Bucket::new(Time::ZERO)];
        Self { own, config, buckets, departures: 0, changes: 0, agreeing: 0 }
    }

    /// A node has answered, under its own key, a call that *we* began: it enters, or is refreshed.
    /// No newcomer takes the place of a good node. One that has become a leaf leaves the table.
    pub fn confirm(&mut self, contact: Contact, now: Time) -> Confirmed {
        let address = contact.address();
        if address == self.own {
            return Confirmed::Ignored;
        }
        if contact.is_leaf() {
            self.remove(&address);
            return Confirmed::Ignored;
        }
        let index = self.index_of(&address);
        let (bucket, config) = (&mut self.buckets[index], &self.config);
        let moved = bucket.change(&address, |entry| entry.confirm(&contact, now, config));
        if let Some(moved) = moved {
            self.changes += u64::from(moved);
            return Confirmed::Refreshed;
        }
        let confirmed = self.admit(Entry::new(contact, now, &self.config), now);
        if confirmed == Confirmed::Added {
            let index = self.index_of(&address);
            self.buckets[index].changed();
        }
        confirmed
    }

    /// A node has called us, under its own key: if it is an entry, it has been seen. It does not
    /// become one, and its failures stay, since we may still be unable to reach it.
    pub fn heard(&mut self, address: &Address, now: Time) {
        let index = self.index_of(address);
        self.buckets[index].change(address, |entry| entry.seen(now, &self.config));
    }

    /// A node left a call unanswered. If it is bad now, or was questionable, the newest
    /// replacement takes its place at once; without one it stays. A replacement that fails goes.
    pub fn failed(&mut self, address: &Address, now: Time) {
        let index = self.index_of(address);
        let bucket = &mut self.buckets[index];
        bucket.forget_replacement(address);
        let failed = bucket.change(address, |entry| {
            let was_bad = entry.is_bad(&self.config);
            entry.fail(now, &self.config);
            (was_bad, entry.status(now, &self.config))
        });
        let Some((was_bad, status)) = failed else { return };
        if status != Status::Good && bucket.has_replacement() {
            self.remove(address);
        } else if status == Status::Bad && !was_bad {
            bucket.changed();
        }
    }

    /// A search for `target` begins: its bucket is fresh, for twice as long each time, up to sixteen
    /// times [`TableConfig::refresh_after`], until it changes.
    pub fn looked_up(&mut self, target: &Address, now: Time) {
        let index = self.index_of(target);
        self.buckets[index].looked_up(now);
    }

    /// A search for `target` has shown nothing, because it could not begin or found too few: its bucket
    /// has to be searched again after [`TableConfig::refresh_after`], and not after several times that.
    pub fn searched_in_vain(&mut self, target: &Address) {
        let index = self.index_of(target);
        self.buckets[index].changed();
    }

    /// A node has told a time that is within the tolerance of ours; nothing if it is no entry.
    pub fn clock_agrees(&mut self, address: &Address) {
        let index = self.index_of(address);
        let is_new = self.buckets[index].change(address, Entry::note_agreement);
        self.agreeing += usize::from(is_new == Some(true));
    }

    /// A node has told a time that differs from ours.
    pub fn clock_differs(&mut self, address: &Address) {
        let index = self.index_of(address);
        let was_known = self.buckets[index].change(address, Entry::forget_agreement);
        self.agreeing -= usize::from(was_known == Some(true));
    }

    /// Our own clock has jumped: nobody is known to agree with it.
    pub fn forget_clocks(&mut self) {
        self.buckets.iter_mut().for_each(Bucket::forget_clocks);
        self.agreeing = 0;
    }

    /// Much may have changed unnoticed: all buckets are stale.
    pub fn doubt(&mut self) {
        self.buckets.iter_mut().for_each(Bucket::doubt);
    }
}

/// Asking.
impl Table {
    /// The `n` entries nearest to `target` that are not bad, nearest first.
    pub fn closest(&self, target: &Address, n: usize) -> Vec<Contact> {
        let home = self.index_of(target);
        // Nodes in the target's own bucket are nearer to it than all others. Those nearer to us
        // than the target is share equally many bits with it; farther buckets follow one by one.
        let inward = [&self.buckets[home..=home], &self.buckets[home + 1..]];
        let outward = (0..home).rev().map(|index| &self.buckets[index..=index]);
        let mut nearest = Vec::new();
        for group in inward.into_iter().chain(outward) {
            if nearest.len() >= n {
                break;
            }
            self.append_by_distance(&mut nearest, group, target);
        }
        // Not what `into_iter` leaves: that would keep the room of all that were looked at.
        nearest.iter().take(n).map(|(_, contact)| (*contact).clone()).collect()
    }

    /// The entries within `radius` of `place`, in top bits of the distance, that are not bad, nearest
    /// first. `None` if a bucket that reaches so far is full: others may have found no room in it.
    pub fn all_within(&self, place: &Address, radius: u64) -> Option<Vec<Contact>> {
        let reaches = |index: &usize| self.least_distance(*index, place) <= radius;
        let mut buckets = (0..self.buckets.len()).filter(reaches).map(|index| &self.buckets[index]);
        if buckets.any(|bucket| bucket.entries().len() >= self.config.bucket_size) {
            return None;
        }
        let mut nodes: Vec<_> = (0..self.buckets.len())
            .filter(reaches)
            .flat_map(|index| self.buckets[index].entries())
            .filter(|entry| !entry.is_bad(&self.config))
            .map(|entry| (place.distance(&entry.contact().address()), entry.contact()))
            .filter(|(distance, _)| distance.top_bits() <= radius)
            .collect();
        nodes.sort_unstable_by_key(|(distance, _)| *distance);
        Some(nodes.into_iter().map(|(_, contact)| contact.clone()).collect())
    }

    /// The entry of a node.
    pub fn get(&self, address: &Address) -> Option<&Entry> {
        self.buckets[self.index_of(address)].find(address)
    }

    /// The health of a node, if it is an entry.
    pub fn status(&self, address: &Address, now: Time) -> Option<Status> {
        self.get(address).map(|entry| entry.status(now, &self.config))
    }

    /// All entries, farthest bucket first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.buckets.iter().flat_map(Bucket::entries)
    }

    /// How many entries there are, bad ones included.
    pub fn len(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.entries().len()).sum()
    }

    /// How many entries the bucket with most of them has.
    pub(crate) fn fullest_bucket(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.entries().len()).max().unwrap_or(0)
    }

    /// How often a node has come, gone, or moved to other endpoints.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// How many nodes have left the table.
    pub fn departures(&self) -> u64 {
        self.departures
    }

    /// How many entries have told a time that is within the tolerance of ours.
    pub fn agreeing_clocks(&self) -> usize {
        self.agreeing
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Upkeep.
impl Table {
    /// Up to `max` nodes to ping now, the longest silent first, each not again before its ping can
    /// have ended. A node that keeps answering is asked ever less often, up to sixteen times the
    /// silence that makes one questionable; so is one that keeps failing. Bad ones are among
    /// them: after our own link was down they may be all we know.
    pub fn due_for_ping(&mut self, now: Time, max: usize) -> Vec<Contact> {
        let buckets = self.buckets.iter().filter(|bucket| now >= bucket.next_ping());
        let entries = buckets.flat_map(Bucket::entries);
        let mut due: Vec<_> = entries.filter(|entry| now >= entry.next_ping()).collect();
        due.sort_by_key(|entry| entry.last_seen());
        let due: Vec<_> = due.iter().take(max).map(|entry| entry.contact().address()).collect();
        due.iter().filter_map(|address| self.ask(address, now)).collect()
    }

    fn ask(&mut self, address: &Address, now: Time) -> Option<Contact> {
        let index = self.index_of(address);
        self.buckets[index].change(address, |entry| entry.ask(now, &self.config))
    }

    /// When [`Self::due_for_ping`] will next have something to say.
    pub fn next_ping(&self) -> Option<Time> {
        let first = self.buckets.iter().map(Bucket::next_ping).min();
        first.filter(|at| *at < Time::MAX)
    }

    /// The buckets in whose range nothing was searched for too long; at first the only one. How long
    /// that is doubles with every search that finds nobody new for a bucket that lost nobody.
    pub fn stale_buckets(&self, now: Time) -> Vec<BucketIndex> {
        let is_stale = |bucket: &Bucket| now >= bucket.refresh_at(&self.config);
        (0..self.buckets.len()).filter(|i| is_stale(&self.buckets[*i])).map(BucketIndex).collect()
    }

    /// When [`Self::stale_buckets`] will next have something to say.
    pub fn next_refresh(&self) -> Time {
        let first = self.buckets.iter().map(|bucket| bucket.refresh_at(&self.config)).min();
        first.unwrap_or(Time::ZERO)
    }

    /// A random address in the range of a bucket: searching for it fills the bucket.
    pub fn refresh_target(&self, bucket: BucketIndex, rng: &mut ChaCha12Rng) -> Address {
        let mut distance = [0; Address::LEN];
        rng.fill_bytes(&mut distance);
        let (bytes, bits) = (bucket.0 / 8, bucket.0 % 8);
        distance[..bytes].fill(0);
        distance[bytes] &= 0xff >> bits;
        if bucket.0 + 1 < self.buckets.len() {
            distance[bytes] |= 0x80 >> bits;
        }
        self.own.at(&Distance::from_bytes(distance))
    }
}

impl Table {
    /// No node of this bucket can be nearer to `place` than this, in top bits.
    fn least_distance(&self, index: usize, place: &Address) -> u64 {
        let bits_from =
            |bit: usize| u32::try_from(bit).map_or(0, |bit| u64::MAX.checked_shr(bit).unwrap_or(0));
        match index.cmp(&self.index_of(place)) {
            Ordering::Equal => 0,
            // They differ from the place in the bit in which they differ from us.
            Ordering::Less => bits_from(index) ^ bits_from(index + 1),
            // They share as many bits with us, and so differ from the place where we do.
            Ordering::Greater => self.own.distance(place).top_bits() & !bits_from(index),
        }
    }

    /// The bucket in whose range an address lies; our own lies in the last one.
    fn index_of(&self, address: &Address) -> usize {
        self.own.distance(address).common_bits().min(self.buckets.len() - 1)
    }

    /// Every entry comes in here, newcomers and replacements alike: rules about who may be in a
    /// bucket or in the table beside whom have their place at the head of this function.
    fn admit(&mut self, entry: Entry, now: Time) -> Confirmed {
        let index = self.make_room(&entry.contact().address());
        let bucket = &mut self.buckets[index];
        if bucket.entries().len() < self.config.bucket_size {
            bucket.push(entry);
            self.changes += 1;
            return Confirmed::Added;
        }
        let probe = bucket.probe(now, &self.config);
        bucket.cache(entry, self.config.replacements_max);
        Confirmed::Cached { probe }
    }

    /// Drops the worst bad entry of the address's bucket if it is full, or splits it if that is
    /// allowed. The bucket may still be full afterwards.
    fn make_room(&mut self, address: &Address) -> usize {
        loop {
            let index = self.index_of(address);
            let splits = index + 1 == self.buckets.len() && index + 1 < Address::BITS;
            let bucket = &mut self.buckets[index];
            if bucket.entries().len() < self.config.bucket_size {
                return index;
            }
            if let Some(worst) = bucket.worst(&self.config) {
                self.take_out(index, &worst);
                return index;
            }
            if !splits {
                return index;
            }
            let near = bucket.split(&self.own, index);
            self.buckets.reserve_exact(1);
            self.buckets.push(near);
        }
    }

    /// Takes a node out of the table; the newest replacement gets its place.
    fn remove(&mut self, address: &Address) {
        let index = self.index_of(address);
        let bucket = &mut self.buckets[index];
        bucket.forget_replacement(address);
        if !self.take_out(index, address) {
            return;
        }
        let bucket = &mut self.buckets[index];
        if let Some(replacement) = bucket.take_replacement() {
            let since = replacement.last_seen();
            self.admit(replacement, since);
        } else {
            bucket.changed();
        }
    }

    /// Takes a node out of its bucket; whether it was an entry.
    fn take_out(&mut self, index: usize, address: &Address) -> bool {
        let Some(entry) = self.buckets[index].remove(address) else { return false };
        self.departures += 1;
        self.changes += 1;
        self.agreeing -= usize::from(entry.clock_agrees());
        true
    }

    fn append_by_distance<'a>(
        &self,
        nearest: &mut Vec<(Distance, &'a Contact)>,
        group: &'a [Bucket],
        target: &Address,
    ) {
        let start = nearest.len();
        let entries = group.iter().flat_map(Bucket::entries);
        let contacts =
            entries.filter(|entry| !entry.is_bad(&self.config)).map(|entry| entry.contact());
        nearest.extend(contacts.map(|contact| (target.distance(&contact.address()), contact)));
        nearest[start..].sort_unstable_by_key(|(distance, _)| *distance);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_core::SeedableRng;

    use super::*;
    use crate::key::PublicKey;

    const START: Time = Time::from_millis(1_700_000_000_000);
    const MINUTE: Span = Span::from_mins(1);

    fn key(number: u64) -> PublicKey {
        let mut bytes = [0; PublicKey::LEN];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        PublicKey::from_bytes(bytes)
    }

    fn contact(number: u64) -> Contact {
        Contact::new(key(number), [([127, 0, 0, 1], 4_000).into()])
    }

    fn table(bucket_size: usize) -> Table {
        let config = TableConfig { bucket_size, ..TableConfig::default() };
        Table::new(Address::from_bytes([0; 20]), config)
    }

    /// Nodes of the half of the address space that is far from the zero address: one bucket.
    fn far_half() -> impl Iterator<Item = Contact> {
        (0..).map(contact).filter(|contact| contact.address().as_bytes()[0] >= 0x80)
    }

    /// A table whose farthest bucket is full, and what would like to get in.
    fn full_bucket() -> (Table, Vec<Contact>, impl Iterator<Item = Contact>) {
        let mut table = table(20);
        let mut nodes = far_half();
        let inside: Vec<_> = nodes.by_ref().take(20).collect();
        // A near node, so that the far bucket is no longer the one that may split.
        let near = (0..).map(contact).find(|contact| contact.address().as_bytes()[0] < 0x80);
        for contact in near.into_iter().chain(inside.clone()) {
            assert_eq!(table.confirm(contact, START), Confirmed::Added);
        }
        (table, inside, nodes)
    }

    fn holds(table: &Table, contact: &Contact) -> bool {
        table.get(&contact.address()).is_some()
    }

    #[test]
    fn an_answer_keeps_no_room_but_its_own() {
        let mut table = table(20);
        (0..200).for_each(|number| drop(table.confirm(contact(number), START)));
        let nearest = table.closest(&Address::from_bytes([0; 20]), 20);
        assert_eq!((nearest.len(), nearest.capacity()), (20, 20));
    }

    proptest! {
        /// Of a network that has been met as a whole, everybody in a region or nothing.
        #[test]
        fn who_is_within_a_distance_is_known_entirely_or_not_at_all(
            own: [u8; 20],
            place: [u8; 20],
            near_bit in 0..12_usize,
            radius_bits in 0..64_u32,
            bucket_size in 1..25_usize,
            size in 0..300_u64,
        ) {
            let own = Address::from_bytes(own);
            let mut table = table(bucket_size);
            table.own = own;
            (0..size).for_each(|i| { table.confirm(contact(i), START); });
            let mut distance = place;
            distance[..near_bit / 8].fill(0);
            distance[near_bit / 8] &= 0xff >> (near_bit % 8);
            let (place, radius) = (own.at(&Distance::from_bytes(distance)), u64::MAX >> radius_bits);
            let mut all: Vec<_> = (0..size).map(contact).collect();
            all.retain(|contact| contact.address().distance(&place).top_bits() <= radius);
            all.sort_by_key(|contact| contact.address().distance(&place));
            if let Some(within) = table.all_within(&place, radius) {
                prop_assert_eq!(within, all);
            } else {
                prop_assert!(size >= bucket_size as u64);
            }
        }

        /// B1.
        #[test]
        fn closest_equals_sorting_all_entries(
            own: [u8; 20],
            target: [u8; 20],
            near_bit in 0..160_usize,
            bucket_size in 1..25_usize,
            size in 0..400_u64,
            n in 0..50_usize,
        ) {
            let own = Address::from_bytes(own);
            let mut table = table(bucket_size);
            table.own = own;
            (0..size).for_each(|i| { table.confirm(contact(i), START); });
            for _ in 0..5 {
                (0..size).step_by(3).for_each(|i| table.failed(&contact(i).address(), START));
            }
            // One target anywhere, and one that shares any number of leading bits with us.
            let mut beside = *own.as_bytes();
            beside[near_bit / 8] ^= 0x80 >> (near_bit % 8);
            for target in [Address::from_bytes(target), Address::from_bytes(beside), own] {
                let mut expected: Vec<_> = table
                    .entries()
                    .filter(|entry| entry.failures() < 5)
                    .map(|entry| entry.contact().clone())
                    .collect();
                expected.sort_by_key(|contact| target.distance(&contact.address()));
                expected.truncate(n);
                prop_assert_eq!(table.closest(&target, n), expected);
            }
        }

        /// B8.
        #[test]
        fn a_refresh_target_lies_in_its_bucket(own: [u8; 20], seed: u64, buckets in 1..=160_usize) {
            let mut table = table(20);
            table.own = Address::from_bytes(own);
            table.buckets = vec![Bucket::new(Time::ZERO); buckets];
            let mut rng = ChaCha12Rng::seed_from_u64(seed);
            let stale = table.stale_buckets(START);
            prop_assert_eq!(stale.len(), buckets);
            for bucket in stale {
                let target = table.refresh_target(bucket, &mut rng);
                prop_assert_eq!(table.index_of(&target), bucket.0);
            }
        }

        /// Whatever happens, every bucket keeps its range, its size and its promise that
        /// replacements wait only while it is full of nodes that are not bad.
        #[test]
        fn no_order_of_events_breaks_the_invariants(
            events in prop::collection::vec((0..4_u8, 0..60_u64, 0..20_u64), 0..400),
            bucket_size in 0..6_usize,
        ) {
            let mut table = table(bucket_size);
            let mut now = START;
            for (event, number, minutes) in events {
                now = now + MINUTE.times(minutes / 4);
                let node = contact(number);
                match event {
                    0 => { table.confirm(node, now); }
                    1 => table.failed(&node.address(), now),
                    2 => table.heard(&node.address(), now),
                    _ => { table.confirm(Contact::new(key(number), []), now); }
                }
                for (index, bucket) in table.buckets.iter().enumerate() {
                    let entries = bucket.entries();
                    let in_range =
                        |entry: &Entry| table.index_of(&entry.contact().address()) == index;
                    prop_assert!(entries.iter().all(in_range));
                    prop_assert!(entries.len() <= bucket_size);
                    let bad = entries.iter().any(|entry| entry.is_bad(&table.config));
                    let full = entries.len() == bucket_size;
                    prop_assert!(!bucket.has_replacement() || (full && !bad));
                }
            }
        }
    }

    /// B2.
    #[test]
    fn ten_thousand_random_nodes_keep_within_the_bounds() {
        for bucket_size in [1, 8, 20] {
            let mut table = table(bucket_size);
            for number in 0..10_000 {
                table.confirm(contact(number), START);
            }
            assert!(table.buckets.len() > 9 && table.buckets.len() <= Address::BITS);
            assert!(table.buckets.iter().all(|bucket| bucket.entries().len() <= bucket_size));
            let all_but_last = &table.buckets[..table.buckets.len() - 4];
            assert!(all_but_last.iter().all(|bucket| bucket.entries().len() == bucket_size));
        }
    }

    #[test]
    fn buckets_split_around_a_neighbour_at_any_distance() {
        let neighbour = contact(0);
        for bit in 0..Address::BITS {
            let mut own = *neighbour.address().as_bytes();
            own[bit / 8] ^= 0x80 >> (bit % 8);
            let mut table = table(1);
            table.own = Address::from_bytes(own);
            table.confirm(neighbour.clone(), START);
            (1..50).for_each(|number| drop(table.confirm(contact(number), START)));
            assert!(holds(&table, &neighbour));
            assert!(table.buckets.len() <= Address::BITS);
        }
    }

    /// B22.
    #[test]
    fn a_hundred_random_targets_get_the_true_closest_of_the_table() {
        let mut table = table(8);
        (0..5_000).for_each(|number| drop(table.confirm(contact(number), START)));
        for target in (5_000..5_100).map(|number| contact(number).address()) {
            let mut all: Vec<_> = table.entries().map(|entry| entry.contact().clone()).collect();
            all.sort_by_key(|contact| target.distance(&contact.address()));
            assert_eq!(table.closest(&target, 8), all[..8]);
        }
    }

    /// B3.
    #[test]
    fn silence_makes_questionable_failures_make_bad_and_one_answer_makes_good() {
        let (mut table, node) = (table(20), contact(1));
        let address = node.address();
        table.confirm(node.clone(), START);
        let almost = START + MINUTE.times(15) - Span::from_millis(1);
        let later = START + MINUTE.times(15);
        assert_eq!(table.status(&address, almost), Some(Status::Good));
        assert_eq!(table.status(&address, later), Some(Status::Questionable));
        table.heard(&address, later);
        assert_eq!(table.status(&address, later), Some(Status::Good));
        for _ in 0..4 {
            table.failed(&address, later);
        }
        assert_eq!(table.status(&address, later), Some(Status::Good));
        table.failed(&address, later);
        assert_eq!(table.status(&address, later), Some(Status::Bad));
        assert!(table.closest(&address, 1).is_empty());
        table.heard(&address, later);
        assert_eq!(table.status(&address, later), Some(Status::Bad));
        assert_eq!(table.confirm(node, later), Confirmed::Refreshed);
        assert_eq!(table.status(&address, later), Some(Status::Good));
    }

    /// B4.
    #[test]
    fn a_flood_of_newcomers_evicts_no_good_node() {
        let (mut table, inside, newcomers) = full_bucket();
        let now = START + MINUTE.times(14);
        for newcomer in newcomers.take(2_000) {
            table.failed(&newcomer.address(), now);
            assert_eq!(table.confirm(newcomer, now), Confirmed::Cached { probe: None });
        }
        inside.iter().for_each(|node| (0..4).for_each(|_| table.failed(&node.address(), now)));
        assert!(inside.iter().all(|node| holds(&table, node)));
    }

    /// B5.
    #[test]
    fn a_newcomer_gets_the_place_of_a_dead_node_after_one_unanswered_ping() {
        let (mut table, inside, mut newcomers) = full_bucket();
        let dead = inside[7].clone();
        let now = START + MINUTE.times(15);
        for node in inside.iter().filter(|node| **node != dead) {
            table.confirm(node.clone(), now);
        }
        let newcomer = newcomers.next().unwrap();
        let probe = Some(dead.clone());
        assert_eq!(table.confirm(newcomer.clone(), now), Confirmed::Cached { probe });
        let other = newcomers.next().unwrap();
        assert_eq!(table.confirm(other, now), Confirmed::Cached { probe: None });
        table.failed(&dead.address(), now + Span::from_secs(2));
        assert!(!holds(&table, &dead));
        assert_eq!(table.len(), 21);
        assert_eq!(table.closest(&newcomer.address(), 21).len(), 21);
    }

    #[test]
    fn a_questionable_node_that_answers_keeps_its_place() {
        let (mut table, inside, mut newcomers) = full_bucket();
        let now = START + MINUTE.times(20);
        let newcomer = newcomers.next().unwrap();
        let confirmed = table.confirm(newcomer.clone(), now);
        let Confirmed::Cached { probe: Some(probe) } = confirmed else { panic!("{confirmed:?}") };
        table.confirm(probe, now);
        assert!(inside.iter().all(|node| holds(&table, node)));
        assert!(!holds(&table, &newcomer));
    }

    #[test]
    fn a_bad_node_yields_to_a_newcomer_at_once() {
        let (mut table, inside, mut newcomers) = full_bucket();
        let bad = inside[3].address();
        (0..5).for_each(|_| table.failed(&bad, START));
        assert_eq!(table.status(&bad, START), Some(Status::Bad));
        assert_eq!(table.confirm(newcomers.next().unwrap(), START), Confirmed::Added);
        assert_eq!(table.status(&bad, START), None);
    }

    #[test]
    fn a_replacement_that_fails_is_not_promoted() {
        let (mut table, inside, newcomers) = full_bucket();
        let waiting: Vec<_> = newcomers.take(2).collect();
        waiting.iter().for_each(|node| drop(table.confirm(node.clone(), START)));
        table.failed(&waiting[1].address(), START);
        (0..5).for_each(|_| table.failed(&inside[0].address(), START));
        assert!(holds(&table, &waiting[0]) && !holds(&table, &waiting[1]));
    }

    #[test]
    fn neither_a_leaf_nor_ourselves_nor_a_stranger_who_calls_is_an_entry() {
        let mut table = table(20);
        let (ourselves, node) = (contact(1), contact(2));
        let leaf = Contact::new(key(2), []);
        table.own = ourselves.address();
        assert_eq!(table.confirm(ourselves, START), Confirmed::Ignored);
        assert_eq!(table.confirm(leaf.clone(), START), Confirmed::Ignored);
        table.heard(&node.address(), START);
        assert!(table.is_empty());
        table.confirm(node, START);
        assert_eq!(table.confirm(leaf, START), Confirmed::Ignored);
        assert!(table.is_empty());
    }

    #[test]
    fn a_node_that_moved_is_found_at_its_new_endpoint() {
        let mut table = table(20);
        table.confirm(contact(1), START);
        let moved = Contact::new(key(1), [([127, 0, 0, 1], 5_000).into()]);
        assert_eq!(table.confirm(moved.clone(), START), Confirmed::Refreshed);
        assert_eq!(table.closest(&moved.address(), 1), [moved]);
    }

    #[test]
    fn a_search_freshens_its_bucket_only() {
        let (mut table, inside, _) = full_bucket();
        assert_eq!(table.stale_buckets(START).len(), 2);
        table.looked_up(&inside[0].address(), START);
        assert_eq!(table.stale_buckets(START), [BucketIndex(1)]);
        table.looked_up(&table.own.clone(), START + MINUTE);
        assert!(table.stale_buckets(START + MINUTE).is_empty());
        assert_eq!(table.next_refresh(), START + MINUTE.times(30));
        assert_eq!(table.stale_buckets(table.next_refresh()), [BucketIndex(0)]);
    }

    /// Both buckets are searched at once, and the minutes until one of them is due again.
    fn pause_after_search(table: &mut Table, inside: &Contact, now: Time) -> u64 {
        table.looked_up(&inside.address(), now);
        table.looked_up(&table.own.clone(), now);
        pause(table, now)
    }

    fn pause(table: &Table, searched: Time) -> u64 {
        table.next_refresh().since(searched).as_millis() / 60_000
    }

    #[test]
    fn a_bucket_that_does_not_change_is_searched_ever_less_often_down_to_every_four_hours() {
        let (mut table, inside, _) = full_bucket();
        let mut now = START;
        for minutes in [30, 60, 120, 240, 240, 240] {
            assert_eq!(pause_after_search(&mut table, &inside[0], now), minutes);
            assert!(table.stale_buckets(now + MINUTE.times(minutes - 1)).is_empty());
            now = now + MINUTE.times(minutes);
            assert_eq!(table.stale_buckets(now).len(), 2);
        }
        pause_after_search(&mut table, &inside[0], now);
        table.doubt();
        assert_eq!(table.stale_buckets(now).len(), 2);
        assert_eq!(pause_after_search(&mut table, &inside[0], now), 30);
    }

    #[test]
    fn a_bucket_is_searched_soon_again_when_somebody_enters_or_leaves_a_place_empty() {
        let (mut table, inside, mut newcomers) = full_bucket();
        let first = inside[0].clone();
        let quiet = |table: &mut Table| {
            let pauses = [(); 5].map(|()| pause_after_search(table, &first, START));
            assert_eq!(pauses[4], 240);
        };
        quiet(&mut table);
        let gone = inside[3].address();
        (0..4).for_each(|_| table.failed(&gone, START));
        assert_eq!(pause(&table, START), 240, "it may have failed by chance");
        table.failed(&gone, START);
        assert_eq!(pause(&table, START), 15, "it has gone bad");
        quiet(&mut table);
        table.failed(&gone, START);
        assert_eq!(pause(&table, START), 240, "it was bad before");
        assert_eq!(table.confirm(newcomers.next().unwrap(), START), Confirmed::Added);
        assert_eq!(pause(&table, START), 15, "somebody has entered");
        quiet(&mut table);
        let waiting = newcomers.next().unwrap();
        table.confirm(waiting.clone(), START);
        (0..5).for_each(|_| table.failed(&inside[1].address(), START));
        assert!(holds(&table, &waiting));
        assert_eq!(pause(&table, START), 240, "somebody waited for its place");
        table.confirm(Contact::new(*inside[2].key(), []), START);
        assert_eq!(pause(&table, START), 15, "nobody has its place");
    }

    #[test]
    fn a_bucket_that_splits_stays_as_fresh_as_it_was() {
        let mut table = table(1);
        table.looked_up(&contact(0).address(), START);
        (0..100).for_each(|number| drop(table.confirm(contact(number), START)));
        assert!(table.buckets.len() > 3 && table.stale_buckets(START).is_empty());
    }

    #[test]
    fn a_node_is_not_pinged_again_while_its_ping_is_under_way() {
        let mut table = table(20);
        (0..3).for_each(|number| drop(table.confirm(contact(number), START)));
        let due = table.next_ping().unwrap();
        assert_eq!(due, START + MINUTE.times(15));
        assert!(table.due_for_ping(due - Span::from_millis(1), 9).is_empty());
        assert_eq!(table.due_for_ping(due, 2).len(), 2);
        assert_eq!(table.due_for_ping(due, 2).len(), 1);
        assert!(table.due_for_ping(due + Span::from_secs(10), 9).is_empty());
        assert_eq!(table.due_for_ping(due + MINUTE, 9).len(), 3);
    }

    /// B7.
    #[test]
    fn an_idle_network_of_a_hundred_nodes_pings_less_than_once_a_minute_each() {
        let mut tables: Vec<_> = (0..100)
            .map(|own| {
                let mut table = Table::new(contact(own).address(), TableConfig::default());
                (0..100).for_each(|other| drop(table.confirm(contact(other), START)));
                table
            })
            .collect();
        let hours = 24;
        let (mut pings, mut now) = (0, START);
        for _ in 0..hours * 60 {
            now = now + MINUTE;
            for own in 0..tables.len() {
                let due = tables[own].due_for_ping(now, 10);
                pings += due.len();
                for node in due {
                    let caller = contact(own as u64).address();
                    let called = (0..100).find(|number| contact(*number) == node).unwrap();
                    tables[called as usize].heard(&caller, now);
                    tables[own].confirm(node, now);
                }
            }
        }
        let pings_per_node_and_hour = pings / tables.len() / hours;
        assert!((5..30).contains(&pings_per_node_and_hour), "{pings_per_node_and_hour}");
    }
}
