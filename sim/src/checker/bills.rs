//! M2 to M6: what is accepted, what is not, and that each bill is one of them.

use std::collections::{BTreeMap, BTreeSet};

use ray_on_golem::{
    core::{
        Output, Record,
        cluster::record::{AgreementFact, ClusterRecord},
    },
    units::{Glm, Span, Timestamp},
    yagna::{
        AgreementId, AllocationId, BilledAmount, CallError, DocumentState, InvoiceId, PlatformId,
        ProviderId, Request, Response,
    },
};

use super::{
    Family, Findings, Look,
    facts::{Bill, Deal, is_accepted},
    money::{self, TOLERANCE as ROUNDING},
    subject::full_cost,
};
use crate::yagna::{
    SimYagna,
    books::{AgreementBook, NoteBook},
};

/// The clocks of both sides may differ by so much.
const TOLERANCE: Span = Span::secs(10);
const TOLERANCE_ATTO: Glm = Glm::from_atto(1_000);
/// A bill that reached us in fair times is decided within this time: an invoice that comes before
/// the end of its agreement is looked at again for a minute and a half.
pub(super) const DECISION_TIME: Span = Span::secs(120);

/// Within this time the list of debit notes is read, whatever fails.
const READING_TIME: Span = Span::secs(60);

/// A provider that writes more debit notes than this must wait: they are accepted one after another,
/// and after a crash all of them are taken up again.
const FLOOD: u32 = 100;
const FLOOD_TIME: Span = Span::mins(15);

/// Keeps what is undecided.
#[derive(Default)]
pub(super) struct Bills {
    notes_seen: usize,
    undecided: BTreeSet<(Timestamp, usize)>,
    /// How many debit notes there are of each agreement.
    notes_of: BTreeMap<AgreementId, u32>,
    /// Agreements of which an invoice was rejected.
    rejected: BTreeSet<AgreementId>,
}

/// What both kinds of bills say.
struct Claim<'a> {
    issuer: &'a ProviderId,
    payee: &'a str,
    platform: &'a PlatformId,
    amount: &'a BilledAmount,
    allocation: &'a AllocationId,
}

/// So many disputes are remembered by their bills; a bill of an earlier one is judged, and counted, anew after a restart.
const DISPUTES_KNOWN: usize = 100;

impl Family for Bills {
    fn on_output(&mut self, look: &Look<'_>, output: &Output, findings: &mut Findings) {
        let request = match output {
            Output::Call { request, .. } => request,
            Output::Persist { records, .. } => {
                for record in records {
                    check_dispute(look, record, findings);
                    check_decision(look, record, findings);
                }
                return;
            }
            Output::Answer { .. }
            | Output::Abandon { .. }
            | Output::Probe { .. }
            | Output::Notify(_)
            | Output::Saw(_) => return,
        };
        if let Request::RejectInvoice { invoice, .. } = request {
            self.check_rejection(look, invoice, findings);
        }
        let (Request::AcceptDebitNote { allocation, .. }
        | Request::AcceptInvoice { allocation, .. }) = request
        else {
            return;
        };
        match (look.facts.bill(request), look.facts.payer(look.scene.daemon, request)) {
            (Some(bill), Some(place)) => {
                check_acceptance(look, bill, place, allocation, findings);
            }
            (_, None) | (None, _) => {
                findings.violate("M5", look.now(), "a bill of nobody's was accepted");
            }
        }
    }

    fn on_result(
        &mut self,
        look: &Look<'_>,
        request: &Request,
        _result: &Result<Response, CallError>,
        findings: &mut Findings,
    ) {
        let Some(place) = look.facts.payer(look.scene.daemon, request) else { return };
        let deal = &look.facts.deals[place];
        if let Some(what) = moved_twice(deal) {
            findings.violate("M2", look.now(), what);
        }
    }

    fn on_round(&mut self, look: &Look<'_>, findings: &mut Findings) {
        for (id, cluster) in look.scene.durable.clusters() {
            let known = look.facts.clusters.get(id).map_or(0, |facts| facts.disputed.len());
            if known <= DISPUTES_KNOWN && cluster.disputed > known as u64 {
                let what = format!("{} disputes of {known} bills are counted", cluster.disputed);
                findings.violate("M6", look.now(), what);
            }
        }
        if look.facts.fair_since.is_some() {
            self.check_decisions(look, findings);
        }
    }
}

impl Bills {
    /// M6: after the rejection of its invoice the daemon pays for no debit note of an agreement, so that those before it
    /// are decided first. By then an invoice that was accepted, or rejected, has decided them. A daemon that has told wrong
    /// ids may not have listed them.
    fn check_rejection(&mut self, look: &Look<'_>, invoice: &InvoiceId, findings: &mut Findings) {
        let daemon = look.scene.daemon;
        let Some(Bill::Invoice(nth)) = look.facts.bill_of(invoice.as_str()) else { return };
        let agreement = &daemon.invoices()[nth].invoice.agreement;
        let is_first = self.rejected.insert(agreement.clone());
        let mut clusters = look.scene.durable.clusters().values();
        let books = clusters.find_map(|cluster| cluster.account_of(agreement));
        if !is_first
            || look.scene.has_lied
            || books.is_some_and(|(_, account)| account.invoice.is_some())
        {
            return;
        }
        let is_late = |book: &NoteBook| look.facts.awake_for(book.received) > READING_TIME;
        let waits = |(nth, book): &(usize, &NoteBook)| {
            book.note.agreement == *agreement
                && is_late(book)
                && !is_decided(look, Bill::Note(*nth))
        };
        if let Some((_, book)) = daemon.notes().iter().enumerate().find(waits) {
            let what = format!("invoice {invoice} is rejected while note {} waits", book.note.id);
            findings.violate("M6", look.now(), what);
        }
    }

    /// M6: in fair times no debit note waits for long; invoices are V3's.
    fn check_decisions(&mut self, look: &Look<'_>, findings: &mut Findings) {
        let daemon = look.scene.daemon;
        for (nth, book) in daemon.notes().iter().enumerate().skip(self.notes_seen) {
            let count = self.notes_of.entry(book.note.agreement.clone()).or_insert(0);
            *count = count.saturating_add(1);
            let more = if *count > FLOOD { FLOOD_TIME } else { Span::ZERO };
            let due = look.facts.fair(book.received).map(|at| at.plus(DECISION_TIME).plus(more));
            self.undecided.extend(due.map(|due| (due, nth)));
        }
        self.notes_seen = daemon.notes().len();
        while let Some((due, nth)) = self.undecided.first().copied() {
            if due > look.now() {
                break;
            }
            self.undecided.pop_first();
            if !is_decided(look, Bill::Note(nth)) {
                let id = &daemon.notes()[nth].note.id;
                let what = format!("note {id} is neither accepted nor disputed");
                findings.violate("M6", look.now(), what);
            }
        }
    }
}

/// Whether a bill was decided, or nobody needs to decide it: its agreement is no cluster's, or the
/// cluster is gone and has nothing to pay from.
pub(super) fn is_decided(look: &Look<'_>, bill: Bill) -> bool {
    let daemon = look.scene.daemon;
    let (state, id, agreement) = match bill {
        Bill::Note(nth) => {
            let note = &daemon.notes()[nth].note;
            (note.state, note.id.as_str(), &note.agreement)
        }
        Bill::Invoice(nth) => {
            let invoice = &daemon.invoices()[nth].invoice;
            (invoice.state, invoice.id.as_str(), &invoice.agreement)
        }
    };
    if state != DocumentState::Received || is_accepted(daemon, bill) {
        return true;
    }
    let Some(place) = look.facts.place(agreement) else { return true };
    let Some((cluster, _)) = look.facts.owner(place) else { return true };
    let deal = &look.facts.deals[place];
    // The daemon says yes to a note after the invoice was accepted, and leaves it as it is.
    let is_confirmed = deal.confirmed_bills.contains(&bill);
    let is_covered = match bill {
        Bill::Note(nth) => is_covered(deal, &daemon.notes()[nth].note.total_due),
        Bill::Invoice(_) => false,
    };
    is_confirmed || is_covered || !cluster.hears_bills() || cluster.disputed.contains(id)
}

/// An accepted invoice pays for the debit notes before it.
fn is_covered(deal: &Deal, due: &BilledAmount) -> bool {
    !deal.invoices.is_empty() && due.glm().is_ok_and(|due| due <= deal.highest)
}

/// M6: what the daemon has said to be accepted is not disputed.
fn check_dispute(look: &Look<'_>, record: &Record, findings: &mut Findings) {
    let Record::Cluster(_, record) = record else { return };
    let ClusterRecord::Agreement {
        fact: AgreementFact::NoteDisputed(dispute) | AgreementFact::InvoiceDisputed(dispute),
        ..
    } = record.as_ref()
    else {
        return;
    };
    let Some(bill) = look.facts.bill_of(&dispute.bill) else { return };
    let daemon = look.scene.daemon;
    let agreement = match bill {
        Bill::Note(nth) => &daemon.notes()[nth].note.agreement,
        Bill::Invoice(nth) => &daemon.invoices()[nth].invoice.agreement,
    };
    let deal = look.facts.place(agreement).map(|place| &look.facts.deals[place]);
    let is_confirmed = deal.is_some_and(|deal| deal.confirmed_bills.contains(&bill));
    if is_confirmed && is_accepted(daemon, bill) {
        let what = format!("{} is accepted, and disputed", name(daemon, bill));
        findings.violate("M6", look.now(), what);
    }
}

fn name(daemon: &SimYagna, bill: Bill) -> String {
    match bill {
        Bill::Note(nth) => format!("debit note {}", daemon.notes()[nth].note.id),
        Bill::Invoice(nth) => format!("invoice {}", daemon.invoices()[nth].invoice.id),
    }
}

/// M3 and M4: no more is decided to be due than can be due as far as is known then.
fn check_decision(look: &Look<'_>, record: &Record, findings: &mut Findings) {
    let Record::Cluster(id, record) = record else { return };
    let ClusterRecord::Agreement { number, fact } = record.as_ref() else { return };
    let (invariant, total) = match fact {
        AgreementFact::NoteAccepted { total, .. } => ("M4", *total),
        AgreementFact::InvoiceAccepted { total, .. } => ("M3", *total),
        _ => return,
    };
    let Some(place) = look.facts.place_of(*id, *number) else { return };
    let (deal, book) = (&look.facts.deals[place], &look.scene.daemon.agreements()[place]);
    if let Some(what) = excess(total, deal.highest, cap(look.now(), deal, book)) {
        findings.violate(invariant, look.now(), what);
    }
}

/// M2 to M5, when a bill is about to be accepted.
fn check_acceptance(
    look: &Look<'_>,
    bill: Bill,
    place: usize,
    allocation: &AllocationId,
    findings: &mut Findings,
) {
    let daemon = look.scene.daemon;
    let (deal, book) = (&look.facts.deals[place], &daemon.agreements()[place]);
    let (invariant, claim) = match bill {
        Bill::Note(nth) => {
            let note = &daemon.notes()[nth].note;
            if is_paid_by_invoice(deal) {
                let what = format!("a note of {} is accepted after its invoice", book.id);
                findings.violate("M2", look.now(), what);
            }
            (
                "M4",
                Claim {
                    issuer: &note.issuer,
                    payee: &note.payee,
                    platform: &note.platform,
                    amount: &note.total_due,
                    allocation,
                },
            )
        }
        Bill::Invoice(nth) => {
            let invoice = &daemon.invoices()[nth].invoice;
            if let Some(what) = second_invoice(deal, nth) {
                findings.violate("M2", look.now(), what);
            }
            (
                "M3",
                Claim {
                    issuer: &invoice.issuer,
                    payee: &invoice.payee,
                    platform: &invoice.platform,
                    amount: &invoice.amount,
                    allocation,
                },
            )
        }
    };
    if deal.accepting > 1 {
        let what = format!("{} acceptances of {} are under way", deal.accepting, book.id);
        findings.violate("M2", look.now(), what);
    }
    let known = deal.highest.max(deal.decided);
    if let Some(what) = above_cap(claim.amount, known, cap(look.now(), deal, book)) {
        findings.violate(invariant, look.now(), what);
    }
    if let Some(what) = astray(look, place, &claim) {
        findings.violate("M5", look.now(), what);
    }
}

/// The most that can be due: all CPUs busy since we asked for an activity.
fn cap(now: Timestamp, deal: &Deal, book: &AgreementBook) -> Glm {
    let Some(since) = deal.create_asked else { return TOLERANCE_ATTO };
    let until = deal.end_told.unwrap_or(now).min(now);
    full_cost(book, until.since(since).plus(TOLERANCE)).plus(TOLERANCE_ATTO)
}

/// What is wrong with the amount of a bill.
fn above_cap(amount: &BilledAmount, known: Glm, cap: Glm) -> Option<String> {
    match amount.glm() {
        Ok(amount) => excess(amount, known, cap),
        Err(error) => Some(format!("an amount that is {error} is accepted")),
    }
}

/// What is wrong with an amount; one that is known to be due takes nothing more.
fn excess(amount: Glm, known: Glm, cap: Glm) -> Option<String> {
    (amount > cap && amount > known)
        .then(|| format!("{amount} GLM are accepted, {cap} can be due at most"))
}

fn second_invoice(deal: &Deal, nth: usize) -> Option<String> {
    let is_other = |other: &Bill| matches!(other, Bill::Invoice(other) if *other != nth);
    let is_second =
        deal.invoices.iter().any(|other| *other != nth) || deal.bills.iter().any(is_other);
    is_second.then(|| "a second invoice of an agreement is accepted".to_owned())
}

/// Whether the invoice has paid for every note.
fn is_paid_by_invoice(deal: &Deal) -> bool {
    deal.confirmed_bills.iter().any(|bill| matches!(bill, Bill::Invoice(_)))
}

/// M2: the daemon counts acceptances that overtake each other several times.
///
/// An acceptance that a dead process asked for may still be under way when the next process asks for
/// another one; what that takes is set aside twice, and paid once.
fn moved_twice(deal: &Deal) -> Option<String> {
    (!deal.is_doubtful && deal.taken > deal.highest.plus(ROUNDING))
        .then(|| format!("{} GLM were taken for bills of {} GLM", deal.taken, deal.highest))
}

/// M5: whose wallet, which platform, and whose funds.
fn astray(look: &Look<'_>, place: usize, claim: &Claim<'_>) -> Option<String> {
    let book = &look.scene.daemon.agreements()[place];
    let Some((cluster, _)) = look.facts.owner(place) else {
        return Some(format!("{} is no agreement of a cluster", book.id));
    };
    if *claim.issuer != book.provider {
        return Some(format!("{} bills for the work of {}", claim.issuer, book.provider));
    }
    if !claim.payee.eq_ignore_ascii_case(book.provider.as_str()) {
        return Some(format!("the work of {} is paid to {}", book.provider, claim.payee));
    }
    if *claim.platform != cluster.plan.platform {
        return Some(format!("a bill on {} is accepted", claim.platform));
    }
    let payer = money::owner(look, claim.allocation);
    match payer {
        Some(payer) if !std::ptr::eq(payer, cluster) => {
            Some(format!("{} pays for a node of {}", payer.name, cluster.name))
        }
        Some(_) => None,
        // From one whose id came wrong nothing is paid.
        None if look.scene.daemon.allocation(claim.allocation).is_none() => None,
        None => Some(format!("allocation {} is no cluster's", claim.allocation)),
    }
}

#[cfg(test)]
mod tests {
    use ray_on_golem::{units::Glm, yagna::BilledAmount};

    use super::{above_cap, moved_twice, second_invoice};
    use crate::checker::facts::{Bill, Deal};

    fn glm(whole: u64) -> Glm {
        Glm::from_whole(whole)
    }

    #[test]
    fn an_amount_above_the_cap_is_seen_unless_it_takes_nothing() {
        let amount = |text| BilledAmount::new(text);

        assert!(above_cap(&amount("3.1"), Glm::ZERO, glm(3)).is_some());
        assert!(above_cap(&amount("-1"), Glm::ZERO, glm(3)).is_some());
        assert_eq!(above_cap(&amount("3"), Glm::ZERO, glm(3)), None);
        assert_eq!(above_cap(&amount("5"), glm(5), glm(3)), None);
    }

    #[test]
    fn money_that_moves_twice_is_seen() {
        let once = Deal { taken: glm(5), highest: glm(5), ..Deal::default() };
        let twice = Deal { taken: glm(9), ..once.clone() };

        assert_eq!(moved_twice(&once), None);
        assert!(moved_twice(&twice).is_some());
    }

    #[test]
    fn a_second_invoice_is_seen_also_while_the_first_is_under_way() {
        let settled = Deal { invoices: vec![3], ..Deal::default() };
        let under_way = Deal { bills: vec![Bill::Note(4), Bill::Invoice(3)], ..Deal::default() };

        assert_eq!(second_invoice(&settled, 3), None);
        assert!(second_invoice(&settled, 4).is_some());
        assert_eq!(second_invoice(&under_way, 3), None);
        assert!(second_invoice(&under_way, 4).is_some());
    }
}
