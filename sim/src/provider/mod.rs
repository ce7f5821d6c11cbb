//! Providers and their offers, as drawn from a scenario.
//!
//! An offer is kept as a small record; its properties are spelled out only when somebody looks.

use std::{borrow::Cow, sync::Arc};

use ray_on_golem::{
    core::rng::Seed,
    units::Glm,
    yagna::{Properties, ProviderId},
};
use serde_json::{Number, Value};

pub mod agent;
pub mod deal;

use crate::{
    scenario::{Population, Quirk, distribution::ONE},
    yagna::constraint::{Fact, Facts},
};

/// Facts are counted in units of 10^-18.
const FACT_ONE: i128 = 1_000_000_000_000_000_000;

/// One offer of one provider.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Who offers.
    pub provider: ProviderId,
    /// Which offer of its provider.
    pub number: u64,
    /// The provider within its population.
    pub member: u64,
    /// What its provider has in common with others.
    pub population: Arc<Population>,
    /// For an hour of a busy CPU thread, in billionths of a GLM.
    pub cpu_hour: u64,
    /// For an hour of the node, in billionths of a GLM.
    pub env_hour: u64,
    /// For starting, in billionths of a GLM.
    pub start: u64,
    threads: u64,
    memory: u64,
    storage: u64,
}

/// What a draft says in place of its offer's own values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// The terms of payment; none if they are those of the offer.
    pub terms: Option<Terms>,
    /// The prices.
    pub prices: Prices,
}

/// Terms of payment; what is none is not spoken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Seconds between debit notes.
    pub note_interval: Option<u64>,
    /// Seconds to pay a debit note.
    pub payment_timeout: Option<u64>,
    /// Seconds to accept a debit note.
    pub accept_timeout: Option<u64>,
}

/// The prices of a draft.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Prices {
    /// Those of the offer.
    #[default]
    AsOffered,
    /// So many billionths of those of the offer.
    Times(u64),
    /// Those that we named.
    Adopted(Arc<[Value]>),
}

/// What the template of the provider agent offers.
const TEMPLATE: Terms =
    Terms { note_interval: Some(120), payment_timeout: Some(120), accept_timeout: Some(240) };

const COEFFICIENTS: &str = "golem.com.pricing.model.linear.coeffs";

/// Draws all offers of a population; `first` numbers its first provider on the whole network.
#[must_use]
pub fn populate(population: &Arc<Population>, seed: Seed, first: u64) -> Vec<Offer> {
    let mut offers = Vec::new();
    for member in 0..population.count {
        let provider = identity(seed, first + member);
        for number in 0..population.offers {
            let draw = |what: &str, spread: &crate::scenario::Distribution| {
                spread.sample(seed, &format!("{}/{what}", population.name), member, number)
            };
            offers.push(Offer {
                provider: provider.clone(),
                number,
                member,
                cpu_hour: draw("cpu", &population.cpu_hour),
                env_hour: draw("env", &population.env_hour),
                start: draw("start", &population.start),
                threads: (draw("threads", &population.threads) / ONE).max(1),
                memory: draw("memory", &population.memory),
                storage: draw("storage", &population.storage),
                population: Arc::clone(population),
            });
        }
    }
    offers
}

/// The identity of the network's `nth` node.
#[must_use]
pub fn identity(seed: Seed, nth: u64) -> ProviderId {
    let part = |which| seed.draw("identity", nth, which);
    ProviderId::from(format!("0x{:016x}{:016x}{:08x}", part(0), part(1), part(2) as u32))
}

impl Offer {
    /// The provider's name for this offer.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}-{}-{}", self.population.name, self.member, self.number)
    }

    /// The filter that demands must meet.
    #[must_use]
    pub fn constraints(&self) -> String {
        let subnet = &self.population.subnet;
        format!("(&\n  (golem.srv.comp.expiration>0)\n  (golem.node.debug.subnet={subnet})\n)")
    }

    /// Everything that it says, or a draft made from it.
    #[must_use]
    pub fn properties(&self, draft: &Draft) -> Properties {
        let (population, quirk) = (&self.population, self.population.quirk);
        let mut properties = Properties::default();
        let texts = |words: &[String]| {
            Value::Array(words.iter().map(|word| Value::String(word.clone())).collect())
        };
        properties.set("golem.activity.caps.transfer.protocol", vec!["http", "https", "gftp"]);
        let terms = draft.terms.unwrap_or(TEMPLATE);
        set_if_some(&mut properties, agent::ACCEPT_TIMEOUT, terms.accept_timeout);
        for platform in &population.platforms {
            let key = format!("golem.com.payment.platform.{platform}.address");
            properties.set(key, self.provider.as_str());
        }
        properties.set("golem.com.payment.protocol.version", 3);
        self.set_price(&mut properties, &draft.prices);
        properties.set("golem.com.scheme", "payu");
        if quirk != Quirk::NoTerms {
            set_if_some(&mut properties, agent::NOTE_INTERVAL, terms.note_interval);
            set_if_some(&mut properties, agent::PAYMENT_TIMEOUT, terms.payment_timeout);
        }
        properties.set("golem.inf.cpu.architecture", "x86_64");
        properties.set("golem.inf.cpu.cores", self.threads.div_ceil(2));
        if quirk != Quirk::NoThreads {
            properties.set("golem.inf.cpu.threads", self.threads);
        }
        properties.set("golem.inf.mem.gib", decimal(u128::from(self.memory), 9));
        properties.set("golem.inf.storage.gib", decimal(u128::from(self.storage), 9));
        properties.set("golem.node.debug.subnet", population.subnet.as_str());
        properties.set("golem.node.id.name", self.name());
        properties.set("golem.runtime.capabilities", texts(&population.capabilities));
        properties.set("golem.runtime.name", population.runtime.as_str());
        properties.set("golem.runtime.version", "0.4.0");
        properties.set("golem.srv.caps.multi-activity", true);
        properties.set("golem.srv.caps.payload-manifest", true);
        properties
    }

    fn set_price(&self, properties: &mut Properties, prices: &Prices) {
        let factor = match prices {
            Prices::AsOffered | Prices::Adopted(_) => ONE,
            Prices::Times(factor) => *factor,
        };
        let raised = |price: u64| u128::from(price) * u128::from(factor) / u128::from(ONE);
        // Rounded down, as a provider's float would have it: never above the price per hour.
        let per_second = |per_hour: u64| decimal(raised(per_hour) * 1_000_000_000 / 3_600, 18);
        let mut usage = vec!["golem.usage.cpu_sec", "golem.usage.duration_sec"];
        let mut coefficients = vec![per_second(self.cpu_hour), per_second(self.env_hour)];
        let mut model = "linear";
        match self.population.quirk {
            Quirk::None | Quirk::NoThreads | Quirk::NoTerms => {}
            Quirk::ReversedVector => {
                usage.reverse();
                coefficients.reverse();
            }
            Quirk::UnknownCounterFree => {
                usage.insert(0, "golem.usage.gpu-sec");
                coefficients.insert(0, decimal(0, 0));
            }
            Quirk::UnknownCounterPriced => {
                usage.insert(0, "golem.usage.gpu-sec");
                coefficients.insert(0, decimal(1, 3));
            }
            Quirk::ShortVector => {
                coefficients.pop();
            }
            Quirk::TextCoefficients => {
                let text = |number: &Value| Value::String(number.to_string());
                coefficients = coefficients.iter().map(text).collect();
            }
            Quirk::OtherModel => model = "auction",
        }
        coefficients.push(decimal(raised(self.start), 9));
        properties.set("golem.com.pricing.model", model);
        match prices {
            Prices::AsOffered | Prices::Times(_) => properties.set(COEFFICIENTS, coefficients),
            Prices::Adopted(named) => properties.set(COEFFICIENTS, named.to_vec()),
        }
        properties.set("golem.com.usage.vector", usage);
    }

    /// Memory and storage of a node, in MiB.
    #[must_use]
    pub fn space(&self) -> (u64, u64) {
        let mebibytes = |billionths: u64| billionths / (ONE / 1_000) * 1_024 / 1_000;
        (mebibytes(self.memory), mebibytes(self.storage))
    }

    /// What is asked for rarely is looked up in its properties.
    fn spelled_out(&self, key: &str) -> Option<Fact<'static>> {
        if !key.starts_with("golem.") {
            return None;
        }
        let properties = self.properties(&Draft::default());
        properties.fact(key).map(Fact::into_owned)
    }

    /// The same offer at another price, in billionths of the present one.
    #[must_use]
    pub fn repriced(&self, factor: u64) -> Self {
        let times = |price: u64| {
            let price = u128::from(price) * u128::from(factor) / u128::from(ONE);
            u64::try_from(price).unwrap_or(u64::MAX)
        };
        Self {
            cpu_hour: times(self.cpu_hour),
            env_hour: times(self.env_hour),
            start: times(self.start),
            ..self.clone()
        }
    }
}

impl Facts for Offer {
    fn fact(&self, key: &str) -> Option<Fact<'_>> {
        let number = |billionths: u64| {
            Some(Fact::Number(i128::from(billionths) * (FACT_ONE / i128::from(ONE))))
        };
        match key {
            "golem.inf.cpu.threads" if self.population.quirk == Quirk::NoThreads => None,
            "golem.inf.cpu.threads" => Some(Fact::Number(i128::from(self.threads) * FACT_ONE)),
            "golem.inf.mem.gib" => number(self.memory),
            "golem.inf.storage.gib" => number(self.storage),
            "golem.node.debug.subnet" => Some(Fact::Text(Cow::Borrowed(&self.population.subnet))),
            "golem.runtime.name" => Some(Fact::Text(Cow::Borrowed(&self.population.runtime))),
            "golem.runtime.capabilities" => {
                let all = self.population.capabilities.iter();
                Some(Fact::List(all.map(|one| Fact::Text(Cow::Borrowed(one))).collect()))
            }
            "golem.com.payment.protocol.version" => Some(Fact::Number(3 * FACT_ONE)),
            "golem.inf.cpu.cores" => {
                Some(Fact::Number(i128::from(self.threads.div_ceil(2)) * FACT_ONE))
            }
            "golem.com.pricing.model" if self.population.quirk != Quirk::OtherModel => {
                Some(Fact::Text(Cow::Borrowed("linear")))
            }
            _ => {
                let platform = key
                    .strip_prefix("golem.com.payment.platform.")
                    .and_then(|rest| rest.strip_suffix(".address"));
                let Some(platform) = platform else { return self.spelled_out(key) };
                let offers_it = self.population.platforms.iter().any(|it| it == platform);
                offers_it.then(|| Fact::Text(Cow::Borrowed(self.provider.as_str())))
            }
        }
    }
}

fn set_if_some(properties: &mut Properties, key: &str, value: Option<u64>) {
    if let Some(value) = value {
        properties.set(key, value);
    }
}

/// A JSON number that is written as a decimal, exactly; with a point, as providers write theirs.
fn decimal(value: u128, decimals: u8) -> Value {
    let atto = value.saturating_mul(10_u128.saturating_pow(u32::from(18 - decimals.min(18))));
    let mut text = Glm::from_atto(atto).to_string();
    if !text.contains('.') {
        text.push_str(".0");
    }
    serde_json::from_str::<Number>(&text).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ray_on_golem::core::rng::Seed;

    use super::{COEFFICIENTS, Draft, Facts, populate};
    use crate::{scenario::Scenario, yagna::constraint::Constraint};

    fn offers(text: &str) -> Vec<super::Offer> {
        let scenario = Scenario::parse(text.as_bytes()).expect("a scenario");
        let population = Arc::new(scenario.populations.first().expect("one").clone());
        populate(&population, Seed::new(1), 0)
    }

    #[test]
    fn an_offer_is_a_small_record() {
        // Its identity is kept once for all offers of a provider: 42 bytes and two counters.
        let identity = 42 + 2 * size_of::<usize>();

        assert!(size_of::<super::Offer>() + identity <= 200);
    }

    #[test]
    fn an_offer_spells_out_exact_prices() {
        let offers = offers("populations: [{count: 1, cpu_hour: 0.5, env_hour: 0.36, start: 0.1}]");

        let properties = offers[0].properties(&Draft::default());

        let coefficients = properties.get(COEFFICIENTS).expect("there");
        assert_eq!(coefficients.to_string(), "[0.000138888888888888,0.0001,0.1]");
    }

    #[test]
    fn the_facts_of_the_record_are_those_of_the_properties() {
        let offers = offers(
            "populations: [{count: 20, threads: {uniform: [1, 64]}, memory: {uniform: [1, 9]}}]",
        );
        for text in [
            "(golem.inf.cpu.threads>=16)",
            "(golem.inf.mem.gib<4.5)",
            "(golem.runtime.capabilities=vpn)",
            "(golem.runtime.name=vm)",
            "(golem.com.payment.platform.erc20-hoodi-tglm.address=*)",
            "(golem.node.debug.subnet=x)",
            "(golem.com.payment.protocol.version>1)",
            "(golem.inf.storage.gib>=40)",
            "(golem.inf.cpu.cores>=8)",
            "(golem.com.pricing.model=linear)",
            "(golem.srv.caps.multi-activity=true)",
            "(golem.node.id.name=*)",
            "(golem.inf.gpu.model=*)",
        ] {
            let filter = Constraint::parse(text);
            for offer in &offers {
                let spelled = offer.properties(&Draft::default());
                assert_eq!(filter.accepts(offer), filter.accepts(&spelled), "{text} {offer:?}");
                assert!(offer.fact("nothing").is_none());
            }
        }
    }
}
