//! The market that cases are played in: each kind of provider sells in a subnet of its own, in the
//! lab as `provider.py` can do it, in the simulation as a population.

use std::time::Duration;

use golem_sim::scenario::Scenario;

use crate::lab::{Agreements, Billing, Market, Mischief, Mode};

/// A kind of provider, and its subnet.
pub(crate) struct Shop {
    /// The subnet.
    pub(crate) name: &'static str,
    /// What it does in the simulation.
    conduct: &'static str,
    behaviour: &'static str,
    prices: &'static str,
    /// What it does in the lab.
    market: fn(Market) -> Market,
}

/// From one debit note to the next, where notes are written.
const NOTES: Duration = Duration::from_secs(1);

/// Everybody but the public market, which has four offers, one of which refuses.
pub(crate) const SHOPS: [Shop; 21] = [
    shop("willing", "", |it| it),
    Shop { behaviour: "silent", ..shop("silent", "", |it| Market { mode: Mode::Silent, ..it }) },
    Shop {
        behaviour: "{refuses: Node is busy.}",
        ..shop("refusing", "", |it| Market { mode: Mode::Refuse, ..it })
    },
    shop("rejecting", "approval: {rejects: Node is busy.}", |it| Market {
        agreements: Agreements::Refuse,
        ..it
    }),
    shop("ignoring", "approval: silent", |it| Market { agreements: Agreements::Ignore, ..it }),
    shop("thoughtful", "approves_ms: 3000", |it| Market {
        agreement_after: Duration::from_secs(3),
        ..it
    }),
    shop("lifeless", "create_hangs: 100", |it| Market { starts_activities: false, ..it }),
    shop("failing", "command_fails: 2", |it| Market { command_fails: Some(2), ..it }),
    shop("slow", "deploy: 3, start: 3, run: 3", |it| Market {
        command_takes: Duration::from_secs(3),
        ..it
    }),
    shop("billing", "", |it| Market { billing: Some(Billing::every(NOTES)), ..it }),
    Shop {
        prices: "cpu_hour: 0, env_hour: 0",
        ..shop("free", "", |it| Market {
            billing: Some(Billing::every(NOTES)),
            coefficients: ["0", "0", "0"],
            ..it
        })
    },
    shop("overcharging", "amounts: {times: 1000}", |it| Market {
        billing: Some(Billing { overcharge: 1000, ..Billing::every(NOTES) }),
        ..it
    }),
    shop("duplicate", "notes: twice, invoices: twice", |it| mischief(it, &[Mischief::Duplicate])),
    shop("falling", "amounts: falling", |it| mischief(it, &[Mischief::LowerNotes])),
    shop("negative", "amounts: negative", |it| mischief(it, &[Mischief::NegativeNotes])),
    shop("overdue", "past_due: true", |it| mischief(it, &[Mischief::PastDue])),
    shop("hasty", "invoices: early", |it| mischief(it, &[Mischief::EarlyInvoice])),
    shop("deaf", "acknowledges_ms: 20000", |it| it),
    shop("vanishing", "vanishes_after: 3", |it| it),
    shop("quitting", "approval: quits", |it| it),
    shop("greedy", "invoices: twice", |it| mischief(it, &[Mischief::SecondInvoice])),
];

const fn shop(name: &'static str, conduct: &'static str, market: fn(Market) -> Market) -> Shop {
    Shop { name, conduct, behaviour: "honest", prices: "cpu_hour: 0.36, env_hour: 0.18", market }
}

fn mischief(market: Market, kinds: &'static [Mischief]) -> Market {
    Market { billing: Some(Billing { mischief: kinds, ..Billing::every(NOTES) }), ..market }
}

impl Shop {
    /// The shop in a lab.
    pub(crate) fn market(&self) -> Market {
        (self.market)(Market { subnet: self.name, ..Market::of(1, 1) })
    }

    fn population(&self) -> String {
        let Self { name, conduct, behaviour, prices, .. } = self;
        let quick = quick(conduct);
        format!(
            "  - {{ name: {name}, subnet: {name}, count: 1, arrives: 0, threads: 8, memory: 16, \
             storage: 100, {prices}, behaviour: {behaviour}, \
             conduct: {{ {quick} }} }}\n"
        )
    }
}

/// The conduct of the lab's providers: they do at once what they are not told to take time for.
fn quick(conduct: &str) -> String {
    let usual = [
        ("approves_ms", "0"),
        ("deploy", "0"),
        ("start", "0"),
        ("run", "0"),
        ("invoice_after", "0"),
        ("terminates_unaccepted", "false"),
        ("load", "0.125"),
    ];
    let own = |key: &str| conduct.split(", ").any(|pair| pair.starts_with(&format!("{key}:")));
    let mut all: Vec<String> = if conduct.is_empty() { vec![] } else { vec![conduct.to_owned()] };
    all.extend(usual.iter().filter(|(key, _)| !own(key)).map(|(key, it)| format!("{key}: {it}")));
    all.join(", ")
}

/// The market of the lab when it starts.
pub(crate) fn public_market() -> Market {
    Market { refuse_every: 4, ..Market::of(1, 4) }
}

/// The text of the same market as a scenario.
pub(crate) fn scenario_text() -> String {
    let shops: String = SHOPS.iter().map(Shop::population).collect();
    format!(
        "daemon: {{ warm: 1, wallet: 1000, hop_ms: 20, sends_every: 1, confirms_after: 1 }}\npopulations:\n  - {{ name: good, count: 1, \
         offers: 3, arrives: 0 }}\n  - {{ name: bad, count: 1, arrives: 0, behaviour: {{ refuses: \
         Node is busy. }} }}\n{shops}"
    )
}

/// The same market as a scenario.
pub(crate) fn scenario() -> Scenario {
    Scenario::parse(scenario_text().as_bytes()).expect("a scenario")
}
