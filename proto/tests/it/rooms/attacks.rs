//! What people try who want more of a room than they were given.

use comm_proto::key::KeyPair;
use comm_proto::room::{
    Change, Event, EventError, Invitation, InvitationError, Join, Joining, JoiningError, LogError,
    Office, Policy, Refused, Taken, Verdict, admit,
};
use comm_proto::time::Span;

use super::{NOW, appoint, bring_in, forged, founded, invite, key, name, person, room_of, tell};

fn refused(error: Refused) -> Result<(), LogError> {
    Err(LogError::NotEntitled(error))
}

#[test]
fn somebody_joins_by_an_invitation_and_is_told_the_whole_room() {
    let mut log = room_of(3, &[]);
    let invitation = invite(&mut log, 1, 100).unwrap();
    let handed = Invitation::parse(&invitation.text()).unwrap();
    let mut joining = Joining::new(handed, &person(9), [4; 32], NOW).unwrap();
    let comm_proto::room::Note::Ask { room, join } = joining.ask() else { panic!() };
    let join = join.verify(room).unwrap();
    let admission = admit(&mut log, &person(1), &join, NOW).unwrap();
    // A second request says what the first did; nothing is made of it.
    let length = log.len();
    assert_eq!(admit(&mut log, &person(2), &join, NOW), Ok(admission));
    assert_eq!(log.len(), length);
    // In whatever order the events come.
    let events: Vec<_> = log.events().cloned().collect();
    for event in events.into_iter().rev() {
        joining.take(event).unwrap();
    }
    let theirs = joining.into_log().unwrap();
    assert_eq!(theirs.state(), log.state());
    assert!(theirs.state().is_member(&key(9)));
}

#[test]
fn a_recorded_join_lets_nobody_in_again() {
    let mut log = room_of(2, &[]);
    let invitation = invite(&mut log, 0, 50).unwrap();
    let recorded = Join::sign(&invitation, &person(5), [1; 32]);
    admit(&mut log, &person(0), &recorded, NOW).unwrap();
    log.write(&person(0), Change::Remove(key(5)), NOW).unwrap();
    let again = admit(&mut log, &person(0), &recorded, NOW).map(|_| ());
    assert_eq!(again, refused(Refused::UsedInvitation));
    // Nor in another room, whose log it would be put into.
    let mut other = founded();
    let elsewhere = Event::found(&person(0), name("another"), [8; 32], NOW);
    let mut another = comm_proto::room::Log::new(elsewhere).unwrap();
    assert_eq!(admit(&mut another, &person(0), &recorded, NOW), Err(LogError::OtherRoom));
    let unknown = admit(&mut other, &person(0), &recorded, NOW).map(|_| ());
    assert_eq!(unknown, refused(Refused::UnknownInvitation));
}

#[test]
fn a_join_answer_for_another_room_or_another_request_brings_nobody_in() {
    let mut log = room_of(2, &[]);
    let invitation = invite(&mut log, 0, 50).unwrap();
    let mut joining = Joining::new(invitation.clone(), &person(5), [1; 32], NOW).unwrap();
    let elsewhere = Event::found(&person(0), name("another"), [8; 32], NOW);
    assert_eq!(joining.take(elsewhere), Err(JoiningError::OtherRoom));
    // The room lets them in, but by a request of before: nothing fresh answers this one.
    let old = Join::sign(&invitation, &person(5), [0; 32]);
    admit(&mut log, &person(0), &old, NOW).unwrap();
    for event in log.events() {
        joining.take(event.clone()).unwrap();
    }
    assert!(joining.log().unwrap().state().is_member(&key(5)));
    let joining = joining.into_log().unwrap_err();
    let (inviter, stranger) = (super::address(0), super::address(7));
    assert_eq!(joining.check_refusal(&inviter, &[1; 32]), Ok(()));
    assert_eq!(joining.check_refusal(&inviter, &[0; 32]), Err(JoiningError::OtherRequest));
    assert_eq!(joining.check_refusal(&stranger, &[1; 32]), Err(JoiningError::NotAsked));
}

#[test]
fn an_invitation_lets_one_person_in_even_where_two_let_somebody_in_at_once() {
    let mut log = room_of(3, &[]);
    let invitation = invite(&mut log, 0, 50).unwrap();
    let join = |who: u8| Join::sign(&invitation, &person(who), [who; 32]);
    let (mut one, mut other) = (log.clone(), log.clone());
    admit(&mut one, &person(1), &join(5), NOW).unwrap();
    let again = admit(&mut one, &person(1), &join(6), NOW).map(|_| ());
    assert_eq!(again, refused(Refused::UsedInvitation));
    admit(&mut other, &person(2), &join(6), NOW).unwrap();
    let alone = one.clone();
    tell(&other, &mut one);
    tell(&alone, &mut other);
    assert_eq!(one.state(), other.state());
    let both = [5, 6].map(|who| one.state().is_member(&key(who)));
    assert!(both[0] != both[1], "{both:?}");
}

#[test]
fn an_expired_or_revoked_invitation_lets_nobody_in() {
    let mut log = room_of(3, &[]);
    let invitation = invite(&mut log, 1, 50).unwrap();
    let join = Join::sign(&invitation, &person(5), [1; 32]);
    let late = admit(&mut log.clone(), &person(1), &join, NOW + Span::DAY).map(|_| ());
    assert_eq!(late, refused(Refused::ExpiredInvitation));
    let much_later = NOW + Span::from_days(2);
    let asking = Joining::new(invitation.clone(), &person(5), [1; 32], much_later);
    assert_eq!(asking.map(|_| ()).unwrap_err(), InvitationError::Expired);
    // Nobody but its author and admins revokes.
    let revoke = || Change::Revoke(invitation.token());
    let by_another = log.write(&person(2), revoke(), NOW).map(|_| ());
    assert_eq!(by_another, refused(Refused::NotEntitled));
    log.write(&person(1), revoke(), NOW).unwrap();
    let revoked = admit(&mut log, &person(0), &join, NOW).map(|_| ());
    assert_eq!(revoked, refused(Refused::RevokedInvitation));
}

#[test]
fn an_invitation_is_good_for_thirty_days_at_most() {
    let mut log = founded();
    for (span, good) in [(30, true), (31, false), (0, false)] {
        let expires_at = NOW + Span::from_days(span);
        let change = Change::Invite { token: key(40 + span as u8), expires_at };
        let made = log.write(&person(0), change, NOW).map(|_| ());
        assert_eq!(made, if good { Ok(()) } else { refused(Refused::Lifetime) });
    }
}

/// When it was made is what its author says; by the clock of whoever lets somebody in it is good for no longer.
#[test]
fn an_invitation_of_the_far_future_lets_nobody_in_before() {
    let mut log = room_of(2, &[]);
    let expires_at = NOW + Span::from_days(60);
    let invitation = Invitation::new(log.room(), key(1), Vec::new(), [8; 32], expires_at);
    let change = Change::Invite { token: invitation.token(), expires_at };
    log.write(&person(1), change, NOW + Span::from_days(31)).unwrap();
    let join = Join::sign(&invitation, &person(5), [1; 32]);
    assert_eq!(admit(&mut log, &person(0), &join, NOW).map(|_| ()), refused(Refused::Lifetime));
    assert!(admit(&mut log, &person(0), &join, NOW + Span::from_days(30)).is_ok());
}

#[test]
fn nobody_is_made_a_member_who_has_not_asked_for_it() {
    let mut log = founded();
    let invitation = invite(&mut log, 0, 50).unwrap();
    let join = Join::sign(&invitation, &person(5), [1; 32]).into_inner();
    let heads: Vec<_> = log.heads().iter().copied().collect();
    let bytes = forged(&log, 0, Some(heads[0]), &heads, Change::Admit(Box::new(join))).to_bytes();
    assert!(Event::from_bytes(&bytes).unwrap().verify().is_ok());
    // The owner puts another joiner in, and signs the event anew: as if a join of somebody else's were theirs.
    let other = Invitation::new(log.room(), key(0), Vec::new(), [9; 32], NOW + Span::DAY);
    let stolen = Join::sign(&other, &person(6), [1; 32]).into_inner();
    let mut bytes = stolen_into(&bytes, &stolen);
    let signed = bytes.len() - 64;
    let signature = person(0).sign(&bytes[..signed]);
    bytes[signed..].copy_from_slice(signature.as_bytes());
    assert_eq!(Event::from_bytes(&bytes).unwrap().verify().map(|_| ()), Err(EventError::Join));
}

/// The bytes of an admission with the joiner's key of another join.
fn stolen_into(bytes: &[u8], other: &Join) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = bytes.len() - 64 - Join::LEN + 32;
    bytes[at..at + 32].copy_from_slice(other.joiner().as_bytes());
    bytes
}

#[test]
fn what_takes_an_admin_is_refused_to_members_and_what_takes_an_owner_to_admins() {
    let log = room_of(5, &[1, 2]);
    let try_as = |who: u8, change: Change| log.clone().write(&person(who), change, NOW).map(|_| ());
    let appoint = |member: u8, role| Change::Appoint { member: key(member), role };
    for change in [
        Change::Rename(name("mine")),
        Change::Decide(Policy::Nobody),
        Change::Remove(key(4)),
        appoint(4, Office::Admin),
    ] {
        assert_eq!(try_as(3, change.clone()), refused(Refused::NotEntitled), "{change:?}");
        assert_eq!(try_as(9, change), refused(Refused::NotAMember));
    }
    // Admins remove members, and neither each other nor the owner.
    assert_eq!(try_as(1, Change::Remove(key(4))), Ok(()));
    for (who, whom) in [(1, 2), (1, 0), (1, 1), (0, 0)] {
        assert_eq!(try_as(who, Change::Remove(key(whom))), refused(Refused::NotEntitled));
    }
    assert_eq!(try_as(1, appoint(3, Office::Admin)), refused(Refused::NotEntitled));
    assert_eq!(try_as(0, appoint(3, Office::Admin)), Ok(()));
    assert_eq!(try_as(0, Change::Leave), refused(Refused::OwnerStays));
    assert_eq!(try_as(1, Change::Leave), Ok(()));
}

#[test]
fn an_event_by_a_non_admin_is_taken_by_nobody_whoever_passes_it_on() {
    let log = room_of(4, &[1]);
    let heads: Vec<_> = log.heads().iter().copied().collect();
    let event = forged(&log, 3, None, &heads, Change::Remove(key(2)));
    for _ in 0..2 {
        let mut theirs = log.clone();
        let taken = theirs.take(event.clone()).map(|_| ());
        assert_eq!(taken, refused(Refused::NotEntitled));
        assert_eq!(theirs.state(), log.state());
    }
}

#[test]
fn a_room_that_is_locked_lets_nobody_in_and_one_of_admins_only_by_them() {
    let mut log = room_of(3, &[1]);
    let before = invite(&mut log, 2, 50).unwrap();
    log.write(&person(1), Change::Decide(Policy::Admins), NOW).unwrap();
    assert_eq!(bring_in(&mut log, 2, 5, 51).map(|_| ()), refused(Refused::Locked));
    let join = Join::sign(&before, &person(5), [5; 32]);
    let by_member = admit(&mut log, &person(2), &join, NOW).map(|_| ());
    assert_eq!(by_member, refused(Refused::Locked));
    admit(&mut log, &person(1), &join, NOW).unwrap();
    log.write(&person(1), Change::Decide(Policy::Nobody), NOW).unwrap();
    for who in [0, 1, 2] {
        let by = bring_in(&mut log, who, 6, 60 + u16::from(who)).map(|_| ());
        assert_eq!(by, refused(Refused::Locked));
    }
}

#[test]
fn an_invitation_of_a_removed_member_is_worth_nothing() {
    let mut log = room_of(3, &[]);
    let invitation = invite(&mut log, 2, 50).unwrap();
    log.write(&person(0), Change::Remove(key(2)), NOW).unwrap();
    let join = Join::sign(&invitation, &person(5), [5; 32]);
    let by_owner = admit(&mut log, &person(0), &join, NOW).map(|_| ());
    assert_eq!(by_owner, refused(Refused::RevokedInvitation));
    assert_eq!(invite(&mut log, 2, 51).map(|_| ()), refused(Refused::NotAMember));
}

/// They know of their removal, and say that they do not.
#[test]
fn what_a_removed_member_does_as_if_they_did_not_know_counts_for_nothing() {
    let mut log = room_of(4, &[1]);
    let before = log.clone();
    log.write(&person(0), Change::Remove(key(1)), NOW).unwrap();
    let mut theirs = before.clone();
    theirs.write(&person(1), Change::Rename(name("mine")), NOW).unwrap();
    theirs.write(&person(1), Change::Remove(key(3)), NOW).unwrap();
    bring_in(&mut theirs, 1, 7, 70).unwrap();
    // Whom they let in acts, too.
    bring_in(&mut theirs, 7, 8, 71).unwrap();
    let state = log.state().clone();
    tell(&theirs, &mut log);
    assert_eq!(log.state().members(), state.members());
    assert_eq!(log.state().name(), state.name());
    tell(&log, &mut theirs);
    assert_eq!(theirs.state(), log.state());
    let counting = theirs.events().filter(|e| theirs.verdict(&e.id()) == Some(Verdict::Counts));
    assert_eq!(counting.count(), before.len() + 1);
}

#[test]
fn what_a_demoted_admin_does_as_if_they_did_not_know_counts_for_nothing_and_they_stay() {
    let mut log = room_of(4, &[1]);
    let mut theirs = log.clone();
    appoint(&mut log, 1, Office::Member);
    theirs.write(&person(1), Change::Remove(key(3)), NOW).unwrap();
    tell(&theirs, &mut log);
    assert!(log.state().is_member(&key(3)) && log.state().is_member(&key(1)));
}

#[test]
fn a_lock_holds_against_those_below_who_say_that_they_did_not_know() {
    let mut log = room_of(3, &[1]);
    let mut theirs = log.clone();
    log.write(&person(1), Change::Decide(Policy::Nobody), NOW).unwrap();
    bring_in(&mut theirs, 2, 7, 70).unwrap();
    tell(&theirs, &mut log);
    assert!(!log.state().is_member(&key(7)));
    tell(&log, &mut theirs);
    assert_eq!(theirs.state(), log.state());
}

/// Else a member could throw out whom they had once invited, whatever has become of them.
#[test]
fn a_member_cannot_undo_by_a_late_revocation_what_an_invitation_has_done() {
    let mut log = room_of(2, &[]);
    let invitation = invite(&mut log, 1, 50).unwrap();
    let mut theirs = log.clone();
    let join = Join::sign(&invitation, &person(5), [5; 32]);
    admit(&mut log, &person(0), &join, NOW).unwrap();
    appoint(&mut log, 5, Office::Admin);
    theirs.write(&person(1), Change::Revoke(invitation.token()), NOW).unwrap();
    tell(&theirs, &mut log);
    assert!(log.state().is_member(&key(5)));
}

#[test]
fn a_log_that_an_admin_forks_is_shown_to_all_and_is_the_same_for_all() {
    let log = room_of(4, &[1]);
    let (mut one, mut other) = (log.clone(), log.clone());
    let to_one = one.write(&person(1), Change::Rename(name("for you")), NOW).unwrap();
    let to_other = other.write(&person(1), Change::Remove(key(3)), NOW).unwrap();
    assert!(one.forks().is_empty() && other.forks().is_empty());
    assert!(matches!(one.take(to_other.clone()), Ok(Taken::New(_))));
    assert!(matches!(other.take(to_one.clone()), Ok(Taken::New(_))));
    for log in [&one, &other] {
        let [fork] = log.forks() else { panic!("{:?}", log.forks()) };
        assert_eq!(fork.author, key(1));
        let mut both = [to_one.id(), to_other.id()];
        let mut shown = fork.events;
        both.sort();
        shown.sort();
        assert_eq!(shown, both);
        // The proof: two events that are signed.
        assert!(shown.iter().all(|id| log.contains(id)));
    }
    assert_eq!(one.state(), other.state());
}

/// Two who make each other owners in turn, beside all that others do, would stand above everybody.
#[test]
fn nobody_makes_another_owner() {
    let log = room_of(3, &[]);
    let heads: Vec<_> = log.heads().iter().copied().collect();
    let change = Change::Appoint { member: key(1), role: Office::Admin };
    let mut bytes = forged(&log, 0, None, &heads, change).to_bytes();
    let signed = bytes.len() - 64;
    bytes[signed - 1] = 2;
    let signature = person(0).sign(&bytes[..signed]);
    bytes[signed..].copy_from_slice(signature.as_bytes());
    assert_eq!(Event::from_bytes(&bytes), Err(EventError::Value("the role")));
}

#[test]
fn the_founder_owns_the_room_until_nobody_else_is_there() {
    let mut log = room_of(2, &[1]);
    assert_eq!(log.write(&person(0), Change::Leave, NOW).map(|_| ()), refused(Refused::OwnerStays));
    log.write(&person(1), Change::Leave, NOW).unwrap();
    log.write(&person(0), Change::Leave, NOW).unwrap();
    assert!(log.state().members().is_empty());
}

#[test]
fn whoever_was_removed_comes_back_by_a_new_invitation_and_counts_from_then_on() {
    let mut log = room_of(3, &[]);
    let before = log.clone();
    log.write(&person(0), Change::Remove(key(2)), NOW).unwrap();
    bring_in(&mut log, 0, 2, 90).unwrap();
    bring_in(&mut log, 2, 6, 91).unwrap();
    assert!(log.state().is_member(&key(2)) && log.state().is_member(&key(6)));
    let mut old = before;
    bring_in(&mut old, 2, 7, 92).unwrap();
    tell(&old, &mut log);
    assert!(!log.state().is_member(&key(7)) && log.state().is_member(&key(6)));
}

#[test]
fn events_meet_bounds_and_those_of_strangers_take_no_room() {
    let mut log = room_of(2, &[]);
    let length = log.len();
    let stranger = KeyPair::from_seed(&[99; 32]);
    assert_eq!(log.write(&stranger, Change::Leave, NOW).map(|_| ()), refused(Refused::NotAMember));
    assert_eq!(log.len(), length);
    for seed in 0..comm_proto::room::INVITATIONS_MAX as u16 {
        invite(&mut log, 1, 500 + seed).unwrap();
    }
    assert_eq!(invite(&mut log, 1, 600).map(|_| ()), refused(Refused::TooManyInvitations));
    // One that is revoked makes room for another.
    let token = *log.state().tokens().iter().find(|(_, t)| t.by == key(1)).unwrap().0;
    log.write(&person(1), Change::Revoke(token), NOW).unwrap();
    invite(&mut log, 1, 600).unwrap();
}

#[test]
fn what_waits_for_events_has_a_bound_and_says_what_is_missing() {
    let mut source = room_of(2, &[]);
    let mut log = source.clone();
    let mut events = Vec::new();
    for round in 0..300 {
        let text = format!("name {round}");
        events.push(source.write(&person(0), Change::Rename(name(&text)), NOW).unwrap());
    }
    for event in &events[1..] {
        assert_eq!(log.take(event.clone()), Ok(Taken::Waits));
    }
    // The first that came have given way: what is missing now are those before the ones kept.
    let missing = log.missing();
    assert_eq!(missing.len(), 1);
    let wanted = events.iter().position(|event| missing.contains(&event.id())).unwrap();
    assert_eq!(wanted, 299 - comm_proto::room::WAITING_MAX);
    for event in &events[..=wanted] {
        log.take(event.clone()).unwrap();
    }
    assert_eq!(log.state(), source.state());
    assert!(log.missing().is_empty());
}

#[test]
fn one_author_cannot_fill_a_room_alone() {
    let mut log = room_of(3, &[1]);
    let mut last = Ok(());
    let mut made = 0;
    while last.is_ok() && made < 2_000 {
        last = log.write(&person(1), Change::Rename(name("again")), NOW).map(|_| ());
        made += 1;
    }
    assert_eq!(last, Err(LogError::AuthorFull));
    assert_eq!(made, comm_proto::room::AUTHOR_EVENTS_MAX + 1);
    assert!(log.write(&person(0), Change::Remove(key(1)), NOW).is_ok());
}
