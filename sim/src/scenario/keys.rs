//! Every key that a plan has in a scenario file: how it is read, shown and explained.
//!
//! One list for files, `--set`, grids, conditions and the documentation.

use comm_proto::time::Span;
use toml::Value;

use super::units;
use crate::behaviour::{self, Kind};
use crate::ip_plan::{GROUP_MAX, HOSTS_MAX, MOVED_MAX};
use crate::plan::{Aim, Crypto, Mailboxes, Millionths, Off, Place, Plan, Start, Way, Who};
use crate::regions::Regions;
use crate::sessions::Sessions;
use crate::weibull::LONGEST;

/// Most round trips of a dial.
const DIAL_MAX: u64 = 10;

/// One field of a [`Plan`].
pub struct Key {
    /// Table and field, as in `network.nodes`.
    pub name: &'static str,
    /// What it says, in one line.
    pub about: &'static str,
    read: fn(&mut Plan, &Value) -> Result<(), String>,
    show: fn(&Plan) -> String,
}

impl Key {
    /// Puts a value into a plan.
    ///
    /// # Errors
    /// What to write instead.
    pub fn read(&self, plan: &mut Plan, value: &Value) -> Result<(), String> {
        (self.read)(plan, value)
    }

    /// The value in a plan, the same text for the same value.
    pub fn show(&self, plan: &Plan) -> String {
        (self.show)(plan)
    }
}

/// The key of this name.
pub fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Whichever of the known names is most like this one.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known.into_iter().min_by_key(|known| strsim::damerau_levenshtein(name, known))
}

/// The key that is most like this name: one of the same field in whichever table before all others.
pub fn nearest_key(name: &str) -> &'static str {
    let unlike = |key: &&str| {
        let fields = strsim::damerau_levenshtein(field(name), field(key));
        if fields == 0 || !name.contains('.') {
            (fields > 0, fields)
        } else {
            (true, strsim::damerau_levenshtein(name, key))
        }
    };
    KEYS.iter().map(|key| key.name).min_by_key(unlike).unwrap_or_default()
}

/// A key's name without its table.
pub(super) fn field(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// All of them, in the order of the documentation.
pub static KEYS: [Key; 52] = [
    Key {
        name: "network.nodes",
        about: "relays, adversaries included; at least 2",
        read: |plan, value| put(&mut plan.network.nodes, nodes(value)),
        show: |plan| plan.network.nodes.to_string(),
    },
    Key {
        name: "network.latency",
        about: "least and greatest latency of one way; each message draws its own",
        read: |plan, value| put(&mut plan.network.latency, latency(value)),
        show: |plan| units::show_range(plan.network.latency),
    },
    Key {
        name: "network.regions",
        about: "file with latencies between parts of the world instead, beside the scenario",
        read: |plan, value| put(&mut plan.network.regions, file(value, Regions::named)),
        show: |plan| plan.network.regions.as_ref().map_or("none", |one| &one.name).to_owned(),
    },
    Key {
        name: "network.bursts",
        about: "part of the time in which a relay's line loses every call and every answer",
        read: |plan, value| put(&mut plan.network.bursts, share(value)),
        show: |plan| units::show_share(plan.network.bursts),
    },
    Key {
        name: "network.burst",
        about: "how long such a time is",
        read: |plan, value| put(&mut plan.network.burst, span(value)),
        show: |plan| units::show_span(plan.network.burst),
    },
    Key {
        name: "network.leaves",
        about: "part of all relays that are honest and that nobody can dial",
        read: |plan, value| put(&mut plan.network.leaves, share(value)),
        show: |plan| units::show_share(plan.network.leaves),
    },
    Key {
        name: "network.loss",
        about: "chance of every call and of every answer to be lost",
        read: |plan, value| put(&mut plan.network.loss, share(value)),
        show: |plan| units::show_share(plan.network.loss),
    },
    Key {
        name: "network.stream",
        about: "median time until a stream for pushes breaks; 0s: none does",
        read: |plan, value| put(&mut plan.network.stream, span(value)),
        show: |plan| units::show_span(plan.network.stream),
    },
    Key {
        name: "network.dial",
        about: "round trips that opening a link takes before its first call, up to 10; 0: links are there",
        read: |plan, value| put(&mut plan.network.dial, from_to(value, 0, DIAL_MAX)),
        show: |plan| plan.network.dial.to_string(),
    },
    Key {
        name: "network.cut",
        about: "share of relays that are cut off from all others for a while",
        read: |plan, value| put(&mut plan.network.cut.share, share(value)),
        show: |plan| units::show_share(plan.network.cut.share),
    },
    Key {
        name: "network.cut_after",
        about: "time from the first envelope until they are cut off",
        read: |plan, value| put(&mut plan.network.cut.after, span(value)),
        show: |plan| units::show_span(plan.network.cut.after),
    },
    Key {
        name: "network.cut_for",
        about: "for how long they are cut off",
        read: |plan, value| put(&mut plan.network.cut.span, span(value)),
        show: |plan| units::show_span(plan.network.cut.span),
    },
    Key {
        name: "network.cut_way",
        about: "what does not arrive: \"both\" ways, what they send (\"out\") or what is sent to them (\"in\")",
        read: |plan, value| put(&mut plan.network.cut.way, one_of(value, &Way::ALL)),
        show: |plan| name_of(plan.network.cut.way, &Way::ALL),
    },
    Key {
        name: "network.skewed",
        about: "share of relays whose clocks are wrong, half of them ahead and half behind",
        read: |plan, value| put(&mut plan.network.skewed, share(value)),
        show: |plan| units::show_share(plan.network.skewed),
    },
    Key {
        name: "network.skew",
        about: "by how much these clocks are wrong",
        read: |plan, value| put(&mut plan.network.skew, span(value)),
        show: |plan| units::show_span(plan.network.skew),
    },
    Key {
        name: "network.off",
        about: "what callers notice of a relay that is off: \"silent\" or \"refuses\"",
        read: |plan, value| put(&mut plan.network.off, one_of(value, &Off::ALL)),
        show: |plan| name_of(plan.network.off, &Off::ALL),
    },
    Key {
        name: "network.disk",
        about: "how long a disk takes to make a batch durable",
        read: |plan, value| put(&mut plan.network.disk, span(value)),
        show: |plan| units::show_span(plan.network.disk),
    },
    Key {
        name: "network.group",
        about: "hosts that share the first 16 bits of their IP addresses; from 1 to 60000",
        read: |plan, value| {
            put(
                &mut plan.network.group,
                count(value, 1).and_then(|count| at_most(count, GROUP_MAX)),
            )
        },
        show: |plan| plan.network.group.to_string(),
    },
    Key {
        name: "network.store",
        about: "what a relay's store may take",
        read: |plan, value| {
            put(&mut plan.network.store, text(value).and_then(|text| units::bytes(&text)))
        },
        show: |plan| units::show_bytes(plan.network.store),
    },
    Key {
        name: "network.behaviours",
        about: "what all relays do otherwise than the protocol says, honest ones too",
        read: |plan, value| put(&mut plan.network.behaviours, behaviours(value)),
        show: |plan| names(&plan.network.behaviours),
    },
    Key {
        name: "network.bootstrap",
        about: "how many others, adversaries among them, a relay is told of to begin with; at least 1",
        read: |plan, value| put(&mut plan.network.bootstrap, count(value, 1)),
        show: |plan| plan.network.bootstrap.to_string(),
    },
    Key {
        name: "protocol.region",
        about: "how many nodes a region should hold; from 1 to 1000",
        read: |plan, value| put(&mut plan.protocol.region, from_to(value, 1, 1_000)),
        show: |plan| plan.protocol.region.to_string(),
    },
    Key {
        name: "protocol.paths",
        about: "disjoint paths of a lookup; from 1 to 20",
        read: |plan, value| put_count(&mut plan.protocol.paths, from_to(value, 1, 20)),
        show: |plan| plan.protocol.paths.to_string(),
    },
    Key {
        name: "protocol.entries",
        about: "lasting entries of a node; from 0 to 64",
        read: |plan, value| put_count(&mut plan.protocol.entries, from_to(value, 0, 64)),
        show: |plan| plan.protocol.entries.to_string(),
    },
    Key {
        name: "protocol.rotating",
        about: "entries that change, to which people grant mailboxes of conversations: 1 or 0",
        read: |plan, value| put_count(&mut plan.protocol.rotating, from_to(value, 0, 1)),
        show: |plan| plan.protocol.rotating.to_string(),
    },
    Key {
        name: "protocol.bucket",
        about: "entries of a full bucket of the table; from 1 to 256",
        read: |plan, value| put_count(&mut plan.protocol.bucket, from_to(value, 1, 256)),
        show: |plan| plan.protocol.bucket.to_string(),
    },
    Key {
        name: "protocol.replacements",
        about: "replacements that wait for an entry of a bucket to fail; from 0 to 256",
        read: |plan, value| put_count(&mut plan.protocol.replacements, from_to(value, 0, 256)),
        show: |plan| plan.protocol.replacements.to_string(),
    },
    Key {
        name: "traffic.envelopes",
        about: "envelopes sent in one network; at least 1",
        read: |plan, value| put(&mut plan.traffic.envelopes, count(value, 1)),
        show: |plan| plan.traffic.envelopes.to_string(),
    },
    Key {
        name: "traffic.spacing",
        about: "time between two envelopes",
        read: |plan, value| put(&mut plan.traffic.spacing, span(value)),
        show: |plan| units::show_span(plan.traffic.spacing),
    },
    Key {
        name: "traffic.ttl",
        about: "how long an envelope may wait, from 10m to 30d",
        read: |plan, value| put(&mut plan.traffic.ttl, ttl(value)),
        show: |plan| units::show_span(plan.traffic.ttl),
    },
    Key {
        name: "traffic.away",
        about: "how long recipients are away from when the envelope is sent; 0s: they are there",
        read: |plan, value| put(&mut plan.traffic.away, span(value)),
        show: |plan| units::show_span(plan.traffic.away),
    },
    Key {
        name: "traffic.leave",
        about: "how long after they were stored elsewhere senders of absent recipients switch their nodes off for good; 0s: never",
        read: |plan, value| put(&mut plan.traffic.leave, span(value)),
        show: |plan| units::show_span(plan.traffic.leave),
    },
    Key {
        name: "traffic.pairs",
        about: "pairs of a sender and a recipient that take turns; 0: one for each envelope",
        read: |plan, value| put(&mut plan.traffic.pairs, count(value, 0)),
        show: |plan| plan.traffic.pairs.to_string(),
    },
    Key {
        name: "traffic.mailboxes",
        about: "where envelopes wait: \"public\", \"conversation\" or \"node\"",
        read: |plan, value| put(&mut plan.traffic.mailboxes, one_of(value, &Mailboxes::ALL)),
        show: |plan| name_of(plan.traffic.mailboxes, &Mailboxes::ALL),
    },
    Key {
        name: "adversary.share",
        about: "part of all places that is the adversary's",
        read: |plan, value| put(&mut plan.adversary.share, share(value)),
        show: |plan| units::show_share(plan.adversary.share),
    },
    Key {
        name: "adversary.place",
        about: "which places: \"random\" relays, \"entries\" or \"senders-entries\"",
        read: |plan, value| put(&mut plan.adversary.place, one_of(value, &Place::ALL)),
        show: |plan| name_of(plan.adversary.place, &Place::ALL),
    },
    Key {
        name: "adversary.ids",
        about: "further relays beside each public address, nearer than any honest one",
        read: |plan, value| put(&mut plan.adversary.ids, count(value, 0)),
        show: |plan| plan.adversary.ids.to_string(),
    },
    Key {
        name: "adversary.groups",
        about: "IP groups that all adversaries lie in; 0: where they happen to be",
        read: |plan, value| {
            put(
                &mut plan.adversary.groups,
                count(value, 0).and_then(|count| at_most(count, MOVED_MAX)),
            )
        },
        show: |plan| plan.adversary.groups.to_string(),
    },
    Key {
        name: "adversary.effort",
        about: "calls of their own accord in each traffic.spacing, for each behaviour that makes any",
        read: |plan, value| put(&mut plan.adversary.effort, count(value, 0)),
        show: |plan| plan.adversary.effort.to_string(),
    },
    Key {
        name: "adversary.aim",
        about: "whom floods are meant for: \"anybody\" or \"victim\"; \"seen\": ids lie beside conversation mailboxes",
        read: |plan, value| put(&mut plan.adversary.aim, one_of(value, &Aim::ALL)),
        show: |plan| name_of(plan.adversary.aim, &Aim::ALL),
    },
    Key {
        name: "adversary.behaviours",
        about: "what they do; the first that has an opinion decides",
        read: |plan, value| put(&mut plan.adversary.behaviours, behaviours(value)),
        show: |plan| names(&plan.adversary.behaviours),
    },
    Key {
        name: "churn.session",
        about: "median time for which an honest relay stays; 0s: all stay",
        read: |plan, value| put(&mut plan.churn.session, span(value)),
        show: |plan| units::show_span(plan.churn.session),
    },
    Key {
        name: "churn.shape",
        about: "shape of the Weibull distribution of these times; 1: exponential",
        read: |plan, value| put(&mut plan.churn.shape, shape(value)),
        show: |plan| units::show_thousandths(plan.churn.shape),
    },
    Key {
        name: "churn.pause",
        about: "median time for which it is gone",
        read: |plan, value| put(&mut plan.churn.pause, span(value)),
        show: |plan| units::show_span(plan.churn.pause),
    },
    Key {
        name: "churn.trace",
        about: "file with sessions instead, beside the scenario",
        read: |plan, value| put(&mut plan.churn.trace, file(value, Sessions::named)),
        show: |plan| plan.churn.trace.as_ref().map_or("none", |trace| &trace.name).to_owned(),
    },
    Key {
        name: "churn.who",
        about: "whose relays: those that nobody uses, or all honest ones",
        read: |plan, value| put(&mut plan.churn.who, one_of(value, &Who::ALL)),
        show: |plan| name_of(plan.churn.who, &Who::ALL),
    },
    Key {
        name: "run.networks",
        about: "independent networks; at least 1",
        read: |plan, value| put(&mut plan.run.networks, whole(value, 1)),
        show: |plan| plan.run.networks.to_string(),
    },
    Key {
        name: "run.seed",
        about: "seed of the first network; the others follow it",
        read: |plan, value| put(&mut plan.run.seed, whole(value, 0)),
        show: |plan| plan.run.seed.to_string(),
    },
    Key {
        name: "run.settle",
        about: "time to find each other before the first envelope",
        read: |plan, value| put(&mut plan.run.settle, span(value)),
        show: |plan| units::show_span(plan.run.settle),
    },
    Key {
        name: "run.look",
        about: "time from the last envelope to the end",
        read: |plan, value| put(&mut plan.run.look, span(value)),
        show: |plan| units::show_span(plan.run.look),
    },
    Key {
        name: "run.crypto",
        about: "what signatures and frames are: \"real\" or \"model\"",
        read: |plan, value| put(&mut plan.run.crypto, crypto(value)),
        show: |plan| show_crypto(plan.run.crypto).to_owned(),
    },
    Key {
        name: "run.start",
        about: "how the network begins: \"joining\", \"settled\" or \"established\"",
        read: |plan, value| put(&mut plan.run.start, one_of(value, &Start::ALL)),
        show: |plan| name_of(plan.run.start, &Start::ALL),
    },
];

fn crypto(value: &Value) -> Result<Crypto, String> {
    let known = [Crypto::Real, Crypto::Model];
    let found = known.into_iter().find(|crypto| value.as_str() == Some(show_crypto(*crypto)));
    found.ok_or_else(|| "write \"real\" or \"model\"".to_owned())
}

const fn show_crypto(crypto: Crypto) -> &'static str {
    match crypto {
        Crypto::Real => "real",
        Crypto::Model => "model",
    }
}

fn put<T>(field: &mut T, value: Result<T, String>) -> Result<(), String> {
    *field = value?;
    Ok(())
}

/// A text; a bare number too, so that what reads it can say which unit is missing.
pub(super) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        _ => Err("write a text in quotes".to_owned()),
    }
}

fn whole(value: &Value, least: u64) -> Result<u64, String> {
    let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
    number.filter(|number| *number >= least).ok_or_else(|| {
        format!("write a whole number without quotes, at least {least}, such as {}", least.max(100))
    })
}

fn count(value: &Value, least: u64) -> Result<usize, String> {
    let number = whole(value, least)?;
    u32::try_from(number)
        .map(|number| number as usize)
        .map_err(|_| format!("write a number up to {}", u32::MAX))
}

fn at_most(count: usize, most: usize) -> Result<usize, String> {
    if count <= most { Ok(count) } else { Err(format!("write a number up to {most}")) }
}

fn span(value: &Value) -> Result<Span, String> {
    let span = units::span(&text(value)?)?;
    if span > LONGEST { Err("write at most \"3650d\"".to_owned()) } else { Ok(span) }
}

fn shape(value: &Value) -> Result<u64, String> {
    let shape = units::thousandths(&text(value)?)?;
    let is_shape = (100..=10_000).contains(&shape);
    is_shape.then_some(shape).ok_or_else(|| "write a number from 0.1 to 10".to_owned())
}

fn file<T>(value: &Value, named: fn(&str) -> T) -> Result<Option<T>, String> {
    let name = text(value)?;
    if name.is_empty() {
        return Err("write the name of a file, or \"none\"".to_owned());
    }
    Ok((name != "none").then(|| named(&name)))
}

fn latency(value: &Value) -> Result<(Span, Span), String> {
    let (least, greatest) = units::range(&text(value)?)?;
    if greatest > Span::HOUR {
        Err("write at most \"1h\"".to_owned())
    } else {
        Ok((least, greatest))
    }
}

fn put_count(field: &mut usize, value: Result<u64, String>) -> Result<(), String> {
    *field = value? as usize;
    Ok(())
}

/// A whole number within bounds.
fn from_to(value: &Value, least: u64, most: u64) -> Result<u64, String> {
    let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
    let within = number.filter(|number| (least..=most).contains(number));
    within.ok_or_else(|| format!("write a number without quotes, from {least} to {most}"))
}

fn nodes(value: &Value) -> Result<usize, String> {
    let nodes = count(value, 2)?;
    if nodes > HOSTS_MAX { Err(format!("write at most {HOSTS_MAX}")) } else { Ok(nodes) }
}

fn share(value: &Value) -> Result<Millionths, String> {
    units::share(&text(value)?)
}

fn ttl(value: &Value) -> Result<Span, String> {
    let ttl = span(value)?;
    let bounds = Span::from_mins(10)..=Span::from_days(30);
    if bounds.contains(&ttl) { Ok(ttl) } else { Err("write \"10m\" to \"30d\"".to_owned()) }
}

/// One of a few names.
fn one_of<T: Copy>(value: &Value, all: &[(&str, T)]) -> Result<T, String> {
    let known = value.as_str().and_then(|text| all.iter().find(|(name, _)| *name == text));
    known.map(|(_, one)| *one).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        format!("write {}", names.join(" or "))
    })
}

fn name_of<T: PartialEq>(value: T, all: &[(&str, T)]) -> String {
    let name = all.iter().find(|(_, one)| *one == value);
    name.map_or_else(String::new, |(name, _)| (*name).to_owned())
}

/// A list of names, or as [`names`] shows one: reports and their commands have it so.
fn behaviours(value: &Value) -> Result<Vec<String>, String> {
    match value.as_str() {
        Some("none") => return Ok(Vec::new()),
        Some(text) => return Ok(text.split('+').map(|name| name.trim().to_owned()).collect()),
        None => {}
    }
    let names = value.as_array().and_then(|names| {
        names.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
    });
    names.ok_or_else(|| "write a list of names, such as [\"mute\"]".to_owned())
}

/// Whether there are behaviours of these names.
///
/// # Errors
/// Which of them there is not, and which there is instead.
pub(super) fn check_behaviours(names: &[String]) -> Result<(), String> {
    let Some(name) = names.iter().find(|name| Kind::find(name).is_none()) else { return Ok(()) };
    let nearest = nearest(name, behaviour::ALL.iter().map(|kind| kind.name)).unwrap_or_default();
    Err(format!("has no behaviour \"{name}\"; did you mean \"{nearest}\"?"))
}

fn names(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join("+") }
}
