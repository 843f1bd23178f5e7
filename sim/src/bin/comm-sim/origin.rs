//! Which program this is, for manifests.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the program around the world looks at itself and asks its repository"
)]

use std::env;
use std::fs;
use std::process::Command;
use std::thread;

use comm_sim::report::document::Machine;
use comm_sim::report::manifest::{Program, sha256};

/// This program. Its commit is the one that the build was told in `COMM_COMMIT`, else that of the
/// repository it was built in, if that is still there.
pub(crate) fn program() -> Program {
    let own = env::current_exe().and_then(fs::read).map(sha256);
    Program {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("COMM_COMMIT")
            .map(str::to_owned)
            .or_else(commit)
            .unwrap_or_else(unknown),
        sha256: own.unwrap_or_else(|_| unknown()),
    }
}

/// This machine, as far as it tells.
pub(crate) fn machine() -> Machine {
    let value = |file: &str, key: &str| {
        let text = fs::read_to_string(file).ok()?;
        let line = text.lines().find(|line| line.starts_with(key))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    let kib = value("/proc/meminfo", "MemTotal")
        .and_then(|text| text.trim_end_matches("kB").trim().parse::<u64>().ok());
    Machine {
        processor: value("/proc/cpuinfo", "model name")
            .unwrap_or_else(|| format!("a processor of {}", env::consts::ARCH)),
        cores: thread::available_parallelism().map_or(1, usize::from),
        memory_mib: kib.map(|kib| kib / 1024),
    }
}

fn commit() -> Option<String> {
    let head = git(&["rev-parse", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changes.is_empty() { head } else { format!("{head}-dirty") })
}

fn git(arguments: &[&str]) -> Option<String> {
    let place = ["-C", env!("CARGO_MANIFEST_DIR")];
    let output = Command::new("git").args(place).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn unknown() -> String {
    "unknown".to_owned()
}
