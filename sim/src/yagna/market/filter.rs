//! Filters, each parsed once: a hundred thousand offers carry but a few different ones.

use std::{collections::BTreeMap, sync::Arc};

use crate::{provider::Offer, yagna::constraint::Constraint};

/// Somebody who never sends the same filter twice must not fill the memory.
const KEPT_MAX: usize = 1_000;

/// Parsed filters, by their text or by what makes it.
#[derive(Debug, Default)]
pub(super) struct Filters {
    by_text: BTreeMap<String, Arc<Constraint>>,
    by_subnet: BTreeMap<String, Arc<Constraint>>,
}

impl Filters {
    /// The filter of this text.
    pub(super) fn parsed(&mut self, text: &str) -> Arc<Constraint> {
        if let Some(filter) = self.by_text.get(text) {
            return Arc::clone(filter);
        }
        if self.by_text.len() >= KEPT_MAX {
            self.by_text.clear();
        }
        let filter = Arc::new(Constraint::parse(text));
        self.by_text.insert(text.to_owned(), Arc::clone(&filter));
        filter
    }

    /// What an offer asks of demands; offers differ in their subnet only.
    pub(super) fn of_offer(&mut self, offer: &Offer) -> Arc<Constraint> {
        let subnet = &offer.population.subnet;
        if let Some(filter) = self.by_subnet.get(subnet) {
            return Arc::clone(filter);
        }
        let filter = Arc::new(Constraint::parse(&offer.constraints()));
        self.by_subnet.insert(subnet.clone(), Arc::clone(&filter));
        filter
    }
}

#[cfg(test)]
mod tests {
    use super::{Filters, KEPT_MAX};

    #[test]
    fn a_filter_is_parsed_once_and_memory_is_bounded() {
        let mut filters = Filters::default();

        let first = filters.parsed("(a=1)");
        assert!(std::sync::Arc::ptr_eq(&first, &filters.parsed("(a=1)")));
        for number in 0..2 * KEPT_MAX {
            let _ = filters.parsed(&format!("(a={number})"));
        }
        assert!(filters.by_text.len() <= KEPT_MAX);
    }
}
