//! Points in time on the wire: ISO 8601 in UTC, with microseconds.

use serde::{Serialize, Serializer};
use serde_json::Value;
use std::fmt;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime, UtcOffset};

const MICROS_PER_SECOND: i64 = 1_000_000;
/// The last microsecond of the year 9999, the last that ISO 8601 writes with four digits.
const MAX_MICROS: i64 = 253_402_300_799_999_999;
/// Longest text that is looked at, in bytes.
const MAX_TEXT_BYTES: usize = 64;

/// Microseconds since the epoch, from the year 1970 to the year 9999.
///
/// Written as `2026-01-02T03:04:05.000000+00:00`; texts of this form sort as their points in time do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UtcMicros(i64);

/// The value is no point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an ISO 8601 time or Unix timestamp")]
pub struct InvalidTime;

impl UtcMicros {
    /// The point this many microseconds after the epoch; one outside of the range becomes the nearest inside.
    #[must_use]
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(0, MAX_MICROS))
    }

    /// The point this many seconds after the epoch.
    #[must_use]
    pub fn from_seconds(seconds: i64) -> Self {
        Self::from_micros(seconds.saturating_mul(MICROS_PER_SECOND))
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND)
    }

    /// The point this many seconds later.
    #[must_use]
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self::from_micros(self.0.saturating_add(seconds.saturating_mul(MICROS_PER_SECOND)))
    }

    /// Without the fraction when that is zero, as answers about sessions have it.
    #[must_use]
    pub fn without_zero_fraction(self) -> String {
        let text = self.to_string();
        if self.0 % MICROS_PER_SECOND == 0 { text.replacen(".000000", "", 1) } else { text }
    }

    /// Reads ISO 8601 (`Z`, an offset or none, which means UTC; a date alone is its first moment) or Unix seconds as text.
    ///
    /// # Errors
    /// [`InvalidTime`], also for points before 1970 and after 9999.
    pub fn parse(text: &str) -> Result<Self, InvalidTime> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(InvalidTime);
        }
        if let Ok(seconds) = text.parse::<f64>() {
            return Self::from_unix(seconds);
        }
        // Rfc3339 wants a colon in the offset and both parts of the text.
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok().or_else(|| other_iso(text)).ok_or(InvalidTime)?;
        let micros = i64::try_from(moment.unix_timestamp_nanos() / 1000).map_err(|_| InvalidTime)?;
        if (0..=MAX_MICROS).contains(&micros) { Ok(Self(micros)) } else { Err(InvalidTime) }
    }

    /// Reads a member: a text as [`Self::parse`] does, or a number of seconds.
    ///
    /// # Errors
    /// [`InvalidTime`].
    pub fn from_value(value: &Value) -> Result<Self, InvalidTime> {
        match value {
            Value::String(text) => Self::parse(text),
            Value::Number(number) => Self::from_unix(number.as_f64().ok_or(InvalidTime)?),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(InvalidTime),
        }
    }

    fn from_unix(seconds: f64) -> Result<Self, InvalidTime> {
        let micros = (seconds * MICROS_PER_SECOND as f64).round();
        if (0.0..=MAX_MICROS as f64).contains(&micros) {
            Ok(Self::from_micros(micros as i64))
        } else {
            Err(InvalidTime)
        }
    }
}

fn other_iso(text: &str) -> Option<OffsetDateTime> {
    if let Ok(date) = Date::parse(text, format_description!("[year]-[month]-[day]")) {
        return Some(date.midnight().assume_utc());
    }
    let (moment, offset) = split_offset(text)?;
    let with_fraction = format_description!(
        version = 2,
        "[year]-[month]-[day][first [T] [ ]][hour]:[minute][optional [:[second][optional [.[subsecond]]]]]"
    );
    let moment = PrimitiveDateTime::parse(moment, with_fraction).ok()?;
    Some(moment.assume_offset(offset))
}

/// Takes the offset off the end of a text; one without an offset is UTC.
fn split_offset(text: &str) -> Option<(&str, UtcOffset)> {
    if let Some(rest) = text.strip_suffix('Z') {
        return Some((rest, UtcOffset::UTC));
    }
    // A sign after the date, which has ten characters, begins the offset.
    let Some(at) = text.get(10..)?.rfind(['+', '-']) else { return Some((text, UtcOffset::UTC)) };
    let (moment, offset) = text.split_at(at + 10);
    let offset = UtcOffset::parse(
        offset,
        format_description!(version = 2, "[offset_hour sign:mandatory][optional [:]][optional [[offset_minute]]]"),
    );
    Some((moment, offset.ok()?))
}

impl fmt::Display for UtcMicros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.seconds();
        // The range of the type lies within the range of the calendar.
        let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (year, month, day) = (moment.year(), u8::from(moment.month()), moment.day());
        let (hour, minute, second) = (moment.hour(), moment.minute(), moment.second());
        let fraction = self.0.rem_euclid(MICROS_PER_SECOND);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}+00:00")
    }
}

impl Serialize for UtcMicros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn reads_what_agents_send() {
        let expected = "2026-01-02T03:04:05.000000+00:00";
        for text in [
            "2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05",
            "2026-01-02 03:04:05",
            "2026-01-02T03:04:05.000000+00:00",
            "2026-01-02T04:04:05+01:00",
            "2026-01-02T04:04:05+0100",
            "2026-01-02T02:04:05.0-01",
            "1767323045",
        ] {
            assert_eq!(UtcMicros::parse(text).map(|time| time.to_string()).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(UtcMicros::parse("2026-01-02").unwrap().to_string(), "2026-01-02T00:00:00.000000+00:00");
        assert_eq!(UtcMicros::parse("2026-01-02T03:04").unwrap().seconds(), 1_767_323_040);
        assert_eq!(UtcMicros::from_value(&json!(1_767_323_045.25)).unwrap().micros() % 1_000_000, 250_000);
        for text in ["", "now", "NaN", "inf", "-1", "1969-12-31T23:59:59Z", "2026-13-01", "2026-01-02T", "1e30", "é"] {
            assert!(UtcMicros::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_fraction_is_omitted_only_when_zero() {
        assert_eq!(UtcMicros::from_seconds(0).without_zero_fraction(), "1970-01-01T00:00:00+00:00");
        assert_eq!(UtcMicros::from_micros(120).without_zero_fraction(), "1970-01-01T00:00:00.000120+00:00");
        assert_eq!(UtcMicros::from_micros(i64::MAX).to_string(), "9999-12-31T23:59:59.999999+00:00");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(micros in 0..=MAX_MICROS) {
            let time = UtcMicros::from_micros(micros);
            prop_assert_eq!(UtcMicros::parse(&time.to_string()), Ok(time));
            prop_assert_eq!(UtcMicros::parse(&time.without_zero_fraction()), Ok(time));
        }

        #[test]
        fn no_text_breaks_the_reader(text in "[0-9TZ:+. -]{0,40}|\\PC{0,20}") {
            let _ = UtcMicros::parse(&text);
        }
    }
}
