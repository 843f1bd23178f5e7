//! Finding the network and keeping the table alive (PROTOCOL §5.3, §5.4).
//!
//! Lookups run here; what they are for is decided by [`SearchPurpose`].

use std::net::SocketAddr;

use rand_core::RngCore;

use crate::address::{Address, Distance};
use crate::contact::{Contact, ENDPOINTS_MAX};
use crate::lookup::{Lookup, Question};
use crate::message::Request;
use crate::store::StoreError;
use crate::table::{Confirmed, Status};
use crate::time::{Span, Time};

use super::calls::Purpose;
use super::io::{Event, Family};
use super::keys;
use super::regions::Aim;
use super::{Node, Turn};

/// The most nodes remembered to begin with.
pub(super) const BOOTSTRAP_MAX: usize = 64;
/// First wait before we look for ourselves again; it doubles.
const LOOK_FIRST: Span = Span::from_secs(1);
/// Longest wait while nobody answers.
const LOOK_MAX_ALONE: Span = Span::from_mins(1);
/// Longest wait otherwise.
const LOOK_MAX: Span = Span::from_mins(15);
/// After so many attempts they come no more seldom.
const FOUND_AFTER: u32 = 16;
/// How often the table is written down.
const SAVE_EVERY: Span = Span::from_mins(5);
/// The most contacts written down.
const SAVED_MAX: usize = 256;
/// Of the nodes a search for a region begins with, how many are chosen at random.
const STRANGERS: usize = 8;
/// Pings begun in one step.
const PINGS_PER_STEP: usize = 8;

/// A lookup under way.
#[derive(Debug)]
pub(super) struct Search {
    lookup: Lookup,
    purpose: SearchPurpose,
    began: Time,
    /// Nodes in the table when it began: a search for ourselves is repeated while it finds more.
    peers_before: usize,
}

/// What a lookup is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SearchPurpose {
    /// Our own neighbourhood.
    Own,
    /// A random address, to keep a bucket alive and to measure the network.
    Refresh,
    /// The region of a mailbox or of a card, and on whose behalf.
    Region(Aim),
}

impl SearchPurpose {
    /// Whether both bring the same: a region is the same for whomever it is searched.
    fn brings_the_same_as(self, other: Self) -> bool {
        self == other || matches!((self, other), (Self::Region(_), Self::Region(_)))
    }
}

/// How far the node has come in finding the network.
#[derive(Debug, Default)]
pub(super) struct Bootstrap {
    contacts: Vec<Contact>,
    next: Option<Time>,
    attempts: u32,
    /// When it was last looked for: a node that refuses everything makes us look no faster.
    looked_at: Time,
    /// Whether a search for ourselves has ended without finding anybody new.
    settled: bool,
    /// When the table is to be written down.
    save_at: Time,
    /// How often it had changed when it was.
    saved: u64,
}

impl Bootstrap {
    /// Begins with the contacts that were written down.
    pub(super) fn with(contacts: Vec<Contact>, now: Time) -> Self {
        let next = (!contacts.is_empty()).then_some(now);
        let settled = contacts.is_empty();
        Self {
            contacts,
            next,
            attempts: 0,
            looked_at: Time::ZERO,
            settled,
            save_at: now + SAVE_EVERY,
            saved: 0,
        }
    }

    /// The network was found before, and nobody new when it was looked for last; `next` is when it is again.
    fn found(&mut self, looked_at: Time, next: Time) {
        self.attempts = FOUND_AFTER;
        self.looked_at = looked_at;
        self.next = Some(next);
        self.settled = true;
    }

    pub(super) fn len(&self) -> usize {
        self.contacts.len()
    }

    pub(super) fn next_attempt(&self) -> Option<Time> {
        self.next
    }
}

impl Node {
    /// The operator names nodes to begin with.
    pub(super) fn on_bootstrap(
        &mut self,
        turn: Turn<'_>,
        contacts: Vec<Contact>,
    ) -> Result<(), StoreError> {
        for contact in contacts.into_iter().filter(|contact| contact.address() != self.address) {
            self.bootstrap.contacts.retain(|known| known.address() != contact.address());
            self.bootstrap.contacts.insert(0, contact);
        }
        self.bootstrap.contacts.truncate(BOOTSTRAP_MAX);
        self.bootstrap.attempts = 0;
        self.bootstrap.next = Some(turn.now);
        self.bootstrap_due(turn)
    }

    /// Others reach us elsewhere now. A few of the nearest are told at once, so that they dial us back there;
    /// everybody else is by the next ping.
    pub(super) fn on_endpoints(&mut self, turn: Turn<'_>, mut endpoints: Vec<SocketAddr>) {
        endpoints.truncate(ENDPOINTS_MAX);
        if self.config.endpoints == endpoints {
            return;
        }
        self.config.endpoints = endpoints;
        for contact in self.table.closest(&self.address, PINGS_PER_STEP) {
            self.ping(turn, contact);
        }
    }

    /// Looks for ourselves, again and again until somebody answers and nobody new turns up.
    pub(super) fn bootstrap_due(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        if self.bootstrap.next.is_none_or(|at| at > turn.now) {
            return Ok(());
        }
        self.bootstrap.looked_at = turn.now;
        let cut_off = self.outage.is_cut_off() || self.is_alone(turn.now);
        let longest = if cut_off { LOOK_MAX_ALONE } else { LOOK_MAX };
        let doubled = LOOK_FIRST.times(1 << self.bootstrap.attempts.min(FOUND_AFTER)).min(longest);
        let jitter = Span::from_millis(self.rng.next_u64() % (doubled.as_millis() / 2).max(1));
        self.bootstrap.attempts = self.bootstrap.attempts.saturating_add(1);
        self.bootstrap.next = Some(turn.now + doubled + jitter);
        // The nodes we begin with may not know us; a ping tells them where we listen.
        // Of several places one is found after the other, and for each we come here.
        let asked = self.being_pinged();
        let unmet = |contact: &&Contact| {
            let address = contact.address();
            self.table.get(&address).is_none() && !asked.contains(&address)
        };
        let unmet = self.bootstrap.contacts.iter().filter(unmet).take(PINGS_PER_STEP).cloned();
        let unmet: Vec<_> = unmet.collect();
        // After an outage of ours those we know may all have failed, and be there again.
        for contact in unmet.into_iter().chain(self.some_bad(turn.now, PINGS_PER_STEP)) {
            self.ping(turn, contact);
        }
        self.search(turn, self.address, SearchPurpose::Own);
        Ok(())
    }

    /// Looks for the network as if anew: at once, unless it has just done so, and then ever more
    /// seldom.
    pub(super) fn look_for_network_again(&mut self, now: Time) {
        self.bootstrap.attempts = 0;
        self.bootstrap.next = Some(now.max(self.bootstrap.looked_at + LOOK_FIRST));
    }

    /// Up to `max` entries that failed too often, at random: nobody else asks them for hours.
    fn some_bad(&mut self, now: Time, max: usize) -> Vec<Contact> {
        let is_bad =
            |contact: &&Contact| self.table.status(&contact.address(), now) == Some(Status::Bad);
        let contacts = self.table.entries().map(|entry| entry.contact());
        let mut bad: Vec<_> = contacts.filter(is_bad).cloned().collect();
        let mut drawn = Vec::new();
        while drawn.len() < max && !bad.is_empty() {
            let at = (self.rng.next_u64() % bad.len() as u64) as usize;
            drawn.push(bad.swap_remove(at));
        }
        drawn
    }

    /// When the table wants looking after; never while it is empty.
    pub(super) fn next_table_work(&self) -> Time {
        if self.table.is_empty() {
            return Time::MAX;
        }
        let ping = self.table.next_ping().unwrap_or(Time::MAX);
        let refresh = if self.bootstrap.settled { self.table.next_refresh() } else { Time::MAX };
        let entry = self.next_entry_try().unwrap_or(Time::MAX);
        let own = self.bootstrap.save_at.min(self.next_clock_question());
        ping.min(refresh).min(entry).min(own)
    }

    /// Pings who was silent for long, refreshes what was not searched for long, writes down.
    pub(super) fn table_due(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        if self.table.is_empty() {
            return Ok(());
        }
        for contact in self.table.due_for_ping(turn.now, PINGS_PER_STEP) {
            self.ping(turn, contact);
        }
        self.entries_due(turn);
        // Before we have found our own place, other places tell little.
        let settled = self.bootstrap.settled;
        if let Some(stale) = self.table.stale_buckets(turn.now).first().filter(|_| settled) {
            let target = self.table.refresh_target(*stale, &mut self.rng);
            self.table.looked_up(&target, turn.now);
            if !self.search(turn, target, SearchPurpose::Refresh) {
                self.table.searched_in_vain(&target);
            }
        }
        if self.bootstrap.save_at <= turn.now {
            self.save_table(turn);
            self.entrust_cards(turn);
            self.forget_old_subscribers(turn.now);
            self.dial_backs.forget_old(turn.now);
        }
        if self.is_alone(turn.now) {
            let soon = turn.now + LOOK_MAX_ALONE;
            self.bootstrap.next = Some(self.bootstrap.next.map_or(soon, |at| at.min(soon)));
        }
        Ok(())
    }

    pub(super) fn ping(&mut self, turn: Turn<'_>, contact: Contact) {
        let endpoints = self.config.endpoints.clone();
        self.call(turn, contact, Request::Ping { endpoints }, Purpose::Ping);
    }

    /// An authenticated exchange that we began has succeeded: the only way into the table.
    /// Whoever enters without having been told where we listen is told now, so that those near us
    /// know of us too.
    pub(super) fn confirm(&mut self, turn: Turn<'_>, contact: &Contact, introduced: bool) {
        if !self.stats.connected {
            self.stats.connected = true;
            self.event(Event::Connected);
        }
        match self.table.confirm(contact.clone(), turn.now) {
            Confirmed::Added => self.on_added(turn, contact, introduced),
            Confirmed::Cached { probe: Some(probe) } => self.ping(turn, probe),
            Confirmed::Cached { probe: None } | Confirmed::Refreshed | Confirmed::Ignored => {}
        }
    }

    /// Begins a lookup, unless one for the same is under way or too many are; whether it did.
    pub(super) fn search(
        &mut self,
        turn: Turn<'_>,
        target: Address,
        purpose: SearchPurpose,
    ) -> bool {
        let same = |search: &Search| {
            search.lookup.target() == &target && search.purpose.brings_the_same_as(purpose)
        };
        if !self.has_room_to_search(purpose) || self.searches.values().any(|search| same(search)) {
            return false;
        }
        let (mut seeds, others) = self.first_to_ask(&target, purpose);
        if seeds.len() < self.config.lookup.paths {
            seeds.extend(self.bootstrap.contacts.iter().cloned());
        }
        let is_region = matches!(purpose, SearchPurpose::Region(_));
        let radius = is_region.then(|| self.radius());
        let config = self.config.lookup.clone();
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let lookup = Lookup::new(target, config, seeds, radius, self.address, seed);
        let lookup = lookup.by_way_of(others);
        let peers_before = self.table.len();
        let search = Search { lookup, purpose, began: turn.now, peers_before };
        let id = self.rng.next_u64();
        self.searches.insert(id, Box::new(search));
        self.advance(turn, id);
        true
    }

    /// Whether another lookup for this purpose may begin. What others want has bounds of its own, so
    /// that a quarter of all is there for our own needs, however much others ask.
    pub(super) fn has_room_to_search(&self, purpose: SearchPurpose) -> bool {
        let max = self.config.lookups_max;
        let alike = || self.searches.values().filter(|search| search.purpose == purpose).count();
        let room = match purpose {
            SearchPurpose::Own | SearchPurpose::Refresh | SearchPurpose::Region(Aim::Own) => true,
            SearchPurpose::Region(Aim::Relayed) => alike() < max / 2,
            SearchPurpose::Region(Aim::Errand) => alike() < max / 4,
        };
        room && self.searches.len() < max
    }

    /// Begins lookups that found no room before, as many as there is room for now.
    fn begin_waiting_searches(&mut self, turn: Turn<'_>) {
        let purpose = SearchPurpose::Region(Aim::Relayed);
        let mut from = [0; Address::LEN];
        self.rng.fill_bytes(&mut from);
        let places = self.regions.awaited(&Address::from_bytes(from), self.config.lookups_max + 1);
        for place in places {
            if !self.has_room_to_search(purpose) {
                break;
            }
            self.search(turn, place, purpose);
        }
        self.begin_waiting_card_searches(turn);
    }

    /// The nodes a search begins with: those of the table that are nearest to the target, and for a
    /// region some others at random.
    fn first_to_ask(
        &mut self,
        target: &Address,
        purpose: SearchPurpose,
    ) -> (Vec<Contact>, Vec<Contact>) {
        let width = self.config.lookup.width;
        if !matches!(purpose, SearchPurpose::Region(_)) {
            return (self.table.closest(target, width), Vec::new());
        }
        let mut nearest = self.table.closest(target, self.table.len());
        let mut others = nearest.split_off(nearest.len().min(width.saturating_sub(STRANGERS)));
        (nearest, self.draw(&mut others, STRANGERS))
    }

    /// A query of a lookup was answered.
    pub(super) fn on_nodes(
        &mut self,
        turn: Turn<'_>,
        search: u64,
        from: &Contact,
        contacts: Vec<Contact>,
    ) {
        if let Some(running) = self.searches.get_mut(&search) {
            running.lookup.answered(&from.address(), contacts);
            self.advance(turn, search);
        }
    }

    /// The place whose region the lookup of this number is for, if it is for one.
    pub(super) fn place_searched(&self, search: u64) -> Option<Address> {
        let search = self.searches.get(&search)?;
        matches!(search.purpose, SearchPurpose::Region(_)).then(|| *search.lookup.target())
    }

    /// A query of a lookup was not answered.
    pub(super) fn on_query_failed(&mut self, turn: Turn<'_>, search: u64, to: &Contact) {
        if let Some(running) = self.searches.get_mut(&search) {
            running.lookup.failed(&to.address());
            self.advance(turn, search);
        }
    }

    /// Sends the queries a lookup wants sent.
    fn advance(&mut self, turn: Turn<'_>, id: u64) {
        while let Some(Question { to, about }) = self.next_question(id) {
            let address = to.address();
            if !self.call(turn, to, Request::FindNode { target: about }, Purpose::Search(id))
                && let Some(search) = self.searches.get_mut(&id)
            {
                search.lookup.failed(&address);
            }
        }
    }

    fn next_question(&mut self, id: u64) -> Option<Question> {
        self.searches.get_mut(&id)?.lookup.next()
    }

    /// Takes up the lookups that have come to their end.
    pub(super) fn finish_searches(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        let finished = self.searches.iter().filter(|(_, search)| search.lookup.is_finished());
        let finished: Vec<_> = finished.map(|(id, _)| *id).collect();
        for id in &finished {
            if let Some(search) = self.searches.remove(id) {
                self.finish_search(turn, &search)?;
            }
        }
        if !finished.is_empty() {
            self.begin_waiting_searches(turn);
        }
        Ok(())
    }

    fn finish_search(&mut self, turn: Turn<'_>, search: &Search) -> Result<(), StoreError> {
        let stats = search.lookup.stats();
        self.event(Event::LookedUp {
            queries: stats.sent,
            answered: stats.answered,
            took: turn.now.since(search.began),
        });
        let target = *search.lookup.target();
        let nearest = search.lookup.result();
        match search.purpose {
            SearchPurpose::Own => self.on_own_search(turn, search.peers_before),
            SearchPurpose::Refresh => self.on_refreshed(&target, &nearest),
            SearchPurpose::Region(_) => self.on_region_found(turn, target, nearest)?,
        }
        Ok(())
    }

    /// A search for a random address measures the network, unless it found so few nodes that it
    /// must have missed some of those in the table that are not bad.
    fn on_refreshed(&mut self, target: &Address, nearest: &[Contact]) {
        let enough = self.config.table.bucket_size;
        let known = self.table.closest(target, enough).len();
        if nearest.len() >= known.max(1) {
            self.size.sample_from(&distances(target, nearest, enough));
        } else {
            self.table.searched_in_vain(target);
        }
    }

    pub(super) fn measure_own_density(&mut self) {
        let enough = self.config.table.bucket_size;
        let nearest = self.table.closest(&self.address, enough);
        self.size.own_density(&distances(&self.address, &nearest, enough));
    }

    fn on_own_search(&mut self, turn: Turn<'_>, peers_before: usize) {
        // Whoever joined at the same time as we did was not known to anybody yet: while it finds
        // somebody new the search is repeated at once, and then ever more seldom.
        if self.table.len() > peers_before {
            self.bootstrap.attempts = 0;
            self.bootstrap.next = Some(turn.now);
        } else if !self.table.is_empty() {
            self.bootstrap.settled = true;
            if self.entries.settle() {
                // Regions found meanwhile may be far too large.
                self.regions.forget();
            }
        }
    }

    /// Takes the place in the network that the table shows, which it had before: it last searched for itself at
    /// `looked_at`, and does so again at `next`.
    pub(super) fn take_place(&mut self, turn: Turn<'_>, looked_at: Time, next: Time) {
        self.bootstrap.found(looked_at, next);
        self.save_table(turn);
    }

    /// Whether nobody we know answers.
    pub(super) fn is_alone(&self, now: Time) -> bool {
        let mut known = self.table.entries().map(|entry| entry.contact().address());
        known.all(|address| self.table.status(&address, now) == Some(Status::Bad))
    }

    fn on_added(&mut self, turn: Turn<'_>, contact: &Contact, introduced: bool) {
        let peer = contact.address();
        // Its answer tells its clock as well.
        if !introduced {
            self.ping(turn, contact.clone());
        }
        self.measure_own_density();
        self.event(Event::PeerAdded { peer });
        self.write_contact(contact);
        self.unsettled.insert(peer, keys::LOWEST.to_vec());
        if self.is_small_network() {
            self.regions.forget();
        } else {
            self.regions.add(contact, self.radius());
        }
        self.collect_soon(turn, &peer);
        self.introduce_cards(turn, contact);
    }

    /// Writes the table down, if it is another than what was written: a node whose neighbours stay
    /// leaves its disk in peace.
    fn save_table(&mut self, turn: Turn<'_>) {
        self.bootstrap.save_at = turn.now + SAVE_EVERY;
        if std::mem::replace(&mut self.bootstrap.saved, self.table.changes())
            == self.table.changes()
        {
            return;
        }
        self.desk.delete_range(Family::Contacts, keys::LOWEST.to_vec(), keys::HIGHEST.to_vec());
        let contacts: Vec<_> =
            self.table.entries().take(SAVED_MAX).map(|entry| entry.contact().clone()).collect();
        contacts.iter().for_each(|contact| self.write_contact(contact));
    }

    fn write_contact(&mut self, contact: &Contact) {
        let key = contact.address().as_bytes().to_vec();
        self.desk.put(Family::Contacts, key, contact.to_stored());
    }
}

/// The distances from `target` of the `count` nearest of `nearest`, ascending.
fn distances(target: &Address, nearest: &[Contact], count: usize) -> Vec<Distance> {
    nearest.iter().take(count).map(|contact| contact.address().distance(target)).collect()
}
