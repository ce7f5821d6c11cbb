//! The cluster file: what `ray up` is given.
//!
//! Only the keys that Ray on Golem acts on are read. Unknown keys are refused where the keys are
//! ours, below `provider.parameters` and `node_config`, and are Ray's business elsewhere.

use serde_json::{Map, Value as Json};

use super::error::{ConfigError, FieldError};
use super::layer::Layer;
use super::merge::{merge, specify};
use super::parameters::{DEFAULT_SSH_USER, Parameters, text};
use super::yaml::{self, Field, Place, Section, YamlError};
use crate::core::cluster::law::Law;
pub use crate::core::cluster::plan::NodeKind;
use crate::core::market::spec::NodeSpec;
use crate::units::{Rounding, Span};

/// A cluster file, read and merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterFile {
    /// The name of the cluster.
    pub cluster_name: String,
    /// How many workers there may be at once.
    pub max_workers: u32,
    /// How long a worker may be idle before Ray gives it up.
    pub idle_timeout: Span,
    /// What stands under `provider.parameters`, but for the node configuration.
    pub parameters: Parameters,
    /// How nodes are reached.
    pub auth: Auth,
    /// The node types, in the order of the file; exactly one is the head.
    pub node_types: Vec<NodeType>,
    /// What is allowed and yet probably not meant, as sentences to show.
    pub warnings: Vec<String>,
}

/// How nodes are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// The user on the node.
    pub ssh_user: String,
    /// The file of the private key, if the user has one of their own.
    pub ssh_private_key: Option<String>,
}

/// One of `available_node_types`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeType {
    /// Its name.
    pub name: String,
    /// What nodes of this type are.
    pub kind: NodeKind,
    /// How many there are at least.
    pub min_workers: u32,
    /// How many there may be.
    pub max_workers: u32,
    /// What Ray is told that a node has, passed on as it is.
    pub resources: Map<String, Json>,
    /// What to look for on the market, merged from all levels of the file.
    pub spec: NodeSpec,
}

impl ClusterFile {
    /// What the head of the cluster may ask for.
    #[must_use]
    pub fn law(&self) -> Law {
        let mut law = Law::new(self.max_workers);
        for it in self.node_types.iter().filter(|it| it.kind == NodeKind::Worker) {
            law.allow(&it.spec, it.max_workers);
        }
        law
    }

    /// Reads the `bytes` of the cluster file that the user calls `file`.
    ///
    /// # Errors
    ///
    /// Says what is wrong, where, and what to write; bytes of any kind are safe to pass.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, ConfigError> {
        let content = |error| ConfigError::Content { file: file.to_owned(), error };
        let root = yaml::parse(bytes).map_err(content)?;
        Self::read_written(file, &root).map_err(content)
    }

    /// Reads the tree of the cluster file that the user calls `file`.
    ///
    /// # Errors
    ///
    /// Says what is wrong, on which line, and what to write.
    pub fn read_written(file: &str, root: &yaml::Node) -> Result<Self, YamlError> {
        let mut warnings = Vec::new();
        let mut cluster = Self::read(root, &mut warnings)?;
        cluster.warnings = warnings.iter().map(|warning| warning.in_file(file)).collect();
        Ok(cluster)
    }

    /// Reads a cluster file as Ray holds it, whose values have no lines.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`].
    pub fn read_node(root: &yaml::Node) -> Result<Self, FieldError> {
        let mut warnings = Vec::new();
        let mut cluster = Self::read(root, &mut warnings)?;
        cluster.warnings =
            warnings.into_iter().map(|warning| FieldError::from(warning).to_string()).collect();
        Ok(cluster)
    }

    /// Where the image of a node type stands in the file that `root` was read from; the nearer level is asked first.
    #[must_use]
    pub fn place_of_image(root: &yaml::Node, node_type: &str) -> Option<Place> {
        let levels: [&[&str]; 2] =
            [&["available_node_types", node_type], &["provider", "parameters"]];
        levels.into_iter().find_map(|level| {
            let section = Section::new(root, "").ok()?;
            let mut path = level.iter().chain(&["node_config", "demand"]);
            let demand =
                path.try_fold(section, |section, key| section.optional(key)?.section().ok())?;
            let image = demand.optional("image_tag").or_else(|| demand.optional("image_hash"))?;
            Some(image.place().clone())
        })
    }

    /// Looks for what Ray needs of the file `root` when the head is rented, and does not look for before.
    ///
    /// # Errors
    ///
    /// Says which list of commands is missing, and what to write.
    pub fn check_commands(&self, root: &yaml::Node) -> Result<(), YamlError> {
        let root = Section::new(root, "")?;
        let has_workers =
            self.node_types.iter().any(|it| it.kind == NodeKind::Worker && it.max_workers > 0);
        let starts = [
            ("head_start_ray_commands", HEAD_START, true),
            ("worker_start_ray_commands", WORKER_START, has_workers),
        ];
        for (key, command, is_needed) in starts {
            if is_needed && root.get(key).is_none() {
                let what = format!(
                    "is missing, so that Ray would not start on rented nodes; write `- ray stop`, and `- {command}`"
                );
                return Err(root.place().join(key).error(what));
            }
        }
        Ok(())
    }

    /// The node type called `name`.
    ///
    /// # Errors
    ///
    /// If there is none; names those that there are.
    pub fn node_type(&self, name: &str) -> Result<&NodeType, ConfigError> {
        self.node_types.iter().find(|node_type| node_type.name == name).ok_or_else(|| {
            let available =
                self.node_types.iter().map(|node_type| node_type.name.clone()).collect();
            ConfigError::UnknownNodeType { name: name.to_owned(), available }
        })
    }

    /// The node type of the head.
    ///
    /// # Panics
    ///
    /// If the node types were changed since the file was read.
    #[must_use]
    pub fn head(&self) -> &NodeType {
        self.node_types
            .iter()
            .find(|node_type| node_type.kind == NodeKind::Head)
            .expect("a cluster file without its head node type is refused")
    }

    fn read(root: &yaml::Node, warnings: &mut Vec<YamlError>) -> Result<Self, YamlError> {
        let root = Section::new(root, "")?;
        let cluster_name = cluster_name(&root.required("cluster_name")?)?;
        let max_workers = root.read("max_workers", workers)?.unwrap_or(MAX_WORKERS);
        let idle_timeout = root.read("idle_timeout_minutes", minutes)?.unwrap_or(IDLE_TIMEOUT);
        let provider = root.required("provider")?.section()?;
        check_provider(&provider, warnings)?;
        let parameters = provider.required("parameters")?.section()?;
        let base = Layer::read(&parameters)?;
        Ok(Self {
            cluster_name,
            max_workers,
            idle_timeout,
            parameters: Parameters::read(&parameters, &[], warnings)?,
            auth: Auth::read(&root)?,
            node_types: read_node_types(&root, &base, max_workers)?,
            warnings: Vec::new(),
        })
    }
}

impl Auth {
    fn read(root: &Section<'_>) -> Result<Self, YamlError> {
        let Some(section) = root.read("auth", Field::section)? else {
            return Ok(Self { ssh_user: DEFAULT_SSH_USER.to_owned(), ssh_private_key: None });
        };
        Ok(Self {
            ssh_user: section
                .read("ssh_user", text)?
                .unwrap_or_else(|| DEFAULT_SSH_USER.to_owned()),
            ssh_private_key: section.read("ssh_private_key", text)?,
        })
    }
}

/// What starts Ray, as the cluster files of the project have it.
const HEAD_START: &str =
    "ray start --head --node-ip-address $NODE_IP --autoscaling-config=~/ray_bootstrap_config.yaml";
const WORKER_START: &str = "ray start --address $RAY_HEAD_IP:6379";
const MODULE: &str = "ray_on_golem.provider.node_provider.GolemNodeProvider";
const HEAD_NODE_TYPE: &str = "ray.head.default";
/// Longer names make command lines of ssh that Linux does not take: 128 KiB for each word of one, in which
/// a byte of the name may become four.
const NAME_LENGTH_MAX: usize = 16 << 10;
/// Ray's own default.
const MAX_WORKERS: u32 = 2;
/// Ray's own default.
const IDLE_TIMEOUT: Span = Span::mins(5);
/// More workers than one private network has addresses for.
const WORKERS_MAX: u32 = 65_535;
const IDLE_TIMEOUT_MINUTES_MAX: u64 = 365 * 24 * 60;

/// What Ray needs to be told so that it talks to Ray on Golem at all.
fn check_provider(provider: &Section<'_>, warnings: &mut Vec<YamlError>) -> Result<(), YamlError> {
    provider.required("type")?.one_of(&["external"])?;
    let Some(module) = provider.optional("module") else {
        let what = format!("is missing; Ray needs it, so write `{MODULE}`");
        return Err(provider.place().join("module").error(what));
    };
    if module.text()? != MODULE {
        let what = format!("{} is not Ray on Golem; write `{MODULE}`", module.shown());
        warnings.push(module.error(what));
    }
    if provider.read("use_internal_ips", Field::flag)? != Some(true) {
        let place = provider.get("use_internal_ips").map_or_else(
            || provider.place().join("use_internal_ips"),
            |field| field.place().clone(),
        );
        warnings.push(place.error("the addresses of nodes are internal ones; write `true`"));
    }
    Ok(())
}

fn read_node_types(
    root: &Section<'_>,
    base: &Layer,
    max_workers: u32,
) -> Result<Vec<NodeType>, YamlError> {
    let head = root.optional("head_node_type");
    let head_name = head.as_ref().map(Field::text).transpose()?.unwrap_or(HEAD_NODE_TYPE);
    let section = root.required("available_node_types")?.section()?;
    let names: Vec<&str> = section.fields().map(|(name, _)| name).collect();
    if !names.contains(&head_name) {
        let what = format!("has no node type `{head_name}`, which is to be the head");
        return Err(match head {
            Some(head) => head.unknown_word(&names),
            None => section.place().error(format!("{what}; add it, or set `head_node_type`")),
        });
    }
    section
        .fields()
        .map(|(name, field)| {
            let kind = if name == head_name { NodeKind::Head } else { NodeKind::Worker };
            NodeType::read(name, &field, kind, base, max_workers)
        })
        .collect()
}

impl NodeType {
    fn read(
        name: &str,
        field: &Field<'_>,
        kind: NodeKind,
        base: &Layer,
        max_workers: u32,
    ) -> Result<Self, YamlError> {
        let section = field.section()?;
        let layer = merge(base.clone(), Layer::read(&section)?);
        let is_head = kind == NodeKind::Head;
        // As Ray fills them in: the head is no worker.
        let max_workers_default = if is_head { 0 } else { max_workers };
        Ok(Self {
            name: name.to_owned(),
            kind,
            min_workers: section.read("min_workers", workers)?.unwrap_or(0),
            max_workers: section.read("max_workers", workers)?.unwrap_or(max_workers_default),
            resources: section
                .read("resources", Field::section)?
                .map(|resources| resources.to_json())
                .unwrap_or_default(),
            spec: specify(layer, is_head, field.place())?,
        })
    }
}

/// The name of a cluster, which may be anything that can stand in a command line.
pub(super) fn cluster_name(field: &Field<'_>) -> Result<String, YamlError> {
    let name = field.verbatim()?;
    if name.contains('\0') {
        return Err(field.error("has a NUL, which no program can be told of; write a name without"));
    }
    if name.len() > NAME_LENGTH_MAX {
        let what = format!("has {} bytes; write a name of at most {NAME_LENGTH_MAX}", name.len());
        return Err(field.error(what));
    }
    Ok(name.to_owned())
}

fn workers(field: &Field<'_>) -> Result<u32, YamlError> {
    field.whole(0..=WORKERS_MAX)
}

fn minutes(field: &Field<'_>) -> Result<Span, YamlError> {
    match u64::try_from(field.scaled(6, Rounding::Up)?) {
        // A millionth of a minute is 60 microseconds.
        Ok(micro_minutes) if micro_minutes <= IDLE_TIMEOUT_MINUTES_MAX * 1_000_000 => {
            Ok(Span::micros(60).times(micro_minutes))
        }
        Ok(_) | Err(_) => {
            let what =
                format!("does not fit here; write minutes, up to {IDLE_TIMEOUT_MINUTES_MAX}");
            Err(field.error(format!("{} {what}", field.shown())))
        }
    }
}
