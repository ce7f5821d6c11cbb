//! The way into a private network: one websocket of the daemon is one TCP connection to a node.
//!
//! A task of its own moves the bytes, so that pings go out and are answered also while nobody reads or
//! writes: the daemon drops a websocket that was silent for 10 s. What goes to the node is sent frame by
//! frame, each when the daemon has taken the last one (`order`); a writer waits when [`BUFFER`] bytes
//! wait. What comes from the node is always read, since one connection that is not read holds up all of
//! its network. When [`UNREAD_MAX`] bytes wait for the reader, the connection is cut.
//!
//! The daemon does not tell when the node closes its half, and leaves the node's connection open when the
//! websocket ends. Both ends therefore find the end by messages of their own: ssh by its keep-alives.
//!
//! The websocket has no half-close. Who shuts down the writing half may go on reading until the other
//! side ends the connection; the websocket is closed when the stream is dropped.

mod order;

use std::{
    collections::VecDeque,
    io,
    net::Ipv4Addr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use rustls::crypto::ring;
use thiserror::Error;
use tokio::{
    io::{
        AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, ReadHalf,
        WriteHalf,
    },
    net::TcpStream,
    sync::watch,
    task::AbortHandle,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout, timeout_at},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{
        self, Message,
        client::IntoClientRequest,
        error::ProtocolError,
        handshake::client::Request,
        http::{HeaderValue, StatusCode, header::AUTHORIZATION},
        protocol::WebSocketConfig,
    },
};
use url::Url;

use self::order::{Asker, Order};
use super::{AppKey, Endpoints, NetworkId};
use crate::{
    http::{Transport, TransportError},
    units::Span,
};

/// What is kept of what is written while the last frame is on its way.
pub const BUFFER: usize = 64 << 10;

/// What is kept of what comes while nobody reads. A channel of ssh has at most 2 MiB on its way.
pub const UNREAD_MAX: usize = 16 << 20;

/// The most that is sent in a frame: the daemon ends a connection at frames of more than 64 KiB.
const FRAME_MAX: usize = 64 << 10;

/// The most that is taken in a frame.
const INCOMING_MAX: usize = 4 << 20;

/// How long the last bytes and the farewell may take when nobody waits for the stream any more.
const FAREWELL: Duration = Duration::from_secs(5);

/// The pause before the daemon is asked again for a node that it does not find.
const PAUSE: Duration = Duration::from_secs(1);

/// A port is closed if the daemon says so this often, with this pause.
const CLOSED_TRIES: u32 = 3;
const CLOSED_PAUSE: Duration = Duration::from_millis(250);

/// The most that is shown of what the daemon says about a refusal.
const REASON_LENGTH_MAX: usize = 300;

/// The way through the daemon into the private networks of one of its identities.
#[derive(Clone, Debug)]
pub struct Vpn {
    /// The API of private networks.
    net: Url,
    /// The same with a websocket's scheme.
    base: Url,
    app_key: AppKey,
    beat: Beat,
    transport: Transport,
}

/// How a silent connection is told from a dead one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// How often a ping is sent. The daemon wants to hear something every 10 s.
    pub ping: Span,
    /// After how long without a byte or a pong the connection is given up.
    pub silence: Span,
}

/// A TCP connection to a node.
#[derive(Debug)]
pub struct VpnStream {
    pipe: DuplexStream,
    /// Why the connection ended, if it did not end well.
    fault: Fault,
    pump: AbortHandle,
    /// Tells the pump when the stream is dropped.
    _alive: watch::Sender<()>,
}

/// Cuts a connection at once when it is dropped, whoever has the stream.
#[derive(Debug)]
pub struct Leash(Option<AbortHandle>);

/// Why there is no connection to a node.
#[derive(Debug, Error)]
pub enum VpnError {
    /// The address of the daemon is of no use.
    #[error("`{0}` is no http address of a daemon")]
    BadAddress(Url),
    /// Nothing can be asked by https.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The daemon does not answer.
    #[error("the daemon cannot be reached: {0}")]
    NoDaemon(String),
    /// The daemon does not know the app-key.
    #[error("the daemon refuses the app-key")]
    BadAppKey,
    /// The daemon does not know the network: it has restarted, or the cluster is over.
    #[error("the daemon does not know the private network `{0}`")]
    NoNetwork(NetworkId),
    /// Nobody answers at that address of the network.
    #[error("nobody answers at {ip}, port {port} of the private network")]
    NoNode {
        /// The address.
        ip: Ipv4Addr,
        /// The port.
        port: u16,
    },
    /// The daemon says something else.
    #[error("the daemon refuses the connection to {ip}: status {status} {reason}")]
    Refused {
        /// The address.
        ip: Ipv4Addr,
        /// The status of the answer.
        status: u16,
        /// What it says.
        reason: String,
    },
    /// It took too long.
    #[error("no connection to {ip} within {patience}")]
    TimedOut {
        /// The address.
        ip: Ipv4Addr,
        /// How long was waited.
        patience: Span,
    },
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Fault = Arc<Mutex<Option<String>>>;

impl Default for Beat {
    fn default() -> Self {
        Self { ping: Span::secs(4), silence: Span::secs(20) }
    }
}

impl Vpn {
    /// The way through the daemon at `endpoints`.
    ///
    /// # Errors
    ///
    /// Refuses addresses that are not `http` or `https`.
    pub fn new(endpoints: &Endpoints, app_key: AppKey) -> Result<Self, VpnError> {
        let net = endpoints.net_api();
        Self::at(&net, app_key)
    }

    /// The way through the daemon whose API of private networks is at `net`, such as
    /// `http://127.0.0.1:7465/net-api/v2/vpn`.
    ///
    /// # Errors
    ///
    /// Refuses addresses that are not `http` or `https`.
    pub fn at(net: &Url, app_key: AppKey) -> Result<Self, VpnError> {
        let bad = || VpnError::BadAddress(net.clone());
        let scheme = match net.scheme() {
            "http" => "ws",
            "https" => {
                // Fails if there is a provider already, which is as good.
                drop(ring::default_provider().install_default());
                "wss"
            }
            _ => return Err(bad()),
        };
        let rest = net.as_str().split_once(':').map_or("", |(_, rest)| rest);
        let base = Url::parse(&format!("{scheme}:{}", rest.trim_end_matches('/')));
        let base = base.ok().filter(|url| url.has_host() && url.query().is_none());
        let base = base.ok_or_else(bad)?;
        let transport = Transport::direct(scheme == "wss")?;
        Ok(Self { net: net.clone(), base, app_key, beat: Beat::default(), transport })
    }

    /// The same with another pulse.
    #[must_use]
    pub const fn with_beat(mut self, beat: Beat) -> Self {
        self.beat = beat;
        self
    }

    /// Connects to `port` of the node at `ip`, but waits no longer than `patience`.
    ///
    /// The daemon (0.17.6) gives a node five seconds, which are not enough where the machine is busy, or where the daemon
    /// looks for another address that no node has: it is asked again while `patience` lasts. It also says of a port that
    /// is open, now and then, that it is closed: that is believed when it was said three times.
    ///
    /// # Errors
    ///
    /// If the daemon or the node does not answer, or refuses.
    pub async fn connect(
        &self,
        network: &NetworkId,
        ip: Ipv4Addr,
        port: u16,
        patience: Span,
    ) -> Result<VpnStream, VpnError> {
        let at = |base: &Url, segments: &[&str]| {
            let mut url = base.clone();
            let known = url.path_segments_mut().map(|mut path| {
                path.pop_if_empty().extend(["net", network.as_str()]).extend(segments);
            });
            known.map(|()| url).map_err(|()| VpnError::BadAddress(base.clone()))
        };
        let asker = Asker {
            transport: self.transport.clone(),
            url: at(&self.net, &["addresses"])?,
            app_key: self.app_key.clone(),
        };
        let url = at(&self.base, &["tcp", &ip.to_string(), &port.to_string()])?;
        let request = self.request(&url)?;
        let deadline = Instant::now() + duration(patience);
        let (mut told, mut closed) = (None, 0);
        loop {
            let config = WebSocketConfig::default()
                .max_message_size(Some(INCOMING_MAX))
                .max_frame_size(Some(INCOMING_MAX));
            let connecting = connect_async_with_config(request.clone(), Some(config), true);
            match timeout_at(deadline, connecting).await {
                Ok(Ok((socket, _))) => return Ok(VpnStream::new(socket, asker, self.beat)),
                Ok(Err(error)) => {
                    let refused = refusal(error, network, ip, port);
                    let is_closed = matches!(refused, VpnError::Refused { status: 400, .. });
                    closed += u32::from(is_closed);
                    let is_believed = !is_closed || closed == CLOSED_TRIES;
                    if is_believed && !matches!(refused, VpnError::NoNode { .. }) {
                        return Err(refused);
                    }
                    told = Some(refused);
                }
                Err(_) => return Err(told.unwrap_or(VpnError::TimedOut { ip, patience })),
            }
            // In the pause the daemon looks for the addresses of others.
            let pause = if closed > 0 { CLOSED_PAUSE } else { PAUSE };
            sleep_until(deadline.min(Instant::now() + pause)).await;
        }
    }

    /// The request for a websocket.
    fn request(&self, url: &Url) -> Result<Request, VpnError> {
        let bad = |_| VpnError::BadAddress(self.base.clone());
        let mut request = url.as_str().into_client_request().map_err(bad)?;
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", self.app_key.as_str()))
            .expect("an app-key is visible ASCII");
        bearer.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, bearer);
        Ok(request)
    }
}

impl VpnStream {
    fn new(socket: Socket, network: Asker, beat: Beat) -> Self {
        let (pipe, far) = tokio::io::duplex(BUFFER);
        let (alive, dropped) = watch::channel(());
        let fault = Fault::default();
        let task = tokio::spawn(pump(socket, far, network, beat, Arc::clone(&fault), dropped));
        Self { pipe, fault, pump: task.abort_handle(), _alive: alive }
    }

    /// Something that cuts this connection when it is dropped.
    #[must_use]
    pub fn leash(&self) -> Leash {
        Leash(Some(self.pump.clone()))
    }

    fn fault(&self) -> Option<io::Error> {
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let why = fault.clone()?;
        Some(io::Error::new(io::ErrorKind::ConnectionAborted, why))
    }
}

impl AsyncRead for VpnStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let wanted = buf.remaining() > 0;
        ready!(Pin::new(&mut self.pipe).poll_read(cx, buf))?;
        let is_over = wanted && buf.filled().len() == before;
        Poll::Ready(self.fault().filter(|_| is_over).map_or(Ok(()), Err))
    }
}

impl AsyncWrite for VpnStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

impl Leash {
    /// Lets the connection end as it likes.
    pub fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if let Some(pump) = &self.0 {
            pump.abort();
        }
    }
}

/// Moves bytes until the other side ends the connection, or nobody wants it any more.
async fn pump(
    socket: Socket,
    pipe: DuplexStream,
    network: Asker,
    beat: Beat,
    fault: Fault,
    dropped: watch::Receiver<()>,
) {
    let (mut sink, source) = socket.split();
    let (reader, mut writer) = tokio::io::split(pipe);
    let (heard, pongs) = watch::channel(0);
    let order = Order { network, pongs, pings: 0, patience: beat.silence };
    let ended = tokio::select! {
        ended = receive(source, &mut writer, &heard, beat.silence) => ended,
        ended = send(reader, &mut sink, order, beat.ping, dropped.clone()) => ended,
        () = farewell(dropped) => Ok(()),
    };
    if let Err(why) = ended {
        *fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
    // The reader may be gone.
    let _ = writer.shutdown().await;
    // The other side may be gone.
    let _ = timeout(FAREWELL, sink.close()).await;
}

/// From the network to the reader. Ends with the connection, when all is read that came before.
async fn receive(
    mut source: SplitStream<Socket>,
    writer: &mut WriteHalf<DuplexStream>,
    heard: &watch::Sender<u64>,
    silence: Span,
) -> Result<(), String> {
    let mut unread = Unread::default();
    loop {
        let next = tokio::select! {
            next = timeout(duration(silence), source.next()) => next,
            () = unread.hand_over(writer), if !unread.is_empty() => continue,
        };
        let Ok(next) = next else {
            return Err(format!("nothing was heard of the daemon for {silence}"));
        };
        match next {
            Some(Ok(Message::Binary(bytes))) => unread.keep(bytes)?,
            Some(Ok(Message::Text(text))) => unread.keep(text.into())?,
            Some(Ok(Message::Pong(pong))) => {
                if let Some(number) = order::number(&pong) {
                    heard.send_replace(number);
                }
            }
            Some(Ok(Message::Ping(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Close(_))) | None => break,
            Some(Err(error)) if is_end(&error) => break,
            Some(Err(error)) => return Err(format!("the connection broke: {error}")),
        }
    }
    while !unread.is_empty() {
        unread.hand_over(writer).await;
    }
    Ok(())
}

/// What came from the network and waits for the reader.
#[derive(Default)]
struct Unread {
    frames: VecDeque<tungstenite::Bytes>,
    length: usize,
    /// Nobody reads any more, but what is written may still be on its way.
    is_dropped: bool,
}

impl Unread {
    fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    fn keep(&mut self, frame: tungstenite::Bytes) -> Result<(), String> {
        if frame.is_empty() || self.is_dropped {
            return Ok(());
        }
        self.length += frame.len();
        self.frames.push_back(frame);
        if self.length > UNREAD_MAX {
            return Err(format!("more than {UNREAD_MAX} bytes came that were not read"));
        }
        Ok(())
    }

    /// Gives the reader as much as it takes at once. To give this up before it ends loses nothing.
    async fn hand_over(&mut self, writer: &mut WriteHalf<DuplexStream>) {
        let Some(frame) = self.frames.front_mut() else { return };
        let Ok(written) = writer.write(frame).await else {
            *self = Self { is_dropped: true, ..Self::default() };
            return;
        };
        drop(frame.split_to(written));
        self.length -= written;
        if frame.is_empty() {
            self.frames.pop_front();
        }
    }
}

/// From the writer to the network. Ends when all is sent and the stream is dropped.
async fn send(
    mut reader: ReadHalf<DuplexStream>,
    sink: &mut SplitSink<Socket, Message>,
    mut order: Order,
    ping: Span,
    mut dropped: watch::Receiver<()>,
) -> Result<(), String> {
    let mut chunk = vec![0; FRAME_MAX];
    let mut pulse = interval(duration(ping));
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_shut = false;
    loop {
        let frame = tokio::select! {
            read = reader.read(&mut chunk), if !is_shut => match read {
                Ok(0) | Err(_) => {
                    is_shut = true;
                    continue;
                }
                Ok(length) => Some(chunk[..length].to_vec()),
            },
            () = gone(&mut dropped), if is_shut => return Ok(()),
            _ = pulse.tick() => None,
        };
        let sent = match frame {
            Some(frame) => pass(frame, sink, &mut order).await,
            None => sink.send(Message::Ping(tungstenite::Bytes::new())).await.map_err(|_| None),
        };
        match sent {
            Ok(()) => {}
            Err(Some(why)) => return Err(why),
            Err(None) => {
                // What was received before is still to be read: `receive` comes to the end by itself.
                gone(&mut dropped).await;
                return Ok(());
            }
        }
    }
}

/// Sends a frame and waits until the daemon has taken it. An error without a reason is one of the
/// connection, which has its own.
async fn pass(
    frame: Vec<u8>,
    sink: &mut SplitSink<Socket, Message>,
    order: &mut Order,
) -> Result<(), Option<String>> {
    let ping = order.next_ping().to_vec();
    sink.feed(Message::Binary(frame.into())).await.map_err(|_| None)?;
    sink.send(Message::Ping(ping.into())).await.map_err(|_| None)?;
    order.taken().await.map_err(Some)
}

/// Waits until nobody has the stream any more.
async fn gone(dropped: &mut watch::Receiver<()>) {
    while dropped.changed().await.is_ok() {}
}

/// Ends when nobody has had the stream for a while: its last bytes cannot be sent.
async fn farewell(mut dropped: watch::Receiver<()>) {
    gone(&mut dropped).await;
    sleep(FAREWELL).await;
}

/// Whether this is how a connection ends: the daemon drops the websocket without a farewell when the
/// node closes the connection, and the system calls it a reset if a ping of ours was on its way.
fn is_end(error: &tungstenite::Error) -> bool {
    if let tungstenite::Error::Io(error) = error {
        return matches!(
            error.kind(),
            io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::UnexpectedEof
        );
    }
    matches!(
        error,
        tungstenite::Error::ConnectionClosed
            | tungstenite::Error::AlreadyClosed
            | tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)
    )
}

fn refusal(error: tungstenite::Error, network: &NetworkId, ip: Ipv4Addr, port: u16) -> VpnError {
    let tungstenite::Error::Http(response) = error else {
        return VpnError::NoDaemon(error.to_string());
    };
    match response.status() {
        StatusCode::UNAUTHORIZED => VpnError::BadAppKey,
        // The published interface says 404; the daemon says 403, of networks of others, too.
        StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => VpnError::NoNetwork(network.clone()),
        StatusCode::GATEWAY_TIMEOUT => VpnError::NoNode { ip, port },
        status => {
            let body = response.body().as_deref().unwrap_or_default();
            let reason: String =
                String::from_utf8_lossy(body).trim().chars().take(REASON_LENGTH_MAX).collect();
            VpnError::Refused { ip, status: status.as_u16(), reason }
        }
    }
}

const fn duration(span: Span) -> Duration {
    Duration::from_micros(span.as_micros())
}

#[cfg(test)]
mod tests {
    use super::{AppKey, Endpoints, Url, Vpn, VpnError};

    #[test]
    fn the_websocket_is_where_the_api_is() {
        for (net, base) in [
            ("http://127.0.0.1:7465/net-api/v2/vpn", "ws://127.0.0.1:7465/net-api/v2/vpn"),
            ("https://host/x/", "wss://host/x"),
        ] {
            assert_eq!(vpn(net).expect("an address").base.as_str(), base);
        }
        for bad in ["ftp://host/", "http://host/?q=1", "mailto:me"] {
            assert!(matches!(vpn(bad), Err(VpnError::BadAddress(_))), "{bad}");
        }
    }

    #[test]
    fn an_address_of_the_net_api_stands_for_base_and_prefix() {
        let base: Url = "http://host:1".parse().expect("a literal");
        let mut endpoints = Endpoints::from(base);

        assert_eq!(endpoints.net_api().as_str(), "http://host:1/net-api/v2/vpn");
        endpoints.net = Some("http://net/v9".parse().expect("a literal"));
        assert_eq!(endpoints.net_api().as_str(), "http://net/v9");
    }

    fn vpn(net: &str) -> Result<Vpn, VpnError> {
        Vpn::at(&net.parse().expect("a literal"), AppKey::new("key").expect("a word"))
    }
}
