//! The only owner of the state machine: a thread that hands it inputs and does what it says.
//!
//! Entry type is [`Driver`]. One input, then every output, in order; the node's own completions
//! before timers, timers before what clients want, clients before other nodes. It decodes nothing
//! and verifies nothing: services do that in parallel before they use the [`inbox::Inbox`]. It
//! waits for the disk only where reads and writes are cheap; the syncer waits for the rest.

pub mod inbox;
mod recipients;
pub mod streams;
pub mod work;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use comm_proto::contact::Contact;
use comm_proto::key::{KeyPair, PublicKey};
use comm_proto::message::{ClientRequest, Request};
use comm_proto::node::{
    CallId, Command, Config, Event, Family, Input, Node, Output, RequestId, SessionId, Stats,
};
use comm_proto::rejection::Rejection;
use comm_proto::store::{Batch, Seq, StoreError};
use comm_proto::time::{Span, Time};
use rand_core::{OsRng, RngCore};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tracing::{debug, error, info, warn};

use crate::clock::Clock;
use crate::drain::Drains;
use crate::figures::Figures;
use crate::links::dial::Peers;
use crate::metrics::{self, Observer};
use crate::service_manager::ServiceManager;
use crate::store::RocksStore;
use crate::store::syncer::Syncer;
use crate::telemetry::{self, Deed};
use crate::traffic::schedule::shown;

use inbox::{Admission, Budget, Inbox, Turn};
use recipients::{Recipients, Waiter};
use work::{ClientReplyTo, ClientWork, NO_SESSION, Own, PeerWork};

/// How much of what others want is taken up before the node's own completions are looked at again.
const BUDGET: Budget = Budget { clients: 128, peers: 64 };
/// Batches after which the syncer is told in the middle of a turn, so that the disk does not idle.
const BATCHES_UNSYNCED_MAX: u32 = 32;
/// The longest sleep: a machine's clock that jumps is noticed after this.
const SLEEP_MAX: Duration = Duration::from_secs(5);
/// How often counters are published.
const STATS_EVERY: Duration = Duration::from_secs(1);
/// How long what has been begun may go on once the node is told to stop.
const GRACE: Duration = Duration::from_secs(3);

/// What a driver needs.
#[derive(Debug)]
pub struct Host {
    /// The node's bounds and intervals.
    pub config: Config,
    /// The node's key.
    pub key: KeyPair,
    /// Its disk.
    pub store: Arc<RocksStore>,
    /// Its time.
    pub clock: Arc<Clock>,
    /// Where services put what is for it.
    pub inbox: Inbox,
    /// Its links to other nodes.
    pub peers: Peers,
    /// Who is to know that the loop turns.
    pub manager: ServiceManager,
    /// What its owner is shown.
    pub figures: Figures,
    /// Who is to know how handing over goes.
    pub drains: Drains,
}

/// A driver at work; it goes on until the inbox is told to stop or the disk fails. Dropping it waits
/// for the end, so tell the inbox before.
#[derive(Debug)]
pub struct Running {
    result: oneshot::Receiver<Result<(), DriverError>>,
    thread: Option<JoinHandle<()>>,
}

/// Why a driver ended or never began.
#[derive(Debug, Error)]
pub enum DriverError {
    /// The node's disk failed; nothing it has promised is taken back.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The machine's clock was set back; a node that begins anew from the same store goes by it.
    #[error("this machine's clock was set back by more than 20 minutes; start the node again")]
    ClockSetBack,
    /// The system gives no thread.
    #[error("the system gives no thread: {0}")]
    Thread(#[from] io::Error),
    /// The thread came to an unexpected end.
    #[error("the driver came to an unexpected end")]
    Panicked,
}

/// The loop around a node.
#[derive(Debug)]
pub struct Driver {
    node: Node,
    store: Arc<RocksStore>,
    syncer: Syncer,
    clock: Arc<Clock>,
    now: Time,
    inbox: Inbox,
    peers: Peers,
    manager: ServiceManager,
    figures: Figures,
    drains: Drains,
    runtime: Handle,
    recipients: Recipients,
    /// Inputs that follow from outputs; at most one for each stream.
    consequences: VecDeque<Input>,
    written: Option<Seq>,
    batches_unsynced: u32,
    observer: Observer,
    stats_at: Instant,
    stop_at: Option<Instant>,
}

impl Driver {
    /// Recovers the node from its store, which takes seconds when it is full and holds up no other
    /// task, and starts its thread. To be called on a runtime.
    ///
    /// # Errors
    /// When the store cannot be read or the system gives no thread.
    pub async fn start(host: Host) -> Result<Running, DriverError> {
        let (ended, result) = oneshot::channel();
        let recovered = spawn_blocking(move || Self::new(host)).await;
        let driver = recovered.map_err(|_| DriverError::Panicked)??;
        let thread = thread::Builder::new().name("driver".to_owned()).spawn(move || {
            let result = driver.run();
            if let Err(DriverError::Store(error)) = &result {
                error!(%error, "the store failed; the node stops");
            }
            // Nobody listens when the whole process is ending.
            let _ = ended.send(result);
        })?;
        Ok(Running { result, thread: Some(thread) })
    }

    fn new(host: Host) -> Result<Self, DriverError> {
        let Host { config, key, store, clock, inbox, peers, manager, figures, drains } = host;
        let mut seed = [0; 32];
        OsRng.fill_bytes(&mut seed);
        let now = clock.now();
        let node = Node::new(config, key, seed, &*store, now)?;
        // Whatever clock an earlier node of this process went by.
        metrics::clock_ahead(0);
        let reports = inbox.clone();
        let syncer = Syncer::start(Arc::clone(&store), move |result| reports.synced(result))?;
        Ok(Self {
            node,
            store,
            syncer,
            clock,
            now,
            inbox,
            peers,
            manager,
            figures,
            drains,
            runtime: Handle::current(),
            recipients: Recipients::default(),
            consequences: VecDeque::new(),
            written: None,
            batches_unsynced: 0,
            observer: Observer::default(),
            stats_at: Instant::now(),
            stop_at: None,
        })
    }

    fn run(mut self) -> Result<(), DriverError> {
        // However this ends, nobody must wait for an answer that never comes.
        let _closing = Closing(self.inbox.clone(), self.peers.clone());
        let ended = self.go_on();
        // What the last sync failed to take must not be found in the store as if it were safe.
        let synced = self.syncer.stop();
        match (ended, synced) {
            (Ok(()) | Err(DriverError::ClockSetBack), Err(failure)) => Err(failure.into()),
            (ended, _) => ended,
        }
    }

    fn go_on(&mut self) -> Result<(), DriverError> {
        self.drain()?;
        self.settle()?;
        let mut turn = Turn::default();
        loop {
            self.inbox.take(&mut turn, BUDGET, Some(self.wake_at()));
            self.manager.alive();
            if let Some(failure) = turn.failure.take() {
                return Err(failure.into());
            }
            if turn.admission == Admission::Open && self.clock.must_begin_again() {
                // What a node has timed by a clock that was ahead would be due that much too late.
                return Err(DriverError::ClockSetBack);
            }
            self.now = self.clock.now();
            if let Some(leap) = self.clock.take_leap() {
                warn!(
                    minutes = minutes(leap),
                    "this machine's clock was set ahead, or the machine slept: what is over by the \
                     new time is removed in three hours and not before"
                );
            }
            self.take_turn(&mut turn)?;
            if self.is_finished(turn.admission) {
                return Ok(());
            }
        }
    }

    fn take_turn(&mut self, turn: &mut Turn) -> Result<(), StoreError> {
        if let Some(seq) = turn.durable.take() {
            self.handle(Input::Durable(seq))?;
            self.answer_calls();
        }
        if let Some(bytes) = turn.disk_taken.take() {
            self.handle(Input::DiskTaken { bytes })?;
        }
        for own in turn.own.drain(..) {
            self.on_own(own)?;
        }
        if self.node.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
            self.handle(Input::Tick)?;
        }
        for work in turn.clients.drain(..) {
            self.on_client_work(work)?;
        }
        for work in turn.peers.drain(..) {
            self.on_peer_work(work)?;
        }
        self.settle()
    }

    /// What is left to do at the end of a turn.
    fn settle(&mut self) -> Result<(), StoreError> {
        self.tell_syncer();
        self.answer_calls();
        if self.stats_at <= Instant::now() {
            self.stats_at = Instant::now() + STATS_EVERY;
            self.publish();
        }
        Ok(())
    }

    fn publish(&mut self) {
        let stats = self.node.stats();
        self.observer.observe(&stats);
        self.figures.set_stats(stats);
        self.peers.set_has_clients(stats.sessions > 0 || stats.held.own > 0);
        let standing = self.node.standing(self.now);
        metrics::stands(&standing);
        self.figures.set_standing(&standing);
        self.tell_handover();
        self.manager.status(|| {
            let Stats { peers, envelopes, .. } = stats;
            let known = format!("{peers} relays known, {envelopes} envelopes stored");
            let until =
                self.figures.rests_until().map(|at| format!(", hibernating until {}", shown(at)));
            known + &until.unwrap_or_default()
        });
    }

    fn on_own(&mut self, own: Own) -> Result<(), StoreError> {
        match own {
            Own::Response { id, result } => self.handle(Input::Response { id, result }),
            Own::DialledBack { id, outcomes } => self.handle(Input::DialledBack { id, outcomes }),
            Own::ListenerOpened { peer, stream, pushes } => {
                self.recipients.open_listener(peer, stream, pushes);
                self.handle(Input::ListenerOpened { peer })
            }
            Own::ListenerClosed { peer, stream, permit: _ } => {
                let closed = self.recipients.close_listener(&peer, stream);
                self.handle_some(closed.then_some(Input::ListenerClosed { peer }))
            }
            Own::ListenOpened { to } => self.handle(Input::ListenOpened { to }),
            Own::ListenClosed { to } => self.handle(Input::ListenClosed { to }),
            Own::SessionOpened { session, outlet } => {
                self.recipients.open_session(session, outlet);
                Ok(())
            }
            Own::SessionClosed { session, permit: _ } => {
                let closed = self.recipients.close_session(session);
                self.handle_some(closed.then_some(Input::SessionClosed { session }))
            }
            Own::Credit { session, envelopes } => self.on_credit(session, envelopes),
            Own::Command(command) => self.on_command(command),
        }
    }

    fn on_command(&mut self, command: Command) -> Result<(), StoreError> {
        let stays = command == Command::Stay;
        self.tell_handover();
        self.handle(Input::Command(command))?;
        if stays {
            self.drains.was_cancelled();
        }
        self.tell_handover();
        Ok(())
    }

    /// How far handing over is, while it is under way.
    fn tell_handover(&self) {
        self.node.handover().into_iter().for_each(|handover| self.drains.goes_on(handover));
    }

    fn on_credit(&mut self, session: SessionId, envelopes: u32) -> Result<(), StoreError> {
        if !self.recipients.has_session(session) {
            return Ok(());
        }
        // Nobody waits for the answer: an id that nobody has asked under.
        let id = self.recipients.draw();
        let request = ClientRequest::Credit { envelopes };
        self.handle(Input::ClientRequest { id, session, request })
    }

    fn on_client_work(&mut self, work: ClientWork) -> Result<(), StoreError> {
        let ClientWork { session, request, reply } = work;
        // Its stream has ended meanwhile, and what it asks now would never be cleared away.
        if session != NO_SESSION && !self.recipients.has_session(session) {
            return Ok(());
        }
        let id = self.recipients.expect(match reply {
            ClientReplyTo::Call(reply) => Waiter::Client(reply),
            ClientReplyTo::Session(tag) => Waiter::Session(session, tag),
        });
        self.handle(Input::ClientRequest { id, session, request })
    }

    fn on_peer_work(&mut self, work: PeerWork) -> Result<(), StoreError> {
        match work {
            PeerWork::Request { from, source, request, reply } => {
                let id = self.recipients.expect(Waiter::Peer(reply));
                self.handle(Input::Request { id, from, source, known: None, request })
            }
            PeerWork::Push { from, push } => self.handle(Input::Push { from, push }),
        }
    }

    fn handle_some(&mut self, input: Option<Input>) -> Result<(), StoreError> {
        input.map_or(Ok(()), |input| self.handle(input))
    }

    /// One input and all that follows from it.
    fn handle(&mut self, input: Input) -> Result<(), StoreError> {
        self.node.handle(input, &*self.store, self.now)?;
        self.drain()?;
        while let Some(input) = self.consequences.pop_front() {
            self.node.handle(input, &*self.store, self.now)?;
            self.drain()?;
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), StoreError> {
        while let Some(output) = self.node.poll_output() {
            self.execute(output)?;
        }
        Ok(())
    }

    fn execute(&mut self, output: Output) -> Result<(), StoreError> {
        match output {
            Output::Write(batch) => self.write(batch)?,
            Output::Call { id, to, request, deadline } => self.call(id, to, request, deadline),
            Output::DialBack { id, key, endpoints, deadline } => {
                self.dial_back(id, key, endpoints, deadline);
            }
            Output::Reply { id, result } => self.recipients.reply(id, result),
            Output::Listen { to, open } => self.peers.listen(&to, open),
            Output::Push { to, push } => {
                self.consequences.extend(self.recipients.push(&to, push));
            }
            Output::ClientReply { id, result } => {
                self.consequences.extend(self.recipients.client_reply(id, result));
            }
            Output::ClientPush { session, push } => {
                self.consequences.extend(self.recipients.client_push(session, push));
            }
            Output::Event(event) => self.note(&event),
        }
        Ok(())
    }

    fn write(&mut self, batch: Batch<Family>) -> Result<(), StoreError> {
        let seq = batch.seq;
        self.store.apply(batch)?;
        self.written = Some(seq);
        self.batches_unsynced += 1;
        if self.batches_unsynced >= BATCHES_UNSYNCED_MAX {
            self.tell_syncer();
        }
        Ok(())
    }

    fn tell_syncer(&mut self) {
        if let Some(seq) = self.written.take() {
            self.syncer.written(seq);
            self.batches_unsynced = 0;
        }
    }

    /// From a task, so that the many calls that one sync has let go wake the runtime's threads once.
    fn answer_calls(&mut self) {
        if let Some(answers) = self.recipients.take_answers() {
            self.runtime.spawn(async move { answers.send() });
        }
    }

    fn call(&mut self, id: CallId, to: Contact, request: Request, deadline: Time) {
        let place = self.peers.place_for_call().filter(|_| self.stop_at.is_none());
        let Some(place) = place else {
            // In the next turn: a node that asks on and on must not keep this one from ending.
            return self.inbox.response(id, Err(Rejection::Unreachable));
        };
        let patience = Duration::from(deadline.since(self.now));
        let (peers, inbox) = (self.peers.clone(), self.inbox.clone());
        self.runtime.spawn(async move {
            let result = peers.call(&to, request, patience).await;
            drop(place);
            inbox.response(id, result);
        });
    }

    fn dial_back(&self, id: RequestId, key: PublicKey, endpoints: Vec<SocketAddr>, deadline: Time) {
        let patience = Duration::from(deadline.since(self.now));
        let (peers, inbox) = (self.peers.clone(), self.inbox.clone());
        self.runtime.spawn(async move {
            let outcomes = peers.dial_back(key, endpoints, patience).await;
            inbox.dialled_back(id, outcomes);
        });
    }

    fn note(&self, event: &Event) {
        metrics::record(event);
        match event {
            Event::Drained { handover } => self.drains.has_ended(*handover),
            Event::LookedUp { queries, answered, took } => {
                let deed = Deed::LookedUp { queries: *queries, answered: *answered };
                telemetry::note(Duration::from(*took), deed);
            }
            _ => {}
        }
        let millis = |by: &Span| i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        let ahead = match event {
            Event::ClockAhead { by } => Some(millis(by)),
            Event::ClockBehind { by } => Some(-millis(by)),
            Event::ClockAgreed => Some(0),
            _ => None,
        };
        if let Some(ahead) = ahead {
            self.figures.set_clock_ahead(ahead);
            metrics::clock_ahead(ahead);
        }
        log(event);
    }

    /// When to look again though nothing comes.
    fn wake_at(&self) -> Instant {
        let timeout = self.node.poll_timeout();
        let sleep = timeout.map_or(SLEEP_MAX, |(at, _)| at.since(self.now).into());
        let wake_at = (Instant::now() + sleep.min(SLEEP_MAX)).min(self.stats_at);
        [self.stop_at, self.manager.alive_at()].into_iter().flatten().fold(wake_at, Instant::min)
    }

    /// Whether the node was told to stop and has answered what it had begun, or had its time to; or
    /// was told that it is over.
    fn is_finished(&mut self, admission: Admission) -> bool {
        match admission {
            Admission::Open => false,
            Admission::Ending => {
                let stop_at = *self.stop_at.get_or_insert_with(|| Instant::now() + GRACE);
                !self.recipients.is_waited_for() || stop_at <= Instant::now()
            }
            Admission::Closed => true,
        }
    }
}

impl Running {
    /// Waits for the end: `Ok` after the inbox was told to stop and the disk has everything.
    ///
    /// # Errors
    /// When the disk failed or the machine's clock was set back.
    pub async fn ended(&mut self) -> Result<(), DriverError> {
        match (&mut self.result).await {
            Ok(result) => result,
            Err(_) => Err(DriverError::Panicked),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed by its own hook; there is nothing to add.
            let _ = thread.join();
        }
    }
}

/// Closes the ways to a driver and from it at its end.
struct Closing(Inbox, Peers);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
        self.1.close();
    }
}

fn log(event: &Event) {
    match event {
        Event::ClockAhead { by } => warn!(
            minutes = minutes(*by),
            "this machine's clock is ahead of most other relays': set it right. Until then nothing \
             that they still keep is removed here"
        ),
        Event::ClockBehind { by } => warn!(
            minutes = minutes(*by),
            "this machine's clock is behind most other relays': set it right and restart. Until then \
             envelopes are kept too long here, and long-lived ones refused"
        ),
        Event::Drained { handover } if handover.is_complete() => info!(
            envelopes = handover.handed_over,
            receipts = handover.receipts,
            "everything is handed over"
        ),
        Event::Drained { handover } => warn!(
            handed_over = handover.handed_over,
            kept = handover.kept(),
            "not everything could be handed over: the relay goes on as before and keeps all of it"
        ),
        Event::ClockAgreed => info!("this machine's clock agrees with other relays' again"),
        _ => debug!(?event),
    }
}

const fn minutes(span: Span) -> u64 {
    span.as_millis() / 60_000
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::SystemTime;

    use super::*;
    use crate::driver::inbox::InboxLimits;
    use crate::links::Network;
    use crate::links::dial::DialLimits;
    use crate::links::tls::Credentials;

    /// A driver whose machine was set back by a day since its clock was read.
    fn set_back(dir: &Path) -> Driver {
        let key = KeyPair::from_seed(&[1; 32]);
        let (clock, inbox) = (Arc::new(Clock::new()), Inbox::new(InboxLimits::default()));
        clock.at(SystemTime::now() + Duration::from_secs(86_400), Instant::now());
        let peers = Peers::new(
            Arc::new(Credentials::new(&key).unwrap()),
            Network::new("test").unwrap(),
            Arc::clone(&clock),
            inbox.clone(),
            DialLimits::default(),
        );
        let store = Arc::new(RocksStore::open(dir).unwrap());
        let (config, manager) = (Config::default(), ServiceManager::none());
        let figures = Figures::new(dir.to_owned(), config.store_bytes_max);
        let drains = Drains::new(inbox.clone());
        let host = Host { config, key, store, clock, inbox, peers, manager, figures, drains };
        Driver::new(host).unwrap()
    }

    /// Else the program would open the store again and promise what the disk has not taken.
    #[tokio::test]
    async fn a_disk_that_failed_ends_a_node_even_if_its_machine_was_set_back() {
        let dir = tempfile::tempdir().unwrap();
        let driver = set_back(dir.path());
        driver.inbox.synced(Err(StoreError::Disk("no space left".to_owned())));
        let ended = driver.run();
        assert!(matches!(ended, Err(DriverError::Store(_))), "{ended:?}");
    }

    #[tokio::test]
    async fn a_node_that_is_told_to_stop_ends_in_order_even_if_its_machine_was_set_back() {
        let dir = tempfile::tempdir().unwrap();
        let driver = set_back(dir.path());
        driver.inbox.stop();
        let ended = driver.run();
        assert!(ended.is_ok(), "{ended:?}");
    }
}
