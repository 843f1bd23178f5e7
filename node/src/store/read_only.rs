//! A store that is looked at and not changed.
//!
//! Entry type is [`ReadOnlyStore`]. Logs are read back into memory and stay as they are. It is for a directory
//! that no node has open.

use std::path::Path;

use comm_proto::node::Family;
use comm_proto::store::{Entry, Store, StoreError};
use rocksdb::{ColumnFamily, DB, Direction, IteratorMode, ReadOptions};

use super::options::Sizes;
use super::{OpenError, SCHEMA, failed, logs, options, schema};

/// An open store that cannot be written.
pub struct ReadOnlyStore(DB);

impl ReadOnlyStore {
    /// Opens the store in the directory `path`.
    ///
    /// # Errors
    /// When it has a layout whose rows are others than those that this program writes, is damaged, or the disk fails.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let sizes = Sizes::within(super::BUDGET);
        let mut options = options::database(sizes);
        options.create_if_missing(false);
        options.create_missing_column_families(false);
        schema::refuse_unknown_families(&options, path)?;
        let disk = |reason: String| OpenError::Disk { path: path.to_owned(), reason };
        let older = |found: String| OpenError::Older { path: path.to_owned(), found };
        if let Some(missing) = schema::missing_family(&options, path) {
            return Err(older(format!("no table \"{}\"", missing.name())));
        }
        let damaged = logs::damaged(path).map_err(|error| disk(error.to_string()))?;
        if let Some(log) = damaged {
            return Err(disk(format!("the end of the log {} is damaged", log.display())));
        }
        let cache = options::cache();
        let families = Family::ALL.map(|family| options::family(family, sizes, &cache));
        let db = DB::open_cf_descriptors_read_only(&options, path, families, false);
        let store = Self(db.map_err(|error| disk(error.into_string()))?);
        match schema::version_in(&store).map_err(|error| disk(error.to_string()))? {
            // What is to be looked at may be a copy that was made before the last step.
            Some(schema::SAME_ROWS..=SCHEMA) => Ok(store),
            Some(found) if found > SCHEMA => {
                Err(OpenError::Newer { path: path.to_owned(), found: format!("layout {found}") })
            }
            Some(found) => Err(older(format!("layout {found}"))),
            None => Err(disk("it has no version of its layout".to_owned())),
        }
    }

    /// How many rows it may have, more or less.
    pub fn rows_about(&self) -> u64 {
        let rows = |family: Family| {
            let name = "rocksdb.estimate-num-keys";
            self.0.property_int_value_cf(self.family(family), name).ok().flatten().unwrap_or(0)
        };
        Family::ALL.into_iter().map(rows).sum()
    }

    fn family(&self, family: Family) -> &ColumnFamily {
        self.0.cf_handle(family.name()).expect("every family is opened with the store")
    }
}

impl Store<Family> for ReadOnlyStore {
    fn get(&self, table: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get_cf(self.family(table), key).map_err(failed)
    }

    fn scan(
        &self,
        table: Family,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(from);
        options.set_iterate_upper_bound(to);
        let start = IteratorMode::From(from, Direction::Forward);
        let rows = self.0.iterator_cf_opt(self.family(table), options, start).take(limit);
        rows.map(|row| row.map(|(key, value)| (key.into_vec(), value.into_vec())))
            .map(|row| row.map_err(failed))
            .collect()
    }
}

impl std::fmt::Debug for ReadOnlyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadOnlyStore").finish_non_exhaustive()
    }
}
