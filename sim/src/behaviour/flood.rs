//! Spam: envelopes of one's own, as many as the scenario says.

use bytes::Bytes;
use comm_proto::address::Address;
use comm_proto::envelope::{Envelope, Header, SizeClass, Suite};
use comm_proto::message::Request;
use comm_proto::node::Output;
use comm_proto::time::Time;
use rand_core::RngCore;

use super::beat::Beat;
use super::met::Met;
use super::{Behaviour, Call, Scene};

/// Honest but for the envelopes that it hands to others, one at a time, as a person's node does to its
/// entries. They go to the victim's mailbox if there is one, else each to a mailbox of its own, and end
/// when the honest ones do.
#[derive(Default)]
pub(super) struct Flood {
    beat: Beat,
    met: Met,
}

impl Behaviour for Flood {
    fn on_output(&mut self, scene: &mut Scene<'_>, output: Output) -> Option<Output> {
        self.met.note(scene, &output);
        Some(output)
    }

    fn next_act(&self) -> Option<Time> {
        self.beat.next()
    }

    fn act(&mut self, scene: &mut Scene<'_>) -> Vec<Call> {
        if !self.beat.strikes(scene) || scene.now >= scene.plot.end {
            return Vec::new();
        }
        let Some(to) = self.met.draw(scene) else { return Vec::new() };
        let envelopes = spam(scene).into_iter().collect();
        vec![Call::new(to, Request::Deliver { envelopes })]
    }
}

fn spam(scene: &mut Scene<'_>) -> Option<Envelope> {
    let mut random = [0; Address::LEN];
    scene.rng.fill_bytes(&mut random);
    let mailbox = scene.plot.victim.unwrap_or(Address::from_bytes(random));
    let expires_at = scene.now + scene.plot.ttl;
    let mut body = vec![0xa5; SizeClass::K1.body_len()];
    scene.rng.fill_bytes(&mut body[..16]);
    let header = Header { suite: Suite::ONE, mailbox, expires_at, stamp_nonce: 0 };
    Envelope::new(header, Bytes::from(body)).ok()
}

#[cfg(test)]
mod tests {
    use comm_proto::node::CallId;
    use comm_proto::time::Span;

    use super::*;
    use crate::behaviour::Says;
    use crate::behaviour::stage::{Props, contact};

    const AT: Time = Time::from_millis(100);

    fn spam_of(props: &mut Props, count: usize) -> Vec<Envelope> {
        let (mut flood, request) = (Flood::default(), Request::Ping { endpoints: Vec::new() });
        let call = Output::Call { id: CallId(1), to: contact(3), request, deadline: AT };
        assert_eq!(flood.on_output(&mut props.scene(AT), call.clone()), Some(call));
        let says = (0..count).flat_map(|_| flood.act(&mut props.scene(AT))).map(|call| call.says);
        let envelopes = says.flat_map(|says| match says {
            Says::Request(request) => match *request {
                Request::Deliver { envelopes } => envelopes,
                other => panic!("{other:?}"),
            },
            Says::Forged(message) => panic!("{message:?}"),
        });
        envelopes.collect()
    }

    fn props() -> Props {
        let mut props = Props::default();
        props.plot.every = Span::from_millis(10);
        props.plot.end = Time::from_millis(1_000);
        props.plot.ttl = Span::HOUR;
        props
    }

    #[test]
    fn spam_is_valid_goes_anywhere_and_is_never_the_same() {
        let spam = spam_of(&mut props(), 5);
        assert_eq!(spam.len(), 5);
        assert!(spam.iter().all(|one| one.check_expiry(AT).is_ok()));
        assert!(spam.windows(2).all(|two| two[0].mailbox() != two[1].mailbox()));
    }

    #[test]
    fn with_a_victim_all_of_it_goes_there_and_it_ends_with_the_traffic() {
        let mut props = props();
        props.plot.victim = Some(contact(9).address());
        let spam = spam_of(&mut props, 3);
        assert!(spam.iter().all(|one| one.mailbox() == contact(9).address()));
        assert!(spam[0].id() != spam[1].id());
        props.plot.end = AT;
        assert!(spam_of(&mut props, 3).is_empty());
    }
}
