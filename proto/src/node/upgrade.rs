//! From the first layout of the store to the second, some rows at a time.
//!
//! Entry type is [`Upgrade`]. The first layout kept envelopes by day, an entry in the order of
//! expiry for each envelope, a whole record for each tombstone, and acknowledgements under their
//! hash. What has been converted shows by the length of its key, so that an upgrade that was broken
//! off between two batches is taken up by another. Nothing else knows the first layout.

use crate::acknowledgement::Acknowledgement;
use crate::address::Address;
use crate::envelope::EnvelopeId;
use crate::store::{Store, StoreError, Write};
use crate::time::{Span, Time};

use super::io::Family;
use super::keys::{self, Expiring};
use super::records::{Cause, Custody, Ending, Role, Tombstone};
use super::recovery::TOTALS_KEY;

/// Rows read for one batch.
const PAGE: usize = 8;
/// Length of a day's number and an id.
const ENVELOPE_KEY_LEN: usize = 4 + EnvelopeId::LEN;
/// Length of a time, a kind and an id or hash.
const EXPIRY_KEY_LEN: usize = 8 + 1 + 32;
const ENVELOPE_KIND: u8 = 1;
const ACKNOWLEDGEMENT_KIND: u8 = 2;
const TOMBSTONE_LEN: usize = 32 + 8 + 8 + 1;
/// How long a tombstone outlived its envelope.
const TOMBSTONE_KEPT: Span = Span::DAY;

/// Converts a store of layout 1 to layout 2.
#[derive(Debug)]
pub struct Upgrade {
    /// The tables that are still to be looked through, the next one last.
    left: Vec<Family>,
    /// Where in it.
    from: Vec<u8>,
    /// The number of the next ending.
    endings: u64,
}

/// The writes of one batch.
#[derive(Default)]
struct Page {
    writes: Vec<Write<Family>>,
    /// What the totals lose: envelopes, their bytes, tombstones.
    lost: [u64; 3],
}

/// A tombstone of layout 1.
struct OldTombstone {
    acknowledgement: Option<[u8; 32]>,
    expires_at: Time,
    ended_at: Time,
}

impl Upgrade {
    /// An upgrade of `store`, from its start or from where another one was broken off.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn new(store: &dyn Store<Family>) -> Result<Self, StoreError> {
        // Converted endings come first: their numbers are small beside hashes.
        let (mut endings, mut from) = (0, Vec::new());
        loop {
            let page = store.scan(Family::Acknowledgements, &from, keys::HIGHEST, PAGE)?;
            let numbers = page.iter().map_while(|(key, _)| <[u8; 8]>::try_from(&key[..]).ok());
            let Some(last) = numbers.last().map(u64::from_be_bytes) else { break };
            endings = last + 1;
            from = keys::ending(endings);
        }
        let left =
            vec![Family::Expiry, Family::Tombstones, Family::Acknowledgements, Family::Envelopes];
        Ok(Self { left, from: Vec::new(), endings })
    }

    /// The next batch, to be applied before the next call; `None` when all is done.
    ///
    /// # Errors
    /// When the store cannot be read or holds what layout 1 never had.
    pub fn next(
        &mut self,
        store: &dyn Store<Family>,
    ) -> Result<Option<Vec<Write<Family>>>, StoreError> {
        while let Some(table) = self.left.last().copied() {
            let rows = store.scan(table, &self.from, keys::HIGHEST, PAGE)?;
            match rows.last() {
                Some((last, _)) => self.from = [&last[..], &[0]].concat(),
                None => {
                    self.left.pop();
                    self.from.clear();
                }
            }
            let mut page = Page::default();
            for (key, value) in rows {
                self.convert(store, table, (key, value), &mut page)?;
            }
            page.write_totals(store)?;
            if !page.writes.is_empty() {
                return Ok(Some(page.writes));
            }
        }
        Ok(None)
    }

    fn convert(
        &mut self,
        store: &dyn Store<Family>,
        table: Family,
        (key, value): (Vec<u8>, Vec<u8>),
        page: &mut Page,
    ) -> Result<(), StoreError> {
        match (table, key.len()) {
            (Family::Envelopes, ENVELOPE_KEY_LEN) => convert_envelope(store, key, value, page),
            (Family::Acknowledgements, 32) => {
                self.convert_acknowledgement(store, &key, &value, page)
            }
            (Family::Tombstones, 32) => self.convert_tombstone(key, &value, page),
            (Family::Expiry, EXPIRY_KEY_LEN) => drop_expiry(store, key, page),
            _ => Ok(()),
        }
    }

    /// One ending for all that the acknowledgement ended.
    fn convert_acknowledgement(
        &mut self,
        store: &dyn Store<Family>,
        hash: &[u8],
        value: &[u8],
        page: &mut Page,
    ) -> Result<(), StoreError> {
        let acknowledgement =
            Acknowledgement::from_stored(value).ok_or(StoreError::Damaged("acknowledgements"))?;
        page.delete(Family::Acknowledgements, hash.to_vec());
        let (mut until, mut at, mut ended) = (acknowledgement.expires_at(), Time::ZERO, 0);
        page.delete(Family::Expiry, old_expiry(until, ACKNOWLEDGEMENT_KIND, hash));
        for (place, id) in acknowledgement.ids().iter().enumerate() {
            let Some(bytes) = store.get(Family::Tombstones, id.as_bytes())? else { continue };
            let tombstone = OldTombstone::from_bytes(&bytes)?;
            if tombstone.acknowledgement.as_ref().is_some_and(|of| of == hash) {
                ended |= 1 << place;
                at = at.max(tombstone.ended_at);
                until = until.max(tombstone.expires_at + TOMBSTONE_KEPT);
                page.replace_tombstone(id, &tombstone, self.endings);
            }
        }
        if ended != 0 {
            self.keep(Ending { at, cause: Cause::Read { acknowledgement, ended } }, until, page);
        }
        Ok(())
    }

    /// Those of acknowledgements have been converted with these: what is left was cancelled, or its
    /// acknowledgement is over, and then so is the envelope and nobody can bring it back.
    fn convert_tombstone(
        &mut self,
        key: Vec<u8>,
        value: &[u8],
        page: &mut Page,
    ) -> Result<(), StoreError> {
        let tombstone = OldTombstone::from_bytes(value)?;
        let id = id_of(&key)?;
        if tombstone.acknowledgement.is_none() {
            page.replace_tombstone(&id, &tombstone, self.endings);
            let (until, cause) = (tombstone.expires_at + TOMBSTONE_KEPT, Cause::Cancelled(id));
            self.keep(Ending { at: tombstone.ended_at, cause }, until, page);
        } else {
            page.delete_tombstone(&id, &tombstone);
            page.lost[2] += 1;
        }
        Ok(())
    }

    fn keep(&mut self, ending: Ending, until: Time, page: &mut Page) {
        let number = self.endings;
        self.endings += 1;
        page.put(Family::Acknowledgements, keys::ending(number), ending.to_bytes());
        page.put(Family::Expiry, keys::expiry(until, &Expiring::Ending(number)), Vec::new());
    }
}

fn convert_envelope(
    store: &dyn Store<Family>,
    key: Vec<u8>,
    value: Vec<u8>,
    page: &mut Page,
) -> Result<(), StoreError> {
    let id = id_of(&key[4..])?;
    page.delete(Family::Envelopes, key);
    let Some(bytes) = store.get(Family::Custody, id.as_bytes())? else { return Ok(()) };
    let custody = old_custody(&bytes).ok_or(StoreError::Damaged("custody"))?;
    page.put(Family::Envelopes, keys::envelope(custody.expires_at, &id), value);
    page.put(Family::Custody, id.as_bytes().to_vec(), custody.to_bytes());
    let expiry = old_expiry(custody.expires_at, ENVELOPE_KIND, id.as_bytes());
    page.delete(Family::Expiry, expiry);
    Ok(())
}

/// What is left in the order of expiry of layout 1 is about nothing, or about an envelope whose
/// body went with its day before all about it was removed.
fn drop_expiry(store: &dyn Store<Family>, key: Vec<u8>, page: &mut Page) -> Result<(), StoreError> {
    let id = id_of(&key[9..])?;
    if key[8] == ENVELOPE_KIND
        && let Some(bytes) = store.get(Family::Custody, id.as_bytes())?
    {
        let custody = old_custody(&bytes).ok_or(StoreError::Damaged("custody"))?;
        page.delete(Family::Custody, id.as_bytes().to_vec());
        page.delete(Family::Mailboxes, keys::mailbox(&custody.mailbox, custody.arrival));
        page.delete(Family::Schedule, keys::schedule(custody.due, &id));
        page.lost[0] += 1;
        page.lost[1] += u64::from(custody.bytes);
    }
    page.delete(Family::Expiry, key);
    Ok(())
}

impl Page {
    fn put(&mut self, table: Family, key: Vec<u8>, value: Vec<u8>) {
        self.writes.push(Write::Put { table, key, value });
    }

    fn delete(&mut self, table: Family, key: Vec<u8>) {
        self.writes.push(Write::Delete { table, key });
    }

    fn replace_tombstone(&mut self, id: &EnvelopeId, old: &OldTombstone, ending: u64) {
        self.delete_tombstone(id, old);
        self.put(Family::Tombstones, keys::tombstone(id), Tombstone { ending }.to_bytes());
    }

    /// With its entry in the order of expiry, which stands at one of two places.
    fn delete_tombstone(&mut self, id: &EnvelopeId, old: &OldTombstone) {
        self.delete(Family::Tombstones, id.as_bytes().to_vec());
        for at in [old.expires_at, old.expires_at + TOMBSTONE_KEPT] {
            self.delete(Family::Expiry, old_expiry(at, ENVELOPE_KIND, id.as_bytes()));
        }
    }

    fn write_totals(&mut self, store: &dyn Store<Family>) -> Result<(), StoreError> {
        if self.lost == [0; 3] {
            return Ok(());
        }
        let Some(mut totals) = store.get(Family::Meta, TOTALS_KEY)? else { return Ok(()) };
        for (total, lost) in totals.chunks_exact_mut(8).zip(self.lost) {
            let before = u64::from_be_bytes(std::array::from_fn(|i| total[i]));
            total.copy_from_slice(&before.saturating_sub(lost).to_be_bytes());
        }
        self.put(Family::Meta, TOTALS_KEY.to_vec(), totals);
        Ok(())
    }
}

impl OldTombstone {
    fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        if bytes.len() != TOMBSTONE_LEN {
            return Err(StoreError::Damaged("tombstones"));
        }
        let time = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
        Ok(Self {
            acknowledgement: (bytes[48] == 1).then(|| std::array::from_fn(|i| bytes[i])),
            expires_at: Time::from_millis(time(32)),
            ended_at: Time::from_millis(time(40)),
        })
    }
}

fn id_of(bytes: &[u8]) -> Result<EnvelopeId, StoreError> {
    let id = bytes.try_into().map_err(|_| StoreError::Damaged("expiry"))?;
    Ok(EnvelopeId::from_bytes(id))
}

fn old_expiry(at: Time, kind: u8, name: &[u8]) -> Vec<u8> {
    [&at.as_millis().to_be_bytes()[..], &[kind], name].concat()
}

fn old_custody(bytes: &[u8]) -> Option<Custody> {
    const FIELDS_LEN: usize = Address::LEN + 8 + 8 + 1 + 1 + Address::LEN + 4 + 8 + 1 + 4 + 1 + 8;
    let (fields, holders) = bytes.split_at_checked(FIELDS_LEN)?;
    let address = |at: usize| Address::from_bytes(std::array::from_fn(|i| fields[at + i]));
    let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| fields[at + i]));
    let short = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| fields[at + i]));
    let (holders, []) = holders.as_chunks::<{ Address::LEN }>() else { return None };
    Some(Custody {
        mailbox: address(0),
        expires_at: Time::from_millis(number(20)),
        arrival: number(28),
        role: match fields[36] {
            1 => Role::Own,
            2 => Role::Relayed,
            3 => Role::Collected,
            _ => return None,
        },
        source: (fields[37] == 1).then(|| address(38)),
        group: None,
        rounds: short(58),
        due: Time::from_millis(number(62)),
        heard: fields[70] == 1,
        bytes: short(71),
        reported: fields[75],
        given: number(76),
        asked: 0,
        holders: holders.iter().copied().map(Address::from_bytes).collect(),
    })
}
