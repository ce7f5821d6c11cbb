//! Proxies: what is asked through one. What is on this machine never is.

use super::{Finding, Scene, image};
use crate::http::proxy_for;

pub(super) fn check(scene: &Scene) -> Vec<Finding> {
    let registry = image::registry(scene);
    let finding = match proxy_for(&registry).filter(|_| !crate::http::is_loopback(&registry)) {
        None => Finding::good("proxy", "none is used"),
        Some(proxy) => Finding::note(
            "proxy",
            format!(
                "the registry of images is asked through {proxy}; what is on this machine is not"
            ),
        ),
    };
    vec![finding]
}
