//! Adversaries that work by leaving out.

use comm_proto::address::Address;
use comm_proto::message::{Push, Request, Response};
use comm_proto::node::{CallId, Output};
use comm_proto::rejection::Rejection;

use super::{Behaviour, Reaction, Scene};

/// Answers nothing but pings, and so stays in tables.
pub(super) struct Mute;

/// Swallows acknowledgements, whichever way they come or go. Its node learns of none.
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

    fn on_push(&mut self, _: &mut Scene<'_>, _: &Address, push: Push) -> Option<Push> {
        match push {
            Push::Acknowledgements(_) => None,
            other => Some(other),
        }
    }

    fn on_response(
        &mut self,
        _: &mut Scene<'_>,
        _: Option<CallId>,
        _: &Address,
        mut result: Result<Response, Rejection>,
    ) -> Result<Response, Rejection> {
        forget_acknowledgements(&mut result);
        result
    }

    fn on_output(&mut self, _: &mut Scene<'_>, mut output: Output) -> Option<Output> {
        match &mut output {
            Output::Call { request: Request::Acknowledge { .. }, .. }
            | Output::Push { push: Push::Acknowledgements(_), .. } => return None,
            Output::Reply { result, .. } => forget_acknowledgements(result),
            _ => {}
        }
        Some(output)
    }
}

fn forget_acknowledgements(result: &mut Result<Response, Rejection>) {
    if let Ok(
        Response::Offered { acknowledgements, .. }
        | Response::Digested { acknowledgements, .. }
        | Response::Delivered { acknowledgements, .. },
    ) = result
    {
        acknowledgements.clear();
    }
}

#[cfg(test)]
mod tests {
    use comm_proto::acknowledgement::Acknowledgement;
    use comm_proto::digest::Digest;
    use comm_proto::envelope::EnvelopeId;
    use comm_proto::key::KeyPair;
    use comm_proto::node::RequestId;
    use comm_proto::time::Time;
    use comm_proto::verified::Verified;

    use super::*;
    use crate::behaviour::stage::Props;

    #[test]
    fn no_acknowledgement_comes_in_by_whatever_way_and_all_else_does() {
        let (key, mut props) = (KeyPair::from_seed(&[1; 32]), Props::default());
        let (scene, from) = (&mut props.scene(Time::ZERO), key.address());
        let id = EnvelopeId::from_bytes([7; 32]);
        let told = vec![Acknowledgement::sign(&key, vec![id], Time::ZERO).unwrap()];
        let digest = Digest::new(&[id], scene.rng).to_bytes();
        let push = Push::Acknowledgements(told.clone());
        assert_eq!(DropAcknowledgements.on_push(scene, &from, push), None);
        let other = Push::Waiting(vec![]);
        assert_eq!(DropAcknowledgements.on_push(scene, &from, other.clone()), Some(other));
        let answers = |acknowledgements: &[Verified<Acknowledgement>]| {
            let acknowledgements = acknowledgements.to_vec();
            let (wanted, receipts, refused) = (vec![id], vec![], vec![]);
            let digest = Digest::from_bytes(&digest).unwrap();
            [
                Response::Offered {
                    wanted,
                    receipts: vec![],
                    acknowledgements: acknowledgements.clone(),
                },
                Response::Digested { digest, acknowledgements: acknowledgements.clone() },
                Response::Delivered { receipts, refused, acknowledgements },
            ]
        };
        for (told, left) in answers(&told).into_iter().zip(answers(&[])) {
            let result = DropAcknowledgements.on_response(scene, None, &from, Ok(told));
            assert_eq!(result, Ok(left));
        }
    }

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
