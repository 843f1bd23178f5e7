//! Taking up where the store left off: what a node reads before its first input.
//!
//! Only what each source group uses, and how many envelopes are whose, is added up envelope by envelope,
//! from short rows: totals, arrival numbers and contacts are small, and the first keys of the schedules
//! tell when to wake up.

use std::collections::{BTreeMap, BTreeSet};

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use crate::contact::Contact;
use crate::key::KeyPair;
use crate::network_size::NetworkSize;
use crate::store::StoreError;
use crate::table::Table;
use crate::time::Time;

use super::accept::{ARRIVALS_KEY, Arrivals};
use super::book::Book;
use super::card_searches::Published;
use super::clocks::PeerClocks;
use super::deliveries::Deliveries;
use super::desk::Desk;
use super::dial_backs::DialBacks;
use super::drain::Drain;
use super::entries::{ENTRIES_KEY, Entries};
use super::expire::CLOCK_KEY;
use super::fetching::Fetching;
use super::holding::HoldingClock;
use super::io::Family;
use super::keys;
use super::outage::Outage;
use super::outside_view::OutsideView;
use super::own_mailboxes::OwnMailboxes;
use super::records::Custody;
use super::regions::Regions;
use super::room;
use super::room::Disk;
use super::rotating::{ROTATING_KEY, Rotating};
use super::routing::{BOOTSTRAP_MAX, Bootstrap};
use super::shares::{LOTS_KEY, Shares, parse_charge};
use super::stats::{Held, Stats};
use super::{Config, Node, Turn};

/// Where the totals are kept.
pub(super) const TOTALS_KEY: &[u8] = b"totals";
/// Values read at a time when they must be counted.
const COUNTED_AT_ONCE: usize = 1_024;

/// Envelopes and their bytes, tombstones, cards and their bytes, acknowledgements and their bytes.
pub(super) type Totals = [u64; 7];

/// A node as its store describes it.
pub(super) fn recover(
    config: Config,
    key: KeyPair,
    seed: [u8; 32],
    turn: Turn<'_>,
) -> Result<Node, StoreError> {
    let address = key.address();
    let stats = Stats { held: read_held(turn)?, ..read_totals(turn)? };
    let arrivals = Arrivals::after(read_number(turn, ARRIVALS_KEY)?);
    let (entries, rotating) = (read_entries(turn)?, read_rotating(turn)?);
    // Entries are met first: this node's clients wait for them.
    let mut contacts = entries.contacts(BOOTSTRAP_MAX);
    for contact in rotating.contact().cloned().into_iter().chain(read_contacts(turn)?) {
        if !contacts.iter().any(|known| known.key() == contact.key()) {
            contacts.push(contact);
        }
    }
    contacts.truncate(BOOTSTRAP_MAX);
    let relay_at = first_time(turn, Family::Schedule)?;
    let expiry_at = first_time(turn, Family::Expiry)?.min(first_time(turn, Family::Envelopes)?);
    let endings = next_ending(turn)?;
    let mut node = Node {
        address,
        rng: ChaCha12Rng::from_seed(seed),
        desk: Desk::default(),
        stats,
        table: Table::new(address, config.table.clone()),
        size: NetworkSize::new(),
        book: Book::new(config.address_book_max),
        dial_backs: DialBacks::default(),
        outside_view: OutsideView::new(contacts.iter().map(Contact::address)),
        bootstrap: Bootstrap::with(contacts, turn.now),
        searches: BTreeMap::new(),
        regions: Regions::new(config.regions_max),
        entries,
        rotating,
        calls: BTreeMap::new(),
        listeners: BTreeSet::new(),
        arrivals,
        shares: read_shares(turn, seed)?,
        disk: Disk::default(),
        endings,
        clock: read_clock(turn)?,
        clocks: PeerClocks::new(),
        relay_at,
        strays_from: None,
        expiry_at,
        dropped_day: 0,
        unsettled: BTreeMap::new(),
        settling: BTreeMap::new(),
        deliveries: Deliveries::default(),
        outage: Outage::new(turn.now),
        drain: Drain::default(),
        subscribers: BTreeMap::new(),
        collections: BTreeMap::new(),
        own_mailboxes: OwnMailboxes::read(turn, config.subscriptions_max)?,
        fetching: Fetching::default(),
        sessions: BTreeMap::new(),
        watchers: BTreeMap::new(),
        card_searches: BTreeMap::new(),
        published: Published::default(),
        key,
        config,
    };
    if relay_at < Time::MAX {
        node.look_for_strays(turn);
    }
    Ok(node)
}

impl Node {
    /// Writes the totals down with the step that changed them.
    pub(super) fn write_totals(&mut self) {
        let totals = totals(&self.stats);
        if totals != self.desk.totals {
            self.desk.totals = totals;
            let value = totals.iter().flat_map(|total| total.to_be_bytes()).collect();
            self.desk.put(Family::Meta, TOTALS_KEY.to_vec(), value);
        }
    }
}

const fn totals(stats: &Stats) -> Totals {
    [
        stats.envelopes,
        stats.envelope_bytes,
        stats.tombstones,
        stats.cards,
        stats.card_bytes,
        stats.acknowledgements,
        stats.acknowledgement_bytes,
    ]
}

fn read_totals(turn: Turn<'_>) -> Result<Stats, StoreError> {
    let Some(value) = turn.store.get(Family::Meta, TOTALS_KEY)? else {
        return Ok(Stats::default());
    };
    if let Some(totals) = parse_totals(&value) {
        return Ok(stats_of(totals));
    }
    // Written before cards' bytes and acknowledgements were counted.
    let (numbers, []) = value.as_chunks::<8>() else { return Err(StoreError::Damaged("totals")) };
    let numbers: [[u8; 8]; 4] = numbers.try_into().map_err(|_| StoreError::Damaged("totals"))?;
    let [envelopes, envelope_bytes, tombstones, cards] = numbers.map(u64::from_be_bytes);
    let (_, card_bytes) = count(turn, Family::Cards)?;
    let (told, told_bytes) = count(turn, Family::Acknowledgements)?;
    Ok(stats_of([envelopes, envelope_bytes, tombstones, cards, card_bytes, told, told_bytes]))
}

/// The totals as [`Node::write_totals`] writes them.
pub(super) fn parse_totals(value: &[u8]) -> Option<Totals> {
    let (numbers, []) = value.as_chunks::<8>() else { return None };
    let numbers: [[u8; 8]; 7] = numbers.try_into().ok()?;
    Some(numbers.map(u64::from_be_bytes))
}

fn stats_of(totals: Totals) -> Stats {
    let [
        envelopes,
        envelope_bytes,
        tombstones,
        cards,
        card_bytes,
        acknowledgements,
        acknowledgement_bytes,
    ] = totals;
    Stats {
        envelopes,
        envelope_bytes,
        tombstones,
        cards,
        card_bytes,
        acknowledgements,
        acknowledgement_bytes,
        ..Stats::default()
    }
}

/// How many values a table holds, and their bytes; reads all of it.
fn count(turn: Turn<'_>, table: Family) -> Result<(u64, u64), StoreError> {
    let (mut count, mut bytes, mut from) = (0, 0, keys::LOWEST.to_vec());
    loop {
        let page = turn.store.scan(table, &from, keys::HIGHEST, COUNTED_AT_ONCE)?;
        let Some((last, _)) = page.last() else { return Ok((count, bytes)) };
        from = [&last[..], &[0]].concat();
        count += page.len() as u64;
        bytes += page.iter().map(|(_, value)| value.len() as u64).sum::<u64>();
    }
}

fn read_number(turn: Turn<'_>, key: &[u8]) -> Result<u64, StoreError> {
    let Some(value) = turn.store.get(Family::Meta, key)? else { return Ok(0) };
    let bytes = value.try_into().map_err(|_| StoreError::Damaged("meta"))?;
    Ok(u64::from_be_bytes(bytes))
}

/// What each source group uses: the only thing that grows with the number of envelopes.
fn read_shares(turn: Turn<'_>, seed: [u8; 32]) -> Result<Shares, StoreError> {
    let lots = turn.store.get(Family::Meta, LOTS_KEY)?.map(TryInto::try_into).transpose();
    let mut shares = Shares::with(lots.map_err(|_| StoreError::Damaged("meta"))?, seed);
    let mut from = keys::LOWEST.to_vec();
    loop {
        let page = turn.store.scan(Family::Shares, &from, keys::HIGHEST, COUNTED_AT_ONCE)?;
        let Some((last, _)) = page.last() else { return Ok(shares) };
        from = keys::above(last);
        for (key, value) in &page {
            let (group, _) = keys::parse_share(key).ok_or(StoreError::Damaged("shares"))?;
            shares.add(group, room::size_of(parse_charge(value)?.1));
        }
    }
}

/// How many envelopes are whose, by the first byte of their records: no totals are kept of it, since
/// nothing hangs on it but what an operator sees.
fn read_held(turn: Turn<'_>) -> Result<Held, StoreError> {
    let (mut held, mut from) = (Held::default(), keys::LOWEST.to_vec());
    loop {
        let page = turn.store.scan(Family::Custody, &from, keys::HIGHEST, COUNTED_AT_ONCE)?;
        let Some((last, _)) = page.last() else { return Ok(held) };
        from = keys::above(last);
        for (_, custody) in &page {
            held.add(Custody::role_in(custody)?);
        }
    }
}

/// The clock as it was last written down, if it ever was.
fn read_clock(turn: Turn<'_>) -> Result<HoldingClock, StoreError> {
    let value = turn.store.get(Family::Meta, CLOCK_KEY)?;
    value.map_or(Ok(HoldingClock::new(turn.now)), |bytes| HoldingClock::resume(&bytes, turn.now))
}

/// Stores made before entries were kept have none.
fn read_entries(turn: Turn<'_>) -> Result<Entries, StoreError> {
    let value = turn.store.get(Family::Meta, ENTRIES_KEY)?;
    value.map_or(Ok(Entries::default()), |bytes| Entries::from_bytes(&bytes))
}

/// Stores made before there was one have none.
fn read_rotating(turn: Turn<'_>) -> Result<Rotating, StoreError> {
    let value = turn.store.get(Family::Meta, ROTATING_KEY)?;
    value.map_or(Ok(Rotating::default()), |bytes| Rotating::from_bytes(&bytes))
}

fn read_contacts(turn: Turn<'_>) -> Result<Vec<Contact>, StoreError> {
    let saved = turn.store.scan(Family::Contacts, keys::LOWEST, keys::HIGHEST, BOOTSTRAP_MAX)?;
    let contact = |value: &[u8]| Contact::from_stored(value).ok_or(StoreError::Damaged("contacts"));
    saved.iter().map(|(_, value)| contact(value)).collect()
}

/// One more than the last ending has. Numbers are given again once nothing points to them.
fn next_ending(turn: Turn<'_>) -> Result<u64, StoreError> {
    let (mut low, mut high) = (0, u64::MAX);
    while low < high {
        let middle = low + (high - low) / 2;
        let key = keys::ending(middle);
        if turn.store.scan(Family::Acknowledgements, &key, keys::HIGHEST, 1)?.is_empty() {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}

/// The time at the head of a table that is ordered by time.
fn first_time(turn: Turn<'_>, table: Family) -> Result<Time, StoreError> {
    let first = turn.store.scan(table, keys::LOWEST, keys::HIGHEST, 1)?;
    let Some((key, _)) = first.first() else { return Ok(Time::MAX) };
    let millis = key.first_chunk::<8>().ok_or(StoreError::Damaged("schedule"))?;
    Ok(Time::from_millis(u64::from_be_bytes(*millis)))
}
