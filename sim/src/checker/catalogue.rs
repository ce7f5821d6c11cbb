//! Every invariant, by its id.

/// When an invariant is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// At each step: nothing bad happens, whatever goes wrong around it.
    Safety,
    /// In fair times: what is asked for comes true in bounded time.
    Liveness,
}

use Kind::{Liveness, Safety};

/// Every invariant: its id, what it says, and when it is looked at.
pub const INVARIANTS: &[(&str, &str, Kind)] = &[
    ("M1", "what is accepted, owed, and set aside never exceeds the budget or its rate", Safety),
    ("M2", "a bill moves money at most once, and an agreement has one accepted invoice", Safety),
    ("M3", "an accepted invoice is at most what agreed prices and our own clock allow", Safety),
    ("M4", "an accepted debit note is at most what can have been due then", Safety),
    ("M5", "money goes only to the agreement's provider, on its platform, from its funds", Safety),
    (
        "M6",
        "each bill is accepted, or disputed with a recorded reason; notes before their invoice",
        Safety,
    ),
    ("M7", "the wallet loses what was paid, and nobody is paid more than was accepted", Safety),
    ("M8", "funds are kept while they must still pay, and none are left at the end", Safety),
    ("M9", "nothing above the price limits is signed", Safety),
    ("M10", "what is set aside never exceeds the budget", Safety),
    ("M11", "a head gets no more, and nothing else, than its user has said", Safety),
    ("L1", "every agreement is over at the end", Safety),
    ("L2", "every activity is over at the end", Safety),
    ("L3", "nothing of a node outlives it for long", Liveness),
    ("L4", "nodes only move forward, and ids are never used again", Safety),
    ("L5", "a running node has one agreement, one activity, and one address", Safety),
    (
        "L6",
        "addresses are distinct and lead to their nodes, and a provider has one in a network",
        Safety,
    ),
    ("L7", "a cluster ends with its head", Safety),
    ("L8", "there are no more signings for a node than asked for", Safety),
    ("L9", "nothing is started on what is not approved, or not alive", Safety),
    ("L10", "every network is removed with its cluster", Safety),
    ("L11", "no node is given up for a hiccup", Liveness),
    ("L12", "what a reliable provider is asked to run succeeds, whatever the image", Safety),
    ("L13", "a cluster keeps to the way by which its nodes were reached", Safety),
    ("L14", "a cluster ends by itself only when it was not used for so long", Safety),
    ("K1", "no blacklisted provider is asked or signed", Safety),
    ("K2", "a demand is published exactly while a node waits", Safety),
    ("K3", "every negotiation ends, after a bounded number of words", Safety),
    ("K4", "what failed is not repeated at once", Safety),
    ("K5", "no clearly better offer waits while another one is asked", Safety),
    ("K6", "a provider that failed is left alone, and longer after each failure", Safety),
    ("K7", "newcomers have a bounded share while a proven provider could be asked", Safety),
    (
        "K8",
        "while Ray does not start on workers, they are hired ever more seldom, and then not at all",
        Safety,
    ),
    ("A1", "a repeated request has the same answer, and no second effect", Safety),
    ("A2", "new nodes have new ids and are listed at once", Safety),
    ("A3", "ending what has ended, or never was, is harmless", Safety),
    ("A4", "answers tell how things stand at that instant", Safety),
    ("A5", "each request is answered once, at once", Safety),
    ("A6", "a manager that stops refuses requests for nodes", Safety),
    ("R1", "the journal folds to the durable state", Safety),
    ("R2", "an intent is durable before its effect", Safety),
    ("R3", "a torn end of a journal is dropped, other damage is refused", Safety),
    ("R4", "a crash in recovery is a crash like any other", Safety),
    ("R7", "nothing is written of a cluster that is closed", Safety),
    ("B1", "everything has a size", Safety),
    ("B2", "timers move on", Safety),
    ("B3", "nothing polls in place of being woken", Safety),
    ("B4", "the journal grows with what happens, not with time", Safety),
    ("B5", "a request makes the journal longer by a bounded amount", Safety),
    ("V1", "each pending node runs, or is given up with a reason, in bounded time", Liveness),
    ("V2", "each terminating node is terminated in bounded time", Liveness),
    ("V3", "each invoice is decided in bounded time", Liveness),
    ("V4", "a shutdown ends in bounded time, whatever providers, daemon, and clocks do", Liveness),
    ("V5", "a node that was given up had no provider, no funds, or no room", Liveness),
    ("V6", "whoever has agreements listens to what happens to them and to their bills", Liveness),
    ("V7", "no step of bringing a node up lasts for ever", Liveness),
    ("V8", "a node that waits for long says why, and what it says is so", Safety),
    ("V9", "a cluster that is not used ends, if it was told to", Liveness),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::INVARIANTS;

    #[test]
    fn ids_are_distinct() {
        let ids: BTreeSet<&str> = INVARIANTS.iter().map(|(id, _, _)| *id).collect();

        assert_eq!(ids.len(), INVARIANTS.len());
    }
}
