//! The TCP of private networks in virtual time: our end, a way that loses, doubles, reorders, and keeps frames,
//! and a node whose TCP is smoltcp's as it is.

mod ends;
mod knock;
mod loss;
mod node;
mod world;

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
