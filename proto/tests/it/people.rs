//! Whole conversations: agents of people at one relay, on a clock moved by hand.
//!
//! Entry type is [`Town`]. The relay's own network is `world`'s business; here it has one node, so that
//! a failure is the agent's.

mod contacts;
mod durable;
mod fading;
mod filing;
mod older;
mod order;
mod prekeys;
mod profiles;
mod reading;
mod requests;
mod revising;
mod rooming;
mod searching;
mod stolen;
mod succeeding;

use std::collections::{BTreeMap, VecDeque};

use comm_proto::address::Address;
use comm_proto::agent::{
    self, Agent, Author, Command, CommandError, CommandId, Drawer, Entry, Event, MessageNumber,
    MessageState, Outcome, Place,
};
use comm_proto::envelope::TTL_DEFAULT;
use comm_proto::identity::Identity;
use comm_proto::key::KeyPair;
use comm_proto::message::{ClientPush, ClientRequest};
use comm_proto::node::{self, Config, Family, Node, RequestId, SessionId};
use comm_proto::payload::ContentType;
use comm_proto::store::{Batch, MemoryStore};
use comm_proto::time::{Span, Time};

const START: Time = Time::from_millis(1_760_000_000_000);

/// A relay and the people at it.
struct Town {
    now: Time,
    node: Node,
    node_store: MemoryStore<Family>,
    people: BTreeMap<&'static str, Person>,
    /// What the node answers: to whom, and for which call of theirs.
    asked: BTreeMap<u64, (&'static str, agent::CallId)>,
    next_id: u64,
    /// Whether the node loses acknowledgements.
    drops_acknowledgements: bool,
    /// Envelopes that people have submitted.
    submitted: usize,
    /// Whether everybody is let in who asks.
    accepts: bool,
    /// Whose envelopes wait until the test hands them over, and these.
    held: Option<(&'static str, Vec<ClientPush>)>,
}

/// One person's program.
struct Person {
    session: SessionId,
    identity: [u8; 32],
    agent: Agent,
    store: MemoryStore<Drawer>,
    /// While the disk hangs, what it has.
    hangs_at: Option<MemoryStore<Drawer>>,
    /// At which write from now on power goes, before the disk has it.
    loses_write: Option<usize>,
    online: bool,
    events: Vec<Event>,
    done: Vec<(CommandId, Result<Outcome, CommandError>)>,
    shelf: filing::Shelf,
}

impl Town {
    fn new() -> Self {
        let node_store = MemoryStore::new();
        let key = KeyPair::from_seed(&[99; 32]);
        let node = Node::new(Config::default(), key, [98; 32], &node_store, START).unwrap();
        Self {
            now: START,
            node,
            node_store,
            people: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_id: 0,
            drops_acknowledgements: false,
            submitted: 0,
            accepts: true,
            held: None,
        }
    }

    fn with(names: &[&'static str]) -> Self {
        let mut town = Self::new();
        for (number, name) in names.iter().enumerate() {
            town.add(name, [number as u8 + 1; 32]);
            town.connect(name);
        }
        town
    }

    fn add(&mut self, name: &'static str, identity: [u8; 32]) {
        let store = MemoryStore::new();
        let agent = Agent::new(Identity::from_seed(&identity), identity, &store, self.now).unwrap();
        let session = SessionId(self.people.len() as u64);
        let (events, done) = (Vec::new(), Vec::new());
        let (online, hangs_at, loses_write) = (false, None, None);
        let shelf = filing::Shelf::default();
        let person = Person {
            session,
            identity,
            agent,
            store,
            hangs_at,
            loses_write,
            online,
            events,
            done,
            shelf,
        };
        self.people.insert(name, person);
    }

    /// Ends a person's program and starts it again from its disk.
    fn restart(&mut self, name: &'static str) {
        self.disconnect(name);
        let now = self.now;
        let person = self.people.get_mut(name).unwrap();
        let identity = Identity::from_seed(&person.identity);
        person.agent = Agent::new(identity, [7; 32], &person.store, now).unwrap();
    }

    fn connect(&mut self, name: &'static str) {
        let node = self.node.address();
        self.people.get_mut(name).unwrap().online = true;
        self.tell(
            name,
            agent::Input::Connected { node, entries: Vec::new(), rotating_entry: None },
        );
    }

    fn disconnect(&mut self, name: &'static str) {
        let session = self.people[name].session;
        self.people.get_mut(name).unwrap().online = false;
        self.ask(node::Input::SessionClosed { session });
        self.tell(name, agent::Input::Disconnected);
    }

    fn address(&self, name: &str) -> Address {
        self.people[name].agent.address()
    }

    fn command(&mut self, name: &'static str, command: Command) -> Result<Outcome, CommandError> {
        self.next_id += 1;
        let id = CommandId(self.next_id);
        self.tell(name, agent::Input::Command { id, command });
        let done = &self.people[name].done;
        done.iter().find(|(done, _)| *done == id).expect("the command ends").1.clone()
    }

    fn send(&mut self, from: &'static str, to: &str, text: &str) -> MessageNumber {
        let to = self.address(to);
        let (content_type, body) = (ContentType::TEXT, text.as_bytes().to_vec());
        let command = Command::Send { to, content_type, body, ttl: TTL_DEFAULT };
        match self.command(from, command).unwrap() {
            Outcome::Queued(entry) => entry.number,
            other => panic!("{other:?}"),
        }
    }

    /// Moves the clock, waking everybody when they want to be woken.
    fn wait(&mut self, span: Span) {
        let end = self.now + span;
        loop {
            let node = self.node.poll_timeout().map(|(at, _)| at);
            let agents = self.people.values().filter_map(|p| p.agent.poll_timeout());
            let next = node.into_iter().chain(agents.map(|(at, _)| at)).min();
            match next.filter(|at| *at <= end) {
                Some(at) => self.now = self.now.max(at),
                None => break,
            }
            self.ask(node::Input::Tick);
            for name in self.people.keys().copied().collect::<Vec<_>>() {
                self.tell(name, agent::Input::Tick);
            }
        }
        self.now = end;
    }

    fn received(&self, name: &str) -> Vec<Entry> {
        let events = self.people[name].events.iter();
        events
            .filter_map(|event| match event {
                Event::Received { entry, .. } => Some(entry.clone()),
                _ => None,
            })
            .collect()
    }

    fn texts(&self, name: &str) -> Vec<String> {
        let entries = self.received(name);
        entries.into_iter().map(|entry| String::from_utf8(entry.body).unwrap()).collect()
    }

    fn states(&self, name: &str, number: MessageNumber) -> Vec<MessageState> {
        let events = self.people[name].events.iter();
        events
            .filter_map(|event| match event {
                Event::State { number: moved, state, .. } if *moved == number => Some(*state),
                _ => None,
            })
            .collect()
    }

    /// Hands over one of the envelopes that are held, in the order in which they came from 0; it can
    /// be handed over again.
    fn release(&mut self, at: usize) {
        let (name, push) =
            self.held.as_ref().map(|(name, held)| (*name, held[at].clone())).unwrap();
        self.tell(name, agent::Input::Push(push));
    }

    fn history(&self, name: &str, with: &str) -> Vec<Entry> {
        let person = &self.people[name];
        person.agent.history(&person.store, &self.address(with), None, 1_000).unwrap()
    }

    /// One input of a person's program, and all that follows from it.
    fn tell(&mut self, name: &'static str, input: agent::Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = self.now;
            let person = self.people.get_mut(name).unwrap();
            person.agent.handle(input, &person.store, now).unwrap();
            let (mut calls, mut asking) = (Vec::new(), Vec::new());
            while let Some(output) = person.agent.poll_output() {
                match output {
                    agent::Output::Write(batch) => {
                        match &mut person.loses_write {
                            Some(0) => {
                                person.loses_write = None;
                                while person.agent.poll_output().is_some() {}
                                self.restart(name);
                                return self.connect(name);
                            }
                            Some(left) => *left -= 1,
                            None => {}
                        }
                        person.store.apply(&batch);
                        if person.hangs_at.is_none() {
                            inputs.push_back(agent::Input::Durable(batch.seq));
                        }
                    }
                    agent::Output::Call { id, request } => calls.push((id, request)),
                    agent::Output::File(order) => {
                        inputs.extend(person.shelf.obey(order).map(agent::Input::File));
                    }
                    agent::Output::Done { id, result } => person.done.push((id, result)),
                    agent::Output::Event(event) => {
                        if let Event::Requested { contact } = event {
                            asking.push(contact);
                        }
                        person.events.push(event);
                    }
                }
            }
            for (id, request) in calls {
                self.call(name, id, request);
            }
            let accepts = self.accepts;
            for contact in asking.into_iter().filter(|_| accepts) {
                self.command(name, Command::Accept { contact, name: None }).unwrap();
            }
        }
    }

    fn call(&mut self, name: &'static str, id: agent::CallId, request: ClientRequest) {
        let person = &self.people[name];
        assert!(person.online, "an agent asks nothing while it is not connected");
        if self.drops_acknowledgements && matches!(request, ClientRequest::Acknowledge { .. }) {
            return;
        }
        let session = person.session;
        self.submitted += usize::from(matches!(request, ClientRequest::Submit { .. }));
        self.next_id += 1;
        self.asked.insert(self.next_id, (name, id));
        let id = RequestId(self.next_id);
        self.ask(node::Input::ClientRequest { id, session, request });
    }

    /// One input of the node, and all that follows from it.
    fn ask(&mut self, input: node::Input) {
        self.node.handle(input, &self.node_store, self.now).unwrap();
        let mut for_people = Vec::new();
        let mut written: Vec<Batch<Family>> = Vec::new();
        while let Some(output) = self.node.poll_output() {
            match output {
                node::Output::Write(batch) => {
                    self.node_store.apply(&batch);
                    written.push(batch);
                }
                node::Output::ClientReply { id, result } => {
                    if let Some((name, id)) = self.asked.remove(&id.0) {
                        for_people.push((name, agent::Input::Response { id, result }));
                    }
                }
                node::Output::ClientPush { session, push } => {
                    let found = self.people.iter().find(|(_, p)| p.session == session);
                    let name = *found.unwrap().0;
                    match &mut self.held {
                        Some((owner, held))
                            if *owner == name && matches!(push, ClientPush::Envelope { .. }) =>
                        {
                            held.push(push);
                        }
                        _ => for_people.push((name, agent::Input::Push(push))),
                    }
                }
                node::Output::Event(_) => {}
                other => panic!("a lone node says nothing to others: {other:?}"),
            }
        }
        for batch in written {
            self.ask(node::Input::Durable(batch.seq));
        }
        for (name, input) in for_people {
            if self.people[name].online {
                self.tell(name, input);
            }
        }
    }
}

/// E1, D11, D12, E19: a text arrives as it was, its states only ever move forward.
#[test]
fn two_people_talk_and_see_how_far_each_message_has_come() {
    let mut town = Town::with(&["ann", "bob"]);
    let number = town.send("ann", "bob", "Grüße 🚢");
    town.wait(Span::from_secs(1));
    assert_eq!(town.texts("bob"), ["Grüße 🚢"]);
    let states = town.states("ann", number);
    assert!(states.is_sorted(), "{states:?}");
    assert_eq!(states.first(), Some(&MessageState::Accepted));
    assert!(matches!(states.last(), Some(MessageState::Delivered { .. })), "{states:?}");
    assert!(town.node_store.is_empty(Family::Envelopes));
    let reply = town.send("bob", "ann", "Ahoi");
    town.wait(Span::from_secs(1));
    assert_eq!(town.texts("ann"), ["Ahoi"]);
    assert!(matches!(town.states("bob", reply).last(), Some(MessageState::Delivered { .. })));
}

/// Conversation mailboxes (PROTOCOL §4.6): only the first contact uses the public address.
#[test]
fn after_first_contact_nothing_waits_under_anybodys_address() {
    let mut town = Town::with(&["ann", "bob"]);
    let mailboxes = |town: &Town| -> Vec<Vec<u8>> {
        use comm_proto::store::Store;
        let waiting = town.node_store.scan(Family::Mailboxes, &[], &[0xff; 48], 99).unwrap();
        waiting.into_iter().map(|(key, _)| key[..20].to_vec()).collect()
    };
    // A first exchange while both are there, so that each knows the other's card and key.
    town.send("ann", "bob", "first");
    town.wait(Span::from_secs(1));
    town.disconnect("bob");
    town.send("ann", "bob", "second");
    town.wait(Span::from_secs(1));
    let waiting = mailboxes(&town);
    assert_eq!(waiting.len(), 1);
    let public = [town.address("ann"), town.address("bob")].map(|a| a.as_bytes().to_vec());
    assert!(!public.contains(&waiting[0]));
    town.connect("bob");
    town.wait(Span::from_secs(1));
    assert_eq!(town.texts("bob"), ["first", "second"]);
}

/// D5, D21: written while nobody is connected, sent when a link appears, also after a restart.
#[test]
fn what_was_written_offline_leaves_when_a_link_appears() {
    let mut town = Town::with(&["ann", "bob"]);
    town.disconnect("ann");
    let number = town.send("ann", "bob", "from the train");
    town.restart("ann");
    assert_eq!(town.people["ann"].agent.outbox_len(), 1);
    town.connect("ann");
    town.wait(Span::from_mins(1));
    assert_eq!(town.texts("bob"), ["from the train"]);
    assert!(matches!(town.states("ann", number).last(), Some(MessageState::Delivered { .. })));
    assert_eq!(town.people["ann"].agent.outbox_len(), 0);
}

/// A message to somebody whose card nobody has waits until the card appears.
#[test]
fn a_message_to_an_unknown_address_waits_for_its_card() {
    let mut town = Town::with(&["ann"]);
    town.add("bob", [5; 32]);
    let number = town.send("ann", "bob", "are you there?");
    town.wait(Span::from_secs(60 * 60));
    assert_eq!(town.states("ann", number), []);
    town.connect("bob");
    town.wait(Span::from_mins(20));
    assert_eq!(town.texts("bob"), ["are you there?"]);
}

/// D18: with every acknowledgement lost, the message is shown once and finally acknowledged.
#[test]
fn a_message_whose_acknowledgement_is_lost_is_shown_once() {
    let mut town = Town::with(&["ann", "bob"]);
    town.drops_acknowledgements = true;
    let number = town.send("ann", "bob", "once");
    for _ in 0..3 {
        town.restart("bob");
        town.connect("bob");
        town.wait(Span::from_secs(1));
    }
    assert_eq!(town.texts("bob"), ["once"]);
    assert!(!town.node_store.is_empty(Family::Envelopes));
    town.drops_acknowledgements = false;
    town.restart("bob");
    town.connect("bob");
    town.wait(Span::from_secs(1));
    assert_eq!(town.texts("bob"), ["once"]);
    assert!(matches!(town.states("ann", number).last(), Some(MessageState::Delivered { .. })));
    assert!(town.node_store.is_empty(Family::Envelopes));
}

/// PROTOCOL §4.7: a message is remembered as long as a copy of it may come, not for a day.
#[test]
fn a_message_that_comes_again_on_other_days_is_shown_once() {
    let mut town = Town::with(&["ann", "bob"]);
    town.drops_acknowledgements = true;
    town.send("ann", "bob", "once");
    for _ in 0..7 {
        town.wait(Span::from_days(1));
        town.restart("bob");
        town.connect("bob");
        town.wait(Span::from_secs(1));
    }
    assert!(!town.node_store.is_empty(Family::Envelopes), "a copy has come each day");
    assert_eq!(town.texts("bob"), ["once"]);
}

/// D8, E19: what nobody reads in its time is expired for its sender too.
#[test]
fn an_unread_message_expires_for_its_sender() {
    let mut town = Town::with(&["ann", "bob"]);
    town.send("ann", "bob", "hello");
    town.wait(Span::from_secs(1));
    town.disconnect("bob");
    let number = town.send("ann", "bob", "too late");
    town.wait(Span::from_days(15));
    assert_eq!(town.states("ann", number).last(), Some(&MessageState::Expired));
    town.connect("bob");
    town.wait(Span::from_mins(1));
    assert_eq!(town.texts("bob"), ["hello"]);
}

/// Epochs (PROTOCOL §4.6): two people who write to each other over two months lose nothing.
#[test]
fn conversations_go_on_over_turning_epochs() {
    let mut town = Town::with(&["ann", "bob"]);
    for week in 0..9 {
        town.disconnect("bob");
        town.send("ann", "bob", &format!("week {week}"));
        town.wait(Span::from_days(5));
        town.connect("bob");
        town.wait(Span::from_days(2));
    }
    let expected: Vec<_> = (0..9).map(|week| format!("week {week}")).collect();
    assert_eq!(town.texts("bob"), expected);
    assert!(town.received("bob").iter().all(|entry| {
        matches!(entry.author, Author::Them { missing_before: 0, place: Place::InTurn })
    }));
}

/// D22: taken back before it left, nothing leaves; history says so.
#[test]
fn a_message_can_be_taken_back() {
    let mut town = Town::with(&["ann", "bob"]);
    town.disconnect("bob");
    town.disconnect("ann");
    let number = town.send("ann", "bob", "never mind");
    let outcome = town.command("ann", Command::Cancel(number));
    assert_eq!(outcome, Ok(Outcome::Cancelled { copies_may_exist: false }));
    town.connect("ann");
    town.connect("bob");
    town.wait(Span::from_mins(1));
    assert_eq!(town.texts("bob"), Vec::<String>::new());
    let again = town.command("ann", Command::Cancel(number));
    assert_eq!(again, Err(CommandError::NoSuchMessage(number)));
}

/// D22: a cancel that the node never answers ends all the same when the link does.
#[test]
fn a_command_ends_with_the_link_it_waits_for() {
    let mut town = Town::with(&["ann", "bob"]);
    town.send("ann", "bob", "first");
    town.wait(Span::from_secs(1));
    town.disconnect("bob");
    let number = town.send("ann", "bob", "second");
    town.wait(Span::from_secs(1));
    let (store, now) = (town.people["ann"].store.clone(), town.now);
    let person = town.people.get_mut("ann").unwrap();
    let id = CommandId(u64::MAX);
    let command = agent::Input::Command { id, command: Command::Cancel(number) };
    person.agent.handle(command, &store, now).unwrap();
    let asked = std::iter::from_fn(|| person.agent.poll_output());
    let is_cancel = |output: &agent::Output| {
        matches!(output, agent::Output::Call { request: ClientRequest::Cancel { .. }, .. })
    };
    assert!(asked.collect::<Vec<_>>().iter().any(is_cancel));
    person.agent.handle(agent::Input::Disconnected, &store, now).unwrap();
    let outputs: Vec<_> = std::iter::from_fn(|| person.agent.poll_output()).collect();
    let ended = agent::Output::Done { id, result: Err(CommandError::NoAnswer) };
    assert!(outputs.contains(&ended), "{outputs:?}");
}

/// A14, E25: names, history and states are there after a restart.
#[test]
fn contacts_and_history_survive_a_restart() {
    let mut town = Town::with(&["ann", "bob"]);
    let address = town.address("bob");
    let add = Command::AddContact { name: "bob".into(), address, key: None };
    town.command("ann", add).unwrap();
    let number = town.send("ann", "bob", "remember this");
    town.wait(Span::from_secs(1));
    town.restart("ann");
    let person = &town.people["ann"];
    let contacts = person.agent.contacts();
    assert_eq!(contacts.len(), 1);
    assert_eq!((contacts[0].name.as_str(), contacts[0].address), ("bob", address));
    let history = person.agent.history(&person.store, &address, None, 20).unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!((history[0].number, history[0].body.as_slice()), (number, &b"remember this"[..]));
    let Author::Us { state, envelope } = history[0].author else { panic!("it is ours") };
    assert!(matches!(state, MessageState::Delivered { .. }));
    assert!(envelope.is_some());
    assert_eq!(person.agent.message(&person.store, number).unwrap().as_ref(), Some(&history[0]));
}

/// E25: the last page, and the one before it.
#[test]
fn history_is_read_page_by_page() {
    let mut town = Town::with(&["ann", "bob"]);
    for n in 0..50 {
        town.send("ann", "bob", &n.to_string());
    }
    let person = &town.people["ann"];
    let page = |before| -> Vec<Entry> {
        person.agent.history(&person.store, &town.address("bob"), before, 20).unwrap()
    };
    let last = page(None);
    let texts: Vec<_> = last.iter().map(|e| String::from_utf8(e.body.clone()).unwrap()).collect();
    assert_eq!(texts, (30..50).map(|n| n.to_string()).collect::<Vec<_>>());
    let before = page(Some(last[0].number));
    assert_eq!(before.len(), 20);
    assert_eq!(before[19].body, b"29");
}

/// D2: whoever is written to learns the writer's address from the seal, not from a claim.
#[test]
fn the_sender_is_known_by_their_key() {
    let mut town = Town::with(&["ann", "bob", "eve"]);
    town.send("eve", "bob", "I am ann, trust me");
    town.wait(Span::from_secs(1));
    let received = town.received("bob");
    assert_eq!(received[0].contact, town.address("eve"));
}
