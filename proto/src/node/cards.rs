//! Keeping cards for their owners and finding them for whoever asks (PROTOCOL §3.6, §6.9).
//!
//! The newest card wins everywhere. A search asks every node of the owner's region and takes the
//! newest of all answers, so that one node with an old card hides nothing.

use std::collections::BTreeSet;

use crate::address::Address;
use crate::card::Card;
use crate::contact::Contact;
use crate::message::{ClientResponse, Request, Response};
use crate::rejection::Rejection;
use crate::store::StoreError;
use crate::time::Time;
use crate::verified::Verified;

use super::calls::Purpose;
use super::desk::Promise;
use super::io::{Family, Output, RequestId};
use super::keys::Expiring;
use super::regions::{Aim, Found};
use super::{Node, Turn};

/// Searches for cards, and cards to be published, under way at a time.
const SEARCHES_MAX: usize = 1_024;

/// A card that a client looks for or publishes.
#[derive(Debug)]
pub(super) struct CardSearch {
    owner: Address,
    goal: Goal,
    /// Nodes asked that have not answered yet.
    asked: BTreeSet<Address>,
    ends_at: Time,
}

#[derive(Debug)]
enum Goal {
    /// The newest card so far.
    Find(Option<Box<Verified<Card>>>),
    /// To be put once the region is known.
    Publish(Box<Verified<Card>>),
}

impl Node {
    /// Another node gives a card to keep.
    pub(super) fn answer_put_card(
        &mut self,
        turn: Turn<'_>,
        id: RequestId,
        card: Verified<Card>,
    ) -> Result<(), StoreError> {
        let result = self.keep_card(turn, card)?.map(|()| Response::Done);
        if let Err(reason) = &result {
            self.note_refusal(reason.clone());
        }
        self.desk.promise(Promise::Output(Output::Reply { id, result }));
        Ok(())
    }

    /// Another node asks for a card.
    pub(super) fn answer_get_card(
        &mut self,
        turn: Turn<'_>,
        id: RequestId,
        owner: &Address,
    ) -> Result<(), StoreError> {
        let card = self.card(turn, owner)?.map(Box::new);
        self.reply(id, Ok(Response::Card { card }));
        Ok(())
    }

    /// A client publishes its card: kept here at once, and put in the region as soon as that is known.
    pub(super) fn on_publish_card(
        &mut self,
        turn: Turn<'_>,
        id: RequestId,
        card: Verified<Card>,
    ) -> Result<(), StoreError> {
        let owner = card.address();
        let kept = self.keep_card(turn, card.clone())?;
        // The same card again is published again: that is how it stays in a changing region.
        let newest = self.card(turn, &owner)?;
        let result = match kept {
            Err(Rejection::StaleCard) if newest.as_ref() == Some(&card) => Ok(()),
            other => other,
        };
        if let Err(reason) = &result {
            self.note_refusal(reason.clone());
        }
        let published = result.is_ok();
        let result = result.map(|()| ClientResponse::Done);
        self.desk.promise(Promise::Output(Output::ClientReply { id, result }));
        if published && self.note_published(owner, &card) {
            self.begin_card_search(turn, id, owner, Goal::Publish(Box::new(card)))?;
        }
        Ok(())
    }

    /// A new neighbour gets the cards of our clients that belong to it too: when they were published
    /// it was not there, or perhaps nobody was.
    pub(super) fn introduce_cards(&mut self, turn: Turn<'_>, contact: &Contact) {
        let peer = contact.address();
        let belong = self.published.iter().filter(|(owner, card)| {
            card.expires_at() > turn.now && self.is_in_region(&peer, owner)
        });
        for card in belong.map(|(_, card)| card.clone()).collect::<Vec<_>>() {
            let request = Request::PutCard { card: Box::new(card) };
            self.call(turn, contact.clone(), request, Purpose::Tell);
        }
    }

    /// A client looks for a card.
    pub(super) fn on_find_card(
        &mut self,
        turn: Turn<'_>,
        id: RequestId,
        owner: Address,
    ) -> Result<(), StoreError> {
        let known = self.card(turn, &owner)?.map(Box::new);
        self.begin_card_search(turn, id, owner, Goal::Find(known))
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

    /// The region of `place` has been found: whoever looks for that owner's card goes on.
    pub(super) fn cards_from_region(
        &mut self,
        turn: Turn<'_>,
        place: &Address,
    ) -> Result<(), StoreError> {
        let idle = self.card_searches.iter().filter(|(_, search)| search.owner == *place);
        for id in idle.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.ask_region_for_card(turn, id);
        }
        Ok(())
    }

    /// A node we asked for a card has answered, or not.
    pub(super) fn on_card_answer(
        &mut self,
        turn: Turn<'_>,
        id: RequestId,
        from: &Contact,
        card: Option<Box<Verified<Card>>>,
    ) -> Result<(), StoreError> {
        let Some(search) = self.card_searches.get_mut(&id) else { return Ok(()) };
        search.asked.remove(&from.address());
        if let (Goal::Find(best), Some(card)) = (&mut search.goal, card) {
            let newer = best.as_ref().is_none_or(|best| card.supersedes(best));
            if card.address() == search.owner && newer {
                *best = Some(card);
            }
        }
        if search.asked.is_empty() {
            self.end_card_search(id);
        }
        let _ = turn;
        Ok(())
    }

    /// The card of an owner has run out.
    pub(super) fn expire_card(
        &mut self,
        turn: Turn<'_>,
        owner: &Address,
    ) -> Result<(), StoreError> {
        // A newer card has an entry of its own in the order of expiry.
        if self.stored_card(turn, owner)?.is_some_and(|card| card.expires_at() <= turn.now) {
            self.desk.delete(Family::Cards, owner.as_bytes().to_vec());
            self.stats.cards = self.stats.cards.saturating_sub(1);
        }
        Ok(())
    }

    /// Remembers whose cards our clients publish; false when there are too many.
    fn note_published(&mut self, owner: Address, card: &Verified<Card>) -> bool {
        let room = self.published.len() < self.config.sessions_max;
        if room || self.published.contains_key(&owner) {
            self.published.insert(owner, card.clone());
            return true;
        }
        false
    }

    fn keep_card(
        &mut self,
        turn: Turn<'_>,
        card: Verified<Card>,
    ) -> Result<Result<(), Rejection>, StoreError> {
        let owner = card.address();
        match self.stored_card(turn, &owner)? {
            Some(known) if !card.supersedes(&known) => return Ok(Err(Rejection::StaleCard)),
            Some(_) => {}
            None if self.stats.cards >= self.config.cards_max => {
                return Ok(Err(Rejection::StoreFull));
            }
            None => self.stats.cards += 1,
        }
        self.desk.put(Family::Cards, owner.as_bytes().to_vec(), card.to_bytes());
        self.expire_at(card.expires_at(), &Expiring::Card(owner));
        Ok(Ok(()))
    }

    fn card(&self, turn: Turn<'_>, owner: &Address) -> Result<Option<Verified<Card>>, StoreError> {
        Ok(self.stored_card(turn, owner)?.filter(|card| card.expires_at() > turn.now))
    }

    fn stored_card(
        &self,
        turn: Turn<'_>,
        owner: &Address,
    ) -> Result<Option<Verified<Card>>, StoreError> {
        let value = self.desk.get(turn, Family::Cards, owner.as_bytes())?;
        value.map(|bytes| Card::from_stored(&bytes).ok_or(StoreError::Damaged("cards"))).transpose()
    }

    fn begin_card_search(
        &mut self,
        turn: Turn<'_>,
        id: RequestId,
        owner: Address,
        goal: Goal,
    ) -> Result<(), StoreError> {
        if self.card_searches.len() >= SEARCHES_MAX {
            if let Goal::Find(_) = goal {
                self.client_reply(id, Err(Rejection::Busy));
            }
            return Ok(());
        }
        let ends_at = turn.now + self.config.card_lookup_timeout;
        self.card_searches.insert(id, CardSearch { owner, goal, asked: BTreeSet::new(), ends_at });
        self.ask_region_for_card(turn, id);
        Ok(())
    }

    fn ask_region_for_card(&mut self, turn: Turn<'_>, id: RequestId) {
        let Some(owner) = self.card_searches.get(&id).map(|search| search.owner) else { return };
        let Found::Nodes(nodes) = self.find_region(turn, &owner, Aim::Relayed) else { return };
        for contact in nodes {
            self.ask_for_card(turn, id, contact);
        }
        if self.card_searches.get(&id).is_some_and(|search| search.asked.is_empty()) {
            self.end_card_search(id);
        }
    }

    fn ask_for_card(&mut self, turn: Turn<'_>, id: RequestId, contact: Contact) {
        let Some(search) = self.card_searches.get(&id) else { return };
        let (peer, owner) = (contact.address(), search.owner);
        match &search.goal {
            Goal::Publish(card) => {
                let request = Request::PutCard { card: card.clone() };
                self.call(turn, contact, request, Purpose::Tell);
            }
            Goal::Find(_) => {
                if self.call(turn, contact, Request::GetCard { owner }, Purpose::GetCard(id)) {
                    self.card_searches.get_mut(&id).map(|search| search.asked.insert(peer));
                }
            }
        }
    }

    fn end_card_search(&mut self, id: RequestId) {
        let Some(search) = self.card_searches.remove(&id) else { return };
        if let Goal::Find(card) = search.goal {
            self.client_reply(id, Ok(ClientResponse::Card { card }));
        }
    }
}
