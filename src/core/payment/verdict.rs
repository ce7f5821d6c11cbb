//! Whether a bill is paid: what is due exactly, and nothing more (M3, M4, M5, M6).
//!
//! The daemon lets everything through (overcharges, foreign documents, second invoices), so all is
//! checked here. On doubt a bill is paid within the cap; what is not paid is disputed with a reason.

use crate::{
    core::cluster::{account::Account, state::ClusterState},
    core::payment::ledger,
    units::Glm,
    yagna::{DebitNote, Invoice, PlatformId, ProviderId},
};

/// What to do with a bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::core) enum Verdict {
    /// Pay it; so much is then accepted for its agreement.
    Pay(Glm),
    /// The invoice of its agreement paid for it already; the daemon must not be asked again.
    Covered,
    /// Do not pay it, for this reason.
    Dispute(String),
    /// The agreement is not over; look again soon.
    TooEarly,
}

/// What both kinds of bills say.
struct Claim<'a> {
    issuer: &'a ProviderId,
    payee: &'a str,
    platform: &'a PlatformId,
}

/// Judges a debit note of an agreement for which no more than `cap` can be due by now.
pub(in crate::core) fn of_note(
    state: &ClusterState,
    account: &Account,
    note: &DebitNote,
    cap: Glm,
) -> Verdict {
    let claim = Claim { issuer: &note.issuer, payee: &note.payee, platform: &note.platform };
    if let Some(reason) = foreign(state, account, &claim) {
        return Verdict::Dispute(reason);
    }
    if account.activity.as_ref().is_some_and(|activity| *activity != note.activity) {
        return Verdict::Dispute("it is for an activity that is not ours".to_owned());
    }
    match note.total_due.glm() {
        // The daemon takes the note's amount once more where the agreement has a second invoice.
        Ok(due) if due <= account.accepted && account.invoice.is_some() => Verdict::Covered,
        // Nothing is taken for it, and its provider counts how long each note waits.
        Ok(due) if due <= account.accepted => Verdict::Pay(account.accepted),
        Ok(_) if account.invoice.is_some() => {
            Verdict::Dispute("the invoice of its agreement was accepted before".to_owned())
        }
        Ok(_) if account.is_rejected => {
            Verdict::Dispute("the invoice of its agreement was rejected before".to_owned())
        }
        Ok(due) => within(state, account, due, cap),
        Err(error) => Verdict::Dispute(format!("its amount is {error}")),
    }
}

/// Judges an invoice, likewise.
pub(in crate::core) fn of_invoice(
    state: &ClusterState,
    account: &Account,
    invoice: &Invoice,
    cap: Glm,
) -> Verdict {
    let claim =
        Claim { issuer: &invoice.issuer, payee: &invoice.payee, platform: &invoice.platform };
    if let Some(reason) = foreign(state, account, &claim) {
        return Verdict::Dispute(reason);
    }
    match &account.invoice {
        Some(accepted) if *accepted == invoice.id => return Verdict::Pay(account.accepted),
        Some(_) => {
            return Verdict::Dispute("another invoice of its agreement was accepted".to_owned());
        }
        None => {}
    }
    if account.over.is_none() {
        return Verdict::TooEarly;
    }
    match invoice.amount.glm() {
        Ok(amount) if amount < account.accepted => {
            Verdict::Dispute(format!("{} GLM were accepted in debit notes", account.accepted))
        }
        Ok(amount) => within(state, account, amount, cap),
        Err(error) => Verdict::Dispute(format!("its amount is {error}")),
    }
}

fn within(state: &ClusterState, account: &Account, due: Glm, cap: Glm) -> Verdict {
    if due > cap {
        let cap = cap.rounded_up(9);
        return Verdict::Dispute(format!("no more than {cap} GLM can be due by now"));
    }
    // Books that were closed hold nothing any more; a late bill needs room of its own.
    let is_closed = !state.accounts.values().any(|it| it.agreement == account.agreement);
    let more = due.minus(if is_closed { account.accepted } else { account.held() });
    if more > Glm::ZERO && ledger::committed(state).plus(more) > ledger::limit(state) {
        return Verdict::Dispute("it came so late that the budget has no room for it".to_owned());
    }
    Verdict::Pay(due)
}

fn foreign(state: &ClusterState, account: &Account, claim: &Claim<'_>) -> Option<String> {
    let provider = &account.terms.provider;
    if claim.issuer != provider {
        return Some(format!("its issuer {} is not the agreement's provider", claim.issuer));
    }
    let wallet = &account.terms.payee;
    if !claim.payee.eq_ignore_ascii_case(wallet) {
        return Some(format!("it is payable to {}, not to {wallet} as agreed", claim.payee));
    }
    let platform = &state.plan.platform;
    if claim.platform != platform {
        return Some(format!("it is payable on {}, not on {platform}", claim.platform));
    }
    None
}
