//! Where requests come in: one arm for each.

use ray_on_golem::{
    units::Timestamp,
    yagna::{Request, Response},
};

use super::{RequestNo, SimYagna};

impl SimYagna {
    /// Takes a request; its reply comes out of [`Self::poll_reply`], perhaps later.
    pub fn handle(&mut self, now: Timestamp, id: RequestNo, request: &Request) {
        self.payment.allocations.expire(now);
        let wallet = self.payment.wallet;
        let reply = match request {
            Request::WhoAmI => Some(Ok(Response::Identity(self.identity.clone()))),
            Request::CreateAllocation { platform, total, timeout } => {
                Some(self.payment.allocations.create(now, wallet, platform, *total, *timeout))
            }
            Request::ListAllocations => {
                Some(Ok(Response::Allocations(self.payment.allocations.list())))
            }
            Request::ReleaseAllocation { allocation } => {
                Some(self.payment.allocations.release(allocation))
            }
            Request::AmendAllocation { allocation, total, timeout } => {
                Some(self.payment.allocations.amend(now, wallet, allocation, *total, *timeout))
            }
            Request::DecorateDemand { allocation } => {
                Some(self.payment.allocations.decorate(allocation))
            }
            Request::Subscribe { demand } => {
                Some(Ok(self.market.subscribe(now, demand, &mut self.agenda)))
            }
            Request::ListDemands => Some(Ok(self.market.list())),
            Request::Unsubscribe { subscription } => {
                let (reply, cut_off) = self.market.unsubscribe(now, subscription);
                self.replies.extend(cut_off);
                Some(reply)
            }
            Request::CollectEvents { subscription, timeout, max_events } => {
                let agenda = &mut self.agenda;
                self.market.collect(now, id, subscription, *timeout, *max_events, agenda)
            }
            Request::CounterProposal { subscription, proposal, body } => {
                self.market.counter(now, id, subscription, proposal, body, &mut self.agenda)
            }
            Request::RejectProposal { subscription, proposal, .. } => {
                Some(self.market.reject(subscription, proposal))
            }
            Request::CreateAgreement { proposal, valid_to } => {
                Some(self.create_agreement(now, proposal, *valid_to))
            }
            Request::ListAgreements { session } => Some(self.list_agreements(session)),
            Request::GetAgreement { agreement } => Some(self.get_agreement(now, agreement)),
            Request::ConfirmAgreement { agreement, session } => {
                self.confirm_agreement(now, id, agreement, session)
            }
            Request::AwaitApproval { agreement, timeout } => {
                self.await_approval(now, id, agreement, *timeout)
            }
            Request::CancelAgreement { agreement } => self.cancel_agreement(now, id, agreement),
            Request::TerminateAgreement { agreement, reason } => {
                self.terminate_agreement(now, id, agreement, reason)
            }
            Request::CollectAgreementEvents { session, after, timeout } => {
                self.collect_agreement_events(now, id, session, *after, *timeout)
            }
            Request::CreateActivity { agreement, timeout } => {
                self.create_activity(now, id, agreement, *timeout)
            }
            Request::ListActivities { agreement } => Some(self.list_activities(agreement)),
            Request::DestroyActivity { activity, timeout } => {
                self.destroy_activity(now, id, activity, *timeout)
            }
            Request::GetActivityState { activity, timeout } => {
                self.get_activity_state(now, id, activity, *timeout)
            }
            Request::Execute { activity, script, timeout } => {
                self.execute(now, id, activity, script, *timeout)
            }
            Request::CollectResults { activity, batch, command, timeout } => {
                self.collect_results(now, id, activity, batch, *command, *timeout)
            }
            Request::CreateNetwork { path, ip, prefix, gateway } => {
                Some(self.networks.create(now, self.ids, *path, (*ip, *prefix), *gateway))
            }
            Request::ListNetworks => Some(self.networks.list()),
            Request::RemoveNetwork { network } => Some(self.networks.remove(now, network)),
            Request::AddNode { network, provider, ip } => {
                Some(self.networks.add_node(network, provider, *ip))
            }
            Request::RemoveNode { network, provider } => {
                Some(self.networks.remove_node(network, provider))
            }
            Request::CollectDebitNoteEvents { session, after, timeout } => {
                self.collect_note_events(now, id, session, *after, *timeout)
            }
            Request::CollectInvoiceEvents { session, after, timeout } => {
                self.collect_invoice_events(now, id, session, *after, *timeout)
            }
            Request::ListDebitNotes { after } => Some(self.payment.bills.list_notes(*after)),
            Request::ListInvoices { after } => Some(self.payment.bills.list_invoices(*after)),
            Request::GetDebitNote { debit_note } => Some(self.payment.bills.get_note(debit_note)),
            Request::GetInvoice { invoice } => Some(self.payment.bills.get_invoice(invoice)),
            Request::AcceptDebitNote { debit_note, amount, allocation, timeout } => {
                self.accept_note(now, id, debit_note, (amount, allocation), *timeout)
            }
            Request::AcceptInvoice { invoice, amount, allocation, timeout } => {
                self.accept_invoice(now, id, invoice, (amount, allocation), *timeout)
            }
            Request::RejectInvoice { invoice, reason, .. } => {
                self.reject_invoice(now, id, invoice, *reason)
            }
            Request::GetBatchCycle { platform } => Some(self.get_batch_cycle(now, platform)),
            Request::SetBatchCycle { platform, interval, extra_time } => {
                Some(self.set_batch_cycle(now, platform, *interval, *extra_time))
            }
            Request::BeginScan { constraints, lasts } => {
                let begun = self.begin_scan(now, constraints.as_deref(), true, *lasts);
                Some(begun.map(Response::ScanBegun))
            }
            Request::CollectScan { scan, timeout, max_events } => {
                self.collect_scan(now, id, scan, *timeout, usize::from(*max_events))
            }
            Request::EndScan { scan } => Some(self.end_scan(scan).map(|()| Response::ScanEnded)),
        };
        if let Some(reply) = reply {
            self.replies.push_back((id, reply));
        }
    }
}
