//! A whole life of an agreement over HTTP, as our own machine leads it.

use std::sync::Arc;

use ray_on_golem::{
    units::{Glm, Span, Timestamp},
    yagna::{
        ActivityId, ActivityPhase, AgreementId, AllocationId, BillEventKind, CommandResult,
        DebitNote, DebitNoteId, ExeCommand, Invoice, Request, Response, SessionId,
    },
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::lab::{HONEST, KEY, Lab};

#[tokio::test(flavor = "multi_thread")]
async fn a_life_from_allocation_to_release() {
    let lab = Lab::start(HONEST).await;
    let session = SessionId::from("a-session");
    let allocation = lab.allocate().await.id;
    let agreement = lab.sign(&session).await;
    let activity = create(&lab, &agreement).await;

    let results = execute(&lab, &activity, script()).await;
    assert!(results.iter().all(|result| result.is_ok), "{results:?}");
    assert_eq!(results.last().and_then(|it| it.stdout.as_deref()), Some("hello world\n"));
    assert!(results.last().is_some_and(|result| result.is_batch_finished));
    assert_eq!(phase(&lab, &activity).await, ActivityPhase::Ready);

    let note = first_note(&lab, &session).await;
    accept_note(&lab, &note, &allocation).await;
    let timeout = Span::secs(10);
    let destroy = Request::DestroyActivity { activity: activity.clone(), timeout };
    assert_eq!(lab.call(destroy).await, Ok(Response::ActivityDestroyed));
    let reason = "Done".to_owned();
    let terminate = Request::TerminateAgreement { agreement: agreement.clone(), reason };
    assert_eq!(lab.call(terminate).await, Ok(Response::AgreementTerminated));
    let invoice = final_invoice(&lab, &session).await;
    assert_eq!(invoice.agreement, agreement);
    assert_eq!(invoice.activities, [activity]);
    let accept = Request::AcceptInvoice {
        invoice: invoice.id,
        amount: invoice.amount.clone(),
        allocation: allocation.clone(),
        timeout,
    };
    assert_eq!(lab.call(accept.clone()).await, Ok(Response::InvoiceAccepted));
    assert_eq!(lab.call(accept).await, Ok(Response::InvoiceAccepted), "again is harmless");
    let spent = lab.get(&format!("/payment-api/v1/allocations/{allocation}")).await;
    assert_eq!(spent["spentAmount"].as_str(), Some(invoice.amount.as_str()));
    let release = Request::ReleaseAllocation { allocation };
    assert_eq!(lab.call(release).await, Ok(Response::AllocationReleased));

    let ledger = lab.get("/sim/ledger").await;
    assert_eq!(ledger["agreements"]["last"][0]["state"], "Terminated");
    assert_eq!(ledger["invoices"]["last"][0]["state"], "Accepted");
    assert_eq!(ledger["allocations"]["last"][0]["isReleased"], true);
    lab.server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_come_as_events_too() {
    let lab = Lab::start(HONEST).await;
    let agreement = lab.sign(&SessionId::from("s")).await;
    let activity = create(&lab, &agreement).await;
    let (script, timeout) = (Arc::new(script()), Span::secs(10));
    let started = lab.call(Request::Execute { activity: activity.clone(), script, timeout }).await;
    let Ok(Response::BatchStarted(batch)) = started else { panic!("{started:?}") };

    let request = format!(
        "GET /activity-api/v1/activity/{activity}/exec/{batch} HTTP/1.1\r\nHost: x\r\nAccept: \
         text/event-stream\r\nAuthorization: Bearer {KEY}\r\n\r\n"
    );
    // The stream has no end; after the last event it only says that it is there.
    let answer = lab.raw_until(request.as_bytes(), ":ping\n").await;

    assert!(answer.contains("content-type: text/event-stream"), "{answer}");
    assert_eq!(answer.matches("event: runtime\ndata: {").count(), 8, "{answer}");
    for nth in 0..8 {
        assert!(answer.contains(&format!("}}\nid: {nth}\n\n")), "{answer}");
    }
    assert!(answer.contains(r#""kind":{"stdout":"hello world\n"}"#), "{answer}");
    let finished = r#""kind":{"finished":{"message":null,"return_code":0}}"#;
    assert_eq!(answer.matches(finished).count(), 3, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_watch_activities_begin() {
    let lab = Lab::start(HONEST).await;
    let agreement = lab.sign(&SessionId::from("s")).await;
    let mut stream = lab.connect().await;
    let request = format!(
        "GET /activity-api/v1/_monitor HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("the server reads");
    let (mut told, mut bytes) = (String::new(), [0; 4096]);
    for count in [1, 2] {
        while told.matches("\"activities\":[]").count() < count {
            let length = stream.read(&mut bytes).await.expect("the server writes");
            assert!(length > 0, "it ended: {told}");
            told.push_str(std::str::from_utf8(&bytes[..length]).expect("text"));
        }
        create(&lab, &agreement).await;
    }
    assert!(told.contains("content-type: text/event-stream"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_clients_are_told_what_their_readers_demand() {
    let lab = Lab::start(HONEST).await;
    let session = SessionId::from("s");
    let agreement = lab.sign(&session).await;
    let activity = create(&lab, &agreement).await;
    execute(&lab, &activity, script()).await;

    let document = lab.get(&format!("/market-api/v1/agreements/{agreement}")).await;
    let us = lab.get("/me").await["identity"].clone();
    assert_eq!(document["demand"]["requestorId"], us);
    assert!(document["demand"]["demandId"].as_str().is_some_and(|id| id.len() == 97));
    assert!(document["offer"]["offerId"].as_str().is_some_and(|id| id.len() == 97));
    assert!(document["validTo"].as_str().is_some_and(|at| at.starts_with("20")));
    let own = lab.get(&format!("/activity-api/v1/activity/{activity}/agreement")).await;
    assert_eq!(own.as_str(), Some(agreement.as_str()));
    let usage = lab.get(&format!("/activity-api/v1/activity/{activity}/usage")).await;
    assert_eq!(usage["currentUsage"].as_array().map(Vec::len), Some(2));
    let note = first_note(&lab, &session).await;
    let note = lab.get(&format!("/payment-api/v1/debitNotes/{}", note.id)).await;
    assert_eq!(note["recipientId"], us);
    assert_eq!(note["usageCounterVector"].as_array().map(Vec::len), Some(2));
    let all = lab.get("/payment-api/v1/debitNoteEvents?timeout=5").await;
    assert_eq!(all[0]["eventType"], "DebitNoteReceivedEvent", "no session stands for all");
    let none = lab.get("/payment-api/v1/debitNoteEvents?timeout=0&appSessionId=").await;
    assert_eq!(none.as_array().map(Vec::len), Some(0), "an empty one is nobody's");
    let listed = lab.get("/market-api/v1/agreements?state=Approved&appSessionId=s").await;
    assert_eq!(listed[0]["id"].as_str(), Some(agreement.as_str()));
    let listed = lab.get("/market-api/v1/agreements?state=Expired").await;
    assert_eq!(listed.as_array().map(Vec::len), Some(0));
    let (status, answer) =
        lab.ask("POST", "/activity-api/v1/activity", &format!("\"{agreement}\"")).await;
    assert_eq!(status, 200, "{answer}");
    let (_, id) = answer.split_once("\r\n\r\n").expect("a body");
    assert_eq!(id.len(), 34, "a bare id for a bare id: {id}");
}

fn script() -> Vec<ExeCommand> {
    let args = vec!["hello".to_owned(), "world".to_owned()];
    vec![
        ExeCommand::Deploy { networks: Vec::new() },
        ExeCommand::Start,
        ExeCommand::Run { entry_point: "/bin/echo".to_owned(), args },
    ]
}

pub(crate) async fn create(lab: &Lab, agreement: &AgreementId) -> ActivityId {
    let agreement = agreement.clone();
    match lab.call(Request::CreateActivity { agreement, timeout: Span::secs(10) }).await {
        Ok(Response::ActivityCreated(activity)) => activity,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn execute(
    lab: &Lab,
    activity: &ActivityId,
    script: Vec<ExeCommand>,
) -> Vec<CommandResult> {
    let last = u32::try_from(script.len() - 1).expect("a few commands");
    let (activity, script, timeout) = (activity.clone(), Arc::new(script), Span::secs(30));
    let started = lab.call(Request::Execute { activity: activity.clone(), script, timeout }).await;
    let Ok(Response::BatchStarted(batch)) = started else { panic!("{started:?}") };
    match lab.call(Request::CollectResults { activity, batch, command: last, timeout }).await {
        Ok(Response::Results(results)) => results,
        other => panic!("{other:?}"),
    }
}

async fn phase(lab: &Lab, activity: &ActivityId) -> ActivityPhase {
    let (activity, timeout) = (activity.clone(), Span::secs(10));
    match lab.call(Request::GetActivityState { activity, timeout }).await {
        Ok(Response::ActivityState(state)) => state.now,
        other => panic!("{other:?}"),
    }
}

/// Waits for the first debit note of a session.
pub(crate) async fn first_note(lab: &Lab, session: &SessionId) -> DebitNote {
    let collect = Request::CollectDebitNoteEvents {
        session: session.clone(),
        after: Timestamp::EPOCH,
        timeout: Span::secs(30),
    };
    let events = match lab.call(collect).await {
        Ok(Response::DebitNoteEvents(events)) => events,
        other => panic!("{other:?}"),
    };
    let event = events.first().expect("an activity is billed each second");
    assert_eq!(event.kind, BillEventKind::Received);
    let debit_note: DebitNoteId = event.id.clone();
    match lab.call(Request::GetDebitNote { debit_note }).await {
        Ok(Response::DebitNote(note)) => *note,
        other => panic!("{other:?}"),
    }
}

async fn accept_note(lab: &Lab, note: &DebitNote, allocation: &AllocationId) {
    let due = note.total_due.glm().expect("an amount");
    assert!(due > Glm::ZERO);
    let accept = Request::AcceptDebitNote {
        debit_note: note.id.clone(),
        amount: note.total_due.clone(),
        allocation: allocation.clone(),
        timeout: Span::secs(10),
    };
    assert_eq!(lab.call(accept).await, Ok(Response::DebitNoteAccepted));
}

async fn final_invoice(lab: &Lab, session: &SessionId) -> Invoice {
    let collect = Request::CollectInvoiceEvents {
        session: session.clone(),
        after: Timestamp::EPOCH,
        timeout: Span::secs(30),
    };
    let events = match lab.call(collect).await {
        Ok(Response::InvoiceEvents(events)) => events,
        other => panic!("{other:?}"),
    };
    let invoice = events.first().expect("an agreement that is over is billed").id.clone();
    match lab.call(Request::GetInvoice { invoice }).await {
        Ok(Response::Invoice(invoice)) => *invoice,
        other => panic!("{other:?}"),
    }
}
