//! A disk as a whole: its tables say the same of every envelope, and the totals are right.
//!
//! What the tables hold is written down at [`Family`]; nothing here asks the node.

use std::collections::{BTreeMap, BTreeSet};

use comm_proto::envelope::{Envelope, EnvelopeId};
use comm_proto::node::Family;
use comm_proto::store::{Entry, MemoryStore, Store};

use super::{Oracle, Rule, Seen, body_key, short, tombstone};

/// Above every key.
const END: &[u8] = &[0xff; 48];
/// How long an address is.
const ADDRESS: usize = 20;
/// How long a lot is, behind the group.
const LOT: usize = 16;
/// Where the totals lie, which are seven numbers.
const TOTALS: &[u8] = b"totals";

impl Oracle {
    /// Looks through everything that reads see.
    pub(crate) fn image(&mut self, seen: &Seen<'_>) {
        self.check("image");
        for text in torn(seen.host.disk().applied()) {
            self.violated(seen, Rule::ImageTorn, text);
        }
    }
}

fn torn(store: &MemoryStore<Family>) -> Vec<String> {
    let mut found = Vec::new();
    let rows = |table| store.scan(table, &[], END, usize::MAX).unwrap_or_default();
    let bodies: BTreeMap<_, _> = rows(Family::Envelopes).into_iter().filter_map(body).collect();
    let records: BTreeMap<_, _> = rows(Family::Custody)
        .into_iter()
        .filter_map(|(key, record)| Some((id(&key)?, record)))
        .collect();
    let custody: BTreeSet<_> = records.keys().copied().collect();
    let waiting = rows(Family::Mailboxes);
    for id in bodies.keys().filter(|id| !custody.contains(id)) {
        found.push(format!("{} has no custody", short(id)));
    }
    for id in &custody {
        let in_mailbox =
            waiting.iter().filter(|(_, value)| value.starts_with(id.as_bytes())).count();
        let ended = store.get(Family::Tombstones, tombstone(id)).is_ok_and(|row| row.is_some());
        if !bodies.contains_key(id) || in_mailbox != 1 || ended {
            let has_body = bodies.contains_key(id);
            let of = short(id);
            found.push(format!(
                "{of}: body {has_body}, {in_mailbox} places in a mailbox, ended {ended}"
            ));
        }
    }
    if waiting.len() != custody.len() {
        found.push(format!("{} places in mailboxes for {}", waiting.len(), custody.len()));
    }
    found.extend(never_due(store, &records));
    let due = rows(Family::Schedule);
    let mut scheduled: Vec<_> = due.iter().filter_map(|(key, _)| id(key.get(8..)?)).collect();
    scheduled.sort_unstable();
    if scheduled.windows(2).any(|two| two[0] == two[1]) {
        found.push("an envelope is due twice".to_owned());
    }
    for id in scheduled.iter().filter(|id| !custody.contains(id)) {
        found.push(format!("{} is due and not here", short(id)));
    }
    for (key, value) in rows(Family::Tombstones) {
        if store.get(Family::Acknowledgements, &number(&value)).is_ok_and(|row| row.is_none()) {
            found.push(format!("the tombstone {} leads nowhere", hex::encode(&key[..4])));
        }
    }
    found.extend(wrong_charges(store, &records));
    found.extend(wrong_totals(store, &bodies));
    found
}

/// Of each envelope whose record names a group, by the fifth bit of the first byte, that group is charged, and nobody
/// of any other.
fn wrong_charges(
    store: &MemoryStore<Family>,
    records: &BTreeMap<EnvelopeId, Vec<u8>>,
) -> Vec<String> {
    let mut left: BTreeSet<_> = records
        .iter()
        .filter(|(_, record)| record.first().is_some_and(|first| first & 16 != 0))
        .collect();
    let mut found = Vec::new();
    for (key, value) in store.scan(Family::Shares, &[], END, usize::MAX).unwrap_or_default() {
        let group = &key[..key.len().saturating_sub(LOT)];
        let record = value.get(..32).and_then(id).and_then(|id| records.get_key_value(&id));
        let is_named = |(_, record): &(&EnvelopeId, &Vec<u8>)| {
            behind_numbers(record).is_some_and(|rest| rest.starts_with(group))
        };
        match record.filter(is_named) {
            Some(record) if left.remove(&record) => {}
            _ => found.push(format!("{} is charged for nothing", hex::encode(group))),
        }
    }
    found.extend(left.into_iter().map(|(id, _)| format!("nobody is charged for {}", short(id))));
    found
}

/// What follows the eight numbers of a record.
fn behind_numbers(record: &[u8]) -> Option<&[u8]> {
    let mut rest = record.get(1 + ADDRESS..)?;
    for _ in 0..8 {
        let last = rest.iter().position(|byte| *byte < 0x80)?;
        rest = &rest[last + 1..];
    }
    Some(rest)
}

/// Each envelope that is repeated has its place in the schedule, at the time that its record tells.
fn never_due(store: &MemoryStore<Family>, records: &BTreeMap<EnvelopeId, Vec<u8>>) -> Vec<String> {
    let is_due = |id: &EnvelopeId, due: u64| {
        let key = [&due.to_be_bytes()[..], id.as_bytes()].concat();
        store.get(Family::Schedule, &key).is_ok_and(|row| row.is_some())
    };
    let repeated = records.iter().filter(|(_, record)| is_repeated(record));
    let never = repeated.filter(|(id, record)| !due(record).is_some_and(|due| is_due(id, due)));
    never.map(|(id, _)| format!("{} is never due", short(id))).collect()
}

/// By its first byte: its role, the lower two bits, of which 3 says that it lies ready for readers alone, and the bit that
/// says that somebody else is charged for it. Only what lies ready for the node's own clients is not.
fn is_repeated(record: &[u8]) -> bool {
    record.first().is_some_and(|first| first & 3 != 3 || first & 0b1_0000 != 0)
}

/// The time when it is due, the fourth of the numbers behind the mailbox: seven bits a byte, the lowest first, and
/// in the last byte of each the highest bit is not set.
fn due(record: &[u8]) -> Option<u64> {
    let mut bytes = record.get(1 + ADDRESS..)?.iter();
    let mut next = || {
        let mut number = 0_u64;
        for place in 0..10 {
            let byte = *bytes.next()?;
            number |= u64::from(byte & 0x7f).checked_shl(7 * place)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    };
    (0..3).try_for_each(|_| next().map(drop))?;
    next()
}

fn wrong_totals(
    store: &MemoryStore<Family>,
    bodies: &BTreeMap<EnvelopeId, Envelope>,
) -> Option<String> {
    let value = store.get(Family::Meta, TOTALS).ok().flatten()?;
    let (numbers, _) = value.as_chunks::<8>();
    let told: Vec<_> = numbers.iter().map(|number| u64::from_be_bytes(*number)).collect();
    let rows = |table| store.scan(table, &[], END, usize::MAX).unwrap_or_default();
    let bytes = |rows: &[Entry]| rows.iter().map(|(_, value)| value.len() as u64).sum::<u64>();
    let (cards, endings) = (rows(Family::Cards), rows(Family::Acknowledgements));
    let is = [
        bodies.len() as u64,
        bodies.values().map(|envelope| envelope.body().len() as u64).sum(),
        store.len(Family::Tombstones) as u64,
        cards.len() as u64,
        bytes(&cards),
        endings.len() as u64,
        bytes(&endings),
    ];
    (told != is).then(|| format!("the totals are {told:?} instead of {is:?}"))
}

fn body((key, value): Entry) -> Option<(EnvelopeId, Envelope)> {
    let envelope = Envelope::from_stored(value).ok()?;
    (body_key(&envelope) == key).then(|| (envelope.id(), envelope))
}

fn id(bytes: &[u8]) -> Option<EnvelopeId> {
    Some(EnvelopeId::from_bytes(bytes.try_into().ok()?))
}

/// The number of an ending, which is written without leading zeros.
fn number(value: &[u8]) -> Vec<u8> {
    [&vec![0; 8_usize.saturating_sub(value.len())], value].concat()
}
