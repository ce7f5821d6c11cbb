//! Keyed randomness: each decision is a pure function of (seed, label, ordinals).
//!
//! There is no stream to consume. A decision does not move because unrelated code draws one more
//! number, and removing one operation from a plan does not re-roll those that stay. The generator
//! is a named algorithm (ChaCha8), so that a seed means the same on every machine and release.

use rand::{Rng, SeedableRng, rngs::ChaCha8Rng};

/// What all randomness of one run grows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// The seed of this number.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The number it was made from.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The 64 random bits of the decision named by `label` and two ordinals.
    #[must_use]
    pub fn draw(self, label: &str, first: u64, second: u64) -> u64 {
        let mut key = [0_u8; 32];
        for (part, word) in
            key.chunks_exact_mut(8).zip([self.0, fingerprint(label.as_bytes()), first, second])
        {
            part.copy_from_slice(&word.to_le_bytes());
        }
        ChaCha8Rng::from_seed(key).next_u64()
    }

    /// A whole number below `bound`; 0 if `bound` is 0.
    #[must_use]
    pub fn below(self, bound: u64, label: &str, first: u64, second: u64) -> u64 {
        let wide = u128::from(self.draw(label, first, second)) * u128::from(bound);
        // The upper 64 bits of a product of two 64-bit numbers fit 64 bits.
        (wide >> 64) as u64
    }
}

/// A stable 64-bit name for bytes (FNV-1a): to key decisions and to recognise equal content.
#[must_use]
pub const fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        index += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::{Seed, fingerprint};

    #[test]
    fn a_decision_depends_on_its_name_and_on_nothing_else() {
        let seed = Seed::new(7);

        assert_eq!(seed.draw("price", 1, 2), seed.draw("price", 1, 2));
        assert_ne!(seed.draw("price", 1, 2), seed.draw("price", 2, 1));
        assert_ne!(seed.draw("price", 1, 2), seed.draw("prices", 1, 2));
        assert_ne!(seed.draw("price", 1, 2), Seed::new(8).draw("price", 1, 2));
    }

    #[test]
    fn the_algorithm_is_part_of_the_contract() {
        assert_eq!(Seed::new(1).draw("a", 0, 0), 17_045_623_043_891_573_648);
        assert_eq!(fingerprint(b"golem"), 5_903_994_600_202_850_263);
    }

    #[test]
    fn a_bounded_draw_stays_below_its_bound() {
        let seed = Seed::new(3);

        assert_eq!(seed.below(0, "x", 0, 0), 0);
        assert!((0..1_000).all(|ordinal| seed.below(10, "x", ordinal, 0) < 10));
    }
}
