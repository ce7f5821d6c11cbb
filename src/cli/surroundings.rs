//! What the environment says: where the daemon is, its key, and the registry.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process,
};

use url::Url;

use super::error::CliError;
use crate::{
    driver::{
        Recorder,
        appkey::{self, AppKeySource},
    },
    registry, reputation,
    yagna::{AppKey, Endpoints},
};

const NO_HOME: &str = "this user has no home directory (there is no `HOME`), so that there is no place for the data \
                       directory; name one with `--datadir`, or in `RAY_ON_GOLEM_DATADIR`";
const DEFAULT_API_URL: &str = "http://127.0.0.1:7465";

/// The option, else `RAY_ON_GOLEM_DATADIR`, else where the system keeps the data of its users.
pub(super) fn data_directory(given: Option<PathBuf>) -> Result<PathBuf, CliError> {
    let set = |variable| env::var_os(variable).filter(|value| !value.is_empty());
    let data = given
        .or_else(|| set("RAY_ON_GOLEM_DATADIR").map(PathBuf::from))
        .or_else(|| set("XDG_DATA_HOME").map(|data| PathBuf::from(data).join("ray_on_golem")))
        .or_else(|| home().map(|home| home.join(".local/share/ray_on_golem")))
        .ok_or_else(|| CliError::Argument(NO_HOME.to_owned()))?;
    // Clients are told of it in JSON.
    match data.to_str() {
        Some(_) => Ok(data),
        None => Err(CliError::Argument(format!(
            "the name of the data directory `{}` is not UTF-8; name another one with `--datadir`",
            data.display()
        ))),
    }
}

/// Where the system keeps the settings of its users.
pub(super) fn config_directory() -> Result<PathBuf, CliError> {
    let set = env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
    set.or_else(|| home().map(|home| home.join(".config")))
        .ok_or_else(|| CliError::Argument("this user has no home directory; set `HOME`".to_owned()))
}

/// The home directory, by `HOME` or else by the system's file of users.
fn home() -> Option<PathBuf> {
    match env::var_os("HOME") {
        Some(home) if home.is_empty() => None,
        Some(_) | None => env::home_dir().filter(|home| !home.as_os_str().is_empty()),
    }
}

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

/// The virtual environment of the first `ray` on the path `PATH`, if that is in one.
pub(super) fn environment_of_ray(path: &OsStr) -> Option<PathBuf> {
    let ray = env::split_paths(path).map(|place| place.join("ray")).find(|ray| ray.is_file())?;
    // The path may lead to it through a link.
    let ray = ray.canonicalize().ok()?;
    let environment = ray.parent()?.parent()?;
    environment.join("pyvenv.cfg").is_file().then(|| environment.to_owned())
}

/// Where images are looked up.
pub(super) fn registry() -> Result<Url, CliError> {
    named_registry()?.map_or_else(public_registry, Ok)
}

/// Where the user says that images are looked up, if anywhere.
pub(super) fn named_registry() -> Result<Option<Url>, CliError> {
    url_of("GOLEM_REGISTRY_URL")
}

/// Where images are looked up if the user does not say otherwise.
pub(super) fn public_registry() -> Result<Url, CliError> {
    address(registry::DEFAULT_URL)
}

/// Where scores of providers are fetched.
pub(super) fn reputation() -> Result<Url, CliError> {
    named_reputation()?.map_or_else(|| address(reputation::DEFAULT_URL), Ok)
}

/// Where the user says that scores of providers are fetched, if anywhere.
pub(super) fn named_reputation() -> Result<Option<Url>, CliError> {
    url_of("GOLEM_REPUTATION_URL")
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

/// Has the simulator do something; its exit code is ours.
#[expect(clippy::exit, reason = "the exit code is the simulator's, which may be any")]
pub(super) fn run_simulator(arguments: &[OsString]) -> Result<(), CliError> {
    let status = process::Command::new(simulator()?).args(arguments).status()?;
    match status.code() {
        Some(0) => Ok(()),
        // It has told the user what is wrong.
        Some(code) => process::exit(code),
        None => Err(CliError::Interrupted),
    }
}

/// The simulator beside this program.
pub(super) fn simulator() -> Result<PathBuf, CliError> {
    let sibling = env::current_exe()?.with_file_name("golem-sim");
    match sibling.exists() {
        true => Ok(sibling),
        false => Err(CliError::Environment {
            what: format!("cannot find the simulator `{}`", sibling.display()),
            hint: "`cargo install --locked --path sim` where the sources of Ray on Golem are installs \
                   it; `pip install .` there installs both programs"
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

#[cfg(test)]
mod tests {
    use std::{env, fs, os::unix::fs::symlink};

    use super::environment_of_ray;

    #[test]
    fn the_environment_of_ray_is_where_its_program_really_lies() {
        let home = tempfile::tempdir().expect("a directory");
        let at = |name: &str| home.path().join(name);
        for directory in ["venv/bin", "linked", "system/bin", "empty"] {
            fs::create_dir_all(at(directory)).expect("a writable directory");
        }
        for file in ["venv/bin/ray", "venv/pyvenv.cfg", "system/bin/ray"] {
            fs::write(at(file), "").expect("a writable directory");
        }
        symlink(at("venv/bin/ray"), at("linked/ray")).expect("a writable directory");
        let found = |places: &[&str]| {
            let path = env::join_paths(places.iter().map(|it| at(it))).expect("no colons");
            environment_of_ray(&path)
        };
        let venv = at("venv").canonicalize().expect("it is there");

        assert_eq!(found(&["empty", "venv/bin", "system/bin"]), Some(venv.clone()));
        assert_eq!(found(&["linked"]), Some(venv));
        assert_eq!(found(&["system/bin", "venv/bin"]), None);
        assert_eq!(found(&["empty"]), None);
    }
}
