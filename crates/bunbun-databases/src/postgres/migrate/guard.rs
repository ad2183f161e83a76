//! Refuses statements that would take the transaction, or the lock, out of the runner's hands.

use super::{
    error::{Error, Place},
    split::{Statement, locate},
};

/// Checks every statement.
///
/// # Errors
/// [`Error::NotAllowed`] for the first that may not be in a migration.
pub(super) fn check(
    sql: &str,
    statements: &[Statement<'_>],
    transactional: bool,
) -> Result<(), Error> {
    for (index, statement) in statements.iter().enumerate() {
        let head = statement.head();
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        if let Some(keyword) = refused(&head, transactional) {
            let (position, line) = locate(sql, statement.first_token);
            return Err(Error::NotAllowed {
                keyword: keyword.to_owned(),
                place: Place {
                    statement_number: index + 1,
                    position,
                    line,
                },
            });
        }
    }
    Ok(())
}

/// What a statement with these leading words is, if it is refused. `END` and `ABORT` are spellings
/// of `COMMIT` and `ROLLBACK`. Savepoints do no harm but no good either in a script that ends at
/// its first error.
fn refused(head: &[&str], transactional: bool) -> Option<&'static str> {
    match head {
        ["begin", ..] => Some("BEGIN"),
        ["start", "transaction", ..] => Some("START TRANSACTION"),
        ["commit", "prepared", ..] => Some("COMMIT PREPARED"),
        ["commit", ..] => Some("COMMIT"),
        ["end", ..] => Some("END"),
        ["rollback", "prepared", ..] => Some("ROLLBACK PREPARED"),
        ["rollback", ..] => Some("ROLLBACK"),
        ["abort", ..] => Some("ABORT"),
        ["savepoint", ..] => Some("SAVEPOINT"),
        ["release", ..] => Some("RELEASE SAVEPOINT"),
        // `PREPARE transaction AS …` names a prepared statement "transaction".
        ["prepare", "transaction"] => Some("PREPARE TRANSACTION"),
        ["set", "transaction", ..] | ["set", "local" | "session", "transaction", ..] => {
            Some("SET TRANSACTION")
        }
        // Would let go of the advisory lock.
        ["discard", ..] if !transactional => Some("DISCARD"),
        _ => None,
    }
}
