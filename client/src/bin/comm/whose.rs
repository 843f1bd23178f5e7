//! Whose data a command is about that runs no chat: `backup`, `restore`, `forget`.
//!
//! Entry type is [`WhoseArguments`], which becomes a [`Whose`]. The data directory alone is enough, so
//! that nobody has to show their secret to save or remove what is sealed with it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::arguments::{default_data_dir, source};
use crate::failure::Failure;
use crate::secret::Source;

#[derive(Debug, Args)]
pub(crate) struct WhoseArguments {
    /// The secret whose usual data directory is meant, or "-" to be asked for it.
    #[arg(hide = true)]
    secret: Option<OsString>,
    /// Read the secret from the first line of this file.
    #[arg(long, value_name = "FILE", conflicts_with = "secret")]
    secret_file: Option<PathBuf>,
    /// The data directory; no secret is needed then.
    #[arg(long, value_name = "DIR", env = "COMM_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

/// How the data directory is found.
#[derive(Debug)]
pub(crate) enum Whose {
    Directory(PathBuf),
    Person(Source),
}

impl WhoseArguments {
    pub(crate) fn whose(self, env: Option<OsString>) -> Result<Whose, Failure> {
        let Self { secret, secret_file, data_dir } = self;
        match data_dir {
            Some(_) if secret.is_some() || secret_file.is_some() => {
                Err(Failure::misused("with --data-dir no secret is needed; leave it out"))
            }
            Some(dir) => Ok(Whose::Directory(dir)),
            None => {
                let mut words = secret.into_iter().collect();
                source(&mut words, secret_file, env).map(Whose::Person)
            }
        }
    }
}

impl Whose {
    /// Where the data is, or would be.
    pub(crate) fn data_dir(&self) -> Result<PathBuf, Failure> {
        match self {
            Self::Directory(dir) => Ok(dir.clone()),
            Self::Person(source) => default_data_dir(source.identity()?.address()),
        }
    }
}
