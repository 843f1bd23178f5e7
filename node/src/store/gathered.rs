//! Rows that have been applied and that RocksDB does not have yet.
//!
//! Entry type is [`Gathered`]. The driver only lays rows down here, which costs it a fraction of a
//! write to RocksDB; one write then takes those of many batches at once, of a row that was written
//! several times only the last. It answers for single keys and lays itself over a range of what
//! RocksDB has. It writes nothing itself.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use comm_proto::node::Family;
use comm_proto::store::{Entry, Write};
use itertools::EitherOrBoth::{Both, Left, Right};
use itertools::Itertools as _;

/// What a row takes in memory beside its key and its value, about. Counted so that rows without
/// values have a bound too.
const ROW_BYTES: usize = 64;

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

    /// How many bytes this takes at most.
    fn add(&mut self, write: Write<Family>) -> usize {
        let (table, key, value) = match write {
            Write::Put { table, key, value } => (table, key, Some(value)),
            Write::Delete { table, key } => (table, key, None),
            Write::DeleteRange { .. } => unreachable!("ranges do not gather"),
        };
        let bytes = ROW_BYTES + key.len() + value.as_ref().map_or(0, Vec::len);
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

    /// At most `limit` entries of `table` with `from <= key < to`, in the order of their keys: what
    /// `stored` gives of them, and laid over it what RocksDB may not have yet. Nothing can leave
    /// meanwhile, so that no row is missed on its way.
    pub(super) fn lay_over<E, I: Iterator<Item = Result<Entry, E>>>(
        &self,
        (table, from, to): (Family, &[u8], &[u8]),
        limit: usize,
        stored: impl FnOnce() -> I,
    ) -> Result<Vec<Entry>, E> {
        let state = self.lock();
        let bounds = (Bound::Included(from), Bound::Excluded(to));
        let [gathering, leaving] = [&state.gathering, &*state.leaving]
            .map(|rows| rows.table(table).range::<[u8], _>(bounds));
        gathering
            .merge_join_by(leaving, |(newer, _), (older, _)| newer.cmp(older))
            .map(|rows| rows.reduce(|newer, _| newer))
            .merge_join_by(stored(), |(newer, _), stored| match stored {
                Ok((older, _)) => (*newer).cmp(older),
                Err(_) => Ordering::Greater,
            })
            .filter_map(|rows| match rows {
                Right(stored) => Some(stored),
                Left((key, value)) | Both((key, value), _) => {
                    value.clone().map(|value| Ok((key.clone(), value)))
                }
            })
            .take(limit)
            .collect()
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
    fn a_range_shows_the_newest_of_every_row_wherever_it_is() {
        let gathered = Gathered::default();
        gathered.add(vec![put(1, 2), put(3, 2), put(5, 2), put(7, 2)]);
        gathered.leave().unwrap();
        let delete = |key| Write::Delete { table: TABLE, key: vec![key] };
        gathered.add(vec![put(3, 3), delete(5), put(8, 3), delete(9)]);
        let seen = |from: u8, limit| {
            let stored = [2, 3, 5, 6, 9].into_iter().filter(|key| *key >= from);
            let stored = || stored.map(|key| Ok::<_, ()>((vec![key], vec![1])));
            let entries = gathered.lay_over((TABLE, &[from], &[10]), limit, stored).unwrap();
            entries.into_iter().map(|(key, value)| (key[0], value[0])).collect::<Vec<_>>()
        };
        assert_eq!(seen(0, 99), [(1, 2), (2, 1), (3, 3), (6, 1), (7, 2), (8, 3)]);
        assert_eq!(seen(2, 2), [(2, 1), (3, 3)]);
        assert_eq!(seen(4, 1), [(6, 1)]);
        assert_eq!(seen(0, 0), []);
    }

    #[test]
    fn bytes_are_counted_until_they_leave() {
        let gathered = Gathered::default();
        assert_eq!(gathered.add(vec![put(1, 1)]), ROW_BYTES + 2);
        assert_eq!(gathered.add(vec![put(2, 1)]), 2 * (ROW_BYTES + 2));
        assert!(gathered.leave().is_some());
        assert!(gathered.leave().is_none());
        assert_eq!(gathered.add(vec![put(3, 1)]), ROW_BYTES + 2);
    }
}
