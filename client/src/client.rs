//! A person in the network, for a program.
//!
//! Entry type is [`Client`]. It owns nothing but the way to one task (`driver`), which owns the
//! agent, its disk and its link. All methods may be called at the same time from anywhere; what they
//! return is on disk.

mod driver;
mod events;
mod files;
mod people;
mod rooms;

use std::path::PathBuf;
use std::time::Duration;

use comm_proto::address::Address;
use comm_proto::agent::{
    Command, CommandError, Contact, Entry, MessageNumber, Outcome, ReceiptRule, Standing, Summary,
    Words,
};
use comm_proto::envelope::TTL_DEFAULT;
use comm_proto::identity::Identity;
use comm_proto::key::PublicKey;
use comm_proto::payload::ContentType;
use comm_proto::rejection::Rejection;
use comm_proto::store::StoreError;
use comm_proto::time::{Span, Time};
use thiserror::Error;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::files::FileProblem;
use crate::link::{Ask as NodeAsk, Link, Node, NodeError, NodeStatus, PeerLine};
use crate::reach::{Network, Reach};
use crate::store::{OpenError, SealedStore, Snapshot};
use driver::{Ask, Driver};

pub use events::{Event, Events};

/// Calls that may wait for the driver.
const ASKS_MAX: usize = 256;
/// Events that a slow listener may be behind before it loses some.
const EVENTS_MAX: usize = 1_024;
/// Messages that are marked as read in one command.
const READ_AT_ONCE: usize = 1_000;
/// Messages of a page.
const PAGE: usize = 128;
/// The directory of files that were taken, in the data directory.
const DOWNLOADS: &str = "downloads";
/// How long the node may take to say how it is connected.
const NETWORK_PATIENCE: Duration = Duration::from_secs(3);

/// Where a person's data and node are.
#[derive(Clone, Debug)]
pub struct Config {
    /// The directory of contacts, history and outbox; made if there is none.
    pub data_dir: PathBuf,
    /// The node that relays.
    pub node: Node,
}

/// Something to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// To whom; becomes a contact if it is none.
    pub to: Address,
    /// What kind of thing it is.
    pub content_type: ContentType,
    /// The thing itself, 1 byte to about 64 KiB.
    pub body: Vec<u8>,
    /// How long it may wait for them, 10 minutes to 30 days.
    pub ttl: Span,
}

/// A person in the network.
#[derive(Debug)]
pub struct Client {
    address: Address,
    key: PublicKey,
    /// Where files come that are taken, if nothing else is said.
    downloads: PathBuf,
    asks: mpsc::Sender<Ask>,
    /// Weak, so that listeners learn when the driver has ended.
    events: broadcast::WeakSender<events::Shared>,
    driver: JoinHandle<Result<(), StoreError>>,
}

/// All that was said with somebody, page by page.
#[derive(Debug)]
pub struct Pages {
    asks: mpsc::Sender<Ask>,
    contact: Address,
    /// The last message of the page before.
    after: Option<MessageNumber>,
}

/// Why a client cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store holds what cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node in this process cannot start.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// Why a client did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClientError {
    /// It was asked for something impossible.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A file cannot be offered.
    #[error(transparent)]
    File(#[from] FileProblem),
    /// The node refused, or there is no connection to it.
    #[error("the node: {0}")]
    Node(#[from] Rejection),
    /// The disk failed; the client has ended.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The client has ended.
    #[error("the client has ended")]
    Closed,
}

impl Message {
    /// A text that waits for the usual time.
    pub fn text(to: Address, text: impl Into<String>) -> Self {
        let body = text.into().into_bytes();
        Self { to, content_type: ContentType::TEXT, body, ttl: TTL_DEFAULT }
    }
}

impl Client {
    /// Opens the person's store, starts their node if it runs in this process, and goes online. To be
    /// called on a runtime.
    ///
    /// # Errors
    /// When the store cannot be opened, or the node in this process cannot start. A node elsewhere
    /// may be away: the client waits for it.
    pub async fn start(identity: Identity, config: Config) -> Result<Self, StartError> {
        let (address, key) = (identity.address(), *identity.public());
        let downloads = config.data_dir.join(DOWNLOADS);
        let storage_key = identity.storage_key();
        let opening =
            tokio::task::spawn_blocking(move || SealedStore::open(&config.data_dir, &storage_key));
        let ended = |_| StoreError::Disk("opening the store ended unexpectedly".to_owned());
        let store = opening.await.map_err(ended)??;
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let events = broadcast::Sender::new(EVENTS_MAX);
        let link = Link::start(config.node).await?;
        let weak = events.downgrade();
        let driver = Driver::new(identity, store, link, (asked, events))?;
        let driver = tokio::spawn(driver.run());
        Ok(Self { address, key, downloads, asks, events: weak, driver })
    }

    /// The person's address: what they tell their friends.
    pub const fn address(&self) -> Address {
        self.address
    }

    /// The person's public key.
    pub const fn key(&self) -> PublicKey {
        self.key
    }

    /// What happens from now on. A listener that is more than about a thousand events behind loses
    /// the oldest and is told so.
    pub fn events(&self) -> Events {
        Events::listen(&self.events)
    }

    /// Says something. When this returns it is on disk, and leaves as soon as it can.
    ///
    /// # Errors
    /// When the message is impossible, or the client has ended.
    pub async fn send(&self, message: Message) -> Result<Entry, ClientError> {
        let Message { to, content_type, body, ttl } = message;
        match self.command(Command::Send { to, content_type, body, ttl }).await? {
            Outcome::Queued(entry) => Ok(entry),
            _ => Err(ClientError::Closed),
        }
    }

    /// Says something that answers a message, to whom that was from or to; it waits for `ttl` at most.
    ///
    /// # Errors
    /// When there is no such message or the text is impossible, or the client has ended.
    pub async fn reply(
        &self,
        to: MessageNumber,
        text: impl Into<String>,
        ttl: Span,
    ) -> Result<Entry, ClientError> {
        let text = text.into();
        match self.command(Command::Reply { to, text, ttl }).await? {
            Outcome::Queued(entry) => Ok(entry),
            _ => Err(ClientError::Closed),
        }
    }

    /// Gives one of our own messages another text (PROTOCOL §4.9). Returns it as it is now, and the number that the
    /// edit goes by on its way.
    ///
    /// # Errors
    /// When it is no text of ours that is there, the text is impossible, or the client has ended.
    pub async fn edit(
        &self,
        number: MessageNumber,
        text: impl Into<String>,
        ttl: Span,
    ) -> Result<(Entry, MessageNumber), ClientError> {
        let text = text.into();
        match self.command(Command::Edit { number, text, ttl }).await? {
            Outcome::Edited { entry, notice } => Ok((entry, notice)),
            _ => Err(ClientError::Closed),
        }
    }

    /// Removes one of our own messages here, and has it removed there (PROTOCOL §4.9). Returns what is left of
    /// it, and the number that the removal goes by on its way: none if the message had never left this
    /// machine. Whoever has read it may have kept it.
    ///
    /// # Errors
    /// When it is no message of ours that is there, or the client has ended.
    pub async fn delete(
        &self,
        number: MessageNumber,
        ttl: Span,
    ) -> Result<(Entry, Option<MessageNumber>), ClientError> {
        match self.command(Command::Delete { number, ttl }).await? {
            Outcome::Deleted { entry, notice } => Ok((entry, notice)),
            _ => Err(ClientError::Closed),
        }
    }

    /// Has what is said with `contact` from now on disappear after a time, on both sides, or stay (PROTOCOL §4.10).
    /// Returns the message that tells them so.
    ///
    /// # Errors
    /// When the time is impossible, or the client has ended.
    pub async fn set_timer(
        &self,
        contact: Address,
        lifetime: Option<Span>,
        ttl: Span,
    ) -> Result<Entry, ClientError> {
        match self.command(Command::SetTimer { contact, lifetime, ttl }).await? {
            Outcome::Queued(entry) => Ok(entry),
            _ => Err(ClientError::Closed),
        }
    }

    /// Notes that the person was shown messages of `contact`; those that are to tell so are told (PROTOCOL §4.11).
    /// Returns how many of this contact's messages they were not shown.
    ///
    /// # Errors
    /// When nobody with this address is a contact, or the client has ended.
    pub async fn mark_read(
        &self,
        contact: Address,
        numbers: &[MessageNumber],
    ) -> Result<u64, ClientError> {
        let mut left = 0;
        for numbers in numbers.chunks(READ_AT_ONCE) {
            let numbers = numbers.to_vec();
            match self.command(Command::MarkRead { contact, numbers }).await? {
                Outcome::Read { unread } => left = unread,
                _ => return Err(ClientError::Closed),
            }
        }
        Ok(left)
    }

    /// Says whether `of` is told which of their messages the person was shown; without anybody, whether everybody is
    /// who has no rule of their own. Nobody is at first.
    ///
    /// # Errors
    /// When nobody with this address is a contact, or the client has ended.
    pub async fn set_receipts(
        &self,
        of: Option<Address>,
        rule: ReceiptRule,
    ) -> Result<ReceiptRule, ClientError> {
        match self.command(Command::SetReceipts { of, rule }).await? {
            Outcome::Receipts(rule) => Ok(rule),
            _ => Err(ClientError::Closed),
        }
    }

    /// What is done for everybody who has no rule of their own.
    ///
    /// # Errors
    /// When the client has ended.
    pub async fn receipts_for_all(&self) -> Result<ReceiptRule, ClientError> {
        self.ask(Ask::Receipts).await
    }

    /// Gives an address a name, or another name. `key` is taken if it belongs to the address; without
    /// one the network is asked when it is needed.
    ///
    /// # Errors
    /// When name, address or key are impossible, or the client has ended.
    pub async fn add_contact(
        &self,
        name: &str,
        address: Address,
        key: Option<PublicKey>,
    ) -> Result<Contact, ClientError> {
        let name = name.to_owned();
        match self.command(Command::AddContact { name, address, key }).await? {
            Outcome::Contact(contact) => Ok(contact),
            _ => Err(ClientError::Closed),
        }
    }

    /// Writes down what the person wants to remember of a contact; nothing, to remove it.
    ///
    /// # Errors
    /// When the note is impossible, nobody with this address is a contact, or the client has ended.
    pub async fn note_contact(&self, address: Address, note: &str) -> Result<Contact, ClientError> {
        let note = note.to_owned();
        match self.command(Command::NoteContact { address, note }).await? {
            Outcome::Contact(contact) => Ok(contact),
            _ => Err(ClientError::Closed),
        }
    }

    /// Removes a contact with name, note and all that was said (PROTOCOL §4.8). Returns who it was, and
    /// how many messages to them go on all the same.
    ///
    /// # Errors
    /// When nobody with this address is a contact, or the client has ended.
    pub async fn remove_contact(&self, address: Address) -> Result<(Contact, usize), ClientError> {
        match self.command(Command::RemoveContact(address)).await? {
            Outcome::Removed { contact, on_their_way } => Ok((contact, on_their_way)),
            _ => Err(ClientError::Closed),
        }
    }

    /// Takes back what has not been delivered. Returns whether copies may exist that still arrive.
    ///
    /// # Errors
    /// When no such message is on its way, or the client has ended.
    pub async fn cancel(&self, number: MessageNumber) -> Result<bool, ClientError> {
        match self.command(Command::Cancel(number)).await? {
            Outcome::Cancelled { copies_may_exist } => Ok(copies_may_exist),
            _ => Err(ClientError::Closed),
        }
    }

    /// Everybody the person knows, by name.
    ///
    /// # Errors
    /// When the client has ended.
    pub async fn contacts(&self) -> Result<Vec<Contact>, ClientError> {
        self.ask(Ask::Contacts).await
    }

    /// Whoever has this address, if they are a contact.
    ///
    /// # Errors
    /// When the client has ended.
    pub async fn contact(&self, address: Address) -> Result<Option<Contact>, ClientError> {
        self.ask(|reply| Ask::Contact { address, reply }).await
    }

    /// Everybody the person knows, by name, and how well each conversation is connected.
    ///
    /// # Errors
    /// When the client has ended.
    pub async fn conversations(&self) -> Result<Vec<(Contact, Reach)>, ClientError> {
        let standings: Vec<Standing> = self.ask(Ask::Standings).await?;
        let network = tokio::time::timeout(NETWORK_PATIENCE, self.network()).await;
        let (network, now) = (network.ok().flatten(), Clock::default().now());
        let reach = |standing: Standing| {
            let reach = Reach::of(&standing, network, now);
            (standing.contact, reach)
        };
        Ok(standings.into_iter().map(reach).collect())
    }

    /// Every conversation with what was said last and how much is unread, the newest first.
    ///
    /// # Errors
    /// When the disk or the client has ended.
    pub async fn summaries(&self) -> Result<Vec<Summary>, ClientError> {
        Ok(self.ask(Ask::Summaries).await??)
    }

    /// Says whether the person wants no sound and no notice of what `contact` says; events carry it.
    ///
    /// # Errors
    /// When nobody with this address is a contact, or the client has ended.
    pub async fn mute(&self, contact: Address, muted: bool) -> Result<Contact, ClientError> {
        match self.command(Command::Mute { contact, muted }).await? {
            Outcome::Contact(contact) => Ok(contact),
            _ => Err(ClientError::Closed),
        }
    }

    /// The newest `limit` messages with `contact` that have all `words`, in the order of their authors. What
    /// else is asked is answered meanwhile.
    ///
    /// # Errors
    /// When the disk or the client has ended.
    pub async fn search(
        &self,
        contact: Address,
        words: &Words,
        limit: usize,
    ) -> Result<Vec<Entry>, ClientError> {
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let words = words.clone();
            let step = self.ask(|reply| Ask::Search { contact, words, from, reply }).await??;
            found.extend(step.entries);
            from = step.next;
            if from.is_none() || found.len() >= limit {
                found.truncate(limit);
                found.reverse();
                return Ok(found);
            }
        }
    }

    /// All that was said with `contact`, page by page from the beginning. The client does not end before this
    /// is dropped.
    pub fn pages(&self, contact: Address) -> Pages {
        Pages { asks: self.asks.clone(), contact, after: None }
    }

    /// Everything that is on disk now, to be saved with [`Snapshot::save`] while the client goes on. A
    /// copy that is used beside the original is a second device: what one of them reads the other
    /// never gets, and both number their messages alike.
    ///
    /// # Errors
    /// When the disk has failed or the client has ended.
    pub async fn snapshot(&self) -> Result<Snapshot, ClientError> {
        self.ask(Ask::Snapshot).await
    }

    /// The last `limit` messages with `contact` before number `before` (the very last, if none),
    /// in the order of their authors (PROTOCOL §4.7).
    ///
    /// # Errors
    /// When the disk or the client has ended.
    pub async fn history(
        &self,
        contact: Address,
        before: Option<MessageNumber>,
        limit: usize,
    ) -> Result<Vec<Entry>, ClientError> {
        Ok(self.ask(|reply| Ask::History { contact, before, limit, reply }).await??)
    }

    /// One message, whoever it is with, as it is now.
    ///
    /// # Errors
    /// When the disk or the client has ended.
    pub async fn message(&self, number: MessageNumber) -> Result<Option<Entry>, ClientError> {
        Ok(self.ask(|reply| Ask::Message { number, reply }).await??)
    }

    /// The message that `reply` answers, as it is now; none if it is not here or nothing is answered.
    ///
    /// # Errors
    /// When the disk or the client has ended.
    pub async fn answered(&self, reply: &Entry) -> Result<Option<Entry>, ClientError> {
        let Some(id) = reply.answers else { return Ok(None) };
        let contact = reply.contact;
        Ok(self.ask(|reply| Ask::MessageById { contact, id, reply }).await??)
    }

    /// Until when one of our messages waits to be delivered; none if it does so no more.
    ///
    /// # Errors
    /// When the client has ended.
    pub async fn waits_until(&self, number: MessageNumber) -> Result<Option<Time>, ClientError> {
        self.ask(|reply| Ask::WaitsUntil { number, reply }).await
    }

    /// How many messages are neither delivered nor given up.
    ///
    /// # Errors
    /// When the client has ended.
    pub async fn pending(&self) -> Result<usize, ClientError> {
        self.ask(Ask::Pending).await
    }

    /// What the node is and does.
    ///
    /// # Errors
    /// When there is no connection to the node, or the client has ended.
    pub async fn status(&self) -> Result<NodeStatus, ClientError> {
        self.ask_node(NodeAsk::Status).await
    }

    /// The nodes in the node's table.
    ///
    /// # Errors
    /// When there is no connection to the node, or the client has ended.
    pub async fn peers(&self) -> Result<Vec<PeerLine>, ClientError> {
        self.ask_node(NodeAsk::Peers).await
    }

    /// Leaves the network until [`Self::online`]: the connection to the node is ended, and the node
    /// too if it runs in this process. What is said meanwhile waits on disk.
    ///
    /// # Errors
    /// When the client has ended.
    pub async fn offline(&self) -> Result<(), ClientError> {
        self.ask(|reply| Ask::Switch { online: false, reply }).await
    }

    /// Comes back to the network. Returns at once; an event tells when there is a connection.
    ///
    /// # Errors
    /// When the client has ended.
    pub async fn online(&self) -> Result<(), ClientError> {
        self.ask(|reply| Ask::Switch { online: true, reply }).await
    }

    /// Leaves the network and waits until the disk has everything.
    ///
    /// # Errors
    /// When the disk has failed, now or before.
    pub async fn close(self) -> Result<(), ClientError> {
        let Self { asks, driver, .. } = self;
        drop(asks);
        driver.await.map_err(|_| ClientError::Closed)?.map_err(ClientError::Store)
    }

    /// What the node tells of the relays around it; none if it does not answer.
    async fn network(&self) -> Option<Network> {
        let status = self.status().await.ok()?;
        let peers = self.peers().await.ok()?;
        Some(Network::new(&status, &peers))
    }

    async fn command(&self, command: Command) -> Result<Outcome, ClientError> {
        Ok(self.ask(|reply| Ask::Command { command, reply }).await??)
    }

    async fn ask_node<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<Result<T, Rejection>>) -> NodeAsk,
    ) -> Result<T, ClientError> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Node(ask(reply))).await.map_err(|_| ClientError::Closed)?;
        // The connection ended before the answer came.
        Ok(answer.await.unwrap_or(Err(Rejection::Unreachable))?)
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, ClientError> {
        ask_driver(&self.asks, ask).await
    }
}

impl Pages {
    /// The next page, empty at the end.
    ///
    /// # Errors
    /// When the disk or the client has ended.
    pub async fn next(&mut self) -> Result<Vec<Entry>, ClientError> {
        let (contact, after) = (self.contact, self.after);
        let ask = |reply| Ask::Page { contact, after, limit: PAGE, reply };
        let page = ask_driver(&self.asks, ask).await??;
        self.after = page.last().map(|entry| entry.number).or(self.after);
        Ok(page)
    }
}

async fn ask_driver<T>(
    asks: &mpsc::Sender<Ask>,
    ask: impl FnOnce(oneshot::Sender<T>) -> Ask,
) -> Result<T, ClientError> {
    let (reply, answer) = oneshot::channel();
    asks.send(ask(reply)).await.map_err(|_| ClientError::Closed)?;
    answer.await.map_err(|_| ClientError::Closed)
}
