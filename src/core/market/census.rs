//! How many of the offers on the market meet what a node asks for, and what the nearest ones lack.
//!
//! The daemon shows a demand only the offers that meet all of its constraints, so that a demand which asks
//! for too much finds nothing and learns nothing. A census is counted over all offers that the daemon
//! knows. Requirements are counted one after the other, in the order of the demand, and then as the
//! market of a cluster filters.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    choice::Party,
    limits::{Limit, Limits},
    offer::{Offer, OfferError},
    spec::{Gib, NodeSpec},
};
use crate::{
    units::{Glm, Timestamp},
    yagna::{PlatformId, Properties, ProviderId, PublishedOffer},
};

/// The oldest protocol of payments that providers of today speak is the one after this.
const PROTOCOL_BEFORE: u64 = 1;

/// More capabilities than this are one requirement, so that there is a bit for each.
const CAPABILITIES_MAX: usize = 32;

/// What became of all offers that the daemon knows, at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    /// When it was finished.
    pub at: Timestamp,
    /// How many offers the daemon knows.
    pub known: u64,
    /// How many of them each requirement leaves, one after the other.
    pub filters: Vec<Filter>,
    /// The providers of the offers that meet everything.
    pub fitting: BTreeSet<ProviderId>,
    /// How many offers meet everything.
    pub fit: u64,
    /// The offers that lack least, if none meets everything.
    pub nearest: Option<Nearest>,
}

/// A requirement, and how many offers it leaves of those that the ones before it have left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The requirement as the cluster file has it, such as `min_mem_gib: 4000`.
    pub requirement: String,
    /// How many offers are left.
    pub left: u64,
}

/// Offers that lack the same, and as little as any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// How many offers meet everything but this.
    pub offers: u64,
    /// What they lack: at least one requirement.
    pub misses: Vec<Miss>,
}

/// A requirement that the nearest offers do not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// The requirement as the cluster file has it.
    pub requirement: String,
    /// The nearest of what they have, where that is an amount.
    pub best: Option<Best>,
}

/// What comes nearest to a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Best {
    /// The largest amount of memory or storage.
    LargestGib(Gib),
    /// The most threads.
    MostThreads(u32),
    /// The fewest threads.
    FewestThreads(u32),
    /// The lowest price, in GLM.
    Cheapest(Glm),
}

/// One thing that is asked of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    Subnet { key: &'static str, tag: String },
    Payment { platform: PlatformId, is_protocol_asked: bool },
    MaxThreads(u32),
    Runtime(String),
    Capabilities(Vec<String>),
    MinMem(Gib),
    MinStorage(Gib),
    MinThreads(u32),
    Whitelist,
    Blacklist,
    GoodName,
    Price,
    Limit(Limit),
}

/// Counts offers as they come.
#[derive(Clone, Debug)]
pub(super) struct Count {
    platform: PlatformId,
    spec: NodeSpec,
    requirements: Vec<Requirement>,
    known: u64,
    /// Offers by the requirements that they lack, as bits.
    groups: BTreeMap<u64, Group>,
    fitting: BTreeSet<ProviderId>,
}

#[derive(Clone, Debug, Default)]
struct Group {
    offers: u64,
    /// For each requirement, what comes nearest to it.
    best: Vec<Option<Best>>,
}

impl Count {
    /// Begins to count for a shape of nodes on one subnet; `constraints` are what the daemon adds to the
    /// demand.
    pub(super) fn new(
        spec: &NodeSpec,
        subnet_tag: &str,
        platform: &PlatformId,
        constraints: &[String],
    ) -> Self {
        let is_protocol_asked =
            constraints.iter().any(|it| it.contains("golem.com.payment.protocol.version>"));
        let is_priority = spec.priority_subnet_tag.as_deref() == Some(subnet_tag);
        let key = if is_priority { "priority_subnet_tag" } else { "subnet_tag" };
        let mut requirements = vec![
            Requirement::Subnet { key, tag: subnet_tag.to_owned() },
            Requirement::Payment { platform: platform.clone(), is_protocol_asked },
            Requirement::Runtime(spec.runtime.clone()),
        ];
        if spec.capabilities.len() <= CAPABILITIES_MAX {
            let each =
                spec.capabilities.iter().map(|it| Requirement::Capabilities(vec![it.clone()]));
            requirements.extend(each);
        } else {
            requirements.push(Requirement::Capabilities(spec.capabilities.clone()));
        }
        let is_asked = |least: &Gib| *least > Gib::ZERO;
        requirements.extend(Some(spec.min_mem).filter(is_asked).map(Requirement::MinMem));
        requirements.extend(Some(spec.min_storage).filter(is_asked).map(Requirement::MinStorage));
        let threads = Some(spec.min_cpu_threads).filter(|least| *least > 0);
        requirements.extend(threads.map(Requirement::MinThreads));
        requirements.extend(spec.max_cpu_threads.map(Requirement::MaxThreads));
        requirements.extend((!spec.choice.whitelist.is_empty()).then_some(Requirement::Whitelist));
        requirements.extend((!spec.choice.blacklist.is_empty()).then_some(Requirement::Blacklist));
        requirements.extend([Requirement::GoodName, Requirement::Price]);
        let limits = Limits::new(&spec.limits);
        requirements.extend(limits.as_slice().iter().copied().map(Requirement::Limit));
        Self {
            platform: platform.clone(),
            spec: spec.clone(),
            requirements,
            known: 0,
            groups: BTreeMap::new(),
            fitting: BTreeSet::new(),
        }
    }

    /// Counts one offer; `has_bad_name` says whether its provider is blacklisted by experience.
    pub(super) fn add(&mut self, offer: &PublishedOffer, has_bad_name: bool) {
        let read = Offer::read_published(offer, &self.platform);
        let look = Look { offer, read: &read, spec: &self.spec, has_bad_name };
        self.known = self.known.saturating_add(1);
        let lacks =
            self.requirements.iter().enumerate().fold(0_u64, |lacks, (nth, it)| {
                if look.meets(it) { lacks } else { lacks | 1 << nth }
            });
        if lacks == 0 {
            self.fitting.insert(offer.provider.clone());
        }
        let group = self.groups.entry(lacks).or_default();
        group.offers = group.offers.saturating_add(1);
        group.best.resize(self.requirements.len(), None);
        for (best, requirement) in group.best.iter_mut().zip(&self.requirements) {
            *best = nearer(*best, look.has(requirement));
        }
    }

    /// What it came to.
    pub(super) fn finish(self, at: Timestamp) -> Census {
        let offers_that = |meet: &dyn Fn(u64) -> bool| {
            let those = self.groups.iter().filter(|(lacks, _)| meet(**lacks));
            those.fold(0_u64, |sum, (_, group)| sum.saturating_add(group.offers))
        };
        let filters = self.requirements.iter().enumerate().map(|(nth, requirement)| {
            let so_far = u64::MAX >> (63 - nth.min(63));
            let left = offers_that(&|lacks| lacks & so_far == 0);
            Filter { requirement: requirement.tell(), left }
        });
        // The fewest lacks first, then the most offers.
        let key = |(lacks, group): &(&u64, &Group)| (lacks.count_ones(), u64::MAX - group.offers);
        let nearest = self.groups.iter().min_by_key(key).filter(|(lacks, _)| **lacks != 0);
        let nearest = nearest.map(|(lacks, group)| {
            let all = self.requirements.iter().zip(&group.best).enumerate();
            let missed = all.filter(|(nth, _)| lacks >> nth & 1 == 1);
            let miss = |(_, (requirement, best)): (usize, (&Requirement, &Option<Best>))| Miss {
                requirement: requirement.tell(),
                best: *best,
            };
            Nearest { offers: group.offers, misses: missed.map(miss).collect() }
        });
        Census {
            at,
            known: self.known,
            filters: filters.collect(),
            fit: offers_that(&|lacks| lacks == 0),
            fitting: self.fitting,
            nearest,
        }
    }
}

/// One offer, in all forms that requirements look at.
struct Look<'a> {
    offer: &'a PublishedOffer,
    read: &'a Result<Offer, OfferError>,
    spec: &'a NodeSpec,
    has_bad_name: bool,
}

impl Look<'_> {
    fn meets(&self, requirement: &Requirement) -> bool {
        let properties = &self.offer.body.properties;
        let choice = &self.spec.choice;
        let is_on = |list: &[Party]| {
            let wallet = self.read.as_ref().ok().and_then(|offer| offer.wallet.as_deref());
            list.iter().any(|party| party.is(&self.offer.provider, wallet))
        };
        match requirement {
            Requirement::Subnet { tag, .. } => {
                properties.text("golem.node.debug.subnet") == Some(tag.as_str())
            }
            Requirement::Payment { platform, is_protocol_asked } => {
                let key = format!("golem.com.payment.platform.{platform}.address");
                properties.get(&key).is_some() && (!is_protocol_asked || is_recent(properties))
            }
            Requirement::Runtime(name) => {
                properties.text("golem.runtime.name") == Some(name.as_str())
            }
            Requirement::Capabilities(wanted) => {
                let all = properties.get("golem.runtime.capabilities").and_then(Value::as_array);
                let has = |wanted: &String| {
                    all.is_some_and(|all| all.iter().any(|it| it.as_str() == Some(wanted)))
                };
                wanted.iter().all(has)
            }
            Requirement::MinMem(least) => Offer::mem_of(properties) >= *least,
            Requirement::MinStorage(least) => Offer::storage_of(properties) >= *least,
            Requirement::MinThreads(least) => {
                Offer::threads_of(properties).is_some_and(|threads| threads >= *least)
            }
            Requirement::MaxThreads(most) => {
                Offer::threads_of(properties).is_some_and(|threads| threads <= *most)
            }
            Requirement::Whitelist => is_on(&choice.whitelist),
            Requirement::Blacklist => !is_on(&choice.blacklist),
            Requirement::GoodName => !self.has_bad_name,
            Requirement::Price => self.read.is_ok(),
            // An offer without a price that can be read lacks that, and nothing else about its price.
            Requirement::Limit(limit) => {
                self.read
                    .as_ref()
                    .is_ok_and(|offer| !limit.is_exceeded(&offer.price, offer.threads))
                    || self.read.is_err()
            }
        }
    }

    /// What it has of a requirement, where that is an amount.
    fn has(&self, requirement: &Requirement) -> Option<Best> {
        let properties = &self.offer.body.properties;
        match requirement {
            Requirement::MinMem(_) => Some(Best::LargestGib(Offer::mem_of(properties))),
            Requirement::MinStorage(_) => Some(Best::LargestGib(Offer::storage_of(properties))),
            Requirement::MinThreads(_) => Offer::threads_of(properties).map(Best::MostThreads),
            Requirement::MaxThreads(_) => Offer::threads_of(properties).map(Best::FewestThreads),
            Requirement::Limit(limit) => {
                let offer = self.read.as_ref().ok()?;
                limit.cost(&offer.price, offer.threads).map(Best::Cheapest)
            }
            Requirement::Subnet { .. }
            | Requirement::Payment { .. }
            | Requirement::Runtime(_)
            | Requirement::Capabilities(_)
            | Requirement::Whitelist
            | Requirement::Blacklist
            | Requirement::GoodName
            | Requirement::Price => None,
        }
    }
}

impl Requirement {
    /// The requirement in the words of the cluster file.
    fn tell(&self) -> String {
        match self {
            Self::Subnet { key, tag } => format!("`{key}: {tag}`"),
            Self::Payment { platform, .. } => {
                let network = platform.as_str().split('-').nth(1);
                format!("`payment_network: {}`", network.unwrap_or(platform.as_str()))
            }
            Self::Runtime(name) => format!("`runtime: {name}`"),
            Self::Capabilities(names) => format!("`capabilities: [{}]`", names.join(", ")),
            Self::MinMem(least) => format!("`min_mem_gib: {}`", least.brief()),
            Self::MinStorage(least) => format!("`min_storage_gib: {}`", least.brief()),
            Self::MinThreads(least) => format!("`min_cpu_threads: {least}`"),
            Self::MaxThreads(most) => format!("`max_cpu_threads: {most}`"),
            Self::Whitelist => "`whitelist`".to_owned(),
            Self::Blacklist => "`blacklist`".to_owned(),
            Self::GoodName => "the list of blocked providers".to_owned(),
            Self::Price => "a price for CPU and time".to_owned(),
            Self::Limit(limit) => format!("`{}: {}`", limit.key(), limit.value()),
        }
    }
}

/// Whether it speaks a protocol of payments of today; providers write the version as they like.
fn is_recent(properties: &Properties) -> bool {
    let key = "golem.com.payment.protocol.version";
    let version = properties.number(key).or_else(|| properties.text(key));
    version.and_then(|text| text.parse::<u64>().ok()).is_some_and(|it| it > PROTOCOL_BEFORE)
}

/// The nearer one of two amounts of a kind.
fn nearer(one: Option<Best>, other: Option<Best>) -> Option<Best> {
    let (Some(one), Some(other)) = (one, other) else { return one.or(other) };
    Some(match (one, other) {
        (Best::LargestGib(a), Best::LargestGib(b)) => Best::LargestGib(a.max(b)),
        (Best::MostThreads(a), Best::MostThreads(b)) => Best::MostThreads(a.max(b)),
        (Best::FewestThreads(a), Best::FewestThreads(b)) => Best::FewestThreads(a.min(b)),
        (Best::Cheapest(a), Best::Cheapest(b)) => Best::Cheapest(a.min(b)),
        (
            Best::LargestGib(_) | Best::MostThreads(_) | Best::FewestThreads(_) | Best::Cheapest(_),
            _,
        ) => one,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Best, Count, Filter, Miss, Nearest};
    use crate::{
        core::market::{
            choice::Choice,
            spec::{Gib, ImageRef, NodeSpec, PaymentInterval, PriceLimits},
        },
        units::{Glm, Span, Timestamp},
        yagna::{DemandBody, PlatformId, Properties, ProviderId, PublishedOffer, SubscriptionId},
    };

    fn spec() -> NodeSpec {
        NodeSpec {
            subnet_tag: "public".to_owned(),
            priority_subnet_tag: None,
            image: ImageRef::Tag("golem/ray".to_owned()),
            runtime: "vm".to_owned(),
            capabilities: vec!["vpn".to_owned()],
            outbound_urls: Vec::new(),
            min_mem: Gib::from_millionths(16_000_000),
            min_storage: Gib::ZERO,
            min_cpu_threads: 4,
            max_cpu_threads: None,
            node_descriptor: None,
            limits: PriceLimits {
                max_start_price: Some(Glm::from_whole(1)),
                ..PriceLimits::default()
            },
            choice: Choice::original(),
            payment_interval: PaymentInterval {
                minimal: Span::hours(12),
                optimal: Span::hours(24),
            },
        }
    }

    /// An offer that meets everything, but for these properties.
    fn offer(name: &str, changed: serde_json::Value) -> PublishedOffer {
        let mut properties = json!({
            "golem.node.debug.subnet": "public",
            "golem.com.payment.platform.erc20-hoodi-tglm.address": "0xabc",
            "golem.com.payment.protocol.version": 3,
            "golem.runtime.name": "vm",
            "golem.runtime.capabilities": ["inet", "vpn"],
            "golem.inf.mem.gib": 16.0,
            "golem.inf.storage.gib": 20.0,
            "golem.inf.cpu.threads": 4,
            "golem.com.pricing.model": "linear",
            "golem.com.pricing.model.linear.coeffs": [0.0, 0.0, 1.0],
            "golem.com.usage.vector": ["golem.usage.cpu_sec", "golem.usage.duration_sec"],
        });
        let changed = changed.as_object().expect("an object").clone();
        properties.as_object_mut().expect("an object").extend(changed);
        let properties = Properties(properties.as_object().expect("an object").clone());
        PublishedOffer {
            id: SubscriptionId::from(name),
            provider: ProviderId::from(name),
            timestamp: Timestamp::EPOCH,
            body: DemandBody { properties, constraints: "()".to_owned() },
        }
    }

    fn census(offers: &[PublishedOffer]) -> super::Census {
        let constraints = ["(golem.com.payment.protocol.version>1)".to_owned()];
        let platform = PlatformId::from("erc20-hoodi-tglm");
        let mut count = Count::new(&spec(), "public", &platform, &constraints);
        for offer in offers {
            count.add(offer, false);
        }
        count.finish(Timestamp::EPOCH)
    }

    #[test]
    fn an_offer_that_equals_what_is_asked_for_meets_it() {
        let census = census(&[offer("a", json!({}))]);

        assert_eq!((census.known, census.fit, census.nearest), (1, 1, None));
    }

    #[test]
    fn each_requirement_is_missed_by_who_lacks_it() {
        for (changed, requirement, best) in [
            (json!({ "golem.node.debug.subnet": "other" }), "`subnet_tag: public`", None),
            (
                json!({ "golem.com.payment.protocol.version": "1" }),
                "`payment_network: hoodi`",
                None,
            ),
            (json!({ "golem.runtime.name": "wasm" }), "`runtime: vm`", None),
            (json!({ "golem.runtime.capabilities": ["inet"] }), "`capabilities: [vpn]`", None),
            (
                json!({ "golem.inf.mem.gib": 15.5 }),
                "`min_mem_gib: 16`",
                Some(Best::LargestGib(Gib::from_millionths(15_500_000))),
            ),
            (
                json!({ "golem.inf.cpu.threads": 2 }),
                "`min_cpu_threads: 4`",
                Some(Best::MostThreads(2)),
            ),
            (
                json!({ "golem.com.pricing.model.linear.coeffs": [0.0, 0.0, 2.0] }),
                "`max_start_price: 1`",
                Some(Best::Cheapest(Glm::from_whole(2))),
            ),
            (json!({ "golem.com.pricing.model": "free" }), "a price for CPU and time", None),
        ] {
            let census = census(&[offer("a", changed)]);

            let misses = vec![Miss { requirement: requirement.to_owned(), best }];
            assert_eq!(census.nearest, Some(Nearest { offers: 1, misses }), "{requirement}");
        }
    }

    #[test]
    fn the_nearest_offers_lack_least_and_filters_are_counted_one_after_the_other() {
        let small = |name, gib: u8| offer(name, json!({ "golem.inf.mem.gib": gib }));
        let census = census(&[
            offer("a", json!({ "golem.node.debug.subnet": "x", "golem.inf.cpu.threads": 64 })),
            small("b", 8),
            small("c", 12),
        ]);

        let left = |requirement: &str, left| Filter { requirement: requirement.to_owned(), left };
        assert_eq!(
            census.filters,
            [
                left("`subnet_tag: public`", 2),
                left("`payment_network: hoodi`", 2),
                left("`runtime: vm`", 2),
                left("`capabilities: [vpn]`", 2),
                left("`min_mem_gib: 16`", 0),
                left("`min_cpu_threads: 4`", 0),
                left("the list of blocked providers", 0),
                left("a price for CPU and time", 0),
                left("`max_start_price: 1`", 0),
            ]
        );
        let best = Some(Best::LargestGib(Gib::from_millionths(12_000_000)));
        let misses = vec![Miss { requirement: "`min_mem_gib: 16`".to_owned(), best }];
        assert_eq!(census.nearest, Some(Nearest { offers: 2, misses }));
    }
}
