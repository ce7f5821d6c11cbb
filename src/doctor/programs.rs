//! The programs that Ray runs to reach nodes: `ssh` and `rsync`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{join, process::Command, time::timeout};

use super::{Finding, Scene};

/// A program that only says its version.
const PATIENCE: Duration = Duration::from_secs(5);

/// A program that is needed.
struct Needed {
    name: &'static str,
    /// What makes it say its version.
    argument: &'static str,
    /// The package that it is in, on Debian.
    package: &'static str,
}

const SSH: Needed = Needed { name: "ssh", argument: "-V", package: "openssh-client" };
const RSYNC: Needed = Needed { name: "rsync", argument: "--version", package: "rsync" };

pub(super) async fn check(scene: &Scene) -> Vec<Finding> {
    let (ssh, rsync) = join!(SSH.find(scene), RSYNC.find(scene));
    vec![ssh, rsync]
}

impl Needed {
    async fn find(&self, scene: &Scene) -> Finding {
        let Self { name, argument, package } = self;
        let Some(program) = on_path(scene, name) else {
            let cure =
                format!("install the package `{package}`, such as by `apt install {package}`");
            return Finding::bad(name, format!("there is no `{name}` on the path"), cure);
        };
        match said(&program, &[argument]).await {
            Ok(version) => Finding::good(name, format!("{version} ({})", program.display())),
            Err(why) => {
                let what = format!("`{} {argument}` failed: {why}", program.display());
                Finding::bad(name, what, format!("install the package `{package}` anew"))
            }
        }
    }
}

/// A program of the path.
pub(super) fn on_path(scene: &Scene, name: &str) -> Option<PathBuf> {
    let places = env::split_paths(scene.path.as_ref()?);
    places.map(|place| place.join(name)).find(|path| is_program(path))
}

/// The first line that a program says, on whichever stream.
pub(super) async fn said(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let running =
        Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = match timeout(PATIENCE, running).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("no answer within {} s", PATIENCE.as_secs())),
    };
    let said = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
    let text = String::from_utf8_lossy(said);
    let words = text.lines().next().unwrap_or_default().split_whitespace();
    let line = words.collect::<Vec<_>>().join(" ");
    match output.status.success() {
        true => Ok(line),
        false if line.is_empty() => Err(output.status.to_string()),
        false => Err(line),
    }
}

fn is_program(path: &Path) -> bool {
    use rustix::fs::{Access, access};
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}
