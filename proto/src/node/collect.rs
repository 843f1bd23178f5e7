//! Collecting mailboxes from where they are stored (PROTOCOL §6.5, §6.8).
//!
//! Entry type is [`Collection`]: one mailbox, the grants that open it, and the nodes we subscribed at.
//! For our own clients we turn to entries where the network is large enough to have any; for
//! another node, whose entry we are, to the mailbox's region.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::Address;
use crate::contact::Contact;
use crate::envelope::{Envelope, EnvelopeId};
use crate::grant::Grant;
use crate::message::{ENVELOPES_MAX, Push, Request, SIGNED_MAX, Waiting};
use crate::rejection::Rejection;
use crate::store::StoreError;
use crate::time::{Span, Time};
use crate::verified::Verified;

use super::accept::Taken;
use super::calls::Purpose;
use super::io::Output;
use super::records::Role;
use super::regions::{Aim, Found};
use super::{Node, Turn};

/// How soon a mailbox whose region is being looked up is tried again.
const LOOKUP_PATIENCE: Span = Span::from_secs(15);
/// Nodes one mailbox is collected from at a time.
const SOURCES_MAX: usize = 64;
/// Grants for other nodes kept with one mailbox; its owner has few entries.
const DELEGATES_MAX: usize = 16;
/// Pages asked of one node in one renewal; the rest comes with the next, when these have been read.
const PAGES_MAX: u32 = 256;
/// Envelopes being fetched at a time; further ones come with the next renewal.
const FETCHING_MAX: usize = 16_384;
/// Nodes remembered that have an envelope too while it is being fetched from another one.
const OTHERS_MAX: usize = 4;

/// One mailbox to be collected.
#[derive(Debug)]
pub(super) struct Collection {
    aim: Aim,
    /// By collector: ours, and those to hand to entries.
    grants: BTreeMap<Address, Verified<Grant>>,
    sources: BTreeSet<Address>,
    next: Time,
}

impl Node {
    /// A client wants this mailbox collected, by us or, with a grant for another node, by that one.
    pub(super) fn collect_for_client(&mut self, turn: Turn<'_>, grant: Verified<Grant>) {
        self.collect(turn, grant, Aim::Own);
    }

    /// Another node whose entry we are wants this mailbox collected.
    pub(super) fn collect_for_peer(&mut self, turn: Turn<'_>, grant: Verified<Grant>) {
        self.collect(turn, grant, Aim::Relayed);
    }

    /// Whether all these mailboxes can be collected.
    pub(super) fn has_room_to_collect(&self, grants: &[Verified<Grant>]) -> bool {
        let new = grants.iter().filter(|g| !self.collections.contains_key(&g.mailbox())).count();
        self.collections.len() + new <= self.config.subscriptions_max
    }

    /// When the next subscription is to be renewed.
    pub(super) fn next_collection(&self) -> Option<Time> {
        if self.table.is_empty() {
            return None;
        }
        self.collections.values().map(|collection| collection.next).min()
    }

    /// Renews what is due.
    pub(super) fn collect_due(&mut self, turn: Turn<'_>) {
        if self.table.is_empty() {
            return;
        }
        let due = self.collections.iter().filter(|(_, collection)| collection.next <= turn.now);
        let due: Vec<_> = due.map(|(mailbox, _)| *mailbox).take(self.config.due_per_step).collect();
        if due.is_empty() {
            return;
        }
        self.forget_old_subscribers(turn.now);
        let mut by_source = BTreeMap::new();
        for mailbox in due {
            self.subscribe_everywhere(turn, &mailbox, &mut by_source);
        }
        self.send_subscriptions(turn, by_source);
    }

    /// A region that a collection waited for has been found.
    pub(super) fn collect_from_region(&mut self, turn: Turn<'_>, place: &Address) {
        if let Some(collection) = self.collections.get_mut(place) {
            collection.next = turn.now;
        }
    }

    /// Renews everything by `at`: after an outage nobody waits for the next renewal.
    pub(super) fn collect_again_by(&mut self, at: Time) {
        self.collections
            .values_mut()
            .for_each(|collection| collection.next = collection.next.min(at));
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
        collection.map(|c| c.sources.iter().copied().collect()).unwrap_or_default()
    }

    /// A page of what waits at a node we subscribed at.
    pub(super) fn on_subscribed(
        &mut self,
        turn: Turn<'_>,
        from: &Contact,
        (mailboxes, pages): (Vec<Address>, u32),
        waiting: &[Waiting],
        next: Option<u64>,
    ) -> Result<(), StoreError> {
        if let (Some(after), true, true) = (next, !waiting.is_empty(), pages < PAGES_MAX) {
            let grants = self.grants_at(&mailboxes, &from.address());
            let request = Request::Subscribe { grants, after };
            let purpose = Purpose::Subscribe { mailboxes, pages: pages + 1 };
            self.call(turn, from.clone(), request, purpose);
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
        let (mut lacking, mut read) = (Vec::new(), BTreeSet::new());
        for Waiting { mailbox, id } in waiting {
            if !self.collections.contains_key(mailbox) {
                continue;
            }
            if let Some(tombstone) = self.tombstone(turn, id)? {
                read.insert(tombstone);
            } else if let Some(others) = self.fetching.get_mut(id) {
                if others.len() < OTHERS_MAX && !others.contains(from) {
                    others.push(*from);
                }
            } else if self.custody(turn, id)?.is_none() {
                lacking.push(*id);
            }
        }
        let acknowledgements = self.acknowledgements_of(turn, &read)?;
        if !acknowledgements.is_empty() {
            self.tell(turn, from, Push::Acknowledgements(acknowledgements));
        }
        self.fetch(turn, from, &lacking);
        Ok(())
    }

    /// Bodies came.
    pub(super) fn on_fetched(
        &mut self,
        turn: Turn<'_>,
        from: &Contact,
        asked: &[EnvelopeId],
        envelopes: &[Envelope],
    ) -> Result<(), StoreError> {
        let mut came = BTreeSet::new();
        for envelope in envelopes {
            let wanted = asked.contains(&envelope.id())
                && self.collections.contains_key(&envelope.mailbox());
            if !wanted {
                self.note_refusal(Rejection::Unknown);
                continue;
            }
            came.insert(envelope.id());
            let source = Some(from.address());
            if let Taken::Refused(reason) = self.take(turn, envelope, Role::Collected, source)? {
                self.note_refusal(reason);
            }
        }
        came.iter().for_each(|id| drop(self.fetching.remove(id)));
        let rest: Vec<_> = asked.iter().filter(|id| !came.contains(id)).copied().collect();
        if came.is_empty() {
            return self.fetch_elsewhere(turn, &rest);
        }
        // As many as fit were sent; the rest is asked for again.
        self.fetch(turn, &from.address(), &rest);
        Ok(())
    }

    /// These did not come from where they were asked for: others may hand them over.
    pub(super) fn fetch_elsewhere(
        &mut self,
        turn: Turn<'_>,
        ids: &[EnvelopeId],
    ) -> Result<(), StoreError> {
        let mut elsewhere: BTreeMap<Address, Vec<EnvelopeId>> = BTreeMap::new();
        for id in ids {
            let here = self.custody(turn, id)?.is_some() || self.tombstone(turn, id)?.is_some();
            let others = self.fetching.get_mut(id).filter(|_| !here);
            match others.and_then(Vec::pop) {
                Some(other) => elsewhere.entry(other).or_default().push(*id),
                None => drop(self.fetching.remove(id)),
            }
        }
        for (other, ids) in elsewhere {
            self.fetch(turn, &other, &ids);
        }
        Ok(())
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
            sources: BTreeSet::new(),
            next: turn.now,
        };
        let collection = self.collections.entry(mailbox).or_insert_with(new);
        let known = collection.grants.contains_key(&grant.collector());
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
        if collection.grants.is_empty() || (collection.aim == Aim::Relayed && !wanted) {
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
        let nodes: Vec<_> = nodes.into_iter().take(SOURCES_MAX).collect();
        self.replace_sources(mailbox, nodes.iter().map(Contact::address).collect());
        for contact in nodes {
            let entry = by_source.entry(contact.address());
            entry.or_insert_with(|| (contact, Vec::new())).1.push(*mailbox);
        }
    }

    fn replace_sources(&mut self, mailbox: &Address, sources: BTreeSet<Address>) {
        let Some(collection) = self.collections.get_mut(mailbox) else { return };
        let gone: Vec<_> = collection.sources.difference(&sources).copied().collect();
        collection.sources = sources;
        gone.iter().for_each(|source| self.stop_listening_unneeded(source));
    }

    fn end_collection(&mut self, mailbox: &Address) {
        let Some(collection) = self.collections.remove(mailbox) else { return };
        collection.sources.iter().for_each(|source| self.stop_listening_unneeded(source));
    }

    fn send_subscriptions(
        &mut self,
        turn: Turn<'_>,
        by_source: BTreeMap<Address, (Contact, Vec<Address>)>,
    ) {
        for (source, (contact, mailboxes)) in by_source {
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

    fn fetch(&mut self, turn: Turn<'_>, from: &Address, ids: &[EnvelopeId]) {
        for some in ids.chunks(ENVELOPES_MAX) {
            if !self.fetch_some(turn, from, some) {
                some.iter().for_each(|id| drop(self.fetching.remove(id)));
            }
        }
    }

    fn fetch_some(&mut self, turn: Turn<'_>, from: &Address, ids: &[EnvelopeId]) -> bool {
        let Some(contact) = self.contact(from) else { return false };
        let new = ids.iter().filter(|id| !self.fetching.contains_key(id)).count();
        if self.fetching.len() + new > FETCHING_MAX {
            return false;
        }
        let request = Request::Fetch { ids: ids.to_vec() };
        let called = self.call(turn, contact, request, Purpose::Fetch { ids: ids.to_vec() });
        if called {
            for id in ids {
                self.fetching.entry(*id).or_default();
            }
        }
        called
    }

    fn stop_listening_unneeded(&mut self, source: &Address) {
        let needed = self.collections.values().any(|c| c.sources.contains(source));
        if let (false, Some(to)) = (needed, self.contact(source)) {
            self.desk.push(Output::Listen { to, open: false });
        }
    }
}
