//! A local node of the simulated daemon, on which the services of `tests/real_yagna/services.py` listen.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ray_on_golem::{
    units::Span,
    yagna::{ActivityId, Deployment, ExeCommand, Network, ProviderId, Request, Response, Yagna},
};
use tokio::time::{sleep, timeout};

use crate::served_lab::{Lab, sh};

/// Its address.
pub(crate) const IP: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 3);
/// What listens on it.
pub(crate) const PORTS: [(&str, u16); 10] = [
    ("echo", 7),
    ("take", 1001),
    ("give", 1002),
    ("take-all", 1003),
    ("close", 1004),
    ("half-close", 1005),
    ("reset", 1006),
    ("ignore", 1007),
    ("tick", 1008),
    ("count", 1009),
];

const PATIENCE: Span = Span::secs(60);

/// Lets a node join a network, starts it, and waits until its services listen. `daemon` is the lab's, or one behind
/// which there are networks of our own, too.
pub(crate) async fn bring_up(
    lab: &Lab,
    daemon: &(impl Yagna + Sync),
    network: &Network,
    provider: &ProviderId,
    activity: &ActivityId,
) {
    let (id, member) = (network.id.clone(), provider.clone());
    let add = Request::AddNode { network: id, provider: member, ip: IP.into() };
    assert_eq!(daemon.call(add, PATIENCE).await, Ok(Response::NodeAdded));
    let IpAddr::V4(mask) = network.mask else { panic!("{network:?}") };
    let deployment = Deployment {
        network: network.id.clone(),
        ip: IP & mask,
        mask,
        node_ip: IP,
        nodes: Vec::new(),
    };
    // A node has a `/tmp` of its own, in which these sources may lie.
    let program = STANDARD.encode(include_str!("../real_yagna/services.py"));
    let python = format!(
        "import base64, threading; exec(base64.b64decode('{program}')); serve(); threading.Event().wait()"
    );
    let listen = sh(&format!("nohup python3 -B -c \"{python}\" > /dev/null 2>&1 &"));
    let deploy = ExeCommand::Deploy { networks: vec![deployment] };
    let script = Arc::new(vec![deploy, ExeCommand::Start, listen]);
    let execute = Request::Execute { activity: activity.clone(), script, timeout: PATIENCE };
    let started = daemon.call(execute, PATIENCE).await;
    let Ok(Response::BatchStarted(batch)) = started else { panic!("{started:?}") };
    let (activity, command, span) = (activity.clone(), 2, Span::secs(30));
    let collect =
        Request::CollectResults { activity: activity.clone(), batch, command, timeout: span };
    let results = daemon.call(collect, PATIENCE).await;
    let Ok(Response::Results(results)) = results else { panic!("{results:?}") };
    assert!(results.iter().all(|result| result.is_ok), "{results:?}");
    let (_, last) = PORTS[PORTS.len() - 1];
    let look = format!("grep -q ':{last:04X} .* 0A ' /proc/net/tcp");
    let listens = async {
        while !lab.results(&activity, vec![sh(&look)]).await.iter().all(|result| result.is_ok) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(120), listens).await.expect("in time");
}
