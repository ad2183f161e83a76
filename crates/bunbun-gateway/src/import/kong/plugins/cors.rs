//! `cors`: which origins may read answers.

use std::collections::BTreeSet;

use bunbun_core::config::gateway::CorsConfig;
use serde_json::json;
use url::Url;

use super::{CorsRule, Fields, Findings, Kind, Outcome, note_unless_default, quoted};

/// Reads the plugin. Without origins, or with `*` alone, everyone may read answers, but never
/// with the credentials of a browser.
pub(super) fn read(config: &mut Fields, findings: &mut Findings) -> Outcome<Kind> {
    let given = config.texts("origins")?.unwrap_or_default();
    let credentials = config.flag("credentials")?.unwrap_or(false);
    let everyone = given.is_empty() || given.iter().any(|origin| origin == "*");
    let mut origins = BTreeSet::new();
    let mut mode = CorsConfig::Allowed;
    if everyone && credentials {
        findings.note(
            config.at("origins"),
            "every origin with credentials: limited to ALLOWED_ORIGINS",
            "list the origins that need it in ALLOWED_ORIGINS",
        );
    } else if everyone {
        mode = CorsConfig::Public;
    } else {
        for text in given {
            if let Some(origin) = origin(&text) {
                origins.insert(origin);
            } else {
                let reason = format!("{} is a pattern or no origin, left out", quoted(&text));
                let hint = "list the origins themselves in ALLOWED_ORIGINS";
                findings.note(config.at("origins"), reason, hint);
            }
        }
        if !credentials {
            let hint = "answers to the listed origins allow credentials";
            findings.note(
                config.at("credentials"),
                "was off for the listed origins",
                hint,
            );
        }
    }
    if config.flag("preflight_continue")?.unwrap_or(false) {
        mode = CorsConfig::Off;
        let reason = "preflights go to the service, and so does all of CORS";
        findings.note(
            config.at("preflight_continue"),
            reason,
            "set `cors` of the route",
        );
    }
    let methods = [
        "GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS", "TRACE", "CONNECT",
    ];
    let defaults = [
        ("methods", json!(methods)),
        ("headers", json!([])),
        ("exposed_headers", json!([])),
        ("max_age", json!(null)),
        ("private_network", json!(false)),
        ("allow_origin_absent", json!(true)),
    ];
    let hint = "preflights are answered as the dialect does";
    note_unless_default(config, &defaults, findings, hint);
    Ok(Kind::Cors(CorsRule { mode, origins }))
}

/// An origin as browsers send it; `None` for Kong's regular expressions and for anything else.
fn origin(text: &str) -> Option<String> {
    let url = Url::parse(text.strip_suffix('/').unwrap_or(text)).ok()?;
    let origin = url.origin();
    let is_bare = url.path().len() <= 1 && url.query().is_none() && url.fragment().is_none();
    let is_literal = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b".-:/[]".contains(&byte));
    (origin.is_tuple() && is_bare && is_literal && url.username().is_empty())
        .then(|| origin.ascii_serialization())
}
