//! The private network: a websocket leads to the ssh server of a node.

use std::{net::Ipv4Addr, sync::Arc};

use futures_util::{SinkExt, StreamExt};
use ray_on_golem::{
    units::Span,
    yagna::{Deployment, ExeCommand, Network, Request, Response, SessionId},
};
use tokio_tungstenite::tungstenite::{Error, Message, client::IntoClientRequest};

use crate::lab::{HONEST, KEY, Lab};

const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 2);

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
    let (ip, gateway) = (Ipv4Addr::new(192, 168, 0, 0), Ipv4Addr::new(192, 168, 0, 1));
    match lab.call(Request::CreateNetwork { ip, prefix: 24, gateway }).await {
        Ok(Response::NetworkCreated(network)) => network,
        other => panic!("{other:?}"),
    }
}

/// Rents a node, lets it join, and starts its ssh server.
async fn node_in(lab: &Lab, network: &Network) {
    let agreement = lab.sign(&SessionId::from("s")).await;
    let view = lab.call(Request::GetAgreement { agreement: agreement.clone() }).await;
    let Ok(Response::Agreement(view)) = view else { panic!("{view:?}") };
    let provider = view.provider.clone();
    let add = Request::AddNode { network: network.id.clone(), provider, ip: NODE };
    assert_eq!(lab.call(add).await, Ok(Response::NodeAdded));
    let timeout = Span::secs(10);
    let created = lab.call(Request::CreateActivity { agreement, timeout }).await;
    let Ok(Response::ActivityCreated(activity)) = created else { panic!("{created:?}") };
    let deployment = Deployment {
        network: network.id.clone(),
        ip: Ipv4Addr::new(192, 168, 0, 0),
        mask: network.mask,
        node_ip: NODE,
        nodes: Vec::new(),
    };
    let sh = |text: &str| ExeCommand::Run {
        entry_point: "/bin/sh".to_owned(),
        args: vec!["-c".to_owned(), text.to_owned()],
    };
    let script = Arc::new(vec![
        ExeCommand::Deploy { networks: vec![deployment] },
        ExeCommand::Start,
        sh("service ssh start"),
    ]);
    let started = lab.call(Request::Execute { activity: activity.clone(), script, timeout }).await;
    let Ok(Response::BatchStarted(batch)) = started else { panic!("{started:?}") };
    let timeout = Span::secs(30);
    let results = lab.call(Request::CollectResults { activity, batch, command: 2, timeout }).await;
    let Ok(Response::Results(results)) = results else { panic!("{results:?}") };
    assert!(results.iter().all(|result| result.is_ok), "{results:?}");
}
