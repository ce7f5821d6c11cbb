//! Ways that lose, double, reorder, and keep frames.

use proptest::prelude::*;
use ray_on_golem::units::Span;

use crate::{
    node::Service,
    world::{Way, World},
};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn whatever_happens_to_frames_all_arrives_in_order(
        seed in any::<u64>(),
        lag in 0..60_u64,
        jitter in prop_oneof![Just(0), 0..30_u64],
        lost in prop_oneof![Just(0), 0..100_000_u64],
        doubled in prop_oneof![Just(0), 0..200_000_u64],
        size in 0..300_000_usize,
    ) {
        let (lag, jitter) = (Span::millis(lag), Span::millis(jitter));
        let mut world = World::with(
            seed,
            Way { lag, jitter, lost, doubled, rate: None },
            Service::Return,
        );
        let id = world.connect();

        prop_assert!(world.echo(id, size));
    }
}
