//! How a case is played on an arm: its requests are sent in order, its answers are compared.

use ray_on_golem::{
    units::{Rounding, Span, Timestamp, money::parse_scaled},
    yagna::{
        CallError, Doubt,
        wire::{HttpRequest, HttpResponse, Method, decode_request, decode_response},
    },
};
use serde_json::Value;

use crate::{
    arms::Arm,
    book::{Act, Ask, Body, Case, Key, Step, Wanted, Who},
    pattern::{self, Names},
};

/// How long something may take that is waited for.
const PATIENCE: Span = Span::secs(150);

/// A request without names.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// Where it is written.
    pub(crate) at: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: Option<String>,
    pub(crate) key: Key,
    pub(crate) headers: Vec<(String, String)>,
}

/// What came back, and after what time.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) response: HttpResponse,
    pub(crate) took: Span,
}

impl Sent {
    /// The request in the adapter's words, if it uses such a request.
    pub(crate) fn as_http(&self) -> Option<HttpRequest> {
        let method = Method::from_name(&self.method)?;
        let body = self.body.as_ref().map(|body| body.clone().into_bytes());
        Some(HttpRequest { method, path: self.path.clone(), headers: &[], body })
    }
}

/// Plays a case.
///
/// # Errors
///
/// Says in which line an arm answers otherwise, and how.
pub(crate) fn play(case: &Case, arm: &mut dyn Arm) -> Result<(), String> {
    let mut names = Names::new();
    names.insert("shop".to_owned(), case.shop.clone());
    names.insert("session".to_owned(), session(&case.name));
    names.insert("platform".to_owned(), "erc20-hoodi-tglm".to_owned());
    names.insert("budget".to_owned(), "5".to_owned());
    names.insert("start".to_owned(), written(arm.now().minus(Span::secs(1))));
    for step in &case.steps {
        take(step, arm, &mut names).map_err(|why| format!("{}: {why}", step.at))?;
    }
    Ok(())
}

fn take(step: &Step, arm: &mut dyn Arm, names: &mut Names) -> Result<(), String> {
    tell_time(names, arm.now());
    match &step.act {
        Act::Ask(ask, wanted) => {
            let sent = prepare(ask, &step.at, names)?;
            let answer = arm.exchange(&sent);
            judge(&sent, &answer, choose(wanted, arm.who())?, names)
        }
        Act::Until(ask, wanted) => {
            let wanted = choose(wanted, arm.who())?;
            let since = arm.now();
            loop {
                tell_time(names, arm.now());
                let sent = prepare(ask, &step.at, names)?;
                let answer = arm.exchange(&sent);
                let mut tried = names.clone();
                match judge(&sent, &answer, wanted, &mut tried) {
                    Ok(()) => {
                        *names = tried;
                        return Ok(());
                    }
                    Err(why) if arm.now().since(since) > PATIENCE => {
                        return Err(format!("waited in vain: {why}"));
                    }
                    Err(_) => arm.pause(),
                }
            }
        }
        Act::Send(ask) => {
            arm.send(&prepare(ask, &step.at, names)?);
            Ok(())
        }
        Act::All(wanted) => {
            let wanted = choose(wanted, arm.who())?;
            for (sent, answer) in arm.answers() {
                judge(&sent, &answer, wanted, names)?;
            }
            Ok(())
        }
        Act::Check(text) => check(text, names),
        Act::Chain(mood) => {
            arm.chain(mood);
            Ok(())
        }
        Act::Forget(gone) => {
            names.retain(|name, _| !gone.contains(name));
            Ok(())
        }
        Act::Let(name, value) => {
            let value = pattern::fill(value, names)?;
            names.insert(name.clone(), value);
            Ok(())
        }
    }
}

/// Each case has a session of its own.
fn session(name: &str) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    name.chars().map(word).collect()
}

/// Gives names to the present, and to instants around it.
fn tell_time(names: &mut Names, now: Timestamp) {
    let around = [
        ("now", now),
        ("ago1h", now.minus(Span::hours(1))),
        ("in2s", now.plus(Span::secs(2))),
        ("in5s", now.plus(Span::secs(5))),
        ("in60s", now.plus(Span::secs(60))),
        ("in1h", now.plus(Span::hours(1))),
        ("in2h", now.plus(Span::hours(2))),
    ];
    for (name, at) in around {
        names.insert(name.to_owned(), written(at));
    }
    let expires = now.plus(Span::hours(9)).as_unix_millis();
    names.insert("expiration".to_owned(), expires.to_string());
    // As long as the most that the daemon reads.
    names.insert("long".to_owned(), "x".repeat(2 << 20));
}

/// An instant as it is written in JSON.
fn written(at: Timestamp) -> String {
    let micros = i64::try_from(at.as_unix_micros()).expect("before the year 294,000");
    jiff::Timestamp::from_microsecond(micros).expect("an instant of the calendar").to_string()
}

fn prepare(ask: &Ask, at: &str, names: &Names) -> Result<Sent, String> {
    let fill = |text: &str| pattern::fill(text, names);
    let headers = ask.headers.iter().map(|(name, text)| Ok((name.clone(), fill(text)?)));
    Ok(Sent {
        at: at.to_owned(),
        method: ask.method.clone(),
        path: fill(&ask.path)?,
        body: ask.body.as_deref().map(fill).transpose()?,
        key: ask.key,
        headers: headers.collect::<Result<_, String>>()?,
    })
}

/// The answer that is wanted from this arm.
fn choose(wanted: &[Wanted], who: Who) -> Result<&Wanted, String> {
    let of_this = |wanted: &&Wanted| wanted.from.as_ref().is_some_and(|from| from.contains(&who));
    let own = wanted.iter().find(of_this);
    own.or_else(|| wanted.iter().find(|wanted| wanted.from.is_none()))
        .ok_or_else(|| format!("no answer is wanted from {}", who.name()))
}

fn judge(sent: &Sent, answer: &Answer, wanted: &Wanted, names: &mut Names) -> Result<(), String> {
    let response = &answer.response;
    let body = String::from_utf8_lossy(&response.body);
    if std::env::var_os("CONFORMANCE_TELL").is_some() {
        let (Sent { at, method, path, body: sent, .. }, status) = (sent, response.status);
        let kind = response.content_type.as_deref().unwrap_or("-");
        println!("{at}: {method} {path} {sent:?}\n  {status} {kind} {body} ({})", answer.took);
    }
    let describe = |why: &str| {
        let kind = response.content_type.as_deref().unwrap_or("no content type");
        let (method, path) = (&sent.method, &sent.path);
        let (status, took) = (response.status, answer.took);
        format!("{why}\n    {method} {path}\n    gave {status} after {took}, {kind}: {body}")
    };
    if response.status.0 != wanted.status {
        return Err(describe(&format!("{} wanted, {} given", wanted.status, response.status)));
    }
    let parsed = || {
        serde_json::from_slice::<Value>(&response.body)
            .map_err(|error| describe(&format!("no JSON: {error}")))
    };
    let kind = response.content_type.as_deref().unwrap_or_default();
    let is = |wanted: &str| {
        let is_right = kind.split(';').next().is_some_and(|kind| kind.trim() == wanted);
        if is_right { Ok(()) } else { Err(describe(&format!("{wanted} wanted"))) }
    };
    match &wanted.body {
        Body::Any => Ok(()),
        Body::Empty if response.body.is_empty() => Ok(()),
        Body::Empty => Err(describe("nothing wanted")),
        Body::Json(wanted) => {
            is("application/json")?;
            pattern::check(wanted, &parsed()?, names).map_err(|why| describe(&why))
        }
        Body::Problem(wanted) => {
            is("application/problem+json")?;
            pattern::check(wanted, &parsed()?, names).map_err(|why| describe(&why))
        }
        Body::Text(wanted) => {
            is("text/plain")?;
            let (wanted, given) = (Value::from(wanted.as_str()), Value::from(body.as_ref()));
            pattern::check(&wanted, &given, names).map_err(|why| describe(&why))
        }
    }?;
    on_time(sent, answer, wanted.waits).map_err(|why| describe(&why))?;
    readable(sent, answer).map_err(|why| describe(&why))
}

/// The timing class: what does not wait is there well before the time of the request is over. A
/// request whose time is short tells nothing by coming early: the machine may be busy.
fn on_time(sent: &Sent, answer: &Answer, waits: bool) -> Result<(), String> {
    const LONG: Span = Span::secs(10);
    let Some(asked) = time_of(&sent.path) else { return Ok(()) };
    let nearly = Span::micros(asked.as_micros() / 10 * 9);
    match waits {
        true if answer.took < nearly => Err(format!("it did not wait for {asked}")),
        false if asked >= LONG && answer.took >= nearly => Err("it waited".to_owned()),
        true | false => Ok(()),
    }
}

/// The `timeout` of a request.
fn time_of(path: &str) -> Option<Span> {
    let (_, query) = path.split_once('?')?;
    let seconds = query.split('&').find_map(|pair| pair.strip_prefix("timeout="))?;
    let millis = parse_scaled(seconds, 3, Rounding::Down).ok()?;
    Some(Span::millis(u64::try_from(millis).ok()?))
}

/// What the adapter could have asked, it can read the answer to.
fn readable(sent: &Sent, answer: &Answer) -> Result<(), String> {
    let Some(request) = sent.as_http().and_then(|it| decode_request(&it).ok()) else {
        return Ok(());
    };
    match decode_response(&request, &answer.response) {
        Err(CallError::Unknown(Doubt::Garbled { why })) => {
            Err(format!("the adapter cannot read it: {why}"))
        }
        Ok(_)
        | Err(CallError::Rejected { .. } | CallError::NotSent { .. } | CallError::Unknown(_)) => {
            Ok(())
        }
    }
}

fn check(text: &str, names: &Names) -> Result<(), String> {
    let filled = pattern::fill(text, names)?;
    let words: Vec<&str> = filled.split(' ').collect();
    let [one, sign, other] = words.as_slice() else {
        return Err(format!("`{text}` compares nothing"));
    };
    let order = pattern::compare(one, other).ok_or_else(|| format!("{filled}: no decimals"))?;
    let holds = match *sign {
        "=" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        ">=" => order.is_ge(),
        _ => return Err(format!("`{sign}` compares nothing")),
    };
    if holds { Ok(()) } else { Err(format!("{text} does not hold: {filled}")) }
}
