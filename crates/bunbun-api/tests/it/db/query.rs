//! `/api/db/query`

use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::api::{Api, Reply};

async fn query(api: &Api, body: &Value) -> Reply {
    api.post("/api/db/query").owner().json(body).send().await
}

#[tokio::test]
async fn a_statement_with_parameters_is_answered() {
    let Some(api) = Api::with_database().await else {
        return;
    };
    let sql = "select $1::int + 1 as n, $2::text as t, 9007199254740993 as big, 1.10::numeric as d, \
               null as nothing, '{\"a\": 1}'::jsonb as j, array[1, 2] as a";
    let reply = query(&api, &json!({ "sql": sql, "params": [41, "x"] })).await;
    assert_eq!(reply.header("content-type"), "application/json");
    assert_json_snapshot!(reply.json(), { ".durationMs" => "[ms]" }, @r#"
    {
      "rows": [
        {
          "n": 42,
          "t": "x",
          "big": "9007199254740993",
          "d": "1.10",
          "nothing": null,
          "j": {
            "a": 1
          },
          "a": [
            1,
            2
          ]
        }
      ],
      "rowCount": 1,
      "fields": [
        {
          "name": "n",
          "type": "int4"
        },
        {
          "name": "t",
          "type": "text"
        },
        {
          "name": "big",
          "type": "int8"
        },
        {
          "name": "d",
          "type": "numeric"
        },
        {
          "name": "nothing",
          "type": "text"
        },
        {
          "name": "j",
          "type": "jsonb"
        },
        {
          "name": "a",
          "type": "int4[]"
        }
      ],
      "command": "SELECT",
      "durationMs": "[ms]"
    }
    "#);
}

#[tokio::test]
async fn writes_and_scripts_run() {
    let Some(api) = Api::with_database().await else {
        return;
    };
    let sql = "create table t (id int); insert into t values (1), (2), (3)";
    assert_eq!(query(&api, &json!({ "sql": sql })).await.status, 200);
    let reply = query(&api, &json!({ "sql": "delete from t where id > 1" }))
        .await
        .json();
    assert_eq!(
        (&reply["rowCount"], &reply["command"]),
        (&json!(2), &json!("DELETE"))
    );
}

#[tokio::test]
async fn the_fault_of_the_sql_is_located() {
    let Some(api) = Api::with_database().await else {
        return;
    };
    let reply = query(&api, &json!({ "sql": "select nothing from pg_class" })).await;
    assert_eq!(reply.status, 400);
    assert_json_snapshot!(reply.json(), @r#"
    {
      "error": {
        "code": "SQL_ERROR",
        "message": "column \"nothing\" does not exist",
        "details": {
          "sqlstate": "42703",
          "position": 8
        },
        "request_id": "test"
      }
    }
    "#);
}

#[tokio::test]
async fn reading_only_is_kept() {
    let Some(api) = Api::with_database().await else {
        return;
    };
    let reply = query(
        &api,
        &json!({ "sql": "create table t ()", "read_only": true }),
    )
    .await;
    assert_eq!(reply.error(), (400, "SQL_ERROR".to_owned()));
    assert_eq!(reply.json()["error"]["details"]["sqlstate"], "25006");
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_cancelled() {
    let Some(api) = Api::with_database().await else {
        return;
    };
    let reply = query(
        &api,
        &json!({ "sql": "select pg_sleep(30)", "timeout_ms": 50 }),
    )
    .await;
    assert_eq!(reply.error(), (504, "STATEMENT_TIMEOUT".to_owned()));
}

#[tokio::test]
async fn too_many_rows_are_cut_off_and_told() {
    let Some(api) = Api::with_database().await else {
        return;
    };
    let reply = query(
        &api,
        &json!({ "sql": "select generate_series(1, 101) as n" }),
    )
    .await
    .json();
    assert_eq!(reply["rows"].as_array().map(Vec::len), Some(100));
    assert_eq!(reply["truncated"], true);
}

#[tokio::test]
async fn rows_are_streamed_whole_as_ndjson_and_csv() {
    let Some(api) = Api::with_database().await else {
        return;
    };
    let body = json!({ "sql": "select n, 'a,' || n as t from generate_series(1, 5000) as n" });
    let call = |accept| {
        api.post("/api/db/query")
            .owner()
            .header("accept", accept)
            .json(&body)
            .send()
    };
    let reply = call("application/x-ndjson").await;
    assert_eq!(reply.header("content-type"), "application/x-ndjson");
    let lines: Vec<_> = reply.text().lines().collect();
    assert_eq!(
        (lines.len(), lines[4999]),
        (5000, r#"{"n":5000,"t":"a,5000"}"#)
    );

    let reply = call("text/csv").await;
    assert_eq!(
        reply.header("content-type"),
        "text/csv; charset=utf-8; header=present"
    );
    let lines: Vec<_> = reply.text().lines().collect();
    assert_eq!(
        (lines.len(), lines[0], lines[5000]),
        (5001, "n,t", "5000,\"a,5000\"")
    );
}

#[tokio::test]
async fn a_refused_stream_is_an_error_and_not_a_broken_body() {
    let Some(api) = Api::with_database().await else {
        return;
    };
    let body = json!({ "sql": "select * from nothing" });
    let call = api
        .post("/api/db/query")
        .owner()
        .header("accept", "text/csv")
        .json(&body);
    assert_eq!(call.send().await.error(), (400, "SQL_ERROR".to_owned()));
}

#[tokio::test]
async fn bounds_are_kept_and_each_breach_is_named() {
    let api = Api::without_database();
    let body = json!({ "sql": "x".repeat(1024 * 1024 + 1), "timeout_ms": 600_001 });
    let reply = query(&api, &body).await;
    assert_eq!(reply.error(), (400, "VALIDATION_FAILED".to_owned()));
    let errors = reply.json()["error"]["details"]["errors"].clone();
    let pointers: Vec<_> = errors
        .as_array()
        .expect("a list")
        .iter()
        .map(|e| &e["pointer"])
        .collect();
    assert_eq!(pointers, ["/sql", "/timeout_ms"]);
    for body in [
        json!({ "sql": "select 1", "timeout_ms": 0 }),
        json!({ "sql": "select 1", "timeout_ms": -1 }),
        json!({ "sql": "select 1", "timeout_ms": 1.5 }),
        json!({ "sql": "select 1", "params": {} }),
        json!({ "sql": "select 1", "params": vec![0; 65_536] }),
        json!({ "sql": "select 1", "read_only": "yes" }),
        json!({ "SQL": "select 1" }),
    ] {
        assert_eq!(query(&api, &body).await.status, 400, "{body:.80}");
    }
}

#[tokio::test]
async fn what_postgresql_cannot_store_is_refused_politely() {
    let Some(api) = Api::with_database().await else {
        return;
    };
    for body in [
        json!({ "sql": "select '\u{0}'" }),
        json!({ "sql": "select $1::text", "params": ["a\u{0}b"] }),
        json!({ "sql": "select $1::int", "params": ["x"] }),
        json!({ "sql": "select $1::int", "params": [] }),
        json!({ "sql": "select 1", "params": [1] }),
        json!({ "sql": " -- nothing" }),
    ] {
        let reply = query(&api, &body).await;
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
    }
}

#[tokio::test]
async fn numbers_of_parameters_lose_no_digit() {
    let Some(api) = Api::with_database().await else {
        return;
    };
    let body = r#"{"sql": "select $1::numeric::text a, $2::jsonb::text b, $3::numeric[]::text c, \
                           $4::numeric = 10::numeric ^ 400 d",
                   "params": [123456789012345678901234567890.12345,
                              {"price": 12345678901234567890.10, "x": 1.10},
                              [[12345678901234567890.10], [1.10]], 1e400]}"#;
    let reply = post_text(&api, &body.replace("\\\n", "")).await;
    assert_eq!(
        reply.json()["rows"][0],
        json!({
            "a": "123456789012345678901234567890.12345",
            "b": r#"{"x": 1.10, "price": 12345678901234567890.10}"#,
            "c": "{{12345678901234567890.10},{1.10}}",
            "d": true,
        })
    );
}

#[tokio::test]
async fn null_for_params_is_none_and_only_an_object_is_a_body() {
    let Some(api) = Api::with_database().await else {
        return;
    };
    let reply = query(&api, &json!({ "sql": "select 1 as n", "params": null })).await;
    assert_eq!(reply.json()["rows"], json!([{ "n": 1 }]));
    for body in [
        r#"["select 1", [], null, false]"#.to_owned(),
        "null".to_owned(),
        String::new(),
        r#"{"sql": "select 1", "params": {}}"#.to_owned(),
        r#"{"sql": "select 1", "timeout_ms": "x"}"#.to_owned(),
        format!(
            r#"{{"sql": "select $1::jsonb", "params": [{}{}]}}"#,
            "[".repeat(5_000),
            "]".repeat(5_000)
        ),
    ] {
        let reply = post_text(&api, &body).await;
        assert_eq!(reply.error(), (400, "INVALID_REQUEST".to_owned()));
        for name in ["struct", "RunQuery", "u64"] {
            assert!(!reply.text().contains(name), "{}", reply.text());
        }
    }
}

async fn post_text(api: &Api, body: &str) -> Reply {
    api.post("/api/db/query")
        .owner()
        .raw("application/json", body.to_owned())
        .send()
        .await
}
