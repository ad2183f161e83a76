//! Connection URLs of the three kinds, read by hand: they have several hosts, which the crate `url`
//! does not know, and each kind's own library would take options that read files.

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::{
    DatabaseType, Host, Options, Settings, TlsMode,
    options::{RedisMode, RedisOptions},
};
use crate::Error;

/// Most hosts of one connection.
const MAX_HOSTS: usize = 50;
/// Longest text of any part.
const MAX_LENGTH: usize = 4096;

/// Settings that cannot be used. Says which part and why; repeats neither user nor password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct InvalidSettings {
    /// The field that it is about; `url` where it came with one.
    pub field: &'static str,
    /// What is wrong, as a sentence.
    pub message: String,
}

impl From<InvalidSettings> for Error {
    fn from(error: InvalidSettings) -> Self {
        let pointer = format!("/{}", error.field);
        Self::invalid(error.message, &pointer)
    }
}

fn invalid(field: &'static str, message: impl Into<String>) -> InvalidSettings {
    InvalidSettings {
        field,
        message: message.into(),
    }
}

/// What a scheme says.
struct Scheme {
    database_type: DatabaseType,
    tls: Option<TlsMode>,
    redis: RedisMode,
    srv: bool,
}

fn scheme(text: &str) -> Option<Scheme> {
    use DatabaseType::{Mongodb, Postgres, Redis};
    use RedisMode::{Cluster, Sentinel, Standalone};
    let verified = Some(TlsMode::VerifyFull);
    let (database_type, tls, redis, srv) = match text.to_ascii_lowercase().as_str() {
        "postgres" | "postgresql" => (Postgres, None, Standalone, false),
        "redis" | "valkey" => (Redis, None, Standalone, false),
        "rediss" | "valkeys" => (Redis, verified, Standalone, false),
        "redis+cluster" => (Redis, None, Cluster, false),
        "rediss+cluster" => (Redis, verified, Cluster, false),
        "redis+sentinel" => (Redis, None, Sentinel, false),
        "rediss+sentinel" => (Redis, verified, Sentinel, false),
        "mongodb" => (Mongodb, None, Standalone, false),
        "mongodb+srv" => (Mongodb, verified, Standalone, true),
        _ => return None,
    };
    Some(Scheme {
        database_type,
        tls,
        redis,
        srv,
    })
}

pub(super) fn parse(text: &SecretString) -> Result<Settings, InvalidSettings> {
    let bad = |message: &str| invalid("url", message);
    let text = text.expose_secret();
    if text.len() > 4 * MAX_LENGTH || text.chars().any(char::is_control) {
        return Err(bad("The URL is too long or has control characters."));
    }
    let (name, rest) = text
        .split_once("://")
        .ok_or_else(|| bad("This is no URL: write SCHEME://USER:PASSWORD@HOST:PORT/DATABASE."))?;
    let scheme = scheme(name).ok_or_else(|| {
        bad(
            "The URL's scheme is none of postgres, redis, rediss, redis+cluster, redis+sentinel, \
             mongodb, mongodb+srv.",
        )
    })?;
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // What follows would be told again, as a database or an option.
    if rest[authority_end..].contains('@') {
        return Err(bad(
            "The URL has an '@' behind its host. Encode a password's / ? # @ as %2F %3F %23 %40.",
        ));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    // The last one: a password should not have it unencoded, but many have.
    let (userinfo, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (username, password) = match userinfo.split_once(':') {
        Some((username, password)) => (username, Some(password)),
        None => (userinfo, None),
    };
    let hosts = hosts
        .split(',')
        .map(|host| read_host(host, &scheme))
        .collect::<Result<Vec<_>, _>>()?;
    let mut settings = Settings {
        database_type: scheme.database_type,
        hosts,
        database: None,
        username: non_empty(decode(username)?),
        password: password
            .map(decode)
            .transpose()?
            .and_then(non_empty)
            .map(SecretString::from),
        tls: scheme
            .tls
            .unwrap_or(Settings::default_tls(scheme.database_type)),
        options: Options::new(scheme.database_type),
    };
    let mut options = Map::new();
    if scheme.srv {
        options.insert("srv".to_owned(), Value::Bool(true));
    }
    read_path(&mut settings, &scheme, &decode(path)?, &mut options)?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        read_option(&mut settings, &decode(name)?, decode(value)?, &mut options)?;
    }
    if scheme.database_type == DatabaseType::Redis && fragment == "insecure" {
        settings.tls = settings.tls.min(TlsMode::Require);
    } else if !fragment.is_empty() {
        return Err(bad("The URL has a fragment ('#…'); encode # as %23."));
    }
    settings.options =
        Options::from_json(scheme.database_type, Value::Object(options)).map_err(|message| {
            invalid(
                "url",
                format!("The URL's options cannot be used: {message}."),
            )
        })?;
    validate(&settings).map_err(|error| InvalidSettings {
        field: "url",
        ..error
    })?;
    Ok(settings)
}

fn decode(text: &str) -> Result<String, InvalidSettings> {
    let decoded = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| invalid("url", "The URL's percent-encoding is no UTF-8."))?;
    Ok(decoded.into_owned())
}

fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn read_host(text: &str, scheme: &Scheme) -> Result<Host, InvalidSettings> {
    let bad = |message: &str| invalid("url", message);
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (name, after) = rest
                .split_once(']')
                .ok_or_else(|| bad("An IPv6 address is not closed by ']'."))?;
            let port = after.strip_prefix(':');
            if port.is_none() && !after.is_empty() {
                return Err(bad("A host is followed by something that is no port."));
            }
            (name, port)
        }
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    if name.is_empty() {
        return Err(bad(
            "The URL names no host; sockets of this machine are not available.",
        ));
    }
    let port = match port {
        Some(_) if scheme.srv => return Err(bad("mongodb+srv takes a name without a port.")),
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| bad("A port is no number from 1 to 65535."))?,
        None if scheme.srv => 0,
        None if scheme.redis == RedisMode::Sentinel => 26379,
        None => scheme.database_type.default_port(),
    };
    Ok(Host {
        name: name.to_owned(),
        port,
    })
}

/// `/DATABASE`; for sentinels `/MASTER/DATABASE`.
fn read_path(
    settings: &mut Settings,
    scheme: &Scheme,
    path: &str,
    options: &mut Map<String, Value>,
) -> Result<(), InvalidSettings> {
    let mut database = path;
    if scheme.database_type == DatabaseType::Redis {
        let mode = serde_json::to_value(scheme.redis).unwrap_or_default();
        options.insert("mode".to_owned(), mode);
        if scheme.redis == RedisMode::Sentinel {
            let (master, rest) = path.split_once('/').unwrap_or((path, ""));
            if !master.is_empty() {
                options.insert("sentinel_master".to_owned(), json!(master));
            }
            database = rest;
        }
    }
    settings.database = non_empty(database.trim_end_matches('/').to_owned());
    Ok(())
}

/// Options that would read files of this machine or leave TCP.
const REFUSED: &[&str] = &[
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslcrl",
    "sslcrldir",
    "passfile",
    "service",
    "servicefile",
    "options",
    "host",
    "hostaddr",
    "port",
    "user",
    "password",
    "dbname",
    "requirepeer",
    "krbsrvname",
    "gsslib",
    "tlscafile",
    "tlscertificatekeyfile",
    "tlscertificatekeyfilepassword",
    "sslclientcertificatekeyfile",
    "authmechanismproperties",
    "proxyhost",
    "proxyport",
    "proxyusername",
    "proxypassword",
    "srvservicename",
    "unix",
];

fn read_option(
    settings: &mut Settings,
    name: &str,
    value: String,
    options: &mut Map<String, Value>,
) -> Result<(), InvalidSettings> {
    let flag = |value: &str| match value {
        "true" | "1" | "" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(invalid(
            "url",
            format!(
                "The URL's option '{}' is neither true nor false.",
                shown(name)
            ),
        )),
    };
    let lower = name.to_ascii_lowercase();
    let known = match (settings.database_type, lower.as_str()) {
        (DatabaseType::Postgres, "sslmode") => {
            settings.tls = match value.as_str() {
                "disable" => TlsMode::Disable,
                "allow" | "prefer" => TlsMode::Prefer,
                "require" => TlsMode::Require,
                "verify-ca" | "verify-full" => TlsMode::VerifyFull,
                _ => {
                    return Err(invalid(
                        "url",
                        "The URL's sslmode is none of disable, prefer, require, verify-full.",
                    ));
                }
            };
            None
        }
        (DatabaseType::Postgres, "application_name" | "target_session_attrs") => {
            Some((lower.as_str(), json!(value)))
        }
        // Bounds of ours hold in any case.
        (DatabaseType::Postgres, "connect_timeout")
        | (DatabaseType::Mongodb, "w" | "maxpoolsize" | "compressors") => None,
        (DatabaseType::Redis, "db") => {
            settings.database = non_empty(value);
            None
        }
        (DatabaseType::Redis, "protocol") => None,
        (DatabaseType::Redis, "mode" | "sentinel_master") => Some((lower.as_str(), json!(value))),
        (DatabaseType::Mongodb, "tls" | "ssl") => {
            settings.tls = if flag(&value)? {
                settings.tls.max(TlsMode::VerifyFull)
            } else {
                TlsMode::Disable
            };
            None
        }
        (
            DatabaseType::Mongodb,
            "tlsinsecure" | "tlsallowinvalidcertificates" | "tlsallowinvalidhostnames",
        ) => {
            if flag(&value)? {
                settings.tls = TlsMode::Require;
            }
            None
        }
        (DatabaseType::Mongodb, "authsource") => Some(("auth_source", json!(value))),
        (DatabaseType::Mongodb, "authmechanism") => Some(("auth_mechanism", json!(value))),
        (DatabaseType::Mongodb, "replicaset") => Some(("replica_set", json!(value))),
        (DatabaseType::Mongodb, "readpreference") => Some(("read_preference", json!(value))),
        (DatabaseType::Mongodb, "appname") => Some(("app_name", json!(value))),
        (DatabaseType::Mongodb, "directconnection") => {
            Some(("direct_connection", json!(flag(&value)?)))
        }
        (DatabaseType::Mongodb, "retrywrites") => Some(("retry_writes", json!(flag(&value)?))),
        (_, refused) if REFUSED.contains(&refused) => {
            let message = format!(
                "The URL's option '{refused}' is not available here. Certificates go into \
                 options.ca_certificate as text."
            );
            return Err(invalid("url", message));
        }
        _ => {
            let message = format!("The URL's option '{}' is not known.", shown(name));
            return Err(invalid("url", message));
        }
    };
    if let Some((name, value)) = known {
        options.insert(name.to_owned(), value);
    }
    Ok(())
}

/// A name for a message: short and plain.
fn shown(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        .take(40)
        .collect()
}

pub(super) fn validate(settings: &Settings) -> Result<(), InvalidSettings> {
    let bad = |field, message: &str| Err(invalid(field, message));
    let srv = matches!(&settings.options, Options::Mongodb(options) if options.srv);
    if settings.hosts.is_empty() || settings.hosts.len() > MAX_HOSTS {
        return bad("hosts", "A connection has 1 to 50 hosts.");
    }
    for host in &settings.hosts {
        let is_odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '/' | '@');
        if host.name.is_empty() || host.name.len() > 255 || host.name.contains(is_odd) {
            return bad(
                "hosts",
                "A host is a name or an address, without scheme and path.",
            );
        }
        if (host.port == 0) != srv {
            return bad(
                "hosts",
                "Every host has a port from 1 to 65535, except the one name of a mongodb+srv \
                 connection.",
            );
        }
    }
    if srv && settings.hosts.len() != 1 {
        return bad("hosts", "mongodb+srv takes one name.");
    }
    if settings.options.database_type() != settings.database_type {
        return bad(
            "options",
            "The options are those of another kind of database.",
        );
    }
    let texts = [
        ("database", settings.database.as_deref()),
        ("username", settings.username.as_deref()),
        (
            "password",
            settings.password.as_ref().map(ExposeSecret::expose_secret),
        ),
    ];
    for (field, text) in texts {
        if text.is_some_and(|text| text.len() > MAX_LENGTH || text.contains('\0')) {
            return bad(
                field,
                "The text is longer than 4096 bytes or has a NUL character.",
            );
        }
    }
    let is_odd = |text: &str| text.len() > 255 || text.contains(char::is_control);
    if settings.options.texts().into_iter().flatten().any(is_odd) {
        return bad(
            "options",
            "A text of the options is longer than 255 bytes or has control characters.",
        );
    }
    if settings.tls == TlsMode::Prefer && settings.database_type != DatabaseType::Postgres {
        return bad(
            "tls",
            "'prefer' is for PostgreSQL only; use disable, require or verify-full.",
        );
    }
    if settings.options.ca_certificate().is_some_and(|pem| {
        pem.len() > 64 * 1024 || pem.contains('\0') || !pem.contains("-----BEGIN CERTIFICATE-----")
    }) {
        return bad(
            "options",
            "ca_certificate is the PEM text of a certificate.",
        );
    }
    match &settings.options {
        Options::Redis(options) => validate_redis(settings, options),
        _ => Ok(()),
    }
}

fn validate_redis(settings: &Settings, options: &RedisOptions) -> Result<(), InvalidSettings> {
    let bad = |field, message: &str| Err(invalid(field, message));
    let number = settings.database.as_deref().map(str::parse::<u16>);
    if matches!(number, Some(Err(_))) {
        return bad("database", "Redis' databases are numbers, from 0.");
    }
    match options.mode {
        RedisMode::Standalone if settings.hosts.len() > 1 => bad(
            "hosts",
            "Several hosts are a cluster or sentinels: say which by options.mode or the scheme.",
        ),
        RedisMode::Cluster if matches!(number, Some(Ok(1..))) => {
            bad("database", "A Redis cluster has the database 0 only.")
        }
        RedisMode::Sentinel if options.sentinel_master.is_none() => bad(
            "options",
            "Sentinels need sentinel_master, in a URL the first segment of the path.",
        ),
        _ => Ok(()),
    }
}
