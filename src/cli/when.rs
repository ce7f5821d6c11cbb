//! Times as they are typed: how long, and since when.

use jiff::{civil::Date, tz::TimeZone};

use crate::{
    driver::clock::now,
    units::{Span, Timestamp},
};

/// What is longer is for ever.
const DAYS_MAX: u64 = 3_650;

/// A length of time with its unit: `90m`, `12h`, `7d`, `2w`.
pub(super) fn duration(text: &str) -> Result<Span, String> {
    let unit = text.chars().last().and_then(|unit| match unit {
        's' => Some(Span::secs(1)),
        'm' => Some(Span::mins(1)),
        'h' => Some(Span::hours(1)),
        'd' => Some(Span::days(1)),
        'w' => Some(Span::days(7)),
        _ => None,
    });
    let count = text.get(..text.len().saturating_sub(1)).and_then(|digits| digits.parse().ok());
    unit.zip(count)
        .map(|(unit, count)| unit.times(count))
        .filter(|span| *span > Span::ZERO && *span <= Span::days(DAYS_MAX))
        .ok_or_else(|| format!("write a length such as 90m, 12h, 7d, or 2w, up to {DAYS_MAX}d"))
}

/// Since when: a day or an instant in UTC, or a length of time before now.
pub(super) fn since(text: &str) -> Result<Timestamp, String> {
    let day = text.parse::<Date>().ok().filter(|_| text.len() == "2026-11-30".len());
    let day = day.and_then(|day| day.to_zoned(TimeZone::UTC).ok()).map(|day| day.timestamp());
    match day.or_else(|| text.parse::<jiff::Timestamp>().ok()) {
        Some(at) => Ok(Timestamp::from_unix_micros(at.as_microsecond().try_into().unwrap_or(0))),
        None => duration(text).map(|lasting| now().minus(lasting)).map_err(|_| {
            "write a day such as 2026-11-30, an instant such as 2026-11-30T12:00:00Z, or a length such as 90m, 12h, 7d, \
             or 2w"
                .to_owned()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{duration, since};
    use crate::{
        driver::clock::now,
        units::{Span, Timestamp},
    };

    #[test]
    fn lengths_have_a_unit() {
        assert_eq!(duration("90m"), Ok(Span::mins(90)));
        assert_eq!(duration("2w"), Ok(Span::days(14)));
        for bad in ["", "m", "7", "-1d", "0d", "1y", "1.5h", "99999999999999999999d", "4000d", "é"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn since_is_a_day_an_instant_or_a_length() {
        let at = |secs: u64| Ok(Timestamp::from_unix_micros(secs * 1_000_000));
        let before = now().minus(Span::hours(2));

        assert_eq!(since("2026-11-30"), at(1_795_996_800));
        assert_eq!(since("2026-11-30T12:00:00Z"), at(1_796_040_000));
        assert_eq!(since("2026-11-30T14:00:00+02:00"), at(1_796_040_000));
        assert!(since("2h").is_ok_and(|at| at >= before && at <= now()));
        for bad in
            ["", "yesterday", "2026-11-31", "2026-11", "2026-11-30T12:00", "-1d", "11/30/2026"]
        {
            assert!(since(bad).is_err(), "{bad}");
        }
    }
}
