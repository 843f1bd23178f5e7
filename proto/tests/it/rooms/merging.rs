//! The same events give the same room, in whatever order and through whatever partition they come.

use std::collections::BTreeSet;

use comm_proto::room::{
    Body, Change, Event, Heads, Invitation, Join, Log, LogError, Office, Policy, Role,
};
use comm_proto::time::{Span, Time};
use comm_proto::verified::Verified;
use proptest::prelude::*;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::twins::signed_again;
use super::{NOW, key, name, person, room_of, standing};

/// People who change a room without hearing of each other at once, some of whom lie.
struct Village {
    logs: Vec<Log>,
    rng: ChaCha12Rng,
    made: u16,
}

impl Village {
    fn new(seed: u64, people: u8) -> Self {
        let log = room_of(people, &[1, 2]);
        let rng = ChaCha12Rng::seed_from_u64(seed);
        Self { logs: vec![log; usize::from(people)], rng, made: 1_000 }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.next_u32() as usize % bound
    }

    fn somebody(&mut self) -> u8 {
        self.below(self.logs.len()) as u8
    }

    fn any_change(&mut self, by: u8) -> Change {
        let (member, is) = (key(self.somebody()), self.below(11));
        match is {
            0 | 1 => Change::Remove(member),
            2 => Change::Appoint { member, role: Office::Admin },
            3 => Change::Appoint { member, role: Office::Member },
            4 => Change::Leave,
            5 => Change::Rename(name(&format!("name {}", self.below(1_000)))),
            6 => {
                let all = [Policy::Everybody, Policy::Admins, Policy::Nobody];
                Change::Decide(all[self.below(3)])
            }
            7 => {
                let tokens: Vec<_> =
                    self.logs[usize::from(by)].state().tokens().keys().copied().collect();
                match tokens.len() {
                    0 => Change::Leave,
                    some => Change::Revoke(tokens[self.below(some)]),
                }
            }
            8 | 9 => self.admission(by),
            _ => {
                self.made += 1;
                let invitation = self.invitation(self.made);
                Change::Invite { token: invitation.token(), expires_at: NOW + Span::DAY }
            }
        }
    }

    /// With an invitation that anybody here may have made, used or not.
    fn admission(&mut self, by: u8) -> Change {
        let number = 1_001 + self.below(usize::from(self.made - 999)) as u16;
        let (invitation, joiner) = (self.invitation(number), self.somebody());
        let _ = by;
        Change::Admit(Box::new(Join::sign(&invitation, &person(joiner), [joiner; 32]).into_inner()))
    }

    fn invitation(&self, number: u16) -> Invitation {
        let mut seed = [0xee; 32];
        seed[..2].copy_from_slice(&number.to_be_bytes());
        Invitation::new(self.logs[0].room(), key(0), Vec::new(), seed, NOW + Span::DAY)
    }

    /// Somebody does something: honestly, or behind what they knew long ago.
    fn act(&mut self) {
        let who = self.somebody();
        let change = self.any_change(who);
        let now = NOW + Span::from_secs(self.below(100) as u64);
        if self.below(3) > 0 {
            let _ = self.logs[usize::from(who)].write(&person(who), change, now);
        } else {
            self.lie(who, change, now);
        }
    }

    fn lie(&mut self, who: u8, change: Change, now: Time) {
        let log = &self.logs[usize::from(who)];
        let ids: Vec<_> = log.events().map(|event| event.id()).collect();
        let own: Vec<_> = log
            .events()
            .filter(|event| *event.author() == key(who))
            .map(|event| event.id())
            .collect();
        let (room, one) = (log.room(), ids[self.below(ids.len())]);
        let other = ids[self.below(ids.len())];
        let previous = (!own.is_empty()).then(|| own[self.below(own.len())]);
        let parents = Heads::of(&BTreeSet::from([one, other])).unwrap();
        let event =
            Event::sign(&person(who), Body::Change { room, previous, parents, change }, now);
        let _ = self.logs[usize::from(who)].take(event);
    }

    /// Somebody tells somebody else all they know, in any order.
    fn talk(&mut self) {
        let (from, to) = (usize::from(self.somebody()), usize::from(self.somebody()));
        let mut events: Vec<_> = self.logs[from].events().cloned().collect();
        self.shuffle(&mut events);
        for event in events {
            hear(&mut self.logs[to], event);
        }
    }

    fn shuffle(&mut self, events: &mut [Verified<Event>]) {
        for at in (1..events.len()).rev() {
            events.swap(at, self.below(at + 1));
        }
    }
}

/// What is not taken stands beside other events of its author, or is built on two sides of a fork.
fn hear(log: &mut Log, event: Verified<Event>) {
    if let Err(why) = log.take(event) {
        assert!(matches!(why, LogError::Beside | LogError::BothSides), "{why}");
    }
}

fn alike(one: &Log, other: &Log) -> Result<(), TestCaseError> {
    prop_assert_eq!(standing(one), standing(other));
    prop_assert_eq!(one.heads(), other.heads());
    prop_assert_eq!(one.state(), other.state());
    for id in standing(one) {
        prop_assert_eq!(one.verdict(&id), other.verdict(&id));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_order_of_arrival_and_any_partition_give_the_same_room(seed: u64, people in 4_u8..8) {
        let mut village = Village::new(seed, people);
        for _ in 0..30 {
            village.act();
            if village.below(4) == 0 {
                village.talk();
            }
        }
        // Whoever was apart hears everything, each in another order.
        let everything: Vec<Vec<_>> =
            village.logs.iter().map(|log| log.events().cloned().collect()).collect();
        let mut all: Vec<_> = everything.into_iter().flatten().collect();
        for at in 0..village.logs.len() {
            // What one who has forked built on is taken once what they built on is.
            for _ in 0..4 {
                village.shuffle(&mut all);
                for event in &all {
                    hear(&mut village.logs[at], event.clone());
                }
            }
        }
        for pair in village.logs.windows(2) {
            alike(&pair[0], &pair[1])?;
        }
        // Somebody who hears it all for the first time, too.
        let first = village.logs[0].events().next().unwrap().clone();
        let mut late = Log::new(first).unwrap();
        village.shuffle(&mut all);
        // Several times, since of what waits the oldest may have given way.
        for event in [&all; 6].into_iter().flatten() {
            // Now with one signature of its author, now with another.
            let by = (0..people).map(person).find(|by| by.public() == *event.author());
            let event = match by.filter(|_| village.below(4) == 0) {
                Some(by) => signed_again(event, &by),
                None => event.clone(),
            };
            hear(&mut late, event);
        }
        alike(&late, &village.logs[0])?;
        let owners = late.state().members().values().filter(|m| m.role == Role::Owner).count();
        prop_assert!(owners <= 1);
        prop_assert!(owners == 0 || late.state().members()[&key(0)].role == Role::Owner);
    }

    /// What was taken away from somebody stays so, whatever they and their friends add later behind older events.
    #[test]
    fn nothing_that_a_removed_member_makes_afterwards_changes_the_room(seed: u64) {
        let mut village = Village::new(seed, 6);
        for _ in 0..10 {
            let owner = &mut village.logs[0];
            let is_there = owner.state().is_member(&key(1));
            if is_there {
                let _ = owner.write(&person(0), Change::Rename(name("before")), NOW);
            }
        }
        village.logs[1] = village.logs[0].clone();
        village.logs[0].write(&person(0), Change::Remove(key(1)), NOW).unwrap();
        let state = village.logs[0].state().clone();
        for _ in 0..20 {
            let change = village.any_change(1);
            if village.below(2) == 0 {
                let _ = village.logs[1].write(&person(1), change, NOW);
            } else {
                village.lie(1, change, NOW);
            }
        }
        let theirs: Vec<_> = village.logs[1].events().cloned().collect();
        for event in theirs {
            hear(&mut village.logs[0], event);
        }
        prop_assert_eq!(village.logs[0].state(), &state);
    }
}
