//! Private networks. They live in the daemon's memory only.

use std::net::{IpAddr, Ipv4Addr};

use ray_on_golem::{
    units::Timestamp,
    yagna::{Network, NetworkId, NetworkPath, ProviderId, Response, Status, prefix},
};

use super::{
    Refusal, Reply,
    books::NetworkBook,
    ids::{Ids, place},
    refuse,
};
use crate::scenario::Bus;

/// All private networks there ever were.
#[derive(Debug)]
pub(super) struct Networks {
    pub(super) books: Vec<NetworkBook>,
    /// What becomes of networks over the bus.
    pub(super) bus: Bus,
}

impl Networks {
    pub(super) fn create(
        &mut self,
        now: Timestamp,
        ids: Ids,
        path: NetworkPath,
        (ip, prefix): (IpAddr, u8),
        gateway: IpAddr,
    ) -> Reply {
        if (path, self.bus) == (NetworkPath::Bus, Bus::Absent) {
            return Err(refuse(404, "the daemon's bus cannot be reached"));
        }
        if prefix > prefix::bits(ip) {
            return Err(refuse(400, "Invalid IP address: invalid IP address syntax"));
        }
        let network = Network {
            id: ids.network(self.books.len()),
            ip: format!("{ip}/{prefix}"),
            mask: prefix::mask(ip, prefix),
            gateway,
        };
        let book = NetworkBook {
            network: network.clone(),
            path,
            created: now,
            address: prefix::first(ip, prefix),
            prefix,
            nodes: Vec::new(),
            removed: None,
            is_lost: false,
        };
        self.books.push(book);
        Ok(Response::NetworkCreated(network))
    }

    pub(super) fn list(&self) -> Reply {
        let live = self.books.iter().filter(|book| book.removed.is_none());
        Ok(Response::Networks(live.map(|book| book.network.clone()).collect()))
    }

    pub(super) fn remove(&mut self, now: Timestamp, id: &NetworkId) -> Reply {
        self.live_mut(id)?.removed = Some(now);
        Ok(Response::NetworkRemoved)
    }

    /// Adds a node; one that is there already, or an address that is taken, is passed over.
    pub(super) fn add_node(&mut self, id: &NetworkId, provider: &ProviderId, ip: IpAddr) -> Reply {
        let book = self.live_mut(id)?;
        if !book.holds(ip) {
            return Err(refuse(400, &format!("Invalid network IP address: {ip}")));
        }
        if !book.nodes.iter().any(|(taken, _)| *taken == ip) {
            book.nodes.push((ip, provider.clone()));
        }
        Ok(Response::NodeAdded)
    }

    pub(super) fn remove_node(&mut self, id: &NetworkId, provider: &ProviderId) -> Reply {
        self.live_mut(id)?.nodes.retain(|(_, member)| member != provider);
        Ok(Response::NodeRemoved)
    }

    /// Who is at an address of a network that there is.
    pub(super) fn member(&self, id: &NetworkId, ip: Ipv4Addr) -> Option<&ProviderId> {
        let book = &self.books[self.live(id)?];
        if (book.path, self.bus) == (NetworkPath::Bus, Bus::Deaf) {
            return None;
        }
        book.nodes.iter().find(|(address, _)| *address == ip).map(|(_, member)| member)
    }

    /// The daemon ends, and all networks that are its own.
    pub(super) fn forget(&mut self, now: Timestamp) {
        let is_own = |book: &NetworkBook| book.path.is_daemon() && book.removed.is_none();
        for book in self.books.iter_mut().filter(|book| is_own(book)) {
            book.removed = Some(now);
            book.is_lost = true;
        }
    }

    /// What is said of a network that is not there: an identity that has another one of the daemon's may not use it.
    pub(super) fn missing(&self, id: &str) -> Refusal {
        let is_ours = |book: &NetworkBook| !book.path.is_daemon() && book.network.id.as_str() == id;
        let is_left = |book: &NetworkBook| book.path.is_daemon() && book.removed.is_none();
        if self.books.iter().any(is_left) && !self.books.iter().any(is_ours) {
            return Refusal { status: Status(403), body: String::new() };
        }
        refuse(404, "Network not found")
    }

    fn live(&self, id: &NetworkId) -> Option<usize> {
        let number = place(&self.books, id.as_str(), 16, |book| book.network.id.as_str())?;
        self.books[number].removed.is_none().then_some(number)
    }

    fn live_mut(&mut self, id: &NetworkId) -> Result<&mut NetworkBook, Refusal> {
        match self.live(id) {
            Some(number) => Ok(&mut self.books[number]),
            None => Err(self.missing(id.as_str())),
        }
    }
}
