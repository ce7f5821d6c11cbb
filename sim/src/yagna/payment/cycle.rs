//! Payments: what was accepted is ordered at the platform's cycle, sent some time later, and
//! confirmed after that.

use std::collections::BTreeMap;

use ray_on_golem::{
    units::{Glm, Span, Timestamp},
    yagna::{BatchCycle, BillEventKind, DocumentState, PlatformId, Response, Status},
};

use super::Due;
use crate::{
    scenario::Daemon,
    yagna::{
        Refusal, Reply, SimYagna,
        books::{OrderBook, OrderItem, PaymentBook},
    },
};

const TESTNET_INTERVAL: Span = Span::mins(5);
const TESTNET_EXTRA: Span = Span::mins(4);
const MAINNET_INTERVAL: Span = Span::hours(24);
const MAINNET_EXTRA: Span = Span::hours(1);
const INTERVAL_MIN: Span = Span::secs(5);

/// When each platform is paid on.
#[derive(Debug)]
pub(in crate::yagna) struct Cycles {
    /// The driver sends out what was ordered this often.
    sends_every: Span,
    /// A transaction is confirmed after this time.
    confirms_after: Span,
    by_platform: BTreeMap<PlatformId, Cycle>,
    orders: u64,
    /// What was ordered together, as far as something was.
    pub(in crate::yagna) books: Vec<OrderBook>,
}

#[derive(Clone, Copy, Debug)]
struct Cycle {
    interval: Span,
    extra: Span,
    last: Option<Timestamp>,
    next: Timestamp,
    /// Whether something waits for it.
    is_wanted: bool,
}

/// A payment for one agreement.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    agreement: usize,
    platform: PlatformId,
    amount: Glm,
    /// The activities that it is for, and how much of each is then paid in all.
    activities: Vec<(usize, Glm)>,
    /// Its place in the books.
    place: (usize, usize),
}

impl SimYagna {
    pub(in crate::yagna) fn get_batch_cycle(
        &mut self,
        now: Timestamp,
        platform: &PlatformId,
    ) -> Reply {
        let cycle = *self.payment.cycles.of(now, platform);
        Ok(Response::BatchCycle(BatchCycle {
            platform: platform.clone(),
            interval: Some(cycle.interval),
            extra_time: cycle.extra,
            next: Some(cycle.next),
        }))
    }

    /// The daemon answers 200 even if it refuses.
    pub(in crate::yagna) fn set_batch_cycle(
        &mut self,
        now: Timestamp,
        platform: &PlatformId,
        interval: Span,
        extra: Span,
    ) -> Reply {
        if interval < INTERVAL_MIN || extra < INTERVAL_MIN {
            let what = if interval < INTERVAL_MIN { "Interval" } else { "Extra time" };
            let text = format!(
                "create or update error: Query error: Error creating batch cycle based on interval \
                 {what} must be greater than 5 seconds (at least 5 minutes suggested)"
            );
            let body = serde_json::json!({ "Err": { "ProcessBatchCycleError": text } }).to_string();
            return Err(Refusal { status: Status(200), body });
        }
        let cycle = self.payment.cycles.of(now, platform);
        cycle.interval = interval;
        cycle.extra = extra;
        cycle.next = cycle.last.map_or(now, |last| last).plus(interval).max(now);
        if cycle.is_wanted {
            let due = Due::Cycle { platform: platform.clone(), planned: cycle.next };
            self.agenda.add(cycle.next, due);
        }
        Ok(Response::BatchCycleSet)
    }

    /// Orders everything that waits on a platform to be paid now.
    pub fn pay_now(&mut self, now: Timestamp, platform: &PlatformId) {
        let cycle = self.payment.cycles.of(now, platform);
        cycle.next = now;
        cycle.is_wanted = true;
        self.on_cycle(now, platform, now);
    }

    /// Adds to what is accepted for an agreement; what is payable waits for the next cycle.
    pub(super) fn owe(&mut self, now: Timestamp, agreement: usize, more: Glm, is_payable: bool) {
        let account = self.payment.bills.by_agreement.entry(agreement).or_default();
        account.accepted = account.accepted.plus(more);
        if is_payable && more > Glm::ZERO {
            account.payable = account.payable.plus(more);
            let platform = self.agreements.signings[agreement].deal.platform.clone();
            self.want_cycle(now, platform);
        }
    }

    pub(super) fn on_cycle(&mut self, now: Timestamp, platform: &PlatformId, planned: Timestamp) {
        let cycle = self.payment.cycles.of(now, platform);
        if cycle.next != planned {
            return;
        }
        cycle.last = Some(now);
        cycle.next = now.plus(cycle.interval);
        cycle.is_wanted = false;
        let mut orders = Vec::new();
        for (agreement, account) in &mut self.payment.bills.by_agreement {
            let amount = account.payable.minus(account.ordered);
            if amount > Glm::ZERO && self.agreements.signings[*agreement].deal.platform == *platform
            {
                account.ordered = account.payable;
                orders.push((*agreement, amount));
            }
        }
        self.payment.cycles.orders += 1;
        let (every, nth) = (self.payment.cycles.sends_every, self.payment.cycles.orders);
        let sends = self.ids.0.below(every.as_micros(), "sends", nth, 0);
        let mut items = Vec::new();
        for (agreement, amount) in orders {
            let place = (self.payment.cycles.books.len(), items.len());
            let book = &self.agreements.books[agreement];
            items.push(OrderItem {
                payee: book.provider.clone(),
                agreement: book.id.clone(),
                amount,
                payment: None,
            });
            let activities = self
                .payment
                .bills
                .by_activity
                .iter()
                .filter(|(number, _)| self.activities.units[**number].agreement == agreement);
            let activities = activities.map(|(number, it)| (*number, it.payable)).collect();
            let platform = platform.clone();
            let order = Box::new(Order { agreement, platform, amount, activities, place });
            self.agenda.add(now.plus(Span::micros(sends)), Due::Pays(order));
        }
        if !items.is_empty() {
            let platform = platform.clone();
            self.payment.cycles.books.push(OrderBook { created: now, platform, items });
        }
    }

    /// A payment leaves the wallet; if that does not hold enough, the next cycle tries again.
    pub(super) fn on_paid(&mut self, now: Timestamp, order: Box<Order>) {
        if order.amount > self.payment.wallet {
            let account = self.payment.bills.by_agreement.entry(order.agreement).or_default();
            account.ordered = account.ordered.minus(order.amount);
            self.want_cycle(now, order.platform);
            return;
        }
        self.payment.wallet = self.payment.wallet.minus(order.amount);
        let (nth, item) = order.place;
        let payment = self.payment.bills.payments.len();
        self.payment.cycles.books[nth].items[item].payment = Some(payment);
        let book = &self.agreements.books[order.agreement];
        self.payment.bills.payments.push(PaymentBook {
            at: now,
            payee: book.provider.clone(),
            agreement: book.id.clone(),
            amount: order.amount,
        });
        self.agenda.add(now.plus(self.payment.cycles.confirms_after), Due::Settles(order));
    }

    /// Bills are settled up to what is paid, those that were never accepted too.
    pub(super) fn on_settled(&mut self, now: Timestamp, order: &Order) {
        let bills = &mut self.payment.bills;
        let account = bills.by_agreement.entry(order.agreement).or_default();
        account.paid = account.paid.plus(order.amount);
        let paid = account.paid;
        let mut notes = Vec::new();
        for (number, book) in bills.notes.iter_mut().enumerate() {
            let activity = bills.note_facts[number].activity;
            let covered = order.activities.iter().find(|(it, _)| *it == activity);
            let due = book.note.total_due.glm().unwrap_or(Glm::MAX);
            let is_open =
                matches!(book.note.state, DocumentState::Accepted | DocumentState::Received);
            if is_open && covered.is_some_and(|(_, covered)| due <= *covered) {
                book.note.state = DocumentState::Settled;
                notes.push(number);
            }
        }
        let is_of = |number: &usize| bills.invoice_agreements[*number] == order.agreement;
        let settled = (0..bills.invoices.len()).filter(is_of).find(|number| {
            let state = bills.invoices[*number].invoice.state;
            matches!(state, DocumentState::Accepted | DocumentState::Settled)
        });
        let invoice = settled.filter(|number| {
            let invoice = &bills.invoices[*number].invoice;
            invoice.state == DocumentState::Accepted
                && invoice.amount.glm().is_ok_and(|amount| amount <= paid)
        });
        if let Some(number) = invoice {
            bills.invoices[number].invoice.state = DocumentState::Settled;
            self.tell_of_invoice(now, number, BillEventKind::Settled);
        }
        for number in notes {
            self.tell_of_note(now, number, BillEventKind::Settled);
        }
    }

    fn want_cycle(&mut self, now: Timestamp, platform: PlatformId) {
        let cycle = self.payment.cycles.of(now, &platform);
        if !cycle.is_wanted {
            cycle.is_wanted = true;
            let planned = cycle.next;
            self.agenda.add(planned, Due::Cycle { platform, planned });
        }
    }
}

impl Cycles {
    pub(super) fn new(daemon: &Daemon) -> Self {
        Self {
            sends_every: Span::secs(daemon.sends_every),
            confirms_after: Span::secs(daemon.confirms_after),
            by_platform: BTreeMap::new(),
            orders: 0,
            books: Vec::new(),
        }
    }

    /// When a platform was last paid on.
    pub(in crate::yagna) fn last(&self, platform: &PlatformId) -> Option<Timestamp> {
        self.by_platform.get(platform)?.last
    }

    /// Every platform that has a cycle.
    pub(in crate::yagna) fn platforms(&self) -> Vec<PlatformId> {
        self.by_platform.keys().cloned().collect()
    }

    /// The cycle of a platform; one that nobody waited for has gone by.
    fn of(&mut self, now: Timestamp, platform: &PlatformId) -> &mut Cycle {
        if !self.by_platform.contains_key(platform) {
            let (interval, extra) = if platform.as_str().ends_with("-tglm") {
                (TESTNET_INTERVAL, TESTNET_EXTRA)
            } else {
                (MAINNET_INTERVAL, MAINNET_EXTRA)
            };
            let next = now.plus(interval);
            let cycle = Cycle { interval, extra, last: None, next, is_wanted: false };
            self.by_platform.insert(platform.clone(), cycle);
        }
        let cycle = self.by_platform.get_mut(platform).expect("a cycle that is missing is made");
        if !cycle.is_wanted && cycle.next < now {
            let passed = now.since(cycle.next).as_micros() / cycle.interval.as_micros() + 1;
            cycle.next = cycle.next.plus(cycle.interval.times(passed));
            cycle.last = Some(cycle.next.minus(cycle.interval));
        }
        cycle
    }
}
