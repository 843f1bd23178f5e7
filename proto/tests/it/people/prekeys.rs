//! When the secrets of prekeys leave their owner's disk (PROTOCOL §3.6).

use comm_proto::agent::Drawer;
use comm_proto::envelope::{CLOCK_TOLERANCE, TTL_MAX};
use comm_proto::prekey::{OFFERED_FOR, PrekeyRing, PrekeySecret, ROTATION};
use comm_proto::store::Store;
use comm_proto::time::{Span, Time};

use super::{START, Town};

const MILLISECOND: Span = Span::from_millis(1);
/// For how long a program that is offline goes by a clock that says that a time is over.
const OFFLINE: Span = Span::from_mins(3 * 60);

/// When the secret of a prekey must be gone.
fn end_of(created_at: Time) -> Time {
    created_at + OFFERED_FOR + TTL_MAX + CLOCK_TOLERANCE
}

/// When the secrets on Ann's disk were made, newest first.
fn on_disk(town: &Town) -> Vec<Time> {
    let record = town.people["ann"].store.get(Drawer::Meta, b"prekeys").unwrap().unwrap();
    let ring = PrekeyRing::from_bytes(&record).unwrap();
    ring.secrets().map(PrekeySecret::created_at).collect()
}

/// The weeks in which Ann makes a prekey, from one to another, newest first.
fn weeks(weeks: std::ops::RangeInclusive<u64>) -> Vec<Time> {
    weeks.rev().map(|week| START + ROTATION.times(week)).collect()
}

/// D29: the end lies between two rotations, and between two publications of the card.
#[test]
fn a_prekey_leaves_the_disk_when_its_time_ends_though_none_is_made_then() {
    let mut town = Town::with(&["ann"]);
    town.wait(end_of(START).since(START) - MILLISECOND);
    assert_eq!(on_disk(&town), weeks(0..=6), "not before its time");
    town.wait(MILLISECOND);
    assert_eq!(on_disk(&town), weeks(1..=6));
    town.restart("ann");
    town.connect("ann");
    assert_eq!(on_disk(&town), weeks(1..=6));
}

#[test]
fn a_prekey_leaves_the_disk_when_its_time_ends_though_its_owner_is_offline() {
    let mut town = Town::with(&["ann"]);
    town.wait(ROTATION);
    town.disconnect("ann");
    town.wait(end_of(START).since(town.now) + OFFLINE - MILLISECOND);
    assert_eq!(on_disk(&town), weeks(0..=1));
    town.wait(MILLISECOND);
    assert_eq!(on_disk(&town), weeks(1..=1));
    town.wait(ROTATION);
    assert_eq!(on_disk(&town), []);
}

/// What waits for Ann is sealed to these: a wrong clock must not destroy them as long as nobody confirms it.
#[test]
fn a_clock_that_is_months_ahead_for_an_hour_offline_destroys_no_prekey() {
    let mut town = Town::with(&["ann"]);
    town.wait(ROTATION);
    town.disconnect("ann");
    let right = town.now;
    for ahead in [90, 900] {
        town.now = right + Span::from_days(ahead);
        town.restart("ann");
        town.wait(Span::HOUR);
        assert_eq!(on_disk(&town), weeks(0..=1), "{ahead} days ahead");
    }
    town.now = right + Span::HOUR;
    town.wait(OFFLINE.times(3));
    town.connect("ann");
    assert_eq!(on_disk(&town), weeks(0..=1));
}

#[test]
fn a_prekey_whose_time_ended_while_the_program_was_off_leaves_the_disk_after_it_starts() {
    let mut town = Town::with(&["ann"]);
    town.now = end_of(START);
    town.restart("ann");
    town.wait(OFFLINE - MILLISECOND);
    assert_eq!(on_disk(&town), [START], "its clock may be wrong");
    town.wait(MILLISECOND);
    assert_eq!(on_disk(&town), []);
}

/// The newest is young enough, so that no other is made when the card is published.
#[test]
fn a_prekey_whose_time_ended_while_the_program_was_off_leaves_the_disk_when_it_connects() {
    let mut town = Town::with(&["ann"]);
    town.wait(ROTATION.times(6));
    assert_eq!(on_disk(&town), weeks(0..=6));
    town.now = end_of(START);
    town.restart("ann");
    town.connect("ann");
    assert_eq!(on_disk(&town), weeks(1..=6));
}
