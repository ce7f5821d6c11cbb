//! The images of the cluster file, in the registry.

use std::collections::BTreeSet;

use url::Url;

use super::{Finding, Scene};
use crate::{
    core::market::spec::ImageRef,
    driver::known::Known,
    registry::{Registry, RegistryError},
    units::Span,
};

/// The registry answers in less than a second.
const PATIENCE: Span = Span::secs(10);

pub(super) async fn check(scene: &Scene) -> Vec<Finding> {
    let Some(file) = scene.file.as_ref().map(|file| &file.cluster) else { return Vec::new() };
    let images: BTreeSet<&str> = file.node_types.iter().map(|it| text(&it.spec.image)).collect();
    let by_text = |wanted: &str| {
        file.node_types.iter().map(|it| &it.spec.image).find(|image| text(image) == wanted).cloned()
    };
    let images = images.into_iter().filter_map(by_text);
    let looks = images.map(|image| async move { look_up(scene, &image).await });
    futures_util::future::join_all(looks).await
}

/// Where images are looked up: a simulated network has a registry of its own.
pub(super) fn registry(scene: &Scene) -> Url {
    let known = Known::of(&scene.daemon);
    match (&scene.registry, known.simulated) {
        (Some(named), _) => named.clone(),
        (None, true) => {
            let mut url = known.endpoints.base;
            url.set_path("/registry");
            url
        }
        (None, false) => scene.public_registry.clone(),
    }
}

/// The tag or hash of an image.
pub(super) fn text(image: &ImageRef) -> &str {
    match image {
        ImageRef::Tag(text) | ImageRef::Hash(text) => text,
    }
}

async fn look_up(scene: &Scene, image: &ImageRef) -> Finding {
    let shown = text(image);
    let url = registry(scene);
    if scene.simulated && !Known::of(&scene.daemon).simulated {
        return Finding::good(
            "image",
            format!("`{shown}`: a simulated registry knows every image"),
        );
    }
    // A look that rents nothing is not counted.
    let found = match Registry::new(url.clone(), false) {
        Ok(registry) => registry.look_up(image, PATIENCE).await,
        Err(error) => return Finding::bad("image", error.to_string(), "install `ca-certificates`"),
    };
    match found {
        Ok(_) => Finding::good("image", format!("the registry has `{shown}`")),
        Err(error @ (RegistryError::Unknown(_) | RegistryError::Unusable { .. })) => {
            let what = error.to_string().lines().last().unwrap_or_default().to_owned();
            Finding::bad("image", what, "correct `image_tag` or `image_hash` in the cluster file")
        }
        Err(RegistryError::Unavailable(error)) => {
            let base = url.as_str().trim_end_matches('/');
            let what = format!("the registry at {base} cannot be asked for `{shown}`: {error}");
            Finding::bad("image", what, "check the connection, or set `GOLEM_REGISTRY_URL`")
        }
    }
}
