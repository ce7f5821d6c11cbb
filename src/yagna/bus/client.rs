//! The connection to the bus: made, kept, and made anew.
//!
//! A task of its own owns the socket. It reads and writes side by side, and the reader never waits for the
//! writer: what it has to answer goes into a queue of its own, and what finds a queue full is lost, as the
//! frames of a network may be. After a connection has ended, the next one says the same hello and registers
//! the same names.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
    task::AbortHandle,
    time::{Instant, interval, sleep, timeout},
};

use super::{
    address::BusAddress,
    codec::{Call, Decoder, Hello, Packet, Reply},
    identity, socket,
};
use crate::{units::Span, yagna::ProviderId};

/// Packets that wait for the socket: about 128 KiB of frames.
const OUTGOING_MAX: usize = 96;
/// Replies and pongs that wait for the socket.
const ANSWERS_MAX: usize = 256;
/// Calls that wait for their reply.
const CALLS_MAX: usize = 256;
/// What is written in one go.
const WRITE_MAX: usize = 64 << 10;

/// A connection, its hello, and the names have so long.
const GREETING: Duration = Duration::from_secs(10);
/// The daemon is asked so often whether it is there.
const PING_EVERY: Duration = Duration::from_secs(10);
/// It is not if nothing was heard of it for so long.
const SILENCE_MAX: Duration = Duration::from_secs(25);
/// One write may take so long.
const WRITE_PATIENCE: Duration = Duration::from_secs(20);
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

const CONFLICT: u32 = 409;
const CALLER: &str = "local";

/// What a client is on the bus.
#[derive(Clone, Debug)]
pub struct BusPlan {
    /// Where the bus is.
    pub address: BusAddress,
    /// One of a kind: two connections with the same one end each other, the later one stays.
    pub instance: [u8; 16],
    /// The names by which it is called.
    pub services: Vec<String>,
}

/// A client of the bus. Its clones are the same; the connection ends with the last one.
#[derive(Clone, Debug)]
pub struct Bus(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    outgoing: mpsc::Sender<Vec<u8>>,
    link: watch::Receiver<Link>,
    calls: Arc<Mutex<Calls>>,
    task: AbortHandle,
}

/// Room for one packet on its way to the bus.
#[derive(Debug)]
pub struct Room<'a> {
    permit: mpsc::Permit<'a, Vec<u8>>,
    calls: &'a Mutex<Calls>,
}

/// Whether the bus is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// It is, and the names are ours.
    Up,
    /// It is not.
    Down {
        /// What stands in the way.
        why: String,
    },
}

/// Why something could not be done on the bus.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BusError {
    /// There is no connection.
    #[error("the daemon's bus cannot be reached at `{address}`: {why}")]
    Down {
        /// Where.
        address: String,
        /// What stands in the way.
        why: String,
    },
    /// The connection ended before the reply came.
    #[error("the daemon's bus went away")]
    Gone,
    /// There is no bus of that daemon's.
    #[error("the daemon is on another machine, and has no bus here")]
    Unused,
    /// It is another daemon's.
    #[error("the bus at `{address}` is that of another daemon, which has no identity `{identity}`")]
    Strange {
        /// Where.
        address: String,
        /// Whose it should be.
        identity: ProviderId,
    },
    /// There are too many calls at once.
    #[error("too many calls on the daemon's bus at once")]
    Busy,
    /// There was no reply in time.
    #[error("no answer on the daemon's bus within {0}")]
    TimedOut(Span),
    /// The reply is that it cannot be done.
    #[error("status {code} of the daemon's bus: {why}")]
    Failed {
        /// 400 where there is no such service, or 500 where it failed.
        code: u32,
        /// What is said.
        why: String,
    },
}

/// The calls without a reply so far.
#[derive(Debug)]
struct Calls {
    /// What begins the ids of this client's calls: the daemon keeps those of all clients together.
    prefix: u32,
    next: u64,
    waiting: BTreeMap<String, oneshot::Sender<Result<Vec<u8>, BusError>>>,
}

/// Asks whether a bus answers at `address`, and registers nothing.
///
/// # Errors
///
/// If it does not within `patience`; the text says where it was looked for.
pub async fn answers(address: &BusAddress, patience: Span) -> Result<(), BusError> {
    let hello = hello(rand::random());
    let asked = async {
        let (mut reader, mut writer) = connect(address).await?;
        let mut decoder = Decoder::default();
        greet(&mut reader, &mut writer, &mut decoder, &hello, &[]).await
    };
    let limit = Duration::from_micros(patience.as_micros());
    let asked = timeout(limit, asked).await.unwrap_or_else(|_| Err(timed_out()));
    let down =
        |error: io::Error| BusError::Down { address: address.to_string(), why: error.to_string() };
    asked.map_err(down)
}

/// Asks whether the bus at `address` is that of the daemon that has this `identity`: where several daemons run,
/// the address of the REST API and that of the bus may lead to two of them.
///
/// # Errors
///
/// If it is not, or does not say so within `patience`.
pub async fn serves(
    address: &BusAddress,
    identity: &ProviderId,
    patience: Span,
) -> Result<(), BusError> {
    let (incoming, _calls) = mpsc::channel(1);
    let half = Span::micros(patience.as_micros() / 2);
    // Says at once that there is none, where a client would go on trying.
    answers(address, half).await?;
    let plan = BusPlan { address: address.clone(), instance: rand::random(), services: Vec::new() };
    let bus = Bus::start(plan, incoming);
    let answer = bus.call(identity::GET, identity::question(identity), half).await?;
    let strange = || BusError::Strange { address: address.to_string(), identity: identity.clone() };
    identity::has(&answer, identity).then_some(()).ok_or_else(strange)
}

impl Bus {
    /// Connects, and stays connected. Calls to the names of the plan go to `incoming`; when it is full
    /// they are lost, or refused if their caller wants a reply.
    #[must_use]
    pub fn start(plan: BusPlan, incoming: mpsc::Sender<Call>) -> Self {
        let (outgoing, queue) = mpsc::channel(OUTGOING_MAX);
        let (tell, link) = watch::channel(Link::Down { why: "not connected yet".to_owned() });
        let waiting = BTreeMap::new();
        let calls = Arc::new(Mutex::new(Calls { prefix: rand::random(), next: 0, waiting }));
        let client = Client { plan, incoming, queue, tell, calls: Arc::clone(&calls) };
        let task = tokio::spawn(client.keep()).abort_handle();
        Self(Arc::new(Inner { outgoing, link, calls, task }))
    }

    /// Whether the bus is reached, and word of its changes.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<Link> {
        self.0.link.clone()
    }

    /// Room for one packet, if there is some.
    #[must_use]
    pub fn try_room(&self) -> Option<Room<'_>> {
        let permit = self.0.outgoing.try_reserve().ok()?;
        Some(Room { permit, calls: &self.0.calls })
    }

    /// Waits until there is room.
    pub async fn room(&self) {
        // It is never closed while this handle is there: the task ends with the last one.
        drop(self.0.outgoing.reserve().await);
    }

    /// Waits until all that was sent has left the queue.
    pub async fn drained(&self) {
        drop(self.0.outgoing.reserve_many(OUTGOING_MAX).await);
    }

    /// Calls `address`, and waits for the reply.
    ///
    /// # Errors
    ///
    /// If there is none within `patience`, or it says that the call failed.
    pub async fn call(
        &self,
        address: &str,
        data: Vec<u8>,
        patience: Span,
    ) -> Result<Vec<u8>, BusError> {
        let limit = Duration::from_micros(patience.as_micros());
        let (reply, answer) = oneshot::channel();
        let id = {
            let mut calls = self.0.calls.lock().unwrap_or_else(PoisonError::into_inner);
            // Calls that were given up wait no more.
            calls.waiting.retain(|_, reply| !reply.is_closed());
            if calls.waiting.len() >= CALLS_MAX {
                return Err(BusError::Busy);
            }
            let id = calls.id();
            calls.waiting.insert(id.clone(), reply);
            id
        };
        let asked = async {
            let mut link = self.link();
            // It never closes while this handle is there.
            let _ = link.wait_for(|link| *link == Link::Up).await;
            let packet = call(address, id.clone(), data, false);
            self.0.outgoing.send(packet).await.map_err(|_| BusError::Gone)?;
            answer.await.unwrap_or(Err(BusError::Gone))
        };
        let answered = timeout(limit, asked).await;
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner).waiting.remove(&id);
        answered.unwrap_or(Err(BusError::TimedOut(patience)))
    }
}

impl Room<'_> {
    /// Sends to `address` what may be lost: no reply is wanted, and a connection that ends loses it.
    pub fn push(self, address: &str, data: Vec<u8>) {
        let id = self.calls.lock().unwrap_or_else(PoisonError::into_inner).id();
        self.permit.send(call(address, id, data, true));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Calls {
    fn id(&mut self) -> String {
        self.next = self.next.wrapping_add(1);
        format!("{:x}-{:x}", self.prefix, self.next)
    }

    fn answer(&mut self, reply: Reply) {
        let Reply { id, code, is_partial, data } = reply;
        if is_partial {
            return;
        }
        if let Some(waiting) = self.waiting.remove(&id) {
            let outcome = match code {
                0 => Ok(data),
                code => {
                    let why = String::from_utf8_lossy(&data).into_owned();
                    Err(BusError::Failed { code, why })
                }
            };
            // The call may have been given up.
            let _ = waiting.send(outcome);
        }
    }
}

/// The task behind a [`Bus`].
struct Client {
    plan: BusPlan,
    incoming: mpsc::Sender<Call>,
    queue: mpsc::Receiver<Vec<u8>>,
    tell: watch::Sender<Link>,
    calls: Arc<Mutex<Calls>>,
}

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

impl Client {
    async fn keep(mut self) {
        let mut pause = BACKOFF_FIRST;
        loop {
            let began = Instant::now();
            let Err(error) = self.live().await;
            self.tell.send_replace(Link::Down { why: error.to_string() });
            self.calls.lock().unwrap_or_else(PoisonError::into_inner).waiting.clear();
            // What waits is of a time that is over.
            while self.queue.try_recv().is_ok() {}
            if began.elapsed() > BACKOFF_MAX {
                pause = BACKOFF_FIRST;
            }
            sleep(pause).await;
            pause = (pause * 2).min(BACKOFF_MAX);
        }
    }

    /// One connection, until it ends.
    async fn live(&mut self) -> io::Result<std::convert::Infallible> {
        let mut decoder = Decoder::default();
        let greeted = timeout(GREETING, async {
            let (mut reader, mut writer) = connect(&self.plan.address).await?;
            let hello = hello(self.plan.instance);
            let services = &self.plan.services;
            greet(&mut reader, &mut writer, &mut decoder, &hello, services).await?;
            Ok::<_, io::Error>((reader, writer))
        });
        let (reader, writer) = greeted.await.unwrap_or_else(|_| Err(timed_out()))?;
        self.tell.send_replace(Link::Up);
        let (answers, mut answered) = mpsc::channel(ANSWERS_MAX);
        let read = read(reader, decoder, &self.calls, &self.incoming, answers);
        let write = write(writer, &mut self.queue, &mut answered);
        tokio::select! {
            ended = read => ended,
            ended = write => ended,
        }
    }
}

async fn connect(address: &BusAddress) -> io::Result<(Reader, Writer)> {
    match address {
        BusAddress::Unix(path) => {
            let (reader, writer) = socket::connect(path).await?.into_split();
            Ok((Box::new(reader), Box::new(writer)))
        }
        BusAddress::Tcp(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            let (reader, writer) = stream.into_split();
            Ok((Box::new(reader), Box::new(writer)))
        }
    }
}

/// Says who we are, hears who the other side is, and registers our names.
async fn greet(
    reader: &mut Reader,
    writer: &mut Writer,
    decoder: &mut Decoder,
    hello: &Hello,
    services: &[String],
) -> io::Result<()> {
    writer.write_all(&Packet::Hello(hello.clone()).to_bytes()).await?;
    while !matches!(next(reader, decoder).await?, Packet::Hello(_)) {}
    for service in services {
        writer.write_all(&Packet::Register { service: service.clone() }.to_bytes()).await?;
        loop {
            match next(reader, decoder).await? {
                Packet::Registered { code: 0, .. } => break,
                Packet::Registered { code: CONFLICT, .. } => {
                    return Err(io::Error::other("another client has the name of this network"));
                }
                Packet::Registered { code, message } => {
                    return Err(io::Error::other(format!("name refused, {code}: {message}")));
                }
                Packet::Ping => writer.write_all(&Packet::Pong.to_bytes()).await?,
                // A frame that comes so early is lost.
                Packet::Hello(_)
                | Packet::Register { .. }
                | Packet::Unregister { .. }
                | Packet::Unregistered { .. }
                | Packet::Call(_)
                | Packet::Reply(_)
                | Packet::Subscribe { .. }
                | Packet::Subscribed
                | Packet::Unsubscribe { .. }
                | Packet::Unsubscribed { .. }
                | Packet::Broadcast(_)
                | Packet::Broadcasted
                | Packet::Pong
                | Packet::Other(_) => {}
            }
        }
    }
    Ok(())
}

async fn next(reader: &mut Reader, decoder: &mut Decoder) -> io::Result<Packet> {
    let mut bytes = vec![0; WRITE_MAX];
    loop {
        if let Some(packet) = decoder.next_packet().map_err(io::Error::other)? {
            return Ok(packet);
        }
        match reader.read(&mut bytes).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => decoder.extend(&bytes[..length]),
        }
    }
}

/// Takes packets as they come; nothing makes it wait but the socket.
async fn read(
    mut reader: Reader,
    mut decoder: Decoder,
    calls: &Mutex<Calls>,
    incoming: &mpsc::Sender<Call>,
    answers: mpsc::Sender<Packet>,
) -> io::Result<std::convert::Infallible> {
    let mut bytes = vec![0; WRITE_MAX];
    loop {
        while let Some(packet) = decoder.next_packet().map_err(io::Error::other)? {
            let answer = match packet {
                Packet::Call(call) => take(call, incoming),
                Packet::Reply(reply) => {
                    calls.lock().unwrap_or_else(PoisonError::into_inner).answer(reply);
                    None
                }
                Packet::Ping => Some(Packet::Pong),
                Packet::Hello(_)
                | Packet::Register { .. }
                | Packet::Registered { .. }
                | Packet::Unregister { .. }
                | Packet::Unregistered { .. }
                | Packet::Subscribe { .. }
                | Packet::Subscribed
                | Packet::Unsubscribe { .. }
                | Packet::Unsubscribed { .. }
                | Packet::Broadcast(_)
                | Packet::Broadcasted
                | Packet::Pong
                | Packet::Other(_) => None,
            };
            if let Some(answer) = answer {
                // A daemon that reads nothing for so long is gone soon.
                let _ = answers.try_send(answer);
            }
        }
        let heard = timeout(SILENCE_MAX, reader.read(&mut bytes)).await;
        match heard.unwrap_or_else(|_| Err(timed_out()))? {
            0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the daemon closed it")),
            length => decoder.extend(&bytes[..length]),
        }
    }
}

/// Hands a call on, and says what its caller hears.
fn take(call: Call, incoming: &mpsc::Sender<Call>) -> Option<Packet> {
    let (id, no_reply) = (call.id.clone(), call.no_reply);
    let is_taken = incoming.try_send(call).is_ok();
    let code = if is_taken { 0 } else { 500 };
    let reply = Reply { id, code, is_partial: false, data: Vec::new() };
    (!no_reply).then_some(Packet::Reply(reply))
}

/// Writes what waits, answers first.
async fn write(
    mut writer: Writer,
    queue: &mut mpsc::Receiver<Vec<u8>>,
    answered: &mut mpsc::Receiver<Packet>,
) -> io::Result<std::convert::Infallible> {
    let mut pings = interval(PING_EVERY);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        tokio::select! {
            biased;
            Some(answer) = answered.recv() => answer.encode(&mut bytes),
            _ = pings.tick() => Packet::Ping.encode(&mut bytes),
            Some(packet) = queue.recv() => bytes.extend(packet),
            // The reader, or the last handle, is gone: this task ends with it.
            else => std::future::pending().await,
        }
        while bytes.len() < WRITE_MAX {
            match answered.try_recv() {
                Ok(answer) => answer.encode(&mut bytes),
                Err(_) => match queue.try_recv() {
                    Ok(packet) => bytes.extend(packet),
                    Err(_) => break,
                },
            }
        }
        let written = timeout(WRITE_PATIENCE, writer.write_all(&bytes)).await;
        written.unwrap_or_else(|_| Err(timed_out()))?;
    }
}

fn call(address: &str, id: String, data: Vec<u8>, no_reply: bool) -> Vec<u8> {
    let (caller, address) = (CALLER.to_owned(), address.to_owned());
    Packet::Call(Call { caller, address, id, data, no_reply }).to_bytes()
}

fn hello(instance: [u8; 16]) -> Hello {
    Hello {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance,
    }
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}
