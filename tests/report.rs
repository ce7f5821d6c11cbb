//! Reports: exact numbers of the committed markets, so that a change of policy is seen.

use std::{fs, path::PathBuf};

use golem_sim::{
    drill::{Op, Outcome, Plan},
    report::{Order, Report},
};

fn report(name: &str, sweep: Option<&str>, seeds: u64) -> Report {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/plan/{name}.yaml"));
    let plan = Plan::parse(&fs::read(path).expect("a readable file")).expect("a plan");
    let order = Order::new(name.to_owned(), plan, seeds);
    let order = match sweep {
        Some(sweep) => order.sweep(sweep).expect("a sweep"),
        None => order,
    };
    let outcomes: Vec<Outcome> = (0..order.runs()).map(|run| order.trial(run).measure()).collect();
    order.report(&outcomes)
}

#[test]
fn a_rich_market_has_its_times_and_prices() {
    let report = report("rich-market", Some("ops.request=0,9,49"), 4);

    assert_eq!(report.failures(), []);
    insta::assert_snapshot!("rich-market.text", report.text());
    insta::assert_snapshot!("rich-market.json", report.json());
    insta::assert_snapshot!("rich-market.svg", report.svg());
}

#[test]
fn a_flaky_market_has_its_times_and_prices() {
    let report = report("flaky-market", Some("market.honest=10,40"), 4);

    assert_eq!(report.failures(), []);
    insta::assert_snapshot!("flaky-market.text", report.text());
    insta::assert_snapshot!("flaky-market.svg", report.svg());
}

#[test]
fn a_flaky_daemon_has_its_times_and_prices() {
    let report = report("flaky-daemon", Some("faults.reply_lost=0,5"), 4);

    assert_eq!(report.failures(), []);
    insta::assert_snapshot!("flaky-daemon.text", report.text());
}

#[test]
fn a_plan_is_measured_as_it_is_without_a_sweep() {
    let report = report("rich-market", None, 2);

    assert_eq!(report.file_stem(), "rich-market");
    insta::assert_snapshot!("no-sweep.text", report.text());
    insta::assert_snapshot!("no-sweep.svg", report.svg());
}

#[test]
fn reports_have_one_text() {
    let twice = || report("flaky-daemon", None, 3);

    assert_eq!(twice().json(), twice().json());
}

/// The README measures the memory of this plan, which takes too long for a test.
#[test]
fn the_plan_of_a_thousand_nodes_is_a_plan() {
    let plan = Plan::parse(include_bytes!("../benches/thousand-nodes.yaml")).expect("a plan");

    assert_eq!(plan.market.values().sum::<u32>(), 10_000);
    assert_eq!(plan.ops[..2], [Op::Head, Op::Request(999)]);
}
