//! Scenario files: what the good ones show, and what is said about bad ones.
#![expect(clippy::disallowed_methods, reason = "the fixtures are files")]

use std::{collections::BTreeMap, fs, path::PathBuf};

use golem_sim::{
    plan,
    scenario::Scenario,
    world::{Setup, World},
};
use ray_on_golem::{
    core::{market::funnel::Funnel, reputation::Reputation, rng::Seed, survey::SurveyPlan},
    units::{Glm, Span},
    yagna::PlatformId,
};

#[test]
fn every_scenario_is_read_and_says_what_it_is_about() {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder()).expect("the folder is there") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            assert!(!read(&name).about.is_empty(), "{name} says nothing");
            names.push(name);
        }
    }
    let prose = fs::read_to_string(folder().join("README.md")).expect("the format is documented");

    assert!(names.len() > 5);
    for name in names {
        assert!(prose.contains(&format!("`{name}`")), "README.md does not name {name}");
    }
}

#[test]
fn mistakes_are_refused_with_their_line_and_what_to_write() {
    let mistakes = [
        "population: []",
        "populations: 3",
        "populations:\n  - {name: a}",
        "populations:\n  - {count: -1}",
        "populations:\n  - {count: many}",
        "populations:\n  - {count: 1, cpu_hours: 1}",
        "populations:\n  - {count: 1, cpu_hour: dear}",
        "populations:\n  - {count: 1, cpu_hour: {uniform: [2, 1]}}",
        "populations:\n  - {count: 1, cpu_hour: {uniform: 1}}",
        "populations:\n  - {count: 1, cpu_hour: {normal: {mean: 1}}}",
        "populations:\n  - {count: 1, cpu_hour: {lognormal: {mean: 1, sigma: 1}}}",
        "populations:\n  - {count: 1, cpu_hour: {fixed: 1, uniform: [1, 2]}}",
        "populations:\n  - {count: 1, cpu_hour: {choice: {cheap: 1}}}",
        "populations:\n  - {count: 1, cpu_hour: {fixed: 1, min: 2, max: 1}}",
        "populations:\n  - {count: 1, behaviour: onest}",
        "populations:\n  - {count: 1, behaviour: {slo: 5}}",
        "populations:\n  - {count: 1, behaviour: {slow: 5, raises: 2}}",
        "populations:\n  - {count: 1, behaviour: {outbound: never}}",
        "populations:\n  - {count: 1, behaviour: {reprices: {after: 3}}}",
        "populations:\n  - {count: 1, quirk: short-vectors}",
        "populations:\n  - {count: 1, capabilities: vpn}",
        "populations:\n  - {count: 1, conduct: honest}",
        "populations:\n  - {count: 1, conduct: {aproval: late}}",
        "populations:\n  - {count: 1, conduct: {approval: maybe}}",
        "populations:\n  - {count: 1, conduct: {approval: {refuses: no}}}",
        "populations:\n  - {count: 1, conduct: {create_fails: 101}}",
        "populations:\n  - {count: 1, conduct: {load: 2}}",
        "populations:\n  - {count: 1, conduct: {deploy: soon}}",
        "populations:\n  - {count: 1, conduct: {command_fails: -1}}",
        "populations:\n  - {count: 1, conduct: {zombie: perhaps}}",
        "populations:\n  - {count: 1, conduct: {ssh: always}}",
        "populations:\n  - {count: 1, conduct: {ssh: {up: 1, flapping: 5}}}",
        "populations:\n  - {count: 1, conduct: {amounts: {adds: -1}}}",
        "populations:\n  - {count: 1, conduct: {notes: none}}",
        "populations:\n  - {count: 1, conduct: {invoices: two}}",
        "populations:\n  - {count: 1, conduct: {payee: me}}",
        "daemon: {warm: 1.5}",
        "daemon: {walet: 5}",
        "daemon: {wallet: -5}",
        "faults: {reply_lost: 101}",
        "faults: {reply_lost: 60, closed: 60}",
        "faults: {reply_loss: 1}",
        "faults:\n  outages: [{at: 1, for: 2, kind: nap}]",
        "faults:\n  outages: [{at: 1, kind: down}]",
    ];

    let said: Vec<String> = mistakes
        .iter()
        .map(|text| match Scenario::parse(text.as_bytes()) {
            Ok(scenario) => format!("{text} is read: {scenario:?}"),
            Err(error) => error.in_file("a.yaml"),
        })
        .collect();

    insta::assert_snapshot!("refused", said.join("\n"));
}

#[test]
fn the_documented_survey_comes_out_as_documented_for_every_seed() {
    let scenario = read("documentation-example.yaml");
    let failures = BTreeMap::from(
        [
            (
                "Outbound rejected because: Everyone rule didn't match whitelist ; \
                 Audited-Payload rule requires manifest signature ; Partner rule requires node \
                 descriptor ; ",
                4,
            ),
            ("No capacity available. Reached Agreements limit: 1", 2),
            ("Failed to send proposal response! Request timed out", 1),
            (
                "Failed to send proposal response! 500: {\"message\":\"Failed to send response for \
                 Proposal [***]. Error: Countering Proposal [***] GSB error: GSB failure: Net: \
                 error forwarding message: Connection timed out..\"}",
                1,
            ),
        ]
        .map(|(reason, count)| (reason.to_owned(), count)),
    );
    let documented = Funnel {
        initial: 48,
        not_blacklisted: 48,
        within_limit: vec![48; 4],
        negotiated: 48,
        agreed: 37,
        failures,
        unfinished: 3,
        turned_away: vec![Default::default(); 4],
        ..Funnel::default()
    };

    for seed in 0..60 {
        assert_eq!(survey(&scenario, seed), documented, "seed {seed}");
    }
}

#[test]
fn small_markets_show_what_they_are_for() {
    let counts = |name: &str| {
        let funnel = survey(&read(name), 1);
        (funnel.initial, funnel.within_limit, funnel.agreed)
    };

    assert_eq!(counts("empty.yaml"), (0, vec![0, 0, 0, 0], 0));
    // The last one asks for exactly the limits.
    assert_eq!(counts("dear.yaml"), (15, vec![13, 10, 5, 1], 1));
    assert_eq!(counts("free-and-equal.yaml"), (12, vec![12, 12, 12, 12], 12));
}

/// What a survey of five minutes finds on the subnet `public`.
fn survey(scenario: &Scenario, seed: u64) -> Funnel {
    let setup = Setup {
        scenario: scenario.clone(),
        seed: Seed::new(seed),
        is_audited: false,
        is_wired: false,
        is_traced: false,
        bug: None,
        end_after: None,
        crash_at_call: None,
    };
    let plan = SurveyPlan {
        spec: plan::spec(),
        image: plan::image("survey"),
        platform: PlatformId::from("erc20-hoodi-tglm"),
        funds: Glm::from_whole(1),
        duration: Span::mins(5),
        reputation: Reputation::default(),
        parallel: 64,
        explains: false,
        pool_capacity: 1_000,
    };
    let run = World::new(setup).survey(plan);
    let mut report = run.answer.expect("an answer").expect("a report");
    report.markets.remove(0).funnel
}

fn read(name: &str) -> Scenario {
    let bytes = fs::read(folder().join(name)).expect(name);
    Scenario::parse(&bytes).unwrap_or_else(|error| panic!("{}", error.in_file(name)))
}

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/scenario"))
}
