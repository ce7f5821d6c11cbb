//! Bills (§10): the original listens for them, judges each, and accepts it or says nothing. All of it
//! happens on one bus, one event after the other.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use ray_on_golem::{
    units::{Glm, Span, Timestamp},
    yagna::{
        AgreementId, AllocationId, BillEventKind, DebitNoteId, DocumentState, Invoice, InvoiceId,
        Request, Response, Status,
    },
};

use super::{
    bill,
    service::{Agreement, Event, Note, Service},
    sync::{Condition, all},
};
use crate::yagna::Refusal;

/// The allocation is to last for ever (§2).
const ALLOCATION_LIFE: Span = Span::days(3_650);
const EVENTS_TIMEOUT: Span = Span::secs(5);
/// How long the daemon waits for a provider to acknowledge an acceptance.
const ACKNOWLEDGE_TIMEOUT: Span = Span::secs(15);
/// An acceptance is repeated so often, with such pauses, where the daemon says 408 or 504.
const ACCEPT_TRIES: u32 = 6;
const ACCEPT_PAUSE: Span = Span::secs(2);
/// At the end so long is waited for one invoice of each agreement (§11).
const INVOICES_WAIT: Span = Span::secs(150);

/// What one cluster is paid from, and for what.
pub(super) struct Payments {
    budget: Glm,
    allocation: RefCell<Option<AllocationId>>,
    is_asked: Cell<bool>,
    changed: Condition,
    /// Agreements that no invoice has come for; also those that were never approved.
    agreements: RefCell<BTreeMap<AgreementId, Rc<Agreement>>>,
}

impl Payments {
    pub(super) fn new(budget: Glm) -> Rc<Self> {
        Rc::new(Self {
            budget,
            allocation: RefCell::default(),
            is_asked: Cell::new(false),
            changed: Condition::default(),
            agreements: RefCell::default(),
        })
    }

    /// The allocation, made when it is first needed (§2).
    pub(super) async fn allocation(&self, service: &Service) -> AllocationId {
        if !self.is_asked.replace(true) {
            let platform = service.platform.clone();
            let timeout = service.world.now().plus(ALLOCATION_LIFE);
            let request = Request::CreateAllocation { platform, total: self.budget, timeout };
            if let Ok(Response::AllocationCreated(made)) = service.world.call(request).await {
                *self.allocation.borrow_mut() = Some(made.id);
                self.changed.notify();
            }
        }
        self.changed.until(|| self.allocation.borrow().clone()).await
    }

    /// Waits for invoices, ends what has sent none, and gives the rest of the funds back (§11).
    pub(super) async fn stop(&self, service: &Service) {
        let all_came = || self.agreements.borrow().is_empty().then_some(());
        service.world.within(INVOICES_WAIT, self.changed.until(all_came)).await;
        let left: Vec<Rc<Agreement>> = self.agreements.take().into_values().collect();
        all(left
            .iter()
            .map(|it| -> super::sync::Work<'_> { Box::pin(service.close_all(it)) })
            .collect())
        .await;
        *service.payments.borrow_mut() = None;
        let allocation = self.allocation.take();
        if let Some(allocation) = allocation {
            // Whatever the daemon answers, the original does not ask again.
            let _ = service.world.call(Request::ReleaseAllocation { allocation }).await;
        }
    }

    async fn on_note(&self, service: &Service, note: &Note) {
        let Some(agreement) = self.agreement(&note.document.agreement) else { return };
        let Some(allocation) = self.allocation.borrow().clone() else { return };
        let activity = service.activities.borrow().get(&note.document.activity).cloned();
        let Some(activity) = activity else { return };
        let debit_note = note.document.id.clone();
        let request = Request::GetDebitNote { debit_note: debit_note.clone() };
        let Ok(Response::DebitNote(document)) = service.world.call(request).await else { return };
        if document.state != DocumentState::Received
            || !bill::note_is_fair(note, &activity, &agreement)
        {
            return;
        }
        let amount = document.total_due;
        let timeout = ACKNOWLEDGE_TIMEOUT;
        accept(service, Request::AcceptDebitNote { debit_note, amount, allocation, timeout }).await;
    }

    async fn on_invoice(&self, service: &Service, came: Timestamp, invoice: &Invoice) {
        let Some(agreement) = self.agreement(&invoice.agreement) else { return };
        let Some(allocation) = self.allocation.borrow().clone() else { return };
        let request = Request::GetInvoice { invoice: invoice.id.clone() };
        let Ok(Response::Invoice(document)) = service.world.call(request).await else { return };
        if document.state == DocumentState::Received
            && bill::invoice_is_fair(&document, came, &agreement, service)
        {
            let (invoice, amount) = (document.id, document.amount);
            let timeout = ACKNOWLEDGE_TIMEOUT;
            accept(service, Request::AcceptInvoice { invoice, amount, allocation, timeout }).await;
        }
        // One invoice is enough, whatever became of it.
        self.agreements.borrow_mut().remove(&agreement.id);
        self.changed.notify();
    }

    fn agreement(&self, id: &AgreementId) -> Option<Rc<Agreement>> {
        self.agreements.borrow().get(id).cloned()
    }
}

async fn accept(service: &Service, request: Request) {
    for _ in 0..ACCEPT_TRIES {
        match service.world.call(request.clone()).await {
            Err(Refusal { status: Status(408 | 504), .. }) => {
                service.world.sleep(ACCEPT_PAUSE).await;
            }
            Ok(_) | Err(_) => return,
        }
    }
}

/// The bus: whoever handles an event holds up all others.
pub(super) async fn handle_events(service: Rc<Service>) {
    loop {
        let event = service.bus.pop().await;
        let payments = service.payments.borrow().clone();
        match (event, payments) {
            (Event::NewAgreement(agreement), Some(payments)) => {
                payments.agreements.borrow_mut().insert(agreement.id.clone(), agreement);
            }
            (Event::NewNote(note), Some(payments)) => payments.on_note(&service, &note).await,
            (Event::NewInvoice(invoice, came), Some(payments)) => {
                payments.on_invoice(&service, came, &invoice).await;
            }
            (Event::ActivityClosed(agreement), _) => {
                if agreement.is_watched.replace(false) {
                    service.close_all(&agreement).await;
                }
            }
            (Event::NewAgreement(_) | Event::NewNote(_) | Event::NewInvoice(..), None) => {}
        }
    }
}

/// Takes down debit notes as they come.
pub(super) async fn collect_notes(service: Rc<Service>) {
    let mut after = service.world.now();
    loop {
        let (session, timeout) = (service.session.clone(), EVENTS_TIMEOUT);
        let request = Request::CollectDebitNoteEvents { session, after, timeout };
        // The daemon of the simulation fails no such call, so the listener's death (weakness 2) is not met.
        let Ok(Response::DebitNoteEvents(events)) = service.world.call(request).await else {
            return;
        };
        for event in events {
            after = after.max(event.at);
            if event.kind == BillEventKind::Received {
                take_note(&service, event.id).await;
            }
        }
    }
}

async fn take_note(service: &Service, debit_note: DebitNoteId) {
    let came = service.world.now();
    let request = Request::GetDebitNote { debit_note };
    let Ok(Response::DebitNote(document)) = service.world.call(request).await else { return };
    let activity = service.activities.borrow().get(&document.activity).cloned();
    let note = Rc::new(Note { document: *document, came });
    if let Some(activity) = activity {
        activity.notes.borrow_mut().push(Rc::clone(&note));
    }
    service.bus.push(Event::NewNote(note));
}

/// Takes down invoices as they come.
pub(super) async fn collect_invoices(service: Rc<Service>) {
    let mut after = service.world.now();
    loop {
        let (session, timeout) = (service.session.clone(), EVENTS_TIMEOUT);
        let request = Request::CollectInvoiceEvents { session, after, timeout };
        let Ok(Response::InvoiceEvents(events)) = service.world.call(request).await else {
            return;
        };
        for event in events {
            after = after.max(event.at);
            if event.kind == BillEventKind::Received {
                take_invoice(&service, event.id).await;
            }
        }
    }
}

async fn take_invoice(service: &Service, invoice: InvoiceId) {
    let came = service.world.now();
    let request = Request::GetInvoice { invoice };
    let Ok(Response::Invoice(document)) = service.world.call(request).await else { return };
    service.bus.push(Event::NewInvoice(document, came));
}
