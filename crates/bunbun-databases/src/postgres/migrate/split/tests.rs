//! Tests of the splitter that need no server; `tests/it/migrate.rs` compares it with a real one.

use proptest::prelude::*;

use super::{Fault, pieces, split};

fn texts(sql: &str) -> Vec<&str> {
    split(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
        .into_iter()
        .map(|statement| statement.text)
        .collect()
}

fn fault(sql: &str) -> (Fault, usize, usize, usize) {
    match split(sql) {
        Err(error) => (error.fault, error.statement, error.position, error.line),
        Ok(statements) => panic!("{sql} was split: {statements:?}"),
    }
}

#[test]
fn statements_end_at_semicolons_and_at_the_end() {
    assert_eq!(texts("select 1; select 2"), ["select 1", "select 2"]);
    assert_eq!(
        texts("select 1;\n;; \n select 2 ;\n"),
        ["select 1", "select 2"]
    );
    assert!(texts("").is_empty());
    assert!(texts(" ;\n-- only this\n/* and ; this */").is_empty());
}

#[test]
fn semicolons_in_quotes_and_comments_end_nothing() {
    for one in [
        "select ';'",
        "select 'it''s;'",
        r"select '\'",
        r"select E'\';'",
        r"select e'a''\\;'",
        r"select U&'\0041;'",
        r#"select u&"a;" from t"#,
        "select N'a;', B'1', X'1f'",
        r#"select ";""a;""#,
        "select $$;$$",
        "select $a$;$b$;$$;$a$",
        "select $é1$;$é1$",
        "select 1 -- ;",
        "select 1 /* ; /* ; */ ; */ + 1",
        "select 1 +/* ; */ 2",
        "select 1 --+ ;\r + 2",
        "select 'a' -- ;\n 'b;'",
    ] {
        assert_eq!(texts(&format!("{one}\n; select 2")), [one, "select 2"]);
    }
}

#[test]
fn an_escape_string_that_goes_on_in_the_next_line_still_escapes() {
    assert_eq!(texts("select E'a' -- c\n 'b\\';'; x").len(), 2);
    // A plain string does not; nor does it go on in the same line.
    assert_eq!(texts("select 'a'\n 'b\\'; x").len(), 2);
    assert_eq!(texts("select E'a' 'b\\'; x").len(), 2);
}

#[test]
fn a_dollar_in_a_word_opens_nothing() {
    assert_eq!(texts("select a$$;b$$").len(), 2);
    assert_eq!(texts("select $1;$2").len(), 2);
    assert_eq!(texts("select $a;$b").len(), 2);
    assert_eq!(texts("select é$x$;é$x$").len(), 2);
}

#[test]
fn the_actions_of_a_rule_stay_together() {
    let rule = "create rule r as on insert to t do (delete from a; delete from b (x);)";
    assert_eq!(texts(&format!("{rule}; select 1")), [rule, "select 1"]);
}

#[test]
fn the_atomic_body_of_a_routine_stays_together() {
    for routine in [
        "create function f() returns int begin atomic select 1; select case when true then 2 end; end",
        "CREATE OR REPLACE PROCEDURE p() LANGUAGE sql BEGIN /* x */ ATOMIC insert into t values (1); END",
        "create function f(a int) begin atomic select a as end; select t.case from t; end",
        "create function f() returns int begin atomic select (case when a then b end); end",
    ] {
        assert_eq!(
            texts(&format!("{routine}; select 1")),
            [routine, "select 1"]
        );
    }
    // A parameter of that name, and what is no routine.
    assert_eq!(
        texts("create function f(begin int) language sql as 'x'; end").len(),
        2
    );
    assert_eq!(texts("create table begin (atomic int); select 1").len(), 2);
    assert_eq!(texts("begin atomic; end").len(), 2);
}

#[test]
fn a_statement_knows_where_it_stands_and_how_it_begins() {
    let sql = "-- é\nselect 1;\n  -- next\n  Create /* x */ TABLE é (a int);";
    let statements = split(sql).unwrap();
    assert_eq!(statements.len(), 2);
    let second = &statements[1];
    assert_eq!(&sql[second.offset..][..second.text.len()], second.text);
    assert!(second.text.starts_with("-- next"));
    assert!(sql[second.first_token..].starts_with("Create"));
    assert_eq!(second.head(), ["create", "table", "é"]);
}

#[test]
fn a_byte_order_mark_is_skipped() {
    assert_eq!(texts("\u{feff}select 1"), ["select 1"]);
}

#[test]
fn open_ends_are_told_with_their_place() {
    assert_eq!(
        fault("select 1;\nselect 'é\n"),
        (Fault::UnterminatedString, 2, 18, 2)
    );
    assert_eq!(fault(r"select E'\'"), (Fault::UnterminatedString, 1, 8, 1));
    assert_eq!(
        fault("select E'a'\n'b"),
        (Fault::UnterminatedString, 1, 8, 1)
    );
    assert_eq!(
        fault("select \"a"),
        (Fault::UnterminatedIdentifier, 1, 8, 1)
    );
    assert_eq!(
        fault("é $x$ $$ $y$"),
        (Fault::UnterminatedDollarQuote, 1, 3, 1)
    );
    assert_eq!(fault("\n\n/* /* */"), (Fault::UnterminatedComment, 1, 3, 3));
}

#[test]
fn what_only_psql_can_do_is_refused() {
    assert_eq!(
        fault("select 1;\n\\connect x"),
        (Fault::MetaCommand, 2, 11, 2)
    );
    for copy in [
        "copy t from stdin;\n1\t\\N\n\\.\n",
        "COPY t (a, b) FROM STDIN WITH (format csv);",
        "copy (select 1) to stdout",
    ] {
        assert_eq!(
            fault(&format!("select 1; {copy}")),
            (Fault::CopyStream, 2, 11, 1)
        );
    }
    assert_eq!(texts("copy (select a from stdin) to '/tmp/x'").len(), 1);
    assert_eq!(fault("select '\0'").0, Fault::NulByte);
}

/// Texts made of what the splitter looks at.
fn soup() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "'",
        "''",
        "E'",
        "\\",
        "\\'",
        "\"",
        "$$",
        "$a$",
        "$",
        "--",
        "\n",
        "\r",
        "/*",
        "*/",
        ";",
        "(",
        ")",
        " ",
        "create ",
        "function ",
        "procedure ",
        "or ",
        "replace ",
        "begin ",
        "atomic ",
        "end ",
        "case ",
        "as ",
        ".",
        "copy ",
        "from ",
        "stdin ",
        "é",
        "1",
        "U&",
        "\u{feff}",
        "\0",
        "x",
    ]);
    prop::collection::vec(part, 0..60).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(2_000)
    })]

    #[test]
    fn any_text_gives_statements_or_an_error_with_a_place(sql in any::<String>()) {
        check(&sql)?;
    }

    #[test]
    fn any_soup_of_quotes_gives_statements_or_an_error_with_a_place(sql in soup()) {
        check(&sql)?;
    }
}

fn check(sql: &str) -> Result<(), TestCaseError> {
    match pieces(sql) {
        Ok(pieces) => {
            let mark = if sql.starts_with('\u{feff}') {
                "\u{feff}"
            } else {
                ""
            };
            let texts: Vec<&str> = pieces
                .iter()
                .map(|piece| &sql[piece.range.clone()])
                .collect();
            prop_assert_eq!(format!("{mark}{}", texts.join(";")), sql);
            for statement in split(sql).unwrap() {
                prop_assert_eq!(
                    &sql[statement.offset..][..statement.text.len()],
                    statement.text
                );
                prop_assert!(statement.first_token >= statement.offset);
                if statement.text.starts_with('\u{feff}') {
                    // Inside the text part of a word, at its start skipped.
                    continue;
                }
                // Alone it is one statement again.
                let alone = split(statement.text).unwrap();
                prop_assert_eq!(alone.len(), 1);
                prop_assert_eq!(alone[0].text, statement.text);
                prop_assert_eq!(alone[0].head(), statement.head());
            }
        }
        Err(error) => {
            let characters = sql.chars().count();
            prop_assert!((1..=characters).contains(&error.position));
            prop_assert!(error.line >= 1 && error.statement >= 1);
        }
    }
    Ok(())
}
