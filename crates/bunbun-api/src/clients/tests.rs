//! Whose credential goes on, and what becomes of services' refusals.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use bunbun_core::{
    Classify as _, Code,
    id::ProjectRef,
    jwt::{self, Verifier},
    project::{KeyRole, OpaqueKey, Project, ProjectKeys},
    secret,
};
use bunbun_http::{RequestContext, RequestId, identity, slots::Shard};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use serde_json::json;

use super::{Error, OnBehalf, error::refused};

const SECRET: &str = "a-secret-of-the-client-tests-0123456789";

fn key(role: &str) -> String {
    jwt::application_key(SECRET, role, 1_795_219_200)
}

fn behalf(headers: &[(&'static str, &str)]) -> OnBehalf {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| {
            let value = HeaderValue::from_str(value).unwrap();
            (HeaderName::from_static(name), value)
        })
        .collect();
    let project = Arc::new(Project {
        reference: ProjectRef::default_project(),
        keys: ProjectKeys {
            anon: key("anon").into(),
            service_role: key("service_role").into(),
            opaque: vec![OpaqueKey {
                digest: secret::digest(b"sb_secret_1"),
                role: KeyRole::ServiceRole,
                token: key("service_role").into(),
            }],
        },
        verifier: Verifier::new(SECRET),
    });
    let context = RequestContext {
        request_id: RequestId::from_client(Some(&HeaderValue::from_static("the-id"))),
        caller: identity::caller(&project, &headers),
        project,
        client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    OnBehalf::new(context, Shard::default(), &headers)
}

fn sent(behalf: &OnBehalf, name: &str) -> String {
    let value = behalf
        .headers
        .get(name)
        .map(|value| value.to_str().unwrap());
    value.unwrap_or_default().to_owned()
}

#[test]
fn the_callers_own_credential_goes_on_and_no_other() {
    let user = jwt::sign_hs256(
        SECRET,
        &json!({ "role": "authenticated", "aud": "authenticated", "sub": "u", "exp": 4_102_444_800_u64 }),
    );
    let bearer = |text: &str| format!("Bearer {text}");
    let (anon, service) = (key("anon"), key("service_role"));
    for (what, headers, expected) in [
        ("nobody", vec![], &anon),
        ("a user", vec![("authorization", bearer(&user))], &user),
        (
            "a user with the application's key",
            vec![
                ("authorization", bearer(&user)),
                ("apikey", service.clone()),
            ],
            &user,
        ),
        (
            "an owner by key",
            vec![("apikey", service.clone())],
            &service,
        ),
        (
            "an owner by an opaque key",
            vec![("authorization", bearer("sb_secret_1"))],
            &service,
        ),
        (
            "a forged token",
            vec![
                ("authorization", bearer("forged")),
                ("apikey", service.clone()),
            ],
            &anon,
        ),
        (
            "an unknown opaque key",
            vec![("apikey", "sb_secret_2".to_owned())],
            &anon,
        ),
    ] {
        let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let behalf = behalf(&headers);
        assert_eq!(sent(&behalf, "authorization"), bearer(expected), "{what}");
        assert_eq!(sent(&behalf, "apikey"), anon, "{what}");
        assert_eq!(sent(&behalf, "x-request-id"), "the-id");
        assert!(!format!("{:?}", behalf.headers).contains("eyJ"), "{what}");
    }
}

#[test]
fn what_the_edge_says_of_the_client_goes_on_and_cookies_do_not() {
    let behalf = behalf(&[
        ("traceparent", "00-1-2-01"),
        ("x-forwarded-for", "10.1.1.1"),
        ("user-agent", "curl"),
        ("cookie", "a=b"),
        ("range", "bytes=0-1"),
    ]);
    assert_eq!(sent(&behalf, "traceparent"), "00-1-2-01");
    assert_eq!(sent(&behalf, "x-forwarded-for"), "10.1.1.1");
    assert_eq!(sent(&behalf, "user-agent"), "curl");
    assert_eq!(sent(&behalf, "cookie"), "");
    assert_eq!(sent(&behalf, "range"), "");
}

#[test]
fn the_base_url_is_the_configured_one_or_the_requests() {
    let none = behalf(&[]);
    assert_eq!(none.base_url(None), "");
    let asked = behalf(&[
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "api.example.com:8443"),
    ]);
    assert_eq!(asked.base_url(None), "https://api.example.com:8443");
    let configured = "https://bunbun.example.com/".parse().unwrap();
    assert_eq!(
        asked.base_url(Some(&configured)),
        "https://bunbun.example.com"
    );
    let odd = behalf(&[
        ("x-forwarded-proto", "javascript"),
        ("x-forwarded-host", "a/b"),
    ]);
    assert_eq!(odd.base_url(None), "");
}

fn refusal(service: &'static str, status: u16, body: &str) -> Error {
    let (parts, ()) = Response::builder()
        .status(status)
        .header("retry-after", "7")
        .body(())
        .unwrap()
        .into_parts();
    refused(service, &parts, body.as_bytes())
}

#[rustfmt::skip]
const REFUSALS: &[(&str, u16, &str, Code)] = &[
    ("auth", 400, r#"{"code":400,"error_code":"invalid_credentials","msg":"no"}"#, Code::InvalidCredentials),
    ("auth", 400, r#"{"code":"invalid_credentials","message":"no"}"#, Code::InvalidCredentials),
    ("auth", 400, r#"{"error":"invalid_grant","error_description":"no"}"#, Code::InvalidCredentials),
    ("auth", 422, r#"{"code":"user_already_exists","message":"no"}"#, Code::UserExists),
    ("auth", 400, r#"{"code":"refresh_token_already_used","message":"no"}"#, Code::InvalidRefreshToken),
    ("auth", 403, r#"{"code":"session_not_found","message":"no"}"#, Code::SessionNotFound),
    ("auth", 429, r#"{"code":"over_request_rate_limit","message":"no"}"#, Code::RateLimited),
    ("auth", 404, r#"{"code":"user_not_found","message":"no"}"#, Code::UserNotFound),
    ("auth", 422, r#"{"code":"something_new","message":"no"}"#, Code::ValidationFailed),
    ("auth", 401, r#"{"message":"no"}"#, Code::Unauthorized),
    ("storage", 400, r#"{"statusCode":"404","code":"NoSuchKey","error":"not_found","message":"no"}"#, Code::ObjectNotFound),
    ("storage", 400, r#"{"statusCode":"404","error":"not_found","message":"Bucket not found"}"#, Code::BucketNotFound),
    ("storage", 400, r#"{"statusCode":"404","error":"not_found","message":"no"}"#, Code::ObjectNotFound),
    ("storage", 400, r#"{"statusCode":409,"error":"Duplicate","message":"no"}"#, Code::ObjectExists),
    ("storage", 400, r#"{"statusCode":"413","error":"Payload too large","message":"no"}"#, Code::TooLarge),
    ("storage", 400, r#"{"statusCode":"403","error":"Unauthorized","message":"no"}"#, Code::Forbidden),
    ("storage", 400, r#"{"statusCode":"415","error":"invalid_mime_type","message":"no"}"#, Code::MediaTypeNotAllowed),
    ("storage", 400, r#"{"statusCode":"200","message":"no"}"#, Code::InvalidRequest),
    ("storage", 400, r#"{"statusCode":"99999","message":"no"}"#, Code::InvalidRequest),
    ("storage", 416, r#"{"message":"no"}"#, Code::RangeNotSatisfiable),
];

#[test]
fn every_shape_of_a_refusal_gets_its_code() {
    for (service, status, body, code) in REFUSALS {
        let error = refusal(service, *status, body);
        assert_eq!(error.code(), *code, "{service} {status} {body}");
        assert_eq!(error.retry_after().unwrap().as_secs(), 7);
        assert_eq!(
            error.public_message().as_deref(),
            Some("no")
                .filter(|_| !body.contains("Bucket"))
                .or(Some("Bucket not found")),
            "{body}"
        );
    }
}

#[test]
fn a_full_disk_is_told_as_what_it_is() {
    let body = r#"{"statusCode":"507","code":"InternalError","message":"no room in /srv"}"#;
    let error = refusal("storage", 507, body);
    assert_eq!(error.code(), Code::StorageFull);
    let message = error.public_message().unwrap();
    assert!(message.contains("No space is left") && !message.contains("/srv"));
}

#[test]
fn a_services_own_faults_are_not_told() {
    let cases = [
        (
            "auth",
            500,
            json!({ "code": "unexpected_failure", "message": "connect to 10.1.2.3" }),
        ),
        ("auth", 502, json!("<html>")),
        (
            "storage",
            400,
            json!({ "statusCode": "500", "error": "Internal", "message": "select * from storage.objects" }),
        ),
        ("storage", 544, json!({ "message": "10.1.2.3" })),
    ];
    for (service, status, body) in cases {
        let error = refusal(service, status, &body.to_string());
        assert_eq!(error.code(), Code::UpstreamError, "{body}");
        assert_eq!(error.public_message(), None, "{body}");
    }
    let unreadable = refusal("auth", 500, "\u{0}<html>");
    assert_eq!(unreadable.code(), Code::UpstreamError);
}

#[test]
fn a_sentence_of_a_service_is_one_bounded_line() {
    let body = json!({ "code": "weak_password", "message": format!("a\nb{}", "x".repeat(9000)),
        "weak_password": { "reasons": ["length"] } });
    let error = refusal("auth", 422, &body.to_string());
    let message = error.public_message().unwrap();
    assert!(
        message.len() <= 500 && message.starts_with("a b"),
        "{message}"
    );
    let details = error.details().unwrap();
    assert_eq!(details["reasons"], json!(["length"]));
    assert_eq!(details["service_code"], "weak_password");
}
