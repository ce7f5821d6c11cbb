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

use super::{Nodes, bus::Bus, daemon::Daemon, services::Services, transfer::Ends};
use crate::{
    nodes::{LocalSetup, NodeError, NodeHost, NodeSpec, Written},
    yagna::{
        Errand, Outcome, Source,
        errand::{CommandPlace, NodeFacts, Task},
    },
};

/// A node that joins no private network is alone in one of its own.
const ALONE: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(255, 255, 255, 0));
const MEBIBYTE: u64 = 1 << 20;
/// A virtual node runs nothing, but those who try a network out run this first.
const ECHO: [&str; 3] = ["echo", "/bin/echo", "/usr/bin/echo"];
/// A command that failed, but not by an exit code.
const NO_CODE: i32 = -1;
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

/// What commands are carried out with. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Hands {
    pub(super) daemon: Arc<Daemon>,
    pub(super) host: NodeHost,
    pub(super) substance: Substance,
    pub(super) services: Arc<Services>,
    pub(super) bus: Arc<Bus>,
}

/// Carries out what activities ask for, until the daemon is gone.
pub(super) async fn carry_out(hands: Hands, mut errands: mpsc::UnboundedReceiver<Errand>) {
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
        let hands = hands.clone();
        match task {
            Task::Start { command, node } => {
                let spec = spec(&hands.host, &activity, &node);
                let (started, start) = oneshot::channel();
                let started_for = activity.clone();
                tasks.spawn(async move {
                    let outcome = hands.host.start(spec).await;
                    if outcome.is_ok() {
                        hands.bus.attach(&started_for, &node.provider, &node.networks);
                    }
                    hands.daemon.errand_done(&command, outcome_of(outcome.map(|()| 0)));
                    drop(started);
                });
                starting.insert(activity, start);
            }
            Task::Run { command, entry_point, args } => {
                tasks.spawn(async move {
                    let outcome = hands.run(&activity, &command, &entry_point, &args).await;
                    hands.daemon.errand_done(&command, outcome_of(outcome));
                });
            }
            Task::Transfer { command, from, to, volumes } => {
                tasks.spawn(async move {
                    let failure = hands.transfer(&activity, &from, &to, &volumes).await.err();
                    let code = if failure.is_some() { NO_CODE } else { 0 };
                    hands.daemon.errand_done(&command, Outcome { code, failure });
                });
            }
            Task::Stall => {
                tasks.spawn(async move {
                    // It may have no node yet.
                    let _ = hands.host.stall_ssh(activity.as_str(), true).await;
                });
            }
            Task::Stop => {
                let start = starting.remove(&activity);
                tasks.spawn(async move {
                    if let Some(start) = start {
                        let _ = start.await;
                    }
                    hands.bus.detach(activity.as_str());
                    hands.host.stop(activity.as_str()).await;
                });
            }
        }
    }
}

impl Hands {
    /// Runs a program, and tells what it writes as it comes.
    async fn run(
        &self,
        activity: &ActivityId,
        command: &CommandPlace,
        entry_point: &str,
        args: &[String],
    ) -> Result<i32, NodeError> {
        let tell = |written| {
            let (source, bytes) = match written {
                Written::Stdout(bytes) => (Source::Stdout, bytes),
                Written::Stderr(bytes) => (Source::Stderr, bytes),
            };
            self.daemon.errand_wrote(command, source, &bytes);
        };
        let is_pretended = self.substance == Substance::Virtual && ECHO.contains(&entry_point);
        if is_pretended {
            tell(Written::Stdout(format!("{}\n", args.join(" ")).into_bytes()));
        }
        self.host.run_telling(activity.as_str(), entry_point, args, tell).await
    }

    /// Copies a file; tells why it is not copied.
    async fn transfer(
        &self,
        activity: &ActivityId,
        from: &str,
        to: &str,
        volumes: &[String],
    ) -> Result<(), String> {
        let ends = Ends { host: &self.host, activity: activity.as_str(), volumes };
        let copied = ends.transfer(&self.daemon, &self.services, from, to).await;
        copied.map_err(|error| error.to_string())
    }
}

/// What the daemon tells of a command, in the words of the exe-unit.
fn outcome_of(finished: Result<i32, NodeError>) -> Outcome {
    match finished {
        Ok(0) => Outcome::default(),
        Ok(code) => {
            let failure = Some(format!("ExeScript command exited with code {code}"));
            Outcome { code, failure }
        }
        Err(error) => Outcome { code: NO_CODE, failure: Some(error.to_string()) },
    }
}

fn spec(host: &NodeHost, activity: &ActivityId, node: &NodeFacts) -> NodeSpec {
    let joined = node.networks.first();
    let alone = || {
        let own = host.network().map(|(network, _)| Ipv4Addr::from_bits(network.to_bits() + 2));
        (own.unwrap_or(ALONE.0), ALONE.1)
    };
    let (address, netmask) = joined.map_or_else(alone, |it| (it.node_ip, it.mask));
    let network = joined.map_or(activity.as_str(), |it| it.network.as_str());
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
        volumes: node.volumes.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::outcome_of;
    use crate::{nodes::NodeError, yagna::Outcome};

    #[test]
    fn an_outcome_has_the_words_of_the_runtime() {
        let words = Some("ExeScript command exited with code 3".to_owned());
        assert_eq!(outcome_of(Ok(0)), Outcome::default());
        assert_eq!(outcome_of(Ok(3)), Outcome { code: 3, failure: words });
        let words = Some("no node runs for the activity `x`".to_owned());
        let gone = outcome_of(Err(NodeError::Unknown("x".to_owned())));
        assert_eq!(gone, Outcome { code: -1, failure: words });
    }
}
