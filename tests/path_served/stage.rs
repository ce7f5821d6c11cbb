//! A simulated daemon with a local node in a private network, the webserver's part of the way to it, and the product's
//! proxy.

use std::{collections::BTreeMap, net::SocketAddrV4, path::Path, time::Duration};

use golem_sim::{
    nodes::LocalSetup,
    serve::{Nodes, Patience},
};
use ray_on_golem::{
    core::ids::NodeId,
    driver::routed::Routed,
    network::{Door, Health, NetworkError, Networks, NodeStream, Ways},
    ssh::{Access, NodeAccess},
    units::Span,
    yagna::{AppKey, Network, NetworkPath, Request, Response, Vpn, Yagna as _, bus::Link},
};
use tempfile::TempDir;
use tokio::{
    task::AbortHandle,
    time::{sleep, timeout},
};

use crate::{
    local_node::{IP, PORTS, bring_up},
    proxy::{CLUSTER, PATIENCE, Proxy, Services},
    served_lab::{HONEST, KEY, Lab},
};

/// A daemon, a node, and what of the webserver leads to it.
pub(crate) struct Stage {
    lab: Lab,
    data: TempDir,
    networks: Networks,
    network: Network,
    door: AbortHandle,
}

impl Stage {
    /// A node in a network that is carried over this path.
    pub(crate) async fn start(path: NetworkPath) -> Self {
        let setup = LocalSetup { program: Some(golem_sim()), ..LocalSetup::default() };
        let nodes = Nodes::Local(Box::new(setup));
        let lab = Lab::serve(HONEST, nodes, Patience::default()).await;
        let data = tempfile::tempdir().expect("a directory");
        let networks = Networks::open(data.path(), lab.server.bus()).expect("no file");
        let requestor = match lab.call(Request::WhoAmI).await {
            Ok(Response::Identity(identity)) => identity.id.as_str().into(),
            other => panic!("{other:?}"),
        };
        let daemon = Routed::new(lab.client.clone(), networks.clone(), requestor);
        let (ip, gateway) = ([192, 168, 0, 0].into(), [192, 168, 192, 1].into());
        let create = Request::CreateNetwork { path, ip, prefix: 16, gateway };
        let network = match daemon.call(create, Span::secs(10)).await {
            Ok(Response::NetworkCreated(network)) => network,
            other => panic!("{other:?}"),
        };
        let (provider, activity) = lab.rent().await;
        bring_up(&lab, &daemon, &network, &provider, &activity).await;
        let door = door(&lab, &data, &networks, (path, &network));
        Self { lab, data, networks, network, door }
    }

    /// Ends the daemon for a moment; what it keeps in memory is lost.
    pub(crate) async fn restart_daemon(&self) {
        let restart = r#"{"outage": {"kind": "restart", "for": 1}}"#;
        assert_eq!(self.lab.ask("PUT", "/sim/faults", restart).await.0, 200);
        self.until(|health| health.link != Link::Up).await;
        self.until(|health| health.link == Link::Up).await;
    }

    /// Waits until no connection is left at our end.
    pub(crate) async fn until_idle(&self) {
        self.until(|health| health.connections == 0).await;
    }

    pub(crate) async fn connect(&self, port: u16) -> Result<NodeStream, NetworkError> {
        let to = SocketAddrV4::new(IP, port);
        self.networks.connect(&self.network.id, to, Span::secs(30)).await
    }

    async fn until(&self, is_so: impl Fn(&Health) -> bool) {
        let waiting = async {
            while !is_so(&self.networks.health(&self.network.id).expect("it is there")) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, waiting).await.expect("in time");
    }
}

impl Services for Stage {
    fn proxy(&self, service: &str) -> Proxy {
        Proxy::start(self.data.path(), port(service))
    }
}

/// The port of a service.
pub(crate) fn port(service: &str) -> u16 {
    PORTS.iter().find(|(name, _)| *name == service).expect("a service").1
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.door.abort();
    }
}

/// Opens the door of the data directory, and writes the access file that leads `ssh-proxy` there.
fn door(
    lab: &Lab,
    data: &TempDir,
    networks: &Networks,
    (path, network): (NetworkPath, &Network),
) -> AbortHandle {
    let net = format!("{}/net-api/v2/vpn", lab.server.url()).parse().expect("an address");
    let app_key = AppKey::new(KEY).expect("a word");
    let vpn = Vpn::at(&net, app_key.clone()).expect("an address");
    let door = Door::open(data.path(), Ways::new(vpn, Some(networks.clone())));
    let access = Access {
        net,
        app_key,
        path,
        network: Some(network.id.clone()),
        nodes: BTreeMap::from([(NodeId(0), NodeAccess { ip: IP })]),
    };
    access.save(data.path(), &CLUSTER.into()).expect("a writable directory");
    tokio::spawn(door.expect("a writable directory").serve()).abort_handle()
}

/// The simulator's program, beside ours.
fn golem_sim() -> std::path::PathBuf {
    Path::new(env!("CARGO_BIN_EXE_ray-on-golem")).with_file_name("golem-sim")
}
