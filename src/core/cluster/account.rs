//! One agreement: its terms, how far it got, and its books.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::record::AgreementFact;
use crate::{
    core::{
        ids::NodeId,
        market::{price::Price, spec::Gib},
    },
    units::{Glm, Timestamp},
    yagna::{ActivityId, AgreementId, BatchId, InvoiceId, ProviderId},
};

/// With whom, and for how much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The provider.
    pub provider: ProviderId,
    /// The provider's name for itself.
    pub name: String,
    /// The wallet that the provider is paid to.
    pub payee: String,
    /// The prices.
    pub price: Price,
    /// CPU threads.
    pub threads: u32,
    /// Memory.
    pub mem: Gib,
    /// Storage.
    pub storage: Gib,
    /// Seconds to pay a debit note.
    pub payment_timeout: u64,
}

/// One agreement, and its books.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its id.
    pub agreement: AgreementId,
    /// Its node.
    pub node: NodeId,
    /// With whom, and for how much.
    pub terms: Terms,
    /// The node's address.
    pub ip: Ipv4Addr,
    /// When it was sent to the provider.
    pub signed: Timestamp,
    /// Until when the provider may approve.
    pub valid_to: Timestamp,
    /// How far it got.
    pub progress: Progress,
    /// Since when it may cost something.
    pub costs_since: Option<Timestamp>,
    /// What runs under it.
    pub activity: Option<ActivityId>,
    /// The commands that bring the node up.
    pub batch: Option<BatchId>,
    /// Since when it is to end, and why.
    pub closing: Option<(Timestamp, String)>,
    /// Since when nothing runs under it any more.
    pub over: Option<Timestamp>,
    /// What is set aside for it, accepted amounts included.
    pub reserve: Glm,
    /// What was accepted.
    pub accepted: Glm,
    /// The invoice that was accepted.
    pub invoice: Option<InvoiceId>,
    /// Whether an invoice was disputed.
    pub is_disputed: bool,
    /// Whether an invoice was rejected: the daemon pays for no debit note after that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_rejected: bool,
}

/// How far an agreement got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// The provider is asked.
    Signing,
    /// It is in force.
    Approved,
    /// An activity is asked for.
    CreatingActivity,
    /// There is an activity.
    HasActivity,
    /// The commands that bring the node up are asked for.
    SendingBatch,
    /// The commands are running.
    RunningBatch,
    /// The commands have run.
    Bootstrapped,
    /// The node is up.
    Running,
}

impl Account {
    /// The books after [`AgreementFact::Signing`]; `None` for every other fact.
    #[must_use]
    pub fn open(fact: &AgreementFact) -> Option<Self> {
        let AgreementFact::Signing { agreement, node, terms, ip, valid_to, reserve, at } = fact
        else {
            return None;
        };
        Some(Self {
            agreement: agreement.clone(),
            node: *node,
            terms: (**terms).clone(),
            ip: *ip,
            signed: *at,
            valid_to: *valid_to,
            progress: Progress::Signing,
            costs_since: None,
            activity: None,
            batch: None,
            closing: None,
            over: None,
            reserve: *reserve,
            accepted: Glm::ZERO,
            invoice: None,
            is_disputed: false,
            is_rejected: false,
        })
    }

    /// Folds one fact.
    pub(super) fn apply(&mut self, fact: &AgreementFact) {
        match fact {
            AgreementFact::Approved => self.advance(Progress::Approved),
            AgreementFact::ActivityIntended { at } => {
                self.costs_since = Some(self.costs_since.unwrap_or(*at));
                self.advance(Progress::CreatingActivity);
            }
            AgreementFact::ActivityMade(activity) => {
                self.activity = Some(activity.clone());
                self.advance(Progress::HasActivity);
            }
            AgreementFact::BatchIntended => self.advance(Progress::SendingBatch),
            AgreementFact::BatchMade(batch) => {
                self.batch = Some(batch.clone());
                self.advance(Progress::RunningBatch);
            }
            AgreementFact::Bootstrapped => self.advance(Progress::Bootstrapped),
            AgreementFact::Over { at } => self.over = Some(*at),
            AgreementFact::Reserved(reserve) => self.reserve = *reserve,
            AgreementFact::Signing { .. }
            | AgreementFact::Closing { .. }
            | AgreementFact::NoteAccepted { .. }
            | AgreementFact::NoteDisputed(_)
            | AgreementFact::InvoiceAccepted { .. }
            | AgreementFact::InvoiceDisputed(_)
            | AgreementFact::Settled => {}
        }
    }

    /// While its agreement runs, an invoice is disputed without a word to the daemon.
    pub(super) const fn dispute_invoice(&mut self) {
        self.is_disputed = true;
        self.is_rejected |= self.over.is_some();
    }

    pub(super) fn advance(&mut self, progress: Progress) {
        self.progress = self.progress.max(progress);
    }
}
