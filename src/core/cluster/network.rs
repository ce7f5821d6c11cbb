//! The private network of a cluster: one, with addresses that are used again (L6, L10).
//!
//! The daemon keeps networks in memory only. It names them itself, so the gateway that we ask for is
//! the mark by which ours is found again.

use std::{collections::BTreeSet, net::Ipv4Addr};

use super::{
    Cluster, ClusterCall, ClusterTimer,
    account::Account,
    plan::Subnet,
    record::{ClusterRecord, NetworkFact},
    state,
};
use crate::{
    core::{backoff::Backoff, effects::Effects, ids::AgreementNo, planted::Bug},
    units::{Span, Timestamp},
    yagna::{CallError, Network, NetworkId, NetworkPath, ProviderId, Request, Response},
};

/// Marks are above the addresses of nodes of the usual network, from 192.168.192.1.
const FIRST_MARK: u32 = 0xc0a8_c001;
const MARKS_MAX: u32 = 0x3f00;

const PATIENCE: Span = Span::secs(10);
/// Between two attempts to take somebody out.
const LEAVE_PAUSE: Span = Span::secs(15);
/// What we sent may still reach the daemon for so long.
const DOUBT: Span = Span::secs(15);
const NO_NETWORK: &str = "The private network is lost since the daemon restarted; new nodes start when \
    all that were in it have ended";
/// A node that is not reached over the bus in the time of its step speaks against the bus.
const UNREACHED: &str = "No node can be reached over the daemon's bus: the cluster begins again by the \
    daemon's own network";
const NOT_REMOVED: &str =
    "The daemon does not remove the private network: it lasts until the daemon ends";
/// After so many failures in a row a network that the daemon does not remove is left to it.
const REMOVE_TRIES: u32 = 8;
const SUSPICION_PAUSE: Span = Span::secs(30);

/// What the calls about the network are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum NetworkCall {
    Create,
    /// Is what we asked for there?
    Find,
    /// Is ours still there? It is the how-manyth that this process made: an answer about the one before it says nothing.
    Check {
        nth: u32,
    },
    Remove,
    /// Its removal is refused: is it there, by this id or by another one?
    Trace,
    /// Take out the provider of an agreement that is over.
    Leave(AgreementNo),
}

impl NetworkCall {
    /// Whether it may go on beside others.
    const fn is_aside(self) -> bool {
        matches!(self, Self::Check { .. } | Self::Leave(_))
    }
}

/// The work on the network.
#[derive(Debug, Default)]
pub(super) struct Work {
    is_busy: bool,
    failures: u32,
    /// What the daemon said when the network could not be made last.
    pub(super) trouble: Option<String>,
    checked_at: Option<Timestamp>,
    /// How many networks this process has made.
    made: u32,
    is_unwanted: bool,
    /// The bus was refused: the next one is the daemon's.
    is_bus_refused: bool,
    /// Who is being taken out.
    parting: BTreeSet<AgreementNo>,
}

/// The lowest address that nobody has.
pub(super) fn free_address(subnet: Subnet, taken: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    subnet.of_nodes().find(|address| !taken.contains(address))
}

/// A gateway that no cluster has, or one would find the other's network: the drawn one, or the next
/// that is free.
fn free_mark(drawn: u32, taken: &BTreeSet<Ipv4Addr>) -> Ipv4Addr {
    let mark = |nth: u32| Ipv4Addr::from(FIRST_MARK + drawn.wrapping_add(nth) % MARKS_MAX);
    (0..MARKS_MAX).map(mark).find(|mark| !taken.contains(mark)).unwrap_or_else(|| mark(0))
}

impl Cluster {
    /// The network, if it can be used.
    pub(super) fn network(&self, fx: &Effects) -> Option<NetworkId> {
        match &fx.cluster(self.id).network {
            state::Network::Made { network, path, .. } if self.is_usable(fx, *path) => {
                Some(network.clone())
            }
            state::Network::Made { .. }
            | state::Network::None
            | state::Network::Intended { .. }
            | state::Network::Lost { .. } => None,
        }
    }

    /// Whether a network of ours may be used whose frames go this way.
    fn is_usable(&self, fx: &Effects, path: NetworkPath) -> bool {
        let is_settled_otherwise = fx.cluster(self.id).path.is_some_and(|settled| settled != path);
        !self.net.is_unwanted && !is_settled_otherwise
    }

    /// No node is left in the network. The end of an agreement is not waited for: a provider that has vanished never
    /// confirms it.
    fn is_deserted(&self, fx: &Effects) -> bool {
        let mut accounts = fx.cluster(self.id).accounts.values();
        accounts.all(|it| it.over.is_some() || it.closing.is_some())
    }

    /// A node was reached: the cluster keeps to this way.
    pub(super) fn settle_path(&self, fx: &mut Effects) {
        let state = fx.cluster(self.id);
        if let state::Network::Made { path, .. } = state.network
            && state.path != Some(path)
        {
            self.note_network(fx, NetworkFact::Settled(path));
        }
    }

    /// A node was not reached in time. If none ever was, and the user leaves the way to us, the bus is to
    /// blame, and the cluster begins again by the daemon, once; says whether it does.
    pub(super) fn doubt_bus(&mut self, fx: &mut Effects) -> bool {
        let state = fx.cluster(self.id);
        let is_bus = matches!(state.network, state::Network::Made { path: NetworkPath::Bus, .. });
        let is_open = state.path.is_none() && state.plan.network_path.is_none();
        if !is_bus || !is_open || fx.planted(Bug::BusTrusted) {
            return false;
        }
        self.note_network(fx, NetworkFact::Settled(NetworkPath::Daemon));
        self.warn(fx, UNREACHED.to_owned());
        true
    }

    /// The way that the next network's frames go.
    fn next_path(&self, fx: &Effects) -> NetworkPath {
        let state = fx.cluster(self.id);
        let found = if self.net.is_bus_refused { NetworkPath::Daemon } else { NetworkPath::Bus };
        let settled = state.path.filter(|_| !fx.planted(Bug::PathMixed));
        state.plan.network_path.or(settled).unwrap_or(found)
    }

    /// Makes a network when it is needed.
    pub(super) fn tend_network(&mut self, fx: &mut Effects) {
        let state = fx.cluster(self.id);
        if self.net.is_unwanted || self.net.is_busy || self.waiting.is_empty() {
            return;
        }
        let is_settled = fx.timers.due(&self.timer(ClusterTimer::Network)).is_none();
        match &state.network {
            state::Network::None if is_settled => self.create_network(fx),
            state::Network::Lost { .. } if self.is_deserted(fx) => {
                self.note_network(fx, NetworkFact::Ended);
                self.create_network(fx);
            }
            state::Network::Lost { .. } => self.tell_of_lost_network(fx),
            // Another network takes its place.
            state::Network::Made { path, .. }
                if is_settled && !self.is_usable(fx, *path) && self.is_deserted(fx) =>
            {
                self.ask_network(fx, NetworkCall::Remove);
            }
            state::Network::None
            | state::Network::Intended { .. }
            | state::Network::Made { .. } => {}
        }
    }

    /// Takes out whoever has no node any more. Until the daemon says that somebody is out, nobody else
    /// gets the address: the daemon would say yes, and leave it to the one who has it.
    pub(super) fn tend_members(&mut self, fx: &mut Effects) {
        let waits = fx.timers.due(&self.timer(ClusterTimer::Leave)).is_some();
        let state = fx.cluster(self.id);
        // Also from a network that is to be replaced: a cluster that ends in the meantime replaces none.
        let state::Network::Made { network, .. } = &state.network else { return };
        if waits || self.net.is_unwanted || fx.planted(Bug::MemberKept) {
            return;
        }
        let network = network.clone();
        let leaving = state.network.leaving().filter(|(it, _)| !self.net.parting.contains(it));
        let leaving: Vec<(AgreementNo, ProviderId)> =
            leaving.map(|(number, member)| (number, member.provider.clone())).collect();
        for (number, provider) in leaving {
            let is_back = |it: &Account| it.over.is_none() && it.terms.provider == provider;
            if fx.cluster(self.id).accounts.values().any(is_back) {
                // Only an older journal has such a one; it is out when its next node has ended.
                self.note_network(fx, NetworkFact::Left(number));
                continue;
            }
            self.net.parting.insert(number);
            let request = Request::RemoveNode { network: network.clone(), provider };
            self.ask(fx, ClusterCall::Network(NetworkCall::Leave(number)), request, PATIENCE);
        }
    }

    fn on_left(&mut self, fx: &mut Effects, number: AgreementNo, is_out: bool) {
        self.net.parting.remove(&number);
        if is_out || fx.planted(Bug::MemberForgotten) {
            self.note_network(fx, NetworkFact::Left(number));
        } else {
            self.suspect_network(fx);
            self.wake(fx, ClusterTimer::Leave, fx.now.plus(LEAVE_PAUSE));
        }
    }

    /// Whoever waits for a node reads once why it does not come.
    fn tell_of_lost_network(&self, fx: &mut Effects) {
        for id in &self.waiting {
            let node = fx.cluster(self.id).nodes.get(id);
            if node.is_some_and(|node| !node.log.iter().any(|line| line == NO_NETWORK)) {
                self.log(fx, *id, NO_NETWORK.to_owned());
            }
        }
    }

    /// Goes on with the network after a crash.
    pub(super) fn recover_network(&mut self, fx: &mut Effects) {
        match &fx.cluster(self.id).network {
            state::Network::Intended { .. } => {
                self.wake(fx, ClusterTimer::Network, fx.now.plus(DOUBT));
            }
            state::Network::Made { .. } => {
                // Whom the process before added may still come in: nobody is out for good yet.
                self.wake(fx, ClusterTimer::Leave, fx.now.plus(DOUBT));
                self.check_network(fx);
            }
            state::Network::None | state::Network::Lost { .. } => {}
        }
    }

    /// Removes the network, however long it takes.
    pub(super) fn close_network(&mut self, fx: &mut Effects) {
        self.net.is_unwanted = true;
        match fx.cluster(self.id).network {
            state::Network::None => {}
            state::Network::Lost { .. } => self.note_network(fx, NetworkFact::Ended),
            state::Network::Made { .. } => self.ask_network(fx, NetworkCall::Remove),
            state::Network::Intended { .. } => {
                self.wake(fx, ClusterTimer::Network, fx.now.plus(DOUBT));
            }
        }
    }

    /// Something speaks against the network's being there.
    pub(super) fn suspect_network(&mut self, fx: &mut Effects) {
        let is_due = self.net.checked_at.is_none_or(|at| fx.now.since(at) >= SUSPICION_PAUSE);
        if is_due && self.network(fx).is_some() {
            self.net.checked_at = Some(fx.now);
            self.check_network(fx);
        }
    }

    fn check_network(&mut self, fx: &mut Effects) {
        self.ask_network(fx, NetworkCall::Check { nth: self.net.made });
    }

    pub(super) fn on_network_timer(&mut self, fx: &mut Effects) {
        match fx.cluster(self.id).network {
            state::Network::Intended { .. } => self.ask_network(fx, NetworkCall::Find),
            state::Network::Made { .. } if self.net.is_unwanted => {
                self.ask_network(fx, NetworkCall::Remove);
            }
            state::Network::None | state::Network::Made { .. } | state::Network::Lost { .. } => {
                self.is_dirty = true;
            }
        }
    }

    pub(super) fn on_network_reply(
        &mut self,
        fx: &mut Effects,
        call: NetworkCall,
        result: Result<Response, CallError>,
    ) {
        if !call.is_aside() {
            self.net.is_busy = false;
        }
        self.is_dirty = true;
        if let (NetworkCall::Create | NetworkCall::Find, Err(error)) = (call, &result) {
            self.net.trouble = Some(error.said());
        }
        match (call, result) {
            (NetworkCall::Create, Ok(Response::NetworkCreated(network))) => {
                self.on_made(fx, network.id);
                self.net.failures = 0;
            }
            (NetworkCall::Create, Err(CallError::Rejected { .. } | CallError::NotSent { .. })) => {
                let was_bus = self.next_path(fx) == NetworkPath::Bus;
                let state = fx.cluster(self.id);
                self.net.is_bus_refused =
                    was_bus && state.plan.network_path.is_none() && state.path.is_none();
                self.note_network(fx, NetworkFact::Ended);
                if !self.net.is_bus_refused {
                    self.network_later(fx);
                }
            }
            (NetworkCall::Create, Ok(_) | Err(CallError::Unknown(_))) => {
                self.wake(fx, ClusterTimer::Network, fx.now.plus(DOUBT));
            }
            (NetworkCall::Find, Ok(Response::Networks(found))) => self.on_found(fx, &found),
            (NetworkCall::Check { nth }, Ok(Response::Networks(found))) if nth == self.net.made => {
                self.on_checked(fx, &found);
            }
            (NetworkCall::Check { .. }, _) => {}
            (NetworkCall::Remove, Ok(_)) => self.note_network(fx, NetworkFact::Ended),
            (NetworkCall::Remove, Err(CallError::Rejected { .. }))
                if fx.planted(Bug::RefusalIsEnd) =>
            {
                self.note_network(fx, NetworkFact::Ended);
            }
            (NetworkCall::Remove, Err(CallError::Rejected { .. })) => {
                self.ask_network(fx, NetworkCall::Trace);
            }
            (NetworkCall::Trace, Ok(Response::Networks(found))) => self.on_traced(fx, &found),
            (NetworkCall::Leave(number), result) => self.on_left(fx, number, result.is_ok()),
            (NetworkCall::Find | NetworkCall::Remove | NetworkCall::Trace, _) => {
                self.network_later(fx);
            }
        }
    }

    fn create_network(&mut self, fx: &mut Effects) {
        let cluster = fx.cluster(self.id);
        let nth = u64::from(self.id.0);
        let marks = u64::from(MARKS_MAX);
        let drawn = fx.seed.below(marks, "network", cluster.opened.as_unix_micros(), nth);
        let taken = fx.durable().clusters().values().filter_map(|it| it.network.gateway());
        let gateway = free_mark(u32::try_from(drawn).unwrap_or(0), &taken.collect());
        let path = self.next_path(fx);
        self.note_network(fx, NetworkFact::Intended { gateway, path });
        self.ask_network(fx, NetworkCall::Create);
    }

    fn on_made(&mut self, fx: &mut Effects, network: NetworkId) {
        self.note_network(fx, NetworkFact::Made(network));
        self.net.made = self.net.made.saturating_add(1);
        self.net.trouble = None;
        if self.net.is_unwanted {
            self.ask_network(fx, NetworkCall::Remove);
        }
    }

    fn on_found(&mut self, fx: &mut Effects, found: &[Network]) {
        let state::Network::Intended { .. } = fx.cluster(self.id).network else { return };
        match self.by_mark(fx, found) {
            Some(ours) => self.on_made(fx, ours),
            None => self.note_network(fx, NetworkFact::Ended),
        }
    }

    fn on_checked(&mut self, fx: &mut Effects, found: &[Network]) {
        let Some(ours) = self.network(fx) else { return };
        if found.iter().any(|network| network.id == ours) {
            return;
        }
        if let Some(known) = self.by_mark(fx, found) {
            self.note_network(fx, NetworkFact::Made(known));
            return;
        }
        self.note_network(fx, NetworkFact::Lost);
        let has_nodes = fx.cluster(self.id).accounts.values().any(|account| account.over.is_none());
        if has_nodes {
            self.warn(
                fx,
                "The daemon restarted and lost the private network: running nodes go on, but they \
                 cannot be reached over ssh, and new ones cannot join them; `ray exec` still runs \
                 commands on them; end the cluster when its work is done"
                    .to_owned(),
            );
        }
    }

    /// The network is to be removed, and the daemon has refused.
    fn on_traced(&mut self, fx: &mut Effects, found: &[Network]) {
        let known = fx.cluster(self.id).network.id().cloned();
        match self.by_mark(fx, found) {
            None => self.note_network(fx, NetworkFact::Ended),
            Some(found) if Some(&found) == known.as_ref() => {
                self.network_later(fx);
                if self.net.failures >= REMOVE_TRIES {
                    self.warn(fx, NOT_REMOVED.to_owned());
                    self.note_network(fx, NetworkFact::Ended);
                }
            }
            Some(found) => {
                self.note_network(fx, NetworkFact::Made(found));
                self.ask_network(fx, NetworkCall::Remove);
            }
        }
    }

    /// Our network in a listing of the daemon's.
    fn by_mark(&self, fx: &Effects, found: &[Network]) -> Option<NetworkId> {
        let gateway = fx.cluster(self.id).network.gateway()?;
        found.iter().find(|network| network.gateway == gateway).map(|network| network.id.clone())
    }

    fn ask_network(&mut self, fx: &mut Effects, call: NetworkCall) {
        let state = fx.cluster(self.id);
        let request = match (call, &state.network) {
            (NetworkCall::Create, state::Network::Intended { gateway, path }) => {
                let Subnet { ip, prefix } = state.plan.network.unwrap_or(Subnet::USUAL);
                Request::CreateNetwork {
                    path: *path,
                    ip: ip.into(),
                    prefix,
                    gateway: (*gateway).into(),
                }
            }
            (NetworkCall::Remove, state::Network::Made { network, .. }) => {
                if fx.planted(Bug::NetworkLeaked) {
                    self.note_network(fx, NetworkFact::Ended);
                    return;
                }
                Request::RemoveNetwork { network: network.clone() }
            }
            (NetworkCall::Find | NetworkCall::Check { .. } | NetworkCall::Trace, _) => {
                Request::ListNetworks
            }
            (NetworkCall::Create | NetworkCall::Remove | NetworkCall::Leave(_), _) => return,
        };
        if !call.is_aside() {
            self.net.is_busy = true;
        }
        self.ask(fx, ClusterCall::Network(call), request, PATIENCE);
    }

    fn network_later(&mut self, fx: &mut Effects) {
        self.net.failures = self.net.failures.saturating_add(1);
        let nth = u64::from(self.id.0);
        let pause = Backoff::DAEMON.pause(self.net.failures, fx.seed, "network", nth);
        self.wake(fx, ClusterTimer::Network, fx.now.plus(pause));
    }

    fn note_network(&self, fx: &mut Effects, fact: NetworkFact) {
        self.record(fx, ClusterRecord::Network(fact));
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net::Ipv4Addr};

    use super::{FIRST_MARK, MARKS_MAX, Subnet, free_address, free_mark};

    #[test]
    fn the_lowest_free_address_is_given_again() {
        let third = Ipv4Addr::new(192, 168, 0, 3);
        let fourth = Ipv4Addr::new(192, 168, 0, 4);

        let free = |taken| free_address(Subnet::USUAL, &taken);
        assert_eq!(free(BTreeSet::new()), Some(third));
        assert_eq!(free(BTreeSet::from([third])), Some(fourth));
        assert_eq!(free(BTreeSet::from([fourth])), Some(third));
        let all = (3..49_152_u32).map(|host| Ipv4Addr::from(0xc0a8_0000 + host)).collect();
        assert_eq!(free(all), None);
    }

    #[test]
    fn no_two_clusters_have_the_same_mark() {
        let mark = |nth| Ipv4Addr::from(FIRST_MARK + nth);
        let last = MARKS_MAX - 1;

        assert_eq!(free_mark(7, &BTreeSet::new()), mark(7));
        assert_eq!(free_mark(7, &BTreeSet::from([mark(7), mark(8)])), mark(9));
        assert_eq!(free_mark(last, &BTreeSet::from([mark(last)])), mark(0));
    }
}
