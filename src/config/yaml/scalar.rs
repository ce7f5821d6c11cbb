//! What a plain scalar means, by the rules of YAML 1.1 as Ray's reader has them.
//!
//! `yes` and `on` are flags, `010` is eight, `1_000` is a number. Two rules are left out, because
//! nobody wants them: `22:30` is text, not base 60, and a date is text.

use serde_json::Value as Json;

/// A scalar, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resolved {
    /// Nothing.
    Null,
    /// `true`, `no`, `On`, and the like.
    Flag(bool),
    /// A whole number.
    Whole(i128),
    /// A number with a point or an exponent, as decimal text without underscores.
    Decimal(String),
    /// `.inf` or `.nan`.
    NotFinite,
    /// Everything else.
    Text,
}

impl Resolved {
    /// Understands `text`; quoted text is text, whatever it says.
    pub(super) fn of(text: &str, quoted: bool) -> Self {
        if quoted {
            return Self::Text;
        }
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
                Self::Flag(true)
            }
            "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
                Self::Flag(false)
            }
            ".nan" | ".NaN" | ".NAN" => Self::NotFinite,
            other => number(other),
        }
    }

    /// What kind of value this is, for a sentence about a wrong one.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Flag(_) => "a flag",
            Self::Whole(_) | Self::Decimal(_) | Self::NotFinite => "a number",
            Self::Text => "text",
        }
    }

    /// The value as JSON; what JSON has no form for becomes the `text` as written.
    pub(super) fn to_json(&self, text: &str) -> Json {
        let as_written = || Json::String(text.to_owned());
        match self {
            Self::Null => Json::Null,
            Self::Flag(flag) => Json::Bool(*flag),
            Self::Whole(whole) => {
                serde_json::from_str(&whole.to_string()).unwrap_or_else(|_| as_written())
            }
            Self::Decimal(decimal) => {
                serde_json::from_str(&json_decimal(decimal)).unwrap_or_else(|_| as_written())
            }
            Self::NotFinite | Self::Text => as_written(),
        }
    }
}

fn number(text: &str) -> Resolved {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Resolved::NotFinite;
    }
    // No number begins with an underscore, and none is this long.
    if unsigned.len() > 64
        || !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
    {
        return Resolved::Text;
    }
    let digits = unsigned.replace('_', "");
    let (radix, body) = match digits.as_bytes() {
        [b'0', b'x', ..] => (16, digits.get(2..)),
        [b'0', b'b', ..] => (2, digits.get(2..)),
        [b'0', second, ..] if second.is_ascii_digit() => (8, digits.get(1..)),
        _ => (10, Some(digits.as_str())),
    };
    let whole = body
        .filter(|body| body.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        .and_then(|body| i128::from_str_radix(body, radix).ok());
    if let Some(whole) = whole {
        return Resolved::Whole(if text.starts_with('-') { whole.saturating_neg() } else { whole });
    }
    if is_decimal(&digits) {
        return Resolved::Decimal(text.replace('_', ""));
    }
    Resolved::Text
}

fn is_decimal(unsigned: &str) -> bool {
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let exponent_is_sound = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    exponent_is_sound
        && !(whole.is_empty() && fraction.is_empty())
        && all_digits(whole)
        && all_digits(fraction)
}

/// JSON wants digits on both sides of the point and no plus sign.
fn json_decimal(decimal: &str) -> String {
    let (sign, unsigned) = match decimal.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", decimal.strip_prefix('+').unwrap_or(decimal)),
    };
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(position) => unsigned.split_at(position),
        None => (unsigned, ""),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let fraction = if fraction.is_empty() { "0" } else { fraction };
    format!("{sign}{whole}.{fraction}{exponent}")
}

#[cfg(test)]
mod tests {
    use super::Resolved;

    #[test]
    fn plain_scalars_mean_what_they_mean_to_ray() {
        let cases = [
            ("~", Resolved::Null),
            ("yes", Resolved::Flag(true)),
            ("Off", Resolved::Flag(false)),
            ("y", Resolved::Text),
            ("1_000", Resolved::Whole(1000)),
            ("-12", Resolved::Whole(-12)),
            ("010", Resolved::Whole(8)),
            ("0x1F", Resolved::Whole(31)),
            ("0.50", Resolved::Decimal("0.50".to_owned())),
            ("-1.5e-3", Resolved::Decimal("-1.5e-3".to_owned())),
            ("-.inf", Resolved::NotFinite),
            (".", Resolved::Text),
            ("22:30", Resolved::Text),
            ("2.9.3", Resolved::Text),
            ("--1", Resolved::Text),
            ("_1", Resolved::Text),
        ];
        for (text, meaning) in cases {
            assert_eq!(Resolved::of(text, false), meaning, "{text}");
        }
        assert_eq!(Resolved::of("true", true), Resolved::Text);
    }

    #[test]
    fn numbers_become_json_numbers() {
        for (text, json) in [(".5", "0.5"), ("+1.", "1.0"), ("1_0", "10"), ("-02.50", "-2.50")] {
            assert_eq!(Resolved::of(text, false).to_json(text).to_string(), json, "{text}");
        }
    }
}
