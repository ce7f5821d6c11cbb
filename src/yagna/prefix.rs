//! Addresses of a private network: they begin alike. The daemon has networks of both families; ours are of IPv4.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The mask of a prefix of this length, in the family of `ip`. One that is too long is as long as an address.
#[must_use]
pub fn mask(ip: IpAddr, length: u8) -> IpAddr {
    let length = u32::from(length);
    match ip {
        IpAddr::V4(_) => {
            let rest = Ipv4Addr::BITS.saturating_sub(length);
            Ipv4Addr::from_bits(u32::MAX.checked_shl(rest).unwrap_or(0)).into()
        }
        IpAddr::V6(_) => {
            let rest = Ipv6Addr::BITS.saturating_sub(length);
            Ipv6Addr::from_bits(u128::MAX.checked_shl(rest).unwrap_or(0)).into()
        }
    }
}

/// The first address that begins with the same `length` bits as `ip`: the network's own.
#[must_use]
pub fn first(ip: IpAddr, length: u8) -> IpAddr {
    match (ip, mask(ip, length)) {
        (IpAddr::V4(ip), IpAddr::V4(mask)) => (ip & mask).into(),
        (IpAddr::V6(ip), IpAddr::V6(mask)) => (ip & mask).into(),
        (IpAddr::V4(_) | IpAddr::V6(_), _) => unreachable!("a mask is of its address's family"),
    }
}

/// The first address that a machine may have, which the daemon gives itself, and takes for the gateway if it is named
/// none. The network's own is left out where IPv4 has room for that, and never in IPv6.
#[must_use]
pub fn first_host(ip: IpAddr, length: u8) -> IpAddr {
    match first(ip, length) {
        IpAddr::V4(first) if length < 31 => {
            Ipv4Addr::from_bits(first.to_bits().saturating_add(1)).into()
        }
        first @ (IpAddr::V4(_) | IpAddr::V6(_)) => first,
    }
}

/// How many bits an address of this family has.
#[must_use]
pub const fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{first, first_host, mask};

    #[test]
    fn a_mask_has_as_many_ones_as_its_prefix_is_long() {
        for (ip, length, wanted_mask, wanted_first) in [
            ("10.2.3.4", 16, "255.255.0.0", "10.2.0.0"),
            ("10.2.3.4", 0, "0.0.0.0", "0.0.0.0"),
            ("10.2.3.4", 32, "255.255.255.255", "10.2.3.4"),
            ("10.2.3.4", 200, "255.255.255.255", "10.2.3.4"),
            ("fd00::1:2", 64, "ffff:ffff:ffff:ffff::", "fd00::"),
            ("fd00::1:2", 0, "::", "::"),
            ("fd00::1:2", 128, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fd00::1:2"),
        ] {
            let ip: IpAddr = ip.parse().expect("an address");

            assert_eq!(mask(ip, length).to_string(), wanted_mask, "{ip}/{length}");
            assert_eq!(first(ip, length).to_string(), wanted_first, "{ip}/{length}");
        }
    }

    #[test]
    fn small_networks_and_those_of_ipv6_begin_with_a_host() {
        for (ip, length, wanted) in [
            ("192.168.29.6", 30, "192.168.29.5"),
            ("192.168.29.5", 31, "192.168.29.4"),
            ("192.168.29.4", 32, "192.168.29.4"),
            ("10.0.0.1", 0, "0.0.0.1"),
            ("fd00::7", 64, "fd00::"),
            ("fd00::7", 127, "fd00::6"),
        ] {
            let ip: IpAddr = ip.parse().expect("an address");

            assert_eq!(first_host(ip, length).to_string(), wanted, "{ip}/{length}");
        }
    }
}
