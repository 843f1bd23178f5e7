//! Whose data a command is about that runs no chat: `backup`, `restore`, `forget`.
//!
//! Entry type is [`Whose`], which [`WhoseArguments`] become. The data directory alone is enough, so
//! that nobody has to show their secret to save or remove what is sealed with it.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::arguments::{default_data_dir, only_source};
use crate::command_line::WhoseArguments;
use crate::failure::Failure;
use crate::kept::in_file;
use crate::secret::Source;

/// How the data directory is found.
#[derive(Debug)]
pub(crate) enum Whose {
    Directory(PathBuf),
    Person(Source),
}

impl WhoseArguments {
    pub(crate) fn whose(self, env: Option<OsString>) -> Result<Whose, Failure> {
        let Self { secret, secret_file, identity, passphrase_file, data_dir } = self;
        match data_dir {
            Some(_) if secret.is_some() || secret_file.is_some() || identity.is_some() => {
                Err(Failure::misused(
                    "--data-dir (or COMM_DATA_DIR) names the data, so no secret is needed; leave it out",
                ))
            }
            Some(dir) => Ok(Whose::Directory(dir)),
            None => match identity {
                Some(word) => in_file(&word, passphrase_file).map(Whose::Person),
                None => only_source(secret, secret_file, env).map(Whose::Person),
            },
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

#[cfg(test)]
mod tests {
    use super::*;

    fn whose(secret: Option<&str>, data_dir: Option<&str>) -> Result<Whose, Failure> {
        whose_with(secret, data_dir, None)
    }

    fn whose_with(
        secret: Option<&str>,
        data_dir: Option<&str>,
        env: Option<&str>,
    ) -> Result<Whose, Failure> {
        let (secret, data_dir) = (secret.map(OsString::from), data_dir.map(PathBuf::from));
        let (secret_file, identity, passphrase_file) = (None, None, None);
        WhoseArguments { secret, secret_file, identity, passphrase_file, data_dir }
            .whose(env.map(OsString::from))
    }

    #[test]
    fn of_two_secrets_none_is_taken() {
        let refused = whose_with(Some("hush"), None, Some("quiet"));
        let Err(Failure::Misused(text)) = refused else { panic!("{refused:?}") };
        assert!(text.contains("COMM_SECRET") && !text.contains("hush"), "{text}");
        assert!(matches!(whose_with(None, None, Some("quiet")), Ok(Whose::Person(_))));
    }

    #[test]
    fn a_data_directory_needs_no_secret_and_takes_none() {
        let found = whose(None, Some("/d")).unwrap();
        assert_eq!(found.data_dir().unwrap(), PathBuf::from("/d"));
        let refused = whose(Some("hush"), Some("/d"));
        let Err(Failure::Misused(text)) = refused else { panic!("{refused:?}") };
        assert!(text.contains("leave it out") && !text.contains("hush"), "{text}");
        assert!(matches!(whose(Some("hush"), None), Ok(Whose::Person(Source::Word(_)))));
        assert!(matches!(whose(None, None), Err(Failure::Misused(_))));
    }
}
