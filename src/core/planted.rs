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
    /// A repeated request starts other nodes (A1).
    KeyForgotten,
    /// A head gets more workers than its user allows (M11).
    LimitIgnored,
    /// A head gets more workers of one type than its user allows (M11).
    TypeLimitIgnored,
    /// A head gets workers that its user has not spoken of (M11).
    LawIgnored,
    /// What the user says anew of workers is not heard (M11).
    LawOutdated,
    /// What a head sticks on a node is told in the log of each of its nodes (B5).
    TagsEchoed,
    /// A cluster that begins again gives its nodes the old ids (L4).
    NodeIdsReused,
    /// A cluster goes on without its head (L7).
    HeadLossIgnored,
    /// A node that does not come up is never given up (V1).
    StartEndless,
    /// A step that does not end is waited for (V7).
    StepEndless,
    /// After its first node a shape is never looked for again (K2).
    ShopNeverReopens,
    /// A demand stays published when nobody waits (K2).
    ShopLeftOpen,
    /// The funds stay set aside after the end (V4).
    EndLeavesFunds,
    /// The private network is not removed (L10).
    NetworkLeaked,
    /// Nobody is warned that the budget runs out (M1).
    BudgetUnwatched,
    /// The budget is no limit for nodes that run (M1).
    BudgetSoft,
    /// A raised budget is spent before the wallet has given it (M1).
    RaiseTrusted,
    /// An agreement is signed without setting its cost aside (M1).
    NothingReserved,
    /// The limit of GLM per hour is no limit (M1).
    RateIgnored,
    /// Every debit note is paid, however high (M4).
    CapIgnored,
    /// Every invoice is paid, however high (M3).
    InvoiceTrusted,
    /// A bill is not paid, and nobody learns why (M6).
    DisputeUnrecorded,
    /// An invoice is rejected before the debit notes of its agreement are read (M6).
    RejectedUnread,
    /// Bills of one agreement are accepted side by side (M2).
    AcceptsOvertake,
    /// An acceptance without an acknowledgement counts as refused (M6).
    TimeoutMeansRefused,
    /// An allocation whose reply was lost is forgotten (M10).
    FundsDoubtForgotten,
    /// After one failure debit notes are not listened to any more (V6).
    NotesEnd,
    /// After one failure agreements are not listened to any more (V6).
    WatchEnds,
    /// Two nodes are placed on one provider in one network (L6).
    ProviderTwice,
    /// All nodes get the same address (L6).
    AddressReused,
    /// A cluster's next network goes another way than its nodes were reached by (L13).
    PathMixed,
    /// The bus is trusted also where no node is ever reached over it (V5).
    BusTrusted,
    /// A provider that could not be taken out of the network counts as out of it (L6).
    MemberForgotten,
    /// A provider is not taken out of the network after its node's end (L3).
    MemberKept,
    /// A refused agreement counts as approved (L9).
    RefusalIsApproval,
    /// An agreement whose activity failed is never ended (L3).
    CreateFailureKept,
    /// Activities are not destroyed (L2).
    ActivityLeaked,
    /// An agreement that cannot be ended at once is forgotten (L1).
    TerminateOnce,
    /// What was interrupted by a crash is started once more (L5).
    StartTwice,
    /// A provider that failed is asked again at once (K6).
    ProviderForgiven,
    /// One ssh failure ends a node (L11).
    ThreeStrikes,
    /// More providers are asked at once for a node than the user allows (L8).
    HedgeUnbounded,
    /// Providers that were asked for the same node start it, too (L8).
    HedgesKept,
    /// What the cluster file says of providers is not heard (K1).
    ListsIgnored,
    /// Newcomers are always tried first (K7).
    NewcomersUnbounded,
    /// An agreement is forgotten when nobody said what became of its signature (L1).
    SigningForgotten,
    /// Bills of agreements that were made before a crash are ignored (M6).
    BillsOrphaned,
    /// Bills are paid from whichever cluster's funds come first (M5).
    FundsMixed,
    /// The bootstrap script takes for granted what only the common image has (L12).
    ScriptStrict,
    /// A provider is left alone for as long after its tenth failure as after its first (K6).
    SetbackConstant,
    /// The answer to a request for nodes leaves one of them out (A2).
    NodeUntold,
    /// Ending a node that has ended is an error (A3).
    EndAgainRefused,
    /// A node is said to have ended when it only begins to (A4).
    EndToldEarly,
    /// Nodes are still given during a shutdown (A6).
    ShutdownIgnored,
    /// What happens to a cluster is written to the journal of all clusters (R3).
    JournalsMixed,
    /// Funds are set aside second by second (B4).
    ReserveBySeconds,
    /// A node's end is never recorded (V2).
    EndUnrecorded,
    /// An invoice that comes too early waits for as long as its agreement runs (V3).
    EarlyInvoiceWaits,
    /// A node is given up after a minute (V5).
    GivenUpEarly,
    /// A debit note is accepted although the invoice has paid for it (M2).
    CoveredPaidAgain,
    /// What is set aside does not follow a budget that becomes smaller (M10).
    FundsOnlyGrow,
    /// A cluster that has nothing yet is forgotten, though its nodes wait (V2).
    ForgottenEarly,
    /// A node that waits for long does not say why (V8).
    WaitingUntold,
    /// No offer of the market counts as one that meets what a node asks for (V8).
    CensusBlind,
    /// What the daemon does not know by the id that it gave counts as ended (V4).
    RefusalIsEnd,
    /// A shutdown waits for providers that never answer (V4).
    ShutdownEndless,
    /// The last facts of a cluster are written after its end (R7).
    ClosedFirst,
    /// Lists are read from where they were read last, though their clock was set back (M6).
    ClockTrusted,
    /// Workers are hired though Ray has not started on the last ones (K8).
    RayFailuresIgnored,
    /// A cluster with load ends by itself as if it was not used (L14).
    LoadIgnored,
    /// A cluster that is not used goes on, though it was told to end (V9).
    IdleUnnoticed,
}

impl Bug {
    /// Every planted bug.
    pub const ALL: [Self; 88] = [
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
        Self::KeyForgotten,
        Self::LimitIgnored,
        Self::TypeLimitIgnored,
        Self::LawIgnored,
        Self::LawOutdated,
        Self::TagsEchoed,
        Self::NodeIdsReused,
        Self::HeadLossIgnored,
        Self::StartEndless,
        Self::StepEndless,
        Self::ShopNeverReopens,
        Self::ShopLeftOpen,
        Self::EndLeavesFunds,
        Self::NetworkLeaked,
        Self::BudgetUnwatched,
        Self::BudgetSoft,
        Self::RaiseTrusted,
        Self::NothingReserved,
        Self::RateIgnored,
        Self::CapIgnored,
        Self::InvoiceTrusted,
        Self::DisputeUnrecorded,
        Self::RejectedUnread,
        Self::AcceptsOvertake,
        Self::TimeoutMeansRefused,
        Self::FundsDoubtForgotten,
        Self::NotesEnd,
        Self::WatchEnds,
        Self::ProviderTwice,
        Self::AddressReused,
        Self::PathMixed,
        Self::BusTrusted,
        Self::MemberForgotten,
        Self::MemberKept,
        Self::RefusalIsApproval,
        Self::CreateFailureKept,
        Self::ActivityLeaked,
        Self::TerminateOnce,
        Self::StartTwice,
        Self::ProviderForgiven,
        Self::ThreeStrikes,
        Self::HedgeUnbounded,
        Self::HedgesKept,
        Self::ListsIgnored,
        Self::NewcomersUnbounded,
        Self::SetbackConstant,
        Self::SigningForgotten,
        Self::BillsOrphaned,
        Self::FundsMixed,
        Self::ScriptStrict,
        Self::NodeUntold,
        Self::EndAgainRefused,
        Self::EndToldEarly,
        Self::ShutdownIgnored,
        Self::JournalsMixed,
        Self::ReserveBySeconds,
        Self::EndUnrecorded,
        Self::EarlyInvoiceWaits,
        Self::GivenUpEarly,
        Self::CoveredPaidAgain,
        Self::FundsOnlyGrow,
        Self::ForgottenEarly,
        Self::WaitingUntold,
        Self::CensusBlind,
        Self::RefusalIsEnd,
        Self::ShutdownEndless,
        Self::ClosedFirst,
        Self::ClockTrusted,
        Self::RayFailuresIgnored,
        Self::LoadIgnored,
        Self::IdleUnnoticed,
    ];

    /// Whether it shows in the life of clusters; all others show in surveys.
    #[must_use]
    pub fn is_of_clusters(self) -> bool {
        self >= Self::KeyForgotten
    }
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
