//! What each route does.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    body::{Body, Bytes, to_bytes},
    http::StatusCode,
    response::Response,
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    App, End,
    auth::Caller,
    bills, check,
    document::{
        ClusterDataDocument, ClusterDocument, ClusterSummary, CommandDocument, KeyDocument,
        NodeData, OverviewDocument, WalletDocument,
    },
    error::{ApiError, json_response},
    events, metrics, openapi,
    proof::{Challenge, Place},
    purchase,
    route::{Route, Verb},
};
use crate::{
    config::{FieldError, networks, tags, yaml},
    core::{
        Answer, Command,
        cluster::{
            plan::{ClusterName, NodeKind, Tags, matches},
            state::NodeState,
        },
        ids::NodeId,
        market::demand::ACCEPT_TIMEOUT,
        output::RequestError,
    },
    driver::{
        board::{Board, ClusterBoard, NodeBoard, listing},
        clock,
    },
    ssh::KeyPair,
    units::{Glm, Rounding, Span, Timestamp},
};

/// The longest body that is read.
const BODY_MAX: usize = 1 << 20;
/// How long a body may take.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// A request to end a node waits so long for it to be ended; it ends all the same.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// How long a command may run that does not say, and the longest that it may say, in seconds.
pub(super) const COMMAND_SECONDS: u64 = 300;
pub(super) const COMMAND_SECONDS_MAX: u64 = 3_600;
/// The longest delay of a shutdown.
const DELAY_MAX: u64 = 24 * 60 * 60;

/// Answers a request that was admitted.
pub(super) async fn answer(
    app: &App,
    caller: &Caller,
    place: Place,
    route: Route,
    body: Body,
) -> Result<Response, ApiError> {
    let fields = match route.verb() {
        Verb::Post => Fields::read(body).await?,
        Verb::Any | Verb::Get => Fields(yaml::Node::from_json(&Value::Null)),
    };
    check_scope(app, caller, &fields)?;
    match route {
        Route::Root => done(&root(app, caller)),
        Route::Prove => prove(app, place, &fields),
        Route::GetWalletStatus => wallet_status(app, &fields).await,
        Route::NonTerminatedNodes => non_terminated_nodes(app, &fields),
        Route::IsRunning => with_node(app, &fields, |_, _, node| {
            done(&json!({ "is_running": node.state == NodeState::Running }))
        }),
        Route::IsTerminated => {
            with_node(app, &fields, |_, _, node| done(&json!({ "is_terminated": !node.is_live() })))
        }
        Route::Tags => with_node(app, &fields, |_, _, node| done(&json!({ "tags": node.tags }))),
        Route::ClusterData => cluster_data(app, caller, &fields).await,
        Route::InternalIp => with_node(app, &fields, |_, _, node| {
            done(&json!({ "ip_address": node.ip.map(|ip| ip.to_string()) }))
        }),
        Route::SetTags => set_tags(app, &fields).await,
        Route::CheckCluster => check::check_cluster(app, &fields).await,
        Route::RequestNodes => purchase::request_nodes(app, caller, &fields).await,
        Route::Terminate => terminate(app, caller, &fields).await,
        Route::SshProxyCommand => with_node(app, &fields, |cluster, id, node| {
            done(&json!({ "ssh_proxy_command": app.way().command(cluster, id, node) }))
        }),
        Route::DefaultSshKey => default_ssh_key(app, &fields).await,
        Route::Shutdown => shutdown(app, &fields),
        Route::SetBudget => set_budget(app, &fields).await,
        Route::EndCluster => end_cluster(app, &fields).await,
        Route::RunCommand => run_command(app, &fields).await,
        Route::Overview => overview(app),
        Route::Metrics => Ok(metrics::response(app).await),
        Route::OpenApi => done(&openapi::document()),
        Route::Events => Ok(events::response(app.handle.changes())),
    }
}

/// The body of a request.
pub(super) struct Fields(yaml::Node);

impl Fields {
    async fn read(body: Body) -> Result<Self, ApiError> {
        let bytes = match timeout(BODY_PATIENCE, to_bytes(body, BODY_MAX)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(_)) => return Err(ApiError::TooLarge),
            Err(_) => return Err(ApiError::TooSlow),
        };
        Self::parse(&bytes)
    }

    fn parse(bytes: &Bytes) -> Result<Self, ApiError> {
        let json: Value = serde_json::from_slice(bytes)
            .map_err(|error| ApiError::field("", format!("the body is no JSON: {error}")))?;
        match json {
            Value::Object(_) => Ok(Self(yaml::Node::from_json(&json))),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Err(ApiError::field("", "the body is no JSON object")),
        }
    }

    /// What `read` makes of the body, with the field named if it is wrong.
    pub(super) fn with<T>(
        &self,
        read: impl FnOnce(&yaml::Section<'_>) -> Result<T, yaml::YamlError>,
    ) -> Result<T, ApiError> {
        let section = yaml::Section::new(&self.0, "").map_err(FieldError::from)?;
        Ok(read(&section).map_err(FieldError::from)?)
    }

    /// The body as it was sent.
    pub(super) fn node(&self) -> &yaml::Node {
        &self.0
    }

    /// The name of the cluster.
    pub(super) fn cluster(&self) -> Result<String, ApiError> {
        self.with(|body| body.required("cluster_name")?.verbatim().map(str::to_owned))
    }

    fn node_id(&self) -> Result<NodeId, ApiError> {
        let text = self.with(|body| body.required("node_id")?.text().map(str::to_owned))?;
        text.parse().map_err(|()| RequestError::UnknownNode.into())
    }

    fn tags(&self) -> Result<Tags, ApiError> {
        self.with(|body| Ok(body.read("tags", tags)?.unwrap_or_default()))
    }

    fn flag(&self, key: &str) -> Result<bool, ApiError> {
        self.with(|body| Ok(body.read(key, yaml::Field::flag)?.unwrap_or(false)))
    }
}

/// A document as the body of a success.
pub(super) fn done(document: &impl Serialize) -> Result<Response, ApiError> {
    let body = serde_json::to_vec(document)
        .map_err(|error| ApiError::Unavailable(format!("the answer cannot be written: {error}")))?;
    Ok(json_response(StatusCode::OK, body))
}

/// A head asks about its own cluster, or about nothing; not about a newer one of the same name either.
fn check_scope(app: &App, caller: &Caller, fields: &Fields) -> Result<(), ApiError> {
    let Caller::Head { cluster, name } = caller else { return Ok(()) };
    let Ok(section) = yaml::Section::new(fields.node(), "") else { return Ok(()) };
    let Some(asked) = section.optional("cluster_name") else { return Ok(()) };
    let newest = app.handle.board().named(name.as_str()).next().map(|newest| newest.id);
    match asked.verbatim() {
        Ok(asked) if asked == name.as_str() && newest == Some(*cluster) => Ok(()),
        Ok(_) | Err(_) => Err(ApiError::Forbidden("this token is for another cluster")),
    }
}

/// A head learns nothing of other clusters here either.
fn root(app: &App, caller: &Caller) -> super::RootDocument {
    let mut root = app.root();
    match caller {
        Caller::User => {}
        Caller::Head { name, .. } => {
            let of_ours = format!("[{name}] ");
            root.server_warnings.retain(|warning| warning.contains(&of_ours));
            root.datadir = String::new();
        }
        Caller::Nobody | Caller::Scraper => {
            root.server_warnings.clear();
            root.datadir = String::new();
        }
    }
    root
}

/// Shows that a token is known which the client means, and has not sent.
fn prove(app: &App, place: Place, fields: &Fields) -> Result<Response, ApiError> {
    let mark = fields.with(|body| body.required("mark")?.verbatim().map(str::to_owned))?;
    let challenge =
        fields.with(|body| body.required("challenge")?.verbatim().map(str::to_owned))?;
    let Some(challenge) = Challenge::parse(&challenge) else {
        return Err(ApiError::field("challenge", "is not 64 hexadecimal digits in lower case"));
    };
    let board = app.handle.board();
    let token = match place {
        Place::Users { .. } => {
            Some(app.settings.guard.token()).filter(|it| it.mark() == mark).cloned()
        }
        // A token of a cluster that is over opens nothing any more.
        Place::Heads => app
            .heads
            .marked(&mark)
            .filter(|(cluster, _)| board.clusters.contains_key(cluster))
            .map(|(_, token)| token),
    };
    let token = token.ok_or(ApiError::Unauthorized)?;
    done(&json!({ "proof": token.proof(place, &challenge) }))
}

/// Looks at the node that the body names.
fn with_node(
    app: &App,
    fields: &Fields,
    look: impl FnOnce(&ClusterBoard, NodeId, &NodeBoard) -> Result<Response, ApiError>,
) -> Result<Response, ApiError> {
    let (name, id) = (fields.cluster()?, fields.node_id()?);
    let board = app.handle.board();
    let (cluster, node) = board.node(&name, id)?;
    look(cluster, id, node)
}

fn non_terminated_nodes(app: &App, fields: &Fields) -> Result<Response, ApiError> {
    let (name, filter) = (fields.cluster()?, fields.tags()?);
    let board = app.handle.board();
    let mut clusters = board.named(&name);
    let body = match (clusters.next(), clusters.next()) {
        (None, _) => listing(std::iter::empty()),
        (Some(only), None) if filter.is_empty() => only.listing.clone(),
        (Some(_), _) => {
            let nodes = board.named(&name).flat_map(|cluster| &cluster.nodes);
            let live = nodes.filter(|(_, node)| node.is_live() && matches(&node.tags, &filter));
            let mut ids: Vec<NodeId> = live.map(|(id, _)| *id).collect();
            ids.sort_unstable();
            listing(ids.into_iter())
        }
    };
    Ok(json_response(StatusCode::OK, body))
}

async fn cluster_data(app: &App, caller: &Caller, fields: &Fields) -> Result<Response, ApiError> {
    let name = fields.cluster()?;
    if let Caller::Head { cluster, name } = caller {
        let has_load = fields.with(|body| body.read("has_load", yaml::Field::flag))?;
        app.usage.on_look(&app.handle, *cluster, name.clone(), has_load).await;
    }
    let board = app.handle.board();
    let newest = board.named(&name).next().ok_or(RequestError::UnknownCluster)?;
    // A head needs no way to itself, and gets no word of where our files are.
    let (way, now) = ((*caller == Caller::User).then(|| app.way()), board.now());
    let nodes = board.named(&name).flat_map(|cluster| {
        cluster
            .nodes
            .iter()
            .map(move |(id, node)| (id.to_string(), NodeData::of(cluster, *id, node, way, now)))
    });
    done(&ClusterDataDocument {
        cluster_data: nodes.collect(),
        cluster: ClusterSummary::of(newest, false, now),
    })
}

fn overview(app: &App) -> Result<Response, ApiError> {
    let board = app.handle.board();
    let (open, now) = (board.clusters.values(), board.now());
    let closed: Vec<ClusterDocument> =
        board.closed.iter().map(|cluster| ClusterDocument::of(cluster, true, None, now)).collect();
    let document = OverviewDocument {
        version: 1,
        webserver: app.root(),
        clusters: open.map(|it| ClusterDocument::of(it, false, Some(app.way()), now)).collect(),
    };
    let mut document = serde_json::to_value(document).unwrap_or_default();
    if let Some(clusters) = document["clusters"].as_array_mut() {
        // Those that an earlier process has closed are known by their bills only.
        let is_ours = |bill: &Value| {
            closed.iter().any(|it| bills::number(bill) == Some(u64::from(it.summary.number)))
        };
        clusters.extend(app.bills.last().into_iter().filter(|bill| !is_ours(bill)));
        clusters.extend(closed.iter().filter_map(|it| serde_json::to_value(it).ok()));
    }
    done(&document)
}

async fn set_tags(app: &App, fields: &Fields) -> Result<Response, ApiError> {
    let (cluster, node, tags) = (fields.cluster()?, fields.node_id()?, fields.tags()?);
    let command = Command::SetTags { cluster: cluster.as_str().into(), node, tags };
    let Answer::TagsSet(set) = app.handle.ask(command).await? else {
        return Err(unexpected());
    };
    set?;
    done(&json!({}))
}

async fn terminate(app: &App, caller: &Caller, fields: &Fields) -> Result<Response, ApiError> {
    let (name, node) = (fields.cluster()?, fields.node_id()?);
    if app.stop.is_ordered() {
        return Err(ApiError::ShuttingDown);
    }
    let before = {
        let board = app.handle.board();
        let (cluster, found) = board.node(&name, node)?;
        let way = (*caller == Caller::User).then(|| app.way());
        NodeData::of(cluster, node, found, way, board.now())
    };
    let command = Command::TerminateNode { cluster: name.as_str().into(), node };
    let Answer::NodeTerminated(stood) = app.handle.ask(command).await? else {
        return Err(unexpected());
    };
    stood?;
    let mut changes = app.handle.changes();
    let is_gone = |board: &std::sync::Arc<Board>| {
        board.node(&name, node).map_or(true, |(_, node)| node.state == NodeState::Terminated)
    };
    // It ends in any case; whoever asked does not wait for ever.
    drop(timeout(END_PATIENCE, changes.wait_for(is_gone)).await);
    done(&json!({ "terminated_nodes": BTreeMap::from([(node.to_string(), before)]) }))
}

async fn wallet_status(app: &App, fields: &Fields) -> Result<Response, ApiError> {
    let network = fields.with(|body| {
        body.read("payment_driver", |driver| driver.one_of(&[networks::DRIVER]))?;
        match body.optional("payment_network") {
            None => Ok(networks::DEFAULT),
            Some(field) => match networks::find(field.text()?) {
                Some(network) => Ok(network),
                None => Err(field.unknown_word(&networks::names_in_use())),
            },
        }
    })?;
    // What is paid on is what its requests for nodes will pay on.
    let network = network.replaced_by.and_then(networks::find).unwrap_or(network);
    let status = app.wallet.status(network).await;
    let status = status.map_err(|error| ApiError::Refused(error.to_string()))?;
    done(&WalletDocument {
        wallet_address: app.wallet.address().to_owned(),
        yagna_payment_status_output: status.table,
        yagna_payment_status: status.document,
    })
}

async fn default_ssh_key(app: &App, fields: &Fields) -> Result<Response, ApiError> {
    let name = ClusterName::from(fields.cluster()?.as_str());
    let data = app.settings.data.clone();
    let made = tokio::task::spawn_blocking(move || KeyPair::of_cluster(&data, &name)).await;
    let key = match made {
        Ok(Ok(key)) => key,
        Ok(Err(error)) => return Err(ApiError::Refused(error.to_string())),
        Err(error) => return Err(ApiError::Unavailable(error.to_string())),
    };
    done(&KeyDocument {
        ssh_private_key_base64: key.private_text().to_owned(),
        ssh_public_key_base64: format!("{}\n", key.public_line()),
    })
}

fn shutdown(app: &App, fields: &Fields) -> Result<Response, ApiError> {
    let ignores_self_shutdown = fields.flag("ignore_self_shutdown")?;
    let is_forced = fields.flag("force_shutdown")?;
    let keeps_clusters = fields.flag("keep_clusters")?;
    let delay = fields.with(|body| body.read("shutdown_delay", |delay| delay.whole(0..=DELAY_MAX)));
    let delay = Duration::from_secs(delay?.unwrap_or(0));
    let board = app.handle.board();
    let has_nodes = board.has_live_nodes();
    let decision = if !ignores_self_shutdown && !app.settings.self_shutdown {
        "not_enabled"
    } else if keeps_clusters && !board.clusters.is_empty() {
        "clusters_kept"
    } else if has_nodes && !is_forced {
        "cluster_not_empty"
    } else if has_nodes {
        "forced_shutdown"
    } else {
        "will_shutdown"
    };
    let end = match decision {
        "forced_shutdown" | "will_shutdown" => End::AllClusters(delay),
        "clusters_kept" => End::KeepingClusters,
        _ => return done(&json!({ "shutdown_state": decision })),
    };
    app.log.info("server", &format!("Shutdown requested ({decision}), in {delay:?}"));
    app.stop.order(end);
    let mut answer = json!({ "shutdown_state": decision });
    if end == End::KeepingClusters {
        answer["bills_can_wait_until"] = clock::written(bills_can_wait_until()).into();
    }
    done(&answer)
}

/// Until when no provider gives a node up for want of an answer to its bills, if the webserver answers them until now.
#[must_use]
pub fn bills_can_wait_until() -> Timestamp {
    let until = clock::now().plus(ACCEPT_TIMEOUT);
    Timestamp::from_unix_micros(until.as_unix_micros() / 1_000_000 * 1_000_000)
}

async fn set_budget(app: &App, fields: &Fields) -> Result<Response, ApiError> {
    let cluster = fields.cluster()?;
    let total: Glm = fields.with(|body| body.required("total_budget")?.decimal(Rounding::Down))?;
    let command = Command::SetBudget { cluster: cluster.as_str().into(), total };
    let Answer::BudgetSet(set) = app.handle.ask(command).await? else {
        return Err(unexpected());
    };
    set?;
    done(&json!({ "total_budget": total.to_string() }))
}

async fn end_cluster(app: &App, fields: &Fields) -> Result<Response, ApiError> {
    let cluster = fields.cluster()?;
    let command = Command::EndCluster { cluster: cluster.as_str().into() };
    let Answer::ClusterEnding(ending) = app.handle.ask(command).await? else {
        return Err(unexpected());
    };
    ending?;
    done(&json!({}))
}

async fn run_command(app: &App, fields: &Fields) -> Result<Response, ApiError> {
    let name = fields.cluster()?;
    let line = fields.with(|body| body.required("command")?.text().map(str::to_owned))?;
    let seconds = fields
        .with(|body| body.read("seconds", |seconds| seconds.whole(1..=COMMAND_SECONDS_MAX)))?
        .unwrap_or(COMMAND_SECONDS);
    let (id, activity, network) = {
        let board = app.handle.board();
        let id = match fields.with(|body| Ok(body.optional("node_id").is_some()))? {
            true => fields.node_id()?,
            false => head_of(&board, &name)?,
        };
        let (cluster, node) = board.node(&name, id)?;
        let is_up = node.state == NodeState::Running;
        let activity = node.activity.clone().filter(|_| is_up);
        let refused = || ApiError::Refused(format!("{id} does not run"));
        (id, activity.ok_or_else(refused)?, cluster.network.clone())
    };
    let _counted = network.map(|network| app.usage.count(network));
    let ran = app.commands.run(&activity, &line, Span::secs(seconds)).await;
    let ran = ran.map_err(|error| ApiError::Refused(format!("{id}: {error}")))?;
    done(&CommandDocument {
        node_id: id.to_string(),
        exit_code: ran.code,
        stdout: ran.stdout,
        stderr: ran.stderr,
    })
}

/// The head of the newest cluster of a name.
fn head_of(board: &Board, name: &str) -> Result<NodeId, ApiError> {
    let cluster = board.named(name).next().ok_or(RequestError::UnknownCluster)?;
    let mut heads = cluster.nodes.iter().filter(|(_, node)| node.kind == NodeKind::Head);
    Ok(heads.next_back().map(|(id, _)| *id).ok_or(RequestError::UnknownNode)?)
}

/// The machine answers each command in kind; anything else is a bug, and no reason to fall over.
pub(super) fn unexpected() -> ApiError {
    ApiError::Unavailable("the manager answered something else; please report this".to_owned())
}
