//! Negotiations (§6): one offer after the other until a provider says what we say.

use std::{rc::Rc, sync::Arc};

use ray_on_golem::{
    core::market::{
        demand,
        negotiate::{Bounds, Move, Terms},
        offer::Offer,
    },
    units::Span,
    yagna::{ProposalState, Request, Response},
};

use super::{buffer::Offers, demand::Match, service::Service};

const COUNTER_PATIENCE: Span = Span::secs(5);
const ANSWER_PATIENCE: Span = Span::secs(30);
const REJECT_PATIENCE: Span = Span::secs(5);

/// A draft that an agreement can be made of.
pub(super) async fn negotiate(service: &Service, offers: &Rc<Offers>) -> Match {
    loop {
        let offer = offers.get(service).await;
        if let Some(draft) = settle(service, offers, offer).await {
            return draft;
        }
    }
}

/// What a provider agrees to; nothing if it does not.
async fn settle(service: &Service, offers: &Offers, offer: Match) -> Option<Match> {
    let bounds = demand::bounds(offers.spec());
    let (mut said, mut stated) = (offer, bounds.minimal);
    loop {
        let is_draft = said.proposal.state == ProposalState::Draft;
        let (subscription, proposal) = (said.demand.id.clone(), said.proposal.id.clone());
        match next(&bounds, &said.offer, stated, is_draft) {
            Ok(Some(terms)) => stated = terms,
            Ok(None) => return Some(said),
            Err(reason) => {
                if is_draft {
                    let request = Request::RejectProposal { subscription, proposal, reason };
                    service.world.within(REJECT_PATIENCE, service.world.call(request)).await;
                }
                return None;
            }
        }
        let body = Arc::new(demand::counter(&said.demand.body, &service.platform, stated));
        let request = Request::CounterProposal { subscription, proposal, body };
        let sent = service.world.within(COUNTER_PATIENCE, service.world.call(request)).await?;
        let Ok(Response::Countered(ours)) = sent else { return None };
        let answer = offers.demand().answer(&ours);
        said = service.world.within(ANSWER_PATIENCE, answer).await??;
    }
}

/// What both negotiators make of a proposal: our next words, nothing if all is said, or why not.
fn next(
    bounds: &Bounds,
    offer: &Offer,
    stated: Terms,
    is_draft: bool,
) -> Result<Option<Terms>, String> {
    if offer.wallet.is_none() {
        return Err("No common payment platform!".to_owned());
    }
    let said = if is_draft {
        bounds.answer(offer.terms, stated)
    } else {
        bounds.open(offer.terms, stated).map(Move::Counter)
    };
    match said {
        Ok(Move::Take) => Ok(None),
        Ok(Move::Counter(terms)) => Ok(Some(terms)),
        Err(error) => Err(error.to_string()),
    }
}
