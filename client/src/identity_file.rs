//! Files with an identity under a pass-phrase, on disk (PROTOCOL §4.20).
//!
//! Entry points are [`create`], [`open`] and [`change_passphrase`]. A file is for nobody but its owner, appears
//! whole under its name or not at all, and replaces nothing but itself: while its pass-phrase is changed there is
//! at every instant one whole file under its name, the old or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use comm_proto::identity::{Identity, KdfParams};
use comm_proto::identity_file::{self, FILE_LEN, Fresh, IdentityFileError, SealError};
use rand_core::{OsRng, RngCore};
use thiserror::Error;

/// Why there is no file, or no identity from one.
#[derive(Debug, Error)]
pub enum FileError {
    /// There is something under the name.
    #[error("{} is there already, and is left as it is", .0.display())]
    Exists(PathBuf),
    /// What is in it gives no identity.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: IdentityFileError,
    },
    /// The pass-phrase or the parameters are impossible.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A step of writing a file, for tests that break it off before each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Clear,
    Make,
    Write,
    Sync,
    Name,
    SyncDirectory,
}

/// Writes `identity` under a pass-phrase to the new file `path`; makes its directory first if there is none.
///
/// # Errors
/// When there is such a file, the pass-phrase is impossible, or the disk fails.
pub fn create(
    path: &Path,
    identity: &Identity,
    passphrase: &[u8],
    params: &KdfParams,
) -> Result<(), FileError> {
    match fs::symlink_metadata(path) {
        Ok(_) => return Err(FileError::Exists(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(system("look at", path)(error)),
    }
    let file = identity_file::seal(identity, passphrase, params, &fresh())?;
    let directory = parent(path);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(system("make", directory))?;
    write(path, &file, Naming::New, &mut |_| Ok(()))
}

/// The identity in the file `path`.
///
/// # Errors
/// When it cannot be read, is no such file or damaged, or the pass-phrase is wrong; each is told apart.
pub fn open(path: &Path, passphrase: &[u8]) -> Result<Identity, FileError> {
    let mut file = Vec::with_capacity(FILE_LEN + 1);
    let opened = File::open(path).map_err(system("open", path))?;
    opened.take(FILE_LEN as u64 + 1).read_to_end(&mut file).map_err(system("read", path))?;
    let unusable = |reason| FileError::Unusable { path: path.to_owned(), reason };
    identity_file::open(&file, passphrase).map_err(unusable)
}

/// Gives the file `path` another pass-phrase. Whatever ends this, and whenever, the file opens with the one or the
/// other afterwards; a file beside it whose name ends in `.new` may be left, which the next change writes over.
///
/// # Errors
/// When it does not open with the old one, the new one is impossible, or the disk fails.
pub fn change_passphrase(
    path: &Path,
    old: &[u8],
    new: &[u8],
    params: &KdfParams,
) -> Result<(), FileError> {
    change(path, old, new, params, &mut |_| Ok(()))
}

fn change(
    path: &Path,
    old: &[u8],
    new: &[u8],
    params: &KdfParams,
    before: &mut dyn FnMut(Step) -> io::Result<()>,
) -> Result<(), FileError> {
    let identity = open(path, old)?;
    let file = identity_file::seal(&identity, new, params, &fresh())?;
    // Of a link the file that it leads to is changed, and the link stays.
    let path = fs::canonicalize(path).map_err(system("find", path))?;
    write(&path, &file, Naming::Replace, before)
}

/// What becomes of what has the name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// It stays, and there is no new file.
    New,
    /// The new file takes its place.
    Replace,
}

/// Writes a file aside, makes it durable, and gives it its name.
fn write(
    path: &Path,
    bytes: &[u8],
    naming: Naming,
    before: &mut dyn FnMut(Step) -> io::Result<()>,
) -> Result<(), FileError> {
    let aside = path.with_added_extension("new");
    let mut step = |step| before(step).map_err(system("write", &aside));
    step(Step::Clear)?;
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(system("remove", &aside)(error));
        }
        _ => {}
    }
    step(Step::Make)?;
    let mut options = OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(&aside);
    let mut file = made.map_err(system("make", &aside))?;
    step(Step::Write)?;
    file.write_all(bytes).map_err(system("write", &aside))?;
    step(Step::Sync)?;
    file.sync_all().map_err(system("write", &aside))?;
    step(Step::Name)?;
    name(&aside, path, naming)?;
    step(Step::SyncDirectory)?;
    let directory = parent(path);
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(system("write", directory))
}

fn name(aside: &Path, path: &Path, naming: Naming) -> Result<(), FileError> {
    if naming == Naming::Replace {
        return fs::rename(aside, path).map_err(system("name", path));
    }
    // A second name, since that is never taken from another file.
    let named = fs::hard_link(aside, path);
    let _gone = fs::remove_file(aside);
    named.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => FileError::Exists(path.to_owned()),
        _ => system("name", path)(error),
    })
}

fn parent(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

fn fresh() -> Fresh {
    let mut fresh = Fresh { salt: [0; 16], nonce: [0; 24] };
    OsRng.fill_bytes(&mut fresh.salt);
    OsRng.fill_bytes(&mut fresh.nonce);
    fresh
}

fn system(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::System { action, path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const STEPS: [Step; 6] =
        [Step::Clear, Step::Make, Step::Write, Step::Sync, Step::Name, Step::SyncDirectory];

    fn cheap() -> KdfParams {
        KdfParams::new(8, 1, 1).unwrap()
    }

    fn opens(path: &Path, passphrase: &[u8]) -> bool {
        open(path, passphrase).is_ok()
    }

    /// A8, A9: whatever the last step was that was done, one of the two pass-phrases opens the file, and the next
    /// change goes well.
    #[test]
    fn a_change_of_the_pass_phrase_that_ends_at_any_step_leaves_a_file_that_opens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ann.id");
        let identity = Identity::from_seed(&[1; 32]);
        for last in STEPS {
            let _gone = fs::remove_file(&path);
            create(&path, &identity, b"old", &cheap()).unwrap();
            let mut seen = Vec::new();
            let changed = change(&path, b"old", b"new", &cheap(), &mut |step| {
                seen.push(step);
                let ends = step == last;
                if ends { Err(io::Error::other("the power is gone")) } else { Ok(()) }
            });
            assert!(matches!(changed, Err(FileError::System { .. })), "{last:?}");
            assert_eq!(seen.last(), Some(&last));
            let has_name = last == Step::SyncDirectory;
            assert_eq!(opens(&path, b"old"), !has_name, "{last:?}");
            assert_eq!(opens(&path, b"new"), has_name, "{last:?}");
            // What the broken change left does not stand in the way.
            let old: &[u8] = if has_name { b"new" } else { b"old" };
            change_passphrase(&path, old, b"newest", &cheap()).unwrap();
            assert!(opens(&path, b"newest") && !opens(&path, b"old") && !opens(&path, b"new"));
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left over");
        }
    }

    #[test]
    fn a_file_is_for_its_owner_alone_and_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/for/ann.id");
        let identity = Identity::from_seed(&[1; 32]);
        create(&path, &identity, b"old", &cheap()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&dir.path().join("made"))), (0o600, 0o700));
        let again = create(&path, &identity, b"other", &cheap());
        assert!(matches!(again, Err(FileError::Exists(_))));
        change_passphrase(&path, b"old", b"new", &cheap()).unwrap();
        assert_eq!(mode(&path), 0o600);
        let wrong = change_passphrase(&path, b"old", b"newer", &cheap());
        let text = wrong.unwrap_err().to_string();
        assert!(text.ends_with("the pass-phrase is wrong"), "{text}");
        assert!(opens(&path, b"new"));
        fs::write(&path, vec![0; FILE_LEN * 9]).unwrap();
        let text = open(&path, b"new").unwrap_err().to_string();
        assert!(text.ends_with("it is no identity file of comm"), "{text}");
    }
}
