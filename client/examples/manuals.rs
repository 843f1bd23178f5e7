//! Writes manual pages and shell completions of both programs, for packages.
//!
//! ```text
//! cargo run -p comm --example manuals -- DIRECTORY
//! ```
//!
//! They are made of what the parsers are made of, so they cannot say anything else than `--help`.
//! The chat is written of as `comm-chat`, the name that it is installed under where `comm` is
//! another program's. Nothing of this is linked into the programs.

#[path = "../src/bin/comm/command_line.rs"]
#[allow(dead_code, reason = "what is given is read by the program alone")]
mod command_line;
#[path = "../src/bin/comm/lifetime.rs"]
#[allow(dead_code, reason = "lifetimes are shown by the program alone")]
mod lifetime;

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate_to};
use comm_node::cli::Cli;
use comm_node::config::NodeConfig;

/// Each with the directory of its completions.
const SHELLS: [(Shell, &str); 3] =
    [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")];

fn main() -> ExitCode {
    let Some(directory) = env::args_os().nth(1) else {
        eprintln!("manuals: say into which directory");
        return ExitCode::from(2);
    };
    match write_all(Path::new(&directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("manuals: {}: {error}", Path::new(&directory).display());
            ExitCode::FAILURE
        }
    }
}

/// Everything, in a directory for each kind. What is there already is written over.
fn write_all(directory: &Path) -> Result<(), Box<dyn Error>> {
    let man = directory.join("man");
    fs::create_dir_all(&man)?;
    for command in [relay(), chat()] {
        for (shell, name) in SHELLS {
            let directory = directory.join(name);
            fs::create_dir_all(&directory)?;
            generate_to(shell, &mut command.clone(), command.get_name(), directory)?;
        }
        clap_mangen::generate_to(command, &man)?;
    }
    Ok(())
}

/// The relay, whose default directory hangs on who asks.
fn relay() -> Command {
    let data_dir = "~/.local/share/comm-node".into();
    Cli::definition(&NodeConfig { data_dir, ..NodeConfig::default() })
}

/// The chat, under the name that it is installed by.
fn chat() -> Command {
    let usage = command_line::USAGE.replace("comm ", "comm-chat ");
    command_line::Arguments::command().name("comm-chat").override_usage(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        write_all(directory.path()).unwrap();
        directory
    }

    fn flags(command: &Command) -> Vec<String> {
        let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
        shown.filter_map(|arg| arg.get_long().map(ToOwned::to_owned)).collect()
    }

    #[test]
    fn every_command_has_a_page_that_names_its_flags() {
        let directory = written();
        for command in [relay(), chat()] {
            let name = command.get_name();
            let subs =
                command.get_subcommands().map(|sub| (sub, format!("{name}-{}", sub.get_name())));
            for (command, page) in subs.chain([(&command, name.to_owned())]) {
                let text =
                    fs::read_to_string(directory.path().join(format!("man/{page}.1"))).unwrap();
                let text = text.replace('\\', "");
                for flag in flags(command) {
                    assert!(text.contains(&format!("--{flag}")), "{page} has no --{flag}");
                }
            }
        }
    }

    #[test]
    fn every_shell_completes_every_command_of_both_programs() {
        let directory = written();
        for command in [relay(), chat()] {
            let name = command.get_name();
            let files =
                [format!("bash/{name}.bash"), format!("zsh/_{name}"), format!("fish/{name}.fish")];
            for file in files {
                let text = fs::read_to_string(directory.path().join(&file)).unwrap();
                for sub in command.get_subcommands() {
                    assert!(text.contains(sub.get_name()), "{file} has no {}", sub.get_name());
                }
            }
        }
    }

    #[test]
    fn nothing_that_is_written_names_the_home_of_who_wrote_it() {
        let directory = written();
        let page = fs::read_to_string(directory.path().join("man/comm-node.1")).unwrap();
        assert!(page.contains("[default: ~/.local/share/comm\\-node]"), "{page}");
    }
}
