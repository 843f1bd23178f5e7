//! The way to a node: connect, keep connected, carry questions and answers.
//!
//! Entry type is [`Node`], which says where it is. Inside there is one task with one connection at a
//! time. It knows gRPC and back-off; what is asked, and what an answer means, is the agent's business.
//! While there is no connection nothing is queued here: the agent asks again when there is one.

mod backoff;
mod cork;
mod endpoint;
mod host;
mod session;
mod translate;
mod unary;
mod watches;

use std::net::SocketAddr;
use std::time::Duration;

use comm_proto::address::Address;
use comm_proto::agent::CallId;
use comm_proto::message::{ClientPush, ClientRequest, ClientResponse, PeerStatus, Reachability};
use comm_proto::rejection::Rejection;
use comm_proto::time::Time;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use backoff::Backoff;
use host::Host;
use session::Session;

pub use endpoint::{Bearer, Endpoint, ParseEndpointError, Rpc};
pub use host::{Node, NodeError};

/// Questions that may wait for the connection, and events that may wait for the agent.
const QUEUE_MAX: usize = 256;
/// A connection that lasted longer than this was a good one: the next is tried at once.
const GOOD_AFTER: Duration = Duration::from_secs(10);

/// What a node is and does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// The node's address.
    pub node: Address,
    /// Where it says it can be reached.
    pub endpoints: Vec<SocketAddr>,
    /// From where other nodes see its calls come; at most one of each family.
    pub observed: Vec<SocketAddr>,
    /// Whether other nodes reach it.
    pub reachability: Reachability,
    /// Nodes in its table.
    pub peers: u64,
    /// Its estimate of the network's size, itself included.
    pub network_size: u64,
    /// Envelopes on its disk.
    pub envelopes: u64,
    /// Their bytes.
    pub envelope_bytes: u64,
    /// Tombstones on its disk.
    pub tombstones: u64,
    /// Whether at least one other node has answered it.
    pub connected: bool,
    /// Version of its program.
    pub version: String,
    /// Its clock.
    pub time: Time,
    /// The nodes it submits through and collects by.
    pub entries: Vec<Address>,
    /// A further one it collects by, which changes.
    pub rotating_entry: Option<Address>,
}

/// One entry of a node's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerLine {
    /// The peer's address.
    pub address: Address,
    /// Where it listens.
    pub endpoints: Vec<SocketAddr>,
    /// Its standing; none if this program does not know the word for it.
    pub status: Option<PeerStatus>,
    /// When it last answered or called.
    pub last_seen: Time,
}

/// What is asked of a node.
#[derive(Debug)]
pub(crate) enum Ask {
    /// By the agent, over the connection that [`Told::Up`] gave this number.
    Agent { connection: u64, id: CallId, request: ClientRequest },
    /// By the person.
    Status(oneshot::Sender<Result<NodeStatus, Rejection>>),
    /// By the person.
    Peers(oneshot::Sender<Result<Vec<PeerLine>, Rejection>>),
}

/// What the link tells.
#[derive(Debug)]
pub(crate) enum Told {
    /// There is a connection.
    Up { connection: u64, node: Address, entries: Vec<Address>, rotating_entry: Option<Address> },
    /// The node collects by others than it told before; the connection is the same.
    Entries { entries: Vec<Address>, rotating_entry: Option<Address> },
    /// The connection is gone, or there was none to be had.
    Down { reason: String },
    /// The node answered the agent.
    Response { id: CallId, result: Result<ClientResponse, Rejection> },
    /// The node tells something.
    Push(ClientPush),
}

/// The ends that the driver holds.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) asks: mpsc::Sender<Ask>,
    pub(crate) told: mpsc::Receiver<Told>,
    online: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Link {
    /// Starts the node, if it is to run in this process, and then the task that keeps connected.
    pub(crate) async fn start(node: Node) -> Result<Self, NodeError> {
        let host = Host::start(node).await?;
        let (asks, asked) = mpsc::channel(QUEUE_MAX);
        let (tell, told) = mpsc::channel(QUEUE_MAX);
        let (online, switch) = watch::channel(true);
        let task = tokio::spawn(Keeper { host, asked, tell, switch, connection: 0 }.run());
        Ok(Self { asks, told, online, task })
    }

    /// Connects, or disconnects and stays so. A node in this process is started and stopped with it.
    pub(crate) fn set_online(&self, online: bool) {
        self.online.send_replace(online);
    }

    pub(crate) fn is_online(&self) -> bool {
        *self.online.borrow()
    }

    /// Disconnects and stops the node if it runs in this process.
    pub(crate) async fn close(self) {
        let Self { asks, told, online, task } = self;
        drop((asks, told, online));
        let _ended = task.await;
    }
}

/// Keeps a connection while one is wanted.
struct Keeper {
    host: Host,
    asked: mpsc::Receiver<Ask>,
    tell: mpsc::Sender<Told>,
    switch: watch::Receiver<bool>,
    connection: u64,
}

/// Why a wait ended.
enum Woken {
    /// Its time was over, or the person switched.
    GoOn,
    /// Nobody is there any more.
    Closed,
}

impl Keeper {
    async fn run(mut self) {
        let mut backoff = Backoff::new();
        loop {
            if !*self.switch.borrow_and_update() {
                self.host.stop().await;
                if self.down("offline").await.is_err()
                    || matches!(self.idle(None).await, Woken::Closed)
                {
                    break;
                }
                backoff = Backoff::new();
                continue;
            }
            let began = Instant::now();
            let ended = self.connect_once().await;
            if self.tell.is_closed() {
                break;
            }
            if began.elapsed() > GOOD_AFTER {
                backoff = Backoff::new();
            }
            let switched = self.switch.has_changed().unwrap_or(true);
            if !switched && self.down(&ended).await.is_ok() {
                tracing::debug!(reason = ended, "the link is down");
                if matches!(self.idle(Some(backoff.next())).await, Woken::Closed) {
                    break;
                }
            }
        }
        self.host.stop().await;
    }

    /// One connection from beginning to end; why it ended.
    async fn connect_once(&mut self) -> String {
        let connected = tokio::select! {
            connected = self.host.connect() => connected,
            woken = wait(&mut self.asked, &mut self.switch) => match woken {
                Woken::GoOn | Woken::Closed => return "switched".to_owned(),
            },
        };
        match connected {
            Ok(rpc) => {
                self.connection += 1;
                let session = Session::new(rpc, self.tell.clone(), self.connection);
                let (ended, connection) = session.run(&mut self.asked, &mut self.switch).await;
                self.connection = connection;
                ended
            }
            Err(error) => error.to_string(),
        }
    }

    async fn down(&self, reason: &str) -> Result<(), ()> {
        let down = Told::Down { reason: reason.to_owned() };
        self.tell.send(down).await.map_err(|_| ())
    }

    /// Waits, without a connection.
    async fn idle(&mut self, patience: Option<Duration>) -> Woken {
        let deadline = patience.map(|patience| Instant::now() + patience);
        let timer = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = timer => Woken::GoOn,
            woken = wait(&mut self.asked, &mut self.switch) => woken,
        }
    }
}

/// Refuses what is asked without a connection, until the person switches or goes.
async fn wait(asked: &mut mpsc::Receiver<Ask>, switch: &mut watch::Receiver<bool>) -> Woken {
    loop {
        tokio::select! {
            ask = asked.recv() => match ask {
                Some(ask) => refuse(ask),
                None => return Woken::Closed,
            },
            changed = switch.changed() => match changed {
                Ok(()) => {
                    // Whoever comes back to the loop looks at the switch again.
                    switch.mark_changed();
                    return Woken::GoOn;
                }
                Err(_) => return Woken::Closed,
            },
        }
    }
}

/// The agent is told of a lost connection as a whole; persons want an answer to each question.
fn refuse(ask: Ask) {
    match ask {
        Ask::Agent { .. } => {}
        Ask::Status(reply) => drop(reply.send(Err(Rejection::Unreachable))),
        Ask::Peers(reply) => drop(reply.send(Err(Rejection::Unreachable))),
    }
}
