//! Many at once.

use ray_on_golem::{
    units::Span,
    yagna::{DemandEvent, Request, Response, Yagna},
};

use crate::lab::Lab;

const CROWD: &str = "
    daemon: { warm: 1 }
    populations: [{ name: crowd, count: 10000 }]";

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_offers_reach_a_client_page_by_page() {
    let lab = Lab::start(CROWD).await;
    let subscription = lab.subscribe().await;
    let mut offers = std::collections::BTreeSet::new();

    while offers.len() < 10_000 {
        let events = lab.events(&subscription).await;
        assert!(!events.is_empty(), "{} of 10000 came", offers.len());
        for event in events {
            let DemandEvent::Proposal(offer) = event else { panic!("{event:?}") };
            assert!(offers.insert(offer.issuer), "an offer came twice");
        }
    }

    let providers = lab.get("/sim/providers").await;
    assert_eq!(providers.as_array().map(Vec::len), Some(10_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_wait_while_others_are_answered() {
    let lab = Lab::start(crate::lab::HONEST).await;
    let mut waiting = Vec::new();
    for _ in 0..200 {
        let client = lab.client.clone();
        waiting.push(tokio::spawn(async move {
            let session = "nobody".into();
            let after = ray_on_golem::units::Timestamp::EPOCH;
            let timeout = Span::secs(3);
            let collect = Request::CollectAgreementEvents { session, after, timeout };
            client.call(collect, Span::secs(60)).await
        }));
    }

    for _ in 0..1_000 {
        assert!(matches!(lab.call(Request::WhoAmI).await, Ok(Response::Identity(_))));
    }

    for poll in waiting {
        let empty = poll.await.expect("no panic");
        assert_eq!(empty, Ok(Response::AgreementEvents(Vec::new())));
    }
}
