//! Finding cards and publishing them, for our own clients and for nodes whose entry we are
//! (PROTOCOL §6.9).
//!
//! Entry type is [`CardSearch`]. For a client this node turns to its entries in a network that is
//! large enough to have any, so that neither region nor owner sees it; for another node it turns to
//! the region, whose nodes answer from their own stores. So a request is passed on once and never
//! in a circle. What this node keeps itself is `cards`' business.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::Address;
use crate::card::Card;
use crate::contact::Contact;
use crate::message::{ClientResponse, Request, Response};
use crate::time::{Span, Time};
use crate::verified::Verified;

use super::calls::Purpose;
use super::io::RequestId;
use super::regions::{Aim, Found};
use super::routing::SearchPurpose;
use super::{Node, Turn};

/// How long a card waits for the region in which it is to be published to be found.
const PUBLISHING_PATIENCE: Span = Span::from_mins(2);
/// Searches for cards, and cards to be published, under way at a time.
const SEARCHES_MAX: usize = 1_024;
/// How many of them may be for other nodes, so that our own clients always have room.
const PEERS_SEARCHES_MAX: usize = 512;
/// How many of them may be for one other node.
const ONE_PEERS_SEARCHES_MAX: usize = 32;
/// How long the other entries have once the first has found a card.
const GRACE: Span = Span::from_secs(1);

/// A card that somebody looks for or publishes.
#[derive(Debug)]
pub(super) struct CardSearch {
    asker: Asker,
    owner: Address,
    goal: Goal,
    /// Whether it is known whom to ask, and they have been asked.
    begun: bool,
    /// Nodes asked that have not answered yet.
    asked: BTreeSet<Address>,
    ends_at: Time,
}

/// Who waits for the end of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// A client of ours.
    Client(RequestId),
    /// A node whose entry we are.
    Peer(Address, RequestId),
    /// Nobody: a client's card is published again.
    Nobody,
}

/// What is to be done with a card.
#[derive(Debug)]
pub(super) enum Goal {
    /// The newest card so far.
    Find(Option<Box<Verified<Card>>>),
    /// To be put once it is known where.
    Publish(Box<Verified<Card>>),
}

impl Asker {
    const fn aim(self) -> Aim {
        match self {
            Self::Peer(..) => Aim::Errand,
            Self::Client(_) | Self::Nobody => Aim::Own,
        }
    }
}

impl Node {
    /// Begins a search; false when too many are under way, be it at all or for this asker.
    pub(super) fn begin_card_search(
        &mut self,
        turn: Turn<'_>,
        asker: Asker,
        owner: Address,
        goal: Goal,
    ) -> bool {
        if !self.has_room_for_asker(&asker) {
            return false;
        }
        // Whoever has a card published is answered at once; somebody who keeps its region from being
        // found quickly must not keep the card from being published.
        let patience = match goal {
            Goal::Publish(_) => PUBLISHING_PATIENCE,
            Goal::Find(_) => self.patience_with(&asker),
        };
        let ends_at = turn.now + patience;
        let asked = BTreeSet::new();
        let search = CardSearch { asker, owner, goal, begun: false, asked, ends_at };
        let id = self.draw_number();
        self.card_searches.insert(id, search);
        self.ask_for_card(turn, id);
        true
    }

    /// When the earliest search for a card ends.
    pub(super) fn next_card_timeout(&self) -> Option<Time> {
        self.card_searches.values().map(|search| search.ends_at).min()
    }

    /// Ends searches whose time is over.
    pub(super) fn cards_due(&mut self, turn: Turn<'_>) {
        let over = self.card_searches.iter().filter(|(_, search)| search.ends_at <= turn.now);
        for id in over.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end_card_search(id);
        }
    }

    /// The region of `place` has been found: whoever waited for it goes on.
    pub(super) fn cards_from_region(&mut self, turn: Turn<'_>, place: &Address) {
        let waits = |search: &CardSearch| search.owner == *place && !search.begun;
        let waiting = self.card_searches.iter().filter(|(_, search)| waits(search));
        for id in waiting.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.ask_for_card(turn, id);
        }
    }

    /// Takes up the searches that wait for a lookup to begin, those of our clients first.
    pub(super) fn begin_waiting_card_searches(&mut self, turn: Turn<'_>) {
        let waiting = self.card_searches.iter().filter(|(_, search)| !search.begun);
        let mut waiting: Vec<_> = waiting.map(|(id, search)| (search.asker.aim(), *id)).collect();
        waiting.sort_by_key(|(aim, _)| *aim == Aim::Errand);
        for (aim, id) in waiting {
            if !self.has_room_to_search(SearchPurpose::Region(aim)) {
                break;
            }
            self.ask_for_card(turn, id);
        }
    }

    /// A node we asked for a card has answered, or not.
    pub(super) fn on_card_answer(
        &mut self,
        turn: Turn<'_>,
        id: u64,
        from: &Contact,
        card: Option<Box<Verified<Card>>>,
    ) {
        let behind_entries = self.is_behind_entries();
        let Some(search) = self.card_searches.get_mut(&id) else { return };
        search.asked.remove(&from.address());
        let found = card.filter(|card| card.address() == search.owner);
        if let (Goal::Find(best), Some(card)) = (&mut search.goal, found) {
            if best.as_ref().is_none_or(|best| card.supersedes(best)) {
                *best = Some(card);
            }
            // An entry has asked a whole region already; a node of the region speaks for itself.
            if behind_entries && matches!(search.asker, Asker::Client(_)) {
                search.ends_at = search.ends_at.min(turn.now + GRACE);
            }
        }
        if search.asked.is_empty() {
            self.end_card_search(id);
        }
    }

    fn has_room_for_asker(&self, asker: &Asker) -> bool {
        let peer = |search: &CardSearch| match search.asker {
            Asker::Peer(peer, _) => Some(peer),
            Asker::Client(_) | Asker::Nobody => None,
        };
        let room = self.card_searches.len() < SEARCHES_MAX;
        let Asker::Peer(asker, _) = asker else { return room };
        let peers: Vec<_> = self.card_searches.values().filter_map(peer).collect();
        let of_this = peers.iter().filter(|peer| *peer == asker).count();
        room && peers.len() < PEERS_SEARCHES_MAX && of_this < ONE_PEERS_SEARCHES_MAX
    }

    /// A node that asks us waits no longer than for any call, the way there and back included.
    fn patience_with(&self, asker: &Asker) -> Span {
        match asker {
            Asker::Peer(..) => Span::from_millis(self.config.call_timeout.as_millis() * 4 / 5),
            Asker::Client(_) | Asker::Nobody => self.config.card_lookup_timeout,
        }
    }

    /// Asks everybody there is to ask, once it is known who that is.
    fn ask_for_card(&mut self, turn: Turn<'_>, id: u64) {
        let Some(search) = self.card_searches.get(&id) else { return };
        let (aim, owner) = (search.asker.aim(), search.owner);
        let Found::Nodes(nodes) = self.find_region(turn, &owner, aim) else { return };
        let behalf = aim == Aim::Own && self.is_behind_entries();
        for contact in nodes {
            self.ask_one_for_card(turn, id, contact, behalf);
        }
        if let Some(search) = self.card_searches.get_mut(&id) {
            search.begun = true;
            if search.asked.is_empty() {
                self.end_card_search(id);
            }
        }
    }

    /// Asks one node: an entry, to do it on our behalf, or one that keeps cards itself.
    fn ask_one_for_card(&mut self, turn: Turn<'_>, id: u64, contact: Contact, behalf: bool) {
        let Some(search) = self.card_searches.get(&id) else { return };
        let (peer, owner) = (contact.address(), search.owner);
        let (request, purpose) = match (&search.goal, behalf) {
            (Goal::Publish(card), true) => {
                (Request::PublishCard { card: card.clone() }, Purpose::PublishCard(owner))
            }
            (Goal::Publish(card), false) => {
                (Request::PutCard { card: card.clone() }, Purpose::Tell)
            }
            (Goal::Find(_), true) => (Request::FindCard { owner }, Purpose::FindCard(id)),
            (Goal::Find(_), false) => (Request::GetCard { owner }, Purpose::FindCard(id)),
        };
        let awaited = matches!(purpose, Purpose::FindCard(_));
        // What is done for others leaves calls for our own needs.
        let errand = search.asker.aim() == Aim::Errand;
        if errand && self.calls.len() >= self.config.calls_max / 2 {
            return;
        }
        if self.call(turn, contact, request, purpose)
            && awaited
            && let Some(search) = self.card_searches.get_mut(&id)
        {
            search.asked.insert(peer);
        }
    }

    fn end_card_search(&mut self, id: u64) {
        let Some(search) = self.card_searches.remove(&id) else { return };
        let Goal::Find(card) = search.goal else { return };
        match search.asker {
            Asker::Client(id) => self.client_reply(id, Ok(ClientResponse::Card { card })),
            Asker::Peer(_, id) => self.reply(id, Ok(Response::Card { card })),
            Asker::Nobody => {}
        }
    }
}

/// The cards of our own clients.
#[derive(Debug, Default)]
pub(super) struct Published(BTreeMap<Address, OwnCard>);

/// One of them, and how far it has come.
#[derive(Debug)]
struct OwnCard {
    card: Verified<Card>,
    /// Whether an entry has taken it.
    entrusted: bool,
    /// When entries may be asked again to take it.
    again_at: Time,
}

impl Published {
    /// Notes the newest card of an owner; false when there are too many owners.
    pub(super) fn note(&mut self, card: &Verified<Card>, max: usize, again_at: Time) -> bool {
        let owner = card.address();
        let room = self.0.len() < max || self.0.contains_key(&owner);
        if room {
            let card = card.clone();
            self.0.insert(owner, OwnCard { card, entrusted: false, again_at });
        }
        room
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// An entry has taken the card of `owner`.
    pub(super) fn note_entrusted(&mut self, owner: &Address) {
        if let Some(own) = self.0.get_mut(owner) {
            own.entrusted = true;
        }
    }

    /// All that are valid.
    pub(super) fn valid(&self, now: Time) -> impl Iterator<Item = &Verified<Card>> {
        self.0.values().map(|own| &own.card).filter(move |card| card.expires_at() > now)
    }

    /// Those that no entry has taken yet and for which none was asked lately; they count as asked
    /// until `again_at`.
    pub(super) fn take_unentrusted(&mut self, now: Time, again_at: Time) -> Vec<Verified<Card>> {
        let due = |own: &&mut OwnCard| {
            !own.entrusted && own.again_at <= now && own.card.expires_at() > now
        };
        let note = |own: &mut OwnCard| {
            own.again_at = again_at;
            own.card.clone()
        };
        self.0.values_mut().filter(due).map(note).collect()
    }
}
