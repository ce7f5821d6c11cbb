//! This API for programs, made from the table of routes.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    api,
    document::{
        ClusterDataDocument, CommandDocument, KeyDocument, OverviewDocument, RootDocument,
        WalletDocument,
    },
    route::{Route, Verb},
};

/// The document.
#[must_use]
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for route in Route::ALL {
        for (nth, path) in route.paths().iter().enumerate() {
            let operation = operation(route, nth, &mut generator);
            let verb = if route.verb() == Verb::Post { "post" } else { "get" };
            paths.insert((*path).to_owned(), json!({ verb: operation }));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ray on Golem webserver",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Keeps Ray clusters on the Golem Network. Amounts of GLM are decimal \
                            text, instants are RFC 3339 in UTC.",
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn operation(route: Route, nth: usize, generator: &mut SchemaGenerator) -> Value {
    let mut operation = json!({
        "operationId": format!("{route:?}{}", if nth > 0 { "Alias" } else { "" }),
        "summary": route.summary(),
        "x-for-heads": route.is_for_heads(),
        "responses": {
            "200": { "description": "Done", "content": content(route, generator) },
            "400": error("The request is refused; `field` names what is wrong in it"),
        },
    });
    if !route.is_open() {
        operation["security"] = json!([{ "token": [] }]);
        operation["responses"]["401"] = error("No token, or a wrong one");
    }
    if route.verb() == Verb::Post {
        operation["requestBody"] = json!({
            "required": true,
            "content": { "application/json": { "schema": request(route) } },
        });
    }
    operation
}

fn error(description: &str) -> Value {
    let properties = json!({ "error": { "type": "string" }, "field": { "type": "string" } });
    let schema = json!({ "type": "object", "required": ["error"], "properties": properties });
    json!({
        "description": description,
        "content": { "application/json": { "schema": schema } },
    })
}

fn content(route: Route, generator: &mut SchemaGenerator) -> Value {
    let kind = match route {
        Route::Metrics => "text/plain",
        Route::Events => "text/event-stream",
        Route::Root
        | Route::Prove
        | Route::GetWalletStatus
        | Route::NonTerminatedNodes
        | Route::IsRunning
        | Route::IsTerminated
        | Route::Tags
        | Route::ClusterData
        | Route::InternalIp
        | Route::SetTags
        | Route::CheckCluster
        | Route::RequestNodes
        | Route::Terminate
        | Route::SshProxyCommand
        | Route::DefaultSshKey
        | Route::Shutdown
        | Route::SetBudget
        | Route::EndCluster
        | Route::RunCommand
        | Route::Overview
        | Route::OpenApi => "application/json",
    };
    json!({ kind: { "schema": response(route, generator) } })
}

fn response(route: Route, generator: &mut SchemaGenerator) -> Value {
    let states =
        ["not_enabled", "cluster_not_empty", "forced_shutdown", "will_shutdown", "clusters_kept"];
    match route {
        Route::Root => schema::<RootDocument>(generator),
        Route::Prove => object(&[("proof", text())]),
        Route::GetWalletStatus => schema::<WalletDocument>(generator),
        Route::ClusterData => schema::<ClusterDataDocument>(generator),
        Route::DefaultSshKey => schema::<KeyDocument>(generator),
        Route::RunCommand => schema::<CommandDocument>(generator),
        Route::Overview => schema::<OverviewDocument>(generator),
        Route::NonTerminatedNodes => object(&[("nodes_ids", texts())]),
        Route::IsRunning => object(&[("is_running", json!({ "type": "boolean" }))]),
        Route::IsTerminated => object(&[("is_terminated", json!({ "type": "boolean" }))]),
        Route::Tags => object(&[("tags", map())]),
        Route::InternalIp => object(&[("ip_address", json!({ "type": ["string", "null"] }))]),
        Route::CheckCluster => object(&[("warnings", texts())]),
        Route::RequestNodes => object(&[("requested_nodes", texts())]),
        Route::Terminate => {
            let node = json!({ "$ref": "#/components/schemas/NodeData" });
            let nodes = json!({ "type": "object", "additionalProperties": node });
            object(&[("terminated_nodes", nodes)])
        }
        Route::SshProxyCommand => {
            object(&[("ssh_proxy_command", json!({ "type": ["string", "null"] }))])
        }
        Route::Shutdown => json!({
            "type": "object",
            "required": ["shutdown_state"],
            "properties": {
                "shutdown_state": { "enum": states },
                // Where clusters are kept.
                "bills_can_wait_until": { "type": "string", "format": "date-time" },
            },
        }),
        Route::SetBudget => object(&[("total_budget", text())]),
        Route::SetTags | Route::EndCluster => object(&[]),
        Route::Metrics | Route::Events => text(),
        Route::OpenApi => json!({ "type": "object" }),
    }
}

/// What is asked of a node.
fn command() -> Value {
    json!({
        "type": "object",
        "required": ["cluster_name", "command"],
        "properties": {
            "cluster_name": text(),
            "node_id": { "type": "string", "description": "the head, if it is left out" },
            "command": { "type": "string", "description": "a line for a login shell" },
            "seconds": {
                "type": "integer", "minimum": 1, "maximum": api::COMMAND_SECONDS_MAX,
                "default": api::COMMAND_SECONDS, "description": "it is ended after this time",
            },
        },
    })
}

fn request(route: Route) -> Value {
    let cluster = ("cluster_name", text());
    let node = [cluster.clone(), ("node_id", text())];
    let flag = json!({ "type": "boolean", "default": false });
    match route {
        Route::Prove => object(&[
            ("mark", digits("HMAC-SHA256 of `ray-on-golem mark`, with the token as key")),
            ("challenge", digits("random, used once")),
        ]),
        Route::GetWalletStatus => {
            object(&[("payment_network", text()), ("payment_driver", text())])
        }
        Route::NonTerminatedNodes => object(&[cluster, ("tags", map())]),
        Route::IsRunning
        | Route::IsTerminated
        | Route::Tags
        | Route::InternalIp
        | Route::Terminate
        | Route::SshProxyCommand => object(&node),
        Route::SetTags => object(&[node.to_vec(), vec![("tags", map())]].concat()),
        Route::ClusterData => json!({
            "type": "object",
            "required": ["cluster_name"],
            "properties": {
                "cluster_name": text(),
                "has_load": { "type": "boolean", "description": "from a head: whether Ray has load" },
            },
        }),
        Route::DefaultSshKey | Route::EndCluster => object(&[cluster]),
        Route::CheckCluster => json!({
            "type": "object",
            "required": ["cluster_name", "cluster_config"],
            "properties": {
                "cluster_name": text(),
                "cluster_config": { "type": "object", "description": "the file as Ray has read it" },
                // As it was written, for the lines of what is wrong in it.
                "cluster_file": object(&[("name", text()), ("text", text())]),
            },
        }),
        Route::RequestNodes => object(&[
            cluster,
            ("provider_parameters", json!({ "type": "object" })),
            ("node_config", json!({ "type": "object" })),
            ("count", json!({ "type": "integer", "minimum": 1 })),
            ("tags", map()),
        ]),
        Route::Shutdown => json!({
            "type": "object",
            "properties": {
                "ignore_self_shutdown": flag,
                "force_shutdown": flag,
                "keep_clusters": flag,
                "shutdown_delay": { "type": "integer", "minimum": 0, "default": 0 },
            },
        }),
        Route::RunCommand => command(),
        Route::SetBudget => {
            object(&[cluster, ("total_budget", json!({ "type": ["number", "string"] }))])
        }
        Route::Root | Route::Overview | Route::Metrics | Route::OpenApi | Route::Events => {
            json!(true)
        }
    }
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

/// An object that has all of these.
fn object(fields: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Value> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    json!({ "type": "object", "required": names, "properties": properties })
}

fn text() -> Value {
    json!({ "type": "string" })
}

/// 32 bytes.
fn digits(description: &str) -> Value {
    json!({ "type": "string", "pattern": "^[0-9a-f]{64}$", "description": description })
}

fn texts() -> Value {
    json!({ "type": "array", "items": { "type": "string" } })
}

fn map() -> Value {
    json!({ "type": "object", "additionalProperties": { "type": "string" } })
}
