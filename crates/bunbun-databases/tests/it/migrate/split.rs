//! The splitter against a real server: it must find the same statements.

use bunbun_databases::postgres::migrate::split;
use bunbun_test::TestDb;
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use tokio_postgres::{Client, SimpleQueryMessage};

/// What the server makes of a text: for each statement its rows.
async fn run(client: &Client, sql: &str) -> Vec<Vec<String>> {
    let messages = client
        .simple_query(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}\n{error:?}"));
    let mut results = vec![Vec::new()];
    for message in messages {
        match message {
            SimpleQueryMessage::Row(row) => {
                let row = row.get(0).unwrap_or("NULL").to_owned();
                results.last_mut().expect("never empty").push(row);
            }
            SimpleQueryMessage::CommandComplete(_) => results.push(Vec::new()),
            _ => {}
        }
    }
    results.pop();
    results
}

async fn compare(client: &Client, sql: &str) {
    client.batch_execute("begin").await.expect("it begins");
    let whole = run(client, sql).await;
    let anew = "rollback; deallocate all; begin";
    client.batch_execute(anew).await.expect("it begins anew");
    let statements = split(sql).unwrap_or_else(|error| panic!("{sql}\n{error}"));
    let mut pieces = Vec::new();
    for statement in &statements {
        let one = run(client, statement.text).await;
        assert_eq!(one.len(), 1, "{sql}\n{statement:?}");
        pieces.extend(one);
    }
    client.batch_execute("rollback").await.expect("it ends");
    assert_eq!(pieces, whole, "{sql}");
}

#[tokio::test]
async fn the_server_finds_the_same_statements_in_what_people_write() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let client = database.superuser().await;
    for sql in [
        "select 1; select 2",
        "select 'a'';';;select E'\\';' ; ; -- ;\nselect 2 -- end",
        "select E'a' -- x\n  -- y\r\n 'b\\';'; select 'a'\n'b\\'; select 3",
        "select $$;$$; select $a$ $$ ; $b$ $a$; select $é$;$é$",
        "/* ; /* ; */ -- ; */ select 1 /* '; */; select 2 --'\n; select 3",
        "select U&'d\\0061t;' ; select U&\"a;\" from (select 1 as \"a;\") x; select u&'!0061;' uescape '!'",
        "select B'1', X'1f', N'a;'; select 1 as \"a\"\"; b\"",
        "create table a$b (x$$ int); select 1 from a$b; select 1 as x$; select 2",
        "create table t (a int); create table u (a int);\
         create rule r as on insert to t do also (insert into u values (1); insert into u values (2););\
         insert into t values (1); select a::text from u order by a",
        "create function f() returns int begin atomic select 1; select case when true then 2 end; end; select f()",
        "create or replace procedure p() begin atomic select 1; end; call p(); select 5",
        "create function g(begin int) returns int language sql as 'select 1; select $1;'; select g(3)",
        "create function h() returns int language plpgsql as $f$ begin if true then return 1; end if; end; $f$; select h()",
        "select 1 +/* ; */ 2; select 3 -- x\r; select 4",
        "select 5 !=-- ;\n 6; select 7 <>/* ; */ 8",
        "do $$ begin perform ';'; end $$; select 1",
        "prepare p1 as select $1::int; execute p1(3); select 'x'",
        "create view v as select ';' as a; comment on view v is 'it''s; so'; select a from v",
        "select '\u{feff};', 'é;'; select 1 as é",
        "select 1;\u{c}select 2;\tselect 3",
    ] {
        compare(&client, sql).await;
    }
}

/// `select`s of literals of every kind, with comments and white space of every kind between.
fn script() -> impl Strategy<Value = String> {
    let inside = prop::sample::select(vec![
        ";", "''", "--", "/*", "*/", "$", "x", " ", "\n", "é", "\"", "(", ")", "$a", "e",
    ]);
    let text = prop::collection::vec(inside, 0..6).prop_map(|parts| parts.concat());
    let literal = prop_oneof![
        text.clone().prop_map(|text| format!("'{text}\\'")),
        text.clone().prop_map(|text| format!("E'{text}\\'\\\\'")),
        text.clone().prop_map(|text| format!("e'a'\n'{text}\\''")),
        text.clone().prop_map(|text| format!("$b${text}$b$")),
        text.clone()
            .prop_map(|text| format!("$${}$$", text.replace('$', ""))),
        text.clone().prop_map(|text| format!("U&'{text}'")),
        text.clone().prop_map(|text| format!("N'{text}'")),
        text.prop_map(|text| format!("1 as \"x{}\"", text.replace('"', "\"\""))),
    ];
    let gap = prop::sample::select(vec![
        " ",
        "\n",
        "\r\n",
        "/* ; ' /* $$ */ */",
        "-- ; ' $$ /*\n",
        "\t",
        "/**/",
    ]);
    let gaps = prop::collection::vec(gap, 1..3).prop_map(|gaps| gaps.concat());
    let statement = (gaps.clone(), gaps.clone(), literal, gaps).prop_map(
        |(before, between, literal, after)| format!("{before}select{between}{literal}{after}"),
    );
    prop::collection::vec(statement, 1..6).prop_map(|statements| statements.join(";"))
}

#[tokio::test]
async fn the_server_finds_the_same_statements_in_random_scripts() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let client = database.superuser().await;
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    for _ in 0..500 {
        let sql = script().new_tree(&mut runner).expect("a script").current();
        compare(&client, &sql).await;
    }
}
