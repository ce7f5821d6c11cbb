//! Random surveys of small networks with random faults, for tests that look for broken invariants.

use ray_on_golem::{
    core::{
        market::{
            choice::Choice,
            spec::{
                ExpectedUsage, Gib, Image, ImageRef, Load, NodeSpec, PaymentInterval, PriceLimits,
            },
        },
        planted::Bug,
        reputation::{Reputation, Standing},
        rng::Seed,
        survey::SurveyPlan,
    },
    units::{Glm, Span, Timestamp},
    yagna::PlatformId,
};

use crate::{
    fault::{Faults, Outage, OutageKind},
    provider,
    scenario::{
        Behaviour, Conduct, Daemon, Distribution, Known, Outbound, Population, Quirk, Scenario,
        distribution::ONE,
    },
    world::{Run, Setup, World},
};

/// One survey of one small network.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What all randomness of the run grows from.
    pub seed: u64,
    /// How long to gather, in seconds.
    pub gather_secs: u64,
    /// Providers of each kind, by [`Plan::KINDS`].
    pub providers: Vec<(u8, u8)>,
    /// What goes wrong on the way.
    pub faults: Faults,
    /// Negotiations side by side.
    pub parallel: usize,
    /// Offers remembered.
    pub pool_capacity: usize,
    /// How many of the first providers are blacklisted.
    pub blacklisted: u8,
    /// The user ends the survey after so many seconds.
    pub end_after_secs: Option<u64>,
    /// The process crashes at its nth call.
    pub crash_at_call: Option<u64>,
    /// Calls pass through their wire form.
    pub is_wired: bool,
}

impl Plan {
    /// How many kinds of providers there are.
    pub const KINDS: u8 = 18;

    /// The plan of a seed: about half of the features on.
    #[must_use]
    pub fn from_seed(number: u64) -> Self {
        let seed = Seed::new(number);
        let draw = |what: &str, bound: u64| seed.below(bound, what, 0, 0);
        let is_on = |what: &str| draw(what, 2) == 0;
        let percent = |what: &str| {
            let on = is_on("faults") && is_on(what);
            if on { u8::try_from(draw(&format!("{what} of"), 15)).unwrap_or(0) } else { 0 }
        };
        let kinds = (0..Self::KINDS)
            .filter(|kind| *kind == 0 || seed.below(3, "kind", u64::from(*kind), 0) == 0);
        let counts = |kind: u8| 1 + seed.below(6, "count", u64::from(kind), 0);
        let gather_secs = if draw("long", 6) == 0 { 4_500 } else { 20 + draw("gather", 300) };
        let outage = (is_on("faults") && is_on("outage")).then(|| Outage {
            at: Span::secs(draw("outage at", gather_secs)),
            lasts: Span::secs(1 + draw("outage for", 200)),
            kind: match draw("outage kind", 3) {
                0 => OutageKind::Restart,
                1 => OutageKind::Down,
                _ => OutageKind::Hang,
            },
        });
        Self {
            seed: number,
            gather_secs,
            providers: kinds.map(|kind| (kind, u8::try_from(counts(kind)).unwrap_or(1))).collect(),
            faults: Faults {
                request_lost: percent("request lost"),
                reply_lost: percent("reply lost"),
                fail_500: percent("500"),
                closed: percent("closed"),
                garbage: percent("garbage"),
                refuse: percent("refuse"),
                // Drills of clusters have them.
                wrong_ids: 0,
                outages: outage.into_iter().collect(),
            },
            parallel: 1 + usize::try_from(draw("parallel", 12)).unwrap_or(0),
            pool_capacity: if is_on("small pool") { 8 } else { 1_000 },
            blacklisted: u8::try_from(draw("blacklisted", 3)).unwrap_or(0),
            end_after_secs: (draw("end", 4) == 0).then(|| draw("end after", gather_secs)),
            crash_at_call: (draw("crash", 4) == 0).then(|| 1 + draw("crash at", 60)),
            is_wired: is_on("wired"),
        }
    }

    /// Runs it with an auditor.
    #[must_use]
    pub fn run(&self, bug: Option<Bug>, is_traced: bool) -> Run {
        let setup = Setup {
            scenario: self.scenario(),
            seed: Seed::new(self.seed),
            is_audited: true,
            is_wired: self.is_wired,
            is_traced,
            bug,
            end_after: self.end_after_secs.map(Span::secs),
            crash_at_call: self.crash_at_call,
        };
        World::new(setup).survey(self.survey())
    }

    fn scenario(&self) -> Scenario {
        let populations =
            self.providers.iter().map(|(kind, count)| population(*kind, *count)).collect();
        Scenario {
            about: "a plan".to_owned(),
            daemon: Daemon { wallet: Glm::from_whole(self.seed % 3), ..Daemon::default() },
            populations,
            faults: self.faults.clone(),
        }
    }

    fn survey(&self) -> SurveyPlan {
        let blacklisted = (0..u64::from(self.blacklisted)).map(|nth| {
            let standing =
                Standing { blacklisted_until: Some(Timestamp::NEVER), ..Standing::default() };
            (provider::identity(Seed::new(self.seed), nth), standing)
        });
        SurveyPlan {
            spec: spec(),
            image: image("plan"),
            platform: PlatformId::from("erc20-hoodi-tglm"),
            funds: Glm::from_whole(1),
            duration: Span::secs(self.gather_secs),
            reputation: Reputation(blacklisted.collect()),
            parallel: self.parallel,
            explains: false,
            pool_capacity: self.pool_capacity,
        }
    }
}

/// The node shape of plans: the default file's.
#[must_use]
pub fn spec() -> NodeSpec {
    let half = Glm::from_atto(500_000_000_000_000_000);
    NodeSpec {
        subnet_tag: "public".to_owned(),
        priority_subnet_tag: Some("heads".to_owned()),
        image: ImageRef::Tag("plan".to_owned()),
        runtime: "vm".to_owned(),
        capabilities: vec!["vpn".to_owned(), "inet".to_owned(), "manifest-support".to_owned()],
        outbound_urls: vec!["https://pypi.dev.golem.network".to_owned()],
        min_mem: Gib::ZERO,
        min_storage: Gib::ZERO,
        min_cpu_threads: 0,
        max_cpu_threads: None,
        node_descriptor: None,
        limits: PriceLimits {
            per_cpu_expected_usage: Some(ExpectedUsage {
                cpu_load: Load::from_millionths(800_000),
                duration: Span::mins(30),
                max_cost: Some(Glm::from_atto(1_500_000_000_000_000_000)),
            }),
            max_start_price: Some(half),
            max_cpu_per_hour_price: Some(half),
            max_env_per_hour_price: Some(half),
        },
        choice: Choice::original(),
        payment_interval: PaymentInterval { minimal: Span::hours(12), optimal: Span::hours(12) },
    }
}

/// An image that no registry needs to know.
#[must_use]
pub fn image(tag: &str) -> Image {
    let part = |which| Seed::new(0).draw(tag, which, 0);
    let sha3 = format!("{:016x}{:016x}{:016x}{:08x}", part(0), part(1), part(2), part(3) as u32);
    Image { url: format!("http://registry.invalid/{tag}"), sha3 }
}

fn population(kind: u8, count: u8) -> Population {
    let seconds = |from: u64, to: u64| Distribution::uniform(from * ONE, to * ONE);
    let times = |percent: u64| Distribution::fixed(percent * (ONE / 100));
    let (behaviour, quirk) = match kind {
        1 => (Behaviour::Busy, Quirk::None),
        2 => (Behaviour::Outbound(Outbound::NoRule), Quirk::None),
        3 => (Behaviour::Silent, Quirk::None),
        4 => (Behaviour::Slow(seconds(1, 45)), Quirk::None),
        5 => (Behaviour::Withdraws(seconds(0, 60)), Quirk::None),
        6 => (Behaviour::Reprices { after: seconds(5, 60), factor: times(120) }, Quirk::None),
        7 => (Behaviour::Raises(times(10_000)), Quirk::None),
        8 => (Behaviour::Endless, Quirk::None),
        9 => (Behaviour::Unreachable(seconds(1, 60)), Quirk::None),
        10 => (Behaviour::Refuses(String::new()), Quirk::None),
        11 => (Behaviour::Refuses("No, \u{1b}[31mnever\n".to_owned()), Quirk::None),
        12 => (Behaviour::Honest, Quirk::ReversedVector),
        13 => (Behaviour::Honest, Quirk::UnknownCounterFree),
        14 => (Behaviour::Honest, Quirk::UnknownCounterPriced),
        15 => (Behaviour::Honest, Quirk::ShortVector),
        16 => (Behaviour::Honest, Quirk::TextCoefficients),
        17 => (Behaviour::Honest, Quirk::NoTerms),
        _ => (Behaviour::Honest, Quirk::None),
    };
    let price = Distribution::uniform(0, ONE * 6 / 10);
    Population {
        name: format!("kind{kind}"),
        count: u64::from(count),
        offers: 1 + u64::from(kind) % 3,
        cpu_hour: price.clone(),
        env_hour: price.clone(),
        start: price,
        threads: Distribution::uniform(ONE, 64 * ONE),
        memory: Distribution::uniform(ONE, 64 * ONE),
        storage: Distribution::fixed(40 * ONE),
        capabilities: ["vpn", "inet", "manifest-support"].map(str::to_owned).to_vec(),
        subnet: if kind == 13 { "heads" } else { "public" }.to_owned(),
        runtime: "vm".to_owned(),
        platforms: vec!["erc20-hoodi-tglm".to_owned()],
        arrives: None,
        thinks_ms: Distribution::uniform(ONE, 900 * ONE),
        behaviour,
        quirk,
        conduct: Conduct::default(),
        known: Known::default(),
    }
}
