//! The account of a node's traffic on its disk.
//!
//! Entry type is [`Book`]. The file is replaced as a whole, and says more than was used: a node that
//! crashes counts from there, so that it never moves more than it may, and loses at most [`step`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use comm_proto::time::Time;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::account::{Account, Plan};
use super::schedule::Period;
use crate::data_dir::{account_path, replace_file};

/// What a crash loses, at the least and at the most, and otherwise as a part of the volume.
const STEP: (u64, u64) = (1 << 20, 64 << 20);
const STEP_PART: u64 = 256;

/// An account's file.
#[derive(Debug)]
pub(crate) struct Book {
    path: PathBuf,
    /// What the file says was used.
    upto: Option<u64>,
}

/// Why an account cannot be read.
#[derive(Debug, Error)]
pub enum BookError {
    /// The system refuses.
    #[error("cannot read the account of this period's traffic, {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no account.
    #[error(
        "{} is damaged; remove it, and the relay takes it that nothing was moved in this period",
        .0.display()
    )]
    Damaged(PathBuf),
}

/// What is in the file. Times are milliseconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    period_from: u64,
    period_to: u64,
    used: u64,
    awake_since: u64,
    rests_until: Option<u64>,
    before: Option<Before>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Before {
    from: u64,
    used: u64,
}

impl Book {
    /// That of the data directory `dir`, and the account in it, if there is one.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Option<Account>), BookError> {
        let path = account_path(dir);
        let account = match fs::read_to_string(&path) {
            Ok(text) => Some(read(&text).ok_or_else(|| BookError::Damaged(path.clone()))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(BookError::Unreadable { path, source }),
        };
        let upto = account.as_ref().map(Account::used);
        Ok((Self { path, upto }, account))
    }

    /// Whether a node could begin with the account in the data directory, or copy of one, `dir`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn look_at(dir: &Path) -> Result<(), BookError> {
        Self::open(dir).map(drop)
    }

    /// Whether so little is left of what the file has ahead that it should be written.
    pub(crate) fn is_behind(&self, account: &Account, plan: &Plan) -> bool {
        self.upto.is_none_or(|upto| account.used().saturating_add(step(plan) / 2) > upto)
    }

    /// Writes down that a step more was used than `account` says.
    pub(crate) fn write_ahead(&mut self, account: &Account, plan: &Plan) -> io::Result<()> {
        let mut ahead = *account;
        ahead.spend(step(plan));
        self.write(&ahead)
    }

    /// Writes down what `account` says: nothing more will be moved.
    pub(crate) fn write(&mut self, account: &Account) -> io::Result<()> {
        let text = toml::to_string(&Page::from(account)).map_err(io::Error::other)?;
        replace_file(&self.path, text.as_bytes())?;
        self.upto = Some(account.used());
        Ok(())
    }
}

/// How many bytes of the volume a crash loses at the most.
fn step(plan: &Plan) -> u64 {
    (plan.volume_max / STEP_PART).clamp(STEP.0, STEP.1)
}

impl From<&Account> for Page {
    fn from(account: &Account) -> Self {
        // The form of the file has no larger numbers.
        let number = |number: u64| number.min(i64::MAX as u64);
        let millis = |at: Time| number(at.as_millis());
        Self {
            period_from: millis(account.period.from),
            period_to: millis(account.period.to),
            used: number(account.used),
            awake_since: millis(account.awake_since),
            rests_until: account.rests_until.map(millis),
            before: account
                .before
                .map(|(from, used)| Before { from: millis(from), used: number(used) }),
        }
    }
}

fn read(text: &str) -> Option<Account> {
    let page: Page = toml::from_str(text).ok()?;
    let at = Time::from_millis;
    let period = Period { from: at(page.period_from), to: at(page.period_to) };
    (period.from < period.to).then(|| Account {
        period,
        used: page.used,
        before: page.before.map(|before| (at(before.from), before.used)),
        awake_since: at(page.awake_since),
        rests_until: page.rests_until.map(at),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::traffic::schedule::Schedule;

    const PLAN: Plan = Plan { volume_max: 1 << 30, schedule: Schedule::MONTHLY };

    fn account() -> Account {
        let mut account = Account::new(&PLAN, Time::from_millis(1_764_000_000_000));
        account.spend(1 << 30);
        account.look(&PLAN, Time::from_millis(1_764_000_000_000), 9);
        account.look(&PLAN, Time::from_millis(1_768_000_000_000), 9);
        account.spend(5);
        account
    }

    #[test]
    fn what_is_written_reads_back_and_a_crash_counts_a_step_more() {
        let dir = tempfile::tempdir().unwrap();
        let (mut book, none) = Book::open(dir.path()).unwrap();
        assert_eq!(none, None);
        let account = account();
        assert!(book.is_behind(&account, &PLAN));
        book.write(&account).unwrap();
        assert_eq!(Book::open(dir.path()).unwrap().1, Some(account));
        book.write_ahead(&account, &PLAN).unwrap();
        assert!(!book.is_behind(&account, &PLAN));
        let found = Book::open(dir.path()).unwrap().1.unwrap();
        assert_eq!(found.used(), account.used() + (4 << 20));
        let mode = fs::metadata(account_path(dir.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }

    #[test]
    fn a_damaged_account_is_named_and_not_taken_for_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        for text in
            ["", "used = 1\n", "period_from = 2\nperiod_to = 1\nused = 0\nawake_since = 0\n"]
        {
            fs::write(account_path(dir.path()), text).unwrap();
            let error = Book::open(dir.path()).unwrap_err().to_string();
            assert!(error.contains("traffic.account is damaged; remove it"), "{error}");
        }
    }
}
