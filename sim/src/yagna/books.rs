//! The daemon's books, and the network's: what really happened, for an auditor to look at.
//!
//! Nothing here is ever told to the machine. All instants are those of the daemon.

use std::net::IpAddr;

use ray_on_golem::{
    units::{Glm, Timestamp},
    yagna::{
        ActivityId, AgreementId, AgreementState, AllocationId, BatchId, DebitNote, Invoice,
        Network, NetworkPath, PlatformId, ProposalId, ProviderId, SessionId, prefix,
    },
};

use crate::provider::deal;

/// One agreement there ever was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgreementBook {
    /// Its id.
    pub id: AgreementId,
    /// The other side.
    pub provider: ProviderId,
    /// The draft that it was made of.
    pub proposal: ProposalId,
    /// The session that it was confirmed with.
    pub session: Option<SessionId>,
    /// Until when the provider may approve it.
    pub valid_to: Timestamp,
    /// When we made it.
    pub created: Timestamp,
    /// When it was sent to the provider.
    pub confirmed: Option<Timestamp>,
    /// When the provider approved it.
    pub approved: Option<Timestamp>,
    /// When it was over, however it ended.
    pub ended: Option<Timestamp>,
    /// Whether its provider ended it.
    pub ended_by_provider: bool,
    /// Whether its provider is gone for good: nobody can be told that it is over.
    pub is_provider_gone: bool,
    /// Whether the daemon has thrown it away: too much time has passed since it could be approved.
    pub is_forgotten: bool,
    /// Where it stands.
    pub state: AgreementState,
    /// CPU threads of the node.
    pub threads: u32,
    /// Prices agreed on, in attoGLM: for starting, for a second of a busy CPU thread, and for a
    /// second of the node.
    pub start: Glm,
    /// See `start`.
    pub cpu_second: Glm,
    /// See `start`.
    pub env_second: Glm,
}

/// One activity there ever was at a provider, whether our daemon knows of it or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivityBook {
    /// Its id.
    pub id: ActivityId,
    /// The agreement that it runs under.
    pub agreement: AgreementId,
    /// When the provider created it.
    pub created: Timestamp,
    /// When it ended at the provider, and stopped costing.
    pub ended: Option<Timestamp>,
    /// Since when it hangs, if it does: it does nothing, and costs.
    pub hung: Option<Timestamp>,
    /// Whether commands can run in it now.
    pub is_ready: bool,
    /// Batches that it was given, in order.
    pub batches: Vec<BatchId>,
    /// How often the bootstrap script ran to its end.
    pub bootstraps: u32,
    /// Whether our daemon knows of it: it was there when the provider's answer came.
    pub is_known: bool,
    /// What it costs to start, at the agreed price.
    pub start: Glm,
    /// What it really costs in a second, at the agreed prices and as busy as it is.
    pub per_second: Glm,
}

impl ActivityBook {
    /// Since when nothing works in it any more.
    #[must_use]
    pub fn stopped(&self) -> Option<Timestamp> {
        self.ended.into_iter().chain(self.hung).min()
    }

    /// What it has really cost until `now`, or until it ended, at the agreed prices, start included.
    #[must_use]
    pub fn cost(&self, now: Timestamp) -> Glm {
        let until = self.ended.unwrap_or(now).min(now);
        deal::cost(self.start, self.per_second, self.created, until)
    }
}

/// One private network there ever was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkBook {
    /// What the daemon tells of it.
    pub network: Network,
    /// Who carries its frames; one over the bus is ours, and does not end with the daemon.
    pub path: NetworkPath,
    /// When it was made.
    pub created: Timestamp,
    /// The first of its addresses.
    pub address: IpAddr,
    /// How many bits its addresses share.
    pub prefix: u8,
    /// Its members now, or when it was removed.
    pub nodes: Vec<(IpAddr, ProviderId)>,
    /// When it was removed, or lost with the daemon.
    pub removed: Option<Timestamp>,
    /// Whether it was lost because the daemon ended.
    pub is_lost: bool,
}

impl NetworkBook {
    /// Whether an address is one of this network's.
    #[must_use]
    pub fn holds(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.address.is_ipv4() && prefix::first(ip, self.prefix) == self.address
    }

    /// Our own address in it.
    #[must_use]
    pub fn own(&self) -> IpAddr {
        prefix::first_host(self.address, self.prefix)
    }
}

/// One debit note that reached our daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteBook {
    /// What the daemon tells of it.
    pub note: DebitNote,
    /// When it reached our daemon.
    pub received: Timestamp,
    /// When it was accepted, and from which allocation.
    pub accepted: Option<(Timestamp, AllocationId)>,
    /// What its acceptance took from the allocation.
    pub taken: Glm,
}

/// One invoice that reached our daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvoiceBook {
    /// What the daemon tells of it.
    pub invoice: Invoice,
    /// When it reached our daemon.
    pub received: Timestamp,
    /// When it was accepted, and from which allocation.
    pub accepted: Option<(Timestamp, AllocationId)>,
    /// When we refused it.
    pub rejected: Option<Timestamp>,
    /// What its acceptance took from the allocation.
    pub taken: Glm,
}

/// One payment that left the wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentBook {
    /// When.
    pub at: Timestamp,
    /// To whom.
    pub payee: ProviderId,
    /// Under which agreement.
    pub agreement: AgreementId,
    /// How much.
    pub amount: Glm,
}

/// Payments that were ordered together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderBook {
    /// When.
    pub created: Timestamp,
    /// On which platform.
    pub platform: PlatformId,
    /// One for each agreement.
    pub items: Vec<OrderItem>,
}

/// A payment that was ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderItem {
    /// To whom.
    pub payee: ProviderId,
    /// Under which agreement.
    pub agreement: AgreementId,
    /// How much.
    pub amount: Glm,
    /// Which payment it was, once it left the wallet.
    pub payment: Option<usize>,
}

/// Whether a node answers on its ssh port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SshAnswer {
    /// It does.
    Up,
    /// It says that nobody listens.
    Refused,
    /// Nothing comes back: no such node, no such network, or a link that swallows everything.
    Silent,
}
