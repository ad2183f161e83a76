//! Plugins: what each one's configuration comes to, and which one holds for a route when it is
//! set at several levels.

mod access;
mod cors;
mod rate_limiting;
mod transformer;

use std::collections::BTreeSet;

use bunbun_core::config::gateway::{CorsConfig, HeaderRules, RateLimitConfig, RespondConfig};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::fields::{Fields, Findings, Outcome, shown};

/// A plugin that is switched on.
#[derive(Debug)]
pub(super) struct Plugin {
    /// Where it stands.
    pub(super) label: String,
    /// Which one.
    pub(super) name: Name,
    /// What it does.
    pub(super) kind: Kind,
}

/// The plugins that are translated. Of the same one at several levels, the nearest holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// Cross-origin requests.
    Cors,
    /// Keys.
    KeyAuth,
    /// User and password.
    BasicAuth,
    /// Groups.
    Acl,
    /// Changes to the request.
    RequestTransformer,
    /// A fixed answer.
    RequestTermination,
    /// Quotas.
    RateLimiting,
    /// Addresses.
    IpRestriction,
    /// Any other.
    Other,
}

impl Name {
    const TRANSLATED: usize = Self::Other as usize;

    fn find(name: &str) -> Self {
        match name {
            "cors" => Self::Cors,
            "key-auth" => Self::KeyAuth,
            "basic-auth" => Self::BasicAuth,
            "acl" => Self::Acl,
            "request-transformer" => Self::RequestTransformer,
            "request-termination" => Self::RequestTermination,
            "rate-limiting" => Self::RateLimiting,
            "ip-restriction" => Self::IpRestriction,
            _ => Self::Other,
        }
    }
}

/// What a plugin does.
#[derive(Debug)]
pub(super) enum Kind {
    /// Answers to browsers.
    Cors(CorsRule),
    /// Asks for a key.
    KeyAuth {
        /// Whether the service does not see it.
        hide: bool,
    },
    /// Asks for user and password.
    BasicAuth {
        /// Whether the service does not see them.
        hide: bool,
    },
    /// Asks for a group.
    Acl(AclRule),
    /// Changes headers.
    Transform(Transformation),
    /// Answers itself.
    Respond(RespondConfig),
    /// Counts requests.
    RateLimit(RateLimitConfig),
    /// Looks at the client's address.
    Addresses(AddressRule),
    /// Listed; without it no request passes that would be refused.
    Noted,
    /// It refuses requests in a way that cannot be expressed: so the route refuses all.
    Guard {
        /// Whether all that it does is to take away a blank header.
        clears_blank_header: bool,
    },
}

impl Kind {
    /// A guard that nothing is known of.
    const GUARD: Self = Self::Guard {
        clears_blank_header: false,
    };
}

/// Whom `cors` lets read answers.
#[derive(Debug)]
pub(super) struct CorsRule {
    /// How the route is marked.
    pub(super) mode: CorsConfig,
    /// The origins that were listed, as BunBun writes them.
    pub(super) origins: BTreeSet<String>,
}

/// Which groups pass.
#[derive(Debug, Default)]
pub(super) struct AclRule {
    /// One of these is needed.
    pub(super) allow: Option<BTreeSet<String>>,
    /// None of these may be there.
    pub(super) deny: Option<BTreeSet<String>>,
}

/// Changes to the request's headers.
#[derive(Debug, Default)]
pub(super) struct Transformation {
    /// The changes.
    pub(super) rules: HeaderRules,
    /// The `Host` to send.
    pub(super) host: Option<String>,
    /// Whether it turns application keys into tokens, as the gateway does itself.
    pub(super) translates_keys: bool,
}

/// Which addresses pass.
#[derive(Debug)]
pub(super) struct AddressRule {
    /// Only these, unless empty.
    pub(super) allow: Vec<IpNet>,
    /// Not these.
    pub(super) deny: Vec<IpNet>,
}

/// Plugins that watch, log, count or shape, and let every request through. All others that are
/// not translated are taken for guards, unknown ones included.
const HARMLESS: &[(&str, &str)] = &[
    ("correlation-id", "BunBun sets and returns x-request-id"),
    ("datadog", "see `telemetry` in docs/configuration.md"),
    ("file-log", "BunBun writes an access log"),
    ("http-log", "BunBun writes an access log"),
    ("loggly", "BunBun writes an access log"),
    ("opentelemetry", "set OTEL_EXPORTER_OTLP_ENDPOINT"),
    ("prometheus", "BunBun serves /metrics"),
    ("proxy-cache", "set `cache_ttl` of the route"),
    ("request-size-limiting", "set `max_body_bytes` of the route"),
    ("response-ratelimiting", "set `rate_limit` of the route"),
    (
        "response-transformer",
        "set `response_headers` of the route",
    ),
    ("statsd", "BunBun serves /metrics"),
    ("syslog", "BunBun writes an access log"),
    ("tcp-log", "BunBun writes an access log"),
    ("udp-log", "BunBun writes an access log"),
    ("zipkin", "set OTEL_EXPORTER_OTLP_ENDPOINT"),
];

/// Reads a plugin; `None` when it is switched off.
pub(super) fn read(mut fields: Fields, findings: &mut Findings) -> Outcome<Option<Plugin>> {
    let text = fields.text("name")?.unwrap_or_default();
    if !fields.flag("enabled")?.unwrap_or(true) {
        return Ok(None);
    }
    let name = Name::find(&text);
    let mut config = fields.fields("config")?;
    // decK's shared configurations stand elsewhere: the one here is not the whole.
    let shared = fields.take("_config").is_some();
    let kind = match name {
        _ if shared => {
            let hint = "write the configuration out (`deck gateway dump`) and import again";
            findings.note(
                fields.at("_config"),
                "its configuration stands elsewhere",
                hint,
            );
            guard_unless(name == Name::Cors)
        }
        Name::Cors => cors::read(&mut config, findings)?,
        Name::KeyAuth => access::read_key_auth(&mut config, findings)?,
        Name::BasicAuth => access::read_basic_auth(&mut config, findings)?,
        Name::Acl => access::read_acl(&mut config, findings)?,
        Name::RequestTransformer => transformer::read(&mut config, findings)?,
        Name::RequestTermination => access::read_termination(&mut config, findings)?,
        Name::RateLimiting => rate_limiting::read(&mut config, findings)?,
        Name::IpRestriction => access::read_ip_restriction(&mut config, findings)?,
        Name::Other => return read_other(&fields.path, &text, config, findings).map(Some),
    };
    if !shared {
        config.finish(findings, "BunBun has no such option");
    }
    let plugin = Plugin {
        label: fields.path.clone(),
        name,
        kind,
    };
    // Applied to all protocols instead of some, a plugin refuses more, not less.
    fields.ignore(&["protocols", "run_on", "instance_name"]);
    fields.finish(findings, "plugins run in a fixed order");
    Ok(Some(plugin))
}

fn guard_unless(harmless: bool) -> Kind {
    if harmless { Kind::Noted } else { Kind::GUARD }
}

fn read_other(
    path: &str,
    name: &str,
    mut config: Fields,
    findings: &mut Findings,
) -> Outcome<Plugin> {
    let kind = if let Some((_, hint)) = HARMLESS.iter().find(|(known, _)| *known == name) {
        findings.note(path, format!("the plugin {name} is not translated"), *hint);
        Kind::Noted
    } else {
        Kind::Guard {
            clears_blank_header: name == "post-function" && clears_blank_header(&mut config)?,
        }
    };
    Ok(Plugin {
        label: path.to_owned(),
        name: Name::Other,
        kind,
    })
}

/// Whether a function can do nothing but take away a header: the stack's own file has two such.
fn clears_blank_header(config: &mut Fields) -> Outcome<bool> {
    let code = config.texts("access")?.unwrap_or_default().join("\n");
    let is_alone = [
        "certificate",
        "rewrite",
        "header_filter",
        "body_filter",
        "log",
        "functions",
    ]
    .iter()
    .all(|phase| config.take(phase).is_none_or(|value| value == json!([])));
    // Lua calls functions without parentheses as well: `error "x"`, `kong.response.exit{…}`.
    let is_simple = !["{", "[", "error", "exit", "load", "ngx", "require", "set"]
        .iter()
        .any(|word| code.contains(word));
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | ':');
    let calls: Vec<&str> = code
        .match_indices('(')
        .map(|(at, _)| {
            let before = &code[..at];
            &before[before.trim_end_matches(is_name).len()..]
        })
        .collect();
    let harmless = |call: &&str| {
        matches!(
            *call,
            "kong.request.get_header" | "kong.service.request.clear_header" | ""
        ) || call.ends_with(":find")
    };
    Ok(is_alone && is_simple && !calls.is_empty() && calls.iter().all(harmless))
}

/// The plugins that hold for a route.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Effective<'p> {
    named: [Option<&'p Plugin>; Name::TRANSLATED],
    guard: Option<&'p Plugin>,
    blank_header_guard: Option<&'p Plugin>,
}

impl<'p> Effective<'p> {
    /// Adds a plugin of the same or a nearer level.
    pub(super) fn add(&mut self, plugin: &'p Plugin) {
        if let Some(slot) = self.named.get_mut(plugin.name as usize) {
            *slot = Some(plugin);
            return;
        }
        match plugin.kind {
            Kind::Guard {
                clears_blank_header: true,
            } => self.blank_header_guard = Some(plugin),
            Kind::Guard { .. } => self.guard = Some(plugin),
            _ => {}
        }
    }

    /// Puts the plugins of a nearer level over these.
    pub(super) fn overlay(&mut self, nearer: &Self) {
        for plugin in nearer.named.iter().flatten() {
            self.add(plugin);
        }
        self.guard = nearer.guard.or(self.guard);
        self.blank_header_guard = nearer.blank_header_guard.or(self.blank_header_guard);
    }

    /// The one of a name.
    pub(super) fn get(&self, name: Name) -> Option<&'p Plugin> {
        self.named.get(name as usize).copied().flatten()
    }

    /// The first plugin because of which the route must refuse everyone.
    /// `takes_blank_headers_away`: whether the route does itself what such functions do.
    pub(super) fn guard(&self, takes_blank_headers_away: bool) -> Option<&'p Plugin> {
        let is_guard = |plugin: &&&Plugin| matches!(plugin.kind, Kind::Guard { .. });
        let blank = self
            .blank_header_guard
            .filter(|_| !takes_blank_headers_away);
        self.guard
            .or(blank)
            .or_else(|| self.named.iter().flatten().find(is_guard).copied())
    }
}

/// Lists a plugin's field that changes nothing about who passes.
fn note_unless_default(
    config: &mut Fields,
    defaults: &[(&str, Value)],
    findings: &mut Findings,
    hint: &str,
) {
    for (key, default) in defaults {
        config.expect(key, default, findings, hint);
    }
}

/// A text of a header rule, for messages.
fn quoted(text: &str) -> String {
    format!("'{}'", shown(text))
}
