//! `rate-limiting`: quotas per window.

use std::time::Duration;

use bunbun_core::config::{
    HumanDuration,
    gateway::{RateLimitBy, RateLimitConfig},
};
use serde_json::json;

use super::{Fields, Findings, Kind, Outcome, note_unless_default, quoted};

const WINDOWS: [(&str, u64); 6] = [
    ("second", 1),
    ("minute", 60),
    ("hour", 3_600),
    ("day", 86_400),
    ("month", 30 * 86_400),
    ("year", 365 * 86_400),
];

/// Reads the plugin. Several windows become the one policy that no window forbids: the slowest
/// of their rates with the smallest of their bursts.
pub(super) fn read(config: &mut Fields, findings: &mut Findings) -> Outcome<Kind> {
    let mut quotas: Vec<(u64, u64)> = Vec::new();
    for (key, seconds) in WINDOWS {
        if let Some(limit) = config.whole(key)? {
            quotas.push((limit, seconds));
        }
    }
    let by = read_by(config, findings)?;
    read_rest(config, findings)?;
    let Some(policy) = combine(&quotas) else {
        let reason = "has no quota that can be expressed";
        findings.note(
            &config.path,
            reason,
            "write a policy in `gateway.rate_limits`",
        );
        // A quota of nothing refuses everything.
        let is_closed = quotas.iter().any(|(limit, _)| *limit == 0);
        return Ok(if is_closed { Kind::GUARD } else { Kind::Noted });
    };
    if quotas.len() > 1 {
        let reason = "several windows become one policy, the strictest of all";
        let hint = "see the policy in `gateway.rate_limits`; raise it if bursts matter";
        findings.note(&config.path, reason, hint);
    }
    let (limit, window) = policy;
    Ok(Kind::RateLimit(RateLimitConfig {
        limit,
        window,
        by,
        anonymous: None,
        users: None,
    }))
}

fn combine(quotas: &[(u64, u64)]) -> Option<(u32, HumanDuration)> {
    let smallest = quotas.iter().map(|(limit, _)| *limit).min()?;
    let limit = u32::try_from(smallest).ok().filter(|limit| *limit > 0)?;
    // The rate of the slowest quota, as the time in which the smallest limit refills.
    let window_ms = quotas
        .iter()
        .map(|(quota, seconds)| {
            let milliseconds = u128::from(*seconds) * 1_000;
            (milliseconds * u128::from(limit)).div_ceil(u128::from(*quota))
        })
        .max()?;
    let window = Duration::from_millis(u64::try_from(window_ms).ok()?);
    Some((limit, HumanDuration(window)))
}

fn read_by(config: &mut Fields, findings: &mut Findings) -> Outcome<RateLimitBy> {
    let by = config.text("limit_by")?;
    Ok(match by.as_deref() {
        None | Some("consumer" | "credential") => RateLimitBy::Key,
        Some("ip") => RateLimitBy::Ip,
        Some(other) => {
            let reason = format!("counted by address instead of by {}", quoted(other));
            findings.note(
                config.at("limit_by"),
                reason,
                "BunBun counts by ip, key or user",
            );
            RateLimitBy::Ip
        }
    })
}

fn read_rest(config: &mut Fields, findings: &mut Findings) -> Outcome<()> {
    let policy = config.text("policy")?;
    if policy.as_deref() == Some("redis") {
        let hint = "set REDIS_URL, then all nodes count together";
        findings.note(config.at("policy"), "the server is not taken over", hint);
    }
    config.ignore(&["redis", "sync_rate", "header_name", "path"]);
    config.ignore(&[
        "redis_host",
        "redis_port",
        "redis_username",
        "redis_password",
        "redis_ssl",
        "redis_ssl_verify",
        "redis_server_name",
        "redis_timeout",
        "redis_database",
    ]);
    let defaults = [
        ("fault_tolerant", json!(true)),
        ("hide_client_headers", json!(false)),
        ("error_code", json!(429)),
        ("error_message", json!("API rate limit exceeded")),
    ];
    let hint = "BunBun answers 429 with the usual headers";
    note_unless_default(config, &defaults, findings, hint);
    Ok(())
}
