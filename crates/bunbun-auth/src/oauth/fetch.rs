//! Requests to providers: JSON in, bounded.

use reqwest::RequestBuilder;
use serde::de::DeserializeOwned;

use crate::error::{AuthError, Result};

/// The largest answer.
const MAX_BYTES: usize = 1024 * 1024;

/// Sends a request and reads its JSON.
///
/// # Errors
/// 500; what the provider said is in the log, cut, never in the answer.
pub(super) async fn json<T: DeserializeOwned>(request: RequestBuilder, what: &str) -> Result<T> {
    let failed = |cause: String| {
        AuthError::internal(
            "The external provider did not answer usefully",
            format!("{what}: {cause}"),
        )
    };
    let request = request.header("accept", "application/json");
    // The URL may hold a code or token.
    let mut response = request
        .send()
        .await
        .map_err(|error| failed(bunbun_core::error::chain(&error.without_url())))?;
    let status = response.status();
    let mut bytes = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| failed(error.without_url().to_string()))?
    {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_BYTES {
            return Err(failed("the answer is larger than 1 MB".to_owned()));
        }
    }
    if !status.is_success() {
        // Error bodies of OAuth have members without secrets; others are not worth a risk.
        let error: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let code = error["error"].as_str().unwrap_or_default();
        let code: String = code.chars().take(80).collect();
        return Err(failed(format!("status {status} {code}")));
    }
    serde_json::from_slice(&bytes).map_err(|error| failed(format!("no such JSON: {error}")))
}
