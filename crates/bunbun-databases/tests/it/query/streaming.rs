//! Rows as they come.

use std::time::Duration;

use bunbun_core::{Classify, Code};
use bunbun_databases::postgres::{
    Error,
    pool::Pool,
    query::{Request, RowFormat, stream},
};
use bunbun_test::TestDb;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::{ask, value};

async fn whole(pool: &Pool, sql: &str, format: RowFormat) -> Result<String, Error> {
    let mut rows = stream(pool, Request::new(sql), format).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = rows.next().await {
        bytes.extend_from_slice(&chunk?);
    }
    Ok(String::from_utf8(bytes).expect("it is UTF-8"))
}

#[tokio::test]
async fn lines_of_json_and_csv_hold_the_same_values() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    let sql = "select 1 as a, 'x,\"y\"' as \"b c\", null as d, '' as e, array[1,null] as f, \
               '{\"g\":\n1}'::json as g, true as h, '\\x00ff'::bytea as i, \
               timestamptz '2024-01-02 03:04:05+00' as j union all select 2,'z',null,'q',null,null,null,null,null";
    let lines = whole(
        &pool,
        &sql.replace("::json", "::json::text"),
        RowFormat::Ndjson,
    )
    .await
    .expect("it runs");
    let first: Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
    assert_eq!(lines.lines().count(), 2);
    assert_eq!(
        first,
        json!({"a": 1, "b c": "x,\"y\"", "d": null, "e": "", "f": [1, null], "g": "{\"g\":\n1}",
               "h": true, "i": "AP8=", "j": "2024-01-02T03:04:05Z"})
    );
    let csv = whole(&pool, sql, RowFormat::Csv).await.expect("it runs");
    assert_eq!(
        csv,
        "a,b c,d,e,f,g,h,i,j\r\n\
         1,\"x,\"\"y\"\"\",,\"\",\"[1,null]\",\"{\"\"g\"\":\n1}\",true,AP8=,2024-01-02T03:04:05Z\r\n\
         2,z,,q,,,,,\r\n"
    );
    assert_eq!(
        whole(&pool, "select 1 as a where false", RowFormat::Csv)
            .await
            .expect("it runs"),
        "a\r\n"
    );
    assert_eq!(
        whole(&pool, "select 1 where false", RowFormat::Ndjson)
            .await
            .expect("it runs"),
        ""
    );
    let json_line = whole(&pool, "select '{\"a\":\n1}'::json as a", RowFormat::Ndjson)
        .await
        .expect("it runs");
    assert_eq!(json_line, "{\"a\":{\"a\": 1}}\n");
}

#[tokio::test]
async fn a_million_rows_stream_in_small_chunks() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(1);
    let mut request =
        Request::new("select g, md5(g::text) as h from generate_series(1, 1000000) as g");
    request.read_only = true;
    let mut rows = stream(&pool, request, RowFormat::Ndjson)
        .await
        .expect("it runs");
    let (mut lines, mut largest, mut last) = (0, 0, Vec::new());
    while let Some(chunk) = rows.next().await {
        let chunk = chunk.expect("no failure");
        lines += chunk.iter().filter(|byte| **byte == b'\n').count();
        largest = largest.max(chunk.len());
        last = chunk.to_vec();
    }
    assert_eq!(lines, 1_000_000);
    assert!(largest < 64 * 1024, "a chunk of {largest} bytes");
    assert!(String::from_utf8_lossy(&last).contains("{\"g\":1000000,"));
    drop(rows);
    assert_eq!(value(&pool, "select 1").await, 1);
}

#[tokio::test]
async fn a_refusal_is_an_error_and_not_a_broken_stream() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(1);
    for sql in [
        "selec 1",
        "select 1/0",
        "select 1; select 2",
        "copy (select 1) to stdout",
    ] {
        whole(&pool, sql, RowFormat::Ndjson).await.expect_err(sql);
    }
    assert_eq!(value(&pool, "select 1").await, 1);
}

#[tokio::test]
async fn a_failure_in_mid_stream_is_told_by_the_format_s_means() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(1);
    let sql = "select 1 / (10000 - g) as q from generate_series(1, 20000) as g";
    let lines = whole(&pool, sql, RowFormat::Ndjson)
        .await
        .expect("the stream ends in order");
    let last: Value = serde_json::from_str(lines.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["error"]["details"]["sqlstate"], "22012");
    assert_eq!(lines.lines().count(), 10_000);
    let error = whole(&pool, sql, RowFormat::Csv)
        .await
        .expect_err("the stream breaks");
    assert_eq!(error.code(), Code::SqlError);
    assert_eq!(value(&pool, "select 1").await, 1);
}

#[tokio::test]
async fn a_stream_that_is_dropped_stops_the_statement() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(1);
    let process = value(&pool, "select pg_backend_pid()").await;
    let sql = "select repeat('x', 1000), generate_series(1, 1000000000)";
    let mut rows = stream(&pool, Request::new(sql), RowFormat::Csv)
        .await
        .expect("it runs");
    rows.next().await.expect("a chunk").expect("no failure");
    drop(rows);
    let same = value(&pool, "select pg_backend_pid()").await;
    assert_eq!(same, process, "the connection came back");
}

#[tokio::test]
async fn rows_that_come_slowly_are_sent_on_before_a_chunk_is_full() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(1);
    // PostgreSQL itself sends 8 KiB at a time.
    let sql = "select repeat('x', 1000), pg_sleep(case when g = 21 then 60 else 0 end)::text \
               from generate_series(1, 21) as g";
    let mut request = Request::new(sql);
    request.timeout = Duration::from_secs(50);
    let mut rows = stream(&pool, request, RowFormat::Ndjson)
        .await
        .expect("the first row comes");
    let chunk = rows.next().await.expect("a chunk").expect("no failure");
    let lines = chunk.iter().filter(|byte| **byte == b'\n').count();
    assert!((1..21).contains(&lines), "{lines} lines");
}

#[tokio::test]
async fn writes_can_be_streamed_and_are_committed() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool_of(1);
    ask(&pool, "create table t (a int)").await;
    let sql = "insert into t select generate_series(1, 10000) returning a";
    let lines = whole(&pool, sql, RowFormat::Ndjson).await.expect("it runs");
    assert_eq!(lines.lines().count(), 10_000);
    assert_eq!(value(&pool, "select count(*) from t").await, 10_000);
    assert_eq!(
        whole(&pool, "truncate t", RowFormat::Ndjson)
            .await
            .expect("it runs"),
        ""
    );
}
