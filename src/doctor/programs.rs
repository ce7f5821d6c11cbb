//! The programs that Ray runs to reach nodes: `ssh` and `rsync`.

use std::{
    env,
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    time::Duration,
};

use tokio::{io::AsyncWriteExt, join, process::Command, time::timeout};

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
    let output = run(program, arguments, &[]).await?;
    let said = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
    let line = first_line(said);
    match output.status.success() {
        true => Ok(line),
        false => Err(why(&output.status, line)),
    }
}

/// All that a program says on its standard output about what it is given on its standard input.
pub(super) async fn output(
    program: &Path,
    arguments: &[&str],
    input: &[u8],
) -> Result<String, String> {
    let output = run(program, arguments, input).await?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        // The last line of a traceback is what is wrong.
        false => Err(why(&output.status, last_line(&output.stderr))),
    }
}

async fn run(program: &Path, arguments: &[&str], input: &[u8]) -> Result<Output, String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = async {
        let mut child = command.kill_on_drop(true).spawn()?;
        let mut pipe = child.stdin.take();
        let given = async {
            if let Some(mut pipe) = pipe.take() {
                // A program that does not read its input closes it.
                let _closed = pipe.write_all(input).await;
            }
        };
        let ((), output) = join!(given, child.wait_with_output());
        output
    };
    match timeout(PATIENCE, running).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

fn why(status: &ExitStatus, line: String) -> String {
    if line.is_empty() { status.to_string() } else { line }
}

fn first_line(said: &[u8]) -> String {
    words(String::from_utf8_lossy(said).lines().next())
}

fn last_line(said: &[u8]) -> String {
    words(String::from_utf8_lossy(said).lines().next_back())
}

fn words(line: Option<&str>) -> String {
    line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_program(path: &Path) -> bool {
    use rustix::fs::{Access, access};
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}
