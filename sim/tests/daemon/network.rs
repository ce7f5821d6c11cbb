//! Private networks.

use std::net::Ipv4Addr;

use golem_sim::yagna::{Refusal, Reply};
use ray_on_golem::yagna::{Network, NetworkId, NetworkPath, ProviderId, Request, Response, Status};

use crate::lab::{Daemon, GATEWAY};

const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 3);

#[test]
fn a_network_keeps_the_address_and_the_gateway_that_were_asked_for() {
    let mut daemon = Daemon::of("");
    let request = Request::CreateNetwork {
        path: NetworkPath::Daemon,
        ip: Ipv4Addr::new(192, 168, 0, 1).into(),
        prefix: 16,
        gateway: Ipv4Addr::new(192, 168, 7, 9).into(),
    };

    let Ok(Response::NetworkCreated(network)) = daemon.ask(&request) else { panic!("refused") };

    assert_eq!(network.id.as_str().len(), 32);
    assert_eq!(network.ip, "192.168.0.1/16");
    assert_eq!(network.mask, Ipv4Addr::new(255, 255, 0, 0));
    assert_eq!(network.gateway, Ipv4Addr::new(192, 168, 7, 9));
    assert_eq!(list(&mut daemon), [network]);
}

#[test]
fn two_networks_may_have_the_same_address() {
    let mut daemon = Daemon::of("");

    let (first, second) = (daemon.network(), daemon.network());

    assert_ne!(first, second);
    assert_eq!(list(&mut daemon).len(), 2);
    assert!(list(&mut daemon).iter().all(|network| network.gateway == GATEWAY));
}

#[test]
fn a_network_is_removed_once() {
    let mut daemon = Daemon::of("");
    let (network, last) = (daemon.network(), daemon.network());

    assert_eq!(remove(&mut daemon, &network), Ok(Response::NetworkRemoved));

    assert_eq!(remove(&mut daemon, &network), forbidden());
    assert_eq!(remove(&mut daemon, &NetworkId::from("0".repeat(32))), forbidden());
    assert_eq!(remove(&mut daemon, &last), Ok(Response::NetworkRemoved));
    assert_eq!(remove(&mut daemon, &network), none_is_left());
    assert!(list(&mut daemon).is_empty());
}

#[test]
fn a_node_is_added_as_often_as_one_likes() {
    let mut daemon = Daemon::of("");
    let network = daemon.network();
    let (node, other) = (ProviderId::from("0xa"), ProviderId::from("0xb"));

    for _ in 0..2 {
        assert_eq!(add(&mut daemon, &network, &node, NODE), Ok(Response::NodeAdded));
    }
    assert_eq!(add(&mut daemon, &network, &other, NODE), Ok(Response::NodeAdded));

    assert_eq!(
        daemon.sim.networks()[0].nodes,
        [(NODE.into(), node.clone())],
        "the address is taken"
    );
    for _ in 0..2 {
        let request = Request::RemoveNode { network: network.clone(), provider: node.clone() };
        assert_eq!(daemon.ask(&request), Ok(Response::NodeRemoved));
    }
    assert!(daemon.sim.networks()[0].nodes.is_empty());
}

#[test]
fn a_node_must_be_inside_of_a_network_that_there_is() {
    let mut daemon = Daemon::of("");
    let network = daemon.network();
    let node = ProviderId::from("0xa");

    let outside = add(&mut daemon, &network, &node, Ipv4Addr::new(10, 0, 0, 9));
    let nowhere = add(&mut daemon, &NetworkId::from("x"), &node, NODE);

    let body = "{\"message\":\"Invalid network IP address: 10.0.0.9\"}".to_owned();
    assert_eq!(outside, Err(Refusal { status: Status(400), body }));
    assert_eq!(nowhere, forbidden());
    let request = Request::RemoveNode { network: NetworkId::from("x"), provider: node };
    assert_eq!(daemon.ask(&request), forbidden());
}

#[test]
fn a_restart_forgets_all_networks() {
    let mut daemon = Daemon::of("");
    let network = daemon.network();

    daemon.sim.restart(daemon.now);

    assert!(list(&mut daemon).is_empty());
    assert_eq!(remove(&mut daemon, &network), none_is_left());
    let book = &daemon.sim.networks()[0];
    assert_eq!((book.removed, book.is_lost), (Some(daemon.now), true));
    assert_ne!(daemon.network(), network);
}

fn list(daemon: &mut Daemon) -> Vec<Network> {
    match daemon.ask(&Request::ListNetworks) {
        Ok(Response::Networks(networks)) => networks,
        other => panic!("{other:?}"),
    }
}

fn remove(daemon: &mut Daemon, network: &NetworkId) -> Reply {
    daemon.ask(&Request::RemoveNetwork { network: network.clone() })
}

fn add(daemon: &mut Daemon, network: &NetworkId, node: &ProviderId, ip: Ipv4Addr) -> Reply {
    let (network, provider) = (network.clone(), node.clone());
    daemon.ask(&Request::AddNode { network, provider, ip: ip.into() })
}

fn forbidden() -> Reply {
    Err(Refusal { status: Status(403), body: String::new() })
}

fn none_is_left() -> Reply {
    let body = "{\"message\":\"Network not found\"}".to_owned();
    Err(Refusal { status: Status(404), body })
}
