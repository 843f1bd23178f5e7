//! When a behaviour acts of its own accord: again and again from the first honest envelope on.

use comm_proto::time::{Span, Time};
use rand_core::RngCore;

use super::Scene;

/// The next time, which is none if the scene has no pace.
#[derive(Debug)]
pub(super) struct Beat(Option<Time>);

impl Default for Beat {
    fn default() -> Self {
        Self(Some(Time::ZERO))
    }
}

impl Beat {
    /// When to look again.
    pub(super) fn next(&self) -> Option<Time> {
        self.0
    }

    /// Whether it is time to act. All who act begin at different times, so that no two act at once.
    pub(super) fn strikes(&mut self, scene: &mut Scene<'_>) -> bool {
        let every = scene.plot.every;
        if every == Span::ZERO {
            self.0 = None;
            return false;
        }
        let is_time = scene.now >= scene.plot.begin;
        self.0 = Some(if is_time {
            scene.now + every
        } else {
            scene.plot.begin + Span::from_millis(scene.rng.next_u64() % every.as_millis())
        });
        is_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behaviour::stage::Props;

    #[test]
    fn it_begins_with_the_traffic_and_goes_on_at_its_pace() {
        let mut props = Props::default();
        props.plot.begin = Time::from_millis(1_000);
        props.plot.every = Span::from_millis(50);
        let (mut beat, mut struck) = (Beat::default(), Vec::new());
        while let Some(at) = beat.next().filter(|at| *at <= Time::from_millis(1_200)) {
            if beat.strikes(&mut props.scene(at)) {
                struck.push(at);
            }
        }
        assert!(struck[0] >= Time::from_millis(1_000) && struck[0] < Time::from_millis(1_050));
        assert!(struck.windows(2).all(|two| two[1].since(two[0]) == Span::from_millis(50)));
        assert!((4..=5).contains(&struck.len()));
    }

    #[test]
    fn without_a_pace_it_never_does() {
        let (mut beat, mut props) = (Beat::default(), Props::default());
        assert!(!beat.strikes(&mut props.scene(Time::from_millis(5))));
        assert_eq!(beat.next(), None);
    }
}
