//! Versions: UTC time to the second as `YYYYMMDDHHMMSS`, as the Supabase CLI names its files.

use time::{Duration, PrimitiveDateTime, macros::format_description};

/// The version after `newest` at the time `now`: `now`, unless several migrations came in one
/// second, or a file's name lies in the future; then one second after the newest.
///
/// Both are 14 digits. A newest version that is no date (month 13) is counted on as a number.
pub(super) fn next(now: &str, newest: Option<&str>) -> String {
    match newest {
        Some(newest) if newest >= now => after(newest).unwrap_or_else(|| now.to_owned()),
        _ => now.to_owned(),
    }
}

fn after(version: &str) -> Option<String> {
    let format = format_description!("[year][month][day][hour][minute][second]");
    if let Ok(moment) = PrimitiveDateTime::parse(version, format) {
        let next = moment.checked_add(Duration::SECOND)?;
        return next.format(format).ok();
    }
    let number: u64 = version.parse().ok()?;
    Some(format!("{:014}", number + 1))
}

#[cfg(test)]
mod tests {
    use super::next;

    #[test]
    fn a_free_second_is_taken_as_it_is() {
        assert_eq!(next("20250102030405", None), "20250102030405");
        assert_eq!(
            next("20250102030405", Some("20250102030404")),
            "20250102030405"
        );
    }

    #[test]
    fn a_taken_second_gives_the_next_one_also_over_the_end_of_a_year() {
        assert_eq!(
            next("20250102030459", Some("20250102030459")),
            "20250102030500"
        );
        assert_eq!(
            next("20240101000000", Some("20241231235959")),
            "20250101000000"
        );
    }

    #[test]
    fn a_version_that_is_no_date_is_counted_on() {
        assert_eq!(
            next("20250102030405", Some("20251399000000")),
            "20251399000001"
        );
    }
}
