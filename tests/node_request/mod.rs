//! A request for nodes, as the node provider sends it.

use serde_json::{Value, json};

/// So many nodes of a cluster, each a `head` or a `worker`.
pub(crate) fn nodes(cluster: &str, kind: &str, count: u32) -> Value {
    json!({
        "cluster_name": cluster,
        "provider_parameters": {
            "webserver_port": 4578, "total_budget": 5.0, "ray_gcs_expose_port": null,
        },
        "node_config": {
            "priority_subnet_tag": null,
            "demand": {"image_tag": "golem/ray:1", "min_cpu_threads": 1},
        },
        "count": count,
        "tags": {"ray-node-type": kind, "ray-cluster-name": cluster},
    })
}
