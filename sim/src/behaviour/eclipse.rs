//! Crowding tables.

use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::message::{CONTACTS_MAX, Request, Response};
use comm_proto::node::{CallId, Output};
use comm_proto::rejection::Rejection;
use comm_proto::time::{Span, Time};

use super::met::Met;
use super::{Behaviour, Call, Reaction, Scene};

/// Wants to be in everybody's table, and its colluders too: it pings whomever it hears of, from the start on,
/// so as to be pinged back, and answers lookups with the colluders nearest to the asker, for whom the
/// asker has most room. The rest is honest.
#[derive(Default)]
pub(super) struct Eclipse {
    met: Met,
    next: Time,
}

impl Behaviour for Eclipse {
    fn on_request(&mut self, scene: &mut Scene<'_>, from: &Address, request: &Request) -> Reaction {
        let Request::FindNode { .. } = request else { return Reaction::Pass };
        let contacts = scene.colluders.nearest(from, CONTACTS_MAX);
        Reaction::Answer(Box::new(Ok(Response::Nodes { contacts })))
    }

    fn on_response(
        &mut self,
        scene: &mut Scene<'_>,
        _: Option<CallId>,
        _: &Address,
        result: Result<Response, Rejection>,
    ) -> Result<Response, Rejection> {
        if let Ok(Response::Nodes { contacts }) = &result {
            contacts.iter().for_each(|contact| self.met.meet(scene, contact));
        }
        result
    }

    fn on_output(&mut self, scene: &mut Scene<'_>, output: Output) -> Option<Output> {
        self.met.note(scene, &output);
        Some(output)
    }

    fn next_act(&self) -> Option<Time> {
        Some(self.next)
    }

    fn act(&mut self, scene: &mut Scene<'_>) -> Vec<Call> {
        let every = scene.plot.every;
        self.next = if every == Span::ZERO { Time::MAX } else { scene.now + every };
        let own = scene.colluders.nearest(&scene.key.address(), 1);
        let endpoints = own.first().map(|own: &Contact| own.endpoints().to_vec());
        let ping = endpoints.map(|endpoints| Request::Ping { endpoints });
        let call = self.met.draw(scene).zip(ping);
        call.map(|(to, ping)| Call::new(to, ping)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behaviour::stage::{Props, contact};
    use crate::behaviour::{Colluders, Says};

    #[test]
    fn it_pings_whom_it_hears_of_and_names_those_near_the_asker() {
        let (mut props, mut eclipse) = (Props::default(), Eclipse::default());
        let own = Contact::new(props.key.public(), [([1, 0, 1, 1], 4_000).into()]);
        props.colluders = Colluders::new((10..60).map(contact).chain([own.clone()]));
        props.plot.every = Span::from_millis(10);
        let (at, asker) = (Time::from_millis(5), contact(99).address());
        let find = Request::FindNode { target: contact(98).address() };
        let contacts = props.colluders.nearest(&asker, 20);
        let answer = Reaction::Answer(Box::new(Ok(Response::Nodes { contacts })));
        assert_eq!(eclipse.on_request(&mut props.scene(at), &asker, &find), answer);
        let ping = Request::Ping { endpoints: own.endpoints().to_vec() };
        assert_eq!(eclipse.on_request(&mut props.scene(at), &asker, &ping), Reaction::Pass);
        assert!(eclipse.act(&mut props.scene(at)).is_empty());
        let heard = Ok(Response::Nodes { contacts: vec![contact(10), contact(80)] });
        let passed = eclipse.on_response(&mut props.scene(at), None, &asker, heard.clone());
        assert_eq!(passed, heard);
        let calls = eclipse.act(&mut props.scene(at));
        let call = Call { to: contact(80), says: Says::Request(Box::new(ping)) };
        assert_eq!(calls, [call], "a colluder needs no ping");
        assert_eq!(eclipse.next_act(), Some(at + Span::from_millis(10)));
    }
}
