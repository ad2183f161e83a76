//! Sizes as people write them: `50MB`, `1.5gb`, `300`.

use serde::Deserialize;

use crate::error::{Code, Result, StorageError};

/// A bucket's limit as a client gives it.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Size {
    /// Bytes.
    Bytes(u64),
    /// A number with a unit; decimal units, as in the original.
    Text(String),
}

impl Size {
    /// The size in bytes.
    ///
    /// # Errors
    /// `InvalidRequest`.
    pub fn bytes(&self) -> Result<u64> {
        match self {
            Self::Bytes(bytes) => Ok(*bytes),
            Self::Text(text) => parse(text).ok_or_else(|| {
                let message = "Invalid file size format, hint: use 20GB / 20MB / 30KB / 3B";
                StorageError::new(Code::InvalidRequest, 400, message)
            }),
        }
    }
}

/// Understands `20GB`, `20MB`, `30KB`, `3B`, in any case, also with a fraction, and plain bytes.
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.to_ascii_uppercase().as_str() {
        "B" | "" => 1.0,
        "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    let bytes = number * factor;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and larger numbers saturate"
    )]
    (bytes.is_finite() && bytes < 9.0e18).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse("20GB"), Some(20_000_000_000));
        assert_eq!(parse("1.5mb"), Some(1_500_000));
        assert_eq!(parse("3B"), Some(3));
        assert_eq!(parse("300"), Some(300));
        for bad in ["", "GB", "-1MB", "1PB", "1 MB x", "1..2MB", "1e5", "9999999999999999TB"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
