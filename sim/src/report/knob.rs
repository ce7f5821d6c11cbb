//! A knob is one number of a plan, by the name that it has in the file.

use std::{collections::BTreeSet, ops::RangeInclusive};

use ray_on_golem::units::{
    Span,
    money::{Rounding, parse_scaled},
};

use crate::{
    drill::{
        Op, Plan,
        character::Character,
        plan::{CHANCE_MAX, IDLE_MINUTES_MAX, PROVIDERS_MAX, WORKERS_MAX},
    },
    fault::Faults,
};

/// The knob that is no number of the plan: who decides in it.
pub const POLICY: &str = "policy";

/// One number of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knob {
    name: String,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Top(Top),
    /// How many providers of this character there are.
    Market(Character),
    /// The percentage of calls that this happens to.
    Fault(Fault),
    /// When each outage begins, or how long it lasts, in seconds.
    Outages(Moment),
    /// The number of each operation of this word, but for `scale 0`.
    Ops(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Top {
    Budget,
    MaxPerHour,
    IdleMinutes,
    MaxWorkers,
    Wallet,
    CrashChance,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    RequestLost,
    ReplyLost,
    Fail500,
    Closed,
    Garbage,
    Refuse,
    WrongIds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    At,
    For,
}

const OUTAGE_SECS_MAX: u64 = 1_000_000;

const TOP: [(&str, Top); 6] = [
    ("budget", Top::Budget),
    ("max_per_hour", Top::MaxPerHour),
    ("idle_minutes", Top::IdleMinutes),
    ("max_workers", Top::MaxWorkers),
    ("wallet", Top::Wallet),
    ("crash_chance", Top::CrashChance),
];

const FAULTS: [(&str, Fault); 7] = [
    ("request_lost", Fault::RequestLost),
    ("reply_lost", Fault::ReplyLost),
    ("fail_500", Fault::Fail500),
    ("closed", Fault::Closed),
    ("garbage", Fault::Garbage),
    ("refuse", Fault::Refuse),
    ("wrong_ids", Fault::WrongIds),
];

const OUTAGES: [(&str, Moment); 2] = [("at", Moment::At), ("for", Moment::For)];

impl Knob {
    /// The knob of this name.
    ///
    /// # Errors
    ///
    /// One sentence that lists the knobs of the plan, if it is none of them.
    pub fn of(plan: &Plan, name: &str) -> Result<Self, String> {
        let knobs = all(plan);
        match knobs.iter().find(|knob| knob.name == name) {
            Some(knob) => Ok(knob.clone()),
            None => {
                let names: Vec<&str> = knobs.iter().map(|knob| knob.name.as_str()).collect();
                Err(format!(
                    "`{name}` is no knob of this plan; it has {POLICY}, {}",
                    names.join(", ")
                ))
            }
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The plan with another number there.
    ///
    /// # Errors
    ///
    /// One sentence about the number, if it cannot stand there.
    pub fn set(&self, plan: &Plan, value: &str) -> Result<Plan, String> {
        let mut plan = plan.clone();
        let set = match &self.place {
            Place::Top(top) => top.set(&mut plan, value),
            Place::Market(character) => whole(value, 0..=PROVIDERS_MAX).map(|count| {
                plan.market.insert(*character, count);
            }),
            Place::Fault(fault) => {
                whole(value, 0..=100).map(|percent| *fault.of(&mut plan.faults) = percent)
            }
            Place::Outages(moment) => {
                whole(value, 0..=OUTAGE_SECS_MAX).map(|secs| moment.set(&mut plan, secs))
            }
            Place::Ops(word) => set_ops(&mut plan, word, value),
        };
        set.and_then(|()| plan.faults.check())
            .map(|()| plan)
            .map_err(|what| format!("`{}={value}`: {what}", self.name))
    }
}

impl Top {
    fn set(self, plan: &mut Plan, value: &str) -> Result<(), String> {
        match self {
            Self::Budget => plan.budget = thousandths(value)?,
            Self::MaxPerHour => plan.max_per_hour = Some(thousandths(value)?),
            Self::IdleMinutes => plan.idle_minutes = Some(whole(value, 1..=IDLE_MINUTES_MAX)?),
            Self::MaxWorkers => plan.max_workers = Some(whole(value, 0..=WORKERS_MAX)?),
            Self::Wallet => plan.wallet = thousandths(value)?,
            Self::CrashChance => plan.crash_chance = whole(value, 0..=CHANCE_MAX)?,
        }
        Ok(())
    }
}

impl Fault {
    fn of(self, faults: &mut Faults) -> &mut u8 {
        match self {
            Self::RequestLost => &mut faults.request_lost,
            Self::ReplyLost => &mut faults.reply_lost,
            Self::Fail500 => &mut faults.fail_500,
            Self::Closed => &mut faults.closed,
            Self::Garbage => &mut faults.garbage,
            Self::Refuse => &mut faults.refuse,
            Self::WrongIds => &mut faults.wrong_ids,
        }
    }
}

impl Moment {
    fn set(self, plan: &mut Plan, secs: u64) {
        for outage in &mut plan.faults.outages {
            match self {
                Self::At => outage.at = Span::secs(secs),
                Self::For => outage.lasts = Span::secs(secs),
            }
        }
    }
}

/// The knobs of a plan.
fn all(plan: &Plan) -> Vec<Knob> {
    let knob = |name: String, place| Knob { name, place };
    let top = TOP.map(|(name, top)| knob(name.to_owned(), Place::Top(top)));
    let market = Character::ALL
        .map(|character| knob(format!("market.{}", character.name()), Place::Market(character)));
    let faults = FAULTS.map(|(name, fault)| knob(format!("faults.{name}"), Place::Fault(fault)));
    let outages = OUTAGES
        .map(|(name, moment)| knob(format!("faults.outages.{name}"), Place::Outages(moment)));
    let outages = outages.into_iter().filter(|_| !plan.faults.outages.is_empty());
    let words: BTreeSet<String> = plan.ops.iter().filter_map(word_of).collect();
    let ops = words.into_iter().map(|word| knob(format!("ops.{word}"), Place::Ops(word)));
    top.into_iter().chain(ops).chain(faults).chain(outages).chain(market).collect()
}

/// The word of an operation that has a number.
fn word_of(op: &Op) -> Option<String> {
    op.to_string().split_once(' ').map(|(word, _)| word.to_owned())
}

fn set_ops(plan: &mut Plan, word: &str, value: &str) -> Result<(), String> {
    for op in &mut plan.ops {
        if word_of(op).as_deref() == Some(word) && *op != Op::Scale(0) {
            *op = format!("{word} {value}").parse()?;
        }
    }
    Ok(())
}

fn whole<T>(value: &str, range: RangeInclusive<T>) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    let number = value.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("write a whole number from {} to {}", range.start(), range.end()))
}

fn thousandths(value: &str) -> Result<u64, String> {
    let amount = parse_scaled(value, 3, Rounding::Exact).ok();
    amount
        .and_then(|amount| u64::try_from(amount).ok())
        .ok_or_else(|| "write an amount of GLM with at most 3 decimals".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Knob, all};
    use crate::drill::{Op, Plan};

    const TEXT: &str = "market: {honest: 3}\nfaults: {refuse: 90, outages: [{at: 5, for: 6, kind: \
                        down}]}\nops: [head, scale 4, wait 10, scale 0, scale 2]\n";

    fn plan() -> Plan {
        Plan::parse(TEXT.as_bytes()).expect("a plan")
    }

    #[test]
    fn every_knob_turns_one_number_of_the_file() {
        let plan = Plan { max_per_hour: Some(9), idle_minutes: Some(9), ..plan() };
        for knob in all(&plan) {
            let turned = knob.set(&plan, "7").expect("a small number fits everywhere");

            let last = knob.name().rsplit('.').next().expect("a name").to_owned();
            assert_ne!(turned, plan, "{}", knob.name());
            assert!(turned.to_string().contains(&last), "{}: {turned}", knob.name());
            assert_eq!(knob.set(&turned, "7"), Ok(turned));
        }
    }

    #[test]
    fn an_operation_is_turned_wherever_it_stands_but_not_its_zero() {
        let knob = Knob::of(&plan(), "ops.scale").expect("a knob");

        let turned = knob.set(&plan(), "7").expect("a number");

        let ops = [Op::Head, Op::Scale(7), Op::Wait(10), Op::Scale(0), Op::Scale(7)];
        assert_eq!(turned.ops, ops);
    }

    #[test]
    fn what_does_not_fit_is_refused_in_one_sentence() {
        let refused = |name: &str, value: &str| {
            let knob = Knob::of(&plan(), name).expect("a knob");
            knob.set(&plan(), value).expect_err("does not fit")
        };
        let unknown = Knob::of(&plan(), "honest").expect_err("no knob");
        let sentences = [
            unknown,
            refused("market.honest", "many"),
            refused("market.honest", "-1"),
            refused("faults.closed", "101"),
            refused("faults.closed", "11"),
            refused("budget", "0.0001"),
            refused("ops.wait", "1.5"),
        ];

        insta::assert_snapshot!(sentences.join("\n"));
    }
}
