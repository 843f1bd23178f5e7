//! The directory in which a node keeps its key, its store and its socket.
//!
//! Entry type is [`DataDir`]. One process at a time, and nobody but its user: others could pose as
//! the node or read who collects what. It repairs no permissions by itself, since whoever could
//! read the key may have done so; the operator should know.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use comm_proto::key::KeyPair;
use rand_core::{OsRng, RngCore};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::links::private::NetworkKey;

/// Bytes of a secret before they are written as hexadecimal digits.
const SECRET_LEN: usize = KeyPair::SEED_LEN;

/// A data directory that this process holds alone until it drops this.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Locked; the system unlocks it when the process ends, however it ends.
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// Somebody else can get at it.
    #[error(
        "other users can open {what} {} (mode {mode:04o}); run `chmod {wanted:o} {}` and \
         consider whether what it holds is still secret",
        path.display(), path.display()
    )]
    Exposed {
        /// What it is: a directory or a file.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// The permissions it should have.
        wanted: u32,
    },
    /// Another process uses it.
    #[error("another comm-node or comm is running on the data directory {}", .0.display())]
    InUse(PathBuf),
    /// The file that should hold a network's key holds something else.
    #[error(
        "{} does not hold 64 hexadecimal digits, the same for all nodes of the network; get them \
         from whoever runs another node, or make them with `openssl rand -hex 32`",
        .0.display()
    )]
    NoNetworkKey(PathBuf),
    /// A secret has been changed or cut short.
    #[error(
        "{} does not hold 64 hexadecimal digits; put back its backup, or move it away to get a \
         new one",
        .0.display()
    )]
    Damaged(PathBuf),
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

impl DataDir {
    /// Opens the directory, and makes it first if there is none.
    ///
    /// # Errors
    /// When others can open it, another process uses it, or the system refuses.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(path).map_err(system("create", path))?;
        refuse_exposed("the data directory", path, 0o700)?;
        let lock_path = path.join("lock");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(&lock_path).map_err(system("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(system("lock", &lock_path)(source)),
        }
    }

    /// The node's key, from the file `node.key`; drawn and written there at the first start.
    ///
    /// # Errors
    /// When others can read the file, it is damaged, or the system refuses.
    pub fn node_key(&self) -> Result<KeyPair, DataDirError> {
        Ok(KeyPair::from_seed(&*self.secret("node.key")?))
    }

    /// What a client that comes over TCP has to show, 64 hexadecimal digits, from the file
    /// `api.token`; drawn and written there at the first start (PROTOCOL §8).
    ///
    /// # Errors
    /// As [`Self::node_key`].
    pub fn api_token(&self) -> Result<Zeroizing<String>, DataDirError> {
        Ok(Zeroizing::new(hex::encode(self.secret("api.token")?.as_slice())))
    }

    /// Where the directory is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the store is.
    pub fn store_path(&self) -> PathBuf {
        store_path(&self.path)
    }

    /// Where the socket for clients is, unless the configuration says otherwise.
    pub fn socket_path(&self) -> PathBuf {
        socket_path(&self.path)
    }

    fn secret(&self, name: &str) -> Result<Zeroizing<[u8; SECRET_LEN]>, DataDirError> {
        let path = self.path.join(name);
        match File::open(&path) {
            Ok(file) => read_secret(&path, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.draw_secret(&path),
            Err(error) => Err(system("open", &path)(error)),
        }
    }

    /// Whole or not at all, also when the power fails: a node that signed with a key and then lost
    /// it would be somebody else.
    fn draw_secret(&self, path: &Path) -> Result<Zeroizing<[u8; SECRET_LEN]>, DataDirError> {
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        OsRng.fill_bytes(&mut *secret);
        let line = Zeroizing::new(hex::encode(secret.as_slice()) + "\n");
        replace_file(path, line.as_bytes()).map_err(system("write", path))?;
        Ok(secret)
    }
}

/// The key of a private network (PROTOCOL §5.2.1) in the file at `path`, which is never written.
///
/// # Errors
/// When others can read the file, it holds no such key, or the system refuses.
pub fn network_key(path: &Path) -> Result<NetworkKey, DataDirError> {
    let file = File::open(path).map_err(system("open", path))?;
    read_secret(path, file).map(NetworkKey::new).map_err(|error| match error {
        DataDirError::Damaged(path) => DataDirError::NoNetworkKey(path),
        error => error,
    })
}

/// Where the socket for clients is when the data directory is `data_dir` and the configuration says
/// nothing else.
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("api.sock")
}

/// Where the store is when the data directory is `data_dir`.
pub fn store_path(data_dir: &Path) -> PathBuf {
    data_dir.join("store")
}

/// A data directory on which no node starts until this is dropped.
#[derive(Debug)]
pub(crate) struct Still {
    _lock: Option<File>,
}

/// Keeps nodes from starting on `data_dir`. Where none ever ran nothing is made, and nothing is kept.
///
/// # Errors
/// When a node runs there, or the system refuses.
pub(crate) fn keep_still(data_dir: &Path) -> Result<Still, DataDirError> {
    let path = data_dir.join("lock");
    let lock = match File::open(&path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Still { _lock: None });
        }
        Err(error) => return Err(system("open", &path)(error)),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(Still { _lock: Some(lock) }),
        Err(TryLockError::WouldBlock) => Err(DataDirError::InUse(data_dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(system("lock", &path)(source)),
    }
}

/// The node's key in `data_dir`, which is never drawn.
///
/// # Errors
/// As [`DataDir::node_key`], and when there is none.
pub(crate) fn key_in(data_dir: &Path) -> Result<KeyPair, DataDirError> {
    let path = data_dir.join("node.key");
    let file = File::open(&path).map_err(system("open", &path))?;
    Ok(KeyPair::from_seed(&*read_secret(&path, file)?))
}

/// Where something lies in a data directory.
type PathOf = fn(&Path) -> PathBuf;

/// The longest list of what commands have blocked, in bytes: more than all entries take.
pub(crate) const BLOCKS_BYTES_MAX: u64 = 8 << 20;
/// The longest account of traffic, in bytes.
const ACCOUNT_BYTES_MAX: u64 = 64 << 10;

/// Where commands write down whom they block when the data directory is `data_dir`.
pub fn blocks_path(data_dir: &Path) -> PathBuf {
    data_dir.join("blocks")
}

/// Where what was carried in this period is written down when the data directory is `data_dir`.
pub fn account_path(data_dir: &Path) -> PathBuf {
    data_dir.join("traffic.account")
}

/// Writes what else a node needs of the data directory `from` into the directory `to`, as far as it is there: whom
/// commands have blocked, and what was carried in this period.
///
/// # Errors
/// When a file is longer than any that a node writes, or the system refuses.
pub fn copy_besides(from: &Path, to: &Path) -> Result<(), DataDirError> {
    for (path, bytes_max) in
        [(blocks_path as PathOf, BLOCKS_BYTES_MAX), (account_path, ACCOUNT_BYTES_MAX)]
    {
        let (from, to) = (path(from), path(to));
        let Some(text) = read_if_there(&from, bytes_max + 1).map_err(system("read", &from))? else {
            continue;
        };
        if text.len() as u64 > bytes_max {
            let too_long = io::Error::other("it is longer than any that a relay writes");
            return Err(system("read", &from)(too_long));
        }
        write_durably(&to, text.as_bytes()).map_err(system("write", &to))?;
    }
    Ok(())
}

/// The text of the file at `path`, at most so many bytes of it; none if there is no file.
///
/// # Errors
/// When it is no text, or the system refuses.
pub(crate) fn read_if_there(path: &Path, bytes_max: u64) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(bytes_max).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// Puts a file with these bytes, which only its owner can open, in the place of the one at `path`: whole or not at
/// all, also when the power fails. When it returns, the disk has it.
///
/// # Errors
/// When the system refuses; the old one is there then.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_added_extension("new");
    write_durably(&unfinished, bytes)?;
    fs::rename(&unfinished, path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Writes the node's key of the data directory `from` into the directory `to`, where there is none.
///
/// # Errors
/// As [`DataDir::node_key`].
pub fn copy_key(from: &Path, to: &Path) -> Result<(), DataDirError> {
    let (from, to) = (from.join("node.key"), to.join("node.key"));
    let file = File::open(&from).map_err(system("open", &from))?;
    let line = Zeroizing::new(hex::encode(read_secret(&from, file)?.as_slice()) + "\n");
    write_durably(&to, line.as_bytes()).map_err(system("write", &to))
}

fn read_secret(path: &Path, file: File) -> Result<Zeroizing<[u8; SECRET_LEN]>, DataDirError> {
    refuse_exposed("the file", path, 0o600)?;
    let mut text = Zeroizing::new(Vec::with_capacity(256));
    file.take(256).read_to_end(&mut text).map_err(system("read", path))?;
    let mut secret = Zeroizing::new([0; SECRET_LEN]);
    hex::decode_to_slice(text.trim_ascii(), &mut *secret)
        .map_err(|_| DataDirError::Damaged(path.to_owned()))?;
    Ok(secret)
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A start that was interrupted may have left one behind, with whatever permissions.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn refuse_exposed(what: &'static str, path: &Path, wanted: u32) -> Result<(), DataDirError> {
    let metadata = fs::metadata(path).map_err(system("look at", path))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(DataDirError::Exposed { what, path: path.to_owned(), mode, wanted })
}

fn system(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::System { action, path, source }
}
