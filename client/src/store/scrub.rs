//! Leaving nothing in the file of what was deleted, not even sealed.
//!
//! Entry points are [`note_due`], [`is_due`] and [`scrub`]. The database gives the room of what was deleted
//! to what is written later and wipes nothing, so the file is written anew: by whoever opens it or
//! closes it, if something that was said has been deleted since it was written anew last.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use comm_proto::agent::Drawer;
use comm_proto::store::Write;
use redb::{Database, ReadableDatabase, WriteTransaction};

use super::backup::{copy_rows, sync_parent};
use super::{ABOUT, CACHE_BYTES};

/// The row that says so.
pub(super) const DUE: &str = "scrub";
/// Behind the name of the file, for the one that is written anew.
const NEW: &str = "new";

/// Whether a write removes something that was said.
pub(super) fn removes(write: &Write<Drawer>) -> bool {
    let table = match write {
        Write::Put { .. } => return false,
        Write::Delete { table, .. } | Write::DeleteRange { table, .. } => *table,
    };
    // What was held or waited has texts too.
    matches!(table, Drawer::History | Drawer::Requests | Drawer::Waiting)
}

/// Notes, with what is deleted, that the file is to be written anew.
pub(super) fn note_due(write: &WriteTransaction) -> Result<(), redb::Error> {
    write.open_table(ABOUT)?.insert(DUE, &[1][..])?;
    Ok(())
}

/// Whether the file is to be written anew.
pub(super) fn is_due(db: &Database) -> Result<bool, redb::Error> {
    Ok(db.begin_read()?.open_table(ABOUT)?.get(DUE)?.is_some())
}

/// Writes the file at `path` anew, whose store is `db`. When that cannot be done the old one is as good
/// as before, and it is tried again the next time.
pub(super) fn scrub(db: Database, path: &Path) -> Database {
    let new = path.with_added_extension(NEW);
    match anew(&db, path, &new) {
        Ok(scrubbed) => scrubbed,
        Err(error) => {
            tracing::warn!(%error, "what was deleted stays in the store for now, sealed");
            let _gone = fs::remove_file(&new);
            db
        }
    }
}

/// The new file has its lock before it has its name, so that no other program comes between.
fn anew(db: &Database, path: &Path, new: &Path) -> Result<Database, String> {
    let file = make(new).map_err(|error| format!("cannot make {}: {error}", new.display()))?;
    let copy = Database::builder().set_cache_size(CACHE_BYTES).create_file(file);
    let copy = copy.map_err(|error| error.to_string())?;
    let read = db.begin_read().map_err(|error| error.to_string())?;
    copy_rows(&read, &copy).map_err(|error| error.to_string())?;
    fs::rename(new, path).map_err(|error| error.to_string())?;
    // From here on the old file has no name: whatever fails, what is written goes to the new one.
    if let Err(error) = sync_parent(path) {
        tracing::warn!(%error, "after a loss of power what was deleted may be in the store again, sealed");
    }
    Ok(copy)
}

/// What a program left that ended in the middle is removed first: the store is ours alone.
fn make(new: &Path) -> io::Result<File> {
    if let Err(error) = fs::remove_file(new)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever gets file and secret later must not read what was refused, blocked or has faded.
    #[test]
    fn whatever_had_a_text_is_left_nowhere_in_the_file() {
        for (table, has_texts) in [
            (Drawer::History, true),
            (Drawer::Requests, true),
            (Drawer::Waiting, true),
            (Drawer::Contacts, false),
        ] {
            assert_eq!(removes(&Write::Delete { table, key: vec![1] }), has_texts, "{table:?}");
            let all = Write::DeleteRange { table, from: vec![1], to: vec![2] };
            assert_eq!(removes(&all), has_texts, "{table:?}");
            assert!(!removes(&Write::Put { table, key: vec![1], value: Vec::new() }));
        }
    }
}
