//! The one thread that writes.
//!
//! Entry type is [`Writer`]. All batches that wait are made durable by one commit. When the disk
//! fails it ends: what follows must not become durable without what went before.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use comm_proto::agent::Drawer;
use comm_proto::store::{Batch, Seq, StoreError, Write};
use redb::{Database, ReadableDatabase, WriteTransaction};
use tokio::sync::{mpsc, oneshot, watch};

use super::seal::Seal;
use super::{Snapshot, definition, failed, scrub};

/// Batches that may wait, and the most that one commit takes.
const BATCHES_MAX: usize = 256;

/// Hands batches to its thread.
#[derive(Debug)]
pub(super) struct Writer {
    work: mpsc::Sender<Work>,
    reports: watch::Receiver<Report>,
    thread: JoinHandle<()>,
}

/// What the thread is given, in order.
pub(super) enum Work {
    /// To be made durable.
    Batch(Batch<Drawer>),
    /// To be told of everything before it, once that is durable.
    Snapshot(oneshot::Sender<Snapshot>),
}

/// How far the disk has come, or why it will not go further.
type Report = Result<Seq, StoreError>;

/// Tells when batches are durable.
#[derive(Clone, Debug)]
pub struct Durability(watch::Receiver<Report>);

impl Durability {
    /// Waits until the disk has more than was told last; up to which batch. Nothing is lost when
    /// this is dropped before it has finished.
    ///
    /// # Errors
    /// When the disk has failed or the store was closed.
    pub async fn next(&mut self) -> Result<Seq, StoreError> {
        match self.0.changed().await {
            Ok(()) => self.0.borrow_and_update().clone(),
            Err(_) => Err(ended(&self.0)),
        }
    }
}

impl Writer {
    pub(super) fn start(db: Arc<Database>, seal: Arc<Seal>) -> Self {
        let (work, waiting) = mpsc::channel(BATCHES_MAX);
        let (report, reports) = watch::channel(Ok(Seq(0)));
        let thread = thread::spawn(move || run(&db, &seal, waiting, &report));
        Self { work, reports, thread }
    }

    pub(super) async fn send(&self, work: Work) -> Result<(), StoreError> {
        self.work.send(work).await.map_err(|_| ended(&self.reports))
    }

    pub(super) fn durability(&self) -> Durability {
        Durability(self.reports.clone())
    }

    pub(super) async fn finish(self) -> Result<(), StoreError> {
        let Self { work, reports, thread } = self;
        drop(work);
        let joined = tokio::task::spawn_blocking(move || thread.join().is_ok()).await;
        match joined {
            Ok(true) => reports.borrow().clone().map(|_| ()),
            _ => Err(StoreError::Disk("the writer ended unexpectedly".to_owned())),
        }
    }
}

fn ended(reports: &watch::Receiver<Report>) -> StoreError {
    let last = reports.borrow().clone().err();
    last.unwrap_or_else(|| StoreError::Disk("the store has stopped".to_owned()))
}

fn run(
    db: &Database,
    seal: &Seal,
    mut waiting: mpsc::Receiver<Work>,
    report: &watch::Sender<Report>,
) {
    while let Some(first) = waiting.blocking_recv() {
        let (mut group, mut asked) = (Vec::new(), None);
        let mut next = Some(first);
        while let Some(work) = next.take() {
            match work {
                Work::Batch(batch) => group.push(batch),
                Work::Snapshot(reply) => asked = Some(reply),
            }
            // What comes after a question is no part of its answer.
            if group.len() < BATCHES_MAX && asked.is_none() {
                next = waiting.try_recv().ok();
            }
        }
        if let Some(last) = group.last().map(|batch| batch.seq) {
            let result = commit(db, seal, &group).map(|()| last).map_err(|error| failed(&error));
            let goes_on = result.is_ok();
            let _earlier = report.send_replace(result);
            if !goes_on {
                return;
            }
        }
        // Without an answer whoever asked learns that there is none.
        if let Some(reply) = asked
            && let Ok(read) = db.begin_read()
        {
            let _gone = reply.send(Snapshot::new(read));
        }
    }
}

fn commit(db: &Database, seal: &Seal, group: &[Batch<Drawer>]) -> Result<(), redb::Error> {
    let transaction = db.begin_write()?;
    for write in group.iter().flat_map(|batch| &batch.writes) {
        apply(&transaction, seal, write)?;
    }
    if group.iter().flat_map(|batch| &batch.writes).any(scrub::removes) {
        scrub::note_due(&transaction)?;
    }
    transaction.commit()?;
    Ok(())
}

fn apply(
    transaction: &WriteTransaction,
    seal: &Seal,
    write: &Write<Drawer>,
) -> Result<(), redb::Error> {
    match write {
        Write::Put { table, key, value } => {
            let sealed = seal.seal(table.name(), key, value);
            transaction.open_table(definition(*table))?.insert(&key[..], &sealed[..])?;
        }
        Write::Delete { table, key } => {
            transaction.open_table(definition(*table))?.remove(&key[..])?;
        }
        Write::DeleteRange { table, from, to } if from < to => {
            let mut rows = transaction.open_table(definition(*table))?;
            rows.retain_in(&from[..]..&to[..], |_, _| false)?;
        }
        Write::DeleteRange { .. } => {}
    }
    Ok(())
}
