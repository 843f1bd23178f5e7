//! The task that owns the agent and does what it says.
//!
//! Entry type is [`Driver`]: one input, then all outputs, then the next input. It decides nothing; what
//! it adds is a disk, a link and a clock. It never waits for the link, so that the two cannot wait
//! for each other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use comm_proto::address::Address;
use comm_proto::agent::{
    Agent, CallId, Command, CommandError, CommandId, Contact, Entry, File, Found, Input,
    MessageNumber, Outcome, Output, ReceiptRule, Request, SearchPlace, Standing, Summary, Words,
};
use comm_proto::identity::Identity;
use comm_proto::message::ClientRequest;
use comm_proto::payload::MessageId;
use comm_proto::profile::Profile;
use comm_proto::rejection::Rejection;
use comm_proto::store::StoreError;
use comm_proto::time::Time;
use rand_core::{OsRng, RngCore};
use tokio::sync::{broadcast, mpsc, oneshot};
use zeroize::Zeroizing;

use super::events::{Event, Shared};
use super::rooms::RoomAsk;
use crate::clock::Clock;
use crate::files::Desk;
use crate::link::{Ask as NodeAsk, Link, Told};
use crate::store::{Durability, SealedStore, Snapshot};

/// Commands whose outcome is not on disk yet.
const COMMANDS_MAX: usize = 256;
/// Questions of the agent that the link has not taken yet; more are answered with "busy".
const CALLS_MAX: usize = 16_384;
/// The shortest and the longest sleep. The longest is when a clock that was set is noticed.
const NAP_MIN: Duration = Duration::from_millis(1);
const NAP_MAX: Duration = Duration::from_secs(60);

/// What is asked of the driver.
#[derive(Debug)]
pub(super) enum Ask {
    Command {
        command: Command,
        reply: oneshot::Sender<Result<Outcome, CommandError>>,
    },
    Contacts(oneshot::Sender<Vec<Contact>>),
    Contact {
        address: Address,
        reply: oneshot::Sender<Option<Contact>>,
    },
    Requests(oneshot::Sender<Result<Vec<Request>, StoreError>>),
    Blocked(oneshot::Sender<Vec<Contact>>),
    Standings(oneshot::Sender<Vec<Standing>>),
    Snapshot(oneshot::Sender<Snapshot>),
    History {
        contact: Address,
        before: Option<MessageNumber>,
        limit: usize,
        reply: oneshot::Sender<Result<Vec<Entry>, StoreError>>,
    },
    Page {
        contact: Address,
        after: Option<MessageNumber>,
        limit: usize,
        reply: oneshot::Sender<Result<Vec<Entry>, StoreError>>,
    },
    Search {
        contact: Address,
        words: Words,
        from: Option<SearchPlace>,
        reply: oneshot::Sender<Result<Found, StoreError>>,
    },
    Summaries(oneshot::Sender<Result<Vec<Summary>, StoreError>>),
    Message {
        number: MessageNumber,
        reply: oneshot::Sender<Result<Option<Entry>, StoreError>>,
    },
    MessageById {
        contact: Address,
        id: MessageId,
        reply: oneshot::Sender<Result<Option<Entry>, StoreError>>,
    },
    WaitsUntil {
        number: MessageNumber,
        reply: oneshot::Sender<Option<Time>>,
    },
    Pending(oneshot::Sender<usize>),
    Receipts(oneshot::Sender<ReceiptRule>),
    Profile(oneshot::Sender<Option<Profile>>),
    Files(oneshot::Sender<Vec<File>>),
    Node(NodeAsk),
    Room(RoomAsk),
    Switch {
        online: bool,
        reply: oneshot::Sender<()>,
    },
}

/// The agent and its world.
pub(super) struct Driver {
    agent: Agent,
    store: SealedStore,
    durability: Durability,
    link: Link,
    desk: Desk,
    clock: Clock,
    asked: mpsc::Receiver<Ask>,
    events: broadcast::Sender<Shared>,
    commands: BTreeMap<CommandId, oneshot::Sender<Result<Outcome, CommandError>>>,
    next_command: u64,
    /// What the link has not taken yet.
    calls: VecDeque<NodeAsk>,
    /// What was refused here, to be answered with the next input.
    refused: VecDeque<CallId>,
    connection: Option<u64>,
    /// The connection that was to be made anew because the machine's clock was set back.
    given_up: Option<u64>,
}

impl Driver {
    pub(super) fn new(
        identity: Identity,
        store: SealedStore,
        link: Link,
        (asked, events): (mpsc::Receiver<Ask>, broadcast::Sender<Shared>),
    ) -> Result<Self, StoreError> {
        let mut clock = Clock::default();
        let mut seed = Zeroizing::new([0; 32]);
        OsRng.fill_bytes(&mut *seed);
        let agent = Agent::new(identity, *seed, &store, clock.now())?;
        Ok(Self {
            agent,
            durability: store.durability(),
            store,
            link,
            desk: Desk::open(),
            clock,
            asked,
            events,
            commands: BTreeMap::new(),
            next_command: 0,
            calls: VecDeque::new(),
            refused: VecDeque::new(),
            connection: None,
            given_up: None,
        })
    }

    pub(super) const fn agent(&self) -> &Agent {
        &self.agent
    }

    pub(super) const fn store(&self) -> &SealedStore {
        &self.store
    }

    /// Runs until nobody asks any more, or the disk fails; then leaves the network and closes the
    /// disk.
    pub(super) async fn run(mut self) -> Result<(), StoreError> {
        let result = self.drive().await;
        let Self { link, store, .. } = self;
        link.close().await;
        let closed = store.close().await;
        result.and(closed)
    }

    async fn drive(&mut self) -> Result<(), StoreError> {
        self.drain().await?;
        // Before anything is asked: what was to disappear meanwhile must not be seen.
        self.handle(Input::Tick).await?;
        loop {
            if let Some(id) = self.refused.pop_front() {
                let result = Err(Rejection::Busy);
                self.handle(Input::Response { id, result }).await?;
                continue;
            }
            let nap = self.nap();
            tokio::select! {
                seq = self.durability.next() => {
                    let seq = seq?;
                    self.store.settle(seq);
                    self.handle(Input::Durable(seq)).await?;
                }
                Some(report) = self.desk.reports.recv() => {
                    self.handle(Input::File(report)).await?;
                }
                Some(told) = self.link.told.recv() => self.on_told(told).await?,
                Ok(permit) = self.link.asks.clone().reserve_owned(), if !self.calls.is_empty() => {
                    if let Some(ask) = self.calls.pop_front() {
                        let _sender = permit.send(ask);
                    }
                }
                ask = self.asked.recv(), if self.commands.len() < COMMANDS_MAX => match ask {
                    Some(ask) => self.on_ask(ask).await?,
                    None => return Ok(()),
                },
                () = tokio::time::sleep(nap) => self.on_time().await?,
            }
        }
    }

    async fn on_told(&mut self, told: Told) -> Result<(), StoreError> {
        match told {
            Told::Up { connection, node, entries, rotating_entry } => {
                if self.connection.replace(connection).is_some() {
                    self.handle(Input::Disconnected).await?;
                }
                self.clock.put_right();
                self.tell(Event::Online { node });
                self.handle(Input::Connected { node, entries, rotating_entry }).await
            }
            Told::Entries { entries, rotating_entry } => {
                self.handle(Input::Entries { entries, rotating_entry }).await
            }
            Told::Down { reason } => {
                self.tell(Event::Offline { reason });
                match self.connection.take() {
                    Some(_) => self.handle(Input::Disconnected).await,
                    None => Ok(()),
                }
            }
            Told::Response { id, result } => self.handle(Input::Response { id, result }).await,
            Told::Push(push) => self.handle(Input::Push(push)).await,
        }
    }

    async fn on_ask(&mut self, ask: Ask) -> Result<(), StoreError> {
        // Whoever does not wait for an answer any more need not get one.
        match ask {
            Ask::Page { contact, after, limit, reply } => {
                let page = self.agent.history_after(&self.store, &contact, after, limit);
                drop(reply.send(page));
            }
            Ask::Search { contact, words, from, reply } => {
                drop(reply.send(self.agent.search(&self.store, &contact, &words, from)));
            }
            Ask::Summaries(reply) => drop(reply.send(self.agent.summaries(&self.store))),
            Ask::Command { command, reply } => {
                self.next_command += 1;
                let id = CommandId(self.next_command);
                self.commands.insert(id, reply);
                return self.handle(Input::Command { id, command }).await;
            }
            Ask::Contacts(reply) => drop(reply.send(self.agent.contacts())),
            Ask::Contact { address, reply } => drop(reply.send(self.agent.contact(&address))),
            Ask::Requests(reply) => drop(reply.send(self.agent.requests(&self.store))),
            Ask::Blocked(reply) => drop(reply.send(self.agent.blocked())),
            Ask::Standings(reply) => drop(reply.send(self.agent.standings())),
            Ask::Snapshot(reply) => return self.store.snapshot(reply).await,
            Ask::History { contact, before, limit, reply } => {
                let page = self.agent.history(&self.store, &contact, before, limit);
                drop(reply.send(page));
            }
            Ask::Message { number, reply } => {
                drop(reply.send(self.agent.message(&self.store, number)));
            }
            Ask::MessageById { contact, id, reply } => {
                drop(reply.send(self.agent.message_by_id(&self.store, &contact, &id)));
            }
            Ask::WaitsUntil { number, reply } => drop(reply.send(self.agent.waits_until(number))),
            Ask::Pending(reply) => drop(reply.send(self.agent.outbox_len())),
            Ask::Receipts(reply) => drop(reply.send(self.agent.receipts_for_all())),
            Ask::Profile(reply) => drop(reply.send(self.agent.profile().cloned())),
            Ask::Files(reply) => drop(reply.send(self.agent.files())),
            Ask::Node(ask) => self.push_call(ask),
            Ask::Room(ask) => {
                let now = self.clock.now();
                self.on_room_ask(ask, now);
            }
            Ask::Switch { online, reply } => {
                if online != self.link.is_online() {
                    self.link.set_online(online);
                }
                let _unheard = reply.send(());
            }
        }
        Ok(())
    }

    async fn on_time(&mut self) -> Result<(), StoreError> {
        self.follow_machine();
        let now = self.clock.now();
        match self.agent.poll_timeout() {
            Some((at, _)) if at <= now => self.handle(Input::Tick).await,
            _ => Ok(()),
        }
    }

    /// A clock that is far ahead of a machine that was set back is put right when the agent begins with
    /// its node anew: what it has timed by the wrong one is timed again then.
    fn follow_machine(&mut self) {
        if self.connection.is_none() {
            self.clock.put_right();
        } else if self.clock.is_far_ahead() && self.given_up != self.connection {
            self.given_up = self.connection;
            self.link.set_online(true);
        }
    }

    async fn handle(&mut self, input: Input) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.agent.handle(input, &self.store, now)?;
        self.drain().await
    }

    async fn drain(&mut self) -> Result<(), StoreError> {
        while let Some(output) = self.agent.poll_output() {
            match output {
                Output::Write(batch) => self.store.apply(batch).await?,
                Output::Call { id, request } => self.on_call(id, request),
                Output::Done { id, result } => {
                    if let Some(reply) = self.commands.remove(&id) {
                        drop(reply.send(result));
                    }
                }
                Output::File(order) => self.desk.obey(order).await,
                Output::Event(event) => self.tell(Event::Agent(Box::new(event))),
            }
        }
        Ok(())
    }

    fn on_call(&mut self, id: CallId, request: ClientRequest) {
        match self.connection {
            Some(connection) if self.calls.len() < CALLS_MAX => {
                self.calls.push_back(NodeAsk::Agent { connection, id, request });
            }
            _ => self.refused.push_back(id),
        }
    }

    fn push_call(&mut self, ask: NodeAsk) {
        // One that is dropped is answered as unreachable.
        if self.calls.len() < CALLS_MAX {
            self.calls.push_back(ask);
        }
    }

    fn tell(&self, event: Event) {
        // An error means that nobody listens.
        let _unheard = self.events.send(Arc::new(event));
    }

    /// How long nothing needs to be done by itself.
    fn nap(&mut self) -> Duration {
        let at = self.agent.poll_timeout().map_or(Time::MAX, |(at, _)| at);
        Duration::from(at.since(self.clock.now())).clamp(NAP_MIN, NAP_MAX)
    }
}
