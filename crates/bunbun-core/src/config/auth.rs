//! `[auth]`: what the embedded auth service does, under the names of the original's variables.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::Url;

use super::{HumanDuration, Reader};

/// `[auth]`.
#[derive(Debug, Clone)]
pub struct AuthConfig {
    /// The application: where redirects lead by default.
    pub site_url: Url,
    /// Patterns of further redirect targets.
    pub uri_allow_list: Vec<String>,
    /// The service's URL as clients see it.
    pub external_url: Option<Url>,
    /// How long an access token is valid.
    pub jwt_expiry: Duration,
    /// The claim `iss`.
    pub jwt_issuer: Option<String>,
    /// A JSON Web Key Set with one signing key.
    pub jwt_keys: Option<SecretString>,
    /// No new users.
    pub disable_signup: bool,
    /// Sign up and in by email address.
    pub email_enabled: bool,
    /// Sign in without an account.
    pub anonymous_enabled: bool,
    /// Addresses count as confirmed at signup.
    pub mailer_autoconfirm: bool,
    /// Both addresses confirm a change.
    pub secure_email_change: bool,
    /// How long codes and links are valid.
    pub otp_expiry: Duration,
    /// Digits of a code.
    pub otp_length: usize,
    /// Mail server.
    pub smtp: Option<SmtpConfig>,
    /// Shortest time between two mails to one address.
    pub smtp_max_frequency: Duration,
    /// Subjects and templates.
    pub mails: MailTexts,
    /// Shortest password.
    pub password_min_length: usize,
    /// A password has a character of each of these sets.
    pub password_required_characters: Vec<String>,
    /// Limits.
    pub rate_limits: AuthRateLimits,
    /// How long a used refresh token may come again.
    pub refresh_reuse_interval: Duration,
    /// A stolen refresh token ends its session's tokens.
    pub refresh_rotation: bool,
    /// A new password needs a fresh sign-in or a code.
    pub reauthenticate_for_password: bool,
    /// Users may link and unlink identities.
    pub manual_linking: bool,
    /// Longest session.
    pub session_timebox: Option<Duration>,
    /// Longest time between two refreshes.
    pub session_inactivity: Option<Duration>,
    /// Users may add authenticator apps.
    pub totp_enroll_enabled: bool,
    /// Their codes are accepted.
    pub totp_verify_enabled: bool,
    /// Most factors of a user.
    pub mfa_max_enrolled: usize,
    /// No rows into the audit log.
    pub audit_log_disabled: bool,
    /// Called before a token is signed.
    pub hook_access_token: Option<HookConfig>,
    /// Called before a user is created.
    pub hook_before_user_created: Option<HookConfig>,
    /// OAuth providers.
    pub providers: Vec<ProviderConfig>,
    /// Threads that hash passwords; 0: one per core.
    pub hash_workers: usize,
}

/// A mail server.
#[derive(Debug, Clone)]
pub struct SmtpConfig {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether the connection must be encrypted.
    pub tls: bool,
    /// User and password.
    pub credentials: Option<(String, SecretString)>,
    /// Sender's address.
    pub admin_email: String,
    /// Sender's name.
    pub sender_name: Option<String>,
}

/// Subject and template of one kind of mail; unset: the built-in one.
#[derive(Debug, Clone, Default)]
pub struct MailText {
    /// The subject.
    pub subject: Option<String>,
    /// Path or URL of the HTML.
    pub template: Option<String>,
}

/// The texts of every kind of mail.
#[derive(Debug, Clone, Default)]
pub struct MailTexts {
    /// Confirms an address.
    pub confirmation: MailText,
    /// Invites.
    pub invite: MailText,
    /// Resets a password.
    pub recovery: MailText,
    /// Signs in.
    pub magic_link: MailText,
    /// Confirms a new address.
    pub email_change: MailText,
    /// A reauthentication code.
    pub reauthentication: MailText,
}

/// Requests per address and period; 0: no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuthRateLimits {
    /// Mails of all addresses, an hour.
    pub email_sent: u32,
    /// `/token`, in five minutes.
    pub token: u32,
    /// `/verify`, in five minutes.
    pub verify: u32,
    /// Signups and mails, in five minutes.
    pub otp: u32,
    /// Anonymous sign-ins, an hour.
    pub anonymous: u32,
    /// Challenges and verifications of factors, a minute.
    pub mfa: u32,
}

/// Where a hook is and what signs its calls.
#[derive(Debug, Clone)]
pub struct HookConfig {
    /// What is called.
    pub target: HookTarget,
    /// Keys of Standard Webhooks, decoded.
    pub secrets: Vec<SecretString>,
}

/// What a hook calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookTarget {
    /// A function of the project's database.
    Function {
        /// Its schema.
        schema: String,
        /// Its name.
        name: String,
    },
    /// An endpoint.
    Http(Url),
}

/// How a provider speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderKind {
    /// GitHub, or a GitHub Enterprise server.
    GitHub {
        /// The server, where it is not github.com.
        url: Option<Url>,
    },
    /// OpenID Connect with discovery.
    Oidc {
        /// The issuer.
        issuer: String,
    },
}

/// An OAuth provider.
#[derive(Debug, Clone)]
pub struct ProviderConfig {
    /// `github`, `google` or a name of your own.
    pub name: String,
    /// How it speaks.
    pub kind: ProviderKind,
    /// The client ids; the first one signs in, the others only occur in `id_token`s.
    pub client_ids: Vec<String>,
    /// The client's secret.
    pub secret: SecretString,
    /// Scopes beside the usual ones.
    pub scopes: Vec<String>,
    /// Whether `id_token`s are accepted without a check of their nonce.
    pub skip_nonce_check: bool,
}

pub(super) fn read(r: &mut Reader<'_>) -> AuthConfig {
    let duration = |r: &mut Reader<'_>, path| r.or_default::<HumanDuration>(path).0;
    let optional = |r: &mut Reader<'_>, path| {
        r.value::<HumanDuration>(path)
            .map(|duration| duration.0)
            .filter(|duration| !duration.is_zero())
    };
    let site_url: Url = r.or_default("auth.site_url");
    if !matches!(site_url.scheme(), "http" | "https") || !site_url.has_host() {
        r.fault(
            "auth.site_url",
            "is no address of a web page",
            "write for example https://app.example.com",
        );
    }
    let jwt_expiry = duration(r, "auth.jwt_expiry");
    if jwt_expiry.as_secs() < 30 || jwt_expiry.as_secs() > 604_800 {
        r.fault(
            "auth.jwt_expiry",
            "is not between 30 seconds and 7 days",
            "an hour is usual: write 3600s",
        );
    }
    AuthConfig {
        site_url,
        uri_allow_list: r.list("auth.uri_allow_list"),
        external_url: r.value("auth.external_url"),
        jwt_expiry,
        jwt_issuer: r.text("auth.jwt_issuer"),
        jwt_keys: r.secret("auth.jwt_keys"),
        disable_signup: r.or_default("auth.disable_signup"),
        email_enabled: r.or_default("auth.email_enabled"),
        anonymous_enabled: r.or_default("auth.anonymous_enabled"),
        mailer_autoconfirm: r.or_default("auth.mailer_autoconfirm"),
        secure_email_change: r.or_default("auth.secure_email_change"),
        otp_expiry: duration(r, "auth.otp_expiry"),
        otp_length: r.or_default::<usize>("auth.otp_length").clamp(6, 10),
        smtp: read_smtp(r),
        smtp_max_frequency: duration(r, "auth.smtp_max_frequency"),
        mails: read_mails(r),
        password_min_length: r
            .or_default::<usize>("auth.password_min_length")
            .clamp(6, 72),
        password_required_characters: character_sets(
            &r.text("auth.password_required_characters")
                .unwrap_or_default(),
        ),
        rate_limits: AuthRateLimits {
            email_sent: r.or_default("auth.rate_limit_email_sent"),
            token: r.or_default("auth.rate_limit_token_refresh"),
            verify: r.or_default("auth.rate_limit_verify"),
            otp: r.or_default("auth.rate_limit_otp"),
            anonymous: r.or_default("auth.rate_limit_anonymous"),
            mfa: r.or_default("auth.rate_limit_mfa"),
        },
        refresh_reuse_interval: duration(r, "auth.refresh_reuse_interval"),
        refresh_rotation: r.or_default("auth.refresh_rotation"),
        reauthenticate_for_password: r.or_default("auth.reauthenticate_for_password"),
        manual_linking: r.or_default("auth.manual_linking"),
        session_timebox: optional(r, "auth.session_timebox"),
        session_inactivity: optional(r, "auth.session_inactivity"),
        totp_enroll_enabled: r.or_default("auth.totp_enroll_enabled"),
        totp_verify_enabled: r.or_default("auth.totp_verify_enabled"),
        mfa_max_enrolled: r.or_default("auth.mfa_max_enrolled"),
        audit_log_disabled: r.or_default("auth.audit_log_disabled"),
        hook_access_token: read_hook(
            r,
            "auth.hook_access_token",
            "auth.hook_access_token_secrets",
        ),
        hook_before_user_created: read_hook(
            r,
            "auth.hook_before_user_created",
            "auth.hook_before_user_created_secrets",
        ),
        providers: read_providers(r),
        hash_workers: r.or_default("auth.hash_workers"),
    }
}

fn read_smtp(r: &mut Reader<'_>) -> Option<SmtpConfig> {
    let host = r.text("auth.smtp_host");
    let tls = match r.text("auth.smtp_tls").as_deref() {
        Some("none") => false,
        Some("required") | None => true,
        Some(_) => {
            r.fault(
                "auth.smtp_tls",
                "is neither required nor none",
                "write required",
            );
            true
        }
    };
    let port = r.or_default("auth.smtp_port");
    let user = r.text("auth.smtp_user");
    let pass = r.secret("auth.smtp_pass");
    let admin_email = r.text("auth.smtp_admin_email");
    let sender_name = r.text("auth.smtp_sender_name");
    let host = host?;
    let Some(admin_email) = admin_email else {
        r.fault(
            "auth.smtp_admin_email",
            "is not set, but SMTP_HOST is",
            "write the address that mails come from",
        );
        return None;
    };
    Some(SmtpConfig {
        host,
        port,
        tls,
        credentials: user.map(|user| (user, pass.unwrap_or_default())),
        admin_email,
        sender_name,
    })
}

fn read_mails(r: &mut Reader<'_>) -> MailTexts {
    let mut text = |subject, template| MailText {
        subject: r.text(subject),
        template: r.text(template),
    };
    MailTexts {
        confirmation: text("auth.subject_confirmation", "auth.template_confirmation"),
        invite: text("auth.subject_invite", "auth.template_invite"),
        recovery: text("auth.subject_recovery", "auth.template_recovery"),
        magic_link: text("auth.subject_magic_link", "auth.template_magic_link"),
        email_change: text("auth.subject_email_change", "auth.template_email_change"),
        reauthentication: text(
            "auth.subject_reauthentication",
            "auth.template_reauthentication",
        ),
    }
}

/// `abc:def`, where `\:` is a colon.
fn character_sets(text: &str) -> Vec<String> {
    let mut sets = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&':') => {
                chars.next();
                sets.last_mut().expect("there is always one set").push(':');
            }
            ':' => sets.push(String::new()),
            c => sets.last_mut().expect("there is always one set").push(c),
        }
    }
    sets.retain(|set| !set.is_empty());
    sets
}

fn read_hook(
    r: &mut Reader<'_>,
    path: &'static str,
    secrets_path: &'static str,
) -> Option<HookConfig> {
    let text = r.text(path)?;
    let secrets = r.text(secrets_path).unwrap_or_default();
    let Some(target) = hook_target(&text) else {
        r.fault(
            path,
            "is no hook",
            "write pg-functions://postgres/SCHEMA/FUNCTION, or an https:// URL (http:// on this machine)",
        );
        return None;
    };
    let mut keys = Vec::new();
    for secret in secrets.split('|').map(str::trim).filter(|s| !s.is_empty()) {
        match secret.strip_prefix("v1,whsec_") {
            Some(key) if key.len() >= 32 => keys.push(SecretString::from(key.to_owned())),
            _ => r.fault(
                secrets_path,
                "holds a secret of another form",
                "write v1,whsec_ and at least 24 random bytes in base64",
            ),
        }
    }
    if matches!(target, HookTarget::Http(_)) && keys.is_empty() {
        r.fault(
            secrets_path,
            "is not set, but the hook is called over HTTP",
            "write v1,whsec_ and at least 24 random bytes in base64",
        );
    }
    Some(HookConfig {
        target,
        secrets: keys,
    })
}

fn hook_target(text: &str) -> Option<HookTarget> {
    if let Some(rest) = text.strip_prefix("pg-functions://") {
        let mut parts = rest.split('/');
        let (Some(_database), Some(schema), Some(name), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let is_name = |name: &str| {
            (1..=63).contains(&name.len())
                && !name.as_bytes()[0].is_ascii_digit()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        return (is_name(schema) && is_name(name)).then(|| HookTarget::Function {
            schema: schema.to_owned(),
            name: name.to_owned(),
        });
    }
    let url = Url::parse(text).ok()?;
    let is_local = url.host_str().is_some_and(|host| {
        matches!(
            host,
            "localhost" | "127.0.0.1" | "[::1]" | "host.docker.internal"
        )
    });
    (url.scheme() == "https" || (url.scheme() == "http" && is_local))
        .then_some(HookTarget::Http(url))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OidcProvider {
    name: String,
    issuer: String,
    client_id: String,
    secret: String,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    skip_nonce_check: bool,
}

fn read_providers(r: &mut Reader<'_>) -> Vec<ProviderConfig> {
    let mut providers = Vec::new();
    let ids = |text: &str| -> Vec<String> {
        text.split(',')
            .map(|id| id.trim().to_owned())
            .filter(|id| !id.is_empty())
            .collect()
    };
    if let Some(client_id) = r.text("auth.github_client_id") {
        let url = r.value("auth.github_url");
        providers.push(ProviderConfig {
            name: "github".to_owned(),
            kind: ProviderKind::GitHub { url },
            client_ids: ids(&client_id),
            secret: r.secret("auth.github_secret").unwrap_or_default(),
            scopes: Vec::new(),
            skip_nonce_check: false,
        });
    }
    if let Some(client_id) = r.text("auth.google_client_id") {
        providers.push(ProviderConfig {
            name: "google".to_owned(),
            kind: ProviderKind::Oidc {
                issuer: "https://accounts.google.com".to_owned(),
            },
            client_ids: ids(&client_id),
            secret: r.secret("auth.google_secret").unwrap_or_default(),
            scopes: Vec::new(),
            skip_nonce_check: r.or_default("auth.google_skip_nonce_check"),
        });
    }
    if let Some(text) = r.text("auth.oidc_providers") {
        match serde_json::from_str::<Vec<OidcProvider>>(&text) {
            Ok(list) => {
                for provider in list {
                    check_name(r, &provider.name, &providers);
                    providers.push(ProviderConfig {
                        name: provider.name,
                        kind: ProviderKind::Oidc {
                            issuer: provider.issuer,
                        },
                        client_ids: ids(&provider.client_id),
                        secret: provider.secret.into(),
                        scopes: provider.scopes,
                        skip_nonce_check: provider.skip_nonce_check,
                    });
                }
            }
            // The error's own text may show a secret.
            Err(error) => r.fault(
                "auth.oidc_providers",
                format!("is not the JSON that is expected, line {}, column {}", error.line(), error.column()),
                "write [{\"name\": \"keycloak\", \"issuer\": \"https://…\", \"client_id\": \"…\", \"secret\": \"…\"}]",
            ),
        }
    }
    for provider in &providers {
        if provider.secret.expose_secret().is_empty() {
            let at = format!("auth.{}_secret", provider.name);
            r.fault(
                &at,
                "is not set, but the client id is",
                "set both or neither",
            );
        }
    }
    providers
}

fn check_name(r: &mut Reader<'_>, name: &str, known: &[ProviderConfig]) {
    let well_formed = (1..=40).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_:-".contains(&b));
    let taken = ["email", "phone", "anonymous"].contains(&name)
        || known.iter().any(|provider| provider.name == name);
    if !well_formed || taken {
        r.fault(
            "auth.oidc_providers",
            "has a provider whose name is taken or is not of a-z, 0-9, _, : and -",
            "give each provider a name of its own",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::{HookTarget, character_sets, hook_target};

    #[test]
    fn character_sets_are_split_at_colons_unless_escaped() {
        assert_eq!(character_sets("abc:123"), ["abc", "123"]);
        assert_eq!(character_sets(r"!\:?:0"), ["!:?", "0"]);
        assert!(character_sets("").is_empty());
    }

    #[test]
    fn hooks_are_functions_by_name_or_encrypted_endpoints() {
        assert_eq!(
            hook_target("pg-functions://postgres/public/my_hook"),
            Some(HookTarget::Function {
                schema: "public".to_owned(),
                name: "my_hook".to_owned()
            })
        );
        for bad in [
            "pg-functions://postgres/public/a();drop table x",
            "pg-functions://postgres/public",
            "http://example.com/hook",
            "ftp://example.com",
            "x",
        ] {
            assert_eq!(hook_target(bad), None, "{bad}");
        }
        assert!(matches!(
            hook_target("https://h.example/x"),
            Some(HookTarget::Http(_))
        ));
        assert!(matches!(
            hook_target("http://localhost:1/x"),
            Some(HookTarget::Http(_))
        ));
    }
}
