//! A request for nodes: what the machine must know before it is asked, from the registry and the disk.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use axum::response::Response;
use serde_json::json;
use tokio::task::spawn_blocking;
use url::Url;

use super::{
    App,
    api::{Fields, done, unexpected},
    auth::Caller,
    error::ApiError,
    law,
};
use crate::{
    config::NodesRequest,
    core::{
        Answer, Command, NodeRequest,
        cluster::{
            law::Law,
            plan::{ClusterName, ClusterPlan, NodeOrder},
        },
        market::spec::{Image, ImageRef},
        output::RequestError,
        reputation::Reputation,
    },
    driver::{clock::now, settings::ClusterSettings},
    registry::{Registry, RegistryError},
    ssh::KeyPair,
    units::{Span, Timestamp},
};

const REGISTRY_PATIENCE: Span = Span::secs(20);
/// A tag may be given to another image; it is looked up again after this time.
const REMEMBERED: Span = Span::mins(10);
/// Images that are remembered.
const IMAGES_MAX: usize = 256;

/// The images of the registry, as far as they were looked up lately.
#[derive(Debug)]
pub struct Images {
    base: Url,
    known: Mutex<BTreeMap<String, (Timestamp, Image)>>,
}

impl Images {
    /// Those of the registry at `base`.
    #[must_use]
    pub fn new(base: Url) -> Self {
        Self { base, known: Mutex::default() }
    }

    /// Looks an image up; `counts` lets the registry count it.
    ///
    /// # Errors
    ///
    /// Says whether the image is unknown, or the registry of no help.
    pub async fn of(&self, image: &ImageRef, counts: bool) -> Result<Image, ApiError> {
        let key = match image {
            ImageRef::Tag(tag) => format!("tag {tag}"),
            ImageRef::Hash(hash) => format!("hash {hash}"),
        };
        let at = now();
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, image)) = lock().get(&key)
            && at.since(*since) < REMEMBERED
        {
            return Ok(image.clone());
        }
        let registry = Registry::new(self.base.clone(), counts)
            .map_err(|error| ApiError::Refused(error.to_string()))?;
        let found = registry.look_up(image, REGISTRY_PATIENCE).await;
        let found = found.map_err(|error: RegistryError| ApiError::Refused(error.to_string()))?;
        let mut known = lock();
        known.retain(|_, (since, _)| at.since(*since) < REMEMBERED);
        if known.len() < IMAGES_MAX {
            known.insert(key, (at, found.clone()));
        }
        Ok(found)
    }
}

/// Asks the machine for nodes.
pub(super) async fn request_nodes(
    app: &App,
    caller: &Caller,
    fields: &Fields,
) -> Result<Response, ApiError> {
    if app.stop.is_ordered() {
        return Err(ApiError::ShuttingDown);
    }
    let request = NodesRequest::read_node(fields.node())?;
    for warning in &request.warnings {
        app.log.warn("server", &format!("[{}] {warning}", request.cluster_name));
    }
    let name = ClusterName::from(request.cluster_name.as_str());
    let known = app.handle.board().current(name.as_str()).cloned();
    let plan = match (&known, caller) {
        // The first request of a cluster decided it.
        (Some(cluster), _) => ClusterPlan::clone(&cluster.plan),
        (None, Caller::User) => new_plan(app, &name, &request).await?,
        (None, Caller::Head { .. } | Caller::Nobody | Caller::Scraper) => {
            return Err(RequestError::UnknownCluster.into());
        }
    };
    let counts = app.settings.registry_stats && request.parameters.enable_registry_stats;
    let image = app.images.of(&request.spec.image, counts).await?;
    let order = NodeOrder {
        kind: request.kind,
        spec: request.spec,
        image,
        count: request.count,
        tags: request.tags,
    };
    // A head asks for workers of its own cluster, which may end while the image is looked up; it begins none.
    let only_for = match caller {
        Caller::Head { cluster, .. } => Some(*cluster),
        Caller::User | Caller::Nobody | Caller::Scraper => None,
    };
    let asked = NodeRequest { key: request.key, cluster: name, only_for, plan, order };
    // Who was blocked a moment ago is not hired.
    app.providers.now().await;
    let command = Command::RequestNodes(Box::new(asked));
    let Answer::NodesRequested(nodes) = app.handle.ask(command).await? else {
        return Err(unexpected());
    };
    let nodes: Vec<String> = nodes?.iter().map(ToString::to_string).collect();
    done(&json!({ "requested_nodes": nodes }))
}

/// The plan of a cluster that begins, with its key.
async fn new_plan(
    app: &App,
    name: &ClusterName,
    request: &NodesRequest,
) -> Result<ClusterPlan, ApiError> {
    let data = app.settings.data.clone();
    let (cluster, asked) = (name.clone(), request.clone());
    let prepared = spawn_blocking(move || prepare(&data, &cluster, &asked)).await;
    let (public_key, law) = match prepared {
        Ok(Ok(prepared)) => prepared,
        Ok(Err(error)) => return Err(error),
        Err(error) => return Err(ApiError::Unavailable(error.to_string())),
    };
    let network = match &app.simulated {
        Some(simulated) => simulated.subnet().await,
        None => Ok(None),
    };
    let network = network.map_err(|error| ApiError::Unavailable(error.to_string()))?;
    let plan = request.parameters.plan(public_key, Reputation::default(), law);
    Ok(ClusterPlan { network, ..plan })
}

/// Finds the key of a new cluster, and what its file says of workers, and remembers how to reach it.
fn prepare(
    data: &Path,
    name: &ClusterName,
    request: &NodesRequest,
) -> Result<(String, Option<Law>), ApiError> {
    let own = request.ssh_private_key.as_deref().map(expanded);
    // Clients copy the key that they were given to a place of theirs, and name that.
    let ours = KeyPair::of_cluster(data, name);
    let is_ours = own.as_ref().is_none_or(|own| {
        let ours = ours.as_ref().ok().and_then(|key| key.path().file_name());
        !own.exists() || own.file_name() == ours
    });
    let field = "provider_parameters.ssh_private_key";
    let (key, own) = match own.filter(|_| !is_ours) {
        None => (ours.map_err(|error| ApiError::Refused(error.to_string()))?, None),
        Some(path) => {
            let key = KeyPair::read(&path);
            (key.map_err(|error| ApiError::field(field, error.to_string()))?, Some(path))
        }
    };
    ClusterSettings::of(request, own).save(data, name).map_err(|error| {
        ApiError::Refused(format!("cannot write to `{}`: {error}", data.display()))
    })?;
    let law = law::load(data, name).map_err(|error| ApiError::Refused(error.to_string()))?;
    Ok((key.public_line().to_owned(), law))
}

/// A path with the home directory in place of `~`.
fn expanded(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        (Some(_), None) | (None, _) => path.into(),
    }
}
