//! Cross-origin requests with an allow-list: whom it lets in, and every way to look like one of
//! them.

use crate::support::{Answer, Gateway, Origin};

const GOOD: &str = "https://app.example";

const EVIL: [&str; 20] = [
    "null",
    "https://evil.app.example",
    "https://app.example.evil.test",
    "https://evilapp.example",
    "https://app.exampleevil",
    "http://app.example",
    "https://app.example:444",
    "https://app.example:443",
    "https://app.example/",
    "https://APP.example",
    "https://app.example.",
    "https://app.example,https://evil.test",
    "https://app.example https://evil.test",
    "https://evil.test?https://app.example",
    "https://app.example@evil.test",
    "https://app.example%00.evil.test",
    "https://app.example\\.evil.test",
    "app.example",
    "*",
    "file://",
];

fn stand() -> (Origin, Gateway) {
    // A service that lets everyone in, which the gateway must not repeat.
    let origin = Origin::with(|_, peer| {
        let loose = "access-control-allow-origin: *\r\naccess-control-allow-credentials: true\r\nvary: Accept\r\n";
        peer.answer(200, loose, "");
        true
    });
    let gateway = Gateway::builder()
        .named_slots(origin.url())
        .with(|b| b.allowed_origins = vec![GOOD.to_owned(), "http://localhost:3000".to_owned()])
        .start();
    (origin, gateway)
}

fn preflight(gateway: &Gateway, path: &str, origin: &str) -> Answer {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "apikey, content-type"),
    ];
    gateway.request("OPTIONS", path, &headers, b"")
}

fn varies_by_origin(answer: &Answer) -> bool {
    answer
        .all("vary")
        .iter()
        .any(|value| value.split(',').any(|name| name.trim() == "Origin"))
}

const PATHS: [&str; 6] = [
    "/storage/v1/x",
    "/rest/v1/t",
    "/pg/tables",
    "/api/db/query",
    "/health",
    "/analytics/v1/x",
];

#[test]
fn listed_origins_get_in_with_credentials() {
    let (origin, gateway) = stand();
    let service = gateway.keys.service_role.as_str();
    for path in PATHS {
        let answer = preflight(&gateway, path, GOOD);
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{path}");
        assert_eq!(answer.all("access-control-allow-origin"), [GOOD], "{path}");
        assert_eq!(
            answer.all("access-control-allow-credentials"),
            ["true"],
            "{path}"
        );
        assert_eq!(
            answer.all("access-control-allow-headers"),
            ["apikey, content-type"],
            "{path}"
        );
        assert!(varies_by_origin(&answer), "{path}");
        assert_eq!(
            origin.take().len() + gateway.api.take().len(),
            0,
            "{path}: no service is asked"
        );
        let answer = gateway.get(path, &[("origin", GOOD), ("apikey", service)]);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.all("access-control-allow-origin"), [GOOD], "{path}");
        assert_eq!(
            answer.all("access-control-allow-credentials"),
            ["true"],
            "{path}"
        );
        assert!(varies_by_origin(&answer), "{path}");
        assert_eq!(origin.take().len() + gateway.api.take().len(), 1, "{path}");
    }
    let answer = preflight(&gateway, "/rest/v1/t", "http://localhost:3000");
    assert_eq!(
        answer.all("access-control-allow-origin"),
        ["http://localhost:3000"]
    );
}

#[test]
fn no_other_origin_gets_in_and_no_service_can_let_it() {
    let (_origin, gateway) = stand();
    let service = gateway.keys.service_role.as_str();
    for evil in EVIL {
        for path in PATHS {
            let preflight = preflight(&gateway, path, evil);
            let get = gateway.get(path, &[("origin", evil), ("apikey", service)]);
            for (what, answer) in [("preflight", preflight), ("request", get)] {
                for header in [
                    "access-control-allow-origin",
                    "access-control-allow-credentials",
                ] {
                    assert_eq!(
                        answer.header(header),
                        None,
                        "{what} {path} from {evil}: {header}"
                    );
                }
                assert!(varies_by_origin(&answer), "{what} {path} from {evil}");
            }
        }
    }
}

#[test]
fn requests_of_no_page_are_left_alone() {
    let (_origin, gateway) = stand();
    let answer = gateway.get("/storage/v1/x", &[]);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.all("vary"), ["Accept"]);
}

/// Without a list, public routes are public as the imitated gateway has them; the rest is closed.
#[test]
fn without_a_list_only_public_routes_are_public_and_never_with_credentials() {
    let origin = Origin::echo();
    for (dialect, allowed) in [
        ("envoy", "https://any.example"),
        ("kong2", "*"),
        ("kong3", "*"),
    ] {
        let config = format!("dialect = '{dialect}'");
        let gateway = Gateway::builder()
            .config(&config)
            .named_slots(origin.url())
            .start();
        let service = gateway.keys.service_role.as_str();
        for path in PATHS {
            let answer = gateway.get(
                path,
                &[("origin", "https://any.example"), ("apikey", service)],
            );
            let public = path.starts_with("/storage") || path.starts_with("/rest");
            let expected = public.then_some(allowed);
            assert_eq!(
                answer.header("access-control-allow-origin"),
                expected,
                "{dialect} {path}"
            );
            assert_eq!(
                answer.header("access-control-allow-credentials"),
                None,
                "{dialect} {path}"
            );
        }
    }
}

#[test]
fn a_route_can_leave_it_to_its_service() {
    let origin = Origin::with(|_, peer| {
        peer.answer(204, "access-control-allow-origin: https://its.own\r\n", "");
        true
    });
    let config = format!(
        "[upstreams.own]\nurls = ['{}']\n[[routes]]\nname = 'off'\npath = '/off'\nupstream = 'own'\naccess = 'open'\ncors = 'off'\n",
        origin.url()
    );
    let gateway = Gateway::builder().config(&config).start();
    let answer = preflight(&gateway, "/off", "https://its.own");
    assert_eq!(answer.status, 204);
    assert_eq!(
        answer.all("access-control-allow-origin"),
        ["https://its.own"]
    );
    assert_eq!(origin.only().method, "OPTIONS");
}
