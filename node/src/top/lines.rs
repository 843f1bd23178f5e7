//! A node as it goes on, for a pipe or a file: a line of columns for each look.
//!
//! Entry function is [`print`]. The columns keep their places, and what is not known is a `-`. What
//! goes wrong is told on standard error, once each time.

use std::io::{self, ErrorKind, Write};
use std::time::SystemTime;

use crate::status::{Report, brief, size};

use super::rates::{Look, Rates, rate};
use super::{Looks, TopError, clock};

const COLUMNS: [&str; 13] = [
    "time", "peers", "good", "stored", "in", "on", "read", "received", "sent", "budget", "sync50",
    "sync99", "clock",
];
const WIDTH: usize = 9;

/// Prints what is seen at each look, until there is no other or nobody reads on.
pub(super) async fn print(mut looks: Looks) -> Result<(), TopError> {
    let mut out = io::stdout();
    let mut before: Option<Look> = None;
    let mut trouble = None;
    if !written(&mut out, &line(COLUMNS.map(str::to_owned)))? {
        return Ok(());
    }
    while let Some(look) = looks.recv().await {
        match look {
            Ok(report) => {
                trouble = None;
                let now = Look { at: SystemTime::now(), report };
                let rates = before.as_ref().and_then(|before| Rates::between(before, &now));
                if !written(&mut out, &line(cells(&now, rates)))? {
                    return Ok(());
                }
                before = Some(now);
            }
            Err(error) => {
                if trouble.is_none() {
                    eprintln!("comm-node: {error}; trying again");
                }
                trouble = Some(error);
            }
        }
    }
    trouble.map_or(Ok(()), |error| Err(error.into()))
}

/// Writes a line at once; false if nobody reads on.
fn written(out: &mut impl Write, line: &str) -> io::Result<bool> {
    match out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

fn line(cells: [String; COLUMNS.len()]) -> String {
    let padded = cells.map(|cell| format!("{cell:>WIDTH$}"));
    padded.join(" ").trim_end().to_owned() + "\n"
}

fn cells(Look { at, report }: &Look, rates: Option<Rates>) -> [String; COLUMNS.len()] {
    let known = |text: Option<String>| text.unwrap_or("-".to_owned());
    let envelopes = |of: fn(&Rates) -> f64| known(rates.as_ref().map(|rates| rate(of(rates))));
    let bytes =
        |of: fn(&Rates) -> f64| known(rates.as_ref().map(|rates| size(of(rates) as u64) + "/s"));
    let Report { table, store, syncs, .. } = report;
    // A cell has no space in it, so that programs can take a line apart.
    let short = |micros| brief(micros).replace(' ', "");
    [
        clock(*at) + "Z",
        table.nodes.to_string(),
        table.good.to_string(),
        report.envelopes.stored.to_string(),
        envelopes(|rates| rates.accepted),
        envelopes(|rates| rates.relayed),
        envelopes(|rates| rates.read),
        bytes(|rates| rates.received),
        bytes(|rates| rates.sent),
        format!("{}%", store.counted_bytes.saturating_mul(100) / store.bytes_max.max(1)),
        known(syncs.map(|syncs| short(syncs.median_micros))),
        known(syncs.map(|syncs| short(syncs.p99_micros))),
        match report.clock_ahead_seconds {
            0 => "ok".to_owned(),
            ahead => format!("{ahead:+}s"),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::super::rates::tests::look;
    use super::*;

    #[test]
    fn every_line_has_a_cell_for_each_column_and_no_space_within_one() {
        let (mut first, mut second) = (look(10, 1, 100), look(11, 1, 5_000_000));
        first.report.syncs = None;
        second.report.clock_ahead_seconds = -7_200;
        let rates = Rates::between(&first, &second);
        let lines = [
            line(COLUMNS.map(str::to_owned)),
            line(cells(&first, None)),
            line(cells(&second, rates)),
        ];
        for line in &lines {
            assert_eq!(line.split_whitespace().count(), COLUMNS.len(), "{line}");
            assert!(line.ends_with('\n') && line.lines().count() == 1, "{line}");
        }
        assert!(lines[1].starts_with("00:00:10Z"), "{}", lines[1]);
        assert!(lines[1].contains(" - "), "{}", lines[1]);
        assert!(lines[2].contains(" 4999900/s ") && lines[2].contains("-7200s"), "{}", lines[2]);
    }
}
