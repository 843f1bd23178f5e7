//! The words and flags of a call, as their parser, the help and the manual know them.
//!
//! Entry type is [`Arguments`]; what a call means is `arguments`' business. It needs nothing of the
//! program but [`crate::lifetime`], so that the example `manuals` can take it in as it is.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};
use comm::Endpoint;
use comm_proto::time::Span;

use crate::lifetime;

/// Every way to call it, one a line.
pub(crate) const USAGE: &str = "comm [OPTIONS] SECRET ADDR [BOOTSTRAP] [LINK]
       comm [OPTIONS] --node NODE SECRET [LINK]
       comm [OPTIONS] --identity IDENTITY ADDR [BOOTSTRAP] [LINK]
       comm address SECRET
       comm keygen [--raw]
       comm backup FILE [--data-dir DIR | SECRET]
       comm restore FILE [--data-dir DIR | SECRET]
       comm forget [--yes] [--data-dir DIR | SECRET]
       comm identity export FILE [SECRET]
       comm identity import FILE NAME
       comm identity passwd IDENTITY
       comm identity replace NEW [SECRET]
       comm identity list";

const DETAILS: &str = "\
SECRET is what your address is made of: whoever knows it is you. Others on this machine can read it
in the list of processes, so it is better given as \"-\" (asked for, without showing it; read from
standard input if that is no terminal), in the environment as COMM_SECRET, or with --secret-file.
With one of the latter two the word SECRET is left out. A secret that is the word of a command, such
as \"keygen\", must be given in one of these ways too. A secret of the form seed:<64 hexadecimal digits> is the key itself.

IDENTITY is the file of an identity under a pass-phrase, which \"comm identity export\" makes, or the NAME
under which one was imported; --identity takes the place of SECRET. The pass-phrase is asked for, or is the
first line of --passphrase-file, which may be /dev/fd/3.

ADDR is where your node listens for others, e.g. 127.0.0.1:7001 or [::1]:7001. BOOTSTRAP is HOST:PORT
of any node of the network; without one, yours is where a new network begins. LINK is somebody's, as
/link shows it in their chat: they become a contact of yours, and nodes that it names are used as
BOOTSTRAP.

Type /help in the chat for what can be said there. The program ends with 0 when it was told to or its
input ended, 1 when something failed, 2 when it was called wrongly.";

const COPIES: &str = "\
Two copies of one person's data must not be used at the same time: what one of them reads the other
never gets, and both number their messages alike.";

const EXPORTED: &str = "\
The file holds the key of the identity and nothing else: no contacts, no history, nothing that waits to be
sent, which \"comm backup\" copies. Without the backup its user has the address, and cannot open what was
sealed to their old data for up to 14 days; nobody they know is known to them until they are added again.";

const IMPORTED: &str = "\
Only the key is imported. Contacts and history come from a backup (\"comm restore\"); without one, what others
wrote within the last 14 days may not open here, and who was a contact has to be added again.";

const REPLACED: &str = "\
Contacts, history and settings go on under the new identity; start it and it tells everybody to whom you turned, until they
have read it. They see it, and have to compare the number with you again. What was on its way to you or from you stays
with the old identity: run it now and then for 30 days to see what still came. This cannot be undone, and is done
once: of two successors the second is taken for a thief's. If it is broken off, the old identity can say nothing from
then on; run the same command again, which finishes it, before you start the new one.";

/// Chat over the comm network.
#[derive(Debug, Parser)]
#[command(
    name = "comm",
    version,
    override_usage = USAGE,
    after_help = DETAILS,
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) chat: ChatArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print a new strong secret.
    Keygen {
        /// Print a raw key (seed:...) instead, which needs no slow derivation.
        #[arg(long)]
        raw: bool,
    },
    /// Copy the data of a person whose comm is not running to a new file, sealed as it is.
    Backup {
        /// The new file. In a chat that runs, /backup FILE does the same.
        file: PathBuf,
        #[command(flatten)]
        whose: WhoseArguments,
    },
    /// Restore a backup; refuses if there is data already.
    #[command(after_help = COPIES)]
    Restore {
        /// The backup; it stays.
        file: PathBuf,
        #[command(flatten)]
        whose: WhoseArguments,
    },
    /// Remove everything of a person from this machine; asks first.
    Forget {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        whose: WhoseArguments,
    },
    /// Identities in files under a pass-phrase.
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// Print the address of a secret and nothing else.
    Address {
        /// The secret, or "-" to be asked for it.
        #[arg(hide = true)]
        secret: Option<OsString>,
        /// Read the secret from the first line of this file.
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum IdentityCommand {
    /// Write the identity of a secret to a new file, under a pass-phrase.
    #[command(after_help = EXPORTED)]
    Export {
        /// The new file.
        file: PathBuf,
        #[command(flatten)]
        of: OfArguments,
        #[command(flatten)]
        passphrase: PassphraseArguments,
    },
    /// Keep a copy of an identity file under a name, once its pass-phrase opens it.
    #[command(after_help = IMPORTED)]
    Import {
        /// The file; it stays.
        file: PathBuf,
        /// What it is to be called on this machine: letters, digits, "-", "_" and ".".
        name: String,
        #[command(flatten)]
        passphrase: PassphraseArguments,
    },
    /// Give an identity file another pass-phrase. One whole file is there at every instant.
    Passwd {
        /// The file, or the name of an imported one.
        identity: OsString,
        #[command(flatten)]
        passphrase: PassphraseArguments,
        /// Read the new pass-phrase from the first line of this file.
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
    },
    /// Go on as another identity: make its data of this one's, signed by both, so that contacts follow.
    #[command(after_help = REPLACED)]
    Replace {
        /// The file of the new identity, or the name of an imported one.
        new: OsString,
        #[command(flatten)]
        of: OfArguments,
        /// Read the pass-phrase of the new identity from the first line of this file.
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
        /// The old identity, as a file or a name, in place of a secret.
        #[arg(long, value_name = "IDENTITY", conflicts_with_all = ["secret", "secret_file"])]
        identity: Option<OsString>,
        #[command(flatten)]
        passphrase: PassphraseArguments,
        /// Where the data of the old identity is.
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
        /// Where the data of the new identity is to be.
        #[arg(long, value_name = "DIR")]
        new_data_dir: Option<PathBuf>,
    },
    /// Print the names of all imported identities.
    List,
}

#[derive(Debug, Args)]
pub(crate) struct PassphraseArguments {
    /// Read the pass-phrase from the first line of this file, e.g. /dev/fd/3, rather than ask for it.
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct OfArguments {
    /// The secret whose identity is written, or "-" to be asked for it.
    #[arg(hide = true)]
    pub(crate) secret: Option<OsString>,
    /// Read the secret from the first line of this file.
    #[arg(long, value_name = "FILE", conflicts_with = "secret")]
    pub(crate) secret_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ChatArguments {
    /// SECRET, ADDR, BOOTSTRAP and LINK, as far as they are not given otherwise.
    #[arg(hide = true, num_args = 0..=4)]
    pub(crate) words: Vec<OsString>,
    /// Read the secret from the first line of this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Be the identity of this file, or of this name, in place of a secret; its pass-phrase is asked for.
    #[arg(long, value_name = "IDENTITY", conflicts_with = "secret_file")]
    pub(crate) identity: Option<OsString>,
    /// Read the pass-phrase of the identity from the first line of this file rather than ask for it.
    #[arg(long, value_name = "FILE", requires = "identity")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Use a running comm-node: the path of its socket, or http://HOST:PORT.
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<Endpoint>,
    /// The file with the token of a node at http://HOST:PORT.
    #[arg(long, value_name = "FILE", requires = "node")]
    pub(crate) token_file: Option<PathBuf>,
    /// Keep everything in this directory instead of one for each address under ~/.local/share/comm.
    #[arg(long, value_name = "DIR", env = "COMM_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Put files that you take into this directory instead of "downloads" beside your data.
    #[arg(long, value_name = "DIR", env = "COMM_DOWNLOAD_DIR")]
    pub(crate) download_dir: Option<PathBuf>,
    /// The name of the network; only nodes of the same network talk to each other.
    #[arg(long, value_name = "NAME", conflicts_with = "node")]
    pub(crate) network: Option<String>,
    /// The file with the key of a private network: 64 hexadecimal digits that all its nodes share. A
    /// node given with --node has its own setting.
    #[arg(long, value_name = "FILE", env = "COMM_NETWORK_KEY_FILE")]
    pub(crate) network_key_file: Option<PathBuf>,
    /// How long your messages wait for their reader: 10m to 30d, in minutes, hours or days.
    #[arg(long, value_name = "TIME", default_value = "14d", value_parser = lifetime::parse)]
    pub(crate) ttl: Span,
    /// Print one JSON object per line.
    #[arg(long)]
    pub(crate) json: bool,
    /// Keep running when the input ends.
    #[arg(long)]
    pub(crate) daemon: bool,
    /// Ring no bell when a message comes; `/bell on` in the chat rings it again.
    #[arg(long)]
    pub(crate) no_bell: bool,
    /// Log to standard error: -v problems with other nodes, -vv every step.
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Args)]
pub(crate) struct WhoseArguments {
    /// The secret whose usual data directory is meant, or "-" to be asked for it.
    #[arg(hide = true)]
    pub(crate) secret: Option<OsString>,
    /// Read the secret from the first line of this file.
    #[arg(long, value_name = "FILE", conflicts_with = "secret")]
    pub(crate) secret_file: Option<PathBuf>,
    /// The identity whose usual data directory is meant, as a file or a name; its pass-phrase is asked for.
    #[arg(long, value_name = "IDENTITY", conflicts_with_all = ["secret", "secret_file"])]
    pub(crate) identity: Option<OsString>,
    /// Read that pass-phrase from the first line of this file.
    #[arg(long, value_name = "FILE", requires = "identity")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// The data directory; no secret is needed then.
    #[arg(long, value_name = "DIR", env = "COMM_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}
