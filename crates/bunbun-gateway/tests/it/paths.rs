//! Paths: every spelling of a path gets the decision of the path itself and is forwarded in its
//! normal form, or is refused.

use crate::support::{Gateway, Origin};

enum Expected {
    /// 400 for everyone.
    Refused,
    /// Whatever this path gets.
    As(&'static str),
}
use Expected::{As, Refused};

const SPELLINGS: &[(&str, Expected)] = &[
    // Other ways to the owner's service.
    ("//pg/tables", As("/pg/tables")),
    ("/pg//tables", As("/pg/tables")),
    ("///pg///tables", As("/pg/tables")),
    ("/./pg/tables", As("/pg/tables")),
    ("/../pg/tables", As("/pg/tables")),
    ("/%70g/tables", As("/pg/tables")),
    ("/%70%67/tables", As("/pg/tables")),
    ("/pg/./tables", As("/pg/tables")),
    ("/pg/x/../tables", As("/pg/tables")),
    ("/rest/v1/../../pg/tables", As("/pg/tables")),
    ("/rest/v1/../../../../pg/tables", As("/pg/tables")),
    ("/rest/v1//..//../pg/tables", As("/pg/tables")),
    ("/rest/v1/%2e%2e/%2e%2e/pg/tables", As("/pg/tables")),
    ("/rest/v1/%2E./.%2e/pg/tables", As("/pg/tables")),
    ("/storage/v1/../../pg/tables", As("/pg/tables")),
    (
        "/storage/v1/object/../../../pg/tables?x=/../rest",
        As("/pg/tables?x=/../rest"),
    ),
    ("/functions/v1/%2e%2e/%2e%2e/pg/tables", As("/pg/tables")),
    (
        "http://gateway.test/rest/v1/../../pg/tables",
        As("/pg/tables"),
    ),
    ("/p/default/pg/tables", As("/pg/tables")),
    ("/p/default/rest/v1/../../pg/tables", As("/pg/tables")),
    ("/pg/?/../rest/v1/todos", As("/pg/?/../rest/v1/todos")),
    ("/pg/tables?", As("/pg/tables?")),
    // Encoded separators never become separators.
    ("/rest/v1/..%2fpg/tables", Refused),
    ("/rest/v1/..%2f..%2fpg/tables", Refused),
    ("/rest/v1/%2e%2e%2f%2e%2e%2fpg/tables", Refused),
    ("/rest/v1/x%2f..%2f..%2fpg", Refused),
    ("/rest/v1/x%2f..", Refused),
    ("/rest/v1/%5c..%5c..%5cpg/tables", Refused),
    ("/rest/v1\\..\\..\\pg\\tables", Refused),
    ("/rest/v1/..\\..\\pg/tables", Refused),
    ("/rest/v1/..;/..;/pg/tables", Refused),
    ("/rest/v1/..;x=1/pg/tables", Refused),
    ("/rest/v1/.;/todos", Refused),
    ("/rest/v1/%2e%2e;/pg/tables", Refused),
    ("/storage/v1/object/a%2fb", As("/storage/v1/object/a%2Fb")),
    ("/rest/v1/todos%3b", As("/rest/v1/todos%3B")),
    // What servers cut at, or read as an end.
    ("/rest/v1/todos%00", Refused),
    ("/pg/tables%00.html", Refused),
    ("/%00/pg/tables", Refused),
    ("/rest/v1/todos%0d%0aEvil:%201", Refused),
    ("/rest/v1/todos%0A", Refused),
    ("/rest/v1/todos%7f", Refused),
    ("/rest/v1/todos%1b", Refused),
    ("/rest/v1/todos#/pg/", Refused),
    ("/rest/v1#/../../pg/tables", Refused),
    ("/rest/v1/todos%23/pg", As("/rest/v1/todos%23/pg")),
    ("/rest/v1/todos%3fx=1", As("/rest/v1/todos%3Fx=1")),
    ("/rest/v1/a%20b", As("/rest/v1/a%20b")),
    // Broken and doubled escapes.
    ("/rest/v1/%", Refused),
    ("/rest/v1/%2", Refused),
    ("/rest/v1/%zz", Refused),
    ("/rest/v1/%u002e%u002e/pg", Refused),
    (
        "/rest/v1/%252e%252e/%252e%252e/pg/tables",
        As("/rest/v1/%252e%252e/%252e%252e/pg/tables"),
    ),
    ("/%2570g/tables", As("/%2570g/tables")),
    ("/rest/v1/%c0%ae%c0%ae/pg", As("/rest/v1/%C0%AE%C0%AE/pg")),
    (
        "/rest/v1/%ef%bc%8e%ef%bc%8e/pg",
        As("/rest/v1/%EF%BC%8E%EF%BC%8E/pg"),
    ),
    ("/rest/v1/\u{e4}", As("/rest/v1/%C3%A4")),
    ("/rest/v1/.../x", As("/rest/v1/.../x")),
    ("/rest/v1/..x/x", As("/rest/v1/..x/x")),
    // Letters count.
    ("/PG/tables", As("/PG/tables")),
    ("/Pg/tables", As("/Pg/tables")),
    ("/REST/V1/todos", As("/REST/V1/todos")),
    ("/pg;x/tables", As("/pg;x/tables")),
    // Open paths open nothing else.
    ("/auth/v1/verify/../admin/users", As("/auth/v1/admin/users")),
    (
        "/auth/v1/verify/%2e%2e/admin/users",
        As("/auth/v1/admin/users"),
    ),
    (
        "/auth/v1/verify//../admin/users",
        As("/auth/v1/admin/users"),
    ),
    (
        "/auth/v1/verify;/../admin/users",
        As("/auth/v1/admin/users"),
    ),
    ("/auth/v1/verify/..;/admin/users", Refused),
    ("/auth/v1/verify%2f..%2fadmin/users", Refused),
    ("/auth/v1/verify%2fadmin", As("/auth/v1/verify%2Fadmin")),
    ("/auth/v1/verify%00/admin", Refused),
    (
        "/auth/v1/.well-known/jwks.json/../../admin/users",
        As("/auth/v1/admin/users"),
    ),
    ("/auth/v1//verify", As("/auth/v1/verify")),
    ("/auth/v1/%76erify?token=1", As("/auth/v1/verify?token=1")),
    ("/realtime/v1/api/./tenants", As("/realtime/v1/api/tenants")),
    ("/realtime/v1//api//tenants", As("/realtime/v1/api/tenants")),
    (
        "/realtime/v1/api/x/../tenants/1",
        As("/realtime/v1/api/tenants/1"),
    ),
    ("/realtime/v1/api/%74enants", As("/realtime/v1/api/tenants")),
    ("/%6dcp", As("/mcp")),
    ("//mcp/", As("/mcp/")),
    ("/api/./mcp", As("/api/mcp")),
    ("/rest/v1/.", As("/rest/v1/")),
    ("/rest/v1/x/..", As("/rest/v1/")),
    ("/rest/v1//", As("/rest/v1/")),
];

struct Decision {
    status: u16,
    body: String,
    forwarded: Vec<String>,
}

fn decide(gateway: &Gateway, origin: &Origin, target: &str, key: Option<&str>) -> Decision {
    let headers: Vec<(&str, &str)> = key.iter().map(|key| ("apikey", *key)).collect();
    let answer = gateway.get(target, &headers);
    let forwarded: Vec<String> = origin.take().into_iter().map(|seen| seen.target).collect();
    let api = gateway.api.take().into_iter().map(|(seen, _)| seen.target);
    Decision {
        status: answer.status,
        body: answer.text().to_owned(),
        forwarded: forwarded.into_iter().chain(api).collect(),
    }
}

#[test]
fn every_spelling_gets_the_decision_of_its_normal_form() {
    let origin = Origin::echo();
    let gateway = Gateway::builder().named_slots(origin.url()).start();
    let keys = [
        None,
        Some(gateway.keys.anon.as_str()),
        Some(gateway.keys.service_role.as_str()),
    ];
    for (spelling, expected) in SPELLINGS {
        for key in keys {
            let got = decide(&gateway, &origin, spelling, key);
            let who = key.map_or("no key", |key| {
                if key == gateway.keys.anon {
                    "anon"
                } else {
                    "service_role"
                }
            });
            match expected {
                Refused => {
                    assert_eq!(got.status, 400, "{spelling} with {who}");
                    assert!(got.forwarded.is_empty(), "{spelling} with {who}");
                }
                As(normal) => {
                    let of_normal = decide(&gateway, &origin, normal, key);
                    assert_eq!(
                        got.status, of_normal.status,
                        "{spelling} with {who}: {}",
                        got.body
                    );
                    assert_eq!(got.forwarded, of_normal.forwarded, "{spelling} with {who}");
                }
            }
        }
    }
}

/// The table above compares with normal forms; these are the decisions of some of them.
#[test]
fn normal_forms_get_what_their_routes_say() {
    let origin = Origin::echo();
    let gateway = Gateway::builder().named_slots(origin.url()).start();
    let anon = Some(gateway.keys.anon.as_str());
    let service = Some(gateway.keys.service_role.as_str());
    for (path, key, status, forwarded) in [
        ("/pg/tables", None, 401, None),
        ("/pg/tables", anon, 403, None),
        ("/pg/tables", service, 200, Some("/meta/tables")),
        (
            "/pg/tables?x=/../rest",
            service,
            200,
            Some("/meta/tables?x=/../rest"),
        ),
        ("/pg", service, 401, None),
        ("/PG/tables", service, 401, None),
        ("/%2570g/tables", service, 401, None),
        ("/pg;x/tables", service, 401, None),
        ("/rest/v1/todos", anon, 200, Some("/rest/todos")),
        ("/rest/v1/a%20b%2f", anon, 200, Some("/rest/a%20b%2F")),
        ("/rest/v1/", anon, 403, None),
        ("/rest/v1", anon, 401, None),
        ("/rest/pg/tables", service, 401, None),
        ("/auth/v1/verify", None, 200, Some("/auth/verify")),
        ("/auth/v1/verify/x", None, 200, Some("/auth/verify/x")),
        ("/auth/v1/verifyX", None, 401, None),
        ("/auth/v1/verifyX", anon, 200, Some("/auth/verifyX")),
        ("/auth/v1/verify%2Fadmin", None, 401, None),
        ("/auth/v1/callbacks", None, 401, None),
        ("/auth/v1/authorize-all", None, 401, None),
        ("/auth/v1/.well-known/jwks.json/x", None, 401, None),
        ("/auth/v1/admin/users", None, 401, None),
        ("/auth/v1/admin/users", anon, 200, Some("/auth/admin/users")),
        ("/realtime/v1/api/tenants", service, 403, None),
        (
            "/realtime/v1/api/tenantsX",
            anon,
            200,
            Some("/realtime/api/tenantsX"),
        ),
        (
            "/storage/v1/object/a%2Fb",
            None,
            200,
            Some("/storage/object/a%2Fb"),
        ),
        ("/p/nobody/rest/v1/todos", anon, 404, None),
        ("/p/default/../pg/tables", service, 404, None),
        ("/p/default/p/default/pg/tables", service, 401, None),
        ("/p/default", service, 401, None),
        ("/p/", service, 404, None),
        ("/p", service, 401, None),
    ] {
        let got = decide(&gateway, &origin, path, key);
        assert_eq!(got.status, status, "{path}: {}", got.body);
        assert_eq!(got.forwarded, Vec::from_iter(forwarded), "{path}");
    }
}

/// A body of bytes that are no UTF-8 in a path, and everything that is printable.
#[test]
fn any_byte_in_a_path_is_answered_with_a_decision() {
    let origin = Origin::echo();
    let gateway = Gateway::builder().named_slots(origin.url()).start();
    for byte in 0..=255_u8 {
        for place in [&b"/storage/v1/a"[..], b"/storage/v1/object?a="] {
            let mut request = b"GET ".to_vec();
            request.extend_from_slice(place);
            request.push(byte);
            request.extend_from_slice(
                b"b HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n",
            );
            let answer = gateway.connect().send(request).answer();
            assert!(
                matches!(answer.status, 200 | 400),
                "{byte:#x}: {}",
                answer.status
            );
            assert!(
                !answer.body.is_empty() && answer.header("x-request-id").is_some(),
                "{byte:#x}"
            );
            let seen = origin.take();
            assert_eq!(seen.len(), usize::from(answer.status == 200), "{byte:#x}");
            let plain = |target: &str| target.bytes().all(|b| b.is_ascii_graphic() || b >= 0x80);
            assert!(
                seen.iter().all(|seen| plain(&seen.target)),
                "{byte:#x}: {seen:?}"
            );
        }
    }
}

#[test]
fn an_upstreams_own_base_path_cannot_be_left() {
    let origin = Origin::echo();
    let gateway = Gateway::builder()
        .slot("storage", format!("{}/base/", origin.url()))
        .start();
    for (path, forwarded) in [
        ("/storage/v1/x", "/base/x"),
        ("/storage/v1/", "/base/"),
        ("/storage/v1/a/../b", "/base/b"),
    ] {
        assert_eq!(gateway.get(path, &[]).status, 200, "{path}");
        assert_eq!(origin.only().target, forwarded, "{path}");
    }
}
