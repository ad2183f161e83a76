use proptest::prelude::*;

use super::{Effects, HARMLESS, Names, classify};

#[test]
fn the_list_of_harmless_names_is_sorted() {
    assert!(HARMLESS.is_sorted());
}

#[test]
fn statements_are_counted_outside_of_quotes_and_comments() {
    for (sql, count) in [
        ("", 0),
        (" ; -- nothing\n ;", 0),
        ("select 1", 1),
        ("select 1;", 1),
        ("select ';' ; -- ;\n select 2", 2),
        ("select $$;$$, $a$;$$;$a$, $1", 1),
        ("select E'\\';', U&\"a;b\", 'it''s;'", 1),
        ("select E'a'\n -- b\n '\\'; c'", 1),
        ("select E'a' '\\'; c'", 2),
        ("/* ; /* ; */ ; */ select 1", 1),
        ("select 'unclosed ; ", 1),
        ("select a$b$; select c$b$", 2),
        ("\u{b}select 1;\u{feff}", 2),
    ] {
        assert_eq!(classify(sql).statements, count, "{sql}");
    }
}

#[test]
fn only_reads_through_built_in_functions_are_without_effects() {
    for sql in [
        "select 1",
        "SELECT count(*), max(a) FROM t WHERE b IN (1, 2) AND lower(c) = $1",
        "with x as (select 1) select * from x",
        "(select 1) union all (select 2)",
        "values (1), (2)",
        "table t",
        "select 'set_config(1)' -- nextval(2)",
        "select a::numeric(3, 1), b::varchar(10) from t",
        "select sum(a) over (partition by b) from t",
    ] {
        assert_eq!(classify(sql).effects, Effects::None, "{sql}");
    }
}

#[test]
fn whatever_may_touch_the_session_is_cleaned_after() {
    for sql in [
        "insert into t values (1)",
        "update t set a = 1",
        "with x as (delete from t returning *) select * from x",
        "with x as (insert into t select 1 returning *) select * from x",
        "select * from U&\"x\"",
        "select * from t for update",
    ] {
        assert_eq!(classify(sql).effects, Effects::Session, "{sql}");
    }
    for sql in [
        "select set_config('a.b', '1', false)",
        "select pg_advisory_lock(1)",
        "select public.count(1)",
        "select \"lower\"(a) from t",
        "select lower/**/(a), my_function (a) from t",
        "set search_path to x",
        "begin",
        "do $$ begin end $$",
        "explain analyze select 1",
        "select * into temp x from t",
        "with a as (select 1) select * into x from a",
        "prepare a as select 1",
        "select 1; select 2",
        "create temp table x ()",
        "\"select\" 1",
    ] {
        assert_eq!(classify(sql).effects, Effects::Everything, "{sql}");
    }
}

#[test]
fn copies_with_the_client_are_seen() {
    assert!(classify("COPY t FROM STDIN").copies_to_client);
    assert!(classify("select 1; copy (select 1) to stdout").copies_to_client);
    assert!(!classify("copy t from '/tmp/stdin'").copies_to_client);
    assert!(!classify("select stdin from stdout").copies_to_client);
    assert_eq!(classify(" /**/ explain select 1").verb, "EXPLAIN");
}

proptest! {
    #[test]
    fn any_text_is_scanned_to_its_end(sql in "[a-z'\"$;/*\\-\\\\ (é\n]{0,60}|.*") {
        let _ = classify(&sql);
    }
}

#[test]
fn names_and_operators_that_may_be_the_users_are_found() {
    let names = classify(
        "select a.\"B \"\"c\", 'no', x::Money2 from S.t /* no */ where a @@@ $1 and b <= 1 -- no",
    )
    .names;
    assert_eq!(names.words, ["B \"c", "a", "b", "money2", "s", "t", "x"]);
    assert_eq!(names.operators, ["@@@"]);
    assert_eq!(classify("update t set a = 1").names, Names::default());
}
