//! What adversaries do: the same node with a changed behaviour.
//!
//! Entry type is [`Behaviour`]. The node behind an adversary is the production state machine and has
//! its place in everybody's table; a behaviour sees every request before that node and every output
//! after it, and may answer, change or swallow it, or say something of its own. Several can be put
//! before one node; the first that does not let a thing pass decides. All that a scenario can name
//! stand in [`ALL`].

mod colluders;
mod mute;

use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::key::KeyPair;
use comm_proto::message::{Request, Response};
use comm_proto::node::Output;
use comm_proto::rejection::Rejection;
use comm_proto::time::Time;
use rand_chacha::ChaCha12Rng;

pub use colluders::Colluders;

/// What a behaviour knows and may use.
pub struct Scene<'a> {
    /// The time, by the world's clock.
    pub now: Time,
    /// The key of the node behind it.
    pub key: &'a KeyPair,
    /// All who work together, itself included.
    pub colluders: &'a Colluders,
    /// Seeded; draw from nothing else.
    pub rng: &'a mut ChaCha12Rng,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// The next behaviour decides, at last the node.
    Pass,
    /// This is answered, and the node learns nothing of it.
    Answer(Box<Result<Response, Rejection>>),
    /// Nothing is answered.
    Silence,
}

/// A call of the behaviour's own, made in its node's name. Its answer goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Whom.
    pub to: Contact,
    /// What.
    pub request: Request,
}

/// One adversary's behaviour, with whatever it remembers.
pub trait Behaviour {
    /// Another node asks the node behind this.
    fn on_request(&mut self, scene: &mut Scene<'_>, from: &Address, request: &Request) -> Reaction {
        let _ = (scene, from, request);
        Reaction::Pass
    }

    /// The node wants this done; what is returned is done instead.
    fn on_output(&mut self, scene: &mut Scene<'_>, output: Output) -> Option<Output> {
        let _ = scene;
        Some(output)
    }

    /// When [`Self::act`] is to be called next.
    fn next_act(&self) -> Option<Time> {
        None
    }

    /// What it does of its own accord.
    fn act(&mut self, scene: &mut Scene<'_>) -> Vec<Call> {
        let _ = scene;
        Vec::new()
    }
}

/// A behaviour that a scenario can name.
pub struct Kind {
    /// Its name in scenario files.
    pub name: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    make: fn() -> Box<dyn Behaviour>,
}

/// All behaviours.
pub const ALL: &[Kind] = &[
    Kind {
        name: "collude",
        about: "names only colluders, takes everything with a receipt and throws it away",
        make: || Box::new(colluders::Collude),
    },
    Kind { name: "mute", about: "answers nothing but pings", make: || Box::new(mute::Mute) },
    Kind {
        name: "drop-acknowledgements",
        about: "answers to acknowledgements as if it obeyed, and passes none on",
        make: || Box::new(mute::DropAcknowledgements),
    },
];

impl Kind {
    /// The behaviour of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|kind| kind.name == name)
    }

    /// A new one, for one node.
    pub fn make(&self) -> Box<dyn Behaviour> {
        (self.make)()
    }
}
