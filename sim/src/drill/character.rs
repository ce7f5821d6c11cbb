//! What kinds of providers a drill's network has: one word for each.

use ray_on_golem::units::Glm;

use crate::scenario::{
    Amounts, Approval, Behaviour, Conduct, Distribution, Invoices, Known, Notes, Payee, Population,
    Quirk, Ssh, distribution::ONE,
};

macro_rules! characters {
    ($($(#[doc = $doc:literal])+ $name:ident $word:literal;)+) => {
        /// How the providers of a group act.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Character {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Character {
            /// Every character.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$name),+];

            /// The word for it in plans.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

characters! {
    /// As the provider agent does.
    Honest "honest";
    /// Honest, and recommended: on the subnet for heads.
    Recommended "recommended";
    /// Honest, and dear.
    Dear "dear";
    /// Makes two offers for the same capacity.
    OffersTwice "offers-twice";
    /// Never answers a proposal.
    Mute "mute";
    /// Refuses agreements.
    Rejects "rejects";
    /// Never answers agreements.
    Silent "silent";
    /// Approves after the time for it.
    Late "late";
    /// Approves, and ends it at once.
    Quits "quits";
    /// Cannot create activities.
    CreateFails "create-fails";
    /// Never answers when an activity is to be created.
    CreateHangs "create-hangs";
    /// Cannot deploy images.
    DeployFails "deploy-fails";
    /// Deploys for longer than anybody waits.
    DeploySlow "deploy-slow";
    /// The bootstrap script fails.
    ScriptFails "script-fails";
    /// Ends agreements after minutes.
    Ends "ends";
    /// Is gone after minutes.
    Vanishes "vanishes";
    /// Its activities hang after minutes.
    Hangs "hangs";
    /// Does not say that it has destroyed an activity.
    Unacknowledged "unacknowledged";
    /// Goes on charging for what was destroyed.
    Zombie "zombie";
    /// Its nodes never answer over ssh.
    SshNever "ssh-never";
    /// Its nodes answer over ssh after a minute.
    SshLate "ssh-late";
    /// Its nodes answer over ssh now and then.
    SshFlapping "ssh-flapping";
    /// The ssh service of its nodes gets stuck after minutes.
    SshStuck "ssh-stuck";
    /// The ssh service of its nodes gets stuck every other day.
    SshHiccups "ssh-hiccups";
    /// Honest, and runs an image that has no `/root_copy`.
    BareImage "bare-image";
    /// Bills ten times what is due.
    Overcharges "overcharges";
    /// Bills a little more than is due.
    Shaves "shaves";
    /// Bills less with each debit note.
    Falling "falling";
    /// Puts another wallet on its bills.
    Stranger "stranger";
    /// Puts another platform on its bills.
    Elsewhere "elsewhere";
    /// Writes no debit notes.
    NoNotes "no-notes";
    /// Writes each debit note twice.
    NotesTwice "notes-twice";
    /// Writes a debit note each second.
    Flood "flood";
    /// Writes no invoice.
    NoInvoice "no-invoice";
    /// Writes an invoice while the node runs.
    EarlyInvoice "early-invoice";
    /// Writes two invoices.
    TwoInvoices "two-invoices";
    /// Writes its invoice after half an hour.
    LateInvoice "late-invoice";
    /// Takes long to acknowledge that its bill was accepted.
    SlowAck "slow-ack";
}

impl Character {
    /// The character that plans call by this word.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|character| character.name() == name)
    }

    /// So many providers of this character.
    #[must_use]
    pub fn population(self, count: u32) -> Population {
        let mut population = honest(self.name(), count);
        if self == Self::Recommended {
            population.subnet = "heads".to_owned();
        }
        if self == Self::Dear {
            let price = Distribution::uniform(ONE * 3 / 10, ONE * 45 / 100);
            population.cpu_hour = price.clone();
            population.env_hour = price;
            population.start = Distribution::uniform(ONE / 10, ONE * 4 / 10);
        }
        if self == Self::OffersTwice {
            population.offers = 2;
        }
        if self == Self::Mute {
            population.behaviour = Behaviour::Silent;
        }
        self.adjust(&mut population.conduct);
        population
    }

    fn adjust(self, conduct: &mut Conduct) {
        let secs = |from: u64, to: u64| Distribution::uniform(from * ONE, to * ONE);
        match self {
            Self::Honest | Self::Recommended | Self::Dear | Self::OffersTwice | Self::Mute => {}
            Self::Rejects => conduct.approval = Approval::Rejects("Node is busy.".to_owned()),
            Self::Silent => conduct.approval = Approval::Silent,
            Self::Late => conduct.approval = Approval::Late,
            Self::Quits => conduct.approval = Approval::Quits,
            Self::CreateFails => conduct.create_fails = 100,
            Self::CreateHangs => conduct.create_hangs = 100,
            Self::DeployFails => conduct.deploy_fails = 100,
            Self::DeploySlow => conduct.deploy = secs(400, 900),
            Self::ScriptFails => conduct.command_fails = Some(2),
            Self::Ends => conduct.terminates_after = Some(secs(30, 900)),
            Self::Vanishes => conduct.vanishes_after = Some(secs(10, 900)),
            Self::Hangs => conduct.unresponsive_after = Some(secs(30, 900)),
            Self::Unacknowledged => conduct.destroy_unacknowledged = 100,
            Self::Zombie => conduct.is_zombie = true,
            Self::SshNever => conduct.ssh = Ssh::Never,
            Self::SshLate => conduct.ssh = Ssh::Up(secs(40, 80)),
            Self::SshFlapping => conduct.ssh = Ssh::Flapping(40),
            Self::SshStuck => conduct.ssh = Ssh::Stuck(secs(60, 900)),
            Self::SshHiccups => conduct.ssh = Ssh::Hiccups(secs(150_000, 200_000)),
            Self::BareImage => conduct.has_bare_image = true,
            Self::Overcharges => conduct.amounts = Amounts::Times(Distribution::fixed(10 * ONE)),
            Self::Shaves => conduct.amounts = Amounts::Adds(Glm::from_atto(1_000_000_000)),
            Self::Falling => conduct.amounts = Amounts::Falling,
            Self::Stranger => conduct.payee = Payee::Stranger,
            Self::Elsewhere => conduct.payee = Payee::OtherPlatform,
            Self::NoNotes => conduct.notes = Notes::Never,
            Self::NotesTwice => conduct.notes = Notes::Twice,
            Self::Flood => conduct.notes = Notes::Flood,
            Self::NoInvoice => conduct.invoices = Invoices::Never,
            Self::EarlyInvoice => conduct.invoices = Invoices::Early,
            Self::TwoInvoices => conduct.invoices = Invoices::Twice,
            Self::LateInvoice => conduct.invoice_after = secs(1_200, 2_400),
            Self::SlowAck => conduct.acknowledges_ms = secs(8_000, 30_000),
        }
    }
}

fn honest(name: &str, count: u32) -> Population {
    let price = Distribution::uniform(ONE / 100, ONE / 5);
    Population {
        name: name.to_owned(),
        count: u64::from(count),
        offers: 1,
        cpu_hour: price.clone(),
        env_hour: price,
        start: Distribution::uniform(0, ONE / 100),
        threads: Distribution::uniform(ONE, 8 * ONE),
        memory: Distribution::uniform(4 * ONE, 32 * ONE),
        storage: Distribution::fixed(40 * ONE),
        capabilities: ["vpn", "inet", "manifest-support"].map(str::to_owned).to_vec(),
        subnet: "public".to_owned(),
        runtime: "vm".to_owned(),
        platforms: vec!["erc20-hoodi-tglm".to_owned()],
        arrives: None,
        thinks_ms: Distribution::uniform(ONE, 900 * ONE),
        behaviour: Behaviour::Honest,
        quirk: Quirk::None,
        conduct: Conduct::default(),
        known: Known::default(),
    }
}
