//! Whether a store is as a node has written it: every row is read and held against the others.
//!
//! Entry type is [`Verification`], which reads some rows at a time. It changes nothing, and knows nothing of
//! the time: what has run out and was not removed yet is no damage.

use crate::acknowledgement::Acknowledgement;
use crate::card::Card;
use crate::contact::Contact;
use crate::envelope::{Envelope, EnvelopeId};
use crate::store::{Store, StoreError};
use crate::time::Time;
use crate::verified::Verified;

use super::accept::ARRIVALS_KEY;
use super::entries::{ENTRIES_KEY, Entries};
use super::exchange::parse_waiting_id;
use super::expire::CLOCK_KEY;
use super::holding::HoldingClock;
use super::io::Family;
use super::keys::{self, Expiring};
use super::own_mailboxes;
use super::records::{Cause, Custody, Ending, Tombstone};
use super::recovery::{TOTALS_KEY, Totals, parse_totals};
use super::rotating::{ROTATING_KEY, Rotating};
use super::shares::{LOTS_KEY, parse_charge};

/// Rows read at a time.
const PAGE: usize = 64;
/// Where the host of a node notes the layout of its store; what stands there is its business.
const SCHEMA_KEY: &[u8] = b"schema";

/// What is wrong with one row, or with a table as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The table.
    pub table: Family,
    /// The key of the row; none for the whole table.
    pub key: Vec<u8>,
    /// What, as the end of a sentence about it.
    pub what: &'static str,
}

/// A store that is being looked through.
#[derive(Debug)]
pub struct Verification {
    /// The tables that are still to be looked through, the next one last.
    left: Vec<Family>,
    /// Where in it.
    from: Vec<u8>,
    rows: u64,
    counted: Totals,
    /// Envelopes that somebody is charged for, and rows that say so.
    charged: (u64, u64),
    /// The highest number of arrival.
    arrival: Option<u64>,
    /// What was found since this was asked for last.
    found: Vec<Finding>,
}

impl Default for Verification {
    fn default() -> Self {
        let mut left = Family::ALL.to_vec();
        left.reverse();
        Self {
            left,
            from: Vec::new(),
            rows: 0,
            counted: Totals::default(),
            charged: (0, 0),
            arrival: None,
            found: Vec::new(),
        }
    }
}

impl Verification {
    /// Looks at the next rows, of which there are few, and returns what is wrong with them; `None` when all
    /// have been looked at.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn next(&mut self, store: &dyn Store<Family>) -> Result<Option<Vec<Finding>>, StoreError> {
        let Some(table) = self.left.last().copied() else { return Ok(None) };
        let rows = store.scan(table, &self.from, keys::HIGHEST, PAGE)?;
        self.rows += rows.len() as u64;
        match rows.last() {
            Some((last, _)) => self.from = keys::above(last),
            None => {
                self.left.pop();
                self.from.clear();
                if self.left.is_empty() {
                    self.compare_totals(store)?;
                }
            }
        }
        for (key, value) in rows {
            if let Some(what) = self.look_at(store, table, &key, value)? {
                self.found.push(Finding { table, key, what });
            }
        }
        Ok(Some(std::mem::take(&mut self.found)))
    }

    /// Rows looked at so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Envelopes met so far.
    pub fn envelopes(&self) -> u64 {
        self.counted[0]
    }

    /// What is wrong with one row.
    fn look_at(
        &mut self,
        store: &dyn Store<Family>,
        table: Family,
        key: &[u8],
        value: Vec<u8>,
    ) -> Result<Option<&'static str>, StoreError> {
        match table {
            Family::Envelopes => self.look_at_envelope(store, key, value),
            Family::Custody => self.look_at_custody(store, key, &value),
            Family::Mailboxes => look_at_place(store, key, &value),
            Family::Schedule => {
                Ok(keys::parse_schedule(key).is_none().then_some("has a key of another form"))
            }
            Family::Shares => {
                self.charged.1 += 1;
                look_at_charge(store, key, &value)
            }
            Family::Expiry => look_at_expiry(store, key),
            Family::Tombstones => {
                self.counted[2] += 1;
                look_at_tombstone(store, key, &value)
            }
            Family::Acknowledgements => {
                self.counted[5] += 1;
                self.counted[6] += value.len() as u64;
                look_at_ending(store, key, &value)
            }
            Family::Cards => {
                self.counted[3] += 1;
                self.counted[4] += value.len() as u64;
                Ok(wrong_with_card(key, &value))
            }
            Family::Contacts => {
                Ok(Contact::from_stored(&value).is_none().then_some("cannot be read"))
            }
            Family::Meta => Ok(wrong_with_value(key, &value)),
        }
    }

    fn look_at_envelope(
        &mut self,
        store: &dyn Store<Family>,
        key: &[u8],
        value: Vec<u8>,
    ) -> Result<Option<&'static str>, StoreError> {
        let Some((expires_at, id)) = keys::parse_envelope(key) else {
            return Ok(Some("has a key of another form"));
        };
        let Ok(envelope) = Envelope::from_stored(value) else {
            return Ok(Some("cannot be read"));
        };
        self.counted[0] += 1;
        self.counted[1] += envelope.body().len() as u64;
        if envelope.id() != id {
            return Ok(Some("does not hash to its id"));
        }
        if envelope.expires_at() != expires_at {
            return Ok(Some("lies under another time of expiry than its own"));
        }
        let record = store.get(Family::Custody, id.as_bytes())?;
        let Some(custody) = record.and_then(|bytes| Custody::from_bytes(&bytes).ok()) else {
            return Ok(Some("has no record of custody"));
        };
        let agrees = custody.mailbox == envelope.mailbox()
            && custody.expires_at == expires_at
            && custody.bytes as usize == envelope.body().len();
        Ok((!agrees).then_some("differs from its record of custody"))
    }

    fn look_at_custody(
        &mut self,
        store: &dyn Store<Family>,
        key: &[u8],
        value: &[u8],
    ) -> Result<Option<&'static str>, StoreError> {
        let id = key.try_into().ok().map(EnvelopeId::from_bytes);
        let (Some(id), Ok(custody)) = (id, Custody::from_bytes(value)) else {
            return Ok(Some("cannot be read"));
        };
        self.charged.0 += u64::from(custody.group.is_some());
        self.arrival = self.arrival.max(Some(custody.arrival));
        let body = keys::envelope(custody.expires_at, &id);
        if store.get(Family::Envelopes, &body)?.is_none() {
            return Ok(Some("is of an envelope that is not there"));
        }
        let place = keys::mailbox(&custody.mailbox, custody.arrival);
        let waiting = store.get(Family::Mailboxes, &place)?;
        if waiting.and_then(|value| parse_waiting_id(&value).ok()) != Some(id) {
            return Ok(Some("is of an envelope that no reader would find in its mailbox"));
        }
        let due = keys::schedule(custody.due, &id);
        if custody.is_scheduled() && store.get(Family::Schedule, &due)?.is_none() {
            return Ok(Some("is of an envelope that would never be repeated"));
        }
        Ok(None)
    }

    fn compare_totals(&mut self, store: &dyn Store<Family>) -> Result<(), StoreError> {
        let written = store.get(Family::Meta, TOTALS_KEY)?;
        let written = written.map_or(Some(Totals::default()), |bytes| parse_totals(&bytes));
        let arrivals = store.get(Family::Meta, ARRIVALS_KEY)?;
        let reserved = arrivals.and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
        let arrived = self.arrival.is_none_or(|last| reserved.is_some_and(|end| last < end));
        let (charged, charges) = self.charged;
        for (is_wrong, table, what) in [
            (written != Some(self.counted), Family::Meta, "has totals that differ from its rows"),
            (!arrived, Family::Meta, "would number new envelopes as it has old ones"),
            (charged != charges, Family::Shares, "charges more or fewer envelopes than there are"),
        ] {
            if is_wrong {
                self.found.push(Finding { table, key: Vec::new(), what });
            }
        }
        Ok(())
    }
}

fn look_at_place(
    store: &dyn Store<Family>,
    key: &[u8],
    value: &[u8],
) -> Result<Option<&'static str>, StoreError> {
    let (Some((mailbox, arrival)), Ok(id)) = (keys::parse_mailbox(key), parse_waiting_id(value))
    else {
        return Ok(Some("cannot be read"));
    };
    let record = store.get(Family::Custody, id.as_bytes())?;
    let custody = record.and_then(|bytes| Custody::from_bytes(&bytes).ok());
    let agrees = custody.is_some_and(|held| held.mailbox == mailbox && held.arrival == arrival);
    Ok((!agrees).then_some("is the place of an envelope that is not there"))
}

fn look_at_charge(
    store: &dyn Store<Family>,
    key: &[u8],
    value: &[u8],
) -> Result<Option<&'static str>, StoreError> {
    let (Some((group, _)), Ok((id, bytes))) = (keys::parse_share(key), parse_charge(value)) else {
        return Ok(Some("cannot be read"));
    };
    let record = store.get(Family::Custody, id.as_bytes())?;
    let custody = record.and_then(|bytes| Custody::from_bytes(&bytes).ok());
    let agrees = custody.is_some_and(|held| held.group == Some(group) && held.bytes == bytes);
    Ok((!agrees).then_some("charges for an envelope that is not there"))
}

fn look_at_expiry(
    store: &dyn Store<Family>,
    key: &[u8],
) -> Result<Option<&'static str>, StoreError> {
    match keys::parse_expiry(key) {
        Some((_, Expiring::Ending(number))) => {
            let ending = store.get(Family::Acknowledgements, &keys::ending(number))?;
            Ok(ending.is_none().then_some("is of an acknowledgement that is not there"))
        }
        Some((_, Expiring::Card(_))) => Ok(None),
        None => Ok(Some("has a key of another form")),
    }
}

fn look_at_tombstone(
    store: &dyn Store<Family>,
    key: &[u8],
    value: &[u8],
) -> Result<Option<&'static str>, StoreError> {
    let Ok(tombstone) = Tombstone::from_bytes(value) else { return Ok(Some("cannot be read")) };
    let ending = store.get(Family::Acknowledgements, &keys::ending(tombstone.ending))?;
    let ending = ending.and_then(|bytes| Ending::from_bytes(&bytes).ok());
    let leads = ending.is_some_and(|it| it.ids().iter().any(|id| keys::tombstone(id) == key));
    Ok((!leads).then_some("leads to no acknowledgement of its envelope"))
}

fn look_at_ending(
    store: &dyn Store<Family>,
    key: &[u8],
    value: &[u8],
) -> Result<Option<&'static str>, StoreError> {
    let (8, Ok(ending)) = (key.len(), Ending::from_bytes(value)) else {
        return Ok(Some("cannot be read"));
    };
    for id in ending.ids() {
        if store.get(Family::Tombstones, &keys::tombstone(&id))?.is_none() {
            return Ok(Some("has ended an envelope that nothing remembers"));
        }
    }
    Ok(match ending.cause {
        Cause::Read { acknowledgement, .. } => wrong_with_acknowledgement(acknowledgement),
        Cause::Cancelled(_) => None,
    })
}

/// By a time at which it would have been taken in: it may be over by now.
fn wrong_with_acknowledgement(told: Verified<Acknowledgement>) -> Option<&'static str> {
    let then = before(told.expires_at());
    told.into_inner().verify(then).is_err().then_some("is not signed by the key of its mailbox")
}

fn before(time: Time) -> Time {
    Time::from_millis(time.as_millis().saturating_sub(1))
}

fn wrong_with_card(key: &[u8], value: &[u8]) -> Option<&'static str> {
    let Some(card) = Card::from_stored(value).map(Verified::into_inner) else {
        return Some("cannot be read");
    };
    if card.address().as_bytes() != key {
        return Some("lies under another owner than its own");
    }
    let then = before(card.expires_at());
    card.verify(then).is_err().then_some("is not signed by its owner")
}

/// What is wrong with one of the node's own few values.
fn wrong_with_value(key: &[u8], value: &[u8]) -> Option<&'static str> {
    let reads = match key {
        TOTALS_KEY => parse_totals(value).is_some(),
        ARRIVALS_KEY => value.len() == size_of::<u64>(),
        CLOCK_KEY => HoldingClock::resume(value, Time::ZERO).is_ok(),
        ENTRIES_KEY => Entries::from_bytes(value).is_ok(),
        ROTATING_KEY => Rotating::from_bytes(value).is_ok(),
        LOTS_KEY => value.len() == 32,
        SCHEMA_KEY => value.len() == size_of::<u32>(),
        _ => own_mailboxes::parse_row(key, value).is_some(),
    };
    (!reads).then_some("cannot be read")
}
