//! What a server tells of the daemon beyond the vocabulary of our own requests: other clients ask
//! for more, and their readers demand more.

use std::sync::Arc;

use ray_on_golem::{
    units::{Glm, Timestamp},
    yagna::{
        ActivityId, AgreementEvent, AgreementId, AgreementState, AllocationId, BatchId,
        CommandResult, DemandEvent, DocumentState, ExeCommand, PlatformId, Proposal, ProposalId,
        ProviderId, SubscriptionId,
    },
};

use super::{
    AllocationBook, BatchEvent, DemandBook, Refusal, RunningCommand, SimYagna, Source,
    books::{AgreementBook, NetworkBook, OrderBook},
    ids::place,
};
use crate::provider::Offer;

/// An agreement with what its document needs beyond [`ray_on_golem::yagna::Agreement`].
#[derive(Clone, Debug)]
pub struct AgreementView<'a> {
    /// The agreement itself.
    pub book: &'a AgreementBook,
    /// Our demand.
    pub demand: &'a SubscriptionId,
    /// The provider's offer.
    pub offer: SubscriptionId,
    /// Where it is paid.
    pub platform: &'a PlatformId,
}

/// What an activity has used, in the order of its agreement's usage vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Seconds of all threads, in billionths.
    pub cpu: u128,
    /// Seconds, in billionths.
    pub duration: u128,
    /// Whether the processor's time comes first.
    pub is_cpu_first: bool,
}

/// What was accepted and what was ordered to be paid, for one activity or the rest of an agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expenditure {
    /// From which allocation.
    pub allocation: AllocationId,
    /// Under which agreement.
    pub agreement: AgreementId,
    /// For which activity; none for the rest of an invoice.
    pub activity: Option<ActivityId>,
    /// What was accepted.
    pub accepted: Glm,
    /// What of it was handed to the payment driver.
    pub scheduled: Glm,
}

impl SimYagna {
    /// A demand there ever was.
    #[must_use]
    pub fn demand(&self, id: &SubscriptionId) -> Option<&DemandBook> {
        let books = self.market.books();
        place(books, id.as_str(), 16, |book| book.id.as_str()).map(|number| &books[number])
    }

    /// A proposal of a demand that is published.
    ///
    /// # Errors
    ///
    /// In the daemon's words, if there is no such proposal.
    pub fn proposal(
        &self,
        demand: &SubscriptionId,
        id: &ProposalId,
    ) -> Result<Box<Proposal>, Refusal> {
        match self.market.look(demand, id)? {
            DemandEvent::Proposal(proposal) => Ok(proposal),
            DemandEvent::Rejected { .. } | DemandEvent::Unreadable(_) => {
                Err(super::market::unknown(demand, id))
            }
        }
    }

    /// Offers that our daemon knows now, and their numbers.
    pub fn known_offers(&self) -> impl Iterator<Item = (usize, &Offer)> {
        self.market.numbered_offers()
    }

    /// The id of the offer with a number.
    #[must_use]
    pub fn offer_id(&self, number: usize) -> SubscriptionId {
        self.ids.offer(number)
    }

    /// An allocation there ever was.
    #[must_use]
    pub fn allocation(&self, id: &AllocationId) -> Option<&AllocationBook> {
        let number = self.payment.allocations.place(id)?;
        self.payment.allocations.books().get(number)
    }

    /// An agreement.
    #[must_use]
    pub fn agreement(&self, id: &AgreementId) -> Option<AgreementView<'_>> {
        let number = self.agreements.number(id)?;
        let signing = &self.agreements.signings[number];
        let (demand, offer) = signing.meeting;
        Some(AgreementView {
            book: &self.agreements.books[number],
            demand: &self.market.books()[demand].id,
            offer: self.ids.offer(offer),
            platform: &signing.deal.platform,
        })
    }

    /// How an agreement was ended, if it was.
    #[must_use]
    pub fn termination(&self, id: &AgreementId) -> Option<AgreementEvent> {
        self.agreements.termination(id).cloned()
    }

    /// When a platform was last paid on.
    #[must_use]
    pub fn last_cycle(&self, platform: &PlatformId) -> Option<Timestamp> {
        self.payment.cycles.last(platform)
    }

    /// Every platform that has a payment cycle.
    #[must_use]
    pub fn cycles(&self) -> Vec<PlatformId> {
        self.payment.cycles.platforms()
    }

    /// What was ordered to be paid, with ids.
    pub fn orders(&self) -> impl Iterator<Item = (String, &OrderBook)> {
        let books = self.payment.cycles.books.iter().enumerate();
        books.map(|(number, book)| (self.ids.order(number), book))
    }

    /// The id of the `number`th payment.
    #[must_use]
    pub fn payment_id(&self, number: usize) -> String {
        self.ids.payment(number)
    }

    /// The results of a batch so far.
    #[must_use]
    pub fn results(&self, batch: &BatchId) -> Option<&[CommandResult]> {
        let batches = &self.activities.batches;
        let number = place(batches, batch.as_str(), 16, |it| it.id.as_str())?;
        Some(&batches[number].results)
    }

    /// The outputs in the results of a batch that are told as bytes, by the number of the command.
    #[must_use]
    pub fn binary_outputs(&self, batch: &BatchId) -> &[(u32, Source, Vec<u8>)] {
        let batches = &self.activities.batches;
        let number = place(batches, batch.as_str(), 16, |it| it.id.as_str());
        number.map_or(&[], |number| &batches[number].binary)
    }

    /// What has happened to a batch, and whether more may happen.
    #[must_use]
    pub fn events(&self, batch: &BatchId) -> Option<(&[BatchEvent], bool)> {
        let batches = &self.activities.batches;
        let found = &batches[place(batches, batch.as_str(), 16, |it| it.id.as_str())?];
        let has_ended = self.activities.books[found.activity].ended.is_some();
        let is_over = found.results.last().is_some_and(|result| result.is_batch_finished);
        Some((&found.events, !has_ended && !is_over))
    }

    /// The commands that run in an activity that the daemon knows.
    #[must_use]
    pub fn running_commands(&self, activity: &ActivityId) -> Option<Vec<RunningCommand>> {
        let number = place(&self.activities.books, activity.as_str(), 16, |it| it.id.as_str())?;
        let unit = &self.activities.units[number];
        let running = unit.running(&self.activities.batches).into_iter().collect();
        self.activities.books[number].is_known.then_some(running)
    }

    /// The commands of a batch.
    #[must_use]
    pub fn script(&self, batch: &BatchId) -> Option<Arc<Vec<ExeCommand>>> {
        let batches = &self.activities.batches;
        let number = place(batches, batch.as_str(), 16, |it| it.id.as_str())?;
        Some(Arc::clone(&batches[number].script))
    }

    /// The agreement of an activity that the daemon knows.
    #[must_use]
    pub fn agreement_of(&self, activity: &ActivityId) -> Option<&AgreementId> {
        let number = place(&self.activities.books, activity.as_str(), 16, |it| it.id.as_str())?;
        let book = &self.activities.books[number];
        book.is_known.then_some(&book.agreement)
    }

    /// What an activity has used until `now`, or until it ended.
    #[must_use]
    pub fn usage(&self, activity: &ActivityId, now: Timestamp) -> Option<Usage> {
        let number = place(&self.activities.books, activity.as_str(), 16, |it| it.id.as_str())?;
        let book = &self.activities.books[number];
        let deal = &self.agreements.signings[self.activities.units[number].agreement].deal;
        let lasted = book.ended.unwrap_or(now).min(now).since(book.created);
        let duration = u128::from(lasted.as_micros()) * 1_000;
        let busy = u128::from(deal.threads) * u128::from(deal.conduct().load);
        let cpu = duration.saturating_mul(busy) / 1_000_000;
        let is_cpu_first = deal.offer.population.quirk != crate::scenario::Quirk::ReversedVector;
        Some(Usage { cpu, duration, is_cpu_first })
    }

    /// A private network that there is.
    #[must_use]
    pub fn network(&self, id: &str) -> Option<&NetworkBook> {
        self.networks
            .books
            .iter()
            .rev()
            .find(|book| book.network.id.as_str() == id && book.removed.is_none())
    }

    /// What is said of a private network that there is not.
    #[must_use]
    pub fn no_network(&self, id: &str) -> Refusal {
        self.networks.missing(id)
    }

    /// The provider's agreements that are in force, for a look at the market.
    #[must_use]
    pub fn agreements_in_force(&self, provider: &ProviderId) -> usize {
        let books = self.agreements.books.iter();
        let open = books.filter(|it| it.state == AgreementState::Approved);
        open.filter(|book| book.provider == *provider).count()
    }

    /// What was accepted from an allocation.
    #[must_use]
    pub fn expenditures(&self, allocation: &AllocationId) -> Vec<Expenditure> {
        let mut found: Vec<Expenditure> = Vec::new();
        for book in &self.payment.bills.notes {
            let Some((_, from)) = &book.accepted else { continue };
            if from == allocation {
                let (note, taken) = (&book.note, book.taken);
                let activity = Some(note.activity.clone());
                let is_sent = note.state == DocumentState::Settled;
                add(&mut found, allocation, &note.agreement, activity, taken, is_sent);
            }
        }
        for book in &self.payment.bills.invoices {
            let Some((_, from)) = &book.accepted else { continue };
            if from == allocation {
                let invoice = &book.invoice;
                let is_sent = invoice.state == DocumentState::Settled;
                add(&mut found, allocation, &invoice.agreement, None, book.taken, is_sent);
            }
        }
        found
    }
}

fn add(
    found: &mut Vec<Expenditure>,
    allocation: &AllocationId,
    agreement: &AgreementId,
    activity: Option<ActivityId>,
    taken: Glm,
    is_sent: bool,
) {
    let scheduled = if is_sent { taken } else { Glm::ZERO };
    let same = found.iter_mut().find(|it| it.agreement == *agreement && it.activity == activity);
    if let Some(row) = same {
        row.accepted = row.accepted.plus(taken);
        row.scheduled = row.scheduled.plus(scheduled);
        return;
    }
    found.push(Expenditure {
        allocation: allocation.clone(),
        agreement: agreement.clone(),
        activity,
        accepted: taken,
        scheduled,
    });
}
