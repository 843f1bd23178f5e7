//! Who wants to hear of what arrives in a mailbox, and serving them (PROTOCOL §6.5).
//!
//! Entry type is [`Subscribers`]: sessions of our own clients, and nodes with a grant. Ids go
//! first; bodies only to whoever asks for them and may.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;

use crate::address::Address;
use crate::envelope::EnvelopeId;
use crate::grant::Grant;
use crate::message::{BODY_BYTES_MAX, ClientResponse, IDS_MAX, Push, Response, Waiting};
use crate::rejection::Rejection;
use crate::store::StoreError;
use crate::time::{Span, Time};
use crate::verified::Verified;

use super::exchange::parse_waiting_id;
use super::io::{Family, Output, RequestId, SessionId};
use super::keys;
use super::shares::Group;
use super::{Node, Turn};

/// Nodes that may subscribe to one mailbox at a time; its owner has few entries.
const PEERS_PER_MAILBOX_MAX: usize = 16;

/// Who is subscribed to one mailbox.
#[derive(Debug, Default)]
pub(super) struct Subscribers {
    sessions: BTreeSet<SessionId>,
    peers: BTreeMap<Address, Subscription>,
}

/// A node's subscription to one mailbox.
#[derive(Clone, Copy, Debug)]
struct Subscription {
    until: Time,
    /// It has shown a grant that names us as well: it wants the mailbox collected here. Without one it
    /// collects itself, and takes what happens to lie here.
    has_delegated: bool,
    /// Who is charged for what is collected for it.
    group: Group,
}

impl Node {
    /// A client opens mailboxes.
    pub(super) fn on_client_subscribe(
        &mut self,
        turn: Turn<'_>,
        id: RequestId,
        session: SessionId,
        grants: Vec<Verified<Grant>>,
        after: u64,
    ) -> Result<(), StoreError> {
        let room = self.has_room_to_subscribe(&grants) && self.has_room_to_collect(&grants);
        if !room || !self.open_session(session) {
            self.client_reply(id, Err(Rejection::Busy));
            return Ok(());
        }
        for grant in grants {
            let mailbox = grant.mailbox();
            if grant.collector() == self.address {
                self.note_own_mailbox(&mailbox, grant.not_after());
                let subscribers = self.subscribers.entry(mailbox).or_default();
                if subscribers.sessions.insert(session) {
                    self.open_mailbox(session, mailbox, after);
                }
            }
            self.collect_for_client(turn, grant);
        }
        self.client_reply(id, Ok(ClientResponse::Done));
        self.serve(turn, session)
    }

    /// Another node subscribes, or asks us to collect for it.
    pub(super) fn answer_subscribe(
        &mut self,
        turn: Turn<'_>,
        id: RequestId,
        (from, group): (&Address, Group),
        grants: Vec<Verified<Grant>>,
        after: u64,
    ) -> Result<(), StoreError> {
        let stranger = |grant: &&Verified<Grant>| {
            grant.collector() != *from && grant.collector() != self.address
        };
        if grants.iter().any(|grant| stranger(&grant)) {
            self.reply(id, Err(Rejection::NotGranted));
            return Ok(());
        }
        // What finds no place is left out: what waits in the others is told all the same.
        let delegated = grants.iter().filter(|grant| grant.collector() == self.address);
        let delegated: BTreeSet<_> = delegated.map(|grant| grant.mailbox()).collect();
        let (mut mailboxes, mut found_place) = (BTreeSet::new(), grants.is_empty());
        let mut is_one_left_out = false;
        for grant in grants {
            if grant.collector() == self.address {
                found_place |= self.has_room_to_collect(slice::from_ref(&grant));
                self.collect_for_peer(turn, grant);
                continue;
            }
            let has_delegated = delegated.contains(&grant.mailbox());
            let rest = if has_delegated { Span::ZERO } else { self.config.subscription_rest };
            let until = turn.now + rest + self.config.subscription_kept;
            let until = until.min(grant.not_after());
            let subscription = Subscription { until, has_delegated, group };
            if self.subscribe_peer(turn.now, &grant.mailbox(), from, subscription) {
                mailboxes.insert(grant.mailbox());
                found_place = true;
            } else {
                is_one_left_out = true;
            }
        }
        if !found_place {
            self.reply(id, Err(Rejection::Busy));
            return Ok(());
        }
        let (waiting, cursor, more) = self.waiting_in(turn, &mailboxes, after)?;
        // Whoever is not told everything comes again for it.
        let more = more || is_one_left_out;
        self.reply(id, Ok(Response::Subscribed { waiting, cursor, more }));
        Ok(())
    }

    /// A subscribed node fetches bodies.
    pub(super) fn answer_fetch(
        &mut self,
        turn: Turn<'_>,
        id: RequestId,
        from: &Address,
        ids: &[EnvelopeId],
    ) -> Result<(), StoreError> {
        let (mut envelopes, mut bytes) = (Vec::new(), 0);
        for envelope in ids {
            let Some(custody) = self.custody(turn, envelope)? else { continue };
            if !self.is_subscribed(&custody.mailbox, from, turn.now) {
                self.reply(id, Err(Rejection::NotGranted));
                return Ok(());
            }
            if bytes + custody.bytes as usize > BODY_BYTES_MAX {
                break;
            }
            bytes += custody.bytes as usize;
            envelopes.extend(self.envelope(turn, envelope, custody.expires_at)?);
        }
        self.reply(id, Ok(Response::Fetched { envelopes }));
        Ok(())
    }

    /// Tells everybody concerned of an arrival that the disk has, unless it has ended by then.
    pub(super) fn announce(
        &mut self,
        turn: Turn<'_>,
        waiting: Waiting,
        arrival: u64,
        expires_at: Time,
    ) -> Result<(), StoreError> {
        let Some(subscribers) = self.subscribers.get(&waiting.mailbox) else { return Ok(()) };
        if self.custody(turn, &waiting.id)?.is_none() {
            return Ok(());
        }
        let sessions: Vec<_> = subscribers.sessions.iter().copied().collect();
        let subscribed = subscribers.peers.iter().filter(|(_, one)| one.until > turn.now);
        let peers: Vec<_> = subscribed.map(|(peer, _)| *peer).collect();
        for session in sessions {
            self.line_up(session, arrival, waiting.id, expires_at);
            self.serve(turn, session)?;
        }
        for peer in peers.into_iter().filter(|peer| self.listeners.contains(peer)) {
            self.desk.push(Output::Push { to: peer, push: Push::Waiting(vec![waiting]) });
        }
        Ok(())
    }

    pub(super) fn unsubscribe_session(&mut self, mailbox: &Address, session: SessionId) {
        if let Some(subscribers) = self.subscribers.get_mut(mailbox) {
            subscribers.sessions.remove(&session);
            if subscribers.is_empty() {
                self.subscribers.remove(mailbox);
            }
        }
        self.stop_collecting_unwanted(mailbox);
    }

    /// Whether anybody still wants this mailbox collected here. A node that collects it as well is no reason: of
    /// two that lie in its region each would be the other's, long after its reader has gone.
    pub(super) fn is_wanted(&self, mailbox: &Address) -> bool {
        let wants = |one: &Subscribers| {
            !one.sessions.is_empty() || one.peers.values().any(|peer| peer.has_delegated)
        };
        self.subscribers.get(mailbox).is_some_and(wants)
    }

    /// Whether anybody may have been handed what waits in this mailbox.
    pub(super) fn is_open(&self, mailbox: &Address) -> bool {
        self.subscribers.contains_key(mailbox)
    }

    /// Forgets nodes whose subscriptions have run out.
    pub(super) fn forget_old_subscribers(&mut self, now: Time) {
        self.subscribers.retain(|_, subscribers| {
            subscribers.peers.retain(|_, one| one.until > now);
            !subscribers.is_empty()
        });
    }

    fn has_room_to_subscribe(&self, grants: &[Verified<Grant>]) -> bool {
        let new = grants.iter().filter(|g| !self.subscribers.contains_key(&g.mailbox())).count();
        self.subscribers.len() + new <= self.config.subscriptions_max
    }

    /// Who of those for whom a mailbox is collected is charged for what comes: whoever uses least, since
    /// all of them have been granted it by its owner.
    pub(super) fn charged_for(&self, mailbox: &Address, now: Time) -> Option<Group> {
        let peers = self.subscribers.get(mailbox)?.peers.values();
        let delegated = peers.filter(|one| one.has_delegated && one.until > now);
        delegated.map(|one| one.group).min_by_key(|group| (self.shares.used(group), *group))
    }

    fn subscribe_peer(
        &mut self,
        now: Time,
        mailbox: &Address,
        peer: &Address,
        subscription: Subscription,
    ) -> bool {
        let full = self.subscribers.len() >= self.config.subscriptions_max;
        if full && !self.subscribers.contains_key(mailbox) {
            return false;
        }
        let peers = &mut self.subscribers.entry(*mailbox).or_default().peers;
        if peers.len() >= PEERS_PER_MAILBOX_MAX && !peers.contains_key(peer) {
            peers.retain(|_, one| one.until > now);
            if peers.len() >= PEERS_PER_MAILBOX_MAX {
                return false;
            }
        }
        peers.insert(*peer, subscription);
        true
    }

    fn is_subscribed(&self, mailbox: &Address, peer: &Address, now: Time) -> bool {
        let subscribers = self.subscribers.get(mailbox);
        subscribers.and_then(|s| s.peers.get(peer)).is_some_and(|one| one.until > now)
    }

    /// One page of what waits in these mailboxes, oldest first.
    fn waiting_in(
        &self,
        turn: Turn<'_>,
        mailboxes: &BTreeSet<Address>,
        after: u64,
    ) -> Result<(Vec<Waiting>, u64, bool), StoreError> {
        let mut found = BTreeMap::new();
        for mailbox in mailboxes {
            let from = keys::mailbox(mailbox, after.saturating_add(1));
            let to = keys::mailbox(mailbox, self.arrivals.end());
            for (key, value) in turn.store.scan(Family::Mailboxes, &from, &to, IDS_MAX + 1)? {
                let (_, arrival) =
                    keys::parse_mailbox(&key).ok_or(StoreError::Damaged("mailboxes"))?;
                let id = parse_waiting_id(&value)?;
                found.insert(arrival, Waiting { mailbox: *mailbox, id });
            }
        }
        let more = found.len() > IDS_MAX;
        let page: Vec<_> = found.into_iter().take(IDS_MAX).collect();
        let cursor = page.last().map_or(after, |(arrival, _)| *arrival);
        Ok((page.into_iter().map(|(_, waiting)| waiting).collect(), cursor, more))
    }
}

impl Subscribers {
    /// How much is remembered of it.
    pub(super) fn len(&self) -> usize {
        self.sessions.len() + self.peers.len()
    }

    fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.peers.is_empty()
    }
}
