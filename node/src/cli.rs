//! Where a node's configuration comes from: a TOML file, over it the environment, over it flags.
//!
//! Entry type is [`Cli`]. Every key can be set in all three ways, which [`KEYS`] lists; what a value
//! means and whether it is possible is [`crate::config`]'s business.

mod settings;

use std::fs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Arg, ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use thiserror::Error;
use toml::{Table, Value};

use crate::blocking::Order;
use crate::config::NodeConfig;
use crate::config::bootstrap::BootstrapPeer;
use crate::config::units::Interval;
use crate::links::blocks::Entry;
use crate::top::{self, Pace};

pub use settings::{KEYS, Settings};

/// A relay of the comm network: it keeps sealed messages until their readers come.
#[derive(Debug, Parser)]
#[command(name = "comm-node", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the node until it is told to stop (the default).
    Run(Box<Options>),
    /// Copy the node's data to a new directory, also while the node runs.
    Backup {
        /// The directory to create; a node can be started from it.
        to: PathBuf,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Show how the node is that runs on the data directory; fails if none answers.
    Status {
        /// For programs: one JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Watch the node that runs on the data directory; in a pipe, a line for each look.
    Top {
        /// How long from one look to the next, 100ms to 1h.
        #[arg(long, value_name = "TIME", default_value = "1s", value_parser = top::every)]
        interval: Duration,
        /// End after so many looks.
        #[arg(long, value_name = "LOOKS")]
        count: Option<NonZeroU64>,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Say what is wrong with the node, its machine or its connection, and what to do; ends with 1 if
    /// something is. Other nodes are asked to dial it back, and its disk is written to for a second.
    Doctor {
        /// For programs: one JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Hand over what the node holds to others, to leave for good; it ends if nothing stays behind.
    Drain {
        /// Have the node stay that was told to hand over before.
        #[arg(long, conflicts_with_all = ["json", "status"])]
        cancel: bool,
        /// Only show how far it is, or what has become of it; begins nothing.
        #[arg(long)]
        status: bool,
        /// For programs: what has become of it as one JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Look through a node's data, or a copy of it, for damage; changes nothing.
    Verify {
        /// A copy; without it, the data directory of a node that does not run.
        dir: Option<PathBuf>,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Make a new data directory from a copy, after it was looked through for damage.
    Restore {
        /// The copy.
        backup: PathBuf,
        /// The directory to create.
        to: PathBuf,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Have nothing to do with relays or networks of IP addresses, from now on and over restarts.
    #[command(subcommand)]
    Block(Block),
    /// Sign lists of relays to begin with, and look into them.
    #[command(subcommand)]
    List(List),
    /// Say whether the configuration can be used, and what is wrong if not.
    Check(Box<Options>),
}

#[derive(Debug, Subcommand)]
enum List {
    /// Write a signed list to standard output.
    Sign {
        /// A file with 64 hexadecimal digits that only you can read: the signer's secret key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// How long it holds, at most 366d.
        #[arg(long, value_name = "TIME", default_value = "90d")]
        valid: Interval,
        /// Relays, as KEY@HOST:PORT.
        #[arg(required = true)]
        relays: Vec<BootstrapPeer>,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Show what a list says, and who has signed it; fails if it is not to be used.
    Show {
        /// The list.
        file: PathBuf,
        /// For programs: one JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        options: Box<Options>,
    },
}

#[derive(Debug, Subcommand)]
enum Block {
    /// Block these too.
    Add {
        /// Addresses of relays (40 hexadecimal digits), IP addresses, networks such as 192.0.2.0/24.
        #[arg(required = true)]
        entries: Vec<Entry>,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Block these no more that were blocked by `add`.
    Remove {
        /// As `list` shows them.
        #[arg(required = true)]
        entries: Vec<Entry>,
        #[command(flatten)]
        options: Box<Options>,
    },
    /// Show who is blocked, by commands and by the file of block.file.
    List {
        /// For programs: one JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        options: Box<Options>,
    },
}

/// What the program is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task<'a> {
    /// Be a node.
    Run,
    /// Copy a node's data to this new directory.
    Backup(&'a Path),
    /// Show how a node is.
    Status {
        /// As JSON.
        json: bool,
    },
    /// Watch a node at this pace.
    Top(Pace),
    /// Say what is wrong, and what to do.
    Doctor {
        /// As JSON.
        json: bool,
    },
    /// Have a node hand over what it holds, and end.
    Drain {
        /// What has become of it as JSON.
        json: bool,
    },
    /// Have a node stay that was told to hand over.
    CancelDrain,
    /// Show how far a node is with it.
    ShowDrain {
        /// As JSON.
        json: bool,
    },
    /// Look for damage in this directory, or else in the node's own.
    Verify(Option<&'a Path>),
    /// Make a data directory of a copy.
    Restore {
        /// The copy.
        backup: &'a Path,
        /// The new directory.
        to: &'a Path,
    },
    /// Change whom a node has nothing to do with.
    Block(Order<'a>),
    /// Show whom a node has nothing to do with.
    ListBlocked {
        /// As JSON.
        json: bool,
    },
    /// Sign a list of relays.
    SignList {
        /// The file with the signer's key.
        key: &'a Path,
        /// How long it holds.
        valid: Interval,
        /// What it names.
        relays: &'a [BootstrapPeer],
    },
    /// Show a list of relays.
    ShowList {
        /// Its file.
        file: &'a Path,
        /// As JSON.
        json: bool,
    },
    /// Look at the configuration and nothing else.
    Check,
}

#[derive(Debug, Args)]
struct Options {
    /// A TOML file with settings; environment variables and flags override it.
    #[arg(long, env = "COMM_NODE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the resulting configuration as TOML and exit.
    #[arg(long)]
    print_config: bool,
    /// Log more: -v problems with other nodes, -vv every message.
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    #[command(flatten)]
    settings: Settings,
}

/// Why there is no configuration. Each is one line.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{}:{line}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The file has a key that means nothing.
    #[error("{}: there is no key \"{key}\"; the nearest is \"{nearest}\"", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key, with its section.
        key: String,
        /// A known key that is spelt most like it.
        nearest: &'static str,
    },
    /// A value has another form than its key wants, or is out of bounds.
    #[error("{0}")]
    Value(String),
}

/// What the help says beside the texts of the flags: their defaults, and which belong together.
fn described(arg: Arg, defaults: &Table) -> Arg {
    let key = arg.get_id().to_string();
    if !KEYS.contains(&key.as_str()) {
        return arg;
    }
    let arg = match key.split_once('.') {
        Some(("protocol", _)) => arg.help_heading("Protocol (the same at all nodes of a network)"),
        Some(("limits" | "traffic", _)) => arg.help_heading("Limits"),
        _ => arg.help_heading("Settings"),
    };
    let default = at(defaults, &key).filter(|default| !default.is_empty() && default != "false");
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    match default {
        Some(default) => arg.help(format!("{help} [default: {default}]")),
        None => arg,
    }
}

/// The value of a key in a table, as a person would write it.
fn at(table: &Table, key: &str) -> Option<String> {
    match key.split_once('.') {
        Some((section, rest)) => at(table.get(section)?.as_table()?, rest),
        None => match table.get(key)? {
            Value::String(text) => Some(text.clone()),
            Value::Array(values) => {
                Some(values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","))
            }
            other => Some(other.to_string()),
        },
    }
}

impl Cli {
    /// Reads the arguments of this process.
    ///
    /// # Errors
    /// When they are wrong, or ask for help or the version.
    pub fn from_arguments() -> Result<Self, clap::Error> {
        let matches = Self::definition(&NodeConfig::default()).try_get_matches()?;
        Self::from_arg_matches(&matches)
    }

    /// Commands and flags with their texts, of which the help, the manual and completions are made;
    /// `defaults` holds when nothing is set.
    pub fn definition(defaults: &NodeConfig) -> clap::Command {
        let defaults = Table::try_from(defaults).expect("defaults are plain values");
        let command = Self::command().mut_args(|arg| described(arg, &defaults));
        command.mut_subcommands(|sub| {
            let sub = sub.mut_args(|arg| described(arg, &defaults));
            sub.mut_subcommands(|sub| sub.mut_args(|arg| described(arg, &defaults)))
        })
    }

    /// Whether to print the configuration and end.
    pub fn print_config(&self) -> bool {
        self.options().print_config
    }

    /// What is to be done.
    pub fn task(&self) -> Task<'_> {
        match &self.command {
            None | Some(Command::Run(_)) => Task::Run,
            Some(Command::Backup { to, .. }) => Task::Backup(to),
            Some(Command::Status { json, .. }) => Task::Status { json: *json },
            Some(Command::Top { interval, count, .. }) => {
                Task::Top(Pace { every: *interval, count: *count })
            }
            Some(Command::Doctor { json, .. }) => Task::Doctor { json: *json },
            Some(Command::Drain { cancel: true, .. }) => Task::CancelDrain,
            Some(Command::Drain { status: true, json, .. }) => Task::ShowDrain { json: *json },
            Some(Command::Drain { json, .. }) => Task::Drain { json: *json },
            Some(Command::Verify { dir, .. }) => Task::Verify(dir.as_deref()),
            Some(Command::Restore { backup, to, .. }) => Task::Restore { backup, to },
            Some(Command::Block(Block::Add { entries, .. })) => Task::Block(Order::Add(entries)),
            Some(Command::Block(Block::Remove { entries, .. })) => {
                Task::Block(Order::Remove(entries))
            }
            Some(Command::Block(Block::List { json, .. })) => Task::ListBlocked { json: *json },
            Some(Command::List(List::Sign { key, valid, relays, .. })) => {
                Task::SignList { key, valid: *valid, relays }
            }
            Some(Command::List(List::Show { file, json, .. })) => {
                Task::ShowList { file, json: *json }
            }
            Some(Command::Check(_)) => Task::Check,
        }
    }

    /// The configuration of file, environment and flags.
    ///
    /// # Errors
    /// When the file cannot be read or has an unknown key, or a value is not possible.
    pub fn config(&self) -> Result<NodeConfig, ConfigError> {
        let options = self.options();
        let mut table = options.config.as_deref().map_or(Ok(Table::new()), read)?;
        if let Some(path) = &options.config {
            // By itself, so that a value that is wrong there is not looked for in the flags.
            let of_file: Result<NodeConfig, _> = table.clone().try_into();
            of_file.map_err(|error| in_file(path, &error))?;
        }
        let set = Table::try_from(&options.settings).expect("settings are plain values");
        for (key, value) in set {
            put(&mut table, &key, value);
        }
        let mut config: NodeConfig = table.try_into().map_err(|error| value_error(&error))?;
        if let Some(level) = level(options.verbose) {
            level.clone_into(&mut config.log.level);
        }
        config.validated().map_err(|error| ConfigError::Value(error.to_string()))
    }

    fn options(&self) -> &Options {
        match &self.command {
            Some(
                Command::Run(options)
                | Command::Backup { options, .. }
                | Command::Status { options, .. }
                | Command::Top { options, .. }
                | Command::Doctor { options, .. }
                | Command::Drain { options, .. }
                | Command::Verify { options, .. }
                | Command::Restore { options, .. }
                | Command::Block(
                    Block::Add { options, .. }
                    | Block::Remove { options, .. }
                    | Block::List { options, .. },
                )
                | Command::List(List::Sign { options, .. } | List::Show { options, .. })
                | Command::Check(options),
            ) => options,
            None => &self.options,
        }
    }
}

/// What a parser of flags says, in one line; for help and version it is the whole text.
pub fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    // The usage may take several lines, up to an empty one.
    let before_usage = text.split("\nUsage:").next().unwrap_or_default();
    let told = |line: &&str| !line.is_empty() && !line.starts_with("For more information");
    let lines: Vec<&str> = before_usage.lines().map(str::trim).filter(told).collect();
    let joined = lines.join("; ").replace(":; ", ": ");
    joined.trim_start_matches("error: ").to_owned()
}

fn level(verbose: u8) -> Option<&'static str> {
    match verbose {
        0 => None,
        1 => Some("info,comm_node=debug,comm_proto=debug"),
        _ => Some("info,comm_node=trace,comm_proto=trace"),
    }
}

fn read(path: &Path) -> Result<Table, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let table: Table = text.parse().map_err(|error| syntax_error(path, &text, &error))?;
    match first_unknown(&table, "") {
        Some(key) => {
            let nearest = nearest(&key);
            Err(ConfigError::UnknownKey { path: path.to_owned(), key, nearest })
        }
        None => Ok(table),
    }
}

fn syntax_error(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let before = error.span().map_or("", |span| text.get(..span.start).unwrap_or(text));
    let line = before.matches('\n').count() + 1;
    ConfigError::Syntax { path: path.to_owned(), line, reason: joined(error.message()) }
}

/// Without a text to point into, the error's lines are the reason and the key.
fn value_error(error: &toml::de::Error) -> ConfigError {
    ConfigError::Value(joined(&error.to_string()))
}

fn in_file(path: &Path, error: &toml::de::Error) -> ConfigError {
    ConfigError::Value(format!("{}: {}", path.display(), joined(&error.to_string())))
}

fn joined(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

fn first_unknown(table: &Table, section: &str) -> Option<String> {
    table.iter().find_map(|(name, value)| {
        let key = format!("{section}{name}");
        let inside = format!("{key}.");
        match value {
            Value::Table(inner) if KEYS.iter().any(|known| known.starts_with(&inside)) => {
                first_unknown(inner, &inside)
            }
            _ => (!KEYS.contains(&key.as_str())).then_some(key),
        }
    })
}

fn nearest(key: &str) -> &'static str {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    // A key in the wrong section is nearer than its full spelling shows.
    let distance = |known: &&&str| edits(key, known).min(1 + edits(&last(key), &last(known)));
    KEYS.iter().min_by_key(distance).copied().unwrap_or_default()
}

/// How many characters must be put in, left out or changed to make `b` of `a`.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.chars().enumerate() {
            let changed = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.chars().count()]
}

fn put(table: &mut Table, key: &str, value: Value) {
    let Some((section, rest)) = key.split_once('.') else {
        table.insert(key.to_owned(), value);
        return;
    };
    let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(inner) = inner {
        put(inner, rest, value);
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_nearest_key_is_the_one_that_was_meant() {
        for (written, meant) in [
            ("store.byte_max", "store.bytes_max"),
            ("bytes_max", "store.bytes_max"),
            ("datadir", "data_dir"),
            ("log.levle", "log.level"),
            ("api.connect_timeout", "limits.connect_timeout"),
        ] {
            assert_eq!(nearest(written), meant, "for {written}");
        }
    }

    #[test]
    fn edits_are_counted_as_by_hand() {
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("same", "same"), 0);
    }
}
