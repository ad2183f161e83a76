//! Consumers and their credentials: who passes which authentication plugin, and what `access`
//! that comes to.
//!
//! BunBun has no consumers. It knows a project's `anon` and `service_role` keys and one user of
//! the dashboard. A route keeps its protection when the consumers that pass it can be expressed
//! with these; otherwise it is refused to everyone.

use std::collections::BTreeSet;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bunbun_core::config::gateway::Access;
use serde_json::Value;

use super::{
    fields::{Fields, Findings, Outcome, is_placeholder, label, shown},
    plugins::{AclRule, Kind, Plugin},
};

/// The lists of credentials that may stand at the top of a file.
pub(super) const CREDENTIALS: [&str; 8] = [
    "keyauth_credentials",
    "basicauth_credentials",
    "acls",
    "jwt_secrets",
    "oauth2_credentials",
    "hmacauth_credentials",
    "mtls_auth_credentials",
    "consumer_group_consumers",
];

/// Whose key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// The application's public key.
    Anon,
    /// The project owner's key.
    ServiceRole,
    /// Some other client's.
    Other,
}

/// A consumer.
#[derive(Debug)]
pub(super) struct Consumer {
    label: String,
    username: String,
    keys: Vec<Holder>,
    basic: usize,
    groups: BTreeSet<String>,
    /// Whether a rule restricts this consumer alone; it then counts as one that never passes.
    restricted: bool,
}

/// Reads a consumer.
pub(super) fn read(
    mut fields: Fields,
    username: String,
    findings: &mut Findings,
) -> Outcome<Consumer> {
    let mut consumer = Consumer {
        label: fields.path.clone(),
        username,
        keys: Vec::new(),
        basic: 0,
        groups: BTreeSet::new(),
        restricted: false,
    };
    for list in CREDENTIALS {
        for (at, value) in fields.list(list)?.into_iter().enumerate() {
            let credential = Fields::new(value, label(&fields.path, list, None, at))?;
            consumer.credential(list, credential, findings)?;
        }
    }
    fields.ignore(&["custom_id"]);
    fields.finish(findings, "BunBun has no consumers");
    Ok(consumer)
}

impl Consumer {
    /// Reads one credential or group of this consumer.
    pub(super) fn credential(
        &mut self,
        list: &str,
        mut fields: Fields,
        findings: &mut Findings,
    ) -> Outcome<()> {
        match list {
            "keyauth_credentials" => {
                let key = fields.text("key")?.unwrap_or_default();
                self.key(&fields.at("key"), &key, findings);
            }
            "basicauth_credentials" => {
                self.basic += 1;
                for (key, variable) in [
                    ("username", "DASHBOARD_USERNAME"),
                    ("password", "DASHBOARD_PASSWORD"),
                ] {
                    let text = fields.text(key)?;
                    if text.is_some_and(|text| !is_placeholder(&text)) {
                        let hint = format!("put it into {variable}");
                        findings.note(fields.at(key), "a credential, not carried over", hint);
                    }
                }
            }
            "acls" => {
                if let Some(group) = fields.text("group")? {
                    self.groups.insert(group);
                }
            }
            _ => {
                let reason = "BunBun has no such credentials";
                findings.note(
                    &fields.path,
                    reason,
                    "give this client a key or a user token",
                );
                return Ok(());
            }
        }
        fields.finish(findings, "credentials of BunBun have no such property");
        Ok(())
    }

    fn key(&mut self, path: &str, key: &str, findings: &mut Findings) {
        let holder = holder(&self.username, key);
        self.keys.push(holder);
        let variable = match holder {
            Holder::Anon => "ANON_KEY, or SUPABASE_PUBLISHABLE_KEY when it begins with sb_",
            Holder::ServiceRole => "SUPABASE_SERVICE_KEY, or SUPABASE_SECRET_KEY for one with sb_",
            Holder::Other => {
                let reason = format!("'{}' has a key of its own", shown(&self.username));
                let hint = "its requests need the project's anon or service_role key instead";
                findings.note(path, reason, hint);
                return;
            }
        };
        if !is_placeholder(key) {
            let hint = format!("put it into {variable}");
            findings.note(path, "a key, not carried over", hint);
        }
    }

    /// Takes note of a plugin that applies to this consumer alone.
    pub(super) fn plugin(&mut self, plugin: &Plugin, findings: &mut Findings) {
        let restricts = !matches!(
            plugin.kind,
            Kind::Noted | Kind::Cors(_) | Kind::Transform(_) | Kind::RateLimit(_)
        );
        self.restricted |= restricts;
        let reason = if restricts {
            format!(
                "applies to '{}' alone, who therefore counts as one that may pass nowhere",
                shown(&self.username)
            )
        } else {
            "plugins of a single consumer have no counterpart".to_owned()
        };
        let hint = "separate such clients by route, or count rate limits by key";
        let path = if plugin.label.starts_with(&self.label) {
            plugin.label.clone()
        } else {
            format!("{} of {}", plugin.label, self.label)
        };
        findings.note(path, reason, hint);
    }

    fn passes(&self, acl: Option<&AclRule>) -> bool {
        !self.restricted
            && acl.is_none_or(|acl| {
                let allowed = acl
                    .allow
                    .as_ref()
                    .is_none_or(|allow| !self.groups.is_disjoint(allow));
                let denied = acl
                    .deny
                    .as_ref()
                    .is_some_and(|deny| !self.groups.is_disjoint(deny));
                allowed && !denied
            })
    }
}

/// Whose key it is: by the variable it is filled in from, by the role that the token names, by
/// the opaque key's prefix, and only then by the consumer's name.
fn holder(username: &str, key: &str) -> Holder {
    if is_placeholder(key) {
        match key.trim_matches(['$', '{', '}', ' ']) {
            "ANON_KEY" | "SUPABASE_ANON_KEY" | "SUPABASE_PUBLISHABLE_KEY" => return Holder::Anon,
            "SERVICE_ROLE_KEY"
            | "SUPABASE_SERVICE_KEY"
            | "SUPABASE_SERVICE_ROLE_KEY"
            | "SUPABASE_SECRET_KEY" => return Holder::ServiceRole,
            _ => {}
        }
    }
    let role = token_role(key);
    match (role.as_deref(), username) {
        (Some("anon"), _) => Holder::Anon,
        (Some("service_role"), _) => Holder::ServiceRole,
        (Some(_), _) => Holder::Other,
        _ if key.starts_with("sb_publishable_") => Holder::Anon,
        _ if key.starts_with("sb_secret_") => Holder::ServiceRole,
        (None, "anon") => Holder::Anon,
        (None, "service_role") => Holder::ServiceRole,
        (None, _) => Holder::Other,
    }
}

/// The `role` of a JWT, unverified: it only tells which setting the key belongs into.
fn token_role(key: &str) -> Option<String> {
    let mut parts = key.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    claims.get("role")?.as_str().map(str::to_owned)
}

/// How a route authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// `key-auth`.
    Key,
    /// `basic-auth`.
    Basic,
}

/// What an authenticated route comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decision {
    /// Who may use it.
    pub(super) access: Access,
    /// What a person must know about it.
    pub(super) remark: Option<(&'static str, &'static str)>,
}

impl Decision {
    /// A decision that needs no word.
    pub(super) const fn plain(access: Access) -> Self {
        Self {
            access,
            remark: None,
        }
    }

    /// Nobody, and why.
    pub(super) const fn denied(reason: &'static str, hint: &'static str) -> Self {
        Self {
            access: Access::Deny,
            remark: Some((reason, hint)),
        }
    }
}

/// Who passes an authentication plugin and its groups.
pub(super) fn decide(consumers: &[Consumer], scheme: Scheme, acl: Option<&AclRule>) -> Decision {
    let passing = || consumers.iter().filter(|consumer| consumer.passes(acl));
    match scheme {
        Scheme::Key => {
            let passes = |holder| passing().any(|consumer| consumer.keys.contains(&holder));
            match (passes(Holder::Anon), passes(Holder::ServiceRole)) {
                (true, true) => Decision::plain(Access::Key),
                (true, false) => Decision {
                    access: Access::Key,
                    remark: Some((
                        "the service_role key passes as well as the anon key",
                        "its holder owns the project",
                    )),
                },
                (false, true) => Decision::plain(Access::ServiceRole),
                (false, false) => Decision::denied(
                    "no consumer that passes is `anon` or `service_role`: refused to everyone",
                    "set `access` to \"service_role\", \"key\" (anon passes too) or \"user\"",
                ),
            }
        }
        Scheme::Basic => {
            let all: usize = consumers.iter().map(|consumer| consumer.basic).sum();
            match passing().map(|consumer| consumer.basic).sum::<usize>() {
                0 => Decision::denied(
                    "no user can pass: refused to everyone",
                    "set `access` to \"basic\" for the user of DASHBOARD_USERNAME",
                ),
                some if some < all => Decision::denied(
                    "BunBun has one user, and not all of the file's users may pass: \
                     refused to everyone",
                    "set `access` to \"basic\" for the user of DASHBOARD_USERNAME",
                ),
                1 => Decision::plain(Access::Basic),
                _ => Decision {
                    access: Access::Basic,
                    remark: Some((
                        "several users become one",
                        "set DASHBOARD_USERNAME and DASHBOARD_PASSWORD and share them",
                    )),
                },
            }
        }
    }
}
