//! Whether others reach a relay over one IP family, and why not; what stands between it and them.
//!
//! Entry functions are [`reachable`] and [`translated`]. They look at what other relays said and at
//! nothing else.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use comm_proto::message::DialOutcome;

use super::finding::Finding;
use crate::links::probe::View;

/// One of the two families of IP addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Another relay that was asked, and how it sees this one or why it was not reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Where it was called.
    pub asked: SocketAddr,
    /// What it said, or what came of calling it.
    pub view: Result<View, DialOutcome>,
}

/// All that bears on one family.
#[derive(Clone, Debug)]
pub(super) struct Case<'a> {
    /// Which.
    pub family: Family,
    /// Whether the relay dials out only.
    pub is_leaf: bool,
    /// Where it listens, whatever the family.
    pub listening: &'a [SocketAddr],
    /// Where it tells others that it is reached, whatever the family.
    pub told: &'a [SocketAddr],
    /// Who was asked, over whatever family.
    pub asked: &'a [Told],
    /// Whether others have called it within the last hour, over whatever family.
    pub is_called: bool,
}

impl Family {
    const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    const fn reach_check(self) -> &'static str {
        match self {
            Self::V4 => "reached-ipv4",
            Self::V6 => "reached-ipv6",
        }
    }

    const fn nat_check(self) -> &'static str {
        match self {
            Self::V4 => "nat-ipv4",
            Self::V6 => "nat-ipv6",
        }
    }

    const fn has(self, place: &SocketAddr) -> bool {
        matches!((self, place), (Self::V4, SocketAddr::V4(_)) | (Self::V6, SocketAddr::V6(_)))
    }

    /// Whether who listens there takes connections of this family. On all IPv6 addresses means on all IPv4
    /// addresses too, unless the system was told otherwise.
    fn is_heard_at(self, place: &SocketAddr) -> bool {
        self.has(place) || (self == Self::V4 && place.ip().is_unspecified())
    }
}

impl Case<'_> {
    fn told(&self) -> Vec<SocketAddr> {
        self.told.iter().filter(|place| self.family.has(place)).copied().collect()
    }

    fn listens(&self) -> bool {
        self.listening.iter().any(|place| self.family.is_heard_at(place))
    }

    fn port(&self) -> u16 {
        self.listening.first().map_or(crate::config::PORT, SocketAddr::port)
    }

    fn asked(&self) -> impl Iterator<Item = &Told> {
        self.asked.iter().filter(|told| self.family.has(&told.asked))
    }

    fn views(&self) -> Vec<&View> {
        self.asked().filter_map(|told| told.view.as_ref().ok()).collect()
    }

    /// What came of dialling a place, of all that were asked.
    fn outcomes(&self, place: SocketAddr) -> Vec<DialOutcome> {
        let dialled = self.views().into_iter().flat_map(|view| &view.dialled);
        dialled.filter(|(at, _)| *at == place).map(|(_, outcome)| *outcome).collect()
    }

    /// Places that others were asked to dial although the relay tells nobody of them: its port at the
    /// address from where it calls.
    fn seen_places(&self) -> Vec<SocketAddr> {
        let dialled = self.views().into_iter().flat_map(|view| &view.dialled);
        let seen: BTreeSet<_> = dialled.map(|(at, _)| *at).collect();
        seen.into_iter().filter(|at| !self.told.contains(at)).collect()
    }

    fn seen_and_reached(&self) -> Option<SocketAddr> {
        let is_reached = |at: &SocketAddr| self.outcomes(*at).contains(&DialOutcome::Reached);
        self.seen_places().into_iter().find(is_reached)
    }

    /// From where others see its calls come, each address once.
    fn observed(&self) -> BTreeSet<IpAddr> {
        self.views().iter().filter_map(|view| Some(view.observed?.ip())).collect()
    }

    /// Its own addresses, of links to others.
    fn own(&self) -> BTreeSet<IpAddr> {
        self.views().iter().map(|view| view.local.ip()).collect()
    }

    fn is_translated(&self) -> bool {
        self.views().iter().any(|view| view.observed.is_some_and(|at| at.ip() != view.local.ip()))
    }

    fn good(&self, found: String) -> Finding {
        Finding::good(self.family.reach_check(), found)
    }

    fn notice(&self, found: String) -> Finding {
        Finding::notice(self.family.reach_check(), found)
    }

    fn problem(&self, found: String) -> Finding {
        Finding::problem(self.family.reach_check(), found)
    }

    fn unknown(&self, found: String) -> Finding {
        Finding::unknown(self.family.reach_check(), found)
    }
}

/// Whether others reach the relay.
pub(super) fn reachable(case: &Case<'_>) -> Finding {
    let name = case.family.name();
    let told = case.told();
    if case.is_leaf {
        return case.good("it dials out only, as configured (leaf = true)".to_owned());
    }
    if told.is_empty() {
        return told_nobody(case);
    }
    if !case.listens() {
        let found = format!("others are told {}, but it listens at no {name} address", list(&told));
        return case
            .problem(found)
            .with(format!("add an {name} address to `listen`, or take these out of `advertise`"));
    }
    if case.views().is_empty() {
        return nobody_answers(case);
    }
    let outcomes: Vec<_> = told.iter().map(|at| (*at, case.outcomes(*at))).collect();
    let reached: Vec<_> =
        outcomes.iter().filter(|(_, all)| all.contains(&DialOutcome::Reached)).collect();
    if let Some((at, all)) = reached.first() {
        let by = all.iter().filter(|one| **one == DialOutcome::Reached).count();
        let found = format!("{by} of {} relays that were asked reached it at {at}", all.len());
        return match told.iter().find(|at| reached.iter().all(|(reached, _)| reached != *at)) {
            Some(other) => case
                .notice(format!("{found}, and none at {other}"))
                .with(format!("take {other} out of `advertise` if nobody is to reach it there")),
            None => case.good(found),
        };
    }
    not_reached(case, &outcomes)
}

/// It tells others no endpoint of this family.
fn told_nobody(case: &Case<'_>) -> Finding {
    let name = case.family.name();
    let elsewhere = !case.told.is_empty();
    if !case.listens() {
        let found = format!("it listens at no {name} address and tells others of none");
        let advice = format!("nothing, if this machine has no {name}; else add one to `listen`");
        return case.notice(found).with(advice);
    }
    let finding = |found| if elsewhere { case.notice(found) } else { case.problem(found) };
    let not_told = format!("others are not told an {name} address of it");
    if let Some(at) = case.seen_and_reached() {
        let found = format!("{not_told}, though they reach it at {at}");
        return finding(found).with(format!("add \"{at}\" to `advertise`"));
    }
    match case.seen_places().first() {
        Some(at) => {
            let outcomes = [(*at, case.outcomes(*at))];
            match worst(&outcomes) {
                Some((at, outcome)) => {
                    let found = format!("{not_told}, and {}", came(at, outcome));
                    finding(found).with(format!(
                        "{}, and add \"{at}\" to `advertise`; or set `leaf = true`",
                        cure(case, at, outcome)
                    ))
                }
                None => finding(not_told).with(format!("add \"{at}\" to `advertise`")),
            }
        }
        None if elsewhere => case.notice(not_told).with(format!(
            "nothing, if this machine has no {name}; else add its address to `advertise`"
        )),
        None => case.problem(not_told).with(
            "set `advertise` to the address and port at which others reach it, or `leaf = true`",
        ),
    }
}

/// Nobody has said how the relay is seen over this family.
fn nobody_answers(case: &Case<'_>) -> Finding {
    let name = case.family.name();
    let tried = case.asked().count();
    let found = match tried {
        0 => format!("nobody can be asked: no relay is known with an {name} address"),
        tried => format!("nobody can be asked: none of {tried} relays was reached over {name}"),
    };
    let is_only = case.told.iter().all(|at| case.family.has(at));
    // Whoever reaches nobody now may have been called before it was cut off.
    if case.is_called && is_only && tried == 0 {
        return case.good(format!("others have called it within the last hour; {found}"));
    }
    let unknown = case.unknown(found);
    match tried {
        0 => unknown.with("ask again once it knows other relays; see `bootstrap`"),
        _ => unknown.with(format!("see whether this machine gets out over {name}")),
    }
}

fn not_reached(case: &Case<'_>, outcomes: &[(SocketAddr, Vec<DialOutcome>)]) -> Finding {
    let told = case.told();
    let observed = case.observed();
    if let Some((at, outcome)) = worst(outcomes) {
        let called =
            if case.is_called { "; others have called it within the last hour" } else { "" };
        return case
            .problem(format!("{}{called}", came(at, outcome)))
            .with(cure(case, at, outcome));
    }
    let is_elsewhere = !observed.is_empty() && told.iter().all(|at| !observed.contains(&at.ip()));
    if is_elsewhere {
        let found = format!(
            "others are told {}, but its calls come from {}",
            list(&told),
            list(&observed.iter().collect::<Vec<_>>())
        );
        return case.problem(found).with(match case.seen_and_reached() {
            Some(at) => format!("set `advertise` to \"{at}\", where others do reach it"),
            None => {
                "set `advertise` to the address from where its calls come, and see that the port \
                     is open there"
                    .to_owned()
            }
        });
    }
    if case.is_called {
        return case.good("others have called it within the last hour".to_owned());
    }
    case.unknown("the relays that were asked do not say: they are older, or busy".to_owned()).with(
        "ask again in a while; `reachability` of `comm-node status` says what was seen so far",
    )
}

/// What most of the dials came to, of those that were tried; of equals what says most.
fn worst(outcomes: &[(SocketAddr, Vec<DialOutcome>)]) -> Option<(SocketAddr, DialOutcome)> {
    const TELLING: [DialOutcome; 6] = [
        DialOutcome::Failed,
        DialOutcome::NoRoute,
        DialOutcome::TimedOut,
        DialOutcome::NoNode,
        DialOutcome::OtherKey,
        DialOutcome::Refused,
    ];
    let (at, all) = outcomes.iter().find(|(_, all)| all.iter().any(|one| TELLING.contains(one)))?;
    let count = |outcome: &DialOutcome| all.iter().filter(|one| *one == outcome).count();
    TELLING.into_iter().filter(|one| count(one) > 0).max_by_key(count).map(|one| (*at, one))
}

/// What came of dialling the relay somewhere.
fn came(at: SocketAddr, outcome: DialOutcome) -> String {
    match outcome {
        DialOutcome::Refused => format!("relays that dial {at} are refused: nothing listens there"),
        DialOutcome::TimedOut => format!(
            "nothing comes back to relays that dial {at}: a firewall or router throws it away"
        ),
        DialOutcome::OtherKey => format!("another relay answers at {at}"),
        DialOutcome::NoNode => format!("whoever answers at {at} is no relay of this network"),
        DialOutcome::NoRoute => format!("relays find no way to {at}"),
        DialOutcome::Failed | DialOutcome::NotTried => {
            format!("relays that dial {at} do not reach it, and do not say why")
        }
        DialOutcome::Reached => format!("relays reach it at {at}"),
    }
}

/// What to do about it.
fn cure(case: &Case<'_>, at: SocketAddr, outcome: DialOutcome) -> String {
    let own = case.own().first().map_or("this machine".to_owned(), ToString::to_string);
    let forward =
        format!("forward TCP port {} of the router to {own} port {}", at.port(), case.port());
    match (outcome, case.is_translated()) {
        (DialOutcome::Refused, true) => forward,
        (DialOutcome::Refused, false) => format!(
            "see that it listens on port {} and that no firewall rejects TCP port {0}",
            at.port()
        ),
        (DialOutcome::TimedOut, true) => {
            format!("{forward}, and let TCP port {} in at this machine's firewall", case.port())
        }
        (DialOutcome::TimedOut, false) => {
            format!(
                "let TCP port {} in at the firewall of this machine and of its network",
                at.port()
            )
        }
        (DialOutcome::OtherKey | DialOutcome::NoNode, true) => {
            format!("{forward}: now it leads to another program or machine")
        }
        (DialOutcome::OtherKey | DialOutcome::NoNode, false) => format!(
            "see what listens on port {} of this machine, and whether a proxy stands before it",
            at.port()
        ),
        _ => "see whether a firewall on the way rejects it, and whether `advertise` is right"
            .to_owned(),
    }
}

/// Whether addresses are translated on the way to others, and how. Nothing where nobody was asked over IPv6.
pub(super) fn translated(case: &Case<'_>, is_reached: bool) -> Option<Finding> {
    let (name, check) = (case.family.name(), case.family.nat_check());
    let (own, observed) = (case.own(), case.observed());
    if observed.is_empty() {
        let unknown = || Finding::unknown(check, format!("nobody says how it is seen over {name}"));
        return (case.family == Family::V4).then(unknown);
    }
    let (here, there) =
        (list(&own.iter().collect::<Vec<_>>()), list(&observed.iter().collect::<Vec<_>>()));
    if !case.is_translated() {
        return Some(Finding::good(check, format!("no NAT: others see its own address {here}")));
    }
    let mut found = format!("NAT: its own address is {here}, others see {there}; {}", ports(case));
    let is_carrier = own.iter().chain(&observed).any(is_of_carrier);
    if is_carrier {
        found += "; 100.64.0.0/10 is for providers' own NAT";
    }
    if is_reached {
        return Some(Finding::good(check, format!("{found}; others reach it all the same")));
    }
    Some(Finding::notice(check, found).with(if is_carrier {
        "the provider's NAT cannot be told to forward a port: ask for a public address, use IPv6, or set \
         `leaf = true`"
            .to_owned()
    } else {
        format!(
            "forward TCP port {} of the router to {here} and set `advertise` to that port of {there}; \
             or set `leaf = true`",
            case.port()
        )
    }))
}

/// How the NAT gives ports to several links from one local port.
fn ports(case: &Case<'_>) -> String {
    let of_links: Vec<_> = case
        .asked()
        .filter_map(|told| {
            let view = told.view.as_ref().ok()?;
            Some((view.local.port(), told.asked.ip(), view.observed?))
        })
        .collect();
    let of_port = |port: u16| of_links.iter().filter(move |(local, ..)| *local == port);
    let others = |port| of_port(port).map(|(_, ip, _)| ip).collect::<BTreeSet<_>>().len();
    let Some((port, ..)) = of_links.iter().find(|(port, ..)| others(*port) > 1) else {
        return "whether it gives one port to all links is unknown, as too few were asked"
            .to_owned();
    };
    let seen: BTreeSet<_> = of_port(*port).map(|(.., seen)| *seen).collect();
    match seen.len() {
        1 => "one port for links to different relays".to_owned(),
        _ => "another port for links to each relay (symmetric)".to_owned(),
    }
}

/// Whether an address is of the block for NAT at providers (RFC 6598).
fn is_of_carrier(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64)
}

fn list(all: &[impl ToString]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
