//! A copy of a store at one moment, made while others write.

use std::path::Path;

use comm_proto::store::StoreError;
use rocksdb::checkpoint::Checkpoint;

use super::{RocksStore, failed};

impl RocksStore {
    /// Copies the store into the directory `to`, which must not exist; its parent must. What was
    /// applied before the call is in it. Tables are linked if the file system can.
    ///
    /// # Errors
    /// When the disk cannot be read or written. What is there then is no store.
    pub fn copy_to(&self, to: &Path) -> Result<(), StoreError> {
        self.sync()?;
        let checkpoint = Checkpoint::new(&self.db).map_err(failed)?;
        checkpoint.create_checkpoint(to).map_err(failed)
    }
}
