//! Runs the user's statements one by one and says exactly where one failed.

use std::time::Instant;

use futures_util::StreamExt;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::{StatementReport, error::Error, plan::Plan, session::Session};
use crate::postgres;

/// Runs one statement of the plan; `partial` tells whether those before it stay in effect.
pub(super) async fn statement(
    session: &Session,
    plan: &Plan<'_>,
    index: usize,
    partial: bool,
) -> Result<StatementReport, Error> {
    let text = plan
        .statements
        .get(index)
        .map_or("", |statement| statement.text);
    session.announce(index + 1);
    let begun = Instant::now();
    let result = run(session, text).await;
    let duration_ms = milliseconds(begun);
    session.announce(0);
    match result {
        Ok(rows) => Ok(StatementReport {
            statement_number: index + 1,
            line: plan.lines.get(index).copied().unwrap_or(0),
            rows,
            duration_ms,
        }),
        Err(error) => Err(failure(error, plan, Some(index), partial)),
    }
}

/// Since a moment, in whole milliseconds.
pub(super) fn milliseconds(begun: Instant) -> i64 {
    i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX)
}

/// The simple protocol, as psql uses it: some statements exist that cannot be prepared, and text
/// can be made of every type. Rows are counted and dropped.
async fn run(client: &Client, text: &str) -> Result<u64, postgres::Error> {
    let stream = client
        .simple_query_raw(text)
        .await
        .map_err(postgres::Error::from_statement)?;
    let mut stream = std::pin::pin!(stream);
    let mut completed = None;
    while let Some(message) = stream.next().await {
        let message = message.map_err(postgres::Error::from_statement)?;
        if let SimpleQueryMessage::CommandComplete(rows) = message
            && completed.replace(rows).is_some()
        {
            return Err(postgres::Error::internal(
                "PostgreSQL found more statements in a text than our splitter",
            ));
        }
    }
    Ok(completed.unwrap_or(0))
}

/// Puts a failure in its place in the whole text.
pub(super) fn failure(
    error: postgres::Error,
    plan: &Plan<'_>,
    index: Option<usize>,
    partial: bool,
) -> Error {
    match error {
        postgres::Error::Sql(mut error) => {
            let place = index.map(|index| plan.place(index, error.position));
            // Without a position PostgreSQL points nowhere; the statement's begin is in `place`.
            error.position = error
                .position
                .and(place)
                .and_then(|place| u32::try_from(place.position).ok());
            error.statement_number =
                place.and_then(|place| u32::try_from(place.statement_number).ok());
            // 25001: "… cannot run inside a transaction block".
            if error.sqlstate == "25001" && error.hint.is_none() {
                error.hint = Some("Send the migration with transactional: false.".to_owned());
            }
            Error::Statement {
                error,
                place,
                partial,
            }
        }
        postgres::Error::StatementTimeout => Error::Timeout {
            place: index.map(|index| plan.place(index, None)),
            partial,
        },
        other => other.into(),
    }
}
