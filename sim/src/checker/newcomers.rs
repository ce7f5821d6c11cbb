//! K7: providers that never worked for us have a bounded share of the agreements while one that has
//! proven itself could be asked.

use std::collections::BTreeMap;

use ray_on_golem::core::ids::ClusterId;

/// Counts who was asked, by cluster and in this life of the process.
#[derive(Default)]
pub(super) struct Newcomers {
    asked: BTreeMap<ClusterId, Asked>,
    /// Whether somebody was asked of whom nobody can tell for which cluster.
    is_unclear: bool,
}

#[derive(Default)]
struct Asked {
    all: u64,
    newcomers: u64,
}

/// A provider that is about to be asked for an agreement.
pub(super) struct Candidate {
    /// Whether it was never asked before.
    pub(super) is_new: bool,
    /// How many of a hundred may be new, as the cluster file says.
    pub(super) share: u32,
}

impl Newcomers {
    /// Takes up who is asked; says whether it would be a proven one's turn if there was one.
    pub(super) fn on_asked(&mut self, cluster: ClusterId, candidate: &Candidate) -> bool {
        let asked = self.asked.entry(cluster).or_default();
        asked.all += 1;
        asked.newcomers += u64::from(candidate.is_new);
        let is_over = asked.newcomers * 100 > asked.all * u64::from(candidate.share);
        candidate.is_new && is_over && !self.is_unclear
    }

    /// Somebody is asked of whom nobody can tell for which cluster.
    pub(super) fn on_unclear(&mut self) {
        self.is_unclear = true;
    }

    /// A new process counts anew.
    pub(super) fn on_crash(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use ray_on_golem::core::ids::ClusterId;

    use super::{Candidate, Newcomers};

    /// Asks these in turn, new or not; says whose turn it was not.
    fn refused(share: u32, asked: &[bool]) -> Vec<usize> {
        let mut newcomers = Newcomers::default();
        let mut refused = |is_new| newcomers.on_asked(ClusterId(0), &Candidate { is_new, share });
        (0..asked.len()).filter(|nth| refused(asked[*nth])).collect()
    }

    #[test]
    fn a_newcomer_out_of_turn_is_seen() {
        assert_eq!(refused(25, &[false, false, false, true, false, false, true]), [6]);
        assert_eq!(refused(0, &[false, true]), [1]);
        assert_eq!(refused(100, &[true, true, true]), [0; 0]);
    }

    #[test]
    fn where_nobody_knows_who_was_asked_anybody_may_be() {
        let mut newcomers = Newcomers::default();
        newcomers.on_unclear();

        assert!(!newcomers.on_asked(ClusterId(0), &Candidate { is_new: true, share: 0 }));
    }
}
