//! What other nodes ask of this one (PROTOCOL §7): one handler for each request.

use std::net::SocketAddr;

use crate::address::Address;
use crate::contact::Contact;
use crate::key::PublicKey;
use crate::message::{CONTACTS_MAX, Push, Request, Response};
use crate::receipt::Receipt;
use crate::rejection::Rejection;
use crate::store::StoreError;
use crate::verified::Verified;

use super::custody::Word;
use super::desk::Promise;
use super::io::{Output, RequestId};
use super::shares::Group;
use super::{Node, Turn};

impl Node {
    /// Another node, proved by its link, asks.
    pub(super) fn on_request(
        &mut self,
        turn: Turn<'_>,
        id: RequestId,
        (from, source, known): (&PublicKey, SocketAddr, Option<Contact>),
        request: Request,
    ) -> Result<(), StoreError> {
        let peer = from.address();
        self.table.heard(&peer, turn.now);
        self.outside_view.note_call(source, &self.config.endpoints, turn.now);
        let group = Group::of(source.ip(), &peer);
        match request {
            Request::Ping { endpoints } => {
                let observed = Some(source);
                self.reply(id, Ok(Response::Pong { time: turn.now, observed }));
                let caller = Contact::new(*from, endpoints);
                let caller = known.filter(|known| *known == caller).unwrap_or(caller);
                self.dial_back(turn, caller, source);
            }
            Request::FindNode { target } => self.answer_find_node(id, &peer, &target),
            // A receipt of a node that leaves would be counted on, by nodes that leave themselves too.
            Request::Offer { .. } | Request::Digest { .. } | Request::Deliver { .. }
                if self.is_leaving() =>
            {
                self.reply(id, Err(Rejection::Leaving));
            }
            Request::Offer { ids } => self.answer_offer(turn, id, (&peer, group), &ids)?,
            Request::Digest { digest, from, to } => {
                self.answer_digest(turn, id, &digest, &from, &to)?;
            }
            Request::Deliver { envelopes } => {
                self.answer_delivery(turn, id, (peer, group), &envelopes)?;
            }
            Request::Acknowledge { acknowledgements } => {
                self.on_acknowledgements(turn, &acknowledgements, Some(peer))?;
                let result = Ok(Response::Done);
                self.desk.promise(Promise::Output(Output::Reply { id, result }));
            }
            Request::Receipts { receipts } => {
                self.on_receipts(turn, &peer, &receipts)?;
                self.reply(id, Ok(Response::Done));
            }
            Request::PutCard { card } => self.answer_put_card(turn, id, *card)?,
            Request::GetCard { owner } => self.answer_get_card(turn, id, &owner)?,
            Request::PublishCard { card } => self.answer_publish_card(turn, id, peer, *card)?,
            Request::FindCard { owner } => self.answer_find_card(turn, id, peer, owner)?,
            Request::Subscribe { grants, after } => {
                self.answer_subscribe(turn, id, (&peer, group), grants, after)?;
            }
            Request::Fetch { ids } => self.answer_fetch(turn, id, &peer, &ids)?,
            Request::DialBack { endpoints } => {
                self.answer_dial_back(turn, id, (from, source), &endpoints);
            }
        }
        Ok(())
    }

    /// Another node tells over the stream we keep open to it.
    pub(super) fn on_push(
        &mut self,
        turn: Turn<'_>,
        from: &Address,
        push: Push,
    ) -> Result<(), StoreError> {
        match push {
            Push::Waiting(waiting) => self.on_waiting(turn, from, &waiting),
            Push::Acknowledgements(acknowledgements) => {
                self.on_acknowledgements(turn, &acknowledgements, Some(*from)).map(|_| ())
            }
            Push::Receipts(receipts) => self.on_receipts(turn, from, &receipts),
        }
    }

    pub(super) fn on_listener_opened(&mut self, peer: Address) {
        if self.listeners.len() < self.config.listeners_max {
            self.listeners.insert(peer);
        }
    }

    pub(super) fn on_listener_closed(&mut self, peer: &Address) {
        self.listeners.remove(peer);
    }

    fn answer_find_node(&mut self, id: RequestId, asker: &Address, target: &Address) {
        let mut contacts = self.table.closest(target, CONTACTS_MAX + 1);
        contacts.retain(|contact| contact.address() != *asker);
        contacts.truncate(CONTACTS_MAX);
        self.reply(id, Ok(Response::Nodes { contacts }));
    }

    /// Receipts count from nodes that were given the envelope: others have no business with it. Of
    /// what has ended here no more needs to be known.
    fn on_receipts(
        &mut self,
        turn: Turn<'_>,
        from: &Address,
        receipts: &[Verified<Receipt>],
    ) -> Result<(), StoreError> {
        for receipt in receipts {
            for id in receipt.ids() {
                let Some(custody) = self.custody(turn, id)? else { continue };
                if custody.holders.contains(from) {
                    self.stats.receipts_received += 1;
                    self.add_holder(turn, id, receipt, Word::Told)?;
                } else {
                    self.note_refusal(Rejection::NotGranted);
                }
            }
        }
        Ok(())
    }
}
