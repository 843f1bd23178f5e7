//! The table: each figure beside its target, and the machine's limits below.

use std::time::Duration;

/// What one workload came to.
pub struct Run {
    pub count: usize,
    pub took: Duration,
    pub latencies: hdrhistogram::Histogram<u64>,
}

#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
    limits: Vec<(&'static str, f64, &'static str)>,
}

pub struct Row {
    what: &'static str,
    measured: String,
    target: String,
    reached: bool,
}

impl Run {
    pub fn per_second(&self) -> f64 {
        self.count as f64 / self.took.as_secs_f64()
    }

    fn percentile_ms(&self, percentile: f64) -> f64 {
        self.latencies.value_at_percentile(percentile) as f64 / 1_000.0
    }

    fn percentiles(&self) -> String {
        if self.latencies.is_empty() {
            return String::new();
        }
        let (p50, p99) = (self.percentile_ms(50.0), self.percentile_ms(99.0));
        format!(", p50 {p50:.2} ms, p99 {p99:.2} ms")
    }
}

impl Row {
    pub fn rate(what: &'static str, run: &Run, target: f64) -> Self {
        let rate = run.per_second();
        let measured = format!("{rate:.0}/s{}", run.percentiles());
        Self { what, measured, target: format!("≥ {target:.0}/s"), reached: rate >= target }
    }

    pub fn p99_ms(mut self, run: &Run, target: f64) -> Self {
        self.target = format!("{}, p99 ≤ {target} ms", self.target);
        self.reached &= run.percentile_ms(99.0) <= target;
        self
    }

    pub fn latency(what: &'static str, run: &Run, p50: f64, p99: f64) -> Self {
        let reached = run.percentile_ms(50.0) <= p50 && run.percentile_ms(99.0) <= p99;
        let measured = run.percentiles().trim_start_matches(", ").to_owned();
        Self { what, measured, target: format!("p50 ≤ {p50} ms, p99 ≤ {p99} ms"), reached }
    }

    pub fn at_most(what: &'static str, value: f64, unit: &str, target: f64) -> Self {
        let measured = format!("{value:.2} {unit}");
        Self { what, measured, target: format!("≤ {target} {unit}"), reached: value <= target }
    }
}

impl Report {
    pub fn add(&mut self, row: Row) {
        eprintln!("{}: {}", row.what, row.measured);
        self.rows.push(row);
    }

    pub fn limit(&mut self, what: &'static str, value: f64, unit: &'static str) {
        eprintln!("limit: {what}: {value:.0}{unit}");
        self.limits.push((what, value, unit));
    }

    /// Prints everything; how many targets were missed.
    pub fn print(&self) -> usize {
        println!("\n| workload | measured | target | |");
        println!("|---|---|---|---|");
        for row in &self.rows {
            let mark = if row.reached { "reached" } else { "MISSED" };
            println!("| {} | {} | {} | {mark} |", row.what, row.measured, row.target);
        }
        println!("\n| the machine's limit, same run | |\n|---|---|");
        for (what, value, unit) in &self.limits {
            println!("| {what} | {value:.0}{unit} |");
        }
        let missed = self.rows.iter().filter(|row| !row.reached).count();
        if missed > 0 {
            println!("\nMISSED: {missed} of {} targets.", self.rows.len());
        }
        missed
    }
}
