//! Makes batches durable in groups: one fsync for all that gathered while the last one ran.
//!
//! Entry type is [`Syncer`], a thread of its own. It keeps no queue: only the newest batch that
//! was applied matters, since the disk takes everything before it along. It decides nothing about
//! what may be said before the disk has it; that is the node's own rule.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use comm_proto::store::{Seq, StoreError};

use super::RocksStore;
use crate::metrics;
use crate::telemetry::{self, Deed};

/// A thread that syncs the log of a store. Dropping it syncs what is noted and waits for that.
#[derive(Debug)]
pub struct Syncer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<(), StoreError>>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The newest applied batch that no sync covers yet.
    written: Option<Seq>,
    stopping: bool,
}

impl Syncer {
    /// Starts the thread. It calls `report` with the newest batch that each sync made durable, or
    /// once with the failure after which it syncs no more and the node must stop. `report` must not
    /// block: the next sync waits for it.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        store: Arc<RocksStore>,
        report: impl Fn(Result<Seq, StoreError>) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let work = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("store-sync".to_owned())
            .spawn(move || sync_until_stopped(&work, &store, report))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Notes that the batch `seq` and all before it have been applied. Never waits for the disk.
    pub fn written(&self, seq: Seq) {
        let mut state = self.shared.lock();
        state.written = state.written.max(Some(seq));
        self.shared.changed.notify_one();
    }

    /// Syncs and reports what is noted, then ends the thread.
    ///
    /// # Errors
    /// When a sync has failed, the last one included, whose report may reach nobody any more.
    pub fn stop(mut self) -> Result<(), StoreError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), StoreError> {
        self.shared.lock().stopping = true;
        self.shared.changed.notify_one();
        let Some(thread) = self.thread.take() else { return Ok(()) };
        // A panic of the thread has been printed by its own hook; what it left is not known.
        let panicked = |_| Err(StoreError::Disk("the thread that syncs it panicked".to_owned()));
        thread.join().unwrap_or_else(panicked)
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        // Whoever wants to know of a failure calls `stop`.
        let _ = self.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }

    /// Waits for something to sync; `None` when stopping and everything is synced.
    fn next(&self) -> Option<Seq> {
        let mut state = self
            .changed
            .wait_while(self.lock(), |state| state.written.is_none() && !state.stopping)
            .expect("nothing panics while it holds this lock");
        state.written.take()
    }
}

fn sync_until_stopped(
    shared: &Shared,
    store: &RocksStore,
    report: impl Fn(Result<Seq, StoreError>),
) -> Result<(), StoreError> {
    let mut before = Seq::default();
    while let Some(seq) = shared.next() {
        let started = Instant::now();
        let result = store.sync();
        let took = started.elapsed();
        metrics::synced(took);
        let batches = seq.0.saturating_sub(std::mem::replace(&mut before, seq).0);
        let word = if result.is_ok() { "done" } else { "failed" };
        telemetry::note(took, Deed::Synced { batches, result: word });
        report(result.clone().map(|()| seq));
        result?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_sync_that_fails_is_told_to_whoever_stops_the_syncer() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(RocksStore::open(dir.path()).unwrap());
        let syncer = Syncer::start(Arc::clone(&store), |_| {}).unwrap();
        let failure = StoreError::Disk("no space left".to_owned());
        *store.lock_writing() = Err(failure.clone());
        syncer.written(Seq(1));
        assert_eq!(syncer.stop(), Err(failure));
    }
}
