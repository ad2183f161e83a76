//! Newtype ids, so that one kind of id cannot be passed for another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Writes bytes in hexadecimal, two lower-case digits each, without the machinery of `format!`:
/// every request gets a few such ids.
///
/// # Panics
/// When `out` is not exactly twice as long.
pub fn write_hex(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    assert_eq!(out.len(), 2 * bytes.len(), "two digits for each byte");
    for (byte, digits) in bytes.iter().zip(out.as_chunks_mut::<2>().0) {
        *digits = [
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ];
    }
}

/// A project's public reference: 1 to 40 of `a-z`, `0-9` and `-`, beginning and ending with a
/// letter or digit, so that it can be a host label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ProjectRef(String);

impl ProjectRef {
    /// The project that a single-project installation has.
    pub const DEFAULT: &str = "default";

    /// The reference of the project `default`.
    #[must_use]
    pub fn default_project() -> Self {
        Self(Self::DEFAULT.to_owned())
    }

    /// The reference as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the text could be a reference.
    #[must_use]
    pub fn is_valid(text: &str) -> bool {
        let bytes = text.as_bytes();
        let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        (1..=40).contains(&bytes.len())
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes
                .iter()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
    }
}

/// The text is not a project reference.
#[derive(Debug, thiserror::Error)]
#[error("a project reference is 1 to 40 of a-z, 0-9 and '-', with a letter or digit at both ends")]
pub struct InvalidProjectRef;

impl FromStr for ProjectRef {
    type Err = InvalidProjectRef;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if Self::is_valid(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidProjectRef)
        }
    }
}

impl<'de> Deserialize<'de> for ProjectRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for ProjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! uuid_id {
    ($(#[doc = $doc:literal])+ $name:ident) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id whose order is the order of creation (UUID version 7).
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_id! {
    /// A backup of a project's database.
    BackupId
}

uuid_id! {
    /// A stored connection to a database.
    ConnectionId
}

uuid_id! {
    /// A project's data key, under which its stored secrets are encrypted.
    DataKeyId
}

uuid_id! {
    /// A row of the audit log.
    AuditId
}

#[cfg(test)]
mod tests {
    use super::{ProjectRef, write_hex};

    #[test]
    fn hexadecimal_is_as_format_writes_it() {
        let mut text = [0; 8];
        write_hex(&0x0019_afff_u32.to_be_bytes(), &mut text);
        assert_eq!(text, *b"0019afff");
    }

    #[test]
    fn project_references_are_host_labels() {
        for good in ["default", "a", "0", "my-project-2"] {
            assert!(ProjectRef::is_valid(good), "{good}");
        }
        let long = "a".repeat(41);
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "ä", "a/b", long.as_str()] {
            assert!(!ProjectRef::is_valid(bad), "{bad}");
        }
    }
}
