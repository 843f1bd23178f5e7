//! Adversaries that say no.

use comm_proto::address::Address;
use comm_proto::envelope::Envelope;
use comm_proto::message::{Request, Response};
use comm_proto::rejection::Rejection;

use super::{Behaviour, Reaction, Scene};

/// Wants no envelope and takes none, as a node whose store is full, and gives no receipt: nothing is lost by
/// it that the other side does not know of. All else is its node's business.
pub(super) struct Refuse;

impl Behaviour for Refuse {
    fn on_request(&mut self, _: &mut Scene<'_>, _: &Address, request: &Request) -> Reaction {
        let (receipts, acknowledgements) = (Vec::new(), Vec::new());
        let answer = match request {
            Request::Offer { .. } => {
                Response::Offered { wanted: Vec::new(), receipts, acknowledgements }
            }
            // The asker's own digest: it lacks nothing.
            Request::Digest { digest, .. } => {
                Response::Digested { digest: digest.clone(), acknowledgements }
            }
            Request::Deliver { envelopes } => {
                let ids = envelopes.iter().map(Envelope::id);
                let refused = ids.map(|id| (id, Rejection::StoreFull)).collect();
                Response::Delivered { receipts, refused, acknowledgements }
            }
            _ => return Reaction::Pass,
        };
        Reaction::Answer(Box::new(Ok(answer)))
    }
}

#[cfg(test)]
mod tests {
    use comm_proto::digest::Digest;
    use comm_proto::time::Time;

    use super::*;
    use crate::behaviour::stage::{Props, contact};
    use crate::people::tests::envelope;

    #[test]
    fn no_envelope_is_wanted_or_taken_or_has_a_receipt_and_the_rest_is_the_nodes_business() {
        let mut props = Props::default();
        let scene = &mut props.scene(Time::ZERO);
        let (asker, one) = (contact(2).address(), envelope(contact(3).address(), 1));
        let id = one.id();
        let digest = Digest::new(&[id], scene.rng);
        let mut reaction = |request| Refuse.on_request(scene, &asker, &request);
        let (receipts, acknowledgements) = (Vec::new(), Vec::new());
        let offered = Response::Offered {
            wanted: Vec::new(),
            receipts: receipts.clone(),
            acknowledgements: acknowledgements.clone(),
        };
        let digested = Response::Digested {
            digest: digest.clone(),
            acknowledgements: acknowledgements.clone(),
        };
        let refused = vec![(id, Rejection::StoreFull)];
        let delivered = Response::Delivered { receipts, refused, acknowledgements };
        for (request, answer) in [
            (Request::Offer { ids: vec![id] }, offered),
            (Request::Digest { digest, from: asker, to: asker }, digested),
            (Request::Deliver { envelopes: vec![one] }, delivered),
        ] {
            assert_eq!(reaction(request), Reaction::Answer(Box::new(Ok(answer))));
        }
        for request in [
            Request::Ping { endpoints: Vec::new() },
            Request::FindNode { target: asker },
            Request::Subscribe { grants: Vec::new(), after: 0 },
            Request::Fetch { ids: vec![id] },
            Request::Acknowledge { acknowledgements: Vec::new() },
        ] {
            assert_eq!(reaction(request), Reaction::Pass);
        }
    }
}
