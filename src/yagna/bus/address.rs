//! Where the bus is.

use std::{fmt, path::PathBuf, str::FromStr};

use thiserror::Error;

/// Where daemons listen that are not told otherwise.
const DEFAULT: &str = "unix:/tmp/yagna.sock";

/// The port of an address of TCP that names none.
const DEFAULT_PORT: u16 = 7464;

/// Where a daemon's bus is, as `GSB_URL` says it: `unix:PATH`, or `tcp://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusAddress {
    /// A socket of this machine.
    Unix(PathBuf),
    /// A host and a port.
    Tcp(String, u16),
}

/// Text that is no address of a bus.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is no address of the daemon's bus; write `unix:PATH` or `tcp://HOST:PORT`")]
pub struct BadBusAddress(String);

impl Default for BusAddress {
    fn default() -> Self {
        DEFAULT.parse().expect("the default is an address")
    }
}

impl FromStr for BusAddress {
    type Err = BadBusAddress;

    fn from_str(text: &str) -> Result<Self, BadBusAddress> {
        let bad = || BadBusAddress(text.to_owned());
        let (scheme, rest) = text.trim().split_once(':').ok_or_else(bad)?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        match scheme {
            "unix" if !rest.is_empty() => Ok(Self::Unix(rest.into())),
            "tcp" => {
                let rest = rest.trim_end_matches('/');
                let (host, port) = match rest.rsplit_once(':') {
                    Some((host, port)) => (host, port.parse().map_err(|_| bad())?),
                    None => (rest, DEFAULT_PORT),
                };
                if host.is_empty() { Err(bad()) } else { Ok(Self::Tcp(host.to_owned(), port)) }
            }
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for BusAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(host, port) => write!(f, "tcp://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::BusAddress;

    #[test]
    fn an_address_is_a_socket_or_a_host() {
        let read = |text: &str| text.parse::<BusAddress>().map_err(|error| error.to_string());
        let host = |port| Ok(BusAddress::Tcp("127.0.0.1".to_owned(), port));

        assert_eq!(read("unix:/a b/y.sock"), Ok(BusAddress::Unix("/a b/y.sock".into())));
        assert_eq!(read("unix:///y.sock"), Ok(BusAddress::Unix("/y.sock".into())));
        assert_eq!(read("tcp://127.0.0.1:7000"), host(7000));
        assert_eq!(read("tcp://127.0.0.1"), host(7464));
        for text in ["", "unix:", "tcp://", "tcp://:1", "tcp://h:x", "http://h:1", "/y.sock"] {
            assert!(read(text).is_err_and(|why| why.contains("write `unix:PATH`")), "{text}");
        }
        assert_eq!(BusAddress::default().to_string(), "unix:/tmp/yagna.sock");
    }
}
