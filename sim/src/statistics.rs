//! What several networks say together: the mean with its interval over networks, and exact percentiles.
//!
//! Whether a goal is met is decided on exact fractions. Floating point serves what is shown, uses only
//! operations that are the same on every machine, and always adds in the order of the networks.

use std::cmp::Ordering;

/// The 97.5 % quantile of the normal distribution.
const NORMAL: f64 = 1.959_964;

/// How finely figures of different wholes are added up.
const BILLION: u128 = 1_000_000_000;

/// An exact fraction.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    part: u128,
    whole: u128,
}

/// The mean of a figure over networks, and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The plain mean of the networks' figures: exact where they have the same whole, as shares of equally many
    /// envelopes have, else to a billionth.
    pub mean: Ratio,
    /// The 95 % confidence interval, without what the mean cannot be; with one network there is none.
    pub interval: Option<(f64, f64)>,
    /// Whether the interval is that of the rule of three, which takes the trials of one network as
    /// independent. They are not quite: it says how much was tried, not how networks differ.
    pub is_of_three: bool,
    /// The least of all networks.
    pub least: f64,
    /// The greatest of all networks.
    pub greatest: f64,
    /// How many networks.
    pub networks: usize,
}

impl Ratio {
    /// `part` of `whole`, if there is a whole.
    pub fn new(part: u64, whole: u64) -> Option<Self> {
        (whole > 0).then_some(Self { part: part.into(), whole: whole.into() })
    }

    /// The nearest floating-point number, or one beside it.
    pub fn value(self) -> f64 {
        self.part as f64 / self.whole as f64
    }

    /// The plain mean: no network counts for more than another because its figure is of more.
    fn mean(figures: &[Self]) -> Option<Self> {
        let first = figures.first()?.whole;
        if figures.iter().all(|figure| figure.whole == first) {
            let part = figures.iter().map(|figure| figure.part).sum();
            return Some(Self { part, whole: first * figures.len() as u128 });
        }
        let billionths = |one: &Self| (one.part * BILLION + one.whole / 2) / one.whole;
        let part = figures.iter().map(billionths).sum();
        Some(Self { part, whole: BILLION * figures.len() as u128 })
    }
}

impl PartialEq for Ratio {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ratio {}

impl PartialOrd for Ratio {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ratio {
    /// Parts are sums of 64-bit numbers and wholes at most sums of counts of envelopes or a million, so that the
    /// products fit.
    fn cmp(&self, other: &Self) -> Ordering {
        self.part.saturating_mul(other.whole).cmp(&other.part.saturating_mul(self.whole))
    }
}

/// The mean over networks of a figure that each of them has. No figure is negative, so no mean is: the interval
/// ends at 0. It holds the true mean exactly as often as Student's whole one, for what is cut off is never true.
pub fn estimate(figures: &[Ratio]) -> Option<Estimate> {
    let mean = Ratio::mean(figures)?;
    let values = figures.iter().map(|figure| figure.value()).collect::<Vec<_>>();
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Some(Estimate {
        mean,
        interval: interval(&values),
        is_of_three: false,
        least,
        greatest,
        networks: values.len(),
    })
}

/// The same for a part of a whole: the interval ends at 1 too, unless a network was seen beyond it.
pub fn estimate_part(figures: &[Ratio]) -> Option<Estimate> {
    let mut estimate = estimate(figures)?;
    if estimate.greatest <= 1.0 {
        estimate.interval = estimate.interval.map(|(low, high)| (low, high.min(1.0)));
    }
    Some(estimate)
}

/// The same for a share of envelopes that are so many independent trials in all networks together: within 0 and 1,
/// and when all went the same way the other way is still possible up to 3 in as many trials (the rule of three).
/// Networks that happen to agree say no more than all their trials together: the interval is never narrower than
/// Wilson's of those.
pub fn estimate_share(figures: &[Ratio], trials: u64) -> Option<Estimate> {
    let mut estimate = estimate_part(figures)?;
    let Ratio { part, whole } = estimate.mean;
    let trials = trials.max(1) as f64;
    let three = (3.0 / trials).min(1.0);
    estimate.is_of_three = part == whole || part == 0;
    estimate.interval = if part == whole {
        Some((1.0 - three, 1.0))
    } else if part == 0 {
        Some((0.0, three))
    } else {
        let (least, most) = wilson(estimate.mean.value(), trials);
        estimate.interval.map(|(low, high)| (low.min(least.max(0.0)), high.max(most.min(1.0))))
    };
    Some(estimate)
}

/// Wilson's 95 % interval of a share of so many independent trials.
fn wilson(share: f64, trials: f64) -> (f64, f64) {
    let square = NORMAL * NORMAL / trials;
    let middle = (share + square / 2.0) / (1.0 + square);
    let spread = share * (1.0 - share) / trials + square / (4.0 * trials);
    let half = NORMAL * spread.sqrt() / (1.0 + square);
    (middle - half, middle + half)
}

/// The 95 % confidence interval of the difference `b - a` of two means over networks (Welch). Where the networks of
/// each side agree to the last digit nothing says how much others would differ, and there is none.
pub fn difference(a: &[f64], b: &[f64]) -> Option<(f64, f64)> {
    let ((mean_a, var_a), (mean_b, var_b)) = (moments(a)?, moments(b)?);
    let (part_a, part_b) = (var_a / a.len() as f64, var_b / b.len() as f64);
    let square = part_a + part_b;
    // By their bits: sums of figures that are all the same need not give a variance of nothing.
    let agree = |side: &[f64]| side.windows(2).all(|two| two[0].to_bits() == two[1].to_bits());
    if square <= 0.0 || (agree(a) && agree(b)) {
        return None;
    }
    let below = part_a * part_a / (a.len() - 1) as f64 + part_b * part_b / (b.len() - 1) as f64;
    let half = student((square * square / below) as usize) * square.sqrt();
    Some((mean_b - mean_a - half, mean_b - mean_a + half))
}

/// The same for shares of envelopes that are so many independent trials on each side, which go with the figures. It is
/// never narrower than Newcombe's interval of that many trials: networks that happen to agree are no surer than that.
pub fn difference_of_shares(a: (&[f64], u64), b: (&[f64], u64)) -> Option<(f64, f64)> {
    let (low, high) = newcombe((mean(a.0)?, a.1), (mean(b.0)?, b.1));
    let over_networks = difference(a.0, b.0);
    Some(over_networks.map_or((low, high), |(least, most)| (least.min(low), most.max(high))))
}

/// Newcombe's hybrid interval of the difference of two shares of independent trials, from Wilson's of each.
fn newcombe(a: (f64, u64), b: (f64, u64)) -> (f64, f64) {
    let ends = |(share, trials): (f64, u64)| {
        let (low, high) = wilson(share, trials.max(1) as f64);
        (share - low, high - share)
    };
    let ((below_a, above_a), (below_b, above_b)) = (ends(a), ends(b));
    let (low, high) = (below_b.hypot(above_a), above_b.hypot(below_a));
    (b.0 - a.0 - low, b.0 - a.0 + high)
}

/// The plain mean, if there is anything.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The value that `part` of `whole` of all values do not exceed: always one of them (nearest rank).
pub fn percentile(values: impl Iterator<Item = u64>, part: u64, whole: u64) -> Option<u64> {
    let mut values = values.collect::<Vec<_>>();
    let rank = (values.len() as u128 * u128::from(part)).div_ceil(whole.into()).max(1);
    let at = usize::try_from(rank).ok()? - 1;
    if at >= values.len() {
        return None;
    }
    Some(*values.select_nth_unstable(at).1)
}

fn interval(values: &[f64]) -> Option<(f64, f64)> {
    let (mean, variance) = moments(values)?;
    let half = student(values.len() - 1) * (variance / values.len() as f64).sqrt();
    Some(((mean - half).max(0.0), mean + half))
}

/// Mean and variance of at least two values.
fn moments(values: &[f64]) -> Option<(f64, f64)> {
    if values.len() < 2 {
        return None;
    }
    let mean = mean(values)?;
    let squares = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>();
    Some((mean, squares / (values.len() - 1) as f64))
}

/// The 97.5 % quantile of Student's distribution.
fn student(freedom: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
        2.052, 2.048, 2.045, 2.042,
    ];
    if let Some(quantile) = TABLE.get(freedom.max(1) - 1) {
        return *quantile;
    }
    // The first terms of the expansion around the normal distribution; exact to four digits from here.
    let (z, n) = (NORMAL, freedom as f64);
    let (z3, z5) = (z * z * z, z * z * z * z * z);
    z + (z3 + z) / (4.0 * n) + (5.0 * z5 + 16.0 * z3 + 3.0 * z) / (96.0 * n * n)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ratios(parts: &[u64], whole: u64) -> Vec<Ratio> {
        parts.iter().map(|part| Ratio::new(*part, whole).unwrap()).collect()
    }

    #[test]
    fn the_interval_is_students_over_networks() {
        let found = estimate(&ratios(&[10, 12, 14, 16, 18], 1)).unwrap();
        assert_eq!(found.mean, Ratio::new(14, 1).unwrap());
        let (low, high) = found.interval.unwrap();
        // Standard deviation sqrt(10), five networks, quantile 2.776: 14 -+ 3.926.
        assert!((low - 10.074).abs() < 0.001 && (high - 17.926).abs() < 0.001, "{low} {high}");
        assert_eq!((found.least, found.greatest), (10.0, 18.0));
    }

    #[test]
    fn what_is_never_negative_has_no_interval_below_zero() {
        // Student alone says 50.5 -+ 628.9.
        let (low, high) = estimate(&ratios(&[1, 100], 1)).unwrap().interval.unwrap();
        assert_eq!(low, 0.0);
        assert!((high - 679.4).abs() < 0.1, "{high}");
    }

    #[test]
    fn a_part_is_no_more_than_the_whole_unless_it_was_seen_to_be() {
        let high = |parts: &[u64]| estimate_part(&ratios(parts, 100)).unwrap().interval.unwrap().1;
        assert_eq!(high(&[60, 95]), 1.0);
        assert!(high(&[60, 61]) < 0.7);
        assert!(high(&[60, 105]) > 1.05, "a bound that was broken bounds nothing");
    }

    #[test]
    fn one_network_has_no_interval() {
        assert_eq!(estimate(&ratios(&[10], 1)).unwrap().interval, None);
        assert_eq!(estimate(&[]), None);
    }

    #[test]
    fn nothing_lost_is_not_nothing_ever_lost() {
        let found = estimate_share(&ratios(&[1_000; 3], 1_000), 3_000).unwrap();
        assert_eq!(found.interval, Some((0.999, 1.0)));
        let found = estimate_share(&ratios(&[0; 3], 1_000), 3_000).unwrap();
        assert_eq!(found.interval, Some((0.0, 0.001)));
    }

    #[test]
    fn envelopes_that_share_their_fate_are_one_trial() {
        let found = estimate_share(&ratios(&[100; 10], 100), 10).unwrap();
        assert_eq!(found.interval, Some((0.7, 1.0)));
        let found = estimate_share(&ratios(&[50; 2], 50), 2).unwrap();
        assert_eq!(found.interval, Some((0.0, 1.0)), "two of two say next to nothing");
        let (low, high) = estimate_share(&ratios(&[99; 4], 100), 4).unwrap().interval.unwrap();
        assert!(low < 0.6 && high > 0.99, "{low} {high}");
    }

    #[test]
    fn networks_that_happen_to_agree_are_no_surer_than_their_trials() {
        let (low, high) = estimate_share(&ratios(&[99; 4], 100), 400).unwrap().interval.unwrap();
        // Wilson, 396 of 400: 97.46 to 99.61 %.
        assert!((low - 0.9746).abs() < 1e-4 && (high - 0.9961).abs() < 1e-4, "{low} {high}");
        let (low, high) = estimate_share(&ratios(&[50, 100], 100), 200).unwrap().interval.unwrap();
        assert_eq!((low, high), (0.0, 1.0), "where they differ, Student's is wider");
    }

    #[test]
    fn a_network_counts_once_however_large_its_whole() {
        let figures = [Ratio::new(1, 10).unwrap(), Ratio::new(900, 1_000).unwrap()];
        let found = estimate(&figures).unwrap();
        assert_eq!(found.mean, Ratio::new(1, 2).unwrap());
    }

    #[test]
    fn a_goal_that_is_just_met_is_met() {
        let mean = estimate(&ratios(&[999; 7], 1_000)).unwrap().mean;
        assert!(mean >= Ratio::new(999_000, 1_000_000).unwrap());
        assert!(mean < Ratio::new(999_001, 1_000_000).unwrap());
    }

    #[test]
    fn quantiles_fall_towards_the_normal_distribution() {
        assert!((1..500).all(|freedom| student(freedom) > student(freedom + 1) - 1e-9));
        assert!((student(60) - 2.000).abs() < 0.001);
        assert!((student(1_000_000) - 1.960).abs() < 0.001);
    }

    #[test]
    fn a_difference_is_told_from_none() {
        let (low, high) = difference(&[1.0, 1.1, 0.9], &[2.0, 2.1, 1.9]).unwrap();
        assert!(low > 0.7 && high < 1.3, "{low} {high}");
        let (low, high) = difference(&[1.0, 2.0, 3.0], &[1.1, 2.1, 3.1]).unwrap();
        assert!(low < 0.0 && high > 0.0);
        assert_eq!(difference(&[1.0], &[2.0, 3.0]), None);
        assert_eq!(difference(&[0.0, 0.0], &[0.5, 0.5]), None, "nothing says how sure that is");
    }

    #[test]
    fn a_difference_of_shares_is_no_surer_than_their_trials() {
        // Newcombe's own example (1998), 56 of 70 less 48 of 80: 5.24 to 33.39 %.
        let (low, high) = newcombe((0.6, 80), (0.8, 70));
        assert!((low - 0.0524).abs() < 1e-4 && (high - 0.3339).abs() < 1e-4, "{low} {high}");
        let agreeing =
            |share: f64, trials| difference_of_shares((&[1.0, 1.0], 12), (&[share, share], trials));
        let (low, high) = agreeing(10.0 / 12.0, 12).unwrap();
        assert!(low < -0.4 && high > 0.0, "{low} {high}");
        let (low, high) = agreeing(1.0, 12).unwrap();
        assert!(
            low < -0.2 && high > 0.2,
            "twelve of twelve twice is no proof that nothing differs"
        );
        assert!(agreeing(0.5, 1_200).unwrap().1 < 0.0, "much is still told from nothing");
    }

    proptest! {
        #[test]
        fn a_percentile_is_a_value_that_enough_do_not_exceed(
            values in prop::collection::vec(0..1_000_u64, 1..200),
            part in 1..100_u64,
        ) {
            let found = percentile(values.iter().copied(), part, 100).unwrap();
            let below = values.iter().filter(|value| **value < found).count() as u64;
            let up_to = values.iter().filter(|value| **value <= found).count() as u64;
            let all = values.len() as u64;
            prop_assert!(values.contains(&found));
            prop_assert!(up_to * 100 >= part * all && below * 100 < part * all);
        }

        #[test]
        fn the_mean_lies_in_its_interval_and_between_the_extremes(
            parts in prop::collection::vec(0..=1_000_u64, 2..30),
        ) {
            let found = estimate_share(&ratios(&parts, 1_000), 1_000 * parts.len() as u64).unwrap();
            let (mean, (low, high)) = (found.mean.value(), found.interval.unwrap());
            prop_assert!(low <= mean + 1e-9 && mean <= high + 1e-9, "{} {} {}", low, mean, high);
            prop_assert!(found.least <= mean + 1e-9 && mean <= found.greatest + 1e-9);
            prop_assert!((0.0..=1.0).contains(&low) && (0.0..=1.0).contains(&high));
        }

        #[test]
        fn so_it_does_where_wholes_differ(
            figures in prop::collection::vec((0..1_000_000_u64, 1..1_000_000_u64), 2..30),
        ) {
            let figures = figures.into_iter().map(|(part, whole)| Ratio::new(part, whole).unwrap());
            let found = estimate(&figures.collect::<Vec<_>>()).unwrap();
            let (mean, (low, high)) = (found.mean.value(), found.interval.unwrap());
            let near = 1e-8 * (1.0 + found.greatest);
            prop_assert!(low <= mean + near && mean <= high + near, "{low} {mean} {high}");
            prop_assert!(low >= 0.0, "{low}");
            prop_assert!(found.least <= mean + near && mean <= found.greatest + near);
        }
    }

    #[test]
    fn networks_that_agree_say_nothing_about_others_though_their_mean_is_rounded() {
        // In binary a third of three tenths is not a tenth.
        assert_ne!((0.1 + 0.1 + 0.1) / 3.0, 0.1);
        assert_eq!(difference(&[0.1; 3], &[0.2; 3]), None);
    }
}
