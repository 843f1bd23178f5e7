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

/// A thread that syncs the log of a store. Dropping it syncs what is noted and waits for that.
#[derive(Debug)]
pub struct Syncer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
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
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed by its own hook; there is nothing to add.
            let _ = thread.join();
        }
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
) {
    while let Some(seq) = shared.next() {
        let started = Instant::now();
        let result = store.sync();
        metrics::synced(started.elapsed());
        let failed = result.is_err();
        report(result.map(|()| seq));
        if failed {
            return;
        }
    }
}
