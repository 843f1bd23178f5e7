//! The pass-phrase of an identity file: asked for without showing it, or read from a file.
//!
//! Entry type is [`Passphrase`]. It never comes from arguments or from the environment, which others can read, and is
//! wiped after use.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use comm::identity_file;
use comm_proto::identity::Identity;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::prompt;
use crate::secret::{is_weak, patiently, read_file};

/// Where it comes from.
#[derive(Debug)]
pub(crate) enum Passphrase {
    /// The person at the terminal.
    Asked,
    /// The first line of a file, which may be one that is open already.
    File(PathBuf),
}

impl From<Option<PathBuf>> for Passphrase {
    fn from(file: Option<PathBuf>) -> Self {
        file.map_or(Self::Asked, Self::File)
    }
}

impl Passphrase {
    /// The identity in a file.
    pub(crate) fn open(&self, file: &Path) -> Result<Identity, Failure> {
        let passphrase = self.read(&format!("pass-phrase of {}: ", file.display()))?;
        open(file, &passphrase)
    }

    /// A pass-phrase that is there.
    pub(crate) fn read(&self, question: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
        match self {
            Self::File(path) => read_file(path),
            Self::Asked => ask(question),
        }
    }

    /// A new one. A person types it twice, since nobody else can say what it was to be, and is told if it is weak.
    pub(crate) fn choose(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let chosen = self.read("new pass-phrase: ")?;
        if matches!(self, Self::Asked) && ask("the same again: ")? != chosen {
            return Err(Failure::failed("the two pass-phrases differ; nothing was written"));
        }
        let text = Zeroizing::new(String::from_utf8_lossy(&chosen).into_owned());
        if !text.is_empty() && is_weak(&text) {
            eprintln!(
                "warning: this pass-phrase can be guessed by whoever gets the file; several words that nobody \
                 else strings together are better"
            );
        }
        Ok(chosen)
    }
}

/// The identity in a file, which takes about a second.
pub(crate) fn open(file: &Path, passphrase: &[u8]) -> Result<Identity, Failure> {
    let opened = patiently("opening the identity", || identity_file::open(file, passphrase));
    opened.map_err(Failure::failed)
}

fn ask(question: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::misused("nobody can be asked here, so --passphrase-file is needed"));
    }
    prompt::ask(question).map_err(Failure::failed)
}
