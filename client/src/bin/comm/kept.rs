//! `comm identity`: identities in files under a pass-phrase, and those that this machine keeps by name.
//!
//! Entry type is [`IdentityOrder`], which [`IdentityCommand`] becomes. Kept files lie in one directory beside the
//! data of all persons; each person's data is sealed with a key of their own, so that none opens another's.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use comm::{identity_file, store};
use comm_proto::identity::KdfParams;

use crate::arguments::{data_home, default_data_dir, only_source};
use crate::command_line::IdentityCommand;
use crate::failure::Failure;
use crate::passphrase::{self, Passphrase};
use crate::said::say;
use crate::secret::{Source, patiently};

/// The longest name of a kept identity.
const NAME_LEN_MAX: usize = 64;
/// How the name of a file that is being written ends.
const UNFINISHED: &str = ".new";

/// What is to be done with an identity file.
#[derive(Debug)]
pub(crate) enum IdentityOrder {
    Export { of: Source, file: PathBuf, passphrase: Passphrase },
    Import { file: PathBuf, to: PathBuf, passphrase: Passphrase },
    Passwd { file: PathBuf, old: Passphrase, new: Passphrase },
    Replace(Box<Replacement>),
    List,
}

/// Who goes on as whom.
#[derive(Debug)]
pub(crate) struct Replacement {
    old: Source,
    data_dir: Option<PathBuf>,
    new: Source,
    new_data_dir: Option<PathBuf>,
}

impl IdentityCommand {
    pub(crate) fn order(self, env: Option<OsString>) -> Result<IdentityOrder, Failure> {
        Ok(match self {
            Self::Export { file, of, passphrase } => IdentityOrder::Export {
                of: only_source(of.secret, of.secret_file, env)?,
                file,
                passphrase: passphrase.passphrase_file.into(),
            },
            Self::Import { file, name, passphrase } => IdentityOrder::Import {
                file,
                to: directory()?.join(checked(&name)?),
                passphrase: passphrase.passphrase_file.into(),
            },
            Self::Passwd { identity, passphrase, new_passphrase_file } => IdentityOrder::Passwd {
                file: find(&identity)?,
                old: passphrase.passphrase_file.into(),
                new: new_passphrase_file.into(),
            },
            Self::Replace {
                new,
                of,
                new_passphrase_file,
                identity,
                passphrase,
                data_dir,
                new_data_dir,
            } => IdentityOrder::Replace(Box::new(Replacement {
                old: match identity {
                    Some(word) => in_file(&word, passphrase.passphrase_file)?,
                    None => only_source(of.secret, of.secret_file, env)?,
                },
                data_dir,
                new: in_file(&new, new_passphrase_file)?,
                new_data_dir,
            })),
            Self::List => IdentityOrder::List,
        })
    }
}

impl IdentityOrder {
    pub(crate) fn obey(self) -> Result<(), Failure> {
        match self {
            Self::Export { of, file, passphrase } => {
                let identity = of.identity()?;
                let chosen = passphrase.choose()?;
                patiently("writing the identity", || {
                    identity_file::create(&file, &identity, &chosen, &KdfParams::STANDARD)
                })
                .map_err(Failure::failed)?;
                say(&format!(
                    "{} is in {}; contacts and history are not, see comm backup\n",
                    identity.address(),
                    file.display()
                ))
            }
            Self::Import { file, to, passphrase } => {
                let passphrase =
                    passphrase.read(&format!("pass-phrase of {}: ", file.display()))?;
                let identity = passphrase::open(&file, &passphrase)?;
                patiently("writing the identity", || {
                    identity_file::create(&to, &identity, &passphrase, &KdfParams::STANDARD)
                })
                .map_err(Failure::failed)?;
                let name = to.file_name().unwrap_or_default().display();
                say(&format!(
                    "{} is kept as {name}: comm --identity {name} ADDR; contacts and history come from a backup alone\n",
                    identity.address()
                ))
            }
            Self::Passwd { file, old, new } => {
                let old = old.read(&format!("pass-phrase of {}: ", file.display()))?;
                passphrase::open(&file, &old)?;
                let new = new.choose()?;
                patiently("writing the identity", || {
                    identity_file::change_passphrase(&file, &old, &new, &KdfParams::STANDARD)
                })
                .map_err(Failure::failed)?;
                say(&format!(
                    "{} has the new pass-phrase; copies of it elsewhere have the old one\n",
                    file.display()
                ))
            }
            Self::Replace(replacement) => replacement.obey(),
            Self::List => names()?.iter().try_for_each(|name| say(&format!("{name}\n"))),
        }
    }
}

impl Replacement {
    fn obey(self) -> Result<(), Failure> {
        let (old, new) = (self.old.identity()?, self.new.identity()?);
        let place =
            |dir: Option<PathBuf>, address| dir.map_or_else(|| default_data_dir(address), Ok);
        let from = place(self.data_dir, old.address())?;
        let to = place(self.new_data_dir, new.address())?;
        let done = store::go_on((&from, &old), (&to, &new)).map_err(Failure::failed)?;
        say(&format!(
            "{} goes on as {}, with the data in {}\ncontacts to be told once it is online: {}; do not write as the old one any more\n{}",
            old.address(),
            new.address(),
            to.display(),
            done.to_tell,
            about_rooms(done.owned_rooms)
        ))
    }
}

/// Rooms are not handed over, and whoever has a stolen key goes on in them.
fn about_rooms(owned: usize) -> String {
    match owned {
        0 => String::new(),
        owned => format!(
            "rooms of which the old one is the owner: {owned}; nobody can put it out, so found them anew if its key is in wrong hands\n"
        ),
    }
}

/// The identity in a file, with the pass-phrase that opens it.
pub(crate) fn in_file(word: &OsStr, passphrase_file: Option<PathBuf>) -> Result<Source, Failure> {
    Ok(Source::Identity { file: find(word)?, passphrase: passphrase_file.into() })
}

/// The file that a word means: a name of a kept identity, or, with a slash in it or else if there is none, a path.
pub(crate) fn find(word: &OsStr) -> Result<PathBuf, Failure> {
    let name = word.to_str().filter(|word| checked(word).is_ok());
    let kept = name.and_then(|name| Some(directory().ok()?.join(name)));
    Ok(kept.filter(|file| file.exists()).unwrap_or_else(|| word.into()))
}

fn directory() -> Result<PathBuf, Failure> {
    Ok(data_home()?.join("identities"))
}

/// A name that is one of a file, does not hide, and is none of a file that is being written.
fn checked(name: &str) -> Result<&str, Failure> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let fits = (1..=NAME_LEN_MAX).contains(&name.len()) && name.chars().all(is_plain);
    if fits && !name.starts_with(['.', '-']) && !name.ends_with(UNFINISHED) {
        return Ok(name);
    }
    Err(Failure::misused(format!(
        "a name has 1 to {NAME_LEN_MAX} of the letters a to z, digits, \"-\", \"_\" and \".\", and begins with a letter or digit"
    )))
}

fn names() -> Result<Vec<String>, Failure> {
    let directory = directory()?;
    let failed = |error| Failure::failed(format!("cannot read {}: {error}", directory.display()));
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name().into_string();
        names.extend(name.ok().filter(|name| checked(name).is_ok()));
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_of_a_file_in_its_directory() {
        for good in ["ann", "work-2", "a.b_c", "9"] {
            assert_eq!(checked(good), Ok(good));
        }
        for bad in ["", "..", ".ann", "-n", "a/b", "a b", "ann.new", "ü", &"x".repeat(65)] {
            assert!(matches!(checked(bad), Err(Failure::Misused(_))), "{bad}");
        }
    }
}
