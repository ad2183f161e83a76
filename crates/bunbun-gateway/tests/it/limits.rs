//! Rate limits: who is counted as whom, what the headers say, and what is shared between nodes.

use crate::support::{Answer, Gateway, Redis, eventually};

/// Routes with policies of three requests an hour, each by something else.
const CONFIG: &str = "
[rate_limits.ip]\nlimit = 3\nwindow = '1h'
[rate_limits.key]\nlimit = 3\nwindow = '1h'\nby = 'key'\nanonymous = { limit = 2, window = '15m' }
[rate_limits.user]\nlimit = 3\nwindow = '1h'\nby = 'user'
[rate_limits.api]\nlimit = 3\nwindow = '1m'\nby = 'key'\nanonymous = { limit = 2, window = '15m' }
[[routes]]\nname = 'ip'\npath = '/ip'\naccess = 'open'\nrate_limit = 'ip'\nrespond = { status = 200 }
[[routes]]\nname = 'key'\npath = '/key'\naccess = 'open'\nrate_limit = 'key'\nrespond = { status = 200 }
[[routes]]\nname = 'key2'\npath = '/key2'\naccess = 'open'\nrate_limit = 'key'\nrespond = { status = 200 }
[[routes]]\nname = 'user'\npath = '/user'\naccess = 'open'\nrate_limit = 'user'\nrespond = { status = 200 }
[[routes]]\nname = 'keyed'\npath = '/keyed'\naccess = 'key'\nrate_limit = 'ip'\nrespond = { status = 200 }
";

fn start() -> Gateway {
    Gateway::builder().config(CONFIG).start()
}

/// How many of the next requests are allowed, at most ten.
#[track_caller]
fn allowed(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> usize {
    for count in 0..10 {
        let answer = gateway.get(path, headers);
        if answer.status == 429 {
            return count;
        }
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    10
}

#[track_caller]
fn number(answer: &Answer, name: &str) -> u64 {
    let value = answer.header(name).unwrap_or_else(|| panic!("no {name}"));
    value.parse().unwrap_or_else(|_| panic!("{name}: {value}"))
}

#[test]
fn headers_tell_policy_rest_and_wait() {
    let gateway = start();
    for rest in [2, 1, 0] {
        let answer = gateway.get("/ip", &[]);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.all("ratelimit-policy"), ["\"ip\";q=3;w=3600"]);
        let reset = number(&answer, "x-ratelimit-reset");
        assert_eq!(
            answer.all("ratelimit"),
            [format!("\"ip\";r={rest};t={reset}")]
        );
        assert_eq!(number(&answer, "x-ratelimit-limit"), 3);
        assert_eq!(number(&answer, "x-ratelimit-remaining"), rest);
        let expected = (3 - rest) * 1200;
        assert!((expected - 20..=expected).contains(&reset), "{reset}");
        assert_eq!(answer.header("retry-after"), None);
    }
    let refused = gateway.get("/ip", &[]);
    assert_eq!(
        (refused.status, refused.text()),
        (429, "local_rate_limited")
    );
    assert_eq!(refused.all("ratelimit-policy"), ["\"ip\";q=3;w=3600"]);
    assert_eq!(number(&refused, "x-ratelimit-remaining"), 0);
    assert!(
        (1180..=1200).contains(&number(&refused, "retry-after")),
        "{refused:?}"
    );
    let told = gateway
        .refused(refused.request_id())
        .expect("explain knows it");
    assert_eq!(
        (told.refused_with, told.route.as_deref()),
        (Some(429), Some("ip"))
    );
    // Routes without a policy say nothing.
    assert_eq!(gateway.get("/health", &[]).header("ratelimit"), None);
}

#[test]
fn a_quota_comes_back() {
    let gateway = Gateway::builder()
        .config(&CONFIG.replace(
            "limit = 3\nwindow = '1h'\n[rate_limits.key]",
            "limit = 2\nwindow = '500ms'\n[rate_limits.key]",
        ))
        .start();
    assert!(allowed(&gateway, "/ip", &[]) >= 2);
    eventually("one more is allowed", || {
        gateway.get("/ip", &[]).status == 200
    });
}

#[test]
fn callers_are_counted_by_what_the_policy_says() {
    let gateway = start();
    let keys = gateway.keys.clone();
    let bearer = |token: &str| format!("Bearer {token}");
    let (one, two) = (bearer(&keys.user("u1")), bearer(&keys.user("u2")));
    // By address: no credential makes it another caller.
    assert_eq!(allowed(&gateway, "/ip", &[("apikey", &keys.anon)]), 3);
    assert_eq!(allowed(&gateway, "/ip", &[("authorization", &one)]), 0);
    assert_eq!(allowed(&gateway, "/ip", &[]), 0);
    // By key: each role for itself, strangers by address and stricter; routes share a policy.
    assert_eq!(allowed(&gateway, "/key", &[]), 2);
    assert_eq!(allowed(&gateway, "/key2", &[]), 0);
    assert_eq!(allowed(&gateway, "/key", &[("apikey", &keys.anon)]), 3);
    assert_eq!(
        allowed(&gateway, "/key2", &[("apikey", &keys.publishable)]),
        0
    );
    assert_eq!(
        allowed(&gateway, "/key2", &[("apikey", &keys.service_role)]),
        3
    );
    // By user: each for itself, whatever the key.
    assert_eq!(allowed(&gateway, "/user", &[("authorization", &one)]), 3);
    assert_eq!(
        allowed(
            &gateway,
            "/user",
            &[("authorization", &one), ("apikey", &keys.anon)]
        ),
        0
    );
    let another_token = bearer(&keys.sign(&{
        let mut claims = crate::support::Keys::user_claims("u1");
        claims["session_id"] = "another".into();
        claims
    }));
    assert_eq!(
        allowed(&gateway, "/user", &[("authorization", &another_token)]),
        0
    );
    assert_eq!(allowed(&gateway, "/user", &[("authorization", &two)]), 3);
    assert_eq!(
        allowed(&gateway, "/user", &[]),
        3,
        "without a user by address"
    );
}

#[test]
fn credentials_that_are_wrong_count_as_none() {
    let gateway = start();
    assert_eq!(allowed(&gateway, "/key", &[]), 2);
    let stranger = crate::support::Keys::generate();
    for headers in [
        vec![("apikey", "invented".to_owned())],
        vec![("apikey", stranger.service_role.clone())],
        vec![("apikey", "sb_secret_invented".to_owned())],
        vec![("authorization", "Bearer invented".to_owned())],
        vec![("authorization", format!("Bearer {}", stranger.user("u1")))],
        vec![("x-forwarded-for", "9.9.9.9".to_owned())],
        vec![("x-real-ip", "9.9.9.9".to_owned())],
        vec![("x-consumer-username", "service_role".to_owned())],
    ] {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        assert_eq!(allowed(&gateway, "/key", &headers), 0, "{headers:?}");
    }
}

#[test]
fn addresses_are_counted_as_trusted_proxies_tell_them() {
    let gateway = Gateway::builder()
        .config(CONFIG)
        .with(|b| b.trusted_proxies = vec!["127.0.0.1/32".to_owned()])
        .start();
    assert_eq!(
        allowed(&gateway, "/ip", &[("x-forwarded-for", "1.1.1.1")]),
        3
    );
    assert_eq!(
        allowed(&gateway, "/ip", &[("x-forwarded-for", "6.6.6.6, 1.1.1.1")]),
        0
    );
    assert_eq!(
        allowed(&gateway, "/ip", &[("x-forwarded-for", "::ffff:1.1.1.1")]),
        0
    );
    assert_eq!(
        allowed(&gateway, "/ip", &[("x-forwarded-for", "1.1.1.1, 2.2.2.2")]),
        3
    );
}

#[test]
fn refused_requests_use_up_nothing() {
    let gateway = start();
    for _ in 0..5 {
        let answer = gateway.get("/keyed", &[]);
        assert_eq!((answer.status, answer.header("ratelimit")), (401, None));
    }
    assert_eq!(
        allowed(&gateway, "/keyed", &[("apikey", &gateway.keys.anon)]),
        3
    );
}

#[test]
fn our_own_routes_refuse_in_our_own_words() {
    let gateway = start();
    assert_eq!(allowed(&gateway, "/api/db/query", &[]), 2);
    // One policy for the whole group.
    for path in [
        "/api/db/tables",
        "/api/auth/users",
        "/api/storage/x",
        "/api/backups",
    ] {
        let answer = gateway.get(path, &[]);
        assert_eq!(answer.status, 429, "{path}");
        let error = &answer.json()["error"];
        assert_eq!(error["code"], "RATE_LIMITED", "{path}");
        assert_eq!(error["request_id"], answer.request_id(), "{path}");
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{path}"
        );
        assert_eq!(
            answer.header("content-type"),
            Some("application/json"),
            "{path}"
        );
        assert_eq!(
            answer.all("ratelimit-policy"),
            ["\"api\";q=2;w=900"],
            "{path}"
        );
        assert!(
            (1..=450).contains(&number(&answer, "retry-after")),
            "{path}"
        );
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{path}"
        );
        assert_eq!(answer.header("server"), None, "{path}");
    }
    assert_eq!(
        allowed(
            &gateway,
            "/api/db/query",
            &[("apikey", &gateway.keys.service_role)]
        ),
        3
    );
    for path in [
        "/health",
        "/livez",
        "/readyz",
        "/metrics",
        "/api/health",
        "/platform/x",
    ] {
        assert_eq!(allowed(&gateway, path, &[]), 10, "{path} has no limit");
    }
}

#[test]
fn the_default_policy_is_as_documented() {
    let gateway = Gateway::builder().start();
    let anonymous = gateway.get("/api/db/query", &[]);
    assert_eq!(
        anonymous.header("ratelimit-policy"),
        Some("\"api\";q=100;w=900")
    );
    let owner = gateway.get("/api/db/query", &[("apikey", &gateway.keys.service_role)]);
    assert_eq!(
        owner.header("ratelimit-policy"),
        Some("\"api\";q=1000;w=60")
    );
    let user = format!("Bearer {}", gateway.keys.user("u1"));
    let user = gateway.get("/api/db/query", &[("authorization", &user)]);
    assert_eq!(user.header("ratelimit-policy"), Some("\"api\";q=1000;w=60"));
    let gateway_route = gateway.get("/auth/v1/verify", &[]);
    assert_eq!(
        gateway_route.header("ratelimit-policy"),
        None,
        "unlimited unless configured"
    );
}

#[test]
fn passwords_are_tried_ten_times_a_minute() {
    let gateway = Gateway::builder().start();
    for path in ["/api/auth/signin", "/api/auth/signup"] {
        let answer = gateway.request("POST", path, &[], b"{}");
        assert_eq!(
            answer.all("ratelimit-policy"),
            ["\"passwords\";q=10;w=60"],
            "{path}"
        );
    }
    // Together, whoever says to be who: it is the address that counts.
    let key = gateway.keys.service_role.clone();
    let statuses: Vec<u16> = (0..9)
        .map(|_| {
            let headers = [("apikey", key.as_str())];
            let answer = gateway.request("POST", "/api/auth/signin", &headers, b"{}");
            answer.status
        })
        .collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 200, 429]);
    let refresh = gateway.request("POST", "/api/auth/refresh", &[], b"{}");
    assert_eq!(refresh.status, 200, "another policy");
}

#[test]
fn counters_outlive_a_reload_that_leaves_the_policy_as_it_is() {
    let gateway = start();
    assert_eq!(allowed(&gateway, "/ip", &[]), 3);
    gateway.reload(CONFIG).expect("a good configuration");
    assert_eq!(allowed(&gateway, "/ip", &[]), 0);
    gateway
        .reload(&CONFIG.replace("limit = 3", "limit = 5"))
        .expect("a good configuration");
    assert_eq!(allowed(&gateway, "/ip", &[]), 5);
}

#[test]
fn nodes_share_their_counters_through_redis_and_go_on_without_it() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let config = CONFIG
        .replace("limit = 3", "limit = 20")
        .replace("limit = 2\n", "limit = 20\n");
    let node = || {
        Gateway::builder()
            .config(&config)
            .with(|b| b.redis_url = Some(redis.url()))
            .start()
    };
    let (first, second) = (node(), node());
    let take = |path: &str, headers: &[(&str, &str)], most: usize| {
        let statuses = (0..most).map(|i| [&first, &second][i % 2].get(path, headers).status);
        statuses.filter(|status| *status == 200).count()
    };
    // A node whose Redis takes too long counts alone for a moment: on a busy machine more than
    // twenty may pass, but never as many as from counters of their own.
    let together = take("/ip", &[], 60);
    assert!(
        (20..40).contains(&together),
        "{together}: alone it would be 40"
    );
    assert_ne!(redis.keys(), ":0", "the counters are in Redis");

    // Without Redis each node counts for itself and refuses nobody for that.
    redis.kill();
    let answer = first.get("/user", &[]);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-ratelimit-limit"), Some("20"));
    let alone = take("/user", &[], 80);
    assert!((38..=40).contains(&alone), "{alone}: 20 on each node");

    // When it is back, it counts again.
    let address = redis.address();
    let back = Redis::start_on(address).expect("it was there before");
    eventually("the counters are shared again", || {
        first.get("/key", &[]);
        back.keys() != ":0"
    });
}

#[test]
fn a_redis_that_was_never_there_refuses_nobody() {
    let nowhere = crate::support::ClosedPort::reserve();
    let gateway = Gateway::builder()
        .config(CONFIG)
        .with(|b| b.redis_url = Some(format!("redis://{}/0", nowhere.address)))
        .start();
    assert_eq!(allowed(&gateway, "/ip", &[]), 3, "this node counts alone");
}
