//! The same seed tells the same story, event by event; another seed tells another.

use comm_proto::message::EnvelopeState;
use comm_proto::time::Span;

use crate::world::{Mailbox, World};

/// Fifty nodes join; somebody writes, somebody is away, returns, reads and acknowledges.
fn story(seed: u64) -> String {
    let mut world = World::new(seed);
    world.record();
    world.links.lost_of_1000 = 10;
    for host in 0..50 {
        world.add(|_| {});
        if host > 0 {
            world.bootstrap(host, &[host / 2]);
        }
        world.run_for(Span::from_millis(200));
    }
    world.run_for(Span::from_mins(2));
    let (mailbox, reply_to) = (Mailbox::new(1), Mailbox::new(2));
    let (writer, reader) = (7, 41);
    world.subscribe(writer, 1, &reply_to, 0);
    world.crash(reader);
    let letters: Vec<_> = (0..5).map(|number| world.letter(&mailbox, number)).collect();
    letters.iter().for_each(|letter| assert!(world.submit(writer, letter).is_ok()));
    world.run_for(Span::HOUR);
    world.start(reader);
    world.run_for(Span::from_secs(5));
    world.subscribe(reader, 1, &mailbox, 0);
    world.run_for(Span::from_secs(30));
    assert_eq!(world.given(reader, 1).len(), 5);
    world.acknowledge(reader, &mailbox, &letters.iter().collect::<Vec<_>>());
    world.run_for(Span::HOUR);
    for letter in &letters {
        assert_eq!(world.holders(&letter.id()), []);
        assert!(matches!(world.state(writer, letter), Some(EnvelopeState::Delivered { .. })));
    }
    world.trace()
}

/// H3.
#[test]
fn one_seed_tells_one_story_and_another_seed_another() {
    let (first, again, other) = (story(1), story(1), story(2));
    assert_eq!(first, again);
    assert_ne!(first, other);
}
