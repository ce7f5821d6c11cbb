//! The sentences: one for each reason, with the keys of the cluster file.

use std::fmt;

use super::{Attempts, Shortage, Supplies, Why, brief};
use crate::{
    core::market::census::{Best, Census, Miss},
    units::Glm,
};

/// Reasons of failed negotiations that are told.
const FAILURES_TOLD: usize = 2;

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wallet { said: Some(said) } => {
                write!(f, "the daemon cannot set the budget aside ({said})")
            }
            Self::Wallet { said: None } => {
                f.write_str("the daemon is asked to set the budget aside")
            }
            Self::NetworkLost { members } => write!(
                f,
                "the private network is lost since the daemon restarted; new nodes start when the \
                 {} in it {} ended",
                count(*members as u64, "node"),
                if *members == 1 { "has" } else { "have" }
            ),
            Self::NoNetwork { said: Some(said) } => {
                write!(f, "the daemon cannot make the private network ({said})")
            }
            Self::NoNetwork { said: None } => {
                f.write_str("the daemon is asked to make the private network")
            }
            Self::NoDemand { said } => write!(f, "the daemon does not publish the demand ({said})"),
            Self::NoAgreement { said } => write!(f, "the daemon makes no agreements ({said})"),
            Self::Ray { failures, pause: Some(pause) } => write!(
                f,
                "Ray did not start on the last {failures} workers; the next one is hired {} after the last failure",
                count(pause.as_secs() / 60, "minute")
            ),
            Self::Ray { failures, pause: None } => write!(
                f,
                "Ray did not start on the last {failures} workers; none is hired until it has started on a node (`ray up` \
                 tries the head again)"
            ),
            Self::Money(shortage) => shortage.fmt(f),
            Self::Approval { provider, before } => {
                match provider.as_deref().filter(|name| !name.is_empty()) {
                    Some(name) => write!(f, "provider `{name}` is asked to approve the agreement")?,
                    None => f.write_str("a provider is asked to approve the agreement")?,
                }
                before.fmt(f)
            }
            Self::NoOffer(census) => census.fmt(f),
            Self::NoProvider(supplies) => supplies.fmt(f),
        }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { left, budget } => write!(
                f,
                "the budget is nearly used up: {} of {budget} GLM are left, and nodes are started only \
                 while more than a twentieth is (`total_budget`)",
                floor(*left)
            ),
            Self::Budget { needed, left } => write!(
                f,
                "the budget has no room: the cheapest offer needs {} GLM set aside, and {} are left \
                 (`total_budget`)",
                needed.rounded_up(4),
                floor(*left)
            ),
            Self::Rate { needed, left, limit } => write!(
                f,
                "`max_glm_per_hour: {limit}` has no room: the cheapest offer costs {} GLM in an hour, \
                 and {} are left",
                needed.rounded_up(4),
                floor(*left)
            ),
        }
    }
}

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.refused > 0 {
            write!(f, "; {} did not approve", count(self.refused, "provider"))?;
        }
        if self.failed > 0 {
            write!(f, "; {} did not bring the node up", count(self.failed, "provider"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.nearest {
            None if self.known == 0 => return f.write_str("the daemon knows no offers yet"),
            None => write!(
                f,
                "{} of {} {} all that is asked for",
                self.fit,
                offers(self.known),
                if self.fit == 1 { "meets" } else { "meet" }
            )?,
            Some(nearest) => {
                let nobody = |miss: &Miss| {
                    let best = miss.best.map(|best| format!("; {best}")).unwrap_or_default();
                    let among = offers(nearest.offers);
                    format!("{} is met by 0 of {among} that meet all else{best}", miss.requirement)
                };
                let all: Vec<String> = nearest.misses.iter().map(nobody).collect();
                f.write_str(&all.join(", and "))?;
            }
        }
        let mut before = self.known;
        let mut told = Vec::new();
        for filter in self.filters.iter() {
            if filter.left < before {
                told.push(format!("{} leaves {}", filter.requirement, filter.left));
            }
            before = filter.left;
        }
        match told.is_empty() {
            true => Ok(()),
            false => write!(f, " (of {} in all, {})", self.known, told.join(", ")),
        }
    }
}

impl fmt::Display for Best {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LargestGib(gib) => write!(f, "the largest has {}", gib.rounded_down().brief()),
            Self::MostThreads(threads) => write!(f, "the largest has {threads}"),
            Self::FewestThreads(threads) => write!(f, "the smallest has {threads}"),
            Self::Cheapest(price) => write!(f, "the cheapest asks {}", price.rounded_up(6)),
        }
    }
}

impl fmt::Display for Supplies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.census {
            Some(census) => census.fmt(f)?,
            None if self.matched == 0 => f.write_str("no offer has matched the demand yet")?,
            None => write!(
                f,
                "{} have matched the demand, and {} passed the filters",
                offers(self.matched),
                self.usable
            )?,
        }
        if self.is_blind {
            f.write_str("; yagna shows what else is on the market from version 0.16 on")?;
        }
        if self.census.is_some() && self.matched == 0 {
            f.write_str("; none of them was matched with the demand yet")?;
        }
        let has_one = self.census.as_ref().is_some_and(|census| census.fit == 1);
        match self.taken {
            0 => {}
            1 if has_one => f.write_str("; its provider is taken by a node of this cluster")?,
            1 => f.write_str("; 1 of their providers is taken by a node of this cluster")?,
            taken => {
                write!(f, "; {taken} of their providers are taken by nodes of this cluster")?;
            }
        }
        if self.resting > 0 {
            write!(f, "; {} left alone after a failure", are(self.resting, "provider"))?;
        }
        if self.talks > 0 {
            write!(f, "; {} under way", are(self.talks as u64, "negotiation"))?;
        }
        if self.agreed > 0 {
            write!(f, "; {} came to terms", count(self.agreed, "negotiation"))?;
        }
        let failed: u64 = self.failures.values().sum();
        if failed > 0 {
            let mut reasons: Vec<(&String, &u64)> = self.failures.iter().collect();
            reasons.sort_by_key(|(_, count)| u64::MAX - **count);
            let told = reasons.iter().take(FAILURES_TOLD);
            let told: Vec<String> =
                told.map(|(reason, count)| format!("{count}: {}", brief(reason))).collect();
            write!(f, "; {} failed ({})", count(failed, "negotiation"), told.join("; "))?;
        }
        self.attempts.fmt(f)
    }
}

fn offers(number: u64) -> String {
    count(number, "offer")
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn are(number: u64, what: &str) -> String {
    format!("{} {}", count(number, what), if number == 1 { "is" } else { "are" })
}

/// An amount that is left, rounded down, so that it never looks as if it were enough.
fn floor(amount: Glm) -> Glm {
    const STEP: u128 = 100_000_000_000_000;
    Glm::from_atto(amount.as_atto() / STEP * STEP)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        sync::Arc,
    };

    use super::super::{Attempts, Shortage, Supplies, Why};
    use crate::{
        core::market::{
            census::{Best, Census, Filter, Miss, Nearest},
            spec::Gib,
        },
        units::{Glm, Rounding, Timestamp},
    };

    fn glm(text: &str) -> Glm {
        Glm::parse(text, Rounding::Exact).expect("a literal")
    }

    fn filter(requirement: &str, left: u64) -> Filter {
        Filter { requirement: requirement.to_owned(), left }
    }

    fn miss(requirement: &str, best: Option<Best>) -> Miss {
        Miss { requirement: requirement.to_owned(), best }
    }

    fn census(offers: u64, misses: Vec<Miss>) -> Census {
        Census {
            at: Timestamp::EPOCH,
            known: 60,
            filters: vec![
                filter("`subnet_tag: public`", 58),
                filter("`payment_network: hoodi`", 55),
                filter("`runtime: vm`", 55),
                filter("`min_mem_gib: 4000`", 0),
            ],
            fitting: BTreeSet::new(),
            fit: 0,
            nearest: Some(Nearest { offers, misses }),
        }
    }

    #[test]
    fn each_reason_has_its_sentence() {
        let said = || "400: Insufficient funds".to_owned();
        let before = Attempts { refused: 2, failed: 1 };
        let provider = Some("apollo".to_owned());
        for (why, sentence) in [
            (
                Why::Wallet { said: Some(said()) },
                "the daemon cannot set the budget aside (400: Insufficient funds)",
            ),
            (Why::Wallet { said: None }, "the daemon is asked to set the budget aside"),
            (
                Why::NetworkLost { members: 1 },
                "the private network is lost since the daemon restarted; new nodes start when the \
                 1 node in it has ended",
            ),
            (
                Why::NoNetwork { said: Some("Request timed out".to_owned()) },
                "the daemon cannot make the private network (Request timed out)",
            ),
            (Why::NoNetwork { said: None }, "the daemon is asked to make the private network"),
            (
                Why::NoDemand { said: "Request timed out".to_owned() },
                "the daemon does not publish the demand (Request timed out)",
            ),
            (
                Why::NoAgreement { said: "Request timed out".to_owned() },
                "the daemon makes no agreements (Request timed out)",
            ),
            (
                Why::Approval { provider, before },
                "provider `apollo` is asked to approve the agreement; 2 providers did not approve; \
                 1 provider did not bring the node up",
            ),
            (
                Why::Money(Shortage::Budget { needed: glm("0.12341"), left: glm("0.1239999") }),
                "the budget has no room: the cheapest offer needs 0.1235 GLM set aside, and 0.1239 \
                 are left (`total_budget`)",
            ),
            (
                Why::Money(Shortage::Rate {
                    needed: glm("0.5"),
                    left: glm("0.1"),
                    limit: glm("2.5"),
                }),
                "`max_glm_per_hour: 2.5` has no room: the cheapest offer costs 0.5 GLM in an hour, \
                 and 0.1 are left",
            ),
            (
                Why::Money(Shortage::Closed { left: glm("0.2"), budget: glm("5") }),
                "the budget is nearly used up: 0.2 of 5 GLM are left, and nodes are started only \
                 while more than a twentieth is (`total_budget`)",
            ),
        ] {
            assert_eq!(why.to_string(), sentence);
        }
    }

    #[test]
    fn the_nearest_offers_are_told_of() {
        let mem = || {
            let largest = Gib::from_millionths(512_000_000);
            miss("`min_mem_gib: 4000`", Some(Best::LargestGib(largest)))
        };
        let price = miss("`max_start_price: 0.5`", Some(Best::Cheapest(glm("0.75"))));
        let one = Why::NoOffer(Arc::new(census(55, vec![mem()])));
        let two = Why::NoOffer(Arc::new(census(3, vec![mem(), price])));
        let none = Census { known: 0, filters: Vec::new(), nearest: None, ..census(0, Vec::new()) };

        assert_eq!(
            one.to_string(),
            "`min_mem_gib: 4000` is met by 0 of 55 offers that meet all else; the largest has 512 (of 60 in all, \
             `subnet_tag: public` leaves 58, `payment_network: hoodi` leaves 55, \
             `min_mem_gib: 4000` leaves 0)"
        );
        assert!(
            two.to_string().starts_with(
                "`min_mem_gib: 4000` is met by 0 of 3 offers that meet all else; the largest has 512, and \
                 `max_start_price: 0.5` is met by 0 of 3 offers that meet all else; the cheapest asks 0.75 ("
            ),
            "{two}"
        );
        assert_eq!(Why::NoOffer(Arc::new(none)).to_string(), "the daemon knows no offers yet");
    }

    #[test]
    fn a_search_tells_how_it_goes() {
        let fits = Census { fit: 4, nearest: None, filters: Vec::new(), ..census(0, Vec::new()) };
        let supplies = Supplies {
            census: Some(Arc::new(fits)),
            is_blind: false,
            matched: 4,
            usable: 4,
            taken: 1,
            resting: 2,
            talks: 1,
            agreed: 3,
            failures: BTreeMap::from([("busy".to_owned(), 5), ("too slow".to_owned(), 1)]),
            attempts: Attempts::default(),
        };
        let unseen = Supplies::none(Attempts::default());
        let blind = Supplies { is_blind: true, ..unseen.clone() };

        assert_eq!(
            Why::NoProvider(Box::new(supplies)).to_string(),
            "4 of 60 offers meet all that is asked for; 1 of their providers is taken by a node of \
             this cluster; 2 providers are left alone after a failure; 1 negotiation is under way; \
             3 negotiations came to terms; 6 negotiations failed (5: busy; 1: too slow)"
        );
        assert_eq!(
            Why::NoProvider(Box::new(unseen)).to_string(),
            "no offer has matched the demand yet"
        );
        assert_eq!(
            Why::NoProvider(Box::new(blind)).to_string(),
            "no offer has matched the demand yet; yagna shows what else is on the market from \
             version 0.16 on"
        );
    }
}
