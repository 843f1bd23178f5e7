//! Keeps the account of a node's traffic, and lets the node rest when its volume is used.
//!
//! Entry type is [`Keeper`], a thread that looks every second. What is moved in between cannot go beyond
//! the volume: the links know how much is left.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use comm_proto::time::Time;
use rand_core::{OsRng, RngCore};
use thiserror::Error;
use tracing::{info, warn};

use super::Traffic;
use super::account::{Account, Plan, Service};
use super::book::{Book, BookError};
use super::schedule::shown;
use crate::clock::Clock;
use crate::figures::{Figures, Volume};
use crate::metrics;

/// How often it looks.
const PACE: Duration = Duration::from_secs(1);
/// How long links of others may go on once the node rests, so that calls under way come to their end and
/// new ones are told.
const GRACE: Duration = Duration::from_secs(5);

/// A thread that keeps the account. Dropping it writes down exactly what was used.
#[derive(Debug)]
pub(crate) struct Keeper {
    changes: Option<SyncSender<Plan>>,
    thread: Option<JoinHandle<()>>,
}

/// Why there is none.
#[derive(Debug, Error)]
pub enum KeeperError {
    /// The account cannot be read.
    #[error(transparent)]
    Book(#[from] BookError),
    /// The system gives no thread.
    #[error("the system gives no thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// What the keeper looks at and tells.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) traffic: Traffic,
    pub(crate) clock: Arc<Clock>,
    pub(crate) figures: Figures,
}

#[derive(Debug)]
struct Work {
    kept: Kept,
    book: Book,
    plan: Plan,
    account: Account,
    /// What the links had moved at the last look.
    moved: u64,
    /// What was told last.
    service: Service,
    rests_since: Option<Instant>,
    /// Whether the account could be written the last time.
    is_written: bool,
}

impl Keeper {
    /// Goes on with the account in the data directory `dir`. When this returns, the node rests if it
    /// has to.
    ///
    /// # Errors
    /// When there is one that cannot be read, or the system gives no thread.
    pub(crate) fn start(dir: &Path, plan: Plan, kept: Kept) -> Result<Self, KeeperError> {
        let (book, account) = Book::open(dir)?;
        let account = account.unwrap_or_else(|| Account::new(&plan, kept.clock.machine()));
        let moved = kept.traffic.moved();
        let mut work = Work {
            kept,
            book,
            plan,
            account,
            moved,
            service: Service::All,
            rests_since: None,
            is_written: true,
        };
        work.look();
        let (changes, changed) = sync_channel(1);
        let thread = thread::Builder::new()
            .name("traffic".to_owned())
            .spawn(move || work.go_on(&changed))?;
        Ok(Self { changes: Some(changes), thread: Some(thread) })
    }

    /// From now on another plan holds.
    pub(crate) fn change(&self, plan: Plan) {
        if let Some(changes) = &self.changes {
            // The thread has ended only when it panicked, which its own hook has told.
            let _ended = changes.send(plan);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.changes = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed by its own hook; there is nothing to add.
            let _ = thread.join();
        }
    }
}

impl Work {
    fn go_on(mut self, changes: &Receiver<Plan>) {
        loop {
            match changes.recv_timeout(PACE) {
                Ok(plan) => self.plan = plan,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.look();
        }
        self.count();
        let written = self.book.write(&self.account);
        self.note_written(written);
    }

    fn look(&mut self) {
        self.count();
        let period = self.account.period();
        let rested_until = self.account.rests_until();
        self.account.look(&self.plan, self.kept.clock.machine(), OsRng.next_u64());
        let is_other =
            period != self.account.period() || rested_until != self.account.rests_until();
        if is_other || self.book.is_behind(&self.account, &self.plan) {
            let written = self.book.write_ahead(&self.account, &self.plan);
            self.note_written(written);
        }
        self.put_in_force();
        self.tell();
    }

    fn count(&mut self) {
        let moved = self.kept.traffic.moved();
        self.account.spend(moved.saturating_sub(self.moved));
        self.moved = moved;
    }

    fn put_in_force(&mut self) {
        let service = self.account.service(&self.plan);
        let left = self.plan.volume_max.saturating_sub(self.account.used());
        self.kept.traffic.serve(service, self.moved.saturating_add(left));
        if service == Service::All {
            self.rests_since = None;
        } else {
            let since = *self.rests_since.get_or_insert_with(Instant::now);
            self.kept.traffic.end_links(since.elapsed() >= GRACE);
        }
        let before = std::mem::replace(&mut self.service, service);
        if before != service {
            self.log(service);
        }
    }

    fn log(&self, service: Service) {
        let used = self.account.used();
        let until = self.account.rests_until().map(shown).unwrap_or_default();
        match service {
            Service::All => info!("it is awake again: others are served"),
            Service::Own => info!(
                used,
                until, "hibernating: others are not served any more, this relay's own clients are"
            ),
            Service::Nobody => info!(
                used,
                until, "hibernating: traffic.volume_max is used up, and nobody is called any more"
            ),
        }
    }

    fn tell(&self) {
        let Account { period, used, .. } = self.account;
        let volume = Volume {
            max: self.plan.volume_max,
            used,
            ends: period.to,
            rests_until: self.account.rests_until(),
        };
        metrics::volume(&volume);
        self.kept.figures.set_volume(Some(volume));
    }

    fn note_written(&mut self, written: std::io::Result<()>) {
        match written {
            Err(error) if self.is_written => {
                warn!(%error, "the account of traffic cannot be written; a restart may forget some");
                self.is_written = false;
            }
            Err(_) => {}
            Ok(()) => self.is_written = true,
        }
    }
}

/// The plan is gone: everybody is served, and nothing is shown of a volume.
pub(crate) fn lift(kept: &Kept) {
    kept.traffic.serve(Service::All, u64::MAX);
    metrics::volume(&Volume { max: 0, used: 0, ends: Time::ZERO, rests_until: None });
    kept.figures.set_volume(None);
}
