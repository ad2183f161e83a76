//! Databases, collections and indexes.

use bunbun_databases::mongodb::{Namespace, ejson::Format};
use bunbun_test::MongodbKind;
use serde_json::json;

use super::{Place, code, document, json as parsed};

#[tokio::test]
async fn collections_are_created_listed_and_dropped() {
    for place in Place::each().await {
        let database = Namespace::database(&place.database, true).expect("a name");
        for name in ["b", "a", "c"] {
            place
                .mongodb
                .create_collection(&place.collection(name), &document("{}"))
                .await
                .expect(name);
        }
        place.insert("a", &[r#"{"x":1}"#, r#"{"x":2}"#]).await;
        let (all, has_more) = place
            .mongodb
            .collections(&database, None, 10)
            .await
            .expect("listed");
        let seen: Vec<_> = all
            .iter()
            .map(|c| (c.name.as_str(), c.kind.as_str(), c.documents))
            .collect();
        assert_eq!(
            seen,
            [
                ("a", "collection", Some(2)),
                ("b", "collection", Some(0)),
                ("c", "collection", Some(0))
            ]
        );
        assert!(!has_more);
        let (page, has_more) = place
            .mongodb
            .collections(&database, Some("a"), 1)
            .await
            .expect("listed");
        assert_eq!(
            (page.len(), page[0].name.as_str(), has_more),
            (1, "b", true)
        );
        place
            .mongodb
            .drop_collection(&place.collection("a"))
            .await
            .expect("dropped");
        assert_eq!(
            code(place.mongodb.drop_collection(&place.collection("a")).await),
            "COLLECTION_NOT_FOUND"
        );
        let create = place
            .mongodb
            .create_collection(&place.collection("b"), &document("{}"))
            .await;
        // mongo-java-server numbers this error in its own way.
        assert!(["COLLECTION_EXISTS", "QUERY_INVALID"].contains(&code(create)));
        let databases = place.mongodb.databases().await.expect("listed");
        assert!(databases.iter().any(|entry| entry.name == place.database));
        let stats = place
            .mongodb
            .database_stats(&database)
            .await
            .expect("numbers");
        assert_eq!((stats.collections, stats.documents), (2, 0));
    }
}

#[tokio::test]
async fn what_a_collection_stores_for_later_cannot_run_code_or_write() {
    let Some(place) = Place::ferretdb().await else {
        return;
    };
    for (options, expected) in [
        (r#"{"validator":{"$where":"1"}}"#, "QUERY_NOT_ALLOWED"),
        (
            r#"{"validator":{"$expr":{"$function":{}}}}"#,
            "QUERY_NOT_ALLOWED",
        ),
        (
            r#"{"viewOn":"a","pipeline":[{"$out":"b"}]}"#,
            "QUERY_NOT_ALLOWED",
        ),
        (
            r#"{"viewOn":"a","pipeline":[{"$lookup":{"from":{"db":"admin","coll":"x"}}}]}"#,
            "QUERY_NOT_ALLOWED",
        ),
        (r#"{"viewOn":"system.users"}"#, "QUERY_NOT_ALLOWED"),
        (r#"{"storageEngine":{}}"#, "VALIDATION_FAILED"),
        (r#"{"maxTimeMS":0}"#, "VALIDATION_FAILED"),
    ] {
        let created = place
            .mongodb
            .create_collection(&place.collection("v"), &document(options))
            .await;
        assert_eq!(code(created), expected, "{options}");
    }
}

#[tokio::test]
async fn indexes_are_created_listed_and_dropped_one_by_one() {
    for place in Place::each().await {
        let namespace = place.collection("indexed");
        place
            .insert("indexed", &[r#"{"_id":1,"a":1,"b":"x"}"#])
            .await;
        let created = place
            .mongodb
            .create_index(
                &namespace,
                &document(r#"{"a":1,"b":-1}"#),
                &document(r#"{"unique":true}"#),
            )
            .await;
        assert_eq!(created.expect("created"), "a_1_b_-1");
        let indexes = place
            .mongodb
            .indexes(&namespace, Format::Relaxed)
            .await
            .expect("listed");
        let indexes: Vec<_> = indexes.iter().map(|text| parsed(text)).collect();
        let ours = indexes
            .iter()
            .find(|index| index["name"] == "a_1_b_-1")
            .expect("it is there");
        assert_eq!(
            (&ours["key"], &ours["unique"]),
            (&json!({ "a": 1, "b": -1 }), &json!(true))
        );
        for (key, options) in [
            ("{}", "{}"),
            (r#"{"a":[1]}"#, "{}"),
            (r#"{"a":1}"#, r#"{"name":"*"}"#),
            (r#"{"a":1}"#, r#"{"nonsense":1}"#),
        ] {
            let refused = place
                .mongodb
                .create_index(&namespace, &document(key), &document(options))
                .await;
            assert_eq!(code(refused), "VALIDATION_FAILED", "{key} {options}");
        }
        let partial = document(r#"{"partialFilterExpression":{"$where":"1"}}"#);
        let refused = place
            .mongodb
            .create_index(&namespace, &document(r#"{"a":1}"#), &partial)
            .await;
        assert_eq!(code(refused), "QUERY_NOT_ALLOWED");
        assert_eq!(
            code(place.mongodb.drop_index(&namespace, "*").await),
            "VALIDATION_FAILED"
        );
        place
            .mongodb
            .drop_index(&namespace, "a_1_b_-1")
            .await
            .expect("dropped");
        assert_eq!(
            code(place.mongodb.drop_index(&namespace, "a_1_b_-1").await),
            "INDEX_NOT_FOUND"
        );
        let _ = MongodbKind::Given;
    }
}
