//! `/gsb-api/v1/services`: a client answers calls on the daemon's bus, by a websocket.
//!
//! This is how golem-js hands files to providers and takes them: a provider that carries out a `transfer` calls
//! `/public/gftp/NAME` of the requestor. Messages are FlexBuffers: `{id, component, payload}` to the client,
//! `{id, payload}` from it (seen on yagna 0.17.6). Calls wait until the client has opened its websocket.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::{
        FromRequestParts,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    http::{HeaderValue, Method, Response, header, request::Parts},
    response::IntoResponse,
};
use base64::{DecodeError, Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::{SinkExt, StreamExt};
use ray_on_golem::yagna::wire;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::{State, api::Ask, daemon::Life, reply};

const PROTOCOL: &str = "gsb+flexbuffers";
/// A client that does not answer is given up after this time.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
/// The most that a client may bind.
const SERVICES_MAX: usize = 1_000;
/// Calls that wait for a client.
const CALLS_MAX: usize = 16;
/// The most that is taken in one message.
const MESSAGE_MAX: usize = 4 << 20;

/// The services that clients have bound.
#[derive(Debug, Default)]
pub(super) struct Services {
    bound: Mutex<BTreeMap<String, Service>>,
}

/// One service.
#[derive(Debug)]
struct Service {
    /// The daemon's life in which it was bound: a daemon that ends forgets all.
    life: Life,
    calls: mpsc::Sender<Call>,
    /// Held by the websocket that takes the calls.
    taken: Arc<tokio::sync::Mutex<mpsc::Receiver<Call>>>,
}

/// A call, and where its answer goes, which is a whole message.
#[derive(Debug)]
struct Call {
    /// The message without its id, by which it is finished.
    write: Outgoing,
    answer: oneshot::Sender<Vec<u8>>,
}

/// What a client is sent.
#[derive(Debug, Serialize)]
struct Outgoing {
    id: String,
    component: &'static str,
    payload: Payload,
}

/// What is asked of a file of a client.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Payload {
    /// How large it is.
    Metadata {},
    /// A part of it.
    Read { offset: u64, size: u64 },
    /// Take a part of it.
    Write { chunk: Chunk },
    /// It is whole; its SHA3-256 in hexadecimal digits.
    Written { hash: String },
}

/// A part of a file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Chunk {
    pub(super) offset: u64,
    pub(super) content: Blob,
}

/// Bytes that are no list of numbers.
#[derive(Debug)]
pub(super) struct Blob(pub(super) Vec<u8>);

/// What a client answers.
#[derive(Deserialize)]
struct Incoming<T> {
    payload: T,
}

/// Which call a client answers.
#[derive(Deserialize)]
struct Envelope {
    id: String,
}

#[derive(Deserialize, Serialize)]
struct NewService {
    listen: Listen,
}

#[derive(Deserialize, Serialize)]
struct Listen {
    on: String,
    components: Vec<String>,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("endpoint address not found: {0}")]
    Unbound(String),
    #[error("no answer from {0}")]
    Silent(String),
    #[error("{address} answers nonsense: {source}")]
    Nonsense { address: String, source: flexbuffers::DeserializationError },
}

impl Payload {
    /// The daemon's name of the message.
    const fn component(&self) -> &'static str {
        match self {
            Self::Metadata {} => "GetMetadata",
            Self::Read { .. } => "GetChunk",
            Self::Write { .. } => "UploadChunk",
            Self::Written { .. } => "UploadFinished",
        }
    }
}

impl Services {
    /// Calls a service that a client has bound.
    pub(super) async fn call<T: for<'a> Deserialize<'a>>(
        &self,
        life: Life,
        address: &str,
        payload: Payload,
    ) -> Result<T, CallError> {
        let unbound = || CallError::Unbound(address.to_owned());
        let silent = || CallError::Silent(address.to_owned());
        let calls = {
            let bound = self.lock();
            let service = bound.get(address).filter(|service| service.life == life);
            service.ok_or_else(unbound)?.calls.clone()
        };
        let id = format!("{:032x}", rand::random::<u128>());
        let write = Outgoing { id, component: payload.component(), payload };
        let (answer, answered) = oneshot::channel();
        let exchange = async {
            calls.send(Call { write, answer }).await.map_err(|_| silent())?;
            answered.await.map_err(|_| silent())
        };
        let message =
            tokio::time::timeout(ANSWERS_WITHIN, exchange).await.map_err(|_| silent())??;
        let read: Result<Incoming<T>, _> = flexbuffers::from_slice(&message);
        read.map(|incoming| incoming.payload)
            .map_err(|source| CallError::Nonsense { address: address.to_owned(), source })
    }

    fn bind(&self, life: Life, ask: &Ask) -> Response<Body> {
        let service: NewService = match serde_json::from_slice(&ask.body) {
            Ok(service) => service,
            Err(error) => return reply::text(400, &format!("Json deserialize error: {error}")),
        };
        let address = &service.listen.on;
        if address.is_empty() {
            let words = "Invalid service address prefix: Cannot bind service. Empty prefix.";
            return reply::message(400, words);
        }
        let mut bound = self.lock();
        bound.retain(|_, service| service.life == life);
        if bound.contains_key(address) {
            let words = format!("Duplicated service address prefix: {address}");
            return reply::message(400, &words);
        }
        if bound.len() >= SERVICES_MAX {
            return reply::message(500, "the simulated daemon has no room for more services");
        }
        let (calls, taken) = mpsc::channel(CALLS_MAX);
        let taken = Arc::new(tokio::sync::Mutex::new(taken));
        bound.insert(address.clone(), Service { life, calls, taken });
        let id = BASE64_URL_SAFE_NO_PAD.encode(address);
        let listen = &service.listen;
        let mut response = reply::json(201, &json!({ "listen": listen, "servicesId": id }));
        if let Ok(place) = HeaderValue::from_str(&format!("/{id}")) {
            response.headers_mut().insert(header::LOCATION, place);
        }
        response
    }

    fn unbind(&self, life: Life, id: &str) -> Response<Body> {
        let address = match address_of(id) {
            Ok(address) => address,
            Err(refusal) => return refusal,
        };
        match self.lock().remove(&address).filter(|service| service.life == life) {
            Some(_) => reply::json(200, &serde_json::Value::Null),
            None => not_found(&address),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Service>> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers a request to the API of services.
pub(super) fn answer(state: &State, ask: &Ask, path: &[&str]) -> Response<Body> {
    let life = *state.daemon.life().borrow();
    match (ask.method.clone(), path) {
        (Method::POST, ["services"]) => state.services.bind(life, ask),
        (Method::DELETE, ["services", id]) => state.services.unbind(life, id),
        _ => reply::empty(404),
    }
}

/// The id of the service whose calls a request wants to take, if it does.
pub(super) fn socket_of(parts: &Parts) -> Option<String> {
    let (segments, _) = wire::take_apart(parts.uri.path())?;
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    let ["gsb-api", "v1", "services", id] = path.as_slice() else { return None };
    (parts.method == Method::GET).then(|| (*id).to_owned())
}

/// Lets a client take the calls of a service.
pub(super) async fn connect(state: Arc<State>, parts: &mut Parts, id: &str) -> Response<Body> {
    let address = match address_of(id) {
        Ok(address) => address,
        Err(refusal) => return refusal,
    };
    let life = *state.daemon.life().borrow();
    let found = {
        let bound = state.services.lock();
        let service = bound.get(&address).filter(|service| service.life == life);
        service.map(|service| Arc::clone(&service.taken))
    };
    let Some(taken) = found else { return not_found(&address) };
    match WebSocketUpgrade::from_request_parts(parts, &()).await {
        Ok(upgrade) => upgrade
            .max_message_size(MESSAGE_MAX)
            .protocols([PROTOCOL])
            .on_upgrade(move |socket| pass(socket, taken)),
        Err(rejection) if rejection.status() == 400 || rejection.status() == 426 => {
            reply::message(500, "Actix error: WebSocket upgrade is expected")
        }
        Err(rejection) => rejection.into_response(),
    }
}

/// Passes calls to a client, and its answers back, until one side ends.
async fn pass(mut socket: WebSocket, taken: Arc<tokio::sync::Mutex<mpsc::Receiver<Call>>>) {
    let mut calls = taken.lock().await;
    let mut waiting: BTreeMap<String, oneshot::Sender<Vec<u8>>> = BTreeMap::new();
    loop {
        tokio::select! {
            call = calls.recv() => {
                let Some(Call { write, answer }) = call else { break };
                let Ok(message) = flexbuffers::to_vec(&write) else { continue };
                waiting.insert(write.id, answer);
                if socket.send(Message::Binary(Bytes::from(message))).await.is_err() {
                    break;
                }
            }
            message = socket.next() => match message {
                Some(Ok(Message::Binary(message))) => {
                    let told: Result<Envelope, _> = flexbuffers::from_slice(&message);
                    let Ok(Envelope { id }) = told else { break };
                    if let Some(answer) = waiting.remove(&id) {
                        // Whoever asked may be gone.
                        let _ = answer.send(message.to_vec());
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Text(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
            },
        }
    }
    let _ = socket.close().await;
}

/// The address that an id means.
fn address_of(id: &str) -> Result<String, Response<Body>> {
    let undecodable = |error: DecodeError| {
        let why = match error {
            DecodeError::InvalidByte(offset, byte) => {
                format!("Invalid byte {byte}, offset {offset}.")
            }
            DecodeError::InvalidLastSymbol { offset, symbol, .. } => {
                format!("Invalid last symbol {symbol}, offset {offset}.")
            }
            DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => error.to_string(),
        };
        let what = "Service address should be encoded in base64. Unable to decode. Err:";
        reply::message(400, &format!("{what} {why}"))
    };
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(id).map_err(undecodable)?;
    String::from_utf8(bytes).map_err(|error| {
        let why = error.utf8_error();
        let what = "Service address should be a string. Unable to parse address. Err:";
        reply::message(400, &format!("{what} {why}"))
    })
}

fn not_found(address: &str) -> Response<Body> {
    reply::message(404, &format!("Service prefix not found: Cannot find service: {address}"))
}

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Blob;

            fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                to.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> Result<Blob, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = list.next_element()? {
                    bytes.push(byte);
                }
                Ok(Blob(bytes))
            }
        }

        deserializer.deserialize_byte_buf(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::{Blob, Chunk, Envelope, Incoming, Outgoing, Payload};

    #[test]
    fn messages_are_as_the_daemon_sends_and_takes_them() {
        let chunk = Chunk { offset: 7, content: Blob(b"hello".to_vec()) };
        let payload = Payload::Write { chunk };
        let sent = Outgoing { id: "1".to_owned(), component: payload.component(), payload };

        let message = flexbuffers::to_vec(&sent).expect("it is written");

        let reader = flexbuffers::Reader::get_root(message.as_slice()).expect("a root");
        let root = reader.as_map();
        assert_eq!(root.idx("id").as_str(), "1");
        assert_eq!(root.idx("component").as_str(), "UploadChunk");
        let chunk = root.idx("payload").as_map().idx("chunk").as_map();
        assert_eq!(chunk.idx("offset").as_u64(), 7);
        assert_eq!(chunk.idx("content").as_blob().0, b"hello");
    }

    #[test]
    fn an_answer_is_known_by_its_id_and_may_be_nothing() {
        let mut builder = flexbuffers::Builder::default();
        let mut root = builder.start_map();
        root.push("id", "x");
        let mut payload = root.start_map("payload");
        payload.push("content", flexbuffers::Blob(b"hello".as_slice()));
        payload.push("offset", 3);
        payload.end_map();
        root.end_map();
        let message = builder.view();

        let Envelope { id } = flexbuffers::from_slice(message).expect("an envelope");
        let read: Incoming<Chunk> = flexbuffers::from_slice(message).expect("a chunk");

        assert_eq!((id.as_str(), read.payload.offset), ("x", 3));
        assert_eq!(read.payload.content.0, b"hello");
    }
}
