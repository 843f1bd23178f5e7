//! Collecting mailboxes from where they are stored (PROTOCOL §6.5, §6.8).
//!
//! Entry type is [`Collection`]: one mailbox, the grants that open it, and the nodes we subscribed at.
//! For our own clients we turn to entries where the network is large enough to have any; for
//! another node, whose entry we are, to the mailbox's region.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::address::Address;
use crate::contact::Contact;
use crate::envelope::{Envelope, EnvelopeId, SizeClass};
use crate::grant::Grant;
use crate::message::{BODY_BYTES_MAX, Push, Request, SIGNED_MAX, Waiting};
use crate::rejection::Rejection;
use crate::store::StoreError;
use crate::time::Time;
use crate::verified::Verified;

use super::accept::{Origin, Taken};
use super::calls::Purpose;
use super::fetching::{Handed, Page};
use super::io::Output;
use super::records::Role;
use super::regions::{Aim, Found, LOOKUP_PATIENCE};
use super::shares::Group;
use super::{Node, Turn};

/// Nodes one mailbox is collected from at a time.
const SOURCES_MAX: usize = 64;
/// Grants for other nodes kept with one mailbox; its owner has few entries.
const DELEGATES_MAX: usize = 16;
/// Pages asked of one node in one renewal; the rest comes with the next, when these have been read.
const PAGES_MAX: u32 = 256;

/// One mailbox to be collected.
#[derive(Debug)]
pub(super) struct Collection {
    aim: Aim,
    /// By collector: ours, and those to hand to entries.
    grants: BTreeMap<Address, Verified<Grant>>,
    sources: BTreeMap<Address, Standing>,
    /// Where it was collected from in turn, until everybody has had one.
    had_turn: BTreeSet<Address>,
    next: Time,
}

/// How a mailbox stands at a node that it is collected from.
#[derive(Clone, Copy, Debug)]
enum Standing {
    /// It was asked, and has not told all that waits there.
    Asked(Time),
    /// It was asked then, and has.
    Told(Time),
}

impl Collection {
    /// No source is left as it is at the next renewal.
    fn ask_everybody_again(&mut self) {
        for standing in self.sources.values_mut() {
            if let Standing::Told(when) = *standing {
                *standing = Standing::Asked(when);
            }
        }
    }
}

impl Node {
    /// A client wants this mailbox collected, by us or, with a grant for another node, by that one.
    pub(super) fn collect_for_client(&mut self, turn: Turn<'_>, grant: Verified<Grant>) {
        self.collect(turn, grant, Aim::Own);
    }

    /// Another node whose entry we are wants this mailbox collected. One of our own clients stays hidden
    /// behind our entries, whoever asks for it.
    pub(super) fn collect_for_peer(&mut self, turn: Turn<'_>, grant: Verified<Grant>) {
        let own = self.own_mailboxes.contains(&grant.mailbox());
        self.collect(turn, grant, if own { Aim::Own } else { Aim::Relayed });
    }

    /// Whether all these mailboxes can be collected.
    pub(super) fn has_room_to_collect(&self, grants: &[Verified<Grant>]) -> bool {
        let new = grants.iter().filter(|g| !self.collections.contains_key(&g.mailbox())).count();
        self.collections.len() + new <= self.config.subscriptions_max
    }

    /// When the next subscription is to be renewed, or something to be fetched from others.
    pub(super) fn next_collection(&self) -> Option<Time> {
        if self.table.is_empty() || self.is_leaving() {
            return None;
        }
        let renewal = self.collections.values().map(|collection| collection.next).min();
        renewal.into_iter().chain(self.fetching.due_at()).min()
    }

    /// Renews what is due, and fetches elsewhere what has not come.
    pub(super) fn collect_due(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        if self.table.is_empty() || self.is_leaving() {
            return Ok(());
        }
        let due = self.collections.iter().filter(|(_, collection)| collection.next <= turn.now);
        let due: Vec<_> = due.map(|(mailbox, _)| *mailbox).take(self.config.due_per_step).collect();
        if !due.is_empty() {
            self.forget_old_subscribers(turn.now);
            self.forget_own_mailboxes(self.clock.agreed());
            self.fetching.forget_old(turn.now);
            let mut by_source = BTreeMap::new();
            for mailbox in due {
                self.subscribe_everywhere(turn, &mailbox, &mut by_source);
            }
            self.send_subscriptions(turn, by_source);
        }
        self.fetch_due(turn)
    }

    /// A region that a collection waited for has been found.
    pub(super) fn collect_from_region(&mut self, turn: Turn<'_>, place: &Address) {
        if let Some(collection) = self.collections.get_mut(place) {
            collection.next = turn.now;
        }
    }

    /// Renews everything by `at`: after an outage nobody waits for the next renewal.
    pub(super) fn collect_again_by(&mut self, at: Time) {
        for collection in self.collections.values_mut() {
            collection.next = collection.next.min(at);
            collection.ask_everybody_again();
        }
    }

    /// A new neighbour may have what we collect.
    pub(super) fn collect_soon(&mut self, turn: Turn<'_>, peer: &Address) {
        let near = self.collections.keys().filter(|place| self.is_in_region(peer, place));
        for place in near.copied().collect::<Vec<_>>() {
            self.collect_from_region(turn, &place);
        }
    }

    /// Ends a collection for clients that nobody wants any more.
    pub(super) fn stop_collecting_unwanted(&mut self, mailbox: &Address) {
        if self.is_wanted(mailbox) {
            return;
        }
        self.end_collection(mailbox);
    }

    /// Where a mailbox is collected from: they must learn what has been read.
    pub(super) fn collected_from(&self, mailbox: &Address) -> Vec<Address> {
        let collection = self.collections.get(mailbox);
        collection.map(|c| c.sources.keys().copied().collect()).unwrap_or_default()
    }

    /// A page of what waits at a node we subscribed at.
    pub(super) fn on_subscribed(
        &mut self,
        turn: Turn<'_>,
        from: &Contact,
        (mailboxes, number): (Vec<Address>, u32),
        waiting: &[Waiting],
        next: Option<u64>,
    ) -> Result<(), StoreError> {
        match next {
            None => self.has_told_all(&from.address(), &mailboxes),
            Some(after) if !waiting.is_empty() && number < PAGES_MAX => {
                let page = Page { mailboxes, number: number + 1, after };
                self.fetching.page_waits(&from.address(), page);
            }
            Some(_) => {}
        }
        self.on_waiting(turn, &from.address(), waiting)
    }

    /// A node tells what waits: fetch what we lack, and tell it what has been read.
    pub(super) fn on_waiting(
        &mut self,
        turn: Turn<'_>,
        from: &Address,
        waiting: &[Waiting],
    ) -> Result<(), StoreError> {
        let mut read = BTreeSet::new();
        for Waiting { mailbox, id } in waiting {
            // Nobody has a say about mailboxes that are not collected there.
            if !self.collections.get(mailbox).is_some_and(|c| c.sources.contains_key(from)) {
                continue;
            }
            if let Some(tombstone) = self.tombstone(turn, id)? {
                read.insert(tombstone);
            } else if !self.is_leaving() && self.custody(turn, id)?.is_none() {
                self.fetching.announce(id, from, turn.now);
            }
        }
        let acknowledgements = self.acknowledgements_of(turn, &read)?;
        if !acknowledgements.is_empty() {
            self.tell(turn, from, Push::Acknowledgements(acknowledgements));
        }
        self.fetch_from(turn, from)
    }

    /// Bodies came.
    pub(super) fn on_fetched(
        &mut self,
        turn: Turn<'_>,
        from: &Contact,
        asked: &[EnvelopeId],
        envelopes: &[Envelope],
    ) -> Result<(), StoreError> {
        let (mut came, mut bytes) = (BTreeSet::new(), 0);
        for envelope in envelopes {
            let id = envelope.id();
            if !asked.contains(&id) {
                self.note_refusal(Rejection::Unknown);
                continue;
            }
            bytes += if came.insert(id) { envelope.body().len() } else { 0 };
            let tellers = self.fetching.tellers(&id);
            self.fetching.settled(&id);
            // Nobody may want it any more by now.
            if let Some(origin) = self.collected_by(turn, &envelope.mailbox(), from)
                && let Taken::Refused(reason) = self.take(turn, envelope, origin)?
            {
                self.lose_if_full(turn, &tellers, &reason);
                self.fetch_again_if_busy(turn, &id, &from.address(), &reason);
                self.note_refusal(reason);
            }
        }
        let mut handed = Handed::All;
        for id in asked.iter().filter(|id| !came.contains(id)) {
            if self.tombstone(turn, id)?.is_none() {
                // A full message may leave some out, any other none.
                let is_full = bytes + SizeClass::K64.body_len() > BODY_BYTES_MAX;
                handed = if is_full { Handed::Full } else { Handed::Less };
            }
        }
        self.fetch_ended(turn, &from.address(), asked, handed)
    }

    /// What there was no room for is to be told again, by whoever has told of it.
    fn lose_if_full(&mut self, turn: Turn<'_>, tellers: &[Address], reason: &Rejection) {
        if matches!(reason, Rejection::Busy | Rejection::StoreFull) {
            tellers.iter().for_each(|teller| self.fetching.lose(teller, turn.now));
        }
    }

    /// What there was no room for just now is still wanted: its reader need not wait for the next subscription.
    fn fetch_again_if_busy(
        &mut self,
        turn: Turn<'_>,
        id: &EnvelopeId,
        from: &Address,
        reason: &Rejection,
    ) {
        if *reason == Rejection::Busy {
            self.fetching.announce(id, from, turn.now);
            self.fetching.rest(turn.now);
        }
    }

    /// How what was fetched for a mailbox is taken in, if it is collected: as our own clients' if one of
    /// them wants it, else whoever has asked this node to collect it is charged.
    fn collected_by(&self, turn: Turn<'_>, mailbox: &Address, from: &Contact) -> Option<Origin> {
        let source = from.address();
        let handed_over_by = || {
            let ip = from.endpoints().first().map(SocketAddr::ip);
            ip.map_or(Group::Node(source), |ip| Group::of(ip, &source))
        };
        let group = match self.collections.get(mailbox)?.aim {
            Aim::Own => None,
            Aim::Relayed | Aim::Errand => {
                Some(self.charged_for(mailbox, turn.now).unwrap_or_else(handed_over_by))
            }
        };
        Some(Origin { role: Role::Collected, source: Some(source), group })
    }

    /// A call for these has come to its end: what is still lacking may come from others.
    pub(super) fn fetch_ended(
        &mut self,
        turn: Turn<'_>,
        source: &Address,
        asked: &[EnvelopeId],
        handed: Handed,
    ) -> Result<(), StoreError> {
        self.fetching.call_ended(source, asked, handed, turn.now);
        self.fetch_due(turn)?;
        self.fetch_from(turn, source)
    }

    /// Asks others for what has not come from where it was asked for.
    fn fetch_due(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        while let Some(source) = self.fetching.next_due(turn.now, &mut self.rng) {
            self.fetch_from(turn, &source)?;
        }
        Ok(())
    }

    /// Asks a node for whatever it is its turn to hand over, and for more of what waits there.
    fn fetch_from(&mut self, turn: Turn<'_>, source: &Address) -> Result<(), StoreError> {
        let Some(contact) = self.contact(source) else {
            self.fetching.lost(source);
            return Ok(());
        };
        if self.is_disk_short_for_others(0) {
            self.fetching.rest(turn.now);
        }
        loop {
            let mut ids = self.fetching.next_for(source, turn.now);
            if ids.is_empty() {
                break;
            }
            for id in &ids {
                if self.is_here(turn, id)? {
                    self.fetching.settled(id);
                }
            }
            ids.retain(|id| self.fetching.is_wanted(id));
            let request = Request::Fetch { ids: ids.clone() };
            let purpose = Purpose::Fetch { ids: ids.clone() };
            if !ids.is_empty() {
                if !self.call(turn, contact.clone(), request, purpose) {
                    break;
                }
                self.fetching.asking(source, &ids, turn.now);
            }
        }
        if let Some(Page { mailboxes, number, after }) = self.fetching.next_page(source) {
            let grants = self.grants_at(&mailboxes, source);
            let request = Request::Subscribe { grants, after };
            self.call(turn, contact, request, Purpose::Subscribe { mailboxes, pages: number });
        }
        Ok(())
    }

    /// Whether the envelope is here or was.
    fn is_here(&self, turn: Turn<'_>, id: &EnvelopeId) -> Result<bool, StoreError> {
        Ok(self.custody(turn, id)?.is_some() || self.tombstone(turn, id)?.is_some())
    }

    fn collect(&mut self, turn: Turn<'_>, grant: Verified<Grant>, aim: Aim) {
        let mailbox = grant.mailbox();
        let full = self.collections.len() >= self.config.subscriptions_max;
        if full && !self.collections.contains_key(&mailbox) {
            return;
        }
        let new = || Collection {
            aim,
            grants: BTreeMap::new(),
            sources: BTreeMap::new(),
            had_turn: BTreeSet::new(),
            next: turn.now,
        };
        let rotating = self.rotating.contact().map(Contact::address);
        let collection = self.collections.entry(mailbox).or_insert_with(new);
        // What our own client reads is never collected from the region by ourselves, whoever came first.
        if (collection.aim, aim) == (Aim::Relayed, Aim::Own) {
            (collection.aim, collection.next) = (Aim::Own, turn.now);
        }
        let known = collection.grants.get(&grant.collector()).map(|known| known.not_after());
        if known.is_some_and(|not_after| not_after >= grant.not_after()) {
            // Whoever was shown an older one may show it here: it ends nothing that a newer one opens.
            return;
        }
        let known = known.is_some();
        if !known && collection.grants.len() >= DELEGATES_MAX {
            // Of the entries of before, nobody makes use any more.
            collection.grants.retain(|collector, _| {
                *collector == self.address
                    || Some(*collector) == rotating
                    || self.entries.contains(collector)
            });
        }
        if grant.collector() == self.address {
            // Where it is subscribed, that ends with the grant that was shown.
            collection.ask_everybody_again();
        }
        if known || collection.grants.len() < DELEGATES_MAX {
            collection.grants.insert(grant.collector(), grant);
        }
        if !known {
            collection.next = turn.now;
        }
    }

    fn subscribe_everywhere(
        &mut self,
        turn: Turn<'_>,
        mailbox: &Address,
        by_source: &mut BTreeMap<Address, (Contact, Vec<Address>)>,
    ) {
        let wanted = self.is_wanted(mailbox);
        let Some(collection) = self.collections.get_mut(mailbox) else { return };
        collection.grants.retain(|_, grant| grant.not_after() > turn.now);
        // An entry goes on only as long as those it collects for renew their own subscriptions.
        if collection.grants.is_empty() || !wanted {
            self.end_collection(mailbox);
            return;
        }
        let aim = collection.aim;
        let nodes = match self.find_region(turn, mailbox, aim) {
            Found::Searching => {
                self.collect_again(mailbox, turn.now + LOOKUP_PATIENCE);
                return;
            }
            Found::Nodes(nodes) => nodes,
        };
        self.collect_again(mailbox, turn.now + self.config.subscription_renewal);
        let mut nodes = self.take_turns(mailbox, nodes);
        nodes.extend(self.rotating_collector(mailbox));
        self.replace_sources(turn, mailbox, &nodes.iter().map(Contact::address).collect());
        for contact in nodes {
            let address = contact.address();
            if self.rests(turn, mailbox, &address) {
                continue;
            }
            self.stands(mailbox, &address, Standing::Asked(turn.now));
            let entry = by_source.entry(address);
            entry.or_insert_with(|| (contact, Vec::new())).1.push(*mailbox);
        }
    }

    /// Whether a source need not be asked again yet: it has told all that waited there, and what it pushes comes. One
    /// that collects for us is asked all the same, since it goes on only as long as it is.
    fn rests(&self, turn: Turn<'_>, mailbox: &Address, source: &Address) -> bool {
        let Some(collection) = self.collections.get(mailbox) else { return false };
        let Some(Standing::Told(asked)) = collection.sources.get(source) else { return false };
        !collection.grants.contains_key(source)
            && turn.now < *asked + self.config.subscription_rest
            && self.fetching.has_heard_all_since(source, *asked)
    }

    fn stands(&mut self, mailbox: &Address, source: &Address, standing: Standing) {
        let sources = self.collections.get_mut(mailbox).map(|collection| &mut collection.sources);
        if let Some(known) = sources.and_then(|sources| sources.get_mut(source)) {
            *known = standing;
        }
    }

    /// A source has told the last of what waits in these mailboxes.
    fn has_told_all(&mut self, source: &Address, mailboxes: &[Address]) {
        for mailbox in mailboxes {
            let standing = self.collections.get(mailbox).and_then(|one| one.sources.get(source));
            if let Some(Standing::Asked(when)) = standing.copied() {
                self.stands(mailbox, source, Standing::Told(when));
            }
        }
    }

    /// The entry that changes, if a client has granted it this mailbox.
    fn rotating_collector(&self, mailbox: &Address) -> Option<Contact> {
        let contact = self.rotating.contact().filter(|_| self.is_behind_entries())?;
        let collection = self.collections.get(mailbox).filter(|one| one.aim == Aim::Own)?;
        collection.grants.contains_key(&contact.address()).then(|| contact.clone())
    }

    /// Of a region that is too large to be collected from all at once: half of the places for nodes
    /// that had no turn yet, so that everybody has one, half for any, so that ever new ones cannot
    /// keep the others out. Who lies nearer has no advantage.
    fn take_turns(&mut self, mailbox: &Address, mut nodes: Vec<Contact>) -> Vec<Contact> {
        if nodes.len() <= SOURCES_MAX {
            return nodes;
        }
        let had_turn =
            self.collections.get(mailbox).map(|c| c.had_turn.clone()).unwrap_or_default();
        let mut waiting = nodes.clone();
        waiting.retain(|node| !had_turn.contains(&node.address()));
        let mut chosen = self.draw(&mut waiting, SOURCES_MAX / 2);
        let all_had_turn = chosen.len() < SOURCES_MAX / 2;
        let is_there = |address: &Address| nodes.iter().any(|node| node.address() == *address);
        let mut had_turn: BTreeSet<_> =
            had_turn.into_iter().filter(|had| !all_had_turn && is_there(had)).collect();
        nodes.retain(|node| !chosen.contains(node));
        chosen.extend(self.draw(&mut nodes, SOURCES_MAX - chosen.len()));
        had_turn.extend(chosen.iter().map(Contact::address));
        if let Some(collection) = self.collections.get_mut(mailbox) {
            collection.had_turn = had_turn;
        }
        chosen
    }

    fn replace_sources(&mut self, turn: Turn<'_>, mailbox: &Address, sources: &BTreeSet<Address>) {
        let Some(collection) = self.collections.get_mut(mailbox) else { return };
        let known = &mut collection.sources;
        let gone: Vec<_> = known.keys().filter(|known| !sources.contains(known)).copied().collect();
        known.retain(|known, _| sources.contains(known));
        for source in sources {
            known.entry(*source).or_insert(Standing::Asked(turn.now));
        }
        gone.iter().for_each(|source| self.stop_listening_unneeded(source));
    }

    fn end_collection(&mut self, mailbox: &Address) {
        let Some(collection) = self.collections.remove(mailbox) else { return };
        collection.sources.keys().for_each(|source| self.stop_listening_unneeded(source));
    }

    fn send_subscriptions(
        &mut self,
        turn: Turn<'_>,
        by_source: BTreeMap<Address, (Contact, Vec<Address>)>,
    ) {
        for (source, (contact, mailboxes)) in by_source {
            self.fetching.begin(&source);
            self.desk.push(Output::Listen { to: contact.clone(), open: true });
            // A mailbox brings at most two grants: the asker's and the answerer's.
            for some in mailboxes.chunks(SIGNED_MAX / 2) {
                let grants = self.grants_at(some, &source);
                let request = Request::Subscribe { grants, after: 0 };
                let purpose = Purpose::Subscribe { mailboxes: some.to_vec(), pages: 1 };
                self.call(turn, contact.clone(), request, purpose);
            }
        }
    }

    /// The grants to show to `source`: ours, and its own where it is to collect for us.
    fn grants_at(&self, mailboxes: &[Address], source: &Address) -> Vec<Verified<Grant>> {
        let collections = mailboxes.iter().filter_map(|mailbox| self.collections.get(mailbox));
        let ours_and_its = [&self.address, source];
        collections
            .flat_map(|c| ours_and_its.into_iter().filter_map(|who| c.grants.get(who).cloned()))
            .collect()
    }

    fn collect_again(&mut self, mailbox: &Address, at: Time) {
        if let Some(collection) = self.collections.get_mut(mailbox) {
            collection.next = at;
        }
    }

    fn stop_listening_unneeded(&mut self, source: &Address) {
        if self.collections.values().any(|c| c.sources.contains_key(source)) {
            return;
        }
        self.fetching.end(source);
        if let Some(to) = self.contact(source) {
            self.desk.push(Output::Listen { to, open: false });
        }
    }
}
