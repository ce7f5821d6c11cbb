//! Addresses of this machine's loopback for nodes that have no network of their own.
//!
//! All of 127.0.0.0/8 leads to this machine, and everybody may listen on any address of it. A simulator takes
//! 127.N.0.0/16 for itself, for an N that no other simulator has, and gives each private network one of its 256 parts.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener},
    },
    sync::atomic::{AtomicU8, Ordering},
};

use super::SSH_PORT;

/// Where nodes' ssh servers listen, in the order of preference. Low ports are not for everybody, and whoever listens on
/// all addresses of the machine has the port on these, too.
const SSH_PORTS: [u16; 4] = [SSH_PORT, 2222, 22022, 52222];
/// The prefix of a network.
pub(super) const PREFIX: u8 = 24;
const SIMULATORS: u8 = 254;

/// The addresses of one simulator; no other simulator has them until it is dropped, or its process ends.
#[derive(Debug)]
pub(super) struct Loopback {
    second: u8,
    ssh_port: u16,
    networks: AtomicU8,
    /// A name that one process of the machine can have; no file goes with it.
    _mark: UnixListener,
}

impl Loopback {
    /// Takes addresses that no simulator has.
    ///
    /// # Errors
    ///
    /// If all are taken, or this machine has no loopback.
    pub(super) fn take() -> io::Result<Self> {
        let first = rand::random::<u8>() % SIMULATORS;
        for nth in 0..SIMULATORS {
            let second = (first + nth) % SIMULATORS + 1;
            let name = SocketAddr::from_abstract_name(format!("golem-sim-127.{second}"))?;
            match UnixListener::bind_addr(&name) {
                Ok(mark) => {
                    let ssh_port = free_port(Ipv4Addr::new(127, second, 0, 1))?;
                    return Ok(Self { second, ssh_port, networks: AtomicU8::new(0), _mark: mark });
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("other simulators have all loopback addresses"))
    }

    /// The address of another network of nodes. There are 256, and then the first comes again.
    pub(super) fn network(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, self.second, self.networks.fetch_add(1, Ordering::Relaxed), 0)
    }

    /// The port of nodes' ssh servers.
    pub(super) const fn ssh_port(&self) -> u16 {
        self.ssh_port
    }
}

/// Whether a node may have an address; those of an earlier simulator are good, too.
pub(super) fn may_have(address: Ipv4Addr) -> bool {
    address.is_loopback() && !address.octets().starts_with(&[127, 0])
}

/// A port that can be had at an address.
fn free_port(address: Ipv4Addr) -> io::Result<u16> {
    let can = |port: &u16| TcpListener::bind((address, *port)).is_ok();
    match SSH_PORTS.iter().find(|port| can(port)) {
        Some(port) => Ok(*port),
        None => Ok(TcpListener::bind((address, 0))?.local_addr()?.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Loopback, may_have};

    #[test]
    fn no_two_simulators_have_the_same_addresses() {
        let all: Vec<Loopback> = (0..20).map(|_| Loopback::take().expect("there is one")).collect();

        for (nth, one) in all.iter().enumerate() {
            let (first, second) = (one.network(), one.network());
            assert_ne!(first, second);
            assert!(may_have(first) && may_have(second));
            assert!(all[..nth].iter().all(|other| other.second != one.second));
        }
    }
}
