//! Nonsense is answered with an error, never with a panic.

use std::sync::Arc;

use proptest::{collection::vec, prelude::*, sample::select};
use ray_on_golem::{
    units::{Glm, Span, Timestamp},
    yagna::{
        CallError, DemandBody, Doubt, NetworkPath, Request, Response, Status,
        wire::{self, HttpRequest, HttpResponse, Method},
    },
};
use serde_json::{Value, json};

use crate::strategies::{config, json_with_keys, request};

const STATUSES: [u16; 9] = [0, 100, 200, 201, 204, 302, 404, 503, 65535];

const KEYS: [&str; 20] = [
    "eventType",
    "proposal",
    "proposalId",
    "issuerId",
    "properties",
    "constraints",
    "state",
    "timestamp",
    "reason",
    "message",
    "allocationId",
    "paymentPlatform",
    "totalAmount",
    "spentAmount",
    "remainingAmount",
    "timeout",
    "key",
    "value",
    "$serde_json::private::Number",
    "$serde_json::private::RawValue",
];

const WORDS: [&str; 10] = [
    "ProposalEvent",
    "ProposalRejectedEvent",
    "Draft",
    "-1",
    "1e999999999",
    "0.0000000000000000000000001",
    "+262142-12-31T23:59:59.999999999Z",
    "2016-12-31T23:59:60Z",
    "9999-12-31T23:59:59Z",
    "-262143-01-01T00:00:00Z",
];

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_bytes_cause_a_panic(
        request in request(),
        status in select(&STATUSES[..]),
        body in vec(any::<u8>(), 0..64),
    ) {
        let _ = wire::decode_response(&request, &answer(status, body));
    }

    #[test]
    fn no_document_causes_a_panic(request in request(), document in document()) {
        let body = document.to_string().into_bytes();
        let page = Value::from(vec![document]).to_string().into_bytes();

        let _ = wire::decode_response(&request, &answer(200, body.clone()));
        let _ = wire::decode_response(&request, &answer(200, page));
        let _ = wire::decode_request(&HttpRequest {
            body: Some(body),
            ..wire::encode_request(&request)
        });
    }

    #[test]
    fn no_path_causes_a_panic(
        method in select(vec![Method::Get, Method::Post, Method::Delete]),
        path in "(/market-api/v1/demands|/payment-api/v1)?[/%?&=a-f0-9.☃]{0,30}",
        body in proptest::option::of(vec(any::<u8>(), 0..16)),
    ) {
        let _ = wire::decode_request(&HttpRequest { method, path, headers: &[], body });
    }
}

#[test]
fn a_deep_body_is_an_error() {
    let body = "[".repeat(1_000_000).into_bytes();

    let outcome = wire::decode_response(&Request::ListDemands, &answer(200, body));

    assert!(matches!(outcome, Err(CallError::Unknown(Doubt::Garbled { .. }))));
}

#[test]
fn long_texts_are_cut() {
    let body = "ł".repeat(100_000).into_bytes();

    let outcome = wire::decode_response(&Request::WhoAmI, &answer(400, body));

    assert_eq!(outcome, Err(CallError::Rejected { status: Status(400), body: "ł".repeat(2048) }));
}

#[test]
fn a_bad_event_does_not_spoil_its_page() {
    let page = format!(
        "[{}]",
        [
            &rejected('1', ""),
            r#"{"eventType":"ProposalEvent","proposal":{"properties":{"a":{"$serde_json::private::Number":"x"}}}}"#,
            &format!(r#"{{"eventType":"ProposalEvent","proposal":{}1{}}}"#, "[".repeat(500), "]".repeat(500)),
            r#"{"eventType":"PropertyQueryEvent"}"#,
            r#"{"eventType":"ProposalEvent","proposal":"\ud800"}"#,
            "17",
            &rejected('2', r#","reason":"busy""#),
        ]
        .join(",")
    );
    let request =
        Request::CollectEvents { subscription: "s".into(), timeout: Span::ZERO, max_events: 10 };

    let Ok(Response::Events(events)) =
        wire::decode_response(&request, &answer(200, page.into_bytes()))
    else {
        panic!("the page is readable")
    };

    insta::assert_debug_snapshot!(events);
}

fn rejected(digit: char, reason: &str) -> String {
    let id = digit.to_string().repeat(64);
    format!(r#"{{"eventType":"ProposalRejectedEvent","proposalId":"R-{id}"{reason}}}"#)
}

/// What the daemon has never called anything.
const ODD: [&str; 8] = ["", "x", "../../me", "a b", "a\nb", "\u{202e}", "☃", "0x12"];

/// A reply with this id.
type Document = fn(&str) -> Value;

#[test]
fn an_id_of_another_form_is_no_good_reply() {
    let (agreement, activity) = ("a".into(), "v".into());
    let (timeout, at) = (Span::ZERO, Timestamp::EPOCH);
    let demand = Arc::new(DemandBody::default());
    let created: [(Request, Document); 7] = [
        (Request::Subscribe { demand: Arc::clone(&demand) }, |id| json!(id)),
        (
            Request::CounterProposal {
                subscription: "s".into(),
                proposal: "p".into(),
                body: demand,
            },
            |id| json!(id),
        ),
        (Request::CreateAgreement { proposal: "p".into(), valid_to: at }, |id| json!(id)),
        (Request::CreateActivity { agreement, timeout }, |id| json!({ "activityId": id })),
        (Request::Execute { activity, script: Arc::default(), timeout }, |id| json!(id)),
        (
            network(),
            |id| json!({ "id": id, "ip": "10.0.0.1/24", "mask": "255.255.255.0", "gateway": "10.0.0.1" }),
        ),
        (allocation(), |id| {
            json!({
                "allocationId": id, "paymentPlatform": "erc20-hoodi-tglm", "totalAmount": "1",
                "spentAmount": "0", "remainingAmount": "1",
            })
        }),
    ];
    for (request, document) in created {
        for odd in ODD {
            let read = wire::decode_response(
                &request,
                &answer(200, document(odd).to_string().into_bytes()),
            );

            assert!(
                matches!(read, Err(CallError::Unknown(Doubt::Garbled { .. }))),
                "{odd:?} of {request:?}: {read:?}"
            );
        }
    }
}

#[test]
fn a_bill_without_a_proper_id_hides_no_other() {
    let good = "5a3c6f0e-9d1b-4c7a-8e2f-0123456789ab";
    let event = |id: &str| json!({ "invoiceId": id, "eventDate": "2026-01-01T00:00:00Z", "eventType": "InvoiceReceivedEvent" });
    let invoice = |id: &str| {
        json!({
            "invoiceId": id, "issuerId": format!("0x{}", "1".repeat(40)), "paymentPlatform": "erc20-hoodi-tglm",
            "timestamp": "2026-01-01T00:00:00Z", "agreementId": "a".repeat(64), "amount": "1",
            "paymentDueDate": "2026-01-02T00:00:00Z", "status": "RECEIVED",
        })
    };
    let page = |document: &dyn Fn(&str) -> Value| {
        let all: Vec<Value> = ODD.iter().chain([&good]).map(|id| document(id)).collect();
        answer(200, Value::from(all).to_string().into_bytes())
    };
    let (session, after, timeout) = ("s".into(), Timestamp::EPOCH, Span::ZERO);

    let collect = Request::CollectInvoiceEvents { session, after, timeout };
    let Ok(Response::InvoiceEvents(events)) = wire::decode_response(&collect, &page(&event)) else {
        panic!("the page is readable")
    };
    let list = Request::ListInvoices { after };
    let Ok(Response::Invoices(invoices)) = wire::decode_response(&list, &page(&invoice)) else {
        panic!("the list is readable")
    };

    assert_eq!(events.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), [good]);
    assert_eq!(invoices.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), [good]);
}

fn network() -> Request {
    let ip = [10, 0, 0, 0].into();
    Request::CreateNetwork {
        path: NetworkPath::Daemon,
        ip,
        prefix: 24,
        gateway: [10, 0, 0, 1].into(),
    }
}

fn allocation() -> Request {
    let (total, timeout) = (Glm::from_whole(1), Timestamp::NEVER);
    Request::CreateAllocation { platform: "erc20-hoodi-tglm".into(), total, timeout }
}

fn document() -> impl Strategy<Value = Value> {
    let key = prop_oneof![select(&KEYS[..]).prop_map(str::to_owned), "[a-z]{1,3}"].boxed();
    json_with_keys(key).prop_map(|document| seasoned(document, &mut 0))
}

/// Replaces every other text by a word that the daemon's documents have.
fn seasoned(document: Value, count: &mut usize) -> Value {
    *count += 1;
    match document {
        Value::String(text) if text.len() % 2 == 0 => {
            Value::from(WORDS[(text.len() + *count) % WORDS.len()])
        }
        Value::Array(items) => items.into_iter().map(|item| seasoned(item, count)).collect(),
        Value::Object(fields) => Value::Object(
            fields.into_iter().map(|(key, value)| (key, seasoned(value, count))).collect(),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => document,
    }
}

fn answer(status: u16, body: Vec<u8>) -> HttpResponse {
    HttpResponse { status: Status(status), content_type: None, body }
}
