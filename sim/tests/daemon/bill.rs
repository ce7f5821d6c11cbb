//! How providers write bills, and what they do if nobody accepts or pays them.

use ray_on_golem::{
    units::{Glm, Span},
    yagna::{DocumentState, PlatformId, Request, Response, SessionId},
};

use crate::lab::{Daemon, START, billed, due, glm, session};

#[test]
fn debit_notes_come_at_the_agreed_interval_from_the_approval_on() {
    let mut daemon = Daemon::beside("terminates_unaccepted: false");
    let agreement = daemon.sign();
    let approved = daemon.now;
    daemon.create_activity(&agreement);
    daemon.wait(Span::secs(600));

    let notes = daemon.notes();

    let written: Vec<u64> = notes.iter().map(|note| note.timestamp.as_unix_millis()).collect();
    let planned = [180, 360, 540].map(|secs| approved.plus(Span::secs(secs)).as_unix_millis());
    assert_eq!(written, planned);
    let book = &daemon.sim.activities()[0];
    let honest: Vec<Glm> =
        (1..=3).map(|nth| book.cost(approved.plus(Span::secs(180 * nth)))).collect();
    let billed: Vec<Glm> = notes.iter().map(|note| note.total_due.glm().expect("GLM")).collect();
    assert_eq!(billed, honest);
    assert!(notes.iter().all(|note| note.state == DocumentState::Received));
    assert!(notes.iter().all(|note| note.payee == note.issuer.as_str()));
    assert!(notes.iter().all(|note| note.payment_due.is_none()), "12 hours have not passed");
    assert_eq!(notes[0].id.as_str().len(), 36);
}

#[test]
fn the_last_debit_note_is_payable_and_the_invoice_follows() {
    let mut daemon = Daemon::beside("invoice_after: 2");
    let (agreement, activity) = daemon.start();
    daemon.wait(Span::secs(60));
    assert!(daemon.destroy(&activity).is_ok());
    daemon.wait(Span::secs(5));
    let last = daemon.notes().pop().expect("a debit note");
    assert!(last.payment_due.is_some());

    assert!(daemon.terminate(&agreement).is_ok());
    let over = daemon.now;
    let (id, _) = daemon.invoice_events(START, 10).pop().expect("an event");

    let invoice = daemon.invoice(&id);
    assert_eq!(invoice.amount, last.total_due);
    assert_eq!(invoice.activities, [activity]);
    assert_eq!(invoice.agreement, agreement);
    assert_eq!(invoice.state, DocumentState::Received);
    assert_eq!(daemon.sim.invoices()[0].received.since(over).as_secs(), 2);
}

#[test]
fn a_debit_note_that_is_not_accepted_in_time_ends_the_agreement() {
    let mut daemon = Daemon::beside("");
    let allocation = daemon.funds(10);
    let note = daemon.first_note();
    let received = daemon.sim.notes()[0].received;
    daemon.wait(Span::secs(180));
    let second = daemon.notes().pop().expect("another");
    assert!(daemon.accept_note(&second, &allocation).is_ok());
    daemon.wait(Span::mins(2));

    let book = &daemon.sim.agreements()[0];
    assert!(book.ended_by_provider, "{} was not accepted", note.id);
    assert_eq!(book.ended, Some(received.plus(Span::secs(240))));
}

#[test]
fn debit_notes_that_are_accepted_keep_the_agreement() {
    let mut daemon = Daemon::beside("");
    let allocation = daemon.funds(100);
    let (_, mut after) = (daemon.start(), START);
    for _ in 0..12 {
        let (id, at) = daemon.next_note(after);
        let note = daemon.note(&id);
        assert!(daemon.accept_note(&note, &allocation).is_ok());
        after = at;
    }

    assert_eq!(daemon.sim.agreements()[0].ended, None);
    assert!(daemon.sim.wallet() < Glm::from_whole(1_000));
}

#[test]
fn a_payable_debit_note_that_is_not_paid_in_time_ends_the_agreement() {
    let mut daemon = Daemon::beside("");
    let allocation = daemon.funds(10);
    daemon.payment_timeout = Some(60);
    let note = daemon.first_note();
    let due = note.payment_due.expect("payable");
    assert_eq!(due.since(note.timestamp).as_secs(), 60);
    assert!(daemon.accept_note(&note, &allocation).is_ok());

    daemon.wait(Span::mins(2));

    let book = &daemon.sim.agreements()[0];
    assert!(book.ended_by_provider, "the cycle is five minutes long");
    assert_eq!(book.ended, Some(due));
}

#[test]
fn bill_events_come_by_session_and_within_a_second() {
    let mut daemon = Daemon::beside("terminates_unaccepted: false");
    daemon.start();
    let (first, at) = daemon.next_note(START);
    let received = daemon.sim.notes()[0].received;

    assert_eq!((&daemon.notes()[0].id, at), (&first, received));
    assert!(daemon.now.since(received) <= Span::secs(1));
    let after = START;
    let other = Request::CollectDebitNoteEvents {
        session: SessionId::from("another"),
        after,
        timeout: Span::secs(5),
    };
    assert_eq!(daemon.ask(&other), Ok(Response::DebitNoteEvents(Vec::new())));
    let poll =
        Request::CollectDebitNoteEvents { session: session(), after: at, timeout: Span::secs(50) };
    let abandoned = daemon.send(&poll);
    daemon.sim.cancel(abandoned);
    daemon.wait(Span::mins(5));
    assert_eq!(daemon.sim.poll_reply(), None);
}

#[test]
fn dishonest_bills_reach_us_as_they_are() {
    let bill = |conduct: &str| {
        let mut daemon = Daemon::beside(&format!("terminates_unaccepted: false, {conduct}"));
        let (agreement, _) = daemon.start();
        daemon.wait(Span::secs(380));
        assert!(daemon.terminate(&agreement).is_ok());
        daemon.wait(Span::mins(1));
        (daemon.notes(), daemon.invoices(), daemon.sim.activities()[0].cost(daemon.now))
    };

    let (notes, invoices, cost) = bill("amounts: {times: 2}");
    assert_eq!(billed(&invoices[0]), cost.times(2));
    assert!(notes.windows(2).all(|pair| due(&pair[0]) < due(&pair[1])));
    let (notes, invoices, cost) = bill("amounts: {adds: 0.25}");
    assert_eq!(billed(&invoices[0]), cost.plus(glm("0.25")));
    assert_eq!(due(notes.last().expect("some")), cost.plus(glm("0.25")));
    let (notes, invoices, _) = bill("amounts: falling");
    assert!(notes.windows(2).all(|pair| due(&pair[0]) > due(&pair[1])));
    assert!(billed(&invoices[0]) >= due(&notes[0]), "its own daemon sees to that");
    let (notes, ..) = bill("notes: twice");
    assert_eq!((notes.len(), &notes[0].total_due), (6, &notes[1].total_due));
    assert_ne!(notes[0].id, notes[1].id);
    assert!(bill("notes: flood").0.len() > 300);
    assert!(bill("notes: never").0.is_empty());
    assert!(bill("invoices: never").1.is_empty());
    assert_eq!(bill("invoices: twice").1.len(), 2);
    assert_ne!(bill("payee: stranger").0[0].payee, notes[0].payee);
    let (notes, invoices, _) = bill("payee: other-platform");
    assert_eq!(notes[0].platform, PlatformId::from("erc20-polygon-glm"));
    assert_eq!(invoices[0].platform, PlatformId::from("erc20-polygon-glm"));
}

#[test]
fn an_agreement_without_activities_is_billed_for_nothing() {
    let mut daemon = Daemon::beside("");
    let agreement = daemon.sign();
    assert!(daemon.terminate(&agreement).is_ok());
    daemon.wait(Span::secs(10));

    let invoice = daemon.invoices().remove(0);

    assert_eq!((invoice.amount.as_str(), invoice.activities.len()), ("0", 0));
}

#[test]
fn an_invoice_may_come_early_or_late() {
    let mut daemon = Daemon::beside("invoices: early");
    daemon.first_note();
    daemon.wait(Span::secs(1));
    assert_eq!(daemon.invoices().len(), 1);

    let mut daemon = Daemon::beside("invoice_after: 3600");
    let (agreement, _) = daemon.start();
    assert!(daemon.terminate(&agreement).is_ok());
    daemon.wait(Span::secs(3_590));
    assert!(daemon.invoices().is_empty());
    daemon.wait(Span::secs(15));
    assert_eq!(daemon.invoices().len(), 1);
}

#[test]
fn a_zombie_goes_on_charging_for_what_costs_nothing_more() {
    let mut daemon = Daemon::beside("zombie: true, terminates_unaccepted: false");
    let (_, activity) = daemon.start();
    assert!(daemon.destroy(&activity).is_ok());
    daemon.wait(Span::mins(60));

    let notes = daemon.notes();

    assert_eq!(notes.len(), 10);
    let cost = daemon.sim.activities()[0].cost(daemon.now);
    assert!(due(&notes[9]) > cost.times(2));
}
