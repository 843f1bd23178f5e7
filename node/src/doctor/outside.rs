//! What is wrong with the ways in which a relay finds others, and with the port that its router forwards.
//!
//! Entry functions are [`sources`] and [`forwarding`].

use std::net::SocketAddr;

use super::finding::Finding;
use crate::port_mapping::{NOWHERE, is_public};
use crate::status::{Beginning, Forwarding};

/// One finding for each source that is of no use, or one for all if none is. Without any other relay that is
/// a problem; else the relay works, and later starts may not.
pub(super) fn sources(sources: &[Beginning], is_alone: bool) -> Vec<Finding> {
    const CHECK: &str = "sources";
    // In most local networks there is nobody else, which matters only to whoever knows nobody.
    let is_dead = |one: &&Beginning| one.trouble.is_some() && (is_alone || one.kind != "lan");
    let dead: Vec<&Beginning> = sources.iter().filter(is_dead).collect();
    if dead.is_empty() {
        let works = sources.iter().filter(|one| one.answered > 0).count();
        let found =
            format!("{works} of {} sources of relays to begin with have worked", sources.len());
        return (!sources.is_empty()).then(|| Finding::good(CHECK, found)).into_iter().collect();
    }
    let finding = |one: &&Beginning| {
        let found = match is_alone {
            true => Finding::problem(CHECK, one.to_string()),
            false => Finding::notice(CHECK, one.to_string()),
        };
        found.with(advice(&one.kind))
    };
    dead.iter().map(finding).collect()
}

fn advice(kind: &str) -> &'static str {
    match kind {
        "dns" => "see the name, its TXT records (`dig TXT NAME`) and /etc/resolv.conf",
        "list" => {
            "get a newer list from its signer; `comm-node list show FILE` says what is in this one"
        }
        "lan" => {
            "nothing, if no other relay is to be here; else see whether the firewall lets UDP port 5353 \
             through, and whether the other one has `discovery.lan` set"
        }
        _ => "name another relay in `bootstrap`, if this one is gone for good",
    }
}

pub(super) fn forwarding(forwarding: &Forwarding) -> Finding {
    const CHECK: &str = "port-mapping";
    let by_hand = "have the router take requests by UPnP, PCP or NAT-PMP, or forward the port there by hand, \
                   set `advertise` and take out `port_mapping`";
    let external = forwarding.external.as_ref().and_then(|at| at.parse::<SocketAddr>().ok());
    match (external, &forwarding.trouble) {
        (Some(at), _) if is_public(&at.ip()) => {
            Finding::good(CHECK, format!("the router forwards {forwarding}"))
        }
        (Some(at), _) => {
            let found =
                format!("the router forwards a port, but at {at} it is behind another NAT itself");
            Finding::notice(CHECK, found)
                .with("others cannot reach it so: forward the port at the outer one too, or set `leaf = true`")
        }
        (None, Some(trouble)) if trouble == NOWHERE => Finding::problem(CHECK, trouble.clone())
            .with("add 0.0.0.0:7667 to `listen`, or take out `port_mapping`"),
        (None, Some(trouble)) => Finding::notice(CHECK, trouble.clone()).with(by_hand),
        (None, None) => {
            Finding::unknown(CHECK, forwarding.to_string()).with("ask again in a moment")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    fn source(kind: &str, answered: u64, trouble: Option<&str>) -> Beginning {
        let (kind, name) = (kind.to_owned(), "here".to_owned());
        Beginning { kind, name, named: 1, answered, trouble: trouble.map(str::to_owned) }
    }

    #[test]
    fn each_dead_source_is_named_with_its_reason_and_what_to_do() {
        let all = [source("dns", 1, None), source("list", 0, Some("it has expired"))];
        let found = sources(&all, false);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].state, State::Notice);
        assert_eq!(found[0].found, "list here: it has expired");
        assert!(found[0].advice.as_ref().unwrap().contains("comm-node list show"));
        assert_eq!(sources(&all, true)[0].state, State::Problem);
        assert_eq!(sources(&all[..1], true)[0].state, State::Good);
        assert!(sources(&[], true).is_empty());
        let quiet = [source("dns", 1, None), source("lan", 0, Some("nobody is there"))];
        assert_eq!(sources(&quiet, false)[0].state, State::Good);
        assert_eq!(sources(&quiet, true)[0].state, State::Problem);
        let kinds = ["configuration", "dns", "list", "lan"];
        let advices: std::collections::BTreeSet<_> = kinds.into_iter().map(advice).collect();
        assert_eq!(advices.len(), kinds.len());
    }

    #[test]
    fn a_forwarded_port_is_good_if_the_router_has_a_public_address() {
        let mapped = |external: Option<&str>, trouble: Option<&str>| {
            let protocol = external.map(|_| "PCP".to_owned());
            let (external, trouble) = (external.map(str::to_owned), trouble.map(str::to_owned));
            forwarding(&Forwarding { protocol, external, trouble })
        };
        assert_eq!(mapped(Some("198.51.100.7:7667"), None).state, State::Good);
        let behind = mapped(Some("10.0.0.7:7667"), None);
        assert!(
            behind.state == State::Notice && behind.found.contains("another NAT"),
            "{behind:?}"
        );
        let refused = mapped(None, Some("the router 192.168.0.1 does not answer"));
        assert!(refused.state == State::Notice && refused.found.contains("192.168.0.1"));
        let nowhere = mapped(None, Some(NOWHERE));
        assert!(nowhere.advice.as_ref().unwrap().contains("to `listen`"), "{nowhere:?}");
        assert_eq!(nowhere.state, State::Problem);
        assert_eq!(mapped(None, None).state, State::Unknown);
    }
}
