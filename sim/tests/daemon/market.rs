//! Identity, allocations, demands, and negotiations.

use golem_sim::yagna::{ChainEnd, DemandEnd};
use ray_on_golem::{
    units::{Glm, Span},
    yagna::{
        AllocationId, DemandBody, DemandEvent, Proposal, ProposalId, ProposalState, Rejection,
        Request, Response, Status,
    },
};

use crate::lab::{Daemon, START, body, collect, counter, name, refused};

#[test]
fn it_says_who_we_are() {
    let mut daemon = Daemon::of("");

    let reply = daemon.ask(&Request::WhoAmI);

    let Ok(Response::Identity(identity)) = reply else { panic!("{reply:?}") };
    assert_eq!(identity.id.as_str().len(), 42);
    assert_eq!((identity.name.as_str(), identity.role.as_str()), ("autoconfigured", "manager"));
}

#[test]
fn offers_that_it_knows_match_at_once_and_others_when_they_arrive() {
    let mut daemon = Daemon::of(
        "populations: [{count: 2, arrives: 0}, {count: 1, name: late, arrives: 30}, \
         {count: 1, subnet: other, arrives: 0}]",
    );
    let demand = daemon.subscribe();

    assert_eq!(daemon.collect(&demand, 0, 100).len(), 2);
    assert_eq!(daemon.collect(&demand, 40, 100).len(), 1);
    assert_eq!(daemon.now, START.plus(Span::secs(30)), "the poll ends with the first event");
    assert!(daemon.collect(&demand, 40, 100).is_empty());
}

#[test]
fn events_are_taken_for_good_and_at_most_as_many_as_asked_for() {
    let mut daemon = Daemon::of("populations: [{count: 7, arrives: 0}]");
    let demand = daemon.subscribe();

    let first = daemon.proposals(&demand, 5);
    let second = daemon.proposals(&demand, 5);

    assert_eq!((first.len(), second.len()), (5, 2));
    assert!(first.iter().all(|one| second.iter().all(|other| one.id != other.id)));
    assert!(first.iter().all(|one| one.state == ProposalState::Initial));
    assert!(daemon.collect(&demand, 0, 5).is_empty());
}

#[test]
fn rejections_come_before_proposals() {
    let mut daemon = Daemon::of(
        "populations: [{count: 1, name: taken, behaviour: busy, arrives: 0}, \
         {count: 9, arrives: 1}]",
    );
    let demand = daemon.subscribe();
    let refused = daemon.proposals(&demand, 1).remove(0);
    let Ok(Response::Countered(ours)) = daemon.counter(&demand, &refused.id) else { panic!() };
    daemon.wait(Span::secs(10));

    let events = daemon.collect(&demand, 0, 2);

    let reason = Rejection {
        message: Some("No capacity available. Reached Agreements limit: 1".to_owned()),
        is_final: Some(false),
    };
    assert_eq!(events[0], DemandEvent::Rejected { proposal: ours, reason: Some(reason) });
    assert!(matches!(events[1], DemandEvent::Proposal(_)));
}

#[test]
fn a_poll_without_events_ends_empty_and_one_that_nobody_waits_for_takes_nothing() {
    let mut daemon = Daemon::of("populations: [{count: 1, arrives: 20}]");
    let demand = daemon.subscribe();

    assert_eq!(daemon.ask(&collect(&demand, 5, 10)), Ok(Response::Events(Vec::new())));
    assert_eq!(daemon.now, START.plus(Span::secs(5)));

    let abandoned = daemon.send(&collect(&demand, 30, 10));
    daemon.sim.cancel(abandoned);
    daemon.wait(Span::secs(60));
    assert_eq!(daemon.sim.poll_reply(), None);
    assert_eq!(daemon.collect(&demand, 0, 10).len(), 1);
}

#[test]
fn two_polls_of_one_demand_are_both_answered() {
    let mut daemon = Daemon::of("populations: [{count: 1, arrives: 20}]");
    let demand = daemon.subscribe();

    let first = daemon.send(&collect(&demand, 30, 10));
    let second = daemon.send(&collect(&demand, 30, 10));

    assert!(matches!(daemon.reply_to(first), Ok(Response::Events(events)) if events.len() == 1));
    assert_eq!(daemon.reply_to(second), Ok(Response::Events(Vec::new())));
}

#[test]
fn a_demand_that_is_withdrawn_cuts_off_whoever_waits() {
    let mut daemon = Daemon::of("");
    let demand = daemon.subscribe();
    let poll = daemon.send(&collect(&demand, 30, 10));

    let withdrawn = daemon.ask(&Request::Unsubscribe { subscription: demand.clone() });
    let again = daemon.ask(&Request::Unsubscribe { subscription: demand.clone() });

    let gone = format!("Subscription [{demand}] not found. Could be unsubscribed.");
    assert_eq!(withdrawn, Ok(Response::Unsubscribed));
    assert_eq!(again, refused(404, &format!("Demand [{demand}] not found.")));
    assert_eq!(daemon.reply_to(poll), refused(404, &gone));
    assert_eq!(daemon.ask(&collect(&demand, 1, 10)), refused(404, &gone));
    assert_eq!(daemon.ask(&Request::ListDemands), Ok(Response::Demands(Vec::new())));
}

#[test]
fn a_demand_lives_for_an_hour() {
    let mut daemon = Daemon::of("");
    let demand = daemon.subscribe();
    daemon.wait(Span::mins(59));
    assert!(daemon.collect(&demand, 0, 10).is_empty());

    daemon.wait(Span::mins(1));

    assert!(
        matches!(daemon.ask(&collect(&demand, 0, 10)), Err(refusal) if refusal.status.0 == 404)
    );
    let end = daemon.sim.demands()[0].end;
    assert_eq!(end, Some((START.plus(Span::hours(1)), DemandEnd::Expired)));
}

#[test]
fn between_one_and_a_hundred_events_can_be_asked_for() {
    let mut daemon = Daemon::of("");
    let demand = daemon.subscribe();

    for max in [0, 101] {
        let text = format!("Invalid maxEvents '{max}', should be between 1 and 100.");
        assert_eq!(daemon.ask(&collect(&demand, 0, max)), refused(400, &text));
    }
}

#[test]
fn a_negotiation_ends_in_a_draft_that_answers_our_counter_proposal() {
    let mut daemon = Daemon::of("populations: [{count: 1, arrives: 0}]");
    let demand = daemon.subscribe();
    let initial = daemon.proposals(&demand, 1).remove(0);

    let Ok(Response::Countered(ours)) = daemon.counter(&demand, &initial.id) else { panic!() };
    let events = daemon.collect(&demand, 10, 10);
    let DemandEvent::Proposal(draft) = &events[0] else { panic!("{events:?}") };

    assert_eq!(draft.state, ProposalState::Draft);
    assert_eq!(draft.previous, Some(ours));
    assert_eq!(draft.issuer, initial.issuer);
    let interval = "golem.com.scheme.payu.debit-note.interval-sec?";
    assert_eq!(initial.body.properties.number(interval), Some("120"));
    assert_eq!(draft.body.properties.number(interval), Some("180"));
}

#[test]
fn a_proposal_is_countered_once_and_may_be_rejected_twice() {
    let mut daemon = Daemon::of("populations: [{count: 2, arrives: 0}]");
    let demand = daemon.subscribe();
    let proposals = daemon.proposals(&demand, 2);
    let (first, second) = (&proposals[0].id, &proposals[1].id);

    assert!(daemon.counter(&demand, first).is_ok());
    let text = format!(
        "Proposal [{first}] already has counter proposal. Can't counter for the second time."
    );
    assert_eq!(daemon.counter(&demand, first), refused(410, &text));

    assert_eq!(daemon.reject(&demand, second), Ok(Response::ProposalRejected));
    assert_eq!(daemon.reject(&demand, second), Ok(Response::ProposalRejected));
    assert!(daemon.counter(&demand, second).is_ok(), "the daemon does not mind");
}

#[test]
fn unknown_proposals_are_refused_in_two_ways() {
    let mut daemon = Daemon::of("");
    let demand = daemon.subscribe();
    let unknown = ProposalId::from(format!("R-{}", "0".repeat(64)));

    let (head, tail) = demand.as_str().split_once('-').expect("two parts");
    let text = format!(
        "Proposal [{unknown}] not found (subscription [Some(SubscriptionId {{ random_id: \
         \"{head}\", hash: \"{tail}\" }})])."
    );
    assert_eq!(daemon.counter(&demand, &unknown), refused(404, &text));
    assert_eq!(daemon.reject(&demand, &unknown), refused(500, &text));
}

#[test]
fn a_counter_proposal_must_match_both_ways() {
    let mut daemon = Daemon::of("populations: [{count: 1, arrives: 0}]");
    let demand = daemon.subscribe();
    let proposal = daemon.proposals(&demand, 1).remove(0).id;
    let mut elsewhere = body();
    elsewhere.properties.set("golem.node.debug.subnet", "elsewhere");
    let greedy = DemandBody { constraints: "(golem.inf.cpu.threads>=999)".to_owned(), ..body() };

    for body in [elsewhere, greedy] {
        let reply = daemon.counter_with(&demand, &proposal, body);
        assert!(matches!(&reply, Err(refusal) if refusal.status == Status(400)), "{reply:?}");
    }
    assert!(daemon.counter(&demand, &proposal).is_ok(), "a refused one does not count");
}

#[test]
fn an_offer_that_was_withdrawn_cannot_be_countered() {
    let mut daemon = Daemon::of("populations: [{count: 1, arrives: 0, behaviour: {withdraws: 5}}]");
    let demand = daemon.subscribe();
    let proposal = daemon.proposals(&demand, 1).remove(0).id;
    daemon.wait(Span::secs(5));

    let Err(refusal) = daemon.counter(&demand, &proposal) else { panic!("accepted") };

    assert_eq!(refusal.status, Status(400));
    let body = refusal.body;
    assert!(body.starts_with("{\"message\":\"Subscription ["), "{body}");
    assert!(body.ends_with("] was already unsubscribed.\"}"), "{body}");
}

#[test]
fn a_provider_that_reprices_offers_anew() {
    let mut daemon = Daemon::of(
        "populations: [{count: 1, arrives: 0, start: 1, \
         behaviour: {reprices: {after: 20, factor: 2}}}]",
    );
    let demand = daemon.subscribe();

    let old = daemon.proposals(&demand, 10).remove(0);
    daemon.wait(Span::secs(20));
    let new = daemon.proposals(&demand, 10).remove(0);

    assert_eq!(daemon.now, START.plus(Span::secs(25)), "a new offer is broadcast after 5 s");
    let start = |proposal: &Proposal| {
        let prices = proposal.body.properties.get("golem.com.pricing.model.linear.coeffs");
        prices.and_then(|prices| prices.as_array()?.last().map(ToString::to_string))
    };
    assert_eq!((start(&old), start(&new)), (Some("1.0".to_owned()), Some("2.0".to_owned())));
    assert_eq!(old.issuer, new.issuer);
    assert!(daemon.counter(&demand, &old.id).is_err());
    assert!(daemon.counter(&demand, &new.id).is_ok());
}

#[test]
fn a_provider_that_cannot_be_reached_fails_in_the_words_of_the_documentation() {
    let mut daemon =
        Daemon::of("populations: [{count: 1, arrives: 0, behaviour: {unreachable: 3}}]");
    let demand = daemon.subscribe();
    let id = daemon.proposals(&demand, 1).remove(0).id;

    let reply = daemon.counter(&demand, &id);

    let text = format!(
        "Failed to send response for Proposal [{id}]. Error: Countering Proposal [{id}] GSB error: \
         GSB failure: Net: error forwarding message: Connection timed out.."
    );
    assert_eq!(reply, refused(500, &text));
    assert_eq!(daemon.now, START.plus(Span::secs(3)));
}

#[test]
fn a_slow_provider_takes_its_time_and_a_silent_one_all_of_it() {
    let mut daemon = Daemon::of(
        "daemon: {hop_ms: 100}\npopulations: [{count: 1, arrives: 0, behaviour: {slow: 25}}, \
         {count: 1, arrives: 0, behaviour: silent}]",
    );
    let demand = daemon.subscribe();
    for proposal in daemon.proposals(&demand, 10) {
        assert!(daemon.counter(&demand, &proposal.id).is_ok());
    }

    assert_eq!(daemon.collect(&demand, 40, 10).len(), 1);
    assert!(daemon.now.since(START) >= Span::secs(25));
    assert!(daemon.collect(&demand, 3_000, 10).is_empty());
}

#[test]
fn a_restart_forgets_demands_and_answers_nobody_but_keeps_allocations() {
    let mut daemon = Daemon::of("populations: [{count: 1, arrives: 0}]");
    let Ok(Response::AllocationCreated(allocation)) = daemon.allocate(1, 600) else { panic!() };
    let demand = daemon.subscribe();
    let proposal = daemon.proposals(&demand, 1).remove(0).id;
    daemon.send(&collect(&demand, 30, 10));
    daemon.send(&counter(&demand, &proposal, body()));

    daemon.sim.restart(daemon.now);
    daemon.wait(Span::mins(2));

    assert_eq!(daemon.sim.poll_reply(), None);
    assert_eq!(daemon.ask(&Request::ListDemands), Ok(Response::Demands(Vec::new())));
    assert!(daemon.ask(&collect(&demand, 0, 10)).is_err());
    assert_eq!(daemon.ask(&Request::ListAllocations), Ok(Response::Allocations(vec![allocation])));
    let anew = daemon.subscribe();
    assert_ne!(anew, demand);
    assert_eq!(daemon.collect(&anew, 0, 10).len(), 1);
}

#[test]
fn after_a_restart_offers_come_back_with_broadcasts_but_not_those_withdrawn() {
    let mut daemon = Daemon::of(
        "daemon: {warm: 1}\npopulations: [{count: 20}, {count: 5, behaviour: {withdraws: 5}}]",
    );
    daemon.wait(Span::secs(10));

    daemon.sim.restart(daemon.now);
    let demand = daemon.subscribe();

    assert!(daemon.collect(&demand, 0, 100).is_empty(), "it knows no offers");
    daemon.wait(Span::secs(15));
    assert_eq!(daemon.collect(&demand, 0, 100).len(), 20, "a neighbour told it about all others");
}

#[test]
fn allocations_are_bounded_by_the_wallet_and_end_by_themselves() {
    let mut daemon = Daemon::of("daemon: {wallet: 8}");
    let Ok(Response::AllocationCreated(first)) = daemon.allocate(5, 60) else { panic!() };

    assert_eq!(first.total, Glm::from_whole(5));
    let short = daemon.allocate(5, 60).expect_err("3 are left");
    assert!(short.body.contains("\"availableFunds\":\"3\""), "{}", short.body);
    daemon.wait(Span::secs(60));
    assert!(daemon.allocate(8, 60).is_ok());
    let released = Request::ReleaseAllocation { allocation: first.id.clone() };
    let text = format!("Allocation {} has been already released", first.id);
    assert_eq!(daemon.ask(&released), refused(410, &text));
}

#[test]
fn a_demand_is_decorated_for_its_allocation() {
    let mut daemon = Daemon::of("");
    let Ok(Response::AllocationCreated(allocation)) = daemon.allocate(1, 60) else { panic!() };

    let reply = daemon.ask(&Request::DecorateDemand { allocation: allocation.id });

    let Ok(Response::Decorations(decorations)) = reply else { panic!("{reply:?}") };
    let key = "golem.com.payment.platform.erc20-hoodi-tglm.address";
    assert_eq!(
        decorations.properties,
        [
            (key.to_owned(), allocation.address),
            ("golem.com.payment.protocol.version".to_owned(), "3".to_owned())
        ]
    );
    assert_eq!(
        decorations.constraints,
        [format!("({key}=*)"), "(golem.com.payment.protocol.version>1)".to_owned()]
    );
    let unknown = Request::DecorateDemand { allocation: AllocationId::from("x") };
    assert!(matches!(daemon.ask(&unknown), Err(refusal) if refusal.body == "{\"message\":null}"));
}

#[test]
fn the_books_tell_how_each_negotiation_ended() {
    let mut daemon = Daemon::of(
        "populations: [{count: 1, arrives: 0}, {count: 1, arrives: 0, behaviour: busy}, \
         {count: 1, arrives: 0, behaviour: silent}, {count: 1, name: unasked, arrives: 0}]",
    );
    let demand = daemon.subscribe();
    for proposal in daemon.proposals(&demand, 10) {
        if !name(&proposal).starts_with("unasked") {
            assert!(daemon.counter(&demand, &proposal.id).is_ok());
        }
    }
    daemon.wait(Span::secs(10));
    for event in daemon.collect(&demand, 0, 10) {
        if let DemandEvent::Proposal(draft) = event {
            assert!(daemon.reject(&demand, &draft.id).is_ok());
        }
    }

    let ends = |daemon: &Daemon| -> Vec<(u64, ChainEnd)> {
        let mut chains = daemon.sim.chains();
        chains.sort_by_key(|chain| format!("{:?}", chain.end));
        chains.into_iter().map(|chain| (chain.counters, chain.end)).collect()
    };
    let (theirs, ours) = ((1, ChainEnd::RejectedByProvider), (1, ChainEnd::RejectedByUs));
    assert_eq!(ends(&daemon), [(1, ChainEnd::Open), theirs, ours]);
    assert!(daemon.ask(&Request::Unsubscribe { subscription: demand }).is_ok());
    let withdrawn = (1, ChainEnd::DemandEnded(DemandEnd::Withdrawn));
    assert_eq!(ends(&daemon), [withdrawn, theirs, ours]);
    let mut calls: Vec<u64> = daemon.sim.calls().into_values().collect();
    calls.sort_unstable();
    assert_eq!(calls, [1, 1, 2]);
}

#[test]
fn the_same_seed_gives_the_same_answers() {
    let text = "populations: [{count: 40, cpu_hour: {lognormal: {median: 0.1, sigma: 1}}}]";
    let run = |seed: u64| {
        let mut daemon = Daemon::with_seed(text, seed);
        let demand = daemon.subscribe();
        let mut seen = Vec::new();
        for _ in 0..10 {
            let events = daemon.collect(&demand, 30, 7);
            for event in &events {
                if let DemandEvent::Proposal(proposal) = event
                    && proposal.state == ProposalState::Initial
                {
                    seen.push(format!("{:?}", daemon.counter(&demand, &proposal.id)));
                }
            }
            seen.push(format!("{} {events:?}", daemon.now.as_unix_micros()));
        }
        seen
    };

    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
