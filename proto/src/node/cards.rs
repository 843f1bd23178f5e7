//! Keeping cards for their owners and giving them to whoever asks (PROTOCOL §3.6, §6.9).
//!
//! One handler for each request about cards, of nodes and of clients. The newest card wins
//! everywhere. Whom this node itself asks for a card is `card_searches`' business.

use crate::address::Address;
use crate::card::Card;
use crate::contact::Contact;
use crate::message::{ClientResponse, Request, Response};
use crate::rejection::Rejection;
use crate::store::StoreError;
use crate::verified::Verified;

use super::calls::Purpose;
use super::card_searches::{Asker, Goal};
use super::desk::Promise;
use super::io::{Family, Output, RequestId};
use super::keys::{self, Expiring};
use super::{Node, Turn};

impl Node {
    /// Another node gives a card to keep.
    pub(super) fn answer_put_card(
        &mut self,
        turn: Turn<'_>,
        id: RequestId,
        card: Verified<Card>,
    ) -> Result<(), StoreError> {
        let result = self.keep_card(turn, card)?.map(|()| Response::Done);
        self.promise_reply(id, result);
        Ok(())
    }

    /// Another node asks for a card that is kept here.
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

    /// A node whose entry we are has a card to publish: kept here, and put in its region.
    pub(super) fn answer_publish_card(
        &mut self,
        turn: Turn<'_>,
        id: RequestId,
        from: Address,
        card: Verified<Card>,
    ) -> Result<(), StoreError> {
        let mut result = self.keep_newest_card(turn, &card)?;
        if result.is_ok() {
            let (owner, goal) = (card.address(), Goal::Publish(Box::new(card)));
            if !self.begin_card_search(turn, Asker::Peer(from, id), owner, goal) {
                result = Err(Rejection::Busy);
            }
        }
        self.promise_reply(id, result.map(|()| Response::Done));
        Ok(())
    }

    /// A node whose entry we are looks for a card.
    pub(super) fn answer_find_card(
        &mut self,
        turn: Turn<'_>,
        id: RequestId,
        from: Address,
        owner: Address,
    ) -> Result<(), StoreError> {
        let known = self.card(turn, &owner)?.map(Box::new);
        if !self.begin_card_search(turn, Asker::Peer(from, id), owner, Goal::Find(known)) {
            self.reply(id, Err(Rejection::Busy));
        }
        Ok(())
    }

    /// A client publishes its card: kept here at once, and handed on as soon as it is known to whom.
    pub(super) fn on_publish_card(
        &mut self,
        turn: Turn<'_>,
        id: RequestId,
        card: Verified<Card>,
    ) -> Result<(), StoreError> {
        let result = self.keep_newest_card(turn, &card)?;
        // As long as there are no entries, the first that can be asked are asked at once.
        let patience = self.config.card_lookup_timeout;
        let again_at = if self.is_small_network() { turn.now } else { turn.now + patience };
        if result.is_ok() && self.published.note(&card, self.config.sessions_max, again_at) {
            self.publish_card(turn, card);
        }
        if let Err(reason) = &result {
            self.note_refusal(reason.clone());
        }
        let result = result.map(|()| ClientResponse::Done);
        self.desk.promise(Promise::Output(Output::ClientReply { id, result }));
        Ok(())
    }

    /// A client looks for a card.
    pub(super) fn on_find_card(
        &mut self,
        turn: Turn<'_>,
        id: RequestId,
        owner: Address,
    ) -> Result<(), StoreError> {
        let known = self.card(turn, &owner)?.map(Box::new);
        if !self.begin_card_search(turn, Asker::Client(id), owner, Goal::Find(known)) {
            self.client_reply(id, Err(Rejection::Busy));
        }
        Ok(())
    }

    /// A new neighbour gets the cards of our clients that belong to it too: when they were published
    /// it was not there, or perhaps nobody was. In a network larger than a region it learns nothing
    /// of them; entries take those that none has taken yet.
    pub(super) fn introduce_cards(&mut self, turn: Turn<'_>, contact: &Contact) {
        if !self.is_small_network() {
            self.entrust_cards(turn);
            return;
        }
        for card in self.published.valid(turn.now).cloned().collect::<Vec<_>>() {
            let request = Request::PutCard { card: Box::new(card) };
            self.call(turn, contact.clone(), request, Purpose::Tell);
        }
    }

    /// Publishes the cards of our clients that no entry has taken yet: there was none when they were
    /// published, or none of them answered.
    pub(super) fn entrust_cards(&mut self, turn: Turn<'_>) {
        if self.is_small_network() {
            return;
        }
        let again_at = turn.now + self.config.card_lookup_timeout;
        for card in self.published.take_unentrusted(turn.now, again_at) {
            self.publish_card(turn, card);
        }
    }

    /// The card of an owner has run out.
    pub(super) fn expire_card(
        &mut self,
        turn: Turn<'_>,
        owner: &Address,
    ) -> Result<(), StoreError> {
        // A newer card has an entry of its own in the order of expiry.
        let over = self.stored_card(turn, owner)?.filter(|card| card.expires_at() <= turn.now);
        if let Some(card) = over {
            self.remove_card(owner, &card);
        }
        Ok(())
    }

    /// Without room the card is not lost: entries are asked again later, and its owner publishes it
    /// again and again.
    fn publish_card(&mut self, turn: Turn<'_>, card: Verified<Card>) {
        let (owner, goal) = (card.address(), Goal::Publish(Box::new(card)));
        self.begin_card_search(turn, Asker::Nobody, owner, goal);
    }

    fn promise_reply(&mut self, id: RequestId, result: Result<Response, Rejection>) {
        if let Err(reason) = &result {
            self.note_refusal(reason.clone());
        }
        self.desk.promise(Promise::Output(Output::Reply { id, result }));
    }

    /// Keeps a card that is to be published. The same again is taken again: that is how a card stays
    /// in a region that changes.
    fn keep_newest_card(
        &mut self,
        turn: Turn<'_>,
        card: &Verified<Card>,
    ) -> Result<Result<(), Rejection>, StoreError> {
        let kept = self.keep_card(turn, card.clone())?;
        let newest = self.card(turn, &card.address())?;
        Ok(match kept {
            Err(Rejection::StaleCard) if newest.as_ref() == Some(card) => Ok(()),
            other => other,
        })
    }

    fn keep_card(
        &mut self,
        turn: Turn<'_>,
        card: Verified<Card>,
    ) -> Result<Result<(), Rejection>, StoreError> {
        let owner = card.address();
        let known = self.stored_card(turn, &owner)?;
        if known.as_ref().is_some_and(|known| !card.supersedes(known)) {
            return Ok(Err(Rejection::StaleCard));
        }
        let bytes = card.to_bytes();
        let replaced = known.as_ref().map(|known| known.to_bytes().len());
        if self.is_disk_short_for_others(bytes.len() as u64) {
            return Ok(Err(Rejection::Busy));
        }
        if !self.has_room_for_card(bytes.len(), replaced) {
            return Ok(Err(Rejection::StoreFull));
        }
        if let Some(known) = known {
            self.remove_card(&owner, &known);
        }
        self.disk.add(bytes.len() as u64);
        self.stats.cards += 1;
        self.stats.card_bytes += bytes.len() as u64;
        self.desk.put(Family::Cards, owner.as_bytes().to_vec(), bytes);
        self.expire_at(card.expires_at(), &Expiring::Card(owner));
        Ok(Ok(()))
    }

    /// Removes a card with its place in the order of expiry, so that one that is published again and
    /// again leaves nothing behind.
    fn remove_card(&mut self, owner: &Address, card: &Card) {
        let bytes = card.to_bytes().len() as u64;
        self.stats.cards = self.stats.cards.saturating_sub(1);
        self.stats.card_bytes = self.stats.card_bytes.saturating_sub(bytes);
        self.desk.delete(Family::Cards, owner.as_bytes().to_vec());
        let place = keys::expiry(card.expires_at(), &Expiring::Card(*owner));
        self.desk.delete(Family::Expiry, place);
    }

    fn card(&self, turn: Turn<'_>, owner: &Address) -> Result<Option<Verified<Card>>, StoreError> {
        Ok(self.stored_card(turn, owner)?.filter(|card| card.expires_at() > self.clock.agreed()))
    }

    fn stored_card(
        &self,
        turn: Turn<'_>,
        owner: &Address,
    ) -> Result<Option<Verified<Card>>, StoreError> {
        let value = self.desk.get(turn, Family::Cards, owner.as_bytes())?;
        value.map(|bytes| Card::from_stored(&bytes).ok_or(StoreError::Damaged("cards"))).transpose()
    }
}
