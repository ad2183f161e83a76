//! The route table: with its indexes it finds what a plain search through all routes finds.

#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use bunbun_core::config::gateway::{GatewayConfig, RespondConfig, RouteConfig};
use bunbun_gateway::{
    path::normalise,
    rate_limit::Limits,
    route::{Environment, HostPattern, Route, RouteTable, compile},
    slot::{Filling, NAMES, Slot, Slots},
    upstream::Registry,
};
use http::Method;
use libfuzzer_sys::fuzz_target;

const SEGMENTS: [&str; 8] = ["a", "b", "api", "auth", "rest", "v1", "verify", "pg"];
const HOSTS: [&str; 6] = [
    "a.test",
    "b.a.test",
    "*.a.test",
    "*.test",
    "A.Test",
    "a.test.evil.test",
];
const METHODS: [&str; 3] = ["GET", "POST", "PUT"];

#[derive(Debug, Arbitrary)]
struct Input {
    routes: Vec<Matcher>,
    requests: Vec<Asked>,
}

#[derive(Debug, Arbitrary)]
struct Matcher {
    path: Segments,
    exact: bool,
    hosts: u8,
    methods: u8,
}

#[derive(Debug, Arbitrary)]
struct Asked {
    path: Segments,
    host: u8,
    method: u8,
}

#[derive(Debug, Arbitrary)]
struct Segments {
    segments: Vec<u8>,
    ends_open: bool,
}

impl Segments {
    fn path(&self) -> String {
        let mut path = String::new();
        for segment in self.segments.iter().take(6) {
            path.push('/');
            path.push_str(SEGMENTS[usize::from(*segment) % SEGMENTS.len()]);
        }
        if self.ends_open || path.is_empty() {
            path.push('/');
        }
        path
    }
}

fn chosen(bits: u8, all: &[&str]) -> Vec<String> {
    let bit = |at: &usize| bits >> at & 1 == 1;
    (0..all.len())
        .filter(bit)
        .map(|at| all[at].to_owned())
        .collect()
}

fuzz_target!(|input: Input| {
    let routes = input.routes.iter().take(24).enumerate();
    let routes = routes.map(|(at, route)| RouteConfig {
        name: format!("route-{at}"),
        path: route.path.path(),
        exact: route.exact,
        hosts: chosen(route.hosts, &HOSTS),
        methods: chosen(route.methods, &METHODS),
        respond: Some(RespondConfig {
            status: 200,
            body: String::new(),
            content_type: "text/plain".to_owned(),
        }),
        rewrite: "/".to_owned(),
        ..RouteConfig::default()
    });
    let config = GatewayConfig {
        routes: routes.collect(),
        ..GatewayConfig::default()
    };
    let table = compile(&config, &environment()).expect("the routes are valid");
    for asked in input.requests.iter().take(16) {
        let path = asked.path.path();
        assert_eq!(normalise(&path).as_deref(), Ok(path.as_str()));
        let host = HOSTS[usize::from(asked.host) % HOSTS.len()].trim_start_matches("*.");
        let method = METHODS[usize::from(asked.method) % METHODS.len()];
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let found = table.find(host, &path, &method).map(|route| &route.name);
        let wanted = search(&table, host, &path, &method).map(|route| &route.name);
        assert_eq!(found, wanted, "{method} {host} {path}");
        if let Some(route) = table.find(host, &path, &method) {
            assert!(route.upstream_path(&path).starts_with('/'));
        }
    }
});

/// The rules, read from their description: hosts first, then the longest path, then exact, then
/// methods, then the order of the configuration.
fn search<'t>(
    table: &'t RouteTable,
    host: &str,
    path: &str,
    method: &Method,
) -> Option<&'t Arc<Route>> {
    let matching = table.routes().iter().enumerate().filter(|(_, route)| {
        let own = route.path.trim_end_matches('/');
        let below = path
            .strip_prefix(own)
            .is_some_and(|rest| rest.starts_with('/'));
        let path_fits = match route.exact {
            true => path == &*route.path,
            false => below || (path == &*route.path),
        };
        let host_fits = route.hosts.is_empty() || route.hosts.iter().any(|own| fits(own, host));
        path_fits && host_fits && (route.methods.is_empty() || route.methods.contains(method))
    });
    let (_, route) = matching.max_by_key(|(at, route)| {
        let ranks = (!route.hosts.is_empty(), route.path.len(), route.exact);
        (ranks, !route.methods.is_empty(), std::cmp::Reverse(*at))
    })?;
    Some(route)
}

fn fits(pattern: &HostPattern, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    match pattern {
        HostPattern::Exact(own) => own.to_ascii_lowercase() == host,
        HostPattern::Suffix(suffix) => {
            let suffix = suffix.to_ascii_lowercase();
            host.strip_suffix(suffix.as_str())
                .is_some_and(|labels| !labels.is_empty())
        }
    }
}

fn environment() -> Environment {
    let slots = NAMES.iter().map(|name| {
        Arc::new(Slot {
            name: (*name).into(),
            filling: Filling::Empty,
            public_paths: false,
        })
    });
    Environment {
        slots: Slots(slots.collect()),
        registry: Arc::new(Registry::default()),
        limits: Arc::new(Limits::default()),
        shards: 1,
        realtime_host: "realtime.test".to_owned(),
        max_api_body_bytes: 1024,
    }
}
