//! Writing documents and finding them again, page by page.

use bunbun_core::Classify as _;
use bunbun_databases::mongodb::{Change, Delete, Find, Operation, Update, ejson::Format};
use serde_json::json;

use super::{Place, code, details, document, json as parsed};

fn update(filter: &str, change: &str) -> Update {
    let change = document(&format!(r#"{{"u":{change}}}"#));
    let value = change.get("u").expect("well-formed").expect("there");
    Update {
        filter: document(filter),
        change: Change::from_value(value).expect("a change"),
        many: false,
        upsert: false,
        array_filters: None,
        collation: None,
    }
}

#[tokio::test]
async fn every_type_comes_back_as_it_was_stored() {
    // What each server can store; both lack deprecated types.
    let common = [
        r#""id":{"$oid":"5f5e1d0e8b0c4b3a9c1d2e3f"}"#,
        r#""int":{"$numberInt":"1"}"#,
        r#""long":{"$numberLong":"1"}"#,
        r#""big":{"$numberLong":"9007199254740993"}"#,
        r#""double":{"$numberDouble":"1.0"}"#,
        r#""date":{"$date":{"$numberLong":"-1"}}"#,
        r#""binary":{"$binary":{"base64":"AQID","subType":"00"}}"#,
        r#""uuid":{"$binary":{"base64":"c//SZESzTGmQ6OfR38A11A==","subType":"04"}}"#,
        r#""null":null"#,
        r#""yes":true"#,
        r#""text":"\u0001\"ü€""#,
        r#""nested":{"list":[{"$numberInt":"1"},{"$numberLong":"2"},{"$numberDouble":"3.0"},{}],"none":[]}"#,
        r#""regex":{"$regularExpression":{"pattern":"^a","options":"i"}}"#,
        r#""timestamp":{"$timestamp":{"t":1,"i":2}}"#,
    ];
    for place in Place::each().await {
        let text = format!(r#"{{"_id":{{"$numberLong":"7"}},{}}}"#, common.join(","));
        place.insert("types", &[&text]).await;
        let find = Find {
            limit: 10,
            ..Find::default()
        };
        let page = place
            .mongodb
            .find(&place.collection("types"), &find, Format::Canonical)
            .await
            .expect("found");
        assert_eq!(parsed(&page.documents), json!([parsed(text.as_bytes())]));
    }
}

#[tokio::test]
async fn decimals_survive_where_the_server_has_them() {
    let Some(place) = Place::java().await else {
        return;
    };
    let text = r#"{"_id":1,"lists":[[],[[1]]],"d":{"$numberDecimal":"0.10"}}"#;
    place.insert("types", &[text]).await;
    assert_eq!(
        place.all("types", "{}").await,
        json!([parsed(text.as_bytes())])
    );
}

#[tokio::test]
async fn pages_by_id_show_everything_once_across_types() {
    for place in Place::each().await {
        let documents: Vec<String> = (0..25)
            .map(|n| format!(r#"{{"_id":{n}}}"#))
            .chain((0..10).map(|n| format!(r#"{{"_id":"t{n}"}}"#)))
            .chain(
                (0..10).map(|n| format!(r#"{{"_id":{{"$oid":"5f5e1d0e8b0c4b3a9c1d2e{n:02}"}}}}"#)),
            )
            .chain(["true", "false"].map(|word| format!(r#"{{"_id":{word}}}"#)))
            .chain(["1.5", "-3.25"].map(|number| format!(r#"{{"_id":{number}}}"#)))
            .collect();
        let texts: Vec<&str> = documents.iter().map(String::as_str).collect();
        place.insert("pages", &texts).await;
        for sort in [
            None,
            Some(r#"{"_id":1}"#),
            Some(r#"{"_id":-1}"#),
            Some(r#"{"x":1}"#),
        ] {
            let mut find = Find {
                sort: sort.map(document),
                limit: 7,
                ..Find::default()
            };
            let mut seen = Vec::new();
            loop {
                let page = place
                    .mongodb
                    .find(&place.collection("pages"), &find, Format::Canonical)
                    .await
                    .expect("a page");
                let items = parsed(&page.documents);
                let items = items.as_array().expect("an array");
                assert_eq!(items.len(), page.count);
                seen.extend(items.iter().map(|item| item["_id"].to_string()));
                find.cursor = page.next_cursor;
                if find.cursor.is_none() {
                    break;
                }
                assert_eq!(items.len(), 7);
                // What is inserted before the page does not move it.
                if sort.is_none() && seen.len() == 7 {
                    place.insert("pages", &[r#"{"_id":-99}"#]).await;
                }
            }
            let mut unique = seen.clone();
            unique.sort();
            unique.dedup();
            let expected = documents.len() + usize::from(sort.is_some());
            assert_eq!(
                (unique.len(), seen.len()),
                (expected, expected),
                "{sort:?} {seen:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_cursor_belongs_to_its_query() {
    let Some(place) = Place::ferretdb().await else {
        return;
    };
    place
        .insert("cursors", &[r#"{"_id":1}"#, r#"{"_id":2}"#, r#"{"_id":3}"#])
        .await;
    let namespace = place.collection("cursors");
    let find = Find {
        limit: 1,
        ..Find::default()
    };
    let page = place
        .mongodb
        .find(&namespace, &find, Format::Relaxed)
        .await
        .expect("a page");
    let cursor = page.next_cursor;
    assert!(cursor.is_some());
    for other in [
        Find {
            filter: Some(document(r#"{"x":1}"#)),
            ..find.clone()
        },
        Find {
            sort: Some(document(r#"{"x":1}"#)),
            ..find.clone()
        },
        Find {
            projection: Some(document(r#"{"x":1}"#)),
            ..find.clone()
        },
        Find {
            skip: 1,
            ..find.clone()
        },
    ] {
        let other = Find {
            cursor: cursor.clone(),
            ..other
        };
        assert_eq!(
            code(
                place
                    .mongodb
                    .find(&namespace, &other, Format::Relaxed)
                    .await
            ),
            "VALIDATION_FAILED"
        );
    }
    let elsewhere = place.collection("elsewhere");
    let find = Find { cursor, ..find };
    assert_eq!(
        code(place.mongodb.find(&elsewhere, &find, Format::Relaxed).await),
        "VALIDATION_FAILED"
    );
}

#[tokio::test]
async fn inserted_documents_get_ids_and_known_ids_are_refused() {
    for place in Place::each().await {
        let namespace = place.collection("ids");
        let documents = [document(r#"{"a":1}"#), document(r#"{"_id":5,"a":2}"#)];
        let (ids, count) = place
            .mongodb
            .insert(&namespace, &documents, true, Format::Canonical)
            .await
            .expect("inserted");
        let ids = parsed(&ids);
        assert_eq!(count, 2);
        assert_eq!(ids[0]["$oid"].as_str().map(str::len), Some(24));
        assert_eq!(ids[1], json!({ "$numberInt": "5" }));
        let again = [
            document(r#"{"_id":6}"#),
            document(r#"{"_id":5}"#),
            document(r#"{"_id":7}"#),
        ];
        let error = place
            .mongodb
            .insert(&namespace, &again, true, Format::Relaxed)
            .await
            .expect_err("known");
        assert_eq!(error.code().as_str(), "DOCUMENT_EXISTS");
        let details = details(&error);
        assert_eq!(
            (&details["inserted"], &details["errors"][0]["index"]),
            (&json!(1), &json!(1))
        );
        // The one before was inserted, the one behind was not.
        assert_eq!(
            place.all("ids", r#"{"_id":{"$in":[6,7]}}"#).await,
            json!([{ "_id": 6 }])
        );
    }
}

#[tokio::test]
async fn updates_replacements_and_deletions_say_what_they_did() {
    for place in Place::each().await {
        let namespace = place.collection("writes");
        place
            .insert(
                "writes",
                &[
                    r#"{"_id":1,"a":1}"#,
                    r#"{"_id":2,"a":1}"#,
                    r#"{"_id":3,"a":2}"#,
                ],
            )
            .await;
        let many = Update {
            many: true,
            ..update(r#"{"a":1}"#, r#"{"$set":{"b":true}}"#)
        };
        let written = place
            .mongodb
            .update(&namespace, &[many], true)
            .await
            .expect("updated");
        assert_eq!((written.matched, written.modified), (2, 2));
        let replaced = update(r#"{"_id":3}"#, r#"{"c":{"$numberLong":"1"}}"#);
        let written = place
            .mongodb
            .update(&namespace, &[replaced], true)
            .await
            .expect("replaced");
        assert_eq!((written.matched, written.modified), (1, 1));
        let upserted = Update {
            upsert: true,
            ..update(r#"{"_id":"new"}"#, r#"{"$set":{"d":1}}"#)
        };
        let written = place
            .mongodb
            .update(&namespace, &[upserted], true)
            .await
            .expect("upserted");
        assert_eq!((written.matched, written.upserted.len()), (0, 1));
        assert_eq!(
            written.upserted_id(Format::Relaxed).expect("an id"),
            Some(br#""new""#.to_vec())
        );
        assert_eq!(
            place.all("writes", "{}").await,
            json!([{ "_id": 1, "a": 1, "b": true }, { "_id": 2, "a": 1, "b": true }, { "_id": 3, "c": 1 }, { "_id": "new", "d": 1 }]),
        );
        let one = Delete {
            filter: document(r#"{"a":1}"#),
            many: false,
            collation: None,
        };
        assert_eq!(
            place
                .mongodb
                .delete(&namespace, std::slice::from_ref(&one), true)
                .await
                .expect("deleted")
                .matched,
            1
        );
        let all = Delete {
            filter: document("{}"),
            many: true,
            ..one
        };
        assert_eq!(
            place
                .mongodb
                .delete(&namespace, &[all], true)
                .await
                .expect("deleted")
                .matched,
            3
        );
    }
}

#[tokio::test]
async fn a_bulk_keeps_its_order_and_tells_every_refusal() {
    for place in Place::each().await {
        let namespace = place.collection("bulk");
        let operations = |first: i32| {
            vec![
                Operation::Insert(document(&format!(r#"{{"_id":{first}}}"#))),
                Operation::Insert(document(&format!(r#"{{"_id":{first}}}"#))),
                Operation::Update(update(
                    &format!(r#"{{"_id":{first}}}"#),
                    r#"{"$set":{"a":1}}"#,
                )),
                Operation::Delete(Delete {
                    filter: document(r#"{"_id":"none"}"#),
                    many: false,
                    collation: None,
                }),
            ]
        };
        let done = place
            .mongodb
            .bulk(&namespace, operations(1), true)
            .await
            .expect("ran");
        assert_eq!((done.inserted, done.modified, done.errors.len()), (1, 0, 1));
        assert_eq!((done.errors[0].index, done.errors[0].code), (1, 11000));
        let done = place
            .mongodb
            .bulk(&namespace, operations(2), false)
            .await
            .expect("ran");
        assert_eq!((done.inserted, done.modified, done.errors.len()), (1, 1, 1));
        assert_eq!(
            done.ids.iter().map(|(index, _)| *index).collect::<Vec<_>>(),
            [0]
        );
        assert_eq!(
            place.all("bulk", "{}").await,
            json!([{ "_id": 1 }, { "_id": 2, "a": 1 }])
        );
        // Nothing is done where one operation is not allowed.
        let mut forbidden = operations(3);
        forbidden.push(Operation::Delete(Delete {
            filter: document(r#"{"$where":"1"}"#),
            many: true,
            collation: None,
        }));
        let error = place
            .mongodb
            .bulk(&namespace, forbidden, true)
            .await
            .expect_err("code");
        assert_eq!(error.code().as_str(), "QUERY_NOT_ALLOWED");
        assert_eq!(details(&error)["pointer"], "/operations/4/filter/$where");
        assert_eq!(place.all("bulk", r#"{"_id":3}"#).await, json!([]));
    }
}

#[tokio::test]
async fn names_that_reach_elsewhere_are_refused() {
    use bunbun_databases::mongodb::Namespace;
    for database in ["", "a.b", "a/b", "a b", "$a", "a\0", "a\"", &"a".repeat(64)] {
        assert_eq!(
            code(Namespace::database(database, true)),
            "VALIDATION_FAILED",
            "{database:?}"
        );
    }
    for collection in ["", "$cmd", "a$b", ".a", "a.", "a\0b", &"a".repeat(256)] {
        assert_eq!(
            code(Namespace::collection("app", collection, true)),
            "VALIDATION_FAILED",
            "{collection:?}"
        );
    }
    for collection in ["system.js", "system.users", "system.views"] {
        assert_eq!(
            code(Namespace::collection("app", collection, true)),
            "QUERY_NOT_ALLOWED",
            "{collection:?}"
        );
    }
    Namespace::collection("app", "a.b-c d", true).expect("unusual, but possible");
}
