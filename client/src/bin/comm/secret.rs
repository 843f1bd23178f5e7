//! Where a secret comes from, how strong it is, and what it stands for.
//!
//! Entry type is [`Source`]. A secret is taken byte for byte, but for the end of
//! its line; it is never shown and never logged.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use comm_proto::identity::{Identity, SECRET_LEN_MAX};
use comm_proto::key::KeyPair;
use rand_core::{OsRng, RngCore};
use zeroize::Zeroizing;
use zxcvbn::zxcvbn;

use crate::failure::Failure;
use crate::passphrase::Passphrase;
use crate::prompt;

/// Where the environment may have the secret.
pub(crate) const SECRET_ENV: &str = "COMM_SECRET";
/// What a secret that is the key itself begins with.
const SEED: &str = "seed:";
/// Letters and digits that cannot be taken for each other.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Groups of [`GROUP_LEN`] letters, five bits each: 140 bits.
const GROUPS: usize = 7;
const GROUP_LEN: usize = 4;
/// Guesses that a secret should take, as a power of ten. A guess takes a core about a second, and is
/// tried on everybody at once.
const GUESSES_LOG10: f64 = 12.0;

/// Where the secret comes from.
pub(crate) enum Source {
    /// A word of the call, which others can see.
    Word(Zeroizing<Vec<u8>>),
    /// The variable [`SECRET_ENV`].
    Environment(Zeroizing<Vec<u8>>),
    /// The first line of a file.
    File(PathBuf),
    /// The person, or standard input if it is no terminal.
    Prompt,
    /// A file that holds the identity itself, under a pass-phrase.
    Identity { file: PathBuf, passphrase: Passphrase },
}

impl Source {
    /// The identity of the secret, which is wiped. Says so if the secret could be guessed.
    pub(crate) fn identity(&self) -> Result<Identity, Failure> {
        let secret = match self {
            Self::Word(secret) | Self::Environment(secret) => secret.clone(),
            Self::File(path) => read_file(path)?,
            Self::Prompt if io::stdin().is_terminal() => {
                prompt::ask("secret: ").map_err(Failure::failed)?
            }
            Self::Prompt => first_line(io::stdin().lock()).map_err(Failure::failed)?,
            Self::Identity { file, passphrase } => return passphrase.open(file),
        };
        warn_if_weak(&secret);
        identity(&secret)
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Word(_) => "Word",
            Self::Environment(_) => "Environment",
            Self::File(_) => "File",
            Self::Prompt => "Prompt",
            Self::Identity { .. } => "Identity",
        })
    }
}

/// The identity that a secret stands for. Takes about a second, which a person is told.
fn identity(secret: &[u8]) -> Result<Identity, Failure> {
    if let Some(seed) = seed(secret)? {
        return Ok(Identity::from_seed(&seed));
    }
    patiently("making the key from the secret", || Identity::derive(secret))
        .map_err(Failure::failed)
}

/// Does what takes about a second; a person is told meanwhile.
pub(crate) fn patiently<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let shows = io::stderr().is_terminal();
    if shows {
        eprint!("{what} ...");
        let _unflushed = io::stderr().flush();
    }
    let done = work();
    if shows {
        eprint!("\r\x1b[K");
    }
    done
}

/// Says so if a secret could be guessed.
fn warn_if_weak(secret: &[u8]) {
    let is_key = secret.starts_with(SEED.as_bytes());
    let text = Zeroizing::new(String::from_utf8_lossy(secret).into_owned());
    if !is_key && is_weak(&text) {
        eprintln!(
            "warning: this secret can be guessed, and whoever guesses it is you; `comm keygen` \
             prints a strong one"
        );
    }
}

/// A secret of 140 random bits, to be written down; or a key itself.
pub(crate) fn draw(raw: bool) -> Zeroizing<String> {
    if raw {
        let mut seed = Zeroizing::new([0; KeyPair::SEED_LEN]);
        OsRng.fill_bytes(&mut *seed);
        return Zeroizing::new(format!("{SEED}{}", &*Zeroizing::new(hex::encode(*seed))));
    }
    let mut bytes = Zeroizing::new([0; GROUPS * GROUP_LEN]);
    OsRng.fill_bytes(&mut *bytes);
    let mut secret = Zeroizing::new(String::with_capacity(GROUPS * (GROUP_LEN + 1)));
    for (at, byte) in bytes.iter().enumerate() {
        if at > 0 && at % GROUP_LEN == 0 {
            secret.push('-');
        }
        // 32 divides 256: all letters are equally likely.
        secret.push(char::from(ALPHABET[usize::from(byte % 32)]));
    }
    secret
}

/// Whether a few machines could try all likelier secrets in a year.
pub(crate) fn is_weak(secret: &str) -> bool {
    // The work grows with the length, and what is this long is not weak by being short.
    let begin: String = secret.chars().take(100).collect();
    zxcvbn(&Zeroizing::new(begin), &["comm"]).guesses_log10() < GUESSES_LOG10
}

fn seed(secret: &[u8]) -> Result<Option<Zeroizing<[u8; KeyPair::SEED_LEN]>>, Failure> {
    let Some(digits) = secret.strip_prefix(SEED.as_bytes()) else { return Ok(None) };
    let mut seed = Zeroizing::new([0; KeyPair::SEED_LEN]);
    hex::decode_to_slice(digits, &mut *seed).map_err(|_| {
        Failure::misused("a secret that begins with \"seed:\" goes on with 64 hexadecimal digits")
    })?;
    Ok(Some(seed))
}

pub(crate) fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |error| Failure::failed(format!("cannot read {}: {error}", path.display()));
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        eprintln!(
            "warning: other users can read {}; run `chmod 600 {}`",
            path.display(),
            path.display()
        );
    }
    first_line(BufReader::new(file)).map_err(failed)
}

fn first_line(reader: impl BufRead) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(SECRET_LEN_MAX + 2));
    reader.take(SECRET_LEN_MAX as u64 + 2).read_until(b'\n', &mut line)?;
    if line.ends_with(b"\n") {
        line.pop();
    }
    if line.ends_with(b"\r") {
        line.pop();
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_secret_is_strong_and_never_the_same() {
        let (one, other) = (draw(false), draw(false));
        assert_ne!(one, other);
        assert_eq!(one.len(), GROUPS * (GROUP_LEN + 1) - 1);
        assert!(one.bytes().all(|byte| byte == b'-' || ALPHABET.contains(&byte)));
        assert!(!is_weak(&one));
    }

    #[test]
    fn a_drawn_key_is_read_back_as_a_key() {
        let key = draw(true);
        assert!(seed(key.as_bytes()).unwrap().is_some());
        let same = || identity(key.as_bytes()).unwrap().address();
        assert_eq!(same(), same());
    }

    #[test]
    fn a_key_with_other_than_64_digits_is_refused_and_not_shown() {
        for wrong in ["seed:", "seed:12", "seed:zz"] {
            let error = identity(wrong.as_bytes()).unwrap_err();
            assert!(matches!(error, Failure::Misused(_)), "{wrong}");
        }
        assert_eq!(seed(b"seedling").unwrap(), None);
    }

    #[test]
    fn common_secrets_are_weak() {
        for weak in ["", "password", "qwertz123", "ann", "correct horse"] {
            assert!(is_weak(weak), "{weak}");
        }
    }

    #[test]
    fn only_the_end_of_the_line_is_no_part_of_a_secret() {
        let read = |text: &[u8]| first_line(text).unwrap().to_vec();
        assert_eq!(read(b" pass word \r\nmore"), b" pass word ");
        assert_eq!(read(b"pass"), b"pass");
        assert_eq!(read(b"\xff\xfe\n"), b"\xff\xfe");
    }

    #[test]
    fn a_source_shows_no_secret() {
        let source = Source::Word(Zeroizing::new(b"hush".to_vec()));
        assert!(!format!("{source:?}").contains("hush"));
    }
}
