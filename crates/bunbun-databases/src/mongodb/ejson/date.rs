//! Dates: milliseconds since 1970 as ISO 8601 in UTC, and back.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

const DAY: i64 = 24 * 60 * 60 * 1000;
/// The first millisecond of the year 10000.
const YEAR_10000: i64 = 253_402_300_800_000;

/// Whether the relaxed form writes it as text: the years 1970 to 9999.
pub(super) const fn is_readable(milliseconds: i64) -> bool {
    0 <= milliseconds && milliseconds < YEAR_10000
}

/// Appends a readable date; milliseconds only where there are some.
pub(super) fn write(milliseconds: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil(milliseconds.div_euclid(DAY));
    let of_day = milliseconds.rem_euclid(DAY);
    digits(year, 4, out);
    out.push(b'-');
    digits(month, 2, out);
    out.push(b'-');
    digits(day, 2, out);
    out.push(b'T');
    digits(of_day / 3_600_000, 2, out);
    out.push(b':');
    digits(of_day / 60_000 % 60, 2, out);
    out.push(b':');
    digits(of_day / 1000 % 60, 2, out);
    if of_day % 1000 != 0 {
        out.push(b'.');
        digits(of_day % 1000, 3, out);
    }
    out.push(b'Z');
}

/// Year, month and day of a number of days since 1970, which is not negative (the Gregorian
/// calendar in 400-year cycles that begin with March, where the leap day is the last).
const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let cycle = days / 146_097;
    let of_cycle = days % 146_097;
    let year_of_cycle =
        (of_cycle - of_cycle / 1_460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_cycle + cycle * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

fn digits(number: i64, width: usize, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(number);
    for _ in text.len()..width {
        out.push(b'0');
    }
    out.extend_from_slice(text.as_bytes());
}

/// The milliseconds of a date as text, with any offset; what is finer is cut off.
pub(super) fn parse(text: &str) -> Option<i64> {
    let date = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(date.unix_timestamp_nanos().div_euclid(1_000_000)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{YEAR_10000, parse, write};

    proptest! {
        #[test]
        fn every_readable_date_reads_back(milliseconds in 0..YEAR_10000) {
            let mut out = Vec::new();
            write(milliseconds, &mut out);
            let text = String::from_utf8(out).expect("ASCII");
            prop_assert_eq!(parse(&text), Some(milliseconds), "{}", text);
        }
    }
}
