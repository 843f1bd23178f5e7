//! Evictions: a full disk takes from those who use most of it, and from nobody else (PROTOCOL §6.1).
//!
//! What each group uses is added up from the disk; of the node comes only the word that it evicted, without which
//! an envelope may not be gone before its time.

use std::collections::BTreeMap;

use comm_proto::envelope::EnvelopeId;
use comm_proto::node::Family;
use comm_proto::store::{MemoryStore, Store};

use super::{Oracle, Rule, Seen, short};

/// Above every key.
const END: &[u8] = &[0xff; 48];
/// How long a lot is, behind the group.
const LOT: usize = 16;
/// What an envelope, a tombstone and what is signed take beside themselves.
const ENVELOPE_ROWS: u64 = 1_792;
const TOMBSTONE_ROWS: u64 = 64;
const SIGNED_ROWS: u64 = 128;

/// An envelope that is gone before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Removed {
    id: EnvelopeId,
    /// Who was charged for it; nobody for what belongs to the node's own clients.
    group: Option<Vec<u8>>,
    bytes: u64,
}

impl Oracle {
    /// The node removes this one, which is neither over nor read; it must say that it evicts it.
    pub(super) fn removed_before_its_time(&mut self, seen: &Seen<'_>, id: EnvelopeId) {
        let charges = charges(seen.host.disk().applied());
        let mine = charges.into_iter().find(|(_, charged, _)| *charged == id);
        let (group, bytes) = mine.map_or((None, 0), |(group, _, bytes)| (Some(group), bytes));
        self.unexplained.insert(id, Removed { id, group, bytes });
    }

    /// It says that it does.
    pub(super) fn evicted(&mut self, seen: &Seen<'_>, id: EnvelopeId) {
        self.check("eviction");
        match self.unexplained.remove(&id) {
            Some(removed) => self.evicted.push(removed),
            // It was over by the node's clock and kept all the same.
            None if self.removed_early.remove(&id).is_some()
                || self.removed_in_time.contains(&id) => {}
            // An adversary's, which nobody has told of, is none of anybody's concern.
            None if self.known(&id).is_none() => {}
            None => {
                let text = format!("{} is said to be evicted and was not removed", short(&id));
                self.violated(seen, Rule::WronglyRemoved, text);
            }
        }
    }

    /// It has had its input: nothing was evicted but for want of room, nor from anybody who uses less than others.
    pub(super) fn has_evicted(&mut self, seen: &Seen<'_>) {
        for id in std::mem::take(&mut self.unexplained).into_keys() {
            let text = format!("{} was removed before its time by this node's clock", short(&id));
            self.violated(seen, Rule::WronglyRemoved, text);
        }
        for (id, expires_at) in std::mem::take(&mut self.removed_early) {
            self.has_removed_early(seen, &id, expires_at);
        }
        self.removed_in_time.clear();
        let evicted = std::mem::take(&mut self.evicted);
        if evicted.is_empty() {
            return;
        }
        let disk = seen.host.disk().applied();
        let (mut used, mut largest) = (BTreeMap::<_, u64>::new(), 0);
        for (group, _, bytes) in charges(disk) {
            *used.entry(group).or_default() += bytes;
            largest = largest.max(bytes);
        }
        let lost = evicted.iter().map(|removed| removed.bytes).max().unwrap_or_default();
        largest = largest.max(lost);
        let most = used.values().copied().max().unwrap_or_default();
        for Removed { id, group, .. } in evicted {
            let Some(group) = group else {
                let text = format!("{} was evicted, which belongs to its clients", short(&id));
                self.violated(seen, Rule::WronglyRemoved, text);
                continue;
            };
            // It had most, or would have had with what it brought itself, before the last that it lost.
            let had = used.get(&group).copied().unwrap_or_default() + 2 * largest;
            if had < most {
                let text = format!("{} was evicted of a group with {had}, not {most}", short(&id));
                self.violated(seen, Rule::WronglyRemoved, text);
            }
        }
        if let Some(text) = self.was_not_full(seen, used.values().sum(), largest) {
            self.violated(seen, Rule::WronglyRemoved, text);
        }
    }

    /// Whether nothing need have been evicted: one more of the largest that were there would have had room.
    fn was_not_full(&self, seen: &Seen<'_>, others: u64, largest: u64) -> Option<String> {
        let store = seen.host.node()?.bounds().find(|bound| bound.what == "bytes on disk")?.most;
        let budget = store - store / 8;
        let disk = seen.host.disk().applied();
        let values = |table| -> Vec<u64> {
            let rows = disk.scan(table, &[], END, usize::MAX).unwrap_or_default();
            rows.iter().map(|(_, value)| value.len() as u64).collect()
        };
        let signed = values(Family::Acknowledgements);
        let ended = signed.iter().map(|bytes| bytes + SIGNED_ROWS).sum::<u64>()
            + disk.len(Family::Tombstones) as u64 * TOMBSTONE_ROWS;
        // Each body lies there with its header.
        let alive: u64 = values(Family::Envelopes).iter().map(|bytes| bytes + ENVELOPE_ROWS).sum();
        let is_full = others + ended + largest > budget / 8 * 7 || alive + ended + largest > budget;
        (!is_full).then(|| format!("{alive} and {ended} bytes are no reason to evict in {budget}"))
    }
}

/// Who is charged for what, and for how many bytes.
fn charges(disk: &MemoryStore<Family>) -> Vec<(Vec<u8>, EnvelopeId, u64)> {
    let rows = disk.scan(Family::Shares, &[], END, usize::MAX).unwrap_or_default();
    let read = |(mut key, value): (Vec<u8>, Vec<u8>)| {
        key.truncate(key.len().checked_sub(LOT)?);
        let (id, bytes) = value.split_first_chunk::<32>()?;
        let bytes = u64::from(u32::from_be_bytes(bytes.try_into().ok()?));
        Some((key, EnvelopeId::from_bytes(*id), bytes + ENVELOPE_ROWS))
    };
    rows.into_iter().filter_map(read).collect()
}
