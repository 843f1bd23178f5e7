//! Tests of people: whose letters are ended too early, and until when mailboxes are looked after.

use super::*;

/// The `number`-th envelope to this mailbox, which lasts for an hour after the epoch.
pub(crate) fn envelope(mailbox: Address, number: u64) -> Envelope {
    let expires_at = Time::ZERO + Span::HOUR;
    let header = Header { suite: Suite::ONE, mailbox, expires_at, stamp_nonce: 0 };
    let mut body = vec![0; SizeClass::K1.body_len()];
    body[..8].copy_from_slice(&number.to_be_bytes());
    Envelope::new(header, Bytes::from(body)).unwrap()
}

#[test]
fn an_end_before_the_reader_has_acknowledged_is_a_wrong() {
    let mut people = People::default();
    let key = |n: u8| KeyPair::from_seed(&[n; 32]);
    let letter = people.write(0, 1, key(1), Span::HOUR);
    people.act(Time::ZERO, letter, Deed::Submit);
    let id = people.letters[letter].envelope.as_ref().unwrap().id();
    people.ended(&id);
    people.ended(&EnvelopeId::from_bytes([9; 32]));
    assert_eq!(people.letters[letter].fate.wronged, 1);
    people.act(Time::ZERO, letter, Deed::Acknowledge);
    people.ended(&id);
    assert_eq!(people.letters[letter].fate.wronged, 1);
}

#[test]
fn a_clock_that_is_ahead_at_the_writers_node_excuses_no_loss_of_what_others_had() {
    let now = Time::ZERO + Span::HOUR;
    let lost = |copied: Option<Span>| Outcome {
        letter: 0,
        writer: 1,
        reader: 2,
        id: None,
        expires_at: Some(now + Span::HOUR),
        cancelled: false,
        told_expired: true,
        fate: Fate { accepted: Some(Span::ZERO), copied, ..Fate::default() },
    };
    assert!(!lost(None).must_have_come(now));
    assert!(lost(Some(Span::ZERO)).must_have_come(now));
}

#[test]
fn a_shared_mailbox_is_looked_after_until_its_last_letter_was_read() {
    let (mut people, key) = (People::default(), KeyPair::from_seed(&[1; 32]));
    let letters = [(); 2].map(|()| people.write(0, 1, key.clone(), Span::HOUR));
    assert_eq!(letters.map(|letter| people.opens(letter)), [true, false]);
    for (letter, looks_on) in letters.into_iter().zip([true, false]) {
        people.act(Time::ZERO, letter, Deed::Submit);
        let id = people.letters[letter].envelope.as_ref().unwrap().id();
        let state = EnvelopeState::Delivered { at: Time::ZERO };
        // Told twice, as by a node that was asked again.
        for _ in 0..2 {
            let push = ClientPush::State { id, state };
            people.told(Time::ZERO, session(letter, Deed::Watch), &push);
        }
        let (_, again) = people.act(Time::ZERO, letters[0], Deed::Open);
        assert_eq!(again.is_some(), looks_on);
    }
}

#[test]
fn what_was_read_needs_no_copy_in_the_region_any_more() {
    let (mut people, key) = (People::default(), KeyPair::from_seed(&[1; 32]));
    let at = |secs| Time::ZERO + Span::from_secs(secs);
    let letters = [(); 2].map(|()| people.write(0, 1, key.clone(), Span::HOUR));
    for letter in letters {
        people.act(at(10), letter, Deed::Submit);
        assert!(
            people.may_be_first_in_region(letter, 2) && !people.may_be_first_in_region(letter, 0)
        );
        assert_eq!(people.region_copied(letter), None);
    }
    people.came_to_region(at(11), letters[0]);
    assert!(!people.may_be_first_in_region(letters[0], 2));
    letters.into_iter().for_each(|letter| {
        people.act(at(14), letter, Deed::Acknowledge);
    });
    let times = letters.map(|letter| people.region_copied(letter));
    assert_eq!(times, [Some(Span::from_secs(1)), Some(Span::from_secs(4))]);
}

/// Else a writer whose node was off when its envelope was read would never know of it.
#[test]
fn a_writer_who_watches_again_learns_what_has_become_of_it_meanwhile() {
    let (mut people, key) = (People::default(), KeyPair::from_seed(&[1; 32]));
    let letter = people.write(0, 1, key, Span::HOUR);
    people.act(Time::ZERO, letter, Deed::Submit);
    let id = people.letters[letter].envelope.as_ref().unwrap().id();
    people.act(Time::ZERO, letter, Deed::Watch);
    people.asked(RequestId(1), letter, Deed::Watch);
    let states = vec![(id, EnvelopeState::Delivered { at: Time::ZERO })];
    let later = Time::ZERO + Span::HOUR;
    people.answered(later, RequestId(1), Ok(ClientResponse::States(states)));
    assert_eq!(people.letters[letter].fate.acknowledged, Some(Span::HOUR));
}
