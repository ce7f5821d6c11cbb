//! What becomes of segments on a way that loses some: kept until they are acknowledged, sent again when they are
//! lost, and no more of them on the way than it bears.
//!
//! smoltcp sends the whole of what is lost after a second, and halts its way there: it waits for a duplicate
//! acknowledgement that a window update hides, and for a timer of a second where the node has told by SACK what it
//! misses. So smoltcp sends as if there was no loss, and its segments go through here. What is sent again by smoltcp is
//! known already and goes no further; an acknowledgement always goes out, with a sequence number that the node takes.
//!
//! A segment is lost when one that was sent later has arrived, and it has had time to be overtaken (RACK, RFC 8985).
//! The window is Reno's (RFC 5681) with cubic's smaller decrease, in whole numbers. It stays as it is where no
//! more than one segment in fifty is lost: a way that loses some at random is not full, and one that is full loses more.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
    ops::Bound::{Excluded, Unbounded},
};

use smoltcp::{
    phy::ChecksumCapabilities,
    wire::{
        IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
    },
};

use super::flow::{Flow, Piece};
use crate::units::{Span, Timestamp};

const HOP_LIMIT: u8 = 64;
/// So many bytes are acknowledged together, if they come within [`HOLD`]: sixteen full segments.
const HELD_MAX: i32 = 18_880;
const HOLD: Span = Span::millis(3);
/// Segments that one connection sends before it is another one's turn.
const TURN: usize = 8;

/// All connections, by their ends.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    lanes: BTreeMap<Ends, Lane>,
    /// Whose turn it was last.
    turn: Option<Ends>,
    /// Whether the last poll had no room for all that may be sent.
    is_cut: bool,
}

/// One connection as its segments are written.
#[derive(Debug)]
struct Lane {
    ends: Ends,
    flow: Flow,
    /// What is acknowledged next, and how.
    said: Said,
    /// What the node has heard of it.
    heard: (TcpSeqNumber, u16),
    /// Whether it must be said though there is no segment that could carry it.
    is_due: bool,
    /// Since when it waits for more to be said with it.
    held: Option<Timestamp>,
}

/// Where a connection begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ends {
    here: Ipv4Addr,
    port: u16,
    there: Ipv4Addr,
    service: u16,
}

#[derive(Clone, Copy, Debug)]
struct Said {
    ack: TcpSeqNumber,
    window: u16,
    sacks: [Option<(u32, u32)>; 3],
}

impl Ends {
    /// The ends of a connection from `port` of ours at `here`.
    pub(super) const fn new(here: Ipv4Addr, port: u16, there: SocketAddrV4) -> Self {
        Self { here, port, there: *there.ip(), service: there.port() }
    }

    /// Our port.
    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// The other end.
    pub(super) const fn there(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.there, self.service)
    }

    /// As the other end sees them.
    const fn turned(self) -> Self {
        let Self { here, port, there, service } = self;
        Self { here: there, port: service, there: here, service: port }
    }
}

impl Recovery {
    /// Takes a packet that smoltcp sends; gives it back if it goes out as it is.
    pub(super) fn send(&mut self, packet: Vec<u8>) -> Option<Vec<u8>> {
        let Some((ends, repr)) = read(&packet) else { return Some(packet) };
        if repr.control == TcpControl::Syn {
            let first = (repr.seq_number + 1).0.cast_unsigned();
            let said = Said { ack: TcpSeqNumber(0), window: 0, sacks: [None; 3] };
            let flow = Flow::new(first);
            let heard = (said.ack, said.window);
            self.lanes.insert(ends, Lane { ends, flow, said, heard, is_due: false, held: None });
            return Some(packet);
        }
        let Some(lane) = self.lanes.get_mut(&ends) else { return Some(packet) };
        if repr.control == TcpControl::Rst {
            // What smoltcp takes as sent may still wait here.
            let seq_number = TcpSeqNumber(lane.flow.next().cast_signed());
            let reset = write(ends, &TcpRepr { seq_number, payload: &[], ..repr });
            self.lanes.remove(&ends);
            return Some(reset);
        }
        let ack = repr.ack_number.unwrap_or(lane.said.ack);
        lane.said = Said { ack, window: repr.window_len, sacks: repr.sack_ranges };
        let length = repr.segment_len();
        if length == 0 {
            lane.is_due = true;
            return None;
        }
        let seq = repr.seq_number.0.cast_unsigned();
        if lane.flow.is_probe(seq, length) {
            lane.heard = (ack, repr.window_len);
            return Some(packet);
        }
        let is_fin = repr.control == TcpControl::Fin;
        lane.flow.queue(Piece { seq, bytes: repr.payload.to_vec(), is_fin });
        lane.is_due |= lane.heard != (ack, repr.window_len);
        None
    }

    /// Looks at a packet that has come.
    pub(super) fn take(&mut self, now: Timestamp, packet: &[u8]) {
        let Some((ends, repr)) = read(packet) else { return };
        let Some(lane) = self.lanes.get_mut(&ends.turned()) else { return };
        if matches!(repr.control, TcpControl::Syn | TcpControl::Rst) {
            return;
        }
        let Some(ack) = repr.ack_number else { return };
        let is_bare = repr.segment_len() == 0;
        lane.flow.acknowledge(now, ack.0.cast_unsigned(), &repr.sack_ranges, is_bare);
    }

    /// Sends what may be sent, but no more than `room` packets, and the acknowledgements that are due.
    pub(super) fn poll(&mut self, now: Timestamp, room: usize) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let after = self.lanes.range((self.turn.map_or(Unbounded, Excluded), Unbounded));
        let before = self.turn.into_iter().flat_map(|turn| self.lanes.range(..=turn));
        let lanes: Vec<Ends> = after.chain(before).map(|(ends, _)| *ends).collect();
        for ends in &lanes {
            self.lanes.get_mut(ends).expect("it was listed").flow.look(now);
        }
        let mut is_moving = true;
        while is_moving && out.len() < room {
            is_moving = false;
            for ends in &lanes {
                let lane = self.lanes.get_mut(ends).expect("it was listed");
                for _ in 0..TURN.min(room - out.len().min(room)) {
                    let Some(packet) = lane.next(now) else { break };
                    out.push(packet);
                    self.turn = Some(*ends);
                    is_moving = true;
                }
            }
        }
        self.is_cut = is_moving;
        for lane in self.lanes.values_mut() {
            if lane.may_acknowledge(now) {
                out.push(lane.acknowledgement());
            }
        }
        out
    }

    /// Whether more may be sent as soon as there is room.
    pub(super) const fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// When [`Recovery::poll`] has something to do.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let held = self.lanes.values().filter_map(|lane| Some(lane.held?.plus(HOLD)));
        self.lanes.values().filter_map(|lane| lane.flow.deadline()).chain(held).min()
    }

    /// A connection is over.
    pub(super) fn forget(&mut self, ends: &Ends) {
        self.lanes.remove(ends);
    }
}

impl Lane {
    fn next(&mut self, now: Timestamp) -> Option<Vec<u8>> {
        let Piece { seq, bytes, is_fin } = self.flow.send(now)?.clone();
        let control = if is_fin { TcpControl::Fin } else { TcpControl::Psh };
        let packet = self.packet(seq, control, &bytes);
        Some(packet)
    }

    /// Whether an acknowledgement that is due goes out now. One that only tells of some more segments is held for a moment:
    /// each is a frame, which costs the bus as much as a full one, and a node that sends much sends the next ones by then.
    fn may_acknowledge(&mut self, now: Timestamp) -> bool {
        if !self.is_due {
            return false;
        }
        // The difference of two places that may lie on both sides of the largest number.
        let news = self.said.ack.0.wrapping_sub(self.heard.0.0);
        let is_plain = self.said.sacks[0].is_none() && (1..HELD_MAX).contains(&news);
        let since = *self.held.get_or_insert(now);
        !is_plain || now.since(since) >= HOLD
    }

    fn acknowledgement(&mut self) -> Vec<u8> {
        self.packet(self.flow.next(), TcpControl::None, &[])
    }

    fn packet(&mut self, seq: u32, control: TcpControl, payload: &[u8]) -> Vec<u8> {
        let Said { ack, window, sacks } = self.said;
        self.heard = (ack, window);
        self.is_due = false;
        self.held = None;
        let repr = TcpRepr {
            src_port: self.ends.port,
            dst_port: self.ends.service,
            control,
            seq_number: TcpSeqNumber(seq.cast_signed()),
            ack_number: Some(ack),
            window_len: window,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            // They are for acknowledgements: a full segment has no room for them.
            sack_ranges: if payload.is_empty() { sacks } else { [None; 3] },
            timestamp: None,
            payload,
        };
        write(self.ends, &repr)
    }
}

/// Which connection to us a packet of another end begins; `None` if it begins none.
pub(super) fn opened(packet: &[u8]) -> Option<Ends> {
    let (ends, repr) = read(packet)?;
    let is_first = repr.control == TcpControl::Syn && repr.ack_number.is_none();
    is_first.then(|| ends.turned())
}

/// A packet of TCP; `None` if it is something else.
fn read(packet: &[u8]) -> Option<(Ends, TcpRepr<'_>)> {
    let ip = Ipv4Packet::new_checked(packet).ok()?;
    if ip.next_header() != IpProtocol::Tcp {
        return None;
    }
    let (here, there) = (ip.src_addr(), ip.dst_addr());
    let header = usize::from(ip.header_len());
    let payload = packet.get(header..usize::from(ip.total_len()))?;
    let tcp = TcpPacket::new_checked(payload).ok()?;
    let (from, to) = (IpAddress::Ipv4(here), IpAddress::Ipv4(there));
    let repr = TcpRepr::parse(&tcp, &from, &to, &ChecksumCapabilities::default()).ok()?;
    Some((Ends { here, port: repr.src_port, there, service: repr.dst_port }, repr))
}

fn write(ends: Ends, repr: &TcpRepr<'_>) -> Vec<u8> {
    let checksums = ChecksumCapabilities::default();
    let ip = Ipv4Repr {
        src_addr: ends.here,
        dst_addr: ends.there,
        next_header: IpProtocol::Tcp,
        payload_len: repr.buffer_len(),
        hop_limit: HOP_LIMIT,
    };
    let mut bytes = vec![0; ip.buffer_len() + repr.buffer_len()];
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes[..]);
    ip.emit(&mut packet, &checksums);
    let mut tcp = TcpPacket::new_unchecked(packet.payload_mut());
    let (from, to) = (IpAddress::Ipv4(ends.here), IpAddress::Ipv4(ends.there));
    repr.emit(&mut tcp, &from, &to, &checksums);
    bytes
}
