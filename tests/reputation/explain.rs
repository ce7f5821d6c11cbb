//! `explain`: what became of each offer, and that it is what the survey counts.

use std::{collections::BTreeMap, path::Path, process::Command};

use ray_on_golem::{
    core::{
        cluster::Step,
        experience::{FailureKind, Observation, Sighting},
    },
    reputation::{FOREVER, Store},
    units::Timestamp,
    yagna::{PlatformId, ProviderId},
};
use serde_json::Value;

const CLUSTER: &str = "fixtures/cluster/golem-cluster.yaml";
const NOW: Timestamp = Timestamp::from_unix_micros(1_800_000_000_000_000);

fn run(words: &[&str], data: Option<&Path>) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ray-on-golem"));
    command.args(words).current_dir(env!("CARGO_MANIFEST_DIR"));
    if let Some(data) = data {
        command.arg("--datadir").arg(data);
    }
    let output = command.output().expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}--- stderr\n{}", text(&output.stdout), text(&output.stderr))
}

fn json(words: &[&str], data: Option<&Path>) -> Value {
    let told = run(words, data);
    let document = told.split("--- stderr").next().unwrap_or_default();
    serde_json::from_str(document).unwrap_or_else(|error| panic!("{error}: {told}"))
}

#[test]
fn a_market_is_explained() {
    let told = run(&["explain", CLUSTER, "--sim", "--rows", "8"], None);

    insta::assert_snapshot!("testnet", told);
}

#[test]
fn what_is_explained_is_what_is_counted() {
    for scenario in ["testnet", "dear", "unreliable", "documentation-example"] {
        let scenario = format!("fixtures/scenario/{scenario}.yaml");
        let words = |command| [command, CLUSTER, "-d", "1", "--sim", scenario.as_str()];
        let counted = json(&[&words("network-stats")[..], &["--format", "json"]].concat(), None);
        let explained = json(&[&words("explain")[..], &["--json"]].concat(), None);

        let subnet = counted["markets"][0]["subnet_tag"].as_str().expect("a subnet");
        let offers = explained["offers"].as_array().expect("a list");
        let offers = offers.iter().filter(|offer| offer["subnet"] == subnet);
        let mut fates = BTreeMap::<&str, u64>::new();
        for offer in offers.clone() {
            let verdict = offer["verdict"].as_str().expect("a sentence");
            let fate = match verdict.contains("choice") {
                true => "agreed",
                false => verdict.split([':', ' ']).next().unwrap_or_default(),
            };
            *fates.entry(fate).or_default() += 1;
        }
        let count = |key: &str| counted["markets"][0]["proposals"][key].as_u64();
        assert_eq!(count("initial"), Some(offers.count() as u64), "{scenario}: {counted:#}");
        let agreed = fates.get("agreed").copied().unwrap_or_default();
        assert_eq!(
            count("negotiated_successfully"),
            Some(agreed),
            "{scenario}: {fates:?}\n{counted:#}"
        );
    }
}

#[test]
fn blame_and_experience_are_shown() {
    let data = tempfile::tempdir().expect("a directory");
    let words = ["explain", CLUSTER, "--sim", "--json"];
    let before = json(&words, Some(data.path()));
    let id = |nth: usize| {
        ProviderId::from(before["offers"][nth]["provider_id"].as_str().expect("an id"))
    };
    let (best, next) = (id(0), id(1));
    assert_ne!(best, next);
    std::fs::create_dir(data.path().join("sim")).expect("writable");
    let mut store = Store::open(&data.path().join("sim"), NOW).expect("a store").store;
    store.block(&best, "hoodi", FOREVER, None).expect("writable");
    let failed = Observation::Failed { step: Step::Start, kind: FailureKind::Broke };
    let seen = [Observation::CameUp, failed].map(|what| {
        let platform = PlatformId::from("erc20-hoodi-tglm");
        (NOW, Sighting { provider: next.clone(), platform, what })
    });
    store.remember(&seen).expect("writable");
    drop(store);

    let after = json(&words, Some(data.path()));

    let of = |provider: &ProviderId| {
        let offers = after["offers"].as_array().expect("a list");
        offers.iter().find(|offer| offer["provider_id"] == provider.as_str()).expect("its offer")
    };
    assert_eq!(of(&best)["verdict"], "blacklisted");
    assert_eq!((&of(&next)["experience"]["tries"], &of(&next)["choice"]), (&2.into(), &1.into()));
}
