//! Lies about how large the network is.
//!
//! Nobody is told a size: everybody estimates it from how near to a random target the nodes are that a
//! search finds (PROTOCOL §5.5). So whoever answers searches can lie.
//!
//! Questions about the region of an address that ids lie beside are not for them: there the next behaviour names
//! those ids. Who asks about a random target asks nearly always about another place.

use comm_proto::address::Address;
use comm_proto::contact::Contact;
use comm_proto::message::{CONTACTS_MAX, Request, Response};

use super::{Behaviour, Reaction, Scene};

/// Makes the network look small: names the colluders that are farthest from what is searched.
pub(super) struct Deflate;

/// Makes the network look large: names identities that are nearer to what is searched than relays can
/// be. There are four for every relay; colluders have made them beforehand and answer for them.
pub(super) struct Inflate;

impl Behaviour for Deflate {
    fn on_request(&mut self, scene: &mut Scene<'_>, _: &Address, request: &Request) -> Reaction {
        let farthest = |scene: &Scene<'_>, target: &Address| {
            let opposite = Address::from_bytes(target.as_bytes().map(|byte| !byte));
            scene.colluders.nearest(&opposite, CONTACTS_MAX)
        };
        lookup(scene, request, farthest)
    }
}

impl Behaviour for Inflate {
    fn on_request(&mut self, scene: &mut Scene<'_>, _: &Address, request: &Request) -> Reaction {
        let made = |scene: &Scene<'_>, target: &Address| {
            scene.plot.identities.nearest(target, CONTACTS_MAX)
        };
        lookup(scene, request, made)
    }
}

fn lookup(
    scene: &Scene<'_>,
    request: &Request,
    answer: impl FnOnce(&Scene<'_>, &Address) -> Vec<Contact>,
) -> Reaction {
    match request {
        Request::FindNode { target } if !scene.plot.is_aimed_at(target) => {
            Reaction::Answer(Box::new(Ok(Response::Nodes { contacts: answer(scene, target) })))
        }
        _ => Reaction::Pass,
    }
}

#[cfg(test)]
mod tests {
    use comm_proto::time::Time;

    use super::*;
    use crate::behaviour::Colluders;
    use crate::behaviour::stage::{Props, contact};

    #[test]
    fn lookups_alone_are_answered_and_with_the_nearest_or_the_farthest_of_their_own() {
        let mut props = Props::default();
        let all = || (10..60).map(contact);
        props.colluders = Colluders::new(all());
        props.plot.identities = Colluders::new(all());
        let scene = &mut props.scene(Time::ZERO);
        let target = contact(99).address();
        let mut sorted: Vec<_> = all().collect();
        sorted.sort_by_key(|contact| contact.address().distance(&target));
        let find = Request::FindNode { target };
        let named = |reaction| match reaction {
            Reaction::Answer(answer) => match *answer {
                Ok(Response::Nodes { contacts }) => contacts,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        assert_eq!(named(Inflate.on_request(scene, &target, &find)), sorted[..20]);
        sorted.reverse();
        assert_eq!(named(Deflate.on_request(scene, &target, &find)), sorted[..20]);
        let ping = Request::Ping { endpoints: Vec::new() };
        assert_eq!(Deflate.on_request(scene, &target, &ping), Reaction::Pass);
        assert_eq!(Inflate.on_request(scene, &target, &ping), Reaction::Pass);
    }

    #[test]
    fn searches_of_a_region_that_is_aimed_at_are_left_to_the_next_behaviour() {
        let mut props = Props::default();
        props.colluders = Colluders::new((10..60).map(contact));
        props.plot.identities = Colluders::new((10..60).map(contact));
        let (aimed, other) = (contact(98).address(), contact(99).address());
        props.plot.aimed = (vec![aimed], u64::MAX >> 8);
        let mut beside = *aimed.as_bytes();
        beside[1] ^= 0xff;
        let beside = Address::from_bytes(beside);
        let scene = &mut props.scene(Time::ZERO);
        let mut liars: [Box<dyn Behaviour>; 2] = [Box::new(Deflate), Box::new(Inflate)];
        for liar in &mut liars {
            let mut passes = |target| {
                liar.on_request(scene, &other, &Request::FindNode { target }) == Reaction::Pass
            };
            assert_eq!([aimed, beside, other].map(&mut passes), [true, true, false]);
        }
    }
}
