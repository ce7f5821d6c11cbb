//! Plans from seeds: for each a random part of the features, so that rare pairs of them meet.

use ray_on_golem::{core::rng::Seed, units::Span, yagna::NetworkPath};

use super::{
    character::Character,
    plan::{Choosing, Looks, Op, Plan},
};
use crate::{
    fault::{Faults, Outage, OutageKind},
    scenario::Bus,
};

/// What kind of plans are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each feature is on half of the time.
    Swarm,
    /// Small and short.
    Lite,
    /// Nothing goes wrong.
    Calm,
    /// Everything is on.
    Hostile,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn from_seed(number: u64, mode: Mode) -> Self {
        let dice = Dice { seed: Seed::new(number), mode };
        let budget = match dice.below("budget", 5) {
            0 => 20 + dice.below("small budget", 200),
            1 => 300 + dice.below("medium budget", 1_000),
            _ => 2_000 + dice.below("large budget", 20_000),
        };
        let has_limit = dice.is_on("limit") && dice.below("limit at all", 3) == 0;
        let wallet = if dice.is_on("poor") && dice.below("how poor", 6) == 0 {
            budget / 2
        } else {
            1_000_000
        };
        Self {
            about: None,
            invariant: None,
            seed: number,
            market: dice.market(),
            populations: Vec::new(),
            budget,
            max_per_hour: has_limit.then(|| 200 + dice.below("limit of", 3_000)),
            idle_minutes: (dice.is_on("idle") && dice.below("idle at all", 4) == 0)
                .then(|| 5 + dice.below("idle of", 60)),
            max_workers: (dice.below("max workers", 4) == 0).then_some(6),
            wallet,
            path: match dice.below("path", 6) {
                0..=2 => Some(NetworkPath::Daemon),
                3..=4 => None,
                _ => Some(NetworkPath::Bus),
            },
            bus: match dice.below("bus", 4) {
                0 if dice.is_on("bus absent") => Bus::Absent,
                1 if dice.is_on("bus deaf") => Bus::Deaf,
                _ => Bus::Good,
            },
            is_wired: dice.is_on("wired"),
            faults: dice.faults(),
            crash_chance: if dice.is_on("crashes") && dice.below("crash at all", 2) == 0 {
                200 + dice.below("crash chance", 3_000)
            } else {
                0
            },
            choice: (dice.below("choice", 3) > 0).then(|| dice.choosing()),
            ops: dice.ops(),
        }
    }
}

/// How far a clock may be ahead, in minutes.
fn far(which: u64) -> i64 {
    match which {
        0 => -180,
        1 => -7,
        2 => 3,
        3 => 180,
        _ => 1_000_000,
    }
}

struct Dice {
    seed: Seed,
    mode: Mode,
}

impl Dice {
    fn below(&self, what: &str, bound: u64) -> u64 {
        self.seed.below(bound, what, 0, 0)
    }

    fn nth_below(&self, what: &str, nth: u64, bound: u64) -> u64 {
        self.seed.below(bound, what, nth, 1)
    }

    /// Whether a feature that does harm is on.
    fn is_on(&self, what: &str) -> bool {
        match self.mode {
            Mode::Calm => false,
            Mode::Hostile => true,
            Mode::Swarm | Mode::Lite => self.below(what, 2) == 0,
        }
    }

    fn market(&self) -> std::collections::BTreeMap<Character, u32> {
        let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let mut market = std::collections::BTreeMap::new();
        let honest = match self.mode {
            Mode::Lite => 2 + self.below("honest", 3),
            Mode::Swarm | Mode::Calm | Mode::Hostile => 4 + self.below("honest", 8),
        };
        market.insert(Character::Honest, small(honest));
        if self.is_on("characters") {
            for (nth, character) in (0..).zip(Character::ALL) {
                let rarity = if self.mode == Mode::Hostile { 3 } else { 6 };
                if character != Character::Honest && self.nth_below("character", nth, rarity) == 0 {
                    let count = 1 + self.nth_below("count", nth, 3);
                    market.insert(character, small(count));
                }
            }
        }
        market
    }

    fn faults(&self) -> Faults {
        let is_faulty = self.is_on("faults");
        let percent = |what: &str| {
            let on = is_faulty && self.is_on(what);
            let most = if self.mode == Mode::Hostile { 16 } else { 8 };
            if on { u8::try_from(self.below(&format!("{what} of"), most)).unwrap_or(0) } else { 0 }
        };
        let outage = (is_faulty && self.is_on("outage")).then(|| Outage {
            at: Span::secs(self.below("outage at", 1_500)),
            lasts: Span::secs(5 + self.below("outage for", 200)),
            kind: match self.below("outage kind", 3) {
                0 => OutageKind::Restart,
                1 => OutageKind::Down,
                _ => OutageKind::Hang,
            },
        });
        Faults {
            request_lost: percent("request lost"),
            reply_lost: percent("reply lost"),
            fail_500: percent("500"),
            closed: percent("closed"),
            garbage: percent("garbage"),
            refuse: percent("refuse"),
            wrong_ids: percent("wrong ids"),
            outages: outage.into_iter().collect(),
        }
    }

    fn ops(&self) -> Vec<Op> {
        let count = match self.mode {
            Mode::Lite => 2 + self.below("ops", 6),
            Mode::Swarm | Mode::Calm | Mode::Hostile => 4 + self.below("ops", 18),
        };
        // Most clocks agree; some never do, and some only until, or from, the middle on.
        let begins = self.is_on("clock") && self.below("clock at first", 3) == 0;
        let mut ops = vec![Op::Head];
        if begins {
            ops.insert(0, Op::Clock(far(self.below("first clock", 5))));
        }
        if self.is_on("idle") {
            ops.push(Op::Looks(Looks::ALL[self.below("looks at first", 4) as usize]));
        }
        ops.extend((0..count).flat_map(|nth| [self.op(nth), self.gap(nth)]));
        ops
    }

    fn choosing(&self) -> Choosing {
        let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Choosing {
            hedge: 1 + small(self.below("hedge", 4)),
            newcomers: [0, 10, 25, 100][self.below("newcomers", 4) as usize],
            barred: if self.is_on("barred") { small(self.below("how many barred", 3)) } else { 0 },
        }
    }

    fn gap(&self, nth: u64) -> Op {
        Op::Wait(match self.nth_below("gap kind", nth, 4) {
            0 => self.nth_below("gap", nth, 3),
            1 => self.nth_below("gap", nth, 30),
            2 => self.nth_below("gap", nth, 180),
            _ => self.nth_below("gap", nth, 700),
        })
    }

    fn op(&self, nth: u64) -> Op {
        let draw = |bound| self.nth_below("operand", nth, bound);
        let small = |bound| u32::try_from(draw(bound)).unwrap_or(0);
        let kind = self.nth_below("op", nth, 100);
        match kind {
            0..=24 => Op::Request(1 + small(3)),
            25..=34 => Op::Scale(small(6)),
            35..=49 => Op::Terminate(small(6)),
            50 => Op::TerminateUnknown,
            51..=52 => Op::TerminateAgain(small(6)),
            53 => Op::RayFails(1 + small(5)),
            54 => Op::RayStarts,
            55 if self.is_on("idle") => Op::Looks(Looks::ALL[draw(4) as usize]),
            56 if self.is_on("idle") => Op::Connect(small(3)),
            55..=56 => Op::Tag(small(6)),
            57..=60 => Op::Repeat,
            61 => Op::Misuse,
            62 => Op::Betray(small(10)),
            63 => Op::Law(small(8)),
            64..=67 => Op::Budget(100 + draw(20_000)),
            68..=73 => Op::Head,
            74..=78 => Op::Down,
            79..=82 => Op::Switch,
            83 => Op::Shutdown,
            84..=92 if self.is_on("crashes") => Op::Crash(draw(60)),
            93..=94 | 96 if self.is_on("outage") => Op::Restart(1 + draw(90)),
            95 if self.is_on("forgets") => Op::Forget,
            97 if self.is_on("sleep") => Op::Suspend(1 + draw(130)),
            98 => Op::Block(small(12)),
            99 if self.is_on("clock") => Op::Clock(far(draw(5))),
            _ => Op::Wait(draw(900)),
        }
    }
}
