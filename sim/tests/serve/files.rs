//! Files go to a node and come back: a client hands them out and takes them by a websocket.

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use ray_on_golem::{
    units::Span,
    yagna::{ActivityId, ExeCommand, Request, Response, SessionId},
};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::{
    lab::{HONEST, KEY, Lab},
    life::{create, execute},
};

/// What is sent at once is less.
const CONTENT_LENGTH: usize = 100_001;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_to_a_node_and_comes_back() {
    let lab = Lab::start(HONEST).await;
    let (activity, us) = running(&lab).await;
    let content: Vec<u8> = (0..CONTENT_LENGTH).map(|nth| (nth % 251) as u8).collect();
    let handing_out = tokio::spawn(hand_out(bind(&lab, "up").await, content.clone()));
    let taking = tokio::spawn(take(bind(&lab, "down").await));

    let place = "container:/golem/work/a/file";
    let results = execute(
        &lab,
        &activity,
        vec![
            transfer(&format!("gftp://{us}/up"), place),
            transfer(place, &format!("gftp://{us}/down")),
        ],
    )
    .await;

    assert!(results.iter().all(|result| result.is_ok), "{results:?}");
    let taken = tokio::time::timeout(Duration::from_secs(30), taking).await;
    assert!(taken.expect("it is whole").expect("no panic") == content, "it is another file");
    handing_out.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_copied_fails_by_no_exit_code() {
    let lab = Lab::start(HONEST).await;
    let (activity, us) = running(&lab).await;

    let nobody = format!("gftp://{us}/nobody");
    for (from, to, why) in [
        (nobody.as_str(), "container:/golem/work/a", "endpoint address not found"),
        ("container:/golem/work/none", nobody.as_str(), "no such file"),
        ("container:/etc/passwd", nobody.as_str(), "in no volume"),
    ] {
        let results = execute(&lab, &activity, vec![transfer(from, to)]).await;

        let message = results[0].message.as_deref().unwrap_or_default();
        assert!(!results[0].is_ok && message.contains(why), "{from}: {message}");
    }
    let batch = batches(&lab, &activity, vec![transfer(&nobody, "container:/golem/work/a")]).await;
    let request = format!(
        "GET /activity-api/v1/activity/{activity}/exec/{batch} HTTP/1.1\r\nHost: x\r\nAccept: \
         text/event-stream\r\nAuthorization: Bearer {KEY}\r\n\r\n"
    );
    let events = lab.raw_until(request.as_bytes(), ":ping\n").await;
    assert!(events.contains(r#""return_code":-1"#), "{events}");
}

/// An activity that takes commands, and our own id.
async fn running(lab: &Lab) -> (ActivityId, String) {
    let agreement = lab.sign(&SessionId::from("s")).await;
    let activity = create(lab, &agreement).await;
    let deploy = ExeCommand::Deploy { networks: Vec::new() };
    let results = execute(lab, &activity, vec![deploy]).await;
    execute(lab, &activity, vec![ExeCommand::Start]).await;
    let deployed = results[0].stdout.as_deref().unwrap_or_default();
    let deployed: Value = serde_json::from_str(deployed).expect("JSON");
    assert_eq!(deployed["vols"][0]["path"], "/golem/work");
    let us = lab.get("/me").await["identity"].as_str().expect("an id").to_owned();
    (activity, us)
}

async fn batches(lab: &Lab, activity: &ActivityId, script: Vec<ExeCommand>) -> String {
    let (activity, script, timeout) = (activity.clone(), Arc::new(script), Span::secs(30));
    match lab.call(Request::Execute { activity, script, timeout }).await {
        Ok(Response::BatchStarted(batch)) => batch.as_str().to_owned(),
        other => panic!("{other:?}"),
    }
}

fn transfer(from: &str, to: &str) -> ExeCommand {
    ExeCommand::Other(json!({ "transfer": { "from": from, "to": to } }))
}

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// Binds a file's name, and takes its calls.
async fn bind(lab: &Lab, name: &str) -> Socket {
    let listen = json!({ "listen": { "on": format!("/public/gftp/{name}"), "components": [] } });
    let (status, answer) = lab.ask("POST", "/gsb-api/v1/services", &listen.to_string()).await;
    assert_eq!(status, 201, "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let bound: Value = serde_json::from_str(body).expect("JSON");
    let id = bound["servicesId"].as_str().expect("an id");
    let url = format!("ws://{}/gsb-api/v1/services/{id}?authToken={KEY}", lab.address());
    let mut request = url.into_client_request().expect("a request");
    request
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", "gsb+flexbuffers".parse().expect("a header"));
    let (socket, response) = tokio_tungstenite::connect_async(request).await.expect("it is taken");
    assert_eq!(response.headers()["sec-websocket-protocol"], "gsb+flexbuffers");
    socket
}

/// The next call: its message, whose root is a map.
async fn call(socket: &mut Socket) -> Option<Vec<u8>> {
    loop {
        match socket.next().await? {
            Ok(Message::Binary(message)) => return Some(message.to_vec()),
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

/// Answers a call by what is pushed to the payload.
async fn answer(
    socket: &mut Socket,
    id: &str,
    fill: impl FnOnce(&mut flexbuffers::MapBuilder<'_>),
) {
    let mut builder = flexbuffers::Builder::default();
    let mut root = builder.start_map();
    root.push("id", id);
    let mut payload = root.start_map("payload");
    fill(&mut payload);
    payload.end_map();
    root.end_map();
    let message = Message::Binary(builder.view().to_vec().into());
    socket.send(message).await.expect("the daemon listens");
}

/// Hands a file out, as often as it is asked for.
async fn hand_out(mut socket: Socket, content: Vec<u8>) {
    while let Some(message) = call(&mut socket).await {
        let root = flexbuffers::Reader::get_root(message.as_slice()).expect("a root").as_map();
        let (component, payload) = (root.idx("component").as_str(), root.idx("payload").as_map());
        let (offset, size) = (payload.idx("offset").as_u64(), payload.idx("size").as_u64());
        answer(&mut socket, root.idx("id").as_str(), |to| match component {
            "GetMetadata" => to.push("fileSize", content.len() as u64),
            "GetChunk" => {
                let part = &content[offset as usize..(offset + size) as usize];
                to.push("content", flexbuffers::Blob(part));
                to.push("offset", offset);
            }
            other => panic!("{other}"),
        })
        .await;
    }
}

/// Takes a file, until it is whole.
async fn take(mut socket: Socket) -> Vec<u8> {
    let mut taken = Vec::new();
    while let Some(message) = call(&mut socket).await {
        let root = flexbuffers::Reader::get_root(message.as_slice()).expect("a root").as_map();
        let payload = root.idx("payload").as_map();
        let is_whole = match root.idx("component").as_str() {
            "UploadChunk" => {
                let chunk = payload.idx("chunk").as_map();
                assert_eq!(chunk.idx("offset").as_u64(), taken.len() as u64);
                taken.extend_from_slice(chunk.idx("content").as_blob().0);
                false
            }
            "UploadFinished" => {
                assert_eq!(payload.idx("hash").as_str().len(), 64);
                true
            }
            other => panic!("{other}"),
        };
        answer(&mut socket, root.idx("id").as_str(), |_| {}).await;
        if is_whole {
            break;
        }
    }
    taken
}
