//! The program `comm-node`: a relay that runs until it is told to stop.
//!
//! It ends with 0 after SIGTERM or SIGINT, with 2 when it was called or configured wrongly, with 1
//! when something else fails; each time with one line on standard error that says what. Everything
//! it does is in the library.

mod commands;

use std::io;
use std::process::ExitCode;

use comm_node::cli::{Cli, Task, one_line};
use comm_node::config::NodeConfig;
use comm_node::reload::Reloads;
use comm_node::service_manager::ServiceManager;
use comm_node::{logging, run, telemetry};
use mimalloc::MiMalloc;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use commands::{Complaint, Ended};

/// RocksDB's C++ takes its memory here too: a mailbox is read a quarter faster than with the
/// allocator of glibc.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::from_arguments() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => return Complaint::misused(one_line(&error)).end(),
        Err(help) => {
            // Whoever asked for help and closed the pipe has read enough.
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    let ended = match cli.config() {
        Ok(config) => done(cli, config),
        Err(error) => Err(Complaint::misused(error)),
    };
    ended.unwrap_or_else(Complaint::end)
}

fn done(cli: Cli, config: NodeConfig) -> Ended {
    if cli.print_config() {
        return commands::print(&config);
    }
    match cli.task() {
        Task::Run => serve(cli, config),
        Task::Backup(to) => commands::back_up(&config, to),
        Task::Status { json } => commands::show_status(&config, json),
        Task::Top(pace) => commands::watch(&config, pace),
        Task::Doctor { json } => commands::examine(&config, json),
        Task::Drain { json } => commands::hand_over(&config, json),
        Task::CancelDrain => commands::stay(&config),
        Task::ShowDrain { json } => commands::show_drain(&config, json),
        Task::Verify(dir) => commands::verify(dir.unwrap_or(&config.data_dir)),
        Task::Restore { backup, to } => commands::restore(backup, to),
        Task::Block(order) => commands::block(&config, order),
        Task::ListBlocked { json } => commands::list_blocked(&config, json),
        Task::SignList { key, valid, relays } => commands::sign_list(&config, key, (valid, relays)),
        Task::ShowList { file, json } => commands::show_list(&config, file, json),
        Task::Check => commands::check(&config),
    }
}

fn serve(cli: Cli, config: NodeConfig) -> Ended {
    // The node reads it once more; but only here is it known to be a mistake in the configuration.
    config.block_list().map_err(Complaint::misused)?;
    telemetry::check(&config.traces).map_err(Complaint::misused)?;
    let log = logging::start(&config.log).map_err(Complaint::misused)?;
    let runtime =
        runtime::Builder::new_multi_thread().worker_threads(workers()).enable_all().build();
    let runtime = runtime.map_err(Complaint::failed)?;
    let result = runtime.block_on(async {
        let shutdown = stop_signal().map_err(|error| error.to_string())?;
        let read_again = move || cli.config().map_err(|error| error.to_string());
        let reloads = Reloads::at_hangup(read_again, log).map_err(|error| error.to_string())?;
        let manager = ServiceManager::from_environment();
        run(config, reloads, manager, shutdown).await.map_err(|error| error.to_string())
    });
    // A name being looked up in the background must not hold the end up.
    runtime.shutdown_background();
    result.map(|()| ExitCode::SUCCESS).map_err(Complaint::failed)
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
