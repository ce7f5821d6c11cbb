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
            Way { lag, jitter, lost, doubled, rate: None, queue: None },
            Service::Return,
        );
        let id = world.connect();

        prop_assert!(world.echo(id, size));
    }
}

/// How many bytes in a second arrive of an upload that loses one frame in a hundred, at a round trip of 50 ms.
fn rate(seed: u64) -> u64 {
    const SIZE: usize = 4 << 20;
    let way = Way {
        lag: Span::millis(25),
        jitter: Span::ZERO,
        lost: 10_000,
        doubled: 0,
        rate: Some(12_500_000),
        queue: None,
    };
    let mut world = World::with(seed, way, Service::Sink);
    let id = world.connect();
    let took = world.upload(id, SIZE).expect("it arrives");
    SIZE as u64 * 1000 / took.as_millis()
}

#[test]
fn an_upload_that_loses_one_frame_in_a_hundred_keeps_its_pace() {
    let rates: Vec<u64> = (1..9).map(rate).collect();

    let mean = rates.iter().sum::<u64>() / 8;
    assert!(mean > 1_000_000 && rates.iter().all(|rate| *rate > 400_000), "{rates:?}");
}

/// Of an upload over a way that is full, and loses nothing before: how many bytes arrive in a second, and how many
/// frames of a thousand are lost.
fn full(queue: Span, size: usize) -> (u64, u64) {
    let lag = Span::millis(25);
    let way = Way { rate: Some(1_000_000), queue: Some(queue), ..Way::clean(lag) };
    let mut world = World::with(7, way, Service::Sink);
    let id = world.connect();
    let took = world.upload(id, size).expect("it arrives");
    (size as u64 * 1000 / took.as_millis(), world.lost * 1000 / world.frames)
}

#[test]
fn a_way_that_is_full_is_filled_and_not_flooded() {
    for queue in [10, 50, 200].map(Span::millis) {
        let (rate, lost) = full(queue, 8 << 20);

        assert!(rate > 700_000 && lost < 20, "{queue}: {rate} bytes in a second, {lost} ‰ lost");
    }
}
