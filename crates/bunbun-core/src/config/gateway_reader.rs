//! Reads `[gateway]` piece by piece, so that every fault is told at once and at its place:
//! `gateway.routes[3] 'blog'.path`. Indexes count from 0.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use toml::Value;

use super::{
    gateway::{GatewayConfig, RouteConfig},
    reader::{Reader, nearest_of, shown},
};

const SECTIONS: [&str; 4] = ["dialect", "rate_limits", "upstreams", "routes"];

/// What to write, by the last name of a fault's path.
const EXAMPLES: &[(&str, &str)] = &[
    ("dialect", r#"dialect = "envoy""#),
    (
        "routes",
        "begin each route with a line [[gateway.routes]] of its own",
    ),
    (
        "upstreams",
        "begin each upstream with a line [gateway.upstreams.NAME]",
    ),
    (
        "rate_limits",
        "begin each policy with a line [gateway.rate_limits.NAME]",
    ),
    ("name", r#"name = "blog""#),
    ("path", r#"path = "/blog""#),
    ("exact", "exact = true, or false"),
    ("keep_path", "keep_path = true, or false"),
    ("preserve_host", "preserve_host = true, or false"),
    ("hosts", r#"hosts = ["www.example.com", "*.example.org"]"#),
    ("methods", r#"methods = ["GET", "POST"]"#),
    ("slot", r#"slot = "rest""#),
    (
        "upstream",
        r#"upstream = "blog", with a section [gateway.upstreams.blog]"#,
    ),
    ("mirror", r#"mirror = "blog-next""#),
    (
        "split",
        r#"split = [{ upstream = "a", percent = 90 }, { upstream = "b", percent = 10 }]"#,
    ),
    (
        "percent",
        "percent = 90; the shares of a split add up to 100",
    ),
    ("respond", r#"respond = { status = 200, body = "hello" }"#),
    ("status", "status = 200"),
    ("body", r#"body = "hello""#),
    ("content_type", r#"content_type = "text/plain""#),
    ("rewrite", r#"rewrite = "/""#),
    ("host", r#"host = "blog.internal""#),
    ("roles", r#"roles = ["authenticated"]"#),
    ("scopes", r#"scopes = ["posts:read"]"#),
    ("allow_ips", r#"allow_ips = ["10.0.0.0/8"]"#),
    ("deny_ips", r#"deny_ips = ["192.0.2.1/32"]"#),
    ("rate_limit", r#"rate_limit = "api""#),
    ("retries", "retries = 2"),
    ("max_body_bytes", "max_body_bytes = 1048576"),
    (
        "request_headers",
        r#"request_headers = { set = { X-Site = "blog" }, remove = ["X-Debug"] }"#,
    ),
    (
        "response_headers",
        r#"response_headers = { add = { X-Frame-Options = "DENY" } }"#,
    ),
    (
        "urls",
        r#"urls = ["http://10.0.0.5:8080"], with http://, https:// or h2c://"#,
    ),
    ("max_connections", "max_connections = 500"),
    ("health", r#"health = { path = "/healthz" }"#),
    ("breaker", r#"breaker = { failures = 5, open_for = "5s" }"#),
    ("failures", "failures = 5"),
    ("ca_file", r#"ca_file = "/etc/bunbun/internal-ca.pem""#),
    ("limit", "limit = 600"),
    ("anonymous", r#"anonymous = { limit = 60, window = "1m" }"#),
    ("users", r#"users = { limit = 100, window = "1m" }"#),
    (
        "by",
        r#"by = "ip": what is counted; ip, key (the application's key) or user"#,
    ),
];

/// Names whose values are durations.
const DURATIONS: [&str; 10] = [
    "window",
    "connect_timeout",
    "keepalive_timeout",
    "interval",
    "timeout",
    "open_for",
    "first_byte_timeout",
    "idle_timeout",
    "cache_ttl",
    "ttl",
];

/// Reads the section; faults go to the reader.
pub(super) fn read(r: &mut Reader<'_>, file: &toml::Table) -> GatewayConfig {
    let mut gateway = GatewayConfig::default();
    let Some(section) = file.get("gateway") else {
        return gateway;
    };
    let Some(table) = section.as_table() else {
        let hint = "write its settings below a line [gateway]";
        r.fault("gateway", "is not a section", hint);
        return gateway;
    };
    for (key, value) in table {
        let at = format!("gateway.{key}");
        match key.as_str() {
            "dialect" => {
                // On its own a value has no path below itself.
                match value.clone().try_into() {
                    Ok(dialect) => gateway.dialect = dialect,
                    Err(error) => tell(r, &at, "dialect", &error),
                }
            }
            "rate_limits" => gateway.rate_limits = named(r, &at, value),
            "upstreams" => gateway.upstreams = named(r, &at, value),
            "routes" => gateway.routes = routes(r, value),
            _ => {
                let hint = nearest_of(key, &SECTIONS).map_or_else(
                    || format!("[gateway] has {}", SECTIONS.join(", ")),
                    |near| format!("did you mean gateway.{near}?"),
                );
                r.fault(&at, "is no setting", hint);
            }
        }
    }
    check_urls(r, &gateway);
    gateway
}

fn named<T: DeserializeOwned>(r: &mut Reader<'_>, at: &str, value: &Value) -> BTreeMap<String, T> {
    let Some(table) = value.as_table() else {
        let hint = example(at.rsplit('.').next().unwrap_or(at));
        r.fault(at, "is not a section of named parts", hint);
        return BTreeMap::new();
    };
    let mut parts = BTreeMap::new();
    for (name, value) in table {
        // Kept without its faulty members: routes that name it are not at fault.
        if let Some((part, _)) = part(r, &format!("{at}.{name}"), value) {
            parts.insert(name.clone(), part);
        }
    }
    parts
}

fn routes(r: &mut Reader<'_>, value: &Value) -> Vec<RouteConfig> {
    let Some(list) = value.as_array() else {
        r.fault("gateway.routes", "is no list", example("routes"));
        return Vec::new();
    };
    let name = |index: usize| list[index].get("name").and_then(Value::as_str);
    let mut routes = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let mut at = format!("gateway.routes[{index}]");
        if let Some(name) = name(index) {
            at = format!("{at} '{name}'");
        }
        let first = (0..index).find(|other| name(*other).is_some() && name(*other) == name(index));
        if let Some(first) = first {
            let problem = format!("another route has this name: gateway.routes[{first}]");
            r.fault(&at, problem, "give each route a name of its own");
        }
        // Without a member a route may lack what it has.
        routes.extend(part(r, &at, value).and_then(|(route, is_whole)| is_whole.then_some(route)));
    }
    routes
}

/// Reads one part, and says whether it is whole. Where a member of it is wrong, the rest is read
/// without it, so that the faults of all members are found.
fn part<T: DeserializeOwned>(r: &mut Reader<'_>, at: &str, value: &Value) -> Option<(T, bool)> {
    let Some(mut table) = value.as_table().cloned() else {
        r.fault(at, "is not a table", "write NAME = VALUE lines below it");
        return None;
    };
    let mut removed: Vec<String> = Vec::new();
    loop {
        let error = match serde_path_to_error::deserialize(Value::Table(table.clone())) {
            Ok(part) => return Some((part, removed.is_empty())),
            Err(error) => error,
        };
        let message = error.inner().message().to_owned();
        let path = error.path().to_string();
        let top = quoted(&message, "unknown field `")
            .filter(|name| table.contains_key(*name) && !path.contains('.'))
            .map(str::to_owned)
            .or_else(|| path.split(['.', '[']).next().map(str::to_owned))
            .unwrap_or_default();
        if let Some(missing) = quoted(&message, "missing field `")
            && !table.contains_key(&top)
        {
            // What was wrong and taken out is not missing.
            if !removed.iter().any(|name| name == missing) {
                let problem = format!("has no {missing}");
                r.fault(at, problem, format!("write {}", example(missing)));
            }
            return None;
        }
        let place = if path == "." { top.as_str() } else { &path };
        tell(r, &format!("{at}.{place}"), place, error.inner());
        // Each round takes a member out, so that the loop ends.
        table.remove(&top)?;
        removed.push(top);
    }
}

/// Tells what serde refused at a place.
fn tell(r: &mut Reader<'_>, at: &str, path: &str, error: &toml::de::Error) {
    let message = error.message().lines().next().unwrap_or_default();
    let last = path.rsplit('.').next().unwrap_or(path);
    let last = last.split('[').next().unwrap_or(last);
    if let Some(unknown) = quoted(message, "unknown field `") {
        let known: Vec<&str> = message
            .split_once("expected ")
            .map(|(_, names)| names.split('`').skip(1).step_by(2).collect())
            .unwrap_or_default();
        let hint = nearest_of(unknown, &known).map_or_else(
            || format!("there are {}", known.join(", ")),
            |near| format!("did you mean {near}?"),
        );
        return r.fault(at, "is no setting", hint);
    }
    if let Some(missing) = quoted(message, "missing field `") {
        let problem = format!("has no {missing}");
        return r.fault(at, problem, format!("write {}", example(missing)));
    }
    if let Some(names) = message
        .strip_prefix("unknown variant ")
        .and_then(|rest| rest.split_once("expected "))
    {
        let names = names.1.trim_start_matches("one of ").replace('`', "");
        let problem = message.split(',').next().unwrap_or(message);
        return r.fault(at, problem, format!("write one of: {names}"));
    }
    // Such a message repeats the value, which may be a URL with a password.
    let problem = if message.contains("://") || message.contains('@') {
        "has a value of the wrong type or form"
    } else if DURATIONS.contains(&last) {
        "is no duration"
    } else {
        message
    };
    r.fault(at, problem, format!("write {}", example(last)));
}

/// A URL that cannot be used is told here: the message names no password.
fn check_urls(r: &mut Reader<'_>, gateway: &GatewayConfig) {
    for (name, upstream) in &gateway.upstreams {
        for (index, text) in upstream.urls.iter().enumerate() {
            let usable = url::Url::parse(text).is_ok_and(|url| {
                matches!(url.scheme(), "http" | "https" | "h2c") && url.has_host()
            });
            if !usable {
                let shown = shown(text);
                let problem = format!("'{shown}' is not an http, https or h2c URL");
                let at = format!("gateway.upstreams.{name}.urls[{index}]");
                r.fault(&at, problem, "write for example http://10.0.0.5:8080");
            }
        }
    }
}

fn example(name: &str) -> String {
    if DURATIONS.contains(&name) {
        return format!("{name} = \"30s\"; for example 500ms, 30s, 5m or 2h");
    }
    EXAMPLES
        .iter()
        .find(|(known, _)| *known == name)
        .map_or_else(
            || format!("{name} as docs/gateway.md shows it"),
            |(_, example)| (*example).to_owned(),
        )
}

/// The name in backticks that a message has after `lead`.
fn quoted<'m>(message: &'m str, lead: &str) -> Option<&'m str> {
    let (_, rest) = message.split_once(lead)?;
    rest.split('`').next()
}
