//! Drafts that become agreements.

use std::sync::Arc;

use ray_on_golem::yagna::{DemandBody, ProposalId};

use super::{DemandEnd, Market, record::Kind};
use crate::{
    provider::{Draft, Offer},
    yagna::{Refusal, refuse},
};

/// What an agreement is made of.
#[derive(Debug)]
pub(in crate::yagna) struct Promoted {
    pub(in crate::yagna) offer: Offer,
    pub(in crate::yagna) draft: Draft,
    /// What we asked for last.
    pub(in crate::yagna) demand: Arc<DemandBody>,
    /// The numbers of the demand and the offer.
    pub(in crate::yagna) meeting: (usize, usize),
}

impl Market {
    /// What an agreement is made of: a provider's draft that nothing was made of yet. The daemon does
    /// not mind whether the demand is still published.
    pub(in crate::yagna) fn promote(&mut self, id: &ProposalId) -> Result<Promoted, Refusal> {
        let known = self.proposal_number(id).filter(|number| {
            let end = self.books[self.records[*number].demand].end;
            end.is_none_or(|(_, how)| how != DemandEnd::Forgotten)
        });
        let create = "Can't create Agreement for";
        let Some(number) = known else {
            let text = format!("{create} Proposal [{id}]. Proposal [{id}] not found.");
            return Err(refuse(400, &text));
        };
        let record = &self.records[number];
        let draft = match &record.kind {
            Kind::Draft(draft) => draft.clone(),
            Kind::Initial => {
                let text = format!(
                    "{create} Proposal [{id}]. No negotiation with Provider took place. (You should \
                     counter Proposal at least one time)"
                );
                return Err(refuse(400, &text));
            }
            Kind::Ours(_) | Kind::Refused(_) => {
                let text = format!(
                    "{create} an own Proposal [{id}]. You can promote only provider's Proposals to \
                     Agreement."
                );
                return Err(refuse(400, &text));
            }
        };
        if record.is_promoted {
            let text = format!("Can't create second Agreement for Proposal [{id}].");
            return Err(refuse(409, &text));
        }
        if record.is_rejected {
            return Err(refuse(400, &format!("{create} rejected Proposal [{id}].")));
        }
        if record.is_countered {
            return Err(refuse(400, &format!("{create} already countered Proposal [{id}].")));
        }
        let asked = record.previous.map(|previous| &self.records[previous].kind);
        let demand = match asked {
            Some(Kind::Ours(body)) => Arc::clone(body),
            Some(Kind::Initial | Kind::Draft(_) | Kind::Refused(_)) | None => {
                Arc::clone(&self.books[record.demand].body)
            }
        };
        let meeting = (record.demand, record.offer);
        let offer = self.offers[record.offer].clone();
        self.records[number].is_promoted = true;
        Ok(Promoted { offer, draft, demand, meeting })
    }
}
