//! Bugs planted on purpose, so that the simulator can prove that it sees them.
//!
//! Without the feature `planted` no bug can be chosen and every check is a constant `false`.

/// One planted bug; each breaks one invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// The demand is not withdrawn at the end (K2).
    DemandLeaked,
    /// A demand whose reply was lost is forgotten (K2).
    DoubtForgotten,
    /// The demand is renewed only after it has expired (K2).
    LateRefresh,
    /// A negotiated draft is kept in place of being rejected (K3).
    DraftKept,
    /// A counter-offer is answered for ever (K3).
    CountersEndless,
    /// A failed poll is repeated at once (K4).
    PollHammered,
    /// A blacklisted provider is asked (K1).
    BlacklistIgnored,
    /// A draft that raises its price is taken (M9).
    RaiseAccepted,
    /// The worst offer is asked first (K5).
    WorstFirst,
    /// The allocation is not released at the end (M8).
    AllocationLeaked,
    /// The offer pool grows without limit (B1).
    PoolUnbounded,
    /// A due timer is armed again for the same instant (B2).
    TimerStuck,
    /// A published demand is not recorded (R1).
    RecordForgotten,
    /// An effect is asked for before its intent is durable (R2).
    CallBeforePersist,
    /// The request to end a survey is not answered (A5).
    AnswerForgotten,
    /// The daemon is asked ten times a second whether something happened (B3).
    PollImpatient,
    /// A survey waits until everything is undone, however long that takes (V4).
    EndUnbounded,
}

impl Bug {
    /// Every planted bug.
    pub const ALL: [Self; 17] = [
        Self::DemandLeaked,
        Self::DoubtForgotten,
        Self::LateRefresh,
        Self::DraftKept,
        Self::CountersEndless,
        Self::PollHammered,
        Self::BlacklistIgnored,
        Self::RaiseAccepted,
        Self::WorstFirst,
        Self::AllocationLeaked,
        Self::PoolUnbounded,
        Self::TimerStuck,
        Self::RecordForgotten,
        Self::CallBeforePersist,
        Self::AnswerForgotten,
        Self::PollImpatient,
        Self::EndUnbounded,
    ];
}

/// The bugs of one machine: at most one, and none in production.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Planted {
    #[cfg(feature = "planted")]
    bug: Option<Bug>,
}

impl Planted {
    #[cfg(feature = "planted")]
    pub(super) const fn new(bug: Bug) -> Self {
        Self { bug: Some(bug) }
    }

    #[cfg(feature = "planted")]
    pub(super) fn has(self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    #[cfg(not(feature = "planted"))]
    pub(super) const fn has(self, _bug: Bug) -> bool {
        false
    }
}
