//! Firebase Authentication's scrypt, as its user export describes it: scrypt of password and salt
//! gives a key with which the project's signer key is encrypted (AES-256-CTR); the cipher text is
//! the hash. Stored as `$fbscrypt$v=1,n=14,r=8,p=1,ss=<separator>,sk=<signer key>$salt$hash`.

use aes::Aes256;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bunbun_core::secret;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};

type Cipher = ctr::Ctr128BE<Aes256>;

/// 2^16 blocks of 128·r bytes; Firebase's own are 2^14.
const MAX_LOG_N: u8 = 16;
const MAX_R: u32 = 16;
const MAX_P: u32 = 4;

struct Parsed {
    params: scrypt::Params,
    separator: Vec<u8>,
    signer_key: Vec<u8>,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

pub(super) fn is_well_formed(text: &str) -> bool {
    parse(text).is_some()
}

pub(super) fn verify(text: &str, password: &str) -> bool {
    let Some(mut parsed) = parse(text) else {
        return false;
    };
    let mut salt = parsed.salt;
    salt.extend(&parsed.separator);
    let mut key = [0; 32];
    if scrypt::scrypt(password.as_bytes(), &salt, &parsed.params, &mut key).is_err() {
        return false;
    }
    let mut cipher = Cipher::new(&key.into(), &[0; 16].into());
    cipher.apply_keystream(&mut parsed.signer_key);
    secret::equal(&parsed.signer_key, &parsed.hash)
}

fn parse(text: &str) -> Option<Parsed> {
    let mut parts = text.strip_prefix("$fbscrypt$")?.split('$');
    let (settings, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (mut version, mut log_n, mut r, mut p) = (None, None, None, None);
    let (mut separator, mut signer_key) = (None, None);
    for setting in settings.split(',') {
        let (name, value) = setting.split_once('=')?;
        match name {
            "v" => version = Some(value),
            "n" => log_n = value.parse::<u8>().ok(),
            "r" => r = value.parse::<u32>().ok(),
            "p" => p = value.parse::<u32>().ok(),
            "ss" => separator = BASE64_STANDARD.decode(value).ok(),
            "sk" => signer_key = BASE64_STANDARD.decode(value).ok(),
            _ => return None,
        }
    }
    let (log_n, r, p) = (log_n?, r?, p?);
    if version != Some("1") || log_n > MAX_LOG_N || r > MAX_R || p > MAX_P {
        return None;
    }
    let signer_key = signer_key.filter(|key| !key.is_empty())?;
    Some(Parsed {
        params: scrypt::Params::new(log_n, r, p).ok()?,
        separator: separator?,
        signer_key,
        salt: BASE64_STANDARD.decode(salt).ok()?,
        hash: BASE64_STANDARD.decode(hash).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::{is_well_formed, verify};

    /// The sample of Firebase's own scrypt repository: password `user1password`.
    const SAMPLE: &str = "$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,\
        sk=jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==\
        $42xEC+ixf3L2lw==\
        $lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==";

    #[test]
    fn the_published_sample_is_verified() {
        assert!(verify(SAMPLE, "user1password"));
        assert!(!verify(SAMPLE, "user2password"));
    }

    #[test]
    fn parameters_that_would_exhaust_the_machine_are_refused() {
        assert!(!is_well_formed(&SAMPLE.replace("n=14", "n=30")));
        assert!(!is_well_formed(&SAMPLE.replace("r=8", "r=800000")));
    }
}
