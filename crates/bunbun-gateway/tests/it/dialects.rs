//! The three dialects, cell by cell: status, body, media type and headers of every answer that the
//! gateway makes itself, as Kong 2.8.1, Kong 3.9 and Envoy 0.8.0's profile give them.

use std::{io, net::SocketAddr, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use bunbun_core::secret;

use bunbun_gateway::upstream::{Resolve, SystemResolver};
use futures_util::future::BoxFuture;

use crate::support::{Answer, BASIC, Gateway, Origin};

const DIALECTS: [&str; 3] = ["kong2", "kong3", "envoy"];

/// A gateway of one dialect with everything that can fail behind it.
struct Stand {
    dialect: &'static str,
    gateway: Gateway,
    origin: Origin,
    _silent: Origin,
    _cut: Origin,
}

fn stand(dialect: &'static str) -> Stand {
    stand_for(dialect, &[])
}

fn stand_for(dialect: &'static str, allowed_origins: &[&str]) -> Stand {
    let origin = Origin::echo();
    let silent = Origin::with(|_, peer| {
        peer.read_more();
        false
    });
    let cut = Origin::with(|_, peer| {
        peer.send("NONSENSE\r\n\r\n");
        false
    });
    // A port that nobody listens on any more.
    let refused = Origin::echo();
    refused.stop();
    let config = format!(
        "dialect = '{dialect}'
         [upstreams.silent]\nurls = ['{}']\n[upstreams.cut]\nurls = ['{}']\n[upstreams.refused]\nurls = ['{}']
         [upstreams.nameless]\nurls = ['http://no-such-name.test']
         [[routes]]\nname = 'silent'\npath = '/silent'\nupstream = 'silent'\naccess = 'open'\nfirst_byte_timeout = '50ms'
         [[routes]]\nname = 'cut'\npath = '/cut'\nupstream = 'cut'\naccess = 'open'
         [[routes]]\nname = 'refused'\npath = '/refused'\nupstream = 'refused'\naccess = 'open'
         [[routes]]\nname = 'nameless'\npath = '/nameless'\nupstream = 'nameless'\naccess = 'open'
         [[routes]]\nname = 'denied'\npath = '/denied'\nrespond = {{ status = 200 }}\naccess = 'open'\ndeny_ips = ['127.0.0.1/32']
         [[routes]]\nname = 'limited'\npath = '/limited'\nrespond = {{ status = 200 }}\naccess = 'open'\nrate_limit = 'one'
         [[routes]]\nname = 'small'\npath = '/small'\nupstream = 'cut'\naccess = 'open'\nmax_body_bytes = 3
         [[routes]]\nname = 'user'\npath = '/user'\nrespond = {{ status = 200 }}\naccess = 'user'
         [[routes]]\nname = 'studio'\npath = '/studio'\nslot = 'studio'\naccess = 'basic'\nkeep_path = true
         [rate_limits.one]\nlimit = 1\nwindow = '1h'\n",
        silent.url(),
        cut.url(),
        refused.url(),
    );
    let gateway = Gateway::builder()
        .config(&config)
        .all_slots(origin.url())
        .with(|b| {
            b.allowed_origins = allowed_origins
                .iter()
                .map(|&text| text.to_owned())
                .collect();
            b.resolver = Some(Arc::new(Nameless));
        })
        .start();
    Stand {
        dialect,
        gateway,
        origin,
        _silent: silent,
        _cut: cut,
    }
}

/// Knows addresses, but no names.
struct Nameless;

impl Resolve for Nameless {
    fn resolve<'r>(
        &'r self,
        host: &'r str,
        port: u16,
    ) -> BoxFuture<'r, io::Result<Vec<SocketAddr>>> {
        if host.ends_with(".test") {
            return Box::pin(async { Err(io::Error::other("no such name")) });
        }
        SystemResolver.resolve(host, port)
    }
}

/// A body as a dialect writes it.
#[derive(Debug, Clone, Copy)]
enum Body {
    /// Kong's JSON over three or four lines.
    Json(&'static str),
    /// Kong's JSON on one line.
    Compact(&'static str),
    /// A line of text; Envoy's without its end.
    Text(&'static str),
}
use Body::{Compact, Json, Text};

type Cell = (u16, Body, Option<&'static str>);

impl Stand {
    #[track_caller]
    fn check(&self, what: &str, answer: &Answer, cell: Cell) {
        let what = format!("{}: {what}", self.dialect);
        let (status, body, challenge) = cell;
        let id = answer.request_id();
        let three = self.dialect == "kong3";
        let (text, media) = match (body, self.dialect) {
            (Text(text), "envoy") => (text.to_owned(), "text/plain"),
            (Text(text), _) if three => (
                format!("{text}\nrequest_id: {id}\n"),
                "text/plain; charset=utf-8",
            ),
            (Text(text), _) => (format!("{text}\n"), "text/plain; charset=utf-8"),
            (Json(text), _) if three => (
                format!("{{\n  \"message\":\"{text}\",\n  \"request_id\":\"{id}\"\n}}"),
                "application/json; charset=utf-8",
            ),
            (Json(text), _) => (
                format!("{{\n  \"message\":\"{text}\"\n}}"),
                "application/json; charset=utf-8",
            ),
            (Compact(text), _) if three => (
                format!("{{\"message\":\"{text}\",\"request_id\":\"{id}\"}}"),
                "application/json; charset=utf-8",
            ),
            (Compact(text), _) => (
                format!("{{\"message\":\"{text}\"}}"),
                "application/json; charset=utf-8",
            ),
        };
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert_eq!(answer.text(), text, "{what}");
        let media = (!text.is_empty()).then_some(media);
        assert_eq!(answer.header("content-type"), media, "{what}");
        assert_eq!(answer.header("www-authenticate"), challenge, "{what}");
        self.check_generated(&what, answer);
    }

    #[track_caller]
    fn check_generated(&self, what: &str, answer: &Answer) {
        let kong = self.dialect != "envoy";
        let server = match self.dialect {
            "kong2" => "kong/2.8.1",
            "kong3" => "kong/3.9.3",
            _ => "envoy",
        };
        assert_eq!(answer.all("server"), [server], "{what}");
        assert_eq!(
            answer.header("x-kong-response-latency").is_some(),
            kong,
            "{what}"
        );
        let id = (self.dialect == "kong3").then(|| answer.request_id());
        assert_eq!(answer.header("x-kong-request-id"), id, "{what}");
        for proxied in [
            "via",
            "x-kong-upstream-latency",
            "x-kong-proxy-latency",
            "x-envoy-upstream-service-time",
        ] {
            assert_eq!(answer.header(proxied), None, "{what}: {proxied}");
        }
    }
}

fn basic(user: &str, password: &str) -> String {
    format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("{user}:{password}"))
    )
}

/// One line of the reference's table: a request, and its cell for each dialect.
struct Line {
    what: &'static str,
    ask: fn(&Gateway) -> Answer,
    cells: [Cell; 3],
}

const UNAUTHORIZED: Cell = (401, Text("Unauthorized"), None);
const RBAC: Cell = (403, Text("RBAC: access denied"), None);
const REALM: Option<&str> = Some("Basic realm=\"http://gateway.test/studio/x\"");

#[rustfmt::skip]
const LINES: &[Line] = &[
    Line {
        what: "no key",
        ask: |g| g.get("/rest/v1/t", &[]),
        cells: [
            (401, Json("No API key found in request"), Some("Key realm=\"kong\"")),
            (401, Json("No API key found in request"), Some("Key")),
            UNAUTHORIZED,
        ],
    },
    Line {
        what: "wrong key",
        ask: |g| g.get("/rest/v1/t", &[("apikey", "wrong")]),
        cells: [
            (401, Json("Invalid authentication credentials"), None),
            (401, Json("Unauthorized"), Some("Key")),
            UNAUTHORIZED,
        ],
    },
    Line {
        what: "unknown opaque key in the query",
        ask: |g| g.get("/realtime/v1/websocket?apikey=sb_publishable_x", &[]),
        cells: [
            (401, Json("Invalid authentication credentials"), None),
            (401, Json("Unauthorized"), Some("Key")),
            UNAUTHORIZED,
        ],
    },
    Line {
        what: "two keys in headers",
        ask: |g| {
            g.get(
                "/rest/v1/t",
                &[("apikey", &g.keys.anon), ("apikey", &g.keys.anon)],
            )
        },
        cells: [
            (401, Json("Duplicate API key found"), None),
            (401, Json("Duplicate API key found"), None),
            UNAUTHORIZED,
        ],
    },
    Line {
        what: "two keys in the query",
        ask: |g| g.get("/rest/v1/t?apikey=a&apikey=b", &[]),
        cells: [
            (401, Json("Duplicate API key found"), None),
            (401, Json("Duplicate API key found"), None),
            UNAUTHORIZED,
        ],
    },
    Line {
        what: "the anon key where the owner's is needed",
        ask: |g| g.get("/pg/tables", &[("apikey", &g.keys.anon)]),
        cells: [
            (403, Json("You cannot consume this service"), None),
            (403, Json("You cannot consume this service"), None),
            RBAC,
        ],
    },
    Line {
        what: "a closed route",
        ask: |g| g.get("/mcp", &[("apikey", &g.keys.service_role)]),
        cells: [
            (403, Json("Access is forbidden."), None),
            (403, Json("Access is forbidden."), None),
            RBAC,
        ],
    },
    Line {
        what: "no route",
        ask: |g| g.get("/nowhere", &[]),
        cells: [
            (404, Compact("no Route matched with those values"), None),
            (404, Compact("no Route matched with those values"), None),
            (404, Text(""), None),
        ],
    },
    Line {
        what: "no route, for a browser",
        ask: |g| g.get("/nowhere", &[("accept", "text/html")]),
        cells: [
            (404, Compact("no Route matched with those values"), None),
            (404, Compact("no Route matched with those values"), None),
            (404, Text(""), None),
        ],
    },
    Line {
        what: "dashboard without credentials",
        ask: |g| g.get("/studio/x?secret=1", &[]),
        cells: [
            (401, Json("Unauthorized"), Some("Basic realm=\"kong\"")),
            (401, Json("Unauthorized"), Some("Basic realm=\"service\"")),
            (401, Text("User authentication failed. Missing username and password."), REALM),
        ],
    },
    Line {
        what: "dashboard with a wrong password",
        ask: |g| g.get("/studio/x", &[("authorization", &basic(BASIC.0, "wrong"))]),
        cells: [
            (401, Json("Invalid authentication credentials"), None),
            (401, Json("Unauthorized"), Some("Basic realm=\"service\"")),
            (401, Text("User authentication failed. Invalid username/password combination."), REALM),
        ],
    },
    Line {
        what: "a user's route without a user",
        ask: |g| g.get("/user", &[("apikey", &g.keys.anon)]),
        cells: [
            (401, Json("Invalid authentication credentials"), None),
            (401, Json("Unauthorized"), Some("Key")),
            UNAUTHORIZED,
        ],
    },
    Line {
        what: "a denied address",
        ask: |g| g.get("/denied", &[]),
        cells: [
            (403, Json("Your IP address is not allowed"), None),
            (403, Json("Your IP address is not allowed"), None),
            RBAC,
        ],
    },
    Line {
        what: "a used-up rate limit",
        ask: |g| {
            assert_eq!(g.get("/limited", &[]).status, 200);
            g.get("/limited", &[])
        },
        cells: [
            (429, Json("API rate limit exceeded"), None),
            (429, Json("API rate limit exceeded"), None),
            (429, Text("local_rate_limited"), None),
        ],
    },
    Line {
        what: "upstream refuses",
        ask: |g| g.get("/refused", &[("accept", "*/*")]),
        cells: [
            (502, Json("An invalid response was received from the upstream server"), None),
            (502, Json("An invalid response was received from the upstream server"), None),
            (503, Text("upstream connect error or disconnect/reset before headers. reset reason: connection failure"), None),
        ],
    },
    Line {
        what: "upstream sends no HTTP, to a client that accepts anything",
        ask: |g| g.get("/cut", &[]),
        cells: [
            (502, Text("An invalid response was received from the upstream server"), None),
            (502, Text("An invalid response was received from the upstream server"), None),
            (502, Text("upstream connect error or disconnect/reset before headers. reset reason: protocol error"), None),
        ],
    },
    Line {
        what: "upstream is silent",
        ask: |g| g.get("/silent", &[("accept", "application/json")]),
        cells: [
            (504, Json("The upstream server is timing out"), None),
            (504, Json("The upstream server is timing out"), None),
            (504, Text("upstream request timeout"), None),
        ],
    },
    Line {
        what: "upstream's name does not resolve",
        ask: |g| g.get("/nameless", &[]),
        cells: [
            (503, Json("name resolution failed"), None),
            (503, Json("name resolution failed"), None),
            (503, Text("no healthy upstream"), None),
        ],
    },
    Line {
        what: "too large a body",
        ask: |g| g.request("POST", "/small", &[], b"hello"),
        cells: [
            (413, Text("Payload too large"), None),
            (413, Text("Payload too large"), None),
            (413, Text("Payload Too Large"), None),
        ],
    },
    Line {
        what: "too large a head",
        ask: |g| {
            let long = "x".repeat(70_000);
            g.connect()
                .send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"))
                .answer()
        },
        cells: [
            (494, Text("Request header or cookie too large"), None),
            (400, Text("Request header or cookie too large"), None),
            (431, Text("Request Header Fields Too Large"), None),
        ],
    },
    Line {
        what: "an ambiguous request",
        ask: |g| g.get("/rest/v1/..%2f", &[]),
        cells: [
            (400, Text("Bad request"), None),
            (400, Text("Bad request"), None),
            (400, Text("Bad Request"), None),
        ],
    },
];

#[test]
fn every_cell_of_the_table_is_as_the_original_has_it() {
    for (column, dialect) in DIALECTS.into_iter().enumerate() {
        let stand = stand(dialect);
        for line in LINES {
            stand.check(line.what, &(line.ask)(&stand.gateway), line.cells[column]);
        }
        assert_eq!(stand.origin.take().len(), 0, "{dialect}");
    }
}

#[test]
fn kongs_errors_come_as_the_client_likes_them() {
    const MESSAGE: &str = "No API key found in request";
    for dialect in ["kong2", "kong3"] {
        let stand = stand(dialect);
        let three = dialect == "kong3";
        for (headers, media) in [
            (vec![], "application/json"),
            (vec![("accept", "*/*")], "application/json"),
            (vec![("accept", "application/json")], "application/json"),
            (vec![("accept", "application/*")], "application/json"),
            (vec![("accept", "image/png")], "application/json"),
            (vec![("accept", "nonsense")], "application/json"),
            (vec![("accept", "")], "application/json"),
            (vec![("accept", "text/html")], "text/html"),
            (
                vec![(
                    "accept",
                    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                )],
                "text/html",
            ),
            (
                vec![("accept", "application/json, text/html")],
                "application/json",
            ),
            (
                vec![("accept", "text/html;q=0.5, application/xml;q=0.7")],
                "application/xml",
            ),
            (vec![("accept", "application/xml")], "application/xml"),
            (vec![("accept", "text/plain")], "text/plain"),
            (vec![("accept", "text/*")], "text/plain"),
            (vec![("content-type", "text/plain")], "text/plain"),
            (
                vec![
                    ("content-type", "application/json"),
                    ("accept", "text/html"),
                ],
                "text/html",
            ),
        ] {
            let answer = stand.gateway.get("/rest/v1/t", &headers);
            let what = format!("{dialect} {headers:?}");
            assert_eq!(answer.status, 401, "{what}");
            let expected = format!("{media}; charset=utf-8");
            assert_eq!(
                answer.header("content-type"),
                Some(expected.as_str()),
                "{what}"
            );
            let id = answer.request_id();
            let of_three = |text: String| if three { text } else { String::new() };
            let body = match media {
                "text/html" => format!(
                    "<!doctype html>\n<html>\n  <head>\n    <meta charset=\"utf-8\">\n    <title>Kong Error</title>\n  </head>\n  <body>\n    <h1>Kong Error</h1>\n    <p>{MESSAGE}.</p>{}\n  </body>\n</html>\n",
                    of_three(format!("\n    <p>request_id: {id}</p>"))
                ),
                "application/xml" => format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>\n  <message>{MESSAGE}</message>{}\n</error>",
                    of_three(format!("\n  <requestid>{id}</requestid>"))
                ),
                "text/plain" => format!("{MESSAGE}\n{}", of_three(format!("request_id: {id}\n"))),
                _ => format!(
                    "{{\n  \"message\":\"{MESSAGE}\"{}\n}}",
                    of_three(format!(",\n  \"request_id\":\"{id}\""))
                ),
            };
            assert_eq!(answer.text(), body, "{what}");
        }
    }
}

const PREFLIGHT: [(&str, &str); 3] = [
    ("origin", "https://app.example"),
    ("access-control-request-method", "PATCH"),
    ("access-control-request-headers", "apikey,x-client-info"),
];

#[test]
fn preflights_are_answered_as_the_dialect_does() {
    for dialect in DIALECTS {
        let stand = stand(dialect);
        let envoy = dialect == "envoy";
        for path in [
            "/rest/v1/t",
            "/auth/v1/token",
            "/storage/v1/x",
            "/functions/v1/x",
            "/realtime/v1/x",
            "/graphql/v1",
        ] {
            let answer = stand.gateway.request("OPTIONS", path, &PREFLIGHT, b"");
            let what = format!("{dialect} {path}");
            assert_eq!((answer.status, answer.body.len()), (200, 0), "{what}");
            let origin = if envoy { "https://app.example" } else { "*" };
            assert_eq!(
                answer.all("access-control-allow-origin"),
                [origin],
                "{what}"
            );
            let methods = "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT";
            assert_eq!(
                answer.all("access-control-allow-methods"),
                [methods],
                "{what}"
            );
            assert_eq!(
                answer.all("access-control-allow-headers"),
                ["apikey,x-client-info"],
                "{what}"
            );
            assert_eq!(
                answer.header("access-control-max-age"),
                envoy.then_some("3600"),
                "{what}"
            );
            assert_eq!(
                answer.header("access-control-expose-headers"),
                envoy.then_some("*"),
                "{what}"
            );
            assert_eq!(
                answer.header("access-control-allow-credentials"),
                None,
                "{what}"
            );
            assert_eq!(answer.header("vary"), envoy.then_some("Origin"), "{what}");
        }
        // The owner's service has no such rules: 401 as every request without a key.
        let answer = stand
            .gateway
            .request("OPTIONS", "/pg/tables", &PREFLIGHT, b"");
        assert_eq!(answer.status, 401, "{dialect}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            None,
            "{dialect}"
        );
        // No preflight without what it asks for.
        let answer = stand
            .gateway
            .request("OPTIONS", "/rest/v1/t", &PREFLIGHT[..1], b"");
        assert_eq!(answer.status, 401, "{dialect}");
        assert_eq!(stand.origin.take().len(), 0, "{dialect}");

        let listed = stand_for(dialect, &["https://app.example"]);
        let answer = listed
            .gateway
            .request("OPTIONS", "/pg/tables", &PREFLIGHT, b"");
        assert_eq!(answer.status, 200, "{dialect}");
        let other = [
            ("origin", "https://evil.example"),
            PREFLIGHT[1],
            PREFLIGHT[2],
        ];
        let answer = listed.gateway.request("OPTIONS", "/pg/tables", &other, b"");
        assert_eq!(answer.status, 401, "{dialect}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            None,
            "{dialect}"
        );
    }
}

#[test]
fn refusals_can_be_read_by_the_pages_that_asked() {
    for dialect in DIALECTS {
        let stand = stand(dialect);
        let answer = stand.gateway.get("/rest/v1/t", &PREFLIGHT[..1]);
        assert_eq!(answer.status, 401, "{dialect}");
        let origin = if dialect == "envoy" {
            "https://app.example"
        } else {
            "*"
        };
        assert_eq!(
            answer.all("access-control-allow-origin"),
            [origin],
            "{dialect}"
        );
    }
}

#[test]
fn proxied_answers_are_marked_as_the_dialect_does() {
    for dialect in DIALECTS {
        let stand = stand(dialect);
        let answer = stand.gateway.get("/storage/v1/x", &[]);
        let id = answer.request_id();
        assert_eq!(answer.status, 200, "{dialect}");
        let number = |name: &str| {
            answer
                .header(name)
                .map(|text| text.parse::<u64>().expect("milliseconds"))
        };
        let kong = dialect != "envoy";
        assert_eq!(
            number("x-kong-upstream-latency").is_some(),
            kong,
            "{dialect}"
        );
        assert_eq!(number("x-kong-proxy-latency").is_some(), kong, "{dialect}");
        assert_eq!(
            number("x-envoy-upstream-service-time").is_some(),
            !kong,
            "{dialect}"
        );
        assert_eq!(answer.header("x-kong-response-latency"), None, "{dialect}");
        let (via, server) = match dialect {
            "kong2" => (Some("kong/2.8.1"), "origin/1"),
            "kong3" => (Some("1.1 kong/3.9.3"), "origin/1"),
            _ => (None, "envoy"),
        };
        assert_eq!(answer.all("via"), Vec::from_iter(via), "{dialect}");
        assert_eq!(answer.all("server"), [server], "{dialect}");
        let three = dialect == "kong3";
        assert_eq!(
            answer.header("x-kong-request-id"),
            three.then_some(id),
            "{dialect}"
        );
        let seen = stand.origin.only();
        assert_eq!(
            seen.header("x-kong-request-id"),
            three.then_some(id),
            "{dialect}"
        );
        // An own service's answers are nobody else's.
        let own = stand.gateway.get("/health", &[]);
        for foreign in [
            "server",
            "via",
            "x-kong-upstream-latency",
            "x-envoy-upstream-service-time",
        ] {
            assert_eq!(own.header(foreign), None, "{dialect}: {foreign}");
        }
    }
}

#[test]
fn what_differs_between_dialects_in_access_differs() {
    for (dialect, rest_root, unknown_function_key) in [
        ("kong2", 200, 200),
        ("kong3", 200, 200),
        ("envoy", 403, 401),
    ] {
        let stand = stand(dialect);
        let anon = stand.gateway.keys.anon.as_str();
        assert_eq!(
            stand.gateway.get("/rest/v1/", &[("apikey", anon)]).status,
            rest_root,
            "{dialect}"
        );
        let unknown = format!("sb_secret_{}", secret::random_text(20));
        let answer = stand
            .gateway
            .get("/functions/v1/f", &[("apikey", &unknown)]);
        assert_eq!(answer.status, unknown_function_key, "{dialect}");
    }
}

/// The realm is a quoted string that the client chose.
#[test]
fn a_realm_cannot_be_broken_out_of() {
    let stand = stand("envoy");
    let answer = stand.gateway.get("/studio/a\",%20evil=\"1", &[]);
    let challenge = answer.header("www-authenticate").expect("a challenge");
    let inner = challenge
        .strip_prefix("Basic realm=\"")
        .and_then(|rest| rest.strip_suffix('"'));
    assert!(
        inner.is_some_and(|inner| !inner.contains('"')),
        "{challenge}"
    );
}
