//! Measures what a diagnosis is made of: asks the relay, and looks at its disk and this machine.
//!
//! Entry function is [`measure`]. It changes nothing, but for a file in the data directory that is written
//! to for about a second and removed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use comm_proto::message::DialOutcome;
use comm_proto::rejection::Rejection;
use comm_proto::wire::client::{ExamineRequest, ExamineResponse, OutsideView};
use comm_proto::wire::{decode, object};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::machine::{Guarded, OpenFiles, Syncs};
use super::reach::Told;
use super::{Examined, Measured, Running};
use crate::links::probe::View;
use crate::rpc::client::owner_client::OwnerClient;
use crate::status::Report;
use crate::store::upkeep::{DiskUse, free_bytes};
use crate::{config::NodeConfig, data_dir, owner};

/// How long a relay may take to examine itself: others dial it back meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);
/// For how long the disk is measured, and how often at the most.
const MEASURED_FOR: Duration = Duration::from_secs(1);
const SYNCS_MAX: usize = 1_000;
/// What one sync has to write, as much as an envelope of the usual size and its rows.
const WRITTEN: [u8; 4_096] = [0; 4_096];

/// Measures the relay of this configuration and its machine. To be called on a runtime.
pub async fn measure(config: &NodeConfig) -> Measured {
    let relay = match Report::ask(config).await {
        Ok(report) => Ok(Running { report, examined: examined(config).await }),
        Err(error) => Err(error.to_string()),
    };
    let (data_dir, socket) = (config.data_dir.clone(), config.socket_path());
    let disk = spawn_blocking(move || {
        let store = data_dir::store_path(&data_dir);
        let syncs = syncs_in(&data_dir).map_err(|error| error.to_string());
        let files = guarded(&data_dir, &socket);
        (syncs, free_bytes(&data_dir), DiskUse::of(&store).total(), files)
    });
    let nothing = |error: tokio::task::JoinError| (Err(error.to_string()), None, 0, Vec::new());
    let (disk, free_bytes, store_bytes, files) = disk.await.unwrap_or_else(nothing);
    let memory_available = memory_available();
    Measured {
        config: config.clone(),
        relay,
        disk,
        free_bytes,
        store_bytes,
        files,
        memory_available,
    }
}

async fn examined(config: &NodeConfig) -> Result<Examined, String> {
    let channel = owner::connect(config).await.map_err(|error| error.to_string())?;
    let mut owner = OwnerClient::new(channel);
    match timeout(PATIENCE, owner.examine(ExamineRequest {})).await {
        Ok(Ok(answer)) => read(&answer.into_inner()).map_err(|reason| reason.to_string()),
        Ok(Err(status)) => Err(status.message().to_owned()),
        Err(_) => Err(format!("it has not answered within {} seconds", PATIENCE.as_secs())),
    }
}

fn read(answer: &ExamineResponse) -> Result<Examined, Rejection> {
    Ok(Examined {
        listening: answer.listening.iter().map(decode::endpoint).collect::<Result<_, _>>()?,
        asked: answer.views.iter().map(told).collect::<Result<_, _>>()?,
        files: OpenFiles {
            now: answer.open_files,
            most: answer.open_files_max,
            needed: answer.open_files_needed,
        },
        memory_bytes: answer.memory_bytes,
    })
}

fn told(view: &OutsideView) -> Result<Told, Rejection> {
    let asked = place(view.asked.as_ref(), "asked")?;
    let outcome = decode::dial_outcome(view.outcome);
    if outcome != DialOutcome::Reached {
        return Ok(Told { asked, view: Err(outcome) });
    }
    let dialled = view.dialled.iter().map(|dialled| {
        let at = place(dialled.endpoint.as_ref(), "endpoint")?;
        Ok((at, decode::dial_outcome(dialled.outcome)))
    });
    let view = View {
        local: place(view.local.as_ref(), "local")?,
        observed: view.observed.as_ref().map(decode::endpoint).transpose()?,
        round_trip: Duration::from_micros(view.round_trip),
        ahead_millis: view.ahead,
        dialled: dialled.collect::<Result<_, Rejection>>()?,
    };
    Ok(Told { asked, view: Ok(view) })
}

fn place(endpoint: Option<&object::Endpoint>, what: &'static str) -> Result<SocketAddr, Rejection> {
    decode::endpoint(endpoint.ok_or(Rejection::Malformed(what))?)
}

/// Syncs a file in `directory` for about a second.
fn syncs_in(directory: &Path) -> io::Result<Syncs> {
    let file = Measurement::begin(directory)?;
    let (since, mut took) = (Instant::now(), Vec::new());
    while since.elapsed() < MEASURED_FOR && took.len() < SYNCS_MAX {
        let began = Instant::now();
        (&file.file).write_all(&WRITTEN)?;
        file.file.sync_data()?;
        took.push(began.elapsed());
    }
    took.sort_unstable();
    let within = |of_hundred: usize| took[(took.len() * of_hundred).div_ceil(100).max(1) - 1];
    Ok(Syncs { count: took.len() as u64, half: within(50), most: within(99) })
}

/// A file without a name: it goes with this, however the process ends.
struct Measurement {
    file: File,
}

impl Measurement {
    fn begin(directory: &Path) -> io::Result<Self> {
        let path = directory.join(format!("doctor.{}.tmp", std::process::id()));
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path)?;
        fs::remove_file(&path)?;
        Ok(Self { file })
    }
}

/// What others must not open, of what is there.
fn guarded(data_dir: &Path, socket: &Path) -> Vec<Guarded> {
    let file = |name: &str| (data_dir.join(name), 0o600);
    let all = [
        (data_dir.to_owned(), 0o700),
        file("node.key"),
        file("api.token"),
        file("lock"),
        (socket.to_owned(), 0o600),
    ];
    let look = |(path, wanted): (PathBuf, u32)| {
        let mode = match fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.permissions().mode() & 0o7777),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => Err(error.to_string()),
        };
        Some(Guarded { path, mode, wanted })
    };
    all.into_iter().filter_map(look).collect()
}

/// As the system estimates it.
fn memory_available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_measured_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let Syncs { count, half, most } = syncs_in(dir.path()).unwrap();
        assert!(count > 0 && count <= SYNCS_MAX as u64);
        assert!(half <= most && most > Duration::ZERO);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(syncs_in(&dir.path().join("nowhere")).is_err());
    }

    #[test]
    fn only_what_is_there_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("api.sock");
        fs::write(dir.path().join("node.key"), "").unwrap();
        let seen = guarded(dir.path(), &socket);
        assert_eq!(seen.len(), 2, "the directory and the key");
        assert!(guarded(&dir.path().join("nowhere"), &socket).is_empty());
    }

    #[test]
    fn this_machine_says_what_memory_is_available() {
        assert!(memory_available().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_refused() {
        let reached = object::DialOutcome::Reached.into();
        let view = OutsideView { outcome: reached, ..OutsideView::default() };
        let answer = ExamineResponse { views: vec![view], ..ExamineResponse::default() };
        assert_eq!(read(&answer).unwrap_err(), Rejection::Malformed("asked"));
        let unreached = OutsideView {
            asked: Some((&SocketAddr::from(([192, 0, 2, 1], 7))).into()),
            outcome: object::DialOutcome::TimedOut.into(),
            ..OutsideView::default()
        };
        let answer = ExamineResponse { views: vec![unreached], ..ExamineResponse::default() };
        assert_eq!(read(&answer).unwrap().asked[0].view, Err(DialOutcome::TimedOut));
    }
}
