//! Time-based one-time passwords (RFC 6238) as authenticator apps know them: SHA-1, six digits,
//! 30 seconds, one step of tolerance to either side.

use bunbun_core::secret;
use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use qrcode::{EcLevel, QrCode, render::svg};
use sha1::Sha1;

/// Seconds of one code.
const STEP_S: i64 = 30;
/// Steps that clocks may differ.
const TOLERANCE: i64 = 1;

/// A new secret: 160 bits in Base32.
pub(crate) fn new_secret() -> String {
    BASE32_NOPAD.encode(&secret::random_bytes::<20>())
}

/// The code of a moment, as an app shows it.
#[cfg(test)]
fn code(secret: &str, unix_seconds: i64) -> Option<String> {
    at_step(secret, unix_seconds.div_euclid(STEP_S))
}

fn at_step(secret: &str, step: i64) -> Option<String> {
    let key = BASE32_NOPAD
        .decode(secret.trim_end_matches('=').to_ascii_uppercase().as_bytes())
        .ok()?;
    let mut mac = Hmac::<Sha1>::new_from_slice(&key).ok()?;
    mac.update(&step.to_be_bytes());
    let hash = mac.finalize().into_bytes();
    // Dynamic truncation (RFC 4226 §5.3).
    let offset = usize::from(hash[19] & 0x0f);
    let bytes = [
        hash[offset] & 0x7f,
        hash[offset + 1],
        hash[offset + 2],
        hash[offset + 3],
    ];
    Some(format!("{:06}", u32::from_be_bytes(bytes) % 1_000_000))
}

/// The step of which a code is, among this moment's. Every one is compared, in the same time. One
/// step's code counts once (RFC 6238 §5.2): whoever calls remembers the step.
pub(crate) fn verify(secret: &str, given: &str, unix_seconds: i64) -> Option<i64> {
    let now = unix_seconds.div_euclid(STEP_S);
    let mut fits = None;
    for step in now - TOLERANCE..=now + TOLERANCE {
        let code = at_step(secret, step)?;
        if secret::equal(code.as_bytes(), given.as_bytes()) {
            fits = Some(step);
        }
    }
    fits
}

/// The URI that an app reads from a QR code.
pub(crate) fn uri(issuer: &str, account: &str, secret: &str) -> String {
    let label = |text: &str| -> String {
        url::form_urlencoded::byte_serialize(text.as_bytes())
            .collect::<String>()
            .replace('+', "%20")
    };
    format!(
        "otpauth://totp/{}:{}?algorithm=SHA1&digits=6&issuer={}&period={STEP_S}&secret={secret}",
        label(issuer),
        label(account),
        label(issuer)
    )
}

/// The URI as a picture. Its colours have names: clients put it into a data URI, where `#` would
/// begin a fragment.
pub(crate) fn qr_code(uri: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(uri, EcLevel::M).ok()?;
    let picture = code
        .render::<svg::Color<'_>>()
        .min_dimensions(200, 200)
        .dark_color(svg::Color("black"))
        .light_color(svg::Color("white"))
        .build();
    Some(picture)
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE32_NOPAD;

    use super::{code, new_secret, qr_code, uri, verify};

    #[test]
    fn codes_are_those_of_the_standard() {
        // RFC 6238 appendix B, the last six of its eight digits.
        let secret = BASE32_NOPAD.encode(b"12345678901234567890");
        for (at, expected) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_234_567_890, "005924"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code(&secret, at).as_deref(), Some(expected));
        }
        for at in [59, 59 + 30, 59 - 30] {
            assert_eq!(verify(&secret, "287082", at), Some(1));
        }
        assert_eq!(verify(&secret, "287082", 59 + 61), None);
        assert_eq!(verify(&secret, "", 59), None);
        assert_eq!(verify("not base32!", "000000", 59), None);
    }

    #[test]
    fn uris_and_pictures_can_be_shown_as_they_are() {
        let secret = new_secret();
        let uri = uri("my app", "a+b@example.com", &secret);
        assert!(uri.starts_with("otpauth://totp/my%20app:a%2Bb%40example.com?algorithm=SHA1"));
        let picture = qr_code(&uri).unwrap();
        assert!(
            picture.contains("<svg") && !picture.contains('#'),
            "{picture}"
        );
    }
}
