//! Whether this host lets us make namespaces, and which switch to turn if it does not.

use std::{fs, io, path::Path, process::Stdio};

use rustix::process::geteuid;
use tokio::process::Command;

use super::NodeError;

/// Switches that forbid namespaces, what they are set to then, and what to do.
const SWITCHES: [(&str, &str, &str); 4] = [
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "run `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` as root",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "run `sysctl -w kernel.unprivileged_userns_clone=1` as root",
    ),
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "run `sysctl -w user.max_user_namespaces=15000` as root",
    ),
    (
        "/proc/sys/user/max_net_namespaces",
        "0",
        "run `sysctl -w user.max_net_namespaces=15000` as root",
    ),
];

/// Tries what nodes need, and tells which arguments of `unshare` make it possible.
pub(super) async fn arguments() -> Result<&'static [&'static str], NodeError> {
    let ways: [&[&str]; 2] = [&[], &["--user", "--map-root-user"]];
    let is_root = geteuid().is_root();
    let mut reason = String::new();
    for way in &ways[usize::from(!is_root)..] {
        match attempt(way).await {
            Ok(None) => return Ok(way),
            Ok(Some(words)) => reason = words,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let words =
                    "local nodes need the program `unshare`; install the package util-linux";
                return Err(NodeError::NoNamespaces(words.to_owned()));
            }
            Err(error) => reason = error.to_string(),
        }
    }
    let turned = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let found = SWITCHES.iter().find(|(path, off, _)| turned(path) == *off);
    Err(NodeError::NoNamespaces(sentence(&reason, found.map(|(_, _, cure)| *cure), in_container())))
}

/// Makes namespaces of every kind that a node has; nothing, or what the kernel says.
async fn attempt(way: &[&str]) -> io::Result<Option<String>> {
    let mut command = Command::new("unshare");
    command.args(way).args(["--net", "--mount", "--pid", "--uts", "--ipc", "--fork"]);
    // Another mount in the new namespace is what a half-open switch refuses.
    command.args(["--kill-child=KILL", "--mount-proc", "--", "mount", "-t", "tmpfs", "x", "/tmp"]);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok((!output.status.success()).then_some(words))
}

fn in_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"].iter().any(|path| Path::new(path).exists())
}

fn sentence(reason: &str, switch: Option<&str>, is_container: bool) -> String {
    let cure = switch.unwrap_or(if is_container {
        "start this container with `--privileged`"
    } else {
        "run as root, or ask whoever keeps the host to allow user namespaces"
    });
    let reason = reason.lines().next().unwrap_or("no reason given");
    format!("this host forbids the namespaces that local nodes need ({reason}): {cure}")
}

#[cfg(test)]
mod tests {
    use super::sentence;

    #[test]
    fn one_line_names_the_switch() {
        let words = "unshare: unshare failed: Operation not permitted\nmore";

        assert_eq!(
            sentence(words, Some("run `sysctl -w a=1` as root"), true),
            "this host forbids the namespaces that local nodes need (unshare: unshare failed: \
             Operation not permitted): run `sysctl -w a=1` as root"
        );
        assert!(sentence("", None, true).ends_with("start this container with `--privileged`"));
        assert!(!sentence("", None, false).contains('\n'));
    }
}
