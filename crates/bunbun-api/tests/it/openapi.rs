//! `/api/openapi.json`

use serde_json::Value;

use crate::api::Api;

#[tokio::test]
async fn the_document_is_openapi_3_1_and_always_the_same() {
    let api = Api::without_database();
    let reply = api.get("/api/openapi.json").send().await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.json()["openapi"], "3.1.0");
    let again = bunbun_api::openapi::pretty(&bunbun_api::document());
    assert_eq!(reply.text(), again);
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(value: &Value, document: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(reference) = value["$ref"].as_str() {
                    let target = document.pointer(reference.trim_start_matches('#'));
                    assert!(target.is_some(), "{reference} leads nowhere");
                }
                members.values().for_each(|member| walk(member, document));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, document)),
            _ => {}
        }
    }
    let document = Api::without_database().document;
    walk(&document, &document);
}

#[test]
fn every_object_of_a_request_refuses_unknown_members() {
    let document = Api::without_database().document;
    for item in document["paths"].as_object().expect("paths").values() {
        for operation in item.as_object().expect("operations").values() {
            let content = &operation["requestBody"]["content"]["application/json"]["schema"];
            if let Some(reference) = content["$ref"].as_str()
                // A document of the caller, who may name its members as they like.
                && reference != "#/components/schemas/MongodbDocument"
            {
                let schema = document
                    .pointer(reference.trim_start_matches('#'))
                    .expect("a schema");
                assert_eq!(schema["additionalProperties"], false, "{reference}");
            }
        }
    }
}

#[test]
fn every_parameter_is_described() {
    let document = Api::without_database().document;
    let names = |path: &str, method: &str, place: &str| {
        let list = document["paths"][path][method]["parameters"].as_array();
        let list = list.map_or(&[][..], Vec::as_slice).iter();
        let of_place = list.filter(|parameter| parameter["in"] == place);
        of_place
            .map(|parameter| parameter["name"].as_str().expect("a name").to_owned())
            .collect::<Vec<_>>()
    };
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("operations").keys() {
            let described = names(path, method, "path");
            for parameter in path.split('/').filter(|part| part.starts_with('{')) {
                let name = parameter.trim_matches(['{', '}']).to_owned();
                assert!(described.contains(&name), "{method} {path}: {name}");
            }
        }
    }
    for (method, path, expected) in [
        ("get", "/api/backups", &["limit", "before"][..]),
        ("get", "/api/db/tables", &["schema"]),
        (
            "get",
            "/api/gateway/explain",
            &["method", "path", "request_id"],
        ),
        ("post", "/api/auth/signout", &["scope"]),
        (
            "get",
            "/api/storage/list/{bucket}",
            &["prefix", "limit", "cursor"],
        ),
    ] {
        assert_eq!(names(path, method, "query"), expected, "{method} {path}");
    }
}
