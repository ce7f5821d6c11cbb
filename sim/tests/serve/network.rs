//! The private network: a websocket leads to the ssh server of a node.

use std::{net::Ipv4Addr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use golem_sim::serve::Patience;
use ray_on_golem::yagna::{
    ActivityId, Deployment, ExeCommand, Network, NetworkPath, Request, Response,
};
use tokio_tungstenite::tungstenite::{Error, Message, client::IntoClientRequest};

use crate::lab::{HONEST, KEY, Lab, sh};

const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 2);
const SILENCE: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_leads_to_the_ssh_server_of_a_node() {
    let lab = Lab::start(HONEST).await;
    let network = create(&lab).await;
    node_in(&lab, &network).await;

    let mut socket = open(&lab, &network, NODE).await.expect("the node answers");
    let greeting = loop {
        match socket.next().await {
            Some(Ok(Message::Binary(bytes))) => break bytes,
            Some(Ok(Message::Ping(_))) => {}
            other => panic!("{other:?}"),
        }
    };

    assert!(greeting.starts_with(b"SSH-2.0-"), "{greeting:?}");
    socket.send(Message::Ping(Default::default())).await.expect("the daemon listens");
    let answered = loop {
        match socket.next().await {
            Some(Ok(Message::Pong(_))) => break true,
            Some(Ok(_)) => {}
            Some(Err(_)) | None => break false,
        }
    };
    assert!(answered, "pings are answered");
    let remove = Request::RemoveNetwork { network: network.id };
    assert_eq!(lab.call(remove).await, Ok(Response::NetworkRemoved));
    while let Some(Ok(_)) = socket.next().await {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_where_nobody_is_gives_504() {
    let lab = Lab::start(HONEST).await;
    let network = create(&lab).await;

    let silent = open(&lab, &network, NODE).await.expect_err("nobody is there");
    let unknown = Network { id: "0123456789abcdef0123456789abcdef".into(), ..network };
    let refused = open(&lab, &unknown, NODE).await.expect_err("no such network");

    assert_eq!(status(&silent), 504, "{silent:?}");
    assert_eq!(status(&refused), 403, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_says_nothing_is_dropped() {
    let lab = Lab::with(HONEST, Patience { silence: SILENCE, ..Patience::default() }).await;
    let network = create(&lab).await;
    node_in(&lab, &network).await;
    let id = &network.id;
    let upgrade = format!(
        "GET /net-api/v2/vpn/net/{id}/tcp/{NODE}/22?authToken={KEY} HTTP/1.1\r\nHost: x\r\nConnection: \
         Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \
         dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );

    // A client that takes part in no websocket answers no ping.
    let heard = lab.raw(upgrade.as_bytes()).await;

    assert!(heard.starts_with("HTTP/1.1 101"), "{heard}");
    assert!(heard.contains("SSH-2.0-"), "{heard}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_does_not_read_is_taken_all_the_same() {
    let lab = Lab::with(HONEST, Patience { silence: SILENCE, ..Patience::default() }).await;
    let network = create(&lab).await;
    let activity = node_in(&lab, &network).await;
    let (mut sink, mut source) =
        open(&lab, &network, NODE).await.expect("the node answers").split();
    let path = format!("/sim/nodes/{activity}");
    assert_eq!(lab.ask("POST", &path, r#"{"stall_ssh":true}"#).await.0, 200);

    let frame = Message::Binary(vec![7; 32 << 10].into());
    for _ in 0..1_000 {
        sink.send(frame.clone()).await.expect("it is taken");
    }
    sink.send(Message::Ping(b"all".to_vec().into())).await.expect("it is taken");

    let mut is_taken = false;
    while let Some(Ok(message)) = source.next().await {
        is_taken |= message == Message::Pong(b"all".to_vec().into());
        if is_taken {
            break;
        }
    }
    assert!(is_taken);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_is_silent_until_it_is_given_up() {
    let patience = Patience { silence: SILENCE, node: SILENCE * 5, ..Patience::default() };
    let lab = Lab::with(HONEST, patience).await;
    let network = create(&lab).await;
    let activity = node_in(&lab, &network).await;
    let mut socket = open(&lab, &network, NODE).await.expect("the node answers");
    let path = format!("/sim/nodes/{activity}");
    assert_eq!(lab.ask("POST", &path, r#"{"kill":true}"#).await.0, 200);

    let mut pings = 0;
    while let Some(Ok(message)) = socket.next().await {
        assert!(!message.is_close(), "there is no farewell");
        pings += u64::from(message.is_ping());
    }

    assert!(pings > 2, "{pings}");
    let silent = open(&lab, &network, NODE).await.expect_err("nobody is there");
    assert_eq!(status(&silent), 504, "{silent:?}");
}

fn status(error: &Error) -> u16 {
    if let Error::Http(response) = error { response.status().as_u16() } else { 0 }
}

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn open(lab: &Lab, network: &Network, ip: Ipv4Addr) -> Result<Socket, Error> {
    let (address, id) = (lab.address(), &network.id);
    let url = format!("ws://{address}/net-api/v2/vpn/net/{id}/tcp/{ip}/22?authToken={KEY}");
    let request = url.into_client_request()?;
    tokio_tungstenite::connect_async(request).await.map(|(socket, _)| socket)
}

async fn create(lab: &Lab) -> Network {
    let create = Request::CreateNetwork {
        path: NetworkPath::Daemon,
        ip: Ipv4Addr::new(192, 168, 0, 0).into(),
        prefix: 24,
        gateway: Ipv4Addr::new(192, 168, 0, 1).into(),
    };
    match lab.call(create).await {
        Ok(Response::NetworkCreated(network)) => network,
        other => panic!("{other:?}"),
    }
}

/// Rents a node, lets it join, and starts its ssh server.
async fn node_in(lab: &Lab, network: &Network) -> ActivityId {
    let (provider, activity) = lab.rent().await;
    let add = Request::AddNode { network: network.id.clone(), provider, ip: NODE.into() };
    assert_eq!(lab.call(add).await, Ok(Response::NodeAdded));
    let deployment = Deployment {
        network: network.id.clone(),
        ip: Ipv4Addr::new(192, 168, 0, 0),
        mask: Ipv4Addr::new(255, 255, 255, 0),
        node_ip: NODE,
        nodes: Vec::new(),
    };
    let deploy = ExeCommand::Deploy { networks: vec![deployment] };
    lab.run(&activity, vec![deploy, ExeCommand::Start, sh("service ssh start")]).await;
    activity
}
