//! How many connections of users to nodes are open, in each private network.

use std::collections::BTreeMap;

use tokio::sync::watch;

use crate::yagna::NetworkId;

/// Open connections by network; networks without one are left out. A clone counts the same ones.
#[derive(Clone, Debug, Default)]
pub struct Connections(watch::Sender<BTreeMap<NetworkId, u32>>);

/// One connection, counted until it is dropped.
#[derive(Debug)]
pub struct Counted {
    of: Connections,
    network: NetworkId,
}

impl Connections {
    /// Counts a connection that has begun.
    #[must_use]
    pub fn begin(&self, network: NetworkId) -> Counted {
        self.0.send_modify(|open| *open.entry(network.clone()).or_default() += 1);
        Counted { of: self.clone(), network }
    }

    /// The numbers, and each change of them.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<BTreeMap<NetworkId, u32>> {
        self.0.subscribe()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.of.0.send_modify(|open| {
            if let Some(count) = open.get_mut(&self.network) {
                *count = count.saturating_sub(1);
            }
            open.retain(|_, count| *count > 0);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::Connections;
    use crate::yagna::NetworkId;

    #[test]
    fn connections_are_counted_as_long_as_they_are_open() {
        let connections = Connections::default();
        let seen = connections.changes();
        let network = |name: &str| NetworkId::from(name);

        let first = connections.begin(network("a"));
        let _second = connections.begin(network("a"));
        let other = connections.begin(network("b"));
        assert_eq!(*seen.borrow(), [(network("a"), 2), (network("b"), 1)].into());

        drop(first);
        drop(other);
        assert_eq!(*seen.borrow(), [(network("a"), 1)].into());
    }
}
