//! What the person was shown, and who is told so (PROTOCOL §4.11).
//!
//! Entry type is [`Reading`]. What was not shown stands in a drawer, one row a message. What is to be told
//! waits in another for a moment, so that one receipt names many messages.

use std::collections::BTreeMap;

use crate::address::Address;
use crate::content::{Content, RECEIPT_IDS_MAX};
use crate::envelope::TTL_DEFAULT;
use crate::payload::{ContentType, MessageId};
use crate::store::StoreError;
use crate::time::{Span, Time};

use super::entry::{Author, Entry, MessageNumber, MessageState};
use super::history::key;
use super::io::{CommandError, Drawer, Event, Outcome, ReceiptRule, Refusal};
use super::{Agent, Turn, read_all};

/// Messages that are marked as read in one step.
const READ_AT_ONCE: usize = 1_000;
/// How long a receipt waits for further messages to name.
const GATHERED_FOR: Span = Span::from_secs(3);
/// How soon a receipt that could not leave is tried again.
const AGAIN: Span = Span::from_mins(1);
/// Messages of one person that wait to be named.
const GATHERED_MAX: usize = 1_024;
/// Receipts on their way to one person: whoever never acknowledges them fills no outbox.
const ON_THEIR_WAY_MAX: usize = 8;
/// What is done for everybody who has no rule of their own.
const FOR_ALL: &[u8] = b"receipts";

/// Who is told what was read, and when.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Whether everybody is told who has no rule of their own.
    tells_all: bool,
    /// When each contact is told, and of how many messages.
    due: BTreeMap<u32, (Time, usize)>,
}

impl Reading {
    pub(super) fn read(turn: Turn<'_>) -> Result<Self, StoreError> {
        let tells_all = turn.store.get(Drawer::Meta, FOR_ALL)?.is_some_and(|value| value == [1]);
        let mut due = BTreeMap::new();
        for (key, _) in read_all(turn, Drawer::Receipts)? {
            let contact = key.first_chunk().ok_or(StoreError::Damaged("receipts"))?;
            due.entry(u32::from_be_bytes(*contact)).or_insert((turn.now, 0)).1 += 1;
        }
        Ok(Self { tells_all, due })
    }

    /// When the next receipt leaves.
    pub(super) fn next(&self) -> Option<Time> {
        self.due.values().map(|(at, _)| *at).min()
    }
}

impl Agent {
    /// What is done for everybody who has no rule of their own: [`ReceiptRule::Send`] or
    /// [`ReceiptRule::Withhold`].
    pub fn receipts_for_all(&self) -> ReceiptRule {
        if self.reading.tells_all { ReceiptRule::Send } else { ReceiptRule::Withhold }
    }

    pub(super) fn set_receipts(
        &mut self,
        of: Option<Address>,
        rule: ReceiptRule,
    ) -> Result<Outcome, CommandError> {
        let Some(address) = of else {
            self.reading.tells_all = rule == ReceiptRule::Send;
            let value = vec![u8::from(self.reading.tells_all)];
            self.journal.put(Drawer::Meta, FOR_ALL.to_vec(), value);
            return Ok(Outcome::Receipts(self.receipts_for_all()));
        };
        let contact = self.number_of_present(&address)?;
        self.change_contact(contact, |record| record.receipts = rule);
        Ok(Outcome::Receipts(rule))
    }

    /// The person was shown messages. Those that they were shown before, or that are gone, are passed over.
    pub(super) fn mark_read(
        &mut self,
        turn: Turn<'_>,
        address: &Address,
        numbers: &[MessageNumber],
    ) -> Result<Outcome, Refusal> {
        if numbers.len() > READ_AT_ONCE {
            return Err(CommandError::TooManyMessages(READ_AT_ONCE).into());
        }
        let contact = self.number_of_present(address)?;
        let tells = self.tells(contact);
        for number in numbers {
            if !self.forget_unread(turn, contact, *number)? || !tells {
                continue;
            }
            if let Some((_, entry)) = self.read_at(turn, contact, *number)? {
                self.gather_receipt(turn, contact, &entry);
            }
        }
        let unread = self.people.get(contact).map_or(0, |record| record.unread);
        Ok(Outcome::Read { unread })
    }

    /// Notes that the person has something to read.
    pub(super) fn note_unread(&mut self, contact: u32, entry: &Entry) {
        if entry.content_type == ContentType::TIMER || entry.marks.deleted_at.is_some() {
            return;
        }
        self.journal.put_readable(Drawer::Unread, key(contact, entry.number.0), Vec::new());
        self.change_contact(contact, |record| record.unread = record.unread.saturating_add(1));
    }

    /// A message was read, or is gone; whether it had not been read before.
    pub(super) fn forget_unread(
        &mut self,
        turn: Turn<'_>,
        contact: u32,
        number: MessageNumber,
    ) -> Result<bool, StoreError> {
        let row = key(contact, number.0);
        let is_unread = self.journal.get(turn.store, Drawer::Unread, &row)?.is_some();
        if is_unread {
            self.journal.delete_readable(Drawer::Unread, row);
            self.change_contact(contact, |record| record.unread = record.unread.saturating_sub(1));
        }
        Ok(is_unread)
    }

    /// Sends the receipts whose time has come.
    pub(super) fn receipts_due(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        let due = self.reading.due.iter().filter(|(_, (at, _))| *at <= turn.now);
        for contact in due.map(|(contact, _)| *contact).collect::<Vec<_>>() {
            self.send_receipt(turn, contact)?;
        }
        Ok(())
    }

    /// Somebody was shown messages of ours. That they say so proves that these were delivered, too.
    pub(super) fn on_receipt(
        &mut self,
        turn: Turn<'_>,
        contact: u32,
        ids: &[MessageId],
    ) -> Result<(), StoreError> {
        for id in ids {
            let Some(number) = self.number_by_id(turn, contact, id)? else { continue };
            self.move_on(turn, number, MessageState::Delivered { at: turn.now })?;
            let Some((key, mut entry)) = self.read_at(turn, contact, number)? else { continue };
            let is_ours = matches!(entry.author, Author::Us { .. });
            if !is_ours || entry.steps.read_at.is_some() || entry.marks.deleted_at.is_some() {
                continue;
            }
            entry.steps.read_at = Some(turn.now);
            self.rewrite(key, &entry);
            let contact = entry.contact;
            self.promise_event(Event::Read { number, contact, at: turn.now });
        }
        Ok(())
    }

    /// Whoever wrote to us and to whom we never turned is told nothing: not even that we are there.
    fn tells(&self, contact: u32) -> bool {
        self.people.get(contact).is_some_and(|record| {
            let by_rule = match record.receipts {
                ReceiptRule::AsForAll => self.reading.tells_all,
                ReceiptRule::Send => true,
                ReceiptRule::Withhold => false,
            };
            by_rule && record.is_chosen()
        })
    }

    /// Texts alone have receipts: nobody is told that a receipt was read.
    fn gather_receipt(&mut self, turn: Turn<'_>, contact: u32, entry: &Entry) {
        let Some(id) = entry.id.filter(|_| entry.content_type == ContentType::TEXT) else { return };
        let (at, waiting) = self.reading.due.entry(contact).or_insert((turn.now + GATHERED_FOR, 0));
        if entry.marks.deleted_at.is_some() || *waiting >= GATHERED_MAX {
            return;
        }
        *waiting += 1;
        if *waiting >= RECEIPT_IDS_MAX {
            *at = turn.now;
        }
        let row = key(contact, entry.number.0);
        self.journal.put(Drawer::Receipts, row, id.as_bytes().to_vec());
    }

    /// One receipt with as many messages as it can name.
    fn send_receipt(&mut self, turn: Turn<'_>, contact: u32) -> Result<(), StoreError> {
        let (from, to) = (key(contact, 0), key(contact.saturating_add(1), 0));
        let rows = turn.store.scan(Drawer::Receipts, &from, &to, RECEIPT_IDS_MAX)?;
        let ids: Vec<_> = rows.iter().filter_map(|(_, value)| value[..].try_into().ok()).collect();
        let ids: Vec<_> = ids.into_iter().map(MessageId::from_bytes).collect();
        if self.tells(contact) && !ids.is_empty() {
            let has_room = self.outbox.receipts(contact) < ON_THEIR_WAY_MAX
                && self.check_outbox(TTL_DEFAULT).is_ok();
            let content = Content::Receipt(ids);
            let ready = has_room.then(|| self.prepare(turn, contact, content, TTL_DEFAULT));
            match ready {
                Some(Ok(sent)) => self.launch(turn, sent),
                // There is no room for it now.
                None | Some(Err(_)) => {
                    self.reading.due.entry(contact).and_modify(|(at, _)| *at = turn.now + AGAIN);
                    return Ok(());
                }
            }
        }
        let told = rows.len();
        for (row, _) in rows {
            self.journal.delete(Drawer::Receipts, row);
        }
        match self.reading.due.get_mut(&contact) {
            Some((at, waiting)) if told == RECEIPT_IDS_MAX && *waiting > told => {
                (*at, *waiting) = (turn.now, *waiting - told);
            }
            _ => drop(self.reading.due.remove(&contact)),
        }
        Ok(())
    }
}
