//! How a provider answers a proposal: the provider agent's components in turn, the first refusal
//! wins. Thresholds and words are those of the agent of yagna 0.17.6.

use ray_on_golem::{
    core::rng::Seed,
    units::{Span, Timestamp, money::Rounding, money::parse_scaled},
    yagna::Properties,
};

use super::{Draft, Offer};
use crate::scenario::{Behaviour, Outbound, distribution::ONE};

pub(super) const NOTE_INTERVAL: &str = "golem.com.scheme.payu.debit-note.interval-sec?";
pub(super) const PAYMENT_TIMEOUT: &str = "golem.com.scheme.payu.payment-timeout-sec?";
const ACCEPT_TIMEOUT: &str = "golem.com.payment.debit-notes.accept-timeout?";
const CHOSEN_PLATFORM: &str = "golem.com.payment.chosen-platform";

const SECS_PER_DAY: u64 = 86_400;
const ACCEPT_SECS_MAX: u64 = 240;
const ACCEPT_SECS_MIN: u64 = 5;
const EXPIRES_MIN: Span = Span::mins(5);
const EXPIRES_MAX: Span = Span::days(36_500);
const EXPIRES_MAX_WITHOUT_NOTES: Span = Span::mins(30);
const UNPAID_RUN_MAX: Span = Span::hours(10);

/// What a provider does about a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A draft.
    Counter(Draft),
    /// A refusal.
    Reject {
        /// In words; nothing if the provider gives none.
        message: Option<String>,
        /// Whether asking again is pointless.
        is_final: bool,
    },
    /// Nothing, ever.
    Silence,
}

/// The answer, and how long the provider takes for it.
#[must_use]
pub fn answer(
    offer: &Offer,
    demand: &Properties,
    now: Timestamp,
    seed: Seed,
    round: u64,
) -> (Answer, Span) {
    let population = &offer.population;
    let label = |what: &str| format!("{}/{what}", population.name);
    let draw = |what: &str, spread: &crate::scenario::Distribution, micros: u64| {
        let drawn = spread.sample(seed, &label(what), offer.member, offer.number * 1_000 + round);
        Span::micros(scaled(drawn, micros))
    };
    let thought = draw("thinks", &population.thinks_ms, 1_000);
    let answer = match &population.behaviour {
        Behaviour::Honest
        | Behaviour::Withdraws(_)
        | Behaviour::Reprices { .. }
        | Behaviour::Unreachable(_) => negotiate(offer, demand, now),
        Behaviour::Busy => refuse("No capacity available. Reached Agreements limit: 1", false),
        Behaviour::Outbound(rule) => outbound(*rule, offer, demand, now),
        Behaviour::Silent => Answer::Silence,
        Behaviour::Slow(after) => {
            let thought = draw("slow", after, 1_000_000);
            return (negotiate(offer, demand, now), thought);
        }
        Behaviour::Raises(factor) => match negotiate(offer, demand, now) {
            Answer::Counter(draft) => {
                let factor = factor.sample(seed, &label("raises"), offer.member, round);
                Answer::Counter(Draft { price_factor: Some(factor), ..draft })
            }
            other @ (Answer::Reject { .. } | Answer::Silence) => other,
        },
        Behaviour::Endless => {
            let stated = number(demand, PAYMENT_TIMEOUT).unwrap_or(0);
            Answer::Counter(Draft {
                note_interval: number(demand, NOTE_INTERVAL),
                payment_timeout: Some(stated + 1),
                ..Draft::default()
            })
        }
        Behaviour::Refuses(words) if words.is_empty() => {
            Answer::Reject { message: None, is_final: false }
        }
        Behaviour::Refuses(words) => refuse(words, false),
    };
    (answer, thought)
}

/// The honest agent: adopts what it can live with, refuses what it cannot.
fn negotiate(offer: &Offer, demand: &Properties, now: Timestamp) -> Answer {
    if demand.text(CHOSEN_PLATFORM).is_none() {
        return refuse(&format!("Missing fields: {CHOSEN_PLATFORM}"), true);
    }
    let accept = number(demand, ACCEPT_TIMEOUT);
    let payment = number(demand, PAYMENT_TIMEOUT);
    if let Some(refusal) = expiration(demand, now, accept.is_some(), payment.is_some()) {
        return refusal;
    }
    if let Some(secs) = accept {
        if secs > ACCEPT_SECS_MAX {
            return refuse("DebitNote acceptance deadline should be less than 4min.", true);
        }
        if secs < ACCEPT_SECS_MIN {
            return refuse(&format!("To low DebitNotes timeout: {secs}s"), true);
        }
    }
    let interval = number(demand, NOTE_INTERVAL);
    for (what, value) in [("interval", interval), ("payment timeout", payment)] {
        if let Some(secs) = value.filter(|secs| !(1..=SECS_PER_DAY).contains(secs)) {
            let text =
                format!("Demand DebitNote {what} {secs}s not in acceptable range of [1s; 24h]");
            return refuse(&text, true);
        }
    }
    if let Some(refusal) = price(offer, demand) {
        return refusal;
    }
    Answer::Counter(Draft {
        note_interval: interval,
        payment_timeout: payment,
        accept_timeout: accept,
        price_factor: None,
    })
}

fn expiration(
    demand: &Properties,
    now: Timestamp,
    accepts_notes: bool,
    pays_meanwhile: bool,
) -> Option<Answer> {
    let millis = number(demand, "golem.srv.comp.expiration").unwrap_or(0);
    let left = Timestamp::from_unix_micros(millis.saturating_mul(1_000)).since(now);
    let longest = if accepts_notes { EXPIRES_MAX } else { EXPIRES_MAX_WITHOUT_NOTES };
    if left < EXPIRES_MIN || left > longest {
        let text = format!(
            "Proposal expires at: {millis} which is less than {EXPIRES_MIN} or more than {longest} \
             from now"
        );
        return Some(refuse(&text, left > longest));
    }
    if left > UNPAID_RUN_MAX && !pays_meanwhile {
        let text = format!(
            "Expiration time {left} exceeds the {UNPAID_RUN_MAX} threshold of enforcing \
             mid-agreement payments but the required property '{PAYMENT_TIMEOUT}' was not present \
             in the Demand"
        );
        return Some(refuse(&text, true));
    }
    None
}

/// A counter-proposal that names other coefficients must not name lower ones.
fn price(offer: &Offer, demand: &Properties) -> Option<Answer> {
    const COEFFICIENTS: &str = "golem.com.pricing.model.linear.coeffs";
    let stated = demand.get(COEFFICIENTS)?.as_array()?;
    let properties = offer.properties(Draft::default());
    let ours = properties.get(COEFFICIENTS)?.as_array()?;
    if stated.len() != ours.len() {
        return Some(refuse("invalid price vector", false));
    }
    let atto =
        |value: &serde_json::Value| parse_scaled(&value.to_string(), 18, Rounding::Down).ok();
    let is_lower = stated.iter().zip(ours).any(|(stated, ours)| atto(stated) < atto(ours));
    is_lower.then(|| refuse(&format!("{stated:?} < {ours:?}"), true))
}

/// The provider's rules matter only for a node that wants out.
fn outbound(rule: Outbound, offer: &Offer, demand: &Properties, now: Timestamp) -> Answer {
    if demand.text("golem.srv.comp.payload").is_none() {
        return negotiate(offer, demand, now);
    }
    match rule {
        Outbound::NoRule => refuse(
            "Outbound rejected because: Everyone rule didn't match whitelist ; Audited-Payload \
             rule requires manifest signature ; Partner rule requires node descriptor ; ",
            false,
        ),
        Outbound::Disabled => refuse("outbound is disabled", true),
        Outbound::RuleDisabled => {
            refuse("Outbound rejected because: Everyone rule is disabled ; ", false)
        }
    }
}

fn refuse(message: &str, is_final: bool) -> Answer {
    Answer::Reject { message: Some(message.to_owned()), is_final }
}

fn number(properties: &Properties, key: &str) -> Option<u64> {
    parse_scaled(properties.number(key)?, 0, Rounding::Down)
        .ok()
        .and_then(|value| u64::try_from(value).ok())
}

/// Billionths of a unit in microseconds.
fn scaled(billionths: u64, micros_per_unit: u64) -> u64 {
    let micros = u128::from(billionths) * u128::from(micros_per_unit) / u128::from(ONE);
    u64::try_from(micros).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ray_on_golem::{
        core::rng::Seed,
        units::{Span, Timestamp},
        yagna::Properties,
    };
    use serde_json::json;

    use super::{ACCEPT_TIMEOUT, Answer, CHOSEN_PLATFORM, NOTE_INTERVAL, PAYMENT_TIMEOUT, answer};
    use crate::{
        provider::{Draft, populate},
        scenario::Scenario,
    };

    const NOW: Timestamp = Timestamp::from_unix_micros(1_000_000_000_000_000);

    fn demand() -> Properties {
        let mut demand = Properties::default();
        demand.set(CHOSEN_PLATFORM, "erc20-hoodi-tglm");
        demand.set(ACCEPT_TIMEOUT, 240);
        demand.set(NOTE_INTERVAL, 180);
        demand.set(PAYMENT_TIMEOUT, 43_200);
        demand.set("golem.srv.comp.expiration", NOW.plus(Span::days(365)).as_unix_millis());
        demand
    }

    fn ask(behaviour: &str, demand: &Properties) -> Answer {
        let text = format!("populations: [{{count: 1, behaviour: {behaviour}}}]");
        let scenario = Scenario::parse(text.as_bytes()).expect("a scenario");
        let population = Arc::new(scenario.populations[0].clone());
        let offers = populate(&population, Seed::new(1), 0);
        answer(&offers[0], demand, NOW, Seed::new(1), 0).0
    }

    fn refusal(demand: &Properties) -> String {
        match ask("honest", demand) {
            Answer::Reject { message, .. } => message.unwrap_or_default(),
            other @ (Answer::Counter(_) | Answer::Silence) => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_honest_provider_adopts_our_values() {
        let adopted = Draft {
            note_interval: Some(180),
            payment_timeout: Some(43_200),
            accept_timeout: Some(240),
            price_factor: None,
        };

        assert_eq!(ask("honest", &demand()), Answer::Counter(adopted));
    }

    #[test]
    fn an_honest_provider_refuses_what_the_agent_refuses() {
        let with = |key: &str, value: serde_json::Value| {
            let mut demand = demand();
            demand.set(key, value);
            demand
        };
        let without = |key: &str| {
            let mut demand = demand();
            demand.0.remove(key);
            demand
        };
        let soon = NOW.plus(Span::mins(1)).as_unix_millis();

        assert_eq!(
            refusal(&without(CHOSEN_PLATFORM)),
            "Missing fields: golem.com.payment.chosen-platform"
        );
        assert_eq!(
            refusal(&with(ACCEPT_TIMEOUT, json!(241))),
            "DebitNote acceptance deadline should be less than 4min."
        );
        assert_eq!(refusal(&with(ACCEPT_TIMEOUT, json!(4))), "To low DebitNotes timeout: 4s");
        assert_eq!(
            refusal(&with(PAYMENT_TIMEOUT, json!(90_000))),
            "Demand DebitNote payment timeout 90000s not in acceptable range of [1s; 24h]"
        );
        assert!(refusal(&without(PAYMENT_TIMEOUT)).starts_with("Expiration time"));
        assert!(refusal(&without(ACCEPT_TIMEOUT)).starts_with("Proposal expires at"));
        assert!(
            refusal(&with("golem.srv.comp.expiration", json!(soon)))
                .starts_with("Proposal expires at")
        );
        let prices = "golem.com.pricing.model.linear.coeffs";
        assert_eq!(refusal(&with(prices, json!([1]))), "invalid price vector");
        assert!(refusal(&with(prices, json!([0, 0, 0]))).contains('<'));
    }

    #[test]
    fn rules_about_outbound_matter_only_to_a_manifest() {
        let mut manifest = demand();
        manifest.set("golem.srv.comp.payload", "e30=");

        assert!(matches!(ask("{outbound: no-rule}", &demand()), Answer::Counter(_)));
        let Answer::Reject { message, .. } = ask("{outbound: no-rule}", &manifest) else {
            panic!("not refused");
        };
        assert_eq!(
            message.unwrap_or_default(),
            "Outbound rejected because: Everyone rule didn't match whitelist ; Audited-Payload \
             rule requires manifest signature ; Partner rule requires node descriptor ; "
        );
    }
}
