//! The system's ssh and rsync to a node, through the product's proxy.

use std::{path::Path, process::Stdio};

use ray_on_golem::{core::ids::NodeId, ssh::proxy_command};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    time::timeout,
};

use crate::{
    lab::network::Node,
    proxy::{CLUSTER, PATIENCE, PROGRAM},
};

/// A node's ssh server, and how to get there.
pub(crate) struct Shell {
    options: Vec<String>,
}

/// A command that runs on the node.
pub(crate) struct Session {
    child: Child,
}

impl Shell {
    /// The server of a node that was started with one; `data` is the webserver's directory.
    pub(crate) fn to(node: &Node, data: &Path) -> Self {
        let port = node.port("ssh");
        let program = Path::new(PROGRAM);
        let proxy = proxy_command(program, data, &CLUSTER.into(), NodeId(0), port);
        let key = node.login_key.as_ref().expect("the node has a server");
        let settings = [
            "BatchMode=yes",
            "LogLevel=ERROR",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            &format!("ProxyCommand={proxy}"),
        ];
        let mut options = ["-F", "none", "-T", "-i"].map(str::to_owned).to_vec();
        options.push(key.display().to_string());
        options
            .extend(settings.iter().flat_map(|setting| ["-o".to_owned(), (*setting).to_owned()]));
        Self { options }
    }

    /// Begins a command.
    pub(crate) fn open(&self, command: &str) -> Session {
        let mut ssh = Command::new("ssh");
        ssh.args(&self.options).args(["root@node", command]);
        let ssh = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        Session { child: ssh.spawn().expect("setup installs ssh") }
    }

    /// Copies a directory as Ray does; one of the two places begins with `root@node:`.
    pub(crate) async fn rsync(&self, from: &str, to: &str) {
        // Ray puts arguments with spaces between double quotes.
        let quoted = |word: &String| match word.contains(' ') {
            true => format!("\"{word}\""),
            false => word.clone(),
        };
        let words: Vec<String> = self.options.iter().map(quoted).collect();
        let remote_shell = format!("ssh {}", words.join(" "));
        let copying = Command::new("rsync")
            .args(["--rsh", &remote_shell, "-az", from, to])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .status();
        let status = timeout(PATIENCE, copying).await.expect("in time");
        let status = status.expect("setup installs rsync");
        assert!(status.success(), "rsync {from} {to}: {status}");
    }
}

impl Session {
    /// Waits for the next bytes that it says.
    pub(crate) async fn says(&mut self, expected: &str) {
        let output = self.child.stdout.as_mut().expect("piped");
        let mut said = vec![0; expected.len()];
        let read = timeout(PATIENCE, output.read_exact(&mut said)).await.expect("in time");
        read.expect("it says as much as that");
        assert_eq!(String::from_utf8_lossy(&said), expected);
    }

    /// Gives it its input; returns what it says till its end.
    pub(crate) async fn end(mut self, input: &[u8]) -> String {
        let mut stdin = self.child.stdin.take().expect("piped");
        let give = async {
            stdin.write_all(input).await.expect("ssh reads");
            drop(stdin);
        };
        let both = async { tokio::join!(give, self.child.wait_with_output()) };
        let ((), output) = timeout(PATIENCE, both).await.expect("it ends in time");
        let output = output.expect("it was started");
        assert!(output.status.success(), "ssh: {}", output.status);
        String::from_utf8(output.stdout).expect("text")
    }
}
