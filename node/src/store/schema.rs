//! The version of the store's layout: written into a new store, checked and raised in an old one.
//!
//! Entry points are [`refuse_unknown_families`], before the store is open, and [`settle`], right
//! after. A layout is what tables there are and what their keys and values look like. Nothing is
//! ever lowered: an older program refuses a newer store.

use std::path::Path;

use comm_proto::node::{Family, Upgrade as ToSecond};
use comm_proto::store::{Batch, Seq, Store, StoreError, Write};
use rocksdb::{DB, Options};

use super::{OpenError, RocksStore};

/// The layout that this program writes.
pub const SCHEMA: u32 = 1 + UPGRADES.len() as u32;

/// Under it in [`Family::Meta`] stands the layout, four bytes, big-endian.
const KEY: &[u8] = b"schema";

/// Raises a layout by one.
type Upgrade = fn(&RocksStore) -> Result<(), StoreError>;

/// The step from layout 1 to 2 first. A step that was interrupted is done again from its start.
const UPGRADES: [Upgrade; 3] = [to_second, to_third, to_fourth];

/// The oldest layout whose rows are those of [`SCHEMA`]: it can be looked at without being raised.
pub(super) const SAME_ROWS: u32 = 3;

/// Says so in clear words when there are tables that this program does not know, since RocksDB
/// itself would only refuse.
pub(super) fn refuse_unknown_families(options: &Options, path: &Path) -> Result<(), OpenError> {
    // There is nothing to list in a new store; a damaged one shows itself when it is opened.
    let families = DB::list_cf(options, path).unwrap_or_default();
    let known = |name: &String| name == "default" || Family::ALL.iter().any(|f| f.name() == name);
    match families.into_iter().find(|name| !known(name)) {
        Some(name) => {
            let found = format!("a table \"{name}\"");
            Err(OpenError::Newer { path: path.to_owned(), found })
        }
        None => Ok(()),
    }
}

/// A table that this program knows and the store at `path` has not.
pub(super) fn missing_family(options: &Options, path: &Path) -> Option<Family> {
    let families = DB::list_cf(options, path).ok()?;
    Family::ALL.into_iter().find(|family| !families.iter().any(|name| name == family.name()))
}

/// The version in a store, if there is one.
pub(super) fn version_in(store: &dyn Store<Family>) -> Result<Option<u32>, StoreError> {
    let Some(value) = store.get(Family::Meta, KEY)? else { return Ok(None) };
    let bytes = value.try_into().map_err(|_| StoreError::Damaged("its version"))?;
    match u32::from_be_bytes(bytes) {
        0 => Err(StoreError::Damaged("its version")),
        version => Ok(Some(version)),
    }
}

/// Writes the version into a new store and upgrades an old one.
pub(super) fn settle(store: &RocksStore) -> Result<(), OpenError> {
    let failed = |error: StoreError| OpenError::Disk {
        path: store.path().to_owned(),
        reason: error.to_string(),
    };
    let found = match version(store).map_err(failed)? {
        Some(found) => found,
        None => write_version(store, SCHEMA).map(|()| SCHEMA).map_err(failed)?,
    };
    if found > SCHEMA {
        return Err(OpenError::Newer {
            path: store.path().to_owned(),
            found: format!("layout {found}"),
        });
    }
    upgrade(store, found).map_err(failed)
}

/// The version in `store`; `None` when the store is new.
fn version(store: &RocksStore) -> Result<Option<u32>, StoreError> {
    match version_in(store)? {
        None if !is_empty(store)? => Err(StoreError::Damaged("its version")),
        found => Ok(found),
    }
}

fn is_empty(store: &RocksStore) -> Result<bool, StoreError> {
    for family in Family::ALL {
        if store.stored(family, &[], &[0xff; 64]).next().transpose()?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn upgrade(store: &RocksStore, found: u32) -> Result<(), StoreError> {
    for (step, version) in UPGRADES.iter().zip(1..).skip(found as usize - 1) {
        tracing::info!(from = version, to = version + 1, "upgrading the store");
        step(store)?;
        write_version(store, version + 1)?;
    }
    Ok(())
}

/// Envelopes in the order of their expiry, and small tombstones.
fn to_second(store: &RocksStore) -> Result<(), StoreError> {
    let mut upgrade = ToSecond::new(store)?;
    while let Some(writes) = upgrade.next(store)? {
        store.apply(Batch { seq: Seq::default(), writes })?;
    }
    Ok(())
}

/// Who is charged for others' mail stands in a table of its own and in the records of what is taken in from
/// now on. What is there already is charged to nobody, so nothing of it changes.
fn to_third(_: &RocksStore) -> Result<(), StoreError> {
    Ok(())
}

/// Large bodies lie in files of their own from now on, and those that are dead are counted so that they are given back.
/// The rows are the same; but a program that knows nothing of these files would drop parts of the store without
/// counting what dies in them.
fn to_fourth(_: &RocksStore) -> Result<(), StoreError> {
    Ok(())
}

fn write_version(store: &RocksStore, version: u32) -> Result<(), StoreError> {
    let value = version.to_be_bytes().to_vec();
    let write = Write::Put { table: Family::Meta, key: KEY.to_vec(), value };
    store.apply(Batch { seq: Seq::default(), writes: vec![write] })?;
    store.sync()
}
