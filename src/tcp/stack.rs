//! One end of all connections to the members of one network.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{Ipv4Addr, SocketAddrV4},
    task::{Context, Poll},
};

use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken},
    socket::tcp::{CongestionControl, RecvError, Socket, SocketBuffer, State},
    time::{Duration, Instant},
    wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint},
};
use thiserror::Error;

use super::{
    knock::{Knock, Knocks},
    link::Link,
    recovery::{Ends, Recovery, opened},
};
use crate::units::{Span, Timestamp};

/// The largest IP packet: what a node's machine is set to, and what goes through any relay unbroken.
const MTU: usize = 1220;
/// What is kept of each direction of a connection.
const BUFFER: usize = 256 << 10;
/// A node hears of room for more when it is twice what the node knows of. That is never so while less than this waits.
const CROWDED: usize = BUFFER / 4;
/// Connections at once; each has two buffers.
const CONNECTIONS_MAX: usize = 320;
/// Frames that wait to be sent.
const OUT_MAX: usize = 64;
/// Frames that wait to be read.
const IN_MAX: usize = 1024;

const ACK_DELAY: Duration = Duration::from_millis(10);
/// How long a connection that has ended is kept for its last acknowledgement.
const FAREWELL: Span = Span::millis(50);
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A node that answers nothing for so long is given up.
const USER_TIMEOUT: Duration = Duration::from_secs(60);

const FIRST_PORT: u16 = 49_152;
const PORTS: u16 = u16::MAX - FIRST_PORT;

/// What a [`Stack`] is made of.
#[derive(Clone, Copy, Debug)]
pub struct StackPlan {
    /// Our own address in the network.
    pub address: Ipv4Addr,
    /// The length of the network's prefix.
    pub prefix: u8,
    /// Where its random numbers begin: those of the first ports and of sequence numbers.
    pub seed: u64,
}

/// One end of all connections to the members of one network.
pub struct Stack {
    interface: Interface,
    sockets: SocketSet<'static>,
    queues: Queues,
    recovery: Recovery,
    link: Link,
    address: Ipv4Addr,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Connections that members want; none if it does not listen.
    knocks: Option<Knocks>,
    next_id: u64,
    next_port: u16,
    /// Whether frames can be sent at all.
    is_up: bool,
    now: Timestamp,
}

/// One connection of a [`Stack`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(u64);

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConnectError {
    /// The address belongs to no member.
    #[error("no node of the private network has the address {0}")]
    NoMember(Ipv4Addr),
    /// No connection can go there.
    #[error("no connection can be made to port 0")]
    NoPort,
    /// There are too many.
    #[error("{CONNECTIONS_MAX} connections to the private network are open; no more can be made")]
    TooMany,
}

/// The node ended a connection without finishing it, or has answered nothing for 60 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the node reset the connection, or it did not answer for {} s", USER_TIMEOUT.secs())]
pub struct Broken;

#[derive(Clone, Copy, Debug)]
struct Connection {
    handle: SocketHandle,
    ends: Ends,
    /// Since when nobody has it any more.
    left: Option<Timestamp>,
}

impl Stack {
    /// A stack without members.
    #[must_use]
    pub fn new(plan: StackPlan, now: Timestamp) -> Self {
        let StackPlan { address, prefix, seed } = plan;
        let mut queues = Queues::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut queues, instant(now));
        interface.update_ip_addrs(|addresses| {
            let own = IpCidr::new(IpAddress::Ipv4(address), prefix.min(32));
            addresses.push(own).expect("an interface has room for one address");
        });
        let below = u64::from(PORTS);
        let offset = u16::try_from(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % below).unwrap_or(0);
        Self {
            interface,
            sockets: SocketSet::new(Vec::new()),
            queues,
            recovery: Recovery::default(),
            link: Link::new(address),
            address,
            connections: BTreeMap::new(),
            knocks: None,
            next_id: 0,
            next_port: FIRST_PORT + offset,
            is_up: true,
            now,
        }
    }

    /// Lets a member in.
    pub fn add(&mut self, member: Ipv4Addr) {
        if member != self.address {
            self.link.add(member);
        }
    }

    /// Takes a member out; its connections are reset.
    pub fn remove(&mut self, member: Ipv4Addr) {
        for connection in self.connections.values() {
            let socket = self.sockets.get_mut::<Socket<'_>>(connection.handle);
            if socket.remote_endpoint().is_some_and(|it| it.addr == IpAddress::Ipv4(member)) {
                socket.abort();
            }
        }
        // The resets still go out.
        self.poll(self.now);
        self.link.remove(member);
    }

    /// Begins a connection; [`Stack::poll_connected`] tells when it is made.
    ///
    /// # Errors
    ///
    /// If it cannot be made from here.
    pub fn connect(&mut self, to: SocketAddrV4) -> Result<ConnectionId, ConnectError> {
        if !self.link.has(*to.ip()) {
            return Err(ConnectError::NoMember(*to.ip()));
        }
        if to.port() == 0 {
            return Err(ConnectError::NoPort);
        }
        if self.connections.len() >= CONNECTIONS_MAX {
            return Err(ConnectError::TooMany);
        }
        let mut socket = socket();
        let port = self.free_port();
        let there = IpEndpoint::new(IpAddress::Ipv4(*to.ip()), to.port());
        let here = (IpAddress::Ipv4(self.address), port);
        socket
            .connect(self.interface.context(), there, here)
            .expect("a new socket connects from an address to an address");
        Ok(self.insert(socket, Ends::new(self.address, port, to)))
    }

    /// From here on members may begin connections, too: [`Stack::next_knock`] tells of them.
    pub fn listen(&mut self) {
        self.knocks.get_or_insert_default();
    }

    /// The next connection that a member wants. What becomes of it is to be said by [`Stack::admit`],
    /// [`Stack::refuse`], or [`Stack::ignore`].
    pub fn next_knock(&mut self) -> Option<Knock> {
        self.knocks.as_mut()?.next()
    }

    /// Makes a connection that a member wants; [`Stack::poll_connected`] tells when it is made. None is made if there
    /// are too many, or if it is decided already.
    pub fn admit(&mut self, knock: Knock) -> Option<ConnectionId> {
        if self.connections.len() >= CONNECTIONS_MAX {
            self.refuse(knock);
            return None;
        }
        let packet = self.knocks.as_mut()?.take(knock)?;
        let mut socket = socket();
        socket.listen(knock.port()).ok()?;
        let id = self.insert(socket, knock.ends());
        // No other socket listens, and no other such packet goes there before this one.
        self.queues.incoming.push_front(packet);
        self.poll(self.now);
        if self.socket(id).is_some_and(|socket| socket.state() == State::Listen) {
            self.leave(id);
            return None;
        }
        Some(id)
    }

    /// Says that nothing listens where a member wants a connection.
    pub fn refuse(&mut self, knock: Knock) {
        if let Some(packet) = self.knocks.as_mut().and_then(|knocks| knocks.take(knock)) {
            // There is no socket for it, which is answered by a reset.
            self.queues.incoming.push_front(packet);
            self.poll(self.now);
        }
    }

    /// Says nothing to a member that wants a connection; it may ask again.
    pub fn ignore(&mut self, knock: Knock) {
        if let Some(knocks) = &mut self.knocks {
            knocks.take(knock);
        }
    }

    /// Whether a connection is made.
    ///
    /// # Errors
    ///
    /// If the node refuses it.
    pub fn poll_connected(
        &mut self,
        id: ConnectionId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        let Some(socket) = self.socket(id) else { return Poll::Ready(Err(Broken)) };
        match socket.state() {
            State::SynSent | State::SynReceived => {
                socket.register_send_waker(cx.waker());
                Poll::Pending
            }
            // A connection of a member that is reset before it is made listens again.
            State::Closed | State::Listen => Poll::Ready(Err(Broken)),
            State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait => Poll::Ready(Ok(())),
        }
    }

    /// Whether so much waits to be read that the node is told of the room when it is.
    #[must_use]
    pub fn is_crowded(&mut self, id: ConnectionId) -> bool {
        self.socket(id).is_some_and(|socket| socket.recv_queue() >= CROWDED)
    }

    /// Reads what has come; 0 is the end that the node has set.
    ///
    /// # Errors
    ///
    /// If the connection broke.
    pub fn poll_read(
        &mut self,
        id: ConnectionId,
        bytes: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Broken>> {
        let Some(socket) = self.socket(id) else { return Poll::Ready(Err(Broken)) };
        match socket.recv_slice(bytes) {
            Ok(0) => {
                socket.register_recv_waker(cx.waker());
                Poll::Pending
            }
            Ok(length) => Poll::Ready(Ok(length)),
            Err(RecvError::Finished) => Poll::Ready(Ok(0)),
            Err(RecvError::InvalidState) => Poll::Ready(Err(Broken)),
        }
    }

    /// Takes bytes to be sent, as many as there is room for.
    ///
    /// # Errors
    ///
    /// If the connection broke, or was shut down.
    pub fn poll_write(
        &mut self,
        id: ConnectionId,
        bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Broken>> {
        let Some(socket) = self.socket(id) else { return Poll::Ready(Err(Broken)) };
        match socket.send_slice(bytes) {
            Ok(0) if !bytes.is_empty() => {
                socket.register_send_waker(cx.waker());
                Poll::Pending
            }
            Ok(length) => Poll::Ready(Ok(length)),
            Err(_) => Poll::Ready(Err(Broken)),
        }
    }

    /// Ends our direction: the node reads what was written, then the end. The other direction goes on.
    pub fn shutdown(&mut self, id: ConnectionId) {
        if let Some(socket) = self.socket(id) {
            socket.close();
        }
    }

    /// The same; is done when the node has all that was written.
    ///
    /// # Errors
    ///
    /// If the connection broke.
    pub fn poll_shutdown(
        &mut self,
        id: ConnectionId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        self.shutdown(id);
        let Some(socket) = self.socket(id) else { return Poll::Ready(Err(Broken)) };
        match socket.state() {
            State::FinWait1 | State::Closing | State::LastAck => {
                socket.register_send_waker(cx.waker());
                Poll::Pending
            }
            State::Closed
            | State::Listen
            | State::SynSent
            | State::SynReceived
            | State::Established
            | State::FinWait2
            | State::CloseWait
            | State::TimeWait => Poll::Ready(Ok(())),
        }
    }

    /// Gives a connection back. One whose two directions have ended sends what it still has to send; any
    /// other one is reset.
    pub fn leave(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.left = Some(self.now);
        let socket = self.sockets.get_mut::<Socket<'_>>(connection.handle);
        match socket.state() {
            State::LastAck | State::Closing | State::TimeWait if socket.recv_queue() == 0 => {}
            State::Closed
            | State::Listen
            | State::SynSent
            | State::SynReceived
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait => socket.abort(),
        }
    }

    /// Resets all connections, as before an end of the process.
    pub fn abandon(&mut self) {
        for connection in self.connections.values_mut() {
            connection.left = Some(self.now);
            self.sockets.get_mut::<Socket<'_>>(connection.handle).abort();
        }
    }

    /// How many connections there are, those included that are still ending.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Takes a frame of a member. It is read at the next [`Stack::poll`].
    pub fn take(&mut self, now: Timestamp, frame: &[u8]) {
        if self.queues.incoming.len() >= IN_MAX {
            return;
        }
        let Some(packet) = self.link.take(now, frame) else { return };
        if let Some(knocks) = &mut self.knocks
            && let Some(ends) = opened(&packet)
            && !self.connections.values().any(|connection| connection.ends == ends)
        {
            knocks.hear(ends, packet);
            return;
        }
        self.queues.incoming.push_back(packet);
    }

    /// Says whether frames can be sent; what cannot be sent is kept for later, and is not taken as lost.
    pub const fn set_up(&mut self, is_up: bool) {
        self.is_up = is_up;
    }

    /// Whether there is a frame to be sent.
    #[must_use]
    pub fn has_frame(&self) -> bool {
        self.link.waiting() > 0
    }

    /// The next frame to be sent, and to which member.
    pub fn next_frame(&mut self) -> Option<(Ipv4Addr, Vec<u8>)> {
        self.link.next_frame()
    }

    /// Reads what has come, and makes what is to be sent.
    pub fn poll(&mut self, now: Timestamp) {
        self.now = now;
        self.link.poll(now);
        for packet in &self.queues.incoming {
            self.recovery.take(now, packet);
        }
        self.queues.is_open = self.is_up;
        self.interface.poll(instant(now), &mut self.queues, &mut self.sockets);
        for packet in std::mem::take(&mut self.queues.outgoing) {
            if let Some(packet) = self.recovery.send(packet) {
                self.link.send(now, packet);
            }
        }
        self.forget_ended();
        if self.is_up {
            let room = OUT_MAX.saturating_sub(self.link.waiting());
            for packet in self.recovery.poll(now, room) {
                self.link.send(now, packet);
            }
        }
    }

    /// Polls until nothing is left to be sent; the frames, and to which members. What was sent makes room for more.
    #[must_use]
    pub fn flush(&mut self, now: Timestamp) -> Vec<(Ipv4Addr, Vec<u8>)> {
        let mut frames = Vec::new();
        loop {
            self.poll(now);
            let before = frames.len();
            frames.extend(std::iter::from_fn(|| self.next_frame()));
            if frames.len() == before {
                return frames;
            }
        }
    }

    /// When [`Stack::poll`] has something to do; none if nothing is left to be done until a frame comes.
    pub fn deadline(&mut self) -> Option<Timestamp> {
        if !self.is_up || self.link.waiting() >= OUT_MAX {
            return None;
        }
        if self.recovery.is_cut() {
            return Some(self.now);
        }
        let own = self.interface.poll_at(instant(self.now), &self.sockets).map(timestamp);
        let left = self.connections.values().filter_map(|it| Some(it.left?.plus(FAREWELL)));
        let farewell = left.filter(|at| *at > self.now);
        let all = own.into_iter().chain(self.link.deadline());
        let all = all.chain(self.recovery.deadline()).chain(farewell);
        all.min().map(|at| at.max(self.now))
    }

    fn insert(&mut self, socket: Socket<'static>, ends: Ends) -> ConnectionId {
        let handle = self.sockets.add(socket);
        let id = ConnectionId(self.next_id);
        self.next_id += 1;
        self.connections.insert(id, Connection { handle, ends, left: None });
        id
    }

    fn socket(&mut self, id: ConnectionId) -> Option<&mut Socket<'static>> {
        let connection = self.connections.get(&id)?;
        Some(self.sockets.get_mut::<Socket<'_>>(connection.handle))
    }

    /// Forgets what was left and has nothing to send any more.
    fn forget_ended(&mut self) {
        let (sockets, recovery, now) = (&mut self.sockets, &mut self.recovery, self.now);
        self.connections.retain(|_, connection| {
            let socket = sockets.get::<Socket<'_>>(connection.handle);
            // As long as there is a reset to be sent, there is an address.
            let is_closed = socket.state() == State::Closed && socket.remote_endpoint().is_none();
            if is_closed {
                recovery.forget(&connection.ends);
            }
            let Some(left) = connection.left else { return true };
            let is_over = match socket.state() {
                State::Closed => is_closed,
                // Its last acknowledgement is sent by then.
                State::TimeWait => now.since(left) >= FAREWELL,
                State::Listen
                | State::SynSent
                | State::SynReceived
                | State::Established
                | State::FinWait1
                | State::FinWait2
                | State::CloseWait
                | State::Closing
                | State::LastAck => false,
            };
            if is_over {
                recovery.forget(&connection.ends);
                sockets.remove(connection.handle);
            }
            !is_over
        });
    }

    fn free_port(&mut self) -> u16 {
        loop {
            let port = self.next_port;
            self.next_port = if port == u16::MAX { FIRST_PORT } else { port + 1 };
            // There are more ports than connections.
            if !self.connections.values().any(|connection| connection.ends.port() == port) {
                return port;
            }
        }
    }
}

/// A socket that leaves losses to `recovery`.
fn socket() -> Socket<'static> {
    let buffer = || SocketBuffer::new(vec![0; BUFFER]);
    let mut socket = Socket::new(buffer(), buffer());
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(Some(ACK_DELAY));
    socket.set_keep_alive(Some(KEEP_ALIVE));
    socket.set_timeout(Some(USER_TIMEOUT));
    socket.set_congestion_control(CongestionControl::None);
    socket
}

/// What smoltcp takes for a device: packets in, packets out.
#[derive(Debug, Default)]
struct Queues {
    incoming: VecDeque<Vec<u8>>,
    outgoing: Vec<Vec<u8>>,
    /// Whether packets can be sent; answers to packets are made anyway.
    is_open: bool,
}

struct Incoming(Vec<u8>);
struct Outgoing<'a>(&'a mut Vec<Vec<u8>>);

impl RxToken for Incoming {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut packet = vec![0; length];
        let written = write(&mut packet);
        self.0.push(packet);
        written
    }
}

impl Device for Queues {
    type RxToken<'a> = Incoming;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Incoming, Outgoing<'_>)> {
        let packet = self.incoming.pop_front()?;
        Some((Incoming(packet), Outgoing(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_>> {
        self.is_open.then_some(Outgoing(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}

fn instant(at: Timestamp) -> Instant {
    Instant::from_micros(i64::try_from(at.as_unix_micros()).unwrap_or(i64::MAX))
}

fn timestamp(at: Instant) -> Timestamp {
    Timestamp::EPOCH.plus(Span::micros(u64::try_from(at.total_micros()).unwrap_or(0)))
}
