//! `comm forget`: removing everything of a person from this machine.
//!
//! Entry function is [`forget`]. It names each file before it removes it, removes no other, and asks
//! first. What it does not do: overwrite. Whoever has the disk may find what was there, sealed with the
//! secret; backups that lie elsewhere stay.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead, ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};

use comm::store::Hold;

use crate::failure::Failure;
use crate::said::say;

/// The files of a person.
const PERSON: [&str; 3] = ["person.redb", "person.redb.part", "person.redb.new"];
/// The directory of files that the person has taken: those that did not become whole are ours.
const DOWNLOADS: &str = "downloads";
const PART: (&str, &str) = (".comm-", ".part");
/// The directory of the person's node, and its files.
const NODE: &str = "node";
const NODE_FILES: [&str; 10] = [
    "node.key",
    "node.key.new",
    "api.token",
    "api.token.new",
    "api.sock",
    "blocks",
    "blocks.new",
    "traffic.account",
    "traffic.account.new",
    "lock",
];
/// The directory of the node's store, the names of its files, and how others begin and end.
const STORE: &str = "store";
const STORE_FILES: [&str; 4] = ["CURRENT", "IDENTITY", "LOCK", "LOG"];
const STORE_BEGINNINGS: [&str; 3] = ["LOG.old.", "MANIFEST-", "OPTIONS-"];
const STORE_ENDINGS: [&str; 4] = [".sst", ".log", ".dbtmp", ".blob"];

/// What is in a data directory.
#[derive(Debug, Default)]
struct Found {
    /// Ours, in the order in which they go.
    files: Vec<PathBuf>,
    /// Ours, the innermost first; they go when they are empty.
    directories: Vec<PathBuf>,
    /// Not ours.
    foreign: Vec<PathBuf>,
}

/// Nobody else can start with the data as long as this lives.
struct Locks {
    _person: Hold,
    _node: Option<File>,
}

/// Shows what is in the data directory `dir`, asks unless the answer is known to be yes, and removes it.
pub(crate) fn forget(dir: &Path, is_sure: bool) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::failed(format!("{}: {error}", dir.display()));
    let locks = lock(dir)?;
    let found = Found::look(dir).map_err(failed)?;
    if found.files.is_empty() && found.directories.is_empty() {
        return Err(Failure::failed(format!("there is no data of comm in {}", dir.display())));
    }
    say(&found.shown())?;
    if !is_sure && !is_wanted()? {
        return Err(Failure::failed("nothing was removed"));
    }
    let removed = found.remove()?;
    drop(locks);
    say(&format!("removed {removed} files\n"))
}

fn lock(dir: &Path) -> Result<Locks, Failure> {
    let person = Hold::take(dir).map_err(Failure::failed)?;
    let path = dir.join(NODE).join("lock");
    if !path.is_file() {
        return Ok(Locks { _person: person, _node: None });
    }
    let failed = |error| Failure::failed(format!("cannot lock {}: {error}", path.display()));
    let node = File::open(&path).map_err(failed)?;
    match node.try_lock() {
        Ok(()) => Ok(Locks { _person: person, _node: Some(node) }),
        Err(TryLockError::WouldBlock) => {
            let text = format!("another comm is running on the data directory {}", dir.display());
            Err(Failure::failed(text))
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

impl Found {
    /// Links are not followed: what they point to belongs to somebody else.
    fn look(dir: &Path) -> io::Result<Self> {
        let mut found = Self::default();
        let is_directory = |path: &Path| fs::symlink_metadata(path).is_ok_and(|data| data.is_dir());
        let (node, store) = (dir.join(NODE), dir.join(NODE).join(STORE));
        let downloads = dir.join(DOWNLOADS);
        found.sort(dir, |name| PERSON.contains(&name), &[NODE, DOWNLOADS])?;
        if is_directory(&downloads) {
            let is_part = |name: &str| name.starts_with(PART.0) && name.ends_with(PART.1);
            found.sort(&downloads, is_part, &[])?;
        }
        if is_directory(&node) {
            found.sort(&node, |name| NODE_FILES.contains(&name), &[STORE])?;
        }
        if is_directory(&store) {
            found.sort(&store, is_store_file, &[])?;
        }
        let ours = !found.files.is_empty() || is_directory(&node);
        let directories = [downloads, store, node, dir.to_owned()].into_iter();
        found.directories.extend(directories.filter(|path| ours && is_directory(path)));
        Ok(found)
    }

    /// Tells files that are ours from others; some directories are looked at by themselves.
    fn sort(&mut self, dir: &Path, ours: impl Fn(&str) -> bool, except: &[&str]) -> io::Result<()> {
        let mut entries = fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (path, name, kind) = (entry.path(), entry.file_name(), entry.file_type()?);
            let name = name.to_str().unwrap_or_default();
            if kind.is_dir() && except.contains(&name) {
                continue;
            }
            let is_ours = !kind.is_dir() && !kind.is_symlink() && ours(name);
            let kind = if is_ours { &mut self.files } else { &mut self.foreign };
            kind.push(path);
        }
        Ok(())
    }

    fn shown(&self) -> String {
        let mut text = "to be removed:\n".to_owned();
        for path in &self.files {
            text += &format!("  {}\n", path.display());
        }
        for path in &self.directories {
            text += &format!("  {} (if it is empty then)\n", path.display());
        }
        if !self.foreign.is_empty() {
            text += "not made by comm, and left as it is:\n";
        }
        for path in &self.foreign {
            text += &format!("  {}\n", path.display());
        }
        text
    }

    /// Removes what was shown. Returns how many files.
    fn remove(&self) -> Result<usize, Failure> {
        for path in &self.files {
            let failed = |error| {
                let path = path.display();
                Failure::failed(format!(
                    "cannot remove {path}: {error}; what stands below it is left"
                ))
            };
            match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        for path in &self.directories {
            let _not_empty = fs::remove_dir(path);
            let parent = path.parent().and_then(|parent| File::open(parent).ok());
            let _gone = parent.map(|parent| parent.sync_all());
        }
        Ok(self.files.len())
    }
}

fn is_store_file(name: &str) -> bool {
    STORE_FILES.contains(&name)
        || STORE_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
        || STORE_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Asks the person. Who cannot be asked has to say so beforehand.
fn is_wanted() -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::misused("nobody can be asked here, so --yes is needed"));
    }
    say("This cannot be undone. Remove all of it? Type yes: ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(Failure::failed)?;
    Ok(answer.trim() == "yes")
}
