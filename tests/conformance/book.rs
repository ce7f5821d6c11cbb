//! The cases as text: `cases/*.txt`, read once. How they are written is told in the page beside them
//! (`page.rs`).

use std::collections::BTreeMap;

use ray_on_golem::yagna::{
    Endpoint,
    wire::{HttpRequest, Method, decode_request},
};
use serde_json::Value;

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// The simulated daemon in this process, behind the codec.
    Process,
    /// The simulated daemon behind a socket.
    Http,
    /// A real daemon.
    Real,
}

/// All cases, and the stories that they begin with.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// In the order of their files.
    pub(crate) cases: Vec<Case>,
    stories: BTreeMap<String, Vec<Step>>,
}

/// One case.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// What it is about: the name of its file.
    pub(crate) area: String,
    /// What holds.
    pub(crate) name: String,
    /// Whose offers it asks for.
    pub(crate) shop: String,
    /// Who does not play it, and why.
    pub(crate) skips: Vec<(Who, String)>,
    /// Why not all answer alike.
    pub(crate) differs: Option<String>,
    /// What the daemon does not check, so that we must.
    pub(crate) lets: Option<String>,
    /// Whether it is played after all others, as it would disturb them.
    pub(crate) is_alone: bool,
    /// What happens, stories included.
    pub(crate) steps: Vec<Step>,
}

/// One thing that happens, with its line.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Where it is written.
    pub(crate) at: String,
    /// What it is.
    pub(crate) act: Act,
}

/// What happens.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// A request, and what must be answered.
    Ask(Ask, Vec<Wanted>),
    /// The same, again and again until the answer is as it must be.
    Until(Ask, Vec<Wanted>),
    /// A request whose answer is awaited later.
    Send(Ask),
    /// What all requests that were sent must have been answered.
    All(Vec<Wanted>),
    /// A comparison of two decimals.
    Check(String),
    /// Another name for something.
    Let(String, String),
    /// What becomes of payments from now on.
    Chain(String),
    /// Names that stand for nothing any more.
    Forget(Vec<String>),
}

/// A request, with names in it.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: Option<String>,
    pub(crate) key: Key,
    pub(crate) headers: Vec<(String, String)>,
}

/// Which key a request shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// Ours.
    Good,
    /// None.
    None,
    /// One that nobody knows.
    Bad,
    /// Ours, in the query.
    Query,
    /// Ours, but not as a bearer.
    Basic,
}

/// An answer that is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// From whom; from all others if not said.
    pub(crate) from: Option<Vec<Who>>,
    pub(crate) status: u16,
    /// Whether it comes when the time of the request is over, and no sooner.
    pub(crate) waits: bool,
    pub(crate) body: Body,
}

/// A body that is wanted, and its content type.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// Nothing.
    Empty,
    /// JSON.
    Json(Value),
    /// JSON that describes a problem.
    Problem(Value),
    /// Plain text.
    Text(String),
    /// Something.
    Any,
}

impl Who {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Process, Self::Http, Self::Real];

    /// Its name in cases and tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Http => "http",
            Self::Real => "real",
        }
    }

    fn read(word: &str) -> Vec<Self> {
        match word {
            "simulated" => vec![Self::Process, Self::Http],
            "sockets" => vec![Self::Http, Self::Real],
            _ => {
                let found = Self::ALL.into_iter().find(|who| who.name() == word);
                vec![found.unwrap_or_else(|| panic!("`{word}` is no arm"))]
            }
        }
    }
}

impl Case {
    /// Why an arm does not play it, if it does not.
    pub(crate) fn skipped(&self, who: Who) -> Option<&str> {
        self.skips.iter().find(|(skips, _)| *skips == who).map(|(_, why)| why.as_str())
    }
}

impl Case {
    /// The calls of the adapter that it makes.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        let asked = self.steps.iter().filter_map(|step| match &step.act {
            Act::Ask(ask, _) | Act::Until(ask, _) | Act::Send(ask) => Some(ask),
            Act::All(_) | Act::Check(_) | Act::Let(..) | Act::Chain(_) | Act::Forget(_) => None,
        });
        asked.filter_map(Ask::endpoint).collect()
    }

    /// Whether an answer is wanted from some arms only.
    pub(crate) fn has_differences(&self) -> bool {
        self.steps.iter().any(|step| match &step.act {
            Act::Ask(_, wanted) | Act::Until(_, wanted) | Act::All(wanted) => {
                wanted.iter().any(|wanted| wanted.from.is_some())
            }
            Act::Send(_) | Act::Check(_) | Act::Let(..) | Act::Chain(_) | Act::Forget(_) => false,
        })
    }
}

impl Ask {
    /// The call of the adapter that it is, if it is one; what names stand for does not matter to that.
    fn endpoint(&self) -> Option<Endpoint> {
        let some = |text: &str| {
            let mut parts = text.split('$');
            let first = parts.next().unwrap_or_default().to_owned();
            parts.fold(first, |mut filled, part| {
                let length = part.bytes().take_while(u8::is_ascii_alphanumeric).count();
                let (name, rest) = part.split_at(length);
                let is_instant = ["in", "ago", "now", "start", "seen"];
                let is_instant = is_instant.iter().any(|word| name.starts_with(word));
                let is_instant = is_instant && name != "invoice";
                filled.push_str(if is_instant { "2026-01-01T00:00:00Z" } else { "1" });
                filled.push_str(rest);
                filled
            })
        };
        let method = Method::from_name(&self.method)?;
        let body = self.body.as_deref().map(|body| some(body).into_bytes());
        let request = HttpRequest { method, path: some(&self.path), headers: &[], body };
        decode_request(&request).ok().map(|request| request.endpoint())
    }
}

impl Book {
    /// Reads files of cases, by name and text.
    ///
    /// # Panics
    ///
    /// Panics where a file is not written as it should be: cases are code.
    pub(crate) fn read(files: &[(&str, &str)]) -> Self {
        let mut book = Self::default();
        for (area, text) in files {
            Reader { area, ..Reader::default() }.read(text, &mut book);
        }
        book
    }
}

/// The state of reading one file.
#[derive(Default)]
struct Reader<'a> {
    area: &'a str,
    /// What holds for every case of the file.
    skips: Vec<(Who, String)>,
    shop: String,
    story: Option<String>,
    case: Option<Case>,
    steps: Vec<Step>,
    key: Option<Key>,
    headers: Vec<(String, String)>,
}

impl Reader<'_> {
    fn read(mut self, text: &str, book: &mut Book) {
        for (at, line) in logical_lines(text) {
            let (word, rest) = line.split_once(' ').unwrap_or((line.as_str(), ""));
            let rest = rest.trim();
            let at = format!("{}.txt:{at}", self.area);
            match word {
                "story" | "case" => {
                    self.close(book);
                    self.open(word, rest);
                }
                "after" => self.follow(rest, book, &at),
                "at" if self.is_open() => self.case_mut(&at).shop = rest.to_owned(),
                "at" => self.shop = rest.to_owned(),
                "skip" => self.skip(rest),
                "lets" => self.case_mut(&at).lets = Some(rest.to_owned()),
                "alone" => self.case_mut(&at).is_alone = true,
                "differs" => self.case_mut(&at).differs = Some(rest.to_owned()),
                _ => self.step(word, rest, at),
            }
        }
        self.close(book);
    }

    fn is_open(&self) -> bool {
        self.case.is_some() || self.story.is_some()
    }

    fn case_mut(&mut self, at: &str) -> &mut Case {
        self.case.as_mut().unwrap_or_else(|| panic!("{at}: not in a case"))
    }

    fn open(&mut self, word: &str, name: &str) {
        if word == "story" {
            self.story = Some(name.to_owned());
            return;
        }
        self.case = Some(Case {
            area: self.area.to_owned(),
            name: name.to_owned(),
            shop: if self.shop.is_empty() { "public".to_owned() } else { self.shop.clone() },
            skips: self.skips.clone(),
            differs: None,
            lets: None,
            is_alone: false,
            steps: Vec::new(),
        });
    }

    fn close(&mut self, book: &mut Book) {
        let disturbs = self.steps.iter().any(|step| matches!(step.act, Act::Chain(_)));
        let is_alone = self.case.as_ref().is_none_or(|case| case.is_alone);
        assert!(is_alone || !disturbs, "what changes the chain is `alone`");
        let steps = std::mem::take(&mut self.steps);
        if let Some(name) = self.story.take() {
            book.stories.insert(name, steps);
            return;
        }
        if let Some(case) = self.case.take() {
            assert!(!steps.is_empty(), "`{}` does nothing", case.name);
            let is_new = book.cases.iter().all(|other| other.name != case.name);
            assert!(is_new, "two cases are named `{}`", case.name);
            book.cases.push(Case { steps, ..case });
        }
    }

    fn follow(&mut self, story: &str, book: &Book, at: &str) {
        let steps = book.stories.get(story);
        let steps = steps.unwrap_or_else(|| panic!("{at}: no story `{story}`"));
        self.steps.extend(steps.iter().cloned());
    }

    fn skip(&mut self, rest: &str) {
        let (who, why) = rest.split_once(": ").expect("`skip ARM: why`");
        let skips = Who::read(who).into_iter().map(|who| (who, why.to_owned()));
        match &mut self.case {
            Some(case) => case.skips.extend(skips),
            None => self.skips.extend(skips),
        }
    }

    fn step(&mut self, word: &str, rest: &str, at: String) {
        let act = match word {
            "key" => {
                self.key = Some(read_key(rest, &at));
                return;
            }
            "header" => {
                let (name, value) = rest.split_once(": ").expect("`header NAME: value`");
                self.headers.push((name.to_owned(), value.to_owned()));
                return;
            }
            "until" => {
                let (method, rest) = rest.split_once(' ').expect("`until GET …`");
                Act::Until(self.ask(method, rest), Vec::new())
            }
            "send" => {
                let (method, rest) = rest.split_once(' ').expect("`send POST …`");
                Act::Send(self.ask(method, rest))
            }
            "all" => Act::All(vec![read_wanted(rest, &at)]),
            "check" => Act::Check(rest.to_owned()),
            "let" => {
                let (name, value) = rest.split_once(" = ").expect("`let name = value`");
                Act::Let(name.to_owned(), value.to_owned())
            }
            "chain" => Act::Chain(rest.to_owned()),
            "forget" => Act::Forget(rest.split(' ').map(str::to_owned).collect()),
            "=" => return self.want(read_wanted(rest, &at), &at),
            _ if word.starts_with('=') => {
                let from = Who::read(&word[1..]);
                let wanted = Wanted { from: Some(from), ..read_wanted(rest, &at) };
                return self.want(wanted, &at);
            }
            method => Act::Ask(self.ask(method, rest), Vec::new()),
        };
        self.steps.push(Step { at, act });
    }

    fn ask(&mut self, method: &str, rest: &str) -> Ask {
        let (path, body) = match rest.split_once(' ') {
            Some((path, body)) => (path, Some(body.trim().to_owned())),
            None => (rest, None),
        };
        Ask {
            method: method.to_owned(),
            path: path.to_owned(),
            body,
            key: self.key.take().unwrap_or(Key::Good),
            headers: std::mem::take(&mut self.headers),
        }
    }

    fn want(&mut self, wanted: Wanted, at: &str) {
        match self.steps.last_mut().map(|step| &mut step.act) {
            Some(Act::Ask(_, all) | Act::Until(_, all) | Act::All(all)) => all.push(wanted),
            Some(Act::Send(_) | Act::Check(_) | Act::Let(..) | Act::Chain(_) | Act::Forget(_))
            | None => {
                panic!("{at}: an answer to nothing")
            }
        }
    }
}

/// Lines with their numbers; one that begins with no word of ours goes on with the one before it.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let goes_on = line.starts_with(['{', '[', '"', '}', ']', '&']);
        match lines.last_mut().filter(|_| goes_on) {
            Some((_, last)) => {
                last.push(' ');
                last.push_str(line);
            }
            None => lines.push((number + 1, line.to_owned())),
        }
    }
    lines
}

fn read_key(word: &str, at: &str) -> Key {
    match word {
        "none" => Key::None,
        "bad" => Key::Bad,
        "query" => Key::Query,
        "basic" => Key::Basic,
        _ => panic!("{at}: `{word}` is no key"),
    }
}

fn read_wanted(text: &str, at: &str) -> Wanted {
    let (status, rest) = text.split_once(' ').unwrap_or((text, ""));
    let status = status.parse().unwrap_or_else(|_| panic!("{at}: `{status}` is no status"));
    let (waits, rest) = match rest.strip_prefix("waits") {
        Some(rest) => (true, rest.trim()),
        None => (false, rest.trim()),
    };
    let json = |text: &str| {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{at}: {error} in {text}"))
    };
    let body = match rest.split_once(' ') {
        _ if rest.is_empty() => Body::Empty,
        _ if rest == "any" => Body::Any,
        Some(("problem", rest)) => Body::Problem(json(rest)),
        Some(("text", rest)) => Body::Text(serde_json::from_value(json(rest)).expect("text")),
        _ => Body::Json(json(rest)),
    };
    Wanted { from: None, status, waits, body }
}
