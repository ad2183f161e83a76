//! The checksum by which two texts count as the same migration.
//!
//! SHA-256 over the statements, each with LF line ends and followed by `;` LF. Taken over the
//! statements rather than the bytes of the request, it can be computed for a row that the Supabase
//! CLI wrote too (the row holds only the split statements), and a trailing line break or a
//! conversion of line ends by an editor or by git makes no difference.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::split::{Statement, split};

/// Of the statements of a request: 64 lower-case hexadecimal digits.
#[must_use]
pub fn of_statements(statements: &[Statement<'_>]) -> String {
    of_texts(statements.iter().map(|statement| statement.text))
}

/// Of a row's `statements`. The CLI keeps pieces that are only comments, which count for nothing
/// here; a piece that our splitter refuses counts as it is.
pub(super) fn of_row(texts: &[String]) -> String {
    let mut kept = Vec::with_capacity(texts.len());
    for text in texts {
        match split(text) {
            Ok(statements) => kept.extend(statements.into_iter().map(|statement| statement.text)),
            Err(_) => kept.push(text.as_str()),
        }
    }
    of_texts(kept.into_iter())
}

fn of_texts<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut hasher = Sha256::new();
    for text in texts {
        for (index, line) in text.split("\r\n").enumerate() {
            if index > 0 {
                hasher.update(b"\n");
            }
            hasher.update(line.as_bytes());
        }
        hasher.update(b";\n");
    }
    hasher
        .finalize()
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
