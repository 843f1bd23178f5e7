//! What can be asked of a network: one figure for each, by name.
//!
//! A figure is an exact fraction, so that a goal is met or missed by whole numbers alone. What several
//! figures of one kind say together is the business of [`crate::statistics`].

use std::fmt;

use comm_proto::time::Span;

use crate::measured::{Fate, Standing};
use crate::scenario::{keys, units};
use crate::statistics::{Ratio, percentile};
use crate::world::KINDS;

/// Forms of a measure's name, for messages and documentation.
pub const FORMS: &str = "accepted, copied, region_copied, stored, delivered, acknowledged (shares of all envelopes); \
    delivered_within_10s and the like; acceptance_p50, first_copy_p99, region_copy_p99, receipt_p50, delivery_p999, acknowledgement_p50 \
    and the like (times); messages_mean, bodies_mean, left_mean, wronged_mean, forged_mean, theirs_mean, evicted_mean, subscriptions_mean, messages_p99 and the like (counts); \
    storage_mean, ideal_storage_mean and the like (times), storage_ratio; first_attempt, first_submission (shares of all envelopes); disk_share (of the budget); table_share, \
    entries_share (shares of honest relays' tables and entries), churn_share (share of honest relays); idle_messages, idle_ping, idle_find_node and the like (counts)";

/// What every report shows, asked for or not.
pub const USUAL: [&str; 21] = [
    "accepted",
    "delivered",
    "delivered_within_10s",
    "acknowledged",
    "first_copy_p50",
    "first_copy_p99",
    "region_copy_p50",
    "region_copy_p99",
    "delivery_p50",
    "delivery_p99",
    "messages_mean",
    "bodies_mean",
    "left_mean",
    "first_attempt",
    "first_submission",
    "storage_mean",
    "storage_ratio",
    "table_share",
    "entries_share",
    "churn_share",
    "idle_messages",
];

/// A figure of a network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Measure {
    name: String,
    figure: Figure,
}

/// What a figure of one network is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Every envelope's fate.
    pub fates: Vec<Fate>,
    /// How the network stood before them.
    pub standing: Standing,
    /// The most bytes that an honest relay's disk held, and its budget.
    pub fullest: (u64, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Figure {
    Share(Stage),
    Within(Stage, Span),
    Time(Stage, Rank),
    Mean(Count),
    Percentile(Count, Rank),
    FirstAttempt,
    FirstSubmission,
    DiskShare,
    StorageRatio,
    TableShare,
    EntriesShare,
    ChurnShare,
    /// Messages of this kind, or of all, for a relay and an hour.
    Idle(Option<&'static str>),
}

/// How far an envelope has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Accepted,
    Copied,
    Stored,
    Delivered,
    Acknowledged,
    RegionCopied,
}

/// What an envelope costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Count {
    Messages,
    Bodies,
    Left,
    Wronged,
    Theirs,
    Subscriptions,
    Storage,
    IdealStorage,
    Forged,
    Evicted,
}

/// A percentile: `part` of `whole`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    part: u64,
    whole: u64,
}

/// What a figure is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A part of all envelopes.
    Share,
    /// Milliseconds.
    Time,
    /// A plain number.
    Count,
}

const STAGES: [(&str, &str, Stage); 6] = [
    ("accepted", "acceptance", Stage::Accepted),
    ("copied", "first_copy", Stage::Copied),
    ("stored", "receipt", Stage::Stored),
    ("delivered", "delivery", Stage::Delivered),
    ("acknowledged", "acknowledgement", Stage::Acknowledged),
    ("region_copied", "region_copy", Stage::RegionCopied),
];
const COUNTS: [(&str, Count); 10] = [
    ("messages", Count::Messages),
    ("bodies", Count::Bodies),
    ("left", Count::Left),
    ("wronged", Count::Wronged),
    ("theirs", Count::Theirs),
    ("subscriptions", Count::Subscriptions),
    ("storage", Count::Storage),
    ("ideal_storage", Count::IdealStorage),
    ("forged", Count::Forged),
    ("evicted", Count::Evicted),
];
const MILLIS_PER_HOUR: u64 = 3_600_000;

impl Measure {
    /// The measure of this name.
    ///
    /// # Errors
    /// Which names there are.
    pub fn parse(name: &str) -> Result<Self, String> {
        let known = USUAL.into_iter().chain(STAGES.map(|(share, ..)| share));
        let figure = figure(name).ok_or_else(|| {
            let nearest = keys::nearest(name, known).unwrap_or_default();
            format!("did you mean {nearest}? Write one of {FORMS}")
        })?;
        Ok(Self { name: name.to_owned(), figure })
    }

    /// As it stands in a scenario.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is counted in.
    pub fn unit(&self) -> Unit {
        match self.figure {
            Figure::Share(_) | Figure::Within(..) => Unit::Share,
            Figure::FirstAttempt | Figure::FirstSubmission | Figure::DiskShare => Unit::Share,
            Figure::TableShare | Figure::EntriesShare | Figure::ChurnShare => Unit::Share,
            Figure::Time(..) => Unit::Time,
            Figure::Mean(count) | Figure::Percentile(count, _) => count.unit(),
            Figure::StorageRatio | Figure::Idle(_) => Unit::Count,
        }
    }

    /// What it says, in a line.
    pub fn about(&self) -> String {
        match self.figure {
            Figure::Share(stage) => format!("share of envelopes {}", stage.about()),
            Figure::Within(stage, limit) => {
                format!("share of envelopes {} within {}", stage.about(), units::show_span(limit))
            }
            Figure::Time(stage, Rank { part, whole }) => format!(
                "time after which {} % of all envelopes were such {}",
                100.0 * part as f64 / whole as f64,
                stage.about()
            ),
            Figure::Mean(count) => format!("{}, the mean over envelopes", count.about()),
            Figure::Percentile(count, Rank { part, whole }) => format!(
                "{}, no more than this for {} % of envelopes",
                count.about(),
                100.0 * part as f64 / whole as f64
            ),
            figure => figure.about().to_owned(),
        }
    }

    /// Whether it is a share of envelopes, each of which is a trial.
    pub fn is_of_trials(&self) -> bool {
        matches!(
            self.figure,
            Figure::Share(_) | Figure::Within(..) | Figure::FirstAttempt | Figure::FirstSubmission
        )
    }

    /// Whether it says something of the network before its first envelope.
    pub fn is_of_network(&self) -> bool {
        matches!(
            self.figure,
            Figure::TableShare | Figure::EntriesShare | Figure::ChurnShare | Figure::Idle(_)
        )
    }

    /// The figure of one network; `None` stands for *never* or *nothing to count*.
    pub fn of(&self, seen: &Seen) -> Option<Ratio> {
        let Seen { fates: envelopes, standing, fullest } = seen;
        let all = envelopes.len() as u64;
        let share = |met: &dyn Fn(&Fate) -> bool| {
            Ratio::new(envelopes.iter().filter(|fate| met(fate)).count() as u64, all)
        };
        match self.figure {
            Figure::Share(stage) => share(&|fate| stage.of(fate).is_some()),
            Figure::Within(stage, limit) => {
                share(&|fate| stage.of(fate).is_some_and(|time| time <= limit))
            }
            Figure::Time(stage, rank) => {
                let time = |fate: &Fate| stage.of(fate).map_or(u64::MAX, Span::as_millis);
                let time = percentile(envelopes.iter().map(time), rank.part, rank.whole)?;
                if time == u64::MAX { None } else { Ratio::new(time, 1) }
            }
            Figure::Mean(count) => {
                Ratio::new(envelopes.iter().map(|fate| count.of(fate)).sum(), all)
            }
            Figure::Percentile(count, rank) => {
                let counts = envelopes.iter().map(|fate| count.of(fate));
                percentile(counts, rank.part, rank.whole).and_then(|count| Ratio::new(count, 1))
            }
            Figure::FirstAttempt => share(&|fate| fate.first_attempt),
            Figure::FirstSubmission => share(&|fate| fate.first_submission),
            Figure::DiskShare => Ratio::new(fullest.0, fullest.1),
            Figure::StorageRatio => {
                // What was never read lay as long as it should, and what is left will lie on.
                let read = envelopes.iter().filter(|fate| fate.delivered.is_some());
                let lain = |fate: &Fate| fate.storage.as_millis() + fate.to_come.as_millis();
                let all = read.clone().map(lain).sum();
                Ratio::new(all, read.map(|fate| fate.ideal_storage.as_millis()).sum())
            }
            Figure::TableShare => Ratio::new(standing.table.0, standing.table.1),
            Figure::EntriesShare => Ratio::new(standing.entries.0, standing.entries.1),
            Figure::ChurnShare => Ratio::new(standing.churn.0, standing.churn.1),
            Figure::Idle(kind) => {
                let wanted = |name: &str| kind.is_none_or(|kind| kind == name);
                let counted = standing.idle.iter().filter(|(name, _)| wanted(name));
                let messages = counted.map(|(_, count)| count).sum::<u64>();
                Ratio::new(messages.saturating_mul(MILLIS_PER_HOUR), standing.idle_millis)
            }
        }
    }
}

impl Unit {
    /// A bound in this unit, as text of a scenario.
    ///
    /// # Errors
    /// What to write instead.
    pub fn read(self, text: &str) -> Result<Ratio, String> {
        let (number, parts) = match self {
            Self::Share => (u64::from(units::share(text)?.get()), 1_000_000),
            Self::Time => (units::span(text)?.as_millis(), 1),
            Self::Count => (units::thousandths(text)?, 1_000),
        };
        Ratio::new(number, parts).ok_or_else(|| "write a number".to_owned())
    }

    /// A figure for people. Shares are cut off rather than rounded: 100 % means all.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Share => show_share(value),
            Self::Time if value < 1_000.0 => format!("{value:.0} ms"),
            Self::Time if value < 120_000.0 => format!("{:.2} s", value / 1_000.0),
            Self::Time if value < 7_200_000.0 => format!("{:.1} min", value / 60_000.0),
            Self::Time => format!("{:.1} h", value / 3_600_000.0),
            Self::Count if value < 1_000.0 => format!("{value:.2}"),
            Self::Count => format!("{value:.0}"),
        }
    }

    /// How it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Share => "share",
            Self::Time => "ms",
            Self::Count => "count",
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Figure {
    fn about(self) -> &'static str {
        match self {
            Self::FirstAttempt => {
                "share of envelopes that the first cast of an honest relay brought into the mailbox's region, or that were \
                 read before it was over; adversaries that cast nothing are no attempt"
            }
            Self::FirstSubmission => {
                "the same, but only where the relay that the sender's node turned to first made that cast"
            }
            Self::DiskShare => {
                "the most that an honest relay's disk held at any time, of its budget"
            }
            Self::StorageRatio => {
                "time for which copies of delivered envelopes lay on honest disks, those that are left until they expire, \
                 over what it would be had all been dropped at the first acknowledgement"
            }
            Self::TableShare => {
                "share of the places in honest relays' tables that is the adversary's"
            }
            Self::EntriesShare => "share of honest relays' entries that is the adversary's",
            Self::ChurnShare => "share of honest relays that come and go",
            _ => "messages of a relay in an hour in which nobody uses the network",
        }
    }
}

impl Stage {
    /// As in *envelopes that ...*.
    fn about(self) -> &'static str {
        match self {
            Self::Accepted => "that their sender's node had on its disk",
            Self::Copied => "that an honest relay other than the sender's had on its disk",
            Self::RegionCopied => {
                "that an honest relay in the mailbox's region, other than the sender's, had on its disk, or that their \
                 recipient had read"
            }
            Self::Stored => "of which their sender was told that another relay has them",
            Self::Delivered => {
                "that their recipient had (an absent one: counted from their return)"
            }
            Self::Acknowledged => "that their sender knew to be delivered",
        }
    }

    fn of(self, fate: &Fate) -> Option<Span> {
        match self {
            Self::Accepted => fate.accepted,
            Self::Copied => fate.copied,
            // Whom the acknowledgement reaches before any receipt knows of a copy, too.
            Self::Stored => [fate.stored, fate.acknowledged].into_iter().flatten().min(),
            Self::Delivered => fate.delivered,
            Self::Acknowledged => fate.acknowledged,
            Self::RegionCopied => fate.region_copied,
        }
    }
}

impl Count {
    fn about(self) -> &'static str {
        match self {
            Self::Messages => {
                "calls and pushes between relays that name an envelope, search its mailbox's region or subscribe to it"
            }
            Self::Bodies => "messages with an envelope's body",
            Self::Left => "honest relays that still have an envelope at the end",
            Self::Wronged => {
                "honest relays that ended an envelope by an acknowledgement before its recipient had acknowledged it"
            }
            Self::Theirs => "the adversary's among the 20 relays nearest to the mailbox",
            Self::Subscriptions => "messages that subscribe to the mailbox",
            Self::Storage => "time for which copies of an envelope lay on honest disks, added up",
            Self::IdealStorage => {
                "the same, had all of them been dropped at the first acknowledgement"
            }
            Self::Forged => {
                "acknowledgements of an unread envelope, forged with its mailbox's key, that came to honest relays which had it"
            }
            Self::Evicted => "times that an honest relay evicted an envelope for want of room",
        }
    }

    fn of(self, fate: &Fate) -> u64 {
        match self {
            Self::Messages => fate.messages,
            Self::Bodies => fate.bodies,
            Self::Left => fate.left,
            Self::Wronged => fate.wronged,
            Self::Theirs => fate.theirs,
            Self::Subscriptions => fate.subscriptions,
            Self::Storage => fate.storage.as_millis(),
            Self::IdealStorage => fate.ideal_storage.as_millis(),
            Self::Forged => fate.forged,
            Self::Evicted => fate.evicted,
        }
    }

    fn unit(self) -> Unit {
        match self {
            Self::Storage | Self::IdealStorage => Unit::Time,
            _ => Unit::Count,
        }
    }
}

fn figure(name: &str) -> Option<Figure> {
    if let Some((_, _, stage)) = STAGES.iter().find(|(share, ..)| *share == name) {
        return Some(Figure::Share(*stage));
    }
    if let Some((share, limit)) = name.split_once("_within_") {
        let (_, _, stage) = STAGES.iter().find(|(known, ..)| *known == share)?;
        return Some(Figure::Within(*stage, units::span(limit).ok()?));
    }
    match name {
        "first_attempt" => return Some(Figure::FirstAttempt),
        "first_submission" => return Some(Figure::FirstSubmission),
        "disk_share" => return Some(Figure::DiskShare),
        "storage_ratio" => return Some(Figure::StorageRatio),
        "table_share" => return Some(Figure::TableShare),
        "entries_share" => return Some(Figure::EntriesShare),
        "churn_share" => return Some(Figure::ChurnShare),
        "idle_messages" => return Some(Figure::Idle(None)),
        _ => {}
    }
    if let Some(kind) = name.strip_prefix("idle_") {
        let found = KINDS.into_iter().find(|known| known.replace(' ', "_") == kind)?;
        return Some(Figure::Idle(Some(found)));
    }
    let (of, how) = name.rsplit_once('_')?;
    if let Some((_, _, stage)) = STAGES.iter().find(|(_, time, _)| *time == of) {
        return Some(Figure::Time(*stage, rank(how)?));
    }
    let (_, count) = COUNTS.iter().find(|(known, _)| *known == of)?;
    if how == "mean" {
        Some(Figure::Mean(*count))
    } else {
        Some(Figure::Percentile(*count, rank(how)?))
    }
}

/// `p50`, `p99`, `p999`: the digits after `0.`, at least two of them.
fn rank(text: &str) -> Option<Rank> {
    let digits = text.strip_prefix('p')?;
    let is_rank =
        (2..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let whole = 10_u64.pow(u32::try_from(digits.len()).ok()?);
    let rank = Rank { part: digits.parse().ok()?, whole };
    (is_rank && rank.part > 0).then_some(rank)
}

fn show_share(value: f64) -> String {
    let parts = (value * 1_000_000.0 + 1e-6).floor();
    let text = format!("{:.4}", parts / 10_000.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates() -> Vec<Fate> {
        let fate = |millis: u64| Fate {
            copied: Some(Span::from_millis(millis)),
            delivered: (millis < 300).then(|| Span::from_millis(millis * 50)),
            messages: millis,
            storage: Span::from_millis(millis * if millis < 300 { 3 } else { 1 }),
            ideal_storage: Span::from_millis(millis),
            to_come: Span::from_millis(if millis == 200 { 300 } else { 0 }),
            forged: 1,
            region_copied: (millis == 100).then(|| Span::from_millis(900)),
            first_attempt: millis == 100,
            ..Fate::default()
        };
        [100, 200, 300, 400].map(fate).to_vec()
    }

    fn of(name: &str) -> Option<Ratio> {
        let standing = Standing {
            table: (30, 100),
            entries: (0, 0),
            churn: (36, 40),
            idle: [("ping".to_owned(), 6), ("find node".to_owned(), 4)].into(),
            idle_millis: 2 * MILLIS_PER_HOUR,
        };
        Measure::parse(name).unwrap().of(&Seen { fates: fates(), standing, fullest: (3, 4) })
    }

    #[test]
    fn figures_are_exact_fractions() {
        assert_eq!(of("delivered"), Ratio::new(2, 4));
        assert_eq!(of("delivered_within_5s"), Ratio::new(1, 4));
        assert_eq!(of("accepted"), Ratio::new(0, 4));
        assert_eq!(of("first_copy_p50"), Ratio::new(200, 1));
        assert_eq!(of("first_copy_p99"), Ratio::new(400, 1));
        assert_eq!(of("messages_mean"), Ratio::new(1_000, 4));
        assert_eq!(of("messages_p75"), Ratio::new(300, 1));
        assert_eq!(of("first_attempt"), Ratio::new(1, 4));
        assert_eq!(of("first_submission"), Ratio::new(0, 4));
        assert_eq!(of("region_copied"), Ratio::new(1, 4));
        assert_eq!(of("forged_mean"), Ratio::new(1, 1));
        assert_eq!(of("disk_share"), Ratio::new(3, 4));
        assert_eq!(of("storage_mean"), Ratio::new(1_600, 4));
    }

    #[test]
    fn what_was_never_read_does_not_make_storage_look_ideal_and_what_is_left_lies_on() {
        // 100 and 200 were read and lay three times as long as they should; one copy of the second is left.
        assert_eq!(of("storage_ratio"), Ratio::new(300 + 600 + 300, 100 + 200));
    }

    #[test]
    fn a_network_has_figures_of_its_own() {
        assert_eq!(of("table_share"), Ratio::new(3, 10));
        assert_eq!(of("entries_share"), None, "nobody has entries");
        assert_eq!(of("churn_share"), Ratio::new(9, 10));
        assert_eq!(of("idle_messages"), Ratio::new(5, 1));
        assert_eq!(of("idle_find_node"), Ratio::new(2, 1));
        assert_eq!(of("idle_push_waiting"), Ratio::new(0, 1));
    }

    #[test]
    fn a_percentile_among_what_never_came_is_never() {
        assert_eq!(of("delivery_p50"), Ratio::new(10_000, 1));
        assert_eq!(of("delivery_p51"), None);
    }

    #[test]
    fn who_knows_of_the_delivery_knows_of_a_copy() {
        let times = |stored: Option<u64>, acknowledged: Option<u64>| Fate {
            stored: stored.map(Span::from_millis),
            acknowledged: acknowledged.map(Span::from_millis),
            ..Fate::default()
        };
        assert_eq!(Stage::Stored.of(&times(None, Some(9))), Some(Span::from_millis(9)));
        assert_eq!(Stage::Stored.of(&times(Some(5), Some(9))), Some(Span::from_millis(5)));
        assert_eq!(Stage::Stored.of(&times(None, None)), None);
    }

    #[test]
    fn an_unknown_measure_says_which_there_are() {
        for name in [
            "",
            "deliverd",
            "first_copy",
            "first_copy_p5",
            "first_copy_p00",
            "left_p",
            "delivered_within_5",
        ] {
            assert!(Measure::parse(name).unwrap_err().contains("first_copy_p99"), "{name}");
        }
    }

    #[test]
    fn a_measure_that_is_nearly_one_is_named() {
        assert!(Measure::parse("deliverd").unwrap_err().starts_with("did you mean delivered?"));
        assert!(Measure::parse("recieved_p50").unwrap_err().starts_with("did you mean "));
    }

    #[test]
    fn every_usual_measure_is_one_and_says_what_it_is() {
        for name in USUAL {
            let measure = Measure::parse(name).unwrap();
            assert_eq!(measure.name(), name);
            assert!(measure.about().len() > 30, "{name}: {}", measure.about());
        }
        let time = Measure::parse("delivery_p999").unwrap().about();
        assert!(time.contains("99.9 % of all envelopes"), "{time}");
    }

    #[test]
    fn a_hundred_percent_means_all() {
        assert_eq!(Unit::Share.show(1.0), "100 %");
        assert_eq!(Unit::Share.show(0.999_999_9), "99.9999 %");
        assert_eq!(Unit::Share.show(0.999), "99.9 %");
    }
}
