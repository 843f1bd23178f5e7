//! The program `comm-node`: a relay that runs until it is told to stop.
//!
//! It ends with 0 after SIGTERM or SIGINT, with 2 when it was called or configured wrongly, with 1
//! when something else fails; each time with one line on standard error that says what. Everything
//! it does is in the library.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use comm_node::backup::RestoreError;
use comm_node::blocking::{self, Blocked, Order};
use comm_node::cli::{Cli, Task, one_line};
use comm_node::config::NodeConfig;
use comm_node::reload::Reloads;
use comm_node::service_manager::ServiceManager;
use comm_node::status::Report;
use comm_node::verify::VerifyError;
use comm_node::{backup, data_dir, drain, logging, run};
use mimalloc::MiMalloc;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

/// RocksDB's C++ takes its memory here too: a mailbox is read a quarter faster than with the
/// allocator of glibc.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const FAILED: u8 = 1;
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::from_arguments() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => return end(MISUSED, one_line(&error)),
        Err(help) => {
            // Whoever asked for help and closed the pipe has read enough.
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    match cli.config() {
        Ok(config) if cli.print_config() => print(&config),
        Ok(config) => match cli.task() {
            Task::Run => serve(cli, config),
            Task::Backup(to) => back_up(&config, to),
            Task::Status { json } => show_status(&config, json),
            Task::Drain { json } => hand_over(&config, json),
            Task::CancelDrain => stay(&config),
            Task::Verify(dir) => verify(dir.unwrap_or(&config.data_dir)),
            Task::Restore { backup, to } => restore(backup, to),
            Task::Block(order) => match blocked(&config, order) {
                Ok(_) => ExitCode::SUCCESS,
                Err(code) => code,
            },
            Task::ListBlocked { json } => list_blocked(&config, json),
            Task::Check => check(&config),
        },
        Err(error) => end(MISUSED, error),
    }
}

fn print(config: &NodeConfig) -> ExitCode {
    match toml::to_string(config) {
        Ok(text) => match io::stdout().write_all(text.as_bytes()) {
            // Whoever closed the pipe has read enough.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                end(FAILED, format_args!("standard output cannot be written: {error}"))
            }
            _ => ExitCode::SUCCESS,
        },
        Err(error) => end(FAILED, error),
    }
}

fn back_up(config: &NodeConfig, to: &Path) -> ExitCode {
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return end(FAILED, error),
    };
    match runtime.block_on(backup::ask(config, to)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => end(FAILED, error),
    }
}

fn show_status(config: &NodeConfig, json: bool) -> ExitCode {
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return end(FAILED, error),
    };
    let report = match runtime.block_on(Report::ask(config)) {
        Ok(report) => report,
        Err(error) => return end(FAILED, error),
    };
    let text = if json {
        serde_json::to_string(&report).map(|text| text + "\n")
    } else {
        Ok(report.to_string())
    };
    match text.map(|text| io::stdout().write_all(text.as_bytes())) {
        // Whoever closed the pipe has read enough: the node has answered.
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => end(FAILED, error),
    }
}

/// Says on a terminal how many rows have been looked at, now and then.
fn rows_shown() -> impl FnMut(u64, u64) {
    let on_terminal = io::stderr().is_terminal();
    let mut told = Instant::now();
    move |rows, about| {
        if on_terminal && told.elapsed() >= Duration::from_millis(200) {
            told = Instant::now();
            eprint!("\r\x1b[K{rows} of about {} rows", about.max(rows));
        }
    }
}

/// Takes away what was said of rows.
fn rows_looked_at() {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}

fn verify(dir: &Path) -> ExitCode {
    let verdict = comm_node::verify::verify(dir, rows_shown());
    rows_looked_at();
    match verdict {
        Ok(verdict) => match io::stdout().write_all(verdict.to_string().as_bytes()) {
            // Whoever closed the pipe has read enough.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => end(FAILED, error),
            _ if verdict.is_sound() => ExitCode::SUCCESS,
            _ => ExitCode::from(FAILED),
        },
        Err(error) => end(code_of(&error), error),
    }
}

fn restore(backup: &Path, to: &Path) -> ExitCode {
    let restored = backup::restore(backup, to, rows_shown());
    rows_looked_at();
    match restored {
        Ok(verdict) => {
            println!(
                "{} has the data of relay {}, {} envelopes. Do not start it while the relay that was copied \
                 runs, here or elsewhere: two of one key take each other's mail",
                to.display(),
                verdict.address,
                verdict.envelopes
            );
            ExitCode::SUCCESS
        }
        Err(RestoreError::Verify(error)) => end(code_of(&error), error),
        Err(error) => end(FAILED, error),
    }
}

fn code_of(error: &VerifyError) -> u8 {
    if error.is_misuse() { MISUSED } else { FAILED }
}

/// Does what is ordered, and says who is blocked then; else how this process is to end.
fn blocked(config: &NodeConfig, order: Order<'_>) -> Result<Blocked, ExitCode> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| end(FAILED, error))?;
    runtime.block_on(blocking::ask(config, order)).map_err(|error| end(FAILED, error))
}

fn list_blocked(config: &NodeConfig, json: bool) -> ExitCode {
    let blocked = match blocked(config, Order::Show) {
        Ok(blocked) => blocked,
        Err(code) => return code,
    };
    let text = if json {
        serde_json::to_string(&blocked).map(|text| text + "\n")
    } else {
        let by = |entries: &[String], by: &str| -> String {
            entries.iter().map(|entry| format!("{entry}{by}\n")).collect()
        };
        let file = config.block.file.as_deref().unwrap_or(Path::new("block.file"));
        let by_file = format!("  # {}", file.display());
        Ok(by(&blocked.by_command, "") + &by(&blocked.by_file, &by_file))
    };
    match text.map(|text| io::stdout().write_all(text.as_bytes())) {
        // Whoever closed the pipe has read enough.
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => end(FAILED, error),
    }
}

/// How often whoever reads no terminal is told how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(10);

fn hand_over(config: &NodeConfig, json: bool) -> ExitCode {
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return end(FAILED, error),
    };
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
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = drain::ask(config, shown) => Some(ended),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    if on_terminal {
        eprint!("\r\x1b[K");
    }
    let report = match ended {
        Some(Ok(report)) => report,
        Some(Err(error)) => return end(FAILED, error),
        None => {
            return end(
                FAILED,
                "the relay goes on handing over; `comm-node drain` shows how far it is, `comm-node \
                 drain --cancel` has it stay",
            );
        }
    };
    let text = if json {
        serde_json::to_string(&report).map(|text| text + "\n")
    } else {
        Ok(report.to_string())
    };
    match text.map(|text| io::stdout().write_all(text.as_bytes())) {
        // Whoever closed the pipe has read enough.
        Ok(_) if report.is_complete() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(FAILED),
        Err(error) => end(FAILED, error),
    }
}

fn stay(config: &NodeConfig) -> ExitCode {
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return end(FAILED, error),
    };
    match runtime.block_on(drain::cancel(config)) {
        Ok(true) => {
            println!("the relay stays");
            ExitCode::SUCCESS
        }
        Ok(false) => end(FAILED, "the relay was not handing over what it holds"),
        Err(error) => end(FAILED, error),
    }
}

/// The values themselves have been looked at before; this looks at the files that they name.
fn check(config: &NodeConfig) -> ExitCode {
    if let Err(error) = config.block_list() {
        return end(MISUSED, error);
    }
    if let Some(Err(error)) = config.network_key_file.as_deref().map(data_dir::network_key) {
        return end(MISUSED, error);
    }
    println!("the configuration can be used");
    ExitCode::SUCCESS
}

fn serve(cli: Cli, config: NodeConfig) -> ExitCode {
    // The node reads it once more; but only here is it known to be a mistake in the configuration.
    if let Err(error) = config.block_list() {
        return end(MISUSED, error);
    }
    let log = match logging::start(&config.log) {
        Ok(log) => log,
        Err(error) => return end(MISUSED, error),
    };
    let runtime =
        runtime::Builder::new_multi_thread().worker_threads(workers()).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return end(FAILED, error),
    };
    let result = runtime.block_on(async {
        let shutdown = stop_signal().map_err(|error| error.to_string())?;
        let read_again = move || cli.config().map_err(|error| error.to_string());
        let reloads = Reloads::at_hangup(read_again, log).map_err(|error| error.to_string())?;
        let manager = ServiceManager::from_environment();
        run(config, reloads, manager, shutdown).await.map_err(|error| error.to_string())
    });
    // A name being looked up in the background must not hold the end up.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => end(FAILED, error),
    }
}

/// Threads for links and clients. The driver and the store have threads of their own, which all links
/// and clients wait for: one core is left to them, if there are several.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1))
}

/// Comes true when the system or the operator wants the program to end.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    })
}

fn end(code: u8, reason: impl Display) -> ExitCode {
    eprintln!("comm-node: {reason}");
    ExitCode::from(code)
}
