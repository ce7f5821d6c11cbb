//! The bounded pool of offers that wait for a negotiation, best first (B1, K5).

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::{offer::Offer, score::Score};
use crate::{
    core::ids::{Generation, OfferNo},
    units::Timestamp,
    yagna::{ProposalId, ProviderId},
};

/// One distinct offer, for as long as the market lives.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) offer: Offer,
    pub(super) rank: Rank,
    /// The demand that it was matched with last.
    pub(super) generation: Generation,
    /// The initial proposal of that match.
    pub(super) proposal: ProposalId,
    /// When it was matched last.
    pub(super) matched_at: Timestamp,
    pub(super) place: Place,
    /// Whether a negotiation was ever started; counted once.
    pub(super) was_negotiated: bool,
}

/// How soon an offer is tried: those of proven providers first, then by score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct Rank {
    pub(in crate::core) is_proven: bool,
    pub(in crate::core) score: Score,
}

impl Rank {
    /// Less comes first.
    const fn key(self) -> (Reverse<bool>, Reverse<Score>) {
        (Reverse(self.is_proven), Reverse(self.score))
    }
}

/// Where an offer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Waits for a negotiation.
    Ready,
    /// Waits until its provider may be asked again.
    Parked(Timestamp),
    /// Is being negotiated.
    Negotiating,
    /// Its negotiation was cut off with its demand; it counts again when it is matched again.
    Lost,
}

/// All offers of a market, and the order in which they are tried.
#[derive(Debug)]
pub(super) struct Pool {
    entries: BTreeMap<OfferNo, Entry>,
    /// Every distinct offer ever seen; without a number once nothing more can come of it.
    known: BTreeMap<(ProviderId, u64), Option<OfferNo>>,
    ready: BTreeSet<(Reverse<bool>, Reverse<Score>, OfferNo)>,
    parked: BTreeSet<(Timestamp, OfferNo)>,
    capacity: usize,
    next: u32,
}

impl Pool {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            known: BTreeMap::new(),
            ready: BTreeSet::new(),
            parked: BTreeSet::new(),
            capacity,
            next: 0,
        }
    }

    /// Whether this content was seen before, and its number while something may come of it.
    pub(super) fn find(&self, provider: &ProviderId, fingerprint: u64) -> Option<Option<OfferNo>> {
        self.known.get(&(provider.clone(), fingerprint)).copied()
    }

    /// Remembers content of which nothing will come, so that it is not counted again.
    pub(super) fn dismiss(&mut self, provider: &ProviderId, fingerprint: u64) {
        if self.known.len() < self.capacity {
            self.known.insert((provider.clone(), fingerprint), None);
        }
    }

    /// Ends with an offer: it is remembered, but not kept.
    pub(super) fn finish(&mut self, number: OfferNo) {
        self.unlist(number);
        if let Some(entry) = self.entries.remove(&number) {
            self.known.insert((entry.offer.provider, entry.offer.fingerprint), None);
        }
    }

    pub(super) fn get(&self, number: OfferNo) -> Option<&Entry> {
        self.entries.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: OfferNo) -> Option<&mut Entry> {
        self.entries.get_mut(&number)
    }

    /// Adds a new offer; says whether another one (or this one) had to go to keep the limit.
    pub(super) fn add(&mut self, entry: Entry) -> bool {
        let is_full = self.known.len() >= self.capacity;
        if is_full {
            let worst = self.worst().filter(|worst| {
                let rank = self.entries.get(worst).map(|entry| entry.rank.key());
                rank.is_some_and(|rank| rank > entry.rank.key())
            });
            match worst {
                Some(number) => self.forget(number),
                None => return true,
            }
        }
        let number = OfferNo(self.next);
        self.next += 1;
        let content = (entry.offer.provider.clone(), entry.offer.fingerprint);
        self.known.insert(content, Some(number));
        let place = entry.place;
        self.entries.insert(number, entry);
        self.put(number, place);
        is_full
    }

    /// What is known about an offer has changed.
    pub(super) fn rank(&mut self, number: OfferNo, rank: Rank) {
        let Some(entry) = self.entries.get(&number) else { return };
        let place = entry.place;
        if entry.rank != rank {
            self.unlist(number);
            if let Some(entry) = self.entries.get_mut(&number) {
                entry.rank = rank;
            }
            self.put(number, place);
        }
    }

    /// Every offer that something may come of.
    pub(super) fn numbers(&self) -> impl Iterator<Item = OfferNo> {
        self.entries.keys().copied()
    }

    /// Moves an offer to another place.
    pub(super) fn put(&mut self, number: OfferNo, place: Place) {
        self.unlist(number);
        let Some(entry) = self.entries.get_mut(&number) else { return };
        entry.place = place;
        match place {
            Place::Ready => {
                self.ready.insert(listed(entry, number));
            }
            Place::Parked(until) => {
                self.parked.insert((until, number));
            }
            Place::Negotiating | Place::Lost => {}
        }
    }

    /// The best offer of a provider that is proven, or of one that is not.
    pub(super) fn best(&self, is_proven: bool) -> Option<OfferNo> {
        let best = match is_proven {
            true => self.ready.first(),
            false => {
                let newcomers = (Reverse(false), Reverse(Score::MAX), OfferNo(0));
                self.ready.range(newcomers..).next()
            }
        };
        best.filter(|(is, _, _)| is.0 == is_proven).map(|(_, _, number)| *number)
    }

    /// The offer to try last.
    pub(super) fn worst(&self) -> Option<OfferNo> {
        self.ready.last().map(|(_, _, number)| *number)
    }

    /// Makes parked offers ready whose time has come; tells when the next one's does.
    pub(super) fn unpark(&mut self, now: Timestamp) -> Option<Timestamp> {
        while let Some((until, number)) = self.parked.first().copied() {
            if until > now {
                return Some(until);
            }
            self.put(number, Place::Ready);
        }
        None
    }

    /// Whether an offer could be negotiated now.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many offers wait for a negotiation.
    pub(super) fn waiting(&self) -> usize {
        self.ready.len() + self.parked.len()
    }

    /// Whether some offer counts again only when it is matched again.
    pub(super) fn has_lost(&self) -> bool {
        self.entries.values().any(|entry| entry.place == Place::Lost)
    }

    /// How many distinct offers are remembered.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn lift_limit(&mut self) {
        self.capacity = usize::MAX;
    }

    fn forget(&mut self, number: OfferNo) {
        self.unlist(number);
        if let Some(entry) = self.entries.remove(&number) {
            self.known.remove(&(entry.offer.provider, entry.offer.fingerprint));
        }
    }

    fn unlist(&mut self, number: OfferNo) {
        let Some(entry) = self.entries.get(&number) else { return };
        match entry.place {
            Place::Ready => {
                self.ready.remove(&listed(entry, number));
            }
            Place::Parked(until) => {
                self.parked.remove(&(until, number));
            }
            Place::Negotiating | Place::Lost => {}
        }
    }
}

fn listed(entry: &Entry, number: OfferNo) -> (Reverse<bool>, Reverse<Score>, OfferNo) {
    let (is_proven, score) = entry.rank.key();
    (is_proven, score, number)
}

#[cfg(test)]
mod tests {
    use super::{Entry, Place, Pool, Rank};
    use crate::{
        core::{
            ids::{Generation, OfferNo},
            market::{choice::Choice, offer::Offer, price::Price, score::Scorer},
            reputation::Known,
            rng::Seed,
        },
        units::{Glm, Span, Timestamp},
        yagna::ProposalId,
    };

    fn entry(fingerprint: u64, start_glm: u64) -> Entry {
        let price = Price { start: Glm::from_whole(start_glm), ..Price::default() };
        let offer = Offer { fingerprint, price, ..Offer::example() };
        let scorer = Scorer::new(None, Choice::recommended().weights, Seed::new(1));
        let score = scorer.score(&offer, &Known::NOTHING);
        Entry {
            offer,
            rank: Rank { is_proven: false, score },
            generation: Generation(0),
            proposal: ProposalId::from("R-1"),
            matched_at: Timestamp::EPOCH,
            place: Place::Ready,
            was_negotiated: false,
        }
    }

    #[test]
    fn the_best_offer_comes_first_and_a_parked_one_waits() {
        let mut pool = Pool::new(10);
        for (fingerprint, start) in [(1, 100), (2, 0), (3, 1_000)] {
            pool.add(entry(fingerprint, start));
        }
        assert_eq!(pool.best(false), Some(OfferNo(1)));

        let later = Timestamp::EPOCH.plus(Span::secs(5));
        pool.put(OfferNo(1), Place::Parked(later));

        assert_eq!(pool.best(false), Some(OfferNo(0)));
        assert_eq!(pool.unpark(Timestamp::EPOCH), Some(later));
        assert_eq!(pool.unpark(later), None);
        assert_eq!(pool.best(false), Some(OfferNo(1)));
    }

    #[test]
    fn offers_of_proven_providers_have_a_place_of_their_own() {
        let mut pool = Pool::new(10);
        for (fingerprint, start) in [(1, 100), (2, 0), (3, 1_000)] {
            pool.add(entry(fingerprint, start));
        }
        assert_eq!(pool.best(true), None);

        let score = pool.get(OfferNo(2)).expect("it is there").rank.score;
        pool.rank(OfferNo(2), Rank { is_proven: true, score });

        assert_eq!(pool.best(true), Some(OfferNo(2)));
        assert_eq!(pool.best(false), Some(OfferNo(1)));
        assert_eq!(pool.worst(), Some(OfferNo(0)), "the dearest newcomer");
    }

    #[test]
    fn a_full_pool_keeps_the_better_offers() {
        let mut pool = Pool::new(2);
        pool.add(entry(1, 1_000));
        pool.add(entry(2, 1));

        assert!(pool.add(entry(3, 0)), "the dearest goes");
        assert!(pool.add(entry(4, 100_000)), "the newcomer is no better");

        let provider = Offer::example().provider;
        assert_eq!(pool.len(), 2);
        assert_eq!(pool.find(&provider, 1), None);
        assert_eq!(pool.find(&provider, 3), Some(Some(OfferNo(2))));
    }
}
