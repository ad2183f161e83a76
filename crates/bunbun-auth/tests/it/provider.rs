//! A provider of OpenID Connect, and a GitHub, on a socket of this machine.

use std::{collections::HashMap, sync::Arc};

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

pub(crate) const CLIENT_ID: &str = "our-client";
pub(crate) const CLIENT_SECRET: &str = "its-secret";

/// One key of a provider.
#[derive(Clone)]
pub(crate) struct Key {
    algorithm: Algorithm,
    private: EncodingKey,
    public: Value,
}

impl Key {
    pub(crate) fn es256(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let point = pair.public_key().as_ref().to_vec();
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let public = json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid,
            "x": encode(&point[1..33]), "y": encode(&point[33..]),
        });
        Self {
            algorithm: Algorithm::ES256,
            private: EncodingKey::from_ec_der(pair.to_pkcs8v1().expect("a key").as_ref()),
            public,
        }
    }

    pub(crate) fn rs256(kid: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let der: Pkcs8V1Der<'_> = pair.as_der().expect("a key");
        // RSAPrivateKey lies at the end of PKCS #8, as an octet string.
        let private = EncodingKey::from_rsa_der(&der.as_ref()[26..]);
        let public = Jwk::from_encoding_key(&private, Algorithm::RS256).expect("a key");
        let mut public = serde_json::to_value(public).expect("JSON");
        public["kid"] = kid.into();
        Self {
            algorithm: Algorithm::RS256,
            private,
            public,
        }
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = self.public["kid"].as_str().map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &self.private).expect("JSON")
    }
}

/// What the provider says when it is asked.
pub(crate) struct Says {
    pub(crate) key: Key,
    /// The keys that are published.
    pub(crate) published: Vec<Value>,
    /// Claims of the next id token, beside those that every one has.
    pub(crate) claims: Value,
    /// Replaces the id token altogether.
    pub(crate) id_token: Option<String>,
    /// GitHub's user and addresses.
    pub(crate) github: (Value, Value),
    /// The forms that came to the token endpoint.
    pub(crate) exchanged: Vec<HashMap<String, String>>,
    /// It takes requests and answers none.
    pub(crate) hangs: bool,
    /// How often the keys were fetched.
    pub(crate) fetches: usize,
    /// The nonce that the browser brought.
    pub(crate) nonce: String,
    pub(crate) now: i64,
}

/// The provider.
pub(crate) struct Provider {
    pub(crate) issuer: String,
    pub(crate) says: Arc<Mutex<Says>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Provider {
    pub(crate) async fn start(key: Key, now: i64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("it is there");
        let issuer = format!("http://{}", listener.local_addr().expect("it is bound"));
        let says = Arc::new(Mutex::new(Says {
            published: vec![key.public.clone()],
            key,
            claims: json!({}),
            id_token: None,
            github: (json!({}), json!([])),
            exchanged: Vec::new(),
            hangs: false,
            fetches: 0,
            nonce: String::new(),
            now,
        }));
        let (shared, name) = (Arc::clone(&says), issuer.clone());
        let serving = bunbun_core::task::spawn("a provider", async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                if shared.lock().hangs {
                    held.push(stream);
                    continue;
                }
                let _ = serve(stream, &shared, &name).await;
            }
        });
        Self {
            issuer,
            says,
            serving,
        }
    }

    /// The settings of a service that knows this provider as `acme` and as GitHub.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let acme = json!([{
            "name": "acme", "issuer": self.issuer, "client_id": CLIENT_ID,
            "secret": CLIENT_SECRET,
        }]);
        [
            ("EXTERNAL_OIDC_PROVIDERS", acme.to_string()),
            ("EXTERNAL_GITHUB_CLIENT_ID", CLIENT_ID.to_owned()),
            ("EXTERNAL_GITHUB_SECRET", CLIENT_SECRET.to_owned()),
            ("EXTERNAL_GITHUB_URL", self.issuer.clone()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// An id token of someone.
    pub(crate) fn id_token(&self, claims: &Value) -> String {
        let says = self.says.lock();
        says.key.sign(&complete(claims, &self.issuer, says.now))
    }

    /// From now on it answers nothing.
    pub(crate) fn hang(&self) {
        self.says.lock().hangs = true;
    }

    pub(crate) fn publish(&self, key: &Key) {
        self.says.lock().published.push(key.public.clone());
    }
}

fn complete(claims: &Value, issuer: &str, now: i64) -> Value {
    let mut all = json!({
        "iss": issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 600,
    });
    for (name, value) in claims.as_object().expect("an object") {
        all[name] = value.clone();
    }
    all
}

/// Reads one request and answers it.
async fn serve(mut stream: TcpStream, says: &Mutex<Says>, issuer: &str) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let (head, body) = loop {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse().ok())?
        });
        if body.len() >= length.unwrap_or(0) {
            break (head.to_owned(), body.to_owned());
        }
    };
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let answer = respond(&path, &body, says, issuer).to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        answer.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

fn respond(path: &str, body: &str, says: &Mutex<Says>, issuer: &str) -> Value {
    let mut says = says.lock();
    match path {
        "/.well-known/openid-configuration" => json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/keys"),
            "userinfo_endpoint": format!("{issuer}/userinfo"),
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }),
        "/keys" => {
            says.fetches += 1;
            json!({ "keys": says.published })
        }
        "/token" | "/login/oauth/access_token" => {
            let form = url::form_urlencoded::parse(body.as_bytes())
                .into_owned()
                .collect();
            says.exchanged.push(form);
            let mut claims = complete(&says.claims, issuer, says.now);
            if claims.get("nonce").is_none() {
                claims["nonce"] = says.nonce.clone().into();
            }
            let signed = says.key.sign(&claims);
            let id_token = says.id_token.clone().unwrap_or(signed);
            json!({
                "access_token": "provider-access", "refresh_token": "provider-refresh",
                "token_type": "bearer", "id_token": id_token,
            })
        }
        "/userinfo" => says.claims.clone(),
        "/api/v3/user" => says.github.0.clone(),
        "/api/v3/user/emails" => says.github.1.clone(),
        _ => json!({}),
    }
}
