//! Tables over every operation of the document: who is kept out, and what is declared.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use crate::api::{self, Api, Reply};

/// Operations that need no credential. This list should only ever shrink.
const OPEN: &[&str] = &[
    "GET /api/docs",
    "GET /api/docs/",
    "GET /api/docs/{file}",
    "GET /api/health",
    "GET /api/health/services",
    "GET /api/openapi.json",
    "GET /health",
    "GET /livez",
    "GET /readyz",
    "POST /api/auth/refresh",
    "POST /api/auth/signin",
    "POST /api/auth/signup",
];

/// Operations for users only. The same holds.
const USERS: &[&str] = &["GET /api/auth/user", "POST /api/auth/signout"];

/// Operations for users and the project's owner alike; row-level security tells them apart.
const USERS_AND_OWNER: &[&str] = &[
    "DELETE /api/storage/delete/{bucket}/{path}",
    "GET /api/storage/download/{bucket}/{path}",
    "GET /api/storage/list/{bucket}",
    "POST /api/storage/sign/{bucket}/{path}",
    "POST /api/storage/upload",
];

struct Operation<'d> {
    method: Method,
    template: &'d str,
    body: &'d Value,
}

impl Operation<'_> {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.template)
    }

    fn is_open(&self) -> bool {
        OPEN.contains(&self.name().as_str())
    }

    fn is_for(&self, list: &[&str]) -> bool {
        list.contains(&self.name().as_str())
    }

    fn lets_users_in(&self) -> bool {
        self.is_for(USERS) || self.is_for(USERS_AND_OWNER)
    }

    /// Whether the document says that a scheme is enough.
    fn says(&self, scheme: &str) -> bool {
        let list = self.body["security"].as_array();
        list.is_some_and(|list| list.iter().any(|item| item[scheme].is_array()))
    }

    async fn send(&self, api: &Api, token: Option<&str>) -> Reply {
        let id = "01935f3c-0000-7000-8000-000000000000";
        let path = self
            .template
            .replace("{file}", "swagger-ui.css")
            .replace("{bucket}", "photos")
            .replace("{path}", "2026/cat.png")
            .replace("{database_type}", "redis")
            .replace("{database}", "shop")
            .replace("{collection}", "orders")
            .replace("{name}", "customer_1")
            .replace("{action}", "find")
            .replace("{ref}", "default")
            .replace("{id}", id)
            .replace("{schema}", "public")
            .replace("{table}", "todos")
            .replace("{key}", "1")
            .replace("{pid}", "1");
        assert!(
            !path.contains('{'),
            "{} has a parameter without a sample",
            self.name()
        );
        let mut call = api.call(self.method.clone(), &path);
        if let Some(token) = token {
            call = call.bearer(token);
        }
        if self.body["requestBody"].is_object() {
            call = call.json(&json!({}));
        }
        call.send().await
    }
}

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let mut found = Vec::new();
    for (template, item) in document["paths"].as_object().expect("paths") {
        for (method, body) in item.as_object().expect("operations") {
            let method = method.to_uppercase().parse().expect("a method");
            found.push(Operation {
                method,
                template,
                body,
            });
        }
    }
    found
}

/// Tokens that are not valid here, each for another reason.
fn invalid_tokens() -> Vec<(&'static str, String)> {
    let later = 4_102_444_800;
    let unsigned = "eyJhbGciOiJub25lIn0.eyJyb2xlIjoic2VydmljZV9yb2xlIiwiZXhwIjo0MTAyNDQ0ODAwfQ.";
    let string_expiry = bunbun_core::jwt::sign_hs256(
        api::SECRET,
        &json!({ "role": "service_role", "exp": "4102444800" }),
    );
    let no_role = bunbun_core::jwt::sign_hs256(api::SECRET, &json!({ "exp": later }));
    vec![
        ("garbage", "garbage".to_owned()),
        (
            "another project's",
            api::token(
                "another-project-s-secret-0123456789ab",
                "service_role",
                later,
            ),
        ),
        (
            "expired",
            api::token(api::SECRET, "service_role", 1_600_000_000),
        ),
        ("unsigned", unsigned.to_owned()),
        ("string exp", string_expiry),
        ("without a role", no_role),
        ("unknown opaque key", "sb_secret_unknown".to_owned()),
        ("huge", "x".repeat(20_000)),
    ]
}

#[tokio::test]
async fn every_operation_keeps_out_whoever_it_is_not_for() {
    let api = Api::without_database();
    let document = api.document.clone();
    let user = api::token(api::SECRET, "authenticated", 4_102_444_800);
    let mut bodies = BTreeSet::new();
    for operation in operations(&document)
        .iter()
        .filter(|operation| !operation.is_open())
    {
        let name = operation.name();
        let reply = operation.send(&api, None).await;
        assert_eq!(reply.status, 401, "{name} anonymous");
        assert_eq!(reply.header("www-authenticate"), "Bearer", "{name}");
        bodies.insert(reply.text().to_owned());
        for (what, token) in invalid_tokens() {
            let reply = operation.send(&api, Some(&token)).await;
            assert_eq!(reply.status, 401, "{name} with a token that is {what}");
            bodies.insert(reply.text().to_owned());
        }
        let (users, owner) = (operation.lets_users_in(), !operation.is_for(USERS));
        assert_eq!(operation.says("user"), users, "{name} says who may");
        assert_eq!(operation.says("bearer"), owner, "{name} says who may");
        assert_eq!(operation.says("apikey"), owner, "{name} says who may");
        for (token, may) in [
            (&*api::anon_key(), false),
            (&*user, users),
            (&*api::service_key(), owner),
            (api::OPAQUE, owner),
        ] {
            let reply = operation.send(&api, Some(token)).await;
            if may {
                let status = reply.status;
                assert!(status != 401 && status != 403, "{name}: {status}");
            } else {
                assert_eq!(reply.error(), (403, "FORBIDDEN".to_owned()), "{name}");
            }
        }
    }
    assert_eq!(
        bodies.len(),
        1,
        "every 401 has one and the same body: {bodies:?}"
    );
}

#[tokio::test]
async fn open_operations_let_everyone_in_and_say_so() {
    let api = Api::without_database();
    let document = api.document.clone();
    let mut open = BTreeSet::new();
    for operation in operations(&document) {
        let security = operation.body["security"].as_array();
        let says_open = security.is_none_or(|list| list.contains(&json!({})));
        assert_eq!(says_open, operation.is_open(), "{}", operation.name());
        if operation.is_open() {
            let status = operation.send(&api, None).await.status;
            assert!(
                status != 401 && status != 403,
                "{}: {status}",
                operation.name()
            );
            open.insert(operation.name());
        }
    }
    let listed: BTreeSet<_> = OPEN.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(
        open, listed,
        "the list of open operations names what exists"
    );
}

#[test]
fn every_operation_declares_what_it_may_answer() {
    let document = Api::without_database().document;
    for operation in operations(&document) {
        let (name, body) = (operation.name(), operation.body);
        let declares = |status: &str| !body["responses"][status].is_null();
        assert!(
            declares("429") && declares("500"),
            "{name} declares 429 and 500"
        );
        if !operation.is_open() {
            assert!(
                declares("401") && declares("403"),
                "{name} declares 401 and 403"
            );
        }
        if body["requestBody"].is_object() {
            assert!(
                declares("400") && declares("413"),
                "{name} declares 400 and 413"
            );
        }
        if operation.template.contains('{') {
            assert!(declares("404"), "{name} declares 404");
        }
        for (status, response) in body["responses"].as_object().expect("responses") {
            let known = response["$ref"].is_string()
                || response["description"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty());
            assert!(known, "{name} does not say what {status} means");
        }
    }
}

#[test]
fn every_operation_has_a_name_of_its_own_a_summary_and_a_known_tag() {
    let document = Api::without_database().document;
    let tags: BTreeSet<_> = document["tags"]
        .as_array()
        .expect("tags")
        .iter()
        .map(|tag| &tag["name"])
        .map(Value::to_string)
        .collect();
    let mut names = BTreeSet::new();
    for operation in operations(&document) {
        let (name, body) = (operation.name(), operation.body);
        let id = body["operationId"].as_str().unwrap_or_default();
        assert!(names.insert(id.to_owned()), "{id} stands twice");
        let verb = id.split('_').next().unwrap_or_default();
        let verbs = [
            "list",
            "get",
            "create",
            "update",
            "delete",
            "run",
            "restore",
            "download",
            "upload",
            "sign",
            "refresh",
            "replace",
            "test",
            "cancel",
            "explain",
            "terminate",
        ];
        assert!(
            verbs.contains(&verb),
            "{name}: {id} does not begin with a verb"
        );
        assert!(
            body["summary"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{name}"
        );
        let own = body["tags"].as_array().map_or(&[][..], Vec::as_slice);
        assert!(
            own.len() == 1 && tags.contains(&own[0].to_string()),
            "{name}: {own:?}"
        );
    }
}
