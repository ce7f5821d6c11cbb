//! Acceptances, allocations, and payments.

use golem_sim::yagna::{Refusal, RequestNo};
use ray_on_golem::{
    units::{Glm, Span, Timestamp},
    yagna::{
        AllocationId, BillEventKind, BilledAmount, DebitNote, DebitNoteId, DocumentState, Invoice,
        InvoiceId, PlatformId, Request, Response, Status,
    },
};

use crate::lab::{Daemon, START, accept_note, billed, cycle, due, glm, provider, refused, reject};

#[test]
fn an_accepted_debit_note_is_taken_from_the_allocation_at_once() {
    let mut daemon = Daemon::beside("");
    let allocation = daemon.funds(10);
    let note = daemon.first_note();

    assert_eq!(daemon.accept_note(&note, &allocation), Ok(Response::DebitNoteAccepted));

    assert_eq!(daemon.note(&note.id).state, DocumentState::Accepted);
    assert_eq!(daemon.spent(&allocation), due(&note));
    let kinds = [BillEventKind::Received, BillEventKind::Accepted];
    assert_eq!(daemon.note_kinds(), kinds);
    let book = &daemon.sim.notes()[0];
    assert_eq!(book.taken, due(&note));
    assert_eq!(book.accepted.as_ref().map(|(_, from)| from), Some(&allocation));
}

#[test]
fn an_acceptance_must_name_the_amount_in_any_notation() {
    let mut daemon = Daemon::beside("terminates_unaccepted: false");
    let allocation = daemon.funds(10);
    let note = daemon.first_note();
    let with = |text: &str| {
        let total_due = BilledAmount::new(text);
        accept_note(&DebitNote { total_due, ..note.clone() }, &allocation)
    };
    let exact = note.total_due.as_str();

    for wrong in ["0", "1000", "nonsense"] {
        assert_eq!(daemon.ask(&with(wrong)), refused(400, "Invalid amount accepted"), "{wrong}");
    }
    let padded = with(&format!("{exact}000"));
    assert_eq!(daemon.ask(&padded), Ok(Response::DebitNoteAccepted));
    assert_eq!(daemon.ask(&with(exact)), Ok(Response::DebitNoteAccepted));
    assert_eq!(daemon.ask(&with("7")), refused(400, "Invalid amount accepted"));
}

#[test]
fn an_acceptance_again_does_nothing_whatever_the_allocation() {
    let mut daemon = Daemon::beside("");
    let allocation = daemon.funds(10);
    let note = daemon.first_note();
    assert!(daemon.accept_note(&note, &allocation).is_ok());

    let again = daemon.accept_note(&note, &AllocationId::from("nothing"));

    assert_eq!(again, Ok(Response::DebitNoteAccepted));
    assert_eq!(daemon.spent(&allocation), due(&note));
}

#[test]
fn unknown_documents_are_not_found() {
    let mut daemon = Daemon::beside("");
    let allocation = daemon.funds(10);
    let note = daemon.first_note();
    let unknown = DebitNote { id: DebitNoteId::from("0"), ..note };
    let nothing = Err(Refusal { status: Status(404), body: "{\"message\":null}".to_owned() });

    assert_eq!(daemon.accept_note(&unknown, &allocation), nothing);
    let get = Request::GetDebitNote { debit_note: unknown.id };
    assert_eq!(daemon.ask(&get), nothing);
    let invoice = InvoiceId::from("0");
    assert_eq!(daemon.ask(&Request::GetInvoice { invoice: invoice.clone() }), nothing);
    assert_eq!(reject(&mut daemon, &invoice), nothing);
}

#[test]
fn an_allocation_must_hold_enough_and_be_there() {
    let mut daemon = Daemon::of(&provider("terminates_unaccepted: false").replace("0.5", "3"));
    let (small, released) = (daemon.funds(1), daemon.funds(9));
    let note = daemon.first_note();
    assert!(daemon.ask(&Request::ReleaseAllocation { allocation: released.clone() }).is_ok());

    let text = format!("Not enough funds. Allocated: 1 Needed: {}", note.total_due.as_str());
    assert_eq!(daemon.accept_note(&note, &small), refused(400, &text));
    let text = format!("Allocation {released} not found");
    assert_eq!(daemon.accept_note(&note, &released), refused(400, &text));
    let Ok(Response::AllocationCreated(brief)) = daemon.allocate(9, 60) else { panic!() };
    daemon.wait(Span::secs(60));
    let text = format!("Allocation {} not found", brief.id);
    assert_eq!(daemon.accept_note(&note, &brief.id), refused(400, &text));
    assert_eq!(daemon.note(&note.id).state, DocumentState::Received);
    assert_eq!(daemon.spent(&small), Glm::ZERO);
}

#[test]
fn an_older_or_lower_debit_note_takes_nothing_more() {
    let mut daemon = Daemon::beside("terminates_unaccepted: false");
    let allocation = daemon.funds(10);
    daemon.start();
    daemon.wait(Span::secs(560));
    let notes = daemon.notes();
    assert_eq!(notes.len(), 3);

    assert!(daemon.accept_note(&notes[2], &allocation).is_ok());
    assert_eq!(daemon.note(&notes[0].id).state, DocumentState::Received, "each for itself");
    assert!(daemon.accept_note(&notes[0], &allocation).is_ok());
    assert!(daemon.accept_note(&notes[1], &allocation).is_ok());

    assert_eq!(daemon.spent(&allocation), due(&notes[2]));
    assert_eq!(daemon.note(&notes[0].id).state, DocumentState::Accepted);
}

#[test]
fn four_acceptances_at_once_charge_the_allocation_more_than_twice() {
    let mut daemon = Daemon::beside("terminates_unaccepted: false");
    let allocation = daemon.funds(100);
    daemon.start();
    daemon.wait(Span::secs(740));
    let notes = daemon.notes();
    let sent: Vec<RequestNo> =
        notes.iter().map(|note| daemon.send(&accept_note(note, &allocation))).collect();

    for request in sent {
        assert_eq!(daemon.reply_to(request), Ok(Response::DebitNoteAccepted));
    }

    let sum = notes.iter().fold(Glm::ZERO, |sum, note| sum.plus(due(note)));
    assert_eq!(daemon.spent(&allocation), sum);
    assert!(sum > due(&notes[3]).times(2));
    daemon.wait(Span::mins(12));
    let paid = daemon.sim.payments().iter().fold(Glm::ZERO, |sum, it| sum.plus(it.amount));
    assert_eq!(paid, due(&notes[3]), "the excess is never paid");
}

#[test]
fn an_allocation_on_another_platform_is_charged_but_never_pays() {
    let mut daemon = Daemon::beside("");
    let create = Request::CreateAllocation {
        platform: PlatformId::from("erc20-polygon-glm"),
        total: Glm::from_whole(10),
        timeout: daemon.now.plus(Span::days(2)),
    };
    let Ok(Response::AllocationCreated(allocation)) = daemon.ask(&create) else { panic!() };
    let note = daemon.first_note();

    assert!(daemon.accept_note(&note, &allocation.id).is_ok());
    daemon.wait(Span::hours(1));

    assert_eq!(daemon.spent(&allocation.id), due(&note));
    assert_eq!(daemon.note(&note.id).state, DocumentState::Accepted);
    assert!(daemon.sim.payments().is_empty());
}

#[test]
fn a_slow_provider_gives_504_but_the_document_is_accepted() {
    let mut daemon = Daemon::beside("acknowledges_ms: 30000");
    let allocation = daemon.funds(10);
    let note = daemon.first_note();
    let before = daemon.now;

    let reply = daemon.accept_note(&note, &allocation);

    let text = "Timeout accepting Debit Note on remote Node.";
    assert_eq!(reply, refused(504, text));
    assert_eq!(daemon.now.since(before), Span::secs(20));
    assert_eq!(daemon.note(&note.id).state, DocumentState::Accepted);
    assert_eq!(daemon.accept_note(&note, &allocation), Ok(Response::DebitNoteAccepted));
    assert_eq!(daemon.spent(&allocation), due(&note));
}

#[test]
fn the_acceptance_for_a_provider_that_is_gone_takes_a_moment() {
    let mut daemon = Daemon::beside("vanishes_after: 200");
    let allocation = daemon.funds(10);
    let note = daemon.first_note();
    daemon.wait(Span::secs(60));
    let before = daemon.now;

    assert_eq!(daemon.accept_note(&note, &allocation), Ok(Response::DebitNoteAccepted));

    assert_eq!(daemon.now.since(before), Span::millis(100));
    daemon.wait(Span::mins(20));
    assert_eq!(daemon.notes().len(), 1, "it bills nothing more");
}

#[test]
fn an_invoice_takes_what_its_debit_notes_have_left() {
    let mut daemon = Daemon::beside("");
    let allocation = daemon.funds(10);
    let (note, invoice) = daemon.note_and_invoice();
    assert!(daemon.accept_note(&note, &allocation).is_ok());
    assert!(due(&note) < billed(&invoice));

    assert_eq!(daemon.accept_invoice(&invoice, &allocation), Ok(Response::InvoiceAccepted));

    assert_eq!(daemon.spent(&allocation), billed(&invoice));
    assert_eq!(daemon.sim.invoices()[0].taken, billed(&invoice).minus(due(&note)));
    let other = Invoice { amount: BilledAmount::new("7"), ..invoice.clone() };
    assert_eq!(daemon.accept_invoice(&other, &allocation), refused(400, "Invalid amount accepted"));
    assert_eq!(daemon.accept_invoice(&invoice, &allocation), Ok(Response::InvoiceAccepted));
}

#[test]
fn a_debit_note_after_the_accepted_invoice_stays_received() {
    let mut daemon = Daemon::beside("");
    let allocation = daemon.funds(10);
    let (note, invoice) = daemon.note_and_invoice();
    assert!(daemon.accept_invoice(&invoice, &allocation).is_ok());

    assert_eq!(daemon.accept_note(&note, &allocation), Ok(Response::DebitNoteAccepted));

    assert_eq!(daemon.note(&note.id).state, DocumentState::Received);
    assert_eq!(daemon.spent(&allocation), billed(&invoice));
}

#[test]
fn an_invoice_can_be_rejected_and_accepted_all_the_same() {
    let mut daemon = Daemon::beside("");
    let allocation = daemon.funds(10);
    let (_, invoice) = daemon.note_and_invoice();

    for _ in 0..2 {
        assert_eq!(reject(&mut daemon, &invoice.id), Ok(Response::InvoiceRejected));
    }
    assert_eq!(daemon.invoice(&invoice.id).state, DocumentState::Rejected);
    assert_eq!(daemon.accept_invoice(&invoice, &allocation), Ok(Response::InvoiceAccepted));

    assert_eq!(daemon.invoice(&invoice.id).state, DocumentState::Accepted);
    assert_eq!(reject(&mut daemon, &invoice.id), refused(400, "Invoice accepted"));
    let kinds = [BillEventKind::Received, BillEventKind::Rejected, BillEventKind::Accepted];
    let seen = daemon.invoice_events(START, 0).into_iter().map(|(_, kind)| kind);
    assert_eq!(seen.collect::<Vec<_>>(), kinds);
}

#[test]
fn a_document_of_nothing_is_settled_by_its_acceptance() {
    let free = provider("amounts: {times: 0}").replace("start: 0.5", "start: 0");
    let mut daemon = Daemon::of(&free);
    let allocation = daemon.funds(10);
    let note = daemon.first_note();

    assert!(daemon.accept_note(&note, &allocation).is_ok());

    assert_eq!(daemon.note(&note.id).state, DocumentState::Settled);
    assert_eq!(daemon.spent(&allocation), Glm::ZERO);
    let kinds = [BillEventKind::Received, BillEventKind::Accepted, BillEventKind::Settled];
    assert_eq!(daemon.note_kinds(), kinds);
}

#[test]
fn what_was_accepted_is_paid_at_the_cycle_and_settled_after_it() {
    let mut daemon = Daemon::beside("");
    let allocation = daemon.funds(10);
    let note = daemon.first_note();
    assert!(daemon.accept_note(&note, &allocation).is_ok());
    let Some(next) = cycle(&mut daemon).next else { panic!("no cycle") };
    daemon.wait(next.since(daemon.now).minus(Span::TICK));
    assert!(daemon.sim.payments().is_empty());

    daemon.wait(Span::secs(95));

    let payment = &daemon.sim.payments()[0];
    assert!(payment.at.since(next) <= Span::secs(60));
    assert_eq!((&payment.payee, payment.amount), (&note.issuer, due(&note)));
    assert_eq!(daemon.sim.wallet(), Glm::from_whole(1_000).minus(due(&note)));
    assert_eq!(daemon.note(&note.id).state, DocumentState::Settled);
    assert!(daemon.note_kinds().contains(&BillEventKind::Settled));
}

#[test]
fn a_restart_loses_no_payment() {
    let mut daemon = Daemon::beside("");
    let allocation = daemon.funds(10);
    let note = daemon.first_note();
    daemon.send(&accept_note(&note, &allocation));

    daemon.sim.restart(daemon.now);
    daemon.wait(Span::mins(7));

    assert_eq!(daemon.sim.poll_reply(), None);
    assert_eq!(daemon.note(&note.id).state, DocumentState::Settled);
    assert_eq!(daemon.sim.payments().len(), 1);
}

#[test]
fn older_debit_notes_are_settled_with_the_newest_accepted_or_not() {
    let mut daemon = Daemon::beside("terminates_unaccepted: false");
    let allocation = daemon.funds(10);
    daemon.start();
    daemon.wait(Span::secs(380));
    let notes = daemon.notes();
    assert!(daemon.accept_note(&notes[1], &allocation).is_ok());
    daemon.wait(Span::mins(7));

    assert_eq!(daemon.note(&notes[0].id).state, DocumentState::Settled);
    assert_eq!(daemon.note(&notes[1].id).state, DocumentState::Settled);
}

#[test]
fn a_wallet_that_is_too_small_pays_later() {
    let poor = provider("").replace("daemon: {", "daemon: {wallet: 1, ");
    let mut daemon = Daemon::of(&poor.replace("start: 0.5", "start: 0.9"));
    let allocation = daemon.funds(1);
    let note = daemon.first_note();
    let reply = daemon.accept_note(&note, &allocation);
    let text = format!("Not enough funds. Allocated: 1 Needed: {}", note.total_due.as_str());
    assert_eq!(reply, refused(400, &text));
    assert!(daemon.sim.payments().is_empty());
    assert_eq!(daemon.sim.wallet(), Glm::from_whole(1));
}

#[test]
fn the_cycle_is_five_minutes_on_testnets_and_a_day_elsewhere() {
    let mut daemon = Daemon::of("");
    let of = |daemon: &mut Daemon, platform: &str| {
        let platform = PlatformId::from(platform);
        match daemon.ask(&Request::GetBatchCycle { platform }) {
            Ok(Response::BatchCycle(cycle)) => (cycle.interval, cycle.extra_time),
            other => panic!("{other:?}"),
        }
    };

    let testnet = (Some(Span::mins(5)), Span::mins(4));
    let mainnet = (Some(Span::hours(24)), Span::hours(1));
    assert_eq!(of(&mut daemon, "erc20-hoodi-tglm"), testnet);
    assert_eq!(of(&mut daemon, "erc20-polygon-glm"), mainnet);
}

#[test]
fn the_cycle_can_be_changed_but_a_refusal_comes_with_200() {
    let mut daemon = Daemon::beside("");
    let allocation = daemon.funds(10);
    let note = daemon.first_note();
    assert!(daemon.accept_note(&note, &allocation).is_ok());
    let set = |interval: u64| Request::SetBatchCycle {
        platform: PlatformId::from("erc20-hoodi-tglm"),
        interval: Span::secs(interval),
        extra_time: Span::secs(60),
    };

    assert_eq!(daemon.ask(&set(10)), Ok(Response::BatchCycleSet));
    let present = cycle(&mut daemon);
    assert_eq!((present.interval, present.extra_time), (Some(Span::secs(10)), Span::secs(60)));
    assert_eq!(present.next.map(|next| next.since(daemon.now)), Some(Span::secs(10)));
    let Err(refusal) = daemon.ask(&set(4)) else { panic!("taken") };
    assert_eq!(refusal.status, Status(200));
    assert!(refusal.body.starts_with("{\"Err\":{\"ProcessBatchCycleError\""), "{}", refusal.body);
    daemon.wait(Span::secs(101));
    assert_eq!(daemon.note(&note.id).state, DocumentState::Settled);
}

#[test]
fn a_second_invoice_is_accepted_and_never_settled() {
    let mut daemon = Daemon::beside("invoices: twice");
    let allocation = daemon.funds(10);
    let (agreement, _) = daemon.start();
    assert!(daemon.terminate(&agreement).is_ok());
    daemon.wait(Span::secs(10));
    let invoices = daemon.invoices();

    for invoice in &invoices {
        assert!(daemon.accept_invoice(invoice, &allocation).is_ok());
    }
    daemon.wait(Span::mins(20));

    assert_eq!(daemon.spent(&allocation), billed(&invoices[0]));
    let states: Vec<DocumentState> = daemon.invoices().iter().map(|it| it.state).collect();
    assert_eq!(states, [DocumentState::Settled, DocumentState::Accepted]);
    assert_eq!(daemon.sim.payments().len(), 1);
}

#[test]
fn an_allocation_is_amended_within_its_bounds() {
    let mut daemon = Daemon::of(&provider("").replace("daemon: {", "daemon: {wallet: 12, "));
    let allocation = daemon.funds(10);
    let note = daemon.first_note();
    assert!(daemon.accept_note(&note, &allocation).is_ok());
    let later = daemon.now.plus(Span::days(8));
    let amend = |daemon: &mut Daemon, total: Glm, timeout: Timestamp| {
        let allocation = allocation.clone();
        daemon.ask(&Request::AmendAllocation { allocation, total, timeout })
    };

    let spent = due(&note);
    let below = "New allocation would be smaller than the already spent amount";
    assert_eq!(amend(&mut daemon, spent.minus(glm("0.1")), later), refused(400, below));
    let now = daemon.now;
    let past = "New allocation timeout is in the past";
    assert_eq!(amend(&mut daemon, Glm::from_whole(5), now), refused(400, past));
    let Err(dear) = amend(&mut daemon, Glm::from_whole(30), later) else { panic!("taken") };
    assert!(dear.body.contains("insufficient-account-funds"), "{}", dear.body);
    let Ok(Response::AllocationAmended(all)) = amend(&mut daemon, spent, later) else { panic!() };
    assert_eq!((all.total, all.remaining, all.timeout), (spent, Glm::ZERO, Some(later)));
    let Ok(Response::AllocationAmended(more)) = amend(&mut daemon, Glm::from_whole(7), later)
    else {
        panic!("refused")
    };
    assert_eq!((more.spent, more.remaining), (spent, Glm::from_whole(7).minus(spent)));
    let release = Request::ReleaseAllocation { allocation: allocation.clone() };
    assert_eq!(daemon.ask(&release), Ok(Response::AllocationReleased));
    let nothing = Refusal { status: Status(404), body: "{\"message\":null}".to_owned() };
    assert_eq!(amend(&mut daemon, Glm::from_whole(7), later), Err(nothing));
}

#[test]
fn a_debit_note_of_less_than_nothing_is_accepted_and_takes_nothing() {
    let mut daemon = Daemon::beside("amounts: negative");
    let allocation = daemon.funds(10);
    let note = daemon.first_note();
    assert!(note.total_due.as_str().starts_with('-'), "{}", note.total_due.as_str());

    assert_eq!(daemon.accept_note(&note, &allocation), Ok(Response::DebitNoteAccepted));

    assert_eq!(daemon.note(&note.id).state, DocumentState::Accepted);
    assert_eq!(daemon.spent(&allocation), Glm::ZERO);
}

#[test]
fn a_bill_can_be_due_before_it_is_written() {
    let mut daemon = Daemon::beside("past_due: true, terminates_unaccepted: false");

    let note = daemon.first_note();

    assert!(note.payment_due.is_some_and(|due| due < note.timestamp));
}

#[test]
fn an_allocation_without_an_end_lasts_some_ten_years() {
    let mut daemon = Daemon::beside("");
    let create = Request::CreateAllocation {
        platform: PlatformId::from("erc20-hoodi-tglm"),
        total: Glm::from_whole(1),
        timeout: Timestamp::NEVER,
    };

    let Ok(Response::AllocationCreated(allocation)) = daemon.ask(&create) else { panic!() };

    assert_eq!(allocation.timeout, Some(daemon.now.plus(Span::days(3_650))));
}
