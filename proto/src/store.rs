//! What the state machines need from a disk: reads through a trait, writes as values.
//!
//! Entry types are [`Store`], [`ScanBack`] and [`Batch`]. A state machine never writes; it emits a [`Batch`], the
//! host applies it before the next input, and says [`Seq`] when the disk has it. `T` names the
//! tables of one store: [`crate::node::Family`] for relays, [`crate::agent::Drawer`] for people.
//! No caching, no transactions and no iterators that outlive a call.

mod journal;
mod memory;

use thiserror::Error;

pub(crate) use journal::Journal;
pub use memory::MemoryStore;

/// One key with its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Read access to an ordered store with several tables.
pub trait Store<T> {
    /// The value under `key`.
    ///
    /// # Errors
    /// When the disk cannot be read.
    fn get(&self, table: T, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// The values under `keys`, each at the place of its key. A disk reads many in fewer steps than
    /// one by one.
    ///
    /// # Errors
    /// When the disk cannot be read.
    fn get_many(&self, table: T, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StoreError>
    where
        T: Copy,
    {
        keys.iter().map(|key| self.get(table, key)).collect()
    }

    /// At most `limit` entries with `from <= key < to`, in ascending order of their keys.
    ///
    /// # Errors
    /// When the disk cannot be read.
    fn scan(
        &self,
        table: T,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError>;
}

/// A store whose tables are read from their ends too, so that the last page of many costs what a
/// page costs.
pub trait ScanBack<T>: Store<T> {
    /// At most `limit` entries with `from <= key < to`, in descending order of their keys.
    ///
    /// # Errors
    /// When the disk cannot be read.
    fn scan_back(
        &self,
        table: T,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError>;
}

/// The place of a batch in the order of all batches of one run; later is larger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seq(pub u64);

/// Writes that become visible together and durable together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<T> {
    /// Reported back through `Input::Durable` once the disk has this batch and all before it.
    pub seq: Seq,
    /// Applied in order.
    pub writes: Vec<Write<T>>,
}

/// One change of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write<T> {
    /// Sets a value.
    Put {
        /// Where.
        table: T,
        /// Under which key.
        key: Vec<u8>,
        /// The new value.
        value: Vec<u8>,
    },
    /// Removes a value; removing what is not there is no error.
    Delete {
        /// Where.
        table: T,
        /// Which key.
        key: Vec<u8>,
    },
    /// Removes every key with `from <= key < to`, and lets the store drop whole files.
    DeleteRange {
        /// Where.
        table: T,
        /// The first key that goes.
        from: Vec<u8>,
        /// The first key that stays.
        to: Vec<u8>,
    },
}

/// Our own disk failed; the only thing that can make a state machine's `handle` fail.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// The disk could not be read or written.
    #[error("the store failed: {0}")]
    Disk(String),
    /// A stored value is not what was written there.
    #[error("the store holds a damaged value in {0}")]
    Damaged(&'static str),
}
