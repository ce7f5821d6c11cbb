//! A node: smoltcp on Ethernet with a service on each port it is asked at.

use std::collections::VecDeque;

use ray_on_golem::units::Timestamp;
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken},
    socket::tcp::{CongestionControl, Socket, SocketBuffer, State},
    time::{Duration, Instant},
    wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr},
};

use crate::world::{NODE, PORT};

const BUFFER: usize = 1 << 20;

/// What a node does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Sends back what it reads, and ends when that ends.
    Echo,
    /// Reads to the end, and then sends all of it back.
    Return,
    /// Reads to the end.
    Sink,
    /// Reads nothing.
    Deaf,
    /// Ends its direction at once, and reads to the end.
    Shut,
    /// Resets the connection once something has come.
    Reset,
}

pub(crate) struct Node {
    interface: Interface,
    sockets: SocketSet<'static>,
    wire: Wire,
    connections: Vec<SocketHandle>,
    service: Service,
    /// What was read, of all connections.
    pub(crate) read: Vec<u8>,
    returned: usize,
}

#[derive(Default)]
struct Wire {
    incoming: VecDeque<Vec<u8>>,
    outgoing: Vec<Vec<u8>>,
}

impl Node {
    pub(crate) fn new(service: Service) -> Self {
        let mut wire = Wire::default();
        let hardware = HardwareAddress::Ethernet(EthernetAddress([2, 0, 0, 0, 0, 1]));
        let mut config = Config::new(hardware);
        config.random_seed = 77;
        let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            let own = IpCidr::new(IpAddress::Ipv4(NODE), 24);
            addresses.push(own).expect("there is room");
        });
        let mut node = Self {
            interface,
            sockets: SocketSet::new(Vec::new()),
            wire,
            connections: Vec::new(),
            service,
            read: Vec::new(),
            returned: 0,
        };
        node.listen();
        node
    }

    fn listen(&mut self) {
        let buffer = || SocketBuffer::new(vec![0; BUFFER]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.listen(PORT).expect("a new socket listens");
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(Some(Duration::from_millis(10)));
        socket.set_congestion_control(CongestionControl::Cubic);
        self.connections.push(self.sockets.add(socket));
    }

    pub(crate) fn take(&mut self, frame: Vec<u8>) {
        self.wire.incoming.push_back(frame);
    }

    /// Connections that are not over at this end.
    pub(crate) fn open(&self) -> usize {
        let states = self.connections.iter().map(|it| self.sockets.get::<Socket<'_>>(*it).state());
        let is_open = |state: &State| {
            !matches!(state, State::Closed | State::Listen | State::TimeWait | State::SynReceived)
        };
        states.filter(is_open).count()
    }

    /// Lets it work; gives what it sends.
    pub(crate) fn poll(&mut self, now: Timestamp) -> Vec<Vec<u8>> {
        let at = instant(now);
        self.interface.poll(at, &mut self.wire, &mut self.sockets);
        self.serve();
        self.interface.poll(at, &mut self.wire, &mut self.sockets);
        std::mem::take(&mut self.wire.outgoing)
    }

    pub(crate) fn deadline(&mut self, now: Timestamp) -> Option<Timestamp> {
        let delay = self.interface.poll_delay(instant(now), &self.sockets)?;
        Some(now.plus(ray_on_golem::units::Span::micros(delay.total_micros())))
    }

    fn serve(&mut self) {
        for handle in self.connections.clone() {
            let socket = self.sockets.get_mut::<Socket<'_>>(handle);
            if socket.is_listening() || !socket.is_open() {
                continue;
            }
            let mut bytes = vec![0; BUFFER];
            match self.service {
                Service::Echo => {
                    let room = socket.send_capacity() - socket.send_queue();
                    if let Ok(length) = socket.recv_slice(&mut bytes[..room]) {
                        self.read.extend(&bytes[..length]);
                        socket.send_slice(&bytes[..length]).expect("there is room");
                    }
                }
                Service::Sink | Service::Shut => {
                    if self.service == Service::Shut && socket.may_send() {
                        socket.close();
                    }
                    if let Ok(length) = socket.recv_slice(&mut bytes) {
                        self.read.extend(&bytes[..length]);
                    }
                }
                Service::Return => {
                    if let Ok(length) = socket.recv_slice(&mut bytes) {
                        self.read.extend(&bytes[..length]);
                    } else if socket.may_send() {
                        self.returned +=
                            socket.send_slice(&self.read[self.returned..]).expect("open");
                    }
                    if self.returned < self.read.len() {
                        continue;
                    }
                }
                Service::Deaf => continue,
                Service::Reset => {
                    if socket.can_recv() {
                        socket.abort();
                    }
                }
            }
            if socket.state() == State::CloseWait {
                socket.close();
            }
        }
        let is_listening = |it: &SocketHandle| self.sockets.get::<Socket<'_>>(*it).is_listening();
        if !self.connections.iter().any(is_listening) {
            self.listen();
        }
    }
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
        let mut frame = vec![0; length];
        let written = write(&mut frame);
        self.0.push(frame);
        written
    }
}

impl Device for Wire {
    type RxToken<'a> = Incoming;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Incoming, Outgoing<'_>)> {
        Some((Incoming(self.incoming.pop_front()?), Outgoing(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_>> {
        Some(Outgoing(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1234;
        capabilities
    }
}

fn instant(at: Timestamp) -> Instant {
    Instant::from_micros(i64::try_from(at.as_unix_micros()).expect("a near time"))
}
