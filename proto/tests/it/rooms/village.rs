//! Whole rooms: people who come and go, lose what they sent, are cut off from each other, and change the room
//! all the while. Notes are carried as conversations carry them: late, in any order, at times twice, but for good.

use std::collections::{BTreeMap, BTreeSet};

use comm_proto::key::PublicKey;
use comm_proto::payload::{ContentType, MessageId};
use comm_proto::room::{
    Change, Event, Heard, Invitation, Joining, Note, Office, Policy, Seat, State, Step,
};
use comm_proto::time::{Span, Time};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::{NOW, key, name, person};

/// How much happens, and to how many.
struct Plan {
    people: u8,
    lines: usize,
    changes: usize,
}

/// Somebody of the village.
#[derive(Default)]
struct Villager {
    seat: Option<Seat>,
    joining: Option<Joining>,
    /// What came for a room whose log is not here yet.
    early: Vec<(u8, Note)>,
    is_away: bool,
    /// How often each line was shown.
    shown: BTreeMap<MessageId, usize>,
}

/// A line: who said it, and for whom it was sealed.
struct Line {
    author: u8,
    readers: BTreeSet<u8>,
}

struct Village {
    rng: ChaCha12Rng,
    now: Time,
    people: Vec<Villager>,
    /// Everybody's key and number.
    keys: BTreeMap<PublicKey, u8>,
    /// By time of arrival and a number: from, to, what.
    under_way: BTreeMap<(Time, u64), (u8, u8, Note)>,
    sent: u64,
    /// While it lasts, even and odd people hear nothing of each other.
    is_parted: bool,
    lines: BTreeMap<MessageId, Line>,
    tokens: u16,
}

impl Village {
    fn new(seed: u64, people: u8) -> Self {
        let mut village = Self {
            rng: ChaCha12Rng::seed_from_u64(seed),
            now: NOW,
            people: (0..people).map(|_| Villager::default()).collect(),
            keys: (0..people).map(|who| (key(who), who)).collect(),
            under_way: BTreeMap::new(),
            sent: 0,
            is_parted: false,
            lines: BTreeMap::new(),
            tokens: 0,
        };
        let first = Event::found(&person(0), name("the village"), [3; 32], NOW);
        village.people[0].seat = Seat::found(person(0), first);
        village
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.next_u32() as usize % bound
    }

    fn state(&self, who: u8) -> Option<&State> {
        self.people[usize::from(who)].seat.as_ref().map(Seat::state)
    }

    fn number(&self, key: &PublicKey) -> u8 {
        self.keys[key]
    }

    /// Members by their own log, among those who are there.
    fn active(&self) -> Vec<u8> {
        let is_active = |who: &u8| {
            let villager = &self.people[usize::from(*who)];
            !villager.is_away && villager.seat.as_ref().is_some_and(Seat::is_member)
        };
        (0..self.people.len() as u8).filter(is_active).collect()
    }

    fn carry(&mut self, from: u8, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Send { to, note } => {
                    let to = self.number(&to);
                    self.send(from, to, note);
                }
                Step::Heard(Heard::Shown { id, .. }) => {
                    *self.people[usize::from(from)].shown.entry(id).or_default() += 1;
                }
                Step::Heard(_) | Step::Changed(_) => {}
                Step::Forked(fork) => panic!("an honest village has no fork: {fork:?}"),
            }
        }
    }

    /// Three in ten tries are lost, and each is made good half a minute later.
    fn send(&mut self, from: u8, to: u8, note: Note) {
        let mut at = self.now + Span::from_secs(1 + self.below(20) as u64);
        while self.below(10) < 3 {
            at = at + Span::from_secs(30);
        }
        let copies = if self.below(20) == 0 { 2 } else { 1 };
        for copy in 0..copies {
            self.sent += 1;
            let at = at + Span::from_secs(60 * copy);
            self.under_way.insert((at, self.sent), (from, to, note.clone()));
        }
    }

    /// Time passes; what has arrived is read by whoever is there and not cut off.
    fn pass(&mut self, span: Span) {
        self.now = self.now + span;
        // What is sent meanwhile arrives later.
        let can = |from: u8, to: u8| {
            let is_cut = self.is_parted && from % 2 != to % 2;
            !self.people[usize::from(to)].is_away && !is_cut
        };
        let due = self.under_way.range(..(self.now, u64::MAX));
        let due = due.filter(|(_, (from, to, _))| can(*from, *to)).map(|(at, _)| *at);
        for at in due.collect::<Vec<_>>() {
            let (from, to, note) = self.under_way.remove(&at).unwrap();
            self.arrive(from, to, note);
        }
        for who in 0..self.people.len() as u8 {
            let now = self.now;
            let villager = &mut self.people[usize::from(who)];
            if let Some(seat) = villager.seat.as_mut().filter(|_| !villager.is_away) {
                let steps = seat.ask(now);
                self.carry(who, steps);
            }
        }
    }

    fn arrive(&mut self, from: u8, to: u8, note: Note) {
        let now = self.now;
        let villager = &mut self.people[usize::from(to)];
        if let Some(seat) = &mut villager.seat {
            let steps = seat.hear(key(from), note, now);
            return self.carry(to, steps);
        }
        let Note::Events(events) = note else { return villager.early.push((from, note)) };
        let Some(mut joining) = villager.joining.take() else { return };
        for event in events {
            let _ = joining.take(event.verify().unwrap());
        }
        match joining.into_log() {
            Err(joining) => villager.joining = Some(*joining),
            Ok(log) => {
                villager.seat = Some(Seat::take(person(to), log));
                for (from, note) in std::mem::take(&mut villager.early) {
                    self.arrive(from, to, note);
                }
            }
        }
    }

    fn speak(&mut self) {
        let active = self.active();
        let Some(author) = self.pick(&active) else { return };
        let text = format!("line {}", self.lines.len()).into_bytes();
        let seat = self.people[usize::from(author)].seat.as_mut().unwrap();
        let members: BTreeSet<_> = seat.state().members().keys().copied().collect();
        let (id, steps) = seat.say(ContentType::TEXT, text).unwrap();
        let mut readers = BTreeSet::new();
        for step in &steps {
            let Step::Send { to, .. } = step else { panic!("{step:?}") };
            assert!(members.contains(to), "nobody else gets it");
            readers.insert(self.number(to));
        }
        self.lines.insert(id, Line { author, readers });
        self.carry(author, steps);
    }

    fn pick(&mut self, of: &[u8]) -> Option<u8> {
        (!of.is_empty()).then(|| of[self.below(of.len())])
    }

    /// Somebody who is not in asks to be, by an invitation of somebody who is.
    fn invite(&mut self) {
        let outside: Vec<_> = (1..self.people.len() as u8)
            .filter(|who| {
                let villager = &self.people[usize::from(*who)];
                villager.seat.is_none() && villager.joining.is_none()
            })
            .collect();
        let active = self.active();
        let (Some(by), Some(joiner)) = (self.pick(&active), self.pick(&outside)) else { return };
        self.tokens += 1;
        let mut seed = [0x77; 32];
        seed[..2].copy_from_slice(&self.tokens.to_be_bytes());
        let (room, expires_at) =
            (self.people[0].seat.as_ref().unwrap().log().room(), self.now + Span::from_days(20));
        let invitation = Invitation::new(room, key(by), vec![super::address(0)], seed, expires_at);
        let change = Change::Invite { token: invitation.token(), expires_at };
        if !self.change(by, change) {
            return;
        }
        let joining = Joining::new(invitation, &person(joiner), seed, self.now).unwrap();
        let note = joining.ask();
        let asked: Vec<_> = joining.asked().collect();
        for address in asked {
            let to =
                (0..self.people.len() as u8).find(|who| super::address(*who) == address).unwrap();
            self.send(joiner, to, note.clone());
        }
        self.people[usize::from(joiner)].joining = Some(joining);
    }

    fn change(&mut self, by: u8, change: Change) -> bool {
        let now = self.now;
        let seat = self.people[usize::from(by)].seat.as_mut().unwrap();
        let Ok(steps) = seat.change(change, now) else { return false };
        self.carry(by, steps);
        true
    }

    fn any_change(&mut self) {
        let active = self.active();
        let Some(by) = self.pick(&active) else { return };
        let members: Vec<_> = self.state(by).unwrap().members().keys().copied().collect();
        let member = members[self.below(members.len())];
        let change = match self.below(8) {
            0 | 1 => return self.invite(),
            2 => Change::Remove(member),
            3 => Change::Appoint { member, role: Office::Admin },
            4 => Change::Appoint { member, role: Office::Member },
            5 => Change::Rename(name(&format!("village {}", self.below(100)))),
            6 => {
                Change::Decide(if self.below(2) == 0 { Policy::Everybody } else { Policy::Admins })
            }
            _ => Change::Leave,
        };
        self.change(by, change);
    }

    /// Half of all are away at any time; twice the village is in two parts for a while.
    fn live(&mut self, plan: &Plan) {
        for _ in 0..plan.people {
            self.invite();
            self.pass(Span::from_mins(5));
        }
        let steps = plan.lines + plan.changes;
        for step in 0..steps {
            for who in 1..self.people.len() {
                if self.below(20) == 0 {
                    self.people[who].is_away = self.below(2) == 0;
                }
            }
            let tenth = step * 10 / steps;
            self.is_parted = tenth == 3 || tenth == 7;
            if self.below(steps) < plan.changes {
                self.any_change()
            } else {
                self.speak()
            }
            let seconds = 1 + self.below(30) as u64;
            self.pass(Span::from_secs(seconds));
        }
    }

    /// Everybody comes back, and somebody says one more thing: what it names leads to all that is missing.
    fn come_home(&mut self) {
        self.is_parted = false;
        self.people.iter_mut().for_each(|villager| villager.is_away = false);
        self.settle();
        for who in self.active() {
            let seat = self.people[usize::from(who)].seat.as_mut().unwrap();
            let (_, steps) = seat.say(ContentType::TEXT, b"good night".to_vec()).unwrap();
            self.carry(who, steps);
        }
        self.settle();
    }

    fn settle(&mut self) {
        for _ in 0..100 {
            self.pass(Span::from_mins(2));
        }
        assert!(self.under_way.is_empty(), "everything arrives");
    }

    fn check(&self) {
        let members = self.active();
        let Some(first) = members.first() else {
            // The owner has left, as the last.
            assert!(self.state(0).unwrap().members().is_empty());
            return;
        };
        let first = self.people[usize::from(*first)].seat.as_ref().unwrap();
        let keys: BTreeSet<_> = members.iter().map(|who| key(*who)).collect();
        let listed: BTreeSet<_> = first.state().members().keys().copied().collect();
        assert_eq!(keys, listed);
        for who in &members {
            let seat = self.people[usize::from(*who)].seat.as_ref().unwrap();
            assert_eq!(seat.state(), first.state(), "{who}");
            assert!(seat.log().missing().is_empty() && seat.talk().is_complete());
        }
        // Who was thrown out meanwhile and what they said is told in the protocol: it may be with some and not with others.
        for (id, line) in &self.lines {
            let author = &self.people[usize::from(line.author)];
            let stayed = author.seat.as_ref().is_some_and(Seat::is_member);
            for who in 0..self.people.len() as u8 {
                let times = self.people[usize::from(who)].shown.get(id).copied().unwrap_or(0);
                let is_for_them = line.readers.contains(&who);
                assert!(times <= usize::from(is_for_them), "{who} was shown {id} {times} times");
                if is_for_them && stayed && members.contains(&who) {
                    assert_eq!(times, 1, "{who} lacks {id} of {}", line.author);
                }
            }
        }
    }
}

fn play(seed: u64, plan: &Plan) -> Village {
    let mut village = Village::new(seed, plan.people);
    village.live(plan);
    village.come_home();
    village.check();
    village
}

#[test]
fn in_thirty_rooms_whoever_is_away_cut_off_or_late_ends_with_the_same_room_and_every_line_once() {
    for seed in 0..30 {
        let village = play(seed, &Plan { people: 10, lines: 120, changes: 40 });
        assert!(village.lines.len() > 40, "{seed}: {}", village.lines.len());
    }
}

#[test]
fn a_room_of_fifty_half_of_them_away_and_twice_parted_ends_the_same_for_all_with_every_line_once() {
    let village = play(1, &Plan { people: 50, lines: 1_000, changes: 50 });
    assert!(village.lines.len() > 900, "{}", village.lines.len());
    assert!(village.active().len() > 20, "{}", village.active().len());
}
