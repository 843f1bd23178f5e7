//! Every envelope of a report, one a line, for programs.

use super::Report;

/// Columns that are there whatever is swept; times in milliseconds, empty for *never*.
const COLUMNS: &str = "scenario,settings,seed,envelope,accepted_ms,copied_ms,stored_ms,delivered_ms,\
    acknowledged_ms,messages,bodies,left,wronged,theirs\n";

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
                    let counts = [fate.messages, fate.bodies, fate.left, fate.wronged, fate.theirs]
                        .map(|count| count.to_string());
                    let seed = network.seed;
                    text += &format!(
                        "{file},{label},{seed},{envelope},{},{}\n",
                        times.join(","),
                        counts.join(",")
                    );
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
