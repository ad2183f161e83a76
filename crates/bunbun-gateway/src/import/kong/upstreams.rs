//! Upstreams: several addresses under one name, with weights and health checks.

use std::{collections::BTreeMap, time::Duration};

use bunbun_core::config::{
    HumanDuration,
    gateway::{BreakerConfig, HealthConfig, SplitConfig, UpstreamConfig},
};
use serde_json::json;

use super::{
    fields::{Fields, Findings, Outcome, label},
    services::{Service, address, is_plain_path, plain},
};

/// An upstream: several addresses under one name.
#[derive(Debug)]
pub(super) struct Upstream {
    /// Where it stands.
    pub(super) label: String,
    /// Its name, which a service's host refers to.
    pub(super) name: String,
    /// The `Host` that its targets see.
    pub(super) host_header: Option<String>,
    /// Host and port with weight.
    targets: Vec<(String, u64)>,
    health: Option<HealthConfig>,
    breaker: Option<BreakerConfig>,
}

/// Reads an upstream.
pub(super) fn read_upstream(
    mut fields: Fields,
    name: String,
    findings: &mut Findings,
) -> Outcome<Upstream> {
    let hint = "BunBun gives each request to the less busy of two addresses";
    let algorithm = fields.text("algorithm")?.unwrap_or_default();
    if !matches!(algorithm.as_str(), "" | "round-robin" | "least-connections") {
        findings.note(fields.at("algorithm"), "has no counterpart", hint);
    }
    for key in ["hash_on", "hash_fallback"] {
        fields.expect(key, &json!("none"), findings, hint);
    }
    fields.ignore(&["slots", "hash_on_cookie_path"]);
    let (health, breaker) = read_health(fields.fields("healthchecks")?, findings)?;
    let mut upstream = Upstream {
        label: fields.path.clone(),
        name,
        host_header: fields.text("host_header")?,
        targets: Vec::new(),
        health,
        breaker,
    };
    for (at, value) in fields.list("targets")?.into_iter().enumerate() {
        let target = Fields::new(value, label(&fields.path, "targets", None, at))?;
        upstream.target(target, findings)?;
    }
    fields.expect(
        "use_srv_name",
        &json!(false),
        findings,
        "name host and port",
    );
    fields.finish(
        findings,
        "see docs/gateway.md for the options of an upstream",
    );
    Ok(upstream)
}

fn read_health(
    mut fields: Fields,
    findings: &mut Findings,
) -> Outcome<(Option<HealthConfig>, Option<BreakerConfig>)> {
    let mut active = fields.fields("active")?;
    let (mut healthy, mut unhealthy) = (active.fields("healthy")?, active.fields("unhealthy")?);
    let interval = healthy.number("interval")?.unwrap_or_default();
    let interval_unhealthy = unhealthy.number("interval")?.unwrap_or_default();
    let interval = if interval > 0.0 {
        interval
    } else {
        interval_unhealthy
    };
    let kind = active.text("type")?;
    let path = active.text("http_path")?.unwrap_or_else(|| "/".to_owned());
    let timeout = active.number("timeout")?.unwrap_or(1.0);
    let speaks_http = matches!(kind.as_deref(), None | Some("http" | "https"));
    let mut health = None;
    if interval > 0.0 && speaks_http && is_plain_path(&path) {
        health = Some(HealthConfig {
            path,
            interval: seconds(interval),
            timeout: seconds(timeout),
        });
    } else if interval > 0.0 {
        let hint = "set `health.path` of the upstream to a path that answers GET";
        findings.note(&active.path, "is no check that BunBun can do", hint);
    }
    if health.is_some() {
        let hint = "any status below 500 is healthy, and one answer decides";
        for (fields, keys) in [
            (&mut healthy, ["http_statuses", "successes", "", ""]),
            (
                &mut unhealthy,
                ["http_statuses", "http_failures", "tcp_failures", "timeouts"],
            ),
        ] {
            for key in keys {
                fields.expect(key, &json!(0), findings, hint);
            }
        }
        let hint = "BunBun's checks are a plain GET";
        fields_expect_none(&mut active, &["headers", "https_sni"], findings, hint);
    }
    let mut passive = fields.fields("passive")?;
    let mut unhealthy = passive.fields("unhealthy")?;
    let failures = [
        unhealthy.whole("tcp_failures")?,
        unhealthy.whole("timeouts")?,
    ];
    let failures = failures
        .into_iter()
        .flatten()
        .filter(|count| *count > 0)
        .min();
    let breaker = failures.map(|failures| BreakerConfig {
        failures: u32::try_from(failures).unwrap_or(u32::MAX),
        ..BreakerConfig::default()
    });
    let hint = "the breaker counts refused, cut and timed out requests";
    unhealthy.expect("http_failures", &json!(0), findings, hint);
    let hint = "a check is on or off";
    fields.expect("threshold", &json!(0), findings, hint);
    Ok((health, breaker))
}

fn fields_expect_none(fields: &mut Fields, keys: &[&str], findings: &mut Findings, hint: &str) {
    for key in keys {
        fields.expect(key, &json!({}), findings, hint);
    }
}

/// Seconds with fraction, bounded by a year.
fn seconds(seconds: f64) -> HumanDuration {
    let milliseconds = (seconds.clamp(0.001, 31_536_000.0) * 1_000.0).round();
    // The clamp above keeps it far from the limits of every integer.
    let milliseconds = format!("{milliseconds:.0}").parse().unwrap_or(1_000);
    HumanDuration(Duration::from_millis(milliseconds))
}

impl Upstream {
    /// Reads one target of this upstream.
    pub(super) fn target(&mut self, mut fields: Fields, findings: &mut Findings) -> Outcome<()> {
        let weight = fields.whole("weight")?.unwrap_or(100);
        let target = fields.text("target")?.unwrap_or_default();
        // Kong's port for a target without one.
        let has_port = target.rfind(':') > target.rfind(']');
        let target = if has_port {
            target
        } else {
            format!("{target}:8000")
        };
        if address("http", &target).is_none() {
            findings.note(
                fields.at("target"),
                "is no host and port, left out",
                "name an address",
            );
        } else if weight > 0 {
            self.targets.push((target, weight.min(65_535)));
        }
        fields.finish(findings, "an address of BunBun has no such property");
        Ok(())
    }

    /// The upstreams that this one becomes, with the share of each: targets of equal weight
    /// stay together, so that each can stand in for the other.
    pub(super) fn configs(
        &self,
        service: &Service,
        scheme: &'static str,
        findings: &mut Findings,
    ) -> Vec<(UpstreamConfig, u8)> {
        let mut by_weight: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for (target, weight) in &self.targets {
            let url = address(scheme, target);
            by_weight.entry(*weight).or_default().extend(url);
        }
        const MOST_GROUPS: usize = 20;
        if by_weight.len() > MOST_GROUPS {
            let hint = "write `split` by hand";
            findings.note(
                &self.label,
                "too many different weights: all count the same",
                hint,
            );
            let all = by_weight.into_values().flatten().collect();
            by_weight = BTreeMap::from([(1, all)]);
        }
        if by_weight.len() > 1 {
            let hint = "give addresses that may replace each other the same weight";
            findings.note(
                &self.label,
                "targets of different weight become a `split`",
                hint,
            );
        }
        let shares = shares(
            by_weight
                .iter()
                .map(|(weight, urls)| weight * urls.len() as u64),
        );
        by_weight
            .into_values()
            .zip(shares)
            .map(|(urls, share)| {
                let config = UpstreamConfig {
                    health: self.health.clone(),
                    breaker: self.breaker.clone(),
                    ..plain(urls, service)
                };
                (config, share)
            })
            .collect()
    }
}

/// Percentages of weights: at least 1 each, together 100.
fn shares(weights: impl Iterator<Item = u64>) -> Vec<u8> {
    let weights: Vec<u64> = weights.collect();
    let total: u64 = weights.iter().sum::<u64>().max(1);
    let mut shares: Vec<u64> = weights
        .iter()
        .map(|weight| (weight * 100 / total).max(1))
        .collect();
    // What rounding left or took goes to the largest, which notices least.
    if let Some(largest) = shares.iter_mut().max() {
        let value = *largest;
        *largest = 0;
        let others: u64 = shares.iter().sum();
        if let Some(largest) = shares.iter_mut().find(|share| **share == 0) {
            *largest = (100_u64).saturating_sub(others).max(value.min(1));
        }
    }
    shares
        .into_iter()
        .map(|share| u8::try_from(share).unwrap_or(100))
        .collect()
}

/// The sides of a split.
pub(super) fn split(names: Vec<String>, shares: &[u8]) -> Vec<SplitConfig> {
    names
        .into_iter()
        .zip(shares)
        .map(|(upstream, percent)| SplitConfig {
            upstream,
            percent: *percent,
        })
        .collect()
}
