//! Merges the levels of a node's configuration, and makes of them what the market needs.
//!
//! The nearer level wins: defaults, then `provider.parameters.node_config`, then the node type's
//! own `node_config`. Maps are merged key by key, and lists are appended to each other, without
//! repeating an entry. Null puts the default back.

use serde_json::{Map, Value as Json};

use super::layer::{self, Budget, Demand, Layer, Said, Setting};
use super::yaml::{Mark, Place, YamlError};
use crate::core::market::{
    choice::{Choice, Weights},
    spec::{ExpectedUsage, Gib, ImageRef, NodeSpec, PaymentInterval, PriceLimits},
};
use crate::units::Span;

const SUBNET_TAG: &str = "public";
const PRIORITY_SUBNET_TAG_OF_HEADS: &str = "ray-on-golem-heads";
const RUNTIME: &str = "vm";
const CAPABILITIES: [&str; 2] = ["vpn", "inet"];
const MANIFEST_SUPPORT: &str = "manifest-support";
const PAYMENT_INTERVAL: Span = Span::hours(12);

/// The level of the node type over the level of the provider.
pub(super) fn merge(base: Layer, over: Layer) -> Layer {
    Layer {
        subnet_tag: over.subnet_tag.or(base.subnet_tag),
        priority_subnet_tag: over.priority_subnet_tag.or(base.priority_subnet_tag),
        demand: merge_demands(base.demand, over.demand),
        budget: merge_budgets(base.budget, over.budget),
        choice: merge_with(base.choice, over.choice, merge_choices),
    }
}

/// Makes the merged level of the node type at `place` into a specification.
///
/// The capability `manifest-support` is added here if there are outbound addresses, so that the
/// capabilities are final.
pub(super) fn specify(merged: Layer, is_head: bool, place: &Place) -> Result<NodeSpec, YamlError> {
    let Layer { subnet_tag, priority_subnet_tag, demand, budget, choice } = merged;
    let image = image(&demand, place)?;
    check_threads(&demand)?;
    let priority_subnet_tag = match priority_subnet_tag {
        Some(said) => said.value,
        None => is_head.then(|| PRIORITY_SUBNET_TAG_OF_HEADS.to_owned()),
    };
    let outbound_urls = value(&demand.outbound_urls).unwrap_or_default();
    let mut capabilities: Vec<String> = CAPABILITIES.map(str::to_owned).to_vec();
    append_new(&mut capabilities, value(&demand.capabilities).unwrap_or_default());
    if !outbound_urls.is_empty() {
        append_new(&mut capabilities, vec![MANIFEST_SUPPORT.to_owned()]);
    }
    Ok(NodeSpec {
        subnet_tag: value(&subnet_tag).unwrap_or_else(|| SUBNET_TAG.to_owned()),
        priority_subnet_tag,
        image,
        runtime: value(&demand.runtime).unwrap_or_else(|| RUNTIME.to_owned()),
        capabilities,
        outbound_urls,
        min_mem: value(&demand.min_mem).unwrap_or(Gib::ZERO),
        min_storage: value(&demand.min_storage).unwrap_or(Gib::ZERO),
        min_cpu_threads: value(&demand.min_cpu_threads).unwrap_or(0),
        max_cpu_threads: value(&demand.max_cpu_threads),
        node_descriptor: value(&demand.node_descriptor),
        limits: PriceLimits {
            per_cpu_expected_usage: expected_usage(&budget)?,
            max_start_price: value(&budget.max_start_price),
            max_cpu_per_hour_price: value(&budget.max_cpu_per_hour_price),
            max_env_per_hour_price: value(&budget.max_env_per_hour_price),
        },
        payment_interval: payment_interval(&budget)?,
        choice: provider_choice(&choice)?,
    })
}

fn merge_demands(base: Demand, over: Demand) -> Demand {
    Demand {
        image_tag: over.image_tag.or(base.image_tag),
        image_hash: over.image_hash.or(base.image_hash),
        capabilities: merge_with(base.capabilities, over.capabilities, append_new),
        outbound_urls: merge_with(base.outbound_urls, over.outbound_urls, append_new),
        min_mem: over.min_mem.or(base.min_mem),
        min_storage: over.min_storage.or(base.min_storage),
        min_cpu_threads: over.min_cpu_threads.or(base.min_cpu_threads),
        max_cpu_threads: over.max_cpu_threads.or(base.max_cpu_threads),
        runtime: over.runtime.or(base.runtime),
        node_descriptor: merge_with(base.node_descriptor, over.node_descriptor, merge_json),
    }
}

fn merge_budgets(base: Budget, over: Budget) -> Budget {
    Budget {
        cpu_load: over.cpu_load.or(base.cpu_load),
        duration: over.duration.or(base.duration),
        max_cost: over.max_cost.or(base.max_cost),
        max_start_price: over.max_start_price.or(base.max_start_price),
        max_cpu_per_hour_price: over.max_cpu_per_hour_price.or(base.max_cpu_per_hour_price),
        max_env_per_hour_price: over.max_env_per_hour_price.or(base.max_env_per_hour_price),
        interval_minimal: over.interval_minimal.or(base.interval_minimal),
        interval_optimal: over.interval_optimal.or(base.interval_optimal),
    }
}

fn merge_choices(choice: &mut layer::Choice, over: layer::Choice) {
    let base = std::mem::take(choice);
    *choice = layer::Choice {
        price: over.price.or(base.price),
        reputation: over.reputation.or(base.reputation),
        experience: over.experience.or(base.experience),
        chance: over.chance.or(base.chance),
        newcomers: over.newcomers.or(base.newcomers),
        hedge: over.hedge.or(base.hedge),
        whitelist: merge_with(base.whitelist, over.whitelist, append_new),
        blacklist: merge_with(base.blacklist, over.blacklist, append_new),
    };
}

/// Merges values that do not simply replace each other; null on the nearer level still does.
fn merge_with<T>(base: Setting<T>, over: Setting<T>, add: impl FnOnce(&mut T, T)) -> Setting<T> {
    match (base, over) {
        (Some(Said { value: Some(mut base), .. }), Some(Said { value: Some(over), place })) => {
            add(&mut base, over);
            Some(Said { place, value: Some(base) })
        }
        (base, over) => over.or(base),
    }
}

fn append_new<T: PartialEq>(list: &mut Vec<T>, others: Vec<T>) {
    for other in others {
        if !list.contains(&other) {
            list.push(other);
        }
    }
}

/// Recursion is bounded by the nesting that the YAML reader allows.
fn merge_json(base: &mut Map<String, Json>, over: Map<String, Json>) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Json::Object(base)), Json::Object(over)) => merge_json(base, over),
            (Some(Json::Array(base)), Json::Array(over)) => base.extend(over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

fn value<T: Clone>(setting: &Setting<T>) -> Option<T> {
    setting.as_ref().and_then(|said| said.value.clone())
}

/// The value and where it was said, if there is one.
fn said<T>(setting: &Setting<T>) -> Option<(&T, &Place)> {
    let said = setting.as_ref()?;
    Some((said.value.as_ref()?, &said.place))
}

fn image(demand: &Demand, node_type: &Place) -> Result<ImageRef, YamlError> {
    match (said(&demand.image_tag), said(&demand.image_hash)) {
        (Some((tag, _)), None) => Ok(ImageRef::Tag(tag.clone())),
        (None, Some((hash, _))) => Ok(ImageRef::Hash(hash.clone())),
        (None, None) => {
            let what = "neither `image_tag` nor `image_hash` is given; write one of them here or \
                        under `provider.parameters.node_config.demand`";
            Err(node_type.join("node_config").join("demand").error(what))
        }
        (Some((_, tag)), Some((_, hash))) => {
            let (first, second) = if tag.mark <= hash.mark { (tag, hash) } else { (hash, tag) };
            let what = format!(
                "`image_tag` and `image_hash` exclude each other, and {} is given as well; keep \
                 one of them",
                cite(first)
            );
            Err(second.error(what))
        }
    }
}

fn check_threads(demand: &Demand) -> Result<(), YamlError> {
    let (Some((min, min_place)), Some((max, max_place))) =
        (said(&demand.min_cpu_threads), said(&demand.max_cpu_threads))
    else {
        return Ok(());
    };
    if min > max {
        let what = format!(
            "`{min}` is more than the `{max}` of {}; lower it, or raise the other",
            cite(max_place)
        );
        return Err(min_place.error(what));
    }
    Ok(())
}

fn expected_usage(budget: &Budget) -> Result<Option<ExpectedUsage>, YamlError> {
    let together = "`cpu_load` and `duration_hours` are required together; add";
    match (said(&budget.cpu_load), said(&budget.duration), said(&budget.max_cost)) {
        (Some((cpu_load, _)), Some((duration, _)), max_cost) => Ok(Some(ExpectedUsage {
            cpu_load: *cpu_load,
            duration: *duration,
            max_cost: max_cost.map(|(max_cost, _)| *max_cost),
        })),
        (None, None, None) => Ok(None),
        (Some((_, place)), None, _) => {
            Err(place.error(format!("{together} `duration_hours`, such as `0.5`")))
        }
        (None, Some((_, place)), _) => {
            Err(place.error(format!("{together} `cpu_load`, such as `0.8`")))
        }
        (None, None, Some((_, place))) => Err(place.error(
            "a cost is known only for an expected use; add `cpu_load` and `duration_hours`",
        )),
    }
}

fn payment_interval(budget: &Budget) -> Result<PaymentInterval, YamlError> {
    match (said(&budget.interval_minimal), said(&budget.interval_optimal)) {
        (None, None) => {
            Ok(PaymentInterval { minimal: PAYMENT_INTERVAL, optimal: PAYMENT_INTERVAL })
        }
        (Some((minimal, _)), None) => Ok(PaymentInterval { minimal: *minimal, optimal: *minimal }),
        (None, Some((_, optimal))) => {
            Err(optimal.error("`optimal` is given without `minimal`; add `minimal`"))
        }
        (Some((minimal, minimal_place)), Some((optimal, optimal_place))) => {
            if optimal < minimal {
                let what =
                    format!("`optimal` is below {}; write at least as much", cite(minimal_place));
                return Err(optimal_place.error(what));
            }
            Ok(PaymentInterval { minimal: *minimal, optimal: *optimal })
        }
    }
}

/// Files that say nothing of it were written for the Python original, and mean what it does.
fn provider_choice(setting: &Setting<layer::Choice>) -> Result<Choice, YamlError> {
    let Some((keys, place)) = said(setting) else { return Ok(Choice::original()) };
    let default = Choice::recommended();
    let weights = Weights {
        price: value(&keys.price).unwrap_or(default.weights.price),
        reputation: value(&keys.reputation).unwrap_or(default.weights.reputation),
        experience: value(&keys.experience).unwrap_or(default.weights.experience),
        chance: value(&keys.chance).unwrap_or(default.weights.chance),
    };
    let Weights { price, reputation, experience, chance } = weights;
    if price + reputation + experience + chance == 0 {
        let what = "all are 0, so that nothing decides; give one of them a weight, such as `10`";
        return Err(place.join("weights").error(what));
    }
    Ok(Choice {
        weights,
        newcomers: value(&keys.newcomers).unwrap_or(default.newcomers),
        hedge: value(&keys.hedge).unwrap_or(default.hedge),
        whitelist: value(&keys.whitelist).unwrap_or_default(),
        blacklist: value(&keys.blacklist).unwrap_or_default(),
    })
}

fn cite(place: &Place) -> String {
    if place.mark == Mark::NOWHERE {
        return format!("`{}`", place.path);
    }
    format!("`{}` on line {}", place.path, place.mark.line)
}
