//! `key-auth`, `basic-auth`, `acl`, `ip-restriction` and `request-termination`: who passes.

use std::{collections::BTreeSet, net::IpAddr};

use bunbun_core::config::gateway::RespondConfig;
use http::{HeaderValue, StatusCode};
use ipnet::IpNet;
use serde_json::json;

use super::{AclRule, AddressRule, Fields, Findings, Kind, Outcome, note_unless_default, quoted};

/// `key-auth`: the key itself is looked at where the consumers are.
pub(super) fn read_key_auth(config: &mut Fields, findings: &mut Findings) -> Outcome<Kind> {
    anonymous(config, findings);
    let names = config
        .texts("key_names")?
        .unwrap_or_else(|| vec!["apikey".to_owned()]);
    if names
        .iter()
        .any(|name| !name.eq_ignore_ascii_case("apikey"))
    {
        let reason = "keys are read from the header `apikey` only";
        findings.note(config.at("key_names"), reason, "send the key as `apikey`");
    }
    let defaults = [
        ("key_in_body", json!(false)),
        ("key_in_header", json!(true)),
        ("run_on_preflight", json!(true)),
        ("realm", json!(null)),
    ];
    let hint = "keys are read from the header `apikey`";
    note_unless_default(config, &defaults, findings, hint);
    // Without the query, fewer requests pass.
    config.ignore(&["key_in_query"]);
    let hide = config.flag("hide_credentials")?.unwrap_or(false);
    Ok(Kind::KeyAuth { hide })
}

/// `basic-auth`.
pub(super) fn read_basic_auth(config: &mut Fields, findings: &mut Findings) -> Outcome<Kind> {
    anonymous(config, findings);
    config.ignore(&["realm"]);
    let hide = config.flag("hide_credentials")?.unwrap_or(false);
    Ok(Kind::BasicAuth { hide })
}

/// With `anonymous`, Kong lets requests through that fail: here they are refused.
fn anonymous(config: &mut Fields, findings: &mut Findings) {
    if config
        .take("anonymous")
        .is_some_and(|value| value != json!(""))
    {
        findings.note(
            config.at("anonymous"),
            "requests without a valid credential are refused",
            "set `access` to \"open\" if the service itself tells them apart",
        );
    }
}

/// `acl`.
pub(super) fn read_acl(config: &mut Fields, findings: &mut Findings) -> Outcome<Kind> {
    let mut groups = |keys: [&str; 2]| -> Outcome<Option<BTreeSet<String>>> {
        let mut all: Option<BTreeSet<String>> = None;
        for key in keys {
            if let Some(texts) = config.texts(key)?.filter(|texts| !texts.is_empty()) {
                all.get_or_insert_default().extend(texts);
            }
        }
        Ok(all)
    };
    let rule = AclRule {
        allow: groups(["allow", "whitelist"])?,
        deny: groups(["deny", "blacklist"])?,
    };
    if !config.flag("hide_groups_header")?.unwrap_or(false) {
        let reason = "X-Consumer-Groups is not sent to the service";
        findings.note(
            config.at("hide_groups_header"),
            reason,
            "read the role of the token",
        );
    }
    for key in ["always_use_authenticated_groups", "include_consumer_groups"] {
        if config.expect(
            key,
            &json!(false),
            findings,
            "refused to everyone; set `access`",
        ) {
            return Ok(Kind::GUARD);
        }
    }
    Ok(Kind::Acl(rule))
}

/// `ip-restriction`.
pub(super) fn read_ip_restriction(config: &mut Fields, findings: &mut Findings) -> Outcome<Kind> {
    let mut understood = true;
    let mut networks = |keys: [&str; 2]| -> Outcome<Vec<IpNet>> {
        let mut networks = Vec::new();
        for key in keys {
            for text in config.texts(key)?.unwrap_or_default() {
                if let Some(network) = network(&text) {
                    networks.push(network);
                } else {
                    understood = false;
                    let reason = format!("{} is no address: refused to everyone", quoted(&text));
                    findings.note(config.at(key), reason, "set `allow_ips` or `deny_ips`");
                }
            }
        }
        Ok(networks)
    };
    let rule = AddressRule {
        allow: networks(["allow", "whitelist"])?,
        deny: networks(["deny", "blacklist"])?,
    };
    let hint = "BunBun answers 403 in the words of its dialect";
    let defaults = [("status", json!(403)), ("message", json!(null))];
    note_unless_default(config, &defaults, findings, hint);
    Ok(if understood {
        Kind::Addresses(rule)
    } else {
        Kind::GUARD
    })
}

fn network(text: &str) -> Option<IpNet> {
    text.parse()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// `request-termination`.
pub(super) fn read_termination(config: &mut Fields, findings: &mut Findings) -> Outcome<Kind> {
    const JSON: &str = "application/json; charset=utf-8";
    let status = config.whole("status_code")?.unwrap_or(503);
    let message = config.text("message")?;
    let body = config.text("body")?;
    let content_type = config
        .text("content_type")?
        .unwrap_or_else(|| JSON.to_owned());
    for (key, default) in [("trigger", json!(null)), ("echo", json!(false))] {
        let hint = "remove it there, or set `access` here";
        if config.expect(key, &default, findings, hint) {
            return Ok(Kind::GUARD);
        }
    }
    let status = u16::try_from(status)
        .ok()
        .filter(|status| *status >= 200)
        .and_then(|status| StatusCode::from_u16(status).ok());
    let (Some(status), true) = (status, HeaderValue::from_str(&content_type).is_ok()) else {
        let reason = "is no answer that can be sent: refused to everyone";
        findings.note(&config.path, reason, "write `respond` by hand");
        return Ok(Kind::GUARD);
    };
    let (body, content_type) = body.map_or_else(
        || {
            let reason = status.canonical_reason().unwrap_or("Terminated");
            let message = message.as_deref().unwrap_or(reason);
            (json!({ "message": message }).to_string(), JSON.to_owned())
        },
        |body| (body, content_type),
    );
    Ok(Kind::Respond(RespondConfig {
        status: status.as_u16(),
        body,
        content_type,
    }))
}
