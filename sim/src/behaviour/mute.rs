//! Adversaries that work by leaving out.

use comm_proto::address::Address;
use comm_proto::message::{Push, Request, Response};
use comm_proto::node::Output;

use super::{Behaviour, Reaction, Scene};

/// Answers nothing but pings, and so stays in tables.
pub(super) struct Mute;

/// Swallows acknowledgements. What its node learns of by pushes and from answers it still obeys.
pub(super) struct DropAcknowledgements;

impl Behaviour for Mute {
    fn on_request(&mut self, _: &mut Scene<'_>, _: &Address, request: &Request) -> Reaction {
        match request {
            Request::Ping { .. } => Reaction::Pass,
            _ => Reaction::Silence,
        }
    }
}

impl Behaviour for DropAcknowledgements {
    fn on_request(&mut self, _: &mut Scene<'_>, _: &Address, request: &Request) -> Reaction {
        match request {
            Request::Acknowledge { .. } => Reaction::Answer(Box::new(Ok(Response::Done))),
            _ => Reaction::Pass,
        }
    }

    fn on_output(&mut self, _: &mut Scene<'_>, mut output: Output) -> Option<Output> {
        match &mut output {
            Output::Call { request: Request::Acknowledge { .. }, .. }
            | Output::Push { push: Push::Acknowledgements(_), .. } => return None,
            Output::Reply {
                result:
                    Ok(
                        Response::Offered { acknowledgements, .. }
                        | Response::Digested { acknowledgements, .. }
                        | Response::Delivered { acknowledgements, .. },
                    ),
                ..
            } => acknowledgements.clear(),
            _ => {}
        }
        Some(output)
    }
}

#[cfg(test)]
mod tests {
    use comm_proto::acknowledgement::Acknowledgement;
    use comm_proto::envelope::EnvelopeId;
    use comm_proto::key::KeyPair;
    use comm_proto::node::RequestId;
    use comm_proto::time::Time;

    use super::*;
    use crate::behaviour::stage::Props;

    #[test]
    fn no_acknowledgement_leaves_by_whatever_way_and_all_else_does() {
        let (key, mut props) = (KeyPair::from_seed(&[1; 32]), Props::default());
        let mut scene = props.scene(Time::ZERO);
        let id = EnvelopeId::from_bytes([7; 32]);
        let acknowledgement = Acknowledgement::sign(&key, vec![id], Time::ZERO).unwrap();
        let mut left = |output| DropAcknowledgements.on_output(&mut scene, output);
        let push = Push::Acknowledgements(vec![acknowledgement.clone()]);
        assert_eq!(left(Output::Push { to: key.address(), push }), None);
        let answer = |acknowledgements| Output::Reply {
            id: RequestId(1),
            result: Ok(Response::Offered { wanted: vec![id], receipts: vec![], acknowledgements }),
        };
        assert_eq!(left(answer(vec![acknowledgement])), Some(answer(vec![])));
        let other = Output::Push { to: key.address(), push: Push::Waiting(vec![]) };
        assert_eq!(left(other.clone()), Some(other));
    }
}
