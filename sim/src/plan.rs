//! What one experiment is: the network, its traffic, its adversaries and how long to look.
//!
//! Entry type is [`Plan`], every field of which stands in a scenario file under the same name
//! (`sim/README.md`). Nothing here runs.

use comm_proto::lookup::LookupConfig;
use comm_proto::node::Config;
use comm_proto::table::TableConfig;
use comm_proto::time::Span;

use crate::regions::Regions;
use crate::sessions::Sessions;

/// One experiment, to be run on several networks drawn from consecutive seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Who takes part and what lies between them.
    pub network: Network,
    /// What every node has of the protocol's defences.
    pub protocol: Protocol,
    /// What people send.
    pub traffic: Traffic,
    /// Who wants to prevent it.
    pub adversary: Adversary,
    /// Who comes and goes.
    pub churn: Churn,
    /// How many networks, and how long each is looked at.
    pub run: Run,
}

/// Who takes part and what lies between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Relays, adversaries included. At least 2.
    pub nodes: usize,
    /// The least and the greatest latency of one way; each message draws its own.
    pub latency: (Span, Span),
    /// Other latencies, between parts of the world, that somebody has measured.
    pub regions: Option<Regions>,
    /// The chance of every call and of every answer to be lost, of a million. Pushes go over streams,
    /// which lose nothing unless they break.
    pub loss: Millionths,
    /// Loss in bursts: the part of all time in which a relay's line loses every call and every answer, to it and from
    /// it.
    pub bursts: Millionths,
    /// How long such a time is; they begin and end at multiples of this, those of each relay at its own.
    pub burst: Span,
    /// Honest relays that nobody can dial, because something in between lets nobody through: a part of all relays.
    pub leaves: Millionths,
    /// Median time until a stream for pushes breaks; exponential. Zero means that none does.
    pub stream: Span,
    /// Round trips that a dial takes before a call can leave, for the first call from one relay to another and for
    /// one after two minutes without any; at most 10. Zero: links are there.
    pub dial: u64,
    /// Who is cut off from the others for a while.
    pub cut: Cut,
    /// Relays, drawn at random, whose clocks are wrong: a part of all, half of which are ahead by `skew` and half
    /// behind.
    pub skewed: Millionths,
    /// By how much these are wrong.
    pub skew: Span,
    /// What callers notice of a relay that is off.
    pub off: Off,
    /// How long a disk takes to make a batch durable.
    pub disk: Span,
    /// Hosts that share the first 16 bits of their IP addresses.
    pub group: usize,
    /// Bytes that a relay's store may take.
    pub store: u64,
    /// What stands before every relay's node, by the names of [`crate::behaviour`]: the rule of all, who
    /// are honest for all that.
    pub behaviours: Vec<String>,
    /// How many others, drawn at random from those that are up, a relay is told of to begin with. If all
    /// of them collude it never sees anybody else. At least 1.
    pub bootstrap: usize,
}

/// A partition: some relays are cut off from all others for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Which part of all relays, drawn at random.
    pub share: Millionths,
    /// From when, after the first envelope.
    pub after: Span,
    /// For how long.
    pub span: Span,
    /// What does not arrive.
    pub way: Way,
}

/// What of those who are cut off does not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Neither what they send to the others, nor what these send to them.
    Both,
    /// What they send.
    Out,
    /// What is sent to them.
    In,
}

impl Way {
    /// All, by the names that they have in scenarios.
    pub const ALL: [(&'static str, Self); 3] =
        [("both", Self::Both), ("out", Self::Out), ("in", Self::In)];
}

/// What every node has of the protocol's defences, so that each can be played without it, or with less of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// How many nodes a region should hold (PROTOCOL §5.5), and in how many there are no entries. At least 1.
    pub region: u64,
    /// Disjoint paths of a lookup (PROTOCOL §5.4). At least 1.
    pub paths: usize,
    /// Lasting entries of a node (PROTOCOL §6.8).
    pub entries: usize,
    /// Entries that change, to which mailboxes of conversations are granted: 1, or none.
    pub rotating: usize,
    /// Entries of a full bucket (PROTOCOL §5.3). At least 1.
    pub bucket: usize,
    /// Replacements that wait for an entry of a bucket to fail (PROTOCOL §5.3).
    pub replacements: usize,
}

impl Default for Protocol {
    fn default() -> Self {
        let config = Config::default();
        Self {
            region: config.region_nodes,
            paths: config.lookup.paths,
            entries: config.entries,
            rotating: 1,
            bucket: config.table.bucket_size,
            replacements: config.table.replacements_max,
        }
    }
}

impl Protocol {
    /// The configuration of an ordinary node whose store may take so many bytes.
    pub fn config(&self, store_bytes_max: u64) -> Config {
        let usual = Config::default();
        Config {
            store_bytes_max,
            region_nodes: self.region,
            lookup: LookupConfig { paths: self.paths, ..usual.lookup },
            entries: self.entries,
            table: TableConfig {
                bucket_size: self.bucket,
                replacements_max: self.replacements,
                ..usual.table
            },
            ..usual
        }
    }
}

/// What callers notice of a relay that is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// Nothing, until their call has lasted too long: its machine is off, or its network is gone.
    Silent,
    /// That nobody listens there, at once: its program has ended, and its machine goes on.
    Refuses,
}

impl Off {
    /// Both, by the names that they have in scenarios.
    pub const ALL: [(&'static str, Self); 2] =
        [("silent", Self::Silent), ("refuses", Self::Refuses)];
}

/// What people send. Unless there are pairs, every envelope has a sender, a recipient and a mailbox of its
/// own, so that none profits from what was found for another.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// Envelopes sent in one network.
    pub envelopes: usize,
    /// The time between two of them.
    pub spacing: Span,
    /// How long they may wait, from 10 minutes to 30 days.
    pub ttl: Span,
    /// How long recipients are away, counted from when the envelope is sent; zero when they are
    /// there.
    pub away: Span,
    /// How long after its envelopes have reached another relay the node of a sender goes off for good, where
    /// recipients are away, whose nodes are off meanwhile; zero when the nodes of both stay on.
    pub leave: Span,
    /// Pairs of a sender and a recipient that take turns; zero for one pair for each envelope.
    pub pairs: usize,
    /// Where recipients have their envelopes put.
    pub mailboxes: Mailboxes,
}

impl Traffic {
    /// Whether the nodes of people go off: then nothing but the network's copies brings an envelope to its
    /// recipient.
    pub fn nodes_go(&self) -> bool {
        self.leave > Span::ZERO && self.away > Span::ZERO
    }
}

/// Where a recipient has envelopes put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mailboxes {
    /// At their address, which the adversary knows too.
    Public,
    /// At an address that only the two know, another for each pair and week (PROTOCOL §4.6).
    #[default]
    Conversation,
    /// At the address of their node.
    Node,
}

impl Mailboxes {
    /// All, by the names that they have in scenarios.
    pub const ALL: [(&'static str, Self); 3] =
        [("public", Self::Public), ("conversation", Self::Conversation), ("node", Self::Node)];
}

/// Who wants to prevent it.
#[derive(Clone, Debug, PartialEq)]
pub struct Adversary {
    /// The part of all places that is theirs, of a million.
    pub share: Millionths,
    /// Which places these are.
    pub place: Place,
    /// Relays beside, with keys made so that they lie nearer to an address than any honest one: so many at
    /// the public address of each recipient, and with conversation mailboxes of each sender too, or at the mailboxes
    /// themselves if they were seen.
    pub ids: usize,
    /// Groups of the IP plan that all their relays lie in; zero: those where they happen to be.
    pub groups: usize,
    /// Calls that they make together of their own accord in each spacing of the traffic, for each behaviour that
    /// makes any.
    pub effort: usize,
    /// Whom floods are meant for, and ids.
    pub aim: Aim,
    /// What they do, by the names of [`crate::behaviour`]; the first that has an opinion decides.
    pub behaviours: Vec<String>,
}

/// Which places are an adversary's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Relays, drawn at random.
    Random,
    /// Entries, each with the chance of the share: relays that are bad to those whose entries they are, and
    /// honest otherwise.
    Entries,
    /// The same, but to senders alone.
    SendersEntries,
}

impl Place {
    /// All, by the names that they have in scenarios.
    pub const ALL: [(&'static str, Self); 3] = [
        ("random", Self::Random),
        ("entries", Self::Entries),
        ("senders-entries", Self::SendersEntries),
    ];
}

/// Whom floods are meant for, and ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// Nobody in particular: each envelope goes to a mailbox of its own.
    Anybody,
    /// The recipient of the first honest envelope.
    Victim,
    /// Floods for nobody in particular; ids for the mailboxes of pairs, which somebody has seen in use, where
    /// these are nobody's address.
    Seen,
}

impl Aim {
    /// All, by the names that they have in scenarios.
    pub const ALL: [(&'static str, Self); 3] =
        [("anybody", Self::Anybody), ("victim", Self::Victim), ("seen", Self::Seen)];
}

/// Who comes and goes: honest relays. Sessions are drawn from Weibull distributions and pauses from
/// exponential ones, or a file tells both. A relay that comes back has kept its disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Churn {
    /// The median length of a session; zero means that all stay.
    pub session: Span,
    /// The shape of the distribution of sessions, in thousandths; 1,000 is exponential, less has more
    /// short and more very long ones.
    pub shape: u64,
    /// The median length of a pause.
    pub pause: Span,
    /// Sessions that somebody has seen; they take the place of what is drawn.
    pub trace: Option<Sessions>,
    /// Whose relays.
    pub who: Who,
}

/// Whose relays come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Those that no sender and no recipient uses.
    Relays,
    /// All honest ones.
    All,
}

impl Who {
    /// Both, by the names that they have in scenarios.
    pub const ALL: [(&'static str, Self); 2] = [("relays", Self::Relays), ("all", Self::All)];
}

/// How many networks, and how long each is looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Independent networks.
    pub networks: u64,
    /// The seed of the first; the others follow it.
    pub seed: u64,
    /// Time to find each other before the first envelope is sent.
    pub settle: Span,
    /// Time from the last envelope to the end.
    pub look: Span,
    /// What signatures and frames are.
    pub crypto: Crypto,
    /// How the network begins.
    pub start: Start,
}

/// How a network begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Relays are switched on one after the other, and each finds its place.
    Joining,
    /// Each is switched on with the table that it would have found, and nothing is sent for that. It has come half an
    /// hour ago.
    Settled,
    /// Each has been there for a day when it is met, with a table drawn from all of them.
    Established,
}

impl Start {
    /// All, with their names.
    pub const ALL: [(&'static str, Self); 3] = [
        ("joining", Self::Joining),
        ("settled", Self::Settled),
        ("established", Self::Established),
    ];
}

/// What signatures and frames are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crypto {
    /// Those of the protocol: everything is signed, encoded, decoded and verified as between real
    /// nodes.
    Real,
    /// Values go from node to node as they are, and signatures are keyed hashes that nobody looks at.
    /// Still nobody can forge any: nodes take nothing but what was signed in this process by
    /// its owner's key, which the types of `comm-proto` see to.
    Model,
}

/// Parts of a million: exact, so that every machine draws the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millionths(u32);

impl Millionths {
    /// All of it.
    pub const ALL: Self = Self(1_000_000);

    /// `parts` of a million; more than a million are all.
    pub const fn new(parts: u32) -> Self {
        Self(if parts > Self::ALL.0 { Self::ALL.0 } else { parts })
    }

    /// How many parts.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The share of a count, rounded to the nearest.
    pub const fn of(self, count: usize) -> usize {
        ((count as u64 * self.0 as u64 + 500_000) / 1_000_000) as usize
    }
}

impl Default for Plan {
    /// A small network in which nothing goes wrong.
    fn default() -> Self {
        Self {
            network: Network {
                stream: Span::ZERO,
                nodes: 1_000,
                latency: (Span::from_millis(50), Span::from_millis(150)),
                regions: None,
                loss: Millionths::default(),
                bursts: Millionths::default(),
                burst: Span::from_secs(10),
                leaves: Millionths::default(),
                disk: Span::from_millis(5),
                group: 256,
                store: 1 << 30,
                off: Off::Silent,
                dial: 0,
                cut: Cut {
                    share: Millionths::default(),
                    after: Span::ZERO,
                    span: Span::ZERO,
                    way: Way::Both,
                },
                skewed: Millionths::default(),
                skew: Span::ZERO,
                behaviours: Vec::new(),
                bootstrap: 8,
            },
            protocol: Protocol::default(),
            traffic: Traffic {
                envelopes: 100,
                spacing: Span::from_secs(1),
                ttl: Span::from_days(14),
                away: Span::from_millis(0),
                leave: Span::ZERO,
                pairs: 0,
                mailboxes: Mailboxes::Public,
            },
            adversary: Adversary {
                share: Millionths::default(),
                place: Place::Random,
                ids: 0,
                groups: 0,
                effort: 10,
                aim: Aim::Anybody,
                behaviours: Vec::new(),
            },
            churn: Churn {
                session: Span::ZERO,
                shape: 1_000,
                pause: Span::from_mins(10),
                trace: None,
                who: Who::Relays,
            },
            run: Run {
                networks: 10,
                seed: 1,
                settle: Span::from_mins(20),
                look: Span::from_mins(10),
                crypto: Crypto::Model,
                start: Start::Joining,
            },
        }
    }
}
