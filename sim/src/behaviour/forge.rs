//! Forgers: calls and answers that look like those of others, and are wrong somewhere.
//!
//! Everything goes through the same reading as what comes over a link, so that what a host refuses
//! unread is refused here.

use bytes::Bytes;
use comm_proto::acknowledgement::Acknowledgement;
use comm_proto::address::Address;
use comm_proto::card::{Card, InboxPolicy};
use comm_proto::envelope::{Envelope, EnvelopeId, SizeClass, Suite, TTL_MAX};
use comm_proto::grant::Grant;
use comm_proto::key::KeyPair;
use comm_proto::message::{Push, Request, Response};
use comm_proto::node::{CallId, Output};
use comm_proto::prekey::Prekey;
use comm_proto::receipt::Receipt;
use comm_proto::rejection::Rejection;
use comm_proto::time::{Span, Time};
use comm_proto::verified::Verified;
use comm_proto::wire::{object, peer};
use rand_core::RngCore;

use super::beat::Beat;
use super::met::Met;
use super::{Behaviour, Call, Reaction, Scene};

/// Envelopes and acknowledgements of others that are remembered.
const SEEN_MAX: usize = 64;
/// Of so many calls one is an envelope with a changed body, which is taken for another and costs what
/// spam costs; floods are not what this is about.
const SPAM: u32 = 500;
/// Of so many offers one is answered with a forged acknowledgement.
const LIED_TO: u32 = 4;

/// Honest but for what it says of its own accord, and for some answers to offers.
#[derive(Default)]
pub(super) struct Forge {
    beat: Beat,
    met: Met,
    envelopes: Vec<Envelope>,
    acknowledgements: Vec<Acknowledgement>,
}

/// Every kind of forgery. Those of acknowledgements come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Of an envelope that waits, by a key that is not its mailbox.
    StrangersAcknowledgement,
    /// The same with the mailbox's key in the place of the one that signed.
    FalseKey,
    /// A true one that names an envelope which was not read.
    OtherId,
    /// A true one that names one more.
    FurtherId,
    /// A true one that lasts longer.
    OtherExpiry,
    /// A true one as if it were over.
    Stale,
    /// The target's own receipt, signed by somebody else.
    FalseReceipt,
    /// A receipt of somebody whom nobody asked.
    StrangersReceipt,
    /// A grant for another's mailbox.
    FalseGrant,
    /// A card with a changed prekey.
    FalseCard,
    /// An envelope that is over.
    ExpiredEnvelope,
    /// One that wants to be kept too long.
    LongEnvelope,
    /// One of an unknown version.
    OtherVersion,
    /// One that is cut off.
    ShortBody,
    /// One with a changed body, which makes it another envelope that nobody can open.
    OtherBody,
}

const OF_ACKNOWLEDGEMENTS: [Kind; 6] = [
    Kind::StrangersAcknowledgement,
    Kind::FalseKey,
    Kind::OtherId,
    Kind::FurtherId,
    Kind::OtherExpiry,
    Kind::Stale,
];
const OF_OTHERS: [Kind; 8] = [
    Kind::FalseReceipt,
    Kind::StrangersReceipt,
    Kind::FalseGrant,
    Kind::FalseCard,
    Kind::ExpiredEnvelope,
    Kind::LongEnvelope,
    Kind::OtherVersion,
    Kind::ShortBody,
];

impl Behaviour for Forge {
    fn on_request(&mut self, scene: &mut Scene<'_>, _: &Address, request: &Request) -> Reaction {
        match request {
            Request::Deliver { envelopes } => self.see(scene, envelopes),
            Request::Acknowledge { acknowledgements } => self.hear(scene, acknowledgements),
            Request::Offer { ids } if scene.rng.next_u32().is_multiple_of(LIED_TO) => {
                let kind = draw(scene, &OF_ACKNOWLEDGEMENTS);
                if let Some(lie) = self.acknowledgement(scene, kind, ids[0]) {
                    return Reaction::Forged(Box::new(offered(lie)));
                }
            }
            _ => {}
        }
        Reaction::Pass
    }

    fn on_push(&mut self, scene: &mut Scene<'_>, _: &Address, push: Push) -> Option<Push> {
        if let Push::Acknowledgements(told) = &push {
            self.hear(scene, told);
        }
        Some(push)
    }

    fn on_response(
        &mut self,
        scene: &mut Scene<'_>,
        _: Option<CallId>,
        _: &Address,
        result: Result<Response, Rejection>,
    ) -> Result<Response, Rejection> {
        match &result {
            Ok(Response::Fetched { envelopes }) => self.see(scene, envelopes),
            Ok(
                Response::Offered { acknowledgements, .. }
                | Response::Delivered { acknowledgements, .. },
            ) => self.hear(scene, acknowledgements),
            _ => {}
        }
        result
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
        let kinds: Vec<_> = OF_ACKNOWLEDGEMENTS.iter().chain(&OF_OTHERS).copied().collect();
        let kind = if scene.rng.next_u32().is_multiple_of(SPAM) {
            Kind::OtherBody
        } else {
            draw(scene, &kinds)
        };
        let call = self.met.draw(scene).and_then(|to| {
            let message = self.message(scene, kind, to.key().as_bytes())?;
            Some(Call::forged(to, peer::Request { request: Some(message) }))
        });
        call.into_iter().collect()
    }
}

impl Forge {
    fn see(&mut self, scene: &mut Scene<'_>, envelopes: &[Envelope]) {
        for envelope in envelopes {
            remember(scene, &mut self.envelopes, envelope.clone());
        }
    }

    fn hear(&mut self, scene: &mut Scene<'_>, told: &[Verified<Acknowledgement>]) {
        for one in told {
            remember(scene, &mut self.acknowledgements, one.clone().into_inner());
        }
    }

    /// A forgery of this kind, for the node whose key is `to`; none as long as there is nothing to
    /// make it from.
    fn message(
        &self,
        scene: &mut Scene<'_>,
        kind: Kind,
        to: &[u8],
    ) -> Option<peer::request::Request> {
        use peer::request::Request as Wire;
        let envelope = one_of(scene, &self.envelopes)?;
        let other = stranger(scene);
        Some(match kind {
            Kind::FalseReceipt | Kind::StrangersReceipt => {
                let receipt = Receipt::sign(&other, vec![envelope.id()], scene.now).ok()?;
                let mut receipt = object::Receipt::from(&*receipt);
                if kind == Kind::FalseReceipt {
                    receipt.holder_key = Bytes::copy_from_slice(to);
                }
                Wire::Receipts(peer::Receipts { receipts: vec![receipt] })
            }
            Kind::FalseGrant => {
                let told = self.told_in_mailbox_of(scene, envelope.id())?;
                let true_key = told.mailbox_key().as_bytes();
                let grant = Grant::sign(&other, scene.key.address(), scene.now + Span::DAY);
                let mut grant = object::Grant::from(&*grant);
                grant.mailbox_key = Bytes::copy_from_slice(true_key);
                Wire::Subscribe(peer::Subscribe { grants: vec![grant], after: 0 })
            }
            Kind::FalseCard => Wire::PutCard(peer::PutCard { card: Some(card(scene, &other)?) }),
            Kind::ExpiredEnvelope
            | Kind::LongEnvelope
            | Kind::OtherVersion
            | Kind::ShortBody
            | Kind::OtherBody => {
                let envelopes = vec![changed(scene, kind, envelope)];
                Wire::Deliver(peer::Deliver { envelopes })
            }
            _ => {
                let lie = self.acknowledgement(scene, kind, envelope.id())?;
                Wire::Acknowledge(peer::Acknowledge { acknowledgements: vec![lie] })
            }
        })
    }

    /// A true acknowledgement of another envelope in the same mailbox; of an envelope that is nobody's, any.
    fn told_in_mailbox_of(&self, scene: &mut Scene<'_>, id: EnvelopeId) -> Option<Acknowledgement> {
        let known = scene.plot.acknowledged.get(&id).map(|told| &**told);
        known.or_else(|| one_of(scene, &self.acknowledgements)).cloned()
    }

    /// A false acknowledgement of `id`, of this kind.
    fn acknowledgement(
        &self,
        scene: &mut Scene<'_>,
        kind: Kind,
        id: EnvelopeId,
    ) -> Option<object::Acknowledgement> {
        if kind == Kind::StrangersAcknowledgement {
            let expires_at = scene.now + Span::DAY;
            let signed = Acknowledgement::sign(&stranger(scene), vec![id], expires_at).ok()?;
            return Some(object::Acknowledgement::from(&*signed));
        }
        let mut lie = object::Acknowledgement::from(&self.told_in_mailbox_of(scene, id)?);
        let id = Bytes::copy_from_slice(id.as_bytes());
        match kind {
            Kind::FalseKey => {
                let expires_at = Time::from_millis(lie.expires_at);
                let id = EnvelopeId::from_bytes(id.as_ref().try_into().ok()?);
                let signed = Acknowledgement::sign(&stranger(scene), vec![id], expires_at).ok()?;
                let true_key = lie.mailbox_key;
                lie = object::Acknowledgement::from(&*signed);
                lie.mailbox_key = true_key;
            }
            Kind::OtherId => lie.ids = vec![id],
            Kind::FurtherId => lie.ids.push(id),
            Kind::OtherExpiry => lie.expires_at += 1,
            _ => lie.expires_at = scene.now.as_millis(),
        }
        Some(lie)
    }
}

fn offered(lie: object::Acknowledgement) -> peer::Response {
    let offered = peer::Offered { acknowledgements: vec![lie], ..peer::Offered::default() };
    peer::Response { response: Some(peer::response::Response::Offered(offered)) }
}

/// An envelope that is wrong in one thing.
fn changed(scene: &mut Scene<'_>, kind: Kind, envelope: &Envelope) -> object::Envelope {
    let mut changed = object::Envelope::from(envelope);
    match kind {
        Kind::ExpiredEnvelope => changed.expires_at = scene.now.as_millis(),
        Kind::LongEnvelope => {
            changed.expires_at = (scene.now + TTL_MAX + Span::DAY).as_millis();
        }
        Kind::OtherVersion => changed.version += 1,
        Kind::ShortBody => changed.body.truncate(changed.body.len() - 1),
        _ => {
            let mut body = changed.body.to_vec();
            let place = scene.rng.next_u64() % body.len() as u64;
            body[place as usize] ^= 1;
            changed.body = body.into();
        }
    }
    changed
}

/// A card that was changed after it had been signed.
fn card(scene: &mut Scene<'_>, owner: &KeyPair) -> Option<object::Card> {
    let (now, until) = (scene.now, scene.now + Span::DAY);
    let policy = InboxPolicy { ttl_max: TTL_MAX, size_max: SizeClass::K64, stamp_min: 0 };
    let prekey = Prekey::new(Suite::ONE, owner.public().as_bytes(), until).ok()?;
    let mut bytes = Card::sign(owner, vec![prekey], policy, now, until).ok()?.to_bytes();
    // The last byte is the signature's.
    *bytes.last_mut()? ^= 1;
    Some(object::Card { card: bytes.into() })
}

fn stranger(scene: &mut Scene<'_>) -> KeyPair {
    let mut seed = [0; KeyPair::SEED_LEN];
    scene.rng.fill_bytes(&mut seed);
    KeyPair::from_seed(&seed)
}

fn draw(scene: &mut Scene<'_>, kinds: &[Kind]) -> Kind {
    kinds[(scene.rng.next_u64() % kinds.len() as u64) as usize]
}

fn one_of<'a, T>(scene: &mut Scene<'_>, all: &'a [T]) -> Option<&'a T> {
    let number = scene.rng.next_u64().checked_rem(all.len() as u64)?;
    all.get(number as usize)
}

/// Keeps it, in the place of another at random if there are too many.
fn remember<T>(scene: &mut Scene<'_>, all: &mut Vec<T>, thing: T) {
    if all.len() < SEEN_MAX {
        all.push(thing);
    } else {
        let place = scene.rng.next_u64() % SEEN_MAX as u64;
        all[place as usize] = thing;
    }
}

#[cfg(test)]
mod tests {
    use comm_proto::wire::decode;

    use super::*;
    use crate::behaviour::stage::{Props, contact};
    use crate::people::tests::envelope;

    const NOW: Time = Time::from_millis(1_000);

    /// A forger that has seen an envelope and the acknowledgement of another in the same mailbox.
    fn forger(props: &mut Props) -> (Forge, Envelope, KeyPair) {
        let (mut forge, mailbox) = (Forge::default(), KeyPair::from_seed(&[7; 32]));
        let waiting = envelope(mailbox.address(), 1);
        let read = EnvelopeId::from_bytes([2; 32]);
        let told = Acknowledgement::sign(&mailbox, vec![read], NOW + Span::HOUR).unwrap();
        let (scene, from) = (&mut props.scene(NOW), contact(2).address());
        let deliver = Request::Deliver { envelopes: vec![waiting.clone()] };
        assert_eq!(forge.on_request(scene, &from, &deliver), Reaction::Pass);
        let push = Push::Acknowledgements(vec![told]);
        assert_eq!(forge.on_push(scene, &from, push.clone()), Some(push));
        (forge, waiting, mailbox)
    }

    #[test]
    fn no_forged_acknowledgement_ends_anything_and_only_a_strangers_can_be_read() {
        let mut props = Props::default();
        let (forge, waiting, mailbox) = forger(&mut props);
        for kind in OF_ACKNOWLEDGEMENTS {
            let request = forge.message(&mut props.scene(NOW), kind, &[0; 32]);
            let read = decode::request(peer::Request { request }, NOW);
            match (kind, read) {
                (Kind::StrangersAcknowledgement, Ok(Request::Acknowledge { acknowledgements })) => {
                    assert!(acknowledgements[0].ids() == [waiting.id()]);
                    assert!(!acknowledgements[0].ends(&waiting.id(), &mailbox.address()));
                }
                (Kind::Stale, read) => assert_eq!(read, Err(Rejection::Expired)),
                (_, read) => assert_eq!(read, Err(Rejection::Signature), "{kind:?}"),
            }
        }
    }

    #[test]
    fn what_it_forges_of_an_envelope_bears_the_key_of_that_envelopes_mailbox() {
        let mut props = Props::default();
        let (forge, waiting, _) = forger(&mut props);
        let mailbox = KeyPair::from_seed(&[8; 32]);
        let read = vec![EnvelopeId::from_bytes([3; 32])];
        let told = Acknowledgement::sign(&mailbox, read, NOW + Span::HOUR).unwrap();
        props.plot.acknowledged = [(waiting.id(), told)].into();
        for kind in [Kind::FalseKey, Kind::OtherId, Kind::FurtherId] {
            let lie = forge.acknowledgement(&mut props.scene(NOW), kind, waiting.id()).unwrap();
            assert!(lie.mailbox_key == mailbox.public().as_bytes()[..], "{kind:?}");
            assert!(lie.ids.iter().any(|id| *id == waiting.id().as_bytes()[..]), "{kind:?}");
        }
        let grant = forge.message(&mut props.scene(NOW), Kind::FalseGrant, &[0; 32]);
        let Some(peer::request::Request::Subscribe(asked)) = grant else { panic!("{grant:?}") };
        assert!(asked.grants[0].mailbox_key == mailbox.public().as_bytes()[..]);
    }

    #[test]
    fn other_forgeries_are_refused_unread_or_are_what_their_kind_says() {
        let mut props = Props::default();
        let (forge, waiting, _) = forger(&mut props);
        let to = contact(3);
        for kind in OF_OTHERS.into_iter().chain([Kind::OtherBody]) {
            let request = forge.message(&mut props.scene(NOW), kind, to.key().as_bytes());
            let read = decode::request(peer::Request { request }, NOW);
            let refused = match kind {
                Kind::OtherVersion => Rejection::Version,
                Kind::ShortBody => Rejection::Size,
                Kind::StrangersReceipt => {
                    let Ok(Request::Receipts { receipts }) = read else { panic!("{read:?}") };
                    assert!(
                        receipts[0].ids() == [waiting.id()] && receipts[0].holder() != to.address()
                    );
                    continue;
                }
                Kind::ExpiredEnvelope | Kind::LongEnvelope | Kind::OtherBody => {
                    let Ok(Request::Deliver { envelopes }) = read else { panic!("{read:?}") };
                    assert_ne!(envelopes[0].id(), waiting.id());
                    let is_kept = envelopes[0].check_expiry(NOW).is_ok();
                    assert_eq!(is_kept, kind == Kind::OtherBody);
                    continue;
                }
                _ => Rejection::Signature,
            };
            assert_eq!(read, Err(refused), "{kind:?}");
        }
    }

    #[test]
    fn it_calls_whom_it_met_at_its_pace_and_lies_to_some_who_offer() {
        let mut props = Props::default();
        props.plot.every = Span::from_millis(10);
        let (mut forge, waiting, _) = forger(&mut props);
        assert!(forge.act(&mut props.scene(NOW)).is_empty(), "it has met nobody");
        let (to, request) = (contact(3), Request::Ping { endpoints: Vec::new() });
        let call = Output::Call { id: CallId(1), to: to.clone(), request, deadline: NOW };
        assert_eq!(forge.on_output(&mut props.scene(NOW), call.clone()), Some(call));
        assert_eq!(forge.next_act(), Some(NOW + Span::from_millis(10)));
        let calls = forge.act(&mut props.scene(NOW + Span::from_millis(10)));
        assert!(calls.len() == 1 && calls[0].to == to);
        let offer = Request::Offer { ids: vec![waiting.id()] };
        let scene = &mut props.scene(NOW);
        let reactions = (0..100).map(|_| forge.on_request(scene, &to.address(), &offer));
        let lies = reactions.filter(|reaction| *reaction != Reaction::Pass).count();
        assert!((10..50).contains(&lies), "{lies}");
    }
}
