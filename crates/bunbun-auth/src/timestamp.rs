//! Moments as the original writes them: RFC 3339 in UTC, with as many digits as are not zero.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp(pub(crate) OffsetDateTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.0.to_offset(UtcOffset::UTC);
        let (date, time) = (at.date(), at.time());
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
            date.year(),
            u8::from(date.month()),
            date.day(),
            time.hour(),
            time.minute(),
            time.second()
        )?;
        let micros = time.microsecond();
        if micros != 0 {
            let digits = format!("{micros:06}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        OffsetDateTime::parse(&text, &Rfc3339)
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::Timestamp;

    #[test]
    fn moments_look_as_the_originals_do() {
        assert_eq!(
            Timestamp(datetime!(2024-05-06 07:08:09.120_300 +2)).to_string(),
            "2024-05-06T05:08:09.1203Z"
        );
        assert_eq!(
            Timestamp(datetime!(2024-05-06 07:08:09 UTC)).to_string(),
            "2024-05-06T07:08:09Z"
        );
        // As PostgreSQL writes it into JSON.
        let read: Timestamp = serde_json::from_str("\"2024-05-06T05:08:09.1203+00:00\"").unwrap();
        assert_eq!(read.to_string(), "2024-05-06T05:08:09.1203Z");
    }
}
