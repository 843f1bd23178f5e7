//! What waits for the driver: one lock, three lanes, every one of them bounded.
//!
//! Entry type is [`Inbox`], which services clone. The node's own completions come first and are
//! bounded by what the node itself has begun; what clients ask and what other nodes ask have a lane
//! each, so that neither crowds the other out, and a full lane refuses at once
//! ([`Rejection::Busy`]) instead of making anybody wait. It knows nothing of the state machine.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use comm_proto::address::Address;
use comm_proto::key::PublicKey;
use comm_proto::message::{ClientRequest, ClientResponse, DialOutcome, Push, Request, Response};
use comm_proto::node::{CallId, Command, RequestId, SessionId};
use comm_proto::rejection::Rejection;
use comm_proto::store::{Seq, StoreError};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::streams::{Listener, Session};
use super::work::{ClientReplyTo, ClientWork, NO_SESSION, Own, PeerWork, SessionOutlet};

/// What an item takes in memory beside the frame it came in.
const ITEM_BYTES: usize = 512;

/// Bounds of what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxLimits {
    /// Questions of other nodes, and pushes of theirs.
    pub peer_items: usize,
    /// Their bytes in memory.
    pub peer_bytes: usize,
    /// Questions of clients.
    pub client_items: usize,
    /// Their bytes in memory.
    pub client_bytes: usize,
    /// Streams of clients.
    pub sessions: usize,
    /// Streams for pushes that other nodes keep open here.
    pub listeners: usize,
}

impl Default for InboxLimits {
    fn default() -> Self {
        Self {
            peer_items: 4_096,
            peer_bytes: 64 << 20,
            client_items: 8_192,
            client_bytes: 64 << 20,
            sessions: 1_024,
            listeners: 4_096,
        }
    }
}

/// Where everything for the driver is put. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Inbox(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lanes: Mutex<Lanes>,
    wake: Condvar,
    sessions: Arc<Semaphore>,
    listeners: Arc<Semaphore>,
    /// Numbers sessions and listeners; [`NO_SESSION`] is not drawn.
    drawn: AtomicU64,
}

#[derive(Debug)]
struct Lanes {
    own: VecDeque<Own>,
    durable: Option<Seq>,
    failure: Option<StoreError>,
    disk_taken: Option<u64>,
    clients: Lane<ClientWork>,
    peers: Lane<PeerWork>,
    admission: Admission,
    asleep: bool,
}

/// What is still taken in; it only ever moves down this list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Admission {
    /// Everything.
    #[default]
    Open,
    /// Nothing new; what has been begun goes on to its end.
    Ending,
    /// Nothing: it is over.
    Closed,
}

#[derive(Debug)]
struct Lane<T> {
    queue: VecDeque<(usize, T)>,
    items_max: usize,
    bytes: usize,
    bytes_max: usize,
}

/// What the driver takes out at once, in the order in which it is to be handled.
#[derive(Debug, Default)]
pub struct Turn {
    /// The node's own.
    pub own: VecDeque<Own>,
    /// The disk has everything up to here.
    pub durable: Option<Seq>,
    /// The disk has failed.
    pub failure: Option<StoreError>,
    /// The store takes so many bytes of the disk.
    pub disk_taken: Option<u64>,
    /// What clients want.
    pub clients: Vec<ClientWork>,
    /// What other nodes want.
    pub peers: Vec<PeerWork>,
    /// Whether the driver is to go on.
    pub admission: Admission,
}

/// How many questions the driver takes at once.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Of clients.
    pub clients: usize,
    /// Of other nodes.
    pub peers: usize,
}

impl Inbox {
    /// An empty inbox.
    pub fn new(limits: InboxLimits) -> Self {
        let lanes = Lanes {
            own: VecDeque::new(),
            durable: None,
            failure: None,
            disk_taken: None,
            clients: Lane::new(limits.client_items, limits.client_bytes),
            peers: Lane::new(limits.peer_items, limits.peer_bytes),
            admission: Admission::Open,
            asleep: false,
        };
        Self(Arc::new(Shared {
            lanes: Mutex::new(lanes),
            wake: Condvar::new(),
            sessions: Arc::new(Semaphore::new(limits.sessions)),
            listeners: Arc::new(Semaphore::new(limits.listeners)),
            drawn: AtomicU64::new(NO_SESSION.0),
        }))
    }

    /// Another node asks from `source`, in a frame of `bytes` bytes. The answer comes through the
    /// receiver; its error means that the node has ended.
    ///
    /// # Errors
    /// [`Rejection::Busy`] when too much waits, [`Rejection::ShuttingDown`] when the node is ending.
    pub fn request(
        &self,
        from: PublicKey,
        source: SocketAddr,
        request: Request,
        bytes: usize,
    ) -> Result<oneshot::Receiver<Result<Response, Rejection>>, Rejection> {
        let (reply, answer) = oneshot::channel();
        let work = PeerWork::Request { from, source, request, reply };
        self.admit(|lanes| lanes.peers.push(bytes, work))?;
        Ok(answer)
    }

    /// A push came over a stream that we opened, in a frame of `bytes` bytes.
    ///
    /// # Errors
    /// As for [`Self::request`]. The push is lost then, which the protocol makes good.
    pub fn push(&self, from: Address, push: Push, bytes: usize) -> Result<(), Rejection> {
        let work = PeerWork::Push { from, push };
        self.admit(|lanes| lanes.peers.push(bytes, work))
    }

    /// A client asks, over no stream, in a frame of `bytes` bytes.
    ///
    /// # Errors
    /// As for [`Self::request`].
    pub fn client_request(
        &self,
        request: ClientRequest,
        bytes: usize,
    ) -> Result<oneshot::Receiver<Result<ClientResponse, Rejection>>, Rejection> {
        let (reply, answer) = oneshot::channel();
        let reply = ClientReplyTo::Call(reply);
        self.client_work(ClientWork { session: NO_SESSION, request, reply }, bytes)?;
        Ok(answer)
    }

    /// Another node opens its stream for pushes, of which `room` may wait.
    ///
    /// # Errors
    /// As for [`Self::request`].
    pub fn open_listener(&self, peer: Address, room: usize) -> Result<Listener, Rejection> {
        let permit = Arc::clone(&self.0.listeners).try_acquire_owned();
        let permit = permit.map_err(|_| Rejection::Busy)?;
        let stream = self.draw();
        let (sender, pushes) = mpsc::channel(room);
        self.own(Own::ListenerOpened { peer, stream, pushes: sender })?;
        Ok(Listener::new((peer, stream), self.clone(), pushes, permit))
    }

    /// A client opens a stream, for which `room` events may wait.
    ///
    /// # Errors
    /// As for [`Self::request`].
    pub fn open_session(&self, room: usize) -> Result<Session, Rejection> {
        let permit = Arc::clone(&self.0.sessions).try_acquire_owned();
        let permit = permit.map_err(|_| Rejection::Busy)?;
        let id = SessionId(self.draw());
        let (sender, events) = mpsc::channel(room);
        let end = Arc::<OnceLock<Rejection>>::default();
        let outlet = SessionOutlet { events: sender, end: Arc::clone(&end) };
        self.own(Own::SessionOpened { session: id, outlet })?;
        Ok(Session::new(id, self.clone(), (events, end), permit))
    }

    /// A call of the node came to its end. Lost when the node has ended.
    pub fn response(&self, id: CallId, result: Result<Response, Rejection>) {
        let _ended = self.own(Own::Response { id, result });
    }

    /// A caller was dialled back. Lost when the node has ended.
    pub fn dialled_back(&self, id: RequestId, outcomes: Vec<DialOutcome>) {
        let _ended = self.own(Own::DialledBack { id, outcomes });
    }

    /// A stream of ours for pushes brings all of them from now on. Lost when the node has ended.
    pub fn listen_opened(&self, to: Address) {
        let _ended = self.own(Own::ListenOpened { to });
    }

    /// It ended though it is wanted. Lost when the node has ended.
    pub fn listen_closed(&self, to: Address) {
        let _ended = self.own(Own::ListenClosed { to });
    }

    /// The operator wants something. Lost when the node has ended.
    pub fn command(&self, command: Command) {
        let _ended = self.own(Own::Command(command));
    }

    /// The syncer reports. A later report stands for all before it.
    pub fn synced(&self, result: Result<Seq, StoreError>) {
        let mut lanes = self.lock();
        match result {
            Ok(seq) => lanes.durable = lanes.durable.max(Some(seq)),
            Err(error) => lanes.failure = Some(error),
        }
        self.wake(lanes);
    }

    /// The upkeep reports how many bytes of the disk the store takes. Only the last report counts.
    pub fn disk_taken(&self, bytes: u64) {
        let mut lanes = self.lock();
        lanes.disk_taken = Some(bytes);
        self.wake(lanes);
    }

    /// From now on nothing new is taken in; what has been begun goes on.
    pub fn stop(&self) {
        let mut lanes = self.lock();
        lanes.admission = lanes.admission.max(Admission::Ending);
        self.wake(lanes);
    }

    /// Forgets everything and takes nothing in any more; whoever waits for an answer learns it, and
    /// the driver ends after the turn it is in.
    pub fn close(&self) {
        let mut lanes = self.lock();
        lanes.admission = Admission::Closed;
        // Dropping what waits calls back into this inbox: not under its lock.
        let own = std::mem::take(&mut lanes.own);
        let (clients, peers) = (lanes.clients.clear(), lanes.peers.clear());
        self.wake(lanes);
        drop((own, clients, peers));
    }

    /// Takes what waits, at most `budget` of what others want; waits for something until `until`.
    /// For the one driver.
    pub fn take(&self, turn: &mut Turn, budget: Budget, until: Option<Instant>) {
        let mut lanes = self.lock();
        while lanes.is_empty() && lanes.admission == turn.admission {
            let patience = until.map(|until| until.saturating_duration_since(Instant::now()));
            if patience == Some(Duration::ZERO) {
                return;
            }
            lanes = self.sleep(lanes, patience);
        }
        lanes.hand_over(turn, budget);
    }

    pub(super) fn client_work(&self, work: ClientWork, bytes: usize) -> Result<(), Rejection> {
        self.admit(|lanes| lanes.clients.push(bytes, work))
    }

    pub(super) fn own(&self, own: Own) -> Result<(), Rejection> {
        let mut lanes = self.lock();
        let begins = matches!(own, Own::ListenerOpened { .. } | Own::SessionOpened { .. });
        let taken_in_until = if begins { Admission::Open } else { Admission::Ending };
        if lanes.admission > taken_in_until {
            return Err(Rejection::ShuttingDown);
        }
        lanes.own.push_back(own);
        self.wake(lanes);
        Ok(())
    }

    fn admit(
        &self,
        push: impl FnOnce(&mut Lanes) -> Result<(), Rejection>,
    ) -> Result<(), Rejection> {
        let mut lanes = self.lock();
        if lanes.admission > Admission::Open {
            return Err(Rejection::ShuttingDown);
        }
        push(&mut lanes)?;
        self.wake(lanes);
        Ok(())
    }

    fn draw(&self) -> u64 {
        self.0.drawn.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A driver that is at work looks here again by itself and need not be woken.
    fn wake(&self, mut lanes: MutexGuard<'_, Lanes>) {
        let asleep = std::mem::take(&mut lanes.asleep);
        drop(lanes);
        if asleep {
            self.0.wake.notify_one();
        }
    }

    fn sleep<'a>(
        &'a self,
        mut lanes: MutexGuard<'a, Lanes>,
        patience: Option<Duration>,
    ) -> MutexGuard<'a, Lanes> {
        lanes.asleep = true;
        let wake = &self.0.wake;
        let mut lanes = match patience {
            Some(patience) => {
                wake.wait_timeout(lanes, patience).unwrap_or_else(PoisonError::into_inner).0
            }
            None => wake.wait(lanes).unwrap_or_else(PoisonError::into_inner),
        };
        lanes.asleep = false;
        lanes
    }
}

impl Lanes {
    fn is_empty(&self) -> bool {
        self.own.is_empty()
            && self.durable.is_none()
            && self.failure.is_none()
            && self.disk_taken.is_none()
            && self.clients.queue.is_empty()
            && self.peers.queue.is_empty()
    }

    fn hand_over(&mut self, turn: &mut Turn, budget: Budget) {
        turn.own.append(&mut self.own);
        turn.durable = self.durable.take();
        turn.failure = self.failure.take();
        turn.disk_taken = self.disk_taken.take();
        turn.admission = self.admission;
        self.clients.hand_over(&mut turn.clients, budget.clients);
        self.peers.hand_over(&mut turn.peers, budget.peers);
    }
}

impl<T> Lane<T> {
    fn new(items_max: usize, bytes_max: usize) -> Self {
        Self { queue: VecDeque::new(), items_max, bytes: 0, bytes_max }
    }

    fn push(&mut self, bytes: usize, item: T) -> Result<(), Rejection> {
        let bytes = bytes + ITEM_BYTES;
        if self.queue.len() >= self.items_max || self.bytes + bytes > self.bytes_max {
            return Err(Rejection::Busy);
        }
        self.bytes += bytes;
        self.queue.push_back((bytes, item));
        Ok(())
    }

    fn hand_over(&mut self, to: &mut Vec<T>, max: usize) {
        let count = self.queue.len().min(max);
        for (bytes, item) in self.queue.drain(..count) {
            self.bytes -= bytes;
            to.push(item);
        }
    }

    fn clear(&mut self) -> VecDeque<(usize, T)> {
        self.bytes = 0;
        std::mem::take(&mut self.queue)
    }
}

#[cfg(test)]
mod tests {
    use comm_proto::message::ClientRequest::Status;

    use super::*;

    const BUDGET: Budget = Budget { clients: 2, peers: 1 };

    fn inbox(limits: InboxLimits) -> Inbox {
        Inbox::new(limits)
    }

    fn ping(inbox: &Inbox, bytes: usize) -> Result<(), Rejection> {
        let (key, source) = (PublicKey::from_bytes([1; 32]), ([127, 0, 0, 1], 1).into());
        inbox.request(key, source, Request::Ping { endpoints: Vec::new() }, bytes).map(drop)
    }

    fn take(inbox: &Inbox) -> Turn {
        let mut turn = Turn::default();
        inbox.take(&mut turn, BUDGET, Some(Instant::now()));
        turn
    }

    #[test]
    fn a_full_lane_refuses_and_leaves_the_other_open() {
        let inbox = inbox(InboxLimits { peer_items: 1, ..InboxLimits::default() });
        assert_eq!(ping(&inbox, 0), Ok(()));
        assert_eq!(ping(&inbox, 0), Err(Rejection::Busy));
        assert!(inbox.client_request(Status, 0).is_ok());
        take(&inbox);
        assert_eq!(ping(&inbox, 0), Ok(()));
    }

    #[test]
    fn a_lane_is_full_by_bytes_too_and_has_them_back_when_they_are_taken() {
        let inbox = inbox(InboxLimits { peer_bytes: 10_000, ..InboxLimits::default() });
        assert_eq!(ping(&inbox, 9_000), Ok(()));
        assert_eq!(ping(&inbox, 9_000), Err(Rejection::Busy));
        take(&inbox);
        assert_eq!(ping(&inbox, 9_000), Ok(()));
    }

    #[test]
    fn a_turn_has_everything_of_the_nodes_own_and_a_part_of_what_others_want() {
        let inbox = inbox(InboxLimits::default());
        for n in 0..5 {
            ping(&inbox, 0).unwrap();
            let _answer = inbox.client_request(Status, 0).unwrap();
            inbox.response(CallId(n), Err(Rejection::Unreachable));
            inbox.synced(Ok(Seq(n)));
        }
        let turn = take(&inbox);
        let counts = (turn.own.len(), turn.clients.len(), turn.peers.len());
        assert_eq!((counts, turn.durable), ((5, 2, 1), Some(Seq(4))));
    }

    #[test]
    fn whoever_waits_learns_that_the_node_has_ended() {
        let inbox = inbox(InboxLimits::default());
        let mut answer = inbox.client_request(Status, 0).unwrap();
        let session = inbox.open_session(1).unwrap();
        inbox.close();
        assert!(matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        assert_eq!(ping(&inbox, 0), Err(Rejection::ShuttingDown));
        assert_eq!(session.end(), Rejection::ShuttingDown);
    }

    #[test]
    fn a_session_keeps_its_place_until_the_driver_knows_of_its_end() {
        let inbox = inbox(InboxLimits { sessions: 1, ..InboxLimits::default() });
        drop(inbox.open_session(1).unwrap());
        assert_eq!(inbox.open_session(1).map(drop), Err(Rejection::Busy));
        drop(take(&inbox));
        assert!(inbox.open_session(1).is_ok());
    }

    #[test]
    fn a_sleeping_driver_is_woken() {
        let inbox = inbox(InboxLimits::default());
        let driver = inbox.clone();
        let thread = std::thread::spawn(move || {
            let mut turn = Turn::default();
            driver.take(&mut turn, BUDGET, None);
            turn.peers.len()
        });
        ping(&inbox, 0).unwrap();
        assert_eq!(thread.join().unwrap(), 1);
    }
}
