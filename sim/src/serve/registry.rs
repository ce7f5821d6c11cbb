//! The image registry of the simulated network: it knows every image of the repository `golem`, and every
//! hash. Nobody downloads them: local nodes run what this host has.

use axum::{body::Body, http::Response};
use serde_json::json;

use super::{api::Ask, reply};
use crate::plan;

/// Where it is; clients of the registry add `/v1/image/info`.
pub(super) const PREFIX: &str = "/registry/";
const REPOSITORY: &str = "golem/";
/// The size of every image, in bytes. Some clients cannot do without it.
const SIZE: u64 = 64 << 20;

/// Answers a question about an image.
pub(super) fn answer(ask: &Ask) -> Response<Body> {
    let ["registry", "v1", "image", "info"] = ask.path().as_slice() else {
        return reply::text(404, "404 Not Found");
    };
    let (name, hash) = match (ask.value("tag"), ask.value("hash")) {
        (Some(tag), _) if tag.starts_with(REPOSITORY) => (tag, None),
        (Some(_), _) => return reply::text(404, "Image not found"),
        (None, Some(hash)) => (hash, Some(hash)),
        (None, None) => return reply::text(400, "Neither tag nor hash is given"),
    };
    let image = plan::image(name);
    let sha3 = hash.unwrap_or(&image.sha3);
    reply::json(200, &json!({ "http": image.url, "https": image.url, "sha3": sha3, "size": SIZE }))
}
