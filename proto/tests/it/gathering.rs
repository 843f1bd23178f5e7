//! Rooms of whole programs over whole networks: members are away half the time, three messages in ten are lost between relays,
//! and the network is twice in two parts, while the room changes and everybody talks.
//!
//! The environment makes it larger: `COMM_ROOM_SEEDS` (how many, from 0), `COMM_ROOM_MEMBERS`, `COMM_ROOM_LINES`, `COMM_ROOM_CHANGES`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use comm_proto::address::Address;
use comm_proto::agent::{
    self, Agent, CallId, Command, CommandError, CommandId, Drawer, Event, Outcome, RoomChange,
    RoomCommand, RoomEvent, RoomOutcome, RoomStanding,
};
use comm_proto::envelope::TTL_DEFAULT;
use comm_proto::identity::Identity;
use comm_proto::message::ClientPush;
use comm_proto::node::RequestId;
use comm_proto::payload::MessageId;
use comm_proto::room::{Office, Policy, RoomId, RoomName};
use comm_proto::store::MemoryStore;
use comm_proto::time::Span;
use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};

use crate::world::{At, World};

const RELAYS: usize = 5;

/// How much happens, and to how many.
#[derive(Clone, Copy)]
struct Plan {
    members: usize,
    lines: usize,
    changes: usize,
}

/// A person with a program at a relay.
struct Person {
    agent: Agent,
    store: MemoryStore<Drawer>,
    host: At,
    session: u64,
    is_on: bool,
    /// Pushes of this session that were handed over.
    handed: usize,
    calls: BTreeMap<RequestId, CallId>,
    done: Option<Result<Outcome, CommandError>>,
    /// How often each line was shown.
    shown: BTreeMap<MessageId, usize>,
}

/// A line, and for whom it was sealed.
struct Line {
    author: usize,
    readers: BTreeSet<Address>,
}

struct Gathering {
    world: World,
    rng: ChaCha12Rng,
    people: Vec<Person>,
    room: Option<RoomId>,
    lines: BTreeMap<MessageId, Line>,
    sessions: u64,
}

impl Gathering {
    fn new(seed: u64, members: usize) -> Self {
        let world = World::of(seed, RELAYS);
        let now = world.now();
        let person = |number: usize| {
            let mut secret = [0x21; 32];
            secret[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
            let store = MemoryStore::new();
            let identity = Identity::from_seed(&secret);
            Person {
                agent: Agent::new(identity, secret, &store, now).unwrap(),
                store,
                host: number % RELAYS,
                session: 0,
                is_on: false,
                handed: 0,
                calls: BTreeMap::new(),
                done: None,
                shown: BTreeMap::new(),
            }
        };
        let people = (0..members).map(person).collect();
        let rng = ChaCha12Rng::seed_from_u64(seed);
        Self { world, rng, people, room: None, lines: BTreeMap::new(), sessions: 0 }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.next_u32() as usize % bound
    }

    fn turn_on(&mut self, who: usize) {
        if self.people[who].is_on {
            return;
        }
        self.sessions += 1;
        let node = self.world.address(self.people[who].host);
        let person = &mut self.people[who];
        (person.is_on, person.session, person.handed) = (true, self.sessions, 0);
        let (entries, rotating_entry) = (Vec::new(), None);
        self.tell(who, agent::Input::Connected { node, entries, rotating_entry });
    }

    fn turn_off(&mut self, who: usize) {
        if !self.people[who].is_on {
            return;
        }
        let person = &mut self.people[who];
        person.is_on = false;
        person.calls.clear();
        let (host, session) = (person.host, person.session);
        self.world.close_session(host, session);
        self.tell(who, agent::Input::Disconnected);
    }

    /// One input of a program, and all that it does at once.
    fn tell(&mut self, who: usize, input: agent::Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = self.world.now();
            let person = &mut self.people[who];
            person.agent.handle(input, &person.store, now).unwrap();
            let mut calls = Vec::new();
            while let Some(output) = person.agent.poll_output() {
                match output {
                    agent::Output::Write(batch) => {
                        person.store.apply(&batch);
                        inputs.push_back(agent::Input::Durable(batch.seq));
                    }
                    agent::Output::Call { id, request } => calls.push((id, request)),
                    agent::Output::Done { result, .. } => person.done = Some(result),
                    agent::Output::Event(Event::Room(RoomEvent::Said(line))) => {
                        *person.shown.entry(line.entry.id.unwrap()).or_default() += 1;
                    }
                    agent::Output::Event(Event::Room(RoomEvent::Forked { .. })) => {
                        panic!("honest programs do not fork")
                    }
                    agent::Output::Event(_) => {}
                    agent::Output::File(order) => panic!("nobody has offered a file: {order:?}"),
                }
            }
            let (host, session) = (person.host, person.session);
            for (id, request) in calls {
                let request = self.world.ask(host, session, request);
                self.people[who].calls.insert(request, id);
            }
        }
    }

    /// Time passes; programs hear what their relays say.
    fn pass(&mut self, span: Span) {
        let end = self.world.now() + span;
        while self.world.now() < end {
            self.world.run_for(Span::from_secs(2).min(end.since(self.world.now())));
            for who in 0..self.people.len() {
                for input in self.heard(who) {
                    self.tell(who, input);
                }
                let next = self.people[who].agent.poll_timeout();
                if next.is_some_and(|(at, _)| at <= self.world.now()) {
                    self.tell(who, agent::Input::Tick);
                }
            }
        }
    }

    fn heard(&mut self, who: usize) -> Vec<agent::Input> {
        let person = &mut self.people[who];
        if !person.is_on {
            return Vec::new();
        }
        let mut inputs = Vec::new();
        for (request, call) in person.calls.clone() {
            if let Some(result) = self.world.reply(person.host, request) {
                person.calls.remove(&request);
                inputs.push(agent::Input::Response { id: call, result: result.clone() });
            }
        }
        let pushes: &[(_, ClientPush)] = self.world.pushes(person.host, person.session);
        let new = pushes[person.handed..].iter().map(|(_, push)| push.clone());
        inputs.extend(new.map(agent::Input::Push));
        person.handed = pushes.len();
        inputs
    }

    fn command(&mut self, who: usize, command: RoomCommand) -> Option<RoomOutcome> {
        let id = CommandId(1);
        self.tell(who, agent::Input::Command { id, command: Command::Room(command) });
        match self.people[who].done.take().expect("a command ends") {
            Ok(Outcome::Room(outcome)) => Some(outcome),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        }
    }

    fn is_member(&self, who: usize) -> bool {
        let room = self.room.and_then(|room| self.people[who].agent.room(&room));
        room.is_some_and(|room| matches!(room.standing, RoomStanding::Member(_)))
    }

    /// Those who are there and in the room.
    fn active(&self) -> Vec<usize> {
        (0..self.people.len())
            .filter(|who| self.people[*who].is_on && self.is_member(*who))
            .collect()
    }

    /// Everybody joins by an invitation of somebody who is in.
    fn gather(&mut self) {
        (0..self.people.len()).for_each(|who| self.turn_on(who));
        self.pass(Span::from_secs(10));
        let name = RoomName::new("the gathering".to_owned()).unwrap();
        let Some(RoomOutcome::Room(room)) = self.command(0, RoomCommand::Create(name)) else {
            panic!("a room is founded")
        };
        self.room = Some(room.id);
        for joiner in 1..self.people.len() {
            let active = self.active();
            let by = active[self.below(active.len())];
            let lifetime = Span::from_days(20);
            let invite = RoomCommand::Invite { room: room.id, lifetime };
            let Some(RoomOutcome::Invited(invitation)) = self.command(by, invite) else {
                panic!("members invite")
            };
            self.command(joiner, RoomCommand::Join(invitation)).unwrap();
            self.pass(Span::from_secs(20));
        }
        for _ in 0..60 {
            if (0..self.people.len()).all(|who| self.is_member(who)) {
                return;
            }
            self.pass(Span::from_mins(1));
        }
        panic!("everybody is let in");
    }

    fn speak(&mut self) {
        let active = self.active();
        if active.is_empty() {
            return;
        }
        let author = active[self.below(active.len())];
        let text = format!("line {}", self.lines.len());
        let room = self.room.unwrap();
        let say = RoomCommand::Say { room, text, answers: None, ttl: TTL_DEFAULT };
        let Some(RoomOutcome::Said(line)) = self.command(author, say) else {
            panic!("members speak")
        };
        let readers = line.deliveries.iter().map(|delivery| delivery.member).collect();
        self.lines.insert(line.entry.id.unwrap(), Line { author, readers });
    }

    fn any_change(&mut self) {
        let active = self.active();
        if active.is_empty() {
            return;
        }
        let by = active[self.below(active.len())];
        let room = self.room.unwrap();
        let members = self.people[by].agent.room_members(&room);
        let member = members[self.below(members.len())].address;
        let change = match self.below(8) {
            0 => RoomChange::Remove(member),
            1 | 2 => RoomChange::Appoint { member, role: Office::Admin },
            3 => RoomChange::Appoint { member, role: Office::Member },
            4 | 5 => {
                let name = format!("gathering {}", self.below(100));
                RoomChange::Rename(RoomName::new(name).unwrap())
            }
            6 => RoomChange::Decide(Policy::Admins),
            _ => RoomChange::Leave,
        };
        // What is not theirs to do is refused.
        let _ = self.command(by, RoomCommand::Change { room, change });
    }

    fn live(&mut self, plan: Plan) {
        self.world.links.lost_of_1000 = 300;
        let steps = plan.lines + plan.changes;
        let (even, odd): (Vec<At>, Vec<At>) = self.world.hosts().partition(|host| host % 2 == 0);
        for step in 0..steps {
            for who in 0..self.people.len() {
                if self.below(10) == 0 {
                    if self.below(2) == 0 { self.turn_on(who) } else { self.turn_off(who) }
                }
            }
            match step * 10 / steps {
                3 | 7 => self.world.part(&[&even[..], &odd[..]]),
                _ => self.world.heal(),
            }
            if self.below(steps) < plan.changes {
                self.any_change()
            } else {
                self.speak()
            }
            let seconds = 2 + self.below(20) as u64;
            self.pass(Span::from_secs(seconds));
        }
    }

    /// Everybody comes back; somebody says one more thing, which names all that is missing.
    fn come_home(&mut self) {
        self.world.heal();
        (0..self.people.len()).for_each(|who| self.turn_on(who));
        for round in 0..2 {
            if round == 1 {
                self.active().into_iter().for_each(|who| {
                    let (room, text) = (self.room.unwrap(), "good night".to_owned());
                    let say = RoomCommand::Say { room, text, answers: None, ttl: TTL_DEFAULT };
                    self.command(who, say).unwrap();
                });
            }
            for _ in 0..240 {
                self.pass(Span::from_mins(1));
                if self.people.iter().all(|person| person.agent.outbox_len() == 0) {
                    break;
                }
            }
            self.pass(Span::from_mins(3));
        }
        for person in &self.people {
            assert_eq!(person.agent.outbox_len(), 0, "everything is delivered");
        }
    }

    fn check(&self) {
        let room = self.room.unwrap();
        let members = self.active();
        let known = |who: usize| {
            let agent = &self.people[who].agent;
            let members: Vec<_> = agent
                .room_members(&room)
                .into_iter()
                .map(|member| (member.address, member.role))
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect();
            let known = agent.room(&room).unwrap();
            (members, known.name, known.policy, known.is_lacking)
        };
        let Some(first) = members.first().map(|who| known(*who)) else { return };
        assert!(!first.3, "nothing is missing");
        let listed: BTreeSet<_> = first.0.iter().map(|(address, _)| *address).collect();
        let here: BTreeSet<_> =
            members.iter().map(|who| self.people[*who].agent.address()).collect();
        assert_eq!(listed, here);
        for who in &members {
            assert_eq!(known(*who), first, "{who}");
        }
        for (id, line) in &self.lines {
            for (who, person) in self.people.iter().enumerate() {
                let times = person.shown.get(id).copied().unwrap_or(0);
                let is_for_them = line.readers.contains(&person.agent.address());
                assert!(times <= usize::from(is_for_them), "{who} was shown a line {times} times");
                if is_for_them && members.contains(&line.author) && members.contains(&who) {
                    assert_eq!(times, 1, "{who} lacks a line of {}", line.author);
                }
            }
        }
    }
}

fn play(seed: u64, plan: Plan) {
    let mut gathering = Gathering::new(seed, plan.members);
    gathering.gather();
    gathering.live(plan);
    gathering.come_home();
    gathering.check();
    assert!(gathering.lines.len() * 2 > plan.lines, "{seed}: {}", gathering.lines.len());
}

fn wanted(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// E3, E16: over relays that lose three messages in ten, members who are away half the time, and two partitions.
#[test]
fn members_who_are_away_half_the_time_in_a_lossy_network_end_with_the_same_room_and_every_line_once()
 {
    let plan = Plan {
        members: wanted("COMM_ROOM_MEMBERS", 6),
        lines: wanted("COMM_ROOM_LINES", 30),
        changes: wanted("COMM_ROOM_CHANGES", 8),
    };
    for seed in 0..wanted("COMM_ROOM_SEEDS", 2) {
        println!("seed {seed}");
        play(seed as u64, plan);
    }
}
