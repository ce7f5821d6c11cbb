//! In which order frames reach a node that waited together.

use ray_on_golem::core::rng::Seed;

/// One frame in so many overtakes the one before it, if that one waits, too.
const OVERTAKES_ONE_IN: u64 = 16;

/// The frames of a connection that waited together, as the daemon hands them on; `first` is the number of the first one.
pub(super) fn handed_on<T>(seed: Seed, connection: &str, first: u64, mut frames: Vec<T>) -> Vec<T> {
    for at in 1..frames.len() {
        if seed.below(OVERTAKES_ONE_IN, connection, first + at as u64, 0) == 0 {
            frames.swap(at - 1, at);
        }
    }
    frames
}

#[cfg(test)]
mod tests {
    use ray_on_golem::core::rng::Seed;

    use super::handed_on;

    #[test]
    fn frames_that_wait_together_may_overtake_and_one_alone_does_not() {
        let seed = Seed::new(1);
        let sent: Vec<u64> = (0..64).collect();

        let together = handed_on(seed, "a 0", 0, sent.clone());
        let alone = sent.iter().flat_map(|at| handed_on(seed, "a 0", *at, vec![*at]));

        assert!(alone.eq(sent.iter().copied()));
        assert_ne!(together, sent);
        assert_eq!(together, handed_on(seed, "a 0", 0, sent.clone()));
        assert_ne!(together, handed_on(seed, "a 1", 0, sent.clone()));
        let mut sorted = together;
        sorted.sort_unstable();
        assert_eq!(sorted, sent);
    }
}
