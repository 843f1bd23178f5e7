//! Every envelope of a report and every minute, one a line, for programs.

use super::Report;
use crate::measured::Minute;
use crate::world::KINDS;

/// Columns that are there whatever is swept; times in milliseconds, empty for *never*.
const COLUMNS: &str = "scenario,settings,seed,envelope,accepted_ms,copied_ms,stored_ms,delivered_ms,\
    acknowledged_ms,region_copied_ms,messages,bodies,left,subscriptions,storage_ms,ideal_storage_ms,first_attempt,\
    wronged,theirs,forged,to_come_ms,first_submission,evicted,id\n";

/// All envelopes, in the order of scenarios, cells, seeds and sending.
pub fn envelopes(report: &Report) -> String {
    let mut text = COLUMNS.to_owned();
    for study in report.studies() {
        let file = quoted(&study.manifest.identity.scenario.file);
        for (number, cell) in study.cells.iter().enumerate() {
            let label = quoted(&cell.label());
            for network in study.networks(number) {
                for (envelope, fate) in network.fates().iter().enumerate() {
                    let times = fate.times().map(|time| {
                        time.map_or(String::new(), |time| time.as_millis().to_string())
                    });
                    let counts = [
                        fate.messages,
                        fate.bodies,
                        fate.left,
                        fate.subscriptions,
                        fate.storage.as_millis(),
                        fate.ideal_storage.as_millis(),
                        u64::from(fate.first_attempt),
                        fate.wronged,
                        fate.theirs,
                        fate.forged,
                        fate.to_come.as_millis(),
                        u64::from(fate.first_submission),
                        fate.evicted,
                    ]
                    .map(|count| count.to_string());
                    let seed = network.seed;
                    text += &format!(
                        "{file},{label},{seed},{envelope},{},{},{}\n",
                        times.join(","),
                        counts.join(","),
                        fate.id
                    );
                }
            }
        }
    }
    text
}

/// Every network minute after minute: relays that are up, what lies on honest disks, messages by kind.
pub fn minutes(report: &Report) -> String {
    let kinds = KINDS.map(|kind| kind.replace(' ', "_")).join(",");
    let mut text = format!("scenario,settings,seed,minute,up,copies,bytes,{kinds}\n");
    for study in report.studies() {
        let file = quoted(&study.manifest.identity.scenario.file);
        for (number, cell) in study.cells.iter().enumerate() {
            let label = quoted(&cell.label());
            for network in study.networks(number) {
                for (minute, row) in (1..).zip(&network.minutes) {
                    let count = |kind: &str| row.messages.get(kind).copied().unwrap_or(0);
                    let counts = KINDS.map(|kind| count(kind).to_string()).join(",");
                    let Minute { up, copies, bytes, .. } = row;
                    let seed = network.seed;
                    text +=
                        &format!("{file},{label},{seed},{minute},{up},{copies},{bytes},{counts}\n");
                }
            }
        }
    }
    text
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
