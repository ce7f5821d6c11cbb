//! Faults from outside: what is switched on while the daemon runs is what our adapter sees.

use std::time::Duration;

use ray_on_golem::{
    units::Span,
    yagna::{CallError, Doubt, Request, Response, Status, Yagna},
};

use crate::lab::{HONEST, Lab};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_what_the_daemon_keeps_in_memory() {
    let lab = Lab::start(HONEST).await;
    let allocation = lab.allocate().await.id;
    lab.subscribe().await;
    let (status, _) = lab.ask("POST", "/market-api/v1/scan", r#"{"type":"offer"}"#).await;
    assert_eq!(status, 201);
    assert_eq!(accounts(&lab).await, 1);
    let poll = {
        let client = lab.client.clone();
        let subscription = lab.subscribe().await;
        // Both offers are taken, so that the next poll waits.
        assert_eq!(lab.events(&subscription).await.len(), 2);
        tokio::spawn(async move {
            let timeout = Span::secs(30);
            let collect = Request::CollectEvents { subscription, timeout, max_events: 1 };
            client.call(collect, Span::secs(60)).await
        })
    };
    waits(&lab, 1).await;

    change(&lab, r#"{"outage":{"kind":"restart","for":0.5}}"#).await;

    let cut = poll.await.expect("no panic");
    assert!(matches!(cut, Err(CallError::Unknown(Doubt::Closed { .. }))), "{cut:?}");
    let away = lab.call(Request::WhoAmI).await;
    assert!(matches!(away, Err(CallError::NotSent { .. })), "{away:?}");
    while lab.call(Request::WhoAmI).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(lab.call(Request::ListDemands).await, Ok(Response::Demands(Vec::new())));
    assert_eq!(lab.allocations().await, [allocation], "what is on disk stays");
    assert_eq!(accounts(&lab).await, 0, "an account is opened by an allocation");
    let (status, _) = lab.ask("GET", "/market-api/v1/scan/0/events", "").await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_hangs_answers_nothing() {
    let lab = Lab::start(HONEST).await;

    change(&lab, r#"{"outage":{"kind":"hang","for":600}}"#).await;

    for path in ["/me", "/version/get", "/healthcheck", "/net-api/v2/net/status", "/nonsense"] {
        let asked = tokio::time::timeout(Duration::from_millis(200), lab.ask("GET", path, ""));
        assert!(asked.await.is_err(), "{path} is answered");
    }
    change(&lab, r#"{"outage":null}"#).await;
    assert!(lab.call(Request::WhoAmI).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_seen_as_its_class() {
    let lab = Lab::start(HONEST).await;
    type Check = fn(&Result<Response, CallError>) -> bool;
    let cases: [(&str, Check); 4] = [
        (r#"{"fail_500":100}"#, |seen| {
            matches!(seen, Err(CallError::Unknown(Doubt::Failed { status: Status(500), .. })))
        }),
        (r#"{"fail_500":0,"garbage":100}"#, |seen| {
            matches!(seen, Err(CallError::Unknown(Doubt::Garbled { .. })))
        }),
        (r#"{"garbage":0,"closed":100}"#, |seen| {
            matches!(seen, Err(CallError::Unknown(Doubt::Closed { .. })))
        }),
        (r#"{"closed":0,"refuse":100}"#, |seen| {
            matches!(seen, Err(CallError::Unknown(Doubt::Closed { .. })))
        }),
    ];

    for (faults, is_right) in cases {
        change(&lab, faults).await;
        let seen = lab.call(Request::ListDemands).await;
        assert!(is_right(&seen), "{faults}: {seen:?}");
    }
    change(&lab, r#"{"refuse":0}"#).await;
    assert!(lab.call(Request::ListDemands).await.is_ok());
    let (status, answer) = lab.ask("PUT", "/sim/faults", r#"{"closed":200}"#).await;
    assert_eq!(status, 400);
    assert!(answer.contains("`closed` must be a whole number from 0 to 100"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_goes_away_waits_no_longer() {
    let lab = Lab::start(HONEST).await;
    let subscription = lab.subscribe().await;
    assert_eq!(lab.events(&subscription).await.len(), 2);

    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let client = lab.client.clone();
        let subscription = subscription.clone();
        waiting.spawn(async move {
            let timeout = Span::secs(50);
            let collect = Request::CollectEvents { subscription, timeout, max_events: 1 };
            client.call(collect, Span::secs(60)).await
        });
    }

    waits(&lab, 50).await;
    waiting.shutdown().await;

    waits(&lab, 0).await;
    let trace = lab.get("/sim/trace?last=1").await;
    assert_eq!(trace["last"][0]["call"], "collect-events", "{trace}");
}

/// How many accounts can pay.
async fn accounts(lab: &Lab) -> usize {
    let accounts = lab.get("/payment-api/v1/requestorAccounts").await;
    accounts.as_array().expect("a list").len()
}

async fn change(lab: &Lab, faults: &str) {
    let (status, answer) = lab.ask("PUT", "/sim/faults", faults).await;
    assert_eq!(status, 200, "{answer}");
}

/// Until so many requests wait for an answer, and the number stays.
async fn waits(lab: &Lab, count: u64) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let mut seen = 0;
    while seen < 3 {
        let trace = lab.get("/sim/trace?last=0").await;
        seen = if trace["waiting"] == count { seen + 1 } else { 0 };
        assert!(tokio::time::Instant::now() < deadline, "{trace}");
        // Gives those who come and go their turn.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
