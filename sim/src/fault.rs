//! What goes wrong between the machine and the daemon: knobs, each off unless it is turned on.

use ray_on_golem::{
    config::yaml::{Field, YamlError},
    core::rng::Seed,
    units::{Span, Timestamp, money::Rounding},
    yagna::request::Endpoint,
};

/// Percentages of calls, and times when the daemon is away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The request is lost on its way: nothing happens, nobody answers.
    pub request_lost: u8,
    /// It happens, but nobody answers.
    pub reply_lost: u8,
    /// Nothing happens, and the daemon answers 500.
    pub fail_500: u8,
    /// It happens, and the connection is closed before the answer.
    pub closed: u8,
    /// It happens, and the answer is garbage.
    pub garbage: u8,
    /// The connection is refused.
    pub refuse: u8,
    /// It happens, and the ids in the answer are wrong.
    pub wrong_ids: u8,
    /// Times when the daemon is away.
    pub outages: Vec<Outage>,
}

/// A time when the daemon is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// From the start of the run.
    pub at: Span,
    /// How long.
    pub lasts: Span,
    /// In which way.
    pub kind: OutageKind,
}

/// In which way the daemon is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutageKind {
    /// It ends, and starts again having forgotten its demands.
    Restart,
    /// It cannot be reached, but forgets nothing.
    Down,
    /// It takes requests and answers none.
    Hang,
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes through.
    Through,
    /// [`Faults::refuse`]
    Refused,
    /// [`Faults::request_lost`]
    RequestLost,
    /// [`Faults::fail_500`]
    Failed,
    /// [`Faults::reply_lost`]
    ReplyLost,
    /// [`Faults::closed`]
    Closed,
    /// [`Faults::garbage`]
    Garbled,
    /// [`Faults::wrong_ids`]; the number says in which way.
    WrongIds(u64),
}

impl Faults {
    /// Reads the section `faults`.
    ///
    /// # Errors
    ///
    /// Says which key is wrong, and what to write.
    pub fn read(field: &Field<'_>) -> Result<Self, YamlError> {
        let section = field.section()?;
        section.deny_unknown(&[
            "request_lost",
            "reply_lost",
            "fail_500",
            "closed",
            "garbage",
            "refuse",
            "wrong_ids",
            "outages",
        ])?;
        let percent =
            |key: &str| Ok(section.read(key, |field| field.whole(0..=100_u8))?.unwrap_or(0));
        let mut outages = Vec::new();
        if let Some(list) = section.optional("outages") {
            for item in list.list()? {
                outages.push(Outage::read(&item)?);
            }
        }
        let faults = Self {
            request_lost: percent("request_lost")?,
            reply_lost: percent("reply_lost")?,
            fail_500: percent("fail_500")?,
            closed: percent("closed")?,
            garbage: percent("garbage")?,
            refuse: percent("refuse")?,
            wrong_ids: percent("wrong_ids")?,
            outages,
        };
        faults.check().map_err(|what| field.error(what))?;
        Ok(faults)
    }

    /// Whether a call can have one fate only.
    ///
    /// # Errors
    ///
    /// What is wrong, and what to do.
    pub fn check(&self) -> Result<(), String> {
        if self.total() > 100 {
            return Err("adds up to more than 100 percent; lower one of them".to_owned());
        }
        Ok(())
    }

    /// What becomes of the `nth` call to this endpoint.
    #[must_use]
    pub fn fate(&self, seed: Seed, endpoint: Endpoint, nth: u64) -> Fate {
        if self.total() == 0 {
            return Fate::Through;
        }
        let mut drawn = seed.below(100, endpoint.name(), nth, 0);
        let fates = [
            (self.refuse, Fate::Refused),
            (self.request_lost, Fate::RequestLost),
            (self.fail_500, Fate::Failed),
            (self.reply_lost, Fate::ReplyLost),
            (self.closed, Fate::Closed),
            (self.garbage, Fate::Garbled),
            (self.wrong_ids, Fate::WrongIds(seed.draw("wrong ids", nth, 0))),
        ];
        for (percent, fate) in fates {
            if drawn < u64::from(percent) {
                return fate;
            }
            drawn -= u64::from(percent);
        }
        Fate::Through
    }

    /// The outage of a run that began at `start`, if there is one now.
    #[must_use]
    pub fn outage(&self, start: Timestamp, now: Timestamp) -> Option<Outage> {
        self.outages.iter().copied().find(|outage| {
            let begins = start.plus(outage.at);
            begins <= now && now < begins.plus(outage.lasts)
        })
    }

    /// Whether nothing goes wrong at all.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.total() == 0 && self.outages.is_empty()
    }

    /// All of them together, in percent.
    pub(crate) fn total(&self) -> u32 {
        let percent = [
            self.request_lost,
            self.reply_lost,
            self.fail_500,
            self.closed,
            self.garbage,
            self.refuse,
            self.wrong_ids,
        ];
        percent.into_iter().map(u32::from).sum()
    }
}

impl Outage {
    fn read(field: &Field<'_>) -> Result<Self, YamlError> {
        let section = field.section()?;
        section.deny_unknown(&["at", "for", "kind"])?;
        let kind = match section.required("kind")?.one_of(&["restart", "down", "hang"])? {
            "restart" => OutageKind::Restart,
            "down" => OutageKind::Down,
            _ => OutageKind::Hang,
        };
        let seconds = |key: &str| -> Result<Span, YamlError> {
            let field = section.required(key)?;
            let micros = u64::try_from(field.scaled(6, Rounding::Down)?);
            micros.map(Span::micros).map_err(|_| field.error("is too long"))
        };
        Ok(Self { at: seconds("at")?, lasts: seconds("for")?, kind })
    }
}
