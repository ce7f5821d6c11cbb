//! An axis from zero, with marks at round numbers.

/// Marks of an axis, zero left out.
const MARKS_MAX: u128 = 5;

/// An axis from zero to a round number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scale {
    /// From one mark to the next.
    pub(super) step: u128,
    /// How many steps there are.
    pub(super) steps: u128,
}

impl Scale {
    /// The shortest axis of at most five steps of 1, 2, or 5 times a power of ten that holds `max`.
    pub(super) fn up_to(max: u128) -> Self {
        let mut power: u128 = 1;
        loop {
            for digit in [1, 2, 5] {
                let step = power.saturating_mul(digit);
                if max <= step.saturating_mul(MARKS_MAX) {
                    return Self { step, steps: max.div_ceil(step).max(1) };
                }
            }
            power = power.saturating_mul(10);
        }
    }

    /// The marks, from zero.
    pub(super) fn marks(self) -> impl Iterator<Item = u128> {
        (0..=self.steps).map(move |nth| nth.saturating_mul(self.step))
    }

    /// Where a value stands on an axis of this length; values beyond the end stand there.
    pub(super) fn place(self, value: u128, length: u32) -> u32 {
        let end = self.step.saturating_mul(self.steps);
        let place = value.min(end).saturating_mul(u128::from(length)) / end.max(1);
        u32::try_from(place).unwrap_or(length).min(length)
    }
}

#[cfg(test)]
mod tests {
    use super::Scale;

    #[test]
    fn an_axis_has_few_round_marks_and_holds_its_greatest_value() {
        let marks = |max| Scale::up_to(max).marks().collect::<Vec<_>>();

        assert_eq!(marks(0), [0, 1]);
        assert_eq!(marks(5), [0, 1, 2, 3, 4, 5]);
        assert_eq!(marks(6), [0, 2, 4, 6]);
        assert_eq!(marks(101), [0, 50, 100, 150]);
        assert_eq!(marks(77_000_000), [0, 20_000_000, 40_000_000, 60_000_000, 80_000_000]);
        assert!(Scale::up_to(u128::MAX).step > u128::MAX / 10);
    }

    #[test]
    fn a_value_stands_in_proportion() {
        let scale = Scale::up_to(100);

        assert_eq!([0, 25, 50, 100, 200].map(|value| scale.place(value, 80)), [0, 20, 40, 80, 80]);
    }
}
