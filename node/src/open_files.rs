//! The limit of open files: every connection, and every file of the store, counts against it.
//!
//! Entry function is [`raise`]. Systems give programs a low limit that they may raise themselves up to
//! a higher one, for the sake of old programs that cannot have more; this is none.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

use crate::config::NodeConfig;
use crate::links::accept::AcceptLimits;
use crate::links::dial::DialLimits;
use crate::{api, store};

/// Listening sockets, logs, and what is opened for a moment.
const BESIDES: u64 = 64;

/// Raises the limit of this process as far as it may, and says so if that is too little for
/// everything that a node of `config` may have open at the same time.
pub(crate) fn raise(config: &NodeConfig) {
    let (before, needed) = (getrlimit(Resource::Nofile), needed(config));
    // None stands for no limit.
    if before.current.is_some() && before.current != before.maximum {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: before.maximum, ..before });
        if let Err(error) = raised {
            warn!(%error, "the limit of open files cannot be raised");
        }
    }
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < needed => warn!(
            limit,
            needed,
            "the limit of open files is lower than what this configuration can need: connections \
             will be turned away when there are many. Raise it (`LimitNOFILE=` of the unit, \
             `ulimit -H -n` of the shell)"
        ),
        limit => debug!(limit, needed, "files that may be open at the same time"),
    }
}

/// Files that a node of `config` can have open at the same time.
pub(crate) fn needed(config: &NodeConfig) -> u64 {
    let dial = DialLimits::default();
    let accepted = if config.leaf { 0 } else { AcceptLimits::default().links };
    let listeners = 1 + usize::from(config.api.tcp.is_some());
    let connections = accepted + dial.links + dial.dials + listeners * api::CONNECTIONS_MAX;
    (connections + store::FILES_MAX) as u64 + BESIDES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_needs_fewer_files_by_the_links_that_it_accepts() {
        let leaf = NodeConfig { leaf: true, ..NodeConfig::default() };
        assert_eq!(needed(&NodeConfig::default()) - needed(&leaf), 1_024);
        assert!(needed(&leaf) > 1_024, "more than the usual limit, so it has to be raised");
    }
}
