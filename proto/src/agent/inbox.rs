//! Taking in what others wrote: open, store, and only then acknowledge (PROTOCOL §6.6).
//!
//! Entry type is [`Inbox`]. The same message twice is shown once and acknowledged twice, because
//! its first acknowledgement may have been lost.

use std::collections::BTreeMap;

use crate::acknowledgement::{Acknowledgement, IDS_MAX, KEPT_AFTER_EXPIRY};
use crate::address::Address;
use crate::content::Content;
use crate::envelope::{Envelope, EnvelopeId};
use crate::key::PublicKey;
use crate::message::{ClientRequest, SIGNED_MAX};
use crate::payload::{ContentType, ExpiryError, MessageId};
use crate::sealing::{self, OpenError, Opened};
use crate::store::StoreError;
use crate::time::{Span, Time};

use super::entry::{Author, Entry, Marks, MessageNumber, Place, Steps};
use super::io::{CommandError, Drawer, Event, Output};
use super::mailboxes::CREDIT;
use super::profiles::{is_ahead, read_profile};
use super::received::Received;
use super::records::{Change, Letter, Revision};
use super::requests::Door;
use super::succeeding::{Verdict, read_letter};
use super::ties::Doubt;
use super::{Agent, Promise, Purpose, Turn};

/// How long after its expiry a message is remembered as seen.
const SEEN_KEPT: Span = Span::from_days(2);

/// What has been read and is to be acknowledged, and what the node may still push.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    read: Vec<Read>,
    /// Envelopes the node may push before it needs more credit.
    credit: u32,
}

/// An envelope that may end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    mailbox: Address,
    id: EnvelopeId,
    expires_at: Time,
}

impl Inbox {
    /// The disk has what the envelope said.
    pub(super) fn may_end(&mut self, read: Read) {
        self.read.push(read);
    }
}

impl Agent {
    /// An envelope from one of our mailboxes.
    pub(super) fn on_envelope(
        &mut self,
        turn: Turn<'_>,
        envelope: &Envelope,
    ) -> Result<(), StoreError> {
        self.inbox.credit = self.inbox.credit.saturating_sub(1);
        if self.inbox.credit <= CREDIT / 2 {
            self.top_up_credit();
        }
        let opened =
            sealing::open(&self.identity, &self.prekeys, envelope.header().suite, envelope.body());
        match opened {
            Ok(opened) => self.on_opened(turn, envelope, opened),
            Err(reason) => {
                self.on_unreadable(envelope, &reason);
                Ok(())
            }
        }
    }

    /// Gives the node credit up to its full amount.
    pub(super) fn top_up_credit(&mut self) {
        let envelopes = CREDIT - self.inbox.credit.min(CREDIT);
        if envelopes > 0 && self.call(ClientRequest::Credit { envelopes }, Purpose::Credit) {
            self.inbox.credit = CREDIT;
        }
    }

    /// The node did not take our credit: it is given anew with the next subscription.
    pub(super) fn lose_credit(&mut self) {
        self.inbox.credit = 0;
    }

    /// Acknowledges what the disk has by now: one signature for many.
    pub(super) fn acknowledge_read(&mut self) {
        if self.inbox.read.is_empty() || self.node.is_none() {
            return;
        }
        let mut by_mailbox: BTreeMap<Address, Vec<Read>> = BTreeMap::new();
        for read in std::mem::take(&mut self.inbox.read) {
            by_mailbox.entry(read.mailbox).or_default().push(read);
        }
        let mut acknowledgements = Vec::new();
        for (mailbox, read) in by_mailbox {
            let Some(key) = self.mailboxes.key(&mailbox) else { continue };
            for some in read.chunks(IDS_MAX) {
                let latest = some.iter().map(|read| read.expires_at).max().unwrap_or_default();
                let ids = some.iter().map(|read| read.id).collect();
                acknowledgements.extend(Acknowledgement::sign(
                    key,
                    ids,
                    latest + KEPT_AFTER_EXPIRY,
                ));
            }
        }
        for some in acknowledgements.chunks(SIGNED_MAX) {
            let request = ClientRequest::Acknowledge { acknowledgements: some.to_vec() };
            self.call(request, Purpose::Acknowledge);
        }
    }

    /// A new link begins without credit, and what was read but not acknowledged comes again.
    pub(super) fn reset_inbox(&mut self) {
        self.inbox = Inbox::default();
    }

    /// Forgets messages that cannot come again, because their envelopes are long over.
    pub(super) fn forget_seen(&mut self, now: Time) {
        let day = (now - SEEN_KEPT).day().to_be_bytes().to_vec();
        self.journal.delete_range(Drawer::Seen, Vec::new(), day);
    }

    fn on_opened(
        &mut self,
        turn: Turn<'_>,
        envelope: &Envelope,
        opened: Opened,
    ) -> Result<(), StoreError> {
        let read = Read {
            mailbox: envelope.mailbox(),
            id: envelope.id(),
            expires_at: envelope.expires_at(),
        };
        let sender = opened.sender.address();
        if sender == self.address() {
            self.leave_unread(envelope, CommandError::Own.to_string());
            return Ok(());
        }
        // Before anything is acknowledged, and without a word to the person either. Rooms have a door of their own.
        let is_of_room = opened.payload.content_type == ContentType::ROOM;
        let is_of_file = opened.payload.content_type == ContentType::TRANSFER;
        let verdict = self.judge(&opened.sender, &opened.payload, turn.now);
        let may_pass = verdict.is_some() || is_of_room;
        let is_shut = verdict == Some(Verdict::Shut) || is_early(&opened, turn.now);
        if is_shut || !may_pass && self.is_shut_out(&sender, turn.now) {
            return Ok(());
        }
        if !self.is_in_time(turn, envelope, &opened, read) {
            return Ok(());
        }
        if is_of_file && verdict.is_none() {
            let (sender, payload) = (opened.sender, opened.payload);
            // They are many, and none of them has a number here.
            let letter = Letter { sender, payload, number: MessageNumber(0), came_at: turn.now };
            return self.hear_about_file(turn, letter, read);
        }
        let seen = seen_key(opened.payload.expires_at, &opened.message_id);
        if self.journal.get(turn.store, Drawer::Seen, &seen)?.is_some() {
            self.journal.promise(Promise::Acknowledge(read));
            return Ok(());
        }
        let (sender, payload) = (opened.sender, opened.payload);
        let letter = Letter { sender, payload, number: self.take_number(), came_at: turn.now };
        if let Some(verdict) = verdict {
            self.journal.promise(Promise::Acknowledge(read));
            self.journal.put_readable(Drawer::Seen, seen, Vec::new());
            return self.on_verdict(turn, verdict, letter);
        }
        let is_taken = match self.door(&sender.address(), turn.now) {
            _ if is_of_room => self.hear_note(turn, letter)?,
            Door::Shut => false,
            Door::Held(known) => self.hold(turn, known, &letter)?,
            Door::Open(contact) if self.is_another_key(contact, &sender) => {
                self.doubt(contact, Doubt::OtherKey);
                false
            }
            Door::Open(contact) => {
                self.learn_key(turn, contact, sender);
                self.on_message(turn, contact, letter)?;
                true
            }
        };
        if is_taken {
            self.journal.promise(Promise::Acknowledge(read));
            self.journal.put_readable(Drawer::Seen, seen, Vec::new());
        }
        Ok(())
    }

    /// Whether a body is in the envelope that it was sealed for, and its time is not over.
    fn is_in_time(
        &mut self,
        turn: Turn<'_>,
        envelope: &Envelope,
        opened: &Opened,
        read: Read,
    ) -> bool {
        match opened.payload.check_expiry(envelope.expires_at(), turn.now) {
            Ok(()) => true,
            // Somebody has put the body into another envelope: the one it was sealed for counts.
            Err(ExpiryError::Differs) => {
                self.journal.promise(Promise::Acknowledge(read));
                false
            }
            // Perhaps only by our clock. Nobody has read it, so nobody says so.
            Err(reason @ ExpiryError::Expired) => {
                self.leave_unread(envelope, reason.to_string());
                false
            }
        }
    }

    /// A letter says that its author has another key, and is worth something.
    fn on_verdict(
        &mut self,
        turn: Turn<'_>,
        verdict: Verdict,
        letter: Letter,
    ) -> Result<(), StoreError> {
        match verdict {
            Verdict::Follow { contact, step } => {
                self.follow(turn, contact, step, &letter)?;
                // What the old key wrote stands in the old order, which has ended.
                if self.people.number_of(&letter.sender.address()) == Some(contact) {
                    self.on_message(turn, contact, letter)?;
                }
            }
            Verdict::Dispute { contact, claimed } => {
                self.doubt(contact, Doubt::OtherSuccessor(claimed));
            }
            Verdict::Shut => {}
        }
        Ok(())
    }

    /// Whether a key is another one than that of the contact who has its address.
    pub(super) fn is_another_key(&self, contact: u32, key: &PublicKey) -> bool {
        let known = self.people.get(contact).and_then(|record| record.key);
        known.is_some_and(|known| known != *key)
    }

    /// A message that was not here before: something to show, or something about another message.
    pub(super) fn on_message(
        &mut self,
        turn: Turn<'_>,
        contact: u32,
        letter: Letter,
    ) -> Result<(), StoreError> {
        let (sequence, number) = (letter.payload.sequence.get(), letter.number);
        let (mut place, mut missing_before) = (Place::Unknown, 0);
        let (mut missing, mut were_missing, mut is_first) = (0, 0, false);
        self.change_contact(contact, |record| {
            record.established = true;
            (were_missing, is_first) = (record.received.missing(), record.received.is_empty());
            if is_first && !record.tie.former().is_empty() {
                // Their counts go on under another key; what came before is not missing there.
                record.received = Received::begun_before(sequence);
            }
            place = record.received.note(sequence, number);
            missing_before = record.received.missing_before(sequence);
            missing = record.received.missing();
        });
        self.people.note_heard(contact, turn.now);
        if is_first {
            self.tell_profile(turn);
        }
        let author = letter.sender.address();
        if read_letter(&letter.payload).is_some() {
            // What it says was done when it was judged.
            return self.tell_missing(author, (missing, were_missing));
        }
        if let Some(profile) = read_profile(&letter.sender, &letter.payload) {
            self.on_profile(turn, contact, profile);
            return self.tell_missing(author, (missing, were_missing));
        }
        let revision = |change| Revision::new(sequence, letter.came_at, change);
        match Content::read(letter.payload.content_type, letter.payload.body.clone()) {
            Content::Edit { target, text, lifetime } => {
                let mut revision = revision(Change::Text(text.into_bytes()));
                revision.is_short_lived = lifetime.is_some();
                self.on_revision(turn, contact, &target, revision)?;
            }
            Content::Delete { target } => {
                self.on_revision(turn, contact, &target, revision(Change::Removed))?;
            }
            Content::Receipt(ids) => self.on_receipt(turn, contact, &ids)?,
            content => {
                if let Content::Timer(lifetime) = content {
                    self.on_timer(turn, contact, lifetime, letter.payload.sent_at);
                }
                let mut entry = entry_of(letter, content);
                entry.author = Author::Them { missing_before, place };
                self.catch_up(turn, contact, &mut entry)?;
                if entry.content_type == ContentType::FILE {
                    self.note_offer(contact, &entry);
                }
                self.show_received(turn, contact, entry);
            }
        }
        self.tell_missing(author, (missing, were_missing))
    }

    fn tell_missing(
        &mut self,
        contact: Address,
        (missing, were_missing): (u64, u64),
    ) -> Result<(), StoreError> {
        if missing != were_missing {
            self.promise_event(Event::Missing { contact, messages: missing });
        }
        Ok(())
    }

    /// A message is written down and told, unless its time is over already.
    fn show_received(&mut self, turn: Turn<'_>, contact: u32, entry: Entry) {
        if entry.marks.disappears_at.is_some_and(|end| end <= turn.now) {
            return self.promise_event(Event::Overdue { contact: entry.contact });
        }
        self.write_entry(contact, &entry);
        self.note_fading(turn, contact, &entry);
        self.note_unread(contact, &entry);
        let is_muted = self.people.get(contact).is_some_and(|record| record.muted);
        self.promise_event(Event::Received { entry, is_muted });
    }

    pub(super) fn promise_event(&mut self, event: Event) {
        self.journal.promise(Promise::Output(Box::new(Output::Event(event))));
    }

    /// What no key of ours opens stays where it is: another device of ours may have the key. What
    /// was opened and is wrong will never be right, and may end.
    fn on_unreadable(&mut self, envelope: &Envelope, reason: &OpenError) {
        let keep = matches!(reason, OpenError::NotForUs | OpenError::UnknownSuite(_));
        if !keep {
            self.journal.promise(Promise::Acknowledge(Read {
                mailbox: envelope.mailbox(),
                id: envelope.id(),
                expires_at: envelope.expires_at(),
            }));
        }
        self.leave_unread(envelope, reason.to_string());
    }

    fn leave_unread(&mut self, envelope: &Envelope, reason: String) {
        self.event(Event::Unreadable { envelope: envelope.id(), reason });
    }
}

/// Whether it is a profile whose day has not come, by whichever clock is wrong: it comes again.
fn is_early(opened: &Opened, now: Time) -> bool {
    read_profile(&opened.sender, &opened.payload).is_some_and(|profile| is_ahead(&profile, now))
}

/// By day of expiry, so that what cannot come again is forgotten by the day.
fn seen_key(expires_at: Time, id: &MessageId) -> Vec<u8> {
    [&expires_at.day().to_be_bytes()[..], id.as_bytes()].concat()
}

/// A message as it is shown. Its place among others is still to be said.
pub(super) fn entry_of(letter: Letter, content: Content) -> Entry {
    let (id, contact) = (letter.id(), letter.sender.address());
    let Letter { payload, number, came_at, .. } = letter;
    let (content_type, body, answers, lifetime) = match content {
        Content::Text(text) => (ContentType::TEXT, text.text, text.answers, text.lifetime),
        _ => (payload.content_type, payload.body, None, None),
    };
    // By the author's clock, unless that is ahead: nobody's clock makes a message stay.
    let begins = payload.sent_at.min(came_at);
    let disappears_at = lifetime.map(|lifetime| begins + lifetime);
    Entry {
        number,
        contact,
        author: Author::Them { missing_before: 0, place: Place::Unknown },
        content_type,
        body,
        sequence: payload.sequence.get(),
        sent_at: payload.sent_at,
        stored_at: came_at,
        id: Some(id),
        answers,
        marks: Marks { disappears_at, ..Marks::default() },
        steps: Steps::default(),
    }
}
