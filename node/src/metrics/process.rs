//! What the process takes from its machine, under the names that Prometheus has for every program.
//!
//! Entry function is [`figures`]. Read from the system when somebody asks; what it does not say is
//! left out.

use std::fmt::Write;
use std::fs;
use std::sync::OnceLock;
use std::time::SystemTime;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// Name, kind and meaning.
type Figure = (&'static str, &'static str, &'static str);

const STARTED: Figure =
    ("process_start_time_seconds", "gauge", "When the program started, in seconds since 1970.");
const CPU: Figure =
    ("process_cpu_seconds_total", "counter", "Processor time that the program has taken.");
const MEMORY: Figure =
    ("process_resident_memory_bytes", "gauge", "Memory of the machine that the program takes.");
const FILES: Figure = ("process_open_fds", "gauge", "Files and connections that are open.");
const FILES_MAX: Figure = ("process_max_fds", "gauge", "Files and connections that may be open.");

static START: OnceLock<SystemTime> = OnceLock::new();

/// Notes that the program has started, unless that is known.
pub(super) fn note_start() {
    START.get_or_init(SystemTime::now);
}

/// The figures of this process, in the form of Prometheus.
pub(super) fn figures() -> String {
    let mut text = String::new();
    let (cpu, memory) = stat().unzip();
    for (figure, value) in [
        (STARTED, started()),
        (CPU, cpu),
        (MEMORY, memory),
        (FILES, open_files()),
        (FILES_MAX, getrlimit(Resource::Nofile).current.map(|limit| limit as f64)),
    ] {
        let ((name, kind, meaning), Some(value)) = (figure, value) else { continue };
        // A text takes in whatever it is given.
        let _ = write!(text, "# HELP {name} {meaning}\n# TYPE {name} {kind}\n{name} {value}\n\n");
    }
    text
}

fn started() -> Option<f64> {
    let since = START.get()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(since.as_secs_f64())
}

/// Seconds of processor time, and bytes of memory.
fn stat() -> Option<(f64, f64)> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in brackets, which may hold anything.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
    let (in_program, in_system, pages) = (number(11)?, number(12)?, number(21)?);
    let seconds = (in_program + in_system) as f64 / clock_ticks_per_second() as f64;
    Some((seconds, (pages * page_size() as u64) as f64))
}

/// Without the one that is open for counting.
fn open_files() -> Option<f64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(count.saturating_sub(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, name: &str) -> f64 {
        let line = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
        text.lines().find_map(line).unwrap()
    }

    #[test]
    fn what_a_process_takes_is_what_the_system_says() {
        note_start();
        let _file = fs::File::open("/proc/self/stat").unwrap();
        let text = figures();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((0.0..3_600.0).contains(&(now - value(&text, STARTED.0))), "{text}");
        assert!(value(&text, CPU.0) < 3_600.0, "{text}");
        // A test program has megabytes, and this machine not thousands of gigabytes.
        assert!((1e6..1e13).contains(&value(&text, MEMORY.0)), "{text}");
        assert!(value(&text, FILES.0) >= 4.0, "{text}");
        assert!(value(&text, FILES_MAX.0) >= value(&text, FILES.0), "{text}");
    }
}
