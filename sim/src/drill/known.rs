//! What a policy knows of providers before it meets them.

use std::sync::Arc;

use ray_on_golem::{
    core::{
        cluster::Step,
        experience::{Experience, FailureKind, Observation},
        reputation::{Reputation, Standing},
        rng::Seed,
    },
    units::{Span, Timestamp},
};

use crate::{
    drill::BEGINNING,
    provider::identity,
    scenario::{
        Amounts, Approval, Behaviour, Conduct, Distribution, Invoices, Notes, Payee, Population,
        Quirk, Scenario, Ssh, distribution::ONE,
    },
};

/// How long ago the clusters of before were.
const BEFORE: Span = Span::days(1);
/// How long their nodes ran.
const RAN: Span = Span::hours(1);
/// What fails no more often than this, in percent, is bad luck.
const BAD_LUCK: u8 = 20;
/// A node that is not lost within this time lasts.
const LASTS: Span = Span::days(1);

/// What the reputation service says of everybody on the network.
pub(crate) fn public(scenario: &Scenario, seed: Seed) -> Reputation {
    standings(scenario, seed, |population, member| Standing {
        experience: None,
        ..rated(population, member, seed)
    })
}

/// The same, and what clusters of before have seen.
pub(crate) fn own(scenario: &Scenario, seed: Seed) -> Reputation {
    standings(scenario, seed, |population, member| Standing {
        experience: experience(population, member, seed).map(Arc::new),
        ..rated(population, member, seed)
    })
}

/// The same, and who would not give a lasting node for an honest bill: an oracle knows.
pub(crate) fn all(scenario: &Scenario, seed: Seed) -> Reputation {
    standings(scenario, seed, |population, member| Standing {
        blacklisted_until: (!is_sound(population)).then_some(Timestamp::NEVER),
        experience: experience(population, member, seed).map(Arc::new),
        ..rated(population, member, seed)
    })
}

fn standings(
    scenario: &Scenario,
    seed: Seed,
    standing: impl Fn(&Population, u64) -> Standing,
) -> Reputation {
    let mut reputation = Reputation::default();
    let mut first = 0;
    for population in &scenario.populations {
        for member in 0..population.count {
            let standing = standing(population, member);
            if standing != Standing::default() {
                reputation.0.insert(identity(seed, first + member), standing);
            }
        }
        first += population.count;
    }
    reputation
}

fn rated(population: &Population, member: u64, seed: Seed) -> Standing {
    let draw = |what: &str, share: &Option<Distribution>| {
        let label = format!("{}/{what}", population.name);
        let billionths = share.as_ref()?.sample(seed, &label, member, 0).min(ONE);
        u32::try_from(billionths / 1_000).ok()
    };
    Standing {
        uptime: draw("uptime", &population.known.uptime),
        success_rate: draw("success rate", &population.known.success_rate),
        ..Standing::default()
    }
}

fn experience(population: &Population, member: u64, seed: Seed) -> Option<Experience> {
    let Population { name, known, .. } = population;
    let was_met = seed.below(100, &format!("{name}/met"), member, 0) < u64::from(known.met);
    let mut experience = Experience::default();
    let at = BEGINNING.minus(BEFORE);
    for nth in 0..known.starts {
        let begins = [Observation::Asked, Observation::Approved, Observation::Started];
        let ends = if nth < known.came_up {
            [Observation::CameUp, Observation::Ended { ran: RAN }].to_vec()
        } else {
            vec![Observation::Failed { step: Step::Deploy, kind: FailureKind::Broke }]
        };
        for what in begins.iter().chain(&ends) {
            experience.add(what, at);
        }
    }
    (known.starts > 0 && was_met).then_some(experience)
}

/// Whether its providers give nodes that last, and bill what is due.
fn is_sound(population: &Population) -> bool {
    let negotiates = match &population.behaviour {
        Behaviour::Honest | Behaviour::Withdraws(_) | Behaviour::Reprices { .. } => true,
        Behaviour::Busy
        | Behaviour::Outbound(_)
        | Behaviour::Silent
        | Behaviour::Slow(_)
        | Behaviour::Raises(_)
        | Behaviour::Endless
        | Behaviour::Unreachable(_)
        | Behaviour::Refuses(_) => false,
    };
    let is_readable =
        matches!(population.quirk, Quirk::None | Quirk::ReversedVector | Quirk::UnknownCounterFree);
    negotiates && is_readable && starts(&population.conduct) && bills(&population.conduct)
}

fn starts(conduct: &Conduct) -> bool {
    let chances =
        [conduct.oversells, conduct.create_fails, conduct.create_hangs, conduct.deploy_fails];
    let ends = [&conduct.unresponsive_after, &conduct.terminates_after, &conduct.vanishes_after];
    let lasts = |after: &Distribution| after.least() >= LASTS.as_secs().saturating_mul(ONE);
    conduct.approval == Approval::Approves
        && chances.iter().all(|percent| *percent <= BAD_LUCK)
        && conduct.command_fails.is_none()
        && ends.into_iter().flatten().all(lasts)
        && matches!(conduct.ssh, Ssh::Up(_))
}

fn bills(conduct: &Conduct) -> bool {
    conduct.amounts == Amounts::Honest
        && conduct.payee == Payee::Own
        && matches!(conduct.notes, Notes::Regular | Notes::Never)
        && conduct.invoices == Invoices::Regular
        && !conduct.is_zombie
        && !conduct.is_past_due
}
