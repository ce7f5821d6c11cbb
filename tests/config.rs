//! Cluster files: what is read from good ones, and what is said about bad ones.
#![expect(clippy::disallowed_methods, reason = "the fixtures are files")]

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};
use ray_on_golem::config::{ClusterFile, ConfigError, NodeKind, NodesRequest, yaml};
use ray_on_golem::core::autostop::Autostop;
use ray_on_golem::core::market::spec::ImageRef;
use ray_on_golem::core::reputation::Reputation;
use ray_on_golem::units::{Glm, Span};
use serde_json::{Value, json};

#[test]
fn every_refused_file_is_refused_with_one_clear_sentence() {
    let sentences: Vec<String> = files("refused")
        .into_iter()
        .map(|path| match read(&path) {
            Ok(_) => format!("{} is read", path.display()),
            Err(error) => error.to_string(),
        })
        .collect();

    insta::assert_snapshot!("refused", sentences.join("\n"));
}

#[test]
fn what_cannot_be_read_as_a_file_is_refused_too() {
    let said = |name: &str| {
        let error = fs::read(fixture(name)).expect_err("no file");
        ConfigError::unreadable(name, error.kind()).to_string()
    };

    assert_eq!(said("missing.yaml"), "missing.yaml: the file does not exist; check its name");
    assert_eq!(said("refused"), "refused: this is a directory; name the YAML file in it");
    let nested = "[".repeat(10_000_000);
    assert_eq!(
        ClusterFile::parse("a.yaml", nested.as_bytes()).expect_err("too large").to_string(),
        "a.yaml: the file has 10000000 bytes, and at most 1048576 are read; is it really a YAML \
         file?"
    );
}

#[test]
fn our_files_are_read_without_a_warning() {
    for path in files("") {
        let cluster = read(&path).expect("a file of ours");

        assert_eq!(cluster.warnings, Vec::<String>::new(), "{}", path.display());
        insta::assert_debug_snapshot!(name_of(&path).replace('.', "-"), cluster);
    }
}

#[test]
fn the_default_file_has_every_limit() {
    let cluster = read(&fixture("golem-cluster.yaml")).expect("a file of ours");

    for node_type in &cluster.node_types {
        let limits = &node_type.spec.limits;
        let usage = limits.per_cpu_expected_usage.expect("an expected usage");
        assert!(usage.max_cost.is_some());
        assert!(limits.max_start_price.is_some());
        assert!(limits.max_cpu_per_hour_price.is_some());
        assert!(limits.max_env_per_hour_price.is_some());
    }
}

#[test]
fn a_node_type_is_found_by_name_or_the_names_are_listed() {
    let cluster = read(&fixture("gpu.yaml")).expect("a file of ours");

    let found = cluster.node_type("ray.worker.gpu").expect("a node type of the file");
    assert_eq!(found.spec.runtime, "vm-nvidia");
    assert_eq!(cluster.head().name, "ray.head.default");
    assert_eq!(
        cluster.node_type("gpu").expect_err("no node type of the file").to_string(),
        "Given node type `gpu` is not found in the config file! \
         Available node types: ray.head.default, ray.worker.gpu"
    );
}

#[test]
fn levels_are_merged_and_null_puts_the_default_back() {
    let text = "
cluster_name: merged
provider:
  type: external
  use_internal_ips: true
  module: ray_on_golem.provider.node_provider.GolemNodeProvider
  parameters:
    node_config:
      subnet_tag: ours
      priority_subnet_tag: first
      demand:
        image_tag: a:1
        capabilities: [gpu]
        outbound_urls: [https://a.example, https://b.example]
        node_descriptor: {a: {b: 1}, list: [1]}
      budget_control:
        max_start_price: 1
        per_cpu_expected_usage: {cpu_load: 0.5, duration_hours: 1}
available_node_types:
  head:
    node_config:
      priority_subnet_tag: null
      demand: {outbound_urls: [https://b.example, http://c.example], capabilities: [vpn, x]}
      budget_control: {per_cpu_expected_usage: {cpu_load: 1, max_cost: 2}}
  worker:
    node_config:
      subnet_tag: null
      demand:
        image_tag: null
        image_hash: 1a2b
        outbound_urls: null
        node_descriptor: {a: {c: 2}, list: [2]}
      budget_control: {max_start_price: null, per_cpu_expected_usage: null}
head_node_type: head
";
    let cluster = ClusterFile::parse("merged.yaml", text.as_bytes()).expect("a sound file");
    let (head, worker) =
        (&cluster.head().spec, &cluster.node_type("worker").expect("a node type").spec);

    assert_eq!(head.subnet_tag, "ours");
    assert_eq!(head.priority_subnet_tag, None);
    assert_eq!(head.capabilities, ["vpn", "inet", "gpu", "x", "manifest-support"]);
    assert_eq!(head.outbound_urls, ["https://a.example", "https://b.example", "http://c.example"]);
    let usage = head.limits.per_cpu_expected_usage.expect("an expected usage");
    assert_eq!((usage.cpu_load.as_millionths(), usage.duration.as_secs()), (1_000_000, 3600));
    assert_eq!(worker.subnet_tag, "public");
    assert_eq!(worker.priority_subnet_tag.as_deref(), Some("first"));
    assert_eq!(worker.image, ImageRef::Hash("1a2b".to_owned()));
    assert_eq!(worker.capabilities, ["vpn", "inet", "gpu"]);
    assert_eq!(worker.outbound_urls, Vec::<String>::new());
    assert_eq!(worker.limits.per_cpu_expected_usage, None);
    assert_eq!(worker.limits.max_start_price, None);
    let descriptor = worker.node_descriptor.clone().map(Value::Object);
    assert_eq!(
        descriptor.map(|descriptor| descriptor.to_string()).as_deref(),
        Some(r#"{"a":{"b":1,"c":2},"list":[1,2]}"#)
    );
}

#[test]
fn retired_networks_and_odd_providers_are_warned_about() {
    let text = fs::read_to_string(fixture("golem-cluster.yaml")).expect("a file of ours");
    let text = text
        .replace("payment_network: hoodi", "payment_network: mumbai")
        .replace("use_internal_ips: true", "use_internal_ips: false")
        .replace("GolemNodeProvider", "GolemNodeProvidr");

    let cluster = ClusterFile::parse("a.yaml", text.as_bytes()).expect("a file with warnings");

    assert_eq!(cluster.parameters.payment_network.name, "amoy");
    insta::assert_snapshot!("warnings", cluster.warnings.join("\n"));
}

#[test]
fn a_request_for_nodes_says_what_the_file_says() {
    let cluster = read(&fixture("full.yaml")).expect("a file of ours");
    let request = NodesRequest::read(&request()).expect("a sound request");

    let worker = cluster.node_type("ray.worker.default").expect("a node type of the file");
    assert_eq!(request.parameters, cluster.parameters);
    assert_eq!(request.spec, worker.spec);
    assert_eq!((request.kind, request.count), (NodeKind::Worker, 2));
    assert_eq!(
        (request.ssh_user.as_str(), request.ssh_private_key.as_deref()),
        ("root", Some("/k"))
    );
    let plan = request.parameters.plan("ssh-ed25519 A".to_owned(), Reputation::default(), None);
    assert_eq!(plan.total_budget, Glm::from_whole(5));
    assert_eq!(plan.max_glm_per_hour.map(|rate| rate.to_string()).as_deref(), Some("2.5"));
    let at = Span::hours(22).plus(Span::mins(30));
    assert_eq!(plan.autostop, Some(Autostop { idle: Some(Span::mins(30)), at: Some(at) }));
}

#[test]
fn a_head_of_the_original_is_asked_for_with_its_defaults() {
    let mut body = request();
    body["tags"]["ray-node-type"] = "head".into();
    body["provider_parameters"] = json!({
        "webserver_port": 4578, "ray_gcs_expose_port": null, "enable_registry_stats": true,
        "payment_network": "holesky", "payment_driver": "erc20", "total_budget": 5.0,
        "node_config": {"subnet_tag": "public", "priority_subnet_tag": null},
        "ssh_private_key": "/k", "ssh_user": "root", "webserver_datadir": null
    });

    body["node_config"]["demand"]["image_tag"] = "golem/ray-on-golem:1".into();
    body["node_config"]["demand"]["image_hash"] = Value::Null;

    let request = NodesRequest::read(&body).expect("a sound request");

    assert_eq!(request.kind, NodeKind::Head);
    assert_eq!(request.spec.priority_subnet_tag, None, "null in the file means none");
    assert_eq!(request.parameters.payment_network.name, "hoodi");
    assert_eq!(request.parameters.ray_gcs_expose_port, None);
    assert_eq!(
        request.warnings,
        [
            "provider_parameters.payment_network: `holesky` has been shut down, and `hoodi` is used; \
          write `hoodi`"
        ]
    );
}

#[test]
fn every_refused_request_is_refused_with_one_clear_sentence() {
    let slips: [(&str, Value); 18] = [
        ("/cluster_name", Value::Null),
        ("/cluster_name", json!([])),
        ("/provider_parameters", json!("x")),
        ("/provider_parameters/total_budgte", json!(1)),
        ("/provider_parameters/total_budget", json!("all of it")),
        ("/provider_parameters/total_budget", json!(-1)),
        ("/provider_parameters/autostop", json!({"at": 1350})),
        ("/provider_parameters/payment_network", json!("polygone")),
        ("/provider_parameters/node_config/demand/ram", json!(1)),
        ("/node_config/demand/image_hash", json!("ab12")),
        ("/node_config/demand/max_cpu_threads", json!(0)),
        ("/node_config/min_mem_gib", json!(1)),
        ("/count", json!(0)),
        ("/count", json!(1.5)),
        ("/tags/ray-node-type", json!("boss")),
        ("/tags/x", json!(null)),
        ("/tags/x", json!("x".repeat(16 << 10))),
        ("/idempotency_key", json!("k".repeat(257))),
    ];
    let sentences = slips.into_iter().map(|(path, value)| {
        let mut body = request();
        let (parent, key) = path.rsplit_once('/').expect("a path");
        body.pointer_mut(parent).expect("a part of the request")[key] = value;
        NodesRequest::read(&body).expect_err("a slip").to_string()
    });

    insta::assert_snapshot!("refused-requests", sentences.collect::<Vec<_>>().join("\n"));
    for body in [json!(null), json!([1]), json!("text"), json!({})] {
        assert!(NodesRequest::read(&body).is_err(), "{body}");
    }
}

/// As the node provider sends the workers of `full.yaml`.
fn request() -> Value {
    let bytes = fs::read(fixture("full.yaml")).expect("a fixture");
    let file = yaml::parse(&bytes).expect("a file of ours").to_json();
    let mut parameters = file["provider"]["parameters"].clone();
    parameters["ssh_private_key"] = "/k".into();
    parameters["ssh_user"] = "root".into();
    json!({
        "cluster_name": "full",
        "provider_parameters": parameters,
        "node_config": file["available_node_types"]["ray.worker.default"]["node_config"],
        "count": 2,
        "tags": {"ray-node-type": "worker", "ray-launch-config": ""},
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        drop(ClusterFile::parse("a.yaml", &bytes));
    }

    #[test]
    fn no_text_that_looks_like_yaml_causes_a_panic(text in yaml_like()) {
        if let Ok(tree) = yaml::parse(text.as_bytes()) {
            drop(tree.to_json());
        }
        drop(ClusterFile::parse("a.yaml", text.as_bytes()));
    }

    #[test]
    fn no_slip_in_a_good_file_causes_a_panic(
        slip in prop_oneof![Just(Slip::Drop), Just(Slip::Repeat), yaml_like().prop_map(Slip::Replace),
            yaml_like().prop_map(Slip::Value)],
        line in any::<prop::sample::Index>(),
    ) {
        let text = fs::read_to_string(fixture("full.yaml")).expect("a file of ours");
        let text = slip.applied(&text, line);

        match ClusterFile::parse("full.yaml", text.as_bytes()) {
            Ok(cluster) => drop(cluster.head().spec.clone()),
            Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
        }
    }
}

/// What goes wrong with one line.
#[derive(Clone, Debug)]
enum Slip {
    Drop,
    Repeat,
    Replace(String),
    Value(String),
}

impl Slip {
    fn applied(&self, text: &str, line: prop::sample::Index) -> String {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let at = line.index(lines.len());
        match self {
            Self::Drop => drop(lines.remove(at)),
            Self::Repeat => lines.insert(at, lines[at].clone()),
            Self::Replace(other) => lines[at].clone_from(other),
            Self::Value(value) => {
                let key = lines[at].split_once(':').map_or("", |(key, _)| key).to_owned();
                lines[at] = format!("{key}: {value}");
            }
        }
        lines.join("\n")
    }
}

fn yaml_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "a",
            "b: ",
            "- ",
            "[",
            "]",
            "{",
            "}",
            ", ",
            "\n",
            "\n  ",
            "\n    ",
            "\t",
            "&x ",
            "*x",
            "<<: ",
            "'",
            "\"",
            "|\n",
            ">-\n",
            "# ",
            "? ",
            "---\n",
            "...\n",
            "!!str ",
            "%TAG ",
            "null",
            "~",
            "0.5",
            "-1",
            ".nan",
            "1e999",
            "999999999999999999999999",
            "yes",
            "cluster_name: ",
            "provider: ",
            "node_config: ",
            "demand: ",
            "\u{feff}",
            "\u{0}",
            "é",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,6}",
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cluster").join(name)
}

/// The files of a directory of fixtures, by name.
fn files(directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(fixture(directory)).expect("a directory of fixtures");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry of the directory").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    paths.sort();
    paths
}

fn read(path: &Path) -> Result<ClusterFile, ConfigError> {
    let bytes = fs::read(path).expect("a fixture");
    ClusterFile::parse(&name_of(path), &bytes)
}

fn name_of(path: &Path) -> String {
    path.file_name().expect("the path of a file").to_string_lossy().into_owned()
}
