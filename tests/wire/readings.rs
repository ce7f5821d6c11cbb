//! What single documents mean, case by case.

use ray_on_golem::{
    units::{Glm, Rounding, Timestamp},
    yagna::{
        Allocation, CallError, DemandEvent, Doubt, ExeCommand, Network, Rejection, Request,
        Response, Status,
        wire::{self, HttpRequest, HttpResponse, Method},
    },
};

#[test]
fn an_allocation_of_an_old_daemon_is_read() {
    let allocation = r#"[{"allocationId":"5a3c6f0e-9d1b-4c7a-8e2f-0123456789ab","paymentPlatform":"erc20-hoodi-tglm",
        "totalAmount":13.14000,"spentAmount":"0.1000000000000000009","remainingAmount":"-5",
        "timeout":"2036-11-18T00:04:19.045185999Z","deposit":{"id":1}}]"#;

    let read = ok(&Request::ListAllocations, allocation);

    assert_eq!(
        read,
        Ok(Response::Allocations(vec![Allocation {
            id: "5a3c6f0e-9d1b-4c7a-8e2f-0123456789ab".into(),
            address: String::new(),
            platform: "erc20-hoodi-tglm".into(),
            total: glm("13.14"),
            spent: glm("0.1"),
            remaining: Glm::ZERO,
            timeout: Some(Timestamp::from_unix_micros(2_110_579_459_045_185)),
        }]))
    );
}

#[test]
fn networks_of_either_family_are_read() {
    let networks = r#"[
        {"id":"66666666666666666666666666666666","ip":"fd00::1/64","mask":"ffff:ffff:ffff:ffff::","gateway":"fd00::"},
        {"id":"44444444444444444444444444444444","ip":"192.168.0.1/16","mask":"255.255.0.0",
         "gateway":"192.168.0.1"}]"#;

    let read = ok(&Request::ListNetworks, networks);

    let network = |id: &str, ip: &str, mask: &str, gateway: &str| Network {
        id: id.repeat(32).into(),
        ip: ip.to_owned(),
        mask: mask.parse().expect("a mask"),
        gateway: gateway.parse().expect("an address"),
    };
    let six = network("6", "fd00::1/64", "ffff:ffff:ffff:ffff::", "fd00::");
    let four = network("4", "192.168.0.1/16", "255.255.0.0", "192.168.0.1");
    assert_eq!(read, Ok(Response::Networks(vec![six, four])));
    let nonsense = r#"[{"id":"44444444444444444444444444444444","ip":"x","mask":"nonsense","gateway":"192.168.0.1"}]"#;
    assert!(ok(&Request::ListNetworks, nonsense).is_err());
}

#[test]
fn a_command_that_says_more_than_ours_is_kept_whole() {
    let captured = r#"{"stdout":{"atEnd":{"tail":9}}}"#;
    let text = format!(
        r#"[{{"run":{{"entry_point":"/bin/true","capture":{captured}}}}},{{"start":{{}}}}]"#
    );
    let body = serde_json::json!({ "text": text }).to_string().into_bytes();
    let path = "/activity-api/v1/activity/a/exec".to_owned();
    let request = HttpRequest { method: Method::Post, path, headers: &[], body: Some(body) };

    let read = wire::decode_request(&request);

    let Ok(Request::Execute { script, .. }) = read else { panic!("{read:?}") };
    let [ExeCommand::Other(kept), ExeCommand::Start] = script.as_slice() else {
        panic!("{script:?}")
    };
    assert_eq!(kept["run"]["capture"].to_string(), captured);
}

#[test]
fn times_beyond_the_calendar_saturate() {
    assert_eq!(timeout(r#""2036-11-18T01:04:19+01:00""#), Ok(Some(2_110_579_459_000_000)));
    assert_eq!(timeout(r#""2016-12-31T23:59:60Z""#), Ok(Some(1_483_228_799_000_000)));
    assert_eq!(timeout(r#""+262142-12-31T23:59:59.999999999Z""#), Ok(Some(u64::MAX)));
    assert_eq!(timeout(r#""-262143-01-01T00:00:00Z""#), Ok(Some(0)));
    assert_eq!(timeout(r#""1969-12-31T23:59:59Z""#), Ok(Some(0)));
    assert_eq!(timeout("null"), Ok(None));
    assert!(timeout(r#""tomorrow""#).is_err());
    assert!(timeout(r#""2036-11-18T01:04:19""#).is_err(), "a time without a zone is no instant");
    assert!(timeout("17").is_err());
}

#[test]
fn prices_keep_the_text_they_were_written_with() {
    let (id, issuer) = (proposal_id(), format!("0x{}", "1".repeat(40)));
    let page = format!(
        r#"[{{"eventType":"ProposalEvent","eventDate":"2026-11-21T00:00:00Z","proposal":{{
        "properties":{{"golem.com.pricing.model.linear.coeffs":[2.7777777777777777e-5,0.10,1e-30]}},
        "constraints":"()","proposalId":"{id}","issuerId":"{issuer}","state":"Initial",
        "timestamp":"2026-11-21T00:00:00Z"}}}}]"#
    );

    let Ok(Response::Events(events)) = ok(&collect(), &page) else { panic!("readable") };
    let [DemandEvent::Proposal(proposal)] = events.as_slice() else { panic!("one proposal") };

    assert_eq!(
        proposal.body.properties.0["golem.com.pricing.model.linear.coeffs"].to_string(),
        "[2.7777777777777777e-5,0.10,1e-30]"
    );
}

#[test]
fn a_reason_may_be_absent_or_empty_of_what_we_know() {
    let reason = |json: &str| {
        let id = proposal_id();
        let event =
            format!(r#"[{{"eventType":"ProposalRejectedEvent","proposalId":"{id}"{json}}}]"#);
        match ok(&collect(), &event) {
            Ok(Response::Events(events)) => match events.as_slice() {
                [DemandEvent::Rejected { reason, .. }] => reason.clone(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    let of = |message: Option<&str>, is_final| {
        Some(Rejection { message: message.map(str::to_owned), is_final })
    };

    assert_eq!(reason(""), None);
    assert_eq!(reason(r#","reason":null"#), None);
    assert_eq!(reason(r#","reason":{"golem.provider.code":"Lab"}"#), of(None, None));
    assert_eq!(reason(r#","reason":{"message":7,"x":[]}"#), of(None, None));
    assert_eq!(
        reason(r#","reason":{"message":"busy","golem.proposal.rejection.is-final":false}"#),
        of(Some("busy"), Some(false))
    );
}

#[test]
fn a_status_decides_the_class() {
    let answer = |status, body: &str| decode(&Request::ListDemands, status, body);

    assert_eq!(answer(200, "[]"), Ok(Response::Demands(Vec::new())));
    assert_eq!(answer(201, "[]"), Ok(Response::Demands(Vec::new())));
    assert_eq!(
        answer(401, "Invalid application key"),
        Err(CallError::Rejected {
            status: Status::UNAUTHORIZED,
            body: "Invalid application key".to_owned()
        })
    );
    assert_eq!(
        answer(404, r#"{"message":null}"#),
        Err(CallError::Rejected {
            status: Status::NOT_FOUND,
            body: r#"{"message":null}"#.to_owned()
        })
    );
    for status in [0, 101, 202, 304, 500, 504, 599, 999] {
        let failed = Doubt::Failed { status: Status(status), body: "[]".to_owned() };
        assert_eq!(answer(status, "[]"), Err(CallError::Unknown(failed)));
    }
    assert!(matches!(answer(204, ""), Err(CallError::Unknown(Doubt::Garbled { .. }))));
}

#[test]
fn success_without_a_document_is_read_from_the_status() {
    for body in ["", "null", "{"] {
        let release = Request::ReleaseAllocation { allocation: "a".into() };
        assert_eq!(ok(&release, body), Ok(Response::AllocationReleased));
    }
}

#[test]
fn what_a_requestor_leaves_out_gets_the_defaults_of_the_daemon() {
    let get = |path: &str| {
        wire::decode_request(&HttpRequest {
            method: Method::Get,
            path: path.to_owned(),
            headers: &[],
            body: None,
        })
    };
    let allocate = |body: &str| {
        wire::decode_request(&HttpRequest {
            method: Method::Post,
            path: "/payment-api/v1/allocations".to_owned(),
            headers: &[],
            body: Some(body.into()),
        })
    };

    insta::assert_debug_snapshot!((
        get("/market-api/v1/demands/abc/events"),
        get("/market-api/v1/demands/abc/events?maxEvents=101"),
        allocate(r#"{"totalAmount":"1"}"#),
        allocate(
            r#"{"totalAmount":1.50,"paymentPlatform":{"driver":"erc20","network":"polygon"}}"#
        ),
        allocate("{}"),
        get("/market-api/v1/unheard-of"),
    ));
}

#[test]
fn requests_are_written_as_the_daemon_reads_them() {
    let written = wire::encode_request(&Request::CreateAllocation {
        platform: "erc20-hoodi-tglm".into(),
        total: glm("0.5"),
        timeout: Timestamp::from_unix_micros(2_110_579_459_045_185),
    });
    assert_eq!(written.path, "/payment-api/v1/allocations");
    assert_eq!(
        written.body.as_deref().map(String::from_utf8_lossy).as_deref(),
        Some(
            r#"{"paymentPlatform":"erc20-hoodi-tglm","totalAmount":"0.5","timeout":"2036-11-18T00:04:19.045185Z","makeDeposit":false}"#
        )
    );

    let collect = wire::encode_request(&Request::CollectEvents {
        subscription: "a/b".into(),
        timeout: ray_on_golem::units::Span::millis(2500),
        max_events: 10,
    });
    assert_eq!(collect.path, "/market-api/v1/demands/a%2Fb/events?timeout=2.5&maxEvents=10");
}

fn proposal_id() -> String {
    format!("R-{}", "1".repeat(64))
}

fn collect() -> Request {
    Request::CollectEvents {
        subscription: "s".into(),
        timeout: ray_on_golem::units::Span::secs(5),
        max_events: 10,
    }
}

fn timeout(json: &str) -> Result<Option<u64>, CallError> {
    let allocation = format!(
        r#"{{"allocationId":"5a3c6f0e-9d1b-4c7a-8e2f-0123456789ab","paymentPlatform":"p","totalAmount":"1","spentAmount":"0",
            "remainingAmount":"1","timeout":{json}}}"#
    );
    let request = Request::CreateAllocation {
        platform: "p".into(),
        total: Glm::ZERO,
        timeout: Timestamp::NEVER,
    };
    let response = decode(&request, 201, &allocation)?;
    let Response::AllocationCreated(allocation) = response else { panic!("{response:?}") };
    Ok(allocation.timeout.map(Timestamp::as_unix_micros))
}

fn ok(request: &Request, body: &str) -> Result<Response, CallError> {
    decode(request, 200, body)
}

fn decode(request: &Request, status: u16, body: &str) -> Result<Response, CallError> {
    let body = body.as_bytes().to_owned();
    wire::decode_response(
        request,
        &HttpResponse { status: Status(status), content_type: None, body },
    )
}

fn glm(text: &str) -> Glm {
    Glm::parse(text, Rounding::Exact).expect("a literal")
}
