//! What to answer to a provider's proposal about payments while the node runs.
//!
//! Pure arithmetic: no state, no calls. The chain of proposals that it serves is in `chain`.

use thiserror::Error;

/// What both sides agree on for payments while the node runs, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The time from one debit note to the next.
    pub note_interval: u64,
    /// The time that we have to pay a debit note.
    pub payment_timeout: u64,
}

/// What we can live with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The shortest.
    pub minimal: Terms,
    /// What we ask for.
    pub optimal: Terms,
}

/// What to do with a provider's proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// It says what we say: take it.
    Take,
    /// Answer with these terms.
    Counter(Terms),
}

/// Why we refuse a provider's terms; worded as providers and users of old know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TermsError {
    /// The offer does not speak of them.
    #[error("Offer doesn't support mid agreement payments")]
    Unsupported,
    /// The provider does not come up to our minimum.
    #[error("Offered mid agreement properties are too short")]
    TooShort,
}

impl Bounds {
    /// What to answer to an offer, which opens the negotiation; `stated` is what our demand says.
    ///
    /// # Errors
    ///
    /// Says why there is nothing to negotiate.
    pub fn open(&self, offered: Option<Terms>, stated: Terms) -> Result<Terms, TermsError> {
        let offered = offered.ok_or(TermsError::Unsupported)?;
        Ok(Terms {
            note_interval: offered
                .note_interval
                .max(self.optimal.note_interval)
                .max(stated.note_interval),
            payment_timeout: offered
                .payment_timeout
                .max(self.optimal.payment_timeout)
                .max(stated.payment_timeout),
        })
    }

    /// What to answer to a draft; `stated` is what our latest counter-proposal says.
    ///
    /// # Errors
    ///
    /// Says why we end the negotiation.
    pub fn answer(&self, offered: Option<Terms>, stated: Terms) -> Result<Move, TermsError> {
        let offered = offered.ok_or(TermsError::Unsupported)?;
        if offered == stated {
            return Ok(Move::Take);
        }
        let note_interval =
            concede(offered.note_interval, stated.note_interval, self.minimal.note_interval)?;
        let payment_timeout =
            concede(offered.payment_timeout, stated.payment_timeout, self.minimal.payment_timeout)?;
        Ok(Move::Counter(Terms { note_interval, payment_timeout }))
    }
}

/// Takes what is long enough; otherwise comes a third of the way, rounded up, but not below our
/// minimum. Each step is at least one second, so a negotiation cannot go on for ever.
fn concede(offered: u64, stated: u64, minimal: u64) -> Result<u64, TermsError> {
    if offered >= stated {
        return Ok(offered);
    }
    if stated <= minimal {
        return Err(TermsError::TooShort);
    }
    let gap = u128::from(stated - offered);
    let step = u64::try_from((gap * 33).div_ceil(100)).unwrap_or(u64::MAX).max(1);
    Ok(stated.saturating_sub(step).max(minimal).max(offered))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Bounds, Move, Terms, TermsError};

    const fn terms(note_interval: u64, payment_timeout: u64) -> Terms {
        Terms { note_interval, payment_timeout }
    }

    const OURS: Bounds = Bounds { minimal: terms(180, 43_200), optimal: terms(180, 86_400) };

    #[test]
    fn an_offer_is_opened_with_the_longest_of_all() {
        let stated = terms(180, 43_200);

        assert_eq!(OURS.open(Some(terms(120, 120)), stated), Ok(terms(180, 86_400)));
        assert_eq!(OURS.open(Some(terms(600, 90_000)), stated), Ok(terms(600, 90_000)));
        assert_eq!(OURS.open(None, stated), Err(TermsError::Unsupported));
    }

    #[test]
    fn a_draft_that_says_what_we_say_is_taken() {
        assert_eq!(OURS.answer(Some(terms(180, 86_400)), terms(180, 86_400)), Ok(Move::Take));
    }

    #[test]
    fn we_come_a_third_of_the_way_and_stop_at_our_minimum() {
        let first = OURS.answer(Some(terms(180, 50_000)), terms(180, 86_400));
        let last = OURS.answer(Some(terms(180, 120)), terms(180, 43_201));

        // 86,400 − ⌈36,400 × 0.33⌉
        assert_eq!(first, Ok(Move::Counter(terms(180, 74_388))));
        assert_eq!(last, Ok(Move::Counter(terms(180, 43_200))));
        assert_eq!(
            OURS.answer(Some(terms(180, 120)), terms(180, 43_200)),
            Err(TermsError::TooShort)
        );
        assert_eq!(
            OURS.answer(Some(terms(120, 86_400)), terms(180, 86_400)),
            Err(TermsError::TooShort)
        );
    }

    proptest! {
        #[test]
        fn a_stubborn_provider_is_refused_after_few_rounds(offered in 0_u64..43_200) {
            let mut stated = terms(180, 86_400);
            let mut rounds = 0;
            while let Ok(Move::Counter(next)) = OURS.answer(Some(terms(180, offered)), stated) {
                prop_assert!(next.payment_timeout < stated.payment_timeout);
                prop_assert!(next.payment_timeout >= 43_200);
                stated = next;
                rounds += 1;
                prop_assert!(rounds <= 32);
            }
        }
    }
}
