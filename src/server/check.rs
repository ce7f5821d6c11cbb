//! A cluster file as a whole, looked at before its first node is rented.
//!
//! Ray asks for nodes type by type, and for workers only when the head runs and is paid. What is wrong with any of them is
//! answered here, in the sentence of `network-stats`.

use std::collections::BTreeSet;

use axum::response::Response;
use serde_json::json;
use tokio::task::spawn_blocking;

use super::{
    App,
    api::unexpected,
    api::{Fields, done},
    error::ApiError,
    law,
};
use crate::{
    config::{
        ClusterFile, FieldError,
        yaml::{self, YamlError},
    },
    core::{
        Answer, Command, cluster::plan::ClusterName, market::spec::ImageRef, output::RequestError,
    },
};

/// What is asked.
struct Asked {
    /// The file as Ray has read it: with defaults, and what its command line overrides.
    config: yaml::Node,
    /// The file as it was written, if it was found.
    file: Option<File>,
}

struct File {
    name: String,
    text: String,
}

/// Answers whether nodes of all types can be asked for.
pub(super) async fn check_cluster(app: &App, fields: &Fields) -> Result<Response, ApiError> {
    let asked = Asked::read(fields)?;
    let mut warnings = Vec::new();
    let written = asked.file.as_ref().map(File::read).transpose()?;
    // What is wrong in the file is told from there; what the command line made of it may be wrong still.
    let cluster = ClusterFile::read_node(&asked.config)?;
    if let (Err(error), Some(file)) = (cluster.check_commands(&asked.config), &asked.file) {
        return Err(file.refused(&error));
    }
    cluster.check_commands(&asked.config).map_err(FieldError::from)?;
    warnings.extend(match written {
        Some(written) => written.warnings,
        None => cluster.warnings.clone(),
    });
    let counts = app.settings.registry_stats && cluster.parameters.enable_registry_stats;
    let mut seen = BTreeSet::new();
    for node_type in &cluster.node_types {
        let image = &node_type.spec.image;
        let (ImageRef::Tag(name) | ImageRef::Hash(name)) = image;
        if seen.insert(name)
            && let Err(error) = app.images.of(image, counts).await
        {
            return Err(asked.of_image(&node_type.name, error));
        }
    }
    lay_down(app, fields.cluster()?, &cluster).await?;
    done(&json!({ "warnings": warnings }))
}

/// Keeps what the file says as the law for what heads ask for: of the cluster that runs, and of the next one.
async fn lay_down(app: &App, name: String, cluster: &ClusterFile) -> Result<(), ApiError> {
    let (data, name, law) =
        (app.settings.data.clone(), ClusterName::from(name.as_str()), cluster.law());
    let command = Command::SetLaw { cluster: name.clone(), law: Box::new(law.clone()) };
    match spawn_blocking(move || law::save(&data, &name, &law)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            return Err(ApiError::Refused(format!("cannot keep what the file says: {error}")));
        }
        Err(error) => return Err(ApiError::Unavailable(error.to_string())),
    }
    let Answer::LawSet(set) = app.handle.ask(command).await? else {
        return Err(unexpected());
    };
    match set {
        // One that is not there gets it when it begins.
        Ok(()) | Err(RequestError::UnknownCluster) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Asked {
    fn read(fields: &Fields) -> Result<Self, ApiError> {
        fields.cluster()?;
        fields.with(|body| {
            let text = |section: &yaml::Section<'_>, key| {
                section.required(key)?.verbatim().map(str::to_owned)
            };
            Ok(Self {
                config: body.required("cluster_config")?.node().clone(),
                file: body.read("cluster_file", |file| {
                    let file = file.section()?;
                    Ok(File { name: text(&file, "name")?, text: text(&file, "text")? })
                })?,
            })
        })
    }

    /// What the registry says of a node type's image, with the place where the image is named.
    fn of_image(&self, node_type: &str, error: ApiError) -> ApiError {
        let ApiError::Refused(why) = error else { return error };
        let what = why.replace('\n', ": ");
        let file = self.file.as_ref().and_then(|file| {
            let root = yaml::parse(file.text.as_bytes()).ok()?;
            Some((file, ClusterFile::place_of_image(&root, node_type)?))
        });
        match file {
            Some((file, place)) => file.refused(&place.error(what)),
            None => match ClusterFile::place_of_image(&self.config, node_type) {
                Some(place) => FieldError::from(place.error(what)).into(),
                None => ApiError::Refused(what),
            },
        }
    }
}

impl File {
    fn read(&self) -> Result<ClusterFile, ApiError> {
        let root = yaml::parse(self.text.as_bytes()).map_err(|error| self.refused(&error))?;
        ClusterFile::read_written(&self.name, &root).map_err(|error| self.refused(&error))
    }

    fn refused(&self, error: &YamlError) -> ApiError {
        ApiError::InFile { field: error.key.clone(), what: error.in_file(&self.name) }
    }
}
