//! Broken stores, lying nodes and forged messages: each rule finds them, and nothing where all is well.

use bytes::Bytes;
use comm_proto::acknowledgement::{Acknowledgement, KEPT_AFTER_EXPIRY};
use comm_proto::envelope::{Header, SizeClass, Suite};
use comm_proto::key::KeyPair;
use comm_proto::message::{ClientPush, Push, Request, Response, Waiting};
use comm_proto::node::Bound;
use comm_proto::receipt::Receipt;
use comm_proto::store::{Batch, Seq, Write};

use super::*;
use crate::disk::Disk;
use crate::ip_plan::IpPlan;
use crate::world::START;

const READ: SessionId = SessionId(1);

/// One host, one envelope, and an oracle that knows of it.
struct Scene {
    oracle: Oracle,
    host: Host,
    mailbox: KeyPair,
    envelope: Envelope,
    now: Time,
    seq: u64,
}

fn host(key: KeyPair) -> Host {
    Host::new(0, key, IpPlan::new(256).endpoint(0), Disk::default())
}

impl Scene {
    fn new() -> Self {
        let mailbox = KeyPair::from_seed(&[1; 32]);
        let envelope = envelope(&mailbox, 1);
        let mut scene = Self {
            oracle: Oracle::new(START, 0, Skews::default(), Span::from_mins(15)),
            host: host(KeyPair::from_seed(&[2; 32])),
            mailbox,
            envelope: envelope.clone(),
            now: START,
            seq: 0,
        };
        scene.input(&Input::ClientRequest {
            id: RequestId(1),
            session: SessionId(2),
            request: ClientRequest::Submit { envelope },
        });
        scene
    }

    /// The same with the envelope on disk.
    fn holding() -> Self {
        let mut scene = Self::new();
        scene.write(scene.rows());
        scene.host.sync(Seq(scene.seq));
        scene
    }

    fn id(&self) -> EnvelopeId {
        self.envelope.id()
    }

    fn rows(&self) -> Vec<Write<Family>> {
        let put =
            |table, key: &[u8], value: Vec<u8>| Write::Put { table, key: key.to_vec(), value };
        let id = self.id();
        let mailbox = [&self.envelope.mailbox().as_bytes()[..], &[0; 8]].concat();
        vec![
            put(Family::Envelopes, &body_key(&self.envelope), self.envelope.to_stored()),
            put(Family::Custody, id.as_bytes(), vec![1]),
            put(Family::Mailboxes, &mailbox, id.as_bytes().to_vec()),
        ]
    }

    fn removal(&self) -> Vec<Write<Family>> {
        let delete = |table, key: &[u8]| Write::Delete { table, key: key.to_vec() };
        let mailbox = [&self.envelope.mailbox().as_bytes()[..], &[0; 8]].concat();
        vec![
            delete(Family::Envelopes, &body_key(&self.envelope)),
            delete(Family::Custody, self.id().as_bytes()),
            delete(Family::Mailboxes, &mailbox),
        ]
    }

    fn burial(&self) -> Vec<Write<Family>> {
        let (key, value) = (tombstone(&self.id()).to_vec(), vec![]);
        let ending =
            Write::Put { table: Family::Acknowledgements, key: vec![0; 8], value: vec![1] };
        [self.removal(), vec![Write::Put { table: Family::Tombstones, key, value }, ending]]
            .concat()
    }

    fn look(&mut self, look: impl FnOnce(&mut Oracle, &Seen<'_>)) {
        let seen = Seen { now: self.now, clock: self.now, at: 0, host: &self.host };
        look(&mut self.oracle, &seen);
    }

    fn input(&mut self, input: &Input) {
        self.look(|oracle, seen| oracle.before(seen, input));
    }

    fn output(&mut self, output: Output) {
        self.look(|oracle, seen| oracle.output(seen, &output));
    }

    fn write(&mut self, writes: Vec<Write<Family>>) {
        self.seq += 1;
        let batch = Batch { seq: Seq(self.seq), writes };
        self.output(Output::Write(batch.clone()));
        self.host.write(batch);
    }

    fn give_receipt(&mut self) {
        let receipt = Receipt::sign(self.host.key(), vec![self.id()], self.now).unwrap();
        let (refused, acknowledgements) = (vec![], vec![]);
        let answer = Response::Delivered { receipts: vec![receipt], refused, acknowledgements };
        self.output(Output::Reply { id: RequestId(9), result: Ok(answer) });
    }

    fn acknowledgement(&self) -> Acknowledgement {
        let until = self.envelope.expires_at() + KEPT_AFTER_EXPIRY;
        Acknowledgement::sign(&self.mailbox, vec![self.id()], until).unwrap().into_inner()
    }

    fn acknowledge(&mut self) {
        let acknowledgement = self.acknowledgement().verify(self.now).unwrap();
        let request = ClientRequest::Acknowledge { acknowledgements: vec![acknowledgement] };
        self.input(&Input::ClientRequest { id: RequestId(3), session: READ, request });
    }

    fn offer(&mut self) {
        let request = Request::Offer { ids: vec![self.id()] };
        let (id, to) = (CallId(1), self.host.contact().clone());
        self.output(Output::Call { id, to, request, deadline: self.now });
    }

    fn hand_over(&mut self, cursor: u64) {
        let push = ClientPush::Envelope { cursor, envelope: self.envelope.clone() };
        self.output(Output::ClientPush { session: READ, push });
    }

    fn tell(&mut self, state: EnvelopeState) {
        let push = ClientPush::State { id: self.id(), state };
        self.output(Output::ClientPush { session: SessionId(2), push });
    }

    fn broken(&self) -> Vec<Rule> {
        self.oracle.violations().iter().map(|violation| violation.rule).collect()
    }
}

fn envelope(mailbox: &KeyPair, fill: u8) -> Envelope {
    let expires_at = START + Span::DAY;
    let header =
        Header { suite: Suite::ONE, mailbox: mailbox.address(), expires_at, stamp_nonce: 0 };
    Envelope::new(header, Bytes::from(vec![fill; SizeClass::K1.body_len()])).unwrap()
}

#[test]
fn a_receipt_before_the_disk_has_it_breaks_a_promise() {
    let mut scene = Scene::new();
    scene.give_receipt();
    scene.write(scene.rows());
    scene.give_receipt();
    assert_eq!(scene.broken(), [Rule::PromiseBeforeDisk; 2]);
    let mut scene = Scene::holding();
    scene.give_receipt();
    assert_eq!(scene.broken(), []);
}

#[test]
fn an_acceptance_before_the_disk_has_it_breaks_a_promise() {
    let accept = |scene: &mut Scene| {
        let answer = ClientResponse::Submitted { state: EnvelopeState::Accepted };
        scene.output(Output::ClientReply { id: RequestId(1), result: Ok(answer) });
        scene.broken()
    };
    assert_eq!(accept(&mut Scene::new()), [Rule::PromiseBeforeDisk]);
    assert_eq!(accept(&mut Scene::holding()), []);
}

#[test]
fn a_disk_that_forgets_what_it_has_synced_breaks_a_promise() {
    let mut scene = Scene::holding();
    scene.give_receipt();
    scene.host.stop(0);
    scene.look(Oracle::crashed);
    assert_eq!(scene.broken(), []);
    // The disk has lied.
    scene.host = host(scene.host.key().clone());
    scene.look(Oracle::crashed);
    assert_eq!(scene.broken(), [Rule::PromiseBroken]);
}

#[test]
fn nobody_removes_an_envelope_but_its_reader_its_sender_and_its_time() {
    let mut scene = Scene::holding();
    scene.write(scene.removal());
    assert_eq!(scene.broken(), [Rule::WronglyRemoved]);
    let mut scene = Scene::holding();
    scene.write(scene.burial());
    assert_eq!(scene.broken(), [Rule::WronglyRemoved]);

    let mut scene = Scene::holding();
    scene.acknowledge();
    scene.write(scene.burial());
    assert_eq!(scene.broken(), []);
    let mut scene = Scene::holding();
    let (id, session) = (RequestId(4), SessionId(2));
    let request = ClientRequest::Cancel { id: scene.id() };
    scene.input(&Input::ClientRequest { id, session, request });
    scene.write(scene.burial());
    assert_eq!(scene.broken(), []);
    let mut scene = Scene::holding();
    scene.now = scene.envelope.expires_at();
    scene.write(scene.removal());
    assert_eq!(scene.broken(), []);
}

#[test]
fn a_clock_that_has_just_jumped_removes_nothing() {
    let mut scene = Scene::holding();
    let remove = |scene: &mut Scene, now: Time| {
        let removal = Output::Write(Batch { seq: Seq(9), writes: scene.removal() });
        let clock = scene.envelope.expires_at();
        let seen = Seen { now, clock, at: 0, host: &scene.host };
        scene.oracle.output(&seen, &removal);
    };
    scene.oracle.clock_set_ahead(0, START, Span::DAY);
    remove(&mut scene, START + Span::from_mins(181));
    assert_eq!(scene.broken(), []);
    remove(&mut scene, START + Span::from_mins(179));
    assert_eq!(scene.broken(), [Rule::WronglyRemoved]);
}

/// What a clock said before it jumped may have lasted; a jump that was put right is none.
#[test]
fn a_clock_that_has_just_jumped_removes_what_was_over_before_the_jump() {
    for (clock_ahead, put_right, broken) in
        [(25, 0, &[][..]), (23, 0, &[Rule::WronglyRemoved]), (23, 23, &[])]
    {
        let mut scene = Scene::holding();
        let removal = Output::Write(Batch { seq: Seq(9), writes: scene.removal() });
        let clock = scene.envelope.expires_at() + Span::HOUR.times(clock_ahead);
        scene.oracle.clock_set_ahead(0, START, Span::DAY);
        scene.oracle.clock_set_back(0, Span::HOUR.times(put_right));
        let now = START + Span::from_mins(179);
        let seen = Seen { now, clock, at: 0, host: &scene.host };
        scene.oracle.output(&seen, &removal);
        assert_eq!(scene.broken(), broken, "{clock_ahead} {put_right}");
    }
}

#[test]
fn a_day_that_is_dropped_while_an_envelope_of_it_lives_is_a_loss() {
    let mut scene = Scene::holding();
    let range = |from: Time, to: Time| Write::DeleteRange {
        table: Family::Envelopes,
        from: from.as_millis().to_be_bytes().to_vec(),
        to: to.as_millis().to_be_bytes().to_vec(),
    };
    let end = scene.envelope.expires_at();
    scene.write(vec![range(Time::ZERO, end)]);
    assert_eq!(scene.broken(), []);
    scene.write(vec![range(Time::ZERO, end + Span::DAY)]);
    assert_eq!(scene.broken(), [Rule::WronglyRemoved]);
}

#[test]
fn who_meets_an_acknowledgement_and_keeps_the_envelope_ignores_it() {
    let mut scene = Scene::holding();
    let acknowledgements = vec![scene.acknowledgement().verify(scene.now).unwrap()];
    let push = Push::Acknowledgements(acknowledgements);
    scene.input(&Input::Push { from: scene.host.key().address(), push });
    scene.look(Oracle::after);
    assert_eq!(scene.broken(), [Rule::AcknowledgementIgnored]);
    // One of another mailbox, or one that is over too early, has nothing to say.
    let (other, end) = (KeyPair::from_seed(&[7; 32]), scene.envelope.expires_at());
    let early = Span::from_millis(1);
    for (key, until) in [(&other, end + Span::DAY), (&scene.mailbox.clone(), end - early)] {
        let mut scene = Scene::holding();
        let acknowledgement = Acknowledgement::sign(key, vec![scene.id()], until).unwrap();
        let push = Push::Acknowledgements(vec![acknowledgement]);
        scene.input(&Input::Push { from: scene.host.key().address(), push });
        scene.look(Oracle::after);
        assert_eq!(scene.broken(), []);
    }
}

#[test]
fn what_has_ended_here_is_not_named_any_more() {
    let mut scene = Scene::holding();
    scene.offer();
    assert_eq!(scene.broken(), []);
    scene.acknowledge();
    scene.write(scene.burial());
    scene.offer();
    let waiting = Waiting { mailbox: scene.envelope.mailbox(), id: scene.id() };
    let to = scene.host.key().address();
    scene.output(Output::Push { to, push: Push::Waiting(vec![waiting]) });
    let answer = Response::Fetched { envelopes: vec![scene.envelope.clone()] };
    scene.output(Output::Reply { id: RequestId(1), result: Ok(answer) });
    assert_eq!(scene.broken(), [Rule::EndedServed; 3]);
}

#[test]
fn what_is_over_is_not_served() {
    let mut scene = Scene::holding();
    scene.now = scene.envelope.expires_at() - Span::from_millis(1);
    scene.hand_over(1);
    assert_eq!(scene.broken(), []);
    scene.now = scene.envelope.expires_at();
    scene.hand_over(2);
    assert_eq!(scene.broken(), [Rule::ExpiredServed]);
}

#[test]
fn a_clock_is_given_no_more_doubt_than_others_can_raise() {
    let ahead = |hours: i64| [(0, hours * 3_600_000)].into_iter().collect();
    let served = |skews: Skews, late: Span| {
        let mut scene = Scene::holding();
        scene.oracle.skews = skews;
        scene.now = scene.envelope.expires_at() + late;
        scene.hand_over(1);
        scene.broken()
    };
    let second = Span::from_secs(1);
    let skews = |least, hours| Skews { least, ahead: ahead(hours) };
    assert_eq!(served(skews(0, 1), second), [Rule::ExpiredServed]);
    assert_eq!(served(skews(0, 30), second), []);
    assert_eq!(served(skews(0, 30), Span::from_mins(32 * 60)), [Rule::ExpiredServed]);
}

#[test]
fn an_envelope_that_nobody_has_made_is_altered() {
    let mut scene = Scene::holding();
    scene.envelope = envelope(&scene.mailbox, 2);
    scene.hand_over(1);
    assert_eq!(scene.broken(), [Rule::Altered]);
    // What an adversary has made is an envelope like any other.
    let mut scene = Scene::holding();
    scene.envelope = envelope(&scene.mailbox, 2);
    scene.oracle.made_up(scene.envelope.clone());
    scene.hand_over(1);
    assert_eq!(scene.broken(), []);
}

#[test]
fn an_envelope_comes_once_for_each_opening() {
    let mut scene = Scene::holding();
    scene.hand_over(5);
    let request = ClientRequest::Subscribe { grants: vec![], after: 0 };
    scene.input(&Input::ClientRequest { id: RequestId(6), session: READ, request });
    scene.hand_over(5);
    assert_eq!(scene.broken(), []);
    scene.hand_over(5);
    assert_eq!(scene.broken(), [Rule::HandedTwice]);
}

#[test]
fn states_are_true_and_do_not_go_back() {
    let mut scene = Scene::holding();
    scene.tell(EnvelopeState::Accepted);
    scene.give_receipt();
    scene.tell(EnvelopeState::Stored(1));
    assert_eq!(scene.broken(), []);
    scene.tell(EnvelopeState::Accepted);
    scene.tell(EnvelopeState::Stored(2));
    scene.tell(EnvelopeState::Delivered { at: scene.now });
    assert_eq!(scene.broken(), [Rule::StateUntrue; 3]);
    let mut scene = Scene::holding();
    scene.tell(EnvelopeState::Expired);
    assert_eq!(scene.broken(), [Rule::StateUntrue]);
    let mut scene = Scene::holding();
    scene.acknowledge();
    scene.tell(EnvelopeState::Delivered { at: scene.now });
    assert_eq!(scene.broken(), []);
}

#[test]
fn tables_that_do_not_fit_together_are_found() {
    let mut scene = Scene::holding();
    scene.look(|oracle, seen| oracle.image(seen));
    assert_eq!(scene.broken(), []);
    let all = scene.removal();
    for lost in &all {
        let mut scene = Scene::holding();
        scene.host.write(Batch { seq: Seq(2), writes: vec![lost.clone()] });
        scene.look(|oracle, seen| oracle.image(seen));
        assert!(scene.broken().contains(&Rule::ImageTorn), "{lost:?}");
    }
    let mut scene = Scene::holding();
    let totals = [[0; 8].as_slice(); 7].concat();
    let put = Write::Put { table: Family::Meta, key: b"totals".to_vec(), value: totals };
    scene.host.write(Batch { seq: Seq(2), writes: vec![put] });
    scene.look(|oracle, seen| oracle.image(seen));
    assert_eq!(scene.broken(), [Rule::ImageTorn]);
}

#[test]
fn more_than_there_may_be_is_too_much() {
    let bound = |held| Bound { what: "calls", held, most: 2 };
    let mut scene = Scene::new();
    scene.look(|oracle, seen| oracle.within(seen, [bound(0), bound(2)].into_iter()));
    assert_eq!(scene.broken(), []);
    scene.look(|oracle, seen| oracle.within(seen, [bound(3)].into_iter()));
    assert_eq!(scene.broken(), [Rule::BoundExceeded]);
}

#[test]
fn who_speaks_of_what_was_acknowledged_when_all_should_be_quiet_is_heard() {
    let mut scene = Scene::holding();
    scene.oracle.watch_for_quiet(START + Span::from_mins(1));
    scene.acknowledge();
    scene.offer();
    assert_eq!(scene.broken(), []);
    // It may take a while until all have heard of it.
    scene.now = START + Span::from_mins(14);
    scene.offer();
    assert_eq!(scene.broken(), []);
    scene.now = START + Span::from_mins(15);
    scene.offer();
    assert_eq!(scene.broken(), [Rule::StillSpokenOf]);
}
