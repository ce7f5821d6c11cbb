//! What the original is known to do, seen in the network's books.

use ray_on_golem::{units::Span, yagna::AgreementState};

use super::{BEGINNING, Plan, User};
use crate::yagna::SimYagna;

fn after<T>(text: &str, look: impl FnOnce(&SimYagna) -> T) -> T {
    let plan = Plan::parse(text.as_bytes()).expect("a plan");
    let mut user = User::begin(&plan);
    user.live();
    let daemon = user.service.world.daemon.borrow();
    look(&daemon)
}

#[test]
fn a_cluster_comes_up_and_everything_is_paid_and_over() {
    let text = "market: {honest: 8}\nops: [keep 3, wait 1800]";

    let (states, is_released, unpaid) = after(text, |daemon| {
        let states: Vec<_> = daemon.agreements().iter().map(|it| it.state).collect();
        let unpaid = daemon.invoices().iter().filter(|it| it.accepted.is_none()).count();
        (states, daemon.allocations().iter().all(|it| it.is_released), unpaid)
    });

    assert_eq!(states, [AgreementState::Terminated; 4]);
    assert!(is_released);
    assert_eq!(unpaid, 0);
}

/// §5 and §4: offers are scored ten seconds after the first has come, and a head waits for recommended
/// providers for half a minute.
#[test]
fn workers_wait_for_the_score_and_heads_for_recommended_providers() {
    let first = |op: &str| {
        let text = format!("market: {{honest: 9}}\nops: [{op}, wait 600]");
        after(&text, |daemon| daemon.agreements()[0].created.since(BEGINNING).as_secs())
    };

    let (head, worker) = (first("head"), first("request 1"));

    assert!((10..15).contains(&worker), "{worker}");
    assert!((30..35).contains(&head), "{head}");
}

/// §7: it asks for one agreement at a time for a node, and waits until nobody can approve it any more.
#[test]
fn a_silent_provider_holds_a_node_up_for_a_minute() {
    let asked = after("market: {silent: 3}\nops: [keep 0, wait 600]", |daemon| {
        daemon.agreements().iter().map(|it| it.created).collect::<Vec<_>>()
    });

    assert!(asked.len() > 1);
    assert!(asked.is_sorted_by(|one, next| next.since(*one) >= Span::mins(1)), "{asked:?}");
}

/// §8: bootstrap is one batch for each command.
#[test]
fn a_node_takes_eleven_batches() {
    let batches = after("market: {honest: 1}\nops: [head, wait 600]", |daemon| {
        daemon.activities().iter().map(|it| it.batches.len()).collect::<Vec<_>>()
    });

    assert_eq!(batches, [11]);
}

/// Weakness 7: a provider that fails is asked again at once, and paid again for starting.
#[test]
fn a_failing_provider_is_paid_again_and_again() {
    let text = "market: {script-fails: 1}\nops: [head, wait 1800]";

    let (providers, paid) = after(text, |daemon| {
        let mut providers: Vec<_> = daemon.agreements().iter().map(|it| &it.provider).collect();
        providers.dedup();
        let paid = daemon.invoices().iter().filter(|it| it.accepted.is_some()).count();
        (providers.len(), paid)
    });

    assert_eq!(providers, 1);
    assert!(paid > 10, "{paid}");
}

/// Weakness 7: a refused agreement is used all the same, which ends the node.
#[test]
fn a_refused_agreement_ends_the_node_and_the_user_asks_again() {
    let asked = |ops: &str| {
        let text = format!("market: {{rejects: 5}}\nops: [{ops}]");
        after(&text, |daemon| daemon.agreements().len())
    };

    assert_eq!(asked("head, wait 600"), 1);
    assert!(asked("keep 0, wait 600") > 1);
}

/// Weakness 3: the last worker takes its stack with it. Three drafts are left, then no worker ever comes
/// again.
#[test]
fn a_stack_that_was_stopped_gives_no_more_nodes() {
    let text = "populations:\n\
                - {name: good, count: 1, conduct: {deploy: 5}, subnet: heads}\n\
                - {name: bad, count: 9, conduct: {terminates_after: 600}}\n\
                ops: [keep 1, wait 7200]";

    let workers = after(text, |daemon| daemon.agreements().len() - 1);

    assert_eq!(workers, 4);
}

/// §10: what could not have been used is not paid, nor anything after it.
#[test]
fn a_bill_beyond_all_use_is_not_paid() {
    let accepted = |amounts: &str| {
        let text = format!(
            "populations: [{{count: 1, conduct: {{amounts: {amounts}}}}}]\nops: [head, wait 1800]"
        );
        after(&text, |daemon| {
            daemon.invoices().iter().map(|it| it.accepted.is_some()).collect::<Vec<_>>()
        })
    };

    assert_eq!(accepted("honest"), [true]);
    assert_eq!(accepted("{times: 10}"), [false]);
    // All threads may have been busy: nobody can tell.
    assert_eq!(accepted("{times: 1.4}"), [true]);
}

#[test]
fn the_same_plan_has_one_course() {
    let plan = Plan::parse(
        b"seed: 3\nmarket: {honest: 20, vanishes: 5, rejects: 5, silent: 3, deploy-fails: 3}\n\
          ops: [keep 12, wait 2400]",
    )
    .expect("a plan");

    let (one, other) = (super::measure(&plan), super::measure(&plan));

    assert_eq!(one.measures, other.measures);
    assert!(one.measures.ready.len() > 10);
}
