//! The built-in routes: each row of the table is reached through its prefix, at the right path of
//! its service, by those who may.

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::support::{BASIC, Gateway, Origin};

const REALTIME_HOST: &str = "realtime-dev.supabase-realtime";

/// A path, what the service sees, and the status without a key, with the anon key, and with the
/// owner's. A path that begins with `/api` is the slot's of that name; others name their slot.
type Row = (&'static str, &'static str, [u16; 3]);

const ROWS: &[Row] = &[
    ("/auth/v1/verify", "/auth/verify", [200, 200, 200]),
    (
        "/auth/v1/verify?token=x&type=y",
        "/auth/verify?token=x&type=y",
        [200, 200, 200],
    ),
    ("/auth/v1/callback", "/auth/callback", [200, 200, 200]),
    (
        "/auth/v1/authorize?provider=github",
        "/auth/authorize?provider=github",
        [200, 200, 200],
    ),
    (
        "/auth/v1/.well-known/jwks.json",
        "/auth/.well-known/jwks.json",
        [200, 200, 200],
    ),
    (
        "/.well-known/oauth-authorization-server",
        "/auth/.well-known/oauth-authorization-server",
        [200, 200, 200],
    ),
    (
        "/.well-known/oauth-authorization-server/auth/v1",
        "/auth/.well-known/oauth-authorization-server/auth/v1",
        [200, 200, 200],
    ),
    (
        "/auth/v1/sso/saml/acs",
        "/auth/sso/saml/acs",
        [200, 200, 200],
    ),
    (
        "/auth/v1/sso/saml/metadata",
        "/auth/sso/saml/metadata",
        [200, 200, 200],
    ),
    ("/auth/v1/sso/saml", "/auth/sso/saml", [401, 200, 200]),
    (
        "/auth/v1/token?grant_type=password",
        "/auth/token?grant_type=password",
        [401, 200, 200],
    ),
    ("/auth/v1/", "/auth/", [401, 200, 200]),
    ("/rest/v1/", "/rest/", [401, 403, 200]),
    ("/rest/v1/?select=x", "/rest/?select=x", [401, 403, 200]),
    (
        "/rest/v1/todos?select=*",
        "/rest/todos?select=*",
        [401, 200, 200],
    ),
    ("/rest/v1/rpc/f", "/rest/rpc/f", [401, 200, 200]),
    ("/graphql/v1", "/rest/rpc/graphql", [401, 200, 200]),
    ("/graphql/v1?q=1", "/rest/rpc/graphql?q=1", [401, 200, 200]),
    (
        "/realtime/v1/websocket?vsn=1.0.0",
        "/realtime/socket/websocket?vsn=1.0.0",
        [401, 200, 200],
    ),
    ("/realtime/v1/", "/realtime/socket/", [401, 200, 200]),
    (
        "/realtime/v1/api/broadcast",
        "/realtime/api/broadcast",
        [401, 200, 200],
    ),
    ("/realtime/v1/api", "/realtime/api", [401, 200, 200]),
    (
        "/realtime/v1/apix",
        "/realtime/socket/apix",
        [401, 200, 200],
    ),
    ("/realtime/v1/api/tenants", "", [403, 403, 403]),
    ("/realtime/v1/api/tenants/x/health", "", [403, 403, 403]),
    ("/realtime/v1/api/openapi", "", [403, 403, 403]),
    (
        "/storage/v1/object/public/a/b.png",
        "/storage/object/public/a/b.png",
        [200, 200, 200],
    ),
    ("/storage/v1/", "/storage/", [200, 200, 200]),
    (
        "/functions/v1/hello?x=1",
        "/functions/hello?x=1",
        [200, 200, 200],
    ),
    ("/analytics/v1/api/x", "/analytics/api/x", [401, 403, 200]),
    ("/pg/tables", "/meta/tables", [401, 403, 200]),
    ("/pg/", "/meta/", [401, 403, 200]),
    ("/mcp", "", [403, 403, 403]),
    ("/mcp/x", "", [403, 403, 403]),
    ("/api/mcp", "", [403, 403, 403]),
    ("/api/mcp/x", "", [403, 403, 403]),
    ("/api/anything?x=1", "/api/anything?x=1", [200, 200, 200]),
    ("/api/db/query", "/api/db/query", [200, 200, 200]),
    ("/api/auth/users", "/api/auth/users", [200, 200, 200]),
    ("/platform/projects", "/platform/projects", [200, 200, 200]),
    ("/health", "/health", [200, 200, 200]),
    ("/livez", "/livez", [200, 200, 200]),
    ("/readyz", "/readyz", [200, 200, 200]),
    ("/metrics", "/metrics", [200, 200, 200]),
    ("/", "", [401, 401, 401]),
    ("/project/default", "", [401, 401, 401]),
    ("/rest/v1", "", [401, 401, 401]),
    ("/healthz", "", [401, 401, 401]),
    ("/health/x", "", [401, 401, 401]),
    ("/apix", "", [401, 401, 401]),
    ("/mcpx", "", [401, 401, 401]),
];

fn stand() -> (Origin, Gateway) {
    let origin = Origin::echo();
    let gateway = Gateway::builder().named_slots(origin.url()).start();
    (origin, gateway)
}

/// What the services behind a gateway saw since the last call.
fn reached(gateway: &Gateway, origin: &Origin) -> Vec<String> {
    let api = gateway.api.take().into_iter().map(|(seen, _)| seen.target);
    origin
        .take()
        .into_iter()
        .map(|seen| seen.target)
        .chain(api)
        .collect()
}

#[test]
fn every_row_is_reached_at_its_path_by_those_who_may() {
    let (origin, gateway) = stand();
    let keys = [
        None,
        Some(&gateway.keys.anon),
        Some(&gateway.keys.service_role),
    ];
    for (path, upstream_path, statuses) in ROWS {
        for (key, status) in keys.iter().zip(statuses) {
            let headers: Vec<(&str, &str)> =
                key.iter().map(|key| ("apikey", key.as_str())).collect();
            for method in ["GET", "POST", "DELETE", "PROPFIND"] {
                let answer = gateway.request(method, path, &headers, b"");
                assert_eq!(answer.status, *status, "{method} {path}: {}", answer.text());
                let expected = (*status == 200).then_some(*upstream_path);
                assert_eq!(
                    reached(&gateway, &origin),
                    Vec::from_iter(expected),
                    "{method} {path}"
                );
            }
        }
    }
}

#[test]
fn a_users_token_is_no_application_key_but_travels_with_one() {
    let (origin, gateway) = stand();
    let bearer = format!("Bearer {}", gateway.keys.user("u1"));
    for (path, _, [without, with_anon, _]) in ROWS {
        let alone = gateway.get(path, &[("authorization", &bearer)]);
        assert_eq!(alone.status, *without, "{path}");
        let anon = gateway.keys.anon.as_str();
        origin.take();
        let both = gateway.get(path, &[("authorization", &bearer), ("apikey", anon)]);
        assert_eq!(both.status, *with_anon, "{path}");
        if let Some(seen) = origin.take().first() {
            assert_eq!(
                seen.header("authorization"),
                Some(bearer.as_str()),
                "{path}"
            );
        }
    }
}

#[test]
fn explain_tells_the_same_as_the_routes_do() {
    let (_origin, gateway) = stand();
    for (path, upstream_path, [anonymous, ..]) in ROWS {
        let told = gateway
            .explain(path)
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        let expected = (*anonymous != 200).then_some(*anonymous);
        assert_eq!(told.refused_with, expected, "{path}: {told:?}");
        if !upstream_path.is_empty() {
            let bare = upstream_path.split('?').next().expect("a path");
            let seen = told.upstream_path.expect("a path");
            let slot = told.target.expect("a target");
            let slot = slot.split(' ').nth(1).expect("a slot's name");
            let full = if slot == "api" {
                seen
            } else {
                format!("/{slot}{seen}")
            };
            assert_eq!(full, bare, "{path}");
        }
    }
    assert!(gateway.explain("/rest/v1/..%2f").is_err());
}

#[test]
fn graphql_asks_for_its_schema_whatever_the_client_says() {
    let (origin, gateway) = stand();
    let anon = gateway.keys.anon.as_str();
    let headers = [
        ("apikey", anon),
        ("content-profile", "auth"),
        ("content-type", "application/json"),
    ];
    let answer = gateway.request("POST", "/graphql/v1", &headers, b"{}");
    assert_eq!(answer.status, 200);
    let seen = origin.only();
    assert_eq!(seen.all("content-profile"), ["graphql_public"]);
    assert_eq!(seen.body, b"{}");
    gateway.get(
        "/rest/v1/x",
        &[("apikey", anon), ("content-profile", "other")],
    );
    assert_eq!(origin.only().all("content-profile"), ["other"]);
}

#[test]
fn realtime_sees_its_tenants_host_and_others_their_own() {
    let (origin, gateway) = stand();
    let anon = gateway.keys.anon.as_str();
    let own = origin.address().to_string();
    for (path, host) in [
        ("/realtime/v1/websocket", REALTIME_HOST),
        ("/realtime/v1/api/broadcast", REALTIME_HOST),
        ("/rest/v1/x", own.as_str()),
        ("/storage/v1/x", own.as_str()),
    ] {
        gateway.get(path, &[("apikey", anon), ("host", "public.example:8000")]);
        let seen = origin.only();
        assert_eq!(seen.all("host"), [host], "{path}");
        assert_eq!(
            seen.all("x-forwarded-host"),
            ["public.example:8000"],
            "{path}"
        );
    }
}

#[test]
fn storage_is_told_its_prefix_and_others_are_not() {
    let (origin, gateway) = stand();
    let anon = gateway.keys.anon.as_str();
    for (path, prefix) in [
        ("/storage/v1/upload/resumable", Some("/storage/v1")),
        ("/rest/v1/x", None),
        ("/functions/v1/x", None),
    ] {
        gateway.get(path, &[("apikey", anon), ("x-forwarded-prefix", "/evil")]);
        assert_eq!(
            origin.only().all("x-forwarded-prefix"),
            Vec::from_iter(prefix),
            "{path}"
        );
    }
}

#[test]
fn functions_take_any_caller_but_no_unknown_opaque_key() {
    let (origin, gateway) = stand();
    let keys = &gateway.keys;
    let (user, nonsense) = (format!("Bearer {}", keys.user("u")), "Bearer nonsense");
    let unknown = ["sb_secret_unknown", "sb_publishable_unknown", "sb_"];
    for headers in [
        vec![],
        vec![("authorization", user.as_str())],
        vec![("authorization", nonsense)],
        vec![("apikey", "a-webhooks-own-secret")],
        vec![("apikey", keys.publishable.as_str())],
        vec![("apikey", keys.secret_key.as_str())],
    ] {
        assert_eq!(
            gateway.get("/functions/v1/f", &headers).status,
            200,
            "{headers:?}"
        );
        assert_eq!(origin.take().len(), 1);
    }
    for key in unknown {
        let bearer = format!("Bearer {key}");
        let in_query = format!("/functions/v1/f?apikey={key}");
        for (path, headers) in [
            ("/functions/v1/f", vec![("apikey", key)]),
            ("/functions/v1/f", vec![("authorization", bearer.as_str())]),
            (
                "/functions/v1/f",
                vec![
                    ("authorization", bearer.as_str()),
                    ("apikey", keys.anon.as_str()),
                ],
            ),
            (in_query.as_str(), vec![]),
        ] {
            assert_eq!(
                gateway.get(path, &headers).status,
                401,
                "{path} {headers:?}"
            );
        }
    }
    // Two keys that contradict one another.
    let bearer = format!("Bearer {}", keys.publishable);
    let headers = [
        ("authorization", bearer.as_str()),
        ("apikey", keys.secret_key.as_str()),
    ];
    assert_eq!(gateway.get("/functions/v1/f", &headers).status, 401);
    assert_eq!(origin.take().len(), 0);
}

#[test]
fn empty_slots_say_what_to_set() {
    let gateway = Gateway::builder().start();
    let service = gateway.keys.service_role.as_str();
    for (path, variable) in [
        ("/auth/v1/token", "AUTH_URL"),
        ("/rest/v1/todos", "POSTGREST_URL"),
        ("/graphql/v1", "POSTGREST_URL"),
        ("/realtime/v1/websocket", "REALTIME_URL"),
        ("/storage/v1/object", "STORAGE_URL"),
        ("/functions/v1/hello", "FUNCTIONS_URL"),
        ("/analytics/v1/x", "ANALYTICS_URL"),
        ("/pg/tables", "META_URL"),
    ] {
        let answer = gateway.get(path, &[("apikey", service)]);
        assert_eq!(answer.status, 503, "{path}");
        assert!(
            answer.text().contains(variable),
            "{path}: {}",
            answer.text()
        );
        let told = gateway
            .refused(answer.request_id())
            .expect("explain knows it");
        assert!(told.reason.contains(variable), "{path}: {}", told.reason);
    }
    // Who may not use the route does not learn it.
    assert_eq!(gateway.get("/pg/tables", &[]).status, 401);
}

#[test]
fn the_dashboard_needs_its_password_and_never_sees_it() {
    let basic = |user: &str, password: &str| {
        format!(
            "Basic {}",
            BASE64_STANDARD.encode(format!("{user}:{password}"))
        )
    };
    let (origin, gateway) = stand();
    let right = basic(BASIC.0, BASIC.1);
    let answer = gateway.get("/project/default?tab=1", &[("authorization", &right)]);
    assert_eq!(answer.status, 200);
    let seen = origin.only();
    assert_eq!(seen.target, "/studio/project/default?tab=1");
    assert_eq!(seen.header("authorization"), None);
    let user = format!("Bearer {}", gateway.keys.user("u"));
    let owner = format!("Bearer {}", gateway.keys.service_role);
    let twice = [
        ("authorization", right.as_str()),
        ("authorization", right.as_str()),
    ];
    for headers in [
        vec![("authorization", basic(BASIC.0, "wrong"))],
        vec![("authorization", basic("wrong", BASIC.1))],
        vec![("authorization", basic(BASIC.0, ""))],
        vec![("authorization", basic("", BASIC.1))],
        vec![("authorization", basic(BASIC.0, &format!("{} ", BASIC.1)))],
        vec![("authorization", "Basic".to_owned())],
        vec![("authorization", "Basic !!!".to_owned())],
        vec![("authorization", user)],
        vec![("authorization", owner)],
    ] {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        assert_eq!(gateway.get("/", &headers).status, 401, "{headers:?}");
    }
    assert_eq!(
        gateway.get("/", &twice).status,
        400,
        "two credentials are ambiguous"
    );
    // Whoever guesses on has to pause, also with the right one then.
    for _ in 0..5 {
        gateway.get("/", &[("authorization", &basic(BASIC.0, "guess"))]);
    }
    let paused = gateway.get("/", &[("authorization", &right)]);
    assert_eq!(paused.status, 429);
    assert_eq!(paused.header("retry-after"), Some("60"));
    assert_eq!(origin.take().len(), 0);

    let built_in = Gateway::builder().start();
    assert_eq!(built_in.get("/", &[]).status, 401);
    assert_eq!(built_in.get("/", &[("authorization", &right)]).status, 200);
    let (seen, _) = built_in.studio.take().remove(0);
    assert_eq!(seen.header("authorization"), None);
}

#[test]
fn behind_another_gateway_paths_keys_and_hosts_are_its_business() {
    let (kong, own) = (Origin::echo(), Origin::echo());
    let gateway = Gateway::builder()
        .slot("storage", own.url())
        .kong(&kong.url())
        .start();
    let anon = gateway.keys.anon.as_str();
    for path in [
        "/rest/v1/todos?x=1",
        "/graphql/v1",
        "/realtime/v1/websocket",
        "/auth/v1/verify?t=1",
    ] {
        assert_eq!(gateway.get(path, &[("apikey", anon)]).status, 200, "{path}");
        let seen = kong.only();
        assert_eq!(seen.target, path);
        assert_eq!(seen.all("host"), [kong.address().to_string()], "{path}");
        assert_eq!(seen.all("apikey"), [anon], "{path}");
    }
    assert_eq!(gateway.get("/storage/v1/object", &[]).status, 200);
    assert_eq!(own.only().target, "/object");
    assert_eq!(kong.take().len(), 0);
    // The dashboard stays this gateway's own.
    assert_eq!(gateway.get("/", &[]).status, 401);
}
