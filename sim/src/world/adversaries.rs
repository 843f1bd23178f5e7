//! What an adversary has in a world: its hosts, their addresses and identities, and what stands before
//! their nodes. What that does is the business of [`crate::behaviour`].

use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::node::Output;
use comm_proto::rejection::Rejection;

use super::{Asked, Happening, World, stage};
use crate::behaviour::{Behaviour, Colluders, Says};
use crate::host::{At, Host, Stage};

/// As many nodes as a region should hold (PROTOCOL §5.5).
const REGION: usize = 20;

/// Whose hosts are an adversary's.
impl World {
    /// Hands these hosts to an adversary; `behave` makes what stands before each of their nodes.
    pub(crate) fn corrupt(&mut self, hosts: &[At], behave: impl Fn() -> Vec<Box<dyn Behaviour>>) {
        self.colluders = Colluders::new(hosts.iter().map(|at| self.hosts[*at].contact().clone()));
        for at in hosts {
            self.hosts[*at].behave(behave());
            self.hosts[*at].corrupt();
        }
    }

    /// Puts these before a host's node, behind what stands there; whoever is honest stays so.
    pub(crate) fn behave(&mut self, host: At, behaviours: Vec<Box<dyn Behaviour>>) {
        self.hosts[host].behave(behaviours);
        self.wake(host);
    }

    /// These hosts, which are off, move to as many IP groups as told.
    pub(crate) fn move_together(&mut self, hosts: &[At], groups: usize) {
        let endpoints = self.ip_plan.move_together(hosts, groups);
        for (at, endpoint) in hosts.iter().zip(endpoints) {
            self.hosts[*at].move_to(endpoint);
        }
    }

    /// `count` keys for which these hosts answer too, where they listen.
    pub(crate) fn make_identities(&mut self, hosts: &[At], count: usize) {
        let owners: Vec<_> = hosts.iter().copied().cycle().take(count).collect();
        let made = owners.into_iter().map(|at| {
            let key = self.draw_key();
            self.identities.insert(key.address(), at);
            Contact::new(key.public(), self.hosts[at].contact().endpoints().iter().copied())
        });
        self.plot.identities = Colluders::new(made.collect::<Vec<_>>());
    }

    /// Of the [`REGION`] hosts nearest to an address, how many are an adversary's.
    pub(crate) fn theirs_near(&self, address: &Address) -> u64 {
        if self.hosts.iter().all(Host::is_honest) {
            return 0;
        }
        let distance = |host: &&Host| host.contact().address().distance(address);
        let mut hosts: Vec<_> = self.hosts.iter().collect();
        hosts.sort_by_cached_key(distance);
        hosts.iter().take(REGION).filter(|host| !host.is_honest()).count() as u64
    }
}

/// What stands before nodes.
impl World {
    /// Does what the behaviours before a node leave of an output.
    pub(super) fn perform_changed(&mut self, host: At, output: Output) {
        let stage = stage!(self);
        let original = output.clone();
        if let Some(output) = self.hosts[host].pass(stage, output) {
            self.perform(host, output);
            return;
        }
        self.tell_kept(host, "keeps back what its node wants", &original);
        if let Some((asked, deadline)) = self.hosts[host].swallowed(&original) {
            let late = Happening::Answered { asked, result: Err(Rejection::Unreachable) };
            let patience = deadline.since(self.clock(host));
            self.later(patience, late);
        }
    }

    /// The behaviours of a host do what they want of their own accord.
    pub(super) fn act(&mut self, host: At) {
        if self.hosts[host].act.take_if(|at| *at == self.now).is_none() {
            return;
        }
        let stage = stage!(self);
        let boot = self.hosts[host].boots();
        for call in self.hosts[host].perform(stage) {
            let asked = Asked { from: host, boot, call: None, to: call.to.address() };
            match call.says {
                Says::Request(request) => self.send_call(asked, &call.to, *request),
                Says::Forged(message) => self.send_forged(asked, &call.to, message),
            }
        }
        self.wake(host);
    }
}
