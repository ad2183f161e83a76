//! `POST /s3/{bucket}`: forms with a signed policy.

use serde_json::{Value, json};

use super::signed::{Signer, refused};
use crate::support::{Answer, Storage};

async fn post(storage: &Storage, conditions: Value, fields: &[(&str, &str)]) -> Answer {
    let policy = json!({ "expiration": "2099-01-01T00:00:00Z", "conditions": conditions });
    let signed = Signer::now(storage).form(&policy);
    let mut body = String::new();
    let mut field = |name: &str, value: &str| {
        body.push_str(&format!(
            "--x\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        ));
    };
    for (name, value) in &signed {
        field(name, value);
    }
    for (name, value) in fields {
        field(name, value);
    }
    body.push_str("--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\ncontent\r\n--x--\r\n");
    let call = storage.post("/s3/b");
    call.bytes("multipart/form-data; boundary=x", body)
        .send()
        .await
}

fn conditions(more: Value) -> Value {
    let signed = json!([
        { "bucket": "b" },
        ["starts-with", "$key", ""],
        ["starts-with", "$x-amz-algorithm", ""],
        ["starts-with", "$x-amz-credential", ""]
    ]);
    let mut all = signed.as_array().unwrap().clone();
    all.extend(more.as_array().unwrap().clone());
    all.into()
}

#[tokio::test]
async fn a_policy_holds_for_all_that_is_sent() {
    let Some(storage) = Storage::start().await else {
        return;
    };
    storage.bucket("b").await;
    let role = json!([{ "x-amz-meta-role": "user" }]);
    let good = [("key", "good"), ("x-amz-meta-role", "user")];
    let posted = post(&storage, conditions(role.clone()), &good).await;
    assert_eq!(posted.status, 204, "{}", posted.text());
    // The second of two fields of a name would be under no condition.
    let twice = [
        ("key", "bad"),
        ("x-amz-meta-role", "user"),
        ("X-Amz-Meta-Role", "admin"),
    ];
    refused(
        &post(&storage, conditions(role), &twice).await,
        400,
        "InvalidRequest",
    );
    // The second property of a condition would not be looked at.
    for condition in [json!({ "bucket": "b", "key": "other" }), json!({})] {
        let answer = post(&storage, conditions(json!([condition])), &[("key", "bad")]).await;
        refused(&answer, 403, "AccessDenied");
    }
    let stored = "select count(*) from storage.objects where name = 'bad'";
    assert_eq!(storage.count(stored).await, 0);
}
