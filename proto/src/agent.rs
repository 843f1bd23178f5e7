//! A person's end of the network: identity, outbox, inbox and the conversations between them.
//!
//! Entry type is [`Agent`]. It seals and opens, knows which mailboxes to open and to write to, keeps
//! what was said, and acknowledges only what its own disk has. It talks to one node through the
//! requests of PROTOCOL §8; no key and no text ever leaves it. Like a node it opens no socket and
//! reads no clock ([`Input`], [`Output`]).
//!
//! `commands` hears what the person wants, `contacts` knows people, `saying` is what they say to each other
//! and take back, `outbox` brings it on its way, `inbox` takes it in, `requests` decides from whom, `mailboxes` says where both happen,
//! `cards` publishes and looks up prekeys, `history` remembers in the order that `received` finds, `fading`
//! removes what is to disappear, `reading` knows what the person was shown, `succeeding` what another key means,
//! `profiles` what people say of themselves, `rooms` are the rooms that they are in, `files` what is offered and brought
//! over piece by piece.

mod cards;
mod commands;
mod contacts;
mod drawer;
mod entry;
mod fading;
mod files;
mod history;
mod inbox;
mod io;
mod known;
mod mailboxes;
mod outbox;
mod profiles;
mod reading;
mod received;
mod records;
mod requests;
mod rooms;
mod saying;
mod search;
mod succeeding;
mod ties;

use std::collections::{BTreeMap, VecDeque};

use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};

use crate::address::Address;
use crate::identity::Identity;
use crate::message::{ClientPush, ClientRequest, ClientResponse};
use crate::prekey::PrekeyRing;
use crate::profile::Profile;
use crate::rejection::Rejection;
use crate::store::{self, Journal, Store, StoreError};
use crate::time::Time;

use cards::Publishing;
use contacts::People;
use fading::Fading;
use files::Files;
use inbox::Inbox;
use mailboxes::Mailboxes;
use outbox::Outbox;
use reading::Reading;
use rooms::Rooms;
use succeeding::Succeeding;

pub(crate) use contacts::check_name;
pub use entry::{Author, Edited, Entry, Marks, MessageNumber, MessageState, Place, Steps};
pub use files::{
    File, FileCommand, FileEnd, FileError, FileEvent, FileOrder, FileReport, FileStanding,
    Unwritten,
};
pub use io::{
    CallId, Command, CommandError, CommandId, Comparison, Contact, Drawer, Event, Input, Newest,
    Outcome, Output, ReceiptRule, Request, Standing, Summary, Timer,
};
pub use rooms::{
    Delivery, Room, RoomChange, RoomCommand, RoomError, RoomEvent, RoomFound, RoomInvitation,
    RoomLine, RoomMember, RoomOutcome, RoomStanding,
};
pub use search::{Found, Place as SearchPlace, Words};
pub use succeeding::{Handover, HandoverError, hand_over};
pub use ties::Doubt;

/// Above every key of every drawer.
const HIGHEST: &[u8] = &[0xff; 48];
/// Where the next message number is kept.
const NEXT_NUMBER: &[u8] = b"next-message";

/// A person's end. Its methods fall into three classes, as a node's do: *in* ([`Agent::new`],
/// [`Agent::handle`]), *out* ([`Agent::poll_output`]), *when* ([`Agent::poll_timeout`]); the rest
/// only looks.
#[derive(Debug)]
pub struct Agent {
    identity: Identity,
    rng: ChaCha12Rng,
    outputs: VecDeque<Output>,
    journal: Journal<Drawer, Promise>,
    node: Option<Node>,
    calls: BTreeMap<CallId, Purpose>,
    people: People,
    outbox: Outbox,
    inbox: Inbox,
    mailboxes: Mailboxes,
    prekeys: PrekeyRing,
    fading: Fading,
    reading: Reading,
    succeeding: Succeeding,
    profile: Option<Profile>,
    rooms: Rooms,
    files: Files,
    /// Since when our clock has called the time of a secret over, while we are offline.
    overdue_since: Option<Time>,
    publishing: Publishing,
    next_number: u64,
}

/// The node we are connected to, and those it collects by.
#[derive(Clone, Debug)]
struct Node {
    address: Address,
    entries: Vec<Address>,
    rotating_entry: Option<Address>,
}

/// What may happen only once the disk has the step's batch.
#[derive(Debug)]
enum Promise {
    /// This output.
    Output(Box<Output>),
    /// An envelope has been stored or is not worth it: it may end.
    Acknowledge(inbox::Read),
    /// The card may be published: the secret of its prekey is safe.
    PublishCard,
    /// The envelope may be submitted: we will submit the same one after a restart.
    Submit(MessageNumber),
}

/// What an answer will be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Submit(MessageNumber),
    Cancel(MessageNumber, CommandId),
    Withdraw,
    Watch,
    Subscribe,
    Acknowledge,
    PublishCard,
    FindCard(u32),
    Credit,
}

/// What one step may look at.
#[derive(Clone, Copy)]
struct Turn<'a> {
    store: &'a dyn Store<Drawer>,
    now: Time,
}

impl Agent {
    /// The agent of `identity` that takes up where its store left off. `seed` feeds all its
    /// randomness.
    ///
    /// # Errors
    /// When the store cannot be read or holds damaged values.
    pub fn new(
        identity: Identity,
        seed: [u8; 32],
        store: &dyn Store<Drawer>,
        now: Time,
    ) -> Result<Self, StoreError> {
        let turn = Turn { store, now };
        let outbox = Outbox::read(turn)?;
        let files = Files::read(turn, &outbox)?;
        let mut agent = Self {
            rng: ChaCha12Rng::from_seed(seed),
            outputs: VecDeque::new(),
            journal: Journal::new(),
            node: None,
            calls: BTreeMap::new(),
            people: People::read(turn, &outbox)?,
            outbox,
            inbox: Inbox::default(),
            mailboxes: Mailboxes::default(),
            prekeys: cards::read_prekeys(turn)?,
            fading: Fading::read(turn)?,
            reading: Reading::read(turn)?,
            succeeding: Succeeding::read(turn)?,
            profile: profiles::read_own(turn)?,
            rooms: Rooms::read(turn, identity.key())?,
            files,
            overdue_since: None,
            publishing: Publishing::default(),
            next_number: read_next_number(turn)?,
            identity,
        };
        agent.open_own_mailbox();
        agent.refresh_mailboxes(turn);
        agent.restore_untold();
        Ok(agent)
    }

    /// Takes one input. Drain [`Self::poll_output`] before the next.
    ///
    /// # Errors
    /// Only when our own store fails; the host must stop then.
    pub fn handle(
        &mut self,
        input: Input,
        store: &dyn Store<Drawer>,
        now: Time,
    ) -> Result<(), StoreError> {
        debug_assert!(self.outputs.is_empty(), "outputs are drained before the next input");
        let turn = Turn { store, now };
        match input {
            Input::Tick => self.on_tick(turn)?,
            Input::Durable(seq) => {
                for promise in self.journal.take_durable(seq) {
                    self.keep(turn, promise);
                }
            }
            Input::Command { id, command } => self.on_command(turn, id, command)?,
            Input::Connected { node, entries, rotating_entry } => {
                // With a new connection the clock may have been set back.
                self.fading_due(turn)?;
                self.redate_profile(turn)?;
                self.on_connected(turn, Node { address: node, entries, rotating_entry })?;
            }
            Input::Entries { entries, rotating_entry } => {
                self.on_entries(turn, entries, rotating_entry);
            }
            Input::Disconnected => self.on_disconnected(),
            Input::Response { id, result } => self.on_response(turn, id, result)?,
            Input::Push(ClientPush::Envelope { envelope, .. }) => {
                self.on_envelope(turn, &envelope)?;
            }
            Input::Push(ClientPush::State { id, state }) => self.on_state(turn, &id, state)?,
            Input::Push(ClientPush::CaughtUp) => {}
            Input::File(report) => self.on_file(turn, report)?,
        }
        self.commit(turn);
        Ok(())
    }

    /// The next thing for the host to do, in order; `None` when it may hand in the next input.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to hand in [`Input::Tick`] at the latest, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Time, Timer)> {
        let connected = self.node.is_some();
        [
            self.outbox.next(connected).map(|at| (at, Timer::Outbox)),
            Some((self.mailboxes.next(), Timer::Mailboxes)),
            connected.then(|| (self.publishing.next(), Timer::Card)),
            self.prekeys_next().map(|at| (at, Timer::Prekeys)),
            self.fading.next().map(|at| (at, Timer::Fading)),
            self.reading.next().map(|at| (at, Timer::Receipts)),
            self.rooms.next().filter(|_| connected).map(|at| (at, Timer::Rooms)),
            self.files.next().filter(|_| connected).map(|at| (at, Timer::Files)),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The person's address: what they tell their friends.
    pub fn address(&self) -> Address {
        self.identity.address()
    }

    /// Messages that are neither delivered nor expired. Receipts are not counted.
    pub fn outbox_len(&self) -> usize {
        self.outbox.shown()
    }

    fn on_tick(&mut self, turn: Turn<'_>) -> Result<(), StoreError> {
        self.fading_due(turn)?;
        self.receipts_due(turn)?;
        self.rooms_due(turn)?;
        self.outbox_due(turn)?;
        self.files_due(turn)?;
        self.mailboxes_due(turn);
        self.prekeys_due(turn);
        self.card_due(turn);
        Ok(())
    }

    fn on_connected(&mut self, turn: Turn<'_>, node: Node) -> Result<(), StoreError> {
        self.give_up_calls();
        self.node = Some(node);
        self.mailboxes.look_as_from(turn.now);
        self.subscribe_all(turn);
        self.publish_card(turn);
        self.tell_lineage(turn);
        self.tell_profile(turn);
        self.resume_outbox(turn);
        self.files_due(turn)
    }

    /// Those by whom the node collects now are granted all that they are to collect.
    fn on_entries(&mut self, turn: Turn<'_>, entries: Vec<Address>, rotating: Option<Address>) {
        let Some(node) = &mut self.node else { return };
        let same = node.rotating_entry == rotating
            && entries.len() == node.entries.len()
            && entries.iter().all(|entry| node.entries.contains(entry));
        (node.entries, node.rotating_entry) = (entries, rotating);
        if !same {
            self.subscribe_all(turn);
        }
    }

    fn on_disconnected(&mut self) {
        self.node = None;
        self.give_up_calls();
        self.reset_inbox();
        self.outbox.interrupt();
        self.people.interrupt();
    }

    /// Calls under way will not be answered; commands that wait for one end.
    fn give_up_calls(&mut self) {
        for purpose in std::mem::take(&mut self.calls).into_values() {
            if let Purpose::Cancel(_, id) = purpose {
                let result = Err(CommandError::NoAnswer);
                self.outputs.push_back(Output::Done { id, result });
            }
        }
    }

    fn on_response(
        &mut self,
        turn: Turn<'_>,
        id: CallId,
        result: Result<ClientResponse, Rejection>,
    ) -> Result<(), StoreError> {
        let Some(purpose) = self.calls.remove(&id) else { return Ok(()) };
        match (purpose, result) {
            (Purpose::Submit(number), result) => self.on_submitted(turn, number, result),
            (Purpose::Cancel(number, command), result) => {
                self.on_cancelled(turn, number, command, result)
            }
            (Purpose::Watch, Ok(ClientResponse::States(states))) => {
                for (envelope, state) in states {
                    self.on_state(turn, &envelope, state)?;
                }
                Ok(())
            }
            (Purpose::FindCard(contact), result) => {
                let card = match result {
                    Ok(ClientResponse::Card { card }) => card,
                    _ => None,
                };
                self.on_card(turn, contact, card)
            }
            (Purpose::PublishCard, Err(_)) => {
                self.publishing.try_again(turn.now);
                Ok(())
            }
            (Purpose::Subscribe, Err(_)) => {
                self.mailboxes.try_again(turn.now);
                Ok(())
            }
            (Purpose::Credit, Err(_)) => {
                self.lose_credit();
                self.mailboxes.try_again(turn.now);
                Ok(())
            }
            // Lost acknowledgements are made good when the envelope is pushed again, refused
            // watches when the envelope is submitted again. Of what was withdrawn nothing is here any more.
            (
                Purpose::Watch
                | Purpose::Withdraw
                | Purpose::Subscribe
                | Purpose::Acknowledge
                | Purpose::PublishCard
                | Purpose::Credit,
                _,
            ) => Ok(()),
        }
    }

    /// Asks the node, if there is one.
    fn call(&mut self, request: ClientRequest, purpose: Purpose) -> bool {
        if self.node.is_none() {
            return false;
        }
        let id = CallId(self.rng.next_u64());
        self.calls.insert(id, purpose);
        self.outputs.push_back(Output::Call { id, request });
        true
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn take_number(&mut self) -> MessageNumber {
        let number = MessageNumber(self.next_number);
        self.next_number += 1;
        let next = self.next_number.to_be_bytes().to_vec();
        self.journal.put(Drawer::Meta, NEXT_NUMBER.to_vec(), next);
        number
    }

    fn commit(&mut self, turn: Turn<'_>) {
        let (batch, kept) = self.journal.close();
        if let Some(batch) = batch {
            self.outputs.push_front(Output::Write(batch));
        }
        for promise in kept {
            self.keep(turn, promise);
        }
        self.acknowledge_read();
    }

    fn keep(&mut self, turn: Turn<'_>, promise: Promise) {
        match promise {
            Promise::Output(output) => self.outputs.push_back(*output),
            Promise::Acknowledge(read) => self.inbox.may_end(read),
            Promise::PublishCard => self.send_card(turn),
            Promise::Submit(number) => self.submit(number),
        }
    }
}

/// All entries of a drawer, page by page.
fn read_all(turn: Turn<'_>, drawer: Drawer) -> Result<Vec<store::Entry>, StoreError> {
    const PAGE: usize = 1_024;
    let (mut all, mut from) = (Vec::new(), Vec::new());
    loop {
        let page = turn.store.scan(drawer, &from, HIGHEST, PAGE)?;
        let full = page.len() == PAGE;
        if let Some((last, _)) = page.last() {
            // The least key above the last.
            from = [&last[..], &[0]].concat();
        }
        all.extend(page);
        if !full {
            return Ok(all);
        }
    }
}

fn read_next_number(turn: Turn<'_>) -> Result<u64, StoreError> {
    let Some(value) = turn.store.get(Drawer::Meta, NEXT_NUMBER)? else { return Ok(1) };
    let bytes = value.try_into().map_err(|_| StoreError::Damaged("meta"))?;
    Ok(u64::from_be_bytes(bytes))
}
