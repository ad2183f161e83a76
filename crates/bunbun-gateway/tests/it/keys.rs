//! Keys and claims: what becomes of an application's key on its way to a service, and what a
//! client may not say about itself.

use serde_json::Value;

use crate::support::{Gateway, Keys, Origin, Seen, eventually};

fn stand(dialect: &str) -> (Origin, Gateway) {
    let origin = Origin::echo();
    let config = format!("dialect = '{dialect}'");
    let gateway = Gateway::builder()
        .config(&config)
        .named_slots(origin.url())
        .start();
    (origin, gateway)
}

fn pass(gateway: &Gateway, origin: &Origin, target: &str, headers: &[(&str, &str)]) -> Seen {
    let answer = gateway.get(target, headers);
    assert_eq!(
        answer.status,
        200,
        "{target} {headers:?}: {}",
        answer.text()
    );
    let seen = origin.only();
    for key in [&gateway.keys.publishable, &gateway.keys.secret_key] {
        assert!(
            !seen.raw_head.contains(key.as_str()),
            "an opaque key travels: {}",
            seen.raw_head
        );
    }
    seen
}

/// Each key in the header and in the query, at each service that gets keys translated.
#[test]
fn envoy_and_kong_3_translate_every_key() {
    for dialect in ["envoy", "kong3"] {
        let (origin, gateway) = stand(dialect);
        let keys = gateway.keys.clone();
        let legacy = |key: &str| {
            if dialect == "kong3" {
                key.to_owned()
            } else {
                format!("Bearer {key}")
            }
        };
        let translated = |token: &str| format!("Bearer {token}");
        for (key, token, authorization) in [
            (&keys.anon, &keys.anon, legacy(&keys.anon)),
            (
                &keys.service_role,
                &keys.service_role,
                legacy(&keys.service_role),
            ),
            (
                &keys.publishable,
                &keys.publishable_token,
                translated(&keys.publishable_token),
            ),
            (
                &keys.secret_key,
                &keys.secret_token,
                translated(&keys.secret_token),
            ),
        ] {
            for path in [
                "/auth/v1/token",
                "/rest/v1/todos",
                "/graphql/v1",
                "/realtime/v1/websocket",
                "/realtime/v1/api/broadcast",
                "/storage/v1/object",
                "/functions/v1/f",
            ] {
                let in_header = pass(&gateway, &origin, path, &[("apikey", key)]);
                assert_eq!(
                    in_header.all("authorization"),
                    [authorization.as_str()],
                    "{dialect} {path}"
                );
                assert_eq!(
                    in_header.all("apikey"),
                    [token.as_str()],
                    "{dialect} {path}"
                );
                let target = format!("{path}?vsn=1&apikey={key}&x=apikey");
                let in_query = pass(&gateway, &origin, &target, &[]);
                assert_eq!(
                    in_query.all("authorization"),
                    [authorization.as_str()],
                    "{dialect} {path}"
                );
                assert!(
                    in_query
                        .target
                        .ends_with(&format!("?vsn=1&apikey={token}&x=apikey")),
                    "{dialect} {path}"
                );
                // The client's repetition of its opaque key is no token of its own.
                if key.starts_with("sb_") {
                    let bearer = format!("Bearer {key}");
                    let both = [("apikey", key.as_str()), ("authorization", bearer.as_str())];
                    let seen = pass(&gateway, &origin, path, &both);
                    assert_eq!(
                        seen.all("authorization"),
                        [authorization.as_str()],
                        "{dialect} {path}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_users_token_wins_over_any_key() {
    for dialect in ["envoy", "kong3"] {
        let (origin, gateway) = stand(dialect);
        let keys = gateway.keys.clone();
        let user = format!("Bearer {}", keys.user("u1"));
        for own in [
            user.as_str(),
            "Basic dXNlcjpwYXNz",
            "AWS4-HMAC-SHA256 Credential=x/y",
            "Bearer other",
        ] {
            for key in [
                &keys.anon,
                &keys.publishable,
                &keys.secret_key,
                &keys.service_role,
            ] {
                for path in [
                    "/rest/v1/todos",
                    "/auth/v1/user",
                    "/storage/v1/s3/b",
                    "/functions/v1/f",
                ] {
                    let headers = [("apikey", key.as_str()), ("authorization", own)];
                    let seen = pass(&gateway, &origin, path, &headers);
                    assert_eq!(seen.all("authorization"), [own], "{dialect} {path}");
                }
            }
        }
    }
}

#[test]
fn a_key_counts_once_and_only_as_a_key() {
    for dialect in ["envoy", "kong2", "kong3"] {
        let (origin, gateway) = stand(dialect);
        let keys = gateway.keys.clone();
        let bearer = |token: &str| format!("Bearer {token}");
        let (anon, secret) = (keys.anon.as_str(), keys.secret_key.as_str());
        let twice = format!("/rest/v1/todos?apikey={anon}&apikey={anon}");
        let almost = &anon[..anon.len() - 1];
        let longer = format!("{anon}x");
        let of_another = Keys::generate();
        for (target, headers) in [
            ("/rest/v1/todos", vec![("authorization", bearer(secret))]),
            (
                "/rest/v1/todos",
                vec![("authorization", bearer(&keys.publishable))],
            ),
            ("/rest/v1/todos", vec![("authorization", bearer(anon))]),
            (
                "/rest/v1/todos",
                vec![("apikey", anon.to_owned()), ("apikey", anon.to_owned())],
            ),
            (
                "/rest/v1/todos",
                vec![
                    ("apikey", anon.to_owned()),
                    ("apikey", keys.service_role.clone()),
                ],
            ),
            (&twice, vec![]),
            ("/rest/v1/todos?apikey=", vec![]),
            ("/rest/v1/todos?APIKEY=x", vec![]),
            ("/rest/v1/todos", vec![("apikey", String::new())]),
            ("/rest/v1/todos", vec![("apikey", almost.to_owned())]),
            ("/rest/v1/todos", vec![("apikey", longer)]),
            ("/rest/v1/todos", vec![("apikey", bearer(anon))]),
            ("/rest/v1/todos", vec![("apikey", keys.user("u1"))]),
            ("/rest/v1/todos", vec![("apikey", of_another.anon)]),
            ("/rest/v1/todos", vec![("apikey", of_another.secret_key)]),
            ("/rest/v1/todos", vec![("apikey", "sb_secret_".to_owned())]),
            (
                "/rest/v1/todos",
                vec![("apikey", keys.secret_key.to_uppercase())],
            ),
            (
                "/rest/v1/todos",
                vec![("api_key", anon.to_owned()), ("api-key", anon.to_owned())],
            ),
            ("/rest/v1/todos", vec![("x-api-key", anon.to_owned())]),
        ] {
            let headers: Vec<(&str, &str)> =
                headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
            let answer = gateway.get(target, &headers);
            assert_eq!(answer.status, 401, "{dialect} {target} {headers:?}");
            assert_eq!(origin.take().len(), 0, "{dialect} {target}");
        }
    }
}

#[test]
fn a_key_in_the_header_leaves_no_other_in_the_query() {
    let (origin, gateway) = stand("envoy");
    let keys = gateway.keys.clone();
    let target = format!("/realtime/v1/websocket?apikey={}&vsn=1", keys.secret_key);
    let seen = pass(&gateway, &origin, &target, &[("apikey", &keys.anon)]);
    assert_eq!(
        seen.target,
        format!("/realtime/socket/websocket?apikey={}&vsn=1", keys.anon)
    );
    let encoded = keys.publishable.replace('_', "%5F");
    let seen = pass(
        &gateway,
        &origin,
        &format!("/rest/v1/t?apikey={encoded}"),
        &[],
    );
    assert_eq!(
        seen.target,
        format!("/rest/t?apikey={}", keys.publishable_token)
    );
}

#[test]
fn kong_2_hides_keys_from_rest_only_and_translates_none() {
    let (origin, gateway) = stand("kong2");
    let anon = gateway.keys.anon.clone();
    let user = format!("Bearer {}", gateway.keys.user("u1"));
    for (path, hidden) in [
        ("/rest/v1/t", true),
        ("/graphql/v1", true),
        ("/auth/v1/user", false),
        ("/realtime/v1/x", false),
    ] {
        let seen = pass(
            &gateway,
            &origin,
            path,
            &[("apikey", &anon), ("authorization", &user)],
        );
        let expected = (!hidden).then_some(anon.as_str());
        assert_eq!(seen.all("apikey"), Vec::from_iter(expected), "{path}");
        assert_eq!(seen.all("authorization"), [user.as_str()], "{path}");
        assert_eq!(seen.all("x-consumer-username"), ["anon"], "{path}");
        let seen = pass(
            &gateway,
            &origin,
            &format!("{path}?a=1&apikey={anon}&b=2"),
            &[],
        );
        assert_eq!(seen.target.contains("apikey"), !hidden, "{path}");
        assert!(
            !hidden || seen.target.ends_with("?a=1&b=2"),
            "{}",
            seen.target
        );
        assert_eq!(seen.header("authorization"), None, "{path}");
    }
}

#[test]
fn services_get_the_headers_that_they_read() {
    let (origin, gateway) = stand("envoy");
    let keys = gateway.keys.clone();
    let spoofed = [
        ("apikey", keys.publishable.as_str()),
        ("x-api-key", "spoofed"),
        ("sb-api-key", "spoofed"),
    ];
    let realtime = pass(&gateway, &origin, "/realtime/v1/websocket", &spoofed);
    assert_eq!(realtime.all("x-api-key"), [keys.publishable_token.as_str()]);
    assert_eq!(realtime.header("sb-api-key"), None);
    let functions = pass(&gateway, &origin, "/functions/v1/f", &spoofed);
    assert_eq!(
        functions.all("sb-api-key"),
        [keys.publishable_token.as_str()]
    );
    let unkeyed = pass(&gateway, &origin, "/functions/v1/f", &spoofed[1..]);
    assert_eq!(unkeyed.header("sb-api-key"), None);
    let storage = pass(&gateway, &origin, "/storage/v1/object", &spoofed);
    assert_eq!(storage.header("sb-api-key"), None);
}

#[test]
fn empty_and_opaque_authorizations_never_reach_storage() {
    for dialect in ["envoy", "kong3"] {
        let (origin, gateway) = stand(dialect);
        let opaque = format!("Bearer {}", gateway.keys.secret_key);
        let lower = opaque.replace("Bearer", "bearer");
        for value in ["", "  ", opaque.as_str(), lower.as_str()] {
            let seen = pass(
                &gateway,
                &origin,
                "/storage/v1/object/sign/x",
                &[("authorization", value)],
            );
            assert_eq!(seen.header("authorization"), None, "{dialect} {value}");
        }
        let twice = [
            ("authorization", "Bearer other"),
            ("authorization", opaque.as_str()),
        ];
        assert_eq!(gateway.get("/storage/v1/object", &twice).status, 400);
    }
}

#[test]
fn what_a_client_claims_to_be_is_taken_away_everywhere() {
    const CLAIMS: [&str; 18] = [
        "x-consumer-id",
        "x-consumer-username",
        "x-consumer-custom-id",
        "x-consumer-groups",
        "x-consumer-anything",
        "X-Consumer-Tags",
        "x-credential-identifier",
        "x-credential-username",
        "x-anonymous-consumer",
        "sb-api-key",
        "x-appwrite-user-id",
        "X-Appwrite-Key",
        "x_forwarded_for",
        "X_Consumer_Id",
        "api_key",
        "x-under_score",
        "proxy",
        "_",
    ];
    let origin = Origin::echo();
    let own = format!(
        "[upstreams.own]\nurls = ['{}']\n[[routes]]\nname = 'own'\npath = '/own'\nupstream = 'own'\naccess = 'open'\n",
        origin.url()
    );
    let gateway = Gateway::builder()
        .config(&own)
        .named_slots(origin.url())
        .start();
    let service = gateway.keys.service_role.clone();
    for path in [
        "/storage/v1/x",
        "/functions/v1/x",
        "/rest/v1/x",
        "/auth/v1/verify",
        "/realtime/v1/x",
        "/pg/x",
        "/analytics/v1/x",
        "/own",
        "/api/x",
    ] {
        let mut headers: Vec<(&str, &str)> = CLAIMS.iter().map(|name| (*name, "spoofed")).collect();
        headers.push(("apikey", &service));
        headers.push(("x-client-info", "kept"));
        assert_eq!(gateway.get(path, &headers).status, 200, "{path}");
        let seen = if path == "/api/x" {
            gateway.api.take().remove(0).0
        } else {
            origin.only()
        };
        let spoofed: Vec<_> = seen
            .headers
            .iter()
            .filter(|(_, value)| value == "spoofed")
            .collect();
        assert!(spoofed.is_empty(), "{path}: {spoofed:?}");
        assert_eq!(seen.header("x-client-info"), Some("kept"), "{path}");
    }
}

#[test]
fn forwarded_headers_are_the_gateways_own_unless_a_trusted_proxy_says_them() {
    let origin = Origin::echo();
    let strict = Gateway::builder().named_slots(origin.url()).start();
    let trusting = Gateway::builder()
        .named_slots(origin.url())
        .with(|b| b.trusted_proxies = vec!["127.0.0.1/32".to_owned(), "10.0.0.0/8".to_owned()])
        .start();
    let claims = [
        ("x-forwarded-for", "6.6.6.6, 1.2.3.4"),
        ("x-forwarded-for", "10.0.0.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-port", "443"),
        ("x-forwarded-path", "/evil"),
        ("x-forwarded-prefix", "/evil"),
        ("forwarded", "for=6.6.6.6"),
        ("x-real-ip", "6.6.6.6"),
    ];
    strict.get("/functions/v1/x", &claims);
    let seen = origin.only();
    let port = strict.address.port().to_string();
    assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.all("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(seen.all("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.all("x-forwarded-host"), ["gateway.test"]);
    assert_eq!(seen.all("x-forwarded-port"), [port.as_str()]);
    for gone in ["x-forwarded-path", "x-forwarded-prefix", "forwarded"] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    trusting.get("/functions/v1/x", &claims);
    let seen = origin.only();
    assert_eq!(
        seen.all("x-forwarded-for"),
        ["6.6.6.6, 1.2.3.4, 10.0.0.9, 127.0.0.1"]
    );
    assert_eq!(
        seen.all("x-real-ip"),
        ["1.2.3.4"],
        "the first from the right that is no proxy"
    );
    assert_eq!(seen.all("x-forwarded-proto"), ["https"]);
    assert_eq!(
        seen.all("x-forwarded-host"),
        ["evil.test"],
        "a trusted proxy's word"
    );
    assert_eq!(seen.all("x-forwarded-port"), ["443"]);
    trusting.get("/api/x", &claims);
    let (_, context) = trusting.api.take().remove(0);
    assert_eq!(context.expect("a context").client_ip.to_string(), "1.2.3.4");
    trusting.get("/functions/v1/x", &[("x-forwarded-for", "nonsense")]);
    assert_eq!(origin.only().all("x-real-ip"), ["127.0.0.1"]);
}

#[test]
fn request_ids_and_traces_go_through_and_are_made_where_they_are_missing() {
    let (origin, gateway) = stand("envoy");
    let id = |headers: &[(&str, &str)]| {
        let answer = gateway.get("/storage/v1/x", headers);
        let seen = origin.only();
        assert_eq!(
            seen.all("x-request-id"),
            [answer.request_id()],
            "{headers:?}"
        );
        assert_eq!(answer.all("x-request-id").len(), 1);
        answer.request_id().to_owned()
    };
    assert_eq!(id(&[("x-request-id", "my-id_1:2=3")]), "my-id_1:2=3");
    let made = id(&[]);
    assert!(
        made.len() == 32 && made.bytes().all(|b| b.is_ascii_hexdigit()),
        "{made}"
    );
    assert_ne!(id(&[]), made);
    for bad in [
        "a b",
        "{\"a\":1}",
        "<script>",
        "é",
        "",
        &"x".repeat(65),
        "a;b",
        "a,b",
        "\"x\"",
    ] {
        assert_eq!(id(&[("x-request-id", bad)]).len(), 32, "{bad}");
    }
    assert_eq!(
        id(&[("x-request-id", "first"), ("x-request-id", "second")]),
        "first"
    );

    let trace = |headers: &[(&str, &str)]| {
        gateway.get("/storage/v1/x", headers);
        let seen = origin.only();
        let [parent] = seen.all("traceparent")[..] else {
            panic!("one traceparent: {seen:?}")
        };
        parent.to_owned()
    };
    let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert!(trace(&[("traceparent", given)]).starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
    for bad in [
        "nonsense",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"",
    ] {
        let made = trace(&[("traceparent", bad)]);
        assert!(
            made.len() == 55 && made.starts_with("00-") && made != bad,
            "{bad} → {made}"
        );
        assert!(
            !made.contains("-00000000000000000000000000000000-"),
            "{made}"
        );
    }
}

#[test]
fn no_key_and_no_query_is_ever_logged() {
    let (_origin, gateway) = stand("envoy");
    let keys = gateway.keys.clone();
    let user = keys.user("u1");
    for key in [
        &keys.anon,
        &keys.service_role,
        &keys.publishable,
        &keys.secret_key,
        &"wrong-key-1".to_owned(),
    ] {
        gateway.get(&format!("/realtime/v1/websocket?apikey={key}&vsn=1"), &[]);
        gateway.get(
            "/rest/v1/t",
            &[
                ("apikey", key),
                ("authorization", &format!("Bearer {user}")),
            ],
        );
        gateway.get(&format!("/nowhere?apikey={key}"), &[]);
    }
    gateway.get("/storage/v1/last-line", &[]);
    eventually("all lines are written", || {
        gateway.log.text().contains("last-line")
    });
    let log = gateway.log.text();
    assert_eq!(log.lines().count(), 16);
    for secret in [
        &keys.anon,
        &keys.service_role,
        &keys.publishable,
        &keys.secret_key,
        &keys.publishable_token,
        &keys.secret_token,
        &keys.secret,
        &user,
        &"wrong-key-1".to_owned(),
        &"apikey".to_owned(),
        &"vsn".to_owned(),
    ] {
        assert!(!log.contains(secret.as_str()), "{log}");
    }
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).expect("one JSON object per line");
        assert!(
            line["request_id"].is_string() && line["status"].is_u64(),
            "{line}"
        );
    }
    assert!(
        log.contains("\"key\":\"service_role:"),
        "an opaque key by its fingerprint: {log}"
    );
}
