//! The page about the cases: who plays how many, who does not play which and why, and where the simulation
//! and the daemon differ. It is written by `CONFORMANCE_PAGE=write` and checked by every other run.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

use crate::{
    book::{Act, Book, Case, Who},
    data, typed,
};

const HEAD: &str = "\
# Conformance: one body of cases, three arms

This page is made from the cases by `CONFORMANCE_PAGE=write cargo test --test conformance page`, and a test
fails when it is out of date.

| arm | is |
| --- | --- |
| process | the simulated daemon in this process, in virtual time, behind the codec of the adapter |
| http | the simulated daemon behind a socket: `golem-sim serve` |
| real | an unmodified yagna in the lab of `tests/lab`, with stand-in providers that take commands and bill |

An arm gives the same status, body, content type, and timing class (at once, or when the time of the request
is over) as all others. Whatever the adapter could have asked, it must be able to read the answer to.
Every call of the adapter (`Endpoint::ALL`) has a case on every arm; a test counts them.

The cases of *data* are functions (`data/`): a client of the daemon's websocket, and a node whose TCP is a kernel's. On the
real arm it is in the lab's central net, on the other one a local node of the simulator's. What a socket carries is not in
the process arm, whose nodes have no sockets.
";

const TAIL: &str = "\
## How a case is written

Cases are text in `cases/*.txt`: a request, then the answer that is wanted.

```text
case an allocation is released once
  after funds
  DELETE /payment-api/v1/allocations/$allocation
  = 200 null
  DELETE /payment-api/v1/allocations/$allocation
  = 410 {\"message\": \"Allocation $allocation has been already released\"}
```

| line | says |
| --- | --- |
| `case NAME`, `story NAME` | what holds; steps that cases share |
| `at SHOP` | whose offers it asks for: the kinds of providers in `shops.rs` |
| `after STORY` | the steps of a story come first |
| `METHOD PATH [BODY]` | a request; lines that begin with a bracket, a brace, or a quote go on |
| `= STATUS [waits] [BODY]` | the answer; `waits`: it comes when the time is over and no sooner; no body: none |
| `=real …`, `=simulated …`, `=sockets …` | the answer of some arms only; then `differs WHY` is needed |
| `problem {…}`, `text \"…\"`, `any` | a body that is a problem document, plain text, or whatever |
| `until METHOD PATH` | the same again and again until it is answered as wanted |
| `send METHOD PATH`, `all STATUS …` | requests at the same time; what all of them are answered |
| `key none`, `header NAME: VALUE` | how the next request is made |
| `check $a < $b`, `let a = b`, `forget a` | decimals compared; names |
| `lets WHAT` | what the daemon does not check, so that we must |
| `skip ARM: WHY` | an arm does not play it |
| `chain MOOD` with `alone` | what becomes of payments; played when all others are over |

What bodies may say beside JSON is told in `pattern.rs`. `CONFORMANCE=part` plays the cases with `part` in their
name, `CONFORMANCE_TELL=1` prints each exchange.

## What no case asks

A case asks what the daemon answers, and never what harms it. Requests are known of yagna 0.17.6 at which it loses a worker,
its service of app-keys, or its service of private networks until it restarts. No case, no test, and no fixture holds one, and
the adapter cannot say one.

Where a node joins a network, the real daemon tells each member of it. Nodes of the simulation are not told: they look up
who is a member, so that no client of the websocket sees a difference. What a node sends comes by the segment there, and never
by several at once, as it does at times; and where the daemon ends a websocket that still has something unread of its client,
the system may call the end a reset.
";

/// The page as it should be.
pub(crate) fn page(book: &Book) -> String {
    let mut page = HEAD.to_owned();
    count(&mut page, &book.cases);
    laxities(&mut page, &book.cases);
    differences(&mut page, &book.cases);
    skips(&mut page, &book.cases);
    flows(&mut page);
    page.push('\n');
    page.push_str(TAIL);
    page
}

/// Where the page is.
pub(crate) fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/README.md")
}

/// Writes the page if that is asked for, and checks it otherwise.
pub(crate) fn check(book: &Book) {
    let wanted = page(book);
    if std::env::var("CONFORMANCE_PAGE").is_ok_and(|word| word == "write") {
        fs::write(path(), wanted).expect("the page can be written");
        return;
    }
    let given = fs::read_to_string(path()).unwrap_or_default();
    assert!(given == wanted, "tests/conformance/README.md is out of date; it says how it is made");
}

fn count(page: &mut String, cases: &[Case]) {
    let mut areas: Vec<&str> = Vec::new();
    for case in cases {
        if !areas.contains(&case.area.as_str()) {
            areas.push(&case.area);
        }
    }
    let total = cases.len() + data::CASES.len() + typed::CASES.len();
    let _ = writeln!(page, "\n## {total} cases\n\n| about | cases | process | http | real |");
    let _ = writeln!(page, "| --- | --: | --: | --: | --: |");
    let row = |page: &mut String, name: &str, cases: &[&Case], more: usize, flows: usize| {
        let played = |who: Who| {
            let told = cases.iter().filter(|case| case.skipped(who).is_none()).count() + more;
            told + if who == Who::Process { 0 } else { flows }
        };
        let [process, http, real] = Who::ALL.map(played);
        let all = cases.len() + more + flows;
        let _ = writeln!(page, "| {name} | {all} | {process} | {http} | {real} |");
    };
    for area in areas {
        let of_area: Vec<&Case> = cases.iter().filter(|case| case.area == area).collect();
        row(page, area, &of_area, 0, 0);
    }
    let (typed, flows) = (typed::CASES.len(), data::CASES.len());
    row(page, "data", &[], 0, flows);
    row(page, "the adapter's own calls", &[], typed, 0);
    row(page, "**all**", &cases.iter().collect::<Vec<_>>(), typed, flows);
}

fn flows(page: &mut String) {
    let _ = writeln!(page, "\n## What flows\n");
    for case in data::CASES {
        let _ = writeln!(page, "- data: {}", case.name);
    }
}

fn laxities(page: &mut String, cases: &[Case]) {
    let _ = writeln!(page, "\n## What the daemon lets through\n");
    let _ = writeln!(page, "Whoever pays checks it alone.\n\n| what | case |\n| --- | --- |");
    for case in cases {
        if let Some(what) = &case.lets {
            let _ = writeln!(page, "| {what} | {}: {} |", case.area, case.name);
        }
    }
}

fn differences(page: &mut String, cases: &[Case]) {
    let _ = writeln!(page, "\n## Known differences\n\n| case | why | who answers what |");
    let _ = writeln!(page, "| --- | --- | --- |");
    for case in cases {
        let Some(why) = &case.differs else { continue };
        let mut answers: Vec<String> = Vec::new();
        for step in &case.steps {
            let (Act::Ask(_, wanted) | Act::Until(_, wanted) | Act::All(wanted)) = &step.act else {
                continue;
            };
            for wanted in wanted {
                let Some(from) = &wanted.from else { continue };
                let from: Vec<&str> = from.iter().map(|who| who.name()).collect();
                answers.push(format!("{} {}", from.join(", "), wanted.status));
            }
        }
        let _ = writeln!(page, "| {}: {} | {why} | {} |", case.area, case.name, answers.join("; "));
    }
}

fn skips(page: &mut String, cases: &[Case]) {
    let _ = writeln!(page, "\n## Cases that an arm does not play");
    for who in Who::ALL {
        let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for case in cases {
            if let Some(why) = case.skipped(who) {
                by_reason.entry(why).or_default().push(format!("{}: {}", case.area, case.name));
            }
        }
        let _ = writeln!(page, "\n### {}\n", who.name());
        for (why, names) in by_reason {
            let _ = writeln!(page, "- {why}:");
            for name in names {
                let _ = writeln!(page, "  - {name}");
            }
        }
    }
}
