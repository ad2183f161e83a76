//! What callers send to store, change or try a connection.

use bunbun_core::Code;
use bunbun_databases::{DatabaseType, Error, Host, Options, Settings, TlsMode};
use bunbun_http::ApiError;
use bunbun_store::database_connections::{DatabaseConnection, StoredHost};
use garde::Validate;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::connections::{
    secrets::without_password,
    stored::{Draft, PasswordChange},
};

/// One of a connection's hosts.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConnectionHost {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    #[schema(example = "redis.example.com")]
    pub(super) host: String,
    /// The port; the kind's usual one when absent, null for `mongodb+srv`.
    #[schema(example = 6379)]
    pub(super) port: Option<u16>,
}

impl From<StoredHost> for ConnectionHost {
    fn from(host: StoredHost) -> Self {
        Self {
            host: host.name,
            port: (host.port != 0).then_some(host.port),
        }
    }
}

/// How TLS is done.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ConnectionTls {
    /// Not at all.
    Disable,
    /// Where the server has it, certificate unchecked; PostgreSQL only.
    Prefer,
    /// Always, certificate unchecked.
    Require,
    /// Always; certificate and name are checked.
    VerifyFull,
}

impl ConnectionTls {
    /// As it stands in the table, whose check admits no other.
    pub(super) fn stored(text: &str) -> Self {
        serde_json::from_value(json!(text)).unwrap_or(Self::Disable)
    }
}

impl From<ConnectionTls> for TlsMode {
    fn from(tls: ConnectionTls) -> Self {
        match tls {
            ConnectionTls::Disable => Self::Disable,
            ConnectionTls::Prefer => Self::Prefer,
            ConnectionTls::Require => Self::Require,
            ConnectionTls::VerifyFull => Self::VerifyFull,
        }
    }
}

/// A connection: `url`, or `host` (`hosts`) and what belongs to it.
#[derive(Debug, Default, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "identifier": "cache", "url": "rediss://user:password@redis.example.com:6379/0" }))]
pub(crate) struct NewConnection {
    /// Its name in the project: 1 to 63 letters, digits, `.`, `_` and `-`.
    #[garde(custom(is_identifier))]
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", example = "cache")]
    identifier: Option<String>,
    /// `postgres://`, `redis://`, `rediss://`, `redis+cluster://`, `redis+sentinel://`,
    /// `mongodb://` or `mongodb+srv://`; instead of the fields below, except `options`.
    #[garde(skip)]
    #[schema(value_type = Option<String>, write_only)]
    url: Option<SecretString>,
    /// The host.
    #[garde(skip)]
    host: Option<String>,
    /// Its port; the kind's usual one when absent.
    #[garde(skip)]
    port: Option<u16>,
    /// Several hosts, instead of `host` and `port`.
    #[garde(skip)]
    hosts: Option<Vec<ConnectionHost>>,
    /// The database; Redis' is a number.
    #[garde(skip)]
    database: Option<String>,
    /// The user.
    #[garde(skip)]
    username: Option<String>,
    /// The password: write-only. When a connection is replaced, an absent one stays as it is and
    /// null removes it.
    #[garde(skip)]
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, write_only)]
    password: Option<Option<SecretString>>,
    /// How TLS is done; absent: `prefer` for PostgreSQL, `disable` for the others.
    #[garde(skip)]
    tls: Option<ConnectionTls>,
    /// What else the driver is told; `docs/databases.md` lists all options.
    #[garde(skip)]
    #[schema(value_type = Option<Object>)]
    options: Option<Map<String, Value>>,
    /// Make it the primary connection of its kind.
    #[garde(skip)]
    is_primary: Option<bool>,
}

/// What changes of a connection; what is absent stays.
#[derive(Debug, Default, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "password": "a new one" }))]
pub(crate) struct ChangeConnection {
    /// Its name in the project.
    #[garde(custom(is_identifier))]
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    identifier: Option<String>,
    /// Replaces hosts, database, user, password, TLS and options.
    #[garde(skip)]
    #[schema(value_type = Option<String>, write_only)]
    url: Option<SecretString>,
    /// The host; there is one then.
    #[garde(skip)]
    host: Option<String>,
    /// The port of the first host.
    #[garde(skip)]
    port: Option<u16>,
    /// All hosts.
    #[garde(skip)]
    hosts: Option<Vec<ConnectionHost>>,
    /// The database; null for none.
    #[garde(skip)]
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    database: Option<Option<String>>,
    /// The user; null for none.
    #[garde(skip)]
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    username: Option<Option<String>>,
    /// The password: write-only; null removes it.
    #[garde(skip)]
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, write_only)]
    password: Option<Option<SecretString>>,
    /// How TLS is done.
    #[garde(skip)]
    tls: Option<ConnectionTls>,
    /// Options that change; null removes one.
    #[garde(skip)]
    #[schema(value_type = Option<Object>)]
    options: Option<Map<String, Value>>,
    /// Whether it is the primary connection of its kind.
    #[garde(skip)]
    is_primary: Option<bool>,
}

/// Tells null from absent.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    clippy::ref_option,
    reason = "garde's signature"
)]
fn is_identifier(value: &Option<String>, _: &()) -> garde::Result {
    let is_name = |text: &str| {
        let bytes = text.as_bytes();
        (1..=63).contains(&bytes.len())
            && bytes[0].is_ascii_alphanumeric()
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    if value.as_deref().is_none_or(is_name) {
        Ok(())
    } else {
        Err(garde::Error::new(
            "is not 1 to 63 letters, digits, '.', '_' and '-', beginning with a letter or digit",
        ))
    }
}

/// One fault of the body.
fn fault(pointer: &str, message: &str) -> ApiError {
    ApiError::new(
        Code::ValidationFailed,
        format!("The request breaks 1 rule(s). {pointer}: {message}"),
    )
    .with_details(json!({ "errors": [{ "pointer": pointer, "message": message }] }))
}

impl NewConnection {
    /// The connection to be stored.
    pub(super) fn draft(self, kind: DatabaseType) -> Result<Draft, ApiError> {
        let identifier = self
            .identifier
            .clone()
            .ok_or_else(|| fault("/identifier", "is missing"))?;
        let is_primary = self.is_primary;
        let (mut settings, password) = self.settings(kind)?;
        settings.password = None;
        Ok(Draft {
            identifier,
            settings,
            password,
            is_primary,
        })
    }

    /// The settings as they are sent, password and all, and what becomes of the password.
    pub(super) fn settings(
        self,
        kind: DatabaseType,
    ) -> Result<(Settings, PasswordChange), ApiError> {
        let mut settings = match &self.url {
            Some(url) => {
                let has_others = self.host.is_some()
                    || self.port.is_some()
                    || self.hosts.is_some()
                    || self.database.is_some()
                    || self.username.is_some()
                    || self.password.is_some()
                    || self.tls.is_some();
                if has_others {
                    return Err(fault(
                        "/url",
                        "stands alone: send a URL or fields, not both",
                    ));
                }
                from_url(url, kind)?
            }
            None => {
                let mut settings = Settings::new(kind, "", kind.default_port());
                settings.database = self.database;
                settings.username = self.username;
                settings.tls = self.tls.map_or(settings.tls, Into::into);
                settings
            }
        };
        if let Some(options) = self.options {
            settings.options = merged(kind, &settings.options, options)?;
        }
        // As the URL `mongodb+srv` has it.
        let srv = matches!(&settings.options, Options::Mongodb(options) if options.srv);
        if srv && self.url.is_none() && self.tls.is_none() {
            settings.tls = TlsMode::VerifyFull;
        }
        let password = match (&self.url, self.password) {
            (Some(_), _) => settings
                .password
                .clone()
                .map_or(PasswordChange::Remove, PasswordChange::Set),
            (None, None) => PasswordChange::Keep,
            (None, Some(None)) => PasswordChange::Remove,
            (None, Some(Some(password))) => {
                settings.password = Some(password.clone());
                PasswordChange::Set(password)
            }
        };
        if self.url.is_none() {
            settings.hosts = match (self.hosts, self.host) {
                (Some(_), Some(_)) => {
                    return Err(fault("/hosts", "stands instead of host and port"));
                }
                (Some(hosts), None) => read_hosts(hosts, &settings),
                (None, Some(host)) => read_hosts(
                    vec![ConnectionHost {
                        host,
                        port: self.port,
                    }],
                    &settings,
                ),
                (None, None) => return Err(fault("/host", "is missing: send url, host or hosts")),
            };
        }
        settings.validate().map_err(Error::from)?;
        Ok((settings, password))
    }
}

impl ChangeConnection {
    /// The stored connection with what changes.
    pub(super) fn draft(
        self,
        kind: DatabaseType,
        row: &DatabaseConnection,
    ) -> Result<Draft, ApiError> {
        let identifier = self
            .identifier
            .unwrap_or_else(|| row.settings.identifier.clone());
        let mut password = match self.password {
            None => PasswordChange::Keep,
            Some(None) => PasswordChange::Remove,
            Some(Some(password)) => PasswordChange::Set(password),
        };
        let mut settings = match &self.url {
            Some(url) => {
                let mut settings = from_url(url, kind)?;
                if matches!(password, PasswordChange::Keep) {
                    password = settings
                        .password
                        .take()
                        .map_or(PasswordChange::Remove, PasswordChange::Set);
                }
                settings
            }
            None => without_password(kind, &row.settings)?,
        };
        settings.password = None;
        if let Some(options) = self.options {
            settings.options = merged(kind, &settings.options, options)?;
        }
        if let Some(database) = self.database {
            settings.database = database;
        }
        if let Some(username) = self.username {
            settings.username = username;
        }
        if let Some(tls) = self.tls {
            settings.tls = tls.into();
        }
        match (self.hosts, self.host) {
            (Some(_), Some(_)) => return Err(fault("/hosts", "stands instead of host and port")),
            (Some(hosts), None) => settings.hosts = read_hosts(hosts, &settings),
            (None, Some(host)) => {
                let port = self.port;
                settings.hosts = read_hosts(vec![ConnectionHost { host, port }], &settings);
            }
            (None, None) => {
                if let (Some(port), Some(first)) = (self.port, settings.hosts.first_mut()) {
                    first.port = port;
                }
            }
        }
        settings.validate().map_err(Error::from)?;
        Ok(Draft {
            identifier,
            settings,
            password,
            is_primary: self.is_primary,
        })
    }
}

fn from_url(url: &SecretString, kind: DatabaseType) -> Result<Settings, ApiError> {
    let settings = Settings::from_url(url).map_err(Error::from)?;
    if settings.database_type != kind {
        return Err(fault("/url", "is the URL of another kind of database"));
    }
    Ok(settings)
}

fn read_hosts(hosts: Vec<ConnectionHost>, settings: &Settings) -> Vec<Host> {
    let srv = matches!(&settings.options, Options::Mongodb(options) if options.srv);
    let default = if srv {
        0
    } else {
        settings.database_type.default_port()
    };
    hosts
        .into_iter()
        .map(|host| Host {
            name: host.host,
            port: host.port.unwrap_or(default),
        })
        .collect()
}

/// Options with changes over them; null removes one.
fn merged(
    kind: DatabaseType,
    options: &Options,
    changes: Map<String, Value>,
) -> Result<Options, ApiError> {
    let Value::Object(mut object) = options.to_json() else {
        return Err(Error::internal("options are an object").into());
    };
    for (name, value) in changes {
        if value.is_null() {
            object.shift_remove(&name);
        } else {
            object.insert(name, value);
        }
    }
    Options::from_json(kind, Value::Object(object)).map_err(|message| fault("/options", &message))
}
