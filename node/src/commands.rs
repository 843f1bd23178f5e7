//! The commands for whoever runs a node: what they say, and how they end.
//!
//! Each function is a command. What it is about is the library's business; here it is shown.

use std::env;
use std::fmt::Display;
use std::future::Future;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use comm_node::backup::RestoreError;
use comm_node::blocking::{self, Blocked, Order};
use comm_node::bootstrap::list::Shown;
use comm_node::clock::Clock;
use comm_node::config::NodeConfig;
use comm_node::config::bootstrap::BootstrapPeer;
use comm_node::config::units::Interval;
use comm_node::doctor::{self, State, Style};
use comm_node::status::Report;
use comm_node::top::{self, Pace};
use comm_node::verify::VerifyError;
use comm_node::{backup, data_dir, drain, telemetry};
use serde::Serialize;
use tokio::runtime;

/// How often a line on a terminal is written anew.
const SHOWN_EVERY: Duration = Duration::from_millis(200);
/// How often whoever reads no terminal is told how far a drain is.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Why a command ends without having done what it is for: one line, and how the process ends.
#[derive(Debug)]
pub(crate) struct Complaint {
    code: u8,
    reason: String,
}

impl Complaint {
    /// Something has failed.
    pub(crate) fn failed(reason: impl Display) -> Self {
        Self { code: 1, reason: reason.to_string() }
    }

    /// The program was called or configured wrongly.
    pub(crate) fn misused(reason: impl Display) -> Self {
        Self { code: 2, reason: reason.to_string() }
    }

    /// Says so, and how to end.
    pub(crate) fn end(self) -> ExitCode {
        eprintln!("comm-node: {}", self.reason);
        ExitCode::from(self.code)
    }
}

/// How a command ends.
pub(crate) type Ended = Result<ExitCode, Complaint>;

pub(crate) fn print(config: &NodeConfig) -> Ended {
    show(&toml::to_string(config).map_err(Complaint::failed)?)?;
    Ok(ExitCode::SUCCESS)
}

/// The values themselves have been looked at before; this looks at the files that they name, and whether this
/// program can do all that they ask.
pub(crate) fn check(config: &NodeConfig) -> Ended {
    config.block_list().map_err(Complaint::misused)?;
    let key = config.network_key_file.as_deref().map(data_dir::network_key);
    key.transpose().map_err(Complaint::misused)?;
    config.relay_lists(Clock::new().now()).map_err(Complaint::misused)?;
    telemetry::check(&config.traces).map_err(Complaint::misused)?;
    show("the configuration can be used\n")?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn back_up(config: &NodeConfig, to: &Path) -> Ended {
    wait_for(backup::ask(config, to))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn show_status(config: &NodeConfig, json: bool) -> Ended {
    let report = wait_for(Report::ask(config))?;
    show(&if json { as_json(&report)? } else { report.to_string() })?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn watch(config: &NodeConfig, pace: Pace) -> Ended {
    wait_for(top::watch(config, pace))?;
    Ok(ExitCode::SUCCESS)
}

/// Ends with 1 when a problem was found, as well as when nothing could be shown.
pub(crate) fn examine(config: &NodeConfig, json: bool) -> Ended {
    let measured = wait_for(async { Ok::<_, io::Error>(doctor::measure(config).await) })?;
    let diagnosis = doctor::diagnosed(&measured);
    let is_coloured = io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none();
    let style = if is_coloured { Style::Coloured } else { Style::Plain };
    show(&if json { as_json(&diagnosis)? } else { diagnosis.shown(style).to_string() })?;
    Ok(code(diagnosis.state != State::Problem))
}

pub(crate) fn hand_over(config: &NodeConfig, json: bool) -> Ended {
    let on_terminal = io::stderr().is_terminal();
    let mut told = Instant::now();
    let shown = |report: &drain::Report| {
        if on_terminal {
            eprint!("\r\x1b[K{}", report.progress());
        } else if told.elapsed() >= TOLD_EVERY {
            told = Instant::now();
            eprintln!("{}", report.progress());
        }
    };
    let ended = wait_for(async {
        tokio::select! {
            ended = drain::ask(config, shown) => ended.map(Some),
            _ = tokio::signal::ctrl_c() => Ok(None),
        }
    });
    clear_line();
    let Some(report) = ended? else {
        return Err(Complaint::failed(
            "the relay goes on handing over; `comm-node drain --status` shows how far it is, \
             `comm-node drain --cancel` has it stay",
        ));
    };
    show(&if json { as_json(&report)? } else { report.to_string() })?;
    Ok(code(report.is_complete()))
}

pub(crate) fn stay(config: &NodeConfig) -> Ended {
    if !wait_for(drain::cancel(config))? {
        return Err(Complaint::failed("the relay was not handing over what it holds"));
    }
    show("the relay stays\n")?;
    Ok(ExitCode::SUCCESS)
}

/// Ends with 1 where nobody has told the relay to hand over anything.
pub(crate) fn show_drain(config: &NodeConfig, json: bool) -> Ended {
    let Some(report) = wait_for(drain::look(config))? else {
        return Err(Complaint::failed("the relay was not told to hand over what it holds"));
    };
    show(&match (json, report.is_under_way()) {
        (true, _) => as_json(&report)?,
        (false, true) => report.progress() + "\n",
        (false, false) => report.to_string(),
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn verify(dir: &Path) -> Ended {
    let verdict = comm_node::verify::verify(dir, rows_shown());
    clear_line();
    let verdict = verdict.map_err(|error| unlooked(&error))?;
    show(&verdict.to_string())?;
    Ok(code(verdict.is_sound()))
}

pub(crate) fn restore(backup: &Path, to: &Path) -> Ended {
    let restored = backup::restore(backup, to, rows_shown());
    clear_line();
    let verdict = restored.map_err(|error| match error {
        RestoreError::Verify(error) => unlooked(&error),
        error => Complaint::failed(error),
    })?;
    show(&format!(
        "{} has the data of relay {}, {} envelopes. Do not start it while the relay that was copied runs, \
         here or elsewhere: two of one key take each other's mail\n",
        to.display(),
        verdict.address,
        verdict.envelopes
    ))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn block(config: &NodeConfig, order: Order<'_>) -> Ended {
    wait_for(blocking::ask(config, order))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn list_blocked(config: &NodeConfig, json: bool) -> Ended {
    let blocked = wait_for(blocking::ask(config, Order::Show))?;
    show(&if json { as_json(&blocked)? } else { lines_of(&blocked, config) })?;
    Ok(ExitCode::SUCCESS)
}

/// To standard output: whoever signs says where the list goes.
pub(crate) fn sign_list(
    config: &NodeConfig,
    key: &Path,
    (valid, relays): (Interval, &[BootstrapPeer]),
) -> Ended {
    let signer = data_dir::signing_key(key).map_err(Complaint::misused)?;
    let now = Clock::new().now();
    let signed = Shown::sign(&config.network, relays, (now, valid.0), &signer);
    show(&signed.map_err(Complaint::misused)?)?;
    Ok(ExitCode::SUCCESS)
}

/// What the list says is shown also where it is not to be used.
pub(crate) fn show_list(config: &NodeConfig, file: &Path, json: bool) -> Ended {
    let shown = Shown::read(config, file, Clock::new().now()).map_err(Complaint::failed)?;
    show(&if json { as_json(&shown)? } else { shown.to_string() })?;
    Ok(code(shown.is_usable()))
}

/// As a file of blocks has them; those that come from one with its name behind.
fn lines_of(blocked: &Blocked, config: &NodeConfig) -> String {
    let lines = |entries: &[String], by: &str| -> String {
        entries.iter().map(|entry| format!("{entry}{by}\n")).collect()
    };
    let file = config.block.file.as_deref().unwrap_or(Path::new("block.file"));
    let by_file = format!("  # {}", file.display());
    lines(&blocked.by_command, "") + &lines(&blocked.by_file, &by_file)
}

/// Says on a terminal how many rows have been looked at, now and then.
fn rows_shown() -> impl FnMut(u64, u64) {
    let on_terminal = io::stderr().is_terminal();
    let mut told = Instant::now();
    move |rows, about| {
        if on_terminal && told.elapsed() >= SHOWN_EVERY {
            told = Instant::now();
            eprint!("\r\x1b[K{rows} of about {} rows", about.max(rows));
        }
    }
}

/// Takes away what was said of how far it is.
fn clear_line() {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}

fn unlooked(error: &VerifyError) -> Complaint {
    if error.is_misuse() { Complaint::misused(error) } else { Complaint::failed(error) }
}

/// How a command ends that has found out whether something is well.
fn code(is_well: bool) -> ExitCode {
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn as_json(value: &impl Serialize) -> Result<String, Complaint> {
    serde_json::to_string(value).map(|text| text + "\n").map_err(Complaint::failed)
}

/// Whoever closed the pipe has read enough.
fn show(text: &str) -> Result<(), Complaint> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Complaint::failed(format_args!("standard output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

fn wait_for<T, E: Display>(answer: impl Future<Output = Result<T, E>>) -> Result<T, Complaint> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Complaint::failed)?.block_on(answer).map_err(Complaint::failed)
}
