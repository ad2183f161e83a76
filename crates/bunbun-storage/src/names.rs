//! Names of buckets and objects as users give them. No name reaches a file system as it is; these
//! rules keep names usable in URLs, S3 keys and listings.

use crate::{
    blobs::EMPTY_SEGMENT,
    error::{Result, StorageError},
};

/// The longest name of an object in bytes, as in S3.
const MAX_KEY_BYTES: usize = 1024;
/// The longest name of a bucket in bytes.
const MAX_BUCKET_BYTES: usize = 100;

/// The name of a bucket.
///
/// # Errors
/// `InvalidBucketName`.
pub(crate) fn bucket(name: &str) -> Result<&str> {
    let fits = (1..=MAX_BUCKET_BYTES).contains(&name.len())
        && name.trim() == name
        && !is_dots(name)
        && name.chars().all(|c| c != '/' && is_safe(c));
    fits.then_some(name)
        .ok_or_else(StorageError::invalid_bucket_name)
}

/// The name of an object within its bucket.
///
/// # Errors
/// `InvalidKey`.
pub(crate) fn key(name: &str) -> Result<&str> {
    let fits = (1..=MAX_KEY_BYTES).contains(&name.len())
        && name.chars().all(is_safe)
        && !name
            .split('/')
            .any(|segment| is_dots(segment) || segment == EMPTY_SEGMENT);
    fits.then_some(name)
        .ok_or_else(|| StorageError::invalid_key(name))
}

/// The name of an object that is to be made. What one cannot address is not made: a URL's `//` is
/// one `/` to browsers, proxies and our own gateway. Whoever has such an object from the original
/// can still read, rename and delete it.
///
/// # Errors
/// `InvalidKey`.
pub(crate) fn new_key(name: &str) -> Result<&str> {
    let segments = name.strip_suffix('/').unwrap_or(name);
    if segments.split('/').any(str::is_empty) {
        return Err(StorageError::invalid_key(name));
    }
    key(name)
}

/// A segment that means another place to whoever resolves it.
fn is_dots(segment: &str) -> bool {
    segment == "." || segment == ".."
}

/// The characters that S3 calls safe or manageable, and everything beyond ASCII that is text.
fn is_safe(c: char) -> bool {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' => true,
        '_' | '/' | '!' | '-' | '.' | '*' | '\'' | '(' | ')' | ' ' | '&' | '$' | '@' | '='
        | ';' | ':' | '+' | ',' | '?' => true,
        '\0'..='\u{7f}' => false,
        // C1 controls, and what XML cannot carry.
        '\u{80}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::{bucket, key, new_key};

    #[test]
    fn names_are_as_users_give_them() {
        for good in [
            "a",
            "folder/cat.png",
            "ü/日本語 🎉.txt",
            "a b",
            "!-_.*'()&$@=;:+,?",
            ".hidden",
            "a..b/...",
            "x/",
        ] {
            assert!(key(good).is_ok(), "{good}");
        }
        assert!(key(&"k".repeat(1024)).is_ok());
        for good in ["a", "a/b", "folder/", "a/b/"] {
            assert!(new_key(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "/a", "//a", "a//b", "a//", "a/../b"] {
            assert!(new_key(bad).is_err(), "{bad}");
        }
        for good in ["avatars", "My Bucket", "ünïcode", "a.b-c_d"] {
            assert!(bucket(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn names_that_mean_another_place_or_break_tools_are_refused() {
        let long = "k".repeat(1025);
        for bad in [
            "",
            "..",
            "a/../b",
            "../../etc/passwd",
            "a/.",
            "./a",
            "a\\b",
            "a\0b",
            "a\nb",
            "a%2e",
            "a#b",
            "<x>",
            "a|b",
            "\u{85}",
            "\u{ffff}",
            long.as_str(),
        ] {
            assert!(key(bad).is_err(), "{bad:?}");
        }
        let long = "b".repeat(101);
        for bad in [
            "",
            "..",
            ".",
            "a/b",
            " a",
            "a ",
            "a%b",
            "a\\b",
            long.as_str(),
        ] {
            assert!(bucket(bad).is_err(), "{bad:?}");
        }
    }
}
