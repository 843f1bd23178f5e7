//! Bringing our messages on their way and following them (PROTOCOL §6.1).
//!
//! Entry type is [`Outbox`]. A message is sealed once, when its recipient's key is known; from then
//! on the same envelope is submitted however often it takes, so that it stays one message.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use bytes::Bytes;

use crate::address::Address;
use crate::content::Content;
use crate::conversation::Direction;
use crate::envelope::{Envelope, EnvelopeId, Header};
use crate::message::{ClientRequest, ClientResponse, EnvelopeState, IDS_MAX};
use crate::payload::{self, ContentType, MessageId, Payload};
use crate::rejection::{Rejection, Retry};
use crate::room::Note;
use crate::sealing::{self, SealTarget};
use crate::store::StoreError;
use crate::time::{Span, Time};

use super::entry::{Author, Entry, MessageNumber, MessageState};
use super::io::{CommandError, CommandId, Drawer, Event, Newest, Outcome, Output};
use super::records::{ContactRecord, Outgoing};
use super::{Agent, Promise, Purpose, Turn, read_all};

/// The most messages on their way.
pub(super) const OUTBOX_MAX: usize = 10_000;
/// Submissions under way at a time.
const SUBMITTING_MAX: usize = 64;
/// How soon a refused submission is tried again.
const AGAIN: Span = Span::from_secs(15);

/// Our messages that have not come to their end.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    messages: BTreeMap<MessageNumber, Outgoing>,
    by_envelope: BTreeMap<EnvelopeId, MessageNumber>,
    /// Sealed, and to be submitted when there is room.
    ready: BTreeSet<MessageNumber>,
    submitting: BTreeSet<MessageNumber>,
    again_at: Option<Time>,
}

/// A message that is ready to go.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) number: MessageNumber,
    pub(super) message: Outgoing,
    pub(super) id: MessageId,
    /// To whom.
    pub(super) to: Address,
}

impl Outbox {
    pub(super) fn read(turn: Turn<'_>) -> Result<Self, StoreError> {
        let mut outbox = Self::default();
        for (key, value) in read_all(turn, Drawer::Outbox)? {
            let number = key.try_into().map(u64::from_be_bytes);
            let number = number.map_err(|_| StoreError::Damaged("outbox"))?;
            outbox.insert(MessageNumber(number), Outgoing::from_bytes(&value)?);
        }
        Ok(outbox)
    }

    /// Whose numbers messages have, some of them more than once.
    pub(super) fn contacts(&self) -> impl Iterator<Item = u32> {
        self.messages.values().map(|message| message.contact)
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// How many of them the person knows of.
    pub(super) fn shown(&self) -> usize {
        let is_shown = |message: &&Outgoing| match message.content_type {
            ContentType::ROOM => Note::is_said(&message.body),
            content_type => is_shown(content_type),
        };
        self.messages.values().filter(is_shown).count()
    }

    /// What is on its way about files and the person does not know of.
    pub(super) fn asides(&self) -> impl Iterator<Item = (MessageNumber, &Outgoing)> {
        let all = self.messages.iter().map(|(number, message)| (*number, message));
        all.filter(|(_, message)| message.content_type == ContentType::TRANSFER)
    }

    /// Whatever of rooms is on its way.
    pub(super) fn of_rooms(&self) -> impl Iterator<Item = &Outgoing> {
        self.messages.values().filter(|message| message.content_type == ContentType::ROOM)
    }

    /// To which contacts something of this kind is on its way.
    pub(super) fn of_type(&self, content_type: ContentType) -> BTreeSet<u32> {
        let all = self.messages.values().filter(|message| message.content_type == content_type);
        all.map(|message| message.contact).collect()
    }

    /// Receipts that are on their way to a contact.
    pub(super) fn receipts(&self, contact: u32) -> usize {
        let is_receipt = |message: &&Outgoing| {
            message.contact == contact && message.content_type == ContentType::RECEIPT
        };
        self.messages.values().filter(is_receipt).count()
    }

    /// Messages of this kind that are on their way.
    pub(super) fn numbers_of_type(&self, content_type: ContentType) -> Vec<MessageNumber> {
        self.numbers(|message| message.content_type == content_type)
    }

    /// Messages to a contact that are on their way.
    pub(super) fn numbers_to(&self, contact: u32) -> Vec<MessageNumber> {
        self.numbers(|message| message.contact == contact)
    }

    fn numbers(&self, is_one: impl Fn(&Outgoing) -> bool) -> Vec<MessageNumber> {
        let all = self.messages.iter().filter(|(_, message)| is_one(message));
        all.map(|(number, _)| *number).collect()
    }

    /// One of our messages that is on its way.
    pub(super) fn get(&self, number: MessageNumber) -> Option<&Outgoing> {
        self.messages.get(&number)
    }

    /// Edits of the message `id` that are on their way to a contact.
    pub(super) fn edits(&self, contact: u32, id: Option<MessageId>) -> Vec<MessageNumber> {
        let concerns = |message: &Outgoing| {
            let content = Content::read(message.content_type, message.body.clone());
            matches!(content, Content::Edit { target, .. } if Some(target) == id)
        };
        let is_edit = |message: &Outgoing| message.content_type == ContentType::EDIT;
        self.numbers(|m| m.contact == contact && is_edit(m) && concerns(m))
    }

    /// When something here expires, or wants another try.
    pub(super) fn next(&self, connected: bool) -> Option<Time> {
        let expiry = self.messages.values().map(|message| message.expires_at).min();
        let again = self.again_at.filter(|_| connected);
        expiry.into_iter().chain(again).min()
    }

    /// The link is gone: what was being submitted is to be submitted again.
    pub(super) fn interrupt(&mut self) {
        self.submitting.clear();
        self.ready.clear();
        self.again_at = None;
    }

    fn insert(&mut self, number: MessageNumber, message: Outgoing) {
        if let Some(envelope) = &message.envelope {
            self.by_envelope.insert(envelope.id(), number);
        }
        self.messages.insert(number, message);
    }

    fn remove(&mut self, number: MessageNumber) {
        self.ready.remove(&number);
        self.submitting.remove(&number);
        if let Some(envelope) = self.messages.remove(&number).and_then(|m| m.envelope) {
            self.by_envelope.remove(&envelope.id());
        }
    }
}

impl Agent {
    /// Makes the next message of a conversation, which [`Self::launch`] brings on its way. The caller
    /// has checked that it is possible.
    pub(super) fn prepare(
        &mut self,
        turn: Turn<'_>,
        contact: u32,
        content: Content,
        ttl: Span,
    ) -> Result<Sent, CommandError> {
        let Some(record) = self.people.get(contact) else { return Err(CommandError::Own) };
        self.check_keys(record)?;
        let (to, was_sought) = (record.address, record.is_sought());
        let (content_type, body) = content.write();
        let message = Outgoing {
            contact,
            content_type,
            body,
            sequence: record.sent + 1,
            previous: record.previous,
            sent_at: turn.now,
            expires_at: turn.now + ttl,
            state: MessageState::Queued,
            envelope: None,
        };
        let id = payload_of(&message, to).id(self.identity.public());
        // A room is not this person alone, and much of what is said about it goes by itself.
        let goes_by_itself = !is_shown(content_type) || content_type == ContentType::ROOM;
        self.change_contact(contact, |record| {
            record.is_only_told = goes_by_itself && (record.sent == 0 || record.is_only_told);
            record.sent = message.sequence;
            record.turned_away &= goes_by_itself;
            record.previous = Some(id);
        });
        let is_sought = self.people.get(contact).is_some_and(ContactRecord::is_sought);
        if !was_sought && is_sought {
            self.widen_collection(turn, contact);
        }
        Ok(Sent { number: self.take_number(), message, id, to })
    }

    /// Brings a message on its way. Whatever is shown of it has been written before.
    pub(super) fn launch(&mut self, turn: Turn<'_>, sent: Sent) {
        self.bring(turn, sent.number, sent.message);
    }

    /// Brings a message on its way of which nothing is shown.
    pub(super) fn bring(&mut self, turn: Turn<'_>, number: MessageNumber, message: Outgoing) {
        self.write_message(number, message);
        self.advance(turn, number);
    }

    /// Takes back what has not been delivered.
    pub(super) fn on_cancel(
        &mut self,
        turn: Turn<'_>,
        id: CommandId,
        number: MessageNumber,
    ) -> Result<(), StoreError> {
        let message = self.outbox.messages.get(&number);
        let (result, envelope) = match message {
            None => (Err(CommandError::NoSuchMessage(number)), None),
            Some(message) => {
                let envelope = message.envelope.as_ref().map(Envelope::id);
                (Ok(Outcome::Cancelled { copies_may_exist: envelope.is_some() }), envelope)
            }
        };
        if let Some(envelope) = envelope {
            let request = ClientRequest::Cancel { id: envelope };
            if self.call(request, Purpose::Cancel(number, id)) {
                return Ok(());
            }
        }
        if result.is_ok() {
            self.move_on(turn, number, MessageState::Cancelled)?;
        }
        self.journal.promise(Promise::Output(Box::new(Output::Done { id, result })));
        Ok(())
    }

    /// The node has taken an envelope back, or not.
    pub(super) fn on_cancelled(
        &mut self,
        turn: Turn<'_>,
        number: MessageNumber,
        id: CommandId,
        result: Result<ClientResponse, Rejection>,
    ) -> Result<(), StoreError> {
        if result.as_ref().is_err_and(|reason| reason.retry() == Retry::Later) {
            let result = Err(CommandError::NoAnswer);
            self.outputs.push_back(Output::Done { id, result });
            return Ok(());
        }
        // A node that does not know the envelope has at least nothing to relay.
        let copies_may_exist =
            !matches!(result, Ok(ClientResponse::Cancelled { copies_may_exist: false }));
        self.move_on(turn, number, MessageState::Cancelled)?;
        let result = Ok(Outcome::Cancelled { copies_may_exist });
        self.journal.promise(Promise::Output(Box::new(Output::Done { id, result })));
        Ok(())
    }

    /// The link stands: submit everything that is sealed, seal what can be.
    pub(super) fn resume_outbox(&mut self, turn: Turn<'_>) {
        let numbers: Vec<_> = self.outbox.messages.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.advance(turn, number));
    }

    /// A contact's card has been found, or not.
    pub(super) fn advance_contact(
        &mut self,
        turn: Turn<'_>,
        contact: u32,
    ) -> Result<(), StoreError> {
        for number in self.outbox.numbers_to(contact) {
            self.advance(turn, number);
        }
        Ok(())
    }

    /// Expires what has run out, and tries again what was refused.
    pub(super) fn outbox_due(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        for number in self.outbox.numbers(|message| message.expires_at <= turn.now) {
            self.move_on(turn, number, MessageState::Expired)?;
        }
        if self.node.is_some() {
            self.tell_lineage(turn);
            self.tell_profile(turn);
        }
        if self.outbox.again_at.is_some_and(|at| at <= turn.now) {
            self.outbox.again_at = None;
            // What the node has is watched; only what it has not wants another try.
            for number in self.outbox.numbers(|message| message.state == MessageState::Queued) {
                self.advance(turn, number);
            }
        }
        Ok(())
    }

    /// Brings one message a step further, if that is possible now.
    fn advance(&mut self, turn: Turn<'_>, number: MessageNumber) {
        let message = self.outbox.messages.get(&number);
        let Some(message) = message.filter(|message| self.may_leave(message)) else { return };
        if message.envelope.is_none() {
            self.seal_message(turn, number);
        } else if self.node.is_some() && !self.outbox.submitting.contains(&number) {
            // It may have been sealed in this very step: the disk first.
            self.journal.promise(Promise::Submit(number));
        }
    }

    /// Seals a message if its recipient's key is known; else asks for their card.
    fn seal_message(&mut self, turn: Turn<'_>, number: MessageNumber) {
        let Some(message) = self.outbox.messages.get(&number).cloned() else { return };
        let Some(record) = self.people.get(message.contact).cloned() else { return };
        if self.check_keys(&record).is_err() {
            return;
        }
        let prekey = record.card.as_ref().and_then(|card| card.prekey_at(turn.now));
        let asked_in_vain = matches!(
            self.people.lookup(message.contact),
            Some(super::contacts::CardLookup::Failed { .. })
        );
        let target = match (&record.key, prekey) {
            (Some(owner), Some(prekey)) => SealTarget::Prekey { owner, prekey },
            // Nobody has a card of theirs, but we know their key: better a message that a later
            // theft of that key could open than none (PROTOCOL §4.3).
            (Some(owner), None) if asked_in_vain => SealTarget::Identity(owner),
            _ => {
                self.seek_card(turn, message.contact);
                self.try_again(self.people.seek_again_at(message.contact, turn.now + AGAIN));
                return;
            }
        };
        if let Some(envelope) = self.seal(turn, &message, record.address, &target) {
            let id = envelope.id();
            self.write_message(number, Outgoing { envelope: Some(envelope), ..message }.sealed());
            self.note_envelope(turn, number, id);
            self.journal.promise(Promise::Submit(number));
        }
    }

    fn seal(
        &mut self,
        turn: Turn<'_>,
        message: &Outgoing,
        to: Address,
        target: &SealTarget<'_>,
    ) -> Option<Envelope> {
        let class = payload::class_for(message.body.len())?;
        let payload = payload_of(message, to);
        let sealed = sealing::seal(&mut self.rng, &self.identity, target, &payload, class).ok()?;
        let header = Header {
            suite: target.suite(),
            mailbox: self.mailbox_of(turn, message.contact, to),
            expires_at: message.expires_at,
            stamp_nonce: 0,
        };
        Envelope::new(header, Bytes::from(sealed)).ok()
    }

    /// Where to leave an envelope: the conversation's mailbox once they listen there, until then the
    /// one that everybody can compute (PROTOCOL §4.6).
    fn mailbox_of(&mut self, turn: Turn<'_>, contact: u32, to: Address) -> Address {
        let established = self.people.get(contact).is_some_and(|record| record.established);
        let conversation = self.people.conversation(&self.identity, contact);
        match conversation.filter(|_| established) {
            Some(conversation) => {
                let epoch = conversation.epoch_at(turn.now);
                conversation.mailbox(Direction::Outgoing, epoch).address()
            }
            None => to,
        }
    }

    /// Submits a sealed message, or lines it up.
    pub(super) fn submit(&mut self, number: MessageNumber) {
        if self.outbox.submitting.contains(&number) || self.node.is_none() {
            return;
        }
        if self.outbox.submitting.len() >= SUBMITTING_MAX {
            self.outbox.ready.insert(number);
            return;
        }
        let envelope = self.outbox.messages.get(&number).and_then(|m| m.envelope.clone());
        let Some(envelope) = envelope else { return };
        if self.call(ClientRequest::Submit { envelope }, Purpose::Submit(number)) {
            self.outbox.submitting.insert(number);
        }
    }

    /// The node has taken an envelope, or not.
    pub(super) fn on_submitted(
        &mut self,
        turn: Turn<'_>,
        number: MessageNumber,
        result: Result<ClientResponse, Rejection>,
    ) -> Result<(), StoreError> {
        self.outbox.submitting.remove(&number);
        let envelope = self.outbox.messages.get(&number).and_then(|m| m.envelope.clone());
        match (result, envelope) {
            (Ok(ClientResponse::Submitted { state }), Some(envelope)) => {
                self.on_state(turn, &envelope.id(), state)?;
                self.watch(&[envelope.id()]);
            }
            // Its time is over by the node's clock.
            (Err(Rejection::Expired), _) => self.move_on(turn, number, MessageState::Expired)?,
            (Err(reason), _) if reason.retry() == Retry::Later => {
                self.try_again(turn.now + AGAIN);
            }
            _ => {}
        }
        if let Some(next) = self.outbox.ready.pop_first() {
            self.submit(next);
        }
        Ok(())
    }

    /// The node says how far one of our envelopes has come.
    pub(super) fn on_state(
        &mut self,
        turn: Turn<'_>,
        envelope: &EnvelopeId,
        state: EnvelopeState,
    ) -> Result<(), StoreError> {
        let Some(number) = self.outbox.by_envelope.get(envelope).copied() else { return Ok(()) };
        let state = match state {
            EnvelopeState::Accepted => MessageState::Accepted,
            EnvelopeState::Stored(relays) => MessageState::Stored(relays),
            EnvelopeState::Delivered { at } => MessageState::Delivered { at },
            EnvelopeState::Expired => MessageState::Expired,
            EnvelopeState::Cancelled => MessageState::Cancelled,
        };
        self.move_on(turn, number, state)
    }

    /// Moves a message to a later state; never to an earlier one.
    pub(super) fn move_on(
        &mut self,
        turn: Turn<'_>,
        number: MessageNumber,
        state: MessageState,
    ) -> Result<(), StoreError> {
        let Some(message) = self.outbox.messages.get(&number).cloned() else { return Ok(()) };
        if state <= message.state {
            return Ok(());
        }
        let (contact, message_left) = (message.contact, message.state > MessageState::Queued);
        let content_type = message.content_type;
        let body = match content_type {
            ContentType::PROFILE | ContentType::ROOM | ContentType::TRANSFER => {
                message.body.clone()
            }
            _ => Vec::new(),
        };
        self.change_entry(turn, contact, number, |entry| {
            if let Author::Us { state: known, .. } = &mut entry.author {
                *known = state.max(*known);
            }
            entry.steps.note(state, turn.now);
        })?;
        if state.is_final() {
            self.outbox.remove(number);
            self.journal.delete(Drawer::Outbox, number.0.to_be_bytes().to_vec());
        } else if content_type == ContentType::TRANSFER {
            // Pieces are many and long: how far one has come is not written down but when it is at its end.
            self.outbox.insert(number, Outgoing { state, ..message });
        } else {
            self.write_message(number, Outgoing { state, ..message });
        }
        match state {
            MessageState::Delivered { .. } => {
                // They have read us, so they know our key and listen to our conversation.
                self.change_contact(contact, |record| record.established = true);
                self.people.note_heard(contact, turn.now);
                match content_type {
                    ContentType::SUCCESSION => self.note_told(turn, contact),
                    ContentType::PROFILE => self.note_profile_told(contact, &body),
                    _ => {}
                }
            }
            // Perhaps they listen there no longer: they lost their data, or removed us.
            MessageState::Expired if message_left => {
                self.change_contact(contact, |record| record.established = false);
            }
            _ => {}
        }
        if content_type == ContentType::ROOM {
            return self.on_note_state(turn, contact, &body, state);
        }
        if content_type == ContentType::TRANSFER {
            return self.on_file_note_state(turn, number, (contact, &body), state);
        }
        let known = self.people.get(contact).filter(|_| is_shown(content_type));
        if let Some(contact) = known.map(|record| record.address) {
            let event = Event::State { number, contact, state };
            self.journal.promise(Promise::Output(Box::new(Output::Event(event))));
        }
        Ok(())
    }

    /// Until when one of our messages waits to be delivered; none if it does so no more.
    pub fn waits_until(&self, number: MessageNumber) -> Option<Time> {
        self.outbox.messages.get(&number).map(|message| message.expires_at)
    }

    /// How many messages to a contact are on their way.
    pub(super) fn on_their_way(&self, contact: u32) -> usize {
        self.outbox.messages.values().filter(|message| message.contact == contact).count()
    }

    /// The newest message to each contact that is on its way.
    pub(super) fn newest_by_contact(&self) -> BTreeMap<u32, Newest> {
        let newest = |(number, message): (&MessageNumber, &Outgoing)| {
            let (number, state, sent_at) = (*number, message.state, message.sent_at);
            (message.contact, Newest { number, state, sent_at })
        };
        let shown = self.outbox.messages.iter().filter(|(_, one)| is_shown(one.content_type));
        shown.map(newest).collect()
    }

    fn note_envelope(&mut self, turn: Turn<'_>, number: MessageNumber, id: EnvelopeId) {
        let contact = self.outbox.messages.get(&number).map(|message| message.contact);
        if let Some(contact) = contact {
            // A damaged history entry must not keep a message from leaving.
            let _ = self.change_entry(turn, contact, number, |entry| {
                if let Author::Us { envelope, .. } = &mut entry.author {
                    *envelope = Some(id);
                }
            });
        }
    }

    fn change_entry(
        &mut self,
        turn: Turn<'_>,
        contact: u32,
        number: MessageNumber,
        change: impl FnOnce(&mut Entry),
    ) -> Result<(), StoreError> {
        // Removals and the like have a number on their way, and no entry.
        let Some(mut entry) = self.read_entry(turn, contact, number)? else { return Ok(()) };
        change(&mut entry);
        self.write_entry(contact, &entry);
        Ok(())
    }

    fn watch(&mut self, ids: &[EnvelopeId]) {
        for ids in ids.chunks(IDS_MAX) {
            self.call(ClientRequest::Watch { ids: ids.to_vec() }, Purpose::Watch);
        }
    }

    fn try_again(&mut self, at: Time) {
        self.outbox.again_at = Some(self.outbox.again_at.map_or(at, |known| known.min(at)));
    }

    fn write_message(&mut self, number: MessageNumber, message: Outgoing) {
        let key = number.0.to_be_bytes().to_vec();
        self.journal.put(Drawer::Outbox, key, message.to_bytes());
        self.outbox.insert(number, message);
    }
}

/// Whether the person knows of messages of this kind: receipts and what others are told of ourselves go by themselves.
fn is_shown(content_type: ContentType) -> bool {
    use ContentType as Type;
    !matches!(content_type, Type::RECEIPT | Type::SUCCESSION | Type::PROFILE | Type::TRANSFER)
}

fn payload_of(message: &Outgoing, recipient: Address) -> Payload {
    Payload {
        content_type: message.content_type,
        sequence: NonZeroU64::new(message.sequence).unwrap_or(NonZeroU64::MIN),
        previous: message.previous,
        sent_at: message.sent_at,
        expires_at: message.expires_at,
        recipient,
        body: message.body.clone(),
    }
}
