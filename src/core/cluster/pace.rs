//! How long a step may take: as long as its rule says, and less once others have shown how long it
//! takes. Who takes several times as long as the slowest of them will hardly come up at all.

use std::collections::{BTreeMap, VecDeque};

use super::{Cluster, ClusterTimer, Work, steps::Step};
use crate::{
    core::{effects::Effects, ids::AgreementNo},
    units::{Span, Timestamp},
};

/// Before so many have made a step nobody knows how long it takes.
const SAMPLES_MIN: usize = 4;
/// The latest so many count.
const SAMPLES_MAX: usize = 16;
/// So many times as long as the slowest of them is too long, but for half of the rule's time.
const TIMES: u64 = 3;

/// How long each step took those that made it.
#[derive(Debug, Default)]
pub(super) struct Paces(BTreeMap<Step, VecDeque<Span>>);

impl Paces {
    /// A node has made a step.
    fn add(&mut self, step: Step, took: Span) {
        let samples = self.0.entry(step).or_default();
        if samples.len() == SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(took);
    }

    /// How long the step may take.
    pub(super) fn patience(&self, step: Step) -> Span {
        let most = step.rule().patience;
        let samples = self.0.get(&step).filter(|samples| samples.len() >= SAMPLES_MIN);
        match samples.and_then(|samples| samples.iter().max()) {
            Some(slowest) => slowest.times(TIMES).max(most.over(2)).min(most),
            None => most,
        }
    }
}

impl Cluster {
    /// A node begins a step, and has made the one before it: users are told, and it has its time.
    pub(super) fn begin_step(&mut self, fx: &mut Effects, number: AgreementNo, step: Step) {
        let Some(account) = fx.cluster(self.id).accounts.get(&number) else { return };
        let node = account.node;
        let provider = self.provider_of(fx, number);
        self.log(fx, node, step.line(&provider));
        let Some(work) = self.works.get_mut(&number) else { return };
        if let Some((made, since)) = work.step.replace((step, fx.now)) {
            self.paces.add(made, fx.now.since(since));
            self.time_again(fx, made);
        }
        match self.paces.patience(step) {
            Span::ZERO => self.rest(fx, ClusterTimer::Step(number)),
            patience => self.wake(fx, ClusterTimer::Step(number), fx.now.plus(patience)),
        }
    }

    /// Whoever is at this step has as much time as is known now.
    fn time_again(&self, fx: &mut Effects, step: Step) {
        let patience = self.paces.patience(step);
        let at_it = self.works.iter().filter_map(|(number, work)| match work.step {
            Some((at, since)) if at == step => Some((*number, since)),
            Some(_) | None => None,
        });
        let due: Vec<(AgreementNo, Timestamp)> = at_it
            .map(|(number, since)| (number, since.plus(patience).max(fx.now.plus(Span::TICK))))
            .collect();
        for (number, due) in due {
            let timer = ClusterTimer::Step(number);
            if fx.timers.due(&self.timer(timer)).is_some_and(|armed| armed != due) {
                self.wake(fx, timer, due);
            }
        }
    }
}

impl Work {
    /// For how long the node has been at its step.
    pub(super) fn at_step_for(&self, now: Timestamp) -> Span {
        self.step.map_or(Span::ZERO, |(_, since)| now.since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::Paces;
    use crate::{core::cluster::Step, units::Span};

    #[test]
    fn who_is_much_slower_than_the_others_is_not_waited_for_as_long() {
        let mut paces = Paces::default();
        let rule = Step::Deploy.rule().patience;
        for _ in 0..3 {
            paces.add(Step::Deploy, Span::secs(60));
        }
        assert_eq!(paces.patience(Step::Deploy), rule, "three say little");

        paces.add(Step::Deploy, Span::secs(10));

        assert_eq!(paces.patience(Step::Deploy), Span::secs(180));
        assert_eq!(paces.patience(Step::Start), Step::Start.rule().patience);
        for _ in 0..16 {
            paces.add(Step::Deploy, Span::secs(1));
        }
        assert_eq!(paces.patience(Step::Deploy), rule.over(2), "half of its time is always left");
    }
}
