//! Every type, in as a parameter and out as a value.

use bunbun_databases::postgres::query::Request;
use bunbun_test::TestDb;
use serde_json::{Value, json};

use super::{answer, ask, value};

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn parameters_arrive_as_the_statement_s_types_and_come_back() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    ask(&pool, "create type mood as enum ('sad', 'happy'); create domain positive as int check (value > 0); \
                create type pair as (a int, b text); create extension citext").await;
    for (data_type, input, output) in [
        ("bool", json!(true), json!(true)),
        ("bool", json!("no"), json!(false)),
        ("int2", json!(-32768), json!(-32768)),
        ("int4", json!("2147483647"), json!(2_147_483_647)),
        (
            "int8",
            json!(9_007_199_254_740_991_i64),
            json!(9_007_199_254_740_991_i64),
        ),
        (
            "int8",
            json!("9223372036854775807"),
            json!("9223372036854775807"),
        ),
        ("int8", json!(i64::MIN), json!("-9223372036854775808")),
        ("oid", json!(4_294_967_295_u32), json!(4_294_967_295_u32)),
        ("float4", json!(0.1), json!(0.1)),
        ("float8", json!(1e300), json!(1e300)),
        ("float8", json!("NaN"), json!("NaN")),
        ("float8", json!("-Infinity"), json!("-Infinity")),
        (
            "numeric",
            json!("123456789012345678901234567890.00000000001"),
            json!("123456789012345678901234567890.00000000001"),
        ),
        ("numeric", json!(1.5), json!("1.5")),
        ("numeric", json!("NaN"), json!("NaN")),
        ("money", json!("$1,234.50"), json!("$1,234.50")),
        ("text", json!("é\u{1F600}\n\"\\"), json!("é\u{1F600}\n\"\\")),
        ("text", json!(12), json!("12")),
        ("text", json!({"a": [1]}), json!("{\"a\":[1]}")),
        ("varchar(3)", json!("abc"), json!("abc")),
        ("char(3)", json!("a"), json!("a  ")),
        ("name", json!("n"), json!("n")),
        ("citext", json!("CaSe"), json!("CaSe")),
        ("mood", json!("happy"), json!("happy")),
        ("positive", json!(5), json!(5)),
        ("pair", json!("(1,\"x y\")"), json!("(1,\"x y\")")),
        (
            "uuid",
            json!("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"),
            json!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ),
        (
            "json",
            json!({"b": 1, "a": [null, 1.50]}),
            json!({"b": 1, "a": [null, 1.50]}),
        ),
        ("jsonb", json!("text"), json!("text")),
        ("jsonb", json!([1, {"a": "\u{e9}"}]), json!([1, {"a": "é"}])),
        ("bytea", json!("AP8="), json!("AP8=")),
        ("bytea", json!(""), json!("")),
        ("date", json!("2024-02-29"), json!("2024-02-29")),
        ("date", json!("-000043-03-15"), json!("-000043-03-15")),
        ("date", json!("infinity"), json!("infinity")),
        (
            "timestamp",
            json!("2024-01-02T03:04:05.678901"),
            json!("2024-01-02T03:04:05.678901"),
        ),
        (
            "timestamptz",
            json!("2024-01-02T03:04:05+02:00"),
            json!("2024-01-02T01:04:05Z"),
        ),
        (
            "timestamptz",
            json!("+012345-01-02T03:04:05Z"),
            json!("+012345-01-02T03:04:05Z"),
        ),
        ("timestamptz", json!("-infinity"), json!("-infinity")),
        (
            "timestamptz",
            json!("0000-12-31T23:59:59Z"),
            json!("0000-12-31T23:59:59Z"),
        ),
        ("time", json!("03:04:05.6"), json!("03:04:05.6")),
        ("timetz", json!("03:04:05+02"), json!("03:04:05+02")),
        ("interval", json!("1 day 02:00:00"), json!("1 day 02:00:00")),
        ("interval", json!("P1Y2M"), json!("1 year 2 mons")),
        ("inet", json!("10.0.0.1/8"), json!("10.0.0.1/8")),
        ("cidr", json!("10.0.0.0/8"), json!("10.0.0.0/8")),
        (
            "macaddr",
            json!("08:00:2b:01:02:03"),
            json!("08:00:2b:01:02:03"),
        ),
        ("int4range", json!("[1,5)"), json!("[1,5)")),
        (
            "int4multirange",
            json!("{[1,5),[7,8)}"),
            json!("{[1,5),[7,8)}"),
        ),
        (
            "tstzrange",
            json!("[2024-01-01 00:00:00+00,)"),
            json!("[\"2024-01-01 00:00:00+00\",)"),
        ),
        ("point", json!("(1,2)"), json!("(1,2)")),
        ("box", json!("(3,4),(1,2)"), json!("(3,4),(1,2)")),
        ("bit(3)", json!("101"), json!("101")),
        ("varbit", json!("1011"), json!("1011")),
        ("tsvector", json!("'a':1 'b':2"), json!("'a':1 'b':2")),
        ("tsquery", json!("'a' & 'b'"), json!("'a' & 'b'")),
        ("xml", json!("<a/>"), json!("<a/>")),
        ("pg_lsn", json!("16/B374D848"), json!("16/B374D848")),
        ("regclass", json!("pg_class"), json!("pg_class")),
        ("jsonpath", json!("$.a"), json!("$.\"a\"")),
        ("int4[]", json!([1, null, 3]), json!([1, null, 3])),
        ("int4[]", json!([[1, 2], [3, 4]]), json!([[1, 2], [3, 4]])),
        ("int4[]", json!("{7}"), json!([7])),
        (
            "text[]",
            json!(["a,b", "NULL", null, "q\"\\", ""]),
            json!(["a,b", "NULL", null, "q\"\\", ""]),
        ),
        (
            "jsonb[]",
            json!([[1], {"a": 1}, "s"]),
            json!([[1], {"a": 1}, "s"]),
        ),
        ("bytea[]", json!(["AP8="]), json!(["AP8="])),
        ("bool[]", json!([true, false]), json!([true, false])),
        ("numeric[]", json!(["1.10"]), json!(["1.10"])),
        (
            "timestamptz[]",
            json!(["2024-01-02T03:04:05Z"]),
            json!(["2024-01-02T03:04:05Z"]),
        ),
        ("mood[]", json!(["sad", null]), json!(["sad", null])),
        ("positive[]", json!([1]), json!([1])),
        ("citext[]", json!(["A"]), json!(["A"])),
        (
            "box[]",
            json!(["(3,4),(1,2)", "(1,1),(0,0)"]),
            json!(["(3,4),(1,2)", "(1,1),(0,0)"]),
        ),
        ("pair[]", json!(["(1,x)"]), json!(["(1,x)"])),
        ("int4", Value::Null, Value::Null),
    ] {
        let mut request = Request::new(format!("select $1::{data_type} as v"));
        request.params = vec![input.clone().into()];
        let answer = answer(&pool, &request)
            .await
            .unwrap_or_else(|error| panic!("{data_type} from {input}: {error:?}"));
        assert_eq!(answer["rows"][0]["v"], output, "{data_type} from {input}");
    }
}

#[tokio::test]
async fn types_are_named_as_postgresql_names_them() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    ask(
        &pool,
        "create type mood as enum ('sad'); create domain small as int2",
    )
    .await;
    let sql = "select 1::int2 a, '{}'::int4[] b, 'sad'::mood c, '{sad}'::mood[] d, 1::small e, \
               '{1}'::small[] f, row(1, 'x') g, null::aclitem[] h, now() i";
    let names: Vec<String> = ask(&pool, sql).await["fields"]
        .as_array()
        .expect("fields")
        .iter()
        .map(|field| field["type"].as_str().expect("a name").to_owned())
        .collect();
    assert_eq!(
        names,
        [
            "int2",
            "int4[]",
            "mood",
            "mood[]",
            "int2",
            "int2[]",
            "record",
            "aclitem[]",
            "timestamptz"
        ]
    );
}

#[tokio::test]
async fn values_without_a_binary_form_and_whole_catalogues_are_read() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    ask(&pool, "create table t (a int); grant select on t to public").await;
    let acl = value(&pool, "select relacl from pg_class where relname = 't'").await;
    assert_eq!(acl.as_array().map(Vec::len), Some(2), "{acl}");
    for catalogue in [
        "pg_class",
        "pg_proc",
        "pg_type",
        "pg_attribute",
        "pg_statistic_ext",
        "pg_settings",
        "pg_constraint",
        "pg_index",
        "pg_stat_activity",
    ] {
        ask(&pool, &format!("select * from {catalogue}")).await;
    }
    assert_eq!(value(&pool, "select null::void").await, Value::Null);
    assert_eq!(value(&pool, "select 't'::regclass").await, "t");
}

#[tokio::test]
async fn inferred_types_of_parameters_are_those_of_their_columns() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = database.pool();
    ask(&pool, "create domain tags as text[]; create table t (id bigserial primary key, at timestamptz, doc jsonb, tags tags)").await;
    let mut request = Request::new("insert into t (at, doc, tags) values ($1, $2, $3) returning *");
    request.params = vec![
        json!("2024-01-02T00:00:00Z").into(),
        json!({"a": [1]}).into(),
        json!(["x", "y"]).into(),
    ];
    let answer = answer(&pool, &request).await.expect("it runs");
    assert_eq!(
        answer["rows"][0],
        json!({"id": 1, "at": "2024-01-02T00:00:00Z", "doc": {"a": [1]}, "tags": ["x", "y"]})
    );
}
