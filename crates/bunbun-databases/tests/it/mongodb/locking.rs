//! One document at a time: `ETag`s, conditions, and many who change the same document at once.

use bunbun_databases::mongodb::{
    Change, DocumentId, Precondition, bson::RawDocumentBuf, digest, ejson::Format,
};
use futures_util::future::join_all;
use serde_json::json;

use super::{Place, code, document, json as parsed};

fn id(segment: &str) -> DocumentId {
    DocumentId::from_segment(segment).expect(segment)
}

fn set(text: &str) -> Change {
    let change = document(&format!(r#"{{"u":{text}}}"#));
    Change::from_value(change.get("u").expect("well-formed").expect("there")).expect("a change")
}

fn relaxed(document: &RawDocumentBuf) -> serde_json::Value {
    let mut text = Vec::new();
    bunbun_databases::mongodb::ejson::write_document(
        document.as_bytes(),
        Format::Relaxed,
        &mut text,
    )
    .expect("well-formed");
    parsed(&text)
}

#[tokio::test]
async fn a_document_is_found_by_an_id_of_any_type() {
    for place in Place::each().await {
        let ids = [
            (
                r#"{"$oid":"5f5e1d0e8b0c4b3a9c1d2e3f"}"#,
                "5f5e1d0e8b0c4b3a9c1d2e3f",
            ),
            (
                r#""6f5e1d0e8b0c4b3a9c1d2e3f""#,
                r#""6f5e1d0e8b0c4b3a9c1d2e3f""#,
            ),
            ("42", "42"),
            (r#"{"$numberLong":"43"}"#, "43"),
            (r#"{"$numberDouble":"1.5"}"#, r#"{"$numberDouble":"1.5"}"#),
            (r#""a/b?c#d e""#, "a/b?c#d e"),
            (
                r#"{"$uuid":"73ffd264-44b3-4c69-90e8-e7d1dfc035d4"}"#,
                "73ffd264-44b3-4c69-90e8-e7d1dfc035d4",
            ),
            ("true", "ejson:true"),
            (
                r#"{"$date":"2026-11-25T00:00:00Z"}"#,
                r#"{"$date":"2026-11-25T00:00:00Z"}"#,
            ),
            (r#"{"a":1,"b":"x"}"#, r#"{"a":1,"b":"x"}"#),
        ];
        for (number, (value, _)) in ids.iter().enumerate() {
            place
                .insert("ids", &[&format!(r#"{{"_id":{value},"n":{number}}}"#)])
                .await;
        }
        for (number, (_, segment)) in ids.iter().enumerate() {
            let found = place
                .mongodb
                .get(&place.collection("ids"), &id(segment), None)
                .await
                .expect(segment);
            assert_eq!(relaxed(&found)["n"], json!(number), "{segment}");
        }
        assert_eq!(
            code(
                place
                    .mongodb
                    .get(&place.collection("ids"), &id("44"), None)
                    .await
            ),
            "DOCUMENT_NOT_FOUND"
        );
    }
}

#[tokio::test]
async fn a_change_with_a_stale_digest_is_refused() {
    for place in Place::each().await {
        let namespace = place.collection("locks");
        place
            .insert(
                "locks",
                &[r#"{"_id":1,"a":1,"nested":{"x":[1,null,{"y":1.5}]}}"#],
            )
            .await;
        let read = place
            .mongodb
            .get(&namespace, &id("1"), None)
            .await
            .expect("there");
        let fresh = Precondition::Digest(vec![digest(&read)]);
        let changed = place
            .mongodb
            .change(
                &namespace,
                &id("1"),
                &set(r#"{"$set":{"a":2}}"#),
                None,
                false,
                &fresh,
            )
            .await
            .expect("fresh");
        assert_eq!(relaxed(&changed.document)["a"], json!(2));
        assert!(!changed.created);
        // The same digest again is stale, for every kind of change.
        let change = place
            .mongodb
            .change(
                &namespace,
                &id("1"),
                &set(r#"{"$set":{"a":3}}"#),
                None,
                false,
                &fresh,
            )
            .await;
        assert_eq!(code(change), "PRECONDITION_FAILED");
        let replace = place
            .mongodb
            .replace(&namespace, &id("1"), &document(r#"{"b":1}"#), false, &fresh)
            .await;
        assert_eq!(code(replace), "PRECONDITION_FAILED");
        assert_eq!(
            code(place.mongodb.remove(&namespace, &id("1"), &fresh).await),
            "PRECONDITION_FAILED"
        );
        // The new one is good, one time.
        let now = Precondition::Digest(vec!["0".repeat(32), digest(&changed.document)]);
        let replaced = place
            .mongodb
            .replace(
                &namespace,
                &id("1"),
                &document(r#"{"b":{"$numberLong":"1"}}"#),
                false,
                &now,
            )
            .await
            .expect("fresh");
        assert_eq!(relaxed(&replaced.document), json!({ "_id": 1, "b": 1 }));
        let now = Precondition::Digest(vec![digest(&replaced.document)]);
        place
            .mongodb
            .remove(&namespace, &id("1"), &now)
            .await
            .expect("fresh");
        assert_eq!(
            code(place.mongodb.remove(&namespace, &id("1"), &now).await),
            "PRECONDITION_FAILED"
        );
        assert_eq!(
            code(
                place
                    .mongodb
                    .remove(&namespace, &id("1"), &Precondition::None)
                    .await
            ),
            "DOCUMENT_NOT_FOUND"
        );
    }
}

#[tokio::test]
async fn no_update_is_lost_among_many_who_read_and_write_back() {
    // FerretDB 1 does not run findAndModify in one piece: two of its clients can both win.
    if let Some(place) = Place::java().await {
        place.insert("counter", &[r#"{"_id":1,"n":0}"#]).await;
        let place = &place;
        let workers = (0..8).map(|_| async move {
            let namespace = place.collection("counter");
            let mut done = 0;
            while done < 10 {
                let read = place
                    .mongodb
                    .get(&namespace, &id("1"), None)
                    .await
                    .expect("there");
                let next = relaxed(&read)["n"].as_i64().expect("a number") + 1;
                let new = document(&format!(r#"{{"n":{next}}}"#));
                let fresh = Precondition::Digest(vec![digest(&read)]);
                match place
                    .mongodb
                    .replace(&namespace, &id("1"), &new, false, &fresh)
                    .await
                {
                    Ok(_) => done += 1,
                    error => assert_eq!(code(error), "PRECONDITION_FAILED"),
                }
            }
        });
        join_all(workers).await;
        assert_eq!(
            place.all("counter", "{}").await,
            json!([{ "_id": 1, "n": 80 }])
        );
    }
}

#[tokio::test]
async fn a_replacement_keeps_its_id_and_can_make_the_document() {
    for place in Place::each().await {
        let namespace = place.collection("puts");
        let put =
            |segment: &'static str, text: &'static str, upsert, precondition: Precondition| {
                let (place, namespace) = (&place, namespace);
                async move {
                    place
                        .mongodb
                        .replace(
                            &namespace,
                            &id(segment),
                            &document(text),
                            upsert,
                            &precondition,
                        )
                        .await
                }
            };
        assert_eq!(
            code(put("1", r#"{"a":1}"#, false, Precondition::None).await),
            "DOCUMENT_NOT_FOUND"
        );
        assert_eq!(
            code(put("1", r#"{"a":1}"#, true, Precondition::Exists).await),
            "PRECONDITION_FAILED"
        );
        let made = put("1", r#"{"a":1}"#, true, Precondition::None)
            .await
            .expect("made");
        assert_eq!(
            (made.created, relaxed(&made.document)),
            (true, json!({ "_id": 1, "a": 1 }))
        );
        let replaced = put("1", r#"{"b":1}"#, true, Precondition::Exists)
            .await
            .expect("replaced");
        assert_eq!(
            (replaced.created, relaxed(&replaced.document)),
            (false, json!({ "_id": 1, "b": 1 }))
        );
        assert_eq!(
            code(put("1", r#"{"_id":2}"#, true, Precondition::None).await),
            "VALIDATION_FAILED"
        );
        assert_eq!(
            code(put("1", r#"{"_id":"1"}"#, true, Precondition::None).await),
            "VALIDATION_FAILED"
        );
        assert_eq!(
            code(put("1", r#"{"$set":{"a":1}}"#, true, Precondition::None).await),
            "VALIDATION_FAILED"
        );
        let change = place
            .mongodb
            .change(
                &namespace,
                &id("1"),
                &set(r#"{"a":1}"#),
                None,
                false,
                &Precondition::None,
            )
            .await;
        assert_eq!(code(change), "VALIDATION_FAILED");
    }
}
