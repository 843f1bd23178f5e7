//! What clients of this node ask of it (PROTOCOL §8): one handler for each request.

use std::collections::BTreeSet;

use crate::envelope::{Envelope, EnvelopeId};
use crate::message::{ClientPush, ClientRequest, ClientResponse, EnvelopeState, Peer, Status};
use crate::rejection::Rejection;
use crate::store::StoreError;
use crate::time::Time;

use super::accept::{Origin, Taken};
use super::custody::state_of;
use super::desk::Promise;
use super::io::{Output, RequestId, SessionId};
use super::records::{Cause, Custody, Ending, Role};
use super::{Node, Turn};

impl Node {
    /// A client asks.
    pub(super) fn on_client_request(
        &mut self,
        turn: Turn<'_>,
        id: RequestId,
        session: SessionId,
        request: ClientRequest,
    ) -> Result<(), StoreError> {
        match request {
            ClientRequest::Submit { envelope } => self.on_submit(turn, id, &envelope)?,
            ClientRequest::Cancel { id: envelope } => self.on_cancel(turn, id, &envelope)?,
            ClientRequest::Watch { ids } => self.on_watch(turn, id, session, &ids)?,
            ClientRequest::Subscribe { grants, after } => {
                self.on_client_subscribe(turn, id, session, grants, after)?;
            }
            ClientRequest::Credit { envelopes } => {
                self.add_credit(session, envelopes);
                self.client_reply(id, Ok(ClientResponse::Done));
                self.serve(turn, session)?;
            }
            ClientRequest::Acknowledge { acknowledgements } => {
                let refused = self.on_acknowledgements(turn, &acknowledgements, None)?;
                let result = refused.map_or(Ok(ClientResponse::Done), Err);
                self.desk.promise(Promise::Output(Output::ClientReply { id, result }));
            }
            ClientRequest::PublishCard { card } => self.on_publish_card(turn, id, *card)?,
            ClientRequest::FindCard { owner } => self.on_find_card(turn, id, owner)?,
            ClientRequest::Peers => {
                let peers = self.peers(turn.now);
                self.client_reply(id, Ok(ClientResponse::Peers(peers)));
            }
            ClientRequest::Status => {
                let status = self.status(turn.now);
                self.client_reply(id, Ok(ClientResponse::Status(status)));
            }
        }
        Ok(())
    }

    pub(super) fn client_reply(
        &mut self,
        id: RequestId,
        result: Result<ClientResponse, Rejection>,
    ) {
        if let Err(reason) = &result {
            self.note_refusal(reason.clone());
        }
        self.desk.push(Output::ClientReply { id, result });
    }

    /// Tells the sessions that watch an envelope, once a crash cannot take it back.
    pub(super) fn tell_watchers(&mut self, id: &EnvelopeId, state: EnvelopeState) {
        let Some(sessions) = self.watchers.get(id) else { return };
        for session in sessions.iter().copied() {
            let push = ClientPush::State { id: *id, state };
            self.desk.promise(Promise::Output(Output::ClientPush { session, push }));
        }
        if !matches!(state, EnvelopeState::Accepted | EnvelopeState::Stored(_)) {
            self.watchers.remove(id);
        }
    }

    fn on_submit(
        &mut self,
        turn: Turn<'_>,
        id: RequestId,
        envelope: &Envelope,
    ) -> Result<(), StoreError> {
        let origin = Origin { role: Role::Own, source: None, group: None };
        let state = match self.take(turn, envelope, origin)? {
            Taken::New => EnvelopeState::Accepted,
            Taken::Held => match self.custody(turn, &envelope.id())? {
                Some(custody) => state_of(&custody),
                None => EnvelopeState::Accepted,
            },
            Taken::Ended(tombstone) => state_of_ended(&self.ending(turn, tombstone)?),
            Taken::Refused(reason) => {
                self.client_reply(id, Err(reason));
                return Ok(());
            }
        };
        let result = Ok(ClientResponse::Submitted { state });
        self.desk.promise(Promise::Output(Output::ClientReply { id, result }));
        Ok(())
    }

    fn on_cancel(
        &mut self,
        turn: Turn<'_>,
        id: RequestId,
        envelope: &EnvelopeId,
    ) -> Result<(), StoreError> {
        let custody = self.custody(turn, envelope)?.filter(|custody| custody.role == Role::Own);
        let Some(custody) = custody else {
            self.client_reply(id, Err(Rejection::Unknown));
            return Ok(());
        };
        let copies_may_exist = self.may_have_left(&custody);
        self.cancel(turn, envelope, &custody);
        self.tell_state(envelope, EnvelopeState::Cancelled);
        let result = Ok(ClientResponse::Cancelled { copies_may_exist });
        self.desk.promise(Promise::Output(Output::ClientReply { id, result }));
        Ok(())
    }

    /// Whether somebody may have a copy: it was offered to a node, or whoever may open its mailbox here can have
    /// been handed it.
    fn may_have_left(&self, custody: &Custody) -> bool {
        let is_opened =
            self.own_mailboxes.contains(&custody.mailbox) || self.is_open(&custody.mailbox);
        custody.rounds > 0 || !custody.holders.is_empty() || is_opened
    }

    fn on_watch(
        &mut self,
        turn: Turn<'_>,
        id: RequestId,
        session: SessionId,
        ids: &[EnvelopeId],
    ) -> Result<(), StoreError> {
        let new = ids.iter().filter(|id| !self.watchers.contains_key(id)).count();
        if self.watchers.len() + new > self.config.watches_max || !self.open_session(session) {
            self.client_reply(id, Err(Rejection::Busy));
            return Ok(());
        }
        let mut states = Vec::new();
        for envelope in ids.iter().collect::<BTreeSet<_>>() {
            let Some(state) = self.state(turn, envelope)? else { continue };
            states.push((*envelope, state));
            if matches!(state, EnvelopeState::Accepted | EnvelopeState::Stored(_)) {
                self.watchers.entry(*envelope).or_default().insert(session);
            }
        }
        let result = Ok(ClientResponse::States(states));
        self.desk.promise(Promise::Output(Output::ClientReply { id, result }));
        Ok(())
    }

    fn state(&self, turn: Turn<'_>, id: &EnvelopeId) -> Result<Option<EnvelopeState>, StoreError> {
        if let Some(custody) = self.custody(turn, id)? {
            return Ok(Some(state_of(&custody)));
        }
        let Some(tombstone) = self.tombstone(turn, id)? else { return Ok(None) };
        Ok(Some(state_of_ended(&self.ending(turn, tombstone)?)))
    }

    fn peers(&self, now: Time) -> Vec<Peer> {
        let peer = |entry: &crate::table::Entry| {
            let contact = entry.contact().clone();
            let status = self.table.status(&contact.address(), now)?;
            Some(Peer { contact, status, last_seen: entry.last_seen() })
        };
        self.table.entries().filter_map(peer).collect()
    }

    fn status(&mut self, now: Time) -> Status {
        let is_small = self.is_small_network();
        let entries = if is_small { Vec::new() } else { self.entry_contacts(now) };
        let rotating_entry = if is_small { None } else { self.rotate_entry(now) };
        Status {
            node: self.address,
            endpoints: self.config.endpoints.clone(),
            observed: self.outside_view.observed(),
            reachability: self.outside_view.reachability(&self.config.endpoints, now),
            peers: self.table.len() as u64,
            network_size: self.network_size(),
            envelopes: self.stats.envelopes,
            envelope_bytes: self.stats.envelope_bytes,
            tombstones: self.stats.tombstones,
            connected: self.stats.connected,
            entries: entries.iter().map(|contact| contact.address()).collect(),
            rotating_entry,
        }
    }
}

fn state_of_ended(ending: &Ending) -> EnvelopeState {
    match ending.cause {
        Cause::Read { .. } => EnvelopeState::Delivered { at: ending.at },
        Cause::Cancelled(_) => EnvelopeState::Cancelled,
    }
}
