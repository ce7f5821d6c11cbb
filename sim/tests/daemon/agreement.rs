//! Agreements, from a draft to their end.

use golem_sim::yagna::{ChainEnd, Reply};
use ray_on_golem::{
    units::{Span, Timestamp},
    yagna::{
        Agreement, AgreementEvent, AgreementEventKind, AgreementId, AgreementState, DemandEvent,
        ProposalId, ProposalState, Request, Response, SessionId,
    },
};

use crate::lab::{Daemon, START, TIMEOUT, provider, refused, session};

#[test]
fn an_agreement_is_made_sent_and_approved() {
    let mut daemon = Daemon::beside("approves_ms: 300");
    let (_, draft) = daemon.draft();
    let agreement = daemon.create(&draft);
    assert_eq!(agreement.as_str().len(), 64);
    assert_eq!(get(&mut daemon, &agreement).state, AgreementState::Proposal);

    assert_eq!(daemon.confirm(&agreement), Ok(Response::AgreementConfirmed));
    assert_eq!(get(&mut daemon, &agreement).state, AgreementState::Pending);
    assert_eq!(daemon.await_approval(&agreement, 30), Ok(Response::AgreementApproved));

    let signed = get(&mut daemon, &agreement);
    assert_eq!(signed.state, AgreementState::Approved);
    assert_eq!(signed.approved, Some(daemon.now));
    assert_eq!(signed.session, Some(session()));
    assert_eq!(signed.demand.properties.text("golem.node.debug.subnet"), Some("public"));
    let interval = "golem.com.scheme.payu.debit-note.interval-sec?";
    assert_eq!(signed.offer.properties.number(interval), Some("180"));
    let kinds = [AgreementEventKind::Approved];
    assert_eq!(kinds_of(&events(&mut daemon, START, 0)), kinds);
}

#[test]
fn only_a_draft_becomes_an_agreement_and_only_once() {
    let mut daemon = Daemon::beside("");
    let demand = daemon.subscribe();
    let initial = daemon.proposals(&demand, 1).remove(0).id;
    let text = format!(
        "Can't create Agreement for Proposal [{initial}]. No negotiation with Provider took place. \
         (You should counter Proposal at least one time)"
    );
    assert_eq!(create(&mut daemon, &initial), refused(400, &text));
    let Ok(Response::Countered(ours)) = daemon.counter(&demand, &initial) else { panic!() };
    let text = format!(
        "Can't create Agreement for an own Proposal [{ours}]. You can promote only provider's \
         Proposals to Agreement."
    );
    assert_eq!(create(&mut daemon, &ours), refused(400, &text));
    let unknown = ProposalId::from(format!("R-{}", "0".repeat(64)));
    let text =
        format!("Can't create Agreement for Proposal [{unknown}]. Proposal [{unknown}] not found.");
    assert_eq!(create(&mut daemon, &unknown), refused(400, &text));
    let draft = daemon.proposals(&demand, 1).remove(0).id;

    assert!(create(&mut daemon, &draft).is_ok());

    assert_eq!(daemon.sim.chains()[0].end, ChainEnd::Agreed);
    let text = format!("Can't create second Agreement for Proposal [{draft}].");
    assert_eq!(create(&mut daemon, &draft), refused(409, &text));
}

#[test]
fn a_rejected_draft_becomes_none_but_one_of_a_withdrawn_demand_does() {
    let mut daemon = Daemon::beside("");
    let (demand, draft) = daemon.draft();
    assert!(daemon.ask(&Request::Unsubscribe { subscription: demand }).is_ok());
    assert!(create(&mut daemon, &draft).is_ok(), "the daemon does not mind");

    let (demand, draft) = daemon.draft();
    assert!(daemon.reject(&demand, &draft).is_ok());
    let text = format!("Can't create Agreement for rejected Proposal [{draft}].");
    assert_eq!(create(&mut daemon, &draft), refused(400, &text));

    let (_, draft) = daemon.draft();
    daemon.sim.restart(daemon.now);
    let text =
        format!("Can't create Agreement for Proposal [{draft}]. Proposal [{draft}] not found.");
    assert_eq!(create(&mut daemon, &draft), refused(400, &text));
}

#[test]
fn whoever_waits_too_early_or_too_long_is_told() {
    let mut daemon = Daemon::beside("approval: silent");
    let (_, draft) = daemon.draft();
    let agreement = daemon.create(&draft);
    let text =
        format!("Agreement [R-{agreement}] should be confirmed, before waiting for approval.");
    assert_eq!(daemon.await_approval(&agreement, 5), refused(400, &text));
    assert!(daemon.confirm(&agreement).is_ok());
    let before = daemon.now;

    let reply = daemon.await_approval(&agreement, 5);

    let text = format!("Timeout while waiting for Agreement [R-{agreement}] approval.");
    assert_eq!(reply, refused(408, &text));
    assert_eq!(daemon.now.since(before), Span::secs(5));
    let unknown = AgreementId::from("0".repeat(64));
    let text = format!("Agreement [R-{unknown}] not found.");
    assert_eq!(daemon.await_approval(&unknown, 5), refused(404, &text));
}

#[test]
fn an_agreement_that_expires_during_the_wait_times_out_and_is_expired_later() {
    let mut daemon = Daemon::beside("approval: late");
    let agreement = daemon.propose();

    let during = daemon.await_approval(&agreement, 70);

    assert!(matches!(during, Err(refusal) if refusal.status.0 == 408));
    assert_eq!(get(&mut daemon, &agreement).state, AgreementState::Expired);
    let text = format!("Agreement [R-{agreement}] expired.");
    assert_eq!(daemon.await_approval(&agreement, 5), refused(410, &text));
    let text = "Can't update Agreement state from Expired to Terminated.";
    assert_eq!(daemon.terminate(&agreement), refused(410, text));
    assert!(events(&mut daemon, START, 0).is_empty(), "nobody is told");
}

#[test]
fn a_provider_may_refuse() {
    let mut daemon = Daemon::beside("approval: {rejects: Node is busy.}");
    let agreement = daemon.propose();

    for _ in 0..2 {
        assert_eq!(daemon.await_approval(&agreement, 5), refused(410, "Rejected"));
    }
    let reason = Some("Node is busy.".to_owned());
    let kinds = kinds_of(&events(&mut daemon, START, 0));
    assert_eq!(kinds, [AgreementEventKind::Rejected { reason }]);
    let text = "Can't update Agreement state from Rejected to Terminated.";
    assert_eq!(daemon.terminate(&agreement), refused(410, text));
}

#[test]
fn an_agreement_is_taken_back_before_it_is_approved() {
    let mut daemon = Daemon::beside("approval: silent");
    let agreement = daemon.propose();
    let wait = Request::AwaitApproval { agreement: agreement.clone(), timeout: TIMEOUT };
    let waiting = daemon.send(&wait);
    let text = "Can't update Agreement state from Pending to Terminated.";
    assert_eq!(daemon.terminate(&agreement), refused(410, text));

    assert_eq!(cancel(&mut daemon, &agreement), Ok(Response::AgreementCancelled));

    assert_eq!(daemon.reply_to(waiting), refused(410, "Cancelled"));
    assert_eq!(daemon.await_approval(&agreement, 5), refused(410, "Cancelled"));
    let kinds = kinds_of(&events(&mut daemon, START, 0));
    assert_eq!(kinds, [AgreementEventKind::Cancelled { reason: None }]);
    let text = "Can't update Agreement state from Cancelled to Cancelled.";
    assert_eq!(cancel(&mut daemon, &agreement), refused(410, text));
}

#[test]
fn a_cancellation_waits_until_the_agreement_is_sent() {
    let mut daemon = Daemon::beside("approval: silent");
    let (_, draft) = daemon.draft();
    let agreement = daemon.create(&draft);
    let confirm = Request::ConfirmAgreement { agreement: agreement.clone(), session: session() };
    let confirming = daemon.send(&confirm);

    let cancelled = cancel(&mut daemon, &agreement);

    assert_eq!(cancelled, Ok(Response::AgreementCancelled));
    assert_eq!(daemon.reply_to(confirming), Ok(Response::AgreementConfirmed));
    assert_eq!(get(&mut daemon, &agreement).state, AgreementState::Cancelled);
}

#[test]
fn an_agreement_that_nobody_was_sent_cannot_be_taken_back_or_ended() {
    let mut daemon = Daemon::beside("");
    let (_, draft) = daemon.draft();
    let agreement = daemon.create(&draft);

    let cancelled = cancel(&mut daemon, &agreement);

    assert!(matches!(cancelled, Err(refusal) if refusal.status.0 == 500));
    let text = "Can't update Agreement state from Proposal to Terminated.";
    assert_eq!(daemon.terminate(&agreement), refused(409, text));
    let unknown = AgreementId::from("0".repeat(64));
    let text = format!("Agreement [{unknown}] not found.");
    assert_eq!(daemon.terminate(&unknown), refused(404, &text));
    let text = format!("Agreement [R-{unknown}] not found.");
    assert_eq!(daemon.confirm(&unknown), refused(404, &text));
    assert_eq!(cancel(&mut daemon, &unknown), refused(404, &text));
}

#[test]
fn an_agreement_is_ended_once_and_its_provider_offers_again() {
    let mut daemon = Daemon::beside("");
    let (demand, draft) = daemon.draft();
    let agreement = daemon.create(&draft);
    assert!(daemon.confirm(&agreement).is_ok());
    assert!(daemon.await_approval(&agreement, 10).is_ok());

    assert_eq!(daemon.terminate(&agreement), Ok(Response::AgreementTerminated));

    let text = "Can't update Agreement state from Terminated to Terminated.";
    assert_eq!(daemon.terminate(&agreement), refused(410, text));
    let text = format!("Agreement [R-{agreement}] terminated.");
    assert_eq!(daemon.await_approval(&agreement, 5), refused(400, &text));
    let again = daemon.collect(&demand, 0, 10);
    assert!(matches!(
        again.as_slice(),
        [DemandEvent::Proposal(proposal)] if proposal.state == ProposalState::Initial
    ));
    let terminated = AgreementEventKind::Terminated {
        by_requestor: true,
        reason: Some("No longer needed".to_owned()),
        code: None,
    };
    let kinds = kinds_of(&events(&mut daemon, START, 0));
    assert_eq!(kinds, [AgreementEventKind::Approved, terminated]);
}

#[test]
fn a_provider_that_sees_no_activity_ends_the_agreement() {
    let mut daemon = Daemon::beside("");
    let agreement = daemon.sign();
    let approved = daemon.now;
    daemon.wait(Span::secs(89));
    assert_eq!(get(&mut daemon, &agreement).state, AgreementState::Approved);

    let last = events(&mut daemon, approved, 10).pop().expect("an event");

    assert_eq!(last.at.since(approved), Span::secs(90));
    assert_eq!(code(&last), Some("NoActivity"));
    assert_eq!(get(&mut daemon, &agreement).state, AgreementState::Terminated);
}

#[test]
fn a_provider_whose_last_activity_is_over_waits_for_the_next_one() {
    let mut daemon = Daemon::beside("");
    let (agreement, activity) = daemon.start();
    assert!(daemon.destroy(&activity).is_ok());
    let ended = daemon.sim.activities()[0].ended.expect("it is over");
    daemon.wait(Span::secs(60));
    let next = daemon.create_activity(&agreement);
    daemon.wait(Span::secs(60));
    assert_eq!(daemon.sim.agreements()[0].ended, None, "{next} runs");

    assert!(daemon.destroy(&next).is_ok());
    daemon.wait(Span::secs(95));

    let again = daemon.sim.activities()[1].ended.expect("it is over");
    assert!(again > ended);
    assert_eq!(daemon.sim.agreements()[0].ended, Some(again.plus(Span::secs(90))));
}

#[test]
fn an_agreement_ends_with_the_expiration_that_was_asked_for() {
    let mut daemon = Daemon::beside("terminates_unaccepted: false");
    let expires = START.plus(Span::mins(30));
    daemon.expires = expires;
    daemon.start();

    daemon.wait(Span::mins(31));

    assert_eq!(daemon.sim.agreements()[0].ended, Some(expires));
    let last = events(&mut daemon, START, 0).pop().expect("an event");
    assert_eq!(code(&last), Some("Expired"));
}

#[test]
fn a_provider_may_end_an_agreement_at_once_or_later() {
    for (conduct, wanted) in
        [("approval: quits", "InitializationError"), ("terminates_after: 20", "Shutdown")]
    {
        let mut daemon = Daemon::beside(conduct);
        daemon.sign();
        let after = daemon.now;
        let last = events(&mut daemon, after, 30).pop().expect("an event");
        assert_eq!(code(&last), Some(wanted));
    }
}

#[test]
fn a_provider_sells_its_capacity_once() {
    let mut daemon =
        Daemon::of("daemon: {hop_ms: 20}\npopulations: [{count: 1, offers: 3, arrives: 0}]");
    let demand = daemon.subscribe();
    let offers = daemon.proposals(&demand, 3);
    for offer in &offers[..2] {
        assert!(daemon.counter(&demand, &offer.id).is_ok());
    }
    daemon.wait(Span::secs(2));
    let drafts = daemon.proposals(&demand, 2);
    let first = daemon.create(&drafts[0].id);
    let second = daemon.create(&drafts[1].id);
    assert!(daemon.confirm(&first).is_ok());
    assert!(daemon.confirm(&second).is_ok());

    assert_eq!(daemon.await_approval(&first, 10), Ok(Response::AgreementApproved));
    assert_eq!(daemon.await_approval(&second, 10), refused(410, "Rejected"));
    let reason = Some("No capacity available. Reached Agreements limit: 1".to_owned());
    let rejected = AgreementEventKind::Rejected { reason: reason.clone() };
    assert!(kinds_of(&events(&mut daemon, START, 0)).contains(&rejected));
    assert!(daemon.counter(&demand, &offers[2].id).is_ok());
    let answer = daemon.collect(&demand, 10, 1);
    assert!(matches!(
        answer.as_slice(),
        [DemandEvent::Rejected { reason: Some(given), .. }] if given.message == reason
    ));
}

#[test]
fn capacity_may_be_sold_elsewhere_in_the_meantime() {
    let mut daemon = Daemon::beside("oversells: 100");
    let agreement = daemon.propose();

    assert_eq!(daemon.await_approval(&agreement, 10), refused(410, "Rejected"));
}

#[test]
fn a_provider_that_is_gone_cannot_be_told_that_it_is_over() {
    let mut daemon = Daemon::beside("vanishes_after: 5");
    let agreement = daemon.sign();
    daemon.wait(Span::secs(5));

    let text = format!(
        "Protocol error while terminating: Terminate Agreement [R-{agreement}] GSB error: GSB \
         failure: Net: error forwarding message: Connection timed out.."
    );
    assert_eq!(daemon.terminate(&agreement), refused(500, &text));
    assert_eq!(get(&mut daemon, &agreement).state, AgreementState::Approved);
    assert!(daemon.sim.agreements()[0].is_provider_gone);
    daemon.wait(Span::mins(10));
    assert_eq!(get(&mut daemon, &agreement).state, AgreementState::Approved, "nobody ends it");
    let demand = daemon.subscribe();
    let offer = daemon.proposals(&demand, 1).remove(0).id;
    let Err(refusal) = daemon.counter(&demand, &offer) else { panic!("it answers") };
    assert_eq!(refusal.status.0, 500);
}

#[test]
fn agreements_and_their_events_are_listed_by_session() {
    let mut daemon = Daemon::beside("");
    let (demand, draft) = daemon.draft();
    daemon.create(&draft);
    let unsent = daemon.now;
    assert!(daemon.ask(&Request::Unsubscribe { subscription: demand }).is_ok());
    let agreement = daemon.sign();

    let list = |daemon: &mut Daemon, session: &str| {
        let session = SessionId::from(session);
        match daemon.ask(&Request::ListAgreements { session }) {
            Ok(Response::Agreements(list)) => list,
            other => panic!("{other:?}"),
        }
    };
    let ours = list(&mut daemon, "cluster");
    assert_eq!(ours.len(), 1, "what was not sent belongs to no session");
    assert!(ours[0].timestamp > unsent);
    assert_eq!((&ours[0].id, ours[0].is_requestor), (&agreement, true));
    assert!(ours[0].approved.is_some());
    assert!(list(&mut daemon, "another").is_empty());
    let session = SessionId::from("another");
    let request = Request::CollectAgreementEvents { session, after: START, timeout: Span::ZERO };
    assert_eq!(daemon.ask(&request), Ok(Response::AgreementEvents(Vec::new())));
}

#[test]
fn events_stay_and_a_cursor_leaves_out_what_was_seen() {
    let mut daemon = Daemon::beside("terminates_after: 20");
    daemon.sign();

    let first = events(&mut daemon, START, 0);
    assert_eq!(events(&mut daemon, START, 0), first);
    let waited = events(&mut daemon, first[0].at, 60);

    assert_eq!(waited.len(), 1);
    assert_eq!(waited[0].at, daemon.now, "the poll ends with the event");
    assert_eq!(events(&mut daemon, START, 0).len(), 2);
    assert!(events(&mut daemon, waited[0].at, 5).is_empty());
}

#[test]
fn a_restart_keeps_agreements_and_leaves_requests_unanswered() {
    let mut daemon = Daemon::beside("");
    let agreement = daemon.sign();
    let session = session();
    let (after, timeout) = (daemon.now, Span::secs(50));
    daemon.send(&Request::CollectAgreementEvents { session, after, timeout });
    let reason = "over".to_owned();
    daemon.send(&Request::TerminateAgreement { agreement: agreement.clone(), reason });

    daemon.sim.restart(daemon.now);
    daemon.wait(Span::secs(60));

    assert_eq!(daemon.sim.poll_reply(), None);
    let state = get(&mut daemon, &agreement).state;
    assert_eq!(state, AgreementState::Terminated, "the message was under way");
    assert_eq!(events(&mut daemon, START, 0).len(), 2);
}

#[test]
fn an_approval_that_comes_for_an_agreement_nobody_remembers_sending_counts_for_nothing() {
    let mut daemon = Daemon::beside("");
    let (_, draft) = daemon.draft();
    let agreement = daemon.create(&draft);
    let confirm = Request::ConfirmAgreement { agreement: agreement.clone(), session: session() };
    daemon.send(&confirm);

    daemon.sim.restart(daemon.now);
    daemon.wait(Span::secs(50));
    assert_eq!(get(&mut daemon, &agreement).state, AgreementState::Proposal);
    daemon.wait(Span::secs(20));

    assert_eq!(get(&mut daemon, &agreement).state, AgreementState::Expired);
}

#[test]
fn the_books_tell_prices_and_times() {
    let mut daemon = Daemon::of(&provider("approves_ms: 1000"));
    let agreement = daemon.sign();
    let approved = daemon.now;
    assert!(daemon.terminate(&agreement).is_ok());

    let book = &daemon.sim.agreements()[0];

    assert_eq!((&book.id, book.session.as_ref()), (&agreement, Some(&session())));
    assert_eq!((book.threads, book.start.to_string().as_str()), (4, "0.5"));
    assert_eq!(book.cpu_second.to_string(), "0.001");
    assert_eq!(book.env_second.to_string(), "0.001");
    assert_eq!(book.approved, Some(approved));
    assert!(book.confirmed < book.approved && book.approved < book.ended);
    assert!(!book.ended_by_provider);
}

fn create(daemon: &mut Daemon, proposal: &ProposalId) -> Reply {
    let valid_to = daemon.now.plus(Span::mins(1));
    daemon.ask(&Request::CreateAgreement { proposal: proposal.clone(), valid_to })
}

fn cancel(daemon: &mut Daemon, agreement: &AgreementId) -> Reply {
    daemon.ask(&Request::CancelAgreement { agreement: agreement.clone() })
}

fn get(daemon: &mut Daemon, agreement: &AgreementId) -> Agreement {
    match daemon.ask(&Request::GetAgreement { agreement: agreement.clone() }) {
        Ok(Response::Agreement(agreement)) => *agreement,
        other => panic!("{other:?}"),
    }
}

fn events(daemon: &mut Daemon, after: Timestamp, secs: u64) -> Vec<AgreementEvent> {
    let (session, timeout) = (session(), Span::secs(secs));
    match daemon.ask(&Request::CollectAgreementEvents { session, after, timeout }) {
        Ok(Response::AgreementEvents(events)) => events,
        other => panic!("{other:?}"),
    }
}

fn kinds_of(events: &[AgreementEvent]) -> Vec<AgreementEventKind> {
    events.iter().map(|event| event.kind.clone()).collect()
}

fn code(event: &AgreementEvent) -> Option<&str> {
    match &event.kind {
        AgreementEventKind::Terminated { code, .. } => code.as_deref(),
        AgreementEventKind::Approved
        | AgreementEventKind::Rejected { .. }
        | AgreementEventKind::Cancelled { .. }
        | AgreementEventKind::Other(_) => None,
    }
}
