//! What a user says about which provider to take.

use serde::{Deserialize, Serialize};

use crate::yagna::ProviderId;

/// How providers are chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// What counts how much.
    pub weights: Weights,
    /// Of a hundred agreements and negotiations, so many at most are with providers that are not
    /// proven while one that is could be asked; 100 makes no difference between them.
    pub newcomers: u32,
    /// How many providers may be asked for an agreement at once for one node, each once the others
    /// have let us wait; at least one. The first one that approves has it, and the others are let go
    /// before anything costs.
    pub hedge: u32,
    /// If this is not empty, only providers on it are asked.
    pub whitelist: Vec<Party>,
    /// Providers that are never asked.
    pub blacklist: Vec<Party>,
}

/// What counts how much in the score of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weights {
    /// A low price.
    pub price: u32,
    /// What others say of the provider, if they do.
    pub reputation: u32,
    /// What we have seen of it ourselves.
    pub experience: u32,
    /// Chance, which spreads equal offers.
    pub chance: u32,
}

/// A provider by its node id, or all providers that are paid to one wallet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Party(String);

impl Choice {
    /// As the Python original chooses: by price and reputation, one provider after the other.
    #[must_use]
    pub fn original() -> Self {
        Self {
            weights: Weights { price: 10, reputation: 10, experience: 0, chance: 1 },
            newcomers: 100,
            hedge: 1,
            whitelist: Vec::new(),
            blacklist: Vec::new(),
        }
    }

    /// What is best for most; `docs/policy.md` has the measurements.
    #[must_use]
    pub fn recommended() -> Self {
        Self {
            weights: Weights { price: 250, reputation: 50, experience: 200, chance: 1 },
            newcomers: 10,
            hedge: 2,
            ..Self::original()
        }
    }

    /// Whether a provider may be asked, as far as the lists go; `wallet` is where it is paid.
    #[must_use]
    pub fn admits(&self, provider: &ProviderId, wallet: Option<&str>) -> bool {
        let is_on = |list: &[Party]| list.iter().any(|party| party.is(provider, wallet));
        (self.whitelist.is_empty() || is_on(&self.whitelist)) && !is_on(&self.blacklist)
    }
}

impl Default for Choice {
    fn default() -> Self {
        Self::original()
    }
}

impl Party {
    /// The party of this id or address: `0x` and 40 hexadecimal digits, in any case.
    #[must_use]
    pub fn new(address: &str) -> Option<Self> {
        let digits = address.strip_prefix("0x")?;
        let is_address = digits.len() == 40 && digits.bytes().all(|it| it.is_ascii_hexdigit());
        is_address.then(|| Self(address.to_ascii_lowercase()))
    }

    /// The id or address, in small letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn is(&self, provider: &ProviderId, wallet: Option<&str>) -> bool {
        let is = |other: &str| self.0.eq_ignore_ascii_case(other);
        is(provider.as_str()) || wallet.is_some_and(is)
    }
}

#[cfg(test)]
mod tests {
    use super::{Choice, Party};
    use crate::yagna::ProviderId;

    const A: &str = "0xAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "0xbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn party(address: &str) -> Vec<Party> {
        vec![Party::new(address).expect("an address")]
    }

    #[test]
    fn lists_name_providers_and_wallets_in_any_case() {
        let (a, b) = (ProviderId::from(A), ProviderId::from(B));
        let only = Choice { whitelist: party(&A.to_ascii_lowercase()), ..Choice::original() };
        let never = Choice { blacklist: party(B), ..Choice::original() };

        assert!(only.admits(&a, None) && !only.admits(&b, None));
        assert!(only.admits(&b, Some(A)), "its wallet is on the list");
        assert!(never.admits(&a, None) && !never.admits(&b, None));
        assert!(!never.admits(&a, Some(B)), "its wallet is on the list");
        assert!(Choice::original().admits(&a, None));
    }

    #[test]
    fn what_is_no_address_is_no_party() {
        let short = &A[..41];

        assert_eq!(Party::new(short), None);
        assert_eq!(Party::new(&A.replace('a', "g")), None);
        assert_eq!(Party::new(&A[2..]), None);
    }
}
