//! How a host that is switched on finds the relays that it was told of to begin with.
//!
//! Entry point is [`World::start`]. A real host dials each place that it was told of, and tells its node of each relay that
//! it has reached as soon as it has; the node begins meanwhile with what it knew before.

use comm_proto::node::{Command, Input};
use comm_proto::time::Span;

use super::{Happening, World, dials};
use crate::host::At;

impl World {
    /// Switches a host on, and has it look for `known` to begin with.
    pub(crate) fn start(&mut self, host: At, known: &[At]) {
        self.switch_on(host);
        if self.network.dial == 0 {
            return self.name_to(host, known);
        }
        self.wake(host);
        let boot = self.hosts[host].boots();
        for met in known.iter().copied() {
            let late = self.dial(host, met);
            self.later(late, Happening::Met { host, boot, met, waited: Span::ZERO });
        }
    }

    /// A place was dialled, and somebody may be there; else it is dialled again.
    pub(super) fn meet(&mut self, (host, boot): (At, u32), met: At, waited: Span) {
        if self.hosts[host].boots() != boot || !self.hosts[host].is_up() {
            return;
        }
        if self.hosts[met].is_up() {
            return self.name_to(host, &[met]);
        }
        let waited = dials::longer(waited);
        self.later(waited, Happening::Met { host, boot, met, waited });
    }

    fn name_to(&mut self, host: At, known: &[At]) {
        let contacts: Vec<_> = known.iter().map(|at| self.hosts[*at].contact().clone()).collect();
        if contacts.is_empty() {
            self.wake(host);
        } else {
            self.input(host, Input::Command(Command::Bootstrap(contacts)));
        }
    }
}
