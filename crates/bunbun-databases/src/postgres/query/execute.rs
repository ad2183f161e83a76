//! One statement through the extended protocol, in one round trip once it is prepared.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use postgres_protocol::{IsNull, message::frontend};

use super::{
    super::{
        error::{Error, SqlError},
        wire::{self, Connection, Tag},
    },
    Answer, Lease, Progress, Request,
    classify::{Effects, Text},
    output::{Document, Summary},
    parameters,
    statements::{self, Preparation, Prepared},
};

pub(super) async fn run(
    lease: &mut Lease,
    request: &Request,
    text: &Text,
    progress: &mut Progress,
) -> Result<Answer, Error> {
    let started = Instant::now();
    let prepared = prepare(lease, request, text).await?;
    let limit = limit(request, text);
    send(lease, &prepared.statement, request, limit).await?;
    progress.was_sent = true;
    let outcome = collect(lease, &prepared.statement, request, text).await;
    match outcome {
        Err(error) if prepared.was_kept && is_stale(&error) => {
            lease.statements.forget(&request.sql);
            if !means_replan(&error) {
                return Err(error);
            }
            // Nothing was executed: the table changed under a plan that was kept.
            let prepared = prepare(lease, request, text).await?;
            send(lease, &prepared.statement, request, limit).await?;
            let outcome = collect(lease, &prepared.statement, request, text).await?;
            finish(outcome, &prepared.statement, text, started)
        }
        outcome => finish(outcome?, &prepared.statement, text, started),
    }
}

/// Has the statement prepared; what it may leave behind is cleaned after.
pub(super) async fn prepare(
    lease: &mut Lease,
    request: &Request,
    text: &Text,
) -> Result<Preparation, Error> {
    let prepared = statements::prepare(lease, &request.sql, text).await?;
    lease.expect_effects(prepared.statement.effects);
    Ok(prepared)
}

/// Rows that the server is asked for. A statement that only reads is cancelled when it returns
/// more than wanted, because a limited portal is never run in parallel; one that writes, or may,
/// is run by the server up to the limit and committed.
fn limit(request: &Request, text: &Text) -> i32 {
    if text.effects == Effects::None {
        return 0;
    }
    i32::try_from(request.max_rows.saturating_add(1)).unwrap_or(0)
}

/// Errors after which a kept statement is prepared anew: the class of unknown names and wrong
/// types, a changed result type, and a statement that the server does not know any more.
pub(super) fn is_stale(error: &Error) -> bool {
    matches!(error, Error::Sql(error)
        if error.sqlstate.starts_with("42") || matches!(error.sqlstate.as_str(), "0A000" | "26000"))
}

/// Those among them that are certain to come before execution. 0A000 has other meanings too, but
/// a kept statement has run before.
pub(super) fn means_replan(error: &Error) -> bool {
    matches!(error, Error::Sql(error)
        if matches!(error.sqlstate.as_str(), "26000")
            || error.sqlstate == "0A000" && error.message.contains("cached plan"))
}

/// Sends a statement with its parameters and all that surrounds it.
async fn send(
    connection: &mut Connection,
    statement: &Prepared,
    request: &Request,
    limit: i32,
) -> Result<(), Error> {
    add(connection, statement, request, limit)?;
    connection.add_sync();
    if request.begin().is_some() {
        // Not COMMIT: there are writes that a read-only transaction lets pass.
        connection.add_simple_query("ROLLBACK")?;
    }
    if own_timeout(connection, request).is_some() {
        connection.add_simple_query("RESET statement_timeout")?;
    }
    connection.flush().await
}

/// Sends a statement of which only the first rows are asked for; [`ask_for_more`] and [`close`]
/// follow.
pub(super) async fn send_open(
    lease: &mut Lease,
    statement: &Prepared,
    request: &Request,
    rows: i32,
) -> Result<(), Error> {
    if own_timeout(lease, request).is_some() {
        // Cleaning resets it, whichever way the stream ends.
        lease.expect_effects(Effects::Session);
    }
    add(lease, statement, request, rows)?;
    frontend::flush(&mut lease.outgoing);
    lease.begin_unsynced();
    lease.flush().await
}

/// Asks for further rows of the open statement.
pub(super) async fn ask_for_more(connection: &mut Connection, rows: i32) -> Result<(), Error> {
    frontend::execute("", rows, &mut connection.outgoing).map_err(Error::internal)?;
    frontend::flush(&mut connection.outgoing);
    connection.flush().await
}

/// Ends the open statement.
pub(super) async fn close(connection: &mut Connection, request: &Request) -> Result<(), Error> {
    connection.add_end_of_batch();
    if request.begin().is_some() {
        // Not COMMIT: there are writes that a read-only transaction lets pass.
        connection.add_simple_query("ROLLBACK")?;
    }
    connection.flush().await
}

fn add(
    connection: &mut Connection,
    statement: &Prepared,
    request: &Request,
    limit: i32,
) -> Result<(), Error> {
    let (start, awaited) = (connection.outgoing.len(), connection.awaited);
    let added = try_add(connection, statement, request, limit);
    if added.is_err() {
        // Nothing of it is sent.
        connection.outgoing.truncate(start);
        connection.awaited = awaited;
    }
    added
}

fn try_add(
    connection: &mut Connection,
    statement: &Prepared,
    request: &Request,
    limit: i32,
) -> Result<(), Error> {
    if let Some(timeout) = own_timeout(connection, request) {
        connection.add_simple_query(&format!("SET statement_timeout = {timeout}"))?;
    }
    let out = &mut connection.outgoing;
    if let Some(begin) = request.begin() {
        // In one batch with the statement: where this fails, the statement is not run.
        frontend::parse("", begin, std::iter::empty(), out).map_err(Error::internal)?;
        frontend::bind(
            "",
            "",
            [],
            std::iter::empty::<()>(),
            |(), _| Ok(IsNull::Yes),
            [],
            out,
        )
        .map_err(|_| Error::internal("an empty bind failed"))?;
        frontend::execute("", 0, out).map_err(Error::internal)?;
    }
    bind(statement, request, out)?;
    frontend::execute("", limit, out).map_err(Error::internal)
}

/// The statement's timeout in ms where it is not the session's.
fn own_timeout(connection: &Connection, request: &Request) -> Option<i32> {
    let wanted = wire::timeout_millis(request.timeout);
    (wanted != connection.statement_timeout_millis()).then_some(wanted)
}

fn bind(statement: &Prepared, request: &Request, out: &mut BytesMut) -> Result<(), Error> {
    let (wanted, given) = (statement.parameters.len(), request.params.len());
    if wanted != given {
        return Err(Error::Invalid {
            message: format!("The statement takes {wanted} parameters, {given} were given."),
            details: serde_json::json!({"errors": [{
                "pointer": "/params",
                "message": format!("expected {wanted} items"),
            }]}),
        });
    }
    let mut unfit = None;
    let values = request.params.iter().zip(&statement.parameters).enumerate();
    let written = frontend::bind(
        "",
        &statement.name,
        // All in text form, both ways.
        [],
        values,
        |(index, (value, data_type)), out| match parameters::encode_as(value.json(), data_type, out)
        {
            Ok(tokio_postgres::types::IsNull::Yes) => Ok(IsNull::Yes),
            Ok(tokio_postgres::types::IsNull::No) => Ok(IsNull::No),
            Err(error) => {
                unfit = Some(error.clone().into_error(index));
                Err(error.into())
            }
        },
        [],
        out,
    );
    match (written, unfit) {
        (_, Some(error)) => Err(error),
        (Ok(()), None) => Ok(()),
        (Err(_), None) => Err(Error::invalid("The parameters are too large.")),
    }
}

/// What a statement answered.
struct Outcome {
    document: Document,
    /// `None` where the rest of the rows is not read.
    command: Option<Cow<'static, str>>,
    rows: Option<u64>,
    is_truncated: bool,
}

async fn collect(
    connection: &mut Connection,
    statement: &Arc<Prepared>,
    request: &Request,
    text: &Text,
) -> Result<Outcome, Error> {
    let mut outcome = Outcome {
        document: Document::new(),
        command: None,
        rows: None,
        is_truncated: false,
    };
    let mut replies = Replies::new(connection, request);
    loop {
        match replies.next(connection).await? {
            Reply::Row => {
                let is_full = outcome.document.rows() >= request.max_rows
                    || outcome.document.len() > request.max_bytes;
                if !is_full {
                    outcome.document.push(connection.body(), &statement.columns);
                } else if text.effects == Effects::None {
                    // The rest is not read; the lease cancels it.
                    outcome.is_truncated = true;
                    return Ok(outcome);
                } else {
                    outcome.is_truncated = true;
                }
            }
            Reply::Complete(command, rows) => {
                outcome.command = Some(command);
                outcome.rows = rows;
            }
            Reply::Suspended => {}
            Reply::End => return Ok(outcome),
        }
    }
}

fn finish(
    outcome: Outcome,
    statement: &Prepared,
    text: &Text,
    started: Instant,
) -> Result<Answer, Error> {
    let duration: Duration = started.elapsed();
    let Outcome {
        document,
        command,
        rows,
        is_truncated,
    } = outcome;
    let command = command.unwrap_or_else(|| match text.verb.as_str() {
        // What a cut-off statement began with, not what it was.
        "WITH" => "SELECT".into(),
        verb => verb.to_owned().into(),
    });
    let row_count = if is_truncated {
        document.rows()
    } else {
        rows.unwrap_or(document.rows())
    };
    let body = document.finish(&Summary {
        row_count,
        fields: &statement.fields,
        command: &command,
        duration,
        is_truncated,
    });
    Ok(Answer {
        body,
        row_count,
        command,
        is_truncated,
        duration,
    })
}

/// What the server answered to a statement, without what surrounds it.
pub(super) enum Reply {
    /// A row; its content is the connection's current message.
    Row,
    /// The statement ended: its command and rows.
    Complete(Cow<'static, str>, Option<u64>),
    /// The portal has more rows than were asked for.
    Suspended,
    /// Nothing more is awaited.
    End,
}

/// Reads the replies to [`send`].
pub(super) struct Replies {
    /// Completions that belong to what stands before the statement.
    before: usize,
    failure: Option<SqlError>,
    is_done: bool,
}

impl Replies {
    pub(super) fn new(connection: &Connection, request: &Request) -> Self {
        let before = usize::from(request.begin().is_some())
            + usize::from(own_timeout(connection, request).is_some());
        Self {
            before,
            failure: None,
            is_done: false,
        }
    }

    pub(super) async fn next(&mut self, connection: &mut Connection) -> Result<Reply, Error> {
        loop {
            if connection.awaited == 0 && !connection.is_unsynced() {
                return self
                    .failure
                    .take()
                    .map_or(Ok(Reply::End), |error| Err(error.into()));
            }
            match connection.next().await? {
                Tag::DataRow if self.before == 0 => return Ok(Reply::Row),
                Tag::PortalSuspended => return Ok(Reply::Suspended),
                Tag::CommandComplete if self.before > 0 => self.before -= 1,
                Tag::CommandComplete if !self.is_done => {
                    self.is_done = true;
                    let (command, rows) = wire::command(connection.body());
                    return Ok(Reply::Complete(command, rows));
                }
                Tag::Error => {
                    if self.failure.is_none() {
                        self.failure = Some(connection.error());
                    }
                    // The server waits for the end of the batch.
                    connection.end_unsynced().await?;
                }
                // The server waits for data, or is about to send some, where none is exchanged.
                Tag::CopyIn | Tag::CopyOut | Tag::CopyBoth => {
                    connection.give_up();
                    return Err(Error::invalid("COPY with the client cannot be run here."));
                }
                _ => {}
            }
        }
    }
}
