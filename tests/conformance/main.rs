//! One body of cases, three arms: the simulated daemon in process, the same behind a socket, and a real
//! yagna. Where all pass, what holds in the simulation holds at the daemon.
//!
//! Most cases are text (`cases/*.txt`), and `README.md` beside them is their table of contents.
//! The cases of `typed.rs` are the adapter's own calls. `CONFORMANCE` in the environment, a part of a
//! case's name, plays only some of them.

#![expect(clippy::print_stdout, reason = "tells how many cases were played")]

#[path = "../lab/mod.rs"]
mod lab;

#[path = "../local_node/mod.rs"]
mod local_node;
#[expect(dead_code, reason = "the simulator's own tests use the rest")]
#[path = "../../sim/tests/serve/lab.rs"]
mod served_lab;

mod arms;
mod book;
mod data;
mod page;
mod pattern;
mod play;
mod shops;
mod typed;

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use arms::{Arm, Real, Served, Sim};
use book::{Book, Case, Who};
use play::play;
use ray_on_golem::yagna::Endpoint;

/// Cases that are played at the same time where time is real.
const AT_ONCE: usize = 12;

/// The files of cases, in the order in which they are read.
const FILES: [(&str, &str); 9] = [
    ("stories", include_str!("cases/stories.txt")),
    ("market", include_str!("cases/market.txt")),
    ("agreement", include_str!("cases/agreement.txt")),
    ("activity", include_str!("cases/activity.txt")),
    ("payment", include_str!("cases/payment.txt")),
    ("bills", include_str!("cases/bills.txt")),
    ("net", include_str!("cases/net.txt")),
    ("services", include_str!("cases/services.txt")),
    ("errors", include_str!("cases/errors.txt")),
];

#[test]
fn the_simulated_daemon_conforms() {
    conforms(Who::Process, 1, || Box::new(Sim::new()));
}

#[test]
fn the_served_daemon_conforms() {
    let served = Served::new();
    conforms(Who::Http, AT_ONCE, || Box::new(served.arm()));
}

#[test]
fn the_real_daemon_conforms() {
    let real = Real::start();
    conforms(Who::Real, AT_ONCE, || Box::new(real.arm()));
}

#[test]
fn data_flows_at_the_served_daemon_as_it_should() {
    data_flows(data::Arm::Http);
}

#[test]
fn data_flows_at_the_real_daemon_as_it_should() {
    data_flows(data::Arm::Real);
}

#[test]
fn the_page_is_up_to_date() {
    page::check(&Book::read(&FILES));
}

#[test]
fn the_readme_counts_as_the_page_does() {
    let page = page::page(&Book::read(&FILES));
    let readme = std::fs::read_to_string(page::path().with_file_name("../../README.md"));
    let readme = readme.expect("there is a readme");
    let row = page.lines().find(|line| line.starts_with("| **all** |")).expect("a row of sums");
    let [all, process, http, real] = row
        .split('|')
        .filter_map(|cell| cell.trim().parse::<usize>().ok())
        .collect::<Vec<_>>()
        .try_into()
        .expect("four counts");
    let (_, differences) = page.split_once("## Known differences").expect("a table of them");
    let (table, _) = differences.split_once("\n## ").expect("more follows");
    let known = table.lines().filter(|line| line.contains("; ") || line.contains(": ")).count();

    for words in [
        format!("| {all} cases: "),
        format!("| {process} in process, {http} over HTTP, {real} on a real yagna |"),
        format!("Known differences are {known} cases"),
    ] {
        assert!(readme.contains(&words), "README.md does not say `{words}`");
    }
}

#[test]
fn every_call_of_the_adapter_has_a_case_on_every_arm() {
    let book = Book::read(&FILES);

    for who in Who::ALL {
        let played = book.cases.iter().filter(|case| case.skipped(who).is_none());
        let asked: BTreeSet<Endpoint> = played.flat_map(Case::endpoints).collect();
        let missing: Vec<&str> = Endpoint::ALL
            .into_iter()
            .filter(|endpoint| !asked.contains(endpoint))
            .map(Endpoint::name)
            .collect();
        assert!(missing.is_empty(), "{}: no case asks {}", who.name(), missing.join(", "));
    }
}

#[test]
fn answers_differ_only_where_it_is_said() {
    for case in Book::read(&FILES).cases {
        assert_eq!(case.differs.is_some(), case.has_differences(), "{}", case.name);
    }
}

/// Plays all cases on an arm, each on one of its own, and tells of all that fail.
fn conforms<'a>(who: Who, at_once: usize, arm: impl Fn() -> Box<dyn Arm + 'a> + Sync) {
    let cases = chosen(Book::read(&FILES).cases);
    let typed: Vec<_> = typed::CASES.iter().filter(|(name, _)| is_chosen(name)).collect();
    let (alone, played): (Vec<&Case>, Vec<&Case>) =
        cases.iter().filter(|case| case.skipped(who).is_none()).partition(|case| case.is_alone);
    let jobs = typed.len() + played.len();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            let (name, outcome) = if let Some(case) = played.get(job) {
                (case.name.as_str(), play(case, &mut *arm()))
            } else if let Some((name, case)) = typed.get(job - played.len()) {
                (*name, caught(|| case(&mut *arm())))
            } else {
                return;
            };
            if let Err(why) = outcome {
                failures.lock().expect("nobody panics with it").push(format!("{name}\n  {why}"));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(work);
        }
    });
    let mut failures = failures.into_inner().expect("nobody panicked with it");
    for case in &alone {
        if let Err(why) = play(case, &mut *arm()) {
            failures.push(format!("{}\n  {why}", case.name));
        }
    }
    let (all, name) = (jobs + alone.len(), who.name());
    let skipped = cases.len() + typed.len() - all;
    println!("{name}: {all} cases played, {skipped} skipped, {} failed", failures.len());
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// Plays the cases of data on an arm, and tells of all that fail. Those that spoil a node have one of their own.
fn data_flows(arm: data::Arm) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let played: Vec<_> = data::CASES.iter().filter(|case| is_chosen(case.name)).collect();
    let (alone, shared): (Vec<_>, Vec<_>) = played.into_iter().partition(|case| case.is_alone);
    let sites = alone.into_iter().map(|case| vec![case]).chain([shared]);
    let failures = Mutex::new(Vec::new());
    let play_on_one_site = |cases: Vec<&data::Case>| {
        let site = runtime.block_on(data::Site::start(arm));
        for case in cases {
            if let Err(why) = caught(|| runtime.block_on((case.play)(&site))) {
                let failure = format!("data: {}\n  {why}", case.name);
                failures.lock().expect("nobody panics with it").push(failure);
            }
        }
        runtime.block_on(site.end());
    };
    std::thread::scope(|scope| {
        for cases in sites.filter(|cases| !cases.is_empty()) {
            scope.spawn(|| play_on_one_site(cases));
        }
    });
    let failures = failures.into_inner().expect("nobody panicked with it");
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// A panic as a failure like any other.
fn caught(case: impl FnOnce()) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(case)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default()
    })
}

fn chosen(cases: Vec<Case>) -> Vec<Case> {
    cases.into_iter().filter(|case| is_chosen(&case.name)).collect()
}

fn is_chosen(name: &str) -> bool {
    std::env::var("CONFORMANCE").map_or(true, |part| name.contains(&part))
}
