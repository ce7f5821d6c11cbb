//! The daemon's bus: networks of the product's own over it, and its clients.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    os::unix::fs::PermissionsExt as _,
    time::Duration,
};

use golem_sim::{
    nodes::LocalSetup,
    serve::{Nodes, Patience},
};
use ray_on_golem::{
    network::{Health, NetworkError, Networks, NodeStream},
    units::Span,
    yagna::{
        ActivityId, Deployment, ExeCommand, NetworkId, NetworkPath, ProviderId, Request, Response,
        bus::{self, Bus, BusAddress, BusError, BusPlan, Link},
    },
};
use tempfile::TempDir;
use tokio::{
    io::AsyncReadExt as _,
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::lab::{HONEST, Lab, sh};

const SSH: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 0, 3), 22);
const PATIENCE: Span = Span::secs(30);

/// A served network, a node of it, and a network of ours with the node in it.
struct Stage {
    lab: Lab,
    _data: TempDir,
    networks: Networks,
    network: NetworkId,
    node: Ipv4Addr,
    provider: ProviderId,
    activity: ActivityId,
}

impl Stage {
    async fn start(scenario: &str) -> Self {
        let lab = Lab::start(scenario).await;
        Self::with(lab, Ipv4Addr::new(192, 168, 0, 0)).await
    }

    /// A network of ours at `base`.
    async fn with(lab: Lab, base: Ipv4Addr) -> Self {
        let at = |host: u32| Ipv4Addr::from_bits(base.to_bits() + host);
        let node = at(3);
        let data = tempfile::tempdir().expect("a directory");
        let networks = Networks::open(data.path(), lab.server.bus()).expect("no file");
        let create = Request::CreateNetwork {
            path: NetworkPath::Bus,
            ip: base.into(),
            prefix: 16,
            gateway: at(0xc001).into(),
        };
        let created = networks.serve(&create).await;
        let Some(Ok(Response::NetworkCreated(network))) = created else { panic!("{created:?}") };
        let IpAddr::V4(mask) = network.mask else { panic!("{network:?}") };
        let (provider, activity) = lab.rent().await;
        let (id, member) = (network.id.clone(), provider.clone());
        let add = Request::AddNode { network: id, provider: member, ip: node.into() };
        assert_eq!(networks.serve(&add).await, Some(Ok(Response::NodeAdded)));
        let mut deployment = Deployment {
            network: network.id.clone(),
            ip: base,
            mask,
            node_ip: node,
            nodes: Vec::new(),
        };
        networks.deploy(&mut deployment, &identity(&lab).await).await.expect("a writable file");
        let deploy = ExeCommand::Deploy { networks: vec![deployment] };
        lab.run(&activity, vec![deploy, ExeCommand::Start, sh("service ssh start")]).await;
        Self { lab, _data: data, networks, network: network.id, node, provider, activity }
    }

    async fn connect(&self, port: u16) -> Result<NodeStream, NetworkError> {
        let patience = Span::secs(20);
        self.networks.connect(&self.network, SocketAddrV4::new(self.node, port), patience).await
    }

    async fn until(&self, is_so: impl Fn(&Health) -> bool) {
        let waiting = async {
            while !is_so(&self.networks.health(&self.network).expect("it is there")) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(60), waiting).await.expect("in time");
    }

    async fn fault(&self, fault: &str) {
        let path = format!("/sim/nodes/{}", self.activity);
        assert_eq!(self.lab.ask("POST", &path, fault).await.0, 200);
    }
}

async fn identity(lab: &Lab) -> ProviderId {
    match lab.call(Request::WhoAmI).await {
        Ok(Response::Identity(identity)) => identity.id.as_str().into(),
        other => panic!("{other:?}"),
    }
}

async fn greeting(stream: &mut NodeStream) -> Vec<u8> {
    let mut greeting = vec![0; 8];
    let read = timeout(Duration::from_secs(30), stream.read_exact(&mut greeting)).await;
    read.expect("in time").expect("it speaks");
    greeting
}

fn client(address: BusAddress, instance: u8, service: &str) -> (Bus, mpsc::Receiver<bus::Call>) {
    let (incoming, calls) = mpsc::channel(16);
    let (instance, services) = ([instance; 16], vec![service.to_owned()]);
    (Bus::start(BusPlan { address, instance, services }, incoming), calls)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_of_ours_leads_to_the_ssh_server_of_a_node() {
    let stage = Stage::start(HONEST).await;

    let mut stream = stage.connect(22).await.expect("the node listens");

    assert_eq!(greeting(&mut stream).await, b"SSH-2.0-");
    let refused = stage.connect(23).await.expect_err("nothing listens");
    assert!(matches!(refused, NetworkError::Refused(_)), "{refused}");
    drop(stream);
    stage.until(|health| health.connections == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_plain_processes_are_reached_too() {
    let program = Some(env!("CARGO_BIN_EXE_golem-sim").into());
    let setup = LocalSetup { program, ..LocalSetup::default() };
    let nodes = Nodes::Processes(Box::new(setup));
    let lab = Lab::serve(HONEST, nodes, Patience::default()).await;
    let (_, answer) = lab.ask("POST", "/sim/networks", "").await;
    let (_, place) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let place: serde_json::Value = serde_json::from_str(place).expect("JSON");
    let base = place["ip"].as_str().and_then(|ip| ip.parse().ok()).expect("an address");
    let stage = Stage::with(lab, base).await;

    let mut stream = stage.connect(22).await.expect("the node listens");

    assert_eq!(greeting(&mut stream).await, b"SSH-2.0-");
    stage.lab.server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_outlive_a_restart_of_the_daemon() {
    let stage = Stage::start(HONEST).await;
    let mut stream = stage.connect(22).await.expect("the node listens");
    let restart = r#"{"outage": {"kind": "restart", "for": 1}}"#;
    assert_eq!(stage.lab.ask("PUT", "/sim/faults", restart).await.0, 200);
    stage.until(|health| health.link != Link::Up).await;
    stage.until(|health| health.link == Link::Up).await;

    // What was sent meanwhile comes now.
    assert_eq!(greeting(&mut stream).await, b"SSH-2.0-");
    let mut other = stage.connect(22).await.expect("the same network");
    assert_eq!(greeting(&mut other).await, b"SSH-2.0-");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_is_silent() {
    let stage = Stage::start(HONEST).await;
    let mut stream = stage.connect(22).await.expect("the node listens");
    assert_eq!(greeting(&mut stream).await, b"SSH-2.0-");

    stage.fault(r#"{"kill": true}"#).await;
    let patience = Span::secs(2);
    let silent = stage.networks.connect(&stage.network, SSH, patience).await;

    assert!(matches!(silent, Err(NetworkError::TimedOut { .. })), "{silent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_told_of_each_other() {
    let stage = Stage::start(HONEST).await;
    let (ip, provider) = (Ipv4Addr::new(192, 168, 0, 4), ProviderId::from("0xa2"));
    let (network, other) = (stage.network.clone(), provider.clone());
    let add = Request::AddNode { network, provider: other, ip: ip.into() };
    assert_eq!(stage.networks.serve(&add).await, Some(Ok(Response::NodeAdded)));
    let (bus, _calls) = client(stage.lab.server.bus().expect("it has one"), 9, "/public/test");
    let (network, node) = (&stage.network, &stage.provider);
    let address = format!("/net/{node}/vpn/{network}/VpnControl");
    let (bus, address) = (&bus, &address);
    let say = |control: bus::control::Control| async move {
        let said = bus.call(address, control.to_bytes(), PATIENCE).await.expect("it answers");
        bus::control::Answer::read(&said)
    };

    // The node knows it as soon as it is told by us.
    let taken = async {
        loop {
            let add = bus::control::Control::add(network.clone(), ip, provider.clone());
            match say(add).await {
                bus::control::Answer::Taken => break,
                bus::control::Answer::Done | bus::control::Answer::Refused(_) => {
                    sleep(Duration::from_millis(20)).await;
                }
            }
        }
    };
    timeout(Duration::from_secs(60), taken).await.expect("in time");
    let remove = || bus::control::Control::remove(network.clone(), provider.clone());

    assert_eq!(say(remove()).await, bus::control::Answer::Done);
    assert!(matches!(say(remove()).await, bus::control::Answer::Refused(_)), "it is gone");
    let unknown = bus::control::Control::remove("other".into(), provider.clone());
    assert!(matches!(say(unknown).await, bus::control::Answer::Refused(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_call_each_other_and_the_daemon_says_whose_bus_it_is() {
    let lab = Lab::start(HONEST).await;
    let address = lab.server.bus().expect("it has one");
    let ours = identity(&lab).await;
    assert_eq!(bus::serves(&address, &ours, PATIENCE).await, Ok(()));
    let stranger = bus::serves(&address, &"0x1".into(), PATIENCE).await;
    assert!(matches!(stranger, Err(BusError::Strange { .. })), "{stranger:?}");
    let (asker, _none) = client(address.clone(), 1, "/public/asker");
    let (asked, mut calls) = client(address.clone(), 2, "/public/asked");

    let answered = asker.call(&format!("/net/{ours}/asked/x"), vec![5], PATIENCE).await;
    let nothing = asker.call("/public/nothing", vec![], PATIENCE).await;

    assert_eq!(answered, Ok(Vec::new()));
    let call = calls.recv().await.expect("it was called");
    assert_eq!((call.address.as_str(), call.data), ("/public/asked/x", vec![5]));
    assert!(matches!(nothing, Err(BusError::Failed { code: 400, .. })), "{nothing:?}");
    // A name has one client; who says the same hello takes its place.
    let (late, _none) = client(address.clone(), 3, "/public/asked");
    let mut link = late.link();
    let is_refused =
        |link: &Link| matches!(link, Link::Down { why } if why.contains("another client"));
    timeout(Duration::from_secs(30), link.wait_for(is_refused))
        .await
        .expect("in time")
        .expect("up");
    drop(asked);
    timeout(Duration::from_secs(30), link.wait_for(|link| *link == Link::Up))
        .await
        .expect("in time")
        .expect("up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_is_there_for_its_user_only_and_goes_with_its_daemon() {
    let lab = Lab::start(HONEST).await;
    let Some(BusAddress::Unix(path)) = lab.server.bus() else { panic!("it has a socket") };
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    lab.server.end().await;

    assert!(!path.exists() && !path.parent().expect("a directory").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scenario_may_have_no_bus_or_a_deaf_one() {
    let absent = HONEST.replace("daemon: {", "daemon: { bus: absent,");
    assert_eq!(Lab::start(&absent).await.server.bus(), None);

    let stage = Stage::start(&HONEST.replace("daemon: {", "daemon: { bus: deaf,")).await;
    stage.until(|health| health.link == Link::Up).await;
    let silent = stage.networks.connect(&stage.network, SSH, Span::secs(2)).await;
    assert!(matches!(silent, Err(NetworkError::TimedOut { .. })), "{silent:?}");
}
