//! Ethernet, as exe-units want it: IP packets to frames and back, with the hardware addresses that ARP finds.
//!
//! Each member is asked for its hardware address apart from the others, so that a member that is gone makes no
//! connection to another one wait. A member that is heard of is not asked.

use std::{
    collections::{BTreeMap, VecDeque},
    net::Ipv4Addr,
};

use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, Ipv4Packet,
};

use crate::units::{Span, Timestamp};

/// Packets to a member whose hardware address is not known yet.
const WAITING_MAX: usize = 16;
/// A member is asked for its hardware address so often.
const ASK_EVERY: Span = Span::secs(1);
/// A member that has been silent for so long may have another hardware address.
const TRUST: Span = Span::secs(15);

const HEADER: usize = EthernetFrame::<&[u8]>::header_len();
const ARP_LENGTH: usize = 28;

/// Our place on the Ethernet of a network.
#[derive(Debug)]
pub struct Link {
    hardware: EthernetAddress,
    address: Ipv4Addr,
    members: BTreeMap<Ipv4Addr, Member>,
    out: VecDeque<(Ipv4Addr, Vec<u8>)>,
}

#[derive(Debug, Default)]
struct Member {
    hardware: Option<EthernetAddress>,
    heard: Option<Timestamp>,
    asked: Option<Timestamp>,
    waiting: VecDeque<Vec<u8>>,
}

/// Who says that it sent a frame; none if the frame is no use.
#[must_use]
pub fn source(frame: &[u8]) -> Option<Ipv4Addr> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    match frame.ethertype() {
        EthernetProtocol::Ipv4 => Some(Ipv4Packet::new_checked(frame.payload()).ok()?.src_addr()),
        EthernetProtocol::Arp => {
            let arp = ArpPacket::new_checked(frame.payload()).ok()?;
            let repr = ArpRepr::parse(&arp).ok()?;
            let ArpRepr::EthernetIpv4 { source_protocol_addr, .. } = repr else { return None };
            Some(source_protocol_addr)
        }
        EthernetProtocol::Ipv6 | EthernetProtocol::Unknown(_) => None,
    }
}

impl Link {
    /// A place at `address`, with no members yet. The hardware address is made of it.
    #[must_use]
    pub fn new(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        // Locally administered, for one station.
        let hardware = EthernetAddress([0xa2, 0x13, a, b, c, d]);
        Self { hardware, address, members: BTreeMap::new(), out: VecDeque::new() }
    }

    /// Lets a member in. It may be in already.
    pub fn add(&mut self, member: Ipv4Addr) {
        self.members.entry(member).or_default();
    }

    /// Takes a member out; its hardware address is forgotten.
    pub fn remove(&mut self, member: Ipv4Addr) {
        self.members.remove(&member);
    }

    /// Whether there is such a member.
    #[must_use]
    pub fn has(&self, member: Ipv4Addr) -> bool {
        self.members.contains_key(&member)
    }

    /// How many frames wait to be sent.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.out.len()
    }

    /// The next frame to be sent, and to which member.
    pub fn next_frame(&mut self) -> Option<(Ipv4Addr, Vec<u8>)> {
        self.out.pop_front()
    }

    /// Sends an IP packet, once the hardware address of its receiver is known.
    pub fn send(&mut self, now: Timestamp, packet: Vec<u8>) {
        let Ok(header) = Ipv4Packet::new_checked(packet.as_slice()) else { return };
        let to = header.dst_addr();
        let Some(member) = self.members.get_mut(&to) else { return };
        let is_fresh = |at: Option<Timestamp>, span| at.is_some_and(|at| now.since(at) < span);
        let is_known = member.hardware.is_some();
        let must_ask = !is_known || !is_fresh(member.heard, TRUST);
        if must_ask && !is_fresh(member.asked, if is_known { TRUST } else { ASK_EVERY }) {
            member.asked = Some(now);
            let question = self.arp(ArpOperation::Request, EthernetAddress::BROADCAST, to);
            self.out.push_back((to, question));
        }
        let Some(member) = self.members.get_mut(&to) else { return };
        match member.hardware {
            Some(hardware) => {
                let frame = self.frame(hardware, EthernetProtocol::Ipv4, &packet);
                self.out.push_back((to, frame));
            }
            None => {
                if member.waiting.len() == WAITING_MAX {
                    member.waiting.pop_front();
                }
                member.waiting.push_back(packet);
            }
        }
    }

    /// Takes a frame of a member; gives the IP packet in it, if there is one for us.
    pub fn take(&mut self, now: Timestamp, bytes: &[u8]) -> Option<Vec<u8>> {
        let frame = EthernetFrame::new_checked(bytes).ok()?;
        let to = frame.dst_addr();
        if to != self.hardware && !to.is_broadcast() {
            return None;
        }
        match frame.ethertype() {
            EthernetProtocol::Arp => {
                self.take_arp(now, frame.payload());
                None
            }
            EthernetProtocol::Ipv4 => {
                let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
                if packet.dst_addr() != self.address || !self.has(packet.src_addr()) {
                    return None;
                }
                self.learn(now, packet.src_addr(), frame.src_addr());
                let length = usize::from(packet.total_len());
                Some(frame.payload()[..length].to_vec())
            }
            EthernetProtocol::Ipv6 | EthernetProtocol::Unknown(_) => None,
        }
    }

    /// Asks again for the hardware addresses that packets wait for.
    pub fn poll(&mut self, now: Timestamp) {
        let is_due = |member: &Member| {
            !member.waiting.is_empty()
                && member.asked.is_none_or(|asked| now.since(asked) >= ASK_EVERY)
        };
        let due: Vec<Ipv4Addr> =
            self.members.iter().filter(|(_, it)| is_due(it)).map(|(ip, _)| *ip).collect();
        for to in due {
            let question = self.arp(ArpOperation::Request, EthernetAddress::BROADCAST, to);
            self.out.push_back((to, question));
            if let Some(member) = self.members.get_mut(&to) {
                member.asked = Some(now);
            }
        }
    }

    /// When [`Link::poll`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let waiting = self.members.values().filter(|member| !member.waiting.is_empty());
        waiting.filter_map(|member| Some(member.asked?.plus(ASK_EVERY))).min()
    }

    fn take_arp(&mut self, now: Timestamp, payload: &[u8]) {
        let parsed = ArpPacket::new_checked(payload).and_then(|arp| ArpRepr::parse(&arp));
        let Ok(ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: hardware,
            source_protocol_addr: from,
            target_protocol_addr: to,
            ..
        }) = parsed
        else {
            return;
        };
        if to != self.address || !self.has(from) || !hardware.is_unicast() {
            return;
        }
        self.learn(now, from, hardware);
        if operation == ArpOperation::Request {
            let answer = self.arp(ArpOperation::Reply, hardware, from);
            self.out.push_back((from, answer));
        }
    }

    fn learn(&mut self, now: Timestamp, ip: Ipv4Addr, hardware: EthernetAddress) {
        if !hardware.is_unicast() {
            return;
        }
        let Some(member) = self.members.get_mut(&ip) else { return };
        member.hardware = Some(hardware);
        member.heard = Some(now);
        for packet in std::mem::take(&mut member.waiting) {
            let frame = self.frame(hardware, EthernetProtocol::Ipv4, &packet);
            self.out.push_back((ip, frame));
        }
    }

    fn arp(&self, operation: ArpOperation, hardware: EthernetAddress, ip: Ipv4Addr) -> Vec<u8> {
        let arp = ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: self.hardware,
            source_protocol_addr: self.address,
            target_hardware_addr: hardware,
            target_protocol_addr: ip,
        };
        let mut bytes = [0; ARP_LENGTH];
        arp.emit(&mut ArpPacket::new_unchecked(&mut bytes[..]));
        self.frame(hardware, EthernetProtocol::Arp, &bytes)
    }

    fn frame(&self, to: EthernetAddress, kind: EthernetProtocol, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER + payload.len()];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
        frame.set_dst_addr(to);
        frame.set_src_addr(self.hardware);
        frame.set_ethertype(kind);
        frame.payload_mut().copy_from_slice(payload);
        bytes
    }
}
