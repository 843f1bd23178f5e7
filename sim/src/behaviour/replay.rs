//! Repeating what others have said.

use comm_proto::acknowledgement::Acknowledgement;
use comm_proto::address::Address;
use comm_proto::message::{Push, Request};
use comm_proto::node::Output;
use comm_proto::time::Time;
use comm_proto::verified::Verified;
use comm_proto::wire::peer;
use rand_core::RngCore;

use super::beat::Beat;
use super::met::Met;
use super::{Behaviour, Call, Reaction, Scene};

/// Most that is remembered; of more, a part drawn at random.
const SAID_MAX: usize = 256;

/// Honest, but says again to anybody whatever it was told about envelopes: bodies, offers,
/// acknowledgements and receipts, for as long as the world lasts, be they over or not.
#[derive(Default)]
pub(super) struct Replay {
    beat: Beat,
    met: Met,
    said: Vec<Request>,
}

impl Behaviour for Replay {
    fn on_request(&mut self, scene: &mut Scene<'_>, _: &Address, request: &Request) -> Reaction {
        if let Request::Deliver { .. }
        | Request::Offer { .. }
        | Request::Acknowledge { .. }
        | Request::Receipts { .. } = request
        {
            self.remember(scene, request.clone());
        }
        Reaction::Pass
    }

    fn on_push(&mut self, scene: &mut Scene<'_>, _: &Address, push: Push) -> Option<Push> {
        match push.clone() {
            Push::Acknowledgements(acknowledgements) => {
                self.remember(scene, acknowledge(acknowledgements));
            }
            Push::Receipts(receipts) => self.remember(scene, Request::Receipts { receipts }),
            Push::Waiting(_) => {}
        }
        Some(push)
    }

    fn on_output(&mut self, scene: &mut Scene<'_>, output: Output) -> Option<Output> {
        self.met.note(scene, &output);
        Some(output)
    }

    fn next_act(&self) -> Option<Time> {
        self.beat.next()
    }

    fn act(&mut self, scene: &mut Scene<'_>) -> Vec<Call> {
        if !self.beat.strikes(scene) {
            return Vec::new();
        }
        let again = scene.rng.next_u64().checked_rem(self.said.len() as u64);
        let again = again.and_then(|number| self.said.get(number as usize).cloned());
        let call = again.zip(self.met.draw(scene));
        // What was valid when it was said need not be any more: it is read again.
        call.map(|(again, to)| Call::forged(to, peer::Request::from(again))).into_iter().collect()
    }
}

impl Replay {
    fn remember(&mut self, scene: &mut Scene<'_>, said: Request) {
        if self.said.len() < SAID_MAX {
            self.said.push(said);
        } else {
            self.said[(scene.rng.next_u64() % SAID_MAX as u64) as usize] = said;
        }
    }
}

fn acknowledge(acknowledgements: Vec<Verified<Acknowledgement>>) -> Request {
    Request::Acknowledge { acknowledgements }
}

#[cfg(test)]
mod tests {
    use comm_proto::envelope::EnvelopeId;
    use comm_proto::key::KeyPair;
    use comm_proto::node::CallId;
    use comm_proto::rejection::Rejection;
    use comm_proto::time::Span;
    use comm_proto::wire::decode;

    use super::*;
    use crate::behaviour::Says;
    use crate::behaviour::stage::{Props, contact};

    #[test]
    fn what_was_heard_passes_and_is_said_again_even_when_it_is_over() {
        let mut props = Props::default();
        props.plot.every = Span::from_millis(10);
        let (mut replay, early, late) =
            (Replay::default(), Time::from_millis(100), Time::from_millis(9_000));
        let (to, request) = (contact(3), Request::Ping { endpoints: Vec::new() });
        let call = Output::Call { id: CallId(1), to: to.clone(), request, deadline: early };
        replay.on_output(&mut props.scene(early), call);
        assert!(replay.act(&mut props.scene(early)).is_empty(), "it has heard nothing");
        let id = EnvelopeId::from_bytes([7; 32]);
        let mailbox = KeyPair::from_seed(&[4; 32]);
        let told = Acknowledgement::sign(&mailbox, vec![id], Time::from_millis(5_000)).unwrap();
        let push = Push::Acknowledgements(vec![told]);
        let passed = replay.on_push(&mut props.scene(early), &to.address(), push.clone());
        assert_eq!(passed, Some(push));
        let calls = replay.act(&mut props.scene(late));
        let [Call { to: whom, says: Says::Forged(message) }] = &calls[..] else { panic!() };
        assert_eq!(*whom, to);
        assert!(decode::request((**message).clone(), early).is_ok());
        assert_eq!(decode::request((**message).clone(), late), Err(Rejection::Expired));
    }

    #[test]
    fn questions_are_not_repeated() {
        let (mut props, mut replay) = (Props::default(), Replay::default());
        let (scene, from) = (&mut props.scene(Time::ZERO), contact(3).address());
        replay.on_request(scene, &from, &Request::FindNode { target: from });
        assert!(replay.said.is_empty());
        let offer = Request::Offer { ids: vec![EnvelopeId::from_bytes([7; 32])] };
        assert_eq!(replay.on_request(scene, &from, &offer), Reaction::Pass);
        assert_eq!(replay.said, [offer]);
    }
}
