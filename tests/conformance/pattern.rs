//! What a body must look like: JSON in which some strings stand for more than themselves.
//!
//! | in a pattern | stands for |
//! | --- | --- |
//! | `"$name"` | what the name was given before; if nothing yet, it is given this |
//! | `"<kind>"` | any value of the kind, see [`is_kind`] |
//! | `"…*…"` | text with anything in place of each star; names in it are put in |
//! | `"..."` last in a list | anything more |
//! | `"...": true` in an object | any other keys |
//! | `"?key"` | a key that may be missing |
//! | `{"<has>": p}`, `{"<no>": p}`, `{"<each>": p}` | a list of which some, no, or each element is as `p` |
//!
//! Numbers are equal if their values are. Everything else must be there exactly.

use std::collections::BTreeMap;

use ray_on_golem::units::{Rounding, money::parse_scaled};
use serde_json::{Map, Number, Value};

/// What names stand for.
pub(crate) type Names = BTreeMap<String, String>;

/// Checks a value against a pattern and gives names to what the pattern names.
///
/// # Errors
///
/// Says where the value differs.
pub(crate) fn check(pattern: &Value, actual: &Value, names: &mut Names) -> Result<(), String> {
    match pattern {
        Value::String(text) => check_text(text, actual, names),
        Value::Array(wanted) => check_list(wanted, actual, names),
        Value::Object(wanted) => check_object(wanted, actual, names),
        Value::Number(wanted) => {
            let is_wanted = |given: &Number| is_same(&wanted.to_string(), &given.to_string());
            match actual.as_number().is_some_and(is_wanted) {
                true => Ok(()),
                false => Err(format!("{wanted} wanted, {actual} given")),
            }
        }
        Value::Null | Value::Bool(_) if pattern == actual => Ok(()),
        Value::Null | Value::Bool(_) => Err(format!("{pattern} wanted, {actual} given")),
    }
}

/// Puts what names stand for in their places.
///
/// # Errors
///
/// Names a name that stands for nothing.
pub(crate) fn fill(text: &str, names: &Names) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        filled.push_str(before);
        let braced = after.strip_prefix('{').and_then(|after| after.split_once('}'));
        let length = after.bytes().take_while(|byte| is_of_name(*byte)).count();
        let (name, more) = braced.unwrap_or_else(|| after.split_at(length));
        let value = names.get(name).ok_or_else(|| format!("`${name}` stands for nothing"))?;
        filled.push_str(value);
        rest = more;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// Compares two decimals, which may be below zero.
pub(crate) fn compare(one: &str, other: &str) -> Option<std::cmp::Ordering> {
    Some(scaled(one)?.cmp(&scaled(other)?))
}

fn check_text(wanted: &str, actual: &Value, names: &mut Names) -> Result<(), String> {
    if let Some(kind) = wanted.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) {
        let is_right = is_kind(kind, actual);
        return if is_right { Ok(()) } else { Err(format!("{wanted} wanted, {actual} given")) };
    }
    let given = match actual {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            return Err(format!("{wanted:?} wanted, {actual} given"));
        }
    };
    let name = wanted.strip_prefix('$').filter(|name| name.bytes().all(is_of_name));
    if let Some(name) = name.filter(|name| !names.contains_key(*name)) {
        names.insert(name.to_owned(), given);
        return Ok(());
    }
    let filled = fill(wanted, names)?;
    let is_number = actual.is_number();
    if (is_number && is_same(&filled, &given)) || (!is_number && is_like(&filled, &given)) {
        return Ok(());
    }
    Err(format!("{filled:?} wanted, {given:?} given"))
}

fn check_list(wanted: &[Value], actual: &Value, names: &mut Names) -> Result<(), String> {
    let Some(given) = actual.as_array() else { return Err(format!("no list: {actual}")) };
    let (wanted, is_open) = match wanted {
        [first @ .., last] if last == "..." => (first, true),
        all => (all, false),
    };
    if given.len() < wanted.len() || (given.len() > wanted.len() && !is_open) {
        return Err(format!("{} elements wanted, {} given: {actual}", wanted.len(), given.len()));
    }
    for (index, (wanted, given)) in wanted.iter().zip(given).enumerate() {
        check(wanted, given, names).map_err(|why| format!("[{index}]: {why}"))?;
    }
    Ok(())
}

fn check_object(
    wanted: &Map<String, Value>,
    actual: &Value,
    names: &mut Names,
) -> Result<(), String> {
    if let Some((word, inner)) = wanted.iter().next().filter(|(key, _)| key.starts_with('<')) {
        return check_elements(word, inner, actual, names);
    }
    let Some(given) = actual.as_object() else { return Err(format!("no object: {actual}")) };
    for (key, inner) in wanted {
        let (name, is_needed) = match key.strip_prefix('?') {
            Some(name) => (name, false),
            None => (key.as_str(), key != "..."),
        };
        match given.get(name) {
            Some(value) => check(inner, value, names).map_err(|why| format!(".{name}: {why}"))?,
            None if is_needed => return Err(format!(".{name} is missing in {actual}")),
            None => (),
        }
    }
    let is_known = |key: &str| wanted.contains_key(key) || wanted.contains_key(&format!("?{key}"));
    match given.keys().find(|key| !is_known(key)) {
        Some(key) if !wanted.contains_key("...") => Err(format!(".{key} is too much in {actual}")),
        Some(_) | None => Ok(()),
    }
}

fn check_elements(
    word: &str,
    inner: &Value,
    actual: &Value,
    names: &mut Names,
) -> Result<(), String> {
    let Some(given) = actual.as_array() else { return Err(format!("no list: {actual}")) };
    match word {
        "<has>" | "<no>" => {
            let found = given.iter().find_map(|element| {
                let mut tried = names.clone();
                check(inner, element, &mut tried).is_ok().then_some(tried)
            });
            match (found, word) {
                (Some(found), "<has>") => *names = found,
                (None, "<no>") => (),
                (Some(_), _) => return Err(format!("an element like {inner} in {actual}")),
                (None, _) => return Err(format!("no element like {inner} in {actual}")),
            }
            Ok(())
        }
        "<each>" => {
            for (index, element) in given.iter().enumerate() {
                let mut tried = names.clone();
                check(inner, element, &mut tried).map_err(|why| format!("[{index}]: {why}"))?;
            }
            Ok(())
        }
        _ => Err(format!("`{word}` is no word of patterns")),
    }
}

fn is_kind(kind: &str, actual: &Value) -> bool {
    let text = actual.as_str();
    let is_hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let has = |test: &dyn Fn(&str) -> bool| text.is_some_and(test);
    match kind {
        "any" => true,
        "text" => text.is_some(),
        "number" => actual.is_number(),
        "whole" => actual.is_u64(),
        "bool" => actual.is_boolean(),
        "list" => actual.is_array(),
        "object" => actual.is_object(),
        "decimal" => has(&|text| scaled(text).is_some()),
        "time" => has(&is_time),
        "node" => has(&|text| text.strip_prefix("0x").is_some_and(|hex| is_hex(hex, 40))),
        "hex32" => has(&|text| is_hex(text, 32)),
        "hex64" => has(&|text| is_hex(text, 64)),
        "proposal" => has(&|text| text.strip_prefix("R-").is_some_and(|hex| is_hex(hex, 64))),
        "subscription" => has(&|text| {
            text.split_once('-').is_some_and(|(one, two)| is_hex(one, 32) && is_hex(two, 64))
        }),
        "uuid" => has(&|text| {
            let lengths: Vec<usize> = text.split('-').map(str::len).collect();
            lengths == [8, 4, 4, 4, 12] && is_hex(&text.replace('-', ""), 32)
        }),
        _ => false,
    }
}

/// An instant as the daemon writes it: `2026-11-21T01:02:45.408334842Z`.
fn is_time(text: &str) -> bool {
    let Some((day, hour)) = text.strip_suffix('Z').and_then(|text| text.split_once('T')) else {
        return false;
    };
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (hour, fraction) = hour.split_once('.').unwrap_or((hour, "0"));
    let day: Vec<&str> = day.split('-').collect();
    let hour: Vec<&str> = hour.split(':').collect();
    day.len() == 3
        && hour.len() == 3
        && day.into_iter().chain(hour).chain([fraction]).all(is_digits)
}

/// Whether `text` is as `wanted` says, with anything in place of each star.
fn is_like(wanted: &str, text: &str) -> bool {
    let Some((before, after)) = wanted.split_once('*') else { return wanted == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| is_like(after, &rest[at..]))
}

fn is_same(one: &str, other: &str) -> bool {
    one == other || compare(one, other) == Some(std::cmp::Ordering::Equal)
}

/// A decimal in units of 10^-18.
fn scaled(text: &str) -> Option<i128> {
    let (digits, sign) = match text.strip_prefix('-') {
        Some(digits) => (digits, -1),
        None => (text, 1),
    };
    let amount = parse_scaled(digits, 18, Rounding::Down).ok()?;
    Some(sign * i128::try_from(amount).ok()?)
}

const fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[test]
fn patterns_tell_likeness_from_difference() {
    let check = |pattern: &str, actual: &str| {
        let mut names = Names::from([("id".to_owned(), "7".to_owned())]);
        let parse = |text| serde_json::from_str(text).expect("JSON");
        check(&parse(pattern), &parse(actual), &mut names).map(|()| names)
    };
    for (pattern, actual) in [
        (r#"{"a": 1.0, "?b": 2}"#, r#"{"a": 1}"#),
        (r#"{"a": "$id", "...": true}"#, r#"{"a": "7", "b": null}"#),
        (r#"["<time>", "..."]"#, r#"["2026-11-21T01:02:45.408334842Z", 1, 2]"#),
        (r#""Allocation $id not*""#, r#""Allocation 7 not found""#),
        (r#"{"<has>": {"a": 1}}"#, r#"[{"a": 2}, {"a": 1}]"#),
        (r#"{"<no>": {"a": 3}}"#, r#"[{"a": 2}, {"a": 1}]"#),
        (r#"{"<each>": "<decimal>"}"#, r#"["-0.5", "7.00"]"#),
    ] {
        assert!(check(pattern, actual).is_ok(), "{pattern} is {actual}");
    }
    for (pattern, actual) in [
        (r#"{"a": 1}"#, r#"{"a": 1, "b": 2}"#),
        (r#"{"a": 1}"#, "{}"),
        ("[1]", "[1, 2]"),
        (r#""$id""#, r#""8""#),
        (r#""<node>""#, r#""0x12""#),
        (r#"{"<has>": {"a": 3}}"#, r#"[{"a": 2}]"#),
        (r#"{"<no>": {"a": 2}}"#, r#"[{"a": 2}]"#),
        ("null", "false"),
    ] {
        assert!(check(pattern, actual).is_err(), "{pattern} is not {actual}");
    }
    let names = check(r#"[{"x": "$new"}]"#, r#"[{"x": "9"}]"#).expect("alike");
    assert_eq!(fill("a/$new/b?c=${id}0", &names).as_deref(), Ok("a/9/b?c=70"));
    assert!(fill("$nobody", &names).is_err());
}
