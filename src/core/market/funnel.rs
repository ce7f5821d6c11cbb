//! What became of the offers, counted step by step, and why negotiations failed.

use std::collections::{BTreeMap, BTreeSet};

use crate::yagna::{ProviderId, words};

/// How many different reasons are kept apart; the rest is counted together.
const REASONS_MAX: usize = 500;
const REASON_LENGTH_MAX: usize = 600;
const OTHER_REASONS: &str = "(other reasons)";

/// Counts of distinct offers; each step counts those that came through the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Funnel {
    /// Distinct offers matched with our demand.
    pub initial: u64,
    /// From providers that are not blacklisted.
    pub not_blacklisted: u64,
    /// Offers that cannot be used, by reason; they go no further.
    pub unusable: BTreeMap<String, u64>,
    /// Within each price limit, in the order of the limits.
    pub within_limit: Vec<u64>,
    /// The providers whose offers each limit turned away.
    pub turned_away: Vec<BTreeSet<ProviderId>>,
    /// Answered with a counter-proposal of ours.
    pub negotiated: u64,
    /// Agreed on; could be signed.
    pub agreed: u64,
    /// Negotiations that failed, by reason.
    pub failures: BTreeMap<String, u64>,
    /// Negotiations that were still open when the survey ended.
    pub unfinished: u64,
    /// Offers that waited for a negotiation when the survey ended.
    pub waiting: u64,
    /// Offers that the full pool could not keep.
    pub overflow: u64,
    /// Events of the daemon that could not be read.
    pub unreadable: u64,
}

impl Funnel {
    pub(super) fn new(limits: usize) -> Self {
        Self {
            within_limit: vec![0; limits],
            turned_away: vec![BTreeSet::new(); limits],
            ..Self::default()
        }
    }

    pub(super) fn count_unusable(&mut self, reason: &str) {
        count(&mut self.unusable, reason);
    }

    pub(super) fn count_failure(&mut self, reason: &str) {
        count(&mut self.failures, &mask(reason));
    }

    /// Counts an offer up to the limit that it exceeds; `None` if it passes all.
    pub(super) fn count_limits(&mut self, exceeded: Option<usize>, provider: &ProviderId) {
        let passed = exceeded.unwrap_or(self.within_limit.len());
        for count in self.within_limit.iter_mut().take(passed) {
            *count += 1;
        }
        if let Some(providers) = exceeded.and_then(|limit| self.turned_away.get_mut(limit)) {
            providers.insert(provider.clone());
        }
    }
}

fn count(counts: &mut BTreeMap<String, u64>, reason: &str) {
    let key = if counts.len() < REASONS_MAX || counts.contains_key(reason) {
        reason
    } else {
        OTHER_REASONS
    };
    match counts.get_mut(key) {
        Some(count) => *count += 1,
        None => {
            counts.insert(key.to_owned(), 1);
        }
    }
}

/// Makes equal reasons equal: ids in brackets become `[***]`. What a provider wrote is made safe to
/// print: no control characters, no endless text.
pub(super) fn mask(reason: &str) -> String {
    let mut text = String::with_capacity(reason.len().min(REASON_LENGTH_MAX));
    let mut rest = reason;
    while let Some((before, after)) = rest.split_once('[') {
        text.push_str(before);
        match after.split_once(']') {
            Some((inside, after)) if is_id(inside) => {
                text.push_str("[***]");
                rest = after;
            }
            Some(_) | None => {
                text.push('[');
                rest = after;
            }
        }
    }
    text.push_str(rest);
    words::plain(&text, REASON_LENGTH_MAX)
}

/// Ids are long, without blanks, and full of hexadecimal digits: `R-…`, `0x…`, `…-…`.
fn is_id(text: &str) -> bool {
    let body = text.trim_start_matches("R-").trim_start_matches("P-").trim_start_matches("0x");
    body.len() >= 16 && body.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::{Funnel, OTHER_REASONS, REASONS_MAX, mask};
    use crate::yagna::ProviderId;

    #[test]
    fn ids_in_brackets_are_masked_and_other_brackets_stay() {
        let id = "R-3919061e6e390b52ed3199d95d5d344bb7274d96dfccd6464a7d27bdb51a86ed";

        assert_eq!(
            mask(&format!("Proposal [{id}]. Error: Countering Proposal [{id}] failed")),
            "Proposal [***]. Error: Countering Proposal [***] failed"
        );
        assert_eq!(
            mask("not in acceptable range of [1s; 24h]"),
            "not in acceptable range of [1s; 24h]"
        );
        assert_eq!(mask("an open [ bracket"), "an open [ bracket");
        assert_eq!(mask("a\u{1b}[31mred\nline"), "a [31mred line");
    }

    #[test]
    fn reasons_are_bounded() {
        let mut funnel = Funnel::new(0);
        for number in 0..=REASONS_MAX {
            funnel.count_failure(&format!("reason {number}"));
        }

        assert_eq!(funnel.failures.len(), REASONS_MAX + 1);
        assert_eq!(funnel.failures.get(OTHER_REASONS), Some(&1));
    }

    #[test]
    fn an_offer_counts_up_to_the_limit_that_it_exceeds() {
        let mut funnel = Funnel::new(3);
        funnel.count_limits(Some(1), &ProviderId::from("0x1"));
        funnel.count_limits(None, &ProviderId::from("0x2"));

        assert_eq!(funnel.within_limit, [2, 1, 1]);
        assert_eq!(funnel.turned_away[1].len(), 1);
    }
}
