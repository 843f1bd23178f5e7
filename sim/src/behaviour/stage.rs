//! A scene to try behaviours in.

use comm_proto::contact::Contact;
use comm_proto::key::KeyPair;
use comm_proto::time::Time;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use super::{Colluders, Plot, Scene};

/// What a scene shows.
pub(super) struct Props {
    pub(super) key: KeyPair,
    pub(super) colluders: Colluders,
    pub(super) plot: Plot,
    rng: ChaCha12Rng,
}

impl Default for Props {
    fn default() -> Self {
        Self {
            key: KeyPair::from_seed(&[1; 32]),
            colluders: Colluders::default(),
            plot: Plot::default(),
            rng: ChaCha12Rng::seed_from_u64(1),
        }
    }
}

impl Props {
    /// The scene at this time.
    pub(super) fn scene(&mut self, now: Time) -> Scene<'_> {
        let Self { key, colluders, plot, rng } = self;
        Scene { now, key, colluders, plot, rng }
    }
}

/// A node that listens somewhere.
pub(super) fn contact(n: u8) -> Contact {
    let key = KeyPair::from_seed(&[n; 32]).public();
    Contact::new(key, [([1, 0, n, 1], 4_000).into()])
}
