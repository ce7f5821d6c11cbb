//! How a provider answers a proposal: the provider agent's components in turn, the first refusal
//! wins. Thresholds and words are those of the agent of yagna 0.17.6.

use base64::{Engine, prelude::BASE64_STANDARD};
use ray_on_golem::{
    core::rng::Seed,
    units::{Span, Timestamp, money::Rounding, money::parse_scaled},
    yagna::Properties,
};
use serde_json::Value;

use super::{COEFFICIENTS, Draft, Offer, Prices, Terms};
use crate::{
    scenario::{Behaviour, Distribution, Outbound, distribution::ONE},
    yagna::constraint::read_number,
};

pub(super) const NOTE_INTERVAL: &str = "golem.com.scheme.payu.debit-note.interval-sec?";
pub(super) const PAYMENT_TIMEOUT: &str = "golem.com.scheme.payu.payment-timeout-sec?";
pub(super) const ACCEPT_TIMEOUT: &str = "golem.com.payment.debit-notes.accept-timeout?";
pub(super) const CHOSEN_PLATFORM: &str = "golem.com.payment.chosen-platform";
pub(super) const EXPIRATION: &str = "golem.srv.comp.expiration";
const MANIFEST: &str = "golem.srv.comp.payload";

/// What an agent says whose only slot is taken.
pub(crate) const NO_CAPACITY: &str = "No capacity available. Reached Agreements limit: 1";

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

/// The answer, and how long the provider takes for it; `is_taken` says that it has an agreement.
#[must_use]
pub fn answer(
    offer: &Offer,
    demand: &Properties,
    is_taken: bool,
    now: Timestamp,
    seed: Seed,
    round: u64,
) -> (Answer, Span) {
    let population = &offer.population;
    let sample = |what: &str, spread: &Distribution| {
        let label = format!("{}/{what}", population.name);
        spread.sample(seed, &label, offer.member, offer.number * 1_000 + round)
    };
    let answer = match &population.behaviour {
        Behaviour::Honest
        | Behaviour::Busy
        | Behaviour::Outbound(_)
        | Behaviour::Slow(_)
        | Behaviour::Withdraws(_)
        | Behaviour::Reprices { .. }
        | Behaviour::Unreachable(_) => negotiate(offer, demand, is_taken, now),
        Behaviour::Silent => Answer::Silence,
        Behaviour::Raises(factor) => match negotiate(offer, demand, is_taken, now) {
            Answer::Counter(draft) => {
                let prices = Prices::Times(sample("raises", factor));
                Answer::Counter(Draft { prices, ..draft })
            }
            other @ (Answer::Reject { .. } | Answer::Silence) => other,
        },
        Behaviour::Endless => {
            let stated = number(demand, PAYMENT_TIMEOUT).unwrap_or(0);
            let terms = Terms { payment_timeout: Some(stated + 1), ..Terms::of(demand) };
            Answer::Counter(Draft { terms: Some(terms), prices: Prices::AsOffered })
        }
        Behaviour::Refuses(words) if words.is_empty() => {
            Answer::Reject { message: None, is_final: false }
        }
        Behaviour::Refuses(words) => refuse(words, false),
    };
    let thought = match &population.behaviour {
        Behaviour::Slow(after) => scaled(sample("slow", after), 1_000_000),
        Behaviour::Honest
        | Behaviour::Busy
        | Behaviour::Outbound(_)
        | Behaviour::Silent
        | Behaviour::Withdraws(_)
        | Behaviour::Reprices { .. }
        | Behaviour::Raises(_)
        | Behaviour::Endless
        | Behaviour::Unreachable(_)
        | Behaviour::Refuses(_) => scaled(sample("thinks", &population.thinks_ms), 1_000),
    };
    (answer, Span::micros(thought))
}

impl Terms {
    /// What the demand says; what it leaves out is left out.
    fn of(demand: &Properties) -> Self {
        Self {
            note_interval: number(demand, NOTE_INTERVAL),
            payment_timeout: number(demand, PAYMENT_TIMEOUT),
            accept_timeout: number(demand, ACCEPT_TIMEOUT),
        }
    }
}

/// The agent asks its components in this order, adopts what it can live with, and refuses the rest.
fn negotiate(offer: &Offer, demand: &Properties, is_taken: bool, now: Timestamp) -> Answer {
    let left = time_left(demand, now);
    let terms = Terms::of(demand);
    validate(demand)
        .or_else(|| check_capacity(offer, is_taken))
        .or_else(|| check_expiration(demand, left, &terms))
        .or_else(|| check_accept_timeout(&terms))
        .or_else(|| check_range("interval", terms.note_interval))
        .or_else(|| check_range("payment timeout", terms.payment_timeout))
        .or_else(|| check_unpaid_run(left, &terms))
        .or_else(|| check_price(offer, demand))
        .or_else(|| check_outbound(offer, demand))
        .unwrap_or_else(|| {
            let prices = adopted_prices(offer, demand);
            Answer::Counter(Draft { terms: Some(terms), prices })
        })
}

/// The agent names a field by its place in the nested form, and may be asked again.
fn validate(demand: &Properties) -> Option<Answer> {
    let is_missing = demand.text(CHOSEN_PLATFORM).is_none();
    let place = CHOSEN_PLATFORM.replace('.', "/");
    is_missing.then(|| refuse(&format!("Missing fields: /{place}"), false))
}

fn check_capacity(offer: &Offer, is_taken: bool) -> Option<Answer> {
    let is_busy = is_taken || offer.population.behaviour == Behaviour::Busy;
    is_busy.then(|| refuse(NO_CAPACITY, false))
}

/// What ends too early is refused for good; what ends too late may be asked for again later.
fn check_expiration(demand: &Properties, left: Span, terms: &Terms) -> Option<Answer> {
    let longest = match terms.accept_timeout {
        Some(_) => EXPIRES_MAX,
        None => EXPIRES_MAX_WITHOUT_NOTES,
    };
    (left < EXPIRES_MIN || left > longest).then(|| {
        let millis = demand.number(EXPIRATION).unwrap_or_default();
        let text = format!(
            "Proposal expires at: {millis} which is less than {EXPIRES_MIN} or more than {longest} \
             from now"
        );
        refuse(&text, left < EXPIRES_MIN)
    })
}

fn check_accept_timeout(terms: &Terms) -> Option<Answer> {
    let secs = terms.accept_timeout?;
    if secs > ACCEPT_SECS_MAX {
        return Some(refuse("DebitNote acceptance deadline should be less than 4min.", true));
    }
    (secs < ACCEPT_SECS_MIN).then(|| refuse(&format!("To low DebitNotes timeout: {secs}s"), true))
}

fn check_range(what: &str, value: Option<u64>) -> Option<Answer> {
    let secs = value.filter(|secs| !(1..=SECS_PER_DAY).contains(secs))?;
    let text = format!("Demand DebitNote {what} {secs}s not in acceptable range of [1s; 24h]");
    Some(refuse(&text, true))
}

fn check_unpaid_run(left: Span, terms: &Terms) -> Option<Answer> {
    (left >= UNPAID_RUN_MAX && terms.payment_timeout.is_none()).then(|| {
        let text = format!(
            "Expiration time {left} exceeds the {UNPAID_RUN_MAX} threshold of enforcing \
             mid-agreement payments but the required property '{PAYMENT_TIMEOUT}' was not present \
             in the Demand"
        );
        refuse(&text, true)
    })
}

/// A counter-proposal that names other coefficients must not name lower ones.
fn check_price(offer: &Offer, demand: &Properties) -> Option<Answer> {
    let stated = coefficients(demand)?;
    let ours = coefficients(&offer.properties(&Draft::default()))?;
    if stated.len() != ours.len() {
        return Some(refuse("invalid price vector", false));
    }
    let is_lower = stated.iter().zip(&ours).any(|(stated, ours)| stated.0 < ours.0);
    is_lower.then(|| refuse(&format!("{} < {}", listed(&stated), listed(&ours)), true))
}

/// Whoever wants to pay more may; that nobody pays less is checked before.
fn adopted_prices(offer: &Offer, demand: &Properties) -> Prices {
    let Some(stated) = coefficients(demand) else { return Prices::AsOffered };
    let ours = coefficients(&offer.properties(&Draft::default())).unwrap_or_default();
    let is_higher = stated.iter().zip(&ours).any(|(stated, ours)| stated.0 > ours.0);
    match demand.get(COEFFICIENTS).and_then(Value::as_array) {
        Some(named) if is_higher => Prices::Adopted(named.as_slice().into()),
        Some(_) | None => Prices::AsOffered,
    }
}

/// The provider's rules matter only to a manifest that asks for the way out.
fn check_outbound(offer: &Offer, demand: &Properties) -> Option<Answer> {
    let Behaviour::Outbound(rule) = offer.population.behaviour else { return None };
    let manifest = match read_manifest(demand.text(MANIFEST)?) {
        Ok(manifest) => manifest,
        Err(why) => return Some(refuse(&format!("invalid manifest: {why}"), true)),
    };
    let way_out = manifest.pointer("/compManifest/net/inet/out/urls")?;
    if way_out.as_array().is_some_and(Vec::is_empty) {
        return None;
    }
    let text = match rule {
        Outbound::NoRule => {
            "Outbound rejected because: Everyone rule didn't match whitelist ; Audited-Payload rule \
             requires manifest signature ; Partner rule requires node descriptor ; "
        }
        Outbound::Disabled => "outbound is disabled",
        Outbound::RuleDisabled => "Outbound rejected because: Everyone rule is disabled ; ",
    };
    Some(refuse(text, true))
}

fn read_manifest(text: &str) -> Result<Value, String> {
    let bytes = BASE64_STANDARD.decode(text).map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

/// The coefficients that a side states, with their text; `None` if they are not all numbers.
fn coefficients(properties: &Properties) -> Option<Vec<(i128, String)>> {
    let stated = properties.get(COEFFICIENTS)?.as_array()?;
    stated
        .iter()
        .map(|value| {
            let text = value.as_number()?.to_string();
            Some((read_number(&text)?, text))
        })
        .collect()
}

fn listed(coefficients: &[(i128, String)]) -> String {
    let texts: Vec<&str> = coefficients.iter().map(|(_, text)| text.as_str()).collect();
    format!("[{}]", texts.join(", "))
}

fn time_left(demand: &Properties, now: Timestamp) -> Span {
    let millis = number(demand, EXPIRATION).unwrap_or(0);
    Timestamp::from_unix_micros(millis.saturating_mul(1_000)).since(now)
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

    use base64::{Engine, prelude::BASE64_STANDARD};
    use ray_on_golem::{
        core::rng::Seed,
        units::{Span, Timestamp},
        yagna::Properties,
    };
    use serde_json::json;

    use super::{
        ACCEPT_TIMEOUT, Answer, CHOSEN_PLATFORM, COEFFICIENTS, EXPIRATION, MANIFEST, NOTE_INTERVAL,
        PAYMENT_TIMEOUT, answer,
    };
    use crate::{
        provider::{Draft, Prices, Terms, populate},
        scenario::Scenario,
    };

    const NOW: Timestamp = Timestamp::from_unix_micros(1_000_000_000_000_000);

    fn demand() -> Properties {
        let mut demand = Properties::default();
        demand.set(CHOSEN_PLATFORM, "erc20-hoodi-tglm");
        demand.set(ACCEPT_TIMEOUT, 240);
        demand.set(NOTE_INTERVAL, 180);
        demand.set(PAYMENT_TIMEOUT, 43_200);
        demand.set(EXPIRATION, NOW.plus(Span::days(365)).as_unix_millis());
        demand
    }

    fn ask(behaviour: &str, demand: &Properties) -> Answer {
        let text = format!("populations: [{{count: 1, behaviour: {behaviour}}}]");
        let scenario = Scenario::parse(text.as_bytes()).expect("a scenario");
        let population = Arc::new(scenario.populations[0].clone());
        let offers = populate(&population, Seed::new(1), 0);
        answer(&offers[0], demand, false, NOW, Seed::new(1), 0).0
    }

    fn with(key: &str, value: serde_json::Value) -> Properties {
        let mut demand = demand();
        demand.set(key, value);
        demand
    }

    fn without(key: &str) -> Properties {
        let mut demand = demand();
        demand.0.remove(key);
        demand
    }

    /// The words of a refusal, and whether it is final.
    fn refused(behaviour: &str, demand: &Properties) -> (String, bool) {
        match ask(behaviour, demand) {
            Answer::Reject { message, is_final } => (message.unwrap_or_default(), is_final),
            other @ (Answer::Counter(_) | Answer::Silence) => panic!("{other:?}"),
        }
    }

    fn draft(answer: Answer) -> Draft {
        match answer {
            Answer::Counter(draft) => draft,
            other @ (Answer::Reject { .. } | Answer::Silence) => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_honest_provider_adopts_our_values() {
        let terms = Terms {
            note_interval: Some(180),
            payment_timeout: Some(43_200),
            accept_timeout: Some(240),
        };
        let adopted = Draft { terms: Some(terms), prices: Prices::AsOffered };

        assert_eq!(draft(ask("honest", &demand())), adopted);
    }

    #[test]
    fn an_honest_provider_drops_what_we_leave_out_and_takes_more_money() {
        let silent = draft(ask("honest", &without(NOTE_INTERVAL)));
        let generous = draft(ask("honest", &with(COEFFICIENTS, json!([1, 1.5, 0]))));

        assert_eq!(silent.terms.and_then(|terms| terms.note_interval), None);
        let written = [json!(1), json!(1.5), json!(0)];
        assert_eq!(generous.prices, Prices::Adopted(written.as_slice().into()));
    }

    #[test]
    fn an_honest_provider_refuses_what_the_agent_refuses() {
        let soon = NOW.plus(Span::mins(1)).as_unix_millis();
        let table = [
            (without(CHOSEN_PLATFORM), "Missing fields: /golem/com/payment/chosen-platform", false),
            (with(EXPIRATION, json!(soon)), "Proposal expires at: ", true),
            (without(ACCEPT_TIMEOUT), "Proposal expires at: ", false),
            (
                with(ACCEPT_TIMEOUT, json!(241)),
                "DebitNote acceptance deadline should be less than 4min.",
                true,
            ),
            (with(ACCEPT_TIMEOUT, json!(4)), "To low DebitNotes timeout: 4s", true),
            (
                with(NOTE_INTERVAL, json!(0)),
                "Demand DebitNote interval 0s not in acceptable range of [1s; 24h]",
                true,
            ),
            (
                with(PAYMENT_TIMEOUT, json!(90_000)),
                "Demand DebitNote payment timeout 90000s not in acceptable range of [1s; 24h]",
                true,
            ),
            (without(PAYMENT_TIMEOUT), "Expiration time ", true),
            (with(COEFFICIENTS, json!([1])), "invalid price vector", false),
            (with(COEFFICIENTS, json!([0, 0.0, 0])), "[0, 0.0, 0] < [", true),
            (with(COEFFICIENTS, json!([-1, 1, 1])), "[-1, 1, 1] < [", true),
        ];
        for (demand, wanted, is_final) in table {
            let (text, finality) = refused("honest", &demand);
            assert!(text.starts_with(wanted), "{text}");
            assert_eq!(finality, is_final, "{text}");
        }
    }

    #[test]
    fn the_first_refusal_wins() {
        let invalid = without(CHOSEN_PLATFORM);
        let short = with(ACCEPT_TIMEOUT, json!(4));

        assert!(refused("busy", &invalid).0.starts_with("Missing fields"));
        assert_eq!(
            refused("busy", &short),
            ("No capacity available. Reached Agreements limit: 1".to_owned(), false)
        );
        let mut short = short;
        short.set(MANIFEST, manifest(&["https://a.example"]));
        assert!(refused("{outbound: disabled}", &short).0.starts_with("To low"));
    }

    #[test]
    fn rules_about_outbound_matter_only_to_who_wants_out() {
        let indoors = with(MANIFEST, json!(manifest(&[])));
        let outdoors = with(MANIFEST, json!(manifest(&["https://a.example"])));

        for rule in ["{outbound: no-rule}", "{outbound: disabled}", "{outbound: rule-disabled}"] {
            assert!(matches!(ask(rule, &demand()), Answer::Counter(_)), "{rule}");
            assert!(matches!(ask(rule, &indoors), Answer::Counter(_)), "{rule}");
        }
        assert!(matches!(ask("honest", &outdoors), Answer::Counter(_)));
        assert_eq!(
            refused("{outbound: no-rule}", &outdoors).0,
            "Outbound rejected because: Everyone rule didn't match whitelist ; Audited-Payload \
             rule requires manifest signature ; Partner rule requires node descriptor ; "
        );
        assert_eq!(refused("{outbound: disabled}", &outdoors).0, "outbound is disabled");
        assert_eq!(
            refused("{outbound: rule-disabled}", &outdoors).0,
            "Outbound rejected because: Everyone rule is disabled ; "
        );
        let garbage = with(MANIFEST, json!("?"));
        assert!(refused("{outbound: no-rule}", &garbage).0.starts_with("invalid manifest: "));
    }

    #[test]
    fn odd_providers_are_odd_in_their_own_way() {
        assert_eq!(ask("silent", &demand()), Answer::Silence);
        assert_eq!(refused("{refuses: Node is busy.}", &demand()).0, "Node is busy.");
        assert_eq!(
            ask("{refuses: }", &demand()),
            Answer::Reject { message: None, is_final: false }
        );
        let raised = draft(ask("{raises: 1.5}", &demand()));
        assert_eq!(raised.prices, Prices::Times(1_500_000_000));
        let changed = draft(ask("endless", &demand())).terms.expect("terms");
        assert_eq!(changed.payment_timeout, Some(43_201));
    }

    fn manifest(urls: &[&str]) -> String {
        let manifest =
            json!({ "compManifest": { "net": { "inet": { "out": { "urls": urls } } } } });
        BASE64_STANDARD.encode(manifest.to_string())
    }
}
