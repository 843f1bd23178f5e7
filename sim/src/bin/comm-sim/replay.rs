//! One network again, and what became of its envelopes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use comm_proto::time::Span;
use comm_sim::experiment::{self, Onlooker};
use comm_sim::measured::Measured;
use comm_sim::world::{EVERY_NODE, World};

use crate::arguments::Looks;
use crate::networks::interruption;
use crate::progress::Progress;
use crate::{Failure, INTERRUPTED, directory, output, read};

/// Who writes down what is to be looked at, and shows how far it is.
struct Looker<'a> {
    looks: &'a Looks,
    topology: String,
    nodes: String,
    stop: Arc<AtomicBool>,
    bar: Progress,
}

impl Onlooker for Looker<'_> {
    fn minute(&mut self, minute: u64, world: &World) {
        if self.looks.topology.is_some() && minute == 0 {
            self.topology = world.topology();
        }
        if self.looks.per_node.is_some() {
            self.nodes += &world.every_node(minute);
        }
    }

    fn goes_on(&mut self, played: Span, inputs: u64) -> bool {
        self.bar.show(played.as_millis(), inputs, "");
        !self.stop.load(Ordering::Relaxed)
    }
}

/// Plays it and says what was seen; after an interruption, up to there.
pub(crate) fn run(
    seed: u64,
    scenario: &Path,
    overrides: &[String],
    looks: &Looks,
    about: Option<&str>,
) -> Result<u8, Failure> {
    let (file, text) = directory::scenario(scenario)?;
    let read = read(&file, &text, overrides)?;
    let files = directory::beside(scenario, read.traces())?;
    let plan = read.attach(&files).map_err(|error| error.to_string())?.single().plan;
    let mut looker = Looker {
        looks,
        topology: String::new(),
        nodes: EVERY_NODE.to_owned(),
        stop: interruption()?,
        bar: Progress::new(experiment::length(&plan).as_millis(), "{percent} %"),
    };
    let (measured, story) = experiment::run_told(&plan, seed, about, &mut looker);
    looker.bar.end();
    for (file, text) in [(&looks.topology, &looker.topology), (&looks.per_node, &looker.nodes)] {
        file.iter().try_for_each(|file| directory::write(file, text))?;
    }
    output::print(&told(seed, &measured, &story))?;
    if measured.is_cut {
        let seconds = measured.simulated.as_millis() / 1_000;
        eprintln!(
            "Interrupted after {seconds} s of the network's own time: that is how it stood then."
        );
        return Ok(INTERRUPTED);
    }
    match about.filter(|_| story.is_empty()) {
        Some(about) => Err(format!(
            "no envelope's id begins with {about}; the ids of a run stand in the last column of its envelopes.csv"
        )),
        None => Ok(0),
    }
}

fn told(seed: u64, measured: &Measured, story: &[String]) -> String {
    let mut text = format!("seed {seed}  trace {}  events {}\n", measured.trace, measured.events);
    let lost = measured.envelopes.iter().enumerate().filter(|(_, fate)| fate.delivered.is_none());
    for (number, fate) in lost {
        text += &format!("envelope {number} ({}) was not delivered\n", fate.id);
    }
    text.extend(story.iter().map(|line| line.clone() + "\n"));
    text
}
