//! The namespaces that local nodes of a simulated network are kept apart by.

use std::path::Path;

use super::{Finding, programs};

const WANTED: [&str; 6] = ["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork"];

pub(super) async fn check() -> Vec<Finding> {
    let arguments = WANTED.into_iter().chain(["true"]).collect::<Vec<_>>();
    let made = programs::said(Path::new("unshare"), &arguments).await;
    let finding = match made {
        Ok(_) => Finding::good("namespaces", "local nodes of `--sim` are kept apart by them"),
        Err(why) => {
            let what = format!("not to be had here ({why}); only local nodes of `--sim` use them");
            Finding::note("namespaces", what)
        }
    };
    vec![finding]
}
