//! Small scope, but all of it: one node, one provider, every order of up to six things that happen, with
//! a crash at every place between them and without one.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use golem_sim::drill::Plan;

/// What may happen to a head node that was asked for a moment ago.
const EVENTS: [&str; 6] = ["head", "terminate 0", "down", "restart 5", "suspend 3", "budget 20"];
/// The process dies at the third output after the event before: in the midst of what that caused.
const CRASH: &str = "crash 2";
/// Orders of up to six of six things; with a crash at one of the places between, or with none.
const ORDERS: usize = 1_957;
const RUNS: usize = 13_700;

#[test]
fn every_order_of_six_events_and_a_crash_is_survived() {
    let orders = orders();
    let runs: Vec<Vec<&str>> = orders.iter().flat_map(|order| with_crash(order)).collect();
    assert_eq!((orders.len(), runs.len()), (ORDERS, RUNS));

    let next = AtomicUsize::new(0);
    let work = || {
        let mut broken = Vec::new();
        while let Some(events) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let text = plan(events);
            let plan = Plan::parse(text.as_bytes()).expect("a plan");
            if let Some(violation) = plan.run(None, false).violation {
                broken.push(format!("{violation:?}\n{text}"));
            }
        }
        broken
    };
    let broken: Vec<String> = thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    });

    assert_eq!(broken, [""; 0]);
}

/// Every order of every choice of the events.
fn orders() -> Vec<Vec<&'static str>> {
    let mut orders: Vec<Vec<&str>> = vec![Vec::new()];
    let mut first = 0;
    while let Some(order) = orders.get(first).cloned() {
        first += 1;
        for event in EVENTS.into_iter().filter(|event| !order.contains(event)) {
            orders.push(order.iter().copied().chain([event]).collect());
        }
    }
    orders
}

/// The order as it is, and with a crash at each of its places.
fn with_crash<'a>(order: &[&'a str]) -> Vec<Vec<&'a str>> {
    let at = |place: usize| {
        let (before, after) = order.split_at(place);
        before.iter().copied().chain([CRASH]).chain(after.iter().copied()).collect()
    };
    [order.to_vec()].into_iter().chain((0..=order.len()).map(at)).collect()
}

/// A few seconds lie between the events, so that each meets another step of the bring-up.
fn plan(events: &[&str]) -> String {
    let ops: Vec<String> = events.iter().map(|event| format!("{event}, wait 7")).collect();
    format!("seed: 1\nmarket: {{honest: 1}}\nops: [head, wait 4, {}]", ops.join(", "))
        .replace(", ]", "]")
}
