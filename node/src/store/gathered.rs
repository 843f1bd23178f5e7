//! Rows that have been applied and that RocksDB does not have yet.
//!
//! Entry type is [`Gathered`]. The driver only lays rows down here, which costs it a fraction of a
//! write to RocksDB; one write then takes those of many batches at once, of a row that was written
//! several times only the last. It answers for single keys; whoever wants a range has everything
//! written out first. It writes nothing itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use comm_proto::node::Family;
use comm_proto::store::Write;

/// The rows of one table: a value, or nothing where one was deleted.
type Table = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Rows of every table, by its place in [`Family::ALL`].
#[derive(Debug, Default)]
pub(super) struct Rows([Table; Family::ALL.len()]);

/// What gathers, and what is being written out at this moment.
#[derive(Debug, Default)]
pub(super) struct Gathered(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    gathering: Rows,
    bytes: usize,
    leaving: Arc<Rows>,
}

impl Rows {
    /// The tables that have rows, in order.
    pub(super) fn tables(&self) -> impl Iterator<Item = (Family, &Table)> {
        Family::ALL.into_iter().zip(&self.0).filter(|(_, table)| !table.is_empty())
    }

    fn is_empty(&self) -> bool {
        self.tables().next().is_none()
    }

    fn table(&self, table: Family) -> &Table {
        &self.0[table as usize]
    }

    /// How many bytes this adds at most.
    fn add(&mut self, write: Write<Family>) -> usize {
        let (table, key, value) = match write {
            Write::Put { table, key, value } => (table, key, Some(value)),
            Write::Delete { table, key } => (table, key, None),
            Write::DeleteRange { .. } => unreachable!("ranges do not gather"),
        };
        let bytes = key.len() + value.as_ref().map_or(0, Vec::len);
        self.0[table as usize].insert(key, value);
        bytes
    }
}

impl Gathered {
    /// Lays down the writes of one batch, none of which is a range. Returns how many bytes have
    /// gathered.
    pub(super) fn add(&self, writes: Vec<Write<Family>>) -> usize {
        let mut state = self.lock();
        for write in writes {
            state.bytes += state.gathering.add(write);
        }
        state.bytes
    }

    /// What was last applied under `key` and may not be in RocksDB yet: a value, or `Some(None)`
    /// when it was deleted.
    pub(super) fn get(&self, table: Family, key: &[u8]) -> Option<Option<Vec<u8>>> {
        let state = self.lock();
        let row = state.gathering.table(table).get(key);
        row.or_else(|| state.leaving.table(table).get(key)).cloned()
    }

    /// What has gathered, to be written out; nothing if there is nothing. It is still found here
    /// until [`Self::left`]; only one at a time may be on its way.
    pub(super) fn leave(&self) -> Option<Arc<Rows>> {
        let mut state = self.lock();
        if state.gathering.is_empty() {
            return None;
        }
        state.leaving = Arc::new(std::mem::take(&mut state.gathering));
        state.bytes = 0;
        Some(Arc::clone(&state.leaving))
    }

    /// RocksDB has what [`Self::leave`] gave.
    pub(super) fn left(&self) {
        self.lock().leaving = Arc::default();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Family = Family::Custody;

    fn put(key: u8, value: u8) -> Write<Family> {
        Write::Put { table: TABLE, key: vec![key], value: vec![value] }
    }

    #[test]
    fn the_last_of_several_writes_counts_also_while_an_earlier_one_is_on_its_way() {
        let gathered = Gathered::default();
        gathered.add(vec![put(1, 1), put(1, 2), put(2, 1)]);
        assert_eq!(gathered.get(TABLE, &[1]), Some(Some(vec![2])));
        let leaving = gathered.leave().unwrap();
        assert_eq!(leaving.tables().map(|(_, rows)| rows.len()).collect::<Vec<_>>(), [2]);
        gathered.add(vec![Write::Delete { table: TABLE, key: vec![1] }]);
        assert_eq!(gathered.get(TABLE, &[1]), Some(None));
        assert_eq!(gathered.get(TABLE, &[2]), Some(Some(vec![1])));
        gathered.left();
        assert_eq!(gathered.get(TABLE, &[1]), Some(None));
        assert_eq!(gathered.get(TABLE, &[2]), None);
        assert_eq!(gathered.get(Family::Meta, &[1]), None);
    }

    #[test]
    fn bytes_are_counted_until_they_leave() {
        let gathered = Gathered::default();
        assert_eq!(gathered.add(vec![put(1, 1)]), 2);
        assert_eq!(gathered.add(vec![put(2, 1)]), 4);
        assert!(gathered.leave().is_some());
        assert!(gathered.leave().is_none());
        assert_eq!(gathered.add(vec![put(3, 1)]), 2);
    }
}
