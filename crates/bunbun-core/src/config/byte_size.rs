//! Sizes as people write them: `52428800`, `50MB`, `1.5gb`, `50MiB`.

use std::str::FromStr;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = ();

    /// Decimal units (`KB MB GB TB`) and binary ones (`KiB MiB GiB TiB`), in any case, also with a
    /// fraction.
    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.trim();
        let digits = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor = match unit.trim_start().to_ascii_uppercase().as_str() {
            "B" | "" => 1.0,
            "KB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            "TB" => 1e12,
            "KIB" => 1024.0,
            "MIB" => 1_048_576.0,
            "GIB" => 1_073_741_824.0,
            "TIB" => 1_099_511_627_776.0,
            _ => return Err(()),
        };
        let bytes = number.parse::<f64>().map_err(drop)? * factor;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and checked to be small enough"
        )]
        let whole = bytes as u64;
        (bytes.is_finite() && bytes < 9.0e18)
            .then_some(Self(whole))
            .ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::ByteSize;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("20GB", 20_000_000_000),
            ("1.5mb", 1_500_000),
            ("3B", 3),
            ("300", 300),
            ("50MiB", 52_428_800),
            ("1 KB", 1000),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for bad in [
            "",
            "GB",
            "-1MB",
            "1PB",
            "1 MB x",
            "1..2MB",
            "1e5",
            "9999999999999999TB",
        ] {
            assert_eq!(bad.parse::<ByteSize>(), Err(()), "{bad}");
        }
    }
}
