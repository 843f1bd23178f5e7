//! Adversaries that work by leaving out.

use comm_proto::address::Address;
use comm_proto::message::{Push, Request, Response};
use comm_proto::node::Output;

use super::{Behaviour, Reaction, Scene};

/// Answers nothing but pings, and so stays in tables.
pub(super) struct Mute;

/// Swallows acknowledgements.
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

    fn on_output(&mut self, _: &mut Scene<'_>, output: Output) -> Option<Output> {
        let passes_on = matches!(
            output,
            Output::Call { request: Request::Acknowledge { .. }, .. }
                | Output::Push { push: Push::Acknowledgements(_), .. }
        );
        (!passes_on).then_some(output)
    }
}
