//! A request for nodes as Ray's node provider sends it: JSON with the words of the cluster file.
//!
//! The same readers read both, so that a key means the same and a bad value gives the same sentence;
//! in a request a place is the path of a key, without a line.

use serde_json::Value as Json;

use super::cluster::cluster_name;
use super::error::FieldError;
use super::layer::Layer;
use super::merge::{merge, specify};
use super::parameters::{DEFAULT_SSH_USER, Parameters, text};
use super::yaml::{Field, Node, Section, YamlError};
use crate::core::cluster::plan::{NODES_MAX, NodeKind, TAGS_LENGTH_MAX, Tags, length_of};
use crate::core::market::spec::NodeSpec;

/// Ray's tag that says what a node is.
const KIND_TAG: &str = "ray-node-type";
/// An idempotency key has no more bytes than this.
const KEY_LENGTH_MAX: usize = 256;

/// A request for nodes, read and merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodesRequest {
    /// The cluster.
    pub cluster_name: String,
    /// What holds for it as a whole.
    pub parameters: Parameters,
    /// The user on the nodes.
    pub ssh_user: String,
    /// The file of the private key, if the user has one of their own.
    pub ssh_private_key: Option<String>,
    /// What the nodes are.
    pub kind: NodeKind,
    /// What to look for on the market.
    pub spec: NodeSpec,
    /// How many.
    pub count: u32,
    /// What is stuck on each of them.
    pub tags: Tags,
    /// By which a repeated request is known.
    pub key: Option<String>,
    /// What is allowed and yet probably not meant, as sentences to show.
    pub warnings: Vec<String>,
}

impl NodesRequest {
    /// Reads the body of a request.
    ///
    /// # Errors
    ///
    /// Names the field that is wrong, and says what to write.
    pub fn read(body: &Json) -> Result<Self, FieldError> {
        Self::read_node(&Node::from_json(body))
    }

    /// Reads the body of a request that was taken apart already.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn read_node(root: &Node) -> Result<Self, FieldError> {
        Ok(Self::read_tree(root)?)
    }

    fn read_tree(root: &Node) -> Result<Self, YamlError> {
        let root = Section::new(root, "")?;
        let mut warnings = Vec::new();
        let parameters = root.required("provider_parameters")?.section()?;
        let tags = root.read("tags", tags)?.unwrap_or_default();
        let kind = kind(&root, &tags)?;
        let base = Layer::read(&parameters)?;
        let merged = merge(base, Layer::read(&root)?);
        Ok(Self {
            cluster_name: cluster_name(&root.required("cluster_name")?)?,
            ssh_user: parameters
                .read("ssh_user", text)?
                .unwrap_or_else(|| DEFAULT_SSH_USER.to_owned()),
            ssh_private_key: parameters.read("ssh_private_key", text)?,
            parameters: Parameters::read(
                &parameters,
                &["ssh_private_key", "ssh_user"],
                &mut warnings,
            )?,
            kind,
            spec: specify(merged, kind == NodeKind::Head, root.place())?,
            count: root.required("count")?.whole(1..=NODES_MAX)?,
            tags,
            key: root.read("idempotency_key", idempotency_key)?,
            warnings: warnings
                .into_iter()
                .map(|warning| FieldError::from(warning).to_string())
                .collect(),
        })
    }
}

/// Reads a map of text to text.
///
/// # Errors
///
/// Names the first value that is no text. Refuses tags that are too long together.
pub fn tags(field: &Field<'_>) -> Result<Tags, YamlError> {
    let section = field.section()?;
    // An empty tag is a tag.
    let read = |(key, value): (&str, Field<'_>)| Ok((key.to_owned(), value.verbatim()?.to_owned()));
    let tags = section.fields().map(read).collect::<Result<Tags, YamlError>>()?;
    match length_of(&tags) {
        length if length > TAGS_LENGTH_MAX => Err(field.error(format!(
            "the tags have {length} bytes together; {TAGS_LENGTH_MAX} are the most"
        ))),
        _ => Ok(tags),
    }
}

fn idempotency_key(field: &Field<'_>) -> Result<String, YamlError> {
    let key = text(field)?;
    match key.len() {
        length if length > KEY_LENGTH_MAX => {
            Err(field.error(format!("the key has {length} bytes; {KEY_LENGTH_MAX} are the most")))
        }
        _ => Ok(key),
    }
}

/// Without the tag it is a worker, as Ray has it.
fn kind(root: &Section<'_>, tags: &Tags) -> Result<NodeKind, YamlError> {
    match tags.get(KIND_TAG).map(String::as_str) {
        Some("head") => Ok(NodeKind::Head),
        Some("worker") | None => Ok(NodeKind::Worker),
        Some(other) => {
            let what = format!("`{other}` is no kind of node; write `head` or `worker`");
            Err(root.place().join("tags").join(KIND_TAG).error(what))
        }
    }
}
