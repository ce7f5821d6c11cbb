//! The cases: what a requestor relies on, from allocation to rejection.

use std::sync::Arc;

use ray_on_golem::{
    core::market::{demand, negotiate::Terms},
    units::{Glm, Span},
    yagna::{
        Allocation, AllocationId, CallError, DemandBody, DemandEvent, Doubt, PlatformId,
        Properties, Proposal, ProposalId, ProposalState, Request, Response, Status, SubscriptionId,
    },
};

use crate::arms::Arm;

type Case = fn(&mut dyn Arm);

/// Every case and its name.
pub(crate) const CASES: [(&str, Case); 18] = [
    ("we are somebody", identity),
    ("an allocation is made, listed, and released once", allocation_life),
    ("an allocation decorates a demand", decorations),
    ("an allocation that was released decorates nothing", decorations_of_nothing),
    ("an allocation beyond the wallet is refused", allocation_too_large),
    ("an allocation in the past is refused", allocation_in_the_past),
    ("a platform that does not exist is refused", allocation_on_no_platform),
    ("an unknown allocation cannot be released", allocation_unknown),
    ("a demand is published, listed, and withdrawn once", demand_life),
    ("a poll without events waits for its time", poll_waits),
    ("a poll of an unknown demand is refused at once", poll_of_nothing),
    ("a poll takes from 1 to 100 events", poll_bounds),
    ("matched offers are handed out once", matches),
    ("bad constraints match nothing", bad_constraints),
    ("a counter-proposal is answered by a draft", counter_is_answered),
    ("a refusal names its reason", counter_is_refused),
    ("a proposal is countered once", counter_twice),
    ("rejections can be repeated, unknown ones fail", rejections),
];

fn identity(arm: &mut dyn Arm) {
    let Ok(Response::Identity(identity)) = arm.call(Request::WhoAmI) else { panic!("nobody") };

    assert!(identity.id.as_str().starts_with("0x"));
    assert_eq!(identity.id.as_str().len(), 42);
}

fn allocation_life(arm: &mut dyn Arm) {
    let allocation = allocate(arm);
    let release = Request::ReleaseAllocation { allocation: allocation.id.clone() };

    assert_eq!(allocation.total, Glm::from_whole(1));
    assert_eq!(allocation.spent, Glm::ZERO);
    assert!(listed(arm).contains(&allocation.id));
    assert_eq!(arm.call(release.clone()), Ok(Response::AllocationReleased));
    assert!(!listed(arm).contains(&allocation.id));
    assert_refused(&arm.call(release), 410);
}

fn decorations(arm: &mut dyn Arm) {
    let allocation = allocate(arm);
    let decorate = Request::DecorateDemand { allocation: allocation.id.clone() };

    let Ok(Response::Decorations(decorations)) = arm.call(decorate) else { panic!("undecorated") };

    let address = "golem.com.payment.platform.erc20-hoodi-tglm.address";
    let keys: Vec<&str> = decorations.properties.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, [address, "golem.com.payment.protocol.version"]);
    assert_eq!(decorations.properties[1].1, "3");
    let constraints =
        [format!("({address}=*)"), "(golem.com.payment.protocol.version>1)".to_owned()];
    assert_eq!(decorations.constraints, constraints);
    release(arm, allocation);
}

fn decorations_of_nothing(arm: &mut dyn Arm) {
    let allocation = allocate(arm);
    let decorate = Request::DecorateDemand { allocation: allocation.id.clone() };
    release(arm, allocation);

    assert_refused(&arm.call(decorate), 404);
}

fn allocation_too_large(arm: &mut dyn Arm) {
    let refusal = create(arm, "erc20-hoodi-tglm", Glm::from_whole(1_000_000), Span::hours(1));

    assert_refused(&refusal, 400);
    assert!(body(&refusal).contains("insufficient-account-funds"), "{}", body(&refusal));
}

fn allocation_in_the_past(arm: &mut dyn Arm) {
    let timeout = arm.now().minus(Span::hours(1));
    let platform = PlatformId::from("erc20-hoodi-tglm");
    let total = Glm::from_whole(1);

    let refusal = arm.call(Request::CreateAllocation { platform, total, timeout });

    assert_refused(&refusal, 400);
    assert!(body(&refusal).contains("timeout-passed"), "{}", body(&refusal));
}

fn allocation_on_no_platform(arm: &mut dyn Arm) {
    let refusal = create(arm, "erc20-nowhere-glm", Glm::from_whole(1), Span::hours(1));

    assert_refused(&refusal, 400);
    assert!(body(&refusal).contains("bad-payment-platform"), "{}", body(&refusal));
}

fn allocation_unknown(arm: &mut dyn Arm) {
    let allocation = AllocationId::from("00000000-0000-4000-8000-000000000000");

    assert_refused(&arm.call(Request::ReleaseAllocation { allocation }), 404);
}

fn demand_life(arm: &mut dyn Arm) {
    let demand = body_for(arm, "nobody-here");
    let subscription = subscribe(arm, &demand);
    let Ok(Response::Demands(demands)) = arm.call(Request::ListDemands) else { panic!("no list") };
    let ours = demands.iter().find(|demand| demand.id == subscription).expect("listed");
    let unsubscribe = Request::Unsubscribe { subscription: subscription.clone() };

    assert_eq!(
        ours.body.properties.number("golem.srv.comp.expiration"),
        demand.properties.number("golem.srv.comp.expiration"),
        "a demand is found again by its expiration"
    );
    assert_eq!(arm.call(unsubscribe.clone()), Ok(Response::Unsubscribed));
    assert_refused(&arm.call(unsubscribe), 404);
    assert_refused(&poll(arm, &subscription, 1, 10), 404);
}

fn poll_waits(arm: &mut dyn Arm) {
    let demand = body_for(arm, "nobody-here");
    let subscription = subscribe(arm, &demand);
    let request = Request::CollectEvents {
        subscription: subscription.clone(),
        timeout: Span::secs(1),
        max_events: 10,
    };

    let (result, took) = arm.timed(request);

    assert_eq!(result, Ok(Response::Events(Vec::new())));
    assert!(took >= Span::millis(900), "{took}");
    withdraw(arm, subscription);
}

fn poll_of_nothing(arm: &mut dyn Arm) {
    let demand = body_for(arm, "nobody-here");
    let subscription = subscribe(arm, &demand);
    withdraw(arm, subscription.clone());

    let refusal = poll(arm, &subscription, 5, 10);

    assert_refused(&refusal, 404);
    let wanted = format!(
        "{{\"message\":\"Subscription [{subscription}] not found. Could be unsubscribed.\"}}"
    );
    assert_eq!(body(&refusal), wanted);
}

fn poll_bounds(arm: &mut dyn Arm) {
    let demand = body_for(arm, "nobody-here");
    let subscription = subscribe(arm, &demand);

    for max_events in [0, 101] {
        let refusal = poll(arm, &subscription, 1, max_events);
        assert_refused(&refusal, 400);
        let wanted = format!(
            "{{\"message\":\"Invalid maxEvents '{max_events}', should be between 1 and 100.\"}}"
        );
        assert_eq!(body(&refusal), wanted);
    }
    withdraw(arm, subscription);
}

fn matches(arm: &mut dyn Arm) {
    let demand = body_for(arm, arm.subnet());
    let subscription = subscribe(arm, &demand);

    let offers = offers(arm, &subscription);

    assert_eq!(offers.len(), 4);
    for offer in &offers {
        assert_eq!(offer.state, ProposalState::Initial);
        assert_eq!(offer.previous, None);
        assert!(offer.id.as_str().starts_with("R-"));
        assert_eq!(offer.body.properties.text("golem.com.pricing.model"), Some("linear"));
    }
    assert_eq!(poll(arm, &subscription, 1, 100), Ok(Response::Events(Vec::new())));
    withdraw(arm, subscription);
}

fn bad_constraints(arm: &mut dyn Arm) {
    let mut demand = body_for(arm, arm.subnet());
    demand.constraints = "(&(golem.node.debug.subnet=public".to_owned();
    let subscription = subscribe(arm, &demand);

    assert_eq!(poll(arm, &subscription, 1, 100), Ok(Response::Events(Vec::new())));
    withdraw(arm, subscription);
}

fn counter_is_answered(arm: &mut dyn Arm) {
    let (subscription, answers) = negotiate(arm);

    let drafts: Vec<&(ProposalId, DemandEvent)> =
        answers.iter().filter(|(_, event)| matches!(event, DemandEvent::Proposal(_))).collect();
    assert_eq!(drafts.len(), 3);
    for (counter, event) in drafts {
        let DemandEvent::Proposal(draft) = event else { continue };
        assert_eq!(draft.state, ProposalState::Draft);
        assert_eq!(draft.previous.as_ref(), Some(counter));
        let stated = draft.body.properties.number("golem.com.scheme.payu.payment-timeout-sec?");
        assert_eq!(stated, Some("43200"), "a provider adopts our terms");
        let proposal = draft.id.clone();
        let reason = "No more needed".to_owned();
        let subscription = subscription.clone();
        let reject = Request::RejectProposal { subscription, proposal, reason };
        assert_eq!(arm.call(reject), Ok(Response::ProposalRejected));
    }
    withdraw(arm, subscription);
}

fn counter_is_refused(arm: &mut dyn Arm) {
    let (subscription, answers) = negotiate(arm);

    let refusals: Vec<Option<String>> = answers
        .into_iter()
        .filter_map(|(_, event)| match event {
            DemandEvent::Rejected { reason, .. } => Some(reason.and_then(|it| it.message)),
            DemandEvent::Proposal(_) | DemandEvent::Unreadable(_) => None,
        })
        .collect();
    assert_eq!(refusals, [Some("Node is busy.".to_owned())]);
    withdraw(arm, subscription);
}

fn counter_twice(arm: &mut dyn Arm) {
    let demand = body_for(arm, arm.subnet());
    let subscription = subscribe(arm, &demand);
    let offers = offers(arm, &subscription);
    let counter = counter(&subscription, &offers[0].id, &demand);

    assert!(matches!(arm.call(counter.clone()), Ok(Response::Countered(_))));
    let refusal = arm.call(counter);

    assert_refused(&refusal, 410);
    assert!(body(&refusal).contains("already has counter proposal"), "{}", body(&refusal));
    let nobodys = ProposalId::from(format!("R-{}", "0".repeat(64)));
    let nothing = self::counter(&subscription, &nobodys, &demand);
    assert_refused(&arm.call(nothing), 404);
    withdraw(arm, subscription);
}

fn rejections(arm: &mut dyn Arm) {
    let demand = body_for(arm, arm.subnet());
    let subscription = subscribe(arm, &demand);
    let offers = offers(arm, &subscription);
    let reject = |proposal: ProposalId| Request::RejectProposal {
        subscription: subscription.clone(),
        proposal,
        reason: "No more needed".to_owned(),
    };

    assert_eq!(arm.call(reject(offers[0].id.clone())), Ok(Response::ProposalRejected));
    assert_eq!(arm.call(reject(offers[0].id.clone())), Ok(Response::ProposalRejected));
    let unknown = arm.call(reject(ProposalId::from(format!("R-{}", "0".repeat(64)))));
    assert!(
        matches!(&unknown, Err(CallError::Unknown(Doubt::Failed { status: Status(500), .. }))),
        "{unknown:?}"
    );
    withdraw(arm, subscription);
}

/// Counters all four offers, and waits for the four answers.
fn negotiate(arm: &mut dyn Arm) -> (SubscriptionId, Vec<(ProposalId, DemandEvent)>) {
    let demand = body_for(arm, arm.subnet());
    let subscription = subscribe(arm, &demand);
    let mut counters = Vec::new();
    for offer in offers(arm, &subscription) {
        match arm.call(counter(&subscription, &offer.id, &demand)) {
            Ok(Response::Countered(counter)) => counters.push(counter),
            other => panic!("{other:?}"),
        }
    }
    let mut answers = Vec::new();
    while answers.len() < counters.len() {
        let Ok(Response::Events(events)) = poll(arm, &subscription, 5, 100) else {
            panic!("no events");
        };
        assert!(!events.is_empty(), "an answer takes too long");
        answers.extend(events.into_iter().map(|event| (answered(&event), event)));
    }
    assert!(answers.iter().all(|(counter, _)| counters.contains(counter)));
    (subscription, answers)
}

fn answered(event: &DemandEvent) -> ProposalId {
    match event {
        DemandEvent::Proposal(draft) => draft.previous.clone().expect("an answer"),
        DemandEvent::Rejected { proposal, .. } => proposal.clone(),
        DemandEvent::Unreadable(what) => panic!("{what}"),
    }
}

/// All four offers, however the daemon pages them.
fn offers(arm: &mut dyn Arm, subscription: &SubscriptionId) -> Vec<Proposal> {
    let mut offers = Vec::new();
    while offers.len() < 4 {
        let Ok(Response::Events(events)) = poll(arm, subscription, 5, 3) else {
            panic!("no events");
        };
        assert!(!events.is_empty() && events.len() <= 3, "{} events", events.len());
        for event in events {
            let DemandEvent::Proposal(offer) = event else { panic!("{event:?}") };
            offers.push(*offer);
        }
    }
    offers
}

fn body_for(arm: &dyn Arm, subnet: &str) -> DemandBody {
    let expires = arm.now().plus(Span::days(300)).as_unix_millis();
    let mut properties = Properties::default();
    properties.set("golem.srv.comp.expiration", expires);
    properties.set("golem.node.debug.subnet", subnet);
    properties.set("golem.com.payment.chosen-platform", "erc20-hoodi-tglm");
    properties.set("golem.com.payment.debit-notes.accept-timeout?", 240);
    properties.set("golem.com.scheme.payu.debit-note.interval-sec?", 180);
    properties.set("golem.com.scheme.payu.payment-timeout-sec?", 43_200);
    let constraints = format!("(&(golem.node.debug.subnet={subnet})\n\t(golem.runtime.name=vm))");
    DemandBody { properties, constraints }
}

fn subscribe(arm: &mut dyn Arm, demand: &DemandBody) -> SubscriptionId {
    match arm.call(Request::Subscribe { demand: Arc::new(demand.clone()) }) {
        Ok(Response::Subscribed(subscription)) => subscription,
        other => panic!("{other:?}"),
    }
}

fn withdraw(arm: &mut dyn Arm, subscription: SubscriptionId) {
    assert_eq!(arm.call(Request::Unsubscribe { subscription }), Ok(Response::Unsubscribed));
}

fn poll(
    arm: &mut dyn Arm,
    subscription: &SubscriptionId,
    secs: u64,
    max_events: u8,
) -> Result<Response, CallError> {
    let subscription = subscription.clone();
    arm.call(Request::CollectEvents { subscription, timeout: Span::secs(secs), max_events })
}

fn counter(subscription: &SubscriptionId, proposal: &ProposalId, demand: &DemandBody) -> Request {
    let terms = Terms { note_interval: 180, payment_timeout: 43_200 };
    let body = demand::counter(demand, &PlatformId::from("erc20-hoodi-tglm"), terms);
    Request::CounterProposal {
        subscription: subscription.clone(),
        proposal: proposal.clone(),
        body: Arc::new(body),
    }
}

fn create(
    arm: &mut dyn Arm,
    platform: &str,
    total: Glm,
    lasts: Span,
) -> Result<Response, CallError> {
    let platform = PlatformId::from(platform);
    let timeout = arm.now().plus(lasts);
    arm.call(Request::CreateAllocation { platform, total, timeout })
}

fn allocate(arm: &mut dyn Arm) -> Allocation {
    match create(arm, "erc20-hoodi-tglm", Glm::from_whole(1), Span::hours(1)) {
        Ok(Response::AllocationCreated(allocation)) => allocation,
        other => panic!("{other:?}"),
    }
}

fn release(arm: &mut dyn Arm, allocation: Allocation) {
    let allocation = allocation.id;
    assert_eq!(
        arm.call(Request::ReleaseAllocation { allocation }),
        Ok(Response::AllocationReleased)
    );
}

fn listed(arm: &mut dyn Arm) -> Vec<AllocationId> {
    match arm.call(Request::ListAllocations) {
        Ok(Response::Allocations(allocations)) => {
            allocations.into_iter().map(|allocation| allocation.id).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn assert_refused(result: &Result<Response, CallError>, status: u16) {
    match result {
        Err(CallError::Rejected { status: given, .. }) => assert_eq!(*given, Status(status)),
        other => panic!("not refused: {other:?}"),
    }
}

fn body(result: &Result<Response, CallError>) -> &str {
    match result {
        Err(CallError::Rejected { body, .. }) => body,
        Ok(_) | Err(CallError::NotSent { .. } | CallError::Unknown(_)) => "",
    }
}
