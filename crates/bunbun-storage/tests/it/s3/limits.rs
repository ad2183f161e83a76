//! Multipart uploads and a bucket's limit, conditions of writes, and errors of the protocol.

use futures_util::future::join_all;
use serde_json::json;

use super::signed::{refused, request};
use crate::support::{Answer, Storage};

async fn with_limit(bytes: u64) -> Option<Storage> {
    let storage = Storage::start().await?;
    let body = json!({ "name": "b", "file_size_limit": bytes });
    let made = storage.post("/bucket").service().json(&body);
    made.send().await.ok();
    Some(storage)
}

fn tag(answer: &Answer, name: &str) -> String {
    let text = answer.text();
    let (_, rest) = text.split_once(&format!("<{name}>")).unwrap();
    rest.split_once('<').unwrap().0.to_owned()
}

async fn begin(storage: &Storage) -> String {
    let begun = request(storage, "POST", "/s3/b/x?uploads=", &[])
        .send()
        .await;
    tag(&begun.ok(), "UploadId")
}

async fn part(storage: &Storage, id: &str, number: usize, size: usize) -> Answer {
    let path = format!("/s3/b/x?partNumber={number}&uploadId={id}");
    let call = request(storage, "PUT", &path, &[]);
    call.bytes("text/plain", "a".repeat(size)).send().await
}

async fn complete(storage: &Storage, id: &str) -> Answer {
    let path = format!("/s3/b/x?uploadId={id}");
    request(storage, "POST", &path, &[]).send().await
}

#[tokio::test]
async fn parts_together_stay_below_the_limit_however_they_come() {
    let Some(storage) = with_limit(1000).await else {
        return;
    };
    let id = begin(&storage).await;
    let parts = (1..=8).map(|number| part(&storage, &id, number, 600));
    let answers = join_all(parts).await;
    assert_eq!(answers.iter().filter(|a| a.status == 200).count(), 1);
    for answer in answers.iter().filter(|a| a.status != 200) {
        refused(answer, 413, "EntityTooLarge");
    }
    // A part that is sent again takes the place of itself.
    let number = 1 + answers.iter().position(|a| a.status == 200).unwrap();
    part(&storage, &id, number, 700).await.ok();
    part(&storage, &id, number, 1000).await.ok();
    refused(
        &part(&storage, &id, number, 1001).await,
        413,
        "EntityTooLarge",
    );
    part(&storage, &id, number, 900).await.ok();
    // A limit that has become narrower meanwhile.
    let narrower = storage.call("PUT", "/bucket/b").service();
    let narrower = narrower.json(&json!({ "file_size_limit": 899 }));
    narrower.send().await.ok();
    refused(&complete(&storage, &id).await, 413, "EntityTooLarge");
    let wider = storage.call("PUT", "/bucket/b").service();
    let wider = wider.json(&json!({ "file_size_limit": 900 }));
    wider.send().await.ok();
    complete(&storage, &id).await.ok();
    assert_eq!(storage.files().len(), 1);
}

#[tokio::test]
async fn a_write_on_a_condition_replaces_only_what_it_names() {
    let Some(storage) = with_limit(1000).await else {
        return;
    };
    let put = |name: &'static str, value: String, content: &'static str| {
        let storage = &storage;
        async move {
            let call = request(storage, "PUT", "/s3/b/x", &[]);
            let call = call.header(name, &value);
            call.bytes("text/plain", content).send().await
        }
    };
    refused(
        &put("if-match", "\"a\"".to_owned(), "x").await,
        404,
        "NoSuchKey",
    );
    let one = put("if-none-match", "*".to_owned(), "one").await.ok();
    let again = put("if-none-match", "*".to_owned(), "two").await;
    refused(&again, 412, "PreconditionFailed");
    let wrong = put("if-match", "\"zz\"".to_owned(), "two").await;
    refused(&wrong, 412, "PreconditionFailed");
    let etag = one.header("etag").to_owned();
    put("if-match", etag.clone(), "two").await.ok();
    refused(
        &put("if-match", etag, "three").await,
        412,
        "PreconditionFailed",
    );
    put("if-match", "*".to_owned(), "four").await.ok();
    // The end of a multipart upload is a write, too.
    let id = begin(&storage).await;
    part(&storage, &id, 1, 3).await.ok();
    let path = format!("/s3/b/x?uploadId={id}");
    for (name, value) in [("if-none-match", "*"), ("if-match", "\"zz\"")] {
        let call = request(&storage, "POST", &path, &[]).header(name, value);
        refused(&call.send().await, 412, "PreconditionFailed");
    }
    let got = storage.get("/object/b/x").service().send().await.ok();
    assert_eq!(got.text(), "four");
    complete(&storage, &id).await.ok();
}

#[tokio::test]
async fn errors_name_their_resource_and_faulty_text_is_no_failure_of_ours() {
    let Some(storage) = with_limit(1000).await else {
        return;
    };
    storage.bucket("s3m").await;
    let none = request(&storage, "GET", "/s3/s3m/nokey", &[]).send().await;
    refused(&none, 404, "NoSuchKey");
    assert_eq!(tag(&none, "Resource"), "/s3m/nokey");
    for path in [
        "/s3/b?list-type=2&prefix=a%00b",
        "/s3/b?prefix=a%00b&uploads=",
    ] {
        let answer = request(&storage, "GET", path, &[]).send().await;
        refused(&answer, 400, "InvalidRequest");
    }
}
