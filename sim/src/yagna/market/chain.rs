//! Negotiations in hindsight, for an auditor.

use ray_on_golem::yagna::{ProviderId, SubscriptionId};

use super::{
    DemandBook, DemandEnd,
    record::{Kind, Records},
};
use crate::provider::Offer;

/// One negotiation there ever was: an offer that we answered, and everything that followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainBook {
    /// With whom.
    pub provider: ProviderId,
    /// For which demand.
    pub demand: SubscriptionId,
    /// How many counter-proposals of ours it has.
    pub counters: u64,
    /// How it ended.
    pub end: ChainEnd,
}

/// How a negotiation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainEnd {
    /// It did not.
    Open,
    /// An agreement was made of the provider's last word.
    Agreed,
    /// We rejected the provider's last word.
    RejectedByUs,
    /// The provider rejected ours.
    RejectedByProvider,
    /// The demand ended before it did.
    DemandEnded(DemandEnd),
}

/// The negotiations in `records`, in the order in which their offers were matched.
pub(super) fn books(records: &Records, offers: &[Offer], demands: &[DemandBook]) -> Vec<ChainBook> {
    let mut roots: Vec<usize> = Vec::with_capacity(records.iter().len());
    let mut chains: Vec<Option<ChainBook>> = Vec::with_capacity(records.iter().len());
    for (number, record) in records.iter().enumerate() {
        // An answer is recorded after what it answers.
        let root = record.previous.map_or(number, |previous| roots[previous]);
        roots.push(root);
        chains.push(None);
        if !record.is_ours() && !record.is_rejected && !record.is_promoted {
            continue;
        }
        let demand = &demands[record.demand];
        let chain = chains[root].get_or_insert_with(|| ChainBook {
            provider: offers[record.offer].provider.clone(),
            demand: demand.id.clone(),
            counters: 0,
            end: demand.end.map_or(ChainEnd::Open, |(_, how)| ChainEnd::DemandEnded(how)),
        });
        chain.counters += u64::from(record.is_ours());
        match record.kind {
            Kind::Refused(_) => chain.end = ChainEnd::RejectedByProvider,
            Kind::Initial | Kind::Draft(_) if record.is_promoted => chain.end = ChainEnd::Agreed,
            Kind::Initial | Kind::Draft(_) if record.is_rejected && !record.is_countered => {
                chain.end = ChainEnd::RejectedByUs;
            }
            Kind::Initial | Kind::Draft(_) | Kind::Ours(_) => {}
        }
    }
    chains.into_iter().flatten().collect()
}
