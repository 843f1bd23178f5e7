//! What of a log counts, and what others take away (PROTOCOL §4.15, *Overruling* and *Order*).

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Known, Log, Verdict};
use crate::room::event::Change;
use crate::room::past::Past;
use crate::room::state::{Office, Role, State};

impl Log {
    /// Where an event stands in the order in which they count: behind all that it names; of others, those
    /// that take a right away come first, then those of higher authors.
    pub(super) fn key(&self, place: usize) -> impl Ord {
        let entry = &self.entries[place];
        let restricts = entry.event.change().is_some_and(restricts);
        (entry.depth, Reverse(restricts), Reverse(entry.rank), entry.event.id())
    }

    /// What follows from a set of events that has all that its members name.
    pub(super) fn evaluate(&self, set: &Past) -> Known {
        let void = self.overruled(set);
        let mut idle = BTreeMap::new();
        let mut state = State::founded(&self.entries[0].event).expect("the first event founds");
        for place in self.order.iter().copied().filter(|place| *place > 0 && set.contains(*place)) {
            let event = &self.entries[place].event;
            if void.contains(place) {
                idle.insert(event.id(), Verdict::Overruled);
            } else if state.standing(event).is_err() {
                idle.insert(event.id(), Verdict::Superseded);
            } else {
                state.apply(event);
            }
        }
        Known { state, idle }
    }

    /// The events of a set that others of it make void. Whoever makes one void stands higher than its author, or is
    /// its author and leaves, which only somebody higher makes void: so going from the highest down, and at
    /// each height from those who leave, needs no second look.
    fn overruled(&self, set: &Past) -> Past {
        let in_set = || self.order.iter().copied().filter(|place| set.contains(*place));
        let is_restricting = |place: &usize| {
            let entry = &self.entries[*place];
            let (change, is_above) = (entry.event.change(), entry.rank > Role::Member);
            change.is_some_and(|change| restricts(change) && (is_above || *change == Change::Leave))
        };
        let mut highest_first: Vec<usize> = in_set().filter(is_restricting).collect();
        highest_first.sort_by_key(|place| {
            let entry = &self.entries[*place];
            (Reverse(entry.rank), entry.event.change() != Some(&Change::Leave))
        });
        let mut void = Past::default();
        for over in highest_first {
            if void.contains(over) {
                continue;
            }
            for place in in_set() {
                if self.forbids(over, place) {
                    void.insert(place);
                }
            }
        }
        void
    }

    /// Whether `over` takes away the right to `place`, and neither author knew of the other.
    fn forbids(&self, over: usize, place: usize) -> bool {
        let (taker, other) = (&self.entries[over], &self.entries[place]);
        let is_concurrent =
            over != place && !taker.past.contains(place) && !other.past.contains(over);
        if !is_concurrent {
            return false;
        }
        let (Some(taken), Some(change)) = (taker.event.change(), other.event.change()) else {
            return false;
        };
        let by = other.event.author();
        match taken {
            Change::Leave => {
                by == taker.event.author() && other.rank <= taker.rank && *change != Change::Leave
            }
            _ if other.rank >= taker.rank => false,
            Change::Remove(member) => by == member,
            Change::Appoint { member, role: Office::Member } => {
                by == member && other.rank > Role::Member
            }
            Change::Revoke(token) => matches!(change, Change::Admit(join) if join.token() == token),
            Change::Decide(policy) => {
                matches!(change, Change::Invite { .. } | Change::Admit(_))
                    && !policy.allows(other.rank)
            }
            _ => false,
        }
    }
}

/// Whether an event takes a right away.
pub(super) fn restricts(change: &Change) -> bool {
    match change {
        Change::Leave | Change::Remove(_) | Change::Revoke(_) => true,
        Change::Appoint { role, .. } => *role == Office::Member,
        Change::Decide(policy) => !policy.allows(Role::Member),
        Change::Invite { .. } | Change::Admit(_) | Change::Rename(_) => false,
    }
}
