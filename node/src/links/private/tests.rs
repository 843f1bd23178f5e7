//! The two first messages of a link in a private network, over streams in memory.

use std::time::{Duration, Instant, SystemTime};

use tokio::io::{DuplexStream, duplex};
use tokio::time::timeout;

use super::super::storm::{INPUTS, RAREST, Storm};
use super::*;

const DEADLINE: Duration = Duration::from_secs(10);

fn node(seed: u8) -> PublicKey {
    PublicKey::from_bytes([seed; 32])
}

fn network(key: u8, seed: u8) -> PrivateNetwork {
    let key = NetworkKey::new(Zeroizing::new([key; 32]));
    PrivateNetwork::new(key, node(seed), Arc::new(Clock::new()))
}

/// Whether the node of `network` answers these bytes; if not, it must not have said anything.
async fn is_answered(network: &PrivateNetwork, bytes: &[u8]) -> bool {
    let (mut near, far) = duplex(1 << 16);
    near.write_all(bytes).await.unwrap();
    near.shutdown().await.unwrap();
    let answered = timeout(DEADLINE, network.answer(far)).await.unwrap().is_ok();
    let mut said = Vec::new();
    near.read_to_end(&mut said).await.unwrap();
    assert_eq!(!said.is_empty(), answered);
    answered
}

fn opening(network: &PrivateNetwork, expected: Option<PublicKey>) -> Vec<u8> {
    network.opening(&nonce(), expected, network.clock.machine(), &padding()).unwrap()
}

async fn pair(
    caller: &PrivateNetwork,
    answerer: &PrivateNetwork,
) -> (io::Result<Sealed<DuplexStream>>, io::Result<Sealed<DuplexStream>>) {
    let (near, far) = duplex(1 << 16);
    tokio::join!(caller.call(near, Some(answerer.node)), answerer.answer(far))
}

#[tokio::test]
async fn two_that_know_the_key_understand_each_other() {
    let (caller, answerer) = pair(&network(1, 1), &network(1, 2)).await;
    let (mut caller, mut answerer) = (caller.unwrap(), answerer.unwrap());
    caller.write_all(b"hello").await.unwrap();
    answerer.write_all(b"there").await.unwrap();
    let mut word = [0; 5];
    answerer.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"hello");
    caller.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"there");
}

#[tokio::test]
async fn whoever_lacks_the_key_is_not_answered() {
    let bob = network(1, 2);
    assert!(is_answered(&bob, &opening(&network(1, 1), None)).await);
    assert!(!is_answered(&bob, &opening(&network(3, 1), None)).await);
    assert!(!is_answered(&bob, &[0; 4_096]).await);
    assert!(!is_answered(&bob, b"").await);
}

#[tokio::test]
async fn an_opening_is_answered_once_and_by_whom_it_is_for() {
    let (alice, bob, carol) = (network(1, 1), network(1, 2), network(1, 3));
    let said = opening(&alice, Some(bob.node));
    assert!(!is_answered(&carol, &said).await);
    assert!(is_answered(&bob, &said).await);
    assert!(!is_answered(&bob, &said).await);
}

#[tokio::test]
async fn an_opening_of_another_time_is_not_answered() {
    let (alice, bob) = (network(1, 1), network(1, 2));
    let now = bob.clock.machine();
    let minute = comm_proto::time::Span::from_mins(1);
    for (at, expected) in [
        (now - CLOCK_TOLERANCE + minute, true),
        (now + CLOCK_TOLERANCE - minute, true),
        (now - CLOCK_TOLERANCE - minute, false),
        (now + CLOCK_TOLERANCE + minute, false),
    ] {
        let said = alice.opening(&nonce(), None, at, &[]).unwrap();
        assert_eq!(is_answered(&bob, &said).await, expected, "{at:?} at {now:?}");
    }
}

/// A clock that was far ahead and is put right goes on from there at half its pace, for hours.
#[tokio::test]
async fn a_node_whose_clock_was_put_right_calls_and_answers_at_once() {
    let (alice, bob) = (network(1, 1), network(1, 2));
    let ahead = Duration::from_millis(CLOCK_TOLERANCE.as_millis() * 2);
    alice.clock.at(SystemTime::now() + ahead, Instant::now());
    assert!(alice.clock.now() > bob.clock.now() + CLOCK_TOLERANCE);
    for (caller, answerer) in [(&alice, &bob), (&bob, &alice)] {
        let linked = timeout(DEADLINE, pair(caller, answerer)).await;
        assert!(matches!(linked, Ok((Ok(_), Ok(_)))), "{:?} is not understood", caller.node);
    }
}

#[tokio::test]
async fn an_opening_that_was_changed_or_cut_is_not_answered() {
    let (alice, bob) = (network(1, 1), network(1, 2));
    let said = opening(&alice, Some(bob.node));
    for at in 0..said.len() {
        let mut changed = said.clone();
        changed[at] ^= 1;
        assert!(!is_answered(&bob, &changed).await, "byte {at}");
        assert!(!is_answered(&bob, &said[..at]).await, "{at} bytes");
    }
    assert!(is_answered(&bob, &said).await);
}

#[tokio::test]
async fn whoever_is_not_understood_is_read_to_the_end_and_told_nothing() {
    let bob = network(1, 2);
    let (mut near, far) = duplex(64);
    let answer = tokio::spawn(async move { bob.answer(far).await.is_ok() });
    // More than any opening has, so that no number of bytes makes a difference.
    near.write_all(&[7; 100_000]).await.unwrap();
    assert!(!answer.is_finished());
    near.shutdown().await.unwrap();
    assert!(!timeout(DEADLINE, answer).await.unwrap().unwrap());
    let mut said = Vec::new();
    near.read_to_end(&mut said).await.unwrap();
    assert!(said.is_empty());
}

/// An opening with whatever inside, which only somebody with the key can make.
fn nonsense(network: &PrivateNetwork, storm: &mut Storm) -> Vec<u8> {
    let nonce: Nonce = storm.array();
    let body = match storm.below(3) {
        0 => storm.noise(2 * u32::from(PADDING_MAX)),
        time => {
            let hours = CLOCK_TOLERANCE.times(u64::from(storm.below(3)));
            let at = network.clock.machine() - CLOCK_TOLERANCE + hours;
            let node = if time == 1 { [0; PublicKey::LEN] } else { storm.array() };
            let padding = storm.noise(2 * u32::from(PADDING_MAX));
            [&at.as_millis().to_be_bytes()[..], &node, &padding].concat()
        }
    };
    let mut bytes = nonce.to_vec();
    network.key.cipher(&nonce, OPENING).seal_record(&body, &mut bytes).unwrap();
    bytes
}

/// H14: what stands at the beginning of an input is answered once if it is an opening for this node,
/// and nothing else is.
#[tokio::test]
async fn a_million_openings_of_anybody_are_read_and_none_is_answered_twice() {
    let (alice, mut storm) = (network(1, 1), Storm::new(1));
    let (mut bob, mut good) = (network(1, 2), opening(&alice, None));
    let [mut accepted, mut refused] = [0_u32; 2];
    for n in 0..INPUTS {
        if n % 10_000 == 0 {
            bob = network(1, 2);
        }
        if n % 32 == 0 {
            good = opening(&alice, (n % 64 == 0).then_some(bob.node));
        }
        let (bytes, is_changed) = match storm.below(8) {
            0 => (storm.noise(512), false),
            1..5 => (storm.changed(&good), true),
            _ => (nonsense(&alice, &mut storm), false),
        };
        match bob.hear(&mut &bytes[..]).await {
            Ok(nonce) => {
                assert!(bytes.starts_with(&nonce));
                assert!(!is_changed || bytes.starts_with(&good), "a changed opening is answered");
                assert!(bob.hear(&mut &bytes[..]).await.is_err(), "an opening is answered twice");
                accepted += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(accepted.min(refused) > INPUTS / RAREST, "{accepted}, {refused}");
}

/// H14: the other side of it.
#[tokio::test]
async fn a_million_answers_of_anybody_are_read() {
    let (alice, mut storm, ours) = (network(1, 1), Storm::new(2), [0x11; NONCE_LEN]);
    let answer = |theirs: Nonce, body: &[u8]| {
        let mut bytes = theirs.to_vec();
        alice.key.session(&ours, &theirs).1.seal_record(body, &mut bytes).unwrap();
        bytes
    };
    let good = answer([0x22; NONCE_LEN], &[0; 30]);
    let [mut accepted, mut refused] = [0_u32; 2];
    for _ in 0..INPUTS {
        let (bytes, is_changed) = match storm.below(8) {
            0 => (storm.noise(512), false),
            1..6 => (storm.changed(&good), true),
            _ => (answer(storm.array(), &storm.noise(2 * u32::from(PADDING_MAX))), false),
        };
        match alice.read_answer(&mut &bytes[..], &ours).await {
            Ok(_) => {
                assert!(!is_changed || bytes.starts_with(&good), "a changed answer is believed");
                accepted += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(accepted.min(refused) > INPUTS / RAREST, "{accepted}, {refused}");
}

/// What a caller makes of an answer, and whether it says anything more.
async fn makes_of(answer: &[u8]) -> io::Result<Sealed<DuplexStream>> {
    let (near, mut far) = duplex(1 << 16);
    far.write_all(answer).await.unwrap();
    let called = timeout(DEADLINE, network(1, 1).call(near, None)).await.unwrap();
    if called.is_err() {
        let mut said = Vec::new();
        far.read_to_end(&mut said).await.unwrap();
        let shortest = NONCE_LEN + HEAD_LEN + OPENING_LEN + TAG_LEN;
        assert!((shortest..=shortest + usize::from(PADDING_MAX)).contains(&said.len()));
    }
    called
}

#[tokio::test]
async fn an_answer_without_the_key_ends_the_call() {
    assert!(makes_of(&[0; 512]).await.is_err());
    // What another caller was answered is no answer to this one.
    let (mut near, far) = duplex(1 << 16);
    near.write_all(&opening(&network(1, 1), None)).await.unwrap();
    drop(network(1, 2).answer(far).await.unwrap());
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.unwrap();
    assert!(makes_of(&answer).await.is_err());
}

#[tokio::test]
async fn each_link_has_keys_of_its_own_in_each_direction() {
    let key = NetworkKey::new(Zeroizing::new([1; 32]));
    let sealed = |mut cipher: Cipher| {
        let mut bytes = Vec::new();
        cipher.seal_record(b"the same", &mut bytes).unwrap();
        bytes
    };
    let all = [([1; 32], [2; 32]), ([1; 32], [3; 32]), ([3; 32], [2; 32])].map(|(ours, theirs)| {
        let (caller, answerer) = key.session(&ours, &theirs);
        [sealed(caller), sealed(answerer)]
    });
    let distinct: std::collections::BTreeSet<_> = all.concat().into_iter().collect();
    assert_eq!(distinct.len(), 6);
}

/// The example of PROTOCOL §5.2.1, which was computed without any code of this project.
#[test]
fn the_example_of_the_protocol_is_what_nodes_say() {
    let key: [u8; 32] = std::array::from_fn(|at| at as u8);
    let key = NetworkKey::new(Zeroizing::new(key));
    let alice = PrivateNetwork::new(key.clone(), node(1), Arc::new(Clock::new()));
    let (ours, theirs) = ([0x11; 32], [0x22; 32]);
    let at = Time::from_millis(1_700_000_000_000);
    let opening = alice.opening(&ours, Some(node(0x33)), at, &[0; 3]).unwrap();
    assert_eq!(
        hex::encode(&opening[NONCE_LEN..]),
        "96045f75f50c680769eeecc61a61dc3ddaaf8740389ab66ec5b4fbd7cb1ce2d1f2e0e59062f79cabffd3b6837191\
         d2928bce0a3ea4afd883c2afcdcf50c6bb94f169230699ba92271a3ebf583e"
    );
    let (mut caller, mut answerer) = key.session(&ours, &theirs);
    let (mut answer, mut first) = (Vec::new(), Vec::new());
    answerer.seal_record(&[0; 2], &mut answer).unwrap();
    caller.seal_record(b"hello", &mut first).unwrap();
    assert_eq!(
        hex::encode(answer),
        "7310739e46aa94dab79ec40e16ab3a05a4242c4e35966b15aa233d5afdb8c88848a459b1"
    );
    assert_eq!(
        hex::encode(first),
        "a1beda5b2a7fa14fce25403061375d79b791af52d991daa6800e020ae65d22aaa5719cbe139129"
    );
}

#[test]
fn a_key_is_never_shown() {
    let network = network(0xab, 1);
    let shown = format!("{network:?}");
    assert!(!shown.contains("171") && !shown.to_lowercase().contains("abab"), "{shown}");
}
