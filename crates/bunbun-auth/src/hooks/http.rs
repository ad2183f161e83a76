//! Calls a hook's endpoint with the headers of Standard Webhooks
//! (<https://github.com/standard-webhooks/standard-webhooks>).

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bunbun_core::clock::Clock;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use sha2::Sha256;
use url::Url;
use uuid::Uuid;

use crate::error::{AuthError, Code, Result};

/// Longest call, all attempts together.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Attempts that did not reach the endpoint or were told to come again.
const ATTEMPTS: usize = 3;
/// The pause between attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// The largest answer.
const MAX_BYTES: usize = 200 * 1024;

pub(super) async fn call(
    client: &reqwest::Client,
    clock: &dyn Clock,
    url: &Url,
    secrets: &[SecretString],
    input: &Value,
) -> Result<Value> {
    tokio::time::timeout(TIMEOUT, attempts(client, clock, url, secrets, input))
        .await
        .map_err(|_| {
            AuthError::unprocessable(
                Code::HookTimeout,
                "Failed to reach hook within maximum time of 5.000000 seconds",
            )
        })?
}

async fn attempts(
    client: &reqwest::Client,
    clock: &dyn Clock,
    url: &Url,
    secrets: &[SecretString],
    input: &Value,
) -> Result<Value> {
    let payload = input.to_string();
    let mut last = None;
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let id = Uuid::new_v4().to_string();
        let timestamp = clock.unix_seconds().to_string();
        let signature = sign(secrets, &id, &timestamp, &payload)?;
        let sent = client
            .post(url.clone())
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(payload.clone())
            .send()
            .await;
        let response = match sent {
            Ok(response) => response,
            Err(error) => {
                last = Some(error);
                continue;
            }
        };
        let status = response.status();
        let again = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        );
        if again && response.headers().contains_key("retry-after") {
            continue;
        }
        return read(response).await;
    }
    Err(match last {
        Some(error) => AuthError::unprocessable(
            Code::HookTimeoutAfterRetry,
            "Failed to reach hook after maximum retries",
        )
        .with_cause(error),
        None => AuthError::internal(
            "Service currently unavailable due to hook",
            "the hook asked to come again too often",
        ),
    })
}

async fn read(mut response: reqwest::Response) -> Result<Value> {
    let status = response.status();
    if !matches!(
        status,
        StatusCode::OK | StatusCode::ACCEPTED | StatusCode::NO_CONTENT
    ) {
        return Err(AuthError::internal(
            match status {
                StatusCode::BAD_REQUEST => "Invalid payload sent to hook",
                StatusCode::UNAUTHORIZED => "Hook requires authorization token",
                _ => "Unexpected status code returned from hook",
            },
            format!("the hook answered {status}"),
        ));
    }
    if status == StatusCode::NO_CONTENT {
        return Ok(Value::Null);
    }
    let is_json = response
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .is_some_and(|text| {
            let essence = text.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("application/json")
        });
    if !is_json {
        return Err(AuthError::bad_request(
            Code::HookPayloadInvalidContentType,
            "Invalid JSON response. Expected content-type application/json",
        ));
    }
    let broken = |error: reqwest::Error| AuthError::internal("Error reading hook output", error);
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_BYTES {
            return Err(AuthError::unprocessable(
                Code::HookPayloadOverSizeLimit,
                "Payload size exceeded size limit of 204800 bytes",
            ));
        }
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| AuthError::internal("Error unmarshaling JSON output.", error))
}

/// `v1,<base64 of HMAC-SHA256 over id.timestamp.payload>` for each secret, separated by spaces.
fn sign(secrets: &[SecretString], id: &str, timestamp: &str, payload: &str) -> Result<String> {
    let signatures = secrets.iter().map(|secret| {
        let key = BASE64_STANDARD
            .decode(secret.expose_secret())
            .map_err(|error| AuthError::internal("Error generating signatures", error))?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&key)
            .map_err(|error| AuthError::internal("Error generating signatures", error))?;
        mac.update(format!("{id}.{timestamp}.{payload}").as_bytes());
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        Ok(format!("v1,{signature}"))
    });
    Ok(signatures.collect::<Result<Vec<_>>>()?.join(" "))
}

#[cfg(test)]
mod tests {
    use super::sign;

    #[test]
    fn signatures_are_those_of_the_specification() {
        // The example of Standard Webhooks' own documentation.
        let signature = sign(
            &["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned().into()],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            "{\"test\": 2432232314}",
        )
        .unwrap();
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
