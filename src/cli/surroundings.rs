//! What the environment says: where the daemon is, its key, and the registry.

use std::{
    env,
    path::{Path, PathBuf},
};

use url::Url;

use super::error::CliError;
use crate::{
    driver::{
        Recorder,
        appkey::{self, AppKeySource},
    },
    registry,
    yagna::{AppKey, Endpoints},
};

const DEFAULT_API_URL: &str = "http://127.0.0.1:7465";

/// Where the daemon listens.
pub(super) fn endpoints() -> Result<Endpoints, CliError> {
    Ok(Endpoints {
        base: url_of("YAGNA_API_URL")?.map_or_else(|| address(DEFAULT_API_URL), Ok)?,
        market: url_of("YAGNA_MARKET_URL")?,
        payment: url_of("YAGNA_PAYMENT_URL")?,
        activity: url_of("YAGNA_ACTIVITY_URL")?,
        net: url_of("YAGNA_NET_URL")?,
    })
}

/// Where the key to the daemon comes from.
pub(super) fn key_source() -> AppKeySource {
    AppKeySource {
        given: env::var("YAGNA_APPKEY").ok().filter(|key| !key.is_empty()),
        binary: env::var_os("YAGNA_PATH").map_or_else(|| appkey::DEFAULT_BINARY.into(), Into::into),
        name: env::var("YAGNA_APPNAME").unwrap_or_else(|_| appkey::DEFAULT_NAME.to_owned()),
    }
}

/// What `--record` asks for.
pub(super) fn recorder(path: Option<&Path>, key: &AppKey) -> Result<Recorder, CliError> {
    let recorder = path.map(|path| Recorder::create(path, key)).transpose();
    Ok(recorder.map_err(|error| CliError::Argument(error.to_string()))?.unwrap_or(Recorder::none()))
}

/// Where images are looked up.
pub(super) fn registry() -> Result<Url, CliError> {
    url_of("GOLEM_REGISTRY_URL")?.map_or_else(|| address(registry::DEFAULT_URL), Ok)
}

/// The registry of the simulated network at `base`, unless the user names another one.
pub(super) fn registry_beside(base: &Url) -> Result<Url, CliError> {
    let beside = || {
        let mut url = base.clone();
        url.set_path("/registry");
        url
    };
    Ok(url_of("GOLEM_REGISTRY_URL")?.unwrap_or_else(beside))
}

/// The simulator beside this program.
pub(super) fn simulator() -> Result<PathBuf, CliError> {
    let sibling = env::current_exe()?.with_file_name("golem-sim");
    match sibling.exists() {
        true => Ok(sibling),
        false => Err(CliError::Environment {
            what: format!("cannot find the simulator `{}`", sibling.display()),
            hint: "install `golem-sim` beside `ray-on-golem`, or build both with \
                   `cargo build --release`"
                .to_owned(),
        }),
    }
}

fn url_of(variable: &str) -> Result<Option<Url>, CliError> {
    match env::var(variable) {
        Ok(text) if !text.is_empty() => address(&text)
            .map(Some)
            .map_err(|_| CliError::Argument(format!("`{variable}` is no http address: `{text}`"))),
        Ok(_) | Err(_) => Ok(None),
    }
}

fn address(text: &str) -> Result<Url, CliError> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        Ok(_) | Err(_) => Err(CliError::Argument(format!("`{text}` is no http address"))),
    }
}
