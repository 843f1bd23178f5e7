//! Broken stores, lying nodes and forged messages: each rule finds them, and nothing where all is well.

use bytes::Bytes;
use comm_proto::acknowledgement::{Acknowledgement, KEPT_AFTER_EXPIRY};
use comm_proto::envelope::{Header, SizeClass, Suite};
use comm_proto::key::KeyPair;
use comm_proto::message::{ClientPush, Push, Request, Response, Waiting};
use comm_proto::node::{Bound, Config};
use comm_proto::receipt::Receipt;
use comm_proto::store::{Batch, Seq, Write};
use comm_proto::verified::Verified;

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
            oracle: Oracle::new(START, 0, Skews::default()),
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
            put(Family::Custody, id.as_bytes(), self.record(1)),
            put(Family::Mailboxes, &mailbox, id.as_bytes().to_vec()),
            put(Family::Schedule, &self.place(300), Vec::new()),
        ]
    }

    /// The head of a custody record: role, mailbox, expiry, arrival, rounds, and when it is due, which is 300.
    fn record(&self, role: u8) -> Vec<u8> {
        let mailbox = self.envelope.mailbox();
        [&[role][..], mailbox.as_bytes(), &[1, 0, 0x81, 1, 0xac, 2]].concat()
    }

    fn place(&self, due: u64) -> Vec<u8> {
        [&due.to_be_bytes()[..], self.id().as_bytes()].concat()
    }

    fn removal(&self) -> Vec<Write<Family>> {
        let delete = |table, key: &[u8]| Write::Delete { table, key: key.to_vec() };
        let mailbox = [&self.envelope.mailbox().as_bytes()[..], &[0; 8]].concat();
        vec![
            delete(Family::Envelopes, &body_key(&self.envelope)),
            delete(Family::Custody, self.id().as_bytes()),
            delete(Family::Mailboxes, &mailbox),
            delete(Family::Schedule, &self.place(300)),
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
        self.begin_step(writes);
        self.look(Oracle::has_evicted);
    }

    /// Writes, and what the node says of it may follow.
    fn begin_step(&mut self, writes: Vec<Write<Family>>) {
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

    /// The node tells its client that the acknowledgement is done.
    fn confirm(&mut self) {
        let result = Ok(ClientResponse::Done);
        self.output(Output::ClientReply { id: RequestId(3), result });
    }

    /// The node has read its client's acknowledgement, and its disk has that.
    fn end(&mut self) {
        self.acknowledge();
        self.write(self.burial());
        self.host.sync(Seq(self.seq));
        self.confirm();
    }

    /// Another node offers the envelope, and the node answers with these acknowledgements.
    fn answer_offer(&mut self, acknowledgements: Vec<Verified<Acknowledgement>>) {
        let (wanted, receipts) = (vec![], vec![]);
        let answer = Response::Offered { wanted, receipts, acknowledgements };
        self.output(Output::Reply { id: RequestId(8), result: Ok(answer) });
    }

    fn is_offered(&mut self) {
        let request = Request::Offer { ids: vec![self.id()] };
        let (from, source) = (self.host.key().public(), self.host.source());
        self.input(&Input::Request { id: RequestId(8), from, source, known: None, request });
    }

    /// The node offers the envelope, and the other has nothing to say.
    fn ask_in_vain(&mut self) {
        self.offer();
        let (wanted, receipts, acknowledgements) = (vec![], vec![], vec![]);
        let answer = Response::Offered { wanted, receipts, acknowledgements };
        self.input(&Input::Response { id: CallId(1), result: Ok(answer) });
        self.look(Oracle::after);
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
    let remove = |scene: &mut Scene, now: Time, says: &[Output]| {
        let removal = Output::Write(Batch { seq: Seq(9), writes: scene.removal() });
        let clock = scene.envelope.expires_at();
        let seen = Seen { now, clock, at: 0, host: &scene.host };
        scene.oracle.output(&seen, &removal);
        says.iter().for_each(|said| scene.oracle.output(&seen, said));
        scene.oracle.has_evicted(&seen);
    };
    scene.oracle.clock_set_ahead(0, START, Span::DAY);
    remove(&mut scene, START + Span::from_mins(181), &[]);
    assert_eq!(scene.broken(), []);
    // What is kept, though it is over by this clock, may give way like anything else.
    let evicted = Output::Event(Event::Evicted { id: scene.id() });
    remove(&mut scene, START + Span::from_mins(179), &[evicted]);
    assert_eq!(scene.broken(), []);
    remove(&mut scene, START + Span::from_mins(179), &[]);
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
        scene.oracle.has_evicted(&seen);
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
    scene.write(scene.rows());
    scene.host.sync(Seq(2));
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
fn who_asks_about_what_was_acknowledged_is_not_left_without_an_answer_for_ever() {
    let most = meetings::IN_VAIN_MAX;
    let asking = |healed: bool, later: Span| {
        let mut scene = Scene::holding();
        scene.end();
        // Somebody else's copy.
        scene.host = host(KeyPair::from_seed(&[3; 32]));
        scene.write(scene.rows());
        if healed {
            scene.oracle.healed(START);
        }
        scene.now = scene.now + later;
        scene
    };
    // As long as there is trouble, or not long after the end, anybody may meet those who do not know.
    for (healed, later) in [(false, Span::HOUR), (true, Span::from_secs(15 * 60 - 1))] {
        let mut scene = asking(healed, later);
        (0..=most).for_each(|_| scene.ask_in_vain());
        assert_eq!(scene.broken(), []);
    }
    let mut scene = asking(true, Span::from_mins(15));
    (0..most).for_each(|_| scene.ask_in_vain());
    assert_eq!(scene.broken(), []);
    scene.ask_in_vain();
    assert_eq!(scene.broken(), [Rule::StillSpokenOf]);
    // It was told, and got another copy.
    let mut scene = asking(true, Span::from_mins(15));
    (0..most).for_each(|_| scene.ask_in_vain());
    scene.write(scene.burial());
    let key = tombstone(&scene.id()).to_vec();
    scene.write(vec![Write::Delete { table: Family::Tombstones, key }]);
    scene.write(scene.rows());
    scene.ask_in_vain();
    assert_eq!(scene.broken(), []);
}

#[test]
fn what_nobody_has_confirmed_may_be_asked_about() {
    let mut scene = Scene::holding();
    scene.oracle.healed(START);
    // The request was lost with the power.
    scene.acknowledge();
    scene.now = START + Span::HOUR;
    (0..=meetings::IN_VAIN_MAX).for_each(|_| scene.ask_in_vain());
    assert_eq!(scene.broken(), []);
}

#[test]
fn who_asks_about_what_has_ended_here_is_told() {
    let mut scene = Scene::holding();
    scene.end();
    scene.is_offered();
    scene.answer_offer(vec![scene.acknowledgement().verify(scene.now).unwrap()]);
    assert_eq!(scene.broken(), []);
    scene.is_offered();
    scene.answer_offer(vec![]);
    assert_eq!(scene.broken(), [Rule::EndNotTold]);
    // It ends while the answer waits for the disk.
    let mut scene = Scene::holding();
    scene.is_offered();
    scene.end();
    scene.answer_offer(vec![]);
    assert_eq!(scene.broken(), [Rule::EndNotTold]);
    // It may be over by the other's clock.
    let mut scene = Scene::holding();
    scene.end();
    scene.now = scene.acknowledgement().expires_at() - Span::from_mins(180);
    scene.is_offered();
    scene.answer_offer(vec![]);
    assert_eq!(scene.broken(), []);
    // Its sender has taken it back, which concerns nobody else.
    let mut scene = Scene::holding();
    let request = ClientRequest::Cancel { id: scene.id() };
    scene.input(&Input::ClientRequest { id: RequestId(4), session: SessionId(2), request });
    scene.write(scene.burial());
    scene.acknowledge();
    scene.is_offered();
    scene.answer_offer(vec![]);
    assert_eq!(scene.broken(), []);
}

#[test]
fn what_is_not_on_disk_is_shown_to_nobody() {
    let show = |scene: &mut Scene| {
        scene.hand_over(1);
        let waiting = vec![Waiting { mailbox: scene.envelope.mailbox(), id: scene.id() }];
        let to = scene.host.key().address();
        scene.output(Output::Push { to, push: Push::Waiting(waiting.clone()) });
        let answer = Response::Subscribed { waiting, cursor: 1, more: false };
        scene.output(Output::Reply { id: RequestId(1), result: Ok(answer) });
        scene.broken()
    };
    let mut scene = Scene::new();
    scene.write(scene.rows());
    assert_eq!(show(&mut scene), [Rule::PromiseBeforeDisk; 3]);
    assert_eq!(show(&mut Scene::holding()), []);
}

#[test]
fn an_acknowledgement_is_confirmed_only_when_the_disk_has_the_end() {
    let mut scene = Scene::holding();
    scene.acknowledge();
    scene.write(scene.burial());
    scene.confirm();
    assert_eq!(scene.broken(), [Rule::PromiseBeforeDisk]);
    // Asked again, the node knows the end, and its disk does not yet.
    scene.acknowledge();
    scene.confirm();
    assert_eq!(scene.broken(), [Rule::PromiseBeforeDisk; 2]);
    let mut scene = Scene::holding();
    scene.end();
    assert_eq!(scene.broken(), []);
    // What is not here need not end here.
    let mut scene = Scene::new();
    scene.acknowledge();
    scene.confirm();
    assert_eq!(scene.broken(), []);
}

#[test]
fn an_envelope_that_is_never_due_is_found() {
    let changed = |role: u8, due: Option<u64>| {
        let mut scene = Scene::holding();
        let record = Write::Put {
            table: Family::Custody,
            key: scene.id().as_bytes().to_vec(),
            value: scene.record(role),
        };
        let place = Write::Delete { table: Family::Schedule, key: scene.place(300) };
        let other = due.map(|due| Write::Put {
            table: Family::Schedule,
            key: scene.place(due),
            value: Vec::new(),
        });
        let writes = [record, place].into_iter().chain(other).collect();
        scene.host.write(Batch { seq: Seq(2), writes });
        scene.look(|oracle, seen| oracle.image(seen));
        scene.broken()
    };
    for role in [1, 2] {
        assert_eq!(changed(role, Some(300)), []);
        assert_eq!(changed(role, None), [Rule::ImageTorn]);
        // The node takes that for a place which it has left.
        assert_eq!(changed(role, Some(301)), [Rule::ImageTorn]);
    }
    assert_eq!(changed(3, None), []);
}

#[test]
fn whoever_still_repeats_what_was_acknowledged_long_ago_is_found_at_the_end() {
    let left = |role: u8, healed: bool, later: Span| {
        let mut scene = Scene::holding();
        scene.end();
        // Somebody else's copy.
        scene.host = host(KeyPair::from_seed(&[3; 32]));
        scene.write(scene.rows());
        let (key, value) = (scene.id().as_bytes().to_vec(), scene.record(role));
        scene.write(vec![Write::Put { table: Family::Custody, key, value }]);
        if healed {
            scene.oracle.healed(START);
        }
        scene.now = scene.now + later;
        scene.look(|oracle, seen| oracle.copies_left(seen, Span::HOUR));
        scene.broken()
    };
    assert_eq!(left(2, true, Span::HOUR), [Rule::CopyLeft]);
    assert_eq!(left(1, true, Span::HOUR), [Rule::CopyLeft], "the writer's own too");
    assert_eq!(left(3, true, Span::HOUR), [], "what lies ready for readers is repeated to nobody");
    assert_eq!(left(2, true, Span::from_mins(59)), [], "there was no time enough");
    assert_eq!(left(2, false, Span::HOUR), [], "there is trouble");
}

#[test]
fn a_record_that_remembers_more_than_it_may_is_found() {
    // Two numbers more, then a mark for each holder that was handed it, and none that gave a receipt.
    let with = |holders: u8, given: &[u8]| {
        let mut scene = Scene::holding();
        let addresses = (0..holders).flat_map(|holder| [holder; 20]).collect::<Vec<_>>();
        let value = [&scene.record(1)[..], &[0, 0], given, &[0], &addresses].concat();
        let key = scene.id().as_bytes().to_vec();
        let put = Write::Put { table: Family::Custody, key, value };
        scene.host.write(Batch { seq: Seq(2), writes: vec![put] });
        scene.look(|oracle, seen| oracle.image(seen));
        scene.broken()
    };
    let (nobody, everybody) = (&[0][..], &[[0xff; 9].as_slice(), &[1]].concat()[..]);
    assert_eq!((with(32, nobody), with(64, everybody)), (vec![], vec![]));
    assert_eq!(with(33, nobody), [Rule::ImageTorn], "more claims");
    assert_eq!(with(65, everybody), [Rule::ImageTorn], "more holders");
}

/// Charges the network `group` for an envelope of 1 KiB.
fn charge(group: u8, id: &EnvelopeId) -> Write<Family> {
    let value = [id.as_bytes(), &1_024_u32.to_be_bytes()[..]].concat();
    Write::Put { table: Family::Shares, key: share(group, id), value }
}

fn share(group: u8, id: &EnvelopeId) -> Vec<u8> {
    [&[1, 30, group][..], &id.as_bytes()[..16]].concat()
}

/// Network 1 is charged for the scene's envelope and so many others, network 2 for so many; of the disk, mail of
/// others may use 45,937 bytes, room for 16 of them.
fn charged(first: u8, second: u8) -> Scene {
    let mut scene = Scene::holding();
    let config = Config { store_bytes_max: 60_000, ..Config::default() };
    scene.host.start(config, [1; 32], START);
    let other = |group: u8, n: u8| charge(group, &EnvelopeId::from_bytes([group << 6 | n; 32]));
    let (firsts, seconds) = ((0..first).map(|n| other(1, n)), (0..second).map(|n| other(2, n)));
    scene.write(firsts.chain(seconds).chain([charge(1, &scene.id())]).collect());
    scene
}

impl Scene {
    fn evict(&mut self) {
        let gone = Write::Delete { table: Family::Shares, key: share(1, &self.id()) };
        self.begin_step([self.removal(), vec![gone]].concat());
        self.output(Output::Event(Event::Evicted { id: self.id() }));
        self.look(Oracle::has_evicted);
    }
}

#[test]
fn whoever_uses_most_of_a_full_disk_may_lose_an_envelope_though_a_receipt_was_given() {
    let mut scene = charged(12, 4);
    scene.give_receipt();
    scene.evict();
    scene.host.sync(Seq(scene.seq));
    scene.look(Oracle::promises_kept);
    assert_eq!(scene.broken(), []);
}

#[test]
fn nobody_loses_an_envelope_to_those_who_use_more_or_while_there_is_room() {
    for (first, second) in [(1, 15), (4, 12), (3, 0), (8, 4)] {
        let mut scene = charged(first, second);
        scene.evict();
        assert_eq!(scene.broken(), [Rule::WronglyRemoved], "{first}, {second}");
    }
}

#[test]
fn own_mail_is_not_evicted_and_nothing_else_without_a_word() {
    let mut scene = charged(16, 0);
    let gone = Write::Delete { table: Family::Shares, key: share(1, &scene.id()) };
    scene.write([scene.removal(), vec![gone]].concat());
    assert_eq!(scene.broken(), [Rule::WronglyRemoved]);
    let mut scene = Scene::holding();
    scene.begin_step(scene.removal());
    scene.output(Output::Event(Event::Evicted { id: scene.id() }));
    scene.look(Oracle::has_evicted);
    assert_eq!(scene.broken(), [Rule::WronglyRemoved]);
}
