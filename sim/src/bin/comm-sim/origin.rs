//! Which program this is, for manifests.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the program around the world looks at itself and asks its repository"
)]

use std::env;
use std::fs;
use std::process::Command;

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
