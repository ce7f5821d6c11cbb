//! Nonsense is answered with an error, never with a panic.

use proptest::{collection::vec, prelude::*, sample::select};
use ray_on_golem::yagna::{
    CallError, Doubt, Request, Response, Status,
    wire::{self, HttpRequest, HttpResponse, Method},
};
use serde_json::Value;

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
            r#"{"eventType":"ProposalRejectedEvent","proposalId":"R-1"}"#,
            r#"{"eventType":"ProposalEvent","proposal":{"properties":{"a":{"$serde_json::private::Number":"x"}}}}"#,
            &format!(r#"{{"eventType":"ProposalEvent","proposal":{}1{}}}"#, "[".repeat(500), "]".repeat(500)),
            r#"{"eventType":"PropertyQueryEvent"}"#,
            r#"{"eventType":"ProposalEvent","proposal":"\ud800"}"#,
            "17",
            r#"{"eventType":"ProposalRejectedEvent","proposalId":"R-2","reason":"busy"}"#,
        ]
        .join(",")
    );
    let request = Request::CollectEvents {
        subscription: "s".into(),
        timeout: ray_on_golem::units::Span::ZERO,
        max_events: 10,
    };

    let Ok(Response::Events(events)) =
        wire::decode_response(&request, &answer(200, page.into_bytes()))
    else {
        panic!("the page is readable")
    };

    insta::assert_debug_snapshot!(events);
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
