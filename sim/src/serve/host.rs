//! Nodes: what activities ask for is carried out, and its outcome goes back to the daemon.

use std::{collections::BTreeMap, net::Ipv4Addr, panic::resume_unwind, sync::Arc};

use ray_on_golem::yagna::ActivityId;
use tokio::{
    sync::{
        mpsc,
        oneshot::{self, error::TryRecvError},
    },
    task::{JoinError, JoinSet},
};

use super::{Nodes, daemon::Daemon};
use crate::{
    nodes::{Finished, LocalSetup, NodeError, NodeHost, NodeSpec},
    yagna::{
        Errand, Outcome,
        errand::{CommandPlace, NodeFacts, Task},
    },
};

/// A node that joins no private network is alone in one of its own.
const ALONE: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(255, 255, 255, 0));
const MEBIBYTE: u64 = 1 << 20;
/// A virtual node runs nothing, but those who try a network out run this first.
const ECHO: [&str; 3] = ["echo", "/bin/echo", "/usr/bin/echo"];
/// An agreement's name is long; this much of it tells nodes apart.
const NAME_LENGTH: usize = 12;

/// Whether nodes do what they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Substance {
    /// They pretend.
    Virtual,
    /// They do.
    Real,
}

/// The host that was chosen.
#[derive(Debug)]
pub(super) struct Hosting {
    pub(super) host: NodeHost,
    pub(super) substance: Substance,
    /// What is less true about its nodes than it could be, and why, if anything is.
    pub(super) caveat: Option<String>,
}

/// What nodes lack that are plain processes.
const LACKS: &str = "local nodes are plain processes with addresses of their own: they see this machine's files, \
                     processes, and ports, and nothing limits their memory and disk; one cluster at a time";

impl Hosting {
    /// Makes the host that was asked for; the best one is found out by trying.
    pub(super) async fn of(nodes: Nodes) -> Result<Self, NodeError> {
        let real = |host| Self { host, substance: Substance::Real, caveat: None };
        match nodes {
            Nodes::Virtual => {
                let (host, substance) = (NodeHost::virtual_nodes(), Substance::Virtual);
                Ok(Self { host, substance, caveat: None })
            }
            Nodes::Local(setup) => Ok(real(NodeHost::local_nodes(*setup).await?)),
            Nodes::Processes(setup) => {
                let caveat = Some(LACKS.to_owned());
                Ok(Self { caveat, ..real(NodeHost::processes(*setup)?) })
            }
            Nodes::Best(setup) => match NodeHost::local_nodes(LocalSetup::clone(&setup)).await {
                Ok(host) => Ok(real(host)),
                Err(NodeError::NoNamespaces(why)) => {
                    let caveat = Some(format!("{LACKS} ({why})"));
                    Ok(Self { caveat, ..real(NodeHost::processes(*setup)?) })
                }
                Err(error) => Err(error),
            },
        }
    }
}

/// Carries out what activities ask for, until the daemon is gone.
pub(super) async fn carry_out(
    daemon: Arc<Daemon>,
    host: NodeHost,
    substance: Substance,
    mut errands: mpsc::UnboundedReceiver<Errand>,
) {
    let mut tasks = JoinSet::new();
    // A node that is stopped while it starts is stopped when it has started: its sender is dropped then.
    let mut starting: BTreeMap<ActivityId, oneshot::Receiver<()>> = BTreeMap::new();
    loop {
        let errand = tokio::select! {
            errand = errands.recv() => errand,
            Some(ended) = tasks.join_next() => {
                if let Err(panic) = ended.map_err(JoinError::into_panic) {
                    resume_unwind(panic);
                }
                continue;
            }
        };
        let Some(Errand { activity, task }) = errand else { break };
        starting.retain(|_, start| start.try_recv() == Err(TryRecvError::Empty));
        let (daemon, host) = (Arc::clone(&daemon), host.clone());
        match task {
            Task::Start { command, node } => {
                let spec = spec(&host, &activity, &node);
                let (started, start) = oneshot::channel();
                tasks.spawn(async move {
                    let outcome = host.start(spec).await;
                    finish(&daemon, &command, outcome.map(|()| Finished::default()));
                    drop(started);
                });
                starting.insert(activity, start);
            }
            Task::Run { command, entry_point, args } => {
                tasks.spawn(async move {
                    let outcome = run(&host, substance, &activity, &entry_point, &args).await;
                    finish(&daemon, &command, outcome);
                });
            }
            Task::Stall => {
                tasks.spawn(async move {
                    // It may have no node yet.
                    let _ = host.stall_ssh(activity.as_str(), true).await;
                });
            }
            Task::Stop => {
                let start = starting.remove(&activity);
                tasks.spawn(async move {
                    if let Some(start) = start {
                        let _ = start.await;
                    }
                    host.stop(activity.as_str()).await;
                });
            }
        }
    }
}

fn finish(daemon: &Daemon, command: &CommandPlace, outcome: Result<Finished, NodeError>) {
    daemon.errand_done(command, outcome_of(outcome));
}

async fn run(
    host: &NodeHost,
    substance: Substance,
    activity: &ActivityId,
    entry_point: &str,
    args: &[String],
) -> Result<Finished, NodeError> {
    let finished = host.run(activity.as_str(), entry_point, args).await?;
    let is_pretended = substance == Substance::Virtual && ECHO.contains(&entry_point);
    if is_pretended {
        let stdout = format!("{}\n", args.join(" ")).into_bytes();
        return Ok(Finished { stdout, ..finished });
    }
    Ok(finished)
}

/// What the daemon tells of a command, in the words of the exe-unit.
fn outcome_of(finished: Result<Finished, NodeError>) -> Outcome {
    match finished {
        Ok(Finished { code, stdout, stderr }) => {
            let text = |bytes: Vec<u8>| {
                let is_there = !bytes.is_empty();
                is_there.then(|| String::from_utf8_lossy(&bytes).into_owned())
            };
            let failure = (code != 0).then(|| format!("ExeScript command exited with code {code}"));
            Outcome { stdout: text(stdout), stderr: text(stderr), failure }
        }
        Err(error) => Outcome { failure: Some(error.to_string()), ..Outcome::default() },
    }
}

fn spec(host: &NodeHost, activity: &ActivityId, node: &NodeFacts) -> NodeSpec {
    let joined = node.addresses.first();
    let alone = || {
        let own = host.network().map(|(network, _)| Ipv4Addr::from_bits(network.to_bits() + 2));
        (own.unwrap_or(ALONE.0), ALONE.1)
    };
    let (address, netmask) = joined.map_or_else(alone, |(_, address, mask)| (*address, *mask));
    let network = joined.map_or(activity.as_str(), |(network, _, _)| network.as_str());
    NodeSpec {
        activity: activity.as_str().to_owned(),
        network: network.to_owned(),
        hostname: activity.as_str().chars().take(NAME_LENGTH).collect(),
        address,
        netmask,
        threads: node.threads,
        memory: node.memory.saturating_mul(MEBIBYTE),
        disk: node.storage.saturating_mul(MEBIBYTE),
        env: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::outcome_of;
    use crate::{
        nodes::{Finished, NodeError},
        yagna::Outcome,
    };

    #[test]
    fn an_outcome_has_the_words_of_the_runtime() {
        let done = Finished { code: 0, stdout: b"hello\n".to_vec(), stderr: Vec::new() };
        let failed = Finished { code: 3, stderr: b"no".to_vec(), ..Finished::default() };
        let stdout = Some("hello\n".to_owned());
        let words = Some("ExeScript command exited with code 3".to_owned());

        assert_eq!(outcome_of(Ok(done)), Outcome { stdout, ..Outcome::default() });
        let stderr = Some("no".to_owned());
        assert_eq!(outcome_of(Ok(failed)), Outcome { stderr, failure: words, stdout: None });
        let gone = outcome_of(Err(NodeError::Unknown("x".to_owned())));
        assert_eq!(gone.failure.as_deref(), Some("no node runs for the activity `x`"));
    }
}
