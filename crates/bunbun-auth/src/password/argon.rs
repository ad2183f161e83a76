//! Argon2i and Argon2id in PHC form (RFC 9106), as other user stores export them.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use bunbun_core::secret;

/// Most memory that one hash may take, in KiB: a stored hash must not take the server down.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_PASSES: u32 = 16;
const MAX_LANES: u32 = 16;

struct Parsed {
    algorithm: Algorithm,
    params: Params,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

pub(super) fn is_well_formed(text: &str) -> bool {
    parse(text).is_some()
}

pub(super) fn verify(text: &str, password: &str) -> bool {
    let Some(parsed) = parse(text) else {
        return false;
    };
    let mut computed = vec![0; parsed.hash.len()];
    let argon = Argon2::new(parsed.algorithm, Version::V0x13, parsed.params);
    argon
        .hash_password_into(password.as_bytes(), &parsed.salt, &mut computed)
        .is_ok()
        && secret::equal(&computed, &parsed.hash)
}

/// `$argon2id$v=19$m=65536,t=3,p=4$salt$hash`.
fn parse(text: &str) -> Option<Parsed> {
    let mut parts = text.strip_prefix('$')?.split('$');
    let algorithm = match parts.next()? {
        "argon2i" => Algorithm::Argon2i,
        "argon2id" => Algorithm::Argon2id,
        _ => return None,
    };
    if parts.next()? != "v=19" {
        return None;
    }
    let (mut memory, mut passes, mut lanes) = (None, None, None);
    for setting in parts.next()?.split(',') {
        let (name, value) = setting.split_once('=')?;
        let value: u32 = value.parse().ok()?;
        match name {
            "m" => memory = Some(value),
            "t" => passes = Some(value),
            "p" => lanes = Some(value),
            _ => return None,
        }
    }
    let (memory, passes, lanes) = (memory?, passes?, lanes?);
    if memory > MAX_MEMORY_KIB || passes > MAX_PASSES || lanes > MAX_LANES {
        return None;
    }
    let decode = |part: &str| {
        BASE64_STANDARD_NO_PAD
            .decode(part.trim_end_matches('='))
            .ok()
    };
    let (salt, hash) = (decode(parts.next()?)?, decode(parts.next()?)?);
    if parts.next().is_some() || salt.len() < 8 || !(16..=64).contains(&hash.len()) {
        return None;
    }
    let params = Params::new(memory, passes, lanes, Some(hash.len())).ok()?;
    Some(Parsed {
        algorithm,
        params,
        salt,
        hash,
    })
}

#[cfg(test)]
mod tests {
    use super::{is_well_formed, verify};

    #[test]
    fn hashes_of_the_reference_implementation_are_verified() {
        // echo -n password | argon2 somesalt -t 2 -m 16 -p 1 (from its own test suite).
        let id = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$\
                  CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let i = "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$\
                 wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA";
        for hash in [id, i] {
            assert!(verify(hash, "password"), "{hash}");
            assert!(!verify(hash, "passwore"), "{hash}");
        }
    }

    #[test]
    fn parameters_that_would_exhaust_the_machine_are_refused() {
        for bad in [
            "$argon2id$v=19$m=4294967295,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8",
            "$argon2id$v=19$m=65536,t=1000,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8",
            "$argon2d$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8",
            "$argon2id$v=16$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8",
        ] {
            assert!(!is_well_formed(bad), "{bad}");
        }
    }
}
