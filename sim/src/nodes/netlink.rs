//! Bridges, virtual cables, and addresses, asked for in the kernel's own binary messages (rtnetlink(7)).

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice::name_to_index, recv,
    send, socket_with,
};

// From <linux/netlink.h>, <linux/rtnetlink.h>, <linux/if_link.h>, <linux/if_addr.h>, and <linux/veth.h>.
const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const NEW_ADDRESS: u16 = 20;
const ERROR: u16 = 2;
const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const LINK_HARDWARE: u16 = 1;
const LINK_NAME: u16 = 3;
const LINK_MASTER: u16 = 10;
const LINK_INFO: u16 = 18;
const LINK_NAMESPACE: u16 = 28;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VETH_PEER: u16 = 1;
const ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const FAMILY_IPV4: u8 = 2;
const IS_UP: u32 = 1;
const HEADER_BYTES: usize = 16;

/// The network of the namespace that this process is in.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
}

impl Netlink {
    pub(super) fn new() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        // Protocol 0 of netlink is routing.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        Ok(Self { socket })
    }

    /// Makes a bridge, and switches it on.
    pub(super) fn add_bridge(&self, name: &str) -> io::Result<()> {
        let info = attribute(LINK_INFO, &attribute(INFO_KIND, b"bridge"));
        self.ask(NEW_LINK, CREATE | EXCLUSIVE, &[link(0, 0), label(name), info])?;
        self.switch_on(name)
    }

    /// Lays a cable from a bridge into another network namespace, to the one who will have an address. The
    /// hardware address at that end follows from it, so that a neighbour need not forget whoever had it before.
    pub(super) fn add_cable(
        &self,
        name: &str,
        bridge: &str,
        peer: &str,
        address: Ipv4Addr,
        namespace: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let master = self.index(bridge)?;
        let there = namespace.as_raw_fd().to_ne_bytes();
        // Locally administered, and of one machine.
        let hardware = attribute(LINK_HARDWARE, &[&[2, 0], address.octets().as_slice()].concat());
        let far_end =
            [link(0, 0), label(peer), hardware, attribute(LINK_NAMESPACE, &there)].concat();
        let data = attribute(INFO_DATA, &attribute(VETH_PEER, &far_end));
        let info = attribute(LINK_INFO, &[attribute(INFO_KIND, b"veth"), data].concat());
        let master = attribute(LINK_MASTER, &master.to_ne_bytes());
        self.ask(NEW_LINK, CREATE | EXCLUSIVE, &[link(0, 0), label(name), master, info])?;
        self.switch_on(name)
    }

    /// Takes a cable away, both ends of it. One that has gone with its namespace is an error.
    pub(super) fn remove_cable(&self, name: &str) -> io::Result<()> {
        self.ask(DELETE_LINK, 0, &[link(self.index(name)?, 0)])
    }

    /// Gives an interface its address.
    pub(super) fn add_address(
        &self,
        name: &str,
        address: Ipv4Addr,
        netmask: Ipv4Addr,
    ) -> io::Result<()> {
        let prefix = u8::try_from(netmask.to_bits().leading_ones()).unwrap_or(32);
        let mut body = vec![FAMILY_IPV4, prefix, 0, 0];
        body.extend(self.index(name)?.to_ne_bytes());
        let local = attribute(ADDRESS_LOCAL, &address.octets());
        let itself = attribute(ADDRESS, &address.octets());
        self.ask(NEW_ADDRESS, CREATE | EXCLUSIVE, &[body, local, itself])
    }

    /// Switches an interface on.
    pub(super) fn switch_on(&self, name: &str) -> io::Result<()> {
        self.ask(NEW_LINK, 0, &[link(self.index(name)?, IS_UP)])
    }

    fn index(&self, name: &str) -> io::Result<u32> {
        Ok(name_to_index(&self.socket, name)?)
    }

    /// Sends one request, and waits for the kernel's word.
    fn ask(&self, kind: u16, flags: u16, parts: &[Vec<u8>]) -> io::Result<()> {
        let body = parts.concat();
        let length =
            u32::try_from(HEADER_BYTES + body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend((flags | REQUEST | ACKNOWLEDGE).to_ne_bytes());
        // Sequence number and sender: there is one request at a time.
        message.extend([0; 8]);
        message.extend(body);
        send(&self.socket, &message, SendFlags::empty())?;
        let mut answer = vec![0; 8192];
        let (_, length) = recv(&self.socket, answer.as_mut_slice(), RecvFlags::empty())?;
        answer.truncate(length);
        let is_error = answer.get(4..6) == Some(ERROR.to_ne_bytes().as_slice());
        let code = answer.get(HEADER_BYTES..HEADER_BYTES + 4);
        match code.and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes) {
            Some(0) if is_error => Ok(()),
            Some(code) if is_error => Err(io::Error::from_raw_os_error(-code)),
            Some(_) | None => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// The fixed part of a message about a link; index 0 is a link that is not there yet.
fn link(index: u32, flags: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(index.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    // Which flags to change.
    bytes.extend(flags.to_ne_bytes());
    bytes
}

fn label(name: &str) -> Vec<u8> {
    attribute(LINK_NAME, &[name.as_bytes(), b"\0"].concat())
}

/// An attribute, padded to the next multiple of four.
fn attribute(kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + data.len()).expect("our attributes are short");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::{attribute, label, link};

    #[test]
    fn attributes_are_padded_but_not_counted_so() {
        assert_eq!(
            label("lo"),
            [&7_u16.to_ne_bytes()[..], &3_u16.to_ne_bytes(), b"lo\0\0"].concat()
        );
        assert_eq!(attribute(1, &[9; 4]).len(), 8);
        assert_eq!(link(3, 1).len(), 16);
    }
}
