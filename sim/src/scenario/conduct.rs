//! The conduct of a population after signing: knobs that are all off unless they are turned on.

use ray_on_golem::config::yaml::{Field, Section, YamlError};
use ray_on_golem::units::{Glm, Rounding};

use super::{Distribution, distribution::ONE};

/// How a provider behaves once an agreement is proposed to it. The default is the honest provider
/// agent on a sound machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conduct {
    /// What it says to an agreement.
    pub approval: Approval,
    /// How long it takes to say so, in milliseconds.
    pub approves_ms: Distribution,
    /// In how many percent of cases its capacity was sold elsewhere in the meantime.
    pub oversells: u8,
    /// How long it takes to create an activity, in milliseconds.
    pub creates_ms: Distribution,
    /// In how many percent of cases it fails to.
    pub create_fails: u8,
    /// In how many percent of cases it never answers to that.
    pub create_hangs: u8,
    /// Seconds to deploy the image.
    pub deploy: Distribution,
    /// In how many percent of cases that fails.
    pub deploy_fails: u8,
    /// Seconds to start the container.
    pub start: Distribution,
    /// Seconds to run a program.
    pub run: Distribution,
    /// Which command of an activity fails, counted from 0.
    pub command_fails: Option<u64>,
    /// Whether its image has nothing but what every system has: there is no `/root_copy`.
    pub has_bare_image: bool,
    /// Seconds from the creation of an activity until it answers nothing more.
    pub unresponsive_after: Option<Distribution>,
    /// Seconds from approval until it ends the agreement.
    pub terminates_after: Option<Distribution>,
    /// Seconds from approval until it is gone for good, with all that runs there.
    pub vanishes_after: Option<Distribution>,
    /// In how many percent of cases it destroys an activity and does not say so.
    pub destroy_unacknowledged: u8,
    /// Whether it goes on charging for what was destroyed.
    pub is_zombie: bool,
    /// How busy a node is, in millionths of all its threads.
    pub load: u64,
    /// How its ssh server behaves.
    pub ssh: Ssh,
    /// What it writes on its bills.
    pub amounts: Amounts,
    /// Whose wallet is to be paid, and where.
    pub payee: Payee,
    /// Whether its bills were due before they were written.
    pub is_past_due: bool,
    /// Its debit notes.
    pub notes: Notes,
    /// Its invoices.
    pub invoices: Invoices,
    /// Seconds from the end of an agreement to its invoice.
    pub invoice_after: Distribution,
    /// How long it takes to acknowledge an acceptance, in milliseconds.
    pub acknowledges_ms: Distribution,
    /// Whether it ends an agreement whose debit notes are not accepted, or not paid, in time.
    pub terminates_unaccepted: bool,
}

/// What a provider says to an agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approval {
    /// Yes.
    Approves,
    /// No, with these words.
    Rejects(String),
    /// Nothing.
    Silent,
    /// Yes, but after the time for it.
    Late,
    /// Yes, and ends it at once.
    Quits,
}

/// How an ssh server behaves once it was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ssh {
    /// Answers after so many seconds.
    Up(Distribution),
    /// Never answers.
    Never,
    /// Refuses so many percent of connections, until it is restarted.
    Flapping(u8),
    /// Stops answering after so many seconds, until it is restarted; once.
    Stuck(Distribution),
    /// The same, again after each start.
    Hiccups(Distribution),
}

/// What a provider writes on its bills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Amounts {
    /// What the use has cost.
    Honest,
    /// So many times what it has cost.
    Times(Distribution),
    /// So much more.
    Adds(Glm),
    /// Less on each debit note than on the one before it.
    Falling,
    /// What the use has cost, below zero on debit notes.
    Negative,
}

/// Whose wallet is to be paid, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payee {
    /// The provider's, on the platform that was agreed on.
    Own,
    /// Somebody else's.
    Stranger,
    /// The provider's, on another platform.
    OtherPlatform,
}

/// How a provider writes debit notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notes {
    /// One at each interval.
    Regular,
    /// None.
    Never,
    /// Each of them twice.
    Twice,
    /// One each second.
    Flood,
}

/// How a provider writes invoices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invoices {
    /// One after the end of the agreement.
    Regular,
    /// None.
    Never,
    /// One while the agreement runs, at its first debit note.
    Early,
    /// Two after the end of the agreement.
    Twice,
}

impl Default for Conduct {
    fn default() -> Self {
        let seconds = |from: u64, to: u64| Distribution::uniform(from * ONE, to * ONE);
        Self {
            approval: Approval::Approves,
            approves_ms: seconds(100, 2_000),
            oversells: 0,
            creates_ms: seconds(500, 1_000),
            create_fails: 0,
            create_hangs: 0,
            deploy: seconds(10, 60),
            deploy_fails: 0,
            start: seconds(1, 5),
            run: seconds(1, 4),
            command_fails: None,
            has_bare_image: false,
            unresponsive_after: None,
            terminates_after: None,
            vanishes_after: None,
            destroy_unacknowledged: 0,
            is_zombie: false,
            load: 500_000,
            ssh: Ssh::Up(seconds(0, 2)),
            amounts: Amounts::Honest,
            payee: Payee::Own,
            is_past_due: false,
            notes: Notes::Regular,
            invoices: Invoices::Regular,
            invoice_after: seconds(1, 3),
            acknowledges_ms: seconds(5, 50),
            terminates_unaccepted: true,
        }
    }
}

const KEYS: [&str; 27] = [
    "approval",
    "approves_ms",
    "oversells",
    "creates_ms",
    "create_fails",
    "create_hangs",
    "deploy",
    "deploy_fails",
    "start",
    "run",
    "command_fails",
    "bare_image",
    "unresponsive_after",
    "terminates_after",
    "vanishes_after",
    "destroy_unacknowledged",
    "zombie",
    "load",
    "ssh",
    "amounts",
    "payee",
    "past_due",
    "notes",
    "invoices",
    "invoice_after",
    "acknowledges_ms",
    "terminates_unaccepted",
];

impl Conduct {
    /// Divides the time that it takes.
    pub(super) fn hasten(&mut self, divisor: u64) {
        for spread in [
            &mut self.approves_ms,
            &mut self.creates_ms,
            &mut self.deploy,
            &mut self.start,
            &mut self.run,
            &mut self.invoice_after,
            &mut self.acknowledges_ms,
        ] {
            *spread = spread.over(divisor);
        }
        let ends =
            [&mut self.unresponsive_after, &mut self.terminates_after, &mut self.vanishes_after];
        for spread in ends.into_iter().flatten() {
            *spread = spread.over(divisor);
        }
        if let Ssh::Up(after) | Ssh::Stuck(after) | Ssh::Hiccups(after) = &mut self.ssh {
            *after = after.over(divisor);
        }
    }

    pub(super) fn read(field: &Field<'_>) -> Result<Self, YamlError> {
        let section = field.section()?;
        section.deny_unknown(&KEYS)?;
        let default = Self::default();
        let spread = |key: &str, default: Distribution| {
            Ok(section.read(key, Distribution::read)?.unwrap_or(default))
        };
        let is = |key: &str, default: bool| {
            Ok(section.read(key, |field| field.flag())?.unwrap_or(default))
        };
        let percent = |key: &str| percentage(&section, key);
        let after = |key: &str| section.read(key, Distribution::read);
        Ok(Self {
            approval: section.read("approval", Approval::read)?.unwrap_or(default.approval),
            approves_ms: spread("approves_ms", default.approves_ms)?,
            oversells: percent("oversells")?,
            creates_ms: spread("creates_ms", default.creates_ms)?,
            create_fails: percent("create_fails")?,
            create_hangs: percent("create_hangs")?,
            deploy: spread("deploy", default.deploy)?,
            deploy_fails: percent("deploy_fails")?,
            start: spread("start", default.start)?,
            run: spread("run", default.run)?,
            command_fails: section.read("command_fails", |field| field.whole(0..=1_000_u64))?,
            has_bare_image: is("bare_image", default.has_bare_image)?,
            unresponsive_after: after("unresponsive_after")?,
            terminates_after: after("terminates_after")?,
            vanishes_after: after("vanishes_after")?,
            destroy_unacknowledged: percent("destroy_unacknowledged")?,
            is_zombie: is("zombie", default.is_zombie)?,
            load: section.read("load", super::share)?.unwrap_or(default.load),
            ssh: section.read("ssh", Ssh::read)?.unwrap_or(default.ssh),
            amounts: section.read("amounts", Amounts::read)?.unwrap_or(default.amounts),
            payee: section.read("payee", Payee::read)?.unwrap_or(default.payee),
            is_past_due: is("past_due", default.is_past_due)?,
            notes: section.read("notes", Notes::read)?.unwrap_or(default.notes),
            invoices: section.read("invoices", Invoices::read)?.unwrap_or(default.invoices),
            invoice_after: spread("invoice_after", default.invoice_after)?,
            acknowledges_ms: spread("acknowledges_ms", default.acknowledges_ms)?,
            terminates_unaccepted: is("terminates_unaccepted", default.terminates_unaccepted)?,
        })
    }
}

impl Approval {
    fn read(field: &Field<'_>) -> Result<Self, YamlError> {
        if field.section().is_ok() {
            let (_, words) = only(field, &["rejects"])?;
            let words = if words.is_null() { "" } else { words.text()? };
            return Ok(Self::Rejects(words.to_owned()));
        }
        Ok(match field.one_of(&["approves", "silent", "late", "quits"])? {
            "silent" => Self::Silent,
            "late" => Self::Late,
            "quits" => Self::Quits,
            _ => Self::Approves,
        })
    }
}

impl Ssh {
    fn read(field: &Field<'_>) -> Result<Self, YamlError> {
        if field.section().is_err() {
            field.one_of(&["never"])?;
            return Ok(Self::Never);
        }
        let (kind, value) = only(field, &["up", "flapping", "stuck", "hiccups"])?;
        Ok(match kind {
            "hiccups" => Self::Hiccups(Distribution::read(&value)?),
            "flapping" => Self::Flapping(value.whole(0..=100_u8)?),
            "stuck" => Self::Stuck(Distribution::read(&value)?),
            _ => Self::Up(Distribution::read(&value)?),
        })
    }
}

impl Amounts {
    fn read(field: &Field<'_>) -> Result<Self, YamlError> {
        if field.section().is_err() {
            return Ok(match field.one_of(&["honest", "falling", "negative"])? {
                "falling" => Self::Falling,
                "negative" => Self::Negative,
                _ => Self::Honest,
            });
        }
        let (kind, value) = only(field, &["times", "adds"])?;
        Ok(match kind {
            "adds" => Self::Adds(value.decimal(Rounding::Exact)?),
            _ => Self::Times(Distribution::read(&value)?),
        })
    }
}

impl Payee {
    fn read(field: &Field<'_>) -> Result<Self, YamlError> {
        Ok(match field.one_of(&["own", "stranger", "other-platform"])? {
            "stranger" => Self::Stranger,
            "other-platform" => Self::OtherPlatform,
            _ => Self::Own,
        })
    }
}

impl Notes {
    fn read(field: &Field<'_>) -> Result<Self, YamlError> {
        Ok(match field.one_of(&["regular", "never", "twice", "flood"])? {
            "never" => Self::Never,
            "twice" => Self::Twice,
            "flood" => Self::Flood,
            _ => Self::Regular,
        })
    }
}

impl Invoices {
    fn read(field: &Field<'_>) -> Result<Self, YamlError> {
        Ok(match field.one_of(&["regular", "never", "early", "twice"])? {
            "never" => Self::Never,
            "early" => Self::Early,
            "twice" => Self::Twice,
            _ => Self::Regular,
        })
    }
}

/// The only key of a map, which must be one of `known`, and its value.
fn only<'a>(field: &Field<'a>, known: &[&str]) -> Result<(&'a str, Field<'a>), YamlError> {
    let section = field.section()?;
    section.deny_unknown(known)?;
    let mut fields = section.fields();
    let (Some(found), None) = (fields.next(), fields.next()) else {
        return Err(field.error(format!("needs exactly one key, such as `{}`", known[0])));
    };
    Ok(found)
}

fn percentage(section: &Section<'_>, key: &str) -> Result<u8, YamlError> {
    Ok(section.read(key, |field| field.whole(0..=100_u8))?.unwrap_or(0))
}
