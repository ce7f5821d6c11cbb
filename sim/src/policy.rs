//! Who decides what is hired: the policies that reports compare.

use ray_on_golem::core::{market::choice::Choice, reputation::Reputation, rng::Seed};

use crate::{
    drill::{Op, Outcome, Plan, known},
    original,
    scenario::Scenario,
};

/// Who decides what is hired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The Python original's, as far as [`crate::original`] has it.
    Original,
    /// Ours, with so many proposals asked at once for a node.
    Hedged(u8),
    /// Ours as it is recommended, by somebody who knows how each provider will act.
    Oracle,
}

impl Policy {
    /// Those that are compared.
    pub const ALL: [Self; 5] =
        [Self::Original, Self::Hedged(1), Self::Hedged(2), Self::Hedged(3), Self::Oracle];

    /// The policy that reports call by this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::Hedged(0 | 1) => "plain",
            Self::Hedged(2) => "hedged-2",
            Self::Hedged(_) => "hedged-3",
            Self::Oracle => "oracle",
        }
    }

    /// What a plan comes to in numbers if this policy decides.
    #[must_use]
    pub fn measure(self, plan: &Plan) -> Outcome {
        match self {
            Self::Original => original::measure(plan),
            Self::Hedged(_) | Self::Oracle => plan.measure_with(self),
        }
    }

    /// Whether a plan can be run with it.
    ///
    /// # Errors
    ///
    /// Says in one sentence what the plan has that cannot be.
    pub fn check(self, plan: &Plan) -> Result<(), String> {
        if self != Self::Original {
            return Ok(());
        }
        if !plan.faults.is_calm() || plan.crash_chance > 0 {
            return Err("the original is compared where the daemon and the way to it are sound; \
                        take out `faults` and `crash_chance`"
                .to_owned());
        }
        let odd = plan.ops.iter().find(|op| !original::knows(**op));
        odd.map_or(Ok(()), |op: &Op| {
            Err(format!("the original is compared on clusters that grow; take out `{op}`"))
        })
    }

    /// What it knows of providers beforehand.
    pub(crate) fn knowledge(self, scenario: &Scenario, seed: Seed) -> Reputation {
        match self {
            Self::Original => known::public(scenario, seed),
            Self::Hedged(_) => known::own(scenario, seed),
            Self::Oracle => known::all(scenario, seed),
        }
    }

    /// How it chooses, if the machine does.
    pub(crate) fn choice(self) -> Choice {
        match self {
            Self::Original => Choice::original(),
            Self::Hedged(hedge) => Choice { hedge: hedge.into(), ..Choice::recommended() },
            Self::Oracle => Choice::recommended(),
        }
    }
}
