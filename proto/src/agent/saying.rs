//! What we say, reply, edit and remove; which edits and removals of others count (PROTOCOL §4.9).

use crate::address::Address;
use crate::content::{Content, LIFETIME_MIN, Text};
use crate::envelope::{SizeClass, TTL_MAX, TTL_MIN};
use crate::file::Reason;
use crate::message::ClientRequest;
use crate::payload::{self, ContentType, MessageId};
use crate::store::StoreError;
use crate::time::{Span, Time};

use super::entry::{Author, Edited, Entry, Marks, MessageNumber, MessageState, Steps};
use super::history::id_key;
use super::io::{CommandError, Drawer, Event, Outcome, Refusal};
use super::outbox::{OUTBOX_MAX, Sent};
use super::records::{Change, Revision};
use super::{Agent, Purpose, Turn};

/// Changes of one contact's messages that wait for these; of more the first that came is forgotten.
pub(super) const WAITING_MAX: usize = 64;

impl Agent {
    /// Says something to somebody: it is on disk before anything else happens.
    pub(super) fn send(
        &mut self,
        turn: Turn<'_>,
        to: Address,
        content_type: ContentType,
        body: Vec<u8>,
        ttl: Span,
    ) -> Result<Entry, Refusal> {
        if content_type == ContentType::TEXT {
            return self.say(turn, to, Text { text: body, ..Text::default() }, ttl);
        }
        if content_type.is_of_conversations() {
            return Err(CommandError::Kind(content_type).into());
        }
        self.check_message(body.len(), 0, ttl)?;
        let contact = self.know(turn, to)?;
        let content = Content::Other { content_type, body: body.clone() };
        let sent = self.prepare(turn, contact, content, ttl)?;
        Ok(self.keep_and_launch(turn, sent, content_type, Text { text: body, ..Text::default() }))
    }

    /// Says something that answers a message.
    pub(super) fn reply(
        &mut self,
        turn: Turn<'_>,
        to: MessageNumber,
        text: String,
        ttl: Span,
    ) -> Result<Entry, Refusal> {
        let (_, _, answered) = self.locate(turn, to)?;
        let answers = Some(answered.id.ok_or(CommandError::Nameless(to))?);
        let text = Text { text: text.into_bytes(), answers, lifetime: None };
        self.say(turn, answered.contact, text, ttl)
    }

    /// Gives one of our messages another text.
    pub(super) fn edit(
        &mut self,
        turn: Turn<'_>,
        number: MessageNumber,
        text: String,
        ttl: Span,
    ) -> Result<Outcome, Refusal> {
        let (contact, key, mut entry) = self.locate_ours(turn, number)?;
        if entry.content_type != ContentType::TEXT {
            return Err(CommandError::NoText(number).into());
        }
        if self.is_blocked(contact) {
            return Err(CommandError::Blocked(entry.contact).into());
        }
        let target = entry.id.ok_or(CommandError::Nameless(number))?;
        let length = text.len();
        // Where the message disappears its edit is of no use any more either.
        let left = entry.marks.disappears_at.map(|end| end.since(turn.now).max(LIFETIME_MIN));
        let content = Content::Edit { target, text: text.clone(), lifetime: left };
        let added = content.clone().write().1.len() - length;
        self.check_message(length, added, ttl)?;
        let sent = self.prepare(turn, contact, content, ttl)?;
        let change = Change::Text(text.into_bytes());
        Revision::new(sent.message.sequence, turn.now, change).apply(&mut entry);
        self.rewrite(key, &entry);
        let notice = sent.number;
        self.launch(turn, sent);
        Ok(Outcome::Edited { entry, notice })
    }

    /// Removes one of our messages here, and has it removed there, unless they are blocked or a key is not to be used:
    /// then nothing is said. What is on its way is taken back: nobody should read it any more.
    pub(super) fn delete(
        &mut self,
        turn: Turn<'_>,
        number: MessageNumber,
        ttl: Span,
    ) -> Result<Outcome, Refusal> {
        let (contact, _, entry) = self.locate_ours(turn, number)?;
        if entry.content_type == ContentType::TIMER {
            return Err(CommandError::NoText(number).into());
        }
        let never_left = self.outbox.get(number).is_some_and(|message| message.envelope.is_none());
        let notice = match entry.id {
            _ if never_left || self.is_blocked(contact) || self.is_silenced(contact) => None,
            None => return Err(CommandError::Nameless(number).into()),
            Some(target) => {
                self.check_outbox(ttl)?;
                Some(self.prepare(turn, contact, Content::Delete { target }, ttl)?)
            }
        };
        self.withdraw(turn, number)?;
        self.withdraw_edits(turn, contact, &entry)?;
        // As it is once it has been taken back.
        let (_, key, mut entry) = self.locate(turn, number)?;
        Revision::new(0, turn.now, Change::Removed).apply(&mut entry);
        self.rewrite(key, &entry);
        self.end_own_file(turn, number, Reason::Withdrawn)?;
        let number = notice.as_ref().map(|sent| sent.number);
        if let Some(sent) = notice {
            self.launch(turn, sent);
        }
        Ok(Outcome::Deleted { entry, notice: number })
    }

    /// Takes a message from its way without waiting for the node's answer: its copy here is gone at once.
    pub(super) fn withdraw(
        &mut self,
        turn: Turn<'_>,
        number: MessageNumber,
    ) -> Result<(), StoreError> {
        let envelope = self.outbox.get(number).and_then(|message| message.envelope.as_ref());
        if let Some(id) = envelope.map(crate::envelope::Envelope::id) {
            self.call(ClientRequest::Cancel { id }, Purpose::Withdraw);
        }
        self.move_on(turn, number, MessageState::Cancelled)
    }

    /// Takes edits of one of our messages from their way: they have its text.
    pub(super) fn withdraw_edits(
        &mut self,
        turn: Turn<'_>,
        contact: u32,
        entry: &Entry,
    ) -> Result<(), StoreError> {
        if entry.marks.edited.is_none() {
            return Ok(());
        }
        for number in self.outbox.edits(contact, entry.id) {
            self.withdraw(turn, number)?;
        }
        Ok(())
    }

    /// The author of a message, as far as we know, wants it changed. Only their own messages are looked at.
    pub(super) fn on_revision(
        &mut self,
        turn: Turn<'_>,
        contact: u32,
        target: &MessageId,
        revision: Revision,
    ) -> Result<(), StoreError> {
        let number = self.number_by_id(turn, contact, target)?;
        let known = number.map(|number| self.read_at(turn, contact, number)).transpose()?.flatten();
        match known {
            // Its text must not wait for a message that has disappeared.
            None if revision.is_short_lived => Ok(()),
            None => self.wait_for(turn, contact, target, revision),
            Some((key, mut entry)) => {
                let is_theirs = matches!(entry.author, Author::Them { .. });
                if is_theirs && revision.apply(&mut entry) {
                    if entry.marks.deleted_at.is_some() {
                        self.forget_unread(turn, contact, entry.number)?;
                    }
                    self.rewrite(key, &entry);
                    self.promise_event(Event::Revised(entry));
                }
                Ok(())
            }
        }
    }

    /// A message has come: what came before it and is about it is done to it now.
    pub(super) fn catch_up(
        &mut self,
        turn: Turn<'_>,
        contact: u32,
        entry: &mut Entry,
    ) -> Result<(), StoreError> {
        let Some(key) = entry.id.map(|id| id_key(contact, &id)) else { return Ok(()) };
        if let Some(value) = self.journal.get(turn.store, Drawer::Waiting, &key)? {
            Revision::from_bytes(&value)?.apply(entry);
            self.journal.delete_readable(Drawer::Waiting, key);
        }
        Ok(())
    }

    /// Keeps a change until its message comes.
    fn wait_for(
        &mut self,
        turn: Turn<'_>,
        contact: u32,
        target: &MessageId,
        revision: Revision,
    ) -> Result<(), StoreError> {
        let key = id_key(contact, target);
        let known = self.journal.get(turn.store, Drawer::Waiting, &key)?;
        let known = known.map(|value| Revision::from_bytes(&value)).transpose()?;
        if known.as_ref().is_some_and(|known| !revision.overrules(known)) {
            return Ok(());
        }
        if known.is_none() {
            self.forget_first_waiting(turn, contact)?;
        }
        self.journal.put_readable(Drawer::Waiting, key, revision.to_bytes());
        Ok(())
    }

    /// Makes room for one more change that waits.
    fn forget_first_waiting(&mut self, turn: Turn<'_>, contact: u32) -> Result<(), StoreError> {
        let (from, to) = (contact.to_be_bytes(), contact.saturating_add(1).to_be_bytes());
        let rows = turn.store.scan(Drawer::Waiting, &from, &to, WAITING_MAX)?;
        if rows.len() < WAITING_MAX {
            return Ok(());
        }
        let mut first: Option<(Time, Vec<u8>)> = None;
        for (key, value) in rows {
            let at = Revision::from_bytes(&value)?.at;
            if first.as_ref().is_none_or(|(earliest, _)| at < *earliest) {
                first = Some((at, key));
            }
        }
        if let Some((_, key)) = first {
            self.journal.delete_readable(Drawer::Waiting, key);
        }
        Ok(())
    }

    /// Whether a message can be sent whose body has `length` bytes of its author's and `added` of ours.
    pub(super) fn check_message(
        &self,
        length: usize,
        added: usize,
        ttl: Span,
    ) -> Result<(), CommandError> {
        let max = payload::capacity(SizeClass::K64) - added;
        if length == 0 {
            return Err(CommandError::Empty);
        }
        if length > max {
            return Err(CommandError::TooLong { length, max });
        }
        self.check_outbox(ttl)
    }

    /// Whether anything can be sent that waits for this time.
    pub(super) fn check_outbox(&self, ttl: Span) -> Result<(), CommandError> {
        if !(TTL_MIN..=TTL_MAX).contains(&ttl) {
            return Err(CommandError::Ttl);
        }
        if self.outbox.len() >= OUTBOX_MAX {
            return Err(CommandError::OutboxFull(OUTBOX_MAX));
        }
        Ok(())
    }

    fn say(
        &mut self,
        turn: Turn<'_>,
        to: Address,
        text: Text,
        ttl: Span,
    ) -> Result<Entry, Refusal> {
        let known = self.people.number_of(&to).and_then(|contact| self.people.get(contact));
        let text = Text { lifetime: known.and_then(|record| record.timer.lifetime), ..text };
        let length = text.text.len();
        let added = Content::Text(text.clone()).write().1.len() - length;
        self.check_message(length, added, ttl)?;
        let contact = self.know(turn, to)?;
        let sent = self.prepare(turn, contact, Content::Text(text.clone()), ttl)?;
        Ok(self.keep_and_launch(turn, sent, ContentType::TEXT, text))
    }

    /// Writes down what was said, as it is shown, and brings it on its way.
    pub(super) fn keep_and_launch(
        &mut self,
        turn: Turn<'_>,
        sent: Sent,
        content_type: ContentType,
        text: Text,
    ) -> Entry {
        let entry = Entry {
            number: sent.number,
            contact: sent.to,
            author: Author::Us { state: sent.message.state, envelope: None },
            content_type,
            body: text.text,
            sequence: sent.message.sequence,
            sent_at: sent.message.sent_at,
            stored_at: turn.now,
            id: Some(sent.id),
            answers: text.answers,
            marks: Marks {
                disappears_at: text.lifetime.map(|lifetime| turn.now + lifetime),
                ..Marks::default()
            },
            steps: Steps::default(),
        };
        self.write_entry(sent.message.contact, &entry);
        self.note_fading(turn, sent.message.contact, &entry);
        self.launch(turn, sent);
        entry
    }

    /// A message by its number: whose conversation it belongs to, and its key there.
    pub(super) fn locate(
        &self,
        turn: Turn<'_>,
        number: MessageNumber,
    ) -> Result<(u32, Vec<u8>, Entry), Refusal> {
        for contact in self.people.numbers() {
            if let Some((key, entry)) = self.read_at(turn, contact, number)? {
                return Ok((contact, key, entry));
            }
        }
        Err(CommandError::NoMessage(number).into())
    }

    /// One of our own messages that is not removed.
    fn locate_ours(
        &self,
        turn: Turn<'_>,
        number: MessageNumber,
    ) -> Result<(u32, Vec<u8>, Entry), Refusal> {
        let (contact, key, entry) = self.locate(turn, number)?;
        if !matches!(entry.author, Author::Us { .. }) {
            return Err(CommandError::NotOurs(number).into());
        }
        if entry.marks.deleted_at.is_some() {
            return Err(CommandError::Removed(number).into());
        }
        Ok((contact, key, entry))
    }
}

impl Revision {
    pub(super) const fn new(sequence: u64, at: Time, change: Change) -> Self {
        Self { sequence, at, change, is_short_lived: false }
    }

    /// Changes a message by its author's will; whether it is another one now.
    fn apply(self, entry: &mut Entry) -> bool {
        if entry.marks.deleted_at.is_some() {
            return false;
        }
        match self.change {
            // What is in force stays in sight.
            Change::Removed if is_for_good(entry.content_type) => false,
            Change::Removed => {
                (entry.marks.edited, entry.marks.deleted_at) = (None, Some(self.at));
                (entry.body, entry.answers) = (Vec::new(), None);
                true
            }
            Change::Text(text) => {
                let edited = entry.marks.edited.map_or(0, |edited| edited.sequence);
                if entry.content_type != ContentType::TEXT || self.sequence <= edited {
                    return false;
                }
                entry.marks.edited = Some(Edited { sequence: self.sequence, at: self.at });
                entry.body = text;
                true
            }
        }
    }

    /// Whether this counts and the other does not: a removal is for good, and of edits the last in their
    /// author's order counts.
    fn overrules(&self, other: &Self) -> bool {
        match (&self.change, &other.change) {
            (_, Change::Removed) => false,
            (Change::Removed, Change::Text(_)) => true,
            (Change::Text(_), Change::Text(_)) => self.sequence > other.sequence,
        }
    }
}

/// Whether nobody can remove what was said: what is in force, and that somebody has another key.
fn is_for_good(content_type: ContentType) -> bool {
    matches!(content_type, ContentType::TIMER | ContentType::SUCCESSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(content_type: ContentType) -> Entry {
        Entry {
            number: MessageNumber(1),
            contact: Address::from_bytes([1; 20]),
            author: Author::Us { state: MessageState::Queued, envelope: None },
            content_type,
            body: b"body".to_vec(),
            sequence: 1,
            sent_at: Time::ZERO,
            stored_at: Time::ZERO,
            id: None,
            answers: None,
            marks: Marks::default(),
            steps: Steps::default(),
        }
    }

    /// Else somebody could set a timer, and have nobody see that it is in force.
    #[test]
    fn a_text_can_be_removed_and_a_timer_or_a_new_key_cannot() {
        for (content_type, is_removed) in [
            (ContentType::TEXT, true),
            (ContentType::TIMER, false),
            (ContentType::SUCCESSION, false),
        ] {
            let mut entry = entry(content_type);
            let removal = Revision::new(2, Time::ZERO, Change::Removed);
            assert_eq!(removal.apply(&mut entry), is_removed);
            assert_eq!(entry.marks.deleted_at.is_some(), is_removed);
            assert_eq!(entry.body.is_empty(), is_removed);
        }
    }
}
