//! Signs access tokens (RFC 7519): HS256 with the project's secret, or the one key of a set that
//! has `key_ops: ["sign"]`. The public set never shows a symmetric key.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bunbun_core::secret;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The key set cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeySetError {
    /// No JSON Web Key Set.
    #[error("is not a JSON Web Key Set")]
    Malformed,
    /// Not exactly one key that signs.
    #[error("needs exactly one key with key_ops [\"sign\"], and has {0}")]
    Signing(usize),
    /// A key is neither RSA nor P-256 nor the project's secret.
    #[error("key {0} is neither RSA nor P-256 with all its numbers, nor JWT_SECRET itself")]
    Unsupported(usize),
}

/// Signs tokens.
pub struct Signer {
    key: EncodingKey,
    header: Header,
    public: Value,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("algorithm", &self.header.alg)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// HS256 with the project's secret.
    #[must_use]
    pub fn hs256(jwt_secret: &str) -> Self {
        Self {
            key: EncodingKey::from_secret(jwt_secret.as_bytes()),
            header: Header::new(Algorithm::HS256),
            public: json!({ "keys": [] }),
        }
    }

    /// The signing key of a set; the others only verify.
    ///
    /// # Errors
    /// When the set has no or several signing keys, or one of another kind.
    pub fn from_keys(keys: &str, jwt_secret: &str) -> Result<Self, KeySetError> {
        let parsed: Value = serde_json::from_str(keys).map_err(|_| KeySetError::Malformed)?;
        let list = match &parsed {
            Value::Array(list) => list,
            _ => parsed["keys"].as_array().ok_or(KeySetError::Malformed)?,
        };
        let mut signing = Vec::new();
        let mut public = Vec::new();
        for (index, key) in list.iter().enumerate() {
            let unsupported = KeySetError::Unsupported(index);
            let signs = key["key_ops"]
                .as_array()
                .is_some_and(|ops| ops.iter().any(|op| op == "sign"));
            let shown = match key["kty"].as_str() {
                Some("oct") => {
                    let same =
                        text(key, "k").is_some_and(|k| secret::equal(&k, jwt_secret.as_bytes()));
                    if !same {
                        return Err(unsupported);
                    }
                    None
                }
                Some("EC") if key["crv"] == "P-256" => {
                    Some(public_part(key, &["kty", "crv", "x", "y"], "ES256"))
                }
                Some("RSA") => Some(public_part(key, &["kty", "n", "e"], "RS256")),
                _ => return Err(unsupported),
            };
            public.extend(shown);
            if signs {
                let pair = encoding_key(key).ok_or(unsupported)?;
                signing.push((pair, key["kid"].as_str().map(str::to_owned)));
            }
        }
        let count = signing.len();
        let (Some(((algorithm, key), kid)), true) = (signing.pop(), count == 1) else {
            return Err(KeySetError::Signing(count));
        };
        let mut header = Header::new(algorithm);
        header.kid = kid;
        Ok(Self {
            key,
            header,
            public: json!({ "keys": public }),
        })
    }

    /// The public keys, as `/.well-known/jwks.json` shows them.
    #[must_use]
    pub fn public_keys(&self) -> &Value {
        &self.public
    }

    /// The algorithm's name.
    pub(crate) fn algorithm(&self) -> &'static str {
        match self.header.alg {
            Algorithm::ES256 => "ES256",
            Algorithm::RS256 => "RS256",
            _ => "HS256",
        }
    }

    /// Signs claims.
    pub(crate) fn sign(
        &self,
        claims: &impl Serialize,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        jsonwebtoken::encode(&self.header, claims, &self.key)
    }
}

fn text(key: &Value, name: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(key[name].as_str()?).ok()
}

fn public_part(key: &Value, names: &[&str], algorithm: &str) -> Value {
    let mut part = Map::new();
    for name in names.iter().chain(&["kid"]) {
        if let Some(value) = key.get(*name) {
            part.insert((*name).to_owned(), value.clone());
        }
    }
    part.insert("alg".to_owned(), algorithm.into());
    part.insert("use".to_owned(), "sig".into());
    part.insert("key_ops".to_owned(), json!(["verify"]));
    Value::Object(part)
}

fn encoding_key(key: &Value) -> Option<(Algorithm, EncodingKey)> {
    match key["kty"].as_str()? {
        "oct" => Some((Algorithm::HS256, EncodingKey::from_secret(&text(key, "k")?))),
        "EC" => {
            let der = p256_pkcs8(&text(key, "d")?, &text(key, "x")?, &text(key, "y")?)?;
            Some((Algorithm::ES256, EncodingKey::from_ec_der(&der)))
        }
        _ => {
            let numbers = ["n", "e", "d", "p", "q", "dp", "dq", "qi"]
                .iter()
                .map(|name| text(key, name))
                .collect::<Option<Vec<_>>>()?;
            Some((
                Algorithm::RS256,
                EncodingKey::from_rsa_der(&rsa_pkcs1(&numbers)),
            ))
        }
    }
}

/// RFC 5208 around RFC 5915.
fn p256_pkcs8(d: &[u8], x: &[u8], y: &[u8]) -> Option<Vec<u8>> {
    const HEAD: [u8; 36] = [
        0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d,
        0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x6d, 0x30,
        0x6b, 0x02, 0x01, 0x01, 0x04, 0x20,
    ];
    const MIDDLE: [u8; 6] = [0xa1, 0x44, 0x03, 0x42, 0x00, 0x04];
    if [d, x, y].iter().any(|number| number.len() != 32) {
        return None;
    }
    Some([&HEAD[..], d, &MIDDLE, x, y].concat())
}

/// RFC 8017 appendix A.1.2.
fn rsa_pkcs1(numbers: &[Vec<u8>]) -> Vec<u8> {
    let mut inside = vec![0x02, 0x01, 0x00];
    for number in numbers {
        let start = number.iter().position(|b| *b != 0).unwrap_or(number.len());
        let mut digits = number[start..].to_vec();
        // A set first bit would make it negative.
        if digits.first().is_none_or(|b| *b >= 0x80) {
            digits.insert(0, 0);
        }
        inside.push(0x02);
        inside.extend(der_length(digits.len()));
        inside.extend(digits);
    }
    let mut der = vec![0x30];
    der.extend(der_length(inside.len()));
    der.extend(inside);
    der
}

fn der_length(length: usize) -> Vec<u8> {
    let bytes = length.to_be_bytes();
    let significant: Vec<u8> = bytes.into_iter().skip_while(|b| *b == 0).collect();
    match significant.as_slice() {
        [] => vec![0],
        [one] if *one < 0x80 => vec![*one],
        many => {
            let count = u8::try_from(many.len()).unwrap_or(8);
            [&[0x80 | count], many].concat()
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        encoding::{AsBigEndian as _, EcPrivateKeyBin, EcPublicKeyUncompressedBin},
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
    };
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    use bunbun_core::jwt::Verifier;
    use serde_json::{Value, json};

    use super::{KeySetError, Signer};

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn p256(kid: &str, ops: &[&str]) -> Value {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let private: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().unwrap();
        let public: EcPublicKeyUncompressedBin<'_> = pair.public_key().as_be_bytes().unwrap();
        let public = public.as_ref();
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        json!({
            "kty": "EC", "crv": "P-256", "kid": kid, "key_ops": ops,
            "d": encode(private.as_ref()), "x": encode(&public[1..33]), "y": encode(&public[33..]),
        })
    }

    fn claims() -> Value {
        json!({ "role": "authenticated", "aud": "authenticated", "sub": "x", "exp": 4_000_000_000_u64 })
    }

    #[test]
    fn tokens_of_a_key_set_are_verified_by_its_public_part() {
        let keys = json!({ "keys": [
            p256("a", &["sign", "verify"]),
            p256("b", &["verify"]),
            { "kty": "oct", "k": BASE64_URL_SAFE_NO_PAD.encode(SECRET), "kid": "old", "key_ops": ["verify"] },
        ]});
        let signer = Signer::from_keys(&keys.to_string(), SECRET).unwrap();
        let public = signer.public_keys().to_string();
        for private in ["\"d\"", "\"k\"", "oct"] {
            assert!(!public.contains(private), "{public}");
        }
        let verifier = Verifier::new(SECRET).with_jwks(&public).unwrap();
        let token = signer.sign(&claims()).unwrap();
        assert_eq!(
            verifier.verify(&token).unwrap().subject.as_deref(),
            Some("x")
        );
        let shared = Signer::hs256(SECRET);
        assert!(verifier.verify(&shared.sign(&claims()).unwrap()).is_ok());
        assert_eq!(shared.public_keys(), &json!({ "keys": [] }));
    }

    #[test]
    fn exactly_one_key_signs() {
        let none = json!({ "keys": [p256("a", &["verify"])] }).to_string();
        assert_eq!(
            Signer::from_keys(&none, SECRET).unwrap_err(),
            KeySetError::Signing(0)
        );
        let two = json!([p256("a", &["sign"]), p256("b", &["sign"])]).to_string();
        assert_eq!(
            Signer::from_keys(&two, SECRET).unwrap_err(),
            KeySetError::Signing(2)
        );
        let foreign =
            json!({ "keys": [{ "kty": "oct", "k": "AAAA", "key_ops": ["sign"] }] }).to_string();
        assert_eq!(
            Signer::from_keys(&foreign, SECRET).unwrap_err(),
            KeySetError::Unsupported(0)
        );
        assert_eq!(
            Signer::from_keys("x", SECRET).unwrap_err(),
            KeySetError::Malformed
        );
    }

    #[test]
    fn rsa_keys_sign_as_well() {
        use aws_lc_rs::{
            encoding::{AsDer as _, Pkcs8V1Der},
            rsa::{KeyPair, KeySize},
        };
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        // The numbers of RSAPrivateKey, which PKCS #8 holds as an octet string at its end.
        let numbers = integers(&der.as_ref()[26..]);
        let encode = |at: usize| BASE64_URL_SAFE_NO_PAD.encode(&numbers[at]);
        let key = json!({
            "kty": "RSA", "kid": "r", "key_ops": ["sign"], "n": encode(1), "e": encode(2),
            "d": encode(3), "p": encode(4), "q": encode(5), "dp": encode(6), "dq": encode(7),
            "qi": encode(8),
        });
        let signer = Signer::from_keys(&json!({ "keys": [key] }).to_string(), SECRET).unwrap();
        let public = signer.public_keys().to_string();
        let verifier = Verifier::new(SECRET).with_jwks(&public).unwrap();
        assert!(verifier.verify(&signer.sign(&claims()).unwrap()).is_ok());
    }

    /// The integers of a DER sequence.
    fn integers(der: &[u8]) -> Vec<Vec<u8>> {
        fn length(der: &[u8]) -> (usize, usize) {
            match der[0] {
                short if short < 0x80 => (usize::from(short), 1),
                long => {
                    let count = usize::from(long & 0x7f);
                    let value = der[1..=count]
                        .iter()
                        .fold(0, |sum, b| sum << 8 | usize::from(*b));
                    (value, count + 1)
                }
            }
        }
        assert_eq!(der[0], 0x30);
        let (_, skip) = length(&der[1..]);
        let mut rest = &der[1 + skip..];
        let mut all = Vec::new();
        while !rest.is_empty() {
            assert_eq!(rest[0], 0x02);
            let (size, skip) = length(&rest[1..]);
            let digits = &rest[1 + skip..1 + skip + size];
            all.push(digits.iter().copied().skip_while(|b| *b == 0).collect());
            rest = &rest[1 + skip + size..];
        }
        all
    }
}
