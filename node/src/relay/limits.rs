//! What a configuration means for links: bounds on those that are accepted and those that are dialled.
//!
//! Entry functions are [`accept_limits`], [`dial_limits`] and [`keep_alive`]. They only translate; whether
//! a value is possible was looked at before.

use crate::config::NodeConfig;
use crate::links::KeepAlive;
use crate::links::accept::AcceptLimits;
use crate::links::dial::DialLimits;
use crate::links::gate::SourceLimits;
use crate::links::standstill::Standstill;

pub(super) fn accept_limits(config: &NodeConfig) -> AcceptLimits {
    let limits = &config.limits;
    AcceptLimits {
        handshake: limits.handshake_timeout.duration(),
        standstill: standstill(config),
        source: SourceLimits {
            connections: limits.connections_per_ip,
            new_per_minute: limits.connections_per_ip_per_minute,
            ..SourceLimits::default()
        },
        ..AcceptLimits::default()
    }
}

pub(super) fn dial_limits(config: &NodeConfig) -> DialLimits {
    DialLimits {
        connect: config.limits.connect_timeout.duration(),
        handshake: config.limits.handshake_timeout.duration(),
        standstill: standstill(config),
        keep_alive: keep_alive(config),
        calls: config.limits.calls_max,
        ..DialLimits::default()
    }
}

fn standstill(config: &NodeConfig) -> Standstill {
    let limits = &config.limits;
    Standstill { read: limits.read_timeout.duration(), write: limits.write_timeout.duration() }
}

pub(super) fn keep_alive(config: &NodeConfig) -> KeepAlive {
    let limits = &config.limits;
    KeepAlive { every: limits.ping_interval.duration(), patience: limits.ping_timeout.duration() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use comm_proto::time::Span;

    use super::*;
    use crate::config::units::Interval;

    #[test]
    fn every_time_of_a_link_is_as_it_was_configured() {
        let mut config = NodeConfig::default();
        let seconds = |secs| Interval(Span::from_secs(secs));
        config.limits.connect_timeout = seconds(1);
        config.limits.handshake_timeout = seconds(2);
        config.limits.write_timeout = seconds(3);
        config.limits.read_timeout = seconds(4);
        config.limits.ping_interval = seconds(5);
        config.limits.ping_timeout = seconds(6);
        let [one, two, three, four, five, six] = [1, 2, 3, 4, 5, 6].map(Duration::from_secs);
        let (dial, accept) = (dial_limits(&config), accept_limits(&config));
        let standstill = Standstill { read: four, write: three };
        assert_eq!((dial.connect, dial.handshake, dial.standstill), (one, two, standstill));
        assert_eq!((accept.handshake, accept.standstill), (two, standstill));
        assert_eq!(dial.keep_alive, KeepAlive { every: five, patience: six });
        assert_eq!(keep_alive(&config), dial.keep_alive);
        // What is configured when nothing is, is what holds when nothing is configured.
        let config = NodeConfig::default();
        let dial = dial_limits(&config);
        assert_eq!((dial.standstill, dial.keep_alive), (<_>::default(), <_>::default()));
    }
}
