//! What a provider has agreed to, and how it will keep it: prices, terms, and the draws of its
//! conduct.

use ray_on_golem::{
    core::rng::Seed,
    units::{Glm, Rounding, Span, Timestamp, money::parse_scaled},
    yagna::{PlatformId, Properties, ProviderId},
};
use serde_json::Value;

use super::{
    Draft, Offer, TEMPLATE, Terms,
    agent::{CHOSEN_PLATFORM, EXPIRATION},
};
use crate::scenario::{Amounts, Conduct, Distribution, distribution::ONE};

const MILLION: u128 = 1_000_000;

/// An agreement as its provider sees it.
#[derive(Clone, Debug)]
pub struct Deal {
    /// What was offered.
    pub offer: Offer,
    /// What the provider's last word changed in it.
    pub draft: Draft,
    /// The prices.
    pub rate: Rate,
    /// CPU threads of the node.
    pub threads: u32,
    /// The terms of payment.
    pub terms: Terms,
    /// Where the provider is to be paid.
    pub platform: PlatformId,
    /// When the agreement is over in any case.
    pub expires: Timestamp,
    seed: Seed,
    /// Which agreement of the network it is.
    ordinal: u64,
}

/// Agreed prices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// For starting.
    pub start: Glm,
    /// For a second of a busy CPU thread.
    pub cpu_second: Glm,
    /// For a second of the node.
    pub env_second: Glm,
}

impl Deal {
    /// The deal that the `ordinal`th agreement of a network makes of an offer, the provider's last
    /// word, and what the requestor asked for.
    #[must_use]
    pub fn new(
        offer: Offer,
        draft: Draft,
        demand: &Properties,
        seed: Seed,
        ordinal: usize,
    ) -> Self {
        let properties = offer.properties(&draft);
        let threads = properties
            .number("golem.inf.cpu.threads")
            .and_then(|text| parse_scaled(text, 0, Rounding::Down).ok())
            .and_then(|threads| u32::try_from(threads).ok());
        Self {
            rate: Rate::of(&properties),
            threads: threads.unwrap_or(1),
            terms: draft.terms.unwrap_or(TEMPLATE),
            platform: PlatformId::from(demand.text(CHOSEN_PLATFORM).unwrap_or("erc20-hoodi-tglm")),
            expires: demand
                .number(EXPIRATION)
                .and_then(|text| parse_scaled(text, 0, Rounding::Down).ok())
                .and_then(|millis| u64::try_from(millis).ok())
                .map_or(Timestamp::NEVER, |millis| {
                    Timestamp::from_unix_micros(millis.saturating_mul(1_000))
                }),
            offer,
            draft,
            seed,
            ordinal: ordinal as u64,
        }
    }

    /// The other side.
    #[must_use]
    pub fn provider(&self) -> &ProviderId {
        &self.offer.provider
    }

    /// How the provider behaves.
    #[must_use]
    pub fn conduct(&self) -> &Conduct {
        &self.offer.population.conduct
    }

    /// A draw in seconds.
    #[must_use]
    pub fn secs(&self, what: &str, nth: u64, spread: &Distribution) -> Span {
        Span::micros(self.draw(what, nth, spread) / (ONE / 1_000_000))
    }

    /// A draw in milliseconds.
    #[must_use]
    pub fn millis(&self, what: &str, nth: u64, spread: &Distribution) -> Span {
        Span::micros(self.draw(what, nth, spread) / (ONE / 1_000))
    }

    /// Whether something that happens in so many percent of cases happens now.
    #[must_use]
    pub fn happens(&self, what: &str, nth: u64, percent: u8) -> bool {
        percent > 0 && self.seed.below(100, &self.label(what), self.ordinal, nth) < percent.into()
    }

    /// What a node costs in a second, as busy as it is, in attoGLM.
    #[must_use]
    pub fn per_second(&self) -> Glm {
        let busy = u128::from(self.threads) * u128::from(self.conduct().load);
        let cpu = self.rate.cpu_second.as_atto().saturating_mul(busy) / MILLION;
        Glm::from_atto(cpu).plus(self.rate.env_second)
    }

    /// What the provider writes on its `nth` bill for something that has cost so much.
    #[must_use]
    pub fn billed(&self, nth: u64, cost: Glm) -> Glm {
        match &self.conduct().amounts {
            Amounts::Honest | Amounts::Negative => cost,
            Amounts::Times(factor) => {
                cost.scaled_up(self.draw("overcharges", 0, factor), ONE).unwrap_or(cost)
            }
            Amounts::Adds(more) => cost.plus(*more),
            // The cost grows with the time; what is billed falls all the same.
            Amounts::Falling => cost.scaled_up(1, (nth + 1).saturating_pow(2)).unwrap_or(cost),
        }
    }

    fn draw(&self, what: &str, nth: u64, spread: &Distribution) -> u64 {
        spread.sample(self.seed, &self.label(what), self.ordinal, nth)
    }

    fn label(&self, what: &str) -> String {
        format!("{}/{what}", self.offer.population.name)
    }
}

impl Rate {
    /// The prices in an offer; what cannot be read costs nothing.
    fn of(properties: &Properties) -> Self {
        let list = |key: &str| {
            properties.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice)
        };
        let (counters, prices) = (list("golem.com.usage.vector"), list(super::COEFFICIENTS));
        let of = |wanted: &str| {
            let place = counters.iter().position(|counter| counter.as_str() == Some(wanted));
            place.and_then(|place| prices.get(place)).map_or(Glm::ZERO, amount)
        };
        Self {
            start: prices.get(counters.len()).map_or(Glm::ZERO, amount),
            cpu_second: of("golem.usage.cpu_sec"),
            env_second: of("golem.usage.duration_sec"),
        }
    }
}

/// What something costs that costs `start` at once and `per_second` from `since` to `until`.
#[must_use]
pub fn cost(start: Glm, per_second: Glm, since: Timestamp, until: Timestamp) -> Glm {
    let micros = u128::from(until.since(since).as_micros());
    start.plus(Glm::from_atto(per_second.as_atto().saturating_mul(micros) / MILLION))
}

fn amount(value: &Value) -> Glm {
    value
        .as_number()
        .and_then(|number| Glm::parse(number.as_str(), Rounding::Up).ok())
        .unwrap_or(Glm::ZERO)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ray_on_golem::{
        core::rng::Seed,
        units::{Glm, Span, Timestamp},
        yagna::Properties,
    };

    use super::{Deal, cost};
    use crate::{
        provider::{Draft, populate},
        scenario::Scenario,
    };

    fn deal(text: &str) -> Deal {
        let scenario = Scenario::parse(text.as_bytes()).expect("a scenario");
        let population = Arc::new(scenario.populations[0].clone());
        let offer = populate(&population, Seed::new(1), 0).remove(0);
        Deal::new(offer, Draft::default(), &Properties::default(), Seed::new(1), 0)
    }

    #[test]
    fn a_node_costs_what_was_agreed_on() {
        let deal = deal(
            "populations: [{count: 1, cpu_hour: 3.6, env_hour: 0.36, start: 1, threads: 8, \
             quirk: reversed-vector, conduct: {load: 0.25}}]",
        );
        let begin = Timestamp::EPOCH;

        let after = cost(deal.rate.start, deal.per_second(), begin, begin.plus(Span::secs(1_000)));

        // 1 + 1000 × (0.001 × 8 × ¼ + 0.0001)
        assert_eq!(after.to_string(), "3.1");
    }

    #[test]
    fn a_dishonest_provider_bills_something_else() {
        let ten = Glm::from_whole(10);
        for (amounts, nth, billed) in [
            ("honest", 3, "10"),
            ("{times: 1.5}", 0, "15"),
            ("{adds: 0.000000000000000001}", 0, "10.000000000000000001"),
            ("falling", 0, "10"),
            ("falling", 3, "0.625"),
        ] {
            let text = format!("populations: [{{count: 1, conduct: {{amounts: {amounts}}}}}]");
            assert_eq!(deal(&text).billed(nth, ten).to_string(), billed, "{amounts}");
        }
    }
}
