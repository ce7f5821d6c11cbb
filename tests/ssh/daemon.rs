//! A daemon that serves the websockets of one private network.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use futures_util::{SinkExt as _, StreamExt as _, future::BoxFuture};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::AbortHandle,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        http::StatusCode,
    },
};
use url::Url;

use crate::node::Node;

/// The app-key that the daemon knows.
pub(crate) const KEY: &str = "app-key-0123456789";
/// The network that the daemon knows.
pub(crate) const NETWORK: &str = "0123456789abcdef0123456789abcdef";

pub(crate) type Socket = WebSocketStream<TcpStream>;

/// What becomes of a connection.
#[derive(Clone)]
pub(crate) enum Conduct {
    /// Something is done with the websocket.
    Serve(Arc<dyn Fn(Socket) -> BoxFuture<'static, ()> + Send + Sync>),
    /// The request for the websocket is answered with a status and a text.
    Refuse(u16, &'static str),
    /// The request is not even answered.
    Silent,
}

/// How much of a connection works.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// After so many bytes to the node it is cut.
    pub(crate) up: usize,
    /// After so many bytes from the node it is cut.
    pub(crate) down: usize,
    /// The size of a frame from the node.
    pub(crate) frame: usize,
}

pub(crate) struct Daemon {
    address: SocketAddr,
    conduct: Arc<Mutex<Conduct>>,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
    refusal: Arc<Notify>,
    listener: AbortHandle,
}

impl Conduct {
    pub(crate) fn serve<F>(work: impl Fn(Socket) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::Serve(Arc::new(move |socket| Box::pin(work(socket))))
    }

    /// Connections lead to the node.
    pub(crate) fn node(node: &Arc<Node>) -> Self {
        Self::meagre_node(node, Limits::default())
    }

    /// Connections lead to the node, as far as the limits allow.
    pub(crate) fn meagre_node(node: &Arc<Node>, limits: Limits) -> Self {
        let node = Arc::clone(node);
        Self::serve(move |socket| bridge(socket, node.connect(), limits))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { up: usize::MAX, down: usize::MAX, frame: usize::MAX }
    }
}

impl Daemon {
    pub(crate) async fn start(conduct: Conduct) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let conduct = Arc::new(Mutex::new(conduct));
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (conducts, all) = (Arc::clone(&conduct), Arc::clone(&connections));
        let refusal = Arc::new(Notify::new());
        let refused = Arc::clone(&refusal);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let conduct = conducts.lock().expect("nobody panics").clone();
                let task = tokio::spawn(connection(stream, conduct, Arc::clone(&refused)));
                all.lock().expect("nobody panics").push(task.abort_handle());
            }
        });
        Self { address, conduct, connections, refusal, listener: task.abort_handle() }
    }

    /// Where the API of private networks is.
    pub(crate) fn net(&self) -> Url {
        format!("http://{}/net-api/v2/vpn", self.address).parse().expect("an address")
    }

    /// From now on connections are treated in another way.
    pub(crate) fn change(&self, conduct: Conduct) {
        *self.conduct.lock().expect("nobody panics") = conduct;
    }

    /// Waits until a client was refused.
    pub(crate) async fn has_refused(&self) {
        self.refusal.notified().await;
    }

    /// Cuts all connections.
    pub(crate) fn cut(&self) {
        for connection in self.connections.lock().expect("nobody panics").drain(..) {
            connection.abort();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.listener.abort();
        self.cut();
    }
}

async fn connection(mut stream: TcpStream, conduct: Conduct, refused: Arc<Notify>) {
    match conduct {
        Conduct::Serve(_) if is_question(&stream).await => answer_addresses(stream).await,
        Conduct::Serve(work) => {
            // A client that is refused has its answer.
            if let Ok(socket) = accept_hdr_async(stream, check).await {
                work(socket).await;
            }
        }
        Conduct::Refuse(status, text) => {
            let (mut request, mut byte) = (Vec::new(), [0]);
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).await.expect("a request");
                request.extend(byte);
            }
            let length = text.len();
            let answer = format!("HTTP/1.1 {status} No\r\ncontent-length: {length}\r\n\r\n{text}");
            stream.write_all(answer.as_bytes()).await.expect("somebody reads");
            refused.notify_one();
        }
        Conduct::Silent => std::future::pending().await,
    }
}

/// Whether a client asks for our addresses in the network, and wants no websocket.
async fn is_question(stream: &TcpStream) -> bool {
    let question = format!("GET /net-api/v2/vpn/net/{NETWORK}/addresses ");
    let mut begin = vec![0; question.len()];
    while stream.peek(&mut begin).await.is_ok_and(|length| (1..begin.len()).contains(&length)) {
        tokio::task::yield_now().await;
    }
    begin == question.as_bytes()
}

/// Answers that question again and again.
async fn answer_addresses(mut stream: TcpStream) {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\n[{\"ip\":\"192.168.0.1\"}]";
    let (mut request, mut byte) = (Vec::new(), [0]);
    while stream.read_exact(&mut byte).await.is_ok() {
        request.extend(byte);
        if request.ends_with(b"\r\n\r\n") {
            request.clear();
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// What yagna checks.
#[expect(clippy::result_large_err, reason = "the library's own type")]
fn check(request: &Request, response: Response) -> Result<Response, ErrorResponse> {
    let refuse = |status: StatusCode| {
        let mut response = ErrorResponse::new(None);
        *response.status_mut() = status;
        Err(response)
    };
    let bearer = request.headers().get("authorization").map(|value| value.as_bytes());
    if bearer != Some(format!("Bearer {KEY}").as_bytes()) {
        return refuse(StatusCode::UNAUTHORIZED);
    }
    match request.uri().path() == format!("/net-api/v2/vpn/net/{NETWORK}/tcp/192.168.0.3/22") {
        true => Ok(response),
        false => refuse(StatusCode::FORBIDDEN),
    }
}

/// Joins a websocket with a connection of the node as yagna does: when the node ends the connection,
/// the websocket is dropped without a farewell, and so it is at the limits.
pub(crate) async fn bridge(
    socket: Socket,
    stream: impl AsyncRead + AsyncWrite,
    mut limits: Limits,
) {
    let (mut sink, mut source) = socket.split();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let up = async {
        while let Some(Ok(message)) = source.next().await {
            match message {
                Message::Binary(bytes) if bytes.len() <= limits.up => {
                    limits.up -= bytes.len();
                    if writer.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Binary(_) | Message::Text(_) | Message::Close(_) | Message::Frame(_) => {
                    return;
                }
            }
        }
    };
    let down = async {
        let mut buffer = vec![0; 16 << 10];
        while limits.down > 0 {
            let room = buffer.len().min(limits.frame).min(limits.down);
            let Ok(length @ 1..) = reader.read(&mut buffer[..room]).await else { return };
            limits.down -= length;
            let bytes = buffer[..length].to_vec().into();
            if sink.send(Message::Binary(bytes)).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
