//! Addresses as users type them: checked for their form, and in lower case from here on.

use crate::error::{AuthError, Result};

/// The longest address that is stored.
const MAX_BYTES: usize = 255;

/// Checks an address and puts it into lower case.
///
/// # Errors
/// 400 `validation_failed`, in the original's words.
pub(crate) fn validate(text: &str) -> Result<String> {
    if text.is_empty() {
        return Err(AuthError::invalid("An email address is required"));
    }
    if text.len() > MAX_BYTES {
        return Err(AuthError::invalid("An email address is too long"));
    }
    if !is_well_formed(text) {
        return Err(AuthError::invalid(
            "Unable to validate email address: invalid format",
        ));
    }
    Ok(text.to_lowercase())
}

/// RFC 5321's dot-atom and a host name of letters, digits and hyphens, all ASCII as with the
/// original: other letters make several addresses of one mailbox, and look alike. Domains with
/// such letters are written in Punycode. Quoted local parts, comments and literal addresses are
/// nobody's and many a parser's trouble.
fn is_well_formed(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let local_ok = (1..=64).contains(&local.len())
        && local.split('.').all(|atom| {
            !atom.is_empty()
                && atom
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+/=?^_`{|}~-".contains(c))
        });
    let labels: Vec<&str> = domain.split('.').collect();
    let domain_ok = labels.len() >= 2
        && domain.len() <= 253
        && labels.iter().all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        });
    local_ok && domain_ok
}

/// Checks a phone number (E.164) and leaves its digits.
///
/// # Errors
/// 400 `validation_failed`.
pub(crate) fn validate_phone(text: &str) -> Result<String> {
    let digits: String = text.chars().filter(|c| *c != '+' && *c != ' ').collect();
    let ok = (7..=15).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !digits.starts_with('0');
    if ok {
        Ok(digits)
    } else {
        Err(AuthError::invalid(
            "Invalid phone number format (E.164 required)",
        ))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{validate, validate_phone};

    #[test]
    fn addresses_are_checked_and_lowered() {
        assert_eq!(
            validate("Ann.B+x@Example.COM").unwrap(),
            "ann.b+x@example.com"
        );
        assert_eq!(
            validate("a@xn--exmple-cua.de").unwrap(),
            "a@xn--exmple-cua.de"
        );
        for bad in [
            "",
            "a",
            "a@b",
            "@b.c",
            "a@",
            "a b@c.d",
            "a@b..c",
            "a..b@c.d",
            ".a@b.c",
            "a@-b.c",
            "a@b.c\r\nBcc: x@y.z",
            "<a@b.c>",
            "a@b.c,d@e.f",
            "a@[127.0.0.1]",
            "a\0@b.c",
            "a@b@c.d\"",
            "jörg@example.de",
            "joerg@exämple.de",
            "a@ｅxample.org",
            "a@еxample.org",
        ] {
            assert!(validate(bad).is_err(), "{bad:?}");
        }
        assert!(validate(&format!("{}@b.co", "a".repeat(65))).is_err());
        assert!(validate(&format!("a@{}.co", "b".repeat(253))).is_err());
    }

    #[test]
    fn phone_numbers_are_digits() {
        assert_eq!(validate_phone("+49 1701234567").unwrap(), "491701234567");
        for bad in ["", "+0123456789", "abc", "123", "+1234567890123456"] {
            assert!(validate_phone(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_could_end_a_header_line_passes(text in ".{0,40}@.{0,40}") {
            if let Ok(address) = validate(&text) {
                prop_assert!(!address.chars().any(|c| c.is_control() || c.is_whitespace()));
                prop_assert!(!address.contains(['<', '>', '"', ',', ';']));
            }
        }
    }
}
