//! What adversaries do: the same node with a changed behaviour.
//!
//! Entry type is [`Behaviour`]. The node behind an adversary is the production state machine and has
//! its place in everybody's table; a behaviour sees every request, push and answer before that node
//! and every output after it, and may answer, change or swallow it, or say something of its own.
//! Several can be put before one node; the first that does not let a request pass decides about it,
//! all else goes through all of them. All that a scenario can name stand in [`ALL`].

mod ancestor;
mod beat;
mod colluders;
mod drop;
mod eclipse;
mod entry;
mod flood;
mod forge;
mod met;
mod mute;
mod refuse;
mod replay;
mod sizes;
#[cfg(test)]
mod stage;

use std::collections::BTreeMap;

use comm_proto::acknowledgement::Acknowledgement;
use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::envelope::EnvelopeId;
use comm_proto::key::KeyPair;
use comm_proto::message::{Push, Request, Response};
use comm_proto::node::{CallId, Output};
use comm_proto::rejection::Rejection;
use comm_proto::time::{Span, Time};
use comm_proto::verified::Verified;
use comm_proto::wire::peer;
use rand_chacha::ChaCha12Rng;

pub use colluders::Colluders;
pub(crate) use entry::AsEntry;

/// What a behaviour knows and may use.
pub struct Scene<'a> {
    /// The time, by the world's clock.
    pub now: Time,
    /// The key of the node behind it.
    pub key: &'a KeyPair,
    /// All who work together, itself included.
    pub colluders: &'a Colluders,
    /// What it was told beforehand.
    pub plot: &'a Plot,
    /// Seeded; draw from nothing else.
    pub rng: &'a mut ChaCha12Rng,
}

/// What the experiment tells all who behave otherwise beforehand.
#[derive(Debug, Default)]
pub struct Plot {
    /// When the first honest envelope is sent.
    pub begin: Time,
    /// When the last one was, and floods end.
    pub end: Time,
    /// The time between two calls that one relay makes of its own accord, where a behaviour does; zero
    /// for never.
    pub every: Span,
    /// How long honest envelopes may wait.
    pub ttl: Span,
    /// The mailbox that floods are meant for, if there is one.
    pub victim: Option<Address>,
    /// Addresses that ids lie beside, and what counts as near them: twice a region of the true number of relays,
    /// in top bits.
    pub aimed: (Vec<Address>, u64),
    /// Identities beside those in tables: keys for which colluders answer, where they listen.
    pub identities: Colluders,
    /// Who wrote an honest envelope, by the address of their node.
    pub writers: BTreeMap<EnvelopeId, Address>,
    /// For each honest envelope a true acknowledgement of another one in the same mailbox: everybody in its
    /// region has seen such, and the mailbox's key in it.
    pub acknowledged: BTreeMap<EnvelopeId, Verified<Acknowledgement>>,
}

impl Plot {
    /// Whether whoever asks about this may search the region of an address that ids lie beside.
    pub fn is_aimed_at(&self, target: &Address) -> bool {
        let (addresses, near) = &self.aimed;
        addresses.iter().any(|one| one.distance(target).top_bits() <= *near)
    }
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Reaction {
    /// The next behaviour decides, at last the node.
    Pass,
    /// This is answered, and the node learns nothing of it.
    Answer(Box<Result<Response, Rejection>>),
    /// So is this, which the asker reads as it reads all that comes, signatures included.
    Forged(Box<peer::Response>),
    /// The next behaviours, at last the node, decide about this request in its place.
    Instead(Box<Request>),
    /// Nothing is answered.
    Silence,
}

/// A call of the behaviour's own, made in its node's name and counted like all others. Its answer
/// is shown to the behaviours alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Whom.
    pub to: Contact,
    /// What.
    pub says: Says,
}

/// What a call says.
#[derive(Clone, Debug, PartialEq)]
pub enum Says {
    /// Something valid.
    Request(Box<Request>),
    /// Something that the other side reads as it reads all that comes, signatures included, and
    /// refuses unless it is valid.
    Forged(Box<peer::Request>),
}

/// One adversary's behaviour, with whatever it remembers.
pub trait Behaviour {
    /// Another node asks the node behind this.
    fn on_request(&mut self, scene: &mut Scene<'_>, from: &Address, request: &Request) -> Reaction {
        let _ = (scene, from, request);
        Reaction::Pass
    }

    /// A push reaches the node; what is returned reaches it instead.
    fn on_push(&mut self, scene: &mut Scene<'_>, from: &Address, push: Push) -> Option<Push> {
        let _ = (scene, from);
        Some(push)
    }

    /// A call came to its end; what is returned is its end instead. No answer in time is
    /// `Err(Rejection::Unreachable)`. `call` is none for calls of [`Self::act`].
    fn on_response(
        &mut self,
        scene: &mut Scene<'_>,
        call: Option<CallId>,
        from: &Address,
        result: Result<Response, Rejection>,
    ) -> Result<Response, Rejection> {
        let _ = (scene, call, from);
        result
    }

    /// The node wants this done; what is returned is done instead.
    fn on_output(&mut self, scene: &mut Scene<'_>, output: Output) -> Option<Output> {
        let _ = scene;
        Some(output)
    }

    /// When [`Self::act`] is to be called next, as long as the host is up.
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
    calls: bool,
    verified: bool,
    invents: bool,
    serves_as_entry: bool,
}

/// All behaviours.
pub const ALL: &[Kind] = &[
    Kind::new(
        "collude",
        "names only colluders, takes everything with a receipt and throws it away",
        || Box::new(colluders::Collude),
    )
    .serving_as_entry(),
    Kind::new(
        "drop",
        "takes everything with a receipt and throws it away, and answers lookups honestly",
        || Box::new(drop::Drop),
    )
    .serving_as_entry(),
    Kind::new(
        "selective-drop",
        "takes and throws away what goes to half of all mailboxes (the last bit of the address says which), and is honest to the others",
        || Box::new(drop::SelectiveDrop),
    )
    .serving_as_entry(),
    Kind::new(
        "refuse",
        "wants and takes no envelope, as a node whose store is full, gives no receipt, and is honest in all else",
        || Box::new(refuse::Refuse),
    )
    .serving_as_entry(),
    Kind::new(
        "forge",
        "calls others with acknowledgements, receipts, grants, cards and envelopes that are forged, mutated or over",
        || Box::<forge::Forge>::default(),
    )
    .calling()
    .verified(),
    Kind::new(
        "replay",
        "says again to anybody what it has heard about envelopes, be it over or not",
        || Box::<replay::Replay>::default(),
    )
    .calling()
    .verified(),
    Kind::new(
        "flood",
        "hands others envelopes of its own, to mailboxes of nobody or all to one victim",
        || Box::<flood::Flood>::default(),
    )
    .calling(),
    Kind::new(
        "size-down",
        "answers lookups with the farthest colluders, so that the network looks small, but none near what ids lie beside",
        || Box::new(sizes::Deflate),
    ),
    Kind::new(
        "size-up",
        "answers lookups with made-up identities, four for each relay, so that the network looks large, but none near what ids lie beside",
        || Box::new(sizes::Inflate),
    )
    .inventing(),
    Kind::new(
        "eclipse",
        "pings whomever it hears of, to enter tables, and answers lookups with the colluders nearest to the asker",
        || Box::<eclipse::Eclipse>::default(),
    ),
    Kind::new(
        "ancestor",
        "the rule before this protocol, for all relays: flood to the 8 nearest of the table until acknowledged",
        || Box::<ancestor::Ancestor>::default(),
    ),
    Kind::new("mute", "answers nothing but pings", || Box::new(mute::Mute))
        .serving_as_entry(),
    Kind::new(
        "drop-acknowledgements",
        "answers to acknowledgements as if it obeyed, obeys none and passes none on",
        || Box::new(mute::DropAcknowledgements),
    ),
];

impl Call {
    /// To say something valid.
    pub fn new(to: Contact, request: Request) -> Self {
        Self { to, says: Says::Request(Box::new(request)) }
    }

    /// To say something that need not be.
    pub fn forged(to: Contact, message: peer::Request) -> Self {
        Self { to, says: Says::Forged(Box::new(message)) }
    }
}

impl Kind {
    /// One that asks nothing of the world but its relays.
    const fn new(
        name: &'static str,
        about: &'static str,
        make: fn() -> Box<dyn Behaviour>,
    ) -> Self {
        Self {
            name,
            about,
            make,
            calls: false,
            verified: false,
            invents: false,
            serves_as_entry: false,
        }
    }

    /// The same, which calls others of its own accord.
    const fn calling(self) -> Self {
        Self { calls: true, ..self }
    }

    /// The same, which says what others verify.
    const fn verified(self) -> Self {
        Self { verified: true, ..self }
    }

    /// The same, which names identities that nobody has.
    const fn inventing(self) -> Self {
        Self { invents: true, ..self }
    }

    /// The same, which does in [`Behaviour::on_request`] what it does to those whose entry it is.
    const fn serving_as_entry(self) -> Self {
        Self { serves_as_entry: true, ..self }
    }

    /// The behaviour of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|kind| kind.name == name)
    }

    /// Whether it says what others verify: only where signatures are real can they tell what is true of
    /// it from what is forged.
    pub const fn is_verified(&self) -> bool {
        self.verified
    }

    /// Whether it calls others of its own accord, as often as the scenario says.
    pub const fn calls_of_its_own(&self) -> bool {
        self.calls
    }

    /// Whether it names identities that nobody has, which the world makes up beforehand.
    pub const fn invents_identities(&self) -> bool {
        self.invents
    }

    /// Whether it can be put in the places of entries alone, where it sees nothing but requests.
    pub const fn serves_as_entry(&self) -> bool {
        self.serves_as_entry
    }

    /// A new one, for one node.
    pub fn make(&self) -> Box<dyn Behaviour> {
        (self.make)()
    }
}
