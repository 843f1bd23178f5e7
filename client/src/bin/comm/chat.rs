//! The chat: lines in, lines out, one at a time.
//!
//! Entry type is [`Chat`]. It knows what a line wants and what an event means to a person; everything
//! else is the library's. Whatever goes wrong with a line is told, and the chat goes on.

mod conversation;
mod files;
mod people;
mod rooms;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use comm::{Client, ClientError, Config, Event, Events, Message};
use comm_proto::address::Address;
use comm_proto::agent::{
    self, Author, Contact, Entry, MessageNumber, MessageState, Place, RoomEvent,
};
use comm_proto::identity::{Identity, safety_number};
use comm_proto::room::RoomId;
use comm_proto::time::{Span, Time};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout};

use crate::failure::Failure;
use crate::filing::{Filing, Pace};
use crate::input::Typed;
use crate::line::{Line, Who, Whose};
use crate::moment::written_at;
use crate::rooming::Rooming;
use crate::screen::Screen;
use crate::shown::{Said, Shown, Talk};
use crate::stop::Stop;

/// How long the first connection may take before the chat begins without one.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);
/// How long a line may take.
const LINE_PATIENCE: Duration = Duration::from_secs(10);
/// How long what was shown last may take to be printed when the program ends.
const PRINT_PATIENCE: Duration = Duration::from_secs(1);
/// How long messages may take to leave this machine when the input has ended.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);

/// One person's chat.
pub(crate) struct Chat {
    client: Client,
    events: Events,
    screen: Screen,
    contacts: BTreeMap<Address, Contact>,
    /// Strangers that were introduced in this run.
    introduced: BTreeSet<Address>,
    /// Messages of this run that are on this machine only.
    staying: BTreeSet<MessageNumber>,
    /// How long what is said waits.
    ttl: Span,
    /// Backups and files of conversations that are being written.
    copies: JoinSet<Shown>,
    /// How fast files come.
    paces: BTreeMap<MessageNumber, Pace>,
    /// Where files are put that are taken, if not beside the data.
    downloads: Option<PathBuf>,
    /// Messages that are being printed.
    printing: JoinSet<Option<Displayed>>,
    /// Messages that are shown next.
    to_be_printed: Vec<Displayed>,
    /// Whether somebody is supposed to read what is printed as it comes.
    is_watched: bool,
    /// Messages that are on our node's disk count as left when the node is not ours.
    accepted_is_left: bool,
    /// Why there is no connection, as it was last shown: each attempt fails for the same reason.
    offline_because: Option<String>,
}

/// What was printed: messages of one person, or the newest lines of a room.
enum Displayed {
    Messages(Address, Vec<MessageNumber>),
    Room(RoomId),
}

/// How it goes on after a line.
#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    Quit,
}

impl Chat {
    /// Opens the store, starts or finds the node, and shows who and where we are.
    pub(crate) async fn start(
        identity: Identity,
        config: Config,
        ttl: Span,
        screen: Screen,
    ) -> Result<Self, Failure> {
        let accepted_is_left = matches!(config.node, comm::Node::Remote(_));
        let client = Client::start(identity, config).await.map_err(Failure::failed)?;
        let mut chat = Self {
            events: client.events(),
            client,
            screen,
            contacts: BTreeMap::new(),
            introduced: BTreeSet::new(),
            staying: BTreeSet::new(),
            ttl,
            copies: JoinSet::new(),
            paces: BTreeMap::new(),
            downloads: None,
            printing: JoinSet::new(),
            to_be_printed: Vec::new(),
            is_watched: true,
            accepted_is_left,
            offline_because: None,
        };
        let node = chat.first_status().await;
        let address = chat.client.address();
        chat.screen.show(&Shown::Started { address, node }).await;
        chat.show_requests().await;
        Ok(chat)
    }

    /// Chats until the input ends, the person quits or the system wants the program to end.
    pub(crate) async fn run(
        mut self,
        mut lines: mpsc::Receiver<Typed>,
        stop: &mut Stop,
        stays: bool,
    ) -> Result<(), Failure> {
        let mut has_input = true;
        // What goes to a log is read when the person asks for it.
        self.is_watched = !stays;
        loop {
            tokio::select! {
                event = self.events.next() => match event {
                    Some(event) => self.on_event(&event).await,
                    None => break,
                },
                typed = lines.recv(), if has_input => match typed {
                    Some(typed) => {
                        if self.on_typed(&typed).await == Next::Quit {
                            self.let_leave().await;
                            break;
                        }
                    }
                    None if stays => has_input = false,
                    None => {
                        self.let_leave().await;
                        break;
                    }
                },
                Some(copied) = self.copies.join_next() => self.show_copied(copied).await,
                Some(printed) = self.printing.join_next() => self.mark_read(printed).await,
                () = stop.wanted() => break,
            }
        }
        while let Some(copied) = self.copies.join_next().await {
            self.show_copied(copied).await;
        }
        // What the terminal took before the end was shown, too; what it does not take was not.
        while let Ok(Some(printed)) = timeout(PRINT_PATIENCE, self.printing.join_next()).await {
            self.mark_read(printed).await;
        }
        let Self { client, screen, .. } = self;
        let closed = client.close().await;
        screen.close().await;
        closed.map_err(Failure::failed)
    }

    async fn first_status(&mut self) -> Result<comm::NodeStatus, String> {
        let deadline = Instant::now() + FIRST_PATIENCE;
        let mut reason = "it does not answer".to_owned();
        // What comes meanwhile is shown after the chat has begun.
        let mut early = self.client.events();
        loop {
            let status = self.client.status().await;
            match status {
                Ok(status) => return Ok(status),
                Err(ClientError::Node(_)) => {}
                Err(error) => return Err(error.to_string()),
            }
            match tokio::time::timeout_at(deadline, early.next()).await {
                Ok(Some(event)) => {
                    if let Event::Offline { reason: why } = &*event {
                        reason.clone_from(why);
                    }
                }
                Ok(None) | Err(_) => return Err(reason),
            }
        }
    }

    async fn on_typed(&mut self, typed: &Typed) -> Next {
        // What the person has typed stands below the bar from now on.
        self.screen.leave_bar().await;
        let line = match &typed.line {
            Ok(line) => line.parse().map_err(|error: crate::line::LineError| error.to_string()),
            Err(error) => Err(error.clone()),
        };
        let line = match line {
            Ok(Line::Quit) => return Next::Quit,
            Ok(line) => line,
            Err(error) => {
                self.screen.show(&Shown::Error(error)).await;
                return Next::GoOn;
            }
        };
        let shown = match timeout(LINE_PATIENCE, self.obey(line)).await {
            Ok(Ok(shown)) => shown,
            Ok(Err(error)) => Some(Shown::Error(error)),
            Err(_) => Some(Shown::Error("no answer yet; it may still happen".to_owned())),
        };
        if let Some(shown) = shown {
            self.screen.show(&shown).await;
        }
        self.follow_printing().await;
        Next::GoOn
    }

    /// What was just shown counts as read once it is printed, not before.
    async fn follow_printing(&mut self) {
        for displayed in std::mem::take(&mut self.to_be_printed) {
            let printed = self.screen.printed().await;
            self.printing.spawn(async move { printed.await.ok().map(|()| displayed) });
        }
    }

    async fn mark_read(&mut self, printed: Result<Option<Displayed>, JoinError>) {
        // They may have been removed meanwhile.
        match printed {
            Ok(Some(Displayed::Messages(contact, numbers))) => {
                let _gone = self.client.mark_read(contact, &numbers).await;
            }
            Ok(Some(Displayed::Room(room))) => {
                let _gone = self.client.mark_room_read(room).await;
            }
            Ok(None) | Err(_) => {}
        }
    }

    async fn obey(&mut self, line: Line) -> Result<Option<Shown>, String> {
        let shown = match line {
            Line::Nothing | Line::Quit => return Ok(None),
            Line::Send { to, text } => self.send(&to, text).await?,
            Line::AddContact { name, whose, note } => {
                self.add_contact(&name, &whose, note.as_deref()).await?
            }
            Line::People(line) => self.obey_about_people(line).await?,
            Line::Room(order) => self.obey_about_rooms(order).await?,
            Line::File(line) => return self.obey_about_files(line).await,
            Line::NoteContact { who, note } => {
                let address = self.find(&who).await?;
                self.note_contact(address, &note).await?
            }
            Line::RemoveContact(who) => self.remove_contact(&who).await?,
            Line::Contacts => Shown::Contacts(self.client.conversations().await.map_err(text)?),
            Line::History { who, count } => self.history(who.as_ref(), count).await?,
            Line::Reply { to, text } => self.reply(to, text).await?,
            Line::Forward { number, to, origin } => self.forward(number, &to, origin).await?,
            Line::Edit { number, text } => self.edit(number, text).await?,
            Line::Delete(number) => self.delete(number).await?,
            Line::Conversations => self.conversations().await?,
            Line::Search(words) => self.search(&words).await?,
            Line::Export { who, file } => return self.export(&who, file).await.map(|()| None),
            Line::Mute { who, muted } => self.mute(&who, muted).await?,
            Line::Bell(bell) => {
                self.screen.set_bell(bell.unwrap_or(self.screen.bell()));
                Shown::Bell(self.screen.bell())
            }
            Line::Receipts(of) => self.receipts(of.as_ref()).await?,
            Line::SetReceipts { of, rule } => self.set_receipts(of.as_ref(), rule).await?,
            Line::Timer(who) => self.timer(&who).await?,
            Line::SetTimer { who, lifetime } => self.set_timer(&who, lifetime).await?,
            Line::Info(number) => self.message(number).await?,
            Line::Cancel(number) => {
                let copies_may_exist = self.client.cancel(number).await.map_err(text)?;
                self.staying.remove(&number);
                Talk::Cancelled { number, copies_may_exist }.into()
            }
            Line::WhoAmI => self.who_am_i().await?,
            Line::Peers => Shown::Peers(self.client.peers().await.map_err(text)?),
            Line::Lifetime(ttl) => {
                self.ttl = ttl.unwrap_or(self.ttl);
                Shown::Lifetime(self.ttl)
            }
            Line::Backup(file) => return self.back_up(file).await.map(|()| None),
            Line::Offline => return self.client.offline().await.map(|()| None).map_err(text),
            Line::Online => return self.client.online().await.map(|()| None).map_err(text),
            Line::Help => Shown::Help,
        };
        Ok(Some(shown))
    }

    async fn send(&mut self, to: &Who, message: String) -> Result<Shown, String> {
        let to = match self.say_to(to, &message).await? {
            Ok(address) => address,
            Err(shown) => return Ok(shown),
        };
        let message = Message { ttl: self.ttl, ..Message::text(to, message) };
        let entry = self.client.send(message).await.map_err(text)?;
        self.staying.insert(entry.number);
        Ok(Talk::Queued(self.said(entry).await).into())
    }

    async fn reply(&mut self, to: MessageNumber, answer: String) -> Result<Shown, String> {
        if let Some(shown) = self.reply_in_room(to, &answer).await? {
            return Ok(shown);
        }
        let entry = self.client.reply(to, answer, self.ttl).await.map_err(text)?;
        self.staying.insert(entry.number);
        Ok(Talk::Queued(self.said(entry).await).into())
    }

    async fn edit(&mut self, number: MessageNumber, new: String) -> Result<Shown, String> {
        let (entry, notice) = self.client.edit(number, new, self.ttl).await.map_err(text)?;
        self.staying.insert(notice);
        Ok(Talk::Edited { said: self.said(entry).await, notice }.into())
    }

    async fn delete(&mut self, number: MessageNumber) -> Result<Shown, String> {
        let (entry, notice) = self.client.delete(number, self.ttl).await.map_err(text)?;
        self.staying.remove(&number);
        self.staying.extend(notice);
        Ok(Talk::Deleted { said: self.said(entry).await, notice }.into())
    }

    async fn add_contact(
        &mut self,
        name: &str,
        whose: &Whose,
        note: Option<&str>,
    ) -> Result<Shown, String> {
        let (address, key) = (whose.address(), whose.key());
        let contact = self.client.add_contact(name, address, key).await.map_err(text)?;
        self.contacts.insert(address, contact.clone());
        match note {
            Some(note) => self.note_contact(address, note).await,
            None => Ok(Shown::Contact(contact)),
        }
    }

    async fn note_contact(&mut self, address: Address, note: &str) -> Result<Shown, String> {
        let contact = self.client.note_contact(address, note).await.map_err(text)?;
        self.contacts.insert(address, contact.clone());
        Ok(Shown::Contact(contact))
    }

    async fn remove_contact(&mut self, who: &Who) -> Result<Shown, String> {
        let address = self.find(who).await?;
        let (contact, on_their_way) = self.client.remove_contact(address).await.map_err(text)?;
        self.contacts.remove(&address);
        // Should they write again, they are a stranger.
        self.introduced.remove(&address);
        Ok(Shown::Removed { contact, on_their_way })
    }

    /// Begins to copy what is on disk now; the chat goes on meanwhile.
    async fn back_up(&mut self, file: PathBuf) -> Result<(), String> {
        let snapshot = self.client.snapshot().await.map_err(text)?;
        self.copies.spawn_blocking(move || match snapshot.save(&file) {
            Ok(bytes) => Shown::Backup { file, bytes },
            Err(error) => Shown::Error(error.to_string()),
        });
        Ok(())
    }

    async fn show_copied(&mut self, copied: Result<Shown, JoinError>) {
        let shown = copied.unwrap_or_else(|error| Shown::Error(format!("no copy: {error}")));
        if let Shown::Talk(Talk::Queued(said)) = &shown {
            self.staying.insert(said.entry.number);
        }
        self.screen.show(&shown).await;
    }

    async fn message(&mut self, number: MessageNumber) -> Result<Shown, String> {
        if let Some(shown) = self.room_line(number).await? {
            return Ok(shown);
        }
        let entry = self.client.message(number).await.map_err(text)?;
        let entry = entry.ok_or_else(|| format!("there is no message #{}", number.0))?;
        let waits_until = self.client.waits_until(number).await.map_err(text)?;
        Ok(Talk::Message { said: self.said(entry).await, waits_until }.into())
    }

    async fn verify(&mut self, who: &Who) -> Result<Shown, String> {
        let contact = self.find(who).await?;
        // The key may have become known since they became a contact.
        self.refresh_contacts().await;
        let key = self.contact(contact).await.and_then(|contact| contact.key);
        let name = self.name(contact).await;
        let key = key.ok_or_else(|| {
            format!("the key of {name} is not known before the first message from or to them")
        })?;
        let compared_at = self.contact(contact).await.and_then(|contact| contact.compared_at);
        let digits = safety_number(&self.client.key(), &key);
        Ok(Shown::Verify { name, contact, digits, compared_at })
    }

    async fn who_am_i(&mut self) -> Result<Shown, String> {
        let node = self.client.status().await.map_err(text);
        let pending = self.client.pending().await.map_err(text)?;
        Ok(Shown::WhoAmI { address: self.client.address(), node, pending })
    }

    async fn on_event(&mut self, event: &Event) {
        let shown = match event {
            Event::Agent(event) => match self.talk(event).await {
                Some(shown) => shown,
                None => return,
            },
            Event::Online { node } => {
                self.offline_because = None;
                Shown::Online { node: *node }
            }
            Event::Offline { reason } => {
                if self.offline_because.replace(reason.clone()).as_ref() == Some(reason) {
                    return;
                }
                Shown::Offline { reason: reason.clone() }
            }
            Event::Lagged { missed } => self.after_lagging(*missed).await,
        };
        match &shown {
            Shown::Talk(Talk::Received { is_muted: false, .. }) => {
                self.screen.show_aloud(&shown).await;
            }
            Shown::Rooming(told) if matches!(**told, Rooming::Said(_)) => {
                self.screen.show_aloud(&shown).await;
            }
            Shown::Filing(told) if matches!(**told, Filing::Progress { .. }) => {
                self.screen.show_bar(&shown).await;
            }
            _ => self.screen.show(&shown).await,
        }
        let displayed = match event {
            Event::Agent(event) => match &**event {
                agent::Event::Received { entry, .. } => {
                    Some(Displayed::Messages(entry.contact, vec![entry.number]))
                }
                agent::Event::Room(RoomEvent::Said(line)) => Some(Displayed::Room(line.room)),
                _ => None,
            },
            _ => None,
        };
        if let Some(displayed) = displayed.filter(|_| self.is_watched) {
            self.to_be_printed.push(displayed);
            self.follow_printing().await;
        }
    }

    /// What an event of a conversation or a room tells; nothing, if it is not worth a line.
    async fn talk(&mut self, event: &agent::Event) -> Option<Shown> {
        let talk = match event {
            agent::Event::Requested { contact } => {
                return Some(self.requested(*contact).await.into());
            }
            agent::Event::Moved { contact, former, made_at } => {
                return Some(self.moved(*contact, *former, *made_at).await.into());
            }
            agent::Event::Profiled { contact, profile } => {
                return Some(self.profiled(*contact, profile.clone()).await.into());
            }
            agent::Event::Doubted { contact, doubt } => {
                return Some(self.doubted(*contact, *doubt).await.into());
            }
            agent::Event::Received { entry, is_muted } => {
                let is_stranger = self.is_new_stranger(entry.contact).await;
                let belongs_before = self.belongs_before(entry).await;
                let said = self.said(entry.clone()).await;
                Talk::Received { said, is_stranger, is_muted: *is_muted, belongs_before }
            }
            agent::Event::Revised(entry) => Talk::Revised(self.said(entry.clone()).await),
            agent::Event::Read { number, contact, at } => {
                let (number, contact, at) = (*number, *contact, *at);
                Talk::Read { number, name: self.name(contact).await, contact, at }
            }
            agent::Event::Overdue { contact } => {
                Talk::Overdue { name: self.name(*contact).await, contact: *contact }
            }
            agent::Event::Disappeared { number, contact } => {
                let (number, contact) = (*number, *contact);
                Talk::Disappeared { number, name: self.name(contact).await, contact }
            }
            agent::Event::Missing { contact, messages } => {
                let (name, contact) = (self.name(*contact).await, *contact);
                Talk::Missing { name, contact, messages: *messages }
            }
            agent::Event::State { number, contact, state } => {
                self.note_state(*number, *state);
                let (number, contact, state) = (*number, *contact, *state);
                Talk::State { number, name: self.name(contact).await, contact, state }
            }
            agent::Event::Room(event) => return self.room_news(event).await,
            agent::Event::File(event) => return self.file_news(event).await,
            agent::Event::Unreadable { envelope, reason } => {
                Talk::Unreadable { envelope: *envelope, reason: reason.clone() }
            }
        };
        Some(talk.into())
    }

    fn note_state(&mut self, number: MessageNumber, state: MessageState) {
        let has_left = match state {
            MessageState::Queued => false,
            MessageState::Accepted => self.accepted_is_left,
            _ => true,
        };
        if has_left {
            self.staying.remove(&number);
        }
    }

    /// Lets messages that were typed just before the end leave this machine, if there is anywhere to
    /// go.
    async fn let_leave(&mut self) {
        while let Some(copied) = self.copies.join_next().await {
            self.show_copied(copied).await;
        }
        let deadline = Instant::now() + LEAVE_PATIENCE;
        while !self.staying.is_empty() && self.can_leave().await {
            match tokio::time::timeout_at(deadline, self.events.next()).await {
                Ok(Some(event)) => self.on_event(&event).await,
                Ok(None) | Err(_) => break,
            }
        }
        if !self.staying.is_empty() {
            self.screen.show(&Shown::Left { waiting: self.staying.len() }).await;
        }
    }

    async fn can_leave(&self) -> bool {
        let status = timeout(LEAVE_PATIENCE, self.client.status()).await;
        status.is_ok_and(|status| {
            status.is_ok_and(|status| self.accepted_is_left || status.connected)
        })
    }

    /// When the message was written that a late one belongs before.
    async fn belongs_before(&self, late: &Entry) -> Option<Time> {
        let Author::Them { place: Place::Before(number), .. } = late.author else { return None };
        let entry = self.client.message(number).await.ok().flatten();
        entry.map(|entry| written_at(&entry))
    }

    async fn said(&mut self, entry: Entry) -> Said {
        let answered = self.client.answered(&entry).await.ok().flatten().map(Box::new);
        Said { name: self.name(entry.contact).await, entry, answered }
    }

    async fn is_new_stranger(&mut self, address: Address) -> bool {
        if self.introduced.contains(&address) {
            return false;
        }
        let is_named = self.contact(address).await.is_some_and(|contact| contact.is_named);
        !is_named && self.introduced.insert(address)
    }

    async fn find(&mut self, who: &Who) -> Result<Address, String> {
        let name = match who {
            Who::Address(address) => return Ok(*address),
            Who::Name(name) => name,
        };
        if self.named(name).is_none() {
            self.refresh_contacts().await;
        }
        self.named(name).ok_or_else(|| {
            format!("nobody is called {name}; /contact add {name} ADDRESS makes a contact")
        })
    }

    fn named(&self, name: &str) -> Option<Address> {
        let found = self.contacts.values().find(|contact| contact.name == name);
        found.map(|contact| contact.address)
    }

    async fn name(&mut self, address: Address) -> String {
        let known = self.contact(address).await;
        known.map_or_else(|| address.to_string(), |contact| contact.name)
    }

    async fn contact(&mut self, address: Address) -> Option<Contact> {
        if !self.contacts.contains_key(&address) {
            let known = self.client.contact(address).await.ok().flatten();
            self.contacts.extend(known.map(|contact| (address, contact)));
        }
        self.contacts.get(&address).cloned()
    }

    async fn refresh_contacts(&mut self) {
        if let Ok(contacts) = self.client.contacts().await {
            self.contacts =
                contacts.into_iter().map(|contact| (contact.address, contact)).collect();
        }
    }
}

fn text(error: ClientError) -> String {
    error.to_string()
}
