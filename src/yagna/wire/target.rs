//! Request targets: paths and queries of percent-encoded opaque text.

use std::fmt::Write as _;

use crate::units::{Rounding, Span, money::parse_scaled};

const MICROS_PER_SECOND: u64 = 1_000_000;

/// A request target taken apart and decoded.
pub(super) struct Target {
    /// The segments of the path.
    pub(super) segments: Vec<String>,
    pub(super) query: Vec<(String, String)>,
}

impl Target {
    /// Takes `path` apart; `None` if its escapes do not spell text.
    pub(super) fn read(path: &str) -> Option<Self> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let segments = path.strip_prefix('/')?.split('/').map(unescape).collect::<Option<_>>()?;
        let query = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((unescape(key)?, unescape(value)?))
            })
            .collect::<Option<_>>()?;
        Some(Self { segments, query })
    }

    /// The values of `key` in the query.
    pub(super) fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.query.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// Escapes `text` so that it is one segment of a path, or one value of a query.
pub(crate) fn escape(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut escaped, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => write!(escaped, "%{byte:02X}").expect("writing to a string cannot fail"),
        }
        escaped
    })
}

/// Writes `span` as seconds with as many decimals as are needed: `5`, `0.25`.
pub(super) fn write_seconds(span: Span) -> String {
    let (seconds, micros) =
        (span.as_micros() / MICROS_PER_SECOND, span.as_micros() % MICROS_PER_SECOND);
    if micros == 0 {
        return seconds.to_string();
    }
    format!("{seconds}.{micros:06}").trim_end_matches('0').to_owned()
}

/// Reads decimal seconds, dropping what is shorter than a microsecond.
pub(super) fn read_seconds(text: &str) -> Option<Span> {
    let micros = parse_scaled(text, 6, Rounding::Down).ok()?;
    Some(Span::micros(u64::try_from(micros).unwrap_or(u64::MAX)))
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex_digit(rest.next()?)? * 16 + hex_digit(rest.next()?)?,
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
