//! What a run came to in numbers: how soon nodes were ready, how long, and what they cost.
//!
//! Whoever asks for nodes says when they were asked for, up, and given back. Everything else is read from
//! the network's books: a node is ready while its requestor takes it for up *and* its activity works at
//! its provider, and money is what was really accepted. So requestors of any kind are measured alike, and
//! who does not notice a loss gains nothing by it.

use std::collections::{BTreeMap, BTreeSet};

use ray_on_golem::{
    units::{Glm, Span, Timestamp},
    yagna::AgreementId,
};

use crate::yagna::SimYagna;

/// What a run came to in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measures {
    /// The most nodes that were wanted at once.
    pub wanted: u32,
    /// How long after the first request so many nodes were ready at once: the first entry is for one
    /// node, the last one for the most that there ever were.
    pub ready: Vec<Span>,
    /// How long nodes were ready, together.
    pub node_time: Span,
    /// The same for each of their CPU threads.
    pub cpu_time: Span,
    /// How many nodes were ever up.
    pub nodes: u64,
    /// How many agreements were sent to providers.
    pub agreements: u64,
    /// What was accepted of all bills.
    pub spent: Glm,
    /// How much of it went to agreements whose node was never up.
    pub wasted: Glm,
}

/// A node by its cluster and its number there; neither is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeKey {
    /// The cluster.
    pub cluster: u64,
    /// The node.
    pub node: u64,
}

/// Takes down what becomes of nodes.
#[derive(Debug, Default)]
pub struct Meter {
    /// When the first node was asked for.
    began: Option<Timestamp>,
    lives: BTreeMap<NodeKey, Life>,
    /// Nodes that are wanted now.
    wanted: BTreeSet<NodeKey>,
    most_wanted: u32,
    agreements: u64,
}

#[derive(Debug, Default)]
struct Life {
    /// The latest agreement that it was to run under.
    agreement: Option<AgreementId>,
    up: Option<Timestamp>,
    down: Option<Timestamp>,
}

/// A node that was up, as the books have it.
struct Stay {
    since: Timestamp,
    until: Timestamp,
    threads: u64,
}

impl Meter {
    /// A node is asked for.
    pub fn requested(&mut self, now: Timestamp, node: NodeKey) {
        self.began.get_or_insert(now);
        self.lives.insert(node, Life::default());
        self.wanted.insert(node);
        let wanted = u32::try_from(self.wanted.len()).unwrap_or(u32::MAX);
        self.most_wanted = self.most_wanted.max(wanted);
    }

    /// An agreement is sent to a provider.
    pub const fn signing(&mut self) {
        self.agreements += 1;
    }

    /// A node is to run under this agreement.
    pub fn placed(&mut self, node: NodeKey, agreement: &AgreementId) {
        if let Some(life) = self.lives.get_mut(&node) {
            life.agreement = Some(agreement.clone());
        }
    }

    /// A node is up, its requestor says.
    pub fn up(&mut self, now: Timestamp, node: NodeKey) {
        if let Some(life) = self.lives.get_mut(&node) {
            life.up.get_or_insert(now);
        }
    }

    /// A node is not up, or not wanted, any more.
    pub fn down(&mut self, now: Timestamp, node: NodeKey) {
        self.wanted.remove(&node);
        if let Some(life) = self.lives.get_mut(&node) {
            life.down.get_or_insert(now);
        }
    }

    /// What the run came to, now that it is over.
    #[must_use]
    pub fn read(&self, now: Timestamp, daemon: &SimYagna) -> Measures {
        let stays = self.stays(now, daemon);
        let lasted = |stay: &Stay| stay.until.since(stay.since);
        let good: BTreeSet<&AgreementId> = self
            .lives
            .values()
            .filter(|life| life.up.is_some())
            .filter_map(|life| life.agreement.as_ref())
            .collect();
        let notes = daemon.notes().iter().map(|book| (&book.note.agreement, book.taken));
        let invoices = daemon.invoices().iter().map(|book| (&book.invoice.agreement, book.taken));
        let taken: Vec<(&AgreementId, Glm)> = notes.chain(invoices).collect();
        let wasted = taken.iter().filter(|(agreement, _)| !good.contains(agreement));
        Measures {
            wanted: self.most_wanted,
            ready: self.began.map_or_else(Vec::new, |began| first_times(began, &stays)),
            node_time: stays.iter().map(lasted).fold(Span::ZERO, Span::plus),
            cpu_time: stays
                .iter()
                .map(|stay| lasted(stay).times(stay.threads))
                .fold(Span::ZERO, Span::plus),
            nodes: stays.len() as u64,
            agreements: self.agreements,
            spent: taken.iter().map(|(_, taken)| *taken).fold(Glm::ZERO, Glm::plus),
            wasted: wasted.map(|(_, taken)| *taken).fold(Glm::ZERO, Glm::plus),
        }
    }

    fn stays(&self, now: Timestamp, daemon: &SimYagna) -> Vec<Stay> {
        let threads: BTreeMap<&AgreementId, u32> =
            daemon.agreements().iter().map(|book| (&book.id, book.threads)).collect();
        let stopped: BTreeMap<&AgreementId, Timestamp> = daemon
            .activities()
            .iter()
            .filter_map(|book| Some((&book.agreement, book.stopped()?)))
            .collect();
        let stays = self.lives.values().filter_map(|life| {
            let since = life.up?;
            let agreement = life.agreement.as_ref();
            let noticed = life.down.unwrap_or(now);
            let stopped = agreement.and_then(|it| stopped.get(it)).copied();
            let threads = agreement.and_then(|it| threads.get(it)).copied();
            let until = stopped.unwrap_or(noticed).min(noticed);
            (since < until).then(|| Stay { since, until, threads: threads.unwrap_or(1).into() })
        });
        stays.collect()
    }
}

/// For each number of nodes, how soon so many were ready at once.
fn first_times(began: Timestamp, stays: &[Stay]) -> Vec<Span> {
    // Of what happens at one instant, ends come first.
    let ends = stays.iter().map(|stay| (stay.until, false));
    let begins = stays.iter().map(|stay| (stay.since, true));
    let mut changes: Vec<(Timestamp, bool)> = ends.chain(begins).collect();
    changes.sort_unstable();
    let (mut ready, mut first) = (0_usize, Vec::new());
    for (at, begins) in changes {
        if !begins {
            ready = ready.saturating_sub(1);
            continue;
        }
        ready += 1;
        if ready > first.len() {
            first.push(at.since(began));
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use ray_on_golem::units::{Span, Timestamp};

    use super::{Stay, first_times};

    fn at(secs: u64) -> Timestamp {
        Timestamp::EPOCH.plus(Span::secs(secs))
    }

    fn first(stays: &[(u64, u64)]) -> Vec<u64> {
        let stays = stays.iter().map(|(since, until)| Stay {
            since: at(*since),
            until: at(*until),
            threads: 1,
        });
        let times = first_times(at(10), &stays.collect::<Vec<_>>());
        times.into_iter().map(Span::as_secs).collect()
    }

    #[test]
    fn nodes_count_while_they_are_ready_at_once() {
        assert_eq!(first(&[(20, 90), (30, 90), (40, 90)]), [10, 20, 30]);
        assert_eq!(first(&[(20, 30), (30, 40), (35, 90)]), [10, 25]);
        assert_eq!(first(&[]), [0_u64; 0]);
    }
}
