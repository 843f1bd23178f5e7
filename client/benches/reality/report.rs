//! What was seen in reality beside what was simulated, and whether they agree.

use std::collections::{BTreeMap, BTreeSet};

use comm_sim::measured::Measured;

use crate::letters::Fate;
use crate::relays::Requests;

/// How far reality may be from the mean of the simulated networks, in percent.
const WITHIN: i64 = 10;
/// Of fewer messages than these nobody can tell a tenth from chance.
const FEWEST: i64 = 10;

/// One network, real or simulated.
pub struct Outcome {
    envelopes: usize,
    accepted: usize,
    delivered: usize,
    acknowledged: usize,
    requests: BTreeMap<String, i64>,
}

impl Outcome {
    /// What was seen in reality.
    pub fn new(requests: Requests, fates: &[Fate]) -> Self {
        let count = |came: fn(&Fate) -> bool| fates.iter().filter(|fate| came(fate)).count();
        Self {
            envelopes: fates.len(),
            accepted: count(|fate| fate.accepted),
            delivered: count(|fate| fate.delivered),
            acknowledged: count(|fate| fate.acknowledged),
            requests,
        }
    }

    /// What was simulated.
    pub fn of(measured: &Measured) -> Self {
        let fates: Vec<_> = measured
            .envelopes
            .iter()
            .map(|fate| Fate {
                accepted: fate.accepted.is_some(),
                delivered: fate.delivered.is_some(),
                acknowledged: fate.acknowledged.is_some(),
            })
            .collect();
        let requests =
            measured.messages.iter().map(|(kind, count)| ((*kind).to_owned(), *count as i64));
        Self::new(requests.collect(), &fates)
    }

    fn delivery(&self) -> [(&'static str, usize); 3] {
        [
            ("accepted", self.accepted),
            ("delivered", self.delivered),
            ("acknowledged", self.acknowledged),
        ]
    }
}

/// Prints both; whether they agree.
pub fn print(real: &Outcome, simulated: &[Outcome]) -> bool {
    let mut agree = true;
    println!("| of {} envelopes | real | simulated | |", real.envelopes);
    println!("|---|---|---|---|");
    for (at, (name, count)) in real.delivery().into_iter().enumerate() {
        let counts: BTreeSet<_> = simulated.iter().map(|one| one.delivery()[at].1).collect();
        let same = counts == BTreeSet::from([count]);
        agree &= same;
        println!("| {name} | {count} | {counts:?} | {} |", verdict(same));
    }
    println!(
        "\n| messages between relays | real | simulated, mean | least and greatest | difference | |"
    );
    println!("|---|---|---|---|---|---|");
    let kinds: BTreeSet<_> =
        simulated.iter().chain([real]).flat_map(|one| one.requests.keys()).collect();
    for kind in kinds {
        let of = |one: &Outcome| one.requests.get(kind).copied().unwrap_or(0);
        let counts: Vec<_> = simulated.iter().map(of).collect();
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        let sum = counts.iter().sum::<i64>();
        let (all, count) = (counts.len() as i64, of(real));
        let few = count < FEWEST && sum < FEWEST * all;
        let close = (count * all - sum).abs() * 100 <= sum * WITHIN;
        agree &= close || few;
        let (mean, percent) = (sum as f64 / all as f64, (count * all - sum) as f64 * 100.0);
        let difference = percent / (sum.max(1)) as f64;
        let verdict = if few { "too few" } else { verdict(close) };
        println!(
            "| {kind} | {count} | {mean:.1} | {least}..{most} | {difference:+.1} % | {verdict} |"
        );
    }
    agree
}

fn verdict(agrees: bool) -> &'static str {
    if agrees { "agrees" } else { "DIFFERS" }
}
