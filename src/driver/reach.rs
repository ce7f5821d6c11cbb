//! The way to nodes as the manager needs it: probes, what a head gets when it comes up, and the tunnels
//! that lead back from it.
//!
//! [`Reach::keep`] watches the board and makes the world follow it: a tunnel for each head that runs, a
//! file of access for each cluster, a token for each head; and none of them for what is over.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use url::Url;

use super::{
    board::{Board, ClusterBoard},
    log::Log,
    package,
    probe::{Prober, Target},
    settings::ClusterSettings,
};
use crate::{
    core::{
        cluster::{
            plan::{ClusterName, NodeKind},
            state::NodeState,
        },
        ids::{ClusterId, NodeId},
    },
    network::Ways,
    server::auth::HeadTokens,
    ssh::{
        Access, Forward, HostKeys, KeyPair, Login, NodeAccess, Pace, Session, SshError, Tunnel,
        Upload, probe,
    },
    units::Span,
    yagna::{AppKey, NetworkId},
};

const SSH_PORT: u16 = 22;
/// Ray's control services on the head.
const GCS_PORT: u16 = 6379;
const TOKEN_ON_HEAD: &str = "/etc/ray_on_golem/token";
/// What could not be made is tried again so often.
const TRY_EVERY: Duration = Duration::from_secs(5);
const WHO: &str = "reach";

/// The way to nodes; its clones are the same.
#[derive(Clone)]
pub struct Reach(Arc<Inner>);

struct Inner {
    data: PathBuf,
    net: Url,
    key: AppKey,
    ways: Ways,
    heads: HeadTokens,
    /// Where the heads' port is, here.
    heads_at: SocketAddr,
    log: Log,
    hosts: Mutex<BTreeMap<ClusterId, HostKeys>>,
    /// Nodes that are over, and whose host keys are gone.
    forgotten: Mutex<BTreeSet<(ClusterId, NodeId)>>,
}

/// What is needed to reach nodes.
pub struct ReachPlan {
    /// The data directory.
    pub data: PathBuf,
    /// Where the daemon's API of private networks is.
    pub net: Url,
    /// The key to the daemon.
    pub key: AppKey,
    /// The ways to nodes.
    pub ways: Ways,
    /// The tokens of heads.
    pub heads: HeadTokens,
    /// Where heads are listened to.
    pub heads_at: SocketAddr,
    /// The log.
    pub log: Log,
}

/// A tunnel that should be there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    cluster: ClusterId,
    node: NodeId,
    network: NetworkId,
    is_reverse: bool,
    port: u16,
}

impl Reach {
    /// A way by this plan.
    #[must_use]
    pub fn new(plan: ReachPlan) -> Self {
        let ReachPlan { data, net, key, ways, heads, heads_at, log } = plan;
        let (hosts, forgotten) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { data, net, key, ways, heads, heads_at, log, hosts, forgotten }))
    }

    /// Lets tunnels, tokens, and files follow the board; returns when the manager has stopped.
    pub async fn keep(self, mut board: watch::Receiver<Arc<Board>>) {
        let mut tunnels: BTreeMap<Wanted, Tunnel> = BTreeMap::new();
        let mut access: BTreeMap<ClusterName, Access> = BTreeMap::new();
        let mut known: BTreeMap<ClusterId, ClusterName> = BTreeMap::new();
        let first = Arc::clone(&board.borrow());
        self.0.heads.clear(|id| first.clusters.contains_key(&id));
        loop {
            let now = Arc::clone(&board.borrow_and_update());
            self.follow_clusters(&now, &mut known);
            let is_saved = self.follow_access(&now, &mut access);
            let is_complete = self.follow_tunnels(&now, &mut tunnels).await && is_saved;
            let changed = board.changed();
            let ended = match is_complete {
                true => changed.await.is_err(),
                // What failed is tried again, also if nothing changes.
                false => timeout(TRY_EVERY, changed).await.is_ok_and(|changed| changed.is_err()),
            };
            if ended {
                break;
            }
            // One look for what changes together.
            sleep(Duration::from_millis(20)).await;
        }
        for tunnel in tunnels.into_values() {
            tunnel.end().await;
        }
    }

    /// A head's token is known as long as its cluster, also after a restart.
    fn follow_clusters(&self, board: &Board, known: &mut BTreeMap<ClusterId, ClusterName>) {
        for (id, cluster) in &board.clusters {
            if known.insert(*id, cluster.name.clone()).is_none()
                && let Err(error) = self.0.heads.of(*id, &cluster.name)
            {
                self.0.log.error(WHO, &error.to_string());
            }
        }
        self.forget_ended(board);
        known.retain(|id, _| {
            let is_there = board.clusters.contains_key(id);
            if !is_there {
                self.0.heads.forget(*id);
                self.0.hosts.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
            }
            is_there
        });
    }

    /// A node that is over has no host key any more.
    fn forget_ended(&self, board: &Board) {
        let hosts = self.0.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut forgotten = self.0.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, hosts) in hosts.iter() {
            let nodes = board.clusters.get(id).into_iter().flat_map(|cluster| &cluster.nodes);
            for (node, _) in nodes.filter(|(_, node)| node.state == NodeState::Terminated) {
                if forgotten.insert((*id, *node))
                    && let Err(error) = hosts.forget(*node)
                {
                    self.0.log.warn(WHO, &error.to_string());
                }
            }
        }
        forgotten.retain(|(id, _)| board.clusters.contains_key(id));
    }

    /// Whether every file of access is as it should be; `saved` is what the files have.
    fn follow_access(&self, board: &Board, saved: &mut BTreeMap<ClusterName, Access>) -> bool {
        let mut wanted: BTreeMap<ClusterName, Access> = BTreeMap::new();
        for cluster in board.clusters.values() {
            // A later cluster of the same name takes the place of one that ends.
            wanted.insert(cluster.name.clone(), self.access(cluster));
        }
        let data = &self.0.data;
        let mut failed = Vec::new();
        saved.retain(|name, _| {
            let removed = match wanted.contains_key(name) {
                true => return true,
                false => Access::remove(data, name),
            };
            let is_left = removed.is_err();
            failed.extend(removed.err());
            is_left
        });
        for (name, access) in wanted {
            if saved.get(&name) == Some(&access) {
                continue;
            }
            match access.save(data, &name) {
                Ok(()) => drop(saved.insert(name, access)),
                Err(error) => failed.push(error),
            }
        }
        failed.iter().for_each(|error| self.0.log.error(WHO, &error.to_string()));
        failed.is_empty()
    }

    fn access(&self, cluster: &ClusterBoard) -> Access {
        let live = cluster.nodes.iter().filter(|(_, node)| node.state < NodeState::Terminated);
        Access {
            net: self.0.net.clone(),
            app_key: self.0.key.clone(),
            path: self.0.ways.path(cluster.network.as_ref()),
            network: cluster.network.clone(),
            nodes: live.filter_map(|(id, node)| Some((*id, NodeAccess { ip: node.ip? }))).collect(),
        }
    }

    /// Whether every tunnel that should be there is kept.
    async fn follow_tunnels(&self, board: &Board, tunnels: &mut BTreeMap<Wanted, Tunnel>) -> bool {
        let wanted = self.wanted(board);
        let is_over =
            |(key, tunnel): &(&Wanted, &Tunnel)| !wanted.contains_key(*key) || tunnel.is_dead();
        let over: Vec<Wanted> =
            tunnels.iter().filter(is_over).map(|(key, _)| key.clone()).collect();
        for key in over {
            let Some(tunnel) = tunnels.remove(&key) else { continue };
            if tunnel.is_dead() {
                self.0
                    .log
                    .error(WHO, &format!("the tunnel of port {} died; this is a bug", key.port));
            }
            tunnel.end().await;
        }
        let mut is_complete = true;
        for (key, target) in wanted {
            if tunnels.contains_key(&key) {
                continue;
            }
            match self.tunnel(&key, &target).await {
                Ok(tunnel) => {
                    tunnels.insert(key, tunnel);
                }
                Err(why) => {
                    self.0.log.warn(WHO, &format!("[{}] no tunnel: {why}", target.name));
                    is_complete = false;
                }
            }
        }
        is_complete
    }

    async fn tunnel(&self, key: &Wanted, target: &Target) -> Result<Tunnel, String> {
        let login = self.login(target)?;
        let forward = match key.is_reverse {
            true => Forward::Reverse { port: key.port, to: self.0.heads_at },
            false => Forward::Local { port: key.port, to: GCS_PORT },
        };
        Tunnel::start(login, forward, Pace::default()).await.map_err(|error| error.to_string())
    }

    /// Two for each head that runs: back to us, and to Ray's control services.
    fn wanted(&self, board: &Board) -> BTreeMap<Wanted, Target> {
        let mut wanted = BTreeMap::new();
        for cluster in board.clusters.values() {
            let Some(network) = &cluster.network else { continue };
            let head = cluster
                .nodes
                .iter()
                .find(|(_, node)| node.kind == NodeKind::Head && node.state == NodeState::Running);
            let Some((id, node)) = head else { continue };
            let Some(ip) = node.ip else { continue };
            let Ok(settings) = ClusterSettings::load(&self.0.data, &cluster.name) else { continue };
            let target = Target {
                cluster: cluster.id,
                name: cluster.name.clone(),
                network: network.clone(),
                ip,
                node: Some((*id, NodeKind::Head)),
                is_new: false,
                host_key: None,
            };
            let gcs = settings.ray_gcs_expose_port.map(|port| (false, port));
            for (is_reverse, port) in [(true, settings.webserver_port)].into_iter().chain(gcs) {
                let network = network.clone();
                let key = Wanted { cluster: cluster.id, node: *id, network, is_reverse, port };
                wanted.insert(key, target.clone());
            }
        }
        wanted
    }

    fn login(&self, target: &Target) -> Result<Login, String> {
        let data = &self.0.data;
        let (node, _) = target.node.ok_or("the node has just gone")?;
        let settings = ClusterSettings::load(data, &target.name).ok();
        let own = settings.as_ref().and_then(|settings| settings.ssh_private_key.clone());
        let key = match own {
            Some(path) => KeyPair::read(&path),
            None => KeyPair::of_cluster(data, &target.name),
        };
        let hosts = {
            let mut known = self.0.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            match known.get(&target.cluster) {
                Some(hosts) => hosts.clone(),
                None => {
                    let hosts =
                        HostKeys::open(data, &target.name).map_err(|error| error.to_string())?;
                    known.insert(target.cluster, hosts.clone());
                    hosts
                }
            }
        };
        if let Some(line) = &target.host_key {
            hosts.supply(node, target.ip, line).map_err(|error| error.to_string())?;
        }
        Ok(Login {
            ways: self.0.ways.clone(),
            network: target.network.clone(),
            ip: target.ip,
            port: SSH_PORT,
            user: settings.map_or_else(|| "root".to_owned(), |settings| settings.ssh_user),
            key: key.map_err(|error| error.to_string())?,
            node,
            hosts,
        })
    }

    /// Brings a head what it needs to ask us: its token, and Ray's node provider.
    async fn equip(
        &self,
        login: &Login,
        target: &Target,
        patience: Span,
    ) -> Result<(), EquipError> {
        let token = self.0.heads.of(target.cluster, &target.name);
        let token = token.map_err(|error| EquipError::Token(error.to_string()))?;
        let session = Session::open(login, patience).await?;
        let bytes = format!("{}\n", token.as_str()).into_bytes();
        let token = Upload { path: TOKEN_ON_HEAD.to_owned(), mode: 0o600, bytes };
        session.upload(&token, patience).await?;
        for upload in package::uploads() {
            session.upload(&upload, patience).await?;
        }
        let installed = session.run(package::INSTALL, b"", patience).await?;
        installed.succeeded("the installation of the node provider")?;
        session.close().await;
        Ok(())
    }
}

/// Why a head was not equipped.
#[derive(Debug, thiserror::Error)]
enum EquipError {
    #[error(transparent)]
    Ssh(#[from] SshError),
    #[error("{0}")]
    Token(String),
}

impl Prober for Reach {
    async fn probe(&self, target: Target, patience: Span) -> Result<(), String> {
        let login = self.login(&target)?;
        let is_new_head =
            target.is_new && target.node.is_some_and(|(_, kind)| kind == NodeKind::Head);
        if is_new_head {
            let equipped = self.equip(&login, &target, patience).await;
            return equipped.map_err(|error| error.to_string());
        }
        probe(&login, patience).await.map_err(|error| error.to_string())
    }
}
