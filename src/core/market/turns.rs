//! Whose turn it is: providers that are proven come first, and the others have a bounded share of the
//! tries (K7), so that newcomers are found, and a bad one costs little.

/// Tries, and how many of them were with providers that are not proven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::core) struct Turns {
    all: u64,
    newcomers: u64,
}

impl Turns {
    /// Whether the next try may be a newcomer's though a proven provider is there; `share` is in
    /// percent.
    pub(in crate::core) const fn is_newcomers(self, share: u32) -> bool {
        let newcomers = self.newcomers.saturating_add(1).saturating_mul(100);
        newcomers <= self.all.saturating_add(1).saturating_mul(share as u64)
    }

    /// A try was made.
    pub(in crate::core) const fn took(&mut self, is_proven: bool) {
        self.all = self.all.saturating_add(1);
        if !is_proven {
            self.newcomers = self.newcomers.saturating_add(1);
        }
    }

    /// Of the best proven one and the best newcomer, whoever's turn it is.
    pub(in crate::core) fn choose<T>(
        self,
        share: u32,
        proven: Option<T>,
        newcomer: Option<T>,
    ) -> Option<T> {
        match self.is_newcomers(share) {
            true => newcomer.or(proven),
            false => proven.or(newcomer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Turns;

    /// Who is tried in so many turns, `p`roven or `n`ewcomer.
    fn tried(share: u32, turns: usize, has_proven: bool) -> String {
        let mut state = Turns::default();
        let turn = |_| {
            let chosen = state.choose(share, has_proven.then_some('p'), Some('n')).expect("one");
            state.took(chosen == 'p');
            chosen
        };
        (0..turns).map(turn).collect()
    }

    #[test]
    fn newcomers_have_their_share_and_no_more() {
        assert_eq!(tried(25, 8, true), "pppnpppn");
        assert_eq!(tried(0, 4, true), "pppp");
        assert_eq!(tried(100, 3, true), "nnn");
    }

    #[test]
    fn newcomers_are_all_there_is_at_first() {
        assert_eq!(tried(0, 3, false), "nnn");
    }
}
