//! What one side writes, the other reads as it was.

use proptest::prelude::*;
use ray_on_golem::yagna::{CallError, Doubt, Request, Status, wire};

use crate::strategies::{config, exchange, request};

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_request_arrives_as_it_was_sent(request in request()) {
        let arrived = wire::decode_request(&wire::encode_request(&request));

        prop_assert_eq!(arrived, Ok(request));
    }

    #[test]
    fn a_response_arrives_as_it_was_sent((request, response) in exchange()) {
        let arrived = wire::decode_response(&request, &wire::encode_response(Ok(&response)));

        prop_assert_eq!(arrived, Ok(response));
    }

    #[test]
    fn a_refusal_arrives_as_it_was_sent(status in 400..500_u16, body in "[^{]{0,40}") {
        let status = Status(status);
        let response = wire::encode_response(Err((status, &body)));
        let written = String::from_utf8_lossy(&response.body).into_owned();

        let message = match serde_json::from_str::<serde_json::Value>(&written) {
            Ok(document) => document["message"].as_str().unwrap_or_default().to_owned(),
            Err(_) => written.clone(),
        };
        prop_assert_eq!(message, body);
        let arrived = wire::decode_response(&Request::WhoAmI, &response);
        prop_assert_eq!(arrived, Err(CallError::Rejected { status, body: written }));
    }
}

#[test]
fn a_failure_arrives_as_it_was_sent() {
    let sent = r#"{"type":"/payment-api/v1/allocations/internal-error"}"#;
    let response = wire::encode_response(Err((Status(500), sent)));

    assert_eq!(response.content_type.as_deref(), Some("application/problem+json"));
    assert_eq!(
        wire::decode_response(&Request::ListAllocations, &response),
        Err(CallError::Unknown(Doubt::Failed { status: Status(500), body: sent.to_owned() }))
    );
}
