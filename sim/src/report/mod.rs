//! What a market policy is worth: a plan is run over the values of one knob and over some seeds.
//!
//! The world is deterministic and every number is an integer, so reports are exact: a change of policy
//! is seen as a change of text. `table` is for people, `document` for programs, `picture` for both.

use ray_on_golem::units::{Glm, Span};

pub mod knob;

mod bars;
mod document;
mod page;
mod picture;
mod scale;
mod table;

use knob::{Knob, POLICY};

use crate::{
    drill::{Outcome, Plan},
    meter::Measures,
    policy::Policy,
};

/// So many nodes are looked at, as far as so many are asked for.
const LEVELS: [u32; 3] = [1, 10, 50];

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The name of the plan.
    pub name: String,
    /// The plan.
    pub plan: Plan,
    /// How the plan differs from what it says, if it does.
    variant: Option<String>,
    /// The knob that is turned, and the values that it takes in turn, each with what is run for it.
    sweep: Option<(String, Vec<(String, Trial)>)>,
    /// How many seeds are run for each value; the first is the plan's own.
    seeds: u64,
}

/// A plan, and who decides in it what is hired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The plan.
    pub plan: Plan,
    /// Who decides; the machine as it is, if nobody is named.
    pub policy: Option<Policy>,
}

/// What the runs came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The name of the plan.
    name: String,
    /// What the plan is for, if it says so.
    about: Option<String>,
    /// How it was changed, if it was.
    variant: Option<String>,
    /// The name of the knob, if one was turned.
    knob: Option<String>,
    first_seed: u64,
    seeds: u64,
    /// The numbers of nodes whose time is told.
    levels: Vec<u32>,
    /// One for each value of the knob.
    rows: Vec<Row>,
    /// Runs that broke an invariant.
    failures: Vec<Failure>,
}

/// A run that broke an invariant: its numbers mean nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The invariant.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
    /// The value of the knob.
    pub value: Option<String>,
    /// The seed.
    pub seed: u64,
}

/// What the runs of one value came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    value: Option<String>,
    /// For each of the report's levels, if so many nodes were asked for.
    times: Vec<Option<Time>>,
    /// The sum over all seeds.
    sum: Measures,
    seeds: u64,
}

/// How long it took until so many nodes were up; none where they never were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// Half of the runs took no longer.
    pub p50: Option<Span>,
    /// All but one in twenty took no longer.
    pub p95: Option<Span>,
}

impl Order {
    /// A plan as it is, over so many seeds.
    #[must_use]
    pub const fn new(name: String, plan: Plan, seeds: u64) -> Self {
        Self { name, plan, variant: None, sweep: None, seeds }
    }

    /// One for each of these numbers at this place of the plan: `ops.keep=9,49`.
    ///
    /// # Errors
    ///
    /// One sentence about what is wrong with it, and what there is.
    pub fn variants(&self, text: &str) -> Result<Vec<Self>, String> {
        let (name, values) = knob_and_values(text)?;
        let knob = Knob::of(&self.plan, name)?;
        let variant = |value: &str| {
            let plan = knob.set(&self.plan, value)?;
            Ok(Self { plan, variant: Some(format!("{name}={value}")), ..self.clone() })
        };
        values.into_iter().map(variant).collect()
    }

    /// Sweeps a knob: `market.honest=10,20,40`; or the policies: `policy=original,plain`.
    ///
    /// # Errors
    ///
    /// One sentence about what is wrong with it, and what there is.
    pub fn sweep(mut self, text: &str) -> Result<Self, String> {
        let (name, values) = knob_and_values(text)?;
        let knob = (name != POLICY).then(|| Knob::of(&self.plan, name)).transpose()?;
        let trial = |value: &str| match &knob {
            Some(knob) => Ok(Trial { plan: knob.set(&self.plan, value)?, policy: None }),
            None => Trial::of_policy(&self.plan, value),
        };
        let values = values.into_iter();
        let values: Result<Vec<_>, String> =
            values.map(|value| Ok((value.to_owned(), trial(value)?))).collect();
        self.sweep = Some((name.to_owned(), values?));
        Ok(self)
    }

    /// How many runs it takes.
    #[must_use]
    pub fn runs(&self) -> u64 {
        self.values() * self.seeds
    }

    /// One of its runs, from 0.
    #[must_use]
    pub fn trial(&self, run: u64) -> Trial {
        let (value, nth) = (run / self.seeds.max(1), run % self.seeds.max(1));
        let place = usize::try_from(value).unwrap_or(usize::MAX);
        let turned = self.sweep.as_ref().and_then(|(_, values)| values.get(place));
        let as_it_is = || Trial { plan: self.plan.clone(), policy: None };
        let mut trial = turned.map_or_else(as_it_is, |(_, trial)| trial.clone());
        trial.plan.seed = trial.plan.seed.wrapping_add(nth);
        trial
    }

    /// Makes the report of the outcomes of all runs, in order.
    #[must_use]
    pub fn report(&self, outcomes: &[Outcome]) -> Report {
        let seeds = usize::try_from(self.seeds).unwrap_or(usize::MAX).max(1);
        let groups: Vec<(Option<String>, &[Outcome])> = match &self.sweep {
            None => vec![(None, outcomes)],
            Some((_, values)) => {
                let names = values.iter().map(|(value, _)| Some(value.clone()));
                names.zip(outcomes.chunks(seeds)).collect()
            }
        };
        let wanted = outcomes.iter().map(|outcome| outcome.measures.wanted).max().unwrap_or(0);
        let levels: Vec<u32> = LEVELS.into_iter().filter(|level| *level < wanted).collect();
        let levels: Vec<u32> = levels.into_iter().chain((wanted > 0).then_some(wanted)).collect();
        let failures = groups.iter().flat_map(|(value, outcomes)| self.failures(value, outcomes));
        Report {
            name: self.name.clone(),
            about: self.plan.about.clone(),
            variant: self.variant.clone(),
            knob: self.sweep.as_ref().map(|(knob, _)| knob.clone()),
            first_seed: self.plan.seed,
            seeds: self.seeds,
            failures: failures.collect(),
            rows: groups
                .iter()
                .map(|(value, runs)| Row::new(value.clone(), runs, &levels))
                .collect(),
            levels,
        }
    }

    fn failures(&self, value: &Option<String>, outcomes: &[Outcome]) -> Vec<Failure> {
        let seeds = outcomes.iter().zip(0..).map(|(outcome, nth)| {
            let violation = outcome.violation.as_ref()?;
            Some(Failure {
                invariant: violation.invariant,
                what: violation.what.clone(),
                value: value.clone(),
                seed: self.plan.seed.wrapping_add(nth),
            })
        });
        seeds.flatten().collect()
    }

    fn values(&self) -> u64 {
        self.sweep.as_ref().map_or(1, |(_, values)| values.len() as u64)
    }
}

fn knob_and_values(text: &str) -> Result<(&str, Vec<&str>), String> {
    let Some((name, values)) = text.split_once('=') else {
        return Err(format!("`{text}` is no sweep; write `KNOB=1,2,3`"));
    };
    Ok((name.trim(), values.split(',').map(str::trim).collect()))
}

impl Trial {
    fn of_policy(plan: &Plan, name: &str) -> Result<Self, String> {
        let policy = Policy::from_name(name).ok_or_else(|| {
            let names = Policy::ALL.map(Policy::name);
            format!("`{name}` is no policy; write one of {}", names.join(", "))
        })?;
        policy.check(plan).map(|()| Self { plan: plan.clone(), policy: Some(policy) })
    }

    /// What it comes to.
    #[must_use]
    pub fn measure(&self) -> Outcome {
        match self.policy {
            Some(policy) => policy.measure(&self.plan),
            None => self.plan.measure(),
        }
    }
}

impl Report {
    /// The name of the plan.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs that broke an invariant.
    #[must_use]
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// What the runs of one value of the knob came to.
    #[must_use]
    pub fn row(&self, value: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.value.as_deref() == Some(value))
    }

    /// How long it took until so many nodes were up, in the runs of one value of the knob.
    #[must_use]
    pub fn time(&self, value: &str, level: u32) -> Option<Time> {
        let place = self.levels.iter().position(|it| *it == level)?;
        *self.row(value)?.times.get(place)?
    }

    /// The most nodes that were wanted at once.
    #[must_use]
    pub fn wanted(&self) -> u32 {
        self.levels.last().copied().unwrap_or(0)
    }

    /// A name for its picture: the plan's, what was changed in it, and the knob's.
    #[must_use]
    pub fn file_stem(&self) -> String {
        let parts = [Some(&self.name), self.variant.as_ref(), self.knob.as_ref()];
        let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
        parts.join("-")
    }

    /// A name for its picture on a page: the plan's, and how many nodes are wanted.
    #[must_use]
    pub fn picture_name(&self) -> String {
        format!("{}-{}.svg", self.name, self.wanted())
    }

    /// Its name for people.
    fn title(&self) -> String {
        match &self.variant {
            None => self.name.clone(),
            Some(variant) => format!("{}, {variant}", self.name),
        }
    }

    /// The report for people.
    #[must_use]
    pub fn text(&self) -> String {
        table::text(self)
    }

    /// The report for programs.
    #[must_use]
    pub fn json(&self) -> String {
        document::json(self)
    }

    /// The report as a picture, in SVG.
    #[must_use]
    pub fn svg(&self) -> String {
        picture::svg(self)
    }
}

/// Reports of policies as one page, in Markdown; their pictures are in this directory.
#[must_use]
pub fn page(reports: &[Report], pictures: &str) -> String {
    page::page(reports, pictures)
}

impl Row {
    fn new(value: Option<String>, outcomes: &[Outcome], levels: &[u32]) -> Self {
        let mut sum = Measures::default();
        for Outcome { measures, .. } in outcomes {
            sum.wanted = sum.wanted.max(measures.wanted);
            sum.node_time = sum.node_time.plus(measures.node_time);
            sum.cpu_time = sum.cpu_time.plus(measures.cpu_time);
            sum.nodes += measures.nodes;
            sum.agreements += measures.agreements;
            sum.spent = sum.spent.plus(measures.spent);
            sum.wasted = sum.wasted.plus(measures.wasted);
        }
        let times =
            levels.iter().map(|level| (*level <= sum.wanted).then(|| Time::new(outcomes, *level)));
        Self { value, times: times.collect(), sum, seeds: outcomes.len() as u64 }
    }

    /// What an hour of one node cost, all that is paid included; rounded up.
    fn per_node_hour(&self) -> Option<Glm> {
        self.per_hour_of(self.sum.node_time)
    }

    /// What an hour of one CPU thread of a ready node cost, all that is paid included; rounded up.
    #[must_use]
    pub fn per_cpu_hour(&self) -> Option<Glm> {
        self.per_hour_of(self.sum.cpu_time)
    }

    fn per_hour_of(&self, time: Span) -> Option<Glm> {
        let micros = time.as_micros();
        if micros == 0 {
            return None;
        }
        self.sum.spent.scaled_up(Span::hours(1).as_micros(), micros)
    }

    /// What was paid for nothing in one run; rounded up.
    fn wasted_per_run(&self) -> Glm {
        self.sum.wasted.scaled_up(1, self.seeds.max(1)).unwrap_or(Glm::MAX)
    }

    /// How many agreements it took for a node that was up, in thousandths; rounded up.
    fn agreements_per_node(&self) -> Option<u64> {
        match self.sum.nodes {
            0 => None,
            nodes => Some(self.sum.agreements.saturating_mul(1_000).div_ceil(nodes)),
        }
    }
}

impl Time {
    /// Runs in which there never were so many nodes count as longer than all others.
    fn new(outcomes: &[Outcome], level: u32) -> Self {
        let nth = level as usize - 1;
        let mut times: Vec<Span> =
            outcomes.iter().filter_map(|it| it.measures.ready.get(nth).copied()).collect();
        times.sort_unstable();
        let at = |percent: usize| {
            let rank = (outcomes.len() * percent).div_ceil(100);
            times.get(rank.max(1) - 1).copied()
        };
        Self { p50: at(50), p95: at(95) }
    }
}

#[cfg(test)]
mod tests {
    use ray_on_golem::units::{Glm, Span};

    use super::{Order, Row, Time};
    use crate::{
        drill::{Outcome, Plan},
        meter::Measures,
    };

    fn outcome(ready: &[u64]) -> Outcome {
        let ready = ready.iter().map(|secs| Span::secs(*secs)).collect();
        Outcome {
            measures: Measures { wanted: 2, ready, ..Measures::default() },
            ..Outcome::default()
        }
    }

    #[test]
    fn a_percentile_is_the_time_of_a_run_and_never_counts_as_long() {
        let outcomes: Vec<Outcome> = (1..=20)
            .map(|secs| if secs > 18 { outcome(&[secs]) } else { outcome(&[secs, 50 + secs]) })
            .collect();

        let one = Time { p50: Some(Span::secs(10)), p95: Some(Span::secs(19)) };
        let two = Time { p50: Some(Span::secs(60)), p95: None };
        assert_eq!([1, 2].map(|level| Time::new(&outcomes, level)), [one, two]);
        assert_eq!(
            Time::new(&outcomes[..1], 1),
            Time { p50: Some(Span::secs(1)), p95: Some(Span::secs(1)) }
        );
    }

    #[test]
    fn shares_are_rounded_up_and_nothing_is_divided_by_nothing() {
        let measures = Measures {
            node_time: Span::hours(3),
            nodes: 3,
            agreements: 4,
            spent: Glm::from_atto(10),
            wasted: Glm::from_atto(3),
            ..Measures::default()
        };
        let run = Outcome { measures, ..Outcome::default() };
        let some = Row::new(None, &[run, Outcome::default()], &[]);
        let none = Row::new(None, &[], &[]);

        assert_eq!(some.per_node_hour(), Some(Glm::from_atto(4)));
        assert_eq!(some.wasted_per_run(), Glm::from_atto(2));
        assert_eq!(some.agreements_per_node(), Some(1_334));
        assert_eq!((none.per_node_hour(), none.agreements_per_node()), (None, None));
    }

    #[test]
    fn runs_go_through_all_seeds_of_a_value_before_the_next() {
        let plan = Plan::parse(b"seed: 7\nmarket: {honest: 1}\nops: [head]\n").expect("a plan");
        let order =
            Order::new("a".to_owned(), plan, 2).sweep("market.honest=3, 4").expect("a sweep");

        let runs: Vec<String> =
            (0..order.runs()).map(|run| order.trial(run).plan.to_string()).collect();

        let text = |honest, seed| {
            format!("seed: {seed}\nmarket: {{honest: {honest}}}\nbudget: 5\nops: [head]\n")
        };
        assert_eq!(runs, [text(3, 7), text(3, 8), text(4, 7), text(4, 8)]);
    }
}
