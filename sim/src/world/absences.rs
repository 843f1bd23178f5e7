//! People whose machines are off: recipients who come back, and senders who do not.
//!
//! It is they whom the network keeps envelopes for. Where nodes of people go (`traffic.leave`), no node of either is
//! there in between, and what arrives comes from others.

use comm_proto::time::{Span, Time};

use super::{Happening, World};
use crate::host::At;
use crate::people::{Deed, Letter};

/// How often a sender looks whether the node may go.
const LOOK: Span = Span::from_secs(10);

/// When an absent recipient goes, and the first of those who use the same node comes back.
pub(crate) struct Absence {
    pub(crate) opens: Span,
    pub(crate) goes: Span,
    pub(crate) comes: Span,
}

impl World {
    /// The recipient opens their mailbox, goes, and comes back, each with their node.
    pub(crate) fn plan_absence(&mut self, letter: Letter, absence: &Absence) {
        let host = self.people.host_of(letter, Deed::Open);
        if self.people.opens(letter) {
            self.plan_deed(absence.opens, letter, Deed::OpenAhead);
        }
        if self.people.is_first_to(host, letter) {
            self.later(absence.goes, Happening::Turn { host, on: false });
            self.later(absence.comes, Happening::Turn { host, on: true });
        }
    }

    /// Senders go for good, so long after others have what they wrote.
    pub(crate) fn plan_departures(&mut self, leave: Span) {
        for host in self.people.hosts().0 {
            self.later(leave, Happening::Leave { host, leave });
        }
    }

    /// A sender's node goes if it is time, and else the sender looks again.
    pub(super) fn leave(&mut self, host: At, leave: Span) {
        match self.people.safe_since(host).map(|since: Time| since + leave) {
            Some(at) if at <= self.now => self.turn(host, false),
            Some(at) => self.queue.push(at, Happening::Leave { host, leave }),
            None => self.later(LOOK, Happening::Leave { host, leave }),
        }
    }

    /// Switches a host on, with the clients that use it, or off.
    pub(super) fn turn(&mut self, host: At, on: bool) {
        if on == self.hosts[host].is_up() {
            return;
        }
        if on {
            self.start(host, &[]);
            for (span, letter, deed) in self.people.back(self.now, host) {
                self.plan_deed(span, letter, deed);
            }
        } else {
            self.go_down(host, 0);
        }
    }
}
