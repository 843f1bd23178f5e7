//! One client's connection: its open mailboxes, what is still to be pushed and its credit.
//!
//! Entry type is [`Session`]. What waits is read from the store page by page, so that neither a
//! full mailbox nor a slow client costs memory; order is order of arrival, over all mailboxes.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::Address;
use crate::envelope::EnvelopeId;
use crate::message::ClientPush;
use crate::store::StoreError;
use crate::time::Time;

use super::exchange::parse_waiting_id;
use super::io::{Family, Output, SessionId};
use super::keys;
use super::{Node, Turn};

/// Envelopes lined up for one session; the rest is read from the store again when these are gone.
const LINE_MAX: usize = 1_024;
/// Fewest and most entries read of one mailbox at a time.
const PAGE_MIN: usize = 8;
const PAGE_MAX: usize = 256;
/// Envelopes read from the store together.
const READ_MAX: usize = 64;
/// The most envelopes a session's credit may add up to.
const CREDIT_MAX: u32 = 4_096;

/// What a node knows of one client.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) mailboxes: BTreeSet<Address>,
    /// In order of arrival: what is to be pushed next.
    line: BTreeMap<u64, InLine>,
    /// Everything of the open mailboxes up to here has been lined up.
    read_to: u64,
    /// Whether the store holds more than has been lined up.
    more: bool,
    credit: u32,
    told_caught_up: bool,
}

#[derive(Clone, Copy, Debug)]
struct InLine {
    id: EnvelopeId,
    expires_at: Time,
}

impl Node {
    /// Makes sure the session exists; false when there are too many.
    pub(super) fn open_session(&mut self, session: SessionId) -> bool {
        if self.sessions.len() >= self.config.sessions_max && !self.sessions.contains_key(&session)
        {
            return false;
        }
        self.sessions.entry(session).or_default();
        true
    }

    /// A client's connection ended.
    pub(super) fn on_session_closed(&mut self, session: SessionId) {
        let Some(closed) = self.sessions.remove(&session) else { return };
        for mailbox in &closed.mailboxes {
            self.unsubscribe_session(mailbox, session);
        }
        self.watchers.retain(|_, sessions| {
            sessions.remove(&session);
            !sessions.is_empty()
        });
    }

    pub(super) fn add_credit(&mut self, session: SessionId, envelopes: u32) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.credit = session.credit.saturating_add(envelopes).min(CREDIT_MAX);
        }
    }

    /// Opens a further mailbox: what waits there is read from `after` on.
    pub(super) fn open_mailbox(&mut self, session: SessionId, mailbox: Address, after: u64) {
        if let Some(open) = self.sessions.get_mut(&session) {
            let first = open.mailboxes.is_empty();
            open.mailboxes.insert(mailbox);
            // A mailbox opened later has its own past: reading starts over, and what has been
            // pushed before is pushed again only if the client did not acknowledge it.
            open.read_to = if first { after } else { open.read_to.min(after) };
            open.line.clear();
            open.more = true;
            open.told_caught_up = false;
        }
    }

    /// Something arrived in one of the session's mailboxes.
    pub(super) fn line_up(
        &mut self,
        session: SessionId,
        arrival: u64,
        id: EnvelopeId,
        expires_at: Time,
    ) {
        let Some(open) = self.sessions.get_mut(&session) else { return };
        if open.more || open.line.len() >= LINE_MAX {
            open.more = true;
        } else if arrival > open.read_to {
            open.line.insert(arrival, InLine { id, expires_at });
            open.read_to = arrival;
        }
    }

    /// Pushes what is in line, as far as the credit goes.
    pub(super) fn serve(&mut self, turn: Turn<'_>, id: SessionId) -> Result<(), StoreError> {
        let Some(mut session) = self.sessions.remove(&id) else { return Ok(()) };
        let served = self.serve_session(turn, id, &mut session);
        self.sessions.insert(id, session);
        served
    }

    fn serve_session(
        &mut self,
        turn: Turn<'_>,
        id: SessionId,
        session: &mut Session,
    ) -> Result<(), StoreError> {
        while session.credit > 0 {
            if session.line.is_empty() && session.more {
                session.read_on(turn, self.arrivals.end())?;
            }
            let page = session.next_page();
            if page.is_empty() {
                break;
            }
            let wanted: Vec<_> = page.iter().map(|(_, next)| (next.id, next.expires_at)).collect();
            // What has ended or expired since it was lined up is gone.
            let read = page.iter().zip(self.envelopes(turn, &wanted)?);
            for (cursor, envelope) in read.filter_map(|((cursor, _), one)| Some((*cursor, one?))) {
                session.credit -= 1;
                let push = ClientPush::Envelope { cursor, envelope };
                self.desk.push(Output::ClientPush { session: id, push });
            }
        }
        let idle = session.line.is_empty() && !session.more && !session.mailboxes.is_empty();
        if idle && !session.told_caught_up {
            session.told_caught_up = true;
            let push = ClientPush::CaughtUp;
            self.desk.push(Output::ClientPush { session: id, push });
        }
        Ok(())
    }
}

impl Session {
    /// How much is remembered of it.
    pub(super) fn len(&self) -> usize {
        1 + self.mailboxes.len() + self.line.len()
    }

    /// Takes from the line what is read together: no more than the credit allows.
    fn next_page(&mut self) -> Vec<(u64, InLine)> {
        let len = READ_MAX.min(self.credit as usize);
        std::iter::from_fn(|| self.line.pop_first()).take(len).collect()
    }

    /// Lines up the next page over all mailboxes of what arrived before `upto`. Where one mailbox has more than a page, nothing
    /// later than its page's end may be lined up yet, or the order would be lost.
    fn read_on(&mut self, turn: Turn<'_>, upto: u64) -> Result<(), StoreError> {
        let page_len = (LINE_MAX / self.mailboxes.len().max(1)).clamp(PAGE_MIN, PAGE_MAX);
        let mut end = u64::MAX;
        for mailbox in &self.mailboxes {
            let from = keys::mailbox(mailbox, self.read_to.saturating_add(1));
            let to = keys::mailbox(mailbox, upto);
            let page = turn.store.scan(Family::Mailboxes, &from, &to, page_len)?;
            let entries = page
                .iter()
                .map(|(key, value)| parse_entry(key, value))
                .collect::<Result<Vec<_>, _>>()?;
            if let (true, Some((last, _))) = (entries.len() == page_len, entries.last()) {
                end = end.min(*last);
            }
            self.line.extend(entries);
        }
        self.more = end < u64::MAX;
        if self.more {
            self.line.split_off(&end.saturating_add(1));
            self.read_to = end;
        } else if let Some((last, _)) = self.line.last_key_value() {
            self.read_to = self.read_to.max(*last);
        }
        Ok(())
    }
}

fn parse_entry(key: &[u8], value: &[u8]) -> Result<(u64, InLine), StoreError> {
    const DAMAGED: StoreError = StoreError::Damaged("mailboxes");
    let (_, arrival) = keys::parse_mailbox(key).ok_or(DAMAGED)?;
    let id = parse_waiting_id(value)?;
    let expires_at = value.last_chunk::<8>().ok_or(DAMAGED)?;
    let expires_at = Time::from_millis(u64::from_be_bytes(*expires_at));
    Ok((arrival, InLine { id, expires_at }))
}
