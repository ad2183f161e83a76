//! Aggregation, counts, distinct values, plans, schemas; and that the guard stands before each.

use bunbun_core::Classify as _;
use bunbun_databases::mongodb::{Aggregate, Explained, Find, Namespace, Selection, ejson::Format};
use serde_json::json;

use super::{Place, array, code, details, document, json as parsed};

fn pipeline(text: &str) -> Aggregate {
    Aggregate {
        pipeline: array(text),
        limit: 100,
        ..Aggregate::default()
    }
}

fn selection(filter: &str) -> Selection {
    Selection {
        filter: Some(document(filter)),
        ..Selection::default()
    }
}

#[tokio::test]
async fn a_pipeline_joins_and_groups() {
    let Some(place) = Place::java().await else {
        return;
    };
    place
        .insert(
            "orders",
            &[
                r#"{"_id":1,"item":"a","n":2}"#,
                r#"{"_id":2,"item":"b","n":1}"#,
                r#"{"_id":3,"item":"a","n":5}"#,
            ],
        )
        .await;
    place
        .insert(
            "items",
            &[r#"{"_id":"a","price":3}"#, r#"{"_id":"b","price":4}"#],
        )
        .await;
    let joined = pipeline(
        r#"[{"$lookup":{"from":"items","localField":"item","foreignField":"_id","as":"i"}},{"$unwind":"$i"},
            {"$group":{"_id":"$item","total":{"$sum":{"$multiply":["$n","$i.price"]}}}},{"$sort":{"_id":1}}]"#,
    );
    let page = place
        .mongodb
        .aggregate(&place.collection("orders"), &joined, Format::Relaxed)
        .await
        .expect("joined");
    assert_eq!(
        parsed(&page.documents),
        json!([{ "_id": "a", "total": 21 }, { "_id": "b", "total": 4 }])
    );
}

#[tokio::test]
async fn a_pipeline_has_pages() {
    for place in Place::each().await {
        let documents: Vec<String> = (0..25).map(|n| format!(r#"{{"_id":{n}}}"#)).collect();
        place
            .insert(
                "pages",
                &documents.iter().map(String::as_str).collect::<Vec<_>>(),
            )
            .await;
        let mut aggregate = Aggregate {
            limit: 10,
            ..pipeline(r#"[{"$match":{"_id":{"$gte":3}}},{"$sort":{"_id":1}}]"#)
        };
        let mut seen = Vec::new();
        loop {
            let page = place
                .mongodb
                .aggregate(&place.collection("pages"), &aggregate, Format::Relaxed)
                .await
                .expect("a page");
            let items = parsed(&page.documents);
            seen.extend(
                items
                    .as_array()
                    .expect("an array")
                    .iter()
                    .map(|item| item["_id"].as_i64().expect("a number")),
            );
            aggregate.cursor = page.next_cursor;
            if aggregate.cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, (3..25).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_pipeline_writes_for_those_who_may() {
    let Some(place) = Place::java().await else {
        return;
    };
    place
        .insert("source", &[r#"{"_id":1,"a":1}"#, r#"{"_id":2,"a":2}"#])
        .await;
    let out = pipeline(r#"[{"$match":{"a":2}},{"$out":"target"}]"#);
    let reader = Namespace::collection(&place.database, "source", false).expect("a name");
    assert_eq!(
        code(
            place
                .mongodb
                .aggregate(&reader, &out, Format::Relaxed)
                .await
        ),
        "QUERY_NOT_ALLOWED"
    );
    assert_eq!(place.all("target", "{}").await, json!([]));
    let page = place
        .mongodb
        .aggregate(&place.collection("source"), &out, Format::Relaxed)
        .await
        .expect("written");
    assert_eq!(page.count, 0);
    assert_eq!(
        place.all("target", "{}").await,
        json!([{ "_id": 2, "a": 2 }])
    );
    let explained = Explained::Aggregate(out);
    let plan = place
        .mongodb
        .explain(
            &place.collection("source"),
            &explained,
            "executionStats",
            Format::Relaxed,
        )
        .await;
    assert_eq!(code(plan), "VALIDATION_FAILED");
}

#[tokio::test]
async fn counts_and_distinct_values_follow_the_filter() {
    for place in Place::each().await {
        place
            .insert(
                "values",
                &[
                    r#"{"_id":1,"a":"x","n":1}"#,
                    r#"{"_id":2,"a":"y","n":2}"#,
                    r#"{"_id":3,"a":"x","n":3}"#,
                ],
            )
            .await;
        let namespace = place.collection("values");
        let count = |selection: Selection| {
            let place = &place;
            async move {
                place
                    .mongodb
                    .count(&namespace, &selection)
                    .await
                    .expect("counted")
            }
        };
        assert_eq!(count(Selection::default()).await, 3);
        assert_eq!(count(selection(r#"{"n":{"$gt":1}}"#)).await, 2);
        assert_eq!(
            count(Selection {
                limit: Some(1),
                ..selection(r#"{"a":"x"}"#)
            })
            .await,
            1
        );
        let values = place
            .mongodb
            .distinct(
                &namespace,
                "a",
                &selection(r#"{"n":{"$gt":1}}"#),
                Format::Relaxed,
            )
            .await
            .expect("values");
        let mut values: Vec<_> = values
            .into_iter()
            .map(|text| String::from_utf8(text).expect("UTF-8"))
            .collect();
        values.sort();
        assert_eq!(values, [r#""x""#, r#""y""#]);
    }
}

#[tokio::test]
async fn a_plan_tells_nothing_of_hosts() {
    let Some(place) = Place::ferretdb().await else {
        return;
    };
    place.insert("plans", &[r#"{"_id":1}"#]).await;
    let explained = Explained::Find {
        selection: selection(r#"{"_id":1}"#),
        sort: None,
        projection: None,
    };
    let plan = place
        .mongodb
        .explain(
            &place.collection("plans"),
            &explained,
            "queryPlanner",
            Format::Relaxed,
        )
        .await
        .expect("a plan");
    let plan = parsed(&plan);
    assert!(plan["queryPlanner"].is_object(), "{plan}");
    assert!(
        plan["serverInfo"].is_null() && plan["ok"].is_null(),
        "{plan}"
    );
}

#[tokio::test]
async fn a_schema_comes_from_a_sample() {
    for place in Place::each().await {
        place
            .insert(
                "shapes",
                &[
                    r#"{"_id":1,"a":1,"tags":["x","y"]}"#,
                    r#"{"_id":2,"a":"text"}"#,
                ],
            )
            .await;
        let schema = place
            .mongodb
            .schema(&place.collection("shapes"), 100)
            .await
            .expect("a schema");
        assert_eq!(schema.sampled, 2);
        assert_eq!(
            schema.fields["a"].types.keys().copied().collect::<Vec<_>>(),
            ["int", "string"]
        );
        assert_eq!(schema.fields["tags[]"].count, 2);
    }
}

#[tokio::test]
async fn the_guard_stands_before_every_question() {
    let Some(place) = Place::ferretdb().await else {
        return;
    };
    let namespace = place.collection("guarded");
    let bad = r#"{"a":{"$not":{"\u0024where":"sleep(1000)"}}}"#;
    let pointer = |error: bunbun_databases::Error, expected: &str| {
        assert_eq!(error.code().as_str(), "QUERY_NOT_ALLOWED");
        assert_eq!(details(&error)["pointer"], expected);
    };
    let find = Find {
        filter: Some(document(bad)),
        limit: 1,
        ..Find::default()
    };
    pointer(
        place
            .mongodb
            .find(&namespace, &find, Format::Relaxed)
            .await
            .expect_err("code"),
        "/filter/a/$not/$where",
    );
    pointer(
        place
            .mongodb
            .count(&namespace, &selection(bad))
            .await
            .expect_err("code"),
        "/filter/a/$not/$where",
    );
    pointer(
        place
            .mongodb
            .distinct(&namespace, "a", &selection(bad), Format::Relaxed)
            .await
            .expect_err("code"),
        "/filter/a/$not/$where",
    );
    let find = Find {
        projection: Some(document(r#"{"x":{"$function":{}}}"#)),
        limit: 1,
        ..Find::default()
    };
    pointer(
        place
            .mongodb
            .find(&namespace, &find, Format::Relaxed)
            .await
            .expect_err("code"),
        "/projection/x/$function",
    );
    let aggregate = pipeline(r#"[{"$match":{}},{"$facet":{"f":[{"$match":{"$where":"1"}}]}}]"#);
    pointer(
        place
            .mongodb
            .aggregate(&namespace, &aggregate, Format::Relaxed)
            .await
            .expect_err("code"),
        "/pipeline/1/$facet/f/0/$match/$where",
    );
    let plan = Explained::Count(selection(bad));
    pointer(
        place
            .mongodb
            .explain(&namespace, &plan, "queryPlanner", Format::Relaxed)
            .await
            .expect_err("code"),
        "/filter/a/$not/$where",
    );
    // A cursor from outside cannot bring code in either.
    for stages in [r#"[1]"#, r#"[{}]"#, r#"[{"$match":{},"$out":"x"}]"#] {
        assert_eq!(
            code(
                place
                    .mongodb
                    .aggregate(&namespace, &pipeline(stages), Format::Relaxed)
                    .await
            ),
            "VALIDATION_FAILED",
            "{stages}"
        );
    }
}

#[tokio::test]
async fn what_the_server_refuses_comes_with_its_code() {
    for place in Place::each().await {
        let find = Find {
            filter: Some(document(r#"{"a":{"$nonsense":1}}"#)),
            limit: 1,
            ..Find::default()
        };
        place.insert("errors", &[r#"{"_id":1,"a":1}"#]).await;
        let error = place
            .mongodb
            .find(&place.collection("errors"), &find, Format::Relaxed)
            .await
            .expect_err("nonsense");
        assert_eq!(error.code().as_str(), "QUERY_INVALID");
        assert!(details(&error)["code"].is_i64());
    }
}
