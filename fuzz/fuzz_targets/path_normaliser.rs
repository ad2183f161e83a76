//! The path normaliser: its result is stable, and no server that decodes it once more, or cuts
//! parameters off, gets to another folder.

#![no_main]

use bunbun_gateway::path::normalise;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &str| {
    let Ok(normal) = normalise(path) else { return };
    assert_eq!(
        normalise(&normal).as_deref(),
        Ok(normal.as_ref()),
        "not stable"
    );
    assert!(normal.starts_with('/') && !normal.contains("//"));
    assert!(
        normal
            .bytes()
            .all(|byte| matches!(byte, 0x21..=0x7e) && byte != b'\\')
    );
    let dots = |segment: &str| segment == "." || segment == "..";
    assert!(!normal.split('/').any(dots));

    let decoded = decode_once(normal.as_bytes());
    assert!(
        !decoded
            .iter()
            .any(|byte| matches!(byte, 0..=0x1f | 0x7f | b'\\'))
    );
    // Tomcat and its like cut `;…` off each segment; others split at a decoded slash first. An
    // encoded semicolon is data for all of them.
    for segment in decoded.split(|byte| *byte == b'/') {
        let name = segment
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default();
        assert!(
            name != b"." && name != b"..",
            "a hidden dot segment in {normal}"
        );
    }
    // What stands between slashes is never longer than what was given: nothing is made up.
    assert!(normal.len() <= 3 * path.len().max(1));
});

fn decode_once(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte == b'%' {
            let [high, low, tail @ ..] = rest else {
                panic!("a broken escape passed")
            };
            let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hexadecimal digit");
            assert!(!high.is_ascii_lowercase() && !low.is_ascii_lowercase());
            let value = u8::try_from(digit(*high) << 4 | digit(*low)).expect("two digits");
            assert!(
                !value.is_ascii_alphanumeric() && !b"-._~".contains(&value),
                "unreserved"
            );
            decoded.push(if value == b';' { b'_' } else { value });
            rest = tail;
        } else {
            decoded.push(*byte);
        }
    }
    decoded
}
