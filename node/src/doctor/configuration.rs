//! What a configuration says that may not be meant.
//!
//! Entry function is [`hints`]. Whether it can be used at all is [`crate::config`]'s business.

use std::net::SocketAddr;

use super::finding::Finding;
use super::reach::Told;
use crate::clock::Clock;
use crate::config::NodeConfig;
use crate::port_mapping::is_public;

/// Hints about a configuration; `asked` are relays that say how this one is seen, and `peers` is how many it
/// knows, if it runs.
pub(super) fn hints(config: &NodeConfig, asked: &[Told], peers: Option<u64>) -> Vec<Finding> {
    let hints = [
        needless_leaf(config, asked),
        open_metrics(config),
        unreadable_files(config),
        no_bootstrap(config, peers),
        not_advertised(config, peers),
    ];
    let hints: Vec<_> = hints.into_iter().flatten().collect();
    match hints.is_empty() {
        true => vec![Finding::good(CHECK, "nothing in it looks unmeant")],
        false => hints,
    }
}

const CHECK: &str = "configuration";

fn needless_leaf(config: &NodeConfig, asked: &[Told]) -> Option<Finding> {
    let own_and_seen = asked.iter().filter_map(|told| {
        let view = told.view.as_ref().ok()?;
        view.observed.map(|seen| seen.ip()).filter(|seen| *seen == view.local.ip())
    });
    let public = own_and_seen.into_iter().find(is_public)?;
    config.leaf.then(|| {
        Finding::notice(
            CHECK,
            format!("leaf = true, though {public} is this machine's own address"),
        )
        .with(
            "if the firewall lets TCP port 7667 in, take `leaf` out and set `advertise`: others \
                 would be served too",
        )
    })
}

fn open_metrics(config: &NodeConfig) -> Option<Finding> {
    let place = config.metrics.listen.filter(is_open_to_others)?;
    let found = format!("whoever reaches {place} can read the metrics: they have no password");
    Some(
        Finding::notice(CHECK, found).with("set `metrics.listen` to a loopback or private address"),
    )
}

fn unreadable_files(config: &NodeConfig) -> Option<Finding> {
    let failed = |reason: String| Finding::problem(CHECK, reason).with("mend or replace the file");
    if let Err(error) = config.block_list() {
        return Some(failed(error.to_string()));
    }
    if let Err(error) = config.relay_lists(Clock::new().now()) {
        return Some(failed(error.to_string()));
    }
    let key = config.network_key_file.as_deref().map(crate::data_dir::network_key)?;
    key.err().map(|error| failed(error.to_string()))
}

fn no_bootstrap(config: &NodeConfig, peers: Option<u64>) -> Option<Finding> {
    let has_sources = !config.bootstrap.is_empty() || config.discovery.has_sources();
    (!has_sources && peers.unwrap_or(0) == 0).then(|| {
        Finding::notice(CHECK, "`bootstrap` is empty: it waits until others call")
            .with("name two or three relays of the network in `bootstrap`")
    })
}

/// Of a relay that runs, others say more.
fn not_advertised(config: &NodeConfig, peers: Option<u64>) -> Option<Finding> {
    let tells_nobody =
        !config.leaf && !config.port_mapping && config.endpoints(&config.listen).is_empty();
    (tells_nobody && peers.is_none()).then(|| {
        let found = "others are not told where to reach it: it listens on every address, and `advertise` \
                     is empty";
        Finding::notice(CHECK, found)
            .with("set `advertise` to the address and port at which others reach it, or `leaf = true`")
    })
}

/// On every address counts: one of them may be public.
fn is_open_to_others(place: &SocketAddr) -> bool {
    place.ip().is_unspecified() || is_public(&place.ip())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::doctor::finding::State;
    use crate::links::probe::View;

    fn place(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn found(config: &NodeConfig, asked: &[Told], peers: Option<u64>) -> String {
        let hints = hints(config, asked, peers);
        hints.iter().map(|hint| format!("{} {}\n", hint.check, hint.found)).collect()
    }

    fn well() -> NodeConfig {
        NodeConfig {
            advertise: vec![place("192.0.2.1:7667")],
            bootstrap: vec!["192.0.2.9:7667".parse().unwrap()],
            ..NodeConfig::default()
        }
    }

    fn seen(local: &str, observed: &str) -> Told {
        let view = View {
            local: place(local),
            observed: Some(place(observed)),
            round_trip: Duration::ZERO,
            ahead_millis: 0,
            dialled: Vec::new(),
        };
        Told { asked: place("203.0.113.1:1"), view: Ok(view) }
    }

    #[test]
    fn what_looks_meant_is_left_alone() {
        let hints = hints(&well(), &[seen("192.0.2.1:5", "192.0.2.1:5")], Some(3));
        assert_eq!((hints.len(), hints[0].state), (1, State::Good));
    }

    #[test]
    fn a_leaf_that_others_could_reach_is_told_of_it() {
        let leaf = NodeConfig { leaf: true, advertise: Vec::new(), ..well() };
        let own = found(&leaf, &[seen("192.0.2.1:5", "192.0.2.1:5")], Some(3));
        assert!(own.contains("192.0.2.1 is this machine's own address"), "{own}");
        for (local, observed) in [
            ("10.0.0.2:5", "192.0.2.1:5"),
            ("10.0.0.2:5", "10.0.0.2:5"),
            ("100.64.0.1:5", "100.64.0.1:5"),
        ] {
            let behind = found(&leaf, &[seen(local, observed)], Some(3));
            assert!(!behind.contains("leaf"), "{behind}");
        }
    }

    #[test]
    fn metrics_for_everybody_are_named_and_those_of_a_network_of_ones_own_are_not() {
        for (listen, is_open) in [
            ("0.0.0.0:7669", true),
            ("[::]:7669", true),
            ("203.0.113.1:7669", true),
            ("127.0.0.1:7669", false),
            ("192.168.1.2:7669", false),
            ("[fd00::1]:7669", false),
        ] {
            let mut config = well();
            config.metrics.listen = Some(place(listen));
            assert_eq!(found(&config, &[], Some(3)).contains("metrics"), is_open, "{listen}");
        }
    }

    #[test]
    fn who_knows_nobody_is_told_to_name_some() {
        let alone = NodeConfig { bootstrap: Vec::new(), ..well() };
        assert!(found(&alone, &[], Some(0)).contains("`bootstrap` is empty"));
        assert!(found(&alone, &[], None).contains("`bootstrap` is empty"));
        assert!(!found(&alone, &[], Some(1)).contains("`bootstrap`"));
    }

    #[test]
    fn a_missing_address_is_named_when_no_relay_runs_that_others_could_speak_of() {
        let config = NodeConfig { advertise: Vec::new(), ..well() };
        assert!(found(&config, &[], None).contains("`advertise` is empty"));
        assert!(!found(&config, &[], Some(3)).contains("`advertise`"));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_problem() {
        let mut config = well();
        config.block.file = Some("/nowhere/blocks".into());
        let hints = hints(&config, &[], Some(3));
        assert_eq!(hints[0].state, State::Problem);
        assert!(hints[0].found.contains("/nowhere/blocks"), "{hints:?}");
    }
}
