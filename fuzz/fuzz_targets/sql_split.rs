//! Splitting SQL: statements are parts of the text, in order, and each is one statement again.

#![no_main]

use bunbun_databases::postgres::migrate::split::split;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|sql: &str| {
    let statements = match split(sql) {
        Ok(statements) => statements,
        Err(error) => {
            assert!(error.position >= 1 && error.position <= sql.chars().count() + 1);
            assert!(error.line >= 1 && error.statement >= 1);
            return;
        }
    };
    let mut end = 0;
    for statement in &statements {
        assert!(statement.offset >= end, "out of order");
        end = statement.offset + statement.text.len();
        assert_eq!(&sql[statement.offset..end], statement.text);
        assert!((statement.offset..end).contains(&statement.first_token));
        assert!(!statement.text.is_empty());
        assert!(statement.head().iter().all(|word| !word.is_empty()));
        let again = split(statement.text).expect("a statement is valid alone");
        let [again] = again.as_slice() else {
            panic!("{} in one", again.len())
        };
        assert_eq!(again.text, statement.text);
        assert_eq!(again.head(), statement.head());
    }
    // A line end before the semicolon: the last thing may be a comment.
    let texts: Vec<&str> = statements.iter().map(|statement| statement.text).collect();
    let joined = texts.join("\n;\n");
    let again = split(&joined).expect("statements stay valid");
    assert_eq!(
        again
            .iter()
            .map(|statement| statement.text)
            .collect::<Vec<_>>(),
        texts
    );
});
