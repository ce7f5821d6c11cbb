//! The TCP of private networks in virtual time: our end, a way that loses, doubles, reorders, and keeps frames,
//! and a node whose TCP is smoltcp's as it is.

mod ends;
mod knock;
mod loss;
mod node;
mod world;

use node::Service;
use ray_on_golem::units::Span;
use world::{Way, World};

#[test]
fn all_sizes_arrive_whole_in_both_directions() {
    for size in [1, 64 << 10, 1 << 20] {
        let mut world = World::new(1, Way::clean(Span::millis(5)));
        let id = world.connect();

        let echoed = world.echo(id, size);

        assert!(echoed, "{size}");
    }
}

#[test]
fn a_download_is_acknowledged_by_few_frames() {
    const SIZE: usize = 1 << 20;
    let way = Way { rate: Some(12_500_000), ..Way::clean(Span::millis(5)) };
    let mut world = World::with(1, way, Service::Return);
    let id = world.connect();

    assert!(world.echo(id, SIZE));

    // The upload has a frame for each full segment; the download comes in as many, sixteen to an acknowledgement.
    let segments = SIZE as u64 / 1_180;
    let others = world.sent.saturating_sub(segments);
    assert!((segments / 20..segments / 8).contains(&others), "{others} of {segments}");
}
