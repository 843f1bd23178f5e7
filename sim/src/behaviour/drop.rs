//! Adversaries that take everything with a receipt and throw it away.

use comm_proto::address::Address;
use comm_proto::envelope::Envelope;
use comm_proto::message::{Request, Response};
use comm_proto::receipt::{IDS_MAX, Receipt};

use super::{Behaviour, Reaction, Scene};

/// Throws everything away, and answers lookups, for nodes and for cards, honestly.
pub(super) struct Drop;

/// Throws half of all mailboxes' envelopes away and is honest about the others: those to addresses
/// whose last bit is 1. Of a message with envelopes of both halves it takes the others, and gives
/// receipts for these alone.
pub(super) struct SelectiveDrop;

impl Behaviour for Drop {
    fn on_request(&mut self, scene: &mut Scene<'_>, _: &Address, request: &Request) -> Reaction {
        thrown_away(scene, request)
    }
}

impl Behaviour for SelectiveDrop {
    fn on_request(&mut self, scene: &mut Scene<'_>, _: &Address, request: &Request) -> Reaction {
        let Request::Deliver { envelopes } = request else { return Reaction::Pass };
        let kept: Vec<_> =
            envelopes.iter().filter(|one| !is_dropped(&one.mailbox())).cloned().collect();
        if kept.is_empty() {
            thrown_away(scene, request)
        } else if kept.len() == envelopes.len() {
            Reaction::Pass
        } else {
            Reaction::Instead(Box::new(Request::Deliver { envelopes: kept }))
        }
    }
}

fn is_dropped(mailbox: &Address) -> bool {
    mailbox.as_bytes().last().is_some_and(|byte| byte & 1 == 1)
}

/// Wants and takes whatever is offered, gives receipts for it, obeys whatever it is told, has nothing
/// for anybody, and lets the node answer the rest.
pub(super) fn thrown_away(scene: &mut Scene<'_>, request: &Request) -> Reaction {
    let (receipts, acknowledgements) = (Vec::new(), Vec::new());
    let answer = match request {
        Request::Offer { ids } => {
            Response::Offered { wanted: ids.clone(), receipts, acknowledgements }
        }
        Request::Deliver { envelopes } => {
            let ids: Vec<_> = envelopes.iter().map(Envelope::id).collect();
            let receipts = ids
                .chunks(IDS_MAX)
                .filter_map(|ids| Receipt::sign(scene.key, ids.to_vec(), scene.now).ok())
                .collect();
            Response::Delivered { receipts, refused: Vec::new(), acknowledgements }
        }
        Request::Digest { digest, .. } => {
            Response::Digested { digest: digest.clone(), acknowledgements }
        }
        Request::Subscribe { after, .. } => {
            Response::Subscribed { waiting: Vec::new(), cursor: *after, more: false }
        }
        Request::Fetch { .. } => Response::Fetched { envelopes: Vec::new() },
        Request::Acknowledge { .. } | Request::Receipts { .. } => Response::Done,
        Request::Ping { .. }
        | Request::FindNode { .. }
        | Request::PutCard { .. }
        | Request::GetCard { .. }
        | Request::PublishCard { .. }
        | Request::FindCard { .. }
        | Request::DialBack { .. } => return Reaction::Pass,
    };
    Reaction::Answer(Box::new(Ok(answer)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behaviour::stage::{Props, contact};
    use crate::people::tests::envelope;
    use comm_proto::time::Time;

    fn receipts(reaction: &Reaction) -> Vec<comm_proto::envelope::EnvelopeId> {
        let Reaction::Answer(answer) = reaction else { panic!("{reaction:?}") };
        let Ok(Response::Delivered { receipts, refused, .. }) = &**answer else { panic!() };
        assert!(refused.is_empty());
        receipts.iter().flat_map(|one| one.ids().to_vec()).collect()
    }

    #[test]
    fn what_is_dropped_has_a_receipt_and_lookups_are_the_nodes_business() {
        let mut props = Props::default();
        let scene = &mut props.scene(Time::ZERO);
        let (asker, one) = (contact(2).address(), envelope(contact(3).address(), 1));
        let mut reaction = |request| Drop.on_request(scene, &asker, &request);
        for request in
            [Request::FindNode { target: asker }, Request::Ping { endpoints: Vec::new() }]
        {
            assert_eq!(reaction(request), Reaction::Pass);
        }
        let taken = reaction(Request::Deliver { envelopes: vec![one.clone()] });
        assert_eq!(receipts(&taken), [one.id()]);
        let nothing = Response::Fetched { envelopes: Vec::new() };
        let fetched = reaction(Request::Fetch { ids: vec![one.id()] });
        assert_eq!(fetched, Reaction::Answer(Box::new(Ok(nothing))));
    }

    #[test]
    fn a_selective_dropper_keeps_the_other_half() {
        let mut props = Props::default();
        let scene = &mut props.scene(Time::ZERO);
        let mailbox =
            |last: u8| Address::from_bytes(std::array::from_fn(|i| u8::from(i == 19) * last));
        let (odd, even) = (envelope(mailbox(1), 1), envelope(mailbox(2), 2));
        let mut reaction = |envelopes: &[&Envelope]| {
            let envelopes = envelopes.iter().copied().cloned().collect();
            SelectiveDrop.on_request(scene, &mailbox(9), &Request::Deliver { envelopes })
        };
        assert_eq!(reaction(&[&even]), Reaction::Pass);
        assert_eq!(receipts(&reaction(&[&odd])), [odd.id()]);
        let rest = Request::Deliver { envelopes: vec![even.clone()] };
        assert_eq!(reaction(&[&odd, &even]), Reaction::Instead(Box::new(rest)));
        let fetch = Request::Fetch { ids: vec![odd.id()] };
        assert_eq!(SelectiveDrop.on_request(scene, &mailbox(9), &fetch), Reaction::Pass);
    }
}
