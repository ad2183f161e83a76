//! A request, checked and split, before anything touches the database.

use super::{
    MAX_KEY_CHARACTERS, MAX_LOCK_TIMEOUT, MAX_NAME_CHARACTERS, MAX_SQL_BYTES,
    MAX_STATEMENT_TIMEOUT, MigrationRequest, checksum,
    error::{Error, Place},
    guard,
    split::{Statement, locate, split},
};

/// What is to be run.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) request: &'a MigrationRequest,
    pub(super) statements: Vec<Statement<'a>>,
    pub(super) checksum: String,
    /// The line of each statement's first token, from 1.
    pub(super) lines: Vec<usize>,
}

impl<'a> Plan<'a> {
    /// Checks the request.
    pub(super) fn new(request: &'a MigrationRequest) -> Result<Self, Error> {
        check_fields(request)?;
        let statements = split(&request.sql)?;
        if statements.is_empty() {
            return Err(invalid("/sql", "must contain at least one statement"));
        }
        guard::check(&request.sql, &statements, request.transactional)?;
        Ok(Self {
            request,
            checksum: checksum::of_statements(&statements),
            lines: lines(&request.sql, &statements),
            statements,
        })
    }

    /// Where a statement begins, or where PostgreSQL points to in it.
    pub(super) fn place(&self, index: usize, position_in_statement: Option<u32>) -> Place {
        let offset = self.statements.get(index).map_or(0, |statement| {
            let inside = position_in_statement
                .and_then(|position| usize::try_from(position).ok()?.checked_sub(1))
                .map(|skip| {
                    let mut characters = statement.text.char_indices();
                    characters
                        .nth(skip)
                        .map_or(statement.text.len(), |(at, _)| at)
                });
            inside.map_or(statement.first_token, |inside| statement.offset + inside)
        });
        let (position, line) = locate(&self.request.sql, offset);
        Place {
            statement_number: index + 1,
            position,
            line,
        }
    }
}

/// In one pass, since a text may have very many statements.
fn lines(sql: &str, statements: &[Statement<'_>]) -> Vec<usize> {
    let mut seen = 0;
    let mut line = 1;
    let count = |statement: &Statement<'_>| {
        let stretch = sql.as_bytes().get(seen..statement.first_token);
        line += memchr::memchr_iter(b'\n', stretch.unwrap_or_default()).count();
        seen = statement.first_token;
        line
    };
    statements.iter().map(count).collect()
}

fn check_fields(request: &MigrationRequest) -> Result<(), Error> {
    let name = &request.name;
    let printable = !name.chars().any(char::is_control) && name.trim() == name;
    if name.is_empty() || name.chars().count() > MAX_NAME_CHARACTERS || !printable {
        return Err(invalid(
            "/name",
            "must have 1 to 200 printable characters, without spaces around them",
        ));
    }
    if request.sql.len() > MAX_SQL_BYTES {
        return Err(invalid("/sql", "must not be larger than 10 MiB"));
    }
    if request.dry_run && !request.transactional {
        return Err(invalid(
            "/dry_run",
            "needs a transaction that can be rolled back; transactional: false has none",
        ));
    }
    if let Some(key) = &request.idempotency_key {
        let printable = key.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
        if key.is_empty() || key.len() > MAX_KEY_CHARACTERS || !printable {
            return Err(Error::Invalid {
                pointer: "",
                message: "The Idempotency-Key header must have 1 to 255 printable ASCII characters"
                    .to_owned(),
            });
        }
    }
    if request.lock_timeout.is_zero() || request.lock_timeout > MAX_LOCK_TIMEOUT {
        return Err(invalid("/lock_timeout_ms", "must be between 1 and 300000"));
    }
    if request.statement_timeout.is_zero() || request.statement_timeout > MAX_STATEMENT_TIMEOUT {
        return Err(invalid(
            "/statement_timeout_ms",
            "must be between 1 and 3600000",
        ));
    }
    Ok(())
}

fn invalid(pointer: &'static str, message: &str) -> Error {
    Error::Invalid {
        pointer,
        message: message.to_owned(),
    }
}
