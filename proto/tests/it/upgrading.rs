//! A store that an older program wrote: what `testdata/store/layout-1.txt` holds was written by one.
//!
//! A `row` of the file is a table, a key and a value; `name` says whose envelope an id is (mailbox,
//! number and expiry), `state` and `totals` what the older program said of them, `now` when.

use comm_proto::address::Address;
use comm_proto::envelope::Envelope;
use comm_proto::key::KeyPair;
use comm_proto::message::{Request, Response};
use comm_proto::node::{Family, Upgrade};
use comm_proto::store::{Batch, MemoryStore, Seq, Store, Write};
use comm_proto::time::{Span, Time};

use crate::world::{At, Mailbox, START, World, fill};

/// What the file says, and the store in it.
struct Old {
    lines: Vec<Vec<&'static str>>,
    store: MemoryStore<Family>,
}

impl Old {
    fn read() -> Self {
        let text = include_str!("../../testdata/store/layout-1.txt");
        let lines: Vec<Vec<_>> = text.lines().map(|line| line.split(' ').collect()).collect();
        let mut store = MemoryStore::new();
        let rows = lines.iter().filter(|line| line[0] == "row");
        let put = |row: &Vec<&str>| Write::Put {
            table: Family::ALL.into_iter().find(|table| table.name() == row[1]).unwrap(),
            key: hex::decode(row[2]).unwrap(),
            value: hex::decode(row[3]).unwrap(),
        };
        store.apply(&Batch { seq: Seq(1), writes: rows.map(put).collect() });
        Self { lines, store }
    }

    fn lines(&self, kind: &str) -> impl Iterator<Item = &[&'static str]> {
        self.lines.iter().filter(move |line| line[0] == kind).map(|line| &line[1..])
    }

    fn now(&self) -> Time {
        Time::from_millis(self.lines("now").next().unwrap()[0].parse().unwrap())
    }

    fn envelope(&self, name: &str) -> Envelope {
        let line = self.lines("name").find(|line| line[0] == name).unwrap();
        let [mailbox, number, expires_at] = [1, 2, 3].map(|at| line[at].parse().unwrap());
        Mailbox::new(mailbox).envelope(number, Time::from_millis(expires_at))
    }

    /// A world in which host 0 has been upgraded.
    fn upgraded(&self) -> World {
        let mut world = World::new(77);
        let host = world.add(|_| {});
        world.run_for(self.now().since(START));
        world.replace_disk(host, finished(self.store.clone()).0);
        world
    }
}

fn step(upgrade: &mut Upgrade, store: &mut MemoryStore<Family>) -> bool {
    let writes = upgrade.next(store).unwrap();
    let Some(writes) = writes else { return false };
    store.apply(&Batch { seq: Seq(1), writes });
    true
}

/// The store after an upgrade, and how many batches that took.
fn finished(mut store: MemoryStore<Family>) -> (MemoryStore<Family>, usize) {
    let (mut upgrade, mut batches) = (Upgrade::new(&store).unwrap(), 0);
    while step(&mut upgrade, &mut store) {
        batches += 1;
    }
    (store, batches)
}

const HOST: At = 0;

#[test]
fn an_upgraded_node_says_of_each_envelope_what_it_said_before() {
    let old = Old::read();
    let mut world = old.upgraded();
    let states: Vec<_> = old.lines("state").collect();
    assert_eq!(states.len(), 8);
    for line in states {
        let state = world.state(HOST, &old.envelope(line[0])).unwrap();
        assert_eq!(format!("{state:?}"), line[1..].join(" "), "of {}", line[0]);
    }
    let (stats, before) = (world.stats(HOST), old.lines("totals").next().unwrap());
    // The acknowledgement of one of them was over, which nobody can bring back either.
    let expected = [stats.envelopes, stats.envelope_bytes, stats.tombstones + 1];
    assert_eq!(expected.map(|total| total.to_string()), before[..]);
    assert_eq!(world.kept(HOST, Family::Tombstones) as u64, stats.tombstones);
    assert_eq!(world.kept(HOST, Family::Cards), 1);
}

#[test]
fn an_upgraded_node_serves_what_waited_in_the_same_order_under_the_same_cursors() {
    let old = Old::read();
    let mut world = old.upgraded();
    let mailbox = Mailbox::new(2);
    world.subscribe(HOST, 1, &mailbox, 0);
    world.run_for(Span::from_secs(1));
    let place = mailbox.address();
    let (low, high) = (place.as_bytes(), [&place.as_bytes()[..], &[0xff; 9]].concat());
    let waiting = old.store.scan(Family::Mailboxes, low, &high, 9).unwrap();
    let cursor = |key: &[u8]| u64::from_be_bytes(key[Address::LEN..].try_into().unwrap());
    let cursors: Vec<_> = waiting.iter().map(|(key, _)| cursor(key)).collect();
    let expected = cursors.into_iter().zip(["held-own", "held-relayed"]);
    let expected: Vec<_> = expected.map(|(at, name)| (at, old.envelope(name).id())).collect();
    assert_eq!(world.given(HOST, 1), expected);
}

#[test]
fn an_upgraded_node_answers_others_as_before_and_takes_nothing_that_ended() {
    let old = Old::read();
    let mut world = old.upgraded();
    let ids = ["held-own", "read-own", "read-relayed", "read-39", "cancelled"]
        .map(|name| old.envelope(name).id());
    let stranger = KeyPair::from_seed(&fill(66)).public();
    let offer = world.ask_as(stranger, HOST, Request::Offer { ids: ids.to_vec() });
    let envelopes = ["read-relayed", "cancelled"].map(|name| old.envelope(name)).to_vec();
    let delivery = world.ask_as(stranger, HOST, Request::Deliver { envelopes });
    world.run_for(Span::from_secs(1));
    let Some(Ok(Response::Offered { wanted, receipts, acknowledgements })) = world.answer(offer)
    else {
        panic!("{:?}", world.answer(offer))
    };
    assert_eq!((wanted.len(), receipts[0].ids()), (0, &ids[..1]));
    assert_eq!(acknowledgements.len(), 2);
    for id in &ids[1..4] {
        assert!(acknowledgements.iter().any(|read| read.ids().contains(id)));
    }
    let Some(Ok(Response::Delivered { receipts, refused, acknowledgements })) =
        world.answer(delivery)
    else {
        panic!("{:?}", world.answer(delivery))
    };
    assert_eq!((receipts.len(), refused.len(), acknowledgements.len()), (0, 0, 1));
    assert_eq!(world.stats(HOST).envelopes, 2);
}

#[test]
fn an_upgraded_node_forgets_everything_in_time() {
    let old = Old::read();
    let mut world = old.upgraded();
    let last = |name: &str| old.envelope(name).expires_at();
    // The two whose time was over already stay for their day of grace.
    world.run_for(Span::DAY);
    assert_eq!(world.kept(HOST, Family::Acknowledgements), 32);
    let left = (last("held-relayed") - Span::from_mins(1)).since(world.now());
    world.run_for(left);
    assert_eq!(world.stats(HOST).envelopes, 1);
    world.run_for(Span::from_mins(2));
    assert_eq!(world.stats(HOST).envelopes, 0);
    let left = (last("read-relayed") + Span::from_days(1)).since(world.now());
    world.run_for(left + Span::from_secs(4 * 3_600));
    for table in Family::ALL {
        let kept = world.kept(HOST, table);
        assert!(kept == 0 || table == Family::Meta || table == Family::Contacts, "{table:?}");
    }
    assert_eq!(world.stats(HOST).tombstones, 0);
}

#[test]
fn an_upgrade_that_is_broken_off_after_any_batch_comes_to_the_same_end() {
    let old = Old::read();
    let (expected, batches) = finished(old.store.clone());
    assert!(batches > 6, "only {batches} batches");
    for last in 0..=batches {
        let mut store = old.store.clone();
        let mut broken_off = Upgrade::new(&store).unwrap();
        assert!((0..last).all(|_| step(&mut broken_off, &mut store)));
        assert!(finished(store).0 == expected, "after {last} of {batches} batches");
    }
    assert_eq!(finished(expected.clone()), (expected, 0));
}

/// A day that is over goes as a whole, before each of its envelopes has been taken up.
#[test]
fn an_envelope_whose_body_is_gone_already_is_removed_by_the_upgrade() {
    let old = Old::read();
    let mut store = old.store.clone();
    let bodies =
        Write::DeleteRange { table: Family::Envelopes, from: Vec::new(), to: vec![0xff; 8] };
    store.apply(&Batch { seq: Seq(1), writes: vec![bodies] });
    let (store, _) = finished(store);
    for table in [Family::Custody, Family::Mailboxes, Family::Schedule] {
        assert!(store.is_empty(table), "{table:?}");
    }
    let totals = store.get(Family::Meta, b"totals").unwrap().unwrap();
    assert_eq!(totals[..16], [0; 16]);
}
